"""One number a model over several datasets: ranks, wins, skill.

From: a table of scores, higher is better. To: the summary columns of a table.

Letters: M models, D datasets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.errors import SpecError
from eegfm_bench.statistics._checks import finite, same_length, shaped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


def complete_columns(table_MD: ArrayLike) -> NDArray[np.bool_]:
    """Say which datasets every model has a score on (D,).

    What ``average_ranks`` keeps: a caption counts the others from it.

    Raises
    ------
    SpecError
        If ``table_MD`` has not two axes.
    """
    there = np.logical_not(np.isnan(shaped("table_MD", table_MD, 2)))
    complete: NDArray[np.bool_] = np.logical_and.reduce(there, axis=0)
    return complete


def average_ranks(table_MD: ArrayLike) -> NDArray[np.float64]:
    """Average each model's rank over datasets; 1 is the best.

    A dataset on which any model has no score (NaN) is left out for all: ranks
    among fewer models are not comparable. ``complete_columns`` says which.

    Parameters
    ----------
    table_MD : array (M, D)
        Scores, higher is better, NaN where there is none.

    Returns
    -------
    ranks : array (M,)
        Ties share the mean of their ranks. NaN if no dataset is complete.

    Raises
    ------
    SpecError
        If ``table_MD`` has not two axes.

    Examples
    --------
    >>> average_ranks([[0.9, 0.8], [0.7, 0.8], [0.6, 0.1]]).tolist()
    [1.25, 1.75, 3.0]
    """
    table = shaped("table_MD", table_MD, 2)
    kept = table[:, complete_columns(table)]
    if kept.shape[1] == 0:
        return np.full(table.shape[0], np.nan)
    above = (kept[None] > kept[:, None]).sum(axis=1)
    level = (kept[None] == kept[:, None]).sum(axis=1)
    ranks: NDArray[np.float64] = (above + (level + 1) / 2).mean(axis=1)
    return ranks


def win_rates(table_MD: ArrayLike) -> NDArray[np.float64]:
    """Return the share of (rival, dataset) pairs that each model wins.

    Parameters
    ----------
    table_MD : array (M, D)
        Scores, higher is better, NaN where there is none.

    Returns
    -------
    rates : array (M,)
        Ties count half. A pair counts where both have a score; NaN for a model
        without any pair.

    Raises
    ------
    SpecError
        If ``table_MD`` has not two axes.

    Examples
    --------
    >>> win_rates([[0.9, 0.8], [0.7, 0.8], [0.6, float("nan")]]).tolist()
    [0.8333333333333334, 0.5, 0.0]
    """
    table = shaped("table_MD", table_MD, 2)
    own, rival = table[:, None], table[None]
    met = ~np.isnan(own) & ~np.isnan(rival)
    met[np.diag_indices(len(table))] = False  # nobody plays against itself
    points = np.where(met, (own > rival) + 0.5 * (own == rival), 0).sum(axis=(1, 2))
    n = met.sum(axis=(1, 2))
    rates = np.full(len(table), np.nan)
    np.divide(points, n, out=rates, where=n > 0)
    return rates


def skill_over_chance(values: Sequence[float], chance: Sequence[float]) -> float:
    """Average how far scores lie from chance (0) towards perfect (1).

    Parameters
    ----------
    values : floats (D,)
        One score a dataset, of a metric whose best value is 1.
    chance : floats (D,)
        What guessing scores: 0 for kappa, 1/K for balanced accuracy, 0.5 for AUROC,
        the share of positives for AUC-PR.

    Returns
    -------
    skill : float
        Mean over datasets; below 0 is worse than guessing. NaN as soon as one
        value is NaN: a mean over fewer datasets would answer another question.

    Raises
    ------
    SpecError
        If lengths differ, there is no dataset, or a chance is 1 or more.

    Examples
    --------
    >>> skill_over_chance([0.75, 0.6], [0.5, 0.2])
    0.5
    """
    scores = shaped("values", values, 1)
    guess = finite("chance", chance)
    if same_length(values=values, chance=chance) == 0:
        raise SpecError("'values' is empty; expected a score for each dataset.")
    if (guess >= 1).any():
        raise SpecError(
            f"'chance' holds {guess.max()}; expected less than 1, the perfect score."
        )
    return float(np.mean((scores - guess) / (1 - guess)))
