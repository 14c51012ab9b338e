"""EEGMMIDB, which several datasets are cut from: its files, channels and header.

From: PhysioNet ``eegmmidb/1.0.0``, ``S001/S001R01.edf`` … ``S109/S109R14.edf``,
EDF+ with annotations T0, T1, T2. To: ``eyes`` (runs 1, 2) and ``physionet_mi``
(runs 4, 6, 8, 10, 12, 14).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._spec import Source
from eegfm_bench.datasets._twins import eeg
from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.edf import read_edf
from eegfm_bench.recordings.recording import Event, Recording

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDER = "eegmmidb"
LICENCE = "ODC-By 1.0"
REFERENCE = (
    "Schalk et al., BCI2000: a general-purpose brain-computer interface system, IEEE "
    "Trans Biomed Eng 51(6):1034-1043, 2004"
)

# The order of the files; their labels are padded with dots, as in "Fc5.".
CHANNELS = (
    *("FC5", "FC3", "FC1", "FCz", "FC2", "FC4", "FC6", "C5", "C3", "C1", "Cz"),
    *("C2", "C4", "C6", "CP5", "CP3", "CP1", "CPz", "CP2", "CP4", "CP6", "Fp1"),
    *("Fpz", "Fp2", "AF7", "AF3", "AFz", "AF4", "AF8", "F7", "F5", "F3", "F1"),
    *("Fz", "F2", "F4", "F6", "F8", "FT7", "FT8", "T7", "T8", "T9", "T10", "TP7"),
    *("TP8", "P7", "P5", "P3", "P1", "Pz", "P2", "P4", "P6", "P8", "PO7", "PO3"),
    *("POz", "PO4", "PO8", "O1", "Oz", "O2", "Iz"),
)

# What the simulated recordings are measured against, and who records them.
EARS = ("A1", "A2")
LAB = eeg.Lab(
    rate_hz=160.0,
    gain=2.3,
    background_uv=3.5,
    blink_uv=11.0,
    blinks_per_minute=12.0,
    line_hz=60.0,
    line_uv=0.8,
    noise_uv=5.5,
    drift=0.03,
)


def access(runs: str) -> str:
    """Say how to get these runs."""
    return (
        f"Get it from physionet.org/content/eegmmidb/1.0.0 (open) and put its folders "
        f"in <root>/eegmmidb/S001/ …; runs {runs} suffice."
    )


def run_of(recording: str) -> int:
    """Return the run of a recording.

    Examples
    --------
    >>> run_of("S104R08")
    8
    """
    return int(recording[5:])


def find_runs(folder: Path, runs: Iterable[int]) -> list[Source]:
    """Return these runs of every subject, unread.

    Raises
    ------
    SignalError
        If a file lies in another subject's folder.
    """
    wanted = set(runs)
    paths = [
        path
        for path in sorted(
            folder.glob("S[0-9][0-9][0-9]/S[0-9][0-9][0-9]R[01][0-9].edf")
        )
        if run_of(path.stem) in wanted
    ]
    for path in paths:
        if path.stem[:4] != path.parent.name:
            raise SignalError(
                f"{path}: lies in the folder of {path.parent.name}, its name says "
                f"{path.stem[:4]}. Move it to its own subject's folder."
            )
    return [
        Source(
            path=path,
            subject=path.parent.name,
            session="1",
            recording=path.stem,
            person=f"eegmmidb:{path.parent.name}",
        )
        for path in paths
    ]


def read(source: Source) -> Recording:
    """Read one EDF file in µV."""
    return read_edf(source.path)


def write_edf(
    path: Path, x: NDArray[np.float64], rate_hz: float, events: Iterable[Event]
) -> None:
    """Write EDF+ with the publisher's labels, header and resolution of 1 µV.

    Parameters
    ----------
    path : path
        The file to be.
    x : array (C, T)
        Signal in µV, in the order of ``CHANNELS``; T fills whole seconds.
    rate_hz : float
        Time points per second.
    events : iterable of Event
        The annotations.
    """
    import edfio

    signals = [
        edfio.EdfSignal(
            np.round(row),
            rate_hz,
            label=label.capitalize().ljust(4, "."),
            transducer_type="BCI2000",
            physical_dimension="uV",
            physical_range=(-8092, 8092),
            digital_range=(-8092, 8092),
            prefiltering="HP:0Hz LP:0Hz N:0Hz",
        )
        for row, label in zip(x, CHANNELS, strict=True)
    ]
    edfio.Edf(
        signals,
        recording=edfio.Recording(
            startdate=date(2009, 8, 12), equipment_code="BCI2000"
        ),
        starttime=time(16, 15, 0),
        data_record_duration=1.0,
        annotations=[
            edfio.EdfAnnotation(e.onset_s, e.duration_s, e.code) for e in events
        ],
    ).write(path)
