"""CHB-MIT's ``chbNN-summary.txt``: when each recording of a case has seizures.

From: the publisher's text file. To: ``datasets.chbmit``. Clock times are not read:
some hours exceed 23, and one case has none. Times of seizures count from the
recording's start.
"""

from __future__ import annotations

import codecs
import re
from itertools import pairwise
from pathlib import Path

from eegfm_bench.errors import SignalError

Intervals = tuple[tuple[float, float], ...]

_FILE = re.compile(r"File\s+Name\s*:\s*(\S+\.edf)", re.IGNORECASE)
_NUMBER = re.compile(r"Number\s+of\s+Seizures\s+in\s+File\s*:\s*(\d+)", re.IGNORECASE)
_TIME = re.compile(
    r"Seizure\s*(\d*)\s*(Start|End)\s+Time\s*:\s*(\d+)\s*(?:s|secs?|seconds?)?\.?",
    re.IGNORECASE,
)
# What is about seizures and files, but as none of the above.
_UNREAD = re.compile(r"seizure|file\s*name", re.IGNORECASE)
_FETCH = "Fetch the summary again."

# In this case "Number of Seizures in File" is left out where there is none.
LACKS_NUMBER = "chb23_"
# The publisher numbers the second seizure's start 2 and its end 1.
MISNUMBERED = ("chb09_08.edf",)

Marks = list[tuple[str, str, float]]


def read_summary(path: Path) -> dict[str, Intervals]:
    """Return the seizures of every recording a summary names.

    Lines end in LF or CR LF. "Seizure Start Time" and "Seizure 2 Start Time" both
    occur. "Number of Seizures in File" is held against the times; it may be absent in
    case 23 alone. Lists of channels and clock times are passed over.

    Parameters
    ----------
    path : path
        A file ``chbNN-summary.txt``.

    Returns
    -------
    seizures : dict
        File name, such as ``"chb01_03.edf"``, to (start, end) in seconds from the
        recording's start, in order.

    Raises
    ------
    SignalError
        If the file is absent or names no recording; a line about seizures or files
        cannot be read or stands before any file's name; a time has no counterpart, or
        one of another seizure; the number of seizures is absent, given twice, or not
        that of their times; a seizure ends before it starts, or overlaps another; or
        one file is named twice with different times.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise SignalError(
            f"{path}: the summary is absent; it alone says when seizures are. Fetch it "
            f"into the folder of its recordings."
        ) from error
    lines = content.removeprefix(codecs.BOM_UTF8).decode("latin-1").splitlines()
    found: dict[str, Intervals] = {}
    name: str | None = None
    marks: Marks = []
    promised: int | None = None
    for number, line in enumerate([*lines, "File Name: end.edf"], start=1):
        text = line.strip()
        is_mark = _NUMBER.fullmatch(text) or _TIME.fullmatch(text)
        if is_mark and name is None:
            raise SignalError(
                f"{path}, line {number}: '{text}' belongs to no recording: no line "
                f"'File Name: chbNN_MM.edf' stands before it. {_FETCH}"
            )
        if match := _FILE.fullmatch(text):
            if name is not None:
                intervals = _paired(path, name, marks, promised)
                if found.setdefault(name, intervals) != intervals:
                    raise SignalError(
                        f"{path}: {name} is named twice, with seizures at "
                        f"{found[name]} and at {intervals}. {_FETCH}"
                    )
            name, marks, promised = match.group(1), [], None
        elif match := _NUMBER.fullmatch(text):
            if promised is not None:
                raise SignalError(
                    f"{path}, line {number}: a second number of seizures for {name}, "
                    f"{match.group(1)} after {promised}; expected one: the name of "
                    f"another file may be lost. {_FETCH}"
                )
            promised = int(match.group(1))
        elif match := _TIME.fullmatch(text):
            k, kind, at_s = match.groups()
            marks.append((kind.lower(), k, float(at_s)))
        elif _UNREAD.search(text):
            raise SignalError(
                f"{path}, line {number}: cannot be read: '{text}'. Expected a file "
                f"name, a number of seizures, or a time in seconds. {_FETCH}"
            )
    if not found:
        raise SignalError(
            f"{path}: names no recording; expected lines 'File Name: chbNN_MM.edf'. "
            f"{_FETCH}"
        )
    return found


def _paired(path: Path, name: str, marks: Marks, promised: int | None) -> Intervals:
    """Pair starts with ends; hold them against the promised number."""
    kinds = [kind for kind, _, _ in marks]
    if kinds != ["start", "end"] * (len(marks) // 2):
        raise SignalError(
            f"{path}: the seizures of {name} are a row of {', '.join(kinds)}; expected "
            f"a start and an end for each. {_FETCH}"
        )
    for (_, k, start_s), (_, other, end_s) in zip(marks[::2], marks[1::2], strict=True):
        if k and other and k != other and name not in MISNUMBERED:
            raise SignalError(
                f"{path}: in {name}, 'Seizure {k}' starts at {start_s:g} s and "
                f"'Seizure {other}' ends at {end_s:g} s; expected one number for both: "
                f"lines between them may be lost. {_FETCH}"
            )
    times_s = [at_s for _, _, at_s in marks]
    intervals = tuple(zip(times_s[::2], times_s[1::2], strict=True))
    if promised is None and not name.startswith(LACKS_NUMBER):
        raise SignalError(
            f"{path}: {name} has no line 'Number of Seizures in File', so its seizures "
            f"may be lost; times are given for {len(intervals)}. {_FETCH}"
        )
    if promised is not None and promised != len(intervals):
        raise SignalError(
            f"{path}: {name} is said to have {promised} seizures, times are given for "
            f"{len(intervals)}. {_FETCH}"
        )
    for start_s, end_s in intervals:
        if end_s <= start_s:
            raise SignalError(
                f"{path}: a seizure of {name} ends at {end_s:g} s, not after its start "
                f"at {start_s:g} s. {_FETCH}"
            )
    for (start_s, end_s), (next_s, _) in pairwise(sorted(intervals)):
        if next_s < end_s:
            raise SignalError(
                f"{path}: two seizures of {name} overlap: one from {start_s:g} to "
                f"{end_s:g} s, the next from {next_s:g} s. {_FETCH}"
            )
    return intervals
