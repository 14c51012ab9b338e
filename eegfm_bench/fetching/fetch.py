"""Fetching a dataset: what is needed, what is here already, and the rest, one by one.

From: a DatasetSpec, its publisher and a data root. To: the files where ``find`` looks
for them, each by one rename once it is whole and right. What is broken off goes on.
"""

from __future__ import annotations

import queue
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from eegfm_bench.datasets._places import source_folder
from eegfm_bench.datasets._spec import DatasetSpec
from eegfm_bench.errors import BenchError, SignalError, UnknownName, listed
from eegfm_bench.fetching import sources
from eegfm_bench.fetching.file import (
    NotAsPublished,
    Remote,
    download,
    part_of,
    refuse_full,
    sums_of,
)
from eegfm_bench.fetching.here import (
    ABSENT,
    DAMAGED,
    FAILED,
    FETCHED,
    WRONG,
    File,
    Here,
)
from eegfm_bench.fetching.ledger import Ledger, alone
from eegfm_bench.fetching.unpack import (
    BadArchive,
    NoUnpacker,
    find_unpacker,
    how_to_have_one,
    unpack,
)
from eegfm_bench.fetching.web import NotThere, Web

MOST_JOBS = 4
UNPACKING = ".unpacking-"


class Watcher(Protocol):
    """Who wants to know how it goes; called from several threads."""

    def say(self, line: str) -> None:
        """Hear of something that is not progress."""

    def planned(self, n_files: int, n_bytes: int | None) -> None:
        """Hear how much there is to fetch; of bytes None where nobody states it."""

    def seen(self, path: str, have: int, of: int | None) -> None:
        """Hear how far a file is."""

    def ended(self, file: File) -> None:
        """Hear what became of a file."""


class Nobody:
    """A watcher who does not want to know."""

    def say(self, line: str) -> None:
        """Hear nothing."""

    def planned(self, n_files: int, n_bytes: int | None) -> None:
        """Hear nothing."""

    def seen(self, path: str, have: int, of: int | None) -> None:
        """Hear nothing."""

    def ended(self, file: File) -> None:
        """Hear nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to fetch.

    ``only`` are subjects, None for all; ``verify_sums`` reads again what is here;
    ``dry_run`` asks for lists alone, and writes nothing; ``jobs`` are connections.
    """

    only: Sequence[str] | None = None
    dry_run: bool = False
    verify_sums: bool = False
    jobs: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What became of a dataset's files; ``trouble`` is what ``find`` still refuses."""

    dataset: str
    title: str
    folder: str
    publisher: str
    files: tuple[File, ...]
    trouble: str = ""

    def count(self, *states: str) -> int:
        """Return how many files are in one of these states."""
        return sum(file.state in states for file in self.files)

    @property
    def exit_status(self) -> int:
        """0 all is here; 1 something is not as it should be; 2 something is absent."""
        if self.count(WRONG) or self.trouble:
            return 1
        return 2 if self.count(FAILED) else 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "exit_status": self.exit_status}


def publisher_of(spec: DatasetSpec) -> sources.Publisher | None:
    """Return where a dataset can be fetched from; None where it is not open."""
    return sources.PUBLISHERS.get(spec.name.partition("@")[0])


def chosen(spec: DatasetSpec, only: Sequence[str] | None) -> tuple[str, ...]:
    """Return the subjects that are asked for; '7' may stand for '007'.

    Raises
    ------
    UnknownName
        If the protocol has no such subject.
    """
    if only is None:
        return spec.everyone
    found = []
    for name in only:
        same = [
            subject
            for subject in spec.everyone
            if name.isdecimal()
            and (digits := re.sub(r"\D", "", subject))
            and int(digits) == int(name)
        ]
        if name not in spec.everyone and len(same) != 1:
            raise UnknownName.among(f"subject of {spec.name}", name, spec.everyone)
        found.append(name if name in spec.everyone else same[0])
    return tuple(dict.fromkeys(found))


