"""The published figures: whole, sound, and shown as the papers have them."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from eegfm_bench.errors import DataMissing, SpecError, StoreError, UnknownName
from eegfm_bench.report import _figures
from eegfm_bench.report.published import (
    beside_published,
    load_published,
    model_keys,
    published_numbers,
    published_table,
)
from eegfm_bench.report.render import FORMATS, render
from eegfm_bench.report.table import make_table
from tests.report_records import seeds

FOLDER = Path(__file__).parents[2] / "results" / "published"
HEAD = ",".join(_figures.COLUMNS)
LINE = "Trace (arXiv 2605.11380),1,faced,Trace,main,auroc,0.5,0.1,5,"


def folder_of(tmp_path: Path, *lines: str, head: str = HEAD) -> Path:
    (tmp_path / "trace.csv").write_text("\n".join((head, *lines)) + "\n")
    (tmp_path / "others.csv").write_text(HEAD + "\n")
    return tmp_path


def shown(number: int, method: str, dataset: str, metric: str) -> str:
    table = published_table(number)
    row = next(r for r in table.rows if method in r.labels)
    places = [(c.group, c.metric) for c in table.columns]
    return table.show(row.cells[places.index((dataset, metric))])


def test_every_file_reads_clean() -> None:
    rows = load_published()
    n_lines = sum(
        len((FOLDER / name).read_text().splitlines()) - 1
        for name in ("trace.csv", "others.csv")
    )
    assert len(rows) == n_lines == 963
    assert {row.method for row in rows} <= set(_method_column())
    assert len(_method_column()) == len(set(_method_column()))


def _method_column() -> list[str]:
    with (FOLDER / "methods.csv").open(newline="") as file:
        return [line["method"] for line in csv.DictReader(file)]


def test_every_table_of_the_paper_is_there() -> None:
    assert published_numbers() == [1, 2, 3, 4, *range(10, 20)]
    for number in published_numbers():
        for how in FORMATS:
            text = render(published_table(number), how)
            assert "published" in text


@pytest.mark.parametrize(
    ("number", "method", "dataset", "metric", "text"),
    [
        (1, "Trace", "faced", "balanced_accuracy", "0.6352 ± 0.0037 (5)"),
        (1, "EEGNet", "faced", "balanced_accuracy", "0.4090 ± 0.0122 (5)"),
        (1, "EEGNet", "seedv", "cohen_kappa", "0.1006 ± 0.0143 (5)"),
        (1, "Trace", "seedv", "balanced_accuracy", "0.4186 ± 0.0032 (5)"),
        (1, "Trace", "chbmit", "auc_pr", "0.5921 ± 0.0795 (5)"),
        (1, "Trace", "isruc", "weighted_f1", "0.8209 ± 0.0040 (5)"),
        (1, "CodeBrain", "physionet_mi", "cohen_kappa", "—"),
        (10, "EEGNet", "shu_mi", "auroc", "0.6283 ± 0.0152 (5)"),
        (11, "EEGNet", "tuev", "weighted_f1", "0.6539 ± 0.0120 (5)"),
        (17, "branch=dual", "faced", "cohen_kappa", "0.5883 (5)"),
    ],
)
def test_a_cell_is_as_printed(
    number: int, method: str, dataset: str, metric: str, text: str
) -> None:
    assert shown(number, method, dataset, metric) == text


def test_tables_printed_in_percent_are_fractions_here() -> None:
    text = shown(2, "temporalformer_queries=1", "faced", "balanced_accuracy")
    assert text == "0.6192 ± 0.0047 (5)"
    assert "printed in percent." in published_table(2).notes


def test_the_best_published_value_is_marked() -> None:
    table = published_table(1)
    ranks = {row.labels[0]: row.cells[0].rank for row in table.rows}
    assert (ranks["Trace"], ranks["CodeBrain"], ranks["EEGNet"]) == (1, 2, 0)


def test_methods_lead_to_model_keys() -> None:
    keys = model_keys()
    assert keys["LaBraM-Base"] == keys["LaBraM"] == "labram"
    assert keys["CNN-Transformer"] == "cnn_transformer"
    assert "REVE-Base" not in keys


def test_measured_rows_stand_below_their_published_ones_and_are_ranked_apart() -> None:
    measured = make_table(
        [
            *seeds("eegnet", "faced", (0.1, 0.2, 0.3), n_classes=9, data="complete"),
            *seeds("bandpower", "faced", (0.1,), n_classes=9, data="complete"),
        ]
    )
    table = beside_published(measured, 1)
    labels = [row.labels[:2] for row in table.rows]
    assert labels[:2] == [("eegnet", "published"), ("eegnet", "measured")]
    assert labels[-1] == ("bandpower", "measured")
    assert table.heading == ""
    by_label = {row.labels[:2]: row.cells[0] for row in table.rows}
    assert table.show(by_label["eegnet", "measured"]) == "0.2000 ± 0.1000 (3)"
    assert by_label["eegnet", "measured"].rank == 1
    assert by_label["trace", "published"].rank == 1
    assert by_label["eegnet", "published"].rank == 0
    for how in FORMATS:
        assert render(table, how)


def test_simulated_rows_never_stand_beside_published_ones() -> None:
    measured = make_table(seeds("eegnet", "faced", (0.1, 0.2), n_classes=9))
    with pytest.raises(SpecError, match="never stand beside published"):
        beside_published(measured, 1)


def test_a_missing_dataset_keeps_its_reason_beside_published_rows() -> None:
    records = seeds("eegnet", "faced", (0.5,), n_classes=9, data="complete")
    measured = make_table(records, missing={"chbmit": "not here"})
    table = beside_published(measured, 1)
    groups = [group for group, *_ in table.spans()]
    assert len(groups) == len(set(groups))
    chbmit = [i for i, c in enumerate(table.columns) if c.group == "chbmit"]
    row = next(r for r in table.rows if r.labels[:2] == ("eegnet", "measured"))
    assert [row.cells[i].text for i in chbmit] == ["missing: not here"] * 3


def test_a_number_without_a_table_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"number 5\. Known: 1, 2, 3, 4, 10"):
        published_table(5)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (LINE.replace("0.5,", "63.5,"), "Figures are fractions"),
        (LINE.replace("0.5,", "nan,"), "cannot be"),
        (LINE.replace("0.5,", "high,"), "could not convert"),
        (LINE.replace(",5,", ",0,"), "counted from 1"),
        (LINE.replace("0.1,", "-0.1,"), "cannot be"),
        (LINE.replace("auroc", "accuracy"), "not one of our metrics"),
        ("Trace,1", "fields are expected"),
    ],
)
def test_a_figure_that_cannot_be_is_refused(
    tmp_path: Path, line: str, found: str
) -> None:
    with pytest.raises(StoreError, match=found):
        load_published(folder_of(tmp_path, line))


def test_a_figure_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="twice"):
        load_published(folder_of(tmp_path, LINE, LINE))


def test_other_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="expected paper, table"):
        load_published(folder_of(tmp_path, head="paper,table"))


def test_an_absent_registry_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataMissing, match="Install eegfm-bench again"):
        load_published(tmp_path)
    monkeypatch.setattr(_figures, "shipped_folder", lambda name: None)
    with pytest.raises(DataMissing, match="results/published"):
        load_published()


def test_the_files_can_be_remade(tmp_path: Path) -> None:
    facts = Path(__file__).parents[3] / "shared" / "facts"
    if not (facts / "published_trace.csv").is_file():
        pytest.skip("no transcribed figures beside the checkout")
    script = tmp_path / "build.py"
    script.write_text((FOLDER / "build.py").read_text())
    subprocess.run([sys.executable, script, facts], check=True, capture_output=True)
    for name in ("trace.csv", "others.csv", "methods.csv"):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()
