"""The question of a pre-training: all and only what changes the weights it ends with.

From: the command line and the corpus. To: ``pretraining``, the card of the weights,
``table 7``. Every value says how it is known, with the tags of ``table 6``: T the
paper's text, N a neighbour named after the colon, C a choice of this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from eegfm_bench.errors import SpecError
from eegfm_bench.runs.spec import (
    _Frozen,
    canonical_json,
    checked,
    short_hash,
    with_later_options,
    without_later_options,
)

Objective = Literal["causal", "masked"]


def _known(tag: str, why: str, **rules: Any) -> Any:
    """Return a field that says how its value is known."""
    return Field(json_schema_extra={"known": tag, "why": why}, **rules)


class SourceRef(_Frozen):
    """Which windows of one source: as ``DatasetRef``, with their number and shape."""

    name: str
    protocol: str
    data: Literal["complete", "partial", "simulated"]
    fingerprint: str
    n_windows: int = Field(ge=1)
    n_channels: int = Field(ge=1)
    n_patches: int = Field(ge=1)


class PretrainRecipe(_Frozen):
    """How an encoder is pre-trained; the defaults are the ``paper`` scale's.

    A step takes ``micro_batches`` micro-batches, each of one source and of up to
    ``token_budget`` tokens (channels × patches). ``horizons`` and ``huber_delta``
    belong to the causal objective, ``mask_ratio`` to the masked one, and each is None
    with the other.
    """

    horizons: tuple[int, ...] | None = _known(
        "S", "patches ahead; the best row of table 12 (I)", default=(1, 2, 4)
    )
    huber_delta: float | None = _known(
        "C",
        "input is about ±1; Time-MoE has 2 on z-scored data",
        default=1.0,
        gt=0,
    )
    mask_ratio: float | None = _known(
        "N:CBraMod",
        "half of the patches, here exactly so in each window",
        default=None,
        gt=0,
        lt=1,
    )
    balance_weight: float = _known(
        "C",
        "lambda: Switch 0.01, Time-MoE 0.02, DeepSeekMoE-16B 0.001",
        default=0.01,
        ge=0,
    )
    balance_over: Literal["step", "micro"] = _known(
        "C",
        "experts balance over all sources of a step, not within each",
        default="step",
    )
    lr: float = _known("C", "of Muon, scaled to AdamW's RMS", default=5e-4, gt=0)
    lr_adamw: float = _known("N:CBraMod", "of AdamW", default=5e-4, gt=0)
    last_lr: float = _known(
        "N:CBraMod", "where the cosine (T) ends", default=1e-5, ge=0
    )
    warmup_steps: int = _known("C", "evenly from nothing", default=1000, ge=0)
    weight_decay: float = _known(
        "N:CBraMod,LaBraM,CSBrain",
        "of matrices and kernels; none on norms, biases, queries, masks (C)",
        default=0.05,
        ge=0,
    )
    momentum: float = _known(
        "C", "of Muon, Nesterov's, its authors' value", default=0.95, ge=0, lt=1
    )
    ns_steps: int = _known(
        "C", "Newton-Schulz steps, its authors' value", default=5, ge=1, lt=100
    )
    betas: tuple[float, float] = _known("C", "of AdamW", default=(0.9, 0.95))
    clip: float = _known(
        "N:CBraMod,Time-MoE", "of the norm of all gradients", default=1.0, gt=0
    )
    token_budget: int = _known(
        "C",
        "of a micro-batch: 4 of 32 TUEG windows are CBraMod's batch of 128",
        default=32 * 19 * 30,
        ge=1,
    )
    micro_batches: int = _known("C", "of a step, each of one source", default=4, ge=1)
    exponent: float = _known(
        "C", "sources in proportion to windows ** exponent", default=1.0, ge=0
    )
    precision: Literal["32", "bf16"] = _known("T", "of products", default="bf16")

    @field_validator("precision", mode="before")
    @classmethod
    def _as_word(cls, precision: Any) -> Any:
        """Take the number 32 for the word, as ``--set precision=32`` gives it."""
        return str(precision)

    @field_validator("horizons")
    @classmethod
    def _in_order(cls, horizons: tuple[int, ...] | None) -> tuple[int, ...] | None:
        """Sort: the order in which horizons are listed changes nothing."""
        if horizons is None:
            return None
        if not horizons or min(horizons) < 1:
            raise ValueError("expected patches ahead, from 1, such as 1,2,4")
        return tuple(sorted(set(horizons)))

    @field_validator("betas")
    @classmethod
    def _below_one(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("expected two numbers from 0 to below 1")
        return betas

    @classmethod
    def known(cls) -> dict[str, tuple[str, str]]:
        """Return for each field how its default is known: the tag, and why."""
        extras: dict[str, Any] = {
            name: field.json_schema_extra for name, field in cls.model_fields.items()
        }
        return {name: (e["known"], e["why"]) for name, e in extras.items()}


class PretrainSpec(_Frozen):
    """One pre-training: an objective on a corpus, with a seed.

    ``options`` are all of the encoder's, in one spelling. Windows of the sources are
    the training persons' alone; whose they are is in the fingerprints and in the card.
    """

    schema_version: Literal[1] = 1
    sources: tuple[SourceRef, ...] = Field(min_length=1)
    objective: Objective = "causal"
    model: Literal["trace"] = "trace"
    model_version: int = 1
    scale: Literal["paper", "small"] = "paper"
    options: dict[str, bool | int | float | str | None] = Field(default_factory=dict)
    recipe: PretrainRecipe = PretrainRecipe()
    steps: int = Field(ge=1)
    seed: int = Field(ge=0, lt=2**32, default=0)

    @field_validator("options")
    @classmethod
    def _with_later_options(
        cls, options: dict[str, Any], info: ValidationInfo
    ) -> dict[str, Any]:
        return with_later_options(info.data.get("model", ""), options)

    @model_validator(mode="after")
    def _holds_together(self) -> PretrainSpec:
        """Refuse values that the objective leaves without use, and vain warm-ups."""
        is_causal, recipe = self.objective == "causal", self.recipe
        for name, has_use in (
            ("horizons", is_causal),
            ("huber_delta", is_causal),
            ("mask_ratio", not is_causal),
        ):
            is_set = getattr(recipe, name) is not None
            if is_set != has_use:
                raise ValueError(
                    f"has the objective '{self.objective}' and "
                    f"{name}={getattr(recipe, name)}: expected "
                    f"{'a value' if has_use else 'none, since it changes nothing'}. "
                    f"Start from recipe_of('{self.objective}', ...)"
                )
        if is_causal and self.options.get("attention") == "full":
            raise ValueError(
                "has the objective 'causal' and attention=full: states that have seen "
                "what comes next would be asked to forecast it. Leave attention out, "
                "or choose --objective masked"
            )
        if recipe.warmup_steps >= self.steps:
            raise ValueError(
                f"warms up for {recipe.warmup_steps} steps (warmup_steps) and has "
                f"{self.steps} in all (steps): the rate would not reach its value. "
                f"Train for more steps, or warm up for fewer: --set warmup_steps=0"
            )
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"has {', '.join(twice)} twice. Name each source once")
        shortest = min(self.sources, key=lambda source: source.n_patches)
        if recipe.horizons and shortest.n_patches <= min(recipe.horizons):
            raise ValueError(
                f"forecasts {min(recipe.horizons)} patches ahead at the nearest, and "
                f"windows of '{shortest.name}' have {shortest.n_patches}: nothing of "
                f"it can be forecast. Leave that source out, or choose nearer horizons"
            )
        return self

    def identity(self) -> str:
        """Return the canonical JSON that is hashed."""
        fields = self.model_dump(mode="json")
        fields["options"] = without_later_options(self.model, self.options)
        return canonical_json(fields)

    @property
    def pretrain_id(self) -> str:
        """Return the name of this pre-training: readable first, exact last."""
        return (
            f"{self.model}-{self.objective}-{self.scale}-s{self.seed}-"
            f"{short_hash(self.identity())}"
        )


# One core, minutes. Rates by the training loss of 120 steps on the simulated twins of
# five sources, at 3e-3, 1e-2, 2e-2, 4e-2: causal 0.0935, 0.0932, 0.0931, 0.0931 at the
# end and 0.131, 0.110, 0.103, 0.099 early on; masked 0.220, 0.215, 0.213, 0.215. Above
# 1e-2 little is won, and selectors send more of a step to the same experts.
SMALL: Mapping[str, Any] = {
    "lr": 1e-2,
    "lr_adamw": 1e-2,
    "warmup_steps": 20,
    "token_budget": 512,
    "precision": "32",
}
_MASKED: Mapping[str, Any] = {
    "horizons": None,
    "huber_delta": None,
    "mask_ratio": 0.5,
}


def recipe_of(
    objective: str, scale: str, changes: Mapping[str, Any] | None = None
) -> PretrainRecipe:
    """Return a scale's recipe of an objective, with some values changed.

    Raises
    ------
    UnknownName
        If a value's name is none of the recipe's.
    SpecError
        If a value does not fit.
    """
    if objective not in ("causal", "masked"):
        raise SpecError(
            f"The objective is '{objective}'; expected 'causal' or 'masked'."
        )
    start = {
        **(SMALL if scale == "small" else {}),
        **(_MASKED if objective == "masked" else {}),
    }
    recipe: PretrainRecipe = checked(
        PretrainRecipe, {**start, **(changes or {})}, what="pre-training"
    )
    return recipe


__all__ = [
    "SMALL",
    "Objective",
    "PretrainRecipe",
    "PretrainSpec",
    "SourceRef",
    "recipe_of",
]
