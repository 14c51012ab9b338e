"""A user's own class as a model: ``torch:package.module:Class``.

From: a module that can be imported from the current folder or an installed package.
To: a ModelSpec that carries the hash of the class's source, since that changes numbers.

In the hash are the class's own file and those of its bases, whatever they import, and
so on: at the top of a file, within a function, or by ``import_module`` of a written
name. It is read from the sources, not from what is loaded: the same in every process,
however many classes each has met. Not in it are installed packages, this one, names of
modules that are made up at run time, and files that are no modules.

The current folder is put last on the import path, if a module is found in no other,
and stays there: a class may import within its methods.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import inspect
import os
import struct
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from torch import nn

from eegfm_bench.errors import SpecError, UnknownName
from eegfm_bench.models._adapted import (
    Adapted,
    adapt,
    construct,
    first_line,
    simple_options,
)
from eegfm_bench.models._spec import InputShape, ModelSpec
from eegfm_bench.runs.spec import TrainingRecipe

PREFIX = "torch"

# The constructor's arguments that are filled in, where it has them.
SIGNAL = (
    *("n_channels", "n_times", "rate_hz", "n_classes", "channels"),
    *("n_chans", "n_outputs", "sfreq"),
)

RECIPES = {
    "paper": TrainingRecipe(epochs=50, batch_size=64, lr=1e-3, weight_decay=1e-2),
    "small": TrainingRecipe(epochs=2, batch_size=8, lr=1e-3, weight_decay=1e-2),
}

# The hash of each source file when this process first met it.
_first_seen: dict[Path, str] = {}

# Where folders of installed packages lie, whose files are not edited.
_INSTALLED = {"site-packages", "dist-packages"}


def find_own(path: str) -> ModelSpec:
    """Return the spec of a class given as ``package.module:Class``.

    Raises
    ------
    SpecError
        If the path has another form, the module cannot be imported, what is found
        is no module of torch, or a file of its source changed since it was imported,
        or may have.
    UnknownName
        If the module has no such class; suggests the nearest.
    """
    module_name, _, class_name = path.partition(":")
    name = f"{PREFIX}:{path}"
    _refuse_other_forms(module_name, class_name, name)
    _make_findable(module_name)
    # Before the import, so that what is hashed is what will be read.
    before = set(sys.modules)
    _hashes(_sources([module_name]), before)
    kind = _class(module_name, class_name)
    files = _sources([module_name, *(base.__module__ for base in kind.__mro__)])
    files[kind.__module__] = _own_file(kind, name)
    hashes = _hashes(files, before)
    parameters = inspect.signature(kind).parameters
    _refuse_other_requirements(parameters, name)

    def build(shape: InputShape, *, scale: str, **options: Any) -> Adapted:
        offered = {
            "n_channels": shape.n_channels,
            "n_chans": shape.n_channels,
            "n_times": shape.n_times,
            "rate_hz": shape.rate_hz,
            "sfreq": shape.rate_hz,
            "n_classes": shape.n_classes,
            "n_outputs": shape.n_classes,
            "channels": shape.channels,
        }
        arguments = {key: offered[key] for key in SIGNAL if key in parameters}
        net = construct(kind, {**arguments, **options}, name=name)
        own = callable(getattr(net, "features", None)) and isinstance(
            getattr(net, "head", None), nn.Module
        )
        # An nn.Sequential of the name 'features' is a stage, not the question.
        own = own and not isinstance(getattr(net, "features", None), nn.Module)
        return adapt(Adapted(net, has_own_features=own), shape, name=name)

    return ModelSpec(
        name=name,
        title=f"{class_name} ({module_name})",
        builder=build,
        trained_by="gradient",
        recipes=RECIPES,
        options=simple_options(parameters.values(), taken=SIGNAL),
        reference="none: a class of the user's",
        licence="the user's",
        code_hash=_code_hash(hashes),
    )


def _refuse_other_forms(module_name: str, class_name: str, name: str) -> None:
    """Refuse what is not ``package.module:Class``; a file's path is told its name."""
    bare = module_name.removesuffix(".py").replace(os.sep, ".").strip(".")
    hint = f"{PREFIX}:mynet:Net for the class Net in mynet.py"
    if bare and bare != module_name:
        hint = f"{PREFIX}:{bare}:{class_name or 'Net'}"
    if (
        not class_name.isidentifier()
        or bare != module_name
        or not all(part.isidentifier() for part in module_name.split("."))
    ):
        raise SpecError(
            f"'{name}' names no class; expected {PREFIX}:package.module:Class, such as "
            f"{hint}. A module's name has dots between words, none before or after."
        )


