"""The encoder: patches in, one hidden state for every channel and step out.

From: windows (B, C, T) in µV. To: hidden states (B, C, P, D), and how every layer
routed them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from eegfm_bench.errors import SignalError
from eegfm_bench.models.trace.attention import SpatialTemporalAttention, rope_turns
from eegfm_bench.models.trace.config import TraceConfig
from eegfm_bench.models.trace.ffn import Routed, RoutedFFN, balance_loss
from eegfm_bench.models.trace.patches import PatchEncoder, to_patches
from eegfm_bench.models.trace.positions import ChannelPositions


@dataclass(frozen=True, slots=True)
class Encoded:
    """Hidden states (B, C, P, D), and each layer's routing (none if dense)."""

    hidden: Tensor
    routing: list[Routed] = field(default_factory=list)


class Block(nn.Module):
    """H~ = H + CSTA(RMSNorm(H)); H' = H~ + FFN(RMSNorm(H~)), equations (9), (10)."""

    def __init__(
        self, config: TraceConfig, queries: nn.Parameter | None = None
    ) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.dim, eps=config.norm_eps)
        self.attention = SpatialTemporalAttention(config)
        self.ffn_norm = nn.RMSNorm(config.dim, eps=config.norm_eps)
        self.ffn = RoutedFFN(config, queries)

    def forward(
        self,
        h_BPCD: Tensor,
        turns: tuple[Tensor, Tensor],
        channel_mask: Tensor | None = None,
        patch_mask: Tensor | None = None,
    ) -> tuple[Tensor, Routed | None]:
        """Return the next hidden states (B, P, C, D), and how they were routed."""
        h_BPCD = h_BPCD + self.attention(
            self.attention_norm(h_BPCD), turns, channel_mask, patch_mask
        )
        update_BPCD, routed = self.ffn(self.ffn_norm(h_BPCD), channel_mask, patch_mask)
        return h_BPCD + update_BPCD, routed


