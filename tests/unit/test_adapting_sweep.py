"""From words on the command line to rows: weights, ways to adapt, kept models."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from eegfm_bench.cli import words
from eegfm_bench.cli.app import app
from eegfm_bench.errors import SpecError, UnknownName, WeightsError
from eegfm_bench.report.render import render
from eegfm_bench.report.table import make_table
from eegfm_bench.runs.store import ResultStore
from eegfm_bench.sweep.launch import InlineLauncher
from eegfm_bench.sweep.run import Options, Sweep, sweep
from eegfm_bench.sweep.specs import cells_of
from eegfm_bench.sweep.suite import Cell, Suite, adapted, load_suite
from tests.unit.skeletons_of_adapting import checkpoint


class Noting(InlineLauncher):
    """Do tasks in this process, and remember which."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def each(self, tasks: Iterable[Any], on_event: Any = None) -> Iterator[Any]:
        for task, outcome in super().each(tasks, on_event):
            self.done.append(task["task"])
            yield task, outcome


def cells(models: str = "cbramod", datasets: str = "eegmat", **more: Any) -> list[Cell]:
    settings = more.pop("settings", {"epochs": 1} if "adapt" not in more else {})
    asked = {"adapt": None, "weights": None, "labels": None, **more}
    found = cells_of(models.split(","), datasets.split(","), "small", settings)
    return adapted(found, **asked)


def go(tmp_path: Path, asked: list[Cell], seeds: Any = (0,), **more: Any) -> Sweep:
    launcher = more.pop("launcher", InlineLauncher())
    options = Options(
        runs=tmp_path / "runs", device="cpu", launcher=launcher, jobs=1, **more
    )
    return sweep(asked, list(seeds), options)


def test_weights_are_matched_before_windows_are_cut_and_twice_is_once(
    tmp_path: Path,
) -> None:
    path, init = checkpoint(tmp_path)
    asked, noting = cells(weights=str(path), labels="8/class"), Noting()
    first = go(tmp_path, asked, launcher=noting)
    assert noting.done.index("weights") < noting.done.index("prepare")
    assert noting.done.index("fit") > max(
        i for i, name in enumerate(noting.done) if name == "weights"
    )
    (spec,) = first.specs
    assert (spec.init, spec.adapt, spec.labels) == (init, "finetune", "8/class")
    assert first.n_ran == 1
    moved = path.rename(path.with_name("another-name.pth"))
    again = go(tmp_path, cells(weights=str(moved), labels="8 / class"))
    assert again.n_ran == 0
    assert again.specs == first.specs


def test_only_models_that_are_named_start_from_weights(tmp_path: Path) -> None:
    path, init = checkpoint(tmp_path)
    asked = cells("cbramod,bandpower", weights={"cbramod": str(path)}, settings={})
    assert [(c.adapt, c.weights) for c in asked] == [
        ("finetune", str(path)),
        ("scratch", None),
    ]
    result = go(tmp_path, asked)
    assert {s.model: s.init for s in result.specs} == {
        "cbramod": init,
        "bandpower": "scratch",
    }


def test_a_damaged_file_stops_everything_before_windows(tmp_path: Path) -> None:
    path, _ = checkpoint(tmp_path)
    path.write_bytes(path.read_bytes()[:5000])
    noting = Noting()
    with pytest.raises(WeightsError):
        go(tmp_path, cells(weights=str(path)), launcher=noting)
    assert "prepare" not in noting.done


def test_partial_weights_are_said_in_every_row(tmp_path: Path) -> None:
    path, init = checkpoint(tmp_path)
    state = torch.load(path, weights_only=True)
    gone = next(name for name in state if "encoder.layers" in name)
    torch.save({k: v for k, v in state.items() if k != gone}, path)
    asked = cells(weights=str(path), labels="8/class")
    with pytest.raises(WeightsError, match="--allow-partial-weights"):
        go(tmp_path, asked)
    result = go(tmp_path, asked, allow_partial_weights=True)
    records = result.records(tmp_path / "runs")
    text = render(make_table(records), "md")
    assert records[0].spec.init.endswith("+partial")
    (row,) = [line for line in text.splitlines() if line.startswith("| CBraMod")]
    assert records[0].spec.init in row
    assert f"1 MISSING and at random ({gone})" in text
    assert "validation and test are whole" in text
    assert init not in text


