"""If only one test could stay: from an EDF file to a row of a table."""

from __future__ import annotations

import runpy
from pathlib import Path

import edfio
import pytest

from eegfm_bench.datasets._prepare import prepare, twin_root
from eegfm_bench.datasets._spec import find_dataset

ROAD = Path(__file__).parents[1] / "examples" / "road.py"


def test_from_an_edf_file_to_a_row_of_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Genuine EDF that an independent library reads, then the whole road.
    file = next(twin_root(find_dataset("eyes")).rglob("*.edf"))
    assert edfio.read_edf(file).num_signals == 64
    table = runpy.run_path(str(ROAD))["main"](None, tmp_path)
    lines = table.splitlines()
    assert "simulated recordings" in lines[0].lower()
    rows = [line for line in lines if line.startswith(("| Band power", "| EEGNet"))]
    assert len(rows) == 2
    assert "Eyes (2 classes): AUROC" in table
    assert "windows (" in capsys.readouterr().out


@pytest.mark.data
def test_the_same_road_on_real_recordings(tmp_path: Path, data_root: Path) -> None:
    table = runpy.run_path(str(ROAD))["main"](str(data_root), tmp_path)
    assert "partial" in table
    assert "simulated" not in table
    assert prepare("eyes", data=data_root, allow_partial=True).counts()["train"] >= 660
