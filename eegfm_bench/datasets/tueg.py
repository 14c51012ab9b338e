"""TUEG: all of a hospital's clinical EEG, a corpus without labels for pre-training.

From: the TUH EEG Corpus v2.0.1, ``edf/<group>/<patient>/<session>/<montage>/``, EDF at
250 Hz mostly. To: 19 electrodes at 200 Hz, µV, 0.3-75 Hz, 60 Hz notch, windows of 30 s.

As CBraMod cleans it: the montage 04_tcp_le_a is skipped, and so are recordings that
lack one of the 19 or last less than 5 min; the first and the last minute are dropped;
windows in which any value reaches 100 µV are left out. That is known once a window is
cut: until then all count as planned.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._spec import DatasetSpec, Facts, Source, Split
from eegfm_bench.datasets._twins import tueg as tueg_twin
from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.edf import EdfHeader, read_edf, read_header, signals_at
from eegfm_bench.recordings.recording import Recording
from eegfm_bench.windows.recipe import Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE_HZ = 200
USUAL_HZ = 250.0
WINDOW_S = 30
LEAST_S = 300
# Dropped at the beginning, and at the end.
MARGIN_S = 60

# The order of the public code; electrodes have the publisher's old names.
CHANNELS = (
    *("Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "F7", "F8"),
    *("T3", "T4", "T5", "T6", "Fz", "Cz", "Pz"),
)
# What the folder of a montage says of its labels: measured against a common reference,
# an average mostly, or against linked ears.
SUFFIX = {"01_tcp_ar": "REF", "02_tcp_le": "LE", "03_tcp_ar_a": "REF"}
SKIPPED = "04_tcp_le_a"

EVERYBODY = "everybody"
SPLIT = Split(
    train=(EVERYBODY,),
    val=(),
    test=(),
    source="a corpus has no parts: all of it is for training",
    unit="corpus",
)
RECIPE = Recipe(
    channels=CHANNELS,
    rate_hz=float(RATE_HZ),
    window_s=float(WINDOW_S),
    stride_s=float(WINDOW_S),
    # CBraMod, in this order, before anything is dropped.
    steps=(("resample", float(RATE_HZ)), ("bandpass", 0.3, 75.0), ("notch", 60.0)),
    label_rule=(
        "none: a corpus has no labels. Windows lie on a grid from 60 s on, as many as "
        "end 60 s before the last that would fit"
    ),
    keep_below_uv=100.0,
)

_SESSION = re.compile(r"s\d{3}_\d{4}(_\d\d_\d\d)?")
_NAME = re.compile(r"([a-z]{8})_(s\d{3})_t\d{3}")


def files(folder: Path) -> list[Source]:
    """Return every recording but those of the montage that is skipped, unread.

    Raises
    ------
    SignalError
        If a file lies elsewhere than in its own patient's, session's and montage's
        folder: these decide who it is and what its labels mean.
    """
    edf = folder / "edf"
    sources = []
    for path in sorted(edf.rglob("[!.]*.edf")):
        where = path.relative_to(edf).parts
        name = _NAME.fullmatch(path.stem)
        is_placed = (
            len(where) == 5
            and name is not None
            and name[1] == where[1]
            and name[2] == where[2][:4]
            and _SESSION.fullmatch(where[2])
            and where[3] in (*SUFFIX, SKIPPED)
        )
        if name is None or not is_placed:
            raise SignalError(
                f"{path}: expected recordings in {edf}/<group>/<patient>/"
                f"s<number>_<year>/<montage>/<patient>_s<number>_t<number>.edf alone, "
                f"montages {', '.join((*SUFFIX, SKIPPED))}. Move it there, or out of "
                f"{edf}."
            )
        if where[3] == SKIPPED:
            continue
        sources.append(
            Source(
                path=path,
                subject=name[1],
                session=where[2],
                # A token may come with several montages.
                recording=f"{path.stem}_{where[3][:2]}",
                person=f"tuh:{name[1]}",
                unit=EVERYBODY,
            )
        )
    return sources


def windows(source: Source) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the planned grid, from the header alone; none of what is not used."""
    header = read_header(source.path)
    places = _places(source, header)
    onsets_s = np.empty(0)
    if places is not None:
        onsets_s = grid_s(_n_times(_rate_hz(source.path, header, places), header))
    return onsets_s, np.zeros(onsets_s.size, np.int64)


