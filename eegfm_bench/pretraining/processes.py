"""Several processes that share each step, and what becomes of an interruption.

From: ``loop``, one function that each process runs. To: ``loop``, what the first
process says, and how it ended.

Processes are begun here rather than by Lightning, which would run the command line
anew in each; Lightning finds them begun and joins them.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from eegfm_bench.errors import BenchError, RunFailed, SpecError, StoreError


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is: steps done of all, the loss, and what is left in seconds.

    Speed and ``wait_share``, the part of a step that waits for windows, are means of
    the last hundred steps.
    """

    step: int
    steps: int
    loss: float
    tokens_per_s: float
    wait_share: float
    left_s: float


OnStep = Callable[[Progress], None]
Say = Callable[[str], None]


def in_processes(
    run: Callable[..., None],
    world: int,
    *,
    start_method: str,
    on_step: OnStep,
    say: Say,
) -> None:
    """Run a function in so many processes on this machine.

    Parameters
    ----------
    run : function of (on_step, say, wants_to_stop, rank, world), all by keyword
        One that can travel to another process.
    world : int
    start_method : str
        ``spawn``, or ``fork`` where no GPU is used.
    on_step, say : function
        Take what ``run`` says, in this process.

    Raises
    ------
    BenchError
        As one of the processes raised it; RunFailed if one ended without a word.
    KeyboardInterrupt
        When this process was interrupted, after all have stopped.
    """
    import torch.multiprocessing as mp

    start: Any = mp.start_processes  # type: ignore[attr-defined]
    making: Any = mp.get_context(start_method)
    said, asked = making.SimpleQueue(), making.Event()
    problems: list[tuple[str, str]] = []

    def listen() -> None:
        while not said.empty():
            what, value = said.get()
            if what == "step":
                on_step(value)
            elif what == "say":
                say(value)
            else:
                problems.append(value)

    with interruptible() as interrupted:
        with _deaf_to_interruptions():  # which the processes inherit
            context = start(
                _one_of,
                args=(run, world, _free_port(), said, asked),
                nprocs=world,
                join=False,
                start_method=start_method,
            )
        is_over = False
        while not is_over:
            try:
                is_over = context.join(timeout=0.1)
            except Exception as error:
                listen()
                problems.append(("RunFailed", f"A process ended early: {error}"))
                is_over = True
            listen()
            if interrupted:
                asked.set()
    if problems:
        kinds = {kind.__name__: kind for kind in (SpecError, StoreError, RunFailed)}
        kind, message = problems[0]
        raise kinds.get(kind, RunFailed)(message)
    if interrupted:
        raise KeyboardInterrupt


def _one_of(
    rank: int, run: Callable[..., None], world: int, port: int, said: Any, asked: Any
) -> None:
    """Be one process of several; without the one that began them it stops as well."""
    parent = os.getppid()
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(world),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
    }
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    try:
        run(
            on_step=lambda progress: said.put(("step", progress)),
            say=lambda line: said.put(("say", line)),
            wants_to_stop=lambda: asked.is_set() or os.getppid() != parent,
            rank=rank,
            world=world,
        )
    except BenchError as error:
        said.put(("failed", (type(error).__name__, str(error))))
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """Note the first Ctrl-C instead of obeying it; obey the second.

    Yields
    ------
    noted : list of int
        Empty until there is one.
    """
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return

    def note(number: int, frame: Any) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _deaf_to_interruptions() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
