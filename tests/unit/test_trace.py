"""What Trace promises: it never looks ahead, and a step's channels go together."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

import eegfm_bench
from eegfm_bench.errors import SignalError, SpecError, UnknownName
from eegfm_bench.models._spec import InputShape
from eegfm_bench.models.trace.config import TAGS, TraceConfig, config_at
from eegfm_bench.models.trace.encoder import Encoded, TraceEncoder
from eegfm_bench.models.trace.ffn import Routed, balance_loss
from eegfm_bench.models.trace.forecast import ForecastHeads, forecast_loss
from eegfm_bench.models.trace.network import Trace

L = 200
TINY = {
    "dim": 32,
    "layers": 2,
    "filters": 4,
    "heads": 4,
    "kv_heads": 4,
    "experts": 6,
    "active": 2,
    "expert_width": 16,
    "shared_width": 32,
}


def config(**changes: Any) -> TraceConfig:
    return TraceConfig(**{**TINY, **changes})


def encoder(seed: int = 0, **changes: Any) -> TraceEncoder:
    torch.manual_seed(seed)
    return TraceEncoder(config(**changes))


def windows(*shape: int, seed: int = 1) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return 40 * torch.randn(*shape, generator=random)


# --- time runs one way ---------------------------------------------------------


@pytest.mark.parametrize("routing", ["trace", "mean", "token", "none"])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_no_gradient_runs_from_the_future_to_the_past(routing: str, mode: str) -> None:
    model = encoder(routing=routing, dense_width=64).train(mode == "train")
    x = windows(3, 4, 5 * L).requires_grad_()
    before = 2
    model(x).hidden[:, :, :before].square().sum().backward()
    assert x.grad is not None
    assert torch.count_nonzero(x.grad[..., before * L :]) == 0
    assert torch.count_nonzero(x.grad[..., : before * L]) > 0


def test_routing_probabilities_do_not_know_the_future() -> None:
    model = encoder().train()
    x = windows(2, 3, 4 * L).requires_grad_()
    for routed in model(x).routing:
        early = routed.probabilities.view(2, 4, -1)[:, :2]
        (grad,) = torch.autograd.grad(early[..., 0].sum(), x, retain_graph=True)
        assert torch.count_nonzero(grad[..., 2 * L :]) == 0
        assert torch.count_nonzero(grad[..., : 2 * L]) > 0


def test_another_future_leaves_states_and_choices_of_the_past() -> None:
    model = encoder().eval()
    x = windows(2, 4, 6 * L)
    other = x.clone()
    other[..., 3 * L :] = windows(2, 4, 3 * L, seed=9)
    with torch.inference_mode():
        one, two = model(x), model(other)
    torch.testing.assert_close(
        one.hidden[:, :, :3], two.hidden[:, :, :3], rtol=1e-6, atol=1e-6
    )
    assert not torch.allclose(one.hidden[:, :, 3:], two.hidden[:, :, 3:], atol=1e-2)
    for first, second in zip(one.routing, two.routing, strict=True):
        kept = first.chosen.view(2, 6, -1)[:, :3], second.chosen.view(2, 6, -1)[:, :3]
        assert torch.equal(*kept)


def test_the_first_patches_alone_give_the_same_states() -> None:
    model = encoder().eval()
    x = windows(2, 4, 6 * L)
    with torch.inference_mode():
        whole, start = model(x).hidden, model(x[..., : 4 * L]).hidden
    torch.testing.assert_close(whole[:, :, :4], start, rtol=1e-5, atol=1e-5)


# --- one choice for all channels of a step ---------------------------------------


def test_all_channels_of_a_step_share_their_experts() -> None:
    model = encoder()
    n_windows, n_channels, n_steps = 3, 5, 4
    for routed in model(windows(n_windows, n_channels, n_steps * L)).routing:
        assert routed.chosen.shape == (n_windows * n_steps, 2)
    # And the experts see whole steps: what one of them adds depends on the step's
    # choice alone. Silence the experts that step 0 chose; no channel keeps a part.
    model = encoder(layers=1, shared_width=0)
    x = windows(1, n_channels, 2 * L)
    encoded = model(x)
    chosen = encoded.routing[0].chosen[0]
    update: list[torch.Tensor] = []
    model.blocks[0].ffn.register_forward_hook(lambda m, i, out: update.append(out[0]))
    with torch.no_grad():
        model.blocks[0].ffn.experts.down[chosen] = 0.0
    model(x)
    assert torch.count_nonzero(update[0][0, 0]) == 0  # step 0, every channel


def test_token_routing_lets_channels_of_a_step_differ() -> None:
    routed = encoder(routing="token")(windows(2, 5, 3 * L)).routing[0]
    chosen = routed.chosen.view(2, 3, 5, -1).sort(-1).values
    assert (chosen != chosen[:, :, :1]).any()


def test_a_change_at_the_first_step_can_move_a_later_choice() -> None:
    model = encoder(layers=1, queries=1, query_heads=1).eval()
    with torch.no_grad():
        # Let the selector hang on the history alone, strongly.
        model.blocks[0].ffn.select.weight.mul_(200)
    x = windows(16, 3, 3 * L)
    other = x.clone()
    other[..., :L] = windows(16, 3, L, seed=7)
    with torch.inference_mode():
        one = model(x).routing[0].chosen.view(16, 3, -1)[:, 2].sort(-1).values
        two = model(other).routing[0].chosen.view(16, 3, -1)[:, 2].sort(-1).values
    assert (one != two).any()


def test_mean_routing_knows_no_history() -> None:
    model = encoder(layers=1, routing="mean", channel_kernels=())
    with torch.no_grad():
        model.blocks[0].attention.project_out.weight.zero_()  # the other road of time
    x = windows(4, 3, 3 * L)
    other = x.clone()
    other[..., :L] = windows(4, 3, L, seed=7)
    one, two = (
        model(v).routing[0].probabilities.view(4, 3, -1)[:, 2] for v in (x, other)
    )
    torch.testing.assert_close(one, two)


def test_token_routing_of_alike_tokens_is_routing_by_step() -> None:
    by_token = encoder(routing="token", channel_kernels=())
    by_step = TraceEncoder(config(routing="mean", channel_kernels=()))
    by_step.load_state_dict(by_token.state_dict())
    x = windows(2, 1, 4 * L).expand(2, 5, 4 * L)  # every channel the same
    torch.testing.assert_close(by_token(x).hidden, by_step(x).hidden)


def test_permuted_channels_permute_the_states_without_positions() -> None:
    model = encoder(channel_kernels=())
    x = windows(2, 6, 3 * L)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    one, two = model(x), model(x[:, order])
    torch.testing.assert_close(one.hidden[:, order], two.hidden, rtol=1e-5, atol=1e-5)
    for first, second in zip(one.routing, two.routing, strict=True):
        torch.testing.assert_close(first.probabilities, second.probabilities)


def test_with_positions_the_order_of_channels_counts() -> None:
    model = encoder()
    x = windows(2, 6, 3 * L)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    one, two = model(x).hidden[:, order], model(x[:, order]).hidden
    assert not torch.allclose(one, two, atol=1e-2)


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


# --- as a classifier ---------------------------------------------------------------


def classifier(**changes: Any) -> Trace:
    torch.manual_seed(0)
    shape = InputShape(
        channels=("C3", "Cz", "C4"), n_times=4 * L, rate_hz=200.0, n_classes=3
    )
    return Trace(shape, config(**changes))


def test_encode_gives_a_state_for_every_channel_and_second() -> None:
    model = eegfm_bench.build(
        "trace",
        channels=["anything", "goes"],
        n_times=3 * L,
        rate_hz=200.0,
        n_classes=2,
        scale="small",
    )
    assert model.encode(windows(5, 2, 3 * L)).shape == (5, 2, 3, 32)


@pytest.mark.parametrize("head", ["window", "pooled", "causal"])
def test_each_head_reads_its_features(head: str) -> None:
    model = classifier(head=head).eval()
    x = windows(2, 3, 4 * L)
    logits = model(x)
    assert logits.shape == (2, 3)
    torch.testing.assert_close(model.head(model.features(x)), logits)


def test_a_batch_of_one_window_can_be_trained_on() -> None:
    model = classifier(head="pooled").train()
    model(windows(4, 3, 4 * L))  # gives the norm something to know
    logits = model(windows(1, 3, 4 * L))
    logits.sum().backward()
    assert torch.isfinite(logits).all()


def test_the_causal_head_scores_every_patch_without_the_next() -> None:
    model = classifier(head="causal")
    x = windows(2, 3, 4 * L).requires_grad_()
    scores = model.step_logits(x)
    assert scores.shape == (2, 4, 3)
    torch.testing.assert_close(scores[:, -1], model(x))
    (grad,) = torch.autograd.grad(scores[:, 1].sum(), x)
    assert torch.count_nonzero(grad[..., 2 * L :]) == 0


def test_the_causal_head_is_trained_at_every_step() -> None:
    model = classifier(head="causal")
    x, y = windows(2, 3, 4 * L), torch.tensor([0, 2])
    criterion = torch.nn.functional.cross_entropy
    steps = torch.stack([criterion(s, y) for s in model.step_logits(x).unbind(1)])
    torch.testing.assert_close(model.loss(x, y, criterion), steps.mean())


def test_a_window_head_has_no_score_of_a_patch() -> None:
    with pytest.raises(TypeError, match="before a window is complete"):
        classifier().step_logits(windows(1, 3, 4 * L))


def test_the_balance_joins_the_loss_by_its_weight() -> None:
    x, y = windows(2, 3, 4 * L), torch.tensor([0, 2])
    criterion = torch.nn.functional.cross_entropy
    plain = classifier(dropout=0.0)
    weighed = Trace.__new__(Trace)
    weighed.__dict__.update(plain.__dict__)
    weighed.config = dataclasses.replace(plain.config, balance_weight=0.5)
    balance = plain.encoder.balance_loss(plain.encoder(x))
    torch.testing.assert_close(
        weighed.loss(x, y, criterion), plain.loss(x, y, criterion) + 0.5 * balance
    )


def test_a_rest_beyond_whole_patches_is_dropped() -> None:
    model = classifier().eval()
    x = windows(2, 3, 4 * L)
    longer = torch.cat([x, windows(2, 3, 50, seed=4)], dim=-1)
    torch.testing.assert_close(model(longer), model(x))


# --- the configuration ----------------------------------------------------------------


def test_every_value_says_how_it_is_known() -> None:
    for name, known in TraceConfig.known().items():
        assert known.tag.split(":")[0] in TAGS, name
        assert known.why, name


def test_options_round_trip_as_text() -> None:
    for scale in ("paper", "small"):
        start = config_at(scale)
        assert TraceConfig().with_options(start.options()) == start


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dim": 30, "heads": 8}, "not a multiple of heads"),
        ({"dim": 200, "heads": 8, "kv_heads": 8}, "must be even"),
        ({"time_kernels": "15,48"}, "odd numbers"),
        ({"channel_kernels": "wide"}, "odd numbers such as"),
        ({"experts": 2, "active": 4}, "more than its experts"),
        ({"layers": 0}, "at least 1"),
    ],
)
def test_values_that_do_not_fit_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        TraceConfig().with_options(changes)


def test_a_misspelt_word_suggests_the_nearest() -> None:
    with pytest.raises(UnknownName, match="token"):
        TraceConfig().with_options({"routing": "tokens"})


def test_other_rates_and_short_windows_are_refused() -> None:
    with pytest.raises(SpecError, match="200 Hz"):
        eegfm_bench.build(
            "trace", channels=["C3"], n_times=512, rate_hz=256, n_classes=2
        )
    with pytest.raises(SpecError, match="shorter than one patch"):
        eegfm_bench.build(
            "trace", channels=["C3"], n_times=150, rate_hz=200, n_classes=2
        )
