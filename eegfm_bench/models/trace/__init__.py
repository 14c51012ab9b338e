"""Trace: causal EEG forecasting, with experts chosen once for a step's channels.

From: batch (B, C, T) in µV, any channels in any order. To: logits (B, K), or the
hidden states (B, C, P, D) of every channel and second.

Paper: Trace: Temporal Routing with Autoregressive Cross-channel Experts for EEG
Representation Learning, arXiv 2605.11380, 2026. Code and weights: none are public;
this is written from the paper. Licence: as this package.

The road of a window: ``patches`` (a patch becomes a token: equations 1 to 6),
``positions`` (7, 8), then layers (9, 10) of ``attention`` (19 to 21) and ``ffn``
(11, 12, 17), which asks ``history`` (13, 14) and calls on ``experts``; last
``heads``, or ``forecast`` (15, 16) where the encoder is pre-trained. ``config`` holds
every number with the way it is known, ``cost`` counts weights and operations.

Letters: B windows, C channels, T time points, P patches (steps), L time points of a
patch, D width of a token, H attention heads, N experts, K experts active (and, of
logits, classes), Q queries.

What differs from the source is in ``DIFFERENCES``, with its reasons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eegfm_bench.models._spec import InputShape, Size, model
from eegfm_bench.models._weights import Weights
from eegfm_bench.models.trace.config import (
    SMALL,
    TraceConfig,
    checked_options,
    config_at,
)
from eegfm_bench.runs.spec import TrainingRecipe

if TYPE_CHECKING:
    from eegfm_bench.models.trace.network import Trace

DIFFERENCES = (
    "Its tables of architecture and recipes are not available: values are inferred or "
    "chosen, each tagged in 'config' ('eegfm-bench table 6').",
    "Tokens lie step after step inside, (B, P, C, D): blocks of channels then are "
    "whole rows for the experts and both attentions. What is returned is (B, C, P, D).",
    "The TemporalFormer is computed as a prefix softmax with folded keys: the same "
    "numbers, at a cost linear in channels and patches.",
    "The TemporalFormer has keys and values, as the text says, and no projection of "
    "queries or outputs: 57 M weights, where a summary of the paper has 58 M.",
    "The 'small' scale has a head on each channel's mean over the patches, with batch "
    "norm before it. The encoder has none at any scale: it would see other windows.",
    "The loss of classes is this suite's cross-entropy, with smoothing for two classes "
    "as for more, and one learning rate for encoder and head.",
    "Besides the published head there is one for streams ('--set head=causal').",
    "With '--set attention=full', for the masked objective, states look both ways in "
    "time, and all steps of a window meet the same experts.",
)

# None are public. The experts' networks are stacks of weights that no layer owns: LoRA
# leaves them, and what chooses among them, as they are.
WEIGHTS = Weights(
    any_channels=True,
    lora=(
        r"(.*\.)?encoder\.blocks\.\d+\.attention\.project_(in|out)",
        r"(.*\.)?encoder\.blocks\.\d+\.ffn\.shared\.(gate_up|down)",
    ),
)


def _unserved(shape: InputShape) -> str | None:
    """Say why a rate cannot be served."""
    if shape.rate_hz != 200.0:
        return f"its windows come at {shape.rate_hz:g} Hz; Trace listens at 200 Hz"
    return None


@model(
    title="Trace",
    trained_by="gradient",
    recipes={
        "paper": TrainingRecipe(
            # CBraMod's for all datasets; CSBrain has the same epochs, clip and
            # smoothing, and rates of its own. The paper's recipes are not available.
            epochs=50,
            batch_size=64,
            lr=1e-4,
            weight_decay=0.05,
            clip=1.0,
            label_smoothing=0.1,
        ),
        # On the simulated twins at lr 2e-3, 3e-3, 5e-3, 7e-3, means of 5 seeds in
        # validation: balanced accuracy 0.66, 0.75, 0.74, 0.72 on eegmat and 0.84, 0.90,
        # 0.92, 0.79 on eyes; AUROC 0.86, 0.89, 0.87, 0.89 and 0.97, 0.98, 0.98, 0.96.
        "small": TrainingRecipe(
            epochs=2, batch_size=8, lr=3e-3, weight_decay=0.05, clip=1.0
        ),
    },
    options=TraceConfig().options(),
    small_options={k: v for k, v in config_at("small").options().items() if k in SMALL},
    head_options=("head_units", "head_units_alone", "dropout"),
    reference="Trace, arXiv 2605.11380, 2026",
    licence="same as this package",
    code="none is public; written here from the paper",
    rate_hz=200.0,
    input_scale="divided by 100 µV",
    channel_use="by their order, as neighbours of one another; names are not read",
    differences=DIFFERENCES,
    sizes={
        "paper": Size(encoder=56_927_173, head=82_322_602, flops=8_481_142_816),
        "small": Size(encoder=52_061, head=33_986, flops=11_184_384),
    },
    check=checked_options,
    skip=_unserved,
    weights=WEIGHTS,
)
def trace(shape: InputShape, *, scale: str, **options: Any) -> Trace:
    """Twelve layers of width 256; 16 experts of which 4 are active, and a shared one.

    The small scale has one layer of width 32 and a head on pooled features.
    """
    from eegfm_bench.models.trace.network import Trace

    return Trace(shape, config_at(scale, options))


__all__ = ["SMALL", "TraceConfig", "config_at", "trace"]
