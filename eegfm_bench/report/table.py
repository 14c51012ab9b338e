"""Records become one table: a row per model, a column per dataset and metric.

From: RunRecords, and the specs of a suite where some are still to run. To:
``render``. A cell is the mean over the seeds of one question; questions that
differ are never averaged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from eegfm_bench.errors import DataMissing
from eegfm_bench.report import _notes, naming
from eegfm_bench.report._cells import (
    BINARY_SHOWN,
    EVENTS_SHOWN,
    MULTICLASS_SHOWN,
    PENDING,
    Cell,
    Column,
    Row,
    Table,
    mean_sd,
    ranked,
    short,
)
from eegfm_bench.report._groups import (
    STUB,
    Groups,
    RowKey,
    checked,
    grouped,
    row_key,
    shown_stub,
    windows_key,
)
from eegfm_bench.report.regimes import met_before
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.spec import RunSpec

SIMULATED = "simulated recordings"
DIGITS = 3
EVENTS_TITLE = "Scores of events: seizures met, and false alarms in 24 hours"


def make_table(
    records: Iterable[RunRecord],
    *,
    title: str = "",
    specs: Iterable[RunSpec] | None = None,
    missing: Mapping[str, str] | None = None,
    n_classes: Mapping[str, int] | None = None,
    of: Literal["windows", "events"] = "windows",
    order: Sequence[str] = (),
    blocks_as: str = "",
) -> Table:
    """Make the table of measured scores on the test part.

    Parameters
    ----------
    records : RunRecords
        In any order; the table does not depend on it.
    specs : RunSpecs, optional
        A suite's runs. They fix the order of rows and datasets; what has not run
        yet is shown as such, and records of other runs are left out.
    missing : mapping of dataset to reason, optional
        Datasets of the suite whose recordings are absent.
    n_classes : mapping of dataset to count, optional
        Needed only for datasets none of whose runs has scores.
    of : str
        ``windows``, or ``events``: those of datasets with something to detect.
    order : sequence of str, optional
        Keys of models and datasets as they are to follow each other where there are no
        ``specs``; models of the papers' tables follow these in the papers' order.
    blocks_as : str, optional
        A table's number or a suite's name: its columns in blocks, as in the paper.

    Raises
    ------
    DataMissing
        If there is nothing to show.
    SpecError
        If unlike runs would be averaged as seeds, a run is given twice, or
        simulated and real recordings would share the table.
    """
    planned = None if specs is None else list(specs)
    missing = dict(missing or {})
    kept = checked(records, planned)
    asked = [*(planned or []), *(r.spec for r in kept)]
    if not asked and not missing:
        raise DataMissing(
            "There are no runs to make a table of. Run the suite first, or name its "
            "folder with --runs."
        )
    groups = grouped(asked, kept)
    rows = list(dict.fromkeys(key for key, _ in groups))
    datasets = list(dict.fromkeys(dataset for _, dataset in groups))
    if planned is None:
        models = naming.in_order((key[0] for key in rows), (*order, *naming.MODELS))
        rows.sort(key=lambda key: (models.index(key[0]), key))
        datasets = naming.in_order(datasets, order)
    datasets += [name for name in sorted(missing) if name not in datasets]
    if of == "events":
        datasets = [name for name in datasets if name in has_events(kept)]
    columns = tuple(
        Column(group=d, metric=m, remark=_notes.partial_remark(groups, d))
        for d in datasets
        for m in (
            EVENTS_SHOWN if of == "events" else _metrics(groups, d, n_classes or {})
        )
    )
    table_rows = [
        Row(labels=key, cells=tuple(_cell(groups, key, c, missing) for c in columns))
        for key in rows
    ]
    varying = shown_stub(rows)
    data = {spec.dataset.data for spec in asked}
    shown = ranked(table_rows, columns, DIGITS)
    return Table(
        title=title,
        heading=SIMULATED if "simulated" in data else "",
        data=max(data, default="complete"),  # alphabetical: partial wins
        stub=tuple(STUB[i] for i in varying),
        columns=columns,
        rows=tuple(
            Row(labels=tuple(row.labels[i] for i in varying), cells=row.cells)
            for row in shown
        ),
        caption=_notes.caption(kept, asked, shown),
        notes=_notes.notes(groups, missing, shown, columns),
        digits=DIGITS,
        names=naming.model_names(k[0] for k in rows) | naming.dataset_names(datasets),
        blocks=naming.blocks_of(blocks_as, datasets) if blocks_as else (),
    )


def about(spec: RunSpec, **more: str) -> dict[str, str]:
    """Return what a number is of, as written beside it in csv and json."""
    ref = spec.dataset
    named = dict(zip(STUB, row_key(spec), strict=True))
    place = {"dataset": ref.name, "protocol": ref.protocol, "data": ref.data}
    return {"source": "measured", **named, **place, **more}


def has_events(records: Iterable[RunRecord]) -> set[str]:
    """Return the datasets whose records score events beside windows."""
    return {
        record.spec.dataset.name
        for record in records
        if EVENTS_SHOWN[0] in (record.scores or {}).get("test", {})
    }


def _metrics(
    groups: Groups, dataset: str, n_classes: Mapping[str, int]
) -> tuple[str, ...]:
    """Return the metrics shown; one nameless column where nothing tells."""
    for (_, name), group in groups.items():
        for record in group.done if name == dataset else []:
            scores = (record.scores or {}).get("test", {})
            return BINARY_SHOWN if "auroc" in scores else MULTICLASS_SHOWN
    if dataset in n_classes:
        return BINARY_SHOWN if n_classes[dataset] == 2 else MULTICLASS_SHOWN
    return ("",)


def _cell(
    groups: Groups, row: RowKey, column: Column, missing: Mapping[str, str]
) -> Cell:
    group = groups.get((row, column.group))
    if group is None:
        named = {"dataset": column.group, "metric": column.metric}
        whose = {**dict(zip(STUB, row, strict=True)), "source": "measured", **named}
    else:
        spec = next(iter(group.specs.values()))
        whose = about(spec, metric=column.metric)
    if group is None or not group.records:
        if column.group in missing:
            reason = missing[column.group]
            text = short("missing", reason)
            return Cell(state="missing", about=whose, text=text, reason=reason)
        why = "not asked" if group is None else "not run yet"
        return Cell(state="pending", about=whose, text=PENDING, reason=why)
    if not group.done:
        reason = _notes.failures(group.failed)
        message = group.failed[0].failure
        text = short("failed", message.message if message else "")
        return Cell(state="failed", about=whose, text=text, reason=reason)
    got = [(r.scores or {}).get("test", {}).get(column.metric) for r in group.done]
    values = [value for value in got if value is not None]
    if not values:
        reason = _notes.why_undefined(group.done, column.metric)
        return Cell(state="undefined", about=whose, text="n/a", reason=reason)
    mean, sd = mean_sd(values)
    doubt = _notes.qualification(group, column.metric, len(values))
    met = met_before(group.done[0])
    return Cell(
        state="scored",
        about=whose if met is None else {**whose, "regime": met.regime},
        windows=windows_key(spec),
        mean=mean,
        sd=sd,
        n=len(values),
        reason=doubt,
        is_marked=bool(doubt),
        values=tuple(values),
    )
