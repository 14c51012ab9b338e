"""Band power: log energy in five bands per channel, then one linear layer.

The floor every learned model has to beat. From: batch (B, C, T) in µV. To:
logits (B, K). The head is solved for in closed form on standardised features.

Letters: B windows, C channels, T time points, F frequency bins, N bands,
D features (C * N), K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eegfm_bench.models._spec import InputShape, Size, model
from eegfm_bench.runs.spec import ClosedFormRecipe

# Delta, theta, alpha, beta, low gamma: the field's customary borders.
BANDS_HZ = ((1.0, 4.0), (4.0, 8.0), (8.0, 13.0), (13.0, 30.0), (30.0, 45.0))
# µV²: below any amplifier's noise, so that a flat channel stays finite.
FLOOR_UV2 = 1e-6


class BandPower(nn.Module):
    """Log band power with a linear head."""

    taper_T: Tensor
    inside_FN: Tensor

    def __init__(self, shape: InputShape) -> None:
        super().__init__()
        freq_F = torch.fft.rfftfreq(shape.n_times, d=1 / shape.rate_hz)
        inside_FN = torch.stack(
            [(lo <= freq_F) & (freq_F < hi) for lo, hi in BANDS_HZ], dim=1
        ).float()
        # A Hann taper keeps slow drift from leaking into the faster bands.
        self.register_buffer(
            "taper_T", torch.hann_window(shape.n_times), persistent=False
        )
        self.register_buffer("inside_FN", inside_FN, persistent=False)
        self.head = nn.Linear(shape.n_channels * len(BANDS_HZ), shape.n_classes)

    def features(self, x_BCT: Tensor) -> Tensor:
        """Return log band power (B, D), in log µV²."""
        centred_BCT = x_BCT - x_BCT.mean(dim=-1, keepdim=True)
        spectrum_BCF = torch.fft.rfft(centred_BCT * self.taper_T, norm="forward")
        power_BCN = spectrum_BCF.abs().square() @ self.inside_FN
        return power_BCN.add(FLOOR_UV2).log().flatten(1)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return logits (B, K)."""
        logits_BK: Tensor = self.head(self.features(x_BCT))
        return logits_BK


@model(
    title="Band power",
    trained_by="closed_form",
    recipes={"paper": ClosedFormRecipe(), "small": ClosedFormRecipe()},
    reference="none: written for this suite",
    licence="same as this package",
    is_seeded=False,
    input_scale="none: log of power in µV², then unit deviation in the training part",
    channel_use="by their order: each has features of its own",
    sizes={
        "paper": Size(encoder=0, head=162, flops=160_480),
        "small": Size(encoder=0, head=162, flops=160_480),
    },
)
def bandpower(shape: InputShape, *, scale: str) -> BandPower:
    """Five bands per channel, linear head."""
    return BandPower(shape)
