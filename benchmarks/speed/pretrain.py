"""Time pre-training: tokens a second, where a step goes, what waits, what is held.

From: the simulated twins of five sources, cut into real stores and read through the
real feed. To: a table of tokens per second, the split of a step into forward, backward
and optimisers, the share that waits for windows, the floor and how much of it is
reached, peak memory with and without ``--save-memory``, and where the time goes.

Steps are those of ``pretrain``: the same module, feed and loop. Both ways take turns in
one process, so that a busy machine slows both alike; on a processor with one thread
times are of the thread that computes, without what others took of the core. What waits
is measured by the clock on the wall. Memory, on a processor, is the peak of resident
memory above that of the imports, in a process of its own that hands back what is freed.

The floor is what the multiplications would take at the fastest product of the same
precision, measured once a round in the same process: three forward passes' worth of
the encoder and its heads (``cost.operations`` counts what torch's counter does), one
more of the blocks where memory is saved, and Muon's Newton-Schulz steps at bfloat16's
rate.

    python benchmarks/speed/pretrain.py [--scales small,paper] [--sources tueg,hbn,...]
    python benchmarks/speed/pretrain.py --scales paper --sources tueg --profile

A paper step of 73,000 tokens would take minutes on a processor: there micro-batches
are of ``--tokens`` (1,140) and ``--micro`` (2) make a step, which lets the optimisers,
a fixed cost a step, weigh more than they do on a GPU. ``--device cuda`` takes the
recipe's own, and has not been run.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch.profiler import ProfilerActivity, profile

from eegfm_bench.models.trace.cost import operations
from eegfm_bench.pretraining.asked import settings_of
from eegfm_bench.pretraining.corpus import open_corpus
from eegfm_bench.pretraining.feed import Feed
from eegfm_bench.pretraining.loop import _Each, _fit, draws_of, source_refs
from eegfm_bench.pretraining.module import PretrainModule, StepReport
from eegfm_bench.pretraining.muon import grouped, operations_of_step
from eegfm_bench.runs.pretrain import PretrainSpec
from eegfm_bench.training.provenance import (
    peak_memory_bytes,
    processor,
    reset_peak_memory,
)

SOURCES = ("tueg", "hbn", "eegmat", "eyes", "chbmit")
WAYS = {"plain": False, "saving": True}
PARTS = ("forward", "backward", "optimisers")
# As the verb starts its process (pretraining/launch.py), and to see what is held.
KEEPING = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}


class Bench:
    """A source at a scale: its spec and corpus, and steps of it both ways."""

    def __init__(self, scale: str, source: str, asked: argparse.Namespace) -> None:
        self.device = asked.device
        self.corpus: Any = open_corpus([source], exclude_scored_persons=True)
        given: dict[str, Any] = {}
        if scale == "paper" and self.device == "cpu":
            given = {"token_budget": asked.tokens, "micro_batches": asked.micro}
        settings = settings_of("causal", scale, given)
        self.spec = PretrainSpec(
            sources=source_refs(self.corpus),
            scale=scale,  # type: ignore[arg-type]
            options=settings.options,
            recipe=settings.recipe,
            steps=10**6,
        )
        self.step = 0
        is_alone = self.device == "cpu" and torch.get_num_threads() == 1
        self._clock = time.thread_time if is_alone else time.perf_counter
        self.spent = dict.fromkeys((*PARTS, "step"), 0.0)

    def module(self, *, saves_memory: bool) -> PretrainModule:
        """Return a module whose parts are timed."""
        module = PretrainModule(self.spec, saves_memory=saves_memory)
        made: Any = module  # whose methods are replaced
        made._asked = self._timed("forward", module._asked)
        made._backward = self._timed("backward", module._backward)
        made.training_step = self._timed("step", module.training_step)
        for optimizer in module.moves:
            optimizer.register_step_pre_hook(lambda *_: self._begin())
            optimizer.register_step_post_hook(lambda *_: self._end("optimisers"))
        return module

    def steps(self, module: PretrainModule, n: int) -> list[StepReport]:
        """Take some steps, the next ones of the draws; return their reports."""
        reports: list[StepReport] = []
        steps = range(self.step, self.step + n)
        with Feed(
            self.corpus,
            draws_of(self.spec),
            start=steps.start,
            stop=steps.stop,
            micro_batches=self.spec.recipe.micro_batches,
            pin=self.device == "cuda",
        ) as module.feed:
            each = _Each(lambda: reports.append(module.report))
            _fit(module, steps, self.device, 1, each)
        self.step += n
        return reports

    def measure_product(self, dtype: torch.dtype) -> float:
        """Return the rate of a matrix product, as fast as it is now."""
        n = 8192 if self.device == "cuda" else 1024
        a = torch.randn(n, n, device=self.device, dtype=dtype)
        taken = []
        for _ in range(6):
            started = self.now()
            a @ a
            taken.append(self.now() - started)
        return 2 * n**3 / min(taken)

    def operations(self, module: PretrainModule, tokens: int, way: str) -> float:
        """Return a step's operations without the optimisers'."""
        (source,) = self.spec.sources
        config = module.objective.encoder.config
        C, P = source.n_channels, source.n_patches
        each = operations(config, C, P)
        blocks = sum(each.values()) - each["patches"] - each["positions"]
        heads = sum(
            2 * config.dim * h * config.patch_len * C * max(P - h, 0)
            for h in self.spec.recipe.horizons or ()
        )
        worth = 3 * (sum(each.values()) + heads) + (blocks if WAYS[way] else 0)
        return worth * tokens / (C * P)

    def now(self) -> float:
        """Return the time, once all that was asked for is done."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return self._clock()

    def _begin(self) -> None:
        self._began = self.now()

    def _end(self, part: str) -> None:
        self.spent[part] += self.now() - self._began

    def _timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **more: Any) -> Any:
            began = self.now()
            found = call(*args, **more)
            self.spent[part] += self.now() - began
            return found

        return timed


