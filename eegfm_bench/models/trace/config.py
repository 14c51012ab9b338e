"""Every number of Trace's architecture, each with how it is known.

From: the paper's text, or the nearest published recipe. To: the modules of this
folder, and ``eegfm-bench table 6``. Imports no torch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_type_hints

from eegfm_bench.errors import SpecError, UnknownName

# How a value is known. The paper's own table of the architecture is not available.
TAGS = {
    "T": "printed in the paper's text",
    "I": "follows from the text by arithmetic or logic",
    "S": "a second-hand summary that agrees with all that can be checked",
    "N": "inferred from a neighbour, named after the colon",
    "C": "a choice of ours: nothing supports one value over another",
}

Views = Literal["both", "time", "spectrum"]
Fusion = Literal["gate", "sum"]
Routing = Literal["trace", "mean", "token", "none"]
Head = Literal["window", "causal", "pooled"]
Attention = Literal["causal", "full"]


@dataclass(frozen=True, slots=True)
class Known:
    """How a value is known: one of ``TAGS``, and why it is what it is."""

    tag: str
    why: str


def known_of(cls: Any) -> dict[str, Known]:
    """Return how each field of a configuration is known."""
    hints = get_type_hints(cls, include_extras=True)
    return {name: hints[name].__metadata__[0] for name in cls.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True)
class TraceConfig:
    """The architecture of Trace; the defaults are the ``paper`` scale.

    Raises
    ------
    SpecError
        If values do not fit together; the fields are named.
    """

    patch_len: Annotated[
        int, Known("T", "one second at 200 Hz, appendices E and H.6")
    ] = 200
    scale_uv: Annotated[
        float,
        Known("N:CBraMod,LaBraM", "µV are divided by this, so that EEG is about ±1"),
    ] = 100.0
    dim: Annotated[
        int,
        Known(
            "C", "width of a token; 8 heads with RoPE need an even 32 each, 200 fails"
        ),
    ] = 256
    layers: Annotated[
        int, Known("N:CBraMod,LaBraM,CSBrain,Time-MoE", "12 in all of them")
    ] = 12
    norm_eps: Annotated[float, Known("N:Time-MoE", "RMSNorm itself: T")] = 1e-06

    views: Annotated[
        Views, Known("T", "time branch and spectral branch; one alone: tables 17-19")
    ] = "both"
    time_kernels: Annotated[
        tuple[int, ...],
        Known(
            "C",
            "one narrow and one wide kernel are ablated; 49 is CBraMod's, 15 is ours",
        ),
    ] = (15, 49)
    stride: Annotated[int, Known("N:CBraMod", "8 positions in a patch of 200")] = 25
    filters: Annotated[
        int,
        Known("C", "per kernel: 2 kernels x 16 filters x 8 positions = 256 = width"),
    ] = 16
    norm_groups: Annotated[
        int,
        Known(
            "C", "GroupNorm over one patch alone: over several it would see the future"
        ),
    ] = 8
    fusion: Annotated[Fusion, Known("T", "sigmoid gate, equations 5 and 6")] = "gate"
    channel_kernels: Annotated[
        tuple[int, ...],
        Known(
            "C",
            "over channels; one narrow, one wide (CBraMod's); none: no positions",
        ),
    ] = (3, 19)

    heads: Annotated[int, Known("N:CBraMod", "of both attention branches")] = 8
    kv_heads: Annotated[
        int, Known("I", "appendix G.1 says standard multi-head attention")
    ] = 8
    rope_base: Annotated[float, Known("N:Time-MoE", "temporal branch only")] = 10000.0
    attention: Annotated[
        Attention,
        Known("C", "over time; causal: T; full is ours, for the masked objective"),
    ] = "causal"

    routing: Annotated[
        Routing, Known("T", "token, mean and none are the rivals of table 14")
    ] = "trace"
    experts: Annotated[
        int,
        Known(
            "C", "at least 9, since the paper counts an expert 9; its number is lost"
        ),
    ] = 16
    active: Annotated[int, Known("C", "the paper analyses sets of the top 4")] = 4
    expert_width: Annotated[
        int, Known("N:Time-MoE", "dense width 4 x 256 over the 4 active experts")
    ] = 256
    shared_width: Annotated[
        int,
        Known("N:Time-MoE", "always active, outside the competition (T); 0: table 15"),
    ] = 1024
    norm_topk: Annotated[
        bool,
        Known("N:DeepSeekMoE,Time-MoE", "weights of the chosen are not renormalised"),
    ] = False
    dense_width: Annotated[
        int | None,
        Known("C", "of routing=none; empty: solved for the operations of Trace"),
    ] = None

    queries: Annotated[int, Known("T", "default of table 2")] = 4
    query_heads: Annotated[int, Known("C", "heads of the TemporalFormer")] = 4
    share_queries: Annotated[bool, Known("C", "each layer has queries of its own")] = (
        False
    )
    balance_weight: Annotated[
        float, Known("C", "0.01 in pre-training; off while a classifier is trained")
    ] = 0.0

    head: Annotated[
        Head,
        Known(
            "T",
            "three-layer MLP on all patches, widths and ELU N:CBraMod; causal: ours",
        ),
    ] = "window"
    head_units: Annotated[
        int, Known("N:CBraMod", "hidden units: this many a patch, then this many")
    ] = 200
    head_units_alone: Annotated[
        int, Known("N:CBraMod", "hidden units where a window is one patch (SEED-V)")
    ] = 800
    dropout: Annotated[
        float, Known("N:CBraMod", "in the head alone: 0.1 to 0.3 in CSBrain")
    ] = 0.1

    def __post_init__(self) -> None:
        self._refuse_wrong_types()
        self._refuse_unknown_words()
        for name in ("time_kernels", "channel_kernels"):
            if any(k < 1 or k % 2 == 0 for k in getattr(self, name)):
                raise SpecError(
                    f"{name} of trace is {getattr(self, name)}; expected odd numbers, "
                    f"so that a kernel has a middle."
                )
        positive = (
            *("patch_len", "dim", "layers", "stride", "filters", "norm_groups"),
            *("heads", "kv_heads", "experts", "active", "expert_width"),
            *("queries", "query_heads", "head_units", "head_units_alone"),
        )
        for name in positive:
            if getattr(self, name) < 1:
                raise SpecError(
                    f"{name} of trace is {getattr(self, name)}; choose 1 or more."
                )
        for name in ("norm_eps", "rope_base", "scale_uv"):
            if not getattr(self, name) > 0:
                raise SpecError(
                    f"{name} of trace is {getattr(self, name)}; choose more than 0."
                )
        if not self.time_kernels:
            raise SpecError("time_kernels of trace is empty; name one, such as 15.")
        if self.shared_width < 0 or self.balance_weight < 0:
            raise SpecError(
                f"shared_width ({self.shared_width}) and balance_weight "
                f"({self.balance_weight}) of trace cannot be negative."
            )
        if self.dense_width is not None and self.dense_width < 1:
            raise SpecError(
                f"dense_width of trace is {self.dense_width}; choose 1 or more, or "
                f"leave it out to have it solved for."
            )
        if not 0 <= self.dropout < 1:
            raise SpecError(f"dropout of trace is {self.dropout}; from 0 to below 1.")
        self._refuse_misfits()

    def _refuse_wrong_types(self) -> None:
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            if kind is float:
                is_fit = isinstance(value, (int, float)) and math.isfinite(value)
            elif kind is tuple:
                is_fit = isinstance(value, tuple) and all(map(_is_int, value))
            elif name == "dense_width":
                is_fit = value is None or _is_int(value)
            else:
                is_fit = _is_int(value) if kind is int else isinstance(value, kind)
            if not is_fit or (kind is float and isinstance(value, bool)):
                raise SpecError(
                    f"{name} of trace is {value!r}; expected {_KIND_NAMES[kind]}."
                )

    def _refuse_unknown_words(self) -> None:
        for name, allowed in (
            ("views", ("both", "time", "spectrum")),
            ("fusion", ("gate", "sum")),
            ("routing", ("trace", "mean", "token", "none")),
            ("head", ("window", "causal", "pooled")),
            ("attention", ("causal", "full")),
        ):
            if getattr(self, name) not in allowed:
                raise UnknownName.among(
                    f"{name} of trace", str(getattr(self, name)), allowed
                )

    def _refuse_misfits(self) -> None:
        for whole, parts in (
            ("dim", "heads"),
            ("dim", "query_heads"),
            ("heads", "kv_heads"),
        ):
            if getattr(self, whole) % getattr(self, parts):
                raise SpecError(
                    f"{whole} of trace ({getattr(self, whole)}) is not a multiple of "
                    f"{parts} ({getattr(self, parts)})."
                )
        if self.head_dim % 2:
            raise SpecError(
                f"dim / heads of trace is {self.head_dim}; RoPE turns pairs, so it "
                f"must be even."
            )
        if self.attention == "full" and self.head == "causal":
            raise SpecError(
                "head of trace is 'causal', a score at every patch from what came "
                "before it, and with attention=full states have seen what comes after. "
                "Choose another head, or leave attention out."
            )
        if self.active > self.experts:
            raise SpecError(
                f"active of trace ({self.active}) is more than its experts "
                f"({self.experts})."
            )
        if len(self.time_kernels) * self.filters % self.norm_groups:
            raise SpecError(
                f"{len(self.time_kernels)} time kernels x {self.filters} filters of "
                f"trace do not divide into {self.norm_groups} groups (norm_groups)."
            )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.dim // self.heads

    @property
    def bins(self) -> int:
        """Frequencies of a patch's spectrum."""
        return self.patch_len // 2 + 1

    @property
    def positions(self) -> int:
        """Positions that the time branch's stride leaves in a patch."""
        return (self.patch_len - 1) // self.stride + 1

    @classmethod
    def known(cls) -> dict[str, Known]:
        """Return for each field how its value is known."""
        return known_of(cls)

    def options(self) -> dict[str, Any]:
        """Return the fields as ``--set`` takes them: lists are text, "15,49"."""
        return {
            name: _as_option(getattr(self, name)) for name in self.__dataclass_fields__
        }

    def with_options(self, options: Mapping[str, Any]) -> TraceConfig:
        """Return a copy with some fields changed, read as ``--set`` gives them.

        Raises
        ------
        SpecError
            If a value has the wrong type, or values do not fit together.
        """
        changed = {}
        for name, value in options.items():
            if name in ("time_kernels", "channel_kernels"):
                value = _numbers(name, value)
            changed[name] = value
        return dataclasses.replace(self, **changed)

    def idle(self) -> set[str]:
        """Return the fields that change nothing with the others as they are."""
        unused: set[str] = set()
        if self.views == "spectrum":
            unused |= {"time_kernels", "stride", "filters", "norm_groups"}
        if self.views != "both":
            unused |= {"fusion"}
        if self.routing == "none":
            unused |= {"experts", "active", "expert_width", "shared_width"}
            unused |= {"norm_topk", "balance_weight"}
        else:
            unused |= {"dense_width"}
        if self.routing != "trace":
            unused |= {"queries", "query_heads", "share_queries"}
        if self.head != "window":
            unused |= {"head_units_alone"}
        if self.head == "causal":
            unused |= {"head_units", "dropout"}
        return unused


