"""The folder of answered questions.

From: records. To: tables, gates, and ``missing(specs)``, which is the whole
scheduler: a run is done, failed or absent, and that is read from disk alone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from eegfm_bench.errors import StoreError
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.spec import RunSpec

# Where a run's tested model lies within the run's folder, if it was kept.
MODEL_FOLDER = "model"


class ResultStore:
    """Records under one root, each in the folder of its run id.

    A run's folder appears whole, by one rename: a killed process leaves at most
    a hidden folder that nobody reads.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def path(self, run_id: str) -> Path:
        """Return the folder of a run."""
        return self.root / run_id

    def get(self, run_id: str) -> RunRecord | None:
        """Return a run's record, or None when it has none.

        Raises
        ------
        StoreError
            If the record is there but damaged.
        """
        file = self.path(run_id) / "record.json"
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(
                f"The record {file} cannot be read ({error}). Delete its folder, or "
                f"run the cell again with --force."
            ) from error
        return RunRecord.from_json(text, where=str(file))

    def put(
        self, record: RunRecord, write_beside: Callable[[Path], None] | None = None
    ) -> Path:
        """Write a record, and what belongs beside it, all or nothing.

        Parameters
        ----------
        record : RunRecord
            Replaces whatever this run had before.
        write_beside : function of a folder
            Writes further files (predictions) into the folder it is given.

        Raises
        ------
        StoreError
            If the disk is full.
        """
        try:
            return self._put(record, write_beside)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise StoreError(
                f"The disk under {self.root} is full, so the record of "
                f"{record.run_id} could not be written; nothing half-written was left "
                f"behind. Make room and run the same command again."
            ) from error

    def _put(
        self, record: RunRecord, write_beside: Callable[[Path], None] | None
    ) -> Path:
        self.root.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root))
        try:
            new.chmod(0o755)
            if write_beside is not None:
                write_beside(new)
            file = new / "record.json"
            with file.open("w", encoding="utf-8") as out:
                out.write(record.to_json())
                out.flush()
                os.fsync(out.fileno())
            target = self.path(record.run_id)
            if target.exists():
                old = Path(tempfile.mkdtemp(prefix=".old-", dir=self.root))
                target.rename(old / "run")
                new.rename(target)
                shutil.rmtree(old, ignore_errors=True)
            else:
                new.rename(target)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        return target

    def missing(
        self, specs: Iterable[RunSpec], *, retry_failed: bool = False
    ) -> list[RunSpec]:
        """Return the specs that still need to run, in the order given."""
        todo = []
        for spec in specs:
            record = self.get(spec.run_id)
            if record is not None and record.spec != spec:
                raise StoreError(
                    f"{self.path(spec.run_id)} answers another question than its name "
                    f"says. Move that folder away and run again."
                )
            if record is None or (retry_failed and not record.is_done):
                todo.append(spec)
        return todo

    def without_model(
        self, specs: Iterable[RunSpec], *, but: Iterable[RunSpec]
    ) -> list[str]:
        """Return the ids of runs that are done, but whose model was not kept."""
        again = {spec.run_id for spec in but}
        found = []
        for spec in specs:
            record = None if spec.run_id in again else self.get(spec.run_id)
            if record is not None and record.is_done:
                found += [] if self.has_model(spec.run_id) else [spec.run_id]
        return found

    def has_model(self, run_id: str) -> bool:
        """Return whether a run's tested model lies beside its record."""
        return (self.path(run_id) / MODEL_FOLDER).is_dir()

    def records(self) -> Iterator[RunRecord]:
        """Yield every record under the root, in the order of run ids."""
        for file in sorted(self.root.glob("[!.]*/record.json")):
            record = self.get(file.parent.name)
            if record is not None:
                yield record

    @contextmanager
    def claim(self, run_id: str) -> Iterator[bool]:
        """Hold a run for this process; yields False when another holds it.

        The lock goes with the process that holds it, however that ends.
        """
        folder = self.root / ".claims"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / run_id).open("w") as lock:
            taken = _try_lock(lock)
            try:
                yield taken
            finally:
                if taken:
                    (folder / run_id).unlink(missing_ok=True)


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # A holder that finished between our open and our lock has unlinked the
    # name: the lock is then on a file nobody else can find.
    try:
        return os.fstat(file.fileno()).st_ino == Path(file.name).stat().st_ino
    except FileNotFoundError:
        return False
