"""A small model with everything that loading must think of, for tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eegfm_bench.models._spec import InputShape, ModelSpec
from eegfm_bench.models._weights import (
    Channels,
    Layout,
    Reshaped,
    Weights,
    rows_by_channel,
)
from eegfm_bench.runs.spec import TrainingRecipe
from eegfm_bench.weights.files import read_weights
from eegfm_bench.weights.loading import encoder_state

SHAPE = InputShape(channels=("Fz", "Cz", "Pz"), n_times=20, rate_hz=10.0, n_classes=2)
PROBE = 20 * torch.randn(4, 3, 20, generator=torch.Generator().manual_seed(1))


class Toy(nn.Module):
    """A table of channels, one of places, a norm with buffers, and a head."""

    def __init__(self, shape: InputShape) -> None:
        super().__init__()
        self.channels = shape.channels
        self.rows = nn.Parameter(torch.randn(shape.n_channels, 4))
        self.places = nn.Parameter(torch.randn(1, shape.n_times // 10, 4))
        self.mix = nn.Linear(10, 4)
        self.norm = nn.BatchNorm1d(4)
        self.anew = nn.Linear(4, 4)
        self.head = nn.Linear(4, shape.n_classes)

    def features(self, x_BCT: Tensor) -> Tensor:
        tokens = self.mix(x_BCT.unflatten(-1, (-1, 10))) + self.places
        mean = (tokens + self.rows[:, None]).mean((1, 2))
        return self.anew(self.norm(mean))

    def forward(self, x_BCT: Tensor) -> Tensor:
        return self.head(self.features(x_BCT))


def reshape(
    name: str, theirs: Tensor, ours: Tensor, channels: Channels
) -> Reshaped | None:
    if name == "rows":
        return rows_by_channel(theirs, ours, channels)
    if name == "places" and theirs.shape[1] < ours.shape[1]:
        new = ours.clone()
        new[:, : theirs.shape[1]] = theirs
        return Reshaped(tensor=new, how="the rest started anew")
    return None


SPEC = ModelSpec(
    name="toy",
    title="Toy",
    builder=lambda shape, scale: Toy(shape),
    trained_by="gradient",
    recipes={"paper": TrainingRecipe(epochs=1, batch_size=4, lr=1e-3)},
    options={},
    reference="none",
    licence="none",
    weights=Weights(
        layouts=(
            Layout(
                name="source",
                renames=(("mix.", "student.embed."), ("", "student.")),
                unused=("lm_head.", "student.mask"),
                fresh=("anew.",),
            ),
        ),
        reshape=reshape,
    ),
)
BY_CHANNEL = replace(SPEC, weights=replace(SPEC.weights, by_channel=("rows",)))


def built(seed: int = 0, shape: InputShape = SHAPE) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SPEC.build(shape)


def trained() -> nn.Module:
    """Return another start, whose norm has seen batches."""
    model = built(seed=5)
    with torch.random.fork_rng():
        model.train()(PROBE)
    return model


def on_disk(path: Path, state: dict[str, Any]) -> Any:
    torch.save(state, path)
    return read_weights(path)


def public_names() -> dict[str, Tensor]:
    state = {
        f"student.{name.replace('mix.', 'embed.')}": tensor
        for name, tensor in encoder_state(trained()).items()
        if not name.startswith("anew.")
    }
    return {**state, "lm_head.weight": torch.ones(3), "student.mask": torch.ones(1)}
