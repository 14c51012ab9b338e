"""Remake the golden files. Their change gets a commit and a changelog line.

Run it as ``make golden BECAUSE="which numbers move, and why"``, which goes into the
changelog where scores of the smoke suite moved; look at the diff before committing it.
"""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def run_ids() -> None:
    """Write the ids of the specs that ``tests/unit/test_runs.py`` pins."""
    sys.path.insert(0, str(HERE.parent / "unit"))
    import test_runs

    ids = {key: [s.run_id, s.cell_id] for key, s in test_runs.specs().items()}
    (HERE / "run_ids.json").write_text(json.dumps(ids, indent=1) + "\n")


def smoke_reference(because: str) -> None:
    """Write the reference rows of the smoke suite, by running it."""
    reference = HERE.parents[1] / "results" / "smoke" / "reference.csv"
    words = ["--against", str(reference), "--update", "--because", because]
    subprocess.run(
        ["eegfm-bench", "gate", "smoke", *words],
        check=True,
        env={**__import__("os").environ, "PATH": str(Path(sys.executable).parent)},
    )


def stored_sweep() -> None:
    """Write the table of the stored sweep."""
    sys.path.insert(0, str(HERE.parents[1]))
    runpy.run_module("tests.golden.sweep.remake", run_name="__main__")


if __name__ == "__main__":
    reason = " ".join(sys.argv[1:]).strip()
    if not reason:  # before anything is written
        sys.exit('Say why: make golden BECAUSE="which numbers move, and why"')
    run_ids()
    stored_sweep()
    smoke_reference(reason)
