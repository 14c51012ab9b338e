"""EDF and EDF+ files: judged whole by their header, then read in µV.

From: ``.edf`` (and files with EDF content under other suffixes). To: Recording.
A file whose size is not what its header promises is refused: libraries read
such files with a warning or none, and every later number would be off. A file is
read once, a few megabytes at a time, and only the channels asked for are decoded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.annotations import read_annotations
from eegfm_bench.recordings.channels import standard_name
from eegfm_bench.recordings.recording import Recording, refuse_absent

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

# Bytes of a file decoded at a time; a few such blocks are in memory.
_BLOCK_BYTES = 8 << 20
_UV_PER = {"uv": 1.0, "µv": 1.0, "mv": 1e3, "v": 1e6, "nv": 1e-3}
_MAGIC = b"0       "
ANNOTATIONS = "EDF Annotations"
# Labels of signals that were never connected: CHB-MIT has up to five in a file, with
# neither unit nor calibration.
_BLANK = ("-", "")
_SUSPECT = "Fetch it again, or leave this recording out."


@dataclass(frozen=True, slots=True, kw_only=True)
class EdfHeader:
    """What an EDF header says: labels, rates, length. Channels have 10-05 names.

    ``units``, ``physical`` and ``digital`` (least and greatest value) belong to the
    signals in the order of ``labels``; the first record begins at ``header_bytes``.
    """

    labels: tuple[str, ...]
    samples_per_record: tuple[int, ...]
    n_records: int
    record_s: float
    header_bytes: int
    units: tuple[str, ...]
    physical: tuple[tuple[float, float], ...]
    digital: tuple[tuple[float, float], ...]

    @property
    def channels(self) -> tuple[str, ...]:
        """Standard names of the signals, annotations left out."""
        return tuple(standard_name(s) for s in self.labels if s != ANNOTATIONS)

    @property
    def duration_s(self) -> float:
        """Length of the recording in seconds."""
        return self.n_records * self.record_s


def read_header(path: Path) -> EdfHeader:
    """Read a header and hold the file's size against it.

    Raises
    ------
    SignalError
        If the file is empty, not EDF, cut short, longer than promised, without
        data, or went through a text-mode transfer; each is told apart.
    """
    size = path.stat().st_size
    if size == 0:
        raise SignalError(f"{path}: the file is empty. {_SUSPECT}")
    with path.open("rb") as file:
        fixed = file.read(256)
        if not fixed.startswith(_MAGIC) or len(fixed) < 256:
            raise SignalError(
                f"{path}: not an EDF file: it begins with {fixed[:8]!r}, where EDF has "
                f"'0' and seven blanks. {_SUSPECT}"
            )
        try:
            header_bytes = int(fixed[184:192])
            n_records = int(fixed[236:244])
            record_s = float(fixed[244:252])
            n_signals = int(fixed[252:256])
            rows = file.read(256 * n_signals)
            labels = tuple(
                rows[16 * i : 16 * i + 16].decode("latin-1").strip()
                for i in range(n_signals)
            )
            samples = tuple(
                int(rows[216 * n_signals + 8 * i : 216 * n_signals + 8 * i + 8])
                for i in range(n_signals)
            )
        except ValueError as error:
            raise SignalError(
                f"{path}: a number in the EDF header cannot be read ({error}). "
                f"{_SUSPECT}"
            ) from error
    if set(labels) == {ANNOTATIONS}:
        raise SignalError(f"{path}: annotations only, no signals. {_SUSPECT}")
    if fixed[192:236].startswith(b"EDF+D"):
        raise SignalError(
            f"{path}: the recording is interrupted (EDF+D), so a time in it is not a "
            f"place in it. Fetch the continuous version, or leave this recording out."
        )
    is_timed = math.isfinite(record_s) and record_s > 0
    if header_bytes != 256 * (n_signals + 1) or not is_timed or n_records < 0:
        raise SignalError(
            f"{path}: the EDF header contradicts itself: {header_bytes} header bytes "
            f"for {n_signals} signals, {n_records} records of {record_s:g} s. "
            f"{_SUSPECT}"
        )
    promised = header_bytes + 2 * sum(samples) * n_records
    if size != promised:
        _refuse_size(path, size, promised, header_bytes, n_records)
    physical, digital = _calibration(path, rows, labels)
    if n_records == 0:
        raise SignalError(f"{path}: header only, no samples (0 records). {_SUSPECT}")
    return EdfHeader(
        labels=labels,
        samples_per_record=samples,
        n_records=n_records,
        record_s=record_s,
        header_bytes=header_bytes,
        units=tuple(
            rows[at : at + 8].decode("latin-1").strip()
            for at in range(96 * n_signals, 104 * n_signals, 8)
        ),
        physical=physical,
        digital=digital,
    )


def read_edf(
    path: Path,
    *,
    channels: tuple[str, ...] | None = None,
    places: tuple[int, ...] | None = None,
    dtype: DTypeLike = np.float64,
    name: str | None = None,
) -> Recording:
    """Read EEG-like signals of one rate, in µV, with their events.

    Signals at another rate than the fastest, signals without a voltage unit, and
    blank ones, are left out; asking for one of them is an error.

    Parameters
    ----------
    path : path
        A file with EDF content.
    channels : tuple of str, optional
        Standard names of those to decode, in this order; by default all.
    places : tuple of int, optional
        Which of the header's ``labels`` to decode, in this order, whatever they are
        called and however fast the others are. They have one rate and are in volts.
    dtype : float64 or float32
        What the signal is kept in. Values are computed in double precision and then
        rounded once: windows cut from a float32 recording, with no step before the
        cut, are bitwise those cut from a float64 one.
    name : str, optional
        The name used in messages; by default the path.

    Raises
    ------
    SignalError
        As ``read_header``; also if no signal is in volts, a channel is absent, or the
        signals at the places asked for are too few, of several rates, or not in volts.
    """
    header = read_header(path)
    if places is None:
        found = _fastest(path, header)
    else:
        found = signals_at(path, header, places)
    if channels is None:
        channels = tuple(found)
    refuse_absent(name or str(path), channels, tuple(found))
    n_samples = header.samples_per_record[found[channels[0]]]
    return Recording(
        x=_decoded(path, header, [found[c] for c in channels], dtype),
        rate_hz=n_samples / header.record_s,
        channels=channels,
        name=name or str(path),
        events=read_annotations(path) if ANNOTATIONS in header.labels else (),
    )


def signals_at(
    path: Path, header: EdfHeader, places: tuple[int, ...]
) -> dict[str, int]:
    """Return standard name and place of signals, told by their places in a header.

    Raises
    ------
    SignalError
        If there are too few, one is not in volts, or they are of several rates.
    """
    if max(places) >= len(header.labels):
        raise SignalError(
            f"{path}: has {len(header.labels)} signals; at least {max(places) + 1} are "
            f"expected. {_SUSPECT}"
        )
    found: dict[str, int] = {}
    for i in places:
        label, unit = header.labels[i], header.units[i]
        if label == ANNOTATIONS or label in _BLANK or unit.lower() not in _UV_PER:
            raise SignalError(
                f"{path}: signal {i + 1}, '{label}', is in '{unit}'; expected uV, mV "
                f"or V. {_SUSPECT}"
            )
        found[_once(standard_name(label), list(found))] = i
    rates_hz = {header.samples_per_record[i] / header.record_s for i in places}
    if len(rates_hz) > 1:
        told = ", ".join(f"{rate_hz:g}" for rate_hz in sorted(rates_hz))
        raise SignalError(
            f"{path}: the signals {', '.join(found)} have {told} samples a second; "
            f"expected one rate. {_SUSPECT}"
        )
    return found


def _fastest(path: Path, header: EdfHeader) -> dict[str, int]:
    """Return the names and places of the signals in volts at the fastest rate."""
    signals = [
        i
        for i, label in enumerate(header.labels)
        if label != ANNOTATIONS and label not in _BLANK
    ]
    fastest = max((header.samples_per_record[i] for i in signals), default=0)
    found: dict[str, int] = {}
    for i in signals:
        is_voltage = header.units[i].lower() in _UV_PER
        if is_voltage and header.samples_per_record[i] == fastest:
            found[_once(standard_name(header.labels[i]), list(found))] = i
    if not found:
        units = ", ".join(sorted({repr(header.units[i]) for i in signals}))
        raise SignalError(
            f"{path}: no signal is in volts; the units are {units or 'none'}. Expected "
            f"uV, mV or V. Fetch the recording again."
        )
    return found


def _decoded(
    path: Path, header: EdfHeader, signals: list[int], dtype: DTypeLike
) -> NDArray[np.floating]:
    """Decode signals of one rate (C, T) in µV, a block of records at a time."""
    n_times = header.samples_per_record[signals[0]]
    first = np.cumsum((0, *header.samples_per_record))
    length = int(first[-1])
    scale = []
    for i in signals:
        (low, high), (least, most) = header.physical[i], header.digital[i]
        gain = (high - low) / (most - least)
        scale.append((high / gain - most, gain, _UV_PER[header.units[i].lower()]))
    x = np.empty((len(signals), header.n_records * n_times), dtype)
    at_once = max(1, _BLOCK_BYTES // (2 * length))
    with path.open("rb") as file:
        file.seek(header.header_bytes)
        for start in range(0, header.n_records, at_once):
            n = min(at_once, header.n_records - start)
            block = np.fromfile(file, "<i2", n * length)
            if block.size != n * length:
                raise SignalError(
                    f"{path}: the file ended while it was read: it is being changed "
                    f"by something else. Prepare again when it is whole."
                )
            records = block.reshape(n, length)
            to = slice(start * n_times, (start + n) * n_times)
            for row, i in enumerate(signals):
                digital = records[:, first[i] : first[i + 1]].reshape(-1)
                offset, gain, uv = scale[row]
                x[row, to] = (digital + offset) * gain * uv
    return x


_Ranges = tuple[tuple[float, float], ...]


def _calibration(
    path: Path, rows: bytes, labels: tuple[str, ...]
) -> tuple[_Ranges, _Ranges]:
    """Return physical and digital ranges; refuse a signal that maps none to another."""
    n = len(labels)

    def column(start: int) -> list[float]:
        at = start * n
        return [float(rows[at + 8 * i : at + 8 * i + 8]) for i in range(n)]

    try:
        low, high, least, most = (column(start) for start in (104, 112, 120, 128))
    except ValueError as error:
        raise SignalError(
            f"{path}: a calibration in the EDF header cannot be read ({error}). "
            f"{_SUSPECT}"
        ) from error
    for i, label in enumerate(labels):
        if label == ANNOTATIONS or label in _BLANK:
            continue
        is_finite = all(math.isfinite(v[i]) for v in (low, high, least, most))
        if not is_finite or low[i] == high[i] or least[i] >= most[i]:
            raise SignalError(
                f"{path}: signal '{label}' is not calibrated: {least[i]:g} to "
                f"{most[i]:g} stands for {low[i]:g} to {high[i]:g}. {_SUSPECT}"
            )
    physical = tuple(zip(low, high, strict=True))
    return physical, tuple(zip(least, most, strict=True))


def _once(name: str, taken: list[str]) -> str:
    """Give a repeated channel the suffix #2, #3 …; the first keeps its name."""
    count = sum(other.partition("#")[0] == name for other in taken)
    return name if count == 0 else f"{name}#{count + 1}"


