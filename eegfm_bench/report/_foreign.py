"""Files of other suites, opened without trust: nothing in them is run or followed.

From: a path. To: ``imports``: plain rows, or a plain JSON document. What a file is, its
first bytes say, not its name. Nothing is unpickled, no link within HDF5 is followed,
and a file that claims to be huge is refused before it is read.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from eegfm_bench.errors import DataMissing, StoreError, listed

if TYPE_CHECKING:
    import h5py

MOST_BYTES = 256 * 1024**2
MOST_ROWS = 2_000_000
_MAGIC = {b"PAR1": "parquet", b"\x89HDF": "hdf5"}

Row = dict[str, Any]


def kind_of(file: Path) -> str:
    """Return ``parquet``, ``hdf5``, ``json`` or ``csv``, by the file's first bytes.

    Raises
    ------
    DataMissing
        If there is no such file.
    StoreError
        If it is empty, or larger than any results are.
    """
    if not file.is_file():
        raise DataMissing(f"There is no file {file}. Give a file of results.")
    n_bytes = file.stat().st_size
    if not 0 < n_bytes <= MOST_BYTES:
        refuse(file, f"it has {n_bytes:,} bytes; expected 1 to {MOST_BYTES:,}")
    with file.open("rb") as raw:
        first = raw.read(512)
    found = _MAGIC.get(first[:4])
    return found or ("json" if first.lstrip()[:1] == b"{" else "csv")


def read_json(file: Path) -> Any:
    """Read a JSON document; NaN and repeated keys are none."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise ValueError(f"the key {listed(twice)} is there twice")
        return dict(pairs)

    def no_number(text: str) -> NoReturn:
        raise ValueError(f"{text} is no number")

    try:
        return json.loads(
            file.read_text(encoding="utf-8"),
            object_pairs_hook=once,
            parse_constant=no_number,
        )
    except (ValueError, RecursionError) as error:
        refuse(file, f"it is no whole JSON document ({error})")


def read_csv(file: Path) -> tuple[list[str], list[list[str]]]:
    """Read the header and the rows of a CSV file, as text."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            header, *rows = list(csv.reader(text, strict=True)) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        refuse(file, f"it is no whole CSV file ({error})")
    rows = [row for row in rows if row]
    for at, row in enumerate(rows, start=2):
        if len(row) != len(header):
            refuse(file, f"line {at} has {len(row)} values; expected {len(header)}")
    if twice := {name for name in header if name and header.count(name) > 1}:
        refuse(file, f"the column {listed(twice)} is there twice")
    return header, rows


def read_parquet(file: Path) -> list[Row]:
    """Read a Parquet file as plain rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        opened = pq.ParquetFile(file)
        if opened.metadata.num_rows > MOST_ROWS:
            refuse(file, f"it has {opened.metadata.num_rows:,} rows")
        rows: list[Row] = opened.read().to_pylist()
    except (OSError, pa.ArrowException) as error:
        refuse(file, f"it is no whole Parquet file ({error})")
    return rows


def read_moabb_hdf5(file: Path) -> list[Row]:
    """Read the store that MOABB keeps its results in, as rows of its DataFrame.

    A group per pipeline, named by a hash, with its ``name``; in it a group per dataset,
    with ``data``, ``id`` (subject, session) and the names of the ``columns``.
    """
    import h5py

    try:
        with h5py.File(file, "r") as store:
            return [
                row
                for digest in store
                for pipeline in [_group(file, store, digest)]
                for dataset in pipeline
                for row in _moabb_rows(file, pipeline, dataset)
            ]
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
        refuse(file, f"it is no whole HDF5 file ({error})")


def _moabb_rows(file: Path, pipeline: h5py.Group, name: str) -> Iterable[Row]:
    dataset = _group(file, pipeline, name)
    try:
        who = str(pipeline.attrs["name"])
        columns = [str(column) for column in dataset.attrs["columns"]]
        data, ids = (_array(file, dataset, key) for key in ("data", "id"))
        if data.ndim != 2 or data.shape[1] != len(columns):
            refuse(
                file,
                f"'data' of {who} on {name} is {data.shape}; expected a column "
                f"for each of {', '.join(columns)}",
            )
        if ids.shape != (len(data), 2):
            refuse(file, f"'id' of {who} on {name} is {ids.shape}, beside {len(data)}")
        about = {"dataset": name, "pipeline": who}
        about["channels"] = dataset.attrs["channels"].item()
        about["n_sessions"] = dataset.attrs["n_sessions"].item()
    except (KeyError, AttributeError) as error:
        refuse(file, f"{name} lacks what MOABB writes ({error})")
    for values, (subject, session) in zip(data[:], ids.asstr()[:], strict=True):
        numbers = dict(zip(columns, map(float, values), strict=True))
        yield {**numbers, "subject": str(subject), "session": str(session), **about}


def _group(file: Path, above: h5py.Group, key: str) -> h5py.Group:
    import h5py

    own = _own(file, above, key)
    if not isinstance(own, h5py.Group):
        refuse(file, f"'{key}' is no group: this is not MOABB's store of results")
    return own


def _array(file: Path, above: h5py.Group, key: str) -> h5py.Dataset:
    import h5py

    own = _own(file, above, key)
    if not isinstance(own, h5py.Dataset) or own.external or own.is_virtual:
        refuse(file, f"'{key}' of {above.name} is no array of its own")
    if own.size > MOST_ROWS:
        refuse(file, f"'{key}' of {above.name} has {own.size:,} values")
    return own


def _own(file: Path, above: h5py.Group, key: str) -> Any:
    import h5py

    if not isinstance(above.get(key, getlink=True), h5py.HardLink):
        refuse(file, f"'{key}' of {above.name} is absent, or a link to elsewhere")
    return above[key]


def number(file: Path, row: Row, field: str, *, where: str) -> float:
    """Return a finite number of a row."""
    value = row.get(field)
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found) or isinstance(value, bool):
        refuse(file, f"'{field}' of {where} is {value!r}; expected a number")
    return found


def word(file: Path, row: Row, field: str, *, where: str) -> str:
    """Return a text of a row that is not empty."""
    value = row.get(field)
    is_word = isinstance(value, (str, int)) and not isinstance(value, bool)
    if not is_word or not str(value).strip():
        refuse(file, f"'{field}' of {where} is {value!r}; expected a name")
    return str(value).strip()


def refuse(file: Path, why: str) -> NoReturn:
    """Refuse a file by its name, and say what can be imported.

    Raises
    ------
    StoreError
    """
    raise StoreError(
        f"{file} cannot be imported: {why}. Give OpenEEG-Bench's results (Parquet or "
        f"CSV), neuralbench's (JSON, or its table as CSV) or MOABB's (HDF5 or CSV), as "
        f"they were written."
    )
