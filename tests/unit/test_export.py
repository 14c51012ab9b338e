"""Runs as long rows: every run is there, with its question, in either format."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from eegfm_bench.cli.app import app
from eegfm_bench.errors import DataMissing, SpecError, StoreError, UnknownName
from eegfm_bench.report.export import COLUMNS, SCHEMA, export, rows_of
from eegfm_bench.runs.predictions import read_predictions
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.store import ResultStore
from tests.many_records import DATASETS, write_records
from tests.report_records import done, spec_of

FAILED = ("eegnet", "eyes", 1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four models on two datasets, two seeds; one run failed."""
    folder = tmp_path_factory.mktemp("runs")
    write_records(
        folder,
        datasets=("eyes", "bcic2020"),
        models=("chance", "riemann", "eegnet", "trace"),
        seeds=(0, 1),
        failed=[FAILED],
    )
    return folder


def read_csv(file: Path) -> list[dict[str, Any]]:
    """Read the rows back as the columns say, what is empty as None."""
    read = {pa.string(): str, pa.int64(): int, pa.float64(): float}
    with file.open(encoding="utf-8", newline="") as text:
        return [
            {name: read[COLUMNS[name]](v) if v else None for name, v in row.items()}
            for row in csv.DictReader(text)
        ]


def test_both_formats_hold_equal_rows(runs: Path, tmp_path: Path) -> None:
    as_csv = export(runs, tmp_path / "rows.csv")
    as_parquet = export(runs, tmp_path / "rows.parquet")
    table = pq.read_table(as_parquet.file)
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    assert read_csv(as_csv.file) == rows
    assert as_csv.n_rows == as_parquet.n_rows == len(rows) > 100
    assert "" not in {value for row in rows for value in row.values()}


def test_every_score_of_every_run_is_a_row_and_nothing_else_is(
    runs: Path, tmp_path: Path
) -> None:
    rows = pq.read_table(export(runs, tmp_path / "rows.parquet").file).to_pylist()
    found = {
        (r["run_id"], r["part"], r["metric"]): r["value"]
        for r in rows
        if r["status"] == "done"
    }
    expected = {
        (record.run_id, part, metric): value
        for record in ResultStore(runs).records()
        for part, scores in (record.scores or {}).items()
        for metric, value in scores.items()
    }
    assert found == expected
    assert len(rows) == len(expected) + 1


def test_a_failed_run_is_a_row_that_says_why(runs: Path, tmp_path: Path) -> None:
    done_here = export(runs, tmp_path / "rows.csv")
    (row,) = (r for r in read_csv(done_here.file) if r["status"] == "failed")
    assert (row["model"], row["dataset"], row["seed"]) == FAILED
    assert row["error"] == "RunFailed: The loss became nan."
    assert row["reason"]
    assert row["value"] is row["metric"] is None
    assert (done_here.n_runs, done_here.n_failed) == (16, 1)


def test_a_row_carries_its_question_its_cost_and_its_place(
    runs: Path, tmp_path: Path
) -> None:
    rows = pq.read_table(export(runs, tmp_path / "rows.parquet").file).to_pylist()
    row = next(r for r in rows if r["model"] == "trace" and r["part"] == "test")
    record = ResultStore(runs).get(row["run_id"])
    assert record is not None
    assert record.cost is not None
    assert row["data"] == "simulated"
    assert row["protocol"] == record.spec.dataset.protocol
    assert row["flops_per_window"] == record.cost.flops_per_window
    assert row["latency_ms"] == record.cost.latency_ms
    assert row["n_parameters_encoder"] == record.cost.n_parameters_encoder
    assert row["device"] == "cpu"
    assert json.loads(row["recipe"])["epochs"] == 5
    asked = DATASETS[row["dataset"]]
    assert row["n_subjects"] == asked.n_subjects
    assert row["n_windows"] == asked.n_subjects * asked.n_each


