"""A file of weights is read, whole and unharmed, and nothing in it is run.

From: a ``.safetensors`` file, a state dict that ``torch.save`` wrote (plain, or within
a checkpoint), or a folder as hubs lay it out. To: tensors by name, the hash of the
very bytes they were read from, and what they were wrapped in.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import pickle
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eegfm_bench.errors import WeightsError

# Keys under which checkpoints keep their tensors.
CONTAINERS = ("state_dict", "model", "model_state_dict", "net")
# What wrappers put before every name: data parallel, Lightning, torch.compile.
PREFIXES = ("module.", "model.", "_orig_mod.")
DEEPEST = 4
# What the format allows; more is the beginning of something else.
LONGEST_HEADER = 100_000_000

ENDINGS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
SAY_HOW = (
    "Give a .safetensors file, or a state dict (.pth, .pt, .ckpt, .bin) that "
    "torch.save wrote, or a folder that holds one of them."
)
SAVE_AGAIN = (
    "If you trust whoever wrote it, load it where it was made and save its tensors "
    "alone: torch.save(model.state_dict(), FILE)."
)
FETCH_AGAIN = "Download or copy it again."


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """Tensors as a file names them.

    Attributes
    ----------
    path : Path
        The one file that holds the tensors.
    sha256 : str
        Of its bytes, as they were read.
    container : str
        What they were wrapped in, in plain words.
    tensors : mapping of name to tensor
        On the CPU, finite, in the file's own precision.
    about : mapping
        The ``config.json`` of the folder, where a folder was given; where its file was,
        if that names this very file by its hash.
    stripped : str
        What every name began with.
    git_blob : str
        What git calls these bytes.
    """

    path: Path
    sha256: str
    container: str
    tensors: Mapping[str, Tensor] = field(repr=False)
    about: Mapping[str, Any] = field(default_factory=dict, repr=False)
    stripped: str = ""
    git_blob: str = ""


def read_weights(path: Path) -> WeightsFile:
    """Read a file of weights, or a folder with one.

    Parameters
    ----------
    path : Path
        A file, or a folder as the hub has it: ``model.safetensors`` or
        ``pytorch_model.bin``, and perhaps ``config.json``.

    Raises
    ------
    WeightsError
        If there is none, or more than one; if it is cut short, damaged, of another
        kind or empty; if reading it would run code; if a number is not finite.
    """
    path = Path(path).expanduser()
    about: Mapping[str, Any] | None = None
    if path.is_dir():
        about = _about(path)
        path = _only_file(path)
    elif not path.exists():
        raise WeightsError(f"{path}: there is no such file or folder. {SAY_HOW}")
    elif not path.is_file():
        raise WeightsError(f"{path}: is no ordinary file. {SAY_HOW}")
    # Once, so that hash and tensors are of the same bytes whatever happens meanwhile.
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot be read ({error.strerror}). Check its permissions and its "
            f"disk, or copy it again."
        ) from error
    _refuse_stand_ins(path, data)
    sha256 = hashlib.sha256(data).hexdigest()
    if about is None:
        about = _said_beside(path, sha256)
    elif _stated(about) not in ("", sha256):
        raise WeightsError(
            f"{path}: is not the file that was saved with this folder's configuration "
            f"(sha256 {sha256[:12]}…, expected {_stated(about)[:12]}…), so that what "
            f"that says of channels and options is of another. Take all files from one "
            f"folder, as it was saved; or give the file itself."
        )
    if _looks_like_safetensors(data) or path.suffix == ".safetensors":
        held, notes = dict(_read_safetensors(path, data)), ["safetensors"]
    else:
        form = "torch zip file" if data[:2] == b"PK" else "torch legacy file"
        held, notes = _unwrapped(path, _read_torch(path, data), [form])
    tensors, stripped = _stripped(path, held)
    if stripped:
        notes.append(f"without '{stripped}' before every name")
    for name, tensor in tensors.items():
        _refuse_odd(path, name, tensor)
    _refuse_not_finite(path, tensors)
    return WeightsFile(
        path=path,
        sha256=sha256,
        container="; ".join(notes),
        tensors=tensors,
        about=about,
        stripped=stripped,
        git_blob=hashlib.sha1(
            b"blob %d\0" % len(data) + data, usedforsecurity=False
        ).hexdigest(),
    )


def _only_file(folder: Path) -> Path:
    """Return the one file of weights in a folder."""
    found = sorted(
        p for p in folder.iterdir() if p.suffix in ENDINGS and not _is_aside(p)
    )
    shards = sorted(folder.glob("*.index.json"))
    if shards:
        raise WeightsError(
            f"{folder}: its weights are in several files ({shards[0].name}), which is "
            f"not read here. Put them into one: safetensors.torch.save_file(tensors, "
            f"'model.safetensors')."
        )
    if not found:
        raise WeightsError(f"{folder}: holds no file of weights. {SAY_HOW}")
    if len(found) > 1:
        names = ", ".join(p.name for p in found)
        raise WeightsError(
            f"{folder}: holds {len(found)} files of weights ({names}); which one is "
            f"meant cannot be told. Give the file itself."
        )
    return found[0]


def _about(folder: Path) -> Mapping[str, Any]:
    """Return what a folder says of its file of weights."""
    # A saved model says it apart where another reader wants config.json plain.
    return {
        **_read_about(folder / "eegfm_bench.json"),
        **_read_about(folder / "config.json"),
    }


def _said_beside(path: Path, sha256: str) -> Mapping[str, Any]:
    """Return what lies beside a file that was given by itself, if it is of it."""
    with suppress(WeightsError):  # what is of something else may be damaged
        about = _about(path.parent)
        if _stated(about) == sha256:
            return about
    return {}


def _stated(about: Mapping[str, Any]) -> str:
    """Return the hash that a saved model states of its tensors, if any."""
    block = about.get("eegfm_bench")
    return str(block.get("sha256", "")) if isinstance(block, Mapping) else ""


def _is_aside(path: Path) -> bool:
    return path.name.startswith(".") or not path.is_file()


def _read_about(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"{path}: is not JSON ({error}). {FETCH_AGAIN} The file of weights itself "
            f"can be given without it."
        ) from error
    if not isinstance(about, dict):
        raise WeightsError(
            f"{path}: holds a {type(about).__name__}; expected an object with names."
        )
    return about


def _refuse_stand_ins(path: Path, data: bytes) -> None:
    """Refuse what lies in the place of weights and is none."""
    if not data:
        raise WeightsError(f"{path}: is empty. {FETCH_AGAIN}")
    start = data[:512].lstrip()
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(
            f"{path}: is a Git LFS pointer ({len(data)} bytes of text), not the "
            f"weights. Get the file behind it: git lfs pull, or the hub's download."
        )
    if start[:1] == b"<" and re.match(rb"<(!doctype|html|\?xml|head)", start.lower()):
        raise WeightsError(
            f"{path}: is a web page, not weights: perhaps a log-in or error page was "
            f"saved in their place. {FETCH_AGAIN}"
        )
    known = {b"\x89HDF": "an HDF5 file", b"\x1f\x8b": "a gzip archive"}
    for magic, what in known.items():
        if data.startswith(magic):
            raise WeightsError(f"{path}: is {what}. {SAY_HOW}")


def _looks_like_safetensors(data: bytes) -> bool:
    n_header = int.from_bytes(data[:8], "little")
    return data[8:9] == b"{" and n_header <= LONGEST_HEADER


def _read_safetensors(path: Path, data: bytes) -> Mapping[str, Tensor]:
    """Read safetensors after a look at its header, which says what must be there."""
    import safetensors.torch

    n_header = int.from_bytes(data[:8], "little")
    n_stated = 8 + n_header
    names: list[str] = []
    if len(data) >= max(9, n_stated):
        try:
            pairs = json.loads(data[8:n_stated], object_pairs_hook=list)
            fields = [(key, dict(about)) for key, about in pairs]
            names = [key for key, _ in fields if key != "__metadata__"]
            ends = [f["data_offsets"][1] for k, f in fields if k != "__metadata__"]
            n_stated += max(ends, default=0)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise WeightsError(
                f"{path}: its header of {n_header:,} bytes is not one of safetensors "
                f"({type(error).__name__}). {FETCH_AGAIN}"
            ) from error
    if len(data) != n_stated or len(data) < 9:
        how = "is cut short" if len(data) < n_stated else "is longer than it says"
        raise WeightsError(
            f"{path}: {how}: {len(data):,} bytes, and its header speaks of "
            f"{n_stated:,}. {FETCH_AGAIN}"
        )
    _refuse_twice(path, names)
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
    except Exception as error:  # the library has kinds of its own
        raise WeightsError(
            f"{path}: is damaged: {_first_line(error)}. {FETCH_AGAIN}"
        ) from error
    return tensors


def _read_torch(path: Path, data: bytes) -> Any:
    """Unpickle plain data and tensors; whatever else is asked for is refused."""
    if data[:2] == b"PK":
        _refuse_damaged_zip(path, data)
    elif data[:1] != b"\x80":  # every pickle of protocol 2 or later
        raise WeightsError(
            f"{path}: is no file of weights; it begins with {data[:8]!r}. {SAY_HOW}"
        )
    try:
        with warnings.catch_warnings():
            # Old files keep their numbers in ways that torch now warns of.
            warnings.simplefilter("ignore")
            with torch.serialization.safe_globals(_plain_data()):
                return torch.load(
                    io.BytesIO(data), map_location="cpu", weights_only=True
                )
    except pickle.UnpicklingError as error:
        raise _refused_pickle(path, error) from error
    except Exception as error:  # many kinds, by where the damage is
        raise WeightsError(
            f"{path}: is cut short or damaged ({_first_line(error)}). {FETCH_AGAIN}"
        ) from error


def _plain_data() -> list[Any]:
    """Return what may lie beside tensors: a script's options, and numpy's numbers.

    LaBraM's public file has both. A number is made of its bytes and its type, under
    numpy's old name or its new one; of the types, only those of numbers are let in.
    """
    remake = np.float64(0).__reduce__()[0]
    kinds = (np.float64, np.float32, np.int64, np.int32, np.bool_)
    return [
        argparse.Namespace,
        *((remake, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
        np.dtype,
        *(type(np.dtype(kind)) for kind in kinds),
    ]


def _refused_pickle(path: Path, error: Exception) -> WeightsError:
    said = str(error)
    asked = re.search(r"GLOBAL ([\w.]+)", said) or re.search(
        r"(?:class|type|function) ['\"]?([\w.]+\.[\w.]+)", said
    )
    if asked is None:
        # torch first says what it wants of its own users; the reason stands after.
        reason = said.rpartition("WeightsUnpickler error:")[2].strip()
        line = reason.splitlines()[0] if reason else type(error).__name__
        return WeightsError(
            f"{path}: is cut short, damaged or no state dict "
            f"({line.strip().rstrip('.')[:200]}). {FETCH_AGAIN}"
        )
    return WeightsError(
        f"{path}: asks for '{asked[1]}' to be run, which is neither a tensor nor plain "
        f"data. Nothing of it was run: such a file could hold any program. {SAVE_AGAIN}"
    )


def _refuse_damaged_zip(path: Path, data: bytes) -> None:
    """Check what torch does not: the sums of what is in a zip file, and its names."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            held = archive.infolist()
            _refuse_twice(path, [each.filename for each in held])
            packed = [i.filename for i in held if i.compress_type != zipfile.ZIP_STORED]
            if packed:
                raise WeightsError(
                    f"{path}: is a compressed zip file ({packed[0]}); torch.save never "
                    f"compresses. Unpack it, and give what is in it."
                )
            if any(each.filename.endswith("/code/__torch__.py") for each in held):
                raise WeightsError(
                    f"{path}: is a TorchScript program, not tensors. {SAVE_AGAIN}"
                )
            broken = archive.testzip()
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise WeightsError(
            f"{path}: is cut short or damaged ({_first_line(error)}). {FETCH_AGAIN}"
        ) from error
    if broken is not None:
        raise WeightsError(
            f"{path}: is damaged: {broken} in it does not agree with its check sum. "
            f"{FETCH_AGAIN}"
        )


