"""Hypnograms as text: the sleep stage of every epoch, one integer a line.

From: a scorer's text file, such as ISRUC-Sleep's ``8_1.txt``. To: labels of a
dataset's ``windows``. Blank lines are passed over, wherever they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.errors import SignalError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A day of epochs of 30 s takes 9 kB: what is so large is another file.
_MOST_BYTES = 1 << 20
_FETCH = "Fetch it again, or leave this recording out."


def read_hypnogram(path: Path, stages: Mapping[int, int]) -> NDArray[np.int64]:
    """Return the label of every epoch, in order.

    Parameters
    ----------
    path : path
        A text file with one integer a line.
    stages : mapping of int to int
        The scorer's number of every stage, and the label that stands for it.

    Returns
    -------
    labels : array (N,)
        One for each line that is not blank.

    Raises
    ------
    SignalError
        If the file is absent, no text or empty, a line is no integer, or its number
        is no stage; names the file, and the line.
    """
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise SignalError(
                f"{path}: has {size:,} bytes; a hypnogram is a text of one stage a "
                f"line, below {_MOST_BYTES:,}. {_FETCH}"
            )
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise SignalError(
            f"{path}: the hypnogram is absent; it alone says which stage an epoch is. "
            f"Fetch it into the folder of its recording."
        ) from error
    except UnicodeDecodeError as error:
        raise SignalError(
            f"{path}: not a text of one stage a line ({error.reason} at byte "
            f"{error.start}). {_FETCH}"
        ) from error
    label_of = {str(stage): label for stage, label in stages.items()}
    labels = []
    for number, line in enumerate(text.splitlines(), start=1):
        word = line.strip()
        if not word:
            continue
        if word not in label_of:
            raise SignalError(
                f"{path}, line {number}: '{word[:20]}' is no sleep stage; expected one "
                f"of {', '.join(label_of)}. {_FETCH}"
            )
        labels.append(label_of[word])
    if not labels:
        raise SignalError(f"{path}: the hypnogram is empty. {_FETCH}")
    return np.array(labels, np.int64)
