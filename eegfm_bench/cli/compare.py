"""The verb ``compare``: intervals, paired differences, ranks.

From: a runs folder with predictions. To: tables on standard output or in a file, each
with a sentence that says what its numbers cover.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eegfm_bench.cli import show, words
from eegfm_bench.cli.options import Format, Json, OutFile, Runs

if TYPE_CHECKING:
    from eegfm_bench.runs.record import RunRecord


def compare(
    suite: Annotated[
        str | None,
        typer.Argument(
            metavar="SUITE", help="Runs of this suite alone; else the whole folder."
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="ROW",
            help="The row held against every other: a model, and after colons what "
            "tells its row from others, as in trace:probe.",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="M",
            help="Of windows, higher better; default AUROC of two classes, else kappa.",
        ),
    ] = None,
    how: Format = None,
    runs: Runs = Path(".runs"),
    out: OutFile = None,
    as_json: Json = False,
) -> None:
    """Say how sure scores are, and whether one model differs from its rivals.

    People are the unit: differences are paired by person and seed, and no star comes
    from seeds alone. For instance: eegfm-bench compare smoke --against trace
    """
    from eegfm_bench.errors import UnknownName
    from eegfm_bench.report._compared_text import tables_of, text_of_all
    from eegfm_bench.report._groups import row_key
    from eegfm_bench.report.comparisons import compare as compared
    from eegfm_bench.report.comparisons import row_called
    from eegfm_bench.report.render import FORMATS
    from eegfm_bench.runs.store import ResultStore

    if how is not None and how not in FORMATS:
        raise UnknownName.among("table format", how, FORMATS)
    form = how or (words.format_of(out) if out is not None else None)
    records = _records(suite, runs)
    rows = sorted({row_key(r.spec) for r in records if r.is_done})
    found = compared(
        records,
        ResultStore(runs),
        against=None if against is None else row_called(against, rows),
        metric=metric,
    )
    if out is not None:
        show.write_whole(out, text_of_all(found, form or "md"))
        show.saved(out, as_json)
    elif as_json or form is not None:
        text = text_of_all(found, "json" if as_json else form or "md")
        typer.echo(text, nl=False)
    else:
        for place, table in enumerate(tables_of(found)):
            if place:
                typer.echo()
            show.print_table(table)


def _records(suite: str | None, runs: Path) -> list[RunRecord]:
    """Return the records asked for: of a suite, or all.

    Raises
    ------
    DataMissing
        If there are none.
    """
    from eegfm_bench.errors import DataMissing
    from eegfm_bench.runs.store import ResultStore
    from eegfm_bench.sweep.notes import recall_suite
    from eegfm_bench.sweep.suite import load_suite

    store = ResultStore(runs)
    if suite is None:
        found, remedy = list(store.records()), "Name a runs folder with --runs"
    else:
        plan = load_suite(suite)
        asked = recall_suite(runs, plan.name)
        if asked is not None:
            found = [r for s in asked[0] if (r := store.get(s.run_id)) is not None]
        else:
            found = [
                record
                for record in store.records()
                if record.spec.model in plan.models
                and record.spec.dataset.name in plan.datasets
                and record.spec.scale == plan.scale
                and record.spec.seed in plan.seeds
            ]
        remedy = f"Make them with: eegfm-bench sweep {suite}"
    if not any(record.is_done for record in found):
        of = "run" if suite is None else f"run of the suite '{suite}'"
        raise DataMissing(f"{runs} holds no {of} with scores. {remedy}.")
    return found
