"""Writing sets as EEGLAB does, the same bytes every time.

From: simulated signals. To: ``.set`` files of MATLAB's versions 5 to 7 and of 7.3,
with the signal inside or in an ``.fdt`` beside, for twins and tests.

Letters: C channels, T time points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eegfm_bench.datasets._twins.matlab import write_mat

if TYPE_CHECKING:
    from numpy.typing import NDArray

Place = tuple[float, float, float]


def write_set(
    path: Path,
    x: NDArray[np.floating],
    rate_hz: float,
    places: Mapping[str, Place],
    *,
    events: Sequence[tuple[float, str]] = (),
    is_struct: bool = False,
    compressed: bool = False,
    has_fdt: bool = False,
    **changed: Any,
) -> None:
    """Write a set; x (C, T) in µV.

    Parameters
    ----------
    path : path
        The ``.set``.
    x : array (C, T)
        Kept in single precision.
    rate_hz : float
        Time points per second.
    places : mapping of label to (x, y, z)
        Channels in the order of x, and where they are, in cm.
    events : sequence of (seconds, type)
        As EEGLAB has them, in time points from 1.
    is_struct : bool
        Whether the fields lie in a struct ``EEG``, as older versions write, or are
        variables of their own.
    compressed : bool
        Whether to write version 7, not 5.
    has_fdt : bool
        Whether the signal is in an ``.fdt`` beside.
    changed : any
        Fields to be other than they would be, for tests.
    """
    x = np.asarray(x, np.float32)
    n_channels, n_times = x.shape
    fdt = path.with_suffix(".fdt").name if has_fdt else ""
    fields: dict[str, Any] = {
        "setname": path.stem,
        "filename": path.name,
        "filepath": "",
        "comments": "simulated",
        "nbchan": float(n_channels),
        "trials": 1.0,
        "pnts": float(n_times),
        "srate": float(rate_hz),
        "xmin": 0.0,
        "xmax": (n_times - 1) / rate_hz,
        "times": np.arange(n_times) * (1000.0 / rate_hz),
        "data": fdt or x,
        "icaact": np.empty((0, 0)),
        "chanlocs": _structs(
            ("labels", "type", "X", "Y", "Z", "ref"),
            [(label, "EEG", *at, "Cz") for label, at in places.items()],
        ),
        "ref": "common",
        "event": _structs(
            ("type", "latency", "duration"),
            [(kind, 1.0 + at_s * rate_hz, 0.0) for at_s, kind in events],
        ),
        "epoch": np.empty((0, 0)),
        "saved": "yes",
        "datfile": fdt,
    }
    fields |= changed
    variables = {"EEG": fields} if is_struct else fields
    write_mat(path, variables, compressed=compressed)
    if has_fdt:
        path.with_suffix(".fdt").write_bytes(x.T.astype("<f4").tobytes())


def _structs(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> NDArray[Any]:
    """Return an array of structs (1, n), as MATLAB has it."""
    found = np.empty((1, len(rows)), [(name, object) for name in names])
    for at, row in enumerate(rows):
        found[0, at] = tuple(row)
    return found
