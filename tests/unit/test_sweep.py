"""Many runs: order, resuming, workers that die, cells that fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import eegfm_bench
from eegfm_bench.errors import DataMissing, SpecError, UnknownName
from eegfm_bench.runs.store import ResultStore
from eegfm_bench.sweep import planning
from eegfm_bench.sweep.launch import InlineLauncher, WorkerPool
from eegfm_bench.sweep.notes import recall_suite
from eegfm_bench.sweep.run import Options, Watcher, sweep
from eegfm_bench.sweep.specs import cells_of, make_spec
from eegfm_bench.training import worker


class Recording(InlineLauncher):
    """Do tasks in this process, and remember which were fitted."""

    def __init__(self) -> None:
        self.fitted: list[tuple[str, str, int]] = []

    def each(self, tasks: Iterable[Any], on_event: Any = None) -> Iterator[Any]:
        for task, outcome in super().each(tasks, on_event):
            if task["task"] == "fit":
                spec = task["spec"]
                self.fitted.append(
                    (spec["model"], spec["dataset"]["name"], spec["seed"])
                )
            yield task, outcome


def options(tmp_path: Path, **more: Any) -> Options:
    return Options(runs=tmp_path / "runs", device="cpu", launcher=Recording(), **more)


FAST = (["chance", "bandpower"], ["eegmat", "eyes"])


def test_the_first_seed_of_every_cell_comes_first(tmp_path: Path) -> None:
    opt = options(tmp_path)
    sweep(cells_of(*FAST, "small", {}), [4, 2], opt)
    assert isinstance(opt.launcher, Recording)
    pairs = [("chance", "eegmat"), ("bandpower", "eegmat")]
    pairs += [("chance", "eyes"), ("bandpower", "eyes")]
    expected = [(*pair, seed) for seed in (4, 2) for pair in pairs]
    assert opt.launcher.fitted == expected


def test_what_is_done_is_not_run_again_unless_forced(tmp_path: Path) -> None:
    cells = cells_of(*FAST, "small", {})
    first = sweep(cells, [0], options(tmp_path))
    again = sweep(cells, [0], options(tmp_path))
    assert (first.n_ran, again.n_ran) == (4, 0)
    assert again.records(tmp_path / "runs") == first.records(tmp_path / "runs")
    assert sweep(cells, [0], options(tmp_path, force=True)).n_ran == 4
    assert sweep(cells, [0, 1], options(tmp_path)).n_ran == 4


def test_a_failing_cell_costs_one_cell_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eegfm_bench.training import fit as fit_module

    sound = fit_module.fit

    def sick(spec: Any, *args: Any, **more: Any) -> Any:
        if spec.model == "bandpower" and spec.dataset.name == "eyes":
            raise ZeroDivisionError("no alpha at all")
        return sound(spec, *args, **more)

    monkeypatch.setattr(fit_module, "fit", sick)
    cells = cells_of(*FAST, "small", {})
    result = sweep(cells, [0], options(tmp_path))
    records = result.records(tmp_path / "runs")
    failed = [r for r in records if not r.is_done]
    assert len(records) == 4
    assert len(failed) == 1
    assert failed[0].failure is not None
    assert failed[0].failure.kind == "ZeroDivisionError"
    assert failed[0].failure.message == "no alpha at all"
    assert "in sick" in failed[0].failure.traceback
    monkeypatch.setattr(fit_module, "fit", sound)
    assert sweep(cells, [0], options(tmp_path)).n_ran == 0
    healed = sweep(cells, [0], options(tmp_path, retry_failed=True))
    assert healed.n_ran == 1
    assert all(r.is_done for r in healed.records(tmp_path / "runs"))


def test_a_suite_goes_on_without_a_missing_dataset(tmp_path: Path) -> None:
    from eegfm_bench.datasets._prepare import twin_root
    from eegfm_bench.datasets._spec import find_dataset

    root = twin_root(find_dataset("eyes"))
    cells = cells_of(["chance"], ["eegmat", "eyes"], "small", {})
    opt = options(tmp_path, data=str(root), allow_partial=True, suite="mine")
    result = sweep(cells, [0], opt)
    assert list(result.missing) == ["eegmat"]
    assert "physionet" in result.missing["eegmat"]
    assert [s.dataset.name for s in result.specs] == ["eyes"]
    assert recall_suite(opt.runs, "mine") == (result.specs, result.missing)
    with pytest.raises(DataMissing, match="no folder 'eegmat'"):
        sweep(cells, [0], options(tmp_path, data=str(root), allow_partial=True))


def test_settings_reach_the_models_that_have_them(tmp_path: Path) -> None:
    settings = {"epochs": 1, "F1": 4, "class_weights": "none"}
    cells = cells_of(["bandpower", "eegnet"], ["eegmat"], "small", settings)
    result = sweep(cells, [0], options(tmp_path))
    power, net = result.specs
    assert power.recipe.class_weights == net.recipe.class_weights == "none"
    assert (power.options, net.options) == ({}, {"F1": 4})
    assert net.recipe.epochs == 1
    assert all(r.is_done for r in result.records(tmp_path / "runs"))


def test_a_setting_is_a_default_only_at_the_scale_that_has_it() -> None:
    for scale, value, kept in (
        ("paper", 0.25, {}),
        ("paper", 0.0, {"drop_prob": 0.0}),
        ("small", 0.25, {"drop_prob": 0.25}),
        ("small", 0.0, {}),
    ):
        cell = cells_of(["eegnet"], ["eegmat"], scale, {"drop_prob": value})[0]
        about = worker.handle({"task": "describe", "models": ["eegnet"]}, print)
        prepared = {
            "ref": {
                "name": "eegmat",
                "protocol": "eegmat-1",
                "data": "simulated",
                "fingerprint": "twin",
            },
            "manifest": {"main_score": "auroc"},
        }
        spec = make_spec(cell, 0, about["models"]["eegnet"], prepared)
        assert spec.options == kept


def test_the_paper_scale_weighs_classes_as_the_sources_do() -> None:
    prepared = {
        "ref": {
            "name": "chbmit",
            "protocol": "chbmit-1-0",
            "data": "simulated",
            "fingerprint": "twin",
        },
        "manifest": {"main_score": "auroc"},
    }
    about = worker.handle({"task": "describe", "models": ["eegnet"]}, print)
    for scale, own, expected in (
        ("paper", {}, "none"),
        ("small", {}, "balanced"),
        ("paper", {"class_weights": "balanced"}, "balanced"),
    ):
        (cell,) = cells_of(["eegnet"], ["chbmit"], scale, own)
        recipe = make_spec(cell, 0, about["models"]["eegnet"], prepared).recipe
        assert recipe.class_weights == expected  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"epoch": 1}, UnknownName, "Did you mean 'epochs'"),
        ({"epochs": 0}, SpecError, "'epochs'"),
        (
            {"F1": "many"},
            SpecError,
            "'F1' .* is 'many'; expected a whole number",
        ),
        ({"lr": -1.0}, SpecError, "'lr'"),
    ],
)
def test_a_setting_that_fits_no_model_is_refused(
    tmp_path: Path, settings: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        sweep(
            cells_of(["eegnet"], ["eegmat"], "small", settings), [0], options(tmp_path)
        )


def spec_of(model: str, scale: str, settings: dict[str, Any]) -> Any:
    """The spec that a command would ask, without any windows."""
    about = worker.handle({"task": "describe", "models": [model]}, print)["models"]
    (cell,) = cells_of([model], ["eegmat"], scale, settings)
    (cell,) = planning.checked_cells(InlineLauncher(), [cell], about)
    ref = {"name": "eegmat", "protocol": "eegmat-1", "data": "simulated"}
    return make_spec(
        cell,
        0,
        about[model],
        {
            "ref": ref | {"fingerprint": "twin"},
            "manifest": {"main_score": "auroc"},
        },
    )


@pytest.mark.parametrize("scale", ["paper", "small"])
def test_a_number_is_taken_for_the_text_it_was(scale: str) -> None:
    found = spec_of("trace", scale, {"channel_kernels": 19})
    assert found.options == {"channel_kernels": "19"}


@pytest.mark.parametrize("scale", ["paper", "small"])
def test_two_spellings_are_one_question(scale: str) -> None:
    plain = spec_of("trace", scale, {})
    spaced = spec_of("trace", scale, {"time_kernels": " 15, 49"})
    assert spaced.options == {}
    assert spaced.run_id == plain.run_id
    other = spec_of("trace", scale, {"time_kernels": "15 ,51", "channel_kernels": 19})
    assert other.options == {"time_kernels": "15,51", "channel_kernels": "19"}


@pytest.mark.parametrize(
    ("model", "settings", "says"),
    [
        ("trace", {"heads": 3}, "is not a multiple of heads"),
        ("trace", {"routing": "tokens"}, "Did you mean 'token'"),
        ("eegconformer", {"num_heads": 3}, "among 3 heads"),
        ("eegconformer", {"num_heads": True}, "'num_heads' of eegconformer is True"),
    ],
)
def test_an_architecture_that_does_not_fit_is_refused_before_windows_are_cut(
    tmp_path: Path, model: str, settings: dict[str, Any], says: str
) -> None:
    class NoWindows(InlineLauncher):
        def each(self, tasks: Iterable[Any], on_event: Any = None) -> Iterator[Any]:
            tasks = list(tasks)
            assert {task["task"] for task in tasks} <= {"describe", "check"}
            return super().each(tasks, on_event)

    opt = Options(runs=tmp_path / "runs", device="cpu", launcher=NoWindows())
    cells = cells_of(["bandpower", model], ["eegmat"], "small", settings)
    with pytest.raises((SpecError, UnknownName), match=says) as refusal:
        sweep(cells, [0], opt)
    assert refusal.value.exit_status == 2


def test_a_model_that_ends_the_process_costs_its_cell_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eegfm_bench.training import fit as fit_module

    def leave(*args: Any, **more: Any) -> Any:
        raise SystemExit("no licence")

    monkeypatch.setattr(fit_module, "fit", leave)
    cells = cells_of(["chance"], ["eegmat"], "small", {})
    (record,) = sweep(cells, [0], options(tmp_path)).records(tmp_path / "runs")
    assert record.failure is not None
    assert (record.failure.kind, record.failure.message) == ("SystemExit", "no licence")


def test_unknown_names_are_refused_with_the_nearest(tmp_path: Path) -> None:
    for models, datasets, scale, says in (
        (["eegnett"], ["eyes"], "small", "Did you mean 'eegnet'"),
        (["eegnet"], ["eye"], "small", "Did you mean 'eyes'"),
        (["eegnet"], ["eyes"], "smal", "Did you mean 'small'"),
    ):
        with pytest.raises(UnknownName, match=says):
            sweep(cells_of(models, datasets, scale, {}), [0], options(tmp_path))


class Told(Watcher):
    def __init__(self) -> None:
        self.ends: list[str | None] = []

    def ended(self, spec: Any, failure: str | None) -> None:
        self.ends.append(failure)


def test_the_public_run_uses_workers_and_leaves_torch_to_them(tmp_path: Path) -> None:
    code = (
        "import sys, eegfm_bench\n"
        "records = eegfm_bench.run(['chance', 'bandpower'], 'eegmat', seeds=2,\n"
        "    scale='small', runs=sys.argv[1], jobs=2)\n"
        "assert all(r.is_done for r in records), records\n"
        "assert 'torch' not in sys.modules and 'lightning' not in sys.modules\n"
        "print(len(records))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "4"


def test_a_worker_that_dies_costs_its_task_alone(tmp_path: Path) -> None:
    pool = WorkerPool(jobs=1, n_threads=1, logs=tmp_path)
    try:
        pool._borrow().kill()  # one that is dead before it is asked
        pool._idle = list(pool._all)
        outcomes = [o for _, o in pool.each([{"task": "describe", "models": []}] * 2)]
    finally:
        pool.close()
    assert "signal SIGKILL" in outcomes[0]["died"]
    assert outcomes[1]["models"] == {}


def test_a_closed_pool_starts_no_more_workers(tmp_path: Path) -> None:
    pool = WorkerPool(jobs=1, n_threads=1, logs=tmp_path)
    before = set(threading.enumerate())
    outcomes = pool.each([{"task": "describe", "models": []}] * 1000)
    next(iter(outcomes))
    pool.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)
        assert not thread.is_alive()
    assert pool._all == []


def test_a_worker_trusts_neither_its_folder_nor_its_libraries_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "statistics.py").write_text("raise RuntimeError('not a library')\n")
    noisy = tmp_path / "noisy"
    noisy.mkdir()
    (noisy / "sitecustomize.py").write_text("print('good morning')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(noisy))
    pool = WorkerPool(jobs=1, n_threads=1, logs=tmp_path / "logs")
    try:
        ((_, outcome),) = pool.each([{"task": "describe", "models": ["chance"]}])
    finally:
        pool.close()
    assert outcome["models"]["chance"]["title"] == "Chance"


def test_what_cannot_be_handled_is_an_outcome_not_a_hang(tmp_path: Path) -> None:
    pool = WorkerPool(jobs=1, n_threads=1, logs=tmp_path)
    try:
        ((_, outcome),) = pool.each([{"task": "no such task"}])
    finally:
        pool.close()
    assert "KeyError" in outcome["error"]


def test_a_suite_by_path_has_its_table(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\nversion: 1\ntitle: My own\nscale: small\nseeds: [0]\n"
        "models: [chance]\ndatasets: [eegmat]\n"
    )
    argv = [sys.executable, "-m", "eegfm_bench", "sweep", str(file), "--jobs", "1"]
    done = subprocess.run(
        [*argv, "--runs", str(tmp_path / "runs"), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tables"][0]["title"] == "My own"
    assert "My own" in (tmp_path / "runs" / "tables" / "mine.md").read_text()


def test_some_cells_of_a_suite_do_not_stand_for_the_whole(tmp_path: Path) -> None:
    cells = cells_of(*FAST, "small", {})
    sweep(cells, [0], options(tmp_path, suite="mine"))
    whole = recall_suite(tmp_path / "runs", "mine")
    sweep(cells[:1], [0], options(tmp_path, suite="mine", is_whole=False))
    assert recall_suite(tmp_path / "runs", "mine") == whole


def test_forced_a_damaged_record_is_made_anew(tmp_path: Path) -> None:
    cells = cells_of(["chance"], ["eegmat"], "small", {})
    result = sweep(cells, [0], options(tmp_path))
    file = ResultStore(tmp_path / "runs").path(result.specs[0].run_id) / "record.json"
    file.write_text("{")
    sweep(cells, [0], options(tmp_path, force=True))
    assert result.records(tmp_path / "runs")[0].is_done


@pytest.mark.slow
def test_scores_are_the_same_inline_and_in_workers(tmp_path: Path) -> None:
    cells = cells_of(["eegnet"], ["eegmat"], "small", {"epochs": 1})
    inline = sweep(cells, [0], options(tmp_path / "a"))
    pooled = Options(runs=tmp_path / "b", device="cpu", jobs=2)
    if (os.cpu_count() or 1) < 2:
        pooled = Options(runs=tmp_path / "b", device="cpu", jobs=1)
    apart = sweep(cells, [0], pooled)
    ours = inline.records(tmp_path / "a" / "runs")[0]
    theirs = apart.records(tmp_path / "b")[0]
    assert theirs.provenance is not None
    if theirs.provenance.n_threads == 1:
        assert ours.scores == theirs.scores


@pytest.mark.slow
def test_killed_halfway_it_goes_on_to_the_same_scores(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "eegfm_bench", "run", "--model", "eegnet"]
    command += ["--dataset", "eegmat", "--scale", "small", "--seeds", "3", "--json"]
    command += ["--jobs", "1"]
    whole = subprocess.run(
        [*command, "--runs", str(tmp_path / "whole")],
        capture_output=True,
        text=True,
        check=True,
    )
    started = subprocess.Popen(
        [*command, "--runs", str(tmp_path / "cut")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("cut/eegnet*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    started.send_signal(signal.SIGKILL)
    started.wait()
    done = len(list(tmp_path.glob("cut/eegnet*")))
    assert done >= 1
    rest = subprocess.run(
        [*command, "--runs", str(tmp_path / "cut")],
        capture_output=True,
        text=True,
        check=True,
    )

    def scores(text: str) -> dict[str, Any]:
        return {r["run_id"]: r["scores"] for r in json.loads(text)["records"]}

    assert scores(rest.stdout) == scores(whole.stdout)
    assert len(scores(rest.stdout)) == 3


def test_a_run_that_another_process_holds_waits_its_turn(tmp_path: Path) -> None:
    cells = cells_of(["chance"], ["eegmat"], "small", {})
    result = sweep(cells, [0], options(tmp_path))
    store, spec = ResultStore(tmp_path / "runs"), result.specs[0]
    task = {"task": "fit", "spec": spec.model_dump(mode="json"), "force": True}
    task |= {"runs": str(store.root), "device": "cpu", "store": "unused"}
    with store.claim(spec.run_id) as ours:
        assert ours
        assert worker.handle(task, lambda event: None) == {"busy": True}


def test_nothing_to_run_is_refused() -> None:
    with pytest.raises(SpecError, match="Nothing to run"):
        eegfm_bench.run([], "eyes")
