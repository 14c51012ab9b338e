"""A batch in pieces has the loss and the gradient of the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from eegfm_bench.batches import Batch
from eegfm_bench.models._spec import build
from eegfm_bench.runs.spec import TrainingRecipe
from eegfm_bench.training import pieces
from eegfm_bench.training.classifier import LitClassifier
from eegfm_bench.training.pieces import loss_in_pieces


class Small(nn.Module):
    """Two layers before a head; notes how many windows came at once."""

    def __init__(self, at_once: int | None = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(6, 5)
        self.unused = nn.Linear(2, 2)
        self.head = nn.Sequential(nn.Linear(5, 8), nn.ELU(), nn.Linear(8, 3))
        self.windows_at_once = at_once
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(x))
        return self.head(self.first(x.flatten(1)).tanh())


def batch(n: int = 11) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    x = torch.randn(n, 2, 3, generator=random)
    return x, torch.randint(0, 3, (n,), generator=random)


def gradients(model: nn.Module) -> dict[str, torch.Tensor | None]:
    found = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    return found


def classifier(model: nn.Module, **recipe: Any) -> LitClassifier:
    return LitClassifier(
        model,
        TrainingRecipe(epochs=1, batch_size=64, lr=1e-3, **recipe),
        class_counts=np.array([5, 50, 7]),
        n_steps=1,
    )


@pytest.mark.parametrize("large", [1, 1 << 20], ids=["gathered", "added up"])
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_pieces_give_the_loss_and_gradient_of_the_batch(
    monkeypatch: pytest.MonkeyPatch, large: int, weights: str
) -> None:
    monkeypatch.setattr(pieces, "LARGE", large)
    model = Small()
    lit = classifier(model, class_weights=weights, label_smoothing=0.1)
    x, y = batch(11)
    whole = lit.criterion(model(x), y)
    whole.backward()
    expected = gradients(model)
    loss = lit.training_step(Batch(x, y), 0)
    loss.backward()
    assert model.seen == [11, 4, 4, 3]
    torch.testing.assert_close(loss, whole, rtol=1e-6, atol=0)
    found = gradients(model)
    assert found["unused.weight"] is None
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6)


def test_a_frozen_encoder_and_a_shared_weight_keep_their_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pieces, "LARGE", 1)
    model = Small()
    model.first.requires_grad_(False)
    model.head.append(nn.ELU())
    model.head.append(nn.Linear(3, 8))
    model.head.append(nn.Linear(8, 3))
    model.head[4].weight = nn.Parameter(torch.randn(8, 3))
    model.head[2].weight = nn.Parameter(torch.randn(3, 8))
    model.head[5].weight = model.head[2].weight
    x, y = batch()
    F.cross_entropy(model(x), y).backward()
    expected = gradients(model)
    loss_in_pieces(model, F.cross_entropy, x, y).backward()
    for name, value in gradients(model).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-6)


def test_lower_precision_in_pieces_is_as_near_as_the_whole() -> None:
    model = Small()
    x, y = batch(64)
    F.cross_entropy(model(x), y).backward()
    exact = gradients(model)
    off = []
    for is_whole in (True, False):
        with torch.autocast("cpu", torch.bfloat16):
            if is_whole:
                loss = F.cross_entropy(model(x).float(), y)
            else:
                loss = loss_in_pieces(
                    model, lambda z, y: F.cross_entropy(z.float(), y), x, y
                )
        loss.backward()
        found = gradients(model)
        assert found["first.weight"].dtype == torch.float32
        off.append((found["first.weight"] - exact["first.weight"]).norm())
    assert off[1] < 2 * off[0] + 1e-4


def test_gradients_are_handed_over_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Small()
    made: list[int] = []
    plain = pieces._Handed.apply

    def noted(loss: Any, given: Any, *trained: Any) -> Any:
        made.extend(g.data_ptr() for g in given if g is not None)
        return plain(loss, given, *trained)

    monkeypatch.setattr(pieces._Handed, "apply", noted)
    loss_in_pieces(model, F.cross_entropy, *batch()).backward()
    kept = [p.grad.data_ptr() for p in model.parameters() if p.grad is not None]
    assert kept == made


def test_a_loss_that_is_scaled_scales_its_gradient() -> None:
    model = Small()
    (3 * loss_in_pieces(model, F.cross_entropy, *batch())).backward()
    thrice = gradients(model)
    loss_in_pieces(model, F.cross_entropy, *batch()).backward()
    once = gradients(model)
    torch.testing.assert_close(thrice["first.bias"], 3 * once["first.bias"])


@pytest.mark.parametrize(("at_once", "seen"), [(None, [11]), (11, [11]), (1, [1] * 11)])
def test_a_batch_that_fits_stays_whole(at_once: int | None, seen: list[int]) -> None:
    model = Small(at_once)
    x, y = batch()
    classifier(model).training_step(Batch(x, y), 0).backward()
    assert model.seen == seen
    assert model.first.weight.grad.abs().max() > 0


def test_cbramod_in_pieces_learns_as_from_the_whole() -> None:
    torch.manual_seed(0)
    model = build(
        "cbramod",
        channels=["Fz", "Cz"],
        n_times=400,
        rate_hz=200.0,
        n_classes=3,
        n_layers=1,
        drop_prob=0.0,
        head_drop_prob=0.0,
    )
    assert model.windows_at_once == 400
    assert (
        build(
            "cbramod",
            channels=["Cz"],
            n_times=400,
            rate_hz=200.0,
            n_classes=3,
            scale="small",
        ).windows_at_once
        is None
    )  # its batch norm sees the whole batch
    x, y = 20 * torch.randn(5, 2, 400), torch.arange(5) % 3
    F.cross_entropy(model(x), y).backward()
    expected = gradients(model)
    model.n_tokens = 800  # two windows at once
    loss_in_pieces(model, F.cross_entropy, x, y).backward()
    for name, value in gradients(model).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)
