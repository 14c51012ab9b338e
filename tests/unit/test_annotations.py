"""Annotations of EDF+ files, read without their signals."""

from __future__ import annotations

from pathlib import Path

import pytest

from eegfm_bench.datasets._prepare import twin_root
from eegfm_bench.datasets._spec import find_dataset
from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.annotations import read_annotations
from eegfm_bench.recordings.edf import read_header
from eegfm_bench.recordings.recording import Event
from tests.unit.skeletons import write_edf_skeleton


def assert_equal_to_mne(path: Path) -> None:
    import mne

    theirs = mne.io.read_raw_edf(path, verbose="ERROR").annotations
    mine = read_annotations(path)
    assert [event.code for event in mine] == list(theirs.description)
    assert [event.onset_s for event in mine] == pytest.approx(theirs.onset, abs=1e-9)
    assert [e.duration_s for e in mine] == pytest.approx(theirs.duration, abs=1e-9)


@pytest.mark.data
@pytest.mark.parity
def test_real_annotations_equal_mne(data_root: Path) -> None:
    assert_equal_to_mne(data_root / "eegmmidb" / "S001" / "S001R04.edf")


@pytest.mark.parity
def test_simulated_annotations_equal_mne() -> None:
    root = twin_root(find_dataset("physionet_mi"))
    assert_equal_to_mne(root / "eegmmidb" / "S092" / "S092R04.edf")


EVENTS = [
    Event(onset_s=0.0, duration_s=4.0, code="T0"),
    Event(onset_s=4.25, duration_s=1.5, code="T1"),
    Event(onset_s=4.75, duration_s=0.0, code="T2"),
    Event(onset_s=9.5, duration_s=2.0, code="T1"),
]


def skeleton(path: Path) -> Path:
    write_edf_skeleton(
        path,
        labels=["C3..", "C4.."],
        samples_per_record=100,
        n_records=10,
        events=EVENTS,
    )
    return path


def test_a_skeleton_has_the_header_and_the_annotations_it_was_given(
    tmp_path: Path,
) -> None:
    path = skeleton(tmp_path / "a.edf")
    header = read_header(path)
    assert header.channels == ("C3", "C4")
    assert header.samples_per_record == (100, 100, 80)
    assert header.duration_s == 10.0
    assert list(read_annotations(path)) == EVENTS


def test_annotations_that_cannot_be_read_name_the_file(tmp_path: Path) -> None:
    path = skeleton(tmp_path / "a.edf")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"+4.25\x151.5\x14T1\x14", b"\xff" * 13))
    with pytest.raises(SignalError, match=r"a\.edf: the EDF\+ annotations cannot be"):
        read_annotations(path)
