"""Who cuts what when a sweep prepares its datasets."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eegfm_bench.datasets._prepare import twin_root
from eegfm_bench.datasets._spec import find_dataset
from eegfm_bench.sweep.launch import InlineLauncher
from eegfm_bench.sweep.run import Options, Watcher, cores, sweep
from eegfm_bench.sweep.specs import cells_of


class Turns(InlineLauncher):
    """Do tasks in this process; remember which were given out together."""

    def __init__(self) -> None:
        self.prepared: list[list[tuple[str, int]]] = []

    def each(self, tasks: Iterable[Any], on_event: Any = None) -> Iterator[Any]:
        tasks = list(tasks)
        named = [(t["dataset"], t["jobs"]) for t in tasks if t["task"] == "prepare"]
        if named:
            self.prepared.append(named)
        yield from super().each(tasks, on_event)


class Told(Watcher):
    def __init__(self) -> None:
        self.heard: list[tuple[str, int, int]] = []

    def preparing(self, dataset: str, done: int, of: int) -> None:
        self.heard.append((dataset, done, of))


CELLS = cells_of(["chance"], ["eegmat", "eyes"], "small", {})


def test_twins_are_cut_together_by_one_process_each(tmp_path: Path) -> None:
    turns = Turns()
    sweep(CELLS, [0], Options(runs=tmp_path, device="cpu", launcher=turns, jobs=3))
    assert turns.prepared == [[("eegmat", 1), ("eyes", 1)]]


@pytest.mark.parametrize("jobs", [3, None])
def test_genuine_sets_are_cut_in_turn_by_all_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int | None
) -> None:
    for name in ("eegmat", "eyes"):
        spec = find_dataset(name)
        shutil.copytree(
            twin_root(spec), tmp_path / "root", symlinks=True, dirs_exist_ok=True
        )
    monkeypatch.setenv("EEGFM_CACHE", str(tmp_path / "cache"))
    turns, told = Turns(), Told()
    options = Options(
        data=str(tmp_path / "root"),
        allow_partial=True,
        runs=tmp_path / "runs",
        device="cpu",
        launcher=turns,
        jobs=jobs,
    )
    sweep(CELLS, [0], options, told)
    each = jobs or cores()
    assert turns.prepared == [[("eegmat", each)], [("eyes", each)]]
    for name in ("eegmat", "eyes"):
        heard = [(done, of) for dataset, done, of in told.heard if dataset == name]
        n = (
            find_dataset(name)
            .plan(find_dataset(name).find(tmp_path / "root"))["recording"]
            .nunique()
        )
        assert heard == [(done, n) for done in range(n + 1)]
