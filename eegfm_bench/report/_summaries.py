"""One run's scores by subject, kept beside the runs so that they are made once.

From: a record and ``predictions.parquet`` beside it. To: ``scores``. What is kept lies
in the hidden folder ``.summaries`` of the runs folder and is never needed: absent,
damaged, of another file or of other code, it is made again, and a folder that cannot
be written to costs time alone.

Letters: N windows, K classes, S subjects.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eegfm_bench.errors import SignalError, StoreError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from eegfm_bench.runs.record import RunRecord
    from eegfm_bench.runs.store import ResultStore

FOLDER = ".summaries"
PREDICTIONS = "predictions.parquet"
ONE_CLASS = "all its windows are of one class, so kappa is 0 whatever is predicted"
# Scores are made from the very file by the very code: only sums may round otherwise.
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Scores of one run in one metric.

    Attributes
    ----------
    subjects : tuple of S names
        The test subjects, sorted.
    values : tuple of S numbers
        The metric of each subject's windows alone; None where undefined.
    reasons : mapping of subject to reason
        For every None.
    pooled : float, optional
        The metric of all windows at once.
    shares : tuple of K fractions
        How much of the test part each class is.
    windows : str
        Equal for two runs exactly if they were scored on the same windows.
    """

    subjects: tuple[str, ...]
    values: tuple[float | None, ...]
    reasons: dict[str, str]
    pooled: float | None
    shares: tuple[float, ...]
    windows: str


def summarised(store: ResultStore, record: RunRecord, metric: str) -> Summary | None:
    """Score the subjects of a run in one metric.

    Returns
    -------
    summary : Summary, optional
        None if no predictions lie beside the record.

    Raises
    ------
    StoreError
        If predictions are damaged, or do not give the score on record.
    """
    path = store.path(record.run_id) / PREDICTIONS
    stamp = stamp_of(path)
    if stamp is None:
        return None
    kept = store.root / FOLDER / f"{record.run_id}.{metric}.json"
    summary = _taken_up(read_kept(kept, stamp))
    if summary is None:
        summary = _summary(path, metric)
        write_kept(kept, stamp, asdict(summary))
    _same_as_recorded(record, metric, summary, path)
    return summary


def windows_of(
    path: Path,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.str_], str]:
    """Read predictions as labels (N,), scores (N, K), subjects (N,) and an identity.

    Raises
    ------
    StoreError
        Naming the file, if it is damaged or holds what predictions cannot be.
    """
    return _windows_of(path, json.dumps(stamp_of(path)))


# One run: its summary and its card are made one after the other.
@lru_cache(maxsize=1)
def _windows_of(
    path: Path, stamp: str
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.str_], str]:
    """Read a file as it is now; ``stamp`` tells it from what it was before."""
    import numpy as np

    from eegfm_bench.runs.predictions import read_predictions

    remedy = "Run the cell again with --force."
    try:
        index, scores_nk = read_predictions(path)
        labels = index["label"].to_numpy(np.int64)
        subjects = index["subject"].to_numpy().astype(str)
        onsets_s = index["onset_s"].to_numpy(np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{path} does not hold what predictions do ({error}). {remedy}"
        ) from error
    n_classes = scores_nk.shape[1]
    if n_classes < 2 or labels.size == 0 or not np.isfinite(scores_nk).all():
        raise StoreError(
            f"{path} holds {labels.size} windows with scores of {n_classes} classes; "
            f"expected windows, two classes or more, and finite scores. {remedy}"
        )
    if labels.min() < 0 or labels.max() >= n_classes:
        raise StoreError(
            f"{path} holds labels from {labels.min()} to {labels.max()}; expected 0 to "
            f"{n_classes - 1}, as there are scores of {n_classes} classes. {remedy}"
        )
    digest = hashlib.sha256("\n".join(subjects.tolist()).encode())
    digest.update(labels.tobytes() + onsets_s.tobytes())
    return labels, scores_nk, subjects, digest.hexdigest()[:16]


