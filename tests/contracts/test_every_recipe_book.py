"""What every book of recipes owes: nothing idle, nothing that is the suite's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from eegfm_bench.datasets._spec import DatasetSpec, dataset_names, find_dataset
from eegfm_bench.models import codebrain
from eegfm_bench.models._spec import InputShape, find_model
from eegfm_bench.runs.recipes import RecipeBook, book_names, recipe_book

# What books state beside what they state for all, worked out from specs.
UNSMOOTHED = {"label_smoothing": 0.0}
OF_TWO_CLASSES = ("chbmit", "chbmit@corrected", "eegmat", "eyes", "shu_mi")
APART: dict[tuple[str, str], dict[str, Any]] = {
    **{
        (model, dataset): UNSMOOTHED
        for model in ("cbramod", "codebrain", "labram")
        for dataset in OF_TWO_CLASSES
    },
    **{
        (model, dataset): {"batch_size": 128}
        for model in ("biot", "cnn_transformer", "ffcl", "st_transformer")
        for dataset in ("tuev", "tuev@2.0.1")
    },
    ("cbramod", "isruc@epoch"): {"head_hidden": 512},
    ("codebrain", "isruc@epoch"): {"head_hidden": 512},
}


def book_of(name: str) -> RecipeBook:
    book = recipe_book(name)
    assert book is not None
    return book


@pytest.fixture(params=book_names())
def book(request: pytest.FixtureRequest) -> RecipeBook:
    return book_of(request.param)


def test_it_names_datasets_that_exist(book: RecipeBook) -> None:
    assert book.datasets.keys() <= set(dataset_names())


def test_every_source_is_cited(book: RecipeBook) -> None:
    cited = {source for part in book.sections().values() for _, source in part.values()}
    assert book.sources.keys() == cited


@pytest.mark.parametrize("dataset", dataset_names())
def test_its_values_are_the_known_ones(book: RecipeBook, dataset: str) -> None:
    values = book.values(dataset, len(find_dataset(dataset).classes))
    for_all = {key: value for key, (value, _) in book.all.items()}
    expected = {**for_all, **APART.get((book.model, dataset), {})}
    assert values == expected


def test_no_value_is_what_it_would_be_anyway(book: RecipeBook) -> None:
    known = find_model(book.model)
    alone = known.recipes["paper"].model_dump() | known.options_at("paper")
    for key, (value, _) in book.two_classes.items():
        assert value != alone[key], f"two_classes.{key}"
    for name, stated in book.datasets.items():
        without = book.model_copy(
            update={"datasets": {k: v for k, v in book.datasets.items() if k != name}}
        )
        n_classes = len(find_dataset(name).classes)
        otherwise = alone | without.values(name, n_classes)
        for key, (value, _) in stated.items():
            assert value != otherwise[key], f"{name}.{key}"


def shape_of(dataset: DatasetSpec) -> InputShape:
    recipe = dataset.recipe
    return InputShape(
        channels=recipe.channels,
        n_times=round(recipe.window_s * recipe.rate_hz),
        rate_hz=recipe.rate_hz,
        n_classes=len(dataset.classes),
        sequence=recipe.sequence,
    )


def is_idle(model: str, options: dict[str, Any], key: str, shape: InputShape) -> bool:
    """Whether a model has the same weights, by name and size, without an option."""
    others = {k: v for k, v in options.items() if k != key}
    with torch.device("meta"):  # sizes alone: some heads have gigabytes
        built = [find_model(model).build(shape, options=o) for o in (options, others)]
    one, two = ({k: v.shape for k, v in m.state_dict().items()} for m in built)
    return one == two


def counts_of(book: RecipeBook, dataset: str) -> dict[str, int]:
    """The options that a book states of one dataset, those that count something."""
    options = find_model(book.model).options
    stated = {key: value for key, (value, _) in book.datasets[dataset].items()}
    return {k: v for k, v in stated.items() if k in options and type(v) is int}


def test_no_count_gives_the_weights_that_are_there_anyway(
    book: RecipeBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It asks for numbers, which weights without storage have not.
    monkeypatch.setattr(codebrain, "_take_norms", lambda conv: None)
    for dataset in book.datasets:
        counts = counts_of(book, dataset)
        shape = replace(shape_of(find_dataset(dataset)), sequence=1)
        for key in counts:
            assert not is_idle(book.model, counts, key, shape), f"{dataset}.{key}"


def test_an_idle_count_is_found_idle() -> None:
    # Four times 200 units: what the rule gives windows of one patch.
    for name, found in (("seedv", True), ("faced", False)):
        shape = shape_of(find_dataset(name))
        assert is_idle("cbramod", {"head_hidden": 800}, "head_hidden", shape) is found


def test_of_sequences_it_states_nothing_of_a_models_own_head(book: RecipeBook) -> None:
    known = find_model(book.model)
    at_paper = known.options_at("paper")
    for dataset in map(find_dataset, dataset_names()):
        values = at_paper | book.values(dataset.name, len(dataset.classes))
        if dataset.recipe.sequence > 1:
            for key in known.head_options:
                assert values[key] == at_paper[key], f"{dataset.name}.{key}"
