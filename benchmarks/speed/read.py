"""Reading shuffled batches: the suite's store beside an LMDB of pickles.

Both sides hand out float32 tensors of 64 windows in a random order, in this process,
by turns. The LMDB is what ``prepare.py --keep FOLDER`` left: pickled float64 windows,
read through a plain ``Dataset`` and ``DataLoader`` without worker processes. The floor
is copying as many bytes within memory: files are in the page cache after the first
round, which is not counted.

    python benchmarks/speed/prepare.py --data ROOT --keep FOLDER
    python benchmarks/speed/read.py FOLDER
"""

from __future__ import annotations

import argparse
import pickle
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

BATCH = 64
MOST_WINDOWS = 20_000


class Pickled(Dataset):
    """Windows of an LMDB, as the field's public loaders read them."""

    def __init__(self, path: Path, keys: list[str]) -> None:
        opened = lmdb.open(str(path), readonly=True, lock=False, readahead=True)
        self.reading = opened.begin()
        self.keys = keys

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
        value = pickle.loads(self.reading.get(self.keys[at].encode()))
        return torch.from_numpy(value["sample"]).float(), value["label"]


def main() -> None:
    """Measure every store below a folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for database in sorted(args.folder.glob("*.lmdb")):
        name = database.stem
        store = next((args.folder / f"{name}-cache" / "windows").glob("[!.]*"))
        print(measure(name, database, store, args.rounds), flush=True)


def measure(name: str, database: Path, folder: Path, rounds: int) -> str:
    """Return a line of windows per second for one dataset."""
    from eegfm_bench.batches import _SeededBatches, _Windows
    from eegfm_bench.windows.store import WindowStore

    store = WindowStore(folder)
    n = min(len(store.index), MOST_WINDOWS)
    with lmdb.open(str(database), readonly=True) as opened, opened.begin() as reading:
        keys = pickle.loads(reading.get(b"__keys__"))
    windows = _Windows(store, np.arange(len(store.index))[:n])
    pickled = Pickled(database, keys[:n])

    def ours(seed: int) -> Iterable[Any]:
        return DataLoader(
            windows, sampler=_SeededBatches(n, BATCH, seed), batch_size=None
        )

    def theirs(seed: int) -> Iterable[Any]:
        random = torch.Generator().manual_seed(seed)
        return DataLoader(pickled, batch_size=BATCH, shuffle=True, generator=random)

    rates: dict[str, list[float]] = {"suite": [], "lmdb": []}
    for round_ in range(rounds + 1):
        for side, loader in (("suite", ours), ("lmdb", theirs)):
            seconds, n_read = read_all(loader, round_)
            if round_:
                rates[side].append(n_read / seconds)
    suite, lmdb_rate = (statistics.median(rates[s]) for s in ("suite", "lmdb"))
    per_window = store.x[0].nbytes
    floor = copies_per_s(per_window * BATCH) * BATCH
    return (
        f"{name}: {n} windows of {per_window / 1e3:.0f} kB; suite {suite:,.0f}, LMDB "
        f"{lmdb_rate:,.0f} windows/s: {suite / lmdb_rate:.1f} times as fast; copying "
        f"alone {floor:,.0f} ({100 * suite / floor:.0f} % of it reached)"
    )


def read_all(loader: Callable[[int], Iterable[Any]], seed: int) -> tuple[float, int]:
    """Return seconds and windows of one pass."""
    started = time.perf_counter()
    n_read = 0
    for x, _ in loader(seed):
        assert x.dtype is torch.float32
        n_read += len(x)
    return time.perf_counter() - started, n_read


def copies_per_s(n_bytes: int) -> float:
    """Return how often a block can be copied within memory, a second."""
    block = np.ones(n_bytes, np.uint8)
    target = np.empty_like(block)
    best = float("inf")
    for _ in range(20):
        started = time.perf_counter()
        np.copyto(target, block)
        best = min(best, time.perf_counter() - started)
    return 1 / best


if __name__ == "__main__":
    main()
