"""A suite: a named, versioned list of cells, kept as YAML of plain values.

From: ``benchmarks/suites/*.yaml`` or a path. To: cells for ``sweep.run``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eegfm_bench.errors import SpecError, UnknownName
from eegfm_bench.registry import shipped_folder

Scale = Literal["paper", "small"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A model on a dataset, before either is looked up."""

    model: str
    dataset: str
    scale: Scale = "paper"
    adapt: str = "scratch"
    settings: tuple[tuple[str, Any], ...] = ()


class Suite(BaseModel):
    """What is asked together, and shown as one table.

    ``settings`` are recipe values or model options for all cells, as ``--set``
    takes them.
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

    def cells(self) -> list[Cell]:
        """Return the cells, dataset by dataset."""
        return [
            Cell(
                model=model,
                dataset=dataset,
                scale=self.scale,
                settings=tuple(self.settings.items()),
            )
            for dataset in self.datasets
            for model in self.models
        ]


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
