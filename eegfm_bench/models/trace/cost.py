"""What Trace costs: weights and operations, counted from its architecture.

From: a TraceConfig and a window's shape. To: ``table 6``, the dense rival's width
and the speed benchmarks. Imports no torch.

An operation is one multiplication or addition, so a product of (M, I) by (I, O)
counts 2 M I O, as torch's own counter does. Norms, activations, softmaxes, rotations
and the Fourier transform are not counted: together they are below one in a hundred.
Scores that the causal mask hides are counted: SDPA's counter does so.
"""

from __future__ import annotations

import dataclasses

from eegfm_bench.models.trace.config import TraceConfig


def operations(config: TraceConfig, n_channels: int, n_patches: int) -> dict[str, int]:
    """Return the operations of one window's forward pass, part by part.

    Parameters
    ----------
    config : TraceConfig
    n_channels, n_patches : int
        C and P of the window.

    Returns
    -------
    operations : dict of part to int
        ``patches``, ``positions``, ``projections`` and ``scores`` of the attention,
        ``history`` (the TemporalFormer), ``select``, ``routed``, ``shared``. Their
        sum is the encoder's; experts count as often as they are active.
    """
    D, C, P, L = config.dim, n_channels, n_patches, config.layers
    tokens = C * P
    views = 0
    if config.views != "spectrum":
        filters = config.filters * len(config.time_kernels)
        taps = max(config.time_kernels)
        views += filters * config.positions * (taps + D)
    if config.views != "time":
        views += config.bins * D
    if config.views == "both" and config.fusion == "gate":
        views += 2 * D * D
    rows_in = 2 * (config.heads + 2 * config.kv_heads) * config.head_dim
    parts = {
        "patches": tokens * views,
        "positions": tokens * D * max(config.channel_kernels, default=0),
        "projections": L * tokens * (rows_in * D + 2 * D * D),
        "scores": L * 2 * D * (P * C * C + C * P * P),
        "history": 0,
        "select": 0,
        "routed": 0,
        "shared": L * tokens * 3 * D * config.shared_width,
    }
    if config.routing == "none":
        parts["shared"] = L * tokens * 3 * D * (config.dense_width or 0)
    else:
        parts["routed"] = L * tokens * config.active * 3 * D * config.expert_width
        blocks = tokens if config.routing == "token" else P
        parts["select"] = L * blocks * D * config.experts
    if config.routing == "trace":
        heads = config.queries * config.query_heads
        per_step = 2 * heads * C * D  # scores and pooling
        per_step += config.queries * D * D + config.queries * P * D  # values, prefix
        per_step += 2 * D * D  # the network after them
        folding = config.queries * D * D
        parts["history"] = L * (P * per_step + folding)
    return {part: 2 * count for part, count in parts.items()}


def total_operations(config: TraceConfig, n_channels: int, n_patches: int) -> int:
    """Return the operations of one window's forward pass through the encoder."""
    return sum(operations(config, n_channels, n_patches).values())


def matched_dense_width(config: TraceConfig, n_channels: int, n_patches: int) -> int:
    """Return the width at which a dense network costs what Trace does.

    For the rival without experts of table 14: same blocks, one SwiGLU of this width
    in place of history, selector, routed and shared experts. The width is a multiple
    of 16 where that is within half a percent: others slow matrix products down by up
    to a fifth, and the rival would look slower than it is.

    Examples
    --------
    >>> matched_dense_width(TraceConfig(), n_channels=16, n_patches=10)
    2096
    """
    trace = dataclasses.replace(config, routing="trace")
    spent = operations(trace, n_channels, n_patches)
    replaced = sum(spent[part] for part in ("history", "select", "routed", "shared"))
    per_unit = 2 * 3 * config.layers * n_channels * n_patches * config.dim
    width = replaced / per_unit
    step = next(step for step in (16, 8, 4, 2, 1) if step <= max(1, width / 100))
    return max(1, step * round(width / step))


def parameters(config: TraceConfig) -> dict[str, int]:
    """Return the encoder's weights: ``total``, and ``active`` for any one token."""
    D = config.dim
    filters = config.filters * len(config.time_kernels)
    both = 0
    if config.views != "spectrum":
        both += config.filters * (sum(config.time_kernels) + len(config.time_kernels))
        both += 2 * filters + filters * config.positions * D + D
    if config.views != "time":
        both += config.bins + config.bins * D + D
    if config.views == "both" and config.fusion == "gate":
        both += 2 * D * D + D
    both += D * sum(config.channel_kernels) + D  # positions, and the last norm
    rows_in = 2 * (config.heads + 2 * config.kv_heads) * config.head_dim
    layer = rows_in * D + 2 * D * D + 2 * D
    expert = 3 * D * config.expert_width
    if config.routing == "none":
        layer += 3 * D * (config.dense_width or 0)
        routed = active = 0
    else:
        layer += D * config.experts + 3 * D * config.shared_width
        routed, active = config.experts * expert, config.active * expert
    if config.routing == "trace":
        layer += 2 * D * D + 2 * (D * D + D)
        queries = config.queries * D
        both += queries if config.share_queries else config.layers * queries
    return {
        "total": both + config.layers * (layer + routed),
        "active": both + config.layers * (layer + active),
    }
