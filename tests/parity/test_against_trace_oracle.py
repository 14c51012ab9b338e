"""Trace's fast encoder and forecasts against the same equations in plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eegfm_bench.models.trace.config import TraceConfig
from eegfm_bench.models.trace.encoder import Encoded, TraceEncoder
from eegfm_bench.models.trace.forecast import ForecastHeads, forecast_loss
from tests.parity import trace_oracle as oracle

pytestmark = pytest.mark.parity

BASE: dict[str, Any] = {
    "patch_len": 40,
    "dim": 32,
    "layers": 2,
    "heads": 4,
    "kv_heads": 4,
    "time_kernels": (3, 9),
    "stride": 10,
    "filters": 4,
    "norm_groups": 4,
    "channel_kernels": (3, 7),
    "experts": 6,
    "active": 2,
    "expert_width": 12,
    "shared_width": 20,
    "dense_width": 24,
    "queries": 3,
    "query_heads": 2,
}


@dataclass(frozen=True)
class Case:
    """A configuration's difference from the base, and a batch."""

    channels: int = 3
    patches: int = 4
    windows: int = 2
    padded: str = ""  # "channels", "patches" or "both"
    # Chosen so that no two experts are within reach of float32 at the cut.
    seed: int = 0
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def config(self) -> TraceConfig:
        return TraceConfig(**{**BASE, **dict(self.options)})


def case(
    channels: int = 3, patches: int = 4, *, padded: str = "", **options: Any
) -> Case:
    seed = options.pop("seed", 0)
    windows = 3 if padded else 2
    return Case(channels, patches, windows, padded, seed, tuple(options.items()))


CASES = {
    "3x4": case(3, 4),
    "5x1": case(5, 1),
    "2x7": case(2, 7),
    "6x3": case(6, 3, seed=1),
    "1x1": case(1, 1, seed=1),
    "mean": case(routing="mean"),
    "token": case(routing="token"),
    "dense": case(routing="none"),
    "time": case(views="time"),
    "spectrum": case(views="spectrum"),
    "sum": case(fusion="sum"),
    "one filter length": case(time_kernels=(5,), norm_groups=2),
    "an uneven patch": case(patch_len=45, stride=12, time_kernels=(1, 3, 15)),
    "one group": case(norm_groups=1),
    "a group each": case(norm_groups=8),
    "no positions": case(channel_kernels=()),
    "narrow positions": case(channel_kernels=(3,)),
    "wider than the head": case(6, 2, channel_kernels=(19,)),
    "renormalised": case(norm_topk=True),
    "renormalised token": case(routing="token", norm_topk=True),
    "nothing shared": case(shared_width=0),
    "nothing shared, mean": case(routing="mean", shared_width=0),
    "two kv heads": case(kv_heads=2),
    "one kv head": case(kv_heads=1),
    "shared queries": case(share_queries=True),
    "one query": case(queries=1, query_heads=4),
    "one query head": case(queries=4, query_heads=1),
    "all active": case(active=6),
    "one active": case(active=1, seed=1),
    "another base": case(2, 5, rope_base=10.0),
    "a large eps": case(norm_eps=0.1),
    "another scale": case(scale_uv=20.0),
    "one layer": case(layers=1),
    "both ways": case(3, 4, attention="full"),
    "both ways, mean": case(2, 5, attention="full", routing="mean", kv_heads=2),
    "padded, both ways": case(4, 4, padded="both", attention="full"),
    "padded channels": case(4, 3, padded="channels"),
    "padded patches": case(3, 4, padded="patches"),
    "padded token patches": case(3, 4, padded="patches", routing="token"),
    "padded": case(4, 4, padded="both"),
    "padded mean": case(4, 4, padded="both", routing="mean"),
    "padded token": case(4, 4, padded="both", routing="token"),
    "padded dense": case(4, 4, padded="both", routing="none"),
    "padded, no positions": case(5, 3, padded="both", channel_kernels=()),
    "padded, two kv heads": case(4, 4, padded="both", kv_heads=2, norm_topk=True),
}
BALANCE_WEIGHT = 30.0
NO_EFFECT = 1e-9  # a gradient in double precision, the others are above 1e-3
LEAST_GAP = 1e-4  # of probabilities, whose own error in float32 is about 1e-6
ROUTED = [name for name, c in CASES.items() if c.config.routing != "none"]


def masks(c: Case) -> tuple[Tensor | None, Tensor | None]:
    """Window 0 lacks its last channel, 1 its last two steps, 2 both and channel 0."""
    if not c.padded:
        return None, None
    channels = torch.ones(c.windows, c.channels, dtype=torch.bool)
    patches = torch.ones(c.windows, c.patches, dtype=torch.bool)
    channels[0, -1] = channels[2, -1] = channels[2, 0] = False
    patches[1, -2:] = patches[2, -1:] = False
    return (
        None if c.padded == "patches" else channels,
        None if c.padded == "channels" else patches,
    )


