"""What an encoder is asked in pre-training: what comes next, or what was hidden.

From: windows (B, C, T) in µV of one source. To: ``module``, the loss of a micro-batch,
its parts by name, and how every layer routed.

``causal`` is the paper's: raw patches ahead from each hidden state, equations (15),
(16). ``masked`` is its rival: half of the patches are hidden at the input and rebuilt,
as CBraMod does it, by the same encoder at the same size. The rival keeps the encoder's
causal attention, so that it rebuilds a patch from its past and from other channels
alone: what differs between the two is the question, not the network. With
``attention=full`` it looks both ways: another network, of the same weights.

Letters: B windows, C channels, T time points, P patches, L time points of a patch,
D width, h horizon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eegfm_bench.errors import SignalError, SpecError
from eegfm_bench.models.trace.config import TraceConfig, checked_options, config_at
from eegfm_bench.models.trace.cost import matched_dense_width
from eegfm_bench.models.trace.encoder import TraceEncoder
from eegfm_bench.models.trace.ffn import Routed
from eegfm_bench.models.trace.forecast import ForecastHeads, forecast_loss
from eegfm_bench.models.trace.patches import to_patches
from eegfm_bench.runs.pretrain import PretrainSpec

# Sets masks apart from other draws of the same seed.
_MASKS = 0x6D61736B


@dataclass(frozen=True, slots=True)
class Asked:
    """The loss of a micro-batch, its parts (a horizon, say), each layer's routing."""

    loss: Tensor
    each: dict[str, Tensor]
    routing: list[Routed]


class CausalObjective(nn.Module):
    """Forecast the next patches of every channel from each step.

    Parameters
    ----------
    config : TraceConfig
    horizons : sequence of int
        Patches ahead.
    delta : float
        Where the Huber loss turns from squared to linear, in the encoder's units.
    """

    def __init__(
        self, config: TraceConfig, horizons: Sequence[int], delta: float
    ) -> None:
        super().__init__()
        self.encoder = TraceEncoder(config)
        self.heads = ForecastHeads(config, horizons)
        self.delta = delta
        self.parts = tuple(f"h{h}" for h in horizons)

    def forward(self, x_BCT: Tensor, draw: Sequence[int] = ()) -> Asked:
        """Return the loss of windows (B, C, T) in µV; ``draw`` has no use here.

        Raises
        ------
        SignalError
            If windows are too short for any horizon.
        """
        config = self.encoder.config
        encoded = self.encoder(x_BCT)
        forecasts = self.heads.where_valid(encoded.hidden)
        if not forecasts:
            raise SignalError(
                f"Windows of {encoded.hidden.shape[2]} patches are too short for the "
                f"horizons {', '.join(self.parts)}. Leave their source out."
            )
        patches_BPCL = to_patches(x_BCT / config.scale_uv, config.patch_len)
        loss, each = forecast_loss(
            forecasts, patches_BPCL.transpose(1, 2), delta=self.delta
        )
        # Heads of horizons beyond these windows have a gradient all the same, of 0:
        # processes would else wait for one another's.
        for weight in self.heads.parameters():
            loss = loss + 0.0 * weight[0, 0]
        parts = {f"h{h}": value.detach() for h, value in each.items()}
        return Asked(loss, parts, encoded.routing)


