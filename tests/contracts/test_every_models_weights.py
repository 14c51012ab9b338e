"""What every registered model owes to weights: its own, public ones, and adapting."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eegfm_bench.models._spec import InputShape, ModelSpec, find_model, model_names
from eegfm_bench.weights.files import read_weights
from eegfm_bench.weights.loading import load

# Pairs, some of them published; one name that no list has.
CHANNELS = ("Fp1-F7", "F7-T3", "C3-A2", "P4-O2", "E5")
SHAPE = InputShape(channels=CHANNELS, n_times=800, rate_hz=200.0, n_classes=3)


@pytest.fixture(params=model_names())
def known(request: pytest.FixtureRequest) -> ModelSpec:
    return find_model(request.param)


@pytest.fixture
def adapted(known: ModelSpec) -> ModelSpec:
    if not known.weights.lora:
        pytest.skip("no layer of it is named for LoRA")
    return known


def built(known: ModelSpec, *, seed: int = 0, sequence: int = 1) -> Any:
    torch.manual_seed(seed)
    shape = InputShape(
        channels=CHANNELS, n_times=800, rate_hz=200.0, n_classes=3, sequence=sequence
    )
    return known.build(shape, scale="small").eval()


def windows(*lead: int) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return 20 * torch.randn(*lead, len(CHANNELS), 800, generator=random)


@torch.no_grad()
def test_its_own_state_loads_back_in_full(known: ModelSpec, tmp_path: Path) -> None:
    if known.trained_by != "gradient":
        pytest.skip(f"it is {known.trained_by}: nothing of its encoder is trained")
    model, other = built(known), built(known, seed=99)
    model.train()(windows(3))  # moves running statistics
    torch.save(model.state_dict(), tmp_path / "state.pth")
    report = load(
        other, known, read_weights(tmp_path / "state.pth"), probe_x=windows(3)
    )
    assert report.is_full
    assert report.layout == "own"
    assert report.fresh == ()
    x = windows(3)
    assert torch.equal(other.features(x), model.eval().features(x))
    assert not torch.equal(other(x), model(x))  # the head is its own


def test_what_it_says_of_public_weights_is_whole(known: ModelSpec) -> None:
    weights = known.weights
    layouts = [layout.name for layout in weights.layouts]
    assert len(set(layouts)) == len(layouts)
    assert "own" not in layouts
    keys = [public.key for public in weights.public]
    assert len(set(keys)) == len(keys)
    for public in weights.public:
        assert public.layout in ("own", *layouts)
        assert public.licence
        assert public.source
        assert public.file
        assert public.pretrained_on
        assert bool(public.hub) != bool(public.url)
        assert not public.hub or re.fullmatch(r"[\w.-]+/[\w.-]+", public.hub)
        assert not public.url or public.url.endswith(public.file)
        assert re.fullmatch(r"([0-9a-f]{64})?", public.sha256)
        assert re.fullmatch(r"([0-9a-f]{40})?", public.git_blob)
        assert weights.known(sha256=public.sha256) in (public, None)
        known.options_for("paper", public.options)
    assert (weights.reshape is not None) or not weights.by_channel


def test_its_tensors_by_channel_are_its_own(known: ModelSpec) -> None:
    model = built(known)
    for name in known.weights.by_channel:
        assert name in model.state_dict()
        assert model.channels == CHANNELS


@torch.no_grad()
def test_pooled_is_each_channels_mean_token(known: ModelSpec) -> None:
    model = built(known)
    if not hasattr(model, "pooled"):
        assert not known.weights.public
        assert not known.weights.lora
        pytest.skip("it has no tokens: its features are pooled")
    x = windows(3)
    pooled = model.pooled(x)
    tokens = (getattr(model, "tokens", None) or model.encode)(x)
    assert tokens.ndim == 4
    assert tokens.shape[1] == len(CHANNELS)
    assert pooled.shape == (3, len(CHANNELS) * tokens.shape[-1])
    assert torch.isfinite(pooled).all()
    by_hand = torch.stack([tokens[:, :, p] for p in range(tokens.shape[2])]).sum(0)
    by_hand = (by_hand / tokens.shape[2]).flatten(1)
    torch.testing.assert_close(pooled, by_hand, rtol=1e-4, atol=1e-5)
    assert torch.equal(pooled, model.pooled(x))
    assert pooled.std(0).min() > 0  # windows differ in every feature


@torch.no_grad()
def test_pooled_of_a_sequence_is_that_of_its_windows(known: ModelSpec) -> None:
    model, x = built(known, sequence=2), windows(3, 2)
    pooled = model.pooled(x)
    assert pooled.shape[:2] == (3, 2)
    alone = getattr(model.model, "pooled", model.model.features)(x.flatten(0, 1))
    assert torch.equal(pooled.flatten(0, 1), alone)


class Beside(nn.Module):
    """A layer with something beside it, as an adapter is."""

    def __init__(self, layer: nn.Module, gain: float) -> None:
        super().__init__()
        self.layer, self.gain = layer, gain

    @property
    def weight(self) -> Tensor:
        """The layer's own: whoever takes it passes the adapter by."""
        return self.layer.weight

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer gives, bent by the gain."""
        y: Tensor = self.layer(x)
        return y + self.gain * torch.sin(3 * y + 1)


def layers_of_lora(known: ModelSpec, model: nn.Module) -> list[str]:
    return [
        name
        for name, _ in model.named_modules()
        if any(re.fullmatch(pattern, name) for pattern in known.weights.lora)
    ]


@torch.no_grad()
def test_every_layer_that_lora_adapts_is_heard(adapted: ModelSpec) -> None:
    model, x = built(adapted), windows(2)
    before = model.features(x)
    names = layers_of_lora(adapted, model)
    assert names
    for name in names:
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        model.set_submodule(name, Beside(layer, 0.0))
        torch.testing.assert_close(model.features(x), before, rtol=1e-4, atol=1e-5)
        model.set_submodule(name, Beside(layer, 1.0))
        change = (model.features(x) - before).abs().max()
        assert change > 2e-5 * before.abs().max(), name
        model.set_submodule(name, layer)
    assert torch.equal(model.features(x), before)


def test_every_pattern_of_lora_names_layers_and_none_of_the_head(
    adapted: ModelSpec,
) -> None:
    model, in_sequence = built(adapted), built(adapted, sequence=2)
    heads = {id(module) for module in model.head.modules()}
    names = layers_of_lora(adapted, model)
    for pattern in adapted.weights.lora:
        assert any(re.fullmatch(pattern, name) for name in names), pattern
    assert not {id(model.get_submodule(name)) for name in names} & heads
    assert layers_of_lora(adapted, in_sequence) == [f"model.{name}" for name in names]
