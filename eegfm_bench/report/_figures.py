"""The published figures as data: read, and checked line by line.

From: ``results/published``. To: ``published``, ``verdicts`` and ``naming``.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from eegfm_bench.errors import DataMissing, StoreError, UnknownName, listed
from eegfm_bench.registry import shipped_folder

COLUMNS = (
    *("paper", "table", "dataset", "method", "variant", "metric"),
    *("mean", "sd", "n_seeds", "protocol", "quoted_from", "note"),
)
NUMBERS = ("mean", "sd", "n_seeds")
FILES = ("trace.csv", "others.csv")
STARTS = ("scratch", "weights", "")
PAPER = "Trace (arXiv 2605.11380)"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """One published figure, a fraction; ``sd`` and ``n_seeds`` where printed.

    ``protocol`` is a protocol id of this suite, or a name of ``protocols.csv``; empty
    where the source does not say enough. ``quoted_from`` is the paper from which the
    one that prints the figure has it, where that is known.
    """

    paper: str
    table: str
    dataset: str
    method: str
    variant: str
    metric: str
    mean: float
    sd: float | None
    n_seeds: int | None
    protocol: str
    quoted_from: str
    note: str

    @property
    def key(self) -> tuple[str, ...]:
        """What no two figures share."""
        place = (self.paper, self.table, self.dataset)
        return (*place, self.method, self.variant, self.metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method as printed: its model here, and whether it starts from weights.

    ``start`` is ``scratch``, ``weights``, or empty for a method that is not here.
    """

    name: str
    model_key: str
    start: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """What the Trace paper says in two ways, and in which of its tables."""

    number: int
    tables: tuple[str, ...]
    note: str


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
        If a file has other columns, a figure twice, or a value that cannot be; names
        the file, the line and the field.
    """
    folder = folder or published_folder()
    methods = {method.name for method in load_methods(folder)}
    named = {f["name"] for _, f in _lines(folder / "protocols.csv", ("name", "means"))}
    rows: dict[tuple[str, ...], PublishedRow] = {}
    where: dict[tuple[str, ...], str] = {}
    for name in FILES:
        for line, fields in _lines(folder / name, COLUMNS):
            place = f"{folder / name}, line {line}"
            row = _row(fields, place)
            if row.key in rows:
                raise StoreError(
                    f"{place}: {' '.join(row.key)} is there twice. Keep one, or give "
                    f"them variants."
                )
            if row.method not in methods:
                raise StoreError(
                    f"{place}: method '{row.method}' is not in methods.csv. Add it "
                    f"there, or correct its name."
                )
            _refuse_unknown_protocol(row, named, place)
            rows[row.key], where[row.key] = row, place
    papers = {row.paper for row in rows.values()}
    for key, row in rows.items():
        if row.quoted_from and row.quoted_from not in papers - {row.paper}:
            raise StoreError(
                f"{where[key]}: quoted_from '{row.quoted_from}' is not another paper "
                f"of these files. Write it as its own rows do, or leave it empty."
            )
    return tuple(rows.values())


def load_methods(folder: Path | None = None) -> tuple[Method, ...]:
    """Read which method is which model, in the order of the file.

    Raises
    ------
    StoreError
        If a method is there twice, or starts in a way that is none.
    """
    path = (folder or published_folder()) / "methods.csv"
    found: dict[str, Method] = {}
    for line, fields in _lines(path, ("method", "model_key", "start")):
        name, start = fields["method"], fields["start"]
        if name in found:
            raise StoreError(f"{path}, line {line}: method '{name}' is there twice.")
        if start not in STARTS or bool(start) != bool(fields["model_key"]):
            raise StoreError(
                f"{path}, line {line}: start is '{start}'; expected scratch or weights "
                f"for a method with a model_key, and nothing for any other."
            )
        found[name] = Method(name=name, model_key=fields["model_key"], start=start)
    return tuple(found.values())


def model_keys(folder: Path | None = None) -> dict[str, str]:
    """Return method as printed to model key, for the methods this package has."""
    return {m.name: m.model_key for m in load_methods(folder) if m.model_key}


def printed_datasets(folder: Path | None = None) -> dict[str, str]:
    """Return dataset key to its name as papers print it."""
    path = (folder or published_folder()) / "datasets.csv"
    lines = _lines(path, ("dataset", "printed"))
    return {fields["dataset"]: fields["printed"] for _, fields in lines}


def load_contradictions(folder: Path | None = None) -> tuple[Contradiction, ...]:
    """Read where the Trace paper disagrees with itself.

    Raises
    ------
    StoreError
        If a line has no number, a number twice, or no table.
    """
    path = (folder or published_folder()) / "contradictions.csv"
    found: dict[int, Contradiction] = {}
    for line, fields in _lines(path, ("number", "tables", "note")):
        tables = tuple(fields["tables"].split())
        is_sound = fields["number"].isdigit() and all(t.isdigit() for t in tables)
        if not (is_sound and tables and fields["note"]):
            raise StoreError(
                f"{path}, line {line}: number '{fields['number']}', tables "
                f"'{fields['tables']}'; expected a number, numbers of tables with "
                f"spaces between, and a note."
            )
        number = int(fields["number"])
        if number in found:
            raise StoreError(f"{path}, line {line}: number {number} is there twice.")
        found[number] = Contradiction(number=number, tables=tables, note=fields["note"])
    return tuple(found.values())


def contradictions_of(table: str | int, folder: Path | None = None) -> tuple[str, ...]:
    """Return the notes that belong below a table of the Trace paper."""
    return tuple(
        f"The paper disagrees with itself ({found.number}): {found.note}."
        for found in load_contradictions(folder)
        if str(table) in found.tables
    )


def without_rate(protocol: str) -> str:
    """Return a protocol id without its last part, which covers the model's rate.

    Examples
    --------
    >>> without_rate("faced-1-1070934f"), without_rate("neuript")
    ('faced-1', '')
    """
    return protocol.rpartition("-")[0] if protocol.count("-") > 1 else ""


def _row(fields: dict[str, str], where: str) -> PublishedRow:
    from eegfm_bench.training.metrics import BINARY, MULTICLASS

    words = {k: fields[k] for k in COLUMNS if k not in NUMBERS}
    for name in ("paper", "dataset", "method", "variant"):
        if not words[name]:
            raise StoreError(f"{where}: {name} is empty.")
    known = tuple(dict.fromkeys((*BINARY, *MULTICLASS)))
    if words["metric"] not in known:
        raise StoreError(
            f"{where}: metric '{words['metric']}' is not one of our metrics: "
            f"{', '.join(known)}."
        )
    mean = _number(fields, "mean", where, -1, 1)
    if mean is None:
        raise StoreError(f"{where}: mean is empty. Give the figure as a fraction.")
    sd = _number(fields, "sd", where, 0, 1)
    seeds = fields["n_seeds"]
    if seeds and not (seeds.isdecimal() and int(seeds) > 0):
        raise StoreError(
            f"{where}: n_seeds '{seeds}'; expected a whole number counted from 1, or "
            f"nothing."
        )
    n_seeds = int(seeds) if seeds else None
    return PublishedRow(**words, mean=mean, sd=sd, n_seeds=n_seeds)


def _number(
    fields: dict[str, str], name: str, where: str, low: float, high: float
) -> float | None:
    """Return a fraction, None where the field is empty."""
    text = fields[name]
    if not text:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise StoreError(
            f"{where}: {name} '{text}' is no number. Correct the figure."
        ) from error
    if not math.isfinite(value) or not low <= value <= high:
        raise StoreError(
            f"{where}: {name} {text} cannot be: expected {low} to {high}. Figures are "
            f"fractions: divide percentages by 100."
        )
    return value


def _refuse_unknown_protocol(row: PublishedRow, named: set[str], where: str) -> None:
    if not row.protocol or row.protocol in named:
        return
    ours = _protocol_of(row.dataset)
    if row.protocol != ours:
        is_ours = f"{row.dataset}'s here, {ours}" if ours else "one of this suite's"
        raise StoreError(
            f"{where}: protocol '{row.protocol}' is neither {is_ours}, nor a name of "
            f"protocols.csv ({listed(sorted(named))}). Correct it, or leave it empty."
        )


@cache
def _protocol_of(dataset: str) -> str:
    """Return a dataset's protocol id; empty for one that is not here."""
    from eegfm_bench.datasets._spec import find_dataset

    try:
        return find_dataset(dataset).protocol()
    except UnknownName:
        return ""


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
