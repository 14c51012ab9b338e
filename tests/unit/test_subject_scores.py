"""What every subject scores, against direct recomputation, and what is kept of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from eegfm_bench.errors import DataMissing, SpecError, StoreError, UnknownName
from eegfm_bench.report import _summaries
from eegfm_bench.report.scores import chance_of, subject_scores, summaries
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.store import ResultStore
from tests.report_records import broken, spec_of
from tests.stored_predictions import answers, put, put_cell, windows_of_people

PEOPLE = [f"S{k:02d}" for k in range(1, 7)]
ROW = ("eegnet", "scratch", "small", "scratch", "all")


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "runs")


def predictions(store: ResultStore, record: RunRecord) -> Path:
    return store.path(record.run_id) / "predictions.parquet"


@pytest.mark.parametrize(("n_classes", "metric"), [(2, "auroc"), (3, "cohen_kappa")])
def test_subjects_score_as_scikit_learn_says(
    store: ResultStore, n_classes: int, metric: str
) -> None:
    records = put_cell(store, "eegnet", PEOPLE, 0.8, n_classes=n_classes)
    cell = subject_scores(store, records)[ROW, "eyes"]
    assert (cell.metric, cell.subjects, cell.seeds) == (
        metric,
        tuple(PEOPLE),
        (0, 1, 2),
    )
    for r, record in enumerate(records):
        frame = pd.read_parquet(predictions(store, record))
        for s, who in enumerate(PEOPLE):
            own = frame[frame["subject"] == who]
            if n_classes == 2:
                expected = roc_auc_score(own["label"], own["score_1"])
            else:
                guess = own[["score_0", "score_1", "score_2"]].to_numpy().argmax(axis=1)
                expected = cohen_kappa_score(own["label"], guess)
            assert cell.values_sr[s, r] == pytest.approx(expected, abs=1e-12)
        assert cell.pooled_r[r] == record.scores["test"][metric]  # type: ignore[index]


def test_summaries_of_a_cell_give_its_table_number(store: ResultStore) -> None:
    cell = subject_scores(store, put_cell(store, "eegnet", PEOPLE, 0.8))[ROW, "eyes"]
    found = summaries(store, cell)
    assert found.subjects == tuple(PEOPLE)
    assert found.estimate() == pytest.approx(cell.pooled_r.mean(), abs=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_subject_of_one_class_is_left_out_with_the_reason(
    store: ResultStore, n_classes: int
) -> None:
    index = windows_of_people(PEOPLE, n_classes=n_classes)
    index.loc[index["subject"] == "S03", "label"] = 0
    record = put(store, "eegnet", index, answers(index, 1.0, n_classes=n_classes))
    cell = subject_scores(store, [record])[ROW, "eyes"]
    assert cell.undefined == ("S03",)
    assert math.isnan(cell.values_sr[2, 0])
    assert "class" in cell.reasons["S03"]
    assert not np.isnan(np.delete(cell.values_sr, 2, axis=0)).any()


def test_a_run_without_predictions_and_a_failed_one_are_counted(
    store: ResultStore,
) -> None:
    records = put_cell(store, "eegnet", PEOPLE, 0.8)
    predictions(store, records[1]).unlink()
    records.append(broken(spec_of(seed=3)))
    cell = subject_scores(store, records)[ROW, "eyes"]
    assert cell.seeds == (0, 2)
    assert cell.left_out == {
        1: "no predictions.parquet beside its record",
        3: "failed",
    }
    with pytest.raises(DataMissing, match="no subject can be scored"):
        subject_scores(store, [records[1], records[3]])


def damaged(frame: pd.DataFrame, how: str) -> pd.DataFrame:
    if how == "a column is gone":
        return frame.drop(columns="subject")
    if how == "a label is no number":
        return frame.assign(label="left")
    if how == "a label has no score":
        return frame.assign(label=7)
    if how == "a score is not finite":
        return frame.assign(score_0=np.nan)
    if how == "no windows":
        return frame.iloc[:0]
    return frame.drop(columns=[n for n in frame if n.startswith("score_")])


@pytest.mark.parametrize(
    "how",
    [
        *("a column is gone", "a label is no number", "a label has no score"),
        *("a score is not finite", "no windows", "no scores"),
    ],
)
def test_damaged_predictions_are_refused_by_name(store: ResultStore, how: str) -> None:
    record = put_cell(store, "eegnet", PEOPLE, 0.8, seeds=[0])[0]
    path = predictions(store, record)
    damaged(pd.read_parquet(path), how).to_parquet(path)
    with pytest.raises(StoreError, match=str(path)):
        subject_scores(store, [record])


def test_a_truncated_parquet_file_is_refused_by_name(store: ResultStore) -> None:
    record = put_cell(store, "eegnet", PEOPLE, 0.8, seeds=[0])[0]
    path = predictions(store, record)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(StoreError, match=str(path)):
        subject_scores(store, [record])


def test_seeds_tested_on_other_subjects_are_refused(store: ResultStore) -> None:
    records = put_cell(store, "eegnet", PEOPLE, 0.8, seeds=[0])
    records += put_cell(store, "eegnet", [*PEOPLE[:5], "S99"], 0.8, seeds=[1])
    with pytest.raises(StoreError, match="S06, S99 are in one of them alone"):
        subject_scores(store, records)


def test_predictions_of_another_run_are_refused(store: ResultStore) -> None:
    one, other = put_cell(store, "eegnet", PEOPLE, 0.8, seeds=[0, 1])
    path = predictions(store, one)
    path.write_bytes(predictions(store, other).read_bytes())
    with pytest.raises(StoreError, match="are of another run"):
        subject_scores(store, [one])


def test_two_names_of_one_person_are_one(store: ResultStore) -> None:
    records = put_cell(
        store, "eegnet", ["chb01", "chb02", "chb21"], 0.8, dataset="chbmit"
    )
    cell = subject_scores(store, records)[ROW, "chbmit"]
    people, values_pr = cell.by_person()
    assert people == ("chb01 = chb21", "chb02")
    assert values_pr[0] == pytest.approx(cell.values_sr[[0, 2]].mean(axis=0))
    assert summaries(store, cell).subjects == people


def test_unlike_and_simulated_runs_never_meet(store: ResultStore) -> None:
    records = put_cell(store, "eegnet", PEOPLE, 0.8, seeds=[0])
    unlike = put_cell(store, "eegnet", PEOPLE, 0.8, seeds=[1], lr=0.01)
    with pytest.raises(SpecError, match=r"recipe\.lr"):
        subject_scores(store, [*records, *unlike])
    real = put_cell(store, "trace", PEOPLE, 0.8, seeds=[0], data="complete")
    with pytest.raises(SpecError, match="Simulated recordings"):
        subject_scores(store, [*records, *real])


def test_a_metric_that_is_not_one_is_refused(store: ResultStore) -> None:
    records = put_cell(store, "eegnet", PEOPLE, 0.8, seeds=[0])
    with pytest.raises(UnknownName, match="Did you mean 'auroc'"):
        subject_scores(store, records, "aurok")
    with pytest.raises(UnknownName, match="log_loss"):
        subject_scores(store, records, "log_loss")
    with pytest.raises(DataMissing, match="auroc_ovr_macro"):
        subject_scores(store, records, "auroc_ovr_macro")


def test_chance_is_what_guessing_scores(store: ResultStore) -> None:
    index = windows_of_people(PEOPLE)
    index["label"] = (np.arange(len(index)) % 4 == 0).astype(np.int64)
    record = put(store, "eegnet", index, np.full((len(index), 2), 0.5))
    for metric in ("auroc", "balanced_accuracy", "cohen_kappa", "average_precision"):
        cell = subject_scores(store, [record], metric)[ROW, "eyes"]
        assert chance_of(cell) == pytest.approx(cell.pooled_r[0])
    weighted = subject_scores(store, [record], "weighted_f1")[ROW, "eyes"]
    assert chance_of(weighted) is None
    three = windows_of_people(PEOPLE, n_classes=3)
    record = put(
        store, "eegnet", three, np.full((len(three), 3), 1 / 3), dataset="isruc"
    )
    for metric in ("balanced_accuracy", "auroc_ovr_macro", "cohen_kappa"):
        cell = subject_scores(store, [record], metric)[ROW, "isruc"]
        assert chance_of(cell) == pytest.approx(cell.pooled_r[0])


def kept_files(store: ResultStore) -> list[Path]:
    return sorted((store.root / _summaries.FOLDER).iterdir())


def equal(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one, other, equal_nan=True)


def test_the_second_call_reads_no_predictions(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = windows_of_people(PEOPLE)
    index.loc[index["subject"] == "S03", "label"] = 0
    records = [put(store, "eegnet", index, answers(index, 1.0))]
    first = subject_scores(store, records)[ROW, "eyes"]

    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr(_summaries, "windows_of", refuse)
    second = subject_scores(store, records)[ROW, "eyes"]
    assert equal(first.values_sr, second.values_sr)
    assert (first.reasons, first.shares) == (second.reasons, second.shares)


@pytest.mark.parametrize(
    "how", ["empty", "truncated", "no text", "another number", "not a mapping"]
)
def test_what_was_kept_and_is_damaged_is_made_again(
    store: ResultStore, how: str
) -> None:
    records = put_cell(store, "eegnet", PEOPLE, 0.8, seeds=[0])
    first = subject_scores(store, records)[ROW, "eyes"]
    (file,) = kept_files(store)
    whole = file.read_bytes()
    planted = {
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "no text": b"\xff\xfe\x00",
        "another number": whole.replace(b'"shares": [0.5', b'"shares": [0.6'),
        "not a mapping": b"[1, 2]",
    }[how]
    assert planted != whole
    file.write_bytes(planted)
    again = subject_scores(store, records)[ROW, "eyes"]
    assert equal(first.values_sr, again.values_sr)
    assert file.read_bytes() == whole


def test_what_was_kept_of_other_predictions_or_code_is_made_again(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = put_cell(store, "eegnet", PEOPLE, 0.8, seeds=[0])[0]
    before = subject_scores(store, [record])[ROW, "eyes"]
    index = windows_of_people(PEOPLE)
    changed = put(store, "eegnet", index, answers(index, 3.0))
    after = subject_scores(store, [changed])[ROW, "eyes"]
    assert not equal(before.values_sr, after.values_sr)
    (file,) = kept_files(store)
    monkeypatch.setattr(_summaries, "_code", lambda: "other code")
    subject_scores(store, [changed])
    assert json.loads(file.read_text())["key"]["code"] == "other code"


def test_what_was_kept_of_runs_that_are_gone_is_dropped(store: ResultStore) -> None:
    records = put_cell(store, "eegnet", PEOPLE, 0.8, seeds=[0, 1])
    subject_scores(store, records)
    assert len(kept_files(store)) == 2
    for file in store.path(records[1].run_id).iterdir():
        file.unlink()
    store.path(records[1].run_id).rmdir()
    subject_scores(store, records[:1])
    assert [f.name for f in kept_files(store)] == [f"{records[0].run_id}.auroc.json"]


@pytest.mark.parametrize("how", ["a file in its place", "nothing can be renamed"])
def test_a_folder_that_cannot_be_written_to_costs_time_alone(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    records = put_cell(store, "eegnet", PEOPLE, 0.8, seeds=[0])
    expected = subject_scores(store, records)[ROW, "eyes"]
    for file in kept_files(store):
        file.unlink()
    (store.root / _summaries.FOLDER).rmdir()
    if how == "a file in its place":
        (store.root / _summaries.FOLDER).write_text("mine")
    else:

        def refuse(*_: object) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(Path, "replace", refuse)
    found = subject_scores(store, records)[ROW, "eyes"]
    assert equal(expected.values_sr, found.values_sr)
    if how == "nothing can be renamed":
        assert kept_files(store) == []  # nothing half-written either
