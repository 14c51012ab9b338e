"""What a saved folder says of its model.

From: ``config.json`` of a folder that this suite wrote. To: ``folder``, which builds
the module again. Plain data, without torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eegfm_bench.errors import WeightsError
from eegfm_bench.models._spec import InputShape
from eegfm_bench.weights.pretrained import BLOCK as BLOCK
from eegfm_bench.weights.pretrained import TENSORS as TENSORS

CONFIG = "config.json"
CARD = "README.md"
# Where the block lies if braindecode's class takes every key of config.json for an
# argument of its own.
APART = "eegfm_bench.json"


class SavedModel(BaseModel):
    """What ``config.json`` says under ``eegfm_bench``.

    Attributes
    ----------
    version : str
        Of this package.
    model, model_version, code, scale, options
        What the module is built from; ``code`` is the hash of a user's own source, and
        options are all of them, not only those that were changed.
    channels, n_times, rate_hz, n_classes, sequence
        For which shape.
    is_probe : bool
        Whether a linear layer on pooled features judges, not the family's head.
    classes : tuple of str
        Names, in the order of the logits; empty if not known.
    unit : str
        Of what goes in.
    layout : str
        ``own``, or ``braindecode``: by whose names tensors are called.
    sha256 : str
        Of the file of tensors.
    dataset : mapping
        Name, protocol, data, fingerprint.
    run_id : str or None
        Of the run it was tested in.
    persons : mapping of part to names
        Who was in which part.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    version: str
    model: str
    model_version: int
    code: str | None = None
    scale: str
    options: dict[str, bool | int | float | str | None]
    channels: tuple[str, ...]
    n_times: int
    rate_hz: float
    n_classes: int
    sequence: int = 1
    is_probe: bool = False
    classes: tuple[str, ...] = ()
    unit: Literal["µV"]
    layout: Literal["own", "braindecode"]
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    dataset: dict[str, str] = Field(default_factory=dict)
    run_id: str | None = None
    persons: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @property
    def shape(self) -> InputShape:
        """What the model was built for."""
        return InputShape(
            channels=self.channels,
            n_times=self.n_times,
            rate_hz=self.rate_hz,
            n_classes=self.n_classes,
            sequence=self.sequence,
        )


def read_saved(path: Path) -> SavedModel:
    """Return what a saved folder says of its model.

    Raises
    ------
    WeightsError
        If it is none, or says something that cannot be.
    """
    if not path.is_dir():
        raise WeightsError(
            f"{path}: is no folder. Expected one with {TENSORS} and {CONFIG}, as "
            f"'eegfm-bench run … --keep-best' writes it."
        )
    for name in (CONFIG, APART):
        block = _block(path / name)
        if block is None:
            continue
        if block.get("kind") == "encoder":
            raise WeightsError(
                f"{path}: is a pre-trained encoder, which has no head and no classes. "
                f"Start a run from it: eegfm-bench run --model {block.get('model')} "
                f"--weights {path.name} --dataset DATASET"
            )
        try:
            return SavedModel.model_validate(block)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise WeightsError(
                f"{path / name}: '{field}' of '{BLOCK}' is not as it was saved: "
                f"{first['msg']}. Take the folder as it was saved."
            ) from error
    raise WeightsError(
        f"{path}: no {CONFIG} in it has a block '{BLOCK}', so that nothing says which "
        f"model it is. A model that others saved is loaded with: eegfm-bench run "
        f"--model MODEL --weights {path.name} …"
    )


def _block(file: Path) -> dict[str, Any] | None:
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{file}: cannot be read ({error}). Take the folder as it was saved."
        ) from error
    block = held.get(BLOCK) if isinstance(held, dict) else None
    return block if isinstance(block, dict) else None
