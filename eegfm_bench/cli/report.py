"""The verb ``report``: everything a folder of runs can say, as pages.

From: ``eegfm-bench report``. To: a folder of HTML; where it lies on standard output.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eegfm_bench.cli import show
from eegfm_bench.cli.options import Json, Runs

if TYPE_CHECKING:
    from eegfm_bench.runs.record import RunRecord
    from eegfm_bench.runs.spec import RunSpec
    from eegfm_bench.runs.store import ResultStore


def report(
    suite: Annotated[
        str | None,
        typer.Argument(metavar="SUITE", help="Its runs alone; else all of the folder."),
    ] = None,
    runs: Runs = Path(".runs"),
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Default RUNS/report. An earlier report is replaced."
        ),
    ] = None,
    imports: Annotated[
        list[Path] | None,
        typer.Option(
            "--import",
            metavar="FILE",
            help="Results of OpenEEG-Bench, neuralbench or MOABB; repeatable.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a folder of pages: tables, intervals, and a card for every cell.

    The pages need no network, no server and no JavaScript.
    """
    from eegfm_bench.report.site.pages import build_site
    from eegfm_bench.report.site.write import refuse_foreign, write_site
    from eegfm_bench.runs.store import ResultStore

    folder = out or runs / "report"
    refuse_foreign(folder)  # before the work, not after
    store = ResultStore(runs)
    imported = []
    if imports:
        from eegfm_bench.report.imports import panels

        imported = panels(imports)
    title, records, specs, missing = _asked(suite, store)
    site = build_site(
        store,
        records,
        title=title,
        specs=specs,
        missing=missing,
        imported=imported,
        blocks_as=suite or "",
    )
    about = {
        "title": title,
        "records": site.n_records,
        "cells": site.n_cells,
        "failed": site.n_failed,
    }
    n_bytes = write_site(folder, site.files, about)
    start = folder / "index.html"
    if as_json:
        more = {"bytes": n_bytes, "problems": site.problems}
        names = sorted(site.files)
        found = {"folder": str(folder), "start": str(start), **about}
        show.print_json({**found, **more, "files": names})
    else:
        for problem in site.problems:
            show.stderr().print(problem, style="bold yellow", markup=False)
        typer.echo(
            f"{start}: {site.n_records} runs in {site.n_cells} cells, "
            f"{len(site.files)} files, {n_bytes / 1024:,.0f} KiB"
        )
    if site.problems:
        raise typer.Exit(1)


Asked = tuple[str, "list[RunRecord]", "list[RunSpec] | None", "dict[str, str]"]


def _asked(name: str | None, store: ResultStore) -> Asked:
    """Return title, records, specs and what is missing."""
    from eegfm_bench.errors import DataMissing
    from eegfm_bench.sweep.notes import recall_suite
    from eegfm_bench.sweep.suite import load_suite

    records = list(store.records())
    if name is None:
        if not records:
            raise DataMissing(
                f"{store.root} holds no run. Name the folder of runs with --runs, or "
                f"make some: eegfm-bench sweep smoke"
            )
        return f"Runs in {store.root.resolve().name}", records, None, {}
    suite = load_suite(name)
    noted = recall_suite(store.root, suite.name)
    if noted is not None:
        return suite.title, records, *noted
    fitting = [
        record
        for record in records
        if record.spec.model in suite.models
        and record.spec.dataset.name in suite.datasets
        and record.spec.scale == suite.scale
        and record.spec.seed in suite.seeds
    ]
    if not fitting:
        raise DataMissing(
            f"{store.root} holds no run of the suite '{suite.name}' (scale "
            f"{suite.scale}). Make them with: eegfm-bench sweep {suite.name}"
        )
    return suite.title, fitting, None, {}
