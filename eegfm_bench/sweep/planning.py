"""Before anything runs: options judged, windows cut, refusals passed on.

From: cells, and what workers said of their models. To: cells in one spelling, and what
is known of every window store; no window is cut before all options have been judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from eegfm_bench import errors
from eegfm_bench.datasets._cutters import cores
from eegfm_bench.datasets._places import data_root
from eegfm_bench.errors import BenchError, DataMissing, SpecError
from eegfm_bench.sweep.launch import Launcher, Outcome, Task
from eegfm_bench.sweep.options import Options, Sweep, Watcher
from eegfm_bench.sweep.specs import chosen_options, with_options
from eegfm_bench.sweep.suite import Cell


def do_one(launcher: Launcher, task: Task) -> Outcome:
    """Do one task and return its outcome, raising what it refused with."""
    for _, outcome in launcher.each([task]):
        raise_refusal(outcome)
        return outcome
    raise SpecError("The launcher lost a task; try again.")


def checked_cells(
    launcher: Launcher, cells: Sequence[Cell], described: Mapping[str, Any]
) -> list[Cell]:
    """Have options judged before windows are cut; return cells in one spelling."""
    chosen = [chosen_options(cell, described[cell.model]) for cell in cells]
    asked = [
        {"model": cell.model, "scale": cell.scale, "options": options}
        for cell, options in zip(cells, chosen, strict=True)
        if options
    ]
    if not asked:
        return list(cells)
    answers = iter(do_one(launcher, {"task": "check", "asked": asked})["options"])
    return [
        with_options(cell, next(answers)) if options else cell
        for cell, options in zip(cells, chosen, strict=True)
    ]


def raise_refusal(outcome: Outcome) -> None:
    """Raise what a worker refused with, as the error that it was."""
    if "died" in outcome:
        raise errors.RunFailed(f"A worker could not start or go on: {outcome['died']}.")
    if "error" in outcome:
        kind = getattr(errors, outcome["kind"], BenchError)
        raise kind(outcome["error"])


def note_or_raise(
    error: BenchError,
    result: Sweep,
    dataset: str,
    options: Options,
) -> None:
    """In a suite, a dataset that cannot be had costs its own cells alone."""
    if options.suite is None:
        raise error
    result.missing[dataset] = str(error)
    if not isinstance(error, DataMissing):
        result.damaged.append(dataset)


def prepare_all(
    launcher: Launcher,
    cells: Sequence[Cell],
    described: Mapping[str, Any],
    options: Options,
    result: Sweep,
    watcher: Watcher,
) -> dict[tuple[str, float | None], Outcome]:
    """Have every (dataset, rate) cut; return what is known of each store."""
    wanted = dict.fromkeys(
        (cell.dataset, described[cell.model]["rate_hz"])
        for cell in cells
        if cell.dataset not in result.missing
    )
    is_twin = data_root(options.data) is None
    tasks = [
        {
            "task": "prepare",
            "dataset": dataset,
            "rate_hz": rate_hz,
            "data": options.data,
            "allow_partial": options.allow_partial,
            # On a GPU one worker trains, yet every core may cut.
            "jobs": 1 if is_twin else options.jobs or cores(),
        }
        for dataset, rate_hz in wanted
    ]
    # Twins are small: one process each, all at once. Genuine sets are cut one after
    # the other, each by all processes, so that never more run than may.
    turns = [tasks] if is_twin else [[task] for task in tasks]

    def on_event(task: Task, event: dict[str, Any]) -> None:
        watcher.preparing(task["dataset"], event["done"], event["of"])

    prepared: dict[tuple[str, float | None], Outcome] = {}
    for task, outcome in chain.from_iterable(
        launcher.each(turn, on_event) for turn in turns
    ):
        dataset = task["dataset"]
        try:
            raise_refusal(outcome)
            _refuse_empty_parts(dataset, outcome["counts"])
        except BenchError as error:
            note_or_raise(error, result, dataset, options)
            continue
        prepared[dataset, task["rate_hz"]] = outcome
        result.manifests[dataset] = outcome["manifest"]
    return prepared


def _refuse_empty_parts(dataset: str, counts: Mapping[str, int]) -> None:
    empty = [part for part, n in counts.items() if n == 0]
    if empty:
        raise DataMissing(
            f"{dataset} has no windows in its {' and '.join(empty)} part, so nothing "
            f"can be run: {dict(counts)}. Add subjects of that part to the data root."
        )
