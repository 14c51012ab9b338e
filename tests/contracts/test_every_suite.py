"""What every suite owes, and what never changes once it is published."""

from __future__ import annotations

from pathlib import Path

import pytest

from eegfm_bench.datasets._spec import dataset_names
from eegfm_bench.errors import SpecError, UnknownName
from eegfm_bench.models._spec import model_names
from eegfm_bench.sweep.suite import load_suite, suite_names


@pytest.mark.parametrize("name", suite_names())
def test_its_names_exist_and_its_cells_are_unique(name: str) -> None:
    suite = load_suite(name)
    assert set(suite.models) <= set(model_names())
    assert set(suite.datasets) <= set(dataset_names())
    cells = suite.cells()
    assert len(set(cells)) == len(cells) == len(suite.models) * len(suite.datasets)
    assert len(set(suite.seeds)) == len(suite.seeds)


def test_a_number_is_short_for_its_table() -> None:
    assert load_suite("1") == load_suite("table1")


def test_a_misspelt_suite_gets_a_suggestion() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'table1'"):
        load_suite("tabel1")


def write(tmp_path: Path, text: str) -> str:
    (tmp_path / "mine.yaml").write_text(text)
    return str(tmp_path / "mine.yaml")


GOOD = (
    "name: mine\nversion: 1\ntitle: t\nscale: small\nseeds: [0]\nmodels: [chance]\n"
    "datasets: [eyes]\n"
)


def test_a_suite_can_lie_anywhere(tmp_path: Path) -> None:
    assert load_suite(write(tmp_path, GOOD)).cells()[0].model == "chance"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "modles: [x]\n", "'modles'.*Extra inputs"),
        (GOOD.replace("small", "huge"), "'scale'"),
        (GOOD.replace("name: mine", "name: other"), "calls itself 'other'"),
        ("models: [", "is not YAML"),
        ("", "holds no fields"),
        (GOOD.replace("[0]", "[-1]"), "'seeds.0' is -1"),
        (GOOD.replace("[chance]", "[]"), "'models'"),
    ],
)
def test_a_suite_that_does_not_fit_names_the_field(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(SpecError, match=says):
        load_suite(write(tmp_path, text))
