"""How training went, epoch by epoch: what a learning curve is drawn from.

From: ``training.classifier``, one row after every epoch. To: ``history.csv`` beside the
record of a run that was trained by gradient; what is solved for has none.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from eegfm_bench.errors import StoreError

HISTORY = "history.csv"


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of training.

    Attributes
    ----------
    epoch : int
        From 1.
    seconds : float
        Wall time since training began, validation included.
    train_loss : float, optional
        Mean over the epoch's windows of the loss that was trained on, as weighted and
        smoothed by the recipe, and with whatever a model adds to it; each batch at the
        weights it met.
    val_loss : float, optional
        Log loss over the validation windows, neither weighted nor smoothed.
    val_score : float, optional
        The score that chooses the epoch; where the last is taken, AUROC for two classes
        and kappa for more. None where it is undefined.
    lr : float, optional
        The highest learning rate of the epoch's last step.
    """

    epoch: int
    seconds: float
    train_loss: float | None
    val_loss: float | None
    val_score: float | None
    lr: float | None


NAMES = tuple(field.name for field in fields(Epoch))


def write_history(file: Path, rows: Iterable[Epoch]) -> None:
    """Write epochs as CSV, every number in full; what is not known stays empty."""
    with file.open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(NAMES)
        table.writerows(astuple(row) for row in rows)


def read_history(file: Path) -> list[Epoch]:
    """Read epochs back.

    Raises
    ------
    StoreError
        If the file is not such a table, or a row of it is damaged.
    """
    try:
        with file.open(encoding="utf-8", newline="") as text:
            header, *rows = list(csv.reader(text, strict=True)) or [[]]
        if tuple(header) != NAMES:
            raise ValueError(
                f"its columns are {', '.join(header) or 'none'}; expected "
                f"{', '.join(NAMES)}"
            )
        found = [_read(row) for row in rows]
        if [row.epoch for row in found] != list(range(1, len(found) + 1)):
            raise ValueError("its epochs do not count from 1")
    except (OSError, ValueError, csv.Error) as error:
        raise StoreError(
            f"The history {file} cannot be read: {error}. Run the cell again with "
            f"--force."
        ) from error
    return found


def _read(row: list[str]) -> Epoch:
    if len(row) != len(NAMES):
        raise ValueError(f"the row '{','.join(row)}' has {len(row)} values")
    epoch, seconds, *values = row
    return Epoch(
        int(epoch), float(seconds), *(float(one) if one else None for one in values)
    )
