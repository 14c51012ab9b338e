"""CodeBrain: seconds of channels as one long row of tokens, convolved as a whole.

From: batch (B, C, T) in µV. To: logits (B, K).

Paper: Ma et al., CodeBrain: Bridging Decoupled Tokenizer and Multi-Scale Architecture
for EEG Foundation Model, ICLR 2026, arXiv 2506.09110. Code:
github.com/jingyingma01/CodeBrain (commit 22d350c); the encoder's modules are
braindecode's, ``braindecode.models.CodeBrain``, BSD-3-Clause.

Letters: B windows, C channels, T time points, P patches per channel, L tokens of a
window, L = C P, D values of a token, H attention heads, F features, K classes.

A patch is one second of one channel, made a token as in CBraMod: convolutions over time
points, a linear map of the amplitude spectrum, a depth-wise convolution over channels
and patches. The tokens of a window stand in one row, channel after channel. A layer
convolves the row with kernels that reach across all of it, coarser the farther they
reach, adds attention among neighbours and is gated; what the layers say is summed. The
head sees all tokens of a window in a row.

What differs from the source, and why, is in ``DIFFERENCES``.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eegfm_bench.errors import SpecError
from eegfm_bench.models._braindecode import braindecode_models
from eegfm_bench.models._codebrain_weights import WEIGHTS
from eegfm_bench.models._options import (
    checked_options,
    flag,
    odd,
    one_of,
    positive,
    refuse_uneven,
    share,
    whole,
)
from eegfm_bench.models._patch_heads import (
    PATCH,
    PooledHead,
    not_whole_patches,
    three_layers,
)
from eegfm_bench.models._spec import InputShape, Size, model
from eegfm_bench.runs.spec import TrainingRecipe

# The source divides windows in µV by 100.
SCALE_UV = 100.0

DIFFERENCES = (
    "What never gets a gradient from classes is left out: the vector that masks "
    "patches, the two maps to codes, and the last layer's norm and residual map, which "
    "no layer follows.",
    "The kernels' norms, by which they are divided ever after, are taken when the "
    "model is built, not in its first forward pass: they depend on nothing else, and "
    "what is saved before a pass is then whole.",
    "Attention, which in the released code spans one token, its own, is computed "
    "without scores: one weight of a softmax over one is 1, rounding apart.",
    "The head's first layer has 200 units for each patch, as the released heads have; "
    "braindecode's has 800 at any length. Windows of a number of patches without a "
    "released head get one by this rule.",
    "The head has a logit for each class where there are two, not one logit for both: "
    "every model here is trained by cross-entropy.",
    "A window that does not divide into patches is refused; braindecode's class drops "
    "its end.",
    "The small scale has few and narrow layers, and a head on each channel's mean over "
    "the patches with batch norm before it: a budget of 4 ms a window, 128 hidden "
    "units and some forty steps. These steps could not raise amplitudes of a "
    "hundredth, so that it takes µV undivided.",
)


class CodeBrain(nn.Module):
    """braindecode's CodeBrain without what pre-trains it, and the published head.

    Parameters
    ----------
    shape : InputShape
    scale_uv : float
        By which windows in µV are divided.
    n_layers, width, num_heads : int
        Layers, values of a token between them, and heads of attention within them.
    out_width : int
        Values of a token that the head sees.
    n_filters : int
        Filters of each of the three convolutions of a patch, and the first one's step.
    kernel_length, kernel_padding, refine_length : int
        Taps and padding of the first convolution, and taps of the two that follow.
    norm_groups : int
        Groups of filters that are normalised together.
    pos_channels, pos_patches : int
        Extent of the convolution that tells a token where it is.
    n_kernels : int
        Kernels over the row of tokens, for each value of a token.
    reach : int
        Tokens that a kernel reaches, at least.
    is_bidirectional : bool
        Whether kernels reach tokens that follow too.
    attention_window : int
        Tokens that attention spans, centred; 1 is a token alone.
    drop_prob : float
        Dropout within the encoder.
    head : str
        ``patches``: three layers on all tokens in a row; ``pooled``: two on each
        channel's mean over the patches.
    head_hidden : int
        Units of the first layer of ``patches``; 0 takes ``head_units`` for each patch.
    head_units : int
        Units of the last hidden layer.
    head_drop_prob : float
        Dropout within the head.

    Attributes
    ----------
    net : braindecode.models.CodeBrain
        Holds the encoder's weights under braindecode's names.
    head : nn.Module
        Features (B, F) to logits (B, K).
    """

    def __init__(
        self,
        shape: InputShape,
        *,
        scale_uv: float,
        n_layers: int,
        width: int,
        out_width: int,
        num_heads: int,
        n_filters: int,
        kernel_length: int,
        kernel_padding: int,
        refine_length: int,
        norm_groups: int,
        pos_channels: int,
        pos_patches: int,
        n_kernels: int,
        reach: int,
        is_bidirectional: bool,
        attention_window: int,
        drop_prob: float,
        head: str,
        head_hidden: int,
        head_units: int,
        head_drop_prob: float,
    ) -> None:
        super().__init__()
        self.scale_uv = scale_uv
        self.attention_window = attention_window
        self.net: Any = _braindecode_class()(
            # Of one patch, and of one code: of what is made of these, nothing stays.
            n_chans=1,
            n_times=PATCH,
            codebook_size_t=1,
            codebook_size_f=1,
            n_outputs=shape.n_classes,
            sfreq=shape.rate_hz,
            patch_size=PATCH,
            res_channels=width,
            skip_channels=width,
            out_channels=out_width,
            num_res_layers=n_layers,
            drop_prob=drop_prob,
            s4_bidirectional=is_bidirectional,
            s4_layernorm=False,
            s4_lmax=reach,
            conv_out_chans=n_filters,
            conv_groups=norm_groups,
            proj_kernel_size=kernel_length,
            proj_padding=kernel_padding,
            proj_refine_kernel=refine_length,
            pos_kernel=(pos_channels, pos_patches),
            spectral_dropout=drop_prob,
            swa_window_size=attention_window,
        )
        del self.net.lm_head_t, self.net.lm_head_f, self.net.final_layer
        del self.net.patch_embedding.mask_encoding
        blocks = self.net.residual_layer.residual_blocks
        del blocks[-1].rms_norm, blocks[-1].res_conv
        for block in blocks:
            if block.sgconv.channels != n_kernels:
                block.sgconv = type(block.sgconv)(
                    2 * width,
                    l_max=reach,
                    channels=n_kernels,
                    bidirectional=is_bidirectional,
                    dropout=drop_prob,
                )
            if block.attention.num_heads != num_heads:
                block.attention = nn.MultiheadAttention(
                    2 * width, num_heads, dropout=drop_prob, batch_first=True
                )
            _take_norms(block.sgconv)
        self.is_pooled = head == "pooled"
        n_patches = shape.n_times // PATCH
        if self.is_pooled:
            n_features = shape.n_channels * out_width
            self.head: nn.Module = PooledHead(
                n_features, head_units, head_drop_prob, shape.n_classes
            )
        else:
            self.head = three_layers(
                shape.n_channels * n_patches * out_width,
                n_patches=n_patches,
                hidden=head_hidden,
                units=head_units,
                drop_prob=head_drop_prob,
                n_classes=shape.n_classes,
            )

    @property
    def n_layers(self) -> int:
        """How many layers ``layer_of`` tells apart: before, within and after blocks."""
        return 2 + len(self.net.residual_layer.residual_blocks)

    def layer_of(self, name: str) -> int:
        """Return the layer of a parameter of the encoder, 0 for what makes tokens."""
        *_, inside = name.partition("residual_blocks.")
        if inside:
            return 1 + int(inside.partition(".")[0])
        is_after = name.startswith(("net.final_conv.", "net.norm."))
        return self.n_layers - 1 if is_after else 0

    def tokens(self, x_BCT: Tensor) -> Tensor:
        """Return what the encoder gives (B, C, P, D), of windows (B, C, T) in µV."""
        net, n_channels = self.net, x_BCT.shape[1]
        patches_BCPL = (x_BCT / self.scale_uv).unflatten(-1, (-1, PATCH))
        tokens_BDL = net.patch_embedding(patches_BCPL).flatten(1, 2).transpose(1, 2)
        tokens_BDL = net.init_conv(tokens_BDL)
        said_BDL = self._said_by_layers(tokens_BDL)
        out_BLD = net.final_conv(said_BDL).transpose(1, 2)
        out_BCPD: Tensor = net.norm(out_BLD).unflatten(1, (n_channels, -1))
        return out_BCPD

    def pooled(self, x_BCT: Tensor) -> Tensor:
        """Return each channel's mean token (B, C D), of windows (B, C, T) in µV."""
        return self.tokens(x_BCT).mean(2).flatten(1)

    def features(self, x_BCT: Tensor) -> Tensor:
        """Return what the head sees (B, F), of windows (B, C, T) in µV."""
        return self.pooled(x_BCT) if self.is_pooled else self.tokens(x_BCT).flatten(1)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return logits (B, K) of windows (B, C, T) in µV."""
        logits_BK: Tensor = self.head(self.features(x_BCT))
        return logits_BK

    def _said_by_layers(self, start_BDL: Tensor) -> Tensor:
        """Return the sum (B, D, L) of what each layer says of a row of tokens."""
        blocks = self.net.residual_layer.residual_blocks
        said: Any = 0.0
        x = start_BDL
        for i, block in enumerate(blocks):
            h, _ = block.sgconv(block.gelu(block.conv_layer(x + start_BDL)))
            h = h + attended(block.attention, h, self.attention_window)
            signal, gate = h.chunk(2, dim=1)
            out = torch.tanh(signal) * torch.sigmoid(gate)
            said = said + block.skip_conv(out)
            if i + 1 < len(blocks):
                x = (block.rms_norm(x) + block.res_conv(out)) * sqrt(0.5)
        summed: Tensor = said / sqrt(len(blocks))
        return summed


def attended(attention: nn.MultiheadAttention, x_BDL: Tensor, window: int) -> Tensor:
    """Let every token attend to those near it.

    Parameters
    ----------
    attention : nn.MultiheadAttention
        Whose weights are used.
    x_BDL : tensor (B, D, L)
        Tokens in a row.
    window : int
        Tokens that one attends to, centred on itself; odd.

    Returns
    -------
    y_BDL : tensor (B, D, L)
    """
    assert attention.in_proj_weight is not None
    heads, p = attention.num_heads, attention.dropout if attention.training else 0.0
    x_BLD, width = x_BDL.transpose(1, 2), x_BDL.shape[1]
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    if window == 1:
        # The one weight of a token and a head is 1, and dropped as weights are.
        v_BLD = F.linear(x_BLD, weight[2 * width :], bias[2 * width :])
        if p > 0:
            kept = F.dropout(v_BLD.new_ones(*v_BLD.shape[:2], heads, 1), p)
            v_BLD = (v_BLD.unflatten(-1, (heads, -1)) * kept).flatten(2)
        return attention.out_proj(v_BLD).transpose(1, 2)
    qkv = F.linear(x_BLD, weight, bias).unflatten(-1, (3, heads, -1))
    q_BHLE, k_BHLE, v_BHLE = qkv.permute(2, 0, 3, 1, 4).unbind()
    at_L = torch.arange(x_BLD.shape[1], device=x_BLD.device)
    is_near_LL = (at_L[:, None] - at_L).abs() <= window // 2
    y_BHLE = F.scaled_dot_product_attention(
        q_BHLE, k_BHLE, v_BHLE, attn_mask=is_near_LL, dropout_p=p
    )
    y_BLD = y_BHLE.transpose(1, 2).flatten(2)
    return attention.out_proj(y_BLD).transpose(1, 2)


@torch.no_grad()
def _take_norms(sgconv: Any) -> None:
    """Have a convolution take its kernels' norms, as its first pass would."""
    was_training = sgconv.training
    sgconv.eval()(torch.zeros(1, sgconv.d_model, 1))
    sgconv.train(was_training)


