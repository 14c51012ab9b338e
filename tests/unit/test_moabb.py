"""MOABB's sets: one rule for all, MOABB's own labels, values equal to MNE's."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from eegfm_bench.datasets import _cutters, _moabb
from eegfm_bench.datasets._moabb import exporting
from eegfm_bench.datasets._moabb.runs import About
from eegfm_bench.datasets._prepare import dataset_ref, prepare, twin_root
from eegfm_bench.datasets._spec import DatasetSpec, find_dataset
from eegfm_bench.datasets._verify import verify
from eegfm_bench.errors import DataMissing, SpecError, UnknownName
from eegfm_bench.sweep.launch import InlineLauncher
from eegfm_bench.sweep.run import Options, sweep
from eegfm_bench.sweep.specs import cells_of
from eegfm_bench.symbols import PARTS
from tests.unit.planted_moabb import (
    CHANNELS,
    EVENTS,
    RATE_HZ,
    microvolts,
    plant,
    raw_of,
)

FAKE = "moabb:FakeDataset"
SAID = About(
    name="Said",
    moabb="1.7.2",
    paradigm="imagery",
    interval=(0.0, 3.0),
    event_id={"left": (1,), "right": (2,)},
    subjects=("1", "2", "3"),
    doi="",
    licence="see MOABB",
    is_made_up=False,
)


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> partial[list[int]]:
    """Plant a set of our own among MOABB's; what is said of it is not kept."""
    monkeypatch.setenv("EEGFM_CACHE", str(tmp_path / "cache"))
    return partial(plant, monkeypatch.setitem)


def of_subjects(n: int) -> DatasetSpec:
    names = tuple(f"{k:03d}" for k in range(1, n + 1))
    return _moabb._spec(SAID.model_copy(update={"subjects": names}))


def test_the_fake_set_goes_the_whole_road(tmp_path: Path) -> None:
    options = Options(runs=tmp_path, device="cpu", launcher=InlineLauncher())
    result = sweep(cells_of(["bandpower"], [FAKE], "small", {}), [0], options)
    (record,) = result.records(tmp_path)
    assert record.failure is None
    assert record.spec.dataset.data == "simulated"
    assert record.scores["test"]["balanced_accuracy"] is not None


def test_the_twin_is_in_budget_and_has_every_class_in_every_part() -> None:
    store = prepare(FAKE)
    counts = store.counts()
    assert counts == {"train": 192, "val": 64, "test": 64}
    assert 2 * (counts["train"] + counts["val"]) + counts["test"] <= 600
    assert all(min(store.manifest["counts"][part]) > 0 for part in PARTS)
    assert store.x.shape == (320, 3, 600)
    assert 1 < float(np.median(store.x.std(axis=2))) < 500
    assert store.manifest["flat_channels"] == store.manifest["oddities"] == {}
    spec = find_dataset(FAKE)
    root = twin_root(spec)
    plan = spec.located(root).plan(spec.located(root).find(root))
    assert plan.equals(store.index[list(plan.columns)])
    assert (plan.groupby("person")["part"].nunique() == 1).all()


def test_the_twin_is_the_same_every_time(tmp_path: Path) -> None:
    drawn = np.random.get_state()[1].copy()  # type: ignore[union-attr] # noqa: NPY002
    spec = find_dataset(FAKE)
    spec.simulate(tmp_path, "small")
    first = twin_root(spec) / spec.folder
    names = {file.name for file in first.iterdir()}
    assert names == {file.name for file in tmp_path.iterdir()}
    assert len(names) == 40 + 10 + 1
    for name in names:
        assert (first / name).read_bytes() == (tmp_path / name).read_bytes(), name
    assert (np.random.get_state()[1] == drawn).all()  # noqa: NPY002


