"""The spine: one spec and its windows in, one record out.

From: RunSpec and WindowStore. To: RunRecord and predictions. The one place where
dataset, model and training meet; the test part is read once, at the end.
"""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from eegfm_bench.batches import EEGDataModule
from eegfm_bench.datasets._prepare import dataset_ref
from eegfm_bench.errors import SpecError, listed, shared_persons
from eegfm_bench.models._spec import InputShape, ModelSpec, find_model
from eegfm_bench.runs.predictions import predictions_frame
from eegfm_bench.runs.record import Cost, RunRecord
from eegfm_bench.runs.spec import RunSpec
from eegfm_bench.training.adapting import n_parameters
from eegfm_bench.training.budget import label_budget, train_rows
from eegfm_bench.training.classifier import EpochEnd
from eegfm_bench.training.cost import measured
from eegfm_bench.training.events import score_events
from eegfm_bench.training.metrics import score
from eegfm_bench.training.provenance import (
    peak_memory_bytes,
    provenance,
    reset_peak_memory,
)
from eegfm_bench.training.starting import a_few_windows, start_from
from eegfm_bench.training.ways import recorded, refuse_adaptation, way_of
from eegfm_bench.training.whole import predict as predict
from eegfm_bench.training.whole import train_whole as _train  # noqa: F401
from eegfm_bench.weights.card import card_of
from eegfm_bench.weights.folder import write_folder
from eegfm_bench.windows.store import WindowStore

if TYPE_CHECKING:
    from numpy.typing import NDArray


