"""Windows on disk: written once, whole or not at all, then read in place.

From: ``cut``. To: ``EEGDataModule`` and every user of ``prepare``. A store is a
folder: ``x.npy`` (N, C, T) float32 in µV, ``index.parquet``, ``manifest.json``. While
it is written its name begins with a dot, and a journal says which recordings' rows
are on disk, so that whoever comes after a kill goes on from there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import pandas as pd

from eegfm_bench.errors import StoreError
from eegfm_bench.symbols import PARTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEW = ".new-"
_JOURNAL = "journal.jsonl"
_SYNC_EVERY_S = 1.0
_SYNC_ABOVE_BYTES = 8 << 20
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

    @property
    def sequence(self) -> int:
        """How many consecutive windows are judged together; most often 1."""
        return int(self.manifest["recipe"].get("sequence", 1))

    @cached_property
    def x(self) -> NDArray[np.float32]:
        """Windows (N, C, T) in µV, a read-only memory map."""
        x: NDArray[np.float32] = np.load(self.path / "x.npy", mmap_mode="r")
        return x

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read windows (B, C, T) in µV into memory: these, in this order.

        Unlike indexing ``x``, this maps no file: the pages of a large store stay the
        system's to drop, and do not count as this process's memory.
        """
        rows = np.asarray(rows, np.int64)
        x = np.empty((len(rows), *self.x.shape[1:]), np.float32)
        if rows.size and not 0 <= rows.min() <= rows.max() < len(self.x):
            raise IndexError(f"a row is outside 0…{len(self.x) - 1}")
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        for start, stop in pairwise((*starts.tolist(), len(rows))):
            self._read_into(x[start:stop], int(rows[start]))
        return x

    def _read_into(self, x: NDArray[np.float32], row: int) -> None:
        left = x.data.cast("B")
        at = self._offset + row * (x.nbytes // len(x))
        while left:
            n_read = os.preadv(self._file, [left], at)
            if n_read == 0:
                raise StoreError(
                    f"The window store {self.path} ended while it was read. Delete "
                    f"that folder and prepare again."
                )
            left, at = left[n_read:], at + n_read

    @cached_property
    def _file(self) -> int:
        number = os.open(self.path / "x.npy", os.O_RDONLY)
        weakref.finalize(self, os.close, number)
        return number

    @cached_property
    def _offset(self) -> int:
        return _first_byte(self.path / "x.npy")

    def __reduce__(self) -> tuple[type[WindowStore], tuple[Path]]:
        """Travel to another process as a path, not as windows."""
        return WindowStore, (self.path,)

    def rows(self, part: str) -> NDArray[np.int64]:
        """Return the row numbers of one part."""
        return np.flatnonzero(self.index["part"].to_numpy() == part)

    def counts(self) -> dict[str, int]:
        """Return the number of windows in each part."""
        return {part: len(self.rows(part)) for part in PARTS}


class UnfinishedStore:
    """A store in the making: rows first, then a line in its journal, at last a name.

    Use as a context manager, by one process at a time (see ``only_writer``): what is
    left at the end without ``finish`` stays for the next writer with the same
    ``plan`` if any recording is done, and is removed otherwise.

    Parameters
    ----------
    path : path
        The folder to be.
    index : DataFrame (N rows)
        What the windows are.
    window_shape : tuple
        (C, T).
    plan : dict
        All that decides the rows beside the index, and ``root``, where the sources
        lie: work of another plan is not taken up.
    is_sifted : bool
        Whether some windows may turn out not to be kept: no room is then reserved for
        them, and ``finish`` puts the others together.

    Attributes
    ----------
    x_path : path
        ``x.npy``, of its full size from the beginning.
    done : dict
        What was noted of each recording whose rows are on disk.

    Raises
    ------
    StoreError
        If the disk is too small or fills up.
    """

    def __init__(
        self,
        path: Path,
        *,
        index: pd.DataFrame,
        window_shape: tuple[int, int],
        plan: dict[str, Any],
        is_sifted: bool = False,
    ) -> None:
        self._path = path
        self._is_sifted = is_sifted
        self._index = index.loc[:, list(INDEX_COLUMNS)]
        self._shape = (len(index), *window_shape)
        self._plan = {**plan, "shape": self._shape, "index": _digest(self._index)}
        self._new = path.parent / f"{NEW}{path.name}"
        self._need = 4 * int(np.prod(self._shape)) + 200 * len(index) + 65536
        self.x_path = self._new / "x.npy"
        self.done: dict[str, dict[str, Any]] = {}
        self._n_windows = Counter(self._index["recording"])
        self._waiting: list[dict[str, Any]] = []
        self._synced = time.monotonic()
        self._journal: TextIO | None = None

    def __enter__(self) -> UnfinishedStore:
        try:
            self.done = self._resume()
            if not self.done:
                self._begin()
            self._journal = (self._new / _JOURNAL).open("a", encoding="utf-8")
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._journal is not None:
            with self._journal:
                self._keep()
        if not self.done:
            shutil.rmtree(self._new, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(self._path.parent).free
            raise _no_room(
                self._path.parent, self._need, free, kept=len(self.done)
            ) from error

    def _begin(self) -> None:
        shutil.rmtree(self._new, ignore_errors=True)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._path.parent).free
        if self._need > free:
            raise _no_room(self._path.parent, self._need, free)
        self._new.mkdir()
        np.lib.format.open_memmap(
            self.x_path, mode="w+", dtype=np.float32, shape=self._shape
        )
        # Reserve the blocks now: a map onto a full disk ends in SIGBUS.
        with self.x_path.open("r+b") as file:
            if not self._is_sifted:
                os.posix_fallocate(file.fileno(), 0, self.x_path.stat().st_size)
            os.fsync(file.fileno())
        with (self._new / _JOURNAL).open("w", encoding="utf-8") as journal:
            _write_lines(journal, [self._plan])

    def _resume(self) -> dict[str, dict[str, Any]]:
        """Return what a killed writer of the same plan had done; else nothing."""
        lines = read_journal(self._new)
        same = json.loads(json.dumps(self._plan))
        if not lines or lines[0] != same or not self.x_path.exists():
            return {}
        done = {line["recording"]: line["noted"] for line in lines[1:]}
        if not self._is_packed(done):
            n_bytes = _first_byte(self.x_path) + 4 * int(np.prod(self._shape))
            if self.x_path.stat().st_size != n_bytes:
                return {}
        # A line cut short by the kill must not run into the next one.
        journal = self._new / _JOURNAL
        os.truncate(journal, journal.read_bytes().rindex(b"\n") + 1)
        return done

    def commit(self, recording: str, noted: dict[str, Any]) -> None:
        """Take note that a recording's rows are written.

        The rows are brought to the disk first, then the journal's line. Small
        recordings wait for one another, up to a second, for the sake of the disk.
        """
        self.done[recording] = noted
        self._waiting.append({"recording": recording, "noted": noted})
        n_bytes = self._n_windows[recording] * 4 * int(np.prod(self._shape[1:]))
        is_late = time.monotonic() - self._synced > _SYNC_EVERY_S
        if n_bytes > _SYNC_ABOVE_BYTES or is_late:
            self._sync()

    def _keep(self) -> None:
        """Save what is done when the writing ends early."""
        try:
            if self._waiting:
                self._sync()
        except OSError:
            for line in self._waiting:
                del self.done[line["recording"]]

    def _sync(self) -> None:
        assert self._journal is not None
        with self.x_path.open("r+b") as x:
            os.fsync(x.fileno())
        _write_lines(self._journal, self._waiting)
        self._waiting.clear()
        self._synced = time.monotonic()

    def finish(self, manifest: dict[str, Any]) -> WindowStore:
        """Give the store its index, its manifest (without the shape) and its name.

        Windows noted as ``left_out`` are in neither ``x`` nor the index.
        """
        self._sync()
        is_kept, rows = self._kept()
        shape = (len(rows), *self._shape[1:])
        self._index[is_kept].to_parquet(self._new / "index.parquet", index=False)
        if len(rows) < len(self._index) and not self._is_packed(self.done):
            _pack(self.x_path, rows, self._shape)
        text = json.dumps({**manifest, "shape": shape}, indent=1, ensure_ascii=False)
        (self._new / "manifest.json").write_text(text + "\n", encoding="utf-8")
        self._new.rename(self._path)
        (self._path / _JOURNAL).unlink()
        return WindowStore(self._path)

    @property
    def kept(self) -> pd.DataFrame:
        """The index's rows less the windows noted as ``left_out`` so far."""
        return self._index[self._kept()[0]]

    def _kept(self) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return which planned windows are kept, and in which rows those lie."""
        is_kept = np.ones(len(self._index), bool)
        row = np.arange(len(self._index))
        places = self._index.groupby("recording", sort=False).indices
        for recording, noted in self.done.items():
            if left_out := noted.get("left_out"):
                at = places[recording]
                is_kept[at[left_out]] = False
                row[at[is_kept[at]]] = at[: len(at) - len(left_out)]
        return is_kept, row[is_kept]

    def _is_packed(self, done: dict[str, dict[str, Any]]) -> bool:
        """Whether a writer was killed after it had put the kept windows together."""
        n_left_out = sum(len(noted.get("left_out", ())) for noted in done.values())
        if not n_left_out or not self._n_windows.keys() <= done.keys():
            return False
        shape = (self._shape[0] - n_left_out, *self._shape[1:])
        n_bytes = _first_byte(self.x_path) + 4 * int(np.prod(shape))
        return self.x_path.stat().st_size == n_bytes


def _pack(x_path: Path, rows: NDArray[np.int64], shape: tuple[int, ...]) -> None:
    """Have an array's file hold these of its rows alone, all at once or not at all."""
    packed = x_path.with_name(".packed.npy")
    n_bytes = 4 * int(np.prod(shape[1:]))
    at_once = max(1, _SYNC_ABOVE_BYTES // n_bytes)
    # Runs of rows that lie together, and none too long for the memory.
    starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
    with packed.open("wb") as out, x_path.open("rb") as x:
        first = _first_byte(x_path)
        np.lib.format.write_array_header_1_0(
            out,
            {"descr": "<f4", "fortran_order": False, "shape": (len(rows), *shape[1:])},
        )
        for start, stop in pairwise((*starts.tolist(), len(rows))):
            for at in range(start, stop, at_once):
                x.seek(first + int(rows[at]) * n_bytes)
                out.write(x.read(min(at_once, stop - at) * n_bytes))
        out.flush()
        os.fsync(out.fileno())
    packed.rename(x_path)


def write_rows(x_path: Path, first: int, blocks: Iterable[NDArray[np.float32]]) -> None:
    """Write blocks of windows (n, C, T) one after the other, from row ``first`` on.

    Several processes may write disjoint rows of one store at the same time.
    """
    at = _first_byte(x_path)
    with x_path.open("r+b", buffering=0) as file:
        for x in blocks:
            if file.tell() == 0:
                file.seek(at + first * x[0].nbytes)
            left = np.ascontiguousarray(x).data.cast("B")
            while left:
                left = left[file.write(left) :]


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a journal: the plan, then a line a recording."""
    try:
        text = (folder / _JOURNAL).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.split("\n")[:-1]]
    except (OSError, ValueError):
        return []


def remove_stale(path: Path, root: str) -> None:
    """Remove unfinished stores of the same protocol and root that cannot be resumed.

    Their sources have changed since, so that their name will not come again. What
    another process still writes, and what lies under another root, stays.
    """
    protocol = path.name.rpartition("-")[0]
    for left in path.parent.glob(f"{NEW}{protocol}-*"):
        name = left.name.removeprefix(NEW)
        plan = next(iter(read_journal(left)), {})
        if name == path.name or plan.get("root", root) != root:
            continue
        with (
            (path.parent / f".lock-{name}").open("w") as lock,
            contextlib.suppress(BlockingIOError),
        ):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold one folder-to-be for this process; others wait their turn.

    The lock goes with its process. Leftovers of writers that were killed are
    removed once nobody can still be writing them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".lock-{path.name}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in path.parent.glob(f"{NEW}{path.name}-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _first_byte(x_path: Path) -> int:
    """Return where the values begin in an array's file."""
    with x_path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        return file.tell()


def _digest(index: pd.DataFrame) -> str:
    rows = pd.util.hash_pandas_object(index, index=False).to_numpy()
    return hashlib.sha256(rows.tobytes()).hexdigest()[:16]


def _write_lines(journal: TextIO, lines: list[dict[str, Any]]) -> None:
    journal.write("".join(json.dumps(line) + "\n" for line in lines))
    journal.flush()
    os.fsync(journal.fileno())


def _no_room(where: Path, need: int, free: int, *, kept: int = 0) -> StoreError:
    left = (
        f"The windows of {kept} recordings are kept: prepare again to go on."
        if kept
        else "Nothing was left behind."
    )
    return StoreError(
        f"The disk under {where} is too full: {need / 1e6:,.1f} MB are needed, "
        f"{free / 1e6:,.1f} MB are free. Make room, or set EEGFM_CACHE to a folder on "
        f"another disk. {left}"
    )