def _braindecode_class() -> Any:
    """Import braindecode's class, which takes seconds, when it is first needed."""
    return braindecode_models().CodeBrain


RULES = {
    "scale_uv": positive(unit="µV"),
    "kernel_padding": whole(0),
    "refine_length": odd(),
    "pos_channels": odd(),
    "pos_patches": odd(),
    "reach": whole(2),
    "is_bidirectional": flag(),
    "attention_window": odd(),
    "drop_prob": share(),
    "head": one_of("patches", "pooled"),
    "head_hidden": whole(0),
    "head_drop_prob": share(),
}


def _checked(options: Mapping[str, Any], scale: str) -> dict[str, Any]:
    """Return all options, or refuse one that no shape could be served with."""
    chosen = checked_options("codebrain", options, RULES)
    filters = f"{chosen['n_filters']} filters (n_filters)"
    n_groups, groups = chosen["norm_groups"], "groups (norm_groups)"
    refuse_uneven("codebrain", filters, chosen["n_filters"], n_groups, groups)
    padded = PATCH + 2 * chosen["kernel_padding"]
    if chosen["kernel_length"] > padded:
        raise SpecError(
            f"codebrain: a kernel of {chosen['kernel_length']} taps (kernel_length) "
            f"is longer than a patch of {PATCH} with its padding, {padded}. Shorten "
            f"it, or raise kernel_padding."
        )
    values, heads = 2 * chosen["width"], chosen["num_heads"]
    what = f"{values} values, twice the width,"
    refuse_uneven("codebrain", what, values, heads, "heads (num_heads)")
    if chosen["head"] == "pooled" and chosen["head_hidden"]:
        raise SpecError(
            f"head_hidden of codebrain is {chosen['head_hidden']}, but a pooled head "
            f"has no such layer. Leave it out, or set head=patches."
        )
    return chosen


