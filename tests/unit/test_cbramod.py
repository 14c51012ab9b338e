"""CBraMod's options, head and layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from eegfm_bench.errors import SpecError
from eegfm_bench.models._spec import InputShape, build, find_model
from eegfm_bench.models.cbramod import CBraMod, _through, attended
from eegfm_bench.runs.spec import TrainingRecipe
from eegfm_bench.training.optimizer import parameter_groups


def ours(n_channels: int = 3, n_times: int = 400, **options: Any) -> CBraMod:
    torch.manual_seed(0)
    scale = options.pop("scale", "small")
    model: CBraMod = build(
        "cbramod",
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
        ({"n_layers": 0}, "n_layers of cbramod is 0; expected a whole number, 1 or"),
        ({"n_layers": True}, "n_layers of cbramod is True; expected a whole number"),
        ({"n_filters": 2.5}, "n_filters of cbramod is 2.5; expected a whole number"),
        ({"n_filters": 6}, "6 filters .* cannot be shared among 4 groups"),
        ({"num_heads": 3}, "32 values cannot be shared among 3 heads .* even number"),
        ({"num_heads": 6}, "32 values cannot be shared among 6 heads"),
        ({"kernel_length": 48}, "kernel_length of cbramod is 48; expected an odd"),
        ({"pos_channels": 2}, "pos_channels of cbramod is 2; expected an odd number"),
        ({"drop_prob": 1}, "drop_prob of cbramod is 1; .* from 0 to below 1"),
        ({"head_drop_prob": float("nan")}, "head_drop_prob of cbramod is nan"),
        ({"scale_uv": 0}, "scale_uv of cbramod is 0; expected a number above 0, in µV"),
        ({"head": "mean"}, "head of cbramod is 'mean'; expected patches or pooled"),
        ({"head_hidden": -1}, "head_hidden of cbramod is -1; .* 0 or more"),
        ({"head_hidden": 9}, "head_hidden of cbramod is 9, but a pooled head has no"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: dict[str, Any], says: str
) -> None:
    known = find_model("cbramod")
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
        find_model("cbramod").build(shape)


def widths(model: CBraMod) -> list[int]:
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
    model = ours(3, 600).eval()
    assert model.features(x(3, 600)).shape == (4, 3 * 32)
    longer = ours(3, 1000)
    longer.load_state_dict(model.state_dict())  # nothing depends on the length


def test_a_batch_of_one_window_can_be_trained_on() -> None:
    model = ours().train()
    before = model.head.norm.running_mean.clone()
    model(x(n=1)).sum().backward()
    assert torch.equal(model.head.norm.running_mean, before)


def test_it_holds_nothing_of_pre_training() -> None:
    names = set(ours(scale="paper", n_layers=1).state_dict())
    assert not [name for name in names if "mask_encoding" in name or "proj_out" in name]


def test_a_token_hears_its_row_and_its_column_in_one_layer() -> None:
    model = ours(4, 1000, head="patches", pos_channels=1, pos_patches=1).eval()
    layer = model.net.encoder.layers[0]
    tokens = torch.randn(1, 4, 5, 32)
    other = tokens.clone()
    other[0, 1, 2] = torch.randn(32)

    with torch.no_grad():
        moved = (_through(layer, tokens) - _through(layer, other)).abs().sum(-1)[0]
    heard = {(c, p) for c in range(4) for p in range(5) if moved[c, p] > 1e-6}
    assert heard == {(c, p) for c in range(4) for p in range(5) if c == 1 or p == 2}


def test_attention_is_torchs_own() -> None:
    torch.manual_seed(2)
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    groups = torch.randn(3, 5, 7, 8)
    rows = groups.flatten(0, 1)
    expected, _ = attention(rows, rows, rows, need_weights=False)
    # Rounding alone.
    torch.testing.assert_close(
        attended(attention, groups).flatten(0, 1), expected, rtol=1e-5, atol=1e-6
    )


def test_layers_are_counted_from_the_input() -> None:
    model = ours(n_layers=3)
    assert model.n_layers == 4
    found = {
        name: model.layer_of(name)
        for name, _ in model.named_parameters()
        if not name.startswith("head.")
    }
    assert set(found.values()) == {0, 1, 2, 3}
    assert found["net.patch_embedding.proj_in.0.weight"] == 0
    assert found["net.encoder.layers.2.linear1.weight"] == 3


def test_the_head_has_a_rate_of_its_own_at_the_paper_scale() -> None:
    recipe = find_model("cbramod").recipes["paper"]
    assert isinstance(recipe, TrainingRecipe)
    groups = parameter_groups(ours(head_units=8), recipe)
    assert sorted(group["lr"] for group in groups) == [1e-4, 5e-4]


def test_lower_precision_says_nearly_the_same() -> None:
    model = ours(scale="paper", n_layers=2).eval()
    with torch.no_grad():
        exact = model(x())
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(x())
    # bfloat16 has 8 bits.
    torch.testing.assert_close(rounded.float(), exact, rtol=0.1, atol=0.05)
