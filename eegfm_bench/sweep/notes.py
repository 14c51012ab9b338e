"""Which questions a suite asked last, for its table to find them.

From: a sweep. To: ``table``; a hidden file beside the records.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from eegfm_bench.errors import StoreError
from eegfm_bench.runs.spec import AS_STORED, RunSpec


def recall_suite(runs: Path, name: str) -> tuple[list[RunSpec], dict[str, str]] | None:
    """Return the specs last asked for a suite, and why datasets were missing.

    None when the suite was not asked for in this folder.

    Raises
    ------
    StoreError
        If the note is damaged.
    """
    file = runs / ".sweeps" / f"{name}.json"
    try:
        note = json.loads(file.read_text(encoding="utf-8"))
        specs = [RunSpec.model_validate(s, context=AS_STORED) for s in note["specs"]]
        return specs, dict(note["missing"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        raise StoreError(
            f"The note {file} is damaged ({error}). Delete it and sweep again."
        ) from error


def remember_suite(
    runs: Path, name: str, specs: Sequence[RunSpec], missing: Mapping[str, str]
) -> None:
    """Note which questions a suite asks, by one rename."""
    folder = runs / ".sweeps"
    folder.mkdir(parents=True, exist_ok=True)
    note = {
        "specs": [spec.model_dump(mode="json") for spec in specs],
        "missing": dict(missing),
    }
    new = folder / f".{name}-{os.getpid()}.json"
    new.write_text(json.dumps(note) + "\n", encoding="utf-8")
    new.replace(folder / f"{name}.json")
