"""What MOABB hands out, written down once: a set's description and its runs.

From: a class of MOABB's, which downloads and reads. To: ``dataset.json``, a
``sub-*.json`` and one array a run, for ``runs``.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from eegfm_bench.datasets._moabb.runs import (
    NEW,
    About,
    Run,
    Subject,
    write_json,
    write_whole,
)
from eegfm_bench.datasets._places import cache_root
from eegfm_bench.errors import (
    BenchError,
    DataMissing,
    SignalError,
    SpecError,
    UnknownName,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Options of sets that MOABB makes up: without a seed they differ every time.
SEEDED: Mapping[str, Mapping[str, Any]] = {
    "FakeDataset": {"seed": 1},
    "FakeVirtualRealityDataset": {"seed": 1},
}
_NAME = re.compile(r"[0-9a-zA-Z]+")


def describe(name: str) -> About:
    """Return what the installed MOABB says of a dataset.

    MOABB takes seconds to import, and brings torch: it is asked once, and what it
    says is kept in the cache under its version.

    Raises
    ------
    UnknownName
        If it has no such dataset; suggests the nearest.
    SpecError
        If MOABB is not installed.
    """
    try:
        version = metadata.version("moabb")
    except metadata.PackageNotFoundError:
        raise SpecError(
            f"moabb:{name} needs MOABB, which is not installed: pip install moabb."
        ) from None
    kept = cache_root() / "moabb" / version / f"{name}.json"
    if name.isidentifier() and kept.is_file():
        with suppress(OSError, ValidationError):
            return About.model_validate_json(kept.read_bytes())
    with tempfile.TemporaryDirectory() as folder, _moabb_at(Path(folder)) as known:
        about = _about(name, version, _made(known, name), known["FakeDataset"])
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_json(kept, about)
    return about


def export(
    about: About,
    subjects: Iterable[str],
    folder: Path,
    *,
    downloads: Path,
    options: Mapping[str, Any] | None = None,
    done: Callable[[str], None] = lambda _: None,
) -> None:
    """Have MOABB hand out subjects, one after the other, and write down their runs.

    A subject whose ``sub-*.json`` is there is whole: it is written last.

    Parameters
    ----------
    about : About
        The dataset, as MOABB describes it.
    subjects : iterable of str
        Names as in ``about``.
    folder : path
        Where runs go.
    downloads : path
        Where MOABB keeps what it downloads.
    options : mapping, optional
        What the class of MOABB is made with.
    done : function of a subject's name
        Called after each.

    Raises
    ------
    DataMissing
        If MOABB cannot get or read a subject; says what it said.
    SignalError
        If a run of it has no EEG channel.
    """
    for left in folder.glob(f"{NEW}*"):  # of an export that was killed
        left.unlink(missing_ok=True)
    with _moabb_at(downloads) as known:
        dataset = _made(known, about.name, options)
        keys = dict(
            zip(_names(dataset.subject_list), dataset.subject_list, strict=True)
        )
        for subject in subjects:
            with _by_moabb(keys[subject], about.name):
                sessions = _handed_out(dataset, keys[subject], about.name)
            runs = {}
            for session, of_session in sessions.items():
                for number, raw in of_session.items():
                    name = f"sub-{subject}_ses-{session}_run-{number}"
                    _refuse_names(about.name, name, session, number)
                    with _by_moabb(keys[subject], about.name):
                        x, run = _read(raw, dataset, session)
                    path = folder / f"{name}.npy"
                    write_whole(path, partial(_save, x=x))
                    runs[name] = run.model_copy(update={"sha256": _sha256(path)})
            whole = Subject(subject=subject, runs=runs)
            write_json(folder / f"sub-{subject}.json", whole)
            done(subject)


def _about(name: str, version: str, dataset: Any, made_up: type) -> About:
    """Put in plain words what MOABB's object says; metadata came with its 1.5."""
    told = getattr(getattr(dataset, "metadata", None), "documentation", None)
    doi = dataset.doi or getattr(told, "doi", None) or ""
    return About(
        name=name,
        moabb=version,
        paradigm=dataset.paradigm,
        interval=tuple(dataset.interval),
        event_id={
            event: tuple(int(c) for c in np.atleast_1d(codes))
            for event, codes in sorted(dataset.event_id.items())
        },
        subjects=tuple(sorted(_names(dataset.subject_list))),
        doi=re.sub(r"^(https?://(dx\.)?doi\.org/|doi:)", "", doi),
        licence=getattr(told, "license", None) or "see MOABB",
        is_made_up=isinstance(dataset, made_up),
    )


def _names(subjects: Iterable[int | str]) -> list[str]:
    """Name subjects, numbers with as many digits as the largest.

    Examples
    --------
    >>> _names([1, 2, 10])
    ['01', '02', '10']
    """
    texts = [str(subject) for subject in subjects]
    width = max(map(len, texts))
    return [text.zfill(width) if text.isdigit() else text for text in texts]


