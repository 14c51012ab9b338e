"""CHB-MIT's simulated twin: children with rhythmic discharges, in true EDF and text.

From: a folder and a size. To: cases as the publisher lays them out, odd ones among
them: signals that were never connected, T8-P8 twice, other orders within a case, a
recording without the needed channels, summaries with CR LF, with hours beyond 23,
without clock times, with seizures numbered or not.

A seizure is a rhythm that starts at 6 Hz, slows to 3 Hz, swells and spreads from one
place of the head; bursts of chewing, 1 to 3 s of another rhythm, are no seizures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._chbmit_table import durations_s, recordings_of, seizures_s
from eegfm_bench.datasets._twins import eeg

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

# Names the draw of people; another word makes other people.
TWIN = "chbmit-1"
RATE_HZ = 256

_LEFT = ("FP1-F7", "F7-T7", "T7-P7", "P7-O1", "FP1-F3", "F3-C3", "C3-P3", "P3-O1")
_RIGHT = ("FP2-F4", "F4-C4", "C4-P4", "P4-O2", "FP2-F8", "F8-T8", "T8-P8", "P8-O2")
_REST = ("FZ-CZ", "CZ-PZ", "P7-T7", "T7-FT9", "FT9-FT10", "FT10-T8")
# The 23 signals of most recordings; those of chb21 and others, 28 with blanks; 22.
USUAL = (*_LEFT, *_RIGHT, *_REST, "T8-P8")
WITH_BLANKS = (
    *(*_LEFT[:4], "-", *_LEFT[4:], "-", *_REST[:2], "-", *_RIGHT[:4], "-"),
    *(*_RIGHT[4:], "-", *_REST[2:], "T8-P8"),
)
WITHOUT_BLANKS = (*_RIGHT, *_REST[:2], *_LEFT, *_REST[2:])
WITH_ECG = (*USUAL, "ECG")
# chb12_27 to _29 are against one electrode: none of the bipolar channels is there.
ONE_REFERENCE = tuple(f"{name}-CS2" for name in ("F7", "T7", "P7", "F3", "C3", "P3"))
SIMULATED = (*_LEFT, *_RIGHT, *_REST)

# Outside the protocols: in cases they use, and in one they do not.
OUTSIDE = {"chb02": ("chb02_16+",), "chb24": ("chb24_02", "chb24_22")}
LACKING = "chb12_27"

# Seconds in the small twin: 1 window, or 4 with a seizure and a tail.
SHORT_S, WITH_SEIZURE_S = 11, 42
SEIZURE_S = 20
# The two of test whose added windows run past the end, as in the genuine chb24_11.
AT_THE_END = "chb24_11"
# With genuine lengths these two are 2.0 GB; val is there in short.
TWO_GB = ("chb08", "chb23")
# A long recording repeats so many simulated minutes, in an order of its own.
MINUTES = 6

LAB = eeg.Lab(
    rate_hz=float(RATE_HZ),
    gain=1.2,
    background_uv=5.0,
    blink_uv=12.0,
    blinks_per_minute=10.0,
    line_hz=60.0,
    line_uv=0.8,
    noise_uv=4.0,
    drift=0.05,
)
AWAKE = eeg.State(unison=0.5)
# Amplitude of a discharge at its strongest channel, and of chewing.
DISCHARGE_UV, CHEWING_UV = 150.0, 40.0

Seizures = tuple[tuple[int, int], ...]


def simulate(folder: Path, size: str, *, val: str) -> None:
    """Write the twin.

    Parameters
    ----------
    folder : path
        ``chbmit`` below the twin's root.
    size : ``"small"``, ``"2gb"`` or ``"full"``
        Three train cases or two, one of val and two of test, in short recordings; two
        cases of genuine lengths; or all 21 with genuine lengths and seizures (39 GB).
        Recordings are written minute by minute, never held whole.
    val : str
        The case that is validated on where not all are written.
    """
    for case, lengths_s in lengths(size, val).items():
        (folder / case).mkdir(exist_ok=True)
        seizures = _seizures(lengths_s, is_genuine=_is_genuine(case, size))
        person, rng = _person(case)
        focus = int(rng.integers(eeg.N_BACKGROUND))
        for name, length_s in lengths_s.items():
            labels = labels_of(name)
            path = folder / case / f"{name}.edf"
            _write_edf(
                path,
                labels,
                length_s,
                _signal(name, person, focus, length_s, seizures.get(name, ())),
            )
            if name in seizures:
                path.with_name(f"{path.name}.seizures").write_bytes(b"simulated\n")
        write_summary(folder / case / f"{case}-summary.txt", lengths_s, seizures)
    (folder / LACKING[:5]).mkdir(exist_ok=True)
    person, _ = _person(LACKING[:5])
    _write_edf(
        folder / LACKING[:5] / f"{LACKING}.edf",
        ONE_REFERENCE,
        SHORT_S,
        _signal(LACKING, person, 0, SHORT_S, ()),
    )


def lengths(size: str, val: str) -> dict[str, dict[str, int]]:
    """Return the seconds of every recording to write, by case."""
    genuine, seizures = durations_s(), seizures_s()
    cases: list[str]
    if size == "full":
        cases = sorted({name[:5] for name in genuine})
    elif size == "2gb":
        cases = sorted({*TWO_GB, val})
    else:
        train = ["chb01", "chb02"] if val == "chb21" else ["chb01", "chb02", "chb21"]
        cases = [*train, val, "chb23", "chb24"]
    lengths: dict[str, dict[str, int]] = {}
    for case in cases:
        lengths[case] = {
            name: genuine[name]
            if _is_genuine(case, size)
            else WITH_SEIZURE_S
            if name in seizures
            else SHORT_S
            for name in recordings_of(case)
        }
        lengths[case] |= dict.fromkeys(OUTSIDE.get(case, ()), SHORT_S)
    return lengths


def _is_genuine(case: str, size: str) -> bool:
    """Whether a case has its genuine lengths and seizures."""
    return size == "full" or (size == "2gb" and case in TWO_GB)


def _seizures(lengths_s: dict[str, int], *, is_genuine: bool) -> dict[str, Seizures]:
    """Return seizures in whole seconds: the genuine ones, or one of 20 s each."""
    genuine = {k: v for k, v in seizures_s().items() if k in lengths_s}
    if is_genuine:
        return genuine
    found: dict[str, Seizures] = {}
    for name in genuine:
        # Neither start nor end is ever on a window's border.
        first = 19 if name == AT_THE_END else 6 + int(name[-2:]) % 7
        found[name] = ((first, first + SEIZURE_S),)
    return found


def labels_of(name: str) -> tuple[str, ...]:
    """Return the signals of a recording: layouts change, within a case too."""
    case, number = name[:5], name[6:]
    if case in ("chb21", "chb22"):
        return WITHOUT_BLANKS if number == "01" else WITH_BLANKS
    if case == "chb02":
        return WITH_ECG if number == "35" else USUAL
    return USUAL


def _person(case: str) -> tuple[eeg.Person, Generator]:
    """Draw a child; cases 01 and 21 are one."""
    rng = eeg.randomness(TWIN, "chb01" if case == "chb21" else case)
    return eeg.draw_person(_standard(SIMULATED), rng), rng


def _standard(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return names as the montage has them."""
    return tuple(s.replace("FP", "Fp").replace("Z", "z") for s in labels)