def fit(
    spec: RunSpec,
    store: WindowStore,
    *,
    device: str = "cpu",
    on_epoch: EpochEnd | None = None,
    weights: Path | None = None,
    keep: Path | None = None,
) -> tuple[RunRecord, pd.DataFrame]:
    """Train, choose on validation, test once.

    Parameters
    ----------
    spec : RunSpec
        The question.
    store : WindowStore
        The windows the spec names.
    device : str
        ``cpu`` or ``cuda``.
    on_epoch : function of an Epoch, optional
    weights : path, optional
        Where the weights lie that the spec names in ``init``.
    keep : path, optional
        The folder that the tested state is written to.

    Returns
    -------
    record : RunRecord
    predictions : DataFrame
        Scores of every test window, with who and where it was.

    Raises
    ------
    BenchError
        If the store, the weights or the model's source is not the one the spec names, a
        part is empty, the shape cannot be served, training diverges, or a frozen
        encoder moved.
    """
    started = time.perf_counter()
    reset_peak_memory()
    _refuse_other_windows(spec, store)
    known = find_model(spec.model)
    _refuse_other_code(spec, known)
    refuse_adaptation(spec, known, keep=keep is not None)
    seed_everything(spec.seed)
    rows = train_rows(store, spec.labels, spec.seed)
    data = EEGDataModule(
        store,
        batch_size=getattr(spec.recipe, "batch_size", 256),
        seed=spec.seed,
        train_rows=rows,
    )
    data.refuse_empty_parts()
    shape = input_shape(store)
    model = known.build(shape, scale=spec.scale, options=spec.options)
    some_x = a_few_windows(data)
    loaded = start_from(model, known, spec, weights, some_x)
    way = way_of(spec, known, model.to(device), shape)

    fit_started = time.perf_counter()
    checkpoint, val_scores_NK, passes = way.train(data, device, on_epoch)
    test_started = time.perf_counter()
    is_bf16 = getattr(spec.recipe, "precision", "32") == "bf16"
    with torch.autocast(device, torch.bfloat16, enabled=is_bf16):  # as it validated
        test_scores_NK, test_passes = way.test(data, device)
    test_ended = time.perf_counter()
    model, adaptation = way.prove(some_x.to(device))

    scores, reasons = {}, {}
    for part, part_scores in (("val", val_scores_NK), ("test", test_scores_NK)):
        scores[part], reasons[part] = score(data.labels(part), part_scores)
        if "events" in store.manifest:
            values, why = _score_events(store, part, part_scores)
            scores[part] |= values
            reasons[part] |= why
    cost = Cost(
        total_s=time.perf_counter() - started,
        fit_s=test_started - fit_started,
        test_s=test_ended - test_started,
        peak_memory_bytes=peak_memory_bytes(device),
        n_parameters=way.n_parameters,
        n_parameters_head=n_parameters(dict(model.head.named_parameters())),
        window_passes=passes + test_passes,
        n_windows=data.counts(),
    )
    record = RunRecord(
        run_id=spec.run_id,
        cell_id=spec.cell_id,
        spec=spec,
        scores=scores,
        reasons={part: why for part, why in reasons.items() if why},
        checkpoint=checkpoint,
        cost=measured(cost, spec, model, some_x.to(device), shape),
        provenance=provenance(
            device=device,
            absent_subjects=tuple(store.manifest["absent_subjects"]),
            notes=(*_notes(store), *way.notes),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
        weights=loaded,
        adaptation=recorded(spec, adaptation, label_budget(store, spec.labels, rows)),
    )
    if keep is not None:
        write_folder(
            keep,
            model,
            known,
            shape,
            scale=spec.scale,
            options=spec.options,
            card=card_of(record, store, train_rows=rows),
        )
    index = store.index.iloc[store.rows("test")]
    return record, predictions_frame(index, test_scores_NK)


def _score_events(
    store: WindowStore, part: str, scores_NK: NDArray[np.float64]
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Score events rather than windows, where the dataset has any to detect."""
    events = store.manifest["events"]
    return score_events(
        store.index.iloc[store.rows(part)],
        scores_NK,
        {name: about for name, about in events.items() if about["part"] == part},
        window_s=store.manifest["recipe"]["window_s"],
        stride_s=store.manifest["recipe"]["stride_s"],
    )


def input_shape(store: WindowStore) -> InputShape:
    """Return what a model may know about a store."""
    recipe = store.manifest["recipe"]
    return InputShape(
        channels=tuple(recipe["channels"]),
        n_times=store.manifest["shape"][2],
        rate_hz=recipe["rate_hz"],
        n_classes=len(store.manifest["classes"]),
        sequence=store.sequence,
    )


def seed_everything(seed: int) -> None:
    """Seed every generator a model may draw from; batches have their own."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for models of others that draw from it
    torch.manual_seed(seed)


def _refuse_other_windows(spec: RunSpec, store: WindowStore) -> None:
    found = dataset_ref(store)
    if found != spec.dataset:
        raise SpecError(
            f"The windows at {store.path} are {found.protocol} ({found.data}, "
            f"{found.fingerprint}); the spec asks for {spec.dataset.protocol} "
            f"({spec.dataset.data}, {spec.dataset.fingerprint}). Prepare again."
        )


def _refuse_other_code(spec: RunSpec, known: ModelSpec) -> None:
    if known.code_hash != spec.code:
        raise SpecError(
            f"The source files of {spec.model} are {known.code_hash}; the spec asks "
            f"for {spec.code}. They changed since the spec was written: run again."
        )


def _notes(store: WindowStore) -> tuple[str, ...]:
    """Return what is odd about the windows, for the record."""
    notes = []
    flat = store.manifest["flat_channels"]
    if flat:
        n_flat = sum(len(channels) for channels in flat.values())
        where = listed([f"{r}: {', '.join(c)}" for r, c in flat.items()])
        notes.append(f"{n_flat} flat channels in {len(flat)} recordings ({where})")
    for who, parts in shared_persons(store.manifest["persons_in_several_parts"]):
        notes.append(f"{who} in {parts}, as the protocol has it")
    for same in store.manifest["identical_recordings"]:
        notes.append(f"{', '.join(same)} are the same bytes under several names")
    return tuple(notes)
