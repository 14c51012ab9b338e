"""Metrics of weighted subjects, from what a sort or a count leaves behind.

From: labels, scores and subjects of one seed's test windows. To: ``Summaries``, which
asks for thousands of weightings. A weighting counts every window of subject s
w_s times; each class here returns the metric of exactly that set of windows.

Letters: N windows, S subjects, K classes, B weightings, P points of a curve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

# Of a curve, so many points and weightings at once: 3 MB, the fastest of those tried.
POINTS, WEIGHTINGS = 32, 2048


class Weighted(Protocol):
    """A metric that can be asked for any weighting."""

    def values(self, weights_BS: Floats) -> Floats:
        """Return the metric (B,), NaN where it is undefined."""
        ...


def weighted(
    labels_N: Ints, scores_NK: Floats, place_N: Ints, n_subjects: int, metric: str
) -> Weighted:
    """Return what ``metric`` needs, computed once.

    ``place_N`` is each window's subject, 0…S-1.
    """
    n_classes = scores_NK.shape[1]
    if metric in OF_CONFUSIONS:
        return _Confusions(labels_N, scores_NK, place_N, n_subjects, metric)
    if metric == "log_loss":
        return _Means(labels_N, scores_NK, place_N, n_subjects)
    one: dict[str, type[_Pairs | _Steps]] = {
        "auroc": _Pairs,
        "auc_pr": _Curve,
        "average_precision": _Steps,
    }
    kind = one[metric.removesuffix(MACRO)]
    if metric.endswith(MACRO):
        ranked = [(labels_N == k, scores_NK[:, k]) for k in range(n_classes)]
    else:
        ranked = [(labels_N == 1, margin(scores_NK))]
    return _Over([kind(is_own, x_N, place_N, n_subjects) for is_own, x_N in ranked])


def margin(scores_NK: Floats) -> Floats:
    """Order windows of two classes by log odds (N,), as the tables' AUROC does."""
    odds: Floats = np.log(np.maximum(scores_NK, np.finfo(np.float64).tiny))
    return odds[:, 1] - odds[:, 0]


def predicted(scores_NK: Floats) -> Ints:
    """Return the class (N,), of two the second from 0.5 on."""
    if scores_NK.shape[1] == 2:
        return (scores_NK[:, 1] >= scores_NK[:, 0]).astype(np.int64)
    first: Ints = scores_NK.argmax(axis=1)
    return first


class _Confusions:
    """Metrics of the confusion matrix: one matrix a subject."""

    def __init__(
        self, labels_N: Ints, scores_NK: Floats, place_N: Ints, n: int, metric: str
    ) -> None:
        self.k = scores_NK.shape[1]
        cell = (place_N * self.k + labels_N) * self.k + predicted(scores_NK)
        counts = np.bincount(cell, minlength=n * self.k**2)
        self.counts_SC = counts.reshape(n, self.k**2).astype(np.float64)
        self.formula = OF_CONFUSIONS[metric]

    def values(self, weights_BS: Floats) -> Floats:
        matrix = (weights_BS @ self.counts_SC).reshape(-1, self.k, self.k)
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.formula(matrix)


def _balanced_accuracy(matrix_BKK: Floats) -> Floats:
    right = np.diagonal(matrix_BKK, axis1=1, axis2=2)
    recall: Floats = right / matrix_BKK.sum(axis=2)  # NaN without the class
    mean: Floats = recall.mean(axis=1)
    return mean


def _cohen_kappa(matrix_BKK: Floats) -> Floats:
    total = matrix_BKK.sum(axis=(1, 2))
    seen = np.trace(matrix_BKK, axis1=1, axis2=2) / total
    chance = (matrix_BKK.sum(axis=1) * matrix_BKK.sum(axis=2)).sum(axis=1) / total**2
    kappa: Floats = np.where(chance == 1, np.nan, (seen - chance) / (1 - chance))
    return kappa


def _weighted_f1(matrix_BKK: Floats) -> Floats:
    own, guessed = matrix_BKK.sum(axis=2), matrix_BKK.sum(axis=1)
    hit = np.diagonal(matrix_BKK, axis1=1, axis2=2)
    # A class that nobody has weighs nothing.
    f1 = np.where(own > 0, 2 * hit / (own + guessed), 0)
    score: Floats = (f1 * own).sum(axis=1) / matrix_BKK.sum(axis=(1, 2))
    return score


OF_CONFUSIONS: dict[str, Callable[[Floats], Floats]] = {
    "balanced_accuracy": _balanced_accuracy,
    "cohen_kappa": _cohen_kappa,
    "weighted_f1": _weighted_f1,
}
MACRO = "_ovr_macro"


