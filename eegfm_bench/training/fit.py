"""The spine: one spec and its windows in, one record out.

From: RunSpec and WindowStore. To: RunRecord and predictions. The one place where
dataset, model and training meet; the test part is read once, at the end.
"""

from __future__ import annotations

import logging
import random
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import pandas as pd
import torch

from eegfm_bench.batches import EEGDataModule
from eegfm_bench.datasets._prepare import dataset_ref
from eegfm_bench.errors import SpecError, listed, shared_persons
from eegfm_bench.models._spec import InputShape, ModelSpec, find_model
from eegfm_bench.runs.predictions import predictions_frame
from eegfm_bench.runs.record import Checkpoint, Cost, RunRecord
from eegfm_bench.runs.spec import ClosedFormRecipe, RunSpec, TrainingRecipe
from eegfm_bench.training.classifier import EpochEnd, LitClassifier
from eegfm_bench.training.closed_form import softmax, solve_head
from eegfm_bench.training.events import score_events
from eegfm_bench.training.metrics import score
from eegfm_bench.training.provenance import (
    peak_memory_bytes,
    provenance,
    reset_peak_memory,
)
from eegfm_bench.windows.store import WindowStore

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

# What a way of training returns: how the tested state was chosen, the scores
# (N, K) of the validation part at that state, and passes of windows so far.
Trained = tuple[Checkpoint, "NDArray[np.float64]", int]


