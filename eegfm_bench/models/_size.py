"""How large a built model is, counted: what a spec declares as its ``sizes``.

From: a ModelSpec and a scale. To: a Size, for tests, benchmarks, and whoever adds a
model.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from eegfm_bench.models._spec import InputShape, ModelSpec, Size

# What sizes are declared for: 16 channels, 10 s at 200 Hz, two classes.
DECLARED_FOR = InputShape(
    channels=tuple(f"E{c + 1}" for c in range(16)),
    n_times=2000,
    rate_hz=200.0,
    n_classes=2,
)


def counted(known: ModelSpec, scale: str) -> Size:
    """Build a model for the shape that sizes are declared for, and count.

    Examples
    --------
    >>> from eegfm_bench.models._spec import find_model
    >>> counted(find_model("bandpower"), "paper")
    Size(encoder=0, head=162, flops=160480)
    """
    return size_of(known.build(DECLARED_FOR, scale=scale), DECLARED_FOR)


def size_of(model: Any, shape: InputShape) -> Size:
    """Count weights, and operations of one window's forward pass.

    Parameters
    ----------
    model : nn.Module
        Built for the shape.
    shape : InputShape

    Returns
    -------
    size : Size
        Products, convolutions and attention are counted; not norms, activations,
        softmax, additions, Fourier transforms or eigenvalues.
    """
    device = next(iter([*model.parameters(), *model.buffers()]), torch.empty(0)).device
    x = torch.zeros(1, shape.n_channels, shape.n_times, device=device)
    head = _n_weights(model.head)
    return Size(
        encoder=_n_weights(model) - head, head=head, flops=operations_of(model, x)
    )


def operations_of(model: Any, x: Tensor) -> int:
    """Count additions and multiplications of one forward pass, in evaluation mode.

    Parameters
    ----------
    model : nn.Module
        Its mode is left as it was.
    x : tensor
        As the model takes it.

    Returns
    -------
    n : int
        Of what ``size_of`` counts.
    """
    aten = torch.ops.aten
    mapping = {
        aten._grouped_mm: _grouped_flops,
        aten.mkldnn_rnn_layer: _recurrent_flops,
    }
    counter = FlopCounterMode(display=False, custom_mapping=mapping)
    was_training = model.training
    was_fused = torch.backends.mha.get_fastpath_enabled()
    # With gradients, and never fused for want of them: layers and attention in one
    # kernel cannot be counted.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            model.eval()(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fused)
        model.train(was_training)
    return int(counter.get_total_flops())


def _n_weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _grouped_flops(rows: Any, weights: Any, *_: Any, **__: Any) -> int:
    """Count a grouped product of rows (S, D), each with one of weights (N, D, E)."""
    n_rows, width = rows
    return int(2 * n_rows * width * weights[-1])


def _recurrent_flops(
    rows: Any, from_input: Any, from_state: Any, *_: Any, **__: Any
) -> int:
    """Count one layer of an LSTM: two products at every step (N, B, D)."""
    n_steps, n_windows, _width = rows
    weights = math.prod(from_input) + math.prod(from_state)
    return 2 * n_steps * n_windows * weights
