"""Which windows are in which micro-batch: a pure function of seed, step and place.

From: how many windows every source has, and how many tokens a window is. To: the
source of a micro-batch and positions among that source's windows. Nothing is kept
between calls but what could be computed anew, so a run taken up at any step, and any
number of processes that share a step, get the same batches.

Letters: S sources, N windows of one source, B windows of one micro-batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.errors import SpecError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Sources are drawn for so many micro-batches at once; part of what is drawn.
_BLOCK = 4096
# What a stream of random numbers is for; part of what is drawn.
_SOURCES, _ORDER = 1, 2


class Draws:
    """The micro-batches of a pre-training, each of one source.

    A source is drawn with a probability in proportion to its windows raised to
    ``exponent``: 1 is in proportion, 0 is all alike. It is then walked through in whole
    passes, each in an order of its own: no window comes again before every other of its
    source has come. The last micro-batch of a pass may be smaller than the others.

    Parameters
    ----------
    sizes : sequence of int (S,)
        Windows of every source.
    tokens : sequence of int (S,)
        Tokens of one window of every source: channels × patches.
    micro_batches : int
        Micro-batches of one step, over all processes together.
    seed : int
        Decides everything that is drawn.
    exponent : float
        0 or more.
    token_budget : int
        Tokens of one micro-batch at most; a window that has more by itself makes a
        micro-batch of 1 (see ``oversized``).

    Attributes
    ----------
    probabilities : array (S,)
        How often each source is drawn.
    batch_sizes : tuple of int (S,)
        Windows of a whole micro-batch of every source.

    Raises
    ------
    SpecError
        If there is no source, or a number is out of range.

    Examples
    --------
    >>> draws = Draws([6, 2], [10, 40], micro_batches=4, seed=0, exponent=1.0,
    ...               token_budget=30)
    >>> draws.probabilities, draws.batch_sizes, draws.oversized
    (array([0.75, 0.25]), (3, 1), (1,))
    >>> source, positions = draws.micro_batch(0, 0)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        tokens: Sequence[int],
        *,
        micro_batches: int,
        seed: int,
        exponent: float,
        token_budget: int,
    ) -> None:
        if not sizes or len(sizes) != len(tokens):
            raise SpecError(
                f"{len(sizes)} sources have {len(tokens)} counts of tokens; expected "
                f"one source at least, and a count for each."
            )
        for what, values in (("windows", sizes), ("tokens of a window", tokens)):
            if min(values) < 1:
                raise SpecError(
                    f"Source {list(values).index(min(values))} has {min(values)} "
                    f"{what}; expected 1 or more. Leave it out."
                )
        for what, value, least in (
            ("token_budget", token_budget, 1),
            ("micro_batches", micro_batches, 1),
            ("seed", seed, 0),
        ):
            if value < least:
                raise SpecError(f"{what} is {value}; choose {least} or more.")
        if not math.isfinite(exponent) or exponent < 0:
            raise SpecError(
                f"exponent is {exponent:g}; choose 0 (all sources alike) or more, 1 is "
                f"in proportion to their windows."
            )
        self.sizes = tuple(int(n) for n in sizes)
        self.tokens = tuple(int(n) for n in tokens)
        self.micro_batches = micro_batches
        self.token_budget = token_budget
        self._seed = seed
        # Against the largest, so that no power overflows.
        weights = (np.array(self.sizes) / max(self.sizes)) ** float(exponent)
        self.probabilities: NDArray[np.float64] = weights / weights.sum()
        self._bounds = np.cumsum(self.probabilities)[:-1]
        self.batch_sizes = tuple(
            min(n, max(1, token_budget // each))
            for n, each in zip(self.sizes, self.tokens, strict=True)
        )
        # Of every block begun: its sources, and micro-batches of each source before it.
        self._block: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))
        self._before = [np.zeros(len(self.sizes), np.int64)]
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}

    @property
    def oversized(self) -> tuple[int, ...]:
        """Sources of which one window alone is more than the budget."""
        return tuple(s for s, n in enumerate(self.tokens) if n > self.token_budget)

    @property
    def windows_per_step(self) -> float:
        """Windows of a step, on average over many steps."""
        mean = [
            n / -(-n // b) for n, b in zip(self.sizes, self.batch_sizes, strict=True)
        ]
        return float(self.micro_batches * np.dot(self.probabilities, mean))

    def steps(self, passes: float) -> int:
        """Return how many steps draw so many times the windows of all sources.

        With an exponent other than 1, small sources have then been gone through more
        often, or less, than large ones.
        """
        return max(1, round(passes * sum(self.sizes) / self.windows_per_step))

    def micro_batch(self, step: int, micro: int) -> tuple[int, NDArray[np.int64]]:
        """Return one micro-batch of one step.

        Parameters
        ----------
        step : int
            From 0.
        micro : int
            Its place in the step, from 0 to ``micro_batches`` - 1.

        Returns
        -------
        source : int
            0…S-1.
        positions : array (B,)
            Among the source's windows, 0…N-1, each at most once.

        Raises
        ------
        SpecError
            If there is no such step or place.
        """
        if step < 0 or not 0 <= micro < self.micro_batches:
            raise SpecError(
                f"There is no micro-batch {micro} of step {step}: steps begin at 0, "
                f"and have micro-batches 0…{self.micro_batches - 1}."
            )
        block, at = divmod(step * self.micro_batches + micro, _BLOCK)
        sources = self._sources(block)
        source = int(sources[at])
        earlier = int(self._before_block(block)[source])
        earlier += int((sources[:at] == source).sum())
        size, n_at_once = self.sizes[source], self.batch_sizes[source]
        number, within = divmod(earlier, -(-size // n_at_once))
        order = self._order(source, number)
        return source, order[within * n_at_once : (within + 1) * n_at_once].copy()

    def _sources(self, block: int) -> NDArray[np.int64]:
        """Return the sources of a block of micro-batches."""
        if self._block[0] != block:
            draw = np.random.default_rng([self._seed, _SOURCES, block]).random(_BLOCK)
            found = np.searchsorted(self._bounds, draw, side="right")
            self._block = block, found.astype(np.int64)
        return self._block[1]

    def _before_block(self, block: int) -> NDArray[np.int64]:
        """Return how many micro-batches of each source (S,) come before a block.

        Counted from the beginning when a run is taken up: a million take some 50 ms.
        """
        while len(self._before) <= block:
            sources = self._sources(len(self._before) - 1)
            counts = np.bincount(sources, minlength=len(self.sizes))
            self._before.append(self._before[-1] + counts)
        return self._before[block]

    def _order(self, source: int, number: int) -> NDArray[np.int64]:
        """Return the order (N,) of one pass through a source."""
        known = self._orders.get(source)
        if known is None or known[0] != number:
            rng = np.random.default_rng([self._seed, _ORDER, source, number])
            known = number, rng.permutation(self.sizes[source]).astype(np.int64)
            self._orders[source] = known
        return known[1]