def _make_findable(module_name: str) -> None:
    """Put the current folder on the import path, if the module is found there alone."""
    importlib.invalidate_caches()
    top, here = module_name.partition(".")[0], str(Path.cwd())
    # Last, so that a file here never passes for a library.
    if _spec_of(top) is None and PathFinder.find_spec(top, [here]) is not None:
        sys.path.append(here)


def _class(module_name: str, class_name: str) -> Any:
    """Import a class."""
    here = str(Path.cwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(f"{missing}."):
            file = f"{module_name.replace('.', os.sep)}.py"
            raise SpecError(
                f"No module is called '{module_name}': neither an installed package "
                f"nor {file} in the current folder, {here}. Go to the folder where it "
                f"lies, or install it."
            ) from error
        raise SpecError(
            f"'{module_name}' imports '{missing}', which is not installed. Install it."
        ) from error
    except (Exception, SystemExit) as error:  # of code that others wrote
        raise SpecError(
            f"'{module_name}' cannot be imported: {first_line(error)}. Mend it first."
        ) from error
    found = getattr(module, class_name, None)
    if inspect.isclass(found) and issubclass(found, nn.Module):
        return found
    if found is not None:
        raise SpecError(
            f"'{class_name}' of {module_name} is {found!r}; expected a class that "
            f"inherits torch.nn.Module."
        )
    classes = [
        key
        for key, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, nn.Module)
    ]
    where = getattr(module, "__file__", None) or module_name
    raise UnknownName.among(f"torch.nn.Module in {where}", class_name, classes)


def _refuse_other_requirements(parameters: Any, name: str) -> None:
    needed = [
        p.name
        for p in parameters.values()
        if p.default is p.empty
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        and (p.name not in SIGNAL or p.kind is p.POSITIONAL_ONLY)
    ]
    if needed:
        raise SpecError(
            f"The constructor of {name} requires {', '.join(needed)}; what can be "
            f"filled in are the keywords {', '.join(SIGNAL)}. Give the others defaults."
        )


def _own_file(kind: type, name: str) -> Path:
    """Return the source file of a class."""
    try:
        return Path(inspect.getsourcefile(kind) or "").resolve(strict=True)
    except (OSError, TypeError) as error:
        raise SpecError(
            f"The source file of {name} cannot be read, and it is part of what is "
            f"asked. Define the class in a file."
        ) from error


def _sources(names: Iterable[str]) -> dict[str, Path]:
    """Map modules to files: those named, what they import, and so on.

    Left out are installed packages, the standard library and this package.
    """
    todo, met, files = list(names), set(), {}
    while todo:
        spec: ModuleSpec | None = None
        parts = todo.pop().split(".")
        for end in range(1, len(parts) + 1):  # a package is imported before its parts
            name = ".".join(parts[:end])
            spec = _spec_of(name, spec)
            if spec is None or _is_installed(spec):
                break
            if name not in met and spec.has_location and spec.origin:
                files[name] = Path(spec.origin).resolve()
                is_package = spec.submodule_search_locations is not None
                within = parts[:end] if is_package else parts[: end - 1]
                todo += _imported(files[name], ".".join(within))
            met.add(name)
    return files


