"""Generated pages are what would be made now, and say what a spec says."""

from __future__ import annotations

import re
import runpy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eegfm_bench.datasets import chbmit, eegmat
from eegfm_bench.datasets._spec import DatasetSpec, dataset_names, find_dataset
from eegfm_bench.symbols import PARTS

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def generate() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "generate.py"))


@pytest.fixture(scope="module")
def pages(generate: dict[str, Any]) -> dict[Path, str]:
    return generate["pages"]()


def test_the_pages_are_what_would_be_made(generate: dict[str, Any]) -> None:
    stale = [f"docs/{page}" for page in generate["differing"]()]
    assert not stale, (
        f"{', '.join(stale)}: not what the package says now. Run `make docs` (or "
        f"`.venv/bin/python docs/generate.py`) and commit the result."
    )


def test_every_dataset_has_a_page_and_a_line_of_the_index(
    pages: dict[Path, str],
) -> None:
    index = pages[Path("datasets/README.md")]
    linked = re.findall(r"\[`(.+?)`\]\((.+?)\)", index)
    assert [name for name, _ in linked] == dataset_names()
    assert {Path("datasets", page) for _, page in linked} | {
        Path("datasets/README.md")
    } == set(pages)
    assert dict(linked)["chbmit@corrected"] == "chbmit-corrected.md"


@pytest.mark.parametrize("name", dataset_names())
def test_a_page_says_all_that_decides_the_numbers(
    pages: dict[Path, str], name: str
) -> None:
    spec = find_dataset(name)
    page = pages[Path("datasets") / f"{name.replace('@', '-')}.md"]
    texts = (spec.title, spec.licence, spec.reference, spec.recipe.label_rule)
    for text in (*texts, spec.facts.source, spec.split.source, *spec.notes):
        assert text.replace("<", "&lt;") in page, text
    assert f"`{spec.protocol()}`" in page
    assert f"`<root>/{spec.folder}/`" in page
    assert f"eegfm-bench verify {name} --data ROOT" in page
    assert ", ".join(spec.recipe.channels) in page
    for step, *values in (*spec.recipe.steps, *spec.recipe.window_steps):
        assert f"`{step}(" in page
        assert all(f"={value}" in page for value in values)
    for part in PARTS:
        windows = spec.facts.windows.get(part)
        told = "unknown" if windows is None else f"{windows:,}"
        assert f"| {part} | {told} |" in page
        for n in spec.facts.windows_by_class.get(part, ()):
            assert f"| {n:,} |" in page
    assert page.endswith(
        "Generated from the package by `make docs`; edit the dataset's file instead.\n"
    )
    outside_code = re.sub(r"```.*?```|`[^`]*`", "", page, flags=re.DOTALL)
    assert "<" not in outside_code


def test_what_no_source_states_is_called_unknown(generate: dict[str, Any]) -> None:
    page: Callable[..., str] = generate["dataset_page"]
    spec: DatasetSpec = eegmat.DATASETS[0]
    facts = replace(
        spec.facts, windows={"train": 1343}, windows_by_class={}, n_subjects=None
    )
    made = page(replace(spec, facts=facts), eegmat)
    assert "| train | 1,343 | unknown | unknown |" in made
    assert "| val | unknown | unknown | unknown |" in made
    assert "| **all** | unknown | unknown | unknown |" in made
    assert "**Subjects**: unknown" in made


def test_variants_know_each_other_and_open_sets_can_be_fetched(
    pages: dict[Path, str],
) -> None:
    published, corrected = (
        pages[Path("datasets", name)] for name in ("chbmit.md", "chbmit-corrected.md")
    )
    assert "[`chbmit@corrected`](chbmit-corrected.md)" in published
    assert "[`chbmit`](chbmit.md)" in corrected
    assert "eegfm-bench fetch chbmit@corrected --data ROOT" in corrected
    assert "eegfm-bench fetch" not in pages[Path("datasets/faced.md")]
    assert chbmit.DATASETS[0].facts.n_recordings == 605
    assert "**Recordings**: 605" in published


def test_a_stale_an_absent_and_an_orphaned_page_are_noticed_and_mended(
    generate: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "docs"
    shutil.copytree(DOCS / "datasets", folder / "datasets")
    generate["write"](folder)
    assert generate["differing"](folder) == []
    (folder / "datasets" / "eyes.md").write_text("old", encoding="utf-8")
    (folder / "datasets" / "eegmat.md").unlink()
    (folder / "datasets" / "gone.md").write_text("of nothing", encoding="utf-8")
    wrong = [Path("datasets", f"{name}.md") for name in ("eegmat", "eyes", "gone")]
    assert generate["differing"](folder) == wrong
    assert generate["write"](folder) == wrong
    assert generate["differing"](folder) == []
    assert not (folder / "datasets" / "gone.md").exists()
