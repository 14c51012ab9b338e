r"""Train a pool of runs to measure the gate with: sound ones, and planted defects.

    python benchmarks/gate/pool.py [--clean 32] [--planted 8]
    python benchmarks/gate/pool.py --clean 67 --planted 0 --epochs 2 \
        --models bandpower,eegnet,eegconformer,trace --out benchmarks/gate/short.csv

From: the cells of ``benchmarks/suites/gate.yaml``, on simulated twins. To:
``benchmarks/gate/pool.csv``: one main test score per plant, model, dataset and seed.
What is there already is not trained again. One process, one thread. The second command
makes a pool of cells that are trained as briefly as those of ``smoke``.

The plants: ``rate``, a learning rate ten times too small; ``noise``, a tenth of the
training labels wrong; ``silent``, the first quarter of the channels without signal.
Closed-form models have no learning rate.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

HERE = Path(__file__).parent
POOL = HERE / "pool.csv"
HEAD = ("plant", "model", "dataset", "seed", "score")
PLANTS = ("clean", "rate", "noise", "silent")
WRONG = 0.1
# Seeds do not move these: two are trained, and must agree.
FIXED = ("bandpower",)


@contextlib.contextmanager
def planted(plant: str) -> Iterator[None]:
    """Run with a defect in place."""
    from eegfm_bench.datasets import _prepare, _spec
    from eegfm_bench.recordings import filters
    from eegfm_bench.training import classifier

    if plant == "rate":
        adamw = classifier.torch.optim.AdamW

        def slow(parameters: Any, lr: float, **more: Any) -> Any:
            return adamw(parameters, lr=lr / 10, **more)

        with mock.patch.object(classifier.torch.optim, "AdamW", slow):
            yield
    elif plant == "noise":
        sound = _spec.DatasetSpec.plan

        def noisy(self: Any, sources: Any) -> Any:
            index = sound(self, sources)
            rng = np.random.default_rng(0)
            train = np.flatnonzero(index["part"] == "train")
            wrong = rng.choice(train, round(WRONG * len(train)), replace=False)
            labels = index["label"].to_numpy().copy()
            labels[wrong] = 1 - labels[wrong]
            return index.assign(label=labels)

        with mock.patch.object(_prepare.DatasetSpec, "plan", noisy):
            yield
    elif plant == "silent":
        resample = filters.STEPS["resample"]

        def muted(recording: Any, rate_hz: float) -> Any:
            done = resample(recording, rate_hz)
            x = np.array(done.x)
            x[: len(x) // 4] = 0
            return done.with_signal(x)

        with mock.patch.dict(filters.STEPS, {"resample": muted}):
            yield
    else:
        yield


def known(pool: Path) -> set[tuple[str, ...]]:
    """Return what a pool holds already."""
    if not pool.is_file():
        return set()
    with pool.open(newline="") as file:
        return {tuple(row[name] for name in HEAD[:4]) for row in csv.DictReader(file)}


def main() -> None:
    """Train what the pool lacks, plant by plant, and write it down as it comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clean", type=int, default=32, help="seeds without a defect")
    parser.add_argument("--planted", type=int, default=8, help="seeds of each plant")
    parser.add_argument("--epochs", type=int, help="not the suite's own")
    parser.add_argument("--models", help="not the suite's own: M,M2")
    parser.add_argument("--out", type=Path, default=POOL)
    args = parser.parse_args()
    os.environ.pop("EEGFM_DATA", None)

    import torch

    from eegfm_bench.datasets._prepare import twin_root
    from eegfm_bench.datasets._spec import find_dataset
    from eegfm_bench.sweep.launch import InlineLauncher
    from eegfm_bench.sweep.run import Options, sweep
    from eegfm_bench.sweep.suite import load_suite

    torch.set_num_threads(1)
    suite = load_suite("gate")
    if args.models:
        suite = suite.model_copy(update={"models": tuple(args.models.split(","))})
    if args.epochs:
        suite = suite.model_copy(update={"settings": {"epochs": args.epochs}})
    with tempfile.TemporaryDirectory(prefix="eegfm-pool-") as folder:
        os.environ["EEGFM_CACHE"] = f"{folder}/clean"
        for name in suite.datasets:
            twin_root(find_dataset(name))
        for plant in PLANTS:
            # The same twins, and windows of this plant's own cutting.
            cache = Path(folder) / plant
            cache.mkdir(exist_ok=True)
            if plant != "clean":
                (cache / "twins").symlink_to(Path(folder) / "clean" / "twins")
            os.environ["EEGFM_CACHE"] = str(cache)
            n = args.clean if plant == "clean" else args.planted
            started = time.process_time()
            for seed in range(n):
                cells = [
                    cell
                    for cell in suite.cells()
                    if (plant, cell.model, cell.dataset, str(seed))
                    not in known(args.out)
                    and (seed < 2 or cell.model not in FIXED)
                ]
                if not cells:
                    continue
                options = Options(
                    device="cpu",
                    runs=Path(folder) / "runs" / plant,
                    launcher=InlineLauncher(),
                )
                with planted(plant):
                    records = sweep(cells, [seed], options).records(options.runs)
                is_new = not args.out.is_file()
                with args.out.open("a", newline="") as file:
                    writer = csv.writer(file, lineterminator="\n")
                    if is_new:
                        writer.writerow(HEAD)
                    for r in records:
                        name = r.spec.dataset.name
                        score = r.scores["test"][find_dataset(name).main_score]
                        writer.writerow([plant, r.spec.model, name, seed, repr(score)])
            print(plant, n, f"{time.process_time() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