def randomise(model: nn.Module, seed: int) -> None:
    """Give every parameter values of a size that matters, none near its start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            if name.endswith("queries"):
                p.copy_(noise)
            elif "kernels" in name:
                p.copy_(0.3 * noise)
            elif "norm" in name or name.endswith("mask"):
                p.copy_(0.3 * noise + (0.0 if name.endswith("bias") else 1.0))
            elif p.ndim == 1:
                p.copy_(0.3 * noise)
            else:
                fan_in = p.shape[1] if "experts" in name else p[0].numel()
                p.copy_(noise / math.sqrt(fan_in))
            if name.endswith("select.weight"):
                p.mul_(3)


def eeg(c: Case) -> Tensor:
    """Noise (B, C, T) of 30 µV with slow and fast parts, padding included."""
    generator = torch.Generator().manual_seed(100 + c.seed)
    shape = (c.windows, c.channels, c.patches * c.config.patch_len)
    white = torch.randn(shape, generator=generator)
    return 20 * white + 0.3 * white.cumsum(dim=-1) * 20


@dataclass(frozen=True)
class Answer:
    """What one implementation says of a case, gradients by parameter's name."""

    hidden: Tensor
    balance: Tensor
    gradients: dict[str, Tensor]  # of the functional


def functional(hidden: Tensor, balance: Tensor | float = 0.0) -> Tensor:
    """Reduce both to a number whose gradient weighs each about alike."""
    generator = torch.Generator().manual_seed(7)
    direction = torch.randn(hidden.shape, generator=generator)
    return (direction.to(hidden.dtype) * hidden).sum() + BALANCE_WEIGHT * balance


