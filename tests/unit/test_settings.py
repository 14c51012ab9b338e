"""Settings that undo each other, do nothing, or leave something as it was."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eegfm_bench.datasets import _moabb
from eegfm_bench.datasets._spec import find_dataset
from eegfm_bench.errors import SpecError, UnknownName
from eegfm_bench.runs import recipes
from eegfm_bench.runs.record import Failure, RunRecord
from eegfm_bench.runs.spec import DatasetRef, RunSpec, TrainingRecipe
from eegfm_bench.runs.store import ResultStore
from eegfm_bench.sweep import planning
from eegfm_bench.sweep.launch import InlineLauncher
from eegfm_bench.sweep.notes import recall_suite
from eegfm_bench.sweep.run import Options, Watcher, sweep
from eegfm_bench.sweep.specs import cells_of, make_spec, recipe_of, remarks
from eegfm_bench.training import worker


class NoWindows(InlineLauncher):
    """Do tasks in this process, unless windows would be cut."""

    def each(self, tasks: Iterable[Any], on_event: Any = None) -> Iterator[Any]:
        tasks = list(tasks)
        assert {task["task"] for task in tasks} <= {"describe", "check"}
        return super().each(tasks, on_event)


def refused(tmp_path: Path, *cell: Any) -> str:
    """What a command is told before any window is cut; its exit status is 2."""
    options = Options(runs=tmp_path, device="cpu", launcher=NoWindows())
    with pytest.raises(SpecError) as refusal:
        sweep(cells_of(*cell), [0], options)
    assert refusal.value.exit_status == 2
    return str(refusal.value)


def about(model: str) -> Any:
    return worker.handle({"task": "describe", "models": [model]}, print)["models"]


def test_a_warm_up_that_never_ends_is_refused_before_windows_are_cut(
    tmp_path: Path,
) -> None:
    said = refused(tmp_path, ["eegnet", "labram"], ["eegmat"], "paper", {"epochs": 3})
    assert "The recipe of labram on eegmat warms up for 5 epochs" in said
    assert "3 in all" in said
    assert "--set warmup_epochs=0" in said
    cell = ["labram"], ["eegmat"], "paper"
    for settings in ({"epochs": 6}, {"epochs": 3, "warmup_epochs": 0}):
        (fine,) = cells_of(*cell, settings)
        assert recipe_of(fine, about("labram")["labram"])


def test_patience_without_a_comparison_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, ["biot"], ["eegmat"], "paper", {"select": "last"})
    assert "select=last" in said
    assert "patience=null" in said
    settings = {"select": "last", "patience": None}
    (fine,) = cells_of(["biot"], ["eegmat"], "paper", settings)
    assert recipe_of(fine, about("biot")["biot"]).select == "last"


def test_records_of_recipes_that_are_refused_today_stay_readable(
    tmp_path: Path,
) -> None:
    recipe = TrainingRecipe(epochs=9, batch_size=8, lr=1e-3, warmup_epochs=5)
    ref = DatasetRef(name="eyes", protocol="p", data="simulated", fingerprint="f")
    spec = RunSpec(dataset=ref, model="labram", seed=0, recipe=recipe)
    old = spec.model_copy(update={"recipe": recipe.model_copy(update={"epochs": 3})})
    store = ResultStore(tmp_path)
    store.put(RunRecord.failed(old, Failure(kind="K", message="m")))
    assert [r.spec for r in store.records()] == [old]
    note = {"specs": [old.model_dump(mode="json")], "missing": {}}
    (tmp_path / ".sweeps").mkdir()
    (tmp_path / ".sweeps" / "mine.json").write_text(json.dumps(note))
    assert recall_suite(tmp_path, "mine") == ([old], {})
    with pytest.raises(ValueError, match="warms up"):
        RunSpec.model_validate(old.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("model", "settings", "says"),
    [
        ("eegnet", {"lr": "fast"}, "'lr' of .* is 'fast'; expected a number."),
        ("eegnet", {"lr": -1}, "is -1; expected a number above 0."),
        ("eegnet", {"epochs": 0}, "is 0; expected a number, 1 or more."),
        ("eegnet", {"epochs": 2.5}, "is 2.5; expected a whole number."),
        ("eegnet", {"label_smoothing": 1}, "is 1; expected a number below 1."),
        ("eegnet", {"optimizer": "sgd"}, "is 'sgd'; expected 'adamw' or 'adam'."),
        ("eegnet", {"clip": float("inf")}, "is inf; expected a finite number."),
        ("bandpower", {"standardise": 7}, "is 7; expected true or false."),
        ("bandpower", {"penalties": "x"}, "is 'x'; expected a list."),
        ("eegnet", {"F1": "many"}, "is 'many'; expected a whole number, such as 8."),
        ("eegnet", {"F1": 0}, "F1 of eegnet is 0; expected a whole number, 1 or more."),
        ("eegnet", {"drop_prob": 1.0}, "is 1.0; expected a number from 0 to below 1."),
        ("eegnet", {"head_max_norm": 0.0}, "is 0.0; expected a number above 0."),
        ("labram", {"attn_head_dim": "x"}, "a whole number, 1 or more, or none."),
        ("biot", {"has_pooled_head": 8}, "is 8; expected true or false."),
        ("codebrain", {"refine_length": 4}, "is 4; expected an odd number, 1 or more"),
        ("codebrain", {"head": "last"}, "is 'last'; expected patches or pooled."),
        ("chance", {"lr": 1}, "No setting of chance is called 'lr'. Known: none."),
    ],
)
def test_a_refusal_says_in_words_what_was_expected(
    tmp_path: Path, model: str, settings: dict[str, Any], says: str
) -> None:
    cells = cells_of([model], ["eegmat"], "paper", settings)
    options = Options(runs=tmp_path, device="cpu", launcher=NoWindows())
    with pytest.raises((SpecError, UnknownName), match=says) as refusal:
        sweep(cells, [0], options)
    assert "Input should" not in str(refusal.value)


@pytest.mark.parametrize(
    ("model", "key", "value"),
    [
        ("cbramod", "head_hidden", 512),
        ("codebrain", "head_drop_prob", 0.5),
        ("eegnet", "head_max_norm", 1.0),
        ("labram", "init_scale", 1.0),
        ("trace", "head_units", 8),
    ],
)
def test_of_sequences_settings_of_the_own_head_are_refused(
    tmp_path: Path, model: str, key: str, value: Any
) -> None:
    settings = {key: value}
    said = refused(tmp_path, [model], ["eyes", "isruc"], "small", settings)
    assert f"{key}={value} is of {model}'s own head" in said
    assert "isruc is judged in sequences of 20 windows" in said
    assert about(model)[model]["options"]["small"][key] != value


def test_the_rate_of_a_head_that_stays_is_said_once() -> None:
    cells = cells_of(["cbramod", "eegnet"], ["eegmat", "eyes"], "paper", {"lr": 1e-3})
    described = about("cbramod") | about("eegnet")
    (line,) = remarks(cells, described)
    assert line == "cbramod: head_lr stays 0.0005 (--set head_lr=… changes it)"
    for settings in ({"lr": 1e-3, "head_lr": 1e-3}, {"epochs": 3}):
        cells = cells_of(["cbramod"], ["eegmat"], "paper", settings)
        assert remarks(cells, described) == []


def test_a_remark_reaches_who_watches(tmp_path: Path) -> None:
    class Told(Watcher):
        heard: tuple[str, ...] = ()

        def remarked(self, line: str) -> None:
            self.heard += (line,)

    told = Told()
    cells = cells_of(["cbramod"], ["eyes"], "paper", {"lr": 1e-3})
    options = Options(runs=tmp_path, device="cpu", launcher=NoWindows())
    with pytest.raises(AssertionError):  # windows come after
        sweep(cells, [0], options, told)
    assert [line.partition(":")[0] for line in told.heard] == ["cbramod"]


def test_two_classes_of_any_name_are_not_smoothed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    two = replace(find_dataset("eyes"), name="moabb:Two")
    three = replace(two, name="moabb:Three", classes=("a", "b", "c"))
    monkeypatch.setattr(_moabb, "find_moabb", {"Two": two, "Three": three}.__getitem__)
    for model in ("cbramod", "codebrain", "labram"):
        for dataset, expected in ((two, 0.0), (three, 0.1)):
            (cell,) = cells_of([model], [dataset.name], "paper", {})
            recipe = recipe_of(cell, about(model)[model])
            assert isinstance(recipe, TrainingRecipe)
            assert recipe.label_smoothing == expected, (model, dataset.name)


BOOK = """
model: eegnet
sources: {thesis: a thesis}
all: {lr: [0.003, thesis], F1: [8, thesis]}
two_classes: {lr: [0.02, thesis], F1: [12, thesis], D: [3, thesis]}
datasets:
  eyes: {F1: [16, thesis]}
