"""SHU-MI: imagined movement of the left or right hand, 25 subjects, 4 s windows.

From: figshare 19228725, version 1, ``mat/sub-001_ses-01_task_motorimagery_eeg.mat`` …
``sub-025_ses-05_…``: ``data`` (n, 32, 1000) at 250 Hz and ``labels`` (1, n), trials
of 4 s. To: 32 channels at 200 Hz, µV. The publisher cleaned them before release (band
of 0.5-40 Hz, ICA); nothing is filtered here. A file has 74 to 100 trials, all together
11,988; how many of these are in each part no source states.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._spec import DatasetSpec, Facts, Source, Split
from eegfm_bench.datasets._twins import eeg
from eegfm_bench.datasets._twins import matlab as matlab_twin
from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.matlab import read_mat
from eegfm_bench.recordings.recording import Recording
from eegfm_bench.windows.recipe import Recipe

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

CLASSES = ("left_hand", "right_hand")

# The order of the files, which name no channels.
CHANNELS = (
    *("Fp1", "Fp2", "Fz", "F3", "F4", "F7", "F8", "FC1", "FC2", "FC5", "FC6", "Cz"),
    *("C3", "C4", "T3", "T4", "A1", "A2", "CP1", "CP2", "CP5", "CP6", "Pz", "P3"),
    *("P4", "T5", "T6", "PO3", "PO4", "Oz", "O1", "O2"),
)
RATE_HZ, N_TIMES = 250.0, 1000
N_SESSIONS = 5
# Fewest and most trials of a published file, and those of all together.
FEWEST, MOST, IN_ALL = 74, 100, 11_988
ENDING = "_task_motorimagery_eeg.mat"
AGAIN = "Fetch it again, or leave the subject out."

SPLIT = Split(
    train=tuple(f"sub-{n:03d}" for n in range(1, 16)),
    val=tuple(f"sub-{n:03d}" for n in range(16, 21)),
    test=tuple(f"sub-{n:03d}" for n in range(21, 26)),
    source="CBraMod, preprocessing of SHU-MI (commit b9e9610): 75, 25 and 25 files",
)

RECIPE = Recipe(
    channels=CHANNELS,
    rate_hz=200.0,
    window_s=4.0,
    stride_s=4.0,
    steps=(),
    # scipy.signal.resample of 1000 to 800 time points, each trial by itself.
    window_steps=(("resample", 200.0),),
    label_rule="one window for each trial; labels, 1 left and 2 right, minus 1",
)


def files(folder: Path) -> list[Source]:
    """Return the five sessions of every subject, unread."""
    pattern = f"sub-[0-9][0-9][0-9]_ses-0[1-{N_SESSIONS}]{ENDING}"
    found = []
    for path in sorted((folder / "mat").glob(pattern)):
        subject, session = path.name.removesuffix(ENDING).split("_")
        found.append(
            Source(
                path=path,
                subject=subject,
                session=session.removeprefix("ses-"),
                recording=f"{subject}_{session}",
                person=f"shu_mi:{subject}",
            )
        )
    return found


def labels(source: Source) -> NDArray[np.int64]:
    """Read what is imagined in every trial (n,); nothing of the signal is read.

    Raises
    ------
    SignalError
        If the file is damaged, or its shapes or labels are not those expected.
    """
    stat = source.path.stat()
    return _labels(source.path, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


# Windows and oddities ask for the same labels, one dataset apart.
@lru_cache(maxsize=256)
def _labels(path: Path, _: tuple[int, ...]) -> NDArray[np.int64]:
    found = read_mat(
        path,
        numbers={"labels": (1, None)},
        look={"data": (None, len(CHANNELS), N_TIMES)},
    )
    given, n_trials = found.numbers["labels"][0], found.shapes["data"][0]
    if given.size != n_trials or not n_trials:
        raise SignalError(
            f"{path}: 'data' has {n_trials} trials, 'labels' has {given.size}; "
            f"expected as many. {AGAIN}"
        )
    is_known = (given == 1) | (given == 2)
    if not is_known.all():
        at = int(is_known.argmin())
        raise SignalError(
            f"{path}: the label of trial {at + 1} is {given[at]:g}; expected 1 (left) "
            f"or 2 (right). {AGAIN}"
        )
    return np.asarray(given - 1, np.int64)


def windows(source: Source) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return a window for each trial, as if trials had followed one another."""
    found = labels(source)
    return np.arange(found.size, dtype=np.float64) * RECIPE.window_s, found


def read(source: Source) -> Recording:
    """Read a file in µV: its trials, end to end."""
    shape = (None, len(CHANNELS), N_TIMES)
    found = read_mat(source.path, numbers={"data": shape}, dtype=np.float32)
    x = found.numbers["data"].transpose(1, 0, 2)
    return Recording(
        x=x.reshape(len(CHANNELS), -1),
        rate_hz=RATE_HZ,
        channels=CHANNELS,
        name=str(source.path),
    )


def oddities(source: Source) -> tuple[str, ...]:
    """Say where a file has more or fewer trials than any published one."""
    n = labels(source).size
    if FEWEST <= n <= MOST:
        return ()
    return (f"{n} trials; published files have {FEWEST} to {MOST}",)


