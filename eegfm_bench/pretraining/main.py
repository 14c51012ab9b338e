"""The process that opens a corpus, pre-trains on it and writes the weights.

From: one task, a JSON document on the first line of standard input; later lines say to
go ahead or to stop. To: events, one a line on standard output, the last with the
outcome. When whoever asked goes away, it stops after a checkpoint.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eegfm_bench.errors import BenchError, SpecError
from eegfm_bench.pretraining.asked import (
    PAPER_PASSES,
    SMALL_STEPS,
    refuse_foreign,
    settings_of,
)
from eegfm_bench.runs.pretrain import PretrainSpec
from eegfm_bench.runs.spec import checked

if TYPE_CHECKING:
    from eegfm_bench.pretraining.corpus import Corpus
    from eegfm_bench.pretraining.processes import Progress

Event = dict[str, Any]
Send = Callable[[Event], None]
# Asked before what takes longer, as before runs.
ASK_ABOVE_S = 3600.0
# A line of progress comes at most so often.
_EVERY_S = 0.2


def pretrain_as_asked(task: Event, send: Send, hear: Callable[[], Event]) -> Event:
    """Do one task from names to weights; return what came of it.

    Parameters
    ----------
    task : dict
        ``sources data allow_partial scored_on exclude scale objective settings steps
        passes seed device processes save_memory yes out``.
    send : function of an event
        Takes ``cutting``, ``corpus``, ``planned``, ``estimate``, ``said``, ``step``.
    hear : function
        Returns the answer to an estimate: ``{"go": bool}``.

    Raises
    ------
    BenchError
        If anything does not fit, or the answer is no.
    KeyboardInterrupt
        When interrupted, after a checkpoint.
    """
    out = Path(task["out"])
    refuse_foreign(out)
    asked = settings_of(
        *(task["objective"], task["scale"], task["settings"]),
        steps=task["steps"],
        seed=task["seed"],
    )
    from eegfm_bench.pretraining.corpus import open_corpus

    corpus = open_corpus(
        task["sources"],
        data=task["data"],
        allow_partial=task["allow_partial"],
        scored_on=task["scored_on"],
        exclude_scored_persons=task["exclude"],
        progress=lambda source, done, of: send(
            {"event": "cutting", "source": source, "done": done, "of": of}
        ),
    )
    send({"event": "corpus", **_about(corpus)})

    from eegfm_bench.pretraining.output import is_done, result_of, write_output

    spec = _spec(task, asked.recipe, asked.options, corpus)
    send({"event": "planned", "pretrain_id": spec.pretrain_id, "steps": spec.steps})
    if is_done(out, spec):
        return {"was_done": True, **result_of(out, spec)}
    device = _device(task["device"])
    _ask_if_long(task, spec, corpus, device, send, hear)

    from eegfm_bench.pretraining.loop import pretrain

    pretrain(
        spec,
        corpus,
        out,
        device=device,
        processes=task["processes"],
        save_memory=task["save_memory"],
        on_step=_now_and_then(send),
        say=lambda line: send({"event": "said", "line": line}),
    )
    write_output(out, spec, corpus, device=device)
    return {"was_done": False, **result_of(out, spec)}


def _spec(task: Event, recipe: Any, options: Any, corpus: Corpus) -> PretrainSpec:
    from eegfm_bench.models._spec import find_model
    from eegfm_bench.pretraining.loop import draws_of, source_refs

    fields = {
        "sources": source_refs(corpus, options["patch_len"]),
        "objective": task["objective"],
        "model_version": find_model("trace").version,
        "scale": task["scale"],
        "options": options,
        "recipe": recipe,
        "steps": task["steps"] or 10**9,
        "seed": task["seed"],
    }
    spec: PretrainSpec = checked(PretrainSpec, fields, what="pre-training")
    if task["steps"] is None:
        passes = task["passes"]
        if passes is None and task["scale"] == "small":
            steps = SMALL_STEPS
        else:
            steps = draws_of(spec).steps(PAPER_PASSES if passes is None else passes)
        spec = checked(PretrainSpec, {**fields, "steps": steps}, what="pre-training")
    return spec


def _about(corpus: Corpus) -> Event:
    """Say what a corpus is, for a person."""
    return {
        "sources": [
            {
                "name": source.name,
                "data": source.data,
                "n_windows": source.n_windows,
                "n_channels": source.n_channels,
                "n_patches": source.n_patches,
                "n_persons": len(source.persons),
                "left_out": len(source.left_out),
                "n_left_out": source.n_left_out,
            }
            for source in corpus.sources
        ],
        "n_persons": len(corpus.persons),
        "scored_on": list(corpus.scored_on),
        "notes": list(corpus.notes),
    }


def _device(asked: str) -> str:
    import torch

    has_cuda = torch.cuda.is_available()
    if asked == "cuda" and not has_cuda:
        raise SpecError(
            "--device cuda: torch finds no GPU here. Install a CUDA build of torch, or "
            "use --device cpu."
        )
    return "cuda" if has_cuda and asked != "cpu" else "cpu"


def _ask_if_long(
    task: Event,
    spec: PretrainSpec,
    corpus: Corpus,
    device: str,
    send: Send,
    hear: Callable[[], Event],
) -> None:
    """Time a step, say what the rest will take, and ask if that is long."""
    from eegfm_bench.pretraining.checkpoints import FOLDER, steps_done
    from eegfm_bench.pretraining.loop import estimate
    from eegfm_bench.pretraining.processes import interruptible

    left = spec.steps - steps_done(Path(task["out"]) / FOLDER)
    if left <= 0:
        return
    with interruptible() as interrupted:
        found = estimate(spec, corpus, device=device, save_memory=task["save_memory"])
    if interrupted:
        raise KeyboardInterrupt
    # As if all shared the work evenly.
    seconds = found.step_s * left / task["processes"]
    must_ask = seconds > ASK_ABOVE_S and not task["yes"]
    send(
        {
            "event": "estimate",
            "seconds": seconds,
            "steps": left,
            "tokens_per_s": found.tokens_per_s * task["processes"],
            "peak_gpu_bytes": found.peak_gpu_bytes,
            "device": device,
            "must_ask": must_ask,
        }
    )
    if must_ask and not hear().get("go"):
        raise SpecError(
            "On this device, this would take over an hour. Pass --yes to go ahead, or "
            "choose --scale small or fewer --steps."
        )


def _now_and_then(send: Send) -> Callable[[Progress], None]:
    """Return what sends a step's progress, if the last was sent long enough ago."""
    sent = [0.0]

    def on_step(progress: Progress) -> None:
        now = time.monotonic()
        if now - sent[0] >= _EVERY_S or progress.step == progress.steps:
            sent[0] = now
            fields = {name: getattr(progress, name) for name in _FIELDS}
            send({"event": "step", **fields})

    return on_step


