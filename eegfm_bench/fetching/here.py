"""What of a dataset is here already, and whether it is what its publisher states.

From: a publisher's list, files below a data root, the ledger of what was fetched. To:
``fetch``, which brings the rest. What it did not fetch itself is never overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eegfm_bench.datasets._places import source_folder
from eegfm_bench.datasets._spec import DatasetSpec
from eegfm_bench.errors import BenchError
from eegfm_bench.fetching.file import Remote, sums_of
from eegfm_bench.fetching.ledger import Ledger

HERE, ABSENT, DAMAGED, UNCHECKED = "here", "absent", "damaged", "unchecked"
FETCHED, FAILED, WRONG = "fetched", "failed", "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """What became of a file; ``path`` is below the data root.

    ``state`` is ``here`` (before, and right), ``fetched``, ``absent`` (not asked for,
    in a dry run), ``unchecked`` (here, with nothing to hold it against yet), ``failed``
    (could not be had) or ``wrong`` (is not what its publisher states). ``published`` is
    whether a sum of the publisher's was held.
    """

    path: str
    subjects: tuple[str, ...]
    state: str
    url: str
    size: int | None = None
    sums: Mapping[str, str] = field(default_factory=dict)
    published: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """The files of one dataset below a root.

    ``reads_again`` holds what was fetched against its sums; ``only_looks`` reads and
    writes nothing.
    """

    spec: DatasetSpec
    root: Path
    home: Path
    ledger: Ledger
    reads_again: bool
    only_looks: bool
    say: Callable[[str], None]

    def place(self, remote: Remote) -> Path:
        """Return where a file is, or is to be."""
        places = [self.home / path for path in (remote.path, *remote.also)]
        return next((path for path in places if path.is_file()), places[0])

    def judge(self, remote: Remote) -> File:
        """Say what of a remote file is here."""
        target, known = self.place(remote), self.ledger.get(self.key(remote))
        if remote.archive:
            return self._judge_archive(remote, target, known)
        if not target.is_file():
            return self.file(remote, ABSENT)
        if known is None:
            return self._judge_stranger(remote, target)
        size = target.stat().st_size
        is_same = all(
            known["sums"].get(name, stated) == stated
            for name, stated in remote.sums.items()
        )
        if known["size"] != size or not is_same or not self._still(target, known):
            return self.file(remote, DAMAGED)
        return self.file(remote, HERE, size=size, sums=known["sums"])

    def _judge_stranger(self, remote: Remote, target: Path) -> File:
        """Hold a file that somebody put here against what the publisher states."""
        size = target.stat().st_size
        if self.only_looks:
            return self.file(remote, UNCHECKED, size=size)
        self.say(f"{target} was not fetched by this command: reading it")
        sums = sums_of(target, remote.sums)
        pairs = [("size", f"{size:,}", f"{remote.size or size:,}")]
        pairs += [(name, sums[name], stated) for name, stated in remote.sums.items()]
        for name, is_, stated in pairs:
            if is_ != stated:
                why = (
                    f"{target}: was here before, and is not the published file: its "
                    f"{name} is {is_}, the publisher states {stated}. Move it away "
                    f"and run the same command again to fetch it."
                )
                return self.file(remote, WRONG, size=size, sums=sums, why=why)
        published = bool(remote.sums)
        self.ledger.put(self.key(remote), size=size, sums=sums, published=published)
        return self.file(remote, HERE, size=size, sums=sums)

    def _judge_archive(
        self, remote: Remote, target: Path, known: Mapping[str, Any] | None
    ) -> File:
        """Say whether what an archive holds is here."""
        gave = (known or {}).get("gave")
        if known is not None and gave:
            is_whole = all(
                (self.root / path).is_file()
                and (self.root / path).stat().st_size == row["size"]
                and self._still(self.root / path, row)
                for path, row in gave.items()
            )
            if is_whole:
                return self.file(remote, HERE, size=known["size"], sums=known["sums"])
            return self.file(remote, DAMAGED)
        is_ours = known is not None and target.is_file()
        if not is_ours and self._has(remote.subjects):
            why = "unpacked by somebody else: there is nothing to hold it against"
            return self.file(remote, UNCHECKED, why=why)
        if known is None and target.is_file():
            found = self._judge_stranger(remote, target)
            if found.state != HERE:
                return found
        return self.file(remote, ABSENT)

    def _has(self, subjects: Sequence[str]) -> bool:
        """Whether the dataset finds all recordings of these, with what goes with them.

        An archive's members need not be known for that.
        """
        folder = source_folder(self.root, self.spec.folder)
        try:
            found = [] if folder is None else self.spec.files(folder)
        except BenchError:
            return False
        for subject in subjects:
            own = [s for s in found if s.subject == subject]
            asked = self.spec.files_per_subject
            n_asked = asked if isinstance(asked, int) else len(asked[subject])
            if len(own) < n_asked:
                return False
            if not all(extra.is_file() for s in own for extra in s.extra):
                return False
        return True

    def _still(self, path: Path, known: Mapping[str, Any]) -> bool:
        """Whether a file has the bytes it had, if that is to be looked at."""
        if not self.reads_again or self.only_looks:
            return True
        self.say(f"reading {path} again")
        return bool(sums_of(path, ())["sha256"] == known["sums"]["sha256"])

    def key(self, remote: Remote) -> str:
        """Return a file's path below the root: its name in the ledger."""
        return self.place(remote).relative_to(self.root).as_posix()

    def file(self, remote: Remote, state: str, **more: Any) -> File:
        """Say what became of a file."""
        return File(
            path=self.key(remote),
            subjects=remote.subjects,
            state=state,
            url=remote.url,
            published=bool(remote.sums),
            **more,
        )
