"""A linear head solved for, not trained: ridge or logistic regression.

From: features (N, D) of the training and validation parts. To: a weight (K, D)
and bias (K,) for a linear head. No torch; sums in float64. Where both N and D are
large, ridge goes by products of the smaller side (``training.wide_ridge``).

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
from eegfm_bench.training.wide_ridge import wide_ridge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    # For each penalty, from the largest, the weight (D, K) and bias (K,).
    Solutions = Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]
    # Centred features (N, D), labels (N,), weights (N,) summing to 1, penalties.
    Solver = Callable[
        [
            NDArray[np.float64],
            NDArray[np.int64],
            NDArray[np.float64],
            int,
            list[float],
        ],
        Solutions,
    ]

# Up to this smaller side one singular value decomposition serves all penalties; beyond
# it would take minutes, and hours at 12,000.
DECOMPOSED_UP_TO = 2500
# Values of the training part above which logistic regression is refused: it goes over
# all of them in float64, which takes 8 GB then.
LOGISTIC_UP_TO = 400_000_000
# Rows whose logits are computed at once.
_ROWS = 4096

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
    x_ND, y = train
    for name, features in (("train", x_ND), ("val", val[0])):
        if not np.isfinite(features).all():
            raise SignalError(
                f"A feature of the {name} part is not finite. Look for flat or broken "
                f"channels in the store's manifest."
            )
    w_N = np.full(len(y), 1 / len(y))
    if recipe.class_weights == "balanced":
        n_K = np.bincount(y, minlength=n_classes)
        w_N = 1 / (n_K[y] * np.count_nonzero(n_K))

    penalties = sorted(recipe.penalties, reverse=True)
    centre_D, spread_D, solutions = _solutions(
        x_ND, y, w_N, n_classes, penalties, recipe
    )
    best: SolvedHead | None = None
    for penalty, (w_DK, b_K) in zip(penalties, solutions, strict=True):
        weight_KD = (w_DK / spread_D[:, None]).T
        bias_K = b_K - weight_KD @ centre_D
        logits_NK = linear(val[0], weight_KD, bias_K)
        value = validation_score(recipe.select, val[1], softmax(logits_NK))
        if best is None or value > best.val_score:
            best = SolvedHead(
                weight_KD=weight_KD, bias_K=bias_K, penalty=penalty, val_score=value
            )
    if best is None:
        raise SpecError("The recipe lists no penalty; give at least one.")
    return best


def linear(
    x_ND: NDArray[np.floating],
    weight_KD: NDArray[np.floating],
    bias_K: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Return logits (N, K) in float64; of many wide rows, some at a time."""
    weight_DK = weight_KD.T.astype(np.float64)
    bias_K = bias_K.astype(np.float64)
    if x_ND.dtype == np.float64 or len(x_ND) <= _ROWS:
        return np.asarray(x_ND, np.float64) @ weight_DK + bias_K
    rows = range(0, len(x_ND), _ROWS)
    return np.concatenate(
        [x_ND[i : i + _ROWS].astype(np.float64) @ weight_DK + bias_K for i in rows]
    )


def _solutions(
    x_ND: NDArray[np.floating],
    y: NDArray[np.int64],
    w_N: NDArray[np.float64],
    n_classes: int,
    penalties: list[float],
    recipe: ClosedFormRecipe,
) -> tuple[NDArray[np.float64], NDArray[np.float64], Solutions]:
    """Return centre and spread of the features, and a solution for each penalty."""
    if recipe.solver == "ridge" and min(x_ND.shape) > DECOMPOSED_UP_TO:
        return wide_ridge(
            x_ND, np.eye(n_classes)[y], w_N, penalties, standardise=recipe.standardise
        )
    if recipe.solver == "logistic" and x_ND.size > LOGISTIC_UP_TO:
        raise SpecError(
            f"Logistic regression on {len(x_ND):,} windows of {x_ND.shape[1]:,} "
            f"features would take {20 * x_ND.size / 1e9:.1f} GB; it is held to "
            f"{20 * LOGISTIC_UP_TO / 1e9:g} GB. Use --set solver=ridge or "
            f"solver=trained, or fewer windows (--labels)."
        )
    z_ND = np.array(x_ND, np.float64)
    centre_D = z_ND.mean(axis=0)
    spread_D = np.ones(z_ND.shape[1])
    if recipe.standardise:
        spread_D = z_ND.std(axis=0)
        spread_D[spread_D < 1e-9] = 1.0  # a constant feature carries nothing
    z_ND -= centre_D
    z_ND /= spread_D
    solver = _SOLVERS[recipe.solver]
    return centre_D, spread_D, solver(z_ND, y, w_N, n_classes, penalties)


def _ridge(
    z_ND: NDArray[np.float64],
    y: NDArray[np.int64],
    w_N: NDArray[np.float64],
    n_classes: int,
    penalties: list[float],
) -> Solutions:
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
) -> Solutions:
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
