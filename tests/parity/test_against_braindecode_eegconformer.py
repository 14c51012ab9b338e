"""EEG Conformer, its convolutions folded, against braindecode's module and order."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eegfm_bench.errors import SpecError
from eegfm_bench.models import eegconformer as family
from eegfm_bench.models._spec import build
from eegfm_bench.models.eegconformer import SCALE_UV, EEGConformer

pytestmark = pytest.mark.parity

N_CLASSES = 3
# Channels, time points, taps: the suite's shapes, and ones at the edge of what fits.
SHAPES = [
    (64, 800, 25),
    (20, 1000, 25),
    (16, 2000, 24),
    (6, 6000, 25),
    (62, 200, 25),
    (1, 99, 25),
    (3, 128, 1),
    (2, 128, 54),
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ours(n_channels: int, n_times: int, seed: int = 0, **options: Any) -> EEGConformer:
    torch.manual_seed(seed)
    return build(
        "eegconformer",
        channels=[f"c{i}" for i in range(n_channels)],
        n_times=n_times,
        rate_hz=200.0,
        n_classes=N_CLASSES,
        **options,
    )


def theirs(n_channels: int, n_times: int, seed: int = 0, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    return family._braindecode_class()(
        n_chans=n_channels, n_times=n_times, n_outputs=N_CLASSES, **options
    )


def pair(
    n_channels: int, n_times: int, n_taps: int, dtype: torch.dtype
) -> tuple[EEGConformer, nn.Module]:
    """Both models with equal weights, none of them zero."""
    more = {"filter_time_length": n_taps, "num_layers": 2}
    model = ours(n_channels, n_times, **more)
    reference = theirs(n_channels, n_times, **more)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in reference.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
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

    What a batch norm or a softmax removes, an offset, has no gradient but rounding:
    no tensor is held to less than 1e-4 of the largest of all.
    """
    assert found.keys() == expected.keys()
    largest = max(v.abs().max() for v in expected.values())
    return max(
        float((found[k] - v).abs().max() / v.abs().max().clamp_min(1e-4 * largest))
        for k, v in expected.items()
    )


def check_one_step(model: EEGConformer, reference: nn.Module, x: Tensor) -> None:
    """Compare in double precision, where only the mathematics can differ."""
    logits, gradients = one_step(model, x)
    expected, expected_gradients = one_step(reference, x / SCALE_UV)
    assert distance({"": logits}, {"": expected}) < 1e-9
    assert distance(gradients, expected_gradients) < 1e-9
    wanted = dict(reference.named_buffers())
    for name, value in model.net.named_buffers():
        torch.testing.assert_close(value, wanted[name], rtol=1e-9, atol=1e-9)


def test_the_same_seed_gives_the_same_weights() -> None:
    found, expected = ours(5, 300).net.state_dict(), theirs(5, 300).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    other = ours(5, 300, seed=1).net.state_dict()
    name = "patch_embedding.shallownet.0.weight"
    assert not torch.equal(found[name], other[name])


def test_its_state_loads_into_braindecode_and_back() -> None:
    model, reference = ours(5, 300, seed=4), theirs(5, 300, seed=5)
    reference.load_state_dict(model.net.state_dict())
    x = eeg(5, 300, offset_uv=0)
    # Rounding alone, of two orders of summation in float32.
    torch.testing.assert_close(
        model.eval()(x), reference.eval()(x / SCALE_UV), rtol=1e-4, atol=1e-5
    )
    again = ours(5, 300, seed=6)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(x), model(x))


@pytest.mark.parametrize("offset_uv", [0, 50])
@pytest.mark.parametrize(("n_channels", "n_times", "n_taps"), SHAPES)
def test_a_training_step_is_the_same_function(
    n_channels: int, n_times: int, n_taps: int, offset_uv: float
) -> None:
    model, reference = pair(n_channels, n_times, n_taps, torch.float64)
    assert model.is_folded
    x = eeg(n_channels, n_times, offset_uv=offset_uv).double()
    check_one_step(model, reference, x)
    torch.testing.assert_close(
        model.eval()(x), reference.eval()(x / SCALE_UV), rtol=1e-9, atol=1e-9
    )


# In float32 both orders round, each in its own way; an offset of an electrode many
# times its signal is where a detour through spectra could lose digits.
@pytest.mark.parametrize("offset_uv", [0, 50, 500])
@pytest.mark.parametrize(("n_channels", "n_times", "n_taps"), SHAPES[:5])
def test_the_convolution_is_as_exact_as_braindecodes(
    n_channels: int, n_times: int, n_taps: int, offset_uv: float
) -> None:
    model, reference = pair(n_channels, n_times, n_taps, torch.float32)
    x = eeg(n_channels, n_times, offset_uv=offset_uv)
    stages = reference.patch_embedding.shallownet
    with torch.no_grad():
        found = model._convolved(x).unsqueeze(2)
        theirs_ = stages[:2](x.unsqueeze(1) / SCALE_UV)
        exact = copy.deepcopy(stages).double()[:2](x.double().unsqueeze(1) / SCALE_UV)
    # In units of the deviation that the batch norm after it will make 1.
    deviation = exact.std(dim=(0, 2, 3), keepdim=True)
    errors = [((h.double() - exact) / deviation).abs().max() for h in (found, theirs_)]
    assert errors[0] < 5 * errors[1] + 1e-6


