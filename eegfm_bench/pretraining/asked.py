"""What a person asks of a pre-training, judged before any window is cut.

From: words of the command line. To: ``main``, a recipe and the encoder's options, each
in one spelling. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import eegfm_bench.models as family
from eegfm_bench import registry
from eegfm_bench.errors import SpecError, StoreError, UnknownName
from eegfm_bench.models.trace.config import TraceConfig, checked_options, config_at
from eegfm_bench.runs.pretrain import PretrainRecipe, PretrainSpec, recipe_of
from eegfm_bench.runs.spec import checked
from eegfm_bench.weights.pretrained import HEAD_OPTIONS

# N:CBraMod, CSBrain; LaBraM has 50.
PAPER_PASSES = 40.0
# C: a minute or two on one core.
SMALL_STEPS = 200
MODEL = "trace"
SCALES = ("paper", "small")
_LISTS = ("horizons", "betas")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A recipe, and the encoder's options, all of them."""

    recipe: PretrainRecipe
    options: dict[str, Any]


def refuse_model(name: str) -> None:
    """Refuse to pre-train another model than Trace.

    Raises
    ------
    UnknownName
        If there is no such model; suggests the nearest.
    SpecError
        If there is: says what could be pre-trained.
    """
    if name == MODEL:
        return
    known = registry.family_names(family)
    if name.partition(":")[0] not in known:
        raise UnknownName.among("model", name, known)
    raise SpecError(
        f"--model {name} cannot be pre-trained here: {MODEL} alone says what it would "
        f"learn from windows without labels (--objective causal or masked). Weights of "
        f"others, where they are public, are had with: eegfm-bench weights {name}"
    )


def settings_of(
    objective: str,
    scale: str,
    given: Mapping[str, Any],
    *,
    steps: int | None = None,
    seed: int = 0,
) -> Asked:
    """Tell values of the recipe from options of the encoder, and judge both.

    Parameters
    ----------
    objective, scale : str
    given : mapping
        As ``--set`` has them.
    steps : int, optional
        Where known already: a warm-up must be shorter.
    seed : int

    Raises
    ------
    UnknownName
        If a name is neither; suggests the nearest.
    SpecError
        If a value does not fit, or is of a classifier alone.
    """
    if scale not in SCALES:
        raise UnknownName.among("scale", scale, SCALES)
    recipe_names, own = PretrainRecipe.model_fields, TraceConfig.known()
    for key in given:
        if key in recipe_names:
            continue
        if key in HEAD_OPTIONS:
            raise SpecError(
                f"--set {key}: is of a classifier's head, and what is pre-trained has "
                f"none. Leave it out; give it to 'run' later."
            )
        if key not in own:
            known = {*recipe_names, *own} - {*HEAD_OPTIONS}
            raise UnknownName.among("setting of pre-training", key, known)
    recipe = recipe_of(
        objective,
        scale,
        {k: _as_list(k, v) for k, v in given.items() if k in recipe_names},
    )
    changed = {k: v for k, v in given.items() if k not in recipe_names}
    options = encoder_options(changed, scale)
    # With a source that fits anything, so that the rest is judged.
    anything: dict[str, Any] = {"name": "any", "protocol": "", "fingerprint": ""}
    anything |= {"data": "complete", "n_windows": 1, "n_channels": 1}
    checked(
        PretrainSpec,
        {
            "sources": ({**anything, "n_patches": 10**6},),
            "objective": objective,
            "scale": scale,
            "options": options,
            "recipe": recipe,
            "steps": 10**9 if steps is None else steps,
            "seed": seed,
        },
        what="pre-training",
    )
    return Asked(recipe=recipe, options=options)


def encoder_options(changed: Mapping[str, Any], scale: str) -> dict[str, Any]:
    """Return all options of an encoder in one spelling, without those of no use.

    Raises
    ------
    SpecError
        If a value does not fit.
    """
    every = checked_options(changed, scale)
    idle = config_at(scale, changed).idle()
    return {k: v for k, v in every.items() if k not in {*idle, *HEAD_OPTIONS}}


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds something else than a pre-training, or nothing.

    Raises
    ------
    StoreError
        Names what lies there.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise StoreError(
            f"--out {folder}: is a file. Name a folder that is empty, or not there yet."
        )
    others = sorted(p.name for p in folder.iterdir() if p.name != ".lock")
    if others and not (folder / "spec.json").is_file():
        raise StoreError(
            f"--out {folder}: holds {', '.join(others[:3])}"
            f"{' …' if len(others) > 3 else ''}, which no pre-training wrote. Name a "
            f"folder that is empty, or not there yet."
        )


def _as_list(name: str, value: Any) -> Any:
    """Read "1,2,4" as a list, for the values that are one."""
    if name not in _LISTS or value is None:
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (value,)
    if not isinstance(value, str):
        return value
    kind = int if name == "horizons" else float
    try:
        return tuple(kind(part) for part in value.split(",") if part.strip())
    except ValueError as error:
        raise SpecError(
            f"--set {name}={value}: expected numbers with commas between, such as "
            f"{'1,2,4' if name == 'horizons' else '0.9,0.95'}."
        ) from error
