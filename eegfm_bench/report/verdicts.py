"""Does a measured cell reproduce the published one? A verdict, or why there is none.

From: a measured cell and the published figure of the same method, dataset and metric.
To: ``published``, which shows both. A verdict is about seeds, not about subjects: both
sides tested the same people. Published figures are means over seeds of whole data at
the paper scale; what is not, gets none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from eegfm_bench.report._cells import Cell
from eegfm_bench.report._figures import PublishedRow, without_rate
from eegfm_bench.report._groups import ALL_LABELS
from eegfm_bench.runs.spec import SCRATCH
from eegfm_bench.statistics.equivalence import Verdict, welch_verdict

FLOOR = 0.02
MEANINGS = {
    "reproduced": "the 90 % interval (Welch, over seeds) of measured minus published "
    f"lies within the margin, the larger of {FLOOR:g} and the published sd",
    "lower": "that interval lies below 0 and is not within the margin",
    "higher": "that interval lies above 0 and is not within the margin",
    "cannot tell": "the interval holds 0 and reaches beyond the margin, or fewer than "
    "two seeds, no published sd or no published number of seeds leave none",
}
LIMITS = (
    "Verdicts are about seeds, not subjects: both sides test the same people, so that "
    "none of them speaks of new people; and a figure that a paper copied is no second "
    "measurement."
)


def why_no_verdict(cell: Cell, figure: PublishedRow | None, start: str) -> str:
    """Say why a measured cell is not held against a published figure; else empty.

    Parameters
    ----------
    cell : Cell
        Measured.
    figure : PublishedRow or None
        Of the same method, dataset and metric.
    start : str
        Of the published method: ``scratch`` or ``weights``.

    Returns
    -------
    why : str
        The first reason; short enough for a cell.
    """
    about = cell.about
    if cell.mean is None or not cell.values:
        return "not measured"
    if figure is None:
        return "not published"
    if about.get("data") == "simulated":
        return "simulated"
    if about.get("data") != "complete":
        return "partial recordings"
    if about.get("scale") != "paper":
        return f"scale {about.get('scale')}"
    if not figure.protocol:
        return "published protocol unclear"
    ours = without_rate(about.get("protocol", ""))
    if not ours or ours != without_rate(figure.protocol):
        return f"other protocol ({figure.protocol})"
    if about.get("labels") != ALL_LABELS:
        return f"labels {about.get('labels')}"
    is_scratch = about.get("init") == SCRATCH
    if is_scratch != (start == SCRATCH):
        return "from scratch" if is_scratch else "from weights"
    if about.get("init", "").endswith("+partial"):
        return "weights are partial"
    usual = SCRATCH if is_scratch else "finetune"
    if about.get("adapt") != usual:
        return f"adapted by {about.get('adapt')}"
    if cell.is_marked:
        return "seeds are lacking"
    return ""


def judged(cell: Cell, figure: PublishedRow) -> Verdict:
    """Hold a measured cell against the published figure.

    Parameters
    ----------
    cell : Cell
        With the score of every seed.
    figure : PublishedRow

    Returns
    -------
    verdict : Verdict
    """
    return welch_verdict(
        cell.values,
        published_mean=figure.mean,
        published_sd=figure.sd,
        published_n=figure.n_seeds,
        floor=FLOOR,
    )


def gloss(cell: Cell, why: str) -> Cell:
    """Return what is read below a measured cell: its verdict, or why it has none.

    Parameters
    ----------
    cell : Cell
        Measured; with a verdict where there is one.
    why : str
        Where there is none; empty where nothing is published.
    """
    about = {**cell.about, "source": "verdict"}
    about.pop("regime", None)
    if cell.verdict is None:
        text = f"none: {why}" if why else ""
        return Cell(state="verdict", about=about, text=text, reason=why)
    verdict = cell.verdict
    text = str(verdict.outcome)
    if verdict.difference is not None:
        text += f" ({verdict.difference:+.4f})"
    return Cell(state="verdict", about=about, text=text, reason=verdict.reason)


def verdict_notes(cells: Iterable[Cell], whys: Mapping[str, int]) -> tuple[str, ...]:
    """Say what the verdicts of a table mean, and how many cells have none, and why.

    Parameters
    ----------
    cells : iterable of Cell
        Measured.
    whys : mapping of reason to number of cells
    """
    counts: dict[str, int] = {}
    for cell in cells:
        if cell.verdict is not None:
            counts[cell.verdict.outcome] = counts.get(cell.verdict.outcome, 0) + 1
    lines = [
        f"{outcome} ({counts[outcome]}): {meaning}."
        for outcome, meaning in MEANINGS.items()
        if outcome in counts
    ]
    if whys:
        said = "; ".join(f"{why} ({n})" for why, n in sorted(whys.items()))
        lines.append(
            f"No verdict ({sum(whys.values())}): {said}. A verdict needs complete "
            f"recordings, the paper scale, all labels, the published protocol and the "
            f"published kind of start."
        )
    return (*lines, LIMITS)
