"""What may be asked of a probe, and what its rows say of seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eegfm_bench.errors import SpecError
from eegfm_bench.report.table import make_table
from eegfm_bench.runs.spec import AS_STORED, ClosedFormRecipe
from eegfm_bench.sweep.launch import InlineLauncher
from eegfm_bench.sweep.run import Options, sweep
from eegfm_bench.sweep.specs import cells_of
from eegfm_bench.sweep.suite import adapted
from tests.unit.skeletons_of_adapting import checkpoint


def probed(tmp_path: Path, settings: dict[str, Any], **more: Any) -> Any:
    asked = {"weights": None, "labels": None, **more}
    cells = adapted(
        cells_of(["cbramod"], ["eegmat"], "small", settings), adapt="probe", **asked
    )
    runs = tmp_path / "runs"
    options = Options(runs=runs, device="cpu", launcher=InlineLauncher(), jobs=1)
    return make_table(sweep(cells, [0, 1], options).records(runs))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"penalties": []}, r"penalties \[\]; expected one number or more"),
        ({"penalties": [-1.0, 1.0]}, r"penalties \[-1, 1\]; .* above 0"),
        ({"penalties": [0]}, r"penalties \[0\]; .* above 0"),
        ({"select": "last"}, "has no last epoch"),
    ],
)
def test_what_solves_nothing_is_refused_before_anything_runs(
    settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=said):
        probed(tmp_path, settings)
    assert not (tmp_path / "runs").exists()


def test_stored_recipes_are_read_whatever_is_refused_now() -> None:
    old = {"penalties": [0.0], "select": "last"}
    read = ClosedFormRecipe.model_validate(old, context=AS_STORED)
    assert (read.penalties, read.select) == ((0.0,), "last")


def test_a_table_says_where_no_seed_changes_a_probe(tmp_path: Path) -> None:
    path, _ = checkpoint(tmp_path)
    said = "all 2 seeds have the same scores"
    solved = probed(tmp_path / "a", {}, weights=str(path))
    assert any(said in note for note in solved.notes)
    drawn = probed(tmp_path / "b", {}, weights=str(path), labels="20%")
    assert not any(said in note for note in drawn.notes)
    control = probed(tmp_path / "c", {})  # each seed draws an encoder of its own
    assert not any(said in note for note in control.notes)
