"""Ways to get tasks done: processes here, or this very process.

From: tasks as plain data. To: their outcomes, as they come. A launcher is
anything with ``each(tasks)``; a cluster would be one more.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from eegfm_bench.errors import RunFailed

Task = dict[str, Any]
Outcome = dict[str, Any]
OnEvent = Callable[[Task, dict[str, Any]], None]

# glibc hands large activations back to the kernel at every step and pays for
# fresh pages at the next; kept, they make small models up to twice as fast.
_KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
# Threads that wait by spinning take the cores from those that work: on a busy
# machine, two spinning threads ran a small model a hundred times slower.
_WAIT_QUIETLY = {"OMP_WAIT_POLICY": "PASSIVE"}
# The instructions every 64-bit x86 processor has, for rows to be compared across
# machines: wider ones sum in another order. Slower; for the gate alone.
_PORTABLE = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem",
    # The second half are numpy's names from 2.4 on; it passes over those it lacks.
    "NPY_DISABLE_CPU_FEATURES": (
        "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX X86_V3 X86_V4 AVX512_ICL AVX512_SPR"
    ),
}
_BUSY_WAIT_S = 0.5
_READY = json.dumps({"event": "ready"})


class Launcher(Protocol):
    """Does tasks, and yields their outcomes as they come."""

    def each(
        self, tasks: Iterable[Task], on_event: OnEvent | None = None
    ) -> Iterable[tuple[Task, Outcome]]:
        """Yield each task with its outcome."""
        ...

    def close(self) -> None:
        """Free what the launcher holds."""
        ...


class InlineLauncher:
    """Do tasks in this process, one after the other: for tests and debugging."""

    def each(
        self, tasks: Iterable[Task], on_event: OnEvent | None = None
    ) -> Iterator[tuple[Task, Outcome]]:
        """Yield each task with its outcome."""
        # By name, so that what imports this module does not import torch.
        worker = importlib.import_module("eegfm_bench.training.worker")
        for task in tasks:

            def send(event: dict[str, Any], task: Task = task) -> None:
                if on_event is not None:
                    on_event(task, event)

            yield task, worker.handle(task, send)

    def close(self) -> None:
        """Nothing to close."""


class WorkerPool:
    """Long-lived worker processes on this machine.

    Parameters
    ----------
    jobs : int
        Workers at most; each starts when there is work for it.
    n_threads : int
        Threads of each; ``jobs * n_threads`` should not exceed the cores.
    logs : path
        Folder for what the workers' libraries print.
    is_portable : bool
        Whether to round as every machine does, at some cost of speed.
    """

    def __init__(
        self, *, jobs: int, n_threads: int, logs: Path, is_portable: bool = False
    ) -> None:
        self._extra = _PORTABLE if is_portable else {}
        self.jobs = jobs
        self.n_threads = n_threads
        self._logs = logs
        self._idle: list[_Worker] = []
        self._all: list[_Worker] = []
        self._lock = threading.Lock()
        self._is_closed = False

    def each(
        self, tasks: Iterable[Task], on_event: OnEvent | None = None
    ) -> Iterator[tuple[Task, Outcome]]:
        """Yield each task with its outcome, as workers finish them.

        A worker that dies gives its task the outcome ``died`` with the reason;
        the other tasks go on. A task that another process holds comes back
        later.
        """
        todo = deque(tasks)
        n_open = len(todo)
        news: queue.SimpleQueue[tuple[str, Task, Any]] = queue.SimpleQueue()
        take = threading.Lock()

        def serve() -> None:
            while True:
                with take:
                    if not todo:
                        return
                    task = todo.popleft()
                try:
                    outcome = self._do(task, news)
                except Exception as error:  # the caller's thread is to have it
                    news.put(("error", task, error))
                    return
                if outcome.get("busy"):
                    time.sleep(_BUSY_WAIT_S)
                    with take:
                        todo.append(task)
                else:
                    news.put(("end", task, outcome))

        for _ in range(min(self.jobs, n_open)):
            threading.Thread(target=serve, daemon=True).start()
        while n_open:
            kind, task, what = news.get()
            if kind == "error":
                raise what
            if kind == "end":
                n_open -= 1
                yield task, what
            elif on_event is not None:
                on_event(task, what)

    def _do(
        self, task: Task, news: queue.SimpleQueue[tuple[str, Task, Any]]
    ) -> Outcome:
        worker = self._borrow()
        outcome = worker.do(task, lambda event: news.put(("event", task, event)))
        if "died" not in outcome:
            self._give_back(worker)
        return outcome

    def close(self) -> None:
        """End all workers, at once: what they had not written is not there."""
        with self._lock:
            self._is_closed = True
            for worker in self._all:
                worker.kill()
            self._all.clear()
            self._idle.clear()

    def _borrow(self) -> _Worker:
        with self._lock:
            if self._is_closed:
                # A thread whose worker was ended would start another for nobody.
                raise RunFailed("The workers were closed; start the command again.")
            if self._idle:
                return self._idle.pop()
            log = self._logs / f"worker-{len(self._all)}.log"
            worker = _Worker(self.n_threads, log, self._extra)
            self._all.append(worker)
            return worker

    def _give_back(self, worker: _Worker) -> None:
        with self._lock:
            self._idle.append(worker)


def _import_path() -> list[str]:
    """Return where workers find this very package, then what the user set."""
    ours = str(Path(__file__).resolve().parents[2])
    return [ours, *filter(None, [os.environ.get("PYTHONPATH")])]


class _Worker:
    """One worker process and the pipe to it."""

    def __init__(self, n_threads: int, log: Path, extra: dict[str, str]) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        threads = {
            f"{library}_NUM_THREADS": str(n_threads)
            for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")
        }
        with log.open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                # -P: a file of the working folder must not pass for a library.
                [sys.executable, "-P", "-m", "eegfm_bench.training.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                bufsize=1,
                # Its own session: Ctrl-C is for the parent to handle.
                start_new_session=True,
                env={
                    **os.environ,
                    **_KEEP_MEMORY,
                    **_WAIT_QUIETLY,
                    **threads,
                    **extra,
                    "PYTHONHASHSEED": "0",
                    "PYTHONPATH": os.pathsep.join(_import_path()),
                },
            )
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        self._stdin, self._stdout = stdin, stdout
        self._in_use = threading.Lock()
        self._is_ready = False

    def do(self, task: Task, on_event: Callable[[dict[str, Any]], None]) -> Outcome:
        """Hand over one task; return its outcome, or why the worker died."""
        with self._in_use:
            try:
                self._stdin.write(json.dumps(task) + "\n")
                self._stdin.flush()
                while not self._is_ready:
                    line = self._stdout.readline()
                    if not line:
                        return {"died": self._epitaph()}
                    self._is_ready = line.strip() == _READY
                for line in self._stdout:
                    event = json.loads(line)
                    if event["event"] == "end":
                        outcome: Outcome = event["outcome"]
                        return outcome
                    on_event(event)
            except (OSError, ValueError):
                pass  # the pipe broke, or a line was cut short: it died
            return {"died": self._epitaph()}

    def kill(self) -> None:
        """End the process now, and close the pipe once nobody reads it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        with self._in_use, contextlib.suppress(OSError):
            self._stdout.close()
            self._stdin.close()

    def _epitaph(self) -> str:
        if self._process.poll() is None:  # it lives, but does not speak our words
            self._process.kill()
        code = self._process.wait()
        how = f"exit status {code}"
        if code < 0:
            name = signal.Signals(-code).name
            hint = ": the system was out of memory?" if name == "SIGKILL" else ""
            how = f"signal {name}{hint}"
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        said = [line for line in lines if line.strip()][-1:]
        return f"the worker process ended by {how}" + (
            f"; its last words: {said[0][:300]}" if said else ""
        )
