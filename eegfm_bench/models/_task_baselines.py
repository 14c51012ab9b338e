"""What the task baselines of BIOT's tables have in common.

From: windows (B, C, T) in µV. To: windows scaled channel by channel, spectrograms, and
what a residual convolutional network makes of them, for ``cnn_transformer``, ``ffcl``
and ``st_transformer``.

Letters: B windows, C channels, T time points, W frequencies, U time points of a
spectrogram, F filters, D features.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eegfm_bench.models._spec import InputShape

# Commit of github.com/ycq091044/BIOT that was run for all comparisons.
COMMIT = "d138e32"

# Below any amplifier's noise. A channel that is flat but for an artefact has a
# percentile of 0, and would be multiplied by 1e8 in the source.
FLOOR_UV = 0.1


def scaled_by_percentile(x_BCT: Tensor, percentile: float) -> Tensor:
    """Divide every channel of every window by a percentile of its size.

    Parameters
    ----------
    x_BCT : tensor (B, C, T)
        Windows in µV.
    percentile : float
        Of the absolute values of one channel in one window, from 0 to 100; between
        two time points it is interpolated.

    Returns
    -------
    x_BCT : tensor (B, C, T)
        Windows without unit. What has a percentile below ``FLOOR_UV`` is divided by
        that, so that silence stays silence.

    Examples
    --------
    >>> x_BCT = torch.tensor([[[0.0, -2.0, 4.0], [0.0, 0.0, 0.0]]])
    >>> scaled_by_percentile(x_BCT, 75.0).tolist()
    [[[0.0, -0.6666666865348816, 1.3333333730697632], [0.0, 0.0, 0.0]]]
    """
    n_times = x_BCT.shape[-1]
    at = percentile / 100 * (n_times - 1)
    below = min(math.floor(at), max(n_times - 2, 0))
    # The largest few in order are found faster than all are sorted.
    largest = x_BCT.abs().topk(n_times - below, dim=-1).values
    scale_BC = largest[..., -1]
    if n_times > 1:
        scale_BC = scale_BC + (at - below) * (largest[..., -2] - scale_BC)
    return x_BCT / scale_BC.clamp_min(FLOOR_UV).unsqueeze(-1)


def spectrogram(x_BCT: Tensor, *, n_fft: int, hop: int) -> Tensor:
    """Return the size of short-time Fourier transforms (B, C, W, U).

    Stretches of ``n_fft`` time points without a taper, centred at every ``hop`` time
    points, the window mirrored at both ends; divided by the root of ``n_fft``.
    """
    spectrum = torch.stft(
        x_BCT.flatten(0, 1),
        n_fft,
        hop_length=hop,
        window=x_BCT.new_ones(n_fft),
        normalized=True,
        return_complex=True,
    )
    return spectrum.abs().unflatten(0, x_BCT.shape[:2])


class _BatchNorm(nn.BatchNorm2d):
    """Batch norm, which of a single value takes the running statistics.

    The last batch of an epoch may be one window, and the deepest map one point: a
    single value has no deviation.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, F, W, U), normalised for every filter."""
        is_single = x.shape[0] * x.shape[2] * x.shape[3] == 1
        if self.training and is_single:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False
            )
        normalised: Tensor = super().forward(x)
        return normalised


class _Block(nn.Module):
    """Two convolutions beside one, halved, added and halved again.

    ReLU stands between the two convolutions and nowhere else, as in the source.
    """

    def __init__(
        self, n_in: int, n_out: int, drop_prob: float, norm_momentum: float
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(n_in, n_out, 3, stride=2, padding=1)
        self.first_norm = _BatchNorm(n_out, momentum=norm_momentum)
        self.second = nn.Conv2d(n_out, n_out, 3, padding=1)
        self.second_norm = _BatchNorm(n_out, momentum=norm_momentum)
        self.beside = nn.Conv2d(n_in, n_out, 3, stride=2, padding=1)
        self.beside_norm = _BatchNorm(n_out, momentum=norm_momentum)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.drop = nn.Dropout(drop_prob)

    def forward(self, h: Tensor) -> Tensor:
        """Return (B, F, W', U'), a quarter as long each way, of (B, F, W, U)."""
        deep = self.first_norm(self.first(h)).relu()
        deep = self.second_norm(self.second(deep))
        pooled: Tensor = self.pool(deep + self.beside_norm(self.beside(h)))
        dropped: Tensor = self.drop(pooled)
        return dropped


class ResidualNet(nn.Module):
    """Residual blocks over spectrograms, each with twice the filters of the last.

    Parameters
    ----------
    n_channels : int
        Channels of the spectrogram, C.
    n_filters, n_blocks : int
        Filters of the first block, and how many blocks there are.
    drop_prob : float
        Dropout after every block.
    norm_momentum : float
        Weight of the newest batch in running statistics.

    Attributes
    ----------
    n_features : int
        Filters of the last block, D.
    """

    def __init__(
        self,
        n_channels: int,
        *,
        n_filters: int,
        n_blocks: int,
        drop_prob: float,
        norm_momentum: float,
    ) -> None:
        super().__init__()
        widths = [n_channels, *(n_filters * 2**i for i in range(n_blocks))]
        self.blocks = nn.Sequential(
            *(
                _Block(n_in, n_out, drop_prob, norm_momentum)
                for n_in, n_out in pairwise(widths)
            )
        )
        self.n_features = widths[-1]

    def forward(self, h_BCWU: Tensor) -> Tensor:
        """Return features (B, D): the mean over what is left of the map."""
        # On a CPU, torch's gradient of a strided convolution in bfloat16 over a map
        # one point wide holds memory nobody wrote (seen with 2.13): full precision.
        is_on_cpu = h_BCWU.device.type == "cpu"
        whole = torch.autocast("cpu", enabled=False) if is_on_cpu else nullcontext()
        with whole:
            features: Tensor = self.blocks(h_BCWU).mean((-2, -1))
        return features


def unserved_rate(shape: InputShape) -> str | None:
    """Say why a rate cannot be served: kernels are so many time points at 200 Hz."""
    if shape.rate_hz != 200.0:
        return f"its windows come at {shape.rate_hz:g} Hz; the model listens at 200 Hz"
    return None
