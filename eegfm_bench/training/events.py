"""Scores of events rather than windows: seizures met, and false alarms in a day.

From: class scores of windows (N, 2), as predictions store them, and the true events
of their recordings. To: two numbers beside those of ``metrics``, or reasons. Imports
no torch, so that stored predictions can be scored by reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from eegfm_bench.errors import SignalError
from eegfm_bench.training.metrics import predicted

if TYPE_CHECKING:
    from numpy.typing import NDArray

EVENT_METRICS = ("event_sensitivity", "false_alarms_per_24h")
DAY_S = 86_400.0
# Less than any distance between a window on the grid and one off it: 1/256 s.
SAME_S = 1e-3


def score_events(
    windows: pd.DataFrame,
    scores_NK: NDArray[np.float64],
    events: Mapping[str, Mapping[str, Any]],
    *,
    window_s: float,
    stride_s: float,
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Score the detection of events in one part.

    Parameters
    ----------
    windows : DataFrame (N rows)
        ``recording onset_s``, as ``read_predictions`` returns them.
    scores_NK : array (N, 2)
        Class probabilities; a window is positive from 0.5 on for the second class.
    events : mapping
        Of every recording of the part: ``duration_s``, and ``intervals_s``, the true
        events as rows of start and end, in seconds from the recording's start.
    window_s, stride_s : float
        Length of a window, and seconds from one window of the grid to the next.

    Returns
    -------
    values : dict
        ``event_sensitivity``: the share of events met, from 0 to 1.
        ``false_alarms_per_24h``: alarms in 24 hours of recording. None where undefined.
    reasons : dict
        Metric to the reason, for every None.

    Raises
    ------
    SignalError
        If shapes disagree, there are not two classes, a score or an onset is not
        finite, a window or stride is not above 0, a recording has no events listed
        (an empty list is one), or an event or duration makes no sense.

    Notes
    -----
    An event is met if at least one positive window shares time with it, however
    little. Positive windows that share time with no event are false; those that
    follow each other without a gap are one alarm. A window that meets an event ends
    an alarm, so one that goes on before and after an event counts twice: whoever
    always cries wolf gains nothing by it. Times of all recordings given count in
    full, events and tails without a window included.

    Windows off the grid are left out: CHB-MIT's published protocol adds overlapping
    ones at seizures alone, which would give each seizure more chances to be met than
    a detector in use would have. A recording's first window is counted once.

    Examples
    --------
    >>> windows = pd.DataFrame({"recording": "a", "onset_s": [0.0, 10.0, 20.0, 30.0]})
    >>> p = np.array([0.9, 0.8, 0.1, 0.7])
    >>> events = {"a": {"duration_s": 3600.0, "intervals_s": [[32.0, 50.0]]}}
    >>> score_events(windows, np.stack([1 - p, p], axis=1), events,
    ...              window_s=10.0, stride_s=10.0)[0]
    {'event_sensitivity': 1.0, 'false_alarms_per_24h': 24.0}
    """
    _refuse_unlike(windows, scores_NK, events)
    _refuse_lengths(window_s, stride_s)
    n_events = n_met = n_alarms = n_on_grid = 0
    total_s = 0.0
    positive = predicted(scores_NK) == 1
    rows = windows["recording"].to_numpy()
    onsets_s = windows["onset_s"].to_numpy(np.float64)
    for recording, truth in events.items():
        intervals_s = _intervals(recording, truth)
        own = rows == recording
        n_on_grid += _on_grid(onsets_s[own], stride_s).size
        at_s = _on_grid(onsets_s[own & positive], stride_s)
        starts_s, ends_s = intervals_s[:, 0], intervals_s[:, 1]
        shares_WE = (at_s[:, None] < ends_s) & (at_s[:, None] + window_s > starts_s)
        n_events += len(intervals_s)
        n_met += int(shares_WE.any(axis=0).sum())
        false_s = at_s[~shares_WE.any(axis=1)]
        gaps = np.diff(false_s) > max(window_s, stride_s) + SAME_S
        n_alarms += int(false_s.size > 0) + int(gaps.sum())
        total_s += float(truth["duration_s"])
    values: dict[str, float | None] = dict.fromkeys(EVENT_METRICS)
    if len(windows) == 0:
        return values, dict.fromkeys(EVENT_METRICS, "the part has no windows")
    if n_on_grid == 0:
        return values, dict.fromkeys(
            EVENT_METRICS, "no window of this part lies on the grid"
        )
    reasons = {}
    if n_events:
        values["event_sensitivity"] = n_met / n_events
    else:
        reasons["event_sensitivity"] = "no event in this part's recordings"
    values["false_alarms_per_24h"] = n_alarms * DAY_S / total_s
    return values, reasons


