"""Whether one model beats its rivals, as far as the people tested can tell.

From: ``scores``. To: differences by dataset and rival, ranks over datasets, and folds
over people as a table. People are the unit: a difference is paired by person and seed,
signs flip person by person, and no number of seeds makes up for few people.

Letters: P people, R seeds.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.errors import DataMissing, SpecError, UnknownName
from eegfm_bench.report._groups import RowKey, row_key
from eegfm_bench.report._pools import Pool, PoolKey, pooled
from eegfm_bench.report._ranks import OTHER_WINDOWS, Ranks, ranks_of
from eegfm_bench.report._summaries import PREDICTIONS
from eegfm_bench.report.intervals import CellInterval, cell_intervals, possible
from eegfm_bench.report.scores import CellKey, subject_scores
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.store import ResultStore

if TYPE_CHECKING:
    from eegfm_bench.report._cells import Table
    from eegfm_bench.statistics.permutation import Paired

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One row against one rival on one dataset.

    Attributes
    ----------
    dataset : str
        Or "eyes over 5 folds": the people of all folds.
    paired : Paired, optional
        Difference (row minus rival; mean over people of their means over seeds), its
        interval and p-value. None where nothing could be paired.
    p_holm : float, optional
        The p-value, adjusted for all rivals on this dataset.
    least_p : float, optional
        The smallest p-value that so many people can give.
    is_starred : bool
        The adjusted p-value is below 0.05, that many people can tell, there are two
        seeds or more, and the interval over people and seeds leaves out 0.
    left_out : tuple of str
        People and seeds that one side lacks, counted.
    reason : str
        Why there is no difference, or why no star was possible.
    covers : str
        What the interval covers.
    """

    row: RowKey
    rival: RowKey
    dataset: str
    metric: str
    paired: Paired | None
    p_holm: float | None = None
    least_p: float | None = None
    is_starred: bool = False
    left_out: tuple[str, ...] = ()
    reason: str = ""
    covers: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparisons:
    """All that can be said of the rows of one runs folder.

    ``intervals`` are of every cell, folds one by one; ``pools`` have folds together.
    ``absent`` says of a row on a dataset why it is in none of the numbers.
    """

    against: RowKey | None
    intervals: tuple[CellInterval, ...]
    pools: dict[PoolKey, Pool]
    pairs: tuple[Comparison, ...]
    ranks: tuple[Ranks, ...]
    absent: dict[CellKey, str]


def compare(
    records: Iterable[RunRecord],
    store: ResultStore,
    *,
    against: RowKey | None = None,
    metric: str | None = None,
) -> Comparisons:
    """Compare the rows of a runs folder.

    Parameters
    ----------
    records : RunRecords
        In any order.
    store : ResultStore
        Holds the predictions beside the records.
    against : row, optional
        The row to hold against every other one on each dataset; without it there are
        intervals and ranks alone. It is given, never chosen: picking the best row here
        and testing it on the same people would make up significance.
    metric : str, optional
        For all datasets that have it; by default each dataset's main metric.

    Raises
    ------
    DataMissing
        If no cell has scores and predictions.
    UnknownName
        If there is no such metric or row.
    SpecError
        If unlike runs would be averaged as seeds, simulated and real ones would meet,
        or a person is tested in two folds.
    StoreError
        If predictions are damaged or not those of their record.
    """
    records = list(records)
    cells = subject_scores(store, records, metric)
    pools = pooled(cells)
    rows = sorted({row for row, _ in pools})
    if against is not None and against not in rows:
        raise UnknownName.among(
            "row", ":".join(against), [":".join(row) for row in rows]
        )
    pairs = [] if against is None else _against(against, rows, pools)
    return Comparisons(
        against=against,
        intervals=tuple(cell_intervals(store, cells)),
        pools=pools,
        pairs=tuple(pairs),
        ranks=tuple(ranks_of(rows, pools)),
        absent=_absent(records, cells, metric),
    )


