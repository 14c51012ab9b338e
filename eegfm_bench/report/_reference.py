"""Reference rows: the scores that later runs are held against.

From: records. To: ``results/<suite>/reference.csv``, and back to the gate.
"""

from __future__ import annotations

import csv
import io
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from eegfm_bench.errors import DataMissing, RunFailed, SpecError, StoreError
from eegfm_bench.runs.record import RunRecord

PARTS_HELD = ("val", "test")
WAY_OUT = "Restore the file, or write it again with --update."


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRow:
    """One score of one run, with its question; None where it is undefined."""

    suite: str
    model: str
    dataset: str
    protocol: str
    data: str
    scale: str
    init: str
    adapt: str
    seed: int
    part: str
    metric: str
    value: float | None
    run_id: str
    cell_id: str
    arithmetic: str

    @property
    def cell(self) -> tuple[str, ...]:
        """What a person calls the cell; a changed question keeps it."""
        how = (self.scale, self.init, self.adapt)
        return (self.suite, self.model, self.dataset, *how, self.part, self.metric)


COLUMNS = tuple(f.name for f in fields(GateRow))


def reference_rows(
    suite: str, records: Iterable[RunRecord], *, skip_failed: bool = False
) -> list[GateRow]:
    """Return the scores of all records on the validation and test parts.

    Parameters
    ----------
    suite : str
        Written on every row.
    records : RunRecords
    skip_failed : bool
        Leave failed runs out: ``compare`` then finds their rows missing.

    Raises
    ------
    RunFailed
        If a run failed and may not be skipped: a reference has no holes.
    """
    records = list(records)
    failed = sorted(r.run_id for r in records if not r.is_done)
    if failed and not skip_failed:
        raise RunFailed(
            f"{len(failed)} of {len(records)} runs failed and have no scores: "
            f"{', '.join(failed)}. Run them again with --retry-failed."
        )
    return sorted(
        (
            GateRow(
                suite=suite,
                model=r.spec.model,
                dataset=r.spec.dataset.name,
                protocol=r.spec.dataset.protocol,
                data=r.spec.dataset.data,
                scale=r.spec.scale,
                init=r.spec.init,
                adapt=r.spec.adapt,
                seed=r.spec.seed,
                part=part,
                metric=metric,
                value=None if value is None else float(value),
                run_id=r.run_id,
                cell_id=r.cell_id,
                arithmetic=_arithmetic(r),
            )
            for r in records
            for part in PARTS_HELD
            for metric, value in (r.scores or {}).get(part, {}).items()
        ),
        key=_order,
    )


def _arithmetic(record: RunRecord) -> str:
    """Name what decides how sums round: processor, instructions, libraries."""
    made = record.provenance
    if made is None:
        return ""
    libraries = [
        f"{name} {made.packages.get(name, '?')}" for name in ("torch", "numpy")
    ]
    return "; ".join([made.processor, made.arithmetic, *libraries])


def write_reference(path: Path, rows: Sequence[GateRow]) -> None:
    """Write reference rows, sorted, by one rename.

    Raises
    ------
    SpecError
        If there are no rows: an empty reference would hold for anything.
    """
    write_together({path: reference_text(rows)})


def reference_text(rows: Sequence[GateRow]) -> str:
    """Return what a reference file holds.

    Raises
    ------
    SpecError
        If there are no rows.
    """
    if not rows:
        raise SpecError(
            "There are no scores to keep as a reference. Run the suite first."
        )
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in sorted(rows, key=_order):
        writer.writerow(_text(getattr(row, name)) for name in COLUMNS)
    return out.getvalue()


def write_together(texts: Mapping[Path, str]) -> None:
    """Write files so that all are new or all are as they were, each by one rename.

    All are written beside their places first; then they are renamed, in order. An
    interruption between renames puts back what was there. (A kill in that instant
    leaves the first ones new and the last ones old, never half a file.)
    """
    new: dict[Path, Path] = {}
    before: dict[Path, bytes | None] = {}
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            number, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
            new[path] = Path(name)
            with os.fdopen(number, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            new[path].chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        for path, beside in new.items():
            kept = path.read_bytes() if path.exists() else None
            before[path] = kept
            beside.replace(path)
    except BaseException:
        for path, was in before.items():
            if was is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(was)
        raise
    finally:
        for beside in new.values():
            beside.unlink(missing_ok=True)


def read_reference(path: Path) -> list[GateRow]:
    """Read reference rows.

    Raises
    ------
    DataMissing
        If the file is absent.
    StoreError
        If it is not text, has other columns, no rows, a row twice, or a value that is
        no number; names file, line and field.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataMissing(
            f"There is no reference {path}. Write one with --update."
        ) from error
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise StoreError(
            f"{path}, line {line}: not text in UTF-8 ({error.reason}). {WAY_OUT}"
        ) from error
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="beyond")
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise StoreError(
            f"{path} has the columns {', '.join(reader.fieldnames or ())}; expected "
            f"{', '.join(COLUMNS)}. Write it again with --update."
        )
    rows: list[GateRow] = []
    seen: dict[tuple[str, str, str], int] = {}
    for fields_ in reader:
        row = _row(f"{path}, line {reader.line_num}", fields_)
        key = (row.run_id, row.part, row.metric)
        if key in seen:
            raise StoreError(
                f"{path}, line {reader.line_num}: {' '.join(key)} again, as on line "
                f"{seen[key]}; expected once. {WAY_OUT}"
            )
        seen[key] = reader.line_num
        rows.append(row)
    if not rows:
        raise StoreError(f"{path} has no rows. Write it again with --update.")
    return rows


def _row(where: str, line: Mapping[str, Any]) -> GateRow:
    n = sum(value is not None for value in line.values())
    if "beyond" in line or n < len(COLUMNS):
        n += len(line.get("beyond", ())) - ("beyond" in line)
        raise StoreError(
            f"{where}: {n} fields; expected {len(COLUMNS)}. The file was cut short or "
            f"edited. {WAY_OUT}"
        )
    for name in COLUMNS:
        if not line[name] and name not in ("value", "arithmetic"):
            raise StoreError(f"{where}, field {name}: empty. {WAY_OUT}")
    seed = _number(where, "seed", line["seed"], int, "a whole number of 0 or more")
    value = None
    if line["value"]:
        value = _number(
            where, "value", line["value"], float, "a finite number, or none"
        )
    return GateRow(**{**line, "seed": seed, "value": value})


def _number(
    where: str, field: str, text: str, kind: type[int] | type[float], expected: str
) -> Any:
    try:
        number = kind(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or (field == "seed" and number < 0):
        raise StoreError(
            f"{where}, field {field}: found '{text}', expected {expected}. {WAY_OUT}"
        )
    return number


def _text(value: str | float | None) -> str:
    """Write a number so that reading it gives the same bits."""
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _order(row: GateRow) -> tuple[str, ...]:
    whose = (row.suite, row.dataset, row.model, row.cell_id, f"{row.seed:010d}")
    return (*whose, row.part, row.metric)
