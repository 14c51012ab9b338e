"""A linear head on what a frozen encoder already knows.

From: cached features of all windows. To: the head with the highest validation score,
solved for (``ridge``, ``logistic``) or trained by gradient, and its scores. The encoder
takes part once, before; every window is judged by itself, also where a model could see
a sequence.

Letters: N windows, D features, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from eegfm_bench.batches import EEGDataModule
from eegfm_bench.models._probed import Probed
from eegfm_bench.runs.record import Checkpoint
from eegfm_bench.runs.spec import ClosedFormRecipe, RunSpec, TrainingRecipe
from eegfm_bench.training.classifier import EpochEnd
from eegfm_bench.training.closed_form import linear, softmax, solve_head
from eegfm_bench.training.features import Features
from eegfm_bench.training.gradient import Trained, train_by_gradient

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Standardised(nn.Module):
    """A linear head on features brought to mean 0 and deviation 1.

    Parameters
    ----------
    centre_D, spread_D : tensors (D,)
        Of the training part.
    n_classes : int
    """

    centre_D: Tensor
    spread_D: Tensor

    def __init__(self, centre_D: Tensor, spread_D: Tensor, n_classes: int) -> None:
        super().__init__()
        self.register_buffer("centre_D", centre_D)
        self.register_buffer("spread_D", spread_D)
        self.head = nn.Linear(len(centre_D), n_classes)

    def forward(self, x_BD: Tensor) -> Tensor:
        """Return logits (B, K) of features (B, D)."""
        logits_BK: Tensor = self.head((x_BD - self.centre_D) / self.spread_D)
        return logits_BK

    @torch.no_grad()
    def fold_into(self, head: nn.Linear) -> None:
        """Write the same map of raw features into a linear layer."""
        weight_KD = self.head.weight.double() / self.spread_D.double()
        bias_K = self.head.bias.double() - weight_KD @ self.centre_D.double()
        head.weight.copy_(weight_KD)
        head.bias.copy_(bias_K)


def fit_probe(
    probed: Probed,
    features: Features,
    data: EEGDataModule,
    spec: RunSpec,
    *,
    device: str,
    on_epoch: EpochEnd | None = None,
) -> Trained:
    """Find the head on cached features, and write it into ``probed``.

    Parameters
    ----------
    probed : Probed
        Its head is overwritten.
    features : Features
    data : EEGDataModule
        Of the windows: which rows are used, and their labels.
    spec : RunSpec
        With a ``ClosedFormRecipe``, or a ``TrainingRecipe`` for a trained head.
    device : str
        Of training by gradient; what is solved for is solved on the CPU.
    on_epoch : function of an Epoch, optional

    Returns
    -------
    checkpoint, validation scores (N, K), window passes
        As ``train_by_gradient`` returns them; the passes are those of encoding, all
        parts at once, and 0 where features came from the cache.
    """
    recipe = spec.recipe
    head = probed.head
    if isinstance(recipe, ClosedFormRecipe):
        solved = solve_head(
            (features.take(data.rows("train")), data.labels("train")),
            (features.take(data.rows("val")), data.labels("val")),
            n_classes=head.out_features,
            recipe=recipe,
        )
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(solved.weight_KD))
            head.bias.copy_(torch.from_numpy(solved.bias_K))
        checkpoint = Checkpoint(
            rule=f"closed form, penalty by highest val {recipe.select}",
            val_score=solved.val_score,
            chosen={"penalty": solved.penalty},
        )
    else:
        assert isinstance(recipe, TrainingRecipe)
        checkpoint = _trained(probed, features, data, recipe, device, on_epoch)
    return checkpoint, head_scores(probed, features, data, "val"), features.n_encoded


def head_scores(
    probed: Probed, features: Features, data: EEGDataModule, part: str
) -> NDArray[np.float64]:
    """Return class probabilities (N, K) of a part, by the head as it now is."""
    weight_KD = probed.head.weight.detach().cpu().numpy()
    bias_K = probed.head.bias.detach().cpu().numpy()
    return softmax(linear(features.take(data.rows(part)), weight_KD, bias_K))


def _trained(
    probed: Probed,
    features: Features,
    data: EEGDataModule,
    recipe: TrainingRecipe,
    device: str,
    on_epoch: EpochEnd | None,
) -> Checkpoint:
    """Train the head by gradient on features as they lie, a batch at a time."""
    train_ND = features.take(data.rows("train"))
    centre_D = train_ND.mean(axis=0, dtype=np.float64)
    spread_D = train_ND.std(axis=0, dtype=np.float64)
    spread_D[spread_D < 1e-9] = 1.0  # a constant feature carries nothing
    del train_ND
    # Encoding draws from torch's generator, features from the cache do not: the head
    # starts from the seed alone.
    torch.manual_seed(data.seed)
    model = Standardised(
        torch.from_numpy(centre_D).float(),
        torch.from_numpy(spread_D).float(),
        probed.head.out_features,
    ).to(device)
    rows = EEGDataModule(
        data.store,
        batch_size=recipe.batch_size,
        seed=data.seed,
        train_rows=data.rows("train"),
        features=features,
    )
    checkpoint, _, _ = train_by_gradient(model, rows, recipe, device, on_epoch)
    model.fold_into(probed.head)
    return checkpoint
