"""``eegfm-bench export``: a folder of runs as rows for the tools of others.

From: words of the command line. To: a CSV or Parquet file, and what was written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eegfm_bench.cli import show
from eegfm_bench.cli.options import Json, Runs


def export(
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where the rows go.")
    ],
    runs: Runs = Path(".runs"),
    how: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="csv|parquet",
            help="Else what the ending of --out says.",
        ),
    ] = None,
    predictions: Annotated[
        bool,
        typer.Option(
            "--predictions",
            help="Every test window's scores too, as Parquet beside --out.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write runs as long rows: one per run, part and metric.

    Each row carries its whole question: protocol, data, model, weights, recipe, seed;
    what it cost, and where it was made. A failed run is a row that says why.
    """
    from eegfm_bench.errors import UnknownName, listed
    from eegfm_bench.report.export import FORMATS
    from eegfm_bench.report.export import export as write

    if how is not None and how not in FORMATS:
        raise UnknownName.among("format of rows", how, FORMATS)
    done = write(runs, out, form=how, predictions=predictions)
    if as_json:
        show.print_json(done.to_dict())
        return
    failed = f", {done.n_failed} of them failed" if done.n_failed else ""
    typer.echo(f"{done.n_rows:,} rows of {done.n_runs:,} runs{failed}: {done.file}")
    if done.predictions is not None:
        typer.echo(f"{done.n_windows:,} windows: {done.predictions}")
    if done.without_predictions:
        n = len(done.without_predictions)
        show.stderr().print(
            f"{n} finished run{'s' * (n > 1)} without scores of windows: "
            f"{listed(done.without_predictions, most=4)}",
            style="bold yellow",
            markup=False,
        )
