"""What every registered model owes; nobody edits this to add one."""

from __future__ import annotations

import copy
import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import eegfm_bench
from eegfm_bench.batches import EEGDataModule
from eegfm_bench.errors import UnknownName
from eegfm_bench.models._size import counted
from eegfm_bench.models._spec import InputShape, ModelSpec, find_model, model_names
from eegfm_bench.runs.recipes import recipe_book
from eegfm_bench.training.fit import _train
from eegfm_bench.training.metrics import score

# Channels × time points at 200 Hz, classes: the shapes of the datasets.
SHAPES = {
    "eegmat": (20, 1000, 2),
    "eyes": (64, 800, 2),
    "physionet_mi": (64, 800, 4),
    "faced": (32, 2000, 9),
    "seedv": (62, 200, 5),
    "isruc": (6, 6000, 5),
    "chbmit": (16, 2000, 2),
    "bcic2020": (64, 600, 5),
    "tuev": (16, 1000, 6),
}
# At the paper scale the default run takes the shortest windows and common ones, and
# make check all of them.
QUICK = ("seedv", "chbmit")
EVERY_SHAPE = [
    pytest.param(
        name,
        scale,
        marks=[pytest.mark.slow] if scale == "paper" and name not in QUICK else [],
    )
    for scale in ("paper", "small")
    for name in SHAPES
]


@pytest.fixture(params=model_names())
def known(request: pytest.FixtureRequest) -> ModelSpec:
    return find_model(request.param)


def shape_of(name: str) -> InputShape:
    n_channels, n_times, n_classes = SHAPES[name]
    return InputShape(
        channels=tuple(f"E{c + 1}" for c in range(n_channels)),
        n_times=n_times,
        rate_hz=200.0,
        n_classes=n_classes,
    )


def built(known: ModelSpec, name: str = "eegmat", *, scale: str = "small") -> Any:
    shape = shape_of(name)
    if (reason := known.skip(shape)) is not None:
        pytest.skip(f"{known.name} says: {reason}")
    torch.manual_seed(0)
    return known.build(shape, scale=scale)


def windows(name: str = "eegmat", n: int = 3, seed: int = 1) -> torch.Tensor:
    n_channels, n_times, _ = SHAPES[name]
    random = torch.Generator().manual_seed(seed)
    return 20 * torch.randn(n, n_channels, n_times, generator=random)


@pytest.mark.parametrize(("name", "scale"), EVERY_SHAPE)
def test_logits_fit_every_shape(known: ModelSpec, name: str, scale: str) -> None:
    model = built(known, name, scale=scale).eval()
    x = windows(name)
    with torch.inference_mode():
        logits, features = model(x), model.features(x)
    assert logits.shape == (3, SHAPES[name][2])
    assert features.ndim == 2
    assert len(features) == 3
    assert torch.isfinite(logits).all()


def test_a_window_is_judged_alone(known: ModelSpec) -> None:
    model = built(known).eval()
    x = windows(n=4)
    with torch.inference_mode():
        together = model(x)
        alone = torch.cat([model(x[i : i + 1]) for i in range(4)])
    # Batched products round differently from single ones.
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1e4, -1e4])
def test_silence_and_spikes_stay_finite(known: ModelSpec, value: float) -> None:
    model = built(known)
    x = windows()
    x[0] = 0.0
    x[1, :, 100:110] = value
    for mode in (model.eval(), model.train()):
        assert torch.isfinite(mode(x)).all()


def test_every_weight_gets_a_gradient(known: ModelSpec) -> None:
    model = built(known)
    if known.trained_by == "prior":
        assert list(model.parameters()) == []
        return
    loss = torch.nn.functional.cross_entropy(
        model(windows(n=4)), torch.tensor([0, 1, 0, 1])
    )
    loss.backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert without == []


def test_the_seed_decides_the_start_and_eval_is_deterministic(known: ModelSpec) -> None:
    first, second = built(known).eval(), built(known).eval()
    x = windows()
    with torch.inference_mode():
        assert torch.equal(first(x), second(x))
        assert torch.equal(first(x), first(x))


def test_what_is_saved_and_loaded_says_the_same(known: ModelSpec) -> None:
    model = built(known)
    model.train()(windows(seed=5))  # moves running statistics
    state = copy.deepcopy(model.state_dict())
    torch.manual_seed(99)
    other = known.build(shape_of("eegmat"), scale="small")
    other.load_state_dict(state)
    x = windows()
    with torch.inference_mode():
        assert torch.equal(model.eval()(x), other.eval()(x))


def test_head_of_features_is_the_forward(known: ModelSpec) -> None:
    model = built(known).eval()
    x = windows()
    with torch.inference_mode():
        torch.testing.assert_close(model.head(model.features(x)), model(x))


