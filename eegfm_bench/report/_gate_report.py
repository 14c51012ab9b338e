"""What a gate found, for a terminal, a pull request, or a script.

From: ``gate``. To: text, plain data, Markdown, or a rich renderable.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from eegfm_bench.errors import UnknownName
from eegfm_bench.report._cells import metric_label

Mode = Literal["exact", "statistical"]
MODES = ("exact", "statistical")
FORMATS = ("text", "md", "json")
# Pass and fail are of exact mode, the others of statistical mode.
Outcome = Literal[
    "pass", "fail", "worse", "missing", "cannot tell", "no worse", "extra"
]
ORDER: tuple[Outcome, ...] = (
    *("fail", "worse", "missing", "cannot tell", "no worse", "pass", "extra"),
)
FAILING: tuple[Outcome, ...] = ("fail", "worse", "missing")
HEAD = ("outcome", "run", "score", "reference", "measured", "delta", "reason")
STYLES = {"pass": "green", "no worse": "green", "extra": "dim"}
STYLES |= dict.fromkeys(FAILING, "bold red")
TOGETHER = "all cells together"
MOST_ROWS = 20  # of a table in a pull request; what is beyond is folded


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """What seeds say about one cell's difference, measured − reference.

    Attributes
    ----------
    n_reference, n_measured : int
        Seeds with a score.
    is_paired : bool
        Whether the seeds are the same: then differences are taken seed by seed.
    p_value : float
        Chance of such a drop, or a larger one, if there is none; adjusted (Holm).
    p_gain : float
        The same for a gain.
    low : float
        The difference is above this with 95 % confidence.
    visible : float
        A drop of this size is found about four times in five, with these seeds.
    """

    n_reference: int
    n_measured: int
    is_paired: bool
    p_value: float
    p_gain: float
    low: float
    visible: float


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
    drop: Drop | None = None
    is_gain: bool = False

    @property
    def run(self) -> str:
        """What the line is about."""
        if not self.dataset:
            return self.model
        seed = "" if self.seed is None else f" seed {self.seed}"
        return f"{self.model} on {self.dataset}{seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How a statistical gate judged: its error, its margin, its seeds."""

    family_wise_error: float
    margin: float
    n_compared: int
    seeds_reference: tuple[int, ...]
    seeds_measured: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """All lines of a gate; it has passed when none fails, is worse or missing."""

    mode: Mode
    lines: tuple[GateLine, ...]
    rule: Rule | None = None

    @property
    def has_passed(self) -> bool:
        """Whether nothing fails; what cannot be told does not."""
        return not any(self.count(outcome) for outcome in FAILING)

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
    raise UnknownName.among("gate format", how, FORMATS)


def gate_to_console(report: GateReport) -> RenderableType:
    """Return what ``Console.print`` shows: the summary, then what to look at."""
    verdict = Text(summary(report), style="green" if report.has_passed else "bold red")
    lines = _shown(report)
    how = [Text(explained(report))] if report.rule else []
    if not lines:
        return Group(verdict, *how)
    grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in HEAD:
        is_number = name in ("reference", "measured", "delta")
        grid.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for line in lines:
        outcome = Text(line.outcome, style=STYLES.get(line.outcome, "yellow"))
        grid.add_row(outcome, *map(Text, _texts(line)[1:]))
    return Group(verdict, *how, grid)


def summary(report: GateReport) -> str:
    """Return one sentence: whether the gate holds, and how many lines say what."""
    verdict = "The gate holds" if report.has_passed else "The gate does not hold"
    always: tuple[Outcome, ...] = ("no worse", "worse", "cannot tell")
    if report.mode == "exact":
        always = ("pass", "fail")
    shown = [*always, *(x for x in ORDER if x not in always and report.count(x))]
    counts = ", ".join(f"{report.count(outcome)} {outcome}" for outcome in shown)
    return f"{verdict} ({report.mode}): {counts}."


