"""Where things lie on this computer.

From: options and two environment variables, read when asked for and never on
import. To: the data root and the cache.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from eegfm_bench.errors import DataMissing

SIMULATED = (
    "SIMULATED RECORDINGS: no data root was given (--data ROOT, data=ROOT or "
    "EEGFM_DATA), so every number is of simulated twins and says nothing about real "
    "EEG."
)


def data_root(given: str | Path | None) -> Path | None:
    """Return the data root: the one given, else ``EEGFM_DATA``, else None.

    Raises
    ------
    DataMissing
        If the folder named does not exist.
    """
    if given is not None and not str(given).strip():
        raise DataMissing(
            "The data root given is empty. Name the folder that holds eegmat/, "
            "eegmmidb/ …, or leave it out altogether for simulated twins."
        )
    named = given or os.environ.get("EEGFM_DATA")
    if not named:
        return None
    root = Path(named).expanduser()
    if not root.is_dir():
        source = "--data" if given else "EEGFM_DATA"
        raise DataMissing(
            f"The data root {root} (from {source}) is not a folder. Give the folder "
            f"that holds eegmat/, eegmmidb/ …, or leave it out for simulated twins."
        )
    return root.resolve()


def cache_root() -> Path:
    """Return the folder for windows and twins: ``EEGFM_CACHE``, else the user's."""
    named = os.environ.get("EEGFM_CACHE")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "eegfm-bench"


def source_folder(root: Path, name: str) -> Path | None:
    """Return a publisher's folder below the root, or None.

    Below ``root/name`` a version folder ("1.0.0", "files") is stepped through.

    Raises
    ------
    DataMissing
        If there are two version folders: which one is meant cannot be told.
    """
    folder = root / name
    if not folder.is_dir():
        return None
    for _ in range(2):
        inner = [
            sub
            for sub in sorted(folder.iterdir())
            if sub.is_dir() and re.fullmatch(r"files|v?\d+(\.\d+)+", sub.name)
        ]
        if len(inner) > 1:
            raise DataMissing(
                f"{folder} holds {len(inner)} versions "
                f"({', '.join(sub.name for sub in inner)}). Keep one."
            )
        if not inner:
            return folder
        folder = inner[0]
    return folder
