"""Which weights LaBraM has in public, how files name them, and what fits which shape.

From: the published facts. To: ``labram``. A table of positions is taken over by the
channels' names, one of seconds by their number.

Letters: C channels, D width of a token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from eegfm_bench.models._weights import (
    Channels,
    Layout,
    PublicWeights,
    Reshaped,
    Weights,
    rows_by_place,
    started_anew,
)

if TYPE_CHECKING:
    from torch import Tensor

N_LAYERS = 12

# The paper's own list, about 2,500 hours.
CORPORA = (
    *("BCI Competition IV-1", "Emobrain", "Grasp and Lift", "Inria BCI Challenge"),
    *("EEG Motor Movement/Imagery", "Raw EEG Data", "Resting State EEG Data"),
    *("SEED", "SEED-IV", "SEED-GER", "SEED-FRA", "Siena Scalp EEG"),
    *("SPIS Resting State", "Target Versus Non-Target"),
    *("TUAR", "TUEP", "TUSZ", "TUSL", "recordings of the authors' own"),
)

PUBLIC = (
    PublicWeights(
        key="base",
        file="checkpoints/labram-base.pth",
        url="https://raw.githubusercontent.com/935963004/LaBraM/"
        "c431221e6cfd23dbfa9950e0180682fb322b0548/checkpoints/labram-base.pth",
        revision="c431221e6cfd23dbfa9950e0180682fb322b0548",
        layout="source",
        licence="MIT",
        source="github.com/935963004/LaBraM (commit c431221): README, LICENSE and the "
        "git blob of its tree; the sha256 is what several who fetched it state",
        sha256="7c50583826afac76c4ab18f43d958df40496c8229accc09ed6a227c9bb57c37c",
        git_blob="221148b5af403e9178629bb61e94b2e7d89ef172",
        pretrained_on=CORPORA,
    ),
    PublicWeights(
        key="braindecode",
        hub="braindecode/labram-pretrained",
        file="model.safetensors",
        revision="0563b6c626e7b40d9a36653b763715db94d945d7",
        layout="braindecode",
        licence="BSD-3-Clause (card of the weights)",
        source="braindecode 1.8.1, models/labram.py; revision and checksum are what "
        "those who fetched it state, who found its tensors equal to the source's",
        sha256="53b752edb366fd6395dd3cb7d63ae3e1e16aabed040aa0901d64ef32e8f444f8",
        pretrained_on=CORPORA,
    ),
)


def _hidden_layers(prefix: str) -> tuple[tuple[str, str], ...]:
    """Name the two maps of every layer's network as the source does."""
    return tuple(
        (f"blocks.{i}.mlp.{ours}.", f"{prefix}blocks.{i}.mlp.{theirs}.")
        for i in range(N_LAYERS)
        for ours, theirs in (("0", "fc1"), ("2", "fc2"))
    )


IN_BRAINDECODE = (
    ("pos_embed", "position_embedding"),
    ("time_embed", "temporal_embedding"),
    ("patch_embed.", "patch_embed.temporal_conv."),
)

LAYOUTS = (
    # The source's fine-tuning takes what begins with "student.", starts the norm after
    # the mean anew, and lets the pre-training's own norm fall.
    Layout(
        name="source",
        renames=(*_hidden_layers("student."), ("", "student.")),
        unused=(
            *("student.mask_token", "student.norm.", "student.lm_head."),
            *("lm_head.", "projection_head.", "logit_scale"),
        ),
        fresh=("fc_norm.",),
    ),
    Layout(name="source, fine-tuned", renames=_hidden_layers(""), unused=("head.",)),
    Layout(
        name="braindecode",
        renames=IN_BRAINDECODE,
        unused=("norm.", "final_layer."),
        fresh=("fc_norm.",),
    ),
    Layout(
        name="braindecode, mean pooling",
        renames=IN_BRAINDECODE,
        unused=("final_layer.",),
    ),
)


def labram_weights(positions: Callable[[Sequence[str]], Sequence[Any]]) -> Weights:
    """Return what is known of LaBraM's weights.

    Parameters
    ----------
    positions : function of channel names
        Gives each its row in the table of positions.
    """

    def reshape(
        name: str, theirs: Tensor, ours: Tensor, channels: Channels
    ) -> Reshaped | None:
        """Take over a table, as far as the file has rows for it."""
        if theirs.ndim != 3 or theirs.shape[2] != ours.shape[2]:
            return None
        if name == "time_embed":
            return rows_by_place(theirs, ours)
        if name == "pos_embed":
            return places(theirs, ours, channels, positions)
        return None

    return Weights(
        public=PUBLIC,
        layouts=LAYOUTS,
        reshape=reshape,
        by_channel=("pos_embed",),
        lora=(
            r"(.*\.)?blocks\.\d+\.attn\.(qkv|proj)",
            r"(.*\.)?blocks\.\d+\.mlp\.[02]",
        ),
    )


def places(
    theirs: Tensor,
    ours: Tensor,
    channels: Channels,
    positions: Callable[[Sequence[str]], Sequence[Any]],
) -> Reshaped | None:
    """Take over the published rows, and channels' own where the names are the same.

    Parameters
    ----------
    theirs, ours : tensor (1, rows, D)
        The published rows, and one for each channel: C in ours, none in what is
        published, any number in what was trained here.
    channels : Channels
    positions : function of channel names
        Gives each its row; those after the published ones are the channels' own.

    Returns
    -------
    reshaped : Reshaped or None
        None if the file lacks published rows.
    """
    n_known = ours.shape[1] - len(channels.ours)
    n_own = theirs.shape[1] - n_known
    if n_own < 0:
        return None
    in_need = {p.channel: p.row for p in positions(channels.ours) if p.row >= n_known}
    at: dict[str, int] = {}
    if n_own and len(channels.theirs) == n_own:
        at = {p.channel.upper(): p.row for p in positions(channels.theirs)}
    is_by_place = bool(n_own) and not at and n_own == len(channels.ours)
    if channels.theirs == channels.ours and n_own == len(channels.ours):
        return Reshaped(tensor=theirs, how="")
    table = ours.detach().clone()
    table[:, :n_known] = theirs[:, :n_known]
    anew = []
    for channel, row in in_need.items():
        found = row if is_by_place else at.get(channel.upper(), 0)
        if found >= n_known:
            table[:, row] = theirs[:, found]
        else:
            anew.append(channel)
    if anew:
        how = f"published rows kept, of channels without one {started_anew(anew)}"
    elif is_by_place and in_need:
        how = "own rows by position: nobody says which channels the file has"
    else:
        how = "published rows kept, every channel has one it knows"
    return Reshaped(tensor=table, how=how)
