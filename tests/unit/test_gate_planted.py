"""The exact gate catches what it is for; each defect is planted in turn."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from eegfm_bench.datasets import _prepare, _spec
from eegfm_bench.datasets._prepare import twin_root
from eegfm_bench.datasets._spec import find_dataset
from eegfm_bench.recordings import filters
from eegfm_bench.report.gate import GateReport, GateRow, compare, reference_rows
from eegfm_bench.sweep.launch import InlineLauncher
from eegfm_bench.sweep.run import Options, sweep
from eegfm_bench.sweep.suite import load_suite
from eegfm_bench.training import classifier
from eegfm_bench.training import fit as fit_module

Smoke = Callable[[], list[GateRow]]
# One model for each way to be trained: what is planted does not depend on more.
MODELS = ("chance", "bandpower", "eegnet")
SUITE = load_suite("smoke").model_copy(update={"models": MODELS})


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Smoke:
    """Run the suite afresh, as the gate does: new windows, new records."""
    numbers = itertools.count()

    def run() -> list[GateRow]:
        folder = tmp_path_factory.mktemp(f"gate{next(numbers)}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("EEGFM_CACHE", str(shared_cache))
            for name in SUITE.datasets:
                twin_root(find_dataset(name))
            # The same twins, but no windows that sounder code has cut.
            (folder / "twins").symlink_to(shared_cache / "twins")
            patch.setenv("EEGFM_CACHE", str(folder))
            options = Options(
                device="cpu", runs=folder / "runs", launcher=InlineLauncher()
            )
            records = sweep(SUITE.cells(), [0], options).records(options.runs)
        return reference_rows(SUITE.name, records)

    return run


@pytest.fixture(scope="module")
def reference(smoke: Smoke) -> list[GateRow]:
    return smoke()


def failing(report: GateReport) -> set[tuple[str, str]]:
    return {(x.model, x.dataset) for x in report.lines if x.outcome == "fail"}


def test_an_unchanged_run_passes(smoke: Smoke, reference: list[GateRow]) -> None:
    report = compare(smoke(), reference)
    assert report.has_passed
    assert len(report.lines) == 6 * 7 * 2


@pytest.mark.slow
def test_shuffled_labels_are_caught(
    smoke: Smoke, reference: list[GateRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = _spec.DatasetSpec.plan

    def shuffled(self: Any, sources: Any) -> pd.DataFrame:
        index = sound(self, sources)
        train = np.flatnonzero(index["part"] == "train")
        labels = index["label"].to_numpy().copy()
        labels[train] = np.random.default_rng(0).permutation(labels[train])
        return index.assign(label=labels)

    monkeypatch.setattr(_prepare.DatasetSpec, "plan", shuffled)
    caught = failing(compare(smoke(), reference))
    assert {(m, d) for m in ("bandpower", "eegnet") for d in SUITE.datasets} <= caught


@pytest.mark.slow
def test_a_dropped_reference_is_caught(
    smoke: Smoke, reference: list[GateRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(filters.STEPS, "average_reference", lambda recording: recording)
    caught = failing(compare(smoke(), reference))
    assert caught == {("bandpower", "eyes"), ("eegnet", "eyes")}


@pytest.mark.slow
def test_a_dropped_low_pass_is_caught(
    smoke: Smoke, reference: list[GateRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resampling without its filter: what lies above the new Nyquist folds back."""

    def aliased(recording: Any, rate_hz: float) -> Any:
        n = round(recording.x.shape[1] * rate_hz / recording.rate_hz)
        at = np.arange(n) * recording.rate_hz / rate_hz
        was = np.arange(recording.x.shape[1])
        x = np.stack([np.interp(at, was, row) for row in recording.x])
        return recording.with_signal(x, rate_hz=rate_hz)

    monkeypatch.setitem(filters.STEPS, "resample", aliased)
    caught = failing(compare(smoke(), reference))
    assert {(m, d) for m in ("bandpower", "eegnet") for d in SUITE.datasets} == caught


@pytest.mark.slow
def test_a_tenfold_learning_rate_is_caught(
    smoke: Smoke, reference: list[GateRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    adamw = torch.optim.AdamW

    def hasty(parameters: Any, lr: float, **more: Any) -> torch.optim.Optimizer:
        return adamw(parameters, lr=10 * lr, **more)

    monkeypatch.setattr(classifier.torch.optim, "AdamW", hasty)
    caught = failing(compare(smoke(), reference))
    assert caught == {("eegnet", d) for d in SUITE.datasets}


@pytest.mark.slow
def test_another_recipe_is_caught_as_another_question(
    smoke: Smoke, reference: list[GateRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = fit_module.find_model("eegnet")
    hasty = known.recipes["small"].model_copy(update={"lr": 0.05})
    monkeypatch.setitem(known.recipes, "small", hasty)  # type: ignore[arg-type]
    report = compare(smoke(), reference)
    assert failing(report) == {("eegnet", d) for d in SUITE.datasets}
    assert "question" in report.to_text()


@pytest.mark.slow
def test_another_seed_rule_is_caught(
    smoke: Smoke, reference: list[GateRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = fit_module.seed_everything
    monkeypatch.setattr(fit_module, "seed_everything", lambda seed: sound(seed + 1))
    caught = failing(compare(smoke(), reference))
    assert caught == {("eegnet", d) for d in SUITE.datasets}


@pytest.mark.slow
def test_another_order_of_batches_is_caught(
    smoke: Smoke, reference: list[GateRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = fit_module.EEGDataModule

    def other(store: Any, *, seed: int, **more: Any) -> Any:
        return sound(store, seed=seed + 1, **more)

    monkeypatch.setattr(fit_module, "EEGDataModule", other)
    caught = failing(compare(smoke(), reference))
    assert caught == {("eegnet", d) for d in SUITE.datasets}
