"""The optimiser's step in one pass, and clipping before it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from eegfm_bench.runs.spec import TrainingRecipe
from eegfm_bench.training.classifier import LitClassifier
from eegfm_bench.training.optimizer import optimizer_of


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(7, 5)
        self.head = nn.Linear(5, 3)


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_a_step_in_one_pass_is_the_plain_step(name: str, kind: type) -> None:
    recipe = TrainingRecipe(
        epochs=1,
        batch_size=8,
        lr=1e-2,
        head_lr=3e-2,
        weight_decay=0.1,
        optimizer=name,  # type: ignore[arg-type]
        schedule="constant",
    )
    ours, theirs = Plain(), Plain()
    fused = optimizer_of(ours, recipe, 10, 10.0)
    assert fused.defaults["fused"]
    plain = kind(
        [
            {"params": list(theirs.body.parameters()), "lr": 1e-2},
            {"params": list(theirs.head.parameters()), "lr": 3e-2},
        ],
        weight_decay=0.1,
        fused=False,
        foreach=False,
    )
    random = torch.Generator().manual_seed(1)
    for _ in range(5):
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.grad = torch.randn(p.shape, generator=random)
            q.grad = p.grad.clone()
        fused.step()
        plain.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_gradients_are_clipped_together(clip: float | None) -> None:
    model = Plain()
    lit = LitClassifier(
        model,
        TrainingRecipe(epochs=1, batch_size=8, lr=1e-2, clip=clip),
        class_counts=np.array([1, 1, 1]),
        n_steps=1,
    )
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    before = sum(p.numel() for p in model.parameters()) ** 0.5
    lit.configure_gradient_clipping(torch.optim.SGD(model.parameters()), clip, None)
    norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    torch.testing.assert_close(norm, torch.tensor(before if clip is None else clip))
