"""What adapting costs: features kept against encoded every epoch, LoRA against all.

First, a linear head is trained for ten epochs on CBraMod's frozen features of the
simulated EEGMAT, once on cached features and once with the encoder run for every batch
of every epoch; both in this process, in turn, with the same order of windows. The plain
side is given the features' mean and deviation for nothing. Second, a step of full
fine-tuning beside one of LoRA, each in a process of its own: time with the workers'
settings of the allocator, and, in another process that hands everything large back at
once, the peak of resident memory above that of the imports.

    python benchmarks/speed/adapt.py [--rounds 2] [--scales small,paper]

About eight minutes and 7 GB of memory on one core. LoRA needs ``pip install
"eegfm-bench[lora]"``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor, nn

from eegfm_bench.batches import EEGDataModule
from eegfm_bench.datasets._prepare import dataset_ref, prepare
from eegfm_bench.models._probed import Probed, features_of
from eegfm_bench.models._spec import InputShape, find_model
from eegfm_bench.runs.spec import RunSpec, TrainingRecipe
from eegfm_bench.training.adapting import Frozen, encoder_tensors, n_trained
from eegfm_bench.training.features import cached_features
from eegfm_bench.training.fit import input_shape, seed_everything
from eegfm_bench.training.gradient import train_by_gradient
from eegfm_bench.training.lora import add_adapters
from eegfm_bench.training.metrics import score
from eegfm_bench.training.probe import Standardised, fit_probe, head_scores
from eegfm_bench.training.provenance import (
    peak_memory_bytes,
    processor,
    reset_peak_memory,
)
from eegfm_bench.training.whole import predict

HEAD = TrainingRecipe(epochs=10, batch_size=64, lr=1e-3, weight_decay=0.01)
N_STEPS, BATCH = 3, 16
# As workers are started (sweep/launch.py), and so that resident memory is what is held.
KEEPING = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}
SHAPE = InputShape(
    channels=tuple(f"E{c + 1}" for c in range(16)),
    n_times=2000,
    rate_hz=200.0,
    n_classes=2,
)
# The published heads see all tokens in a row and outweigh the encoders; pooled ones
# show what is left when they do not.
CASES = (
    ("cbramod", "patches"),
    ("cbramod", "pooled"),
    ("trace", "window"),
    ("trace", "pooled"),
)
LORA = {"lora_rank": 8, "lora_alpha": 16.0, "lora_dropout": 0.05}


class Encoding(nn.Module):
    """A head that has the frozen encoder run for every batch."""

    def __init__(self, encoder: nn.Module, standardised: Standardised) -> None:
        super().__init__()
        # Not a part of the state that is kept: the encoder never changes.
        self._encoder = [encoder]
        self.standardised = standardised
        self.head = standardised.head

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return logits (B, K) of windows (B, C, T) in µV."""
        logits_BK: Tensor = self.standardised(features_of(self._encoder[0], x_BCT))
        return logits_BK


def compare_probes(scale: str, rounds: int) -> None:
    """Time both ways to train a linear head, and compare what came out."""
    known = find_model("cbramod")
    store = prepare("eegmat", rate_hz=known.rate_hz)
    spec = RunSpec(
        dataset=dataset_ref(store),
        model="cbramod",
        scale=scale,  # type: ignore[arg-type]
        seed=0,
        adapt="probe",
        recipe=HEAD,
    )
    data = EEGDataModule(store, batch_size=HEAD.batch_size, seed=0)
    labels = data.labels("test")
    taken: dict[str, list[float]] = {"cached": [], "encoded": []}
    found: dict[str, Any] = {}
    for _ in range(rounds):
        seed_everything(0)
        shape = input_shape(store)
        probed = Probed(known.build(shape, scale=scale), shape)
        encoder = probed.encoder
        with tempfile.TemporaryDirectory() as cache:
            kept, os.environ["EEGFM_CACHE"] = os.environ.get("EEGFM_CACHE"), cache
            started = time.process_time()
            features = cached_features(
                spec,
                store,
                encoder,
                frozen_sha256=Frozen.of(encoder_tensors(encoder)).sha256,
                device="cpu",
            )
            torch.manual_seed(1)
            checkpoint, _, _ = fit_probe(probed, features, data, spec, device="cpu")
            scores = head_scores(probed, features, data, "test")
            taken["cached"].append(time.process_time() - started)
            train_ND = features.take(data.rows("train"))
            os.environ.pop("EEGFM_CACHE")
            if kept is not None:
                os.environ["EEGFM_CACHE"] = kept
        found["cached"] = (scores, checkpoint.val_score)

        centre, spread = (
            torch.from_numpy(of(train_ND, axis=0, dtype=np.float64)).float()
            for of in (np.mean, np.std)
        )
        spread[spread < 1e-9] = 1.0
        torch.manual_seed(1)
        model = Encoding(encoder, Standardised(centre, spread, shape.n_classes))
        started = time.process_time()
        checkpoint, _, _ = train_by_gradient(model, data, HEAD, "cpu", None)
        scores = predict(model, data, "test")
        taken["encoded"].append(time.process_time() - started)
        found["encoded"] = (scores, checkpoint.val_score)
    cached_s, encoded_s = (float(np.median(taken[k])) for k in ("cached", "encoded"))
    apart = float(np.abs(found["cached"][0] - found["encoded"][0]).max())
    auroc = [score(labels, found[k][0])[0]["auroc"] for k in ("cached", "encoded")]
    print(
        f"| {scale} | {sum(store.counts().values())} | {cached_s:.1f} s | "
        f"{encoded_s:.1f} s | {encoded_s / cached_s:.1f} | "
        f"{auroc[0]:.4f} / {auroc[1]:.4f} | {apart:.1g} |",
        flush=True,
    )


