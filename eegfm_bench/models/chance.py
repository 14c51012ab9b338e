"""Chance: the training part's class frequencies, whatever the window shows.

From: batch (B, C, T) in µV, unread. To: the same logits (B, K) for every window.
What every score must beat; a constant score's AUC-PR shows how the published
trapezoid rule flatters it.

Letters: B windows, C channels, T time points, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eegfm_bench.models._spec import InputShape, Size, model
from eegfm_bench.runs.spec import NoRecipe


class Chance(nn.Module):
    """Constant logits: the log of the class priors, uniform until set."""

    log_prior_K: Tensor

    def __init__(self, shape: InputShape) -> None:
        super().__init__()
        self.register_buffer("log_prior_K", torch.zeros(shape.n_classes))
        self.head = nn.Identity()

    def set_prior(self, y: Tensor) -> None:
        """Take class frequencies from training labels (N,), one added to each."""
        n_K = torch.bincount(y, minlength=self.log_prior_K.numel()) + 1
        self.log_prior_K.copy_((n_K / n_K.sum()).log())

    def features(self, x_BCT: Tensor) -> Tensor:
        """Return the log prior (B, K) for every window."""
        return self.log_prior_K.expand(x_BCT.shape[0], -1)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return logits (B, K)."""
        logits_BK: Tensor = self.head(self.features(x_BCT))
        return logits_BK


@model(
    title="Chance",
    trained_by="prior",
    recipes={"paper": NoRecipe(), "small": NoRecipe()},
    reference="none: the floor of every table",
    licence="same as this package",
    is_seeded=False,
    input_scale="none: windows are not read",
    channel_use="none",
    sizes={
        "paper": Size(encoder=0, head=0, flops=0),
        "small": Size(encoder=0, head=0, flops=0),
    },
)
def chance(shape: InputShape, *, scale: str) -> Chance:
    """Class frequencies of the training part."""
    return Chance(shape)
