"""EEG from a head model: what the simulated twins are made of.

From: channel names, a person's traits, what the person does, and a seed. To:
signals (C, T) in µV, which a dataset's ``simulate`` writes as its publisher does.
Dipoles in a three-layer sphere carry a 1/f background, rhythms and blinks;
electrodes, line and amplifier add theirs. Traits stay with a person, levels drift
between recordings and wax and wane within one: a task is one cause among many.

Letters: C channels, S sources, T time points.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

Direction = tuple[float, float, float]
Spectrum = Callable[["NDArray[np.float64]"], "NDArray[np.float64]"]
Draw = TypeVar("Draw", float, "NDArray[np.float64]")

# Shares of the head's radius; MNE's inner skull lies at 0.90.
CORTEX, SHALLOW = 0.75, 0.87
N_BACKGROUND = 48
# Noises have unit spread in this band, whatever their slope.
BAND_HZ = (1.0, 40.0)
# The 1/f law flattens below the first; nothing is made above the second, which is
# half of the lowest rate among the twins' publishers.
KNEE_HZ, TOP_HZ = 0.5, 80.0
# Below, electrode noise rises steeply (skin, sweat); above, it is white.
CORNER_HZ = 6.0
# Seconds between the knots of a slow path: alpha comes and goes this slowly.
KNOT_S = 4.0
# How alertness correlates with a person's alpha and mu, and with what every
# rhythm's envelope does within a recording.
TOGETHER = 0.8
BLINK_S = 0.35
EYES: tuple[Direction, ...] = ((-0.25, 0.95, -0.1), (0.25, 0.95, -0.1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """A bell in the spectrum, carried by a few places of the head.

    ``places`` are directions from the head's centre: right, front, up. ``uv`` is each
    place's amplitude at its strongest channel; log amplitude spreads by ``between``
    among people and by ``depth`` within a recording.
    """

    places: tuple[Direction, ...]
    hz: float
    width_hz: float
    uv: float
    between: float
    depth: float
    radius: float = CORTEX


POSTERIOR: tuple[Direction, ...] = (
    *((-0.42, -0.9, 0.17), (0.42, -0.9, 0.17), (-0.5, -0.6, 0.6)),
    *((0.5, -0.6, 0.6), (-0.8, -0.6, 0.1), (0.8, -0.6, 0.1)),
)
CENTRAL: tuple[Direction, ...] = ((-0.6, 0.0, 0.8), (0.6, 0.0, 0.8))
MIDLINE: tuple[Direction, ...] = ((0.0, 0.7, 0.7), (0.0, 0.45, 0.9))
LATERAL: tuple[Direction, ...] = (
    *((-0.5, 0.6, 0.6), (0.5, 0.6, 0.6), (-0.5, -0.2, 0.8), (0.5, -0.2, 0.8)),
)
JAW_BROW: tuple[Direction, ...] = (
    *((-0.95, 0.2, 0.0), (0.95, 0.2, 0.0), (-0.4, 0.9, 0.0), (0.4, 0.9, 0.0)),
)

# Amplitudes as of a strong amplifier: a lab's gain brings them to its own µV.
RHYTHMS: Mapping[str, Rhythm] = {
    "alpha": Rhythm(
        places=POSTERIOR, hz=10.0, width_hz=1.2, uv=15.0, between=0.45, depth=0.45
    ),
    "mu": Rhythm(
        places=CENTRAL, hz=11.0, width_hz=1.0, uv=3.5, between=0.4, depth=0.45
    ),
    "theta": Rhythm(
        places=MIDLINE, hz=6.0, width_hz=0.8, uv=3.5, between=0.5, depth=0.4
    ),
    "beta": Rhythm(
        places=LATERAL, hz=20.0, width_hz=4.0, uv=1.8, between=0.5, depth=0.4
    ),
    "muscle": Rhythm(
        places=JAW_BROW,
        hz=40.0,
        width_hz=14.0,
        uv=2.0,
        between=0.8,
        depth=0.6,
        radius=SHALLOW,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Traits that stay from recording to recording.

    ``level``, ``background`` (S,), ``gain`` (C,) and ``noise`` (C,) are log amplitudes
    against the common ones; ``response`` is how strongly a task changes a rhythm.
    """

    alpha_hz: float
    slope: float
    level: Mapping[str, float]
    response: Mapping[str, float]
    background: NDArray[np.float64]
    gain: NDArray[np.float64]
    noise: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the person does: what it adds to log amplitudes, and alpha's unison.

    ``unison`` is the share of alpha's variance that its places have in common, in
    step; a task that desynchronises alpha lowers it.
    """

    unison: float
    change: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """An amplifier, its room, and what its publisher's filter let through.

    ``gain`` scales all that comes from the head, ``background_uv`` and ``blink_uv``
    are amplitudes before it; ``drift`` is the spread of log amplitude between
    recordings of one person.
    """

    rate_hz: float
    gain: float
    background_uv: float
    blink_uv: float
    blinks_per_minute: float
    line_hz: float
    line_uv: float
    noise_uv: float
    drift: float
    band_hz: tuple[float, float] | None = None


def randomness(*words: str) -> Generator:
    """Return the random numbers that belong to these words.

    Examples
    --------
    >>> randomness("eyes", "S001").integers(100, size=3)
    array([82, 24, 11])
    """
    digest = hashlib.sha256("/".join(words).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def draw_person(channels: tuple[str, ...], rng: Generator) -> Person:
    """Draw one person's traits for a set of channels."""
    alertness = rng.standard_normal()
    level = {k: rng.standard_normal() for k in RHYTHMS}
    for name in ("alpha", "mu"):
        level[name] = _mixed(alertness, level[name])
    return Person(
        # 10 Hz, 8.5 to 11.8 in nearly all adults.
        alpha_hz=float(np.clip(rng.normal(10.0, 0.8), 8.5, 11.8)),
        slope=float(rng.normal(1.1, 0.15)),
        level={k: r.between * level[k] for k, r in RHYTHMS.items()},
        response={k: float(rng.normal(1.0, 0.2)) for k in RHYTHMS},
        background=rng.normal(0.0, 0.5, N_BACKGROUND),
        gain=rng.normal(0.0, 0.2) + rng.normal(0.0, 0.15, len(channels)),
        noise=rng.normal(0.0, 0.5) + rng.normal(0.0, 0.15, len(channels)),
    )


