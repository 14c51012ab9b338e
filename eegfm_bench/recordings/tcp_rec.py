"""TUEV's ``.rec`` files: what was seen on which channel, second by second.

From: rows ``13,90.4,91.4,6``: channel of the TCP montage, start and stop in seconds,
label. To: ``datasets.tuev``. Rows keep their order; several may be about one time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.errors import SignalError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The publisher numbers 22 pairs of electrodes, and six labels from 1 on.
N_CHANNELS, N_LABELS = 22, 6
_FORM = (
    f"channel,start,stop,label: a channel of 0…{N_CHANNELS - 1}, seconds from 0 on "
    f"with the stop after the start, a label of 1…{N_LABELS}"
)
_FETCH = "Fetch the file again."


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpRows:
    """Rows (N,) of a file: line in it, channel, start and stop (seconds), label 1…6."""

    lines: NDArray[np.int64]
    channels: NDArray[np.int64]
    starts_s: NDArray[np.float64]
    stops_s: NDArray[np.float64]
    labels: NDArray[np.int64]


def read_rec(path: Path) -> TcpRows:
    """Read all rows; blank lines are passed over.

    Raises
    ------
    SignalError
        If the file is absent or without rows; or a row has not four numbers, a
        channel or label that there is not, or times that are negative or reversed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "bckg_000_a_.rec"
    ...     _ = path.write_text("13,90.4,91.4,6")
    ...     rows = read_rec(path)
    >>> rows.starts_s, rows.labels
    (array([90.4]), array([6]))
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise SignalError(
            f"{path}: the file with the events is absent; it alone says what is where. "
            f"Fetch it into the folder of its recording."
        ) from error
    text = content.decode("utf-8-sig", errors="replace")
    numbered = enumerate(text.splitlines(), start=1)
    rows = [(k, *_row(path, k, line)) for k, line in numbered if line.strip()]
    if not rows:
        raise SignalError(
            f"{path}: has no row; expected one or more of {_FORM}. {_FETCH}"
        )
    table = np.array(rows, np.float64).T
    lines, channels, labels = table[[0, 1, 4]].astype(np.int64)
    return TcpRows(
        lines=lines,
        channels=channels,
        starts_s=table[2],
        stops_s=table[3],
        labels=labels,
    )


def _row(path: Path, k: int, line: str) -> tuple[float, float, float, float]:
    """Return channel, start, stop and label of one line."""
    try:
        channel, start_s, stop_s, label = (float(word) for word in line.split(","))
    except ValueError as error:
        raise _refused(path, k, line, "is not four numbers") from error
    if not all(map(math.isfinite, (channel, start_s, stop_s, label))):
        raise _refused(path, k, line, "has a number that is not finite")
    if channel not in range(N_CHANNELS):
        raise _refused(path, k, line, f"is about channel {channel:g}")
    if label not in range(1, N_LABELS + 1):
        raise _refused(path, k, line, f"has the label {label:g}")
    if start_s < 0:
        raise _refused(path, k, line, f"starts at {start_s:g} s")
    if stop_s <= start_s:
        raise _refused(path, k, line, f"stops at {stop_s:g} s, not after its start")
    return channel, start_s, stop_s, label


def _refused(path: Path, k: int, line: str, what: str) -> SignalError:
    return SignalError(
        f"{path}, row {k}: '{line.strip()[:60]}' {what}; expected {_FORM}. {_FETCH}"
    )
