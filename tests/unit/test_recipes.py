"""Published recipes: what is stated reaches the runs, as it is stated."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from eegfm_bench.datasets._prepare import dataset_ref, prepare
from eegfm_bench.datasets._spec import dataset_names, find_dataset
from eegfm_bench.errors import SpecError
from eegfm_bench.runs.recipes import recipe_book
from eegfm_bench.runs.spec import RunSpec, TrainingRecipe
from eegfm_bench.sweep import planning
from eegfm_bench.sweep.launch import InlineLauncher
from eegfm_bench.sweep.specs import cells_of, make_spec
from eegfm_bench.training import classifier, worker
from eegfm_bench.training.fit import fit
from eegfm_bench.training.optimizer import optimizer_of


def options_of(model: str, dataset: str, own: dict[str, Any]) -> dict[str, Any]:
    """The options that a command would ask at the paper scale, without windows."""
    about = worker.handle({"task": "describe", "models": [model]}, print)["models"]
    (cell,) = cells_of([model], [dataset], "paper", own)
    (cell,) = planning.checked_cells(InlineLauncher(), [cell], about)
    ref = {"name": dataset, "protocol": f"{dataset}-1", "data": "simulated"}
    prepared = {
        "ref": ref | {"fingerprint": "twin"},
        "manifest": {"main_score": "cohen_kappa"},
    }
    return make_spec(cell, 0, about[model], prepared).options


def test_an_option_of_ones_own_leaves_the_others_as_stated() -> None:
    stated = {"head_hidden": 512}
    assert options_of("cbramod", "isruc@epoch", {}) == stated
    for own in ({"head_drop_prob": 0.2}, {"head_hidden": 256}):
        assert options_of("cbramod", "isruc@epoch", own) == stated | own


def test_what_does_not_fit_the_stated_is_refused_before_windows_are_cut() -> None:
    about = worker.handle({"task": "describe", "models": ["cbramod"]}, print)["models"]
    cells = cells_of(["cbramod"], ["isruc@epoch"], "paper", {"head": "pooled"})
    with pytest.raises(SpecError, match="head_hidden of cbramod is 512"):
        planning.checked_cells(InlineLauncher(), cells, about)


def test_of_two_classes_a_source_with_one_logit_smooths_nothing() -> None:
    two = [s.name for s in map(find_dataset, dataset_names()) if len(s.classes) == 2]
    assert "eyes" in two
    for model in ("cbramod", "codebrain", "labram"):
        book = recipe_book(model)
        assert book is not None
        smoothed = {name: book.values(name, 2)["label_smoothing"] for name in two}
        assert set(smoothed.values()) == {0.0}, (model, smoothed)


def test_the_time_of_sequences_can_be_estimated() -> None:
    store = prepare("isruc", rate_hz=200.0)
    assert store.sequence > 1
    spec = RunSpec(
        dataset=dataset_ref(store),
        model="eegnet",
        scale="small",
        seed=0,
        recipe=TrainingRecipe(epochs=1, batch_size=8, lr=1e-3),
    )
    task = {"task": "estimate", "spec": spec.model_dump(mode="json")}
    said = worker.handle(task | {"store": str(store.path), "device": "cpu"}, print)
    assert said.get("seconds", 0.0) > 0, said


def test_training_ends_when_patience_does(monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.5, 0.6, 0.6, 0.4, 0.9, 0.9])
    monkeypatch.setattr(classifier, "validation_score", lambda *_: next(values))
    store = prepare("eegmat")
    recipe = TrainingRecipe(epochs=6, batch_size=64, lr=1e-3, patience=2)
    spec = RunSpec(
        dataset=dataset_ref(store), model="eegnet", scale="small", seed=0, recipe=recipe
    )
    record, _ = fit(spec, store)
    assert record.checkpoint is not None
    assert record.checkpoint.epoch == 2
    assert list(values) == [0.9, 0.9]


class _Layers(nn.Module):
    """Twenty layers of one weight each, and a head."""

    n_layers = 20

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList(nn.Linear(1, 1, bias=False) for _ in range(20))
        self.head = nn.Linear(1, 2)

    def layer_of(self, name: str) -> int:
        return int(name.split(".")[1])


@pytest.mark.parametrize("warmup_epochs", [0.0, 2.0])
def test_no_rate_ends_above_where_it_began(warmup_epochs: float) -> None:
    recipe = TrainingRecipe(
        epochs=10, batch_size=8, lr=1e-4, layer_decay=0.5, warmup_epochs=warmup_epochs
    )
    (optimizer,), (about,) = optimizer_of(_Layers(), recipe, 50, 5.0)
    schedule = about["scheduler"]
    rates = [schedule.get_last_lr()]
    for _ in range(50):
        optimizer.step()
        schedule.step()
        rates.append(schedule.get_last_lr())
    seen = torch.tensor(rates, dtype=torch.float64)
    stated = torch.tensor([1e-4 * 0.5**k for k in range(20, 0, -1)] + [1e-4])
    highest = seen.max(0).values.sort().values
    assert torch.allclose(highest, stated.double().sort().values, rtol=1e-5, atol=0)
    assert (seen[-1] < 0.02 * seen.max(0).values).all()