def fetch(
    spec: DatasetSpec,
    root: Path,
    web: Web,
    options: Options | None = None,
    watcher: Watcher | None = None,
) -> Fetched:
    """Bring what a dataset needs and is not here.

    Parameters
    ----------
    spec : DatasetSpec
        One with a publisher.
    root : path
        The data root; made if it is not there.
    web : Web
        The way out.
    options : Options
        Which subjects, how.
    watcher : Watcher
        Hears of progress.

    Returns
    -------
    fetched : Fetched
        What became of every file. One that could not be had does not hide others.

    Raises
    ------
    DataMissing
        If the publisher cannot be reached.
    StoreError
        If the disk is too full.
    UnknownName
        If the dataset is not open, or a subject not in it.
    """
    options, watcher = options or Options(), watcher or Nobody()
    publisher = publisher_of(spec)
    if publisher is None:
        raise UnknownName.among("open dataset", spec.name, sources.PUBLISHERS)
    remotes = _wanted(spec, publisher, web, chosen(spec, options.only))
    job = _Job(spec, publisher, root, web, options, watcher)
    if options.dry_run:
        return job.report([job.here.judge(remote) for remote in remotes])
    home = job.here.home
    home.mkdir(parents=True, exist_ok=True)
    with alone(home, web.stop, watcher.say):
        # Another process may have fetched it while this one waited.
        job.here.ledger.read()
        for left in home.glob(f"{UNPACKING}*"):  # of one that was killed
            shutil.rmtree(left, ignore_errors=True)
        return job.report(job.run(remotes))


def _wanted(
    spec: DatasetSpec,
    publisher: sources.Publisher,
    web: Web,
    subjects: Sequence[str],
) -> list[Remote]:
    """Return the publisher's files that these subjects need."""
    every = publisher.listing(spec, web)
    has = {subject for remote in every for subject in remote.subjects}
    if lacks := [subject for subject in subjects if subject not in has]:
        raise NotThere(
            f"{publisher.name} lists no file of {listed(lacks)} of {spec.title}. The "
            f"list may have been cut short: try again later, or name another --mirror."
        )
    found = [remote for remote in every if set(remote.subjects) & set(subjects)]
    return sorted(found, key=lambda remote: (remote.subjects[0], remote.path))


