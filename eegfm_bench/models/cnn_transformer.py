"""CNN-Transformer: a residual network over spectrograms of segments, then attention.

From: batch (B, C, T) in µV. To: logits (B, K).

Paper: Peh, Yao and Dauwels 2022, "Transformer convolutional neural networks for
automated artifact detection in scalp EEG", EMBC 2022, 3599-3602, arXiv 2208.02405.
Code: github.com/ycq091044/BIOT, ``model/cnn_transformer.py``, commit d138e32, which the
field's tables ran; written here from the paper and that code's behaviour. Licence: as
this package (BIOT's is MIT).

Letters: B windows, C channels, T time points, S segments, W frequencies, U time points
of a spectrogram, D width of a token and features, H attention heads, K classes.

The road of a window: every channel is divided by a percentile of its own, the window
is cut into S segments, a spectrogram of each becomes a token (D), and a transformer's
mean over tokens goes through ELU to one linear layer. ``DIFFERENCES`` lists what
differs from the sources, and why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
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
    ResidualNet,
    scaled_by_percentile,
    spectrogram,
    unserved_rate,
)
from eegfm_bench.runs.spec import TrainingRecipe

DIFFERENCES = (
    "The network is that of BIOT's tables, which all published rows are of. The "
    "paper's looks for artefacts channel by channel, and has a loss of its own.",
    "A window is cut into as many segments as hold half a spectrum (101 time points), "
    "at most five: 1 s is one segment, since a fifth of it is shorter than what is "
    "mirrored at its ends, and BIOT's code fails.",
    "What is left of the map after the last block is averaged, since that of a "
    "segment beyond 12.8 s is more than one point, and BIOT's code fails; of one point "
    "the mean is itself.",
    "A percentile below 0.1 µV counts as 0.1 µV, where the source adds 1e-8: a flat "
    "channel with an artefact would be multiplied by 1e8.",
    "In a training batch of one window, batch norm takes its running statistics where "
    "there is one value alone: the source leaves the last, smaller batch out.",
    "Two classes have two logits and cross-entropy, as all models here; the source has "
    "one logit, the same function.",
    "As in the source: ReLU stands between a block's two convolutions alone, segments "
    "pass the convolutions one after the other, so that batch norm has statistics of "
    "each while training, and all encoder layers start from the same weights.",
    "With precision bf16 on a CPU the convolutions stay in float32: torch's gradient "
    "of narrow maps is not reliable there.",
    "The small scale has fewer filters, blocks and layers, longer hops, no dropout, "
    "running statistics that follow faster, and segments pass the convolutions at "
    "once: a budget of 4 ms a window and two epochs.",
)


class CNNTransformer(nn.Module):
    """A residual network over segments' spectrograms, and a transformer over them.

    Parameters
    ----------
    shape : InputShape
    percentile : float
        Of its absolute values, by which a channel is divided.
    n_fft, hop : int
        Time points of a spectrum, and from one to the next.
    n_segments : int
        At most as many pieces of a window; fewer where they would be too short.
    is_joint : bool
        Whether all segments pass the convolutions at once: batch norm's statistics
        then are of all together while training.
    n_filters, n_blocks : int
        Filters of the first residual block, which double from block to block.
    cnn_drop_prob, position_drop_prob, drop_prob : float
        Dropout after a block, after positions are added, and in the transformer.
    norm_momentum : float
        Weight of the newest batch in running statistics.
    n_encoder_layers, n_heads, ff_width : int
        Of the transformer.
    """

    def __init__(
        self,
        shape: InputShape,
        *,
        percentile: float = 95.0,
        n_fft: int = 200,
        hop: int = 10,
        n_segments: int = 5,
        is_joint: bool = False,
        n_filters: int = 32,
        n_blocks: int = 4,
        cnn_drop_prob: float = 0.5,
        norm_momentum: float = 0.1,
        n_encoder_layers: int = 4,
        n_heads: int = 4,
        ff_width: int = 256,
        position_drop_prob: float = 0.1,
        drop_prob: float = 0.2,
    ) -> None:
        super().__init__()
        self.percentile, self.n_fft, self.hop = percentile, n_fft, hop
        self.is_joint = is_joint
        self.n_segments = min(n_segments, shape.n_times // (n_fft // 2 + 1))
        self.cnn = ResidualNet(
            shape.n_channels,
            n_filters=n_filters,
            n_blocks=n_blocks,
            drop_prob=cnn_drop_prob,
            norm_momentum=norm_momentum,
        )
        width = self.cnn.n_features
        self.positions = _Positions(self.n_segments, width, position_drop_prob)
        self.layers = nn.ModuleList(
            _Layer(width, n_heads, ff_width, drop_prob) for _ in range(n_encoder_layers)
        )
        for layer in self.layers[1:]:
            layer.load_state_dict(self.layers[0].state_dict())
        self.head = nn.Linear(width, shape.n_classes)

    def features(self, x_BCT: Tensor) -> Tensor:
        """Return the mean of tokens (B, D) of windows (B, C, T) in µV."""
        n_each = x_BCT.shape[-1] // self.n_segments
        x_BCT = scaled_by_percentile(x_BCT, self.percentile)
        pieces = x_BCT.split(n_each, dim=-1)[: self.n_segments]
        if self.is_joint:
            tokens_BSD = self._token(torch.cat(pieces)).unflatten(0, (len(pieces), -1))
            tokens_BSD = tokens_BSD.transpose(0, 1)
        else:
            tokens_BSD = torch.stack([self._token(piece) for piece in pieces], dim=1)
        tokens_BSD = self.positions(tokens_BSD)
        for layer in self.layers:
            tokens_BSD = layer(tokens_BSD)
        return F.elu(tokens_BSD.mean(1))

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return logits (B, K) of windows (B, C, T) in µV."""
        logits_BK: Tensor = self.head(self.features(x_BCT))
        return logits_BK

    def _token(self, x_BCT: Tensor) -> Tensor:
        """Return a token (B, D) of each segment (B, C, T), scaled."""
        return self.cnn(spectrogram(x_BCT, n_fft=self.n_fft, hop=self.hop))


