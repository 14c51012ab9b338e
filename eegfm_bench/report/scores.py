"""What every test subject scores under every seed, cell by cell.

From: records, and the predictions beside them. To: ``intervals``, ``comparisons`` and
``subjects``. A cell is one row of a table on one dataset. Two names of one person are
one person: people are what a statistic counts.

Letters: S subjects, R seeds, P people, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.errors import DataMissing, SpecError, StoreError, UnknownName, listed
from eegfm_bench.report._groups import Group, RowKey, checked, grouped
from eegfm_bench.report._summaries import (
    PREDICTIONS,
    Summary,
    drop_stale,
    summarised,
    windows_of,
)
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.spec import RunSpec
from eegfm_bench.runs.store import ResultStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eegfm_bench.statistics.intervals import Summaries

CellKey = tuple[RowKey, str]
# Of windows, higher is better: what intervals, comparisons and ranks are made of.
METRICS = (
    *("balanced_accuracy", "auroc", "auc_pr", "average_precision", "cohen_kappa"),
    *("weighted_f1", "auroc_ovr_macro", "auc_pr_ovr_macro"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectScores:
    """One metric of one cell, subject by subject and seed by seed.

    Attributes
    ----------
    record : RunRecord
        Of the first seed; the specs of the others differ in the seed alone.
    values_sr : array (S, R)
        The metric of each subject's windows alone; NaN where undefined.
    pooled_r : array (R,)
        The metric of all windows at once, as recorded; NaN where undefined.
    reasons : mapping of subject to reason
        Why a subject has no value.
    left_out : mapping of seed to reason
        Seeds that failed or have no predictions: in no number here.
    shares : tuple of K fractions
        How much of the test part each class is.
    people : tuple of S names
        The person behind each subject, under the names of all its subjects here.
    """

    row: RowKey
    dataset: str
    metric: str
    record: RunRecord
    run_ids: tuple[str, ...]
    subjects: tuple[str, ...]
    seeds: tuple[int, ...]
    values_sr: NDArray[np.float64]
    pooled_r: NDArray[np.float64]
    reasons: Mapping[str, str]
    left_out: Mapping[int, str]
    shares: tuple[float, ...]
    people: tuple[str, ...]

    def by_person(self) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """Return people, sorted, and their scores (P, R): means of their subjects'."""
        names = tuple(sorted(set(self.people)))
        if len(names) == len(self.subjects):
            order = np.argsort(np.array(self.people))
            return names, self.values_sr[order]
        rows = [_mean_r(self.values_sr[np.array(self.people) == n]) for n in names]
        return names, np.array(rows)

    @property
    def spec(self) -> RunSpec:
        """The question, of the first seed."""
        return self.record.spec

    @property
    def undefined(self) -> tuple[str, ...]:
        """Subjects without a value under any seed."""
        rows = zip(self.subjects, self.values_sr, strict=True)
        return tuple(subject for subject, own_r in rows if np.isnan(own_r).all())


def main_metric(record: RunRecord) -> str:
    """Return what a dataset is judged by: AUROC of two classes, else kappa."""
    test = (record.scores or {}).get("test", {})
    return "auroc" if "auroc" in test else "cohen_kappa"


def subject_scores(
    store: ResultStore,
    records: Iterable[RunRecord],
    metric: str | Mapping[str, str] | None = None,
) -> dict[CellKey, SubjectScores]:
    """Score the subjects of every row on every dataset.

    Parameters
    ----------
    store : ResultStore
        Holds ``predictions.parquet`` beside the records; what is made of them is kept
        there too.
    records : RunRecords
        In any order.
    metric : str or mapping of dataset to metric, optional
        For all datasets that have it; by default each dataset's main metric.

    Returns
    -------
    cells : dict of (row, dataset) to SubjectScores
        In the order of rows and datasets. A cell without a run that has both scores and
        predictions is left out, and so is one whose dataset has no such metric.

    Raises
    ------
    DataMissing
        If no cell is left.
    UnknownName
        If there is no such metric of windows where higher is better.
    SpecError
        If unlike runs would be averaged as seeds, or simulated and real ones would
        meet.
    StoreError
        If predictions are damaged, are not those of their record, or are of other
        windows than those of the cell's other seeds.
    """
    asked = [metric] if isinstance(metric, str) else list((metric or {}).values())
    for name in asked:
        if name not in METRICS:
            raise UnknownName.among("metric of windows, higher better,", name, METRICS)
    kept = checked(records, None)
    groups = grouped([r.spec for r in kept], kept)
    found = {}
    for row, dataset in sorted(groups):
        group = groups[row, dataset]
        if not group.done:
            continue
        chosen = metric if isinstance(metric, str) else (metric or {}).get(dataset)
        chosen = chosen or main_metric(group.done[0])
        if chosen in (group.done[0].scores or {}).get("test", {}):
            cell = _cell(store, row, dataset, group, chosen)
            if cell is not None:
                found[row, dataset] = cell
    drop_stale(store)
    if not found:
        what = f" in {metric}" if isinstance(metric, str) else ""
        n = sum(len(group.done) for group in groups.values())
        remedy = (
            f"Of {n} finished run{'s' * (n != 1)} none has both: put back the "
            f"predictions.parquet beside each record, or run the cells again with "
            f"--force"
            if n
            else "Run a suite first, or name its folder with --runs"
        )
        raise DataMissing(
            f"{store.root} holds no run with scores{what} and predictions, so no "
            f"subject can be scored. {remedy}."
        )
    return found