class _Means:
    """Log loss: a sum and a count a subject."""

    def __init__(
        self, labels_N: Ints, scores_NK: Floats, place_N: Ints, n: int
    ) -> None:
        own = scores_NK[np.arange(labels_N.size), labels_N]
        loss = -np.log(np.maximum(own, np.finfo(np.float64).tiny))
        self.sums_S = np.bincount(place_N, weights=loss, minlength=n)
        self.counts_S = np.bincount(place_N, minlength=n).astype(np.float64)

    def values(self, weights_BS: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            mean: Floats = weights_BS @ self.sums_S / (weights_BS @ self.counts_S)
        return mean


class _Over:
    """The mean over classes; of two classes there is one alone."""

    def __init__(self, classes: list[Weighted]) -> None:
        self.classes = classes

    def values(self, weights_BS: Floats) -> Floats:
        mean: Floats = np.mean([c.values(weights_BS) for c in self.classes], axis=0)
        return mean


class _Pairs:
    """AUROC: of each two subjects, the pairs of windows ranked rightly; ties half."""

    def __init__(
        self, is_own_N: NDArray[np.bool_], x_N: Floats, place_N: Ints, n: int
    ) -> None:
        self.positive_S = _counts(place_N[is_own_N], n)
        self.negative_S = _counts(place_N[~is_own_N], n)
        order = np.argsort(x_N[is_own_N])  # neighbours in memory are found faster
        high, whose = x_N[is_own_N][order], place_N[is_own_N][order]
        self.pairs_SS = np.zeros((n, n))
        low, at = x_N[~is_own_N], place_N[~is_own_N]
        for s in range(n):
            own = np.sort(low[at == s])
            below = np.searchsorted(own, high, side="left")
            upto = np.searchsorted(own, high, side="right")
            half = np.bincount(whose, weights=below + upto, minlength=n)
            self.pairs_SS[:, s] = half / 2

    def values(self, weights_BS: Floats) -> Floats:
        right = ((weights_BS @ self.pairs_SS) * weights_BS).sum(axis=1)
        pairs = (weights_BS @ self.positive_S) * (weights_BS @ self.negative_S)
        return _ratio(right, pairs, pairs > 0)


class _Steps:
    """Average precision: precision wherever recall rises, by how much it rises."""

    is_trapezoid = False

    def __init__(
        self, is_own_N: NDArray[np.bool_], x_N: Floats, place_N: Ints, n: int
    ) -> None:
        order = np.argsort(-x_N, kind="stable")
        x, own, place = x_N[order], is_own_N[order], place_N[order]
        tie = np.cumsum(np.r_[0, x[1:] != x[:-1]]) if x.size else np.zeros(0, int)
        has_own = np.bincount(tie, weights=own) > 0
        # Recall rises at ties of scores with a positive window alone. Row 2p holds
        # what lies between two such, row 2p + 1 the p-th itself.
        nth = np.cumsum(has_own)
        row = (2 * nth - has_own)[tie]
        self.n_points = int(has_own.sum())
        kept = row < 2 * self.n_points  # below the last positive nothing counts
        all_QS = _sparse(row[kept], place[kept], (2 * self.n_points, n))
        own_PS = _sparse(row[own] // 2, place[own], (self.n_points, n))
        self.blocks = [
            (all_QS[2 * p : 2 * (p + POINTS)], own_PS[p : p + POINTS])
            for p in range(0, self.n_points, POINTS)
        ]
        self.positive_S = _counts(place[own], n)
        self.negative_S = _counts(place[~own], n)

    def values(self, weights_BS: Floats) -> Floats:
        parts = [
            self._chunk(weights_BS[i : i + WEIGHTINGS])
            for i in range(0, len(weights_BS), WEIGHTINGS)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _chunk(self, weights_BS: Floats) -> Floats:
        w_SB = np.ascontiguousarray(weights_BS.T)
        positive, negative = self.positive_S @ w_SB, self.negative_S @ w_SB
        area = np.zeros(len(weights_BS))
        # Before any window is found precision is 1, as where the curve begins; the
        # number is lost in rounding as soon as one is.
        hits = found = np.full(len(weights_BS), 1e-300)
        for all_QS, own_PS in self.blocks:
            rise_PB, found_QB = own_PS @ w_SB, all_QS @ w_SB
            hits_PB = rise_PB.copy()
            before_PB = np.empty_like(rise_PB)
            for p in range(len(rise_PB)):  # ten times as fast as cumsum down an axis
                before_PB[p] = hits
                hits_PB[p] += hits
                found_QB[2 * p] += found
                found_QB[2 * p + 1] += found_QB[2 * p]
                hits, found = hits_PB[p], found_QB[2 * p + 1]
            height_PB = hits_PB / found_QB[1::2]
            if self.is_trapezoid:
                before_PB /= found_QB[0::2]
                height_PB += before_PB
                height_PB /= 2
            area += np.einsum("pb,pb->b", rise_PB, height_PB)
        return _ratio(area, positive, (positive > 0) & (negative > 0))


class _Curve(_Steps):
    """Area under the precision-recall curve by trapezoids, as the tables have it."""

    is_trapezoid = True


def _ratio(above_B: Floats, below_B: Floats, where_B: NDArray[np.bool_]) -> Floats:
    """Divide, NaN elsewhere."""
    out = np.full(len(above_B), np.nan)
    np.divide(above_B, below_B, out=out, where=where_B)
    return out


def _sparse(row: Ints, column: Ints, shape: tuple[int, int]) -> csr_array:
    """Count windows by point and subject."""
    from scipy.sparse import coo_array

    return coo_array((np.ones(row.size), (row, column)), shape=shape).tocsr()


def _counts(place: Ints, n: int) -> Floats:
    return np.bincount(place, minlength=n).astype(np.float64)
