"""Every ablation of Trace's paper can be pre-trained, each as a question of its own.

Words go the way of the command line: pairs of ``--set``, the recipe and the encoder's
options, the spec of the corpus; then one step is taken.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from eegfm_bench.cli import words
from eegfm_bench.models.trace.config import config_at
from eegfm_bench.models.trace.cost import (
    matched_dense_width,
    operations,
    total_operations,
)
from eegfm_bench.pretraining import main
from eegfm_bench.pretraining.asked import settings_of
from eegfm_bench.pretraining.expert_sets import expert_sets, routed_weights
from eegfm_bench.pretraining.loop import encoder_state
from eegfm_bench.runs.pretrain import PretrainSpec
from tests.small_corpus import corpus, pretrain

# The paper's six sources, with fewer channels and windows.
SHAPES = {
    "tueg": (6, 4, 6),
    "hbn": (6, 6, 6),
    "physionet_mi": (6, 5, 4),
    "eegmat": (6, 3, 5),
    "shu_mi": (6, 4, 4),
    "chbmit": (6, 3, 6),
}
ALL = tuple(SHAPES)
TASKS = ALL[2:]
# Table 14's dense network, as wide as costs what Trace does; of table 15's networks
# without a shared expert, the second has wider experts in its place.
DENSE = {"paper": 2096, "small": 144}
WIDER = {"paper": 512, "small": 64}
# Without those of the default: 4 queries, both kernels, all horizons, N = 16, K = 4.
ABLATIONS: dict[str, tuple[str, ...]] = {
    "trace": (),
    "2: one query": ("queries=1",),
    "2: two queries": ("queries=2",),
    "3: narrow": ("channel_kernels=3",),
    "3: wide": ("channel_kernels=19",),
    "3: no positions": ("channel_kernels=none",),
    "12: horizon 1": ("horizons=1",),
    "12: horizons 1, 2": ("horizons=1,2",),
    "14: Non-MoE": ("routing=none", "dense_width=DENSE"),
    "14: Vanilla MoE": ("routing=token",),
    "14: Mean Temporal": ("routing=mean",),
    "15: nothing shared": ("shared_width=0",),
    "15: nothing shared, matched": ("shared_width=0", "expert_width=WIDER"),
    "figure 4: N = 4": ("experts=4", "active=4"),
    "figure 4: N = 8": ("experts=8", "active=4"),
    "figure 4: N = 32": ("experts=32", "active=4"),
    "figure 4: K = 1": ("experts=16", "active=1"),
    "figure 4: K = 2": ("experts=16", "active=2"),
    "figure 4: K = 8": ("experts=16", "active=8"),
    "16: patches of 50": ("patch_len=50",),
    "16: patches of 100": ("patch_len=100",),
    "16: patches of 400": ("patch_len=400",),
    "17: time alone": ("views=time",),
    "17: spectrum alone": ("views=spectrum",),
    "18: sum": ("fusion=sum",),
    "19: narrow": ("time_kernels=15",),
    "19: wide": ("time_kernels=49",),
    "20: no balance": ("balance_weight=0",),
    "lambda = 0.001": ("balance_weight=0.001",),
    "lambda = 0.02": ("balance_weight=0.02",),
}
SOURCES = {
    "4: TUEG": ALL[:1],
    "4: HBN": ALL[1:2],
    "4: TUEG and four": (ALL[0], *TASKS),
    "13: four": TASKS,
}
RIVALS = {
    "6: masked": (),
    "6: masked, both ways": ("attention=full",),
    "6: masked, token by token": ("routing=token",),
}
CASES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    **{name: ("causal", ALL, said) for name, said in ABLATIONS.items()},
    **{name: ("causal", sources, ()) for name, sources in SOURCES.items()},
    **{name: ("masked", ALL, said) for name, said in RIVALS.items()},
}


def asked(name: str, scale: str, **pairs: str) -> tuple[PretrainSpec, Any]:
    """Return the spec of an ablation, built as the verb builds it, and its corpus."""
    objective, sources, said = CASES[name]
    said = tuple(
        one.replace("DENSE", str(DENSE[scale])).replace("WIDER", str(WIDER[scale]))
        for one in said
    )
    given = words.pairs([*(f"{k}={v}" for k, v in pairs.items()), *said])
    steps = 1 if scale == "small" else 2000
    settings = settings_of(objective, scale, given, steps=steps)
    of = corpus(**{source: SHAPES[source] for source in sources})
    task = {"objective": objective, "scale": scale, "steps": steps, "seed": 0}
    return main._spec(task, settings.recipe, settings.options, of), of


def of_a_step(name: str) -> tuple[PretrainSpec, Any]:
    return asked(name, "small", warmup_steps="0", token_budget="60", micro_batches="2")


# The others differ from one of these, or from their neighbours, in a number alone.
FIRST = {
    "trace", "2: one query", "3: narrow", "3: no positions", "12: horizon 1",
    "14: Non-MoE", "14: Vanilla MoE", "14: Mean Temporal", "15: nothing shared",
    "figure 4: N = 4", "16: patches of 400", "17: time alone", "17: spectrum alone",
    "18: sum", "20: no balance", "4: TUEG", *RIVALS,
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FIRST else pytest.mark.slow)
        for name in CASES
    ],
)
def test_a_step_can_be_taken(name: str, tmp_path: Path) -> None:
    spec, of = of_a_step(name)
    seen: list[float] = []
    pretrain(spec, of, tmp_path, on_step=lambda at: seen.append(at.loss))
    assert len(seen) == 1
    assert math.isfinite(seen[0])
    assert all(torch.isfinite(w).all() for w in encoder_state(tmp_path).values())
    if name == "20: no balance":
        (layer,) = routed_weights(tmp_path, spec)
        found = expert_sets(layer, 2)
        assert all(len(top) == 2 for top in found.top.values())


def test_none_of_the_first_is_misspelt() -> None:
    assert set(CASES) > FIRST


@pytest.mark.parametrize("scale", ["paper", "small"])
def test_each_is_a_question_of_its_own(scale: str) -> None:
    # At the small scale N and K differ from the paper's: each sweep has one of them.
    names = [asked(name, scale, warmup_steps="0")[0].pretrain_id for name in CASES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("scale", ["paper", "small"])
def test_the_rivals_of_equal_cost_cost_the_same(scale: str) -> None:
    shape = {"n_channels": 16, "n_patches": 10}
    trace = config_at(scale)
    assert matched_dense_width(trace, **shape) == DENSE[scale]
    dense = config_at(scale, {"routing": "none", "dense_width": DENSE[scale]})
    assert total_operations(dense, **shape) == pytest.approx(
        total_operations(trace, **shape), rel=0.02
    )
    wider = config_at(scale, {"shared_width": 0, "expert_width": WIDER[scale]})
    parts, other = (operations(config, **shape) for config in (trace, wider))
    assert parts["shared"] + parts["routed"] == other["shared"] + other["routed"]
