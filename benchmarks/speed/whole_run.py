"""CBraMod fine-tuned on EEGMAT by its public script, and by the suite.

From: a checkout of CBraMod and a data root. To: wall time per epoch, peak memory and
scores of both, for ``models.py --whole-run``.

Both see the same windows in the same parts: the suite's are written to the LMDB that
the script reads, in its own format. Both start from random weights, train for the same
epochs at batch 64 on the same processors, validate after each, and test once. The
script runs as it is, in a process of its own; where there is no GPU, what it sends to
one stays where it is. An epoch's time is that between its lines of output, the first
counted from the first step on; the suite's is its training time over the epochs. Peak
memory is the process's, all it imports included.

The script's own choices remain: seed 3407, no class weights, a learning rate of 1e-4
for the encoder and 5e-4 for the head; the suite's are in its record, and shown.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

EPOCH = re.compile(
    r"Epoch (\d+) : .*acc: ([\d.]+), pr_auc: ([\d.]+), roc_auc: ([\d.]+)"
)
TEST = re.compile(
    r"Test Evaluation: acc: ([\d.]+), pr_auc: ([\d.]+), roc_auc: ([\d.]+)"
)
METRICS = ("balanced_accuracy", "auc_pr", "auroc")
PATCH = 200

# Run before the script: its data loader announces the first step, without a GPU
# everything that is sent to one stays, and its three parts share one open database,
# which newer versions of lmdb refuse to open thrice.
START = """
import functools, lmdb, runpy, sys, torch
lmdb.open = functools.cache(lmdb.open)
from torch.utils.data import DataLoader
sys.path.insert(0, sys.argv[1])
sys.argv = sys.argv[2:]
if not torch.cuda.is_available():
    torch.Tensor.cuda = lambda self, *_, **__: self
    torch.nn.Module.cuda = lambda self, *_, **__: self
    torch.cuda.set_device = lambda *_: None
batches = DataLoader.__iter__
def announced(self):
    DataLoader.__iter__ = batches
    print("First step", flush=True)
    return batches(self)
DataLoader.__iter__ = announced
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def write_lmdb(store: Any, folder: Path) -> dict[str, int]:
    """Write a store's windows as the script's preparation does; count the parts."""
    import lmdb

    labels = store.index["label"].to_numpy()
    keys: dict[str, list[str]] = {}
    size = 4 * store.x.size * 8
    with lmdb.open(str(folder), map_size=size) as database:
        for part in ("train", "val", "test"):
            keys[part] = [f"{part}-{row}" for row in store.rows(part)]
            with database.begin(write=True) as writing:
                for key, row in zip(keys[part], store.rows(part), strict=True):
                    x_CT = store.x[row].astype("float64")
                    sample = x_CT.reshape(len(x_CT), -1, PATCH)
                    pair = {"sample": sample, "label": int(labels[row])}
                    writing.put(key.encode(), pickle.dumps(pair))
        with database.begin(write=True) as writing:
            writing.put(b"__keys__", pickle.dumps(keys))
    return {part: len(found) for part, found in keys.items()}


