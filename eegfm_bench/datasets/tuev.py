"""TUEV: six kinds of events in clinical EEG, one window of 5 s for every label.

From: the TUH EEG Events Corpus, ``edf/train/<subject>/`` and ``edf/eval/<index>/``,
EDF at 250 Hz mostly, each with a ``.rec`` of labelled seconds. To: 16 bipolar channels
at 200 Hz, µV, 0.3-75 Hz, 60 Hz notch.

As CBraMod cuts it: a window for every row of a ``.rec``, from 2 s before its start to
2 s after its stop. Rows are about one channel each, so several at one time give the
same window again, now and then with another label; all are kept, and counted. Within
2 s of an end a window goes on at the other end of the recording: a published oddity.
``.lab`` and ``.htk`` files are not read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._spec import DatasetSpec, Facts, Source, Split
from eegfm_bench.datasets._twins import tuev as tuev_twin
from eegfm_bench.errors import SignalError, listed
from eegfm_bench.recordings.edf import EdfHeader, read_edf, read_header, signals_at
from eegfm_bench.recordings.recording import Recording, refuse_absent
from eegfm_bench.recordings.tcp_rec import TcpRows, read_rec
from eegfm_bench.windows.recipe import Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

# In the order of the labels 1 to 6.
CLASSES = ("SPSW", "GPED", "PLED", "EYEM", "ARTF", "BCKG")
USUAL_HZ = 250.0
RATE_HZ = 200
MARGIN_S, EVENT_S = 2, 1

# The order of the public code; electrodes have the publisher's old names.
CHANNELS = (
    *("Fp1-F7", "F7-T3", "T3-T5", "T5-O1", "Fp2-F8", "F8-T4", "T4-T6", "T6-O2"),
    *("Fp1-F3", "F3-C3", "C3-P3", "P3-O1", "Fp2-F4", "F4-C4", "C4-P4", "P4-O2"),
)
_PAIRS = tuple(channel.split("-") for channel in CHANNELS)
ELECTRODES = tuple(dict.fromkeys(name for pair in _PAIRS for name in pair))
# Only these labels are taken: the public code leaves out files that have others.
LABELS = tuple(f"EEG {name.upper()}-REF" for name in ELECTRODES)

# The public rule since 2025-06-02: ids sorted as strings, the first int(0.8 n) of n.
TRAIN_SHARE = 0.8
TRAIN, VAL, TEST = (
    "edf/train, first 80 % of sorted subjects",
    "edf/train, last 20 % of sorted subjects",
    "edf/eval",
)
SPLIT = Split(
    train=(TRAIN,),
    val=(VAL,),
    test=(TEST,),
    source=(
        "the publisher's eval is test; CBraMod, preprocessing of TUEV since "
        "2025-06-02 (commit 390f234): train subjects sorted as strings, the first "
        "int(0.8 n) of n train, the others validate"
    ),
    unit="folder",
)

RECIPE = Recipe(
    channels=CHANNELS,
    rate_hz=float(RATE_HZ),
    window_s=float(2 * MARGIN_S + EVENT_S),
    # Events lie anywhere, several at one time: the length of one.
    stride_s=float(EVENT_S),
    # CBraMod (commit b9e9610), in this order; its montage comes last, here it comes
    # first (``read``): all steps are linear.
    steps=(("resample", float(RATE_HZ)), ("bandpass", 0.3, 75.0), ("notch", 60.0)),
    past_end="wrap",
    label_rule=(
        "one window for every row of the .rec, duplicates too: from 2 s before the "
        "first time point at 200 Hz not before its start, to 2 s after that of its "
        "stop; its label, 1 to 6, minus 1"
    ),
)


def files(folder: Path) -> list[Source]:
    """Return every recording, unread; who trains and who validates is decided here.

    Raises
    ------
    SignalError
        If a folder holds no recording, a file lies elsewhere than in a subject's own
        folder, or events have no recording: the subjects found decide the split.
    """
    edf = folder / "edf"
    for path in sorted(edf.rglob("[!.]*.edf")):
        where = path.relative_to(edf).parts
        if len(where) != 3 or where[0] not in ("train", "eval"):
            raise SignalError(
                f"{path}: expected recordings in {edf}/train/<subject>/ and "
                f"{edf}/eval/<index>/ alone. Move it there, or out of {edf}."
            )
    train, test = _by_folder(edf / "train"), _by_folder(edf / "eval")
    n_train = int(len(train) * TRAIN_SHARE)
    sources = []
    for k, (subject, paths) in enumerate(train.items()):
        for path in paths:
            if path.name.partition("_")[0] != subject:
                raise SignalError(
                    f"{path}: lies in the folder of {subject}, its name says "
                    f"{path.name.partition('_')[0]}. Move it to its own subject's "
                    f"folder."
                )
            unit = TRAIN if k < n_train else VAL
            # A patient of the whole corpus, TUEG, whose ids these are.
            sources.append(_source(path, subject, unit, person=f"tuh:{subject}"))
    for index, paths in test.items():
        # Indices, not ids: not to be taken for a subject of train.
        name = f"eval-{index}"
        sources += [_source(p, name, TEST, person=f"tuev:{name}") for p in paths]
    return sources


def _by_folder(part: Path) -> dict[str, list[Path]]:
    """Return the recordings of every folder, folders sorted by name as strings."""
    if not part.is_dir():
        return {}
    found = {}
    for own in sorted(part.iterdir(), key=lambda path: path.name):
        if not own.is_dir() or own.name.startswith("."):
            continue
        paths = sorted(own.glob("[!.]*.edf"))
        alone = {path.stem for path in own.glob("[!.]*.rec")} - {p.stem for p in paths}
        if alone or not paths:
            lacks = listed(sorted(f"{stem}.edf" for stem in alone)) or "any .edf file"
            raise SignalError(
                f"{own}: lacks {lacks}. All its subjects decide how the set is split: "
                f"fetch the folder again, or remove it."
            )
        found[own.name] = paths
    return found


def _source(path: Path, subject: str, unit: str, *, person: str) -> Source:
    return Source(
        path=path,
        subject=subject,
        session="1",
        recording=path.stem,
        person=person,
        extra=(path.with_suffix(".rec"),),
        unit=unit,
    )


def windows(source: Source) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return a window for every row, in the order of the file."""
    header = read_header(source.path)
    rows = read_rec(source.extra[0])
    first = _placed(source, rows, _n_times(_rate_hz(source.path, header), header))
    return (first - MARGIN_S * RATE_HZ) / RATE_HZ, rows.labels - 1


