"""TUEV's simulated twin: patients with discharges and artefacts, in EDF and ``.rec``.

From: a folder and a size. To: ``edf/train/<subject>/`` and ``edf/eval/<index>/`` as
the publisher lays them out, odd ones among them: several rows at one time with equal
and with other labels, events within 2 s of both ends, 256 Hz, signals at other rates
and units, in another order, ``.lab`` and ``.htk`` files beside.

A recording is six stretches of 7 s, one for each class in an order of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._twins import eeg
from eegfm_bench.errors import SpecError

if TYPE_CHECKING:
    import edfio
    from numpy.random import Generator
    from numpy.typing import NDArray

# Names the draw of people: the first word tried.
TWIN = "tuev"

ELECTRODES = (
    *("Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "F7", "F8"),
    *("T3", "T4", "T5", "T6", "A1", "A2", "Fz", "Cz", "Pz"),
)
REFERENCE = ("A1", "A2")
LAB = eeg.Lab(
    rate_hz=250.0,
    gain=1.0,
    background_uv=5.0,
    blink_uv=15.0,
    blinks_per_minute=8.0,
    line_hz=60.0,
    line_uv=2.0,
    noise_uv=4.0,
    drift=0.05,
)
AWAKE = eeg.State(unison=0.5)

# Recordings of every subject of train (the last two validate) and index of eval: 160 +
# 48 + 142 windows, so 2 passes over train and val and one over test are 558.
_SUBJECTS = (
    *("aaaaaaar", "aaaaaabs", "aaaaaaci", "aaaaaadd", "aaaaaaff"),
    *("aaaaaagj", "aaaaaahe", "aaaaaajy", "aaaaaalb", "aaaaaaoc"),
)
TRAIN = dict(zip(_SUBJECTS, (1, 2, 1, 1, 1, 1, 2, 1, 2, 1), strict=True))
EVAL = {
    "000": ("bckg_000_a_", "bckg_000_a_1"),
    "010": ("gped_010_a_",),
    "011": ("gped_011_a_",),
    "030": ("pled_030_a_",),
    "031": ("pled_031_a_1",),
    "050": ("spsw_050_a_",),
    "060": ("eyem_060_a_",),
    "070": ("artf_070_a_",),
}
AT_256_HZ = "aaaaaabs_00000002"
# Other signals come first, and faster, in other units.
MIXED = "aaaaaaci_00000001"
# No time comes twice.
QUIET = "bckg_000_a_1"

N_CLASSES, STRETCH_S = 6, 7
DURATION_S = N_CLASSES * STRETCH_S
SPSW, GPED, PLED, EYEM, ARTF, BCKG = range(1, N_CLASSES + 1)
# Amplitudes at the strongest channel; each stretch has a factor of its own.
SPSW_UV, GPED_UV, PLED_UV, EYEM_UV, ARTF_UV = 90.0, 70.0, 75.0, 95.0, 9.0
SPREAD = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a ``.rec``; every event lasts 1 s."""

    channel: int
    start_s: float
    label: int

    def __str__(self) -> str:
        return f"{self.channel},{self.start_s:.1f},{self.start_s + 1:.1f},{self.label}"


def simulate(folder: Path, size: str) -> None:
    """Write the twin.

    Raises
    ------
    SpecError
        If another size than ``"small"`` is asked for: lengths are not public.
    """
    if size != "small":
        raise SpecError(
            f"TUEV's twin has no size '{size}': the lengths of its recordings are not "
            f"public. Choose 'small'."
        )
    for subject, n_recordings in TRAIN.items():
        person = eeg.draw_person(ELECTRODES, eeg.randomness(TWIN, "train", subject))
        for k in range(1, n_recordings + 1):
            name = f"{subject}_{k:08d}"
            _write(folder / "edf" / "train" / subject / name, person, subject)
    for index, names in EVAL.items():
        person = eeg.draw_person(ELECTRODES, eeg.randomness(TWIN, "eval", index))
        for name in names:
            _write(folder / "edf" / "eval" / index / name, person, index)


def _write(stem: Path, person: eeg.Person, who: str) -> None:
    """Write one recording, its rows and, of two channels, the files not used here."""
    rng = eeg.randomness(TWIN, stem.name)
    lab = replace(LAB, rate_hz=256.0) if stem.name == AT_256_HZ else LAB
    order = (rng.permutation(N_CLASSES) + 1).tolist()
    x = eeg.record(
        ELECTRODES, REFERENCE, person, AWAKE, lab, duration_s=DURATION_S, rng=rng
    )
    # Where a patient's discharges begin stays: a place, and a side.
    own = eeg.randomness(TWIN, "focus", who)
    focus, side = int(own.integers(eeg.N_BACKGROUND)), int(own.integers(2))
    at_s = np.arange(x.shape[1]) / lab.rate_hz
    for k, label in enumerate(order):
        begin, end = (round((k + i) * STRETCH_S * lab.rate_hz) for i in (0, 1))
        x[:, begin:end] += _seen(label, at_s[begin:end], focus, side, rng)
    rows = _rows(order, rng, again=stem.name != QUIET)
    stem.parent.mkdir(parents=True, exist_ok=True)
    _write_edf(stem.with_name(f"{stem.name}.edf"), x, lab.rate_hz, who, rng)
    stem.with_name(f"{stem.name}.rec").write_text("".join(f"{r}\n" for r in rows))
    for channel in (0, 21):
        beside = f"{stem.name}_ch{channel:03d}"
        # Times in steps of 10 µs.
        stem.with_name(f"{beside}.lab").write_text(
            f"0 {DURATION_S * 100_000} bckg\n", encoding="ascii"
        )
        stem.with_name(f"{beside}.htk").write_bytes(bytes(12))


