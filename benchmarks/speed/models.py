r"""Training windows per second and peak memory of every model at every shape.

From: random windows (B, C, T) in µV. To: a table, and with ``--json`` a file with
everything measured.

    python benchmarks/speed/models.py --scale small
    python benchmarks/speed/models.py --models cbramod,biot --shapes 16x2000,64x800 \
        --reference cbramod=CHECKOUT --reference biot=CHECKOUT --precision bf16
    python benchmarks/speed/models.py --whole-run CHECKOUT --data ROOT --epochs 2

A step is forward, backward and AdamW, of the suite's models as the suite trains them
(batches in pieces where a model asks for them, AdamW in one pass), of references with
torch's defaults, as their scripts have it; of models whose head is solved for, or that
only count labels, it is the features alone. Every measurement is a process of its own,
forked from one that has imported everything, so that its peak of memory is its own:
what was resident after the imports, which all share, is taken off. In a round every
model, and every reference, has its turn before the next round; printed is the median
over rounds. With one thread on a processor, time is the process's own, without what
others took of the core.

The floor is what the counted operations (thrice, with backward) would take at the
fastest matrix product of the same threads and precision in this sitting. Not counted
are norms, activations, softmax, additions and Fourier transforms.

``--reference NAME=PATH`` builds biot, labram or cbramod from a checkout of its public
code, published configuration, same batch and threads, in the same rounds; the ratio is
the suite's rate over the reference's, round by round: **above 1 the suite is faster**.

``--whole-run PATH`` runs CBraMod's public fine-tuning script on the suite's EEGMAT
windows (see ``whole_run.py``), and the suite's own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
# Channels x time points at 200 Hz, as the datasets cut them.
SHAPES = (
    *("20x1000", "64x800", "64x600", "62x200", "32x2000", "32x800"),
    *("16x2000", "16x1000", "6x6000"),
)
MATMUL = 1024
MIB = 1 << 20


def measure(arguments: argparse.Namespace, name: str, shape_name: str) -> dict:
    """Build one model in this process and time its steps.

    Returns windows per second, peak memory in MiB beyond what was resident before the
    model was built, weights, and operations of a window; or why there is none.
    """
    import torch

    from eegfm_bench.models._size import size_of
    from eegfm_bench.models._spec import InputShape, find_model
    from eegfm_bench.training.provenance import peak_memory_bytes

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    n_channels, n_times = map(int, shape_name.split("x"))
    shape = InputShape(
        channels=tuple(f"E{c + 1}" for c in range(n_channels)),
        n_times=n_times,
        rate_hz=200.0,
        n_classes=arguments.classes,
    )
    resident = peak_memory_bytes("cpu")
    is_trained, flops = True, None
    if name.startswith("reference "):
        from model_references import build_reference

        key = name.removeprefix("reference ")
        model = build_reference(key, arguments.reference[key], shape)
    else:
        known = find_model(name)
        model = known.build(shape, scale=arguments.scale)
        is_trained = known.trained_by == "gradient"
    model = model.to(arguments.device)
    is_ours = not name.startswith("reference ")
    step = _step(model, shape, arguments, is_trained, is_ours=is_ours)
    step()  # the first one allocates
    clock = _clock(arguments)
    started, n_steps = clock(), 0
    while n_steps < arguments.steps or (
        clock() - started < arguments.seconds and n_steps < 100 * arguments.steps
    ):
        step()
        n_steps += 1
    seconds = clock() - started
    peak = peak_memory_bytes(arguments.device)
    if not name.startswith("reference "):
        flops = size_of(model, shape).flops * (3 if is_trained else 1)
    return {
        "windows_per_s": n_steps * arguments.batch / seconds,
        "memory_mib": (peak - (resident if arguments.device == "cpu" else 0)) / MIB,
        "weights": sum(p.numel() for p in model.parameters()),
        "flops": flops,
        "is_trained": is_trained,
    }


def _step(
    model: Any,
    shape: Any,
    arguments: argparse.Namespace,
    is_trained: bool,
    *,
    is_ours: bool,
) -> Callable[[], None]:
    """Return one step of training, or of taking features.

    The suite's models are trained as the suite does it: in pieces where a model asks
    for them, and with the weights' step in one pass.
    """
    import torch
    from torch.nn import functional as F

    from eegfm_bench.training.pieces import loss_in_pieces

    B, device = arguments.batch, arguments.device
    x = 20 * torch.randn(B, shape.n_channels, shape.n_times, device=device)
    y = torch.arange(B, device=device) % shape.n_classes
    is_bf16 = arguments.precision == "bf16"
    loss_of = getattr(model, "loss", None)
    is_in_pieces = (getattr(model, "windows_at_once", None) or B) < B

    def features() -> None:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, is_bf16):
            model.features(x)

    if not is_trained:
        model.eval()
        return features
    model.train()
    fused = {"fused": True} if is_ours else {}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, **fused)

    def criterion(logits: Any, labels: Any) -> Any:
        return F.cross_entropy(logits.float(), labels)

    def training() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, is_bf16):
            if loss_of is not None:
                loss = loss_of(x, y, criterion)
            elif is_in_pieces:
                loss = loss_in_pieces(model, criterion, x, y)
            else:
                loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()

    return training


def matmul_flops(arguments: argparse.Namespace) -> float:
    """Return operations per second of one large matrix product."""
    import torch

    torch.set_num_threads(arguments.threads)
    kind = torch.bfloat16 if arguments.precision == "bf16" else torch.float32
    size = MATMUL if arguments.device == "cpu" else 8 * MATMUL
    a = torch.randn(size, size, device=arguments.device).to(kind)
    clock, best = _clock(arguments), float("inf")
    for _ in range(8):
        started = clock()
        a @ a
        best = min(best, clock() - started)
    return 2 * size**3 / best


def _clock(arguments: argparse.Namespace) -> Callable[[], float]:
    if arguments.device == "cuda":
        import torch

        def clock() -> float:
            torch.cuda.synchronize()
            return time.perf_counter()

        return clock
    return time.process_time if arguments.threads == 1 else time.perf_counter


def alone(task: Callable[..., Any], *given: Any) -> Any:
    """Run a function in a process of its own; return its answer, or what went wrong."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def child() -> None:
        warnings.simplefilter("ignore")
        try:
            answer = task(*given)
        except Exception as error:  # whatever a model or a reference may raise
            answer = {"failed": f"{type(error).__name__}: {str(error)[:200]}"}
        there.send(answer)

    process = context.Process(target=child)
    process.start()
    there.close()
    try:
        answer = here.recv()
    except EOFError:
        answer = {"failed": "the process was killed; perhaps memory ran out"}
    process.join()
    return answer


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Let all take turns; return everything measured, shape by shape."""
    names = [*arguments.models, *(f"reference {key}" for key in arguments.reference)]
    measured: dict[str, dict[str, list[dict]]] = {}
    matmul: list[float] = []
    for shape in arguments.shapes:
        at = measured[shape] = {name: [] for name in names}
        for i in range(arguments.rounds):
            answer = alone(matmul_flops, arguments)
            if isinstance(answer, float):
                matmul.append(answer)
            for name in names:
                if any("failed" in answer for answer in at[name]):
                    continue
                at[name].append(alone(measure, arguments, name, shape))
                sys.stderr.write(f"{shape}, round {i + 1}: {name}\n")
    fastest = max(matmul, default=float("nan"))
    return {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "threads": arguments.threads,
            "device": arguments.device,
            "precision": arguments.precision,
            "batch": arguments.batch,
            "matmul_gflops": fastest / 1e9,
        },
        "scale": arguments.scale,
        "shapes": {
            shape: {name: _summary(at, name, fastest) for name in names}
            for shape, at in measured.items()
        },
    }


def _summary(at: dict[str, list[dict]], name: str, fastest: float) -> dict:
    """Boil a model's rounds at one shape down to medians, floor and ratio."""
    rounds = at[name]
    failed = [answer["failed"] for answer in rounds if "failed" in answer]
    if failed:
        return {"failed": failed[0]}
    rates = [answer["windows_per_s"] for answer in rounds]
    found = {
        "windows_per_s": statistics.median(rates),
        "windows_per_s_rounds": rates,
        "memory_mib": statistics.median(answer["memory_mib"] for answer in rounds),
        "weights": rounds[0]["weights"],
        "is_trained": rounds[0]["is_trained"],
    }
    flops = rounds[0]["flops"]
    if flops:
        floor_ms = 1e3 * flops / fastest
        found["floor_ms"] = floor_ms
        found["floor_reached"] = floor_ms * found["windows_per_s"] / 1e3
    theirs = at.get(f"reference {name}")
    if theirs and not any("failed" in answer for answer in theirs):
        pairs = zip(rates, (a["windows_per_s"] for a in theirs), strict=True)
        found["ratio_to_reference"] = statistics.median(a / b for a, b in pairs)
        found["reference_weights"] = theirs[0]["weights"]
    return found


