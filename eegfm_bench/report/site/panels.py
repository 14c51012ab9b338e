"""Which runs share a table, so that a folder of any runs can be shown whole.

From: records, and a suite's specs where one is asked for. To: ``pages``. Simulated and
real runs never share a panel, nor do unlike runs under one name.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from eegfm_bench.datasets._folds import fold_of
from eegfm_bench.errors import DataMissing
from eegfm_bench.report._cells import Table
from eegfm_bench.report._groups import Group, Groups, RowKey, _flat, grouped, row_key
from eegfm_bench.report.intervals import in_order_of_tables
from eegfm_bench.report.table import has_events, make_table
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.spec import RunSpec, canonical_json

SIMULATED = "simulated"
REAL = "real"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Runs that one table can hold, and that table.

    Attributes
    ----------
    kind : str
        ``simulated`` or ``real``.
    note : str
        Why these runs are not in the panel before, where they are not.
    table : Table
    events : Table or None
        The scores of events, where a dataset has any.
    """

    kind: str
    title: str
    note: str
    records: tuple[RunRecord, ...]
    specs: tuple[RunSpec, ...] | None
    missing: Mapping[str, str]
    groups: Groups
    table: Table
    events: Table | None

    @property
    def datasets(self) -> list[str]:
        """Its datasets, in the order of the table."""
        named = dict.fromkeys(column.group for column in self.table.columns)
        return [d for d in named if any(key[1] == d for key in self.groups)]

    def cells_of(self, dataset: str) -> list[tuple[RowKey, Group]]:
        """Return a dataset's cells, in the order they were asked for."""
        return [(row, g) for (row, name), g in self.groups.items() if name == dataset]


def panels_of(
    records: Iterable[RunRecord],
    *,
    title: str,
    specs: Sequence[RunSpec] | None = None,
    missing: Mapping[str, str] | None = None,
    blocks_as: str = "",
) -> list[Panel]:
    """Sort runs into panels, real recordings first.

    Parameters
    ----------
    records : RunRecords
        In any order.
    title : str
    specs : RunSpecs, optional
        A suite's runs: records of others are left out, and what has not run is shown.
    missing : mapping of dataset to reason, optional
        Datasets of the suite whose recordings are absent.
    blocks_as : str
        The number of the paper's table whose blocks of columns are followed.

    Raises
    ------
    DataMissing
        If there is nothing to show.
    """
    kept = sorted(records, key=lambda r: r.run_id)
    if specs is not None:
        wanted = {spec.run_id for spec in specs}
        kept = [record for record in kept if record.run_id in wanted]
    if not kept and not specs and not missing:
        raise DataMissing(
            "There are no runs to report. Run something first, or name its folder with "
            "--runs."
        )
    found: list[Panel] = []
    is_mixed = len({kind_of(s) for s in (*(specs or ()), *(r.spec for r in kept))}) > 1
    missing = dict(missing or {})
    for kind in (REAL, SIMULATED):
        asked = None if specs is None else [s for s in specs if kind_of(s) == kind]
        own = [record for record in kept if kind_of(record.spec) == kind]
        is_only = kind == SIMULATED and not found
        absent = missing if kind == REAL or is_only else {}
        if not own and not asked and not (absent and is_only):
            continue
        layers = _layers(own, asked)
        for place, (records_, specs_) in enumerate(layers or [([], asked)]):
            note = _why_apart(place, layers)
            named = _title(title, kind if is_mixed else "", place)
            found.append(_panel(kind, named, note, records_, specs_, absent, blocks_as))
            absent = {}
    return found


def _title(title: str, kind: str, place: int) -> str:
    """Name a panel as no other of the report is named."""
    named = f"{title}, {kind}" if kind else title
    if place:
        named += ": the same rows, asked otherwise"
    return f"{named} ({place})" if place > 1 else named


def kind_of(spec: RunSpec) -> str:
    """Return ``simulated`` or ``real``."""
    return SIMULATED if spec.dataset.data == "simulated" else REAL


Layer = tuple[list[RunRecord], list[RunSpec] | None]
Name = tuple[RowKey, str]


