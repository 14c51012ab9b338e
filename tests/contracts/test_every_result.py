"""What every stored row owes: it can be understood, and its run found again."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from eegfm_bench.datasets._spec import dataset_names, find_dataset
from eegfm_bench.models._spec import model_names
from eegfm_bench.sweep.suite import load_suite

RESULTS = Path(__file__).parents[2] / "results"
FILES = sorted(p for p in RESULTS.glob("*/*.csv") if p.parent.name != "published")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.parent.name)
def test_rows_name_what_exists(path: Path) -> None:
    rows = rows_of(path)
    assert {r["suite"] for r in rows} == {path.parent.name}
    assert {r["model"] for r in rows} <= set(model_names())
    assert {r["dataset"] for r in rows} <= set(dataset_names())
    assert {r["data"] for r in rows} <= {"complete", "partial", "simulated"}
    for row in rows:
        assert row["protocol"] == find_dataset(row["dataset"]).protocol(), row
        assert row["run_id"].startswith(
            f"{row['model']}-{row['dataset']}-s{row['seed']}"
        )


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.parent.name)
def test_rows_are_numbers_once_each_and_all_seeds(path: Path) -> None:
    rows = rows_of(path)
    keys = [(r["run_id"], r["part"], r["metric"]) for r in rows]
    assert len(set(keys)) == len(keys)
    assert all(math.isfinite(float(r["value"])) for r in rows)
    suite = load_suite(path.parent.name)
    cells = {(r["model"], r["dataset"]) for r in rows}
    assert cells == {(c.model, c.dataset) for c in suite.cells()}
    for cell in cells:
        seeds = {int(r["seed"]) for r in rows if (r["model"], r["dataset"]) == cell}
        assert seeds == set(suite.seeds), cell