def _rows(order: list[int], rng: Generator, *, again: bool) -> list[Row]:
    """Draw rows: two events a stretch, one near each end, and two again."""
    rows = [Row(channel=0, start_s=0.4, label=order[0])]
    for k, label in enumerate(order):
        for at_s in (2.0, 3.4):
            start_s = k * STRETCH_S + at_s + rng.integers(6) / 10
            rows.append(
                Row(channel=int(rng.integers(22)), start_s=start_s, label=label)
            )
    rows.append(Row(channel=21, start_s=DURATION_S - 1.8, label=order[-1]))
    if again:
        same, other = (rows[i] for i in rng.choice(np.arange(1, 13), 2, replace=False))
        rows.append(replace(same, channel=(same.channel + 1) % 22))
        label = 1 + (other.label + int(rng.integers(N_CLASSES - 1))) % N_CLASSES
        rows.append(replace(other, channel=(other.channel + 1) % 22, label=label))
    return sorted(rows, key=lambda row: (row.channel, row.start_s))


def _seen(
    label: int, at_s: NDArray[np.float64], focus: int, side: int, rng: Generator
) -> NDArray[np.float64]:
    """Return what an event of a class adds to each electrode (C, T) in µV."""
    lead = eeg.lead_field(ELECTRODES, REFERENCE)
    if label == SPSW:
        spikes = _bells(at_s, 1.3, 0.35, 0.02, rng)
        uv, place = SPSW_UV, lead["background"][:, [focus]]
        wave = spikes - 0.6 * _bells(at_s - 0.2, 1.3, 0.35, 0.08, rng)
    elif label == GPED:
        uv, place = GPED_UV, lead["theta"].sum(axis=1, keepdims=True)
        wave = _bells(at_s, 0.8, 0.05, 0.06, rng)
    elif label == PLED:
        uv, place = PLED_UV, lead["alpha"][:, [4 + side]]
        wave = _bells(at_s, 1.0, 0.06, 0.05, rng)
    elif label == EYEM:
        uv, place = EYEM_UV, lead["eyes"].sum(axis=1, keepdims=True)
        wave = _bells(at_s, 1.1, 0.3, 0.15, rng)
    elif label == ARTF:
        uv, place = ARTF_UV, lead["muscle"]
        noise = rng.standard_normal((place.shape[1], at_s.size))
        # The difference of white noise rises with frequency, as muscle does.
        wave = np.diff(noise, axis=1, prepend=0.0)
    else:
        return np.zeros((len(ELECTRODES), at_s.size))
    x: NDArray[np.float64] = place @ np.atleast_2d(wave)
    return uv * rng.lognormal(0.0, SPREAD) * x


def _bells(
    at_s: NDArray[np.float64],
    every_s: float,
    jitter_s: float,
    spread_s: float,
    rng: Generator,
) -> NDArray[np.float64]:
    """Return bells (T,) of unit height, one about every so many seconds."""
    centres_s = at_s[0] + every_s * np.arange(0.5, (at_s[-1] - at_s[0]) / every_s)
    centres_s = centres_s + rng.uniform(-jitter_s, jitter_s, centres_s.size)
    bells = np.exp(-0.5 * ((at_s - centres_s[:, None]) / spread_s) ** 2)
    return np.asarray(bells.sum(axis=0))


def _write_edf(
    path: Path, x: NDArray[np.float64], rate_hz: float, who: str, rng: Generator
) -> None:
    """Write EDF with the publisher's labels; x (C, T) in µV, 0.1 µV a step."""
    import edfio

    ekg_hz = 2 * rate_hz if path.stem == MIXED else rate_hz
    ekg_uv = 1e3 * eeg.heartbeat(ekg_hz, round(DURATION_S * ekg_hz), rng)
    signals = [
        *(
            _signal(f"EEG {name.upper()}-REF", row, rate_hz)
            for name, row in zip(ELECTRODES, x, strict=True)
        ),
        _signal("EEG ROC-REF", x[1], rate_hz),
        _signal("EEG LOC-REF", x[0], rate_hz),
        _signal("EEG EKG1-REF", ekg_uv, ekg_hz),
        _signal("EEG T1-REF", x[10], rate_hz),
        _signal("EEG T2-REF", x[11], rate_hz),
        _signal("PHOTIC-REF", 0 * x[0], rate_hz),
        *(_signal(s, np.zeros(DURATION_S), 1, "") for s in ("IBI", "BURSTS", "SUPPR")),
    ]
    if path.stem == MIXED:
        beats = np.full(DURATION_S, 857.0)
        signals = [_signal("IBI", beats, 1, "ms"), *signals[-6:-3], *signals[:-6]]
    edfio.Edf(
        signals,
        patient=edfio.Patient(
            code=who, sex="F", birthdate=date(1950, 1, 1), name=who, additional=()
        ),
        recording=edfio.Recording(startdate=date(2010, 1, 1)),
        starttime=time(0, 0, 0),
        data_record_duration=1.0,
        annotations=(),
    ).write(path)


def _signal(
    label: str, x: NDArray[np.float64], rate_hz: float, unit: str = "uV"
) -> edfio.EdfSignal:
    import edfio

    return edfio.EdfSignal(
        np.clip(x, -3276.7, 3276.7),
        rate_hz,
        label=label,
        transducer_type="unknown",
        physical_dimension=unit,
        physical_range=(-3276.7, 3276.7),
        digital_range=(-32767, 32767),
    )
