"""CodeBrain against braindecode's own class, weights copied."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eegfm_bench.models._braindecode import braindecode_models
from eegfm_bench.models._spec import build
from eegfm_bench.models.codebrain import SCALE_UV, CodeBrain, attended

pytestmark = pytest.mark.parity

# Channels, seconds, and tokens that attention spans: the row of tokens is shorter and
# longer than the 64 that kernels reach.
SHAPES = [(6, 3, 1), (8, 10, 1), (6, 3, 5), (5, 1, 5)]
N_CLASSES = 3
SMALLER = {"n_layers": 3, "reach": 40, "head_hidden": 16, "head_units": 8}


def pair(
    n_channels: int, seconds: int, *, window: int = 1, **options: Any
) -> tuple[CodeBrain, nn.Module]:
    """Both models with equal weights, in float32: theirs has no other precision."""
    torch.manual_seed(0)
    n_times = 200 * seconds
    model: CodeBrain = build(
        "codebrain",
        channels=[f"E{c}" for c in range(n_channels)],
        n_times=n_times,
        rate_hz=200.0,
        n_classes=N_CLASSES,
        attention_window=window,
        **{**SMALLER, **options},
    )
    reference = braindecode_models().CodeBrain(
        n_chans=n_channels,
        n_times=n_times,
        n_outputs=N_CLASSES,
        num_res_layers=len(model.net.residual_layer.residual_blocks),
        s4_lmax=40,
        swa_window_size=window,
        out_channels=200,
    )
    # Of the sizes that braindecode's head cannot have, ours stands in for it.
    reference.final_layer = nn.Sequential(nn.Flatten(), model.head)
    reference(torch.zeros(1, n_channels, n_times))
    missing, left = model.net.load_state_dict(reference.state_dict(), strict=False)
    assert missing == []
    assert {name.split(".")[0] for name in left} == {
        *("patch_embedding", "residual_layer", "lm_head_t", "lm_head_f", "final_layer")
    }
    return model, reference


def eeg(n_channels: int, seconds: int, n: int = 2) -> Tensor:
    """White noise (B, C, T) of 30 µV."""
    random = torch.Generator().manual_seed(3)
    return 30 * torch.randn(n, n_channels, 200 * seconds, generator=random)


@pytest.mark.parametrize(("n_channels", "seconds", "window"), SHAPES)
def test_logits_and_gradients_are_braindecodes(
    n_channels: int, seconds: int, window: int
) -> None:
    model, reference = pair(n_channels, seconds, window=window)
    x = eeg(n_channels, seconds)
    found, expected = model.eval()(x), reference.eval()(x / SCALE_UV)
    # Rounding alone, of sums in another order.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    found.square().sum().backward()
    ours = {n: p.grad.clone() for n, p in model.net.named_parameters()}
    model.zero_grad()
    expected.square().sum().backward()
    theirs = dict(reference.named_parameters())
    largest = max(float(g.abs().max()) for g in ours.values())
    for name, gradient in ours.items():
        wanted = theirs[name].grad
        torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-5 * largest)


def test_seven_weights_of_theirs_get_no_gradient_and_are_left_out() -> None:
    model, reference = pair(4, 2)
    reference(eeg(4, 2)).sum().backward()
    dead = {n for n, p in reference.named_parameters() if p.grad is None}
    ours = {name for name, _ in model.net.named_parameters()}
    theirs = {name for name, _ in reference.named_parameters()}
    assert len(dead) == 7
    assert theirs - ours - dead == {n for n in theirs if n.startswith("final_layer")}
    assert not ours & dead


def test_norms_of_kernels_are_what_a_first_pass_would_take() -> None:
    torch.manual_seed(5)
    model: CodeBrain = build(
        "codebrain",
        channels=["A", "B"],
        n_times=400,
        rate_hz=200.0,
        n_classes=2,
        **SMALLER,
    )
    for block in model.net.residual_layer.residual_blocks:
        assert bool(block.sgconv.kernel_norm_initialized)
        kept = block.sgconv.kernel_norm.clone()
        block.sgconv.kernel_norm_initialized.zero_()
        block.sgconv.eval()(torch.zeros(1, block.sgconv.d_model, 9))
        assert torch.equal(block.sgconv.kernel_norm, kept)


def test_dropout_of_a_token_alone_is_that_of_its_weight() -> None:
    """A weight of 1 is dropped for all values of a head at once, or doubled."""
    torch.manual_seed(6)
    attention = nn.MultiheadAttention(8, 4, dropout=0.5, batch_first=True).double()
    with torch.no_grad():
        attention.out_proj.weight.copy_(torch.eye(8))
        attention.out_proj.bias.zero_()
    x = torch.randn(3, 8, 50).double()
    sure = attended(attention.eval(), x, 1)
    drawn = attended(attention.train(), x, 1)
    ratio = (drawn / sure).unflatten(1, (4, 2))
    torch.testing.assert_close(ratio[:, :, 0], ratio[:, :, 1])
    assert set(ratio.round(decimals=9).unique().tolist()) == {0.0, 2.0}
    assert 0.4 < (ratio == 0).double().mean() < 0.6


def test_the_comparison_notices_one_kernel() -> None:
    model, reference = pair(4, 2)
    with torch.no_grad():
        model.net.residual_layer.residual_blocks[1].sgconv.kernel_list[0][0, 0] += 1.0
    x = eeg(4, 2)
    difference = model.eval()(x) - reference.eval()(x / SCALE_UV)
    assert difference.abs().max() > 1e-5
