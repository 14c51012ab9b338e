"""Runs of MOABB's sets as they lie on disk: one array each, described beside it.

From: what ``export`` wrote. To: ``_moabb``: sources, windows and recordings.
Arrays, for a FIF file holds the id of the machine that wrote it: no two machines'
data had the same fingerprint.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eegfm_bench.datasets._spec import Source
from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.recording import Recording

if TYPE_CHECKING:
    from numpy.typing import NDArray

ABOUT, PREFIX, NEW = "dataset.json", "moabb:", ".new-"
RATE_HZ = 200.0
# Whose people are known here by another set; the names' ends are the same.
PEOPLE: Mapping[str, str] = {"PhysionetMI": "eegmmidb:S"}

Finite = Annotated[float, Field(allow_inf_nan=False)]
Some = TypeVar("Some", bound=BaseModel)


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class About(_Plain):
    """What MOABB says of a dataset before any recording is at hand."""

    format: Literal[1] = 1
    name: str
    moabb: str
    paradigm: str
    interval: tuple[Finite, Finite]
    event_id: dict[str, tuple[int, ...]]
    subjects: tuple[str, ...]
    doi: str
    licence: str
    is_made_up: bool

    def question(self) -> dict[str, Any]:
        """Return what decides windows, labels and parts."""
        return self.model_dump(include={"name", "interval", "event_id", "subjects"})


class Run(_Plain):
    """A run of a subject; its array (C, T) is float32 in µV.

    ``events`` are time points and names, as recorded: MOABB's interval is not added.
    ``bad`` are stretches marked so, in seconds.
    """

    session: str
    rate_hz: Finite = Field(gt=0)
    channels: tuple[str, ...] = Field(min_length=1)
    n_times: int = Field(ge=1)
    sha256: str
    events: tuple[tuple[int, str], ...]
    bad: tuple[tuple[Finite, Finite], ...]


class Subject(_Plain):
    """All runs of a subject by their names; written last, it makes them count."""

    subject: str
    runs: dict[str, Run] = Field(min_length=1)


CURE: Mapping[type, str] = {
    About: "Delete the folder and fetch the set again.",
    Subject: "Delete it and fetch the set again.",
}


def read_json(path: Path, kind: type[Some]) -> Some:
    """Read what an export wrote.

    Raises
    ------
    SignalError
        If the file is absent or not as written; names the field.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"])) or "the whole file"
        what = f"is damaged, at {at}: {first['msg']}"
    raise SignalError(f"{path} {what}. It tells what the runs are. {CURE[kind]}")


def write_json(path: Path, plain: BaseModel) -> None:
    """Write a file that is whole or not there; the same bytes every time."""
    # Of a subject with many events a line each would be most of the file.
    indent = 1 if isinstance(plain, About) else None
    text = plain.model_dump_json(indent=indent) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under another name, and give it its own once it is on disk."""
    new = path.with_name(f"{NEW}{os.getpid()}-{path.name}")
    try:
        with new.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def array_of(path: Path, run: Run) -> NDArray[np.float32]:
    """Map a run's array (C, T) in µV, its shape held against the file's size.

    Raises
    ------
    SignalError
        If the file is not the one that was exported; it is named.
    """
    expected = (len(run.channels), run.n_times)
    try:
        x = np.lib.format.open_memmap(path, mode="r")
        n_bytes = path.stat().st_size
        found = f"{x.dtype} {x.shape}, {n_bytes} bytes"
        is_like_it = x.dtype == np.float32 and x.shape == expected
        if is_like_it and n_bytes == x.offset + x.nbytes:
            return x
    except OSError as error:
        found = error.strerror or str(error)
    except (ValueError, EOFError, OverflowError, TypeError) as error:
        found = str(error)
    raise SignalError(
        f"{path}: the run is damaged ({found}); expected {expected[0]} channels × "
        f"{expected[1]} time points as float32. Delete it and fetch the set again."
    )


def subject_at(path: Path) -> Subject:
    """Return what a ``sub-*.json`` says, read again only where it changed.

    Raises
    ------
    SignalError
        If it is absent, damaged or another subject's.
    """
    try:
        stat = path.stat()
    except OSError:
        return read_json(path, Subject)
    return _subject_of(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


# Files, windows and oddities of every run ask for the same subject.
@lru_cache(maxsize=512)
def _subject_of(path: Path, _: tuple[int, ...]) -> Subject:
    subject = read_json(path, Subject)
    if path.name != f"sub-{subject.subject}.json":
        raise SignalError(
            f"{path} is about subject {subject.subject}. Give it its own name back, "
            f"or delete it and fetch the set again."
        )
    return subject


def run_of(source: Source) -> Run:
    """Return what is known of a source's run."""
    return subject_at(source.extra[0]).runs[source.recording]


