"""The published figures: read, checked, and shown as the papers have them.

From: ``results/published``. To: ``render``, alone or beside what was measured, with a
verdict on every measured cell that can have one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from eegfm_bench.errors import SpecError, UnknownName
from eegfm_bench.report import naming
from eegfm_bench.report._cells import (
    BINARY_SHOWN,
    MULTICLASS_SHOWN,
    PENDING,
    Cell,
    Column,
    Row,
    Table,
    ranked,
)
from eegfm_bench.report._figures import (
    PAPER,
    PublishedRow,
    contradictions_of,
    load_methods,
    load_published,
    model_keys,
)
from eegfm_bench.report.verdicts import gloss, judged, verdict_notes, why_no_verdict

__all__ = ["PublishedRow", "beside_published", "load_published", "model_keys"]
__all__ += ["published_numbers", "published_table"]

HEADING = "published figures, not measured here"
METRIC_ORDER = tuple(dict.fromkeys((*BINARY_SHOWN, *MULTICLASS_SHOWN)))
DIGITS = 4


def published_numbers(folder: Path | None = None) -> list[int]:
    """Return the numbers of the tables that can be shown."""
    rows = load_published(folder)
    return sorted({int(row.table) for row in rows if row.paper == PAPER})


def published_table(number: int, folder: Path | None = None) -> Table:
    """Return a table of the Trace paper as published.

    Raises
    ------
    UnknownName
        If no figure of that table is here.
    """
    rows = _figures_of(number, folder)
    has_variants = {row.variant for row in rows} != {"main"}
    columns = tuple(
        Column(group=dataset, metric=metric)
        for dataset in dict.fromkeys(row.dataset for row in rows)
        for metric in METRIC_ORDER
        if any((row.dataset, row.metric) == (dataset, metric) for row in rows)
    )
    by_place = {(r.method, r.variant, r.dataset, r.metric): r for r in rows}
    lines = [
        Row(
            labels=(method, variant) if has_variants else (method,),
            cells=tuple(
                _cell(by_place.get((method, variant, c.group, c.metric)), c, method)
                for c in columns
            ),
        )
        for method, variant in dict.fromkeys((r.method, r.variant) for r in rows)
    ]
    datasets = list(dict.fromkeys(column.group for column in columns))
    return Table(
        title=f"Table {number} of {PAPER}",
        heading=HEADING,
        data="published",
        stub=("method", "variant") if has_variants else ("method",),
        columns=columns,
        rows=tuple(ranked(lines, columns, DIGITS)),
        caption="± is the standard deviation over seeds as printed, n = seeds; bold "
        "is the best of a column, underlined the second.",
        notes=(*_notes(rows), *_quoted(rows), *contradictions_of(number, folder)),
        digits=DIGITS,
        names=naming.dataset_names(datasets),
        blocks=naming.blocks_of(str(number), datasets),
    )


def beside_published(measured: Table, number: int, folder: Path | None = None) -> Table:
    """Return one table: each model's published row, its measured ones, and verdicts.

    Published and measured figures are ranked apart. A row of verdicts stands below
    every measured row of a published method; csv and json have them in the measured
    cells.

    Raises
    ------
    SpecError
        If the measured rows are of simulated recordings: they never stand beside
        published ones.
    UnknownName
        If no figure of that table is here.
    """
    if measured.data == "simulated" or any(
        cell.about.get("data") == "simulated"
        for row in measured.rows
        for cell in row.cells
    ):
        raise SpecError(
            "These runs are of simulated recordings, which never stand beside "
            "published numbers. Run the suite with --data ROOT, or ask for --source "
            "measured or --source published alone."
        )
    paper = published_table(number, folder)
    keys = model_keys(folder)
    measured, glosses, said = _with_verdicts(measured, number, folder)
    named = {c.group for c in paper.columns}
    columns = _together(
        [
            *(c for c in measured.columns if c.metric or c.group not in named),
            *paper.columns,
        ]
    )
    stub = ("model", "source", *measured.stub[1:])
    stub += tuple(name for name in paper.stub[1:])
    blank = [""] * (len(measured.stub) - 1)
    more = [""] * (len(paper.stub) - 1)
    rows = []
    for row in paper.rows:
        method, *variant = row.labels
        labels = (keys.get(method, method), "published", *blank, *variant)
        rows.append(_spread(row, labels, paper.columns, columns))
    for row, below in zip(measured.rows, glosses, strict=True):
        model, *rest = row.labels
        labels = (model, "measured", *rest, *more)
        rows.append(_spread(row, labels, measured.columns, columns))
        if below is not None:
            labels = (model, "verdict", *blank, *more)
            spread = _spread(below, labels, measured.columns, columns)
            rows.append(replace(spread, is_gloss=True))
    order = list(dict.fromkeys(row.labels[0] for row in rows))
    rows.sort(key=lambda row: order.index(row.labels[0]))
    notes = [*said, *measured.notes, *(f"published: {note}" for note in paper.notes)]
    datasets = list(dict.fromkeys(column.group for column in columns))
    return replace(
        measured,
        stub=stub,
        columns=tuple(columns),
        rows=tuple(ranked(rows, tuple(columns), DIGITS)),
        caption=f"{measured.caption} Published rows: {PAPER}, table {number}; they "
        f"are ranked apart.",
        notes=(*notes, f"{PENDING} stands where there is no figure."),
        digits=DIGITS,
        names={**measured.names, **paper.names, **naming.model_names(keys.values())},
        blocks=naming.blocks_of(str(number), datasets),
    )


def _with_verdicts(
    measured: Table, number: int, folder: Path | None
) -> tuple[Table, list[Row | None], tuple[str, ...]]:
    """Judge every measured cell; return the table, rows of verdicts, and notes."""
    methods = {m.name: m for m in load_methods(folder)}
    figures: dict[tuple[str, str, str], PublishedRow] = {}
    starts: dict[str, str] = {}
    for figure in _figures_of(number, folder):
        method = methods[figure.method]
        if method.model_key and figure.variant == "main":
            figures[method.model_key, figure.dataset, figure.metric] = figure
            starts[method.model_key] = method.start
    datasets = {dataset for _, dataset, _ in figures}
    rows, glosses, whys = [], [], dict[str, int]()
    for row in measured.rows:
        model = row.labels[0]
        cells, below = [], []
        for column, cell in zip(measured.columns, row.cells, strict=True):
            twin = figures.get((model, column.group, column.metric))
            why = why_no_verdict(cell, twin, starts.get(model, ""))
            if model not in starts or column.group not in datasets:
                below.append(gloss(cell, ""))
            else:
                if twin is not None and not why:
                    cell = replace(cell, verdict=judged(cell, twin))
                elif cell.mean is not None:
                    whys[why] = whys.get(why, 0) + 1
                below.append(gloss(cell, why))
            cells.append(cell)
        rows.append(replace(row, cells=tuple(cells)))
        is_judged = model in starts and any(cell.text for cell in below)
        glosses.append(
            Row(labels=row.labels, cells=tuple(below)) if is_judged else None
        )
    said = verdict_notes((cell for row in rows for cell in row.cells), whys)
    return replace(measured, rows=tuple(rows)), glosses, said


def _figures_of(number: int, folder: Path | None) -> list[PublishedRow]:
    found = [row for row in load_published(folder) if row.paper == PAPER]
    rows = [row for row in found if row.table == str(number)]
    if not rows:
        known = sorted({row.table for row in found}, key=int)
        raise UnknownName(
            f"No published table has number {number}. Known: {', '.join(known)}."
        )
    return rows


def _together(columns: list[Column]) -> list[Column]:
    """Put the columns of one dataset side by side, each once."""
    once = list({(c.group, c.metric): c for c in reversed(columns)}.values())[::-1]
    groups = list(dict.fromkeys(c.group for c in columns))
    return sorted(once, key=lambda c: groups.index(c.group))


def _spread(
    row: Row,
    labels: tuple[str, ...],
    own: Sequence[Column],
    columns: Iterable[Column],
) -> Row:
    """Put a row's cells under the columns of a wider table, unranked."""
    place = {(c.group, c.metric): x for c, x in zip(own, row.cells, strict=True)}
    whose = {"model": labels[0], "source": labels[1]}
    cells = []
    for c in columns:
        about = {**whose, "dataset": c.group, "metric": c.metric}
        none = Cell(state="pending", about=about, text=PENDING, reason="no figure")
        cell = place.get((c.group, c.metric), place.get((c.group, ""), none))
        cells.append(replace(cell, rank=0))
    return Row(labels=labels, cells=tuple(cells))


