"""A large set on an ordinary machine: time and memory of cutting and training.

Writes 2 GB of simulated CHB-MIT (two cases at genuine lengths, 4 h recordings among
them), cuts it with one process and with two, and trains two models on the windows for
an epoch. Memory is the sum of ``RssAnon`` over all processes of a command, at its
highest of ten looks a second: what the system must keep, without pages of files,
which it may drop at any time. Sources are dropped from the page cache before each
cut. The floor is reading the sources and writing as many bytes as the windows have.

    python benchmarks/speed/prepare_memory.py [--root FOLDER]

Needs 7 GB of disk, which it gives back, and three to four minutes on two cores.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

DATASET = "chbmit"
LIMIT_MB = 3000
CUT = """
import sys
from eegfm_bench.datasets._prepare import prepare
name, root, jobs = sys.argv[1:]
store = prepare(name, data=root, allow_partial=True, jobs=int(jobs))
print(store.path)
"""


def main() -> None:
    """Measure, print a table, clean up."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, help="keep or find the recordings here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="eegfm-memory-") as folder:
        measure(Path(folder), args.root or Path(folder) / "root")


def measure(work: Path, root: Path) -> None:
    """Cut and train below a work folder; recordings lie or come below the root."""
    if not (root / DATASET).exists():
        started = time.perf_counter()
        simulate(root)
        print(f"simulated in {time.perf_counter() - started:.0f} s")
    sources = sorted(root.glob("*/*/*.edf"))
    n_read = sum(source.stat().st_size for source in sources)

    stores, walls = {}, {}
    for jobs in (1, 2):
        drop_from_cache(sources)
        said, walls[jobs], peaks = watched(
            [sys.executable, "-c", CUT, DATASET, str(root), str(jobs)],
            EEGFM_CACHE=str(work / f"cache{jobs}"),
        )
        stores[jobs] = Path(said.split()[-1])
        n_written = (stores[jobs] / "x.npy").stat().st_size
        print(
            f"cut, {jobs} process{'es' * (jobs > 1)}: {walls[jobs]:.1f} s, "
            f"{n_read / walls[jobs] / 1e6:.0f} MB/s read, "
            f"{n_written / walls[jobs] / 1e6:.0f} MB/s written; peak RssAnon "
            f"{peaks[0]:.0f} MB in all, {peaks[1]:.0f} MB in one process"
        )
    same = {digest(store / "x.npy") for store in stores.values()}
    print(
        f"windows {'equal' if len(same) == 1 else 'DIFFER'}: {n_written / 1e9:.2f} GB"
    )
    print(f"one process against two: {walls[1] / walls[2]:.2f} times as long")
    shutil.rmtree(work / "cache1")

    drop_from_cache(sources)
    read_s, write_s = floor(sources, work / "floor", n_written)
    print(
        f"floor: {read_s:.1f} s to read + {write_s:.1f} s to write and sync = "
        f"{read_s + write_s:.1f} s; two processes take "
        f"{walls[2] / (read_s + write_s):.1f} times that"
    )
    for model, more in (("bandpower", ()), ("eegnet", ("--epochs", "1"))):
        drop_from_cache([stores[2] / "x.npy"])
        argv = [sys.executable, "-m", "eegfm_bench", "run", "--model", model]
        argv += ["--dataset", DATASET, "--seeds", "1", "--jobs", "1", "--yes", *more]
        argv += ["--data", str(root), "--allow-partial", "--device", "cpu"]
        _, wall_s, peaks = watched(
            [*argv, "--runs", str(work / "runs")], EEGFM_CACHE=str(work / "cache2")
        )
        verdict = "below" if peaks[0] < LIMIT_MB else "NOT BELOW"
        print(
            f"{model}, 1 epoch: {wall_s:.1f} s; peak RssAnon {peaks[0]:.0f} MB, "
            f"{verdict} {LIMIT_MB} MB"
        )


def simulate(root: Path) -> None:
    """Write the 2 GB twin below a root."""
    from eegfm_bench.datasets._spec import find_dataset

    (root / DATASET).mkdir(parents=True)
    find_dataset(DATASET).simulate(root / DATASET, "2gb")


def watched(argv: list[str], **env: str) -> tuple[str, float, tuple[float, float]]:
    """Run a command; return its output, seconds, and peak MB in all and in one."""
    started = time.perf_counter()
    running = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[1:]), **env},
    )
    most_mb = most_of_one_mb = 0.0
    while running.poll() is None:
        each_mb = [anonymous_mb(pid) for pid in family(running.pid)]
        most_mb = max(most_mb, sum(each_mb))
        most_of_one_mb = max(most_of_one_mb, *each_mb, 0.0)
        time.sleep(0.1)
    wall_s = time.perf_counter() - started
    said = running.communicate()[0]
    if running.returncode:
        raise SystemExit(f"{' '.join(argv)} ended with status {running.returncode}")
    return said, wall_s, (most_mb, most_of_one_mb)


def family(pid: int) -> Iterator[int]:
    """Yield a process and all that came from it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from family(int(child))


def anonymous_mb(pid: int) -> float:
    """Return a process's resident memory that belongs to no file, in MB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    found = [line.split()[1] for line in lines if line.startswith("RssAnon")]
    return int(found[0]) * 1024 / 1e6 if found else 0.0


def drop_from_cache(paths: list[Path]) -> None:
    """Have the system forget files' pages, as far as it will."""
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def floor(sources: list[Path], target: Path, n_bytes: int) -> tuple[float, float]:
    """Return seconds to read all sources, and to write and sync so many bytes."""
    block = bytearray(8 << 20)
    started = time.perf_counter()
    for source in sources:
        with source.open("rb", buffering=0) as file:
            while file.readinto(block):
                pass
    read = time.perf_counter()
    block[:] = os.urandom(len(block))
    with target.open("wb", buffering=0) as file:
        for _ in range(n_bytes // len(block)):
            file.write(block)
        os.fsync(file.fileno())
    written = time.perf_counter()
    target.unlink()
    return read - started, written - read


def digest(path: Path) -> str:
    """Return a file's sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