def show(found: dict[str, Any]) -> None:
    """Print a table for every shape."""
    machine = found["machine"]
    print(
        f"{found['scale']} scale, batch {machine['batch']}, {machine['threads']} "
        f"threads, {machine['precision']}, {machine['device']}; fastest product "
        f"{machine['matmul_gflops']:.0f} GFLOP/s"
    )
    for shape, at in found["shapes"].items():
        print(f"\n{shape}")
        print(
            f"{'':24}{'windows/s':>11}{'ms each':>9}{'floor ms':>10}{'reached':>9}"
            f"{'MiB':>8}{'weights':>13}{'÷ reference':>13}"
        )
        for name, row in at.items():
            if "failed" in row:
                print(f"{name:24}failed: {row['failed']}")
                continue
            floor, reached = row.get("floor_ms"), row.get("floor_reached")
            ratio = row.get("ratio_to_reference")
            rate = row["windows_per_s"]
            print(
                f"{name:24}{rate:11.1f}{1e3 / rate:9.2f}"
                + (f"{floor:10.3f}{reached:9.0%}" if floor else f"{'–':>10}{'–':>9}")
                + f"{row['memory_mib']:8.0f}{row['weights']:13,}"
                + (f"{ratio:13.2f}" if ratio else "")
                + ("" if row["is_trained"] else "  (features alone)")
            )


