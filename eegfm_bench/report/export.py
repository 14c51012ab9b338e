"""Records become plain rows for the tools of others: one per run, part and metric.

From: a folder of runs. To: CSV or Parquet with equal rows; and, if asked for, the
scores of every test window. Each row carries its whole question, so that a file found
years later can still be understood. Both are streamed, a run at a time, and appear
whole or not at all.

Letters: N windows, K classes.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eegfm_bench.errors import DataMissing, SpecError, StoreError
from eegfm_bench.runs.predictions import read_predictions
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.spec import canonical_json
from eegfm_bench.runs.store import ResultStore

# Of the rows; raised when a column changes its meaning or goes.
SCHEMA_VERSION = 1
FORMATS = {"csv": ".csv", "parquet": ".parquet"}
_PREDICTIONS = "predictions.parquet"
_AT_ONCE = 20_000  # rows that are held before they are written

_TEXT, _WHOLE, _REAL = pa.string(), pa.int64(), pa.float64()
COLUMNS: Mapping[str, pa.DataType] = {
    "schema_version": _WHOLE,
    "source": _TEXT,
    "run_id": _TEXT,
    "cell_id": _TEXT,
    "dataset": _TEXT,
    "protocol": _TEXT,
    "data": _TEXT,
    "fingerprint": _TEXT,
    "model": _TEXT,
    "model_version": _WHOLE,
    "code": _TEXT,
    "options": _TEXT,
    "scale": _TEXT,
    "init": _TEXT,
    "weights_file": _TEXT,
    "weights_sha256": _TEXT,
    "weights_matched": _WHOLE,
    "weights_of": _WHOLE,
    "adapt": _TEXT,
    "labels": _TEXT,
    "recipe": _TEXT,
    "seed": _WHOLE,
    "status": _TEXT,
    "error": _TEXT,
    "part": _TEXT,
    "metric": _TEXT,
    "value": _REAL,
    "reason": _TEXT,
    "n_windows": _WHOLE,
    "n_subjects": _WHOLE,
    "checkpoint_rule": _TEXT,
    "checkpoint_epoch": _WHOLE,
    "total_s": _REAL,
    "fit_s": _REAL,
    "test_s": _REAL,
    "peak_memory_bytes": _WHOLE,
    "n_parameters": _WHOLE,
    "n_parameters_encoder": _WHOLE,
    "n_parameters_head": _WHOLE,
    "window_passes": _WHOLE,
    "flops_per_window": _WHOLE,
    "latency_ms": _REAL,
    "finished_at": _TEXT,
    "package_version": _TEXT,
    "git_commit": _TEXT,
    "device": _TEXT,
    "processor": _TEXT,
    "arithmetic": _TEXT,
    "n_threads": _WHOLE,
}
SCHEMA = pa.schema(list(COLUMNS.items()))
# Beside what names a run, of every test window.
WINDOW_SCHEMA = pa.schema(
    [
        *((name, _TEXT) for name in ("run_id", "dataset", "protocol", "data")),
        *((name, _TEXT) for name in ("model", "init", "scale", "adapt", "labels")),
        ("seed", _WHOLE),
        *((name, _TEXT) for name in ("subject", "session", "recording")),
        ("onset_s", _REAL),
        ("label", _WHOLE),
        ("scores", pa.list_(_REAL)),
    ]
)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written, and what was not there to be written.

    Attributes
    ----------
    file : path
    n_runs, n_failed, n_rows : int
        ``n_failed`` of the runs have no scores: one row says why.
    predictions : path, optional
    n_windows : int
        Rows of that file.
    without_predictions : tuple of str
        Ids of finished runs whose window scores are not beside their record.
    """

    file: Path
    n_runs: int
    n_failed: int
    n_rows: int
    predictions: Path | None = None
    n_windows: int = 0
    without_predictions: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        return {
            "file": str(self.file),
            "runs": self.n_runs,
            "failed": self.n_failed,
            "rows": self.n_rows,
            "predictions": None if self.predictions is None else str(self.predictions),
            "windows": self.n_windows,
            "without_predictions": list(self.without_predictions),
        }


def export(
    runs: Path | str, out: Path, *, form: str | None = None, predictions: bool = False
) -> Exported:
    """Write all runs of a folder as long rows.

    Parameters
    ----------
    runs : path
        The root of a ``ResultStore``.
    out : path
        Replaced, once the new file is whole.
    form : str, optional
        ``csv`` or ``parquet``; else what the ending of ``out`` says.
    predictions : bool
        Write the scores of every test window as well, beside ``out``.

    Raises
    ------
    DataMissing
        If the folder holds no run.
    SpecError
        If nothing says in which format.
    StoreError
        If a record or its predictions are damaged; nothing is written then.
    """
    form = form or {end: name for name, end in FORMATS.items()}.get(out.suffix)
    if form not in FORMATS:
        raise SpecError(
            f"{out} says no format by its ending. End it in "
            f"{' or '.join(FORMATS.values())}, or give --format {'|'.join(FORMATS)}."
        )
    store = ResultStore(runs)
    count: dict[str, int] = {"runs": 0, "failed": 0, "rows": 0}

    def rows() -> Iterator[Row]:
        for record in store.records():
            count["runs"] += 1
            count["failed"] += not record.is_done
            for row in rows_of(record, n_subjects=_n_subjects(store, record)):
                count["rows"] += 1
                yield row
        if not count["runs"]:
            raise DataMissing(
                f"{runs} holds no run. Make some with: eegfm-bench run, or name their "
                f"folder with --runs."
            )

    windows: Path | None = None
    n_windows, without = 0, tuple[str, ...]()
    with _whole(out) as file:
        write = write_csv if form == "csv" else write_parquet
        write(file, rows())
        if predictions:  # before the rows have their name: both, or neither
            windows = out.with_name(f"{out.stem}-predictions.parquet")
            n_windows, without = _write_windows(store, windows)
    return Exported(
        file=out,
        n_runs=count["runs"],
        n_failed=count["failed"],
        n_rows=count["rows"],
        predictions=windows,
        n_windows=n_windows,
        without_predictions=without,
    )


