"""EEGNet: temporal filters, spatial filters, a separable convolution, a head.

From: batch (B, C, T) in µV. To: logits (B, K).

Paper: Lawhern et al. 2018, J. Neural Eng. 15, 056013, doi 10.1088/1741-2552/aace8c.
Code: braindecode, ``braindecode.models.EEGNet``. Licence: BSD-3-Clause. Parameters,
their random start and max-norm constraints are braindecode's own module.

Letters: B windows, C channels, T time points, U time points after the temporal
convolution, L taps of a temporal kernel, F temporal filters, R spatial filters (a
fixed number per temporal filter), W frequencies, D features, K classes.

What differs from the source is in ``DIFFERENCES``, with its reasons.

Exchanging the order. With a kernel k_f over time, its batch norm's mean m_f and
variance v_f, scale g_f and offset b_f, and spatial weights w_rc, row r of filter f is

    h_r = sum_c w_rc (a_f (k_f * x_c - m_f) + b_f),      a_f = g_f / sqrt(v_f + eps)
        = (a_f k_f) * (sum_c w_rc x_c) + (b_f - a_f m_f) sum_c w_rc,

so that R rows are convolved instead of F C, and the F C rows are never stored. While
training, m_f and v_f are those of the absent rows k_f * x_c over B, C and U. Both
follow from the data's own moments: with S_l the sum of what tap l meets, the sum of
the rows is sum_l k_fl S_l. By Parseval, the energy of all outputs that touch the
signal is the mean over frequencies of |k_f|² P, with P the power summed over B and C;
the few outputs at either end that the convolution does not give are taken off as
k_f' M k_f, with M the second moments of the first and last L / 2 time points.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eegfm_bench.models._braindecode import braindecode_models
from eegfm_bench.models._fourier import fft_length
from eegfm_bench.models._options import checked_options, positive, share
from eegfm_bench.models._spec import InputShape, Size, model
from eegfm_bench.models._weights import Layout, Weights
from eegfm_bench.runs.spec import TrainingRecipe

DIFFERENCES = (
    "The input is divided by 10 µV, so that ordinary EEG has a deviation near 1: the "
    "first batch norm adds 1e-3 to a variance, which would drown a signal in volts, "
    "and a fixed number keeps what amplitude says about a window.",
    "Batch norm's momentum is 0.1, not 0.01: small datasets give a run few steps, and "
    "running statistics that lag behind the weights spoil every evaluation.",
    "The head is the paper's constrained linear layer, as in its authors' code; "
    "braindecode's default, unconstrained, is deprecated there.",
    "The temporal kernel keeps 64 taps at any rate, as the quoted baselines do. The "
    "paper's half a second is 64 taps at 128 Hz; at 200 Hz they span 0.32 s.",
    "The order of the first two convolutions is exchanged: the same function and "
    "gradients, rounding apart, at a fraction of the time.",
)

# Brings ordinary EEG, a few to a few tens of µV, near unit deviation.
SCALE_UV = 10.0

# braindecode's stages, in order: what is exchanged, what follows, the head.
FRONT = ("ensuredims", "dimshuffle", "conv_temporal", "bnorm_temporal", "conv_spatial")
REST = (
    *("bnorm_1", "elu_1", "pool_1", "drop_1", "conv_separable_depth"),
    *("conv_separable_point", "bnorm_2", "elu_2", "pool_2", "drop_2"),
)


class EEGNet(nn.Module):
    """braindecode's EEGNet, its first three stages computed in another order.

    Parameters
    ----------
    shape : InputShape
    F1, D : int
        Temporal filters, and spatial filters for each of them.
    kernel_length, depthwise_kernel_length : int
        Taps of the temporal and of the separable convolution.
    drop_prob : float
        Dropout after each of the two poolings.
    batch_norm_momentum : float
        Weight of the newest batch in running statistics.
    head_max_norm : float
        Largest norm of a class's row of head weights.

    Attributes
    ----------
    net : braindecode.models.EEGNet
        Holds all weights; its state is interchangeable with braindecode's.
    is_factored : bool
        False takes braindecode's own order of stages. So does an input that asks
        for its gradient, whose path through the statistics is not provided.
    """

    def __init__(
        self,
        shape: InputShape,
        *,
        F1: int = 8,
        D: int = 2,
        kernel_length: int = 64,
        depthwise_kernel_length: int = 16,
        drop_prob: float = 0.25,
        batch_norm_momentum: float = 0.1,
        head_max_norm: float = 0.25,
    ) -> None:
        super().__init__()
        self.net = _braindecode_class()(
            n_chans=shape.n_channels,
            n_outputs=shape.n_classes,
            n_times=shape.n_times,
            F1=F1,
            D=D,
            kernel_length=kernel_length,
            depthwise_kernel_length=depthwise_kernel_length,
            drop_prob=drop_prob,
            batch_norm_momentum=batch_norm_momentum,
            final_layer_with_constraint=True,
            norm_rate=head_max_norm,
        )
        self.is_factored = _can_be_factored(self.net)

    @property
    def head(self) -> nn.Module:
        """The last linear map, features (B, D) to logits (B, K)."""
        return self.net.final_layer.linearconstraint

    def replace_head(self, head: nn.Module) -> None:
        """Put another map in the place of the last one."""
        self.net.final_layer.linearconstraint = head

    def features(self, x_BCT: Tensor) -> Tensor:
        """Return flattened features (B, D) of windows (B, C, T) in µV."""
        needs_x_grad = x_BCT.requires_grad and torch.is_grad_enabled()
        if self.is_factored and not needs_x_grad:
            with torch.autocast(x_BCT.device.type, enabled=False):
                h = self._filtered(x_BCT).unsqueeze(2)
        else:
            h = x_BCT / SCALE_UV
            for name in FRONT:
                h = self.net.get_submodule(name)(h)
        for name in REST:
            h = self.net.get_submodule(name)(h)
        return h.flatten(1)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return logits (B, K) of windows (B, C, T) in µV."""
        logits_BK: Tensor = self.head(self.features(x_BCT))
        return logits_BK

    def _filtered(self, x_BCT: Tensor) -> Tensor:
        """Return what the spatial convolution gives (B, R, U), space before time.

        Statistics are in float64: a variance is a difference of two moments, and
        the offset of an electrode can be many times its signal.
        """
        conv, norm = self.net.conv_temporal, self.net.bnorm_temporal
        w_RC = self.net.conv_spatial.weight.flatten(1)
        kernel_FL = conv.weight.flatten(1).double() / SCALE_UV
        x_BCT = x_BCT.to(w_RC.dtype)
        n_windows, n_channels, n_times = x_BCT.shape
        (n_rows, _), (n_filters, n_taps) = w_RC.shape, kernel_FL.shape
        before = conv.padding[1]
        n_out = n_times + 2 * before - n_taps + 1

        # Long enough that neither the outputs nor their energy wrap around.
        n_fft = fft_length(n_times + n_taps - 1)
        with torch.no_grad():
            spectrum_BCW = torch.view_as_real(torch.fft.rfft(x_BCT, n_fft)).flatten(2)
        # Turned round in time, since torch's convolution is a correlation.
        placed_FT = F.pad(kernel_FL.flip(-1), (0, n_fft - n_taps))
        response_FW = torch.fft.rfft(placed_FT.roll(before + 1 - n_taps, dims=-1))

        mean_F, var_F = norm.running_mean.double(), norm.running_var.double()
        if norm.training:
            n_values = n_windows * n_channels * n_out
            mean_F = kernel_FL @ _tap_sums(x_BCT, before, n_taps) / n_values
            gain_FW = torch.view_as_real(response_FW).square().sum(-1)
            energy_F = gain_FW @ _power(spectrum_BCW, n_fft)
            absent_LL = _absent_moments(x_BCT, before, n_taps)
            energy_F = energy_F - ((kernel_FL @ absent_LL) * kernel_FL).sum(-1)
            var_F = (energy_F / n_values - mean_F.square()).clamp_min(0.0)
            _update_running(norm, mean_F.detach(), var_F.detach(), n_values)
        gain_F = norm.weight.double() / (var_F + norm.eps).sqrt()
        offset_F = norm.bias.double() - gain_F * mean_F

        # Frequencies are complex; the weights are real and act on both parts alike.
        rows_BRW = torch.bmm(w_RC.expand(n_windows, -1, -1), spectrum_BCW)
        rows_BRW = torch.view_as_complex(rows_BRW.unflatten(-1, (-1, 2)))
        depth = n_rows // n_filters
        response_RW = (gain_F[:, None] * response_FW).repeat_interleave(depth, 0)
        h_BRU = torch.fft.irfft(rows_BRW * response_RW.to(rows_BRW.dtype), n_fft)
        offset_R = offset_F.repeat_interleave(depth).to(w_RC.dtype) * w_RC.sum(-1)
        return h_BRU[..., :n_out] + offset_R[:, None]


