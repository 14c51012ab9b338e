"""Folds in a table: a block of columns for scripts, one line for people.

From: a table with datasets such as ``eyes@fold1of5``. To: the formats that people read.
Every fold is a protocol of its own and no average is taken over them; what folds are
for, a score of every subject, is ``comparisons.folds_table``.
"""

from __future__ import annotations

from dataclasses import replace

from eegfm_bench.datasets._folds import MARK, fold_of
from eegfm_bench.report._cells import Table


def folds_in(table: Table) -> dict[str, list[tuple[int, int]]]:
    """Return dataset to its folds in a table: (fold from 1, of how many)."""
    found: dict[str, list[tuple[int, int]]] = {}
    for group in dict.fromkeys(column.group for column in table.columns):
        fold = fold_of(group) if MARK in group else None
        if fold is not None:
            found.setdefault(fold[0], []).append((fold[1], fold[2]))
    return found


def without_folds(table: Table) -> Table:
    """Return a table without the columns of folds, which a note counts instead."""
    found = folds_in(table)
    if not found:
        return table
    groups = [column.group for column in table.columns if MARK not in column.group]
    kept = table.of_groups(groups)
    blocks = tuple(tuple(g for g in b if MARK not in g) for b in table.blocks)
    notes = [
        f"{name}: {_counted(folds)} over people, each a protocol of its own; their "
        f"scores are in csv and json."
        for name, folds in found.items()
    ]
    return replace(
        kept,
        blocks=tuple(block for block in blocks if block),
        notes=(*table.notes, *notes),
    )


def _counted(folds: list[tuple[int, int]]) -> str:
    """Write which folds there are.

    Examples
    --------
    >>> _counted([(1, 3), (2, 3), (3, 3)]), _counted([(2, 5)])
    ('all 3 folds', '1 of 5 folds (2)')
    """
    parts = []
    for n in dict.fromkeys(n for _, n in folds):
        here = sorted(k for k, of in folds if of == n)
        if len(here) == n:
            parts.append(f"all {n} folds")
        else:
            listed = ", ".join(map(str, here))
            parts.append(f"{len(here)} of {n} folds ({listed})")
    return " and ".join(parts)
