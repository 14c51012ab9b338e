"""Intervals, comparisons, ranks, and published figures beside measured ones.

From: a panel and its store. To: sections of the overview. What cannot be made says
why where it would stand.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from eegfm_bench.errors import BenchError, listed
from eegfm_bench.report import naming
from eegfm_bench.report._groups import RowKey, row_key
from eegfm_bench.report.intervals import in_order_of_tables
from eegfm_bench.report.site._markup import Child, Html, lines, tag
from eegfm_bench.report.site.panels import SIMULATED, Panel
from eegfm_bench.report.site.tables import table_html
from eegfm_bench.report.site.words import row_name
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.store import ResultStore


def sections(store: ResultStore, panel: Panel, unusable: Collection[str]) -> Html:
    """Write what is known beyond means: intervals, comparisons and ranks.

    Parameters
    ----------
    store : ResultStore
    panel : Panel
    unusable : collection of str
        Runs whose predictions cannot be used: they are left out, and listed.
    """
    from eegfm_bench.report._compared_text import tables_of
    from eegfm_bench.report.comparisons import compare

    done = [r for r in panel.records if r.is_done and r.run_id not in unusable]
    left_out = sorted(r.run_id for r in panel.records if r.run_id in unusable)
    parts: list[Child] = []
    if left_out:
        text = (
            f"{len(left_out)} runs are left out here, as their predictions cannot be "
            f"used: {listed(left_out, most=8)}."
        )
        parts.append(tag("p", text, class_="problem"))
    if not done:
        return lines(parts, tag("p", "No run has scores that can be used."))
    against = one_against_all(done)
    try:
        tables = tables_of(compare(done, store, against=against))
    except BenchError as error:
        return lines(parts, tag("p", f"Not shown: {error}", class_="problem"))
    if against is not None:
        parts.append(tag("p", _which(against, panel)))
    return lines(parts, [table_html(table, level="h3") for table in tables])


def one_against_all(done: Sequence[RunRecord]) -> RowKey | None:
    """Return the row held against every other: by its name, never by its scores.

    It is the last in the order of the papers' tables; None if there is only one row.
    """
    rows = in_order_of_tables(row_key(record.spec) for record in done)
    known = [row for row in rows if row[0] in naming.MODELS]
    return known[-1] if known and len(rows) > 1 else None


def _which(against: RowKey, panel: Panel) -> str:
    return (
        f"Held against every other row: {row_name(against, panel.table.names)}, as the "
        f"last in the order of the papers' tables, whatever its scores. Any other row: "
        f"eegfm-bench compare --against ROW."
    )


def published_section(panel: Panel) -> Html | None:
    """Set measured beside published, wherever a paper's table has both.

    Simulated runs never meet published figures; None where nothing meets.
    """
    from eegfm_bench.report.published import beside_published, published_table

    if panel.kind == SIMULATED:
        return None
    parts: list[Child] = []
    measured = {column.group for column in panel.table.columns}
    for number in map(int, naming.BLOCKS):
        paper = published_table(number)
        shared = [c.group for c in paper.columns if c.group in measured]
        if not shared:
            continue
        try:
            both = beside_published(panel.table.of_groups(shared), number)
        except BenchError as error:
            text = f"Table {number} is not shown: {error}"
            parts.append(tag("p", text, class_="problem"))
            continue
        kept = replace(
            both.of_groups(shared),
            title=f"{paper.title}, beside what was measured",
            blocks=naming.blocks_of(str(number), shared),
        )
        parts.append(table_html(kept, level="h3"))
    return lines(parts) if parts else None