def _tap_sums(x_BCT: Tensor, before: int, n_taps: int) -> Tensor:
    """Return the sum (L,) of all values that each tap meets."""
    sum_T = F.pad(x_BCT.sum((0, 1)).double(), (before, before))
    return sum_T.unfold(0, len(sum_T) - n_taps + 1, 1).sum(-1)


def _power(spectrum_BCW: Tensor, n_fft: int) -> Tensor:
    """Return each frequency's share (W,) of the energy of all windows."""
    power_W = spectrum_BCW.square().sum(1).double().sum(0).view(-1, 2).sum(-1)
    # A real signal's negative frequencies mirror the positive ones.
    power_W[1:-1] *= 2
    return power_W / n_fft


def _absent_moments(x_BCT: Tensor, before: int, n_taps: int) -> Tensor:
    """Return the second moments (L, L) of what absent outputs would have met."""
    n_absent = n_taps - 1 - before
    first = x_BCT[..., :n_absent]
    last = x_BCT[..., max(0, x_BCT.shape[-1] - n_absent) :].flip(-1)
    first_LL, last_LL = (_edge_moments(e, n_absent, n_taps) for e in (first, last))
    return first_LL + last_LL.flip(0, 1)


def _edge_moments(edge: Tensor, n_absent: int, n_taps: int) -> Tensor:
    """Sum the moments (L, L) of the outputs before the first, near one edge."""
    if n_absent == 0:
        return edge.new_zeros(n_taps, n_taps, dtype=torch.float64)
    rows = edge.flatten(0, 1).double()
    after = n_absent - rows.shape[-1]
    moments = F.pad(rows.T @ rows, (n_taps - 1, after) * 2)
    # Output p meets the L values from p on: the p-th L x L block of the diagonal.
    return moments.unfold(0, n_taps, 1).unfold(1, n_taps, 1).diagonal().sum(-1)


