"""A patch of one channel becomes a token: two views of it, and a gate between.

From: patches (B, P, C, L), dimensionless. To: tokens (B, P, C, D). A token knows
its own patch alone: no norm and no convolution here reaches over a patch's edge.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eegfm_bench.models.trace.config import TraceConfig


def to_patches(x_BCT: Tensor, patch_len: int) -> Tensor:
    """Split every channel into patches that do not overlap, equation (1).

    Parameters
    ----------
    x_BCT : tensor (B, C, T)
        Windows.
    patch_len : int
        Time points per patch, L. What is left over at the end is dropped, as the
        paper says; no dataset of the comparison has such a rest at L = 200.

    Returns
    -------
    x_BPCL : tensor (B, P, C, L)
        Step by step: all channels of a step lie together, P = T // L.

    Examples
    --------
    >>> to_patches(torch.zeros(2, 3, 450), patch_len=200).shape
    torch.Size([2, 2, 3, 200])
    """
    n_patches = x_BCT.shape[-1] // patch_len
    whole_BCT = x_BCT[..., : n_patches * patch_len]
    return whole_BCT.unflatten(-1, (n_patches, patch_len)).transpose(1, 2)


class TimeBranch(nn.Module):
    """Convolutions of several widths over one patch, equations (2) and (3).

    u_k = Conv_k(x) for each kernel k, with a stride; z_time = Linear(SiLU(
    GroupNorm([u_k, u_k', ...]))), filters of all kernels side by side.

    Letters: M patches, L time points, K taps, F filters, J positions, D width.
    """

    def __init__(self, config: TraceConfig) -> None:
        super().__init__()
        self.stride = config.stride
        self.convs = nn.ModuleList(
            nn.Conv1d(1, config.filters, k, stride=config.stride, padding=k // 2)
            for k in config.time_kernels
        )
        n_filters = config.filters * len(config.time_kernels)
        self.norm = nn.GroupNorm(config.norm_groups, n_filters)
        self.project = nn.Linear(n_filters * config.positions, config.dim)

    def forward(self, x_ML: Tensor) -> Tensor:
        """Return z_time (M, D) of M patches (M, L)."""
        kernels_FK, bias_F = self._joined()
        n_taps = kernels_FK.shape[-1]
        padded_ML = F.pad(x_ML, (n_taps // 2, n_taps // 2))
        # One product over the taps under each position: a convolution of one input
        # channel leaves most of a processor idle.
        under_MJK = padded_ML.unfold(-1, n_taps, self.stride)
        u_MJF = F.linear(under_MJK, kernels_FK, bias_F)
        return self.project(F.silu(self.norm(u_MJF.transpose(1, 2))).flatten(1))

    def _joined(self) -> tuple[Tensor, Tensor]:
        """Return all kernels (F, K) and biases (F,): narrow ones amid zeros."""
        widest = max(conv.kernel_size[0] for conv in self._convs())
        kernels = []
        for conv in self._convs():
            beside = (widest - conv.kernel_size[0]) // 2
            kernels.append(F.pad(conv.weight.squeeze(1), (beside, beside)))
        biases = [conv.bias for conv in self._convs() if conv.bias is not None]
        return torch.cat(kernels), torch.cat(biases)

    def _convs(self) -> list[nn.Conv1d]:
        return [conv for conv in self.convs if isinstance(conv, nn.Conv1d)]


class SpectralBranch(nn.Module):
    """The logarithm of a patch's amplitudes, weighted by frequency, equation (4).

    z_freq = Linear(m * log(1 + |rfft(x)|)), with m learnt, one number a frequency.
    That the weight acts after the logarithm is our reading.
    """

    def __init__(self, config: TraceConfig) -> None:
        super().__init__()
        self.mask = nn.Parameter(torch.ones(config.bins))
        self.project = nn.Linear(config.bins, config.dim)

    def forward(self, x_ML: Tensor) -> Tensor:
        """Return z_freq (M, D) of M patches (M, L)."""
        with torch.autocast(x_ML.device.type, enabled=False):
            # Half precision has neither these transforms nor their range.
            dtype = torch.promote_types(self.mask.dtype, torch.float32)
            amplitude_MW = torch.fft.rfft(x_ML.to(dtype)).abs()
            weighted_MW = self.mask * amplitude_MW.log1p()
        return self.project(weighted_MW.to(self.mask.dtype))


class PatchEncoder(nn.Module):
    """Both views of a patch, mixed feature by feature, equations (5) and (6).

    g = sigmoid(Linear([z_time; z_freq])); e = g * z_time + (1 - g) * z_freq. One
    view alone, or their sum, are the rivals of tables 17 to 19.
    """

    def __init__(self, config: TraceConfig) -> None:
        super().__init__()
        self.scale_uv = config.scale_uv
        self.time = TimeBranch(config) if config.views != "spectrum" else None
        self.spectrum = SpectralBranch(config) if config.views != "time" else None
        has_gate = config.views == "both" and config.fusion == "gate"
        self.gate = nn.Linear(2 * config.dim, config.dim) if has_gate else None

    def forward(self, x_BPCL: Tensor) -> Tensor:
        """Return tokens (B, P, C, D) of patches (B, P, C, L) in units of scale_uv."""
        x_ML = x_BPCL.flatten(0, 2)
        views = [view(x_ML) for view in (self.time, self.spectrum) if view is not None]
        if self.gate is not None:
            g_MD = self.gate(torch.cat(views, dim=-1)).sigmoid()
            token_MD = torch.lerp(views[1], views[0], g_MD.to(views[0].dtype))
        else:
            token_MD = sum(views[1:], views[0])
        return token_MD.unflatten(0, x_BPCL.shape[:3])
