"""A linear head solved for, not trained: ridge or logistic regression.

From: features (N, D) of the training and validation parts. To: a weight (K, D)
and bias (K,) for the model's own linear head. No torch; float64.

Letters: N windows, D features, K classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.errors import SignalError, SpecError
from eegfm_bench.runs.spec import ClosedFormRecipe
from eegfm_bench.training.metrics import validation_score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    # Centred features (N, D), labels (N,), weights (N,) summing to 1, penalties
    # from the largest; for each penalty the weight (D, K) and bias (K,).
    Solver = Callable[
        [
            NDArray[np.float64],
            NDArray[np.int64],
            NDArray[np.float64],
            int,
            list[float],
        ],
        Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]],
    ]

# A class without training windows: never predicted, and finite.
NEVER = -1e3


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
    """Solve for a linear head with every penalty, keep the best.

    Parameters
    ----------
    train, val : pairs of features (N, D) and labels (N,)
    n_classes : int
    recipe : ClosedFormRecipe
        Solver, penalties, class weights, whether features are standardised, and the
        validation score that picks; of equal scores the larger penalty wins.

    Returns
    -------
    head : SolvedHead
        Takes raw features: centre and standardisation are folded in.

    Raises
    ------
    SignalError
        If a feature is not finite.
    SpecError
        If the validation part cannot give the score that picks.

    Notes
    -----
    With weights w summing to 1 and centred features z, each penalty λ gives the
    minimum of Σ w ‖t - W z - b‖² + λ ‖W‖², t being class indicators; or, of
    logistic regression, of Σ w ℓ(y, W z + b) + λ ‖W‖² / 2, ℓ being the cross-entropy.
    """
    x_ND, y = np.asarray(train[0], np.float64), train[1]
    for name, features in (("train", x_ND), ("val", val[0])):
        if not np.isfinite(features).all():
            raise SignalError(
                f"A feature of the {name} part is not finite. Look for flat or broken "
                f"channels in the store's manifest."
            )
    centre_D = x_ND.mean(axis=0)
    spread_D = np.ones(x_ND.shape[1])
    if recipe.standardise:
        spread_D = x_ND.std(axis=0)
        spread_D[spread_D < 1e-9] = 1.0  # a constant feature carries nothing
    z_ND = (x_ND - centre_D) / spread_D

    w_N = np.full(len(y), 1 / len(y))
    if recipe.class_weights == "balanced":
        n_K = np.bincount(y, minlength=n_classes)
        w_N = 1 / (n_K[y] * np.count_nonzero(n_K))

    best: SolvedHead | None = None
    penalties = sorted(recipe.penalties, reverse=True)
    solutions = _SOLVERS[recipe.solver](z_ND, y, w_N, n_classes, penalties)
    for penalty, (w_DK, b_K) in zip(penalties, solutions, strict=True):
        weight_KD = (w_DK / spread_D[:, None]).T
        bias_K = b_K - weight_KD @ centre_D
        logits_NK = np.asarray(val[0], np.float64) @ weight_KD.T + bias_K
        value = validation_score(recipe.select, val[1], softmax(logits_NK))
        if best is None or value > best.val_score:
            best = SolvedHead(
                weight_KD=weight_KD, bias_K=bias_K, penalty=penalty, val_score=value
            )
    if best is None:
        raise SpecError("The recipe lists no penalty; give at least one.")
    return best


def _ridge(
    z_ND: NDArray[np.float64],
    y: NDArray[np.int64],
    w_N: NDArray[np.float64],
    n_classes: int,
    penalties: list[float],
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Solve onto class indicators; one singular value decomposition serves all."""
    target_NK = np.eye(n_classes)[y]
    z_mean_D, t_mean_K = w_N @ z_ND, w_N @ target_NK
    root_N1 = np.sqrt(w_N)[:, None]
    u, s, vt = np.linalg.svd(root_N1 * (z_ND - z_mean_D), full_matrices=False)
    inner = u.T @ (root_N1 * (target_NK - t_mean_K))
    for penalty in penalties:
        w_DK = vt.T @ ((s / (s**2 + penalty))[:, None] * inner)
        yield w_DK, t_mean_K - z_mean_D @ w_DK


def _logistic(
    z_ND: NDArray[np.float64],
    y: NDArray[np.int64],
    w_N: NDArray[np.float64],
    n_classes: int,
    penalties: list[float],
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Let scikit-learn minimise the cross-entropy, each penalty from the last one."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    seen = np.unique(y)
    if len(seen) < 2:
        raise SignalError(
            f"The training part has windows of class {seen[0]} alone; logistic "
            f"regression needs two. Add subjects to the data root."
        )
    solver = LogisticRegression(warm_start=True, tol=1e-6, max_iter=1000)
    for penalty in penalties:
        solver.C = 1 / penalty
        # Products with a few classes are too narrow for several threads, which were ten
        # times slower than one beside other runs.
        with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):
            # Classes that a line parts have no minimum without a penalty to speak of.
            warnings.simplefilter("ignore", ConvergenceWarning)
            solver.fit(z_ND, y, sample_weight=w_N)
        coef_D, intercept = solver.coef_.T, solver.intercept_
        if len(seen) == 2:  # one row: for the second class against the first
            coef_D = np.hstack([-coef_D / 2, coef_D / 2])
            intercept = np.concatenate([-intercept / 2, intercept / 2])
        w_DK = np.zeros((z_ND.shape[1], n_classes))
        b_K = np.full(n_classes, NEVER)
        w_DK[:, seen], b_K[seen] = coef_D, intercept
        yield w_DK, b_K


_SOLVERS: dict[str, Solver] = {"ridge": _ridge, "logistic": _logistic}


def softmax(logits_NK: NDArray[np.floating]) -> NDArray[np.float64]:
    """Turn logits (N, K) into float64 probabilities (N, K)."""
    shifted = logits_NK.astype(np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    raised = np.exp(shifted)
    return raised / raised.sum(axis=1, keepdims=True)
