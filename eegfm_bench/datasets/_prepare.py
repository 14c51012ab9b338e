"""From a data root to a window store: the first half of the road.

From: a DatasetSpec and a root (or none: the simulated twin). To: WindowStore.
Every store is written once by one process while others wait; what was dropped,
flat or absent is counted in its manifest.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from eegfm_bench.datasets._places import SIMULATED, cache_root, data_root
from eegfm_bench.datasets._spec import DatasetSpec, Source, find_dataset
from eegfm_bench.errors import DataMissing, SignalError, listed
from eegfm_bench.recordings import filters
from eegfm_bench.runs.spec import DatasetRef, canonical_json, short_hash
from eegfm_bench.symbols import PARTS
from eegfm_bench.windows.cut import cut
from eegfm_bench.windows.recipe import Recipe
from eegfm_bench.windows.store import WindowStore, only_writer, write_store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Raised whenever the simulation changes a twin's bytes: it is their fingerprint.
TWIN_VERSION = 1
# Raised when code that reads, filters or cuts changes bytes for every recipe: the
# windows on disk are then cut anew.
CUT_VERSION = 1
TWIN_SIZE = "small"

Progress = Callable[[int, int], None]


def prepare(
    name: str,
    *,
    data: str | Path | None = None,
    allow_partial: bool = False,
    rate_hz: float | None = None,
    progress: Progress | None = None,
) -> WindowStore:
    """Return a dataset's windows, cutting them first if need be.

    Parameters
    ----------
    name : str
        A dataset key, such as ``"eegmat"``.
    data : path, optional
        The data root; else ``EEGFM_DATA``; with neither the simulated twin.
    allow_partial : bool
        Whether subjects of the protocol may be absent. A damaged file, or a
        subject with some of its files, is an error all the same.
    rate_hz : float, optional
        Another rate than the dataset's own.
    progress : function of (recordings done, recordings in all), optional

    Returns
    -------
    store : WindowStore
        ``.x`` (N, C, T) float32 in µV and ``.index``.

    Raises
    ------
    DataMissing
        If the root lacks the dataset, or subjects are absent and may not be.
    SignalError
        If a file is damaged; it is named.
    """
    spec = find_dataset(name)
    recipe = spec.recipe.at(rate_hz)
    root = data_root(data)
    is_twin = root is None
    if root is None:
        warn_simulated()
        root = twin_root(spec)
    sources = spec.find(root)
    absent = spec.absent(sources)
    if absent and not (allow_partial or is_twin):
        raise DataMissing(
            f"{spec.title} is incomplete below {root}: {len(absent)} of "
            f"{len(spec.split.subjects)} subjects are absent: {listed(absent)}. "
            f"{spec.access} Or pass --allow-partial: the result is then marked partial."
        )
    protocol = spec.protocol(recipe)
    path = cache_root() / "windows" / f"{protocol}-{_source_key(sources, is_twin)}"
    if not path.exists():
        with only_writer(path):
            if not path.exists():
                state = "simulated" if is_twin else "partial" if absent else "complete"
                _write(
                    spec,
                    recipe,
                    sources,
                    path,
                    state=state,
                    absent=absent,
                    outside=spec.outside(root),
                    allow_partial=allow_partial,
                    progress=progress,
                )
    store = WindowStore(path)
    if store.manifest["data"] == "partial" and not allow_partial:
        _is_as_published(spec, store.index, allow_partial=False)
    return store


def warn_simulated() -> None:
    """Say, wherever this runs, that no number below is of real EEG."""
    logging.getLogger("eegfm_bench").warning(SIMULATED)


def dataset_ref(store: WindowStore) -> DatasetRef:
    """Return what a spec says about the windows of a store."""
    manifest = store.manifest
    return DatasetRef(
        name=manifest["dataset"],
        protocol=manifest["protocol"],
        data=manifest["data"],
        fingerprint=manifest["fingerprint"],
    )


def twin_root(spec: DatasetSpec, *, size: str = TWIN_SIZE) -> Path:
    """Return a root that holds the simulated twin, writing it first if need be."""
    root = cache_root() / "twins" / f"{spec.name}-{size}-{TWIN_VERSION}"
    if not root.exists():
        with only_writer(root):
            if not root.exists():
                new = Path(
                    tempfile.mkdtemp(prefix=f".new-{root.name}-", dir=root.parent)
                )
                try:
                    new.chmod(0o755)
                    (new / spec.folder).mkdir()
                    spec.simulate(new / spec.folder, size)
                    new.rename(root)
                except BaseException:
                    shutil.rmtree(new, ignore_errors=True)
                    raise
    return root


def _source_key(sources: list[Source], is_twin: bool) -> str:
    """Name these very files, and what reads them, without reading them.

    The time of an inode's change cannot be set back, as that of a file's can.
    """
    readers = [metadata.version(name) for name in ("mne", "edfio", "scipy")]
    facts: list[Any] = [CUT_VERSION, *readers]
    if is_twin:
        facts.append(TWIN_VERSION)
    for source in () if is_twin else sources:
        stat = source.path.stat()
        times = (stat.st_mtime_ns, stat.st_ctime_ns)
        facts.append((str(source.path), stat.st_ino, stat.st_size, times))
    return short_hash(canonical_json(facts))


def _write(
    spec: DatasetSpec,
    recipe: Recipe,
    sources: list[Source],
    path: Path,
    *,
    state: str,
    absent: tuple[str, ...],
    outside: tuple[str, ...],
    allow_partial: bool,
    progress: Progress | None,
) -> None:
    index = spec.plan(sources)
    if state == "complete" and not _is_as_published(
        spec, index, allow_partial=allow_partial
    ):
        state = "partial"
    rows = index.groupby("recording", sort=False).indices
    digests: dict[str, list[Source]] = {}
    flat: dict[str, list[str]] = {}
    dropped: dict[str, float] = {}

    def fill(x: NDArray[np.float32]) -> dict[str, Any]:
        for done, source in enumerate(sources):
            if progress is not None:
                progress(done, len(sources))
            recording = spec.read(source).pick(recipe.channels)
            if recording.flat_channels:
                flat[source.recording] = list(recording.flat_channels)
            at = rows.get(source.recording)
            n_windows = 0 if at is None else len(at)
            left_s = recording.duration_s - n_windows * recipe.stride_s
            if left_s > 0.5 / recording.rate_hz:
                dropped[source.recording] = round(left_s, 3)
            if at is not None:
                recording = filters.apply(recording, recipe.steps)
                onsets_s = index["onset_s"].to_numpy()[at]
                x[at[0] : at[-1] + 1] = cut(
                    recording, onsets_s, window_s=recipe.window_s
                )
            digest = hashlib.sha256(source.path.read_bytes()).hexdigest()
            digests.setdefault(digest, []).append(source)
        if progress is not None:
            progress(len(sources), len(sources))
        named = [
            (s.subject, s.session, s.recording, digest)
            for digest, same in digests.items()
            for s in same
        ]
        return {
            "dataset": spec.name,
            "protocol": spec.protocol(recipe),
            "data": state,
            "fingerprint": (
                f"twin-{TWIN_SIZE}-{TWIN_VERSION}"
                if state == "simulated"
                else short_hash(canonical_json(sorted(map(list, named))))
            ),
            "classes": list(spec.classes),
            "main_score": spec.main_score,
            "recipe": json.loads(canonical_json(recipe.fields())),
            "counts": _counts(index, len(spec.classes)),
            "n_recordings": len(sources),
            "absent_subjects": list(absent),
            "outside_protocol": list(outside),
            "flat_channels": flat,
            "dropped_tail_s": dropped,
            "identical_recordings": [
                [s.recording for s in same] for same in digests.values() if same[1:]
            ],
        }

    write_store(
        path,
        index=index,
        window_shape=(len(recipe.channels), recipe.n_times),
        fill=fill,
    )


def _is_as_published(
    spec: DatasetSpec, index: pd.DataFrame, *, allow_partial: bool
) -> bool:
    """Hold the plan of a set with all its subjects against the facts."""
    found = {part: int((index["part"] == part).sum()) for part in PARTS}
    if found == dict(spec.facts.windows):
        return True
    if allow_partial:
        return False
    raise SignalError(
        f"{spec.title} has all its subjects, but its headers give {found} windows; "
        f"expected {dict(spec.facts.windows)} ({spec.facts.source}). A recording is "
        f"too short, too long or not the published one: fetch the set again. Or pass "
        f"--allow-partial: the result is then marked partial."
    )


def _counts(index: pd.DataFrame, n_classes: int) -> dict[str, list[int]]:
    """Count windows per part and class."""
    return {
        part: [
            int(((index["part"] == part) & (index["label"] == k)).sum())
            for k in range(n_classes)
        ]
        for part in PARTS
    }
