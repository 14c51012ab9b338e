"""Kills and Ctrl-C while windows are cut: no orphans, and the work goes on."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eegfm_bench.datasets import _prepare
from eegfm_bench.datasets._prepare import prepare
from eegfm_bench.datasets._spec import Source, find_dataset
from eegfm_bench.recordings.recording import Recording
from eegfm_bench.windows.store import WindowStore, read_journal

Begin = Callable[[Path, int], subprocess.Popen[str]]

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

# Cuts with so many processes, slowly, and says nothing but what the command says.
SLOWLY = """
import sys, time
from eegfm_bench.cli import main
from eegfm_bench.datasets import _cutters, _prepare
from eegfm_bench.windows import store

processes, root = int(sys.argv[1]), sys.argv[2]
_cutters.WORTH_A_PROCESS = 1
_prepare.cores = lambda: processes
store._SYNC_EVERY_S = 0.0
commit = store.UnfinishedStore.commit

def slow(self, recording, noted):
    commit(self, recording, noted)
    time.sleep(0.1)

store.UnfinishedStore.commit = slow
sys.argv = ["eegfm-bench", "prepare", "eyes", "--allow-partial", "--data", root]
main()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(_prepare.twin_root(find_dataset("eyes")), tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EEGFM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "windows"


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Start to cut in a process of one's own, which ends with the test."""
    begun = []

    def start(root: Path, processes: int) -> subprocess.Popen[str]:
        running = subprocess.Popen(
            [sys.executable, "-c", SLOWLY, str(processes), str(root)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(running)
        return running

    yield start
    for running in begun:
        running.kill()
        running.communicate()


def children(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in found]


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}/exe").exists()


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def cut_so_far(cache: Path) -> list[str]:
    journals = [read_journal(left) for left in cache.glob(".new-*")]
    return [line["recording"] for lines in journals for line in lines[1:]]


def goes_on(
    root: Path, cache: Path, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prepare again; only what was not done is read; all is as if undisturbed."""
    spec, read = find_dataset("eyes"), []

    def remember(source: Source) -> Recording:
        read.append(source.recording)
        return spec.read(source)

    with monkeypatch.context() as patch:
        known = dataclasses.replace(spec, read=remember)
        patch.setattr(_prepare, "find_dataset", lambda _: known)
        store = prepare("eyes", data=root, allow_partial=True, jobs=1)
    every = [source.recording for source in spec.find(root)]
    assert read == [name for name in every if name not in done]
    assert list(cache.glob(".new-*")) == []
    monkeypatch.setenv("EEGFM_CACHE", str(cache / "undisturbed"))
    whole = prepare("eyes", data=root, allow_partial=True, jobs=1)
    assert content(store) == content(whole)


def content(store: WindowStore) -> list[bytes]:
    return [file.read_bytes() for file in sorted(store.path.iterdir())]


@pytest.mark.parametrize("processes", [1, 3])
def test_a_kill_in_the_middle_costs_what_was_in_hand_alone(
    root: Path,
    cache: Path,
    begin: Begin,
    monkeypatch: pytest.MonkeyPatch,
    processes: int,
) -> None:
    running = begin(root, processes)
    wait_for(lambda: len(cut_so_far(cache)) > 8)
    cutters = children(running.pid)
    assert len(cutters) == (processes if processes > 1 else 0)
    running.kill()
    running.communicate()
    wait_for(lambda: not any(is_there(pid) for pid in cutters), 30)
    done = cut_so_far(cache)
    assert 8 < len(done) < 100
    goes_on(root, cache, done, monkeypatch)


def test_a_process_that_is_killed_is_told_and_costs_its_recording_alone(
    root: Path, cache: Path, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = begin(root, 2)
    wait_for(lambda: len(cut_so_far(cache)) > 4)
    first, second = children(running.pid)
    os.kill(first, signal.SIGKILL)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "ended by signal SIGKILL (the system was out of memory?)" in err
    assert ".edf: the process that cut this recording" in err
    assert "prepare again to go on" in err
    assert "Traceback" not in err
    assert not is_there(second)
    goes_on(root, cache, cut_so_far(cache), monkeypatch)


def test_an_interruption_leaves_no_process_and_keeps_what_is_done(
    root: Path, cache: Path, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = begin(root, 2)
    wait_for(lambda: len(cut_so_far(cache)) > 4)
    cutters = children(running.pid)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "What is done is kept" in err
    assert "Traceback" not in err
    assert not any(is_there(pid) for pid in cutters)
    goes_on(root, cache, cut_so_far(cache), monkeypatch)
