"""What happened during a recording, read without its signals.

From: the annotations inside an EDF+ file. To: a dataset's ``windows``, which plans
cuts from headers and annotations alone.
"""

from __future__ import annotations

from pathlib import Path

from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.recording import Event


def read_annotations(path: Path) -> tuple[Event, ...]:
    """Read an EDF+ file's annotations, in order of onset; no signal is read.

    They are those that ``read_edf`` puts into a recording's events. Hold the file
    against its header first (``read_header``): a file cut short has lost some.

    Raises
    ------
    SignalError
        If they cannot be read; the file is named.
    """
    import edfio

    try:
        found = edfio.read_edf(path).annotations
    except Exception as error:  # the library raises many kinds on odd content
        raise SignalError(
            f"{path}: the EDF+ annotations cannot be read: {error}. Fetch it again, "
            f"or leave this recording out."
        ) from error
    return tuple(
        Event(onset_s=a.onset, duration_s=a.duration or 0.0, code=a.text) for a in found
    )
