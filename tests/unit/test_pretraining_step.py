"""One step: the balance over all micro-batches, gradients, rates, refusals."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from eegfm_bench.errors import RunFailed
from eegfm_bench.models.trace.ffn import Routed, balance_loss
from eegfm_bench.pretraining.feed import Feed, MicroBatch
from eegfm_bench.pretraining.journal import TIMES
from eegfm_bench.pretraining.loop import draws_of, encoder_state
from eegfm_bench.pretraining.module import PretrainModule, loads, rates_at, uneven
from tests.small_corpus import corpus, pretrain, spec


def routed(blocks: int, seed: int, n_experts: int = 4, n_active: int = 2) -> Routed:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(blocks, n_experts, generator=random)
    p = logits.softmax(-1).requires_grad_()
    return Routed(p, p.topk(n_active, dim=-1).indices)


class Fed:
    """Micro-batches that are at hand."""

    waited_s = 0.0

    def __init__(self, given: list[MicroBatch]) -> None:
        self.given = list(given)

    def take(self) -> MicroBatch:
        return self.given.pop(0)


def stepped(
    asked: Any, of: Any, step: int = 0, *, saves_memory: bool = False, **rank: int
) -> PretrainModule:
    """Do one step of a module outside of Lightning; weights stay as they are."""
    module = PretrainModule(asked, saves_memory=saves_memory)
    module._trainer = SimpleNamespace(  # type: ignore[assignment]
        **{"world_size": 1, "global_rank": 0, **rank}, strategy=None
    )
    module.manual_backward = lambda loss: loss.backward()  # type: ignore[method-assign]
    with Feed(
        of,
        draws_of(asked),
        start=step,
        stop=step + 1,
        micro_batches=asked.recipe.micro_batches,
        rank=rank.get("global_rank", 0),
        world=rank.get("world_size", 1),
    ) as module.feed:
        module.rows = module._learn(step)
    return module


def gradient(module: PretrainModule) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in module.objective.parameters()])


def test_the_balance_loss_by_hand() -> None:
    # Two blocks: experts 0 and 1, then 0 and 2. f = 4 / (2 * 2) counts = (2, 1, 1, 0).
    p = torch.tensor([[0.4, 0.3, 0.2, 0.1], [0.5, 0.1, 0.3, 0.1]])
    by_hand = 2 * 0.45 + 1 * 0.2 + 1 * 0.25 + 0 * 0.1
    counts, given = loads([Routed(p, torch.tensor([[0, 1], [0, 2]]))], 4)
    assert counts.tolist() == [[2, 1, 1, 0]]
    assert uneven(counts, given, 2).item() == pytest.approx(by_hand)


def test_the_balance_of_a_step_is_that_of_its_blocks_together() -> None:
    layers = [[routed(n, seed=10 * layer + n) for n in (3, 8, 5)] for layer in (0, 1)]
    whole = [
        Routed(
            torch.cat([r.probabilities for r in parts]),
            torch.cat([r.chosen for r in parts]),
        )
        for parts in layers
    ]
    expected = balance_loss(whole, like=torch.zeros(()))
    each = [loads([parts[m] for parts in layers], 4) for m in range(3)]
    counts, given = (torch.stack(kind).sum(0) for kind in zip(*each, strict=True))
    torch.testing.assert_close(uneven(counts, given, 2), expected)
    # Not the mean of the micro-batches' own, which would force each source onto all.
    apart = torch.stack([uneven(*one, 2) for one in each]).mean()
    assert (apart - expected).abs() > 1e-3


def test_shares_of_two_processes_give_the_gradient_of_one() -> None:
    first, second = routed(3, seed=1), routed(5, seed=2)
    together = [loads([r], 4) for r in (first, second)]
    counts = together[0][0] + together[1][0]
    n_blocks = torch.tensor(8.0)
    for (_, given), one in zip(together, (first, second), strict=True):
        uneven(counts, given, 2, n_blocks).backward()
        # d L / d p[r, i] = f_i / n, whichever process has the block.
        expected = (counts[0] * 4 / (2 * 8) / 8).expand_as(one.probabilities)
        torch.testing.assert_close(one.probabilities.grad, expected)


def test_a_step_is_the_mean_of_its_micro_batches_whoever_has_them() -> None:
    of = corpus()
    asked = spec(of, balance_weight=0.0)
    whole = gradient(stepped(asked, of))
    halves = [
        gradient(stepped(asked, of, world_size=2, global_rank=rank)) for rank in (0, 1)
    ]
    torch.testing.assert_close((halves[0] + halves[1]) / 2, whole)
    module, alone = PretrainModule(asked), []
    for micro in range(4):
        source, at = draws_of(asked).micro_batch(0, micro)
        x = torch.from_numpy(of.sources[source].take(at))
        alone.append(module.objective(x).loss)
    torch.stack(alone).mean().backward()
    torch.testing.assert_close(gradient(module), whole)


def test_one_graph_gives_the_losses_and_the_balance_over_all() -> None:
    of = corpus()
    for weight, over in ((0.5, "step"), (0.5, "micro")):
        asked = spec(of, balance_weight=weight, balance_over=over)
        module = stepped(asked, of)
        free = PretrainModule(asked)
        losses, routing = [], []
        for micro in range(4):
            source, at = draws_of(asked).micro_batch(0, micro)
            x = torch.from_numpy(of.sources[source].take(at))
            found = free.objective(x)
            losses.append(found.loss)
            routing.append(found.routing)
        if over == "step":
            joined = [
                Routed(
                    torch.cat([r.probabilities for r in layer]),
                    torch.cat([r.chosen for r in layer]),
                )
                for layer in zip(*routing, strict=True)
            ]
            aux = balance_loss(joined, like=losses[0])
        else:
            aux = torch.stack([balance_loss(r, like=losses[0]) for r in routing]).mean()
        (torch.stack(losses).mean() + weight * aux).backward()
        torch.testing.assert_close(gradient(module), gradient(free))
        micros = module._unpacked(module.rows[:, :-1].numpy())
        assert module._balance(micros) == pytest.approx(aux.item(), rel=1e-5)
        assert [m.loss for m in micros] == pytest.approx([v.item() for v in losses])


@pytest.mark.parametrize(
    ("objective", "precision"), [("causal", "bf16"), ("masked", "32")]
)
def test_saving_memory_changes_no_weight_and_no_measure(
    tmp_path: Path, objective: str, precision: str
) -> None:
    of = corpus()
    asked = spec(of, steps=3, objective=objective, precision=precision)
    found = []
    for saves in (False, True):
        folder = tmp_path / str(saves)
        pretrain(asked, of, folder, save_memory=saves)
        with (folder / "journal.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        measures = [[v for k, v in row.items() if k not in TIMES] for row in rows]
        found.append((measures, encoder_state(folder)))
    (plainly, weights), (sparing, again) = found
    assert sparing == plainly
    for name, weight in weights.items():
        torch.testing.assert_close(again[name], weight, rtol=0, atol=1e-6)


def test_saving_memory_keeps_less_for_the_way_back() -> None:
    of, kept = corpus(), []
    for saves in (False, True):
        deep = spec(of, options={"layers": 6})
        encoder = PretrainModule(deep, saves_memory=saves).objective.encoder
        sizes: list[int] = []

        def keep(x: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(x.numel())
            return x

        x = torch.from_numpy(of.sources[0].take(np.arange(4)))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            encoder(x)
        kept.append(sum(sizes))
    assert kept[1] < 0.5 * kept[0]


def test_one_may_go_on_with_saving_memory_or_without(tmp_path: Path) -> None:
    of = corpus()
    asked = spec(of, steps=4, options={"layers": 1})

    class Killed(BaseException):
        pass

    def kill(at: Any) -> None:
        if at.step == 2:
            raise Killed

    with pytest.raises(Killed):
        pretrain(asked, of, tmp_path / "w", checkpoint_every=2, on_step=kill)
    pretrain(asked, of, tmp_path / "w", save_memory=True)
    pretrain(asked, of, tmp_path / "whole")
    whole, parted = (encoder_state(tmp_path / name) for name in ("whole", "w"))
    for name, weight in whole.items():
        torch.testing.assert_close(parted[name], weight, rtol=0, atol=1e-6)


def test_half_precision_trains_near_to_full(tmp_path: Path) -> None:
    of, losses = corpus(), {}
    for precision in ("32", "bf16"):
        asked = spec(of, steps=3, precision=precision, options={"layers": 1})
        seen: list[Any] = []
        pretrain(asked, of, tmp_path / precision, on_step=seen.append)
        losses[precision] = [at.loss for at in seen]
    assert losses["bf16"] == pytest.approx(losses["32"], rel=0.02)
    assert losses["bf16"] != losses["32"]


def test_rates_warm_up_and_end_where_the_recipe_says() -> None:
    asked = spec(corpus(), steps=101, warmup_steps=10, lr=1e-2, lr_adamw=1e-3)
    rates = [rates_at(step, asked) for step in range(101)]
    assert rates[10] == (1e-2, 1e-3)
    assert rates[4][0] == pytest.approx(1e-2 * 5 / 11)
    assert rates[55][0] == pytest.approx((1e-2 + 1e-5) / 2)
    assert rates[100] == pytest.approx((1e-5, 1e-5))
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize("objective", ["causal", "masked"])
def test_training_on_waves_lowers_the_loss(tmp_path: Path, objective: str) -> None:
    of, losses = corpus(), []
    asked = spec(of, steps=10, objective=objective, options={"layers": 1})
    pretrain(asked, of, tmp_path, on_step=lambda at: losses.append(at.loss))
    assert sum(losses[-3:]) < 0.85 * sum(losses[:3])


def test_a_loss_that_is_no_number_stops_with_its_source_and_step(
    tmp_path: Path,
) -> None:
    of = corpus()
    asked, broken = spec(of), of.sources[1]
    broken.store.x[broken.rows[3]] = torch.inf
    with pytest.raises(RunFailed, match=r"The loss of short is no number at step \d"):
        pretrain(asked, of, tmp_path)


def test_a_gradient_that_is_no_number_stops_as_well() -> None:
    of = corpus()
    module = stepped(spec(of), of)
    micros = module._unpacked(module.rows[:, :-1].numpy())
    with pytest.raises(RunFailed, match=r"The gradient is no number .* at step 3"):
        module._refuse_what_is_no_number(3, micros, float("nan"))


def test_what_goes_wrong_while_reading_reaches_the_step() -> None:
    of = corpus()

    def fails(rows: Any) -> Any:
        raise OSError("the disk is gone")

    for source in of.sources:
        source.store.take = fails
    with (
        Feed(of, draws_of(spec(of)), start=0, stop=1, micro_batches=4) as feed,
        pytest.raises(OSError, match="the disk is gone"),
    ):
        feed.take()
