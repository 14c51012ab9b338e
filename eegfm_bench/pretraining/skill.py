"""What a forecast must beat: the last patch again, the last value, a linear model.

From: patches (B, C, P, L), in any one unit. To: forecasts in the layout of Trace's own
heads, so that ``forecast_loss`` judges all alike; and the skill of one over another.

Letters: B windows, C channels, P patches, L time points of a patch, h horizon.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eegfm_bench.errors import SpecError


def last_patch(patches_BCPL: Tensor, horizons: Sequence[int]) -> dict[int, Tensor]:
    """Forecast that a step's patch comes again, h times: (B, C, P, h L) for each h."""
    return {h: patches_BCPL.repeat(1, 1, 1, h) for h in horizons}


def last_value(patches_BCPL: Tensor, horizons: Sequence[int]) -> dict[int, Tensor]:
    """Forecast that a step's last value stays: (B, C, P, h L) for each h."""
    length = patches_BCPL.shape[-1]
    return {h: patches_BCPL[..., -1:].expand(-1, -1, -1, h * length) for h in horizons}


@dataclass(frozen=True)
class LinearForecast:
    """For each channel, a linear map from one patch to the h patches after it.

    ``weights`` of horizon h is (C, L + 1, h L), the last row an intercept.
    """

    weights: Mapping[int, Tensor]

    def __call__(self, patches_BCPL: Tensor) -> dict[int, Tensor]:
        """Return forecasts (B, C, P, h L) for each horizon, in the patches' type."""
        known = _with_one(patches_BCPL)
        return {
            h: torch.einsum("bcpi,cio->bcpo", known, weight_CIO).to(patches_BCPL.dtype)
            for h, weight_CIO in self.weights.items()
        }


def fit_linear(
    batches: Iterable[Tensor], horizons: Sequence[int], *, penalty: float
) -> LinearForecast:
    """Fit a linear autoregressive model of each channel, by ridge regression.

    Parameters
    ----------
    batches : iterable of tensor (B, C, P, L)
        Patches of training windows of one source. Read once.
    horizons : sequence of int
        Patches ahead; each has the positions t with t + h <= P, as in the loss.
    penalty : float
        On squared weights, relative to the mean square of the inputs; not on the
        intercept. Choose it on other training windows.

    Raises
    ------
    SpecError
        If the penalty is not positive, or no window is long enough for a horizon.
    """
    if not penalty > 0:
        raise SpecError(f"The ridge penalty is {penalty}; choose more than 0.")
    grams: dict[int, Tensor] = {}
    crosses: dict[int, Tensor] = {}
    for patches_BCPL in batches:
        n_patches = patches_BCPL.shape[2]
        for h in horizons:
            if n_patches <= h:
                continue
            known = _with_one(patches_BCPL[:, :, : n_patches - h])
            ahead = patches_BCPL[:, :, 1:].double().unfold(2, h, 1).transpose(-1, -2)
            gram = torch.einsum("bcpi,bcpj->cij", known, known)
            cross = torch.einsum("bcpi,bcpo->cio", known, ahead.flatten(-2))
            grams[h] = grams[h] + gram if h in grams else gram
            crosses[h] = crosses[h] + cross if h in crosses else cross
    missing = [h for h in horizons if h not in grams]
    if missing:
        raise SpecError(
            f"No window is long enough to forecast {missing} patches ahead. Choose "
            f"nearer horizons."
        )
    weights = {}
    for h, gram_CII in grams.items():
        n_inputs = gram_CII.shape[1] - 1
        power_C = gram_CII.diagonal(dim1=1, dim2=2)[:, :n_inputs].mean(1)
        ridge_CI = torch.zeros_like(gram_CII[:, 0])
        # A silent channel has no power: any number keeps its matrix solvable.
        ridge_CI[:, :n_inputs] = (penalty * power_C).clamp_min(1e-12)[:, None]
        weights[h] = torch.linalg.solve(
            gram_CII + torch.diag_embed(ridge_CI), crosses[h]
        )
    return LinearForecast(weights)


def skill(loss: float, loss_of_reference: float) -> float:
    """Return 1 - loss / loss of the reference: 1 is perfect, 0 no better than it.

    Examples
    --------
    >>> skill(0.5, 2.0)
    0.75
    """
    return 1.0 - loss / loss_of_reference


def _with_one(patches_BCPL: Tensor) -> Tensor:
    known = patches_BCPL.double()
    return torch.cat((known, known.new_ones(*known.shape[:-1], 1)), dim=-1)
