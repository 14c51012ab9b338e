"""Results of other suites: panels of their own, and nothing taken on trust."""

from __future__ import annotations

import csv
import json
import math
import statistics
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eegfm_bench.cli.tables import table
from eegfm_bench.errors import SpecError, StoreError
from eegfm_bench.report._cells import Cell
from eegfm_bench.report.imports import HEADING, Panel, panels

Rows = list[dict[str, Any]]


def openeeg(**more: Any) -> Rows:
    """Return rows as OpenEEG-Bench's DataFrame has them: two seeds, two datasets."""
    return [
        {
            "backbone": backbone,
            "dataset": dataset,
            "training": "frozen",
            "finetuning": "linear",
            "head": "mlp",
            "seed": seed,
            "job_id": f"{seed}",
            "status": "completed",
            "exception": None,
            "test_balanced_accuracy": None if "vig" in dataset else 0.4 + 0.1 * seed,
            "test_r2": -0.2 if "vig" in dataset else None,
            "adapter_stats": {"method": "none", "total_params": 5},
            "fit_time": 1.5,
            **more,
        }
        for backbone in ("biot", "labram")
        for dataset in ("braindecode/faced@abc123", "braindecode/seed-vig")
        for seed in (0, 1)
    ]


def as_parquet(file: Path, rows: Rows) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


def as_csv(file: Path, rows: Rows, *, index: bool = True) -> Path:
    """Write a DataFrame's CSV, its index in a column without a name."""
    names = [*([""] if index else []), *rows[0]]
    with file.open("w", encoding="utf-8", newline="") as out:
        table = csv.DictWriter(out, names)
        table.writeheader()
        table.writerows(
            {"": str(i), **row} if index else row for i, row in enumerate(rows)
        )
    return file


def neuralbench() -> dict[str, Any]:
    return {
        "tasks": [
            {"id": "emotion", "metric": "bal_acc", "lower_is_better": False},
            {"id": "age", "metric": "mae", "lower_is_better": True},
        ],
        "models": [{"name": "eegnet", "category": "classic"}, {"name": "labram"}],
        "results": {
            "emotion": {
                "eegnet": {"mean": 0.25, "std": 0.01, "rank": 2},
                "labram": {"mean": 0.5, "std": None, "rank": 1},
            },
            "age": {"eegnet": {"mean": 3.5, "std": 0.1, "rank": 1}},
        },
    }


def as_json(file: Path, document: Any) -> Path:
    file.write_text(json.dumps(document))
    return file


def moabb_rows() -> Rows:
    return [
        {
            "score": score,
            "time": 0.1,
            "samples": 100.0,
            "subject": subject,
            "session": session,
            "channels": 3,
            "n_sessions": 2,
            "dataset": "BNCI2014-001",
            "pipeline": "CSP+LDA",
        }
        for subject, session, score in (
            ("1", "0train", 0.75),
            ("1", "1test", 0.25),
            ("2", "0train", 1.0),
        )
    ]


def cells(panel: Panel) -> dict[tuple[str, str], Cell]:
    return {
        (row.labels[0], column.group.partition("@")[0]): cell
        for row in panel.table.rows
        for column, cell in zip(panel.table.columns, row.cells, strict=True)
    }


@pytest.mark.parametrize("write", [as_parquet, as_csv])
def test_openeeg_bench_has_mean_and_deviation_over_the_seeds_in_the_file(
    tmp_path: Path, write: Any
) -> None:
    (panel,) = panels([write(tmp_path / "named.anyhow", openeeg())])
    assert panel.system == "OpenEEG-Bench"
    assert panel.protocols == (
        "oeb-0.6/braindecode/faced@abc123",
        "oeb-0.6/braindecode/seed-vig@unstated",
    )
    found = cells(panel)["labram", "braindecode/faced"]
    assert (found.mean, found.n) == (pytest.approx(0.45), 2)
    assert found.sd == pytest.approx(statistics.stdev([0.4, 0.5]))
    assert {c.metric for c in panel.table.columns} == {"balanced_accuracy", "r2"}
    assert panel.table.stub == ("model", "training", "finetuning", "head")


def test_a_failed_run_of_others_is_said_and_one_seed_has_no_deviation(
    tmp_path: Path,
) -> None:
    rows = openeeg()
    for row in (rows[1], rows[2], rows[3]):  # a seed of one cell, all of the next
        row |= {"status": "failed", "exception": "CUDA out of memory"}
        row |= {"test_balanced_accuracy": None, "test_r2": None}
    (panel,) = panels([as_parquet(tmp_path / "x.parquet", rows)])
    one, none = (
        cells(panel)["biot", f"braindecode/{d}"] for d in ("faced", "seed-vig")
    )
    assert (one.mean, one.sd, one.n) == (0.4, None, 1)
    assert one.is_marked
    assert none.state == "failed"
    assert "CUDA out of memory" in none.reason
    assert len(panel.table.notes) == 3
    assert len(panel.table.columns) == 2


