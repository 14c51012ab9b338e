"""The ways a model is trained, whole or in part, behind three questions.

From: a spec and a built model. To: ``fit``, which trains, tests and has the rest of the
model proven untouched without knowing which way it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from eegfm_bench.errors import RunFailed, SpecError, listed
from eegfm_bench.models._probed import Probed
from eegfm_bench.models._spec import InputShape, ModelSpec
from eegfm_bench.runs.record import Adaptation, LabelBudget
from eegfm_bench.runs.spec import SCRATCH, RunSpec, TrainingRecipe
from eegfm_bench.training.adapting import (
    Frozen,
    encoder_tensors,
    n_parameters,
    n_trained,
)
from eegfm_bench.training.classifier import EpochEnd
from eegfm_bench.training.features import Features, cached_features
from eegfm_bench.training.gradient import Trained, train_by_gradient
from eegfm_bench.training.lora import (
    LitLora,
    adapter_size,
    add_adapters,
    base_tensors,
    idle_adapters,
    merge,
)
from eegfm_bench.training.probe import fit_probe, head_scores
from eegfm_bench.training.whole import predict, train_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from eegfm_bench.batches import EEGDataModule

    Scores = NDArray[np.float64]


class Way(Protocol):
    """One way to train a model.

    Attributes
    ----------
    notes : tuple of str
        What was odd, for the record.
    """

    notes: tuple[str, ...]

    @property
    def n_parameters(self) -> int:
        """Number of parameters of the tested model."""
        ...

    def train(
        self, data: EEGDataModule, device: str, on_epoch: EpochEnd | None
    ) -> Trained:
        """Train, and leave the model at the state to be tested."""
        ...

    def test(self, data: EEGDataModule, device: str) -> tuple[Scores, int]:
        """Return class probabilities (N, K) of the test part, and window passes."""
        ...

    def prove(self, x: Tensor) -> tuple[Any, Adaptation]:
        """Return the tested model, and the proof of what was not trained in it."""
        ...


def way_of(spec: RunSpec, known: ModelSpec, model: Any, shape: InputShape) -> Way:
    """Return the way a spec asks for, the model in its hands."""
    if spec.adapt == "probe":
        return _Probe(spec, model, shape)
    if spec.adapt == "lora":
        return _Lora(spec, known, model)
    return _Whole(spec, known, model)


def refuse_adaptation(spec: RunSpec, known: ModelSpec, *, keep: bool) -> None:
    """Refuse what a model or its recipe cannot be asked.

    Raises
    ------
    SpecError
        Says what can be asked instead.
    """
    if spec.adapt in ("finetune", "probe", "lora") and known.trained_by != "gradient":
        raise SpecError(
            f"--adapt {spec.adapt}: {known.name} is not trained by gradient but by "
            f"'{known.trained_by}', so that it has no encoder to adapt. Leave --adapt "
            f"and --weights out."
        )
    if spec.adapt == "probe" and spec.recipe.kind == "prior":
        raise SpecError("A probe needs a recipe to solve for or to train its head.")
    if spec.adapt == "lora":
        recipe = spec.recipe
        if not isinstance(recipe, TrainingRecipe) or None in (
            recipe.lora_rank,
            recipe.lora_alpha,
            recipe.lora_dropout,
        ):
            raise SpecError(
                f"--adapt lora of {known.name} needs lora_rank, lora_alpha and "
                f"lora_dropout in its recipe. Make the spec with sweep.specs."
            )


def recorded(
    spec: RunSpec, adaptation: Adaptation, labels: LabelBudget | None
) -> Adaptation | None:
    """Return what the record says; nothing of a run from scratch on all labels."""
    if spec.adapt == SCRATCH and labels is None:
        return None
    return adaptation.model_copy(update={"labels": labels})


class _Whole:
    """Everything is trained, as the family is."""

    def __init__(self, spec: RunSpec, known: ModelSpec, model: Any) -> None:
        self.notes: tuple[str, ...] = ()
        self._spec, self._known, self._model = spec, known, model

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self._model.parameters())

    def train(
        self, data: EEGDataModule, device: str, on_epoch: EpochEnd | None
    ) -> Trained:
        return train_whole(self._known, self._model, data, self._spec, device, on_epoch)

    def test(self, data: EEGDataModule, device: str) -> tuple[Scores, int]:
        scores_NK = predict(self._model, data, "test", device=device)
        return scores_NK, len(scores_NK)

    def prove(self, x: Tensor) -> tuple[Any, Adaptation]:
        return self._model, Adaptation(trained=n_trained(self._model), frozen=0)


class _Probe:
    """A linear head on features of a frozen encoder."""

    def __init__(self, spec: RunSpec, model: Any, shape: InputShape) -> None:
        self.notes: tuple[str, ...] = ()
        self._spec, self._encoder = spec, model
        tensors = encoder_tensors(model)
        self._n_frozen = n_parameters(tensors)
        self._frozen = Frozen.of(tensors)
        device = next(iter(tensors.values())).device if tensors else "cpu"
        self._probed = Probed(model, shape).to(device)
        self._features: Features | None = None

    @property
    def n_parameters(self) -> int:
        return self._n_frozen + n_trained(self._probed)

    def train(
        self, data: EEGDataModule, device: str, on_epoch: EpochEnd | None
    ) -> Trained:
        self._features = cached_features(
            self._spec,
            data.store,
            self._encoder,
            frozen_sha256=self._frozen.sha256,
            device=device,
        )
        self.notes = self._features.notes
        return fit_probe(
            self._probed,
            self._features,
            data,
            self._spec,
            device=device,
            on_epoch=on_epoch,
        )

    def test(self, data: EEGDataModule, device: str) -> tuple[Scores, int]:
        assert self._features is not None
        # Encoded with the other parts, and counted there.
        return head_scores(self._probed, self._features, data, "test"), 0

    def prove(self, x: Tensor) -> tuple[Any, Adaptation]:
        self._frozen.refuse_change(encoder_tensors(self._encoder))
        return self._probed, Adaptation(
            trained=n_trained(self._probed),
            frozen=self._n_frozen,
            frozen_tensors=len(self._frozen.digests),
            frozen_sha256=self._frozen.sha256,
        )


class _Lora:
    """Adapters and the head are trained; the encoder's own weights are not."""

    def __init__(self, spec: RunSpec, known: ModelSpec, model: Any) -> None:
        assert isinstance(spec.recipe, TrainingRecipe)
        self.notes: tuple[str, ...] = ()
        self._spec, self._model = spec, model
        tensors = base_tensors(model)
        self._n_frozen = n_parameters(tensors)
        self._frozen = Frozen.of(tensors)
        device = next(iter(tensors.values())).device
        self._layers = add_adapters(model, known, spec.recipe)
        model.to(device)

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self._model.parameters()) - adapter_size(
            self._model
        )

    def train(
        self, data: EEGDataModule, device: str, on_epoch: EpochEnd | None
    ) -> Trained:
        recipe = self._spec.recipe
        assert isinstance(recipe, TrainingRecipe)
        return train_by_gradient(
            self._model, data, recipe, device, on_epoch, kind=LitLora
        )

    def test(self, data: EEGDataModule, device: str) -> tuple[Scores, int]:
        scores_NK = predict(self._model, data, "test", device=device)
        return scores_NK, len(scores_NK)

    def prove(self, x: Tensor) -> tuple[Any, Adaptation]:
        self._frozen.refuse_change(base_tensors(self._model))
        idle = idle_adapters(self._model)
        if len(idle) == len(self._layers):
            raise RunFailed(
                f"None of LoRA's {len(idle)} adapters learnt anything: no gradient "
                f"came to them, so that the head alone was trained. Its scores are not "
                f"kept. Look at the layers that the model names for LoRA."
            )
        if idle:
            self.notes = (
                f"{len(idle)} of {len(self._layers)} LoRA adapters learnt nothing "
                f"({listed(idle, most=4)})",
            )
        adaptation = Adaptation(
            trained=n_trained(self._model),
            frozen=self._n_frozen,
            frozen_tensors=len(self._frozen.digests),
            frozen_sha256=self._frozen.sha256,
        )
        merge(self._model, x)
        return self._model, adaptation
