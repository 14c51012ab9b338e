"""The question: all and only what changes a run's numbers.

From: suites and the command line. To: ``run_id``, ``cell_id`` and every record.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from eegfm_bench.errors import SpecError, UnknownName
from eegfm_bench.runs.labels import canonical_labels

# What ``init`` says of a model that starts from its own random weights.
SCRATCH = "scratch"

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# Fields born after the first published records. Each enters the hash only when
# it differs from the value that reproduces the older runs, so that growth never
# renames an answered question. {"dotted.field": value_before_it_existed}
BORN_LATER: dict[str, Any] = {
    "code": None,
    "recipe.optimizer": "adamw",
    "recipe.head_lr": None,
    "recipe.layer_decay": None,
    "recipe.decays": "all",
    "recipe.warmup_epochs": 0.0,
    "recipe.patience": None,
    "recipe.solver": "ridge",
    "recipe.standardise": True,
    "labels": None,
    "recipe.lora_rank": None,
    "recipe.lora_alpha": None,
    "recipe.lora_dropout": None,
}
# The same of options of a model: {model: {option: value before it existed}}. It enters
# no hash; specs of runs leave it out, those with all of a model's options have it.
OPTIONS_BORN_LATER: dict[str, dict[str, Any]] = {"trace": {"attention": "causal"}}

# The context in which stored specs are read: what is refused of new questions was once
# asked, and its answers stay readable.
AS_STORED = {"as_stored": True}

Selection = Literal["auroc", "cohen_kappa", "balanced_accuracy", "last"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def with_later_options(model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with those that were born after they were written down."""
    later = OPTIONS_BORN_LATER.get(model, {})
    return {**options, **{k: v for k, v in later.items() if k not in options}}


