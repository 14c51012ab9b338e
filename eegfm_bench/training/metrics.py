"""Scores of a whole part at once, from float64 class probabilities.

From: labels (N,) and scores (N, K). To: the numbers of every table. Nothing is
averaged over batches, and what cannot be computed is missing with a reason:
never 0, 0.5 or -1. Imports no torch, so reports can score subjects and events.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.errors import SignalError, SpecError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Metric = Callable[[NDArray[np.int64], NDArray[np.float64]], float]

BINARY = (
    "balanced_accuracy",
    "auroc",
    "auc_pr",
    "average_precision",
    "cohen_kappa",
    "weighted_f1",
    "log_loss",
)
MULTICLASS = (
    "balanced_accuracy",
    "cohen_kappa",
    "weighted_f1",
    "auroc_ovr_macro",
    "auc_pr_ovr_macro",
    "log_loss",
)


class UndefinedScoreError(ValueError):
    """A metric has no value on this part; the text says why."""


def score(
    labels: NDArray[np.int64],
    scores_NK: NDArray[np.float64],
    only: Collection[str] | None = None,
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Score one part.

    Parameters
    ----------
    labels : array (N,)
        True classes, 0…K-1.
    scores_NK : array (N, K)
        Class probabilities; the predicted class is the largest, and of two
        classes the second from 0.5 on.

    Returns
    -------
    values : dict
        Metric to number, or None where it is undefined.
    reasons : dict
        Metric to the reason, for every None.

    Raises
    ------
    SignalError
        If shapes disagree or a score is not finite.

    Notes
    -----
    ``auc_pr`` is the trapezoid under the precision-recall curve, as the
    published tables have it; ``average_precision`` is the step-wise sum.
    ``balanced_accuracy`` is undefined when a class has no window: its recall
    then is nobody's to know.

    Examples
    --------
    >>> y = np.array([0, 0, 1, 1])
    >>> p = np.array([0.1, 0.6, 0.4, 0.9])
    >>> values, reasons = score(y, np.stack([1 - p, p], axis=1))
    >>> values["balanced_accuracy"], values["auroc"], reasons
    (0.5, 0.75, {})
    """
    scores_NK = np.asarray(scores_NK, dtype=np.float64)
    if scores_NK.ndim != 2 or labels.shape != scores_NK.shape[:1]:
        raise SignalError(
            f"Scores of shape {scores_NK.shape} do not fit labels of shape "
            f"{labels.shape}; expected (N, K) and (N,)."
        )
    if not np.isfinite(scores_NK).all():
        bad = int((~np.isfinite(scores_NK).all(axis=1)).sum())
        raise SignalError(
            f"The scores of {bad} of {len(labels)} windows are not finite: the model "
            f"diverged. Lower its learning rate, or look at these windows."
        )
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for name in BINARY if scores_NK.shape[1] == 2 else MULTICLASS:
        if only is not None and name not in only:
            continue
        try:
            if labels.size == 0:
                raise UndefinedScoreError("the part has no windows")
            values[name] = float(_METRICS[name](labels, scores_NK))
        except UndefinedScoreError as error:
            values[name] = None
            reasons[name] = str(error)
    return values, reasons


def validation_score(
    select: str, labels: NDArray[np.int64], scores_NK: NDArray[np.float64]
) -> float:
    """Return the score that chooses an epoch or a penalty.

    The very score of the tables, so that what was chosen is what is reported.

    Raises
    ------
    SpecError
        If it is undefined on this validation part, or for this many classes.
    """
    values, reasons = score(labels, scores_NK)
    value = values.get(select)
    if value is None:
        known = ", ".join(name for name, v in values.items() if v is not None)
        why = reasons.get(select, f"there is none for {scores_NK.shape[1]} classes")
        raise SpecError(
            f"'{select}' cannot choose on the validation part: {why}. Choose one of "
            f"{known} with --set select=…, or select=last."
        )
    return value


