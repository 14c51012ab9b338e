"""A table inside a page: its numbers lead to their cards.

From: a Table. To: ``Html``, with headings that a screen reader can follow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from eegfm_bench.report._cells import Cell, Row, Table, metric_label
from eegfm_bench.report.site._markup import Child, Html, lines, tag

# Columns beside each other on a page of paper.
WIDEST = 7
Link = Callable[[Cell], str | None]
LinkGroup = Callable[[str], str | None]


def table_html(
    table: Table,
    *,
    level: str | None = "h2",
    link: Link = lambda _: None,
    link_group: LinkGroup = lambda _: None,
    notes: bool = True,
) -> Html:
    """Write a table with all that qualifies it, block below block.

    Parameters
    ----------
    table : Table
    level : str, optional
        The heading's element; None writes no heading.
    link : function of a Cell
        Returns where its number leads, or None.
    link_group : function of a column group's name
        The same for a dataset.
    notes : bool
        Whether notes follow; else they are on another page.
    """
    title = table.title or "Results"
    parts = in_blocks(table).parts()
    return lines(
        tag(level, title) if level else None,
        tag("p", tag("strong", table.heading, class_="tag")) if table.heading else None,
        [_grid(part, title, link, link_group) for part in parts],
        tag("p", table.caption, class_="aside") if table.caption else None,
        _line(table.protocol_line()),
        tag("ul", [tag("li", note) for note in table.notes], class_="notes")
        if notes and table.notes
        else None,
    )


def in_blocks(table: Table) -> Table:
    """Return a table in blocks that fit a page, unless it has blocks of its own.

    Groups of columns stay whole and in their order.
    """
    spans = table.spans()
    if table.blocks or len(table.columns) <= WIDEST:
        return table
    blocks: list[list[str]] = [[]]
    n_columns = 0
    for group, _, _, n in spans:
        if blocks[-1] and n_columns + n > WIDEST:
            blocks.append([])
            n_columns = 0
        blocks[-1].append(group)
        n_columns += n
    return replace(table, blocks=tuple(map(tuple, blocks)))


def _line(text: str) -> Html | None:
    return tag("p", text, class_="aside") if text else None


def _grid(table: Table, title: str, link: Link, link_group: LinkGroup) -> Html:
    groups = ", ".join(table.name(group) for group, *_ in table.spans())
    named = f"{title}: {groups}"
    return tag(
        "div",
        tag(
            "table",
            tag("caption", named),
            "\n",
            _head(table, link_group),
            tag("tbody", "\n", [_row(table, row, link) for row in table.rows]),
            class_="results",
        ),
        class_="wide",
        tabindex="0",
        role="region",
        aria_label=named,
    )


def _head(table: Table, link_group: LinkGroup) -> Html:
    """Write both lines of headings: datasets, and their metrics."""
    stub = [tag("th", s, scope="col", rowspan=2, class_="stub") for s in table.stub]
    groups = []
    for group, remark, _, n in table.spans():
        where = link_group(group)
        name = table.name(group)
        groups.append(
            tag(
                "th",
                tag("a", name, href=where) if where else name,
                tag("small", remark) if remark else None,
                scope="colgroup" if n > 1 else "col",
                colspan=n if n > 1 else None,
                class_="group first",
            )
        )
    starts = _starts(table)
    metrics = [
        tag(
            "th",
            metric_label(c.metric),
            scope="col",
            class_="plain first" if j in starts else "plain",
        )
        for j, c in enumerate(table.columns)
    ]
    return tag("thead", tag("tr", stub, groups), "\n", tag("tr", metrics))


def _row(table: Table, row: Row, link: Link) -> list[Child]:
    starts = _starts(table)
    cells = [
        tag("td", label, class_="label") if i else tag("th", label, scope="row")
        for i, label in enumerate(table.read(row))
    ]
    at = 0
    for cell, n in table.pieces(row):
        cells.append(_cell(table, cell, n, at in starts, link(cell)))
        at += n
    return [tag("tr", cells, class_="gloss" if row.is_gloss else None), "\n"]


def _starts(table: Table) -> set[int]:
    return {first for _, _, first, _ in table.spans()}


def _cell(table: Table, cell: Cell, n: int, is_first: bool, where: str | None) -> Html:
    kind = ("", "best", "second")[cell.rank]
    if cell.mean is None:
        kind = "absent" if cell.state in ("failed", "missing") else "words"
    mean, plus_minus, rest = table.show(cell).partition(" ± ")
    spread = tag("span", f" ± {rest}", class_="sd") if plus_minus else None
    ranked = {1: "strong", 2: "u"}.get(cell.rank)
    inside: list[Child] = [tag(ranked, mean) if ranked else mean, spread]
    return tag(
        "td",
        tag("a", inside, href=where) if where else inside,
        class_=" ".join(w for w in ("first" if is_first else "", kind) if w) or None,
        colspan=n if n > 1 else None,
        title=cell.reason or None,
    )
