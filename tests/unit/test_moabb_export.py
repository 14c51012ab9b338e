"""Fetching through MOABB: what is odd is counted, what is damaged is named."""

from __future__ import annotations

import errno
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from eegfm_bench.datasets import _moabb
from eegfm_bench.datasets._moabb import exporting, runs
from eegfm_bench.datasets._prepare import prepare
from eegfm_bench.datasets._verify import verify
from eegfm_bench.errors import DataMissing, SignalError, UnknownName
from tests.unit.planted_moabb import (
    CHANNELS,
    EVENTS,
    NAME,
    array,
    folder,
    located,
    plant,
    raw_of,
)


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> partial[list[int]]:
    monkeypatch.setenv("EEGFM_CACHE", str(tmp_path / "cache"))
    return partial(plant, monkeypatch.setitem)


@pytest.fixture
def root(planted: partial[list[int]], tmp_path: Path) -> Path:
    """A data root with the planted set as it should be."""
    planted()
    _moabb.fetch(NAME, tmp_path / "root")
    return tmp_path / "root"


def test_fetching_leaves_home_and_environment_alone(
    planted: partial[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MNE_DATASETS_PLANTED_PATH", "/nowhere")
    before = dict(os.environ)
    seen: list[str | None] = []

    def run(subject: int) -> Any:
        from mne import get_config, set_config

        set_config("MNE_DATASETS_EEGBCI_PATH", "elsewhere")
        seen.append(get_config("MNE_DATASETS_PLANTED_PATH", get_config("MNE_DATA")))
        return raw_of(subject)

    planted(run=run)
    found = _moabb.fetch(NAME, tmp_path / "root")
    downloads = (tmp_path / "root" / "moabb" / "downloads").resolve()
    assert set(seen) == {str(downloads)}
    assert dict(os.environ) == before
    assert not (tmp_path / "home").exists()
    assert found["subjects"] == found["fetched"] == ["1", "2", "3", "4", "5"]
    assert found["folder"] == str(folder(tmp_path / "root"))


def test_what_is_there_is_not_fetched_again(
    planted: partial[list[int]], tmp_path: Path
) -> None:
    handed_out = planted()
    told: list[tuple[int, int]] = []
    _moabb.fetch(NAME, tmp_path, only=["4", "02"])
    assert handed_out == [4, 2]
    found = _moabb.fetch(NAME, tmp_path, progress=lambda *n: told.append(n))
    assert handed_out == [4, 2, 1, 3, 5]
    assert found["fetched"] == ["1", "3", "5"]
    assert told == [(2, 5), (3, 5), (4, 5), (5, 5)]
    assert _moabb.fetch(NAME, tmp_path)["fetched"] == []
    array(tmp_path).write_bytes(array(tmp_path).read_bytes()[:-4])
    assert _moabb.fetch(NAME, tmp_path)["fetched"] == ["3"]
    with pytest.raises(UnknownName, match="No subject of Planted is called '7'"):
        _moabb.fetch(NAME, tmp_path, only=["7"])


def test_some_subjects_are_partial(planted: partial[list[int]], tmp_path: Path) -> None:
    planted()
    _moabb.fetch(NAME, tmp_path, only=["1", "4", "5"])
    with pytest.raises(DataMissing, match="2 of 5 subjects are absent: 2–3"):
        prepare(NAME, data=tmp_path)
    assert (
        prepare(NAME, data=tmp_path, allow_partial=True).manifest["data"] == "partial"
    )


def test_verify_counts_what_no_source_states(root: Path) -> None:
    found = verify(NAME, data=root)
    assert {line.verdict for line in found.lines if line.what == "windows"} == {
        "unknown"
    }
    assert found.lines[0].verdict == "equal"
    assert found.lines[-1].found == 25


def test_what_moabb_says_of_its_failure_is_said(
    planted: partial[list[int]], tmp_path: Path
) -> None:
    def run(subject: int) -> Any:
        if subject == 3:
            raise ConnectionError("the host is away")
        return raw_of(subject)

    planted(run=run)
    with pytest.raises(DataMissing, match=r"subject 3 of Planted.*the host is away"):
        _moabb.fetch(NAME, tmp_path)
    handed_out = planted()
    assert _moabb.fetch(NAME, tmp_path)["fetched"] == ["3", "4", "5"]
    assert handed_out == [3, 4, 5]


def test_a_run_without_eeg_is_refused(
    planted: partial[list[int]], tmp_path: Path
) -> None:
    planted(run=lambda s: raw_of(s).pick("stim"))
    with pytest.raises(SignalError, match="without EEG channels, only stim"):
        _moabb.fetch(NAME, tmp_path)
    planted(run=lambda s: raw_of(s, annotated={1: "up", 2: "down"}).rename_channels)
    with pytest.raises(DataMissing, match="subject 1 of Planted: AttributeError"):
        _moabb.fetch(NAME, tmp_path)


def test_an_export_that_was_killed_goes_on(
    planted: partial[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    genuine = runs.write_whole

    def note(path: Path, write: Any) -> None:
        genuine(path, write)
        order.append(path.name)

    monkeypatch.setattr(runs, "write_whole", note)
    monkeypatch.setattr(exporting, "write_whole", note)
    planted()
    whole = tmp_path / "whole"
    _moabb.fetch(NAME, whole)
    order = [name for name in order if (folder(whole) / name).exists()]
    assert len(order) == 1 + 5 * 2  # one run and its description for each subject
    assert order[0] == "dataset.json"
    for n in range(1, len(order)):  # killed while file n was written
        cut = tmp_path / f"cut{n}"
        folder(cut).mkdir(parents=True)
        for name in order[:n]:
            shutil.copy(folder(whole) / name, folder(cut) / name)
        (folder(cut) / f".new-1-{order[n]}").write_bytes(b"half")
        if order[n].endswith(".json"):
            with pytest.raises(SignalError, match="the export was interrupted"):
                located(cut)
        else:
            assert (
                len(located(cut).absent(located(cut).files(folder(cut)))) == 5 - n // 2
            )
        _moabb.fetch(NAME, cut)
        assert {f.name: f.read_bytes() for f in folder(cut).iterdir()} == {
            f.name: f.read_bytes() for f in folder(whole).iterdir()
        }


def test_a_disk_that_fills_up_leaves_nothing_half_written(
    planted: partial[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted()

    def full(file: Any, x: Any) -> None:
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(exporting.np, "save", full)
        with pytest.raises(OSError, match="No space left"):
            _moabb.fetch(NAME, tmp_path)
    assert [f.name for f in folder(tmp_path).iterdir()] == ["dataset.json"]
    assert len(_moabb.fetch(NAME, tmp_path)["fetched"]) == 5


def test_what_is_dropped_is_counted(
    planted: partial[list[int]], tmp_path: Path
) -> None:
    late = (*EVENTS, (4300, 2), (4990, 1))
    odd = {
        2: raw_of(2, events=late),
        3: raw_of(3, bad=((4.2, 4.3), (9.4, 9.5))),
        4: raw_of(4, annotated={1: "up", 2: "down"}, events=(*EVENTS, (900, 1))),
    }
    planted(run=lambda s: odd.get(s) or raw_of(s))
    _moabb.fetch(NAME, tmp_path)
    found = verify(NAME, data=tmp_path)
    told = {name[4]: lines for name, lines in found.oddities.items()}
    assert told == {
        "2": (
            "1 of 7 windows dropped: 2 s from the event on leave the recording "
            "(events at 19.96 s)",
        ),
        "3": (
            "2 of 5 windows dropped: they touch a stretch marked bad (events at 3.6, "
            "7 s)",
        ),
        "4": (
            "1 of 6 windows dropped: another event at the same time point comes first "
            "(events at 3.6 s)",
        ),
    }
    store = prepare(NAME, data=tmp_path)
    assert store.index.groupby("subject").size().tolist() == [5, 6, 3, 5, 5]


def test_events_before_the_recording_are_counted(
    planted: partial[list[int]], tmp_path: Path
) -> None:
    planted(interval=(-1.0, 1.0))
    _moabb.fetch(NAME, tmp_path)
    spec = located(tmp_path)
    source = spec.find(tmp_path)[0]
    assert spec.windows(source)[0].tolist() == [2.6, 6.0, 9.405, 12.6]
    assert (
        "1 of 5 windows dropped: 2 s from the event on leave"
        in (spec.oddities(source)[0])
    )


def test_events_of_several_codes_are_one_class(
    planted: partial[list[int]], tmp_path: Path
) -> None:
    coded = tuple((at, 100 + k) for k, (at, _) in enumerate(EVENTS))
    planted(
        run=lambda s: raw_of(s, events=coded),
        events={"odd": [101, 103], "even": [100, 102]},
    )
    _moabb.fetch(NAME, tmp_path)
    spec = located(tmp_path)
    assert spec.classes == ("even", "odd")
    # The fifth event's code, 104, is none of MOABB's.
    assert spec.windows(spec.find(tmp_path)[0])[1].tolist() == [0, 1, 0, 1]


def test_runs_that_lack_channels_are_named(
    planted: partial[list[int]], tmp_path: Path
) -> None:
    short = {3: CHANNELS[:2], 4: (*CHANNELS, "Pz")}
    planted(run=lambda s: raw_of(s, channels=short.get(s, CHANNELS)))
    _moabb.fetch(NAME, tmp_path)
    with pytest.raises(SignalError, match="sub-3_ses-0morning_run-0 lack Cz, C4"):
        prepare(NAME, data=tmp_path)
    for path in folder(tmp_path).glob("sub-3*"):
        path.unlink()
    store = prepare(NAME, data=tmp_path, allow_partial=True)
    assert store.manifest["recipe"]["channels"] == list(CHANNELS)
    assert store.manifest["oddities"] == {
        "sub-4_ses-0morning_run-0": ["channels left out: Pz"]
    }


def test_a_class_that_never_comes_is_refused(
    planted: partial[list[int]], tmp_path: Path
) -> None:
    planted(events={"up": 1, "down": 2, "sideways": 3})
    _moabb.fetch(NAME, tmp_path, only=["1", "2", "3", "4"])
    some = prepare(NAME, data=tmp_path, allow_partial=True)
    assert some.manifest["counts"]["train"] == [6, 0, 9]
    _moabb.fetch(NAME, tmp_path)
    with pytest.raises(SignalError, match="the classes sideways, but no event of 5"):
        prepare(NAME, data=tmp_path)
