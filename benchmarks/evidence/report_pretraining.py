"""What came of ``pretraining.py``: tables, paired tests, skill of forecasts, pictures.

    python benchmarks/evidence/report_pretraining.py --data ROOT --out FOLDER

From: its runs and weights. To: the measured part of ``docs/pretraining-evidence.md``,
between its two marks, with pictures beside it, and one row a person in a CSV file.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from forecasts import Forecasts, forecasts_of, picture_of_forecasts, rank_of_features
from numpy.typing import NDArray
from pretraining import DATASETS, FOLDS, OBJECTIVES, SEEDS, fold, weights_of

from eegfm_bench.datasets._folds import unfolded
from eegfm_bench.runs.predictions import read_predictions
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.store import ResultStore
from eegfm_bench.statistics.corrections import holm
from eegfm_bench.statistics.permutation import paired_permutation
from eegfm_bench.training.metrics import score

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "pretraining-evidence.md"
MARKS = ("<!-- measured -->", "<!-- /measured -->")
# What is compared, in the order it is shown; each with what it is held against.
WAYS = {
    "scratch": "from scratch",
    "causal finetune": "causal, fine-tuned",
    "masked finetune": "masked, fine-tuned",
    "random probe": "random encoder, probed",
    "causal probe": "causal, probed",
    "masked probe": "masked, probed",
}
PAIRS = (
    ("causal finetune", "scratch"),
    ("masked finetune", "scratch"),
    ("causal finetune", "masked finetune"),
    ("causal probe", "random probe"),
    ("masked probe", "random probe"),
    ("causal probe", "masked probe"),
)


@dataclass(frozen=True)
class Scored:
    """One way on one dataset: AUROC of every person (rows) with every seed."""

    persons: tuple[str, ...]
    auroc: NDArray[np.float64]  # persons, seeds
    rates: tuple[str, ...]


def way_of(record: RunRecord) -> str:
    """Name a way by where the encoder came from and what was done with it."""
    objective = "scratch"
    if record.weights is not None and record.weights.pretrained is not None:
        objective = record.weights.pretrained.objective
    if record.spec.adapt == "probe":
        return f"{objective.replace('scratch', 'random')} probe"
    return objective if objective == "scratch" else f"{objective} finetune"


def rate_of(record: RunRecord) -> float | None:
    """Return the encoder's learning rate; a probe has none."""
    return getattr(record.spec.recipe, "lr", None)


def chosen(records: list[RunRecord]) -> Iterator[tuple[str, str, list[RunRecord]]]:
    """Give (way, dataset's fold, runs of all seeds) at the rate that was chosen."""
    groups: dict[tuple[str, str], dict[float | None, list[RunRecord]]] = {}
    for record in records:
        key = way_of(record), record.spec.dataset.name
        by_rate = groups.setdefault(key, {})
        by_rate.setdefault(rate_of(record), []).append(record)
    for (way, name), by_rate in sorted(groups.items()):
        whole = [own for own in by_rate.values() if len(own) == SEEDS]
        if len(whole) != 1:
            raise SystemExit(f"{way} on {name}: {len(whole)} rates have all seeds.")
        yield way, name, sorted(whole[0], key=lambda r: r.spec.seed)


def per_person(store: ResultStore, record: RunRecord) -> dict[str, float]:
    """Return the AUROC of each test person alone."""
    path = store.path(record.run_id) / "predictions.parquet"
    index, scores_NK = read_predictions(path)
    found = {}
    for who, rows in index.groupby("subject").indices.items():
        values, _ = score(index["label"].to_numpy("int64")[rows], scores_NK[rows])
        value = values["auroc"]
        found[str(who)] = float("nan") if value is None else value
    return found


def scored(store: ResultStore) -> dict[tuple[str, str], Scored]:
    """Return every way on every dataset, people of all folds together."""
    rows: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(dict)
    rates: dict[tuple[str, str], list[str]] = defaultdict(list)
    records = [record for record in store.records() if record.is_done]
    for way, name, runs in chosen(records):
        key = way, unfolded(name)
        rate = rate_of(runs[0])
        rates[key].append("" if rate is None else f"{rate:g}")
        seeds = [per_person(store, run) for run in runs]
        for who in seeds[0]:
            if who in rows[key]:
                raise SystemExit(f"{who} of {unfolded(name)} is tested in two folds.")
            rows[key][who] = [seed[who] for seed in seeds]
    for key in ((way, dataset) for way in WAYS for dataset in DATASETS):
        if len(rates[key]) != FOLDS:
            raise SystemExit(f"{key} has {len(rates[key])} of {FOLDS} folds; run them.")
    people = {
        dataset: {frozenset(rows[way, dataset]) for way in WAYS} for dataset in DATASETS
    }
    if any(len(found) != 1 for found in people.values()):
        raise SystemExit("Not every way has the same people, so none can be paired.")
    return {
        key: Scored(
            persons=tuple(sorted(own)),
            auroc=np.array([own[who] for who in sorted(own)]),
            rates=tuple(rates[key]),
        )
        for key, own in rows.items()
    }


