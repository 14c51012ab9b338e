"""EEGNet, its stages exchanged, against braindecode's own module and order."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eegfm_bench.errors import SpecError
from eegfm_bench.models import eegnet as family
from eegfm_bench.models._spec import build
from eegfm_bench.models.eegnet import SCALE_UV, EEGNet

pytestmark = pytest.mark.parity

N_CLASSES = 3
# Channels, time points, taps: the suite's shapes, and ones at the edge of what fits.
SHAPES = [
    (64, 800, 64),
    (20, 1000, 64),
    (16, 2000, 63),
    (6, 6000, 64),
    (62, 200, 33),
    (1, 200, 64),
    (3, 40, 64),
    (2, 33, 65),
    (3, 100, 1),
    (3, 100, 2),
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ours(n_channels: int, n_times: int, seed: int = 0, **options: float) -> EEGNet:
    torch.manual_seed(seed)
    return build(
        "eegnet",
        channels=[f"c{i}" for i in range(n_channels)],
        n_times=n_times,
        rate_hz=200.0,
        n_classes=N_CLASSES,
        **options,
    )


def theirs(n_channels: int, n_times: int, seed: int = 0, **options: float) -> nn.Module:
    torch.manual_seed(seed)
    return family._braindecode_class()(
        n_chans=n_channels,
        n_times=n_times,
        n_outputs=N_CLASSES,
        final_layer_with_constraint=True,
        batch_norm_momentum=0.1,
        **options,
    )


def pair(
    n_channels: int, n_times: int, n_taps: int, dtype: torch.dtype
) -> tuple[EEGNet, nn.Module]:
    """Both models with equal weights, none of them zero or within its max-norm."""
    model = ours(n_channels, n_times, kernel_length=n_taps)
    reference = theirs(n_channels, n_times, kernel_length=n_taps)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in reference.parameters():
            weight.mul_(2).add_(0.1 * torch.randn_like(weight))
    model.net.load_state_dict(reference.state_dict())
    return model.to(dtype), reference.to(dtype)


def eeg(n_channels: int, n_times: int, *, offset_uv: float, n: int = 4) -> Tensor:
    """Coloured noise (B, C, T) of 15 µV; every channel has an offset of its own."""
    generator = torch.Generator().manual_seed(2)
    white = torch.randn(n, n_channels, n_times, generator=generator)
    x = F.avg_pool1d(white, 5, stride=1, padding=2) + 0.3 * white
    offset = torch.randn(1, n_channels, 1, generator=generator)
    return 15 * x / x.std() + offset_uv * offset


def one_step(model: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits and gradients in training mode, dropout drawn from one seed."""
    torch.manual_seed(3)
    model.zero_grad()
    logits = model.train()(x)
    F.cross_entropy(logits, torch.arange(len(x)) % N_CLASSES).backward()
    gradients = {
        name.removeprefix("net."): p.grad.clone()
        for name, p in model.named_parameters()
    }
    return logits.detach(), gradients


def distance(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Largest deviation of any entry, in units of its tensor's largest entry.

    The offset of the first batch norm has no gradient but rounding, the second
    norm removes it: no tensor is held to less than 1e-4 of the largest of all.
    """
    assert found.keys() == expected.keys()
    largest = max(v.abs().max() for v in expected.values())
    return max(
        float((found[k] - v).abs().max() / v.abs().max().clamp_min(1e-4 * largest))
        for k, v in expected.items()
    )


def running(model: nn.Module) -> dict[str, Tensor]:
    """Statistics of all batch norms, by braindecode's names."""
    return {
        name.removeprefix("net."): value.detach().clone().double()
        for name, value in model.named_buffers()
    }


def check_one_step(
    model: EEGNet, reference: nn.Module, x: Tensor, *, tolerance: float
) -> None:
    logits, gradients = one_step(model, x)
    expected, expected_gradients = one_step(reference, x / SCALE_UV)
    assert distance({"": logits}, {"": expected}) < tolerance
    assert distance(gradients, expected_gradients) < tolerance
    found, wanted = running(model), running(reference)
    for name in wanted:
        torch.testing.assert_close(
            found[name], wanted[name], rtol=tolerance, atol=tolerance
        )


def test_the_same_seed_gives_the_same_weights() -> None:
    found, expected = ours(5, 300).net.state_dict(), theirs(5, 300).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not torch.equal(
        found["conv_temporal.weight"],
        ours(5, 300, seed=1).net.conv_temporal.weight,
    )


def test_its_state_loads_into_braindecode_and_back() -> None:
    model, reference = ours(5, 300, seed=4), theirs(5, 300, seed=5)
    reference.load_state_dict(model.net.state_dict())
    x = eeg(5, 300, offset_uv=0)
    torch.testing.assert_close(model.eval()(x), reference.eval()(x / SCALE_UV))
    again = ours(5, 300, seed=6)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(x), model(x))


# In double precision only the mathematics can differ: nearly nothing is allowed.
@pytest.mark.parametrize("offset_uv", [0, 50])
@pytest.mark.parametrize(("n_channels", "n_times", "n_taps"), SHAPES)
def test_a_training_step_is_the_same_function(
    n_channels: int, n_times: int, n_taps: int, offset_uv: float
) -> None:
    model, reference = pair(n_channels, n_times, n_taps, torch.float64)
    assert model.is_factored
    x = eeg(n_channels, n_times, offset_uv=offset_uv).double()
    check_one_step(model, reference, x, tolerance=1e-9)
    torch.testing.assert_close(
        model.eval()(x), reference.eval()(x / SCALE_UV), rtol=1e-9, atol=1e-10
    )