def record(
    channels: tuple[str, ...],
    reference: tuple[str, ...],
    person: Person,
    state: State,
    lab: Lab,
    *,
    duration_s: float,
    rng: Generator,
) -> NDArray[np.float64]:
    """Return one recording of a person.

    Parameters
    ----------
    channels : tuple of C names
        10-05 names; ``"A2-A1"`` is the difference of two.
    reference : tuple of names
        The electrodes whose mean every plain channel is measured against.
    person : Person
        Drawn for the same channels.
    state : State
        What the person does.
    lab : Lab
        Who records, and how well.
    duration_s : float
        Length in seconds.
    rng : Generator
        The recording's own randomness.

    Returns
    -------
    x : array (C, T)
        Signal in µV.
    """
    n_times = round(duration_s * lab.rate_hz)
    lead = lead_field(channels, reference)
    x = lead["background"] @ _background(person, lab, n_times, rng)
    alertness = _wander(rng, 1, n_times, lab.rate_hz)
    for name, rhythm in RHYTHMS.items():
        shift = person.level[name] + rng.normal(0.0, lab.drift)
        shift += person.response[name] * state.change.get(name, 0.0)
        n_places = len(rhythm.places)
        hz = person.alpha_hz if name == "alpha" else rhythm.hz
        in_step = state.unison if name == "alpha" else 0.0
        noise = _noise(rng, n_places + 1, n_times, lab.rate_hz, _bell(hz, rhythm))
        waves = math.sqrt(1 - in_step) * noise[1:] + math.sqrt(in_step) * noise[0]
        own = _wander(rng, n_places, n_times, lab.rate_hz)
        envelope = np.exp(shift + rhythm.depth * _mixed(alertness, own))
        x += lead[name] @ (rhythm.uv * envelope * waves)
    x += lead["eyes"].sum(axis=1, keepdims=True) * _blinks(rng, n_times, lab)
    x *= (
        lab.gain * np.exp(person.gain + rng.normal(0.0, lab.drift, len(x)) / 4)[:, None]
    )
    x += _electrodes(person, lab, n_times, rng)
    if lab.band_hz is None:
        return x
    from scipy.signal import butter, sosfiltfilt

    sections = butter(3, lab.band_hz, "bandpass", fs=lab.rate_hz, output="sos")
    filtered: NDArray[np.float64] = sosfiltfilt(sections, x)
    return filtered


