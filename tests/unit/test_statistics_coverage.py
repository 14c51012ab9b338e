"""The page of error rates rests on a population whose truth is what it says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from eegfm_bench.training.metrics import score

ROOT = Path(__file__).parents[2]


def loaded(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a script by its file: another package may have the same name."""
    folder = ROOT / "benchmarks" / "statistics"
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location(f"its_{name}", folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # for its dataclasses
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return loaded("population", monkeypatch)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return loaded("coverage", monkeypatch)


@pytest.mark.parametrize("gap", [1.0, 3.0])
def test_the_true_scores_are_those_of_very_many_subjects(
    simulated: ModuleType, gap: float
) -> None:
    world = simulated.Population(gap=gap, gap_by_seed=0.4, offset_by_seed=0.4)
    rng = np.random.default_rng(0)
    part = world.draw(rng, 400)
    logits = part.logits(rng, 60)
    own = part.labels == 1
    recalls = (logits[:, own] >= 0).mean(axis=1), (logits[:, ~own] < 0).mean(axis=1)
    found = {
        "auroc": simulated.auroc(part.labels, logits),
        "balanced_accuracy": np.mean(recalls, axis=0),
    }
    for metric, values in found.items():
        # Four standard errors over seeds, and over 400 subjects.
        allowed = 4 * values.std() / np.sqrt(60) + 4 * 0.11 / np.sqrt(400)
        assert values.mean() == pytest.approx(getattr(world, metric)(), abs=allowed)


def test_the_scripts_auroc_is_that_of_the_tables(simulated: ModuleType) -> None:
    rng = np.random.default_rng(0)
    part = simulated.Population().draw(rng, 5)
    logits = part.logits(rng, 3)
    expected = [
        score(part.labels, simulated.probabilities(row))[0]["auroc"] for row in logits
    ]
    assert simulated.auroc(part.labels, logits) == pytest.approx(expected)


def test_every_simulated_table_stands_on_the_page(script: ModuleType) -> None:
    page = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    for name, (_, head) in script.TABLES.items():
        _, mark, rest = page.partition(f"<!-- simulated: {name} -->\n")
        table = rest.partition("<!-- end -->")[0].splitlines()
        assert mark, name
        assert table[0] == "| " + " | ".join(head) + " |"
        assert len(table) > 5
    with pytest.raises(SystemExit, match="no place for 'else'"):
        script.filled(page, "else", "")


def test_the_table_of_verdicts_comes_again(script: ModuleType) -> None:
    rows = script.welch(0.02)
    assert rows == script.welch(0.02)
    reproduced = {(row[0], row[1]): float(row[3].split()[0]) for row in rows}
    assert reproduced["0.005", "0"] == 100
    assert reproduced["0.005", "-0.02"] <= 25
    assert reproduced["0.005", "-0.04"] == 0
