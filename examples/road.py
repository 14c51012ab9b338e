"""The road in one file: from recordings to a row of a table, step by step.

Run it without arguments for simulated recordings, or with a data root:

    python examples/road.py [ROOT]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from eegfm_bench.datasets._prepare import dataset_ref, prepare
from eegfm_bench.models._spec import find_model
from eegfm_bench.report.render import render
from eegfm_bench.report.table import make_table
from eegfm_bench.runs.spec import RunSpec
from eegfm_bench.runs.store import ResultStore
from eegfm_bench.training.fit import fit


def main(root: str | None, runs: Path) -> str:
    """Take two models and one dataset down the road; return the table."""
    # Recordings become windows on disk: µV, with who, when and which part.
    store = prepare("eyes", data=root, allow_partial=True)
    print(f"windows {store.x.shape} µV, {store.counts()}")
    print(store.index.head(2).to_string())

    results = ResultStore(runs)
    for name in ("bandpower", "eegnet"):
        # A question: everything that changes the numbers, and nothing else.
        spec = RunSpec(
            dataset=dataset_ref(store),
            model=name,
            scale="small",
            seed=0,
            recipe=find_model(name).recipes["small"],
        )
        # The answer: trained, chosen on validation, tested once.
        record, predictions = fit(spec, store)
        results.put(
            record,
            lambda folder, p=predictions: p.to_parquet(folder / "predictions.parquet"),
        )
        print(f"{record.run_id}: {record.checkpoint}")

    # Records become a table.
    return render(make_table(results.records()), "md")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(main(sys.argv[1] if len(sys.argv) > 1 else None, Path(folder)))
