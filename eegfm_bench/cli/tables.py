"""The verb ``table``: measured, published, or both; declared ones need no run.

From: a number or a suite, and a folder of runs. To: standard output, or files.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eegfm_bench.cli import show, words
from eegfm_bench.cli.options import Format, Json, OutFile, Runs
from eegfm_bench.errors import DataMissing, SpecError, UnknownName

if TYPE_CHECKING:
    from eegfm_bench.report._cells import Table
    from eegfm_bench.report.declared import Declared
    from eegfm_bench.runs.record import RunRecord
    from eegfm_bench.sweep.suite import Suite

SOURCES = ("measured", "published", "both")
# Tables of what is declared: their number, and who declares it. By name, since the
# command line itself imports no model.
DECLARED = {
    "5": ("eegfm_bench.pretraining.tables", "table_of_sources"),
    "6": ("eegfm_bench.models.trace.architecture", "architecture"),
    "7": ("eegfm_bench.pretraining.tables", "table_of_recipe"),
    "8": ("eegfm_bench.report.downstream", "table_of_datasets"),
    "9": ("eegfm_bench.runs.recipes", "table_of_recipes"),
}
# How a sweep's table is saved, and as what.
ENDINGS = {"md": "md", "latex": "tex", "csv": "csv", "html": "html", "json": "json"}


def table(
    which: Annotated[
        str,
        typer.Argument(metavar="N|SUITE", help="A table's number, or a suite."),
    ],
    how: Format = None,
    source: Annotated[
        str,
        typer.Option(
            metavar="measured|published|both",
            help="This folder's runs, the papers' numbers, or both with a verdict.",
        ),
    ] = "measured",
    average: Annotated[
        bool,
        typer.Option(
            "--average",
            help="Add means over datasets; refused where rows are not alike.",
        ),
    ] = False,
    imported: Annotated[
        list[Path] | None,
        typer.Option(
            "--import",
            metavar="FILE",
            help="Results of another suite, shown below and never ranked with ours.",
        ),
    ] = None,
    runs: Runs = Path(".runs"),
    out: OutFile = None,
    as_json: Json = False,
) -> None:
    """Show a table: mean ± sd over seeds, and all that qualifies it.

    Five tables are declared, not measured: 5, the sources of pre-training, 6, the
    architecture of Trace, 7, the recipe of pre-training, 8, the datasets, and 9, the
    recipes of training.
    """
    from eegfm_bench.report.render import FORMATS

    if how is not None and how not in FORMATS:
        raise UnknownName.among("table format", how, FORMATS)
    if source not in SOURCES:
        raise UnknownName.among("source", source, SOURCES)
    if average and source != "measured":
        raise SpecError(
            "--average is of measured rows alone: published ones are averaged by their "
            "papers. Leave --source out."
        )
    if imported and (out is not None or as_json or how is not None):
        raise SpecError(
            "--import shows other suites' results below the table on the screen. To "
            "keep them in a file: eegfm-bench report --import FILE."
        )
    declared = declared_table(which) if source == "measured" else None
    shown: Sequence[Table | Declared] = (
        [declared] if declared else tables_of(which, source, runs, average)
    )
    if out is not None:
        show.write_whole(out, text_of(shown, how or words.format_of(out)))
        show.saved(out, as_json)
    elif as_json or how is not None:
        typer.echo(text_of(shown, "json" if as_json else how or "md"))
    else:
        for place, one in enumerate(shown):
            if place:
                typer.echo()
            show.print_table(one)
        if imported:
            from eegfm_bench.cli.panels import print_panels

            print_panels(imported)


def tables_of(
    which: str, source: str, runs: Path, average: bool = False
) -> list[Table]:
    """Return a table by number or suite, and below it its folds by subject, if any.

    Raises
    ------
    DataMissing
        If no run of the suite is there.
    SpecError
        If simulated runs would stand beside published figures, or unlike rows would be
        averaged.
    UnknownName
        If there is no such table or suite.
    """
    from eegfm_bench.report.averages import with_averages
    from eegfm_bench.report.published import (
        beside_published,
        published_numbers,
        published_table,
    )
    from eegfm_bench.sweep.suite import load_suite

    if source == "measured":
        _refuse_unmeasured(which)
        shown, records = suite_table(load_suite(which), runs)
        shown = with_averages(shown) if average else shown
        return [shown, *fold_tables(shown, records, runs)]
    number = which.removeprefix("table")
    if not number.isdigit():
        raise SpecError(
            f"'{which}' has no published numbers; give a table's number, such as 1."
        )
    if number in DECLARED:
        raise SpecError(
            f"Table {number} is declared, not measured, and has no other source. Leave "
            f"--source out."
        )
    if int(number) not in published_numbers():
        known = ", ".join(map(str, published_numbers()))
        raise UnknownName(f"No published table {number}. Known: {known}.")
    if source == "published":
        return [published_table(int(number))]
    measured, _ = suite_table(load_suite(which), runs)
    return [beside_published(measured, int(number))]


def _refuse_unmeasured(which: str) -> None:
    """Refuse a number that the papers have and no suite measures.

    Raises
    ------
    SpecError
        Naming the source that has it.
    """
    from eegfm_bench.report.published import published_numbers
    from eegfm_bench.sweep.suite import suite_names

    number = which.removeprefix("table")
    if f"table{number}" in suite_names() or not number.isdigit():
        return
    if int(number) in published_numbers():
        raise SpecError(
            f"No suite measures table {number}; the paper's figures are there: "
            f"eegfm-bench table {number} --source published."
        )


def suite_table(suite: Suite, runs: Path) -> tuple[Table, list[RunRecord]]:
    """Make the table of the questions last asked for a suite, and return its records.

    Without a note of such a sweep, the folder's runs that fit the suite serve.

    Raises
    ------
    DataMissing
        If no run of the suite is there.
    """
    from eegfm_bench.report.table import make_table
    from eegfm_bench.runs.store import ResultStore
    from eegfm_bench.sweep.notes import recall_suite

    store = ResultStore(runs)
    asked = recall_suite(runs, suite.name)
    if asked is not None:
        specs, missing = asked
        records = [r for s in specs if (r := store.get(s.run_id)) is not None]
        table = make_table(
            records,
            title=suite.title,
            specs=specs,
            missing=missing,
            n_classes=_n_classes(missing),
            blocks_as=suite.name,
        )
        return table, records
    fitting = [
        record
        for record in store.records()
        if record.spec.model in suite.models
        and record.spec.dataset.name in suite.datasets
        and record.spec.scale == suite.scale
        and record.spec.seed in suite.seeds
    ]
    if not fitting:
        raise DataMissing(
            f"{runs} holds no run of the suite '{suite.name}' (scale {suite.scale}). "
            f"Make them with: eegfm-bench sweep {suite.name}"
        )
    table = make_table(
        fitting,
        title=suite.title,
        order=(*suite.models, *suite.datasets),
        blocks_as=suite.name,
    )
    if note := _without_runs(suite, fitting):
        table = replace(table, notes=(*table.notes, note))
    return table, fitting


def _without_runs(suite: Suite, fitting: Sequence[RunRecord]) -> str:
    """Say which of a suite's datasets and models have no run here; empty if none."""
    datasets = {record.spec.dataset.name for record in fitting}
    models = {record.spec.model for record in fitting}
    absent = [
        ", ".join(lacking)
        for lacking in (
            [name for name in suite.datasets if name not in datasets],
            [name for name in suite.models if name not in models],
        )
        if lacking
    ]
    if not absent:
        return ""
    return f"Of the suite {suite.name} no run is here of {'; '.join(absent)}."


