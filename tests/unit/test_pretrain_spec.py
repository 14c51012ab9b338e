"""The question of a pre-training: its values, their sources, its name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from eegfm_bench.errors import SpecError, UnknownName
from eegfm_bench.models.trace.config import TAGS
from eegfm_bench.runs.pretrain import (
    PretrainRecipe,
    PretrainSpec,
    SourceRef,
    recipe_of,
)


def source(name: str = "eyes", **changes: Any) -> SourceRef:
    values = {"protocol": "eyes-1-0a", "data": "simulated", "fingerprint": "f"}
    shape = {"n_windows": 10, "n_channels": 3, "n_patches": 4}
    return SourceRef(name=name, **{**values, **shape, **changes})


def asked(**changes: Any) -> PretrainSpec:
    values = {"sources": (source(),), "steps": 2000, **changes}
    return PretrainSpec(**values)


def test_the_paper_scale_has_the_values_of_its_table() -> None:
    recipe = recipe_of("causal", "paper")
    assert (recipe.horizons, recipe.huber_delta, recipe.mask_ratio) == (
        (1, 2, 4),
        1.0,
        None,
    )
    assert (recipe.lr, recipe.lr_adamw, recipe.last_lr) == (5e-4, 5e-4, 1e-5)
    assert (recipe.momentum, recipe.ns_steps, recipe.clip) == (0.95, 5, 1.0)
    assert (recipe.weight_decay, recipe.warmup_steps) == (0.05, 1000)
    assert (recipe.balance_weight, recipe.balance_over) == (0.01, "step")
    assert recipe.precision == "bf16"
    masked = recipe_of("masked", "paper")
    assert (masked.horizons, masked.huber_delta, masked.mask_ratio) == (None, None, 0.5)


def test_every_value_says_how_it_is_known() -> None:
    known = PretrainRecipe.known()
    assert known.keys() == PretrainRecipe.model_fields.keys()
    assert all(tag.partition(":")[0] in TAGS and why for tag, why in known.values())


def test_every_value_changes_the_name_and_no_order_does() -> None:
    first = asked()
    assert first.pretrain_id.startswith("trace-causal-paper-s0-")
    assert asked(recipe=recipe_of("causal", "paper", {"horizons": (4, 1, 2)})) == first
    others = [
        asked(seed=1),
        asked(steps=2001),
        asked(options={"layers": 8}),
        asked(sources=(source(n_windows=11),)),
        asked(objective="masked", recipe=recipe_of("masked", "paper")),
        *(
            asked(recipe=recipe_of("causal", "paper", {name: value}))
            for name, value in {
                "horizons": (1,),
                "huber_delta": 2.0,
                "balance_weight": 0.0,
                "balance_over": "micro",
                "lr": 1e-3,
                "lr_adamw": 1e-3,
                "last_lr": 0.0,
                "warmup_steps": 10,
                "weight_decay": 0.0,
                "momentum": 0.9,
                "ns_steps": 4,
                "betas": (0.9, 0.99),
                "clip": 2.0,
                "token_budget": 100,
                "micro_batches": 8,
                "exponent": 0.5,
                "precision": 32,
            }.items()
        ),
    ]
    names = {first.pretrain_id, *(other.pretrain_id for other in others)}
    assert len(names) == 1 + len(others)


def test_a_spec_is_read_back_as_it_was() -> None:
    spec = asked(options={"layers": 8})
    assert PretrainSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recipe": recipe_of("masked", "paper")}, "horizons=None: expected a value"),
        ({"objective": "masked"}, "expected none, since it changes nothing"),
        ({"steps": 1000}, "warms up for 1000 steps"),
        ({"sources": (source(), source())}, "has eyes twice"),
        ({"sources": (source(n_patches=1),)}, "windows of 'eyes' have 1"),
        ({"sources": ()}, "at least 1 item"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        asked(**changes)


def test_wrong_values_of_the_recipe_are_refused_in_words() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'momentum'"):
        recipe_of("causal", "paper", {"momentun": 0.9})
    with pytest.raises(SpecError, match="'lr' of pre-training is 0"):
        recipe_of("causal", "paper", {"lr": 0})
    with pytest.raises(SpecError, match="expected patches ahead, from 1"):
        recipe_of("causal", "paper", {"horizons": (0,)})
    with pytest.raises(SpecError, match="below 1"):
        recipe_of("causal", "paper", {"betas": (0.9, 1.0)})
    with pytest.raises(SpecError, match="expected 'causal' or 'masked'"):
        recipe_of("contrastive", "paper")
