"""Pickles of one array: found as NumPy reads them, and nothing in them ever run."""

from __future__ import annotations

import contextlib
import datetime
import io
import os
import pickle
import shutil
import struct
import timeit
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.pickled import load, read_header

VALUES = np.random.default_rng(0).normal(0, 20, (3, 4, 50))
PROTOCOLS = (2, 3, 4, 5)
ARRAYS = {
    "float64": VALUES,
    "float32": VALUES.astype(np.float32),
    "big endian": VALUES.astype(">f8"),
    "big endian, single": VALUES.astype(">f4"),
    "fortran": np.asfortranarray(VALUES),
    "axes exchanged": VALUES.transpose(1, 0, 2),
    "every other": VALUES[:, ::2],
    "one axis": VALUES[0, 0],
    "one value": VALUES[:1, :1, :1],
    "read only": np.frombuffer(VALUES.tobytes()).reshape(VALUES.shape),
    "beyond a frame": np.resize(VALUES, (30, 5000)),
}


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "sub000.pkl"
    path.write_bytes(content)
    return path


def old_numpy(content: bytes) -> bytes:
    """The same as NumPy 1 writes it: its modules had no underscore."""
    for new in (b"numpy._core.multiarray", b"numpy._core.numeric"):
        # From protocol 4 on a short text has its length before it.
        old = new.replace(b"_", b"", 1)
        content = content.replace(bytes([len(new)]) + new, bytes([len(old)]) + old)
        content = content.replace(new, old)
    if content[2:3] == b"\x95":
        (length,) = struct.unpack("<Q", content[3:11])
        content = content[:3] + struct.pack("<Q", length - 1) + content[11:]
    return content


@pytest.mark.parametrize("spelling", ["numpy 2", "numpy 1"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ARRAYS)
def test_every_spelling_gives_what_python_reads(
    tmp_path: Path, name: str, protocol: int, spelling: str
) -> None:
    x = ARRAYS[name]
    content = pickle.dumps(x, protocol=protocol)
    if spelling == "numpy 1":
        content = old_numpy(content)
    path = written(tmp_path, content)
    header, found = read_header(path), load(path)
    assert header.shape == found.shape == x.shape
    assert header.dtype == x.dtype
    assert found.dtype == x.dtype.newbyteorder("=")
    assert found.dtype.isnative
    with warnings.catch_warnings(action="ignore"):  # NumPy 2, of NumPy 1's names
        np.testing.assert_array_equal(found, pickle.loads(content))
    if not header.is_text:
        stored = np.memmap(path, header.dtype, "r", header.offset, header.stored_shape)
        np.testing.assert_array_equal(stored.transpose(header.axes), x)


def of_python_2(x: np.ndarray) -> bytes:
    """Protocol 2 as Python 2 wrote it: its strings are bytes."""
    raw = x.tobytes()
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02"
        b"K\x00\x85U\x01b\x87Rq\x03(K\x01K\x03K\x04K2\x87cnumpy\ndtype\nq\x04U\x02f8"
        b"K\x00K\x01\x87Rq\x05(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00"
        b"tb\x89T" + struct.pack("<i", len(raw)) + raw + b"tb."
    )


def test_what_python_2_wrote_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, of_python_2(VALUES))
    np.testing.assert_array_equal(load(path), VALUES)
    np.testing.assert_array_equal(
        pickle.loads(path.read_bytes(), encoding="latin1"), VALUES
    )


