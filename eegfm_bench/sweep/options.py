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
class Options:
    """How to run; nothing here changes a number.

    With ``suite``, absent data costs its cells alone, and the runs that answer
    the suite are noted under that name, unless ``is_whole`` says that some of its
    cells were left out. ``confirm`` is asked, with the seconds
    estimated, before anything that takes over an hour.
    """

    data: str | None = None
    allow_partial: bool = False
    device: str = "auto"
    jobs: int | None = None
    runs: Path = Path(".runs")
    retry_failed: bool = False
    force: bool = False
    confirm: Callable[[float], bool] = lambda seconds: True
    suite: str | None = None
    is_whole: bool = True
    is_portable: bool = False
    launcher: Launcher | None = None


@dataclass(kw_only=True)
class Sweep:
    """What was asked and what came of it."""

    specs: list[RunSpec] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, dict[str, Any]] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
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

    def planned(self, specs: list[RunSpec], todo: list[RunSpec]) -> None:
        """Take note of all questions, and of those still open."""

    def started(self, spec: RunSpec) -> None:
        """Take note that a worker took this spec."""

    def epoch(self, spec: RunSpec, epoch: int, value: float) -> None:
        """Take note of an epoch's validation score."""

    def ended(self, spec: RunSpec, failure: str | None) -> None:
        """Take note of a record; ``failure`` says why it has no scores."""
