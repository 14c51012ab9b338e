"""What a pre-training leaves: a folder of weights that runs can start from.

From: the last checkpoint, the corpus, the journal. To: ``run --weights FOLDER`` and
whoever reads the card. ``model.safetensors`` comes last, by a rename: while it is not
there nothing can be started from the folder, and the same command finishes it. Then the
checkpoints go; the heads that forecast, or rebuild, are kept in ``objective/``.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from torch import Tensor

import eegfm_bench
from eegfm_bench.errors import StoreError, WeightsError
from eegfm_bench.pretraining.card import losses_of, write_card
from eegfm_bench.pretraining.checkpoints import (
    FOLDER,
    read_checkpoint,
    refuse_other_spec,
)
from eegfm_bench.runs.pretrain import PretrainSpec
from eegfm_bench.runs.spec import canonical_json
from eegfm_bench.weights.pretrained import (
    BLOCK,
    TENSORS,
    Pretrained,
    PretrainedSource,
    read_pretrained,
)
from eegfm_bench.weights.saved import CARD, CONFIG

if TYPE_CHECKING:
    from eegfm_bench.pretraining.corpus import Corpus

PERSONS = "persons.json"
HEADS = Path("objective") / "heads.safetensors"
_ENCODER = "encoder."
RATE_HZ = 200.0


def is_done(folder: Path, spec: PretrainSpec) -> bool:
    """Whether a folder has this pre-training's weights.

    Raises
    ------
    SpecError
        If it has another pre-training; names the values that differ.
    """
    path = folder / "spec.json"
    if not path.is_file():
        return False
    refuse_other_spec(folder, path.read_text(encoding="utf-8"), spec)
    found = read_pretrained(folder)
    return found is not None and found.pretrain_id == spec.pretrain_id


def write_output(
    folder: Path, spec: PretrainSpec, corpus: Corpus, *, device: str
) -> None:
    """Write weights, configuration, people and card; then remove the checkpoints.

    Parameters
    ----------
    folder : path
        Of a pre-training whose steps are all done.
    spec : PretrainSpec
    corpus : Corpus
    device : str
        It ran on, for the card.

    Raises
    ------
    StoreError
        If steps are missing, or the disk is full.
    WeightsError
        If a weight is not finite.
    """
    state, _ = read_checkpoint(folder / FOLDER)
    if state is None or state["step"] != spec.steps:
        n = 0 if state is None else state["step"]
        raise StoreError(
            f"{folder} has {n} of {spec.steps} steps. Run the same command again."
        )
    encoder, heads = _parts(state["objective"])
    said = pretrained_of(spec, corpus)
    plain = said.model_dump(mode="json")
    tensors = safetensors.torch.save(
        encoder, metadata={"format": "pt", BLOCK: canonical_json(plain)}
    )
    config = {k: v for k, v in plain.items() if k != "persons"}
    config |= {"n_persons": len(said.persons), "data": said.data, "seed": spec.seed}
    config |= {"sha256": hashlib.sha256(tensors).hexdigest()}
    people = {
        source.name: {
            "persons": list(source.persons),
            "left_out": dict(source.left_out),
        }
        for source in corpus.sources
    }
    text = write_card(folder, spec, said, corpus, device=device)
    with _told_if_full(folder):
        (folder / HEADS).parent.mkdir(exist_ok=True)
        _put(folder / HEADS, safetensors.torch.save(heads, {"format": "pt"}))
        _put(folder / PERSONS, _json(people))
        _put(folder / CONFIG, _json({BLOCK: config}))
        _put(folder / CARD, text.encode())
        _put(folder / TENSORS, tensors)
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    (folder / ".lock").unlink(missing_ok=True)


def result_of(folder: Path, spec: PretrainSpec) -> dict[str, Any]:
    """Return what a person or a script is told at the end, as plain data."""
    said = read_pretrained(folder)
    assert said is not None  # it has just been written, or found
    return {
        "out": str(folder),
        "pretrain_id": spec.pretrain_id,
        "objective": spec.objective,
        "model": spec.model,
        "scale": spec.scale,
        "steps": spec.steps,
        "data": said.data,
        "sources": [source.model_dump(mode="json") for source in said.sources],
        "n_persons": len(said.persons),
        "scored_on": list(said.scored_on),
        "notes": list(said.notes),
        "losses": losses_of(folder, spec),
    }


def pretrained_of(spec: PretrainSpec, corpus: Corpus) -> Pretrained:
    """Return what the weights say of themselves."""
    return Pretrained(
        kind="encoder",
        version=eegfm_bench.__version__,
        model=spec.model,
        model_version=spec.model_version,
        scale=spec.scale,
        options=spec.options,
        rate_hz=RATE_HZ,
        unit="µV",
        objective=spec.objective,
        pretrain_id=spec.pretrain_id,
        steps=spec.steps,
        seed=spec.seed,
        recipe=spec.recipe.model_dump(mode="json"),
        sources=tuple(
            PretrainedSource(
                **ref.model_dump(),
                n_persons=len(source.persons),
                n_left_out=len(source.left_out),
            )
            for ref, source in zip(spec.sources, corpus.sources, strict=True)
        ),
        scored_on=corpus.scored_on,
        notes=corpus.notes,
        persons=corpus.persons,
    )


def _parts(objective: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tell an encoder's tensors from those that it was asked with."""
    encoder: dict[str, Any] = {}
    heads: dict[str, Any] = {}
    for name, tensor in objective.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(
                f"'{name}' holds numbers that are not finite, so that nothing is "
                f"saved. Pre-train again with a smaller rate: --set lr=…"
            )
        kept = encoder if name.startswith(_ENCODER) else heads
        kept[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    return encoder, heads


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False).encode()


def _put(path: Path, data: bytes) -> None:
    """Write a file beside its place, then move it there."""
    new = path.with_name(f".new-{path.name}")
    try:
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _told_if_full(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StoreError(
            f"The disk under {folder} is full, so the weights were not saved; what was "
            f"trained is kept. Make room and run the same command again."
        ) from error
