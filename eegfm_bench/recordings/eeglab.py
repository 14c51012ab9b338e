"""EEGLAB's ``.set`` files: MATLAB's, with the signal inside or in an ``.fdt`` beside.

From: ``.set`` of MATLAB's versions 5 to 7 and 7.3, fields in a struct ``EEG`` or as
variables of their own, and ``.fdt`` (float32, channels fastest). To: Recording in µV.
What the fields say is held against the shape of the signal and the size of the
``.fdt`` before anything is read; events are not read. EEGLAB's unit is the µV by
convention, the file has none: amplitudes that cannot be µV are refused.

Letters: C channels, T time points.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.channels import standard_name
from eegfm_bench.recordings.matlab import read_mat
from eegfm_bench.recordings.matlab5 import AGAIN, Contents, said
from eegfm_bench.recordings.recording import Recording, refuse_absent

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

_SIZES = ("srate", "nbchan", "pnts", "trials")
# Decoded at a time of an ``.fdt``.
_BLOCK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SetHeader:
    """What a ``.set`` says, its signal not read.

    ``channels`` have 10-05 names where they are such, and the file's own elsewhere.
    ``within`` is the struct the fields are in, with a slash, or nothing; ``fdt`` is
    the file that holds the signal, or None where the ``.set`` does.
    """

    rate_hz: float
    n_times: int
    channels: tuple[str, ...]
    within: str
    fdt: Path | None

    @property
    def duration_s(self) -> float:
        """Length of the recording in seconds."""
        return self.n_times / self.rate_hz


def read_set_header(path: Path) -> SetHeader:
    """Read all of a ``.set`` but its signal, whose size is held against the rest.

    Of an uncompressed file, or one whose fields are variables of their own, only a
    few kilobytes are read.

    Raises
    ------
    SignalError
        If the file is damaged, is none of EEGLAB's, is cut into epochs, contradicts
        itself, or the ``.fdt`` it names is absent or not of the size it says.
    """
    found = _fields(path)
    within = "EEG/" if f"EEG/{_SIZES[0]}" in found.shapes else ""
    rate_hz, n_channels, n_times, n_trials = (
        float(found.numbers[within + name][0, 0]) for name in _SIZES
    )
    if n_trials > 1:
        _refuse(path, f"is cut into {n_trials:g} epochs; expected one recording")
    sizes = (n_channels, n_times)
    is_whole = all(n >= 1 and n == round(n) for n in sizes)
    if not is_whole or not (np.isfinite(rate_hz) and rate_hz > 0):
        _refuse(
            path,
            f"says {n_channels:g} channels, {n_times:g} time points, {rate_hz:g} Hz",
        )
    channels = tuple(standard_name(s) for s in found.words[f"{within}chanlocs/labels"])
    if len(channels) != n_channels:
        _refuse(path, f"has {len(channels)} names for {n_channels:g} channels")
    header = SetHeader(
        rate_hz=rate_hz,
        n_times=round(n_times),
        channels=channels,
        within=within,
        fdt=_fdt(path, found, within),
    )
    _refuse_size(path, header, found.shapes[f"{within}data"])
    return header


def read_set(
    path: Path,
    *,
    channels: tuple[str, ...] | None = None,
    dtype: DTypeLike = np.float32,
) -> Recording:
    """Read a ``.set`` in µV, without its events.

    Parameters
    ----------
    path : path
        The ``.set``; its ``.fdt``, if it has one, lies beside it.
    channels : tuple of str, optional
        Those to keep, in this order; by default all.
    dtype : float32 or float64
        What the signal (C, T) is kept in; EEGLAB writes single precision.

    Raises
    ------
    SignalError
        As ``read_set_header``; also if a channel is absent, a value is not finite, or
        the amplitudes cannot be µV.
    """
    header = read_set_header(path)
    wanted = header.channels if channels is None else channels
    refuse_absent(str(path), wanted, header.channels)
    rows = [header.channels.index(name) for name in wanted]
    if header.fdt is not None:
        x = _read_fdt(header.fdt, header, rows, dtype)
    else:
        name = f"{header.within}data"
        shape = (len(header.channels), header.n_times)
        whole = read_mat(path, numbers={name: shape}, dtype=dtype).numbers[name]
        x = np.empty((len(rows), header.n_times), dtype)
        for out, row in zip(x, rows, strict=True):
            out[:] = whole[row]
    return Recording(x=x, rate_hz=header.rate_hz, channels=wanted, name=str(path))


def _fields(path: Path) -> Contents:
    """Read the fields that matter, whether they are in a struct or not."""
    one = (1, 1)
    asked = [f"{within}{name}" for within in ("EEG/", "") for name in _SIZES]
    labels = ("EEG/chanlocs/labels", "chanlocs/labels")
    texts = (*labels, "EEG/datfile", "datfile")
    found = read_mat(
        path,
        numbers=dict.fromkeys(asked, one),
        texts=texts,
        may_lack=(*asked, *texts),
        dtype=np.float64,
    )
    if "ALLEEG" in found.shapes:
        _refuse(path, "holds several sets ('ALLEEG'); expected one")
    within = "EEG/" if f"EEG/{_SIZES[0]}" in found.shapes else ""
    needed = (*_SIZES, "data", "chanlocs/labels")
    lacks = [name for name in needed if within + name not in found.shapes]
    if lacks:
        _refuse(
            path,
            f"has no '{within}{lacks[0]}', so it is no set of EEGLAB with one "
            f"recording and named channels",
        )
    return found


def _fdt(path: Path, found: Contents, within: str) -> Path | None:
    """Return the file that holds the signal, if the ``.set`` does not."""
    name = f"{within}data"
    if found.kinds[name] == "numbers":
        return None
    if found.kinds[name] != "text":
        _refuse(path, f"'{name}' is {found.kinds[name]}; expected numbers, or a name")
    told = read_mat(path, texts=(name,)).words[name][0]
    # Written on any system, a folder may be before it; a renamed set has its own name.
    base = PureWindowsPath(told).name
    names = dict.fromkeys((base, f"{path.stem}.fdt"))
    for own in names:
        if own.endswith(".fdt") and path.with_name(own).is_file():
            return path.with_name(own)
    return _refuse(path, f"its signal is in {' or '.join(names)}, not found beside it")


def _refuse_size(path: Path, header: SetHeader, shape: tuple[int, ...]) -> None:
    """Hold the signal's size against what the fields say."""
    expected = (len(header.channels), header.n_times)
    if header.fdt is None:
        if shape != expected:
            _refuse(path, f"its signal is {said(shape)}, it says {said(expected)}")
        return
    size, promised = header.fdt.stat().st_size, 4 * expected[0] * expected[1]
    if size != promised:
        how = "cut short" if size < promised else "too long"
        _refuse(
            header.fdt,
            f"{path.name} promises {said(expected)} values = {promised:,} bytes, the "
            f"file has {size:,}: it is {how}",
        )


def _read_fdt(
    path: Path, header: SetHeader, rows: list[int], dtype: DTypeLike
) -> NDArray[np.floating]:
    """Read some channels (C, T), a block of time points at a time."""
    n_channels = len(header.channels)
    x = np.empty((len(rows), header.n_times), dtype)
    at_once = max(1, _BLOCK_BYTES // (4 * n_channels))
    with path.open("rb") as file:
        for start in range(0, header.n_times, at_once):
            n = min(at_once, header.n_times - start)
            block = np.fromfile(file, "<f4", n * n_channels)
            if block.size != n * n_channels:
                _refuse(path, "ended while it was read: something else is changing it")
            x[:, start : start + n] = block.reshape(n, n_channels).T[rows]
    return x


def _refuse(path: Path, why: str) -> NoReturn:
    raise SignalError(f"{path}: {why}. {AGAIN}")
