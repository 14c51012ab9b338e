"""Intervals of cells, people over all folds, and the verb that prints them."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student
from typer.testing import CliRunner

from eegfm_bench.cli import app
from eegfm_bench.errors import DataMissing, SpecError, StoreError
from eegfm_bench.report import intervals
from eegfm_bench.report._compared import mean_of_people
from eegfm_bench.report._pools import pooled
from eegfm_bench.report.comparisons import compare, folds_table
from eegfm_bench.report.intervals import cell_intervals, intervals_table
from eegfm_bench.report.render import FORMATS, render
from eegfm_bench.report.scores import subject_scores
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.store import ResultStore
from eegfm_bench.statistics.intervals import Summaries, subject_interval
from tests.report_records import broken, spec_of
from tests.stored_predictions import answers, put, put_cell, windows_of_people

TWELVE = [f"S{k:02d}" for k in range(1, 13)]
TRACE = ("trace", "scratch", "small", "scratch", "all")


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "runs")


def folded(
    store: ResultStore, model: str, strength: float, *, per_fold: int = 4, **more: Any
) -> list[RunRecord]:
    return [
        record
        for k in (1, 2, 3)
        for record in put_cell(
            store,
            model,
            TWELVE[per_fold * (k - 1) : per_fold * k],
            strength,
            dataset=f"eyes@fold{k}of3",
            **more,
        )
    ]


def test_ten_people_have_the_interval_over_people_and_seeds(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = put_cell(store, "trace", TWELVE, 1.0)
    cells = subject_scores(store, records)
    (found,) = cell_intervals(store, cells)
    index = windows_of_people(TWELVE)
    labels, subjects = (
        index["label"].to_numpy(),
        index["subject"].to_numpy().astype(str),
    )
    scores = [answers(index, 1.0, seed=seed) for seed in range(3)]
    expected = subject_interval(
        Summaries.of([labels] * 3, scores, [subjects] * 3, "auroc")
    )
    assert found.interval == expected
    assert found.value == pytest.approx(cells[TRACE, "eyes"].pooled_r.mean())

    def refuse(*_: object) -> None:
        raise AssertionError("it was computed again")

    monkeypatch.setattr(intervals, "summaries", refuse)
    assert cell_intervals(store, cells)[0].interval == expected


def test_fewer_people_have_an_interval_over_seeds_that_says_so(
    store: ResultStore,
) -> None:
    records = put_cell(store, "trace", TWELVE[:9], 1.0)
    (found,) = cell_intervals(store, subject_scores(store, records))
    own = [r.scores["test"]["auroc"] for r in records]  # type: ignore[index]
    reach = student.ppf(0.975, 2) * np.std(own, ddof=1) / math.sqrt(3)
    assert found.interval is not None
    assert found.interval.low == pytest.approx(np.mean(own) - reach)
    assert found.interval.covers == "does not cover new subjects"
    table = intervals_table(records, store)
    assert table.rows[0].cells[1].text.endswith("] seeds only")
    assert "does not cover new subjects" in table.caption
    assert table.heading == "simulated recordings"
    assert "Test people: eyes 9." in table.notes


def test_what_has_no_interval_says_why(store: ResultStore) -> None:
    index = windows_of_people(TWELVE[:4])
    same = answers(index, 1.0)
    records = [put(store, "trace", index, same, seed=seed) for seed in range(3)]
    records += put_cell(store, "eegnet", TWELVE[:4], 1.0, seeds=[0])
    records.append(broken(spec_of("eegnet", seed=1)))
    index = index.assign(label=0)
    records.append(put(store, "biot", index, same, dataset="eegmat"))
    found = {
        (one.cell.row[0], one.cell.dataset): one
        for one in cell_intervals(store, subject_scores(store, records))
    }
    assert all(one.interval is None for one in found.values())
    assert "all 3 seeds have the same score" in found["trace", "eyes"].reason
    assert "one seed alone" in found["eegnet", "eyes"].reason
    assert "auroc is undefined" in found["biot", "eegmat"].reason
    notes = " ".join(intervals_table(records, store).notes)
    assert "eegnet on eyes, seed 1: failed." in notes
    assert "S01 on eegmat: no window of class 1" in notes


def test_an_interval_over_two_seeds_stays_within_what_can_be(
    store: ResultStore,
) -> None:
    index = windows_of_people(TWELVE[:4])
    records = [
        put(store, "trace", index, answers(index, strength), seed=seed)
        for seed, strength in enumerate((0.0, 4.0))
    ]
    (found,) = cell_intervals(store, subject_scores(store, records))
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == (0.0, 1.0)


def test_a_kept_interval_is_of_these_seeds_and_this_metric_alone(
    store: ResultStore,
) -> None:
    records = put_cell(store, "trace", TWELVE, 1.0)

    def interval(of: list[RunRecord], metric: str | None = None) -> Any:
        return cell_intervals(store, subject_scores(store, of, metric))[0].interval

    three = interval(records)
    two, kappa = interval(records[:2]), interval(records, "cohen_kappa")
    assert (three.n_seeds, two.n_seeds) == (3, 2)
    assert three.low not in (two.low, kappa.low)
    for file in (store.root / ".summaries").glob("*.interval.json"):
        file.write_text(file.read_text()[:40])
    assert interval(records) == three


def test_folds_are_pooled_over_people_never_over_windows(store: ResultStore) -> None:
    records = folded(store, "trace", 1.0)
    (pool,) = pooled(subject_scores(store, records)).values()
    assert (pool.name, pool.people, pool.n_folds) == (
        "eyes over 3 folds",
        tuple(TWELVE),
        3,
    )
    values_pr = np.concatenate(
        [cell.values_sr for cell in pool.cells]
    )  # 4 people of each fold
    by_seed, reach, _ = mean_of_people(pool)
    assert pool.mean == pytest.approx(values_pr.mean())
    assert by_seed == pytest.approx(values_pr.mean(axis=0).tolist())
    assert reach is not None
    assert reach.covers == "new subjects and new seeds of the same protocol"
    row = folds_table(records, store).rows[0]
    assert [cell.text for cell in row.cells[2:]] == ["12", "3 of 3"]
    assert row.cells[0].mean == pytest.approx(values_pr.mean())


def test_the_interval_over_folds_covers_new_people_and_seeds() -> None:
    """Of 400 drawn pools about 95 % hold the mean they were drawn around."""
    from types import SimpleNamespace

    draw = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        values_pr = 0.7 + 0.02 * draw.normal(size=5) + 0.03 * draw.normal(size=(12, 5))
        values_pr = values_pr + 0.06 * draw.normal(size=(12, 1))
        pool: Any = SimpleNamespace(
            values_pr=values_pr, scored=np.ones(12, bool), metric="auroc"
        )
        _, reach, _ = mean_of_people(pool)
        assert reach is not None
        held += reach.low <= 0.7 <= reach.high
    assert 0.92 <= held / 400 <= 0.98


def test_folds_with_few_people_or_missing_seeds_say_so(store: ResultStore) -> None:
    records = folded(store, "trace", 1.0, per_fold=2)
    ragged = [
        r for r in records if (r.spec.dataset.name, r.spec.seed) != ("eyes@fold2of3", 2)
    ]
    table = folds_table(ragged, store)
    assert table.rows[0].cells[0].n == 2
    assert table.rows[0].cells[1].text.endswith("seeds only")
    assert any("seeds 2 of eyes over 3 folds" in note for note in table.notes)
    two = [r for r in records if r.spec.dataset.name != "eyes@fold3of3"]
    notes = folds_table(two, store).notes
    assert any("eyes@fold3of3" in note for note in notes)


def test_a_person_in_two_folds_and_unlike_folds_are_refused(store: ResultStore) -> None:
    records = put_cell(store, "trace", TWELVE[:4], 1.0, dataset="eyes@fold1of3")
    twice = put_cell(store, "trace", TWELVE[3:6], 1.0, dataset="eyes@fold2of3")
    with pytest.raises(SpecError, match=r"S04 is tested in eyes@fold1of3 and"):
        compare([*records, *twice], store)
    unlike = put_cell(
        store, "trace", TWELVE[6:8], 1.0, dataset="eyes@fold3of3", lr=0.01
    )
    with pytest.raises(SpecError, match=r"recipe\.lr"):
        compare([*records, *unlike], store)
    with pytest.raises(DataMissing, match="no run on a fold"):
        folds_table(put_cell(store, "trace", TWELVE, 1.0, dataset="eegmat"), store)


def test_rows_are_compared_over_the_people_of_all_folds(store: ResultStore) -> None:
    records = folded(store, "trace", 2.5) + folded(store, "eegnet", 0.0)
    found = compare(records, store, against=TRACE)
    (pair,) = found.pairs
    assert pair.dataset == "eyes over 3 folds"
    assert pair.paired is not None
    assert pair.paired.n_subjects == 12
    assert pair.is_starred
    assert found.ranks[0].datasets == ("eyes over 3 folds",)
    lacking = [
        r
        for r in records
        if (r.spec.model, r.spec.dataset.name) != ("eegnet", "eyes@fold2of3")
    ]
    found = compare(lacking, store, against=TRACE)
    assert found.pairs[0].left_out == ("4 people without a score of both",)
    assert found.ranks[0].left_out == {
        "eyes over 3 folds": "rows have run on other folds of it"
    }


def invoke(*words: str) -> Any:
    return CliRunner().invoke(app.app, ["compare", *words])


def test_the_verb_prints_every_format_and_the_same_numbers(store: ResultStore) -> None:
    records = put_cell(store, "trace", TWELVE, 2.5) + folded(store, "trace", 1.0)
    records += put_cell(store, "eegnet", TWELVE, 0.5)
    records += put_cell(store, "eegnet", TWELVE[:4], 0.5, dataset="eegmat")
    where = ("--runs", str(store.root), "--against", "trace")
    document = json.loads(invoke(*where, "--json").stdout)
    assert document["heading"] == "simulated recordings"
    (pair,) = [c for c in document["comparisons"] if c["dataset"] == "eyes"]
    expected = compare(records, store, against=TRACE)
    (own,) = [p for p in expected.pairs if p.dataset == "eyes"]
    assert own.paired is not None
    assert (pair["value"], pair["p"], pair["star"]) == (
        own.paired.difference,
        own.paired.p_value,
        own.is_starred,
    )
    assert document["folds"][0]["n_people"] == 12
    lines = list(csv.DictReader(io.StringIO(invoke(*where, "--format", "csv").stdout)))
    assert {line["what"] for line in lines} >= {"interval", "difference", "folds"}
    (line,) = [x for x in lines if x["what"] == "difference" and x["dataset"] == "eyes"]
    assert float(line["low"]) == own.paired.low
    for how in ("md", "latex", "html"):
        text = invoke(*where, "--format", how).stdout
        assert text.count("never from seeds alone") == 1
        assert "simulated recordings" in text
    assert text.count("<!doctype html>") == text.count("</html>") == 1
    assert "seeds only" in invoke(*where).stdout
    assert all(render(intervals_table(records, store), how) for how in FORMATS)


def test_the_verb_refuses_in_words(store: ResultStore, tmp_path: Path) -> None:
    records = put_cell(store, "trace", TWELVE[:4], 2.5)
    where = ("--runs", str(store.root))
    told = invoke(*where, "--against", "trcae").exception
    assert "Did you mean 'trace'" in str(told)
    told = invoke("--runs", str(tmp_path / "nowhere")).exception
    assert isinstance(told, DataMissing)
    told = invoke("smoke", "--runs", str(tmp_path / "nowhere")).exception
    assert "eegfm-bench sweep smoke" in str(told)
    out = tmp_path / "all.html"
    assert invoke(*where, "--out", str(out)).exit_code == 0
    assert out.read_text().startswith("<!doctype html>")
    (store.path(records[0].run_id) / "predictions.parquet").write_bytes(b"PAR1")
    assert isinstance(invoke(*where).exception, StoreError)
