"""From hidden states to classes: all patches at once, or one score a patch.

From: hidden states (B, C, P, D). To: logits (B, K), or (B, P, K).
"""

from __future__ import annotations

from torch import Tensor, nn

from eegfm_bench.models.trace.config import TraceConfig


def read_hidden(hidden_BCPD: Tensor, kind: str) -> Tensor:
    """Return what a kind of head reads of a window, in one row (B, F).

    ``window``: all hidden states; ``pooled``: each channel's mean over the patches;
    ``causal``: the last step's mean over channels.
    """
    if kind == "window":
        return hidden_BCPD.flatten(1)
    if kind == "pooled":
        return hidden_BCPD.mean(2).flatten(1)
    return hidden_BCPD[:, :, -1].mean(1)


class WindowHead(nn.Module):
    """The published head: a three-layer MLP on all hidden states of a window.

    Its score exists only once a window is complete. At most published shapes it is
    larger than the encoder: 164 M weights for 32 channels and 10 s.
    """

    def __init__(
        self, config: TraceConfig, *, n_channels: int, n_patches: int, n_classes: int
    ) -> None:
        super().__init__()
        units = config.head_units
        first = units * n_patches if n_patches > 1 else config.head_units_alone
        self.layers = nn.Sequential(
            nn.Linear(n_channels * n_patches * config.dim, first),
            nn.ELU(),
            nn.Dropout(config.dropout),
            nn.Linear(first, units),
            nn.ELU(),
            nn.Dropout(config.dropout),
            nn.Linear(units, n_classes),
        )

    def forward(self, features_BD: Tensor) -> Tensor:
        """Return logits (B, K)."""
        return self.layers(features_BD)


class CausalHead(nn.Module):
    """Our head for streams: a score at every patch, from what came before it.

    The mean over channels of the hidden state at step t, then one linear layer,
    trained at every step. A window's own score is its last step's, which has seen
    all of it.
    """

    def __init__(self, config: TraceConfig, *, n_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(config.dim, n_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of features (B, D), or (B, P, K) of (B, P, D)."""
        return self.layer(features)
