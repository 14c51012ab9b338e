"""The process that pre-trains, as the command line has it: begun, heard, stopped.

From: a task as plain data. To: events as plain data, the last being its outcome. It is
a process of its own because this one imports no torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from eegfm_bench.datasets._cutters import cores

Event = dict[str, Any]

_MODULE = "eegfm_bench.pretraining.main"
# As workers have it: kept memory makes small models faster, quiet waits leave the
# cores to those who work.
_SETTINGS = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONHASHSEED": "0",
}


class Child:
    """A process that pre-trains; use as a context manager, which ends it.

    Parameters
    ----------
    task : dict
        Plain data, as ``main`` takes it.
    """

    def __init__(self, task: Event) -> None:
        self._task = task
        self.pid = 0

    def __enter__(self) -> Child:
        # Threads move last digits: they depend on the machine and --processes alone.
        n_threads = max(1, cores() // int(self._task["processes"]))
        threads = {
            f"{library}_NUM_THREADS": str(n_threads)
            for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")
        }
        path = [str(Path(__file__).resolve().parents[2])]
        path += filter(None, [os.environ.get("PYTHONPATH")])
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            # -P: a file of the working folder must not pass for a library.
            [sys.executable, "-P", "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            bufsize=1,
            # Its own session: Ctrl-C is for this process to pass on.
            start_new_session=True,
            env={
                **os.environ,
                **_SETTINGS,
                **threads,
                "PYTHONPATH": os.pathsep.join(path),
            },
        )
        self.pid = self._process.pid
        self.say(self._task)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and self._process.poll() is None:
            # With it its own processes, which are of its session.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait()
        self._log.close()

    def say(self, words: Event) -> None:
        """Send a line; one to a process that has ended is lost."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()

    def events(self) -> Iterator[Event]:
        """Yield what it says; the last has ``outcome``, or ``died`` with the reason."""
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            try:
                event: Event = json.loads(line)
            except ValueError:
                continue  # cut short, as it died or the reader was interrupted
            yield event
            if event["event"] == "end":
                return
        yield {"event": "end", "outcome": {"died": self._epitaph()}}

    def _epitaph(self) -> str:
        code = self._process.wait()
        how = f"exit status {code}"
        if code < 0:
            name = signal.Signals(-code).name
            hint = ": the system was out of memory?" if name == "SIGKILL" else ""
            how = f"signal {name}{hint}"
        self._log.seek(0)
        said = [line for line in self._log.read().splitlines() if line.strip()][-1:]
        return how + (f"; its last words: {said[0][:300]}" if said else "")
