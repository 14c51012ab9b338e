"""Weights of cells: refused where they make no sense, found and proven before training.

From: cells, and what workers said of their models and windows. To: what each run's
``init`` is and where its file lies. Files are read by workers alone.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eegfm_bench.datasets._spec import find_dataset
from eegfm_bench.errors import DataMissing, SpecError
from eegfm_bench.pretraining.persons import held_out
from eegfm_bench.runs.labels import parse_labels
from eegfm_bench.runs.spec import SCRATCH
from eegfm_bench.sweep.launch import Launcher, Outcome, Task
from eegfm_bench.sweep.options import Options
from eegfm_bench.sweep.planning import raise_refusal
from eegfm_bench.sweep.specs import chosen_options
from eegfm_bench.sweep.suite import Cell
from eegfm_bench.weights.pretrained import refuse_scored


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a run starts from, and where that lies."""

    init: str = SCRATCH
    path: str | None = None


def refuse_adaptation(cells: Sequence[Cell], described: Mapping[str, Any]) -> None:
    """Refuse to adapt what has nothing to adapt.

    Raises
    ------
    SpecError
        Says what the models can do instead.
    """
    for cell in cells:
        about = described[cell.model]
        asked = "--weights" if cell.weights is not None else f"--adapt {cell.adapt}"
        if cell.adapt == SCRATCH and cell.weights is None:
            continue
        if about["trained_by"] != "gradient":
            raise SpecError(
                f"{asked}: {cell.model} is not trained by gradient but by "
                f"'{about['trained_by']}', so that it has no encoder to start from "
                f"weights or to adapt. Run it without, in a command of its own."
            )
        if cell.adapt == "lora" and not about["has_lora"]:
            raise SpecError(
                f"--adapt lora: {cell.model} does not say which of its layers LoRA "
                f"would adapt. Choose --adapt finetune or probe."
            )
        if cell.adapt == "lora" and importlib.util.find_spec("peft") is None:
            raise SpecError(
                "--adapt lora needs peft, which is not installed. Install it with: "
                'pip install "eegfm-bench[lora]"'
            )


def refuse_weights_early(
    launcher: Launcher,
    cells: Sequence[Cell],
    described: Mapping[str, Any],
    options: Options,
) -> None:
    """Match weights with their models before any window is cut, as far as can be.

    Each is tried on one dataset whose shape is known without its recordings.

    Raises
    ------
    BenchError
        If weights cannot be had or do not fit.
    """
    tasks: dict[Any, Task] = {}
    for cell in cells:
        dataset = find_dataset(cell.dataset)
        if cell.weights is not None and dataset.locate is None:
            task = _task(cell, described, options, store=None)
            known = (cell.model, cell.scale, cell.weights, str(task["options"]))
            tasks.setdefault(known, {**task, "dataset": cell.dataset})
    for task, outcome in launcher.each(tasks.values()):
        raise_refusal(outcome)
        for cell in cells:
            if (cell.model, cell.weights) == (task["model"], task["given"]):
                _refuse_people_seen(Path(outcome["path"]), cell.dataset, options)


def _refuse_people_seen(path: Path, dataset: str, options: Options) -> None:
    """Refuse an encoder pre-trained on people to be scored, before windows are cut.

    Where they cannot be known yet, they are held against the windows later.
    """
    with suppress(DataMissing):
        held = held_out([dataset], data=options.data)
        refuse_scored(
            path,
            dataset,
            [(p, part) for p, places in held.parts.items() for _, part in places],
        )


def starts_of(
    launcher: Launcher,
    cells: Sequence[Cell],
    described: Mapping[str, Any],
    prepared: Mapping[tuple[str, float | None], Outcome],
    options: Options,
) -> list[Start]:
    """Have every cell's weights loaded once on its windows; return what they are.

    A cell without weights, or whose windows are missing, starts from scratch.

    Raises
    ------
    BenchError
        If weights cannot be had or do not fit.
    """
    starts = [Start() for _ in cells]
    tasks: list[Task] = []
    for place, cell in enumerate(cells):
        got = prepared.get((cell.dataset, described[cell.model]["rate_hz"]))
        if cell.weights is not None and got is not None:
            task = _task(cell, described, options, store=got["store"])
            tasks.append({**task, "place": place})
    for task, outcome in launcher.each(tasks):
        raise_refusal(outcome)
        starts[task["place"]] = Start(init=outcome["init"], path=outcome["path"])
    return starts


def refuse_budgets(
    cells: Sequence[Cell], manifests: Mapping[str, Mapping[str, Any]]
) -> None:
    """Refuse budgets of more windows than a class has, before anything is trained.

    Raises
    ------
    SpecError
        Says how many there are.
    """
    for cell in cells:
        manifest = manifests.get(cell.dataset)
        if cell.labels is None or manifest is None:
            continue
        n = parse_labels(cell.labels).per_class or 0
        there = dict(zip(manifest["classes"], manifest["counts"]["train"], strict=True))
        short = {name: has for name, has in there.items() if has < n}
        if short:
            told = ", ".join(f"{name} has {has}" for name, has in short.items())
            raise SpecError(
                f"--labels {cell.labels} asks for {n} training windows of each class; "
                f"of {cell.dataset}, {told}. Ask for {min(short.values())}/class or "
                f"fewer, or for a share, such as 10%."
            )


def _task(
    cell: Cell, described: Mapping[str, Any], options: Options, *, store: str | None
) -> Task:
    return {
        "task": "weights",
        "model": cell.model,
        "scale": cell.scale,
        "options": chosen_options(cell, described[cell.model]),
        "given": cell.weights,
        "store": store,
        "allow_partial": options.allow_partial_weights,
    }