class MaskedObjective(nn.Module):
    """Rebuild patches that were hidden, from those that were not.

    In each window the same share of all C x P patches is drawn, whatever their channel
    and step; a learnt patch stands in for them. The loss is the mean squared error of
    the hidden ones alone, in the encoder's units. CBraMod draws each patch by itself,
    so that its share varies; here it is exact.

    Parameters
    ----------
    config : TraceConfig
    ratio : float
        The share of patches that are hidden, at least one and never all.
    """

    parts = ("masked",)

    def __init__(self, config: TraceConfig, ratio: float) -> None:
        super().__init__()
        self.encoder = TraceEncoder(config)
        self.stand_in = nn.Parameter(torch.zeros(config.patch_len))
        self.head = nn.Linear(config.dim, config.patch_len)
        self.ratio = ratio

    def forward(self, x_BCT: Tensor, draw: Sequence[int] = ()) -> Asked:
        """Return the loss of windows (B, C, T) in µV, hidden as ``draw`` says.

        ``draw`` are numbers that name this micro-batch, such as seed, step and place:
        masks depend on them and on the shape alone.
        """
        config = self.encoder.config
        target_BPCL = to_patches(x_BCT / config.scale_uv, config.patch_len)
        n_windows, n_patches, n_channels, _ = target_BPCL.shape
        hidden_BCP = torch.from_numpy(
            mask_of((n_windows, n_channels, n_patches), self.ratio, draw)
        ).to(x_BCT.device)
        is_hidden_BPC = hidden_BCP.transpose(1, 2)
        stand_in_L = self.stand_in.to(target_BPCL.dtype)
        shown_BPCL = torch.where(is_hidden_BPC[..., None], stand_in_L, target_BPCL)
        shown_BCT = shown_BPCL.transpose(1, 2).flatten(2) * config.scale_uv
        encoded = self.encoder(shown_BCT)
        rebuilt_ML = self.head(encoded.hidden[hidden_BCP]).to(target_BPCL.dtype)
        loss = F.mse_loss(rebuilt_ML, target_BPCL.transpose(1, 2)[hidden_BCP])
        return Asked(loss, {"masked": loss.detach()}, encoded.routing)


AnyObjective = CausalObjective | MaskedObjective


def mask_of(
    shape: tuple[int, int, int], ratio: float, draw: Sequence[int]
) -> np.ndarray[tuple[int, int, int], np.dtype[np.bool_]]:
    """Draw which patches of each window are hidden.

    Returns
    -------
    is_hidden : bool array (B, C, P)
        round(ratio * C * P) True in each window, at least one and never all.

    Raises
    ------
    SignalError
        If a window is one patch, of which none would be left.
    """
    n_windows, n_tokens = shape[0], shape[1] * shape[2]
    if n_tokens < 2:
        raise SignalError(
            "A window of one channel and one patch cannot be hidden in part. Leave "
            "its source out."
        )
    n_hidden = min(max(round(ratio * n_tokens), 1), n_tokens - 1)
    random = np.random.default_rng([_MASKS, *draw])
    order = random.random((n_windows, n_tokens)).argsort(axis=1)
    is_hidden = np.zeros((n_windows, n_tokens), np.bool_)
    np.put_along_axis(is_hidden, order[:, :n_hidden], True, axis=1)
    return is_hidden.reshape(shape)


def encoder_config(spec: PretrainSpec) -> TraceConfig:
    """Return the encoder's architecture of a spec.

    Raises
    ------
    SpecError
        If options do not fit together, or a dense rival has no width: sources of
        several shapes would each solve for another.
    """
    options = checked_options(spec.options, spec.scale)
    config = config_at(spec.scale, options)
    if config.routing == "none" and config.dense_width is None:
        first = spec.sources[0]
        width = matched_dense_width(config, first.n_channels, first.n_patches)
        raise SpecError(
            f"dense_width of trace is not given, and sources of several shapes would "
            f"each solve for another. Give one: --set dense_width={width} costs what "
            f"Trace does on {first.n_channels} channels x {first.n_patches} patches "
            f"({first.name})."
        )
    return config


def objective_of(spec: PretrainSpec) -> AnyObjective:
    """Build an encoder and what it is asked, with weights from the spec's seed."""
    config, recipe = encoder_config(spec), spec.recipe
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        if spec.objective == "masked":
            assert recipe.mask_ratio is not None  # the spec's own check
            return MaskedObjective(config, recipe.mask_ratio)
        assert recipe.horizons is not None
        assert recipe.huber_delta is not None
        return CausalObjective(config, recipe.horizons, recipe.huber_delta)
