"""Resampling in the Fourier domain, as the published protocols had it done.

From: signals at one rate. To: the same at another. Two ways, which differ in what they
take the signal for beyond its ends: MNE's padding, and one period without any. Both
equal their libraries' to the last bit where tested; written here since importing the
two takes longer than resampling an hour of EEG.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def resample_padded(
    x: NDArray[np.floating], *, up_hz: float, down_hz: float
) -> NDArray[np.float64]:
    """Resample (C, T) as ``mne.io.Raw.resample`` does with its defaults.

    Parameters
    ----------
    x : array (C, T)
        Signals at ``down_hz``.
    up_hz, down_hz : float
        The rates after and before.

    Returns
    -------
    x : array (C, round(T * up_hz / down_hz))
        In double precision.

    Notes
    -----
    The signal is turned about its end points on both sides until its length is a power
    of two, at least a hundred time points longer at either end (an eighth of a
    short signal); where the turned signal ends before that, zeros follow. The padded
    length at the new rate is rounded to whole time points.
    """
    n_old = x.shape[1]
    ratio = up_hz / down_hz
    n_padded = 2 ** math.ceil(math.log2(n_old + 2 * min(n_old // 8, 100)))
    before = (n_padded - n_old) // 2
    after = n_padded - n_old - before
    n_new = max(round(ratio * n_padded), 1)
    first = round(ratio * before)
    part = slice(first, first + round(ratio * n_old))
    done = np.empty((len(x), part.stop - part.start))
    for row, out in zip(x, done, strict=True):
        padded = _turned(row.astype(np.float64), before, after)
        out[:] = fourier_resample(padded, n_new)[part]
    return done


def fourier_resample(x: NDArray[np.float64], n_new: int) -> NDArray[np.float64]:
    """Resample the last axis, taken as one period, to ``n_new`` time points.

    What ``scipy.signal.resample`` does: coefficients beyond the lower of the two
    Nyquist frequencies are cut off, or nothing is added beyond them.

    Examples
    --------
    >>> fourier_resample(np.array([0.0, 1.0, 0.0, -1.0]), 8).round(3) + 0.0
    array([ 0.   ,  0.707,  1.   ,  0.707,  0.   , -0.707, -1.   , -0.707])
    """
    from scipy import fft

    n_old = x.shape[-1]
    if n_new == n_old:
        return x
    spectrum = fft.rfft(x)
    n_shared = min(n_old, n_new)
    if n_shared % 2 == 0:
        spectrum[..., n_shared // 2] *= 2.0 if n_new < n_old else 0.5
    spectrum *= n_new / n_old
    resampled: NDArray[np.float64] = fft.irfft(spectrum, n_new)
    return resampled


def _turned(x: NDArray[np.float64], before: int, after: int) -> NDArray[np.float64]:
    """Pad (T,) by its own image, turned about its first and its last point."""
    n = len(x)
    left = 2 * x[0] - x[min(before, n - 1) : 0 : -1]
    right = 2 * x[-1] - x[-2 : -min(after, n - 1) - 2 : -1]
    padded = np.zeros(before + n + after)
    padded[before - len(left) : before] = left
    padded[before : before + n] = x
    padded[before + n : before + n + len(right)] = right
    return padded
