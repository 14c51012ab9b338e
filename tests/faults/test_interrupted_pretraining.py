"""Kills and Ctrl-C while an encoder is pre-trained: it goes on to the same losses."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eegfm_bench.pretraining.checkpoints import read_checkpoint
from eegfm_bench.pretraining.journal import TIMES
from tests.small_corpus import corpus, pretrain, spec

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
STEPS = 60
# As a user's process would: Ctrl-C is heard whatever this shell does with it.
SCRIPT = f"""
import signal, sys, time
from pathlib import Path
import torch
from tests.small_corpus import corpus, pretrain, spec
torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)
if __name__ == "__main__":
    of = corpus()
    try:
        pretrain(spec(of, steps={STEPS}), of, Path(sys.argv[1]), checkpoint_every=10,
                 processes=int(sys.argv[2]), start_method="fork",
                 on_step=lambda at: time.sleep(0.05))
    except KeyboardInterrupt:
        sys.exit(130)
"""


def rows(folder: Path) -> list[dict[str, str]]:
    try:
        with (folder / "journal.csv").open(encoding="utf-8") as file:
            found = list(csv.DictReader(file))
    except FileNotFoundError:
        return []
    return [{k: v for k, v in row.items() if k not in TIMES} for row in found]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    of, folder = corpus(), tmp_path_factory.mktemp("whole")
    pretrain(spec(of, steps=STEPS), of, folder)
    return folder


class Begun:
    def __init__(self, folder: Path, processes: int) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder), str(processes)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )

    def at(self, step: int) -> None:
        while len(rows(self.folder)) < step:
            assert self.process.poll() is None, self.process.communicate()[1]
            time.sleep(0.02)


@pytest.fixture
def begin() -> Iterator[type[Begun]]:
    begun: list[Begun] = []

    class Noted(Begun):
        def __init__(self, folder: Path, processes: int = 1) -> None:
            super().__init__(folder, processes)
            begun.append(self)

    yield Noted
    for one in begun:
        one.process.kill()
        one.process.communicate()


def finished(folder: Path, whole: Path) -> None:
    of, said = corpus(), []
    pretrain(spec(of, steps=STEPS), of, folder, say=said.append)
    assert any("goes on at step" in line for line in said)
    assert rows(folder) == rows(whole)


def test_a_kill_costs_the_steps_since_the_last_checkpoint(
    begin: type[Begun], whole: Path, tmp_path: Path
) -> None:
    running = begin(tmp_path / "run")
    running.at(25)
    running.process.kill()
    running.process.wait()
    state, notes = read_checkpoint(tmp_path / "run" / "checkpoints")
    assert state is not None
    assert state["step"] >= 20
    assert notes == []
    finished(tmp_path / "run", whole)


@pytest.mark.parametrize("seed", range(3))
def test_kills_at_any_moment_leave_something_to_go_on_from(
    begin: type[Begun], whole: Path, tmp_path: Path, seed: int
) -> None:
    running = begin(tmp_path / "run")
    running.at(10)
    time.sleep((0.37, 0.71, 0.93)[seed])
    running.process.kill()
    running.process.wait()
    finished(tmp_path / "run", whole)


def test_ctrl_c_writes_a_checkpoint_and_ends(
    begin: type[Begun], whole: Path, tmp_path: Path
) -> None:
    running = begin(tmp_path / "run")
    running.at(13)
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(20) == 130
    state, _ = read_checkpoint(tmp_path / "run" / "checkpoints")
    assert state is not None
    assert state["step"] == len(rows(tmp_path / "run")) < 20
    finished(tmp_path / "run", whole)


def test_ctrl_c_stops_all_processes_after_the_same_step(
    begin: type[Begun], tmp_path: Path
) -> None:
    running = begin(tmp_path / "run", 2)
    running.at(13)
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(20) == 130
    state, _ = read_checkpoint(tmp_path / "run" / "checkpoints")
    assert state is not None
    assert 13 <= state["step"] == len(rows(tmp_path / "run")) < STEPS


def test_processes_end_with_the_one_that_began_them(
    begin: type[Begun], tmp_path: Path
) -> None:
    running = begin(tmp_path / "run", 2)
    running.at(13)
    running.process.kill()
    running.process.wait()
    deadline = time.monotonic() + 20
    while True:
        before = len(rows(tmp_path / "run"))
        time.sleep(1.0)
        if len(rows(tmp_path / "run")) == before:
            break
        assert time.monotonic() < deadline
    state, _ = read_checkpoint(tmp_path / "run" / "checkpoints")
    assert state is not None
    assert state["step"] == before < STEPS
