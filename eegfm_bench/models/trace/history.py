"""What the whole head has shown so far, in one vector a step: the TemporalFormer.

From: normalised tokens (B, P, C, D). To: routing states r (B, P, D). The state at a
step knows all channels of that step and of those before, and nothing after; with
``attention=full`` it knows all steps.

Letters: Q queries, H heads, E features of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eegfm_bench.models.trace.config import TraceConfig


class FullLinear(nn.Linear):
    """A linear layer that computes in float32 at least, however it is kept."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the product (..., O) of an input (..., I)."""
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        bias = None if self.bias is None else self.bias.to(dtype)
        return F.linear(input.to(dtype), self.weight.to(dtype), bias)


class TemporalFormer(nn.Module):
    """Learnt queries over all tokens up to each step, equations (13) and (14).

    Query q at step t attends to every (c, tau) with tau <= t; z[q, t] is what it
    gathers and r_t = FFN(mean_q z[q, t]). The queries do not depend on t, so each
    step is a prefix softmax, computed exactly and cheaply:

    - keys fold into the queries: a[q, h] = W_K,h' q_h / sqrt(E), and the score of a
      token is s = h . a[q, h];
    - per step: l = logsumexp_c s, pooled = softmax_c(s) . h, u = W_V,h pooled;
    - over steps: z[q, h, t] = sum_{tau <= t} softmax_{tau <= t}(l) u[tau].

    Cost: Q H C P D + Q P² D, not Q C P² D. In float32 at least, and no maximum over
    all steps is taken off: it would let the future round the past. With
    ``attention=full`` the softmax is over all steps that are not padding, and as
    queries do not depend on t, all steps of a window have one state.
    """

    def __init__(
        self, config: TraceConfig, queries: nn.Parameter | None = None
    ) -> None:
        super().__init__()
        self.n_heads = config.query_heads
        self.is_causal = config.attention == "causal"
        if queries is None:
            # Scores of the order of one at the start, tokens being normalised.
            queries = nn.Parameter(torch.randn(config.queries, config.dim))
        self.queries = queries
        self.key = nn.Linear(config.dim, config.dim, bias=False)
        self.value = nn.Linear(config.dim, config.dim, bias=False)
        self.mix = nn.Sequential(
            FullLinear(config.dim, config.dim),
            nn.SiLU(),
            FullLinear(config.dim, config.dim),
        )

    def forward(
        self,
        h_BPCD: Tensor,
        channel_mask: Tensor | None = None,
        patch_mask: Tensor | None = None,
    ) -> Tensor:
        """Return routing states r (B, P, D); padded channels are passed over."""
        dtype = torch.promote_types(self.queries.dtype, torch.float32)
        h_BPCD = h_BPCD.to(dtype)
        n_windows, n_steps, _, n_features = h_BPCD.shape
        n_queries, n_heads = len(self.queries), self.n_heads
        s_BPCQ = h_BPCD @ self._folded_keys(dtype).T  # Q stands for all Q x H from here
        if channel_mask is not None:
            s_BPCQ = s_BPCQ.masked_fill(~channel_mask[:, None, :, None], -torch.inf)
        l_BPQ = s_BPCQ.logsumexp(dim=2)
        share_BPCQ = (s_BPCQ - l_BPQ.unsqueeze(2)).exp()
        pooled_BPQD = share_BPCQ.transpose(2, 3) @ h_BPCD

        # Steps up to each step t, T counting the steps that look back.
        l_BQTP = l_BPQ.transpose(1, 2).unsqueeze(2)
        if self.is_causal:
            is_ahead_TP = torch.ones(
                n_steps, n_steps, dtype=torch.bool, device=h_BPCD.device
            ).triu(1)
            l_BQTP = l_BQTP.masked_fill(is_ahead_TP, -torch.inf)
        elif patch_mask is not None:
            l_BQTP = l_BQTP.masked_fill(~patch_mask[:, None, None, :], -torch.inf)
        back_BQTP = l_BQTP.softmax(-1)  # T is one where all steps see the same
        value_HED = self.value.weight.to(dtype).unflatten(0, (n_heads, -1))
        pooled_BPQHD = pooled_BPQD.unflatten(2, (n_queries, n_heads))
        u_BPQHE = torch.einsum("bpqhd,hed->bpqhe", pooled_BPQHD, value_HED)
        u_BQPE = u_BPQHE.flatten(2, 3).transpose(1, 2)
        z_BQTE = back_BQTP @ u_BQPE
        z_BQHTE = z_BQTE.unflatten(1, (n_queries, n_heads))
        z_BTD = z_BQHTE.mean(1).transpose(1, 2).reshape(n_windows, -1, n_features)
        r_BTD: Tensor = self.mix(z_BTD)
        return r_BTD.expand(-1, n_steps, -1)

    def _folded_keys(self, dtype: torch.dtype) -> Tensor:
        """Return a (Q H, D): one constant vector for each query and head."""
        query_QHE = self.queries.to(dtype).unflatten(-1, (self.n_heads, -1))
        key_HED = self.key.weight.to(dtype).unflatten(0, (self.n_heads, -1))
        folded_QHD = torch.einsum("qhe,hed->qhd", query_QHE, key_HED)
        return folded_QHD.flatten(0, 1) / query_QHE.shape[-1] ** 0.5