def test_the_comparison_notices_that_a_bias_is_forgotten() -> None:
    model, reference = pair(3, 200, 25, torch.float64)
    x = eeg(3, 200, offset_uv=0).double()
    model.eval()
    reference.eval()
    with torch.no_grad():
        model.net.patch_embedding.shallownet[0].bias.zero_()
    difference = (model(x) - reference(x / SCALE_UV)).abs().max()
    assert difference > 1e-6


def test_what_was_not_derived_takes_braindecodes_order() -> None:
    model, reference = pair(3, 200, 25, torch.float64)
    for net in (model.net, reference):
        net.patch_embedding.shallownet[0].padding = (0, 4)
    assert not family._can_be_folded(model.net)
    model.is_folded = family._can_be_folded(model.net)
    x = eeg(3, 192, offset_uv=0).double()
    check_one_step(model, reference, x)


def test_the_gradient_of_the_input_is_braindecodes() -> None:
    model, reference = pair(5, 200, 25, torch.float64)
    x = eeg(5, 200, offset_uv=10).double().requires_grad_()
    (found,) = torch.autograd.grad(model.eval()(x).square().sum(), x)
    (expected,) = torch.autograd.grad(reference.eval()(x / SCALE_UV).square().sum(), x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_three_steps_of_training_lead_to_the_same_losses() -> None:
    model, reference = ours(20, 400), theirs(20, 400)
    x, y = eeg(20, 400, offset_uv=20, n=16), torch.arange(16) % N_CLASSES
    losses = []
    for net, scale in ((model, 1.0), (reference, SCALE_UV)):
        torch.manual_seed(7)
        optimizer = torch.optim.AdamW(net.parameters(), lr=2e-4)
        for _ in range(3):
            optimizer.zero_grad()
            loss = F.cross_entropy(net.train()(x / scale), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    # AdamW gives a gradient that is but rounding a full step.
    assert losses[:3] == pytest.approx(losses[3:], rel=1e-3)


def test_autocast_leaves_the_convolution_exact() -> None:
    model = ours(5, 300).eval()
    x = eeg(5, 300, offset_uv=0)
    exact = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(x)
    # bfloat16 has 8 bits; the layers after the convolution are in it.
    torch.testing.assert_close(rounded.float(), exact, rtol=0.1, atol=0.05)


def test_the_small_head_sees_the_mean_of_the_tokens() -> None:
    model = ours(5, 300, scale="small").eval()
    assert model.features(eeg(5, 300, offset_uv=0)).shape == (4, 32)
    longer = ours(5, 1000, scale="small")
    longer.load_state_dict(model.state_dict())  # nothing depends on the length


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"num_heads": 7}, "40 filters .* among 7 heads"),
        ({"pool_time_length": 500}, "500 time points are fewer than the 524"),
        ({"num_heads": 0}, "num_heads of eegconformer is 0; expected a whole number"),
        ({"num_heads": True}, "num_heads of eegconformer is True"),
        ({"n_filters_time": 0}, "n_filters_time of eegconformer is 0; expected a wh"),
        ({"n_filters_time": 8.5}, "n_filters_time of eegconformer is 8.5; expected"),
        ({"pool_time_stride": 0}, "pool_time_stride of eegconformer is 0; expected"),
        ({"drop_prob": 2}, "drop_prob of eegconformer is 2; .* from 0 to below 1"),
        ({"att_drop_prob": float("nan")}, "att_drop_prob of eegconformer is nan"),
        ({"has_pooled_head": 1}, "has_pooled_head of .* is 1; expected true or false"),
    ],
)
@pytest.mark.parametrize("scale", ["paper", "small"])
def test_options_that_do_not_fit_are_refused(
    options: dict[str, Any], says: str, scale: str
) -> None:
    if scale == "small":
        says = says.replace("40 filters", "16 filters")
    with pytest.raises(SpecError, match=says):
        ours(3, 500, scale=scale, **options)


def test_a_short_window_is_served_by_shorter_kernels() -> None:
    with pytest.raises(SpecError, match="Shorten filter_time_length or pool_time"):
        ours(3, 60)
    model = ours(3, 60, filter_time_length=5, pool_time_length=20)
    assert model(eeg(3, 60, offset_uv=0)).shape == (4, N_CLASSES)
