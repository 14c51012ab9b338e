"""Which weights learn by Muon and which by AdamW, and Muon for stacks of matrices.

From: an objective with its encoder. To: ``module``, two or three optimisers that
between them hold every weight once.

Muon follows the direction of a matrix's momentum with all singular values brought
near one (Newton-Schulz steps in bfloat16), so that a step's size does not depend on
the gradient's. Its rate is scaled by 0.2 sqrt(larger side), which gives updates the
RMS that AdamW's have, and both then take rates of the same size.

Letters: N matrices of a stack (experts), A rows, B columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from eegfm_bench.models.trace.experts import Experts
from eegfm_bench.runs.pretrain import PretrainRecipe

# Of the quintic iteration, from its authors; not a fixed point at 1, but fast.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
EPS = 1e-7
# Where Linear layers are neither the way in nor the way out: Muon's own custom is to
# leave these two to AdamW (C); the paper names attention, experts, TemporalFormer (T).
_INSIDE = "encoder.blocks."


@dataclass(frozen=True, slots=True)
class Groups:
    """Names of weights by how they learn; every trained weight is in one of them.

    ``matrices``: Muon, one matrix each. ``stacks``: Muon, a matrix an expert.
    ``decayed`` and ``plain``: AdamW with weight decay and without.
    """

    matrices: tuple[str, ...]
    stacks: tuple[str, ...]
    decayed: tuple[str, ...]
    plain: tuple[str, ...]

    def described(self) -> dict[str, str]:
        """Return what learns how, in words, for a card or a table."""
        return {
            "Muon": f"{len(self.matrices)} matrices of linear layers in the blocks",
            "Muon, each expert apart": f"{len(self.stacks)} stacks of experts",
            "AdamW": f"{len(self.decayed)} kernels, projections of patches and heads",
            "AdamW without decay": (
                f"{len(self.plain)} norms, biases, queries, spectral and patch masks"
            ),
        }


def grouped(model: nn.Module) -> Groups:
    """Sort the trained weights of an objective by how they learn.

    Parameters
    ----------
    model : nn.Module
        With the encoder as ``encoder``.
    """
    linear = {
        f"{at}.weight"
        for at, part in model.named_modules()
        if isinstance(part, nn.Linear)
    }
    stacked = {
        f"{at}.{name}"
        for at, part in model.named_modules()
        if isinstance(part, Experts)
        for name, _ in part.named_parameters(recurse=False)
    }
    sorted_by: dict[str, list[str]] = {k: [] for k in Groups.__dataclass_fields__}
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        if name in stacked:
            kind = "stacks"
        elif name in linear and name.startswith(_INSIDE):
            kind = "matrices"
        elif name in linear or weight.ndim > 2:
            kind = "decayed"
        else:
            kind = "plain"
        sorted_by[kind].append(name)
    return Groups(**{kind: tuple(names) for kind, names in sorted_by.items()})


def optimizers_of(model: nn.Module, recipe: PretrainRecipe) -> list[Optimizer]:
    """Return the optimisers of an objective: Muon for matrices, for stacks, AdamW.

    Those without any weight are left out. Rates are the recipe's highest; a schedule
    sets them at each step.
    """
    groups, named = grouped(model), dict(model.named_parameters())

    def of(names: Iterable[str]) -> list[nn.Parameter]:
        return [named[name] for name in names]

    muon: dict[str, Any] = {
        "lr": recipe.lr,
        "weight_decay": recipe.weight_decay,
        "momentum": recipe.momentum,
        "ns_steps": recipe.ns_steps,
    }
    optimizers: list[Optimizer] = []
    if groups.matrices:
        optimizers.append(_muon_of_torch()(of(groups.matrices), **muon))
    if groups.stacks:
        optimizers.append(StackMuon(of(groups.stacks), **muon))
    adamw = [
        {"params": of(groups.decayed), "weight_decay": recipe.weight_decay},
        {"params": of(groups.plain), "weight_decay": 0.0},
    ]
    optimizers.append(
        AdamW(
            [group for group in adamw if group["params"]],
            lr=recipe.lr_adamw,
            betas=recipe.betas,
        )
    )
    return optimizers


def _muon_of_torch() -> Callable[..., Optimizer]:
    """Return torch's Muon with AdamW's RMS; before torch 2.9 ours, which is equal."""
    theirs: Any = getattr(torch.optim, "Muon", None)
    if theirs is None:
        return StackMuon
    return lambda weights, **values: theirs(
        weights, adjust_lr_fn="match_rms_adamw", **values
    )


class StackMuon(Optimizer):
    """Muon for weights (N, A, B), every matrix of which is a weight of its own.

    Equal to ``torch.optim.Muon(adjust_lr_fn="match_rms_adamw")`` on each matrix, all
    of a stack computed at once. A matrix whose gradient is exactly zero, an expert
    that nobody chose, rests as a weight without gradient does: with its momentum made
    unit-sized it would be driven on along an old direction. Weights (A, B) are stacks
    of one, and do not rest.

    Parameters
    ----------
    params : iterable of nn.Parameter
        Of two axes or three.
    lr, weight_decay, momentum, ns_steps
        As in ``torch.optim.Muon``; Nesterov's momentum.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        *,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        ns_steps: int = 5,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "ns_steps": ns_steps,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.ndim not in (2, 3):
                    raise ValueError(
                        f"Muon takes matrices and stacks of them; found a weight of "
                        f"{tuple(weight.shape)}."
                    )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step from the gradients at hand."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group)
        return loss

    def _move(self, weight: Tensor, group: dict[str, Any]) -> None:
        gradient = weight.grad
        assert gradient is not None
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        kept: Tensor = state["momentum_buffer"]
        # 1 where a matrix moves: a factor, since waiting for a choice costs a sync.
        moves: Tensor | float = 1.0
        if weight.ndim == 3:
            moves = (gradient != 0).any(-1).any(-1).to(weight.dtype)[:, None, None]
        kept.add_((gradient - kept) * ((1 - group["momentum"]) * moves))
        update = gradient.lerp(kept, group["momentum"])
        straight = orthogonalised(update, group["ns_steps"])
        rate = group["lr"] * 0.2 * max(weight.shape[-2:]) ** 0.5
        weight.mul_(1 - group["lr"] * group["weight_decay"] * moves)
        weight.sub_(straight.to(weight.dtype) * (rate * moves))


