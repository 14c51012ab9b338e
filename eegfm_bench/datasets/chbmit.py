"""CHB-MIT: seizure against background, 21 cases of 20 children, 10 s windows.

From: PhysioNet ``chbmit/1.0.0``, EDF at 256 Hz, and each case's summary, which alone
says when seizures are. To: 16 bipolar channels at 200 Hz, µV, no filter.

``chbmit`` (also ``chbmit@published``; records say ``chbmit``) is what BIOT and CBraMod
cut, to the window, with its oddities. ``chbmit@corrected`` has the same recordings and
grid, labels by overlap, adds nothing, and keeps the girl of cases 01 and 21 in one
part. Odd files: signals labelled "-" were not connected; T8-P8 comes twice in nearly
all, and the first is taken; chb12_27, _28 and _29, outside both, lack all 16 channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets import _chbmit_table
from eegfm_bench.datasets._spec import DatasetSpec, Facts, Source, Split
from eegfm_bench.datasets._twins import chbmit as chbmit_twin
from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.channels import standard_name
from eegfm_bench.recordings.chbmit_summary import Intervals, read_summary
from eegfm_bench.recordings.edf import EdfHeader, read_edf, read_header
from eegfm_bench.recordings.recording import Recording, refuse_absent
from eegfm_bench.windows.cut import grid_onsets
from eegfm_bench.windows.recipe import Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Plan = tuple[NDArray[np.float64], NDArray[np.int64]]

CLASSES = ("background", "seizure")
RATE_HZ = 256
WINDOW_S = 10.0

# The order of the public code's configuration.
CHANNELS = (
    *("Fp1-F7", "F7-T7", "T7-P7", "P7-O1", "Fp2-F8", "F8-T8", "T8-P8", "P8-O2"),
    *("Fp1-F3", "F3-C3", "C3-P3", "P3-O1", "Fp2-F4", "F4-C4", "C4-P4", "P4-O2"),
)

PUBLISHED_SPLIT = Split(
    train=tuple(f"chb{n:02d}" for n in range(1, 21) if n not in (12, 13, 17)),
    val=("chb21", "chb22"),
    test=("chb23", "chb24"),
    source="BIOT and CBraMod, code for CHB-MIT (commits d138e32, b9e9610)",
    unit="case",
)
CORRECTED_SPLIT = Split(
    train=(
        *(f"chb{n:02d}" for n in range(1, 20) if n not in (12, 13, 17)),
        "chb21",
    ),
    val=("chb20", "chb22"),
    test=PUBLISHED_SPLIT.test,
    source="this suite: as published, with chb21 beside chb01 and chb20 in its place",
)

# The published loader resamples each window by itself, by FFT.
_AT_200_HZ = (("resample", 200.0),)
PUBLISHED = Recipe(
    channels=CHANNELS,
    rate_hz=200.0,
    window_s=WINDOW_S,
    stride_s=WINDOW_S,
    steps=(),
    window_steps=_AT_200_HZ,
    past_end="stretch",
    label_rule=(
        "grid: 1 if sample 256 t - 1 of a seizure's start or end lies strictly inside, "
        "else 0, within a seizure too; added, all 1: for every seizure 10 s from "
        "sample 256 (start - 1) - 1 on, every 5 s before sample 256 (end + 1) - 1"
    ),
)
CORRECTED = Recipe(
    channels=CHANNELS,
    rate_hz=200.0,
    window_s=WINDOW_S,
    stride_s=WINDOW_S,
    steps=(),
    window_steps=_AT_200_HZ,
    label_rule="1 if at least 5 s overlap one seizure",
)
LEAST_OVERLAP_S = 5.0

# How the unit is written; signals never connected, and those that hold no signal.
MICROVOLT = ("uv", "µv")
NOT_READ = ("-", "", "EDF Annotations")

# This girl came back after a year and a half: case 21 is case 01.
SAME_PERSON = {"chb21": "chb01"}
# This case's summary names only recordings with seizures, and no clock times.
NAMES_SEIZURES_ONLY = ("chb24",)
# What the summaries are held against: a shortened one must not read as no seizure.
KNOWN_S = _chbmit_table.durations_s()
KNOWN_SEIZURES = _chbmit_table.seizures_s()


def person_of(case: str) -> str:
    """Return the human a case is of.

    Examples
    --------
    >>> person_of("chb21")
    'chbmit:chb01'
    """
    return f"chbmit:{SAME_PERSON.get(case, case)}"


def files(folder: Path) -> list[Source]:
    """Return every recording of every case, unread, used by the protocols or not.

    Raises
    ------
    SignalError
        If a file lies in another case's folder.
    """
    sources = []
    for path in sorted(folder.glob("chb[0-9][0-9]/chb*.edf")):
        case = path.parent.name
        if path.name[:5] != case:
            raise SignalError(
                f"{path}: lies in the folder of {case}, its name says "
                f"{path.name[:5]}. Move it to its own case's folder."
            )
        sources.append(
            Source(
                path=path,
                subject=case,
                session="1",
                recording=path.stem,
                person=person_of(case),
                extra=(path.parent / f"{case}-summary.txt",),
            )
        )
    return sources


def seizures(source: Source) -> Intervals:
    """Return (start, end) in seconds of a recording's seizures, from the summary.

    Raises
    ------
    SignalError
        If the summary is absent or damaged; does not name the recording; or has
        seizures in one that is known to have none, or none in one that has some.
    """
    summary = source.extra[0]
    named = _summary(summary)
    name = source.path.name
    n_known = len(KNOWN_SEIZURES.get(source.recording, ()))
    if name in named:
        found = named[name]
        # Twins have one seizure where there are several: only none or some is held
        # here, and their number where a recording has its genuine length.
        if source.recording in KNOWN_S and bool(found) != bool(n_known):
            _refuse_number(source, len(found), n_known)
        return found
    is_marked = source.path.with_name(f"{name}.seizures").exists()
    if source.subject in NAMES_SEIZURES_ONLY and not is_marked and not n_known:
        return ()
    known = f"the published one has {n_known} in it" if n_known else "none is known"
    raise SignalError(
        f"{summary}: does not name {name}, so its seizures are unknown ({known}); it "
        f"names {len(named)} others. Fetch the summary again."
    )


def _refuse_number(source: Source, n_found: int, n_known: int) -> None:
    raise SignalError(
        f"{source.extra[0]}: has {n_found} seizures in {source.path.name}; expected "
        f"{n_known}, as in the published one. Fetch the summary again."
    )


def _summary(path: Path) -> Mapping[str, Intervals]:
    """Read a summary once, as long as the file stays what it is."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return read_summary(path)  # says what is missing
    return _summary_as_of(path, (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size))


