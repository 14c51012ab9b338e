"""Rows over several datasets: average rank, win rate, skill over chance.

From: ``_pools``. To: ``comparisons``. Only datasets that all rows share count, and the
others are named: the mean of what happens to be there compares nothing.

Letters: M rows, D datasets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.errors import listed
from eegfm_bench.report._groups import RowKey
from eegfm_bench.report._pools import Pool, PoolKey
from eegfm_bench.report.scores import chance_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

OTHER_WINDOWS = "other protocol, recordings or share of labels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Rows over the datasets that all of them share.

    Attributes
    ----------
    labels : str
        The share of labels that all rows here trained on.
    rows : tuple of M rows
    datasets : tuple of D names
        Those that count; ``metrics`` are theirs, in the same order.
    values_md : array (M, D)
        What is ranked: the table's number, of folds the mean over people.
    ranks, win_rates, skills : arrays (M,)
        NaN where no dataset is shared, or chance is not known.
    left_out : dict of dataset to reason
    """

    labels: str
    rows: tuple[RowKey, ...]
    datasets: tuple[str, ...]
    metrics: tuple[str, ...]
    values_md: NDArray[np.float64]
    ranks: NDArray[np.float64]
    win_rates: NDArray[np.float64]
    skills: NDArray[np.float64]
    left_out: dict[str, str]


def ranks_of(rows: Sequence[RowKey], pools: dict[PoolKey, Pool]) -> list[Ranks]:
    """Rank rows over the datasets they share, one share of labels at a time."""
    of_labels: dict[str, list[RowKey]] = {}
    for row in rows:
        of_labels.setdefault(row[-1], []).append(row)
    return [
        _ranks_of(labels, own, pools)
        for labels, own in of_labels.items()
        if len(own) > 1
    ]


def _ranks_of(labels: str, rows: Sequence[RowKey], pools: dict[PoolKey, Pool]) -> Ranks:
    from eegfm_bench.statistics.ranks import (
        average_ranks,
        skill_over_chance,
        win_rates,
    )

    names = sorted({name for row, name in pools if row in rows})
    left_out = {name: why for name in names if (why := _unshared(name, rows, pools))}
    kept = tuple(name for name in names if name not in left_out)
    values_md = np.array(
        [[pools[row, name].pooled for name in kept] for row in rows], dtype=np.float64
    ).reshape(len(rows), len(kept))
    chances = [_chance(pools[rows[0], name]) for name in kept]
    known = [chance for chance in chances if chance is not None]
    skills = [np.nan] * len(rows)
    if kept and len(known) == len(kept):
        skills = [skill_over_chance(values.tolist(), known) for values in values_md]
    return Ranks(
        labels=labels,
        rows=tuple(rows),
        datasets=kept,
        metrics=tuple(pools[rows[0], name].metric for name in kept),
        values_md=values_md,
        ranks=average_ranks(values_md),
        win_rates=win_rates(values_md),
        skills=np.array(skills, dtype=np.float64),
        left_out=left_out,
    )


def _chance(pool: Pool) -> float | None:
    """Return what guessing scores; None over folds where it differs by person."""
    if pool.n_folds and pool.metric in ("auc_pr", "average_precision"):
        return None
    return chance_of(pool.cells[0])


def _unshared(name: str, rows: Sequence[RowKey], pools: dict[PoolKey, Pool]) -> str:
    """Say why a dataset ranks nobody; empty where all rows share it."""
    absent = [row for row in rows if (row, name) not in pools]
    if absent:
        return f"no run of {listed(sorted({row[0] for row in absent}), most=4)}"
    own = [pools[row, name] for row in rows]
    if len({pool.metric for pool in own}) > 1:
        return "rows are scored in different metrics"
    if any(pool.windows.keys() != own[0].windows.keys() for pool in own):
        return "rows have run on other folds of it"
    if any(pool.windows != own[0].windows for pool in own):
        return OTHER_WINDOWS
    undefined = sorted({pool.row[0] for pool in own if pool.pooled is None})
    if undefined:
        return f"{own[0].metric} is undefined for {listed(undefined, most=4)}"
    return ""
