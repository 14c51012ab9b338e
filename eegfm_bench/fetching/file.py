"""One file: goes on where it ended, is what it should be, or is not there.

From: a URL and the sums its publisher states. To: the file under its name, by one
rename once it is whole and right; until then ``NAME.part``, with ``NAME.part.json``
saying of which version on the server it is the beginning.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eegfm_bench.errors import RunFailed, StoreError
from eegfm_bench.fetching.web import GOES_ON, Again, Web, blocks, mirrored

if TYPE_CHECKING:
    from requests import Response

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Left free on the disk, for what else is written there.
SPARE = 16 << 20

Seen = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A file of a publisher's: where it is, where it goes, what it must be.

    ``path`` is below the dataset's folder, with slashes; ``subjects`` are whose it is.
    ``sums`` are by name of the hash, empty where the publisher states none. An
    ``archive`` is ``zip`` or ``rar``, and its files are what is wanted. ``also`` are
    other places it may lie in, where it need not be brought once more.
    """

    url: str
    path: str
    subjects: tuple[str, ...]
    size: int | None = None
    sums: Mapping[str, str] = field(default_factory=dict)
    archive: str = ""
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lower = {name: value.lower() for name, value in self.sums.items()}
        object.__setattr__(self, "sums", lower)


class NotAsPublished(RunFailed):
    """A file is not what its publisher states, after a fresh try too."""


class _Wrong(Exception):  # noqa: N818
    """What came is not the file; says how it differs."""


def sums_of(
    path: Path, names: Iterable[str], *, stop: threading.Event | None = None
) -> dict[str, str]:
    """Return a file's hashes by name, sha256 among them, in one reading."""
    hashes = {name: hashlib.new(name) for name in {"sha256", *names}}
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            if stop is not None and stop.is_set():
                raise KeyboardInterrupt
            for each in hashes.values():
                each.update(block)
    return {name: each.hexdigest() for name, each in sorted(hashes.items())}


def part_of(target: Path) -> Path:
    """Return where a file grows until it is whole."""
    return target.with_name(f"{target.name}.part")


