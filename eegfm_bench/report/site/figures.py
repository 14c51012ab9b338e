"""The figures of a card: subjects, confusion, calibration, learning curves.

From: what ``cards`` read. To: ``Html``, each a figure with its plot, what it means, and
the numbers in a table for those who do not see it.

Letters: K classes, S subjects, R seeds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.report._cells import metric_label
from eegfm_bench.report.site import _svg
from eegfm_bench.report.site._markup import Child, Html, definitions, folded, grid, tag
from eegfm_bench.report.site.cards import RIGHT, Card, History, Windows
from eegfm_bench.report.site.words import number, plus_minus

if TYPE_CHECKING:
    from numpy.typing import NDArray


# From so many classes on, a matrix's headings stand upright; and from so many more,
# it needs the room of two figures.
MANY, BROAD = 5, 7


def _figure(
    heading: str, *inside: Child, note: str = "", class_: str | None = None
) -> Html:
    return tag(
        "figure",
        tag("figcaption", tag("h3", heading), tag("p", note) if note else None),
        *inside,
        class_=class_,
    )


def subjects(windows: Windows | str) -> Html:
    """Draw each test subject's score, a dot for each seed."""
    heading = "Each test subject"
    if isinstance(windows, str):
        return _figure(heading, note=windows)
    n = len(windows.subjects)
    of = metric_label(windows.metric)
    low, high = _limits(windows)
    means = _means(windows.values_SR)
    known = [
        (m, who)
        for m, who in zip(means, windows.subjects, strict=True)
        if m is not None
    ]
    said = f"{of} of {n} test subject{'s' * (n != 1)}, mean over seeds"
    if known:
        (worst, who), (best, whose) = min(known), max(known)
        said += f": from {number(worst)} ({who}) to {number(best)} ({whose})"
    note = f"{of}; dots are seeds, bars their mean."
    if 0 < len(known) < n:
        note += f" {n - len(known)} of {n} have none ({windows.undefined})."
    if windows.metric == RIGHT:
        note += f" No subject alone has another score: {windows.undefined}."
    at = {"auroc": 0.5, "cohen_kappa": 0.0}.get(windows.metric, math.nan)
    is_chance_seen = low < at < high
    if is_chance_seen:
        note += " The broken line is chance."
    dots = [[v for v in row if not np.isnan(v)] for row in windows.values_SR.tolist()]
    plot = _svg.strip(
        windows.subjects, dots, means, title=said, below=of, limits=(low, high),
        line_at=at if is_chance_seen else None,
    )  # fmt: skip
    rows = [
        (
            who,
            "n/a" if m is None else number(m),
            *("n/a" if np.isnan(v) else number(v) for v in row),
        )
        for who, m, row in zip(
            windows.subjects, means, windows.values_SR.tolist(), strict=True
        )
    ]
    head = ("subject", "mean", *(f"seed {s}" for s in windows.seeds))
    table = grid(head, rows, caption=f"{of} by subject")
    return _figure(heading, plot, folded("As numbers", table), note=note)


def _means(values_SR: NDArray[np.float64]) -> list[float | None]:
    rows = [[v for v in row if not np.isnan(v)] for row in values_SR.tolist()]
    return [statistics.fmean(row) if row else None for row in rows]


def _limits(windows: Windows) -> tuple[float, float]:
    """Return the ends of the score's axis: down to what is there, up to 1."""
    lowest = float(np.nanmin(windows.values_SR))
    return min(lowest, 0.9), 1.0


def confusion(windows: Windows | str, classes: Sequence[str]) -> Html:
    """Show what windows of each class were judged to be."""
    heading = "Confusion"
    if isinstance(windows, str):
        return _figure(heading, note=windows)
    counts = windows.confusion_KK
    names = _class_names(classes, len(counts))
    rows = []
    for name, row in zip(names, counts.tolist(), strict=True):
        total = sum(row)
        cells = [
            tag("td", f"{100 * c / total:.0f}", tag("small", f"{c:,}"),
                class_=f"s{round(10 * c / total)}")
            if total else tag("td", "–", tag("small", "0"))
            for c in row
        ]  # fmt: skip
        rows.append(tag("tr", tag("th", name, scope="row"), cells))
    several = len(windows.seeds) > 1
    caption = "Rows: the true class. Columns: the class judged."
    table = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", [tag("th", h, scope="col") for h in ("true", *names)])),
        tag("tbody", [(row, "\n") for row in rows]),
        class_="confusion many" if len(names) >= MANY else "confusion",
    )
    note = (
        f"{caption} Per cent of the row; small, windows"
        f"{f' of {len(windows.seeds)} seeds together' if several else ''}."
    )
    inside = tag(
        "div", table, class_="wide", tabindex="0", role="region", aria_label=heading
    )
    broad = "broad" if len(names) >= BROAD else None
    return _figure(heading, inside, note=note, class_=broad)


