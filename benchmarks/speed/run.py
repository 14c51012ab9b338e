"""Whole runs of EEGNet, the suite's way against a plain loop, in one sitting.

Both sides train braindecode's EEGNet with the same recipe on the same windows
for the same epochs and seeds, each as a whole process from its start to its
last score. The plain side is what one would write with torch and braindecode:
tensors in memory, a DataLoader, AdamW, validation after every epoch, the best
state tested; one seed after the other, torch's own choice of threads. The suite
side is ``eegfm-bench run``. The sides take turns, so that a slow minute of the
machine meets both.

    python benchmarks/speed/run.py --data ROOT [--epochs 4] [--rounds 1]

Without --data the full-size simulated recordings serve. Where the suite's time
goes is read from its records.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DATASETS = ("eegmat", "eyes")


def plain(argv: list[str]) -> None:
    """Train and test as a plain script would; print test AUROCs as JSON."""
    import numpy as np
    import torch
    from sklearn.metrics import roc_auc_score
    from torch.utils.data import DataLoader, TensorDataset

    stores, epochs, seeds, values = json.loads(argv[0])
    from eegfm_bench.models._torchaudio import ensure_torchaudio_imports

    ensure_torchaudio_imports()  # a plain script could not import it otherwise
    from braindecode.models import EEGNet

    from eegfm_bench.windows.store import WindowStore

    result: dict[str, list[float]] = {}
    for name, path in stores.items():
        store = WindowStore(Path(path))
        y = store.index["label"].to_numpy(np.int64)
        parts = {
            part: TensorDataset(
                torch.from_numpy(store.x[store.rows(part)]),
                torch.from_numpy(y[store.rows(part)]),
            )
            for part in ("train", "val", "test")
        }
        n_K = np.bincount(y[store.rows("train")])
        weight = torch.tensor(n_K.sum() / (len(n_K) * n_K), dtype=torch.float32)
        for seed in seeds:
            torch.manual_seed(seed)
            net = EEGNet(
                n_chans=store.x.shape[1],
                n_times=store.x.shape[2],
                n_outputs=2,
                kernel_length=64,
                batch_norm_momentum=0.1,
                final_layer_with_constraint=True,
                norm_rate=0.25,
            )
            loaders = {
                part: DataLoader(
                    windows, batch_size=values["batch_size"], shuffle=part == "train"
                )
                for part, windows in parts.items()
            }
            optimizer = torch.optim.AdamW(
                net.parameters(), lr=values["lr"], weight_decay=values["weight_decay"]
            )
            n_steps = epochs * len(loaders["train"])
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
                optimizer, n_steps, eta_min=1e-6
            )
            best, state = -1.0, net.state_dict()
            for _ in range(epochs):
                net.train()
                for x, target in loaders["train"]:
                    optimizer.zero_grad()
                    loss = torch.nn.functional.cross_entropy(
                        net(x / 10), target, weight=weight
                    )
                    loss.backward()
                    optimizer.step()
                    schedule.step()
                value = roc_auc_score(*_judged(net, loaders["val"]))
                if value > best:
                    best = value
                    state = {k: v.clone() for k, v in net.state_dict().items()}
            net.load_state_dict(state)
            auroc = roc_auc_score(*_judged(net, loaders["test"]))
            result.setdefault(name, []).append(float(auroc))
    print(json.dumps(result))


def _judged(net: object, loader: object) -> tuple[object, object]:
    import torch

    net.eval()  # type: ignore[attr-defined]
    with torch.no_grad():
        pairs = [(y, net(x / 10).softmax(-1)[:, 1]) for x, y in loader]  # type: ignore[operator,attr-defined]
    return torch.cat([y for y, _ in pairs]), torch.cat([p for _, p in pairs])


def compare(args: argparse.Namespace) -> dict[str, object]:
    """Time both sides in turn; return seconds, ratio, scores, and the split."""
    import numpy as np

    from eegfm_bench.datasets._prepare import prepare, twin_root
    from eegfm_bench.datasets._spec import find_dataset

    roots = dict.fromkeys(DATASETS, args.data)
    if args.data is None:
        roots = {n: str(twin_root(find_dataset(n), size="full")) for n in DATASETS}
    stores = {
        name: str(prepare(name, data=root, allow_partial=True).path)
        for name, root in roots.items()
    }
    if len(set(roots.values())) > 1:
        raise SystemExit("give one --data root that holds eegmat/ and eegmmidb/")
    seeds = list(range(args.seeds))
    values = {"lr": 1e-3, "weight_decay": 1e-2, "batch_size": 64}
    task = json.dumps([stores, args.epochs, seeds, values])
    times: dict[str, list[float]] = {"plain": [], "suite": []}
    records: list[dict] = []
    theirs: dict[str, list[float]] = {}
    for _ in range(args.rounds):
        started = time.perf_counter()
        out = subprocess.run(
            [sys.executable, __file__, "--plain", task],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        )
        times["plain"].append(time.perf_counter() - started)
        theirs = json.loads(out.stdout.splitlines()[-1])
        with tempfile.TemporaryDirectory() as runs:
            settings = [f"--set={key}={value}" for key, value in values.items()]
            command = [sys.executable, "-m", "eegfm_bench", "run", "--model", "eegnet"]
            command += ["--dataset", ",".join(DATASETS), "--seeds", str(args.seeds)]
            command += ["--epochs", str(args.epochs), "--data", str(args.data)]
            command += ["--allow-partial", "--runs", runs, "--json", *settings]
            started = time.perf_counter()
            out = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                check=True,
            )
            times["suite"].append(time.perf_counter() - started)
            records = json.loads(out.stdout)["records"]
    ours = {
        name: [
            r["scores"]["test"]["auroc"]
            for r in records
            if r["spec"]["dataset"]["name"] == name
        ]
        for name in DATASETS
    }
    ratios = [s / p for s, p in zip(times["suite"], times["plain"], strict=True)]
    fit = sum(r["cost"]["fit_s"] for r in records)
    rest = sum(r["cost"]["total_s"] - r["cost"]["fit_s"] for r in records)
    return {
        "epochs": args.epochs,
        "seeds": args.seeds,
        "windows": {n: r["cost"]["n_windows"] for n, r in _by_dataset(records).items()},
        "wall_s": times,
        "ratio_suite_to_plain": ratios,
        "test_auroc": {
            name: {
                side: {"mean": float(np.mean(s)), "sd": float(np.std(s, ddof=1))}
                for side, s in (("plain", theirs[name]), ("suite", ours[name]))
            }
            for name in DATASETS
        },
        "suite_cells_s": {"training": fit, "building, testing, scoring": rest},
    }


def _by_dataset(records: list[dict]) -> dict[str, dict]:
    return {r["spec"]["dataset"]["name"]: r for r in records}


def main() -> None:
    """Run one side alone, or compare both."""
    if sys.argv[1:2] == ["--plain"]:
        plain(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", help="a data root with eegmat/ and eegmmidb/")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", metavar="FILE", type=Path)
    args = parser.parse_args()
    found = compare(args)
    text = json.dumps(found, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
