"""BIOT: spectra of every channel in one sentence, read by linear attention.

From: batch (B, C, T) in µV at 200 Hz. To: logits (B, K).

Paper: Yang, Westover, Sun 2023, BIOT: Biosignal Transformer for Cross-data Learning
in the Wild, NeurIPS, openreview c2LZyTyddi. Code: github.com/ycq091044/BIOT, commit
d138e32, and braindecode, ``braindecode.models.BIOT``, whose layers these are. Licence:
MIT, BSD-3-Clause.

A channel is divided by its own 95th percentile; the magnitudes of its short-time
spectra go through a linear layer and have the channel's token and the sine and cosine
of their step added. The steps of all channels are one sentence for a Transformer of
linear attention. Features are its mean; the head is an ELU and a linear layer.

Letters: B windows, C channels, T time points, P steps of the spectra, L time points of
a step, W frequencies, S tokens (C P), D width of a token (and of features), K classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from eegfm_bench.errors import SpecError
from eegfm_bench.models._braindecode import braindecode_models
from eegfm_bench.models._options import (
    checked_options,
    flag,
    positive,
    refuse_uneven,
    share,
)
from eegfm_bench.models._spec import InputShape, Size, model
from eegfm_bench.models._weights import (
    Channels,
    Layout,
    PublicWeights,
    Reshaped,
    Weights,
    rows_by_channel,
)
from eegfm_bench.runs.spec import TrainingRecipe

RATE_HZ = 200.0

# Added to what a channel is divided by, so that a silent one stays finite.
OFFSET_UV = 1e-8

# Steps of the spectra that there is an encoding for.
MOST_STEPS = 1000

# braindecode's remarks on what the published weights were trained with, which a start
# at random does not meet.
REMARKS = (
    "This model has only been trained on a dataset with 200 Hz",
    "The number of channels is larger than the embedding size",
)

DIFFERENCES = (
    "Every channel of a set has a token of its own, by its order, however many there "
    "are. The source's published weights have tokens of 16 or 18 pairs of electrodes; "
    "from a random start any number works, and no channel is dropped or mixed.",
    "The spectra of all channels are computed at once, not one by one: the same "
    "function.",
    "A channel of which 95 % is 0 is divided by 1e-8 µV, as in the source: what is "
    "left of it, an artefact, drowns the window. Nothing is cut off.",
    "Time points after the last full step are not heard, as in the source.",
    "Two classes have two logits, not one: every model's loss here is the cross-"
    "entropy.",
    "The small scale has width 64, one layer, steps that do not overlap and no "
    "dropout, and its head sees each channel's mean over the steps after batch norm: a "
    "budget of 4 ms a window, and some forty steps of training.",
)


class BIOT(nn.Module):
    """braindecode's BIOT, all channels at once, on its own scale.

    Parameters
    ----------
    shape : InputShape
        T is at least ``n_fft``.
    embed_dim : int
        Width of a token.
    num_layers, num_heads : int
        Of the Transformer.
    n_fft, hop_length : int
        Time points of a step, and from one step to the next.
    percentile : float
        Of a channel's magnitudes: what it is divided by.
    drop_prob : float
        Dropout of tokens, after their encoding.
    att_layer_drop_prob : float
        Dropout of what attention gives.
    has_pooled_head : bool
        Whether the head sees each channel's mean over its steps, after batch norm,
        instead of the mean over all tokens.

    Attributes
    ----------
    channels : tuple of str
        Whose rows the channels' tokens are.
    encoder : nn.Module
        braindecode's, whose weights have the published names.
    head : nn.Module
        The ELU and the last linear map.
    """

    def __init__(
        self,
        shape: InputShape,
        *,
        embed_dim: int,
        num_layers: int,
        num_heads: int,
        n_fft: int,
        hop_length: int,
        percentile: float,
        drop_prob: float,
        att_layer_drop_prob: float,
        has_pooled_head: bool,
    ) -> None:
        super().__init__()
        with warnings.catch_warnings():
            for remark in REMARKS:
                warnings.filterwarnings("ignore", remark)
            net = braindecode_models().BIOT(
                n_chans=shape.n_channels,
                n_outputs=shape.n_classes,
                n_times=shape.n_times,
                # braindecode takes the length of a step from the rate.
                sfreq=n_fft,
                embed_dim=embed_dim,
                num_layers=num_layers,
                num_heads=num_heads,
                hop_length=hop_length,
                drop_prob=drop_prob,
                att_layer_drop_prob=att_layer_drop_prob,
                # Of attention to neighbours, which no head of BIOT's pays.
                att_drop_prob=0.0,
            )
        self.channels = shape.channels
        self.n_fft, self.hop_length = n_fft, hop_length
        self.percentile = percentile
        self.encoder = net.encoder
        self.head = net.final_layer
        self.has_pooled_head = has_pooled_head
        if has_pooled_head:
            n_features = shape.n_channels * embed_dim
            self.head = nn.Sequential(
                nn.BatchNorm1d(n_features),
                nn.ELU(),
                nn.Linear(n_features, shape.n_classes),
            )

    def tokens(self, x_BCT: Tensor) -> Tensor:
        """Return what the encoder gives (B, C, P, D), of windows (B, C, T) in µV."""
        weight = self.encoder.patch_embedding.projection.weight
        with torch.autocast(x_BCT.device.type, enabled=False):
            spectra_BCPW = self._spectra(x_BCT.to(weight.dtype))
        tokens_BCPD = self.encoder.patch_embedding.projection(spectra_BCPW)
        tokens_BCPD = tokens_BCPD + self.encoder.channel_tokens.weight[:, None]
        # Each channel is a sentence to the encoding, and all together to the rest.
        steps_NPD = self.encoder.positional_encoding(tokens_BCPD.flatten(0, 1))
        tokens_BSD = steps_NPD.unflatten(0, tokens_BCPD.shape[:2]).flatten(1, 2)
        tokens_BSD = self.encoder.transformer(tokens_BSD)
        return tokens_BSD.unflatten(1, tokens_BCPD.shape[1:3])

    def pooled(self, x_BCT: Tensor) -> Tensor:
        """Return each channel's mean token (B, C D), of windows (B, C, T) in µV."""
        return self.tokens(x_BCT).mean(2).flatten(1)

    def features(self, x_BCT: Tensor) -> Tensor:
        """Return the mean over tokens (B, D) of windows (B, C, T) in µV.

        With a pooled head, D counts the width of every channel's mean.
        """
        if self.has_pooled_head:
            return self.pooled(x_BCT)
        return self.tokens(x_BCT).flatten(1, 2).mean(1)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return logits (B, K) of windows (B, C, T) in µV."""
        logits_BK: Tensor = self.head(self.features(x_BCT))
        return logits_BK

    def _spectra(self, x_BCT: Tensor) -> Tensor:
        """Return magnitudes (B, C, P, W) of each channel on its own scale."""
        x_BCT = x_BCT / (_percentile(x_BCT.abs(), self.percentile) + OFFSET_UV)
        return torch.fft.rfft(x_BCT.unfold(-1, self.n_fft, self.hop_length)).abs()


def _percentile(x: Tensor, percentile: float) -> Tensor:
    """Return a percentile of the last axis (…, 1), linear between two values.

    ``torch.quantile`` gives the same, of at most 16 million values.
    """
    place = percentile / 100 * (x.shape[-1] - 1)
    below = int(place)
    n_above = x.shape[-1] - below
    highest = x.topk(n_above).values
    low, high = highest[..., -1:], highest[..., max(n_above - 2, 0), None]
    return torch.lerp(low, high, place - below)


RULES = {
    "percentile": positive(up_to=100),
    "drop_prob": share(),
    "att_layer_drop_prob": share(),
    "has_pooled_head": flag(),
}


def _checked(options: Mapping[str, Any], scale: str) -> dict[str, Any]:
    """Return all options, or refuse one that no shape could be served with."""
    chosen = checked_options("biot", options, RULES)
    width, heads = chosen["embed_dim"], chosen["num_heads"]
    if width % 2:
        raise SpecError(
            f"embed_dim of biot is {width}; expected an even number: the encoding of "
            f"steps is of sines and as many cosines."
        )
    what = f"tokens of width {width} (embed_dim)"
    refuse_uneven("biot", what, width, heads, "heads (num_heads)")
    if chosen["hop_length"] > chosen["n_fft"]:
        raise SpecError(
            f"hop_length of biot is {options['hop_length']}, more than the "
            f"{options['n_fft']} time points of a step (n_fft): those between steps "
            f"would go unheard. Choose at most as many."
        )
    return chosen


def _unserved(shape: InputShape) -> str | None:
    """Say why a rate cannot be served."""
    if shape.rate_hz != RATE_HZ:
        return f"its windows come at {shape.rate_hz:g} Hz; BIOT listens at 200 Hz"
    return None


def _reshaped(
    name: str, theirs: Tensor, ours: Tensor, channels: Channels
) -> Reshaped | None:
    """Give every channel the token that the file has for its name."""
    if name == "encoder.channel_tokens.weight":
        return rows_by_channel(theirs, ours, channels)
    return None


# The rows of the published tokens, as the README lists them.
PAIRS_16 = (
    *("FP1-F7", "F7-T7", "T7-P7", "P7-O1", "FP2-F8", "F8-T8", "T8-P8", "P8-O2"),
    *("FP1-F3", "F3-C3", "C3-P3", "P3-O1", "FP2-F4", "F4-C4", "C4-P4", "P4-O2"),
)
PAIRS_18 = (*PAIRS_16, "C3-A2", "C4-A1")

CORPORA = {
    "prest-16": ("MGH EEG (PREST)",),
    "shhs-prest-18": ("MGH EEG (PREST)", "SHHS"),
    "six-datasets-18": (
        *("MGH EEG (PREST)", "SHHS"),
        *("TUAB (train)", "TUEV (train)", "CHB-MIT (train)", "IIIC Seizure (train)"),
    ),
}
COMMIT = "d138e32634e52ae9fa6ec98ac9c4087b14ca869a"


def _published(key: str, file: str, git_blob: str, sha256: str = "") -> PublicWeights:
    """Describe a file of the source's repository."""
    return PublicWeights(
        key=key,
        file=f"pretrained-models/{file}",
        url="https://raw.githubusercontent.com/ycq091044/BIOT/"
        f"{COMMIT}/pretrained-models/{file}",
        revision=COMMIT,
        layout="source",
        licence="MIT",
        source="README of github.com/ycq091044/BIOT (commit d138e32); the git blob is "
        "of that commit's tree, a sha256 what those who fetched the file state",
        sha256=sha256,
        git_blob=git_blob,
        pretrained_on=CORPORA[key],
        channels=PAIRS_18 if key.endswith("18") else PAIRS_16,
    )


