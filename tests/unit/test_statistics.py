"""Verdicts, tests, corrections, ranks and calibration keep their promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegfm_bench.errors import BenchError, SignalError, SpecError
from eegfm_bench.statistics.calibration import Calibration, calibration
from eegfm_bench.statistics.corrections import holm
from eegfm_bench.statistics.equivalence import Verdict, welch_verdict
from eegfm_bench.statistics.permutation import paired_permutation, smallest_p
from eegfm_bench.statistics.ranks import (
    average_ranks,
    complete_columns,
    skill_over_chance,
    win_rates,
)

MIRROR = {"lower": "higher", "higher": "lower"}
scores = st.floats(0.3, 1, allow_nan=False)


def verdict(measured: list[float], **published: object) -> Verdict:
    facts = {"published_mean": 0.8, "published_sd": 0.01, "published_n": 5}
    return welch_verdict(measured, **{**facts, **published})  # type: ignore[arg-type]


@settings(deadline=None, max_examples=80)
@given(
    measured=st.lists(scores, min_size=2, max_size=6),
    mean=scores,
    sd=st.floats(0, 0.2),
)
def test_a_verdict_is_symmetric(measured: list[float], mean: float, sd: float) -> None:
    facts = {"published_sd": sd, "published_n": 5}
    one = verdict(measured, published_mean=mean, **facts)
    other = verdict([-x for x in measured], published_mean=-mean, **facts)
    assert other.outcome == MIRROR.get(one.outcome, one.outcome)
    assert other.low == pytest.approx(-one.high)  # type: ignore[operator]


def test_a_verdict_says_what_it_is_about() -> None:
    assert "about seeds, not subjects" in verdict([0.8, 0.81, 0.79]).reason
    assert "about seeds, not subjects" in verdict([0.8]).reason


def test_the_margin_is_the_larger_of_floor_and_published_sd() -> None:
    assert verdict([0.8, 0.81]).margin == 0.02
    assert verdict([0.8, 0.81], published_sd=0.05).margin == 0.05
    assert verdict([0.8, 0.81], floor=0.1).margin == 0.1


def test_a_small_certain_difference_is_still_reproduced() -> None:
    found = verdict([0.81, 0.8101, 0.8099], published_sd=0.0001)
    assert found.low is not None
    assert found.low > 0
    assert found.outcome == "reproduced"


@pytest.mark.parametrize(
    ("measured", "published", "reason"),
    [
        ([], {}, "no seed measured"),
        ([0.8], {}, "one seed measured"),
        ([0.8, 0.81], {"published_sd": None}, "no sd is published"),
        ([0.8, 0.81], {"published_n": None}, "runs is not stated"),
        ([0.8, 0.81], {"published_n": 1}, "of 1 run"),
    ],
)
def test_what_is_lacking_cannot_tell(
    measured: list[float], published: dict[str, object], reason: str
) -> None:
    found = verdict(measured, **published)
    assert found.outcome == "cannot tell"
    assert found.low is None
    assert reason in found.reason


def test_no_spread_at_all_is_judged_by_the_difference() -> None:
    assert verdict([0.81] * 3, published_sd=0).outcome == "reproduced"
    assert verdict([0.75] * 3, published_sd=0).outcome == "lower"
    assert verdict([0.85] * 3, published_sd=0).outcome == "higher"


def test_a_tiny_spread_keeps_its_degrees_of_freedom() -> None:
    one, other = (
        verdict([0.8 - x, 0.8, 0.8 + x], published_sd=x) for x in (1e-2, 1e-9)
    )
    reach = [v.high - v.difference for v in (one, other)]  # type: ignore[operator]
    assert reach[1] == pytest.approx(reach[0] * 1e-7, rel=1e-5)


def table(n_subjects: int, n_seeds: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    a, b = random.normal(0.8, 0.1, (2, n_subjects, n_seeds))
    return a, b


@settings(deadline=None, max_examples=40)
@given(s=st.integers(2, 9), r=st.integers(1, 5), seed=st.integers(0, 9999))
def test_a_comparison_has_neither_order_nor_side(s: int, r: int, seed: int) -> None:
    a, b = table(s, r, seed)
    one = paired_permutation(a, b)
    order = np.random.default_rng(seed).permutation(s)
    moved = paired_permutation(a[order], b[order])
    turned = paired_permutation(b, a)
    assert moved.p_value == one.p_value == turned.p_value
    assert moved.difference == pytest.approx(one.difference)
    assert (turned.low, turned.high) == pytest.approx((-one.high, -one.low))
    assert one.p_value >= smallest_p(s)


def test_p_values_are_uniform_without_a_difference() -> None:
    p = np.array([paired_permutation(*table(8, 3, i)).p_value for i in range(600)])
    # Exact and discrete: at most alpha. Three Monte-Carlo standard errors.
    for alpha in (0.05, 0.2, 0.5, 0.8):
        error = 3 * math.sqrt(alpha * (1 - alpha) / p.size)
        assert np.mean(p <= alpha) == pytest.approx(alpha, abs=error + 2 / 256)


def test_more_seeds_are_not_more_subjects() -> None:
    a, b = np.full((3, 50), 0.9), np.full((3, 50), 0.1)
    assert paired_permutation(a, b).p_value == smallest_p(3) == 0.25


def test_equal_models_do_not_differ() -> None:
    a, _ = table(12, 5, 0)
    found = paired_permutation(a, a)
    assert found.p_value == 1
    assert (found.difference, found.low, found.high) == (0, 0, 0)


def test_drawn_patterns_never_give_nought_and_come_again() -> None:
    a, _ = table(40, 2, 0)
    found = paired_permutation(a + 1, a, n=999)
    assert found.p_value == 1 / 1000
    assert not found.is_exact
    assert paired_permutation(a, a[::-1], n=99) == paired_permutation(a, a[::-1], n=99)


def test_undefined_pairs_are_left_out_and_counted() -> None:
    a, b = table(8, 3, 1)
    a[2] = np.nan
    b[5, 1] = np.nan
    a[:, 2] = np.nan
    found = paired_permutation(a, b)
    assert (found.n_subjects, found.n_seeds) == (7, 2)
    d = np.delete(a - b, 2, axis=0)
    assert found.difference == pytest.approx(np.nanmean(d, axis=1).mean())


def test_one_subject_has_no_interval() -> None:
    found = paired_permutation([[0.9, 0.8]], [[0.1, 0.1]])
    assert found.p_value == smallest_p(1) == smallest_p(0) == 1
    assert math.isnan(found.low)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_order_and_never_lowers(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    by_p = [adjusted[i] for i in np.argsort(p_values, kind="stable")]
    assert by_p == sorted(by_p)


def test_an_incomplete_dataset_ranks_nobody() -> None:
    found = [[0.9, 0.1, 0.2], [0.8, np.nan, 0.3]]
    assert complete_columns(found).tolist() == [True, False, True]
    assert average_ranks(found).tolist() == [1.5, 1.5]
    assert np.isnan(average_ranks([[np.nan], [0.5]])).all()
    assert np.isnan(win_rates([[np.nan], [0.5]])).all()


def test_ranks_and_win_rates_tell_the_same_of_full_tables() -> None:
    full = np.random.default_rng(0).normal(size=(6, 8))
    expected = (6 - average_ranks(full)) / 5
    assert win_rates(full) == pytest.approx(expected)


def test_skill_is_nought_at_chance_and_one_at_the_best() -> None:
    assert skill_over_chance([0.25, 0.5], [0.25, 0.5]) == 0
    assert skill_over_chance([1, 1], [0, 0.25]) == 1
    assert skill_over_chance([0.4], [0.5]) < 0
    assert math.isnan(skill_over_chance([0.6, float("nan")], [0.5, 0.5]))


def test_honest_probabilities_are_calibrated_and_wrong_ones_not() -> None:
    random = np.random.default_rng(0)
    p = random.random(20_000)
    y = (random.random(p.size) < p).astype(np.int64)
    honest = calibration(y, np.stack([1 - p, p], axis=1))
    sure = calibration(y, np.stack([p < 0.5, p >= 0.5], axis=1).astype(float))
    assert isinstance(honest, Calibration)
    assert isinstance(sure, Calibration)
    assert honest.ece < 0.02
    assert sure.ece == pytest.approx(0.25, abs=0.02)
    assert sum(b.n for b in honest.bins) == sum(b.n for b in sure.bins) == p.size
    assert sure.bins[-1].high == 1


def test_what_is_no_probability_has_a_reason() -> None:
    y, x = np.array([0, 1]), np.array([[0.5, 0.5], [-1.0, 3.0]])
    assert "no probabilities" in str(calibration(y, x))
    assert calibration(y[:0], x[:0]) == "the part has no windows"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: verdict([0.8, math.nan]), "'measured' holds nan at place 1"),
        (lambda: verdict([0.8], published_mean=math.inf), "'published_mean'"),
        (lambda: verdict([0.8], published_sd=-1), "'published_sd' is -1"),
        (lambda: verdict([0.8], floor=0), "'floor' is 0"),
        (lambda: verdict([0.8], alpha=0.5), "'alpha' is 1.0"),
        (lambda: paired_permutation([0.8], [0.8]), r"'a_SR' has shape \(1,\)"),
        (lambda: paired_permutation([[0.8]], [[0.8, 1]]), r"'b_SR' \(1, 2\)"),
        (lambda: paired_permutation([[math.nan]], [[0.8]]), "in common"),
        (lambda: paired_permutation([[0.8]], [[0.8]], n=0), "'n' is 0"),
        (lambda: smallest_p(-1), "'n_subjects' is -1"),
        (lambda: holm([0.5, 1.2]), "'p_values' holds 1.2"),
        (lambda: holm([math.nan]), "'p_values' holds nan"),
        (lambda: average_ranks([0.1, 0.2]), r"'table_MD' has shape \(2,\)"),
        (lambda: win_rates([["a"]]), "'table_MD' is not an array of numbers"),
        (lambda: skill_over_chance([0.5], [0.1, 0.2]), "values 1, chance 2"),
        (lambda: skill_over_chance([], []), "'values' is empty"),
        (lambda: skill_over_chance([0.5], [1.0]), "'chance' holds 1.0"),
        (lambda: calibration(np.array([0]), np.ones((1, 2)) / 2, n_bins=0), "n_bins"),
    ],
)
def test_bad_input_is_named(call: object, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        call()  # type: ignore[operator]


def test_scores_that_do_not_fit_labels_are_refused() -> None:
    with pytest.raises(SignalError, match=r"'scores_NK' has shape \(2,\)"):
        calibration(np.array([0, 1]), np.array([0.5, 0.5]))
    with pytest.raises(BenchError, match="'labels_N' holds 0 to 2"):
        calibration(np.array([0, 2]), np.full((2, 2), 0.5))
