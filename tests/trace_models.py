"""Small Traces for tests, and windows for them."""

from __future__ import annotations

from typing import Any

import torch

from eegfm_bench.models._spec import InputShape
from eegfm_bench.models.trace.config import TraceConfig
from eegfm_bench.models.trace.encoder import TraceEncoder
from eegfm_bench.models.trace.network import Trace

L = 200
TINY = {
    "dim": 32,
    "layers": 2,
    "filters": 4,
    "heads": 4,
    "kv_heads": 4,
    "experts": 6,
    "active": 2,
    "expert_width": 16,
    "shared_width": 32,
}


def config(**changes: Any) -> TraceConfig:
    return TraceConfig(**{**TINY, **changes})


def encoder(seed: int = 0, **changes: Any) -> TraceEncoder:
    torch.manual_seed(seed)
    return TraceEncoder(config(**changes))


def windows(*shape: int, seed: int = 1) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return 40 * torch.randn(*shape, generator=random)


def classifier(**changes: Any) -> Trace:
    torch.manual_seed(0)
    shape = InputShape(
        channels=("C3", "Cz", "C4"), n_times=4 * L, rate_hz=200.0, n_classes=3
    )
    return Trace(shape, config(**changes))
