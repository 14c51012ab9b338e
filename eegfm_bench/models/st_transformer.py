"""ST-Transformer: channels weighed, the signal sliced, attention over the slices.

From: batch (B, C, T) in µV. To: logits (B, K).

Paper: Song, Jia, Yang and Xie 2021, "Transformer-based spatial-temporal feature
learning for EEG decoding", arXiv 2106.11170. Code: github.com/ycq091044/BIOT,
``model/st_transformer.py``, commit d138e32, which the field's tables ran; written here
from the paper and that code's behaviour. Licence: as this package (BIOT's is MIT).

Letters: B windows, C channels, M channels that are attended to, T time points, U time
points after pooling, S slices, D width of a token and features, H attention heads, E
width of a head, K classes.

The road of a window: every channel is divided by a percentile of its own, and what
becomes of its normalised signal across channels is added; two strided convolutions make
a token (D) of every slice, attention tells the tokens of each other, and their mean
goes through ELU to one linear layer. ``DIFFERENCES`` lists what differs from the
sources, and why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from eegfm_bench.errors import SpecError
from eegfm_bench.models._options import (
    checked_options,
    flag,
    positive,
    refuse_uneven,
    share,
)
from eegfm_bench.models._spec import InputShape, Size, model
from eegfm_bench.models._task_baselines import (
    scaled_by_percentile,
    unserved_rate,
)
from eegfm_bench.runs.spec import TrainingRecipe

DIFFERENCES = (
    "As in the source, channels do not attend to each other: BIOT's code, like the "
    "authors' own (github.com/eeyhsong/EEG-Transformer, commit 8c056de), multiplies "
    "each channel by the sum of its attention weights, which is 1. Queries and keys "
    "thus change nothing and learn nothing; they are left out. What remains is one "
    "linear layer across channels. `is_mixing` gives the attention the paper "
    "describes, which no published row had.",
    "As in the source, attention over slices is divided by the root of a token's "
    "width, not of a head's.",
    "Four layers over slices, as BIOT's scripts have it; its class says three.",
    "A percentile below 0.1 µV counts as 0.1 µV, where the source adds 1e-8: a flat "
    "channel with an artefact would be multiplied by 1e8.",
    "Two classes have two logits and cross-entropy, as all models here; the source has "
    "one logit, the same function.",
    "The small scale has fewer filters, one layer over slices, running statistics that "
    "follow faster, and no dropout: a budget of 4 ms a window and two epochs.",
)


class STTransformer(nn.Module):
    """A linear layer across channels, then a transformer over slices of time.

    Parameters
    ----------
    shape : InputShape
    percentile : float
        Of its absolute values, by which a channel is divided.
    is_mixing : bool
        Whether channels attend to each other, as in the paper.
    pool : int
        Time points that are averaged before channels are compared.
    mixing_drop_prob, spatial_drop_prob : float
        Dropout after the linear layer across channels, and before it is added.
    n_filters, width : int
        Filters of the two convolutions; the second's are a token's width.
    kernel, stride : int
        Taps of both, and from one of their outputs to the next.
    norm_momentum : float
        Weight of the newest batch in running statistics.
    slope : float
        Of what is negative between them.
    n_blocks, n_heads, ff_factor : int
        Of the transformer; its feed-forward layers are ``ff_factor`` times as wide.
    drop_prob : float
        Dropout in the transformer.
    """

    def __init__(
        self,
        shape: InputShape,
        *,
        percentile: float = 95.0,
        is_mixing: bool = False,
        pool: int = 100,
        mixing_drop_prob: float = 0.3,
        spatial_drop_prob: float = 0.5,
        n_filters: int = 64,
        width: int = 256,
        kernel: int = 15,
        stride: int = 8,
        norm_momentum: float = 0.1,
        slope: float = 0.2,
        n_blocks: int = 4,
        n_heads: int = 8,
        ff_factor: int = 4,
        drop_prob: float = 0.5,
    ) -> None:
        super().__init__()
        self.percentile = percentile
        self.time_norm = nn.LayerNorm(shape.n_times)
        self.attention = (
            _ChannelAttention(shape.n_channels, pool, mixing_drop_prob)
            if is_mixing
            else nn.Identity()
        )
        self.across = _across_channels(shape.n_channels, mixing_drop_prob)
        self.spatial_drop = nn.Dropout(spatial_drop_prob)
        self.slices = nn.Sequential(
            nn.Conv1d(shape.n_channels, n_filters, kernel, stride),
            nn.BatchNorm1d(n_filters, momentum=norm_momentum),
            nn.LeakyReLU(slope),
            nn.Conv1d(n_filters, width, kernel, stride),
        )
        self.blocks = nn.Sequential(
            *(_Block(width, n_heads, ff_factor, drop_prob) for _ in range(n_blocks))
        )
        self.head = nn.Linear(width, shape.n_classes)

    def features(self, x_BCT: Tensor) -> Tensor:
        """Return the mean of tokens (B, D) of windows (B, C, T) in µV."""
        x_BCT = scaled_by_percentile(x_BCT, self.percentile)
        h_BCT = self.attention(self.time_norm(x_BCT))
        h_BCT = self.across(h_BCT.transpose(1, 2)).transpose(1, 2)
        h_BDS = self.slices(x_BCT + self.spatial_drop(h_BCT))
        tokens_BSD = self.blocks(h_BDS.transpose(1, 2))
        return F.elu(tokens_BSD.mean(1))

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return logits (B, K) of windows (B, C, T) in µV."""
        logits_BK: Tensor = self.head(self.features(x_BCT))
        return logits_BK


