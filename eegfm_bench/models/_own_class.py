"""A user's own class as a model: ``torch:package.module:Class``.

From: a module that can be imported from the current folder or an installed package.
To: a ModelSpec that carries the hash of the class's source file, since that file
changes numbers. What the file itself imports is not in the hash.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import sys
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


def find_own(path: str) -> ModelSpec:
    """Return the spec of a class given as ``package.module:Class``.

    Raises
    ------
    SpecError
        If the path has another form, the module cannot be imported, what is found
        is no module of torch, or its file changed since it was imported.
    UnknownName
        If the module has no such class; suggests the nearest.
    """
    module_name, _, class_name = path.partition(":")
    name = f"{PREFIX}:{path}"
    if not module_name or not class_name:
        raise SpecError(
            f"'{name}' names no class; expected {PREFIX}:package.module:Class, such as "
            f"{PREFIX}:mynet:Net for the class Net in mynet.py."
        )
    kind = _class(module_name, class_name)
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
        code_hash=_code_hash(kind, name),
    )


def _class(module_name: str, class_name: str) -> Any:
    """Import a class, from the current folder if no installed package has it."""
    here = str(Path.cwd())
    # Last, so that a file here never passes for a library.
    if here not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()
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
    except Exception as error:  # of code that others wrote
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


def _code_hash(kind: type, name: str) -> str:
    """Return the first eight digits of the SHA-256 of a class's source file."""
    try:
        file = Path(inspect.getsourcefile(kind) or "").resolve()
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    except (OSError, TypeError) as error:
        raise SpecError(
            f"The source file of {name} cannot be read, and it is part of what is "
            f"asked. Define the class in a file."
        ) from error
    first = _first_seen.setdefault(file, digest)
    if digest != first:
        raise SpecError(
            f"{file} changed since it was imported (from {first} to {digest}). Start "
            f"again, in a new process."
        )
    return digest
