"""How far a cell's number may be from the truth, and the truth about whom.

From: ``Summaries`` of a cell, or its scores over seeds. To: an interval that says in
words what it covers. Its coverage is measured in ``docs/statistics.md``.

Letters: S subjects, R seeds, B replicates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eegfm_bench.errors import SpecError
from eegfm_bench.statistics._checks import finite, share, whole
from eegfm_bench.statistics.summaries import Summaries

__all__ = ["FEWEST_SUBJECTS", "Interval", "Summaries", "covered_with"]
__all__ += ["seed_interval", "subject_interval"]

# Below ten, a bootstrap over subjects misses the truth too often to be shown.
FEWEST_SUBJECTS = 10
# Seeds drawn with replacement from fewer understate how far new ones may be.
FEWEST_SEEDS = 5
NEW_SUBJECTS = "new subjects and new seeds of the same protocol"
NO_NEW_SEEDS = "new subjects; one seed, so it does not cover new seeds"
FEW_SEEDS = "new subjects; {} seeds are too few, so it does not cover new seeds"
NO_NEW_SUBJECTS = "does not cover new subjects"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Two bounds, how they came about, and what they cover.

    ``n_undefined`` counts replicates on which the metric has no value, such as those
    without a window of some class; the bounds come from the others.
    """

    low: float
    high: float
    level: float
    method: Literal["bootstrap over subjects and seeds", "t over seeds"]
    covers: str
    n_subjects: int
    n_seeds: int
    n_undefined: int = 0


def subject_interval(
    s: Summaries, *, level: float = 0.95, n_boot: int = 2000, rng_seed: int = 0
) -> Interval:
    """Bootstrap subjects, then seeds, around the mean over seeds.

    A replicate draws S subjects and R seeds with replacement, scores each drawn seed
    on the windows of the drawn subjects, and averages. All seeds of a replicate meet
    the same subjects, as they did when measured.

    Parameters
    ----------
    s : Summaries
        Of at least ``FEWEST_SUBJECTS`` subjects.
    level : float
        Coverage aimed at.
    n_boot : int
        Replicates.
    rng_seed : int
        Of the draws; equal seeds give equal intervals.

    Returns
    -------
    interval : Interval
        Percentiles of the replicates, taken further out than ``level`` asks: see
        ``widened``.

    Raises
    ------
    SpecError
        With too few subjects, or where the metric is undefined for the cell itself
        or for every replicate.
    """
    n_subjects, n_seeds = len(s.subjects), s.n_seeds
    share("level", level)
    whole("n_boot", n_boot, 100)
    if n_subjects < FEWEST_SUBJECTS:
        raise SpecError(
            f"'s' has {n_subjects} subjects; expected at least {FEWEST_SUBJECTS} for "
            f"an interval over subjects. Show each subject, and 'seed_interval'."
        )
    if s.estimate() is None:
        raise SpecError(
            f"{s.metric} is undefined for this cell, so it has no interval. Say that "
            f"it is undefined instead."
        )
    drawn = replicates(s, n_boot=n_boot, rng_seed=rng_seed)
    kept = drawn[~np.isnan(drawn)]
    if kept.size == 0:
        raise SpecError(
            f"{s.metric} is undefined in all {n_boot} replicates, so it has no "
            f"interval. Show each subject, and 'seed_interval'."
        )
    tail = widened((1 - level) / 2, n_subjects)
    low, high = np.quantile(kept, [tail, 1 - tail])
    return Interval(
        low=float(low),
        high=float(high),
        level=level,
        method="bootstrap over subjects and seeds",
        covers=covered_with(n_seeds, FEWEST_SEEDS),
        n_subjects=n_subjects,
        n_seeds=n_seeds,
        n_undefined=n_boot - kept.size,
    )


def covered_with(n_seeds: int, fewest: int) -> str:
    """Say what an interval over people covers, made from so many seeds."""
    if n_seeds >= fewest:
        return NEW_SUBJECTS
    return NO_NEW_SEEDS if n_seeds == 1 else FEW_SEEDS.format(n_seeds)


def replicates(s: Summaries, *, n_boot: int, rng_seed: int) -> np.ndarray:
    """Return bootstrap means over drawn subjects and seeds (B,); NaN if undefined."""
    rng = np.random.default_rng(rng_seed)
    n_subjects, n_seeds = len(s.subjects), s.n_seeds
    even = np.full(n_subjects, 1 / n_subjects)
    weights_BS = rng.multinomial(n_subjects, even, size=n_boot).astype(np.float64)
    times_BR = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=n_boot)
    values_BR = np.stack([s.values(r, weights_BS) for r in range(n_seeds)], axis=1)
    # A seed that was not drawn must not make a replicate undefined.
    means: np.ndarray = np.where(times_BR > 0, values_BR * times_BR, 0).sum(axis=1)
    return means / n_seeds


def widened(tail: float, n_subjects: int) -> float:
    """Return the tail to cut so that about ``tail`` lies outside.

    The plain bootstrap is too narrow for few subjects: its spread is that of n, not
    n - 1, and it takes the normal's quantile for Student's. Both are made up for by
    cutting percentiles further out (Hesterberg 2015, "expanded percentile interval"),
    which keeps bounds inside what the metric can be.
    """
    from scipy.special import ndtr, stdtrit

    reach = -stdtrit(n_subjects - 1, tail) * math.sqrt(n_subjects / (n_subjects - 1))
    return float(ndtr(-reach))


def seed_interval(values: Sequence[float], *, level: float = 0.95) -> Interval | None:
    """Return Student's t interval of the mean over seeds, on these test subjects.

    Parameters
    ----------
    values : floats
        One score a seed.
    level : float
        Coverage aimed at.

    Returns
    -------
    interval : Interval or None
        None with fewer than two seeds. ``n_subjects`` is 0: it is about none but
        those tested.

    Raises
    ------
    SpecError
        If a value is not finite, or ``level`` not between 0 and 1.

    Examples
    --------
    >>> found = seed_interval([0.7, 0.8, 0.9])
    >>> round(found.low, 3), round(found.high, 3), found.covers
    (0.552, 1.048, 'does not cover new subjects')
    """
    from scipy.special import stdtrit

    scores = finite("values", values)
    share("level", level)
    if scores.size < 2:
        return None
    mean = float(scores.mean())
    error = float(scores.std(ddof=1)) / math.sqrt(scores.size)
    reach = float(stdtrit(scores.size - 1, (1 + level) / 2)) * error
    return Interval(
        low=mean - reach,
        high=mean + reach,
        level=level,
        method="t over seeds",
        covers=NO_NEW_SUBJECTS,
        n_subjects=0,
        n_seeds=scores.size,
    )
