"""Tables of what is declared, not measured: architectures, recipes, sources.

From: plain data of a registry. To: the formats that measured tables have.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from eegfm_bench.errors import UnknownName
from eegfm_bench.report._html import STYLE
from eegfm_bench.report.render import latex_text, markdown_text

# The least width of a last column beside whole ones.
_LAST = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """Rows of text under named columns.

    Examples
    --------
    >>> table = Declared(title="Kernels", columns=["field", "value"],
    ...                  rows=[["narrow", "15"]], notes=[])
    >>> print(render_declared(table, "csv"), end="")
    field,value
    narrow,15
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]


def render_declared(table: Declared, how: str) -> str:
    """Write a declared table as md, latex, csv, html or json.

    Raises
    ------
    UnknownName
        If there is no such format.
    """
    if how not in _FORMATS:
        raise UnknownName.among("table format", how, _FORMATS)
    return _FORMATS[how](table)


def declared_to_console(table: Declared) -> RenderableType:
    """Return what ``Console.print`` shows; where there is room, one column folds."""
    return _OnConsole(table)


class _OnConsole:
    def __init__(self, table: Declared) -> None:
        self._table = table

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        table = self._table
        columns = zip(table.columns, zip(*table.rows, strict=True), strict=True)
        widths = [max(len(name), *map(len, texts)) for name, texts in columns]
        # Where there is room, all but the last column keep their lines whole.
        is_wide = sum(widths[:-1]) + 2 * len(widths) + _LAST <= options.max_width
        grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
        for place, name in enumerate(table.columns):
            is_whole = is_wide and place < len(widths) - 1
            grid.add_column(name, overflow="fold", no_wrap=is_whole)
        for row in table.rows:
            grid.add_row(*map(Text, row))
        yield Text(table.title, style="bold")
        yield grid
        for note in table.notes:
            yield Text(note, style="dim")


def _to_markdown(table: Declared) -> str:
    lines = [table.columns, ["---"] * len(table.columns)]
    lines += [[markdown_text(text) for text in row] for row in table.rows]
    grid = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = "\n".join(f"- {markdown_text(note)}" for note in table.notes)
    return "\n\n".join([f"## {table.title}", grid, *([notes] if notes else [])]) + "\n"


def _to_latex(table: Declared) -> str:
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_text(table.title)}}}",
        rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}",
        r"\toprule",
        " & ".join(map(latex_text, table.columns)) + r" \\",
        r"\midrule",
        *(" & ".join(map(latex_text, row)) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\footnotesize {latex_text(note)}" for note in table.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _to_csv(table: Declared) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([table.columns, *table.rows])
    return out.getvalue()


def _to_json(table: Declared) -> str:
    fields = {
        "title": table.title,
        "rows": [dict(zip(table.columns, row, strict=True)) for row in table.rows],
        "notes": table.notes,
    }
    return json.dumps(fields, indent=1, ensure_ascii=False) + "\n"


def _to_html(table: Declared) -> str:
    head = "".join(
        f'<th class="stub" scope="col">{escape(c)}</th>' for c in table.columns
    )
    rows = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(text)}</td>" for text in row[1:])
        + "</tr>"
        for row in table.rows
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(table.title)}</title><style>{STYLE}"
        "tbody th, tbody td { white-space: normal; text-align: left; }"
        "</style></head>\n"
        f'<body><h1>{escape(table.title)}</h1><div class="wide"><table>\n'
        f"<thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>\n"
        f'<ul class="notes">{notes}</ul></body></html>\n'
    )


_FORMATS: dict[str, Callable[[Declared], str]] = {
    "md": _to_markdown,
    "latex": _to_latex,
    "csv": _to_csv,
    "html": _to_html,
    "json": _to_json,
}