def waves(
    rhythm: Rhythm, change: NDArray[np.float64], rate_hz: float, rng: Generator
) -> NDArray[np.float64]:
    """Draw a rhythm's waves (S, T) in µV, for tasks that change within a recording.

    ``change`` (S, T) is what the task adds to the log amplitude of each place; every
    place waxes and wanes by itself, too, by the rhythm's depth.
    """
    n_places, n_times = change.shape
    path = change + rhythm.depth * _wander(rng, n_places, n_times, rate_hz)
    noise = _noise(rng, n_places, n_times, rate_hz, _bell(rhythm.hz, rhythm))
    return rhythm.uv * np.exp(path) * noise


def heartbeat(rate_hz: float, n_times: int, rng: Generator) -> NDArray[np.float64]:
    """Return an ECG (T,) in mV: one sharp wave a beat, about 70 a minute."""
    beats_s = np.cumsum(rng.normal(0.86, 0.04, int(n_times / rate_hz * 1.5) + 2))
    waves = _pulses(beats_s, np.full(beats_s.size, 0.8), 0.015, rate_hz, n_times)
    return waves + 0.02 * rng.standard_normal(n_times)


@lru_cache(maxsize=8)
def lead_field(
    channels: tuple[str, ...], reference: tuple[str, ...]
) -> dict[str, NDArray[np.float64]]:
    """Return what every source adds to every channel, by MNE's sphere solution.

    Returns
    -------
    lead : dict of arrays (C, S)
        By rhythm, and ``"background"`` and ``"eyes"``; in each column the largest
        entry is 1 in size.
    """
    import mne

    pairs = [c.split("-") if "-" in c else [c, *reference] for c in channels]
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    # MNE 1.13 renamed its 10-05 montage.
    known = mne.channels.get_builtin_montages()
    montage = "colin27_1005" if "colin27_1005" in known else "standard_1005"
    info = mne.create_info(names, 1.0, "eeg", verbose="ERROR")
    info.set_montage(montage, verbose="ERROR")
    sphere = mne.make_sphere_model("auto", "auto", info, verbose="ERROR")
    groups = {
        "background": (_spiral(N_BACKGROUND), CORTEX),
        "eyes": (np.array(EYES), SHALLOW),
        **{k: (np.array(r.places), r.radius) for k, r in RHYTHMS.items()},
    }
    outward = np.concatenate([places for places, _ in groups.values()])
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    share = np.concatenate([np.full(len(p), radius) for p, radius in groups.values()])
    at = sphere["r0"] + sphere.radius * share[:, None] * outward
    space = mne.setup_volume_source_space(
        pos={"rr": at, "nn": outward}, sphere_units="m", verbose="ERROR"
    )
    forward = mne.make_forward_solution(
        info, trans=None, src=space, bem=sphere, meg=False, eeg=True, verbose="ERROR"
    )
    # Cortex is folded: the background's dipoles are tilted, by a draw that never
    # changes. A rhythm's point outward, so that places in step add up.
    tilt = np.zeros_like(outward)
    tilt[:N_BACKGROUND] = randomness("tilt").normal(0.0, 0.5, (N_BACKGROUND, 3))
    free = forward["sol"]["data"].reshape(len(names), len(outward), 3)
    potential = dict(zip(names, (free * (outward + tilt)).sum(axis=2), strict=True))
    lead = np.stack(
        [potential[a] - np.mean([potential[b] for b in rest], 0) for a, *rest in pairs]
    )
    lead /= np.abs(lead).max(axis=0)
    ends = np.cumsum([len(places) for places, _ in groups.values()])[:-1]
    return dict(zip(groups, np.split(lead, ends, axis=1), strict=True))


def _bell(hz: float, rhythm: Rhythm) -> Spectrum:
    def bell(freq: NDArray[np.float64]) -> NDArray[np.float64]:
        weight: NDArray[np.float64] = np.exp(
            -0.5 * ((freq - hz) / rhythm.width_hz) ** 2
        )
        return weight

    return bell


def _background(
    person: Person, lab: Lab, n_times: int, rng: Generator
) -> NDArray[np.float64]:
    """Draw 1/f noise (S, T) in µV, each source with its own slow path."""
    log_uv = math.log(lab.background_uv) + person.background
    log_uv = log_uv + rng.normal(0.0, lab.drift, N_BACKGROUND) / 2
    paths = log_uv[:, None] + 0.25 * _wander(rng, N_BACKGROUND, n_times, lab.rate_hz)
    return np.exp(paths) * _noise(
        rng,
        N_BACKGROUND,
        n_times,
        lab.rate_hz,
        lambda freq: np.maximum(freq, KNEE_HZ) ** (-person.slope / 2),
    )


