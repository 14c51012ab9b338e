"""A table as Markdown, LaTeX, CSV, HTML, JSON, or on a terminal.

From: a Table, measured or published. To: one text, or a rich renderable. Every
format says first what kind of recordings the numbers are from.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from eegfm_bench.errors import UnknownName
from eegfm_bench.report._cells import Cell, Row, Table, metric_label
from eegfm_bench.report._console import to_console
from eegfm_bench.report._html import page, to_html
from eegfm_bench.report.folding import without_folds

__all__ = ["CSV_COLUMNS", "FORMATS", "render", "render_together", "to_console"]
__all__ += ["to_csv", "to_html"]
__all__ += ["latex_text", "markdown_text", "to_json", "to_latex", "to_markdown"]

CSV_COLUMNS = (
    *("data", "source", "model", "init", "scale", "adapt", "labels", "variant"),
    *("dataset", "protocol", "subject", "metric", "mean", "sd", "n"),
    *("state", "reason", "regime", "quoted_from"),
    *("outcome", "difference", "low", "high", "margin"),
)
SCHEMA_VERSION = 2
# Formats that people read; the others keep a column for every fold.
READ = ("md", "latex", "html")
_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\|*<`"} | {"\n": " "})
_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
    | {"^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"$|$"}
    | {
        "±": r"$\pm$",
        "†": r"$\dagger$",
        "‡": r"$\ddagger$",
        "−": "$-$",
        "—": "---",
        "–": "--",
        "…": r"\ldots{}",
    }
    | {"µ": r"$\mu$", "²": r"$^2$", "≤": r"$\le$", "≥": r"$\ge$", "\n": " "}
)


def render(table: Table, how: str) -> str:
    """Write a table in one of ``FORMATS``.

    Raises
    ------
    UnknownName
        If there is no such format.
    """
    if how not in FORMATS:
        raise UnknownName.among("table format", how, FORMATS)
    return FORMATS[how](without_folds(table) if how in READ else table)


def render_together(tables: Sequence[Table], how: str) -> str:
    """Write a table and what belongs below it as one text.

    In csv the first stands alone, since others have other columns; in json the others
    are in the first's ``below``.

    Raises
    ------
    UnknownName
        If there is no such format.
    """
    first, *below = tables
    if not below or how == "csv":
        return render(first, how)
    if how == "html":
        return page([without_folds(table) for table in tables])
    if how == "json":
        fields = json.loads(to_json(first))
        fields["below"] = [json.loads(to_json(table)) for table in below]
        return _dumped(fields)
    return "\n".join(render(table, how) for table in tables)


def to_markdown(table: Table) -> str:
    """Write Markdown, block below block; best in bold, second underlined."""
    parts = [f"**{table.heading}**"] if table.heading else []
    parts += [f"## {markdown_text(table.title)}"] if table.title else []
    parts += [_md_grid(part) for part in table.parts()]
    parts += [markdown_text(text) for text in (table.caption, table.protocol_line())]
    if table.notes:
        parts.append("\n".join(f"- {markdown_text(note)}" for note in table.notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def _md_grid(table: Table) -> str:
    """Write one block as a grid whose columns are as wide as they need."""
    head = [*table.stub]
    for c in table.columns:
        group = table.name(c.group) + (" (partial)" if c.remark else "")
        head.append(f"{group}: {metric_label(c.metric)}" if c.metric else group)
    lines = [[markdown_text(text) for text in head]]
    for row in table.rows:
        texts = zip(row.cells, table.texts(row), strict=True)
        cells = [_md_ranked(markdown_text(text), cell.rank) for cell, text in texts]
        lines.append([*map(markdown_text, table.read(row)), *cells])
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    n_labels = len(table.stub)
    rule = [
        "-" * w if i < n_labels else "-" * (w - 1) + ":" for i, w in enumerate(widths)
    ]
    return "\n".join(
        f"| {' | '.join(_pad(t, w, i < n_labels) for i, (t, w) in cells)} |"
        for cells in (
            enumerate(zip(g, widths, strict=True)) for g in [lines[0], rule, *lines[1:]]
        )
    )


def to_latex(table: Table) -> str:
    """Write a LaTeX table, a tabular for each block; needs the booktabs package."""
    caption = " ".join(
        [
            *([rf"\textbf{{{latex_text(table.heading)}}}."] if table.heading else []),
            *([latex_text(table.title.rstrip(".") + ".")] if table.title else []),
            latex_text(table.caption),
        ]
    )
    lines = [f"% {table.heading}"] if table.heading else []
    lines += [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}"]
    for place, part in enumerate(table.parts()):
        lines += [r"\par\medskip"] if place else []
        lines += _tex_grid(part)
    below = [table.protocol_line(), *table.notes]
    lines += [rf"\par\footnotesize {latex_text(text)}" for text in below if text]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _tex_grid(table: Table) -> list[str]:
    """Write one block as a tabular."""
    n = len(table.stub)
    spans = table.spans()
    groups = []
    for group, remark, _, of in spans:
        named = table.name(group)
        named = f"{named} ({remark})" if remark else named
        groups.append(rf"\multicolumn{{{of}}}{{c}}{{{latex_text(named)}}}")
    rules = [rf"\cmidrule(lr){{{n + i + 1}-{n + i + of}}}" for _, _, i, of in spans]
    head = [*map(latex_text, table.stub)]
    head += [latex_text(metric_label(c.metric)) for c in table.columns]
    lines = [
        rf"\begin{{tabular}}{{{'l' * n}{'r' * len(table.columns)}}}",
        r"\toprule",
        " & ".join([""] * n + groups).strip() + r" \\",
        " ".join(rules),
        " & ".join(head) + r" \\",
        r"\midrule",
    ]
    for row in table.rows:
        cells = [_tex_cell(table, cell, of) for cell, of in table.pieces(row)]
        labels = map(latex_text, table.read(row))
        lines.append(" & ".join([*labels, *cells]) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def to_csv(table: Table) -> str:
    """Write one line per row, dataset and metric, numbers in full."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    own = ("outcome", "difference", "low", "high", "margin")
    for row in table.rows:
        for cell in row.cells if not row.is_gloss else ():
            writer.writerow(
                {
                    **{key: cell.about.get(key, "") for key in CSV_COLUMNS},
                    "data": cell.about.get("data", table.data),
                    "mean": "" if cell.mean is None else repr(cell.mean),
                    "sd": "" if cell.sd is None else repr(cell.sd),
                    "n": "" if cell.n is None else cell.n,
                    "state": cell.state,
                    "reason": cell.reason,
                    **{k: _full(v) for k, v in _judgement(cell).items() if k in own},
                }
            )
    return out.getvalue()


