"""A table in every format: the same numbers, readable, and safe to paste."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from eegfm_bench.errors import UnknownName
from eegfm_bench.report._cells import Cell, Column, Row, Table
from eegfm_bench.report.published import published_table
from eegfm_bench.report.render import (
    CSV_COLUMNS,
    FORMATS,
    render,
    to_console,
    to_latex,
    to_markdown,
)
from eegfm_bench.report.table import make_table
from eegfm_bench.runs.store import ResultStore
from tests.report_records import broken, done, seeds, spec_of

SWEEP = Path(__file__).parents[1] / "golden" / "sweep"


@pytest.fixture
def table() -> Table:
    records = [
        *seeds("eegnet", "eyes", (0.1, 0.2, 0.3)),
        *seeds("chance", "eyes", (0.5, 0.5)),
        done(spec_of("eegnet", "faced"), 0.25, None, n_classes=9),
        broken(spec_of("chance", "faced"), "killed & <gone> | 100%"),
    ]
    missing = {"chbmit": "no folder below the root"}
    return make_table(records, title="Two_datasets & more", missing=missing)


def plain_table(text: str) -> Table:
    cell = Cell(state="missing", text=text, reason=text)
    return Table(
        title=text,
        heading="",
        data="complete",
        stub=("model",),
        columns=(Column(group=text, metric="auroc"),),
        rows=(Row(labels=(text,), cells=(cell,)),),
        caption=text,
        notes=(text,),
    )


def on_console(table: Table, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(to_console(table))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_stored_sweep_yields_the_stored_table() -> None:
    """Remake both with ``python -m tests.golden.sweep.remake``, then look."""
    records = ResultStore(SWEEP / "runs").records()
    text = render(make_table(records, title="A stored sweep"), "md")
    assert text.encode() == (SWEEP / "table.md").read_bytes()


@pytest.mark.parametrize("how", ["md", "latex"])
def test_simulated_recordings_are_named_in_the_first_line(
    table: Table, how: str
) -> None:
    assert "simulated recordings" in render(table, how).splitlines()[0]


def test_simulated_recordings_are_named_in_data_formats(table: Table) -> None:
    lines = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert {line["data"] for line in lines if line["protocol"]} == {"simulated"}
    assert {line["data"] for line in lines} == {"simulated"}
    document = json.loads(render(table, "json"))
    assert next(iter(document)) == "heading"
    assert document["heading"] == "simulated recordings"
    assert document["data"] == "simulated"
    assert on_console(table, 80).splitlines()[0].strip() == "simulated recordings"
    page = render(table, "html")
    assert page.index("simulated recordings</p>") < page.index("<table ")


def test_real_recordings_have_no_heading() -> None:
    record = done(spec_of("eegnet", "eegmat", data="complete"), 0.5)
    assert render(make_table([record]), "md").startswith("| model ")


def test_markdown_is_one_grid_with_best_bold_and_second_underlined(
    table: Table,
) -> None:
    text = to_markdown(table)
    grid = [line for line in text.splitlines() if line.startswith("|")]
    bars = {len(re.findall(r"(?<!\\)\|", line)) for line in grid}
    assert bars == {len(table.columns) + len(table.stub) + 1}
    assert "**0.500 ± 0.000 (2)**" in text
    assert "<u>0.200 ± 0.100 (3)</u>" in text


def test_latex_escapes_what_tex_would_read() -> None:
    text = to_latex(plain_table(r"a_b & 5% of $x #1 {y} ~^ \z µV ± † — … < >"))
    assert r"a\_b \& 5\% of \$x \#1 \{y\}" in text
    assert r"\textasciitilde{}\textasciicircum{} \textbackslash{}z" in text
    assert r"$\mu$V $\pm$ $\dagger$ --- \ldots{} $<$ $>$" in text
    assert text.isascii()


def test_latex_is_a_booktabs_table(table: Table) -> None:
    text = to_latex(table)
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\cmidrule(lr){3-5}"):
        assert rule in text
    assert r"\textbf{0.500 $\pm$ 0.000 (2)}" in text
    assert r"\underline{0.200 $\pm$ 0.100 (3)}" in text
    assert r"\multicolumn{3}{c}{failed: killed \& $<$gone$>$ $|$ 100\%}" in text
    n_columns = len(table.stub) + len(table.columns)
    for line in text.split(r"\midrule")[1].split(r"\bottomrule")[0].splitlines():
        spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
        cells = len(re.findall(r"(?<!\\)&", line)) + 1 if line else n_columns
        assert cells + sum(spans) - len(spans) == n_columns


def test_csv_has_one_line_per_row_and_column(table: Table) -> None:
    lines = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert tuple(lines[0]) == CSV_COLUMNS
    assert len(lines) == len(table.rows) * len(table.columns)
    best = next(
        line for line in lines if (line["model"], line["metric"]) == ("eegnet", "auroc")
    )
    assert float(best["mean"]) == pytest.approx(0.2, abs=1e-15)
    assert (best["n"], best["init"], best["protocol"]) == (
        "3",
        "scratch",
        "eyes-1-0a1b2c3d",
    )
    failed = [line for line in lines if line["state"] == "failed"]
    assert len(failed) == 3
    assert failed[0]["mean"] == ""
    assert "killed & <gone> | 100%" in failed[0]["reason"]


def test_json_is_one_document_with_all_cells(table: Table) -> None:
    document = json.loads(render(table, "json"))
    cells = document["rows"][1]["cells"]
    assert document["rows"][1]["model"] == "eegnet"
    assert cells[0]["text"] == "0.200 ± 0.100 (3)"
    assert (cells[0]["n"], cells[0]["init"], cells[0]["rank"]) == (3, "scratch", 2)
    assert document["notes"] == list(table.notes)


class _Page(HTMLParser):
    void = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_a_whole_page_that_needs_nothing_else(table: Table) -> None:
    page = render(table, "html")
    reader = _Page()
    reader.feed(page)
    assert reader.open == []
    assert not {"script", "link", "img", "iframe"} & set(reader.names)
    assert "http" not in page
    assert "url(" not in page
    assert "killed &amp; &lt;gone&gt;" in page
    assert table.caption in page
    assert page.count("<li>") == len(table.notes)


def test_html_escapes_everything_a_person_can_name() -> None:
    page = render(plain_table('<b>"x"&'), "html")
    assert "<b>" not in page
    assert page.count("&lt;b&gt;&quot;x&quot;&amp;") >= 6


@pytest.mark.parametrize("width", [60, 80, 100, 160, 400])
def test_a_terminal_of_any_width_shows_every_number_whole(width: int) -> None:
    table = published_table(1)
    text = on_console(table, width)
    assert max(map(len, text.splitlines())) <= width
    for row in table.rows:
        for cell in row.cells:
            assert table.show(cell) in text


def test_a_wide_terminal_puts_datasets_side_by_side(table: Table) -> None:
    narrow, wide = on_console(table, 80), on_console(table, 200)
    assert (narrow.count("\n Chance "), wide.count("\n Chance ")) == (2, 1)


def test_a_format_nobody_knows_is_refused(table: Table) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'html'"):
        render(table, "htm")
    assert set(FORMATS) == {"md", "latex", "csv", "html", "json"}
