"""What a file of another suite becomes: a table of its own, under its own protocols.

From: ``imports``, cell by cell. To: a Panel, for ``report`` and ``table --import``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eegfm_bench.report._cells import PENDING, Cell, Column, Row, Table
from eegfm_bench.report._foreign import refuse

HEADING = "results of other suites, by their own protocols: never ranked with ours"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What one file of another suite says.

    Attributes
    ----------
    system : str
        The suite.
    version : str
        As far as the file tells; ``unstated``.
    protocols : tuple of str
        Ids of the suite's own protocols, one a column's dataset.
    table : Table
        With its own rows and columns; nothing in it is ranked.
    file : path
        Where it was read from.
    """

    system: str
    version: str
    protocols: tuple[str, ...]
    table: Table
    file: Path

    @property
    def protocol(self) -> str:
        """Return the protocol id, or how many there are of which suite."""
        if len(self.protocols) == 1:
            return self.protocols[0]
        return f"{self.protocols[0].partition('/')[0]}, {len(self.protocols)} datasets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A column: a dataset as its suite calls it, its metric and its protocol."""

    dataset: str
    metric: str
    protocol: str
    is_lower_better: bool = False


Found = dict[tuple[tuple[str, ...], Place], Cell]


def made(
    file: Path,
    found: Found,
    *,
    system: str,
    version: str,
    stub: tuple[str, ...],
    caption: str,
) -> Panel:
    """Put cells into a table in the order they came, unranked."""
    if not found:
        refuse(file, "it holds no results")
    labels = dict.fromkeys(row for row, _ in found)
    places = list(dict.fromkeys(place for _, place in found))
    rows = [
        Row(
            labels=row,
            cells=tuple(found.get((row, p)) or _absent(p, row) for p in places),
        )
        for row in labels
    ]
    notes = [
        f"{' '.join(row)} on {place.dataset}: {cell.reason}."
        for (row, place), cell in found.items()
        if cell.state == "failed" or cell.is_marked
    ]
    lower = [place.dataset for place in places if place.is_lower_better]
    if lower:
        notes.append(f"Lower is better: {', '.join(lower)}.")
    protocols = tuple(dict.fromkeys(place.protocol for place in places))
    notes.append(f"Protocols of {system}, none of them ours: {', '.join(protocols)}.")
    table = Table(
        title=f"{system}: {file.name}",
        heading=HEADING,
        data="published",
        stub=stub,
        columns=tuple(Column(group=p.dataset, metric=p.metric) for p in places),
        rows=tuple(rows),
        caption=caption,
        notes=tuple(notes),
    )
    return Panel(
        system=system,
        version=version,
        protocols=protocols,
        table=table,
        file=file,
    )


def about(place: Place, row: tuple[str, ...]) -> dict[str, str]:
    """Return what a number is of; its source keeps it from being ranked with ours."""
    return {
        "source": "imported",
        "model": row[0],
        "variant": ", ".join(row[1:]),
        "dataset": place.dataset,
        "protocol": place.protocol,
        "metric": place.metric,
    }


def _absent(place: Place, row: tuple[str, ...]) -> Cell:
    whose = about(place, row)
    return Cell(state="pending", about=whose, text=PENDING, reason="not in the file")
