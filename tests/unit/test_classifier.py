"""Training: the best epoch, repeatability, and refusing to go on when lost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from eegfm_bench.datasets._prepare import dataset_ref, prepare
from eegfm_bench.errors import RunFailed, SpecError
from eegfm_bench.runs.spec import ClosedFormRecipe, RunSpec, TrainingRecipe
from eegfm_bench.training import fit as fit_module
from eegfm_bench.training.classifier import _class_weights
from eegfm_bench.training.closed_form import softmax, solve_head
from eegfm_bench.training.fit import fit
from eegfm_bench.training.metrics import score, validation_score

RECIPE = TrainingRecipe(epochs=2, batch_size=16, lr=3e-3)


def spec(seed: int = 0, model: str = "eegnet", **recipe: object) -> RunSpec:
    return RunSpec(
        dataset=dataset_ref(prepare("eegmat")),
        model=model,
        scale="small",
        seed=seed,
        recipe=RECIPE.model_copy(update=recipe),
    )


def test_the_same_spec_gives_identical_scores_and_another_seed_others() -> None:
    store = prepare("eegmat")
    first, first_scores = fit(spec(), store)
    torch.rand(7)  # whatever happened before in the process
    again, again_scores = fit(spec(), store)
    other, _ = fit(spec(seed=1), store)
    assert first.scores == again.scores
    assert first_scores.equals(again_scores)
    assert other.scores != first.scores


def test_the_record_counts_what_was_done() -> None:
    store = prepare("eegmat")
    record, predictions = fit(spec(), store)
    n = store.counts()
    assert record.cost is not None
    assert record.cost.window_passes == 2 * (n["train"] + n["val"]) + n["test"]
    assert record.cost.n_windows == n
    assert len(predictions) == n["test"]
    assert record.checkpoint is not None
    assert record.checkpoint.rule == "highest val auroc"
    assert record.scores is not None
    assert record.checkpoint.val_score == record.scores["val"]["auroc"]
    columns = ["score_0", "score_1"]
    rescored, _ = score(
        predictions["label"].to_numpy(), predictions[columns].to_numpy()
    )
    assert rescored == record.scores["test"]


def test_the_best_epoch_is_tested_not_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    epochs: list[float] = []
    record, _ = fit(
        spec(epochs=5, lr=0.05),
        prepare("eegmat"),
        on_epoch=lambda e: epochs.append(e.val_score or 0.0),
    )
    assert record.checkpoint is not None
    assert record.checkpoint.epoch == int(np.argmax(epochs)) + 1
    assert record.checkpoint.val_score == max(epochs)


def test_the_test_part_is_read_once_and_last(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    loader = fit_module.EEGDataModule._loader

    def spy(self: object, part: str, *, seed: int | None) -> object:
        asked.append(part)
        return loader(self, part, seed=seed)  # type: ignore[arg-type]

    monkeypatch.setattr(fit_module.EEGDataModule, "_loader", spy)
    fit(spec(), prepare("eegmat"))
    assert asked.count("test") == 1
    assert asked[-1] == "test"


class Diverging(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x[:, 0, :1]) * torch.nan


def test_a_loss_that_is_not_finite_ends_the_cell_with_advice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = fit_module.find_model("eegnet")
    lost = type(known).build
    monkeypatch.setattr(type(known), "build", lambda *a, **k: Diverging())
    with pytest.raises(RunFailed, match=r"became nan in epoch 1\. Lower the learning"):
        fit(spec(), prepare("eegmat"))
    monkeypatch.setattr(type(known), "build", lost)


def test_other_windows_than_the_spec_names_are_refused() -> None:
    with pytest.raises(SpecError, match="the spec asks for eegmat"):
        fit(spec(), prepare("eyes"))


def test_balanced_weights_make_classes_count_the_same() -> None:
    counts = np.array([30, 10])
    weights = _class_weights(RECIPE, counts)
    assert weights is not None
    np.testing.assert_allclose(weights.numpy() * counts, 20)
    assert (
        _class_weights(RECIPE.model_copy(update={"class_weights": "none"}), counts)
        is None
    )


@pytest.mark.parity
@pytest.mark.parametrize(
    ("select", "k"),
    [("auroc", 2), ("cohen_kappa", 2), ("cohen_kappa", 4), ("balanced_accuracy", 3)],
)
def test_the_score_that_chooses_equals_torchmetrics(select: str, k: int) -> None:
    from torchmetrics.classification import (
        BinaryAUROC,
        MulticlassCohenKappa,
        MulticlassRecall,
    )

    random = np.random.default_rng(k)
    labels = random.integers(0, k, 90)
    scores = softmax(random.normal(size=(90, k)) + np.eye(k)[labels])
    x, y = torch.from_numpy(scores), torch.from_numpy(labels)
    theirs = {
        "auroc": lambda: BinaryAUROC()(x[:, 1], y),
        "cohen_kappa": lambda: MulticlassCohenKappa(k)(x, y),
        "balanced_accuracy": lambda: MulticlassRecall(k, average="macro")(x, y),
    }[select]()
    # torchmetrics counts in float32.
    ours = validation_score(select, labels, scores)
    assert ours == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize(
    ("select", "k", "says"),
    [("auroc", 4, "none for 4 classes"), ("auroc", 2, "no window of class 0")],
)
def test_a_score_that_is_undefined_cannot_choose(
    select: str, k: int, says: str
) -> None:
    with pytest.raises(SpecError, match=says):
        validation_score(select, np.ones(3, np.int64), np.full((3, k), 1 / k))


@pytest.mark.parity
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_the_solved_head_equals_scikit_learns_ridge(weights: str) -> None:
    from sklearn.linear_model import Ridge

    random = np.random.default_rng(0)
    x, y = random.normal(3, 2, (120, 7)), random.integers(0, 3, 120)
    x[:, 0] += 2 * y
    x[:, 6] = 5.0  # a constant feature
    recipe = ClosedFormRecipe(
        penalties=(0.1,), class_weights=weights, select="cohen_kappa"
    )
    solved = solve_head((x, y), (x[:60], y[:60]), n_classes=3, recipe=recipe)
    spread = np.where(x.std(0) < 1e-9, 1, x.std(0))
    z = (x - x.mean(0)) / spread
    w = np.full(120, 1 / 120)
    if weights == "balanced":
        w = 1 / (3 * np.bincount(y)[y])
    ridge = Ridge(alpha=0.1).fit(z, np.eye(3)[y], sample_weight=w)
    ours = x @ solved.weight_KD.T + solved.bias_K
    np.testing.assert_allclose(ours, ridge.predict(z), atol=1e-9)
    assert solved.penalty == 0.1


def test_of_equal_penalties_the_larger_wins() -> None:
    x = np.array([[-1.0], [1.0], [-1.0], [1.0]])
    y = np.array([0, 1, 0, 1])
    recipe = ClosedFormRecipe(penalties=(0.01, 1.0, 0.1))
    assert solve_head((x, y), (x, y), n_classes=2, recipe=recipe).penalty == 1.0


def test_a_validation_part_of_one_class_cannot_choose() -> None:
    x, y = np.array([[-1.0], [1.0]]), np.array([0, 1])
    with pytest.raises(
        SpecError, match="cannot choose on the validation part: no window"
    ):
        solve_head((x, y), (x[1:], y[1:]), n_classes=2, recipe=ClosedFormRecipe())


def test_a_class_that_training_lacks_weighs_nothing() -> None:
    # Smoothing hands every class a share, which its weight would multiply.
    counts = np.array([500, 300, 0, 200])
    weights = _class_weights(RECIPE, counts)
    assert weights is not None
    assert weights[2] == 0
    assert (weights[[0, 1, 3]] * torch.tensor([500.0, 300, 200])).sum() == 1000
