"""A table as Markdown, LaTeX, CSV, HTML, JSON, or on a terminal.

From: a Table, measured or published. To: one text, or a rich renderable. Every
format says first what kind of recordings the numbers are from.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

from eegfm_bench.errors import UnknownName
from eegfm_bench.report._cells import Cell, Row, Table, metric_label
from eegfm_bench.report._console import to_console
from eegfm_bench.report._html import to_html

__all__ = ["CSV_COLUMNS", "FORMATS", "render", "to_console", "to_csv", "to_html"]
__all__ += ["latex_text", "markdown_text", "to_json", "to_latex", "to_markdown"]

CSV_COLUMNS = (
    *("data", "source", "model", "init", "scale", "adapt", "labels", "variant"),
    *("dataset", "protocol", "subject", "metric", "mean", "sd", "n"),
    *("state", "reason"),
)
_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\|*<`"} | {"\n": " "})
_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
    | {"^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"$|$"}
    | {"±": r"$\pm$", "†": r"$\dagger$", "—": "---", "–": "--", "…": r"\ldots{}"}
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
    return FORMATS[how](table)


def to_markdown(table: Table) -> str:
    """Write Markdown; best in bold, second underlined."""
    head = [*table.stub]
    head += [
        f"{c.group}: {metric_label(c.metric)}" if c.metric else c.group
        for c in table.columns
    ]
    lines = [[markdown_text(text) for text in head]]
    for row in table.rows:
        texts = zip(row.cells, table.texts(row), strict=True)
        cells = [_md_ranked(markdown_text(text), cell.rank) for cell, text in texts]
        lines.append([*map(markdown_text, row.labels), *cells])
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    n_labels = len(table.stub)
    rule = [
        "-" * w if i < n_labels else "-" * (w - 1) + ":" for i, w in enumerate(widths)
    ]
    grid = [lines[0], rule, *lines[1:]]
    parts = [f"**{table.heading}**"] if table.heading else []
    parts += [f"## {markdown_text(table.title)}"] if table.title else []
    parts.append(
        "\n".join(
            f"| {' | '.join(_pad(t, w, i < n_labels) for i, (t, w) in cells)} |"
            for cells in (enumerate(zip(g, widths, strict=True)) for g in grid)
        )
    )
    parts += [markdown_text(table.caption)] if table.caption else []
    if table.notes:
        parts.append("\n".join(f"- {markdown_text(note)}" for note in table.notes))
    return "\n\n".join(parts) + "\n"


def to_latex(table: Table) -> str:
    """Write a LaTeX table; needs the booktabs package."""
    n = len(table.stub)
    spans = table.spans()
    groups = []
    for group, remark, _, of in spans:
        named = f"{group} ({remark})" if remark else group
        groups.append(rf"\multicolumn{{{of}}}{{c}}{{{latex_text(named)}}}")
    rules = [rf"\cmidrule(lr){{{n + i + 1}-{n + i + of}}}" for _, _, i, of in spans]
    head = [*map(latex_text, table.stub)]
    head += [latex_text(metric_label(c.metric)) for c in table.columns]
    caption = " ".join(
        [
            *([rf"\textbf{{{latex_text(table.heading)}}}."] if table.heading else []),
            *([latex_text(table.title.rstrip(".") + ".")] if table.title else []),
            latex_text(table.caption),
        ]
    )
    lines = [f"% {table.heading}"] if table.heading else []
    lines += [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{{'l' * n}{'r' * len(table.columns)}}}",
        r"\toprule",
        " & ".join([""] * n + groups).strip() + r" \\",
        " ".join(rules),
        " & ".join(head) + r" \\",
        r"\midrule",
    ]
    for row in table.rows:
        cells = [_tex_cell(table, cell, of) for cell, of in table.pieces(row)]
        lines.append(" & ".join([*map(latex_text, row.labels), *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\footnotesize {latex_text(note)}" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def to_csv(table: Table) -> str:
    """Write one line per row, dataset and metric, numbers in full."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in table.rows:
        for cell in row.cells:
            writer.writerow(
                {
                    **{key: cell.about.get(key, "") for key in CSV_COLUMNS},
                    "data": cell.about.get("data", table.data),
                    "mean": "" if cell.mean is None else repr(cell.mean),
                    "sd": "" if cell.sd is None else repr(cell.sd),
                    "n": "" if cell.n is None else cell.n,
                    "state": cell.state,
                    "reason": cell.reason,
                }
            )
    return out.getvalue()


def to_json(table: Table) -> str:
    """Write one JSON document: all of the table, numbers in full."""
    fields: dict[str, Any] = {
        "heading": table.heading,
        "data": table.data,
        "title": table.title,
        "caption": table.caption,
        "columns": [
            {"group": c.group, "metric": c.metric, "remark": c.remark}
            for c in table.columns
        ],
        "rows": [_json_row(table, row) for row in table.rows],
        "notes": list(table.notes),
    }
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
            "text": table.show(cell),
            "reason": cell.reason or None,
        }
        for cell in row.cells
    ]
    return {**dict(zip(table.stub, row.labels, strict=True)), "cells": cells}


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
