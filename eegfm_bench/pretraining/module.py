"""One step of pre-training: micro-batches of several sources, then one move.

From: an objective, its spec, and a feed of micro-batches. To: ``loop``, as a
LightningModule, and a report of every step.

A step's loss is the mean of its micro-batches' losses plus the balance loss, in which
experts' loads are counted over all steps of all micro-batches, whatever their source
and process. The load must be known before any gradient: all micro-batches of a step
go forward in one graph, then backward together. To save memory, what lies within a
block of the encoder can be computed anew on the way back: the same numbers, a third
more work. With ``balance_over=micro``, or no balance at all, each goes
backward by itself anyway.

Letters: M micro-batches, L layers, N experts, K active ones, H parts of a loss.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, distributed
from torch.optim import Optimizer

from eegfm_bench.errors import RunFailed
from eegfm_bench.models.trace.ffn import Routed
from eegfm_bench.pretraining.feed import Feed, MicroBatch
from eegfm_bench.pretraining.muon import optimizers_of
from eegfm_bench.pretraining.objectives import Asked, objective_of
from eegfm_bench.runs.pretrain import PretrainSpec


@dataclass(frozen=True, slots=True)
class MicroReport:
    """What one micro-batch came to.

    ``each`` has NaN for a horizon that its windows are too short for. ``counts`` (L, N)
    are the blocks that chose each expert, ``probability`` (L, N) the sums of what the
    selector gave it, ``routed`` (L, N) the sums of the weights of those chosen,
    ``entropy`` (L,) the sums of the choices' entropies in nats; all over ``blocks``
    blocks, which are steps, or tokens with token-wise routing.
    """

    source: int
    tokens: int
    loss: float
    each: dict[str, float]
    blocks: int
    counts: np.ndarray
    probability: np.ndarray
    routed: np.ndarray
    entropy: np.ndarray


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step came to, over all processes; times are of the first."""

    step: int
    rates: tuple[float, float]
    loss: float
    objective: float
    balance: float
    gradient_norm: float
    micros: tuple[MicroReport, ...]
    tokens: int
    seconds: float
    waited_s: float
    is_asked_to_stop: bool


