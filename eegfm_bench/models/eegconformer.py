"""EEG Conformer: convolutions, self-attention over pooled time, three linear layers.

From: batch (B, C, T) in µV. To: logits (B, K).

Paper: Song et al. 2023, IEEE Trans. Neural Syst. Rehabil. Eng. 31, 710-719, doi
10.1109/TNSRE.2022.3230250. Code: braindecode, ``braindecode.models.EEGConformer``.
Licence: BSD-3-Clause. Parameters, their random start and all stages but the first
two are braindecode's own module.

Letters: B windows, C channels, T time points, U time points after the convolution,
L taps of a temporal kernel, F temporal filters, O filters across channels (as many),
P blocks of time, N = B P, W frequencies, S steps after pooling, D features, K classes.

What differs from the source is in ``DIFFERENCES``, with its reasons.

One convolution of two. Nothing stands between the kernels k_f over time and the
weights w_ofc across filters and channels, so that

    h_o = sum_fc w_ofc (k_f * x_c + b_f) + b_o
        = sum_c (sum_f w_ofc k_f) * x_c + (b_o + sum_f b_f sum_c w_ofc),

and the F C rows k_f * x_c are never stored. Convolving O C kernels is as much work as
convolving F rows C times; as a product of spectra it is L times less.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eegfm_bench.errors import SpecError
from eegfm_bench.models._braindecode import braindecode_models
from eegfm_bench.models._fourier import fft_length
from eegfm_bench.models._options import checked_options, flag, refuse_uneven, share
from eegfm_bench.models._spec import InputShape, Size, model
from eegfm_bench.models._weights import Layout, Weights
from eegfm_bench.runs.spec import TrainingRecipe

DIFFERENCES = (
    "The input is divided by 10 µV, so that ordinary EEG has a deviation near 1. The "
    "paper standardises with the mean and deviation of all training data; a fixed "
    "number needs no pass over them and keeps what amplitude says about a window.",
    "The optimiser is this suite's AdamW with a cosine schedule, betas (0.9, 0.999) "
    "and 50 epochs at batch size 72, not Adam with betas (0.5, 0.999) and 2,000 "
    "epochs: every model here is trained by one recipe. The learning rate, 2e-4, is "
    "the paper's.",
    "No segments of other trials are recombined into new ones: no model's data are "
    "augmented here.",
    "Kernels and pooling keep 25, 75 and 15 time points at any rate, as the quoted "
    "baselines do. The paper's data have 250 Hz.",
    "The first two convolutions are one: the same function and gradients, rounding "
    "apart, at a fraction of the time.",
    "At the small scale, everything is smaller and the head sees the mean over S, not "
    "all S steps in a row: a budget of 4 ms a window and 128 hidden units.",
)

# Brings ordinary EEG, a few to a few tens of µV, near unit deviation.
SCALE_UV = 10.0

# Time points that are convolved at once, about: in one piece, a long window would need
# the spectra of O C kernels at thousands of frequencies.
BLOCK = 232

# Hidden units of the small head: as many as the last layer of the published one.
POOLED_HIDDEN = 32


class EEGConformer(nn.Module):
    """braindecode's EEGConformer, its first two convolutions folded into one.

    Parameters
    ----------
    shape : InputShape
    n_filters_time : int
        Temporal filters, filters across channels, and the width of the tokens.
    filter_time_length : int
        Taps of the temporal convolution.
    pool_time_length, pool_time_stride : int
        Time points that a token averages, and from one token to the next.
    num_layers, num_heads : int
        Of the transformer.
    drop_prob, att_drop_prob : float
        Dropout after pooling, and within the transformer.
    has_pooled_head : bool
        Whether the head sees the mean of the tokens instead of all in a row.

    Attributes
    ----------
    net : braindecode.models.EEGConformer
        Holds all weights; without a pooled head, its state is interchangeable with
        braindecode's.
    is_folded : bool
        False takes braindecode's own order of stages.
    """

    def __init__(
        self,
        shape: InputShape,
        *,
        n_filters_time: int = 40,
        filter_time_length: int = 25,
        pool_time_length: int = 75,
        pool_time_stride: int = 15,
        num_layers: int = 6,
        num_heads: int = 10,
        drop_prob: float = 0.5,
        att_drop_prob: float = 0.5,
        has_pooled_head: bool = False,
    ) -> None:
        super().__init__()
        with warnings.catch_warnings():
            # braindecode has not tried more than 64 channels; nothing depends on it.
            warnings.filterwarnings("ignore", "This model has only been tested on")
            self.net = _braindecode_class()(
                n_chans=shape.n_channels,
                n_outputs=shape.n_classes,
                n_times=shape.n_times,
                n_filters_time=n_filters_time,
                filter_time_length=filter_time_length,
                pool_time_length=pool_time_length,
                pool_time_stride=pool_time_stride,
                num_layers=num_layers,
                num_heads=num_heads,
                drop_prob=drop_prob,
                att_drop_prob=att_drop_prob,
                final_fc_length=n_filters_time if has_pooled_head else "auto",
            )
        if has_pooled_head:
            self.net.fc = _Pooled(n_filters_time)
            self.net.final_layer = nn.Linear(POOLED_HIDDEN, shape.n_classes)
        self.is_folded = _can_be_folded(self.net)

    @property
    def head(self) -> nn.Module:
        """The last linear map, features (B, D) to logits (B, K)."""
        return self.net.final_layer

    def replace_head(self, head: nn.Module) -> None:
        """Put another map in the place of the last one."""
        self.net.final_layer = head

    def features(self, x_BCT: Tensor) -> Tensor:
        """Return what the last layer sees (B, D), of windows (B, C, T) in µV."""
        stages = self.net.patch_embedding.shallownet
        if self.is_folded:
            with torch.autocast(x_BCT.device.type, enabled=False):
                h_BOU = self._convolved(x_BCT)
            h = h_BOU.unsqueeze(2)
        else:
            h = stages[:2](x_BCT.unsqueeze(1) / SCALE_UV)
        tokens_BSO = self.net.patch_embedding.projection(stages[2:](h))
        return self.net.fc(self.net.transformer(tokens_BSO))

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return logits (B, K) of windows (B, C, T) in µV."""
        logits_BK: Tensor = self.head(self.features(x_BCT))
        return logits_BK

    def _convolved(self, x_BCT: Tensor) -> Tensor:
        """Return what the second convolution gives (B, O, U), by both at once."""
        time, space = self.net.patch_embedding.shallownet[:2]
        kernel_FL, w_OFC = time.weight.flatten(1), space.weight.squeeze(-1)
        x_BCT = x_BCT.to(w_OFC.dtype)
        n_taps = kernel_FL.shape[-1]
        n_out = x_BCT.shape[-1] - n_taps + 1
        n_blocks = math.ceil(n_out / max(BLOCK, 8 * n_taps))
        n_each = math.ceil(n_out / n_blocks)
        # What wraps around falls on the last L - 1 points, which are cut off.
        n_met = n_each + n_taps - 1
        n_fft = fft_length(n_met)

        x_BCT = F.pad(x_BCT, (0, n_blocks * n_each - n_out))
        spectrum_BCPW = torch.fft.rfft(x_BCT.unfold(-1, n_met, n_each), n_fft)
        spectrum_WCN = spectrum_BCPW.permute(3, 1, 0, 2).flatten(2)
        # Conjugated, since torch's convolution is a correlation.
        response_FW = torch.fft.rfft(kernel_FL / SCALE_UV, n_fft).conj()
        # The weights are real and act on real and imaginary parts alike.
        parts_FW2 = torch.view_as_real(response_FW.resolve_conj())
        parts_WOC2 = torch.einsum("ofc,fwr->wocr", w_OFC, parts_FW2).contiguous()
        h_WON = torch.bmm(torch.view_as_complex(parts_WOC2), spectrum_WCN)
        h_BOPW = h_WON.unflatten(2, (-1, n_blocks)).permute(2, 1, 3, 0)
        h_BOPU = torch.fft.irfft(h_BOPW, n_fft)[..., :n_each]
        offset_O = space.bias + w_OFC.sum(-1) @ time.bias
        return h_BOPU.flatten(2)[..., :n_out] + offset_O[:, None]


