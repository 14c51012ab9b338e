"""Scores equal independent libraries; what is undefined is missing with a reason."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from eegfm_bench.errors import SignalError
from eegfm_bench.training.metrics import BINARY, MULTICLASS, predicted, score


def draw(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(k), random.integers(0, k, n - k)])
    logits = random.normal(size=(n, k)) + 1.2 * np.eye(k)[labels]
    scores = np.exp(logits)
    return labels, scores / scores.sum(axis=1, keepdims=True)


@pytest.mark.parity
@settings(deadline=None, max_examples=40)
@given(n=st.integers(8, 200), k=st.integers(2, 6), seed=st.integers(0, 10_000))
def test_against_scikit_learn(n: int, k: int, seed: int) -> None:
    labels, scores = draw(max(n, k + 2), k, seed)
    values, reasons = score(labels, scores)
    guess = scores.argmax(axis=1)
    one_hot = np.eye(k)[labels]
    expected = {
        "balanced_accuracy": sk.balanced_accuracy_score(labels, guess),
        "cohen_kappa": sk.cohen_kappa_score(labels, guess),
        "weighted_f1": sk.f1_score(labels, guess, average="weighted", zero_division=0),
        "log_loss": sk.log_loss(labels, scores, labels=np.arange(k)),
    }
    curves = [
        sk.precision_recall_curve(one_hot[:, c], scores[:, c])[:2] for c in range(k)
    ]
    areas = [sk.auc(recall, precision) for precision, recall in curves]
    if k == 2:
        expected["auroc"] = sk.roc_auc_score(labels, scores[:, 1])
        expected["auc_pr"] = areas[1]
        expected["average_precision"] = sk.average_precision_score(labels, scores[:, 1])
    else:
        expected["auroc_ovr_macro"] = sk.roc_auc_score(
            labels, scores, multi_class="ovr", average="macro"
        )
        expected["auc_pr_ovr_macro"] = np.mean(areas)
    assert reasons == {}
    assert set(values) == set(BINARY if k == 2 else MULTICLASS) == set(expected)
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, abs=1e-12), name


@pytest.mark.parity
@pytest.mark.parametrize("k", [2, 5])
def test_against_torchmetrics(k: int) -> None:
    import torch
    from torchmetrics.classification import (
        BinaryAUROC,
        MulticlassCohenKappa,
        MulticlassF1Score,
        MulticlassRecall,
    )

    labels, scores = draw(300, k, seed=1)
    values, _ = score(labels, scores)
    x, y = torch.from_numpy(scores), torch.from_numpy(labels)
    theirs = {
        "balanced_accuracy": MulticlassRecall(k, average="macro")(x, y),
        "cohen_kappa": MulticlassCohenKappa(k)(x, y),
        "weighted_f1": MulticlassF1Score(k, average="weighted")(x, y),
    }
    if k == 2:
        theirs["auroc"] = BinaryAUROC()(x[:, 1], y)
    for name, value in theirs.items():
        # torchmetrics counts in float32.
        assert values[name] == pytest.approx(float(value), abs=1e-6), name


def test_a_part_of_one_class_has_no_auroc_but_a_reason() -> None:
    scores = np.array([[0.4, 0.6], [0.7, 0.3]])
    values, reasons = score(np.array([1, 1]), scores)
    for name in ("auroc", "auc_pr", "average_precision", "balanced_accuracy"):
        assert values[name] is None
        assert reasons[name] == "no window of class 0 in this part"
    assert values["weighted_f1"] == pytest.approx(2 / 3)


def test_kappa_of_constants_is_undefined() -> None:
    values, reasons = score(np.array([1, 1]), np.array([[0.4, 0.6], [0.2, 0.8]]))
    assert values["cohen_kappa"] is None
    assert "all of one class" in reasons["cohen_kappa"]


def test_an_empty_part_has_no_scores() -> None:
    values, reasons = score(np.empty(0, np.int64), np.empty((0, 3)))
    assert set(values.values()) == {None}
    assert set(reasons.values()) == {"the part has no windows"}


def test_saturated_probabilities_do_not_tie() -> None:
    tail = np.array([1e-40, 1e-30, 1e-20, 1e-18])
    scores = np.stack([tail, 1 - tail], axis=1)
    assert (scores[:, 1] == 1).all()
    assert score(np.array([1, 1, 0, 0]), scores)[0]["auroc"] == 1.0


def test_constant_scores_show_how_the_trapezoid_flatters() -> None:
    labels = np.array([1, 0, 0])
    values, _ = score(labels, np.full((3, 2), 0.5))
    assert values["auroc"] == 0.5
    assert values["average_precision"] == pytest.approx(1 / 3)
    assert values["auc_pr"] == pytest.approx(2 / 3)


def test_the_threshold_is_one_half() -> None:
    scores = np.array([[0.5, 0.5], [0.51, 0.49], [0.49, 0.51]])
    assert predicted(scores).tolist() == [1, 0, 1]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(SignalError, match="1 of 2 windows are not finite"):
        score(np.array([0, 1]), np.array([[0.5, 0.5], [bad, 0.5]]))


def test_shapes_that_disagree_are_refused() -> None:
    with pytest.raises(SignalError, match="do not fit labels"):
        score(np.array([0, 1, 1]), np.full((2, 2), 0.5))