class PretrainModule(L.LightningModule):
    """An objective and its optimisers, moved one step at a time.

    Lightning hands it the number of a step; windows come from ``feed``.

    Parameters
    ----------
    spec : PretrainSpec
    saves_memory : bool
        Keep less for the way back, and compute it anew: the same numbers.

    Attributes
    ----------
    feed : Feed
        Set before training.
    report : StepReport
        Of the last step.
    wants_to_stop : function of nothing to bool
        Asked once a step; one process that wants to stops all, after the same step.
    """

    feed: Feed
    report: StepReport

    def __init__(self, spec: PretrainSpec, *, saves_memory: bool = False) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.spec = spec
        self.objective = objective_of(spec)
        self.objective.encoder.saves_memory = saves_memory
        config = self.objective.encoder.config
        self._n_layers = config.layers if config.routing != "none" else 0
        self._n_experts, self._n_active = config.experts, config.active
        self._patch_len, self._is_normed = config.patch_len, config.norm_topk
        self.moves = optimizers_of(self.objective, spec.recipe)
        self.wants_to_stop: Callable[[], bool] = lambda: False
        recipe = spec.recipe
        self._is_balanced_over_step = bool(
            self._n_layers and recipe.balance_weight and recipe.balance_over == "step"
        )

    def configure_optimizers(self) -> list[Optimizer]:
        """Return the optimisers: of matrices, of stacks of experts, of the rest."""
        return self.moves

    def training_step(self, step: int, batch_idx: int) -> None:
        """Take one step, over this process's share of its micro-batches."""
        started, waited_s = time.perf_counter(), self.feed.waited_s
        rates = rates_at(step, self.spec)
        for optimizer in self.moves:
            is_adamw = isinstance(optimizer, torch.optim.AdamW)
            for group in optimizer.param_groups:
                group["lr"] = rates[1] if is_adamw else rates[0]
            optimizer.zero_grad(set_to_none=True)
        rows_MF = self._learn(step)
        norm = torch.nn.utils.clip_grad_norm_(
            self.objective.parameters(), self.spec.recipe.clip
        )
        micros = self._unpacked(rows_MF[:, :-1].cpu().numpy())
        self._refuse_what_is_no_number(step, micros, float(norm))
        for optimizer in self.moves:
            optimizer.step()
        objective = sum(micro.loss for micro in micros) / len(micros)
        balance = self._balance(micros)
        self.report = StepReport(
            step=step,
            rates=rates,
            loss=objective + self.spec.recipe.balance_weight * balance,
            objective=objective,
            balance=balance,
            gradient_norm=float(norm),
            micros=micros,
            tokens=sum(micro.tokens for micro in micros),
            seconds=time.perf_counter() - started,
            waited_s=self.feed.waited_s - waited_s,
            is_asked_to_stop=bool(rows_MF[:, -1].any()),
        )

    def _learn(self, step: int) -> Tensor:
        """Leave the step's gradient in the weights; return what was measured (M, F).

        Lightning's DDP takes the mean of the processes' gradients, so that a share of
        a sum over micro-batches counts W times.
        """
        recipe = self.spec.recipe
        n_micro, world = recipe.micro_batches, self.trainer.world_size
        mine = range(self.trainer.global_rank, n_micro, world)
        n_fields = 5 + len(self.objective.parts)
        n_fields += self._n_layers * (3 * self._n_experts + 1)
        rows_MF = torch.zeros(n_micro, n_fields, dtype=torch.float64).to(self.device)
        losses: list[Tensor] = []
        given: list[Tensor] = []
        for batch in (self._taken(step, micro) for micro in mine):
            asked = self._asked(batch)
            loaded = loads(asked.routing, self._n_experts) if self._n_layers else None
            loss = asked.loss / n_micro
            if loaded is not None and self._is_balanced_over_step:
                losses.append(loss)
                given.append(loaded[1])
            else:
                if loaded is not None and recipe.balance_weight:
                    aux = uneven(*loaded, self._n_active) / n_micro
                    loss = loss + recipe.balance_weight * aux
                self._backward(world * loss, is_last=batch.micro == mine[-1])
            with torch.no_grad():
                rows_MF[batch.micro] = self._packed(batch, asked, loaded)
        rows_MF[mine[0], -1] = float(self.wants_to_stop())
        if distributed.is_initialized():
            distributed.all_reduce(rows_MF)
        if losses:
            given_LN = torch.stack(given).sum(0)
            first = 4 + len(self.objective.parts) + self._n_layers
            counts_LN = rows_MF[:, first : first + given_LN.numel()].sum(0)
            aux = uneven(
                counts_LN.view_as(given_LN).to(given_LN.dtype),
                given_LN,
                self._n_active,
                rows_MF[:, 2].sum().to(given_LN.dtype),
            )
            loss = torch.stack(losses).sum() + recipe.balance_weight * aux
            self._backward(world * loss, is_last=True)
        return rows_MF

    def _taken(self, step: int, micro: int) -> MicroBatch:
        batch = self.feed.take()
        if (batch.step, batch.micro) != (step, micro):
            raise RuntimeError(f"fed {batch.step, batch.micro}, not {step, micro}")
        return batch

    def _asked(self, batch: MicroBatch) -> Asked:
        x_BCT = batch.x.to(self.device, non_blocking=True)
        return self.objective(x_BCT, (self.spec.seed, batch.step, batch.micro))

    def _backward(self, loss: Tensor, *, is_last: bool) -> None:
        """Add a gradient; processes exchange theirs with the last one of a step."""
        strategy: Any = self.trainer.strategy
        can_wait = not is_last and hasattr(strategy, "block_backward_sync")
        with strategy.block_backward_sync() if can_wait else nullcontext():
            self.manual_backward(loss)

    def _packed(
        self, batch: MicroBatch, asked: Asked, loaded: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """Return a micro-batch's measures in one row: see ``_unpacked``."""
        n_windows, n_channels, n_times = batch.x.shape
        n_tokens = n_windows * n_channels * (n_times // self._patch_len)
        blocks = len(asked.routing[0].chosen) if asked.routing else 0
        like: dict[str, Any] = {"dtype": torch.float64, "device": self.device}
        missing = torch.tensor(torch.nan, **like)
        row = [
            torch.tensor([batch.source, n_tokens, blocks], **like),
            asked.loss.detach().double().view(1),
            torch.stack([asked.each.get(p, missing) for p in self.objective.parts]).to(
                torch.float64
            ),
        ]
        if loaded is not None:
            entropies = [
                torch.special.entr(routed.probabilities).sum()
                for routed in asked.routing
            ]
            row += [torch.stack(entropies).double()]
            row += [load_LN.flatten().double() for load_LN in loaded]
            row.append(routed_sums(asked.routing, loaded[1], self._is_normed).flatten())
        return torch.cat([*row, torch.zeros(1, **like)])

    def _unpacked(self, rows_MF: np.ndarray) -> tuple[MicroReport, ...]:
        parts, layers = self.objective.parts, self._n_layers
        shape = (layers, self._n_experts)
        n_loads = math.prod(shape)
        ends = np.cumsum([3, 1, len(parts), layers, n_loads, n_loads])
        micros = []
        for row in rows_MF:
            about, loss, each, entropy, counts, given, routed = np.split(row, ends)
            micros.append(
                MicroReport(
                    source=int(about[0]),
                    tokens=int(about[1]),
                    blocks=int(about[2]),
                    loss=float(loss[0]),
                    each=dict(zip(parts, each.tolist(), strict=True)),
                    entropy=entropy,
                    counts=counts.reshape(shape),
                    probability=given.reshape(shape),
                    routed=routed.reshape(shape),
                )
            )
        return tuple(micros)

    def _balance(self, micros: Sequence[MicroReport]) -> float:
        """Return the balance loss of a step, over what the recipe says."""
        if not self._n_layers:
            return 0.0
        together = [list(micros)]
        if self.spec.recipe.balance_over == "micro":
            together = [[micro] for micro in micros]
        losses = []
        for group in together:
            counts, given = (
                torch.from_numpy(np.sum([getattr(m, name) for m in group], axis=0))
                for name in ("counts", "probability")
            )
            n_blocks = torch.tensor(float(sum(m.blocks for m in group)))
            losses.append(float(uneven(counts, given, self._n_active, n_blocks)))
        return sum(losses) / len(losses)

    def _refuse_what_is_no_number(
        self, step: int, micros: Sequence[MicroReport], norm: float
    ) -> None:
        names = [source.name for source in self.spec.sources]
        bad = sorted({names[m.source] for m in micros if not math.isfinite(m.loss)})
        what = f"The loss of {', '.join(bad)} is no number"
        if not bad and not math.isfinite(norm):
            met = sorted({names[m.source] for m in micros})
            what = f"The gradient is no number (met: {', '.join(met)})"
        elif not bad:
            return
        raise RunFailed(
            f"{what} at step {step}. No weight was changed by it; the last checkpoint "
            f"is from before. Lower lr or raise warmup_steps, or look for windows "
            f"that are not finite."
        )


def loads(routing: Sequence[Routed], n_experts: int) -> tuple[Tensor, Tensor]:
    """Return how many blocks chose each expert, and the sums of its probability.

    Returns
    -------
    counts, given : tensor (L, N)
        The second with its gradient.
    """
    counts = [
        torch.bincount(routed.chosen.flatten(), minlength=n_experts)
        for routed in routing
    ]
    given = torch.stack([routed.probabilities.sum(0) for routed in routing])
    return torch.stack(counts).to(given.dtype), given


def routed_sums(routing: Sequence[Routed], like_LN: Tensor, is_normed: bool) -> Tensor:
    """Return the sums over blocks of the weights of chosen experts (L, N), float64."""
    sums_LN = torch.zeros_like(like_LN, dtype=torch.float64)
    for sums_N, routed in zip(sums_LN, routing, strict=True):
        weights_RK = routed.probabilities.gather(1, routed.chosen).double()
        if is_normed:
            weights_RK = weights_RK / weights_RK.sum(1, keepdim=True)
        sums_N.index_add_(0, routed.chosen.flatten(), weights_RK.flatten())
    return sums_LN


def uneven(
    counts_LN: Tensor, given_LN: Tensor, n_active: int, n_blocks: Tensor | None = None
) -> Tensor:
    """Return the balance loss of summed loads, equation (17), mean over layers.

    Per layer f_i = N / (K n) counts_i, P_i = given_i / n, and the loss is
    sum_i f_i P_i. Where P has the share of one process alone, so has the loss, and
    the processes' shares add up.

    Parameters
    ----------
    counts_LN : tensor (L, N)
        Blocks that chose each expert, over all processes.
    given_LN : tensor (L, N)
        Sums of probabilities, over those whose gradient is wanted.
    n_active : int
        K.
    n_blocks : tensor (), optional
        n, over all processes; by default what the counts add up to, over K.
    """
    if n_blocks is None:
        n_blocks = counts_LN[0].sum() / n_active
    n_experts = counts_LN.shape[1]
    f_LN = counts_LN * (n_experts / n_active) / n_blocks
    return (f_LN * given_LN / n_blocks).sum(1).mean()


def rates_at(step: int, spec: PretrainSpec) -> tuple[float, float]:
    """Return the rates of Muon and AdamW at a step, counted from 0.

    Even steps up to the recipe's rates, then a half cosine that ends at ``last_lr``
    with the last step.
    """
    recipe = spec.recipe
    n_warm = recipe.warmup_steps
    rates = []
    for highest in (recipe.lr, recipe.lr_adamw):
        last = min(recipe.last_lr, highest)
        if step < n_warm:
            rates.append(highest * (step + 1) / (n_warm + 1))
            continue
        done = (step - n_warm) / max(spec.steps - 1 - n_warm, 1)
        fall = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        rates.append(last + (highest - last) * fall)
    return rates[0], rates[1]
