"""What stored scores say of one cell: all that its card shows, without retraining.

From: a cell's records, ``predictions.parquet`` and ``history.csv`` beside them. To:
``card_page``. A cell is one row on one dataset, over its seeds.

Letters: N windows, K classes, S subjects, R seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eegfm_bench.errors import SignalError, StoreError
from eegfm_bench.report._groups import Group, RowKey
from eegfm_bench.report._summaries import (
    FOLDER,
    PREDICTIONS,
    Summary,
    read_kept,
    stamp_of,
    summarised,
    windows_of,
    write_kept,
)
from eegfm_bench.report.scores import main_metric
from eegfm_bench.runs.history import HISTORY, Epoch, read_history
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.store import ResultStore
from eegfm_bench.statistics.calibration import Bin, Calibration, calibration

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What is shown of subjects where no subject alone has the main score.
RIGHT = "share of windows judged right"


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """What the test windows' scores say, over all seeds that have them.

    Attributes
    ----------
    seeds : tuple of int
        The R seeds counted here.
    confusion_KK : array (K, K)
        Windows by true class (rows) and by judged class, added over seeds.
    subjects : tuple of str
        Who was tested, S names.
    metric : str
        What ``values_SR`` are.
    values_SR : array (S, R)
        Each subject's own score, NaN where it has none.
    undefined : str
        Why some subject has no main score, or nothing.
    calibrations : tuple of Calibration
        One a seed; empty where there is none, and ``uncalibrated`` says why.
    bins : tuple of Bin
        Of the windows of all seeds together.
    """

    seeds: tuple[int, ...]
    confusion_KK: NDArray[np.int64]
    subjects: tuple[str, ...]
    metric: str
    values_SR: NDArray[np.float64]
    undefined: str
    calibrations: tuple[Calibration, ...]
    bins: tuple[Bin, ...]
    uncalibrated: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How one seed was trained, epoch by epoch."""

    seed: int
    epochs: tuple[Epoch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One cell: its runs, and what is known of them beyond the table.

    ``windows`` and ``histories`` are what was found, or why there is nothing;
    ``problems`` are files that are there and cannot be read; ``unusable`` are the ids
    of runs whose predictions are among them.
    """

    row: RowKey
    dataset: str
    anchor: str
    group: Group
    windows: Windows | str
    histories: tuple[History, ...] | str
    problems: tuple[str, ...] = ()
    unusable: tuple[str, ...] = ()

    @property
    def done(self) -> list[RunRecord]:
        """Its runs with scores, by seed."""
        return self.group.done


def card_of(store: ResultStore, row: RowKey, dataset: str, group: Group) -> Card:
    """Read what lies beside a cell's records.

    A file that is absent or damaged is said on the card; it never hides the rest.
    """
    problems: list[str] = []
    unusable: list[str] = []
    return Card(
        row=row,
        dataset=dataset,
        anchor=next(iter(group.specs.values())).cell_id,
        group=group,
        windows=_windows(store, group.done, problems, unusable),
        histories=_histories(store, group.done, problems),
        problems=tuple(problems),
        unusable=tuple(unusable),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counts:
    """Of one run: confusion (K, K), share right by subject (S,), calibration."""

    confusion: list[list[int]]
    right: list[float]
    calibration: Calibration | str


def _windows(
    store: ResultStore,
    done: Sequence[RunRecord],
    problems: list[str],
    unusable: list[str],
) -> Windows | str:
    """Add up the windows of all seeds, or say why there are none."""
    if not done:
        return "No run of this cell has scores."
    found: list[tuple[int, Summary, _Counts]] = []
    metric = main_metric(done[0])
    for record in done:
        try:
            summary = summarised(store, record, metric)
            if summary is None:
                continue
            if found and found[0][1].windows != summary.windows:
                raise StoreError(
                    f"{store.path(record.run_id) / PREDICTIONS} has other windows than "
                    f"those of seed {found[0][0]}. Run the cell again with --force."
                )
            found.append((record.spec.seed, summary, _counts(store, record)))
        except StoreError as error:
            problems.append(str(error))
            unusable.append(record.run_id)
    if not found:
        if problems:
            return "The stored scores of the windows cannot be used: see above."
        return f"No {PREDICTIONS} lies beside these records: nothing to draw."
    subjects = found[0][1].subjects
    values_SR = np.array([s.values for _, s, _ in found], dtype=np.float64).T
    reasons = [why for _, s, _ in found for why in s.reasons.values()]
    if np.isnan(values_SR).all():  # what is left to see is how often it is right
        metric = RIGHT
        values_SR = np.array([c.right for _, _, c in found]).T
    said = [c.calibration for _, _, c in found]
    why_not = [c for c in said if isinstance(c, str)]
    calibrations = tuple(c for c in said if not isinstance(c, str) and not why_not)
    confusion_KK = np.array([c.confusion for _, _, c in found], np.int64).sum(axis=0)
    return Windows(
        seeds=tuple(seed for seed, _, _ in found),
        confusion_KK=confusion_KK,
        subjects=subjects,
        metric=metric,
        values_SR=values_SR,
        undefined=reasons[0] if reasons else "",
        calibrations=calibrations,
        bins=pooled_bins(calibrations),
        uncalibrated=why_not[0] if why_not else "",
    )


def pooled_bins(calibrations: Iterable[Calibration]) -> tuple[Bin, ...]:
    """Put the bins of several seeds together, as if all windows were of one.

    Examples
    --------
    >>> one = Bin(low=0.0, high=0.5, n=1, confidence=0.2, accuracy=0.0)
    >>> two = Bin(low=0.0, high=0.5, n=3, confidence=0.4, accuracy=1.0)
    >>> a, b = [Calibration(ece=0, brier=0, bins=(x,)) for x in (one, two)]
    >>> [(x.n, round(x.confidence, 3), x.accuracy) for x in pooled_bins([a, b])]
    [(4, 0.35, 0.75)]
    """
    by_place: dict[tuple[float, float], list[Bin]] = {}
    for one in calibrations:
        for b in one.bins:
            by_place.setdefault((b.low, b.high), []).append(b)
    pooled = []
    for (low, high), bins in sorted(by_place.items()):
        n = sum(b.n for b in bins)
        pooled.append(
            Bin(
                low=low,
                high=high,
                n=n,
                confidence=sum(b.n * b.confidence for b in bins) / n,
                accuracy=sum(b.n * b.accuracy for b in bins) / n,
            )
        )
    return tuple(pooled)


def _counts(store: ResultStore, record: RunRecord) -> _Counts:
    """Count one run's windows; what is counted is kept as the summaries are."""
    path = store.path(record.run_id) / PREDICTIONS
    stamp = stamp_of(path)
    kept = store.root / FOLDER / f"{record.run_id}.card.json"
    taken = _taken_up(read_kept(kept, stamp))
    if taken is not None:
        return taken
    from eegfm_bench.training.metrics import predicted

    labels, scores_NK, subjects, _ = windows_of(path)
    k = scores_NK.shape[1]
    judged = predicted(scores_NK)
    pairs = np.bincount(labels * k + judged, minlength=k * k).reshape(k, k)
    _, who = np.unique(subjects, return_inverse=True)
    right = np.bincount(who, weights=judged == labels) / np.bincount(who)
    try:
        calibrated = calibration(labels, scores_NK)
    except SignalError as error:
        raise StoreError(f"{path}: {error}") from error
    counts = _Counts(
        confusion=pairs.tolist(), right=right.tolist(), calibration=calibrated
    )
    write_kept(kept, stamp, asdict(counts))
    return counts


def _taken_up(content: Any) -> _Counts | None:
    """Make counts of what was kept."""
    if content is None:
        return None
    try:
        said = content["calibration"]
        if not isinstance(said, str):
            bins = tuple(Bin(**one) for one in said["bins"])
            said = Calibration(ece=said["ece"], brier=said["brier"], bins=bins)
        return _Counts(
            confusion=content["confusion"], right=content["right"], calibration=said
        )
    except (KeyError, TypeError):
        return None


def _histories(
    store: ResultStore, done: Sequence[RunRecord], problems: list[str]
) -> tuple[History, ...] | str:
    """Read the training of every seed, or say why there is nothing to read."""
    if not done:
        return "No run of this cell has scores."
    kind = done[0].spec.recipe.kind
    if kind != "gradient":
        how = {"closed_form": "Its head is solved for", "prior": "Nothing is trained"}
        return f"{how[kind]}: there are no epochs."
    found = []
    n_damaged = 0
    for record in done:
        file = store.path(record.run_id) / HISTORY
        if not file.exists():
            continue
        try:
            epochs = tuple(read_history(file))
            found.append(History(seed=record.spec.seed, epochs=epochs))
        except StoreError as error:
            problems.append(str(error))
            n_damaged += 1
    if found:
        return tuple(found)
    if n_damaged:
        return "The stored histories cannot be read: see above."
    return (
        f"No {HISTORY} lies beside these records: they are from before it was kept, "
        f"or were copied without it."
    )