def _cell(row: PublishedRow | None, column: Column, method: str) -> Cell:
    about = {"source": "published", "data": "published", "model": method}
    about |= {"dataset": column.group, "metric": column.metric}
    if row is None:
        return Cell(state="pending", about=about, text=PENDING, reason="not published")
    return Cell(
        state="scored",
        about={
            **about,
            "variant": row.variant,
            "protocol": row.protocol,
            "quoted_from": row.quoted_from,
        },
        mean=row.mean,
        sd=row.sd,
        n=row.n_seeds,
        reason=row.note,
    )


def _notes(rows: list[PublishedRow]) -> tuple[str, ...]:
    """Gather remarks, each with the figures it is about."""
    found: dict[str, dict[str, dict[str, None]]] = {}
    for row in rows:
        for remark in filter(None, row.note.split("; ")):
            whose = found.setdefault(remark, {})
            whose.setdefault(row.method, {}).setdefault(row.dataset)
    n_places = len({(row.method, row.dataset) for row in rows})
    notes = []
    for remark, whose in found.items():
        who = "; ".join(f"{method} on {', '.join(on)}" for method, on in whose.items())
        is_all = sum(map(len, whose.values())) == n_places
        notes.append(f"{remark}." if is_all else f"{who}: {remark}.")
    return tuple(notes)


def _quoted(rows: list[PublishedRow]) -> tuple[str, ...]:
    """Say which figures were copied from which paper, and whose protocols are open."""
    counts: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.quoted_from:
            counts.setdefault(row.quoted_from, {}).setdefault(row.method)
    notes = []
    for paper, methods in counts.items():
        n = sum(row.quoted_from == paper for row in rows)
        notes.append(
            f"quoted, not run again: {n} figures of {', '.join(methods)} are those of "
            f"{paper}."
        )
    open_ = dict.fromkeys(
        f"{row.method} on {row.dataset}"
        for row in rows
        if not row.protocol and row.dataset != "average"
    )
    if open_:
        notes.append(f"protocol not stated well enough: {'; '.join(open_)}.")
    return tuple(notes)
