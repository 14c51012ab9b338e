"""How often intervals, tests and verdicts err, on simulated data with a known truth.

From: ``population.py`` and ``eegfm_bench/statistics``. To: the tables of
``docs/statistics.md``, rewritten in place between their marks. Draws are seeded, so
the same numbers come again; under four minutes on one core:

    python benchmarks/statistics/coverage.py [--only NAME] [--quick]

Letters: S subjects, R seeds, B replicates.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from population import Population, auroc, probabilities
from scipy.special import ndtr, ndtri, stdtrit

from eegfm_bench.statistics.equivalence import welch_verdict
from eegfm_bench.statistics.intervals import (
    Summaries,
    replicates,
    seed_interval,
    widened,
)
from eegfm_bench.statistics.permutation import paired_permutation

PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"
N_SEEDS = 5
N_BOOT = 1000
TAIL = 0.025
METHODS = ("percentile", "basic", "BCa", "normal, t quantile", "percentile, widened")
WORLDS = {
    "usual": Population(),
    "subjects alike": Population(gap_by_subject=0.1, offset_by_subject=0.1),
    "subjects far apart": Population(gap_by_subject=1.0, offset_by_subject=1.0),
    "seeds far apart": Population(gap_by_seed=0.4, offset_by_seed=0.4),
    "near the ceiling": Population(gap=3.0),
}
Rows = list[list[str]]


def bounds(s: Summaries, rng_seed: int) -> dict[str, tuple[float, float]]:
    """Return the interval of every method, from the same replicates."""
    n = len(s.subjects)
    drawn = replicates(s, n_boot=N_BOOT, rng_seed=rng_seed)
    drawn = drawn[~np.isnan(drawn)]
    centre = s.estimate()
    assert centre is not None, "simulated parts hold both classes"
    low, high = np.quantile(drawn, [TAIL, 1 - TAIL])
    reach = -stdtrit(n - 1, TAIL) * drawn.std() * math.sqrt(n / (n - 1))
    tail = widened(TAIL, n)
    wide = np.quantile(drawn, [tail, 1 - tail])
    return {
        "percentile": (low, high),
        "basic": (2 * centre - high, 2 * centre - low),
        "BCa": bca(s, drawn, centre),
        "normal, t quantile": (centre - reach, centre + reach),
        "percentile, widened": (float(wide[0]), float(wide[1])),
    }


def bca(s: Summaries, drawn: np.ndarray, centre: float) -> tuple[float, float]:
    """Return the bias-corrected and accelerated interval; subjects are left out."""
    without = 1 - np.eye(len(s.subjects))
    left_S = np.mean([s.values(r, without) for r in range(s.n_seeds)], axis=0)
    off_S = left_S.mean() - left_S
    skew = (off_S**3).sum() / (6 * ((off_S**2).sum()) ** 1.5)
    bias = ndtri(np.clip(np.mean(drawn < centre), 1e-3, 1 - 1e-3))
    z = bias + np.array([ndtri(TAIL), ndtri(1 - TAIL)])
    low, high = np.quantile(drawn, ndtr(bias + z / (1 - skew * z)))
    return float(low), float(high)


def covered(
    world: Population,
    metric: str,
    n_subjects: int,
    n: int,
    seed: int,
    n_seeds: int = N_SEEDS,
) -> tuple[dict[str, float], dict[str, float]]:
    """Return each method's coverage of the population's truth, and its mean width."""
    rng = np.random.default_rng([seed, n_subjects])
    truth = getattr(world, metric)()
    hits = dict.fromkeys(METHODS, 0)
    width = dict.fromkeys(METHODS, 0.0)
    for i in range(n):
        part = world.draw(rng, n_subjects)
        who = [f"s{k:03d}" for k in range(n_subjects)]
        subjects = np.array(who)[part.subjects]
        scores = [probabilities(row) for row in part.logits(rng, n_seeds)]
        s = Summaries.of([part.labels] * n_seeds, scores, [subjects] * n_seeds, metric)
        for name, (low, high) in bounds(s, i).items():
            hits[name] += low <= truth <= high
            width[name] += high - low
    return {k: v / n for k, v in hits.items()}, {k: v / n for k, v in width.items()}


def methods(scale: float) -> Rows:
    """Compare ways to make an interval, in the usual world."""
    rows = []
    for metric in ("auroc", "balanced_accuracy"):
        for n_subjects, n in ((10, 1000), (20, 1000), (40, 600), (100, 300)):
            n = round(n * scale)
            found, width = covered(WORLDS["usual"], metric, n_subjects, n, 1)
            rows.append(
                [metric, str(n_subjects), str(n)]
                + [percent(found[m], n) for m in METHODS]
                + [f"{width['percentile, widened']:.3f}"]
            )
    return rows


def worlds(scale: float) -> Rows:
    """Try the chosen interval where effects are of other sizes."""
    rows, n = [], round(600 * scale)
    for name, world in WORLDS.items():
        for n_subjects in (10, 20):
            cells = [
                percent(found[METHODS[-1]], n)
                for metric in ("auroc", "balanced_accuracy")
                for found, _ in [covered(world, metric, n_subjects, n, 2)]
            ]
            rows.append([name, str(n_subjects), str(n), *cells])
    return rows


def few_seeds(scale: float) -> Rows:
    """Ask the chosen interval for new seeds when it was made from few."""
    rows, n = [], round(600 * scale)
    for name in ("usual", "seeds far apart"):
        for n_seeds in (1, 2, 3, 5, 10):
            cells = [
                percent(found[METHODS[-1]], n)
                for n_subjects in (20, 40)
                for found, _ in [
                    covered(WORLDS[name], "auroc", n_subjects, n, 3, n_seeds)
                ]
            ]
            rows.append([name, str(n_seeds), str(n), *cells])
    return rows


def over_seeds(scale: float) -> Rows:
    """Ask what a t interval over seeds covers: these subjects, and new ones."""
    rows, n = [], round(400 * scale)
    for n_subjects in (4, 10, 20, 40):
        rng = np.random.default_rng([3, n_subjects])
        of_seeds = of_subjects = 0
        for _ in range(n):
            part = WORLDS["usual"].draw(rng, n_subjects)
            mine = auroc(part.labels, part.logits(rng, N_SEEDS))
            many = auroc(part.labels, part.logits(rng, 200)).mean()
            found = seed_interval(mine.tolist())
            assert found is not None, "five seeds have an interval"
            of_seeds += found.low <= many <= found.high
            of_subjects += found.low <= WORLDS["usual"].auroc() <= found.high
        shares = (percent(hits / n, n) for hits in (of_seeds, of_subjects))
        rows.append([str(n_subjects), str(n), *shares])
    return rows


def permutation(scale: float) -> Rows:
    """Return how often the paired test speaks: without, and with, a difference."""
    rows, n = [], round(1000 * scale)
    for n_subjects in (5, 6, 10, 20, 40, 100):
        rng = np.random.default_rng([4, n_subjects])
        row = [str(n_subjects), str(n)]
        for gain, by_seed in ((0, 0.0), (0, 0.015), (0.02, 0.015), (0.05, 0.015)):
            speaks = np.zeros(2)
            for i in range(n):
                zero = np.zeros((n_subjects, N_SEEDS))
                a = (
                    gain
                    + 0.06 * rng.standard_normal((n_subjects, 1))
                    + by_seed * rng.standard_normal(N_SEEDS)
                    + 0.03 * rng.standard_normal(zero.shape)
                )
                found = paired_permutation(a, zero, n=2000, rng_seed=i)
                is_small = found.p_value <= 0.05
                speaks += is_small, is_small and not found.low <= 0 <= found.high
            row += [percent(x / n, n) for x in (speaks if by_seed else speaks[:1])]
        rows.append(row)
    return rows


def welch(scale: float) -> Rows:
    """Return the share of each verdict, by the true difference."""
    rows, n = [], round(2000 * scale)
    for sd in (0.005, 0.01, 0.02, 0.04):
        margin = max(0.02, sd)
        for times in (0, 0.5, 1, 2):
            rng = np.random.default_rng([5, round(1000 * sd), round(10 * times)])
            count: dict[str, int] = {}
            for _ in range(n):
                ours, theirs = sd * rng.standard_normal((2, N_SEEDS))
                verdict = welch_verdict(
                    (ours - times * margin).tolist(),
                    published_mean=float(theirs.mean()),
                    published_sd=float(theirs.std(ddof=1)),
                    published_n=N_SEEDS,
                )
                count[verdict.outcome] = count.get(verdict.outcome, 0) + 1
            names = ("reproduced", "lower", "higher", "cannot tell")
            shares = (percent(count.get(name, 0) / n, n) for name in names)
            rows.append([f"{sd:g}", f"{-times * margin:g}", str(n), *shares])
    return rows


def percent(share: float, n: int) -> str:
    """Write a share with its Monte-Carlo standard error."""
    return f"{100 * share:.1f} ± {100 * math.sqrt(share * (1 - share) / n):.1f}"


TABLES: dict[str, tuple[Callable[[float], Rows], list[str]]] = {
    "methods": (methods, ["metric", "subjects", "parts", *METHODS, "mean width"]),
    "worlds": (
        worlds,
        ["population", "subjects", "parts", "auroc", "balanced_accuracy"],
    ),
    "few seeds": (
        few_seeds,
        ["population", "seeds", "parts", "20 subjects", "40 subjects"],
    ),
    "over seeds": (over_seeds, ["subjects", "parts", "same subjects", "new subjects"]),
    "permutation": (
        permutation,
        [
            "subjects",
            "trials",
            "no difference, seeds alike: p",
            "no difference: p",
            "p and interval",
            "0.02 better: p",
            "p and interval",
            "0.05 better: p",
            "p and interval",
        ],
    ),
    "welch": (
        welch,
        [
            "sd of both",
            "true difference",
            "trials",
            "reproduced",
            "lower",
            "higher",
            "cannot tell",
        ],
    ),
}


def markdown(head: Iterable[str], rows: Rows) -> str:
    """Return a table whose numbers stand to the right."""
    lines = [list(head), *rows]
    lines.insert(1, ["---"] + ["---:"] * (len(lines[0]) - 1))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Simulate, print, and rewrite the page's tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=TABLES)
    parser.add_argument(
        "--quick", action="store_true", help="a twentieth of it; writes nothing"
    )
    asked = parser.parse_args()
    for name in [asked.only] if asked.only else TABLES:
        began = time.process_time()
        make, head = TABLES[name]
        table = markdown(head, make(0.05 if asked.quick else 1.0))
        print(f"{name}: {time.process_time() - began:.1f} s\n{table}\n", flush=True)
        page = filled(PAGE.read_text(encoding="utf-8"), name, table)
        if not asked.quick:
            PAGE.write_text(page, encoding="utf-8")


def filled(page: str, name: str, table: str) -> str:
    """Return the page with this table between its marks."""
    before, mark, rest = page.partition(f"<!-- simulated: {name} -->\n")
    _, end, after = rest.partition("<!-- end -->")
    if not mark or not end:
        raise SystemExit(f"{PAGE} has no place for '{name}'.")
    return f"{before}{mark}{table}\n{end}{after}"


if __name__ == "__main__":
    main()
