"""Remake the figures that LaBraM is held against, by running its public code.

From: a checkout of github.com/935963004/LaBraM (commit c431221). To:
``figures/labram.json``: outputs for states and windows that
``test_against_labram.py`` makes again by the same rule. The checkout needs torch and
einops; what it takes of timm is stood in for here.

    python tests/parity/remake_labram.py --reference PATH
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any

import torch

FIGURES = Path(__file__).parent / "figures" / "labram.json"

# Name, channels, patches, layers, classes, dtype.
CASES = (
    ("base", ("FP1", "FPZ", "T3", "CB2", "F7-T7"), 4, 12, 6, "float64"),
    ("base in float32", ("O2", "C3", "A1"), 2, 12, 2, "float32"),
    ("sixteen seconds", ("CZ", "T6"), 16, 2, 4, "float64"),
    ("one second", ("P8-O2", "TTP7H", "IZ"), 1, 2, 3, "float64"),
)


def drawn(name: str, shape: torch.Size, index: int) -> torch.Tensor:
    """Draw a weight from its place among the sorted names: none is zero or alike."""
    generator = torch.Generator().manual_seed(1000 + index)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    if "norm" in name and name.endswith("weight"):
        return 1 + 0.2 * noise
    return noise * (0.3 if len(shape) < 2 else 1.5 / shape[-1] ** 0.5)


def windows(n_channels: int, n_patches: int) -> torch.Tensor:
    """Draw two windows (B, C, T) in µV."""
    generator = torch.Generator().manual_seed(7)
    shape = (2, n_channels, 200 * n_patches)
    return 30 * torch.randn(shape, generator=generator, dtype=torch.float64)


def stand_in_for_timm() -> None:
    """Offer the four names that the checkout takes of timm."""

    def drop_path(x: Any, drop_prob: Any = 0.0, training: bool = False) -> Any:
        assert not (training and drop_prob)
        return x

    layers = types.ModuleType("timm.models.layers")
    layers.__dict__.update(
        drop_path=drop_path,
        to_2tuple=lambda x: (x, x),
        trunc_normal_=torch.nn.init.trunc_normal_,
    )
    registry = types.ModuleType("timm.models.registry")
    registry.__dict__.update(register_model=lambda function: function)
    for name in ("timm", "timm.models"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["timm.models.layers"] = layers
    sys.modules["timm.models.registry"] = registry


def listed_names(reference: Path) -> list[str]:
    """Read the published list of electrodes, without running its file."""
    tree = ast.parse((reference / "utils.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == (
            "standard_1020"
        ):
            return [str(name) for name in ast.literal_eval(node.value)]
    raise SystemExit("utils.py has no standard_1020.")


@torch.no_grad()
def figures_of(reference: Path) -> dict[str, Any]:
    """Run the public code on every case."""
    stand_in_for_timm()
    sys.path.insert(0, str(reference))
    theirs = importlib.import_module("modeling_finetune")
    scheme = _layer_rule(reference)
    names = listed_names(reference)
    upper = [name.upper() for name in names]
    found: dict[str, Any] = {"names": names}
    for case, channels, n_patches, depth, n_classes, dtype in CASES:
        net = theirs.NeuralTransformer(
            patch_size=200,
            embed_dim=200,
            depth=depth,
            num_heads=10,
            mlp_ratio=4,
            qk_norm=_norm,
            norm_layer=_norm,
            num_classes=n_classes,
            init_values=0.1,
            drop_path_rate=0.1,
            use_mean_pooling=True,
        )
        state = net.state_dict()
        drawn_state = {
            name: drawn(name, state[name].shape, index)
            for index, name in enumerate(sorted(state))
        }
        net.to(getattr(torch, dtype)).load_state_dict(drawn_state)
        x = windows(len(channels), n_patches).to(getattr(torch, dtype)) / 100
        x = x.unflatten(-1, (n_patches, 200))
        inputs = [0] + [upper.index(name) + 1 for name in channels]
        features = net.eval().forward_features(x, input_chans=inputs)
        found[case] = {
            "shapes": {name: list(value.shape) for name, value in state.items()},
            "features": features[:, ::7].tolist(),
            "logits": net(x, input_chans=inputs).tolist(),
            "layers": {name: scheme(name, depth + 2) for name in state},
        }
    return found


def _norm(width: int) -> torch.nn.LayerNorm:
    return torch.nn.LayerNorm(width, eps=1e-6)


def _layer_rule(reference: Path) -> Any:
    """Take the one function of the optimiser's file that numbers layers."""
    tree = ast.parse((reference / "optim_factory.py").read_text(encoding="utf-8"))
    wanted = [n for n in tree.body if getattr(n, "name", "") == "get_num_layer_for_vit"]
    scope: dict[str, Any] = {}
    code = compile(ast.Module(body=wanted, type_ignores=[]), "optim_factory.py", "exec")
    exec(code, scope)
    return scope["get_num_layer_for_vit"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, required=True)
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(figures_of(parser.parse_args().reference)) + "\n")
