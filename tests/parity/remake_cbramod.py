"""Remake the figures that CBraMod is held against, by running its public code.

From: a checkout of github.com/wjq-learning/CBraMod (commit b9e9610). To:
``figures/cbramod.json``: outputs for states and windows that
``test_against_cbramod.py`` makes again by the same rule. The checkout needs torch,
numpy and einops.

    python tests/parity/remake_cbramod.py --reference PATH
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import types
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

FIGURES = Path(__file__).parent / "figures" / "cbramod.json"

# Their file, channels, patches, classes (logits of theirs: one for two), dtype.
CASES = (
    ("model_for_seedv", 62, 1, 5, "float64"),
    ("model_for_tuev", 16, 5, 6, "float64"),
    ("model_for_seedv", 62, 1, 5, "float32"),
    ("model_for_shu", 32, 4, 2, "float64"),
    ("model_for_isruc", 6, 30, 5, "float64"),
)
# Windows, of which the sleep stages are judged in one sequence.
N_WINDOWS = 2
# Of the encoder's output every so-manieth number is kept.
KEPT = 997


def drawn(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Draw a weight by its name and shape alone: none is zero or alike."""
    random = np.random.default_rng(zlib.crc32(f"{name} {tuple(shape)}".encode()))
    noise = torch.from_numpy(random.standard_normal(tuple(shape)))
    if len(shape) > 1:
        return noise * 1.5 / float(np.sqrt(np.prod(shape[1:])))
    return 0.2 * noise + (1.0 if name.endswith("weight") else 0.0)


def windows(n_channels: int, n_patches: int) -> torch.Tensor:
    """Draw windows (B, C, T) in µV."""
    random = np.random.default_rng(5)
    shape = (N_WINDOWS, n_channels, 200 * n_patches)
    return torch.from_numpy(30 * random.standard_normal(shape))


def outputs(case: tuple[str, int, int, int, str]) -> dict[str, Any]:
    """Return what the public code makes of the windows of a case."""
    file, n_channels, n_patches, n_classes, dtype = case
    param = types.SimpleNamespace(
        use_pretrained_weights=False,
        classifier="all_patch_reps",
        dropout=0.1,
        num_of_classes=n_classes,
    )
    net = importlib.import_module(f"models.{file}").Model(param).eval()
    if file == "model_for_seedv":
        # It flattens patches twice, which fails: once is what must be meant.
        net.classifier[0] = torch.nn.Identity()
    state = net.state_dict()
    net.load_state_dict({name: drawn(name, v.shape) for name, v in state.items()})
    net = net.to(getattr(torch, dtype))
    seen: list[torch.Tensor] = []
    net.backbone.register_forward_hook(lambda _, __, out: seen.append(out))
    # Their loaders divide by 100; sleep stages come as one sequence of windows.
    x = windows(n_channels, n_patches).to(getattr(torch, dtype)) / 100
    is_sleep = "isruc" in file
    x = x[None] if is_sleep else x.unflatten(-1, (n_patches, 200))
    with torch.no_grad():
        logits = net(x)
    return {
        "logits": logits.reshape(N_WINDOWS, -1).tolist(),
        "encoded": seen[0].flatten(1)[:, ::KEPT].tolist(),
    }


def main() -> None:
    """Run the checkout and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", required=True, type=Path)
    sys.path.insert(0, str(parser.parse_args().reference))
    figures = {f"{case[0]} {case[-1]}": outputs(case) for case in CASES}
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