"""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(recipes, "shipped_folder", lambda name: tmp_path)
    recipes.recipe_book.cache_clear()
    yield tmp_path
    recipes.recipe_book.cache_clear()


def test_what_is_for_two_classes_stands_between_all_and_one_dataset(
    shelf: Path,
) -> None:
    (shelf / "eegnet.yaml").write_text(BOOK)
    for dataset, own, options, lr in (
        ("eyes", {}, {"F1": 16, "D": 3}, 0.02),
        ("eegmat", {}, {"F1": 12, "D": 3}, 0.02),
        ("eegmat", {"D": 4, "lr": 1.0}, {"F1": 12, "D": 4}, 1.0),
        ("faced", {}, {}, 0.003),
    ):
        (cell,) = cells_of(["eegnet"], [dataset], "paper", own)
        (cell,) = planning.checked_cells(InlineLauncher(), [cell], about("eegnet"))
        ref = {"name": dataset, "protocol": "p", "data": "simulated"}
        prepared = {"ref": ref | {"fingerprint": "f"}}
        spec = make_spec(cell, 0, about("eegnet")["eegnet"], prepared)
        assert spec.options == options
        assert spec.recipe.lr == lr  # type: ignore[union-attr]
    rows = recipes.table_of_recipes()["rows"]
    assert ["eegnet", "two classes", "lr", "0.02", "a thesis"] in rows


@pytest.mark.parametrize("key", ["select", "kind"])
def test_a_book_cannot_state_what_the_suite_chooses_for_all(
    shelf: Path, key: str
) -> None:
    more = f"two_classes: {{{key}: [last, thesis]}}\n"
    text = "".join(line for line in BOOK.splitlines(True) if "two_c" not in line)
    (shelf / "eegnet.yaml").write_text(text + more)
    with pytest.raises(SpecError, match=f"'two_classes.{key}' is stated, but the"):
        recipes.recipe_book("eegnet")