def _absent(
    records: Sequence[RunRecord], cells: Container[CellKey], metric: str | None
) -> dict[CellKey, str]:
    """Say of every row on a dataset that has no cell why it has none."""
    found: dict[CellKey, str] = {}
    for record in sorted(records, key=lambda r: r.is_done):
        key = row_key(record.spec), record.spec.dataset.name
        if key not in cells:
            held = (record.scores or {}).get("test", {})
            found[key] = (
                "every seed failed"
                if not record.is_done
                else f"it is not scored in {metric}"
                if metric is not None and metric not in held
                else f"no {PREDICTIONS} beside its records"
            )
    return dict(sorted(found.items()))


def row_called(text: str, rows: Sequence[RowKey]) -> RowKey:
    """Return the row that a word such as ``trace`` or ``trace:probe`` names.

    Parameters
    ----------
    text : str
        A model, and after colons as much of init, scale, adapt and labels as tells its
        row from the others.

    Raises
    ------
    UnknownName
        If no row is called so.
    SpecError
        If several are; lists how to name each.

    Examples
    --------
    >>> rows = [("trace", "scratch", "small", "scratch", "all"),
    ...         ("trace", "weights-1a", "small", "probe", "all")]
    >>> row_called("trace:probe", rows)[1]
    'weights-1a'
    """
    found = [row for row in rows if _is_called(text, row)]
    if len(found) == 1:
        return found[0]
    if not found:
        known = {_shortest(row, rows) for row in rows}
        raise UnknownName.among("row", text, known)
    names = ", ".join(_shortest(row, rows) for row in found)
    raise SpecError(
        f"'{text}' names {len(found)} rows, which are never merged: they differ in "
        f"init, scale, adapt or labels. Name one of {names}."
    )


def _is_called(text: str, row: RowKey) -> bool:
    model, *rest = row
    if text == model or ":".join(row).startswith(f"{text}:") or text == ":".join(row):
        return True
    if not text.startswith(f"{model}:"):
        return False
    words = text.removeprefix(f"{model}:").split(":")
    return all(word in rest for word in words)


def _shortest(row: RowKey, rows: Sequence[RowKey]) -> str:
    """Return the fewest words that name a row alone."""
    model, *rest = row
    names = [model, *(f"{model}:{word}" for word in rest), ":".join(row)]
    alone = [n for n in names if [r for r in rows if _is_called(n, r)] == [row]]
    return alone[0] if alone else ":".join(row)


def _against(
    row: RowKey, rows: Sequence[RowKey], pools: dict[PoolKey, Pool]
) -> list[Comparison]:
    """Hold a row against every other one, dataset by dataset."""
    from eegfm_bench.statistics.corrections import holm

    found = []
    for own in (pool for (who, _), pool in pools.items() if who == row):
        pairs = [
            _pair(own, pools.get((rival, own.name)), rival)
            for rival in rows
            if rival != row
        ]
        tested = [pair for pair in pairs if pair.paired is not None]
        p_values = [pair.paired.p_value for pair in tested if pair.paired is not None]
        adjusted = iter(holm(p_values))
        for pair in pairs:
            if pair.paired is None:
                found.append(pair)
            else:
                found.append(_judged(pair, next(adjusted), len(tested)))
    return found


