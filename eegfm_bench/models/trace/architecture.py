"""Table 6: Trace's architecture, every value with how it is known.

From: ``config`` and ``cost``. To: ``eegfm-bench table 6``. Imports no torch.
"""

from __future__ import annotations

from typing import Any

from eegfm_bench.models.trace.config import (
    FORECAST,
    TAGS,
    ForecastConfig,
    TraceConfig,
    config_at,
)
from eegfm_bench.models.trace.cost import (
    matched_dense_width,
    parameters,
    total_operations,
)

COLUMNS = ("field", "paper", "small", "known", "why")
# Where operations are stated: CHB-MIT's windows.
N_CHANNELS, N_PATCHES = 16, 10
# What is no number: the shape of the parts, and how they start, where the text
# leaves it open.
SHAPE = (
    ("time branch", "N:CBraMod", "Conv, GroupNorm (eps 1e-5), SiLU (T), Linear"),
    ("spectral branch", "C", "log(1 + amplitude) (T), then weights that start at 1"),
    ("channel positions", "C", "depth-wise (T), added, no bias; start: sd 1/sqrt(k)"),
    ("attention", "T", "two branches with projections of their own, then W_O"),
    ("rotary pairs", "C", "feature i turns with i + half a head; RoPE itself: T"),
    ("TemporalFormer", "C", "keys and values alone are projected; queries start: sd 1"),
    ("experts", "C", "SwiGLU without bias; SiLU: T"),
    ("router", "N:DeepSeekMoE", "softmax, then the K largest; no bias"),
    ("block", "T", "norm before each part, residual, a last RMSNorm; no dropout (C)"),
    ("pooled head", "C", "mean over patches, BatchNorm, one hidden layer, ELU"),
)


def architecture() -> dict[str, Any]:
    """Return the table as plain data.

    Returns
    -------
    table : dict
        ``title``, ``columns``, ``rows`` (lists of text) and ``notes``.
    """
    paper, small = config_at("paper"), config_at("small")
    rows = [
        [name, _text(paper, name), _text(small, name), known.tag, known.why]
        for name, known in TraceConfig.known().items()
    ]
    rows += [
        [name, *[_plain(getattr(FORECAST, name))] * 2, known.tag, known.why]
        for name, known in ForecastConfig.known().items()
    ]
    rows += [
        ["spectral bins", str(paper.bins), str(small.bins), "I", "patch_len // 2 + 1"],
        [
            *("positions of a patch", str(paper.positions), str(small.positions), "I"),
            "(patch_len - 1) // stride + 1, odd kernels padded by half",
        ],
    ]
    rows += [[name, "", "", tag, why] for name, tag, why in SHAPE]
    rows += [_counted("weights of the encoder", "total"), _counted("active", "active")]
    rows.append(
        [
            f"operations, {N_CHANNELS} channels x {N_PATCHES} patches",
            *(
                _giga(total_operations(c, N_CHANNELS, N_PATCHES))
                for c in (paper, small)
            ),
            "I",
            "one forward pass; a multiplication and an addition count as two",
        ]
    )
    rows.append(
        [
            "dense width of equal operations",
            *(
                str(matched_dense_width(c, N_CHANNELS, N_PATCHES))
                for c in (paper, small)
            ),
            "I",
            "of the rival without experts, at the same shape",
        ]
    )
    for row in rows:
        row[3] = row[3].replace(",", ", ")  # so that a narrow column can fold it
    return {
        "title": "Table 6: the architecture of Trace",
        "columns": list(COLUMNS),
        "rows": rows,
        "notes": [
            "The paper's own table of these values is not available. known: "
            + "; ".join(f"{tag}: {what}" for tag, what in TAGS.items())
            + ".",
            "Every field of the encoder and head can be changed: --set layers=8, --set "
            "channel_kernels=none.",
            "horizons and huber_delta belong to pre-training; classifiers have none.",
            "Tables 2, 3 and 14 to 19 of the paper vary queries, channel_kernels, "
            "routing, shared_width, patch_len, views, fusion and time_kernels.",
        ],
    }


def _text(config: TraceConfig, name: str) -> str:
    value = getattr(config, name)
    if name == "dense_width" and value is None:
        return "solved"
    return _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _counted(label: str, which: str) -> list[str]:
    named = "weights active for a token" if which == "active" else label
    counts = (parameters(config_at(scale))[which] for scale in ("paper", "small"))
    return [named, *(f"{n:,}" for n in counts), "I", "heads apart"]


def _giga(operations: int) -> str:
    return f"{operations / 1e9:.3g} G"