def test_neuralbench_states_means_and_no_seeds_are_made_up(tmp_path: Path) -> None:
    (panel,) = panels([as_json(tmp_path / "x.json", neuralbench())])
    found = cells(panel)
    eegnet, labram = found["eegnet", "emotion"], found["labram", "emotion"]
    assert (eegnet.mean, eegnet.sd, eegnet.n) == (0.25, 0.01, None)
    assert (labram.mean, labram.sd) == (0.5, None)
    absent = found["labram", "age"]
    assert (absent.mean, absent.reason) == (None, "not in the file")
    assert "Lower is better: age." in panel.table.notes
    assert panel.protocols[1] == "neuralbench-unstated/age"


def test_a_table_has_them_below_a_heading_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = as_json(tmp_path / "x.json", neuralbench())
    table("9", imported=[file])
    said = capsys.readouterr().out
    assert said.index("Table 9") < said.index(HEADING) < said.index("labram", -900)
    with pytest.raises(SpecError, match="report --import"):
        table("9", imported=[file], as_json=True)


def test_neuralbenchs_table_says_the_same(tmp_path: Path) -> None:
    file = tmp_path / "core_results_table.csv"
    file.write_text("model,emotion,age\neegnet,0.250 ± 0.010,3.5 ± 0.1\nlabram,0.5,\n")
    (panel,) = panels([file])
    found = cells(panel)
    assert (found["eegnet", "emotion"].mean, found["eegnet", "emotion"].sd) == (
        0.25,
        0.01,
    )
    assert found["labram", "emotion"].sd is None
    assert found["labram", "age"].state == "pending"
    assert all(cell.n in (None, 0) for cell in found.values())


def test_moabbs_store_is_read_as_moabb_reads_it(tmp_path: Path) -> None:
    from moabb.analysis.results import Results
    from moabb.datasets.fake import FakeDataset
    from moabb.evaluations import WithinSessionEvaluation
    from moabb.paradigms import LeftRightImagery
    from sklearn.dummy import DummyClassifier

    results = Results(
        WithinSessionEvaluation, LeftRightImagery, suffix="t", hdf5_path=str(tmp_path)
    )
    data, process = FakeDataset(n_subjects=2, n_sessions=2), DummyClassifier()
    pipelines = {"A": DummyClassifier(), "B": DummyClassifier(strategy="uniform")}
    scores = {
        name: [
            {
                "dataset": data,
                "subject": subject,
                "session": session,
                "score": base + 0.125 * subject,
                "time": 0.5,
                "n_samples": 40,
                "n_channels": 3,
            }
            for subject in data.subject_list
            for session in ("0", "1")
        ]
        for name, base in (("A", 0.25), ("B", 0.5))
    }
    with warnings.catch_warnings():  # h5py's of how MOABB writes
        warnings.simplefilter("ignore")
        results.add(scores, pipelines, process)
    frame = results.to_dataframe()
    (panel,) = panels([results.filepath])
    paradigm = "LeftRightImagery/WithinSessionEvaluation"
    assert panel.protocol == f"moabb-1/{paradigm}/{data.code}"
    for name in pipelines:
        cell = cells(panel)[name, data.code]
        own = frame[frame["pipeline"] == name].groupby("subject")["score"].mean()
        assert cell.mean == pytest.approx(own.mean())
        assert (cell.sd, cell.n, cell.about["subjects"]) == (None, None, "2")


def test_subjects_count_alike_however_many_sessions_they_have(tmp_path: Path) -> None:
    (panel,) = panels([as_csv(tmp_path / "x.csv", moabb_rows())])
    (cell,) = cells(panel).values()
    assert cell.mean == pytest.approx(((0.75 + 0.25) / 2 + 1.0) / 2)
    assert (cell.sd, cell.n) == (None, None)
    assert "unstated" in panel.protocol


def changed(rows: Rows, at: int, **values: Any) -> Rows:
    return [row | values if i == at else row for i, row in enumerate(rows)]


BAD_ROWS = [
    (changed(openeeg(), 0, test_balanced_accuracy=None), r"row 1 is 'completed'"),
    (changed(openeeg(), 1, seed=0), r"row 2 repeats biot frozen linear mlp on"),
    (changed(openeeg(), 4, backbone=""), r"'backbone' of row 5 is ''"),
    (changed(openeeg(), 0, test_balanced_accuracy=math.inf), r"is .*inf.* a number"),
    (changed(openeeg(), 0, seed="first"), r"'seed' of row 1 is 'first'"),
    (changed(openeeg(), 0, status="lost"), r"'status' of row 1 is 'lost', beside"),
    (changed(openeeg(), 1, test_r2=0.5), r"row 2 .* has 2 of"),
    (changed(moabb_rows(), 1, score=math.nan), r"'score' of CSP\+LDA on BNCI2014-001"),
    (changed(moabb_rows(), 1, session="0train"), r"row 2 repeats CSP\+LDA"),
    ([{k: v for k, v in r.items() if k != "head"} for r in openeeg()], "column head"),
    ([{k: v for k, v in r.items() if k != "subject"} for r in moabb_rows()], "subject"),
    ([{"a": 1, "b": 2}], r"its columns \(.*\) are of no known suite"),
]


@pytest.mark.parametrize(("rows", "said"), BAD_ROWS)
def test_rows_that_cannot_be_trusted_are_refused_by_name(
    tmp_path: Path, rows: Rows, said: str
) -> None:
    with pytest.raises(StoreError, match=said) as told:
        panels([as_csv(tmp_path / "theirs.csv", rows)])
    assert "theirs.csv" in str(told.value)
