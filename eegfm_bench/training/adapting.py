"""What of a model is trained, and the proof that the rest stood still.

From: a built model. To: ``fit``; digests of the frozen encoder before and after go
into the record, and a run whose frozen encoder moved fails.

The encoder is everything of a model but its head, parameters and buffers alike; what
belongs to the head is told by identity, not by a name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eegfm_bench.errors import RunFailed, listed


def encoder_tensors(model: Any, *, but: str = "") -> dict[str, Tensor]:
    """Return the encoder's parameters and buffers by name, not the head's.

    Parameters
    ----------
    model : nn.Module
        With ``head``.
    but : str
        Tensors with this within their name are left out: LoRA's own.
    """
    head: nn.Module = model.head
    in_head = {id(t) for t in (*head.parameters(), *head.buffers())}
    found = dict(sorted([*model.named_parameters(), *model.named_buffers()]))
    return {
        # What peft puts around a layer renames what lies within it.
        name.replace(".base_layer.", "."): tensor
        for name, tensor in found.items()
        if id(tensor) not in in_head and not (but and but in name)
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """Digests of a frozen encoder, tensor by tensor, in the order of names."""

    digests: Mapping[str, str]

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Frozen:
        """Digest every tensor's kind, shape and bytes."""
        return cls(digests={name: _digest(tensors[name]) for name in sorted(tensors)})

    @property
    def sha256(self) -> str:
        """One digest of all names and tensors."""
        lines = "".join(f"{name} {digest}\n" for name, digest in self.digests.items())
        return hashlib.sha256(lines.encode()).hexdigest()

    def refuse_change(self, now: Mapping[str, Tensor]) -> None:
        """Fail the run unless every tensor is bit for bit what it was.

        Raises
        ------
        RunFailed
            Names the tensors that changed, came or went.
        """
        after = Frozen.of(now).digests
        changed = [n for n, d in self.digests.items() if n in after and after[n] != d]
        gone = [name for name in self.digests if name not in after]
        new = [name for name in after if name not in self.digests]
        said = [
            f"{len(names)} {how} ({listed(names, most=4)})"
            for names, how in ((changed, "changed"), (gone, "went"), (new, "came"))
            if names
        ]
        if said:
            raise RunFailed(
                f"The encoder was to stay frozen and did not: of {len(self.digests)} "
                f"tensors {', '.join(said)}. Its scores are not those of a frozen "
                f"encoder and are not kept. Look for a layer that updates itself "
                f"outside of the optimiser."
            )


def n_parameters(tensors: Mapping[str, Tensor]) -> int:
    """Count the values of those tensors that are parameters."""
    return sum(t.numel() for t in tensors.values() if isinstance(t, nn.Parameter))


def n_trained(model: nn.Module) -> int:
    """Count the parameters that the optimiser may change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _digest(tensor: Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    head = f"{tensor.dtype} {tuple(tensor.shape)} ".encode()
    # As bytes: numpy has no bfloat16, and NaN and -0 are to count as what they are.
    return hashlib.sha256(head + flat.view(torch.uint8).numpy().tobytes()).hexdigest()
