"""Pages of a report: well-formed, closed to the outside, and saying what qualifies."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from eegfm_bench.datasets import _spec
from eegfm_bench.report.site._style import STYLE
from eegfm_bench.report.site.pages import build_site
from eegfm_bench.report.site.panels import panels_of
from eegfm_bench.report.site.write import write_site
from eegfm_bench.runs.record import Failure, RunRecord
from eegfm_bench.runs.store import ResultStore
from tests.many_records import spec_of_many, write_records
from tests.report_records import broken, done, seeds, spec_of
from tests.site_reader import Page, read_site

MODELS = ("bandpower", "eegnet", "trace")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two datasets, three models, two seeds, one of which failed."""
    root = tmp_path_factory.mktemp("runs")
    write_records(
        root,
        datasets=("eyes", "faced"),
        models=MODELS,
        seeds=range(2),
        failed=[("eegnet", "eyes", 1)],
    )
    return root


@pytest.fixture(scope="module")
def site(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "report"
    store = ResultStore(runs)
    built = build_site(store, store.records(), title="Some runs")
    assert built.problems == []
    write_site(folder, built.files, {})
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return read_site(site)


def of(records: list[RunRecord], tmp_path: Path, **more: object) -> dict[str, Page]:
    """Write a site of records alone, without anything beside them, and read it."""
    site = build_site(ResultStore(tmp_path), records, title="T", **more)  # type: ignore[arg-type]
    write_site(tmp_path / "site", site.files, {})
    return read_site(tmp_path / "site")


def test_pages_are_whole_and_lead_nowhere_outside(pages: dict[str, Page]) -> None:
    assert {"index.html", "dataset-eyes.html", "dataset-faced.html"} == set(pages)
    assert {name: page.faults for name, page in pages.items() if page.faults} == {}


def test_nothing_is_loaded_or_run(site: Path, pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        assert not {"script", "link", "img", "iframe", "object", "form"} & {
            tag for tag, _ in page.tags
        }
        text = (site / name).read_text(encoding="utf-8")
        assert "default-src 'none'" in text
        assert "://" not in text


def test_a_reader_of_screens_has_headings_names_and_scopes(
    pages: dict[str, Page],
) -> None:
    for page in pages.values():
        named = [tag for tag, _ in page.tags]
        assert named.count("h1") == named.count("main") == 1
        roles = [a.get("role") for tag, a in page.tags if tag == "svg"]
        assert set(roles) <= {"img"}
        assert named.count("title") == named.count("svg") + 1
        assert named.count("caption") == named.count("table")
        assert all("scope" in a for tag, a in page.tags if tag == "th")


def test_every_page_says_first_that_recordings_are_simulated(
    pages: dict[str, Page],
) -> None:
    for page in pages.values():
        first = next(a for tag, a in page.tags if tag == "p")
        assert first["class"] == "banner"
        body = page.text[page.text.index("To the content") :]
        assert body.split("\n")[1].startswith("Simulated recordings")


def test_every_cell_has_a_card_that_the_tables_lead_to(pages: dict[str, Page]) -> None:
    cards = {
        f"{name}#{a['id']}"
        for name, page in pages.items()
        for tag, a in page.tags
        if tag == "section" and a.get("class") == "card"
    }
    assert len(cards) == 2 * len(MODELS)
    assert cards <= set(pages["index.html"].links)


def test_a_failed_run_is_listed_with_its_reason(pages: dict[str, Page]) -> None:
    text = pages["index.html"].text
    assert "EEGNet on Eyes (2 classes)failedseed 1: RunFailed: The loss became nan" in (
        text
    )
    assert "1 seed with scores (0), 1 failed" in pages["dataset-eyes.html"].text


def test_the_same_records_give_the_same_bytes(runs: Path, site: Path) -> None:
    store = ResultStore(runs)
    again = build_site(store, reversed(list(store.records())), title="Some runs")
    for name, text in again.files.items():
        assert (site / name).read_text(encoding="utf-8") == text


def test_the_largest_cards_are_small_enough_for_a_hundred(site: Path) -> None:
    # Nine classes and 23 subjects; the whole of 480 runs is measured below.
    n_bytes = (site / "dataset-faced.html").stat().st_size - len(STYLE)
    assert n_bytes / len(MODELS) < 20_000


@pytest.mark.slow
def test_480_runs_take_less_than_two_megabytes(tmp_path: Path) -> None:
    write_records(tmp_path / "runs")
    store = ResultStore(tmp_path / "runs")
    site = build_site(store, store.records(), title="480 runs")
    assert (site.n_records, site.n_cells, site.problems) == (480, 96, [])
    assert write_site(tmp_path / "site", site.files, {}) < 2_000_000
    pages = read_site(tmp_path / "site")
    assert {name: page.faults for name, page in pages.items() if page.faults} == {}


def test_hostile_names_stay_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = "<script>alert(1)</script>"
    write_records(tmp_path, datasets=("eyes",), models=("eegnet",), seeds=[0])
    known = _spec.find_dataset("eyes")
    named = replace(known, classes=(bad, '"><img src=//x>'), title=bad)
    monkeypatch.setattr(_spec, "find_dataset", lambda _: named)
    record = next(ResultStore(tmp_path).records())
    spec = spec_of_many("eegnet", "eyes", 1)
    failure = Failure(kind=bad, message=f"{bad} & </section>")
    pages = of([record, RunRecord.failed(spec, failure)], tmp_path)
    assert [page.faults for page in pages.values()] == [[], []]
    assert bad in pages["dataset-eyes.html"].text
    assert "script" not in {tag for page in pages.values() for tag, _ in page.tags}


def test_a_model_and_dataset_of_hostile_names_have_a_page(tmp_path: Path) -> None:
    spec = spec_of("torch:a.b:<C>", "../x/<y>", data="complete")
    pages = of([done(spec, 0.7)], tmp_path)
    assert sorted(pages) == ["dataset--x-y-.html", "index.html"]
    assert [page.faults for page in pages.values()] == [[], []]


def test_simulated_and_real_runs_never_share_a_table(tmp_path: Path) -> None:
    real = seeds("eegnet", "eyes", (0.7, 0.8), data="complete")
    pages = of([*real, *seeds("eegnet", "eyes", (0.9,))], tmp_path)
    assert set(pages) == {
        "index.html",
        "dataset-eyes.html",
        "dataset-eyes-simulated.html",
    }
    assert "Simulated" not in pages["dataset-eyes.html"].text
    assert (
        "Simulated recordings: no number" in pages["dataset-eyes-simulated.html"].text
    )
    assert "Part of these results are of simulated" in pages["index.html"].text
    assert "0.750 ± 0.071 (2)" in pages["index.html"].text


def test_unlike_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    pages = of(
        [*seeds("eegnet", "eyes", (0.7,)), *seeds("eegnet", "eyes", (0.9,), lr=0.01)],
        tmp_path,
    )
    text = pages["index.html"].text
    assert "they differ in recipe.lr" in text
    assert "0.700 (1)" in text
    assert "0.900 (1)" in text
    assert "0.800" not in text


def test_folds_of_one_question_stay_together_whichever_was_run_last(
    tmp_path: Path,
) -> None:
    def run(fold: int, lr: float, day: int) -> RunRecord:
        name = f"eyes@fold{fold}of3"
        record = done(spec_of("eegnet", name, lr=lr), 0.7)
        made = record.provenance
        assert made is not None
        at = f"2026-01-{day:02d}T00:00:00+00:00"
        made = made.model_copy(update={"finished_at": at})
        return record.model_copy(update={"provenance": made})

    panels = panels_of(
        [run(1, 0.01, 4), run(2, 0.01, 1), run(1, 0.1, 2), run(2, 0.1, 3)],
        title="T",
    )
    assert [
        [(r.spec.dataset.name[-4:-3], r.spec.recipe.model_dump()["lr"]) for r in rs]
        for rs in (sorted(p.records, key=lambda r: r.cell_id) for p in panels)
    ] == [[("1", 0.01), ("2", 0.01)], [("1", 0.1), ("2", 0.1)]]
    assert "they differ in recipe.lr. Their" in panels[1].note
    alone = panels_of([run(1, 0.01, 4), run(2, 0.1, 3)], title="T")
    assert "they differ in recipe.lr. Their" in alone[1].note


def test_partial_recordings_are_said_first_with_who_is_absent(tmp_path: Path) -> None:
    spec = spec_of("eegnet", "eyes", data="partial")
    pages = of([done(spec, 0.7, absent=("S003", "S004"))], tmp_path)
    for page in pages.values():
        body = page.text[page.text.index("To the content") :]
        assert body.split("\n")[1].startswith(
            "Partial recordings: eyes is partial: 2 of"
        )
    assert "S003–S004" in pages["dataset-eyes.html"].text


def test_what_has_not_run_and_what_is_missing_is_listed(tmp_path: Path) -> None:
    specs = [spec_of("eegnet", "eyes", seed) for seed in (0, 1)]
    pages = of(
        [done(specs[0], 0.7)],
        tmp_path,
        specs=specs,
        missing={"faced": "it is to be asked for"},
    )
    text = pages["index.html"].text
    assert "not run yet1 of 2 seeds" in text
    assert "all of FACED (9 classes)missingit is to be asked for" in text


def test_a_cell_of_failures_alone_has_a_card_without_plots(tmp_path: Path) -> None:
    pages = of([broken(spec_of()), broken(spec_of(seed=1))], tmp_path)
    card = pages["dataset-eyes.html"]
    assert "No seed has scores, 2 failed" in card.text
    assert "svg" not in {tag for tag, _ in card.tags}
    assert card.faults == []


def test_measured_beside_published_says_why_there_is_no_verdict(tmp_path: Path) -> None:
    records = seeds("eegnet", "chbmit", (0.7, 0.8), data="complete")
    pages = of(records, tmp_path)
    assert "Beside published figures" in pages["index.html"].text
    assert "EEGNetpublished" in pages["index.html"].text
    assert pages["index.html"].faults == []


def test_simulated_runs_are_never_set_beside_published(tmp_path: Path) -> None:
    pages = of(seeds("eegnet", "chbmit", (0.7, 0.8)), tmp_path)
    assert "published" not in pages["index.html"].text.replace(
        "never stand beside published numbers", ""
    ).replace("not in their published", "")


def test_a_wide_table_is_shown_in_blocks_that_fit_a_page(tmp_path: Path) -> None:
    records = [r for d in "abcdef" for r in seeds("eegnet", d, (0.7, 0.8))]
    page = of(records, tmp_path)["index.html"]
    headings = [a for tag, a in page.tags if tag == "th" and "colspan" in a]
    assert [a["colspan"] for a in headings[:6]] == ["3"] * 6
    captions = re.findall(r"T: \w, \w", page.text)
    assert captions[:3] == ["T: a, b", "T: c, d", "T: e, f"]
