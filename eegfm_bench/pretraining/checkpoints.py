"""Where a pre-training goes on: its state on disk, whole or not at all.

From: ``loop``. To: ``loop`` of a later process, and whoever wants the weights. A file's
name holds the step and a digest of its bytes, so that damage is seen before it is
read. The last two are kept.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import torch

from eegfm_bench.errors import SpecError, StoreError
from eegfm_bench.runs.pretrain import PretrainSpec

FOLDER = "checkpoints"
_NAME = re.compile(r"step-(\d{8})-([0-9a-f]{16})\.pt")
_KEPT = 2


def write_checkpoint(folder: Path, state: dict[str, Any]) -> Path:
    """Write a state under its step's name, then remove all but the last two.

    Parameters
    ----------
    folder : path
        Of checkpoints; made if absent.
    state : dict
        With ``step``, how many steps are done; tensors and plain values.

    Raises
    ------
    StoreError
        If the disk is full or cannot be written to; older ones stay.
    """
    new = folder / ".new.pt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with new.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        path = folder / f"step-{state['step']:08d}-{_digest(new)}.pt"
        new.rename(path)
        _sync_folder(folder)
    # torch wraps what a full disk says.
    except (OSError, RuntimeError) as error:
        new.unlink(missing_ok=True)
        raise StoreError(
            f"The checkpoint of step {state['step']} could not be written to {folder} "
            f"({error}). Make room; the same command then goes on from the one before."
        ) from error
    for old in _found(folder)[_KEPT:]:
        old.unlink(missing_ok=True)
    return path


def read_checkpoint(
    folder: Path, *, device: str = "cpu"
) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the last whole state, and a line about each that is damaged.

    Returns
    -------
    state : dict or None
        None if there is none at all.
    notes : list of str

    Raises
    ------
    StoreError
        If every one that is there is damaged.
    """
    notes: list[str] = []
    found = _found(folder)
    for path in found:
        named = _NAME.fullmatch(path.name)
        assert named is not None
        try:
            if _digest(path) == named[2]:
                state: dict[str, Any] = torch.load(
                    path, map_location=device, weights_only=True
                )
                return state, notes
        except OSError as error:
            notes.append(f"{path.name} cannot be read ({error}): passed over")
            continue
        notes.append(f"{path.name} is damaged: went back to the one before")
    if found:
        raise StoreError(
            f"All checkpoints in {folder} are damaged: "
            f"{', '.join(path.name for path in found)}. Delete that folder to begin "
            f"anew."
        )
    return None, notes


def steps_done(folder: Path) -> int:
    """Return the step of the last checkpoint by its name, 0 if there is none."""
    found = _found(folder)
    return int(found[0].name.removeprefix("step-")[:8]) if found else 0


def refuse_other_spec(folder: Path, found: str, spec: PretrainSpec) -> None:
    """Refuse to go on with what another question left in a folder.

    Parameters
    ----------
    folder : path
        Of the pre-training.
    found : str
        The spec that was found there, as JSON.
    spec : PretrainSpec
        What is asked now.

    Raises
    ------
    SpecError
        Names the values that differ.
    """
    try:
        before = _flat(PretrainSpec.model_validate_json(found).model_dump(mode="json"))
    except ValueError as error:
        raise SpecError(
            f"{folder} has a pre-training whose spec cannot be read: "
            f"{str(error).splitlines()[0]}. Choose another folder."
        ) from error
    now = _flat(spec.model_dump(mode="json"))
    differing = [
        f"{name} is {now.get(name)!r}, was {before.get(name)!r}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if differing:
        more = f", and {len(differing) - 4} more" if len(differing) > 4 else ""
        raise SpecError(
            f"{folder} has another pre-training: {'; '.join(differing[:4])}{more}. "
            f"Ask the same again, or choose another folder."
        )


def _flat(value: Any, at: str = "") -> dict[str, Any]:
    """Return nested values by dotted names."""
    if isinstance(value, dict):
        items = [(str(key), part) for key, part in value.items()]
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        items = [(str(part.get("name", n)), part) for n, part in enumerate(value)]
        order = {f"{at}order": [name for name, _ in items]}
        return order | {
            k: v for n, p in items for k, v in _flat(p, f"{at}{n}.").items()
        }
    else:
        return {at.removesuffix("."): value}
    return {k: v for name, p in items for k, v in _flat(p, f"{at}{name}.").items()}


def _found(folder: Path) -> list[Path]:
    """Return checkpoints, the last step first; of one step the newest first."""
    found = [path for path in folder.glob("step-*.pt") if _NAME.fullmatch(path.name)]
    return sorted(
        found, key=lambda p: (p.name[: len("step-00000000")], p.stat().st_mtime_ns)
    )[::-1]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
