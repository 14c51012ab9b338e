"""EDF files are judged whole by their header, then read in µV."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import edfio
import numpy as np
import pytest

from eegfm_bench.datasets import eyes
from eegfm_bench.datasets._prepare import prepare
from eegfm_bench.errors import SignalError
from eegfm_bench.recordings import edf as edf_module
from eegfm_bench.recordings.edf import read_edf, read_header


def write(
    path: Path, *, unit: str = "uV", labels: tuple[str, ...] = ("C3", "C4")
) -> None:
    x = np.random.default_rng(1).normal(0, 0.3, (len(labels), 400))
    signals = [
        edfio.EdfSignal(
            row, 100, label=label, physical_dimension=unit, physical_range=(-2, 2)
        )
        for row, label in zip(x, labels, strict=True)
    ]
    edfio.Edf(signals, annotations=[edfio.EdfAnnotation(1.0, 2.0, "T1")]).write(path)


@pytest.mark.parametrize(("unit", "factor"), [("uV", 1), ("mV", 1e3), ("nV", 1e-3)])
def test_units_become_microvolts(tmp_path: Path, unit: str, factor: float) -> None:
    write(tmp_path / "a.edf", unit="uV")
    write(tmp_path / "b.edf", unit=unit)
    reference = read_edf(tmp_path / "a.edf").x
    if unit == "nV":
        with pytest.raises(SignalError, match="median standard deviation"):
            read_edf(tmp_path / "b.edf")
    else:
        np.testing.assert_allclose(read_edf(tmp_path / "b.edf").x, reference * factor)


def test_one_volt_is_a_million_microvolts(tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(0, 50e-6, (1, 400))
    signal = edfio.EdfSignal(
        x[0], 100, label="Cz", physical_dimension="V", physical_range=(-0.001, 0.001)
    )
    edfio.Edf([signal]).write(tmp_path / "v.edf")
    np.testing.assert_allclose(read_edf(tmp_path / "v.edf").x, x * 1e6, atol=0.02)


def test_events_and_names_are_read(tmp_path: Path) -> None:
    write(tmp_path / "a.edf", labels=("EEG FP1-REF", "Fc5."))
    recording = read_edf(tmp_path / "a.edf")
    assert recording.channels == ("Fp1", "FC5")
    assert [(e.onset_s, e.duration_s, e.code) for e in recording.events] == [
        (1, 2, "T1")
    ]
    assert recording.duration_s == read_header(tmp_path / "a.edf").duration_s == 4.0


def test_a_second_channel_of_the_same_name_is_kept_apart(tmp_path: Path) -> None:
    write(tmp_path / "a.edf", labels=("T8-P8", "T8-P8"))
    assert read_edf(tmp_path / "a.edf").channels == ("T8-P8", "T8-P8#2")


def test_a_file_without_volts_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.edf", unit="degC")
    with pytest.raises(SignalError, match=r"no signal is in volts.*'degC'"):
        read_edf(tmp_path / "a.edf")


@pytest.mark.parametrize("keep", [0, 3, 255, 256, 500, 1024, 2000])
def test_every_truncation_is_refused_by_name(tmp_path: Path, keep: int) -> None:
    write(tmp_path / "whole.edf")
    content = (tmp_path / "whole.edf").read_bytes()
    assert len(content) > keep
    (tmp_path / "cut.edf").write_bytes(content[:keep])
    with pytest.raises(SignalError, match=r"cut\.edf"):
        read_edf(tmp_path / "cut.edf")


def test_bytes_beyond_the_promise_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.edf")
    with (tmp_path / "a.edf").open("ab") as file:
        file.write(b"\0" * 10)
    with pytest.raises(SignalError, match="too long"):
        read_edf(tmp_path / "a.edf")


@pytest.mark.parametrize(
    ("at", "content", "says"),
    [
        (192, b"EDF+D", "interrupted"),
        (244, b"nan     ", "contradicts itself"),
        (
            256 + 3 * 104,
            b"-2      ",
            "not calibrated",
        ),  # physical minimum 2, as maximum
        (256 + 3 * 120, b"32767   ", "not calibrated"),
        (256 + 3 * 104, b"low     ", "cannot be read"),
    ],
)
def test_a_header_that_maps_nothing_is_refused(
    tmp_path: Path, at: int, content: bytes, says: str
) -> None:
    write(tmp_path / "a.edf")
    whole = bytearray((tmp_path / "a.edf").read_bytes())
    if content == b"-2      ":
        whole[256 + 3 * 112 : 256 + 3 * 112 + 8] = content
    whole[at : at + len(content)] = content
    (tmp_path / "a.edf").write_bytes(whole)
    with pytest.raises(SignalError, match=rf"a\.edf.*{says}"):
        read_edf(tmp_path / "a.edf")


def test_a_file_of_annotations_alone_is_refused(tmp_path: Path) -> None:
    edfio.Edf([], annotations=[edfio.EdfAnnotation(0, 1, "T0")]).write(
        tmp_path / "a.edf"
    )
    with pytest.raises(SignalError, match=r"a\.edf.*annotations only"):
        read_edf(tmp_path / "a.edf")


# What the folder of damaged files says of each.
REFUSED = {
    "S001R04_truncated_60pct.edf": (
        "125 records = 2,596,896 bytes.*1,558,137.*cut short"
    ),
    "S001R04_header_only.edf": "header only, no samples",
    "S001R04_20s_crlf_damaged.edf": "text-mode transfer.*1,696 too many.*binary mode",
    "S001R04_zero_bytes.edf": "the file is empty",
    "text_file_named.edf": "not an EDF file",
    "S001R04_20s_channels_C3_Cz_C4_renamed.edf": (
        "C3, Cz, C4 are missing; the file has instead X036, X129, X104"
    ),
}


@pytest.mark.data
@pytest.mark.parametrize("name", REFUSED)
def test_damaged_files_are_refused_with_their_reason(corrupt: Path, name: str) -> None:
    with pytest.raises(SignalError, match=REFUSED[name]) as caught:
        read_edf(corrupt / name).pick(eyes.CHANNELS)
    assert name in str(caught.value)


@pytest.mark.data
def test_every_damaged_file_is_under_test(corrupt: Path) -> None:
    fine = {"S001R04_20s_intact_control.edf", "S001R04_20s_flat_channel_C3.edf"}
    assert {file.name for file in corrupt.glob("*.edf")} == fine | set(REFUSED)


@pytest.mark.data
def test_the_intact_control_loads_without_a_warning(corrupt: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recording = read_edf(corrupt / "S001R04_20s_intact_control.edf")
    assert recording.pick(eyes.CHANNELS).x.shape == (64, 3200)
    assert recording.flat_channels == ()


def _eyes_with(root: Path, corrupt: Path, name: str) -> Path:
    folder = root / "eegmmidb" / "S001"
    folder.mkdir(parents=True)
    shutil.copy(corrupt / name, folder / "S001R01.edf")
    shutil.copy(corrupt / "S001R04_20s_intact_control.edf", folder / "S001R02.edf")
    return root


@pytest.mark.data
def test_a_flat_channel_is_counted_and_stays_finite(
    tmp_path: Path, corrupt: Path
) -> None:
    root = _eyes_with(tmp_path, corrupt, "S001R04_20s_flat_channel_C3.edf")
    store = prepare("eyes", data=root, allow_partial=True)
    assert store.manifest["flat_channels"] == {"S001R01": ["C3"]}
    assert store.counts() == {"train": 10, "val": 0, "test": 0}
    assert np.isfinite(store.x).all()


@pytest.mark.data
@pytest.mark.parametrize("name", REFUSED)
def test_a_damaged_file_is_an_error_even_in_a_partial_set(
    tmp_path: Path, corrupt: Path, name: str
) -> None:
    root = _eyes_with(tmp_path, corrupt, name)
    with pytest.raises(SignalError, match=r"S001R01\.edf"):
        prepare("eyes", data=root, allow_partial=True)


@pytest.mark.data
@pytest.mark.parity
@pytest.mark.parametrize(
    "name",
    [
        "eegmat/Subject00_1.edf",
        "eegmmidb/S001/S001R04.edf",
        "eegmmidb/S014/S014R01.edf",
    ],
)
def test_signals_equal_those_mne_reads(data_root: Path, name: str) -> None:
    import mne

    raw = mne.io.read_raw_edf(data_root / name, preload=True, verbose="ERROR")
    ours = read_edf(data_root / name)
    rows = [i for i, label in enumerate(raw.ch_names) if "ECG" not in label]
    np.testing.assert_allclose(
        ours.x[rows], raw.get_data()[rows] * 1e6, rtol=0, atol=1e-9
    )
    assert ours.rate_hz == raw.info["sfreq"]
    assert [e.code for e in ours.events] == list(raw.annotations.description)


def test_channels_are_picked_in_the_order_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "a.edf", labels=("C3", "Cz", "C4"))
    whole = read_edf(tmp_path / "a.edf")
    picked = read_edf(tmp_path / "a.edf", channels=("C4", "C3"))
    assert picked.channels == ("C4", "C3")
    assert picked.x.tobytes() == whole.x[[2, 0]].tobytes()
    assert picked.events == whole.events
    with pytest.raises(SignalError, match=r"channels O1 are missing.*instead C3, C4"):
        read_edf(tmp_path / "a.edf", channels=("O1", "Cz"))


@pytest.mark.parametrize("block_bytes", [1, 700, 10**9])
def test_a_file_read_in_blocks_is_what_edfio_reads_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    write(tmp_path / "a.edf", unit="mV", labels=("C3", "Cz", "C4"))
    monkeypatch.setattr(edf_module, "_BLOCK_BYTES", block_bytes)
    expected = np.stack(
        [s.data * 1e3 for s in edfio.read_edf(tmp_path / "a.edf").signals]
    )
    assert read_edf(tmp_path / "a.edf").x.tobytes() == expected.tobytes()


def test_single_precision_is_double_precision_rounded_once(tmp_path: Path) -> None:
    write(tmp_path / "a.edf")
    double = read_edf(tmp_path / "a.edf").x
    single = read_edf(tmp_path / "a.edf", dtype=np.float32).x
    assert double.dtype == np.float64
    assert single.tobytes() == double.astype(np.float32).tobytes()


def test_a_blank_signal_needs_no_calibration_and_is_no_channel(tmp_path: Path) -> None:
    write(tmp_path / "a.edf", labels=("C3", "-", "C4"))
    whole = bytearray((tmp_path / "a.edf").read_bytes())
    for at in (104, 112, 120, 128):  # ranges of the second of four signals
        whole[256 + 4 * at + 8 : 256 + 4 * at + 16] = b"0       "
    (tmp_path / "a.edf").write_bytes(whole)
    assert read_edf(tmp_path / "a.edf").channels == ("C3", "C4")
    whole[256 + 16 : 256 + 32] = b"Cz".ljust(16)
    (tmp_path / "a.edf").write_bytes(whole)
    with pytest.raises(SignalError, match="'Cz' is not calibrated"):
        read_edf(tmp_path / "a.edf")


@pytest.mark.parametrize("block_bytes", [1, 2, 8 << 20])
def test_a_text_mode_transfer_is_told_across_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    write(tmp_path / "a.edf")
    content = (tmp_path / "a.edf").read_bytes()
    head, body = content[:1024], bytearray(content[1024:])
    body[10:14] = b"\n\r\r\n"
    damaged = head + bytes(body).replace(b"\n", b"\r\n")
    monkeypatch.setattr(edf_module, "_BLOCK_BYTES", block_bytes)
    (tmp_path / "a.edf").write_bytes(damaged)
    with pytest.raises(SignalError, match="text-mode transfer"):
        read_header(tmp_path / "a.edf")
    (tmp_path / "a.edf").write_bytes(content + b"\n")
    with pytest.raises(SignalError, match="too long"):
        read_header(tmp_path / "a.edf")


def test_signals_at_places_are_taken_whatever_their_names(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    noise = np.random.default_rng(0).normal(0, 9, 400)
    kinds = ((200, "C3"), (200, "C3"), (200, "C4"), (400, "Cz"), (200, "SaO2"))
    signals = [
        edfio.EdfSignal(noise[-n:], n / 4, label=c, physical_dimension=unit)
        for (n, c), unit in zip(kinds, ("uV", "uV", "uV", "uV", "%"), strict=True)
    ]
    edfio.Edf(signals).write(path)
    two = read_edf(path, places=(1, 2))
    assert (two.channels, two.rate_hz) == (("C3", "C4"), 50)
    assert read_edf(path, places=(1, 0)).channels == ("C3", "C3#2")
    np.testing.assert_allclose(two.x[1], noise[-200:], atol=1e-3)
    for places, message in (
        ((0, 5), r"has 5 signals; at least 6 are expected"),
        ((0, 4), r"signal 5, 'SaO2', is in '%'; expected uV"),
        ((0, 3), r"the signals C3, Cz have 50, 100 samples a second; expected one"),
    ):
        with pytest.raises(SignalError, match=rf"a\.rec: {message}"):
            read_edf(path, places=places)
