"""Long recordings are processed some channels at a time, to the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from eegfm_bench.recordings import filters
from eegfm_bench.recordings.recording import Recording


@pytest.mark.parametrize(
    "step",
    [("resample", 200.0), ("bandpass", 0.3, 75.0), ("highpass", 0.3), ("notch", 50.0)],
)
def test_some_channels_at_a_time_give_the_same_bits(
    step: tuple[str | float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(0).normal(0, 20, (5, 30_011)).astype(np.float32)
    recording = Recording(x=x, rate_hz=500.0, channels=tuple("abcde"), name="r")
    whole = filters.apply(recording, (step,))
    monkeypatch.setattr(filters, "_BLOCK_BYTES", 2 * 8 * x.shape[1])
    by_blocks = filters.apply(recording, (step,))
    assert whole.x.dtype == by_blocks.x.dtype == np.float64
    assert np.array_equal(whole.x, by_blocks.x)
