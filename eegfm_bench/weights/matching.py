"""Which tensor of a file is which of a model's encoder, by name and shape.

From: a built model, what its family says of weights, and a file. To: the new state of
the encoder, not yet in the model, and a report of every tensor on either side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from eegfm_bench.errors import WeightsError
from eegfm_bench.models._adapted import Adapted
from eegfm_bench.models._sequence import InSequence
from eegfm_bench.models._spec import ModelSpec
from eegfm_bench.models._weights import Channels, Layout, Reshaped, alike
from eegfm_bench.runs.weights import LoadReport
from eegfm_bench.weights.files import WeightsFile
from eegfm_bench.weights.find import channels_of, entry_of, known_by_bytes
from eegfm_bench.weights.pretrained import read_pretrained

# Saved models write so what the layout of their other tensors has no name for.
OURS = "eegfm_bench."
OWN = Layout(name="own")
# The same, saved around a model of single windows.
OWN_IN_SEQUENCE = Layout(
    name="own, in sequence", renames=(("", "model."),), unused=("head.",)
)
# A module of others, saved without what this suite puts around it.
MODULE = Layout(name="the module's own", renames=(("net.", ""),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What a file has for an encoder.

    Attributes
    ----------
    report : LoadReport
    state : mapping of our name to tensor
        New values, each in the shape and precision that the model has.
    n_misfits : int
        How many of the missing are in the file, in a shape that does not fit.
    is_of_other_channels : bool
        Whether the model goes by the order of channels, and the file's are others.
    """

    report: LoadReport
    state: Mapping[str, Tensor]
    n_misfits: int
    is_of_other_channels: bool = False


def alone(model: nn.Module) -> nn.Module:
    """Return the model of single windows within one of sequences, else the model."""
    return model.model if isinstance(model, InSequence) else model


