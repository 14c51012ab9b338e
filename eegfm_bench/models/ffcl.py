"""FFCL: a residual network over spectrograms beside an LSTM over the signal.

From: batch (B, C, T) in µV. To: logits (B, K).

Paper: Li, Ding, Zhang and Xiu 2022, "Motor imagery EEG classification algorithm based
on CNN-LSTM feature fusion network", Biomed. Signal Process. Control 72, 103342, doi
10.1016/j.bspc.2021.103342. Code: github.com/ycq091044/BIOT, ``model/ffcl.py``, commit
d138e32, which the field's tables ran; written here from the paper and that code's
behaviour. Licence: as this package (BIOT's is MIT).

Letters: B windows, C channels, T time points, N steps of the LSTM, J time points of one
step, D features, K classes.

The road of a window: every channel is divided by a percentile of its own. One branch
makes features of its spectrogram by residual blocks. The other takes every
``shrink``-th time point, from each of the first ``shrink`` on: ``shrink`` C rows of T /
``shrink`` points. An LSTM steps from row to row, and its last state is that branch's
features. Both go through ELU to one linear layer. ``DIFFERENCES`` lists what differs
from the sources, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eegfm_bench.errors import SpecError
from eegfm_bench.models._options import checked_options, positive, share
from eegfm_bench.models._spec import InputShape, Size, model
from eegfm_bench.models._task_baselines import (
    ResidualNet,
    scaled_by_percentile,
    spectrogram,
    unserved_rate,
)
from eegfm_bench.runs.spec import TrainingRecipe

DIFFERENCES = (
    "The network is that of BIOT's tables, which all published rows are of. The "
    "paper's LSTM follows time, and features of middle layers are fused as well.",
    "As in the source, the LSTM steps through channels and phases of thinning, not "
    "through time: a step is a whole window of one channel, thinned.",
    "As in the source, ReLU stands between a block's two convolutions alone.",
    "What is left of the map after the last block is averaged, since that of a window "
    "beyond 12.8 s is more than one point (1 x 3 at 30 s), and BIOT's code fails; of "
    "one point the mean is itself.",
    "Time points beyond a multiple of `shrink` are left out of the LSTM, where BIOT's "
    "code fails.",
    "A percentile below 0.1 µV counts as 0.1 µV, where the source adds 1e-8: a flat "
    "channel with an artefact would be multiplied by 1e8.",
    "In a training batch of one window, batch norm takes its running statistics where "
    "there is one value alone: the source leaves the last, smaller batch out.",
    "Two classes have two logits and cross-entropy, as all models here; the source has "
    "one logit, the same function.",
    "With precision bf16 on a CPU the convolutions stay in float32: torch's gradient "
    "of narrow maps is not reliable there.",
    "The small scale has fewer filters and blocks, longer hops, a narrow LSTM of one "
    "layer that takes fewer steps, running statistics that follow faster, and no "
    "dropout: a budget of 4 ms a window and two epochs.",
)


class FFCL(nn.Module):
    """A residual network over a spectrogram, and an LSTM over thinned channels.

    Parameters
    ----------
    shape : InputShape
    percentile : float
        Of its absolute values, by which a channel is divided.
    n_fft, hop : int
        Time points of a spectrum, and from one to the next.
    n_filters, n_blocks : int
        Filters of the first residual block, which double from block to block.
    cnn_drop_prob : float
        Dropout after a block.
    norm_momentum : float
        Weight of the newest batch in running statistics.
    shrink : int
        How many rows a channel is dealt out to for the LSTM.
    lstm_width, lstm_layers : int
        Size of the LSTM.
    lstm_drop_prob : float
        Dropout between its layers.
    """

    def __init__(
        self,
        shape: InputShape,
        *,
        percentile: float = 95.0,
        n_fft: int = 200,
        hop: int = 10,
        n_filters: int = 32,
        n_blocks: int = 4,
        cnn_drop_prob: float = 0.5,
        norm_momentum: float = 0.1,
        shrink: int = 20,
        lstm_width: int = 256,
        lstm_layers: int = 2,
        lstm_drop_prob: float = 0.5,
    ) -> None:
        super().__init__()
        self.percentile, self.n_fft, self.hop = percentile, n_fft, hop
        self.shrink = shrink
        self.cnn = ResidualNet(
            shape.n_channels,
            n_filters=n_filters,
            n_blocks=n_blocks,
            drop_prob=cnn_drop_prob,
            norm_momentum=norm_momentum,
        )
        self.lstm = nn.LSTM(
            shape.n_times // shrink,
            lstm_width,
            lstm_layers,
            batch_first=True,
            dropout=lstm_drop_prob if lstm_layers > 1 else 0.0,
        )
        self.head = nn.Linear(self.cnn.n_features + lstm_width, shape.n_classes)

    def features(self, x_BCT: Tensor) -> Tensor:
        """Return both branches' features (B, D) of windows (B, C, T) in µV."""
        x_BCT = scaled_by_percentile(x_BCT, self.percentile)
        by_frequency = self.cnn(spectrogram(x_BCT, n_fft=self.n_fft, hop=self.hop))
        by_step, _ = self.lstm(dealt(x_BCT, self.shrink))
        return F.elu(torch.cat([by_frequency, by_step[:, -1]], dim=1))

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return logits (B, K) of windows (B, C, T) in µV."""
        logits_BK: Tensor = self.head(self.features(x_BCT))
        return logits_BK


def dealt(x_BCT: Tensor, shrink: int) -> Tensor:
    """Deal the time points of every channel out to as many rows as told.

    Parameters
    ----------
    x_BCT : tensor (B, C, T)
        Windows.
    shrink : int
        Rows of a channel; each has every ``shrink``-th of its time points.

    Returns
    -------
    x_BNJ : tensor (B, N, J)
        All channels from the first time point on, then all from the second on, and
        so forth, with N = ``shrink`` C. Up to ``shrink`` - 1 last points are left out.

    Examples
    --------
    >>> dealt(torch.arange(10.0).reshape(1, 2, 5), shrink=2).tolist()
    [[[0.0, 2.0], [5.0, 7.0], [1.0, 3.0], [6.0, 8.0]]]
    """
    n_each = x_BCT.shape[-1] // shrink
    x_BCJN = x_BCT[..., : n_each * shrink].unflatten(-1, (n_each, shrink))
    return x_BCJN.permute(0, 3, 1, 2).flatten(1, 2)


RULES = {
    "percentile": positive(up_to=100),
    "cnn_drop_prob": share(),
    "norm_momentum": positive(up_to=1),
    "lstm_drop_prob": share(),
}


def _checked(options: Mapping[str, Any], scale: str) -> dict[str, Any]:
    """Return all options, or refuse one that no shape could be served with."""
    return checked_options("ffcl", options, RULES)


@model(
    title="FFCL",
    trained_by="gradient",
    recipes={
        # BIOT's run_*_supervised.py, for all its baselines.
        "paper": TrainingRecipe(
            epochs=100,
            batch_size=512,
            lr=1e-3,
            weight_decay=1e-5,
            optimizer="adam",
            schedule="constant",
            patience=5,
        ),
        # On the simulated twins at lr 2e-3, 3e-3, 5e-3, means of 3 seeds in validation:
        # AUROC 0.81, 0.89, 0.95 on eegmat and 0.98, 0.84, 0.82 on eyes; balanced
        # accuracy 0.67, 0.75, 0.85 and 0.81, 0.83, 0.71, and of four classes (chance
        # 0.25) 0.36, 0.38, 0.39 on physionet_mi.
        "small": TrainingRecipe(epochs=2, batch_size=8, lr=3e-3, weight_decay=1e-2),
    },
    small_options={
        "hop": 100,
        "n_filters": 12,
        "n_blocks": 3,
        "cnn_drop_prob": 0.0,
        "norm_momentum": 0.3,
        "shrink": 2,
        "lstm_width": 32,
        "lstm_layers": 1,
        "lstm_drop_prob": 0.0,
    },
    reference=(
        "Li et al. 2022, Biomed. Signal Process. Control 72, 103342, as BIOT's tables "
        "ran it"
    ),
    licence="same as this package",
    code="https://github.com/ycq091044/BIOT, model/ffcl.py, commit d138e32",
    rate_hz=200.0,
    input_scale=(
        "each channel of each window divided by the 95th percentile of its absolute "
        "values, at least 0.1 µV"
    ),
    channel_use=(
        "by their order: the first convolution mixes all channels, and the LSTM steps "
        "from one to the next"
    ),
    differences=DIFFERENCES,
    sizes={
        "paper": Size(encoder=2_463_968, head=1_026, flops=829_814_784),
        "small": Size(encoder=189_700, head=162, flops=14_926_688),
    },
    check=_checked,
    skip=unserved_rate,
)
def ffcl(
    shape: InputShape,
    *,
    scale: str,
    percentile: float = 95.0,
    n_fft: int = 200,
    hop: int = 10,
    n_filters: int = 32,
    n_blocks: int = 4,
    cnn_drop_prob: float = 0.5,
    norm_momentum: float = 0.1,
    shrink: int = 20,
    lstm_width: int = 256,
    lstm_layers: int = 2,
    lstm_drop_prob: float = 0.5,
) -> FFCL:
    """Four residual blocks up to 256 filters, and two LSTM layers of 256 units."""
    needed = max(n_fft // 2 + 1, shrink)
    if shape.n_times < needed:
        raise SpecError(
            f"ffcl cannot serve this shape: {shape.n_times} time points are fewer than "
            f"the {needed} that half a spectrum and one step of the LSTM need. Shorten "
            f"n_fft or lower shrink."
        )
    return FFCL(
        shape,
        percentile=percentile,
        n_fft=n_fft,
        hop=hop,
        n_filters=n_filters,
        n_blocks=n_blocks,
        cnn_drop_prob=cnn_drop_prob,
        norm_momentum=norm_momentum,
        shrink=shrink,
        lstm_width=lstm_width,
        lstm_layers=lstm_layers,
        lstm_drop_prob=lstm_drop_prob,
    )
