"""Two attentions on one input: across channels at a step, along time in a channel.

From: normalised tokens (B, P, C, D). To: their update (B, P, C, D). Nothing looks
ahead: the spatial branch stays within a step, the temporal one is causal; but with
``attention=full`` the temporal one looks both ways.

Letters: H heads, G key and value heads, E features of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eegfm_bench.models.trace.config import TraceConfig


class SpatialTemporalAttention(nn.Module):
    """Causal spatial-temporal attention (CSTA), equations (19) to (21).

    S = attention over the C channels of each step, no positions; A = causal
    attention over the P steps of each channel, RoPE on queries and keys; the output
    is W_O [S; A]. Cost: P C² + C P² scores, not (C P)².

    Rows of ``project_in``: spatial q, k, v, then temporal q, k, v. Tokens lie step
    after step, so both branches read and write them in place: the spatial one as
    B P batches of C tokens, the temporal one as C H heads over P tokens.
    """

    def __init__(self, config: TraceConfig) -> None:
        super().__init__()
        self.n_heads = config.heads
        self.n_kv_heads = config.kv_heads
        self.head_dim = config.head_dim
        self.is_causal = config.attention == "causal"
        n_rows = 2 * (config.heads + 2 * config.kv_heads) * config.head_dim
        self.project_in = nn.Linear(config.dim, n_rows, bias=False)
        self.project_out = nn.Linear(2 * config.dim, config.dim, bias=False)

    def forward(
        self,
        h_BPCD: Tensor,
        turns: tuple[Tensor, Tensor],
        channel_mask: Tensor | None = None,
        patch_mask: Tensor | None = None,
    ) -> Tensor:
        """Return the update (B, P, C, D).

        ``turns`` are RoPE's cosines and sines (P, 1, E) for each step;
        ``channel_mask`` (B, C) is False for padded channels, ``patch_mask`` (B, P)
        for padded steps, which a causal branch never meets: they are at the end.
        """
        H, G, E = self.n_heads, self.n_kv_heads, self.head_dim
        n_spatial, n_values = (H + 2 * G) * E, G * E
        if _is_plain(self.project_in):
            weight = self.project_in.weight
            # The temporal values apart: read in place, they must lie together.
            first = F.linear(h_BPCD, weight[:-n_values])
            v = F.linear(h_BPCD, weight[-n_values:])
        else:
            rows = self.project_in(h_BPCD)
            first, v = rows[..., :-n_values], rows[..., -n_values:]
        spatial, temporal = first.split((n_spatial, n_spatial - n_values), dim=-1)
        s_BPCD = self._across_channels(spatial, channel_mask)
        a_BPCD = self._along_time(temporal, v, turns, patch_mask)
        if not _is_plain(self.project_out):
            both: Tensor = self.project_out(torch.cat((s_BPCD, a_BPCD), dim=-1))
            return both
        # W_O [S; A] as two products: side by side they would have to be copied.
        out_S, out_A = self.project_out.weight.split(h_BPCD.shape[-1], dim=1)
        return F.linear(s_BPCD, out_S) + F.linear(a_BPCD, out_A)

    def _across_channels(self, qkv: Tensor, channel_mask: Tensor | None) -> Tensor:
        H, G, E = self.n_heads, self.n_kv_heads, self.head_dim
        n_windows, n_steps, n_channels = qkv.shape[:3]
        rows = qkv.flatten(0, 1).unflatten(-1, (H + 2 * G, E)).transpose(1, 2)
        q, k, v = rows.split((H, G, G), dim=1)  # each (B P, ., C, E)
        mask = None
        if channel_mask is not None:
            mask = channel_mask.repeat_interleave(n_steps, 0)[:, None, None, :]
        out = _attended(q, k, v, mask, enable_gqa=H != G)
        return out.transpose(1, 2).reshape(n_windows, n_steps, n_channels, H * E)

    def _along_time(
        self,
        qk: Tensor,
        v: Tensor,
        turns: tuple[Tensor, Tensor],
        patch_mask: Tensor | None,
    ) -> Tensor:
        H, G, E = self.n_heads, self.n_kv_heads, self.head_dim
        n_windows, n_steps, n_channels = qk.shape[:3]
        qk = turned(qk.unflatten(-1, (H + G, E)), turns)
        q, k = (part.flatten(2, 3).transpose(1, 2) for part in qk.split((H, G), dim=3))
        v = v.unflatten(-1, (G, E)).flatten(2, 3).transpose(1, 2)  # (B, C G, P, E)
        mask = None
        if patch_mask is not None and not self.is_causal:
            mask = patch_mask[:, None, None, :]
        out = _attended(q, k, v, mask, is_causal=self.is_causal, enable_gqa=H != G)
        return out.transpose(1, 2).reshape(n_windows, n_steps, n_channels, H * E)


def _attended(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, **how: bool
) -> Tensor:
    """Return torch's attention; on a processor always in single precision at least.

    There its way back takes 3 to 5 times as long in half precision as in single.
    """
    attend = F.scaled_dot_product_attention
    if q.device.type != "cpu" or q.dtype not in (torch.bfloat16, torch.float16):
        return attend(q, k, v, attn_mask=mask, **how)
    with torch.autocast("cpu", enabled=False):
        out = attend(q.float(), k.float(), v.float(), attn_mask=mask, **how)
    return out.to(q.dtype)


def _is_plain(layer: nn.Module) -> bool:
    """Whether a layer's weight is all of it: an adapter beside it must be asked."""
    return type(layer) is nn.Linear


def rope_turns(
    n_steps: int, head_dim: int, base: float, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Return cosines and sines (P, 1, 1, E / 2) of rotary positions.

    Pair i of a head turns by t * base^(-2 i / E) at step t, counted from 0.
    """
    pair = torch.arange(0, head_dim, 2, device=like.device, dtype=torch.float64)
    step = torch.arange(n_steps, device=like.device, dtype=torch.float64)
    angle = step[:, None] * base ** (-pair / head_dim)
    angle = angle[:, None, None, :]
    return angle.cos().to(like.dtype), angle.sin().to(like.dtype)


def turned(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate each pair (i, i + E / 2) of the last axis of x (B, P, C, H, E)."""
    cos, sin = (part.to(x.dtype) for part in turns)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
