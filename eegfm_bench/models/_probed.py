"""A frozen encoder and one linear layer: what a linear probe trains and saves.

From: a built model. To: ``training.probe``, and saved models that were probed. Features
are the family's ``pooled`` ones where it has them, else its ``features``.

Letters: B windows, S windows of a sequence, C channels, T time points, D features, K
classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from eegfm_bench.models._spec import InputShape


class Probed(nn.Module):
    """A model's encoder, never trained, and a linear head on its features.

    Parameters
    ----------
    encoder : nn.Module
        A built model; its own head is taken out.
    shape : InputShape
        What it was built for. In sequence, every window is judged by itself.

    Attributes
    ----------
    head : nn.Linear
        Features (B, D) to logits (B, K).
    """

    def __init__(self, encoder: Any, shape: InputShape) -> None:
        super().__init__()
        self.head = nn.Linear(_width(encoder, shape), shape.n_classes)
        self.encoder = without_head(encoder).eval()
        for parameter in encoder.parameters():
            parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> Probed:
        """Set the head's mode; the encoder stays in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def features(self, x: Tensor) -> Tensor:
        """Return features (B, D) of windows (B, C, T) in µV; in sequence (B, S, D)."""
        return features_of(self.encoder, x)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, K) of windows (B, C, T) in µV; in sequence (B, S, K)."""
        logits: Tensor = self.head(self.features(x))
        return logits


def without_head(model: Any) -> Any:
    """Take the head out of a model, also of the one within a sequence."""
    for each in (model, getattr(model, "model", None)):
        if isinstance(each, nn.Module) and isinstance(
            getattr(each, "head", None), nn.Module
        ):
            put = getattr(each, "replace_head", None)
            if put is None:
                each.head = nn.Identity()
            else:
                put(nn.Identity())
    return model


def features_of(model: Any, x: Tensor) -> Tensor:
    """Return what a probe sees of windows in µV, without a gradient.

    ``pooled``, each channel's mean over its tokens, where the family has it: a linear
    map of all tokens would have more weights than there are windows.
    """
    of = getattr(model, "pooled", None) or model.features
    with torch.no_grad():
        features: Tensor = of(x)
    return features


def _width(encoder: Any, shape: InputShape) -> int:
    """Ask an encoder how many features it gives, leaving it as it was."""
    was_training = encoder.training
    one = (1,) if shape.sequence == 1 else (1, shape.sequence)
    with torch.random.fork_rng(devices=[]):
        noise = 20 * torch.randn(*one, shape.n_channels, shape.n_times)
        device = next((p.device for p in encoder.parameters()), noise.device)
        width = features_of(encoder.eval(), noise.to(device)).shape[-1]
    encoder.train(was_training)
    return width
