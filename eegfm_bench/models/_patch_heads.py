"""Heads on tokens of one channel's second, which several encoders share.

From: tokens of a window (B, C, P, D), in a row (B, F). To: logits (B, K). The three
layers on all tokens are those that CBraMod published and others took over; the pooled
head is the small scale's.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from eegfm_bench.models._spec import InputShape

# Time points of a patch, one second.
PATCH = 200

# Patches whose worth of units the first layer has where a window is one patch long.
PATCHES_ALONE = 4


def three_layers(
    n_features: int,
    *,
    n_patches: int,
    hidden: int,
    units: int,
    drop_prob: float,
    n_classes: int,
) -> nn.Sequential:
    """Return the published head: features (B, F) to logits (B, K).

    The first layer has ``hidden`` units; with 0, ``units`` for each patch.
    """
    first = hidden or units * (n_patches if n_patches > 1 else PATCHES_ALONE)
    return nn.Sequential(
        nn.Linear(n_features, first),
        nn.ELU(),
        nn.Dropout(drop_prob),
        nn.Linear(first, units),
        nn.ELU(),
        nn.Dropout(drop_prob),
        nn.Linear(units, n_classes),
    )


class PooledHead(nn.Module):
    """Batch norm, one hidden layer, classes: features (B, F) to logits (B, K).

    Batch norm comes first: features differ little between windows beside what they
    share, and the small scale has no steps to spare for finding that out.
    """

    def __init__(
        self, n_features: int, units: int, drop_prob: float, n_classes: int
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(n_features)
        self.layers = nn.Sequential(
            nn.Linear(n_features, units),
            nn.ELU(),
            nn.Dropout(drop_prob),
            nn.Linear(units, n_classes),
        )

    def forward(self, features_BF: Tensor) -> Tensor:
        """Return logits (B, K) of features (B, F)."""
        norm = self.norm
        if norm.training and len(features_BF) == 1:
            # One window has no spread of its own; what is known so far serves.
            known = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
            features_BF = F.batch_norm(features_BF, *known, eps=norm.eps)
        else:
            features_BF = norm(features_BF)
        logits_BK: Tensor = self.layers(features_BF)
        return logits_BK


def not_whole_patches(shape: InputShape) -> str | None:
    """Say why a rate or a length cannot be served in patches of a second."""
    if shape.rate_hz != PATCH:
        return f"its windows come at {shape.rate_hz:g} Hz; patches are 1 s at 200 Hz"
    if shape.n_times % PATCH:
        below = shape.n_times // PATCH * PATCH
        nearest = f"{below} and {below + PATCH}" if below else f"{PATCH}"
        return (
            f"{shape.n_times} time points do not divide into patches of {PATCH}; the "
            f"nearest that do: {nearest}"
        )
    return None
