"""The one LightningModule for every model: loss, schedule, and the best epoch.

From: a built model and a TrainingRecipe. To: the state with the highest
validation score. Knows no model's and no dataset's name.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eegfm_bench.batches import Batch
from eegfm_bench.errors import RunFailed, SignalError
from eegfm_bench.runs.history import Epoch
from eegfm_bench.runs.spec import TrainingRecipe
from eegfm_bench.training.metrics import score, validation_score
from eegfm_bench.training.optimizer import optimizer_of
from eegfm_bench.training.pieces import loss_in_pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

EpochEnd = Callable[[Epoch], None]


class LitClassifier(L.LightningModule):
    """Train a model on cross-entropy; remember its best validated state.

    Parameters
    ----------
    model : nn.Module
        Logits (B, K) from windows (B, C, T) in µV, or logits (B, S, K) from
        sequences (B, S, C, T).
    recipe : TrainingRecipe
        Everything about training that changes numbers.
    class_counts : array (K,)
        Windows per class in the training part, for balanced weights.
    n_steps : int
        Optimiser steps in all, for the schedule.
    on_epoch : function of an Epoch, optional
        Told after every epoch.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: TrainingRecipe,
        *,
        class_counts: NDArray[np.int64],
        n_steps: int,
        on_epoch: EpochEnd | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.n_steps = n_steps
        self.best_epoch = 0
        self.epochs_run = 0
        self.best_score = -float("inf")
        self.best_state: dict[str, Tensor] = {}
        self.best_val_scores: NDArray[np.float64] = np.empty((0, 0))
        self._on_epoch = on_epoch
        self._began = time.perf_counter()
        self._losses: list[tuple[Tensor, int]] = []
        self._lr: float | None = None
        self._val_seen: list[tuple[Tensor, Tensor]] = []
        self.class_weights: Tensor | None
        self.register_buffer(
            "class_weights", _class_weights(recipe, class_counts), persistent=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, K) of windows (B, C, T) in µV."""
        return self.model(x)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the loss of one batch: the model's own, if it has one.

        A model that takes fewer windows at once gets the batch in pieces.
        """
        own = getattr(self.model, "loss", None)
        at_once = getattr(self.model, "windows_at_once", None)
        if own is not None:
            loss: Tensor = own(batch.x, batch.y, self.criterion)
        elif at_once is not None and at_once < len(batch.x):
            # The last step's gradients need not lie beside this one's sums.
            self.model.zero_grad()
            loss = loss_in_pieces(
                self.model,
                self.criterion,
                batch.x,
                batch.y,
                class_weights=self.class_weights,
            )
        else:
            loss = self.criterion(self(batch.x), batch.y)
        if not torch.isfinite(loss):
            raise RunFailed(
                f"The training loss became {loss.item()} in epoch "
                f"{self.current_epoch + 1}. Lower the learning rate "
                f"({self.recipe.lr:g}), or clip gradients (--set clip=1)."
            )
        self._losses.append((loss.detach(), batch.y.numel()))
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Note the highest learning rate of a step, for the history."""
        self._lr = max(group["lr"] for group in optimizer.param_groups)

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy of logits (N, K), weighted as the recipe says.

        Of sequences, logits (B, S, K) and labels (B, S): every window counts.
        """
        return F.cross_entropy(
            logits.float().flatten(0, -2),
            labels.flatten(),
            weight=self.class_weights,
            label_smoothing=self.recipe.label_smoothing,
        )

    def validation_step(self, batch: Batch, index: int) -> None:
        """Keep one batch's probabilities for the score of the whole part."""
        scores_BK = self(batch.x).double().softmax(dim=-1)
        self._val_seen.append((scores_BK.flatten(0, -2).cpu(), batch.y.flatten().cpu()))

    def on_validation_epoch_end(self) -> None:
        """Score the whole validation part; keep the state if it is the best."""
        scores_NK = torch.cat([s for s, _ in self._val_seen]).numpy()
        labels = torch.cat([y for _, y in self._val_seen]).numpy()
        self._val_seen.clear()
        epoch = self.epochs_run = self.current_epoch + 1
        value = float(epoch)
        if self.recipe.select != "last":
            value = validation_score(self.recipe.select, labels, scores_NK)
        if value > self.best_score:  # of equal epochs the earliest is kept
            self.best_score, self.best_epoch = value, epoch
            self._keep_state()
            self.best_val_scores = scores_NK
        if self._on_epoch is not None:
            chose = None if self.recipe.select == "last" else value
            self._on_epoch(self._epoch(epoch, chose, labels, scores_NK))
        self._losses.clear()
        patience = self.recipe.patience
        if patience is not None and epoch - self.best_epoch >= patience:
            self.trainer.should_stop = True

    def _epoch(
        self,
        epoch: int,
        value: float | None,
        labels: NDArray[np.int64],
        scores_NK: NDArray[np.float64],
    ) -> Epoch:
        """Return what the history says of an epoch."""
        main = "auroc" if scores_NK.shape[1] == 2 else "cohen_kappa"
        asked = ("log_loss",) if value is not None else ("log_loss", main)
        values: dict[str, float | None] = {}
        with contextlib.suppress(SignalError):  # scores that are not finite
            values, _ = score(labels, scores_NK, only=asked)
        losses = torch.stack([loss for loss, _ in self._losses]).tolist()
        n_each = [n for _, n in self._losses]
        return Epoch(
            epoch=epoch,
            seconds=time.perf_counter() - self._began,
            train_loss=float(np.average(losses, weights=n_each)),
            val_loss=values.get("log_loss"),
            val_score=values.get(main) if value is None else value,
            lr=self._lr,
        )

    def _keep_state(self) -> None:
        """Copy the model's state over the best so far, never holding two."""
        for key, tensor in self.model.state_dict().items():
            if key in self.best_state:
                self.best_state[key].copy_(tensor)
            else:
                self.best_state[key] = tensor.detach().clone()

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of all gradients together.

        Lightning refuses to before a fused step, which may undo a scaling of
        gradients; here there is none.
        """
        if gradient_clip_val:
            nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def configure_optimizers(self) -> Any:
        """Return the recipe's optimiser and schedule, stepped per batch."""
        steps_per_epoch = self.n_steps / self.recipe.epochs
        return optimizer_of(self.model, self.recipe, self.n_steps, steps_per_epoch)


def _class_weights(
    recipe: TrainingRecipe, class_counts: NDArray[np.int64]
) -> Tensor | None:
    if recipe.class_weights == "none":
        return None
    seen = np.maximum(class_counts, 1)
    weights = class_counts.sum() / (np.count_nonzero(class_counts) * seen)
    # Label smoothing hands a share to every class: one that training lacks would
    # outweigh all others.
    weights = np.where(class_counts > 0, weights, 0.0)
    return torch.from_numpy(weights.astype(np.float32))
