"""LaBraM: a Transformer over one-second patches of every channel.

From: batch (B, C, T) in µV at 200 Hz. To: logits (B, K).

Paper: Jiang, Zhao, Lu 2024, Large Brain Model for Learning Generic Representations
with Tremendous EEG Data in BCI, ICLR, openreview QzTpTRVtrP. Code:
github.com/935963004/LaBraM, commit c431221, and braindecode,
``braindecode.models.Labram``, whose layers these are. Licence: MIT, BSD-3-Clause.

A second of a channel goes through three convolutions and is a token; each token has
its electrode's position and its second added. A class token stands before them. All
tokens attend to each other in every layer. Features are the mean over the patches,
normalised; the head is one linear layer.

Letters: B windows, C channels, T time points, P patches, L time points of a patch, S
tokens (the class token and C P patches), D width of a token (and of features), F
filters, N attention heads, E
width of a head's keys, K classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eegfm_bench.errors import SpecError
from eegfm_bench.models._braindecode import braindecode_models
from eegfm_bench.models._labram_weights import labram_weights
from eegfm_bench.models._options import (
    checked_options,
    flag,
    or_none,
    positive,
    share,
    whole,
)
from eegfm_bench.models._spec import InputShape, Size, model
from eegfm_bench.runs.spec import TrainingRecipe

RATE_HZ = 200.0
SCALE_UV = 100.0

# Patches that the published model has an embedding of time for.
N_SECONDS = 16

# The 10-20 system's old names of four electrodes; the published list has pairs of
# electrodes by their new names alone.
NEW_NAMES = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}

# Deviation of the random start, as published.
START = 0.02

DIFFERENCES = (
    "A channel that the published list of electrodes lacks, and a second one of the "
    "same name, has a learned position of its own, after the 128 published ones; a "
    "pair of electrodes it lacks has the position of its first electrode. The source "
    "fails on such names, and here none may be dropped. No two channels of a set "
    "share a position: positions() lists who has which.",
    "The source lists sixteen pairs of electrodes and has positions for the first "
    "eight; the others count as unknown pairs.",
    "Windows longer than 16 patches have an embedding for each further second, "
    "started at random like the first 16. The source has 16 and cannot take more.",
    "Two classes have two logits, not one: every model's loss here is the cross-"
    "entropy.",
    "Embeddings of time and position and the class token decay with the matrices; the "
    "source leaves them out, by name.",
    "Attention is computed without storing its weights: the same function.",
    "The small scale has 4 filters, one layer of one head and no dropped paths; its "
    "classifier sees the mean of each filter over time, of every channel, after batch "
    "norm: a budget of 4 ms a window, and some forty steps, in which attention does "
    "not learn where to listen.",
)


@dataclass(frozen=True, slots=True)
class Position:
    """The row of a channel in the table of positions, and why.

    Row 0 is the class token's, rows 1 to 128 the published electrodes', and what
    follows belongs to channels without one.
    """

    channel: str
    row: int
    why: str


def positions(channels: Sequence[str]) -> list[Position]:
    """Give every channel a position in the published table, or one of its own.

    Names count without regard to case. A channel of the list has its own row. A pair
    is looked up by the new names of its electrodes as well; a pair without a row has
    its first electrode's, if no other channel has that one.

    Parameters
    ----------
    channels : sequence of str
        In the order of the signal's rows.

    Returns
    -------
    positions : list of Position
        In the same order; no row occurs twice.

    Examples
    --------
    >>> [(p.row, p.why) for p in positions(["F3", "F3-A2", "O1-A2"])][1:]
    [(130, "learned anew: F3's is taken"), (81, 'of its first electrode, O1')]
    >>> [p.why for p in positions(["Fp1-F7", "F7-T3", "E1"])][1:]
    ['of F7-T7', 'learned anew: not in the published list']
    """
    published = {name: row + 1 for row, name in enumerate(electrodes())}
    found: dict[int, Position] = {}
    taken: dict[int, int] = {}
    spoken_for: dict[int, str] = {}
    # All exact names first: no pair may take what belongs to an electrode.
    for spelling in (_as_is, _by_new_names, _first_electrode):
        for at, channel in enumerate(channels):
            name, why = spelling(channel.strip().upper())
            row = published.get(name)
            if at in found or row is None:
                continue
            if row in taken:
                spoken_for[at] = name
                continue
            taken[row] = at
            found[at] = Position(channel, row, why)
    for at, channel in enumerate(channels):
        if at not in found:
            why = (
                f"{spoken_for[at]}'s is taken"
                if at in spoken_for
                else "not in the published list"
            )
            row = len(published) + 1 + at
            found[at] = Position(channel, row, f"learned anew: {why}")
    return [found[at] for at in range(len(channels))]


def _as_is(name: str) -> tuple[str, str]:
    return name, "its own"


def _by_new_names(name: str) -> tuple[str, str]:
    renamed = "-".join(NEW_NAMES.get(part, part) for part in name.split("-"))
    return (renamed if "-" in name else ""), f"of {renamed}"


def _first_electrode(name: str) -> tuple[str, str]:
    first, dash, _ = name.partition("-")
    return (first if dash else ""), f"of its first electrode, {first}"


def electrodes() -> list[str]:
    """Return the 128 published names, in capitals, in the order of the table."""
    return [name.upper() for name in braindecode_models().labram.LABRAM_CHANNEL_ORDER]


class LaBraM(nn.Module):
    """braindecode's layers under the published names, with tables for any channels.

    Parameters
    ----------
    shape : InputShape
        T is a multiple of ``patch_size``.
    patch_size : int
        Time points of a patch, L.
    conv_out_channels : int
        Filters of the three convolutions; they decide the width of a token.
    num_layers, num_heads : int
        Of the Transformer.
    attn_head_dim : int or None
        Width of a head's queries, keys and values; None shares a token's width.
    mlp_ratio : float
        Hidden units of a layer, in widths of a token.
    drop_prob, attn_drop_prob : float
        Dropout of tokens and of attention weights.
    drop_path_prob : float
        How often the last layer is left out; the first never is, the others between.
    init_values : float
        Start of the factors that each layer's contribution is multiplied by.
    init_scale : float
        Factor of the head's random start.
    has_pooled_head : bool
        Whether the head sees, of every channel, the mean of each filter over time,
        instead of the mean over channels and patches.

    Attributes
    ----------
    channels : tuple of str
        Their names, by which they have positions.
    rows_C : tensor
        The row of every channel in ``pos_embed``.
    """

    rows_C: Tensor

    def __init__(
        self,
        shape: InputShape,
        *,
        patch_size: int,
        conv_out_channels: int,
        num_layers: int,
        num_heads: int,
        attn_head_dim: int | None,
        mlp_ratio: float,
        drop_prob: float,
        attn_drop_prob: float,
        drop_path_prob: float,
        init_values: float,
        init_scale: float,
        has_pooled_head: bool,
    ) -> None:
        super().__init__()
        with warnings.catch_warnings():
            # braindecode asks for names in its own order; positions() sees to that.
            warnings.filterwarnings("ignore", "Labram chs_info does not match")
            net = braindecode_models().Labram(
                n_chans=shape.n_channels,
                n_outputs=shape.n_classes,
                n_times=shape.n_times,
                patch_size=patch_size,
                conv_out_channels=conv_out_channels,
                num_layers=num_layers,
                num_heads=num_heads,
                attn_head_dim=attn_head_dim,
                mlp_ratio=mlp_ratio,
                drop_prob=drop_prob,
                attn_drop_prob=attn_drop_prob,
                drop_path_prob=drop_path_prob,
                init_values=init_values,
                use_mean_pooling=True,
                init_scale=init_scale,
            )
        self.channels = shape.channels
        self.patch_size = patch_size
        self.patch_embed = net.patch_embed.temporal_conv
        self.cls_token = net.cls_token
        width = net.embed_dim
        n_known = net.position_embedding.shape[1]
        # A row more for every channel, used or not: names do not decide the size.
        self.pos_embed = _table(n_known + shape.n_channels, width)
        n_patches = shape.n_times // patch_size
        self.time_embed = _table(max(N_SECONDS, n_patches), width)
        self.pos_drop = net.pos_drop
        self.blocks = net.blocks
        self.fc_norm = _OverTime(conv_out_channels) if has_pooled_head else net.fc_norm
        self.head = net.final_layer
        if has_pooled_head:
            n_features = shape.n_channels * conv_out_channels
            self.head = nn.Sequential(
                nn.BatchNorm1d(n_features), nn.Linear(n_features, shape.n_classes)
            )
        rows = [position.row for position in positions(shape.channels)]
        self.register_buffer("rows_C", torch.tensor(rows), persistent=False)

    @property
    def n_layers(self) -> int:
        """The layers of the Transformer, and what makes the tokens."""
        return len(self.blocks) + 1

    def layer_of(self, name: str) -> int:
        """Return a parameter's layer, by the source's rule.

        What makes the tokens is layer 0. The embedding of time and the last norm are
        not named there and learn as fast as the head: none is above them.
        """
        first, _, rest = name.partition(".")
        if first == "blocks":
            return int(rest.partition(".")[0]) + 1
        return self.n_layers if first in ("time_embed", "fc_norm") else 0

    def tokens(self, x_BCT: Tensor) -> Tensor:
        """Return what the encoder gives (B, C, P, D), of windows (B, C, T) in µV.

        The class token is not among them.
        """
        x_BCPL = (x_BCT / SCALE_UV).unflatten(-1, (-1, self.patch_size))
        n_channels, n_patches = x_BCPL.shape[1:3]
        patches_BCPD = self.patch_embed(x_BCPL).unflatten(1, (n_channels, n_patches))
        place_CD, time_PD = self.pos_embed[0, self.rows_C], self.time_embed[0]
        patches_BCPD = patches_BCPD + (place_CD[:, None] + time_PD[:n_patches])
        first_BSD = (self.cls_token + self.pos_embed[:, :1]).expand(len(x_BCT), -1, -1)
        tokens_BSD = torch.cat((first_BSD, patches_BCPD.flatten(1, 2)), dim=1)
        tokens_BSD = self.pos_drop(tokens_BSD)
        for block in self.blocks:
            tokens_BSD = _layer(block, tokens_BSD)
        return tokens_BSD[:, 1:].unflatten(1, (n_channels, n_patches))

    def pooled(self, x_BCT: Tensor) -> Tensor:
        """Return each channel's mean token (B, C D), of windows (B, C, T) in µV.

        Before the last norm: it is made for the mean over all channels, and where
        weights are loaded it starts anew, so that nothing pre-trained is lost.
        """
        return self.tokens(x_BCT).mean(2).flatten(1)

    def features(self, x_BCT: Tensor) -> Tensor:
        """Return the mean over patches (B, D), normalised, of windows in µV.

        With a pooled head, D counts every channel's filters.
        """
        patches_BCPD = self.tokens(x_BCT)
        mean_dims = 2 if isinstance(self.fc_norm, _OverTime) else (1, 2)
        features_BD: Tensor = self.fc_norm(patches_BCPD.mean(mean_dims))
        return features_BD

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return logits (B, K) of windows (B, C, T) in µV."""
        logits_BK: Tensor = self.head(self.features(x_BCT))
        return logits_BK


