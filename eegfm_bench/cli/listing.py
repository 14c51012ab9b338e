"""What there is: models, datasets, suites.

From: the registries. To: the ``list`` verb.
"""

from __future__ import annotations

import importlib
from typing import Any

import typer

from eegfm_bench.errors import UnknownName
from eegfm_bench.runs.spec import TrainingRecipe

KINDS = ("models", "datasets", "suites")


def of(kind: str) -> list[dict[str, Any]]:
    """Return plain facts of every model, dataset or suite.

    Raises
    ------
    UnknownName
        If the kind is none of the three.
    """
    if kind not in KINDS:
        raise UnknownName.among("listing", kind, KINDS)
    return {"models": _models, "datasets": _datasets, "suites": _suites}[kind]()


def show(found: list[dict[str, Any]]) -> None:
    """Print each entry's name, then its facts, one a line."""
    for entry in found:
        typer.echo(f"{entry['name']}  —  {entry['title']}")
        for key, value in entry.items():
            if key not in ("name", "title") and value not in (None, "", [], {}):
                typer.echo(f"    {key.replace('_', ' ')}: {_plain(value)}")


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)


def _models() -> list[dict[str, Any]]:
    # By name: the command line itself imports no torch.
    models = importlib.import_module("eegfm_bench.models._spec")
    entries = []
    for name in models.model_names():
        spec = models.find_model(name)
        entries.append(
            {
                "name": name,
                "title": spec.title,
                "trained_by": spec.trained_by,
                "seed_changes_it": spec.is_seeded,
                "rate_hz": spec.rate_hz or "the dataset's own",
                "scales": list(spec.recipes),
                "options": dict(spec.options),
                "at_the_small_scale": dict(spec.small_options),
                **{
                    f"recipe_at_the_{scale}_scale": {
                        key: value
                        for key, value in recipe.model_dump(mode="json").items()
                        if key not in ("kind", "select")
                    }
                    for scale, recipe in spec.recipes.items()
                },
                "pretrained_on": list(spec.pretrained_on),
                "reference": spec.reference,
                "code": spec.code,
                "licence": spec.licence,
            }
        )
    return entries + _outside()


def _outside() -> list[dict[str, Any]]:
    """Return the keys of models whose code is not of this package."""
    own = importlib.import_module("eegfm_bench.models._own_class")
    recipe = ", ".join(key for key in TrainingRecipe.model_fields if key != "kind")
    return [
        {
            "name": "braindecode:Class",
            "title": "Any classifier of braindecode.models",
            "how": "for instance braindecode:Deep4Net; --set changes the class's own "
            "numbers and words, and scale_uv, what the input is divided by",
            "recipe": "one for all classes, none of their papers'; small is the same "
            "module, trained briefly",
            "names_of_the_recipe": f"{recipe}: --set gives these to the recipe, never "
            f"to a constructor",
            "features": "what enters the last layer; the logits where no layer is last",
        },
        {
            "name": "torch:package.module:Class",
            "title": "A class of your own",
            "how": "torch:mynet:Net is the class Net of mynet.py in the current "
            f"folder; its constructor takes any of {', '.join(own.SIGNAL)}; its "
            f"forward maps (B, C, T) in µV to logits (B, K)",
            "recipe": "as for braindecode, with the same names; the source file, and "
            "those it imports that are not installed, are part of a run's identity",
            "features": "the class's own, if it has features(x) and a head; what "
            "enters the last layer, or the logits, if not",
        },
    ]


def _datasets() -> list[dict[str, Any]]:
    from eegfm_bench.datasets._spec import dataset_names, find_dataset

    entries = []
    for name in dataset_names():
        spec = find_dataset(name)
        recipe = spec.recipe
        entries.append(
            {
                "name": name,
                "title": spec.title,
                "protocol": spec.protocol(),
                "classes": list(spec.classes),
                "subjects": spec.facts.n_subjects,
                "windows": dict(spec.facts.windows),
                "window": f"{recipe.window_s:g} s × {len(recipe.channels)} channels at "
                f"{recipe.rate_hz:g} Hz",
                "also_called": list(spec.aliases),
                "steps": [" ".join(map(str, step)) for step in recipe.steps],
                "steps_of_each_window": [
                    " ".join(map(str, step)) for step in recipe.window_steps
                ],
                "past_the_end": recipe.past_end,
                "label": recipe.label_rule,
                "split": spec.split.source,
                "main_score": spec.main_score,
                "class_weights_at_paper_scale": spec.class_weights,
                "folder": f"<root>/{spec.folder}",
                "licence": spec.licence,
                "access": spec.access,
                "reference": spec.reference,
                "notes": list(spec.notes),
            }
        )
    return entries


def _suites() -> list[dict[str, Any]]:
    from eegfm_bench.sweep.suite import load_suite, suite_names

    entries = []
    for name in suite_names():
        suite = load_suite(name)
        entries.append(
            {
                "name": name,
                "title": suite.title,
                "version": suite.version,
                "scale": suite.scale,
                "seeds": list(suite.seeds),
                "models": list(suite.models),
                "datasets": list(suite.datasets),
            }
        )
    return entries
