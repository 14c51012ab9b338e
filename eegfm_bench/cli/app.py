"""The verbs. Each imports what it needs when it runs, so ``--help`` is instant.

From: ``eegfm-bench VERB …``. To: standard output (tables, or one JSON document
with ``--json``); progress and messages go to standard error.
"""

from __future__ import annotations

import errno
import logging
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from eegfm_bench.cli import fetch as fetching
from eegfm_bench.cli import show, words

EPILOG = (
    "Exit status: 0 all done, 1 a cell failed or a check did not hold, "
    "2 bad usage or missing data, 130 interrupted."
)
INTERRUPTED = 130
app = typer.Typer(
    name="eegfm-bench",
    help="Compare EEG models under one exact protocol per dataset.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output.")
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="ROOT",
        help="The data root; else EEGFM_DATA; with neither, simulated recordings.",
    ),
]
Partial = Annotated[
    bool, typer.Option("--allow-partial", help="Subjects of a protocol may be absent.")
]
Runs = Annotated[
    Path, typer.Option("--runs", metavar="DIR", help="The folder of records.")
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", metavar="N", min=1, help="Workers; default one a core."),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Adapt = Annotated[
    str | None,
    typer.Option(
        "--adapt",
        metavar="scratch|finetune|probe|lora",
        help="Default scratch, with --weights finetune.",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option("--weights", metavar="hub|PATH", help="Start from these weights."),
]
Epochs = Annotated[
    int | None,
    typer.Option("--epochs", metavar="N", help="Instead of the recipe's."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="A recipe value or model option; repeatable."
    ),
]
Retry = Annotated[bool, typer.Option("--retry-failed", help="Run failed cells again.")]
Force = Annotated[bool, typer.Option("--force", help="Run every cell again.")]
Yes = Annotated[bool, typer.Option("--yes", help="Start what takes over an hour.")]


@app.command(epilog=EPILOG)
def run(
    model: Annotated[
        str, typer.Option("--model", metavar="M[,M2]", help="See 'list models'.")
    ],
    dataset: Annotated[
        str, typer.Option("--dataset", metavar="D[,D2]", help="See 'list datasets'.")
    ],
    seeds: Annotated[
        str, typer.Option(help="A count (5 means 0…4), or a list such as 0,3.")
    ] = "5",
    data: Data = None,
    adapt: Adapt = None,
    weights: Weights = None,
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
    """Train and test models on datasets over seeds; print mean ± sd (n)."""
    from eegfm_bench.errors import StoreError
    from eegfm_bench.report.subjects import subject_scores
    from eegfm_bench.report.table import make_table
    from eegfm_bench.runs.store import ResultStore
    from eegfm_bench.sweep.run import Options, sweep
    from eegfm_bench.sweep.specs import cells_of

    models, datasets = words.names("--model", model), words.names("--dataset", dataset)
    words.refuse_adaptation(models, adapt, weights)
    given = words.pairs(settings) | ({} if epochs is None else {"epochs": epochs})
    options = Options(
        data=data,
        allow_partial=allow_partial,
        device=device,
        jobs=jobs,
        runs=runs,
        retry_failed=retry_failed,
        force=force,
        confirm=show.confirm(yes),
    )
    cells, numbers = cells_of(models, datasets, scale, given), words.seeds(seeds)
    result = show.watched(cells, numbers, options, sweep)
    records = result.records(runs)
    tables = [make_table(records, specs=result.specs)]
    tables += show.event_tables(result, records)
    if any(record.is_done for record in records):
        try:
            tables.append(subject_scores(ResultStore(runs), records))
        except StoreError as error:
            show.stderr().print(f"no scores per subject: {error}", markup=False)
    show.finish(result, records, tables, as_json)


@app.command("sweep", epilog=EPILOG)
def sweep_verb(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A name or a path.")],
    only: Annotated[
        str | None,
        typer.Option(metavar="model=M,dataset=D", help="Some of the cells."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cells; run nothing.")
    ] = False,
    seeds: Annotated[
        str | None, typer.Option(help="A count or a list, not the suite's own.")
    ] = None,
    data: Data = None,
    adapt: Adapt = None,
    weights: Weights = None,
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
    from eegfm_bench.sweep.suite import load_suite

    asked = load_suite(suite)
    words.refuse_adaptation(asked.models, adapt, weights)
    given = words.pairs(settings) | ({} if epochs is None else {"epochs": epochs})
    every = cells_of(
        asked.models, asked.datasets, scale or asked.scale, {**asked.settings, **given}
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


@app.command(epilog=EPILOG)
def prepare(
    datasets: Annotated[str, typer.Argument(metavar="D[,D2]")],
    data: Data = None,
    allow_partial: Partial = False,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Cut windows and keep them on disk; say what was dropped, flat or absent."""
    from eegfm_bench.cli.display import Display
    from eegfm_bench.datasets._prepare import prepare as prepare_windows

    names = words.names("the datasets", datasets)
    show.say_source(data)
    found = []
    with Display(show.stderr()) as display:
        for name in names:
            store = prepare_windows(
                name,
                data=data,
                allow_partial=allow_partial,
                progress=partial(display.preparing, name),
                jobs=jobs,
            )
            found.append({**store.manifest, "path": str(store.path)})
    if as_json:
        show.print_json(found)
        return
    for manifest in found:
        typer.echo("\n".join(show.about_windows(manifest)))
        typer.echo(f"  in {manifest['path']}")


app.command(epilog=EPILOG)(fetching.fetch)


@app.command(epilog=EPILOG)
def verify(
    datasets: Annotated[str, typer.Argument(metavar="D[,D2]")],
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="ROOT", help="The data root; else EEGFM_DATA."),
    ] = None,
    allow_partial: Partial = False,
    as_json: Json = False,
) -> None:
    """Count what would be cut, from headers and annotations, against the facts."""
    from eegfm_bench.datasets._spec import find_dataset
    from eegfm_bench.datasets._verify import verify as verify_counts

    typed = words.names("the datasets", datasets)
    names = dict.fromkeys(find_dataset(name).name for name in typed)
    found = []
    for name in names:
        verified = verify_counts(name, data=data, allow_partial=allow_partial)
        found.append(verified.to_dict())
        if not as_json:  # at once: a refusal of the next must not hide it
            typer.echo("\n".join(show.about_counts(found[-1])))
    if as_json:
        show.print_json(found)
    if any(verified["verdicts"]["differs"] for verified in found):
        raise typer.Exit(1)


@app.command(epilog=EPILOG)
def table(
    which: Annotated[
        str, typer.Argument(metavar="N|SUITE", help="A table's number, or a suite.")
    ],
    how: Annotated[
        str | None, typer.Option("--format", metavar="md|latex|csv|html|json")
    ] = None,
    source: Annotated[
        str,
        typer.Option(
            metavar="measured|published|both",
            help="This folder's runs, or the papers' numbers.",
        ),
    ] = "measured",
    runs: Runs = Path(".runs"),
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it there instead.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a table: mean ± sd over seeds, with everything that qualifies it.

    Table 6 is declared, not measured: the architecture of Trace.
    """
    from eegfm_bench.errors import UnknownName

    if source not in ("measured", "published", "both"):
        raise UnknownName.among("source", source, ("measured", "published", "both"))
    declared = show.declared_table(which) if source == "measured" else None
    shown = declared or show.table_of(which, source, runs)
    if out is not None:
        show.write_whole(out, show.text_of(shown, how or words.format_of(out)))
        show.saved(out, as_json)
    elif as_json or how is not None:
        typer.echo(show.text_of(shown, "json" if as_json else how or "md"))
    else:
        show.print_table(shown)


@app.command(epilog=EPILOG)
def gate(
    suite: Annotated[str, typer.Argument(metavar="SUITE")],
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


@app.command("list", epilog=EPILOG)
def list_verb(
    what: Annotated[str, typer.Argument(metavar="models|datasets|suites")],
    as_json: Json = False,
) -> None:
    """List what there is."""
    from eegfm_bench.cli import listing

    found = listing.of(what)
    if as_json:
        show.print_json(found)
    else:
        listing.show(found)


@app.command(epilog=EPILOG)
def doctor(data: Data = None, as_json: Json = False) -> None:
    """Say what is installed, which data is found, and what is missing."""
    from eegfm_bench.cli.doctor import examine

    findings = examine(data)
    if as_json:
        show.print_json(findings)
    else:
        marks = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}
        for finding in findings:
            typer.echo(
                f"{marks[finding['verdict']]}  {finding['topic']}: {finding['text']}"
            )
    if any(finding["verdict"] == "problem" for finding in findings):
        raise typer.Exit(1)


def main() -> NoReturn:
    """Run the command line and leave with its exit status."""
    # The command line says itself what is simulated.
    logging.getLogger("eegfm_bench").setLevel(logging.ERROR)
    try:
        status = app(standalone_mode=False) or 0
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stderr.close()
        status = 0
    except Exception as error:
        refused = _refusal(error)
        if refused is None:
            raise
        status = refused
    if status == INTERRUPTED:
        text = "interrupted. What is done is kept; the same command goes on from there."
        sys.stderr.write(f"\neegfm-bench: {text}\n")
        _say_in_json(text, "Interrupted")
    sys.exit(status)


def _refusal(error: Exception) -> int | None:
    """Print a refusal and return its exit status; None for a defect of ours."""
    from eegfm_bench.errors import BenchError

    kind = type(error).__name__
    if isinstance(error, BenchError):
        sys.stderr.write(f"eegfm-bench: {error}\n")
        _say_in_json(str(error), kind)
        return error.exit_status
    if isinstance(error, OSError):
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        where = error.filename or "a file"
        text = (
            f"the disk under {where} is full. Make room and run the same command "
            f"again; what is done is kept."
            if is_full
            else f"{where}: {error.strerror or error}. Give another file or folder."
        )
        sys.stderr.write(f"eegfm-bench: {text}\n")
        _say_in_json(text, kind)
        return 2
    # Typer carries a click of its own, so its usage errors are told by shape.
    shown, status = getattr(error, "show", None), getattr(error, "exit_code", None)
    if shown is None or status is None:
        return None
    shown()
    _say_in_json(str(error), kind)
    return int(status)


def _say_in_json(text: str, kind: str) -> None:
    """Give a script its one document where the command could not."""
    if "--json" in sys.argv:
        show.print_json({"error": text, "kind": kind})