# Names the draw of people.
TWIN = "shu_mi"
# Subjects and trials of a file of each part of the small twin: 150 + 30 + 120 windows,
# so 2 passes over train and val and one over test are 480.
SMALL = ((SPLIT.train[:5], 6), (SPLIT.val[:2], 3), (SPLIT.test[:3], 8))
# Cleaned by the publisher: a band of 0.5-40 Hz, and next to no blinks.
LAB = eeg.Lab(
    rate_hz=RATE_HZ,
    gain=0.6,
    background_uv=3.5,
    blink_uv=2.0,
    blinks_per_minute=6.0,
    line_hz=50.0,
    line_uv=0.2,
    noise_uv=2.0,
    drift=0.03,
    band_hz=(0.5, 40.0),
)
# The simulator has one mu for a whole recording; this silences it, for ours.
SILENT = eeg.State(unison=0.5, change={"mu": -4.0})
MU = replace(eeg.RHYTHMS["mu"], uv=14.0, depth=0.2)
# Imagery adds this to log amplitudes of (left mu, right mu): a hand quietens the other
# side of the head. Chosen on training and validation parts.
CHANGES = np.array([(-0.1, -0.5), (-0.5, -0.1)])
# Seconds from a trial's start at which mu begins to fall, has fallen, begins to rise,
# is back.
TIMES_S = (0.3, 0.8, 3.6, 3.9)
# The files' values are multiples of this, in µV.
STEP_UV = 1 / 64


def simulate(folder: Path, size: str) -> None:
    """Write the twin: mu falls on the side across from the imagined hand."""
    n_trials = published_lengths()
    if size == "small":
        n_trials = {
            f"{subject}_ses-{k:02d}": n
            for subjects, n in SMALL
            for subject in subjects
            for k in range(1, N_SESSIONS + 1)
        }
    (folder / "mat").mkdir()
    for recording, n in n_trials.items():
        subject = recording.partition("_")[0]
        person = eeg.draw_person(CHANNELS, eeg.randomness(TWIN, subject))
        rng = eeg.randomness(TWIN, recording)
        # As many of either, or one apart.
        found = rng.permutation((np.arange(n) + rng.integers(2)) % len(CLASSES))
        variables = {
            "data": _trials(person, found, rng),
            "labels": found[None].astype(np.float64) + 1,
        }
        # Compression takes long: a few files show that they are read.
        is_packed = subject == SPLIT.val[0]
        path = folder / "mat" / f"{recording}{ENDING}"
        matlab_twin.write_mat(path, variables, compressed=is_packed)


def published_lengths() -> dict[str, int]:
    """Return trials by recording: the published sum and range, else made up.

    Which file has how many is not known here.
    """
    names = [f"{s}_ses-{k + 1:02d}" for s in SPLIT.names for k in range(N_SESSIONS)]
    lacking = len(names) * MOST - IN_ALL
    n_trials = {}
    # Every sixth lacks as many as any may, until all that lack are placed.
    for name in (*names[::6], *(n for k, n in enumerate(names) if k % 6)):
        fewer = min(lacking, MOST - FEWEST)
        n_trials[name], lacking = MOST - fewer, lacking - fewer
    return {name: n_trials[name] for name in names}


def _trials(
    person: eeg.Person, found: NDArray[np.int64], rng: Generator
) -> NDArray[np.float32]:
    """Draw trials (n, C, T) in µV, cut from one recording."""
    n = len(found)
    reference = ("M1",)
    x = eeg.record(
        CHANNELS,
        reference,
        person,
        SILENT,
        LAB,
        duration_s=n * N_TIMES / RATE_HZ,
        rng=rng,
    )
    fall = np.interp(np.arange(N_TIMES) / RATE_HZ, TIMES_S, (0, 1, 1, 0))
    change = person.response["mu"] * CHANGES[found].T[:, :, None] * fall
    level = person.level["mu"] + rng.normal(0.0, LAB.drift, (2, 1))
    waves = eeg.waves(MU, change.reshape(2, -1) + level, RATE_HZ, rng)
    lead = eeg.lead_field(CHANNELS, reference)["mu"]
    x += LAB.gain * np.exp(person.gain)[:, None] * (lead @ waves)
    x = np.round(x / STEP_UV) * STEP_UV
    cut = x.reshape(len(CHANNELS), n, N_TIMES).transpose(1, 0, 2)
    return np.asarray(cut, np.float32)


DATASETS = (
    DatasetSpec(
        name="shu_mi",
        title="SHU-MI (Shanghai University, motor imagery)",
        classes=CLASSES,
        folder="shu_mi",
        recipe=RECIPE,
        split=SPLIT,
        facts=Facts(
            n_subjects=25,
            n_recordings=125,
            windows={},
            total=IN_ALL,
            source=(
                "the published total (Trace, Table 8), which MOABB's maintainers "
                "counted too (pull request 1178); no source counts the parts"
            ),
        ),
        licence="CC BY 4.0",
        access=(
            "Get mat.zip of version 1 from figshare, doi.org/10.6084/m9.figshare."
            "19228725.v1 (open; later versions are encrypted), and unpack it to "
            "<root>/shu_mi/mat/."
        ),
        reference=(
            "Ma et al., A large EEG dataset for studying cross-session variability in "
            "motor imagery brain-computer interface, Sci Data 9:531, 2022"
        ),
        files=files,
        person_of="shu_mi:{}".format,
        files_per_subject=N_SESSIONS,
        windows=windows,
        read=read,
        simulate=simulate,
        # CBraMod (commit b9e9610) minimises unweighted binary cross-entropy.
        class_weights="none",
        oddities=oddities,
        notes=(
            "Scores published before November 2025 may rest on three tenths of the "
            "training trials, as CBraMod's code then did.",
        ),
    ),
)
