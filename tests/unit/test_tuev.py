"""TUEV: windows as published, circles at the ends, who validates, damaged files."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eegfm_bench.cli.show import about_counts
from eegfm_bench.datasets import _prepare, _verify, tuev
from eegfm_bench.datasets._prepare import prepare, twin_root
from eegfm_bench.datasets._spec import Source, find_dataset
from eegfm_bench.datasets._twins import tuev as tuev_twin
from eegfm_bench.errors import SignalError, SpecError
from eegfm_bench.recordings import filters
from eegfm_bench.recordings.edf import read_edf, read_header
from eegfm_bench.recordings.recording import Recording
from eegfm_bench.symbols import PARTS
from eegfm_bench.windows.cut import cut, runs_past_end

SPEC = find_dataset("tuev")


def own_twin(tmp_path: Path) -> Path:
    """A small data root of one's own."""
    shutil.copytree(twin_root(SPEC), tmp_path / "root")
    return tmp_path / "root"


def source_of(recording: str) -> Source:
    sources = SPEC.find(twin_root(SPEC))
    return next(s for s in sources if s.recording == recording)


def as_published(
    source: Source, include: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Cut (N, 16, 1000) in the published order, by MNE and plain NumPy."""
    import mne

    raw = mne.io.read_raw_edf(
        source.path, preload=True, include=include, verbose="ERROR"
    )
    raw.resample(200, verbose="ERROR")
    raw.filter(l_freq=0.3, h_freq=75, verbose="ERROR")
    raw.notch_filter(60, verbose="ERROR")
    row_of = dict(zip(raw.ch_names, raw.get_data(units="uV"), strict=True))
    x = np.array(
        [
            row_of[f"EEG {a.upper()}-REF"] - row_of[f"EEG {b.upper()}-REF"]
            for a, b in (channel.split("-") for channel in SPEC.recipe.channels)
        ]
    )
    thrice, n = np.concatenate([x, x, x], axis=1), x.shape[1]
    windows, labels = [], []
    for _, start_s, stop_s, label in np.genfromtxt(source.extra[0], delimiter=","):
        start, stop = (
            int(np.flatnonzero(raw.times >= at_s)[0]) for at_s in (start_s, stop_s)
        )
        windows.append(thrice[:, n + start - 400 : n + stop + 400])
        labels.append(int(label) - 1)
    return np.array(windows), np.array(labels)


@pytest.mark.parametrize(
    ("recording", "include"),
    [
        # All signals, as published; then the faster EKG would set MNE's rate.
        ("aaaaaaar_00000001", ()),
        ("gped_010_a_", ()),
        (tuev_twin.AT_256_HZ, ()),
        (tuev_twin.MIXED, tuev.LABELS),
    ],
)
def test_windows_are_those_of_the_published_order(
    recording: str, include: tuple[str, ...]
) -> None:
    source = source_of(recording)
    expected, labels = as_published(source, include)
    store = prepare("tuev")
    at = np.flatnonzero(store.index["recording"] == recording)
    assert store.index["label"].to_numpy()[at].tolist() == labels.tolist()
    assert expected.shape == (16, 16, 1000)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(store.x[at], expected, rtol=1e-5, atol=1e-6 * scale)
    onsets_s = store.index["onset_s"].to_numpy()[at]
    past = runs_past_end(tuev_twin.DURATION_S, onsets_s, window_s=5.0)
    assert (onsets_s < 0).any()
    assert past.sum() == store.manifest["wrapped"][recording] >= 2


def test_the_montage_may_come_before_the_filters() -> None:
    source = source_of("pled_030_a_")
    steps = SPEC.recipe.steps
    first = filters.apply(tuev.read(source), steps).x
    header = read_header(source.path)
    places = tuple(header.labels.index(label) for label in tuev.LABELS)
    electrodes = filters.apply(read_edf(source.path, places=places), steps)
    last = np.array(
        [
            electrodes.x[electrodes.channels.index(a)]
            - electrodes.x[electrodes.channels.index(b)]
            for a, b in (channel.split("-") for channel in tuev.CHANNELS)
        ]
    )
    np.testing.assert_allclose(first, last, rtol=1e-5, atol=1e-6 * last.std())


def test_a_time_belongs_to_the_first_point_not_before_it() -> None:
    times = np.arange(20_000) / 200
    rng = np.random.default_rng(0)
    at_s = np.concatenate([np.arange(999) / 10, rng.uniform(0, 99, 500)])
    at_s = np.concatenate([at_s, np.nextafter(at_s, 1e9), np.nextafter(at_s, 0)])
    expected = [int(np.flatnonzero(times >= t)[0]) for t in at_s]
    assert tuev.time_points(at_s).tolist() == expected
    assert tuev.time_points(np.array([362.4])).tolist() == [72_480]


def test_the_ends_are_joined_to_a_circle() -> None:
    x = np.random.default_rng(0).normal(0, 20, (2, 1100))
    recording = Recording(x=x, rate_hz=200.0, channels=("A", "B"), name="r")
    onsets_s = np.array([-5.0, -1.3, 0.0, 0.5, 0.505, 3.2, 6.0])
    windows = cut(recording, onsets_s, window_s=5.0, past_end="wrap")
    for window, onset_s in zip(windows, onsets_s, strict=True):
        at = (round(onset_s * 200) + np.arange(1000)) % 1100
        np.testing.assert_array_equal(window, x[:, at].astype(np.float32))
    past = runs_past_end(recording.duration_s, onsets_s, window_s=5.0)
    assert past.tolist() == [True, True, False, False, True, True, True]
    for onset_s in (-5.505, 6.005):
        with pytest.raises(SignalError, match="leaves the recording"):
            cut(recording, np.array([onset_s]), window_s=5.0, past_end="wrap")
    with pytest.raises(SignalError, match="leaves the recording"):
        cut(recording, np.array([-1.3]), window_s=5.0)


def test_rows_of_one_time_stay_and_are_counted() -> None:
    store = prepare("tuev")
    own = store.index[store.index["recording"] == "aaaaaaar_00000001"]
    pairs = own[own.duplicated("onset_s", keep=False)].groupby("onset_s")
    labels = []
    for _, pair in pairs:
        first, second = pair.index
        np.testing.assert_array_equal(store.x[first], store.x[second])
        labels.append(pair["label"].nunique())
    assert sorted(labels) == [1, 2]
    told = ("2 rows repeat a time already seen, 1 of them with another label",)
    assert tuev.oddities(source_of("aaaaaaar_00000001")) == told
    at_256 = ("256 Hz, not 250", *told)
    assert tuev.oddities(source_of(tuev_twin.AT_256_HZ)) == at_256
    assert tuev.oddities(source_of(tuev_twin.QUIET)) == ()


def test_faster_and_unitless_signals_do_not_matter() -> None:
    source = source_of(tuev_twin.MIXED)
    header = read_header(source.path)
    assert {"ms", "uV", ""} == set(header.units)
    assert max(header.samples_per_record) == 500
    recording = tuev.read(source)
    assert (recording.rate_hz, recording.x.shape) == (250, (16, 42 * 250))
    assert recording.channels == tuev.CHANNELS
    assert recording.flat_channels == ()


def test_nobody_is_ever_absent_and_nobody_in_two_parts() -> None:
    sources = SPEC.find(twin_root(SPEC))
    plan = SPEC.plan(sources)
    assert SPEC.absent(sources) == () == SPEC.outside(twin_root(SPEC))
    assert (plan.groupby("person")["part"].nunique() == 1).all()
    n = plan.groupby("part")["subject"].nunique()
    assert n.to_dict() == {"train": 8, "val": 2, "test": 8}


def test_the_wrong_release_is_told_by_its_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = own_twin(tmp_path)
    plan = SPEC.plan(SPEC.find(root))
    found = {part: int((plan["part"] == part).sum()) for part in PARTS}
    (name,) = find_dataset("tuev").facts.others
    facts = replace(SPEC.facts, others={name: found})
    for module in (_prepare, _verify):
        spec = replace(SPEC, facts=facts)
        monkeypatch.setattr(module, "find_dataset", lambda _, spec=spec: spec)
    told = r"counts of TUEV v2\.0\.1, which is 'tuev@2\.0\.1' here"
    with pytest.raises(SignalError, match=told):
        prepare("tuev", data=root)
    lines = about_counts(_verify.verify("tuev", data=root).to_dict())
    assert f"  these are the {told}".replace("\\", "") in lines
    assert prepare("tuev", data=root, allow_partial=True).manifest["data"] == "partial"


def test_both_releases_name_each_other() -> None:
    for name, other in (("tuev", "tuev@2.0.1"), ("tuev@2.0.1", "tuev")):
        facts, others = find_dataset(name).facts, find_dataset(other).facts
        told = facts.other_release(others.windows)
        assert told is not None
        assert f"'{other}'" in told
    assert SPEC.facts.in_all == 112_491
    assert find_dataset("tuev@2.0.1").facts.in_all == 113_353


@pytest.mark.parametrize("name", ["tuev", "tuev@2.0.1"])
def test_the_twin_keeps_its_budget_and_its_odd_cases(name: str) -> None:
    store = prepare(name)
    n = store.counts()
    assert 450 <= 2 * (n["train"] + n["val"]) + n["test"] <= 600
    folder = twin_root(find_dataset(name)) / "tuev"
    assert list(folder.rglob("*_ch000.lab"))
    assert list(folder.rglob("*_ch021.htk"))
    assert store.manifest["n_recordings"] == len(list(folder.rglob("*.edf")))


def test_the_twin_has_one_size(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="Choose 'small'"):
        SPEC.simulate(tmp_path, "full")
