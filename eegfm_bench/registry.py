"""Finding contributions: one file, one family, found by being there.

From: the names a person types. To: the module that answers to them. A file that
fails to import is reported by name and does not hide the others.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path
from types import ModuleType


def family_names(package: ModuleType) -> list[str]:
    """Return the names of a package's public modules, sorted.

    Folders added to the package's ``__path__`` count, in this process.
    """
    return sorted(
        info.name
        for info in pkgutil.iter_modules(package.__path__)
        if not info.name.startswith("_")
    )


def load_family(package: ModuleType, name: str) -> ModuleType:
    """Import one module of a package by its short name."""
    return importlib.import_module(f"{package.__name__}.{name}")


def load_all(package: ModuleType) -> tuple[dict[str, ModuleType], dict[str, str]]:
    """Import all families; return the modules, and why the others failed."""
    loaded: dict[str, ModuleType] = {}
    broken: dict[str, str] = {}
    for name in family_names(package):
        try:
            loaded[name] = load_family(package, name)
        except Exception as error:  # any contribution may be broken in any way
            broken[name] = f"{type(error).__name__}: {error}"
    return loaded, broken


def shipped_folder(name: str) -> Path | None:
    """Return a folder that comes with the suite, such as ``benchmarks/suites``.

    In a checkout it lies beside the package; an installed package has it below
    the environment's ``share``.
    """
    beside = Path(__file__).resolve().parent.parent
    for folder in (beside / name, Path(sys.prefix) / "share" / "eegfm-bench" / name):
        if folder.is_dir():
            return folder
    return None
