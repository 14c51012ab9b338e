"""One number over several datasets, where that means anything; else why it does not.

From: a measured table. To: the same with a column of averages, or a refusal. An average
compares rows only if every row has every dataset, under one protocol each; what starts
from other weights is a row of its own. The mean of what happens to be there compares
nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import replace

from eegfm_bench.errors import SpecError, listed
from eegfm_bench.report._cells import Cell, Column, Row, Table, ranked
from eegfm_bench.report.folding import folds_in

GROUP = "average"
FEWEST = 2


def why_no_average(table: Table) -> str:
    """Say why rows of a table cannot be averaged over its datasets; empty if they can.

    Parameters
    ----------
    table : Table
        Of measured scores, a group of columns for each dataset.

    Returns
    -------
    why : str
        Names a row or a dataset.
    """
    groups = list(dict.fromkeys(column.group for column in table.columns))
    if len(groups) < FEWEST:
        return f"there are {len(groups)} datasets, an average needs {FEWEST} or more"
    if folded := folds_in(table):
        return f"folds of {listed(folded)} are parts of one dataset, not datasets"
    shared = _shared_metrics(table)
    if not shared:
        return "no metric is shown for all datasets"
    for row in table.rows:
        own = _cells(table, row, shared)
        who = " ".join(table.read(row))
        absent = [column.group for column, cell in own if cell.mean is None]
        if absent:
            return f"{who} has no score on {listed(absent)}"
        marked = [column.group for column, cell in own if cell.is_marked]
        if marked:
            return f"{who} lacks seeds on {listed(marked)}"
        for field in ("init", "scale", "adapt", "labels"):
            found = sorted({cell.about.get(field, "") for _, cell in own})
            if len(found) > 1:
                return f"{who} differs in {field} ({', '.join(found)})"
    for j, column in enumerate(table.columns):
        asked = {row.cells[j].windows for row in table.rows}
        if column.metric in shared and len(asked) > 1:
            ids = sorted({row.cells[j].about.get("protocol", "") for row in table.rows})
            return (
                f"rows on {column.group} are of different protocols or recordings "
                f"({', '.join(ids)})"
            )
    return ""


def with_averages(table: Table) -> Table:
    """Return a table with the mean over datasets of every metric that all have.

    Raises
    ------
    SpecError
        If rows are not alike enough; says in what.
    """
    why = why_no_average(table)
    if why:
        raise SpecError(
            f"No average over datasets: {why}. Rows of different protocols, starts or "
            f"sets of datasets never share one: leave --average out, or name a suite "
            f"whose cells are all there."
        )
    shared = _shared_metrics(table)
    columns = tuple(Column(group=GROUP, metric=metric) for metric in shared)
    rows = []
    for row in table.rows:
        own = _cells(table, row, shared)
        cells = tuple(_average(own, metric) for metric in shared)
        rows.append(replace(row, cells=(*row.cells, *cells)))
    every = (*table.columns, *columns)
    n = len(dict.fromkeys(column.group for column in table.columns))
    return replace(
        table,
        columns=every,
        rows=tuple(ranked(rows, every, table.digits)),
        caption=f"{table.caption} Average: of the means on {n} datasets, each counting "
        f"alike.",
        names={**table.names, GROUP: "Average"},
        blocks=(*table.blocks, (GROUP,)) if table.blocks else (),
    )


def _shared_metrics(table: Table) -> tuple[str, ...]:
    """Return the metrics that every group of columns has."""
    of: dict[str, list[str]] = {}
    for column in table.columns:
        of.setdefault(column.group, []).append(column.metric)
    first, *others = of.values()
    return tuple(m for m in first if m and all(m in other for other in others))


def _cells(table: Table, row: Row, metrics: Iterable[str]) -> list[tuple[Column, Cell]]:
    kept = set(metrics)
    pairs = zip(table.columns, row.cells, strict=True)
    return [(column, cell) for column, cell in pairs if column.metric in kept]


def _average(own: list[tuple[Column, Cell]], metric: str) -> Cell:
    cells = [cell for column, cell in own if column.metric == metric]
    means = [cell.mean for cell in cells if cell.mean is not None]
    first = cells[0]
    about = {k: v for k, v in first.about.items() if k not in ("protocol", "regime")}
    return Cell(
        state="scored",
        about={**about, "dataset": GROUP},
        windows=" ".join(cell.windows for cell in cells),
        mean=statistics.fmean(means),
        n=None,
    )
