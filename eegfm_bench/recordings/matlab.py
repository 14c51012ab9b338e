"""MATLAB files, whichever version: numbers and words of named variables, bounded.

From: ``.mat`` files of versions 5 to 7 and 7.3, told apart by their own headers. To:
datasets published as arrays. Nothing is allocated before the shape a file claims is
held against the shape expected and against the bytes that are there; values that
nobody asks for are passed over. Versions 5 to 7 are walked by ``matlab5``; 7.3 is
HDF5, and is read by h5py.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eegfm_bench.errors import SignalError, listed
from eegfm_bench.recordings.matlab5 import (
    AGAIN,
    INFLATES_TO,
    MOST_LETTERS,
    MOST_WORDS,
    Asked,
    Contents,
    Shape,
    read_5,
)

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

_HDF5 = b"\x89HDF\r\n\x1a\n"


def read_mat(
    path: Path,
    *,
    numbers: Mapping[str, Shape] | None = None,
    look: Mapping[str, Shape] | None = None,
    words: Collection[str] = (),
    texts: Collection[str] = (),
    may_lack: Collection[str] = (),
    dtype: DTypeLike = np.float64,
) -> Contents:
    """Read named variables of a ``.mat`` file, and the shapes of all.

    Parameters
    ----------
    path : path
        The file; its header says of which version it is, its suffix nothing.
    numbers : mapping of name to shape
        Arrays to read; ``None`` in a shape fits any length. A field of a struct
        is named ``struct/field``.
    look : mapping of name to shape
        Arrays to check as if they were read, without reading them.
    words : names
        Cell arrays of texts to read.
    texts : names
        Texts to read, into ``words``; of an array of structs, which may itself be a
        struct's field, ``structs/field``: one of each.
    may_lack : names
        Of all these, the ones that need not be there.
    dtype : float type
        That of the arrays returned.

    Returns
    -------
    found : Contents
        Shapes, arrays and words, alike for every version.

    Raises
    ------
    SignalError
        If the file is none of MATLAB's, is cut short or damaged, lacks a variable,
        or has one of another kind or shape than expected.
    """
    asked = Asked(
        path=path,
        numbers=numbers or {},
        look=look or {},
        words=words,
        dtype=dtype,
        texts=texts,
    )
    try:
        found = (_read_7_3 if _is_hdf5(asked) else read_5)(asked)
    except OSError as error:
        # h5py's errors of damaged files are of this kind, without a number.
        why = error.strerror or f"it is damaged or cut short ({error})"
        raise SignalError(f"{path}: cannot be read: {why}. {AGAIN}") from error
    except EOFError as error:
        raise SignalError(f"{path}: ends amid a variable. {AGAIN}") from error
    wanted = {*asked.numbers, *asked.look, *words, *texts} - set(may_lack)
    lacks = sorted(name for name in wanted if name not in found.shapes)
    if lacks:
        asked.refuse(
            f"there is no '{lacks[0]}'; there are {listed(found.shapes) or 'none'}"
        )
    return found


def _is_hdf5(asked: Asked) -> bool:
    """Tell the two formats apart; refuse any other."""
    with asked.path.open("rb") as file:
        head = file.read(520)
    if _HDF5 in (head[:8], head[512:520]):
        return True
    mark = head[124:128]
    if mark in (b"\x00\x01IM", b"\x01\x00MI") and head.startswith(b"MATLAB"):
        return False
    if mark in (b"\x00\x02IM", b"\x02\x00MI"):
        asked.refuse(
            "the header says version 7.3, but no HDF5 follows: it is cut short"
        )
    if head.startswith(b"PK\x03\x04"):
        raise SignalError(f"{asked.path}: is a zip archive, not MATLAB's. Unpack it.")
    if not head:
        asked.refuse("is empty")
    text = " ".join(head[:60].decode("utf-8", "ignore").split())
    is_text = text.isprintable()
    return asked.refuse(
        f"is a text that begins '{text}', not a MATLAB file"
        if is_text
        else "has no header of MATLAB, version 5 or later"
    )


def _read_7_3(asked: Asked) -> Contents:
    import h5py

    found = Contents()
    with h5py.File(asked.path, "r") as file:
        try:
            for name, values in _datasets(asked, file):
                _take_dataset(asked, found, name, values)
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise SignalError(f"{asked.path}: is damaged ({error}). {AGAIN}") from error
    return found


def _take_dataset(asked: Asked, found: Contents, name: str, values: Any) -> None:
    """Take in what is asked for of a dataset; h5py has MATLAB's axes reversed."""
    shape = tuple(values.shape[::-1])
    asked.check(name, _kind(values), shape)
    found.shapes[name] = shape
    found.kinds[name] = _kind(values)
    if name in asked.texts:
        found.words[name] = _texts(asked, name, values)
    elif name in asked.words:
        found.words[name] = tuple(
            _text(asked, name, values.file[ref]) for ref in values[()].T.flat
        )
    elif name in asked.numbers:
        _refuse_unbacked(asked, name, values)
        x = np.empty(values.shape, asked.dtype)
        values.read_direct(x)
        found.numbers[name] = x.T


