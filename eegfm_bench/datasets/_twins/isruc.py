"""ISRUC-Sleep's simulated twin: nights in little, in true EDF content and text.

From: a folder and a size. To: ``n/n.rec`` and both experts' hypnograms, with signals
named against ears (LOC-A2) or mastoids (E1-M2), subjects 8 and 40 of subgroup I as
odd as they are, last epochs cut short, blank lines at a hypnogram's end, and one
hypnogram longer than its signal. Names and order of signals are genuine, four of the
further ones are there; records of 2 s and ranges are made.

Sleep goes W, N1, N2, N3, N2, REM and again: alpha and blinks awake, theta and rolling
eyes in N1, spindles in N2, slow waves in N3, quick eyes over a quiet EEG in REM.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._twins import eeg

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

# Names the draw of people; another word makes other people.
TWIN = "isruc-1"
RATE_HZ, EPOCH_S = 200, 30
# Slow signals have 12.5 samples a second, so a record lasts 2 s.
RECORD_S, SLOW_SAMPLES = 2, 25
SLOW = ("SaO2", "SpO2", "DC8")

_FURTHER = ("X1", "X2", "SaO2", "DC8")
USUAL = (
    *("LOC-A2", "ROC-A1", "F3-A2", "C3-A2", "O1-A2", "F4-A1", "C4-A1", "O2-A1"),
    *_FURTHER,
)
MASTOIDS = (
    *("E1-M2", "E2-M1", "F3-M2", "C3-M2", "O1-M2", "F4-M1", "C4-M1", "O2-M1"),
    *("X1", "X2", "SpO2", "DC8"),
)
WITHOUT_F = tuple(label for label in USUAL if label not in ("F3-A2", "F4-A1"))
UNREFERENCED = (
    *("ROC", "A1", "LOC", "A2", "C4", "O2", "C3", "O1", "F4", "F3"),
    *_FURTHER,
)
ODD = {("I", 8): WITHOUT_F, ("I", 40): UNREFERENCED}

# What is simulated, against Cz: the eyes' electrodes lie near F9 and F10.
PLACES = {"LOC": "F9", "E1": "F9", "ROC": "F10", "E2": "F10", "M1": "A1", "M2": "A2"}
ELECTRODES = ("F9", "F10", "F3", "C3", "O1", "F4", "C4", "O2", "A1", "A2")
REFERENCE = ("Cz",)

# Epochs of every subject of subgroup I, 1 to 100, from a public log of preparing
# them; it lacks subject 8, of whom any number from 900 to 919 gives the published sum.
EPOCHS = (
    *(880, 964, 943, 963, 875, 897, 933, 904, 969, 842, 997, 850, 882, 906, 786, 883),
    *(851, 999, 828, 950, 1054, 849, 892, 830, 921, 1062, 918, 882, 912, 882, 877),
    *(1010, 920, 871, 788, 987, 806, 932, 900, 875, 974, 812, 747, 932, 906, 863),
    *(838, 981, 793, 905, 856, 912, 910, 814, 879, 956, 1007, 965, 942, 916, 852),
    *(864, 954, 892, 1014, 845, 862, 956, 815, 893, 829, 872, 997, 897, 898, 850),
    *(805, 894, 880, 889, 911, 882, 925, 963, 896, 964, 926, 1002, 1036, 933, 990),
    *(877, 870, 846, 865, 858, 912, 899, 835, 861),
)
# Of subgroup III no source states the lengths; these are made.
EPOCHS_III = (890,) * 10
# Epochs in the small twin, by subject. Of subgroup I 200 + 40 + 100 are whole sequences
# of 20, so 2 passes over train and val and one over test are 580; of III 520.
SMALL = {
    "I": {1: 43, 2: 40, 3: 40, 5: 20, 8: 24, 28: 20, 40: 20}
    | {81: 20, 90: 20, 91: 40, 96: 40, 100: 20},
    "III": {1: 40, 2: 45, **dict.fromkeys(range(3, 9), 20), 9: 40, 10: 40},
}
# Who ends in the middle of an epoch, whose hypnogram goes on after the signal.
TAIL_S = {1: 12, 8: 28, 91: 2}
SCORED_ON = {2: 2}

# The publisher's numbers of W, N1, N2, N3 and REM.
STAGES = (0, 1, 2, 3, 5)
# One cycle: which stage, and for how many epochs in the small twin. At night it is ten
# times as long.
CYCLE, CYCLE_EPOCHS = (0, 1, 2, 3, 2, 4), (3, 3, 4, 4, 2, 4)
# Where each rhythm comes from, its frequency and width in Hz, and µV at its strongest
# electrode in W, N1, N2, N3 and REM. Chosen on training and validation parts.
RHYTHMS = {
    "slow waves": ("theta", 1.1, 0.5, (5.0, 7.0, 13.0, 30.0, 6.5)),
    "theta": ("beta", 5.5, 1.0, (4.0, 7.5, 6.5, 5.5, 6.5)),
    "spindles": ("mu", 13.0, 0.6, (1.5, 1.8, 5.0, 3.0, 1.5)),
    "alpha": ("alpha", 9.5, 1.0, (11.0, 5.0, 3.0, 2.5, 4.5)),
    "beta": ("beta", 20.0, 4.0, (3.5, 2.7, 2.0, 1.6, 2.7)),
}
BACKGROUND_UV, NOISE_UV, LINE_UV = 6.0, 1.5, 1.0
# Rolling eyes, and jumps and blinks an epoch, in W, N1, N2, N3 and REM.
ROLLING_HZ = 0.35
ROLLING_UV = (3.0, 30.0, 3.0, 2.0, 3.0)
JUMPS, BLINKS = (3.0, 0.5, 0.0, 0.0, 7.0), (5.0, 0.5, 0.0, 0.0, 0.0)
JUMP_UV, BLINK_UV = 60.0, 80.0
CHIN_UV = (12.0, 7.0, 5.0, 4.0, 2.0)
# How log amplitudes differ among people, wander over epochs, and scatter.
BETWEEN, WANDER, SCATTER = 0.2, 0.2, 0.2
# How much of an epoch after a change still is the stage before.
LINGERS = 0.35

# Epochs are simulated one by one and faded into each other over 2 s, some at a time.
HOP, FADE, AT_ONCE = RATE_HZ * EPOCH_S, RATE_HZ * 2, 20
TOP_HZ = 45.0

RANGE_UV, RANGE_DIGITAL = (-3276.8, 3276.7), (-32768, 32767)


def simulate(folder: Path, size: str, *, group: str) -> None:
    """Write the twin.

    Parameters
    ----------
    folder : path
        ``subgroupI`` or ``subgroupIII`` below the twin's root.
    size : ``"small"`` or ``"full"``
        Few subjects and epochs, or all with genuine lengths (11 GB).
    group : ``"I"`` or ``"III"``
    """
    for number, n_epochs in lengths(size, group).items():
        own = folder / str(number)
        own.mkdir()
        rng = eeg.randomness(TWIN, group, str(number))
        person = eeg.draw_person(ELECTRODES, rng)
        cycle = [n * (1 if size == "small" else 10) for n in CYCLE_EPOCHS]
        # One epoch more: what is left of the last one has a stage too.
        stages = _stages(n_epochs + 1, cycle, rng)
        length_s = n_epochs * EPOCH_S + TAIL_S.get(number, 0)
        labels = labels_of(group, number)
        with (own / f"{number}.rec").open("wb") as file:
            file.write(header(labels, length_s))
            left = length_s // RECORD_S
            for x in _night(person, stages[: math.ceil(length_s / EPOCH_S)], rng):
                records = _records(labels, x)[:left]
                left -= len(records)
                file.write(records.tobytes())
        scored = np.resize(stages, n_epochs + SCORED_ON.get(number, 0))
        write_hypnogram(own / f"{number}_1.txt", scored)
        doubted = rng.uniform(size=scored.size) < 0.1
        other = np.where(doubted, np.roll(scored, 1), scored)
        write_hypnogram(own / f"{number}_2.txt", other)


def lengths(size: str, group: str) -> dict[int, int]:
    """Return how many whole epochs every subject to write has."""
    if size == "small":
        return SMALL[group]
    return dict(enumerate(EPOCHS if group == "I" else EPOCHS_III, start=1))


def labels_of(group: str, number: int) -> tuple[str, ...]:
    """Return a recording's signals; who has which of the usual names is made."""
    return ODD.get((group, number), MASTOIDS if number % 5 in (1, 2) else USUAL)


