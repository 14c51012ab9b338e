"""Windows judged in sequences, splits by trial or folder, and other releases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from eegfm_bench.batches import EEGDataModule
from eegfm_bench.cli.show import about_windows
from eegfm_bench.datasets import _prepare, _verify
from eegfm_bench.datasets._prepare import prepare, twin_root
from eegfm_bench.datasets._spec import DatasetSpec, Facts, Source, Split, find_dataset
from eegfm_bench.errors import SignalError, SpecError
from eegfm_bench.models._spec import InputShape, find_model
from eegfm_bench.recordings.recording import Recording
from eegfm_bench.symbols import PARTS
from eegfm_bench.training.fit import predict

S = 2


@pytest.fixture
def in_pairs(monkeypatch: pytest.MonkeyPatch) -> DatasetSpec:
    """EEGMAT's twin, cut to whole sequences of two windows."""
    plain = find_dataset("eegmat")

    def windows(source: Source) -> tuple[np.ndarray, np.ndarray]:
        onsets_s, labels = plain.windows(source)
        n = len(onsets_s) // S * S
        return onsets_s[:n], labels[:n]

    spec = replace(
        plain, recipe=replace(plain.recipe, sequence=S, version=99), windows=windows
    )
    monkeypatch.setattr(_prepare, "find_dataset", lambda name: spec)
    return spec


def test_a_batch_is_whole_sequences_in_order(in_pairs: DatasetSpec) -> None:
    store = prepare("eegmat", jobs=1)
    assert store.sequence == S
    data = EEGDataModule(store, batch_size=10, seed=3)
    labels = store.index["label"].to_numpy()
    rows = store.rows("train").reshape(-1, S)
    seen = []
    for x, y in data.train_dataloader():
        assert x.shape[:2] == y.shape == (len(x), S)
        assert len(x) <= 10 // S
        for own, own_y in zip(x.numpy(), y.numpy(), strict=True):
            (at,) = np.flatnonzero((store.x[rows[:, 0]] == own[0]).all((1, 2)))
            np.testing.assert_array_equal(own, store.x[rows[at]])
            np.testing.assert_array_equal(own_y, labels[rows[at]])
            seen.append(int(at))
    assert sorted(seen) == list(range(len(rows)))
    assert seen != sorted(seen)


def test_predictions_of_sequences_are_in_the_order_of_the_index(
    in_pairs: DatasetSpec,
) -> None:
    store = prepare("eegmat", jobs=1)
    recipe = store.manifest["recipe"]
    shape = InputShape(
        channels=tuple(recipe["channels"]),
        n_times=1000,
        rate_hz=200.0,
        n_classes=2,
        sequence=S,
    )
    built = find_model("bandpower").build(shape, scale="small")
    scores = predict(built, EEGDataModule(store, batch_size=8), "test")
    alone = find_model("bandpower").build(replace(shape, sequence=1), scale="small")
    alone.load_state_dict(built.model.state_dict())
    x = torch.from_numpy(store.x[store.rows("test")].copy())
    with torch.inference_mode():
        expected = alone.eval()(x).double().softmax(-1).numpy()
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_half_a_sequence_is_refused(in_pairs: DatasetSpec) -> None:
    spec = replace(in_pairs, windows=find_dataset("eegmat").windows)
    with pytest.raises(SpecError, match="no whole number of sequences of 2"):
        spec.plan(spec.find(twin_root(find_dataset("eegmat"))))


def split_by_trial() -> DatasetSpec:
    """EEGMAT's twin, split by the time within a recording."""
    plain = find_dataset("eegmat")
    return replace(
        plain,
        split=Split(
            train=("early",), val=("later",), test=("last",), source="x", unit="trial"
        ),
        subjects=plain.split.names,
        units_of=lambda source, onsets_s: [
            "early" if s < 10 else "later" if s < 15 else "last" for s in onsets_s
        ],
    )


def test_a_split_may_go_by_trials() -> None:
    spec = split_by_trial()
    index = spec.plan(spec.find(twin_root(find_dataset("eegmat"))))
    early, later = index["onset_s"] < 10, index["onset_s"] < 15
    assert set(index["part"][early]) == {"train"}
    assert set(index["part"][later & ~early]) == {"val"}
    assert set(index["part"][~later]) == {"test"}
    assert index.groupby("subject")["part"].nunique().max() > 1
    assert spec.absent([]) == find_dataset("eegmat").split.names


