"""A report as a folder: whole or not there, and nobody else's folder is replaced.

From: the texts of ``pages``. To: files beside each other, with ``report.json``, by
which a later report knows its own.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eegfm_bench.errors import StoreError, listed

MANIFEST = "report.json"
MADE_BY = "eegfm-bench report"


def write_site(folder: Path, files: Mapping[str, str], about: Mapping[str, Any]) -> int:
    """Write a report, in place of an earlier one.

    Parameters
    ----------
    folder : path
        Made with the folders above it.
    files : mapping of name to text
    about : mapping
        Further fields of ``report.json``.

    Returns
    -------
    n_bytes : int
        Of all files together.

    Raises
    ------
    StoreError
        If the folder holds anything that no report wrote.
    """
    refuse_foreign(folder)
    manifest = {
        "made_by": MADE_BY,
        "version": 1,
        **about,
        "files": {name: len(text.encode()) for name, text in sorted(files.items())},
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        new = aside / "new"
        new.mkdir()
        for name, content in {**files, MANIFEST: text}.items():
            (new / name).write_text(content, encoding="utf-8")
        _put(new, folder, aside / "old")
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return sum(len(content.encode()) for content in files.values()) + len(text.encode())


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder with anything in it that an earlier report did not write.

    Raises
    ------
    StoreError
        Naming what is there.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    way_out = "Name another folder with --out, or move this one away."
    if folder.is_symlink() or not folder.is_dir():
        raise StoreError(
            f"{folder} is no plain folder, and a report would replace it. {way_out}"
        )
    present = sorted(path.name for path in folder.iterdir())
    if not present:
        return
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        is_ours = manifest["made_by"] == MADE_BY
        written = {*manifest["files"], MANIFEST}
    except (OSError, ValueError, KeyError, TypeError):
        is_ours, written = False, set()
    foreign = [name for name in present if name not in written]
    if not is_ours or foreign:
        raise StoreError(
            f"{folder} holds {listed(foreign or present, most=4)}, which no report "
            f"wrote, and would be replaced as a whole. {way_out}"
        )


def _put(new: Path, folder: Path, old: Path) -> None:
    """Put a new folder in place; whatever interrupts it, one of both is there."""
    try:
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    except BaseException as error:
        if old.exists() and not folder.exists():
            old.rename(folder)
        if isinstance(error, OSError) and folder.exists():
            raise StoreError(
                f"{folder} was changed while the report was being written ({error}). "
                f"Run the same command again."
            ) from error
        raise
