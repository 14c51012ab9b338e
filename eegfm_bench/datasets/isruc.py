"""ISRUC-Sleep: five sleep stages, nights of 100 patients, epochs of 30 s.

From: subgroup I of the publisher, ``n/n.rec`` (EDF content, 200 Hz) and expert 1's
``n/n_1.txt``; subgroup III, ten healthy subjects, for ``isruc_s3``. To: six EEG
channels at 200 Hz, 0.3-35 Hz, 50 Hz notch, µV.

``isruc`` is what CBraMod cut: the third to the eighth signal of every file, whatever
their names, each night trimmed to whole sequences of 20 epochs that are judged
together. ``isruc@epoch`` has the very same windows, judged one by one. ``isruc@named``
takes the six by their names. Odd files: many say M1, M2 for A1, A2; subject 8 lacks F3
and F4; subject 40's are single electrodes in another order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._spec import DatasetSpec, Facts, Source, Split
from eegfm_bench.datasets._twins import isruc as isruc_twin
from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.channels import standard_name
from eegfm_bench.recordings.edf import (
    ANNOTATIONS,
    EdfHeader,
    read_edf,
    read_header,
    signals_at,
)
from eegfm_bench.recordings.hypnogram import read_hypnogram
from eegfm_bench.recordings.recording import Recording
from eegfm_bench.windows.recipe import Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES = ("W", "N1", "N2", "N3", "REM")
# The publisher's number of every stage, and the label that stands for it.
STAGES = {0: 0, 1: 1, 2: 2, 3: 3, 5: 4}
RATE_HZ, EPOCH_S, SEQUENCE = 200, 30, 20

# The usual order of the files, where LOC-A2 and ROC-A1 come before.
CHANNELS = ("F3-A2", "C3-A2", "O1-A2", "F4-A1", "C4-A1", "O2-A1")
FIRST, LAST = 2, 8

# For each channel the places of its signals in the file: one, or two to subtract.
Pick = tuple[tuple[int, ...], ...]
Rule = Callable[[Path, EdfHeader], Pick]

_FETCH = "Fetch it again, or leave this recording out."

PUBLISHED = Recipe(
    channels=CHANNELS,
    rate_hz=float(RATE_HZ),
    window_s=float(EPOCH_S),
    stride_s=float(EPOCH_S),
    steps=(("bandpass", 0.3, 35.0), ("notch", 50.0)),
    sequence=SEQUENCE,
    label_rule=(
        "expert 1: 0 W, 1 N1, 2 N2, 3 N3, 5 REM; epochs that are both whole and "
        "scored, without the rest of a division by 20; signals 3 to 8 of the file"
    ),
)
ALONE = replace(PUBLISHED, sequence=1)
NAMED = replace(
    PUBLISHED,
    label_rule=PUBLISHED.label_rule.replace(
        "signals 3 to 8 of the file", "signals by name, or differences of electrodes"
    ),
)

SPLIT = Split(
    train=tuple(f"{n:03d}" for n in range(1, 81)),
    val=tuple(f"{n:03d}" for n in range(81, 91)),
    test=tuple(f"{n:03d}" for n in range(91, 101)),
    source="CBraMod, code for ISRUC (commit b9e9610)",
)
NAMED_SPLIT = Split(
    train=tuple(s for s in SPLIT.train if s != "008"),
    val=SPLIT.val,
    test=SPLIT.test,
    source="this suite: as published, without subject 8, who lacks F3 and F4",
)
HEALTHY_SPLIT = Split(
    train=tuple(f"{n:03d}" for n in range(1, 9)),
    val=("009",),
    test=("010",),
    source="this suite: 8, 1 and 1 of the ten, as the papers say, by number",
)


def files(folder: Path, *, group: str) -> list[Source]:
    """Return every subject's ``n/n.rec`` with expert 1's hypnogram, unread.

    Raises
    ------
    SignalError
        If a recording lies in another subject's folder, or one with a hypnogram is
        absent.
    """
    for hypnogram in sorted(folder.glob("[0-9]*/[0-9]*_1.txt")):
        path = hypnogram.with_name(f"{hypnogram.stem[:-2]}.rec")
        if not path.exists():
            raise SignalError(
                f"{path}: the recording is absent, its hypnogram {hypnogram.name} is "
                f"there. Fetch it again, or give it back its name if it has another."
            )
    sources = []
    for path in sorted(folder.glob("[0-9]*/[!.]*.rec")):
        subject = path.parent.name
        if path.stem != subject or not subject.isdecimal():
            raise SignalError(
                f"{path}: lies in the folder of {subject}; expected {subject}.rec "
                f"there. Move it to its own subject's folder."
            )
        # As many digits for all: names are sorted as words.
        name = f"{int(subject):03d}"
        sources.append(
            Source(
                path=path,
                subject=name,
                session="1",
                recording=name,
                person=f"isruc:{group}-{name}",
                extra=(path.with_name(f"{subject}_1.txt"),),
            )
        )
    return sources


def by_position(path: Path, header: EdfHeader) -> Pick:
    """Return the third to the eighth signal, as published."""
    places = [i for i, label in enumerate(header.labels) if label != ANNOTATIONS]
    if len(places) < LAST:
        raise SignalError(
            f"{path}: has {len(places)} signals; expected at least {LAST}: those "
            f"from the third to the eighth are taken. {_FETCH}"
        )
    return tuple((i,) for i in places[FIRST:LAST])


def by_name(path: Path, header: EdfHeader) -> Pick:
    """Return the six by name; where there are but electrodes, two to subtract."""
    at: dict[str, int] = {}
    for i, label in enumerate(header.labels):
        at.setdefault(_ear_name(label), i)
    pick, absent = [], []
    for channel in CHANNELS:
        names = (channel,) if channel in at else tuple(channel.split("-"))
        if all(name in at for name in names):
            pick.append(tuple(at[name] for name in names))
        else:
            absent.append(channel)
    if absent:
        raise SignalError(
            f"{path}: {', '.join(absent)} can neither be found nor made of electrodes; "
            f"the file has {', '.join(at)}. {_FETCH}"
        )
    return tuple(pick)


def _ear_name(label: str) -> str:
    """Return a signal's name with A for M: both are behind the ear.

    Examples
    --------
    >>> [_ear_name(label) for label in ("F3-M2", "EEG C4-A1", "M1", "EMG")]
    ['F3-A2', 'C4-A1', 'A1', 'EMG']
    """
    ears = {"M1": "A1", "M2": "A2"}
    parts = standard_name(label).split("-")
    return "-".join(ears.get(part, part) for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """What is to be known of a recording without its signal.

    ``names`` are those of the picked signals, ``labels`` (N,) the hypnogram's;
    ``n_recorded`` counts whole epochs of the signal.
    """

    pick: Pick
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    n_recorded: int

    @property
    def n_used(self) -> int:
        """Epochs that are whole and scored, trimmed to whole sequences."""
        n_both = min(self.n_recorded, self.labels.size)
        return n_both - n_both % SEQUENCE


def survey(source: Source, rule: Rule) -> Night:
    """Read a header and a hypnogram, and hold them against what is expected.

    Raises
    ------
    SignalError
        If a file is damaged, the hypnogram is absent or has a word or number that is
        no stage, the signals picked are not at 200 Hz and in volts, or fewer than 20
        epochs are left.
    """
    path, hypnogram = source.path, source.extra[0]
    header = read_header(path)
    pick = rule(path, header)
    places = _places(pick)
    found = signals_at(path, header, places)
    n_samples = header.samples_per_record[places[0]]
    rate_hz = n_samples / header.record_s
    if rate_hz != RATE_HZ:
        raise SignalError(
            f"{path}: signal '{header.labels[places[0]]}' has {rate_hz:g} samples a "
            f"second; expected {RATE_HZ}. {_FETCH}"
        )
    name_of = {place: _ear_name(name) for name, place in found.items()}
    night = Night(
        pick=pick,
        names=tuple(" - ".join(name_of[i] for i in signals) for signals in pick),
        labels=read_hypnogram(hypnogram, STAGES),
        n_recorded=header.n_records * n_samples // (RATE_HZ * EPOCH_S),
    )
    if not night.n_used:
        raise SignalError(
            f"{path}: {night.n_recorded} whole epochs of {EPOCH_S} s, and "
            f"{night.labels.size} in {hypnogram.name}; at least {SEQUENCE} are "
            f"expected. Fetch both again, or leave this recording out."
        )
    return night


def _places(pick: Pick) -> tuple[int, ...]:
    return tuple(dict.fromkeys(i for signals in pick for i in signals))


def windows(
    source: Source, *, rule: Rule
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the epochs from the start on, as many as make whole sequences."""
    night = survey(source, rule)
    onsets_s = np.arange(night.n_used, dtype=np.float64) * EPOCH_S
    return onsets_s, night.labels[: night.n_used]


