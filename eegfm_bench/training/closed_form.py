"""A linear head solved for, not trained: class-balanced ridge on standardised features.

From: features (N, D) of the training and validation parts. To: a weight (K, D)
and bias (K,) for the model's own linear head. Pure numpy, float64.

Letters: N windows, D features, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.errors import SignalError, SpecError
from eegfm_bench.runs.spec import ClosedFormRecipe
from eegfm_bench.training.metrics import validation_score

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SolvedHead:
    """A linear map of raw features, the penalty behind it, and its choice's score."""

    weight_KD: NDArray[np.float64]
    bias_K: NDArray[np.float64]
    penalty: float
    val_score: float


def solve_head(
    train: tuple[NDArray[np.floating], NDArray[np.int64]],
    val: tuple[NDArray[np.floating], NDArray[np.int64]],
    *,
    n_classes: int,
    recipe: ClosedFormRecipe,
) -> SolvedHead:
    """Solve ridge regression onto class indicators for every penalty, keep the best.

    Parameters
    ----------
    train, val : pairs of features (N, D) and labels (N,)
    n_classes : int
    recipe : ClosedFormRecipe
        Penalties, class weights, and the validation score that picks; of equal
        scores the larger penalty wins.

    Returns
    -------
    head : SolvedHead
        Takes raw features: the standardisation is folded in.

    Raises
    ------
    SignalError
        If a feature is not finite.
    SpecError
        If the validation part cannot give the score that picks.

    Notes
    -----
    With weights w summing to 1 and standardised features z, each penalty λ gives
    the minimum of Σ w ‖t - W z - b‖² + λ ‖W‖². One singular value decomposition
    of √w (z - mean) serves all penalties.
    """
    x_ND, y = np.asarray(train[0], np.float64), train[1]
    for name, features in (("train", x_ND), ("val", val[0])):
        if not np.isfinite(features).all():
            raise SignalError(
                f"A feature of the {name} part is not finite. Look for flat or broken "
                f"channels in the store's manifest."
            )
    centre_D = x_ND.mean(axis=0)
    spread_D = x_ND.std(axis=0)
    spread_D[spread_D < 1e-9] = 1.0  # a constant feature carries nothing
    z_ND = (x_ND - centre_D) / spread_D

    w_N = np.full(len(y), 1 / len(y))
    if recipe.class_weights == "balanced":
        n_K = np.bincount(y, minlength=n_classes)
        w_N = 1 / (n_K[y] * np.count_nonzero(n_K))
    target_NK = np.eye(n_classes)[y]
    z_mean_D, t_mean_K = w_N @ z_ND, w_N @ target_NK
    root_N1 = np.sqrt(w_N)[:, None]
    u, s, vt = np.linalg.svd(root_N1 * (z_ND - z_mean_D), full_matrices=False)
    inner = u.T @ (root_N1 * (target_NK - t_mean_K))

    best: SolvedHead | None = None
    for penalty in sorted(recipe.penalties, reverse=True):
        w_DK = vt.T @ ((s / (s**2 + penalty))[:, None] * inner)
        weight_KD = (w_DK / spread_D[:, None]).T
        bias_K = t_mean_K - z_mean_D @ w_DK - weight_KD @ centre_D
        logits_NK = np.asarray(val[0], np.float64) @ weight_KD.T + bias_K
        value = validation_score(recipe.select, val[1], softmax(logits_NK))
        if best is None or value > best.val_score:
            best = SolvedHead(
                weight_KD=weight_KD, bias_K=bias_K, penalty=penalty, val_score=value
            )
    if best is None:
        raise SpecError("The recipe lists no penalty; give at least one.")
    return best


def softmax(logits_NK: NDArray[np.floating]) -> NDArray[np.float64]:
    """Turn logits (N, K) into float64 probabilities (N, K)."""
    shifted = logits_NK.astype(np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    raised = np.exp(shifted)
    return raised / raised.sum(axis=1, keepdims=True)
