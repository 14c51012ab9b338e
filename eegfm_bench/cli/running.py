"""The verbs that train: run and sweep.

From: words of a person. To: records, tables on standard output, and an exit status.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eegfm_bench.cli import show, tables, words
from eegfm_bench.cli.options import (
    Adapt,
    Data,
    Device,
    Epochs,
    Force,
    Jobs,
    Json,
    Keep,
    Labels,
    Partial,
    PartialWeights,
    Retry,
    Runs,
    Settings,
    Weights,
    Yes,
)

if TYPE_CHECKING:
    from eegfm_bench.report._cells import Table


def run(
    model: Annotated[
        str, typer.Option("--model", metavar="M[,M2]", help="See 'list models'.")
    ],
    dataset: Annotated[
        str, typer.Option("--dataset", metavar="D[,D2]", help="See 'list datasets'.")
    ],
    seeds: Annotated[
        str,
        typer.Option(
            metavar="N|LIST", help="A count (5 means 0…4), or a list such as 0,3."
        ),
    ] = "5",
    data: Data = None,
    adapt: Adapt = None,
    weights: Weights = None,
    allow_partial_weights: PartialWeights = False,
    labels: Labels = None,
    keep_best: Keep = False,
    scale: Annotated[
        str,
        typer.Option(
            metavar="paper|small",
            help="The published configuration, or one that trains in seconds.",
        ),
    ] = "paper",
    epochs: Epochs = None,
    settings: Settings = None,
    device: Device = "auto",
    jobs: Jobs = None,
    runs: Runs = Path(".runs"),
    allow_partial: Partial = False,
    retry_failed: Retry = False,
    force: Force = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Train and test models on datasets; print mean ± sd over seeds.

    For instance: eegfm-bench run --model eegnet --dataset eyes --scale small
    """
    from eegfm_bench.errors import StoreError
    from eegfm_bench.report.subjects import subject_scores
    from eegfm_bench.report.table import make_table
    from eegfm_bench.runs.store import ResultStore
    from eegfm_bench.sweep.run import Options, sweep
    from eegfm_bench.sweep.specs import cells_of
    from eegfm_bench.sweep.suite import adapted

    models, datasets = words.names("--model", model), words.names("--dataset", dataset)
    given = words.given(settings, epochs)
    options = Options(
        data=data,
        allow_partial=allow_partial,
        device=device,
        jobs=jobs,
        runs=runs,
        retry_failed=retry_failed,
        force=force,
        keep_best=keep_best,
        allow_partial_weights=allow_partial_weights,
        confirm=show.confirm(yes),
    )
    cells = adapted(
        cells_of(models, datasets, scale, given),
        adapt=adapt,
        weights=words.weights(weights, models),
        labels=labels,
    )
    result = show.watched(cells, words.seeds(seeds), options, sweep)
    records = result.records(runs)
    shown = [make_table(records, specs=result.specs)]
    shown += tables.fold_tables(shown[0], records, runs)
    shown += show.event_tables(result, records)
    if any(record.is_done for record in records):
        try:
            shown.append(subject_scores(ResultStore(runs), records))
        except StoreError as error:
            show.stderr().print(f"no scores per subject: {error}", markup=False)
    show.finish(result, records, shown, as_json)


def sweep_verb(
    suite: Annotated[
        str,
        typer.Argument(
            metavar="SUITE", help="A name (see 'list suites') or the path of a file."
        ),
    ],
    only: Annotated[
        str | None,
        typer.Option(
            metavar="model=M,dataset=D",
            help="Some of the cells; a name more than once adds to it.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cells; run nothing.")
    ] = False,
    seeds: Annotated[
        str | None,
        typer.Option(metavar="N|LIST", help="A count or a list, not the suite's own."),
    ] = None,
    data: Data = None,
    adapt: Adapt = None,
    weights: Weights = None,
    allow_partial_weights: PartialWeights = False,
    labels: Labels = None,
    keep_best: Keep = False,
    scale: Annotated[
        str | None,
        typer.Option(metavar="paper|small", help="Not the suite's own scale."),
    ] = None,
    epochs: Epochs = None,
    settings: Settings = None,
    device: Device = "auto",
    jobs: Jobs = None,
    runs: Runs = Path(".runs"),
    allow_partial: Partial = False,
    retry_failed: Retry = False,
    force: Force = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Run a suite; save and print its table. What is done is not run again."""
    from eegfm_bench.datasets._spec import find_dataset
    from eegfm_bench.report.table import make_table
    from eegfm_bench.sweep.run import Options, sweep
    from eegfm_bench.sweep.specs import cells_of
    from eegfm_bench.sweep.suite import adapted, load_suite

    asked = load_suite(suite)
    given = words.given(settings, epochs)
    every = adapted(
        cells_of(
            asked.models,
            asked.datasets,
            scale or asked.scale,
            {**asked.settings, **given},
        ),
        adapt=adapt or asked.adapt,
        weights=words.weights(weights, asked.models) or asked.weights,
        labels=labels or asked.labels,
    )
    cells = words.only(every, only)
    numbers = list(asked.seeds) if seeds is None else words.seeds(seeds)
    for name in asked.datasets:
        find_dataset(name)
    if dry_run:
        show.list_cells(cells, numbers, as_json)
        return
    options = Options(
        data=data,
        allow_partial=allow_partial,
        device=device,
        jobs=jobs,
        runs=runs,
        retry_failed=retry_failed,
        force=force,
        keep_best=keep_best,
        allow_partial_weights=allow_partial_weights,
        confirm=show.confirm(yes),
        suite=asked.name,
        is_whole=len(cells) == len(every),
    )
    folder = runs / "tables"

    def made() -> list[Table]:
        table, records = tables.suite_table(asked, runs)
        return [table, *tables.fold_tables(table, records, runs)]

    def save(rounds: int) -> None:
        if options.is_whole:
            saved = tables.save_tables(folder, asked.name, made())
            if rounds < len(numbers):
                show.stderr().print(f"the table with n = {rounds} stands in {saved}")

    result = show.watched(cells, numbers, options, sweep, on_round=save)
    save(len(numbers))
    records = result.records(runs)
    if options.is_whole:
        endings = ", ".join(tables.ENDINGS.values())
        said = f"saved to {folder / asked.name}.md (and as {endings})"
        show.stderr().print(said, markup=False)
        shown = made()
    else:
        one = make_table(records, title=asked.title, specs=result.specs)
        shown = [one, *tables.fold_tables(one, records, runs)]
    shown += show.event_tables(result, records)
    show.finish(result, records, shown, as_json)
