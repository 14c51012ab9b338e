"""One array of floats in a pickle: found without running anything, then read.

From: ``.pkl`` files that hold a single NumPy array. To: its shape, type and place in
the file, or its values. A pickle is a program, and Python's own reader runs it, whoever
wrote it. Here a machine of thirty opcodes knows how NumPy spells an array (protocols
2 to 5, NumPy 1 and 2, written by Python 2 or 3) and nothing else: it calls no function,
imports no module, and refuses the first thing it does not know.
"""

from __future__ import annotations

import codecs
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeVar

import numpy as np

from eegfm_bench.errors import SignalError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Kind = TypeVar("Kind")

# What an array's pickle names; the names stand for nothing but themselves.
_RECONSTRUCT = ("numpy.core.multiarray", "numpy._core.multiarray")
_FROMBUFFER = ("numpy.core.numeric", "numpy._core.numeric")
_KNOWN = {
    **dict.fromkeys((f"{m} _reconstruct" for m in _RECONSTRUCT), "reconstruct"),
    **dict.fromkeys((f"{m} _frombuffer" for m in _FROMBUFFER), "frombuffer"),
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "_codecs encode": "encode",
}
_FLOATS = (b"f2", b"f4", b"f8")

# Opcodes by what they do, with the bytes of the length, number or place that follows.
_PROTO, _STOP, _FRAME, _MARK_OPCODE = b"\x80", b".", b"\x95", b"("
_TEXTS = {b"\x8c": 1, b"X": 4, b"\x8d": 8}
_BYTES = {b"C": 1, b"B": 4, b"\x8e": 8, b"\x96": 8, b"U": 1, b"T": 4}
_NUMBERS = {b"K": 1, b"M": 2, b"J": 4}
_LONG = b"\x8a"
_CONSTANTS: dict[bytes, object] = {b"N": None, b"\x88": True, b"\x89": False, b")": ()}
_TUPLES = {b"\x85": 1, b"\x86": 2, b"\x87": 3}
_TUPLE, _GLOBAL, _STACK_GLOBAL = b"t", b"c", b"\x93"
_PUTS, _MEMOIZE, _GETS = {b"q": 1, b"r": 4}, b"\x94", {b"h": 1, b"j": 4}
_REDUCE, _BUILD = b"R", b"b"

# The longest genuine pickle of an array has some sixty opcodes; names are short.
_MOST_OPCODES, _MOST_NAME, _MOST_AXES, _MOST_LONG = 256, 64, 32, 8
_BLOCK_BYTES = 1 << 20
_MARK = object()
# What other pickles open with, in plain words; the rest is called by its opcode.
_OTHERS = {b"]": "a list", b"}": "a dictionary", b"\x8f": "a set", b"l": "a list"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PickledArray:
    """Where in a file an array lies, and what it is.

    ``shape`` is the array's own. Its values lie from ``offset`` on, ``n_bytes`` of
    them, in C order of ``stored_shape``, whose axes are then put in the order
    ``axes``. ``is_text``: protocol 2 of Python 3 spells bytes as UTF-8 text.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[np.floating]
    offset: int
    n_bytes: int
    stored_shape: tuple[int, ...]
    axes: tuple[int, ...]
    is_text: bool


def read_header(path: Path) -> PickledArray:
    """Find the array in a pickle, without reading its values.

    Sizes are held against the file's before anything is allocated.

    Raises
    ------
    SignalError
        If the file is no pickle of one array of floats and nothing else, or is cut
        short or longer than it should be; it is named, and says what was found.

    Examples
    --------
    >>> import pickle, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "sub000.pkl")
    ...     _ = path.write_bytes(pickle.dumps(np.ones((2, 3))))
    ...     read_header(path).shape, load(path).sum().item()
    ((2, 3), 6.0)
    """
    try:
        with path.open("rb") as file:
            return _Machine(path, file).run()
    except OSError as error:
        raise _unreadable(path, error) from error


def load(path: Path) -> NDArray[np.floating]:
    """Read the one array of a pickle, in the machine's byte order.

    Raises
    ------
    SignalError
        As ``read_header`` does.
    """
    try:
        with path.open("rb") as file:
            machine = _Machine(path, file)
            header = machine.run()
            raw = np.empty(math.prod(header.shape) * header.dtype.itemsize, np.uint8)
            file.seek(header.offset)
            if header.is_text:
                machine.read_text(raw, header.n_bytes)
            elif file.readinto(raw.data) != raw.size:
                raise machine.refused("its values end early")
    except OSError as error:
        raise _unreadable(path, error) from error
    x: NDArray[np.floating] = raw.view(header.dtype).reshape(header.stored_shape)
    native = header.dtype.newbyteorder("=")
    return x.transpose(header.axes).astype(native, copy=False)


@dataclass(frozen=True, slots=True)
class _Run:
    """Some bytes of the file, unread. Kind ``latin1``: bytes spelled as text."""

    offset: int
    length: int
    kind: Literal["text", "bytes", "latin1"]


class _Name(str):
    """A name that an array's pickle may hold."""

    __slots__ = ()