def write_hypnogram(path: Path, stages: NDArray[np.int64]) -> None:
    """Write labels (N,) as the publisher's numbers, blank lines at the end."""
    lines = [str(STAGES[label]) for label in stages]
    path.write_bytes("\r\n".join([*lines, "", "", ""]).encode())


def header(labels: tuple[str, ...], length_s: int) -> bytes:
    """Return an EDF header: 0.1 µV a step, slow signals in percent."""
    n = len(labels)

    def column(values: list[object], width: int) -> bytes:
        return b"".join(str(value).encode().ljust(width) for value in values)

    def either(slow: object, fast: object) -> list[object]:
        return [slow if label in SLOW else fast for label in labels]

    head = b"0".ljust(8) + b"".ljust(160) + b"01.01.0922.00.00"
    head += str(256 * (n + 1)).encode().ljust(8) + b"".ljust(44)
    head += str(length_s // RECORD_S).encode().ljust(8)
    head += str(RECORD_S).encode().ljust(8) + str(n).encode().ljust(4)
    head += column([*labels], 16) + column([""] * n, 80) + column(either("%", "uV"), 8)
    head += column(either(0, RANGE_UV[0]), 8) + column(either(100, RANGE_UV[1]), 8)
    head += column(either(0, RANGE_DIGITAL[0]), 8)
    head += column(either(1000, RANGE_DIGITAL[1]), 8) + column([""] * n, 80)
    head += column(either(SLOW_SAMPLES, RATE_HZ * RECORD_S), 8)
    return head + column([""] * n, 32)


def _records(
    labels: tuple[str, ...], x: dict[str, NDArray[np.float64]]
) -> NDArray[np.int16]:
    """Return records (N, values of all signals in turn) of what was simulated in µV."""
    n_records = x["X1"].size // (RATE_HZ * RECORD_S)
    columns = []
    for label in labels:
        if label in SLOW:
            columns.append(np.full((n_records, SLOW_SAMPLES), 970, "<i2"))
            continue
        first, *other = (PLACES.get(name, name) for name in label.split("-"))
        uv = x[first] - x[other[0]] if other else x[first]
        digital = np.clip(np.round(uv * 10), *RANGE_DIGITAL).astype("<i2")
        columns.append(digital.reshape(n_records, -1))
    return np.concatenate(columns, axis=1)


def _stages(n_epochs: int, cycle: list[int], rng: Generator) -> NDArray[np.int64]:
    """Draw labels (N,) in runs; all of a cycle's stages are in each of its lengths."""
    stages: list[int] = []
    while len(stages) < n_epochs:
        runs = list(cycle)
        for _ in range(3):
            loses, gains = rng.integers(len(runs), size=2)
            share = cycle[0] // 3 if runs[loses] > cycle[0] // 2 + 1 else 0
            runs[loses] -= share
            runs[gains] += share
        for stage, n in zip(CYCLE, runs, strict=True):
            stages += [stage] * n
    return np.array(stages[:n_epochs])


def _night(
    person: eeg.Person, stages: NDArray[np.int64], rng: Generator
) -> Iterator[dict[str, NDArray[np.float64]]]:
    """Yield electrodes against Cz, X1 and X2 (T,) in µV, some epochs at a time."""
    ramp = np.sin(0.5 * np.pi * (np.arange(FADE) + 0.5) / FADE)
    gain = np.exp(person.gain)[:, None]
    names = list(RHYTHMS)
    own = BETWEEN * rng.standard_normal(len(names))
    path = np.zeros(len(names))
    before = stages[0]
    tail = np.zeros((len(ELECTRODES), FADE))
    for start in range(0, len(stages), AT_ONCE):
        now = stages[start : start + AT_ONCE]
        earlier = np.concatenate([[before], now[:-1]])
        log_uv = np.empty((now.size, len(names)))
        for k, name in enumerate(names):
            table = np.log(RHYTHMS[name][3])
            log_uv[:, k] = (1 - LINGERS) * table[now] + LINGERS * table[earlier]
        for row in log_uv:
            path = 0.9 * path + math.sqrt(1 - 0.81) * rng.standard_normal(path.size)
            row += own + WANDER * path + SCATTER * rng.standard_normal(path.size)
        waves = _epochs(person, np.exp(log_uv), rng)
        waves[slice(0 if start else 1, None), :, :FADE] *= ramp
        waves[..., HOP:] *= ramp[::-1]
        x = np.ascontiguousarray(waves[..., :HOP].swapaxes(0, 1))
        x[:, 0, :FADE] += tail
        x[:, 1:, :FADE] += waves[:-1, :, HOP:].swapaxes(0, 1)
        tail = waves[-1, :, HOP:]
        before = now[-1]
        uv = gain * (x.reshape(len(ELECTRODES), -1) + _eyes(now, rng))
        uv += LINE_UV * np.exp(person.noise)[:, None] * _line(uv.shape[1])
        chin_uv = np.repeat(np.array(CHIN_UV)[now], HOP)
        yield {
            **dict(zip(ELECTRODES, uv, strict=True)),
            "X1": chin_uv * rng.standard_normal(chin_uv.size),
            "X2": 1e3 * eeg.heartbeat(RATE_HZ, chin_uv.size, rng),
        }


def _epochs(
    person: eeg.Person, uv: NDArray[np.float64], rng: Generator
) -> NDArray[np.float64]:
    """Draw epochs (N, E, T) with 2 s to fade in; rhythms' amplitudes (N, R) in µV."""
    from scipy.fft import irfft

    lead = eeg.lead_field(ELECTRODES, REFERENCE)
    length = HOP + FADE
    freq = np.arange(length // 2 + 1) * (RATE_HZ / length)
    bins = np.zeros((len(uv), len(ELECTRODES), freq.size), complex)

    def add(
        places: NDArray[np.float64], weight: NDArray[np.float64], size: object
    ) -> None:
        weight = weight * (freq > 0) * (freq < TOP_HZ)
        used = np.flatnonzero(weight > 1e-3 * weight.max())
        part = slice(used[0], used[-1] + 1)
        draw = rng.standard_normal(
            (len(uv), places.shape[1], used[-1] + 1 - used[0], 2)
        )
        scale = length / (2 * np.sqrt((weight**2).sum()))
        waves = draw.view(complex)[..., 0] * (scale * weight[part])
        bins[..., part] += size * (places @ waves)

    slope = np.maximum(freq, eeg.KNEE_HZ) ** (-person.slope / 2)
    # A third of the places is enough: the others would double the time.
    loud = np.exp(person.background[::3])
    add(lead["background"][:, ::3] * loud, slope, BACKGROUND_UV / 2)
    for column, (where, hz, width_hz, _) in zip(uv.T, RHYTHMS.values(), strict=True):
        bell = np.exp(-0.5 * ((freq - hz) / width_hz) ** 2)
        add(lead[where], bell, column[:, None, None])
    add(np.diag(np.exp(person.noise)), np.ones(freq.size), NOISE_UV)
    epochs: NDArray[np.float64] = irfft(bins, length, overwrite_x=True)
    return epochs


def _eyes(stages: NDArray[np.int64], rng: Generator) -> NDArray[np.float64]:
    """Draw eyes (E, T) in µV: they roll together, jump together, and blink."""
    left, right = eeg.lead_field(ELECTRODES, REFERENCE)["eyes"].T
    n_times = stages.size * HOP
    time_s = np.arange(n_times) / RATE_HZ
    centre_s = EPOCH_S * (np.arange(stages.size) + 0.5)
    rolling_uv = np.interp(time_s, centre_s, np.array(ROLLING_UV)[stages])
    turns = ROLLING_HZ * time_s + 0.4 * np.sin(0.31 * time_s) + rng.uniform()
    sideways = rolling_uv * np.sin(2 * np.pi * turns)
    upward = np.zeros(n_times)
    for path, counts, uv, is_signed in (
        (sideways, JUMPS, JUMP_UV, True),
        (upward, BLINKS, BLINK_UV, False),
    ):
        n = rng.poisson(np.array(counts)[stages])
        # Well within an epoch, so that no bell is cut at the end of what is simulated.
        at_s = np.repeat(centre_s, n) + rng.uniform(-13.5, 13.5, n.sum())
        heights_uv = uv * rng.lognormal(0.0, 0.4, n.sum())
        if is_signed:
            heights_uv *= rng.choice([-1.0, 1.0], n.sum())
        path += eeg._pulses(at_s, heights_uv, 0.12, RATE_HZ, n_times)
    return np.outer(left - right, sideways) + np.outer(left + right, upward)


def _line(n_times: int) -> NDArray[np.float64]:
    """Return 50 Hz (T,) at 200 Hz."""
    return np.resize([0.0, 1.0, 0.0, -1.0], n_times)
