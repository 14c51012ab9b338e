"""CBraMod: seconds of channels as tokens, attended across channels and across time.

From: batch (B, C, T) in µV. To: logits (B, K).

Paper: Wang et al., CBraMod: A Criss-Cross Brain Foundation Model for EEG Decoding, ICLR
2025, arXiv 2412.07236. Code: github.com/wjq-learning/CBraMod (commit b9e9610), MIT;
the encoder is braindecode's, ``braindecode.models.CBraMod``, BSD-3-Clause.

Letters: B windows, C channels, T time points, P patches per channel, L time points of a
patch, D values of a token, E half as many, H attention heads, F features, K classes.

A patch is one second of one channel. Three convolutions over its time points, and a
linear map of its amplitude spectrum, make a token; a depth-wise convolution over
channels and patches adds what lies near it. In every layer one half of a token's width
attends across the channels of its second, the other across the seconds of its channel.
The head sees all tokens of a window in a row.

What differs from the source, and why, is in ``DIFFERENCES``; which weights are public,
and what LoRA adapts, in ``WEIGHTS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eegfm_bench.errors import SpecError
from eegfm_bench.models._braindecode import braindecode_models
from eegfm_bench.models._dropout import dropped_
from eegfm_bench.models._on_processors import around, attention_of_few
from eegfm_bench.models._options import (
    checked_options,
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
from eegfm_bench.models._weights import Layout, PublicWeights, Weights
from eegfm_bench.runs.spec import TrainingRecipe

# The source divides windows in µV by 100 wherever it loads them.
SCALE_UV = 100.0

# Within a twentieth as fast as the whole batch, in a fraction of its memory.
TOKENS_AT_ONCE = 1600

DIFFERENCES = (
    "The head has a logit for each class where there are two, not one logit for both: "
    "every model here is trained by cross-entropy.",
    "The vector that masks patches and the layer that reconstructs them are left out: "
    "they are of pre-training and get no gradient from classes.",
    "Windows of a number of patches that the source has no head for get one by its "
    "rule, 200 units in the first layer for each patch.",
    "The small scale has few and narrow layers, and a head on each channel's mean over "
    "the patches with batch norm before it: a budget of 4 ms a window, 128 hidden "
    "units and some forty steps. These steps could not raise amplitudes of a "
    "hundredth, so that it takes µV undivided.",
)


class CBraMod(nn.Module):
    """braindecode's CBraMod without its last layer, and the published head.

    Parameters
    ----------
    shape : InputShape
    scale_uv : float
        By which windows in µV are divided.
    n_layers, num_heads, dim_feedforward : int
        Of the transformer; half of the heads attend across channels.
    n_filters : int
        Filters of each of the three convolutions of a patch. A token has as many
        values as filters times steps of the first convolution.
    kernel_length, kernel_stride, refine_length : int
        Taps and step of the first convolution, and taps of the two that follow.
    norm_groups : int
        Groups of filters that are normalised together.
    pos_channels, pos_patches : int
        Extent of the convolution that tells a token where it is.
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
    net : braindecode.models.CBraMod
        The encoder: its state is the source's, what pre-trains it left out.
    head : nn.Module
        Features (B, F) to logits (B, K).
    """

    def __init__(
        self,
        shape: InputShape,
        *,
        scale_uv: float,
        n_layers: int,
        num_heads: int,
        dim_feedforward: int,
        n_filters: int,
        kernel_length: int,
        kernel_stride: int,
        refine_length: int,
        norm_groups: int,
        pos_channels: int,
        pos_patches: int,
        drop_prob: float,
        head: str,
        head_hidden: int,
        head_units: int,
        head_drop_prob: float,
    ) -> None:
        super().__init__()
        self.scale_uv = scale_uv
        norm = (norm_groups, n_filters)
        refine = (n_filters, refine_length, 1, refine_length // 2, norm)
        first = (n_filters, kernel_length, kernel_stride, kernel_length // 2, norm)
        self.net: Any = _braindecode_class()(
            n_chans=shape.n_channels,
            n_outputs=shape.n_classes,
            n_times=shape.n_times,
            sfreq=shape.rate_hz,
            patch_size=PATCH,
            n_layer=n_layers,
            nhead=num_heads,
            dim_feedforward=dim_feedforward,
            channels_kernel_stride_padding_norm=(first, refine, refine),
            drop_prob=drop_prob,
            return_encoder_output=True,
        )
        self.net.proj_out = nn.Identity()
        embedding = self.net.patch_embedding
        del embedding.mask_encoding
        width = embedding.d_model
        around = (pos_channels, pos_patches)
        if embedding.positional_encoding[0].kernel_size != around:
            embedding.positional_encoding[0] = nn.Conv2d(
                width,
                width,
                around,
                padding=(pos_channels // 2, pos_patches // 2),
                groups=width,
            )
        self.is_pooled = head == "pooled"
        n_patches = shape.n_times // PATCH
        self.n_tokens = shape.n_channels * n_patches
        if self.is_pooled:
            self.head: nn.Module = PooledHead(
                shape.n_channels * width, head_units, head_drop_prob, shape.n_classes
            )
        else:
            self.head = three_layers(
                shape.n_channels * n_patches * width,
                n_patches=n_patches,
                hidden=head_hidden,
                units=head_units,
                drop_prob=head_drop_prob,
                n_classes=shape.n_classes,
            )

    @property
    def n_layers(self) -> int:
        """How many layers ``layer_of`` tells apart: what makes tokens, and the rest."""
        return 1 + len(self.net.encoder.layers)

    def layer_of(self, name: str) -> int:
        """Return the layer of a parameter of the encoder, 0 for what makes tokens."""
        *_, inside = name.partition("encoder.layers.")
        return 1 + int(inside.partition(".")[0]) if inside else 0

    @property
    def windows_at_once(self) -> int | None:
        """How many windows training takes at once: what it keeps of them is small.

        The pooled head's batch norm needs the whole batch.
        """
        return None if self.is_pooled else max(1, TOKENS_AT_ONCE // self.n_tokens)

    def tokens(self, x_BCT: Tensor) -> Tensor:
        """Return what the encoder gives (B, C, P, D), of windows (B, C, T) in µV."""
        patches_BCPL = (x_BCT / self.scale_uv).unflatten(-1, (-1, PATCH))
        tokens_BCPD = _embedded(self.net.patch_embedding, patches_BCPL)
        for layer in self.net.encoder.layers:
            tokens_BCPD = _through(layer, tokens_BCPD)
        return tokens_BCPD

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


def _embedded(embedding: Any, patches_BCPL: Tensor) -> Tensor:
    """Return the tokens (B, C, P, D) of patches (B, C, P, L)."""
    patches_B1NL = patches_BCPL.flatten(1, 2).unsqueeze(1)
    waves_BFNL = embedding.proj_in(patches_B1NL)
    waves_BCPD = waves_BFNL.transpose(1, 2).flatten(2).view(*patches_BCPL.shape[:3], -1)
    linear, dropout = embedding.spectral_proj
    amplitudes = torch.fft.rfft(patches_BCPL, dim=-1, norm="forward").abs()
    spectrum_BCPD = dropped_(linear(amplitudes), dropout.p, dropout.training)
    tokens_BCPD: Tensor = waves_BCPD + spectrum_BCPD
    return tokens_BCPD + around(embedding.positional_encoding[0], tokens_BCPD)


def _through(layer: Any, x_BCPD: Tensor) -> Tensor:
    """Return what a layer makes of tokens (B, C, P, D)."""
    is_training = layer.training
    across_BCPE, along_BCPE = layer.norm1(x_BCPD).chunk(2, dim=-1)
    across_BPCE = attended(layer.self_attn_s, across_BCPE.transpose(1, 2))
    along_BCPE = attended(layer.self_attn_t, along_BCPE)
    heard_BCPD = torch.cat((across_BPCE.transpose(1, 2), along_BCPE), dim=-1)
    x_BCPD = x_BCPD + dropped_(heard_BCPD, layer.dropout1.p, is_training)
    wide = layer.activation(layer.linear1(layer.norm2(x_BCPD)))
    said_BCPD = layer.linear2(dropped_(wide, layer.dropout.p, is_training))
    return x_BCPD + dropped_(said_BCPD, layer.dropout2.p, is_training)


def attended(attention: nn.MultiheadAttention, x_BGSE: Tensor) -> Tensor:
    """Let the tokens of a group attend to each other.

    Parameters
    ----------
    attention : nn.MultiheadAttention
        Whose weights are used. Its own forward pass takes a shortcut where no
        gradient is asked for, which no counter of operations sees.
    x_BGSE : tensor (B, G, S, E)
        Half tokens: G groups of S.

    Returns
    -------
    y_BGSE : tensor (B, G, S, E)
    """
    heads, p = attention.num_heads, attention.dropout if attention.training else 0.0
    assert attention.in_proj_weight is not None
    qkv = F.linear(x_BGSE, attention.in_proj_weight, attention.in_proj_bias)
    qkv_NS3HE = qkv.flatten(0, 1).unflatten(-1, (3, heads, -1))
    if x_BGSE.device.type == "cpu":
        y_NSHE = attention_of_few(qkv_NS3HE, p)
    else:
        q_NHSE, k_NHSE, v_NHSE = qkv_NS3HE.permute(2, 0, 3, 1, 4)
        y_NHSE = F.scaled_dot_product_attention(q_NHSE, k_NHSE, v_NHSE, dropout_p=p)
        y_NSHE = y_NHSE.transpose(1, 2)
    return attention.out_proj(y_NSHE.flatten(2).view(x_BGSE.shape))


def _braindecode_class() -> Any:
    """Import braindecode's class, which takes seconds, when it is first needed."""
    return braindecode_models().CBraMod


