"""Archives: what is in them, and the few files of it that are wanted.

From: a zip or a rar that was fetched. To: files under their names, each by one rename.
Names that lead elsewhere, links, locked archives and ones that would not fit are
refused before anything is written. A rar needs a program of its own.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from eegfm_bench.errors import DataMissing, SignalError
from eegfm_bench.fetching.file import refuse_full
from eegfm_bench.fetching.sources import refuse_unsafe

# How each program lists names alone, and how it unpacks into a folder without asking.
UNPACKERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "bsdtar": (("-tf", "{archive}"), ("-xf", "{archive}", "-C", "{folder}")),
    "unrar": (
        ("lb", "-p-", "--", "{archive}"),
        ("x", "-o+", "-p-", "-inul", "--", "{archive}", "{folder}/"),
    ),
    "unar": (
        (),
        ("-q", "-f", "-D", "-o", "{folder}", "{archive}"),
    ),
}
LONGEST_S = 3600


# From the names in an archive to those that its wanted files are to have.
Choose = Callable[[list[str]], Mapping[str, str]]


class NoUnpacker(DataMissing):
    """No program here opens a rar; says which would."""


class BadArchive(SignalError):  # noqa: N818
    """An archive is damaged, or no archive."""


def find_unpacker() -> tuple[str, str] | None:
    """Return a program that opens a rar, and where it is; None if there is none."""
    for name in UNPACKERS:
        if found := shutil.which(name):
            return name, found
    return None


def how_to_have_one() -> str:
    """Say what to install to open a rar."""
    return (
        f"install one of {', '.join(UNPACKERS)} (Debian and Ubuntu: apt install "
        f"libarchive-tools; conda: conda install -c conda-forge libarchive; macOS has "
        f"bsdtar)"
    )


def _program(archive: Path) -> tuple[str, str]:
    """Return a program that opens a rar."""
    found = find_unpacker()
    if found is None:
        raise NoUnpacker(
            f"{archive} is here, and no program to unpack it. Please "
            f"{how_to_have_one()}, and run the same command again. The archive is kept."
        )
    return found


def unpack(archive: Path, kind: str, choose: Choose, folder: Path) -> dict[str, Path]:
    """Unpack what is wanted of an archive.

    Parameters
    ----------
    archive : path
        The archive.
    kind : str
        ``zip`` or ``rar``.
    choose : function of names
        Says which, and what they are to be called.
    folder : path
        An empty one on the same disk, somebody's to remove afterwards.

    Returns
    -------
    files : dict of str
        Where each lies in ``folder``, by the name it is to have.

    Raises
    ------
    NoUnpacker
        If there is no program for it.
    BadArchive
        If it is damaged, locked, or has links in it.
    SignalError
        If a name leads out of the folder.
    StoreError, OSError
        If there is no room.
    """
    if kind == "zip":
        names = _names_in_zip(archive)
        refuse_unsafe(names, str(archive))
        return _unpack_zip(archive, choose(names), folder)
    program, place = _program(archive)
    listing, unpacking = UNPACKERS[program]
    if listing:
        names = _call(place, listing, archive, folder).splitlines()
        refuse_unsafe(names, str(archive))
    refuse_full(folder, archive.stat().st_size, f"unpacking {archive}")
    _call(place, unpacking, archive, folder)
    names = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BadArchive(
                f"{archive}: '{name}' is a link or a device, no file. Nothing was kept "
                f"of it; do not use it, and report it."
            )
        if path.is_file():
            names.append(name)
    return {new: folder / name for name, new in choose(names).items()}


def _names_in_zip(archive: Path) -> list[str]:
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise _damaged(archive, str(error)) from error
    for member in members:
        if member.flag_bits & 1:
            raise BadArchive(
                f"{archive}: '{member.filename}' is locked by a password; expected an "
                f"open archive. Its publisher may have another version of it."
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise BadArchive(
                f"{archive}: '{member.filename}' is a link, no file. Nothing was "
                f"unpacked; do not use it, and report it."
            )
    return [member.filename for member in members if not member.is_dir()]


def _unpack_zip(
    archive: Path, wanted: Mapping[str, str], folder: Path
) -> dict[str, Path]:
    """Unpack members under numbers: their names are of no use to a file system."""
    found = {}
    try:
        with zipfile.ZipFile(archive) as opened:
            size = sum(opened.getinfo(member).file_size for member in wanted)
            refuse_full(folder, size, f"unpacking {archive}")
            for number, (member, name) in enumerate(wanted.items()):
                found[name] = folder / str(number)
                # The check sum of each is held while it is read.
                with opened.open(member) as packed, found[name].open("wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise _damaged(archive, str(error)) from error
    return found


def _call(place: str, words: tuple[str, ...], archive: Path, folder: Path) -> str:
    """Run an unpacker and return what it prints."""
    argv = [place, *(w.format(archive=archive, folder=folder) for w in words)]
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _damaged(archive, f"not unpacked within {LONGEST_S} s") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        _refuse_no_room(archive, said)
        raise _damaged(
            archive,
            f"{Path(place).name} ended with {done.returncode}"
            + (f": {said[-1]}" if said else ""),
        )
    return done.stdout.decode(errors="replace")


def _refuse_no_room(archive: Path, said: list[str]) -> None:
    """Tell a full disk from a bad archive."""
    full = os.strerror(28)
    if any(full.lower() in line.lower() for line in said):
        raise OSError(28, full, str(archive.parent))


def _damaged(archive: Path, why: str) -> BadArchive:
    with archive.open("rb") as file:
        begins = file.read(16)
    return BadArchive(
        f"{archive}: is no whole archive ({why}); it begins with {begins!r}."
    )
