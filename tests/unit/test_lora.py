"""LoRA: the base's function at first, its weights at last, and no idle adapter."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from eegfm_bench.datasets._prepare import prepare
from eegfm_bench.errors import RunFailed, SpecError
from eegfm_bench.models._spec import InputShape, ModelSpec, find_model
from eegfm_bench.models._weights import Weights
from eegfm_bench.runs.spec import RunSpec, TrainingRecipe
from eegfm_bench.training import ways
from eegfm_bench.training.adapting import Frozen, encoder_tensors
from eegfm_bench.training.classifier import LitClassifier
from eegfm_bench.training.fit import fit, input_shape
from eegfm_bench.training.lora import (
    LitLora,
    adapted_layers,
    add_adapters,
    base_tensors,
    idle_adapters,
    merge,
)
from eegfm_bench.weights.folder import load_folder
from tests.unit.skeletons_of_adapting import LORA, QUICK, checkpoint, small_spec

needs_peft = pytest.mark.skipif(
    importlib.util.find_spec("peft") is None,
    reason='peft is not installed: pip install "eegfm-bench[lora]"',
)
RECIPE = QUICK.model_copy(update=LORA)
SHAPE = InputShape(channels=("C3", "Cz", "C4"), n_times=800, rate_hz=200.0, n_classes=2)
FAMILIES = ["biot", "cbramod", "codebrain", "labram", "trace"]


def built(name: str, shape: InputShape = SHAPE) -> tuple[Any, ModelSpec, torch.Tensor]:
    """A small model, its family, and windows."""
    known = find_model(name)
    torch.manual_seed(0)
    model = known.build(shape, scale="small")
    inner = (shape.sequence,) if shape.sequence > 1 else ()
    x = 20 * torch.randn(4, *inner, shape.n_channels, shape.n_times)
    return model.eval(), known, x


def learnt(model: nn.Module) -> None:
    """Give every adapter's second matrix something to say."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))


@needs_peft
@pytest.mark.parametrize("name", FAMILIES)
def test_it_starts_as_the_base_and_merged_it_is_what_it_was_apart(name: str) -> None:
    model, known, x = built(name)
    base = {n: t.clone() for n, t in encoder_tensors(model).items()}
    frozen = Frozen.of(encoder_tensors(model))
    with torch.no_grad():
        before = model(x)
    layers = add_adapters(model, known, RECIPE)
    model.eval()
    with torch.no_grad():
        for layer in map(model.get_submodule, layers):
            rows = torch.randn(5, layer.in_features)
            assert torch.equal(layer(rows), layer.base_layer(rows))
        # What is added is zero; where it lies in memory can move a later sum's end.
        assert torch.allclose(model(x), before, atol=1e-6, rtol=1e-6)
    assert idle_adapters(model) == layers
    frozen.refuse_change(base_tensors(model))
    learnt(model)
    assert idle_adapters(model) == []
    frozen.refuse_change(base_tensors(model))
    with torch.no_grad():
        apart = model(x)
    assert not torch.allclose(apart, before, atol=1e-4)
    merge(model, x)
    with torch.no_grad():
        assert torch.allclose(model(x), apart, atol=1e-5, rtol=1e-5)
    assert set(encoder_tensors(model)) == set(base)  # as its builder made it
    fresh = known.build(SHAPE, scale="small")
    fresh.load_state_dict(model.state_dict())


@needs_peft
def test_adapters_and_the_head_are_trained_and_nothing_else() -> None:
    model, known, _ = built("cbramod")
    layers = add_adapters(model, known, RECIPE)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    head = {f"head.{n}" for n, _ in model.head.named_parameters()}
    adapters = {f"{layer}.lora_{ab}.default.weight" for layer in layers for ab in "AB"}
    assert trained == head | adapters
    rank = dict(model.named_parameters())[f"{layers[0]}.lora_A.default.weight"]
    assert rank.shape[0] == LORA["lora_rank"]
    assert layers == adapted_layers(built("cbramod")[0], known)


@needs_peft
def test_in_a_sequence_the_same_layers_are_adapted() -> None:
    alone, known, _ = built("cbramod")
    model, _, x = built("cbramod", dataclasses.replace(SHAPE, sequence=3))
    with torch.no_grad():
        before = model(x)
    names = add_adapters(model, known, RECIPE)
    assert names == [f"model.{n}" for n in adapted_layers(alone, known)]
    with torch.no_grad():
        assert torch.allclose(model.eval()(x), before, atol=1e-6, rtol=1e-6)
    learnt(model)
    merge(model, x)