def summaries(store: ResultStore, cell: SubjectScores) -> Summaries:
    """Return what an interval over people and seeds of a cell is computed from.

    Raises
    ------
    StoreError
        If predictions are damaged.
    """
    from eegfm_bench.statistics.intervals import Summaries

    person = dict(zip(cell.subjects, cell.people, strict=True))
    read = [windows_of(store.path(i) / PREDICTIONS) for i in cell.run_ids]
    return Summaries.of(
        [labels for labels, _, _, _ in read],
        [scores_nk for _, scores_nk, _, _ in read],
        [np.array([person[s] for s in subjects]) for _, _, subjects, _ in read],
        cell.metric,
    )


def mean_over_seeds(values_pr: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each person's mean over the seeds that have one (P,), else NaN."""
    return _mean_r(values_pr.T)


def chance_of(cell: SubjectScores) -> float | None:
    """Return what a cell's metric is without any skill; None where none is agreed.

    Examples
    --------
    Kappa 0, an area under the ROC curve 0.5, balanced accuracy one over the classes,
    and the area under precision and recall the share of the positive class.
    """
    n_classes = len(cell.shares)
    known = {
        "cohen_kappa": 0.0,
        "auroc": 0.5,
        "auroc_ovr_macro": 0.5,
        "balanced_accuracy": 1 / n_classes,
        "auc_pr": cell.shares[1],
        "average_precision": cell.shares[1],
        "auc_pr_ovr_macro": 1 / n_classes,  # the mean of all classes' shares
    }
    return known.get(cell.metric)


def _cell(
    store: ResultStore, row: RowKey, dataset: str, group: Group, metric: str
) -> SubjectScores | None:
    left_out = {r.spec.seed: "failed" for r in group.failed}
    found: list[tuple[RunRecord, Summary]] = []
    for record in group.done:
        summary = summarised(store, record, metric)
        if summary is None:
            left_out[record.spec.seed] = f"no {PREDICTIONS} beside its record"
        else:
            found.append((record, summary))
    if not found:
        return None
    first_record, first = found[0]
    for record, summary in found[1:]:
        if summary.windows != first.windows:
            raise StoreError(_unlike(store, first_record, first, record, summary))
    subjects = first.subjects
    reasons: dict[str, str] = {}
    for _, summary in found:
        reasons.update(summary.reasons)
    recorded = [(r.scores or {}).get("test", {}).get(metric) for r, _ in found]
    return SubjectScores(
        row=row,
        dataset=dataset,
        metric=metric,
        record=first_record,
        run_ids=tuple(r.run_id for r, _ in found),
        subjects=subjects,
        seeds=tuple(r.spec.seed for r, _ in found),
        values_sr=np.array([s.values for _, s in found], dtype=np.float64).T,
        pooled_r=np.array(recorded, dtype=np.float64),
        reasons=reasons,
        left_out=left_out,
        shares=first.shares,
        people=_people(dataset, subjects),
    )


def _unlike(
    store: ResultStore, a: RunRecord, of_a: Summary, b: RunRecord, of_b: Summary
) -> str:
    """Say how the predictions of two seeds of one cell differ."""
    others = sorted(set(of_a.subjects) ^ set(of_b.subjects))
    how = (
        f"the subjects {listed(others)} are in one of them alone"
        if others
        else "they have the same subjects with other windows or labels"
    )
    return (
        f"{store.path(a.run_id) / PREDICTIONS} and "
        f"{store.path(b.run_id) / PREDICTIONS} are seeds of one cell and should be of "
        f"the same windows; {how}. Run both again with --force."
    )


def _people(dataset: str, subjects: tuple[str, ...]) -> tuple[str, ...]:
    """Return who each subject is; a person under several names has them all."""
    from eegfm_bench.datasets._spec import find_dataset

    try:
        human = find_dataset(dataset).person_of or str
    except (UnknownName, SpecError):  # a user's own, or a fold that is no more
        human = str
    of_person: dict[str, list[str]] = {}
    for subject in subjects:
        of_person.setdefault(human(subject), []).append(subject)
    return tuple(" = ".join(of_person[human(subject)]) for subject in subjects)


def _mean_r(values_sr: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average over rows what is there (R,); NaN where nothing is."""
    n_r = (~np.isnan(values_sr)).sum(axis=0)
    total_r = np.nansum(values_sr, axis=0)
    mean_r: NDArray[np.float64] = np.divide(
        total_r, n_r, out=np.full(n_r.shape, np.nan), where=n_r > 0
    )
    return mean_r