def _signal(
    name: str,
    person: eeg.Person,
    focus: int,
    length_s: int,
    seizures: Seizures,
) -> Iterator[NDArray[np.float64]]:
    """Yield (C, T) in µV, a minute at a time, channels as in ``SIMULATED``."""
    pattern = _pattern(focus)
    minutes: list[NDArray[np.float64]] = []
    for first_s in range(0, length_s, 60):
        lasts_s = min(60, length_s - first_s)
        rng = eeg.randomness(TWIN, name, str(first_s))
        if len(minutes) < MINUTES:
            minutes.append(
                eeg.record(
                    _standard(SIMULATED),
                    ("A1",),
                    person,
                    AWAKE,
                    LAB,
                    duration_s=lasts_s,
                    rng=rng,
                )
            )
            x = minutes[-1].copy()
        else:
            x = minutes[rng.integers(MINUTES)][:, : lasts_s * RATE_HZ].copy()
        at_s = first_s + np.arange(x.shape[1]) / RATE_HZ
        if rng.uniform() < 0.5:
            start_s = first_s + rng.uniform(0, max(lasts_s - 3, 1))
            x += CHEWING_UV * _chewing(at_s - start_s, rng) * _pattern(7)
        for start_s, end_s in seizures:
            if start_s < first_s + lasts_s and end_s > first_s:
                own = eeg.randomness(TWIN, name, f"seizure {start_s}")
                size = DISCHARGE_UV * own.lognormal(0.0, 0.5)
                x += size * _discharge(at_s - start_s, end_s - start_s) * pattern
        yield x


def _pattern(place: int) -> NDArray[np.float64]:
    """Return what a place of the cortex adds to each channel (C, 1)."""
    lead = eeg.lead_field(_standard(SIMULATED), ("A1",))["background"]
    column: NDArray[np.float64] = lead[:, place : place + 1]
    return column


