"""What one window costs a trained model: operations and time of a forward pass.

From: the tested model and a window of the training part, after testing. To: the
record's ``cost``. Nothing here moves a score: it comes last, in evaluation mode, draws
no random number that anybody sees, and takes at most a small share of the run.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from eegfm_bench.models._size import operations_of
from eegfm_bench.models._spec import InputShape
from eegfm_bench.runs.record import Cost
from eegfm_bench.runs.spec import RunSpec, canonical_json

# Passes whose times have a median, at most; and the time that they may take: a share of
# the run's, within bounds. One pass is timed at least.
N_PASSES = 20
SHARE, LEAST_S, MOST_S = 0.02, 0.03, 0.3

_counted: dict[Hashable, int | str] = {}


def measured(
    cost: Cost, spec: RunSpec, model: Any, some_x: Tensor, shape: InputShape
) -> Cost:
    """Add operations and time of a forward pass to a run's cost.

    Parameters
    ----------
    cost : Cost
        Of the run, complete but for these.
    spec : RunSpec
    model : nn.Module
        At its tested state; left in evaluation mode.
    some_x : tensor (B, C, T) or (B, S, C, T)
        Windows in µV, on the model's device; the first, or the first sequence, is used.
    shape : InputShape
        What the model was built for.

    Returns
    -------
    cost : Cost
        What could not be taken is None, with its reason in ``not_taken``.
    """
    model.eval()
    x = some_x[:1]
    not_taken = {}
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        flops = _operations(spec, model, x, shape)
        latency_ms = _latency_ms(
            model,
            x,
            is_bf16=getattr(spec.recipe, "precision", "32") == "bf16",
            budget_s=min(max(SHARE * cost.total_s, LEAST_S), MOST_S),
        )
    if isinstance(flops, str):
        not_taken["flops_per_window"] = flops
    if isinstance(latency_ms, str):
        not_taken["latency_ms"] = latency_ms
    return cost.model_copy(
        update={
            "flops_per_window": None if isinstance(flops, str) else flops,
            "latency_ms": None if isinstance(latency_ms, str) else latency_ms,
            "not_taken": not_taken,
        }
    )


def _operations(spec: RunSpec, model: Any, x: Tensor, shape: InputShape) -> int | str:
    """Count once for all seeds of a model: nothing else than these changes it."""
    options = canonical_json(spec.options)
    key = (spec.model, spec.model_version, spec.code, options, spec.scale)
    whole = (*key, spec.adapt == "probe", shape)
    if whole not in _counted:
        _counted[whole] = _count(model, x)
    return _counted[whole]


def _count(model: Any, x: Tensor) -> int | str:
    n_windows = x.shape[1] if x.ndim == 4 else 1
    try:
        n = operations_of(model, x)
    except Exception as error:  # of classes of others; a count is not worth a run
        return f"the forward pass cannot be counted: {type(error).__name__}: {error}"
    if n == 0 and any(p.requires_grad for p in model.parameters()):
        return "none of its operations is of a kind that is counted"
    return n // n_windows


def _latency_ms(
    model: Any, x: Tensor, *, is_bf16: bool, budget_s: float
) -> float | str:
    """Return the median time of a pass, after one to warm up."""
    times_s: list[float] = []
    began = time.perf_counter()
    try:
        with (
            torch.inference_mode(),
            torch.autocast(x.device.type, torch.bfloat16, enabled=is_bf16),
        ):
            _pass_s(model, x)
            while not times_s or (
                len(times_s) < N_PASSES and time.perf_counter() - began < budget_s
            ):
                times_s.append(_pass_s(model, x))
    except Exception as error:  # some classes of others take no single window
        return f"no pass of one window: {type(error).__name__}: {error}"
    return 1000 * statistics.median(times_s)


def _pass_s(model: Any, x: Tensor) -> float:
    began = time.perf_counter()
    model(x)
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - began
