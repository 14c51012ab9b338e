"""The verbs that train: run, sweep and gate.

From: words of a person. To: records, tables on standard output, and an exit status.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eegfm_bench.cli import show, words
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
    tables = [make_table(records, specs=result.specs)]
    tables += show.event_tables(result, records)
    if any(record.is_done for record in records):
        try:
            tables.append(subject_scores(ResultStore(runs), records))
        except StoreError as error:
            show.stderr().print(f"no scores per subject: {error}", markup=False)
    show.finish(result, records, tables, as_json)


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
    from eegfm_bench.report.render import render
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
    saved = runs / "tables" / f"{asked.name}.md"

    def save(rounds: int) -> None:
        if options.is_whole:
            show.write_whole(saved, render(show.suite_table(asked, runs), "md"))
            if rounds < len(numbers):
                show.stderr().print(f"the table with n = {rounds} stands in {saved}")

    result = show.watched(cells, numbers, options, sweep, on_round=save)
    save(len(numbers))
    records = result.records(runs)
    if options.is_whole:
        show.stderr().print(f"saved to {saved}", markup=False)
        table = show.suite_table(asked, runs)
    else:
        table = make_table(records, title=asked.title, specs=result.specs)
    show.finish(result, records, [table, *show.event_tables(result, records)], as_json)


def gate(
    suite: Annotated[
        str, typer.Argument(metavar="SUITE", help="A name, as smoke, or a path.")
    ],
    against: Annotated[
        Path, typer.Option("--against", metavar="FILE", help="Reference rows (CSV).")
    ],
    mode: Annotated[
        str,
        typer.Option(
            metavar="exact|statistical",
            help="Every score equal, or no drop beyond what seeds explain.",
        ),
    ] = "exact",
    update: Annotated[
        bool, typer.Option("--update", help="Write these rows as the new reference.")
    ] = False,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Run a suite afresh and hold its scores against reference rows."""
    import tempfile

    from eegfm_bench.report import gate as gates
    from eegfm_bench.sweep.run import Options, cores, sweep
    from eegfm_bench.sweep.suite import load_suite

    asked = load_suite(suite)
    gates.refuse_mode(mode)
    reference = None if update else gates.read_reference(against)
    # Afresh: neither windows nor records that older code wrote may answer.
    with tempfile.TemporaryDirectory(prefix="eegfm-gate-") as folder:
        with show.private_places(Path(folder) / "cache"):
            options = Options(
                device="cpu",
                jobs=jobs or cores(),
                runs=Path(folder) / "runs",
                is_portable=True,
            )
            result = show.watched(asked.cells(), list(asked.seeds), options, sweep)
        records = result.records(options.runs)
    rows = gates.reference_rows(asked.name, records, skip_failed=reference is not None)
    if reference is None:
        gates.write_reference(against, rows)
        show.stderr().print(f"{len(rows)} reference rows written to {against}")
        show.saved(against, as_json)
        return
    report = gates.compare(rows, reference, mode)
    if as_json:
        show.print_json(report.to_dict())
    else:
        typer.echo(report.to_text())
    if not report.has_passed:
        raise typer.Exit(1)
