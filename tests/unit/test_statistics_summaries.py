"""Weighted subjects score as their repeated windows do; what is undefined is said."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegfm_bench.errors import SignalError, SpecError, UnknownName
from eegfm_bench.statistics import _weighted
from eegfm_bench.statistics.intervals import (
    FEWEST_SUBJECTS,
    Summaries,
    seed_interval,
    subject_interval,
)
from eegfm_bench.statistics.summaries import OF_MORE, OF_TWO
from eegfm_bench.training.metrics import BINARY, MULTICLASS, score

Windows = tuple[np.ndarray, np.ndarray, np.ndarray]


def draw(n: int, k: int, n_subjects: int, seed: int, digits: int = 9) -> Windows:
    """Make labels, scores (rounded: ties) and subjects."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, k, n)
    x = np.exp(random.normal(size=(n, k)) + np.eye(k)[labels])
    scores = np.round(x / x.sum(axis=1, keepdims=True), digits)
    who = random.permutation(np.arange(n) % n_subjects)
    return labels, scores, np.array([f"s{i:02d}" for i in who])


def repeated(windows: Windows, weights: np.ndarray) -> Windows:
    names = np.unique(windows[2])
    times = dict(zip(names, weights, strict=True))
    at = np.repeat(np.arange(windows[2].size), [times[w] for w in windows[2]])
    labels, scores, subjects = windows
    return labels[at], scores[at], subjects[at]


def test_metrics_are_those_of_the_tables() -> None:
    assert set(OF_TWO) == set(BINARY)
    assert set(OF_MORE) == set(MULTICLASS)


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 90),
    k=st.integers(2, 4),
    n_subjects=st.integers(1, 7),
    seed=st.integers(0, 10_000),
    digits=st.sampled_from([1, 2, 9]),
)
def test_a_weighting_scores_as_its_repeated_windows(
    n: int, k: int, n_subjects: int, seed: int, digits: int
) -> None:
    windows = draw(n, k, n_subjects, seed, digits)
    size = np.unique(windows[2]).size
    weights = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size))
    labels, scores, _ = repeated(windows, weights)
    expected, _ = score(labels, scores)
    for metric, value in expected.items():
        cell = Summaries.of(*([x] for x in windows), metric)
        found = cell.value(0, weights)
        assert found == (None if value is None else pytest.approx(value, abs=1e-12))


def test_a_long_curve_in_blocks_and_chunks_is_one_curve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    windows = draw(700, 2, 5, 1)
    weights = np.random.default_rng(0).multinomial(5, np.full(5, 0.2), size=9)
    whole = {
        metric: [score(*repeated(windows, w)[:2])[0][metric] for w in weights]
        for metric in ("auc_pr", "average_precision")
    }
    monkeypatch.setattr(_weighted, "WEIGHTINGS", 4)
    for metric, expected in whole.items():
        cell = Summaries.of(*([x] for x in windows), metric)
        assert cell.values(0, weights) == pytest.approx(expected, abs=1e-12)


def test_every_weight_at_nought_is_undefined() -> None:
    windows = draw(60, 2, 4, 0)
    for metric in OF_TWO:
        cell = Summaries.of(*([x] for x in windows), metric)
        assert cell.value(0, np.zeros(4)) is None


def test_windows_may_come_in_any_order() -> None:
    labels, scores, subjects = draw(200, 2, 12, 3)
    order = np.random.default_rng(1).permutation(200)
    for metric in ("auroc", "auc_pr", "cohen_kappa"):
        one = Summaries.of([labels], [scores], [subjects], metric)
        other = Summaries.of(
            [labels[order]], [scores[order]], [subjects[order]], metric
        )
        assert subject_interval(one) == subject_interval(other)


def cell(metric: str, n_seeds: int = 3, n_subjects: int = 12) -> Summaries:
    labels, _, subjects = draw(600, 2, n_subjects, 0)
    seeds = []
    for seed in range(n_seeds):
        random = np.random.default_rng([7, seed])
        second = 1 / (1 + np.exp(-random.normal(labels - 0.5)))
        seeds.append(np.stack([1 - second, second], axis=1))
    return Summaries.of([labels] * n_seeds, seeds, [subjects] * n_seeds, metric)


@pytest.mark.parametrize("metric", OF_TWO)
def test_an_interval_holds_its_cell_and_comes_again(metric: str) -> None:
    s = cell(metric)
    found = subject_interval(s, n_boot=400)
    centre = s.estimate()
    assert centre is not None
    assert found.low < centre < found.high
    assert (found.n_subjects, found.n_seeds, found.n_undefined) == (12, 3, 0)
    assert "new subjects" in found.covers
    assert subject_interval(s, n_boot=400) == found
    assert subject_interval(s, n_boot=400, rng_seed=1) != found
    narrow = subject_interval(s, n_boot=400, level=0.5)
    assert found.low < narrow.low < narrow.high < found.high