_FIELDS = ("step", "steps", "loss", "tokens_per_s", "wait_share", "left_s")


def main() -> None:
    """Do the one task of standard input."""
    # What libraries print must not reach the line protocol.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    # Whoever asked says itself what is simulated.
    logging.getLogger("eegfm_bench").setLevel(logging.ERROR)
    # Whatever the shell had made of it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    answers: queue.Queue[Event] = queue.Queue()
    is_over = threading.Event()

    def send(event: Event) -> None:
        try:
            out.write(json.dumps(event) + "\n")
            out.flush()
        except BrokenPipeError:
            pass  # nobody hears; standard input has ended too, which stops this

    def listen() -> None:
        for line in sys.stdin:
            words = json.loads(line)
            if words.get("stop"):
                os.kill(os.getpid(), signal.SIGINT)
            else:
                answers.put(words)
        if not is_over.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    outcome: Event
    task: Event = {}
    try:
        task = json.loads(sys.stdin.readline())
        threading.Thread(target=listen, daemon=True).start()
        outcome = pretrain_as_asked(task, send, answers.get)
    except KeyboardInterrupt:
        outcome = {"interrupted": True}
    except BenchError as error:
        outcome = {"error": str(error), "kind": type(error).__name__}
    except OSError as error:
        outcome = {
            "error": str(error),
            "kind": "OSError",
            "errno": error.errno,
            "filename": error.filename or task.get("out"),
        }
    except Exception as error:
        sys.stderr.write(traceback.format_exc())
        what = f"pre-training failed: {type(error).__name__}: {error}"
        outcome = {"error": what, "kind": "RunFailed"}
    is_over.set()
    send({"event": "end", "outcome": outcome})


if __name__ == "__main__":
    main()
