"""Neuroscan CNT files: judged whole by their header, then read in µV.

From: ``.cnt``, a header of 900 bytes, 75 for each channel, multiplexed integers, a
table of events. To: Recording. No field says whether a value has two bytes or four:
the place of the event table and the count of time points do, together.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.channels import standard_name
from eegfm_bench.recordings.recording import Event, Recording, refuse_absent

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

HEADER_BYTES, CHANNEL_BYTES, TABLE_BYTES = 900, 75, 9
# Bytes of an event, by the table's type: stimulus, keyboard, keypad, place; type 2 adds
# eleven on responses.
EVENT_BYTES = {1: 8, 2: 19}
_MAGIC = b"Version 3.0"
# Time points read at a time: MNE holds some copies of them, in double precision.
_TIMES_AT_ONCE = 1 << 15
_SUSPECT = "Fetch it again, or leave this recording out."


@dataclass(frozen=True, slots=True, kw_only=True)
class CntHeader:
    """What a CNT header says: channels, rate, length, and whose recording it is.

    ``channels`` have 10-05 names. ``n_bytes`` is the size of a value, 2 or 4;
    ``n_spare`` counts time points between the last that the header counts and the
    event table at ``table_at``, which nobody reads.
    """

    channels: tuple[str, ...]
    rate_hz: float
    n_times: int
    n_bytes: int
    n_spare: int
    table_at: int
    patient: str

    @property
    def duration_s(self) -> float:
        """Length of the recording in seconds."""
        return self.n_times / self.rate_hz


def read_header(path: Path) -> CntHeader:
    """Read a header and hold the file's size against it.

    Raises
    ------
    SignalError
        If the file is empty, not CNT, cut short, or its header contradicts itself
        or leaves a channel uncalibrated; each is told apart.
    """
    size = path.stat().st_size
    if size == 0:
        raise SignalError(f"{path}: the file is empty. {_SUSPECT}")
    with path.open("rb") as file:
        setup = file.read(HEADER_BYTES)
        if not setup.startswith(_MAGIC):
            raise SignalError(
                f"{path}: not a Neuroscan CNT file: it begins with {setup[:11]!r}, "
                f"where CNT has '{_MAGIC.decode()}'. {_SUSPECT}"
            )
        if size < HEADER_BYTES:
            _refuse_short(path, size, HEADER_BYTES, "the header")
        (n_channels,) = struct.unpack_from("<H", setup, 370)
        (rate_hz,) = struct.unpack_from("<H", setup, 376)
        (n_times,) = struct.unpack_from("<i", setup, 864)
        (table_at,) = struct.unpack_from("<i", setup, 886)
        if not n_channels or not rate_hz:
            raise SignalError(
                f"{path}: the CNT header names {n_channels} channels at {rate_hz} Hz. "
                f"{_SUSPECT}"
            )
        first = HEADER_BYTES + CHANNEL_BYTES * n_channels
        if size < first:
            _refuse_short(path, size, first, f"the records of {n_channels} channels")
        rows = file.read(CHANNEL_BYTES * n_channels)
    n_bytes = _value_bytes(path, table_at - first, n_channels, n_times)
    if size < table_at + TABLE_BYTES:
        what = f"{n_times:,} time points of {n_channels} channels and the event table"
        _refuse_short(path, size, table_at + TABLE_BYTES, what)
    return CntHeader(
        channels=_channels(path, rows),
        rate_hz=float(rate_hz),
        n_times=n_times,
        n_bytes=n_bytes,
        n_spare=(table_at - first) // (n_channels * n_bytes) - n_times,
        table_at=table_at,
        patient=_text(setup[121:141]),
    )


def read_events(path: Path) -> tuple[Event, ...]:
    """Read the event table: stimulus codes and when they were sent.

    Raises
    ------
    SignalError
        As ``read_header``; also if the table is of an unknown type or cut short.
    """
    header = read_header(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(header.table_at)
        kind, length, _ = struct.unpack("<Bii", file.read(TABLE_BYTES))
        if kind not in EVENT_BYTES or length < 0 or length % EVENT_BYTES[kind]:
            raise SignalError(
                f"{path}: the event table is of type {kind} and has {length} bytes; "
                f"expected type 1 of 8 bytes an event, or 2 of 19. {_SUSPECT}"
            )
        end = header.table_at + TABLE_BYTES + length
        if size < end:
            _refuse_short(path, size, end, "the event table")
        rows = file.read(length)
    first = HEADER_BYTES + CHANNEL_BYTES * len(header.channels)
    point = len(header.channels) * header.n_bytes
    found = []
    for at in range(0, length, EVENT_BYTES[kind]):
        code, place = struct.unpack_from("<H2xi", rows, at)
        # An event points behind the time point at which it was sent.
        n = max((place - first) // point - 1, 0)
        found.append(Event(onset_s=n / header.rate_hz, duration_s=0.0, code=str(code)))
    return tuple(found)


def read_cnt(
    path: Path,
    *,
    channels: tuple[str, ...] | None = None,
    dtype: DTypeLike = np.float32,
    name: str | None = None,
) -> Recording:
    """Read channels in µV, some seconds at a time.

    Parameters
    ----------
    path : path
        A Neuroscan CNT file.
    channels : tuple of str, optional
        Standard names of those to read, in this order; by default all.
    dtype : float32 or float64
        What the signal is kept in. Values are computed in double precision and then
        rounded once.
    name : str, optional
        The name used in messages; by default the path.

    Raises
    ------
    SignalError
        As ``read_header``; also if a channel is absent or MNE cannot read the file.
    """
    header = read_header(path)
    if channels is None:
        channels = header.channels
    refuse_absent(name or str(path), channels, header.channels)
    picks = [header.channels.index(c) for c in channels]
    x = np.empty((len(picks), header.n_times), dtype)
    try:
        raw = _opened(path, header)
        for start in range(0, header.n_times, _TIMES_AT_ONCE):
            stop = min(start + _TIMES_AT_ONCE, header.n_times)
            volts = raw.get_data(picks=picks, start=start, stop=stop)
            np.multiply(volts, 1e6, out=x[:, start:stop], casting="same_kind")
    except OSError:
        raise
    except Exception as error:
        raise SignalError(
            f"{path}: MNE cannot read it ({type(error).__name__}: {error}). {_SUSPECT}"
        ) from error
    return Recording(
        x=x,
        rate_hz=header.rate_hz,
        channels=channels,
        name=name or str(path),
        events=tuple(
            Event(onset_s=float(onset_s), duration_s=float(lasts_s), code=str(code))
            for onset_s, lasts_s, code in zip(
                raw.annotations.onset,
                raw.annotations.duration,
                raw.annotations.description,
                strict=True,
            )
        ),
    )


def _opened(path: Path, header: CntHeader) -> Any:
    """Open a file by MNE, told the size of a value, which it would have to guess."""
    import mne

    return mne.io.read_raw_cnt(
        path, data_format=f"int{8 * header.n_bytes}", preload=False, verbose="ERROR"
    )


def _value_bytes(path: Path, n_data: int, n_channels: int, n_times: int) -> int:
    """Return 2 or 4: what the bytes before the event table come to for a value."""
    if n_times <= 0:
        room = n_data // (4 * n_channels)
        raise SignalError(
            f"{path}: the CNT header is broken: it counts {n_times} time points, where "
            f"the event table's place leaves room for {room:,} of 4 bytes a value. "
            f"{_SUSPECT}"
        )
    n_bytes = n_data // (n_channels * n_times)
    if n_bytes not in (2, 4):
        raise SignalError(
            f"{path}: the CNT header contradicts itself: {n_times:,} time points of "
            f"{n_channels} channels in {n_data:,} bytes before the event table; "
            f"expected 2 or 4 bytes a value. {_SUSPECT}"
        )
    return n_bytes


def _channels(path: Path, rows: bytes) -> tuple[str, ...]:
    """Return standard names; refuse a channel whose values stand for no voltage."""
    names = []
    for at in range(0, len(rows), CHANNEL_BYTES):
        label = _text(rows[at : at + 10])
        (sensitivity,) = struct.unpack_from("<f", rows, at + 59)
        (calibration,) = struct.unpack_from("<f", rows, at + 71)
        scale_uv = sensitivity * calibration / 204.8
        if not math.isfinite(scale_uv) or scale_uv == 0:
            raise SignalError(
                f"{path}: channel '{label}' is not calibrated: sensitivity "
                f"{sensitivity:g} and calibration {calibration:g}. {_SUSPECT}"
            )
        names.append(standard_name(label))
    return tuple(names)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("latin-1").strip()


def _refuse_short(path: Path, size: int, promised: int, what: str) -> None:
    raise SignalError(
        f"{path}: the file is cut short: {what} take {promised:,} bytes, it has "
        f"{size:,}. {_SUSPECT}"
    )