@needs_peft
def test_a_run_proves_its_base_frozen_and_keeps_a_merged_model(tmp_path: Path) -> None:
    path, init = checkpoint(tmp_path)
    spec = small_spec(adapt="lora", init=init, recipe=RECIPE)
    store = prepare("eegmat", rate_hz=200.0)
    kept = tmp_path / "model"
    record, scores = fit(spec, store, weights=path, keep=kept)
    known, found = find_model("cbramod"), record.adaptation
    assert found is not None
    assert record.cost is not None
    file = torch.load(path, weights_only=True)
    base = known.build(input_shape(store), scale="small")
    base.load_state_dict(file)
    assert found.frozen_sha256 == Frozen.of(encoder_tensors(base)).sha256
    assert found.frozen == record.cost.n_parameters - record.cost.n_parameters_head
    assert 0 < found.trained - record.cost.n_parameters_head < found.frozen
    loaded = load_folder(kept)
    assert not any("lora" in name for name in loaded.state_dict())
    x = torch.from_numpy(store.take(store.rows("test")[:8]))
    with torch.no_grad():
        p = loaded(x).double().softmax(-1).numpy()
    found_scores = scores[["score_0", "score_1"]].to_numpy()[:8]
    assert p == pytest.approx(found_scores, abs=1e-5)
    again, _ = fit(spec, store, weights=path)
    assert again.scores == record.scores


class Normed(nn.Module):
    """An encoder with batch norm and dropout before its linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(3), nn.Dropout(0.5)
        self.layer = nn.Linear(3, 4)
        self.head = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))

    def forward(self, x_BCT: torch.Tensor) -> torch.Tensor:
        features = self.layer(self.drop(self.norm(x_BCT.std(dim=-1))))
        logits: torch.Tensor = self.head(features)
        return logits


@pytest.mark.parametrize("is_held", [True, False])
def test_statistics_of_the_encoders_norms_stand_still(is_held: bool) -> None:
    torch.manual_seed(0)
    model = Normed()
    kind = LitLora if is_held else LitClassifier
    lit = kind(model, RECIPE, class_counts=torch.ones(2).long().numpy(), n_steps=1)
    frozen = Frozen.of(encoder_tensors(model))
    head = copy.deepcopy(model.head[0].running_mean)
    for _ in range(2):  # Lightning sets the mode again after each validation
        lit.eval()
        lit.train()
        model(torch.randn(16, 3, 50))
    assert model.drop.training  # dropout is as in fine-tuning
    assert not torch.equal(model.head[0].running_mean, head)  # the head's own moves
    if is_held:
        frozen.refuse_change(encoder_tensors(model))
    else:
        with pytest.raises(RunFailed, match=r"changed \(norm.num_batches_tracked"):
            frozen.refuse_change(encoder_tensors(model))


@needs_peft
def test_adapters_that_are_not_heard_fail_the_run() -> None:
    # Weights used without calling their layer, as fused attention does.
    class Deaf(Normed):
        def features(self, x_BCT: torch.Tensor) -> torch.Tensor:
            layer = self.layer
            return nn.functional.linear(x_BCT.std(dim=-1), layer.weight, layer.bias)

        def forward(self, x_BCT: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(self.features(x_BCT))
            return logits

    known = dataclasses.replace(find_model("cbramod"), weights=Weights(lora=("layer",)))
    model = Deaf().eval()
    add_adapters(model, known, RECIPE)
    learnt(model)
    with pytest.raises(RunFailed, match="did not take part"):
        merge(model, torch.randn(4, 3, 50))


@needs_peft
def test_a_run_whose_adapters_all_learnt_nothing_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        ways, "train_by_gradient", lambda *a, **k: (None, torch.zeros(16, 2), 0)
    )
    spec = small_spec(adapt="lora", recipe=RECIPE)
    with pytest.raises(RunFailed, match=r"None of LoRA's \d+ adapters learnt"):
        fit(spec, prepare("eegmat", rate_hz=200.0))


def test_without_peft_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    model, known, _ = built("cbramod")
    with pytest.raises(SpecError, match=r'pip install "eegfm-bench\[lora\]"'):
        add_adapters(model, known, RECIPE)


def test_a_model_that_names_no_layers_is_refused_with_the_way_out() -> None:
    model, known, _ = built("eegnet")
    with pytest.raises(
        SpecError, match=r"eegnet does not say which.*finetune or probe"
    ):
        adapted_layers(model, known)
    spec = small_spec(model="eegnet", adapt="lora", recipe=RECIPE)
    with pytest.raises(SpecError, match="does not say which"):
        fit(spec, prepare("eegmat"))


def test_a_recipe_without_loras_values_is_no_lora() -> None:
    assert isinstance(RECIPE, TrainingRecipe)
    spec: RunSpec = small_spec(adapt="lora", recipe=QUICK)
    with pytest.raises(SpecError, match="needs lora_rank, lora_alpha and"):
        fit(spec, prepare("eegmat", rate_hz=200.0))