def one_step(model: str, head: str, way: str) -> dict[str, float]:
    """Train some steps in this process; return seconds a step and bytes."""
    known = find_model(model)
    recipe = known.recipes["paper"]
    assert isinstance(recipe, TrainingRecipe)
    if way == "lora":  # peft's imports are not the step's
        add_adapters(
            known.build(SHAPE, scale="small"),
            known,
            recipe.model_copy(update=LORA),
        )
    x = 20 * torch.randn(BATCH, SHAPE.n_channels, SHAPE.n_times)
    y = torch.arange(BATCH) % SHAPE.n_classes
    reset_peak_memory()
    before = peak_memory_bytes("cpu")
    net = known.build(SHAPE, scale="paper", options={"head": head})
    if way == "lora":
        add_adapters(net, known, recipe.model_copy(update=LORA))
    trained = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-4)
    net.train()
    times = []
    for _ in range(N_STEPS + 1):
        started = time.process_time()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        times.append(time.process_time() - started)
    return {
        "seconds": float(np.median(times[1:])),
        "bytes": peak_memory_bytes("cpu") - before,
        "trained": n_trained(net),
        "all": sum(p.numel() for p in net.parameters()),
    }


def compare_steps() -> None:
    """Run every case in a process of its own, full fine-tuning and LoRA in turn."""
    for model, head in CASES:
        found = {way: step_of(model, head, way) for way in ("finetune", "lora")}
        full, lora = found["finetune"], found["lora"]
        print(
            f"| {model}, head {head} | {full['all'] / 1e6:.1f} | "
            f"{lora['trained'] / 1e6:.2f} | {full['bytes'] / 2**20:,.0f} MiB | "
            f"{lora['bytes'] / 2**20:,.0f} MiB | {lora['bytes'] / full['bytes']:.2f} | "
            f"{full['seconds']:.2f} s | {lora['seconds']:.2f} s | "
            f"{lora['seconds'] / full['seconds']:.2f} |",
            flush=True,
        )


def step_of(model: str, head: str, way: str) -> dict[str, float]:
    """Have one case's steps done by two processes, for time and for memory."""
    ours = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [ours, os.environ.get("PYTHONPATH", "")]))
    quiet = {**os.environ, "PYTHONPATH": path, "OMP_WAIT_POLICY": "PASSIVE"}
    found = {}
    for what, settings in (("seconds", KEEPING), ("bytes", GIVING_BACK)):
        done = subprocess.run(
            [sys.executable, __file__, "--step", model, head, way],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**quiet, **settings},
        )
        told = json.loads(done.stdout.splitlines()[-1])
        found[what] = told.pop(what)
    return {**told, **found}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--scales", default="small,paper")
    parser.add_argument("--step", nargs=3, metavar=("MODEL", "HEAD", "WAY"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.step:
        print(json.dumps(one_step(*args.step)))
        return
    print(f"torch {torch.__version__}, one thread, {processor()}\n")
    print(
        "| cbramod | windows | cached | encoded every epoch | ratio | test AUROC | "
        "largest difference of a probability |\n|---|---|---|---|---|---|---|"
    )
    for scale in args.scales.split(","):
        compare_probes(scale, args.rounds)
    print(
        "\n| batch 16 of 16×2000 | weights, M | LoRA trains, M | memory, all | LoRA | "
        "ratio | step, all | LoRA | ratio |\n|---|---|---|---|---|---|---|---|---|"
    )
    compare_steps()


if __name__ == "__main__":
    main()
