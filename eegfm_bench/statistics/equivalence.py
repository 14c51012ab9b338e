"""Does a measured mean agree with a published one? Welch, two one-sided tests.

From: the measured scores of one cell over seeds; mean, sd and n as published. To: a
verdict that a table prints. It is about seeds: the same test subjects stand behind
both sides, so nothing here speaks of new subjects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eegfm_bench.errors import SpecError
from eegfm_bench.statistics._checks import finite, share

Outcome = Literal["reproduced", "lower", "higher", "cannot tell"]
ABOUT = "about seeds, not subjects"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One measured cell beside its published twin.

    ``low`` and ``high`` bound the Welch interval of measured minus published, at
    1 - 2 alpha (90 %). What could not be computed is None, and ``reason`` says why.
    """

    outcome: Outcome
    difference: float | None
    low: float | None
    high: float | None
    margin: float | None
    reason: str


def welch_verdict(
    measured: Sequence[float],
    *,
    published_mean: float,
    published_sd: float | None,
    published_n: int | None,
    floor: float = 0.02,
    alpha: float = 0.05,
) -> Verdict:
    """Judge whether a mean over seeds reproduces a published one.

    The interval of the difference is held against a margin, the larger of ``floor``
    and the published sd. Inside the margin: reproduced, even where the interval
    leaves out 0, since so small a difference does not matter. Else below 0: lower.
    Above 0: higher. Else: cannot tell.

    Parameters
    ----------
    measured : floats
        One score a seed, in the unit of the published mean.
    published_mean, published_sd : float
        As printed; the sd is taken as one with ddof 1. None where there is none.
    published_n : int or None
        Runs behind the published numbers.
    floor : float
        The smallest margin.
    alpha : float
        Size of each one-sided test.

    Returns
    -------
    verdict : Verdict
        "cannot tell" without two seeds on both sides or without a published sd.

    Raises
    ------
    SpecError
        If a number is not finite, the sd negative, or ``floor`` not above 0.

    Examples
    --------
    >>> seeds = [0.80, 0.81, 0.79, 0.80, 0.80]
    >>> welch_verdict(
    ...     seeds, published_mean=0.805, published_sd=0.01, published_n=5
    ... ).outcome
    'reproduced'
    >>> welch_verdict(
    ...     seeds, published_mean=0.9, published_sd=0.01, published_n=5
    ... ).outcome
    'lower'
    """
    scores = finite("measured", measured)
    other = float(finite("published_mean", [published_mean])[0])
    share("alpha", 2 * alpha)
    if not (math.isfinite(floor) and floor > 0):
        raise SpecError(f"'floor' is {floor}; expected a margin above 0.")
    if published_sd is not None and not (
        math.isfinite(published_sd) and published_sd >= 0
    ):
        raise SpecError(
            f"'published_sd' is {published_sd}; expected 0 or more, or None where the "
            f"source states none."
        )
    difference = float(scores.mean()) - other if scores.size else None
    margin = None if published_sd is None else max(floor, published_sd)
    lacking = _lacking(scores.size, published_sd, published_n)
    if lacking or published_sd is None or published_n is None or difference is None:
        return Verdict(
            outcome="cannot tell",
            difference=difference,
            low=None,
            high=None,
            margin=margin,
            reason=f"{lacking}; {ABOUT}",
        )
    bound = max(floor, published_sd)
    low, high = _welch(scores, difference, published_sd, published_n, alpha)
    outcome: Outcome = "cannot tell"
    if -bound < low and high < bound:
        outcome = "reproduced"
    elif high < 0:
        outcome = "lower"
    elif low > 0:
        outcome = "higher"
    where = {
        "reproduced": f"within ±{bound:.3g}",
        "lower": "wholly below 0",
        "higher": "wholly above 0",
        "cannot tell": f"holds 0 and reaches beyond ±{bound:.3g}",
    }[outcome]
    return Verdict(
        outcome=outcome,
        difference=difference,
        low=low,
        high=high,
        margin=bound,
        reason=(
            f"measured - published {difference:+.4f}, {1 - 2 * alpha:.0%} interval "
            f"[{low:+.4f}, {high:+.4f}] {where}; n = {scores.size} against "
            f"{published_n}; {ABOUT}"
        ),
    )


def _lacking(n: int, published_sd: float | None, published_n: int | None) -> str:
    """Say what a verdict lacks, or nothing."""
    if n < 2:
        seeds = "no seed" if n == 0 else "one seed"
        return f"{seeds} measured: at least two are needed"
    if published_sd is None:
        return "no sd is published"
    if published_n is None:
        return "the number of published runs is not stated"
    if published_n < 2:
        return f"the published number is of {published_n} run: no spread is known"
    return ""


def _welch(
    scores: np.ndarray, difference: float, sd: float, n: int, alpha: float
) -> tuple[float, float]:
    """Return the 1 - 2 alpha interval of the difference of two means."""
    from scipy.special import stdtrit

    ours = float(scores.var(ddof=1)) / scores.size
    theirs = sd**2 / n
    error = math.sqrt(ours + theirs)
    if error == 0:  # no spread on either side: the difference is all there is
        return difference, difference
    # Shares, not fourth powers, which would underflow for tiny spreads.
    part = ours / (ours + theirs)
    df = 1 / (part**2 / (scores.size - 1) + (1 - part) ** 2 / (n - 1))
    reach = float(stdtrit(df, 1 - alpha)) * error
    return difference - reach, difference + reach
