"""Where windows lie, and cutting them out.

From: a recording's length, then the recording. To: rows of a window store. The
two halves are apart so that counts can be had from headers alone. What a recipe
does to each window by itself (``filters.apply_to_windows``) comes after the cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.recording import Recording
from eegfm_bench.recordings.resampling import fourier_resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

PastEnd = Literal["refuse", "stretch", "wrap"]


def grid_onsets(
    duration_s: float, *, window_s: float, stride_s: float
) -> NDArray[np.float64]:
    """Return onsets (seconds) of all windows that fit whole.

    The last stretch that does not fill a window is dropped: it is never padded,
    so every value in a window was measured.

    Examples
    --------
    >>> grid_onsets(182.0, window_s=60.0, stride_s=60.0)
    array([  0.,  60., 120.])
    """
    # A millionth of a stride forgives durations that are sums of floats.
    n_windows = int(np.floor((duration_s - window_s) / stride_s + 1e-6)) + 1
    return np.arange(max(n_windows, 0), dtype=np.float64) * np.float64(stride_s)


def runs_past_end(
    duration_s: float, onsets_s: NDArray[np.float64], *, window_s: float
) -> NDArray[np.bool_]:
    """Return which windows (N,) begin before the recording or end after it.

    Examples
    --------
    >>> runs_past_end(20.0, np.array([-1.0, 10.0, 12.5]), window_s=10.0)
    array([ True, False,  True])
    """
    # A tenth of a millisecond is less than half a time point at any rate here.
    starts = np.asarray(onsets_s, np.float64)
    return (starts < -1e-4) | (starts + window_s > duration_s + 1e-4)


def cut(
    recording: Recording,
    onsets_s: NDArray[np.float64],
    *,
    window_s: float,
    past_end: PastEnd = "refuse",
) -> NDArray[np.float32]:
    """Cut windows of equal length at given onsets.

    Parameters
    ----------
    recording : Recording
        Signal (C, T_rec) in µV.
    onsets_s : array (N,)
        Onset of each window, seconds from the start of the recording.
    window_s : float
        Window length in seconds.
    past_end : ``"refuse"``, ``"stretch"`` or ``"wrap"``
        What becomes of a window that ends after the recording: an error; what
        there is of it, stretched to the window's length by FFT resampling (two
        windows of CHB-MIT, as published); or the recording taken for a circle, for
        a window that begins before it too (TUEV, as published). ``runs_past_end``
        says which these are; they are counted in the manifest.

    Returns
    -------
    x : array (N, C, T)
        Windows in µV, float32, at the recording's rate.

    Raises
    ------
    SignalError
        If a window begins or ends outside the recording, or between time points.

    Notes
    -----
    Stretching n points to T and resampling T to M by FFT equals resampling n to M:
    both keep the same Fourier coefficients.

    Examples
    --------
    >>> r = Recording(x=np.arange(12.0).reshape(1, 12), rate_hz=4.0,
    ...               channels=("Cz",), name="s01")
    >>> cut(r, np.array([0.0, 1.0]), window_s=1.0)[:, 0]
    array([[0., 1., 2., 3.],
           [4., 5., 6., 7.]], dtype=float32)
    """
    n_times = round(window_s * recording.rate_hz)
    n_recorded = recording.x.shape[1]
    starts = np.asarray(onsets_s, dtype=np.float64) * recording.rate_hz
    first = np.round(starts).astype(np.int64)
    if starts.size and np.abs(starts - first).max() > 1e-3:
        raise SignalError(
            f"{recording.name}: a window begins between two time points "
            f"({starts[np.abs(starts - first).argmax()]:g}). Choose onsets that are "
            f"multiples of {1 / recording.rate_hz:g} s."
        )
    if past_end == "wrap":
        # At most once around at either end.
        outside = (first < -n_recorded) | (first + n_times > 2 * n_recorded)
    else:
        room = 1 if past_end == "stretch" else n_times
        outside = (first < 0) | (first + room > n_recorded)
    if outside.any():
        raise SignalError(
            f"{recording.name}: a window of {window_s:g} s at "
            f"{onsets_s[int(outside.argmax())]:g} s leaves the recording, which lasts "
            f"{recording.duration_s:g} s. The plan and the signal disagree: raise the "
            f"recipe's version, or fetch the recording again."
        )
    x = np.empty((first.size, recording.x.shape[0], n_times), np.float32)
    for row, start in enumerate(first):
        if past_end == "wrap" and not 0 <= start <= n_recorded - n_times:
            at = np.arange(start, start + n_times) % n_recorded
            x[row] = recording.x[:, at]
            continue
        piece = recording.x[:, start : start + n_times]
        x[row] = (
            piece
            if piece.shape[1] == n_times
            else fourier_resample(piece.astype(np.float64), n_times)
        )
    return x
