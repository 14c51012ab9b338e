"""From a data root to a window store: the first half of the road.

From: a DatasetSpec and a root (or none: the simulated twin). To: WindowStore.
Every store is written once, recording by recording, while others wait; after a kill
the next writer goes on where it ended. What was dropped, stretched, flat or absent
is counted in its manifest.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eegfm_bench.datasets._cutters import Noted, cores, cut_all
from eegfm_bench.datasets._filtered import MARK as FILTERED
from eegfm_bench.datasets._folds import unfolded
from eegfm_bench.datasets._places import SIMULATED, cache_root, data_root
from eegfm_bench.datasets._rows import Piece
from eegfm_bench.datasets._spec import DatasetSpec, Source, find_dataset
from eegfm_bench.errors import DataMissing, SignalError, SpecError, listed
from eegfm_bench.runs.spec import DatasetRef, canonical_json, short_hash
from eegfm_bench.symbols import PARTS
from eegfm_bench.windows.recipe import Recipe
from eegfm_bench.windows.store import (
    UnfinishedStore,
    WindowStore,
    only_writer,
    remove_stale,
)

# Raised whenever the simulation changes a twin's bytes: it is their fingerprint.
TWIN_VERSION = 1
# Raised when code that reads, filters or cuts changes bytes for every recipe, or what
# a manifest says: the windows on disk are then cut anew.
CUT_VERSION = 4
TWIN_SIZE = "small"

Progress = Callable[[int, int], None]


def prepare(
    name: str,
    *,
    data: str | Path | None = None,
    allow_partial: bool = False,
    rate_hz: float | None = None,
    progress: Progress | None = None,
    jobs: int | None = None,
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
        Called at the start, with what an interrupted call had done, and after every
        recording; not at all where the windows are on disk already.
    jobs : int, optional
        Processes that read and cut, at most; by default one a core, and this very
        process where there is little to do. The windows do not depend on it.

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
    RunFailed
        If a process that cuts was ended from outside.
    """
    if jobs is not None and jobs < 1:
        raise SpecError(f"jobs is {jobs}; choose 1 or more.")
    spec = find_dataset(name)
    root = data_root(data)
    is_twin = root is None
    if root is None:
        warn_simulated()
        root = twin_root(spec)
    spec = spec.located(root)
    recipe = spec.recipe.at(rate_hz)
    sources = spec.find(root)
    absent = spec.absent(sources)
    if absent and not (allow_partial or is_twin):
        raise DataMissing(
            f"{spec.title} is incomplete below {root}: {len(absent)} of "
            f"{len(spec.everyone)} subjects are absent: {listed(absent)}. "
            f"{spec.access} Or pass --allow-partial: the result is then marked partial."
        )
    protocol = spec.protocol(recipe)
    path = cache_root() / "windows" / f"{protocol}-{_source_key(sources, is_twin)}"
    if not path.exists():
        with only_writer(path):
            if not path.exists():
                remove_stale(path, str(root))
                _write(
                    spec,
                    recipe,
                    sources,
                    path,
                    root=root,
                    state="simulated"
                    if is_twin or spec.is_made_up
                    else "partial"
                    if absent
                    else "complete",
                    allow_partial=allow_partial,
                    progress=progress,
                    jobs=jobs or cores(),
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
    # Folds of a set, and the same filtered, share its recordings.
    name = unfolded(spec.name).removesuffix(FILTERED)
    root = cache_root() / "twins" / f"{name}-{size}-{TWIN_VERSION}"
    if not root.exists():
        with only_writer(root):
            if not root.exists():
                new = Path(
                    tempfile.mkdtemp(prefix=f".new-{root.name}-", dir=root.parent)
                )
                try:
                    new.chmod(0o755)
                    (new / spec.folder).mkdir(parents=True)
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
    readers = [metadata.version(name) for name in ("mne", "edfio", "scipy", "h5py")]
    facts: list[Any] = [CUT_VERSION, *readers]
    if is_twin:
        facts.append(TWIN_VERSION)
    for source in () if is_twin else sources:
        for path in (source.path, *source.extra):
            try:
                stat = path.stat()
            except OSError as error:
                raise SignalError(
                    f"{path} cannot be read ({error.strerror}), and the windows of "
                    f"{source.recording} hang on it. Fetch it again."
                ) from error
            times = (stat.st_mtime_ns, stat.st_ctime_ns)
            facts.append((str(path), stat.st_ino, stat.st_size, times))
    return short_hash(canonical_json(facts))


def _write(
    spec: DatasetSpec,
    recipe: Recipe,
    sources: list[Source],
    path: Path,
    *,
    root: Path,
    state: str,
    allow_partial: bool,
    progress: Progress | None,
    jobs: int,
) -> None:
    index = spec.plan(sources)
    if spec.is_corpus:
        _refuse_nothing(spec, len(index), root, "is long enough and has its channels")
        state = _extent(spec, sources, state)
    if state == "complete" and not _is_as_published(
        spec, index, allow_partial=allow_partial
    ):
        state = "partial"
    manifest = {
        "dataset": spec.name,
        "protocol": spec.protocol(recipe),
        "data": state,
        "classes": list(spec.classes),
        "main_score": spec.main_score,
        "recipe": json.loads(canonical_json(recipe.fields())),
        "counts": _counts(index, len(spec.classes)),
        "n_recordings": len(sources),
        "absent_subjects": list(spec.absent(sources)),
        "outside_protocol": list(spec.outside(root)),
        "oddities": {
            s.recording: list(odd) for s in sources if (odd := spec.oddities(s))
        },
        "persons_in_several_parts": _shared_persons(index),
    }
    if spec.events is not None:
        manifest["events"] = {
            s.recording: {
                "part": spec.split.part_of(spec.units(s, np.zeros(1))[0]),
                "intervals_s": np.asarray(spec.events(s)).tolist(),
            }
            for s in sources
        }
    _refuse_between_points(spec, recipe, index)
    rows = index.groupby("recording", sort=False).indices
    with UnfinishedStore(
        path,
        index=index,
        window_shape=(len(recipe.channels), recipe.n_times),
        plan={"root": str(root), "recipe": manifest["recipe"]},
        is_sifted=recipe.keep_below_uv is not None,
    ) as store:
        pieces = [
            _piece(source, index, rows.get(source.recording))
            for source in sources
            if source.recording not in store.done
        ]
        with closing(cut_all(spec, recipe, pieces, store.x_path, jobs=jobs)) as cutting:
            if progress is not None:
                progress(len(store.done), len(sources))
            for recording, noted in cutting:
                store.commit(recording, noted)
                if progress is not None:
                    progress(len(store.done), len(sources))
        is_twin = state == "simulated" and not spec.is_made_up
        if recipe.keep_below_uv is not None:
            what = f"stays below {recipe.keep_below_uv:g} µV: check their unit"
            _refuse_nothing(spec, len(store.kept), root, what)
            manifest["planned"] = manifest["counts"]
            manifest["counts"] = _counts(store.kept, len(spec.classes))
            manifest["left_out"] = {
                s.recording: len(left_out)
                for s in sources
                if (left_out := store.done[s.recording]["left_out"])
            }
        store.finish(_told(manifest, sources, store.done, is_twin=is_twin))


def _extent(spec: DatasetSpec, sources: list[Source], state: str) -> str:
    """Call a corpus complete only where it is known who is in it."""
    n_found = len({source.subject for source in sources})
    is_whole = n_found == spec.facts.n_subjects
    return "partial" if state == "complete" and not is_whole else state


def _refuse_nothing(spec: DatasetSpec, n: int, root: Path, what: str) -> None:
    if n == 0:
        raise SignalError(
            f"{spec.title}: no window of any recording below {root} {what}. 'verify "
            f"{spec.name}' says what is odd about each."
        )


def _refuse_between_points(
    spec: DatasetSpec, recipe: Recipe, index: pd.DataFrame
) -> None:
    """Refuse a model's rate at which windows would begin between time points."""
    if recipe.rate_hz == spec.recipe.rate_hz or recipe.window_steps:
        return
    at = index["onset_s"].to_numpy(np.float64) * recipe.rate_hz
    n_between = int((np.abs(at - np.round(at)) > 1e-3).sum())
    if n_between:
        raise SpecError(
            f"At {recipe.rate_hz:g} Hz {n_between} of {len(at)} windows of "
            f"{spec.name} would begin between two time points: they are placed at "
            f"{spec.recipe.rate_hz:g} Hz. Use a model that listens at "
            f"{spec.recipe.rate_hz:g} Hz, or have it resample by itself."
        )


def _piece(source: Source, index: pd.DataFrame, at: Any) -> Piece:
    """Return a recording's part of the plan; it has its rows together, or none."""
    if at is None:
        return Piece(source=source, first=0, onsets_s=np.empty(0))
    onsets_s = index["onset_s"].to_numpy(np.float64)[at[0] : at[-1] + 1]
    return Piece(source=source, first=int(at[0]), onsets_s=onsets_s)


def _told(
    manifest: dict[str, Any],
    sources: list[Source],
    done: dict[str, Noted],
    *,
    is_twin: bool,
) -> dict[str, Any]:
    """Return the manifest with what was noted of recordings, in the sources' order."""
    noted = {s.recording: done[s.recording] for s in sources}

    def of_each(key: str) -> dict[str, Any]:
        return {name: one[key] for name, one in noted.items() if one[key]}

    named = sorted(
        [s.subject, s.session, s.recording, one["sha256"], *one["extra_sha256"]]
        for s, one in zip(sources, noted.values(), strict=True)
    )
    same: dict[str, list[str]] = {}
    for name, one in noted.items():
        same.setdefault(one["sha256"], []).append(name)
        if "events" in manifest:
            manifest["events"][name]["duration_s"] = one["duration_s"]
    return {
        **manifest,
        "fingerprint": (
            f"twin-{TWIN_SIZE}-{TWIN_VERSION}"
            if is_twin
            else short_hash(canonical_json(named))
        ),
        "flat_channels": of_each("flat"),
        "dropped_tail_s": of_each("uncovered_s"),
        "stretched": of_each("stretched"),
        "wrapped": of_each("wrapped"),
        "flat_windows": of_each("flat_windows"),
        "identical_recordings": [names for names in same.values() if names[1:]],
    }


def _is_as_published(
    spec: DatasetSpec, index: pd.DataFrame, *, allow_partial: bool
) -> bool:
    """Hold the plan of a set with all its subjects against the facts."""
    found = {part: int((index["part"] == part).sum()) for part in spec.facts.windows}
    by_class = {
        part: tuple(n)
        for part, n in _counts(index, len(spec.classes)).items()
        if part in spec.facts.windows_by_class
    }
    expected = dict(spec.facts.windows)
    total = spec.facts.in_all
    is_total = total is None or total == len(index)
    if found == expected and by_class == dict(spec.facts.windows_by_class) and is_total:
        return True
    if allow_partial:
        return False
    told = f"{found} windows; expected {expected}"
    if found == expected:
        told = (
            f"{by_class} windows of each class; expected {spec.facts.windows_by_class}"
            if is_total
            else f"{len(index)} windows in all; expected {total}"
        )
    other = spec.facts.other_release(found)
    why = (
        f"These are the counts of {other}"
        if other
        else "A file is absent, too short, too long or not the published one: fetch "
        "the set again"
    )
    whose = "has all its subjects, but its" if spec.everyone else "is not whole: its"
    raise SignalError(
        f"{spec.title} {whose} headers and annotations give {told} "
        f"({spec.facts.source}). {why}. Or pass --allow-partial: the result is then "
        f"marked partial."
    )


def _shared_persons(index: pd.DataFrame) -> dict[str, list[str]]:
    """Return humans who are in more than one part, and in which."""
    parts = index.groupby("person")["part"].unique()
    return {
        str(person): [part for part in PARTS if part in in_parts]
        for person, in_parts in parts.items()
        if len(in_parts) > 1
    }


def _counts(index: pd.DataFrame, n_classes: int) -> dict[str, list[int]]:
    """Count windows per part and class; those of a corpus are all of one kind."""
    return {
        part: [
            int(((index["part"] == part) & (index["label"] == k)).sum())
            for k in range(max(n_classes, 1))
        ]
        for part in PARTS
    }