class _Job:
    """One dataset on its way."""

    def __init__(
        self,
        spec: DatasetSpec,
        publisher: sources.Publisher,
        root: Path,
        web: Web,
        options: Options,
        watcher: Watcher,
    ) -> None:
        self.spec, self.publisher, self.web = spec, publisher, web
        self.options, self.watcher = options, watcher
        self.here = Here(
            spec=spec,
            root=root,
            home=source_folder(root, spec.folder) or root / spec.folder,
            ledger=Ledger(root),
            reads_again=options.verify_sums,
            only_looks=options.dry_run,
            say=watcher.say,
        )

    def report(self, files: list[File]) -> Fetched:
        """Say what became of everything; see whether the dataset finds itself."""
        fetched = Fetched(
            dataset=self.spec.name,
            title=self.spec.title,
            folder=str(self.here.home),
            publisher=self.publisher.name,
            files=tuple(files),
        )
        # Of subjects that were not asked for there may be halves.
        if self.options.dry_run or self.options.only or fetched.exit_status:
            return fetched
        try:
            self.spec.find(self.here.root)
        except BenchError as error:
            return replace(fetched, trouble=str(error))
        return fetched

    def run(self, remotes: list[Remote]) -> list[File]:
        """Fetch what is not here; return all, in their order."""
        judged = {remote.url: self.here.judge(remote) for remote in remotes}
        todo = [r for r in remotes if judged[r.url].state in (ABSENT, DAMAGED)]
        self._refuse_full(todo, len(remotes))
        if find_unpacker() is None and any(r.archive == "rar" for r in todo):
            self.watcher.say(
                f"There is no program here to unpack a rar. The archives are fetched "
                f"and kept; meanwhile {how_to_have_one()}."
            )
        sizes = [remote.size for remote in todo]
        known = None if None in sizes else sum(size or 0 for size in sizes)
        self.watcher.planned(len(todo), known)
        for file in judged.values():
            if file.state == WRONG:
                self.watcher.ended(file)
        for file in _spread(todo, self.options.jobs, self._one, self.web):
            judged[file.url] = file
        return list(judged.values())

    def _one(self, remote: Remote) -> File:
        """Bring one file, and unpack it if it is an archive."""
        here, target = self.here, self.here.place(remote)
        whole: dict[str, Any] = {}
        try:
            known = here.ledger.get(here.key(remote))
            has_it = target.is_file() and (known or {}).get("size") == (
                target.stat().st_size
            )
            # Kept since it could not be unpacked, or killed before.
            if not (remote.archive and has_it):
                sums = download(
                    self.web,
                    remote,
                    target,
                    lambda have, of: self.watcher.seen(here.key(remote), have, of),
                )
                whole = {"size": target.stat().st_size, "sums": sums}
                here.ledger.put(
                    here.key(remote),
                    **whole,
                    url=remote.url,
                    published=bool(remote.sums),
                )
            if remote.archive:
                self._unpack(remote, target)
        except (NotThere, NoUnpacker) as error:
            file = here.file(remote, FAILED, why=str(error), **whole)
        except (NotAsPublished, SignalError) as error:
            file = here.file(remote, WRONG, why=str(error), **whole)
        else:
            file = here.file(remote, FETCHED, **whole)
        self.watcher.ended(file)
        return file

    def _unpack(self, remote: Remote, archive: Path) -> None:
        """Put an archive's files where they belong; remove it when all are there."""
        here, key = self.here, self.here.key(remote)
        # Else somebody put it here, and it is theirs to remove.
        is_ours = "url" in (here.ledger.get(key) or {})

        def choose(names: list[str]) -> dict[str, str]:
            new = {self.publisher.arrange(self.spec, n, remote): n for n in names}
            whose = sources.needed(self.spec, new, str(archive))
            own = set(remote.subjects)
            return {new[path]: path for path, s in whose.items() if own & set(s)}

        with tempfile.TemporaryDirectory(dir=here.home, prefix=UNPACKING) as room:
            try:
                found = unpack(archive, remote.archive, choose, Path(room))
            except BadArchive as error:
                here.ledger.drop(key)
                if not is_ours:
                    raise BadArchive(f"{error} Move it away to fetch it.") from error
                archive.unlink()
                raise BadArchive(
                    f"{error} It was removed; the same command fetches it anew."
                ) from error
            gave = {}
            # Recordings before what belongs to them: half a pair says which half.
            for path, lies in sorted(found.items()):
                row = {"size": lies.stat().st_size, "sums": sums_of(lies, ())}
                gave[self._move(lies, here.home / path, row)] = row
        here.ledger.put(key, gave=gave)
        if is_ours:
            archive.unlink()

    def _move(self, new: Path, target: Path, row: dict[str, Any]) -> str:
        """Put a file in its place, unless another that was not fetched is there."""
        key = target.relative_to(self.here.root).as_posix()
        if (
            target.exists()
            and self.here.ledger.get(key) is None
            and sums_of(target, ()) != row["sums"]
        ):
            raise SignalError(
                f"{target}: was here before, and is another file than the publisher's. "
                f"Move it away and run the same command again."
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        new.replace(target)
        self.here.ledger.put(key, **row, published=False)
        return key

    def _refuse_full(self, todo: list[Remote], n_all: int) -> None:
        """Refuse to begin what cannot end, as far as sizes are known."""
        home = self.here.home
        parts = [part_of(home / remote.path) for remote in todo]
        here = sum(part.stat().st_size for part in parts if part.is_file())
        if todo and all(remote.size is not None for remote in todo):
            # What is unpacked comes beside its archive.
            need = sum((r.size or 0) * (2 if r.archive else 1) for r in todo)
            refuse_full(home, need - here, self.spec.title)
        elif self.publisher.about_gb is not None and todo:
            about = self.publisher.about_gb * len(todo) / n_all
            free = shutil.disk_usage(home).free
            if about * 1e9 - here > free:
                self.watcher.say(
                    f"What is left of {self.spec.title} takes about {about:.1f} GB; "
                    f"{free / 1e9:.1f} GB are free under {home}."
                )


def _spread(
    todo: list[Remote], jobs: int, one: Callable[[Remote], File], web: Web
) -> Iterator[File]:
    """Fetch over several connections; what ends one ends all.

    An interruption does not wait for a silent server: its thread is left behind.
    """
    if jobs == 1:
        yield from map(one, todo)
        return
    left: queue.SimpleQueue[Remote] = queue.SimpleQueue()
    done: queue.SimpleQueue[File | BaseException] = queue.SimpleQueue()
    for remote in todo:
        left.put(remote)

    def work() -> None:
        try:
            while not web.stop.is_set():
                done.put(one(left.get_nowait()))
        except queue.Empty:
            return
        except BaseException as error:
            done.put(error)

    threads = [
        threading.Thread(target=work, daemon=True) for _ in range(min(jobs, len(todo)))
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in todo:
            found = done.get()
            if isinstance(found, BaseException):
                raise found
            yield found
    except BaseException:
        web.stop.set()
        for thread in threads:
            thread.join(timeout=1.0)
        raise
