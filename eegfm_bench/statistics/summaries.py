"""One cell of a table, kept so that any weighting of its subjects can be scored.

From: labels, scores and subjects of each seed's test windows. To: ``intervals``,
which weighs subjects thousands of times and never sees a window again.

Letters: N windows, S subjects, K classes, B weightings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.errors import SignalError, SpecError, UnknownName
from eegfm_bench.statistics._checks import shaped
from eegfm_bench.statistics._weighted import Weighted, weighted
from eegfm_bench.statistics.calibration import checked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

ALWAYS = ("balanced_accuracy", "cohen_kappa", "weighted_f1", "log_loss")
OF_TWO = (*ALWAYS, "auroc", "auc_pr", "average_precision")
OF_MORE = (*ALWAYS, "auroc_ovr_macro", "auc_pr_ovr_macro")


class Summaries:
    """Sufficient statistics of one cell, its seeds by test subjects, for one metric.

    Made by ``Summaries.of``. Confusion matrices for metrics of the predicted class,
    subject-by-subject pair counts for AUROC, the sorted windows for AUC-PR.

    Attributes
    ----------
    metric : str
        As ``training.metrics`` names it.
    subjects : tuple of str
        In the order of every weighting.
    n_seeds : int
        Trained models of the cell.
    """

    def __init__(
        self, seeds: Sequence[Weighted], subjects: tuple[str, ...], metric: str
    ) -> None:
        self._seeds = tuple(seeds)
        self.subjects = subjects
        self.metric = metric

    @property
    def n_seeds(self) -> int:
        """Trained models of the cell."""
        return len(self._seeds)

    @classmethod
    def of(
        cls,
        labels: Sequence[NDArray[np.int64]],
        scores_NK: Sequence[NDArray[np.float64]],
        subjects: Sequence[NDArray[np.str_]],
        metric: str,
    ) -> Summaries:
        """Summarise the stored scores of a cell.

        Parameters
        ----------
        labels, scores_NK, subjects : lists of arrays (N,), (N, K), (N,)
            One entry a seed; the windows of a seed may come in any order.
        metric : str
            Of two classes one of ``OF_TWO``, of more one of ``OF_MORE``.

        Raises
        ------
        SignalError
            If shapes disagree, a score is not finite, or two seeds were not tested on
            the same windows.
        SpecError
            If there is no seed or no window.
        UnknownName
            If there is no such metric for so many classes.
        """
        if not len(labels) == len(scores_NK) == len(subjects) > 0:
            raise SpecError(
                f"Found {len(labels)} 'labels', {len(scores_NK)} 'scores_NK' and "
                f"{len(subjects)} 'subjects'; expected one of each a seed, and a seed."
            )
        found: list[Weighted] = []
        names: NDArray[np.str_] = np.unique(np.asarray(subjects[0]).astype(str))
        census: NDArray[np.int64] | None = None
        for seed in range(len(labels)):
            y, scores = checked(labels[seed], scores_NK[seed])
            own, place = _placed(subjects[seed], y.size, seed)
            n_classes = scores.shape[1]
            known = OF_TWO if n_classes == 2 else OF_MORE
            if metric not in known:
                raise UnknownName.among(f"metric of {n_classes} classes", metric, known)
            counts = np.bincount(place * n_classes + y, minlength=own.size * n_classes)
            if census is None:
                names, census = own, counts
            elif not (np.array_equal(own, names) and np.array_equal(counts, census)):
                raise SignalError(
                    f"Entry {seed} of 'labels' and 'subjects' has other windows than "
                    f"entry 0, by subject and class. Seeds of one cell are tested on "
                    f"the same windows: give runs of one dataset, whole."
                )
            found.append(weighted(y, scores, place, own.size, metric))
        return cls(found, tuple(names.tolist()), metric)

    def value(self, seed: int, weights_S: ArrayLike) -> float | None:
        """Score one seed with each subject's windows counted ``weights_S`` times.

        Parameters
        ----------
        seed : int
            Place among the entries given, from 0.
        weights_S : array (S,)
            0 or more, in the order of ``subjects``.

        Returns
        -------
        value : float or None
            What ``training.metrics`` says of the repeated windows, to rounding;
            None where it is undefined there.

        Raises
        ------
        SpecError
            If there is no such seed, or the weights do not fit.
        """
        value = self.values(seed, shaped("weights_S", weights_S, 1)[None])[0]
        return None if np.isnan(value) else float(value)

    def values(self, seed: int, weights_BS: ArrayLike) -> NDArray[np.float64]:
        """Score one seed under many weightings (B,); NaN where undefined.

        Raises
        ------
        SpecError
            As ``value``.
        """
        if not 0 <= seed < self.n_seeds:
            raise SpecError(
                f"'seed' is {seed}; expected a place from 0 to {self.n_seeds - 1}."
            )
        weights = shaped("weights_BS", weights_BS, 2)
        if weights.shape[1] != len(self.subjects) or not (weights >= 0).all():
            raise SpecError(
                f"'weights' of shape {weights.shape} do not fit {len(self.subjects)} "
                f"subjects; expected one weight each, 0 or more."
            )
        return self._seeds[seed].values(weights)

    def estimate(self) -> float | None:
        """Return the mean over seeds of the metric over all windows, as tables have it.

        None if the metric is undefined for a seed.
        """
        once = np.ones(len(self.subjects))
        values = [self.value(seed, once) for seed in range(self.n_seeds)]
        defined = [value for value in values if value is not None]
        if len(defined) < len(values):
            return None
        return float(np.mean(defined))


def _placed(
    subjects: NDArray[np.str_], n: int, seed: int
) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """Return the names of subjects, sorted, and each window's place among them."""
    array = np.asarray(subjects).astype(str)
    if array.shape != (n,):
        raise SignalError(
            f"Entry {seed} of 'subjects' has shape {array.shape}; expected ({n},), one "
            f"for each label."
        )
    if n == 0:
        raise SpecError(f"Entry {seed} of 'labels' is empty; expected test windows.")
    names, place = np.unique(array, return_inverse=True)
    return names, place.astype(np.int64)
