"""CNN-Transformer, FFCL and ST-Transformer: their options, parts and limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from eegfm_bench.errors import SpecError
from eegfm_bench.models._size import counted
from eegfm_bench.models._spec import build, find_model
from eegfm_bench.models._task_baselines import (
    FLOOR_UV,
    ResidualNet,
    scaled_by_percentile,
    spectrogram,
)
from eegfm_bench.models.ffcl import dealt

NAMES = ("cnn_transformer", "ffcl", "st_transformer")
C, T, K = 5, 800, 3


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def built(
    name: str, n_channels: int = C, n_times: int = T, n_classes: int = K, **more: Any
) -> Any:
    torch.manual_seed(0)
    return build(
        name,
        channels=[f"E{c + 1}" for c in range(n_channels)],
        n_times=n_times,
        rate_hz=more.pop("rate_hz", 200.0),
        n_classes=n_classes,
        **{"scale": "small", **more},
    )


def windows(n: int = 3, n_channels: int = C, n_times: int = T) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    return 20 * torch.randn(n, n_channels, n_times, generator=random)


@pytest.mark.parametrize("percentile", [95.0, 50.0, 100.0, 99.99, 0.5])
@pytest.mark.parametrize("n_times", [1, 2, 7, 200])
def test_channels_are_divided_by_numpys_percentile(
    percentile: float, n_times: int
) -> None:
    x = windows(n_times=n_times).double() + 1
    size = np.percentile(x.abs().numpy(), percentile, axis=-1, keepdims=True)
    expected = x / torch.from_numpy(size).clamp_min(FLOOR_UV)
    torch.testing.assert_close(scaled_by_percentile(x, percentile), expected)


def test_what_is_flat_but_for_an_artefact_is_not_blown_up() -> None:
    x = torch.zeros(1, 1, 1000)
    x[..., 100:110] = 1e4
    assert scaled_by_percentile(x, 95.0).max() == 1e4 / FLOOR_UV


def test_a_spectrogram_is_that_of_mirrored_stretches_without_a_taper() -> None:
    x = windows(n=1, n_channels=2, n_times=250)
    found = spectrogram(x, n_fft=200, hop=100)
    assert found.shape == (1, 2, 101, 3)
    mirrored = F.pad(x, (100, 100), mode="reflect")
    expected = torch.fft.rfft(mirrored[..., 200:400]).abs() / 200**0.5
    torch.testing.assert_close(found[..., 2], expected, rtol=1e-4, atol=1e-4)


def test_channels_are_dealt_out_phase_by_phase() -> None:
    x = windows(n_times=43)
    rows = [x[:, :, phase:40:20] for phase in range(20)]
    assert torch.equal(dealt(x, 20), torch.cat(rows, dim=1))


def test_a_batch_of_one_window_can_be_trained_on() -> None:
    net = ResidualNet(
        C, n_filters=4, n_blocks=4, drop_prob=0.0, norm_momentum=0.1
    ).train()
    small = spectrogram(windows(n=1, n_times=160), n_fft=200, hop=100)
    deepest = net.blocks[-1]
    before = deepest.first_norm.running_mean.clone()
    assert torch.isfinite(net(small)).all()
    # One value has no deviation: nothing is learnt of it.
    assert torch.equal(deepest.first_norm.running_mean, before)
    assert net.blocks[0].first_norm.num_batches_tracked == 1
    net(small.expand(2, -1, -1, -1))
    assert not torch.equal(deepest.first_norm.running_mean, before)


@pytest.mark.parametrize("name", NAMES)
def test_one_window_takes_a_step_in_training(name: str) -> None:
    model = built(name, scale="paper").train()
    F.cross_entropy(model(windows(n=1)), torch.tensor([0])).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize(
    ("n_times", "n_segments"), [(101, 1), (200, 1), (400, 3), (505, 5), (6000, 5)]
)
def test_a_window_has_as_many_segments_as_are_long_enough(
    n_times: int, n_segments: int
) -> None:
    model = built("cnn_transformer", n_times=n_times)
    assert model.n_segments == n_segments
    assert model(windows(n_times=n_times)).shape == (3, K)


@pytest.mark.parametrize("is_joint", [False, True])
def test_segments_at_once_say_the_same_while_evaluating(is_joint: bool) -> None:
    one, other = (built("cnn_transformer", is_joint=j) for j in (is_joint, False))
    other.load_state_dict(one.state_dict())
    x = windows(n_times=T + 3)
    torch.testing.assert_close(one.eval()(x), other.eval()(x), rtol=1e-4, atol=1e-5)
    differ = (one.train()(x) - other.train()(x)).abs().max() > 1e-4
    assert differ == is_joint


def test_encoder_layers_start_alike_and_part_in_training() -> None:
    first, second, *_ = built("cnn_transformer", scale="paper").layers
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a is not b


def test_an_encoder_layer_is_torchs() -> None:
    layer = built("cnn_transformer", scale="paper").layers[0].eval()
    theirs = nn.TransformerEncoderLayer(
        256, 4, dim_feedforward=256, activation="gelu", batch_first=True
    ).eval()
    names = {
        "self_attn.in_proj_weight": "qkv.weight",
        "self_attn.in_proj_bias": "qkv.bias",
        "self_attn.out_proj": "out",
        "linear1": "feed_forward.0",
        "linear2": "feed_forward.3",
        "norm1": "attention_norm",
        "norm2": "feed_forward_norm",
    }
    ours = layer.state_dict()
    for old, new in names.items():
        for key in [k for k in theirs.state_dict() if k.startswith(old)]:
            theirs.get_parameter(key).data.copy_(ours[key.replace(old, new)])
    tokens = torch.randn(2, 5, 256)
    torch.testing.assert_close(layer(tokens), theirs(tokens), rtol=1e-5, atol=1e-5)


def test_thirty_seconds_leave_more_than_a_point_and_are_averaged() -> None:
    model = built("ffcl", scale="paper", n_times=6000).eval()
    x = windows(n=1, n_times=6000)
    scaled = scaled_by_percentile(x, 95.0)
    spectra = spectrogram(scaled, n_fft=200, hop=10)
    assert model.cnn.blocks(spectra).shape == (1, 256, 1, 3)
    assert model.features(x).shape == (1, 512)


def test_channels_attend_to_each_other_where_it_is_asked_for() -> None:
    plain, mixing = (built("st_transformer", is_mixing=m) for m in (False, True))
    assert not any("attention" in k for k in plain.state_dict())
    missing = mixing.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert {k.split(".")[0] for k in missing} == {"attention"}
    x = windows()
    assert (plain.eval()(x) - mixing.eval()(x)).abs().max() > 1e-4
    F.cross_entropy(mixing(x), torch.arange(3)).backward()
    gradients = [p.grad.norm() for p in mixing.attention.parameters()]
    # A key's offset moves all scores of a query alike, which a softmax removes.
    assert sum(g > 1e-7 for g in gradients) >= 6


@pytest.mark.parametrize("name", NAMES)
def test_only_200_hz_is_listened_to(name: str) -> None:
    with pytest.raises(SpecError, match="come at 256 Hz; the model listens at 200 Hz"):
        built(name, rate_hz=256.0)


@pytest.mark.parametrize(
    ("name", "n_times", "says"),
    [
        ("cnn_transformer", 100, "100 time points are fewer than the 101 of half"),
        ("ffcl", 100, "100 time points are fewer than the 101 .* Shorten n_fft"),
        ("st_transformer", 126, "126 time points are fewer than the 127 of one slice"),
    ],
)
def test_windows_too_short_are_refused(name: str, n_times: int, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        built(name, n_times=n_times)
    shorter = {"kernel": 5} if name == "st_transformer" else {"n_fft": 100}
    short = windows(n_times=n_times)
    assert built(name, n_times=n_times, **shorter)(short).shape == (3, K)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("cnn_transformer", {"n_heads": 5}, "width of 48 .n_filters .* 5 heads"),
        ("cnn_transformer", {"hop": 0}, "hop of cnn_transformer is 0; expected a who"),
        ("cnn_transformer", {"is_joint": 1}, "is_joint .* is 1; expected true or fal"),
        ("cnn_transformer", {"n_blocks": 2.0}, "n_blocks .* is 2.0; expected a whole"),
        ("ffcl", {"percentile": 0}, "percentile of ffcl is 0; expected a number"),
        ("ffcl", {"percentile": 101.0}, "percentile of ffcl is 101.0; .* up to 100"),
        ("ffcl", {"shrink": True}, "shrink of ffcl is True; expected a whole number"),
        ("ffcl", {"lstm_drop_prob": 1}, "lstm_drop_prob of ffcl is 1; .* to below 1"),
        ("st_transformer", {"n_heads": 7}, "a width of .* cannot be shared among 7"),
        ("st_transformer", {"slope": "a"}, "slope of st_transformer is 'a'; expected"),
        ("st_transformer", {"drop_prob": float("nan")}, "drop_prob .* is nan; expect"),
        ("st_transformer", {"is_mixing": "no"}, "is_mixing .* is 'no'; expected true"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_built(
    name: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(SpecError, match=says):
        find_model(name).options_for("small", options)


def test_a_window_shorter_than_a_pooled_stretch_is_refused() -> None:
    with pytest.raises(SpecError, match="the 900 that are averaged before"):
        built("st_transformer", is_mixing=True, pool=900)


def test_an_lstms_products_are_counted() -> None:
    known = find_model("ffcl")
    with_lstm = counted(known, "paper").flops
    model = built("ffcl", 16, 2000, 2, scale="paper").eval()
    counter = FlopCounterMode(display=False)
    with counter:
        model.head(F.pad(model.cnn(spectrogram(ten_s(), n_fft=200, hop=10)), (0, 256)))
    weights = sum(p.numel() for p in model.lstm.parameters() if p.ndim == 2)
    steps = 20 * 16
    assert with_lstm == counter.get_total_flops() + 2 * weights * steps


def ten_s() -> torch.Tensor:
    return scaled_by_percentile(windows(1, 16, 2000), 95.0)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_trains(name: str) -> None:
    model = built(name).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.cross_entropy(model(windows()).float(), torch.arange(3))
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_half_precision_scales_and_transforms_in_full() -> None:
    x = scaled_by_percentile(windows(), 95.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert spectrogram(x, n_fft=200, hop=100).dtype == torch.float32