def rows_of(record: RunRecord, *, n_subjects: int | None = None) -> Iterator[Row]:
    """Yield a run's rows: one per part and metric, or the one of a failure.

    Parameters
    ----------
    record : RunRecord
    n_subjects : int, optional
        Subjects of the test part; a record alone does not say.

    Yields
    ------
    row : dict
        A value for every column; None where there is none.
    """
    same = _of_the_run(record)
    if record.failure is not None:
        error = f"{record.failure.kind}: {record.failure.message}".strip()
        yield {**same, "status": "failed", "error": error, "reason": "the run failed"}
        return
    counts = record.cost.n_windows if record.cost is not None else {}
    for part, scores in (record.scores or {}).items():
        for metric, value in scores.items():
            yield {
                **same,
                "status": "done",
                "part": part,
                "metric": metric,
                "value": value,
                "reason": record.reasons.get(part, {}).get(metric),
                "n_windows": counts.get(part),
                "n_subjects": n_subjects if part == "test" else None,
            }


def write_csv(file: Path, rows: Iterable[Row]) -> None:
    """Write rows as CSV; numbers in full, nothing where there is no value."""
    with file.open("w", encoding="utf-8", newline="") as out:
        table = csv.DictWriter(out, list(COLUMNS), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def write_parquet(file: Path, rows: Iterable[Row]) -> None:
    """Write rows as Parquet, some thousands at a time."""
    with pq.ParquetWriter(file, SCHEMA) as out:
        held: list[Row] = []
        for row in rows:
            held.append(row)
            if len(held) == _AT_ONCE:
                out.write_table(pa.Table.from_pylist(held, SCHEMA))
                held.clear()
        out.write_table(pa.Table.from_pylist(held, SCHEMA))


def _of_the_run(record: RunRecord) -> Row:
    """Return what all rows of a run share, every column in its place."""
    spec, about = record.spec, record.provenance
    row: Row = dict.fromkeys(COLUMNS)
    row |= {
        "schema_version": SCHEMA_VERSION,
        "source": "run",
        "run_id": record.run_id,
        "cell_id": record.cell_id,
        "dataset": spec.dataset.name,
        "protocol": spec.dataset.protocol,
        "data": spec.dataset.data,
        "fingerprint": spec.dataset.fingerprint,
        "model": spec.model,
        "model_version": spec.model_version,
        "code": spec.code,
        "options": canonical_json(spec.options),
        "scale": spec.scale,
        "init": spec.init,
        "adapt": spec.adapt,
        "labels": spec.labels or "all",
        "recipe": canonical_json(spec.recipe.model_dump(mode="json")),
        "seed": spec.seed,
    }
    if record.weights is not None:
        row["weights_file"] = record.weights.file
        row["weights_sha256"] = record.weights.sha256
        row["weights_matched"] = record.weights.matched
        row["weights_of"] = record.weights.n_encoder
    if record.checkpoint is not None:
        row["checkpoint_rule"] = record.checkpoint.rule
        row["checkpoint_epoch"] = record.checkpoint.epoch
    if record.cost is not None:
        for name in COLUMNS.keys() & type(record.cost).model_fields.keys():
            if name != "n_windows":  # of a part, not of the run
                row[name] = getattr(record.cost, name)
        row["n_parameters_encoder"] = record.cost.n_parameters_encoder
    if about is not None:
        for name in COLUMNS.keys() & type(about).model_fields.keys():
            row[name] = getattr(about, name)
    return row


def _n_subjects(store: ResultStore, record: RunRecord) -> int | None:
    """Count the subjects of the test part, where windows' scores were kept."""
    file = store.path(record.run_id) / _PREDICTIONS
    if not record.is_done or not file.is_file():
        return None
    try:
        subjects = pq.read_table(file, columns=["subject"])["subject"]
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise StoreError(
            f"The predictions {file} cannot be read ({error}). Run the cell again "
            f"with --force."
        ) from error
    return len(subjects.unique())


def _write_windows(store: ResultStore, out: Path) -> tuple[int, tuple[str, ...]]:
    """Write every test window's scores; return how many, and runs without."""
    n_windows, without = 0, []
    with _whole(out) as file, pq.ParquetWriter(file, WINDOW_SCHEMA) as table:
        for record in store.records():
            if not record.is_done:
                continue
            file_of_run = store.path(record.run_id) / _PREDICTIONS
            if not file_of_run.is_file():
                without.append(record.run_id)
                continue
            index, scores = read_predictions(file_of_run)
            n_windows += len(index)
            run = _of_the_run(record)
            columns = {
                name: [run[name]] * len(index)
                if name in run
                else index[name].astype(
                    str if kind == _TEXT else kind.to_pandas_dtype()
                )
                for name, kind in zip(
                    WINDOW_SCHEMA.names[:-1], WINDOW_SCHEMA.types[:-1], strict=True
                )
            }
            n, k = scores.shape
            ends = pa.array(range(0, n * k + 1, k), pa.int32())
            columns["scores"] = pa.ListArray.from_arrays(ends, scores.ravel())
            table.write_table(pa.table(columns, WINDOW_SCHEMA))
    return n_windows, tuple(without)


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """Give a name to write to; the file gets its own once it is whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    new = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        yield new
        new.replace(out)
    finally:
        new.unlink(missing_ok=True)