@dataclass(frozen=True, kw_only=True)
class ForecastConfig:
    """What is forecast in pre-training, and what an error costs."""

    horizons: Annotated[
        tuple[int, ...], Known("S", "patches ahead; the best row of table 12 (I)")
    ] = (1, 2, 4)
    huber_delta: Annotated[
        float, Known("C", "input is about ±1; Time-MoE has 2 on z-scored data")
    ] = 1.0

    @classmethod
    def known(cls) -> dict[str, Known]:
        """Return for each field how its value is known."""
        return known_of(cls)


FORECAST = ForecastConfig()


# Small enough for four milliseconds a window, forward and backward, at every shape.
SMALL: Mapping[str, Any] = {
    "dim": 32,
    "layers": 1,
    "filters": 4,
    "norm_groups": 4,
    "heads": 2,
    "kv_heads": 2,
    "experts": 8,
    "active": 2,
    "expert_width": 32,
    "shared_width": 64,
    "head": "pooled",
    "head_units": 64,
    "dropout": 0.0,
}


def config_at(scale: str, options: Mapping[str, Any] | None = None) -> TraceConfig:
    """Return the architecture of a scale, with some fields changed."""
    start = SMALL if scale == "small" else {}
    return TraceConfig().with_options({**start, **(options or {})})


