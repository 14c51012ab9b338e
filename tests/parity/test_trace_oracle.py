"""The plain version of Trace against cases worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from eegfm_bench.models.trace.config import TraceConfig
from tests.parity import trace_oracle as oracle

pytestmark = pytest.mark.parity

EXACT = {"rtol": 1e-12, "atol": 1e-12}

# Width 8 with two heads, three experts of width 2, patches of 8 points.
CONFIG = TraceConfig(
    patch_len=8,
    dim=8,
    layers=2,
    heads=2,
    kv_heads=2,
    time_kernels=(3,),
    stride=4,
    filters=2,
    norm_groups=2,
    channel_kernels=(3,),
    experts=3,
    active=1,
    expert_width=2,
    shared_width=2,
    queries=2,
    query_heads=2,
)


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def matrix(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def shapes(config: TraceConfig) -> dict[str, tuple[int, ...]]:
    """Every parameter of an encoder with both views, a gate and a history."""
    D, N, W, S = config.dim, config.experts, config.expert_width, config.shared_width
    positions = (config.patch_len - 1) // config.stride + 1
    M, F = len(config.time_kernels), config.filters
    kv = config.kv_heads * D // config.heads
    found: dict[str, tuple[int, ...]] = {
        "patches.time.norm.weight": (M * F,),
        "patches.time.norm.bias": (M * F,),
        "patches.time.project.weight": (D, M * F * positions),
        "patches.time.project.bias": (D,),
        "patches.spectrum.mask": (config.patch_len // 2 + 1,),
        "patches.spectrum.project.weight": (D, config.patch_len // 2 + 1),
        "patches.spectrum.project.bias": (D,),
        "patches.gate.weight": (D, 2 * D),
        "patches.gate.bias": (D,),
        "norm.weight": (D,),
    }
    for m, k in enumerate(config.time_kernels):
        found[f"patches.time.convs.{m}.weight"] = (F, 1, k)
        found[f"patches.time.convs.{m}.bias"] = (F,)
    for m, k in enumerate(config.channel_kernels):
        found[f"positions.kernels.{m}"] = (D, 1, k, 1)
    for layer in range(config.layers):
        for name, shape in {
            "attention_norm.weight": (D,),
            "attention.project_in.weight": (2 * D + 4 * kv, D),
            "attention.project_out.weight": (D, 2 * D),
            "ffn_norm.weight": (D,),
            "ffn.history.queries": (config.queries, D),
            "ffn.history.key.weight": (D, D),
            "ffn.history.value.weight": (D, D),
            "ffn.history.mix.0.weight": (D, D),
            "ffn.history.mix.0.bias": (D,),
            "ffn.history.mix.2.weight": (D, D),
            "ffn.history.mix.2.bias": (D,),
            "ffn.select.weight": (N, D),
            "ffn.experts.gate_up": (N, D, 2 * W),
            "ffn.experts.down": (N, W, D),
            "ffn.shared.gate_up.weight": (2 * S, D),
            "ffn.shared.down.weight": (D, S),
        }.items():
            found[f"blocks.{layer}.{name}"] = shape
    return found


def random_state(config: TraceConfig) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        name: torch.randn(shape, dtype=torch.float64)
        for name, shape in shapes(config).items()
    }


def eeg(n_windows: int, n_channels: int, n_times: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (n_windows, n_channels, n_times)
    return 30 * torch.randn(shape, generator=generator, dtype=torch.float64)


def test_rms_norm_divides_by_the_root_of_the_mean_square() -> None:
    found = oracle.rms_norm(vector(3, 4, 0, 0), vector(1, 1, 2, 2), eps=0.0)
    torch.testing.assert_close(found, vector(1.2, 1.6, 0, 0), **EXACT)
    # Mean square 1 and eps 3: halved.
    found = oracle.rms_norm(vector(1, -1), vector(1, 5), eps=3.0)
    torch.testing.assert_close(found, vector(0.5, -2.5), **EXACT)


def test_group_norm_takes_each_group_alone() -> None:
    rows = [vector(1, 3), vector(3, 1), vector(5, 5), vector(5, 9)]
    weight, bias = vector(1, 2, 1, 1), vector(0, 0, 0, 10)
    found = torch.stack(oracle.group_norm(rows, 2, weight, bias))
    # First group: mean 2, variance 1. Second: mean 6, variance 3.
    one, three = 1 / math.sqrt(1 + 1e-5), 1 / math.sqrt(3 + 1e-5)
    expected = matrix(
        [
            [-one, one],
            [2 * one, -2 * one],
            [-three, -three],
            [10 - three, 10 + 3 * three],
        ]
    )
    torch.testing.assert_close(found, expected, **EXACT)


def test_position_0_is_not_turned() -> None:
    v = vector(1, 2, 3, 4, 5, 6, 7, 8)
    assert torch.equal(oracle.rotate(v, 0, 2, 10000.0), v)


def test_position_1_turns_the_first_pair_by_one_radian() -> None:
    found = oracle.rotate(vector(1, 0, 0, 2), 1, 1, 10000.0)
    # Pairs (0, 2) and (1, 3); the second turns by 10000 ** (-2 / 4) = 0.01.
    expected = vector(math.cos(1), -2 * math.sin(0.01), math.sin(1), 2 * math.cos(0.01))
    torch.testing.assert_close(found, expected, **EXACT)


def test_turned_vectors_see_only_their_distance() -> None:
    q, k = vector(1, 2, 3, 4), vector(-2, 1, 0.5, 3)

    def score(at_q: int, at_k: int) -> Tensor:
        turned = oracle.rotate(q, at_q, 1, 100.0), oracle.rotate(k, at_k, 1, 100.0)
        return turned[0] @ turned[1]

    torch.testing.assert_close(score(5, 3), score(2, 0), **EXACT)
    assert abs(float(score(5, 3) - score(3, 5))) > 0.1


def test_amplitudes_of_a_cosine_lie_in_its_bin() -> None:
    n = torch.arange(8, dtype=torch.float64)
    wave = 3 + 0.5 * torch.cos(2 * math.pi * 2 * n / 8)
    found = torch.stack(oracle.amplitudes(wave))
    # 8 x 3 at zero frequency, 8 / 2 x 0.5 in the second bin.
    torch.testing.assert_close(found, vector(24, 0, 2, 0, 0), **EXACT)


def test_the_amplitude_of_silence_has_a_finite_gradient() -> None:
    silence = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    sum(oracle.amplitudes(silence)).backward()
    assert silence.grad is not None
    assert torch.equal(silence.grad, torch.zeros_like(silence))


def test_attention_with_equal_keys_is_a_mean() -> None:
    keys, values = [vector(1, 1)] * 2, [vector(0, 4), vector(2, 6)]
    found = oracle.attend(vector(3, -1), keys, values, 1, 1)
    torch.testing.assert_close(found, vector(1, 5), **EXACT)


def test_scores_are_divided_by_the_root_of_the_head_width() -> None:
    # Width 4: the score 2 ln 3 becomes ln 3, against 0: weights 3/4 and 1/4.
    query = vector(2 * math.log(3), 0, 0, 0)
    keys = [vector(1, 0, 0, 0), vector(0, 1, 0, 0)]
    found = oracle.attend(query, keys, [vector(4, 0, 0, 0), vector(0, 8, 0, 0)], 1, 1)
    torch.testing.assert_close(found, vector(3, 2, 0, 0), **EXACT)


def test_two_neighbouring_heads_share_one_key() -> None:
    # Four heads of width 1 on two keys and values: 0, 1 see the first, 2, 3 the other.
    found = oracle.attend(vector(1, 2, 3, 4), [vector(0, 0)], [vector(5, 7)], 4, 2)
    torch.testing.assert_close(found, vector(5, 5, 7, 7), **EXACT)


def test_positions_look_to_both_sides_and_past_padding() -> None:
    config = replace(CONFIG, dim=2, heads=1, kv_heads=1, query_heads=1)
    kernel = torch.zeros(2, 1, 3, 1, dtype=torch.float64)
    kernel[:, 0, :, 0] = matrix([[10, 1, 100], [0, 0, 1]])
    # Channel 2 is padding and step 1 is another time: neither is a neighbour.
    tokens = {(0, 0): vector(1, 1), (1, 0): vector(2, 3), (3, 0): vector(5, 5)}
    tokens[0, 1] = vector(9, 9)
    found = oracle.add_positions({"positions.kernels.0": kernel}, config, tokens)
    torch.testing.assert_close(found[0, 0], vector(1 + 1 + 200, 1 + 3), **EXACT)
    torch.testing.assert_close(found[1, 0], vector(2 + 2 + 10, 3), **EXACT)
    torch.testing.assert_close(found[3, 0], vector(5 + 5, 5), **EXACT)


def test_a_filter_moves_by_its_stride_from_half_its_length_before() -> None:
    config = replace(CONFIG, filters=1, norm_groups=1)
    norm = {"patches.time.norm.weight": vector(1), "patches.time.norm.bias": vector(0)}
    state = {
        **norm,
        "patches.time.convs.0.weight": vector(1, 10, 100).reshape(1, 1, 3),
        "patches.time.convs.0.bias": vector(7),
        "patches.time.project.weight": matrix([[1, 0], [0, 1]]),
        "patches.time.project.bias": vector(0, 0),
    }
    found = oracle.time_view(state, config, vector(1, 2, 3, 4, 5, 6, 7, 8))
    # Windows (0, 1, 2) and (4, 5, 6): 217 and 661; around their mean, minus and plus 1.
    expected = torch.nn.functional.silu(vector(-1, 1))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_silent_queries_average_all_that_came_before() -> None:
    state = {
        "h.queries": torch.zeros(2, 2, dtype=torch.float64),
        "h.key.weight": matrix([[1, 2], [3, 4]]),
        "h.value.weight": matrix([[2, 0], [0, 1]]),
        "h.mix.0.weight": matrix([[1, 0], [0, 1]]),
        "h.mix.0.bias": vector(0, 1),
        "h.mix.2.weight": matrix([[1, 1], [0, 1]]),
        "h.mix.2.bias": vector(0.5, 0),
    }
    found = oracle.summarise_history(state, CONFIG, "h", [vector(1, 2), vector(3, 4)])
    # Values (2, 2), (6, 4); their mean (4, 3), then (4, 4) before SiLU.
    bent = 4 / (1 + math.exp(-4))
    torch.testing.assert_close(found, vector(2 * bent + 0.5, bent), **EXACT)


def test_an_expert_gates_what_it_lets_up() -> None:
    # Gate 2, up 3: SiLU(2) x 3, down to (1, -1) times that.
    found = oracle.swiglu(vector(1, 1), matrix([[2, 1], [0, 2]]), matrix([[1, -1]]))
    bent = 3 * 2 / (1 + math.exp(-2))
    torch.testing.assert_close(found, vector(bent, -bent), **EXACT)


@pytest.mark.parametrize("norm_topk", [False, True])
def test_chosen_experts_answer_by_their_probability(norm_topk: bool) -> None:
    config = replace(
        CONFIG,
        routing="mean",
        active=2,
        shared_width=0,
        norm_topk=norm_topk,
    )
    # One token 1: expert i has a gate of 1 and an up of 10 ** i.
    state = {
        "f.select.weight": torch.log(vector(0.5, 0.2, 0.3)).reshape(3, 1),
        "f.experts.gate_up": vector(1, 1, 1, 10, 1, 100).reshape(3, 1, 2),
        "f.experts.down": torch.ones(3, 1, 1, dtype=torch.float64),
    }
    found, rows = oracle.feed_forward(state, config, "f", {(0, 0): vector(1)})
    torch.testing.assert_close(rows[(0,)], vector(0.5, 0.2, 0.3), **EXACT)
    assert oracle.top(rows[(0,)], 2) == [0, 2]
    weighted = (0.5 * 1 + 0.3 * 100) / (0.8 if norm_topk else 1)
    expected = vector(weighted / (1 + math.exp(-1)))
    torch.testing.assert_close(found[0, 0], expected, **EXACT)


@pytest.mark.parametrize(("n_experts", "n_active"), [(16, 4), (6, 2), (5, 5)])
def test_one_choice_for_all_steps_costs_n_over_k(n_experts: int, n_active: int) -> None:
    p = torch.zeros(n_experts, dtype=torch.float64)
    p[:n_active] = 1 / n_active
    rows = {(0, t): p for t in range(7)}
    chosen = {row: list(range(n_active)) for row in rows}
    found = oracle.balance(rows, chosen, n_active)
    torch.testing.assert_close(found, vector(n_experts / n_active)[0], **EXACT)


def test_the_balance_of_two_steps_and_three_experts_by_hand() -> None:
    rows = {(0, 0): vector(0.7, 0.2, 0.1), (0, 1): vector(0.5, 0.1, 0.4)}
    # K = 1: expert 0 both times, f = (3, 0, 0); P = (0.6, ...).
    found = oracle.balance(rows, {row: oracle.top(p, 1) for row, p in rows.items()}, 1)
    torch.testing.assert_close(found, vector(1.8)[0], **EXACT)
    # K = 2: {0, 1} and {0, 2}: f = 3 / 4 x (2, 1, 1); P = (0.6, 0.15, 0.25).
    found = oracle.balance(rows, {row: oracle.top(p, 2) for row, p in rows.items()}, 2)
    torch.testing.assert_close(found, vector(0.9 + 0.1125 + 0.1875)[0], **EXACT)


def test_huber_is_square_within_delta_and_straight_beyond() -> None:
    values = [float(oracle.huber(e, 1.0)) for e in vector(0, 0.5, -1, -3)]
    assert values == [0, 0.125, 0.5, 2.5]
    assert float(oracle.huber(vector(3)[0], 2.0)) == 4.0


def test_a_horizon_without_a_valid_step_is_absent() -> None:
    patches = torch.arange(4, dtype=torch.float64).reshape(1, 1, 4, 1)
    said = {
        h: torch.zeros(1, 1, 4, h, dtype=torch.float64, requires_grad=True)
        for h in (1, 2, 4)
    }
    loss, per_horizon = oracle.forecast_loss(said, patches)
    # h = 1: 1, 2, 3 missed by 0.5, 1.5, 2.5. h = 2: 1, 2 and 2, 3.
    assert {h: v.item() for h, v in per_horizon.items()} == {1: 1.5, 2: 1.5}
    assert loss.item() == 1.5
    loss.backward()
    assert said[4].grad is None
    assert said[2].grad is not None
    assert torch.equal(said[2].grad[0, 0, 2:], torch.zeros(2, 2).double())


def test_padding_is_neither_asked_nor_a_target() -> None:
    patches = torch.full((2, 2, 3, 1), 9.0, dtype=torch.float64)
    patches[0, 0] = vector(0, 1, 2).reshape(3, 1)
    patches[1, 0, :2] = vector(0, 4).reshape(2, 1)
    loss, _ = oracle.forecast_loss(
        {1: torch.zeros(2, 2, 3, 1, dtype=torch.float64)},
        patches,
        channel_mask=torch.tensor([[True, False], [True, False]]),
        patch_mask=torch.tensor([[True, True, True], [True, True, False]]),
    )
    # Missed by 1 and 2 in the first window, by 4 in the second: 0.5, 1.5, 3.5.
    torch.testing.assert_close(loss, vector(5.5 / 3)[0], **EXACT)


def test_hidden_states_are_finite_and_normed() -> None:
    state = random_state(CONFIG)
    state["norm.weight"] = torch.ones(8, dtype=torch.float64)
    result = oracle.encode(state, CONFIG, eeg(2, 3, 8 * 4 + 5))
    assert result.hidden.shape == (2, 3, 4, 8)
    square = result.hidden.square().mean(dim=-1)
    torch.testing.assert_close(square, torch.ones_like(square), rtol=1e-4, atol=0)
    assert all(len(rows) == 2 * 4 for rows in result.probabilities)
    assert 0 < result.balance.item() <= 3


@pytest.mark.parametrize("routing", ["trace", "mean", "token"])
def test_the_past_has_no_gradient_from_the_future(routing: str) -> None:
    config = replace(CONFIG, routing=routing)
    x = eeg(1, 3, 8 * 4).requires_grad_()
    hidden = oracle.encode(random_state(config), config, x).hidden
    (early,) = torch.autograd.grad(hidden[:, :, 1].sum(), x, retain_graph=True)
    assert torch.equal(early[:, :, 16:], torch.zeros_like(early[:, :, 16:]))
    assert (early[:, :, :16] != 0).all()
    (late,) = torch.autograd.grad(hidden[:, 0, 3].sum(), x)
    assert (late != 0).all()


def test_channels_permute_without_positions_and_steps_choose_the_same() -> None:
    config, order = replace(CONFIG, channel_kernels=()), [2, 0, 3, 1]
    state, x = random_state(config), eeg(1, 4, 8 * 3)
    straight = oracle.encode(state, config, x)
    permuted = oracle.encode(state, config, x[:, order])
    torch.testing.assert_close(permuted.hidden, straight.hidden[:, order], **EXACT)
    for layer, rows in enumerate(straight.probabilities):
        for row, p_N in rows.items():
            found = permuted.probabilities[layer][row]
            torch.testing.assert_close(found, p_N, **EXACT)
    state = random_state(CONFIG)
    placed = oracle.encode(state, CONFIG, x).hidden[:, order]
    assert not torch.allclose(oracle.encode(state, CONFIG, x[:, order]).hidden, placed)


def test_padding_at_the_end_changes_nothing() -> None:
    state, x = random_state(CONFIG), eeg(1, 4, 8 * 3)
    padded = oracle.encode(
        state,
        CONFIG,
        x,
        torch.tensor([[True, True, True, False]]),
        torch.tensor([[True, True, False]]),
    )
    alone = oracle.encode(state, CONFIG, x[:, :3, :16])
    assert torch.equal(padded.hidden[:, :3, :2], alone.hidden)
    assert torch.equal(padded.balance, alone.balance)
    assert padded.hidden[:, 3].count_nonzero() == 0
    assert padded.hidden[:, :, 2].count_nonzero() == 0
