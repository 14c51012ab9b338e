"""HBN-EEG's simulated twin: a few children under 129 electrodes, in EEGLAB's sets.

From: a folder and a size. To: two releases in BIDS, signals within the ``.set`` as the
publisher has them; one subject is in both. Electrodes are blends of what is simulated
at nearby places of the 10-05 system; Cz, the reference, is flat.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._twins import eeg
from eegfm_bench.datasets._twins.eeglab import Place, write_set
from eegfm_bench.errors import SpecError

if TYPE_CHECKING:
    from numpy.typing import NDArray

TWIN = "hbn"
RATE_HZ = 500.0
LABELS = (*(f"E{k}" for k in range(1, 129)), "Cz")
# What is simulated; the electrodes of the net are blends of these.
PLACES = (
    *("Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "C4", "T8"),
    *("P7", "P3", "Pz", "P4", "P8", "O1", "Oz", "O2", "FC1", "FC2", "CP1", "CP2"),
)
LAB = eeg.Lab(
    rate_hz=RATE_HZ,
    gain=0.9,
    background_uv=6.0,
    blink_uv=60.0,
    blinks_per_minute=14.0,
    line_hz=60.0,
    line_uv=2.0,
    noise_uv=2.0,
    drift=0.05,
)
AWAKE = eeg.State(unison=0.4)
LOUD_UV = 900.0
# Release, subject, task, seconds, and when the child moves, if it does.
RECORDINGS: tuple[tuple[str, str, str, float, float | None], ...] = (
    ("ds005505", "NDARAB123CDE", "RestingState", 33.0, None),
    ("ds005505", "NDARAC904DMU", "ThePresent", 65.0, 40.0),
    ("ds005505", "NDARAC904DMU", "surroundSupp_run-1", 20.0, None),
    ("ds005506", "NDARAB123CDE", "DespicableMe", 31.0, None),
    ("ds005506", "NDARBA839HLG", "symbolSearch", 62.0, None),
)


def simulate(folder: Path, size: str) -> None:
    """Write the twin.

    Raises
    ------
    SpecError
        If another size than ``"small"`` is asked for: nobody needs a terabyte.
    """
    if size != "small":
        raise SpecError(
            f"HBN-EEG's twin has no size '{size}': it would be of terabytes. Choose "
            f"'small'."
        )
    places, blend = _net()
    for release, subject, task, duration_s, moves_s in RECORDINGS:
        rng = eeg.randomness(TWIN, release, subject, task)
        person = eeg.draw_person(PLACES, eeg.randomness(TWIN, subject))
        lead = eeg.record(
            PLACES, ("Cz",), person, AWAKE, LAB, duration_s=duration_s, rng=rng
        ).astype(np.float32)
        x = np.zeros((len(LABELS), lead.shape[1]), np.float32)
        x[:-1] = blend @ lead
        x[:-1] += 2 * rng.standard_normal((len(x) - 1, x.shape[1]), np.float32)
        # What a net measures has an offset, which filters take out.
        x[:-1] += rng.normal(0.0, 300.0, (len(x) - 1, 1)).astype(np.float32)
        if moves_s is not None:
            at_s = np.arange(x.shape[1]) / RATE_HZ
            x[7] += LOUD_UV * np.exp(-0.5 * ((at_s - moves_s) / 0.1) ** 2)
        stem = (
            folder / release / f"sub-{subject}" / "eeg" / f"sub-{subject}_task-{task}"
        )
        _write(stem, x, places, duration_s, is_struct=release == "ds005506")
    for release in sorted({release for release, *_ in RECORDINGS}):
        _write_participants(folder / release)


def _write(
    stem: Path,
    x: NDArray[np.float32],
    places: dict[str, Place],
    duration_s: float,
    *,
    is_struct: bool,
) -> None:
    """Write a set, and beside it what BIDS asks for."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    starts = [(0.0, "9999"), (5.0, "instructed_toOpenEyes")]
    write_set(
        stem.with_name(f"{stem.name}_eeg.set"),
        x,
        RATE_HZ,
        places,
        events=starts,
        is_struct=is_struct,
    )
    channels = "".join(f"{label}\tEEG\tuV\n" for label in LABELS)
    sidecar = {
        "TaskName": stem.name.partition("task-")[2].partition("_")[0],
        "SamplingFrequency": RATE_HZ,
        "PowerLineFrequency": 60,
        "EEGReference": "Cz",
        "RecordingDuration": duration_s,
    }
    events = "".join(f"{at_s:g}\tn/a\t{kind}\n" for at_s, kind in starts)
    for suffix, text in (
        ("channels.tsv", f"name\ttype\tunits\n{channels}"),
        ("events.tsv", f"onset\tduration\tvalue\n{events}"),
        ("eeg.json", json.dumps(sidecar, indent=2) + "\n"),
    ):
        stem.with_name(f"{stem.name}_{suffix}").write_text(text, encoding="utf-8")


def _write_participants(release: Path) -> None:
    subjects = sorted(path.name for path in release.glob("sub-*"))
    rows = "".join(f"{subject}\t1\n" for subject in subjects)
    (release / "participants.tsv").write_text(
        f"participant_id\tcommercial_use\n{rows}", encoding="utf-8"
    )


@lru_cache(maxsize=1)
def _net() -> tuple[dict[str, Place], NDArray[np.float32]]:
    """Return where electrodes are, in cm, and their blends (128, len(PLACES))."""
    import mne

    def at(montage: str, names: tuple[str, ...]) -> NDArray[np.float64]:
        known = mne.channels.make_standard_montage(montage).get_positions()["ch_pos"]
        places = np.array([known[name] for name in names])
        return np.asarray(places / np.linalg.norm(places, axis=1, keepdims=True))

    # MNE 1.13 renamed its 10-05 montage.
    known = mne.channels.get_builtin_montages()
    system = "colin27_1005" if "colin27_1005" in known else "standard_1005"
    net = at("GSN-HydroCel-129", LABELS)
    nearness = net[:-1] @ at(system, PLACES).T
    blend = np.exp(12 * (nearness - nearness.max(axis=1, keepdims=True)))
    blend /= blend.sum(axis=1, keepdims=True)
    # EEGLAB's x points to the nose, MNE's to the right ear.
    places = {
        label: (float(9 * y), float(-9 * x), float(9 * z))
        for label, (x, y, z) in zip(LABELS, net.round(4), strict=True)
    }
    return places, blend.astype(np.float32)
