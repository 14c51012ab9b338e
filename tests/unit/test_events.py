"""Events met and false alarms, by hand and by property."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegfm_bench.errors import SignalError
from eegfm_bench.training.events import score_events


def scored(
    positive: dict[str, list[float]],
    events: dict[str, tuple[float, list[list[float]]]],
    *,
    n_windows: int = 36,
    extra: tuple[tuple[str, float], ...] = (),
) -> dict[str, float | None]:
    """Score grids of 10 s windows, positive at the given onsets and in extras."""
    rows = [(r, 10.0 * i) for r in events for i in range(n_windows)]
    p = [float(at in positive.get(r, [])) for r, at in rows]
    rows += extra
    p += [1.0] * len(extra)
    frame = pd.DataFrame(rows, columns=["recording", "onset_s"])
    p_N = np.array(p)
    listed = {
        r: {"duration_s": duration_s, "intervals_s": intervals}
        for r, (duration_s, intervals) in events.items()
    }
    values, reasons = score_events(
        frame, np.stack([1 - p_N, p_N], 1), listed, window_s=10.0, stride_s=10.0
    )
    assert set(reasons) == {name for name, value in values.items() if value is None}
    return values


def test_sensitivity_is_the_share_of_events_met() -> None:
    events = {"a": (3600.0, [[12.0, 25.0], [100.0, 105.0]]), "b": (3600.0, [[5.0, 6]])}
    assert scored({"a": [20.0]}, events)["event_sensitivity"] == 1 / 3
    assert scored({"a": [20.0, 100.0]}, events)["event_sensitivity"] == 2 / 3
    assert scored({"a": [20.0, 100.0], "b": [0.0]}, events)["event_sensitivity"] == 1
    assert scored({}, events)["event_sensitivity"] == 0


def test_one_window_may_meet_two_events() -> None:
    events = {"a": (360.0, [[11.0, 12.0], [17.0, 24.0]])}
    assert scored({"a": [10.0]}, events)["event_sensitivity"] == 1


def test_touching_an_event_is_not_meeting_it() -> None:
    events = {"a": (360.0, [[20.0, 30.0]])}
    values = scored({"a": [10.0, 30.0]}, events)
    assert values["event_sensitivity"] == 0
    # Two alarms in 6 minutes: before the event and after it.
    assert values["false_alarms_per_24h"] == 2 * 240


def test_false_windows_in_a_row_are_one_alarm() -> None:
    events = {"a": (43_200.0, [[300.0, 330.0]]), "b": (43_200.0, [])}
    # a: 0-30 is one alarm, 50 is one, 300 is none; b: 100-120 is one.
    values = scored({"a": [0.0, 10.0, 20.0, 50.0, 300.0], "b": [100.0, 110.0]}, events)
    assert values == {"event_sensitivity": 1.0, "false_alarms_per_24h": 3.0}


def test_alarms_of_two_recordings_never_merge() -> None:
    events: dict[str, tuple[float, list[list[float]]]]
    events = {"a": (360.0, []), "b": (360.0, [])}
    values = scored({"a": [350.0], "b": [0.0]}, events)
    assert values["false_alarms_per_24h"] == pytest.approx(2 * 120)


def test_an_alarm_is_cut_by_the_event_it_meets() -> None:
    events = {"a": (360.0, [[100.0, 120.0]])}
    always = scored({"a": [10.0 * i for i in range(36)]}, events)
    assert always["event_sensitivity"] == 1
    assert always["false_alarms_per_24h"] == 2 * 240


def test_added_windows_change_nothing() -> None:
    events = {"a": (3600.0, [[100.0, 120.0]])}
    added = tuple(("a", 99.0 - 1 / 256 + 5 * k) for k in range(5))
    assert scored({}, events, extra=added) == scored({}, events)
    # Nor does one at the very start, where it is the grid's own first window.
    once = scored({"a": [0.0]}, events)
    assert scored({"a": [0.0]}, events, extra=(("a", 0.0),)) == once


def test_without_an_event_sensitivity_is_missing_and_alarms_are_not() -> None:
    frame = pd.DataFrame({"recording": ["a"], "onset_s": [0.0]})
    truth = {"a": {"duration_s": 100.0, "intervals_s": []}}
    values, reasons = score_events(
        frame, np.array([[1.0, 0.0]]), truth, window_s=10.0, stride_s=10.0
    )
    assert values == {"event_sensitivity": None, "false_alarms_per_24h": 0.0}
    assert reasons == {"event_sensitivity": "no event in this part's recordings"}


def test_without_a_window_both_are_missing() -> None:
    values, reasons = score_events(
        pd.DataFrame({"recording": [], "onset_s": []}),
        np.zeros((0, 2)),
        {"a": {"duration_s": 100.0, "intervals_s": [[1.0, 2.0]]}},
        window_s=10.0,
        stride_s=10.0,
    )
    assert set(values.values()) == {None}
    assert set(reasons.values()) == {"the part has no windows"}


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        (np.zeros((1, 3)), {"duration_s": 9.0, "intervals_s": []}, "two classes"),
        (np.zeros((2, 2)), {"duration_s": 9.0, "intervals_s": []}, "1 windows"),
        (np.zeros((1, 2)), {"duration_s": 0.0, "intervals_s": []}, "lasts? 0 s"),
        (np.zeros((1, 2)), {"duration_s": 9.0, "intervals_s": [[3, 2]]}, "not end"),
        (np.zeros((1, 2)), None, "events of a are not listed"),
    ],
)
def test_what_cannot_be_scored_is_said(
    scores: np.ndarray, truth: dict[str, Any] | None, message: str
) -> None:
    frame = pd.DataFrame({"recording": ["a"], "onset_s": [0.0]})
    listed = {} if truth is None else {"a": truth}
    with pytest.raises(SignalError, match=message):
        score_events(frame, scores, listed, window_s=10.0, stride_s=10.0)


@pytest.mark.parametrize(
    ("intervals_s", "message"),
    [
        ([[1.0, np.nan]], "event of a has no time"),
        ([[np.nan, 2.0]], "event of a has no time"),
        ([[1.0, np.inf]], "event of a has no time"),
        ([[90.0, 101.0]], "ends at 101 s, the recording lasts 100 s"),
        ([[5.0, 5.0]], "not end after it starts"),
        ([[-1.0, 5.0]], "starts before the recording"),
        ([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], r"shape \(2, 3\)"),
        ([1.0, 2.0], r"shape \(2,\)"),
        ([[1.0, 2.0], [3.0]], "cannot be read"),
    ],
)
def test_an_event_that_makes_no_sense_is_said(
    intervals_s: list[Any], message: str
) -> None:
    frame = pd.DataFrame({"recording": ["a"], "onset_s": [0.0]})
    listed = {"a": {"duration_s": 100.0, "intervals_s": intervals_s}}
    with pytest.raises(SignalError, match=message):
        score_events(frame, np.eye(2)[:1], listed, window_s=10.0, stride_s=10.0)


def test_an_event_may_end_with_its_recording() -> None:
    values = scored({"a": [350.0]}, {"a": (360.0, [[355.0, 360.0]])})
    assert values["event_sensitivity"] == 1


@pytest.mark.parametrize("wrong", [0.0, -10.0, np.nan, np.inf])
@pytest.mark.parametrize("which", ["window_s", "stride_s"])
def test_lengths_are_above_0(which: str, wrong: float) -> None:
    frame = pd.DataFrame({"recording": ["a"], "onset_s": [0.0]})
    listed = {"a": {"duration_s": 100.0, "intervals_s": []}}
    lengths = {"window_s": 10.0, "stride_s": 10.0} | {which: wrong}
    with pytest.raises(SignalError, match=rf"{which} is .*; expected seconds above 0"):
        score_events(frame, np.eye(2)[:1], listed, **lengths)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_scores_and_onsets_are_finite(wrong: float) -> None:
    frame = pd.DataFrame({"recording": "a", "onset_s": [0.0, 10.0]})
    listed = {"a": {"duration_s": 100.0, "intervals_s": []}}
    scores_NK = np.array([[0.5, 0.5], [0.5, wrong]])
    with pytest.raises(SignalError, match="1 of 2 windows have scores that are not"):
        score_events(frame, scores_NK, listed, window_s=10.0, stride_s=10.0)
    frame["onset_s"] = [0.0, wrong]
    with pytest.raises(SignalError, match="window has no onset"):
        score_events(frame, np.eye(2), listed, window_s=10.0, stride_s=10.0)


def test_a_part_wholly_off_the_grid_has_no_score() -> None:
    frame = pd.DataFrame({"recording": "a", "onset_s": [3.0, 17.0]})
    listed = {"a": {"duration_s": 100.0, "intervals_s": [[4.0, 8.0]]}}
    values, reasons = score_events(
        frame, np.eye(2), listed, window_s=10.0, stride_s=10.0
    )
    assert set(values.values()) == {None}
    assert set(reasons.values()) == {"no window of this part lies on the grid"}


N_WINDOWS = 36
onsets = st.sets(st.integers(0, N_WINDOWS - 1))
intervals = st.lists(
    st.tuples(st.integers(0, 330), st.integers(1, 29)).map(lambda t: [t[0], sum(t)]),
    max_size=4,
)


@settings(max_examples=50, deadline=None)
@given(onsets, onsets, intervals)
def test_more_alarms_never_meet_fewer_events(
    some: set[int], more: set[int], truth: list[list[float]]
) -> None:
    events = {"a": (360.0, truth)}
    few = scored({"a": [10.0 * i for i in some]}, events)["event_sensitivity"]
    many = scored({"a": [10.0 * i for i in some | more]}, events)["event_sensitivity"]
    if not truth:
        assert few is None
        assert many is None
    else:
        assert few is not None
        assert many is not None
        assert 0 <= few <= many <= 1


@settings(max_examples=50, deadline=None)
@given(onsets, intervals)
def test_a_slow_count_agrees(some: set[int], truth: list[list[float]]) -> None:
    values = scored({"a": [10.0 * i for i in some]}, {"a": (360.0, truth)})

    def is_false(i: int) -> bool:
        free = all(10 * i >= end or 10 * i + 10 <= start for start, end in truth)
        return i in some and free

    alarms = sum(is_false(i) and not is_false(i - 1) for i in range(N_WINDOWS))
    assert values["false_alarms_per_24h"] == pytest.approx(alarms * 240)
    met = sum(
        any(10 * i < end and 10 * i + 10 > start for i in some) for start, end in truth
    )
    if truth:
        assert values["event_sensitivity"] == met / len(truth)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(N_WINDOWS)), onsets, intervals)
def test_the_order_of_windows_is_of_no_account(
    order: list[int], some: set[int], truth: list[list[float]]
) -> None:
    frame = pd.DataFrame({"recording": "a", "onset_s": 10.0 * np.arange(N_WINDOWS)})
    p_N = np.isin(np.arange(N_WINDOWS), list(some)).astype(float)
    scores_NK = np.stack([1 - p_N, p_N], 1)
    listed = {"a": {"duration_s": 360.0, "intervals_s": truth}}
    first = score_events(frame, scores_NK, listed, window_s=10.0, stride_s=10.0)
    again = score_events(
        frame.iloc[order], scores_NK[order], listed, window_s=10.0, stride_s=10.0
    )
    assert first == again