def _texts(asked: Asked, name: str, values: Any) -> tuple[str, ...]:
    """Return a text, or those of a field of an array of structs."""
    import h5py

    every = [values]
    if h5py.check_ref_dtype(values.dtype) is not None:
        if values.size > MOST_WORDS:
            asked.refuse(f"'{name}' claims {values.size:,} structs")
        every = [values.file[ref] for ref in values[()].T.flat]
    # What is empty holds its shape instead.
    return tuple(
        "" if one.attrs.get("MATLAB_empty", 0) else _text(asked, name, one)
        for one in every
    )


def _datasets(asked: Asked, file: Any) -> Iterator[tuple[str, Any]]:
    """Return variables and fields of structs; links elsewhere are not followed.

    Of structs within structs, only those that hold a text that is asked for.
    """
    import h5py

    def own(group: Any) -> Iterator[tuple[str, Any]]:
        for key in group:
            is_own = isinstance(group.get(key, getlink=True), h5py.HardLink)
            if is_own and not key.startswith("#"):
                yield key, group[key]

    for name, item in own(file):
        if isinstance(item, h5py.Dataset):
            yield name, item
        elif isinstance(item, h5py.Group):
            for key, inner in own(item):
                if isinstance(inner, h5py.Dataset):
                    yield f"{name}/{key}", inner
                elif asked.has_within(f"{name}/{key}"):
                    for deep, innermost in own(inner):
                        if isinstance(innermost, h5py.Dataset):
                            yield f"{name}/{key}/{deep}", innermost


def _kind(values: Any) -> str:
    """Say what a dataset holds."""
    import h5py

    kind = values.attrs.get("MATLAB_class", b"")
    if h5py.check_ref_dtype(values.dtype) is not None:
        return "a cell array"
    if kind == b"char":
        return "text"
    if values.dtype.names == ("real", "imag"):
        return "complex numbers"
    return "numbers" if values.dtype.kind in "iufb" else f"of type {values.dtype}"


def _text(asked: Asked, name: str, letters: Any) -> str:
    """Return the text of a dataset of letters."""
    import h5py

    is_text = isinstance(letters, h5py.Dataset) and letters.dtype in ("u1", "u2")
    if not is_text or letters.size > MOST_LETTERS:
        asked.refuse(f"'{name}' has a cell that is no text")
    return "".join(chr(int(c)) for c in letters[()].T.flat)


def _refuse_unbacked(asked: Asked, name: str, values: Any) -> None:
    """Refuse values that the file has not the bytes for."""
    if values.external or values.is_virtual:
        asked.refuse(f"'{name}' lies in other files")
    n_bytes = values.size * values.dtype.itemsize
    stored = values.id.get_storage_size()
    most = stored if values.chunks is None else INFLATES_TO * stored
    if n_bytes > most or stored > asked.path.stat().st_size:
        asked.refuse(f"'{name}' claims {n_bytes:,} bytes, {stored:,} are there")
    if values.chunks is None:
        return
    # What was never written would be read as zeros.
    pairs = zip(values.shape, values.chunks, strict=True)
    expected = math.prod(-(-size // piece) for size, piece in pairs)
    found = values.id.get_num_chunks()
    if found != expected:
        asked.refuse(f"'{name}' is not whole: {found:,} of {expected:,} pieces")
