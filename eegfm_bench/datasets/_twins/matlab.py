"""Writing what publishers write with MATLAB and Excel, the same bytes every time.

From: simulated arrays. To: ``.mat`` files of version 5 to 7 and of 7.3, and ``.xlsx``
workbooks, for twins. Libraries put the time into all three; here it is put out again.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WHEN = "Mon Jan 01 00:00:00 2020"
# What MATLAB writes at a file's start, less its version.
_TEXT = "MATLAB {} MAT-file, Platform: PCWIN64, Created on: {}{}"
_USER_BLOCK = 512


def cells(words: Sequence[str]) -> NDArray[np.object_]:
    """Return texts as the cell array (1, N) that MATLAB has of them."""
    row = np.empty((1, len(words)), object)
    row[0] = words
    return row


def write_mat(path: Path, variables: Mapping[str, Any], *, compressed: bool) -> None:
    """Write version 5 (plain) or 7 (compressed); a dict becomes a struct.

    Fields are written in the order of the dict.
    """
    from scipy.io import savemat

    savemat(path, dict(variables), do_compression=compressed, oned_as="row")
    text = _TEXT.format("5.0", _WHEN, "").ljust(116).encode()
    with path.open("r+b") as file:
        file.write(text)


def write_mat_7_3(path: Path, variables: Mapping[str, Mapping[str, Any]]) -> None:
    """Write version 7.3, HDF5 behind MATLAB's header: structs of arrays and cells."""
    import h5py

    n_cells = 0
    with h5py.File(path, "w", userblock_size=_USER_BLOCK, libver="earliest") as file:
        for name, fields in variables.items():
            group = file.create_group(name)
            group.attrs["MATLAB_class"] = np.bytes_("struct")
            for key, value in fields.items():
                values = np.asarray(value)
                kind = "double"
                if values.dtype == object:
                    kind = "cell"
                    refs = np.empty(values.shape, h5py.ref_dtype)
                    for at, word in np.ndenumerate(values):
                        letters = np.array([[ord(c)] for c in word], "u2")
                        cell = file.create_dataset(
                            f"#refs#/{n_cells:03d}", data=letters
                        )
                        cell.attrs["MATLAB_class"] = np.bytes_("char")
                        refs[at] = cell.ref
                        n_cells += 1
                    values = refs
                elif values.dtype == np.float32:
                    kind = "single"
                # MATLAB's axes, reversed.
                stored = group.create_dataset(key, data=values.T)
                stored.attrs["MATLAB_class"] = np.bytes_(kind)
    text = _TEXT.format("7.3", _WHEN, " HDF5 schema 1.00 .").ljust(116).encode()
    with path.open("r+b") as file:
        file.write(text + bytes(8) + b"\x00\x02IM")


def write_xlsx(path: Path, sheet: str, rows: Sequence[Sequence[object]]) -> None:
    """Write a workbook of one sheet; None leaves a cell empty."""
    import openpyxl

    book = openpyxl.Workbook()
    page = book.active
    page.title = sheet
    for row in rows:
        page.append(list(row))
    drawn = io.BytesIO()
    book.save(drawn)
    with (
        zipfile.ZipFile(drawn) as archive,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out,
    ):
        for name in sorted(archive.namelist()):
            content = archive.read(name)
            if name == "docProps/core.xml":
                stamp = rb">2020-01-01T00:00:00Z<"
                content = re.sub(rb">\d{4}-\d\d-\d\dT[\d:]+Z<", stamp, content)
            # The first moment that a zip archive knows.
            out.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
