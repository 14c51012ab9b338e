"""The gradient of a batch, made of the gradients of its pieces.

From: a model that says how many windows it takes at once, and a batch. To: the batch's
loss, whose gradient is that of the whole batch, for ``LitClassifier``.

What a model keeps for the way back is then kept for one piece at a time. Pieces differ
from the whole by rounding, and by what dropout draws. The large matrices of a head are
an exception: adding up their gradients piece by piece would cost time, so that what
enters and leaves them is kept, and multiplied once.

Letters: B windows, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# Weights of a linear layer of the head from which on its gradient is made once.
LARGE = 1 << 20

Passed = list[tuple[Tensor, Tensor]]  # what entered and what left a layer


def loss_in_pieces(
    model: Any,
    criterion: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    *,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Return the loss of a batch, its gradient already made.

    Parameters
    ----------
    model : nn.Module
        With ``windows_at_once``, ``head``, and logits in which no window hears of
        another.
    criterion : function of (logits, labels)
        A mean over windows, weighted by ``class_weights``.
    x : tensor (B, ...)
    y : tensor (B, ...)
    class_weights : tensor (K,), optional

    Returns
    -------
    loss : scalar tensor
        ``loss.backward()`` hands each trained weight its gradient, once.
    """
    n_pieces = -(-len(x) // model.windows_at_once)
    pieces = list(zip(x.tensor_split(n_pieces), y.tensor_split(n_pieces), strict=True))
    trained = [p for p in model.parameters() if p.requires_grad]
    large = _large_layers(model)
    apart = {id(layer.weight) for layer in large}
    rest = [p for p in trained if id(p) not in apart]
    weight_of = _weight_of(y, class_weights)
    loss = torch.zeros((), device=x.device)
    sums: list[Tensor | None] = []
    passed: dict[int, Passed] = {id(layer.weight): [] for layer in large}
    for x_piece, y_piece in pieces:
        with _watched(large) as seen:
            part = criterion(model(x_piece), y_piece)
            part = part * (_weight_of(y_piece, class_weights) / weight_of)
        left = [out for pairs in seen.values() for _, out in pairs]
        # Outside of autocast, which would round what the way back computes.
        with torch.autocast(x.device.type, enabled=False):
            found = torch.autograd.grad(part, rest + left, allow_unused=True)
        loss += part.detach()
        sums = _added(sums, found[: len(rest)])
        gradients = iter(found[len(rest) :])
        for key, pairs in seen.items():
            for entered, _ in pairs:
                gradient = next(gradients)
                if gradient is not None:
                    passed[key].append((entered, gradient))
        del part, seen, left, found
    of = {id(p): found for p, found in zip(rest, sums, strict=True)}
    with torch.autocast(x.device.type, enabled=False), torch.no_grad():
        for layer in large:
            of[id(layer.weight)] = _product(passed.pop(id(layer.weight)), layer.weight)
    out: Tensor = _Handed.apply(loss, [of.pop(id(p)) for p in trained], *trained)
    return out


def _weight_of(y: Tensor, class_weights: Tensor | None) -> float | Tensor:
    """Return what the labels weigh together."""
    return float(y.numel()) if class_weights is None else class_weights[y].sum()


def _large_layers(model: Any) -> list[nn.Linear]:
    """Return the head's layers with large weights that nothing else shares."""
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    return [
        layer
        for layer in model.head.modules()
        if type(layer) is nn.Linear
        and layer.weight.numel() >= LARGE
        and layer.weight.requires_grad
        and uses[id(layer.weight)] == 1
    ]


@contextmanager
def _watched(layers: list[nn.Linear]) -> Iterator[dict[int, Passed]]:
    """Note what enters and leaves layers, by the identity of their weights."""
    seen: dict[int, Passed] = {id(layer.weight): [] for layer in layers}

    def note(layer: Any, entered: tuple[Tensor, ...], left: Tensor) -> None:
        seen[id(layer.weight)].append((entered[0].detach(), left))

    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _added(
    sums: list[Tensor | None], found: tuple[Tensor | None, ...]
) -> list[Tensor | None]:
    """Add gradients to what there is, in new tensors: autograd may share its own."""
    if not sums:
        return list(found)
    return [
        more if total is None else total if more is None else total + more
        for total, more in zip(sums, found, strict=True)
    ]


def _product(passed: Passed, weight: Tensor) -> Tensor | None:
    """Return a weight's gradient from all that entered, and the gradient of what left.

    It is computed in the type that the layer was.
    """
    if not passed:
        return None
    left = torch.cat([gradient.flatten(0, -2) for _, gradient in passed])
    entered = torch.cat([x.flatten(0, -2) for x, _ in passed]).to(left.dtype)
    return (left.t() @ entered).to(weight.dtype)


class _Handed(torch.autograd.Function):
    """A loss whose gradients are known; they are handed out once."""

    @staticmethod
    def forward(
        ctx: Any, loss: Tensor, gradients: list[Tensor | None], *trained: Tensor
    ) -> Tensor:
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # Given away, not shared, so that they need not be copied.
        gradients, ctx.gradients = ctx.gradients, None
        if grad.item() != 1.0:
            gradients = [None if g is None else g * grad for g in gradients]
        return (None, None, *gradients)
