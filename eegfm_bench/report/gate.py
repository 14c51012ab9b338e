"""New scores held against reference rows: what moved, and whether it may.

From: records, and ``results/<suite>/reference.csv``. To: a GateReport, read by a
person or by CI.

Exact mode asks for the same runs and, for each, the same scores: to the last bit
but for printing where processor, instruction set and libraries are those of the
reference, else within what rounding was seen to do. Statistical mode asks of each
cell's main test score whether it dropped, with other seeds or the same: worse, no
worse, or cannot tell, with at most 1 % false alarms in a whole gate
(``_gate_cells``; measured in ``docs/gate.md``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eegfm_bench.errors import SpecError, UnknownName
from eegfm_bench.report._cells import EVENTS_SHOWN
from eegfm_bench.report._gate_cells import by_key, changed, statistical
from eegfm_bench.report._gate_drops import ROUNDING, TOLERANCE
from eegfm_bench.report._gate_report import (
    MODES,
    GateLine,
    GateReport,
    Outcome,
    gate_to_console,
    render_gate,
)
from eegfm_bench.report._gate_update import (
    find_changelog,
    refuse_no_reason,
    update_reference,
)
from eegfm_bench.report._reference import (
    GateRow,
    read_reference,
    reference_rows,
    write_reference,
)

__all__ = ["GateLine", "GateReport", "GateRow", "compare", "find_changelog"]
__all__ += ["gate_to_console", "other_seeds", "read_reference", "reference_rows"]
__all__ += ["refuse_mode", "refuse_no_reason", "render_gate", "update_reference"]
__all__ += ["write_reference"]


def compare(
    rows: Sequence[GateRow],
    reference: Sequence[GateRow],
    mode: str = "exact",
    *,
    seeds: Sequence[int] | None = None,
) -> GateReport:
    """Hold measured rows against reference rows.

    Parameters
    ----------
    rows, reference : GateRows
        Both of ``reference_rows``' making.
    mode : "exact" or "statistical"
        See the head of this file.
    seeds : sequence of int, optional
        In statistical mode, the seeds that were asked for: a cell that lacks the
        score of one is missing. By default those that ``rows`` hold.

    Raises
    ------
    SpecError
        If either side is empty, holds a score twice, or, in statistical mode, holds
        no main score of a cell.
    UnknownName
        If there is no such mode.
    """
    refuse_mode(mode)
    for what, side in (("measured", rows), ("reference", reference)):
        if not side:
            raise SpecError(f"There are no {what} scores, so nothing can be compared.")
        for key, same in by_key(side, lambda r: (r.run_id, r.part, r.metric)).items():
            if len(same) > 1:
                raise SpecError(f"The {what} scores hold {' '.join(key)} twice.")
    if mode == "exact":
        return GateReport(mode="exact", lines=tuple(_each(rows, reference)))
    return statistical(rows, reference, seeds or {r.seed for r in rows})


def other_seeds(reference: Sequence[GateRow], n: int | None = None) -> list[int]:
    """Return seeds that the reference has not: as many, or ``n``, after its last."""
    theirs = {row.seed for row in reference}
    first = max(theirs, default=-1) + 1
    return [*range(first, first + (len(theirs) if n is None else n))]


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
    got = by_key(rows, lambda r: (r.run_id, r.part, r.metric))
    want = by_key(reference, lambda r: (r.run_id, r.part, r.metric))
    by_name = by_key(
        [r for key, same in got.items() if key not in want for r in same],
        lambda r: (r.cell, r.seed),
    )
    named = by_key(reference, lambda r: (r.cell, r.seed))
    explained: set[tuple[str, str, str]] = set()
    for key, (old,) in want.items():
        if key in got:
            yield _values(old, got[key][0])
            continue
        name = (old.cell, old.seed)
        new = by_name.get(name, [])
        if len(new) == len(named[name]) == 1:
            explained.add((new[0].run_id, old.part, old.metric))
            yield _line(old, new[0], "fail", changed(old.run_id, new[0].run_id))
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