def test_processes_that_cut_need_no_data_root(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = prepare(FAKE)
    monkeypatch.setattr(_cutters, "WORTH_A_PROCESS", 1 << 20)
    spread = prepare(FAKE, jobs=2, data=twin_root(find_dataset(FAKE)))
    assert spread.path != alone.path
    assert np.array_equal(spread.x, alone.x)
    # Made up is made up, wherever it lies.
    assert spread.manifest["data"] == "simulated"
    assert dataset_ref(spread) == dataset_ref(alone)
    assert verify(FAKE, data=twin_root(find_dataset(FAKE))).data == "simulated"


def test_labels_are_those_of_moabbs_own_paradigm(tmp_path: Path) -> None:
    with exporting._moabb_at(tmp_path) as known:
        from moabb.paradigms import MotorImagery

        paradigm = MotorImagery(n_classes=3, events=["fake1", "fake2", "fake3"])
        fake = known["FakeDataset"](**_moabb.SMALL)
        x, labels, about = paradigm.get_data(fake, [7])
    index = prepare(FAKE).index
    mine = index[index["subject"] == "07"]
    classes = find_dataset(FAKE).classes
    assert [classes[k] for k in mine["label"]] == labels.tolist()
    assert len(mine) == len(x) == 32
    assert mine["session"].tolist() == about["session"].tolist()


@pytest.mark.parametrize("annotated", [None, {1: "up", 2: "down"}])
@pytest.mark.parametrize("first_samp", [0, 77])
def test_windows_equal_mnes(
    planted: partial[list[int]],
    tmp_path: Path,
    annotated: dict[int, str] | None,
    first_samp: int,
) -> None:
    import mne

    planted(run=lambda s: raw_of(s, annotated=annotated, first_samp=first_samp))
    _moabb.fetch("moabb:Planted", tmp_path)
    store = prepare("moabb:Planted", data=tmp_path)
    assert store.counts() == {"train": 15, "val": 5, "test": 5}
    raw = mne.io.RawArray(
        microvolts(2), mne.create_info(list(CHANNELS), RATE_HZ, "eeg"), verbose="ERROR"
    )
    raw.filter(0.3, 75.0, verbose="ERROR")
    raw.resample(200.0, verbose="ERROR")
    mine = store.index[store.index["subject"] == "2"]
    assert mine["label"].tolist() == [1, 0, 1, 0, 1]  # down, up: sorted
    for row, (at, _) in zip(mine.index, EVENTS, strict=True):
        first = round((at / RATE_HZ + 0.5) * 200)
        expected = raw.get_data()[:, first : first + 400]
        assert np.abs(store.x[row] - expected).max() <= 1e-5 * np.abs(expected).max()
    assert store.manifest["recipe"]["steps"] == [
        ["bandpass", 0.3, 75.0],
        ["resample", 200.0],
    ]
    assert store.manifest["data"] == "complete"


@pytest.mark.parametrize(
    ("n", "train", "val", "test"),
    [(3, 1, 1, 1), (7, 5, 1, 1), (9, 5, 2, 2), (10, 6, 2, 2), (109, 65, 22, 22)],
)
def test_the_split_goes_by_subjects_in_order(
    n: int, train: int, val: int, test: int
) -> None:
    split = of_subjects(n).split
    assert (len(split.train), len(split.val), len(split.test)) == (train, val, test)
    assert split.names == tuple(f"{k:03d}" for k in range(1, n + 1))
    assert split.unit == "subject"


def test_the_split_says_its_rule_and_who_is_where() -> None:
    said = of_subjects(10).split.source
    assert "no published split" in said
    assert "train 001–006; val 007–008; test 009–010" in said


def test_too_few_subjects_or_classes_are_refused() -> None:
    with pytest.raises(SpecError, match=r"moabb:Said has 2 subjects.*3 or more"):
        of_subjects(2)
    with pytest.raises(SpecError, match="one class by MOABB, left"):
        _moabb._spec(SAID.model_copy(update={"event_id": {"left": (1,)}}))


@pytest.mark.parametrize(
    ("interval", "window_s"),
    [
        ((0, 3), 3.0),
        ((3, 7.5), 4.0),
        ((0, 4.999), 4.0),
        ((-0.2, 0.8), 1.0),
        ((0, 0.496), 0.495),
        ((0, 0.3), 0.3),
    ],
)
def test_windows_are_the_interval_in_whole_seconds_or_time_points(
    interval: tuple[float, float], window_s: float
) -> None:
    recipe = _moabb._spec(SAID.model_copy(update={"interval": interval})).recipe
    assert recipe.window_s == pytest.approx(window_s)
    assert f"from {interval[0]:g} s after it on" in recipe.label_rule


def test_an_interval_without_a_time_point_is_refused() -> None:
    with pytest.raises(SpecError, match="less than one time point"):
        _moabb._spec(SAID.model_copy(update={"interval": (0.0, 0.004)}))


def test_an_unknown_name_gets_the_nearest() -> None:
    for name, near in (("FakeDatset", "FakeDataset"), ("BNCI2014001", "BNCI2014_001")):
        with pytest.raises(UnknownName, match=f"Did you mean '{near}'"):
            find_dataset(f"moabb:{name}")
    with pytest.raises(UnknownName, match="No dataset of MOABB"):
        find_dataset("moabb:../../etc/passwd")
    with pytest.raises(UnknownName, match="No dataset is called 'mobb:FakeDataset'"):
        find_dataset("mobb:FakeDataset")


def test_other_sets_have_no_twin_and_say_how_to_get_them(tmp_path: Path) -> None:
    name = "moabb:BNCI2014_001"
    spec = find_dataset(name)
    assert spec.facts.n_subjects == len(spec.everyone) == 9
    assert spec.classes == ("feet", "left_hand", "right_hand", "tongue")
    assert spec.recipe.window_s == 4
    assert (spec.licence, spec.reference) == (
        "CC-BY-ND-4.0",
        "doi.org/10.3389/fnins.2012.00055",
    )
    for how in (
        prepare,
        partial(prepare, data=tmp_path),
        partial(verify, data=tmp_path),
    ):
        with pytest.raises(DataMissing, match=f"eegfm-bench fetch {name} --data ROOT"):
            how(name)


def test_moabb_is_asked_once(
    shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = find_dataset(FAKE)

    def refuse(*_: object) -> None:
        raise AssertionError("MOABB was imported again")

    monkeypatch.setattr(exporting, "_moabb_at", refuse)
    assert find_dataset(FAKE).protocol() == first.protocol()
    # What is kept and damaged is asked for anew.
    (kept,) = (shared_cache / "moabb").rglob("FakeDataset.json")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:99])
    with pytest.raises(AssertionError, match="imported again"):
        find_dataset(FAKE)
    kept.write_bytes(whole)


def test_a_slow_recording_is_only_high_passed(
    planted: partial[list[int]], tmp_path: Path
) -> None:
    planted(run=lambda s: raw_of(s, rate_hz=250.0 if s < 5 else 125.0))
    _moabb.fetch("Planted", tmp_path)
    found = find_dataset("moabb:Planted").located(tmp_path)
    assert found.recipe.steps == (("highpass", 0.3), ("resample", 200.0))
    odd = {s.subject: found.oddities(s) for s in found.find(tmp_path)}
    assert odd["5"] == ("125 Hz; the first run has 250",)
    assert odd["4"] == ()