def table_of_scores(found: dict[tuple[str, str], Scored]) -> list[str]:
    """Write mean over people, sd over people, and over seeds."""
    lines = [
        "| dataset | way | AUROC, mean over people | sd over people | sd over seeds "
        "| people | rates chosen, by fold |",
        "|---|---|---|---|---|---|---|",
    ]
    for dataset in DATASETS:
        for way, words in WAYS.items():
            own = found[way, dataset]
            people = np.nanmean(own.auroc, axis=1)
            seeds = np.nanmean(own.auroc, axis=0)
            lines.append(
                f"| {dataset} | {words} | {people.mean():.3f} "
                f"| {people.std(ddof=1):.3f} | {seeds.std(ddof=1):.3f} "
                f"| {len(own.persons)} | {', '.join(filter(None, own.rates)) or '–'} |"
            )
    return lines


def table_of_pooled(store: ResultStore) -> list[str]:
    """Write AUROC over all windows of a fold's people together, mean over seeds."""
    folds = [f"fold {k}" for k in range(1, FOLDS + 1)]
    lines = [
        f"| dataset | way | {' | '.join(folds)} | mean of folds | sd over seeds |",
        "|---|---|" + "---|" * (FOLDS + 2),
    ]
    seeds: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(dict)
    for way, name, runs in chosen([r for r in store.records() if r.is_done]):
        own = [(run.scores or {})["test"]["auroc"] for run in runs]
        seeds[way, unfolded(name)][name] = [
            float("nan") if v is None else v for v in own
        ]
    for dataset in DATASETS:
        for way, words in WAYS.items():
            auroc = np.array([v for _, v in sorted(seeds[way, dataset].items())])
            each = " | ".join(f"{value:.3f}" for value in auroc.mean(axis=1))
            lines.append(
                f"| {dataset} | {words} | {each} | {auroc.mean():.3f} "
                f"| {auroc.mean(axis=0).std(ddof=1):.3f} |"
            )
    return lines


def table_of_pairs(found: dict[tuple[str, str], Scored]) -> list[str]:
    """Write differences paired by person, with Holm's correction over all of them."""
    pairs = []
    for dataset in DATASETS:
        for a, b in PAIRS:
            one, other = found[a, dataset].auroc, found[b, dataset].auroc
            pairs.append((dataset, a, b, paired_permutation(one, other)))
    adjusted = holm([pair[3].p_value for pair in pairs])
    lines = [
        "| dataset | compared | difference of AUROC | 95 % interval | p | p, Holm "
        "| people better / worse |",
        "|---|---|---|---|---|---|---|",
    ]
    for (dataset, a, b, paired), p in zip(pairs, adjusted, strict=True):
        each = np.nanmean(found[a, dataset].auroc - found[b, dataset].auroc, 1)
        lines.append(
            f"| {dataset} | {WAYS[a]} − {WAYS[b]} | {paired.difference:+.3f} "
            f"| {paired.low:+.3f} … {paired.high:+.3f} "
            f"| {paired.p_value:.4f} | {p:.4f} "
            f"| {int((each > 0).sum())} / {int((each < 0).sum())} |"
        )
    return lines


def table_of_skill(found: list[Forecasts]) -> list[str]:
    """Write Huber losses of people never met, and the skill over each reference."""
    references = ("zero", "last patch", "last value", "linear")
    lines = [
        "| dataset | ahead | loss | "
        + " | ".join(f"skill over {name}" for name in references)
        + " | people with skill over linear |",
        "|---|---|---|" + "---|" * (len(references) + 1),
    ]
    losses: dict[tuple[str, int], dict[str, list[float]]] = {}
    for one in found:
        for (who, horizon), each in one.losses.items():
            del who
            own = losses.setdefault((one.dataset, horizon), defaultdict(list))
            for name, value in each.items():
                own[name].append(value)
    for (dataset, horizon), own in sorted(losses.items(), reverse=True):
        model = np.array(own["model"])
        means = [1 - model.mean() / np.mean(own[name]) for name in references]
        better = int((model < np.array(own["linear"])).sum())
        lines.append(
            f"| {dataset} | {horizon} s | {model.mean():.5f} | "
            + " | ".join(f"{value:+.3f}" for value in means)
            + f" | {better} of {len(model)} |"
        )
    return lines


