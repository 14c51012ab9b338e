"""A table on a terminal of any width.

From: a Table. To: a rich renderable that looks at the width it is given: all
columns side by side where they fit, else one block below another.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from eegfm_bench.report._cells import Table, metric_label
from eegfm_bench.report.folding import without_folds

STYLES = {1: "bold", 2: "underline"}


def to_console(table: Table) -> RenderableType:
    """Return what ``Console.print`` shows of a table."""
    return _OnConsole(without_folds(table))


class _OnConsole:
    def __init__(self, table: Table) -> None:
        self._table = table

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        table = self._table
        if table.heading:
            yield Text(table.heading, style="bold yellow")
        if table.title:
            yield Text(table.title, style="bold")
        yield from self._blocks(console, options)
        if table.caption:
            yield Text(table.caption, style="dim")
        if line := table.protocol_line():
            yield Text(line, style="dim")
        for note in table.notes:
            yield Text(f"- {note}")

    def _blocks(self, console: Console, options: ConsoleOptions) -> Iterator[RichTable]:
        """Put as many whole groups side by side as fit, else columns."""
        roomy = options.update(width=10_000)

        def fits(columns: list[int]) -> bool:
            size = Measurement.get(console, roomy, self._block(columns))
            return size.maximum <= options.max_width

        pieces: list[list[int]] = []
        for _, _, first, n in self._table.spans():
            group = list(range(first, first + n))
            pieces += [group] if fits(group) else [[column] for column in group]
        held: list[int] = []
        if not pieces and self._table.notes:  # folds alone: a note counts them
            return
        for piece in pieces:
            if held and not fits([*held, *piece]):
                yield self._block(held)
                held = []
            held = [*held, *piece]
        if held or not pieces:
            yield self._block(held)

    def _block(self, columns: list[int]) -> RichTable:
        table = self._table
        groups = {table.columns[j].group for j in columns}
        is_one = len(groups) == 1
        block = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        if is_one:
            block.title = Text(self._group(columns[0]), style="bold")
            block.title_justify = "left"
        for name in table.stub:
            block.add_column(Text(name if is_one else f"\n{name}"), overflow="fold")
        before = ""
        for j in columns:
            column = table.columns[j]
            head = Text(metric_label(column.metric))
            if not is_one:
                group = "" if column.group == before else self._group(j)
                head = Text.assemble((group, "bold"), "\n", head)
            before = column.group
            block.add_column(head, justify="right", overflow="fold")
        for row in table.rows:
            texts = table.texts(row)
            shown = [
                Text(
                    texts[j] if row.cells[j].mean is not None else _wrapped(texts[j]),
                    style=STYLES.get(row.cells[j].rank, ""),
                )
                for j in columns
            ]
            block.add_row(*map(Text, table.read(row)), *shown)
        return block

    def _group(self, at: int) -> str:
        column = self._table.columns[at]
        name = self._table.name(column.group)
        return f"{name} (partial)" if column.remark else name


def _wrapped(reason: str) -> str:
    return textwrap.fill(reason, 18)
