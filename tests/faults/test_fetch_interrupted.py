"""Kills, Ctrl-C, rivals and full disks while files are fetched: it goes on."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.publishers import Publisher, published

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]

SIZE = 400_000
EEGMAT = {
    f"Subject{n:02d}_{k}.edf": os.urandom(SIZE) for n in range(36) for k in (1, 2)
}
FIRST = "/physionet.org/files/eegmat/1.0.0/Subject00_1.edf"


@pytest.fixture
def server() -> Iterator[Publisher]:
    with published() as publisher:
        publisher.physionet("eegmat/1.0.0", EEGMAT)
        yield publisher


@pytest.fixture
def begin(server: Publisher) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start to fetch in a process of one's own, which ends with the test."""
    begun: list[subprocess.Popen[str]] = []

    def start(
        root: Path, *argv: str, before: Callable[[], None] | None = None
    ) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "eegfm_bench", "fetch", "eegmat"]
        running = subprocess.Popen(
            [*command, "--data", str(root), "--mirror", server.url, *argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=before,
        )
        begun.append(running)
        return running

    yield start
    for running in begun:
        running.kill()
        running.communicate()


Begin = Callable[..., subprocess.Popen[str]]


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def is_whole(root: Path, names: list[str]) -> bool:
    """Whether these files are here and right, and nothing is left of the way."""
    home = root / "eegmat"
    left = [p.name for p in home.iterdir() if ".part" in p.name]
    return left == [] and all((home / n).read_bytes() == EEGMAT[n] for n in names)


def grown(root: Path) -> int:
    part = root / "eegmat" / "Subject00_1.edf.part"
    return part.stat().st_size if part.exists() else 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("jobs", ["1", "3"])
def test_a_process_that_is_stopped_loses_no_byte_that_was_written(
    server: Publisher, begin: Begin, tmp_path: Path, how: signal.Signals, jobs: str
) -> None:
    server.pace_s = 0.005
    running = begin(tmp_path, "--only", "0", "--jobs", jobs)
    wait_for(lambda: grown(tmp_path) > SIZE // 3)
    running.send_signal(how)
    _, err = running.communicate(timeout=30)
    assert running.returncode == (130 if how == signal.SIGINT else -how)
    assert ("goes on from there" in err) == (how == signal.SIGINT)
    assert "Traceback" not in err
    has = grown(tmp_path)
    assert not (tmp_path / "eegmat" / "Subject00_1.edf").exists()
    server.pace_s = 0.0
    done = begin(tmp_path, "--only", "0")
    assert done.wait(60) == 0
    assert server.ranges(FIRST) == [None, f"bytes={has}-"]
    assert is_whole(tmp_path, ["Subject00_1.edf", "Subject00_2.edf"])


def test_kills_at_any_moment_end_in_the_published_files(
    server: Publisher, begin: Begin, tmp_path: Path
) -> None:
    server.pace_s = 0.002  # a fifth of a second a file
    for k in range(12):
        before = len(server.asked)
        running = begin(tmp_path, "--jobs", "2")
        wait_for(lambda before=before, k=k: len(server.asked) > before + 1 + k % 4)
        time.sleep(0.025 * k)
        running.kill()
        running.communicate()
    server.pace_s = 0.0
    done = begin(tmp_path)
    assert done.wait(60) == 0
    assert is_whole(tmp_path, list(EEGMAT))
    # Some kills met a file half way, and it was gone on with.
    assert any(span is not None for _, span in server.asked)
    assert all(
        len(server.ranges(path)) < 10 for path, _ in server.asked if ".edf" in path
    )


def test_two_processes_fetch_every_file_once(
    server: Publisher, begin: Begin, tmp_path: Path
) -> None:
    both = [begin(tmp_path, "--json") for _ in range(2)]
    said = [running.communicate(timeout=60)[1] for running in both]
    assert [running.returncode for running in both] == [0, 0]
    assert any("another process fetches into" in err for err in said)
    assert all(
        len(server.ranges(path)) == 1 for path, _ in server.asked if ".edf" in path
    )
    assert is_whole(tmp_path, list(EEGMAT))


def test_a_limit_on_file_sizes_is_told_and_kept_to(
    server: Publisher, begin: Begin, tmp_path: Path
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    running = begin(tmp_path, "--only", "0", before=limit)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 2
    assert "Subject00_1.edf.part: the disk is full (File too large)" in err
    assert "after 150,000 bytes" in err
    assert "Traceback" not in err
    assert begin(tmp_path, "--only", "0").wait(60) == 0
    assert server.ranges(FIRST) == [None, "bytes=150000-"]
    assert is_whole(tmp_path, ["Subject00_1.edf"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 24 MB: what is spared, and 20 files of ours."""
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    made = subprocess.run(words, capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"cannot mount a small disk: {made.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_fills_up_is_told_and_it_goes_on_when_there_is_room(
    server: Publisher, begin: Begin, small_disk: Path
) -> None:
    running = begin(small_disk)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 2
    assert "Make room" in err
    assert "Traceback" not in err
    here = [p.name for p in small_disk.glob("eegmat/*.edf")]
    assert 5 < len(here) < 30
    remount = ["mount", "-o", "remount,size=64m", str(small_disk)]
    subprocess.run(remount, check=True)
    server.asked.clear()
    assert begin(small_disk).wait(60) == 0
    assert len([p for p, _ in server.asked if ".edf" in p]) == 72 - len(here)
    assert is_whole(small_disk, list(EEGMAT))


def test_a_disk_that_somebody_else_fills_is_told(
    server: Publisher, begin: Begin, small_disk: Path
) -> None:
    server.pace_s = 0.01
    running = begin(small_disk, "--only", "0")
    wait_for(lambda: grown(small_disk) > 50_000)
    filler = ["dd", "if=/dev/zero", f"of={small_disk}/filler", "bs=4096"]
    subprocess.run(filler, capture_output=True, check=False)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 2
    assert "the disk is full (No space left on device)" in err
    (small_disk / "filler").unlink()
    has, server.pace_s = grown(small_disk), 0.0
    assert begin(small_disk, "--only", "0").wait(60) == 0
    assert server.ranges(FIRST)[-1] == f"bytes={has}-"
    assert is_whole(small_disk, ["Subject00_1.edf"])