class _Pooled(nn.Module):
    """The mean over tokens (B, S, O), then one hidden layer (B, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, POOLED_HIDDEN)

    def forward(self, tokens_BSO: Tensor) -> Tensor:
        """Return features (B, D) of tokens (B, S, O)."""
        return F.elu(self.hidden(tokens_BSO.mean(1)))


def _can_be_folded(net: Any) -> bool:
    """Whether the first two stages are those that the folding was derived for."""
    time, space, after = net.patch_embedding.shallownet[:3]
    return (
        isinstance(time, nn.Conv2d)
        and isinstance(space, nn.Conv2d)
        and not isinstance(after, nn.Conv2d)
        and time.in_channels == time.groups == space.groups == 1
        and time.kernel_size[0] == space.kernel_size[1] == 1
        and time.stride == space.stride == time.dilation == (1, 1)
        and time.padding == space.padding == (0, 0)
        and time.bias is not None
        and space.bias is not None
    )


def _braindecode_class() -> Any:
    """Import braindecode's class, which takes seconds, when it is first needed."""
    return braindecode_models().EEGConformer


RULES = {"drop_prob": share(), "att_drop_prob": share(), "has_pooled_head": flag()}


def _checked(options: Mapping[str, Any], scale: str) -> dict[str, Any]:
    """Return all options, or refuse one that no shape could be served with."""
    chosen = checked_options("eegconformer", options, RULES)
    filters, heads = chosen["n_filters_time"], chosen["num_heads"]
    what = f"{filters} filters (n_filters_time)"
    refuse_uneven("eegconformer", what, filters, heads, "heads (num_heads)")
    return chosen


