"""EEGLAB's sets: equal to MNE's reading, however they are written; never trusted."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import h5py
import mne
import numpy as np
import pytest

from eegfm_bench.datasets._twins.eeglab import write_set
from eegfm_bench.datasets._twins.matlab import write_mat
from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.eeglab import read_set, read_set_header

X = np.random.default_rng(0).normal(0, 20, (5, 1001)).astype(np.float32)
NAMES = ("E1", "E2", "E127", "FZ", "Cz")
PLACES = {
    name: (float(9 * np.cos(k)), float(9 * np.sin(k)), 1.0)
    for k, name in enumerate(NAMES)
}
EVENTS = [(0.0, "boundary"), (0.5, "go")]


def written(path: Path, x: Any = X, **changed: Any) -> Path:
    write_set(path, x, 500.0, PLACES, events=EVENTS, **changed)
    return path


@pytest.mark.parity
@pytest.mark.parametrize(
    ("is_struct", "compressed", "has_fdt"),
    [*itertools.product((False, True), repeat=3)],
)
def test_every_way_of_writing_reads_as_by_mne(
    tmp_path: Path, is_struct: bool, compressed: bool, has_fdt: bool
) -> None:
    path = written(
        tmp_path / "a.set", is_struct=is_struct, compressed=compressed, has_fdt=has_fdt
    )
    raw = mne.io.read_raw_eeglab(path, preload=True, verbose="ERROR")
    found = read_set(path)
    np.testing.assert_allclose(found.x, 1e6 * raw.get_data(), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found.x, X)
    assert raw.info["sfreq"] == found.rate_hz == 500
    assert tuple(raw.ch_names) == NAMES
    assert found.channels == ("E1", "E2", "E127", "Fz", "Cz")
    assert read_set_header(path).duration_s == 1001 / 500


def write_7_3(path: Path, *, is_struct: bool, data: Any = X) -> None:
    """Write as MATLAB 7.3 does: axes reversed, texts as numbers, structs as links."""
    with h5py.File(path, "w", userblock_size=512, libver="earliest") as file:
        own = file.create_group("EEG") if is_struct else file
        for name, value in (("srate", 500), ("nbchan", 5), ("pnts", 1001)):
            own[name] = np.full((1, 1), float(value))
        own["trials"] = np.ones((1, 1))
        own["data"] = data.T
        empty = own.create_dataset("datfile", data=np.zeros(2, np.uint64))
        empty.attrs["MATLAB_class"] = np.bytes_("char")
        empty.attrs["MATLAB_empty"] = 1
        refs = np.empty((len(NAMES), 1), h5py.ref_dtype)
        for k, name in enumerate(NAMES):
            letters = file.create_dataset(
                f"#refs#/{k}", data=np.array([[ord(c)] for c in name], "u2")
            )
            letters.attrs["MATLAB_class"] = np.bytes_("char")
            refs[k, 0] = letters.ref
        own.create_dataset("chanlocs/labels", data=refs)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


@pytest.mark.parametrize("is_struct", [False, True])
def test_matlab_7_3_reads_as_the_older_versions(
    tmp_path: Path, is_struct: bool
) -> None:
    write_7_3(tmp_path / "a.set", is_struct=is_struct)
    found, older = read_set(tmp_path / "a.set"), read_set(written(tmp_path / "b.set"))
    np.testing.assert_array_equal(found.x, older.x)
    assert (found.channels, found.rate_hz) == (older.channels, older.rate_hz)


def test_channels_come_in_the_order_asked_for(tmp_path: Path) -> None:
    for has_fdt in (False, True):
        path = written(tmp_path / "a.set", has_fdt=has_fdt)
        found = read_set(path, channels=("Fz", "E2"), dtype=np.float64)
        np.testing.assert_array_equal(found.x, X[[3, 1]])
        assert found.x.dtype == np.float64
    with pytest.raises(SignalError, match="channels E9 are missing"):
        read_set(path, channels=("E1", "E9"))


def test_a_renamed_set_finds_its_fdt_by_its_own_name(tmp_path: Path) -> None:
    written(tmp_path / "old.set", has_fdt=True)
    for suffix in ("set", "fdt"):
        (tmp_path / f"old.{suffix}").rename(tmp_path / f"new.{suffix}")
    np.testing.assert_array_equal(read_set(tmp_path / "new.set").x, X)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"trials": 3.0}, "cut into 3 epochs"),
        ({"pnts": 1000.0}, "its signal is 5 × 1001, it says 5 × 1000"),
        ({"nbchan": 6.0}, "has 5 names for 6 channels"),
        ({"srate": 0.0}, "1001 time points, 0 Hz"),
        ({"srate": np.nan}, "nan Hz"),
        ({"chanlocs": np.empty((0, 0))}, "no 'chanlocs/labels'"),
        ({"srate": "500"}, "'srate' is text; expected numbers"),
        ({"data": np.array([["a"]], object)}, "'data' is a cell array"),
        ({"data": "../other.dat"}, "its signal is in other.dat or a.fdt, not found"),
        ({"ALLEEG": 1.0}, "holds several sets"),
    ],
)
def test_a_set_that_contradicts_itself_is_refused(
    tmp_path: Path, changed: dict[str, Any], says: str
) -> None:
    path = written(tmp_path / "a.set", **changed)
    with pytest.raises(SignalError, match=says) as caught:
        read_set(path)
    assert "a.set" in str(caught.value)


def test_data_in_volts_or_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SignalError, match="reads like volts"):
        read_set(written(tmp_path / "a.set", x=X * 1e-6))
    broken = X.copy()
    broken[2, 7] = np.nan
    with pytest.raises(SignalError, match="E127 has values that are not finite"):
        read_set(written(tmp_path / "b.set", x=broken))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("is_struct", [False, True])
def test_a_truncated_set_is_refused_wherever_it_ends(
    tmp_path: Path, compressed: bool, is_struct: bool
) -> None:
    path = written(tmp_path / "a.set", compressed=compressed, is_struct=is_struct)
    content = path.read_bytes()
    for share in (0.0, 0.004, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(SignalError, match=r"a\.set"):
            read_set(path)


def test_an_fdt_that_is_absent_or_of_another_size_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.set", has_fdt=True)
    fdt = tmp_path / "a.fdt"
    content = fdt.read_bytes()
    for kept, how in ((content[:-4], "cut short"), (content + b"\0", "too long")):
        fdt.write_bytes(kept)
        with pytest.raises(SignalError, match=rf"a\.fdt: a\.set promises .*{how}"):
            read_set_header(path)
    fdt.unlink()
    with pytest.raises(SignalError, match=r"in a\.fdt, not found beside it"):
        read_set_header(path)


def test_another_matlab_file_is_no_set(tmp_path: Path) -> None:
    write_mat(tmp_path / "a.set", {"x": np.eye(3)}, compressed=False)
    with pytest.raises(SignalError, match=r"no 'srate', so it is no set of EEGLAB"):
        read_set(tmp_path / "a.set")
    (tmp_path / "b.set").write_text("not MATLAB's")
    with pytest.raises(SignalError, match="is a text that begins"):
        read_set(tmp_path / "b.set")
