"""EDF and EDF+ files: judged whole by their header, then read in µV.

From: ``.edf`` (and files with EDF content under other suffixes). To: Recording.
A file whose size is not what its header promises is refused: libraries read
such files with a warning or none, and every later number would be off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.channels import standard_name
from eegfm_bench.recordings.recording import Event, Recording

if TYPE_CHECKING:
    from numpy.typing import NDArray

_UV_PER = {"uv": 1.0, "µv": 1.0, "mv": 1e3, "v": 1e6, "nv": 1e-3}
_MAGIC = b"0       "
_ANNOTATIONS = "EDF Annotations"
_SUSPECT = "Fetch it again, or leave this recording out."


@dataclass(frozen=True, slots=True, kw_only=True)
class EdfHeader:
    """What an EDF header says: labels, rates, length. Channels have 10-05 names."""

    labels: tuple[str, ...]
    samples_per_record: tuple[int, ...]
    n_records: int
    record_s: float

    @property
    def channels(self) -> tuple[str, ...]:
        """Standard names of the signals, annotations left out."""
        return tuple(standard_name(s) for s in self.labels if s != _ANNOTATIONS)

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
    if set(labels) == {_ANNOTATIONS}:
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
    _refuse_uncalibrated(path, rows, labels)
    if n_records == 0:
        raise SignalError(f"{path}: header only, no samples (0 records). {_SUSPECT}")
    return EdfHeader(
        labels=labels,
        samples_per_record=samples,
        n_records=n_records,
        record_s=record_s,
    )


def read_edf(path: Path, *, name: str | None = None) -> Recording:
    """Read all EEG-like signals of one rate, in µV, with their events.

    Signals at another rate than the fastest, and signals without a voltage
    unit, are left out; asking for one of them later is an error of ``pick``.

    Parameters
    ----------
    path : path
        A file with EDF content.
    name : str, optional
        The name used in messages; by default the path.

    Raises
    ------
    SignalError
        As ``read_header``; also if no signal is in volts.
    """
    import edfio

    header = read_header(path)
    try:
        edf = edfio.read_edf(path)
    except Exception as error:  # the library raises many kinds on odd headers
        raise SignalError(
            f"{path}: the EDF content cannot be read: {error}. {_SUSPECT}"
        ) from error
    fastest = max(s.sampling_frequency for s in edf.signals)
    rows: list[NDArray[np.float64]] = []
    channels: list[str] = []
    for signal in edf.signals:
        unit = signal.physical_dimension.strip().lower().replace("μ", "µ")
        if signal.sampling_frequency != fastest or unit not in _UV_PER:
            continue
        rows.append(signal.data * _UV_PER[unit])
        channels.append(_once(standard_name(signal.label), channels))
    if not rows:
        units = ", ".join(sorted({repr(s.physical_dimension) for s in edf.signals}))
        raise SignalError(
            f"{path}: no signal is in volts; the units are {units}. Expected uV, mV "
            f"or V. Fetch the recording again."
        )
    events = tuple(
        Event(onset_s=a.onset, duration_s=a.duration or 0.0, code=a.text)
        for a in edf.annotations
    )
    recording = Recording(
        x=np.stack(rows),
        rate_hz=float(fastest),
        channels=tuple(channels),
        name=name or str(path),
        events=events,
    )
    if abs(recording.duration_s - header.duration_s) > 0.5 / fastest:
        raise SignalError(
            f"{path}: the header says {header.duration_s:g} s, the signals last "
            f"{recording.duration_s:g} s. {_SUSPECT}"
        )
    return recording


def _refuse_uncalibrated(path: Path, rows: bytes, labels: tuple[str, ...]) -> None:
    """Refuse a signal whose header maps no digital range to a physical one."""
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
        if label != _ANNOTATIONS and (low[i] == high[i] or least[i] >= most[i]):
            raise SignalError(
                f"{path}: signal '{label}' is not calibrated: {least[i]:g} to "
                f"{most[i]:g} stands for {low[i]:g} to {high[i]:g}. {_SUSPECT}"
            )


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
    content = path.read_bytes()
    pairs = content.count(b"\r\n")
    return surplus <= pairs == content.count(b"\n")