def _name(spec: RunSpec) -> Name:
    """Return what two runs must not share unless they are seeds or folds of one row."""
    base, _, n = fold_of(spec.dataset.name) or (spec.dataset.name, 0, 0)
    return row_key(spec), f"{base} over {n} folds" if n else base


def _question(spec: RunSpec) -> str:
    """Return what folds of one row have in common: all but seed and windows."""
    rest = {**json.loads(spec.identity(with_seed=False)), "dataset": spec.dataset.data}
    return canonical_json(rest)


def _layers(records: list[RunRecord], specs: list[RunSpec] | None) -> list[Layer]:
    """Part unlike runs of one name, the last finished first.

    Folds of one question stay together: their people are pooled.
    """
    finished: dict[str, str] = {}
    for r in records:
        at = r.provenance.finished_at if r.provenance else ""
        finished[r.cell_id] = max(at, finished.get(r.cell_id, ""))
    for spec in specs or ():
        finished.setdefault(spec.cell_id, "")
    asked = [*(specs or ()), *(r.spec for r in records)]
    spec_of = {spec.cell_id: spec for spec in asked}
    # Of equal age, by name: the order must not depend on that of files.
    by_age = sorted(sorted(finished), key=lambda c: finished[c], reverse=True)
    level: dict[str, int] = {}
    taken: dict[Name, list[tuple[str, int]]] = {}
    met: Counter[tuple[RowKey, str, str]] = Counter()
    for cell in by_age:
        spec = spec_of[cell]
        question = _question(spec)
        # A second one on the same dataset differs in its windows.
        place = (row_key(spec), spec.dataset.name, question)
        unit = (question, met[place])
        met[place] += 1
        units = taken.setdefault(_name(spec), [])
        if unit not in units:
            units.append(unit)
        level[cell] = units.index(unit)
    return [
        (
            [r for r in records if level[r.cell_id] == k],
            None if specs is None else [s for s in specs if level[s.cell_id] == k],
        )
        for k in range(max(level.values(), default=-1) + 1)
    ]


def _panel(
    kind: str,
    title: str,
    note: str,
    records: list[RunRecord],
    specs: list[RunSpec] | None,
    missing: Mapping[str, str],
    blocks_as: str,
) -> Panel:
    table = make_table(
        records, title=title, specs=specs, missing=missing, blocks_as=blocks_as
    )
    events = None
    if has_events(records):
        heading = f"{title}: events met, and false alarms in 24 hours"
        events = make_table(records, title=heading, specs=specs, of="events")
    asked = [*(specs or ()), *(r.spec for r in records)]
    if specs is None:
        rows = in_order_of_tables(row_key(s) for s in asked)
        asked.sort(key=lambda s: (rows.index(row_key(s)), s.dataset.name, s.seed))
    return Panel(
        kind=kind,
        title=title,
        note=note,
        records=tuple(records),
        specs=None if specs is None else tuple(specs),
        missing=missing,
        groups=grouped(asked, sorted(records, key=lambda r: (r.cell_id, r.spec.seed))),
        table=table,
        events=events,
    )


def _why_apart(place: int, layers: Sequence[Layer]) -> str:
    """Say in which fields a layer's runs differ from others under their names."""
    if not place:
        return ""
    records, specs = layers[place]
    names = {_name(s) for s in (*(specs or ()), *(r.spec for r in records))}
    values: dict[tuple[RowKey, str, str], set[str]] = {}
    for records_, specs_ in layers:
        for spec in (*(specs_ or ()), *(r.spec for r in records_)):
            row, name = _name(spec)
            if (row, name) in names:
                for field, value in _flat(spec.model_dump(mode="json")).items():
                    # Folds have windows of their own, and differ in nothing else.
                    of = spec.dataset.name if field.startswith("dataset.") else name
                    values.setdefault((row, of, field), set()).add(repr(value))
    differing = {f for (_, _, f), seen in values.items() if len(seen) > 1} - {"seed"}
    return (
        f"These runs have the names of rows above and are other questions: they differ "
        f"in {', '.join(sorted(differing))}. Their cards show each question whole."
    )
