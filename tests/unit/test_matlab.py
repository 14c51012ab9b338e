"""MATLAB files of every version: equal to SciPy's and h5py's, and never trusted."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import loadmat, savemat
from scipy.sparse import eye_array

from eegfm_bench.datasets._twins.matlab import cells, write_mat, write_mat_7_3
from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.matlab import read_mat

KINDS = ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
X = np.random.default_rng(0).normal(0, 20, (5, 3, 7))
WORDS = ("Fp1", "Oz", "µ")
EPO: dict[str, Any] = {
    "clab": cells(WORDS),
    "fs": np.array([[256.0]]),
    "t": np.zeros((0, 0)),
    "x": X,
    "y": np.eye(5, 7),
}
ASKED: dict[str, Any] = {
    "numbers": {"epo/x": (5, 3, None), "epo/y": (5, None), "epo/fs": (1, 1)},
    "words": ("epo/clab",),
}


def written(path: Path, version: str) -> Path:
    if version == "7.3":
        write_mat_7_3(path, {"epo": EPO})
    else:
        others = {"first": np.arange(6.0).reshape(2, 3), "mnt": {"pos": np.eye(3)}}
        epo = {**EPO, "inner": {"x": 1.0}}
        write_mat(path, {**others, "epo": epo}, compressed=version == "7")
    return path


@pytest.mark.parity
@pytest.mark.parametrize("version", ["5", "7"])
def test_values_equal_scipy(tmp_path: Path, version: str) -> None:
    path = written(tmp_path / "a.mat", version)
    found = read_mat(path, **ASKED)
    epo = loadmat(path)["epo"][0, 0]
    for name in ("x", "y", "fs"):
        np.testing.assert_array_equal(found.numbers[f"epo/{name}"], epo[name])
    assert found.words["epo/clab"] == tuple(w.item() for w in epo["clab"][0]) == WORDS
    shapes = {f"epo/{name}": epo[name].shape for name in epo.dtype.names}
    assert {k: v for k, v in found.shapes.items() if k[:4] == "epo/"} == shapes


@pytest.mark.parity
def test_values_of_7_3_equal_h5py_with_its_axes_reversed(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mat", "7.3")
    with pytest.raises(NotImplementedError, match=r"v7\.3"):
        loadmat(path)
    found = read_mat(path, **ASKED)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(found.numbers["epo/x"].T, file["epo/x"][()])
    np.testing.assert_array_equal(found.numbers["epo/x"], X)
    assert found.words["epo/clab"] == WORDS


@pytest.mark.parity
@pytest.mark.parametrize("compressed", [False, True])
def test_every_type_of_number_equals_scipy(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.mat"
    arrays = {f"v{k}": (X * 3).astype(k) for k in KINDS} | {
        "one": np.array([[7]], "i2")
    }
    write_mat(path, arrays, compressed=compressed)
    found = read_mat(
        path, numbers=dict.fromkeys(arrays, (None, None, 7)) | {"one": (1, 1)}
    )
    theirs = loadmat(path)
    for name in arrays:
        np.testing.assert_array_equal(found.numbers[name], theirs[name])
    single = read_mat(path, numbers={"vf8": X.shape}, dtype=np.float32).numbers["vf8"]
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, theirs["vf8"], rtol=1e-6)


def by_hand(order: str, stored: str, values: list[int]) -> bytes:
    """A double variable 'v' (1, n) kept as small integers, as MATLAB saves room."""
    kind = {"u1": 2, "i2": 3}[stored]
    body = np.array(values, order + stored).tobytes()
    parts = struct.pack(f"{order}IIII", 6, 8, 6, 0)
    parts += struct.pack(f"{order}IIii", 5, 8, 1, len(values))
    parts += struct.pack(f"{order}I", 1 << 16 | 1) + b"v\0\0\0"
    if len(body) <= 4:
        parts += struct.pack(f"{order}I", len(body) << 16 | kind) + body.ljust(4, b"\0")
    else:
        parts += struct.pack(f"{order}II", kind, len(body)) + body
        parts += bytes(-len(body) % 8)
    mark = b"\x00\x01IM" if order == "<" else b"\x01\x00MI"
    head = b"MATLAB 5.0 MAT-file".ljust(116) + bytes(8) + mark
    return head + struct.pack(f"{order}II", 14, len(parts)) + parts


@pytest.mark.parity
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("stored", "n"), [("u1", 3), ("u1", 21), ("i2", 2), ("i2", 9)])
def test_doubles_kept_as_integers_equal_scipy(
    tmp_path: Path, order: str, stored: str, n: int
) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(by_hand(order, stored, list(range(n))))
    found = read_mat(path, numbers={"v": (1, None)}).numbers["v"]
    np.testing.assert_array_equal(found, loadmat(path)["v"])
    assert found.tolist() == [list(range(n))]


@pytest.mark.parametrize("version", ["5", "7", "7.3"])
def test_the_header_tells_the_version_not_the_suffix(
    tmp_path: Path, version: str
) -> None:
    found = read_mat(written(tmp_path / "a.txt", version), **ASKED)
    np.testing.assert_array_equal(found.numbers["epo/x"], X)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html>\n<html>\xc3\xa9", "is a text that begins '<!DOCTYPE html>"),
        (b"version https://git-lfs", "is a text that begins 'version https"),
        (b"PK\x03\x04" + bytes(600), "is a zip archive"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM", "no HDF5 follows"),
        (bytes(600), "has no header of MATLAB"),
    ],
)
def test_what_is_no_matlab_file_is_said(
    tmp_path: Path, content: bytes, why: str
) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    with pytest.raises(SignalError, match=rf"a\.mat: .*{why}"):
        read_mat(path)


@pytest.mark.parametrize("version", ["5", "7", "7.3"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, version: str) -> None:
    path = written(tmp_path / "a.mat", version)
    content = path.read_bytes()
    for n in (*range(129, len(content), 97), len(content) - 1):
        path.write_bytes(content[:n])
        with pytest.raises(SignalError, match=r"a\.mat"):
            read_mat(path, **ASKED)


@pytest.mark.parametrize("version", ["5", "7", "7.3"])
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    tmp_path: Path, version: str
) -> None:
    path = written(tmp_path / "a.mat", version)
    sound = path.read_bytes()
    rng = np.random.default_rng(1)
    n_refused = 0
    for _ in range(400):
        content = bytearray(sound)
        content[rng.integers(100, len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        try:
            read_mat(path, **ASKED)
        except SignalError:
            n_refused += 1
    assert n_refused > 10


def test_compressed_values_are_held_against_their_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    write_mat(path, {"v": np.random.default_rng(0).random((9, 99))}, compressed=True)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(SignalError, match=r"a\.mat: is damaged \(.*data check"):
        read_mat(path, numbers={"v": (9, 99)})


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_what_is_absent_is_named_with_what_is_there(
    tmp_path: Path, version: str
) -> None:
    path = written(tmp_path / "a.mat", version)
    with pytest.raises(SignalError, match=r"no 'epo_test/x'; there are .*epo/clab"):
        read_mat(path, look={"epo_test/x": (None, None)})
    found = read_mat(
        path, numbers={"no": (1, 1)}, words=["no2"], may_lack=("no", "no2")
    )
    assert "no" not in found.shapes


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (cells(WORDS), "a cell array"),
        (X[0] * 1j, "complex numbers"),
        ({"x": 1.0}, "a struct"),
        ("words", "text"),
        (eye_array(3, format="csc"), "a sparse matrix"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(
    tmp_path: Path, value: object, kind: str
) -> None:
    savemat(tmp_path / "a.mat", {"v": value})
    with pytest.raises(SignalError, match=f"'v' is {kind}; expected numbers"):
        read_mat(tmp_path / "a.mat", look={"v": (None, None)})
    if kind != "a cell array":
        with pytest.raises(SignalError, match=f"'v' is {kind}; expected a cell array"):
            read_mat(tmp_path / "a.mat", words=["v"])


def test_cells_and_complex_numbers_of_7_3_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mat", "7.3")
    with pytest.raises(SignalError, match="'epo/clab' is a cell array"):
        read_mat(path, numbers={"epo/clab": (1, 3)})
    with h5py.File(path, "a") as file:
        file["v"] = np.zeros((2, 2), [("real", "f8"), ("imag", "f8")])
    with pytest.raises(SignalError, match="'v' is complex numbers; expected numbers"):
        read_mat(path, look={"v": (2, 2)})


@pytest.mark.parametrize("version", ["5", "7", "7.3"])
def test_another_shape_is_refused(tmp_path: Path, version: str) -> None:
    path = written(tmp_path / "a.mat", version)
    for shape in ((5, 4, None), (5, 21), (5, 3, 7, 1)):
        with pytest.raises(SignalError, match=r"'epo/x' is 5 × 3 × 7; expected 5 × "):
            read_mat(path, numbers={"epo/x": shape})


def test_values_that_were_never_written_to_7_3_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.mat", "w") as file:
        for name in ("half", "whole"):
            stored = file.create_dataset(name, (6, 4, 9), "f8", chunks=(1, 4, 5))
            stored[: 3 if name == "half" else 6] = 1
    whole = read_mat(tmp_path / "a.mat", numbers={"whole": (9, 4, None)})
    assert whole.numbers["whole"].all()
    with pytest.raises(SignalError, match="'half' is not whole: 6 of 12 pieces"):
        read_mat(tmp_path / "a.mat", numbers={"half": (9, 4, None)})


def test_claims_are_held_against_the_bytes_before_room_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    plain = by_hand("<", "i2", list(range(9)))
    claims = struct.pack("<ii", 1, 9), struct.pack("<ii", 1, 2**31 - 1)
    packed = zlib.compress(plain[128:].replace(*claims))
    bomb = zlib.compress(struct.pack("<II", 14, 2**31) + plain[136:])
    cases = {
        "18 bytes .* for 2,147,483,647 values": plain.replace(*claims),
        "18 bytes .* for 2,147,483,647": plain[:128] + element(packed),
        "compressed bytes claim to be 2,147,483,648": plain[:128] + element(bomb),
    }
    with h5py.File(tmp_path / "h.mat", "w") as file:
        file.create_dataset("v", (2**31, 1), "f8")
    cases["claims 17,179,869,184 bytes, 0 are"] = (tmp_path / "h.mat").read_bytes()
    tracemalloc.start()
    for why, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(SignalError, match=why):
            read_mat(path, numbers={"v": (1, None)})
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def element(packed: bytes) -> bytes:
    return struct.pack("<II", 15, len(packed)) + packed


@pytest.mark.parametrize("compressed", [False, True])
def test_a_look_takes_no_room(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.mat"
    epo = {"x": np.zeros((795, 64, 40)), "y": np.eye(5, 40)}
    write_mat(path, {"epo": epo}, compressed=compressed)
    tracemalloc.start()
    found = read_mat(
        path, look={"epo/x": (795, 64, None)}, numbers={"epo/y": (5, None)}
    )
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()
    assert found.shapes["epo/x"] == (795, 64, 40)
    np.testing.assert_array_equal(found.numbers["epo/y"], np.eye(5, 40))


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    written(tmp_path / "other.mat", "7.3")
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["v"] = h5py.ExternalLink("other.mat", "epo/x")
    with pytest.raises(SignalError, match="no 'v'; there are none"):
        read_mat(tmp_path / "a.mat", look={"v": (None, None, None)})