def _summary(path: Path, metric: str) -> Summary:
    import numpy as np

    from eegfm_bench.training.metrics import score

    labels, scores_nk, subjects, windows = windows_of(path)
    try:
        pooled, _ = score(labels, scores_nk, only=(metric,))
    except SignalError as error:
        raise StoreError(f"{path}: {error}") from error
    names, codes = np.unique(subjects, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes))[:-1]
    values: list[float | None] = []
    reasons: dict[str, str] = {}
    for name, own in zip(names.tolist(), np.split(order, ends), strict=True):
        value, why = None, {metric: ONE_CLASS}
        if metric != "cohen_kappa" or np.unique(labels[own]).size > 1:
            found, why = score(labels[own], scores_nk[own], only=(metric,))
            value = found.get(metric)
        values.append(value)
        if value is None:
            reasons[name] = why.get(metric, "not a metric of this dataset")
    shares = np.bincount(labels, minlength=scores_nk.shape[1]) / labels.size
    return Summary(
        subjects=tuple(names.tolist()),
        values=tuple(values),
        reasons=reasons,
        pooled=pooled.get(metric),
        shares=tuple(shares.tolist()),
        windows=windows,
    )


def _same_as_recorded(
    record: RunRecord, metric: str, summary: Summary, path: Path
) -> None:
    """Refuse predictions that are not those the record was scored on."""
    recorded = (record.scores or {}).get("test", {})
    stated, found = recorded.get(metric), summary.pooled
    if metric not in recorded or (stated is None and found is None):
        return
    if stated is None or found is None or abs(stated - found) > TOLERANCE:
        raise StoreError(
            f"{path} gives {metric} {_said(found)}, its record says {_said(stated)}: "
            f"the predictions are of another run, or either file was changed. Run the "
            f"cell again with --force."
        )


def _said(value: float | None) -> str:
    return "no value" if value is None else f"{value:.6f}"


def stamp_of(*paths: Path) -> list[list[int | str]] | None:
    """Return what tells files from others: name, bytes, time; None if one is absent."""
    stamps: list[list[int | str]] = []
    for path in paths:
        try:
            about = path.stat()
        except OSError:
            return None
        stamps.append([path.parent.name, about.st_size, about.st_mtime_ns])
    return stamps


def read_kept(file: Path, stamp: object) -> Any:
    """Return what was kept for a stamp; None if there is nothing whole of it."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        content = kept["content"]
        is_whole = kept["digest"] == _digest(content)
        return content if is_whole and kept["key"] == _key(stamp) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def write_kept(file: Path, stamp: object, content: Any) -> None:
    """Keep something by one rename, where the folder lets us."""
    new = file.with_name(f".{file.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        kept = {"key": _key(stamp), "digest": _digest(content), "content": content}
        file.parent.mkdir(exist_ok=True)
        try:
            new.write_text(json.dumps(kept) + "\n", encoding="utf-8")
            new.replace(file)
        except BaseException:
            new.unlink(missing_ok=True)
            raise


def drop_stale(store: ResultStore) -> None:
    """Remove what was kept of runs that are here no more, and what is damaged."""
    with contextlib.suppress(OSError):
        for file in (store.root / FOLDER).glob("[!.]*.json"):
            try:
                stamp = json.loads(file.read_text(encoding="utf-8"))["key"]["stamp"]
                is_stale = any(not store.path(run).is_dir() for run, *_ in stamp)
            except (ValueError, KeyError, TypeError):
                is_stale = True
            if is_stale:
                file.unlink(missing_ok=True)


def _key(stamp: object) -> dict[str, object]:
    return {"code": _code(), "stamp": stamp}


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@cache
def _code() -> str:
    """Return what names the code behind the numbers: other code, other numbers."""
    package = Path(__file__).parents[1]
    files = [Path(__file__), package / "training" / "metrics.py"]
    files += (package / "statistics").glob("*.py")
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    for library in ("numpy", "scikit-learn", "scipy"):
        digest.update(f"{library} {version(library)}".encode())
    return digest.hexdigest()[:16]


def _taken_up(content: Any) -> Summary | None:
    """Make a Summary of what was kept."""
    if content is None:
        return None
    try:
        return Summary(
            subjects=tuple(content["subjects"]),
            values=tuple(content["values"]),
            reasons=dict(content["reasons"]),
            pooled=content["pooled"],
            shares=tuple(content["shares"]),
            windows=content["windows"],
        )
    except (KeyError, TypeError, ValueError):
        return None
