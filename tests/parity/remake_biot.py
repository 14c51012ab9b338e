"""Remake the figures that BIOT is held against, by running its public code.

From: a checkout of github.com/ycq091044/BIOT (commit d138e32). To:
``figures/biot.json``: outputs for states and windows that ``test_against_biot.py``
makes again by the same rule. The checkout needs torch and
linear_attention_transformer.

    python tests/parity/remake_biot.py --reference PATH
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

import torch

FIGURES = Path(__file__).parent / "figures" / "biot.json"

# Name, channels, time points, channels that there are tokens for, classes, dtype.
CASES = (
    ("ten seconds", 16, 2000, 16, 6, "float64"),
    ("ten seconds in float32", 16, 2000, 16, 6, "float32"),
    ("one second", 5, 200, 5, 2, "float64"),
    ("time points left over", 3, 730, 3, 4, "float64"),
    ("more channels than published", 24, 400, 24, 3, "float64"),
)

# Which entries of the scaled windows are kept: rows, channels, time points.
KEPT = (0, slice(0, 3), slice(None, None, 50))


def drawn(name: str, value: torch.Tensor, index: int) -> torch.Tensor:
    """Draw a weight from its place among the sorted names: none is zero or alike.

    The encoding of steps, frequencies and indices are not weights and stay.
    """
    if name.endswith((".pe", "inv_freq", "index")):
        return value
    generator = torch.Generator().manual_seed(1000 + index)
    noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    if "norm" in name and name.endswith("weight"):
        return 1 + 0.2 * noise
    return noise * (0.3 if value.ndim < 2 else 1.5 / value.shape[-1] ** 0.5)


def windows(n_channels: int, n_times: int) -> torch.Tensor:
    """Draw two windows (B, C, T) in µV, channels of unlike amplitude."""
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn((2, n_channels, n_times), generator=generator).double()
    return noise * torch.linspace(1, 50, n_channels)[:, None].double()


def scaled(x: torch.Tensor) -> torch.Tensor:
    """Scale windows as the public code's loaders do, in words of torch."""
    share = torch.quantile(x.abs(), q=0.95, dim=-1, keepdim=True)
    return x / (share + 1e-8)


@torch.no_grad()
def figures_of(reference: Path) -> dict[str, Any]:
    """Run the public code on every case."""
    spec = importlib.util.spec_from_file_location(
        "their_biot", reference / "model" / "biot.py"
    )
    assert spec is not None
    assert spec.loader is not None
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    found: dict[str, Any] = {}
    for case, n_channels, n_times, n_tokens, n_classes, dtype in CASES:
        net = theirs.BIOTClassifier(
            n_classes=n_classes, n_channels=n_tokens, n_fft=200, hop_length=100
        )
        net.to(getattr(torch, dtype))
        state = net.state_dict()
        net.load_state_dict(
            {
                name: drawn(name, state[name], index)
                for index, name in enumerate(sorted(state))
            }
        )
        x = scaled(windows(n_channels, n_times)).to(getattr(torch, dtype))
        found[case] = {
            "shapes": {name: list(value.shape) for name, value in state.items()},
            "scaled": x[KEPT].tolist(),
            "features": net.eval().biot(x)[:, ::7].tolist(),
            "logits": net(x).tolist(),
        }
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, required=True)
    # The public code takes spectra without a window function, of which torch warns.
    warnings.filterwarnings("ignore", "A window was not provided")
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(figures_of(parser.parse_args().reference)) + "\n")
