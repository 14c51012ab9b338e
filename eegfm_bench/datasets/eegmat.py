"""EEGMAT: rest against mental arithmetic, 36 subjects, 5 s windows.

From: PhysioNet ``eegmat/1.0.0``, EDF at 500 Hz. To: 20 channels at 200 Hz, µV.
``SubjectNN_1.edf`` is rest (182 s), ``SubjectNN_2.edf`` arithmetic (62 s); 04_1
has 170 s, 10_1 188 s, 31_1 80 s. The publisher filtered 0.5-45 Hz and removed
artefacts by ICA before release; nothing is filtered here.
"""

from __future__ import annotations

from datetime import date, time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._spec import DatasetSpec, Facts, Source, Split
from eegfm_bench.datasets._twins import eeg
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


# Names the draw of people, picked among forty for a difficulty in mid range:
# another word makes other people, and may make the task too easy or too hard.
TWIN = "eegmat-23"
# Subjects and (rest, arithmetic) lengths in seconds of each part of the small twin:
# 168 + 16 + 192 windows, so 2 passes over train and val and one over test are 560.
SMALL = (
    (SPLIT.train, (17.0, 17.0)),
    (SPLIT.val, (12.0, 12.0)),
    (SPLIT.test, (122.0, 122.0)),
)
# The genuine lengths of rest that are not 182 s.
REST_S = {"Subject04": 170.0, "Subject10": 188.0, "Subject31": 80.0}
# Counting desynchronises alpha: each of its places is a little stronger, yet out of
# step they add up to less on the scalp.
STATES = (
    eeg.State(unison=0.95),
    eeg.State(
        unison=0.15,
        change={"alpha": 0.18, "theta": 0.08, "muscle": 0.02},
    ),
)
# The publisher notched out 50 Hz, kept 0.5-45 Hz and took out blinks by ICA.
LAB = eeg.Lab(
    rate_hz=500.0,
    gain=0.6,
    background_uv=3.1,
    blink_uv=4.0,
    blinks_per_minute=10.0,
    line_hz=50.0,
    line_uv=0.2,
    noise_uv=2.8,
    drift=0.03,
    band_hz=(0.5, 45.0),
)


def simulate(folder: Path, size: str) -> None:
    """Write the twin: alpha falls and frontal theta rises during arithmetic."""
    if size == "small":
        lengths_s = {s: both_s for subjects, both_s in SMALL for s in subjects}
    else:
        lengths_s = {s: (REST_S.get(s, 182.0), 62.0) for s in SPLIT.names}
    for subject, both_s in lengths_s.items():
        rng = eeg.randomness(TWIN, subject)
        person = eeg.draw_person(CHANNELS, rng)
        for run, (state, duration_s) in enumerate(
            zip(STATES, both_s, strict=True), start=1
        ):
            recording = f"{subject}_{run}"
            rng = eeg.randomness(TWIN, subject, recording)
            x = eeg.record(
                CHANNELS,
                ("A1", "A2"),
                person,
                state,
                LAB,
                duration_s=duration_s,
                rng=rng,
            )
            ecg_mv = eeg.heartbeat(LAB.rate_hz, x.shape[1], rng)
            _write_edf(folder / f"{recording}.edf", x, ecg_mv)


def _write_edf(path: Path, x: NDArray[np.float64], ecg_mv: NDArray[np.float64]) -> None:
    """Write EDF+ with the publisher's labels and header; x (C, T) in µV."""
    import edfio

    prefiltering = "HP:0.500000Hz LP:45.000000Hz RF:50Hz"
    signals = [
        edfio.EdfSignal(
            row,
            LAB.rate_hz,
            label=label,
            physical_dimension=unit,
            prefiltering=prefiltering,
        )
        for row, label, unit in (
            *((row, f"EEG {c}", "uV") for row, c in zip(x, CHANNELS, strict=True)),
            (ecg_mv, "ECG ECG", "mV"),
        )
    ]
    edfio.Edf(
        signals,
        patient=edfio.Patient(
            code="0", sex="M", birthdate=date(1990, 1, 1), name="Subject0"
        ),
        recording=edfio.Recording(
            startdate=date(2011, 1, 1),
            hospital_administration_code="0",
            investigator_technician_code="Doctor",
            equipment_code="NeuroCom_Professional_3.0.0",
        ),
        starttime=time(0, 0, 0),
        data_record_duration=1.0,
        annotations=(),
    ).write(path)


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
            windows_by_class={
                "train": (1007, 336),
                "val": (124, 48),
                "test": (144, 48),
            },
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
        person_of="eegmat:{}".format,
        files_per_subject=2,
        windows=windows,
        read=read,
        simulate=simulate,
        notes=("The four test subjects decide little: read scores per subject.",),
    ),
)