def explained(report: GateReport) -> str:
    """Say how a statistical gate judged, and what it could not have seen."""
    rule = report.rule
    if rule is None:
        return ""
    paired = {line.drop.is_paired for line in report.lines if line.drop is not None}
    how = "paired by seed" if paired == {True} else "Welch, unpaired"
    sentences = [
        f"Main test score of each cell, seeds {_seeds(rule.seeds_measured)} against "
        f"{_seeds(rule.seeds_reference)} of the reference ({how}).",
        f"Worse: a drop shown with at most {rule.family_wise_error:.0%} false alarms "
        f"in a whole gate (Holm over {rule.n_compared} comparisons).",
        f"No worse: not that, and a drop of {rule.margin:g} is excluded (one-sided "
        f"95 %, comparison by comparison).",
    ]
    seen = sorted(
        (line.drop.visible, line.run) for line in report.lines if line.drop is not None
    )
    if not seen:
        sentences.append("No comparison has two seeds on each side: no drop is seen.")
    elif len(seen) == 1:
        sentences.append(f"Found four times in five: a drop of {_size(*seen[0])}.")
    else:
        sentences.append(
            f"Found four times in five: drops from {_size(*seen[0])} to "
            f"{_size(*seen[-1])}; smaller ones mostly pass unseen."
        )
    if seen and seen[-1][0] > 1:
        sentences.append(
            "Scores move within 0 and 1: where that size is beyond 1, these seeds show "
            "nothing. Make the reference with more seeds."
        )
    return " ".join(sentences)


def _size(visible: float, run: str) -> str:
    return f"{'more than 1' if visible > 1 else f'{visible:.3f}'} ({run})"


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == [*range(seeds[0], seeds[-1] + 1)]:
        return f"{seeds[0]}–{seeds[-1]}"
    return ", ".join(map(str, seeds))


def _to_markdown(report: GateReport) -> str:
    parts = [f"**{summary(report)}**"]
    lines = _shown(report)
    if report.rule is None:
        parts += [_grid(lines[:MOST_ROWS])] if lines else []
        if beyond := lines[MOST_ROWS:]:
            parts.append(_folded(f"{len(beyond)} more", _grid(beyond)))
        return "\n\n".join(parts) + "\n"
    moved = [x for x in lines if x.outcome in FAILING or x.is_gain]
    parts.append(
        _grid(moved[:MOST_ROWS])
        if moved
        else "Nothing moved that seeds do not explain."
    )
    if beyond := moved[MOST_ROWS:]:
        parts.append(_folded(f"{len(beyond)} more that moved", _grid(beyond)))
    parts.append(_folded(f"All {len(lines)} comparisons", _grid(lines)))
    parts.append(_folded("How it was judged", explained(report)))
    return "\n\n".join(parts) + "\n"


def _grid(lines: Sequence[GateLine]) -> str:
    rows = [HEAD, tuple("---" for _ in HEAD), *map(_texts, lines)]
    escaped = [[text.replace("|", r"\|") for text in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def _to_text(report: GateReport) -> str:
    """Write a line for each, readable at any width and in any log."""
    lines = [summary(report)]
    for line in _shown(report):
        outcome, run, score, reference, measured, delta, reason = _texts(line)
        values = f"reference {reference or 'none'}, measured {measured or 'none'}"
        moved = f", delta {delta}" if delta else ""
        why = f" ({reason})" if reason else ""
        lines.append(f"{outcome}: {run}, {score}: {values}{moved}{why}")
    return "\n".join([*lines, *filter(None, [explained(report)])])


def gate_to_dict(report: GateReport) -> dict[str, Any]:
    """Return plain data: the summary and every line."""
    lines = [asdict(line) for line in report.lines]
    if report.rule is None:
        for line in lines:
            del line["drop"], line["is_gain"]
    return {
        "mode": report.mode,
        "passed": report.has_passed,
        "summary": summary(report),
        **({} if report.rule is None else {"rule": asdict(report.rule)}),
        "lines": lines,
    }


def _shown(report: GateReport) -> list[GateLine]:
    """Return what a person looks at: in exact mode failures alone; worst first."""
    lines = [x for x in report.lines if x.outcome == "fail" or report.mode != "exact"]
    return sorted(lines, key=lambda line: ORDER.index(line.outcome))


def _texts(line: GateLine) -> tuple[str, ...]:
    # Means over seeds are read beside a margin, exact scores beside a millionth.
    is_mean = line.seed is None
    digits, delta = (4, "+.4f") if is_mean else (6, "+.2e")
    score = metric_label(line.metric) if is_mean else line.metric
    return (
        line.outcome,
        line.run,
        f"{line.part} {score}",
        "" if line.reference is None else f"{line.reference:.{digits}f}",
        "" if line.measured is None else f"{line.measured:.{digits}f}",
        "" if line.delta is None else f"{line.delta:{delta}}",
        line.reason,
    )
