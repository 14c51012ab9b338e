"""What every table is made of: cells, rows, columns, and which cell is best.

From: ``table``, ``subjects`` and ``published``. To: ``render``.
"""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from eegfm_bench.statistics.equivalence import Verdict

BINARY_SHOWN = ("balanced_accuracy", "auc_pr", "auroc")
MULTICLASS_SHOWN = ("balanced_accuracy", "cohen_kappa", "weighted_f1")
EVENTS_SHOWN = ("event_sensitivity", "false_alarms_per_24h")
LOWER_IS_BETTER = frozenset({"log_loss", "false_alarms_per_24h"})
LABELS = {
    "auroc": "AUROC",
    "auc_pr": "AUC-PR",
    "cohen_kappa": "kappa",
    "weighted_f1": "weighted F1",
    "auroc_ovr_macro": "AUROC (macro)",
    "auc_pr_ovr_macro": "AUC-PR (macro)",
    "event_sensitivity": "events met",
    "false_alarms_per_24h": "false alarms / 24 h",
}
# Beside a number: its weights have met people of the dataset; it is qualified below.
SEEN_MARK = "†"
MARK = "‡"
PENDING = "—"
# Columns of a stub whose labels are keys of ``Table.names``.
NAMED = ("model", "dataset")

State = Literal["scored", "failed", "missing", "undefined", "pending", "verdict"]
Regime = Literal["seen", "unseen", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number of a table, or why there is none.

    Attributes
    ----------
    about : mapping
        What the number is of: ``model``, ``dataset``, ``protocol``, ``data`` …; of
        a model that starts from weights also their ``regime``.
    windows : str
        Cells of a column are ranked together only where this is equal.
    n : int, optional
        Seeds behind the mean; None where a paper does not say.
    text : str
        What is read in place of a number; ``reason`` says it in full.
    is_marked : bool
        Whether a note below the table qualifies the number.
    rank : int
        1 the best of its column, 2 the second, 0 neither.
    values : tuple of float
        What the mean is of, by seed.
    verdict : Verdict, optional
        On a measured number beside a published one.
    """

    state: State
    about: Mapping[str, str] = field(default_factory=dict)
    windows: str = ""
    mean: float | None = None
    sd: float | None = None
    n: int | None = 0
    text: str = ""
    reason: str = ""
    is_marked: bool = False
    rank: int = 0
    values: tuple[float, ...] = ()
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One metric of one group; a group is a dataset, or a model beside subjects."""

    group: str
    metric: str
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row's labels, one per name of ``Table.stub``, and its cells.

    A row that ``is_gloss`` says something about the row above it to a reader; csv and
    json have it in that row's own cells.
    """

    labels: tuple[str, ...]
    cells: tuple[Cell, ...]
    is_gloss: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A whole table, ready to be written in any format.

    ``heading`` comes before everything else and says what kind of recordings
    the numbers are from when that is not the plain case; ``data`` is one of
    complete, partial, simulated and published. ``names`` are what people read in
    place of keys of models and datasets. ``blocks`` say which groups of columns stand
    side by side, block below block; without them, all do.
    """

    title: str
    heading: str
    data: str
    stub: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str
    notes: tuple[str, ...] = ()
    digits: int = 3
    names: Mapping[str, str] = field(default_factory=dict)
    blocks: tuple[tuple[str, ...], ...] = ()

    def parts(self) -> list[Table]:
        """Return the table block by block; groups of no block follow in one."""
        groups = dict.fromkeys(column.group for column in self.columns)
        named = {group for block in self.blocks for group in block}
        rest = tuple(group for group in groups if group not in named)
        blocks = [b for b in (*self.blocks, rest) if set(b) & set(groups)]
        if len(blocks) < 2:
            return [self] if self.columns else []
        parts = [self.of_groups(block) for block in blocks]
        return [
            replace(part, rows=tuple(r for r in part.rows if not _is_bare(r)))
            for part in parts
        ]

    def of_groups(self, groups: Iterable[str]) -> Table:
        """Return the table with some groups of columns alone, in their order here."""
        kept = set(groups)
        at = [i for i, column in enumerate(self.columns) if column.group in kept]
        rows = (
            replace(row, cells=tuple(row.cells[i] for i in at)) for row in self.rows
        )
        columns = tuple(self.columns[i] for i in at)
        return replace(self, columns=columns, rows=tuple(rows), blocks=())

    def name(self, group: str) -> str:
        """Return what a group of columns is called."""
        return self.names.get(group, group)

    def read(self, row: Row) -> list[str]:
        """Return a row's labels as people read them."""
        labels = zip(self.stub, row.labels, strict=True)
        return [self.names.get(x, x) if of in NAMED else x for of, x in labels]

    def protocols(self) -> dict[str, tuple[str, ...]]:
        """Return group to the protocol ids of what was measured in it."""
        found: dict[str, dict[str, None]] = {}
        for row in self.rows:
            for column, cell in zip(self.columns, row.cells, strict=True):
                about = cell.about
                if about.get("source") == "measured" and about.get("protocol"):
                    ids = found.setdefault(column.group, {})
                    if about.get("dataset") == column.group:
                        for one in about["protocol"].split():  # one a fold
                            ids.setdefault(one)
        order = dict.fromkeys(column.group for column in self.columns)
        return {g: tuple(found[g]) for g in order if found.get(g)}

    def protocol_line(self) -> str:
        """Return the line that names every dataset's protocol; empty without any."""
        ids = self.protocols()
        if not ids:
            return ""
        said = [
            f"{self.name(group).partition(' (')[0]} {', '.join(own)}"
            for group, own in ids.items()
        ]
        is_many = any(
            len({one.rpartition("-")[0] for one in own}) < len(own)
            for own in ids.values()
        )
        more = "; ids that differ in their end are of models at other rates"
        return f"Protocols: {'; '.join(said)}{more if is_many else ''}."

    def spans(self) -> list[tuple[str, str, int, int]]:
        """Return (group, remark, first column, columns) from left to right."""
        found: list[tuple[str, str, int, int]] = []
        for i, column in enumerate(self.columns):
            if found and found[-1][0] == column.group:
                group, remark, first, n = found[-1]
                found[-1] = (group, remark, first, n + 1)
            else:
                found.append((column.group, column.remark, i, 1))
        return found

    def show(self, cell: Cell) -> str:
        """Write a cell as plain text.

        Examples
        --------
        >>> table = Table(title="", heading="", data="complete", stub=(), columns=(),
        ...               rows=(), caption="")
        >>> table.show(Cell(state="scored", mean=0.2, sd=0.1, n=3))
        '0.200 ± 0.100 (3)'
        >>> table.show(Cell(state="scored", mean=0.2, n=1))
        '0.200 (1)'
        """
        if cell.mean is None:
            return cell.text
        # Adding zero turns -0.0 into 0.0.
        text = f"{round(cell.mean, self.digits) + 0.0:.{self.digits}f}"
        if cell.sd is not None:
            text += f" ± {cell.sd:.{self.digits}f}"
        if cell.n is not None:
            text += f" ({cell.n})"
        text += MARK if cell.is_marked else ""
        return text + (SEEN_MARK if cell.about.get("regime") == "seen" else "")

    def pieces(self, row: Row) -> list[tuple[Cell, int]]:
        """Return a row's cells from left to right, each with the columns it takes.

        What has one reason for a whole group is one piece.
        """
        found: list[tuple[Cell, int]] = []
        for _, _, first, n in self.spans():
            own = row.cells[first : first + n]
            if (
                n > 1
                and own[0].mean is None
                and len({(c.state, c.text) for c in own}) == 1
            ):
                found.append((own[0], n))
            else:
                found.extend((cell, 1) for cell in own)
        return found

    def texts(self, row: Row) -> list[str]:
        """Return a row's cells as plain text, a group's one reason written once."""
        found: list[str] = []
        for cell, n in self.pieces(row):
            is_short = cell.state in ("pending", "undefined", "verdict")
            again = cell.text if is_short else cell.state
            found += [self.show(cell), *[again] * (n - 1)]
        return found


def _is_bare(row: Row) -> bool:
    """Whether a row has nothing to show that somebody measured or published here."""
    return all(
        cell.mean is None
        and cell.text in ("", PENDING)
        and cell.about.get("source") != "measured"
        for cell in row.cells
    )


def metric_label(metric: str) -> str:
    """Return a metric's name as people write it.

    Examples
    --------
    >>> metric_label("auc_pr"), metric_label("balanced_accuracy")
    ('AUC-PR', 'balanced accuracy')
    """
    return LABELS.get(metric, metric.replace("_", " "))


def ranked(rows: Iterable[Row], columns: tuple[Column, ...], digits: int) -> list[Row]:
    """Rank every column: 1 for the best cells, 2 for the next.

    Values that are printed alike are tied. Cells with different ``windows`` are
    never set against each other: a column that mixes them within one source of
    numbers is not ranked.
    """
    rows = list(rows)
    cells = [list(row.cells) for row in rows]
    for j, column in enumerate(columns):
        sign = -1 if column.metric in LOWER_IS_BETTER else 1
        by_source: dict[str, list[int]] = {}
        for i, row in enumerate(cells):
            if row[j].mean is not None:
                by_source.setdefault(row[j].about.get("source", ""), []).append(i)
        for group in by_source.values():
            if len(group) < 2 or len({cells[i][j].windows for i in group}) > 1:
                continue
            printed = {
                i: round(sign * (cells[i][j].mean or 0.0), digits) for i in group
            }
            best = sorted(set(printed.values()), reverse=True)[:2]
            for i in group:
                if printed[i] in best and len(best) > 1:
                    rank = best.index(printed[i]) + 1
                    cells[i][j] = replace(cells[i][j], rank=rank)
    return [replace(row, cells=tuple(c)) for row, c in zip(rows, cells, strict=True)]


def short(prefix: str, reason: str, *, width: int = 44) -> str:
    r"""Write a reason's first words, as many as a cell holds.

    Examples
    --------
    >>> short("failed", "the loss is not finite\nTraceback", width=28)
    'failed: the loss is not …'
    """
    first = (reason.strip() or "no reason given").splitlines()[0]
    return textwrap.shorten(f"{prefix}: {first}", width=width, placeholder=" …")


def mean_sd(values: list[float]) -> tuple[float, float | None]:
    """Return mean and standard deviation (ddof 1), None for a single value.

    Both are exact sums, so the order of seeds cannot move a digit.
    """
    sd = statistics.stdev(values) if len(values) > 1 else None
    return statistics.fmean(values), sd
