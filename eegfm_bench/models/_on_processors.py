"""Two steps of encoders on patches, arranged for a processor.

From: projected tokens, or tokens on a grid of channels and patches. To: attended
tokens; what lies around each token. Same functions as torch's, same weights; what
differs is what is kept for the way back and in which order it is computed.

Letters: N groups of tokens, S tokens of a group, H heads, E values of a head, B
windows, C channels, P patches, D values of a token.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from eegfm_bench.models._dropout import kept_of, masked


def attention_of_few(qkv_NS3HE: Tensor, drop_prob: float) -> Tensor:
    """Let the few tokens of each of many groups attend to each other.

    torch's attention with dropout copies several times on a processor, and looks for
    groups that may attend to nothing; here are none.

    Parameters
    ----------
    qkv_NS3HE : tensor (N, S, 3, H, E)
        Queries, keys and values.
    drop_prob : float
        Share of the attention weights that is dropped; 0 outside training.

    Returns
    -------
    y_NSHE : tensor (N, S, H, E)
        Of the same type. Weights are computed in float32 at least.
    """
    y_NSHE: Tensor = _AttentionOfFew.apply(qkv_NS3HE, drop_prob)
    return y_NSHE


class _AttentionOfFew(torch.autograd.Function):
    """Attention that keeps weights and a mask of bytes, no dropped weights."""

    @staticmethod
    def forward(ctx: Any, qkv_NS3HE: Tensor, drop_prob: float) -> Tensor:
        # Copied in its own type, then widened: half the time of both at once.
        qkv_3NHSE = qkv_NS3HE.permute(2, 0, 3, 1, 4).contiguous()
        q, k, v = _wide(qkv_3NHSE).flatten(1, 2)
        kept, ctx.factor = None, 1.0
        with torch.autocast(q.device.type, enabled=False):
            scores = torch.bmm(q * q.shape[-1] ** -0.5, k.transpose(1, 2))
            weights = scores.softmax(-1)
            if drop_prob > 0:
                kept, ctx.factor = kept_of(weights, drop_prob)
            y = torch.bmm(_dropped(weights, kept, ctx.factor), v)
        ctx.save_for_backward(qkv_3NHSE, weights, kept)
        y_NHSE = y.to(qkv_NS3HE.dtype).view(qkv_3NHSE.shape[1:])
        return y_NHSE.transpose(1, 2).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NSHE: Tensor) -> tuple[Tensor, None]:
        qkv_3NHSE, weights, kept = ctx.saved_tensors
        q, k, v = _wide(qkv_3NHSE).flatten(1, 2)
        grad = _wide(grad_NSHE.transpose(1, 2).contiguous()).flatten(0, 1)
        into = torch.empty(qkv_3NHSE.shape, dtype=grad.dtype, device=grad.device)
        into_q, into_k, into_v = into.flatten(1, 2)
        with torch.autocast(grad.device.type, enabled=False):
            used = _dropped(weights, kept, ctx.factor)
            torch.bmm(used.transpose(1, 2), grad, out=into_v)
            of_used = torch.bmm(grad, v.transpose(1, 2))
            of_weights = _dropped(of_used, kept, ctx.factor)
            of_scores = torch.ops.aten._softmax_backward_data(
                of_weights, weights, -1, weights.dtype
            ).mul_(q.shape[-1] ** -0.5)
            torch.bmm(of_scores, k, out=into_q)
            torch.bmm(of_scores.transpose(1, 2), q, out=into_k)
        narrow = into.to(qkv_3NHSE.dtype).permute(1, 3, 0, 2, 4)
        return narrow.contiguous(), None


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _dropped(x: Tensor, kept: Tensor | None, factor: float) -> Tensor:
    return x if kept is None else masked(x, kept, factor)


def around(conv: nn.Conv2d, tokens_BCPD: Tensor) -> Tensor:
    """Convolve each value of a token with those of the tokens around it.

    Parameters
    ----------
    conv : nn.Conv2d
        Depth-wise, of odd extent over channels and patches, padded to keep the grid.
    tokens_BCPD : tensor (B, C, P, D)

    Returns
    -------
    y_BCPD : tensor (B, C, P, D)
    """
    if tokens_BCPD.device.type != "cpu":
        out_BDCP: Tensor = conv(tokens_BCPD.permute(0, 3, 1, 2))
        return out_BDCP.permute(0, 2, 3, 1)
    out_BCPD: Tensor = _Around.apply(tokens_BCPD, conv.weight, conv.bias)
    return out_BCPD


class _Around(torch.autograd.Function):
    """A depth-wise convolution whose weights get their gradient by matrix products.

    torch takes longer for that gradient than for a tenth of the encoder. Here it is one
    product over windows and patches for each step along patches: a matrix of channels
    by channels for every value, whose diagonals are the taps across channels.
    """

    @staticmethod
    def forward(ctx: Any, x_BCPD: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x_BCPD, weight)
        return _convolved(x_BCPD, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BCPD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x_BCPD, weight = ctx.saved_tensors
        B, C, P, D = x_BCPD.shape
        n_across, n_along = weight.shape[2:]
        side, ahead = n_across // 2, n_along // 2
        flipped = weight.flip(2, 3).to(grad_BCPD.dtype)
        into_x = _convolved(grad_BCPD, flipped, None)
        of = {
            "dtype": torch.promote_types(x_BCPD.dtype, torch.float32),
            "device": x_BCPD.device,
        }
        # B comes last, so that P patches from any on are one stretch of memory.
        x_DCPB = torch.zeros(D, C, P + 2 * ahead, B, **of)
        x_DCPB[:, :, ahead : ahead + P] = x_BCPD.permute(3, 1, 2, 0)
        x_DCN, grad_DCN = x_DCPB.flatten(2), _wide(grad_BCPD.permute(3, 1, 2, 0))
        grad_DCN = grad_DCN.contiguous().flatten(2)
        pairs_DCC = torch.zeros(D, C, C + 2 * side, **of)
        # Row c shifted by c: what is i channels away stands in column i.
        stride_D, stride_C, _ = pairs_DCC.stride()
        shifted = pairs_DCC.as_strided((D, C, n_across), (stride_D, stride_C + 1, 1))
        into_weight = torch.empty(weight.shape, **of)
        for j in range(n_along):
            near_DCN = x_DCN[:, :, j * B : (j + P) * B]
            pairs = torch.bmm(grad_DCN, near_DCN.transpose(1, 2))
            pairs_DCC[:, :, side : side + C] = pairs
            into_weight[:, 0, :, j] = shifted.sum(1)
        into_bias = grad_DCN.sum((1, 2))
        return into_x, into_weight.to(weight.dtype), into_bias.to(weight.dtype)


def _convolved(x_BCPD: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    padding = (weight.shape[2] // 2, weight.shape[3] // 2)
    out_BDCP = F.conv2d(
        x_BCPD.permute(0, 3, 1, 2), weight, bias, padding=padding, groups=len(weight)
    )
    return out_BDCP.permute(0, 2, 3, 1)
