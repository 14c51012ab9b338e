"""Time EEGNet's training step: braindecode's order of stages against the exchanged.

From: random windows (B, C, T). To: a table of windows per second, forward and
backward, and with ``--json`` a file with everything measured.

Both orders alternate within one process, so that a busy machine slows both. Every
number of threads is timed twice, in processes of their own: with glibc as it comes,
which gives large blocks back to the kernel at every step, and with the settings the
suite's workers are started with, which keep them. The floor is what the
multiplications of an order would take at the machine's fastest matrix product, or
one reading of the input at its fastest sum, whichever is longer; elementwise stages
(batch norm, ELU, pooling, dropout) are in neither.

    python benchmarks/speed/eegnet.py
    python benchmarks/speed/eegnet.py --shapes 64x800 --threads 1 --json speed.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHAPES = ("64x800", "20x1000", "16x2000", "6x6000")
ORDERS = ("plain", "factored")
KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
# EEGNet-8,2 with braindecode's kernels and first pooling.
N_FILTERS, N_ROWS, N_TAPS, N_TAPS_2, POOL = 8, 16, 64, 16, 4


def flops(order: str, B: int, C: int, T: int) -> float:
    """Count additions and multiplications of a training step's linear stages.

    A weight's gradient costs what the forward pass does, and so does an input's;
    the windows themselves need none.
    """
    U = T + 1
    rest = 3 * 2 * B * N_ROWS * (U // POOL) * (N_TAPS_2 + N_ROWS)
    if order == "plain":
        time_first = 2 * 2 * B * N_FILTERS * C * U * N_TAPS
        return time_first + 3 * 2 * B * N_ROWS * C * U + rest
    n = T + N_TAPS - 1
    transform = 2.5 * n * math.log2(n)
    transforms = B * (C + 2 * N_ROWS) * transform
    space_first = 2 * 2 * B * N_ROWS * C * n
    response = 3 * 6 * B * N_ROWS * n / 2
    power = 2 * B * C * n
    return transforms + space_first + response + power + rest


def worker(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure all shapes in this process."""
    import torch

    from eegfm_bench.models._spec import build

    torch.set_num_threads(arguments.threads[0])
    torch.manual_seed(0)
    a = torch.randn(1024, 1024)
    seconds = fastest_s(lambda: a @ a, 20)
    flops_per_s = 2 * 1024**3 / seconds
    big = torch.randn(1 << 25)
    bytes_per_s = big.nbytes / fastest_s(big.sum, 10)

    rows = []
    for text in arguments.shapes:
        C, T = (int(n) for n in text.split("x"))
        x = 15 * torch.randn(arguments.batch, C, T)
        y = torch.arange(len(x)) % 2
        models = {}
        for order in ORDERS:
            torch.manual_seed(0)
            channels = [f"c{i}" for i in range(C)]
            model = build(
                "eegnet", channels=channels, n_times=T, rate_hz=200.0, n_classes=2
            )
            model.is_factored = order == "factored"
            models[order] = model

        def step(order: str, models: dict = models, x=x, y=y) -> None:
            models[order].zero_grad()
            torch.nn.functional.cross_entropy(models[order](x), y).backward()

        times = alternate(step, arguments.rounds)
        for order in ORDERS:
            n_flops = flops(order, *x.shape)
            rows.append(
                {
                    "shape": text,
                    "order": order,
                    "step_ms": 1e3 * statistics.median(times[order]),
                    "fastest_ms": 1e3 * min(times[order]),
                    "windows_per_s": len(x) / statistics.median(times[order]),
                    "gflop": n_flops / 1e9,
                    "input_mb": x.nbytes / 1e6,
                    "floor_ms": 1e3
                    * max(n_flops / flops_per_s, x.nbytes / bytes_per_s),
                    "shares": shares(lambda order=order: step(order)),
                }
            )
    return {
        "gflop_per_s": flops_per_s / 1e9,
        "gb_per_s": bytes_per_s / 1e9,
        "rows": rows,
    }


def alternate(step: Callable[[str], None], rounds: int) -> dict[str, list[float]]:
    """Time one plain step and three factored ones in turn, after a warm-up."""
    times: dict[str, list[float]] = {order: [] for order in ORDERS}
    for round_ in range(rounds + 1):
        for order, repeats in zip(ORDERS, (1, 3), strict=True):
            for _ in range(repeats):
                started = time.perf_counter()
                step(order)
                if round_ > 0:
                    times[order].append(time.perf_counter() - started)
    return times


def fastest_s(function: Callable[[], Any], n: int) -> float:
    """Return the seconds of the fastest of n calls, after one that is not counted."""
    function()
    times = []
    for _ in range(n):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def shares(step: Callable[[], None]) -> dict[str, float]:
    """Return the share of a step's time that each of its longest operations takes."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(3):
            step()
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    longest = sorted(events, key=lambda e: -e.self_cpu_time_total)[:8]
    return {
        e.key.removeprefix("aten::"): e.self_cpu_time_total / total for e in longest
    }


def in_process(arguments: argparse.Namespace, n_threads: int, keeps: bool) -> Any:
    """Run the worker in a process with its own settings of glibc and threads."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    environment |= KEEP_MEMORY if keeps else {}
    environment["OMP_NUM_THREADS"] = str(n_threads)
    command = [sys.executable, __file__, "--worker", "--threads", str(n_threads)]
    command += ["--batch", str(arguments.batch), "--rounds", str(arguments.rounds)]
    command += ["--shapes", *arguments.shapes]
    # The profiler announces every start and stop on standard error.
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def show(measured: list[dict[str, Any]], batch: int) -> None:
    """Print the table, then where the time goes."""
    print(f"EEGNet-8,2, forward and backward, batches of {batch} windows, float32")
    print(
        f"{'threads':>7} {'memory':>8} {'shape':>8} {'order':>9} {'windows/s':>10} "
        f"{'ms':>7} {'GFLOP':>6} {'MB in':>6} {'floor ms':>9} {'x':>5}"
    )
    for m in measured:
        memory = "kept" if m["keeps_memory"] else "returned"
        plain_ms = 0.0
        for row in m["rows"]:
            plain_ms = row["step_ms"] if row["order"] == "plain" else plain_ms
            print(
                f"{m['threads']:>7} {memory:>8} {row['shape']:>8} {row['order']:>9} "
                f"{row['windows_per_s']:>10.0f} {row['step_ms']:>7.1f} "
                f"{row['gflop']:>6.2f} {row['input_mb']:>6.1f} "
                f"{row['floor_ms']:>9.1f} {plain_ms / row['step_ms']:>5.1f}"
            )
    for m in measured:
        if m["keeps_memory"] and m["threads"] == measured[0]["threads"]:
            rates = f"{m['gflop_per_s']:.0f} GFLOP/s, {m['gb_per_s']:.0f} GB/s"
            print(f"\nMachine, {m['threads']} threads: {rates}. Time by operation:")
            for row in m["rows"]:
                parts = ", ".join(f"{k} {v:.0%}" for k, v in row["shares"].items())
                print(f"  {row['shape']:>8} {row['order']:>9}: {parts}")


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), metavar="CxT")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(worker(arguments)))
        return
    measured = [
        {"threads": n, "keeps_memory": keeps, **in_process(arguments, n, keeps)}
        for n in arguments.threads
        for keeps in (False, True)
    ]
    show(measured, arguments.batch)
    if arguments.json:
        machine = {
            "processor": platform.processor(),
            "python": platform.python_version(),
        }
        found = {"machine": machine, "batch": arguments.batch, "measured": measured}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
