"""What was fetched into a data root: a line for each file, and who fetches now.

From: downloads. To: ``<root>/.fetched.jsonl``, with the size and sums of every file;
``fetch`` believes it, and ``--verify-sums`` holds the files against it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LEDGER = ".fetched.jsonl"
LOCK = ".fetching"


class Ledger:
    """What was fetched into a root: the last line of a path counts."""

    def __init__(self, root: Path) -> None:
        self.file = root / LEDGER
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Any]] = {}
        self.read()

    def read(self) -> None:
        """Read it anew; a line cut short by a kill counts for nothing."""
        self._known = {}
        with contextlib.suppress(FileNotFoundError):
            for line in self.file.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    row = json.loads(line)
                    self._known[row["path"]] = row

    def get(self, path: str) -> dict[str, Any] | None:
        """Return what is known of a path."""
        found = self._known.get(path)
        return found if found is not None and "size" in found else None

    def put(self, path: str, **more: Any) -> None:
        """Know more of a path: a line, whole, whatever another process adds."""
        self._add({**self._known.get(path, {}), "path": path, **more})

    def drop(self, path: str) -> None:
        """Know no more of a path."""
        self._add({"path": path})

    def _add(self, row: dict[str, Any]) -> None:
        row["at"] = datetime.now(UTC).isoformat("T", "seconds")
        with self._lock, self.file.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # After a line cut short by a kill comes one of its own.
            if file.seek(0, 2) and file.seek(-1, 2) >= 0 and file.read(1) != b"\n":
                file.write(b"\n")
            file.write(json.dumps(row).encode() + b"\n")
            self._known[row["path"]] = row


@contextmanager
def alone(
    home: Path, stop: threading.Event, say: Callable[[str], None]
) -> Iterator[None]:
    """Hold a folder for this process; another waits, and says so. A kill frees it."""
    with (home / LOCK).open("a+") as lock:
        has_said = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not has_said:
                    say(f"another process fetches into {home}: waiting for it")
                has_said = True
                if stop.wait(0.2):
                    raise KeyboardInterrupt from None
        yield
