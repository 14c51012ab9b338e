"""Run BIOT's own CNN-Transformer, FFCL and ST-Transformer, and note what they say.

    python tests/parity/remake_biot_task_baselines.py --reference PATH

PATH is a checkout of https://github.com/ycq091044/BIOT at commit d138e32. Weights and
windows follow the rule below, which the test applies to our models; the figures land in
``figures/biot_task_baselines.json``. Needs torch, numpy and einops alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FIGURES = Path(__file__).parent / "figures" / "biot_task_baselines.json"
COMMIT = "d138e32634e52ae9fa6ec98ac9c4087b14ca869a"
N_WINDOWS, N_CLASSES = 3, 6
# Channels, time points: shapes at which BIOT's code works for all three.
SHAPES = [(16, 2000), (16, 1000), (5, 600)]
# Every one of them, as BIOT's run_multiclass_supervised.py sets it up.
ARGUMENTS: dict[str, Any] = {
    "cnn_transformer": lambda c, t: {"in_channels": c},
    "ffcl": lambda c, t: {"in_channels": c, "sample_length": t},
    "st_transformer": lambda c, t: {"n_channels": c, "channel_legnth": t, "depth": 4},
}
CLASSES = {
    "cnn_transformer": "CNNTransformer",
    "ffcl": "FFCL",
    "st_transformer": "STTransformer",
}


def value(key: str, shape: tuple[int, ...]) -> Tensor:
    """A weight, fixed by its name and shape in BIOT's code, in float64."""
    random = np.random.RandomState(zlib.crc32(key.encode()))
    drawn = torch.from_numpy(random.uniform(-1, 1, shape))
    if key.endswith("running_var"):
        return 1 + 0.5 * drawn
    if len(shape) > 1:
        return drawn * math.sqrt(3 / math.prod(shape[1:]))
    is_norm_weight = key.endswith("weight")
    return 1 + 0.3 * drawn if is_norm_weight else 0.2 * drawn


def windows_uv(n_channels: int, n_times: int) -> Tensor:
    """Windows (B, C, T) in µV: rhythms and noise, every channel of its own size."""
    random = np.random.RandomState(n_channels * n_times)
    at = np.arange(n_times) / 200
    hz = random.uniform(2, 40, (N_WINDOWS, n_channels, 1))
    noise = random.uniform(-1, 1, (N_WINDOWS, n_channels, n_times))
    size = random.uniform(5, 50, (N_WINDOWS, n_channels, 1))
    return torch.from_numpy(size * (np.sin(2 * np.pi * hz * at) + noise))


def labels() -> Tensor:
    return torch.arange(N_WINDOWS) % N_CLASSES


def reference(name: str, path: Path, n_channels: int, n_times: int) -> Any:
    """BIOT's module, its weights by the rule, without dropout."""
    file = path / "model" / f"{name}.py"
    found = importlib.util.spec_from_file_location(name, file)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    kind = getattr(module, CLASSES[name])
    net = kind(n_classes=N_CLASSES, **ARGUMENTS[name](n_channels, n_times)).double()
    fixed = ("num_batches_tracked", ".pe")
    net.load_state_dict(
        {
            k: v if k.endswith(fixed) else value(k, tuple(v.shape))
            for k, v in net.state_dict().items()
        }
    )
    for part in net.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
        elif isinstance(part, (torch.nn.LSTM, torch.nn.MultiheadAttention)):
            part.dropout = 0.0
    return net


def figures(name: str, path: Path, n_channels: int, n_times: int) -> dict[str, Any]:
    net = reference(name, path, n_channels, n_times)
    x = windows_uv(n_channels, n_times).numpy()
    # As BIOT's loaders scale what they hand on.
    size = np.quantile(np.abs(x), q=0.95, method="linear", axis=-1, keepdims=True)
    x = torch.from_numpy(x / (size + 1e-8))
    with torch.no_grad():
        judged = net.eval()(x)
    trained = net.train()(x)
    torch.nn.functional.cross_entropy(trained, labels()).backward()
    return {
        "eval": judged.tolist(),
        "train": trained.tolist(),
        "gradient": {k: float(p.grad.norm()) for k, p in net.named_parameters()},
        "running": {
            k: float(b.norm()) for k, b in net.named_buffers() if ".running_" in k
        },
        "weights": sum(p.numel() for p in net.parameters()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, required=True)
    path = parser.parse_args().reference
    made = {
        f"{name} {c}x{t}": figures(name, path, c, t)
        for name in CLASSES
        for c, t in SHAPES
    }
    FIGURES.parent.mkdir(exist_ok=True)
    text = json.dumps({"commit": COMMIT, "torch": torch.__version__, **made}, indent=1)
    FIGURES.write_text(text + "\n")


if __name__ == "__main__":
    main()
