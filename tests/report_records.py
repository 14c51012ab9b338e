"""Records made by hand, for tests of what becomes of them.

From: a few words. To: RunRecords, as ``fit`` would have left them.
"""

from __future__ import annotations

from typing import Any, Literal

from eegfm_bench.runs.record import (
    Checkpoint,
    Cost,
    Failure,
    Provenance,
    RunRecord,
)
from eegfm_bench.runs.spec import DatasetRef, NoRecipe, RunSpec, TrainingRecipe

RULES = {"chance": "none: nothing is chosen"}


def spec_of(
    model: str = "eegnet",
    dataset: str = "eyes",
    seed: int = 0,
    *,
    data: Literal["complete", "partial", "simulated"] = "simulated",
    lr: float = 0.001,
    protocol: str | None = None,
    **more: Any,
) -> RunSpec:
    """Return a spec; two with equal words but the seed are one cell."""
    ref = DatasetRef(
        name=dataset,
        protocol=protocol or f"{dataset}-1-0a1b2c3d",
        data=data,
        fingerprint=f"{data}-1",
    )
    recipe = (
        NoRecipe()
        if model == "chance"
        else TrainingRecipe(epochs=2, batch_size=8, lr=lr)
    )
    return RunSpec(
        dataset=ref, model=model, scale="small", seed=seed, recipe=recipe, **more
    )


def done(
    spec: RunSpec,
    *values: float | None,
    n_classes: int = 2,
    absent: tuple[str, ...] = (),
    reason: str = "no window of class 1 in this part",
) -> RunRecord:
    """Return a finished run; values in the order of the table's columns."""
    names = ("balanced_accuracy", "auc_pr", "auroc")
    if n_classes > 2:
        names = ("balanced_accuracy", "cohen_kappa", "weighted_f1")
    test = dict(zip(names, values, strict=False))
    for name in names:
        test.setdefault(name, values[0])
    reasons = {name: reason for name, value in test.items() if value is None}
    return RunRecord(
        run_id=spec.run_id,
        cell_id=spec.cell_id,
        spec=spec,
        scores={"val": {**test, "log_loss": 0.5}, "test": {**test, "log_loss": 0.75}},
        reasons={"val": reasons, "test": reasons} if reasons else {},
        checkpoint=Checkpoint(rule=RULES.get(spec.model, "highest val auroc")),
        cost=Cost(
            total_s=1.0,
            fit_s=0.5,
            test_s=0.25,
            peak_memory_bytes=1,
            n_parameters=1,
            n_parameters_head=1,
            window_passes=1,
            n_windows={"train": 1, "val": 1, "test": 1},
        ),
        provenance=Provenance(
            finished_at="2026-01-01T00:00:00+00:00",
            package_version="0",
            git_commit=None,
            packages={},
            python="3",
            platform="any",
            arithmetic="AVX2",
            processor="any",
            device="cpu",
            n_threads=1,
            absent_subjects=absent,
        ),
    )


def broken(spec: RunSpec, message: str = "the loss is not finite") -> RunRecord:
    """Return a run that failed."""
    return RunRecord.failed(spec, Failure(kind="SignalError", message=message))


def seeds(
    model: str, dataset: str, values: tuple[float, ...], **more: Any
) -> list[RunRecord]:
    """Return one finished run per value, seeds from 0; all metrics alike."""
    n_classes = more.pop("n_classes", 2)
    return [
        done(spec_of(model, dataset, seed, **more), value, n_classes=n_classes)
        for seed, value in enumerate(values)
    ]
