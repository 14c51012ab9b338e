"""How long a sweep would take, asked about before it starts.

From: the tasks to do. To: ``Options.confirm``, where they may take over an hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eegfm_bench.errors import SpecError
from eegfm_bench.runs.spec import RunSpec, TrainingRecipe
from eegfm_bench.sweep.launch import Launcher, Outcome, Task
from eegfm_bench.sweep.options import Options

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
    """Measure a step of each kind of cell when the sweep may take over an hour."""
    jobs = min(getattr(launcher, "jobs", 1), len(todo))
    counts = {
        p["ref"]["fingerprint"] + p["ref"]["name"]: p["counts"]
        for p in prepared.values()
    }
    passes = 0
    for spec in todo:
        if isinstance(spec.recipe, TrainingRecipe):
            n = counts[spec.dataset.fingerprint + spec.dataset.name]
            passes += spec.recipe.epochs * (n["train"] + n["val"])
    if passes * _SLOWEST_WINDOW_S / jobs < ASK_ABOVE_S:
        return
    by_cell: dict[str, list[Task]] = {}
    for spec, task in zip(todo, tasks, strict=True):
        by_cell.setdefault(spec.cell_id, []).append(task)
    total_s = 0.0
    probes = [
        {**same[0], "task": "estimate", "n": len(same)} for same in by_cell.values()
    ]
    for probe, outcome in launcher.each(probes):
        total_s += probe["n"] * float(outcome.get("seconds", 0.0)) / jobs
    if total_s > ASK_ABOVE_S and not options.confirm(total_s):
        raise SpecError(
            f"This would take about {total_s / 3600:.1f} hours on this device. Pass "
            f"--yes to go ahead, or choose --scale small, fewer seeds or fewer epochs."
        )
