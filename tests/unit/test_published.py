"""The published figures: whole, sound, and shown as the papers have them."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eegfm_bench.cli import tables
from eegfm_bench.datasets._spec import find_dataset
from eegfm_bench.errors import DataMissing, StoreError, UnknownName
from eegfm_bench.report import _figures
from eegfm_bench.report.published import (
    load_published,
    model_keys,
    published_numbers,
    published_table,
)
from eegfm_bench.report.render import FORMATS, render

FOLDER = Path(__file__).parents[2] / "results" / "published"
CBRAMOD = "CBraMod (ICLR 2025, arXiv 2412.07236)"
HEAD = ",".join(_figures.COLUMNS)
LINE = "Trace (arXiv 2605.11380),1,faced,Trace,main,auroc,0.5,0.1,5,,,"


def folder_of(tmp_path: Path, *lines: str, head: str = HEAD) -> Path:
    for name in ("methods.csv", "protocols.csv", "datasets.csv", "contradictions.csv"):
        shutil.copy(FOLDER / name, tmp_path)
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
    for table in map(published_table, published_numbers()):
        for how in FORMATS:
            assert "published" in render(table, how)


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


def test_a_number_without_a_table_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"number 5\. Known: 1, 2, 3, 4, 10"):
        published_table(5)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (LINE.replace("0.5,", "63.5,"), "mean 63.5 cannot be.*fractions"),
        (LINE.replace("0.5,", "nan,"), "mean nan cannot be"),
        (LINE.replace("0.5,", "high,"), "mean 'high' is no number"),
        (LINE.replace("0.5,", ","), "mean is empty"),
        (LINE.replace(",5,", ",0,"), "n_seeds '0'.*counted from 1"),
        (LINE.replace(",5,", ",2.5,"), "n_seeds '2.5'"),
        (LINE.replace("0.1,", "-0.1,"), "sd -0.1 cannot be"),
        (LINE.replace("auroc", "accuracy"), "metric 'accuracy' is not one of our"),
        (LINE.replace("faced,Trace,main", "faced,Trace,"), "variant is empty"),
        (LINE.replace("faced,Trace", "faced,Tarce"), "method 'Tarce' is not in"),
        (LINE.removesuffix(",,") + "faced-1-00000000,,", "protocol 'faced-1-00000000'"),
        (LINE.removesuffix(",,") + "eyes-1-dd49f418,,", "neither faced's here"),
        (LINE.removesuffix(",") + "Somebody,", "quoted_from 'Somebody' is not another"),
        (LINE.removesuffix(",") + "Trace (arXiv 2605.11380),", "not another paper"),
        ("Trace,1", "fields are expected"),
    ],
)
def test_a_figure_that_cannot_be_is_refused_by_file_line_and_field(
    tmp_path: Path, line: str, found: str
) -> None:
    folder = folder_of(tmp_path, LINE.replace("auroc", "auc_pr"), line)
    with pytest.raises(StoreError, match=f"trace.csv, line 3: .*{found}"):
        load_published(folder)


def test_a_figure_that_can_be_is_read(tmp_path: Path) -> None:
    fields = LINE.removesuffix(",,") + "faced-1-1070934f,,a note"
    row = load_published(folder_of(tmp_path, fields))[0]
    assert (row.mean, row.sd, row.n_seeds) == (0.5, 0.1, 5)
    assert (row.protocol, row.quoted_from, row.note) == (
        "faced-1-1070934f",
        "",
        "a note",
    )


READERS = {
    "methods.csv": _figures.load_methods,
    "contradictions.csv": _figures.load_contradictions,
}


@pytest.mark.parametrize(
    ("name", "line", "found"),
    [
        ("methods.csv", "EEGNet,eegnet,scratch", "method 'EEGNet' is there twice"),
        ("methods.csv", "Mine,mine,somewhere", "start is 'somewhere'"),
        ("methods.csv", "Mine,,scratch", "start is 'scratch'"),
        ("contradictions.csv", "1,1,again", "number 1 is there twice"),
        ("contradictions.csv", "12,one,x", "tables 'one'"),
        ("contradictions.csv", "12,,x", "tables ''"),
    ],
)
def test_what_goes_with_the_figures_is_checked_as_well(
    tmp_path: Path, name: str, line: str, found: str
) -> None:
    folder = folder_of(tmp_path, LINE)
    with (folder / name).open("a") as file:
        file.write(line + "\n")
    n_lines = len((folder / name).read_text().splitlines())
    with pytest.raises(StoreError, match=f"{name}, line {n_lines}: .*{found}"):
        READERS[name](folder)


def test_who_was_copied_from_whom_is_said_figure_by_figure() -> None:
    rows = [r for r in load_published() if r.paper == _figures.PAPER]
    rivals = [r for r in rows if r.table in ("1", "10", "11") and r.method != "Trace"]
    copied = [r for r in rivals if r.method != "CodeBrain"]
    assert len(copied) == 192
    assert {r.quoted_from for r in copied} == {CBRAMOD}
    assert {r.quoted_from for r in rows if r.method == "Trace"} == {""}


def test_a_copied_figure_is_that_of_the_paper_it_was_copied_from() -> None:
    rows = load_published()
    own = {
        (r.dataset, r.method.removesuffix("-Base"), r.metric): (r.mean, r.sd)
        for r in rows
        if r.paper == CBRAMOD and r.variant == "main"
    }
    for row in rows:
        if row.paper == _figures.PAPER and row.quoted_from == CBRAMOD:
            place = (row.dataset, row.method.removesuffix("-Base"), row.metric)
            assert own[place] == (row.mean, row.sd), row


def test_protocols_are_ours_where_the_source_says_enough() -> None:
    rows = load_published()
    own = {r.dataset: r.protocol for r in rows if r.method == "EEGNet"}
    for name in ("faced", "seedv", "physionet_mi", "isruc", "chbmit", "bcic2020"):
        assert own[name] == find_dataset(name).protocol()
    assert own["tuev"] == "cbramod-random-val"
    trace = {r.dataset: r.protocol for r in rows if r.method == "Trace"}
    assert trace["isruc"] == trace["tuev"] == ""


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


# Of every contradiction: figures that show it, as (table, dataset, variant, metric).
SHOWN = {
    1: [("1", "seedv", "main", 0.4186), ("2", "seedv", "queries=4", 0.4032)],
    2: [("1", "faced", "main", 0.6352), ("12", "faced", "{1,2,4}", 0.6283)],
    3: [("1", "isruc", "main", 0.7997), ("16", "isruc", "=200", 0.7941)],
    4: [("1", "isruc", "main", 0.8202)],
    5: [("11", "tuev", "main", 0.6772), ("16", "faced", "=200", 0.5883)],
    6: [],
    7: [("4", "chbmit", "=HBN", 0.5654), ("4", "chbmit", "CHB-MIT", 0.4400)],
    8: [("1", "chbmit", "main", 0.5921)],
    9: [("10", "shu_mi", "main", 0.6329), ("11", "tuev", "main", 0.6671)],
    10: [("3", "faced", "multi_scale", 0.5883)],
    11: [("16", "faced", "=400", 0.5882), ("16", "faced", "=100", 0.5874)],
}


def test_the_paper_s_contradictions_are_kept_as_figures() -> None:
    rows = load_published()
    for number, figures in SHOWN.items():
        for table, dataset, variant, mean in figures:
            found = [
                r
                for r in rows
                if (r.paper, r.table, r.dataset, r.mean)
                == (_figures.PAPER, table, dataset, mean)
                and variant in r.variant
            ]
            assert found, (number, table, dataset, variant, mean)
    no_sd = {r.table for r in rows if r.metric == "cohen_kappa" and r.sd is None}
    assert no_sd >= {"3", "17", "18", "19"}
    names = {r.method for r in rows if r.paper == _figures.PAPER}
    assert names >= {"LaBraM", "LaBraM-Base"} or any(
        "printed as LaBraM" in r.note for r in rows
    )
    seedv = [r.mean for r in rows if r.dataset == "seedv" and r.table in ("2", "12")]
    assert max(seedv) < 0.4186


def test_every_contradiction_stands_below_the_tables_it_is_about() -> None:
    found = _figures.load_contradictions()
    assert [c.number for c in found] == list(range(1, 12)) == sorted(SHOWN)
    for one in found:
        for number in one.tables:
            if number in tables.DECLARED:
                declared = tables.declared_table(number)
                assert declared is not None
                notes = declared.notes
            else:
                notes = list(published_table(int(number)).notes)
            assert any(one.note in note for note in notes), (one.number, number)


def test_the_files_can_be_remade(tmp_path: Path) -> None:
    facts = Path(__file__).parents[3] / "shared" / "facts"
    if not (facts / "published_trace.csv").is_file():
        pytest.skip("no transcribed figures beside the checkout")
    script = tmp_path / "build.py"
    script.write_text((FOLDER / "build.py").read_text())
    subprocess.run([sys.executable, script, facts], check=True, capture_output=True)
    for name in ("trace.csv", "others.csv", "methods.csv", "datasets.csv"):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()
