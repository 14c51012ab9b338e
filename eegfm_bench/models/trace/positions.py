"""Where on the head a channel sits, read from its neighbours in the montage.

From: tokens (B, P, C, D). To: the same, each with its neighbours' share added.
Time does not enter: the kernels are one step wide.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eegfm_bench.models.trace.config import TraceConfig


class ChannelPositions(nn.Module):
    """Multi-scale channel positions (MS-ChPE), equations (7) and (8).

    H0 = E + sum_k DepthwiseConv_(k,1)(E), along the channels in their source's own
    order, zeros beyond either end. No bias: equal for all channels, it would say
    nothing about position (a choice of ours).
    """

    def __init__(self, config: TraceConfig) -> None:
        super().__init__()
        self.kernels = nn.ParameterList(
            nn.Parameter(torch.empty(config.dim, 1, k, 1))
            for k in config.channel_kernels
        )
        for kernel in self.kernels:
            # Outputs of the order of what is convolved, for either width.
            nn.init.normal_(kernel, std=kernel.shape[2] ** -0.5)

    def forward(self, tokens_BPCD: Tensor) -> Tensor:
        """Return tokens (B, P, C, D) with their positions."""
        if len(self.kernels) == 0:
            return tokens_BPCD
        # Step after step with the features last is what "channels last" means to a
        # convolution over (C, 1): nothing is copied. All scales are one kernel, the
        # narrow ones amid zeros.
        widest = max(kernel.shape[2] for kernel in self.kernels)
        besides = [(widest - kernel.shape[2]) // 2 for kernel in self.kernels]
        padded = [
            F.pad(kernel, (0, 0, beside, beside))
            for kernel, beside in zip(self.kernels, besides, strict=True)
        ]
        joined_D1K1 = torch.stack(padded).sum(0)
        rows = tokens_BPCD.flatten(0, 1).permute(0, 2, 1).unsqueeze(-1)  # (R, D, C, 1)
        near = F.conv2d(
            rows, joined_D1K1, padding=(widest // 2, 0), groups=rows.shape[1]
        )
        return tokens_BPCD + near.squeeze(-1).permute(0, 2, 1).view_as(tokens_BPCD)
