"""A store of many finished runs, for tests and timings of what becomes of them.

From: names and seeds. To: folders as a sweep leaves them: record, predictions, and of
models trained by gradient the history. All of it is simulated: scores are drawn, no
model was trained. What is drawn depends on names and seeds alone.

``write_records(runs)`` writes 480 runs: 8 datasets × 12 models × 5 seeds, ~10 s on one
core; name fewer datasets, models or seeds for a test (``datasets=("eyes",)``).

Letters: N windows, K classes.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from eegfm_bench.runs.history import HISTORY, Epoch, write_history
from eegfm_bench.runs.predictions import predictions_frame
from eegfm_bench.runs.record import Checkpoint, Cost, Failure, Provenance, RunRecord
from eegfm_bench.runs.spec import (
    AnyRecipe,
    ClosedFormRecipe,
    DatasetRef,
    NoRecipe,
    RunSpec,
    TrainingRecipe,
)
from eegfm_bench.runs.store import ResultStore
from eegfm_bench.training.metrics import score

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Asked(NamedTuple):
    """A dataset's test part: classes' shares, subjects, windows a subject."""

    shares: tuple[float, ...]
    n_subjects: int
    n_each: int


class _Answers(NamedTuple):
    """A model: how well it separates classes, its sizes and its operations."""

    skill: float
    n_encoder: int
    n_head: int
    flops: int | None
    latency_ms: float


DATASETS = {
    "faced": _Asked((1 / 9,) * 9, 23, 84),
    "seedv": _Asked((0.2,) * 5, 16, 200),
    "physionet_mi": _Asked((0.25,) * 4, 20, 88),
    "isruc": _Asked((0.22, 0.12, 0.32, 0.20, 0.14), 10, 180),
    "chbmit": _Asked((0.97, 0.03), 4, 900),
    "bcic2020": _Asked((0.2,) * 5, 15, 50),
    "eegmat": _Asked((0.75, 0.25), 4, 48),
    "eyes": _Asked((0.5, 0.5), 12, 30),
}
MODELS = {
    "chance": _Answers(0.0, 0, 10, 0, 0.02),
    "bandpower": _Answers(0.8, 0, 1_600, 320_000, 0.6),
    "riemann": _Answers(1.0, 0, 4_200, None, 1.1),
    "eegnet": _Answers(0.9, 2_100, 900, 13_100_000, 0.9),
    "eegconformer": _Answers(1.0, 170_000, 33_000, 91_000_000, 3.0),
    "cnn_transformer": _Answers(0.7, 410_000, 2_000, 120_000_000, 3.4),
    "ffcl": _Answers(0.75, 260_000, 1_200, 60_000_000, 2.2),
    "st_transformer": _Answers(0.7, 230_000, 4_800, 75_000_000, 2.8),
    "biot": _Answers(1.05, 310_000, 1_300, 88_000_000, 2.9),
    "labram": _Answers(1.15, 580_000, 1_000, 150_000_000, 4.1),
    "cbramod": _Answers(1.25, 490_000, 9_000, 140_000_000, 3.9),
    "trace": _Answers(1.3, 700_000, 9_000, 130_000_000, 3.8),
}
SEEDS = range(5)
BY_GRADIENT = tuple(m for m in MODELS if m not in ("chance", "bandpower", "riemann"))
_SELECT = {True: "auroc", False: "cohen_kappa"}


def spec_of_many(model: str, dataset: str, seed: int) -> RunSpec:
    """Return the spec of one of the runs."""
    select = _SELECT[len(DATASETS[dataset].shares) == 2]
    recipe: AnyRecipe = TrainingRecipe.model_validate(
        {"epochs": 5, "batch_size": 64, "lr": 1e-3, "select": select}
    )
    if model == "chance":
        recipe = NoRecipe()
    elif model not in BY_GRADIENT:
        recipe = ClosedFormRecipe.model_validate({"select": select})
    return RunSpec(
        dataset=DatasetRef(
            name=dataset,
            protocol=f"{dataset}-1-0a1b2c3d",
            data="simulated",
            fingerprint="drawn-1",
        ),
        model=model,
        scale="small",
        seed=seed,
        recipe=recipe,
    )


def write_records(
    runs: Path,
    *,
    datasets: Iterable[str] = tuple(DATASETS),
    models: Iterable[str] = tuple(MODELS),
    seeds: Iterable[int] = SEEDS,
    predictions: bool = True,
    failed: Iterable[tuple[str, str, int]] = (),
) -> list[RunRecord]:
    """Write runs into a folder and return their records.

    Parameters
    ----------
    runs : path
        The root of a ``ResultStore``.
    datasets, models : iterables of str
        Of ``DATASETS`` and ``MODELS``.
    seeds : iterable of int
    predictions : bool
        Whether scores of the windows lie beside each record.
    failed : iterable of (model, dataset, seed)
        Runs that left a failure instead.
    """
    store = ResultStore(runs)
    failures = set(failed)
    written = []
    for dataset in datasets:
        index = _index(dataset)
        labels = index["label"].to_numpy()
        for model in models:
            scored = None
            for seed in seeds:
                spec = spec_of_many(model, dataset, seed)
                if (model, dataset, seed) in failures:
                    why = Failure(kind="RunFailed", message="The loss became nan.")
                    written.append(RunRecord.failed(spec, why))
                    store.put(written[-1])
                    continue
                # Models without a seed answer every time alike: scored once.
                if scored is None or model in BY_GRADIENT:
                    scores_NK = _scores(spec, index)
                    scored = score(labels, scores_NK)
                record = _record(spec, len(labels), *scored)
                frame = predictions_frame(index, scores_NK) if predictions else None

                def beside(
                    folder: Path,
                    frame: pd.DataFrame | None = frame,
                    model: str = model,
                ) -> None:
                    if frame is not None:
                        frame.to_parquet(folder / "predictions.parquet", index=False)
                    if model in BY_GRADIENT:
                        _history(folder / HISTORY)

                store.put(record, beside)
                written.append(record)
    return written


def _random(*words: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(words).encode()))


def _index(dataset: str) -> pd.DataFrame:
    """Return who, where and what of every test window."""
    asked = DATASETS[dataset]
    n = asked.n_subjects * asked.n_each
    who = np.repeat(np.arange(asked.n_subjects), asked.n_each)
    place = np.tile(np.arange(asked.n_each), asked.n_subjects)
    # The same count of every class for every subject, in the subject's own order.
    ends = np.rint(np.cumsum(asked.shares) * asked.n_each).astype(np.int64)
    own = np.repeat(np.arange(len(asked.shares)), np.diff(ends, prepend=0))
    random = _random("labels", dataset)
    labels = np.concatenate([random.permutation(own) for _ in range(asked.n_subjects)])
    half = np.where(place < asked.n_each // 2, 1, 2)
    subjects = [f"{dataset[:2]}{k:02d}" for k in who]
    return pd.DataFrame(
        {
            "subject": subjects,
            "session": np.full(n, "1"),
            "recording": [f"{s}_{h}" for s, h in zip(subjects, half, strict=True)],
            "onset_s": 10.0 * place,
            "label": labels.astype(np.int64),
        }
    )


def _scores(spec: RunSpec, index: pd.DataFrame) -> NDArray[np.float64]:
    """Draw class probabilities (N, K): some windows and some people are harder."""
    dataset, model = spec.dataset.name, spec.model
    asked = DATASETS[dataset]
    labels = index["label"].to_numpy()
    n_classes = len(asked.shares)
    if model == "chance":
        return np.tile(np.array(asked.shares), (len(labels), 1))
    hardness = _random("windows", dataset).normal(size=(len(labels), n_classes))
    own = _random("model", dataset, model)
    # People differ, and each model finds others hard.
    ease = _random("people", dataset).normal(1.0, 0.35, asked.n_subjects)
    ease += own.normal(0.0, 0.15, asked.n_subjects)
    typical = own.normal(size=(len(labels), n_classes))
    drawn = _random("seed", dataset, model, spec.seed)
    noise = 0.6 * hardness + 0.5 * typical
    noise += 0.6 * drawn.normal(size=(len(labels), n_classes))
    # Closed-form models give the same answer for every seed.
    skill = MODELS[model].skill * (1 + 0.05 * drawn.normal())
    if model not in BY_GRADIENT:
        noise, skill = 0.6 * hardness + 0.5 * typical, MODELS[model].skill
    who = np.repeat(np.arange(asked.n_subjects), asked.n_each)
    logits_NK = noise + (skill * ease[who])[:, None] * np.eye(n_classes)[labels]
    logits_NK -= logits_NK.max(axis=1, keepdims=True)
    odds = np.exp(1.5 * logits_NK)
    scores_NK: NDArray[np.float64] = odds / odds.sum(axis=1, keepdims=True)
    return scores_NK


def _record(
    spec: RunSpec, n_test: int, test: dict[str, float | None], reasons: dict[str, str]
) -> RunRecord:
    shift = 0.01 * _random("val", spec.run_id).normal()
    val = {
        name: None if value is None else float(np.clip(value + shift, 0, 1))
        for name, value in test.items()
    }
    about = MODELS[spec.model]
    is_trained = spec.model in BY_GRADIENT
    select = spec.recipe.select
    rule = "none: nothing is chosen"
    if is_trained:
        rule = f"highest val {select}"
    elif spec.model != "chance":
        rule = f"closed form, penalty by highest val {select}"
    not_taken = {"flops_per_window": "it has no matrix products that can be counted"}
    return RunRecord(
        run_id=spec.run_id,
        cell_id=spec.cell_id,
        spec=spec,
        scores={"val": val, "test": test},
        reasons={"val": reasons, "test": reasons} if reasons else {},
        checkpoint=Checkpoint(
            rule=rule,
            epoch=3 if is_trained else None,
            val_score=None if spec.model == "chance" else val[select],
            chosen={} if is_trained or spec.model == "chance" else {"penalty": 1.0},
        ),
        cost=Cost(
            total_s=3.0 + about.latency_ms,
            fit_s=2.0 + about.latency_ms,
            test_s=0.5,
            peak_memory_bytes=600_000_000 + 12 * about.n_encoder,
            n_parameters=about.n_encoder + about.n_head,
            n_parameters_head=about.n_head,
            window_passes=12 * n_test,
            n_windows={"train": 3 * n_test, "val": n_test, "test": n_test},
            flops_per_window=about.flops,
            latency_ms=about.latency_ms,
            not_taken=not_taken if about.flops is None else {},
        ),
        provenance=Provenance(
            finished_at="2026-01-01T00:00:00+00:00",
            package_version="0.1.0",
            git_commit="0" * 40,
            packages={"numpy": np.__version__},
            python="3.11",
            platform="Linux",
            processor="drawn",
            arithmetic="AVX2",
            device="cpu",
            n_threads=1,
            notes=("drawn, not trained",),
        ),
    )


def _history(file: Path) -> None:
    rows = [
        Epoch(e, 0.4 * e, 1.2 / e, 0.9 + 0.3 / e, 0.7 - 0.2 / e, 0.001)
        for e in range(1, 6)
    ]
    write_history(file, rows)


if __name__ == "__main__":
    print(len(write_records(Path(sys.argv[1]))), "runs written")
