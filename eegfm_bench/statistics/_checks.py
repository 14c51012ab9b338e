"""Refusals that every statistic shares.

From: arguments as they come. To: float64 arrays, or an error that names the argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


def finite(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Return one row of finite numbers (N,).

    Raises
    ------
    SpecError
        If it has another shape, or a number is NaN or infinite.
    """
    array = shaped(name, values, 1)
    if not np.isfinite(array).all():
        at = int(np.argmin(np.isfinite(array)))
        raise SpecError(
            f"'{name}' holds {array[at]} at place {at}; expected finite numbers. "
            f"Leave out what is undefined, and count it."
        )
    return array


def shaped(name: str, values: ArrayLike, ndim: int) -> NDArray[np.float64]:
    """Return float64 numbers of so many axes; NaN may be among them.

    Raises
    ------
    SpecError
        If they are no numbers, have other axes, or an infinite one is there.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise SpecError(
            f"'{name}' is not an array of numbers ({error}). Give numbers; NaN where "
            f"there is none."
        ) from error
    if array.ndim != ndim:
        raise SpecError(
            f"'{name}' has shape {array.shape}; expected {ndim} "
            f"{'axis' if ndim == 1 else 'axes'}."
        )
    if np.isinf(array).any():
        raise SpecError(
            f"'{name}' holds an infinite number; expected finite ones, or NaN where "
            f"there is none."
        )
    return array


def share(name: str, value: float) -> float:
    """Return a number strictly between 0 and 1.

    Raises
    ------
    SpecError
        If it is not.
    """
    if not 0 < value < 1:
        raise SpecError(f"'{name}' is {value}; expected a number between 0 and 1.")
    return float(value)


def whole(name: str, value: int, least: int) -> int:
    """Return a count that is large enough.

    Raises
    ------
    SpecError
        If it is not.
    """
    if value != int(value) or value < least:
        raise SpecError(f"'{name}' is {value}; expected a count of at least {least}.")
    return int(value)


def same_length(**named: Sequence[object]) -> int:
    """Return the length that all of them share.

    Raises
    ------
    SpecError
        If they differ.
    """
    lengths = {name: len(values) for name, values in named.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise SpecError(f"Lengths differ: {found}. Give one entry of each.")
    return next(iter(lengths.values()))
