"""New scores held against reference rows: what moved, and whether it may.

From: records, and ``results/<suite>/reference.csv``. To: a GateReport, read by a
person or by CI.

Exact mode asks for the same runs and, for each, the same scores: to the last bit
but for printing where processor, instruction set and libraries are those of the
reference, else within what rounding was seen to do. Statistical mode
asks whether a cell's test scores dropped: it passes while the mean over seeds
(paired where seeds match) drops by at most 0.02, fails when the drop also exceeds
three standard errors of the reference, and cannot tell in between, or with fewer
than two seeds on a side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

from eegfm_bench.errors import SpecError, UnknownName
from eegfm_bench.report._cells import EVENTS_SHOWN, LOWER_IS_BETTER, mean_sd
from eegfm_bench.report._gate_report import (
    MODES,
    UNSURE,
    GateLine,
    GateReport,
    Outcome,
    gate_to_console,
    render_gate,
)
from eegfm_bench.report._reference import (
    GateRow,
    read_reference,
    reference_rows,
    write_reference,
)

__all__ = ["GateLine", "GateReport", "GateRow", "compare", "gate_to_console"]
__all__ += ["read_reference", "reference_rows", "refuse_mode", "render_gate"]
__all__ += ["write_reference"]

TOLERANCE = 1e-6  # far below a printed digit
# Another processor rounds differently, and training carries that on: in trials with
# three instruction sets AUROC moved by up to 1e-4, log loss by 6e-4; one window of
# the smoke suite on the other side of the threshold is 5e-3.
ROUNDING = 0.01
DROP = 0.02
N_ERRORS = 3.0
K = TypeVar("K", bound=Hashable)


def compare(
    rows: Sequence[GateRow], reference: Sequence[GateRow], mode: str = "exact"
) -> GateReport:
    """Hold measured rows against reference rows.

    Parameters
    ----------
    rows, reference : GateRows
        Both of ``reference_rows``' making.
    mode : "exact" or "statistical"
        See the head of this file.

    Raises
    ------
    SpecError
        If either side is empty or holds a score twice.
    UnknownName
        If there is no such mode.
    """
    refuse_mode(mode)
    for what, side in (("measured", rows), ("reference", reference)):
        if not side:
            raise SpecError(f"There are no {what} scores, so nothing can be compared.")
        for key, same in _by(side, lambda r: (r.run_id, r.part, r.metric)).items():
            if len(same) > 1:
                raise SpecError(f"The {what} scores hold {' '.join(key)} twice.")
    if mode == "exact":
        return GateReport(mode="exact", lines=tuple(_each(rows, reference)))
    return GateReport(mode="statistical", lines=tuple(_cells(rows, reference)))


def refuse_mode(mode: str) -> None:
    """Refuse a mode that is neither "exact" nor "statistical".

    Raises
    ------
    UnknownName
    """
    if mode not in MODES:
        raise UnknownName.among("gate mode", mode, MODES)


def _each(rows: Sequence[GateRow], reference: Sequence[GateRow]) -> Iterable[GateLine]:
    """Compare score by score."""
    got = _by(rows, lambda r: (r.run_id, r.part, r.metric))
    want = _by(reference, lambda r: (r.run_id, r.part, r.metric))
    by_name = _by(
        [r for key, same in got.items() if key not in want for r in same],
        lambda r: (r.cell, r.seed),
    )
    named = _by(reference, lambda r: (r.cell, r.seed))
    explained: set[tuple[str, str, str]] = set()
    for key, (old,) in want.items():
        if key in got:
            yield _values(old, got[key][0])
            continue
        name = (old.cell, old.seed)
        new = by_name.get(name, [])
        if len(new) == len(named[name]) == 1:
            explained.add((new[0].run_id, old.part, old.metric))
            yield _line(old, new[0], "fail", _changed(old.run_id, new[0].run_id))
        else:
            reason = "missing: the reference has it, the runs do not"
            yield _line(old, None, "fail", reason)
    for key, (new_row,) in got.items():
        if key not in want and key not in explained:
            reason = "extra: the runs have it, the reference does not"
            yield _line(None, new_row, "fail", reason)


def _values(old: GateRow, new: GateRow) -> GateLine:
    if old.value is None and new.value is None:
        return _line(old, new, "pass", "undefined in both")
    if old.value is None or new.value is None:
        side = "reference" if old.value is None else "runs"
        return _line(old, new, "fail", f"undefined in the {side} alone")
    is_alike = new.arithmetic == old.arithmetic
    allowed = TOLERANCE if is_alike else ROUNDING
    if not is_alike and new.metric in EVENTS_SHOWN:
        # One window on the other side of the threshold is an event, or an alarm.
        return _line(old, new, "pass", "not compared across processors or versions")
    is_same = abs(new.value - old.value) <= allowed
    reason = "" if is_same else f"differs by more than {allowed:g}"
    if is_same and not is_alike:
        reason = f"within {ROUNDING:g}, on another processor or library version"
    return _line(old, new, "pass" if is_same else "fail", reason)


def _cells(rows: Sequence[GateRow], reference: Sequence[GateRow]) -> Iterable[GateLine]:
    """Compare test scores cell by cell.

    Log loss and false alarms have no fixed scale to judge a drop by, and the share of
    events met says little without the false alarms: they are held in exact mode alone.
    """

    def judged(side: Sequence[GateRow]) -> dict[tuple[str, str], list[GateRow]]:
        unjudged = {*LOWER_IS_BETTER, *EVENTS_SHOWN}
        held = (r for r in side if r.part == "test" and r.metric not in unjudged)
        return _by(held, lambda r: (r.cell_id, r.metric))

    got, want = judged(rows), judged(reference)
    by_name = _by(
        (same[0] for key, same in got.items() if key not in want), lambda r: r.cell
    )
    explained: set[str] = set()
    for key, olds in want.items():
        if key in got:
            yield _drop(olds, got[key])
        elif len(new := by_name.get(olds[0].cell, [])) == 1:
            explained.add(new[0].cell_id)
            changed = _changed(olds[0].cell_id, new[0].cell_id)
            yield _mean_line(olds, got[new[0].cell_id, key[1]], "fail", changed)
        else:
            reason = "missing: the reference has it, the runs do not"
            yield _mean_line(olds, [], "fail", reason)
    for key, news in got.items():
        if key not in want and key[0] not in explained:
            yield _mean_line([], news, "pass", "extra: nothing to compare with")


def _drop(olds: list[GateRow], news: list[GateRow]) -> GateLine:
    old = {r.seed: r.value for r in olds if r.value is not None}
    new = {r.seed: r.value for r in news if r.value is not None}
    if not old:
        return _mean_line(olds, news, "pass", "undefined in the reference")
    if not new:
        return _mean_line(olds, news, "fail", "undefined in the runs alone")
    seeds = sorted(set(old) & set(new))
    if seeds:
        n, delta = len(seeds), math.fsum(new[s] - old[s] for s in seeds) / len(seeds)
    else:
        n = min(len(old), len(new))
        delta = mean_sd([*new.values()])[0] - mean_sd([*old.values()])[0]
    how = f"n = {n}, {'paired by seed' if seeds else 'no seed in common'}"
    sd = mean_sd([*old.values()])[1]
    if n < 2 or sd is None:
        return _mean_line(olds, news, UNSURE, how, delta)
    allowed = max(DROP, N_ERRORS * sd / math.sqrt(n))
    outcome: Outcome = "pass" if -delta <= DROP else UNSURE
    if -delta > allowed:
        outcome = "fail"
    reason = f"{how}; a drop beyond {allowed:.4f} fails"
    return _mean_line(olds, news, outcome, reason, delta)


def _line(
    old: GateRow | None, new: GateRow | None, outcome: Outcome, reason: str
) -> GateLine:
    row = old or new
    if row is None:
        raise ValueError("a line is about a reference row, a measured row, or both")
    before = old.value if old else None
    after = new.value if new else None
    return GateLine(
        outcome=outcome,
        model=row.model,
        dataset=row.dataset,
        seed=row.seed,
        part=row.part,
        metric=row.metric,
        reference=before,
        measured=after,
        delta=None if before is None or after is None else after - before,
        reason=reason,
    )


def _mean_line(
    olds: list[GateRow],
    news: list[GateRow],
    outcome: Outcome,
    reason: str,
    delta: float | None = None,
) -> GateLine:
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
        delta=delta,
        reason=reason,
    )


def _mean(rows: list[GateRow]) -> float | None:
    values = [r.value for r in rows if r.value is not None]
    return mean_sd(values)[0] if values else None


def _changed(old: str, new: str) -> str:
    return f"the question changed: reference {old}, measured {new}"


def _by(rows: Iterable[GateRow], key: Callable[[GateRow], K]) -> dict[K, list[GateRow]]:
    found: dict[K, list[GateRow]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found
