"""The statistical gate: whether a cell is worse, beyond what seeds explain.

From: the scores of one cell by seed, on both sides. To: evidence, and an outcome
once the evidence of all cells is there.

The noise is that of the seeds of both sides: Welch's test where seeds differ, the
paired t-test over the seeds both sides have where there are any. People are no part of
it: both sides are tested on the same windows of the same people.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from eegfm_bench.report._cells import mean_sd
from eegfm_bench.report._gate_report import Drop, Outcome

FAMILY_WISE_ERROR = 0.01
MARGIN = 0.02
EXCLUDED = 0.05  # one-sided error of "no worse", comparison by comparison
FOUND = 0.8
TOLERANCE = 1e-6  # far below a printed digit
# Another processor rounds differently, and training carries that on: in trials with
# three instruction sets AUROC moved by up to 1e-4, log loss by 6e-4; one window of
# the smoke suite on the other side of the threshold is 5e-3.
ROUNDING = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One comparison before its family is known.

    ``error`` and ``freedom`` are the standard error of the difference and its degrees
    of freedom; ``is_fixed`` says that seeds move neither side, and then there is no
    noise to weigh. ``why_not`` is said where nothing can be weighed.
    """

    reference: float
    measured: float
    delta: float
    n_reference: int
    n_measured: int
    is_paired: bool = False
    is_fixed: bool = False
    error: float = 0.0
    freedom: float = 0.0
    why_not: str = ""

    @property
    def is_tested(self) -> bool:
        """Whether the comparison is one of the family."""
        return not self.is_fixed and not self.why_not

    @property
    def p_drop(self) -> float:
        """One-sided chance of such a drop if there is none."""
        return self._p(1.0)

    @property
    def p_gain(self) -> float:
        """One-sided chance of such a gain if there is none."""
        return self._p(-1.0)

    def _p(self, sign: float) -> float:
        from scipy.special import stdtr

        if sign * self.delta >= -TOLERANCE:  # equal, or moved the other way
            return 1.0
        if self.error == 0:
            return 0.0
        return float(stdtr(self.freedom, sign * self.delta / self.error))


def weigh(old: Mapping[int, float], new: Mapping[int, float]) -> Evidence:
    """Weigh one cell's scores, by seed, against the reference's.

    Parameters
    ----------
    old, new : mapping of seed to score
        At least one of each.

    Examples
    --------
    >>> evidence = weigh({0: 0.8, 1: 0.9}, {2: 0.7, 3: 0.8})
    >>> [round(x, 4) for x in (evidence.delta, evidence.error, evidence.freedom)]
    [-0.1, 0.0707, 2.0]
    """
    shared = sorted(old.keys() & new.keys())
    if shared:
        old, new = {s: old[s] for s in shared}, {s: new[s] for s in shared}
    olds, news = [*old.values()], [*new.values()]
    n_old, n_new = len(olds), len(news)
    (mean_old, sd_old), (mean_new, sd_new) = mean_sd(olds), mean_sd(news)
    delta = mean_new - mean_old
    is_paired = bool(shared)
    is_fixed = False
    error = freedom = 0.0
    why_not = ""
    if sd_old is None or sd_new is None:
        why_not = "one seed on a side shows no noise; two or more are needed"
        if is_paired:
            why_not = "one seed in common; give several of the reference's, or none"
    elif max(_spread(olds), _spread(news)) <= TOLERANCE:
        is_fixed = True
    elif is_paired:
        sd = mean_sd([new[s] - old[s] for s in shared])[1] or 0.0
        error, freedom = sd / math.sqrt(n_new), n_new - 1.0
    else:
        of_old, of_new = sd_old**2 / n_old, sd_new**2 / n_new
        error = math.sqrt(of_old + of_new)
        freedom = (of_old + of_new) ** 2 / (
            of_old**2 / (n_old - 1) + of_new**2 / (n_new - 1)
        )
    return Evidence(
        reference=mean_old,
        measured=mean_new,
        delta=delta,
        n_reference=n_old,
        n_measured=n_new,
        is_paired=is_paired,
        is_fixed=is_fixed,
        error=error,
        freedom=freedom,
        why_not=why_not,
    )


