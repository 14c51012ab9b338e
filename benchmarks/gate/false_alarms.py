"""Measure the statistical gate: false alarms on sound runs, power against defects.

    python benchmarks/gate/false_alarms.py [--gates 2000] [--pool FILE]

From: ``benchmarks/gate/pool.csv`` (``pool.py`` trains it). To: Markdown tables on
standard output, as in ``docs/gate.md``; seconds, without training.

Every gate draws a reference and a re-run from the pool, without a seed in common. The
draws of different gates share runs, so the counts are those of a resampled pool: they
are as good as the pool's seeds are many, and not better for more draws.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eegfm_bench.report import _gate_drops as drops
from eegfm_bench.report.gate import GateReport, GateRow, compare

POOL = Path(__file__).parent / "pool.csv"
Scores = dict[tuple[str, str], dict[int, float]]  # cell to seed to score
SEEDS = (2, 3, 5, 8, 12)
USUAL = 8
SHIFTS = (0.01, 0.02, 0.05, 0.1)
FIXED = ("bandpower",)


def read_pool(pool: Path) -> dict[str, Scores]:
    """Return the scores of every plant, of seeds that all its cells have."""
    found: dict[str, Scores] = defaultdict(lambda: defaultdict(dict))
    with pool.open(newline="") as file:
        for row in csv.DictReader(file):
            cell = (row["model"], row["dataset"])
            found[row["plant"]][cell][int(row["seed"])] = float(row["score"])
    for scores in found.values():
        moving = [set(s) for cell, s in scores.items() if cell[0] not in FIXED]
        whole = sorted(set.intersection(*moving))
        for cell, by_seed in scores.items():
            if cell[0] in FIXED:
                (value,) = set(by_seed.values())
                scores[cell] = dict.fromkeys(whole, value)
            else:
                scores[cell] = {seed: by_seed[seed] for seed in whole}
    return found


def rows(
    scores: Scores,
    seeds: Sequence[int],
    *,
    lower: float = 0.0,
    only: tuple[str, str] | None = None,
) -> list[GateRow]:
    """Return rows of some seeds, with scores lower than they are."""
    return [
        GateRow(
            suite="gate", model=model, dataset=dataset, protocol="", data="simulated",
            scale="small", init="scratch", adapt="scratch", seed=seed,
            part="test", metric="auroc",
            value=by_seed[seed]
            - (lower if only in (None, (model, dataset)) else 0.0),
            run_id=f"{model}-{dataset}-s{seed}", cell_id=f"{model}-{dataset}",
            arithmetic="",
        )
        for (model, dataset), by_seed in scores.items()
        for seed in seeds
    ]  # fmt: skip


def mean(by_seed: dict[int, float]) -> float:
    """Return the mean over seeds."""
    return statistics.fmean(by_seed.values())


def seeded(scores: Scores) -> Scores:
    """Leave out the models that seeds do not move."""
    return {cell: s for cell, s in scores.items() if cell[0] not in FIXED}


def gates(
    clean: Scores,
    new: Scores,
    n: int,
    n_gates: int,
    *,
    lower: float = 0.0,
    is_one: bool = False,
    is_paired: bool = False,
) -> list[GateReport]:
    """Draw gates: a clean reference of n seeds against n other ones."""
    rng = np.random.default_rng(n)
    cells = list(clean)
    theirs = list(next(iter(clean.values())))
    ours = list(next(iter(new.values())))
    found = []
    for i in range(n_gates):
        if is_paired:
            old_seeds = new_seeds = rng.choice(ours, n, replace=False).tolist()
        elif clean is new:
            drawn = rng.choice(theirs, 2 * n, replace=False).tolist()
            old_seeds, new_seeds = drawn[:n], drawn[n:]
        else:
            new_seeds = rng.choice(ours, n, replace=False).tolist()
            left = sorted(set(theirs) - set(new_seeds))
            old_seeds = rng.choice(left, n, replace=False).tolist()
        only = cells[i % len(cells)] if is_one else None
        found.append(
            compare(
                rows(new, new_seeds, lower=lower, only=only),
                rows(clean, old_seeds),
                "statistical",
            )
        )
    return found  # fmt: skip


def drawn_gates(shape: str, n: int, n_gates: int) -> list[GateReport]:
    """Return sound gates of ten cells whose scores are drawn, not trained.

    "skewed" has a ceiling, and now and then a seed that falls far below it.
    """
    rng = np.random.default_rng(n)
    found = []
    for _ in range(n_gates):
        scores: Scores = {}
        for cell in range(10):
            noise = rng.normal(size=2 * n)
            if shape == "skewed":
                noise = 1 - rng.exponential(size=2 * n)
            values = 0.9 + 0.02 * (1 + cell) / 5 * noise
            scores[f"m{cell}", "d"] = dict(enumerate(values.tolist()))
        new = rows(scores, range(n, 2 * n))
        found.append(compare(new, rows(scores, range(n)), "statistical"))
    return found


def failed(reports: Sequence[GateReport]) -> str:
    """Write how many gates fail."""
    n = sum(not report.has_passed for report in reports)
    return f"{n / len(reports):.1%} ({n} of {len(reports)})"


def also_beyond_margin(reports: Sequence[GateReport]) -> str:
    """Write how many would fail if the mean had to drop by more than the margin."""
    n = sum(
        any(
            line.outcome == "worse" and -(line.delta or 0.0) > drops.MARGIN
            for line in report.lines
        )
        for report in reports
    )
    return f"{n / len(reports):.1%}"


def three_errors(reports: Sequence[GateReport], clean: Scores, n: int) -> str:
    """Write how many fail by "over 0.02 and three standard errors of the reference".

    The gate's rule before this one. Its noise is that of the reference's seeds, drawn
    anew here for each gate.
    """
    rng = np.random.default_rng(n)
    bad = 0
    for _ in reports:
        drawn = rng.choice(list(next(iter(clean.values()))), 2 * n, replace=False)
        for by_seed in clean.values():
            old, new = ([by_seed[s] for s in d.tolist()] for d in np.split(drawn, 2))
            error = statistics.stdev(old) / math.sqrt(n)
            fall = statistics.fmean(old) - statistics.fmean(new)
            if fall > max(drops.MARGIN, 3 * error):
                bad += 1
                break
    return f"{bad / len(reports):.1%}"


def shares(reports: Sequence[GateReport]) -> list[str]:
    """Write how the lines of all gates come out."""
    lines = [line.outcome for report in reports for line in report.lines]
    wanted = ("no worse", "worse", "cannot tell")
    return [f"{lines.count(o) / len(lines):.0%}" for o in wanted]


def called_no_worse(reports: Sequence[GateReport]) -> str:
    """Write how many cells come out no worse."""
    lines = [x.outcome for r in reports for x in r.lines if x.dataset]
    return f"{lines.count('no worse') / len(lines):.1%}"


def print_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    for row in (head, ["---"] * len(head), *body):
        print(f"| {' | '.join(row)} |")
    print()


def print_clean(clean: Scores, sizes: Sequence[int], n_gates: int) -> None:
    """Print the cells, and what gates say of runs without a defect."""
    head = ["cell", "mean", "sd over seeds", "lowest", "highest"]
    body = []
    for (model, dataset), by_seed in clean.items():
        v = [*by_seed.values()]
        numbers = (statistics.fmean(v), statistics.stdev(v), min(v), max(v))
        body.append([f"{model} on {dataset}", *(f"{x:.3f}" for x in numbers)])
    print_table(head, body)
    if USUAL in sizes:
        first = gates(clean, clean, USUAL, 100)
        print(f"100 clean re-runs, {USUAL} seeds a side: {failed(first)} fail.\n")
    head = ["seeds a side", "clean gates that fail", "by the earlier rule"]
    body = []
    for n in sizes:
        found = gates(clean, clean, n, n_gates)
        earlier = three_errors(found, clean, n)
        body.append([str(n), failed(found), earlier, *shares(found)])
    print_table([*head, "no worse", "worse", "cannot tell"], body)
    body = [
        [shape, *(failed(drawn_gates(shape, n, n_gates)).split(" ")[0] for n in SEEDS)]
        for shape in ("normal", "skewed")
    ]
    print_table(["drawn scores", *(f"{n} seeds" for n in SEEDS)], body)


def print_shifts(noisy: Scores, sizes: Sequence[int], n_gates: int) -> None:
    """Print how often scores that are lowered by so much are found."""
    body = []
    for lower in SHIFTS:
        for is_one in (True, False):
            found = {
                n: gates(noisy, noisy, n, n_gates, lower=lower, is_one=is_one)
                for n in sizes
            }
            usual = found[USUAL]
            body.append(
                [
                    f"{lower:g}",
                    "one cell" if is_one else "every cell",
                    *(failed(reports).split(" ")[0] for reports in found.values()),
                    also_beyond_margin(usual),
                    "" if is_one else called_no_worse(usual),
                ]
            )
    head = ["lowered by", "where", *(f"{n} seeds" for n in sizes)]
    head += [f"{USUAL}, and over {drops.MARGIN:g}", f"{USUAL}: cells no worse"]
    print_table(head, body)


def print_plants(pool: dict[str, Scores], n_gates: int) -> None:
    """Print how often planted defects are found."""
    clean = pool["clean"]
    body = []
    for plant, scores in pool.items():
        if plant == "clean":
            continue
        falls = ", ".join(
            f"{model} {dataset} {mean(clean[model, dataset]) - mean(s):+.3f}"
            for (model, dataset), s in scores.items()
        )
        ways = (
            gates(seeded(clean), seeded(scores), USUAL, n_gates),
            gates(clean, scores, USUAL, n_gates),
        )
        told = [failed(reports).split(" ")[0] for reports in ways]
        # With as many runs as a gate has seeds there is one paired gate, and no share.
        (paired,) = gates(seeded(clean), seeded(scores), USUAL, 1, is_paired=True)
        body.append([plant, falls, *told, "no" if paired.has_passed else "yes"])
    if body:
        head = ["planted", "mean drop", "found in seeded cells"]
        print_table([*head, "with band power", "one gate, seeds paired"], body)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gates", type=int, default=2000)
    parser.add_argument("--pool", type=Path, default=POOL)
    args = parser.parse_args()
    pool = read_pool(args.pool)
    clean = pool["clean"]
    n_seeds = {plant: len(next(iter(s.values()))) for plant, s in pool.items()}
    print("Seeds:", ", ".join(f"{plant} {n}" for plant, n in n_seeds.items()), "\n")
    sizes = [n for n in SEEDS if 2 * n <= n_seeds["clean"]]
    print_clean(clean, sizes, args.gates)
    print_shifts(seeded(clean), sizes, args.gates // 4)
    print_plants(pool, args.gates // 4)


if __name__ == "__main__":
    main()
