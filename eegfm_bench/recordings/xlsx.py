"""Sheets of ``.xlsx`` files, as rows of values.

From: a workbook that comes with recordings, such as an answer sheet. To: datasets,
which know what its columns mean. Only so many rows and columns are read as asked for,
and no workbook that would unpack to more than a sheet of labels can need.
"""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

from eegfm_bench.errors import SignalError

# A sheet of labels takes some tens of kB.
MOST_BYTES = 64 << 20
_AGAIN = "Fetch it again."


def read_rows(
    path: Path, sheet: str, *, n_rows: int, n_columns: int
) -> list[tuple[object, ...]]:
    """Read the upper left part of a sheet; cells that it lacks are None.

    Parameters
    ----------
    path : path
        The workbook.
    sheet : str
        The sheet's name.
    n_rows, n_columns : int
        How much to read, from the first cell on.

    Returns
    -------
    rows : list of tuples
        ``n_rows`` rows of ``n_columns`` values: numbers, texts or None. A formula
        is what it came to when the workbook was saved.

    Raises
    ------
    SignalError
        If the file is no workbook, is damaged, or lacks the sheet.
    """
    import openpyxl

    try:
        with zipfile.ZipFile(path) as archive:
            n_bytes = sum(member.file_size for member in archive.infolist())
        if n_bytes > MOST_BYTES:
            raise SignalError(
                f"{path}: unpacks to {n_bytes:,} bytes; expected {MOST_BYTES:,} at "
                f"most. {_AGAIN}"
            )
        with path.open("rb") as file, warnings.catch_warnings():
            # Of styles that a writer left out.
            warnings.simplefilter("ignore", UserWarning)
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            names = book.sheetnames
            if sheet not in names:
                raise SignalError(
                    f"{path}: there is no sheet '{sheet}'; there is "
                    f"{', '.join(names)}. {_AGAIN}"
                )
            book[sheet].reset_dimensions()
            rows = [
                tuple(row)[:n_columns]
                for row in book[sheet].iter_rows(max_row=n_rows, values_only=True)
            ]
    except OSError as error:
        why = error.strerror or error
        raise SignalError(f"{path}: cannot be read: {why}. {_AGAIN}") from error
    except (
        *(zipfile.BadZipFile, EOFError, KeyError, ValueError, TypeError, IndexError),
        *(AttributeError, SyntaxError, NotImplementedError, RuntimeError),
    ) as error:
        # What openpyxl and its XML reader raise on files that are none of theirs.
        raise SignalError(
            f"{path}: is no workbook, or damaged ({error}). {_AGAIN}"
        ) from error
    rows += [()] * (n_rows - len(rows))
    return [row + (None,) * (n_columns - len(row)) for row in rows]