def test_unlike_ways_never_share_a_cell(tmp_path: Path) -> None:
    path, init = checkpoint(tmp_path)
    ways: list[dict[str, Any]] = [
        {"adapt": "probe"},
        {"adapt": "probe", "weights": str(path)},
        {"adapt": "probe", "weights": str(path), "labels": "8/class"},
        {"weights": str(path), "labels": "8/class"},
    ]
    for way in ways:
        go(tmp_path, cells(**way))
    table = make_table(ResultStore(tmp_path / "runs").records())
    assert table.stub == ("model", "init", "adapt", "labels")
    rows = {row.labels[1:] for row in table.rows}
    assert rows == {
        ("scratch", "probe", "all"),
        (init, "probe", "all"),
        (init, "probe", "8/class"),
        (init, "finetune", "8/class"),
    }
    listed = [line.split(",") for line in render(table, "csv").splitlines()]
    told = {tuple(line[listed[0].index(n)] for n in table.stub) for line in listed[1:]}
    assert {t[1:] for t in told} == rows
    go(tmp_path, cells(adapt="probe", settings={"solver": "logistic"}))
    with pytest.raises(SpecError, match=r"recipe.solver.*would be averaged"):
        make_table(ResultStore(tmp_path / "runs").records())


def test_a_table_of_one_way_says_which(tmp_path: Path) -> None:
    records = go(tmp_path, cells(adapt="probe")).records(tmp_path / "runs")
    assert make_table(records).stub == ("model", "init", "adapt")
    scratch = go(tmp_path / "b", cells(labels="8/class")).records(tmp_path / "b/runs")
    assert make_table(scratch).stub == ("model", "init", "labels")


@pytest.mark.parametrize(
    ("solver", "kind"), [("ridge", "closed_form"), ("trained", "gradient")]
)
def test_a_probe_has_a_recipe_of_its_own(
    solver: str, kind: str, tmp_path: Path
) -> None:
    more = {"epochs": 2} if kind == "gradient" else {}
    asked = cells(adapt="probe", settings={"solver": solver, **more})
    (spec,) = go(tmp_path, asked).specs
    assert spec.recipe.kind == kind
    assert spec.recipe.select == "auroc"
    if kind == "gradient":  # not CBraMod's, whose rate is 3e-3
        assert (spec.recipe.lr, spec.recipe.epochs) == (1e-3, 2)  # type: ignore[union-attr]


def test_settings_of_another_way_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"No setting.* is called 'lr'"):
        go(tmp_path, cells(adapt="probe", settings={"lr": 1.0}))
    with pytest.raises(SpecError, match="of --adapt lora alone"):
        go(tmp_path, cells(settings={"lora_rank": 2}))
    with pytest.raises(
        SpecError, match=r"head_units=7 is of cbramod's own head.*probe"
    ):
        go(tmp_path, cells(adapt="probe", settings={"head_units": 7}))


def test_without_peft_lora_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    noting = Noting()
    with pytest.raises(SpecError, match=r"needs peft.*eegfm-bench\[lora\]"):
        go(tmp_path, cells(adapt="lora"), launcher=noting)
    assert noting.done == ["describe"]