def gradients(value: Tensor, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gradient with respect to each input, zero where it has no part."""
    found = torch.autograd.grad(value, list(inputs.values()), allow_unused=True)
    return {
        name: torch.zeros_like(p) if g is None else g.detach()
        for (name, p), g in zip(inputs.items(), found, strict=True)
    }


def fast_encoder(name: str) -> TraceEncoder:
    c = CASES[name]
    torch.manual_seed(0)
    model = TraceEncoder(c.config)
    randomise(model, c.seed)
    return model


def ask_fast(name: str, dtype: torch.dtype) -> tuple[Encoded, Answer]:
    c, model = CASES[name], fast_encoder(name).to(dtype)
    x = eeg(c).to(dtype).requires_grad_()
    channel_mask, patch_mask = masks(c)
    encoded = model(x, channel_mask=channel_mask, patch_mask=patch_mask)
    balance = model.balance_loss(
        encoded, patch_mask=patch_mask, channel_mask=channel_mask
    )
    inputs = {"x": x, **dict(model.named_parameters())}
    answer = Answer(
        encoded.hidden.detach(),
        balance.detach(),
        gradients(functional(encoded.hidden, balance), inputs),
    )
    return encoded, answer


def ask_oracle(name: str) -> tuple[oracle.OracleResult, Answer]:
    """The answer in float64, of the weights that the float32 encoder has."""
    c, model = CASES[name], fast_encoder(name)
    leaves: dict[int, Tensor] = {}
    state = {  # a parameter of two names stays one leaf
        key: leaves.setdefault(id(p), p.detach().double().requires_grad_())
        for key, p in model.named_parameters(remove_duplicate=False)
    }
    x = eeg(c).double().requires_grad_()
    result = oracle.encode(state, c.config, x, *masks(c))
    inputs = {"x": x, **{key: state[key] for key, _ in model.named_parameters()}}
    return result, Answer(
        result.hidden.detach(),
        result.balance.detach(),
        gradients(functional(result.hidden, result.balance), inputs),
    )


oracle_of = cache(ask_oracle)


def distance(found: Tensor, expected: Tensor, scale: float | None = None) -> float:
    """Largest deviation of any entry, in units of the largest one or of a scale."""
    assert found.shape == expected.shape
    deviation = (found.detach().double() - expected.detach()).abs().max().item()
    scale = expected.abs().max().item() if scale is None else scale
    return deviation / scale if scale > 0 else deviation


def check_gradients(
    found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float
) -> None:
    """Hold every tensor to its own largest entry.

    One without effect has no gradient but rounding, of terms as large as others'.
    """
    assert found.keys() == expected.keys()
    sizes = {name: g.abs().max().item() for name, g in expected.items()}
    far = {}
    for name, size in sizes.items():
        scale = size if size > NO_EFFECT else max(sizes.values())
        d = distance(found[name], expected[name], scale)
        if not d < tolerance:
            far[name] = d
    assert not far


# In double precision only the mathematics can differ: nearly nothing is allowed.
@pytest.mark.parametrize("name", CASES)
def test_in_double_precision_both_are_one_function(name: str) -> None:
    result, expected = oracle_of(name)
    _, found = ask_fast(name, torch.float64)
    assert result.smallest_gap > LEAST_GAP
    assert distance(found.hidden, expected.hidden) < 1e-10
    assert distance(found.balance, expected.balance) < 1e-10
    check_gradients(found.gradients, expected.gradients, 1e-10)


@pytest.mark.parametrize("name", CASES)
def test_in_single_precision_it_differs_by_rounding(name: str) -> None:
    result, expected = oracle_of(name)
    _, found = ask_fast(name, torch.float32)
    assert result.smallest_gap > LEAST_GAP
    assert found.hidden.dtype == torch.float32
    assert distance(found.hidden, expected.hidden) < 1e-5
    assert distance(found.balance, expected.balance) < 1e-5
    # Small sums of large terms, such as the group norm's: the plain loops in float32
    # are off by up to 9e-5, most gradients here by less than 5e-6, the worst by 2e-5.
    check_gradients(found.gradients, expected.gradients, 3e-5)


@pytest.mark.parametrize("name", ROUTED)
def test_the_same_experts_are_chosen_with_the_same_probabilities(name: str) -> None:
    c, (result, _) = CASES[name], oracle_of(name)
    encoded, _ = ask_fast(name, torch.float32)
    assert len(encoded.routing) == c.config.layers
    per_token = c.config.routing == "token"
    for layer, routing in enumerate(encoded.routing):
        n_rows = c.windows * c.patches * (c.channels if per_token else 1)
        assert routing.probabilities.shape == (n_rows, c.config.experts)
        assert routing.probabilities.dtype == torch.float32
        assert routing.chosen.shape == (n_rows, c.config.active)
        assert routing.chosen.dtype == torch.int64
        assert result.chosen[layer]
        for at, experts in result.chosen[layer].items():
            row = at[0] * c.patches + at[1]
            row = row * c.channels + at[2] if per_token else row
            assert set(routing.chosen[row].tolist()) == set(experts)
            p_N = result.probabilities[layer][at]
            assert distance(routing.probabilities[row], p_N) < 1e-5


# One token is the whole history, whatever the queries ask; and a norm that sees one
# filter alone takes its bias away.
WITHOUT_EFFECT = {
    "1x1": ("history.queries", "history.key.weight"),
    "a group each": ("convs.0.bias", "convs.1.bias"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_comparison_reaches_every_parameter(name: str) -> None:
    _, expected = oracle_of(name)
    for key, gradient in expected.gradients.items():
        silent = key.endswith(WITHOUT_EFFECT.get(name, ()))
        assert (gradient.abs().max().item() < NO_EFFECT) == silent, key


def test_shared_queries_are_one_parameter() -> None:
    for name, n_expected in {"shared queries": 1, "3x4": 2}.items():
        names = [n for n, _ in fast_encoder(name).named_parameters()]
        assert sum(n.endswith("queries") for n in names) == n_expected


def test_points_after_the_last_whole_patch_are_dropped() -> None:
    c, model = CASES["3x4"], fast_encoder("3x4")
    x = eeg(c)
    assert torch.equal(model(torch.cat([x, x[..., :7]], -1)).hidden, model(x).hidden)


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.padded == "both"])
def test_padding_stays_zero_whatever_it_holds(name: str) -> None:
    c, model = CASES[name], fast_encoder(name)
    channel_mask, patch_mask = masks(c)
    assert channel_mask is not None
    assert patch_mask is not None
    real = channel_mask[:, :, None] & patch_mask[:, None, :]
    x = eeg(c)
    hidden = model(x, channel_mask=channel_mask, patch_mask=patch_mask).hidden
    assert hidden[~real].count_nonzero() == 0
    by_point = real.repeat_interleave(c.config.patch_len, dim=-1)
    loud = torch.where(by_point, x, 1e4 * torch.ones_like(x))
    again = model(loud, channel_mask=channel_mask, patch_mask=patch_mask).hidden
    # The groups of padded steps may choose other experts: products of another size.
    assert distance(again, hidden) < 1e-5


def test_no_expert_is_balanced_where_there_are_none() -> None:
    encoded, answer = ask_fast("dense", torch.float32)
    assert encoded.routing == []
    assert answer.balance.item() == 0


@pytest.mark.parametrize("value_uv", [0.0, 50.0])
def test_silence_is_read_alike(value_uv: float) -> None:
    c = CASES["3x4"]
    model = fast_encoder("3x4").double()
    x = eeg(c).double()
    x[0, 1] = value_uv
    state = dict(model.named_parameters())
    found = model(x.requires_grad_()).hidden
    expected = oracle.encode(state, c.config, x).hidden
    assert distance(found, expected) < 1e-10
    (found_gradient,) = torch.autograd.grad(functional(found), x)
    (gradient,) = torch.autograd.grad(functional(expected), x)
    assert torch.isfinite(gradient).all()
    # The rounding of a zero amplitude has an angle, and so has its gradient: only
    # the channels beside the silent one can be held to more.
    other = torch.tensor([0, 2])
    assert torch.isfinite(found_gradient).all()
    assert distance(found_gradient[:, other], gradient[:, other]) < 1e-9


WRONG: dict[str, tuple[str, Callable[..., object]]] = {
    "steps are not turned": ("rotate", lambda v, *_: v),
    "positions are forgotten": ("add_positions", lambda s, c, e: e),
    "a norm with another eps": (
        "rms_norm",
        lambda v, w, eps: w * v / (v.square().mean() + 1e-5).sqrt(),
    ),
    "a group norm with another eps": (
        "group_norm",
        lambda rows, n, w, b: torch.nn.functional.group_norm(
            torch.stack(rows)[None], n, w, b, eps=1e-6
        )[0].unbind(),
    ),
    "the history is forgotten": (
        "summarise_history",
        lambda s, c, name, seen: seen[-1],
    ),
    "the likeliest alone is chosen": (
        "top",
        lambda p, n: [int(p.argmax()), int(p.argmin())][:n],
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_the_comparison_notices(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attribute, wrong = WRONG[mistake]
    _, found = ask_fast("3x4", torch.float64)
    _, right = oracle_of("3x4")
    assert distance(found.hidden, right.hidden) < 1e-10
    monkeypatch.setattr(oracle, attribute, wrong)
    _, expected = ask_oracle("3x4")
    assert distance(found.hidden, expected.hidden) > 1e-7


FORECASTS = {
    "more than horizons": (3, 6, (1, 2, 4), ""),
    "four steps": (2, 4, (1, 2, 4), ""),
    "five steps": (2, 5, (1, 2, 4), ""),
    "two steps": (3, 2, (1, 2, 4), ""),
    "one horizon": (3, 4, (3,), ""),
    "padded": (4, 6, (1, 2, 4), "both"),
    "padded channels": (4, 4, (1, 2), "channels"),
    "padded patches": (2, 6, (1, 2, 4), "patches"),
    "padded to nothing": (4, 4, (1, 2, 3), "both"),
}


@pytest.mark.parametrize("name", FORECASTS)
@pytest.mark.parametrize("delta", [0.3, 1.0])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-11)]
)
def test_forecasts_and_their_loss_agree(
    name: str, delta: float, dtype: torch.dtype, tolerance: float
) -> None:
    C, P, horizons, padded = FORECASTS[name]
    c = case(C, P, padded=padded)
    channel_mask, patch_mask = masks(c)
    torch.manual_seed(0)
    heads = ForecastHeads(c.config, horizons=horizons)
    randomise(heads, 3)
    state = {
        key: p.detach().double().requires_grad_() for key, p in heads.named_parameters()
    }
    assert state.keys() == {f"heads.{h}.weight" for h in horizons}
    hidden = torch.randn(c.windows, C, P, c.config.dim)
    patches = torch.randn(c.windows, C, P, c.config.patch_len)
    answers = []
    for forecasts, loss_of, parameters, kind in (
        (oracle.forecast, oracle.forecast_loss, state, torch.float64),
        (None, forecast_loss, dict(heads.to(dtype).named_parameters()), dtype),
    ):
        h_BCPD = hidden.to(kind).requires_grad_()
        said = (
            heads(h_BCPD)
            if forecasts is None
            else forecasts(parameters, horizons, h_BCPD)
        )
        loss, per_horizon = loss_of(
            said,
            patches.to(kind),
            channel_mask=channel_mask,
            patch_mask=patch_mask,
            delta=delta,
        )
        answers.append(
            (
                {str(h): forecast for h, forecast in said.items()},
                {"": loss, **{str(h): v for h, v in per_horizon.items()}},
                gradients(loss, {"hidden": h_BCPD, **parameters}),
            )
        )
    for expected, found in zip(*answers, strict=True):
        check_gradients(found, expected, tolerance)


def test_a_horizon_beyond_the_window_is_absent_and_harmless() -> None:
    c = case(2, 4)
    torch.manual_seed(0)
    heads = ForecastHeads(c.config, horizons=(1, 2, 4))
    said = heads(torch.randn(2, 2, 4, c.config.dim))
    loss, per_horizon = forecast_loss(said, torch.randn(2, 2, 4, c.config.patch_len))
    assert set(per_horizon) == {1, 2}
    torch.testing.assert_close(loss, (per_horizon[1] + per_horizon[2]) / 2)
    loss.backward()
    last = dict(heads.named_parameters())["heads.4.weight"].grad
    assert last is None or last.count_nonzero() == 0
