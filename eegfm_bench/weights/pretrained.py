"""What a pre-trained encoder says of itself, and where it must not be used.

From: the header of a ``model.safetensors`` that ``pretrain`` wrote: people, sources and
architecture travel with the tensors, whatever the file is called and wherever it lies.
To: the refusal of a run that would score people whom the encoder has seen, and the
record. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from eegfm_bench.errors import WeightsError, listed
from eegfm_bench.runs.spec import with_later_options
from eegfm_bench.runs.weights import PretrainedOn
from eegfm_bench.symbols import PARTS

# The file of tensors in every folder of weights, and what this suite says is under.
TENSORS = "model.safetensors"
BLOCK = "eegfm_bench"
# Of a classifier's head, or of its training: an encoder has none of them.
HEAD_OPTIONS = ("head", "head_units", "head_units_alone", "dropout", "balance_weight")
# More than this is the beginning of something else.
_LONGEST_HEADER = 100_000_000


class PretrainedSource(BaseModel):
    """One source: which windows, how many, of how many people."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    protocol: str
    data: Literal["complete", "partial", "simulated"]
    fingerprint: str
    n_windows: int
    n_channels: int
    n_patches: int
    n_persons: int
    n_left_out: int = 0


class Pretrained(BaseModel):
    """An encoder without a head, and all that made it what it is.

    Attributes
    ----------
    version : str
        Of this package.
    model, model_version, scale, options
        What the encoder is built from; options are the encoder's alone.
    objective, pretrain_id, steps, seed, recipe
        How it was trained.
    sources : tuple of PretrainedSource
    scored_on : tuple of str
        Datasets whose validation and test people were kept out.
    notes : tuple of str
        What could not be known about that.
    persons : tuple of str
        Everybody whose windows it saw, by ids across datasets.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    kind: Literal["encoder"]
    version: str
    model: str
    model_version: int
    scale: str
    options: dict[str, bool | int | float | str | None]
    rate_hz: float
    unit: Literal["µV"]
    objective: str
    pretrain_id: str
    steps: int
    seed: int
    recipe: dict[str, Any]
    sources: tuple[PretrainedSource, ...] = Field(min_length=1)
    scored_on: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    persons: tuple[str, ...]

    @field_validator("options")
    @classmethod
    def _with_later_options(
        cls, options: dict[str, Any], info: ValidationInfo
    ) -> dict[str, Any]:
        return with_later_options(info.data.get("model", ""), options)

    @property
    def data(self) -> Literal["complete", "partial", "simulated"]:
        """The least that holds of all sources."""
        found = {source.data for source in self.sources}
        if "simulated" in found:
            return "simulated"
        return "partial" if "partial" in found else "complete"

    def for_record(self) -> PretrainedOn:
        """Return what the record of a run says."""
        return PretrainedOn(
            pretrain_id=self.pretrain_id,
            objective=self.objective,
            data=self.data,
            sources=tuple(
                f"{s.name} ({s.protocol}, {s.data}, {s.fingerprint})"
                for s in self.sources
            ),
            n_persons=len(self.persons),
        )


def read_pretrained(path: Path) -> Pretrained | None:
    """Return what a file says of its pre-training; None if it is of no ``pretrain``.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file, or a folder with ``model.safetensors``.

    Raises
    ------
    WeightsError
        If it says so in a way that cannot be.
    """
    file = path / TENSORS if path.is_dir() else path
    block = _block(file)
    if block is None:
        return None
    try:
        return Pretrained.model_validate_json(block)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise WeightsError(
            f"{file}: '{field}' of what its header says of the pre-training is not as "
            f"it was written: {first['msg']}. Take the file as it was saved."
        ) from error


def refuse_unlike(
    path: Path, *, model: str, version: int, scale: str, options: Mapping[str, Any]
) -> None:
    """Refuse a pre-trained encoder of another model, scale or architecture.

    Shapes alone would not tell: some options change no shape.

    Parameters
    ----------
    path : Path
        A file or folder; one that no ``pretrain`` wrote is not judged here.
    model, version, scale
        Of the run.
    options : mapping
        All of them, the head's included.

    Raises
    ------
    WeightsError
        Says what to add to the command.
    """
    found = read_pretrained(path)
    if found is None:
        return
    what = f"{path} is an encoder of {found.model}, pre-trained at scale {found.scale}"
    if found.model != model:
        raise WeightsError(f"{what}; the run asks for {model}. Run {found.model}.")
    if found.model_version != version:
        raise WeightsError(
            f"{what} in version {found.model_version} of the model (eegfm-bench "
            f"{found.version}); here is version {version}, another architecture."
        )
    if found.scale != scale:
        raise WeightsError(
            f"{what}; the run is at scale {scale}. Add --scale {found.scale}."
        )
    unlike = {k: v for k, v in found.options.items() if options.get(k) != v}
    if unlike:
        settings = " ".join(f"--set {key}={value}" for key, value in unlike.items())
        asked = ", ".join(f"{key}={options.get(key)}" for key in unlike)
        raise WeightsError(f"{what}, with other options than {asked}. Add {settings}.")


def refuse_scored(path: Path, dataset: str, persons: Iterable[tuple[str, str]]) -> None:
    """Refuse to score an encoder on people whom it has seen.

    Parameters
    ----------
    path : Path
        A file or folder; one that no ``pretrain`` wrote is not judged here.
    dataset : str
    persons : iterable of (person, part)

    Raises
    ------
    WeightsError
        Says how many, who first, and in which part.
    """
    found = read_pretrained(path)
    if found is None:
        return
    seen = set(found.persons)
    where: dict[str, set[str]] = {}
    for person, part in persons:
        if part != PARTS[0] and person in seen:
            where.setdefault(part, set()).add(person)
    if where:
        raise WeightsError(
            f"{path} was pre-trained on people whom {dataset} would score: "
            f"{_counted(where)}. "
            f"What it knows of them would pass for skill. Pre-train again with "
            f"--scored-on {dataset} --exclude-scored-persons, or score it elsewhere."
        )


def refuse_trained(
    path: Path,
    dataset: str,
    learnt: Mapping[str, Iterable[str]],
    persons: Iterable[tuple[str, str]],
) -> None:
    """Refuse to score a saved model on people whom it learnt from, or was chosen by.

    Parameters
    ----------
    path : Path
        Of the model, for the message.
    dataset : str
    learnt : mapping of part to persons
        Who was in which part of the run that saved it.
    persons : iterable of (person, part)
        Who is in which part now.

    Raises
    ------
    WeightsError
        Says how many, who first, and in which part.
    """
    persons = list(persons)
    train, chose = (set(learnt.get(part, ())) for part in PARTS[:2])
    seen = {PARTS[1]: train, PARTS[2]: train | chose}
    where = {
        part: sorted({p for p, at in persons if at == part and p in own})
        for part, own in seen.items()
    }
    if said := _counted(where):
        raise WeightsError(
            f"{path} was trained on people, or chosen by people, whom {dataset} would "
            f"score: {said}. What it knows of them would pass for skill. Start from a "
            f"model of the same split, or score it elsewhere."
        )


def _counted(where: Mapping[str, Iterable[str]]) -> str:
    """Say how many people there are in each part, and who first; nothing if none."""
    return " and ".join(
        f"{len(set(who))} in {part} ({listed(sorted(set(who)), most=3)})"
        for part, who in sorted(where.items())
        if who
    )


def _block(file: Path) -> str | None:
    """Return what a safetensors header holds under our name, if it has any."""
    try:
        with file.open("rb") as held:
            n_header = int.from_bytes(held.read(8), "little")
            if not 2 <= n_header <= _LONGEST_HEADER or held.read(1) != b"{":
                return None
            header = json.loads(b"{" + held.read(n_header - 1))
    except (OSError, ValueError):
        return None  # of another kind, or damaged: whoever reads its tensors says so
    about = header.get("__metadata__") if isinstance(header, dict) else None
    block = about.get(BLOCK) if isinstance(about, dict) else None
    return block if isinstance(block, str) else None