def oddities(source: Source) -> tuple[str, ...]:
    """Say at what other rate a recording is, and why it is not used."""
    header = read_header(source.path)
    places = _places(source, header)
    if places is None:
        labels = _labels(source)
        lacking = [label for label in labels if header.labels.count(label) != 1]
        return (f"not used: {', '.join(lacking)} not there once",)
    rate_hz = _rate_hz(source.path, header, places)
    said = [] if rate_hz == USUAL_HZ else [f"{rate_hz:g} Hz, not {USUAL_HZ:g}"]
    if _n_times(rate_hz, header) < LEAST_S * RATE_HZ:
        said.append(f"not used: less than {LEAST_S // 60} min")
    return tuple(said)


def read(source: Source) -> Recording:
    """Read the 19 electrodes of one EDF file in µV.

    Raises
    ------
    SignalError
        If one is absent or there twice: no window of such a file is planned.
    """
    places = _places(source, read_header(source.path))
    if places is None:
        raise SignalError(
            f"{source.path}: not all of {', '.join(_labels(source))} are there once. "
            f"It was changed since its windows were planned: prepare again."
        )
    return read_edf(source.path, places=places)


def grid_s(n_times: int) -> NDArray[np.float64]:
    """Return onsets (seconds) in a recording of so many time points at 200 Hz.

    Examples
    --------
    >>> grid_s(299 * 200), grid_s(300 * 200)
    (array([], dtype=float64), array([ 60.,  90., 120., 150., 180., 210.]))
    """
    if n_times < LEAST_S * RATE_HZ:
        return np.empty(0)
    n_windows = n_times // (WINDOW_S * RATE_HZ) - 2 * MARGIN_S // WINDOW_S
    return MARGIN_S + WINDOW_S * np.arange(n_windows, dtype=np.float64)


def _labels(source: Source) -> tuple[str, ...]:
    """Return the 19 labels as a source's montage writes them."""
    suffix = SUFFIX[source.path.parent.name]
    return tuple(f"EEG {name.upper()}-{suffix}" for name in CHANNELS)


def _places(source: Source, header: EdfHeader) -> tuple[int, ...] | None:
    """Return where the 19 are among a file's signals; None if not all are, once."""
    labels = _labels(source)
    if any(header.labels.count(label) != 1 for label in labels):
        return None
    return tuple(header.labels.index(label) for label in labels)


def _rate_hz(path: Path, header: EdfHeader, places: tuple[int, ...]) -> float:
    """Return the one rate of the electrodes, all in volts; others may differ."""
    signals_at(path, header, places)
    return header.samples_per_record[places[0]] / header.record_s


def _n_times(rate_hz: float, header: EdfHeader) -> int:
    """Return the length after resampling, as MNE rounds it."""
    return round(RATE_HZ / rate_hz * round(header.duration_s * rate_hz))


DATASETS = (
    DatasetSpec(
        name="tueg",
        title="TUEG (TUH EEG Corpus v2.0.1, for pre-training)",
        classes=(),
        folder="tueg",
        recipe=RECIPE,
        split=SPLIT,
        facts=Facts(
            n_subjects=None,
            n_recordings=None,
            windows={"val": 0, "test": 0},
            source=(
                "CBraMod's paper counts 1,109,545 windows that are kept; how many are "
                "planned before is not stated, nor held against the files here"
            ),
        ),
        licence="the publisher's form, to be signed",
        access=(
            "Ask for it at isip.piconepress.com/projects/nedc/html/tuh_eeg (a signed "
            "form) and put v2.0.1's folder edf/ in <root>/tueg/; a part of it will do."
        ),
        reference=(
            "Obeid & Picone, The Temple University Hospital EEG data corpus, Front "
            "Neurosci 10:196, 2016"
        ),
        files=files,
        files_per_subject=1,
        windows=windows,
        read=read,
        simulate=tueg_twin.simulate,
        oddities=oddities,
        notes=(
            "Patients have the ids of TUEV's training part, and are the same persons "
            "here: whoever validates there is refused as a source of weights to be "
            "scored on it. TUEV's test part is numbered, so nothing is known of it.",
            "A file whose electrodes are slower than another of its signals is "
            "resampled from the electrodes' own rate; the public code has all signals "
            "brought to the fastest rate first.",
            "While it is prepared, what is kept lies on the disk twice for a time: "
            "windows are put together once all are cut.",
        ),
        # How much of the corpus is here decides nothing: nobody is ever absent.
        subjects=(),
    ),
)
