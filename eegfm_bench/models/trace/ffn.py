"""Cross-channel temporal routing: one choice of experts for all channels of a step.

From: normalised tokens (B, P, C, D). To: their update (B, P, C, D), and how they
were routed, for the balance loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eegfm_bench.models.trace.config import TraceConfig
from eegfm_bench.models.trace.experts import Experts, SwiGLU
from eegfm_bench.models.trace.history import FullLinear, TemporalFormer


@dataclass(frozen=True, slots=True)
class Routed:
    """What a layer's selector said.

    ``probabilities`` (R, N) in float32 at least, ``chosen`` (R, K), with R blocks:
    steps (b * P + t), or for token-wise routing tokens ((b * P + t) * C + c).
    """

    probabilities: Tensor
    chosen: Tensor


class RoutedFFN(nn.Module):
    """A shared expert for every token, and K of N routed ones, equations (11), (12).

    p_t = softmax(W_r r_t), S_t its K largest, y[c, t] = Shared(h[c, t]) +
    sum_{i in S_t} p_{t, i} Expert_i(h[c, t]): the same S_t for all channels c. The
    weights of the chosen are renormalised only with ``norm_topk``.

    What r_t is tells table 14's rivals apart: ``trace`` the TemporalFormer's state,
    ``mean`` the mean token of the step, ``token`` each token itself; ``none`` has one
    dense network instead, of ``dense_width``.
    """

    def __init__(
        self, config: TraceConfig, queries: nn.Parameter | None = None
    ) -> None:
        super().__init__()
        self.routing = config.routing
        self.n_active = config.active
        self.norm_topk = config.norm_topk
        self.history: TemporalFormer | None = None
        self.select: nn.Linear | None = None
        self.experts: Experts | None = None
        self.shared: SwiGLU | None = None
        if config.routing == "none":
            if config.dense_width is None:
                raise ValueError("dense_width is solved for before layers are built")
            self.shared = SwiGLU(config.dim, config.dense_width)
            return
        if config.routing == "trace":
            self.history = TemporalFormer(config, queries)
        self.select = FullLinear(config.dim, config.experts, bias=False)
        self.experts = Experts(config.experts, config.dim, config.expert_width)
        if config.shared_width:
            self.shared = SwiGLU(config.dim, config.shared_width)

    def forward(
        self,
        h_BPCD: Tensor,
        channel_mask: Tensor | None = None,
        patch_mask: Tensor | None = None,
    ) -> tuple[Tensor, Routed | None]:
        """Return the update (B, P, C, D) and how it was routed."""
        always = self.shared(h_BPCD) if self.shared is not None else None
        if self.select is None or self.experts is None:
            if always is None:
                raise ValueError("a layer without experts needs a dense network")
            return always, None
        with torch.autocast(h_BPCD.device.type, enabled=False):
            state = self._state(h_BPCD, channel_mask, patch_mask)
            probabilities_RN = self.select(state.flatten(0, -2)).softmax(-1)
        weights_RK, chosen_RK = probabilities_RN.topk(self.n_active, dim=-1)
        if self.norm_topk:
            weights_RK = weights_RK / weights_RK.sum(-1, keepdim=True)
        n_tokens = 1 if self.routing == "token" else h_BPCD.shape[2]
        blocks_RCD = h_BPCD.reshape(-1, n_tokens, h_BPCD.shape[-1])
        some = self.experts(blocks_RCD, chosen_RK, weights_RK).view_as(h_BPCD)
        update = some if always is None else always + some
        return update, Routed(probabilities_RN, chosen_RK)

    def _state(
        self, h_BPCD: Tensor, channel_mask: Tensor | None, patch_mask: Tensor | None
    ) -> Tensor:
        """Return what is routed on: (B, P, D), or (B, P, C, D) token by token."""
        if self.history is not None:
            return self.history(h_BPCD, channel_mask, patch_mask)
        h_BPCD = h_BPCD.to(torch.promote_types(h_BPCD.dtype, torch.float32))
        if self.routing == "token":
            return h_BPCD
        if channel_mask is None:
            return h_BPCD.mean(2)
        kept_B1C1 = channel_mask[:, None, :, None].to(h_BPCD.dtype)
        return (h_BPCD * kept_B1C1).sum(2) / kept_B1C1.sum(2)


def balance_loss(
    routing: list[Routed], counted: Tensor | None = None, *, like: Tensor
) -> Tensor:
    """Return how unevenly blocks chose, equation (17), mean over layers.

    Per layer, over the n blocks counted: f_i = N / (K n) #{blocks that chose i},
    P_i = mean p_i, and the loss is sum_i f_i P_i: 1 when all experts are alike, N / K
    when all blocks choose the same K with equal and full weight.

    Parameters
    ----------
    routing : list of Routed
        One for each layer; empty for a dense network, whose loss is 0.
    counted : tensor (R,), optional
        False for padded blocks.
    like : tensor
        Gives the device and type of a loss of 0.
    """
    losses = []
    for routed in routing:
        p_RN, chosen_RK = routed.probabilities, routed.chosen
        picked_RN = torch.zeros_like(p_RN).scatter_(1, chosen_RK, 1.0)
        if counted is None:
            f_N, mean_N = picked_RN.mean(0), p_RN.mean(0)
        else:
            kept_R1 = counted[:, None].to(p_RN.dtype)
            n = kept_R1.sum().clamp_min(1.0)
            f_N, mean_N = (picked_RN * kept_R1).sum(0) / n, (p_RN * kept_R1).sum(0) / n
        n_experts, n_active = p_RN.shape[1], chosen_RK.shape[1]
        losses.append(n_experts / n_active * (f_N * mean_N).sum())
    return torch.stack(losses).mean() if losses else like.new_zeros(())
