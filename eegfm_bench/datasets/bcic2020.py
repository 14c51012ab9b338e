"""BCIC2020-3: five imagined words, 15 subjects, 3 s windows.

From: BCI Competition 2020, track 3 (OSF ``pq7vb``), ``Data_Sample01.mat`` … ``15`` in
three folders, 256 Hz, trials of 795 time points from 0.5 s before the cue on. To: 64
channels, the last 768 time points of each trial, resampled to 200 Hz, µV. Training
and validation files are MATLAB's version 7, structs ``epo_train`` and
``epo_validation`` with ``x`` (795, 64, N) and ``y`` (5, N), one-hot; test files are
version 7.3, ``epo_test``, and their ``y`` means nothing: test labels are in the answer
sheet alone. Every subject is in all three parts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._spec import DatasetSpec, Facts, Source, Split
from eegfm_bench.datasets._twins import eeg
from eegfm_bench.datasets._twins import matlab as matlab_twin
from eegfm_bench.errors import DataMissing, SignalError
from eegfm_bench.recordings.channels import standard_name
from eegfm_bench.recordings.matlab import read_mat
from eegfm_bench.recordings.recording import Recording
from eegfm_bench.recordings.xlsx import read_rows
from eegfm_bench.symbols import PARTS
from eegfm_bench.windows.recipe import Recipe

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

CLASSES = ("hello", "help_me", "stop", "thank_you", "yes")

# The order of the files.
CHANNELS = (
    *("Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "FC5", "FC1", "FC2", "FC6", "T7"),
    *("C3", "Cz", "C4", "T8", "TP9", "CP5", "CP1", "CP2", "CP6", "TP10", "P7", "P3"),
    *("Pz", "P4", "P8", "PO9", "O1", "Oz", "O2", "PO10", "AF7", "AF3", "AF4", "AF8"),
    *("F5", "F1", "F2", "F6", "FT9", "FT7", "FC3", "FC4", "FT8", "FT10", "C5", "C1"),
    *("C2", "C6", "TP7", "CP3", "CPz", "CP4", "TP8", "P5", "P1", "P2", "P6", "PO7"),
    *("PO3", "POz", "PO4", "PO8"),
)
RATE_HZ = 256.0
# Time points of a published trial, and how many of the last are used.
N_STORED, N_USED = 795, 768
# Of each part: its folder, the variable in its files, trials in a published file.
FOLDERS = dict(zip(PARTS, ("Training set", "Validation set", "Test set"), strict=True))
STRUCTS = dict(zip(PARTS, ("epo_train", "epo_validation", "epo_test"), strict=True))
N_TRIALS = dict(zip(PARTS, (300, 50, 50), strict=True))
PART_OF = {folder: part for part, folder in FOLDERS.items()}

SUBJECTS = tuple(f"Data_Sample{n:02d}" for n in range(1, 16))

ANSWERS = "Track3_Answer Sheet_Test.xlsx"
SHEET = "Track3"
# Rows (from 0) of the answers; subject k has its trials in column 2k - 1, from 0, and
# what was imagined in column 2k.
FIRST_ROW = 3
GET_ANSWERS = (
    f"Get '{ANSWERS}' from osf.io/download/n3a2p and put it in "
    f"<root>/bcic2020/Test set/."
)

SPLIT = Split(
    train=(FOLDERS["train"],),
    val=(FOLDERS["val"],),
    test=(FOLDERS["test"],),
    source="the competition's own folders, as CBraMod uses them (commit b9e9610)",
    unit="folder",
)

RECIPE = Recipe(
    channels=CHANNELS,
    rate_hz=200.0,
    window_s=3.0,
    stride_s=3.0,
    steps=(),
    # scipy.signal.resample of 768 to 600 time points, each trial by itself.
    window_steps=(("resample", 200.0),),
    label_rule=(
        "one window for each trial, its last 768 of 795 time points at 256 Hz; the "
        "row of the 1 in y, for test trials the answer sheet's number minus 1"
    ),
)


def files(folder: Path) -> list[Source]:
    """Return every subject's file of each part, unread.

    Test files may end in ``_Test``; their labels are in the answer sheet, which lies
    beside them or one folder up.

    Raises
    ------
    DataMissing
        If there are test files and no answer sheet.
    SignalError
        If there are two.
    """
    found = []
    for part, name in FOLDERS.items():
        for path in sorted((folder / name).glob("Data_Sample*.mat")):
            match = re.fullmatch(r"(Data_Sample\d\d)(_Test)?", path.stem)
            if match is None or (match[2] and part != "test"):
                continue
            found.append(
                Source(
                    path=path,
                    subject=match[1],
                    session="1",
                    recording=f"{match[1]}-{part}",
                    person=f"bcic2020:{match[1]}",
                    extra=(_answer_sheet(folder),) if part == "test" else (),
                    unit=name,
                )
            )
    return found


def _answer_sheet(folder: Path) -> Path:
    """Return the one answer sheet."""
    places = (folder / FOLDERS["test"] / ANSWERS, folder / ANSWERS)
    found = [path for path in places if path.exists()]
    if not found:
        raise DataMissing(
            f"{folder / FOLDERS['test']} has recordings and no '{ANSWERS}', which "
            f"alone says what was imagined in them. {GET_ANSWERS}"
        )
    if found[1:]:
        raise SignalError(
            f"{found[0]} and {found[1]} both claim to be the answer sheet; expected "
            f"one. Keep the published one."
        )
    return found[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """What a file says of its trials: labels (N,), and what it leaves out."""

    labels: NDArray[np.int64]
    unsaid: tuple[str, ...]


def trials(source: Source) -> Trials:
    """Read what is imagined in every trial, and check what the file says beside.

    Nothing of the signal is read; to reach the labels of a compressed training file,
    all before them is inflated and forgotten (about 0.4 s for 300 trials).

    Raises
    ------
    SignalError
        If a file is damaged, or its channels, rate, shape or labels are not those
        expected.
    """
    stats = [path.stat() for path in (source.path, *source.extra)]
    return _trials(source, tuple((s.st_ino, s.st_size, s.st_mtime_ns) for s in stats))


# Windows and oddities ask for the same trials, one dataset apart.
@lru_cache(maxsize=256)
def _trials(source: Source, _: tuple[tuple[int, ...], ...]) -> Trials:
    part = PART_OF[source.unit]
    epo = STRUCTS[part]
    x, y, clab, fs = (f"{epo}/{name}" for name in ("x", "y", "clab", "fs"))
    found = read_mat(
        source.path,
        numbers={fs: (1, 1)} | ({} if part == "test" else {y: (len(CLASSES), None)}),
        look={x: (N_STORED, len(CHANNELS), None)},
        words=(clab,),
        may_lack=(clab, fs),
    )
    if fs in found.numbers and found.numbers[fs].item() != RATE_HZ:
        raise SignalError(
            f"{source.path}: '{fs}' is {found.numbers[fs].item():g} Hz; expected "
            f"{RATE_HZ:g}. Fetch it again."
        )
    if clab in found.words:
        _refuse_other_channels(source, found.words[clab])
    n_trials = found.shapes[x][2]
    if part == "test":
        labels = _answers(source)
        said = f"the answer sheet {source.extra[0]}"
    else:
        labels = _positions(source, y, found.numbers[y])
        said = f"'{y}'"
    if len(labels) != n_trials:
        raise SignalError(
            f"{source.path}: '{x}' has {n_trials} trials, {said} has {len(labels)}. "
            f"Fetch it again, or leave this recording out."
        )
    unsaid = [name for name in (clab, fs) if name not in found.shapes]
    return Trials(
        labels=labels,
        unsaid=tuple(f"no '{name}': taken to be as published" for name in unsaid),
    )


def _refuse_other_channels(source: Source, names: tuple[str, ...]) -> None:
    """Refuse a file whose channels are others, or in another order."""
    if len(names) != len(CHANNELS):
        raise SignalError(
            f"{source.path}: names {len(names)} channels; expected {len(CHANNELS)}. "
            f"Fetch it again."
        )
    for k, (name, expected) in enumerate(zip(names, CHANNELS, strict=True), start=1):
        if standard_name(name) != expected:
            raise SignalError(
                f"{source.path}: channel {k} is '{name}'; expected '{expected}'. "
                f"Fetch it again: every number hangs on the order."
            )


def _positions(source: Source, name: str, y: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the row of the 1 in each column (K, N)."""
    is_one_hot = ((y == 0) | (y == 1)).all(axis=0) & (y.sum(axis=0) == 1)
    if not is_one_hot.all():
        at = int(is_one_hot.argmin())
        raise SignalError(
            f"{source.path}: '{name}' of trial {at + 1} is {y[:, at].tolist()}; "
            f"expected one 1 among zeros. Fetch it again, or leave this recording out."
        )
    return np.asarray(y.argmax(axis=0), np.int64)