class _OverTime(nn.Module):
    """The mean of each filter over a patch's time: (B, C, D) to (B, C F)."""

    def __init__(self, n_filters: int) -> None:
        super().__init__()
        self.n_filters = n_filters

    def forward(self, tokens_BCD: Tensor) -> Tensor:
        """Return features of every channel's mean token."""
        return tokens_BCD.unflatten(-1, (-1, self.n_filters)).mean(2).flatten(1)


def _table(n_rows: int, width: int) -> nn.Parameter:
    """Return embeddings (1, rows, D) at their random start."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, n_rows, width), std=START))


def _layer(block: Any, tokens_BSD: Tensor) -> Tensor:
    """Pass tokens (B, S, D) through a layer of braindecode's."""
    attention = block.attn
    qkv = attention.qkv(block.norm1(tokens_BSD)).unflatten(
        -1, (3, attention.num_heads, -1)
    )
    q_BNSE, k_BNSE, v_BNSE = qkv.permute(2, 0, 3, 1, 4)
    # Norms give float32 where the rest is in bfloat16.
    mixed_BNSE = F.scaled_dot_product_attention(
        attention.q_norm(q_BNSE).type_as(v_BNSE),
        attention.k_norm(k_BNSE).type_as(v_BNSE),
        v_BNSE,
        dropout_p=attention.attn_drop.p if attention.training else 0.0,
        scale=attention.scale,
    )
    heard_BSD = attention.proj_drop(
        attention.proj(mixed_BNSE.transpose(1, 2).flatten(2))
    )
    tokens_BSD = tokens_BSD + block.drop_path(block.gamma_1 * heard_BSD)
    thought_BSD = block.mlp(block.norm2(tokens_BSD))
    return tokens_BSD + block.drop_path(block.gamma_2 * thought_BSD)


