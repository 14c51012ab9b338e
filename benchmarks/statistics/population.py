"""A population of subjects and seeds whose true scores are known in closed form.

From: the sizes of its effects. To: simulated test parts (labels, scores, subjects),
and the number an interval is to cover. All of it is simulated.

Letters: S subjects, R seeds, N windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr


@dataclass(frozen=True)
class Population:
    """A model's score of a window: normal, around a mean set by class and subject.

    In units of the spread of one subject's windows. A window of the second class
    lies ``gap`` higher on average; the sds are of the gap over subjects, seeds and
    both, and of an offset of all windows of a subject, or of a seed.
    """

    gap: float = 1.0
    gap_by_subject: float = 0.5
    gap_by_seed: float = 0.1
    gap_by_both: float = 0.15
    offset_by_subject: float = 0.5
    offset_by_seed: float = 0.1

    @property
    def gap_variance(self) -> float:
        """Variance of the gap over new subjects and seeds."""
        return self.gap_by_subject**2 + self.gap_by_seed**2 + self.gap_by_both**2

    def auroc(self) -> float:
        """Return AUROC over all subjects pooled, expected over seeds."""
        # Two windows of two subjects: offsets of a seed cancel, of subjects do not.
        spread = 2 * (1 + self.offset_by_subject**2) + self.gap_variance
        return float(ndtr(self.gap / math.sqrt(spread)))

    def balanced_accuracy(self) -> float:
        """Return balanced accuracy with the threshold midway, expected over seeds."""
        offsets = 1 + self.offset_by_subject**2 + self.offset_by_seed**2
        sensitivity = ndtr(self.gap / 2 / math.sqrt(offsets + self.gap_variance))
        specificity = ndtr(self.gap / 2 / math.sqrt(offsets))
        return float((sensitivity + specificity) / 2)

    def draw(self, rng: np.random.Generator, n_subjects: int) -> Part:
        """Draw subjects and their windows; some have more, and more of a class."""
        n = rng.integers(30, 91, n_subjects)
        subject_N = np.repeat(np.arange(n_subjects), n)
        share_S = rng.uniform(0.3, 0.7, n_subjects)
        label_N = (rng.random(subject_N.size) < share_S[subject_N]).astype(np.int64)
        own = rng.standard_normal((2, n_subjects))
        base_N = (
            self.offset_by_subject * own[0, subject_N]
            + label_N * (self.gap + self.gap_by_subject * own[1, subject_N])
            # Half of a window's noise is the window's, half the trained model's.
            + math.sqrt(0.5) * rng.standard_normal(subject_N.size)
        )
        return Part(self, subject_N, label_N, base_N)


@dataclass(frozen=True)
class Part:
    """The windows (N,) of one test part, before any model has been trained."""

    population: Population
    subjects: np.ndarray
    labels: np.ndarray
    base: np.ndarray

    def logits(self, rng: np.random.Generator, n_seeds: int) -> np.ndarray:
        """Return what so many trained models say (R, N); 0 is the threshold."""
        p = self.population
        n_subjects = self.subjects[-1] + 1
        both_RS = p.gap_by_both * rng.standard_normal((n_seeds, n_subjects))
        gap_R1 = p.gap_by_seed * rng.standard_normal((n_seeds, 1))
        offset_R1 = p.offset_by_seed * rng.standard_normal((n_seeds, 1))
        noise_RN = math.sqrt(0.5) * rng.standard_normal((n_seeds, self.base.size))
        own_RN = self.labels * (gap_R1 + both_RS[:, self.subjects])
        return self.base + own_RN + offset_R1 + noise_RN - p.gap / 2


def probabilities(logits_N: np.ndarray) -> np.ndarray:
    """Return class probabilities (N, 2)."""
    second = 1 / (1 + np.exp(-logits_N))
    return np.stack([1 - second, second], axis=1)


def auroc(label_N: np.ndarray, logits_RN: np.ndarray) -> np.ndarray:
    """Return AUROC of each seed (R,) by ranks; scores have no ties."""
    is_own_RN = label_N[logits_RN.argsort(axis=1)] == 1
    n = int(label_N.sum())
    ranks = is_own_RN @ np.arange(1, label_N.size + 1.0)
    wins: np.ndarray = ranks - n * (n + 1) / 2
    return wins / (n * (label_N.size - n))
