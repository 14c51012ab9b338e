"""From names to records: prepare, write specs, run what is missing.

From: cells and options. To: a Sweep: its specs, its records, and what could not
be asked. The parent imports no torch; workers tell it what it must know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eegfm_bench.datasets._cutters import cores as cores
from eegfm_bench.datasets._places import data_root
from eegfm_bench.datasets._prepare import warn_simulated
from eegfm_bench.datasets._spec import find_labelled
from eegfm_bench.errors import BenchError, DataMissing, SpecError, UnknownName
from eegfm_bench.runs.record import Failure, RunRecord
from eegfm_bench.runs.spec import RunSpec
from eegfm_bench.runs.store import ResultStore
from eegfm_bench.sweep.estimate import ask_if_long
from eegfm_bench.sweep.launch import Launcher, Task, WorkerPool
from eegfm_bench.sweep.notes import remember_suite
from eegfm_bench.sweep.options import Options as Options
from eegfm_bench.sweep.options import Sweep as Sweep
from eegfm_bench.sweep.options import Watcher as Watcher
from eegfm_bench.sweep.planning import (
    checked_cells,
    do_one,
    note_or_raise,
    prepare_all,
)
from eegfm_bench.sweep.specs import (
    cells_of,
    make_spec,
    refuse_unfit_settings,
    refuse_unknown_settings,
    remarks,
)
from eegfm_bench.sweep.suite import Cell, adapted
from eegfm_bench.sweep.weights import (
    refuse_adaptation,
    refuse_budgets,
    refuse_weights_early,
    starts_of,
)


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
    adapt: str | None = None,
    weights: str | Path | Mapping[str, str] | None = None,
    labels: str | None = None,
    allow_partial_weights: bool = False,
    keep_best: bool = False,
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
    adapt : str, optional
        ``scratch``, ``finetune``, ``probe`` or ``lora``; by default ``finetune`` where
        there are weights, else ``scratch``.
    weights : path, str or mapping, optional
        A file or folder, ``hub``, ``hub:KEY``, or one of these for some models by name.
    labels : str, optional
        How much of the training part is used: ``"10%"``, or ``"8/class"``.
    allow_partial_weights : bool
        Whether weights may go in that do not fill an encoder whole.
    keep_best : bool
        Whether the tested model is kept beside its record, for ``eegfm_bench.load``.

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
        if "epochs" in given:
            raise SpecError("epochs is given twice, once in settings; leave one out.")
        given["epochs"] = epochs
    options = Options(
        data=None if data is None else str(data),
        allow_partial=allow_partial,
        device=device,
        jobs=jobs,
        runs=Path(runs),
        retry_failed=retry_failed,
        force=force,
        keep_best=keep_best,
        allow_partial_weights=allow_partial_weights,
    )
    if isinstance(seeds, str):
        raise SpecError(f"seeds is {seeds!r}; expected a count or a list of numbers.")
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if data_root(data) is None:
        warn_simulated()
    cells = adapted(
        cells_of(models, datasets, scale, given),
        adapt=adapt,
        weights=str(weights) if isinstance(weights, Path) else weights,
        labels=labels,
    )
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
    if options.device == "gpu":
        raise SpecError("--device gpu: expected auto, cpu or cuda, which is a GPU.")
    if options.device not in ("auto", "cpu", "cuda"):
        raise UnknownName.among("device", options.device, ("auto", "cpu", "cuda"))
    watcher = watcher or Watcher()
    known = {cell.dataset: find_labelled(cell.dataset) for cell in cells}
    result = Sweep()
    root = data_root(options.data)
    if root is not None:
        for name, dataset in known.items():
            try:
                dataset.find(root)
            except BenchError as error:
                note_or_raise(error, result, name, options)
    launcher = options.launcher or _pool(options, options.device)
    try:
        about = do_one(launcher, {"task": "describe", "models": _models(cells)})
        device = _device(options.device, about["has_cuda"])
        if device == "cuda" and options.launcher is None:
            launcher.close()
            launcher = _pool(options, device)
        described = about["models"]
        refuse_adaptation(cells, described)
        refuse_unknown_settings(cells, described)
        refuse_unfit_settings(cells, described)
        for line in remarks(cells, described):
            watcher.remarked(line)
        cells = checked_cells(launcher, cells, described)
        refuse_weights_early(launcher, cells, described, options)
        prepared = prepare_all(launcher, cells, described, options, result, watcher)
        refuse_budgets(cells, result.manifests)
        starts = starts_of(launcher, cells, described, prepared, options)
        paths: dict[str, str | None] = {}
        for seed in seeds:
            for cell, start in zip(cells, starts, strict=True):
                about_model = described[cell.model]
                got = prepared.get((cell.dataset, about_model["rate_hz"]))
                if got is not None:
                    spec = make_spec(cell, seed, about_model, got, init=start.init)
                    paths[spec.run_id] = start.path
                    result.specs.append(spec)
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
        if options.keep_best:
            result.not_kept = store.without_model(result.specs, but=todo)
        watcher.planned(result.specs, todo)
        if todo:
            stores = {
                p["ref"]["protocol"] + p["ref"]["fingerprint"]: p["store"]
                for p in prepared.values()
            }
            tasks = [
                _fit_task(
                    spec, stores, options, device, store, weights=paths[spec.run_id]
                )
                for spec in todo
            ]
            ask_if_long(launcher, tasks, todo, prepared, options)
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
    if asked == "cuda" and not has_cuda:
        raise SpecError(
            "--device cuda: torch finds no GPU here. Install a CUDA build of torch, or "
            "use --device cpu."
        )
    return "cuda" if has_cuda and asked != "cpu" else "cpu"


def _fit_task(
    spec: RunSpec,
    stores: Mapping[str, str],
    options: Options,
    device: str,
    store: ResultStore,
    *,
    weights: str | None,
) -> Task:
    return {
        "task": "fit",
        "spec": spec.model_dump(mode="json"),
        "store": stores[spec.dataset.protocol + spec.dataset.fingerprint],
        "runs": str(options.runs),
        "device": device,
        "force": options.force,
        "weights": weights,
        # What was kept before is kept anew: its run's folder is replaced whole.
        "keep": options.keep_best or store.has_model(spec.run_id),
    }


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
