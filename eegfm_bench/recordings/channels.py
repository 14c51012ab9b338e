"""Channel names as publishers write them, and as the field writes them.

From: labels in files ("EEG Fp1", "Fc5.", "EEG FP1-REF"). To: the 10-05 names
that datasets ask for and models locate on the scalp.
"""

from __future__ import annotations

import re


def standard_name(label: str) -> str:
    """Return a label's 10-05 name; unknown words stay as they are, trimmed.

    Takes off a leading "EEG ", a trailing "-REF" or "-LE", and the dots that
    EEGMMIDB pads its labels with; restores upper and lower case.

    Examples
    --------
    >>> [standard_name(s) for s in ("EEG Fp1", "Fc5.", "CPZ", "EEG T3-REF", "Iz..")]
    ['Fp1', 'FC5', 'CPz', 'T3', 'Iz']
    >>> [standard_name(s) for s in ("EEG A2-A1", "ECG ECG", "FP1-F7", "X036")]
    ['A2-A1', 'ECG', 'Fp1-F7', 'X036']
    """
    name = label.strip().rstrip(".").strip()
    kind, _, rest = name.partition(" ")
    if rest and kind.upper() in {"EEG", "ECG", "EKG", "EOG", "EMG"}:
        name = rest.strip()
    name = re.sub(r"-(REF|LE|AR)$", "", name, flags=re.IGNORECASE)
    return "-".join(_cased(part) for part in name.split("-"))


def _cased(part: str) -> str:
    match = re.fullmatch(r"([A-Za-z]{1,3}?)(\d{1,2}|[zZ])", part)
    if match is None:
        return part
    letters, place = match.group(1).upper(), match.group(2).lower()
    return ("Fp" if letters == "FP" else letters) + place