def _across_channels(n_channels: int, drop_prob: float) -> nn.Sequential:
    """Return a layer from all channels to all, at every time point alike."""
    linear = nn.Linear(n_channels, n_channels)
    nn.init.xavier_normal_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(linear, nn.LayerNorm(n_channels), nn.Dropout(drop_prob))


class _ChannelAttention(nn.Module):
    """Every channel becomes a mean of all, weighed by likeness over pooled time."""

    def __init__(self, n_channels: int, pool: int, drop_prob: float) -> None:
        super().__init__()
        self.pool = pool
        self.query = _across_channels(n_channels, drop_prob)
        self.key = _across_channels(n_channels, drop_prob)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return channels (B, C, T) that have seen each other."""
        query_BCU, key_BMU = (
            F.avg_pool1d(layer(x_BCT.transpose(1, 2)).transpose(1, 2), self.pool)
            for layer in (self.query, self.key)
        )
        return F.scaled_dot_product_attention(query_BCU, key_BMU, x_BCT)


class _Attention(nn.Module):
    """Attention over slices, its scores divided by the root of a token's width."""

    def __init__(self, width: int, n_heads: int, drop_prob: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.drop_prob = drop_prob
        self.scale = 1 / math.sqrt(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens_BSD: Tensor) -> Tensor:
        """Return what each token (B, S, D) sees of all."""
        query, key, value = (
            layer(tokens_BSD).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        seen_BHSE = F.scaled_dot_product_attention(
            query,
            key,
            value,
            dropout_p=self.drop_prob if self.training else 0.0,
            scale=self.scale,
        )
        seen_BSD: Tensor = self.out(seen_BHSE.transpose(1, 2).flatten(2))
        return seen_BSD


class _Block(nn.Module):
    """Attention and a feed-forward layer, each normalised before and added after."""

    def __init__(self, width: int, n_heads: int, ff_factor: int, drop_prob: float):
        super().__init__()
        self.seeing = nn.Sequential(
            nn.LayerNorm(width),
            _Attention(width, n_heads, drop_prob),
            nn.Dropout(drop_prob),
        )
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, ff_factor * width),
            nn.GELU(),
            nn.Dropout(drop_prob),
            nn.Linear(ff_factor * width, width),
            nn.Dropout(drop_prob),
        )

    def forward(self, tokens_BSD: Tensor) -> Tensor:
        """Return tokens (B, S, D) that have seen each other."""
        tokens_BSD = tokens_BSD + self.seeing(tokens_BSD)
        return tokens_BSD + self.feed_forward(tokens_BSD)


RULES = {
    "percentile": positive(up_to=100),
    "is_mixing": flag(),
    "mixing_drop_prob": share(),
    "spatial_drop_prob": share(),
    "norm_momentum": positive(up_to=1),
    "slope": share(),
    "drop_prob": share(),
}