def _refuse_size(
    path: Path, size: int, promised: int, header_bytes: int, n_records: int
) -> None:
    if size <= header_bytes:
        raise SignalError(
            f"{path}: header only, no samples: the header promises {n_records} records "
            f"= {promised:,} bytes, the file has {size:,}. {_SUSPECT}"
        )
    if size > promised and _was_text_mode(path, size - promised):
        raise SignalError(
            f"{path}: damaged in a text-mode transfer: every LF byte became CR LF, so "
            f"the size does not fit the header ({size:,} bytes, {promised:,} promised, "
            f"{size - promised:,} too many). Fetch it again in binary mode."
        )
    raise SignalError(
        f"{path}: the header promises {n_records} records = {promised:,} bytes, the "
        f"file has {size:,}: it is {'cut short' if size < promised else 'too long'}. "
        f"{_SUSPECT}"
    )


def _was_text_mode(path: Path, surplus: int) -> bool:
    """Whether no LF stands alone, and the CR LF pairs can account for the surplus."""
    pairs = n_lf = 0
    before = b""
    with path.open("rb") as file:
        while content := file.read(_BLOCK_BYTES):
            pairs += (before + content).count(b"\r\n")
            n_lf += content.count(b"\n")
            before = content[-1:]
    return surplus <= pairs == n_lf
