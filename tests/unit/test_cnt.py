"""CNT files: judged by their headers, read as the format says, equal to MNE."""

from __future__ import annotations

import struct
from pathlib import Path

import mne
import numpy as np
import pytest

from eegfm_bench.datasets._twins.cnt import STEP_UV, write_cnt, write_count
from eegfm_bench.errors import SignalError
from eegfm_bench.recordings import cnt
from eegfm_bench.recordings.cnt import read_cnt, read_events, read_header

LABELS = ("FP1", "FPZ", "CZ", "CB1", "VEO")
CHANNELS = ("Fp1", "Fpz", "Cz", "CB1", "VEO")
N_TIMES, RATE_HZ = 3500, 500
FIRST = 900 + 75 * len(LABELS)
TABLE_AT = FIRST + 4 * len(LABELS) * N_TIMES
EVENTS = ((0, 1), (700, 30), (3499, 2))


def signal() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(0.0, 30.0, (len(LABELS), N_TIMES))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "1_1_20180804.cnt"
    x = signal()
    blocks = (x[:, :1000], x[:, 1000:])
    write_cnt(
        made,
        LABELS,
        RATE_HZ,
        N_TIMES,
        blocks,
        events=EVENTS,
        patient="Somebody",
        day="20180804",
    )
    return made


def patch(path: Path, at: int, layout: str, value: float) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(struct.pack(layout, value))


def by_hand(path: Path, layout: str = "<i4") -> np.ndarray:
    """Decode all channels (C, T) in µV as the format is documented."""
    content = path.read_bytes()
    (n_channels,) = struct.unpack_from("<H", content, 370)
    (table_at,) = struct.unpack_from("<i", content, 886)
    first = 900 + 75 * n_channels
    digital = np.frombuffer(content[first:table_at], layout).reshape(-1, n_channels).T
    rows = [content[900 + 75 * k :][:75] for k in range(n_channels)]
    baseline = np.array([struct.unpack_from("<h", row, 47) for row in rows], float)
    sensitivity = np.array([struct.unpack_from("<f", row, 59) for row in rows])
    calibration = np.array([struct.unpack_from("<f", row, 71) for row in rows])
    return np.asarray((digital - baseline) * sensitivity * calibration / 204.8)


def test_a_header_says_what_was_recorded(path: Path) -> None:
    header = read_header(path)
    assert header.channels == CHANNELS
    assert (header.rate_hz, header.n_times, header.duration_s) == (500.0, 3500, 7.0)
    assert (header.n_bytes, header.n_spare, header.table_at) == (4, 0, TABLE_AT)
    assert header.patient == "Somebody"


def test_what_is_written_is_read_to_the_step(path: Path) -> None:
    recording = read_cnt(path, dtype=np.float64)
    assert recording.channels == CHANNELS
    assert recording.rate_hz == RATE_HZ
    digital = np.round(signal() / STEP_UV)
    np.testing.assert_allclose(recording.x, digital * STEP_UV, rtol=1e-12)
    np.testing.assert_allclose(recording.x, by_hand(path), rtol=1e-12)


def test_every_channel_has_its_own_calibration_and_baseline(path: Path) -> None:
    for k in range(len(LABELS)):
        patch(path, 900 + 75 * k + 47, "<h", 100 * k - 200)
        patch(path, 900 + 75 * k + 59, "<f", 1.5 + k)
        patch(path, 900 + 75 * k + 71, "<f", 0.9 + 0.1 * k)
    x = read_cnt(path, dtype=np.float64).x
    expected = by_hand(path)
    assert np.ptp(expected.mean(axis=1)) > 1
    np.testing.assert_allclose(x, expected, rtol=1e-12, atol=1e-9)


def test_blocks_and_single_precision_change_nothing_but_the_last_digits(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_cnt(path, dtype=np.float64).x
    monkeypatch.setattr(cnt, "_TIMES_AT_ONCE", 999)
    x = read_cnt(path).x
    assert x.dtype == np.float32
    assert np.array_equal(x, whole.astype(np.float32))


def test_channels_come_in_the_order_asked_for(path: Path) -> None:
    recording = read_cnt(path, channels=("VEO", "Fpz"), dtype=np.float64)
    assert recording.channels == ("VEO", "Fpz")
    assert np.array_equal(recording.x, read_cnt(path, dtype=np.float64).x[[4, 1]])


@pytest.mark.parity
def test_mne_told_the_width_reads_the_same_and_guessed_so_too(path: Path) -> None:
    x = read_cnt(path, dtype=np.float64).x
    for width in ("int32", "auto"):
        raw = mne.io.read_raw_cnt(path, data_format=width, verbose="ERROR")
        np.testing.assert_allclose(x, raw.get_data() * 1e6, rtol=1e-12)
    # Told the wrong width, it reads other numbers without a word.
    raw = mne.io.read_raw_cnt(path, data_format="int16", verbose="ERROR")
    assert not np.allclose(x, raw.get_data() * 1e6)


def test_mne_cannot_guess_the_width_where_the_count_is_broken(path: Path) -> None:
    write_count(path, -732)
    with pytest.raises(RuntimeError, match="set data_format manually"):
        mne.io.read_raw_cnt(path, verbose="ERROR")


def test_sixteen_bits_are_told_from_the_header(path: Path) -> None:
    digital = np.round(signal() / STEP_UV).T.astype("<i2")
    content = path.read_bytes()
    half = FIRST + digital.nbytes
    path.write_bytes(content[:FIRST] + digital.tobytes() + content[TABLE_AT:])
    patch(path, 886, "<i", half)
    assert read_header(path).n_bytes == 2
    x = read_cnt(path, dtype=np.float64).x
    np.testing.assert_allclose(x, by_hand(path, "<i2"), rtol=1e-12)
    raw = mne.io.read_raw_cnt(path, data_format="int16", verbose="ERROR")
    np.testing.assert_allclose(x, raw.get_data() * 1e6, rtol=1e-12)


def test_time_points_that_the_header_does_not_count_are_left_out_and_told(
    path: Path,
) -> None:
    write_count(path, N_TIMES - 40)
    header = read_header(path)
    assert (header.n_times, header.n_bytes, header.n_spare) == (N_TIMES - 40, 4, 40)
    assert read_cnt(path).x.shape == (5, N_TIMES - 40)


def test_events_are_those_that_mne_finds(path: Path) -> None:
    events = read_events(path)
    assert [(round(e.onset_s * RATE_HZ), int(e.code)) for e in events] == [*EVENTS]
    assert read_cnt(path).events == events


def cut(n_bytes: int):  # type: ignore[no-untyped-def]
    def damage(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:n_bytes])

    return damage


