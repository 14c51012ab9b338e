"""What a person sees while windows are cut and cells run: done, left, time left.

From: a sweep, as its watcher, or ``prepare``. To: standard error; a live display on a
terminal; elsewhere one line per finished cell, and now and then one while cutting.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from eegfm_bench.runs.spec import RunSpec
from eegfm_bench.sweep.run import Watcher

RoundDone = Callable[[int], None]

# Where there is no terminal, a line of progress comes at most this often.
SAY_EVERY_S = 60.0


@dataclass(kw_only=True)
class _Cutting:
    """How far a dataset is cut; ``had`` recordings were before it began."""

    had: int
    began: float
    said: float
    done: int
    of: int

    def __str__(self) -> str:
        text = f"{self.done} of {self.of} recordings cut"
        if self.done == self.had:
            return text
        each_s = (time.monotonic() - self.began) / (self.done - self.had)
        return f"{text}, about {_clock(each_s * (self.of - self.done))} left"


class Display(Watcher):
    """Watch a sweep; use as a context manager.

    Parameters
    ----------
    console : Console
        On standard error.
    jobs : int
        Workers that run cells, for the time left.
    on_round : function of the seeds done so far, optional
        Called when every cell has its record for one more seed.
    """

    def __init__(
        self, console: Console, *, jobs: int = 1, on_round: RoundDone | None = None
    ) -> None:
        self._console = console
        self._jobs = jobs
        self._on_round = on_round
        self._live: Live | None = None
        self._cutting: dict[str, _Cutting] = {}
        self._known = 0
        self._left: dict[str, RunSpec] = {}
        self._running: dict[str, tuple[RunSpec, float, int]] = {}
        self._took: dict[str, list[float]] = {}
        self._failed = 0
        self._n_ended = 0
        self._open_by_seed: dict[int, int] = {}
        self._rounds = 0

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self._render,
                refresh_per_second=4,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def preparing(self, dataset: str, done: int, of: int) -> None:
        """Show how far a dataset is cut."""
        now = time.monotonic()
        if dataset not in self._cutting:
            self._cutting[dataset] = _Cutting(
                had=done, began=now, said=now, done=done, of=of
            )
            if done:
                self._print(
                    f"{dataset}: {done} of {of} recordings were cut before an "
                    f"interruption; going on from there"
                )
        cutting = self._cutting[dataset]
        cutting.done = done
        if done == of:
            del self._cutting[dataset]
            took = _clock(now - cutting.began)
            self._print(f"{dataset}: {of} recordings cut into windows, {took}")
        elif self._live is None and now - cutting.said > SAY_EVERY_S:
            cutting.said = now
            self._print(f"{dataset}: {cutting}")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)

    def remarked(self, line: str) -> None:
        """Print a remark on the settings."""
        self._print(line)

    def planned(self, specs: list[RunSpec], todo: list[RunSpec]) -> None:
        """Show how many cells are open."""
        self._cutting.clear()  # of a dataset that turned out to be damaged
        self._known = len(specs)
        self._left = {spec.run_id: spec for spec in todo}
        for spec in specs:
            self._open_by_seed.setdefault(spec.seed, 0)
        for spec in todo:
            self._open_by_seed[spec.seed] += 1
        if todo and len(todo) < len(specs):
            self._console.print(
                f"{len(specs) - len(todo)} of {len(specs)} cells have their record "
                f"already; {len(todo)} to run"
            )

    def started(self, spec: RunSpec) -> None:
        """Move a cell to those running."""
        self._running[spec.run_id] = (spec, time.monotonic(), 0)

    def epoch(self, spec: RunSpec, epoch: int, value: float | None) -> None:
        """Advance a running cell."""
        if spec.run_id in self._running:
            began = self._running[spec.run_id][1]
            self._running[spec.run_id] = (spec, began, epoch)

    def ended(self, spec: RunSpec, failure: str | None) -> None:
        """Count a cell, say why it failed, and mind whether a seed is complete."""
        _, began, _ = self._running.pop(spec.run_id, (spec, time.monotonic(), 0))
        self._left.pop(spec.run_id, None)
        seconds = time.monotonic() - began
        self._took.setdefault(spec.cell_id, []).append(seconds)
        self._n_ended += 1
        name = f"{spec.model} on {spec.dataset.name}, seed {spec.seed}"
        if failure is not None:
            self._failed += 1
            self._console.print(f"failed: {name}: {failure}", style="red", markup=False)
        elif self._live is None:
            n_open = self._n_ended + len(self._left)
            self._console.print(
                f"[{self._n_ended}/{n_open}] {name}: {seconds:.1f} s", markup=False
            )
        self._open_by_seed[spec.seed] -= 1
        rounds = sum(n == 0 for n in self._open_by_seed.values())
        if rounds > self._rounds and self._on_round is not None:
            self._rounds = rounds
            self._on_round(rounds)

    def time_left_s(self) -> float | None:
        """Guess the seconds left from cells of the same kind, then of any kind."""
        if not self._took:
            return None
        every = [s for times in self._took.values() for s in times]
        mean = sum(every) / len(every)
        total = 0.0
        for run_id, spec in self._left.items():
            own = self._took.get(spec.cell_id)
            total += sum(own) / len(own) if own else mean
            if run_id in self._running:
                total -= min(time.monotonic() - self._running[run_id][1], total)
        return max(total, 0.0) / max(1, min(self._jobs, len(self._left) or 1))

    def _render(self) -> Group:
        lines: list[Table | Text | ProgressBar] = []
        for dataset, cutting in list(self._cutting.items()):
            lines.append(Text(f"{dataset}: {cutting}"))
            lines.append(
                ProgressBar(total=cutting.of, completed=cutting.done, width=60)
            )
        if self._left:
            done = self._known - len(self._left)
            left_s = self.time_left_s()
            counts = Text(
                f"cells: {done} done, {len(self._running)} running, "
                f"{len(self._left) - len(self._running)} left"
            )
            if self._failed:
                counts.append(f", {self._failed} failed", style="red")
            if left_s is not None:
                counts.append(f"; about {_clock(left_s)} left")
            lines.append(counts)
            lines.append(ProgressBar(total=self._known, completed=done, width=60))
            for spec, began, epoch in list(self._running.values()):
                n_epochs = getattr(spec.recipe, "epochs", None)
                where = f", epoch {epoch} of {n_epochs}" if n_epochs else ""
                seconds = time.monotonic() - began
                lines.append(
                    Text(
                        f"  {spec.model} on {spec.dataset.name}, seed {spec.seed}"
                        f"{where}, {_clock(seconds)}",
                        style="dim",
                    )
                )
        return Group(*lines)


def _clock(seconds: float) -> str:
    """Write seconds as a person would.

    Examples
    --------
    >>> _clock(7.2), _clock(75), _clock(3700)
    ('7 s', '1 min 15 s', '1 h 01 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
