"""SEED-V's simulated twin: short films, or hours of them, in true CNT files.

From: a folder and a size. To: sessions as the publisher names them, the one with a
broken header and its repaired copy among them. Every emotion has rhythms of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._seedv_films import (
    BROKEN,
    CHANNELS,
    DAYS,
    N_FILMS,
    NOT_USED,
    RATE_HZ,
    REPAIRED,
    SESSIONS,
    Session,
)
from eegfm_bench.datasets._twins import eeg
from eegfm_bench.datasets._twins.cnt import write_cnt, write_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

# In the header of simulated recordings, and the codes of their event tables.
SIMULATED, BEGINS, ENDS = "SIMULATED", 1, 2

# Names the draw of people.
TWIN = "seedv"
# Subjects of the small twin, and seconds of a film by part: 120 + 90 + 120 windows, so
# 2 passes over train and val and one over test are 540.
SMALL = ("1", "7")
SMALL_S = (4,) * 5 + (3,) * 5 + (4,) * 5
# Seconds after the last film in the full twin.
TAIL_S = 20
# The count of time points in the broken header: a negative one, as reported of it.
BROKEN_COUNT = -732
LABELS = tuple(c.upper() for c in (*CHANNELS, *NOT_USED))
# The montage knows no CB1 and CB2; these lie about where they do.
PLACES = (
    *({"CB1": "PO9", "CB2": "PO10"}.get(c, c) for c in CHANNELS),
    *NOT_USED[:2],
)
# The cap's reference lies between these.
CAP_REFERENCE = ("Cz", "CPz")
LAB = eeg.Lab(
    rate_hz=float(RATE_HZ),
    gain=0.8,
    background_uv=4.0,
    blink_uv=15.0,
    blinks_per_minute=10.0,
    line_hz=50.0,
    line_uv=0.5,
    noise_uv=3.0,
    drift=0.05,
)
# What films do to log amplitudes, in the order of CLASSES: far more than real ones do,
# for models to learn it from 1 s; chosen on training and validation parts.
STATES = (
    eeg.State(unison=0.3, change={"alpha": -0.9, "beta": 0.9}),
    eeg.State(unison=0.3, change={"beta": 1.3, "muscle": 1.0}),
    eeg.State(unison=0.8, change={"theta": 1.5}),
    eeg.State(unison=0.9, change={"alpha": 0.9}),
    eeg.State(unison=0.5, change={"muscle": 1.8, "mu": -0.5}),
)


def schedule(session: str, size: str) -> tuple[Session, int]:
    """Return when a twin's films are, and how long its recording lasts in seconds.

    Examples
    --------
    >>> films, length_s = schedule("2", "small")
    >>> films.starts_s[:3], films.ends_s[:3], length_s
    ((1, 6, 11), (5, 10, 15), 71)
    """
    published = SESSIONS[session]
    if size == "full":
        return published, published.ends_s[-1] + TAIL_S
    starts_s = tuple(1 + k + sum(SMALL_S[:k]) for k in range(N_FILMS))
    ends_s = tuple(a + b for a, b in zip(starts_s, SMALL_S, strict=True))
    films = Session(starts_s=starts_s, ends_s=ends_s, labels=published.labels)
    return films, ends_s[-1] + 1


def simulate(folder: Path, size: str) -> None:
    """Write the twin.

    Parameters
    ----------
    folder : path
        ``seedv`` below the twin's root.
    size : ``"small"`` or ``"full"``
        Three sessions of two subjects with films of 3 or 4 s; or 48 sessions with the
        published films (40 GB), written film by film.
    """
    (folder / "EEG_raw").mkdir()
    everyone = tuple(str(n + 1) for n in range(len(DAYS["1"])))
    for subject in SMALL if size == "small" else everyone:
        for session in SESSIONS:
            day = DAYS[session][int(subject) - 1]
            path = folder / "EEG_raw" / f"{subject}_{session}_{day}.cnt"
            films, length_s = schedule(session, size)
            events = [(s * RATE_HZ, BEGINS) for s in films.starts_s]
            events += [(s * RATE_HZ, ENDS) for s in films.ends_s]
            n_times = length_s * RATE_HZ
            # The broken file has the same bytes, but for its count.
            repaired = path.with_name(f"{path.stem}{REPAIRED}.cnt")
            for copy in (repaired, path) if path.stem == BROKEN else (path,):
                write_cnt(
                    copy,
                    LABELS,
                    RATE_HZ,
                    n_times,
                    _signal(subject, session, films, length_s),
                    events=sorted(events),
                    patient=SIMULATED,
                    day=day,
                )
            if path.stem == BROKEN:
                write_count(path, BROKEN_COUNT)


def _signal(
    subject: str, session: str, films: Session, length_s: int
) -> Iterator[NDArray[np.float64]]:
    """Yield (C, T) in µV, a film at a time with half of the pauses beside it."""
    person = eeg.draw_person(PLACES, eeg.randomness(TWIN, subject))
    pauses = zip(films.ends_s[:-1], films.starts_s[1:], strict=True)
    middles = [(a + b) * RATE_HZ // 2 for a, b in pauses]
    edges = [0, *middles, length_s * RATE_HZ]
    for k, label in enumerate(films.labels):
        x = eeg.record(
            PLACES,
            CAP_REFERENCE,
            person,
            STATES[label],
            LAB,
            duration_s=(edges[k + 1] - edges[k]) / RATE_HZ,
            rng=eeg.randomness(TWIN, subject, session, str(k)),
        )
        # Above an eye against its side: blinks; from temple to temple: glances.
        upright = 3 * x[PLACES.index("Fp1")] - x[PLACES.index("F7")]
        level = x[PLACES.index("F8")] - x[PLACES.index("F7")]
        yield np.concatenate([x, [upright, level]])