def _pair(own: Pool, rival: Pool | None, called: RowKey) -> Comparison:
    """Compare two pools on the people and seeds that both have."""
    from eegfm_bench.statistics.permutation import paired_permutation

    pair = Comparison(
        row=own.row, rival=called, dataset=own.name, metric=own.metric, paired=None
    )
    if rival is None:
        return replace(pair, reason="the rival has no run with predictions here")
    if rival.metric != own.metric:
        return replace(pair, reason=f"the rival is scored in {rival.metric}")
    unlike = {
        dataset
        for dataset in own.windows.keys() & rival.windows.keys()
        if own.windows[dataset] != rival.windows[dataset]
    }
    own_at, rival_at = _places(own, unlike), _places(rival, unlike)
    people = [person for person in own_at if person in rival_at]
    seeds = [seed for seed in own.seeds if seed in rival.seeds]
    if not people:
        return replace(pair, reason=OTHER_WINDOWS if unlike else "no person in common")
    if not seeds:
        return replace(pair, reason="no seed in common")
    a_pr, b_pr = (
        pool.values_pr[[at[person] for person in people]][
            :, [pool.seeds.index(seed) for seed in seeds]
        ]
        for pool, at in ((own, own_at), (rival, rival_at))
    )
    if np.isnan(a_pr - b_pr).all():
        return replace(pair, reason=f"{own.metric} is undefined for every person")
    paired = paired_permutation(a_pr, b_pr)
    least, most = possible(own.metric)
    paired = replace(
        paired,
        low=float(np.maximum(paired.low, least - most)),  # NaN stays NaN
        high=float(np.minimum(paired.high, most - least)),
    )
    everyone = set(own.people) | set(rival.people)
    n_people = len(everyone) - paired.n_subjects
    n_seeds = len({*own.seeds, *rival.seeds}) - paired.n_seeds
    left_out = []
    if n_people:
        who = "person" if n_people == 1 else "people"
        left_out.append(f"{n_people} {who} without a score of both")
    if n_seeds:
        left_out.append(f"{n_seeds} seed{'s' * (n_seeds > 1)} of one alone")
    return replace(pair, paired=paired, left_out=tuple(left_out))


def _places(pool: Pool, unlike: set[str]) -> dict[tuple[str, str], int]:
    """Return who, tested in which fold, is where in a pool, without unlike windows."""
    return {
        (person, fold): place
        for place, (person, fold) in enumerate(
            zip(pool.people, pool.fold_p, strict=True)
        )
        if fold not in unlike
    }


def _judged(pair: Comparison, p_holm: float, n_rivals: int) -> Comparison:
    """Say whether a difference deserves a star, or why it could not have one."""
    from eegfm_bench.statistics.intervals import covered_with
    from eegfm_bench.statistics.permutation import FEWEST_SEEDS, smallest_p

    assert pair.paired is not None
    n_seeds = pair.paired.n_seeds
    n_people = pair.paired.n_subjects
    least = smallest_p(n_people)
    reason = ""
    if least >= SIGNIFICANT:
        reason = f"{n_people} subjects: no p can be below {least:.3g}"
    elif least * n_rivals >= SIGNIFICANT:
        reason = (
            f"{n_people} subjects and {n_rivals} rivals: no smallest p after Holm can "
            f"be below {least * n_rivals:.3g}"
        )
    elif n_seeds < FEWEST_SEEDS:
        reason = "one seed shows no spread over seeds, so there is no star"
    apart = pair.paired.low > 0 or pair.paired.high < 0
    return replace(
        pair,
        p_holm=p_holm,
        least_p=least,
        reason=reason,
        covers=covered_with(n_seeds, FEWEST_SEEDS),
        is_starred=apart and max(p_holm, least) < SIGNIFICANT and n_seeds > 1,
    )


def folds_table(
    records: Iterable[RunRecord], store: ResultStore, metric: str | None = None
) -> Table:
    """Make the table of folds over people: every person tested once.

    Raises
    ------
    DataMissing
        If no run is of a fold.
    UnknownName, SpecError, StoreError
        As ``compare``.
    """
    from eegfm_bench.report._compared import table_of_folds

    pools = pooled(subject_scores(store, records, metric))
    if not any(pool.n_folds for pool in pools.values()):
        raise DataMissing(
            f"{store.root} holds no run on a fold over people. Make them by dataset "
            f"names such as eyes@fold1of5."
        )
    return table_of_folds(pools)