def checked_options(options: Mapping[str, Any], scale: str) -> dict[str, Any]:
    """Return all options of a scale in one spelling, or say what does not fit.

    Raises
    ------
    SpecError
        If values do not fit, or one was changed that the others leave without use.
    """
    config, start = config_at(scale, options), config_at(scale)
    for name in sorted(config.idle()):
        if name in options and getattr(config, name) != getattr(start, name):
            raise SpecError(
                f"{name} of trace is {options[name]!r}, but changes nothing with "
                f"views={config.views}, routing={config.routing}, head={config.head}. "
                f"Leave it out."
            )
    return config.options()


# Every field's kind, for messages before values are put to use.
_KINDS: dict[str, type] = {
    name: type(getattr(TraceConfig, name)) for name in TraceConfig.__dataclass_fields__
}
_KIND_NAMES: dict[type, str] = {
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    str: "a word",
    tuple: "odd whole numbers such as 3,19",
    type(None): "a whole number, or nothing",
}


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _as_option(value: Any) -> Any:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return value


def _numbers(name: str, value: Any) -> tuple[int, ...]:
    """Read "3,19", "none", 19 or a tuple."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    if isinstance(value, (tuple, list)):
        return tuple(value)  # judged with the other types
    if isinstance(value, str) and value.strip().lower() == "none":
        return ()
    try:
        return tuple(int(part) for part in str(value).split(",") if part.strip())
    except ValueError as error:
        raise SpecError(
            f"{name} of trace is {value!r}; expected odd numbers such as 3,19, or none."
        ) from error
