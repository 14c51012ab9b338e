"""Modules that others wrote, taken in as they are.

From: a module of braindecode or of a user. To: features (B, D), a head and logits
(B, K) from windows (B, C, T) in µV. What a module does is not read from its source:
it is asked once, with noise, when it is built.

Letters: B windows, C channels, T time points, D features, K classes.
"""

from __future__ import annotations

import inspect
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from eegfm_bench.errors import SpecError
from eegfm_bench.models._spec import InputShape
from eegfm_bench.runs.spec import TrainingRecipe

# Windows of the question, and the deviation of their noise.
N_PROBED = 2
PROBE_UV = 20.0

# What may be the last map, from features to logits.
LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

Call = tuple[nn.Module, tuple[int, ...], Tensor]


class Adapted(nn.Module):
    """A module of others behind the two questions that this suite asks.

    Parameters
    ----------
    net : nn.Module
        Logits from windows divided by ``scale_uv``.
    scale_uv : float
        What counts as 1 for the module, in µV.
    call : mapping
        Keywords that the module's ``forward`` is to be called with.
    has_own_features : bool
        Whether the module's own ``features`` and ``head`` are to be used.

    Attributes
    ----------
    tail : nn.Module or None
        The last trainable layer, where its output is the logits: what enters it
        are the features. None where nothing can be found: logits are the features.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        scale_uv: float = 1.0,
        call: Mapping[str, Any] | None = None,
        has_own_features: bool = False,
    ) -> None:
        super().__init__()
        self.net: Any = net
        self.scale_uv = scale_uv
        self.has_own_features = has_own_features
        self._call = dict(call or {})
        self._tail: str | None = None
        self._entry: tuple[int, ...] = ()

    @property
    def tail(self) -> nn.Module | None:
        """The layer whose input are the features."""
        return None if self._tail is None else self.net.get_submodule(self._tail)

    @property
    def head(self) -> nn.Module:
        """The map from features (B, D) to logits (B, K)."""
        if self.has_own_features:
            return self.net.head
        if self.tail is None:
            return nn.Identity()
        if len(self._entry) == 1:
            return self.tail
        return nn.Sequential(nn.Unflatten(1, self._entry), self.tail, nn.Flatten())

    def replace_head(self, head: nn.Module) -> None:
        """Put another map in the place of the head, if one was found."""
        if self.has_own_features:
            self.net.head = head
        elif self._tail is not None:
            self.net.set_submodule(self._tail, head)

    def features(self, x_BCT: Tensor) -> Tensor:
        """Return features (B, D) of windows (B, C, T) in µV."""
        if self.has_own_features:
            return self.net.features(x_BCT / self.scale_uv)
        if self.tail is None:
            return self(x_BCT)
        entered: list[Tensor] = []
        handle = self.tail.register_forward_pre_hook(
            lambda module, args: entered.append(args[0])
        )
        try:
            self.net(x_BCT / self.scale_uv, **self._call)
        finally:
            handle.remove()
        return entered[0].flatten(1)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return logits (B, K) of windows (B, C, T) in µV."""
        logits: Tensor = self.net(x_BCT / self.scale_uv, **self._call)
        return logits.flatten(1)


def adapt(model: Adapted, shape: InputShape, *, name: str) -> Adapted:
    """Ask a module once whether it gives logits, and which layer is its last.

    Its weights, buffers and modes are as before, and so are the random generators of
    Python, numpy and torch. What its first call makes stays: lazy layers take their
    shape, and a buffer that takes another shape is a cache. Outputs after a log-softmax
    pass for logits: a softmax of them gives the same again.

    Parameters
    ----------
    model : Adapted
        The module to be asked.
    shape : InputShape
    name : str
        The model's key, for messages.

    Returns
    -------
    model : Adapted
        The same, its last layer known.

    Raises
    ------
    SpecError
        If it fails on windows of that shape, if they do not give finite logits
        (B, K), or if its own head and features do not make its logits.
    """
    noise = torch.Generator().manual_seed(0)
    x_BCT = PROBE_UV * torch.randn(
        N_PROBED, shape.n_channels, shape.n_times, generator=noise
    )
    with _left_as_it_was(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _recorded(model.net) as calls:
                found = model.net(x_BCT / model.scale_uv, **model._call)
        except (Exception, SystemExit) as error:  # of code that others wrote
            raise SpecError(
                f"{name} cannot serve {_written(shape)}: {first_line(error)}."
            ) from error
        logits_BK = _checked_logits(found, shape, name)
        if model.has_own_features:
            _refuse_unlike_features(model, x_BCT, logits_BK, name)
        else:
            _find_tail(model, calls, logits_BK)
    return model


def simple_options(
    parameters: Iterable[inspect.Parameter], *, taken: Iterable[str]
) -> dict[str, Any]:
    """Return the constructor's keywords that ``--set`` can give, with defaults.

    They are those with a number, a truth value or a text for a default, but for
    the names that are taken and those of the training recipe: ``--set lr=1e-4`` is
    the recipe's, whatever the constructor calls so.

    Examples
    --------
    >>> def build(n_chans, width=8, act=print, *, rate=0.5, lr=0.1): ...
    >>> simple_options(inspect.signature(build).parameters.values(), taken=())
    {'width': 8, 'rate': 0.5}
    """
    refused = {"self", "shape", "scale", *TrainingRecipe.model_fields, *taken}
    return {
        p.name: p.default
        for p in parameters
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and p.name not in refused
        and isinstance(p.default, (bool, int, float, str))
    }


def construct(
    build: Callable[..., Any], arguments: Mapping[str, Any], *, name: str, why: str = ""
) -> nn.Module:
    """Call a constructor that others wrote; refuse in plain words if it fails.

    Raises
    ------
    SpecError
        With the first line of what it said, and ``why``, a hint for what speaks of
        the channels' description.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            built = build(**arguments)
    except (Exception, SystemExit) as error:  # of code that others wrote
        said = first_line(error)
        hint = f" {why}" if why and ("chs_info" in said or "location" in said) else ""
        raise SpecError(f"{name} cannot be built: {said}.{hint}") from error
    if not isinstance(built, nn.Module):
        raise SpecError(
            f"{name} is a {type(built).__name__}; expected a torch.nn.Module."
        )
    return built


def first_line(error: BaseException) -> str:
    """Return an error's kind and first line, without its last full stop."""
    if isinstance(error, SystemExit):
        return f"it tried to end the process (SystemExit: {error.code})"
    lines = str(error).strip().splitlines()
    said = lines[0].strip().rstrip(".") if lines else ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _written(shape: InputShape) -> str:
    return (
        f"{shape.n_channels} channels × {shape.n_times} time points at "
        f"{shape.rate_hz:g} Hz"
    )


@contextmanager
def _left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Evaluate without gradients, then give modes, buffers and generators back.

    Not in inference mode: what a module keeps of its first call must be usable
    in training.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and not is_lazy(buffer)
    ]
    pythons, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    model.eval()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            yield
    finally:
        random.setstate(pythons)
        np.random.set_state(numpys)  # noqa: NPY002
        for module, name, buffer, before in buffers:
            now = module._buffers.get(name)
            if now is not None and now.shape == before.shape:
                module._buffers[name] = buffer
                if not torch.equal(buffer, before):
                    buffer.data.copy_(before)
        for module, was_training in modes:
            module.training = was_training