def _rehosted(key: str) -> PublicWeights:
    """Describe braindecode's copy of a file of the source's."""
    return PublicWeights(
        key=f"braindecode-{key}",
        hub=f"braindecode/biot-pretrained-{key}chs",
        file="model.safetensors",
        layout="braindecode",
        licence="BSD-3-Clause (card of the weights)",
        source="braindecode 1.8.1, models/biot.py; no checksum is stated",
        pretrained_on=CORPORA[key],
        channels=PAIRS_18 if key.endswith("18") else PAIRS_16,
    )


WEIGHTS = Weights(
    public=(
        _published(
            "prest-16",
            "EEG-PREST-16-channels.ckpt",
            "dd9a5b3970f754f1b9b119e0ed0caa4d49a6579f",
            "40f55f5d23e83796495616c8145c8336fcff2b901c42e8ba5115223081c2ad70",
        ),
        _published(
            "shhs-prest-18",
            "EEG-SHHS+PREST-18-channels.ckpt",
            "5e4d1ee6fdc5442059d093b99053dfa14c8c8b61",
        ),
        _published(
            "six-datasets-18",
            "EEG-six-datasets-18-channels.ckpt",
            "04dfe806a0c8f0ad2cf2e7e343232faca82bb951",
            "78ff15a1782f194286a97b1abe68b2bf100a39803325e2917337d0a77a228542",
        ),
        *(_rehosted(key) for key in CORPORA),
    ),
    layouts=(
        Layout(name="source", renames=(("encoder.", ""),), unused=("index",)),
        Layout(
            name="source, fine-tuned",
            renames=(("encoder.", "biot."),),
            unused=("biot.index", "classifier.", "prediction."),
        ),
        Layout(name="braindecode", unused=("final_layer.",)),
    ),
    reshape=_reshaped,
    by_channel=("encoder.channel_tokens.weight",),
    lora=(
        r"(.*\.)?encoder\.transformer\.layers\.layers\.\d+\.0\.fn\.to_(q|k|v|out)",
        r"(.*\.)?encoder\.transformer\.layers\.layers\.\d+\.1\.fn\.fn\.w[12]",
    ),
)


