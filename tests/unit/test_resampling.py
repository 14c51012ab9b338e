"""Resampling in the Fourier domain, against the two libraries it follows."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegfm_bench.recordings.resampling import fourier_resample, resample_padded

RATES = [(500, 200), (160, 200), (128, 200), (256, 200), (1000, 200), (200, 128)]


def signal(n_channels: int, n_times: int) -> np.ndarray:
    steps = np.random.default_rng(n_times).normal(0, 3, (n_channels, n_times))
    return steps.cumsum(axis=1)


@pytest.mark.parametrize(("old", "new"), RATES)
@pytest.mark.parametrize("n_times", [5, 37, 500, 2001, 30_000])
def test_padded_equals_mne_to_the_last_bit(old: int, new: int, n_times: int) -> None:
    from mne.filter import resample

    x = signal(2, n_times)
    expected = resample(x, up=new, down=old, npad="auto", verbose="ERROR")
    found = resample_padded(x, up_hz=new, down_hz=old)
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 400), st.integers(2, 400))
def test_one_period_equals_scipy(n_old: int, n_new: int) -> None:
    from scipy.signal import resample

    x = signal(3, n_old)
    expected = resample(x, n_new, axis=-1)
    np.testing.assert_allclose(
        fourier_resample(x, n_new), expected, rtol=1e-12, atol=1e-12
    )


def test_a_recording_in_single_precision_is_computed_in_double() -> None:
    x = signal(2, 3000).astype(np.float32)
    found = resample_padded(x, up_hz=200, down_hz=500)
    expected = resample_padded(x.astype(np.float64), up_hz=200, down_hz=500)
    np.testing.assert_array_equal(found, expected)


def test_resampling_imports_neither_library() -> None:
    code = (
        "import sys, numpy as np\n"
        "from eegfm_bench.recordings.filters import apply\n"
        "from eegfm_bench.recordings.recording import Recording\n"
        "r = Recording(x=np.random.randn(1, 900), rate_hz=500.0, channels=('Cz',),"
        " name='r')\n"
        "apply(r, (('resample', 200.0), ('resample_periodic', 100.0)))\n"
        "print([m for m in ('mne', 'scipy.signal') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