def _reference(text: str) -> tuple[str, Path]:
    from model_references import REFERENCES

    name, equals, path = text.partition("=")
    if not equals or name not in REFERENCES or not Path(path).is_dir():
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected NAME=PATH, NAME being one of {', '.join(REFERENCES)} "
            f"and PATH a folder"
        )
    return name, Path(path).resolve()


def parsed(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", default="all", help="M[,M2]; default: all")
    parser.add_argument("--shapes", default=",".join(SHAPES), help="CxT[,CxT]")
    parser.add_argument("--scale", choices=("paper", "small"), default="paper")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=("32", "bf16"), default="32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, help="default: 8 at small, 16 at paper")
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="timed, at least")
    parser.add_argument("--seconds", type=float, default=1.0, help="timed, about")
    parser.add_argument("--reference", action="append", type=_reference, default=[])
    parser.add_argument("--whole-run", type=Path, help="a checkout of CBraMod")
    parser.add_argument("--data", help="with --whole-run: the data root")
    parser.add_argument("--epochs", type=int, default=1, help="with --whole-run")
    parser.add_argument("--json", type=Path, help="write everything measured here")
    arguments = parser.parse_args(argv)
    arguments.reference = dict(arguments.reference)
    arguments.shapes = arguments.shapes.split(",")
    arguments.batch = arguments.batch or (8 if arguments.scale == "small" else 16)
    if arguments.models != "all":
        arguments.models = arguments.models.split(",")
    return arguments


def main() -> None:
    """Measure, print, and write."""
    arguments = parsed()
    threads = {f"{k}_NUM_THREADS": str(arguments.threads) for k in ("OMP", "MKL")}
    wanted = {**KEEP_MEMORY, **threads, "OMP_WAIT_POLICY": "PASSIVE"}
    if arguments.whole_run is not None:
        from whole_run import compare, show_whole

        found = compare(arguments)
        show_whole(found)
    else:
        if any(os.environ.get(key) != value for key, value in wanted.items()):
            os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | wanted)
        # All imports, once, before the first fork; no product is computed here, and
        # so no thread is started that a fork would lose.
        warnings.simplefilter("ignore")
        import lightning  # noqa: F401

        from eegfm_bench.models._braindecode import braindecode_models
        from eegfm_bench.models._size import size_of  # noqa: F401
        from eegfm_bench.models._spec import model_names
        from eegfm_bench.training import pieces  # noqa: F401
        from eegfm_bench.training.provenance import peak_memory_bytes  # noqa: F401

        braindecode_models()
        if arguments.models == "all":
            arguments.models = model_names()
        found = run(arguments)
        show(found)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
