"""The verbs. Each imports what it needs when it runs, so ``--help`` is instant.

From: ``eegfm-bench VERB …``. To: standard output (tables, or one JSON document
with ``--json``); progress and messages go to standard error.
"""

from __future__ import annotations

import errno
import logging
import sys
from functools import partial
from typing import Annotated, NoReturn

import typer

from eegfm_bench.cli import compare as comparing
from eegfm_bench.cli import export as exporting
from eegfm_bench.cli import fetch as fetching
from eegfm_bench.cli import gate as gating
from eegfm_bench.cli import pretrain as pretraining
from eegfm_bench.cli import report as reporting
from eegfm_bench.cli import running, show, tables, words
from eegfm_bench.cli import weights as checking
from eegfm_bench.cli.options import Data, Jobs, Json, Partial

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

app.command(epilog=EPILOG)(running.run)
app.command("sweep", epilog=EPILOG)(running.sweep_verb)


@app.command(epilog=EPILOG)
def prepare(
    datasets: Annotated[
        str, typer.Argument(metavar="D[,D2]", help="See 'list datasets'.")
    ],
    data: Data = None,
    allow_partial: Partial = False,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Cut windows onto disk; say what was dropped, flat or absent."""
    from eegfm_bench.cli.display import Display
    from eegfm_bench.datasets._prepare import prepare as prepare_windows
    from eegfm_bench.datasets._spec import find_dataset

    names = words.names("the datasets", datasets)
    for name in names:  # a misspelt one must not come up after hours
        find_dataset(name)
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
app.command(epilog=EPILOG)(checking.weights)
app.command(epilog=EPILOG)(pretraining.pretrain)


@app.command(epilog=EPILOG)
def verify(
    datasets: Annotated[
        str, typer.Argument(metavar="D[,D2]", help="See 'list datasets'.")
    ],
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="ROOT", help="The data root; else EEGFM_DATA."),
    ] = None,
    allow_partial: Partial = False,
    as_json: Json = False,
) -> None:
    """Count windows from headers and annotations, against the facts."""
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


app.command(epilog=EPILOG)(tables.table)
app.command(epilog=EPILOG)(comparing.compare)
app.command(epilog=EPILOG)(gating.gate)
app.command(epilog=EPILOG)(reporting.report)
app.command(epilog=EPILOG)(exporting.export)


@app.command("list", epilog=EPILOG)
def list_verb(
    what: Annotated[
        str, typer.Argument(metavar="models|datasets|suites", help="Which of them.")
    ],
    as_json: Json = False,
) -> None:
    """List models, datasets or suites, with all that can be set."""
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
