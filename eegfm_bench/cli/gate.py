"""The verb ``gate``: a suite, run afresh, held against reference rows.

From: words of a person, or of CI. To: a verdict on standard output or in a file, an
exit status; with ``--update``, a new reference and its changelog line.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eegfm_bench.cli import show, words
from eegfm_bench.cli.options import Jobs, Json
from eegfm_bench.errors import SpecError, UnknownName, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eegfm_bench.report.gate import GateRow

ENDINGS = {".txt": "text", ".md": "md", ".json": "json"}


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
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="N|LIST",
            help="In statistical mode: so many that the reference has not (default: "
            "as many as it has), or these; those it has are paired.",
        ),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Write these rows as the new reference.")
    ] = False,
    because: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="With --update: which numbers move, and why; goes into the changelog.",
        ),
    ] = None,
    how: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="text|md|json",
            help="md is a summary for a pull request.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the report there too."),
    ] = None,
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
    to_file = _format(how, out)
    _refuse_unfit(mode=mode, seeds=seeds, update=update, because=because)
    reference = None
    if update:  # what is lacking is said before the suite runs, not after
        gates.refuse_no_reason(because)
        gates.find_changelog(against)
    else:
        reference = gates.read_reference(against)
        _refuse_other_suite(asked.name, reference, against)
    numbers = list(asked.seeds)
    if reference is not None and mode == "statistical":
        numbers = _seeds(seeds, reference)
    # Afresh: neither windows nor records that older code wrote may answer.
    with tempfile.TemporaryDirectory(prefix="eegfm-gate-") as folder:
        with show.private_places(Path(folder) / "cache"):
            options = Options(
                device="cpu",
                jobs=jobs or cores(),
                runs=Path(folder) / "runs",
                is_portable=True,
            )
            result = show.watched(asked.cells(), numbers, options, sweep)
        records = result.records(options.runs)
    rows = gates.reference_rows(asked.name, records, skip_failed=reference is not None)
    if reference is None:
        _update(against, rows, because or "", as_json)
        return
    report = gates.compare(
        rows, reference, mode, seeds=numbers if mode == "statistical" else None
    )
    # On the screen first: a run of minutes is not lost to a file that will not open.
    if as_json:
        show.print_json(report.to_dict())
    else:
        on_screen = "text" if out is not None else to_file
        typer.echo(gates.render_gate(report, on_screen).rstrip("\n"))
    if out is not None:
        show.write_whole(out, gates.render_gate(report, to_file).rstrip("\n") + "\n")
        show.stderr().print(f"saved to {out}", markup=False)
    if not report.has_passed:
        raise typer.Exit(1)


def _update(
    against: Path, rows: Sequence[GateRow], because: str, as_json: bool
) -> None:
    """Write the reference and the changelog line, or say that nothing differs."""
    import datetime

    from eegfm_bench.report import gate as gates

    today = datetime.datetime.now(tz=datetime.UTC).date()
    line = gates.update_reference(against, rows, because=because, today=today)
    if not line:
        text = f"{against} says the same already; neither it nor the changelog changed"
        show.stderr().print(text, markup=False)
    else:
        show.stderr().print(
            f"{len(rows)} reference rows written to {against}", markup=False
        )
        show.stderr().print(
            f"and to {gates.find_changelog(against)}, under Numbers: {line}",
            markup=False,
        )
    show.saved(against, as_json)


def _refuse_unfit(
    *, mode: str, seeds: str | None, update: bool, because: str | None
) -> None:
    if because is not None and not update:
        raise SpecError(
            "--because says why a reference changes; it goes with --update."
        )
    if seeds is not None and update:
        raise SpecError(
            "--update writes the suite's own seeds. Leave --seeds out, or change "
            "'seeds' of the suite, with a new version."
        )
    if seeds is not None and mode != "statistical":
        raise SpecError(
            "--seeds asks for other runs than the reference holds, and exact mode "
            "compares the same ones. Add --mode statistical, or leave --seeds out."
        )


def _refuse_other_suite(name: str, reference: Sequence[GateRow], against: Path) -> None:
    """Refuse before minutes of training what could only come out as missing."""
    held = sorted({row.suite for row in reference})
    if held != [name]:
        raise SpecError(
            f"{against} holds scores of the suite {listed(held)}, and '{name}' was "
            f"asked for. Name that suite, or a reference of '{name}'."
        )


def _seeds(text: str | None, reference: Sequence[GateRow]) -> list[int]:
    """Return the seeds to run: by default those that the reference has not."""
    from eegfm_bench.report import gate as gates

    if text is None:
        return gates.other_seeds(reference)
    found = words.seeds(text)
    return found if "," in text else gates.other_seeds(reference, len(found))


def _format(how: str | None, out: Path | None) -> str:
    """Return the format that was asked for, in words or by a file's ending."""
    from eegfm_bench.report._gate_report import FORMATS

    if how is not None and how not in FORMATS:
        raise UnknownName.among("gate format", how, FORMATS)
    if how is not None or out is None:
        return how or "text"
    if out.suffix not in ENDINGS:
        raise SpecError(
            f"--out {out}: the ending tells no format; use {', '.join(ENDINGS)}, or "
            f"give --format."
        )
    return ENDINGS[out.suffix]
