"""Differences between rows, against brute force; what people and seeds allow to say."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from eegfm_bench.errors import SpecError, UnknownName
from eegfm_bench.report._compared import table_of_pairs, table_of_ranks
from eegfm_bench.report.comparisons import Comparison, Comparisons, compare, row_called
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.store import ResultStore
from tests.stored_predictions import answers, put, put_cell, windows_of_people

TWELVE = [f"S{k:02d}" for k in range(1, 13)]
TRACE = ("trace", "scratch", "small", "scratch", "all")
EEGNET = ("eegnet", "scratch", "small", "scratch", "all")


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "runs")


def directly(store: ResultStore, records: list[RunRecord]) -> np.ndarray:
    """Recompute AUROC by subject and seed from the files alone."""
    columns = []
    for record in records:
        frame = pd.read_parquet(store.path(record.run_id) / "predictions.parquet")
        columns.append(
            [
                roc_auc_score(own["label"], own["score_1"])
                for _, own in frame.groupby("subject", sort=True)
            ]
        )
    return np.array(columns).T


def flipped(d_s: np.ndarray) -> float:
    """Return the two-sided p-value over all sign flips, one by one."""
    observed = abs(d_s.sum()) - 1e-9
    hits = [
        abs(np.dot(signs, d_s)) >= observed
        for signs in itertools.product((-1, 1), repeat=len(d_s))
    ]
    return float(np.mean(hits))


def holm_by_hand(p_values: list[float]) -> list[float]:
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    found, least = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[i]))
        found[i] = least
    return found


def against(found: Comparisons, model: str, dataset: str = "eyes") -> Comparison:
    (pair,) = [p for p in found.pairs if p.rival[0] == model and p.dataset == dataset]
    return pair


def test_differences_and_p_values_are_those_of_brute_force(store: ResultStore) -> None:
    strength = {"trace": 1.5, "eegnet": 0.7, "biot": 1.4, "chance": 0.0}
    cells = {m: put_cell(store, m, TWELVE[:8], s) for m, s in strength.items()}
    records = [r for cell in cells.values() for r in cell]
    found = compare(records, store, against=TRACE)
    own = directly(store, cells["trace"])
    rivals = ["eegnet", "biot", "chance"]
    p_values = []
    for rival in rivals:
        d_s = (own - directly(store, cells[rival])).mean(axis=1)
        pair = against(found, rival)
        assert pair.paired is not None
        assert pair.paired.difference == pytest.approx(d_s.mean(), abs=1e-12)
        assert pair.paired.p_value == pytest.approx(flipped(d_s), abs=1e-12)
        assert pair.paired.is_exact
        assert pair.paired.low < d_s.mean() < pair.paired.high
        p_values.append(flipped(d_s))
    for rival, expected in zip(rivals, holm_by_hand(p_values), strict=True):
        assert against(found, rival).p_holm == pytest.approx(expected, abs=1e-12)


def test_a_planted_difference_over_twelve_people_has_its_star(
    store: ResultStore,
) -> None:
    records = put_cell(store, "trace", TWELVE, 3.0)
    records += put_cell(store, "eegnet", TWELVE, 0.0)
    records += put_cell(store, "biot", TWELVE, 3.001)
    found = compare(records, store, against=TRACE)
    assert against(found, "eegnet").is_starred
    assert not against(found, "biot").is_starred
    texts = {r.labels[0]: r.cells[0].text for r in table_of_pairs(found).rows}
    assert texts["eegnet"].endswith(" *")
    assert "*" not in texts["biot"]


def test_no_number_of_seeds_makes_a_star_of_four_people(store: ResultStore) -> None:
    records = put_cell(store, "trace", TWELVE[:4], 3.0, seeds=range(8))
    records += put_cell(store, "eegnet", TWELVE[:4], 0.0, seeds=range(8))
    found = compare(records, store, against=TRACE)
    pair = against(found, "eegnet")
    assert pair.paired is not None
    assert pair.paired.p_value == 0.125
    assert not pair.is_starred
    table = table_of_pairs(found)
    assert table.rows[0].cells[2].text == "4 subjects: no p can be below 0.125"
    assert "*" not in table.rows[0].cells[0].text
    assert "never from seeds alone" in table.caption


def test_many_rivals_may_be_more_than_six_people_can_tell(store: ResultStore) -> None:
    records = put_cell(store, "trace", TWELVE[:6], 3.0)
    for rival in ("eegnet", "biot", "ffcl"):
        records += put_cell(store, rival, TWELVE[:6], 0.0)
    found = compare(records, store, against=TRACE)
    assert not any(pair.is_starred for pair in found.pairs)
    assert "below 0.0938" in against(found, "biot").reason
    assert any("6 subjects and 3 rivals" in n for n in table_of_pairs(found).notes)


def test_people_and_seeds_that_one_side_lacks_are_left_out_and_counted(
    store: ResultStore,
) -> None:
    records = put_cell(store, "trace", TWELVE, 1.5, seeds=[0, 1, 2])
    records += put_cell(store, "eegnet", TWELVE[:9], 0.7, seeds=[1, 2, 3])
    pair = against(compare(records, store, against=TRACE), "eegnet")
    assert pair.paired is not None
    assert (pair.paired.n_subjects, pair.paired.n_seeds) == (9, 2)
    assert pair.left_out == ("3 people without a score of both", "2 seeds of one alone")
    own = directly(store, records[1:3])[:9]
    rival = directly(store, records[3:5])
    expected = (own - rival).mean()
    assert pair.paired.difference == pytest.approx(expected, abs=1e-12)


def test_a_subject_without_a_score_is_in_no_pair(store: ResultStore) -> None:
    index = windows_of_people(TWELVE)
    index.loc[index["subject"] == "S05", "label"] = 1
    records = [
        put(store, model, index, answers(index, strength))
        for model, strength in (("trace", 1.5), ("eegnet", 0.7))
    ]
    found = compare(records, store, against=TRACE)
    pair = against(found, "eegnet")
    assert pair.paired is not None
    assert pair.paired.n_subjects == 11
    assert pair.left_out == ("1 person without a score of both",)
    assert any("S05 on eyes" in note for note in table_of_pairs(found).notes)


def test_other_windows_and_other_seeds_are_not_compared(store: ResultStore) -> None:
    records = put_cell(store, "trace", TWELVE, 1.5, seeds=[0])
    records += put_cell(store, "eegnet", TWELVE, 0.7, seeds=[0], protocol="eyes-2-0a")
    records += put_cell(store, "biot", TWELVE, 0.7, seeds=[1])
    records += put_cell(store, "ffcl", TWELVE, 0.7, seeds=[0], dataset="eegmat")
    records += put_cell(store, "trace", TWELVE, 0.7, seeds=[0], labels="10%")
    found = compare(records, store, against=TRACE)
    assert all(pair.paired is None for pair in found.pairs)
    reasons = {pair.rival[0]: pair.reason for pair in found.pairs}
    assert reasons == {
        "eegnet": "other protocol, recordings or share of labels",
        "biot": "no seed in common",
        "ffcl": "the rival has no run with predictions here",
        "trace": "other protocol, recordings or share of labels",
    }
    assert all(not r.cells[0].mean for r in table_of_pairs(found).rows)


def test_a_protocol_hash_of_another_rate_is_the_same_question(
    store: ResultStore,
) -> None:
    records = put_cell(store, "trace", TWELVE, 1.5, protocol="eyes-1-aaaaaaaa")
    records += put_cell(store, "eegnet", TWELVE, 0.7, protocol="eyes-1-bbbbbbbb")
    pair = against(compare(records, store, against=TRACE), "eegnet")
    assert pair.paired is not None


def test_ranks_wins_and_skill_are_counted_by_hand(store: ResultStore) -> None:
    records = []
    for dataset, order in (("eyes", (1.5, 0.7, 0.0)), ("eegmat", (1.0, 1.8, 0.2))):
        for model, strength in zip(("trace", "eegnet", "biot"), order, strict=True):
            records += put_cell(store, model, TWELVE, strength, dataset=dataset)
    records += put_cell(store, "trace", TWELVE, 1.0, dataset="chbmit")
    found = compare(records, store)
    (ranks,) = found.ranks
    assert ranks.datasets == ("eegmat", "eyes")
    assert ranks.left_out == {"chbmit": "no run of biot, eegnet"}
    assert ranks.rows == (("biot", *TRACE[1:]), EEGNET, TRACE)
    assert ranks.ranks.tolist() == [3.0, 1.5, 1.5]
    assert ranks.win_rates.tolist() == [0.0, 0.75, 0.75]
    for m, row in enumerate(ranks.rows):
        skill = []
        for dataset in ranks.datasets:
            own = [
                r.scores["test"]["auroc"]  # type: ignore[index]
                for r in records
                if (r.spec.model, r.spec.dataset.name) == (row[0], dataset)
            ]
            skill.append((np.mean(own) - 0.5) / 0.5)
        assert ranks.skills[m] == pytest.approx(np.mean(skill), abs=1e-12)
    notes = table_of_ranks(ranks, found.pools).notes
    assert notes[0].startswith("Datasets that all 3 rows share: eegmat (AUROC), eyes")
    assert "chbmit does not count: no run of biot, eegnet." in notes


def test_shares_of_labels_are_ranked_apart_and_one_row_not_at_all(
    store: ResultStore,
) -> None:
    records = put_cell(store, "trace", TWELVE, 1.5, seeds=[0])
    assert compare(records, store).ranks == ()
    for model in ("eegnet", "biot"):
        records += put_cell(store, model, TWELVE, 0.5, seeds=[0])
        records += put_cell(store, model, TWELVE, 0.2, seeds=[0], labels="10%")
    found = compare(records, store)
    assert {r.labels: len(r.rows) for r in found.ranks} == {"10%": 2, "all": 3}


def test_a_metric_without_agreed_chance_has_no_skill(store: ResultStore) -> None:
    records = put_cell(store, "trace", TWELVE, 1.5, seeds=[0])
    records += put_cell(store, "eegnet", TWELVE, 0.5, seeds=[0])
    (ranks,) = compare(records, store, metric="weighted_f1").ranks
    assert np.isnan(ranks.skills).all()
    assert not np.isnan(ranks.ranks).any()


def test_rows_are_named_by_what_tells_them_apart() -> None:
    rows = [
        TRACE,
        ("trace", "weights-1a", "small", "probe", "all"),
        ("trace", "weights-1a", "small", "probe", "10%"),
        ("braindecode:EEGNet", "scratch", "small", "scratch", "all"),
    ]
    assert row_called("trace:10%", rows) == rows[2]
    assert row_called("trace:scratch", rows) == TRACE
    assert row_called("braindecode:EEGNet", rows) == rows[3]
    for row in rows:
        assert row_called(":".join(row), rows) == row
    with pytest.raises(SpecError, match=r"names 3 rows.*trace:scratch.*trace:10%"):
        row_called("trace", rows)
    with pytest.raises(UnknownName, match="Did you mean 'trace:10%'"):
        row_called("trace:1%", rows)


def test_intervals_of_differences_stay_within_what_can_be(store: ResultStore) -> None:
    records = put_cell(store, "trace", TWELVE[:2], 2.0, seeds=[0, 1])
    records += put_cell(store, "eegnet", TWELVE[:2], 0.1, seeds=[0, 1])
    records += put_cell(store, "trace", TWELVE[:1], 2.0, dataset="eegmat")
    records += put_cell(store, "eegnet", TWELVE[:1], 0.1, dataset="eegmat")
    found = compare(records, store, against=TRACE)
    pair = against(found, "eegnet")
    assert pair.paired is not None
    assert -1 <= pair.paired.low <= pair.paired.high <= 1
    alone = against(found, "eegnet", "eegmat")
    assert alone.paired is not None
    assert math.isnan(alone.paired.low)
    assert not alone.is_starred
