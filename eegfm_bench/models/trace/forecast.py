"""Forecasts of the next patches from each hidden state, and what they cost.

From: hidden states (B, C, P, D). To: raw patches ahead (B, C, P, h L), and the loss
that pre-training descends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eegfm_bench.errors import SpecError
from eegfm_bench.models.trace.config import FORECAST, TraceConfig


class ForecastHeads(nn.Module):
    """One linear map without bias for each horizon, equation (15).

    Horizon h predicts patches t + 1 to t + h from the hidden state at step t.
    """

    def __init__(
        self, config: TraceConfig, horizons: Sequence[int] = FORECAST.horizons
    ) -> None:
        super().__init__()
        if not horizons or min(horizons) < 1:
            raise SpecError(
                f"The horizons are {tuple(horizons)}; expected patches ahead, from 1."
            )
        self.heads = nn.ModuleDict(
            {
                str(h): nn.Linear(config.dim, h * config.patch_len, bias=False)
                for h in horizons
            }
        )

    def forward(self, hidden_BCPD: Tensor) -> dict[int, Tensor]:
        """Return for each horizon h the forecasts (B, C, P, h L)."""
        return {int(h): head(hidden_BCPD) for h, head in self.heads.items()}

    def where_valid(self, hidden_BCPD: Tensor) -> dict[int, Tensor]:
        """Return forecasts (B, C, P - h, h L) of the steps whose targets all exist.

        Without the horizons that the windows are too short for. ``forecast_loss``
        takes them as it does those of all steps, of which it judges these.
        """
        n_steps = hidden_BCPD.shape[2]
        return {
            int(h): head(hidden_BCPD[:, :, : n_steps - int(h)])
            for h, head in self.heads.items()
            if int(h) < n_steps
        }


def forecast_loss(
    forecasts: Mapping[int, Tensor],
    patches_BCPL: Tensor,
    *,
    channel_mask: Tensor | None = None,
    patch_mask: Tensor | None = None,
    delta: float = FORECAST.huber_delta,
) -> tuple[Tensor, dict[int, Tensor]]:
    """Return the mean Huber loss over horizons, equation (16), and each horizon's.

    Parameters
    ----------
    forecasts : mapping of horizon to tensor (B, C, P, h L), or (B, C, P - h, h L)
    patches_BCPL : tensor (B, C, P, L)
        The raw patches, in the encoder's units.
    channel_mask, patch_mask : tensor (B, C), (B, P), optional
        False where padded; a step counts only if all of its h targets are real.
    delta : float
        Where the loss turns from squared to linear, in the encoder's units.

    Returns
    -------
    loss : tensor ()
        The mean over those horizons that have a step to count; 0 if none has.
    each : mapping of horizon to tensor ()
        Without the horizons that no window is long enough for.
    """
    n_windows, n_channels, n_steps, patch_len = patches_BCPL.shape
    kept_BCP = patches_BCPL.new_ones(n_windows, n_channels, n_steps, dtype=torch.bool)
    if channel_mask is not None:
        kept_BCP = kept_BCP & channel_mask[:, :, None]
    if patch_mask is not None:
        kept_BCP = kept_BCP & patch_mask[:, None, :]
    each: dict[int, Tensor] = {}
    for h, forecast in forecasts.items():
        n_valid = n_steps - h
        if n_valid < 1:
            continue
        ahead_BCVHL = patches_BCPL[:, :, 1:].unfold(2, h, 1).transpose(-1, -2)
        counts_BCV = kept_BCP[:, :, :n_valid]
        counts_BCV = counts_BCV & kept_BCP[:, :, 1:].unfold(2, h, 1).all(-1)
        n_counted = counts_BCV.sum()
        is_masked = channel_mask is not None or patch_mask is not None
        if is_masked and not n_counted:
            continue
        made_BCVHL = forecast[:, :, :n_valid].unflatten(-1, (h, patch_len))
        made_BCVHL = made_BCVHL.to(patches_BCPL.dtype)
        if is_masked:  # whatever padding holds, even what is no number
            skipped = ~counts_BCV[..., None, None]
            made_BCVHL = made_BCVHL.masked_fill(skipped, 0.0)
            ahead_BCVHL = ahead_BCVHL.masked_fill(skipped, 0.0)
        error_BCV = F.huber_loss(
            made_BCVHL,
            ahead_BCVHL,
            reduction="none",
            delta=delta,
        ).mean((-1, -2))
        each[h] = error_BCV.sum() / n_counted
    if not each:  # still a sum over forecasts, so that a mixed step can go backward
        nothing = [forecast.sum() * 0.0 for forecast in forecasts.values()]
        return torch.stack(nothing).sum().to(patches_BCPL.dtype), {}
    return torch.stack(list(each.values())).mean(), each
