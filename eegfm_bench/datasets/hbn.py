"""HBN-EEG: children and young people at rest, at films and at tasks, 128 electrodes.

From: OpenNeuro ds005505 to ds005516, BIDS, ``sub-*/eeg/*_eeg.set`` at 500 Hz, E1 to
E128 against Cz. To: 128 channels at 200 Hz, µV, 0.3-75 Hz, 60 Hz notch, windows of
30 s: a corpus without labels for pre-training.

The paper of Trace states 128 channels, 200 Hz and 30 s, not which releases, which
tasks, nor how they are cleaned. Ours, for want of that: every release and task found
here; the filters of TUEG; the reference Cz, which is flat, left out; windows in which
any value reaches 500 µV left out. (TUEG's 100 µV would keep next to nothing: over 128
electrodes down to the cheeks, against Cz, of children, one blink passes it.)
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._spec import DatasetSpec, Facts, Source, Split
from eegfm_bench.datasets._twins import hbn as hbn_twin
from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.eeglab import SetHeader, read_set, read_set_header
from eegfm_bench.recordings.recording import Recording, refuse_absent
from eegfm_bench.windows.cut import grid_onsets
from eegfm_bench.windows.recipe import Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

PUBLISHED_HZ = 500.0
RATE_HZ = 200.0
WINDOW_S = 30.0
CHANNELS = tuple(f"E{k}" for k in range(1, 129))
RELEASES = tuple(f"ds{k:06d}" for k in range(5505, 5517))

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
    rate_hz=RATE_HZ,
    window_s=WINDOW_S,
    stride_s=WINDOW_S,
    steps=(("resample", RATE_HZ), ("bandpass", 0.3, 75.0), ("notch", 60.0)),
    label_rule=(
        "none: a corpus has no labels. Windows lie on a grid over every whole recording"
    ),
    keep_below_uv=500.0,
)

_NAME = re.compile(r"sub-([A-Za-z0-9]+)_task-[A-Za-z0-9]+(_run-\d+)?_eeg")


def files(folder: Path) -> list[Source]:
    """Return every recording of every release, unread.

    Raises
    ------
    SignalError
        If a file is not named after its subject's folder, or a task.
    """
    sources = []
    for release in RELEASES:
        for path in sorted(folder.glob(f"{release}/sub-*/eeg/[!.]*.set")):
            name, own = _NAME.fullmatch(path.stem), path.parent.parent.name
            if name is None or own != f"sub-{name[1]}":
                raise SignalError(
                    f"{path}: expected {own}_task-<task>_eeg.set, with _run-<n> before "
                    f"_eeg or without, in the folder of {own}. Move it there, or out "
                    f"of {folder / release}."
                )
            fdt = path.with_suffix(".fdt")
            sources.append(
                Source(
                    path=path,
                    subject=name[1],
                    session=release,
                    recording=f"{release}_{path.stem.removesuffix('_eeg')}",
                    # Somebody in several releases is one person.
                    person=f"hbn:{name[1]}",
                    extra=(fdt,) if fdt.exists() else (),
                    unit=EVERYBODY,
                )
            )
    return sources


def windows(source: Source) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the planned grid, from the header alone."""
    onsets_s = grid_onsets(
        _checked(source.path).duration_s, window_s=WINDOW_S, stride_s=WINDOW_S
    )
    return onsets_s, np.zeros(onsets_s.size, np.int64)


def oddities(source: Source) -> tuple[str, ...]:
    """Say that a recording is too short for a window."""
    is_short = _checked(source.path).duration_s < WINDOW_S
    return (f"not used: less than {WINDOW_S:g} s",) if is_short else ()


def read(source: Source) -> Recording:
    """Read the 128 electrodes of one set in µV."""
    _checked(source.path)
    return read_set(source.path, channels=CHANNELS)


def _checked(path: Path) -> SetHeader:
    """Read a header; refuse a recording that is not as published."""
    header = read_set_header(path)
    refuse_absent(str(path), CHANNELS, header.channels)
    if header.rate_hz != PUBLISHED_HZ:
        raise SignalError(
            f"{path}: is at {header.rate_hz:g} Hz; expected {PUBLISHED_HZ:g}, as "
            f"published. Fetch it from OpenNeuro: copies resampled for contests are "
            f"not these recordings."
        )
    return header


DATASETS = (
    DatasetSpec(
        name="hbn",
        title="HBN-EEG (Healthy Brain Network, for pre-training)",
        classes=(),
        folder="hbn",
        recipe=RECIPE,
        split=SPLIT,
        facts=Facts(
            n_subjects=None,
            n_recordings=None,
            windows={"val": 0, "test": 0},
            source=(
                "the paper of Trace counts 132 thousand windows, of releases and tasks "
                "that it does not state; nothing here is held against the files"
            ),
        ),
        licence=(
            "CC BY-SA 4.0; CC BY-NC-SA 4.0 of those whose commercial_use is 0 in "
            "participants.tsv"
        ),
        access=(
            "Get any of ds005505 to ds005516 from openneuro.org (open, a large one "
            "has 230 GB) and put them in <root>/hbn/ds005505/sub-…/eeg/; a part of "
            "them will do. The .set files alone are read."
        ),
        reference=(
            "Shirazi et al., HBN-EEG: the FAIR implementation of the Healthy Brain "
            "Network electroencephalography dataset, bioRxiv 2024; Alexander et al., "
            "An open resource for transdiagnostic research in pediatric mental health "
            "and learning disorders, Sci Data 4:170181, 2017"
        ),
        files=files,
        files_per_subject=1,
        windows=windows,
        read=read,
        simulate=hbn_twin.simulate,
        oddities=oddities,
        notes=(
            "Releases, tasks and cleaning are our choices: the paper states none. So "
            "is the amplitude of 500 µV, which was not held against the recordings.",
            "The sizes of the published files say that their signals lie within the "
            ".set, uncompressed (MATLAB 5), with no .fdt; sets with one, and MATLAB "
            "7.3, are read as well.",
        ),
        # How much of the corpus is here decides nothing: nobody is ever absent.
        subjects=(),
    ),
)
