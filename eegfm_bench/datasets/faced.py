"""FACED: nine emotions, 28 video clips, 123 subjects, 10 s windows.

From: Synapse ``syn50614194``, ``Processed_data/sub000.pkl`` … ``sub122.pkl``, each a
pickled array (28 clips, 32 channels, 7500 time points) at 250 Hz. To: 32 channels at
200 Hz, µV. An array holds the last 30 s of every clip, sorted by clip; here the clips
are put end to end, so a window's onset tells its clip. The publisher brought all
cohorts to one unit and one order of channels, filtered 0.05-47 Hz, interpolated bad
channels, removed artefacts by ICA and took the average reference before release:
nothing is filtered here. The pickles are read without running anything in them.

Each clip is resampled by itself, as one period, and cut in three: 123 subjects × 28
clips × 3 windows are 10,332.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._spec import DatasetSpec, Facts, Source, Split
from eegfm_bench.datasets._twins import eeg
from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.pickled import PickledArray, load, read_header
from eegfm_bench.recordings.recording import Recording
from eegfm_bench.windows.cut import grid_onsets
from eegfm_bench.windows.recipe import Recipe

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

CLASSES = (
    *("anger", "disgust", "fear", "sadness", "neutral"),
    *("amusement", "inspiration", "joy", "tenderness"),
)
# Three clips of every emotion, four of none.
CLIP_LABELS = np.repeat(np.arange(9), (3, 3, 3, 3, 4, 3, 3, 3, 3))
CLIP_S, FILE_HZ = 30.0, 250.0

# The order of the released arrays. The raw files of the first cohort (sub000-060) have
# A1 and A2 in the middle, and some loaders name these arrays' channels so.
CHANNELS = (
    *("Fp1", "Fp2", "Fz", "F3", "F4", "F7", "F8", "FC1", "FC2", "FC5", "FC6"),
    *("Cz", "C3", "C4", "T7", "T8", "CP1", "CP2", "CP5", "CP6", "Pz", "P3", "P4"),
    *("P7", "P8", "PO3", "PO4", "Oz", "O1", "O2", "A2", "A1"),
)
SHAPE = (CLIP_LABELS.size, len(CHANNELS), round(CLIP_S * FILE_HZ))

SPLIT = Split(
    train=tuple(f"sub{n:03d}" for n in range(80)),
    val=tuple(f"sub{n:03d}" for n in range(80, 100)),
    test=tuple(f"sub{n:03d}" for n in range(100, 123)),
    source=(
        "CBraMod, preprocessing of FACED (commit b9e9610): the first 80, the next 20 "
        "and the last 23 of the sorted files, here by name"
    ),
)

RECIPE = Recipe(
    channels=CHANNELS,
    rate_hz=200.0,
    window_s=10.0,
    stride_s=10.0,
    # CBraMod (commit b9e9610): scipy.signal.resample on the clip, 7500 to 6000.
    steps=(("resample_periodic", 200.0),),
    stretch_s=CLIP_S,
    label_rule=(
        "by clip, counted from 0: 0-2 anger, 3-5 disgust, 6-8 fear, 9-11 sadness, "
        "12-15 neutral, 16-18 amusement, 19-21 inspiration, 22-24 joy, 25-27 "
        "tenderness; three windows of each clip"
    ),
)


def files(folder: Path) -> list[Source]:
    """Return ``Processed_data/subNNN.pkl``, unread."""
    return [
        Source(
            path=path,
            subject=path.stem,
            session="1",
            recording=path.stem,
            person=f"faced:{path.stem}",
        )
        for path in sorted((folder / "Processed_data").glob("sub[0-9][0-9][0-9].pkl"))
    ]


def header(source: Source) -> PickledArray:
    """Find a subject's array, unread.

    Raises
    ------
    SignalError
        If the file is no pickle of an array, or the array is not the published one.
    """
    found = read_header(source.path)
    if found.shape != SHAPE or found.dtype.itemsize < 4:
        raise SignalError(
            f"{source.path}: an array of {_times(found.shape)} values ({found.dtype}); "
            f"expected {_times(SHAPE)} (clips, channels, time points at 250 Hz) in "
            f"float64 or float32. Fetch it again from Processed_data, or leave this "
            f"subject out."
        )
    return found


def windows(source: Source) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return three windows of every clip, and the clips' emotions."""
    n_clips, _, n_times = header(source).shape
    onsets_s = grid_onsets(
        n_clips * n_times / FILE_HZ, window_s=RECIPE.window_s, stride_s=RECIPE.stride_s
    )
    return onsets_s, CLIP_LABELS[(onsets_s // CLIP_S).astype(np.int64)]


def read(source: Source) -> Recording:
    """Put one subject's clips end to end, in µV."""
    header(source)
    clips = load(source.path)
    x = np.empty((SHAPE[1], SHAPE[0] * SHAPE[2]), np.float32)
    # What is too large for single precision is refused as not finite.
    with np.errstate(over="ignore"):
        x.reshape(SHAPE[1], SHAPE[0], SHAPE[2])[:] = clips.transpose(1, 0, 2)
    return Recording(x=x, rate_hz=FILE_HZ, channels=CHANNELS, name=str(source.path))


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


# Names the draw of people: the first word tried.
TWIN = "faced"
# Subjects of the small twin: 84 windows each, so 2 passes over train and val and one
# over test are 588. One has double precision, as two sizes of numbers are read.
SMALL: dict[str, DTypeLike] = {
    "sub000": np.float32,
    "sub001": np.float32,
    "sub080": np.float64,
    "sub100": np.float32,
}
# What an emotion adds to log amplitudes of alpha, mu, theta, beta, muscle: far more,
# and more alike from person to person, than anyone shows, for models to learn it in a
# few passes; chosen on training and validation parts.
CHANGES = (
    (-1.2, 0.0, 0.0, 1.3, 1.3),
    (-0.4, -1.0, -0.9, -0.4, 1.9),
    (-1.5, 0.0, 1.5, 0.6, -0.3),
    (1.0, 0.9, -0.7, -1.0, -1.0),
    (0.0, 0.0, 0.0, 0.0, 0.0),
    (0.4, -1.3, 0.7, 0.3, 2.4),
    (0.6, 0.6, 1.8, -0.7, -0.6),
    (0.9, -0.7, -0.3, 1.8, 0.6),
    (1.8, 1.3, 0.4, 0.6, -0.7),
)
STATES = tuple(
    eeg.State(
        unison=0.5,
        change=dict(
            zip(("alpha", "mu", "theta", "beta", "muscle"), change, strict=True)
        ),
    )
    for change in CHANGES
)
# The publisher kept 0.05-47 Hz and took out blinks by ICA.
LAB = eeg.Lab(
    rate_hz=FILE_HZ,
    gain=0.6,
    background_uv=3.1,
    blink_uv=2.0,
    blinks_per_minute=10.0,
    line_hz=50.0,
    line_uv=0.2,
    noise_uv=1.5,
    drift=0.03,
    band_hz=(0.05, 47.0),
)


def simulate(folder: Path, size: str) -> None:
    """Write the twin: every emotion has a pattern of rhythms of its own."""
    everyone = SMALL if size == "small" else dict.fromkeys(SPLIT.names, np.float64)
    (folder / "Processed_data").mkdir()
    for subject, dtype in everyone.items():
        person = eeg.draw_person(CHANNELS, eeg.randomness(TWIN, subject))
        clips = np.empty(SHAPE, dtype)
        for clip, label in enumerate(CLIP_LABELS):
            x = eeg.record(
                CHANNELS,
                CHANNELS,
                person,
                STATES[label],
                LAB,
                duration_s=CLIP_S,
                rng=eeg.randomness(TWIN, subject, str(clip)),
            )
            clips[clip] = x - x.mean(axis=0)
        with (folder / "Processed_data" / f"{subject}.pkl").open("wb") as file:
            pickle.dump(clips, file, protocol=4)


DATASETS = (
    DatasetSpec(
        name="faced",
        title="FACED (Synapse, nine emotions)",
        classes=CLASSES,
        folder="faced",
        recipe=RECIPE,
        split=SPLIT,
        facts=Facts(
            n_subjects=123,
            n_recordings=123,
            windows={"train": 6720, "val": 1680, "test": 1932},
            # In the order of CLASSES; neutral has four clips.
            windows_by_class={
                "train": (720, 720, 720, 720, 960, 720, 720, 720, 720),
                "val": (180, 180, 180, 180, 240, 180, 180, 180, 180),
                "test": (207, 207, 207, 207, 276, 207, 207, 207, 207),
            },
            source=(
                "123 subjects × 28 clips × 3 windows; the total, 10,332, is also the "
                "published one (Trace, Table 8)"
            ),
        ),
        licence="by agreement with the publisher; none is known to be open",
        access=(
            "Get Processed_data (syn50615881) of synapse.org/Synapse:syn50614194 (an "
            "account and the publisher's agreement are needed) and put its 123 files "
            "in <root>/faced/Processed_data/."
        ),
        reference=(
            "Chen et al., A large finer-grained affective computing EEG dataset, "
            "Sci Data 10:740, 2023"
        ),
        files=files,
        person_of="faced:{}".format,
        files_per_subject=1,
        windows=windows,
        read=read,
        simulate=simulate,
        # CBraMod (commit b9e9610) minimises unweighted cross-entropy.
        class_weights="none",
        notes=(
            "All subjects watch the same 28 clips: what is learned may be the clip "
            "rather than the emotion.",
            "The published split counts sorted files, so that one missing file shifts "
            "who is in which part; here the part goes by the file's name.",
            "Some loaders take A1 and A2 for channels 16 and 17 of the arrays; that "
            "matters to models that use channels' names or places.",
        ),
    ),
)
