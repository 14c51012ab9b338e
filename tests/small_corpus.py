"""A corpus of simulated windows in memory, and small pre-trainings on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from eegfm_bench.models.trace.config import config_at
from eegfm_bench.pretraining import loop
from eegfm_bench.runs.pretrain import PretrainSpec, recipe_of

OPTIONS = {"dim": 16, "layers": 2, "experts": 6, "active": 2, "expert_width": 16}
OPTIONS |= {"shared_width": 16, "filters": 4, "heads": 2, "kv_heads": 2}
OPTIONS |= {"query_heads": 2, "queries": 2}


class Windows:
    """As much of a WindowStore as is read."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x

    def take(self, rows: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self.x[rows])


@dataclass(frozen=True)
class Source:
    name: str
    store: Windows
    rows: np.ndarray
    n_channels: int
    n_patches: int
    persons: tuple[str, ...] = ("nobody",)
    protocol: str = "made-1"
    data: str = "simulated"
    fingerprint: str = "made"

    def take(self, positions: np.ndarray) -> np.ndarray:
        return self.store.take(self.rows[positions])


@dataclass(frozen=True)
class Made:
    sources: tuple[Source, ...]


def corpus(seed: int = 0, **shapes: tuple[int, int, int]) -> Any:
    """Waves of a few Hz in noise, (windows, channels, patches) for each source."""
    shapes = shapes or {"long": (12, 3, 6), "short": (8, 5, 2)}
    random = np.random.default_rng(seed)
    sources = []
    for name, (n, n_channels, n_patches) in shapes.items():
        time_s = np.arange(n_patches * 200) / 200
        hz, phase = random.uniform(2, 12, (2, n, n_channels, 1))
        x = 40 * np.sin(2 * np.pi * hz * time_s + phase)
        x += 10 * random.standard_normal(x.shape)
        # Other rows than a part's lie between them, as in a store.
        rows = np.arange(0, 2 * n, 2)
        stored = np.zeros((2 * n, *x.shape[1:]), np.float32)
        stored[rows] = x
        sources.append(Source(name, Windows(stored), rows, n_channels, n_patches))
    return Made(tuple(sources))


# Pictures take longer than such trainings.
pretrain = partial(loop.pretrain, draw=False)


def spec(
    of: Any, steps: int = 6, objective: str = "causal", seed: int = 0, **changes: Any
) -> PretrainSpec:
    asked = changes.pop("options", {})
    idle = config_at("small", {**OPTIONS, **asked}).idle()
    options = {k: v for k, v in OPTIONS.items() if k not in idle} | asked
    values = {"warmup_steps": 2, "token_budget": 40, **changes}
    return PretrainSpec(
        sources=loop.source_refs(of),
        objective=objective,
        scale="small",
        options=options,
        recipe=recipe_of(objective, "small", values),
        steps=steps,
        seed=seed,
    )
