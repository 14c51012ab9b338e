"""Attention of few tokens and the convolution around a token, against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from eegfm_bench.models._on_processors import around, attention_of_few


def qkv(n: int = 3, s: int = 5, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randn(n, s, 3, 2, 4, generator=random, dtype=torch.float64).to(dtype)


def torchs(x: torch.Tensor) -> torch.Tensor:
    q, k, v = x.permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def test_attention_and_its_way_back_are_torchs_to_the_last_digits() -> None:
    ours, theirs = qkv().requires_grad_(), qkv().requires_grad_()
    found, expected = attention_of_few(ours, 0.0), torchs(theirs)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
    ahead = torch.randn(found.shape, dtype=found.dtype)
    found.backward(ahead)
    expected.backward(ahead)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-14)


def test_dropped_attention_weights_are_dropped_on_the_way_back_too() -> None:
    def f(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return attention_of_few(x, 0.4)

    x = qkv(2, 3).requires_grad_()
    torch.autograd.gradcheck(f, (x,))
    assert not torch.allclose(f(x), torchs(x))


def test_dropped_attention_is_on_average_the_whole() -> None:
    x = qkv(1, 4).expand(20_000, -1, -1, -1, -1)
    torch.manual_seed(0)
    drops = attention_of_few(x, 0.3)
    within = 6 * drops.std(0) / 20_000**0.5
    assert ((drops.mean(0) - torchs(x[:1])[0]).abs() < within).all()


def test_brain_floats_are_attended_in_float32() -> None:
    x = qkv(dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found = attention_of_few(x, 0.0)
    expected = attention_of_few(x.float(), 0.0)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected.bfloat16())


@pytest.mark.parametrize("grid", [(3, 4), (1, 6), (12, 1), (1, 1)])
def test_the_convolution_around_a_token_is_torchs(grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(5, 5, (7, 3), padding=(3, 1), groups=5).double()
    x = torch.randn(2, *grid, 5, dtype=torch.float64)
    ahead = torch.randn_like(x)
    found = []
    for f in (
        lambda x: around(conv, x),
        lambda x: conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1),
    ):
        x.grad = None
        conv.zero_grad()
        y = f(x.requires_grad_())
        y.backward(ahead)
        weight, bias = conv.weight.grad, conv.bias.grad
        found.append((y.detach(), x.grad, weight.clone(), bias.clone()))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_around_a_token_lower_precision_learns_nearly_the_same() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 4, (5, 3), padding=(2, 1), groups=4)
    x = torch.randn(8, 6, 5, 4)
    around(conv, x).square().sum().backward()
    exact = conv.weight.grad.clone()
    conv.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        y = around(conv, x.bfloat16())
    assert y.dtype == torch.bfloat16
    y.square().sum().backward()
    assert conv.weight.grad.dtype == torch.float32
    # bfloat16 has 8 bits.
    assert (conv.weight.grad - exact).norm() < 0.02 * exact.norm()
