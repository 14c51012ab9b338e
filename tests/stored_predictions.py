"""Runs with predictions made by hand, for tests of what is said of their subjects.

From: a drawn test part and a strength. To: records in a ``ResultStore`` whose scores
are those of the predictions beside them. All of it is simulated.

Letters: N windows, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from eegfm_bench.runs.predictions import predictions_frame
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.store import ResultStore
from eegfm_bench.training.metrics import score
from tests.report_records import done, spec_of


def windows_of_people(
    people: Iterable[str], *, n_each: int = 12, n_classes: int = 2
) -> pd.DataFrame:
    """Return an index: everybody has as many windows of every class."""
    people = list(people)
    n = len(people) * n_each
    return pd.DataFrame(
        {
            "subject": np.repeat(people, n_each),
            "session": "1",
            "recording": np.repeat([f"{who}_1" for who in people], n_each),
            "onset_s": np.tile(np.arange(n_each) * 2.0, len(people)),
            "label": (np.arange(n) % n_classes).astype(np.int64),
        }
    )


def answers(
    index: pd.DataFrame, strength: float, *, seed: int = 0, n_classes: int = 2
) -> np.ndarray:
    """Draw class probabilities (N, K); more strength, more of them right."""
    draw = np.random.default_rng((seed, int(1000 * strength), len(index)))
    labels = index["label"].to_numpy()
    logits = draw.normal(size=(len(index), n_classes))
    logits[np.arange(len(index)), labels] += strength
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)


def put(
    store: ResultStore,
    model: str,
    index: pd.DataFrame,
    scores_NK: np.ndarray,
    *,
    dataset: str = "eyes",
    seed: int = 0,
    **more: Any,
) -> RunRecord:
    """Write one run; its record says what its predictions give."""
    values, reasons = score(index["label"].to_numpy(), scores_NK)
    spec = spec_of(model, dataset, seed, **more)
    record = done(spec, 0.5).model_copy(
        update={"scores": {"test": values}, "reasons": {"test": reasons}}
    )
    frame = predictions_frame(index, scores_NK)
    store.put(record, lambda folder: frame.to_parquet(folder / "predictions.parquet"))
    return record


def put_cell(
    store: ResultStore,
    model: str,
    people: Sequence[str],
    strength: float,
    *,
    seeds: Iterable[int] = range(3),
    n_classes: int = 2,
    **more: Any,
) -> list[RunRecord]:
    """Write a run for every seed on the same test part."""
    index = windows_of_people(people, n_classes=n_classes)
    return [
        put(
            store,
            model,
            index,
            answers(index, strength, seed=seed, n_classes=n_classes),
            seed=seed,
            **more,
        )
        for seed in seeds
    ]