def _answers(source: Source) -> NDArray[np.int64]:
    """Return the labels (50,) of a subject's test trials from the answer sheet."""
    (path,) = source.extra
    stat = path.stat()
    rows = _sheet(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns))
    column = 2 * (SUBJECTS.index(source.subject) + 1)
    labels = np.empty(N_TRIALS["test"], np.int64)
    for k, row in enumerate(rows[FIRST_ROW:]):
        trial, label = _whole(row[column - 1]), _whole(row[column])
        where = f"{path}: row {FIRST_ROW + k + 1}, {source.subject}"
        if trial != k + 1:
            raise SignalError(
                f"{where}: the trial is {row[column - 1]!r}; expected {k + 1}. "
                f"{GET_ANSWERS}"
            )
        if label is None or not 1 <= label <= len(CLASSES):
            raise SignalError(
                f"{where}, trial {k + 1}: the label is {row[column]!r}; expected 1 to "
                f"{len(CLASSES)}. {GET_ANSWERS}"
            )
        labels[k] = label - 1
    return labels


@lru_cache(maxsize=4)
def _sheet(path: Path, _: tuple[int, ...]) -> list[tuple[object, ...]]:
    return read_rows(
        path,
        SHEET,
        n_rows=FIRST_ROW + N_TRIALS["test"],
        n_columns=2 * len(SUBJECTS) + 1,
    )


