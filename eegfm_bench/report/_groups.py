"""Which runs belong together, and which must not be mixed.

From: specs and records. To: ``table`` and ``subjects``. Two runs are seeds of one
cell only when nothing but the seed differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from eegfm_bench.errors import SpecError
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.spec import SCRATCH, RunSpec

RowKey = tuple[str, str, str, str, str]
STUB = ("model", "init", "scale", "adapt", "labels")
# What ``labels`` says of a row that may use all of them.
ALL_LABELS = "all"


@dataclass(slots=True)
class Group:
    """All that is known of one row on one dataset."""

    specs: dict[str, RunSpec] = field(default_factory=dict)
    records: list[RunRecord] = field(default_factory=list)

    @property
    def done(self) -> list[RunRecord]:
        """Records with scores, by seed."""
        return [r for r in self.records if r.is_done]

    @property
    def failed(self) -> list[RunRecord]:
        """Records without scores, by seed."""
        return [r for r in self.records if not r.is_done]


Groups = dict[tuple[RowKey, str], Group]


def row_key(spec: RunSpec) -> RowKey:
    """Return what names a row: model, init, scale, adapt, labels."""
    labels = spec.labels or ALL_LABELS
    return spec.model, spec.init, spec.scale, spec.adapt, labels


def shown_stub(rows: Iterable[RowKey]) -> list[int]:
    """Return which names of ``STUB`` a table shows.

    Model and init always are; the others where rows differ, or where how they were
    adapted is not what their start leads one to expect.
    """
    rows = list(rows)
    shown = {0, 1} | {i for i in range(len(STUB)) if len({key[i] for key in rows}) > 1}
    for _, init, _, adapt, labels in rows:
        shown |= set() if adapt == usual_adapt(init) else {STUB.index("adapt")}
        shown |= set() if labels == ALL_LABELS else {STUB.index("labels")}
    return sorted(shown)


def usual_adapt(init: str) -> str:
    """Return what is done with a start unless something else is asked for."""
    return SCRATCH if init == SCRATCH else "finetune"


def windows_key(spec: RunSpec) -> str:
    """Return what two cells must share to be ranked together.

    Models listen at rates of their own, and a protocol id ends in a hash that
    covers the rate: the hash is left out. A tenth of the labels is another question.
    """
    ref = spec.dataset
    protocol = ref.protocol.rpartition("-")[0]
    return f"{protocol} {ref.data} {ref.fingerprint} {spec.labels or 'all labels'}"


def grouped(asked: list[RunSpec], kept: list[RunRecord]) -> Groups:
    """Sort specs and records into cells, refusing unlike ones in one cell."""
    groups: Groups = {}
    for spec in asked:
        group = groups.setdefault((row_key(spec), spec.dataset.name), Group())
        group.specs[spec.run_id] = spec
    for group in groups.values():
        refuse_unlike(group.specs.values())
    for record in kept:
        groups[row_key(record.spec), record.spec.dataset.name].records.append(record)
    return groups


def checked(
    records: Iterable[RunRecord], planned: list[RunSpec] | None
) -> list[RunRecord]:
    """Keep the suite's records, each once, of one kind of recordings."""
    wanted = None if planned is None else {spec.run_id for spec in planned}
    kept = [r for r in records if wanted is None or r.run_id in wanted]
    ids = [r.run_id for r in kept]
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise SpecError(
            f"{twice[0]} is given twice and would count as two seeds. Name one runs "
            f"folder."
        )
    specs = [*(planned or []), *(r.spec for r in kept)]
    simulated = {s.dataset.name for s in specs if s.dataset.data == "simulated"}
    real = {s.dataset.name for s in specs if s.dataset.data != "simulated"}
    if simulated and real:
        raise SpecError(
            f"Simulated recordings ({', '.join(sorted(simulated))}) and real ones "
            f"({', '.join(sorted(real))}) would share a table. Make one table of each: "
            f"keep their runs in folders of their own."
        )
    return sorted(kept, key=lambda r: (r.cell_id, r.spec.seed))


def refuse_unlike(specs: Iterable[RunSpec]) -> None:
    """Refuse specs that differ in more than the seed.

    Raises
    ------
    SpecError
        Naming the fields and their values.
    """
    cells = {spec.cell_id: spec for spec in specs}
    if len(cells) < 2:
        return
    first = next(iter(cells.values()))
    flat = [_flat(spec.model_dump(mode="json")) for spec in cells.values()]
    names = [n for one in flat for n in one if n != "seed"]
    fields = []
    for name in dict.fromkeys(names):
        values = list(dict.fromkeys(repr(one.get(name, "absent")) for one in flat))
        if len(values) > 1:
            fields.append(f"`{name}` ({', '.join(values)})")
    count = {2: "Two", 3: "Three"}.get(len(cells), str(len(cells)))
    raise SpecError(
        f"{count} rows of {first.model} on {first.dataset.name} differ in "
        f"{', '.join(fields)} and would be averaged as seeds. Give one its own suite, "
        f"or name one runs folder."
    )


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