def picture_of_losses(out: Path, file: Path) -> None:
    """Draw the loss of every source over the steps, all folds."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, objective in zip(axes, OBJECTIVES, strict=True):
        for colour, dataset in zip(("C0", "C1"), DATASETS, strict=True):
            for k in range(1, FOLDS + 1):
                journal = pd.read_csv(weights_of(out, objective, k) / "journal.csv")
                column = f"{fold(dataset, k)}@filtered"
                loss = journal[column].rolling(50, min_periods=10).mean()
                name = dataset if k == 1 else None
                axis.plot(journal["step"], loss, colour, lw=1, alpha=0.8, label=name)
        axis.set(yscale="log", xlabel="step", title=objective)
        axis.legend(frameon=False)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("loss, mean of 50 steps (100 µV)²")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def picture_of_pairs(found: dict[tuple[str, str], Scored], file: Path) -> None:
    """Draw every person's difference from scratch, or from the random encoder."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 1, figsize=(9, 4.6), layout="constrained")
    for axis, dataset in zip(axes, DATASETS, strict=True):
        for row, (a, b) in enumerate(PAIRS):
            each = np.nanmean(found[a, dataset].auroc - found[b, dataset].auroc, axis=1)
            spread = np.linspace(-0.25, 0.25, len(each))
            axis.plot(np.sort(each), row + spread, "o", ms=3, alpha=0.7)
            axis.plot([each.mean()] * 2, [row - 0.4, row + 0.4], "k", lw=1.5)
        axis.axvline(0, color="0.6", lw=0.8)
        axis.set_yticks(range(len(PAIRS)), [f"{a} − {b}" for a, b in PAIRS], fontsize=8)
        axis.invert_yaxis()
        axis.set_title(f"{dataset}: each dot a person, the line their mean", fontsize=9)
    axes[-1].set_xlabel("difference of AUROC, mean over seeds")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def write_persons(found: dict[tuple[str, str], Scored], file: Path) -> None:
    """Write one row a person, way and seed."""
    with file.open("w", newline="", encoding="utf-8") as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("dataset", "way", "person", "seed", "auroc"))
        for (way, dataset), own in sorted(found.items()):
            for who, values in zip(own.persons, own.auroc, strict=True):
                for seed, value in enumerate(values):
                    rows.writerow((dataset, way, who, seed, f"{value:.6f}"))


def main() -> None:
    """Write tables and pictures."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--data", required=True)
    words.add_argument("--out", type=Path, required=True)
    asked = words.parse_args()
    found = scored(ResultStore(asked.out / "runs"))
    pictures = DOCS / "pictures"
    pictures.mkdir(exist_ok=True)
    write_persons(found, DOCS / "pretraining-evidence.csv")
    forecasts = [
        forecasts_of(weights_of(asked.out, "causal", k), fold(d, k), asked.data)
        for d in DATASETS
        for k in range(1, FOLDS + 1)
    ]
    picture_of_losses(asked.out, pictures / "pretraining-losses.png")
    picture_of_pairs(found, pictures / "pretraining-people.png")
    picture_of_forecasts(
        {d: weights_of(asked.out, "causal", 1) for d in DATASETS},
        {d: fold(d, 1) for d in DATASETS},
        asked.data,
        pictures / "pretraining-forecasts.png",
    )
    ranks = rank_of_features(asked.out, asked.data)
    text = [
        "### Scores of people never met",
        "",
        *table_of_scores(found),
        "",
        "The suite's own score, over all windows of a fold's people together:",
        "",
        *table_of_pooled(ResultStore(asked.out / "runs")),
        "",
        "### Compared, paired by person",
        "",
        *table_of_pairs(found),
        "",
        "### Forecasts",
        "",
        *table_of_skill(forecasts),
        "",
        "### Features",
        "",
        *ranks,
    ]
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    whole = f"{before}{MARKS[0]}\n" + "\n".join(text) + f"\n{MARKS[1]}{after}"
    PAGE.write_text(whole, encoding="utf-8")


if __name__ == "__main__":
    main()
