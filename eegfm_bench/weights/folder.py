"""A trained model as a folder: tensors, a configuration and a card.

From: a model at its tested state. To: ``--weights FOLDER``, ``eegfm_bench.load``,
braindecode's ``from_pretrained`` and whoever reads safetensors. The folder is whole or
not there, and speaks to braindecode only where its class says the same.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import inspect
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import eegfm_bench
from eegfm_bench.errors import SpecError, UnknownName, WeightsError
from eegfm_bench.models._braindecode import braindecode_models
from eegfm_bench.models._probed import Probed
from eegfm_bench.models._spec import InputShape, ModelSpec, find_model
from eegfm_bench.weights.card import write_card
from eegfm_bench.weights.counterparts import Counterpart, configuration, counterpart
from eegfm_bench.weights.matching import OURS
from eegfm_bench.weights.pieces import from_file, pieces, to_file
from eegfm_bench.weights.saved import (
    APART,
    BLOCK,
    CARD,
    CONFIG,
    TENSORS,
    SavedModel,
    read_saved,
)


def write_folder(
    folder: Path,
    model: nn.Module,
    spec: ModelSpec,
    shape: InputShape,
    *,
    scale: str,
    options: Mapping[str, Any],
    card: Mapping[str, Any],
) -> None:
    """Save a model: ``model.safetensors``, ``config.json``, ``README.md``.

    Parameters
    ----------
    folder : Path
        A saved model that lies there is replaced, once the new one is whole.
    model : nn.Module
        As ``spec`` built it for ``shape``, at the state to be kept; or its ``Probed``.
    spec : ModelSpec
    shape : InputShape
    scale : str
    options : mapping
        Those that were given; the rest have their defaults.
    card : mapping
        As ``card.card_of`` makes it.

    Raises
    ------
    WeightsError
        If something else lies at ``folder``, a tensor is not finite, the model keeps
        what is no tensor, or the disk is full.
    """
    folder = Path(folder)
    _refuse_others(folder)
    options = spec.options_for(scale, options)
    found = counterpart(model, spec, shape, options)
    config: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    if isinstance(found, Counterpart):
        tensors = to_file(model, pieces(model, found))
        named = {n: t for n, t in tensors.items() if not n.startswith(OURS)}
        configured = configuration(model, shape, found, named)
        if isinstance(configured, str):
            found = configured
        else:
            config = configured
    if isinstance(found, str):
        tensors = to_file(model, pieces(model))
    _refuse_not_finite(tensors, spec)
    text = write_card(spec, shape, scale=scale, options=options, card=card, found=found)
    dataset = card.get("dataset") or {}

    def fill(new: Path) -> None:
        _write_tensors(new / TENSORS, tensors)
        block = SavedModel(
            version=eegfm_bench.__version__,
            model=spec.name,
            model_version=spec.version,
            code=spec.code_hash,
            scale=scale,
            options=options,
            channels=shape.channels,
            n_times=shape.n_times,
            rate_hz=shape.rate_hz,
            n_classes=shape.n_classes,
            sequence=shape.sequence,
            is_probe=isinstance(model, Probed),
            classes=tuple(card.get("classes") or ()),
            unit="µV",
            layout="own" if isinstance(found, str) else "braindecode",
            sha256=_sha256(new / TENSORS),
            dataset={k: str(v) for k, v in dataset.items()},
            run_id=card.get("run_id"),
            persons=card.get("persons") or {},
        ).model_dump(mode="json")
        if isinstance(found, Counterpart) and _takes_any_keyword(found):
            _write_json(new / APART, {BLOCK: block})
            _write_json(new / CONFIG, config)
        else:
            _write_json(new / CONFIG, {**config, BLOCK: block})
        _write(new / CARD, text)

    with _told_if_full(folder):
        _put(folder, fill)


def load_folder(path: Path | str) -> nn.Module:
    """Return a saved model, ready to be asked.

    Parameters
    ----------
    path : Path or str
        A folder that ``run --keep-best`` or ``write_folder`` wrote.

    Returns
    -------
    model : nn.Module
        On the CPU, in evaluation: ``forward(x)`` gives logits (B, K) and
        ``features(x)`` (B, D), from windows (B, C, T) in µV.

    Raises
    ------
    WeightsError
        If it is no such folder, a file is damaged or not of the others, the model is
        of another version, or the source of a user's class changed.
    UnknownName
        If no model has its name.
    """
    path = Path(path)
    saved = read_saved(path)
    spec = _find(saved, path)
    tensors = _read_tensors(path / TENSORS, saved.sha256)
    with torch.random.fork_rng(devices=[]):
        model: nn.Module = spec.build(
            saved.shape, scale=saved.scale, options=saved.options
        )
        if saved.is_probe:
            model = Probed(model, saved.shape)
        found = _named_by(model, spec, saved, path)
    try:
        from_file(model, pieces(model, found), tensors)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    return model.eval()


def _find(saved: SavedModel, path: Path) -> ModelSpec:
    """Return the spec a folder was saved by; refuse another one of the same name."""
    _refuse_code_within(path, saved.model)
    try:
        spec = find_model(saved.model)
    except UnknownName as error:
        raise UnknownName(f"{path / CONFIG}: {error}") from error
    except SpecError as error:
        raise WeightsError(
            f"{path}: holds the tensors of {saved.model}, and not its source, which "
            f"is needed too. {error}"
        ) from error
    if spec.version != saved.model_version:
        raise WeightsError(
            f"{path}: was saved by version {saved.model_version} of {saved.model} "
            f"(eegfm-bench {saved.version}); here is version {spec.version}, another "
            f"architecture. Load it with eegfm-bench {saved.version}."
        )
    if spec.code_hash != saved.code:
        raise WeightsError(
            f"{path}: the source of {saved.model} is {spec.code_hash}; the tensors are "
            f"of {saved.code}. Bring back the source they were trained with."
        )
    return spec


def _refuse_code_within(folder: Path, model: str) -> None:
    """Refuse a class whose source came with the folder: finding it would run it."""
    source, _, place = model.partition(":")
    if source != "torch":
        return
    parts = place.partition(":")[0].split(".")
    inside = folder.resolve()
    for start in (*sys.path, "."):  # where classes of one's own are looked for
        for n in range(1, len(parts) + 1):
            where = Path(start or ".", *parts[:n]).resolve()
            files = (where.with_name(f"{where.name}.py"), where / "__init__.py")
            if where.is_relative_to(inside) and any(file.is_file() for file in files):
                raise WeightsError(
                    f"{folder}: names {model}, whose source lies within it. A folder "
                    f"of tensors is not to bring code, and nothing of it was run. If "
                    f"you trust it, move its source out of the folder."
                )


def _named_by(
    model: nn.Module, spec: ModelSpec, saved: SavedModel, path: Path
) -> Counterpart | None:
    """Return whose names the tensors have, where not ours."""
    if saved.layout == "own":
        return None
    options = spec.options_for(saved.scale, saved.options)
    found = counterpart(model, spec, saved.shape, options)
    if isinstance(found, str):
        raise WeightsError(
            f"{path / CONFIG}: says that tensors have braindecode's names, but "
            f"{found}. Take all files from one folder, as it was saved."
        )
    return found


def _read_tensors(file: Path, sha256: str) -> dict[str, Tensor]:
    import safetensors.torch

    try:
        data = file.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{file}: cannot be read ({error.strerror}). Take the folder as it was "
            f"saved."
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise WeightsError(
            f"{file}: its {len(data):,} bytes are not those that were saved (sha256 "
            f"{found[:12]}…, expected {sha256[:12]}…). It was cut short or changed; "
            f"copy it again. If it was changed on purpose, it is a file of weights: "
            f"--weights {file.name}."
        )
    tensors: dict[str, Tensor] = safetensors.torch.load(data)
    return tensors


def _refuse_others(folder: Path) -> None:
    """Refuse to replace what is not a saved model."""
    if not folder.exists() and not folder.is_symlink():
        return
    is_ours = folder.is_dir() and not folder.is_symlink()
    with contextlib.suppress(WeightsError):
        if is_ours and (not any(folder.iterdir()) or read_saved(folder)):
            return
    raise WeightsError(
        f"{folder}: something else lies there, and is not replaced; expected a saved "
        f"model or nothing. Choose another place, or move it away."
    )


def _refuse_not_finite(tensors: Mapping[str, Tensor], spec: ModelSpec) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(
                f"'{name}' of {spec.name} holds numbers that are not finite, so that "
                f"it is not saved. Look at how it was trained."
            )


def _takes_any_keyword(found: Counterpart) -> bool:
    kind = getattr(braindecode_models(), found.class_name)
    parameters = inspect.signature(kind.__init__).parameters.values()
    return any(p.kind is p.VAR_KEYWORD for p in parameters)


def _write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    import safetensors.torch

    _write(file, safetensors.torch.save(dict(tensors), metadata={"format": "pt"}))


def _write_json(file: Path, value: Mapping[str, Any]) -> None:
    _write(file, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False))


def _write(file: Path, content: str | bytes) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    with file.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def _sha256(file: Path) -> str:
    with file.open("rb") as held:
        return hashlib.file_digest(held, "sha256").hexdigest()


def _put(folder: Path, fill: Any) -> None:
    """Fill a folder beside, then put it in its place; on failure all is as before."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".new-{folder.name}-", dir=folder.parent))
    old: Path | None = None
    try:
        new.chmod(0o755)
        fill(new)
        _sync(new)
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".old-{folder.name}-", dir=new.parent))
            folder.rename(old / folder.name)
        new.rename(folder)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        if old is not None and (old / folder.name).exists():
            (old / folder.name).rename(folder)
            old.rmdir()
        raise
    _sync(folder.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _told_if_full(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise WeightsError(
            f"The disk under {folder.parent} is full, so the model was not saved; "
            f"nothing half-written was left behind. Make room and run again."
        ) from error