def _width(options: Mapping[str, Any]) -> int:
    """Return a token's width: the first convolution takes every eighth time point."""
    steps: int = (options["patch_size"] - 1) // 8 + 1
    return steps * int(options["conv_out_channels"])


RULES = {
    "attn_head_dim": or_none(whole()),
    "mlp_ratio": positive(),
    "drop_prob": share(),
    "attn_drop_prob": share(),
    "drop_path_prob": share(),
    "init_values": positive(),
    "init_scale": positive(),
    "has_pooled_head": flag(),
}


def _checked(options: Mapping[str, Any], scale: str) -> dict[str, Any]:
    """Return all options, or refuse one that no shape could be served with."""
    chosen = checked_options("labram", options, RULES)
    filters, heads = chosen["conv_out_channels"], chosen["num_heads"]
    if filters % 4:
        raise SpecError(
            f"conv_out_channels of labram is {filters}; expected a multiple of 4: its "
            f"norms are over 4 groups of filters."
        )
    width = _width(chosen)
    if chosen["attn_head_dim"] is None and width % heads:
        raise SpecError(
            f"labram: tokens of width {width} (patch_size / 8, rounded up, times "
            f"conv_out_channels) cannot be shared among {heads} heads (num_heads). "
            f"Choose a number that divides, or an attn_head_dim."
        )
    if chosen["mlp_ratio"] * width < 1:
        raise SpecError(
            f"mlp_ratio of labram is {chosen['mlp_ratio']!r}: no hidden unit is left "
            f"of tokens of width {width}. Choose a larger one."
        )
    return chosen


