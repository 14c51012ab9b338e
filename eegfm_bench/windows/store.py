"""Windows on disk: written once, whole or not at all, then memory-mapped.

From: ``cut``. To: ``EEGDataModule`` and every user of ``prepare``. A store is a
folder: ``x.npy`` (N, C, T) float32 in µV, ``index.parquet``, ``manifest.json``.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from eegfm_bench.errors import StoreError
from eegfm_bench.symbols import PARTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

INDEX_COLUMNS = (
    "subject",
    "session",
    "recording",
    "onset_s",
    "label",
    "part",
    "person",
)


class WindowStore:
    """A written store, opened for reading.

    Attributes
    ----------
    x : memory map (N, C, T)
        Windows in µV, float32, read-only.
    index : DataFrame (N rows)
        ``subject session recording onset_s label part person``; row i is ``x[i]``.
    manifest : dict
        Protocol, recipe, fingerprint, counts, and what was dropped or odd.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.manifest: dict[str, Any] = json.loads(
                (path / "manifest.json").read_text(encoding="utf-8")
            )
            self.index = pd.read_parquet(path / "index.parquet")
        except (OSError, ValueError) as error:
            raise StoreError(
                f"The window store {path} is damaged ({error}). Delete that folder and "
                f"prepare again."
            ) from error
        shape = tuple(self.manifest["shape"])
        x_bytes = (path / "x.npy").stat().st_size if (path / "x.npy").exists() else 0
        if len(self.index) != shape[0] or x_bytes < 4 * int(np.prod(shape)):
            raise StoreError(
                f"The window store {path} is damaged: {shape[0]} windows of "
                f"{shape[1]} × {shape[2]} promised, {len(self.index)} index rows and "
                f"{x_bytes:,} bytes found. Delete that folder and prepare again."
            )

    @cached_property
    def x(self) -> NDArray[np.float32]:
        """Windows (N, C, T) in µV, a read-only memory map."""
        x: NDArray[np.float32] = np.load(self.path / "x.npy", mmap_mode="r")
        return x

    def rows(self, part: str) -> NDArray[np.int64]:
        """Return the row numbers of one part."""
        return np.flatnonzero(self.index["part"].to_numpy() == part)

    def counts(self) -> dict[str, int]:
        """Return the number of windows in each part."""
        return {part: len(self.rows(part)) for part in PARTS}


def write_store(
    path: Path,
    *,
    index: pd.DataFrame,
    window_shape: tuple[int, int],
    fill: Callable[[NDArray[np.float32]], dict[str, Any]],
) -> WindowStore:
    """Write a store in a folder that appears whole.

    Parameters
    ----------
    path : path
        The folder to be.
    index : DataFrame (N rows)
        What the windows are.
    window_shape : tuple
        (C, T).
    fill : function of the map (N, C, T)
        Writes every window in µV; returns the manifest without its shape.

    Raises
    ------
    StoreError
        If the disk is too small or fills up; nothing is left behind.
    """
    shape = (len(index), *window_shape)
    need = 4 * int(np.prod(shape)) + 200 * len(index) + 65536
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if need > free:
        raise _no_room(path.parent, need, free)
    new = Path(tempfile.mkdtemp(prefix=f".new-{path.name}-", dir=path.parent))
    try:
        new.chmod(0o755)
        x = np.lib.format.open_memmap(
            new / "x.npy", mode="w+", dtype=np.float32, shape=shape
        )
        # Reserve the blocks now: a map onto a full disk ends in SIGBUS.
        with (new / "x.npy").open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, (new / "x.npy").stat().st_size)
        manifest = fill(x)
        x.flush()
        del x
        index.loc[:, list(INDEX_COLUMNS)].to_parquet(new / "index.parquet", index=False)
        text = json.dumps({**manifest, "shape": shape}, indent=1, ensure_ascii=False)
        (new / "manifest.json").write_text(text + "\n", encoding="utf-8")
        new.rename(path)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(path.parent).free
            raise _no_room(path.parent, need, free) from error
        raise
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return WindowStore(path)


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold one folder-to-be for this process; others wait their turn.

    The lock goes with its process. Leftovers of writers that were killed are
    removed once nobody can still be writing them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".lock-{path.name}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in path.parent.glob(f".new-{path.name}-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _no_room(where: Path, need: int, free: int) -> StoreError:
    return StoreError(
        f"The disk under {where} is too full: {need / 1e6:,.1f} MB are needed, "
        f"{free / 1e6:,.1f} MB are free. Make room, or set EEGFM_CACHE to a folder on "
        f"another disk. Nothing was left behind."
    )
