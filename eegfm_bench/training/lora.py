"""LoRA: small adapters beside the encoder's linear layers, trained with the head.

From: a built model whose family names the layers (``ModelSpec.weights.lora``). To: the
same model with peft's adapters in it, and, after training, with what they learnt added
to its layers. The encoder's own weights stay as they were, bit for bit.

Hu et al. 2022, LoRA: Low-Rank Adaptation of Large Language Models, ICLR. Rank 8, alpha
16 and dropout 0.05 are what github.com/tloen/alpaca-lora (finetune.py) made the usual
start; peft's own default has the same rank. All else is the model's recipe.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from eegfm_bench.errors import RunFailed, SpecError
from eegfm_bench.models._sequence import InSequence
from eegfm_bench.models._spec import ModelSpec
from eegfm_bench.models._torchaudio import ensure_torchaudio_imports
from eegfm_bench.runs.spec import TrainingRecipe
from eegfm_bench.training.adapting import encoder_tensors
from eegfm_bench.training.classifier import LitClassifier

# What is in the name of every tensor that an adapter brings, and of no other.
MARK = ".lora_"
# Outputs of adapters beside their layers and added to them: float32 rounding.
SAME = 1e-4


class LitLora(LitClassifier):
    """The same training; norms that keep statistics of the encoder stand still.

    Dropout within the encoder stays on in training, as in fine-tuning. Batch norm of
    the encoder works in evaluation mode: its running mean and variance are part of the
    frozen encoder.
    """

    def train(self, mode: bool = True) -> LitLora:
        """Set the mode of all but the encoder's norms with statistics."""
        super().train(mode)
        hold_norms_still(self.model)
        return self


def hold_norms_still(model: Any) -> None:
    """Put the encoder's norms that keep statistics into evaluation mode."""
    in_head = {id(module) for module in model.head.modules()}
    for module in model.modules():
        if hasattr(module, "running_mean") and id(module) not in in_head:
            module.eval()


def add_adapters(model: Any, known: ModelSpec, recipe: TrainingRecipe) -> list[str]:
    """Put adapters into a model; nothing but them and the head is trained then.

    Their second matrices are zero at first, so that the model's function is what it
    was. Their first ones are drawn from torch's global generator.

    Parameters
    ----------
    model : nn.Module
        As its family's builder made it, weights loaded; also in sequence.
    known : ModelSpec
    recipe : TrainingRecipe
        ``lora_rank``, ``lora_alpha`` and ``lora_dropout``.

    Returns
    -------
    names : list of str
        Of the adapted layers, ascending.

    Raises
    ------
    SpecError
        If peft is not installed, or the model names no layers or none that it has.
    """
    peft = _peft()
    layers = adapted_layers(model, known)
    peft.inject_adapter_in_model(
        peft.LoraConfig(
            r=recipe.lora_rank,
            lora_alpha=recipe.lora_alpha,
            lora_dropout=recipe.lora_dropout,
            target_modules="|".join(re.escape(name) for name in layers),
            bias="none",
        ),
        model,
    )
    for parameter in model.head.parameters():
        parameter.requires_grad_(True)
    return layers


def adapted_layers(model: Any, known: ModelSpec) -> list[str]:
    """Return the names of the encoder's layers that LoRA adapts, ascending."""
    if not known.weights.lora:
        raise SpecError(
            f"--adapt lora: {known.name} does not say which of its layers LoRA would "
            f"adapt. Choose --adapt finetune or probe."
        )
    pattern = "|".join(f"(?:{one})" for one in known.weights.lora)
    in_head = {id(module) for module in model.head.modules()}
    # In a sequence, the family's model is one level down.
    inner = "model." if isinstance(model, InSequence) else ""
    found = sorted(
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and id(module) not in in_head
        and re.fullmatch(pattern, name.removeprefix(inner))
    )
    if not found:
        raise SpecError(
            f"--adapt lora: none of the layers that {known.name} names "
            f"({', '.join(known.weights.lora)}) is in the model as it was built."
        )
    return found


def base_tensors(model: Any) -> dict[str, Tensor]:
    """Return the encoder without what adapters brought, by its names before."""
    return encoder_tensors(model, but=MARK)


def adapter_size(model: nn.Module) -> int:
    """Count the parameters of all adapters."""
    return sum(p.numel() for n, p in model.named_parameters() if MARK in n)


def idle_adapters(model: nn.Module) -> list[str]:
    """Return the layers whose adapters did not learn: their second matrix is zero."""
    return sorted(
        name.partition(".lora_B")[0]
        for name, parameter in model.named_parameters()
        if ".lora_B" in name and not parameter.detach().any()
    )


@torch.no_grad()
def merge(model: Any, x: Tensor) -> None:
    """Add what adapters learnt to their layers, and take the adapters out.

    Parameters
    ----------
    model : nn.Module
        As trained; afterwards it has the layers that its builder gave it.
    x : tensor (B, C, T) or (B, S, C, T)
        Windows in µV to hold the outputs of before and after against each other.

    Raises
    ------
    RunFailed
        If the outputs differ by more than rounding: then adapters did not take part
        in what was tested.
    """
    model.eval()
    before: Tensor = model(x).float()
    for parent, name, layer in list(_adapters(model)):
        layer.merge(safe_merge=True)
        setattr(parent, name, layer.get_base_layer())
    after: Tensor = model(x).float()
    apart = float((after - before).abs().max() / before.abs().max().clamp_min(1e-6))
    if not apart <= SAME:
        raise RunFailed(
            f"LoRA's adapters added to their layers change the model's outputs by "
            f"{apart:.2g} of their size, beyond rounding ({SAME:g}): they did not take "
            f"part where the model was tested. Its scores are not kept."
        )


def _adapters(model: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    """Yield every adapted layer with the module that holds it and its name there."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if hasattr(child, "lora_A") and hasattr(child, "get_base_layer"):
                yield parent, name, child


def _peft() -> Any:
    """Import peft, which takes seconds, when it is first needed."""
    ensure_torchaudio_imports()  # it imports torchaudio on its way
    try:
        import peft
    except ModuleNotFoundError as error:
        raise SpecError(
            f"--adapt lora needs peft, and {error.name} is not installed. Install it "
            f'with: pip install "eegfm-bench[lora]"'
        ) from error
    return peft