def _unwrapped(
    path: Path, held: Any, notes: list[str]
) -> tuple[dict[str, Tensor], list[str]]:
    """Go down to the names and tensors, and say what lay beside them on the way."""
    passed: list[str] = []
    for _ in range(DEEPEST):
        if not isinstance(held, Mapping):
            raise WeightsError(
                f"{path}: holds a {type(held).__name__}; expected tensors by name. "
                f"{SAVE_AGAIN}"
            )
        inner = [k for k in CONTAINERS if _holds_tensors(held.get(k))]
        if len(inner) > 1:
            raise WeightsError(
                f"{path}: tensors are under {' and '.join(map(repr, inner))}; which "
                f"are meant cannot be told. Save one of them by itself."
            )
        if not inner:
            break
        notes.append(f"unwrapped '{inner[0]}'")
        passed += [str(key) for key in held if key != inner[0]]
        held = held[inner[0]]
    tensors = {k: v for k, v in held.items() if isinstance(v, Tensor)}
    if not tensors:
        keys = ", ".join(map(repr, list(held)[:8])) or "nothing"
        raise WeightsError(
            f"{path}: no tensors by name were found, but {keys}. Expected them at the "
            f"top or under one of {', '.join(CONTAINERS)}."
        )
    odd = [key for key in tensors if not isinstance(key, str)]
    if odd:
        raise WeightsError(
            f"{path}: a tensor is called {odd[0]!r}; expected names. {SAVE_AGAIN}"
        )
    passed += [str(key) for key in held if key not in tensors]
    if passed:
        notes.append(f"passed over {', '.join(sorted(passed))}")
    return tensors, notes


