"""All that decides a window's bytes, written as data, and its hash.

From: a dataset's file. To: the window store's folder name and the protocol id.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from eegfm_bench.errors import SpecError
from eegfm_bench.recordings.filters import RESAMPLING, Step
from eegfm_bench.windows.cut import PastEnd


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Channels, processing steps in order, and where windows lie.

    The order is: read, ``pick`` the channels, apply ``steps`` to the recording, cut
    the windows at the rate the recording then has, apply ``window_steps`` to each
    window by itself. ``rate_hz`` is the rate at the end of all that.

    ``past_end`` says what becomes of a window that runs past the recording's end:
    ``"refuse"``, or ``"stretch"``, a published deviation (see ``windows.cut``).
    ``"wrap"`` takes the signal for a circle, as TUEV's published windows do at both
    ends. ``stretch_s`` is the length of the pieces a recording is put together from,
    such as clips: ``steps`` are then applied to each by itself. ``sequence`` is how
    many consecutive windows are judged together; the store holds them one by one.
    ``keep_below_uv`` leaves out windows in which any value is that far from 0 or
    farther, after all steps: which they are is known when they are cut, so the plan
    has them, and the manifest counts them.
    ``label_rule`` says in words what a window's label is; it is hashed like the
    rest. Raise ``version`` when code changes bytes that the other fields do not
    show.

    Raises
    ------
    SpecError
        If a window or stride is no whole number of time points, ``past_end`` is
        unknown, a sequence has no window, or an amplitude to keep below is none.

    Examples
    --------
    >>> recipe = Recipe(channels=("Cz",), rate_hz=200.0, window_s=5.0, stride_s=5.0,
    ...                 steps=(("resample", 200.0),), label_rule="rest or task")
    >>> recipe.n_times, recipe.at(rate_hz=128.0).steps
    (1000, (('resample', 128.0),))
    >>> "window_steps" in recipe.fields()
    False
    """

    channels: tuple[str, ...]
    rate_hz: float
    window_s: float
    stride_s: float
    steps: tuple[Step, ...]
    label_rule: str
    version: int = 1
    window_steps: tuple[Step, ...] = ()
    past_end: PastEnd = "refuse"
    stretch_s: float | None = None
    sequence: int = 1
    keep_below_uv: float | None = None

    def __post_init__(self) -> None:
        if self.past_end not in get_args(PastEnd):
            raise SpecError(
                f"A recipe's past_end is '{self.past_end}'; expected one of "
                f"{', '.join(get_args(PastEnd))}."
            )
        if self.sequence < 1:
            raise SpecError(
                f"A recipe's sequence is {self.sequence} windows; expected 1 or more."
            )
        if self.keep_below_uv is not None and (
            not 0 < self.keep_below_uv < math.inf or self.sequence > 1
        ):
            raise SpecError(
                f"A recipe keeps windows below {self.keep_below_uv:g} µV in sequences "
                f"of {self.sequence}; expected more than 0 µV, and windows judged one "
                f"by one."
            )
        for what, seconds in (("window", self.window_s), ("stride", self.stride_s)):
            n_times = seconds * self.rate_hz
            if n_times <= 0 or abs(n_times - round(n_times)) > 1e-6:
                raise SpecError(
                    f"A {what} of {seconds:g} s at {self.rate_hz:g} Hz is "
                    f"{n_times:g} time points; expected a whole number above 0."
                )

    @property
    def n_times(self) -> int:
        """Time points per window."""
        return round(self.window_s * self.rate_hz)

    def at(self, rate_hz: float | None = None) -> Recipe:
        """Return the same recipe at the rate a model listens at; None is its own.

        Where windows are resampled one by one, they still are, and in the same way.
        """
        if rate_hz is None or rate_hz == self.rate_hz:
            return self
        rate_hz = float(rate_hz)

        def anew(steps: tuple[Step, ...]) -> tuple[Step, ...]:
            kept = tuple(s for s in steps if s[0] not in RESAMPLING)
            ways = [s[0] for s in steps if s[0] in RESAMPLING]
            return (*kept, (ways[-1] if ways else "resample", rate_hz))

        if any(s[0] == "resample" for s in self.window_steps):
            return replace(self, rate_hz=rate_hz, window_steps=anew(self.window_steps))
        return replace(self, rate_hz=rate_hz, steps=anew(self.steps))

    def fields(self) -> dict[str, Any]:
        """Return the recipe as plain data, for hashing and for the manifest.

        Fields born later are left out where they do nothing, so that protocol ids
        stay what they were.
        """
        idle = {
            "window_steps": (),
            "past_end": "refuse",
            "stretch_s": None,
            "sequence": 1,
            "keep_below_uv": None,
        }
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in idle or value != idle[name]
        }
