"""Write the rows of this folder from a folder of runs.

    eegfm-bench sweep open --data ROOT --allow-partial --runs RUNS
    python results/open/remake.py RUNS

From: records of the suite ``open``. To: ``rows.csv``, a line for every run, part and
score, with the runs' ids, the protocol, and whether the data were complete.
"""

from __future__ import annotations

import sys
from pathlib import Path

from eegfm_bench.report._reference import reference_rows, write_reference
from eegfm_bench.runs.record import RunRecord


def main() -> None:
    """Write ``rows.csv`` beside this file."""
    records = [
        RunRecord.model_validate_json(file.read_text(encoding="utf-8"))
        for file in sorted(Path(sys.argv[1]).glob("*/record.json"))
    ]
    write_reference(
        Path(__file__).with_name("rows.csv"), reference_rows("open", records)
    )


if __name__ == "__main__":
    main()