def _whole(cell: object) -> int | None:
    """Return a cell's whole number, be it a number or a text that ends in one."""
    if isinstance(cell, int | float) and float(cell).is_integer():
        return int(cell)
    match = re.fullmatch(r"\D*(\d+)", cell.strip()) if isinstance(cell, str) else None
    return int(match[1]) if match else None


def windows(source: Source) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return a window for each trial, as if trials had followed one another."""
    labels = trials(source).labels
    return np.arange(labels.size, dtype=np.float64) * RECIPE.window_s, labels


def read(source: Source) -> Recording:
    """Read a file in µV: the last 768 time points of its trials, end to end."""
    epo = STRUCTS[PART_OF[source.unit]]
    shape = (N_STORED, len(CHANNELS), None)
    found = read_mat(source.path, numbers={f"{epo}/x": shape}, dtype=np.float32)
    x = found.numbers[f"{epo}/x"][-N_USED:]
    return Recording(
        x=x.transpose(1, 2, 0).reshape(len(CHANNELS), -1),
        rate_hz=RATE_HZ,
        channels=CHANNELS,
        name=str(source.path),
    )


def oddities(source: Source) -> tuple[str, ...]:
    """Say how a file differs from the published ones."""
    found = trials(source)
    expected = N_TRIALS[PART_OF[source.unit]]
    said = list(found.unsaid)
    if found.labels.size != expected:
        said.append(f"{found.labels.size} trials, not {expected}")
    counts = np.bincount(found.labels, minlength=len(CLASSES))
    if counts.min() != counts.max():
        each = ", ".join(f"{n} {c}" for n, c in zip(counts, CLASSES, strict=True))
        said.append(f"classes out of balance: {each}")
    return tuple(said)


# Names the draw of people.
TWIN = "bcic2020"
# Subjects of the small twin, and trials of a file of each part: 165 + 45 + 150 windows,
# so 2 passes over train and val and one over test are 570.
SMALL_SUBJECTS = SUBJECTS[:3]
SMALL_TRIALS = {"train": 55, "val": 15, "test": 50}
LAB = eeg.Lab(
    rate_hz=RATE_HZ,
    gain=0.6,
    background_uv=3.5,
    blink_uv=8.0,
    blinks_per_minute=8.0,
    line_hz=60.0,
    line_uv=0.5,
    noise_uv=3.0,
    drift=0.03,
)
AT_EASE = eeg.State(unison=0.5)
# Each word has a place of its own, where beta rises while it is imagined: four of the
# sides and one of the midline. So orderly is nobody's brain; in life five imagined
# words are next to undecodable. Chosen on training and validation parts.
SPEECH = replace(eeg.RHYTHMS["beta"], uv=4.0, depth=0.2)
RISES = 0.8
# Seconds from a trial's first time point at which a rhythm begins to rise, stands,
# begins to fall, is down; the cue is at 0.5.
TIMES_S = (0.6, 0.9, 2.4, 2.8)
# The files' values are multiples of this, in µV.
STEP_UV = 1 / 64


def simulate(folder: Path, size: str) -> None:
    """Write the twin: beta rises at a place that the imagined word decides."""
    is_small = size == "small"
    answers = {}
    for name in FOLDERS.values():
        (folder / name).mkdir()
    for subject in SUBJECTS:
        # The answer sheet has all subjects, whoever's recordings are here.
        rng = eeg.randomness(TWIN, subject, "answers")
        answers[subject] = rng.permutation(np.arange(N_TRIALS["test"]) % len(CLASSES))
    for subject in SMALL_SUBJECTS if is_small else SUBJECTS:
        person = eeg.draw_person(CHANNELS, eeg.randomness(TWIN, subject))
        for part, name in FOLDERS.items():
            n_trials = (SMALL_TRIALS if is_small else N_TRIALS)[part]
            rng = eeg.randomness(TWIN, subject, part)
            labels = rng.permutation(np.arange(n_trials) % len(CLASSES))
            if part == "test":
                labels = answers[subject]
            x = _epochs(person, labels, rng)
            _write(folder / name / f"{subject}.mat", part, x, labels)
    write_answers(folder / FOLDERS["test"] / ANSWERS, answers)


def _epochs(
    person: eeg.Person, labels: NDArray[np.int64], rng: Generator
) -> NDArray[np.float32]:
    """Draw trials (T, C, N) in µV, cut from one recording."""
    n_trials = len(labels)
    reference = ("FCz",)
    x = eeg.record(
        CHANNELS,
        reference,
        person,
        AT_EASE,
        LAB,
        duration_s=n_trials * N_STORED / RATE_HZ,
        rng=rng,
    )
    lead = eeg.lead_field(CHANNELS, reference)
    columns = np.concatenate([lead["beta"], lead["theta"][:, :1]], axis=1)
    rise = np.interp(np.arange(N_STORED) / RATE_HZ, TIMES_S, (0, 1, 1, 0))
    change = np.zeros((len(CLASSES), n_trials, N_STORED))
    change[labels, np.arange(n_trials)] = RISES * person.response["beta"] * rise
    change = change.reshape(len(CLASSES), -1) + person.level["beta"]
    waves = eeg.waves(SPEECH, change, RATE_HZ, rng)
    x += LAB.gain * np.exp(person.gain)[:, None] * (columns @ waves)
    x = np.round(x / STEP_UV) * STEP_UV
    cut = x.reshape(len(CHANNELS), n_trials, N_STORED)
    return np.asarray(cut.transpose(2, 0, 1), np.float32)


def _write(
    path: Path, part: str, x: NDArray[np.float32], labels: NDArray[np.int64]
) -> None:
    """Write a file as its part is published: one-hot labels, or none that tell."""
    y = np.zeros((len(CLASSES), len(labels)))
    y[0 if part == "test" else labels, np.arange(len(labels))] = 1
    # x is the fifth and y the sixth, as published; clab, fs, title, t and className
    # are published fields, whose order is not known here.
    epo = {
        "clab": matlab_twin.cells(CHANNELS),
        "fs": np.array([[RATE_HZ]]),
        "title": matlab_twin.cells(["simulated"]),
        "t": (np.arange(N_STORED)[None] / RATE_HZ - 0.5) * 1000,
        "x": x,
        "y": y,
        "className": matlab_twin.cells(CLASSES),
    }
    if part == "test":
        matlab_twin.write_mat_7_3(path, {STRUCTS[part]: epo})
    else:
        # Compression takes long: one file shows that it is read.
        is_packed = part == "val" and path.stem == SUBJECTS[0]
        matlab_twin.write_mat(path, {STRUCTS[part]: epo}, compressed=is_packed)


def write_answers(path: Path, answers: dict[str, NDArray[np.int64]]) -> None:
    """Write an answer sheet; ``answers`` are labels (50,) from 0, by subject."""
    n_columns = 2 * len(SUBJECTS) + 1
    rows: list[list[object]] = [[None] * n_columns for _ in range(FIRST_ROW)]
    rows[0][0] = "Track 3"
    rows += [[None] * n_columns for _ in range(N_TRIALS["test"])]
    for k, (subject, labels) in enumerate(answers.items(), start=1):
        rows[1][2 * k - 1] = subject
        rows[2][2 * k - 1 : 2 * k + 1] = ["Trial #", "True Label"]
        for n, label in enumerate(labels.tolist()):
            rows[FIRST_ROW + n][2 * k - 1 : 2 * k + 1] = [n + 1, label + 1]
    matlab_twin.write_xlsx(path, SHEET, rows)


DATASETS = (
    DatasetSpec(
        name="bcic2020",
        title="BCIC2020-3 (BCI Competition 2020 track 3, imagined speech)",
        classes=CLASSES,
        folder="bcic2020",
        recipe=RECIPE,
        split=SPLIT,
        subjects=SUBJECTS,
        facts=Facts(
            n_subjects=15,
            n_recordings=45,
            windows={"train": 4500, "val": 750, "test": 750},
            windows_by_class={
                "train": (900,) * 5,
                "val": (150,) * 5,
                "test": (150,) * 5,
            },
            source=(
                "the competition's folders, as CBraMod (commit b9e9610) reads them: "
                "300, 50 and 50 trials of each of 15 subjects, classes in balance; the "
                "total, 6,000, is also the published one (Trace, Table 8)"
            ),
        ),
        licence="CC BY 4.0",
        access=(
            f"Get track 3 from osf.io/pq7vb (open) and put its folders 'Training set', "
            f"'Validation set' and 'Test set' in <root>/bcic2020/. {GET_ANSWERS}"
        ),
        reference=(
            "Jeong et al., 2020 International brain-computer interface competition: a "
            "review, Front Hum Neurosci 16:898300, 2022"
        ),
        files=files,
        person_of="bcic2020:{}".format,
        files_per_subject={
            subject: tuple(f"{subject}-{part}" for part in PARTS)
            for subject in SUBJECTS
        },
        windows=windows,
        read=read,
        simulate=simulate,
        # CBraMod (commit b9e9610) minimises unweighted cross-entropy.
        class_weights="none",
        oddities=oddities,
        notes=(
            "Every subject is in all three parts: scores say nothing of new people.",
            "A window begins 0.39 s before the cue, as in the published protocol.",
        ),
    ),
)
