"""Reference rows: the scores that later runs are held against.

From: records. To: ``results/<suite>/reference.csv``, and back to the gate.
"""

from __future__ import annotations

import csv
import io
import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from eegfm_bench.errors import DataMissing, RunFailed, SpecError, StoreError
from eegfm_bench.runs.record import RunRecord

PARTS_HELD = ("val", "test")


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
    if not rows:
        raise SpecError(
            "There are no scores to keep as a reference. Run the suite first."
        )
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in sorted(rows, key=_order):
        writer.writerow(_text(getattr(row, name)) for name in COLUMNS)
    path.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    new = Path(name)
    try:
        with os.fdopen(number, "w", encoding="utf-8", newline="") as file:
            file.write(out.getvalue())
            file.flush()
            os.fsync(file.fileno())
        new.chmod(0o644)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def read_reference(path: Path) -> list[GateRow]:
    """Read reference rows.

    Raises
    ------
    DataMissing
        If the file is absent.
    StoreError
        If it has other columns, no rows, a row twice, or a value that is no number.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataMissing(
            f"There is no reference {path}. Write one with --update."
        ) from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise StoreError(
            f"{path} has the columns {', '.join(reader.fieldnames or ())}; expected "
            f"{', '.join(COLUMNS)}. Write it again with --update."
        )
    rows = []
    for line in reader:
        try:
            value = float(line["value"]) if line["value"] else None
            if value is not None and not math.isfinite(value):
                raise ValueError(f"the value {value} is not finite")
            words = {k: v for k, v in line.items() if k not in ("seed", "value")}
            rows.append(GateRow(**words, seed=int(line["seed"]), value=value))
        except (TypeError, ValueError) as error:
            raise StoreError(f"{path}, line {reader.line_num}: {error}.") from error
    if not rows:
        raise StoreError(f"{path} has no rows. Write it again with --update.")
    return rows


def _text(value: str | float | None) -> str:
    """Write a number so that reading it gives the same bits."""
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _order(row: GateRow) -> tuple[str, ...]:
    whose = (row.suite, row.dataset, row.model, row.cell_id, f"{row.seed:010d}")
    return (*whose, row.part, row.metric)
