"""Trace as a classifier: the encoder and one of its heads.

From: batch (B, C, T) in µV. To: logits (B, K).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import Tensor, nn

from eegfm_bench.errors import SignalError, SpecError
from eegfm_bench.models._patch_heads import PooledHead
from eegfm_bench.models._spec import InputShape
from eegfm_bench.models.trace.config import TraceConfig
from eegfm_bench.models.trace.cost import matched_dense_width
from eegfm_bench.models.trace.encoder import Encoded, TraceEncoder
from eegfm_bench.models.trace.heads import (
    CausalHead,
    WindowHead,
    read_hidden,
)

Criterion = Callable[[Tensor, Tensor], Tensor]


class Trace(nn.Module):
    """Trace with a head for classes.

    Parameters
    ----------
    shape : InputShape
        Windows of at least one patch at 200 Hz.
    config : TraceConfig

    Attributes
    ----------
    encoder : TraceEncoder
    head : nn.Module
        Features to logits, of the kind that ``config.head`` names.
    """

    head: nn.Module

    def __init__(self, shape: InputShape, config: TraceConfig) -> None:
        super().__init__()
        n_patches = shape.n_times // config.patch_len
        if n_patches < 1:
            raise SpecError(
                f"Windows of {shape.n_times} time points are shorter than one patch of "
                f"trace, {config.patch_len}. Choose a smaller patch_len."
            )
        if config.routing == "none" and config.dense_width is None:
            width = matched_dense_width(config, shape.n_channels, n_patches)
            config = dataclasses.replace(config, dense_width=width)
        self.config = config
        self.n_channels, self.n_patches = shape.n_channels, n_patches
        self.encoder = TraceEncoder(config)
        if config.head == "window":
            self.head = WindowHead(
                config,
                n_channels=shape.n_channels,
                n_patches=n_patches,
                n_classes=shape.n_classes,
            )
        elif config.head == "causal":
            self.head = CausalHead(config, n_classes=shape.n_classes)
        else:
            self.head = PooledHead(
                shape.n_channels * config.dim,
                config.head_units,
                config.dropout,
                shape.n_classes,
            )

    def encode(
        self,
        x_BCT: Tensor,
        channel_mask: Tensor | None = None,
        patch_mask: Tensor | None = None,
    ) -> Tensor:
        """Return hidden states (B, C, P, D) of windows (B, C, T) in µV."""
        return self.encoder(x_BCT, channel_mask, patch_mask).hidden

    def pooled(self, x_BCT: Tensor) -> Tensor:
        """Return each channel's mean state (B, C D), of windows (B, C, T) in µV."""
        return self.encode(x_BCT).mean(2).flatten(1)

    def features(self, x_BCT: Tensor) -> Tensor:
        """Return what the head reads (B, F) of windows (B, C, T) in µV."""
        return self._read(self.encode(x_BCT))

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return logits (B, K) of windows (B, C, T) in µV."""
        return self.head(self.features(x_BCT))

    def step_logits(self, x_BCT: Tensor) -> Tensor:
        """Return a score for every patch (B, P, K); the causal head's alone.

        Raises
        ------
        SpecError
            With another head, whose score needs the whole window.
        """
        if not isinstance(self.head, CausalHead):
            raise SpecError(
                f"The {self.config.head} head has no score before a window is "
                f"complete. Build with head='causal'."
            )
        return self.head(self.encode(x_BCT).mean(1))

    def loss(self, x_BCT: Tensor, y_B: Tensor, criterion: Criterion) -> Tensor:
        """Return the training loss of a batch.

        Parameters
        ----------
        x_BCT : tensor (B, C, T)
            Windows in µV.
        y_B : tensor (B,)
        criterion : function of (logits (N, K), labels (N,))
            The classes' own loss; the causal head meets it at every step.
        """
        encoded: Encoded = self.encoder(x_BCT)
        if isinstance(self.head, CausalHead):
            logits_BPK = self.head(encoded.hidden.mean(1))
            n_steps = logits_BPK.shape[1]
            loss = criterion(logits_BPK.flatten(0, 1), y_B.repeat_interleave(n_steps))
        else:
            loss = criterion(self.head(self._read(encoded.hidden)), y_B)
        if self.config.balance_weight:
            balance = self.encoder.balance_loss(encoded)
            loss = loss + self.config.balance_weight * balance
        return loss

    def _read(self, hidden_BCPD: Tensor) -> Tensor:
        """Return features, refusing windows the head was not built for."""
        found, built = hidden_BCPD.shape[1:3], (self.n_channels, self.n_patches)
        if self.config.head != "causal" and found != built:
            raise SignalError(
                f"A window has {found[0]} channels and {found[1]} patches; this head "
                f"was built for {built[0]} and {built[1]}. Build the model anew."
            )
        return read_hidden(hidden_BCPD, self.config.head)