def download(web: Web, remote: Remote, target: Path, seen: Seen) -> dict[str, str]:
    """Bring one file, whole and right, and return its hashes.

    Raises
    ------
    NotThere
        If the server has it not.
    NotAsPublished
        If it is not what the publisher states, a second time too.
    DataMissing
        If the server cannot be reached, or keeps breaking off.
    StoreError
        If the disk is full; what is there is kept.
    """
    part = part_of(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    first = ""
    for is_fresh in (False, True):
        try:
            _bring(web, remote, part, seen, is_fresh)
            found = sums_of(part, remote.sums, stop=web.stop)
            _refuse_other(remote, part, found)
        except _Wrong as error:
            _forget(part)
            if is_fresh:
                again = f"; at first {first}" if first != str(error) else ""
                raise NotAsPublished(
                    f"{target}: {error}, after a fresh download too{again}. It "
                    f"came from {mirrored(remote.url, web.mirror)} and was "
                    f"deleted. Try again later, or name another --mirror; if it "
                    f"stays so, tell the publisher."
                ) from error
            first = str(error)
            continue
        part.replace(target)
        _note_of(part).unlink(missing_ok=True)
        _sync_folder(target.parent)
        return found
    raise AssertionError("unreachable")


def _bring(web: Web, remote: Remote, part: Path, seen: Seen, is_fresh: bool) -> None:
    """Let a part grow until it is whole, over as many connections as it takes."""
    if is_fresh:
        _forget(part)
    web.persist(
        remote.url,
        lambda: _attempt(web, remote, part, seen, is_fresh),
        lambda: part.stat().st_size if part.exists() else 0,
    )


def _attempt(web: Web, remote: Remote, part: Path, seen: Seen, is_fresh: bool) -> None:
    """Ask for what is lacking, once."""
    known = _read_note(part, remote)
    offset = part.stat().st_size if known is not None else 0
    # A proxy that keeps a bad copy must not hand it out again.
    headers = {"Cache-Control": "no-cache"} if is_fresh else {}
    if known is not None:
        if known.get("size") == offset:
            return
        headers["Range"] = f"bytes={offset}-"
        if validator := _validator(known):
            headers["If-Range"] = validator
    with web.open(remote.url, headers) as response:
        if response.status_code == 416:
            if response.headers.get("Content-Range") == f"bytes */{offset}" and offset:
                return  # there is no more: it is whole
            _forget(part)
            raise Again("the server has another file than before")
        if response.status_code == 206 and not _goes_on(response, offset, known):
            _forget(part)
            raise Again("the server has another file than before")
        if response.status_code == 200:
            offset = 0
        total = _total(response, offset)
        stated = remote.size
        if total is not None and stated is not None and total != stated:
            raise _Wrong(f"has {total:,} bytes there, its publisher states {stated:,}")
        if total is not None:
            refuse_full(part.parent, total - offset, str(part))
        if offset == 0:
            _forget(part)
            _write_note(part, remote, response, total)
        whole = stated if total is None else total
        size = _write(web, response, part, offset, whole, seen)
    if whole is not None and size < whole:
        raise Again(f"the connection ended after {size:,} of {whole:,} bytes")


def _write(
    web: Web,
    response: Response,
    part: Path,
    offset: int,
    most: int | None,
    seen: Seen,
) -> int:
    """Append what comes; return how long the part is."""
    size = offset
    try:
        with part.open("ab", buffering=0) as file:
            for block in blocks(response):
                if web.stop.is_set():
                    raise KeyboardInterrupt
                _write_all(file, block)
                size += len(block)
                if most is not None and size > most:
                    raise _Wrong(f"is longer than the {most:,} bytes stated")
                seen(size, most)
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StoreError(
            f"{part}: the disk is full ({error.strerror}) after "
            f"{part.stat().st_size:,} bytes. Make room; what is there is kept. "
            f"{GOES_ON}"
        ) from error
    return size


def refuse_full(folder: Path, needed: int, what: str) -> None:
    """Refuse what will not fit.

    Raises
    ------
    StoreError
        If less room is left.
    """
    above = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(above).free
    if needed > 0 and needed + SPARE > free:
        raise StoreError(
            f"{what} needs {needed / 1e6:,.1f} MB more, {above} has "
            f"{free / 1e6:,.1f} MB free. Make room, or give another --data. {GOES_ON}"
        )


def _write_all(file: FileIO, block: bytes) -> None:
    """Write a block: a full disk may take the first half of it without a word."""
    view = memoryview(block)
    while view:
        view = view[os.write(file.fileno(), view) :]


def _total(response: Response, offset: int) -> int | None:
    """Return how long the whole file is, as far as the answer says."""
    if response.status_code == 206:
        total = response.headers["Content-Range"].rpartition("/")[2]
        return int(total) if total.isdigit() else None
    length = response.headers.get("Content-Length", "")
    return offset + int(length) if length.isdigit() else None


def _goes_on(response: Response, offset: int, known: Mapping[str, Any] | None) -> bool:
    """Whether a partial answer continues what is here, of the same version."""
    span = response.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", span)
    if found is None or int(found[1]) != offset:
        return False
    known = known or {}
    if found[2] != "*" and known.get("size") not in (None, int(found[2])):
        return False
    etag = response.headers.get("ETag")
    return None in (etag, known.get("etag")) or etag == known.get("etag")


def _validator(known: Mapping[str, Any]) -> str | None:
    """Return what If-Range may hold: a strong tag, else the date."""
    etag = known.get("etag")
    if etag and not etag.startswith("W/"):
        return str(etag)
    return known.get("last_modified")


def _note_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_note(part: Path, remote: Remote) -> dict[str, Any] | None:
    """Return what is known of a part that can be gone on with; None if it cannot.

    Without a validator it can where the publisher states a sum: that decides.
    """
    try:
        known = json.loads(_note_of(part).read_text(encoding="utf-8"))
        has = part.stat().st_size
    except (FileNotFoundError, ValueError):
        return None
    is_same = known.get("url") == remote.url and known.get("sums") == dict(remote.sums)
    if not is_same or not (remote.sums or _validator(known)):
        return None
    return known if 0 < has <= (known.get("size") or has) else None


def _write_note(
    part: Path, remote: Remote, response: Response, total: int | None
) -> None:
    """Say of which version a part is the beginning, before it begins."""
    note = _note_of(part)
    new = note.with_name(f"{note.name}.new")
    known = {
        "url": remote.url,
        "sums": dict(remote.sums),
        "size": total,
        "etag": response.headers.get("ETag"),
        "last_modified": response.headers.get("Last-Modified"),
    }
    new.write_text(json.dumps(known), encoding="utf-8")
    new.replace(note)


def _forget(part: Path) -> None:
    """Begin anew: the part goes first, so that none is left without its note."""
    part.unlink(missing_ok=True)
    _note_of(part).unlink(missing_ok=True)


def _refuse_other(remote: Remote, part: Path, found: Mapping[str, str]) -> None:
    """Hold a whole part against what the publisher states."""
    size = part.stat().st_size
    if remote.size is not None and size != remote.size:
        raise _Wrong(f"has {size:,} bytes, the publisher states {remote.size:,}")
    for name, stated in remote.sums.items():
        if found[name] != stated:
            raise _Wrong(f"its {name} is {found[name]}, the publisher states {stated}")


def _sync_folder(folder: Path) -> None:
    """Make a rename last; some file systems cannot, and need not."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
