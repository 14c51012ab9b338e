"""Training by gradient: Lightning's loop around ``LitClassifier``.

From: a model, batches and a TrainingRecipe. To: the same model at the state with the
highest validation score.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import lightning as L
import numpy as np

from eegfm_bench.batches import EEGDataModule
from eegfm_bench.runs.record import Checkpoint
from eegfm_bench.runs.spec import TrainingRecipe
from eegfm_bench.training.classifier import EpochEnd, LitClassifier

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

# What a way of training returns: how the tested state was chosen, the scores
# (N, K) of the validation part at that state, and passes of windows so far.
Trained = tuple[Checkpoint, "NDArray[np.float64]", int]


def train_by_gradient(
    model: nn.Module,
    data: EEGDataModule,
    recipe: TrainingRecipe,
    device: str,
    on_epoch: EpochEnd | None,
    *,
    kind: type[LitClassifier] = LitClassifier,
) -> Trained:
    """Train a model and leave it at its best state on validation.

    Parameters
    ----------
    model : nn.Module
    data : EEGDataModule
    recipe : TrainingRecipe
    device : str
    on_epoch : function of an Epoch, optional
    kind : type
        What is trained with: ``LitClassifier``, or one that holds parts still.

    Returns
    -------
    checkpoint : Checkpoint
    val_scores : array (N, K)
    passes : int
        Windows of training and validation that went through the model.

    Raises
    ------
    RunFailed
        If the loss becomes infinite or undefined.
    """
    n_steps = recipe.epochs * len(data.train_dataloader())
    classifier = kind(
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
    counts = data.counts()
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