def _on_grid(onsets_s: NDArray[np.float64], stride_s: float) -> NDArray[np.float64]:
    """Return the places of windows on the grid, in order, each once."""
    places = np.round(onsets_s / stride_s)
    is_on = np.abs(onsets_s - places * stride_s) < SAME_S
    return np.unique(places[is_on]) * stride_s


def _intervals(recording: str, truth: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return a recording's events (E, 2) in seconds, checked."""
    try:
        intervals_s = np.asarray(truth["intervals_s"], np.float64)
        duration_s = float(truth["duration_s"])
    except (KeyError, TypeError, ValueError) as error:
        raise SignalError(
            f"The events of {recording} cannot be read ({error!r}); expected a number "
            f"duration_s, and intervals_s as rows of start and end. Prepare the "
            f"dataset again."
        ) from error
    if not duration_s > 0 or not np.isfinite(duration_s):
        raise SignalError(
            f"{recording} is said to last {duration_s:g} s; expected a time above 0. "
            f"Prepare the dataset again."
        )
    if intervals_s.size == 0:
        return np.empty((0, 2))
    if intervals_s.ndim != 2 or intervals_s.shape[1] != 2:
        raise SignalError(
            f"The events of {recording} have shape {intervals_s.shape}; expected rows "
            f"of start and end. Prepare the dataset again."
        )
    if not np.isfinite(intervals_s).all():
        raise SignalError(
            f"An event of {recording} has no time: {intervals_s.tolist()}; expected "
            f"seconds from the recording's start. Prepare the dataset again."
        )
    if (intervals_s[:, 1] > duration_s + SAME_S).any():
        raise SignalError(
            f"An event of {recording} ends at {intervals_s[:, 1].max():g} s, the "
            f"recording lasts {duration_s:g} s. Prepare the dataset again."
        )
    if (intervals_s < 0).any():
        raise SignalError(
            f"An event of {recording} starts before the recording: "
            f"{intervals_s.tolist()}. Prepare the dataset again."
        )
    if (intervals_s[:, 1] <= intervals_s[:, 0]).any():
        raise SignalError(
            f"An event of {recording} does not end after it starts: "
            f"{intervals_s.tolist()}. Prepare the dataset again."
        )
    return intervals_s


def _refuse_lengths(window_s: float, stride_s: float) -> None:
    for name, length_s in (("window_s", window_s), ("stride_s", stride_s)):
        if not 0 < length_s < np.inf:
            raise SignalError(
                f"{name} is {length_s:g}; expected seconds above 0, as in the "
                f"dataset's recipe."
            )


def _refuse_unlike(
    windows: pd.DataFrame,
    scores_NK: NDArray[np.float64],
    events: Mapping[str, Mapping[str, Any]],
) -> None:
    if scores_NK.ndim != 2 or scores_NK.shape != (len(windows), 2):
        raise SignalError(
            f"Scores of shape {scores_NK.shape} do not fit {len(windows)} windows of "
            f"two classes; expected ({len(windows)}, 2)."
        )
    n_bad = int((~np.isfinite(scores_NK)).any(axis=1).sum())
    if n_bad:
        raise SignalError(
            f"{n_bad} of {len(windows)} windows have scores that are not finite. The "
            f"model gave NaN or infinity: see whether its training diverged."
        )
    if not np.isfinite(windows["onset_s"].to_numpy(np.float64)).all():
        raise SignalError(
            "A window has no onset; expected seconds from its recording's start. "
            "Prepare the dataset again."
        )
    unlisted = sorted(set(windows["recording"]) - set(events))
    if unlisted:
        raise SignalError(
            f"The events of {', '.join(unlisted)} are not listed; expected an entry "
            f"for every recording, an empty one where there is no event. Prepare the "
            f"dataset again."
        )
