"""The networks that Trace is timed beside: its own parts in the plain way, CBraMod.

From: a Trace, or a shape and a number of operations. To: ``trace.py``.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from eegfm_bench.models.trace.config import TraceConfig
from eegfm_bench.models.trace.cost import matched_dense_width
from eegfm_bench.models.trace.encoder import Encoded, TraceEncoder
from eegfm_bench.models.trace.experts import Experts
from eegfm_bench.models.trace.history import TemporalFormer

PATCH, RATE_HZ, N_CLASSES = 200, 200.0, 2


class LoopedExperts(Experts):
    """The same experts, one after the other in Python."""

    def forward(self, h_RCD: Tensor, chosen_RK: Tensor, weights_RK: Tensor) -> Tensor:
        """Return the weighted sum (R, C, D) of each block's experts."""
        out_RCD = torch.zeros_like(h_RCD)
        for n, (gate_up, down) in enumerate(
            zip(self.gate_up.unbind(), self.down.unbind(), strict=True)
        ):
            block_M, choice_M = (chosen_RK == n).nonzero(as_tuple=True)
            if len(block_M) == 0:
                continue
            gate, up = (h_RCD[block_M] @ gate_up).chunk(2, dim=-1)
            own = (F.silu(gate) * up) @ down
            weighted = weights_RK[block_M, choice_M, None, None] * own
            out_RCD.index_add_(0, block_M, weighted.to(out_RCD.dtype))
        return out_RCD


class UnfoldedHistory(TemporalFormer):
    """The same attention as it is written: each step's queries over all tokens."""

    def forward(
        self,
        h_BPCD: Tensor,
        channel_mask: Tensor | None = None,
        patch_mask: Tensor | None = None,
    ) -> Tensor:
        """Return routing states (B, P, D)."""
        B, P, C, D = h_BPCD.shape
        H, Q = self.n_heads, len(self.queries)
        h_BPCD = h_BPCD.to(self.queries.dtype)
        k_BHME, v_BHME = (
            part(h_BPCD).flatten(1, 2).unflatten(-1, (H, D // H)).transpose(1, 2)
            for part in (self.key, self.value)
        )
        q_HQE = self.queries.unflatten(-1, (H, D // H)).transpose(0, 1)
        q_BHPQE = q_HQE[None, :, None].expand(B, H, P, Q, D // H)
        step = torch.arange(P, device=h_BPCD.device)
        is_seen = step.repeat_interleave(Q)[:, None] >= step.repeat_interleave(C)
        z_BHSE = F.scaled_dot_product_attention(
            q_BHPQE.flatten(2, 3), k_BHME, v_BHME, attn_mask=is_seen
        )
        z_BHPE = z_BHSE.unflatten(2, (P, Q)).mean(3)
        return self.mix(z_BHPE.transpose(1, 2).flatten(2))


class Pooled(nn.Module):
    """An encoder and one linear layer on its mean hidden state."""

    def __init__(self, encoder: nn.Module, width: int, scale_uv: float = 1.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.scale_uv = scale_uv
        self.head = nn.Linear(width, N_CLASSES)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return logits (B, K) of windows in µV."""
        found = self.encoder(x_BCT / self.scale_uv)
        hidden_BCPD = found.hidden if isinstance(found, Encoded) else found
        return self.head(hidden_BCPD.mean((1, 2)))


def trace(config: TraceConfig, C: int, P: int) -> Pooled:
    """Return Trace's encoder; a dense one as wide as costs the same at the shape."""
    if config.routing == "none":
        width = matched_dense_width(config, C, P)
        config = dataclasses.replace(config, dense_width=width)
    torch.manual_seed(0)
    return Pooled(TraceEncoder(config), config.dim)


def spread_choices(model: Pooled) -> None:
    """Let every block choose experts of its own, the same at every call."""
    for i, block in enumerate(model.encoder.blocks):
        if block.ffn.select is None:
            continue
        known: dict[torch.Size, Tensor] = {}

        def noisy(_: Any, __: Any, logits: Tensor, i: int = i, known=known) -> Tensor:
            if logits.shape not in known:
                generator = torch.Generator().manual_seed(i)
                noise = 3 * torch.randn(logits.shape, generator=generator)
                known[logits.shape] = noise.to(logits.device)
            return logits + known[logits.shape]

        block.ffn.select.register_forward_hook(noisy)


def made_plain(model: Pooled, name: str) -> Pooled:
    """Return the same network, sharing its weights, in a plainer way."""
    plain = copy.deepcopy(model, {id(p): p for p in model.parameters()})
    for module in plain.modules():
        if isinstance(module, Experts) and name in ("plain", "looped"):
            module.__class__ = LoopedExperts
        if isinstance(module, TemporalFormer) and name in ("plain", "unfolded"):
            module.__class__ = UnfoldedHistory
    return plain


def counted(model: nn.Module, C: int, P: int) -> int:
    """Return a window's operations, as torch's counter has them."""
    # Attention and inference as one fused kernel are unknown to the counter on CPUs.
    counter = FlopCounterMode(display=False)
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model(torch.zeros(1, C, P * PATCH))
    return counter.get_total_flops()


def cbramod(
    C: int, P: int, *, layers: int = 12, fifths: int = 5, inner: int = 800
) -> Pooled:
    """Return CBraMod of width 40 * fifths (5: its own 200)."""
    from eegfm_bench.models._torchaudio import ensure_torchaudio_imports

    ensure_torchaudio_imports()
    from braindecode.models import CBraMod

    filters = 5 * fifths
    norm = (5, filters)
    encoder = CBraMod(
        n_chans=C,
        n_times=P * PATCH,
        n_outputs=N_CLASSES,
        sfreq=RATE_HZ,
        n_layer=layers,
        dim_feedforward=inner,
        emb_dim=8 * filters,
        channels_kernel_stride_padding_norm=(
            (filters, 49, 25, 24, norm),
            (filters, 3, 1, 1, norm),
            (filters, 3, 1, 1, norm),
        ),
        drop_prob=0.0,
        return_encoder_output=True,
    )
    return Pooled(encoder, 8 * filters, scale_uv=100.0)


def cbramod_of_equal_cost(name: str, C: int, P: int, wanted: int) -> tuple[Pooled, str]:
    """Return CBraMod at the operations wanted, and its measures in words."""

    def cost(**changes: int) -> int:
        return counted(cbramod(C, P, **changes), C, P)

    if name == "deep":
        one, two = cost(layers=1), cost(layers=2)
        layers = max(1, 1 + round((wanted - one) / (two - one)))
        return cbramod(C, P, layers=layers), f"{layers} layers of 200"
    fifths = max(1, round(5 * (wanted / cost()) ** 0.5))
    less, more = (cost(fifths=fifths, inner=n) for n in (800, 1600))
    inner = 800 + 800 * (wanted - less) / (more - less)
    inner = max(16, 16 * round(inner / 16))
    model = cbramod(C, P, fifths=fifths, inner=inner)
    return model, f"12 layers of {40 * fifths}, inner {inner}"
