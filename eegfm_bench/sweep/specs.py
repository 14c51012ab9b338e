"""Cells become specs: recipes, options and settings put together.

From: cells, and what workers said of models and windows. To: RunSpecs.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from eegfm_bench.datasets._spec import find_dataset, find_labelled
from eegfm_bench.errors import SpecError, UnknownName, listed
from eegfm_bench.runs.adapting import LORA, SOLVED_PROBE, TRAINED, TRAINED_PROBE
from eegfm_bench.runs.recipes import recipe_book
from eegfm_bench.runs.spec import (
    SCRATCH,
    AnyRecipe,
    ClosedFormRecipe,
    DatasetRef,
    NoRecipe,
    RunSpec,
    TrainingRecipe,
    checked,
)
from eegfm_bench.sweep.suite import Cell

_KIND_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
}
_RECIPE_KINDS: dict[str, Any] = {
    "gradient": TrainingRecipe,
    "closed_form": ClosedFormRecipe,
    "prior": NoRecipe,
}


def cells_of(
    models: Sequence[str],
    datasets: Sequence[str],
    scale: str,
    settings: Mapping[str, Any],
) -> list[Cell]:
    """Return every model on every dataset, dataset by dataset.

    A dataset that goes by several names is taken once, under its own.

    Raises
    ------
    UnknownName
        If there is no such scale or dataset.
    SpecError
        If a dataset is a corpus for pre-training.
    """
    if scale not in ("paper", "small"):
        raise UnknownName.among("scale", scale, ("paper", "small"))
    return [
        Cell(
            model=model,
            dataset=dataset,
            scale="small" if scale == "small" else "paper",
            settings=tuple(settings.items()),
        )
        for dataset in dict.fromkeys(find_labelled(name).name for name in datasets)
        for model in models
    ]


def _settings(cell: Cell) -> dict[str, Any]:
    """Return what sources state for a cell, under what the cell itself sets."""
    book = recipe_book(cell.model) if cell.scale == "paper" else None
    if book is None:
        return dict(cell.settings)
    # Known before any window is cut, so that all is judged before.
    n_classes = len(find_dataset(cell.dataset).classes)
    return {**book.values(cell.dataset, n_classes), **dict(cell.settings)}


def recipe_kind(cell: Cell, described: Mapping[str, Any]) -> Any:
    """Return which kind of recipe a cell has: a probe's is its own."""
    if cell.adapt == "probe":
        is_trained = dict(cell.settings).get("solver") == TRAINED
        return TrainingRecipe if is_trained else ClosedFormRecipe
    return _RECIPE_KINDS[described["recipes"][cell.scale]["kind"]]


