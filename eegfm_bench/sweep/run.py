"""From names to records: prepare, write specs, run what is missing.

From: cells and options. To: a Sweep: its specs, its records, and what could not
be asked. The parent imports no torch; workers tell it what it must know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from eegfm_bench import errors
from eegfm_bench.datasets._cutters import cores as cores
from eegfm_bench.datasets._places import data_root
from eegfm_bench.datasets._prepare import warn_simulated
from eegfm_bench.datasets._spec import find_dataset
from eegfm_bench.errors import (
    BenchError,
    DataMissing,
    SpecError,
    UnknownName,
)
from eegfm_bench.runs.record import Failure, RunRecord
from eegfm_bench.runs.spec import (
    RunSpec,
    TrainingRecipe,
)
from eegfm_bench.runs.store import ResultStore
from eegfm_bench.sweep.launch import OnEvent, Outcome, Task, WorkerPool
from eegfm_bench.sweep.notes import remember_suite
from eegfm_bench.sweep.specs import (
    cells_of,
    chosen_options,
    make_spec,
    refuse_unknown_settings,
    with_options,
)
from eegfm_bench.sweep.suite import Cell

# Below this many seconds a window (far above any model on one core), a sweep
# that would still take less than an hour needs no measured estimate.
_SLOWEST_WINDOW_S = 0.5
ASK_ABOVE_S = 3600.0


class Launcher(Protocol):
    """Does tasks, and yields their outcomes as they come."""

    def each(
        self, tasks: Iterable[Task], on_event: OnEvent | None = None
    ) -> Iterable[tuple[Task, Outcome]]:
        """Yield each task with its outcome."""
        ...

    def close(self) -> None:
        """Free what the launcher holds."""
        ...


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to run; nothing here changes a number.

    With ``suite``, absent data costs its cells alone, and the runs that answer
    the suite are noted under that name, unless ``is_whole`` says that some of its
    cells were left out. ``confirm`` is asked, with the seconds
    estimated, before anything that takes over an hour.
    """

    data: str | None = None
    allow_partial: bool = False
    device: str = "auto"
    jobs: int | None = None
    runs: Path = Path(".runs")
    retry_failed: bool = False
    force: bool = False
    confirm: Callable[[float], bool] = lambda seconds: True
    suite: str | None = None
    is_whole: bool = True
    is_portable: bool = False
    launcher: Launcher | None = None


@dataclass(kw_only=True)
class Sweep:
    """What was asked and what came of it."""

    specs: list[RunSpec] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, dict[str, Any]] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    n_ran: int = 0

    def records(self, runs: Path) -> list[RunRecord]:
        """Return the records of the specs that have one, in order."""
        store = ResultStore(runs)
        found = (store.get(spec.run_id) for spec in self.specs)
        return [record for record in found if record is not None]


class Watcher:
    """Is told how a sweep goes; does nothing with it. A display overrides."""

    def preparing(self, dataset: str, done: int, of: int) -> None:
        """Take note that one more recording of a dataset is cut."""

    def planned(self, specs: list[RunSpec], todo: list[RunSpec]) -> None:
        """Take note of all questions, and of those still open."""

    def started(self, spec: RunSpec) -> None:
        """Take note that a worker took this spec."""

    def epoch(self, spec: RunSpec, epoch: int, value: float) -> None:
        """Take note of an epoch's validation score."""

    def ended(self, spec: RunSpec, failure: str | None) -> None:
        """Take note of a record; ``failure`` says why it has no scores."""


def run(
    model: str | Sequence[str],
    dataset: str | Sequence[str],
    *,
    seeds: int | Sequence[int] = 5,
    data: str | Path | None = None,
    allow_partial: bool = False,
    scale: str = "paper",
    epochs: int | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    jobs: int | None = None,
    runs: str | Path = ".runs",
    retry_failed: bool = False,
    force: bool = False,
) -> list[RunRecord]:
    """Run models on datasets over seeds; what is done already is not run again.

    Parameters
    ----------
    model, dataset : str or sequence of str
        Keys.
    seeds : int or sequence of int
        A count (5 means 0…4), or the seeds themselves.
    data : path, optional
        The data root; else ``EEGFM_DATA``; with neither, simulated twins.
    allow_partial : bool
        Whether subjects of a protocol may be absent.
    scale : str
        ``paper`` or ``small``.
    epochs, settings
        Other values than the model's own recipe and options.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    jobs : int, optional
        Worker processes; by default one per core, or one on a GPU.
    runs : path
        The folder of records.
    retry_failed, force : bool
        Run again what failed, or everything.

    Returns
    -------
    records : list of RunRecord
        One per model, dataset and seed; a failed one has ``failure``.

    Raises
    ------
    BenchError
        If a name is unknown, data is missing or damaged, or a setting is wrong.
    """
    models = [model] if isinstance(model, str) else list(model)
    datasets = [dataset] if isinstance(dataset, str) else list(dataset)
    given = dict(settings or {})
    if epochs is not None:
        given["epochs"] = epochs
    options = Options(
        data=None if data is None else str(data),
        allow_partial=allow_partial,
        device=device,
        jobs=jobs,
        runs=Path(runs),
        retry_failed=retry_failed,
        force=force,
    )
    if isinstance(seeds, str):
        raise SpecError(f"seeds is {seeds!r}; expected a count or a list of numbers.")
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if data_root(data) is None:
        warn_simulated()
    cells = cells_of(models, datasets, scale, given)
    return sweep(cells, numbers, options).records(options.runs)


