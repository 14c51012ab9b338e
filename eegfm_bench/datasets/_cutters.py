"""Many recordings become rows: in this process, or spread over several.

From: pieces of a plan. To: what was noted of each, as it is done. Which process cuts
a recording changes no byte. A process works on one recording at a time, with one
thread; when the parent goes, however it goes, so do they.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Generator
from pathlib import Path
from typing import Any

from eegfm_bench.datasets._rows import Piece, cut_recording
from eegfm_bench.datasets._spec import DatasetSpec, find_dataset
from eegfm_bench.errors import BenchError, RunFailed
from eegfm_bench.windows.recipe import Recipe

# A process takes a second or two to start: it must have this many bytes to read.
WORTH_A_PROCESS = 64 << 20

Noted = dict[str, Any]


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def cut_all(
    spec: DatasetSpec, recipe: Recipe, pieces: list[Piece], x_path: Path, *, jobs: int
) -> Generator[tuple[str, Noted], None, None]:
    """Yield each recording's name and what is noted of it, once its rows are written.

    Close the iterator (``contextlib.closing``), so that no process outlives it.

    Parameters
    ----------
    spec : DatasetSpec
        Whose recordings these are.
    recipe : Recipe
        The spec's, at the rate wanted.
    pieces : list of Piece
        Which recordings, and where their rows lie.
    x_path : path
        The store's array, of its full size.
    jobs : int
        Processes at most; little work gets fewer, and one is this very process.

    Raises
    ------
    BenchError
        If a recording is damaged, or a process ended; of several damaged recordings,
        the first in order is named. What was yielded before is written.
    """
    n_bytes = sum(piece.source.path.stat().st_size for piece in pieces)
    jobs = min(jobs, len(pieces), 1 + n_bytes // WORTH_A_PROCESS)
    if jobs > 1:
        yield from _spread(spec, recipe, pieces, x_path, jobs)
        return
    for piece in pieces:
        yield piece.source.recording, cut_recording(spec, recipe, piece, x_path)


def _spread(
    spec: DatasetSpec, recipe: Recipe, pieces: list[Piece], x_path: Path, jobs: int
) -> Generator[tuple[str, Noted], None, None]:
    todo = deque(enumerate(pieces))
    news: queue.SimpleQueue[tuple[int, Noted | Exception]] = queue.SimpleQueue()
    cutters: list[_Cutter] = []
    failed: dict[int, Exception] = {}
    n_served = 0

    def serve(cutter: _Cutter) -> None:
        while True:
            try:
                number, piece = todo.popleft()
            except IndexError:
                news.put((-1, {}))
                return
            noted = cutter.do(piece)
            if isinstance(noted, Exception):
                todo.clear()  # what is begun is heard to the end, nothing new begins
            news.put((number, noted))

    try:
        for _ in range(jobs):
            cutters.append(_Cutter(spec.name, recipe, x_path))
            threading.Thread(target=serve, args=(cutters[-1],), daemon=True).start()
        while n_served < jobs:
            number, noted = news.get()
            if number < 0:
                n_served += 1
            elif isinstance(noted, Exception):
                failed[number] = noted
            else:
                yield pieces[number].source.recording, noted
    finally:
        todo.clear()
        for cutter in cutters:
            cutter.kill()
    if failed:
        raise failed[min(failed)]


class _Cutter:
    """One process that cuts recordings, and the pipes to it."""

    def __init__(self, dataset: str, recipe: Recipe, x_path: Path) -> None:
        ours = str(Path(__file__).resolve().parents[2])
        path = filter(None, [ours, os.environ.get("PYTHONPATH")])
        # What trainers keep of freed memory would add up here.
        env = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
        env |= {
            f"{library}_NUM_THREADS": "1"
            for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")
        }
        self._process = subprocess.Popen(
            # -P: a file of the working folder must not pass for a library.
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Its own session: Ctrl-C is for the parent to handle.
            start_new_session=True,
            env={**env, "PYTHONPATH": os.pathsep.join(path)},
        )
        self._job = (dataset, recipe, x_path)
        self._in_use = threading.Lock()

    def do(self, piece: Piece) -> Noted | Exception:
        """Hand over one piece; return what is noted, or why there is nothing."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with self._in_use:
            try:
                pickle.dump((*self._job, piece), stdin)
                stdin.flush()
                answer: Noted | Exception = pickle.load(stdout)
            except Exception:  # a pipe broke, or an answer was cut short: it died
                answer = self._epitaph(piece)
        return answer

    def kill(self) -> None:
        """End the process now, and close the pipes once nobody uses them."""
        self._process.kill()
        self._process.wait()
        with self._in_use:
            for pipe in (self._process.stdin, self._process.stdout):
                try:
                    if pipe is not None:
                        pipe.close()
                except OSError:
                    pass  # what it was still to be told does not matter any more

    def _epitaph(self, piece: Piece) -> RunFailed:
        self._process.kill()
        code = self._process.wait()
        how = f"exit status {code}"
        if code < 0:
            name = signal.Signals(-code).name
            hints = {"SIGKILL": "the system was out of memory", "SIGBUS": "disk full"}
            how = f"signal {name}" + (f" ({hints[name]}?)" if name in hints else "")
        return RunFailed(
            f"{piece.source.path}: the process that cut this recording ended by {how}. "
            f"What was cut before is kept: prepare again to go on, with fewer --jobs "
            f"if memory is short."
        )


def _answer(
    dataset: str, recipe: Recipe, x_path: Path, piece: Piece
) -> Noted | Exception:
    try:
        return cut_recording(find_dataset(dataset), recipe, piece, x_path)
    except (BenchError, OSError) as error:
        return error
    except Exception as error:  # of a contribution's reader
        sys.stderr.write(traceback.format_exc())
        return BenchError(f"{piece.source.path}: {type(error).__name__}: {error}")


def main() -> None:
    """Cut what is named on standard input until it ends."""
    # What libraries print must not reach the parent's pipe.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    todo: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def listen() -> None:
        try:
            while True:
                todo.put(pickle.load(sys.stdin.buffer))
        except EOFError:  # the parent has gone; nobody waits for this answer
            os._exit(0)
        except Exception:
            sys.stderr.write(traceback.format_exc())
            os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        pickle.dump(_answer(*todo.get()), out)
        out.flush()


if __name__ == "__main__":
    main()