def _class_names(classes: Sequence[str], k: int) -> list[str]:
    return list(classes) if len(classes) == k else [f"class {i}" for i in range(k)]


def calibration(windows: Windows | str, classes: Sequence[str]) -> Html:
    """Draw how often windows are right, by how sure the model was."""
    heading = "Calibration"
    if isinstance(windows, str):
        return _figure(heading, note=windows)
    if not windows.calibrations:
        return _figure(heading, note=f"No calibration: {windows.uncalibrated}.")
    k = len(windows.confusion_KK)
    if k == 2:
        second = _class_names(classes, k)[1]
        meaning = f"Across: probability of “{second}”. Up: how often it was true."
        axis = f"probability of {second}"
    else:
        meaning = "Across: confidence in the class judged. Up: how often it was right."
        axis = "confidence"
    ece = plus_minus([c.ece for c in windows.calibrations])
    brier = plus_minus([c.brier for c in windows.calibrations])
    bins = windows.bins
    title = (
        f"Reliability curve over {len(bins)} bins; expected calibration error {ece}, "
        f"Brier score {brier}"
    )
    plot = _svg.reliability(
        [(b.confidence, b.accuracy, b.n) for b in bins], title=title, below=axis
    )
    rows = [
        (
            f"{b.low:.2f}–{b.high:.2f}",
            f"{b.n:,}",
            number(b.confidence),
            number(b.accuracy),
        )
        for b in bins
    ]
    return _figure(
        heading,
        definitions([("ECE (15 bins)", ece), ("Brier score", brier)]),
        plot,
        folded("As numbers", grid(("bin", "windows", "said", "came true"), rows,
                                  caption="Reliability by bin")),
        note=f"{meaning} Bars: windows{' of all seeds' * (len(windows.seeds) > 1)}. "
        f"The broken line is honest.",
    )  # fmt: skip


def curves(card: Card) -> Html:
    """Draw the training of every seed."""
    heading = "Learning curves"
    if isinstance(card.histories, str):
        return _figure(heading, note=card.histories)
    losses, scores = _lines_of(card.histories)
    chosen = {r.spec.seed: r.checkpoint.epoch for r in card.done if r.checkpoint}
    marks = [
        (float(e.epoch), e.val_score)
        for h in card.histories
        for e in h.epochs
        if e.epoch == chosen.get(h.seed) and e.val_score is not None
    ]
    select = metric_label(card.done[0].spec.recipe.select)
    of = "score" if select == "last" else select
    plots: list[Child] = []
    if any(line.points for line in losses):
        said = f"Loss by epoch, {len(card.histories)} seeds"
        plots.append(_svg.curves(losses, title=said, below="epoch", height=160))
        plots.append(
            tag("p", "Loss: plain training, broken validation.", class_="aside")
        )
    if any(line.points for line in scores):
        said = f"Validation {of} by epoch, {len(card.histories)} seeds"
        plots.append(
            _svg.curves(scores, title=said, below="epoch", marks=marks, height=160)
        )
        ring = "; rings: the epoch tested" if marks else ""
        plots.append(tag("p", f"Validation {of}{ring}.", class_="aside"))
    missing = len(card.done) - len(card.histories)
    note = f"No history beside {missing} of {len(card.done)} seeds." if missing else ""
    return _figure(heading, *plots, note=note)


def _lines_of(histories: Iterable[History]) -> tuple[list[_svg.Line], list[_svg.Line]]:
    """Return lines of losses and of the validation score."""
    losses: list[_svg.Line] = []
    scores: list[_svg.Line] = []
    for h in histories:
        for values, kind, into in (
            ([e.train_loss for e in h.epochs], "train", losses),
            ([e.val_loss for e in h.epochs], "val-loss", losses),
            ([e.val_score for e in h.epochs], "val", scores),
        ):
            points = [
                (float(e.epoch), value)
                for e, value in zip(h.epochs, values, strict=True)
                if value is not None and math.isfinite(value)
            ]
            if points:
                into.append(_svg.Line(points=tuple(points), kind=kind))
    return losses, scores
