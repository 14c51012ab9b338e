"""What Trace is said to cost, against torch's counter and the modules themselves."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from eegfm_bench.models.trace import experts
from eegfm_bench.models.trace.config import TraceConfig, config_at
from eegfm_bench.models.trace.cost import (
    matched_dense_width,
    operations,
    parameters,
    total_operations,
)
from eegfm_bench.models.trace.encoder import TraceEncoder

# No two measures alike, so that none can stand in for another.
TINY = {
    "dim": 24,
    "layers": 2,
    "patch_len": 40,
    "time_kernels": "5,9",
    "stride": 8,
    "filters": 6,
    "norm_groups": 3,
    "channel_kernels": "3,5",
    "heads": 6,
    "kv_heads": 6,
    "experts": 7,
    "active": 3,
    "expert_width": 10,
    "shared_width": 14,
    "dense_width": 22,
    "queries": 5,
    "query_heads": 2,
}
CHANGES: dict[str, dict[str, Any]] = {
    "trace": {},
    "mean": {"routing": "mean"},
    "token": {"routing": "token"},
    "none": {"routing": "none"},
    "no shared expert": {"shared_width": 0},
    "shared queries": {"share_queries": True},
    "fewer key heads": {"kv_heads": 2},
    "time alone": {"views": "time"},
    "spectrum alone": {"views": "spectrum"},
    "a sum of views": {"fusion": "sum"},
    "one kernel": {"time_kernels": 9, "channel_kernels": 3},
    "no positions": {"channel_kernels": "none"},
}
SHAPES = [(16, 10), (64, 4), (6, 30), (19, 30)]


def tiny(change: str) -> TraceConfig:
    return config_at("paper", {**TINY, **CHANGES[change]})


def counts_of(
    config: TraceConfig, n_channels: int, n_patches: int, monkeypatch: Any
) -> dict[str, int]:
    """Return what torch's counter sees in one window's pass, module by module."""
    # The counter knows neither grouped products nor a CPU's fused attention, but
    # the products that both are made of. It counts those that a mask hides.
    monkeypatch.setattr(experts, "_grouped_mm", None)
    encoder = TraceEncoder(config)
    x = torch.randn(1, n_channels, n_patches * config.patch_len)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        encoder(x)
    by_module = counter.get_flop_counts()
    return {name: sum(counts.values()) for name, counts in by_module.items()}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("n_channels", "n_patches"), [(4, 3), (1, 8), (11, 1)])
def test_operations_are_those_torch_counts(
    change: str, n_channels: int, n_patches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(change)
    seen = counts_of(config, n_channels, n_patches, monkeypatch)
    assert total_operations(config, n_channels, n_patches) == seen["Global"]


def test_each_part_is_where_torch_counts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny("trace")
    seen = counts_of(config, 4, 3, monkeypatch)
    said = operations(config, 4, 3)

    def layers(part: str) -> int:
        return sum(seen[f"TraceEncoder.blocks.{i}.{part}"] for i in range(2))

    assert said["patches"] == seen["TraceEncoder.patches"]
    assert said["positions"] == seen["TraceEncoder.positions"]
    assert said["projections"] + said["scores"] == layers("attention")
    assert said["history"] == layers("ffn.history")
    assert said["select"] == layers("ffn.select")
    assert said["routed"] == layers("ffn.experts")
    assert said["shared"] == layers("ffn.shared")


@pytest.mark.parametrize("change", CHANGES)
def test_parameters_are_those_of_the_modules(change: str) -> None:
    config = tiny(change)
    encoder = TraceEncoder(config)
    total = sum(p.numel() for p in encoder.parameters())
    routed = sum(
        p.numel()
        for module in encoder.modules()
        if isinstance(module, experts.Experts)
        for p in module.parameters()
    )
    idle = routed * (config.experts - config.active) // config.experts
    assert parameters(config) == {"total": total, "active": total - idle}


def test_parameters_at_the_published_size() -> None:
    with torch.device("meta"):
        encoder = TraceEncoder(TraceConfig())
    total = sum(p.numel() for p in encoder.parameters())
    assert parameters(TraceConfig())["total"] == total == 56_927_173


@pytest.mark.parametrize(("n_channels", "n_patches"), SHAPES)
@pytest.mark.parametrize("scale", ["paper", "small"])
def test_the_dense_rival_costs_what_trace_does(
    n_channels: int, n_patches: int, scale: str
) -> None:
    config = config_at(scale)
    width = matched_dense_width(config, n_channels, n_patches)
    dense = dataclasses.replace(config, routing="none", dense_width=width)
    theirs = total_operations(dense, n_channels, n_patches)
    ours = total_operations(config, n_channels, n_patches)
    # Two in a hundred are promised; the rounding of the width leaves one in two.
    assert theirs == pytest.approx(ours, rel=0.005)


def test_a_wide_dense_rival_has_a_width_that_products_like() -> None:
    widths = [matched_dense_width(TraceConfig(), *shape) for shape in SHAPES]
    assert [width % 16 for width in widths] == [0, 0, 0, 0]


def test_the_dense_rival_is_matched_to_trace_whatever_the_routing_asked() -> None:
    trace = TraceConfig()
    none = dataclasses.replace(trace, routing="none")
    assert matched_dense_width(none, 6, 30) == matched_dense_width(trace, 6, 30)
    # More history to read in a long window of few channels.
    assert matched_dense_width(none, 6, 30) > matched_dense_width(none, 64, 4)