def _spec_of(name: str, package: ModuleSpec | None = None) -> ModuleSpec | None:
    """Find a module, or a package's, without importing anything."""
    with contextlib.suppress(ImportError, ValueError, AttributeError):
        if package is None:
            return importlib.util.find_spec(name)
        if package.submodule_search_locations is not None:
            places = list(package.submodule_search_locations)
            # By its last word: of a folder without __init__.py, the whole name would
            # be looked up among loaded modules.
            return PathFinder.find_spec(name.rpartition(".")[2], places)
    return None


def _is_installed(spec: ModuleSpec) -> bool:
    if spec.name.partition(".")[0] == __name__.partition(".")[0]:
        return True
    places = [spec.origin] if spec.has_location else spec.submodule_search_locations
    if not places:
        return True  # built in
    return any(
        _lies_among_installed(Path(place).resolve()) for place in places if place
    )


@cache
def _library_folders() -> tuple[Path, ...]:
    return tuple(
        Path(sysconfig.get_path(k)).resolve() for k in ("stdlib", "platstdlib")
    )


def _lies_among_installed(file: Path) -> bool:
    return not _INSTALLED.isdisjoint(file.parts) or any(
        file.is_relative_to(folder) for folder in _library_folders()
    )


def _imported(file: Path, package: str) -> Iterator[str]:
    """Yield what a file may import; some are names within modules, not modules."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return  # no source, or one whose import will say what is wrong
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                yield from (alias.name for alias in aliases)
            case ast.ImportFrom(module=module, names=aliases, level=level):
                with contextlib.suppress(ImportError):  # beyond the top
                    base = _absolute("." * level + (module or ""), package)
                    yield base
                    yield from (f"{base}.{alias.name}" for alias in aliases)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str() as written), *_],
            ):
                with contextlib.suppress(ImportError):
                    yield _absolute(written, package)


def _absolute(name: str, package: str) -> str:
    return importlib.util.resolve_name(name, package or None)


def _hashes(files: Mapping[str, Path], before: set[str]) -> dict[str, str]:
    """Return each file's SHA-256; refuse one that is not what was imported.

    ``before`` are the modules that were loaded before this class was asked for.
    """
    found = {}
    for name, file in files.items():
        try:
            source = file.read_bytes()
        except OSError as error:
            raise SpecError(
                f"{file} cannot be read, and it is part of what is asked."
            ) from error
        found[name] = digest = hashlib.sha256(source).hexdigest()
        first = _first_seen.get(file)
        if first is None and name in before and not _was_read(name, file, source):
            raise SpecError(
                f"'{name}' was imported before it was asked for as a model, and "
                f"nothing tells whether {file} is still what was read then. Start "
                f"again, in a new process, and ask before importing it."
            )
        if first not in (None, digest) and name in sys.modules:
            raise SpecError(
                f"{file} changed since it was imported (from {str(first)[:8]} to "
                f"{digest[:8]}). Start again, in a new process."
            )
        _first_seen[file] = digest
    return found


def _was_read(name: str, file: Path, source: bytes) -> bool:
    """Whether a loaded module is of this source, by the bytecode kept of it."""
    if _lies_among_installed(file):
        return True
    try:
        cached = Path(sys.modules[name].__spec__.cached)  # type: ignore[union-attr, arg-type]
        flags, time_s, size = struct.unpack("<4xIII", cached.read_bytes()[:16])
        changed_s = int(file.stat().st_mtime) & 0xFFFFFFFF
    except (AttributeError, TypeError, OSError, struct.error):
        return False
    if flags & 1:  # bytecode that is kept by the source's hash, not by its time
        return cached.read_bytes()[8:16] == importlib.util.source_hash(source)
    return (time_s, size) == (changed_s, len(source))


def _code_hash(hashes: Mapping[str, str]) -> str:
    """Return eight digits for all files: their modules' names and contents."""
    lines = (f"{name} {digest}\n" for name, digest in sorted(hashes.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:8]
