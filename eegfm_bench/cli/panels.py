"""Results of other suites below ours: a heading, and each file's own table.

From: files that ``--import`` names. To: standard output, or plain data for ``--json``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from eegfm_bench.cli import show


def print_panels(files: Sequence[Path]) -> None:
    """Print the panels of files, below a heading that keeps them apart from ours.

    Raises
    ------
    BenchError
        If a file is none of another suite's results; nothing is printed then.
    """
    from eegfm_bench.report.imports import HEADING, panels

    found = panels(files)
    if found:
        typer.echo(f"\n{'=' * len(HEADING)}\n{HEADING}\n{'=' * len(HEADING)}")
    for panel in found:
        typer.echo(f"\n{panel.system} {panel.version}: {panel.protocol}")
        show.print_table(replace(panel.table, heading=""))


def panel_documents(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the panels of files as plain data, for ``--json``."""
    from eegfm_bench.report.imports import panels
    from eegfm_bench.report.render import render

    return [
        {
            "system": panel.system,
            "version": panel.version,
            "protocols": list(panel.protocols),
            "file": str(panel.file),
            "table": json.loads(render(panel.table, "json")),
        }
        for panel in panels(files)
    ]
