"""Does pre-training help? Small Trace on real rest EEG and EEGMAT, folds over people.

    python benchmarks/evidence/pretraining.py --data ROOT --out FOLDER [--allow-partial]

In every fold, encoders are pre-trained without labels on the training people of
``eyes`` and ``eegmat``, filtered as the paper states, with the causal and with the
masked objective. Then ``eyes`` and ``eegmat`` are scored as their protocols have them:
from scratch, probed, fine-tuned; five seeds. So everybody is tested once, by models
that never met them. The one choice, the learning rate of the encoder, is made in each
fold and way by its validation people with seed 0, among the same two rates for all.

The order of the work is by fold, so that whole folds are there first; a second call
goes on. ``report_pretraining.py`` writes down what came of it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.store import ResultStore

FOLDS = 5
SEEDS = 5
STEPS = 1000
EPOCHS = 4
RATES = (3e-3, 1e-3)
HEAD_RATE = 3e-3
DATASETS = ("eyes", "eegmat")
OBJECTIVES = ("causal", "masked")
WAYS = ("scratch", "finetune")


def fold(dataset: str, k: int) -> str:
    """Return the name of a dataset's fold."""
    return f"{dataset}@fold{k}of{FOLDS}"


def command(*words: str) -> None:
    """Run one command of the suite; what it says goes to this one's standard error."""
    print("+", " ".join(words), file=sys.stderr, flush=True)
    subprocess.run(
        [sys.executable, "-m", "eegfm_bench", *words], check=True, stdout=sys.stderr
    )


def weights_of(out: Path, objective: str, k: int) -> Path:
    """Return the folder of weights of a fold."""
    return out / "weights" / f"{objective}{k}"


def chosen_rate(records: Sequence[RunRecord]) -> float:
    """Return the rate with the highest validation score of seed 0."""
    scored = [
        (record.scores["val"]["auroc"] or 0.0, getattr(record.spec.recipe, "lr"))  # noqa: B009
        for record in records
        if record.scores is not None
    ]
    if len(scored) < len(RATES):
        raise SystemExit(f"{len(scored)} of {len(RATES)} rates were tried; run again.")
    return float(max(scored)[1])


def main() -> None:
    """Pre-train, train and score; take up what was begun."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--data", required=True)
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--jobs", default="1")
    words.add_argument("--folds", default=",".join(map(str, range(1, FOLDS + 1))))
    words.add_argument("--allow-partial", action="store_true")
    asked = words.parse_args()
    common = ["--scale", "small", "--data", asked.data]
    common += ["--allow-partial"] if asked.allow_partial else []
    runs = asked.out / "runs"
    store = ResultStore(runs)
    for k in map(int, asked.folds.split(",")):
        scored = ",".join(fold(d, k) for d in DATASETS)
        sources = ",".join(f"{fold(d, k)}@filtered" for d in DATASETS)
        for objective in OBJECTIVES:
            folder = weights_of(asked.out, objective, k)
            if not (folder / "model.safetensors").is_file():
                command(
                    "pretrain", "--sources", sources, "--scored-on", scored, *common,
                    "--steps", str(STEPS), "--objective", objective,
                    "--out", str(folder), "--yes",
                )  # fmt: skip
        start = ["--model", "trace", *common, "--runs", str(runs), "--jobs", asked.jobs]
        starts: dict[str, list[str]] = {"scratch": []}
        for objective in OBJECTIVES:
            folder = weights_of(asked.out, objective, k)
            starts[objective] = ["--weights", str(folder)]
        for more in starts.values():
            probe = ["--adapt", "probe", "--dataset", scored]
            command("run", *start, *more, *probe, "--seeds", str(SEEDS))
        length = ["--epochs", str(EPOCHS), "--set", f"head_lr={HEAD_RATE:g}"]
        for objective, more in starts.items():
            for rate in RATES:
                tuned = [*length, "--set", f"lr={rate:g}"]
                command(
                    "run", *start, *more, *tuned, "--dataset", scored, "--seeds", "1"
                )
            for name in DATASETS:
                tried = [
                    record
                    for record in store.records()
                    if record.spec.dataset.name == fold(name, k)
                    and record.spec.adapt in WAYS
                    and record.spec.seed == 0
                    and came_from(record, objective)
                ]
                tuned = [*length, "--set", f"lr={chosen_rate(tried):g}"]
                this = ["--dataset", fold(name, k), "--seeds", str(SEEDS)]
                command("run", *start, *more, *tuned, *this)


def came_from(record: RunRecord, objective: str) -> bool:
    """Tell whether a run began with a fold's weights of an objective, or with none."""
    if record.weights is None or record.weights.pretrained is None:
        return objective == "scratch" and record.spec.init == "scratch"
    return record.weights.pretrained.objective == objective


if __name__ == "__main__":
    main()
