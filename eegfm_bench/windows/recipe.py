"""All that decides a window's bytes, written as data, and its hash.

From: a dataset's file. To: the window store's folder name and the protocol id.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from eegfm_bench.errors import SpecError
from eegfm_bench.recordings.filters import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Channels, processing steps in order, and where windows lie.

    ``label_rule`` says in words what a window's label is; it is hashed like the
    rest. Raise ``version`` when code changes bytes that the other fields do not
    show.

    Examples
    --------
    >>> recipe = Recipe(channels=("Cz",), rate_hz=200.0, window_s=5.0, stride_s=5.0,
    ...                 steps=(("resample", 200.0),), label_rule="rest or task")
    >>> recipe.n_times, recipe.at(rate_hz=128.0).steps
    (1000, (('resample', 128.0),))
    """

    channels: tuple[str, ...]
    rate_hz: float
    window_s: float
    stride_s: float
    steps: tuple[Step, ...]
    label_rule: str
    version: int = 1

    def __post_init__(self) -> None:
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
        """Return the same recipe at the rate a model listens at; None is its own."""
        if rate_hz is None or rate_hz == self.rate_hz:
            return self
        steps = tuple(s for s in self.steps if s[0] != "resample")
        return replace(
            self, rate_hz=float(rate_hz), steps=(*steps, ("resample", float(rate_hz)))
        )

    def fields(self) -> dict[str, Any]:
        """Return the recipe as plain data, for hashing and for the manifest."""
        return asdict(self)
