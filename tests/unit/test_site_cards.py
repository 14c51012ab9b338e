"""A card's numbers are those of the stored scores; what is absent is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, confusion_matrix, roc_auc_score

from eegfm_bench.report._groups import Group, grouped
from eegfm_bench.report.site.card_page import card_section
from eegfm_bench.report.site.cards import RIGHT, Card, Windows, card_of
from eegfm_bench.report.site.pages import build_site
from eegfm_bench.runs.predictions import predictions_frame, read_predictions
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.store import ResultStore
from eegfm_bench.statistics.calibration import calibration
from tests.many_records import write_records
from tests.report_records import done, spec_of
from tests.site_reader import read_page


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    write_records(
        root, datasets=("eyes", "bcic2020"), models=("eegnet",), seeds=range(2)
    )
    return root


@pytest.fixture
def store(made: Path, tmp_path: Path) -> ResultStore:
    """A copy that a test may damage."""
    return ResultStore(shutil.copytree(made, tmp_path / "runs"))


def card(store: ResultStore, dataset: str) -> Card:
    records = [r for r in store.records() if r.spec.dataset.name == dataset]
    ((row, name), group), *_ = grouped([r.spec for r in records], records).items()
    return card_of(store, row, name, group)


def windows(store: ResultStore, dataset: str) -> Windows:
    found = card(store, dataset).windows
    assert isinstance(found, Windows)
    return found


def text_of(found: Card) -> str:
    page = read_page(
        f"<!doctype html>\n<html lang='en'>{card_section(found, (), {})}</html>"
    )
    assert page.faults == []
    return page.text


def predictions(store: ResultStore, dataset: str, seed: int) -> Path:
    record = _records(store, dataset)[seed]
    return store.path(record.run_id) / "predictions.parquet"


def _records(store: ResultStore, dataset: str) -> list[RunRecord]:
    found = [r for r in store.records() if r.spec.dataset.name == dataset]
    return sorted(found, key=lambda r: r.spec.seed)


@pytest.mark.parametrize("dataset", ["eyes", "bcic2020"])
def test_the_confusion_is_that_of_scikit_learn(
    store: ResultStore, dataset: str
) -> None:
    expected = 0
    for seed in (0, 1):
        index, scores_NK = read_predictions(predictions(store, dataset, seed))
        guess = scores_NK.argmax(axis=1)
        expected = expected + confusion_matrix(index["label"], guess)
    assert np.array_equal(windows(store, dataset).confusion_KK, expected)


@pytest.mark.parametrize("dataset", ["eyes", "bcic2020"])
def test_each_subjects_score_is_that_of_its_windows(
    store: ResultStore, dataset: str
) -> None:
    found = windows(store, dataset)
    assert found.metric == ("auroc" if dataset == "eyes" else "cohen_kappa")
    for r, seed in enumerate(found.seeds):
        index, scores_NK = read_predictions(predictions(store, dataset, seed))
        for s, who in enumerate(found.subjects):
            own = (index["subject"] == who).to_numpy()
            labels = index["label"].to_numpy()[own]
            expected = (
                roc_auc_score(labels, scores_NK[own, 1])
                if dataset == "eyes"
                else cohen_kappa_score(labels, scores_NK[own].argmax(axis=1))
            )
            assert found.values_SR[s, r] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dataset", ["eyes", "bcic2020"])
def test_bins_of_all_seeds_are_those_of_all_windows(
    store: ResultStore, dataset: str
) -> None:
    parts = [read_predictions(predictions(store, dataset, seed)) for seed in (0, 1)]
    labels = np.concatenate([index["label"].to_numpy() for index, _ in parts])
    expected = calibration(labels, np.concatenate([scores for _, scores in parts]))
    assert not isinstance(expected, str)
    found = windows(store, dataset)
    assert [b.n for b in found.bins] == [b.n for b in expected.bins]
    for mine, theirs in zip(found.bins, expected.bins, strict=True):
        assert mine.confidence == pytest.approx(theirs.confidence, abs=1e-12)
        assert mine.accuracy == pytest.approx(theirs.accuracy, abs=1e-12)


def test_what_was_counted_before_is_the_same_again(store: ResultStore) -> None:
    first = card_section(card(store, "eyes"), (), {})
    kept = sorted((store.root / ".summaries").glob("*.card.json"))
    assert len(kept) == 2
    assert card_section(card(store, "eyes"), (), {}) == first
    kept[0].write_text(kept[0].read_text()[:-40])  # cut short by a kill
    kept[1].write_text('{"key": 1}')
    assert card_section(card(store, "eyes"), (), {}) == first


def test_other_predictions_are_counted_anew(store: ResultStore) -> None:
    card(store, "eyes")
    file = predictions(store, "eyes", 0)
    index, scores_NK = read_predictions(file)
    predictions_frame(index, scores_NK[:, ::-1]).to_parquet(file, index=False)
    found = card(store, "eyes")
    assert "are of another run" in found.problems[0]
    assert found.unusable == (_records(store, "eyes")[0].run_id,)
    assert isinstance(found.windows, Windows)
    assert found.windows.seeds == (1,)


def test_a_damaged_file_is_named_and_hides_nothing_else(store: ResultStore) -> None:
    file = predictions(store, "eyes", 1)
    file.write_bytes(file.read_bytes()[:500])
    history = file.with_name("history.csv")
    history.write_text("epoch,loss\n1,nan\n")
    found = card(store, "eyes")
    assert [str(path) in problem for path, problem in zip(
        (file, history), found.problems, strict=True)] == [True, True]  # fmt: skip
    text = text_of(found)
    assert str(file) in text
    assert "No history beside 1 of 2 seeds" in text
    site = build_site(store, store.records(), title="T")
    assert len(site.problems) == 2
    overview = read_page(site.files["index.html"])
    assert "1 runs are left out here" in overview.text
    assert "95 % interval" in overview.text


def test_records_alone_have_a_card_that_says_what_is_absent(tmp_path: Path) -> None:
    spec = spec_of("eegnet", "eyes")
    group = Group(specs={spec.run_id: spec}, records=[done(spec, 0.7)])
    text = text_of(card_of(ResultStore(tmp_path), ("eegnet",) * 5, "eyes", group))
    assert "No predictions.parquet lies beside these records" in text
    assert "No history.csv lies beside these records" in text
    assert "operationsnot recorded" in text
    assert "latencynot recorded" in text


def test_undefined_scores_have_their_reason(tmp_path: Path) -> None:
    spec = spec_of("eegnet", "eyes")
    group = Group(specs={spec.run_id: spec}, records=[done(spec, 0.7, None, 0.8)])
    text = text_of(card_of(ResultStore(tmp_path), ("eegnet",) * 5, "eyes", group))
    assert "n/a: AUC-PR: no window of class 1 in this part" in text


def test_subjects_of_one_class_each_are_shown_by_what_was_right(
    store: ResultStore,
) -> None:
    for record in _records(store, "eyes"):
        file = store.path(record.run_id) / "predictions.parquet"
        index, scores_NK = read_predictions(file)
        # Everybody is of one class now; which window is which stays as it was.
        index["subject"] = index["subject"] + index["label"].map({0: "a", 1: "b"})
        predictions_frame(index, scores_NK).to_parquet(file, index=False)
    found = windows(store, "eyes")
    assert found.metric == RIGHT
    index, scores_NK = read_predictions(predictions(store, "eyes", 0))
    own = index["subject"] == found.subjects[0]
    right = (scores_NK.argmax(axis=1) == index["label"])[own].mean()
    assert found.values_SR[0, 0] == pytest.approx(right)
    assert "No subject alone has another score" in text_of(card(store, "eyes"))


def test_the_whole_question_is_on_the_card(store: ResultStore) -> None:
    text = text_of(card(store, "eyes"))
    for record in _records(store, "eyes"):
        assert record.run_id in text
    assert '"batch_size": 64' in text
    assert '"fingerprint": "drawn-1"' in text
