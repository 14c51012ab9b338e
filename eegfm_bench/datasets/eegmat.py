"""EEGMAT: rest against mental arithmetic, 36 subjects, 5 s windows.

From: PhysioNet ``eegmat/1.0.0``, EDF at 500 Hz. To: 20 channels at 200 Hz, µV.
``SubjectNN_1.edf`` is rest (182 s), ``SubjectNN_2.edf`` arithmetic (62 s); 04_1
has 170 s, 10_1 188 s, 31_1 80 s. The publisher filtered 0.5-45 Hz and removed
artefacts by ICA before release; nothing is filtered here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._spec import DatasetSpec, Facts, Source, Split
from eegfm_bench.recordings.edf import read_edf, read_header
from eegfm_bench.recordings.recording import Recording
from eegfm_bench.windows.cut import grid_onsets
from eegfm_bench.windows.recipe import Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES = ("rest", "arithmetic")

# The order of the files; the ECG is left out, A2-A1 is kept as the sources do.
CHANNELS = (
    *("Fp1", "Fp2", "F3", "F4", "F7", "F8", "T3", "T4", "C3", "C4"),
    *("T5", "T6", "P3", "P4", "O1", "O2", "Fz", "Cz", "Pz", "A2-A1"),
)

SPLIT = Split(
    train=tuple(f"Subject{n:02d}" for n in range(28)),
    val=tuple(f"Subject{n:02d}" for n in range(28, 32)),
    test=tuple(f"Subject{n:02d}" for n in range(32, 36)),
    source="CBraMod, preprocessing of the mental arithmetic set (commit b9e9610)",
)

RECIPE = Recipe(
    channels=CHANNELS,
    rate_hz=200.0,
    window_s=5.0,
    stride_s=5.0,
    steps=(("resample", 200.0),),
    label_rule="digit after the underscore in the file name, minus 1",
)


def files(folder: Path) -> list[Source]:
    """Return ``SubjectNN_1.edf`` and ``SubjectNN_2.edf``, unread."""
    return [
        Source(
            path=path,
            subject=path.stem.partition("_")[0],
            session="1",
            recording=path.stem,
            person=f"eegmat:{path.stem.partition('_')[0]}",
        )
        for path in sorted(folder.glob("Subject[0-9][0-9]_[12].edf"))
    ]


def windows(source: Source) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return a grid over the whole recording; the file's digit is the label."""
    onsets_s = grid_onsets(
        read_header(source.path).duration_s,
        window_s=RECIPE.window_s,
        stride_s=RECIPE.stride_s,
    )
    label = int(source.recording[-1]) - 1
    return onsets_s, np.full(onsets_s.size, label)


def read(source: Source) -> Recording:
    """Read one EDF file in µV."""
    return read_edf(source.path)


def simulate(folder: Path, size: str) -> None:
    """Write the twin: alpha falls and frontal theta rises during arithmetic."""
    from eegfm_bench.datasets import _simulate

    _simulate.write_eegmat(folder, size)


DATASETS = (
    DatasetSpec(
        name="eegmat",
        title="EEGMAT (PhysioNet, mental arithmetic)",
        classes=CLASSES,
        folder="eegmat",
        recipe=RECIPE,
        split=SPLIT,
        facts=Facts(
            n_subjects=36,
            n_recordings=72,
            windows={"train": 1343, "val": 172, "test": 192},
            source="computed from the 72 EDF headers",
        ),
        licence="ODC-By 1.0",
        access=(
            "Get it from physionet.org/content/eegmat/1.0.0 (open) and put the EDF "
            "files in <root>/eegmat/."
        ),
        reference=(
            "Zyma et al., Electroencephalograms during mental arithmetic task "
            "performance, Data 4(1):14, 2019"
        ),
        files=files,
        files_per_subject=2,
        windows=windows,
        read=read,
        simulate=simulate,
        notes=("The four test subjects decide little: read scores per subject.",),
    ),
)
