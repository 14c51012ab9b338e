"""The statistical gate's cells: which scores are compared, and what is lacking.

From: measured rows and reference rows. To: a GateReport, a line a cell; the judgement
itself is ``_gate_drops``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

from eegfm_bench.errors import SpecError
from eegfm_bench.report import _gate_drops as drops
from eegfm_bench.report._cells import mean_sd
from eegfm_bench.report._gate_report import (
    TOGETHER,
    GateLine,
    GateReport,
    Outcome,
    Rule,
)
from eegfm_bench.report._reference import GateRow

# What chooses on validation, as ``DatasetSpec.main_score`` has it: the first where a
# cell has it, which is where there are two classes.
MAIN_SCORES = ("auroc", "cohen_kappa")
K = TypeVar("K", bound=Hashable)


def statistical(
    rows: Sequence[GateRow], reference: Sequence[GateRow], asked: Iterable[int]
) -> GateReport:
    """Compare main test scores cell by cell, then their mean over cells."""
    got, want = _main_scores("measured", rows), _main_scores("reference", reference)
    by_name = by_key((s[0] for key, s in got.items() if key not in want), _named)
    lines: list[GateLine] = []
    cells: list[tuple[list[GateRow], list[GateRow]]] = []
    explained: set[str] = set()
    for key, olds in want.items():
        if key in got:
            news = got[key]
            if absent := _absent(olds, news, asked):
                outcome: Outcome = "missing" if _values_of(olds) else "cannot tell"
                lines.append(_mean_line(olds, news, outcome, absent))
            else:
                cells.append((olds, news))
        elif len(new := by_name.get(_named(olds[0]), [])) == 1:
            explained.add(new[0].cell_id)
            reason = changed(key, new[0].cell_id)
            lines.append(_mean_line(olds, got[new[0].cell_id], "missing", reason))
        else:
            reason = "the reference has it, the runs do not"
            lines.append(_mean_line(olds, [], "missing", reason))
    lines += [
        _mean_line([], news, "extra", "nothing to compare with")
        for key, news in got.items()
        if key not in want and key not in explained
    ]
    # A mean over fewer cells than the reference has would be of another thing.
    is_whole = all(line.outcome != "missing" for line in lines)
    judged, n_compared = _judged(cells, is_whole=is_whole)
    return GateReport(
        mode="statistical",
        lines=(*judged, *lines),
        rule=Rule(
            family_wise_error=drops.FAMILY_WISE_ERROR,
            margin=drops.MARGIN,
            n_compared=n_compared,
            seeds_reference=tuple(sorted({r.seed for r in reference})),
            seeds_measured=tuple(sorted(asked)),
        ),
    )


def _judged(
    cells: Sequence[tuple[list[GateRow], list[GateRow]]], *, is_whole: bool
) -> tuple[list[GateLine], int]:
    """Return a line for each cell and one for all; and how many were tested."""
    family = [drops.weigh(_values_of(olds), _values_of(news)) for olds, news in cells]
    rounding = [_rounding(olds, news) for olds, news in cells]
    noisy = [pair for pair, e in zip(cells, family, strict=True) if e.is_tested]
    overall = None
    if is_whole and len(noisy) > 1:
        overall = drops.together(
            [_values_of(olds) for olds, _ in noisy],
            [_values_of(news) for _, news in noisy],
        )
    if overall is not None and overall.is_tested:
        family.append(overall)
        rounding.append(drops.TOLERANCE)
    lines = []
    for i, (outcome, reason, drop, is_gain) in enumerate(drops.judge(family, rounding)):
        is_one = i < len(cells)
        row = cells[i][1][0] if is_one else None
        lines.append(
            GateLine(
                outcome=outcome,
                model=row.model if row else TOGETHER,
                dataset=row.dataset if row else "",
                seed=None,
                part="test",
                metric=row.metric if row else "mean",
                reference=family[i].reference,
                measured=family[i].measured,
                delta=family[i].delta,
                reason=reason,
                drop=drop,
                is_gain=is_gain,
            )
        )
    return lines, sum(evidence.is_tested for evidence in family)


def _main_scores(what: str, rows: Sequence[GateRow]) -> dict[str, list[GateRow]]:
    """Return each cell's rows of its main test score."""
    found = {}
    for cell_id, same in by_key(
        (r for r in rows if r.part == "test"), lambda r: r.cell_id
    ).items():
        held = {row.metric for row in same}
        main = next((metric for metric in MAIN_SCORES if metric in held), None)
        if main is None:
            raise SpecError(
                f"The {what} scores hold neither {' nor '.join(MAIN_SCORES)} of "
                f"{cell_id}, and a cell is judged by one of them. Run it again."
            )
        found[cell_id] = [row for row in same if row.metric == main]
    if not found:
        raise SpecError(f"The {what} scores hold none of a test part. Run it again.")
    return found


def _absent(
    olds: Sequence[GateRow], news: Sequence[GateRow], asked: Iterable[int]
) -> str:
    """Say which scores a cell lacks; nothing where none is lacking."""
    if not _values_of(olds):
        return "undefined in the reference"
    if lacking := sorted(set(asked) - {row.seed for row in news}):
        seeds = ", ".join(map(str, lacking))
        return (
            f"no score with seed{'s' * (len(lacking) > 1)} {seeds}: failed or not run"
        )
    n = sum(row.value is None for row in news)
    if n and all(row.value is not None for row in olds):
        return f"undefined in {n} of {len(news)} runs, in none of the reference"
    return "" if n < len(news) else "undefined in the runs"


def _values_of(rows: Iterable[GateRow]) -> dict[int, float]:
    return {row.seed: row.value for row in rows if row.value is not None}


def _rounding(olds: Sequence[GateRow], news: Sequence[GateRow]) -> float:
    """Return by how much rounding alone may move a score that seeds do not."""
    made = {row.arithmetic for row in (*olds, *news)}
    return drops.TOLERANCE if len(made) == 1 else drops.ROUNDING


def _named(row: GateRow) -> tuple[str, ...]:
    return row.cell


def _mean_line(
    olds: list[GateRow], news: list[GateRow], outcome: Outcome, reason: str
) -> GateLine:
    """Return a line of a cell that is not judged."""
    row = (olds or news)[0]
    return GateLine(
        outcome=outcome,
        model=row.model,
        dataset=row.dataset,
        seed=None,
        part=row.part,
        metric=row.metric,
        reference=_mean(olds),
        measured=_mean(news),
        delta=None,
        reason=reason,
    )


def _mean(rows: list[GateRow]) -> float | None:
    values = [r.value for r in rows if r.value is not None]
    return mean_sd(values)[0] if values else None


def changed(old: str, new: str) -> str:
    """Say that a question changed."""
    return f"the question changed: reference {old}, measured {new}"


def by_key(
    rows: Iterable[GateRow], key: Callable[[GateRow], K]
) -> dict[K, list[GateRow]]:
    """Group rows, in the order they come."""
    found: dict[K, list[GateRow]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found
