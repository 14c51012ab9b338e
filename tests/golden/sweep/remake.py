"""Remake the stored sweep and its table: ``python -m tests.golden.sweep.remake``.

From: six records made by hand. To: ``runs/`` and ``table.md`` beside this file.
Run it in the repository; look at the diff before committing it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from eegfm_bench.report.render import render
from eegfm_bench.report.table import make_table
from eegfm_bench.runs.store import ResultStore
from tests.report_records import broken, done, seeds, spec_of

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Write the records, then the table read back from them."""
    shutil.rmtree(HERE / "runs", ignore_errors=True)
    store = ResultStore(HERE / "runs")
    for record in (
        *seeds("eegnet", "eyes", (0.7, 0.8)),
        *seeds("chance", "eyes", (0.5, 0.5)),
        done(spec_of("eegnet", "faced"), 0.25, None, 0.125, n_classes=9),
        broken(spec_of("chance", "faced"), "the worker was killed (signal 9)"),
    ):
        store.put(record)
    table = make_table(store.records(), title="A stored sweep")
    (HERE / "table.md").write_text(render(table, "md"), encoding="utf-8")


if __name__ == "__main__":
    main()
