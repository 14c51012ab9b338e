"""The protocols as a plain script would write them: MNE, SciPy, pickles in an LMDB.

From: a dataset's name, a data root, a folder. To: an LMDB of pickled float64 windows
(C, T) in µV with their labels, as the public preparation scripts of the field keep
them. One process, one recording after the other, nothing of the suite: what
``prepare.py`` and ``read.py`` compare with.
"""

from __future__ import annotations

import pickle
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import lmdb
import mne
import numpy as np
from scipy.signal import resample

MAP_SIZE = 64 << 30


def eegmat(root: Path) -> Iterator[tuple[str, np.ndarray, int]]:
    """Yield windows of rest and arithmetic: 20 channels, 200 Hz, 5 s."""
    for path in sorted((root / "eegmat").glob("Subject*_[12].edf")):
        raw = mne.io.read_raw_edf(path, preload=True, verbose="ERROR")
        raw.pick(raw.ch_names[:20])
        raw.resample(200)
        x = raw.get_data(units="uV")
        for k in range(x.shape[1] // 1000):
            window = x[:, 1000 * k : 1000 * (k + 1)]
            yield f"{path.stem}@{5.0 * k:.6f}", window, int(path.stem[-1]) - 1


def eyes(root: Path) -> Iterator[tuple[str, np.ndarray, int]]:
    """Yield windows of open and closed eyes: 64 channels, 200 Hz, 4 s."""
    for path in sorted((root / "eegmmidb").glob("S*/S*R0[12].edf")):
        raw = mne.io.read_raw_edf(path, preload=True, verbose="ERROR")
        raw.crop(0, 60, include_tmax=False)
        x = raw.get_data(units="uV")
        x = x - x.mean(axis=0)
        rate_hz = raw.info["sfreq"]
        x = mne.filter.resample(x, 200.0, rate_hz, npad="auto", verbose="ERROR")
        for k in range(x.shape[1] // 800):
            window = x[:, 800 * k : 800 * (k + 1)]
            yield f"{path.stem}@{4.0 * k:.6f}", window, int(path.stem[-1]) - 1


PAIRS = [
    "FP1-F7",
    "F7-T7",
    "T7-P7",
    "P7-O1",
    "FP2-F8",
    "F8-T8",
    "T8-P8",
    "P8-O2",
    "FP1-F3",
    "F3-C3",
    "C3-P3",
    "P3-O1",
    "FP2-F4",
    "F4-C4",
    "C4-P4",
    "P4-O2",
]


def chbmit(root: Path) -> Iterator[tuple[str, np.ndarray, int]]:
    """Yield windows with and without seizures: 16 channels, 200 Hz, 10 s.

    Overlapping windows follow those of the grid; labels as published.
    """
    for case in sorted((root / "chbmit").glob("chb*")):
        if case.name in ("chb12", "chb13", "chb17"):  # not in the published set
            continue
        summary = next(case.glob("*-summary.txt")).read_text()
        seizures: dict[str, list[tuple[int, int]]] = {}
        for block in summary.split("File Name: ")[1:]:
            name = block.split()[0]
            starts = re.findall(r"Seizure\s*\d*\s*Start Time:\s*(\d+)", block)
            ends = re.findall(r"Seizure\s*\d*\s*End Time:\s*(\d+)", block)
            pairs = zip(map(int, starts), map(int, ends), strict=True)
            seizures[name] = list(pairs)
        for path in sorted(case.glob("*.edf")):
            raw = mne.io.read_raw_edf(path, preload=False, verbose="ERROR")
            first = {}
            for name in raw.ch_names:
                first.setdefault(re.sub(r"-[01]$", "", name).upper(), name)
            x = raw.get_data(picks=[first[p] for p in PAIRS], units="uV")
            n = x.shape[1]
            own = seizures.get(path.name, [])
            starts = [(2560 * k, 0) for k in range(n // 2560)]
            for k, (start, _) in enumerate(starts):
                for times in own:
                    if any(start < 256 * t - 1 < start + 2560 for t in times):
                        starts[k] = (start, 1)
            for begin, end in own:
                lo = max(0, 256 * begin - 1 - 256)
                hi = min(256 * end - 1 + 256, n)
                starts += [(start, 1) for start in range(lo, hi, 1280)]
            for start, label in starts:
                window = resample(x[:, start : start + 2560], 2000, axis=1)
                yield f"{path.stem}@{start / 256:.6f}", window, label


WINDOWS = {"eegmat": eegmat, "eyes": eyes, "chbmit": chbmit}


def main() -> None:
    """Write the LMDB: name, root, folder."""
    name, root, folder = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    warnings.simplefilter("ignore")
    store = lmdb.open(folder, map_size=MAP_SIZE)
    keys: dict[str, None] = {}
    for key, window, label in WINDOWS[name](root):
        while key in keys:  # a time comes twice where windows were added
            key += "+"
        keys[key] = None
        with store.begin(write=True) as transaction:
            value = {"sample": window.astype(np.float64), "label": label}
            transaction.put(key.encode(), pickle.dumps(value))
    with store.begin(write=True) as transaction:
        transaction.put(b"__keys__", pickle.dumps(list(keys)))
    store.sync()
    store.close()
    print(len(keys))


if __name__ == "__main__":
    main()
