"""A row's people on one dataset, those of all its folds together.

From: ``scores``. To: ``intervals`` and ``comparisons``. Over the folds of a dataset
each person is tested once, by a model that was trained without them: their scores may
stand side by side, subject by subject. Windows of folds are never scored together,
since no two folds share a model.

Letters: P people, R seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._folds import fold_of
from eegfm_bench.errors import SpecError, listed
from eegfm_bench.report._groups import RowKey, refuse_unlike, windows_key
from eegfm_bench.report.scores import CellKey, SubjectScores, mean_over_seeds

if TYPE_CHECKING:
    from numpy.typing import NDArray

PoolKey = tuple[RowKey, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Scores of people under seeds, of one dataset or of all its folds.

    Attributes
    ----------
    name : str
        The dataset, or "eyes over 5 folds".
    cells : tuple of SubjectScores
        One, or one for each fold that has run.
    n_folds : int
        Folds the dataset is dealt into; 0 where it is not.
    values_pr : array (P, R)
        NaN where undefined, and where a fold lacks a seed.
    fold_p : tuple of P names
        The dataset, fold included, that each person was tested in.
    """

    row: RowKey
    name: str
    metric: str
    cells: tuple[SubjectScores, ...]
    n_folds: int
    people: tuple[str, ...]
    seeds: tuple[int, ...]
    values_pr: NDArray[np.float64]
    fold_p: tuple[str, ...]

    @property
    def windows(self) -> dict[str, str]:
        """What two cells must share to be compared, by dataset or fold."""
        return {cell.dataset: windows_key(cell.spec) for cell in self.cells}

    @property
    def protocols(self) -> str:
        """The protocol ids of its cells, one after the other."""
        return " ".join(cell.spec.dataset.protocol for cell in self.cells)

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Whether each person has a score under any seed (P,)."""
        n_p: NDArray[np.int64] = np.isfinite(self.values_pr).sum(axis=1)
        return n_p > 0

    @property
    def mean(self) -> float | None:
        """The mean over people of their means over seeds; None without a score."""
        if not self.scored.any():
            return None
        return float(np.nanmean(mean_over_seeds(self.values_pr)))

    @property
    def pooled(self) -> float | None:
        """What ranks are made of: the table's number, of folds the mean over people."""
        if self.n_folds:
            return self.mean
        values = self.cells[0].pooled_r
        return None if np.isnan(values).any() else float(values.mean())


def pooled(cells: Mapping[CellKey, SubjectScores]) -> dict[PoolKey, Pool]:
    """Put the folds of one dataset together, and leave all else as it is.

    Parameters
    ----------
    cells : mapping of (row, dataset) to SubjectScores

    Returns
    -------
    pools : dict of (row, name) to Pool
        In the order of rows and names.

    Raises
    ------
    SpecError
        If a person is tested in two folds, or folds differ in more than the split.
    """
    groups: dict[tuple[RowKey, str, int], list[tuple[int, SubjectScores]]] = {}
    for (row, dataset), cell in cells.items():
        base, k, n = fold_of(dataset) or (dataset, 0, 0)
        groups.setdefault((row, base, n), []).append((k, cell))
    pools = {}
    for (row, base, n), numbered in sorted(groups.items(), key=lambda g: g[0]):
        name = f"{base} over {n} folds" if n else base
        own = [cell for _, cell in sorted(numbered, key=lambda one: one[0])]
        pools[row, name] = _pool(row, name, n, own)
    return pools


def _pool(row: RowKey, name: str, n_folds: int, cells: list[SubjectScores]) -> Pool:
    if n_folds:
        _refuse_unlike_folds(name, cells)
    seeds = tuple(sorted({seed for cell in cells for seed in cell.seeds}))
    place = {seed: r for r, seed in enumerate(seeds)}
    tested: dict[str, str] = {}
    blocks = []
    for cell in cells:
        people, values_pr = cell.by_person()
        for person in people:
            if person in tested:
                raise SpecError(
                    f"{person} is tested in {tested[person]} and in {cell.dataset}: "
                    f"over the folds of {name} a person is tested once. Runs of two "
                    f"ways of dealing people out are mixed; name one runs folder."
                )
            tested[person] = cell.dataset
        block = np.full((len(people), len(seeds)), np.nan)
        block[:, [place[seed] for seed in cell.seeds]] = values_pr
        blocks.append(block)
    return Pool(
        row=row,
        name=name,
        metric=cells[0].metric,
        cells=tuple(cells),
        n_folds=n_folds,
        people=tuple(tested),
        seeds=seeds,
        values_pr=np.concatenate(blocks),
        fold_p=tuple(tested.values()),
    )


def _refuse_unlike_folds(name: str, cells: list[SubjectScores]) -> None:
    """Refuse folds that differ in more than who is in which part."""
    first = cells[0].spec.dataset
    metrics = sorted({cell.metric for cell in cells})
    kinds = sorted({cell.spec.dataset.data for cell in cells})
    if len(metrics) > 1 or len(kinds) > 1:
        raise SpecError(
            f"The folds of {name} have the metrics {listed(metrics)} and recordings "
            f"that are {listed(kinds)}; expected one of each. Name one runs folder."
        )
    refuse_unlike(
        cell.spec.model_copy(update={"dataset": first, "seed": 0}) for cell in cells
    )
