"""Micro-batches read one ahead, so that a step does not wait for the disk.

From: a corpus, and draws of its windows. To: ``module``, in order, those that are this
process's: of W processes the one of rank r has micro-batches r, r + W, ...
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from eegfm_bench.pretraining.corpus import Corpus
    from eegfm_bench.pretraining.draws import Draws


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Windows x (B, C, T) in µV, float32, of one source, and their place."""

    step: int
    micro: int
    source: int
    x: Tensor


class Feed:
    """A thread that reads the next micro-batch while the last one is computed.

    Use as a context manager. One micro-batch waits and one is being read, so that
    three are in memory at the most.

    Parameters
    ----------
    corpus : Corpus
    draws : Draws
    start, stop : int
        Steps, from ``start`` up to, not including, ``stop``.
    micro_batches : int
        Of a step, over all processes.
    rank, world : int
        Of this process, and how many there are.
    pin : bool
        Lay windows where a GPU reads them without a copy.
    """

    def __init__(
        self,
        corpus: Corpus,
        draws: Draws,
        *,
        start: int,
        stop: int,
        micro_batches: int,
        rank: int = 0,
        world: int = 1,
        pin: bool = False,
    ) -> None:
        self._corpus, self._draws, self._pin = corpus, draws, pin
        self._places = (
            (step, micro)
            for step in range(start, stop)
            for micro in range(rank, micro_batches, world)
        )
        self._ready: queue.Queue[MicroBatch | BaseException] = queue.Queue(maxsize=1)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._read_all, daemon=True)
        self.waited_s = 0.0

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def take(self) -> MicroBatch:
        """Return the next micro-batch; what waiting takes adds to ``waited_s``.

        Raises
        ------
        BenchError
            Whatever went wrong while it was read.
        """
        started = time.perf_counter()
        found = self._ready.get()
        self.waited_s += time.perf_counter() - started
        if isinstance(found, BaseException):
            raise found
        return found

    def _read_all(self) -> None:
        try:
            for step, micro in self._places:
                self._hand_over(self._read(step, micro))
                if self._is_over.is_set():
                    return
            self._hand_over(IndexError("no micro-batch is left"))
        except BaseException as error:  # for whoever takes it
            self._hand_over(error)

    def _read(self, step: int, micro: int) -> MicroBatch:
        number, positions = self._draws.micro_batch(step, micro)
        source = self._corpus.sources[number]
        x = torch.from_numpy(source.take(positions))
        return MicroBatch(step, micro, number, x.pin_memory() if self._pin else x)

    def _hand_over(self, found: MicroBatch | BaseException) -> None:
        while not self._is_over.is_set():
            try:
                self._ready.put(found, timeout=0.1)
            except queue.Full:
                continue
            return