@model(
    title="CodeBrain",
    trained_by="gradient",
    recipes={
        "paper": TrainingRecipe(
            epochs=50,
            batch_size=64,
            lr=1e-4,
            weight_decay=5e-4,
            clip=5.0,
            label_smoothing=0.1,
        ),
        # On the simulated twins, means of 5 seeds in validation: AUROC 0.72 on eegmat
        # and 0.99 on eyes, kappa 0.40 on physionet_mi. At lr 1e-2, of a like network:
        # 0.62, 0.73 and 0.00.
        "small": TrainingRecipe(
            epochs=2, batch_size=8, lr=1.5e-3, weight_decay=5e-4, clip=5.0
        ),
    },
    small_options={
        "scale_uv": 1.0,
        "n_layers": 1,
        "width": 24,
        "out_width": 32,
        # Four steps of the first convolution: the filters are its step too, and a
        # short kernel would make a token as wide as at the paper scale.
        "n_filters": 12,
        "kernel_length": 153,
        "kernel_padding": 0,
        "norm_groups": 4,
        "pos_channels": 9,
        "n_kernels": 1,
        "drop_prob": 0.0,
        "head": "pooled",
        "head_units": 64,
        "head_drop_prob": 0.0,
    },
    head_options=("head_hidden", "head_units", "head_drop_prob"),
    reference="Ma et al. 2026, ICLR, arXiv 2506.09110",
    licence="BSD-3-Clause (braindecode)",
    code="https://github.com/jingyingma01/CodeBrain (commit 22d350c), by braindecode",
    rate_hz=200.0,
    input_scale="µV divided by 100 (by 1 at the small scale)",
    channel_use="by their order, which convolutions see; names are not used",
    differences=DIFFERENCES,
    sizes={
        "paper": Size(encoder=13_488_400, head=64_402_602, flops=3_458_912_800),
        "small": Size(encoder=31_368, head=33_986, flops=10_341_632),
    },
    check=_checked,
    skip=not_whole_patches,
    weights=WEIGHTS,
)
def codebrain(
    shape: InputShape,
    *,
    scale: str,
    scale_uv: float = SCALE_UV,
    n_layers: int = 8,
    width: int = 200,
    out_width: int = 200,
    num_heads: int = 4,
    n_filters: int = 25,
    kernel_length: int = 49,
    kernel_padding: int = 24,
    refine_length: int = 3,
    norm_groups: int = 5,
    pos_channels: int = 19,
    pos_patches: int = 7,
    n_kernels: int = 4,
    reach: int = 570,
    is_bidirectional: bool = True,
    attention_window: int = 1,
    drop_prob: float = 0.1,
    head: str = "patches",
    head_hidden: int = 0,
    head_units: int = 200,
    head_drop_prob: float = 0.1,
) -> CodeBrain:
    """CodeBrain: eight layers of width 200, kernels that reach 570 tokens."""
    return CodeBrain(
        shape,
        scale_uv=scale_uv,
        n_layers=n_layers,
        width=width,
        out_width=out_width,
        num_heads=num_heads,
        n_filters=n_filters,
        kernel_length=kernel_length,
        kernel_padding=kernel_padding,
        refine_length=refine_length,
        norm_groups=norm_groups,
        pos_channels=pos_channels,
        pos_patches=pos_patches,
        n_kernels=n_kernels,
        reach=reach,
        is_bidirectional=is_bidirectional,
        attention_window=attention_window,
        drop_prob=drop_prob,
        head=head,
        head_hidden=head_hidden,
        head_units=head_units,
        head_drop_prob=head_drop_prob,
    )