def _holds_tensors(value: Any, deepest: int = DEEPEST) -> bool:
    if not isinstance(value, Mapping) or not deepest:  # a pickle can hold itself
        return False
    return any(
        isinstance(v, Tensor) or (k in CONTAINERS and _holds_tensors(v, deepest - 1))
        for k, v in value.items()
    )


def _stripped(
    path: Path, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], str]:
    """Return tensors without what all names begin with, and what that was."""
    if not tensors:
        raise WeightsError(f"{path}: holds no tensors. {SAY_HOW}")
    gone = ""
    while True:
        prefix = next(
            (
                p
                for p in PREFIXES
                if all(n.startswith(gone + p) and n != gone + p for n in tensors)
            ),
            "",
        )
        if not prefix:
            return {n.removeprefix(gone): t for n, t in tensors.items()}, gone
        gone += prefix


def _refuse_twice(path: Path, names: list[str]) -> None:
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise WeightsError(
            f"{path}: holds '{twice[0]}' twice; which one is meant cannot be told. "
            f"{SAVE_AGAIN}"
        )


def _refuse_odd(path: Path, name: str, tensor: Tensor) -> None:
    """Refuse a tensor that is not plain numbers in memory."""
    # Of a byte each are numbers that need a scale beside them.
    is_tiny = tensor.is_floating_point() and tensor.element_size() < 2
    is_plain = tensor.layout == torch.strided and not tensor.is_nested
    if not is_plain or tensor.is_quantized or tensor.is_meta or is_tiny:
        raise WeightsError(
            f"{path}: '{name}' is sparse, nested, quantised or without numbers "
            f"({tensor.dtype}); expected plain numbers. Save it as such: "
            f"tensor.to_dense(), tensor.dequantize(), tensor.float()."
        )
    n_bytes = tensor.numel() * tensor.element_size()
    if n_bytes > tensor.untyped_storage().nbytes():
        raise WeightsError(
            f"{path}: '{name}' claims {n_bytes:,} bytes and has "
            f"{tensor.untyped_storage().nbytes():,}. Save it with .contiguous()."
        )


def _refuse_not_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    bad = [n for n, t in tensors.items() if not torch.isfinite(t).all()]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise WeightsError(
            f"{path}: {', '.join(bad[:3])}{more} hold NaN or infinite numbers: a model "
            f"that diverged, or a damaged file. Take an earlier checkpoint."
        )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0].rstrip(".") if lines else type(error).__name__)[:200]
