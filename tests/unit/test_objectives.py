"""What is asked of an encoder: the right positions, the right loss, no leaks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from eegfm_bench.errors import SignalError, SpecError
from eegfm_bench.models.trace.forecast import forecast_loss
from eegfm_bench.pretraining.objectives import (
    CausalObjective,
    MaskedObjective,
    encoder_config,
    mask_of,
    objective_of,
)
from eegfm_bench.pretraining.skill import fit_linear, last_patch, last_value, skill
from tests.small_corpus import corpus, spec
from tests.trace_models import L, windows


def causal(seed: int = 0, **changes: object) -> CausalObjective:
    model = objective_of(spec(corpus(), seed=seed, **changes))
    assert isinstance(model, CausalObjective)
    return model


def masked() -> MaskedObjective:
    model = objective_of(spec(corpus(), objective="masked"))
    assert isinstance(model, MaskedObjective)
    return model


def test_each_horizon_is_the_huber_loss_of_its_valid_steps() -> None:
    model, x = causal(), windows(2, 3, 3 * L)
    asked = model(x)
    hidden = model.encoder(x).hidden
    patches = x.view(2, 3, 3, L) / 100
    by_hand = {}
    for h in (1, 2):
        errors = []
        for t in range(3 - h):
            ahead = patches[:, :, t + 1 : t + 1 + h].flatten(2)
            made = model.heads.heads[str(h)](hidden[:, :, t])
            errors.append(F.huber_loss(made, ahead))
        by_hand[f"h{h}"] = torch.stack(errors).mean()
    assert asked.each.keys() == {"h1", "h2"}  # four patches ahead there is nothing
    for part, value in by_hand.items():
        torch.testing.assert_close(asked.each[part], value.detach())
    torch.testing.assert_close(asked.loss, sum(by_hand.values()) / 2)


def test_a_horizon_beyond_the_window_moves_nothing_but_has_a_gradient() -> None:
    model = causal()
    model(windows(2, 3, 3 * L)).loss.backward()
    assert all(weight.grad is not None for weight in model.parameters())
    assert not model.heads.heads["4"].weight.grad.any()
    assert model.heads.heads["2"].weight.grad.any()


def test_windows_too_short_for_any_horizon_are_refused() -> None:
    with pytest.raises(SignalError, match="1 patches are too short"):
        causal()(windows(1, 3, L))


def test_the_loss_of_a_step_does_not_see_beyond_its_targets() -> None:
    # With horizon 1 alone, the forecast made at step t is judged on patch t + 1.
    model = causal(horizons=(1,))
    x = windows(1, 2, 5 * L).requires_grad_()
    hidden = model.encoder(x).hidden
    made = model.heads(hidden)[1][:, :, 2]
    ahead = x.view(1, 2, 5, L)[:, :, 3] / 100
    F.huber_loss(made, ahead).backward()
    assert x.grad is not None
    reach = x.grad.view(2, 5, L).abs().amax((0, 2))
    assert (reach[:4] > 0).all()
    assert reach[4] == 0


def test_seeds_decide_weights_and_leave_the_generator_alone() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, again, other = causal(0), causal(0), causal(1)
    assert torch.equal(torch.get_rng_state(), before)
    for name, weight in first.named_parameters():
        assert torch.equal(weight, again.get_parameter(name))
    name = "heads.heads.1.weight"
    assert not torch.equal(first.get_parameter(name), other.get_parameter(name))


@pytest.mark.parametrize(
    ("shape", "ratio", "expected"),
    [((4, 3, 5), 0.5, 8), ((2, 19, 30), 0.5, 285), ((3, 1, 2), 0.9, 1)],
)
def test_exactly_that_share_of_each_window_is_hidden(
    shape: tuple[int, int, int], ratio: float, expected: int
) -> None:
    hidden = mask_of(shape, ratio, (0, 1, 2))
    assert hidden.shape == shape
    assert (hidden.sum((1, 2)) == expected).all()


def test_masks_depend_on_their_place_alone() -> None:
    masks = [mask_of((6, 4, 8), 0.5, (0, step, micro)) for step, micro in ((3, 1),) * 2]
    assert np.array_equal(*masks)
    assert not np.array_equal(masks[0], mask_of((6, 4, 8), 0.5, (0, 3, 2)))
    assert not np.array_equal(masks[0][0], masks[0][1])
    often = mask_of((4000, 2, 3), 0.5, (1,)).mean(0)
    assert abs(often - 0.5).max() < 5 * math.sqrt(0.25 / 4000)


def test_one_patch_alone_cannot_be_hidden_in_part() -> None:
    with pytest.raises(SignalError, match="hidden in part"):
        mask_of((2, 1, 1), 0.5, ())


def test_patches_that_are_shown_are_never_in_the_masked_loss() -> None:
    model, draw = masked(), (0, 0, 0)
    hidden = torch.from_numpy(mask_of((2, 3, 4), 0.5, draw))
    x = windows(2, 3, 4 * L).view(2, 3, 4, L)
    with torch.no_grad():
        shown = torch.where(hidden[..., None], torch.zeros(()), x)
        rebuilt = model.head(model.encoder(shown.flatten(2)).hidden)
        by_hand = (rebuilt - x / 100).square()[hidden].mean()
        torch.testing.assert_close(model(x.flatten(2), draw).loss, by_hand)


def test_what_is_hidden_does_not_reach_the_encoder() -> None:
    model, draw = masked(), (0, 5, 1)
    hidden = torch.from_numpy(mask_of((1, 3, 4), 0.5, draw))
    x = windows(1, 3, 4 * L).view(1, 3, 4, L)
    other = torch.where(hidden[..., None], 1000.0 * torch.ones(()), x)
    seen: list[torch.Tensor] = []
    model.encoder.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    with torch.no_grad():
        model(x.flatten(2), draw)
        model(other.flatten(2), draw)
    assert torch.equal(*seen)


def test_the_stand_in_is_learnt() -> None:
    model = masked()
    model(windows(2, 3, 4 * L), (0,)).loss.backward()
    assert all(weight.grad is not None for weight in model.parameters())
    assert model.stand_in.grad.abs().max() > 0


def test_both_objectives_start_from_one_encoder() -> None:
    theirs = masked().encoder.state_dict()
    for name, weight in causal().encoder.state_dict().items():
        assert torch.equal(weight, theirs[name])


def test_a_dense_rival_needs_a_width() -> None:
    bare = spec(corpus()).model_copy(update={"options": {"routing": "none"}})
    with pytest.raises(SpecError, match=r"--set dense_width=\d+"):
        encoder_config(bare)


def test_persistence_repeats_the_last_patch_or_value() -> None:
    patches = torch.arange(6.0).view(1, 1, 3, 2)
    assert last_patch(patches, (2,))[2][0, 0, 1].tolist() == [2, 3, 2, 3]
    assert last_value(patches, (2,))[2][0, 0, 1].tolist() == [3, 3, 3, 3]
    loss, each = forecast_loss(last_patch(patches, (1,)), patches)
    assert (float(loss), float(each[1])) == (1.5, 1.5)  # each is wrong by 2


def test_a_linear_model_finds_a_linear_rule_and_beats_persistence() -> None:
    random = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(2, 4, 4, generator=random))[0].double()
    steps = [torch.randn(64, 2, 4, generator=random).double()]
    for _ in range(4):
        steps.append(torch.einsum("bci,cio->bco", steps[-1], turn))
    patches = torch.stack(steps, dim=2)
    linear = fit_linear([patches[:20], patches[20:40]], (1, 2), penalty=1e-9)
    unseen = patches[40:]
    made, _ = forecast_loss(linear(unseen), unseen)
    kept, _ = forecast_loss(last_patch(unseen, (1, 2)), unseen)
    assert float(made) < 1e-10
    assert skill(float(made), float(kept)) > 0.999


def test_a_silent_channel_and_short_windows_do_not_stop_the_linear_model() -> None:
    silent = torch.zeros(3, 2, 3, 4)
    linear = fit_linear([silent, silent[:, :, :1]], (1, 2), penalty=0.1)
    assert not linear(silent)[2].any()
    with pytest.raises(SpecError, match="No window is long enough"):
        fit_linear([silent], (3,), penalty=0.1)
    with pytest.raises(SpecError, match="more than 0"):
        fit_linear([silent], (1,), penalty=0.0)
