"""Many small networks, of which each block of tokens meets a few.

From: blocks of tokens (R, C, D) and the experts chosen for each block. To: their
weighted sum (R, C, D). A block is all channels of one step (Trace) or one token (its
rival); all tokens of a block meet the same experts.

Letters: R blocks, C tokens in a block, N experts, K chosen, W an expert's width,
M rows: (block, choice) pairs times C tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Part of torch from 2.10 on; before that a plain loop does the same.
_grouped_mm: Any = getattr(F, "grouped_mm", None)


class SwiGLU(nn.Module):
    """down(silu(gate(h)) * up(h)), without biases: a shared or dense expert."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(dim, 2 * width, bias=False)
        self.down = nn.Linear(width, dim, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        """Return the update (..., D) of tokens (..., D)."""
        gate, up = self.gate_up(h).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class Experts(nn.Module):
    """N SwiGLU networks; those chosen are computed as grouped products.

    ``gate_up`` is (N, D, 2 W), gates first, and ``down`` (N, W, D). The rows of all
    (block, choice) pairs are brought into the order of their experts, so that each
    expert is one product over the rows it got, all of them in one call.
    """

    def __init__(self, n_experts: int, dim: int, width: int) -> None:
        super().__init__()
        self.gate_up = nn.Parameter(torch.empty(n_experts, dim, 2 * width))
        self.down = nn.Parameter(torch.empty(n_experts, width, dim))
        for weight in (self.gate_up, self.down):
            # As nn.Linear starts: uniform within one over the root of the inputs.
            nn.init.uniform_(
                weight, -(weight.shape[1] ** -0.5), weight.shape[1] ** -0.5
            )

    def forward(self, h_RCD: Tensor, chosen_RK: Tensor, weights_RK: Tensor) -> Tensor:
        """Return sum_k weights[r, k] * Expert_{chosen[r, k]}(h[r]), (R, C, D)."""
        n_blocks, n_tokens, _ = h_RCD.shape
        n_chosen = chosen_RK.shape[1]
        dtype = _product_dtype(h_RCD)
        expert_S, order_S = chosen_RK.flatten().sort(stable=True)  # S = R K pairs
        per_expert = torch.bincount(expert_S, minlength=len(self.gate_up))
        ends_N = (per_expert.cumsum(0) * n_tokens).to(torch.int32)
        rows_MD = h_RCD.to(dtype)[order_S // n_chosen].flatten(0, 1)
        inner_MW = _grouped(rows_MD, self.gate_up.to(dtype), ends_N)
        gate, up = inner_MW.chunk(2, dim=-1)
        # The weight acts before the last product: the same number, fewer rows wide.
        weight_S11 = weights_RK.flatten()[order_S].to(dtype)[:, None, None]
        scaled_MW = (F.silu(gate) * up).unflatten(0, (-1, n_tokens)) * weight_S11
        out_MD = _grouped(scaled_MW.flatten(0, 1), self.down.to(dtype), ends_N)
        back_S = torch.empty_like(order_S)
        back_S[order_S] = torch.arange(len(order_S), device=order_S.device)
        out_SCD = out_MD.unflatten(0, (-1, n_tokens))[back_S]
        return out_SCD.unflatten(0, (n_blocks, n_chosen)).sum(1)


def _product_dtype(x: Tensor) -> torch.dtype:
    """Return autocast's type where it is on: it does not reach grouped products."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def _grouped(rows: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    """Multiply the rows (M, I) up to each end by that expert's weights (N, I, O).

    Grouped where torch can: not in double precision, before 2.10, or where a row is
    no multiple of 16 bytes; there a loop over the experts does the same.
    """
    widths = (rows.shape[-1], weights.shape[-1])
    is_aligned = all(n * rows.element_size() % 16 == 0 for n in widths)
    if _grouped_mm is None or rows.dtype == torch.float64 or not is_aligned:
        sizes = torch.diff(ends, prepend=ends.new_zeros(1)).tolist()
        parts = rows.split(sizes)
        return torch.cat([r @ w for r, w in zip(parts, weights, strict=True)])
    out: Tensor = _grouped_mm(rows, weights, offs=ends)
    return out
