"""PhysioNet-MI: which cues become windows, of which class, equal to MNE's."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import welch

from eegfm_bench.datasets import physionet_mi
from eegfm_bench.datasets._eegmmidb import CHANNELS
from eegfm_bench.datasets._prepare import prepare, twin_root
from eegfm_bench.datasets._spec import Source
from eegfm_bench.datasets._twins import eeg
from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.edf import read_edf, read_header
from eegfm_bench.recordings.recording import Event
from eegfm_bench.windows.store import WindowStore
from tests.unit.skeletons import write_edf_skeleton

SPEC = physionet_mi.DATASETS[0]


def by_mne(path: Path) -> tuple[np.ndarray, list[str]]:
    """Windows (N, 64, 800) in µV and codes, by MNE alone as the published code."""
    import mne

    raw = mne.io.read_raw_edf(path, preload=True, verbose="ERROR")
    raw.set_eeg_reference("average", verbose="ERROR")
    raw.filter(0.3, None, verbose="ERROR")
    raw.notch_filter(60.0, verbose="ERROR")
    raw.resample(200, verbose="ERROR")
    events, ids = mne.events_from_annotations(raw, verbose="ERROR")
    epochs = mne.Epochs(
        raw, events, ids, 0, 4 - 1 / 200, baseline=None, preload=True, verbose="ERROR"
    )
    names = {number: name for name, number in epochs.event_id.items()}
    codes = [names[number] for number in epochs.events[:, 2]]
    cued = [place for place, code in enumerate(codes) if code != "T0"]
    return epochs.get_data()[cued][..., -800:] * 1e6, [codes[k] for k in cued]


def assert_equal_to_mne(store: WindowStore, path: Path) -> None:
    mine = np.flatnonzero(store.index["recording"] == path.stem)
    expected, codes = by_mne(path)
    assert len(mine) == len(expected)
    scale_uv = np.abs(expected).max()
    assert np.abs(store.x[mine] - expected).max() <= 1e-5 * scale_uv
    labels = physionet_mi.LABELS[int(path.stem[5:])]
    assert store.index["label"].to_numpy()[mine].tolist() == [labels[c] for c in codes]


@pytest.mark.data
@pytest.mark.parity
def test_windows_of_s001_equal_mne(data_root: Path) -> None:
    store = prepare("physionet_mi", data=data_root, allow_partial=True)
    assert len(store.index) == 90
    for run in physionet_mi.LABELS:
        path = data_root / "eegmmidb" / "S001" / f"S001R{run:02d}.edf"
        assert_equal_to_mne(store, path)
    assert store.index["label"].value_counts(sort=False).sort_index().tolist() == [
        *(23, 22, 21, 24)
    ]
    assert set(store.index["person"]) == {"eegmmidb:S001"}
    assert store.counts() == {"train": 90, "val": 0, "test": 0}


@pytest.mark.parity
@pytest.mark.parametrize("recording", ["S092R04", "S104R08"])
def test_windows_of_odd_runs_equal_mne(recording: str) -> None:
    path = twin_root(SPEC) / "eegmmidb" / recording[:4] / f"{recording}.edf"
    assert_equal_to_mne(prepare("physionet_mi"), path)


@pytest.mark.data
def test_what_is_planned_for_real_recordings_is_cut(data_root: Path) -> None:
    store = prepare("physionet_mi", data=data_root, allow_partial=True)
    plan = SPEC.plan(SPEC.find(data_root))
    assert plan.equals(store.index[list(plan.columns)])
    assert store.x.shape == (len(plan), 64, 800)
    apart_s = plan.groupby("recording")["onset_s"].diff().dropna()
    assert apart_s.between(8.2, 8.4).all()


def one_run(
    tmp_path: Path, name: str, events: list[Event], *, seconds: int = 30
) -> Source:
    folder = tmp_path / name[:4]
    folder.mkdir()
    write_edf_skeleton(
        folder / f"{name}.edf",
        labels=[channel.capitalize().ljust(4, ".") for channel in CHANNELS],
        samples_per_record=160,
        n_records=seconds,
        events=events,
    )
    (source,) = physionet_mi.files(tmp_path)
    return source


def said(*events: tuple[float, str]) -> list[Event]:
    return [Event(onset_s=at_s, duration_s=4.0, code=code) for at_s, code in events]


@pytest.mark.parametrize(
    ("run", "labels"), [("04", [0, 1]), ("06", [2, 3]), ("12", [0, 1]), ("14", [2, 3])]
)
def test_a_cue_means_what_its_run_asks_for(
    tmp_path: Path, run: str, labels: list[int]
) -> None:
    events = said((0.0, "T0"), (4.2, "T1"), (8.3, "T0"), (12.5, "T2"))
    source = one_run(tmp_path, f"S007R{run}", events)
    onsets_s, found = physionet_mi.windows(source)
    assert onsets_s.tolist() == [4.2, 12.5]
    assert found.tolist() == labels


def test_only_imagery_runs_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "S007"
    folder.mkdir()
    for run in range(1, 15):
        (folder / f"S007R{run:02d}.edf").touch()
    runs = [source.recording[-2:] for source in physionet_mi.files(tmp_path)]
    assert runs == ["04", "06", "08", "10", "12", "14"]


@pytest.mark.parametrize(
    ("last_s", "is_kept"), [(26.0, True), (26.01, False), (29.9, False)]
)
def test_a_cue_is_a_window_only_where_4_s_follow(
    tmp_path: Path, last_s: float, is_kept: bool
) -> None:
    source = one_run(tmp_path, "S007R04", said((1.0, "T1"), (last_s, "T2")))
    onsets_s, _ = physionet_mi.windows(source)
    assert onsets_s.tolist() == ([1.0, last_s] if is_kept else [1.0])
    dropped = [text for text in physionet_mi.oddities(source) if "dropped" in text]
    assert len(dropped) == (not is_kept)


def test_a_run_of_rest_alone_gives_no_window_and_is_named(tmp_path: Path) -> None:
    source = one_run(tmp_path, "S007R04", said((0.0, "T0"), (8.0, "T0")))
    onsets_s, labels = physionet_mi.windows(source)
    assert onsets_s.size == labels.size == 0
    assert physionet_mi.oddities(source) == ("0 cues, not 15",)
    assert len(SPEC.plan([source])) == 0


def test_an_unknown_annotation_is_refused(tmp_path: Path) -> None:
    source = one_run(tmp_path, "S007R04", said((1.0, "T1"), (9.0, "T3")))
    with pytest.raises(SignalError, match=r"S007R04\.edf: .* at 9 s is 'T3'; expected"):
        physionet_mi.windows(source)


def test_a_file_written_anew_is_read_anew(tmp_path: Path) -> None:
    source = one_run(tmp_path, "S007R04", said((1.0, "T1")))
    assert physionet_mi.windows(source)[0].tolist() == [1.0]
    source.path.unlink()
    source.path.parent.rmdir()
    again = one_run(tmp_path, "S007R04", said((2.0, "T1")))
    assert physionet_mi.windows(again)[0].tolist() == [2.0]


def test_the_small_twin_has_every_kind_of_run_and_keeps_its_budget() -> None:
    sources = SPEC.find(twin_root(SPEC))
    n = SPEC.plan(sources)["part"].value_counts()
    assert 2 * (n["train"] + n["val"]) + n["test"] <= 600
    rates = {s.subject: read_header(s.path).samples_per_record[0] for s in sources}
    assert {s for s, rate in rates.items() if rate == 128} == {"S092", "S100"}
    assert {rates["S001"], rates["S104"]} == {160}
    dropped = {
        s.recording
        for s in sources
        if any("dropped" in text for text in physionet_mi.oddities(s))
    }
    assert dropped == {"S104R08"}


def test_twin_runs_carry_rests_and_cues_as_the_publisher_writes_them() -> None:
    path = twin_root(SPEC) / "eegmmidb" / "S092" / "S092R04.edf"
    recording = read_edf(path)
    assert recording.rate_hz == 128
    codes = [event.code for event in recording.events]
    assert codes[::2] == ["T0"] * 3
    assert set(codes[1::2]) == {"T1", "T2"}
    assert [event.onset_s for event in recording.events[:4]] == [0, 1.375, 6.5, 7.875]
    header = read_header(path)
    assert header.labels[0] == "Fc5."
    assert header.record_s == 1.0


def test_the_full_twin_has_the_genuine_lengths_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths_s: dict[str, float] = {}
    n_cues: Counter[str] = Counter()

    def noted(path: Path, x: np.ndarray, rate_hz: float, events: list[Event]) -> None:
        lengths_s[path.stem] = x.shape[1] / rate_hz
        onsets_s = [e.onset_s for e in events if e.code != "T0"]
        n_cues[SPEC.split.part_of(path.stem[:4])] += sum(
            at_s + 4 <= lengths_s[path.stem] for at_s in onsets_s
        )

    def silence(*args, duration_s, **_):  # type: ignore[no-untyped-def]
        return np.zeros((64, round(duration_s * args[4].rate_hz)))

    monkeypatch.setattr(eeg, "record", silence)
    monkeypatch.setattr(physionet_mi, "_rhythms", lambda *_: 0.0)
    monkeypatch.setattr(physionet_mi, "write_edf", noted)
    physionet_mi.simulate(tmp_path, "full")
    assert len(lengths_s) == 654
    some = {name: lengths_s[name] for name in ("S002R04", "S088R06", "S100R14")}
    assert some == {"S002R04": 123, "S088R06": 124, "S100R14": 123}
    assert lengths_s["S104R08"] == 106
    assert dict(n_cues) == dict(SPEC.facts.windows)


def power_db(store: WindowStore, channel: str, low_hz: float, high_hz: float):  # type: ignore[no-untyped-def]
    """Power (N,) of one channel in a band, from the second after the cue on, in dB."""
    x = store.x[:, CHANNELS.index(channel), 200:]
    freq, power = welch(x, 200.0, nperseg=200)
    inside = (freq >= low_hz) & (freq < high_hz)
    return 10 * np.log10(power[:, inside].sum(axis=1))


def test_imagery_quietens_the_other_side_and_the_vertex() -> None:
    store = prepare("physionet_mi")
    label = store.index["label"].to_numpy()
    left, right, fists, feet = (label == k for k in range(4))
    sides = power_db(store, "C4", 9, 13) - power_db(store, "C3", 9, 13)
    assert sides[right].mean() - sides[left].mean() > 2
    both = power_db(store, "C4", 9, 13) + power_db(store, "C3", 9, 13)
    assert both[feet].mean() - both[fists].mean() > 4
    vertex = power_db(store, "Cz", 16, 24)
    assert vertex[~feet].mean() - vertex[feet].mean() > 0.5