def fold_tables(shown: Table, records: Sequence[RunRecord], runs: Path) -> list[Table]:
    """Return the table of folds by subject, where a table has folds with scores."""
    from eegfm_bench.datasets._folds import MARK
    from eegfm_bench.report.folding import folds_in
    from eegfm_bench.runs.store import ResultStore

    if not folds_in(shown):
        return []
    done = [r for r in records if r.is_done and MARK in r.spec.dataset.name]
    if not done:
        return []
    from eegfm_bench.report.comparisons import folds_table

    return [folds_table(done, ResultStore(runs))]


def declared_table(which: str) -> Declared | None:
    """Return a table that needs no run, by its number; None if it is not one."""
    from eegfm_bench.report._figures import contradictions_of
    from eegfm_bench.report.declared import Declared

    number = which.removeprefix("table")
    found = DECLARED.get(number)
    if found is None:
        return None
    module, function = found
    declared = Declared(**getattr(importlib.import_module(module), function)())
    try:
        more = contradictions_of(number)
    except DataMissing:  # what is declared here does not hang on what is published
        more = ()
    return replace(declared, notes=[*declared.notes, *more])


def text_of(shown: Sequence[Table | Declared], form: str) -> str:
    """Write tables in a format, the first and what belongs below it.

    In csv the first stands alone; in json the others are in its ``below``.
    """
    from eegfm_bench.report.declared import Declared, render_declared
    from eegfm_bench.report.render import render_together

    first = shown[0]
    if isinstance(first, Declared):
        return render_declared(first, form)
    return render_together([t for t in shown if not isinstance(t, Declared)], form)


def save_tables(folder: Path, name: str, shown: Sequence[Table]) -> Path:
    """Save a suite's tables in every format; return the Markdown's path."""
    for how, ending in ENDINGS.items():
        show.write_whole(folder / f"{name}.{ending}", text_of(shown, how))
    return folder / f"{name}.md"


def _n_classes(missing: Sequence[str] | dict[str, str]) -> dict[str, int]:
    """Return how many classes datasets have whose recordings are absent."""
    from eegfm_bench.datasets._spec import find_dataset

    found = {}
    for name in missing:
        try:
            found[name] = len(find_dataset(name).classes)
        except (UnknownName, SpecError, DataMissing):
            continue
    return found