@model(
    title="BIOT",
    trained_by="gradient",
    recipes={
        # Sources and what is not followed: benchmarks/recipes/biot.yaml.
        "paper": TrainingRecipe(
            epochs=100,
            batch_size=512,
            lr=1e-3,
            weight_decay=1e-5,
            optimizer="adam",
            schedule="constant",
            patience=5,
        ),
        # On the simulated twins at lr 3e-3, 5e-3, 1e-2, means of 5 seeds in validation:
        # balanced accuracy 0.78, 0.81, 0.78 on eegmat, 0.86, 0.95, 0.81 on eyes and
        # 0.52, 0.56, 0.62 on physionet_mi.
        "small": TrainingRecipe(epochs=2, batch_size=8, lr=5e-3, weight_decay=1e-5),
    },
    small_options={
        "embed_dim": 64,
        "num_layers": 1,
        "num_heads": 4,
        "hop_length": 200,
        "drop_prob": 0.0,
        "att_layer_drop_prob": 0.0,
        "has_pooled_head": True,
    },
    reference="Yang, Westover, Sun 2023, BIOT, NeurIPS",
    licence="MIT; the layers, of braindecode, BSD-3-Clause",
    code="https://github.com/ycq091044/BIOT",
    rate_hz=RATE_HZ,
    input_scale=(
        "each channel of a window divided by the 95th percentile of its magnitudes, "
        "and 1e-8 µV"
    ),
    channel_use="by their order: a learned token for each",
    differences=DIFFERENCES,
    sizes={
        "paper": Size(encoder=3_186_176, head=514, flops=1_968_169_984),
        "small": Size(encoder=57_344, head=4_098, flops=18_456_576),
    },
    check=_checked,
    skip=_unserved,
    weights=WEIGHTS,
)
def biot(
    shape: InputShape,
    *,
    scale: str,
    embed_dim: int = 256,
    num_layers: int = 4,
    num_heads: int = 8,
    n_fft: int = 200,
    hop_length: int = 100,
    percentile: float = 95.0,
    drop_prob: float = 0.1,
    att_layer_drop_prob: float = 0.2,
    has_pooled_head: bool = False,
) -> BIOT:
    """BIOT: four layers of width 256, eight heads; a second every half a second."""
    n_steps = (shape.n_times - n_fft) // hop_length + 1
    if shape.n_times < n_fft or n_steps > MOST_STEPS:
        most = n_fft + (MOST_STEPS - 1) * hop_length
        raise SpecError(
            f"biot cannot serve this shape: of {shape.n_times} time points it makes "
            f"{max(n_steps, 0)} steps; expected 1 to {MOST_STEPS}, {n_fft} to {most} "
            f"time points. Choose another window, n_fft or hop_length."
        )
    return BIOT(
        shape,
        embed_dim=embed_dim,
        num_layers=num_layers,
        num_heads=num_heads,
        n_fft=n_fft,
        hop_length=hop_length,
        percentile=percentile,
        drop_prob=drop_prob,
        att_layer_drop_prob=att_layer_drop_prob,
        has_pooled_head=has_pooled_head,
    )