def files(folder: Path, name: str) -> list[Source]:
    """Return the runs of every subject whose export came to its end, unread."""
    return [
        Source(
            path=folder / f"{recording}.npy",
            subject=subject.subject,
            session=run.session,
            recording=recording,
            person=f"{PEOPLE.get(name, f'{PREFIX}{name}:')}{subject.subject}",
            extra=(path,),
        )
        for path in sorted(folder.glob("sub-*.json"))
        for subject in (subject_at(path),)
        for recording, run in subject.runs.items()
        if (folder / f"{recording}.npy").exists()
    ]


def read(source: Source) -> Recording:
    """Read a run's EEG in µV at the publisher's rate.

    Raises
    ------
    SignalError
        If its bytes are not those that were exported.
    """
    run = run_of(source)
    x = array_of(source.path, run)
    with source.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != run.sha256:
        raise SignalError(
            f"{source.path}: the values are not those that were exported (sha256 "
            f"{digest[:12]}…, expected {run.sha256[:12]}…). Delete it and fetch the "
            f"set again."
        )
    return Recording(
        x=np.array(x),
        rate_hz=run.rate_hz,
        channels=run.channels,
        name=str(source.path),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Where windows lie: from ``start_s`` after an event on, ``n_times`` at 200 Hz."""

    classes: tuple[str, ...]
    start_s: float
    n_times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A run's windows: onsets (N,) in seconds, labels (N,), and what was dropped."""

    onsets_s: NDArray[np.float64]
    labels: NDArray[np.int64]
    dropped: tuple[str, ...]


def place(source: Source, rule: Rule) -> Placed:
    """Put a window at every event, from the export's description alone.

    Dropped are windows that leave the recording or touch a stretch marked bad, and
    all but the first at one time point, as MOABB does.

    Raises
    ------
    SignalError
        If the run's array has another size, or an event is of no class.
    """
    run = run_of(source)
    array_of(source.path, run)
    number = {name: k for k, name in enumerate(rule.classes)}
    strange = sorted({name for _, name in run.events} - set(number))
    if strange:
        raise SignalError(
            f"{source.extra[0]}: {source.recording} has the events "
            f"{', '.join(strange)}; expected {', '.join(rule.classes)}. Delete the "
            f"file and fetch the set again."
        )
    at_s = np.array([at for at, _ in run.events], np.float64) / run.rate_hz
    labels = np.array([number[name] for _, name in run.events], np.int64)
    first = np.round((at_s + rule.start_s) * RATE_HZ).astype(np.int64)
    last = first + rule.n_times
    # A millionth forgives rates that are no whole numbers.
    n_times = math.floor(run.n_times * RATE_HZ / run.rate_hz + 1e-6)
    outside = (first < 0) | (last > n_times)
    rejected = np.zeros_like(outside)
    for start_s, end_s in run.bad:
        rejected |= (first < end_s * RATE_HZ) & (last > start_s * RATE_HZ)
    rejected &= ~outside
    again = np.ones_like(outside)
    again[np.unique(at_s, return_index=True)[1]] = False
    again &= ~outside & ~rejected
    kept = ~(outside | rejected | again)
    length_s = rule.n_times / RATE_HZ
    dropped = tuple(
        f"{which.sum()} of {which.size} windows dropped: {why} (events at "
        f"{_times(at_s[which])})"
        for which, why in (
            (outside, f"{length_s:g} s from the event on leave the recording"),
            (rejected, "they touch a stretch marked bad"),
            (again, "another event at the same time point comes first"),
        )
        if which.any()
    )
    return Placed(onsets_s=first[kept] / RATE_HZ, labels=labels[kept], dropped=dropped)


def _times(at_s: NDArray[np.float64], most: int = 5) -> str:
    more = f" and {at_s.size - most} more" if at_s.size > most else ""
    return ", ".join(f"{t:g}" for t in at_s[:most]) + f" s{more}"
