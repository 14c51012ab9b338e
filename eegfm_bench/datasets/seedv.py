"""SEED-V: five emotions while films are watched, 16 subjects, 1 s windows.

From: ``EEG_raw/{subject}_{session}_{YYYYMMDD}.cnt``, Neuroscan, 1000 Hz, 66 channels.
To: 62 channels at 200 Hz, 0.3-75 Hz, µV; no notch, no other reference. Every session
has 15 films at published times in whole seconds: 2,743, 2,191 and 2,425 windows.

The header of ``7_1_20180411.cnt`` is broken (a negative count of time points) and the
publisher ships ``7_1_20180411_repaired.cnt`` too: exactly one is used, the repaired.

The simulated twin has films of 3 or 4 s, since recordings of true length have 40 GB.
They are in its files' event tables, and each file's header says in the place of the
patient that it is simulated: only then is the event table looked at. A genuine
recording is always cut at the published times, and a short simulated one under a real
data root gives counts that ``prepare`` and ``verify`` refuse.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._seedv_films import (
    BROKEN,
    CHANNELS,
    N_FILMS,
    NOT_USED,
    RATE_HZ,
    REPAIRED,
    SESSIONS,
    Session,
)
from eegfm_bench.datasets._spec import DatasetSpec, Facts, Source, Split
from eegfm_bench.datasets._twins.seedv import BEGINS, ENDS, SIMULATED, simulate
from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.cnt import CntHeader, read_cnt, read_events, read_header
from eegfm_bench.recordings.recording import Recording, refuse_absent
from eegfm_bench.windows.recipe import Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES = ("disgust", "fear", "sad", "neutral", "happy")

TRIALS = tuple(f"trial {k}" for k in range(N_FILMS))
SPLIT = Split(
    train=TRIALS[:5],
    val=TRIALS[5:10],
    test=TRIALS[10:],
    source="CBraMod, preprocessing of SEED-V (commit b9e9610)",
    unit="trial",
)

RECIPE = Recipe(
    channels=CHANNELS,
    rate_hz=200.0,
    window_s=1.0,
    stride_s=1.0,
    # CBraMod (commit b9e9610) resamples first and filters what is left.
    steps=(("resample", 200.0), ("bandpass", 0.3, 75.0)),
    label_rule="every whole second of a film; the label is the film's emotion",
)

NAME = re.compile(r"([1-9]\d*)_([123])_(\d{8})(_repaired)?\.cnt")


def files(folder: Path) -> list[Source]:
    """Return every session's recording, unread: the repaired one where there are two.

    Raises
    ------
    SignalError
        If a name is not as published, or two files claim one session.
    """
    sources: dict[tuple[str, str], Source] = {}
    for path in sorted(folder.glob("EEG_raw/[!.]*.cnt")):
        match = NAME.fullmatch(path.name)
        if match is None:
            raise SignalError(
                f"{path}: not the name of a SEED-V recording; expected "
                f"subject_session_YYYYMMDD.cnt with session 1, 2 or 3. Move the file "
                f"away, or give it its published name."
            )
        subject, session, _, is_repaired = match.groups()
        if not is_repaired and _repaired(path).exists():
            continue
        other = sources.get((subject, session))
        if other is not None:
            raise SignalError(
                f"{path} and {other.path} are both of subject {subject}, session "
                f"{session}; expected one recording. Keep the published one."
            )
        sources[subject, session] = Source(
            path=path,
            subject=subject,
            session=session,
            recording=path.stem,
            person=f"seedv:{subject}",
        )
    return list(sources.values())


def windows(source: Source) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return every whole second of every film, and the film's emotion.

    Raises
    ------
    SignalError
        If the file is damaged, has other channels or another rate, or ends before a
        film does.
    """
    header = _header(source)
    session = _session(source, header)
    films = list(zip(session.starts_s, session.ends_s, strict=True))
    for trial, (start_s, end_s) in zip(TRIALS, films, strict=True):
        if end_s > header.duration_s:
            raise SignalError(
                f"{source.path}: ends at {header.duration_s:g} s, before the end of "
                f"{trial} of session {source.session} ({start_s} to {end_s} s). Fetch "
                f"it again, or leave subject {source.subject} out."
            )
    onsets_s = np.concatenate([np.arange(*film, dtype=np.float64) for film in films])
    lengths = [end_s - start_s for start_s, end_s in films]
    return onsets_s, np.repeat(np.array(session.labels, np.int64), lengths)


def units_of(source: Source, onsets_s: NDArray[np.float64]) -> Sequence[str]:
    """Return the trial, 0 to 14, in which each window lies."""
    starts_s = _session(source, _header(source)).starts_s
    found = np.searchsorted(starts_s, onsets_s, side="right") - 1
    return [TRIALS[k] for k in found]


def read(source: Source) -> Recording:
    """Read the 62 channels in µV; in single precision an hour has 0.9 GB."""
    return read_cnt(source.path, channels=CHANNELS)