class _Positions(nn.Module):
    """Sines and cosines of each segment's number, added; then dropout."""

    wave_SD: Tensor

    def __init__(self, n_segments: int, width: int, drop_prob: float) -> None:
        super().__init__()
        # Wavelengths from 2 pi to 10,000 times that, sine and cosine in turn.
        rate_E = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
        angle_SE = torch.arange(n_segments)[:, None] * rate_E
        wave_SED = torch.stack([angle_SE.sin(), angle_SE.cos()], dim=-1)
        self.register_buffer(
            "wave_SD", wave_SED.flatten(1)[:, :width], persistent=False
        )
        self.drop = nn.Dropout(drop_prob)

    def forward(self, tokens_BSD: Tensor) -> Tensor:
        """Return tokens (B, S, D) with their positions."""
        placed: Tensor = self.drop(tokens_BSD + self.wave_SD)
        return placed


class _Layer(nn.Module):
    """An encoder layer as in "Attention is all you need", with GELU.

    torch's own layer takes another path while evaluating, which counters of
    operations do not see.
    """

    def __init__(self, width: int, n_heads: int, ff_width: int, drop_prob: float):
        super().__init__()
        self.n_heads = n_heads
        self.drop_prob = drop_prob
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        # As torch.nn.MultiheadAttention begins.
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)
        self.attention_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, ff_width),
            nn.GELU(),
            nn.Dropout(drop_prob),
            nn.Linear(ff_width, width),
        )
        self.feed_forward_norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(drop_prob)

    def forward(self, tokens_BSD: Tensor) -> Tensor:
        """Return tokens (B, S, D) that have seen each other."""
        qkv = self.qkv(tokens_BSD).unflatten(-1, (3, self.n_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        seen_BHSE = F.scaled_dot_product_attention(
            query, key, value, dropout_p=self.drop_prob if self.training else 0.0
        )
        seen_BSD = self.out(seen_BHSE.transpose(1, 2).flatten(2))
        tokens_BSD = self.attention_norm(tokens_BSD + self.drop(seen_BSD))
        more_BSD = self.drop(self.feed_forward(tokens_BSD))
        normalised: Tensor = self.feed_forward_norm(tokens_BSD + more_BSD)
        return normalised


RULES = {
    "percentile": positive(up_to=100),
    "is_joint": flag(),
    "cnn_drop_prob": share(),
    "norm_momentum": positive(up_to=1),
    "position_drop_prob": share(),
    "drop_prob": share(),
}


def _checked(options: Mapping[str, Any], scale: str) -> dict[str, Any]:
    """Return all options, or refuse one that no shape could be served with."""
    chosen = checked_options("cnn_transformer", options, RULES)
    width = chosen["n_filters"] * 2 ** (chosen["n_blocks"] - 1)
    what = f"a width of {width} (n_filters doubled by every block)"
    refuse_uneven("cnn_transformer", what, width, chosen["n_heads"], "heads (n_heads)")
    return chosen


@model(
    title="CNN-Transformer",
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
        # On the simulated twins at lr 2e-3, 3e-3, 5e-3, means of 3 seeds in validation:
        # AUROC 0.93, 0.95, 0.98 on eegmat and 1.00, 1.00, 0.94 on eyes; balanced
        # accuracy 0.85, 0.85, 0.88 and 0.92, 0.94, 0.79, and of four classes (chance
        # 0.25) 0.47, 0.43, 0.31 on physionet_mi.
        "small": TrainingRecipe(epochs=2, batch_size=8, lr=3e-3, weight_decay=1e-2),
    },
    small_options={
        "hop": 100,
        "is_joint": True,
        "n_filters": 12,
        "n_blocks": 3,
        "cnn_drop_prob": 0.0,
        "norm_momentum": 0.3,
        "n_encoder_layers": 1,
        "ff_width": 64,
        "position_drop_prob": 0.0,
        "drop_prob": 0.0,
    },
    reference=(
        "Peh et al. 2022, EMBC, 3599-3602, arXiv 2208.02405, as BIOT's tables ran it"
    ),
    licence="same as this package",
    code="https://github.com/ycq091044/BIOT, model/cnn_transformer.py, commit d138e32",
    rate_hz=200.0,
    input_scale=(
        "each channel of each window divided by the 95th percentile of its absolute "
        "values, at least 0.1 µV"
    ),
    channel_use="by their order: the first convolution mixes all channels",
    differences=DIFFERENCES,
    sizes={
        "paper": Size(encoder=3_154_144, head=514, flops=306_136_064),
        "small": Size(encoder=73_204, head=98, flops=10_435_872),
    },
    check=_checked,
    skip=unserved_rate,
)
def cnn_transformer(
    shape: InputShape,
    *,
    scale: str,
    percentile: float = 95.0,
    n_fft: int = 200,
    hop: int = 10,
    n_segments: int = 5,
    is_joint: bool = False,
    n_filters: int = 32,
    n_blocks: int = 4,
    cnn_drop_prob: float = 0.5,
    norm_momentum: float = 0.1,
    n_encoder_layers: int = 4,
    n_heads: int = 4,
    ff_width: int = 256,
    position_drop_prob: float = 0.1,
    drop_prob: float = 0.2,
) -> CNNTransformer:
    """Four residual blocks up to 256 filters, five segments, four layers."""
    if shape.n_times <= n_fft // 2:
        raise SpecError(
            f"cnn_transformer cannot serve this shape: {shape.n_times} time points "
            f"are fewer than the {n_fft // 2 + 1} of half a spectrum. Shorten n_fft."
        )
    return CNNTransformer(
        shape,
        percentile=percentile,
        n_fft=n_fft,
        hop=hop,
        n_segments=n_segments,
        is_joint=is_joint,
        n_filters=n_filters,
        n_blocks=n_blocks,
        cnn_drop_prob=cnn_drop_prob,
        norm_momentum=norm_momentum,
        n_encoder_layers=n_encoder_layers,
        n_heads=n_heads,
        ff_width=ff_width,
        position_drop_prob=position_drop_prob,
        drop_prob=drop_prob,
    )