def chosen_options(cell: Cell, described: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cell's settings that are options of its model, with their types.

    Sources state some for a dataset; the cell's own come before them.

    Names of the recipe are no options: they always set the recipe.

    Raises
    ------
    SpecError
        If a setting has the wrong type.
    """
    defaults = described["options"][cell.scale]
    kind = recipe_kind(cell, described)
    return {
        key: _like(defaults[key], value, key, cell.model)
        for key, value in _settings(cell).items()
        if key in defaults and key not in kind.model_fields
    }


def with_options(cell: Cell, options: Mapping[str, Any]) -> Cell:
    """Return a cell with options as a worker spelled them."""
    settings = {**dict(cell.settings), **options}
    return dataclasses.replace(cell, settings=tuple(settings.items()))


def recipe_of(cell: Cell, described: Mapping[str, Any]) -> AnyRecipe:
    """Return how a cell is trained: its own settings before what sources state.

    What sources state is of training the whole model: a probe has its own defaults, and
    LoRA what the model is fine-tuned by.

    Raises
    ------
    SpecError
        If a setting has the wrong type or range, or two do not go together.
    """
    kind = recipe_kind(cell, described)
    dataset = find_dataset(cell.dataset)
    if cell.adapt == "probe":
        start = SOLVED_PROBE if kind is ClosedFormRecipe else TRAINED_PROBE
        values, stated = start.model_dump(mode="json"), dict(cell.settings)
        if kind is TrainingRecipe:
            stated.pop("solver")
    else:
        values, stated = dict(described["recipes"][cell.scale]), _settings(cell)
        weights = dataset.class_weights
        if kind is TrainingRecipe and cell.scale == "paper" and weights is not None:
            values["class_weights"] = weights
        if cell.adapt == "lora":
            values |= LORA
    if kind is not NoRecipe:  # without anything to choose, nothing can be set
        values["select"] = dataset.main_score
        values |= {key: v for key, v in stated.items() if key in kind.model_fields}
    what = f"the recipe of {cell.model} on {cell.dataset}"
    recipe: AnyRecipe = checked(kind, values, what=what)
    return recipe


def make_spec(
    cell: Cell,
    seed: int,
    described: Mapping[str, Any],
    prepared: Mapping[str, Any],
    *,
    init: str = SCRATCH,
) -> RunSpec:
    """Write the question of a cell and a seed.

    Parameters
    ----------
    cell : Cell
    seed : int
    described : mapping
        What a worker said of the model.
    prepared : mapping
        What a worker said of the windows: ``ref``.
    init : str
        What a worker said that the cell's weights are.

    Raises
    ------
    SpecError
        If a setting has the wrong type or range.
    """
    defaults = described["options"][cell.scale]
    options = {
        key: value
        for key, value in chosen_options(cell, described).items()
        if value != defaults[key]
    }
    spec: RunSpec = checked(
        RunSpec,
        {
            "dataset": DatasetRef.model_validate(prepared["ref"]),
            "model": cell.model,
            "model_version": described["version"],
            "code": described["code"],
            "options": options,
            "scale": cell.scale,
            "init": init,
            "adapt": cell.adapt,
            "labels": cell.labels,
            "seed": seed,
            "recipe": recipe_of(cell, described),
        },
        what=f"the run of {cell.model} on {cell.dataset}",
    )
    return spec


def refuse_unknown_settings(
    cells: Sequence[Cell], described: Mapping[str, Any]
) -> None:
    """Refuse a setting that no model of the command has."""
    known: set[str] = set()
    for cell in cells:
        about = described[cell.model]
        kind = recipe_kind(cell, about)
        known |= set(about["options"][cell.scale])
        if kind is not NoRecipe:
            known |= set(kind.model_fields) - {"kind"}
        known |= {"solver"} if cell.adapt == "probe" else set()
    models = listed(dict.fromkeys(cell.model for cell in cells))
    for cell in cells:
        for key, _ in cell.settings:
            if key not in known:
                raise UnknownName.among(f"setting of {models}", key, known)


def refuse_unfit_settings(cells: Sequence[Cell], described: Mapping[str, Any]) -> None:
    """Refuse, before windows are cut, what no run could be made of.

    Raises
    ------
    SpecError
        If a recipe's values do not go together, or a setting is of a head that the
        one across windows of a sequence, or a probe's, takes the place of: it would
        change nothing but the run's name.
    """
    for cell in cells:
        about = described[cell.model]
        recipe_of(cell, about)
        n_together = find_dataset(cell.dataset).recipe.sequence
        for key, value in cell.settings:
            if cell.adapt == "probe" and key in about["head_options"]:
                raise SpecError(
                    f"{key}={value} is of {cell.model}'s own head, which --adapt probe "
                    f"replaces by a linear one, so that it would change nothing. Leave "
                    f"{key} out."
                )
            if n_together > 1 and key in about["head_options"]:
                raise SpecError(
                    f"{key}={value} is of {cell.model}'s own head. {cell.dataset} is "
                    f"judged in sequences of {n_together} windows, by a head across "
                    f"them, so that it would change nothing. Leave {key} out, or run "
                    f"{cell.dataset} by itself without it."
                )


def remarks(cells: Sequence[Cell], described: Mapping[str, Any]) -> list[str]:
    """Say in lines what a person's settings leave as it is, against expectation."""
    lines = []
    for cell in cells:
        given = dict(cell.settings)
        if "lr" in given and "head_lr" not in given:
            recipe = recipe_of(cell, described[cell.model])
            if isinstance(recipe, TrainingRecipe) and recipe.head_lr is not None:
                lines.append(
                    f"{cell.model}: head_lr stays {recipe.head_lr:g} (--set head_lr=… "
                    f"changes it)"
                )
    return list(dict.fromkeys(lines))


def _like(default: Any, value: Any, key: str, model: str) -> Any:
    """Return a setting with the type of the option's default."""
    kind = type(default)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if default is None or type(value) is kind:
        return value
    if kind in (float, str) and is_number:
        return kind(value)  # --set reads a text of digits as a number
    if kind in (int, float) and isinstance(value, str):
        with contextlib.suppress(ValueError):
            return kind(value)
    expected = _KIND_NAMES.get(kind, kind.__name__)
    if kind is not bool:
        expected += f", such as {default}"
    raise SpecError(f"The option '{key}' of {model} is {value!r}; expected {expected}.")