@torch.no_grad()
def _update_running(norm: Any, mean_F: Tensor, var_F: Tensor, n_values: int) -> None:
    """Move running statistics as nn.BatchNorm2d does: the variance unbiased."""
    var_F = var_F * (n_values / (n_values - 1))
    norm.running_mean.lerp_(mean_F.to(norm.running_mean), norm.momentum)
    norm.running_var.lerp_(var_F.to(norm.running_var), norm.momentum)
    norm.num_batches_tracked.add_(1)


def _can_be_factored(net: nn.Module) -> bool:
    """Whether the stages are those that the exchange was derived for."""
    stages = dict(net.named_children())
    if tuple(stages) != (*FRONT, *REST, "final_layer"):
        return False
    time, norm, space = (stages[name] for name in FRONT[2:])
    return (
        isinstance(time, nn.Conv2d)
        and isinstance(norm, nn.BatchNorm2d)
        and isinstance(space, nn.Conv2d)
        and time.bias is space.bias is None
        and time.stride == space.stride == time.dilation == (1, 1)
        and space.groups == time.out_channels
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
    )


def _braindecode_class() -> Any:
    """Import braindecode's class, which takes seconds, when it is first needed."""
    return braindecode_models().EEGNet


def _too_short(shape: InputShape) -> str | None:
    # Pooled by 4 and by 8, with at most one time point more or less between.
    if shape.n_times < 32:
        return (
            f"{shape.n_times} time points are fewer than the 32 that are pooled to one"
        )
    return None


RULES = {
    "drop_prob": share(),
    "batch_norm_momentum": positive(up_to=1),
    "head_max_norm": positive(),
}


def _checked(options: Mapping[str, Any], scale: str) -> dict[str, Any]:
    """Return all options, or refuse one that no shape could be served with."""
    return checked_options("eegnet", options, RULES)


@model(
    title="EEGNet",
    trained_by="gradient",
    recipes={
        # Validation AUROC of 3 seeds at lr 1e-3, 3e-3, 5e-3: 0.895, 0.915, 0.931 on
        # eyes and 0.754, 0.832, 0.832 on EEGMAT, each with part of the subjects.
        "paper": TrainingRecipe(epochs=50, batch_size=64, lr=3e-3, weight_decay=1e-2),
        "small": TrainingRecipe(epochs=2, batch_size=8, lr=1e-2, weight_decay=1e-2),
    },
    head_options=("head_max_norm",),
    reference="Lawhern et al. 2018, J. Neural Eng. 15, 056013",
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
    # Counted in the exchanged order; Fourier transforms are not.
    sizes={
        "paper": Size(encoder=1_360, head=1_986, flops=1_828_736),
        "small": Size(encoder=1_360, head=1_986, flops=1_828_736),
    },
    # With some forty steps in all there is no time to overfit.
    small_options={"drop_prob": 0.0},
    check=_checked,
    skip=_too_short,
)
def eegnet(
    shape: InputShape,
    *,
    scale: str,
    F1: int = 8,
    D: int = 2,
    kernel_length: int = 64,
    depthwise_kernel_length: int = 16,
    drop_prob: float = 0.25,
    batch_norm_momentum: float = 0.1,
    head_max_norm: float = 0.25,
) -> EEGNet:
    """EEGNet-8,2: eight temporal filters, two spatial filters for each."""
    return EEGNet(
        shape,
        F1=F1,
        D=D,
        kernel_length=kernel_length,
        depthwise_kernel_length=depthwise_kernel_length,
        drop_prob=drop_prob,
        batch_norm_momentum=batch_norm_momentum,
        head_max_norm=head_max_norm,
    )
