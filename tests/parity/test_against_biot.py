"""BIOT against figures of its public code, and against braindecode's class."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from eegfm_bench.models._braindecode import braindecode_models
from eegfm_bench.models._spec import build
from eegfm_bench.models.biot import BIOT, _percentile

pytestmark = pytest.mark.parity

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("remake_biot", HERE / "remake_biot.py")
assert _spec is not None
assert _spec.loader is not None
remake = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(remake)

FIGURES = json.loads(remake.FIGURES.read_text())
# Rounding alone: of two orders of the same sums.
WITHIN = {"float64": 1e-10, "float32": 1e-5}


def our_name(name: str) -> str:
    """Translate a name of the public code's state."""
    return name.replace("biot.", "encoder.", 1).replace(
        "classifier.clshead.1.", "head.classification_head."
    )


def their_name(name: str) -> str:
    """Translate a name of ours to braindecode's."""
    return f"final_layer.{name[5:]}" if name.startswith("head.") else name


def with_drawn_state(n_channels: int, n_times: int, n_classes: int) -> BIOT:
    model: BIOT = build(
        "biot",
        channels=[f"E{c}" for c in range(n_channels)],
        n_times=n_times,
        rate_hz=200.0,
        n_classes=n_classes,
    )
    ours = model.state_dict()
    case = next(c for c, n, t, *_ in remake.CASES if (n, t) == (n_channels, n_times))
    names = sorted(FIGURES[case]["shapes"])
    state = {
        our_name(name): remake.drawn(name, ours[our_name(name)].double(), index)
        for index, name in enumerate(names)
        if not name.endswith("index")
    }
    for name, shape in FIGURES[case]["shapes"].items():
        if not name.endswith("index"):
            assert list(ours[our_name(name)].shape) == shape
    model.double().load_state_dict(state)
    return model.eval()


@pytest.mark.parametrize(
    ("case", "n_channels", "n_times", "n_tokens", "n_classes", "dtype"), remake.CASES
)
@torch.no_grad()
def test_the_outputs_are_the_public_codes(
    case: str, n_channels: int, n_times: int, n_tokens: int, n_classes: int, dtype: str
) -> None:
    model = with_drawn_state(n_channels, n_times, n_classes)
    model = model.to(getattr(torch, dtype))
    x = remake.windows(n_channels, n_times).to(getattr(torch, dtype))
    expected, within = FIGURES[case], WITHIN[dtype]
    features = model.features(x)
    for found, key in (
        (features[:, ::7], "features"),
        (model.head(features), "logits"),
    ):
        wanted = torch.tensor(expected[key], dtype=found.dtype)
        assert wanted.abs().max() > 0.1
        torch.testing.assert_close(found, wanted, rtol=within, atol=within)


@torch.no_grad()
def test_the_comparison_notices_another_scale_of_one_channel() -> None:
    model = with_drawn_state(3, 730, 4).double()
    features = model.features(remake.windows(3, 730))
    model.encoder.channel_tokens.weight[0] *= 1.001
    moved = (model.features(remake.windows(3, 730)) - features).abs().max()
    assert moved > 1e-6


def test_a_training_step_of_the_small_options_is_braindecodes() -> None:
    more: dict[str, Any] = {"embed_dim": 32, "num_layers": 2, "num_heads": 4}
    none = {"drop_prob": 0.0, "att_layer_drop_prob": 0.0}
    model = build(
        "biot",
        channels=["a", "b", "c"],
        n_times=500,
        rate_hz=200.0,
        n_classes=2,
        **more,
        **none,
    ).double()
    reference = braindecode_models().BIOT(
        n_chans=3, n_outputs=2, n_times=500, sfreq=200, **more, **none
    )
    reference.load_state_dict(
        {their_name(k): value for k, value in model.state_dict().items()}
    )
    x, y = remake.windows(3, 500), torch.tensor([0, 1])
    reference = reference.double()
    with pytest.warns(UserWarning, match="A window was not provided"):
        theirs = reference(remake.scaled(x))
    for logits in (model(x), theirs):
        torch.nn.functional.cross_entropy(logits, y).backward()
    wanted = {k: p.grad for k, p in reference.named_parameters()}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            parameter.grad,
            wanted[their_name(name)],
            rtol=1e-9,
            atol=1e-12,
        )


@pytest.mark.parametrize("n_times", [1, 2, 20, 21, 200, 730, 1000, 6000])
def test_the_percentile_is_torchs(n_times: int) -> None:
    x = remake.windows(4, n_times).abs()
    expected = torch.quantile(x, 0.95, dim=-1, keepdim=True)
    torch.testing.assert_close(_percentile(x, 95.0), expected, rtol=1e-12, atol=0)
