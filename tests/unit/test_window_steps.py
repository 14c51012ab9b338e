"""What is done to each window after the cut, and windows past a recording's end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegfm_bench.datasets._spec import find_dataset
from eegfm_bench.errors import SignalError, SpecError
from eegfm_bench.recordings.filters import WINDOWS_AT_ONCE, apply_to_windows
from eegfm_bench.recordings.recording import Recording
from eegfm_bench.windows.cut import cut, runs_past_end
from eegfm_bench.windows.recipe import Recipe

RECIPE = Recipe(
    channels=("Cz",),
    rate_hz=200.0,
    window_s=10.0,
    stride_s=10.0,
    steps=(),
    window_steps=(("resample", 200.0),),
    label_rule="none",
)


def noise(n_channels: int, n_times: int) -> Recording:
    x = np.random.default_rng(0).normal(0, 20, (n_channels, n_times))
    names = tuple(f"X{i}" for i in range(n_channels))
    return Recording(x=x, rate_hz=256.0, channels=names, name="noise")


def test_every_window_is_resampled_by_itself() -> None:
    from scipy.signal import resample

    x = np.random.default_rng(0).normal(0, 20, (WINDOWS_AT_ONCE + 3, 2, 2560))
    x = x.astype(np.float32)
    made, rate_hz = apply_to_windows(x, 256.0, RECIPE.window_steps)
    assert rate_hz == 200.0
    assert made.dtype == np.float32
    assert made.shape == (len(x), 2, 2000)
    for window, own in zip(x, made, strict=True):
        expected = resample(window.astype(np.float64), 2000, axis=1)
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-4)


def test_a_rhythm_keeps_its_size_and_pace() -> None:
    at_256_s, at_200_s = np.arange(2560) / 256, np.arange(2000) / 200
    x = 50 * np.sin(2 * np.pi * 7 * at_256_s)[None, None]
    made, _ = apply_to_windows(x, 256.0, (("resample", 200.0),))
    np.testing.assert_allclose(
        made[0, 0], 50 * np.sin(2 * np.pi * 7 * at_200_s), atol=1e-3
    )


def test_no_step_changes_nothing() -> None:
    x = np.ones((2, 1, 8), np.float32)
    made, rate_hz = apply_to_windows(x, 4.0, ())
    assert rate_hz == 4.0
    np.testing.assert_array_equal(made, x)
    same, _ = apply_to_windows(x, 4.0, (("resample", 4.0),))
    np.testing.assert_array_equal(same, x)


def test_an_unknown_step_and_an_odd_rate_are_refused() -> None:
    x = np.ones((1, 1, 10), np.float32)
    with pytest.raises(SpecError, match=r"'smooth' is no.*Known: resample"):
        apply_to_windows(x, 4.0, (("smooth",),))
    with pytest.raises(SpecError, match=r"10 time points at 4 Hz is 7\.5 at 3 Hz"):
        apply_to_windows(x, 4.0, (("resample", 3.0),))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 2559))
def test_a_stretched_end_is_that_end_resampled(n_left: int) -> None:
    from scipy.signal import resample

    recording = noise(2, 2560 + n_left)
    onsets_s = np.array([0.0, 10.0])
    x = cut(recording, onsets_s, window_s=10.0, past_end="stretch")
    np.testing.assert_array_equal(x[0], recording.x[:, :2560].astype(np.float32))
    made, _ = apply_to_windows(x[1:], 256.0, RECIPE.window_steps)
    expected = resample(recording.x[:, 2560:], 2000, axis=1)
    np.testing.assert_allclose(made[0], expected, rtol=1e-5, atol=1e-3)
    past = runs_past_end(recording.duration_s, onsets_s, window_s=10.0)
    assert past.tolist() == [False, True]


def test_without_leave_a_window_past_the_end_is_refused() -> None:
    recording = noise(1, 3000)
    with pytest.raises(SignalError, match=r"10 s at 5 s leaves.*lasts 11\.7188 s"):
        cut(recording, np.array([0.0, 5.0]), window_s=10.0)


@pytest.mark.parametrize("onset_s", [-1.0, 3000 / 256, 20.0])
def test_a_window_that_begins_outside_is_refused_all_the_same(onset_s: float) -> None:
    with pytest.raises(SignalError, match="leaves the recording"):
        cut(noise(1, 3000), np.array([onset_s]), window_s=10.0, past_end="stretch")


def test_another_rate_is_reached_window_by_window_too() -> None:
    other = RECIPE.at(128.0)
    assert other.window_steps == (("resample", 128.0),)
    assert other.steps == ()
    assert (other.rate_hz, other.n_times) == (128.0, 1280)
    assert RECIPE.at(200.0) is RECIPE


def test_an_unknown_way_past_the_end_is_refused() -> None:
    with pytest.raises(SpecError, match=r"past_end is 'pad'; expected one of refuse"):
        replace(RECIPE, past_end="pad")  # type: ignore[arg-type]


def test_fields_that_do_nothing_stay_out_of_the_identity() -> None:
    idle = replace(RECIPE, window_steps=())
    assert {"window_steps", "past_end"}.isdisjoint(idle.fields())
    assert RECIPE.fields()["window_steps"] == (("resample", 200.0),)
    assert replace(idle, past_end="stretch").fields()["past_end"] == "stretch"


def test_older_datasets_keep_their_protocol_ids() -> None:
    # As in results/smoke/reference.csv: other ids would orphan every stored run.
    protocols = {find_dataset(name).protocol() for name in ("eegmat", "eyes")}
    assert protocols == {"eegmat-1-ec4dc661", "eyes-1-dd49f418"}
