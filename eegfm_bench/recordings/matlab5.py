"""MATLAB files of versions 5 to 7: walked element by element, nothing taken on trust.

From: bytes, plain or compressed. To: ``recordings.matlab``, the door for every
version. Every element says how long it is; that is held against what it lies in, and
what shape a variable claims against the shape expected, before anything is allocated.
A struct's fields are found without reading the others.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import numpy as np

from eegfm_bench.errors import SignalError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

# None fits any length.
Shape = tuple[int | None, ...]

AGAIN = "Fetch it again, or leave this recording out."
# Deflate makes at most 1,032 bytes of one.
INFLATES_TO = 1032
_BLOCK_BYTES = 1 << 18
# Channel names and the like; a name in a header.
MOST_WORDS, MOST_LETTERS = 1024, 4096
_MATRIX, _COMPRESSED = 14, 15
# Element types of the format, as NumPy's, less the byte order.
_TYPES = dict(
    zip(
        (1, 2, 3, 4, 5, 6, 7, 9, 12, 13),
        ("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8", "i8", "u8"),
        strict=True,
    )
)
_LETTERS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16"}
_NUMBERS = range(6, 16)
_CELL, _STRUCT, _CHAR, _OPAQUE = 1, 2, 4, 17
_KINDS = {
    _CELL: "a cell array",
    _STRUCT: "a struct",
    3: "an object",
    _CHAR: "text",
    5: "a sparse matrix",
    16: "a function handle",
    _OPAQUE: "an object",
}
_COMPLEX = 0x800


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What was found in a file; a struct's field is named ``struct/field``.

    Attributes
    ----------
    shapes : dict of name to shape
        Every variable and field, in MATLAB's order of axes and the file's of names.
    numbers : dict of name to array
        The values that were asked for, in MATLAB's order of axes.
    words : dict of name to tuple of str
        The cell arrays of texts that were asked for; a variable that is a text itself
        has one, a field of an array of structs as many as there are structs.
    kinds : dict of name to str
        What each variable is: numbers, text, a cell array, a struct …
    """

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    numbers: dict[str, NDArray[Any]] = field(default_factory=dict)
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is wanted of a file; ``look`` are numbers whose values are not read.

    ``texts`` are variables of letters, or fields of arrays of structs that are.
    """

    path: Path
    numbers: Mapping[str, Shape]
    look: Mapping[str, Shape]
    words: Collection[str]
    dtype: DTypeLike
    texts: Collection[str] = ()

    def has_within(self, name: str) -> bool:
        """Whether a text is asked for that lies within a struct."""
        return any(text.startswith(f"{name}/") for text in self.texts)

    def refuse(self, why: str) -> NoReturn:
        """Refuse the file."""
        raise SignalError(f"{self.path}: {why}. {AGAIN}")

    def check(self, name: str, kind: str, shape: tuple[int, ...]) -> None:
        """Refuse a variable that is not of the kind and shape expected."""
        expected = self.numbers.get(name, self.look.get(name))
        if expected is None and name not in self.words:
            return
        wanted = "a cell array" if expected is None else "numbers"
        if kind != wanted:
            self.refuse(f"'{name}' is {kind}; expected {wanted}")
        if expected is None:
            if math.prod(shape) > MOST_WORDS:
                self.refuse(f"'{name}' claims {math.prod(shape):,} words")
        elif len(shape) != len(expected) or any(
            m not in (None, n) for n, m in zip(shape, expected, strict=True)
        ):
            self.refuse(f"'{name}' is {said(shape)}; expected {said(expected)}")


def said(shape: Shape) -> str:
    """Write a shape.

    Examples
    --------
    >>> said((795, 64, None))
    '795 × 64 × any'
    """
    return " × ".join("any" if n is None else str(n) for n in shape)


class _Bytes:
    """Bytes one after the other; ``at`` counts those taken or passed over."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.at = file, 0

    def take(self, n: int) -> bytes:
        self.at += n
        content = self.file.read(n)
        if len(content) < n:
            raise EOFError
        return content

    def skip(self, n: int) -> None:
        self.at += n
        self.file.seek(n, 1)


