"""Model pages: current, complete, and read from specs alone."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from eegfm_bench.models import _spec
from eegfm_bench.models._spec import find_model, model_names
from eegfm_bench.runs.recipes import RecipeBook

GENERATOR = Path(__file__).parents[1] / "docs" / "generate_models.py"


@pytest.fixture(scope="module")
def docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_models", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_pages_are_current(docs: ModuleType) -> None:
    assert docs.not_current() == [], "run 'make docs'"


def test_every_model_has_a_page_and_a_row(
    docs: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a page built a model")

    monkeypatch.setattr(_spec.ModelSpec, "build", refuse)
    made = docs.pages()
    assert set(made) == {docs.INDEX, *(f"{name}.md" for name in model_names())}
    for name in model_names():
        known = find_model(name)
        assert f"[`{name}`]({name}.md)" in made[docs.INDEX]
        text = made[f"{name}.md"]
        for said in (known.title, known.reference, known.input_scale):
            assert said in text, (name, said)
        for key in known.options:
            assert f"`{key}`" in text, (name, key)
        for said in known.differences:
            assert said in text, (name, said)


def test_a_page_says_where_a_recipe_is_from(
    docs: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = RecipeBook(
        model="eegnet",
        sources={"code": "somebody's code", "thesis": "somebody's thesis"},
        all={"lr": (3e-3, "code")},
        datasets={"eyes": {"F1": (16, "thesis")}},
        not_followed={"epochs": "nobody has the time"},
    )
    monkeypatch.setattr(docs, "recipe_book", lambda name: book)
    text = docs.page(find_model("eegnet"))
    assert "| `lr` | 0.003 | code | 0.01 |" in text
    assert "| `eyes` | `F1` | 16 | thesis |" in text
    assert "- epochs: nobody has the time" in text
    assert "- thesis: somebody's thesis" in text


def test_a_page_says_which_shapes_are_not_served(docs: ModuleType) -> None:
    from dataclasses import replace

    known = replace(
        find_model("eegnet"),
        skip=lambda shape: "too | long" if shape.n_times > 5000 else None,
    )
    text = docs.page(known)
    assert "- 6 × 6000: too | long" in text
    assert "62 × 200:" not in text


def test_stale_pages_are_named_and_written_anew(
    docs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs.write(tmp_path)
    assert docs.not_current(tmp_path) == []
    (tmp_path / "gone.md").write_text("a model that was")
    (tmp_path / "eegnet.md").write_text("by hand")
    (tmp_path / "chance.md").unlink()
    assert docs.not_current(tmp_path) == ["chance.md", "eegnet.md", "gone.md"]
    monkeypatch.setattr(docs, "FOLDER", tmp_path)
    monkeypatch.setattr(sys, "argv", ["generate_models.py", "--check"])
    monkeypatch.setattr(docs, "not_current", lambda: ["eegnet.md"])
    assert docs.main() == 1
    docs.write(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(docs.pages())