def without_later_options(model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as they enter a hash."""
    later = OPTIONS_BORN_LATER.get(model, {})
    return {k: v for k, v in options.items() if k not in later or later[k] != v}


class DatasetRef(_Frozen):
    """Which windows: the dataset, its exact protocol, and the data behind it.

    ``data`` is ``complete`` (every subject of the protocol), ``partial`` (some
    absent) or ``simulated`` (the twin); ``fingerprint`` identifies the source
    recordings by content, so that two roots with the same files share results
    and two roots with different files never do.
    """

    name: str
    protocol: str
    data: Literal["complete", "partial", "simulated"]
    fingerprint: str


class TrainingRecipe(_Frozen):
    """How a model is trained; every value here changes numbers.

    ``class_weights`` weighs the loss by inverse class frequency in the training
    part: the two-class scores are judged at a threshold of 0.5. ``head_lr`` is the
    learning rate of the head alone. ``layer_decay`` multiplies the rate once for every
    layer between a weight and the head. ``decays`` says which weights decay: ``all``,
    or ``matrices``, which leaves out biases and norms. ``warmup_epochs`` raise the rate
    evenly from nothing, and are fewer than ``epochs``. Training ends after ``patience``
    epochs without a better validation score, which the ``last`` epoch does not ask for.
    ``lora_rank``, ``lora_alpha`` and ``lora_dropout`` are of LoRA's adapters: their
    inner width, the factor of what they add (divided by the rank), and the dropout
    before them; None where nothing is adapted so.
    """

    kind: Literal["gradient"] = "gradient"
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0, default=0.0)
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: float | None = Field(gt=0, default=None)
    optimizer: Literal["adamw", "adam"] = "adamw"
    head_lr: float | None = Field(gt=0, default=None)
    layer_decay: float | None = Field(gt=0, le=1, default=None)
    decays: Literal["all", "matrices"] = "all"
    warmup_epochs: float = Field(ge=0, default=0.0)
    patience: int | None = Field(ge=1, default=None)
    label_smoothing: float = Field(ge=0, lt=1, default=0.0)
    class_weights: Literal["none", "balanced"] = "balanced"
    precision: Literal["32", "bf16"] = "32"
    lora_rank: int | None = Field(ge=1, default=None)
    lora_alpha: float | None = Field(gt=0, default=None)
    lora_dropout: float | None = Field(ge=0, lt=1, default=None)
    select: Selection = "auroc"

    @field_validator("precision", mode="before")
    @classmethod
    def _as_word(cls, precision: Any) -> Any:
        """Take the number 32 for the word, as ``--set precision=32`` gives it."""
        return str(precision)

    @model_validator(mode="after")
    def _holds_together(self, info: ValidationInfo) -> TrainingRecipe:
        """Refuse values that undo each other; what is stored is read as it is."""
        if info.context == AS_STORED:
            return self
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warms up for {self.warmup_epochs:g} epochs (warmup_epochs) and has "
                f"{self.epochs} in all (epochs): the rate would not reach its value. "
                f"Train for more epochs, or warm up for fewer: --set warmup_epochs=0"
            )
        if self.select == "last" and self.patience is not None:
            raise ValueError(
                f"tests the last epoch (select=last) and ends after {self.patience} "
                f"epochs without a better one (patience): nothing is compared, so that "
                f"training would not end early. Set patience=null, or leave select out"
            )
        return self


class ClosedFormRecipe(_Frozen):
    """How a head is solved for: penalties tried, and what picks among them.

    ``solver`` is ``ridge`` regression onto class indicators, or ``logistic``.
    ``standardise`` gives every feature unit deviation in the training part first, so
    that a penalty means the same to all.
    """

    kind: Literal["closed_form"] = "closed_form"
    solver: Literal["ridge", "logistic"] = "ridge"
    standardise: bool = True
    penalties: tuple[float, ...] = tuple(10.0**k for k in range(-3, 5))
    class_weights: Literal["none", "balanced"] = "balanced"
    select: Selection = "auroc"

    @field_validator("penalties")
    @classmethod
    def _in_order(cls, penalties: tuple[float, ...]) -> tuple[float, ...]:
        """Sort: the order in which penalties are listed changes nothing."""
        return tuple(sorted(set(penalties)))

    @model_validator(mode="after")
    def _can_choose(self, info: ValidationInfo) -> ClosedFormRecipe:
        """Refuse what solves nothing; what is stored is read as it is."""
        if info.context == AS_STORED:
            return self
        if not self.penalties or min(self.penalties) <= 0:
            listed = ", ".join(f"{one:g}" for one in self.penalties)
            raise ValueError(
                f"tries the penalties [{listed}]; expected one number or more, all "
                f"above 0: --set penalties=[0.1,1,10]"
            )
        if self.select == "last":
            raise ValueError(
                "chooses a penalty on validation and has no last epoch (select=last). "
                "Leave select out, or choose auroc, cohen_kappa or balanced_accuracy"
            )
        return self


class NoRecipe(_Frozen):
    """A model without anything to choose."""

    kind: Literal["prior"] = "prior"
    select: Literal["last"] = "last"


AnyRecipe = TrainingRecipe | ClosedFormRecipe | NoRecipe


class RunSpec(_Frozen):
    """One question: a model on a dataset, with a seed.

    ``code`` identifies the source file of a model that is not of this package, whose
    edits change numbers as well; it is None for all others. ``init`` is ``scratch`` or
    names the weights that the encoder starts from; ``adapt`` says what of the model is
    trained then; ``labels`` how many training windows are used, None for all of them.

    Examples
    --------
    >>> spec = RunSpec(
    ...     dataset=DatasetRef(name="eyes", protocol="eyes-1-0a1b2c3d",
    ...                        data="simulated", fingerprint="twin-small-1"),
    ...     model="chance", scale="small", seed=0, recipe=NoRecipe())
    >>> spec.run_id.startswith("chance-eyes-s0-"), "-s0-" in spec.cell_id
    (True, False)
    """

    schema_version: Literal[1] = 1
    dataset: DatasetRef
    model: str
    model_version: int = 1
    code: str | None = None
    options: dict[str, bool | int | float | str | None] = Field(default_factory=dict)
    scale: Literal["paper", "small"] = "paper"
    init: str = "scratch"
    adapt: Literal["scratch", "finetune", "probe", "lora"] = "scratch"
    labels: str | None = None
    seed: int = Field(ge=0, lt=2**32)
    recipe: AnyRecipe = Field(discriminator="kind")

    @field_validator("options")
    @classmethod
    def _without_later_options(
        cls, options: dict[str, Any], info: ValidationInfo
    ) -> dict[str, Any]:
        """Leave out what runs did before it could be said: one spelling for both."""
        return without_later_options(info.data.get("model", ""), options)

    @field_validator("labels")
    @classmethod
    def _in_one_spelling(cls, labels: str | None) -> str | None:
        """Write a budget in one way; all of the labels is none."""
        try:
            return canonical_labels(labels)
        except SpecError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _adapts_what_is_there(self, info: ValidationInfo) -> RunSpec:
        """Refuse ways to adapt that do not fit the start or the recipe."""
        if info.context == AS_STORED:
            return self
        if self.adapt == "finetune" and self.init == SCRATCH:
            raise ValueError(
                "fine-tunes (adapt=finetune) from no weights (init=scratch): that is "
                "training from scratch. Give --weights, or leave --adapt out"
            )
        if self.adapt == SCRATCH and self.init != SCRATCH:
            raise ValueError(
                f"trains from scratch (adapt=scratch) and starts from {self.init}. "
                f"Choose --adapt finetune, probe or lora, or leave --weights out"
            )
        given = [k for k, v in self.recipe if k.startswith("lora_") and v is not None]
        if given and self.adapt != "lora":
            raise ValueError(
                f"sets {', '.join(given)}, of --adapt lora alone; it is "
                f"--adapt {self.adapt}"
            )
        return self

    def identity(self, *, with_seed: bool = True) -> str:
        """Return the canonical JSON that is hashed."""
        fields = self.model_dump(mode="json")
        for dotted, before in BORN_LATER.items():
            *path, last = dotted.split(".")
            at: Any = fields
            for key in path:
                at = at.get(key, {})
            if last in at and at[last] == before:
                del at[last]
        if not with_seed:
            del fields["seed"]
        return canonical_json(fields)

    @property
    def run_id(self) -> str:
        """Return the name of this run: readable first, exact last."""
        digest = short_hash(self.identity())
        return f"{_plain(self.model)}-{_plain(self.dataset.name)}-s{self.seed}-{digest}"

    @property
    def cell_id(self) -> str:
        """Return the same name without the seed."""
        digest = short_hash(self.identity(with_seed=False))
        return f"{_plain(self.model)}-{_plain(self.dataset.name)}-{digest}"


def canonical_json(value: Any) -> str:
    """Write plain data so that equal data gives equal text.

    Keys are sorted and floats printed by ``repr``; NaN is refused.
    """
    return json.dumps(
        value,
        sort_keys=True,
        separators=(",", ":"),
        allow_nan=False,
        ensure_ascii=False,
    )


def short_hash(text: str) -> str:
    """Return the first eight hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def checked(kind: type[_Frozen], values: dict[str, Any], *, what: str) -> Any:
    """Build a spec object, turning what does not fit into a SpecError.

    Raises
    ------
    UnknownName
        If a key is not a field; the nearest field is suggested.
    SpecError
        If a value has the wrong type or range, or values do not go together.
    """
    for key in values:
        if key not in kind.model_fields:
            raise UnknownName.among(f"setting of {what}", key, kind.model_fields)
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
        if not field:  # of values that do not go together
            said = first["msg"].removeprefix("Value error, ")
            raise SpecError(f"{what[:1].upper()}{what[1:]} {said}.") from error
        raise SpecError(
            f"'{field}' of {what} is {first['input']!r}; expected {_expected(first)}."
        ) from error


# What a value should have been, by the kind of pydantic's complaint.
_EXPECTED = {
    "bool_": "true or false",
    "float_": "a number",
    "int_": "a whole number",
    "finite_number": "a finite number",
    "string_": "a word",
    "tuple_": "a list",
    "greater_than_equal": "a number, {ge:g} or more",
    "greater_than": "a number above {gt:g}",
    "less_than_equal": "a number, {le:g} or less",
    "less_than": "a number below {lt:g}",
    "literal_error": "{expected}",
}


def _expected(error: ErrorDetails) -> str:
    """Say in words what a value should have been."""
    for kind, words in _EXPECTED.items():
        if error["type"].startswith(kind):
            return words.format(**error.get("ctx", {}))
    return error["msg"]


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9@._]+", ".", name)