@lru_cache(maxsize=64)
def _summary_as_of(path: Path, stamp: tuple[int, ...]) -> Mapping[str, Intervals]:
    return MappingProxyType(read_summary(path))


def windows_published(source: Source) -> Plan:
    """Return the grid, then the added windows, as the public code cuts them.

    An added window begins at a sample 256 k - 1, which is never on the grid.
    """
    n_times, intervals = _surveyed(source)
    onsets_s = _grid_s(n_times)
    labels = np.zeros(onsets_s.size, np.int64)
    length = round(WINDOW_S * RATE_HZ)
    added: list[int] = []
    for interval in intervals:
        start, end = (round(at_s * RATE_HZ) - 1 for at_s in interval)
        for mark in (start, end):
            row = mark // length
            if mark % length > 0 and row < labels.size:
                labels[row] = 1
        added += range(
            max(0, start - RATE_HZ), min(end + RATE_HZ, n_times), 5 * RATE_HZ
        )
    return (
        np.concatenate([onsets_s, np.array(added, np.float64) / RATE_HZ]),
        np.concatenate([labels, np.ones(len(added), np.int64)]),
    )


def windows_corrected(source: Source) -> Plan:
    """Return the grid alone, labelled by how much of a window is one seizure."""
    n_times, intervals = _surveyed(source)
    onsets_s = _grid_s(n_times)
    labels = np.zeros(onsets_s.size, np.int64)
    for start_s, end_s in intervals:
        overlap_s = np.minimum(onsets_s + WINDOW_S, end_s) - np.maximum(
            onsets_s, start_s
        )
        labels[overlap_s >= LEAST_OVERLAP_S] = 1
    return onsets_s, labels


def events(source: Source) -> NDArray[np.float64]:
    """Return the seizures (n, 2) in seconds from the recording's start."""
    return np.array(seizures(source), np.float64).reshape(-1, 2)


def oddities_published(source: Source) -> tuple[str, ...]:
    """Return whether windows were added, and what the summary leaves out."""
    is_added = seizures(source) and ("overlapping seizure windows added",)
    return (*is_added, *oddities_corrected(source))


def oddities_corrected(source: Source) -> tuple[str, ...]:
    """Return what a recording's summary leaves out."""
    if source.path.name in _summary(source.extra[0]):
        return ()
    return ("not named in the summary: taken to have no seizure",)


def read(source: Source) -> Recording:
    """Read the 16 channels of one EDF file in µV."""
    return read_edf(source.path, channels=CHANNELS, dtype=np.float32)


def _surveyed(source: Source) -> tuple[int, Intervals]:
    """Return time points and seizures, from one header and the summary.

    Raises
    ------
    SignalError
        If a channel is absent, not at 256 Hz or not in µV, another signal is faster,
        a seizure leaves the recording, or a recording of its genuine length has
        another number of seizures than it is known to have.
    """
    header = read_header(source.path)
    refuse_absent(str(source.path), CHANNELS, header.channels)
    duration_s = header.duration_s
    _refuse_unreadable(source.path, header)
    intervals = seizures(source)
    n_known = len(KNOWN_SEIZURES.get(source.recording, ()))
    if duration_s == KNOWN_S.get(source.recording) and len(intervals) != n_known:
        _refuse_number(source, len(intervals), n_known)
    for start_s, end_s in intervals:
        if end_s > duration_s:
            raise SignalError(
                f"{source.path} lasts {duration_s:g} s, {source.extra[0].name} has a "
                f"seizure in it from {start_s:g} to {end_s:g} s. Fetch both again."
            )
    return round(duration_s * RATE_HZ), intervals


