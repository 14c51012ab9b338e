"""What a comparison must not claim: of one seed, of few, of rows that are not there."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eegfm_bench.report._compared import (
    mean_of_people,
    table_of_folds,
    table_of_pairs,
    table_of_ranks,
)
from eegfm_bench.report._compared_text import tables_of, text_of_all
from eegfm_bench.report.comparisons import Comparisons, compare
from eegfm_bench.report.intervals import table_of_intervals
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.store import ResultStore
from eegfm_bench.statistics.intervals import FEWEST_SEEDS
from tests.report_records import broken, spec_of
from tests.stored_predictions import answers, put, put_cell, windows_of_people

TWELVE = [f"S{k:02d}" for k in range(1, 13)]
TRACE = ("trace", "scratch", "small", "scratch", "all")


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "runs")


def folded(store: ResultStore, model: str, **more: Any) -> list[RunRecord]:
    strength = {"trace": 2.5, "eegnet": 0.0}[model]
    return [
        record
        for k in (1, 2, 3)
        for record in put_cell(
            store,
            model,
            TWELVE[4 * (k - 1) : 4 * k],
            strength,
            dataset=f"eyes@fold{k}of3",
            **more,
        )
    ]


def lines_of(found: Comparisons) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text_of_all(found, "csv"))))


def test_one_seed_gives_no_star_however_many_people(store: ResultStore) -> None:
    records = put_cell(store, "trace", TWELVE, 2.5, seeds=[0, 1])
    records += put_cell(store, "eegnet", TWELVE, 0.0, seeds=[0, 1])
    (two,) = compare(records, store, against=TRACE).pairs
    assert two.is_starred
    assert two.covers == "new subjects and new seeds of the same protocol"
    found = compare(records[::2], store, against=TRACE)
    (one,) = found.pairs
    assert one.paired is not None
    assert one.p_holm == pytest.approx(one.paired.p_value)
    assert one.p_holm < 0.05 < one.paired.low
    assert not one.is_starred
    table = table_of_pairs(found)
    assert "*" not in table.rows[0].cells[0].text
    assert table.rows[0].cells[1].text.endswith("] people only")
    assert "one seed shows no spread over seeds" in " ".join(table.notes)
    (line,) = [line for line in lines_of(found) if line["what"] == "difference"]
    assert "does not cover new seeds" in line["covers"]


def test_an_interval_over_folds_of_one_seed_does_not_claim_new_seeds(
    store: ResultStore,
) -> None:
    found = compare(folded(store, "trace", seeds=[0]), store)
    (pool,) = found.pools.values()
    _, reach, _ = mean_of_people(pool)
    assert reach is not None
    assert reach.covers == "new subjects; one seed, so it does not cover new seeds"
    assert table_of_folds(found.pools).rows[0].cells[1].text.endswith("] people only")


@pytest.mark.parametrize("n_seeds", [1, FEWEST_SEEDS - 1, FEWEST_SEEDS])
def test_a_bootstrap_of_few_seeds_does_not_claim_new_ones(
    store: ResultStore, n_seeds: int
) -> None:
    records = put_cell(store, "trace", TWELVE, 1.0, seeds=range(n_seeds))
    (one,) = compare(records, store).intervals
    assert one.interval is not None
    is_enough = n_seeds >= FEWEST_SEEDS
    assert ("does not cover new seeds" in one.interval.covers) is not is_enough
    text = table_of_intervals([one]).rows[0].cells[1].text
    assert text.endswith("] people only") is not is_enough


def test_every_line_of_csv_says_that_it_is_simulated(store: ResultStore) -> None:
    records = put_cell(store, "trace", TWELVE, 1.0) + folded(store, "trace")
    records += put_cell(store, "eegnet", TWELVE, 0.0) + folded(store, "eegnet")
    lines = lines_of(compare(records, store, against=TRACE))
    assert {line["what"] for line in lines} >= {"average rank", "folds", "difference"}
    assert {line["data"] for line in lines} == {"simulated"}
    (line,) = [
        x for x in lines if x["what"] == "difference" and " over " in x["dataset"]
    ]
    assert line["protocol"].count("@fold") == 3


def test_skill_is_not_made_up_where_chance_differs_by_person(
    store: ResultStore,
) -> None:
    records = folded(store, "trace") + folded(store, "eegnet")
    (ranks,) = compare(records, store, metric="auc_pr").ranks
    assert ranks.datasets == ("eyes over 3 folds",)
    assert np.isfinite(ranks.ranks).all()
    assert np.isnan(ranks.skills).all()
    (ranks,) = compare(records, store).ranks
    assert np.isfinite(ranks.skills).all()


def test_ranks_in_auc_pr_say_that_it_flatters_a_constant(store: ResultStore) -> None:
    index = windows_of_people(TWELVE)
    same = np.full((len(index), 2), 0.5)
    records = put_cell(store, "trace", TWELVE, 1.0, seeds=[0])
    records.append(put(store, "biot", index, same))
    found = compare(records, store, metric="auc_pr")
    place = found.ranks[0].rows.index(("biot", *TRACE[1:]))
    assert found.ranks[0].skills[place] == pytest.approx(0.5)
    notes = table_of_ranks(found.ranks[0], found.pools).notes
    assert any("flatters ties" in note for note in notes)
    found = compare(records, store, metric="average_precision")
    assert found.ranks[0].skills[place] == pytest.approx(0)
    notes = table_of_ranks(found.ranks[0], found.pools).notes
    assert not any("flatters ties" in note for note in notes)


def test_ranks_name_partial_datasets_and_unlike_many_seeds(store: ResultStore) -> None:
    records = put_cell(store, "trace", TWELVE, 1.0, data="partial")
    records += put_cell(store, "eegnet", TWELVE, 0.0, data="partial", seeds=[0])
    found = compare(records, store)
    notes = " ".join(table_of_ranks(found.ranks[0], found.pools).notes)
    assert "eyes is partial" in notes
    assert "On eyes rows are means of unlike many seeds: 1, 3." in notes


def test_a_row_that_is_in_no_number_is_named_with_the_reason(
    store: ResultStore,
) -> None:
    records = put_cell(store, "trace", TWELVE, 1.0)
    records.append(broken(spec_of("biot")))
    lost = put_cell(store, "eegnet", TWELVE, 0.0)
    for record in lost:
        (store.path(record.run_id) / "predictions.parquet").unlink()
    index = windows_of_people(TWELVE, n_classes=3)
    sleep = answers(index, 1.0, n_classes=3)
    records += [*lost, put(store, "trace", index, sleep, dataset="isruc")]
    found = compare(iter(records), store, metric="auroc")
    notes = " ".join(tables_of(found)[0].notes)
    assert "biot on eyes: every seed failed." in notes
    assert "eegnet on eyes: no predictions.parquet beside its records." in notes
    assert "trace on isruc: it is not scored in auroc." in notes
    texts = json.loads(text_of_all(found, "json"))["texts"]
    assert "biot on eyes: every seed failed" in json.dumps(texts)


def test_a_person_is_paired_within_one_fold_alone(store: ResultStore) -> None:
    records = put_cell(store, "trace", TWELVE[:6], 2.0, dataset="eyes@fold1of3")
    records += put_cell(store, "eegnet", TWELVE[:6], 0.0, dataset="eyes@fold2of3")
    (pair,) = compare(records, store, against=TRACE).pairs
    assert pair.paired is None
