"""BIOT: channels on their own scale, steps, tokens, and faults."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from eegfm_bench.errors import SpecError
from eegfm_bench.models._spec import build, find_model
from eegfm_bench.models.biot import BIOT
from eegfm_bench.runs.recipes import recipe_book


def biot(n_channels: int = 3, n_times: int = 400, **options: Any) -> BIOT:
    torch.manual_seed(0)
    more = {"num_layers": 1, **options}
    return build(
        "biot",
        channels=[f"E{c}" for c in range(n_channels)],
        n_times=n_times,
        rate_hz=200.0,
        n_classes=2,
        **more,
    ).eval()


def eeg(n_channels: int = 3, n_times: int = 400) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return 20 * torch.randn(3, n_channels, n_times, generator=generator)


@torch.no_grad()
def test_the_amplitude_of_a_channel_says_nothing() -> None:
    model, x = biot(), eeg()
    louder = x * torch.tensor([1.0, 7.0, 0.2])[:, None]
    # The quotients round differently.
    torch.testing.assert_close(model(louder), model(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_channels_are_told_apart_by_their_order() -> None:
    model, x = biot(), eeg()
    assert (model(x.flip(1)) - model(x)).abs().max() > 1e-4


@torch.no_grad()
def test_silence_is_finite_and_judged_like_any_window() -> None:
    for scale in ("paper", "small"):
        model = biot(scale=scale)
        x = eeg()
        x[0] = 0.0
        x[1, 0] = 0.0
        x[1, 0, 7] = 1e4  # all but one time point of a channel are silent
        assert torch.isfinite(model.train()(x)).all()
        assert torch.isfinite(model.eval()(x)).all()


@torch.no_grad()
def test_a_second_is_one_step_and_a_window_is_heard_to_its_last_full_step() -> None:
    assert biot(2, 200)._spectra(eeg(2, 200)).shape == (3, 2, 1, 101)
    model = biot(2, 450)
    assert model._spectra(eeg(2, 450)).shape == (3, 2, 3, 101)
    x = eeg(2, 450)
    other = x.clone()
    # Within the magnitudes of the rest, so that the scale stays as it is.
    other[..., 400:] = -other[..., 400:]
    torch.testing.assert_close(model(other), model(x), rtol=0, atol=0)


@torch.no_grad()
def test_dropout_of_tokens_is_the_published_tenth() -> None:
    model = biot(4, 2000)
    assert model.encoder.positional_encoding.dropout.p == 0.1
    attention = model.encoder.transformer.layers.layers[0][0].fn
    assert attention.dropout.p == 0.2


def test_any_number_of_channels_has_tokens_of_its_own() -> None:
    for n_channels in (1, 16, 18, 64, 130):
        model = biot(n_channels, 200, embed_dim=64, num_heads=4)
        assert model.encoder.channel_tokens.weight.shape == (n_channels, 64)
        assert model(eeg(n_channels, 200)).shape == (3, 2)


def test_the_small_head_sees_the_mean_of_every_channel() -> None:
    model = biot(3, 600, scale="small")
    assert model.features(eeg(3, 600)).shape == (3, 3 * 64)
    longer = biot(3, 1000, scale="small")
    longer.load_state_dict(model.state_dict())  # nothing depends on the length


def test_bfloat16_leaves_the_signal_exact() -> None:
    model, x = biot(), eeg()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rounded = model(x)
        assert model._spectra(x).dtype == torch.float32
    # bfloat16 has 8 bits; tokens are sums of spectra of tens.
    torch.testing.assert_close(rounded.float(), model(x), rtol=0.1, atol=0.1)


def test_the_book_says_what_the_code_does() -> None:
    book, spec = recipe_book("biot"), find_model("biot")
    assert book is not None
    recipe = spec.recipes["paper"].model_dump()
    for key, value in book.values("any", 6).items():
        assert {**recipe, **spec.options}[key] == value
    assert book.values("tuev", 6)["batch_size"] == 128


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"embed_dim": 0}, "embed_dim of biot is 0; expected a whole number"),
        ({"embed_dim": 9, "num_heads": 3}, "is 9; expected an even number"),
        ({"num_heads": 7}, "width 256 .* cannot be shared among 7 heads"),
        ({"num_layers": True}, "num_layers of biot is True"),
        ({"n_fft": 200.0}, "n_fft of biot is 200.0; expected a whole number"),
        ({"hop_length": 201}, "more than the 200 time points of a step"),
        ({"drop_prob": 1.0}, "is 1.0; expected a number from 0 to below 1"),
        ({"percentile": 0}, "percentile of biot is 0; expected a number above 0"),
        ({"percentile": 101}, "percentile of biot is 101; .* up to 100"),
        ({"att_layer_drop_prob": float("nan")}, "att_layer_drop_prob of biot is nan"),
        ({"has_pooled_head": "yes"}, "is 'yes'; expected true or false"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: dict[str, Any], says: str
) -> None:
    with pytest.raises(SpecError, match=says):
        find_model("biot").options_for("paper", options)


def test_windows_without_a_step_or_with_too_many_are_refused() -> None:
    with pytest.raises(SpecError, match="of 150 time points it makes 0 steps"):
        biot(2, 150)
    assert biot(2, 150, n_fft=100, hop_length=50)(eeg(2, 150)).shape == (3, 2)
    with pytest.raises(SpecError, match="200 to 100100 time points"):
        biot(1, 100_200)
    with pytest.raises(SpecError, match="come at 250 Hz; BIOT listens at 200 Hz"):
        build("biot", channels=["C3"], n_times=500, rate_hz=250.0, n_classes=2)