@contextmanager
def _moabb_at(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Let MOABB work, and yield its classes by name.

    Its files and MNE's settings lie below a folder, not in the user's home; the
    environment, numpy's common random numbers and standard output stay untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before, drawn = dict(os.environ), np.random.get_state()  # noqa: NPY002
    for key in before:
        if key.startswith("MNE_DATASETS_"):
            del os.environ[key]
    # The second is where MNE looks for its settings instead of the home.
    os.environ.update(MNE_DATA=str(folder), _MNE_FAKE_HOME_DIR=str(folder))
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            try:
                from moabb.datasets.utils import dataset_dict
            except ImportError as error:
                raise SpecError(
                    f"MOABB cannot be imported ({error}). Install it anew: pip "
                    f"install moabb."
                ) from error
            yield dataset_dict
    finally:
        for key in os.environ.keys() - before.keys():
            # FakeDataset makes a folder that nothing uses, and says where.
            left = Path(os.environ.pop(key))
            if left.parent == Path(tempfile.gettempdir()):
                with suppress(OSError):
                    left.rmdir()
        os.environ.update(before)
        np.random.set_state(drawn)  # noqa: NPY002


def _made(
    known: Mapping[str, Any], name: str, options: Mapping[str, Any] | None = None
) -> Any:
    if name not in known:
        raise UnknownName.among("dataset of MOABB", name, known)
    return known[name](**(SEEDED.get(name, {}) if options is None else options))


@contextmanager
def _by_moabb(key: int | str, name: str) -> Iterator[None]:
    """Say whose failure it is: that of any of 160 readers, or of the network."""
    try:
        yield
    except BenchError:
        raise
    except Exception as error:
        raise DataMissing(
            f"MOABB could not hand out subject {key} of {name}: "
            f"{type(error).__name__}: {error}. What is exported is kept: the same "
            f"command goes on from there."
        ) from error


def _handed_out(dataset: Any, key: int | str, name: str) -> Mapping[str, Any]:
    """Return a subject's runs by session as MOABB reads them, nothing done to them."""
    from sklearn.pipeline import Pipeline

    # By default MOABB puts events into annotations, and MNE then drops those outside
    # the recording; without a step we see and count them.
    sessions: Mapping[str, Any]
    sessions = dataset.get_data([key], process_pipeline=Pipeline([]))[key]
    if not any(sessions.values()):
        raise DataMissing(
            f"MOABB handed out no run of subject {key} of {name}. Leave it out: name "
            f"the others with --only, and pass --allow-partial when you run."
        )
    return sessions


def _refuse_names(name: str, recording: str, *parts: str) -> None:
    if not all(_NAME.fullmatch(part) for part in parts):
        raise SignalError(
            f"MOABB hands out a run of {name} that would be {recording!r}; expected "
            f"letters and digits. Please tell MOABB's maintainers."
        )


def _read(raw: Any, dataset: Any, session: str) -> tuple[NDArray[np.float32], Run]:
    """Return a run's EEG channels (C, T) in µV, and what is known of it."""
    import mne

    picks = mne.pick_types(raw.info, eeg=True, stim=False, exclude=())
    if not len(picks):
        raise SignalError(
            f"MOABB hands out a run of {type(dataset).__name__} without EEG channels, "
            f"only {', '.join(sorted(set(raw.get_channel_types())))}. This set cannot "
            f"be used here."
        )
    # Not in place: MNE may hand out its own array.
    x = (raw.get_data(picks) * dataset.unit_factor).astype(np.float32)
    run = Run(
        session=session,
        rate_hz=raw.info["sfreq"],
        channels=tuple(raw.ch_names[k] for k in picks),
        n_times=x.shape[1],
        sha256="",
        events=tuple(_events(raw, dataset.event_id)),
        bad=tuple(_bad(raw)),
    )
    return x, run


def _save(file: IO[bytes], x: NDArray[np.float32]) -> None:
    np.save(file, x)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _events(raw: Any, event_id: Mapping[str, Any]) -> list[tuple[int, str]]:
    """Find events where MOABB does: on stimulus channels, else in annotations."""
    import mne

    if len(mne.pick_types(raw.info, stim=True)):
        found = mne.find_events(raw, shortest_event=0, verbose="ERROR")
        names = {
            int(c): name
            for name, codes in event_id.items()
            for c in np.atleast_1d(codes)
        }
    elif set(raw.annotations.description) & set(event_id):
        numbers = {name: k for k, name in enumerate(event_id)}
        found, _ = mne.events_from_annotations(raw, numbers, verbose="ERROR")
        names = {k: name for name, k in numbers.items()}
    else:
        return []
    return [
        (int(at) - int(raw.first_samp), names[code])
        for at, _, code in found.tolist()
        if code in names
    ]


def _bad(raw: Any) -> list[tuple[float, float]]:
    """Return stretches that MNE, and so MOABB, rejects trials for."""
    start_s = raw.first_time if raw.annotations.orig_time is not None else 0.0
    return [
        (float(a["onset"] - start_s), float(a["onset"] - start_s + a["duration"]))
        for a in raw.annotations
        if a["description"].lower().startswith("bad")
    ]