def patched(at: int, layout: str, value: float):  # type: ignore[no-untyped-def]
    return lambda path: patch(path, at, layout, value)


FAULTS = {
    "empty": (cut(0), "the file is empty"),
    "text": (
        lambda path: path.write_text("<html>not found</html>" * 100),
        "not a Neuroscan CNT file: it begins with b'<html>not f'",
    ),
    "another format": (
        lambda path: path.write_bytes(b"RIFF" + bytes(2000)),
        "not a Neuroscan CNT file",
    ),
    "half a header": (cut(500), "cut short: the header take 900 bytes, it has 500"),
    "half the channels": (cut(1000), r"cut short: the records of 5 channels"),
    "more channels than bytes": (
        patched(370, "<H", 65535),
        r"cut short: the records of 65535 channels take 4,916,025 bytes",
    ),
    "no channels": (patched(370, "<H", 0), "names 0 channels at 500 Hz"),
    "no rate": (patched(376, "<H", 0), "names 5 channels at 0 Hz"),
    "half the signal": (
        cut(TABLE_AT // 2),
        r"cut short: 3,500 time points of 5 channels and the event table take",
    ),
    "no event table": (cut(TABLE_AT), "cut short: 3,500 time points"),
    "a negative count": (
        lambda path: write_count(path, -732),
        "header is broken: it counts -732 time points, .* room for 3,500 of 4 bytes",
    ),
    "a count too low": (
        lambda path: write_count(path, 1000),
        "contradicts itself: 1,000 time points of 5 channels in 70,000 bytes",
    ),
    "a count too high": (
        lambda path: write_count(path, 2**31 - 1),
        "contradicts itself: 2,147,483,647 time points",
    ),
    "a table before the signal": (patched(886, "<i", -7), "contradicts itself"),
    "another number of channels": (patched(370, "<H", 4), "contradicts itself"),
    "no calibration": (
        patched(900 + 75 + 59, "<f", 0.0),
        "channel 'FPZ' is not calibrated: sensitivity 0 and calibration 1",
    ),
    "an infinite calibration": (
        patched(900 + 75 + 71, "<f", float("inf")),
        "channel 'FPZ' is not calibrated",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_file_is_refused_by_name(path: Path, fault: str) -> None:
    damage, message = FAULTS[fault]
    damage(path)
    for reader in (read_header, read_events, read_cnt):
        with pytest.raises(SignalError, match=rf"1_1_20180804\.cnt: .*{message}"):
            reader(path)


def test_an_absent_channel_is_refused_by_name(path: Path) -> None:
    with pytest.raises(
        SignalError, match=r"20180804\.cnt: the channels Qz are missing"
    ):
        read_cnt(path, channels=("Cz", "Qz"))


def test_an_event_table_of_an_unknown_type_is_refused(path: Path) -> None:
    patch(path, TABLE_AT, "<B", 9)
    with pytest.raises(
        SignalError, match=r"1_1_20180804\.cnt: the event table is of ty"
    ):
        read_events(path)
    with pytest.raises(SignalError, match=r"1_1_20180804\.cnt: MNE cannot read it \(V"):
        read_cnt(path)


def test_an_event_table_cut_short_is_refused(path: Path) -> None:
    cut(TABLE_AT + 9 + 8)(path)
    with pytest.raises(
        SignalError, match=r"1_1_20180804\.cnt: .*cut short: the event t"
    ):
        read_events(path)


def test_the_mark_for_eeglab_says_32_bits(path: Path) -> None:
    content = path.read_bytes()
    (next_file,) = struct.unpack_from("<i", content, 12)
    assert next_file == TABLE_AT + 9 + 8 * len(EVENTS)
    assert content[next_file + 52] == 1
