"""Are stored probabilities honest? ECE, Brier score and the reliability curve.

From: labels (N,) and class probabilities (N, K) of one test part. To: a card.

Letters: N windows, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.errors import SignalError
from eegfm_bench.statistics._checks import whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

SLACK = 1e-4  # rows of float32 softmax sum to 1 within about 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Windows whose probability lies in [low, high); 1 belongs to the last bin."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How far probabilities are from what happened; bins without windows left out."""

    ece: float
    brier: float
    bins: tuple[Bin, ...]


def calibration(
    labels_N: NDArray[np.int64], scores_NK: NDArray[np.float64], *, n_bins: int = 15
) -> Calibration | str:
    """Compare probabilities with what happened, in bins of equal width.

    Of two classes, ``confidence`` is the mean probability of the second and
    ``accuracy`` its share among the bin's windows. Of more, ``confidence`` is that of
    the predicted class and ``accuracy`` the share predicted rightly.

    Parameters
    ----------
    labels_N : array (N,)
        True classes, 0…K-1.
    scores_NK : array (N, K)
        Class probabilities.
    n_bins : int
        Bins between 0 and 1.

    Returns
    -------
    calibration : Calibration or str
        ``ece`` is the mean distance of confidence and accuracy, weighted by windows.
        ``brier`` is the mean squared error of the second class's probability; of more
        classes, squared errors are summed over classes. A string says why there is
        none: no windows, or scores that are no probabilities.

    Raises
    ------
    SignalError
        If shapes disagree, a label is no class, or a score is not finite.
    SpecError
        If ``n_bins`` is below 1.

    Examples
    --------
    >>> y = np.array([0, 1, 1, 0])
    >>> p = np.array([0.2, 0.8, 0.8, 0.8])
    >>> found = calibration(y, np.stack([1 - p, p], axis=1), n_bins=2)
    >>> round(found.ece, 3), round(found.brier, 3), len(found.bins)
    (0.15, 0.19, 2)
    """
    labels, scores = checked(labels_N, scores_NK)
    whole("n_bins", n_bins, 1)
    if labels.size == 0:
        return "the part has no windows"
    if scores.min() < -SLACK or np.abs(scores.sum(axis=1) - 1).max() > SLACK:
        return (
            "the scores are no probabilities: rows do not sum to 1, or one is below 0"
        )
    n_classes = scores.shape[1]
    truth = np.eye(n_classes)[labels]
    if n_classes == 2:
        confidence, right = scores[:, 1], labels == 1
        brier = np.mean((scores[:, 1] - truth[:, 1]) ** 2)
    else:
        confidence, right = scores.max(axis=1), scores.argmax(axis=1) == labels
        brier = np.mean(np.sum((scores - truth) ** 2, axis=1))
    edges = np.linspace(0, 1, n_bins + 1)
    place = np.searchsorted(edges[1:-1], confidence, side="right")
    n = np.bincount(place, minlength=n_bins)
    said = np.bincount(place, weights=confidence, minlength=n_bins)
    came = np.bincount(place, weights=right, minlength=n_bins)
    return Calibration(
        ece=float(np.abs(said - came).sum() / labels.size),
        brier=float(brier),
        bins=tuple(
            Bin(
                low=float(edges[i]),
                high=float(edges[i + 1]),
                n=int(n[i]),
                confidence=float(said[i] / n[i]),
                accuracy=float(came[i] / n[i]),
            )
            for i in np.flatnonzero(n)
        ),
    )


def checked(
    labels_N: NDArray[np.int64], scores_NK: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return labels (N,) and scores (N, K) that fit each other.

    Raises
    ------
    SignalError
        If they do not, a label is no class, or a score is not finite.
    """
    labels, scores = np.asarray(labels_N), np.asarray(scores_NK, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] < 2 or labels.shape != scores.shape[:1]:
        raise SignalError(
            f"'scores_NK' has shape {scores.shape} and 'labels_N' {labels.shape}; "
            f"expected (N, K), K at least 2, and (N,)."
        )
    if not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores).all(axis=1)).sum())
        raise SignalError(
            f"'scores_NK' is not finite in {bad} of {len(labels)} windows: the model "
            f"diverged. Leave the run out, or look at these windows."
        )
    if labels.size and not (
        np.issubdtype(labels.dtype, np.integer)
        and labels.min() >= 0
        and labels.max() < scores.shape[1]
    ):
        raise SignalError(
            f"'labels_N' holds {labels.min()} to {labels.max()} ({labels.dtype}); "
            f"expected whole numbers from 0 to {scores.shape[1] - 1}."
        )
    return labels.astype(np.int64), scores
