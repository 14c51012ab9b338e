"""Preparing windows: the suite beside a plain script of the same protocol.

The plain side (``_plain_prepare.py``) is one process with MNE, SciPy and an LMDB of
pickled float64 windows, as the field's public scripts have it; the suite's side is
``prepare`` with all cores. Both are whole processes from start to end and take turns;
sources are dropped from the page cache before each. Every window of the one is held
against the other's. The floor is reading the sources and writing as many bytes as the
suite's windows have.

    python benchmarks/speed/prepare.py [--data ROOT] [--only eegmat,eyes,chbmit]

With --data, EEGMAT and EEGMMIDB (eyes) are the recordings found there; CHB-MIT is
2 GB of simulated recordings at genuine lengths, and so are the others without --data.
Needs 20 GB of disk, which it gives back, and some minutes on two cores. ``--keep``
leaves the last round's windows for ``read.py``.
"""

from __future__ import annotations

import argparse
import json
import pickle
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from prepare_memory import CUT, drop_from_cache, floor, watched

HERE = Path(__file__).parent
SIZES = {"eegmat": "small", "eyes": "small", "chbmit": "2gb"}
# Between float32 of the one and float64 of the other, relative to a window's spread.
TOLERANCE = 1e-5


def main() -> None:
    """Measure every dataset, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="a root with eegmat/ and eegmmidb/")
    parser.add_argument("--only", default=",".join(SIZES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="leave stores and LMDBs here")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="eegfm-prepare-") as folder:
        for name in args.only.split(","):
            keep = args.keep or Path(folder) / "keep"
            row = measure(name, Path(folder), args.data, keep, args.rounds)
            rows.append(row)
            print(told(row), flush=True)
            if args.keep is None:
                shutil.rmtree(keep)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


def root_of(name: str, work: Path, data: Path | None) -> tuple[Path, bool]:
    """Return a root that holds a dataset, and whether it is simulated."""
    from eegfm_bench.datasets._spec import find_dataset

    spec = find_dataset(name)
    if data is not None and (data / spec.folder).is_dir() and name != "chbmit":
        return data, False
    root = work / f"root-{name}"
    if not root.exists():
        (root / spec.folder).mkdir(parents=True)
        spec.simulate(root / spec.folder, SIZES[name])
    return root, True


def measure(
    name: str, work: Path, data: Path | None, keep: Path, rounds: int
) -> dict[str, Any]:
    """Prepare by turns; return walls, peaks, sizes and the largest difference."""
    from eegfm_bench.datasets._spec import find_dataset

    root, is_simulated = root_of(name, work, data)
    sources = [s.path for s in find_dataset(name).find(root)]
    walls: dict[str, list[float]] = {"plain": [], "suite": []}
    peaks: dict[str, list[float]] = {"plain": [], "suite": []}
    database, cache = keep / f"{name}.lmdb", keep / f"{name}-cache"
    keep.mkdir(parents=True, exist_ok=True)
    for _ in range(rounds):
        for side in ("plain", "suite"):
            target = database if side == "plain" else cache
            shutil.rmtree(target, ignore_errors=True)
            drop_from_cache(sources)
            plain = [sys.executable, str(HERE / "_plain_prepare.py"), name, str(root)]
            suite = [sys.executable, "-c", CUT, name, str(root), "2"]
            said, wall_s, peak = watched(
                [*plain, str(target)] if side == "plain" else suite,
                EEGFM_CACHE=str(cache),
            )
            walls[side].append(wall_s)
            peaks[side].append(peak[0])
    store = Path(said.split()[-1])
    n_bytes = (store / "x.npy").stat().st_size
    read_s, write_s = floor(sources, work / "floor", n_bytes)
    worst, n_windows = compare(store, database)
    return {
        "dataset": name,
        "is_simulated": is_simulated,
        "n_windows": n_windows,
        "source_mb": sum(s.stat().st_size for s in sources) / 1e6,
        "plain_s": walls["plain"],
        "suite_s": walls["suite"],
        "plain_peak_mb": max(peaks["plain"]),
        "suite_peak_mb": max(peaks["suite"]),
        "plain_disk_mb": disk_mb(database),
        "suite_disk_mb": disk_mb(store),
        "floor_s": read_s + write_s,
        "largest_difference": worst,
    }


def compare(store: Path, database: Path) -> tuple[float, int]:
    """Hold every window and label of a store against an LMDB's.

    Returns
    -------
    worst : float
        The largest difference, relative to the window's own spread.
    n_windows : int

    Raises
    ------
    SystemExit
        If a window is missing, or a label or a value differs.
    """
    import lmdb

    from eegfm_bench.windows.store import WindowStore

    ours = WindowStore(store)
    worst, seen = 0.0, set()
    with lmdb.open(str(database), readonly=True) as opened, opened.begin() as reading:
        keys = pickle.loads(reading.get(b"__keys__"))  # written by this very script
        index, rows = ours.index, {}
        for row, (recording, onset_s) in enumerate(
            zip(index["recording"], index["onset_s"], strict=True)
        ):
            key = f"{recording}@{onset_s:.6f}"
            while key in rows:  # a time comes twice where windows were added
                key += "+"
            rows[key] = row
        for key in keys:
            theirs = pickle.loads(reading.get(key.encode()))
            if key not in rows or theirs["label"] != index["label"][rows[key]]:
                raise SystemExit(f"{store}: no window {key} with that label")
            seen.add(rows[key])
            x = theirs["sample"]
            difference = np.abs(ours.x[rows[key]] - x).max() / x.std()
            worst = max(worst, float(difference))
    if len(keys) != len(index) or len(seen) != len(index) or worst > TOLERANCE:
        raise SystemExit(
            f"{store}: {len(index)} windows against {len(keys)}, {len(seen)} found by "
            f"name, largest difference {worst:.1e}: the two are not the same protocol."
        )
    return worst, len(index)


def disk_mb(folder: Path) -> float:
    """Return what a folder takes on disk, in MB."""
    return sum(f.stat().st_blocks * 512 for f in folder.rglob("*")) / 1e6


def told(row: dict[str, Any]) -> str:
    """Write a dataset's figures in lines."""
    plain, suite = (statistics.median(row[f"{s}_s"]) for s in ("plain", "suite"))
    return (
        f"{row['dataset']}{' (simulated)' * row['is_simulated']}: "
        f"{row['n_windows']} windows, {row['source_mb']:.0f} MB of sources\n"
        f"  wall     plain {plain:6.1f} s   suite {suite:6.1f} s   "
        f"{plain / suite:.1f} times as fast; floor {row['floor_s']:.1f} s\n"
        f"  memory   plain {row['plain_peak_mb']:6.0f} MB  suite "
        f"{row['suite_peak_mb']:6.0f} MB (two processes)\n"
        f"  disk     plain {row['plain_disk_mb']:6.0f} MB  suite "
        f"{row['suite_disk_mb']:6.0f} MB  "
        f"{row['suite_disk_mb'] / row['plain_disk_mb']:.2f} times\n"
        f"  largest difference {row['largest_difference']:.1e} of a window's spread"
    )


if __name__ == "__main__":
    main()
