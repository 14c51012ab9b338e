"""Folders of weights from a few steps, and how a run asks for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eegfm_bench.pretraining import loop
from eegfm_bench.pretraining.asked import encoder_options
from eegfm_bench.runs.pretrain import PretrainSpec, recipe_of
from tests.small_corpus import Source, corpus

TRAINS = "eegmat:Subject00"
STEPS = 4


@dataclass(frozen=True)
class Shown(Source):
    left_out: dict[str, str] = field(default_factory=dict)
    n_left_out: int = 0


@dataclass(frozen=True)
class Corpus:
    sources: tuple[Shown, ...]
    persons: tuple[str, ...]
    scored_on: tuple[str, ...] = ("eegmat",)
    notes: tuple[str, ...] = ("tuev: unnamed people",)


def a_corpus(*persons: str) -> Any:
    made = corpus(eyes=(12, 3, 6), eegmat=(8, 5, 2)).sources
    left = ({"eegmmidb:S100": "test of eyes"}, {})
    sources = tuple(
        Shown(**{**vars(source), "persons": persons}, left_out=out, n_left_out=len(out))
        for source, out in zip(made, left, strict=True)
    )
    return Corpus(sources, persons)


def a_spec(
    of: Any, steps: int = STEPS, objective: str = "causal", **options: Any
) -> PretrainSpec:
    return PretrainSpec(
        sources=loop.source_refs(of),
        objective=objective,
        scale="small",
        options=encoder_options(options, "small"),
        recipe=recipe_of(objective, "small", {"warmup_steps": 1, "token_budget": 40}),
        steps=steps,
    )


def task(folder: Path, **changes: Any) -> dict[str, Any]:
    asked = {"task": "weights", "model": "trace", "scale": "small", "options": {}}
    asked |= {"store": None, "allow_partial": False, "dataset": "eegmat"}
    return {**asked, "given": str(folder), **changes}