def oddities(source: Source) -> tuple[str, ...]:
    """Say at what other rate a recording is, and how many windows come again."""
    rate_hz = _rate_hz(source.path, read_header(source.path))
    rows = read_rec(source.extra[0])
    said = [] if rate_hz == USUAL_HZ else [f"{rate_hz:g} Hz, not {USUAL_HZ:g}"]
    label_at: dict[int, int] = {}
    n_again = n_other = 0
    for at, label in zip(time_points(rows.starts_s), rows.labels, strict=True):
        n_again += int(at) in label_at
        n_other += label_at.setdefault(int(at), int(label)) != label
    if n_again:
        said.append(
            f"{n_again} rows repeat a time already seen, {n_other} of them with "
            f"another label"
        )
    return tuple(said)


def read(source: Source) -> Recording:
    """Read the 16 bipolar channels of one EDF file in µV."""
    places = _places(source.path, read_header(source.path))
    electrodes = read_edf(source.path, places=places)
    first, second = (
        [ELECTRODES.index(name) for name in ends] for ends in zip(*_PAIRS, strict=True)
    )
    x = electrodes.x[first] - electrodes.x[second]
    return electrodes.with_signal(x, channels=CHANNELS)


def time_points(at_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the first time point at 200 Hz that is not before each time.

    Examples
    --------
    >>> time_points(np.array([0.0, 362.4, 362.401, 362.405]))
    array([    0, 72480, 72481, 72481])
    """
    # 362.4 · 200 may come out above 72480, yet 72480 / 200 is 362.4 to the bit.
    k = np.ceil(np.asarray(at_s) * RATE_HZ).astype(np.int64)
    k = np.where((k - 1) / RATE_HZ >= at_s, k - 1, k)
    return np.where(k / RATE_HZ < at_s, k + 1, k)


def _placed(source: Source, rows: TcpRows, n_times: int) -> NDArray[np.int64]:
    """Return the first time point of every row's event; refuse what has no place."""
    late = rows.stops_s > n_times / RATE_HZ
    if late.any():
        raise _refused(
            source,
            rows,
            late,
            f"ends after {source.path.name}, which lasts {n_times / RATE_HZ:g} s",
        )
    first, stop = time_points(rows.starts_s), time_points(rows.stops_s)
    odd = stop - first != EVENT_S * RATE_HZ
    if odd.any():
        n_points = (stop - first)[odd][0]
        raise _refused(
            source,
            rows,
            odd,
            f"lasts {n_points} time points at {RATE_HZ} Hz; expected "
            f"{EVENT_S * RATE_HZ} ({EVENT_S} s)",
        )
    margin = MARGIN_S * RATE_HZ
    beyond = (first - margin < -n_times) | (stop + margin > 2 * n_times)
    if beyond.any():
        raise _refused(
            source,
            rows,
            beyond,
            f"has a window that goes round {source.path.name}, which lasts "
            f"{n_times / RATE_HZ:g} s, more than once",
        )
    return first


def _refused(
    source: Source, rows: TcpRows, which: NDArray[np.bool_], what: str
) -> SignalError:
    """Name the first of these rows."""
    k = int(which.argmax())
    return SignalError(
        f"{source.extra[0]}, row {rows.lines[k]}: from {rows.starts_s[k]:.10g} to "
        f"{rows.stops_s[k]:.10g} s {what}. Fetch both files again."
    )


def _places(path: Path, header: EdfHeader) -> tuple[int, ...]:
    """Return where the 16 electrodes are among a file's signals.

    Raises
    ------
    SignalError
        If one is absent or there twice.
    """
    refuse_absent(str(path), LABELS, header.labels)
    twice = [label for label in LABELS if header.labels.count(label) > 1]
    if twice:
        raise SignalError(
            f"{path}: the signals {', '.join(twice)} come twice; expected one of each. "
            f"Fetch it again."
        )
    return tuple(header.labels.index(label) for label in LABELS)


def _rate_hz(path: Path, header: EdfHeader) -> float:
    """Return the one rate of the electrodes, all in volts; others may differ."""
    places = _places(path, header)
    signals_at(path, header, places)
    return header.samples_per_record[places[0]] / header.record_s


def _n_times(rate_hz: float, header: EdfHeader) -> int:
    """Return the length after resampling, as MNE rounds it."""
    return round(RATE_HZ / rate_hz * round(header.duration_s * rate_hz))


_NOTES = (
    "Rows of one time give the same window again, at times with another label; kept as "
    "published. Each recording's number of them is among its oddities.",
    "eval's folders are numbered, train's named: whether somebody is in both cannot be "
    "told from them, so persons are kept apart by folder. train's ids are taken "
    "for TUEG's: one id is one person in both.",
    "Which subjects validate depends on all ids in edf/train: with a part of the set "
    "the split is another one.",
    "Only signals labelled 'EEG …-REF' are taken. The public code leaves out files "
    "that lack one of the 16; here they are an error.",
)
_REFERENCE = (
    "Harati et al., Improved EEG event classification using differential energy, IEEE "
    "SPMB 2015; Obeid & Picone, The Temple University Hospital EEG data corpus, Front "
    "Neurosci 10:196, 2016"
)
_V200 = {"train": 67_436, "val": 15_634, "test": 29_421}
_V201 = {"train": 68_445, "val": 15_487, "test": 29_421}


def _release(
    name: str,
    version: str,
    windows_by_part: dict[str, int],
    other: dict[str, dict[str, int]],
) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        title=f"TUEV (TUH EEG Events Corpus v{version})",
        classes=CLASSES,
        folder="tuev",
        recipe=RECIPE,
        split=SPLIT,
        facts=Facts(
            n_subjects=None,
            n_recordings=None,
            windows=windows_by_part,
            source=(
                f"counts for v{version} in a public log of CBraMod's preprocessing; "
                f"not yet held against the files"
            ),
            others=other,
        ),
        licence="the publisher's form, to be signed",
        access=(
            f"Ask for it at isip.piconepress.com/projects/nedc/html/tuh_eeg (a signed "
            f"form) and put v{version}'s folder edf/, with its train/ and eval/ and "
            f"the .rec files, in <root>/tuev/."
        ),
        reference=_REFERENCE,
        files=files,
        files_per_subject=1,
        windows=windows,
        read=read,
        simulate=tuev_twin.simulate,
        oddities=oddities,
        notes=_NOTES,
        # CBraMod: plain cross-entropy, labels smoothed.
        class_weights="none",
        # Who is in the set is not known here: nobody is ever absent.
        subjects=(),
        unnamed=(
            "the folders of its test part are numbered, not named: whether those "
            "patients are in a source of the same hospital cannot be told"
        ),
    )


DATASETS = (
    _release(
        "tuev", "2.0.0", _V200, {"TUEV v2.0.1, which is 'tuev@2.0.1' here": _V201}
    ),
    _release(
        "tuev@2.0.1", "2.0.1", _V201, {"TUEV v2.0.0, which is 'tuev' here": _V200}
    ),
)
