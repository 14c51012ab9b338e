"""Kills, full disks, rivals: nothing is lost and nothing is half-written.

Run with ``make test-faults``; a real small disk needs root, to mount it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def command(runs: Path, *more: str, model: str = "eegnet") -> list[str]:
    argv = [sys.executable, "-m", "eegfm_bench", "run", "--model", model]
    argv += ["--dataset", "eegmat", "--scale", "small", "--runs", str(runs)]
    return [*argv, "--jobs", str(os.cpu_count() or 1), *more]


def call(argv: list[str], **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, env={**os.environ, **env}
    )


def workers_of(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(stat.parent.name))
    return found


def wait_for(condition: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def test_a_killed_worker_costs_its_cell_and_says_so(tmp_path: Path) -> None:
    argv = command(tmp_path, "--seeds", "3", "--json", "--epochs", "400", "--yes")
    running = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: list(tmp_path.glob(".claims/*")))
    time.sleep(1.0)
    victim = workers_of(running.pid)[0]
    os.kill(victim, signal.SIGKILL)
    out, _ = running.communicate(timeout=500)
    assert running.returncode == 1
    records = json.loads(out)["records"]
    failed = [r for r in records if "failure" in r]
    assert len(records) == 3
    assert len(failed) == 1
    assert failed[0]["failure"]["kind"] == "WorkerDied"
    assert "SIGKILL" in failed[0]["failure"]["message"]


def test_workers_go_when_their_parent_is_killed(tmp_path: Path) -> None:
    argv = command(tmp_path, "--seeds", "2", "--epochs", "3000", "--yes")
    running = subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for(lambda: list(tmp_path.glob(".claims/*")))
    workers = workers_of(running.pid)
    assert workers
    running.kill()
    running.wait()
    wait_for(lambda: not any(Path(f"/proc/{w}/exe").exists() for w in workers), 30)
    assert list(tmp_path.glob("eegnet*")) == []


def test_two_sweeps_of_one_folder_share_the_work(tmp_path: Path) -> None:
    argv = command(tmp_path, "--seeds", "4", "--json", "--epochs", "60", "--yes")
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outs = [json.loads(p.communicate(timeout=500)[0]) for p in both]
    assert [p.returncode for p in both] == [0, 0]
    assert outs[0]["records"] == outs[1]["records"]
    assert len(outs[0]["records"]) == 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 6 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"cannot mount a small disk: {made.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_under_the_windows(small_disk: Path, tmp_path: Path) -> None:
    from eegfm_bench.datasets._prepare import twin_root
    from eegfm_bench.datasets._spec import find_dataset

    root = str(twin_root(find_dataset("eegmat")))
    argv = command(tmp_path / "runs", "--data", root, "--allow-partial")
    cache = small_disk / "cache"
    done = call(argv, EEGFM_CACHE=str(cache))
    assert done.returncode == 2
    assert "too full" in done.stderr
    assert "EEGFM_CACHE" in done.stderr
    assert "Traceback" not in done.stderr
    left = [p for p in (cache / "windows").iterdir() if p.is_dir()]
    assert left == []


def test_a_full_disk_under_the_records(small_disk: Path) -> None:
    runs = small_disk / "runs"
    argv = command(runs, "--seeds", "2", model="chance")
    assert call(argv).returncode == 0
    filler = small_disk / "filler"
    subprocess.run(
        ["dd", "if=/dev/zero", f"of={filler}", "bs=4096"],
        capture_output=True,
        check=False,
    )
    assert shutil.disk_usage(small_disk).free == 0
    more = command(runs, "--seeds", "4", model="chance")
    done = call(more)
    assert done.returncode in (1, 2)
    assert "is full" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(list(runs.glob("chance*/record.json"))) == 2
    filler.unlink()
    assert call(more).returncode == 0
    assert len(list(runs.glob("chance*/record.json"))) == 4