class _Inflated(_Bytes):
    """Bytes out of compressed ones; passing over them inflates and forgets."""

    def __init__(self, file: IO[bytes], n_packed: int) -> None:
        super().__init__(file)
        self.n_packed, self.unzip = n_packed, zlib.decompressobj()

    def take(self, n: int) -> bytes:
        self.at += n
        pieces, left = [], n
        while left:
            pieces.append(self._some(left))
            left -= len(pieces[-1])
            if not pieces[-1]:
                raise EOFError
        return b"".join(pieces)

    def skip(self, n: int) -> None:
        while n > 0:
            n -= len(self.take(min(n, _BLOCK_BYTES)))

    def finish(self) -> None:
        """Go to the end, where a checksum is held against all that came before."""
        while not self.unzip.eof:
            self._some(_BLOCK_BYTES)

    def _some(self, most: int) -> bytes:
        """Return what comes next, so many bytes at most; none at the end."""
        piece = self.unzip.decompress(self.unzip.unconsumed_tail, most)
        while not (piece or self.unzip.eof):
            packed = self.file.read(min(self.n_packed, _BLOCK_BYTES))
            if not packed:
                raise EOFError
            self.n_packed -= len(packed)
            piece = self.unzip.decompress(packed, most)
        return piece


def read_5(asked: Asked) -> Contents:
    """Take in what is asked for of a file of versions 5 to 7."""
    found = Contents()
    size = asked.path.stat().st_size
    with asked.path.open("rb") as file:
        order = "<" if file.read(128)[126:] == b"IM" else ">"
        at = 128
        try:
            while at < size:
                file.seek(at)
                at = _read_variable(asked, found, file, order, (at, size))
        except (zlib.error, struct.error, UnicodeDecodeError) as error:
            raise SignalError(f"{asked.path}: is damaged ({error}). {AGAIN}") from error
    return found


def _read_variable(
    asked: Asked, found: Contents, file: IO[bytes], order: str, at: tuple[int, int]
) -> int:
    """Take in the variable that begins at (byte, of so many); return where it ends."""
    start, size = at
    kind, n_bytes = struct.unpack(f"{order}II", _Bytes(file).take(8))
    end: int = start + 8 + n_bytes
    if end > size:
        asked.refuse(
            f"has {size:,} bytes and ends amid a variable, which goes to byte {end:,}"
        )
    content, length = _Bytes(file), n_bytes
    if kind == _COMPRESSED:
        content = _Inflated(file, n_bytes)
        kind, length = struct.unpack(f"{order}II", content.take(8))
        if length > INFLATES_TO * n_bytes:
            asked.refuse(f"{n_bytes:,} compressed bytes claim to be {length:,}")
    if kind != _MATRIX:
        asked.refuse(f"is damaged: byte {start:,} begins no variable (type {kind})")
    _Walk(asked, found, content, order).matrix(content.at + length)
    return end