@model(
    title="EEG Conformer",
    trained_by="gradient",
    recipes={
        "paper": TrainingRecipe(epochs=50, batch_size=72, lr=2e-4),
        "small": TrainingRecipe(epochs=2, batch_size=8, lr=5e-3, weight_decay=1e-2),
    },
    # With some forty steps in all there is no time to overfit.
    small_options={
        "n_filters_time": 16,
        "pool_time_stride": 50,
        "num_layers": 1,
        "num_heads": 2,
        "drop_prob": 0.0,
        "att_drop_prob": 0.0,
        "has_pooled_head": True,
    },
    reference="Song et al. 2023, IEEE Trans. Neural Syst. Rehabil. Eng. 31, 710-719",
    licence="BSD-3-Clause",
    code="https://github.com/braindecode/braindecode",
    input_scale="divided by 10 µV",
    channel_use="by their order: each spatial filter weighs all channels",
    differences=DIFFERENCES,
    weights=Weights(
        layouts=(
            Layout(
                name="braindecode", renames=(("net.", ""),), unused=("final_layer.",)
            ),
        )
    ),
    # The first two convolutions counted as the one product they are computed by.
    sizes={
        "paper": Size(encoder=1_455_680, head=66, flops=62_464_192),
        "small": Size(encoder=8_656, head=66, flops=3_066_048),
    },
    check=_checked,
)
def eegconformer(
    shape: InputShape,
    *,
    scale: str,
    n_filters_time: int = 40,
    filter_time_length: int = 25,
    pool_time_length: int = 75,
    pool_time_stride: int = 15,
    num_layers: int = 6,
    num_heads: int = 10,
    drop_prob: float = 0.5,
    att_drop_prob: float = 0.5,
    has_pooled_head: bool = False,
) -> EEGConformer:
    """EEG Conformer: 40 filters, six layers of ten heads."""
    needed = filter_time_length + pool_time_length - 1
    if shape.n_times < needed:
        raise SpecError(
            f"eegconformer cannot serve this shape: {shape.n_times} time points are "
            f"fewer than the {needed} that are filtered and pooled to one. Shorten "
            f"filter_time_length or pool_time_length."
        )
    return EEGConformer(
        shape,
        n_filters_time=n_filters_time,
        filter_time_length=filter_time_length,
        pool_time_length=pool_time_length,
        pool_time_stride=pool_time_stride,
        num_layers=num_layers,
        num_heads=num_heads,
        drop_prob=drop_prob,
        att_drop_prob=att_drop_prob,
        has_pooled_head=has_pooled_head,
    )