def orthogonalised(update: Tensor, ns_steps: int) -> Tensor:
    """Bring all singular values of each matrix near one, keeping its directions.

    Parameters
    ----------
    update : tensor (A, B) or (N, A, B)
    ns_steps : int
        Newton-Schulz steps; 5 leave singular values at about 0.7 to 1.2.

    Returns
    -------
    straight : tensor of the same shape, bfloat16
    """
    a, b, c = COEFFICIENTS
    x_NAB = update.bfloat16()
    if x_NAB.ndim == 2:
        x_NAB = x_NAB.unsqueeze(0)
    is_tall = x_NAB.shape[1] > x_NAB.shape[2]
    if is_tall:  # the product of the shorter side is the smaller one
        x_NAB = x_NAB.mT
    norm_N11 = torch.linalg.vector_norm(x_NAB, dim=(1, 2), keepdim=True)
    x_NAB = x_NAB / norm_N11.clamp(min=EPS)
    for _ in range(ns_steps):
        gram_NAA = x_NAB @ x_NAB.mT
        turn_NAA = torch.baddbmm(gram_NAA, gram_NAA, gram_NAA, beta=b, alpha=c)
        x_NAB = torch.baddbmm(x_NAB, turn_NAA, x_NAB, beta=a)
    if is_tall:
        x_NAB = x_NAB.mT
    return x_NAB.view_as(update) if update.ndim == 3 else x_NAB.squeeze(0)


def operations_of_step(shapes: Iterable[tuple[int, ...]], ns_steps: int) -> int:
    """Return the operations of the Newton-Schulz steps of some weights.

    A multiplication and an addition count as two. Per matrix with sides m <= n and per
    step: 4 m² n + 2 m³.

    Examples
    --------
    >>> operations_of_step([(256, 1024)], ns_steps=1) == 4 * 256**2 * 1024 + 2 * 256**3
    True
    """
    total = 0
    for shape in shapes:
        short, long = sorted(shape[-2:])
        n_matrices = shape[0] if len(shape) == 3 else 1
        total += n_matrices * (4 * short**2 * long + 2 * short**3)
    return ns_steps * total
