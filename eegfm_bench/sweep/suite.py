"""A suite: a named, versioned list of cells, kept as YAML of plain values.

From: ``benchmarks/suites/*.yaml`` or a path. To: cells for ``sweep.run``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eegfm_bench.errors import SpecError, UnknownName
from eegfm_bench.registry import shipped_folder
from eegfm_bench.runs.adapting import ADAPTATIONS, Adapt
from eegfm_bench.runs.labels import canonical_labels

# The word for a model's own public weights, which several models may share.
HUB = "hub"

Scale = Literal["paper", "small"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A model on a dataset, before either is looked up.

    ``weights`` are what was asked for: a path, ``hub`` or ``hub:KEY``.
    """

    model: str
    dataset: str
    scale: Scale = "paper"
    adapt: str = "scratch"
    weights: str | None = None
    labels: str | None = None
    settings: tuple[tuple[str, Any], ...] = ()


class Suite(BaseModel):
    """What is asked together, and shown as one table.

    ``settings`` are recipe values or model options for all cells, as ``--set``
    takes them; ``adapt``, ``weights`` and ``labels`` are as on the command line, and
    weights may be given model by model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int = Field(ge=1)
    title: str
    scale: Scale
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    models: tuple[str, ...] = Field(min_length=1)
    datasets: tuple[str, ...] = Field(min_length=1)
    settings: dict[str, Any] = Field(default_factory=dict)
    adapt: Adapt | None = None
    weights: str | dict[str, str] | None = None
    labels: str | None = None

    def cells(self) -> list[Cell]:
        """Return the cells, dataset by dataset."""
        cells = [
            Cell(
                model=model,
                dataset=dataset,
                scale=self.scale,
                settings=tuple(self.settings.items()),
            )
            for dataset in self.datasets
            for model in self.models
        ]
        return adapted(
            cells, adapt=self.adapt, weights=self.weights, labels=self.labels
        )


def adapted(
    cells: Sequence[Cell],
    *,
    adapt: str | None,
    weights: str | Mapping[str, str] | None,
    labels: str | None,
) -> list[Cell]:
    """Return cells that start and are trained as asked.

    Parameters
    ----------
    cells : sequence of Cell
    adapt : str, optional
        By default ``finetune`` where there are weights, else ``scratch``.
    weights : str or mapping of model to str, optional
        A path, ``hub`` or ``hub:KEY``; several models share a ``hub`` alone.
    labels : str, optional
        A budget, such as ``10%`` or ``8/class``.

    Raises
    ------
    UnknownName
        If weights are for a model that is not run, or there is no such adaptation.
    SpecError
        If the combination makes no sense; says what does.
    """
    if adapt is not None and adapt not in ADAPTATIONS:
        raise UnknownName.among("adaptation", adapt, ADAPTATIONS)
    budget = canonical_labels(labels)
    given = _by_model(dict.fromkeys(cell.model for cell in cells), weights)
    if adapt == "scratch" and given:
        raise SpecError(
            f"--adapt scratch starts from nothing, and --weights are given "
            f"({', '.join(given.values())}). Leave one of them out."
        )
    bare = [cell.model for cell in cells if cell.model not in given]
    if adapt == "finetune" and bare:
        raise SpecError(
            f"--adapt finetune starts from weights, and none are given for "
            f"{', '.join(dict.fromkeys(bare))} (--weights). Without weights there is "
            f"--adapt scratch, and, with the encoder as it is drawn, probe and lora."
        )
    return [
        dataclasses.replace(
            cell,
            adapt=adapt or ("finetune" if cell.model in given else "scratch"),
            weights=given.get(cell.model),
            labels=budget,
        )
        for cell in cells
    ]


def _by_model(
    models: Iterable[str], weights: str | Mapping[str, str] | None
) -> dict[str, str]:
    """Return which weights each model starts from, those that do."""
    models = list(models)
    if weights is None:
        return {}
    if isinstance(weights, str):
        if not weights.strip():
            raise SpecError("--weights is empty; give hub, hub:KEY or a path.")
        if len(models) > 1 and weights != HUB:
            raise SpecError(
                f"--weights {weights} would be of {len(models)} models at once "
                f"({', '.join(models)}). Say whose they are, as in "
                f"--weights {models[0]}={weights}; the others then train from scratch."
            )
        return dict.fromkeys(models, weights)
    for model in weights:
        if model not in models:
            raise UnknownName.among("model with --weights", model, models)
    return dict(weights)


def suite_names() -> list[str]:
    """Return the names of the suites that come with the package."""
    folder = shipped_folder("benchmarks/suites")
    return sorted(file.stem for file in folder.glob("*.yaml")) if folder else []


def load_suite(name: str) -> Suite:
    """Read a suite by name ("table1", or "1" for short) or by path.

    Raises
    ------
    UnknownName
        If there is no such suite or file; suggests the nearest.
    SpecError
        If the file is not a suite; the field is named.
    """
    import yaml

    file = Path(name)
    if file.suffix not in (".yaml", ".yml"):
        folder = shipped_folder("benchmarks/suites")
        key = f"table{name}" if name.isdigit() else name
        if folder is None or not (folder / f"{key}.yaml").is_file():
            raise UnknownName.among("suite", name, suite_names())
        file = folder / f"{key}.yaml"
    elif not file.is_file():
        raise UnknownName(f"There is no suite file {file}. Give its path, or a name.")
    try:
        fields = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise SpecError(f"{file} is not YAML: {error}") from error
    if not isinstance(fields, dict):
        raise SpecError(
            f"{file} holds no fields; a suite has {', '.join(Suite.model_fields)}."
        )
    try:
        suite = Suite.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise SpecError(
            f"{file}: '{where}' is {first['input']!r}: {first['msg']}. "
            f"A suite has the fields "
            f"{', '.join(Suite.model_fields)}."
        ) from error
    if suite.name != file.stem:
        raise SpecError(
            f"{file}: the suite calls itself '{suite.name}'. Name and file must agree."
        )
    return suite
