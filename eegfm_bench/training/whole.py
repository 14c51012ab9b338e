"""A whole model trained by its own way: gradient, closed form, or the prior.

From: a built model and batches. To: ``ways``: the model at its tested state, how that
state was chosen, and class scores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from eegfm_bench.batches import EEGDataModule
from eegfm_bench.errors import SpecError
from eegfm_bench.models._spec import ModelSpec
from eegfm_bench.runs.record import Checkpoint
from eegfm_bench.runs.spec import ClosedFormRecipe, RunSpec, TrainingRecipe
from eegfm_bench.training.classifier import EpochEnd
from eegfm_bench.training.closed_form import softmax, solve_head
from eegfm_bench.training.gradient import Trained, train_by_gradient

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn


@torch.inference_mode()
def predict(
    model: nn.Module,
    data: EEGDataModule,
    part: str,
    *,
    device: str = "cpu",
    of: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> NDArray[np.float64]:
    """Return class probabilities (N, K) of a part, in the index's order.

    The windows of a sequence have a row each. With ``of``, return that function's
    raw values (N, D) instead.
    """
    model.eval()
    rows = [
        (of or model)(batch.x.to(device)).double().cpu()
        for batch in data.in_order(part)
    ]
    values = torch.cat([row.flatten(0, -2) for row in rows]).numpy()
    return values if of is not None else softmax(values)


def train_whole(
    known: ModelSpec,
    model: nn.Module,
    data: EEGDataModule,
    spec: RunSpec,
    device: str,
    on_epoch: EpochEnd | None,
) -> Trained:
    """Train a model the way its family is trained.

    Raises
    ------
    SpecError
        If the recipe is of another kind than the model.
    """
    recipe = spec.recipe
    if known.trained_by == "gradient" and isinstance(recipe, TrainingRecipe):
        return train_by_gradient(model, data, recipe, device, on_epoch)
    if known.trained_by == "closed_form" and isinstance(recipe, ClosedFormRecipe):
        return _solve(model, data, recipe, device)
    if known.trained_by == "prior" and recipe.kind == "prior":
        return _set_prior(model, data, device)
    raise SpecError(
        f"{known.name} is trained by '{known.trained_by}', the recipe is of kind "
        f"'{recipe.kind}'. Make the spec from the model's own recipe."
    )


def _solve(
    model: Any, data: EEGDataModule, recipe: ClosedFormRecipe, device: str
) -> Trained:
    counts = data.counts()
    passes = counts["train"] + counts["val"]
    if hasattr(model, "fit_features"):
        windows = (batch.x.to(device) for batch in data.in_order("train"))
        model.fit_features(windows, torch.from_numpy(data.labels("train")))
        passes += counts["train"]
    parts = {
        part: (
            predict(model, data, part, device=device, of=model.features),
            data.labels(part),
        )
        for part in ("train", "val")
    }
    n_classes = len(data.store.manifest["classes"])
    solved = solve_head(
        parts["train"], parts["val"], n_classes=n_classes, recipe=recipe
    )
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(solved.weight_KD))
        model.head.bias.copy_(torch.from_numpy(solved.bias_K))
    checkpoint = Checkpoint(
        rule=f"closed form, penalty by highest val {recipe.select}",
        val_score=solved.val_score,
        chosen={"penalty": solved.penalty},
    )
    val_scores_NK = softmax(parts["val"][0] @ solved.weight_KD.T + solved.bias_K)
    return checkpoint, val_scores_NK, passes


def _set_prior(model: Any, data: EEGDataModule, device: str) -> Trained:
    model.set_prior(torch.from_numpy(data.labels("train")))
    checkpoint = Checkpoint(rule="none: nothing is chosen")
    val_scores_NK = predict(model, data, "val", device=device)
    return checkpoint, val_scores_NK, len(val_scores_NK)
