"""What a model is: ModelSpec, the @model decorator, and finding one by name.

From: one file per family. To: ``build``, ``list`` and ``training.fit``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import eegfm_bench.models as package
from eegfm_bench import registry
from eegfm_bench.errors import DuplicateName, SpecError, UnknownName
from eegfm_bench.models._weights import Weights
from eegfm_bench.runs.spec import AnyRecipe

if TYPE_CHECKING:
    from torch import Tensor, nn

TrainedBy = Literal["gradient", "closed_form", "prior"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputShape:
    """All a model may know about its data.

    ``channels`` are names in the order of the signal's rows; a bipolar channel
    reads "FP1-F7". Their order is what counts. ``sequence`` is how many consecutive
    windows are judged together: x is then (B, S, C, T) and logits are (B, S, K).
    """

    channels: tuple[str, ...]
    n_times: int
    rate_hz: float
    n_classes: int
    sequence: int = 1

    def __post_init__(self) -> None:
        if not self.rate_hz > 0:
            raise SpecError(f"A rate of {self.rate_hz} Hz is none; give one above 0.")
        if self.sequence < 1:
            raise SpecError(f"A sequence of {self.sequence} windows is none.")
        if not self.channels or self.n_times < 1 or self.n_classes < 2:
            raise SpecError(
                f"No model can be built for {len(self.channels)} channels, "
                f"{self.n_times} time points and {self.n_classes} classes; expected at "
                f"least 1, 1 and 2."
            )

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.channels)


class Model(Protocol):
    """What every built model offers, beside being an ``nn.Module``.

    ``features(x_BCT)`` gives (B, D) and ``forward(x_BCT)`` logits (B, K), both
    from µV; ``head`` maps the one to the other.

    Optional: ``pooled(x_BCT)``, each channel's mean token (B, C D), which probes and
    comparisons of encoders take; without it, they take ``features``.

    Optional: ``replace_head(head)``, where assigning ``head`` would not do it.

    Optional, for recipes whose learning rate falls from layer to layer: ``n_layers``,
    and ``layer_of(name)``, which gives the layer of a parameter that is not the head's,
    0 for what is nearest to the input and ``n_layers - 1`` for the last.

    Optional, where the head is solved for: ``fit_features(x_batches, y)``, called once
    with the training windows, batch by batch in µV, and all their labels (N,), before
    features are taken.

    Optional: ``loss(x_BCT, y_B, criterion)`` gives the scalar that training
    minimises, for a model that learns from more than its logits. ``criterion`` maps
    logits (N, K) and labels (N,) to the recipe's cross-entropy. Without it, training
    takes ``criterion(forward(x_BCT), y_B)``. Validation asks ``forward`` alone.

    Optional: ``windows_at_once``, the most windows that training should hand over in
    one go, or None. A larger batch comes in pieces whose gradients are added up: the
    batch's own gradient, in less memory. It is for a model without batch statistics and
    without a ``loss`` of its own; large linear layers of its ``head`` must be called as
    modules, not through their weights.
    """

    head: nn.Module

    def features(self, x_BCT: Tensor) -> Tensor:
        """Return features (B, D) of windows (B, C, T) in µV."""
        ...

    def __call__(self, x_BCT: Tensor) -> Tensor:
        """Return logits (B, K) of windows (B, C, T) in µV."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a model is: parameters of encoder and head, and a window's cost.

    ``flops`` are additions and multiplications of one window's forward pass, as
    ``torch.utils.flop_counter`` counts matrix products and convolutions.
    """

    encoder: int
    head: int
    flops: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model family's variant, and how it is trained by default.

    Attributes
    ----------
    builder : function of (InputShape, scale, options)
        Builds the module; random weights come from torch's global generator.
    trained_by : str
        ``gradient``; ``closed_form`` (features are fixed, the head is solved
        for); ``prior`` (nothing but the training labels is used).
    recipes : mapping of scale to recipe
        ``select`` is filled in by the dataset's main score.
    options : mapping
        What ``--set`` may change about the architecture, with its defaults.
    small_options : mapping
        Those of them that have another default at the small scale.
    head_options : tuple of str
        Those of them that shape nothing but the model's own head. Where windows are
        judged in sequences another head takes its place, and they are refused.
    rate_hz : float or None
        The rate the model listens at; None takes the dataset's own.
    code_hash : str or None
        Identifies the source files, for a model that is not of this package.
    is_seeded : bool
        Whether the seed can change anything.
    input_scale : str
        What is done to windows in µV before anything else, in plain words.
    channel_use : str
        How channels are told apart: by order, or by which names.
    differences : tuple of str
        What differs from the source, each with its reason.
    sizes : mapping of scale to Size
        Declared for 16 channels × 2000 time points and two classes.
    weights : Weights
        Which are public, how their tensors are named, what LoRA adapts.
    version : int
        Raised when the architecture changes under the same name.
    skip : function of InputShape
        A reason why the shape cannot be served, or None.
    check : function of (options, scale), optional
        Given all options, returns them in one spelling or raises a SpecError. It is
        asked before any window is cut, so it cannot know the shape.
    """

    name: str
    title: str
    builder: Callable[..., Any] = field(repr=False)
    trained_by: TrainedBy
    recipes: Mapping[str, AnyRecipe]
    options: Mapping[str, Any]
    small_options: Mapping[str, Any] = field(default_factory=dict)
    head_options: tuple[str, ...] = ()
    reference: str
    licence: str
    code: str = "none"
    code_hash: str | None = None
    rate_hz: float | None = None
    is_seeded: bool = True
    version: int = 1
    pretrained_on: tuple[str, ...] = ()
    input_scale: str = "none: the model takes µV"
    channel_use: str = "by their order"
    differences: tuple[str, ...] = ()
    sizes: Mapping[str, Size] = field(default_factory=dict)
    weights: Weights = field(default_factory=Weights)
    skip: Callable[[InputShape], str | None] = lambda shape: None
    check: Callable[[Mapping[str, Any], str], Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        for recipe in self.recipes.values():
            for key in type(recipe).model_fields:
                if key in self.options:
                    raise DuplicateName(
                        f"The option '{key}' of {self.name} is a name of its recipe, "
                        f"which --set {key} changes. Rename the option."
                    )
        for key in (*self.small_options, *self.head_options):
            if key not in self.options:
                raise UnknownName.among(f"option of {self.name}", key, self.options)

    def options_at(self, scale: str) -> dict[str, Any]:
        """Return all options with their defaults at a scale."""
        return {**self.options, **(self.small_options if scale == "small" else {})}

    def options_for(
        self, scale: str, given: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return all options at a scale, some of them given, in one spelling.

        Raises
        ------
        SpecError
            If the scale does not exist, or ``check`` refuses a value.
        UnknownName
            If an option is not one of this model's.
        """
        if scale not in self.recipes:
            raise SpecError(
                f"{self.name} has no scale '{scale}'. Choose one of "
                f"{', '.join(self.recipes)}."
            )
        for key in given or {}:
            if key not in self.options:
                raise UnknownName.among(f"option of {self.name}", key, self.options)
        chosen = {**self.options_at(scale), **(given or {})}
        return chosen if self.check is None else dict(self.check(chosen, scale))

    def build(
        self,
        shape: InputShape,
        *,
        scale: str = "paper",
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        """Build the module for a shape.

        Raises
        ------
        SpecError
            If the shape or an option's value cannot be served, or the scale does not
            exist.
        UnknownName
            If an option is not one of this model's.
        """
        chosen = self.options_for(scale, options)
        reason = self.skip(shape)
        if reason is not None:
            raise SpecError(f"{self.name} cannot serve this shape: {reason}.")
        alone = self.builder(replace(shape, sequence=1), scale=scale, **chosen)
        if hasattr(alone, "state_dict") and not hasattr(alone, "channels"):
            # What the names in a file of weights are held against.
            alone.channels = shape.channels
        if shape.sequence == 1:
            return alone
        # Imported when asked for: this file stays free of torch.
        from eegfm_bench.models._sequence import in_sequence

        return in_sequence(
            alone, shape, scale=scale, is_trained=self.trained_by == "gradient"
        )


def model(
    *,
    title: str,
    trained_by: TrainedBy,
    recipes: Mapping[str, AnyRecipe],
    reference: str,
    licence: str,
    options: Mapping[str, Any] | None = None,
    **more: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a builder under its function's name.

    The builder takes an InputShape, ``scale`` and its options as keywords. They and
    their defaults are read from its signature, unless ``options`` lists them. None
    may have the name of a recipe's field: ``--set`` gives both.

    Raises
    ------
    DuplicateName
        If the name is taken by another file, or an option's by the recipe.
    """

    def register(builder: Callable[..., Any]) -> Callable[..., Any]:
        name = builder.__name__
        known = _REGISTERED.get(name)
        if known is not None and known.builder.__module__ != builder.__module__:
            raise DuplicateName(
                f"Two files register a model '{name}': {known.builder.__module__} and "
                f"{builder.__module__}. Rename one of the functions."
            )
        parameters = inspect.signature(builder).parameters.values()
        read = {
            p.name: p.default
            for p in parameters
            if p.kind is p.KEYWORD_ONLY and p.name != "scale"
        }
        _REGISTERED[name] = ModelSpec(
            name=name,
            title=title,
            builder=builder,
            trained_by=trained_by,
            recipes=recipes,
            options=read if options is None else dict(options),
            reference=reference,
            licence=licence,
            **more,
        )
        return builder

    return register


_REGISTERED: dict[str, ModelSpec] = {}


def model_names() -> list[str]:
    """Return the keys of all models that can be imported."""
    registry.load_all(package)
    return sorted(_REGISTERED)


def find_model(name: str) -> ModelSpec:
    """Return a model by its key.

    A key with a colon names code outside this package: ``braindecode:Class``, or
    ``torch:package.module:Class`` for a class of the user's.

    Raises
    ------
    UnknownName
        If there is none; suggests the nearest.
    SpecError
        If the user's module cannot be imported, or changed since it was.
    """
    source, colon, path = name.partition(":")
    if colon:
        return _find_outside(source, path)
    if name in registry.family_names(package):
        registry.load_family(package, name)
    if name not in _REGISTERED:
        _, broken = registry.load_all(package)
        if name not in _REGISTERED:
            error = UnknownName.among("model", name, _REGISTERED)
            if broken:
                files = "; ".join(f"{key}.py: {why}" for key, why in broken.items())
                raise UnknownName(f"{error} Files that could not be read: {files}.")
            raise error
    return _REGISTERED[name]


def _find_outside(source: str, path: str) -> ModelSpec:
    # Imported when asked for: both take this file's names, and braindecode seconds.
    if source == "braindecode":
        from eegfm_bench.models._braindecode import find_braindecode

        return find_braindecode(path)
    if source == "torch":
        from eegfm_bench.models._own_class import find_own

        return find_own(path)
    raise UnknownName.among("source of models", source, ("braindecode", "torch"))


def build(
    name: str,
    *,
    channels: Sequence[str],
    n_times: int,
    rate_hz: float,
    n_classes: int,
    sequence: int = 1,
    scale: str = "paper",
    **options: Any,
) -> Any:
    """Build a model by name.

    Parameters
    ----------
    name : str
        A model key, such as ``"eegnet"`` or ``"braindecode:Deep4Net"``.
    channels : sequence of str
        Channel names in the order of the signal's rows.
    n_times, rate_hz, n_classes
        Time points per window, their rate in Hz, and the number of classes.
    sequence : int
        Windows judged together: above 1, x is (B, S, C, T) and logits (B, S, K).
    scale : str
        ``paper`` or ``small``.
    **options
        The model's own options.

    Returns
    -------
    module : nn.Module
        ``forward(x)`` gives logits (B, K) and ``features(x)`` (B, D), from
        windows (B, C, T) in µV.

    Raises
    ------
    UnknownName, SpecError
        If there is no such model, option or scale, or the shape cannot be served.
    """
    if isinstance(channels, str):
        raise SpecError(f"channels is {channels!r}; expected a list, [{channels!r}].")
    shape = InputShape(
        channels=tuple(channels),
        n_times=n_times,
        rate_hz=rate_hz,
        n_classes=n_classes,
        sequence=sequence,
    )
    return find_model(name).build(shape, scale=scale, options=options)
