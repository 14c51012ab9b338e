"""Statistics against scipy, scikit-learn and torchmetrics, or a rule by definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
)

from eegfm_bench.statistics.calibration import Calibration, calibration
from eegfm_bench.statistics.corrections import holm
from eegfm_bench.statistics.equivalence import welch_verdict
from eegfm_bench.statistics.intervals import (
    Summaries,
    seed_interval,
    subject_interval,
    widened,
)
from eegfm_bench.statistics.permutation import paired_permutation
from eegfm_bench.statistics.ranks import average_ranks, win_rates

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("seed", range(5))
def test_exact_sign_flips_are_scipys(seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.normal(0.8, 0.1, (2, 9, 5))
    theirs = stats.permutation_test(
        (a.mean(axis=1), b.mean(axis=1)),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    ours = paired_permutation(a, b)
    assert ours.is_exact
    assert ours.n_permutations == 2**9
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=1e-12)
    assert ours.difference == pytest.approx(theirs.statistic)


def test_drawn_sign_flips_agree_with_scipys() -> None:
    a, b = np.random.default_rng(3).normal(0.8, 0.1, (2, 30, 3))
    a += 0.03
    theirs = stats.permutation_test(
        (a.mean(axis=1), b.mean(axis=1)),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=10_000,
        rng=np.random.default_rng(1),
    )
    ours = paired_permutation(a, b)
    assert not ours.is_exact
    # Two draws of 10,000: four standard errors of their difference.
    allowed = 4 * np.sqrt(2 * ours.p_value * (1 - ours.p_value) / 10_000)
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=allowed)


def test_the_interval_over_subjects_of_one_seed_is_the_paired_t() -> None:
    a, b = np.random.default_rng(0).normal(0.8, 0.1, (2, 12, 1))
    low, high = stats.ttest_rel(a[:, 0], b[:, 0]).confidence_interval(0.95)
    ours = paired_permutation(a, b)
    assert (ours.low, ours.high) == pytest.approx((low, high))


def test_the_interval_over_subjects_and_seeds_is_that_of_mean_squares() -> None:
    random = np.random.default_rng(4)
    d = random.normal(0.02, 0.05, (8, 1)) + random.normal(0, 0.04, 5)
    d = d + random.normal(0, 0.01, (8, 5))
    s, r, mean = 8, 5, d.mean()
    by_subject = sum(r * (row.mean() - mean) ** 2 for row in d) / (s - 1)
    by_seed = sum(s * (column.mean() - mean) ** 2 for column in d.T) / (r - 1)
    rest = sum(
        (d[i, j] - d[i].mean() - d[:, j].mean() + mean) ** 2
        for i, j in itertools.product(range(s), range(r))
    ) / ((s - 1) * (r - 1))
    total = by_subject + by_seed - rest
    freedom = total**2 / (
        by_subject**2 / (s - 1) + by_seed**2 / (r - 1) + rest**2 / ((s - 1) * (r - 1))
    )
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(total / (s * r))
    ours = paired_permutation(d, np.zeros_like(d))
    assert (ours.low, ours.high) == pytest.approx((mean - reach, mean + reach))


@pytest.mark.parametrize("shift", [-0.06, -0.015, 0.0, 0.015, 0.06])
@pytest.mark.parametrize("sd", [0.004, 0.015, 0.05])
def test_a_verdict_is_two_one_sided_welch_tests(shift: float, sd: float) -> None:
    random = np.random.default_rng(11)
    ours, theirs = random.normal(0.8 + shift, sd, 5), random.normal(0.8, sd, 7)
    found = welch_verdict(
        ours.tolist(),
        published_mean=float(theirs.mean()),
        published_sd=float(theirs.std(ddof=1)),
        published_n=7,
    )
    assert found.margin is not None
    above = stats.ttest_ind(
        ours + found.margin, theirs, equal_var=False, alternative="greater"
    )
    below = stats.ttest_ind(
        ours - found.margin, theirs, equal_var=False, alternative="less"
    )
    is_inside = max(above.pvalue, below.pvalue) < 0.05
    assert (found.outcome == "reproduced") == is_inside
    plain = stats.ttest_ind(ours, theirs, equal_var=False)
    low, high = plain.confidence_interval(0.90)
    assert (found.low, found.high) == pytest.approx((low, high))
    if not is_inside:
        side = "lower" if plain.statistic < 0 else "higher"
        assert found.outcome == (side if plain.pvalue < 0.10 else "cannot tell")


def test_the_interval_over_seeds_is_students() -> None:
    values = [0.71, 0.74, 0.69, 0.75, 0.73]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = seed_interval(values)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high))


def test_the_bootstrap_over_subjects_is_scipys() -> None:
    random = np.random.default_rng(5)
    n_each, recall = 20, random.uniform(0.4, 1, 14)
    subjects = np.repeat([f"s{i:02d}" for i in range(14)], 2 * n_each)
    labels = np.tile([0] * n_each + [1] * n_each, 14)
    right = random.random(labels.size) < np.repeat(recall, 2 * n_each)
    guess = np.where(right, labels, 1 - labels)
    # As many windows of both classes for everybody: the mean of subjects' accuracies.
    own = right.reshape(14, -1).mean(axis=1)
    theirs = stats.bootstrap(
        (own,),
        np.mean,
        method="percentile",
        confidence_level=1 - 2 * widened(0.025, 14),
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    cell = Summaries.of([labels], [np.eye(2)[guess]], [subjects], "balanced_accuracy")
    ours = subject_interval(cell, n_boot=20_000)
    # Quantiles at 0.7 % of 20,000 draws wander by about 3 % of the half width.
    allowed = 0.06 * (theirs.high - theirs.low) / 2
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs), abs=allowed)


def test_the_widened_tail_is_students() -> None:
    for n in (10, 20, 100):
        reach = stats.t.ppf(0.975, n - 1) * np.sqrt(n / (n - 1))
        assert widened(0.025, n) == pytest.approx(stats.norm.sf(reach))


def test_ranks_are_scipys() -> None:
    table = np.random.default_rng(2).integers(0, 6, (7, 9)) / 5
    theirs = stats.rankdata(-table, axis=0).mean(axis=1)
    assert average_ranks(table) == pytest.approx(theirs)


def test_win_rates_are_those_of_counting() -> None:
    random = np.random.default_rng(2)
    table = random.integers(0, 4, (5, 6)) / 3
    table[random.random(table.shape) < 0.2] = np.nan
    for m, rate in enumerate(win_rates(table)):
        points = [
            1.0 if own > rival else 0.5 if own == rival else 0.0
            for other in range(5)
            if other != m
            for own, rival in zip(table[m], table[other], strict=True)
            if not np.isnan(own) and not np.isnan(rival)
        ]
        assert rate == pytest.approx(np.mean(points))


def test_holm_is_the_smallest_level_that_rejects() -> None:
    p_values = np.random.default_rng(6).uniform(0, 0.3, 7)

    def is_rejected(which: int, alpha: float) -> bool:
        for step, at in enumerate(np.argsort(p_values)):
            if p_values[at] > alpha / (len(p_values) - step):
                return False
            if at == which:
                return True
        return False

    for which, adjusted in enumerate(holm(p_values.tolist())):
        if adjusted < 1:
            assert is_rejected(which, adjusted + 1e-12)
        assert not is_rejected(which, adjusted - 1e-9)


@pytest.mark.parametrize("n_classes", [2, 5])
def test_calibration_is_torchmetrics_and_scikit_learns(n_classes: int) -> None:
    random = np.random.default_rng(n_classes)
    labels = random.integers(0, n_classes, 700)
    logits = random.normal(size=(700, n_classes)) + np.eye(n_classes)[labels]
    scores = np.exp(2 * logits) / np.exp(2 * logits).sum(axis=1, keepdims=True)
    found = calibration(labels, scores)
    assert isinstance(found, Calibration)
    p, y = torch.from_numpy(scores), torch.from_numpy(labels)
    if n_classes == 2:
        theirs = binary_calibration_error(p[:, 1].contiguous(), y, n_bins=15)
        brier = brier_score_loss(labels, scores[:, 1])
        share, mean = calibration_curve(labels, scores[:, 1], n_bins=15)
        assert [b.accuracy for b in found.bins] == pytest.approx(share)
        assert [b.confidence for b in found.bins] == pytest.approx(mean)
    else:
        theirs = multiclass_calibration_error(p, y, n_classes, n_bins=15)
        brier = brier_score_loss(labels, scores)
    assert found.ece == pytest.approx(float(theirs), abs=1e-6)  # theirs is float32
    assert found.brier == pytest.approx(brier)
