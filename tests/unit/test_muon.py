"""Muon: each expert's matrix apart, equal to torch's; every weight in one group."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from eegfm_bench.models.trace.forecast import ForecastHeads
from eegfm_bench.pretraining.muon import (
    StackMuon,
    grouped,
    operations_of_step,
    optimizers_of,
    orthogonalised,
)
from eegfm_bench.pretraining.objectives import objective_of
from eegfm_bench.runs.pretrain import recipe_of
from tests.small_corpus import corpus, spec

VALUES = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.9, "ns_steps": 5}


def gradients(*shape: int, n: int = 4) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    return [torch.randn(*shape, generator=random) for _ in range(n)]


def walked(optimizer: Any, weight: nn.Parameter, along: list[torch.Tensor]) -> Any:
    for gradient in along:
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("sides", [(8, 24), (24, 8), (16, 16)])
def test_a_stack_moves_as_torchs_muon_moves_each_slice(sides: tuple[int, int]) -> None:
    start, along = gradients(3, *sides, n=1)[0], gradients(3, *sides)
    weight = nn.Parameter(start.clone())
    moved = walked(StackMuon([weight], **VALUES), weight, along)
    for n in range(3):
        alone = nn.Parameter(start[n].clone())
        theirs = torch.optim.Muon([alone], adjust_lr_fn="match_rms_adamw", **VALUES)
        walked(theirs, alone, [gradient[n] for gradient in along])
        torch.testing.assert_close(moved[n], alone.detach(), rtol=0, atol=1e-6)
    assert (moved - start).abs().max() > 0.01


def test_without_torchs_muon_a_matrix_moves_the_same() -> None:
    start, along = gradients(12, 20, n=1)[0], gradients(12, 20)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    muon = torch.optim.Muon([theirs], adjust_lr_fn="match_rms_adamw", **VALUES)
    torch.testing.assert_close(
        walked(StackMuon([ours], **VALUES), ours, along),
        walked(muon, theirs, along),
        rtol=0,
        atol=1e-6,
    )


def test_old_torch_gets_our_muon(monkeypatch: pytest.MonkeyPatch) -> None:
    model, recipe = objective_of(spec(corpus())), recipe_of("causal", "small")
    kinds = [type(optimizer) for optimizer in optimizers_of(model, recipe)]
    assert kinds == [torch.optim.Muon, StackMuon, torch.optim.AdamW]
    monkeypatch.delattr(torch.optim, "Muon")
    kinds = [type(optimizer) for optimizer in optimizers_of(model, recipe)]
    assert kinds == [StackMuon, StackMuon, torch.optim.AdamW]


def test_an_expert_that_nobody_chose_rests() -> None:
    weight = nn.Parameter(gradients(2, 6, 6, n=1)[0])
    muon, first, second = StackMuon([weight], **VALUES), *gradients(2, 6, 6, n=2)
    walked(muon, weight, [first])
    before = weight.detach().clone()
    momentum = muon.state[weight]["momentum_buffer"].clone()
    second[1] = 0.0
    walked(muon, weight, [second])
    assert torch.equal(weight[1], before[1])
    assert torch.equal(muon.state[weight]["momentum_buffer"][1], momentum[1])
    assert not torch.equal(weight[0], before[0])


def test_all_singular_values_come_near_one_and_directions_stay() -> None:
    update = gradients(4, 10, 30, n=1)[0] * 1e-3
    straight = orthogonalised(update, 5).float()
    left, _, right = torch.linalg.svd(update, full_matrices=False)
    assert torch.linalg.svdvals(straight).min() > 0.6
    assert torch.linalg.svdvals(straight).max() < 1.3
    along = (left.mT @ straight @ right.mT).diagonal(dim1=1, dim2=2)
    assert along.min() > 0.6


def test_an_update_has_the_size_of_adamws() -> None:
    # 0.2 sqrt(longer side) x a matrix of orthonormal rows has an RMS of 0.2.
    weight = nn.Parameter(torch.zeros(2, 16, 64))
    walked(StackMuon([weight], lr=1.0), weight, gradients(2, 16, 64, n=1))
    rms = weight.detach().square().mean((1, 2)).sqrt()
    assert ((rms > 0.15) & (rms < 0.25)).all()


@pytest.mark.parametrize("objective", ["causal", "masked"])
@pytest.mark.parametrize("routing", ["trace", "token", "mean"])
def test_every_weight_is_in_one_group(objective: str, routing: str) -> None:
    model = objective_of(
        spec(corpus(), objective=objective, options={"routing": routing})
    )
    groups = grouped(model)
    named = [n for kind in groups.__slots__ for n in getattr(groups, kind)]
    assert sorted(named) == sorted(name for name, _ in model.named_parameters())
    recipe = recipe_of(objective, "small")
    held = [
        id(weight)
        for optimizer in optimizers_of(model, recipe)
        for group in optimizer.param_groups
        for weight in group["params"]
    ]
    assert sorted(held) == sorted(id(weight) for weight in model.parameters())


def test_groups_are_those_of_the_paper() -> None:
    model = objective_of(spec(corpus(), options={"layers": 1}))
    assert isinstance(model.heads, ForecastHeads)
    groups, block = grouped(model), "encoder.blocks.0."
    assert set(groups.matrices) == {
        f"{block}{name}.weight"
        for name in (
            *("attention.project_in", "attention.project_out"),
            *("ffn.history.key", "ffn.history.value"),
            *("ffn.history.mix.0", "ffn.history.mix.2", "ffn.select"),
            *("ffn.shared.gate_up", "ffn.shared.down"),
        )
    }
    assert groups.stacks == (
        f"{block}ffn.experts.gate_up",
        f"{block}ffn.experts.down",
    )
    assert {"heads.heads.1.weight", "encoder.patches.time.convs.0.weight"} < set(
        groups.decayed
    )
    assert {
        f"{block}ffn.history.queries",
        f"{block}ffn_norm.weight",
        "encoder.patches.spectrum.mask",
        "encoder.patches.time.project.bias",
    } < set(groups.plain)


def test_rates_and_decays_are_the_recipes() -> None:
    recipe = recipe_of("causal", "paper", {"lr": 2e-4, "weight_decay": 0.1})
    muon, stacks, adamw = optimizers_of(objective_of(spec(corpus())), recipe)
    assert [muon.param_groups[0][k] for k in ("lr", "weight_decay")] == [2e-4, 0.1]
    assert [stacks.param_groups[0][k] for k in ("lr", "ns_steps")] == [2e-4, 5]
    assert [group["weight_decay"] for group in adamw.param_groups] == [0.1, 0.0]
    assert {group["lr"] for group in adamw.param_groups} == {5e-4}


def test_a_dense_network_has_no_stacks() -> None:
    model = objective_of(spec(corpus(), options={"routing": "none", "dense_width": 32}))
    assert grouped(model).stacks == ()
    assert len(optimizers_of(model, recipe_of("causal", "small"))) == 2


def test_weights_of_one_axis_are_refused() -> None:
    with pytest.raises(ValueError, match="matrices and stacks"):
        StackMuon([nn.Parameter(torch.zeros(3))])


def test_operations_count_both_kinds() -> None:
    assert operations_of_step([(2, 2, 3), (3, 2)], ns_steps=2) == 3 * 2 * (48 + 16)
