"""How long a sweep would take, asked about before it starts.

From: the tasks to do. To: ``Options.confirm``, where they may take over an hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eegfm_bench.errors import SpecError
from eegfm_bench.runs.spec import RunSpec, TrainingRecipe
from eegfm_bench.sweep.launch import Launcher, Outcome, Task
from eegfm_bench.sweep.options import Estimate, Options

# Below this many seconds a window (far above any model on one core), a sweep
# that would still take less than an hour needs no measured estimate.
_SLOWEST_WINDOW_S = 0.5
ASK_ABOVE_S = 3600.0


def ask_if_long(
    launcher: Launcher,
    tasks: list[Task],
    todo: list[RunSpec],
    prepared: Mapping[Any, Outcome],
    options: Options,
) -> None:
    """Measure a step of each kind of cell when the sweep may take over an hour.

    A cell that cannot be timed counts as unknown, never as short: it is asked about.

    Raises
    ------
    SpecError
        If the answer is no.
    """
    jobs = min(getattr(launcher, "jobs", 1), len(todo))
    counts = {
        p["ref"]["fingerprint"] + p["ref"]["name"]: p["counts"]
        for p in prepared.values()
    }
    passes = 0
    for spec in todo:
        n = counts[spec.dataset.fingerprint + spec.dataset.name]
        if spec.adapt == "probe":  # encoded once, whatever trains the head
            passes += sum(n.values())
        elif isinstance(spec.recipe, TrainingRecipe):
            passes += spec.recipe.epochs * (n["train"] + n["val"])
    if passes * _SLOWEST_WINDOW_S / jobs < ASK_ABOVE_S:
        return
    by_cell: dict[str, list[Task]] = {}
    for spec, task in zip(todo, tasks, strict=True):
        by_cell.setdefault(spec.cell_id, []).append(task)
    probes = [
        {**same[0], "task": "estimate", "n": len(same)} for same in by_cell.values()
    ]
    total_s, n_unknown, why = 0.0, 0, ""
    for probe, outcome in launcher.each(probes):
        seconds = outcome.get("seconds")
        if seconds is None:
            n_unknown += probe["n"]
            why = why or _reason(probe, outcome)
        else:
            total_s += probe["n"] * float(seconds) / jobs
    if n_unknown == 0 and total_s <= ASK_ABOVE_S:
        return
    found = Estimate(seconds=total_s, n_cells=len(todo), n_unknown=n_unknown, why=why)
    if not options.confirm(found):
        raise SpecError(
            f"On this device, this would take {found}. Pass --yes to go ahead, or "
            f"choose --scale small, fewer seeds or fewer epochs."
        )


def _reason(probe: Task, outcome: Outcome) -> str:
    """Say in a line why a cell's time is not known."""
    said = outcome.get("error") or outcome.get("died") or "the worker gave no time"
    first = str(said).strip().splitlines()[0].rstrip(".")
    return f"{probe['spec']['model']} on {probe['spec']['dataset']['name']}: {first}"