def oddities(source: Source, *, rule: Rule) -> tuple[str, ...]:
    """Return whether other signals are taken than the six, and unequal lengths."""
    night = survey(source, rule)
    said = []
    if night.names != CHANNELS:
        taken = zip(night.names, CHANNELS, strict=True)
        said.append(
            "signals taken: "
            + ", ".join(f"{name} for {c}" for name, c in taken if name != c)
        )
    if night.n_recorded != night.labels.size:
        said.append(
            f"{night.n_recorded} whole epochs of signal, {night.labels.size} in the "
            f"hypnogram: the longer one's end is dropped"
        )
    return tuple(said)


def read(source: Source, *, rule: Rule) -> Recording:
    """Read the six channels in µV."""
    pick = rule(source.path, read_header(source.path))
    places = _places(pick)
    recording = read_edf(source.path, places=places, dtype=np.float32)
    x = recording.x
    if any(len(signals) > 1 for signals in pick):
        row = {place: x[k] for k, place in enumerate(places)}
        x = np.stack([row[i] - sum(row[j] for j in rest) for i, *rest in pick])
    return recording.with_signal(x, channels=CHANNELS)


_ACCESS = (
    "Get the archives of {group} from sleeptight.isr.uc.pt (open), unpack them, and "
    "put {n} folders in <root>/{folder}/1/ …, each with n.rec and n_1.txt."
)
_REFERENCE = (
    "Khalighi et al., ISRUC-Sleep: a comprehensive public dataset for sleep "
    "researchers, Comput Methods Programs Biomed 124:180-192, 2016"
)
_LICENCE = "open download; no licence is known here"
_AS_PUBLISHED = (
    "As published, signals are taken by position: subject 8 gives C3-A2, O1-A2, C4-A1, "
    "O2-A1, X1 and X2 (chin and heart), subject 40 single electrodes, LOC and A2 among "
    "them. Every such recording is listed. isruc@named takes them by name."
)
_TRIMMED = (
    "Each night is trimmed to a multiple of 20 epochs, wherever it ends: 943 of the 99 "
    "nights' 89,283 epochs are dropped so."
)


