"""The published figures as data: read, and checked line by line.

From: ``results/published``. To: ``published``.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from eegfm_bench.errors import DataMissing, StoreError
from eegfm_bench.registry import shipped_folder

COLUMNS = (
    *("paper", "table", "dataset", "method", "variant", "metric"),
    *("mean", "sd", "n_seeds", "note"),
)
FILES = ("trace.csv", "others.csv")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """One published figure, a fraction; ``sd`` and ``n_seeds`` where printed."""

    paper: str
    table: str
    dataset: str
    method: str
    variant: str
    metric: str
    mean: float
    sd: float | None
    n_seeds: int | None
    note: str

    @property
    def key(self) -> tuple[str, ...]:
        """What no two figures share."""
        place = (self.paper, self.table, self.dataset)
        return (*place, self.method, self.variant, self.metric)


def published_folder() -> Path:
    """Return the folder of published figures.

    Raises
    ------
    DataMissing
        If it is neither beside the package nor among the installed data.
    """
    folder = shipped_folder("results/published")
    if folder is None:
        raise DataMissing(
            "The published figures (results/published) are neither beside the package "
            "nor in this environment. Install eegfm-bench again, or work in a checkout."
        )
    return folder


def load_published(folder: Path | None = None) -> tuple[PublishedRow, ...]:
    """Read every published figure, in the order of the papers.

    Raises
    ------
    DataMissing
        If a file is absent.
    StoreError
        If a file has other columns, a figure twice, or a value that cannot be.
    """
    folder = folder or published_folder()
    rows: dict[tuple[str, ...], PublishedRow] = {}
    for name in FILES:
        for line, fields in _lines(folder / name, COLUMNS):
            row = _row(fields, f"{folder / name}, line {line}")
            if row.key in rows:
                raise StoreError(
                    f"{folder / name}, line {line}: {' '.join(row.key)} is there "
                    f"twice. Keep one, or give them variants."
                )
            rows[row.key] = row
    return tuple(rows.values())


def model_keys(folder: Path | None = None) -> dict[str, str]:
    """Return method as printed to model key, for the methods this package has."""
    path = (folder or published_folder()) / "methods.csv"
    lines = _lines(path, ("method", "model_key"))
    return {f["method"]: f["model_key"] for _, f in lines if f["model_key"]}


def _row(fields: dict[str, str], where: str) -> PublishedRow:
    from eegfm_bench.training.metrics import BINARY, MULTICLASS

    words = {k: fields[k] for k in COLUMNS if k not in ("mean", "sd", "n_seeds")}
    if words["metric"] not in (*BINARY, *MULTICLASS):
        raise StoreError(f"{where}: '{words['metric']}' is not one of our metrics.")
    try:
        mean = float(fields["mean"])
        sd = float(fields["sd"]) if fields["sd"] else None
        n_seeds = int(fields["n_seeds"]) if fields["n_seeds"] else None
    except ValueError as error:
        raise StoreError(f"{where}: {error}. Correct the figure.") from error
    sound = -1 <= mean <= 1 and (sd is None or 0 <= sd <= 1)
    if not sound or not math.isfinite(mean) or (n_seeds is not None and n_seeds < 1):
        raise StoreError(
            f"{where}: mean {fields['mean']}, sd {fields['sd']}, n {fields['n_seeds']} "
            f"cannot be. Figures are fractions, and seeds are counted from 1."
        )
    return PublishedRow(**words, mean=mean, sd=sd, n_seeds=n_seeds)


def _lines(path: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            lines = [(reader.line_num, fields) for fields in reader]
            names = tuple(reader.fieldnames or ())
    except FileNotFoundError as error:
        raise DataMissing(
            f"{path} is absent. Install eegfm-bench again, or work in a checkout."
        ) from error
    if names != columns:
        raise StoreError(
            f"{path} has the columns {', '.join(names)}; expected {', '.join(columns)}."
        )
    for line, fields in lines:
        if None in fields or None in fields.values():
            raise StoreError(
                f"{path}, line {line}: {len(columns)} fields are expected."
            )
    return lines
