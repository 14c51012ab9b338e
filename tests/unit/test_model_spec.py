"""What a model's builder is given: options, and which of them depend on the scale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from eegfm_bench.errors import UnknownName
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
