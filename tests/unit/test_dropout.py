"""Dropout on a processor: what is dropped, how often, and the way back."""

from __future__ import annotations

import pytest
import torch

from eegfm_bench.models._dropout import dropped_, kept_of

KINDS = (torch.float32, torch.float64, torch.bfloat16)


def drawn(*shape: int, p: float = 0.1, seed: int = 0, dtype: object = None) -> object:
    torch.manual_seed(seed)
    return dropped_(torch.ones(*shape, dtype=dtype), p, True)  # type: ignore[arg-type]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", KINDS, ids=str)
def test_the_share_is_dropped_and_the_mean_stays(p: float, dtype: torch.dtype) -> None:
    n = 1_000_000
    values = drawn(n, p=p, dtype=dtype)
    share = (values == 0).double().mean().item()
    assert abs(share - p) < 5 * (p * (1 - p) / n) ** 0.5 + 1 / 65536
    stays = values[values != 0].double()
    expected = torch.tensor(1 / (1 - round(p * 65536) / 65536), dtype=torch.float64)
    torch.testing.assert_close(stays.unique()[0], expected.to(dtype).double())
    assert len(stays.unique()) == 1


def test_neighbours_are_dropped_independently_of_each_other() -> None:
    # Four values share a random word, eight a byte's worth of SIMD lanes and so on.
    is_kept = (drawn(100_000, 8, p=0.5) != 0).double()
    found = torch.corrcoef(is_kept.T) - torch.eye(8)
    assert found.abs().max() < 5 / 100_000**0.5


def test_the_seed_alone_decides_whatever_the_threads() -> None:
    threads = torch.get_num_threads()
    first = drawn(999)
    try:
        torch.set_num_threads(2)
        assert torch.equal(first, drawn(999))
    finally:
        torch.set_num_threads(threads)
    assert not torch.equal(first, drawn(999, seed=1))
    again = dropped_(torch.ones(999), 0.1, True)  # the next draw of the same seed
    assert not torch.equal(first, again)


def test_all_types_drop_the_same() -> None:
    masks = [drawn(3, 7, p=0.4, dtype=dtype) == 0 for dtype in KINDS]
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[0], masks[2])


@pytest.mark.parametrize(("p", "is_training"), [(0.1, False), (0.0, True)])
def test_outside_of_training_nothing_is_drawn(p: float, is_training: bool) -> None:
    x = torch.ones(5)
    state = torch.get_rng_state()
    assert dropped_(x, p, is_training) is x
    assert torch.equal(x, torch.ones(5))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("p", [1e-7, 1 - 1e-7])
def test_shares_beyond_the_steps_stay_finite(p: float) -> None:
    assert torch.isfinite(drawn(1000, p=p)).all()


def test_the_way_back_is_that_of_the_values_that_stayed() -> None:
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)

    def f(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        return dropped_(x.sin(), 0.3, True).cos()

    torch.autograd.gradcheck(f, (x,))


def test_a_residual_beside_it_keeps_its_gradient() -> None:
    x = torch.randn(64, requires_grad=True)
    torch.manual_seed(0)
    (x + dropped_(x * 2, 0.5, True)).sum().backward()
    assert set(x.grad.unique().tolist()) == {1.0, 5.0}


def test_brain_floats_go_back_through_the_same_mask() -> None:
    x = torch.ones(1000, dtype=torch.bfloat16, requires_grad=True)
    torch.manual_seed(0)
    y = dropped_(x * 1, 0.25, True)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_sizes_that_are_no_multiple_of_four_are_served() -> None:
    for n in (1, 2, 3, 5):
        kept, _ = kept_of(torch.ones(n), 0.5)
        assert kept.shape == (n,)
        assert set(kept.tolist()) <= {0, 1}