def measure(scale: str, source: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Take steps both ways in turn; return rates, shares and the floor."""
    bench = Bench(scale, source, asked)
    modules = {way: bench.module(saves_memory=saves) for way, saves in WAYS.items()}
    n_steps = asked.steps if scale == "paper" else 4 * asked.steps
    for module in modules.values():  # the first step of each warms up
        bench.steps(module, 1)
    rounds: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    products: dict[torch.dtype, list[float]] = {torch.bfloat16: [], torch.float32: []}
    waited = wall = 0.0
    for round_ in range(asked.rounds):
        for dtype, rates in products.items():
            rates.append(bench.measure_product(dtype))
        for way in list(WAYS) if round_ % 2 else list(WAYS)[::-1]:
            bench.spent = dict.fromkeys(bench.spent, 0.0)
            reports = bench.steps(modules[way], n_steps)
            tokens = sum(r.tokens for r in reports)
            rounds[way].append({**bench.spent, "tokens": tokens})
            waited += sum(r.waited_s for r in reports[1:])
            wall += sum(r.seconds for r in reports[1:])
    half = bench.spec.recipe.precision == "bf16"
    of_model = max(products[torch.bfloat16 if half else torch.float32])
    groups = grouped(modules["plain"].objective)
    named = dict(modules["plain"].objective.named_parameters())
    muon = operations_of_step(
        [tuple(named[name].shape) for name in (*groups.matrices, *groups.stacks)],
        bench.spec.recipe.ns_steps,
    )
    found: dict[str, Any] = {"scale": scale, "source": source}
    (ref,) = bench.spec.sources
    found["shape"] = f"{ref.n_channels}×{ref.n_patches}"
    for way, spent in rounds.items():
        per_token = [r["step"] / r["tokens"] for r in spent]
        tokens = statistics.median(r["tokens"] for r in spent)
        floor_s = bench.operations(modules[way], int(tokens), way) / of_model
        floor_s += n_steps * muon / max(products[torch.bfloat16])
        total = sum(r["step"] for r in spent)
        found[way] = {
            "tokens_per_s": 1 / statistics.median(per_token),
            "tokens_a_step": tokens / n_steps,
            "reached": floor_s / tokens / min(per_token),
            **{part: sum(r[part] for r in spent) / total for part in PARTS},
        }
    found["time_ratio"] = statistics.median(
        (a["step"] / a["tokens"]) / (b["step"] / b["tokens"])
        for a, b in zip(rounds["saving"], rounds["plain"], strict=True)
    )
    found["waits"] = waited / wall if wall else 0.0
    found["gflop_per_s"] = {str(k): max(v) / 1e9 for k, v in products.items()}
    return found


def memory_of(scale: str, source: str, way: str, asked: argparse.Namespace) -> int:
    """Return the bytes held at most over two steps, in this process."""
    reset_peak_memory()
    if asked.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = 0 if asked.device == "cuda" else peak_memory_bytes("cpu")
    bench = Bench(scale, source, asked)
    bench.steps(bench.module(saves_memory=WAYS[way]), 2)
    return int(peak_memory_bytes(asked.device)) - before


def in_another_process(words: list[str], settings: dict[str, str]) -> Any:
    """Run this file anew with words; return what it said last, read as JSON."""
    ours = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [ours, os.environ.get("PYTHONPATH", "")]))
    quiet = {**os.environ, "PYTHONPATH": path, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], *words],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**quiet, **settings},
    )
    return json.loads(done.stdout.splitlines()[-1])


def show_profile(scale: str, source: str, asked: argparse.Namespace) -> None:
    """Print the operations that a step spends most on."""
    bench = Bench(scale, source, asked)
    module = bench.module(saves_memory=False)
    bench.steps(module, 1)
    is_gpu = asked.device == "cuda"
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_gpu else [])]
    with profile(activities=kinds) as profiler:
        bench.steps(module, 2)
    field = "self_device_time_total" if is_gpu else "self_cpu_time_total"
    events = [e for e in profiler.key_averages() if e.key.startswith("aten::")]
    total = sum(getattr(e, field) for e in events)
    longest = sorted(events, key=lambda e: -getattr(e, field))[:14]
    said = ", ".join(f"{e.key[6:]} {getattr(e, field) / total:.1%}" for e in longest)
    print(f"\n{scale} {source}, shares of a step: {said}", flush=True)


def show(found: dict[str, Any]) -> None:
    """Print a row."""
    plain, saving = found["plain"], found["saving"]
    held = found["bytes"]
    split = " / ".join(f"{plain[part]:.0%}" for part in PARTS)
    print(
        f"| {found['scale']} | {found['source']} {found['shape']} | "
        f"{plain['tokens_a_step']:,.0f} | {plain['tokens_per_s']:,.0f} | {split} | "
        f"{plain['reached']:.0%} | {found['waits']:.1%} | {held['plain'] >> 20:,} / "
        f"{held['saving'] >> 20:,} | {held['saving'] / held['plain']:.2f} | "
        f"{found['time_ratio']:.2f} | {saving['reached']:.0%} |",
        flush=True,
    )


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sources", default=",".join(SOURCES))
    parser.add_argument("--scales", default="small,paper")
    parser.add_argument("--tokens", type=int, default=1140)
    parser.add_argument("--micro", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2, help="a round (4 times small)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        sys.exit("--device cuda: torch finds none here.")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if asked.only:
        what, scale, source, way = asked.only.split(":")
        is_memory = what == "memory"
        found = memory_of(scale, source, way, asked) if is_memory else None
        print(json.dumps(found if is_memory else measure(scale, source, asked)))
        return
    name = torch.cuda.get_device_name() if asked.device == "cuda" else processor()
    print(f"{name}, torch {torch.__version__}, {torch.get_num_threads()} thread(s)\n")
    print(
        "| scale | source | tokens a step | tokens/s | forward / backward / optimisers "
        "| of the floor | waits | MiB, plain / saving | ratio | time, saving ÷ plain | "
        "of the floor |\n" + "|---" * 11 + "|"
    )
    for scale in asked.scales.split(","):
        for source in asked.sources.split(","):
            words = f"{scale}:{source}"
            found = in_another_process(["--only", f"time:{words}:"], KEEPING)
            found["bytes"] = {
                way: in_another_process(
                    ["--only", f"memory:{words}:{way}"], GIVING_BACK
                )
                for way in WAYS
            }
            show(found)
            if asked.profile:
                show_profile(scale, source, asked)
                gc.collect()
        rates = found["gflop_per_s"].items()
        said = ", ".join(f"{rate:,.0f} ({kind})" for kind, rate in rates)
        print(f"\nmatrix products of the last, GFLOP/s: {said}\n", flush=True)


if __name__ == "__main__":
    main()