# In float32 both orders round, each in its own way. Measured here: logits up to three
# times further from double precision than braindecode's, gradients mostly nearer.
@pytest.mark.parametrize("offset_uv", [0, 50, 500])
@pytest.mark.parametrize(("n_channels", "n_times", "n_taps"), SHAPES)
def test_a_training_step_is_as_exact_as_braindecodes(
    n_channels: int, n_times: int, n_taps: int, offset_uv: float
) -> None:
    model, reference = pair(n_channels, n_times, n_taps, torch.float32)
    for net in (model.net, reference):  # masks differ between the precisions
        net.drop_1.p = net.drop_2.p = 0.0
    exact = copy.deepcopy(reference).double()
    x = eeg(n_channels, n_times, offset_uv=offset_uv)
    logits, gradients = one_step(exact, x.double() / SCALE_UV)

    def errors(net: nn.Module, x: Tensor) -> tuple[float, float]:
        found, found_gradients = one_step(net, x)
        return (
            distance({"": found.double()}, {"": logits}),
            distance({k: g.double() for k, g in found_gradients.items()}, gradients),
        )

    for error, allowed in zip(
        errors(model, x), errors(reference, x / SCALE_UV), strict=True
    ):
        assert error < 5 * allowed + 1e-6
    for name in ("running_mean", "running_var"):
        found, expected = (
            getattr(net.bnorm_temporal, name).double() for net in (model.net, exact)
        )
        # Means of 500 µV of offset nearly cancel: in units of one deviation.
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_comparison_notices_that_edges_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, reference = pair(3, 200, 64, torch.float64)
    x = eeg(3, 200, offset_uv=0).double()
    monkeypatch.setattr(
        family, "_absent_moments", lambda x, before, n: torch.zeros(n, n).double()
    )
    with pytest.raises(AssertionError):
        check_one_step(model, reference, x, tolerance=1e-9)


def test_three_steps_of_training_lead_to_the_same_losses() -> None:
    model, reference = ours(20, 400), theirs(20, 400)
    x, y = eeg(20, 400, offset_uv=20, n=16), torch.arange(16) % N_CLASSES
    losses = []
    for net, scale in ((model, 1.0), (reference, SCALE_UV)):
        torch.manual_seed(7)
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)
        for _ in range(3):
            optimizer.zero_grad()
            loss = F.cross_entropy(net.train()(x / scale), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    # AdamW gives a gradient that is but rounding a full step; it moves no output.
    assert losses[:3] == pytest.approx(losses[3:], rel=1e-4)
    assert losses[2] != pytest.approx(losses[0], rel=1e-3)


def test_a_frozen_norm_uses_and_keeps_its_running_statistics() -> None:
    model, reference = pair(5, 200, 64, torch.float64)
    x = eeg(5, 200, offset_uv=10).double()
    for net in (model.net, reference):
        net.train().bnorm_temporal.eval()
    before = running(model)["bnorm_temporal.running_var"]
    torch.manual_seed(0)
    logits = model(x)
    torch.manual_seed(0)
    torch.testing.assert_close(logits, reference(x / SCALE_UV), rtol=1e-9, atol=1e-10)
    assert torch.equal(running(model)["bnorm_temporal.running_var"], before)


def test_the_gradient_of_the_input_is_braindecodes() -> None:
    model, reference = pair(5, 200, 64, torch.float64)
    x = eeg(5, 200, offset_uv=10).double().requires_grad_()
    (found,) = torch.autograd.grad(model.eval()(x).square().sum(), x)
    (expected,) = torch.autograd.grad(reference.eval()(x / SCALE_UV).square().sum(), x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_features_and_head_make_the_logits() -> None:
    model = ours(5, 300).eval()
    x = eeg(5, 300, offset_uv=0)
    assert torch.equal(model.head(model.features(x)), model(x))
    assert model.features(x).shape == (len(x), model.head.in_features)


def test_a_window_is_judged_alone() -> None:
    model = ours(20, 400).eval()
    x = eeg(20, 400, offset_uv=50)
    together = model(x)
    # Matrix products of another size round differently.
    torch.testing.assert_close(model(x[:1]), together[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value_uv", [0.0, 50.0])
def test_silence_stays_finite(value_uv: float) -> None:
    model = ours(5, 200)
    logits, gradients = one_step(model, torch.full((4, 5, 200), value_uv))
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(g).all() for g in gradients.values())
    assert torch.isfinite(model.eval()(torch.zeros(2, 5, 200))).all()


def test_bfloat16_leaves_the_first_statistics_exact() -> None:
    model, x = ours(20, 400), eeg(20, 400, offset_uv=50)
    exact = copy.deepcopy(model)
    one_step(exact, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, gradients = one_step(model, x)
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(g).all() for g in gradients.values())
    for name in ("running_mean", "running_var"):
        found, expected = (getattr(m.net.bnorm_temporal, name) for m in (model, exact))
        assert torch.equal(found, expected)


def test_a_window_too_short_for_its_poolings_is_refused() -> None:
    assert ours(2, 32).head.in_features > 0
    with pytest.raises(SpecError, match="31 time points"):
        ours(2, 31)
