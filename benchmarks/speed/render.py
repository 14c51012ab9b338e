"""What 480 records cost to show: each command as a fresh process, beside the floors.

The records are drawn by ``tests/many_records.py``: 8 datasets × 12 models × 5 seeds,
815,640 windows. Every command runs twice, so that what it keeps between calls shows.
Wall time and processor time (user and system, children included) of the process; the
wall time of a busy machine says little. The floors: Python that does nothing, and the
bare JSON of all records, read by one process. A command that imports torch is said to.

    python benchmarks/speed/render.py [--runs FOLDER] [--only table,report]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What runs the command line and then says what it had imported.
WATCHED = """
import sys
sys.argv = ["eegfm-bench", *sys.argv[1:]]
from eegfm_bench.cli import main
try:
    main()
finally:
    heavy = [n for n in ("torch", "lightning", "sklearn", "pandas") if n in sys.modules]
    sys.stderr.write("IMPORTED " + " ".join(heavy) + "\\n")
"""
READ_JSON = """
import json, pathlib, sys
found = [json.loads(f.read_bytes())
         for f in sorted(pathlib.Path(sys.argv[1]).glob("[!.]*/record.json"))]
assert len(found) == 480, len(found)
"""
READ_RECORDS = """
import sys
from eegfm_bench.runs.store import ResultStore
assert len(list(ResultStore(sys.argv[1]).records())) == 480
"""


def main() -> None:
    """Measure every command, twice."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=Path, help="480 records, if they are there")
    parser.add_argument("--only", help="commands by name, with commas between")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        runs = args.runs or out / "runs"
        if not runs.exists():
            maker = ROOT / "tests" / "many_records.py"
            subprocess.run(
                [sys.executable, maker, runs], env=surroundings(), check=True
            )
        commands = {
            "python": ["-c", "pass"],
            "json": ["-c", READ_JSON, str(runs)],
            "records": ["-c", READ_RECORDS, str(runs)],
            "table": cli("table", "1", runs, "--format", "md"),
            "table.html": cli("table", "1", runs, "--format", "html"),
            "compare": cli("compare", "table1", runs, "--against", "trace"),
            "export.csv": cli("export", runs, "--out", str(out / "rows.csv")),
            "export.parquet": cli("export", runs, "--out", str(out / "rows.parquet")),
            "export.predictions": cli(
                "export", runs, "--out", str(out / "all.parquet"), "--predictions"
            ),
            "report": cli("report", runs, "--out", str(out / "report")),
        }
        asked = args.only.split(",") if args.only else list(commands)
        print(
            "| command | wall, first / second | processor, first / second | imported |"
        )
        print("|---|---|---|---|")
        for name in asked:
            rounds = [measured(commands[name]) for _ in range(2)]
            walls, processors, imported = zip(*rounds, strict=True)
            print(
                f"| `{name}` | {walls[0]:.2f} / {walls[1]:.2f} s "
                f"| {processors[0]:.2f} / {processors[1]:.2f} s | {imported[1]} |",
                flush=True,
            )
        report = out / "report"
        if report.is_dir():
            n_bytes = sum(f.stat().st_size for f in report.rglob("*") if f.is_file())
            print(f"\nThe report's folder has {n_bytes / 1e6:.2f} MB.")


def cli(*words: str | Path) -> list[str]:
    """Return the arguments of Python for one command; a path is the runs folder."""
    given = []
    for word in words:
        given += ["--runs", str(word)] if isinstance(word, Path) else [word]
    return ["-c", WATCHED, *given]


def surroundings() -> dict[str, str]:
    """Return the environment of every process: one thread, this checkout."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def measured(words: list[str]) -> tuple[float, float, str]:
    """Run Python once; return wall seconds, processor seconds, heavy imports."""
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words],
        env=surroundings(),
        capture_output=True,
        text=True,
        check=False,
    )
    wall_s, after = time.perf_counter() - began, os.times()
    if done.returncode:
        sys.exit(f"{words[2:]} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    said = [x for x in done.stderr.splitlines() if x.startswith("IMPORTED")]
    imported = said[0].removeprefix("IMPORTED").strip() if said else ""
    processor_s = (
        after.children_user
        + after.children_system
        - before.children_user
        - before.children_system
    )
    return wall_s, processor_s, imported or "–"


if __name__ == "__main__":
    main()