def _checked(options: Mapping[str, Any], scale: str) -> dict[str, Any]:
    """Return all options, or refuse one that no shape could be served with."""
    chosen = checked_options("st_transformer", options, RULES)
    width, heads = chosen["width"], chosen["n_heads"]
    what = f"a width of {width} (width)"
    refuse_uneven("st_transformer", what, width, heads, "heads (n_heads)")
    return chosen


@model(
    title="ST-Transformer",
    trained_by="gradient",
    recipes={
        # BIOT's run_*_supervised.py, for all its baselines.
        "paper": TrainingRecipe(
            epochs=100,
            batch_size=512,
            lr=1e-3,
            weight_decay=1e-5,
            optimizer="adam",
            schedule="constant",
            patience=5,
        ),
        # On the simulated twins at lr 3e-3, 5e-3, 1e-2, means of 3 seeds in validation:
        # AUROC 0.73, 0.77, 0.79 on eegmat and 0.94, 0.86, 0.94 on eyes; balanced
        # accuracy 0.60, 0.67, 0.60 and 0.71, 0.75, 0.88, and of four classes (chance
        # 0.25) 0.35, 0.33, 0.43 on physionet_mi.
        "small": TrainingRecipe(epochs=2, batch_size=8, lr=1e-2, weight_decay=1e-2),
    },
    small_options={
        "mixing_drop_prob": 0.0,
        "spatial_drop_prob": 0.0,
        "n_filters": 32,
        "norm_momentum": 0.3,
        "width": 64,
        "n_blocks": 1,
        "n_heads": 4,
        "ff_factor": 2,
        "drop_prob": 0.0,
    },
    reference="Song et al. 2021, arXiv 2106.11170, as BIOT's tables ran it",
    licence="same as this package",
    code="https://github.com/ycq091044/BIOT, model/st_transformer.py, commit d138e32",
    rate_hz=200.0,
    input_scale=(
        "each channel of each window divided by the 95th percentile of its absolute "
        "values, at least 0.1 µV"
    ),
    channel_use="by their order: a linear layer and a convolution mix all channels",
    differences=DIFFERENCES,
    sizes={
        "paper": Size(encoder=3_424_912, head=514, flops=215_849_984),
        "small": Size(encoder=76_336, head=130, flops=8_888_576),
    },
    check=_checked,
    skip=unserved_rate,
)
def st_transformer(
    shape: InputShape,
    *,
    scale: str,
    percentile: float = 95.0,
    is_mixing: bool = False,
    pool: int = 100,
    mixing_drop_prob: float = 0.3,
    spatial_drop_prob: float = 0.5,
    n_filters: int = 64,
    width: int = 256,
    kernel: int = 15,
    stride: int = 8,
    norm_momentum: float = 0.1,
    slope: float = 0.2,
    n_blocks: int = 4,
    n_heads: int = 8,
    ff_factor: int = 4,
    drop_prob: float = 0.5,
) -> STTransformer:
    """64 filters, tokens of width 256, four layers of eight heads over slices."""
    needed = kernel + stride * (kernel - 1)
    if shape.n_times < needed:
        raise SpecError(
            f"st_transformer cannot serve this shape: {shape.n_times} time points are "
            f"fewer than the {needed} of one slice. Shorten kernel or stride."
        )
    if is_mixing and shape.n_times < pool:
        raise SpecError(
            f"st_transformer cannot serve this shape: {shape.n_times} time points are "
            f"fewer than the {pool} that are averaged before channels are compared. "
            f"Lower pool."
        )
    return STTransformer(
        shape,
        percentile=percentile,
        is_mixing=is_mixing,
        pool=pool,
        mixing_drop_prob=mixing_drop_prob,
        spatial_drop_prob=spatial_drop_prob,
        n_filters=n_filters,
        width=width,
        kernel=kernel,
        stride=stride,
        norm_momentum=norm_momentum,
        slope=slope,
        n_blocks=n_blocks,
        n_heads=n_heads,
        ff_factor=ff_factor,
        drop_prob=drop_prob,
    )
