"""Small questions and files that the tests of adapting share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from eegfm_bench.datasets._prepare import dataset_ref, prepare
from eegfm_bench.models._spec import find_model
from eegfm_bench.runs.spec import RunSpec, TrainingRecipe
from eegfm_bench.training.fit import input_shape
from eegfm_bench.weights.files import read_weights
from eegfm_bench.weights.loading import match

QUICK = TrainingRecipe(epochs=1, batch_size=32, lr=3e-3)
LORA: dict[str, Any] = {"lora_rank": 2, "lora_alpha": 4.0, "lora_dropout": 0.05}


def small_spec(dataset: str = "eegmat", model: str = "cbramod", **more: Any) -> RunSpec:
    """A question at the small scale; without a recipe, the model's own."""
    known = find_model(model)
    store = prepare(dataset, rate_hz=known.rate_hz)
    recipe = more.pop("recipe", known.recipes["small"])
    if recipe.kind != "prior":
        recipe = recipe.model_copy(update={"select": store.manifest["main_score"]})
    return RunSpec(
        dataset=dataset_ref(store),
        model=model,
        model_version=known.version,
        scale="small",
        **{"seed": 0, **more},
        recipe=recipe,
    )


def checkpoint(
    folder: Path, dataset: str = "eegmat", model: str = "cbramod", seed: int = 11
) -> tuple[Path, str]:
    """Write weights of a model of another start; return where, and their name."""
    known = find_model(model)
    shape = input_shape(prepare(dataset, rate_hz=known.rate_hz))
    torch.manual_seed(seed)
    built = known.build(shape, scale="small")
    path = folder / f"{model}.pth"
    torch.save(built.state_dict(), path)
    return path, match(built, known, read_weights(path)).report.weights_id
