"""Scores of every test subject alone, from stored predictions.

From: records and the predictions beside them. To: ``render``, as any table.
"""

from __future__ import annotations

from collections.abc import Iterable

from eegfm_bench.errors import DataMissing
from eegfm_bench.report._cells import PENDING, Cell, Column, Row, Table, mean_sd
from eegfm_bench.report._groups import (
    STUB,
    Group,
    RowKey,
    checked,
    grouped,
    windows_key,
)
from eegfm_bench.report._notes import PLUS_MINUS
from eegfm_bench.report.table import DIGITS, SIMULATED, about
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.store import ResultStore

# Subject to its score for each seed, None where it is undefined; and why.
BySubject = dict[str, tuple[list[float | None], list[str]]]


def subject_scores(store: ResultStore, records: Iterable[RunRecord]) -> Table:
    """Score each test subject alone: AUROC of two classes, else balanced accuracy.

    Parameters
    ----------
    store : ResultStore
        Holds ``predictions.parquet`` of every record with scores.
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
        If predictions cannot be read.
    """
    kept = [r for r in checked(records, None) if r.is_done]
    if not kept:
        raise DataMissing(
            "No run with scores is here, so no subject can be scored. Run the suite "
            "first, or name its folder with --runs."
        )
    groups = grouped([r.spec for r in kept], kept)
    scored = {key: _by_subject(store, group) for key, group in groups.items()}
    models = sorted({row for row, _ in groups})
    names = _names(models)
    lines = sorted(
        {(data, who) for (_, data), (_, per) in scored.items() for who in per},
    )
    metrics = {data: metric for (_, data), (metric, _) in scored.items()}
    columns = tuple(
        Column(group=name, metric=" or ".join(sorted(set(metrics.values()))))
        for name in names
    )
    undefined: dict[str, list[str]] = {}
    rows = []
    for dataset, who in lines:
        cells = []
        for model, name in zip(models, names, strict=True):
            group = groups.get((model, dataset), Group())
            metric, per = scored.get((model, dataset), ("", {}))
            cell = _cell(group, metric, who, per)
            cells.append(cell)
            if cell.state == "undefined":
                whose = f"{name} on {who} of {dataset}"
                undefined.setdefault(cell.reason, []).append(whose)
        rows.append(Row(labels=(dataset, who), cells=tuple(cells)))
    data = {record.spec.dataset.data for record in kept}
    return Table(
        title="Scores by subject",
        heading=SIMULATED if "simulated" in data else "",
        data=max(data),
        stub=("dataset", "subject"),
        columns=columns,
        rows=tuple(rows),
        caption=f"{PLUS_MINUS}; each subject of the test part scored alone.",
        notes=tuple(f"n/a: {', '.join(w)}: {why}." for why, w in undefined.items()),
        digits=DIGITS,
    )


def _by_subject(store: ResultStore, group: Group) -> tuple[str, BySubject]:
    """Return the metric and, for each subject, its scores over seeds."""
    from eegfm_bench.runs.predictions import read_predictions
    from eegfm_bench.training.metrics import score

    metric = ""
    found: BySubject = {}
    for record in group.done:
        path = store.path(record.run_id) / "predictions.parquet"
        index, scores_nk = read_predictions(path)
        metric = "auroc" if scores_nk.shape[1] == 2 else "balanced_accuracy"
        labels = index["label"].to_numpy("int64")
        subjects = index["subject"].astype(str).to_numpy()
        for who in sorted(set(subjects)):
            own = subjects == who
            values, reasons = score(labels[own], scores_nk[own])
            seeds, why = found.setdefault(who, ([], []))
            seeds.append(values[metric])
            if metric in reasons:
                why.append(reasons[metric])
    return metric, found


def _cell(group: Group, metric: str, who: str, per: BySubject) -> Cell:
    if who not in per:
        return Cell(state="pending", text=PENDING, reason="not run yet")
    spec = group.done[0].spec
    whose = about(spec, metric=metric, subject=who)
    seeds, why = per[who]
    values = [value for value in seeds if value is not None]
    if not values:
        reason = "; ".join(dict.fromkeys(why))
        return Cell(state="undefined", about=whose, text="n/a", reason=reason)
    mean, sd = mean_sd(values)
    return Cell(
        state="scored",
        about=whose,
        windows=windows_key(spec),
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
