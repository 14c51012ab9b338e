"""What a model's builder is given: options, and which of them depend on the scale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from eegfm_bench.cli import listing
from eegfm_bench.errors import DuplicateName, SpecError, UnknownName
from eegfm_bench.models import _spec
from eegfm_bench.models._spec import InputShape, find_model, model
from eegfm_bench.runs.spec import NoRecipe

SHAPE = InputShape(channels=("Cz",), n_times=100, rate_hz=100.0, n_classes=2)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    _spec._REGISTERED.pop("echo", None)


def register(builder: Any, **more: Any) -> _spec.ModelSpec:
    model(
        title="Echo",
        trained_by="prior",
        recipes={"paper": NoRecipe(), "small": NoRecipe()},
        reference="none",
        licence="none",
        **more,
    )(builder)
    return find_model(builder.__name__)


def test_options_are_read_from_the_builder() -> None:
    def echo(shape: InputShape, *, scale: str, width: int = 3) -> Any:
        return scale, width

    known = register(echo, small_options={"width": 1})
    assert known.options == {"width": 3}
    assert known.options_at("paper") == {"width": 3}
    assert known.options_at("small") == {"width": 1}
    assert known.build(SHAPE) == ("paper", 3)
    assert known.build(SHAPE, scale="small") == ("small", 1)
    assert known.build(SHAPE, scale="small", options={"width": 3}) == ("small", 3)


def test_options_can_be_listed_instead() -> None:
    def echo(shape: InputShape, *, scale: str, **options: Any) -> Any:
        return options

    known = register(echo, options={"width": 3, "depth": 2}, small_options={"depth": 1})
    assert known.build(SHAPE, options={"width": 5}) == {"width": 5, "depth": 2}
    assert known.build(SHAPE, scale="small") == {"width": 3, "depth": 1}
    with pytest.raises(UnknownName, match="Did you mean 'width'"):
        known.build(SHAPE, options={"widht": 5})


def test_a_small_default_of_no_option_is_refused() -> None:
    def echo(shape: InputShape, *, scale: str, width: int = 3) -> Any:
        return width

    with pytest.raises(UnknownName, match="No option of echo is called 'with'"):
        register(echo, small_options={"with": 1})


def test_a_check_sees_all_options_and_spells_them() -> None:
    def echo(shape: InputShape, *, scale: str, width: int = 3, word: str = "a") -> Any:
        return width, word

    def check(options: Any, scale: str) -> Any:
        if options["width"] > (9 if scale == "paper" else 2):
            raise SpecError(f"width of echo is {options['width']}.")
        return {**options, "word": options["word"].strip()}

    known = register(echo, small_options={"width": 1}, check=check)
    assert known.build(SHAPE, options={"word": " b"}) == (3, "b")
    assert known.options_for("small", {"word": "b "}) == {"width": 1, "word": "b"}
    with pytest.raises(SpecError, match="width of echo is 3"):
        known.build(SHAPE, scale="small", options={"width": 3})
    assert known.build(SHAPE, options={"width": 3}) == (3, "a")


def test_an_option_named_as_the_recipes_is_refused() -> None:
    def echo(shape: InputShape, *, scale: str, select: str = "last") -> Any:
        return select

    with pytest.raises(DuplicateName, match="'select' of echo is a name of its recipe"):
        register(echo)


def test_the_listing_shows_what_the_small_scale_has_else() -> None:
    def echo(shape: InputShape, *, scale: str, width: int = 3) -> Any:
        return width

    register(echo, small_options={"width": 1})
    entries = {entry["name"]: entry for entry in listing.of("models")}
    assert entries["echo"]["options"] == {"width": 3}
    assert entries["echo"]["at_the_small_scale"] == {"width": 1}


def test_the_listing_names_what_a_class_may_take() -> None:
    from eegfm_bench.models._own_class import SIGNAL

    outside = {entry["name"]: entry for entry in listing.of("models")[-2:]}
    how = outside["torch:package.module:Class"]["how"]
    assert all(name in how for name in SIGNAL)
    taken = outside["braindecode:Class"]["names_of_the_recipe"]
    assert "lr" in taken
    assert "epochs" in taken