def test_a_score_without_a_value_keeps_its_reason() -> None:
    rows = list(rows_of(done(spec_of(), None, 0.5, 0.5)))
    undefined = [r for r in rows if r["value"] is None]
    assert {(r["part"], r["reason"]) for r in undefined} == {
        ("val", "no window of class 1 in this part"),
        ("test", "no window of class 1 in this part"),
    }
    assert all(r["n_subjects"] is None for r in rows)


def test_scores_of_windows_come_along_unchanged(runs: Path, tmp_path: Path) -> None:
    exported = export(runs, tmp_path / "rows.csv", predictions=True)
    assert exported.predictions == tmp_path / "rows-predictions.parquet"
    table = pq.read_table(exported.predictions)
    assert table.num_rows == exported.n_windows
    n_windows = 0
    for record in ResultStore(runs).records():
        if not record.is_done:
            continue
        index, scores = read_predictions(runs / record.run_id / "predictions.parquet")
        own = table.filter(pa.compute.equal(table["run_id"], record.run_id))
        assert np.array_equal(np.array(own["scores"].to_pylist()), scores)
        for name in ("subject", "recording", "onset_s", "label"):
            assert own[name].to_pylist() == index[name].tolist()
        n_windows += len(index)
    assert n_windows == exported.n_windows
    assert exported.without_predictions == ()


def test_runs_without_scores_of_windows_are_counted(tmp_path: Path) -> None:
    record = done(spec_of(), 0.5)
    ResultStore(tmp_path / "runs").put(record)
    exported = export(tmp_path / "runs", tmp_path / "x.csv", predictions=True)
    assert exported.without_predictions == (record.run_id,)


def test_damage_leaves_what_was_there_before(tmp_path: Path) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out" / "rows.csv"
    (record,) = write_records(
        runs, datasets=("eegmat",), models=("eegnet",), seeds=(0,)
    )
    out.parent.mkdir()
    out.write_text("before")
    (runs / record.run_id / "predictions.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(StoreError, match=record.run_id):
        export(runs, out)
    (runs / record.run_id / "record.json").write_text("{")
    with pytest.raises(StoreError, match=record.run_id):
        export(runs, out)
    assert [file.name for file in out.parent.iterdir()] == ["rows.csv"]
    assert out.read_text() == "before"


def test_both_files_appear_or_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    write_records(runs, datasets=("eegmat",), models=("eegnet",), seeds=(0,))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("eegfm_bench.report.export.read_predictions", full)
    with pytest.raises(OSError, match="No space"):
        export(runs, tmp_path / "rows.csv", predictions=True)
    assert [file.name for file in tmp_path.iterdir()] == ["runs"]


def test_an_ending_that_says_nothing_is_refused(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"End it in \.csv or \.parquet"):
        export(runs, tmp_path / "rows.xls")
    export(runs, tmp_path / "rows.txt", form="csv")
    assert (tmp_path / "rows.txt").read_text().startswith("schema_version,")


def test_a_folder_without_runs_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match="holds no run"):
        export(tmp_path, tmp_path / "rows.csv")
    assert list(tmp_path.iterdir()) == []


def test_the_verb_says_what_it_wrote(runs: Path, tmp_path: Path) -> None:
    words = ["export", "--runs", str(runs), "--out", str(tmp_path / "rows.csv")]
    said = CliRunner().invoke(app, words, catch_exceptions=False)
    assert "of 16 runs, 1 of them failed" in said.output
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert (found["runs"], found["failed"], found["windows"]) == (16, 1, 0)
    with pytest.raises(UnknownName, match="Did you mean 'csv'"):
        CliRunner().invoke(app, [*words, "--format", "cvs"], catch_exceptions=False)


def test_a_record_of_every_kind_has_every_column() -> None:
    failed = RunRecord.failed(
        spec_of(),
        {"kind": "RunFailed", "message": "lost"},  # type: ignore[arg-type]
    )
    for record in (failed, done(spec_of(), 0.5)):
        assert all(set(row) == set(COLUMNS) for row in rows_of(record))
