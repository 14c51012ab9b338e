"""CodeBrain's options, head, layers and attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from eegfm_bench.errors import SpecError
from eegfm_bench.models._spec import InputShape, build, find_model
from eegfm_bench.models.codebrain import CodeBrain, attended


def ours(n_channels: int = 3, n_times: int = 400, **options: Any) -> CodeBrain:
    torch.manual_seed(0)
    scale = options.pop("scale", "small")
    model: CodeBrain = build(
        "codebrain",
        channels=[f"E{c}" for c in range(n_channels)],
        n_times=n_times,
        rate_hz=200.0,
        n_classes=2,
        scale=scale,
        **options,
    )
    return model


def x(n_channels: int = 3, n_times: int = 400, n: int = 4) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    return 20 * torch.randn(n, n_channels, n_times, generator=random)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n_layers": 0}, "n_layers of codebrain is 0; expected a whole number, 1 or"),
        ({"width": True}, "width of codebrain is True; expected a whole number"),
        ({"n_filters": 2.5}, "n_filters of codebrain is 2.5; expected a whole number"),
        ({"n_filters": 6}, "6 filters .* cannot be shared among 4 groups"),
        ({"num_heads": 7}, "twice the width, cannot be shared among 7 heads"),
        ({"kernel_length": 300}, "a kernel of 300 taps .* is longer than a patch"),
        ({"kernel_padding": -1}, "kernel_padding of codebrain is -1; .* 0 or more"),
        ({"attention_window": 4}, "attention_window of codebrain is 4; .* odd number"),
        ({"reach": 1}, "reach of codebrain is 1; expected a whole number, 2 or more"),
        ({"is_bidirectional": 1}, "is_bidirectional of .* is 1; expected true or fal"),
        ({"drop_prob": 1}, "drop_prob of codebrain is 1; .* from 0 to below 1"),
        ({"scale_uv": float("inf")}, "scale_uv of codebrain is inf; .* above 0, in µV"),
        ({"head": "mean"}, "head of codebrain is 'mean'; expected patches or pooled"),
        ({"head_hidden": 9}, "head_hidden of codebrain is 9, but a pooled head has no"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: dict[str, Any], says: str
) -> None:
    known = find_model("codebrain")
    with pytest.raises(SpecError, match=says):
        known.options_for("small", options)


@pytest.mark.parametrize(
    ("n_times", "rate_hz", "says"),
    [
        (450, 200.0, "450 time points do not divide .* 200; .*: 400 and 600"),
        (100, 200.0, "100 time points do not divide .*: 200"),
        (400, 256.0, "its windows come at 256 Hz; patches are 1 s at 200 Hz"),
    ],
)
def test_windows_that_do_not_divide_into_seconds_are_refused(
    n_times: int, rate_hz: float, says: str
) -> None:
    shape = InputShape(channels=("Cz",), n_times=n_times, rate_hz=rate_hz, n_classes=2)
    with pytest.raises(SpecError, match=says):
        find_model("codebrain").build(shape)


def widths(model: CodeBrain) -> list[int]:
    return [layer.out_features for layer in model.head if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize(
    ("n_times", "options", "expected"),
    [
        (1000, {}, [1000, 200, 2]),
        (600, {}, [600, 200, 2]),
        (200, {}, [800, 200, 2]),  # as published for windows of one second
        (600, {"head_hidden": 32, "head_units": 16}, [32, 16, 2]),
    ],
)
def test_the_head_has_200_units_for_each_second(
    n_times: int, options: dict[str, Any], expected: list[int]
) -> None:
    model = ours(2, n_times, scale="paper", n_layers=1, **options)
    assert widths(model) == expected
    assert model.features(x(2, n_times)).shape == (4, 2 * n_times)


def test_a_pooled_head_sees_each_channels_mean() -> None:
    model = ours(3, 600, out_width=24).eval()
    assert model.features(x(3, 600)).shape == (4, 3 * 24)
    longer = ours(3, 1000, out_width=24)
    longer.load_state_dict(model.state_dict())  # nothing depends on the length


def test_a_batch_of_one_window_can_be_trained_on() -> None:
    model = ours().train()
    before = model.head.norm.running_mean.clone()
    model(x(n=1)).sum().backward()
    assert torch.equal(model.head.norm.running_mean, before)


def test_it_holds_nothing_of_pre_training() -> None:
    names = set(ours(scale="paper", n_layers=1).state_dict())
    assert not [name for name in names if "mask_encoding" in name or "lm_head" in name]


@pytest.mark.parametrize(
    ("options", "n_kernels", "heads"),
    [({}, 4, 4), ({"n_kernels": 2, "num_heads": 8}, 2, 8)],
)
def test_kernels_and_heads_are_as_many_as_asked_for(
    options: dict[str, Any], n_kernels: int, heads: int
) -> None:
    model = ours(scale="paper", n_layers=2, head_hidden=4, **options).eval()
    for block in model.net.residual_layer.residual_blocks:
        assert block.sgconv.skip_weight.shape == (n_kernels, 400)
        assert block.attention.num_heads == heads
        assert bool(block.sgconv.kernel_norm_initialized)
    assert torch.isfinite(model(x())).all()


def test_the_first_pass_changes_nothing() -> None:
    model = ours().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(x())
    assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())


def test_attention_of_a_window_is_torchs_own() -> None:
    torch.manual_seed(2)
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    row = torch.randn(3, 8, 11)
    at = torch.arange(11)
    for window in (1, 3, 21):
        is_far = (at[:, None] - at).abs() > window // 2
        expected, _ = attention(*[row.transpose(1, 2)] * 3, attn_mask=is_far)
        # Rounding alone.
        torch.testing.assert_close(
            attended(attention, row, window),
            expected.transpose(1, 2),
            rtol=1e-5,
            atol=1e-6,
        )


def test_layers_are_counted_from_the_input() -> None:
    model = ours(n_layers=3)
    assert model.n_layers == 5
    found = {
        name: model.layer_of(name)
        for name, _ in model.named_parameters()
        if not name.startswith("head.")
    }
    assert set(found.values()) == {0, 1, 2, 3, 4}
    assert found["net.init_conv.0.conv.bias"] == 0
    assert found["net.residual_layer.residual_blocks.2.conv_layer.conv.bias"] == 3
    assert found["net.norm.weight"] == 4


def test_lower_precision_says_nearly_the_same() -> None:
    model = ours(scale="paper", n_layers=2).eval()
    with torch.no_grad():
        exact = model(x())
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(x())
    # bfloat16 has 8 bits.
    torch.testing.assert_close(rounded.float(), exact, rtol=0.1, atol=0.05)