def test_lora_has_its_defaults_and_what_is_set(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason='pip install "eegfm-bench[lora]"')
    settings = {"lora_rank": 4, "epochs": 1}
    asked = cells(adapt="lora", labels="8/class", settings=settings)
    (record,) = go(tmp_path, asked).records(tmp_path / "runs")
    recipe: Any = record.spec.recipe
    values = (recipe.lora_rank, recipe.lora_alpha, recipe.lora_dropout)
    assert values == (4, 16.0, 0.05)
    assert record.is_done


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"adapt": "finetune"}, "none are given for cbramod"),
        ({"adapt": "scratch", "weights": "hub"}, "Leave one of them out"),
        ({"models": "cbramod,eegnet", "weights": "a.pth"}, "cbramod=a.pth"),
        ({"weights": {"labram": "hub"}}, "model with --weights is called 'labram'"),
        ({"adapt": "prob"}, "Did you mean 'probe'"),
        ({"labels": "lots"}, "expected a share"),
        ({"weights": " "}, "is empty"),
    ],
)
def test_words_that_make_no_sense_are_refused_at_once(more: Any, says: str) -> None:
    with pytest.raises((SpecError, UnknownName), match=says):
        cells(**more)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"models": "bandpower", "weights": "hub"}, "--weights: bandpower is not"),
        ({"models": "chance", "adapt": "probe"}, "--adapt probe: chance is not"),
        ({"models": "eegnet", "adapt": "lora"}, "eegnet does not say which"),
        ({"labels": "85/class"}, "of eegmat, rest has 84, arithmetic has 84"),
    ],
)
def test_what_a_model_or_set_cannot_is_refused_before_training(
    more: Any, says: str, tmp_path: Path
) -> None:
    noting = Noting()
    with pytest.raises(SpecError, match=says):
        go(tmp_path, cells(**{"settings": {}, **more}), launcher=noting)
    assert "fit" not in noting.done


def test_weights_model_by_model_are_read_from_one_word() -> None:
    models = ["biot", "labram"]
    assert words.weights(None, models) is None
    assert words.weights("hub:x", models) == "hub:x"
    assert words.weights("/a=b/c.pth", models) == "/a=b/c.pth"
    assert words.weights("biot=/a=b.ckpt", models) == {"biot": "/a=b.ckpt"}
    for wrong in ("biot=", "biot=a,labram", "biot=a,biot=b"):
        with pytest.raises(SpecError, match="--weights"):
            words.weights(wrong, models)


def test_a_suite_says_how_its_models_start(tmp_path: Path) -> None:
    fields = {
        "name": "mine",
        "version": 1,
        "title": "Mine",
        "scale": "small",
        "seeds": [0],
        "models": ["cbramod", "eegnet"],
        "datasets": ["eegmat"],
        "weights": {"cbramod": "a.pth"},
        "labels": "10.0%",
    }
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps(fields))
    suite = load_suite(str(file))
    assert isinstance(suite, Suite)
    assert [(c.model, c.adapt, c.weights, c.labels) for c in suite.cells()] == [
        ("cbramod", "finetune", "a.pth", "10%"),
        ("eegnet", "scratch", None, "10%"),
    ]
    listed = CliRunner().invoke(app, ["sweep", str(file), "--dry-run", "--json"])
    assert listed.exit_code == 0, listed.output
    assert json.loads(listed.stdout)[0]["weights"] == "a.pth"
    probed = CliRunner().invoke(
        app,
        ["sweep", str(file), "--dry-run", "--adapt", "probe", "--labels", "4/class"],
    )
    assert "eegnet on eegmat, small, adapt probe, labels 4/class" in probed.stdout


@pytest.mark.parametrize("adapt", [None, "probe"])
def test_a_kept_model_is_beside_its_record_and_starts_another_run(
    adapt: str | None, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    asked = cells(adapt=adapt, labels="8/class", settings={})
    # Not seed 0, whose start is what weights are held against.
    first = go(tmp_path, asked, seeds=[3])
    (spec,) = first.specs
    assert first.not_kept == []
    assert not (runs / spec.run_id / "model").exists()
    again = go(tmp_path, asked, [3], keep_best=True)
    assert (again.n_ran, again.not_kept) == (0, [spec.run_id])
    kept = go(tmp_path, asked, [3], keep_best=True, force=True)
    assert (kept.n_ran, kept.not_kept) == (1, [])
    model = runs / spec.run_id / "model"
    assert (model / "model.safetensors").is_file()
    assert (runs / spec.run_id / "predictions.parquet").is_file()
    assert list(runs.glob(".keep-*")) == []
    assert go(tmp_path, asked, [3], keep_best=True).not_kept == []
    written = (model / "model.safetensors").stat().st_mtime_ns
    go(tmp_path, asked, [3], force=True)  # what was kept is not lost by it
    assert (model / "model.safetensors").stat().st_mtime_ns > written
    next_ = go(tmp_path, cells(adapt="probe", weights=str(model), settings={}))
    (record,) = next_.records(runs)
    assert record.weights is not None
    assert record.weights.is_full