def reference_run(
    checkout: Path, windows: Path, arguments: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """Run the public script; read its output as it comes."""
    script = checkout.resolve() / "finetune_main.py"
    options = {
        "--epochs": arguments.epochs,
        "--cuda": 0,
        "--downstream_dataset": "MentalArithmetic",
        "--datasets_dir": windows,
        "--num_of_classes": 2,
        "--model_dir": folder / "reference",
        # The script reads any text as true but the empty one.
        "--use_pretrained_weights": "",
    }
    command = [sys.executable, "-u", "-W", "ignore", "-c", START, str(script.parent)]
    command += [str(script), *(str(word) for pair in options.items() for word in pair)]
    ticks, found = [], {"val": {}, "test": {}}
    started = time.perf_counter()
    with (folder / "reference.log").open("w") as log:
        process = _started(command, arguments, stderr=log)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("First step"):
                ticks.append(time.perf_counter())
            elif match := EPOCH.search(line):
                ticks.append(time.perf_counter())
                found["val"] = _better(found["val"], _scores(match.groups()[1:]))
            elif match := TEST.search(line):
                found["test"] = _scores(match.groups())
        taken = _ended(process)
    if not found["test"]:
        tail = (folder / "reference.log").read_text()[-2000:]
        raise SystemExit(f"The reference's script did not end with scores:\n{tail}")
    epochs = [b - a for a, b in itertools.pairwise(ticks)]
    return {
        "wall_s": time.perf_counter() - started,
        "epoch_s": sum(epochs) / len(epochs),
        "epochs_s": epochs,
        **taken,
        "scores": found,
    }


def suite_run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the suite's command; read its record."""
    command = [sys.executable, "-m", "eegfm_bench", "run", "--model", "cbramod"]
    command += ["--dataset", "eegmat", "--epochs", str(arguments.epochs)]
    command += ["--seeds", "1", "--jobs", "1", "--json", "--runs", str(folder / "runs")]
    command += [
        "--device",
        arguments.device,
        "--set",
        f"precision={arguments.precision}",
    ]
    command += ["--yes"]
    if arguments.data is not None:
        command += ["--data", arguments.data, "--allow-partial"]
    started = time.perf_counter()
    with (folder / "suite.log").open("w") as log:
        process = _started(command, arguments, stderr=log)
        assert process.stdout is not None
        out = process.stdout.read()
        taken = _ended(process)
    wall_s = time.perf_counter() - started
    record = json.loads(out)["records"][0]
    if record.get("failure"):
        raise SystemExit(f"The suite's run failed: {record['failure']}")
    return {
        "wall_s": wall_s,
        "epoch_s": record["cost"]["fit_s"] / arguments.epochs,
        **taken,
        "scores": {
            part: {name: record["scores"][part][name] for name in METRICS}
            for part in ("val", "test")
        },
        "recipe": record["spec"]["recipe"],
    }


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run both, the script first; return all that was measured."""
    from eegfm_bench.datasets._prepare import prepare

    store = prepare("eegmat", data=arguments.data, allow_partial=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        windows = folder / "windows"
        windows.mkdir()
        counts = write_lmdb(store, windows)
        reference = reference_run(arguments.whole_run, windows, arguments, folder)
        suite = suite_run(arguments, folder)
    return {
        "dataset": "eegmat",
        "data": "given" if arguments.data else "simulated",
        "windows": counts,
        "epochs": arguments.epochs,
        "threads": arguments.threads,
        "reference": reference,
        "suite": suite,
        "ratio_epoch": reference["epoch_s"] / suite["epoch_s"],
        "ratio_memory": suite["peak_mib"] / reference["peak_mib"],
    }


def show_whole(found: dict[str, Any]) -> None:
    """Print both sides."""
    print(
        f"CBraMod on EEGMAT ({found['data']}; windows {found['windows']}), "
        f"{found['epochs']} epochs, {found['threads']} threads"
    )
    for side in ("reference", "suite"):
        about = found[side]
        scores = ", ".join(
            f"{part} {name} {value:.3f}"
            for part, values in about["scores"].items()
            for name, value in values.items()
            if value is not None
        )
        print(
            f"{side:10} {about['epoch_s']:8.1f} s an epoch, {about['wall_s']:8.1f} s "
            f"in all ({about['processor_s']:.1f} s of processors), "
            f"{about['peak_mib']:6.0f} MiB; {scores}"
        )
    print(
        f"the suite's epochs are {found['ratio_epoch']:.2f} times as fast, with "
        f"{found['ratio_memory']:.2f} of the memory"
    )
    print(f"the suite's recipe: {found['suite']['recipe']}")


def _started(
    command: list[str], arguments: argparse.Namespace, **more: Any
) -> subprocess.Popen[str]:
    """Start a command on as many processors as threads were asked for."""
    cores = sorted(os.sched_getaffinity(0))[: arguments.threads]
    threads = {f"{k}_NUM_THREADS": str(len(cores)) for k in ("OMP", "MKL")}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | threads,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
        **more,
    )


def _ended(process: subprocess.Popen[str]) -> dict[str, float]:
    """Wait for a process; return what it and its children took at most, and in all."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "peak_mib": usage.ru_maxrss / 1024,
        "processor_s": usage.ru_utime + usage.ru_stime,
    }


def _scores(values: tuple[str, ...]) -> dict[str, float]:
    return dict(zip(METRICS, map(float, values), strict=True))


def _better(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    """Return the scores of the epoch that is chosen: the higher AUROC."""
    return other if not one or other["auroc"] > one["auroc"] else one
