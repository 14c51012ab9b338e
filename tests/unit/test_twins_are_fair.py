"""The twins can be learned, not too easily, and not without their labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eegfm_bench.datasets._prepare import dataset_ref, prepare
from eegfm_bench.models._spec import find_model
from eegfm_bench.runs.spec import RunSpec
from eegfm_bench.training.fit import fit

SEEDS = range(5)
CHANCE = 0.5


def reached(model: str, dataset: str, *, permuted: bool = False) -> float:
    """Mean test balanced accuracy over seeds."""
    store: Any = prepare(dataset)
    known = find_model(model)
    values = []
    sound = store.index["label"].to_numpy().copy()
    for seed in SEEDS:
        spec = RunSpec(
            dataset=dataset_ref(store),
            model=model,
            scale="small",
            seed=seed,
            recipe=known.recipes["small"],
        )
        if permuted:
            train = store.rows("train")
            labels = sound.copy()
            labels[train] = np.random.default_rng(seed).permutation(labels[train])
            store.index["label"] = labels
        record, _ = fit(spec, store)
        assert record.scores is not None
        value = record.scores["test"]["balanced_accuracy"]
        assert value is not None
        values.append(value)
    return float(np.mean(values))


@pytest.mark.parametrize("dataset", ["eegmat", "eyes"])
def test_band_power_finds_the_effect_but_not_always(
    dataset: str,
) -> None:
    assert CHANCE + 0.25 <= reached("bandpower", dataset) <= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["eegmat", "eyes"])
def test_eegnet_learns_in_six_hundred_passes(dataset: str) -> None:
    assert reached("eegnet", dataset) >= CHANCE + 0.10


@pytest.mark.slow
@pytest.mark.parametrize("model", ["bandpower", "eegnet"])
@pytest.mark.parametrize("dataset", ["eegmat", "eyes"])
def test_permuted_labels_teach_nothing(model: str, dataset: str) -> None:
    assert reached(model, dataset, permuted=True) == pytest.approx(CHANCE, abs=0.05)