# Beside counts, which have no rule.
RULES = {
    "scale_uv": positive(unit="µV"),
    "head": one_of("patches", "pooled"),
    "head_hidden": whole(at_least=0),
    "drop_prob": share(),
    "head_drop_prob": share(),
    **dict.fromkeys(
        ("kernel_length", "refine_length", "pos_channels", "pos_patches"), odd()
    ),
}


def _checked(options: Mapping[str, Any], scale: str) -> dict[str, Any]:
    """Return all options, or refuse one that no shape could be served with."""
    chosen = checked_options("cbramod", options, RULES)
    filters, groups = chosen["n_filters"], chosen["norm_groups"]
    what = f"{filters} filters (n_filters)"
    refuse_uneven("cbramod", what, filters, groups, "groups (norm_groups)")
    width = filters * ((PATCH - 1) // chosen["kernel_stride"] + 1)
    heads = chosen["num_heads"]
    if heads % 2 or width % heads:
        raise SpecError(
            f"cbramod: a token of {width} values cannot be shared among {heads} heads "
            f"(num_heads), half of them across channels. Choose an even number that "
            f"divides, or change n_filters or kernel_stride."
        )
    if chosen["head"] == "pooled" and chosen["head_hidden"]:
        raise SpecError(
            f"head_hidden of cbramod is {chosen['head_hidden']}, but a pooled head "
            f"has no such layer. Leave it out, or set head=patches."
        )
    return chosen


WEIGHTS = Weights(
    public=(
        PublicWeights(
            key="source",
            hub="weighting666/CBraMod",
            file="pretrained_weights.pth",
            revision="500543c7e30bda1b22bfd51a49301b238dee21fd",
            layout="source",
            licence="Apache-2.0 (card of the weights); MIT (code)",
            source="README of github.com/wjq-learning/CBraMod (commit b9e9610) and the "
            "card of the weights; the checksum is what several who fetched that "
            "revision state",
            sha256="0792cb808c14e6b7a2bb2ce1dff379bc47bc54c49a779825bdfeb33bf8157178",
            pretrained_on=("TUEG",),
        ),
        PublicWeights(
            key="braindecode",
            hub="braindecode/cbramod-pretrained",
            file="model.safetensors",
            layout="source",
            licence="BSD-3-Clause (card of the weights)",
            source="braindecode 1.8.1, models/cbramod.py, and the card of the weights; "
            "no checksum is stated",
            pretrained_on=("TUEG",),
        ),
    ),
    layouts=(
        # The source's pre-training; braindecode kept its names.
        Layout(
            name="source",
            renames=(("net.", ""),),
            unused=("patch_embedding.mask_encoding", "proj_out.", "final_layer."),
        ),
        Layout(
            name="source, fine-tuned",
            renames=(("net.", "backbone."),),
            unused=(
                "backbone.patch_embedding.mask_encoding",
                *("backbone.proj_out.", "classifier.", "head.", "sequence_encoder."),
            ),
        ),
    ),
    # No tensor's shape depends on channels or length: nothing is to be reshaped.
    any_channels=True,
    # Queries, keys and values are one weight that no layer owns, and stay as they are.
    lora=(
        r"(.*\.)?net\.encoder\.layers\.\d+\.self_attn_[st]\.out_proj",
        r"(.*\.)?net\.encoder\.layers\.\d+\.linear[12]",
    ),
)


@model(
    title="CBraMod",
    trained_by="gradient",
    recipes={
        "paper": TrainingRecipe(
            epochs=50,
            batch_size=64,
            lr=1e-4,
            head_lr=5e-4,
            weight_decay=0.05,
            clip=1.0,
            label_smoothing=0.1,
        ),
        # On the simulated twins at lr 2e-3, 3e-3, 5e-3, means of 5 seeds in validation:
        # AUROC 0.84, 0.86, 0.84 on eegmat and 1.00, 1.00, 1.00 on eyes; kappa 0.61,
        # 0.63, 0.66 on physionet_mi. Of µV / 100 at 3e-3: 0.61, 0.88 and 0.27.
        "small": TrainingRecipe(
            epochs=2, batch_size=8, lr=3e-3, weight_decay=0.05, clip=1.0
        ),
    },
    small_options={
        "scale_uv": 1.0,
        "n_layers": 1,
        "num_heads": 4,
        "dim_feedforward": 64,
        "n_filters": 4,
        "norm_groups": 4,
        "drop_prob": 0.0,
        "head": "pooled",
        "head_units": 64,
        "head_drop_prob": 0.0,
    },
    head_options=("head_hidden", "head_units", "head_drop_prob"),
    reference="Wang et al. 2025, ICLR, arXiv 2412.07236",
    licence="MIT (source), BSD-3-Clause (braindecode)",
    code="https://github.com/wjq-learning/CBraMod (commit b9e9610), by braindecode",
    rate_hz=200.0,
    input_scale="µV divided by 100 (by 1 at the small scale)",
    channel_use="by their order, which a convolution sees; names are not used",
    differences=DIFFERENCES,
    sizes={
        "paper": Size(encoder=4_883_600, head=64_402_602, flops=1_712_480_800),
        "small": Size(encoder=14_376, head=33_986, flops=5_441_792),
    },
    check=_checked,
    skip=not_whole_patches,
    weights=WEIGHTS,
)
def cbramod(
    shape: InputShape,
    *,
    scale: str,
    scale_uv: float = SCALE_UV,
    n_layers: int = 12,
    num_heads: int = 8,
    dim_feedforward: int = 800,
    n_filters: int = 25,
    kernel_length: int = 49,
    kernel_stride: int = 25,
    refine_length: int = 3,
    norm_groups: int = 5,
    pos_channels: int = 19,
    pos_patches: int = 7,
    drop_prob: float = 0.1,
    head: str = "patches",
    head_hidden: int = 0,
    head_units: int = 200,
    head_drop_prob: float = 0.1,
) -> CBraMod:
    """CBraMod: twelve layers of width 200, eight heads, a head on all patches."""
    return CBraMod(
        shape,
        scale_uv=scale_uv,
        n_layers=n_layers,
        num_heads=num_heads,
        dim_feedforward=dim_feedforward,
        n_filters=n_filters,
        kernel_length=kernel_length,
        kernel_stride=kernel_stride,
        refine_length=refine_length,
        norm_groups=norm_groups,
        pos_channels=pos_channels,
        pos_patches=pos_patches,
        drop_prob=drop_prob,
        head=head,
        head_hidden=head_hidden,
        head_units=head_units,
        head_drop_prob=head_drop_prob,
    )