def sweep(
    cells: Sequence[Cell],
    seeds: Sequence[int],
    options: Options,
    watcher: Watcher | None = None,
) -> Sweep:
    """Ask every cell with every seed; run those without a record.

    The first seed of every cell comes before the second of any, so that a whole
    table stands early and fills up.

    Raises
    ------
    BenchError
        If a name is unknown, a setting wrong or a file damaged; and, outside a
        suite, if data is missing.
    """
    if not cells or not seeds:
        raise SpecError("Nothing to run: give at least one model, dataset and seed.")
    watcher = watcher or Watcher()
    known = {cell.dataset: find_dataset(cell.dataset) for cell in cells}
    result = Sweep()
    root = data_root(options.data)
    if root is not None:
        for name, dataset in known.items():
            try:
                dataset.find(root)
            except BenchError as error:
                _note_or_raise(error, result, name, options)
    launcher = options.launcher or _pool(options, options.device)
    try:
        about = _only(launcher, {"task": "describe", "models": _models(cells)})
        device = _device(options.device, about["has_cuda"])
        if device == "cuda" and options.launcher is None:
            launcher.close()
            launcher = _pool(options, device)
        described = about["models"]
        refuse_unknown_settings(cells, described)
        cells = _checked(launcher, cells, described)
        prepared = _prepare(launcher, cells, described, options, result, watcher)
        for seed in seeds:
            for cell in cells:
                got = prepared.get((cell.dataset, described[cell.model]["rate_hz"]))
                if got is not None:
                    result.specs.append(
                        make_spec(cell, seed, described[cell.model], got)
                    )
        if not result.specs:
            reasons = " ".join(dict.fromkeys(result.missing.values()))
            raise DataMissing(f"No dataset of the suite can be had. {reasons}")
        if options.suite is not None and options.is_whole:
            remember_suite(options.runs, options.suite, result.specs, result.missing)
        store = ResultStore(options.runs)
        todo = (
            list(result.specs)
            if options.force
            else store.missing(result.specs, retry_failed=options.retry_failed)
        )
        watcher.planned(result.specs, todo)
        if todo:
            stores = {
                p["ref"]["protocol"] + p["ref"]["fingerprint"]: p["store"]
                for p in prepared.values()
            }
            tasks = [_fit_task(spec, stores, options, device) for spec in todo]
            _ask_if_long(launcher, tasks, todo, prepared, options)
            _run(launcher, tasks, store, watcher)
            result.n_ran = len(todo)
    finally:
        if options.launcher is None:
            launcher.close()
    return result


def _models(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.model for cell in cells))


def _pool(options: Options, device: str) -> WorkerPool:
    default = 1 if device == "cuda" else cores()
    jobs = options.jobs or default
    if jobs < 1:
        raise SpecError(f"--jobs is {jobs}; choose 1 or more.")
    # The thread count moves last digits, so it depends on the machine and on
    # --jobs alone, never on how many cells are left.
    return WorkerPool(
        jobs=jobs,
        n_threads=max(1, cores() // jobs),
        logs=options.runs / ".logs",
        is_portable=options.is_portable,
    )


def _device(asked: str, has_cuda: bool) -> str:
    if asked not in ("auto", "cpu", "cuda"):
        raise UnknownName.among("device", asked, ("auto", "cpu", "cuda"))
    if asked == "cuda" and not has_cuda:
        raise SpecError(
            "--device cuda: torch finds no GPU here. Install a CUDA build of torch, or "
            "use --device cpu."
        )
    return "cuda" if has_cuda and asked != "cpu" else "cpu"


def _only(launcher: Launcher, task: Task) -> Outcome:
    """Do one task and return its outcome, raising what it refused with."""
    for _, outcome in launcher.each([task]):
        _raise_refusal(outcome)
        return outcome
    raise SpecError("The launcher lost a task; try again.")


def _checked(
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
    answers = iter(_only(launcher, {"task": "check", "asked": asked})["options"])
    return [
        with_options(cell, next(answers)) if options else cell
        for cell, options in zip(cells, chosen, strict=True)
    ]


def _raise_refusal(outcome: Outcome) -> None:
    if "died" in outcome:
        raise errors.RunFailed(f"A worker could not start or go on: {outcome['died']}.")
    if "error" in outcome:
        kind = getattr(errors, outcome["kind"], BenchError)
        raise kind(outcome["error"])


def _note_or_raise(
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


def _prepare(
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
            _raise_refusal(outcome)
            _refuse_empty_parts(dataset, outcome["counts"])
        except BenchError as error:
            _note_or_raise(error, result, dataset, options)
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


def _fit_task(
    spec: RunSpec, stores: Mapping[str, str], options: Options, device: str
) -> Task:
    return {
        "task": "fit",
        "spec": spec.model_dump(mode="json"),
        "store": stores[spec.dataset.protocol + spec.dataset.fingerprint],
        "runs": str(options.runs),
        "device": device,
        "force": options.force,
    }


def _ask_if_long(
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


def _run(
    launcher: Launcher, tasks: list[Task], store: ResultStore, watcher: Watcher
) -> None:
    for task, outcome in launcher.each(tasks, lambda t, e: _tell(watcher, t, e)):
        spec = RunSpec.model_validate(task["spec"])
        failure = outcome.get("failure")
        if "died" in outcome or "error" in outcome:
            kind = "WorkerDied" if "died" in outcome else outcome["kind"]
            message = outcome.get("died") or outcome["error"]
            store.put(RunRecord.failed(spec, Failure(kind=kind, message=message)))
            failure = {"message": message}
        watcher.ended(spec, None if failure is None else failure["message"])


def _tell(watcher: Watcher, task: Task, event: dict[str, Any]) -> None:
    spec = RunSpec.model_validate(task["spec"])
    if event["event"] == "epoch":
        watcher.epoch(spec, event["epoch"], event["val"])
    else:
        watcher.started(spec)
