"""What protocols do to a recording: pure functions, applied by name, in order.

From: Recording. To: Recording. Each step is written in a dataset's recipe as
plain data, ``("highpass", 0.3)``, so that what was done is what is hashed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from eegfm_bench.errors import SpecError
from eegfm_bench.recordings.recording import Recording

Step = tuple[str | float, ...]


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

    x = filter_data(
        recording.x.astype(np.float64), recording.rate_hz, low_hz, None, verbose="ERROR"
    )
    return recording.with_signal(x)


def bandpass(recording: Recording, low_hz: float, high_hz: float) -> Recording:
    """Band-pass with MNE's default zero-phase FIR."""
    from mne.filter import filter_data

    x = filter_data(
        recording.x.astype(np.float64),
        recording.rate_hz,
        low_hz,
        high_hz,
        verbose="ERROR",
    )
    return recording.with_signal(x)


def notch(recording: Recording, line_hz: float) -> Recording:
    """Take out one frequency with MNE's default zero-phase FIR notch."""
    from mne.filter import notch_filter

    x = notch_filter(
        recording.x.astype(np.float64), recording.rate_hz, line_hz, verbose="ERROR"
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
    from mne.filter import resample as mne_resample

    x = mne_resample(
        recording.x.astype(np.float64),
        up=rate_hz,
        down=recording.rate_hz,
        npad="auto",
        verbose="ERROR",
    )
    return recording.with_signal(x, rate_hz=float(rate_hz))


STEPS: dict[str, Callable[..., Recording]] = {
    step.__name__: step
    for step in (crop, average_reference, highpass, bandpass, notch, resample)
}


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
