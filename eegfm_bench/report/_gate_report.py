"""What a gate found, for a terminal, a pull request, or a script.

From: ``gate``. To: text, plain data, or a rich renderable.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from eegfm_bench.errors import UnknownName

Mode = Literal["exact", "statistical"]
MODES = ("exact", "statistical")
Outcome = Literal["pass", "fail", "cannot tell at this n"]
UNSURE: Outcome = "cannot tell at this n"
HEAD = ("outcome", "run", "score", "reference", "measured", "delta", "reason")
STYLES = {"pass": "green", "fail": "bold red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLine:
    """What became of one reference score, or of one cell in statistical mode."""

    outcome: Outcome
    model: str
    dataset: str
    seed: int | None
    part: str
    metric: str
    reference: float | None
    measured: float | None
    delta: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """All lines of a gate; it has passed when none fails."""

    mode: Mode
    lines: tuple[GateLine, ...]

    @property
    def has_passed(self) -> bool:
        """Whether no line fails."""
        return self.count("fail") == 0

    def count(self, outcome: Outcome) -> int:
        """Return how many lines came out so."""
        return sum(line.outcome == outcome for line in self.lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: the summary and every line."""
        return gate_to_dict(self)

    def to_text(self) -> str:
        """Return what a person reads: the summary, then what to look at."""
        return render_gate(self, "text")


def render_gate(report: GateReport, how: str) -> str:
    """Write a report as "text", "md" or "json".

    Raises
    ------
    UnknownName
        If it is another format.
    """
    if how == "json":
        fields = gate_to_dict(report)
        return json.dumps(fields, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if how == "text":
        return _to_text(report)
    if how == "md":
        return _to_markdown(report)
    raise UnknownName.among("gate format", how, ("text", "md", "json"))


def gate_to_console(report: GateReport) -> RenderableType:
    """Return what ``Console.print`` shows: the summary, then what to look at."""
    verdict = Text(summary(report), style="green" if report.has_passed else "bold red")
    lines = _shown(report)
    if not lines:
        return verdict
    grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in HEAD:
        is_number = name in ("reference", "measured", "delta")
        grid.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for line in lines:
        outcome = Text(line.outcome, style=STYLES.get(line.outcome, "yellow"))
        grid.add_row(outcome, *map(Text, _texts(line)[1:]))
    return Group(verdict, grid)


def summary(report: GateReport) -> str:
    """Return one sentence: whether the gate holds, and how many lines say what."""
    counts = [f"{report.count('pass')} pass", f"{report.count('fail')} fail"]
    if unsure := report.count("cannot tell at this n"):
        counts.append(f"{unsure} cannot be told at this n")
    verdict = "The gate holds" if report.has_passed else "The gate does not hold"
    return f"{verdict} ({report.mode}): {', '.join(counts)}."


def _to_markdown(report: GateReport) -> str:
    parts = [f"**{summary(report)}**"]
    if lines := _shown(report):
        rows = [HEAD, tuple("---" for _ in HEAD), *map(_texts, lines)]
        escaped = [[text.replace("|", r"\|") for text in row] for row in rows]
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in escaped))
    return "\n\n".join(parts) + "\n"


def _to_text(report: GateReport) -> str:
    """Write a line for each, readable at any width and in any log."""
    lines = [summary(report)]
    for line in _shown(report):
        outcome, run, score, reference, measured, delta, reason = _texts(line)
        values = f"reference {reference or 'none'}, measured {measured or 'none'}"
        moved = f", delta {delta}" if delta else ""
        why = f" ({reason})" if reason else ""
        lines.append(f"{outcome}: {run}, {score}: {values}{moved}{why}")
    return "\n".join(lines)


def gate_to_dict(report: GateReport) -> dict[str, Any]:
    """Return plain data: the summary and every line."""
    return {
        "mode": report.mode,
        "passed": report.has_passed,
        "summary": summary(report),
        "lines": [asdict(line) for line in report.lines],
    }


def _shown(report: GateReport) -> list[GateLine]:
    """Return what a person looks at: in exact mode failures alone; worst first."""
    order = ("fail", "cannot tell at this n", "pass")
    lines = [x for x in report.lines if x.outcome == "fail" or report.mode != "exact"]
    return sorted(lines, key=lambda line: order.index(line.outcome))


def _texts(line: GateLine) -> tuple[str, ...]:
    seed = "" if line.seed is None else f" seed {line.seed}"
    return (
        line.outcome,
        f"{line.model} on {line.dataset}{seed}",
        f"{line.part} {line.metric}",
        "" if line.reference is None else f"{line.reference:.6f}",
        "" if line.measured is None else f"{line.measured:.6f}",
        "" if line.delta is None else f"{line.delta:+.2e}",
        line.reason,
    )