def encoder_state(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and saved buffers that do not belong to the head.

    What the head is, is told by identity: a layer that is the head is so under every
    name that it has. Of a model of sequences, it is the model of single windows.
    """
    inner = alone(model)
    heads = _head_modules(model)
    owners = {
        name: id(module) for name, module in inner.named_modules(remove_duplicate=False)
    }
    return {
        name: tensor
        for name, tensor in inner.state_dict().items()
        if isinstance(tensor, Tensor)
        and owners.get(name.rpartition(".")[0]) not in heads
    }


def head_prefixes(model: nn.Module) -> tuple[str, ...]:
    """Return what the names of the head's tensors begin with."""
    heads = _head_modules(model)
    modules = alone(model).named_modules(remove_duplicate=False)
    return tuple(f"{name}." for name, module in modules if name and id(module) in heads)


def _head_modules(model: nn.Module) -> set[int]:
    found: set[int] = set()
    for each in (model, alone(model)):
        head = getattr(each, "head", None)
        if isinstance(head, nn.Module):
            found |= {id(module) for module in head.modules()}
    return found


def layouts_of(model: nn.Module, spec: ModelSpec) -> tuple[Layout, ...]:
    """Return all layouts a file for this model may have, ``own`` first."""
    inner = (MODULE,) if isinstance(alone(model), Adapted) else ()
    return (OWN, *spec.weights.layouts, *inner, OWN_IN_SEQUENCE)


def match(model: nn.Module, spec: ModelSpec, file: WeightsFile) -> Match:
    """Find every tensor of a model's encoder in a file; change nothing.

    The layout is the one in which most of them are found; of two such, the one that
    leaves less of the file over, then the one declared first.

    Parameters
    ----------
    model : nn.Module
        Built for its windows.
    spec : ModelSpec
        Its family: layouts, and how shapes may differ.
    file : WeightsFile

    Raises
    ------
    WeightsError
        If a tensor of the file is not of the same kind of numbers.
    """
    encoder = encoder_state(model)
    channels = Channels(
        ours=tuple(getattr(alone(model), "channels", ())),
        theirs=channels_of(spec, file),
    )
    named = _nearest(model, spec, encoder, file)
    found = _matched(spec, encoder, named, file, channels)
    is_said_beside = bool(spec.weights.by_channel) and not known_by_bytes(spec, file)
    said = channels.theirs if is_said_beside else ()
    other = _other_channels(spec, channels)
    missing = (*found.report.missing, *([other] if other else []))
    made = read_pretrained(file.path)
    public = entry_of(spec, file)
    about = {
        "channels": said,
        "missing": missing,
        "pretrained": None if made is None else made.for_record(),
        "corpora": () if public is None else public.pretrained_on,
    }
    report = found.report.model_copy(update=about)
    return replace(found, report=report, is_of_other_channels=bool(other))


def _other_channels(spec: ModelSpec, channels: Channels) -> str:
    """Say which channels a file is of, if filters that go by order would mistake them.

    Of another number of channels, shapes tell.
    """
    ours, theirs = channels.ours, channels.theirs
    is_by_order = not spec.weights.any_channels and not spec.weights.by_channel
    if not is_by_order or len(ours) != len(theirs):
        return ""
    pairs = zip(ours, theirs, strict=True)
    apart = [(o, t) for o, t in pairs if alike(o) != alike(t)]
    if not apart:
        return ""
    first = ", ".join(f"{t} where {o} is" for o, t in apart[:3])
    more = f" and {len(apart) - 3} more" if len(apart) > 3 else ""
    return f"the order of channels: the file's has {first}{more}"


def has_all_names(model: nn.Module, spec: ModelSpec, file: WeightsFile) -> bool:
    """Whether a file has a model's encoder by its names, and nothing else.

    Shapes are not looked at, so the model may be one without numbers.
    """
    encoder = encoder_state(model)
    named = _nearest(model, spec, encoder, file)
    expected = [n for n in encoder if not n.startswith(named.layout.fresh)]
    is_whole = len(named.pairs) == len(expected) and not named.left_over
    return bool(expected) and is_whole


def _nearest(
    model: nn.Module,
    spec: ModelSpec,
    encoder: Mapping[str, Tensor],
    file: WeightsFile,
) -> _Named:
    """Return the layout in which most is found and least is left over."""
    heads = head_prefixes(model)
    return max(
        (
            _named(layout, prefix, encoder, heads, file)
            for layout in layouts_of(model, spec)
            for prefix in _prefixes(file.stripped)
        ),
        key=lambda named: named.rank,  # the first of equals
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """A file's names against ours, in one layout."""

    layout: Layout
    pairs: Mapping[str, str]
    left_over: tuple[str, ...]
    unused: int

    @property
    def rank(self) -> tuple[int, int]:
        return len(self.pairs), -len(self.left_over)


def _prefixes(stripped: str) -> Iterator[str]:
    """Yield ends of what was stripped: some of it may be of the names themselves.

    Examples
    --------
    >>> list(_prefixes("module.model."))
    ['', 'model.', 'module.model.']
    """
    parts = stripped.split(".")[:-1]
    for at in range(len(parts), -1, -1):
        yield "".join(f"{part}." for part in parts[at:])


def _named(
    layout: Layout,
    prefix: str,
    encoder: Mapping[str, Tensor],
    heads: tuple[str, ...],
    file: WeightsFile,
) -> _Named:
    """Pair our names with the file's, as far as a layout knows them."""
    theirs = {prefix + name: name for name in file.tensors}
    pairs: dict[str, str] = {}
    claimed: set[str] = set()
    for name in encoder:
        if name.startswith(layout.fresh):
            continue
        # Ours first: it is whole where theirs is what another class takes of it.
        asked = (OURS + name, layout.theirs(name))
        found = [theirs[each] for each in asked if each in theirs]
        if found:
            pairs[name] = found[0]
            claimed.update(found)
    idle = (
        *layout.unused,
        *filter(None, (layout.theirs(start) for start in (*layout.fresh, *heads))),
        *(OURS + start for start in (*heads, "head.")),
    )
    rest = [full for full, name in theirs.items() if name not in claimed]
    left_over = tuple(name for name in rest if not name.startswith(idle))
    return _Named(
        layout=layout,
        pairs=pairs,
        left_over=left_over,
        unused=len(rest) - len(left_over),
    )


def _matched(
    spec: ModelSpec,
    encoder: Mapping[str, Tensor],
    named: _Named,
    file: WeightsFile,
    channels: Channels,
) -> Match:
    """Bring what is named to our shapes and precision, and report the rest."""
    state: dict[str, Tensor] = {}
    reshaped, missing, fresh = [], [], []
    n_cast = n_misfits = 0
    for name, ours in encoder.items():
        if name.startswith(named.layout.fresh):
            fresh.append(name)
            continue
        if name not in named.pairs:
            missing.append(name)
            continue
        theirs = file.tensors[named.pairs[name]]
        cast = _cast(name, theirs, ours, file)
        fitted = _fitted(spec, name, cast, ours, channels)
        if fitted is None:
            n_misfits += 1
            missing.append(f"{name}: {_size(theirs)} does not fit {_size(ours)}")
            continue
        state[name] = fitted.tensor
        if fitted.how:
            sizes = f"{_size(theirs)} to {_size(ours)}"
            reshaped.append(f"{name}: {sizes}, {fitted.how}")
        n_cast += theirs.dtype != ours.dtype
    report = LoadReport(
        file=file.path.name,
        sha256=file.sha256,
        layout=named.layout.name,
        container=file.container,
        n_encoder=len(encoder),
        matched=len(state) - len(reshaped),
        reshaped=tuple(reshaped),
        missing=tuple(missing),
        left_over=named.left_over,
        unused=named.unused,
        fresh=tuple(fresh),
        cast=n_cast,
    )
    return Match(report=report, state=state, n_misfits=n_misfits)


def _cast(name: str, theirs: Tensor, ours: Tensor, file: WeightsFile) -> Tensor:
    """Return a tensor in our precision; never another kind of number."""
    if theirs.dtype == ours.dtype:
        return theirs.clone()  # independent of the file's, which others may take
    cast = theirs.to(ours.dtype)
    is_alike = (
        theirs.is_floating_point() == ours.is_floating_point()
        and theirs.is_complex() == ours.is_complex()
    )
    # A precision may be lost in casting, a count or a range may not.
    kept = bool(torch.isfinite(cast).all()) and (
        ours.is_floating_point()
        or ours.is_complex()
        or torch.equal(cast.to(theirs.dtype), theirs)
    )
    if is_alike and kept:
        return cast
    raise WeightsError(
        f"{file.path}: '{name}' holds {theirs.dtype}, which the model's {ours.dtype} "
        f"cannot stand for. Save it as the model has it."
    )


def _fitted(
    spec: ModelSpec, name: str, theirs: Tensor, ours: Tensor, channels: Channels
) -> Reshaped | None:
    """Return a tensor in our shape, or None if it would lose its meaning there."""
    is_by_channel = name in spec.weights.by_channel
    if theirs.shape == ours.shape and not is_by_channel:
        return Reshaped(tensor=theirs, how="")
    if spec.weights.reshape is None or theirs.ndim != ours.ndim:
        return None
    found = spec.weights.reshape(name, theirs, ours.detach().cpu(), channels)
    if found is not None and (
        found.tensor.shape != ours.shape or found.tensor.dtype != ours.dtype
    ):
        raise WeightsError(
            f"{spec.name} reshapes '{name}' to {_size(found.tensor)} "
            f"{found.tensor.dtype}; its own is {_size(ours)} {ours.dtype}. This is a "
            f"defect of the model's file: report it."
        )
    return found


def _size(tensor: Any) -> str:
    return str(tuple(tensor.shape))
