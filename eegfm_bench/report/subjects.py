"""Scores of every test subject alone, from stored predictions.

From: ``scores``. To: ``render``, as any table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from eegfm_bench.errors import DataMissing, StoreError
from eegfm_bench.report import naming, scores
from eegfm_bench.report._cells import PENDING, Cell, Column, Row, Table, mean_sd
from eegfm_bench.report._groups import STUB, RowKey, checked, windows_key
from eegfm_bench.report._notes import PLUS_MINUS
from eegfm_bench.report.intervals import in_order_of_tables
from eegfm_bench.report.scores import CellKey, SubjectScores
from eegfm_bench.report.table import DIGITS, SIMULATED, about
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.store import ResultStore


def subject_scores(store: ResultStore, records: Iterable[RunRecord]) -> Table:
    """Score each test subject alone: AUROC of two classes, else balanced accuracy.

    Parameters
    ----------
    store : ResultStore
        Holds ``predictions.parquet`` of the records with scores.
    records : RunRecords
        Failed ones are left out.

    Returns
    -------
    table : Table
        A row per dataset and subject, a column per model; mean over seeds.

    Raises
    ------
    DataMissing
        If no record has scores.
    SpecError
        If unlike runs would be averaged as seeds.
    StoreError
        If predictions cannot be read, or none are here.
    """
    kept = [r for r in checked(records, None) if r.is_done]
    if not kept:
        raise DataMissing(
            "No run with scores is here, so no subject can be scored. Run the suite "
            "first, or name its folder with --runs."
        )
    metric = {r.spec.dataset.name: _metric(r) for r in kept}
    try:
        return table_of_subjects(scores.subject_scores(store, kept, metric))
    except DataMissing as error:
        raise StoreError(str(error)) from error


def table_of_subjects(cells: Mapping[CellKey, SubjectScores]) -> Table:
    """Lay out the scores of every subject, mean over seeds.

    Parameters
    ----------
    cells : mapping of (row, dataset) to SubjectScores
        One or more, all simulated or none.
    """
    rows = in_order_of_tables(row for row, _ in cells)
    called = dict(zip(rows, _names(rows), strict=True))
    metrics = sorted({cell.metric for cell in cells.values()})
    lines = sorted(
        {(d, who) for (_, d), cell in cells.items() for who in cell.subjects}
    )
    undefined: dict[str, list[str]] = {}
    body = []
    for dataset, who in lines:
        own = []
        for row in rows:
            shown = _cell(cells.get((row, dataset)), who)
            own.append(shown)
            if shown.state == "undefined":
                whose = f"{called[row]} on {who} of {dataset}"
                undefined.setdefault(shown.reason, []).append(whose)
        body.append(Row(labels=(dataset, who), cells=tuple(own)))
    notes = [f"n/a: {', '.join(w)}: {why}." for why, w in undefined.items()]
    for (row, dataset), cell in cells.items():
        notes += [
            f"Left out: {called[row]} on {dataset}, seed {seed}: {why}."
            for seed, why in cell.left_out.items()
            if why != "failed"
        ]
    data = {cell.spec.dataset.data for cell in cells.values()}
    return Table(
        title="Scores by subject",
        heading=SIMULATED if "simulated" in data else "",
        data=max(data),
        stub=("dataset", "subject"),
        columns=tuple(
            Column(group=called[row], metric=" or ".join(metrics)) for row in rows
        ),
        rows=tuple(body),
        caption=f"{PLUS_MINUS}; each subject of the test part scored alone, which says "
        f"nothing of subjects who are not here.",
        notes=tuple(notes),
        digits=DIGITS,
        names=naming.model_names(called.values())
        | naming.dataset_names({dataset for _, dataset in cells}),
    )


def _metric(record: RunRecord) -> str:
    test = (record.scores or {}).get("test", {})
    return "auroc" if "auroc" in test else "balanced_accuracy"


def _cell(found: SubjectScores | None, who: str) -> Cell:
    if found is None or who not in found.subjects:
        return Cell(state="pending", text=PENDING, reason="not run yet")
    whose = about(found.spec, metric=found.metric, subject=who)
    values_r = found.values_sr[found.subjects.index(who)]
    values = values_r[~np.isnan(values_r)].tolist()
    if not values:
        return Cell(
            state="undefined", about=whose, text="n/a", reason=found.reasons[who]
        )
    mean, sd = mean_sd(values)
    return Cell(
        state="scored",
        about=whose,
        windows=windows_key(found.spec),
        mean=mean,
        sd=sd,
        n=len(values),
    )


def _names(models: list[RowKey]) -> list[str]:
    """Name each model by what tells it from the others."""
    telling = [i for i in range(1, len(STUB)) if len({key[i] for key in models}) > 1]
    return [
        f"{key[0]} ({', '.join(key[i] for i in telling)})" if telling else key[0]
        for key in models
    ]