@contextmanager
def _recorded(net: nn.Module) -> Iterator[list[Call]]:
    """List the calls of linear layers: which, shape (without B) in, tensor out."""
    calls: list[Call] = []

    def keep(module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        entry = args[0] if len(args) == 1 else None
        shape = tuple(entry.shape[1:]) if isinstance(entry, Tensor) else ()
        calls.append((module, shape, out))

    handles = [
        module.register_forward_hook(keep)
        for module in net.modules()
        if isinstance(module, LINEAR)
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _checked_logits(found: Any, shape: InputShape, name: str) -> Tensor:
    """Return logits (B, K), or say what was returned instead."""
    expected = (N_PROBED, shape.n_classes)
    if not isinstance(found, Tensor):
        raise SpecError(
            f"{name} returns a {type(found).__name__}; expected one tensor of logits, "
            f"{expected} for {N_PROBED} windows and {shape.n_classes} classes. Give "
            f"it a forward that returns logits alone."
        )
    given = tuple(found.shape)
    if given[:2] != expected or any(n != 1 for n in given[2:]):
        raise SpecError(
            f"{name} returns {given} for {N_PROBED} windows and {shape.n_classes} "
            f"classes; expected logits {expected}: one number a class for each window."
        )
    logits_BK = found.flatten(1)
    if not torch.isfinite(logits_BK).all():
        raise SpecError(
            f"{name} returns values that are not finite for noise of "
            f"{PROBE_UV:g} µV; expected logits. Look at its start and its divisions."
        )
    totals_B = logits_BK.double().sum(-1)
    if (logits_BK >= 0).all() and ((totals_B - 1).abs() < 1e-5).all():
        raise SpecError(
            f"{name} returns probabilities (each row sums to 1); expected logits, of "
            f"which the loss takes the softmax. Leave its last softmax out."
        )
    return logits_BK


def _find_tail(model: Adapted, calls: list[Call], logits_BK: Tensor) -> None:
    """Take note of the trainable layer, called once, that gave the logits."""
    names = {module: name for name, module in model.net.named_modules()}
    called = [module for module, _, _ in calls]
    for module, entry, out in reversed(calls):
        if (
            entry
            and called.count(module) == 1
            and any(p.requires_grad for p in module.parameters())
            and len(out) == len(logits_BK)
            and torch.equal(out.flatten(1), logits_BK)
        ):
            model._tail, model._entry = names[module], entry
            return


def _refuse_unlike_features(
    model: Adapted, x_BCT: Tensor, logits_BK: Tensor, name: str
) -> None:
    """Hold a user's own ``features`` and ``head`` to what they are for."""
    try:
        features_BD = model.features(x_BCT)
        again_BK = model.head(features_BD)
    except (Exception, SystemExit) as error:  # of code that others wrote
        raise SpecError(
            f"{name}: head(features(x)) fails: {first_line(error)}. Make both work, or "
            f"rename them."
        ) from error
    if features_BD.ndim != 2 or len(features_BD) != len(x_BCT):
        raise SpecError(
            f"{name}: features(x) gives {tuple(features_BD.shape)} for "
            f"{len(x_BCT)} windows; expected one row a window, (B, D)."
        )
    if again_BK.shape != logits_BK.shape or not torch.allclose(
        again_BK, logits_BK, rtol=1e-4, atol=1e-5
    ):
        raise SpecError(
            f"{name}: head(features(x)) is not forward(x). Make it so, or rename "
            f"'features' and 'head'."
        )
