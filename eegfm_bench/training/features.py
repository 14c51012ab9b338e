"""What a frozen encoder makes of every window, computed once and kept on disk.

From: a store and a frozen encoder. To: features (N, D), float32, row i of window i, for
``probe``. They lie in the cache under a name made of all that decides them; a folder is
whole or not there, its bytes are held against their checksum, and what is damaged is
encoded again and said.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from eegfm_bench.batches import EEGDataModule
from eegfm_bench.datasets._places import cache_root
from eegfm_bench.datasets._prepare import dataset_ref
from eegfm_bench.errors import SignalError, StoreError
from eegfm_bench.models._probed import features_of
from eegfm_bench.runs.spec import RunSpec, canonical_json
from eegfm_bench.training.provenance import processor
from eegfm_bench.windows.store import NEW, WindowStore, only_writer

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Raised when features come to be computed in another way.
FEATURES_VERSION = 1
# Windows encoded at once, whatever the recipe: a batch's size can move last digits.
BATCH = 64
_PACKAGES = ("torch", "braindecode", "torchaudio", "scipy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Features of a store's windows, how many were encoded now, and what was odd."""

    values: NDArray[np.float32]
    path: Path
    n_encoded: int = 0
    notes: tuple[str, ...] = ()

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return features (B, D) of these windows, in this order, in memory."""
        return np.array(self.values[rows])


def cached_features(
    spec: RunSpec,
    store: WindowStore,
    model: Any,
    *,
    frozen_sha256: str,
    device: str,
) -> Features:
    """Return the features of all windows of a store, encoding them if need be.

    Parameters
    ----------
    spec : RunSpec
        Whose model, options and scale are meant; neither its recipe nor its labels
        change what is encoded.
    store : WindowStore
    model : nn.Module
        Its encoder is frozen; put into evaluation mode.
    frozen_sha256 : str
        Digest of the encoder's tensors: two starts share features when it is equal.
    device : str

    Raises
    ------
    SignalError
        If a feature is not finite.
    StoreError
        If the disk is full.
    """
    key = _key(spec, store, model, frozen_sha256=frozen_sha256, device=device)
    name = hashlib.sha256(canonical_json(key).encode()).hexdigest()[:16]
    path = cache_root() / "features" / f"{_plain(spec.model)}-{store.path.name}-{name}"
    n_windows = len(store.index)
    with only_writer(path):
        notes = []
        if path.exists():
            try:
                return Features(values=_read(path, n_windows), path=path)
            except StoreError as error:
                notes.append(f"{error} They were encoded again.")
                shutil.rmtree(path)
        try:
            values = _encode(store, model, device)
            _write(path, values, key)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise StoreError(
                f"The disk under {path.parent} is too full for the features of "
                f"{n_windows:,} windows. Make room, or set EEGFM_CACHE to a folder on "
                f"another disk. Nothing was left behind."
            ) from error
    return Features(
        values=_read(path, n_windows),
        path=path,
        n_encoded=n_windows,
        notes=tuple(notes),
    )


@torch.inference_mode()
def _encode(store: WindowStore, model: nn.Module, device: str) -> NDArray[np.float32]:
    model.eval()
    data = EEGDataModule(store, batch_size=BATCH)
    values: NDArray[np.float32] | None = None
    for part in ("train", "val", "test"):
        at = 0
        rows = data.rows(part)
        for batch in data.in_order(part):
            encoded = features_of(model, batch.x.to(device)).float().cpu()
            # Of a sequence, every window has a row of its own.
            found_BD = encoded.reshape(batch.y.numel(), -1).numpy()
            if values is None:
                values = np.zeros((len(store.index), found_BD.shape[1]), np.float32)
            if not np.isfinite(found_BD).all():
                raise SignalError(
                    f"A feature of the {part} part is not finite. Look for flat or "
                    f"broken channels in the store's manifest, or at the weights."
                )
            values[rows[at : at + len(found_BD)]] = found_BD
            at += len(found_BD)
    assert values is not None  # a part without windows was refused before
    return values


def _key(
    spec: RunSpec, store: WindowStore, model: Any, *, frozen_sha256: str, device: str
) -> dict[str, Any]:
    """Return all that decides the features, as plain data."""
    manifest = canonical_json(store.manifest)
    return {
        "version": FEATURES_VERSION,
        "windows": dataset_ref(store).model_dump(mode="json"),
        "store": store.path.name,
        "manifest": hashlib.sha256(manifest.encode()).hexdigest(),
        "model": spec.model,
        "model_version": spec.model_version,
        "code": spec.code,
        "sources": _sources(),
        "options": spec.options,
        "scale": spec.scale,
        "encoder": frozen_sha256,
        "kind": "pooled" if hasattr(model, "pooled") else "features",
        "batch": BATCH,
        "dtype": "float32",
        "device": torch.cuda.get_device_name() if device == "cuda" else processor(),
        "arithmetic": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "packages": {package: metadata.version(package) for package in _PACKAGES},
    }


def _sources() -> str:
    """Digest this package's models, whose edits need not change a version."""
    import eegfm_bench.models as package

    digest = hashlib.sha256()
    folder = Path(package.__path__[0])
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder)} ".encode() + file.read_bytes())
    return digest.hexdigest()


def _write(path: Path, values: NDArray[np.float32], key: Mapping[str, Any]) -> None:
    """Write a folder of features beside its place, then give it its name."""
    new = Path(tempfile.mkdtemp(prefix=f"{NEW}{path.name}-", dir=path.parent))
    try:
        new.chmod(0o755)
        with (new / "features.npy").open("wb") as out:
            np.save(out, values)
            out.flush()
            os.fsync(out.fileno())
        about = {
            "shape": list(values.shape),
            "sha256": _sha256(values),
            "decided_by": key,
        }
        text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
        (new / "about.json").write_text(text, encoding="utf-8")
        new.rename(path)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _read(path: Path, n_windows: int) -> NDArray[np.float32]:
    """Return features read in place, held against their checksum."""
    try:
        about = json.loads((path / "about.json").read_text(encoding="utf-8"))
        values: NDArray[np.float32] = np.load(path / "features.npy", mmap_mode="r")
        is_whole = (
            values.dtype == np.float32
            and list(values.shape) == about["shape"]
            and len(values) == n_windows
            and _sha256(values) == about["sha256"]
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise StoreError(
            f"The cached features {path.name} cannot be read ({type(error).__name__})."
        ) from error
    if not is_whole:
        raise StoreError(f"The cached features {path.name} are damaged.")
    return values


def _sha256(values: NDArray[np.float32]) -> str:
    """Digest rows a few at a time: a large set is read in place."""
    digest = hashlib.sha256()
    step = max(1, (16 << 20) // max(values[:1].nbytes, 1))
    for start in range(0, len(values), step):
        digest.update(np.ascontiguousarray(values[start : start + step]).data)
    return digest.hexdigest()


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._" else "." for c in name)