def test_seeds_apart_widen_an_interval() -> None:
    labels, scores, subjects = draw(600, 2, 12, 0)
    flat = np.full_like(scores, 0.5)
    apart = Summaries.of([labels] * 4, [scores, flat] * 2, [subjects] * 4, "auroc")
    alike = Summaries.of([labels] * 4, [scores] * 4, [subjects] * 4, "auroc")
    wide, slim = subject_interval(apart), subject_interval(alike)
    assert wide.high - wide.low > 2 * (slim.high - slim.low)


def test_replicates_without_a_class_are_counted_and_left_out() -> None:
    labels, scores, subjects = draw(240, 2, 12, 2)
    labels = np.where(subjects == "s03", labels, 0)  # one subject alone has the second
    found = subject_interval(Summaries.of([labels], [scores], [subjects], "auroc"))
    assert "does not cover new seeds" in found.covers
    # Nobody draws s03 in (11/12)**12 of replicates.
    assert found.n_undefined == pytest.approx(2000 * (11 / 12) ** 12, abs=90)
    assert 0 <= found.low < found.high <= 1


def test_an_undefined_cell_and_too_few_subjects_have_no_interval() -> None:
    labels, scores, subjects = draw(200, 2, 12, 2)
    none = Summaries.of([np.zeros_like(labels)], [scores], [subjects], "auroc")
    assert none.estimate() is None
    with pytest.raises(SpecError, match="auroc is undefined for this cell"):
        subject_interval(none)
    few = Summaries.of(*([x] for x in draw(200, 2, FEWEST_SUBJECTS - 1, 0)), "auroc")
    with pytest.raises(SpecError, match=r"'s' has 9 subjects.*at least 10"):
        subject_interval(few)


def test_what_does_not_fit_is_refused_by_name() -> None:
    labels, scores, subjects = draw(60, 2, 4, 0)

    def of(y: object, x: object, who: object, metric: str = "auroc") -> Summaries:
        return Summaries.of([labels, y], [scores, x], [subjects, who], metric)  # type: ignore[list-item]

    with pytest.raises(SignalError, match=r"'scores_NK' has shape \(59, 2\)"):
        of(labels, scores[1:], subjects)
    with pytest.raises(SignalError, match=r"Entry 1 of 'subjects' has shape \(59,\)"):
        of(labels, scores, subjects[1:])
    with pytest.raises(SignalError, match="not finite in 1 of 60"):
        of(labels, np.where(np.arange(60)[:, None] == 5, np.nan, scores), subjects)
    with pytest.raises(SignalError, match="'labels_N' holds 0 to 2"):
        of(np.where(np.arange(60) == 5, 2, labels), scores, subjects)
    with pytest.raises(SignalError, match=r"Entry 1 .* has other windows than entry 0"):
        of(1 - labels, scores, subjects)
    with pytest.raises(SignalError, match="other windows than entry 0"):
        of(labels, scores, np.char.add(subjects, "x"))
    with pytest.raises(UnknownName, match=r"metric of 2 classes.*'auroc'"):
        of(labels, scores, subjects, "auroc_")
    with pytest.raises(SpecError, match="2 'labels', 1 'scores_NK'"):
        Summaries.of([labels] * 2, [scores], [subjects], "auroc")
    with pytest.raises(SpecError, match="Entry 0 of 'labels' is empty"):
        Summaries.of([labels[:0]], [scores[:0]], [subjects[:0]], "auroc")
    s = of(labels, scores, subjects)
    for weights in ([1, 1, 1], [1, 1, 1, -1], [1, 1, 1, np.nan]):
        with pytest.raises(SpecError, match="'weights'"):
            s.value(0, weights)
    with pytest.raises(SpecError, match="'seed' is 2"):
        s.value(2, np.ones(4))


def test_one_seed_has_no_interval_over_seeds() -> None:
    assert seed_interval([0.7]) is None
    assert seed_interval([]) is None
    found = seed_interval([0.7, 0.7])
    assert found is not None
    assert (found.low, found.high) == (0.7, 0.7)
    assert found.covers == "does not cover new subjects"
    with pytest.raises(SpecError, match="'values' holds nan at place 1"):
        seed_interval([0.7, float("nan")])


def test_statistics_reach_neither_torch_nor_pandas() -> None:
    code = (
        "import sys, numpy as np\n"
        "from eegfm_bench.statistics import calibration, corrections, equivalence\n"
        "from eegfm_bench.statistics import intervals, permutation, ranks\n"
        "y = np.arange(40) % 2\n"
        "who = np.array([f's{i // 4}' for i in range(40)])\n"
        "p = np.stack([1 - y / 2, y / 2], 1)\n"
        "cell = intervals.Summaries.of([y], [p], [who], 'auc_pr')\n"
        "intervals.subject_interval(cell)\n"
        "heavy = {'torch', 'pandas', 'sklearn', 'lightning'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
