"""Results of other suites, on a page of their own.

From: panels that were read from others' files. To: ``Html``. They are never ranked
with ours, nor with each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eegfm_bench.report.site._markup import Child, Html, definitions, lines
from eegfm_bench.report.site.tables import table_html

if TYPE_CHECKING:
    from eegfm_bench.report.imports import Panel

BANNERS = ("Read from files of other suites: other protocols, never ranked with ours",)


def body(panels: Sequence[Panel]) -> Html:
    """Write one section for every file."""
    parts: list[Child] = []
    for panel in panels:
        parts.append(table_html(panel.table))
        parts.append(
            definitions(
                [
                    ("suite", panel.system),
                    ("version", panel.version),
                    ("file", panel.file.name),
                    ("protocols", ", ".join(panel.protocols)),
                ]
            )
        )
    return lines(parts)
