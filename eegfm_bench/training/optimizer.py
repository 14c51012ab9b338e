"""From a recipe to an optimiser: which weights learn how fast, and when.

From: a model and a TrainingRecipe. To: ``LitClassifier``. A recipe that names neither a
rate of the head nor a decay by layers trains all weights alike.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from eegfm_bench.errors import SpecError
from eegfm_bench.runs.spec import TrainingRecipe

# Where the cosine ends, in the sources that have one (CBraMod, CodeBrain).
LAST_LR = 1e-6


def optimizer_of(
    model: nn.Module, recipe: TrainingRecipe, n_steps: int, steps_per_epoch: float
) -> Any:
    """Return what Lightning's ``configure_optimizers`` returns.

    Parameters
    ----------
    model : nn.Module
        With ``head``; with ``n_layers`` and ``layer_of`` where the recipe has a
        ``layer_decay``.
    recipe : TrainingRecipe
    n_steps : int
        Optimiser steps in all.
    steps_per_epoch : float

    Raises
    ------
    SpecError
        If the recipe asks for a decay by layers and the model names none.
    """
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    groups = parameter_groups(model, recipe)
    # In one pass over the weights: a third of the time, the same to the last digits.
    optimizer = kind(
        groups, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=_can_fuse(groups)
    )
    n_warm = round(recipe.warmup_epochs * steps_per_epoch)
    if recipe.schedule == "constant" and not n_warm:
        return optimizer
    # The one end of this schedule would raise rates that layers have made smaller.
    if not n_warm and recipe.layer_decay is None:
        schedule: Any = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, T_max=n_steps, eta_min=min(LAST_LR, recipe.lr)
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def share(step: int) -> float:
        if step < n_warm:
            return (step + 1) / n_warm
        if recipe.schedule == "constant":
            return 1.0
        done = (step - n_warm) / max(n_steps - n_warm, 1)
        last = min(LAST_LR / recipe.lr, 1.0)
        return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def _can_fuse(groups: list[dict[str, Any]]) -> bool:
    """Say whether torch has a step in one pass for all of these weights."""
    return all(
        torch.is_floating_point(p) and p.device.type in ("cpu", "cuda")
        for group in groups
        for p in group["params"]
    )


def parameter_groups(model: nn.Module, recipe: TrainingRecipe) -> list[dict[str, Any]]:
    """Return the trained weights in groups of one rate and one decay.

    One group, in the model's order, where the recipe treats all alike.
    """
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    if recipe.head_lr is recipe.layer_decay is None and recipe.decays == "all":
        return [{"params": [p for _, p in trained]}]
    in_head = {id(p) for p in _head(model).parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trained:
        rate = recipe.lr
        if id(parameter) in in_head:
            rate = recipe.lr if recipe.head_lr is None else recipe.head_lr
        elif recipe.layer_decay is not None:
            rate *= recipe.layer_decay ** _layers_above(model, name)
        decay = recipe.weight_decay
        if recipe.decays == "matrices" and parameter.ndim < 2:
            decay = 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


def _head(model: Any) -> nn.Module:
    head: nn.Module = model.head
    return head


def _layers_above(model: Any, name: str) -> int:
    """Return how many layers lie between a weight and the head, its own included."""
    if not hasattr(model, "layer_of"):
        raise SpecError(
            f"The recipe's layer_decay needs a model that names its layers; "
            f"{type(model).__name__} does not. Set layer_decay to null."
        )
    n_layers: int = model.n_layers
    return n_layers - int(model.layer_of(name))
