"""A table as one page that needs nothing else: no script, font or address.

From: a Table. To: a file that opens anywhere, or a fragment of a page of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from eegfm_bench.report._cells import Cell, Table, metric_label

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 2rem 1.5rem 3rem; max-width: 90rem;
  background: #fff; color: #1c2330; line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif; }
h1 { margin: 0 0 1rem; font-size: 1.35rem; font-weight: 600; }
.heading { margin: 0 0 1.25rem; padding: .55rem .9rem; font-weight: 600;
  background: #fff4d6; border-left: 4px solid #d99a00; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .36rem .55rem; text-align: right; white-space: nowrap; }
th { font-weight: 600; color: #465066; }
thead tr:last-child th, thead th.stub { border-bottom: 1.5px solid #1c2330; }
thead tr:first-child th { border-top: 1.5px solid #1c2330; padding-top: .55rem; }
th.group { text-align: center; color: #1c2330; }
th.group small { display: block; font-weight: 400; color: #9a5b00; }
tbody th, th.stub { text-align: left; }
th.stub { vertical-align: bottom; }
tr > th:first-child:not(.group) { position: sticky; left: 0; background: inherit; }
tbody tr, thead tr { background: #fff; }
thead tr:last-child th { position: static; }
tbody th { font-weight: 400; color: #1c2330; }
tbody th:first-child { font-weight: 600; }
tbody tr:nth-child(even) { background: #f6f8fb; }
tbody tr:last-child > * { border-bottom: 1.5px solid #1c2330; }
td.first, th.first { border-left: 1px solid #dfe4ec; }
td.best { font-weight: 700; }
tr.gloss > th:first-child { font-weight: 400; }
tr.gloss > * { padding-top: 0; color: #465066; font-size: .86rem; }
td.second { text-decoration: underline; text-underline-offset: .2em; }
td.absent { color: #7a5560; text-align: center; white-space: normal;
  font-size: .86rem; min-width: 11rem; }
.sd { color: #6a7488; font-weight: 400; }
.wide + .wide { margin-top: 1.4rem; }
.caption, .notes { max-width: 52rem; color: #465066; font-size: .88rem; }
.notes { padding-left: 1.1rem; }
"""


def to_html(table: Table) -> str:
    """Write one self-contained page, readable without JavaScript."""
    return page([table])


def page(tables: Sequence[Table]) -> str:
    """Write tables as one self-contained page, the first one's title on top."""
    first = tables[0]
    title = first.title or "Results"
    named = f"{first.heading}: {title}" if first.heading else title
    body: list[str] = []
    for place, table in enumerate(tables):
        body += [fragment(table, level=1 if not place else 2)]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(named)}</title>",
            f"<style>{STYLE}</style></head>",
            "<body>",
            *body,
            "</body>",
            "</html>",
            "",
        ]
    )


def fragment(table: Table, *, level: int = 2) -> str:
    """Write a table for a page of others: heading, title, blocks, caption and notes.

    Parameters
    ----------
    table : Table
    level : int
        Of the title: 1 is ``<h1>``.

    Returns
    -------
    html : str
        Everything escaped; the look is ``STYLE``'s.
    """
    title = table.title or "Results"
    body = [f'<p class="heading">{escape(table.heading)}</p>'] if table.heading else []
    body.append(f"<h{level}>{escape(title)}</h{level}>")
    for part in table.parts():
        body += ['<div class="wide">', *_table(part, title), "</div>"]
    for text in (table.caption, table.protocol_line()):
        body += [f'<p class="caption">{escape(text)}</p>'] if text else []
    if table.notes:
        items = [f"<li>{escape(note)}</li>" for note in table.notes]
        body += ['<ul class="notes">', *items, "</ul>"]
    return "\n".join(body)


def _table(table: Table, title: str) -> list[str]:
    stub = "".join(
        f'<th class="stub" scope="col" rowspan="2">{escape(s)}</th>' for s in table.stub
    )
    groups = "".join(
        f'<th class="group first" scope="colgroup" colspan="{n}">'
        f"{escape(table.name(group))}"
        f"{f'<small>{escape(remark)}</small>' if remark else ''}</th>"
        for group, remark, _, n in table.spans()
    )
    starts = {first for _, _, first, _ in table.spans()}
    metrics = "".join(
        f'<th scope="col"{_class(j in starts)}>{escape(metric_label(c.metric))}</th>'
        for j, c in enumerate(table.columns)
    )
    named = ", ".join(table.name(group) for group, *_ in table.spans())
    lines = [
        f'<table aria-label="{escape(f"{title}: {named}")}">',
        f"<thead><tr>{stub}{groups}</tr>",
        f"<tr>{metrics}</tr></thead>",
    ]
    lines.append("<tbody>")
    for row in table.rows:
        labels = table.read(row)
        cells = "".join(f'<th scope="row">{escape(label)}</th>' for label in labels)
        at = 0
        for cell, n in table.pieces(row):
            cells += _cell(table, cell, n, at in starts)
            at += n
        kind = ' class="gloss"' if row.is_gloss else ""
        lines.append(f"<tr{kind}>{cells}</tr>")
    return [*lines, "</tbody>", "</table>"]


def _cell(table: Table, cell: Cell, n_columns: int, is_first: bool) -> str:
    kind = "absent" if cell.mean is None else ("", "best", "second")[cell.rank]
    span = f' colspan="{n_columns}"' if n_columns > 1 else ""
    why = f' title="{escape(cell.reason)}"' if cell.reason else ""
    mean, plus_minus, rest = escape(table.show(cell)).partition(" ± ")
    spread = f' <span class="sd">± {rest}</span>' if plus_minus else ""
    return f"<td{_class(is_first, kind)}{span}{why}>{mean}{spread}</td>"


def _class(is_first: bool, kind: str = "") -> str:
    names = " ".join(name for name in ("first" if is_first else "", kind) if name)
    return f' class="{names}"' if names else ""
