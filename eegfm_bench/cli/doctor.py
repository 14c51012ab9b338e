"""What is installed, which data is found, what is missing and how to get it.

From: this computer. To: the ``doctor`` verb; every line is a finding with a
verdict: ok, note, or problem.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from eegfm_bench.datasets._places import cache_root, data_root
from eegfm_bench.datasets._spec import dataset_names, find_dataset
from eegfm_bench.errors import BenchError, DataMissing, listed
from eegfm_bench.registry import shipped_folder
from eegfm_bench.sweep.run import cores

_NEEDED = (
    "torch",
    "lightning",
    "torchmetrics",
    "braindecode",
    "mne",
    "moabb",
    "pandas",
    "rich",
    "pydantic",
    "typer",
    "edfio",
    "scikit-learn",
)
_ROOM_BYTES = 2 << 30

Finding = dict[str, Any]


def examine(data: str | None) -> list[Finding]:
    """Return findings: ``topic``, ``verdict`` (ok, note, problem), ``text``."""
    return [*_software(), *_machine(), *_places(), *_datasets(data)]


def _finding(topic: str, verdict: str, text: str) -> Finding:
    return {"topic": topic, "verdict": verdict, "text": text}


def _software() -> list[Finding]:
    found = [
        _finding("python", "ok", f"{platform.python_version()} ({sys.executable})")
    ]
    tested = _tested_versions()
    for name in _NEEDED:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            found.append(
                _finding(name, "problem", "not installed; pip install eegfm-bench")
            )
            continue
        other = tested.get(name.lower(), version)
        same = version.partition("+")[0] == other.partition("+")[0]
        found.append(
            _finding(name, "ok", version)
            if same
            else _finding(name, "note", f"{version}; this suite is tested with {other}")
        )
    found.append(_imports())
    return found


def _tested_versions() -> dict[str, str]:
    folder = shipped_folder("benchmarks")
    file = folder.parent / "constraints.txt" if folder else None
    if file is None or not file.is_file():
        return {}
    pairs = (line.partition("==") for line in file.read_text().splitlines())
    return {name.strip().lower(): version.strip() for name, _, version in pairs}


def _imports() -> Finding:
    """Import what models need, in a process of its own: it takes seconds."""
    code = (
        "from eegfm_bench.models._torchaudio import ensure_torchaudio_imports;"
        "ensure_torchaudio_imports(); import torch, lightning, torchmetrics;"
        "import warnings; warnings.simplefilter('ignore');"
        "import braindecode.models;"
        "print('GPU: ' + torch.cuda.get_device_name() if torch.cuda.is_available() else"
        " 'no GPU: runs on the CPU')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return _finding("models import", "ok", done.stdout.strip().splitlines()[-1])
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return _finding("models import", "problem", last)


def _machine() -> list[Finding]:
    n = cores()
    text = f"{n} for this process; run uses {n} workers with one thread each"
    return [_finding("cores", "ok", text)]


def _places() -> list[Finding]:
    cache = cache_root()
    above = next(p for p in (cache, *cache.parents) if p.exists())
    free = shutil.disk_usage(above).free
    writable = os.access(above, os.W_OK)
    verdict = "problem" if not writable else "ok" if free > _ROOM_BYTES else "note"
    text = f"{cache}: {free / 1e9:.1f} GB free" + ("" if writable else ", not writable")
    return [_finding("cache (EEGFM_CACHE)", verdict, text)]


def _datasets(data: str | None) -> list[Finding]:
    try:
        root = data_root(data)
    except DataMissing as error:
        return [_finding("data root", "problem", str(error))]
    if root is None:
        text = "none (--data or EEGFM_DATA): everything runs on simulated twins"
        return [_finding("data root", "note", text)]
    found = [_finding("data root", "ok", str(root))]
    for name in dataset_names():
        found.append(_dataset(name, root))
    return found


def _dataset(name: str, root: Path) -> Finding:
    spec = find_dataset(name)
    try:
        sources = spec.find(root)
    except BenchError as error:
        return _finding(name, "note", f"missing: {error}")
    absent = spec.absent(sources)
    n = len(spec.everyone)
    text = f"{len(sources)} recordings, {n - len(absent)} of {n} subjects"
    if not n:
        found = len({source.subject for source in sources})
        return _finding(
            name,
            "ok",
            f"{len(sources)} recordings, {found} subjects; how many there are to be is "
            f"not known here",
        )
    if not absent:
        return _finding(name, "ok", f"{text}: complete")
    return _finding(
        name,
        "note",
        f"{text}: partial (needs --allow-partial); absent: {listed(absent)}",
    )