def to_json(table: Table) -> str:
    """Write one JSON document: the whole table, numbers in full (docs/tables.md)."""
    ids = table.protocols()
    fields: dict[str, Any] = {
        "heading": table.heading,
        "schema_version": SCHEMA_VERSION,
        "data": table.data,
        "title": table.title,
        "caption": table.caption,
        "columns": [
            {
                "group": c.group,
                "name": table.name(c.group),
                "metric": c.metric,
                "remark": c.remark,
                "protocols": list(ids.get(c.group, ())),
            }
            for c in table.columns
        ],
        "blocks": [list(block) for block in table.blocks],
        "names": dict(table.names),
        "rows": [_json_row(table, row) for row in table.rows if not row.is_gloss],
        "notes": list(table.notes),
    }
    return _dumped(fields)


def _dumped(fields: dict[str, Any]) -> str:
    return json.dumps(fields, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _json_row(table: Table, row: Row) -> dict[str, Any]:
    cells = [
        {
            **cell.about,
            "data": cell.about.get("data", table.data),
            "state": cell.state,
            "mean": cell.mean,
            "sd": cell.sd,
            "n": cell.n,
            "rank": cell.rank or None,
            "values": list(cell.values) or None,
            "text": table.show(cell),
            "reason": cell.reason or None,
            **({"verdict": _judgement(cell)} if cell.verdict is not None else {}),
        }
        for cell in row.cells
    ]
    return {**dict(zip(table.stub, row.labels, strict=True)), "cells": cells}


def _judgement(cell: Cell) -> dict[str, Any]:
    """Return a verdict as plain data; empty where there is none."""
    return {} if cell.verdict is None else asdict(cell.verdict)


def _full(value: Any) -> Any:
    """Write a number in full, and nothing for None."""
    return "" if value is None else repr(value) if isinstance(value, float) else value


def markdown_text(text: str) -> str:
    """Escape what Markdown would read as its own."""
    return text.translate(_MARKDOWN)


def _md_ranked(text: str, rank: int) -> str:
    return {1: f"**{text}**", 2: f"<u>{text}</u>"}.get(rank, text)


def _pad(text: str, width: int, is_label: bool) -> str:
    return text.ljust(width) if is_label else text.rjust(width)


def latex_text(text: str) -> str:
    """Escape what LaTeX would read as its own."""
    return text.translate(_LATEX)


def _tex_cell(table: Table, cell: Cell, n_columns: int) -> str:
    text = latex_text(table.show(cell))
    wrap = {1: r"\textbf", 2: r"\underline"}.get(cell.rank)
    text = rf"{wrap}{{{text}}}" if wrap else text
    return rf"\multicolumn{{{n_columns}}}{{c}}{{{text}}}" if n_columns > 1 else text


FORMATS: dict[str, Callable[[Table], str]] = {
    "md": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
    "html": to_html,
    "json": to_json,
}
