"""Windows judged in the light of their neighbours: one head around any model.

From: a model of single windows. To: logits (B, S, K) from sequences (B, S, C, T) in
µV. The head is the one that CBraMod's public sleep staging puts on its encoder
(commit b9e9610): a linear layer with GELU, one Transformer layer over the sequence, a
linear layer. What is not trained by gradient judges every window by itself.

Letters: B sequences, S windows in one, C channels, T time points, D features, U
units of the head, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from eegfm_bench.models._spec import InputShape

# Units, width of the feed-forward layer, and attention heads.
UNITS = {"paper": (512, 2048, 4), "small": (64, 128, 4)}
DROPOUT = 0.1


class SequenceHead(nn.Module):
    """Features of S consecutive windows (B S, D) in, logits (B S, K) out."""

    def __init__(
        self, n_features: int, *, sequence: int, n_classes: int, scale: str
    ) -> None:
        super().__init__()
        units, width, n_heads = UNITS[scale]
        self.sequence = sequence
        # Ours: features of other models differ in size by orders of magnitude, and
        # the small scale has no steps to spare for finding that out.
        self.norm = nn.BatchNorm1d(n_features) if scale == "small" else nn.Identity()
        self.reduce = nn.Sequential(nn.Linear(n_features, units), nn.GELU())
        self.context = nn.TransformerEncoderLayer(
            units,
            n_heads,
            dim_feedforward=width,
            dropout=DROPOUT,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.classify = nn.Linear(units, n_classes)

    def forward(self, features_ND: Tensor) -> Tensor:
        """Return logits (B S, K) of features (B S, D), S rows a sequence."""
        units_BSU = self.reduce(self.norm(features_ND)).unflatten(
            0, (-1, self.sequence)
        )
        return self.classify(self.context(units_BSU)).flatten(0, 1)


class InSequence(nn.Module):
    """A model of single windows, its head replaced by one that sees a sequence.

    Parameters
    ----------
    model : nn.Module
        ``features`` (N, D) of windows (N, C, T) in µV.
    sequence : int
        Windows in a sequence, S.
    head : nn.Module
        Features (B S, D) to logits (B S, K).
    """

    def __init__(self, model: Any, *, sequence: int, head: nn.Module) -> None:
        super().__init__()
        self.sequence = sequence
        self.head = head
        self.model = model

    def features(self, x_BSCT: Tensor) -> Tensor:
        """Return features (B, S, D) of sequences (B, S, C, T) in µV."""
        return self._alone(x_BSCT).unflatten(0, (-1, self.sequence))

    def pooled(self, x_BSCT: Tensor) -> Tensor:
        """Return each channel's mean token (B, S, F), of sequences (B, S, C, T) in µV.

        The features, of a model of single windows without such means.
        """
        pooled = getattr(self.model, "pooled", self.model.features)
        pooled_NF: Tensor = pooled(x_BSCT.flatten(0, 1))
        return pooled_NF.unflatten(0, (-1, self.sequence))

    def forward(self, x_BSCT: Tensor) -> Tensor:
        """Return logits (B, S, K) of sequences (B, S, C, T) in µV."""
        logits_NK: Tensor = self.head(self._alone(x_BSCT))
        return logits_NK.unflatten(0, (-1, self.sequence))

    @property
    def n_layers(self) -> int:
        """How many layers the model of single windows names."""
        n_layers: int = self.model.n_layers
        return n_layers

    def layer_of(self, name: str) -> int:
        """Return the layer of a parameter of the model of single windows."""
        layer: int = self.model.layer_of(name.removeprefix("model."))
        return layer

    def set_prior(self, y: Tensor) -> None:
        """Hand training labels (N,) to a model that takes nothing else."""
        self.model.set_prior(y)

    def _alone(self, x_BSCT: Tensor) -> Tensor:
        features_ND: Tensor = self.model.features(x_BSCT.flatten(0, 1))
        return features_ND


class InSequenceWithLoss(InSequence):
    """The same around a model that has a loss of its own."""

    def loss(
        self, x_BSCT: Tensor, y_BS: Tensor, criterion: Callable[..., Tensor]
    ) -> Tensor:
        """Return the model's own loss, its head being the sequence's."""
        loss: Tensor = self.model.loss(x_BSCT.flatten(0, 1), y_BS.flatten(), criterion)
        return loss


class InSequenceWithFit(InSequence):
    """The same around a model whose features are fitted to the training windows."""

    def fit_features(self, x_batches: Iterable[Tensor], y: Tensor) -> None:
        """Hand single windows (B S, C, T) of sequences (B, S, C, T) on."""
        self.model.fit_features((x_BSCT.flatten(0, 1) for x_BSCT in x_batches), y)


def in_sequence(
    model: Any, shape: InputShape, *, scale: str, is_trained: bool
) -> InSequence:
    """Return a model of single windows as one of sequences.

    Parameters
    ----------
    model : nn.Module
        Built for the shape's single windows.
    shape : InputShape
    scale : str
        ``paper`` or ``small``: the head's size.
    is_trained : bool
        Whether a head can be trained; else every window is judged by itself.
    """
    if not is_trained:
        alone = InSequenceWithFit if hasattr(model, "fit_features") else InSequence
        return alone(model, sequence=shape.sequence, head=model.head)
    head = SequenceHead(
        _n_features(model, shape),
        sequence=shape.sequence,
        n_classes=shape.n_classes,
        scale=scale,
    )
    # The model's own head would be dead weight; its loss, if any, goes by the new one.
    has_loss = hasattr(model, "loss")
    put = getattr(model, "replace_head", lambda head: setattr(model, "head", head))
    put(head if has_loss else nn.Identity())
    kind = InSequenceWithLoss if has_loss else InSequence
    return kind(model, sequence=shape.sequence, head=head)


@torch.no_grad()
def _n_features(model: Any, shape: InputShape) -> int:
    """Ask a model how many features it gives, leaving it as it was."""
    was_training = model.training
    with torch.random.fork_rng(devices=[]):
        noise = 20 * torch.randn(2, shape.n_channels, shape.n_times)
        features: Tensor = model.eval().features(noise)
    model.train(was_training)
    return features.shape[1]