class TraceEncoder(nn.Module):
    """Patches, positions, and blocks of attention and routed experts.

    A hidden state at a step depends on that step and those before it, in training
    as in evaluation; with ``attention=full`` on all steps. Any number of channels and
    steps is taken; the order of the channels is their position.

    Parameters
    ----------
    config : TraceConfig

    Attributes
    ----------
    saves_memory : bool
        Keep what goes into each block alone, and compute the block again for its
        gradient: the same numbers, a forward pass more. False at first.
    """

    def __init__(self, config: TraceConfig) -> None:
        super().__init__()
        self.config = config
        self.saves_memory = False
        self.patches = PatchEncoder(config)
        self.positions = ChannelPositions(config)
        queries = None
        if config.share_queries and config.routing == "trace":
            queries = nn.Parameter(torch.randn(config.queries, config.dim))
        self.blocks = nn.ModuleList(
            Block(config, queries) for _ in range(config.layers)
        )
        self.norm = nn.RMSNorm(config.dim, eps=config.norm_eps)

    def forward(
        self,
        x_BCT: Tensor,
        channel_mask: Tensor | None = None,
        patch_mask: Tensor | None = None,
    ) -> Encoded:
        """Encode windows in µV.

        Parameters
        ----------
        x_BCT : tensor (B, C, T)
            Windows in µV, finite: prepared ones are. What is no number spreads.
        channel_mask : tensor (B, C), optional
            False for channels that are padding; each window keeps one at least.
        patch_mask : tensor (B, P), optional
            False for patches that are padding, which is at the end alone.

        Returns
        -------
        encoded : Encoded
            Hidden states (B, C, P, D), 0 where padded, and each layer's routing.

        Raises
        ------
        SignalError
            If windows are shorter than a patch, a mask has another shape or type, or
            padding lies elsewhere.
        """
        config = self.config
        if x_BCT.shape[-1] < config.patch_len:
            raise SignalError(
                f"Windows of {x_BCT.shape[-1]} time points are shorter than one patch "
                f"of {config.patch_len}. Choose a longer window or a smaller patch_len."
            )
        x_BCT = x_BCT.to(self.norm.weight.dtype) / config.scale_uv
        x_BPCL = to_patches(x_BCT, config.patch_len)
        padded = _padded(x_BPCL, channel_mask, patch_mask)
        if padded is not None:  # whatever it holds, even what is no number
            x_BPCL = x_BPCL.masked_fill(padded, 0.0)
        # What layers add to stays in full precision, also where they compute in half.
        h_BPCD = self.patches(x_BPCL).to(self.norm.weight.dtype)
        if padded is not None:
            h_BPCD = h_BPCD.masked_fill(padded, 0.0)
        h_BPCD = self.positions(h_BPCD)
        if padded is not None:
            h_BPCD = h_BPCD.masked_fill(padded, 0.0)
        turns = rope_turns(
            h_BPCD.shape[1], config.head_dim, config.rope_base, like=self.norm.weight
        )
        routing = []
        seen = (turns, channel_mask, patch_mask)
        for block in self.blocks:
            if self.saves_memory and torch.is_grad_enabled():
                h_BPCD, routed = checkpoint(block, h_BPCD, *seen, use_reentrant=False)
            else:
                h_BPCD, routed = block(h_BPCD, *seen)
            if routed is not None:
                routing.append(routed)
        h_BPCD = self.norm(h_BPCD)
        if padded is not None:
            h_BPCD = h_BPCD.masked_fill(padded, 0.0)
        return Encoded(h_BPCD.transpose(1, 2), routing)

    def balance_loss(
        self,
        encoded: Encoded,
        patch_mask: Tensor | None = None,
        channel_mask: Tensor | None = None,
    ) -> Tensor:
        """Return the balance loss of a pass, equation (17); padding does not count."""
        n_windows, n_channels, n_steps, _ = encoded.hidden.shape
        counted = None
        if patch_mask is not None or channel_mask is not None:
            counted = torch.ones(
                n_windows,
                n_steps,
                n_channels,
                dtype=torch.bool,
                device=encoded.hidden.device,
            )
            if patch_mask is not None:
                counted = counted & patch_mask[:, :, None]
            if self.config.routing == "token":
                if channel_mask is not None:
                    counted = counted & channel_mask[:, None, :]
                counted = counted.flatten()
            else:
                counted = counted[:, :, 0].flatten()
        return balance_loss(encoded.routing, counted, like=encoded.hidden)


def _padded(
    x_BPCL: Tensor, channel_mask: Tensor | None, patch_mask: Tensor | None
) -> Tensor | None:
    """Return True where a token is padding, (B, P, C, 1), or None without any."""
    if channel_mask is None and patch_mask is None:
        return None
    n_windows, n_patches, n_channels, _ = x_BPCL.shape
    kept = x_BPCL.new_ones(n_windows, n_patches, n_channels, 1, dtype=torch.bool)
    if channel_mask is not None:
        _refuse_mask("channel_mask", channel_mask, (n_windows, n_channels))
        if not channel_mask.any(1).all():
            raise SignalError(
                "A window of the batch has no channel that is not padding. Drop it."
            )
        kept = kept & channel_mask[:, None, :, None]
    if patch_mask is not None:
        _refuse_mask("patch_mask", patch_mask, (n_windows, n_patches))
        is_back = patch_mask[:, 1:] & ~patch_mask[:, :-1]
        if is_back.any() or not patch_mask[:, 0].all():
            raise SignalError(
                "Padded patches lie before real ones. Pad windows at their end: a "
                "causal encoder would take padding for history."
            )
        kept = kept & patch_mask[:, :, None, None]
    return ~kept


def _refuse_mask(name: str, mask: Tensor, shape: tuple[int, int]) -> None:
    if mask.shape != shape or mask.dtype != torch.bool:
        raise SignalError(
            f"{name} is {tuple(mask.shape)} of {mask.dtype}; expected {shape} of "
            f"torch.bool, False where a window is padding."
        )
