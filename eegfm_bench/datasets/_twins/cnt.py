"""Writes Neuroscan CNT files as Scan 4 does: for SEED-V's simulated twin.

From: signals in µV, block by block, and events. To: ``.cnt``: 32-bit values, an event
table of type 1, and the mark by which EEGLAB knows 32-bit files.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.recordings.cnt import (
    CHANNEL_BYTES,
    EVENT_BYTES,
    HEADER_BYTES,
    TABLE_BYTES,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

# µV of one step: sensitivity × calibration / 204.8, all single precision in the file.
SENSITIVITY, CALIBRATION = 6.1, 1.0
STEP_UV = float(np.float32(SENSITIVITY)) * CALIBRATION / 204.8
# EEGLAB looks so many bytes behind "next file": a 1 there is for 32 bits.
WIDTH_MARK = bytes(52) + b"\x01"


def write_cnt(
    path: Path,
    labels: Sequence[str],
    rate_hz: int,
    n_times: int,
    blocks: Iterable[NDArray[np.float64]],
    *,
    events: Sequence[tuple[int, int]] = (),
    patient: str = "",
    day: str = "20180101",
) -> None:
    """Write a recording, a block of time points after the other.

    Parameters
    ----------
    path : path
        The file to be.
    labels : sequence of str
        Channels, at most 9 letters each.
    rate_hz, n_times : int
        Rate, and time points in all.
    blocks : iterable of arrays (C, T)
        Signal in µV, T adding up to ``n_times``; none leaves a hole of that size,
        which takes no room on most disks.
    events : sequence of (time point, code)
        When which stimulus code was sent.
    patient : str
        Whose recording it is, at most 19 letters.
    day : str
        YYYYMMDD.
    """
    table_at = HEADER_BYTES + len(labels) * (CHANNEL_BYTES + 4 * n_times)
    with path.open("wb") as file:
        file.write(_setup(len(labels), rate_hz, n_times, len(events), patient, day))
        for number, label in enumerate(labels):
            file.write(_electrode(label, number, len(labels)))
        for x in blocks:
            file.write(np.round(x.T / STEP_UV).astype("<i4").tobytes())
        file.seek(table_at)
        file.write(struct.pack("<Bii", 1, EVENT_BYTES[1] * len(events), 0))
        first = HEADER_BYTES + CHANNEL_BYTES * len(labels)
        for at, code in events:
            # Behind the time point at which it was sent.
            place = first + 4 * len(labels) * (at + 1)
            file.write(struct.pack("<HBBi", code, 0, 0, place))
        file.write(WIDTH_MARK)


def write_count(path: Path, n_times: int) -> None:
    """Overwrite the header's count of time points, and nothing else."""
    with path.open("r+b") as file:
        file.seek(864)
        file.write(struct.pack("<i", n_times))


def _setup(
    n_channels: int, rate_hz: int, n_times: int, n_events: int, patient: str, day: str
) -> bytes:
    """Return the 900 bytes of the SETUP record."""
    table_at = HEADER_BYTES + n_channels * (CHANNEL_BYTES + 4 * n_times)
    setup = bytearray(HEADER_BYTES)
    for at, text in (
        (0, "Version 3.0"),
        (121, patient),
        (225, f"{day[4:6]}/{day[6:]}/{day[2:4]}"),
        (235, "00:00:00"),
    ):
        setup[at : at + len(text)] = text.encode()
    next_file = table_at + TABLE_BYTES + EVENT_BYTES[1] * n_events
    struct.pack_into("<i", setup, 12, next_file)
    struct.pack_into("<H", setup, 370, n_channels)
    struct.pack_into("<H", setup, 376, rate_hz)
    struct.pack_into("<i", setup, 864, n_times)
    struct.pack_into("<i", setup, 886, table_at)
    struct.pack_into("<f", setup, 890, n_times / rate_hz)
    return bytes(setup)


def _electrode(label: str, number: int, n_channels: int) -> bytes:
    """Return the 75 bytes of a channel; on a drawing they stand in a circle."""
    row = bytearray(CHANNEL_BYTES)
    row[: len(label)] = label.encode()
    angle = 2 * np.pi * number / n_channels
    struct.pack_into("<ff", row, 19, 300 * np.cos(angle), 300 * np.sin(angle))
    struct.pack_into("<f", row, 59, SENSITIVITY)
    struct.pack_into("<f", row, 71, CALIBRATION)
    return bytes(row)