@dataclass(slots=True, eq=False)
class _Type:
    """A float type, whose byte order comes second."""

    code: str
    byte_order: str = ""


@dataclass(slots=True, eq=False)
class _Array:
    """An array, whose header comes second."""

    header: PickledArray | None = None


class _Machine:
    """Goes through a pickle's opcodes, with stand-ins for all that they would make."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file = path, file
        self.size = os.fstat(file.fileno()).st_size
        self.at = 0
        self.stack: list[object] = []
        self.memo: dict[int, object] = {}

    def refused(self, found: str) -> SignalError:
        """Say what was found; the caller raises it."""
        return SignalError(
            f"{self.path}: {found} (byte {self.at} of {self.size}); expected a pickle "
            f"of one array of floats and nothing else. Nothing in it was run. Fetch it "
            f"again, or leave this recording out."
        )

    def run(self) -> PickledArray:
        """Return where the array lies; refuse whatever is not an array's pickle."""
        if self.size == 0:
            raise self.refused("the file is empty")
        if self.take(1) != _PROTO:
            raise self.refused("not a pickle of protocol 2 to 5")
        protocol = self.number(1)
        if not 2 <= protocol <= 5:
            raise self.refused(f"a pickle of protocol {protocol}, not 2 to 5")
        for _ in range(_MOST_OPCODES):
            self.at = self.file.tell()
            code = self.take(1)
            if code == _STOP:
                return self.result()
            self.step(code)
        raise self.refused(f"more than {_MOST_OPCODES} opcodes; an array needs sixty")

    def result(self) -> PickledArray:
        """Return what is left at the end: one array, and no byte after it."""
        (last,) = self.stack if len(self.stack) == 1 else (None,)
        if not isinstance(last, _Array) or last.header is None:
            raise self.refused("it ends, and holds no array")
        after = self.size - self.file.tell()
        if after:
            raise self.refused(f"the array is followed by {after} more bytes")
        return last.header

    def step(self, code: bytes) -> None:
        """Do as one opcode says."""
        push = self.stack.append
        if code == _FRAME:
            if self.number(8) > self.size - self.file.tell():
                raise self.refused("it is cut short: a frame ends after the file")
        elif code in _TEXTS:
            push(self.skipped(_TEXTS[code], "text"))
        elif code in _BYTES:
            push(self.skipped(_BYTES[code], "bytes"))
        elif code in _NUMBERS:
            push(self.number(_NUMBERS[code], signed=code == b"J"))
        elif code == _LONG:
            push(self.long())
        elif code in _CONSTANTS:
            push(_CONSTANTS[code])
        elif code == _MARK_OPCODE:
            push(_MARK)
        elif code in _TUPLES:
            push(tuple(reversed([self.pop() for _ in range(_TUPLES[code])])))
        elif code == _TUPLE:
            push(self.since_mark())
        elif code == _GLOBAL:
            push(self.known(self.line(), self.line()))
        elif code == _STACK_GLOBAL:
            name, module = self.pop_a(_Run), self.pop_a(_Run)
            push(self.known(self.content(module), self.content(name)))
        elif code == _MEMOIZE:
            self.memo[len(self.memo)] = self.top()
        elif code in _PUTS:
            self.memo[self.number(_PUTS[code])] = self.top()
        elif code in _GETS:
            place = self.number(_GETS[code])
            if place not in self.memo:
                raise self.refused("it recalls what it never kept")
            push(self.memo[place])
        elif code == _REDUCE:
            arguments, function = self.pop_a(tuple), self.pop_a(_Name)
            push(self.called(function, arguments))
        elif code == _BUILD:
            self.build(self.pop_a(tuple), self.top())
        else:
            raise self.refused(f"it holds {_described(code)}")

    def called(self, function: _Name, given: tuple[object, ...]) -> object:
        """Return what stands for a known function's result."""
        match function, given:
            case "encode", (_Run(kind="text") as text, _Run() as coding):
                if self.content(coding) == b"latin1":
                    return replace(text, kind="latin1")
            case "dtype", (_Run() as code, int(), int()):
                if self.content(code) in _FLOATS:
                    return _Type(self.content(code).decode())
                raise self.refused(f"an array of {_shown(self.content(code))}")
            case "reconstruct", (_Name() as kind, tuple(), _Run()):
                if kind == "ndarray":
                    return _Array()
            case "frombuffer", (
                _Run() as run,
                _Type() as kind,
                tuple() as shape,
                *rest,
            ):
                match rest:
                    case [_Run() as order]:
                        letter = self.content(order).decode("ascii", "replace")
                        return _Array(self.placed(run, kind, shape, letter))
                    case [_Run() as order, tuple() as axes]:
                        if self.content(order) == b"K":
                            return _Array(self.placed(run, kind, shape, "K", axes))
        raise self.refused(f"it calls '{function}' as no array's pickle does")

    def build(self, state: tuple[object, ...], made: object) -> None:
        """Give a type its byte order, or an array its type and values, once."""
        match made, state:
            case (
                _Type(byte_order=""),
                (3, _Run() as byte_order, None, None, None, -1, -1, int()),
            ):
                found = self.content(byte_order)
                if found not in (b"<", b">"):
                    raise self.refused(f"a byte order of {_shown(found)}")
                made.byte_order = found.decode()
            case (
                _Array(header=None),
                (1, tuple() as shape, _Type() as kind, bool(is_f), _Run() as run),
            ):
                order = "F" if is_f else "C"
                made.header = self.placed(run, kind, shape, order)
            case _:
                raise self.refused("it changes an object as no array's pickle does")

    def placed(
        self,
        run: _Run,
        kind: _Type,
        shape: tuple[object, ...],
        order: str,
        axes: tuple[object, ...] = (),
    ) -> PickledArray:
        """Return the array's header, once its size is the one of its bytes."""
        # No array has more values than the file has bytes, along no axis.
        sizes = [n for n in shape if type(n) is int and 0 < n <= self.size]
        if len(sizes) != len(shape) or not 1 <= len(sizes) <= _MOST_AXES:
            raise self.refused("a shape that is none, or that no values here can have")
        if not kind.byte_order or run.kind == "text":
            raise self.refused("values without a byte order, or text instead of values")
        if order == "F":
            # Fortran order is C order of the axes from last to first.
            sizes, axes = sizes[::-1], tuple(range(len(sizes)))[::-1]
        elif order == "C":
            axes = tuple(range(len(sizes)))
        places = [n for n in axes if type(n) is int]
        if len(axes) != len(sizes) or sorted(places) != list(range(len(sizes))):
            raise self.refused("its axes are in an order that is none")
        dtype: np.dtype[np.floating] = np.dtype(kind.byte_order + kind.code)
        expected = math.prod(sizes) * dtype.itemsize
        # In UTF-8 the upper half of all byte values takes two bytes.
        most = 2 * expected if run.kind == "latin1" else expected
        if not expected <= run.length <= most:
            raise self.refused(
                f"{run.length} bytes of values, where an array of "
                f"{' × '.join(map(str, sizes))} {dtype.name} has {expected}"
            )
        return PickledArray(
            shape=tuple(sizes[place] for place in places),
            dtype=dtype,
            offset=run.offset,
            n_bytes=run.length,
            stored_shape=tuple(sizes),
            axes=tuple(places),
            is_text=run.kind == "latin1",
        )

    def known(self, module: bytes, name: bytes) -> _Name:
        """Return a name that an array's pickle may hold."""
        key = f"{module.decode('ascii', 'replace')} {name.decode('ascii', 'replace')}"
        if key not in _KNOWN:
            raise self.refused(f"it asks for {_shown(module)} {_shown(name)}")
        return _Name(_KNOWN[key])

    def take(self, n_bytes: int) -> bytes:
        """Return the next bytes."""
        taken = self.file.read(n_bytes)
        if len(taken) < n_bytes:
            raise self.refused("it is cut short: it ends in the middle of a pickle")
        return taken

    def number(self, n_bytes: int, *, signed: bool = False) -> int:
        """Return the next bytes as a number."""
        return int.from_bytes(self.take(n_bytes), "little", signed=signed)

    def long(self) -> int:
        """Return a number that says its own length."""
        n_bytes = self.number(1)
        if n_bytes > _MOST_LONG:
            raise self.refused(f"a number of {n_bytes} bytes")
        return self.number(n_bytes, signed=True)

    def line(self) -> bytes:
        """Return the next line, without its end."""
        taken = self.file.readline(_MOST_NAME)
        if not taken.endswith(b"\n"):
            raise self.refused("a name that does not end")
        return taken[:-1]

    def skipped(self, n_bytes: int, kind: Literal["text", "bytes"]) -> _Run:
        """Return the place of a run of bytes and go on after it."""
        length = self.number(n_bytes)
        offset = self.file.tell()
        if length > self.size - offset:
            raise self.refused(
                f"it is cut short: {length} bytes should follow, {self.size - offset} "
                f"do"
            )
        self.file.seek(length, os.SEEK_CUR)
        return _Run(offset, length, kind)

    def content(self, run: _Run) -> bytes:
        """Return what a short run holds; nothing, of a long one."""
        if run.length > _MOST_NAME:
            return b""
        here = self.file.tell()
        self.file.seek(run.offset)
        found = self.take(run.length)
        self.file.seek(here)
        return found

    def top(self) -> object:
        """Return the top of the stack, where something lies."""
        if not self.stack or self.stack[-1] is _MARK:
            raise self.refused("it uses what it never made")
        return self.stack[-1]

    def pop(self) -> object:
        """Take the top of the stack."""
        found = self.top()
        self.stack.pop()
        return found

    def pop_a(self, kind: type[Kind]) -> Kind:
        """Take the top of the stack, which has to be of one kind."""
        found = self.pop()
        if not isinstance(found, kind):
            raise self.refused("it joins what no array's pickle joins")
        return found

    def since_mark(self) -> tuple[object, ...]:
        """Take what lies above the last mark, and the mark."""
        found: list[object] = []
        while self.stack and self.stack[-1] is not _MARK:
            found.append(self.stack.pop())
        if not self.stack:
            raise self.refused("it ends a tuple that it never began")
        self.stack.pop()
        return tuple(reversed(found))

    def read_text(self, raw: NDArray[np.uint8], n_bytes: int) -> None:
        """Read values (N,) that are spelled as text of a length in bytes."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        done = 0
        try:
            for left in range(n_bytes, 0, -_BLOCK_BYTES):
                block = self.take(min(left, _BLOCK_BYTES))
                text = decoder.decode(block, final=left <= _BLOCK_BYTES)
                values = np.frombuffer(text.encode("latin-1"), np.uint8)
                raw[done : done + values.size] = values[: raw.size - done]
                done += values.size
        except UnicodeError as error:
            raise self.refused("its values are no bytes spelled as text") from error
        if done != raw.size:
            raise self.refused(f"{done} bytes of values, where {raw.size} should be")


def _described(code: bytes) -> str:
    """Say in words what an opcode of no use here would make."""
    if code in _OTHERS:
        return _OTHERS[code]
    import pickletools

    names = {op.code: op.name for op in pickletools.opcodes}
    name = names.get(code.decode("latin-1"))
    return f"the byte {code!r}" if name is None else f"the opcode {name}"


def _shown(found: bytes) -> str:
    """Show a name that was not expected."""
    # As repr: a name may hold what moves a terminal's cursor.
    return repr(found.decode("latin-1")) if found else "a name too long to be one"


def _unreadable(path: Path, error: OSError) -> SignalError:
    return SignalError(
        f"{path}: cannot be read: {error.strerror or error}. Fetch it again, or check "
        f"the disk it lies on."
    )