def _unserved(shape: InputShape) -> str | None:
    """Say why a rate cannot be served."""
    if shape.rate_hz != RATE_HZ:
        return f"its windows come at {shape.rate_hz:g} Hz; LaBraM listens at 200 Hz"
    return None


@model(
    title="LaBraM",
    trained_by="gradient",
    recipes={
        # Sources and what is not followed: benchmarks/recipes/labram.yaml.
        "paper": TrainingRecipe(
            epochs=50,
            batch_size=64,
            lr=5e-4,
            weight_decay=0.05,
            decays="matrices",
            layer_decay=0.65,
            warmup_epochs=5,
            label_smoothing=0.1,
        ),
        # On the simulated twins at lr 5e-3, 1e-2, 2e-2, means of 5 seeds in validation:
        # AUROC 0.73, 0.69, 0.63 on eegmat, 1.00, 1.00, 0.98 on eyes; macro AUROC 0.81,
        # 0.78, 0.71 on physionet_mi.
        "small": TrainingRecipe(epochs=2, batch_size=8, lr=5e-3, weight_decay=0.05),
    },
    small_options={
        "conv_out_channels": 4,
        "num_layers": 1,
        "num_heads": 1,
        "attn_head_dim": 16,
        "mlp_ratio": 0.5,
        "drop_path_prob": 0.0,
        "init_values": 1.0,
        "has_pooled_head": True,
    },
    head_options=("init_scale",),
    reference="Jiang, Zhao, Lu 2024, Large Brain Model, ICLR",
    licence="MIT; the layers, of braindecode, BSD-3-Clause",
    code="https://github.com/935963004/LaBraM",
    rate_hz=RATE_HZ,
    input_scale="divided by 100 µV",
    channel_use=(
        "by their names: positions of 128 electrodes and pairs; one of its own for "
        "any other channel"
    ),
    differences=DIFFERENCES,
    sizes={
        "paper": Size(encoder=5_823_136, head=402, flops=2_107_594_400),
        "small": Size(encoder=33_706, head=258, flops=8_188_000),
    },
    check=_checked,
    skip=_unserved,
    weights=labram_weights(positions),
)
def labram(
    shape: InputShape,
    *,
    scale: str,
    patch_size: int = 200,
    conv_out_channels: int = 8,
    num_layers: int = 12,
    num_heads: int = 10,
    attn_head_dim: int | None = None,
    mlp_ratio: float = 4.0,
    drop_prob: float = 0.0,
    attn_drop_prob: float = 0.0,
    drop_path_prob: float = 0.1,
    init_values: float = 0.1,
    init_scale: float = 0.001,
    has_pooled_head: bool = False,
) -> LaBraM:
    """LaBraM-Base: twelve layers of width 200, ten heads."""
    rest = shape.n_times % patch_size
    if rest or not shape.n_times:
        raise SpecError(
            f"labram cannot serve this shape: {shape.n_times} time points do not "
            f"divide into patches of {patch_size} (patch_size). Choose windows of "
            f"whole patches."
        )
    return LaBraM(
        shape,
        patch_size=patch_size,
        conv_out_channels=conv_out_channels,
        num_layers=num_layers,
        num_heads=num_heads,
        attn_head_dim=attn_head_dim,
        mlp_ratio=mlp_ratio,
        drop_prob=drop_prob,
        attn_drop_prob=attn_drop_prob,
        drop_path_prob=drop_path_prob,
        init_values=init_values,
        init_scale=init_scale,
        has_pooled_head=has_pooled_head,
    )