def _discharge(at_s: NDArray[np.float64], lasts_s: float) -> NDArray[np.float64]:
    """Return a seizure's wave (T,) of unit size: 6 Hz slowing to 3 Hz, swelling."""
    share = np.clip(at_s / lasts_s, 0.0, 1.0)
    turns = lasts_s * (6.0 * share - 1.5 * share**2)
    swell = np.minimum(0.4 + 2 * share, 1.0) * ((share > 0) & (share < 1))
    wave = np.sin(2 * np.pi * turns) + 0.5 * np.sin(4 * np.pi * turns + 0.6)
    return np.asarray(swell * wave)


def _chewing(at_s: NDArray[np.float64], rng: Generator) -> NDArray[np.float64]:
    """Return a burst (T,) of unit size, 1 to 3 s of 1.5 to 2.5 Hz."""
    lasts_s, hz = rng.uniform(1, 3), rng.uniform(1.5, 2.5)
    share = np.clip(at_s / lasts_s, 0.0, 1.0)
    return np.asarray(np.sin(math.pi * share) * np.sin(2 * np.pi * hz * at_s))


def header(labels: tuple[str, ...], length_s: int) -> bytes:
    """Return a plain EDF header as the publisher's: ±800 µV in 12 bits.

    Signals labelled "-" have no range at all, digital or physical.
    """
    n = len(labels)

    def column(values: list[object], width: int) -> bytes:
        return b"".join(str(value).encode().ljust(width) for value in values)

    def unless_blank(value: object) -> list[object]:
        return [0 if label == "-" else value for label in labels]

    head = b"0".ljust(8) + b"".ljust(160) + b"01.01.7600.00.00"
    head += str(256 * (n + 1)).encode().ljust(8) + b"".ljust(44)
    head += str(length_s).encode().ljust(8) + b"1".ljust(8) + str(n).encode().ljust(4)
    head += column([*labels], 16) + column([""] * n, 80) + column(["uV"] * n, 8)
    head += column(unless_blank(-800), 8) + column(unless_blank(800), 8)
    head += column(unless_blank(-2048), 8) + column(unless_blank(2047), 8)
    return head + column([""] * n, 80) + column([RATE_HZ] * n, 8) + column([""] * n, 32)


def _write_edf(
    path: Path,
    labels: tuple[str, ...],
    length_s: int,
    minutes: Iterator[NDArray[np.float64]],
) -> None:
    """Write a recording, a minute at a time; minutes (C, T) in µV."""
    n = len(labels)
    with path.open("wb") as file:
        file.write(header(labels, length_s))
        for x in minutes:
            digital = np.round((x + 800) / 1600 * 4095 - 2048)
            digital = np.clip(digital, -2048, 2047).astype("<i2")
            rows = np.zeros((n, x.shape[1]), "<i2")
            for i, label in enumerate(labels):
                if label in SIMULATED:
                    rows[i] = digital[SIMULATED.index(label)]
                elif label != "-":
                    rows[i] = digital[i % len(digital)]
            records = rows.reshape(n, -1, RATE_HZ).swapaxes(0, 1)
            file.write(np.ascontiguousarray(records).tobytes())


def write_summary(
    path: Path, lengths_s: dict[str, int], seizures: dict[str, Seizures]
) -> None:
    """Write a case's summary, with the publisher's ways of saying it."""
    case = path.name[:5]
    is_late = case == "chb24"
    lines = ["Data Sampling Rate: 256 Hz", "*" * 25, ""]
    layout: tuple[str, ...] = ()
    clock_s = 22 * 3600 + 754
    for name, length_s in sorted(lengths_s.items()):
        if is_late and name not in seizures:
            continue
        if labels_of(name) != layout:
            lines.append("Channels changed:" if layout else "Channels in EDF Files:")
            lines.append("*" * 22)
            layout = labels_of(name)
            lines += [f"Channel {i}: {c}" for i, c in enumerate(layout, start=1)]
            lines.append("")
        lines.append(f"File Name: {name}.edf")
        if not is_late:
            lines.append(f"File Start Time: {_clock(clock_s)}")
            lines.append(f"File End Time: {_clock(clock_s + length_s)}")
            clock_s += length_s + 7
        own = seizures.get(name, ())
        if own or case != "chb23":
            lines.append(f"Number of Seizures in File: {len(own)}")
        for k, (start_s, end_s) in enumerate(own, start=1):
            number = f" {k}" if case not in ("chb01", "chb02") else ""
            lines.append(f"Seizure{number} Start Time: {start_s} seconds")
            lines.append(f"Seizure{number} End Time:  {end_s} seconds ")
        lines.append("")
    ending = "\r\n" if case in ("chb21", "chb22") else "\n"
    path.write_bytes(ending.join(lines).encode())


def _clock(at_s: int) -> str:
    """Write a time of day; as in the genuine files, hours pass 23."""
    minutes, seconds = divmod(at_s, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
