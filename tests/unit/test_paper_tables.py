"""Tables as papers lay them out: blocks, names, protocols, folds."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from eegfm_bench.cli import tables
from eegfm_bench.datasets._spec import dataset_names, find_dataset
from eegfm_bench.report._cells import Table
from eegfm_bench.report.published import published_table
from eegfm_bench.report.render import FORMATS, render, render_together, to_console
from eegfm_bench.report.table import make_table
from eegfm_bench.runs.record import RunRecord
from tests.report_records import done, seeds, spec_of

PAPER = ["EEGNet", "EEGConformer", "CNN-Transformer", "FFCL", "ST-Transformer"]
PAPER += ["BIOT", "LaBraM-Base", "CBraMod", "CodeBrain", "Trace"]
FOLDS = tuple(f"eyes@fold{k}of3" for k in (1, 2, 3))


def on_console(table: Table, width: int = 160) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(to_console(table))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_table_1_has_the_papers_blocks_methods_and_names() -> None:
    table = published_table(1)
    assert [row.labels[0] for row in table.rows] == PAPER
    assert [[group for group, *_ in part.spans()] for part in table.parts()] == [
        ["faced", "seedv"],
        ["isruc", "bcic2020"],
        ["chbmit", "physionet_mi"],
    ]
    text = render(table, "md")
    heads = [line for line in text.splitlines() if line.startswith("| method")]
    assert len(heads) == 3
    assert "FACED (9 classes): kappa" in heads[0]
    assert "CHB-MIT (2 classes): AUC-PR" in heads[2]


@pytest.mark.parametrize(("number", "name"), [(10, "SHU-MI"), (11, "TUEV")])
def test_tables_10_and_11_are_one_block(number: int, name: str) -> None:
    table = published_table(number)
    assert [row.labels[0] for row in table.rows] == PAPER
    assert len(table.parts()) == 1
    assert table.name(table.columns[0].group).startswith(f"{name} (")


def test_a_measured_table_reads_as_papers_do_and_keeps_keys_for_scripts() -> None:
    records = [
        *seeds("trace", "faced", (0.5,), n_classes=9),
        *seeds("cnn_transformer", "faced", (0.4,), n_classes=9),
        *seeds("chance", "faced", (0.1,), n_classes=9),
        *seeds("labram", "eyes", (0.1,)),
    ]
    table = make_table(records, blocks_as="table1")
    named = [table.read(row)[0] for row in table.rows]
    assert named == ["Chance", "CNN-Transformer", "LaBraM", "Trace"]
    lines = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert {line["model"] for line in lines} == {
        *("chance", "cnn_transformer", "labram", "trace")
    }
    assert {line["dataset"] for line in lines} == {"faced", "eyes"}
    document = json.loads(render(table, "json"))
    assert document["names"]["faced"] == "FACED (9 classes)"
    assert document["blocks"] == [["faced"], ["eyes"]]


def test_a_table_in_blocks_is_the_same_numbers_block_by_block() -> None:
    records = [
        *seeds("eegnet", "faced", (0.25,), n_classes=9),
        *seeds("eegnet", "eyes", (0.75,)),
    ]
    table = make_table(records, blocks_as="table1")
    for how in FORMATS:
        text = render(table, how)
        assert ("0.250 (1)" in text and "0.750 (1)" in text) or how == "csv"
    latex = render(table, "latex")
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2
    assert latex.count(r"\begin{table}") == 1


def test_every_format_names_the_protocol_of_every_dataset() -> None:
    table = make_table(
        [
            done(spec_of("eegnet", protocol="eyes-1-aaaaaaaa"), 0.5),
            done(spec_of("biot", protocol="eyes-1-bbbbbbbb"), 0.4),
        ]
    )
    line = "Protocols: Eyes eyes-1-aaaaaaaa, eyes-1-bbbbbbbb; ids that differ in"
    for text in (render(table, "md"), render(table, "html"), render(table, "latex")):
        assert line in text
    assert line in on_console(table)
    column = json.loads(render(table, "json"))["columns"][0]
    assert column["protocols"] == ["eyes-1-aaaaaaaa", "eyes-1-bbbbbbbb"]


def test_html_tells_a_screen_reader_which_header_is_of_what() -> None:
    page = render(published_table(1), "html")
    heads = re.findall(r"<th(?![a-z])[^>]*>", page)
    assert heads
    assert all('scope="' in head for head in heads)
    assert page.count("<table aria-label=") == 3
    assert 'scope="colgroup" colspan="3">FACED (9 classes)</th>' in page


def folds() -> list[RunRecord]:
    return [
        record
        for name in FOLDS
        for record in (*seeds("eegnet", name, (0.5,)), *seeds("chance", name, (0.5,)))
    ]


@pytest.mark.parametrize("how", ["md", "latex", "html"])
def test_folds_are_counted_for_people_and_kept_for_scripts(how: str) -> None:
    table = make_table([*folds(), *seeds("eegnet", "faced", (0.5,), n_classes=9)])
    said = "eyes: all 3 folds over people, each a protocol of its own"
    assert said in render(table, how)
    assert "fold1of3" not in render(table, how)
    assert "FACED" in render(table, how)
    lines = csv.DictReader(io.StringIO(render(table, "csv")))
    assert {line["dataset"] for line in lines} == {*FOLDS, "faced"}
    assert said in on_console(table).replace("\n", " ")


def test_folds_alone_leave_no_empty_grid() -> None:
    table = make_table(folds())
    assert "|" not in render(table, "md")
    assert "<table" not in render(table, "html")
    assert "EEGNet" not in on_console(table)


def test_what_belongs_below_a_table_is_in_the_same_text() -> None:
    above = make_table(seeds("eegnet", "eyes", (0.5,)), title="Above")
    below = make_table(seeds("chance", "eyes", (0.25,)), title="Below")
    for how in ("md", "latex", "html"):
        text = render_together([above, below], how)
        assert text.index("Above") < text.index("Below")
    page = render_together([above, below], "html")
    assert page.count("<html") == page.count("<style>") == 1
    document = json.loads(render_together([above, below], "json"))
    assert document["below"][0]["title"] == "Below"
    assert "0.25" not in render_together([above, below], "csv")


def test_table_8_is_the_registry() -> None:
    declared = tables.declared_table("8")
    assert declared is not None
    rows = {
        row[0]: dict(zip(declared.columns, row, strict=True)) for row in declared.rows
    }
    scored = [n for n in dataset_names() if not find_dataset(n).is_corpus]
    assert set(rows) == set(scored)
    faced = rows["faced"]
    assert faced["train / val / test"] == "6,720 / 1,680 / 1,932"
    assert faced["in all"] == faced["Trace's"] == "10,332"
    assert faced["protocol"] == find_dataset("faced").protocol()
    for row in rows.values():
        if row["Trace's"] != "–":
            assert row["in all"] == row["Trace's"], row["dataset"]


@pytest.mark.parametrize("number", ["5", "6", "7", "8", "9"])
def test_every_declared_table_comes_in_every_format(number: str) -> None:
    declared = tables.declared_table(number)
    assert declared is not None
    for how in FORMATS:
        text = tables.text_of([declared], how)
        assert declared.rows[0][0] in text.replace("\\_", "_")
    page = tables.text_of([declared], "html")
    heads = re.findall(r"<th(?![a-z])[^>]*>", page)
    assert all('scope="' in head for head in heads)


def test_a_sweeps_tables_are_saved_in_every_format(tmp_path: Path) -> None:
    table = make_table(seeds("eegnet", "eyes", (0.5,)), title="Mine")
    path = tables.save_tables(tmp_path / "tables", "mine", [table])
    assert path == tmp_path / "tables" / "mine.md"
    assert {file.name for file in path.parent.iterdir()} == {
        f"mine.{ending}" for ending in ("md", "tex", "csv", "html", "json")
    }