def _refuse_unreadable(path: Path, header: EdfHeader) -> None:
    """Hold rate and unit of the channels that ``read`` takes: the first of a name.

    It reads signals of the fastest rate alone, so none may be faster.
    """
    judged: set[str] = set()
    for label, n_samples, unit in zip(
        header.labels, header.samples_per_record, header.units, strict=True
    ):
        name = standard_name(label)
        is_first = name in CHANNELS and name not in judged
        judged.add(name)
        is_read = label not in NOT_READ
        rate_hz = n_samples / header.record_s
        if (is_first and rate_hz != RATE_HZ) or (is_read and rate_hz > RATE_HZ):
            raise SignalError(
                f"{path}: channel {label} has {rate_hz:g} samples a second; expected "
                f"{RATE_HZ}. Fetch the recording again."
            )
        if is_first and unit.lower() not in MICROVOLT:
            raise SignalError(
                f"{path}: channel {label} is in '{unit}'; expected uV. Fetch the "
                f"recording again."
            )


def _grid_s(n_times: int) -> NDArray[np.float64]:
    return grid_onsets(n_times / RATE_HZ, window_s=WINDOW_S, stride_s=WINDOW_S)


_NOTES = (
    "Seizures are rare, and the public codes do nothing about it but add windows: "
    "BIOT and CBraMod draw train windows in plain random order and minimise unweighted "
    "binary cross-entropy (class_weights=none, as here at the paper scale). "
    "BIOT's authors name a focal loss for their paper (alpha 0.8, gamma 0.7).",
    "Balanced accuracy is at 0.5, as in CBraMod; BIOT takes the threshold at which as "
    "many windows are positive as are true.",
    "chb24's summary names recordings with seizures only; its others count as without.",
)

_ACCESS = (
    "Get it from physionet.org/content/chbmit/1.0.0 (open, 46 GB) and put its folders "
    "in <root>/chbmit/chb01/ …, summaries included; cases 12, 13 and 17 are not needed."
)
_REFERENCE = (
    "Shoeb, Application of machine learning to epileptic seizure onset detection and "
    "treatment, PhD thesis, MIT, 2009; Guttag, CHB-MIT Scalp EEG Database 1.0.0, "
    "PhysioNet, 2010, doi 10.13026/C2K01R"
)
_RECORDINGS = {
    case: _chbmit_table.recordings_of(case) for case in _chbmit_table.RECORDINGS
}

DATASETS = (
    DatasetSpec(
        name="chbmit",
        aliases=("chbmit@published",),
        title="CHB-MIT (PhysioNet, seizures, as published)",
        classes=CLASSES,
        folder="chbmit",
        recipe=PUBLISHED,
        split=PUBLISHED_SPLIT,
        facts=Facts(
            n_subjects=21,
            n_recordings=605,
            windows={"train": 286_964, "val": 23_065, "test": 16_964},
            windows_by_class={
                "train": (285_070, 1_894),
                "val": (22_965, 100),
                "test": (16_712, 252),
            },
            source=(
                "published total 326,993; computed from 605 durations and the "
                "summaries' seizures by the public code's rule"
            ),
        ),
        licence="ODC-By 1.0",
        access=_ACCESS,
        reference=_REFERENCE,
        files=files,
        person_of=person_of,
        files_per_subject=_RECORDINGS,
        windows=windows_published,
        read=read,
        simulate=partial(chbmit_twin.simulate, val="chb21"),
        oddities=oddities_published,
        events=events,
        class_weights="none",
        notes=(
            "chb21 is the same girl as chb01: the published split has her in train and "
            "in val.",
            "As published, windows wholly within a seizure are labelled background "
            "(777 of 325,028 on the grid), and 1,965 overlapping seizure windows are "
            "added, in val and test too (train 1,673, val 86, test 206); two of test "
            "run past chb24_11's end and are stretched to 10 s.",
            *_NOTES,
        ),
    ),
    DatasetSpec(
        name="chbmit@corrected",
        title="CHB-MIT (PhysioNet, seizures, corrected labels and split)",
        classes=CLASSES,
        folder="chbmit",
        recipe=CORRECTED,
        split=CORRECTED_SPLIT,
        facts=Facts(
            n_subjects=21,
            n_recordings=605,
            windows={"train": 287_176, "val": 21_094, "test": 16_758},
            windows_by_class={
                "train": (286_383, 793),
                "val": (21_043, 51),
                "test": (16_660, 98),
            },
            source="computed from 605 durations and the summaries' seizures",
        ),
        licence="ODC-By 1.0",
        access=_ACCESS,
        reference=_REFERENCE,
        files=files,
        person_of=person_of,
        files_per_subject=_RECORDINGS,
        windows=windows_corrected,
        read=read,
        simulate=partial(chbmit_twin.simulate, val="chb22"),
        oddities=oddities_corrected,
        events=events,
        class_weights="none",
        notes=_NOTES,
    ),
)