class _Walk:
    """One variable of a file of version 5 to 7, element by element.

    Every element begins with its type and length; what a length claims is held
    against the end of the matrix it lies in before it is taken.
    """

    def __init__(
        self, asked: Asked, found: Contents, content: _Bytes, order: str
    ) -> None:
        self.asked, self.found = asked, found
        self.content, self.order = content, order

    def matrix(self, end: int, name: str | None = None) -> None:
        """Take in a matrix that ends at ``end``; a field has its struct's name."""
        is_field = name is not None
        if end > self.content.at:
            flags, shape, own_name = self.head(end)
            name = own_name if name is None else name
            self.value(end, name, flags, shape, is_field=is_field)
        elif name is not None:
            self.found.shapes[name] = (0, 0)
        if is_field:
            self.content.skip(end - self.content.at)
            return
        # A variable of which nothing is asked is not inflated to its end.
        names = (*self.asked.numbers, *self.asked.words, *self.asked.texts)
        if isinstance(self.content, _Inflated) and any(
            other.split("/")[0] == name for other in names
        ):
            self.content.finish()

    def head(self, end: int) -> tuple[int, tuple[int, ...], str]:
        """Return a matrix's flags, shape and name."""
        (flags,) = struct.unpack(f"{self.order}I", self.small(end)[1][:4])
        if flags & 0xFF == _OPAQUE:
            return flags, (1, 1), self.small(end)[1].decode("latin-1")
        dims = self.small(end)[1]
        shape = struct.unpack(f"{self.order}{len(dims) // 4}i", dims)
        if len(shape) < 2 or min(shape) < 0:
            self.asked.refuse(f"is damaged: a variable's shape is {shape}")
        return flags, shape, self.small(end)[1].decode("latin-1")

    def value(
        self, end: int, name: str, flags: int, shape: tuple[int, ...], *, is_field: bool
    ) -> None:
        """Take in what is asked for of a matrix's value."""
        kind = flags & 0xFF
        spoken = _KINDS.get(kind, "numbers" if kind in _NUMBERS else "unknown")
        if kind in _NUMBERS and flags & _COMPLEX:
            spoken = "complex numbers"
        self.asked.check(name, spoken, shape)
        self.found.shapes[name] = shape
        self.found.kinds[name] = spoken
        if kind == _STRUCT and math.prod(shape) == 1 and not is_field:
            self.fields(end, name)
        elif kind == _STRUCT and self.asked.has_within(name):
            if math.prod(shape) > MOST_WORDS:
                self.asked.refuse(f"'{name}' claims {math.prod(shape):,} structs")
            self.fields(end, name, n_structs=math.prod(shape))
        elif name in self.asked.texts:
            text = ""
            if math.prod(shape):
                if kind != _CHAR:
                    self.asked.refuse(f"'{name}' is {spoken}; expected text")
                text = self.letters(end)
            self.found.words[name] = (*self.found.words.get(name, ()), text)
        elif name in self.asked.words:
            self.found.words[name] = tuple(
                self.word(end, name) for _ in range(math.prod(shape))
            )
        elif name in self.asked.numbers or name in self.asked.look:
            self.numbers(end, name, shape)

    def fields(self, end: int, name: str, n_structs: int = 1) -> None:
        """Take in the fields of one struct after the other, each a matrix."""
        (length,) = struct.unpack(f"{self.order}i", self.small(end)[1])
        names = self.small(end, most=1 << 16)[1]
        if not 0 < length <= 64:
            self.asked.refuse(f"is damaged: names of {length} letters in '{name}'")
        for start in list(range(0, len(names), length)) * n_structs:
            key = names[start : start + length].split(b"\x00")[0].decode("latin-1")
            kind, n_bytes, _ = self.tag(end)
            if kind != _MATRIX:
                self.asked.refuse(f"is damaged: '{name}/{key}' is no variable")
            self.matrix(self.content.at + n_bytes, f"{name}/{key}")

    def word(self, end: int, name: str) -> str:
        """Take in a text, which is a matrix of letters."""
        kind, n_bytes, _ = self.tag(end)
        stop = self.content.at + n_bytes
        if kind != _MATRIX or n_bytes == 0:
            return ""
        flags, _, _ = self.head(stop)
        if flags & 0xFF != _CHAR:
            self.asked.refuse(f"'{name}' has a cell that is no text")
        text = self.letters(stop)
        self.content.skip(stop - self.content.at)
        return text

    def letters(self, end: int) -> str:
        """Take in the letters of a text whose head is known."""
        kind, content = self.small(end)
        code = _LETTERS.get(kind, "latin-1")
        if code == "utf-16":
            code = "utf-16-le" if self.order == "<" else "utf-16-be"
        return content.decode(code)

    def numbers(self, end: int, name: str, shape: tuple[int, ...]) -> None:
        """Take in values, or check that as many bytes are there as they need."""
        kind, n_bytes, held = self.tag(end)
        count = math.prod(shape)
        if kind not in _TYPES or n_bytes != count * int(_TYPES[kind][1]):
            self.asked.refuse(
                f"'{name}' has {n_bytes:,} bytes (type {kind}) for {count:,} values"
            )
        if name not in self.asked.numbers:
            return
        stored = np.dtype(self.order + _TYPES[kind])
        values = np.empty(count, self.asked.dtype)
        at_once = _BLOCK_BYTES // stored.itemsize
        # What is too large for a float32 becomes infinite, which recordings refuse.
        with np.errstate(over="ignore"):
            for first in range(0, count, at_once):
                n = min(at_once, count - first)
                piece = held or self.content.take(n * stored.itemsize)
                values[first : first + n] = np.frombuffer(piece, stored, n)
        # MATLAB's first axis runs fastest.
        self.found.numbers[name] = values.reshape(shape, order="F")

    def small(self, end: int, most: int = MOST_LETTERS) -> tuple[int, bytes]:
        """Take a short element: its type and bytes."""
        kind, n_bytes, held = self.tag(end)
        if held is not None:
            return kind, held
        if n_bytes > most:
            self.asked.refuse(f"is damaged: a header of {n_bytes:,} bytes")
        content = self.content.take(n_bytes)
        self.content.skip(min(-n_bytes % 8, end - self.content.at))
        return kind, content

    def tag(self, end: int) -> tuple[int, int, bytes | None]:
        """Take an element's type and length, and its bytes if they are 4 at most."""
        if self.content.at + 8 > end:
            self.asked.refuse("is damaged: a variable ends before its parts do")
        head = self.content.take(8)
        kind, n_bytes = struct.unpack(f"{self.order}II", head)
        if kind >> 16 > 4:
            self.asked.refuse(f"is damaged: a part of type {kind:#x}")
        if kind >> 16:
            return kind & 0xFFFF, kind >> 16, head[4 : 4 + (kind >> 16)]
        if n_bytes > end - self.content.at:
            self.asked.refuse(
                f"is damaged: a part claims {n_bytes:,} bytes where "
                f"{end - self.content.at:,} are left"
            )
        return kind, n_bytes, None
