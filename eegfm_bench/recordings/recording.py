"""One continuous stretch of signal, checked at birth.

From: a format's reader. To: ``filters`` and ``windows.cut``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.errors import SignalError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A scalp channel's spread lies between these, whatever the amplifier: below is
# a signal in volts (or millivolts), above one in nanovolts or raw counts.
PLAUSIBLE_UV = (0.05, 50_000.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened: when, for how long (seconds), and its code."""

    onset_s: float
    duration_s: float
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Signal (C, T) in µV at one rate, with its channels' names.

    Raises
    ------
    SignalError
        If shape and names disagree, a value is not finite, a name comes twice,
        or the amplitudes cannot be µV.

    Examples
    --------
    >>> Recording(x=np.ones((2, 10)), rate_hz=5.0, channels=("C3", "C4"),
    ...           name="s01").duration_s
    2.0
    """

    x: NDArray[np.floating] = field(repr=False)
    rate_hz: float
    channels: tuple[str, ...]
    name: str
    events: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.x.shape[0] != len(self.channels):
            raise SignalError(
                f"{self.name}: a signal of shape {self.x.shape} does not fit "
                f"{len(self.channels)} channel names; expected (channels, time points)."
            )
        if len(set(self.channels)) != len(self.channels):
            twice = sorted({c for c in self.channels if self.channels.count(c) > 1})
            raise SignalError(
                f"{self.name}: the channels {', '.join(twice)} come twice. Pick one "
                f"of each in the dataset's file."
            )
        # Channel by channel: in one go these checks would double the memory.
        for row, channel in zip(self.x, self.channels, strict=True):
            if not np.isfinite(row).all():
                raise SignalError(
                    f"{self.name}: channel {channel} has values that are not "
                    f"finite. Fetch the recording again, or leave the subject out."
                )
        spread_uv = np.array([row.std() for row in self.x])
        live = spread_uv[spread_uv > 0]
        if live.size:
            middle = float(np.median(live))
            if not PLAUSIBLE_UV[0] <= middle <= PLAUSIBLE_UV[1]:
                raise SignalError(
                    f"{self.name}: the channels' median standard deviation is "
                    f"{middle:.3g} µV; scalp EEG lies between {PLAUSIBLE_UV[0]:g} and "
                    f"{PLAUSIBLE_UV[1]:g} µV. Check the unit: this reads like "
                    f"{'volts or millivolts' if middle < 1 else 'raw counts'}."
                )

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return float(self.x.shape[1] / self.rate_hz)

    @property
    def flat_channels(self) -> tuple[str, ...]:
        """Channels whose every value is the same."""
        same = np.ptp(self.x, axis=1) == 0
        return tuple(c for c, flat in zip(self.channels, same, strict=True) if flat)

    def with_signal(
        self,
        x: NDArray[np.floating],
        *,
        rate_hz: float | None = None,
        channels: tuple[str, ...] | None = None,
    ) -> Recording:
        """Return the same recording with another signal."""
        return replace(
            self,
            x=x,
            rate_hz=self.rate_hz if rate_hz is None else rate_hz,
            channels=self.channels if channels is None else channels,
        )

    def pick(self, channels: tuple[str, ...]) -> Recording:
        """Return these channels, in this order.

        Raises
        ------
        SignalError
            If any is absent: names the file, the absent channels, and those of
            the file that nobody asked for.
        """
        refuse_absent(self.name, channels, self.channels)
        if channels == self.channels:
            return self
        rows = [self.channels.index(c) for c in channels]
        return self.with_signal(self.x[rows], channels=channels)


def refuse_absent(name: str, asked: tuple[str, ...], channels: tuple[str, ...]) -> None:
    """Refuse a recording that lacks channels.

    Raises
    ------
    SignalError
        Names the recording, the absent channels, and those that nobody asked for.
    """
    absent = [c for c in asked if c not in channels]
    if absent:
        unknown = [c for c in channels if c not in asked]
        raise SignalError(
            f"{name}: the channels {', '.join(absent)} are missing; the file "
            f"has instead {', '.join(unknown) or 'no others'}. Fetch the file "
            f"again, or correct its channel labels."
        )
