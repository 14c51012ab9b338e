"""Public references of models, built from a checkout of theirs, for timing alone.

From: the path of a checkout. To: a module that takes the suite's windows (B, C, T) in
µV and gives logits (B, K), in the published configuration, for ``models.py``.

Nothing of the references is copied: each is imported from where it lies. What their
loaders do to a window stands here only where it costs nothing: the division by 100 µV
of CBraMod and LaBraM. BIOT's division by a percentile is left to its loader, so that
its rate is better than a training's.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eegfm_bench.models._spec import InputShape

PATCH = 200
SCALE_UV = 100.0


class _Patched(nn.Module):
    """A network that sees patches (B, C, P, 200) of 100 µV."""

    def __init__(self, net: nn.Module, **more: Any) -> None:
        super().__init__()
        self.net = net
        self.more = more

    def forward(self, x_BCT: Tensor) -> Tensor:
        x_BCPL = (x_BCT / SCALE_UV).unflatten(-1, (-1, PATCH))
        return self.net(x_BCPL, **self.more)


def cbramod(shape: InputShape) -> nn.Module:
    """CBraMod with its three-layer head on all patches, dropout 0.1."""
    encoder = importlib.import_module("models.cbramod").CBraMod()
    encoder.proj_out = nn.Identity()
    n_patches = shape.n_times // PATCH
    width = n_patches * PATCH
    head = nn.Sequential(
        nn.Flatten(),
        nn.Linear(shape.n_channels * width, width),
        nn.ELU(),
        nn.Dropout(0.1),
        nn.Linear(width, PATCH),
        nn.ELU(),
        nn.Dropout(0.1),
        nn.Linear(PATCH, shape.n_classes),
    )
    return _Patched(nn.Sequential(encoder, head))


def labram(shape: InputShape) -> nn.Module:
    """LaBraM's base as its public fine-tuning has it: drop path 0.1, mean pooling."""
    _stand_in_for_timm()
    build = importlib.import_module("modeling_finetune").labram_base_patch200_200
    net = build(
        num_classes=shape.n_classes,
        drop_path_rate=0.1,
        init_values=0.1,
        qkv_bias=False,
        use_abs_pos_emb=True,
        use_rel_pos_bias=False,
        use_mean_pooling=True,
        init_scale=0.001,
    )
    # 0 is the place of the class token; which places channels have costs nothing.
    return _Patched(net, input_chans=list(range(shape.n_channels + 1)))


def biot(shape: InputShape) -> nn.Module:
    """BIOT's classifier: width 256, eight heads, four layers, hops of half a second."""
    build = importlib.import_module("model.biot").BIOTClassifier
    return build(
        n_classes=shape.n_classes,
        n_channels=shape.n_channels,
        n_fft=200,
        hop_length=100,
    )


REFERENCES: dict[str, Callable[[InputShape], nn.Module]] = {
    "biot": biot,
    "cbramod": cbramod,
    "labram": labram,
}


def build_reference(name: str, path: Path, shape: InputShape) -> nn.Module:
    """Build a reference from its checkout; the process should build no other."""
    sys.path.insert(0, str(path))
    return REFERENCES[name](shape)


def _stand_in_for_timm() -> None:
    """Give LaBraM's file the four names it takes from timm, if timm is absent."""
    try:
        import timm  # noqa: F401
    except ModuleNotFoundError:
        pass
    else:
        return

    def drop_path(x: Tensor, drop_prob: float | None, training: bool) -> Tensor:
        if not drop_prob or not training:
            return x
        kept = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= drop_prob
        return x * kept / (1 - drop_prob)

    names = {
        "timm": {},
        "timm.models": {},
        "timm.models.layers": {
            "drop_path": drop_path,
            "to_2tuple": lambda value: (value, value),
            "trunc_normal_": nn.init.trunc_normal_,
        },
        "timm.models.registry": {"register_model": lambda build: build},
    }
    for name, content in names.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        sys.modules[name] = module
