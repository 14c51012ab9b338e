"""Trace's balance and forecasts; unusual shapes, padding and precision."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from eegfm_bench.errors import SignalError
from eegfm_bench.models.trace.encoder import Encoded
from eegfm_bench.models.trace.ffn import Routed, balance_loss
from eegfm_bench.models.trace.forecast import ForecastHeads, forecast_loss
from tests.trace_models import L, config, encoder, windows

# --- balance ---------------------------------------------------------------------


def routed(probabilities: list[list[float]], chosen: list[list[int]]) -> Routed:
    return Routed(torch.tensor(probabilities), torch.tensor(chosen))


def test_balance_is_n_over_k_when_all_steps_choose_the_same() -> None:
    always = routed([[0.5, 0.5, 0.0, 0.0]] * 3, [[0, 1]] * 3)
    assert balance_loss([always], like=torch.zeros(1)).item() == 4 / 2


def test_balance_of_a_case_worked_by_hand() -> None:
    # Two steps, three experts, one active. f = 3/1 * (1/2, 0, 1/2), and the means of
    # p are (0.4, 0.25, 0.35): 1.5 * 0.4 + 1.5 * 0.35 = 1.125.
    layer = routed([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]], [[0], [2]])
    found = balance_loss([layer], like=torch.zeros(1))
    torch.testing.assert_close(found, torch.tensor(1.125))
    # The mean over layers, the second of which has all on one: 3 * 1.
    second = routed([[1.0, 0.0, 0.0]] * 2, [[0], [0]])
    found = balance_loss([layer, second], like=torch.zeros(1))
    torch.testing.assert_close(found, torch.tensor((1.125 + 3) / 2))


def test_padded_steps_do_not_count_in_the_balance() -> None:
    layer = routed([[0.6, 0.4], [0.1, 0.9]], [[0], [1]])
    found = balance_loss([layer], torch.tensor([True, False]), like=torch.zeros(1))
    torch.testing.assert_close(found, torch.tensor(2 * 0.6))


def test_the_balance_of_a_dense_network_is_nothing() -> None:
    model = encoder(routing="none", dense_width=64)
    encoded = model(windows(2, 3, 2 * L))
    assert encoded.routing == []
    assert model.balance_loss(encoded).item() == 0.0


# --- forecasts -------------------------------------------------------------------


def test_a_perfect_forecast_costs_nothing() -> None:
    patches = windows(2, 3, 5, L)
    h = 2
    ahead = torch.cat([patches, patches.new_full((2, 3, h, L), math.nan)], dim=2)
    perfect = torch.stack(
        [ahead[:, :, t + 1 : t + 1 + h].flatten(-2) for t in range(5)], dim=2
    )
    loss, each = forecast_loss({h: perfect}, patches)
    assert loss.item() == 0.0
    assert set(each) == {h}


def test_a_horizon_beyond_the_window_is_left_out() -> None:
    heads = ForecastHeads(config(), horizons=(1, 2, 4))
    hidden = windows(2, 3, 4, 32)
    loss, each = forecast_loss(heads(hidden), windows(2, 3, 4, L))
    assert set(each) == {1, 2}  # four patches have no fourth ahead
    torch.testing.assert_close(loss, (each[1] + each[2]) / 2)


def test_a_single_patch_has_nothing_to_forecast() -> None:
    heads = ForecastHeads(config())
    loss, each = forecast_loss(heads(windows(2, 3, 1, 32)), windows(2, 3, 1, L))
    assert each == {}
    assert loss.item() == 0.0
    loss.backward()  # a step of several sources still goes through
    assert all(torch.count_nonzero(p.grad) == 0 for p in heads.parameters())


def test_the_loss_is_squared_near_and_linear_far() -> None:
    patches = torch.zeros(1, 1, 2, L)
    for off, expected in ((0.5, 0.125), (3.0, 2.5)):
        loss, _ = forecast_loss({1: torch.full((1, 1, 2, L), off)}, patches, delta=1.0)
        assert loss.item() == pytest.approx(expected)


# --- shapes, padding, precision -----------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 4), (1, 9, 1), (3, 20, 2)])
def test_any_number_of_channels_and_patches_is_taken(shape: tuple[int, ...]) -> None:
    n_windows, n_channels, n_steps = shape
    hidden = encoder()(windows(n_windows, n_channels, n_steps * L)).hidden
    assert hidden.shape == (n_windows, n_channels, n_steps, 32)
    assert torch.isfinite(hidden).all()


def test_padding_changes_nothing_and_stays_zero() -> None:
    model = encoder()
    x = windows(2, 4, 3 * L)
    padded = windows(2, 6, 5 * L, seed=3)  # noise where it is padding
    padded[:, :4, : 3 * L] = x
    channels = torch.tensor([[True] * 4 + [False] * 2] * 2)
    patches = torch.tensor([[True] * 3 + [False] * 2] * 2)
    bare, with_padding = model(x), model(padded, channels, patches)
    torch.testing.assert_close(
        with_padding.hidden[:, :4, :3], bare.hidden, rtol=1e-5, atol=1e-5
    )
    assert torch.count_nonzero(with_padding.hidden[:, 4:]) == 0
    assert torch.count_nonzero(with_padding.hidden[:, :, 3:]) == 0
    torch.testing.assert_close(
        model.balance_loss(with_padding, patches), model.balance_loss(bare)
    )


def test_padding_may_hold_what_is_no_number() -> None:
    model, heads = encoder(), ForecastHeads(config(), horizons=(1, 2))
    x = windows(2, 4, 5 * L)
    channels = torch.tensor([[True] * 3 + [False]] * 2)
    patches = torch.tensor([[True] * 4 + [False]] * 2)
    spoilt = x.clone()
    spoilt[:, 3] = math.nan
    spoilt[..., 4 * L :] = math.inf
    losses = []
    for each in (x, spoilt):
        hidden = model(each, channels, patches).hidden
        raw = each.unflatten(-1, (5, L)) / 100
        masks = {"channel_mask": channels, "patch_mask": patches}
        loss, _ = forecast_loss(heads(hidden), raw, **masks)
        model.zero_grad()
        loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())
        losses.append(loss)
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("mask", [torch.ones(1, 2), torch.ones(3, 2).bool()])
def test_a_mask_that_is_none_is_refused(mask: torch.Tensor) -> None:
    with pytest.raises(SignalError, match=r"expected \(1, 2\) of torch.bool"):
        encoder()(windows(1, 2, 2 * L), mask)


def test_padding_before_real_patches_is_refused() -> None:
    with pytest.raises(SignalError, match="before real ones"):
        encoder()(windows(1, 2, 2 * L), None, torch.tensor([[False, True]]))


def test_a_window_of_padding_alone_is_refused() -> None:
    with pytest.raises(SignalError, match="no channel"):
        encoder()(windows(1, 2, 2 * L), torch.tensor([[False, False]]))


@pytest.mark.parametrize("routing", ["trace", "mean", "token", "none"])
def test_half_precision_is_finite_and_close(routing: str) -> None:
    model = encoder(routing=routing, dense_width=64)
    x = windows(2, 4, 3 * L)
    x[0, 0, :50] = 1e4
    x[1, 1] = 0.0
    with torch.autocast("cpu", torch.bfloat16):
        encoded: Encoded = model(x)
        encoded.hidden.float().square().mean().backward()
    assert torch.isfinite(encoded.hidden).all()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    for each in encoded.routing:  # the choice is made in full precision
        assert each.probabilities.dtype == torch.float32
    assert (encoded.hidden.float() - model(x).hidden).abs().mean() < 0.1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_it_runs_in_other_precisions(dtype: torch.dtype) -> None:
    model = encoder().eval()
    x = windows(2, 4, 3 * L)
    other = copy.deepcopy(model).to(dtype)
    with torch.inference_mode():
        encoded = other(x)  # whatever the windows come in
        assert encoded.hidden.dtype == dtype
        assert torch.isfinite(encoded.hidden).all()
        assert (encoded.hidden.float() - model(x.to(dtype)).hidden).abs().mean() < 0.1
    for routed in encoded.routing:
        assert routed.probabilities.dtype == torch.promote_types(dtype, torch.float32)


@pytest.mark.parametrize("width", [3, 12])
def test_any_width_of_experts_is_served(width: int) -> None:
    model = encoder(expert_width=width)
    x = windows(2, 3, 2 * L)
    plain = model(x).hidden
    with torch.autocast("cpu", torch.bfloat16):
        half = model(x).hidden
    assert (plain - half).abs().mean() < 0.1


def test_a_loaded_state_says_the_same() -> None:
    one, two = encoder(seed=0), encoder(seed=5)
    x = windows(2, 3, 2 * L)
    assert not torch.equal(one(x).hidden, two(x).hidden)
    two.load_state_dict(one.state_dict())
    assert torch.equal(one(x).hidden, two(x).hidden)


def test_a_token_knows_its_own_patch_alone() -> None:
    patches = encoder().patches.train()
    x = windows(1, 3, 2, L).requires_grad_()
    patches(x)[0, 1, 0].sum().backward()
    assert x.grad is not None
    others = torch.ones(1, 3, 2, dtype=torch.bool)
    others[0, 1, 0] = False
    assert torch.count_nonzero(x.grad[others]) == 0