def _first_subgroup(name: str, title: str, recipe: Recipe, note: str) -> DatasetSpec:
    """Return subgroup I with signals by position."""
    return DatasetSpec(
        name=name,
        title=title,
        classes=CLASSES,
        folder="isruc/subgroupI",
        recipe=recipe,
        split=SPLIT,
        facts=Facts(
            n_subjects=100,
            n_recordings=100,
            windows={"train": 71_180, "val": 9_360, "test": 8_700},
            source=(
                "published total 89,240; parts computed from a public log's epochs of "
                "99 subjects, and 900 of subject 8 to make the total"
            ),
        ),
        licence=_LICENCE,
        access=_ACCESS.format(group="subgroup I", n=100, folder="isruc/subgroupI"),
        reference=_REFERENCE,
        files=partial(files, group="I"),
        person_of="isruc:I-{}".format,
        files_per_subject=1,
        windows=partial(windows, rule=by_position),
        read=partial(read, rule=by_position),
        simulate=partial(isruc_twin.simulate, group="I"),
        oddities=partial(oddities, rule=by_position),
        class_weights="none",
        notes=(note, _AS_PUBLISHED, _TRIMMED),
    )


_PUBLISHED = _first_subgroup(
    "isruc",
    "ISRUC-Sleep (subgroup I, sleep stages in sequences of 20, as published)",
    PUBLISHED,
    "20 consecutive epochs are judged together: 3,559, 468 and 435 sequences.",
)
_ALONE = _first_subgroup(
    "isruc@epoch",
    "ISRUC-Sleep (subgroup I, sleep stages, epochs judged singly)",
    ALONE,
    "The windows are those of isruc to the last, so that both are scored on the same.",
)
_NAMED = replace(
    _PUBLISHED,
    name="isruc@named",
    title="ISRUC-Sleep (subgroup I, sleep stages in sequences of 20, signals by name)",
    recipe=NAMED,
    split=NAMED_SPLIT,
    facts=Facts(
        n_subjects=99,
        n_recordings=99,
        windows={"train": 70_280, "val": 9_360, "test": 8_700},
        source="computed from a public log's epochs of these 99 subjects",
    ),
    windows=partial(windows, rule=by_name),
    read=partial(read, rule=by_name),
    oddities=partial(oddities, rule=by_name),
    notes=(
        "Subject 8 lacks F3 and F4 and is left out: 99 subjects. Subject 40's channels "
        "are differences of electrodes (F3 - A2 and so on).",
        _TRIMMED,
    ),
)
_HEALTHY = replace(
    _PUBLISHED,
    name="isruc_s3",
    title="ISRUC-Sleep (subgroup III, ten healthy subjects, sequences of 20)",
    folder="isruc/subgroupIII",
    split=HEALTHY_SPLIT,
    facts=Facts(
        n_subjects=10,
        n_recordings=10,
        windows={},
        source="ten subjects (Khalighi et al., 2016); no source counts their windows",
    ),
    access=_ACCESS.format(group="subgroup III", n=10, folder="isruc/subgroupIII"),
    files=partial(files, group="III"),
    person_of="isruc:III-{}".format,
    simulate=partial(isruc_twin.simulate, group="III"),
    notes=(
        "Cut as subgroup I is. Public codes for subgroup III differ: some take the "
        "publisher's extracted channels, 30 epochs shorter, filter each epoch by "
        "itself, or split 6, 2 and 2.",
    ),
)

DATASETS = (_PUBLISHED, _ALONE, _NAMED, _HEALTHY)
