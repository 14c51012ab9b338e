"""Many comparisons at once: p-values that may still be read at 5 %.

From: one p-value a rival. To: adjusted p-values, in the order given.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eegfm_bench.errors import SpecError
from eegfm_bench.statistics._checks import finite


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values by Holm's step-down rule.

    Calling those at or below alpha significant keeps the chance of any false one
    at alpha, however the tests depend on each other.

    Parameters
    ----------
    p_values : floats
        One for each comparison of the family.

    Returns
    -------
    adjusted : floats
        In the order given; each at least its own p-value, at most 1.

    Raises
    ------
    SpecError
        If one is NaN or not in 0…1. Leave out rivals that were not compared: the
        family is what was looked at.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = finite("p_values", p_values)
    if ((p < 0) | (p > 1)).any():
        bad = p[(p < 0) | (p > 1)][0]
        raise SpecError(f"'p_values' holds {bad}; expected numbers from 0 to 1.")
    order = np.argsort(p, kind="stable")
    steps = np.arange(p.size, 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * steps), 1)
    return [float(value) for value in adjusted]
