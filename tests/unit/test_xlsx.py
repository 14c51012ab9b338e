"""Sheets of workbooks: so much as asked for, and nothing that is no workbook."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pandas as pd
import pytest

from eegfm_bench.datasets._twins.matlab import write_xlsx
from eegfm_bench.errors import SignalError
from eegfm_bench.recordings import xlsx
from eegfm_bench.recordings.xlsx import read_rows

ROWS = [["Track 3", None, None], [None, "Trial #", "True Label"], [None, 1, 4.5]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_xlsx(tmp_path / "answers.xlsx", "Track3", ROWS)
    return tmp_path / "answers.xlsx"


def test_the_upper_left_part_is_read_and_filled_up(path: Path) -> None:
    whole = read_rows(path, "Track3", n_rows=3, n_columns=3)
    assert whole == [tuple(row) for row in ROWS]
    assert read_rows(path, "Track3", n_rows=2, n_columns=2) == [
        ("Track 3", None),
        (None, "Trial #"),
    ]
    larger = read_rows(path, "Track3", n_rows=5, n_columns=4)
    assert larger == [*((*row, None) for row in ROWS), (None,) * 4, (None,) * 4]


@pytest.mark.parity
def test_cells_lie_where_pandas_has_them(path: Path) -> None:
    theirs = pd.read_excel(path, sheet_name="Track3", header=None)
    mine = read_rows(path, "Track3", n_rows=3, n_columns=3)
    assert theirs.iloc[2, 1] == mine[2][1] == 1
    assert theirs.iloc[2, 2] == mine[2][2] == 4.5


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04", None])
def test_what_is_no_workbook_is_named(path: Path, content: bytes | None) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(SignalError, match=r"answers\.xlsx: is no workbook, or damaged"):
        read_rows(path, "Track3", n_rows=3, n_columns=3)


def test_another_archive_is_no_workbook(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "words")
    with pytest.raises(SignalError, match=r"answers\.xlsx: is no workbook, or damaged"):
        read_rows(path, "Track3", n_rows=3, n_columns=3)


def test_an_absent_sheet_is_named_with_those_there(path: Path) -> None:
    with pytest.raises(SignalError, match="no sheet 'Track2'; there is Track3"):
        read_rows(path, "Track2", n_rows=3, n_columns=3)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SignalError, match=r"a\.xlsx: cannot be read: No such file"):
        read_rows(tmp_path / "a.xlsx", "Track3", n_rows=3, n_columns=3)


def test_what_unpacks_to_too_much_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xlsx, "MOST_BYTES", 1000)
    with pytest.raises(SignalError, match=r"unpacks to [\d,]+ bytes; expected 1,000"):
        read_rows(path, "Track3", n_rows=3, n_columns=3)


def test_a_workbook_is_the_same_every_time(path: Path, tmp_path: Path) -> None:
    write_xlsx(tmp_path / "again.xlsx", "Track3", ROWS)
    assert (tmp_path / "again.xlsx").read_bytes() == path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert {member.date_time[0] for member in archive.infolist()} == {1980}
        assert archive.read("docProps/core.xml").count(b"2020-01-01T00:00:00Z") == 2
