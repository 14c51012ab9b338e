"""Do two models differ over subjects? Paired sign flips, and an interval.

From: two tables of one metric, subjects by seeds. To: a comparison that is corrected
for its family by ``corrections.holm``.

Letters: S subjects, R seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.errors import SpecError
from eegfm_bench.statistics._checks import shaped, whole

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
# One seed shows no spread over seeds: the interval is then about subjects alone.
FEWEST_SEEDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Model a minus model b, averaged over seeds within subjects, then over subjects.

    ``p_value`` asks whether subjects differ from 0, given the trained models; ``low``
    and ``high`` bound a 95 % interval that counts the spread over seeds as well, where
    there are two or more; NaN with fewer than two subjects. A difference is worth a
    mark where both agree and there are two seeds.
    """

    difference: float
    p_value: float
    n_subjects: int
    n_seeds: int
    n_permutations: int
    is_exact: bool
    low: float
    high: float


def paired_permutation(
    a_SR: ArrayLike, b_SR: ArrayLike, *, n: int = 10_000, rng_seed: int = 0
) -> Paired:
    """Compare two models on the same subjects and seeds.

    Under the null hypothesis a subject's difference is as likely to be negative as
    positive, so signs flip subject by subject: the subject is the unit, and seeds
    never count as more subjects.

    Parameters
    ----------
    a_SR, b_SR : arrays (S, R)
        One metric; NaN where it is undefined. A subject and seed count where both
        have a value; a subject without any is left out.
    n : int
        Sign patterns to draw; all 2**S are tried where they are no more than that.
    rng_seed : int
        Of the drawn patterns.

    Returns
    -------
    paired : Paired
        ``n_subjects`` counts those compared, ``n_seeds`` the seeds that any has.

    Raises
    ------
    SpecError
        If shapes differ or have not two axes, or nothing can be paired.

    Examples
    --------
    >>> a = np.array([[0.8], [0.7], [0.9], [0.6]])
    >>> found = paired_permutation(a, a - 0.1)
    >>> round(found.difference, 6), found.p_value, found.is_exact
    (0.1, 0.125, True)
    """
    a, b = shaped("a_SR", a_SR, 2), shaped("b_SR", b_SR, 2)
    whole("n", n, 1)
    if a.shape != b.shape:
        raise SpecError(
            f"'a_SR' has shape {a.shape} and 'b_SR' {b.shape}; expected the same "
            f"subjects and seeds in both. Give NaN where one has no value."
        )
    d_SR = a - b
    there = ~np.isnan(d_SR)
    d_SR = d_SR[there.any(axis=1)][:, there.any(axis=0)]
    if d_SR.size == 0:
        raise SpecError(
            f"'a_SR' and 'b_SR' of shape {a.shape} have no subject and seed in common "
            f"that both have a value for, so nothing can be compared."
        )
    d_S = np.nanmean(d_SR, axis=1)
    p_value, tried, is_exact = _p_value(d_S, n, rng_seed)
    low, high = _interval(d_SR)
    return Paired(
        difference=float(d_S.mean()),
        p_value=p_value,
        n_subjects=d_SR.shape[0],
        n_seeds=d_SR.shape[1],
        n_permutations=tried,
        is_exact=is_exact,
        low=low,
        high=high,
    )


def smallest_p(n_subjects: int) -> float:
    """Return the smallest p-value that so many subjects can give.

    With five subjects it is 0.0625: nothing they show is significant at 5 %.

    Raises
    ------
    SpecError
        If ``n_subjects`` is below 0.

    Examples
    --------
    >>> smallest_p(5), smallest_p(6)
    (0.0625, 0.03125)
    """
    return min(1.0, 2.0 ** (1 - whole("n_subjects", n_subjects, 0)))


def _p_value(
    d_S: NDArray[np.float64], n: int, rng_seed: int
) -> tuple[float, int, bool]:
    """Return the two-sided p-value, how many patterns, and whether these were all."""
    size = d_S.size
    # Sums that rounding alone sets apart are equal: else p depends on the order.
    least = abs(d_S.sum()) - 1e-12 * np.abs(d_S).sum()
    if size < 63 and 2**size <= n:
        bits = np.arange(2**size)[:, None] >> np.arange(size)
        sums = (1 - 2.0 * (bits & 1)) @ d_S
        return float(np.mean(np.abs(sums) >= least)), 2**size, True
    rng = np.random.default_rng(rng_seed)
    signs = rng.integers(0, 2, size=(n, size), dtype=np.int8) * 2.0 - 1
    hits = int(np.sum(np.abs(signs @ d_S) >= least))
    return (hits + 1) / (n + 1), n, False  # the observed pattern is one of them


def _interval(d_SR: NDArray[np.float64]) -> tuple[float, float]:
    """Return a 95 % interval of the mean over new subjects and new seeds.

    Two crossed sources: variance of subject means and of seed means, less what both
    count twice, with degrees of freedom by Satterthwaite. It never goes below either
    source alone, where an estimate of a difference would.
    """
    from scipy.special import stdtrit

    n_subjects, n_seeds = d_SR.shape
    if n_subjects < 2:
        return math.nan, math.nan
    d_S = np.nanmean(d_SR, axis=1)
    mean = float(d_S.mean())
    of_subjects = float(d_S.var(ddof=1)) / n_subjects
    variance, df = of_subjects, float(n_subjects - 1)
    if n_seeds > 1:
        d_R = np.nanmean(d_SR, axis=0)
        of_seeds = float(d_R.var(ddof=1)) / n_seeds
        rest = d_SR - d_S[:, None] - d_R + np.nanmean(d_SR)
        df_rest = (n_subjects - 1) * (n_seeds - 1)
        twice = float(np.nansum(rest**2)) / df_rest / d_SR.size
        variance = max(of_subjects + of_seeds - twice, of_subjects, of_seeds)
        if variance > 0:
            parts = (of_subjects / variance, of_seeds / variance, twice / variance)
            df = 1 / (
                parts[0] ** 2 / (n_subjects - 1)
                + parts[1] ** 2 / (n_seeds - 1)
                + parts[2] ** 2 / df_rest
            )
    reach = float(stdtrit(df, (1 + LEVEL) / 2)) * math.sqrt(variance)
    return mean - reach, mean + reach