def test_the_header_of_54_mb_takes_a_millisecond_and_no_memory(tmp_path: Path) -> None:
    x = np.zeros((28, 32, 7500))
    content = pickle.dumps(x, protocol=4)
    at = content.index(bytes(1000))
    tail = content[at:].lstrip(b"\x00")
    path = written(tmp_path, content[:at])
    with path.open("r+b") as file:
        file.seek(len(content) - len(tail))
        file.write(tail)
    assert path.stat().st_size == len(content) > x.nbytes
    assert min(timeit.repeat(lambda: read_header(path), number=1)) < 1e-3
    tracemalloc.start()
    header = read_header(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert header.shape == x.shape
    assert peak < 100_000


ORDER = b"(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def array_with(**parts: bytes) -> bytes:
    """Return protocol 4's opcodes for two doubles, a part or other replaced."""
    whole = {
        "make": b"cnumpy.core.multiarray\n_reconstruct\n",
        "given": b"cnumpy\nndarray\nK\x00\x85C\x01b\x87R",
        "state": b"(K\x01",
        "shape": b"K\x02\x85",
        "type": b"cnumpy\ndtype\n\x8c\x02f8\x89\x88\x87R",
        "order": ORDER,
        "values": b"\x89C\x10" + bytes(16),
        "end": b"tb.",
        **parts,
    }
    return b"\x80\x04" + b"".join(whole.values())


class Evil(tuple):
    """Calls something when it is read by Python's own reader."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self[0], self[1:]


def touching(marker: Path) -> dict[str, bytes]:
    """Pickles that make a file when they are read in the ordinary way."""
    command = f"touch {marker}"
    name = repr(command).encode()
    genuine = pickle.dumps(VALUES, protocol=4)
    of_objects = np.empty(1, object)
    of_objects[0] = Evil((os.system, command))
    call = b"cposix\nsystem\n(S" + name + b"\ntR"
    return {
        "reduce 2": pickle.dumps(of_objects[0], protocol=2),
        "reduce 4": pickle.dumps(of_objects[0], protocol=4),
        "reduce 5": pickle.dumps(Evil((os.mkdir, str(marker))), protocol=5),
        "inst": b"\x80\x02(S" + name + b"\niposix\nsystem\n.",
        "obj": b"\x80\x02(cposix\nsystem\nS" + name + b"\no.",
        "before the array": genuine[:2] + call + b"0" + genuine[11:],
        "after the array": genuine[:-1] + call + b".",
        "a second pickle": genuine + b"\x80\x02" + call + b".",
        "in an object array": pickle.dumps(of_objects, protocol=4),
        "in the state": array_with(state=b"(K\x01" + call),
    }


@pytest.mark.parametrize("name", list(touching(Path("x"))))
def test_nothing_in_a_malicious_pickle_is_run(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "ran"
    content = touching(marker)[name]
    with contextlib.suppress(Exception):
        file = io.BytesIO(content)
        while True:
            pickle.load(file)
    assert marker.exists()
    shutil.rmtree(marker) if marker.is_dir() else marker.unlink()
    path = written(tmp_path, content)
    for read in (read_header, load):
        with pytest.raises(SignalError, match=r"sub000\.pkl: .*Nothing in it was run"):
            read(path)
    assert not marker.exists()


REFUSED = {
    "nothing": (b"", "the file is empty"),
    "protocol 0": (pickle.dumps(VALUES, protocol=0), "not a pickle of protocol"),
    "no array": (pickle.dumps(3), "holds no array"),
    "a list of arrays": (pickle.dumps([VALUES, VALUES]), "holds a list"),
    "a dictionary": (pickle.dumps({"x": VALUES}), "holds a dictionary"),
    "two arrays": (pickle.dumps((VALUES, VALUES)), "holds no array"),
    "objects": (pickle.dumps(np.array([{}, None])), "an array of 'O8'"),
    "integers": (pickle.dumps(np.arange(9)), "an array of 'i8'"),
    "complex": (pickle.dumps(VALUES * 1j), "an array of 'c16'"),
    "no values": (pickle.dumps(np.zeros((0, 3))), "a shape that is none"),
    "a scalar": (pickle.dumps(np.float64(1)), "asks for 'numpy._core.multiarray' 'sc"),
    "a date": (pickle.dumps(datetime.date(2020, 1, 1)), "asks for 'datetime' 'date'"),
    "extension": (b"\x80\x02\x82\x01.", "the opcode EXT1"),
    "persistent": (b"\x80\x02X\x01\x00\x00\x00xQ.", "the opcode BINPERSID"),
    "buffer outside": (b"\x80\x05\x97.", "the opcode NEXT_BUFFER"),
    "another way to call": (b"\x80\x02cnumpy\nndarray\n)\x81.", "the opcode NEWOBJ"),
    "not an opcode": (b"\x80\x04\xff.", r"the byte b'\\xff'"),
    "a memo bomb": (b"\x80\x04)" + b"\x94h\x00\x86" * 5000 + b".", "more than 256"),
    "never kept": (b"\x80\x04h\x07.", "recalls what it never kept"),
    "never made": (b"\x80\x04R", "uses what it never made"),
    "never begun": (b"\x80\x04K\x01t.", "ends a tuple that it never began"),
    "endless name": (b"\x80\x02c" + b"a" * 10_000, "a name that does not end"),
    "huge length": (b"\x80\x04\x8e" + b"\xff" * 8, "18446744073709551615 bytes"),
    "huge frame": (b"\x80\x04\x95" + b"\xff" * 8, "a frame ends after the file"),
    "huge shape": (array_with(shape=b"\x8a\x04\0\0\0\x7f\x85"), "no values here"),
    "huge axes": (array_with(shape=b"(" + b"K\x01" * 60 + b"t"), "shape that is none"),
    "a long number": (array_with(shape=b"\x8a\xff" + bytes(255)), "of 255 bytes"),
    "negative": (array_with(shape=b"J\xfe\xff\xff\xff\x85"), "a shape that is none"),
    "wrong size": (array_with(shape=b"K\x03\x85"), "16 bytes .* 3 float64 has 24"),
    "no byte order": (array_with(order=b""), "without a byte order"),
    "odd byte order": (array_with(order=ORDER.replace(b"<", b"|")), "a byte order of"),
    "text for values": (array_with(values=b"\x89\x8c\x10" + b"a" * 16), "text instead"),
    "twice built": (array_with(end=b"tb(K\x01tb."), "changes an object"),
    "built of a name": (b"\x80\x02cnumpy\ndtype\n)b.", "changes an object"),
    "a matrix": (array_with(given=b"cnumpy\ndtype\nK\x00\x85C\x01b\x87R"), "it calls"),
    "another call": (array_with(make=b"cnumpy\nndarray\n"), "it calls 'ndarray'"),
    "codecs": (b"\x80\x02c_codecs\ndecode\n.", "asks for '_codecs' 'decode'"),
    "another coding": (b"\x80\x04c_codecs\nencode\n\x8c\0\x8c\0\x86R.", "'encode'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_array_is_refused_with_what_was_found(
    tmp_path: Path, name: str
) -> None:
    content, found = REFUSED[name]
    with pytest.raises(SignalError, match=found) as caught:
        read_header(written(tmp_path, content))
    assert "sub000.pkl" in str(caught.value)
    assert len(str(caught.value)) < 600


def test_the_pickle_that_is_spoilt_above_is_sound(tmp_path: Path) -> None:
    np.testing.assert_array_equal(load(written(tmp_path, array_with())), [0.0, 0.0])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_place_to_cut_it_short_is_noticed(tmp_path: Path, protocol: int) -> None:
    content = pickle.dumps(VALUES[:1, :2, :3], protocol=protocol)
    for length in range(len(content)):
        with pytest.raises(SignalError, match=r"sub000\.pkl"):
            load(written(tmp_path, content[:length]))


def test_text_that_spells_no_bytes_is_refused(tmp_path: Path) -> None:
    content = pickle.dumps(VALUES, protocol=2)
    at = read_header(written(tmp_path, content)).offset
    for wrong in ("€".encode(), b"\xff\xff\xff"):
        path = written(tmp_path, content[:at] + wrong + content[at + len(wrong) :])
        with pytest.raises(SignalError, match=r"spelled as text|bytes of val"):
            load(path)


def test_a_folder_or_an_absent_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.pkl"):
        with pytest.raises(SignalError, match=f"{path.name}: cannot be read"):
            load(path)


SMALL = VALUES[:2, :3, :4]
GENUINE = [pickle.dumps(SMALL, protocol=p) for p in PROTOCOLS] + [
    pickle.dumps(np.asfortranarray(SMALL, np.float32), protocol=p) for p in PROTOCOLS
]


@settings(max_examples=800, deadline=None, derandomize=True)
@example(0, [(0, 0)], None)
@given(
    which=st.integers(0, len(GENUINE) - 1),
    flips=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 255)), max_size=4),
    length=st.none() | st.integers(0, 400),
)
def test_a_damaged_pickle_is_an_array_of_the_same_shape_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    which: int,
    flips: list[tuple[int, int]],
    length: int | None,
) -> None:
    content = bytearray(GENUINE[which])
    for at, flip in flips:
        content[at % len(content)] ^= flip
    path = tmp_path_factory.getbasetemp() / "fuzzed.pkl"
    path.write_bytes(content[:length])
    tracemalloc.start()
    found, said = None, ""
    try:
        found = load(path)
    except SignalError as error:
        said = str(error)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    assert "fuzzed.pkl" in said or (found is not None and found.shape == SMALL.shape)