def test_the_small_recipe_keeps_its_budget(known: ModelSpec) -> None:
    from eegfm_bench.datasets._prepare import prepare
    from eegfm_bench.datasets._spec import dataset_names

    model = built(known)
    for dataset in dataset_names():
        n = prepare(dataset).counts()
        epochs = getattr(known.recipes["small"], "epochs", 1)
        fitted = n["train"] if hasattr(model, "fit_features") else 0
        assert epochs * (n["train"] + n["val"]) + n["test"] + fitted <= 600


def test_it_says_where_it_comes_from(known: ModelSpec) -> None:
    assert known.title
    assert known.reference
    assert known.licence
    assert set(known.recipes) == {"paper", "small"}


def test_it_says_what_it_does_to_its_input(known: ModelSpec) -> None:
    unsaid = {field.name: field.default for field in dataclasses.fields(ModelSpec)}
    for name in ("input_scale", "channel_use"):
        said = getattr(known, name)
        assert said, name
        assert said != unsaid[name], (
            f"{name} is the default; say it in the model's file"
        )


@pytest.mark.parametrize("scale", ["paper", "small"])
def test_its_declared_size_is_true(known: ModelSpec, scale: str) -> None:
    found, said = counted(known, scale), known.sizes.get(scale)
    assert said is not None, f"sizes lacks '{scale}': {found}"
    assert (said.encoder, said.head) == (found.encoder, found.head), found
    # Other versions of torch take other ways through some products.
    assert said.flops == pytest.approx(found.flops, rel=0.01), found


def test_its_paper_recipe_is_the_books(known: ModelSpec) -> None:
    book = recipe_book(known.name)
    if book is None:
        pytest.skip("no public code or paper states its recipe")
    in_code = {
        **known.options_at("paper"),
        **known.recipes["paper"].model_dump(),
    }
    for where, stated in book.sections().items():
        assert stated.keys() <= in_code.keys(), where
    assert {key: in_code[key] for key in book.all} == {
        key: value for key, (value, _) in book.all.items()
    }


def test_the_small_head_is_small(known: ModelSpec) -> None:
    head = built(known).head
    widths = [m.out_features for m in head.modules() if hasattr(m, "out_features")]
    assert max(widths, default=0) <= 128


def planted(n: dict[str, int], seed: int = 3) -> Any:
    """What training asks of a store: noise, and for every other window 10 Hz."""
    random = np.random.default_rng(seed)
    parts = [part for part, count in n.items() for _ in range(count)]
    label = np.arange(len(parts)) % 2
    x = random.normal(0, 15, (len(parts), 8, 600))
    phase = random.uniform(0, 2 * np.pi, len(parts))[:, None]
    wave = 30 * np.sin(2 * np.pi * 10 * np.arange(600) / 200 + phase)
    x[:, :4] += (label[:, None] * wave)[:, None]
    x = x.astype(np.float32)
    return SimpleNamespace(
        sequence=1,
        index=pd.DataFrame({"part": parts, "label": label}),
        manifest={"classes": ["without", "with"]},
        take=lambda rows: x[rows],
        rows=lambda part: np.flatnonzero(np.array(parts) == part),
        counts=lambda: n,
    )


def test_it_learns_what_is_planted_by_its_own_small_recipe(known: ModelSpec) -> None:
    if known.trained_by == "prior":
        pytest.skip("it does not read windows")
    store, recipe = planted({"train": 160, "val": 40}), known.recipes["small"]
    data = EEGDataModule(store, batch_size=getattr(recipe, "batch_size", 64), seed=0)
    channels = tuple(f"E{c + 1}" for c in range(8))
    shape = InputShape(channels=channels, n_times=600, rate_hz=200.0, n_classes=2)
    torch.manual_seed(0)
    model = known.build(shape, scale="small")
    spec: Any = SimpleNamespace(recipe=recipe)
    _, scores, _ = _train(known, model, data, spec, "cpu", None)
    values, _ = score(store.index["label"].to_numpy()[store.rows("val")], scores)
    assert values["balanced_accuracy"] >= 0.7


def test_an_unknown_option_is_refused_by_name(known: ModelSpec) -> None:
    with pytest.raises(UnknownName, match="No option of"):
        known.build(shape_of("eegmat"), options={"no_such_option": 1})


def test_build_is_the_public_way(known: ModelSpec) -> None:
    model = eegfm_bench.build(
        known.name, channels=["C3", "C4"], n_times=400, rate_hz=200.0, n_classes=3
    )
    assert model(torch.randn(2, 2, 400)).shape == (2, 3)
