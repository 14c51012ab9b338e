"""What Trace promises: it never looks ahead, and a step's channels go together."""

from __future__ import annotations

import pytest
import torch

from eegfm_bench.models.trace.encoder import TraceEncoder
from tests.trace_models import L, config, encoder, windows

# --- time runs one way ---------------------------------------------------------


@pytest.mark.parametrize("routing", ["trace", "mean", "token", "none"])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_no_gradient_runs_from_the_future_to_the_past(routing: str, mode: str) -> None:
    model = encoder(routing=routing, dense_width=64).train(mode == "train")
    x = windows(3, 4, 5 * L).requires_grad_()
    before = 2
    hidden = model(x).hidden[:, :, :before]
    # Any direction but the norm's own, along which nothing changes.
    (hidden * windows(*hidden.shape, seed=2)).sum().backward()
    assert x.grad is not None
    assert torch.count_nonzero(x.grad[..., before * L :]) == 0
    assert x.grad[..., : before * L].abs().max() > 1e-3


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
        # The history is the only road from step 1 to 3, and the selector hangs on it.
        model.blocks[0].attention.project_out.weight.zero_()
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