def _electrodes(
    person: Person, lab: Lab, n_times: int, rng: Generator
) -> NDArray[np.float64]:
    """Draw what does not come from the head (C, T) in µV: line and contact noise."""
    n = len(person.noise)
    log_uv = person.noise + rng.normal(0.0, lab.drift, n)
    paths = log_uv[:, None] + 0.15 * _wander(rng, n, n_times, lab.rate_hz)
    noise = _noise(
        rng,
        n,
        n_times,
        lab.rate_hz,
        lambda freq: np.sqrt(1 + (CORNER_HZ / np.maximum(freq, KNEE_HZ)) ** 3),
    )
    turns = lab.line_hz * np.arange(n_times) / lab.rate_hz + rng.uniform()
    line_uv = lab.line_uv * rng.lognormal(0.0, 0.5, (n, 1))
    line: NDArray[np.float64] = line_uv * np.sin(2 * np.pi * turns)
    return lab.noise_uv * np.exp(paths) * noise + line


def _mixed(common: Draw, own: Draw) -> Draw:
    """Add a common part to unit draws; their spread stays 1."""
    return TOGETHER * common + math.sqrt(1 - TOGETHER**2) * own


def _spiral(n: int) -> NDArray[np.float64]:
    """Spread n directions evenly over the cap that electrodes cover."""
    up = 1 - (np.arange(n) + 0.5) / n * 1.3
    turn = np.arange(n) * np.pi * (3 - np.sqrt(5))
    flat = np.sqrt(1 - up**2)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), up], axis=1)


def _noise(
    rng: Generator, n: int, n_times: int, rate_hz: float, spectrum: Spectrum
) -> NDArray[np.float64]:
    """Draw noises (n, T) of a given amplitude spectrum, of unit spread in BAND_HZ."""
    from scipy.fft import irfft, next_fast_len

    length = next_fast_len(n_times, real=True)
    freq = np.arange(length // 2 + 1) * (rate_hz / length)
    weight = spectrum(freq) * (freq > 0) * (freq <= TOP_HZ)
    inside = (BAND_HZ[0] <= freq) & (freq < BAND_HZ[1])
    weight *= length / (2 * np.sqrt((weight[inside] ** 2).sum()))
    used = np.flatnonzero(weight > 1e-4 * weight.max())
    part = slice(used[0], used[-1] + 1)
    bins = np.zeros((n, freq.size), complex)
    draw = rng.standard_normal((n, part.stop - part.start, 2))
    bins[:, part] = draw.view(complex)[..., 0] * weight[part]
    noise: NDArray[np.float64] = irfft(bins, length)
    return noise[:, :n_times]


def _wander(
    rng: Generator, n: int, n_times: int, rate_hz: float
) -> NDArray[np.float64]:
    """Draw slow paths (n, T) of about unit spread, straight between knots."""
    at = np.arange(n_times) / (rate_hz * KNOT_S)
    left = at.astype(np.int64)
    knots = rng.standard_normal((n, left[-1] + 2))
    return knots[:, left] + (at - left) * np.diff(knots)[:, left]


def _blinks(rng: Generator, n_times: int, lab: Lab) -> NDArray[np.float64]:
    """Draw one path (T,) of blinks in µV."""
    length_s = n_times / lab.rate_hz
    n = rng.poisson(lab.blinks_per_minute * length_s / 60)
    heights_uv = lab.blink_uv * rng.lognormal(0.0, 0.3, n)
    at_s = rng.uniform(0, length_s, n)
    return _pulses(at_s, heights_uv, BLINK_S / 4, lab.rate_hz, n_times)


def _pulses(
    at_s: NDArray[np.float64],
    height: NDArray[np.float64],
    spread_s: float,
    rate_hz: float,
    n_times: int,
) -> NDArray[np.float64]:
    """Sum bells (T,) at given places, of given heights."""
    x = np.zeros(n_times)
    reach = int(4 * spread_s * rate_hz)
    for centre_s, top in zip(at_s, height, strict=True):
        centre = round(centre_s * rate_hz)
        part = np.arange(max(centre - reach, 0), min(centre + reach, n_times))
        x[part] += top * np.exp(-0.5 * ((part / rate_hz - centre_s) / spread_s) ** 2)
    return x
