"""Where, when and with what a run was made.

From: this process. To: the record's ``provenance`` and ``cost``; nothing here
enters a run's name.
"""

from __future__ import annotations

import contextlib
import functools
import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import torch

import eegfm_bench
from eegfm_bench.runs.record import Provenance

# The packages whose version can move a number.
_PACKAGES = (
    "torch",
    "lightning",
    "torchmetrics",
    "braindecode",
    "mne",
    "edfio",
    "numpy",
    "scipy",
    "scikit-learn",
)


# Those that need not be installed.
_PACKAGES_OF_EXTRAS = ("peft",)


def provenance(
    *,
    device: str,
    finished_at: str,
    absent_subjects: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Provenance:
    """Describe this process and machine."""
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    return Provenance(
        finished_at=finished_at,
        package_version=eegfm_bench.__version__,
        git_commit=_git_commit(),
        packages=_versions(),
        python=platform.python_version(),
        platform=platform.platform(terse=True),
        processor=processor(),
        arithmetic=torch.backends.cpu.get_cpu_capability(),
        device=name,
        n_threads=torch.get_num_threads(),
        absent_subjects=absent_subjects,
        notes=notes,
    )


def reset_peak_memory() -> None:
    """Start a new peak for the next run of this process, where Linux lets us."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory_bytes(device: str) -> int:
    """Return the peak of resident memory, or on a GPU of allocated memory."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    factor = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * factor


@functools.cache
def _versions() -> dict[str, str]:
    found = {name: metadata.version(name) for name in _PACKAGES}
    for name in _PACKAGES_OF_EXTRAS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@functools.cache
def _git_commit() -> str | None:
    """Return the checkout's commit, with "+" when files differ from it."""
    folder = Path(__file__).parent
    try:
        top, commit = (
            _git(folder, "rev-parse", "--show-toplevel"),
            _git(folder, "rev-parse", "HEAD"),
        )
        if not (Path(top) / "eegfm_bench").is_dir():
            return None
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")


def _git(folder: Path, *command: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *command],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return done.stdout.strip()


@functools.cache
def processor() -> str:
    """Name the processor down to its model: a brand's models round differently."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    about: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        about.setdefault(key.strip(), value.strip())
    if "model name" not in about:
        return platform.processor() or platform.machine()
    family, number = about.get("cpu family", "?"), about.get("model", "?")
    return f"{about['model name']} (family {family}, model {number})"
