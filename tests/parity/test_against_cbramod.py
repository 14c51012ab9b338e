"""CBraMod against figures of its public code."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from eegfm_bench.models._spec import build

pytestmark = pytest.mark.parity

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location(
    "remake_cbramod", HERE / "remake_cbramod.py"
)
assert _spec is not None
assert _spec.loader is not None
remake = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(remake)

FIGURES = json.loads(remake.FIGURES.read_text())
# Rounding alone: of attention computed in another order, in fewer digits.
WITHIN = {"float64": 1e-10, "float32": 1e-5}

OURS_TO_THEIRS = {
    "head.reduce.0.": "head.0.",
    "head.context.": "sequence_encoder.layers.0.",
    "head.classify.": "classifier.",
    "model.net.": "backbone.",
    "net.": "backbone.",
}


def their_name(name: str) -> str:
    """Translate a name of our state; theirs count the flattening as a layer."""
    for ours, theirs in OURS_TO_THEIRS.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    _, layer, rest = name.split(".")
    return f"classifier.{int(layer) + 1}.{rest}"


def with_drawn_state(case: Any) -> Any:
    """Our model with the state that the public code had."""
    file, n_channels, n_patches, n_classes, dtype = case
    is_sleep = "isruc" in file
    model = build(
        "cbramod",
        channels=[f"E{c}" for c in range(n_channels)],
        n_times=200 * n_patches,
        rate_hz=200.0,
        n_classes=n_classes,
        sequence=remake.N_WINDOWS if is_sleep else 1,
        # A head of windows alone, which a sequence's takes the place of.
        **({"head_hidden": 8} if is_sleep else {}),
    )
    state = {}
    for name, value in model.state_dict().items():
        theirs = their_name(name)
        if n_classes == 2 and len(value) == 2:
            # Their one logit is that of the second class over the first.
            drawn = remake.drawn(theirs, (1, *value.shape[1:]))
            state[name] = torch.cat((torch.zeros_like(drawn), drawn))
        else:
            state[name] = remake.drawn(theirs, tuple(value.shape))
    model.load_state_dict(state)
    return model.to(getattr(torch, dtype)).eval()


@pytest.mark.parametrize("case", remake.CASES, ids=lambda c: f"{c[0]} {c[-1]}")
def test_encoder_and_logits_are_the_public_codes(case: Any) -> None:
    file, n_channels, n_patches, n_classes, dtype = case
    model, figures = with_drawn_state(case), FIGURES[f"{file} {dtype}"]
    x = remake.windows(n_channels, n_patches).to(getattr(torch, dtype))
    if "isruc" in file:
        x = x[None]
    with torch.no_grad():
        logits = model(x).reshape(remake.N_WINDOWS, n_classes)
        encoded = model.features(x).reshape(remake.N_WINDOWS, -1)
    if n_classes == 2:
        logits = logits[:, 1:]
    for found, wanted in ((logits, "logits"), (encoded[:, :: remake.KEPT], "encoded")):
        expected = torch.tensor(figures[wanted], dtype=found.dtype)
        assert expected.abs().max() > 0.1
        largest = (found - expected).abs().max() / expected.abs().max()
        assert largest < WITHIN[dtype], wanted


def test_the_comparison_notices_one_weight() -> None:
    case = next(c for c in remake.CASES if c[0] == "model_for_seedv")
    model, figures = with_drawn_state(case), FIGURES["model_for_seedv float64"]
    with torch.no_grad():
        model.net.encoder.layers[5].self_attn_t.in_proj_bias[-1] += 0.01
        logits = model(remake.windows(62, 1))
    assert (logits - torch.tensor(figures["logits"])).abs().max() > 1e-8