def fit(
    spec: RunSpec,
    store: WindowStore,
    *,
    device: str = "cpu",
    on_epoch: EpochEnd | None = None,
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
    on_epoch : function of (epoch, validation score), optional

    Returns
    -------
    record : RunRecord
    predictions : DataFrame
        Scores of every test window, with who and where it was.

    Raises
    ------
    BenchError
        If the store or the model's source is not the one the spec names, a part is
        empty, the shape cannot be served, or training diverges.
    """
    started = time.perf_counter()
    reset_peak_memory()
    _refuse_other_windows(spec, store)
    known = find_model(spec.model)
    _refuse_other_code(spec, known)
    seed_everything(spec.seed)
    data = EEGDataModule(
        store, batch_size=getattr(spec.recipe, "batch_size", 256), seed=spec.seed
    )
    data.refuse_empty_parts()
    model = known.build(input_shape(store), scale=spec.scale, options=spec.options).to(
        device
    )

    fit_started = time.perf_counter()
    checkpoint, val_scores_NK, passes = _train(
        known, model, data, spec, device, on_epoch
    )
    test_started = time.perf_counter()
    is_bf16 = getattr(spec.recipe, "precision", "32") == "bf16"
    with torch.autocast(device, torch.bfloat16, enabled=is_bf16):  # as it validated
        test_scores_NK = predict(model, data, "test", device=device)
    test_ended = time.perf_counter()

    labels = store.index["label"].to_numpy(np.int64)
    scores, reasons = {}, {}
    for part, part_scores in (("val", val_scores_NK), ("test", test_scores_NK)):
        scores[part], reasons[part] = score(labels[store.rows(part)], part_scores)
        if "events" in store.manifest:
            values, why = _score_events(store, part, part_scores)
            scores[part] |= values
            reasons[part] |= why
    record = RunRecord(
        run_id=spec.run_id,
        cell_id=spec.cell_id,
        spec=spec,
        scores=scores,
        reasons={part: why for part, why in reasons.items() if why},
        checkpoint=checkpoint,
        cost=Cost(
            total_s=time.perf_counter() - started,
            fit_s=test_started - fit_started,
            test_s=test_ended - test_started,
            peak_memory_bytes=peak_memory_bytes(device),
            n_parameters=_n_parameters(model),
            n_parameters_head=_n_parameters(model.head),
            window_passes=passes + len(store.rows("test")),
            n_windows=store.counts(),
        ),
        provenance=provenance(
            device=device,
            absent_subjects=tuple(store.manifest["absent_subjects"]),
            notes=_notes(store),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
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


@torch.inference_mode()
def predict(
    model: nn.Module,
    data: EEGDataModule,
    part: str,
    *,
    device: str = "cpu",
    of: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> NDArray[np.float64]:
    """Return class probabilities (N, K) of a part, in the index's order.

    The windows of a sequence have a row each. With ``of``, return that function's
    raw values (N, D) instead.
    """
    model.eval()
    rows = [
        (of or model)(batch.x.to(device)).double().cpu()
        for batch in data.in_order(part)
    ]
    values = torch.cat([row.flatten(0, -2) for row in rows]).numpy()
    return values if of is not None else softmax(values)


def _train(
    known: ModelSpec,
    model: nn.Module,
    data: EEGDataModule,
    spec: RunSpec,
    device: str,
    on_epoch: EpochEnd | None,
) -> Trained:
    recipe = spec.recipe
    if known.trained_by == "gradient" and isinstance(recipe, TrainingRecipe):
        return _train_by_gradient(model, data, recipe, device, on_epoch)
    if known.trained_by == "closed_form" and isinstance(recipe, ClosedFormRecipe):
        return _solve(model, data, recipe, device)
    if known.trained_by == "prior" and recipe.kind == "prior":
        return _set_prior(model, data, device)
    raise SpecError(
        f"{known.name} is trained by '{known.trained_by}', the recipe is of kind "
        f"'{recipe.kind}'. Make the spec from the model's own recipe."
    )


def _train_by_gradient(
    model: nn.Module,
    data: EEGDataModule,
    recipe: TrainingRecipe,
    device: str,
    on_epoch: EpochEnd | None,
) -> Trained:
    n_steps = recipe.epochs * len(data.train_dataloader())
    classifier = LitClassifier(
        model,
        recipe,
        class_counts=data.class_counts(),
        n_steps=n_steps,
        on_epoch=on_epoch,
    )
    with _quiet_lightning():
        trainer = L.Trainer(
            accelerator="gpu" if device == "cuda" else "cpu",
            devices=1,
            max_epochs=recipe.epochs,
            precision="bf16-mixed" if recipe.precision == "bf16" else "32-true",
            gradient_clip_val=recipe.clip,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(classifier, datamodule=data)
    model.load_state_dict(classifier.best_state)
    model.to(device)
    is_last = recipe.select == "last"
    checkpoint = Checkpoint(
        rule="last epoch" if is_last else f"highest val {recipe.select}",
        epoch=classifier.best_epoch,
        val_score=None if is_last else classifier.best_score,
    )
    counts = data.store.counts()
    passes = classifier.epochs_run * (counts["train"] + counts["val"])
    return checkpoint, classifier.best_val_scores, passes


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's greetings and tips from coming up once a cell."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Loaders without worker processes are the fast ones here: a batch
            # is one read of a memory map. The other is Lightning's own affair
            # with torch's pytree.
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _solve(
    model: Any, data: EEGDataModule, recipe: ClosedFormRecipe, device: str
) -> Trained:
    labels = data.store.index["label"].to_numpy(np.int64)
    counts = data.store.counts()
    passes = counts["train"] + counts["val"]
    if hasattr(model, "fit_features"):
        windows = (batch.x.to(device) for batch in data.in_order("train"))
        model.fit_features(windows, torch.from_numpy(labels[data.store.rows("train")]))
        passes += counts["train"]
    parts = {
        part: (
            predict(model, data, part, device=device, of=model.features),
            labels[data.store.rows(part)],
        )
        for part in ("train", "val")
    }
    n_classes = len(data.store.manifest["classes"])
    solved = solve_head(
        parts["train"], parts["val"], n_classes=n_classes, recipe=recipe
    )
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(solved.weight_KD))
        model.head.bias.copy_(torch.from_numpy(solved.bias_K))
    checkpoint = Checkpoint(
        rule=f"closed form, penalty by highest val {recipe.select}",
        val_score=solved.val_score,
        chosen={"penalty": solved.penalty},
    )
    val_scores_NK = softmax(parts["val"][0] @ solved.weight_KD.T + solved.bias_K)
    return checkpoint, val_scores_NK, passes


def _set_prior(model: Any, data: EEGDataModule, device: str) -> Trained:
    labels = data.store.index["label"].to_numpy(np.int64)
    model.set_prior(torch.from_numpy(labels[data.store.rows("train")]))
    checkpoint = Checkpoint(rule="none: nothing is chosen")
    val_scores_NK = predict(model, data, "val", device=device)
    return checkpoint, val_scores_NK, len(val_scores_NK)


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


def _n_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


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
