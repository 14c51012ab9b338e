"""Eyes: eyes open against closed, 109 subjects, 4 s windows of the first minute.

From: PhysioNet ``eegmmidb/1.0.0``, runs 1 (open) and 2 (closed), EDF at 160 Hz.
To: 64 channels, average reference, 200 Hz, µV. The last 0.7-0.9 s of most files
is 0 in all channels, and S014R01, S051R01, S069R01, S097R02 and S109R01 have
60 s, not 61: hence the first 60 s, cut off before anything else is done.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._eegmmidb import (
    CHANNELS,
    EARS,
    FOLDER,
    LAB,
    LICENCE,
    REFERENCE,
    access,
    find_runs,
    read,
    write_edf,
)
from eegfm_bench.datasets._spec import DatasetSpec, Facts, Source, Split
from eegfm_bench.datasets._twins import eeg
from eegfm_bench.recordings.edf import read_header
from eegfm_bench.recordings.recording import Event
from eegfm_bench.windows.cut import grid_onsets
from eegfm_bench.windows.recipe import Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES = ("open", "closed")
FIRST_S = 60.0

SPLIT = Split(
    train=tuple(f"S{n:03d}" for n in range(1, 110) if n % 5 not in (0, 4)),
    val=tuple(f"S{n:03d}" for n in range(1, 110) if n % 5 == 4),
    test=tuple(f"S{n:03d}" for n in range(1, 110) if n % 5 == 0),
    source="this suite: numbers ending in 0 or 5 test, in 4 or 9 validate",
)

RECIPE = Recipe(
    channels=CHANNELS,
    rate_hz=200.0,
    window_s=4.0,
    stride_s=4.0,
    steps=(("crop", FIRST_S), ("average_reference",), ("resample", 200.0)),
    label_rule="run 1 (eyes open) is 0, run 2 (eyes closed) is 1",
)


def files(folder: Path) -> list[Source]:
    """Return runs 1 and 2 of every subject, unread."""
    return find_runs(folder, (1, 2))


def windows(source: Source) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return a grid over the first minute; the run is the label."""
    onsets_s = grid_onsets(
        min(read_header(source.path).duration_s, FIRST_S),
        window_s=RECIPE.window_s,
        stride_s=RECIPE.stride_s,
    )
    return onsets_s, np.full(onsets_s.size, int(source.recording[-1]) - 1)


# Names the draw of people, picked among forty for a difficulty in mid range:
# another word makes other people, and may make the task too easy or too hard.
TWIN = "eyes-37"
# Subjects and seconds per run of each part of the small twin: 156 + 16 + 252
# windows, so 2 passes over train and val and one over test are 596.
SMALL = (
    (SPLIT.train[:39], 9.0),
    (SPLIT.val[:8], 5.0),
    (SPLIT.test, 25.0),
)
PADDING_S = 0.8
# These have 60 s and no padding, where the others have 61 s.
UNPADDED = ("S014R01", "S051R01", "S069R01", "S097R02", "S109R01")
# With closed eyes alpha's places fall into step: each a little weaker, together
# stronger on the scalp.
STATES = (
    eeg.State(unison=0.13),
    eeg.State(unison=0.92, change={"alpha": -0.14, "muscle": -0.05}),
)


def simulate(folder: Path, size: str) -> None:
    """Write the twin: occipital alpha rises when the eyes close."""
    if size == "small":
        lengths_s = {s: length_s for subjects, length_s in SMALL for s in subjects}
    else:
        lengths_s = dict.fromkeys(SPLIT.names, FIRST_S + 1.0)
    for subject, length_s in lengths_s.items():
        rng = eeg.randomness(TWIN, subject)
        person = eeg.draw_person(CHANNELS, rng)
        (folder / subject).mkdir()
        for run, state in enumerate(STATES, start=1):
            recording = f"{subject}R{run:02d}"
            is_padded = recording not in UNPADDED
            x = eeg.record(
                CHANNELS,
                EARS,
                person,
                state,
                LAB,
                duration_s=length_s if is_padded else length_s - 1.0,
                rng=eeg.randomness(TWIN, subject, recording),
            )
            if is_padded:
                x[:, -round(PADDING_S * LAB.rate_hz) :] = 0.0
            _write_edf(folder / subject / f"{recording}.edf", x)


def _write_edf(path: Path, x: NDArray[np.float64]) -> None:
    """Write one run (C, T) in µV with its T0, which ends where the padding begins."""
    lasts_s = np.flatnonzero(x.any(axis=0))[-1] / LAB.rate_hz
    rest = Event(onset_s=0.0, duration_s=round(lasts_s, 1), code="T0")
    write_edf(path, x, LAB.rate_hz, [rest])


DATASETS = (
    DatasetSpec(
        name="eyes",
        title="Eyes (EEGMMIDB rest runs, PhysioNet)",
        classes=CLASSES,
        folder=FOLDER,
        recipe=RECIPE,
        split=SPLIT,
        facts=Facts(
            n_subjects=109,
            n_recordings=218,
            windows={"train": 1980, "val": 660, "test": 630},
            windows_by_class={
                "train": (990, 990),
                "val": (330, 330),
                "test": (315, 315),
            },
            source="computed: 218 runs of at least 60 s give 15 windows each",
        ),
        licence=LICENCE,
        access=access("1 and 2"),
        reference=REFERENCE,
        files=files,
        person_of="eegmmidb:{}".format,
        files_per_subject=2,
        windows=windows,
        read=read,
        simulate=simulate,
        notes=("The class is also the run: slow drift between runs can help a model.",),
    ),
)
