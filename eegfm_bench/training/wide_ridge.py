"""Ridge regression where windows and features both count in thousands.

From: features (N, D), float32 as they lie. To: ``closed_form``, the same minimum that
its decomposition gives, to rounding. Products of the smaller side are summed in
float64, a block of the features at a time, and solved anew for each penalty.

Letters: N windows, D features, K classes, M the smaller of N and D.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.errors import SpecError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Solutions = Iterator[tuple[Array, Array]]

# What the products, their factors and the features may take together.
MOST_BYTES = 8_000_000_000
# Rows or columns that are brought to float64 at once.
_BLOCK = 1024


def wide_ridge(
    x_ND: NDArray[np.floating],
    target_NK: Array,
    w_N: Array,
    penalties: list[float],
    *,
    standardise: bool = True,
) -> tuple[Array, Array, Solutions]:
    """Solve Σ w ‖t - W z - b‖² + λ ‖W‖² for every penalty λ.

    Parameters
    ----------
    x_ND : array (N, D)
        Features.
    target_NK : array (N, K)
        What is regressed onto.
    w_N : array (N,)
        Weights of windows, summing to 1.
    penalties : list of float
        Above 0.
    standardise : bool
        Whether z has unit deviation; it is centred at any rate.

    Returns
    -------
    centre_D, spread_D : arrays (D,)
        z = (x - centre) / spread.
    solutions : iterator of (weight (D, K), bias (K,))
        In the order of the penalties, each computed when it is asked for.

    Raises
    ------
    SpecError
        If it would take more memory than ``MOST_BYTES``.

    Notes
    -----
    With M the smaller side, products take N·D·M multiplications and each penalty M³/6.

    Examples
    --------
    >>> x = np.arange(8.0).reshape(4, 2) % 5
    >>> target = np.eye(2)[[0, 1, 0, 1]]
    >>> _, _, solutions = wide_ridge(x, target, np.full(4, 0.25), [1.0])
    >>> next(solutions)[0].shape
    (2, 2)
    """
    n, d = x_ND.shape
    m = min(n, d)
    need = 16 * m * m + x_ND.nbytes
    if need > MOST_BYTES:
        raise SpecError(
            f"Ridge regression on {n:,} windows of {d:,} features would take "
            f"{need / 1e9:.1f} GB; it is held to {MOST_BYTES / 1e9:g} GB. Use "
            f"--set solver=trained, or fewer windows (--labels)."
        )
    centre_D, spread_D = _moments(x_ND, standardise=standardise)
    z_mean_D = np.zeros(d)
    for rows in _blocks(n):
        z_mean_D += w_N[rows] @ ((x_ND[rows] - centre_D) / spread_D)
    t_mean_K = w_N @ target_NK
    root_N1 = np.sqrt(w_N)[:, None]
    target_NK = root_N1 * (target_NK - t_mean_K)
    # What is taken from a feature, in its own unit, before its division by the spread.
    middle_D = centre_D + z_mean_D * spread_D

    def part(rows: slice, columns: slice) -> Array:
        x = x_ND[rows, columns].astype(np.float64)
        x -= middle_D[columns]
        x /= spread_D[columns]
        x *= root_N1[rows]
        return x

    every = slice(None)
    from scipy.linalg.blas import dsyrk

    product_MM = np.zeros((m, m), order="F")
    if n <= d:
        for columns in _blocks(d):
            product_MM = dsyrk(
                1.0, part(every, columns), 1.0, product_MM, lower=1, overwrite_c=1
            )
        right_MK = target_NK
    else:
        right_MK = np.zeros((d, target_NK.shape[1]))
        for rows in _blocks(n):
            a = part(rows, every)
            # The transpose of a block by rows is one by columns: nothing is copied.
            product_MM = dsyrk(1.0, a.T, 1.0, product_MM, lower=1, overwrite_c=1)
            right_MK += a.T @ target_NK[rows]

    def solutions() -> Solutions:
        for penalty in penalties:
            solved_MK = _solved(product_MM, right_MK, penalty)
            if n <= d:
                w_DK = np.empty((d, target_NK.shape[1]))
                for columns in _blocks(d):
                    w_DK[columns] = part(every, columns).T @ solved_MK
            else:
                w_DK = solved_MK
            yield w_DK, t_mean_K - z_mean_D @ w_DK

    return centre_D, spread_D, solutions()


def _solved(product_MM: Array, right_MK: Array, penalty: float) -> Array:
    """Return (P + λ I)⁻¹ R, P given by its lower half."""
    from scipy.linalg.lapack import dpotrf, dpotrs

    shifted = product_MM.copy(order="F")
    shifted[np.diag_indices_from(shifted)] += penalty
    factor, info = dpotrf(shifted, lower=1, overwrite_a=1, clean=0)
    if info:
        raise SpecError(
            f"A penalty of {penalty:g} is too small for these features: the system "
            f"has no one solution in float64. Set penalties to larger ones."
        )
    solved: Array = dpotrs(factor, right_MK, lower=1)[0]
    return solved


def _moments(x_ND: NDArray[np.floating], *, standardise: bool) -> tuple[Array, Array]:
    """Return mean and deviation (D,) of every feature, in two passes."""
    n, d = x_ND.shape
    centre_D = np.zeros(d)
    for rows in _blocks(n):
        centre_D += x_ND[rows].sum(axis=0, dtype=np.float64)
    centre_D /= n
    spread_D = np.ones(d)
    if standardise:
        square_D = np.zeros(d)
        for rows in _blocks(n):
            square_D += np.square(x_ND[rows] - centre_D).sum(axis=0)
        spread_D = np.sqrt(square_D / n)
        spread_D[spread_D < 1e-9] = 1.0  # a constant feature carries nothing
    return centre_D, spread_D


def _blocks(n: int) -> Iterator[slice]:
    for start in range(0, n, _BLOCK):
        yield slice(start, min(start + _BLOCK, n))
