"""What protocols do to a recording: pure functions, applied by name, in order.

From: Recording. To: Recording. Each step is written in a dataset's recipe as
plain data, ``("highpass", 0.3)``, so that what was done is what is hashed. Steps of a
recipe's ``window_steps`` are applied to windows, each by itself, after the cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from eegfm_bench.errors import SpecError
from eegfm_bench.recordings.recording import Recording
from eegfm_bench.recordings.resampling import fourier_resample, resample_padded

if TYPE_CHECKING:
    from numpy.typing import NDArray

Step = tuple[str | float, ...]

# Bytes of a signal computed on at a time: in double precision, with what MNE copies,
# an hour of 62 channels at 1000 Hz would have four gigabytes at once.
_BLOCK_BYTES = 64 << 20


def _by_channels(
    x: NDArray[np.floating],
    compute: Callable[[NDArray[np.float64]], Any],
) -> NDArray[np.float64]:
    """Compute (C, T') of (C, T), some channels at a time: none depends on another."""
    at_once = max(1, _BLOCK_BYTES // (8 * max(1, x.shape[1])))
    first: NDArray[np.float64] = compute(x[:at_once].astype(np.float64))
    if x.shape[0] <= at_once:
        return first
    done = np.empty((x.shape[0], first.shape[1]))
    done[:at_once] = first
    for start in range(at_once, x.shape[0], at_once):
        part = slice(start, start + at_once)
        done[part] = compute(x[part].astype(np.float64))
    return done


def crop(recording: Recording, length_s: float) -> Recording:
    """Keep the first seconds; a shorter recording stays as it is."""
    n_times = round(length_s * recording.rate_hz)
    return recording.with_signal(recording.x[:, :n_times])


def average_reference(recording: Recording) -> Recording:
    """Subtract the mean over channels from every channel, at each time point."""
    return recording.with_signal(recording.x - recording.x.mean(axis=0))


def highpass(recording: Recording, low_hz: float) -> Recording:
    """High-pass with MNE's default zero-phase FIR."""
    from mne.filter import filter_data

    x = _by_channels(
        recording.x,
        lambda x: filter_data(x, recording.rate_hz, low_hz, None, verbose="ERROR"),
    )
    return recording.with_signal(x)


def bandpass(recording: Recording, low_hz: float, high_hz: float) -> Recording:
    """Band-pass with MNE's default zero-phase FIR."""
    from mne.filter import filter_data

    x = _by_channels(
        recording.x,
        lambda x: filter_data(x, recording.rate_hz, low_hz, high_hz, verbose="ERROR"),
    )
    return recording.with_signal(x)


def notch(recording: Recording, line_hz: float) -> Recording:
    """Take out one frequency with MNE's default zero-phase FIR notch."""
    from mne.filter import notch_filter

    x = _by_channels(
        recording.x,
        lambda x: notch_filter(x, recording.rate_hz, line_hz, verbose="ERROR"),
    )
    return recording.with_signal(x)


def resample(recording: Recording, rate_hz: float) -> Recording:
    """Resample in the Fourier domain, exactly as ``mne.io.Raw.resample`` does.

    The spectrum is cut at the new Nyquist frequency, so nothing folds back.
    The length becomes ``round(T * rate_hz / old)``. The padding to a power of
    two ("auto", the method's default and so the published protocols') rounds
    the padded length: the new rate is off by up to one part in 10^5.
    """
    if rate_hz == recording.rate_hz:
        return recording
    x = resample_padded(recording.x, up_hz=rate_hz, down_hz=recording.rate_hz)
    return recording.with_signal(x, rate_hz=float(rate_hz))


def resample_periodic(recording: Recording, rate_hz: float) -> Recording:
    """Resample in the Fourier domain, exactly as ``scipy.signal.resample`` does.

    The recording is taken as one period, without padding: the new rate is exact, at
    the price of ripples where the end does not meet the beginning.

    Raises
    ------
    SpecError
        If the recording would not have a whole number of time points.
    """
    if rate_hz == recording.rate_hz:
        return recording
    n_old = recording.x.shape[1]
    n_exact = n_old * rate_hz / recording.rate_hz
    n_new = round(n_exact)
    if n_new < 1 or abs(n_exact - n_new) > 1e-6:
        raise SpecError(
            f"{recording.name}: {n_old} time points at {recording.rate_hz:g} Hz are "
            f"{n_exact:g} at {rate_hz:g} Hz; expected a whole number. Choose another "
            f"rate."
        )
    x = fourier_resample(recording.x.astype(np.float64), n_new)
    return recording.with_signal(x, rate_hz=float(rate_hz))


STEPS: dict[str, Callable[..., Recording]] = {
    step.__name__: step
    for step in (
        *(crop, average_reference, highpass, bandpass, notch, resample),
        resample_periodic,
    )
}
# The steps that bring a recording to another rate.
RESAMPLING = ("resample", "resample_periodic")


def apply(recording: Recording, steps: Iterable[Step]) -> Recording:
    """Apply steps in order.

    Raises
    ------
    SpecError
        If a step has no such name.
    """
    for name, *values in steps:
        if name not in STEPS:
            raise SpecError(
                f"'{name}' is no processing step. Known: {', '.join(sorted(STEPS))}."
            )
        recording = STEPS[str(name)](recording, *values)
    return recording


def resample_windows(
    x: NDArray[np.floating], rate_hz: float, new_hz: float
) -> tuple[NDArray[np.float32], float]:
    """Resample windows (N, C, T) by FFT, as ``scipy.signal.resample`` does.

    A window is taken as one period: what the published loaders do, at the price of
    ripples where a window's end does not meet its beginning.

    Raises
    ------
    SpecError
        If a window would not have a whole number of time points.
    """
    n_windows, n_channels, n_old = x.shape
    n_exact = n_old * new_hz / rate_hz
    n_new = round(n_exact)
    if n_new < 1 or abs(n_exact - n_new) > 1e-6:
        raise SpecError(
            f"A window of {n_old} time points at {rate_hz:g} Hz is {n_exact:g} at "
            f"{new_hz:g} Hz; expected a whole number. Choose another rate."
        )
    if n_new == n_old:
        return np.asarray(x, np.float32), float(new_hz)
    out = np.empty((n_windows, n_channels, n_new), np.float32)
    for start in range(0, n_windows, WINDOWS_AT_ONCE):
        part = slice(start, start + WINDOWS_AT_ONCE)
        out[part] = fourier_resample(x[part].astype(np.float64), n_new)
    return out, float(new_hz)


# In double precision these take some tens of MB, however long the recording.
WINDOWS_AT_ONCE = 64

WINDOW_STEPS: dict[str, Callable[..., tuple[NDArray[np.float32], float]]] = {
    "resample": resample_windows
}


def apply_to_windows(
    x: NDArray[np.floating], rate_hz: float, steps: Iterable[Step]
) -> tuple[NDArray[np.float32], float]:
    """Apply a recipe's ``window_steps`` to windows, each by itself, after the cut.

    Parameters
    ----------
    x : array (N, C, T)
        Windows in µV.
    rate_hz : float
        Their rate.
    steps : iterable of steps
        ``(("resample", 200.0),)``; none leaves the windows as they are.

    Returns
    -------
    x : array (N, C, T')
        Windows in µV, float32; computed in double precision.
    rate_hz : float
        Their rate now.

    Raises
    ------
    SpecError
        If a step has no such name.

    Examples
    --------
    >>> x, rate_hz = apply_to_windows(np.ones((2, 1, 2560)), 256.0,
    ...                               (("resample", 200.0),))
    >>> x.shape, rate_hz
    ((2, 1, 2000), 200.0)
    """
    done = np.asarray(x, np.float32)
    for name, *values in steps:
        if name not in WINDOW_STEPS:
            raise SpecError(
                f"'{name}' is no processing step of a window. Known: "
                f"{', '.join(sorted(WINDOW_STEPS))}."
            )
        done, rate_hz = WINDOW_STEPS[str(name)](done, rate_hz, *values)
    return done, rate_hz
