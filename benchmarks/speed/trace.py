"""Time Trace's encoder beside its rivals: dense, routed token by token, CBraMod.

From: random windows (B, C, T) in µV. To: a table of windows per second, forward
alone and with backward, the time by operation, with ``--plot`` the cost against
channels and patches, and with ``--json`` a file with everything measured.

All networks take turns within one process, so that a busy machine slows all alike:
a ratio is the median over rounds of Trace's rate over the rival's in that round. With
one thread on a CPU time is the process's own, without what others took of the core.
Every network is its encoder and one linear layer on the mean hidden state; the
published head on all hidden states would be larger than the encoder and drown it.

- ``dense``: routing=none, one SwiGLU so wide that operations are Trace's.
- ``token``: the same experts, chosen by each token for itself.
- ``plain``: Trace's own weights and numbers in the plain way: a loop over experts,
  and a TemporalFormer in which every query attends to all tokens before each step.
  ``looped`` and ``unfolded`` are one of the two alone.
- ``deep``, ``broad``: braindecode's CBraMod at Trace's operations, within 5 %: of its
  own width 200 and more layers, or of its own 12 layers and wider. No dropout.

Fresh selectors answer every step alike, so that four experts would do all the work
in a few large products; ``--choices spread`` (the default) adds noise to the
selector, so that every block meets experts of its own.

The floor is what the multiplications would take at the machine's fastest matrix
product, measured once a round. CBraMod's operations are counted by torch's
FlopCounterMode: products, convolutions and attention, not norms, activations,
softmax, additions or the Fourier transform; Trace's are ``cost.operations``, which
counts the same things. A backward pass counts twice its forward.

    python benchmarks/speed/trace.py --plot benchmarks/speed/trace_cost.svg
    python benchmarks/speed/trace.py --shapes 16x10 --rivals dense --json trace.json

Beside a GPU (``--device cuda``) all run there, under bfloat16 autocast and in larger
batches; ``--compile`` compiles them, and the share of the card's peak is shown
(``--peak-tflops`` for a card that is not listed). That part has not been run yet.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from trace_rivals import (
    N_CLASSES,
    PATCH,
    Pooled,
    cbramod_of_equal_cost,
    counted,
    made_plain,
    spread_choices,
    trace,
)

from eegfm_bench.models.trace.config import TraceConfig, config_at
from eegfm_bench.models.trace.cost import parameters, total_operations

KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
SHAPES = ("16x10", "64x4", "6x30", "19x30")
PROFILED = ("16x10", "64x4")
RIVALS = ("dense", "token", "plain", "deep", "broad")
CHANNELS = (4, 8, 16, 32, 64, 128)  # at 10 patches
PATCHES = (1, 2, 5, 10, 20, 40, 60)  # at 16 channels
PASSES = {"forward": 1, "both": 3}  # forward passes' worth of operations
# Dense bfloat16, from the maker's data sheets; a longer name before its beginning.
PEAK_TFLOPS = {
    "B200": 2250,
    "H200": 989,
    "H100 PCIe": 756,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "A10": 125,
}


class Bench:
    """The networks, the device they run on, and how a step of theirs is timed."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.device = torch.device(arguments.device)
        self.config = config_at("paper", {"layers": arguments.layers})
        self.models: dict[str, nn.Module] = {}
        self.gemm_per_s: list[float] = []
        is_cpu_time = arguments.clock == "cpu"
        self.clock = time.process_time if is_cpu_time else time.perf_counter

    def trace(self, C: int, P: int, routing: str = "trace") -> Pooled:
        """Build Trace for a shape."""
        model = trace(self.config.with_options({"routing": routing}), C, P)
        if self.arguments.choices == "spread":
            spread_choices(model)
        return model

    def rival(self, name: str, C: int, P: int) -> tuple[nn.Module, int, str]:
        """Build a network; return it, its operations a window, and its measures."""
        if name == "trace":
            return self.trace(C, P), total_operations(self.config, C, P), ""
        if name in ("plain", "looped", "unfolded"):
            model = made_plain(self.models["trace"], name)
            return model, total_operations(self.config, C, P), "same weights"
        if name in ("deep", "broad"):
            wanted = total_operations(self.config, C, P)
            found, said = cbramod_of_equal_cost(name, C, P, wanted)
            return found, counted(found, C, P), said
        model = self.trace(C, P, "none" if name == "dense" else "token")
        config = model.encoder.config
        said = f"inner {config.dense_width}" if name == "dense" else ""
        return model, total_operations(config, C, P), said

    def use(self, name: str, C: int, P: int) -> tuple[int, str]:
        """Build a network and keep it under its name."""
        model, operations, said = self.rival(name, C, P)
        model = model.to(self.device)
        self.models[name] = model
        if self.arguments.compile:
            model.compile()
        return operations, said

    def batch(self, C: int, P: int, at_most: int) -> Tensor:
        """Return windows: no more than asked for, nor than ``--tokens`` allow."""
        n = max(1, min(at_most, self.arguments.tokens // (C * P)))
        generator = torch.Generator().manual_seed(0)
        return 20 * torch.randn(n, C, P * PATCH, generator=generator).to(self.device)

    def step(self, name: str, passes: str, x: Tensor) -> Tensor:
        """Run a network once; return the logits."""
        model = self.models[name]
        model.train(passes == "both")
        low = (
            torch.autocast("cuda", torch.bfloat16)
            if self.device.type == "cuda"
            else contextlib.nullcontext()
        )
        if passes == "forward":
            with torch.no_grad(), low:
                return model(x)
        model.zero_grad()
        with low:
            logits = model(x)
            y = torch.arange(len(x), device=x.device) % N_CLASSES
            loss = F.cross_entropy(logits, y)
        loss.backward()
        return logits.detach()

    def seconds(self, function: Callable[[], Any]) -> float:
        """Time one call, by the clock that ``--clock`` names."""
        self._wait()
        started = self.clock()
        function()
        self._wait()
        return self.clock() - started

    def measure_product(self) -> None:
        """Note the machine's matrix product, as fast as it is now."""
        is_gpu = self.device.type == "cuda"
        n, dtype = (8192, torch.bfloat16) if is_gpu else (1024, torch.float32)
        a = torch.randn(n, n, device=self.device, dtype=dtype)
        fastest = min(self.seconds(lambda: a @ a) for _ in range(6))
        self.gemm_per_s.append(2 * n**3 / fastest)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def measure_shape(bench: Bench, text: str) -> Iterator[dict[str, Any]]:
    """Measure all networks at one shape, in turns; yield a row for each and pass."""
    C, P = (int(n) for n in text.split("x"))
    arguments = bench.arguments
    names = ["trace", *arguments.rivals]
    about = {name: bench.use(name, C, P) for name in names}
    x = bench.batch(C, P, arguments.batch)
    own = bench.step("trace", "forward", x)
    for name in {"plain", "looped", "unfolded"} & set(names):
        off = (bench.step(name, "forward", x) - own).abs().max().item()
        if off > (1e-4 if bench.device.type == "cpu" else 0.1):
            sys.exit(f"{name} differs from trace by {off:.2g} at {text}")
    times: dict[tuple[str, str], list[float]] = {}
    memory: dict[tuple[str, str], float] = {}
    for round_ in range(arguments.rounds + 1):
        bench.measure_product()
        for name in names if round_ % 2 else names[::-1]:
            for passes in PASSES:
                if round_ == 0 and passes == "forward":
                    continue
                if bench.device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                took = bench.seconds(
                    lambda name=name, passes=passes: bench.step(name, passes, x)
                )
                if round_ > 0:
                    times.setdefault((name, passes), []).append(took)
                if bench.device.type == "cuda":
                    memory[name, passes] = torch.cuda.max_memory_allocated() / 1e9
            # Gradients of several such networks at once would fill the memory.
            bench.models[name].zero_grad()
    for passes, worth in PASSES.items():
        for name in names:
            mine, traces = times[name, passes], times["trace", passes]
            operations, said = about[name]
            yield {
                "shape": text,
                "model": name,
                "measures": said,
                "pass": passes,
                "batch": len(x),
                "median_ms": 1e3 * statistics.median(mine),
                "fastest_ms": 1e3 * min(mine),
                "windows_per_s": len(x) / statistics.median(mine),
                # Trace's rate as a part of this one's: above 1 Trace is faster.
                "trace_over_this": statistics.median(
                    m / t for m, t in zip(mine, traces, strict=True)
                ),
                "trace_over_this_fastest": min(mine) / min(traces),
                "gflop_a_window": operations / 1e9,
                "gflop": worth * len(x) * operations / 1e9,
                "memory_gb": memory.get((name, passes)),
            }


def shares(bench: Bench, passes: str, x: Tensor) -> dict[str, float]:
    """Return the share of Trace's time that each of its longest operations takes."""
    activities = [ProfilerActivity.CPU]
    field = "self_cpu_time_total"
    if bench.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
        field = "self_device_time_total"
    bench.step("trace", passes, x)
    with profile(activities=activities) as profiler:
        bench.step("trace", passes, x)
    bench.models["trace"].zero_grad()
    took = {e.key: getattr(e, field) for e in profiler.key_averages()}
    total = sum(took.values())
    longest = sorted(took, key=lambda key: -took[key])[:12]
    return {key.removeprefix("aten::"): took[key] / total for key in longest}


def measure_curves(bench: Bench) -> list[dict[str, Any]]:
    """Measure Trace's forward pass over channels and over patches."""
    names = ("trace", "plain")
    for name in names:
        bench.use(name, 16, 10)
    points = [("channels", C, 10) for C in CHANNELS]
    points += [("patches", 16, P) for P in PATCHES]
    times: dict[tuple[str, int, int, str], list[float]] = {}
    for name in names:
        bench.step(name, "forward", bench.batch(16, 10, 4))
    for _ in range(2):
        bench.measure_product()
        for along, C, P in points:
            # About as many tokens each time: a small batch would show the weights.
            x = bench.batch(C, P, max(1, 640 // (C * P)))
            for name in names:
                took = bench.seconds(
                    lambda name=name, x=x: bench.step(name, "forward", x)
                )
                times.setdefault((along, C, P, name), []).append(took / len(x))
    return [
        {
            "along": along,
            "channels": C,
            "patches": P,
            **{f"{n}_ms": 1e3 * min(times[along, C, P, n]) for n in names},
            "gflop": total_operations(bench.config, C, P) / 1e9,
        }
        for along, C, P in points
    ]


def plot(curves: list[dict[str, Any]], gemm_per_s: float, file: Path) -> None:
    """Draw time a window over channels and over patches, beside the operations."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "trace"
    from matplotlib import pyplot as plt

    figure, both = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, along, beside in zip(
        both, ("channels", "patches"), ("10 patches", "16 channels"), strict=True
    ):
        rows = [row for row in curves if row["along"] == along]
        n = [row[along] for row in rows]
        giga_a_ms = gemm_per_s / 1e12
        floor = [row["gflop"] / giga_a_ms for row in rows]
        for name, key, style, colour in (
            ("plain: looped experts, unfolded history", "plain_ms", "s-", "#a0a0a0"),
            ("Trace", "trace_ms", "o-", "#0b5394"),
        ):
            ms = [row[key] for row in rows]
            axis.plot(n, ms, style, color=colour, label=name)
        said = "operations (right) at the matrix product's rate"
        axis.plot(n, floor, "--", color="#cc4125", label=said)
        unit = "" if along == "channels" else " (1 s each)"
        axis.set_xlabel(f"{along}{unit}, at {beside}")
        axis.set_ylabel("forward pass, ms a window")
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        right = axis.secondary_yaxis(
            "right",
            functions=(lambda ms, g=giga_a_ms: ms * g, lambda go, g=giga_a_ms: go / g),
        )
        right.set_ylabel("GFLOP a window")
        axis.legend(loc="upper left", fontsize=8)
    figure.suptitle(
        f"Cost of Trace's encoder (matrix product: {gemm_per_s / 1e9:.0f} GFLOP/s)",
        fontsize=11,
    )
    metadata = {"Date": None} if file.suffix == ".svg" else None
    figure.savefig(file, dpi=120, metadata=metadata)


def peak_of(bench: Bench) -> float | None:
    """Return the card's peak, operations a second, where it is known."""
    if bench.arguments.peak_tflops:
        return bench.arguments.peak_tflops * 1e12
    if bench.device.type != "cuda":
        return None
    card = torch.cuda.get_device_name()
    known = [tflops for name, tflops in PEAK_TFLOPS.items() if name in card]
    return 1e12 * known[0] if known else None


def show(found: dict[str, Any]) -> None:
    """Print the table, then where Trace's time goes."""
    print(
        f"{found['device']}, {found['threads']} threads, {found['clock']} time, "
        f"{found['dtype']}; Trace of "
        f"{found['layers']} layers, {found['weights'] / 1e6:.1f} M weights in the "
        f"encoder; matrix product {found['gflop_per_s']:.0f} GFLOP/s "
        f"(median of rounds {found['gflop_per_s_median']:.0f})"
    )
    print(
        f"{'shape':>6} {'pass':>8} {'model':>9} {'windows/s':>10} {'ms':>7} "
        f"{'fastest':>8} {'Trace/this':>10} {'of fastest':>10} {'GFLOP':>6} "
        f"{'floor ms':>9} {'reached':>8}"
    )
    for row in found["rows"]:
        extra = f"  {row['measures']}" if row["measures"] else ""
        if row["memory_gb"] is not None:
            extra += f"  {row['memory_gb']:.1f} GB"
        if found["peak_tflops"]:
            rate = row["gflop"] / row["fastest_ms"]
            extra += f"  {rate / found['peak_tflops']:.0%} of peak"
        print(
            f"{row['shape']:>6} {row['pass']:>8} {row['model']:>9} "
            f"{row['windows_per_s']:>10.2f} {row['median_ms']:>7.0f} "
            f"{row['fastest_ms']:>8.0f} {row['trace_over_this']:>10.2f} "
            f"{row['trace_over_this_fastest']:>10.2f} {row['gflop_a_window']:>6.2f} "
            f"{row['floor_ms']:>9.0f} {row['floor_ms'] / row['fastest_ms']:>8.0%}"
            f"{extra}"
        )
    for shape, each in found["shares"].items():
        for passes, parts in each.items():
            said = ", ".join(f"{k} {v:.1%}" for k, v in parts.items())
            print(f"\nTrace {shape} {passes}: {said}")


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), metavar="CxP")
    parser.add_argument(
        "--rivals",
        nargs="*",
        default=list(RIVALS),
        choices=[*RIVALS, "looped", "unfolded"],
    )
    parser.add_argument("--choices", choices=["spread", "own"], default="spread")
    parser.add_argument("--layers", type=int, default=TraceConfig().layers)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, help="windows at most (4; GPU: 64)")
    parser.add_argument("--tokens", type=int, help="tokens at most (1280; GPU: 65536)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=["cpu", "wall"])
    parser.add_argument("--plot", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--peak-tflops", type=float)
    arguments = parser.parse_args()
    if "MALLOC_MMAP_MAX_" not in os.environ:
        # glibc and OpenMP read these once, at the start of a process.
        once = {
            "OMP_NUM_THREADS": str(arguments.threads),
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        command = [sys.executable, *sys.argv]
        os.execve(sys.executable, command, os.environ | once | KEEP_MEMORY)
    is_gpu = arguments.device == "cuda"
    if is_gpu and not torch.cuda.is_available():
        sys.exit("--device cuda: torch finds none here.")
    arguments.batch = arguments.batch or (64 if is_gpu else 4)
    arguments.tokens = arguments.tokens or (65536 if is_gpu else 1280)
    alone = not is_gpu and arguments.threads == 1
    arguments.clock = arguments.clock or ("cpu" if alone else "wall")
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore", category=FutureWarning)

    started = time.perf_counter()
    bench = Bench(arguments)
    rows, parts = [], {}
    for text in arguments.shapes:
        rows += measure_shape(bench, text)
        if text in PROFILED:
            C, P = (int(n) for n in text.split("x"))
            x = bench.batch(C, P, arguments.batch)
            parts[text] = {passes: shares(bench, passes, x) for passes in PASSES}
        bench.models.clear()
    curves = measure_curves(bench) if arguments.plot else []
    rate = max(bench.gemm_per_s)
    for row in rows:
        row["floor_ms"] = 1e12 * row["gflop"] / rate
    peak = peak_of(bench)
    found = {
        "device": torch.cuda.get_device_name() if is_gpu else platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": arguments.threads,
        "clock": arguments.clock,
        "dtype": "bfloat16 autocast" if is_gpu else "float32",
        "layers": arguments.layers,
        "choices": arguments.choices,
        "weights": parameters(bench.config)["total"],
        "gflop_per_s": rate / 1e9,
        "gflop_per_s_median": statistics.median(bench.gemm_per_s) / 1e9,
        "peak_tflops": peak and peak / 1e12,
        "rows": rows,
        "shares": parts,
        "curves": curves,
        "seconds": time.perf_counter() - started,
    }
    show(found)
    print(f"\n{found['seconds']:.0f} s in all")
    if arguments.plot:
        plot(curves, rate, arguments.plot)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
