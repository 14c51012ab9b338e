"""A long-lived process that prepares and fits what it is told, one by one.

From: tasks, one JSON document a line on standard input. To: events, one a line
on standard output. Imports are paid once; a task that fails is answered with
its reason; when the parent goes, however it goes, so does the worker.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import queue
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eegfm_bench.errors import BenchError
from eegfm_bench.runs.history import HISTORY, Epoch, write_history
from eegfm_bench.runs.record import Failure, RunRecord
from eegfm_bench.runs.spec import RunSpec, TrainingRecipe
from eegfm_bench.runs.store import MODEL_FOLDER, ResultStore
from eegfm_bench.training import weights_task

Event = dict[str, Any]
Send = Callable[[Event], None]


def handle(task: Event, send: Send) -> Event:
    """Do one task; return its outcome, with ``error`` where there is none.

    ``send`` takes progress events on the way.
    """
    try:
        return _TASKS[task["task"]](task, send)
    except BenchError as error:
        return {"error": str(error), "kind": type(error).__name__}
    except (Exception, SystemExit) as error:  # of a contribution, or of files
        sys.stderr.write(traceback.format_exc())
        what = task.get("dataset") or ", ".join(task.get("models", ()))
        where = f" {what}" if what else ""
        return {
            "error": f"{task['task']}{where}: {type(error).__name__}: {error}",
            "kind": "BenchError",
        }


def describe(task: Event, send: Send) -> Event:
    """Say what the parent must know of models to write specs, without torch."""
    import torch

    from eegfm_bench.models._spec import find_model

    models = {}
    for name in task["models"]:
        known = find_model(name)
        models[name] = {
            "title": known.title,
            "version": known.version,
            "code": known.code_hash,
            "trained_by": known.trained_by,
            "rate_hz": known.rate_hz,
            "has_lora": bool(known.weights.lora),
            "head_options": list(known.head_options),
            "options": {scale: known.options_at(scale) for scale in known.recipes},
            "recipes": {
                scale: recipe.model_dump(mode="json")
                for scale, recipe in known.recipes.items()
            },
        }
    return {"models": models, "has_cuda": torch.cuda.is_available()}


def check_options(task: Event, send: Send) -> Event:
    """Return all options of what is asked in one spelling, or refuse a value."""
    from eegfm_bench.models._spec import find_model

    return {
        "options": [
            find_model(asked["model"]).options_for(asked["scale"], asked["options"])
            for asked in task["asked"]
        ]
    }


def prepare_windows(task: Event, send: Send) -> Event:
    """Prepare one dataset; say what is in its store."""
    from eegfm_bench.datasets._prepare import dataset_ref, prepare

    store = prepare(
        task["dataset"],
        data=task["data"],
        allow_partial=task["allow_partial"],
        rate_hz=task["rate_hz"],
        progress=lambda done, of: send({"event": "prepare", "done": done, "of": of}),
        jobs=task["jobs"],
    )
    return {
        "store": str(store.path),
        "ref": dataset_ref(store).model_dump(mode="json"),
        "manifest": store.manifest,
        "counts": store.counts(),
    }


def fit_one(task: Event, send: Send) -> Event:
    """Answer one spec and write its record, unless another process holds it."""
    spec = RunSpec.model_validate(task["spec"])
    results = ResultStore(task["runs"])
    with results.claim(spec.run_id) as is_ours:
        if not is_ours:
            return {"busy": True}
        known = None if task.get("force") else results.get(spec.run_id)
        if known is not None and known.is_done:
            return {"run_id": known.run_id, "failure": None}
        return _fit(task, spec, results, send)


def _fit(task: Event, spec: RunSpec, results: ResultStore, send: Send) -> Event:
    send({"event": "start"})  # before imports, which take the first cell seconds
    from eegfm_bench.training.fit import fit
    from eegfm_bench.windows.store import WindowStore

    history: list[Epoch] = []

    def on_epoch(row: Epoch) -> None:
        history.append(row)
        send({"event": "epoch", "epoch": row.epoch, "val": row.val_score})

    weights = task.get("weights")
    # Beside the records, so that the model moves into its run's folder by a rename.
    with tempfile.TemporaryDirectory(prefix=".keep-", dir=results.root) as beside:
        kept = Path(beside) / MODEL_FOLDER if task.get("keep") else None
        try:
            record, predictions = fit(
                spec,
                WindowStore(Path(task["store"])),
                device=task["device"],
                on_epoch=on_epoch,
                weights=None if weights is None else Path(weights),
                keep=kept,
            )
        # Whatever a model does wrong costs this cell alone, be it to end the process.
        except (Exception, SystemExit) as error:
            failure = Failure(
                kind=type(error).__name__,
                message=str(error) or type(error).__name__,
                traceback=""
                if isinstance(error, BenchError)
                else traceback.format_exc(),
            )
            results.put(RunRecord.failed(spec, failure))
            return {"run_id": spec.run_id, "failure": failure.model_dump()}

        def write_beside(folder: Path) -> None:
            predictions.to_parquet(folder / "predictions.parquet", index=False)
            if history:
                write_history(folder / HISTORY, history)
            if kept is not None:
                kept.rename(folder / MODEL_FOLDER)

        results.put(record, write_beside)
    return {"run_id": spec.run_id, "failure": None}


def estimate(task: Event, send: Send) -> Event:
    """Time two training steps of a spec; return seconds for the whole cell."""
    import numpy as np
    import torch
    from torch.nn import functional as F

    from eegfm_bench.models._spec import find_model
    from eegfm_bench.training.budget import train_rows
    from eegfm_bench.training.fit import input_shape
    from eegfm_bench.windows.store import WindowStore

    spec = RunSpec.model_validate(task["spec"])
    recipe = spec.recipe
    is_probe = spec.adapt == "probe"
    if not (is_probe or isinstance(recipe, TrainingRecipe)):
        return {"seconds": 1.0}
    store = WindowStore(Path(task["store"]))
    device = task["device"]
    model = (
        find_model(spec.model)
        .build(input_shape(store), scale=spec.scale, options=spec.options)
        .to(device)
    )
    batch_size = getattr(recipe, "batch_size", 64)
    n_sequences = max(batch_size // store.sequence, 1)
    rows = store.rows("train")[: n_sequences * store.sequence]
    x = torch.from_numpy(np.array(store.x[rows])).to(device)
    if store.sequence > 1:
        x = x.unflatten(0, (-1, store.sequence))
    y = torch.from_numpy(store.index["label"].to_numpy(np.int64)[rows]).to(device)
    times = []
    for _ in range(3):  # the first is a warm-up
        started = time.perf_counter()
        is_bf16 = getattr(recipe, "precision", "32") == "bf16"
        with torch.autocast(device, torch.bfloat16, is_bf16):
            loss = F.cross_entropy(model(x).float().flatten(0, -2), y)
        loss.backward()
        loss.item()
        times.append(time.perf_counter() - started)
    counts = store.counts()
    per_window_s = min(times[1:]) / len(rows)
    # An evaluated window costs about a third of a trained one.
    if is_probe or not isinstance(recipe, TrainingRecipe):
        return {"seconds": per_window_s * sum(counts.values()) / 3}
    counts["train"] = len(train_rows(store, spec.labels, spec.seed))
    trained = recipe.epochs * (counts["train"] + counts["val"] / 3)
    return {"seconds": per_window_s * (trained + counts["test"] / 3)}


_TASKS: dict[str, Callable[[Event, Send], Event]] = {
    "describe": describe,
    "check": check_options,
    "prepare": prepare_windows,
    "fit": fit_one,
    "estimate": estimate,
    "weights": weights_task.resolve_weights,
    "weights_about": weights_task.about_weights,
    "weights_check": weights_task.check_weights,
}


def main() -> None:
    """Serve tasks until standard input ends."""
    # What libraries print from now on must not reach the parent's line protocol;
    # the mark tells it where whatever was printed before ends.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    todo: queue.Queue[Event] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            todo.put(json.loads(line))
        os._exit(0)  # the parent has gone; nobody waits for this answer

    threading.Thread(target=listen, daemon=True).start()

    def send(event: Event) -> None:
        out.write(json.dumps(event) + "\n")
        out.flush()

    send({"event": "ready"})
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    while True:
        task = todo.get()
        send({"event": "end", "outcome": handle(task, send)})
        _give_memory_back()


def _give_memory_back() -> None:
    """Return what the last task held, so that the next one's peak is its own."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    main()
