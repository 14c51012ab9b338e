"""What a sweep is told, what it tells, and what comes of it.

From: the command line or a caller. To: ``sweep.run`` and its parts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.spec import RunSpec
from eegfm_bench.runs.store import ResultStore
from eegfm_bench.sweep.launch import Launcher


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How long cells would take together on this device.

    ``seconds`` are of those that could be timed. The time of ``n_unknown`` of all
    ``n_cells`` is not known; ``why`` says of the first what came in the way.

    Examples
    --------
    >>> str(Estimate(seconds=9000.0, n_cells=4))
    'about 2.5 hours'
    >>> str(Estimate(seconds=36.0, n_cells=4, n_unknown=3, why="a on b: no memory"))
    'about 36 s, and 3 of 4 cells for which there is no estimate (a on b: no memory)'
    """

    seconds: float
    n_cells: int
    n_unknown: int = 0
    why: str = ""

    def __str__(self) -> str:
        unknown = (
            f"{self.n_unknown} of {self.n_cells} cells for which there is no estimate "
            f"({self.why})"
        )
        if self.n_unknown == self.n_cells:
            return unknown
        if self.seconds < 60:
            known = f"about {self.seconds:.0f} s"
        elif self.seconds < 3600:
            known = f"about {self.seconds / 60:.0f} minutes"
        else:
            known = f"about {self.seconds / 3600:.1f} hours"
        return f"{known}, and {unknown}" if self.n_unknown else known


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to run; nothing here changes a number.

    With ``keep_best``, every run that trains leaves its tested model beside its record.
    ``allow_partial_weights`` lets weights go in that do not fill an encoder whole.

    With ``suite``, absent data costs its cells alone, and the runs that answer
    the suite are noted under that name, unless ``is_whole`` says that some of its
    cells were left out. ``confirm`` is asked, with the estimate, before anything that
    takes over an hour, or may and cannot be timed.
    """

    data: str | None = None
    allow_partial: bool = False
    device: str = "auto"
    jobs: int | None = None
    runs: Path = Path(".runs")
    retry_failed: bool = False
    force: bool = False
    keep_best: bool = False
    allow_partial_weights: bool = False
    confirm: Callable[[Estimate], bool] = lambda estimate: True
    suite: str | None = None
    is_whole: bool = True
    is_portable: bool = False
    launcher: Launcher | None = None


@dataclass(kw_only=True)
class Sweep:
    """What was asked and what came of it.

    ``not_kept`` are the runs done before without their model, which was asked for now.
    """

    specs: list[RunSpec] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, dict[str, Any]] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    not_kept: list[str] = field(default_factory=list)
    n_ran: int = 0

    def records(self, runs: Path) -> list[RunRecord]:
        """Return the records of the specs that have one, in order."""
        store = ResultStore(runs)
        found = (store.get(spec.run_id) for spec in self.specs)
        return [record for record in found if record is not None]


class Watcher:
    """Is told how a sweep goes; does nothing with it. A display overrides."""

    def preparing(self, dataset: str, done: int, of: int) -> None:
        """Take note that one more recording of a dataset is cut."""

    def remarked(self, line: str) -> None:
        """Take note of what a setting leaves as it is."""

    def planned(self, specs: list[RunSpec], todo: list[RunSpec]) -> None:
        """Take note of all questions, and of those still open."""

    def started(self, spec: RunSpec) -> None:
        """Take note that a worker took this spec."""

    def epoch(self, spec: RunSpec, epoch: int, value: float | None) -> None:
        """Take note of an epoch's validation score."""

    def ended(self, spec: RunSpec, failure: str | None) -> None:
        """Take note of a record; ``failure`` says why it has no scores."""