def together(
    old: Iterable[Mapping[int, float]], new: Iterable[Mapping[int, float]]
) -> Evidence | None:
    """Weigh the mean over cells, seed by seed; None where no seed has all cells.

    A small drop of every cell shows here before it shows in any one.
    """
    means = [_means(list(cells)) for cells in (old, new)]
    if not all(means):
        return None
    return weigh(*means)


def _means(cells: Sequence[Mapping[int, float]]) -> dict[int, float]:
    shared = set.intersection(*(set(cell) for cell in cells)) if cells else set()
    return {s: math.fsum(c[s] for c in cells) / len(cells) for s in sorted(shared)}


def judge(
    family: Sequence[Evidence], rounding: Sequence[float]
) -> list[tuple[Outcome, str, Drop | None, bool]]:
    """Give each comparison its outcome, the family being all of them.

    Parameters
    ----------
    family : sequence of Evidence
    rounding : sequence of float
        For each, the drop that rounding alone may make of a score that seeds do not
        move.

    Returns
    -------
    judged : list of (outcome, reason, drop, is_gain)
    """
    from eegfm_bench.statistics.corrections import holm

    tested = [i for i, evidence in enumerate(family) if evidence.is_tested]
    drops = dict(zip(tested, holm([family[i].p_drop for i in tested]), strict=True))
    gains = dict(zip(tested, holm([family[i].p_gain for i in tested]), strict=True))
    judged: list[tuple[Outcome, str, Drop | None, bool]] = []
    for i, (evidence, allowed) in enumerate(zip(family, rounding, strict=True)):
        if evidence.why_not:
            judged.append(("cannot tell", evidence.why_not, None, False))
        elif evidence.is_fixed:
            judged.append(_fixed(evidence, allowed))
        else:
            drop = _drop(evidence, drops[i], gains[i], len(tested))
            judged.append(_moved(evidence, drop))
    return judged


def _fixed(
    evidence: Evidence, allowed: float
) -> tuple[Outcome, str, Drop | None, bool]:
    """Judge a score without noise: a drop beyond rounding is there, or it is not."""
    how = "seeds do not move this score"
    if evidence.delta < -allowed:
        return "worse", f"{how}: any drop beyond {allowed:g} is real", None, False
    is_gain = evidence.delta > allowed
    if abs(evidence.delta) <= TOLERANCE:
        return "no worse", f"{how}: equal", None, False
    how += ": a gain" if is_gain else f": within rounding ({allowed:g})"
    return "no worse", how, None, is_gain


def _moved(evidence: Evidence, drop: Drop) -> tuple[Outcome, str, Drop | None, bool]:
    n = f"n = {drop.n_measured}"
    if not drop.is_paired:
        n += f" against {drop.n_reference}"
    if drop.p_value <= FAMILY_WISE_ERROR:
        reason = f"{n}; a drop is shown, adjusted p = {drop.p_value:.2g}"
        return "worse", reason, drop, False
    is_gain = drop.p_gain <= FAMILY_WISE_ERROR
    if is_gain:
        n += f"; a gain is shown, adjusted p = {drop.p_gain:.2g}"
    if drop.low > -MARGIN:
        drops = max(0.0, -drop.low)
        return "no worse", f"{n}; no drop beyond {drops:.4f} (95 %)", drop, is_gain
    reason = f"{n}; a drop of up to {-drop.low:.4f} is possible (95 %)"
    return "cannot tell", reason, drop, is_gain


def _drop(evidence: Evidence, p_drop: float, p_gain: float, n_tested: int) -> Drop:
    from scipy.special import stdtrit

    def errors(confidence: float) -> float:
        if evidence.error == 0:
            return 0.0
        return float(stdtrit(evidence.freedom, confidence)) * evidence.error

    return Drop(
        n_reference=evidence.n_reference,
        n_measured=evidence.n_measured,
        is_paired=evidence.is_paired,
        p_value=p_drop,
        p_gain=p_gain,
        low=evidence.delta - errors(1 - EXCLUDED),
        # With its own threshold (Bonferroni, Holm's first step), and a fifth to miss.
        visible=errors(1 - FAMILY_WISE_ERROR / n_tested) + errors(FOUND),
    )


def _spread(values: Sequence[float]) -> float:
    return max(values) - min(values)