def predicted(scores_NK: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the predicted class (N,); of two classes the second from 0.5 on."""
    if scores_NK.shape[1] == 2:
        return (scores_NK[:, 1] >= scores_NK[:, 0]).astype(np.int64)
    return scores_NK.argmax(axis=1)


def _need_all_classes(labels: NDArray[np.int64], n_classes: int) -> None:
    absent = sorted(set(range(n_classes)) - set(labels.tolist()))
    if absent:
        raise UndefinedScoreError(
            f"no window of class {', '.join(map(str, absent))} in this part"
        )


def _balanced_accuracy(
    labels: NDArray[np.int64], scores_NK: NDArray[np.float64]
) -> float:
    n_classes = scores_NK.shape[1]
    _need_all_classes(labels, n_classes)
    right = predicted(scores_NK) == labels
    return float(np.mean([right[labels == k].mean() for k in range(n_classes)]))


def _cohen_kappa(labels: NDArray[np.int64], scores_NK: NDArray[np.float64]) -> float:
    n_classes = scores_NK.shape[1]
    pairs = labels * n_classes + predicted(scores_NK)
    confusion = np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, -1)
    observed = np.trace(confusion) / labels.size
    by_chance = confusion.sum(0) @ confusion.sum(1) / labels.size**2
    if by_chance == 1:
        raise UndefinedScoreError("labels and predictions are all of one class")
    return float((observed - by_chance) / (1 - by_chance))


def _weighted_f1(labels: NDArray[np.int64], scores_NK: NDArray[np.float64]) -> float:
    guess = predicted(scores_NK)
    total = 0.0
    for k in np.unique(labels):
        hit = np.sum((guess == k) & (labels == k))
        total += (
            2 * hit / (np.sum(guess == k) + np.sum(labels == k)) * np.sum(labels == k)
        )
    return float(total / labels.size)


def _auroc_of(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, scores))


def _auc_pr_of(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    from sklearn.metrics import auc, precision_recall_curve

    precision, recall, _ = precision_recall_curve(positive, scores)
    return float(auc(recall, precision))


def _average_precision(
    labels: NDArray[np.int64], scores_NK: NDArray[np.float64]
) -> float:
    from sklearn.metrics import average_precision_score

    _need_all_classes(labels, 2)
    return float(average_precision_score(labels == 1, _margin(scores_NK)))


def _auroc(labels: NDArray[np.int64], scores_NK: NDArray[np.float64]) -> float:
    _need_all_classes(labels, 2)
    return _auroc_of(labels == 1, _margin(scores_NK))


def _auc_pr(labels: NDArray[np.int64], scores_NK: NDArray[np.float64]) -> float:
    _need_all_classes(labels, 2)
    return _auc_pr_of(labels == 1, _margin(scores_NK))


def _margin(scores_NK: NDArray[np.float64]) -> NDArray[np.float64]:
    """Order windows of two classes: p1 near 0, 1 - p0 near 1, both exact there.

    A probability of 1 - 1e-20 rounds to 1, while its complement 1e-20 does not:
    log odds keep apart what either column alone would tie.
    """
    tiny = np.finfo(np.float64).tiny
    odds = np.log(np.maximum(scores_NK, tiny))
    return odds[:, 1] - odds[:, 0]


def _over_classes(
    one: Callable[[NDArray[np.bool_], NDArray[np.float64]], float],
) -> Metric:
    def macro(labels: NDArray[np.int64], scores_NK: NDArray[np.float64]) -> float:
        n_classes = scores_NK.shape[1]
        _need_all_classes(labels, n_classes)
        return float(
            np.mean([one(labels == k, scores_NK[:, k]) for k in range(n_classes)])
        )

    return macro


def _log_loss(labels: NDArray[np.int64], scores_NK: NDArray[np.float64]) -> float:
    own = scores_NK[np.arange(labels.size), labels]
    return float(-np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean())


_METRICS: dict[str, Metric] = {
    "balanced_accuracy": _balanced_accuracy,
    "auroc": _auroc,
    "auc_pr": _auc_pr,
    "average_precision": _average_precision,
    "cohen_kappa": _cohen_kappa,
    "weighted_f1": _weighted_f1,
    "auroc_ovr_macro": _over_classes(_auroc_of),
    "auc_pr_ovr_macro": _over_classes(_auc_pr_of),
    "log_loss": _log_loss,
}