def oddities(source: Source) -> tuple[str, ...]:
    """Say which copy is used, and how a recording differs from the published ones."""
    header = _header(source)
    said = []
    if header.patient == SIMULATED:
        said.append("simulated: films as in its own event table")
    stem = source.path.stem
    if stem.endswith(REPAIRED):
        broken = source.path.with_name(f"{stem.removesuffix(REPAIRED)}.cnt")
        if broken.exists():
            said.append(f"repaired copy; {broken.name} beside it is not used")
    if header.n_spare:
        said.append(f"{header.n_spare} time points after the last that is counted")
    return tuple(said)


def _repaired(path: Path) -> Path:
    return path.with_name(f"{path.stem}{REPAIRED}.cnt")


def _header(source: Source) -> CntHeader:
    """Read the header; refuse other channels than SEED-V's 66, or another rate."""
    try:
        header = read_header(source.path)
    except SignalError as error:
        if source.path.stem != BROKEN:
            raise
        raise SignalError(
            f"{error} The publisher ships {_repaired(source.path).name} in its place: "
            f"put it beside this file."
        ) from error
    everything = (*CHANNELS, *NOT_USED)
    if len(header.channels) != len(everything):
        raise SignalError(
            f"{source.path}: {len(header.channels)} channels; expected "
            f"{len(everything)}, 62 of the scalp and {', '.join(NOT_USED)}. Fetch it "
            f"again."
        )
    refuse_absent(str(source.path), everything, header.channels)
    if header.rate_hz != RATE_HZ:
        raise SignalError(
            f"{source.path}: {header.rate_hz:g} Hz; expected {RATE_HZ}: at another "
            f"rate every film would lie elsewhere. Fetch it again."
        )
    # A damaged count reads like narrower values, and gives noise of the right length.
    if header.n_bytes != 4:
        raise SignalError(
            f"{source.path}: its header speaks of values of {8 * header.n_bytes} bits; "
            f"expected 32, as in all recordings of SEED-V. Fetch it again."
        )
    return header


def _session(source: Source, header: CntHeader) -> Session:
    """Return the published films; of a simulated recording, those of its own table."""
    published = SESSIONS[source.session]
    if header.patient != SIMULATED:
        return published
    events = read_events(source.path)
    starts_s, ends_s = (
        tuple(round(e.onset_s) for e in events if e.code == str(code))
        for code in (BEGINS, ENDS)
    )
    told = list(chain(*zip(starts_s, ends_s, strict=False)))
    n_told = (len(starts_s), len(ends_s))
    if n_told != (N_FILMS, N_FILMS) or told != sorted(told):
        raise SignalError(
            f"{source.path}: a simulated recording with {n_told[0]} beginnings and "
            f"{n_told[1]} ends of films; expected {N_FILMS} of each, in turn. Delete "
            f"the twin; it is then written anew."
        )
    return Session(starts_s=starts_s, ends_s=ends_s, labels=published.labels)


SUBJECTS = tuple(str(n) for n in range(1, 17))

DATASETS = (
    DatasetSpec(
        name="seedv",
        title="SEED-V (emotions aroused by films)",
        classes=CLASSES,
        folder="seedv",
        recipe=RECIPE,
        split=SPLIT,
        subjects=SUBJECTS,
        units_of=units_of,
        facts=Facts(
            n_subjects=16,
            n_recordings=48,
            windows={"train": 34_432, "val": 42_960, "test": 40_352},
            # In the order of CLASSES.
            windows_by_class={
                "train": (5824, 5600, 11_440, 7488, 4080),
                "val": (7440, 10_896, 9792, 5936, 8896),
                "test": (6544, 7584, 9440, 10_256, 6528),
            },
            source=(
                "computed from the published times of all films; the total, 117,744, "
                "is also the published one (Trace, Table 8)"
            ),
        ),
        licence="no open licence: use as agreed with the publisher, BCMI (SJTU)",
        access=(
            "Apply for it at bcmi.sjtu.edu.cn/home/seed/seed-v.html (signed agreement) "
            "and put its EEG_raw/ in <root>/seedv/."
        ),
        reference=(
            "Liu et al., Comparing recognition performance and robustness of "
            "multimodal deep learning models for multimodal emotion recognition, IEEE "
            "Trans. Cogn. Dev. Syst. 14(2), 2022"
        ),
        files=files,
        person_of="seedv:{}".format,
        files_per_subject=len(SESSIONS),
        windows=windows,
        read=read,
        simulate=simulate,
        oddities=oddities,
        # CBraMod (commit b9e9610) minimises unweighted cross-entropy.
        class_weights="none",
        notes=(
            "The same 16 people, in the same sessions, are in all three parts: the "
            "published split goes by film (0-4, 5-9, 10-14), so that scores say "
            "nothing about new people.",
            "Windows follow each other without a gap within a film, and parts differ "
            "in their share of classes; val has more windows than train.",
            "7_1_20180411.cnt has a broken header: its repaired copy is used alone. "
            "Both together would be 2,743 windows too many.",
        ),
    ),
)