def test_a_file_may_say_its_part() -> None:
    spec = replace(split_by_trial(), units_of=None)
    sources = [
        replace(source, unit="last")
        for source in spec.find(twin_root(find_dataset("eegmat")))
    ]
    assert set(spec.plan(sources)["part"]) == {"test"}


def test_nobody_is_absent_where_nobody_is_known() -> None:
    spec = replace(split_by_trial(), subjects=())
    assert spec.absent([]) == ()
    assert len(spec.find(twin_root(find_dataset("eegmat")))) > 0


def test_another_release_is_recognised_by_its_counts(tmp_path: Path) -> None:
    facts = Facts(
        n_subjects=None,
        n_recordings=None,
        windows={"train": 3, "val": 2, "test": 1},
        source="a log",
        others={"release 2, which is 'x@2' here": {"train": 1, "val": 1, "test": 1}},
    )
    spec = replace(find_dataset("eegmat"), facts=facts, subjects=())
    index = pd.DataFrame({"part": ["train", "val", "test"], "label": [0, 0, 0]})
    with pytest.raises(SignalError, match="the counts of release 2, which is 'x@2'"):
        _prepare._is_as_published(spec, index, allow_partial=False)
    assert not _prepare._is_as_published(spec, index, allow_partial=True)


def test_a_total_alone_is_held_against_the_plan() -> None:
    facts = Facts(n_subjects=1, n_recordings=1, windows={}, source="s", total=3)
    assert facts.in_all == 3
    spec = replace(find_dataset("eegmat"), facts=facts)
    index = pd.DataFrame({"part": ["train", "val", "test"], "label": [0, 0, 0]})
    assert _prepare._is_as_published(spec, index, allow_partial=False)
    with pytest.raises(SignalError, match="2 windows in all; expected 3"):
        _prepare._is_as_published(spec, index.iloc[:2], allow_partial=False)


def test_windows_in_which_nothing_moves_are_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plain = find_dataset("eegmat")

    def read(source: Source) -> Recording:
        recording = plain.read(source)
        x = recording.x.copy()
        if source.recording == "Subject00_1":
            x[:, : 5 * round(recording.rate_hz)] = 0.0
        return recording.with_signal(x)

    recipe = replace(plain.recipe, rate_hz=500.0, steps=(), version=98)
    spec = replace(plain, recipe=recipe, read=read)
    monkeypatch.setattr(_prepare, "find_dataset", lambda name: spec)
    manifest = prepare("eegmat", jobs=1).manifest
    assert manifest["flat_windows"] == {"Subject00_1": 1}
    assert manifest["flat_channels"] == {}
    assert any(
        "1 windows in which no channel moves" in line
        for line in about_windows({**manifest, "path": "p"})
    )


def test_a_rate_at_which_windows_begin_between_points_is_refused_before_cutting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = find_dataset("eegmat")
    spec = replace(
        plain,
        recipe=replace(plain.recipe, version=97),
        windows=lambda source: (np.array([0.005, 1.0]), np.array([0, 1])),
    )
    monkeypatch.setattr(_prepare, "find_dataset", lambda name: spec)
    monkeypatch.setattr(_prepare, "cut_all", lambda *a, **k: pytest.fail("it cut"))
    with pytest.raises(SpecError, match=r"At 128 Hz \d+ of \d+ windows of eegmat"):
        prepare("eegmat", rate_hz=128.0)


def test_a_set_of_unknown_people_is_partial_until_its_counts_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = find_dataset("eegmat")
    root = twin_root(plain)
    spec = replace(plain, subjects=())
    monkeypatch.setattr(_verify, "find_dataset", lambda name: spec)
    assert _verify.verify("eegmat", data=root).data == "partial"
    index = spec.plan(spec.find(root))
    stated = {part: int((index["part"] == part).sum()) for part in PARTS}
    facts = replace(plain.facts, windows=stated, windows_by_class={})
    spec = replace(spec, facts=facts)
    assert _verify.verify("eegmat", data=root).data == "complete"
