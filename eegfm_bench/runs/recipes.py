"""Published recipes as data: every number with its source.

From: ``benchmarks/recipes/<model>.yaml``. To: the specs of runs at the paper scale,
and table 9. A value that no source states for a dataset is the model's own for all
datasets; one for two classes, or for one dataset alone, is listed there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eegfm_bench.errors import SpecError
from eegfm_bench.registry import shipped_folder

FOLDER = "benchmarks/recipes"

Stated = tuple[bool | int | float | str | None, str]

# The suite's own, alike for all models: a book that set these would make rows unlike.
NOT_OF_BOOKS = ("kind", "select")


class RecipeBook(BaseModel):
    """What sources say of training one model.

    ``sources`` maps short names to citations. ``all``, ``two_classes`` and
    ``datasets`` map recipe fields or model options to a value and the short name of its
    source; ``not_followed`` says which stated values are not, and why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    sources: dict[str, str] = Field(min_length=1)
    all: dict[str, Stated] = Field(default_factory=dict)
    two_classes: dict[str, Stated] = Field(default_factory=dict)
    datasets: dict[str, dict[str, Stated]] = Field(default_factory=dict)
    not_followed: dict[str, str] = Field(default_factory=dict)

    def values(self, dataset: str, n_classes: int) -> dict[str, Any]:
        """Return recipe fields and options for a dataset of so many classes.

        What is stated for the dataset comes before what is for its family (the name
        before the ``@`` of a variant), that before what is for two classes, and that
        before what is for all. A fold, or a filtered set, has its dataset's.
        """
        stated = dict(self.all)
        if n_classes == 2:
            stated |= self.two_classes
        stated |= self.datasets.get(dataset.partition("@")[0], {})
        dataset = dataset.removesuffix("@filtered")
        stated |= self.datasets.get(dataset.rpartition("@fold")[0] or dataset, {})
        return {key: value for key, (value, _) in stated.items()}

    def sections(self) -> dict[str, dict[str, Stated]]:
        """Return what is stated by where it holds: all, two classes, each dataset."""
        return {"all": self.all, "two_classes": self.two_classes, **self.datasets}


def book_names() -> list[str]:
    """Return the models that have a book of recipes."""
    folder = shipped_folder(FOLDER)
    return sorted(file.stem for file in folder.glob("*.yaml")) if folder else []


@cache
def recipe_book(model: str) -> RecipeBook | None:
    """Return a model's book of recipes; None if it has none.

    Raises
    ------
    SpecError
        If the file is not a book, cites an unknown source, or states what the suite
        chooses for all models; the field is named.
    """
    import yaml

    folder = shipped_folder(FOLDER)
    if folder is None or not (folder / f"{model}.yaml").is_file():
        return None
    file = folder / f"{model}.yaml"
    try:
        fields = yaml.safe_load(file.read_text(encoding="utf-8"))
        book = RecipeBook.model_validate(fields)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise SpecError(f"{file} is not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise SpecError(f"{file}: '{where}': {first['msg']}.") from error
    if book.model != model:
        raise SpecError(
            f"{file}: the book is of '{book.model}'. Name and file must agree."
        )
    for where, stated in book.sections().items():
        for key, (_, source) in stated.items():
            if key in NOT_OF_BOOKS:
                raise SpecError(
                    f"{file}: '{where}.{key}' is stated, but the suite chooses it for "
                    f"all models alike. Take it out; 'not_followed' may say so."
                )
            if source not in book.sources:
                raise SpecError(
                    f"{file}: '{where}.{key}' cites '{source}', which is not among "
                    f"the sources ({', '.join(book.sources)})."
                )
    return book


def table_of_recipes() -> Mapping[str, Any]:
    """Return table 9: every stated value, for which dataset, and who states it."""
    rows, notes = [], []
    for name in book_names():
        book = recipe_book(name)
        assert book is not None
        for section, stated in book.sections().items():
            where = "two classes" if section == "two_classes" else section
            rows += [
                [name, where, key, _written(value), book.sources[source]]
                for key, (value, source) in stated.items()
            ]
        notes += [
            f"{name}: {what} is not followed: {why}"
            for what, why in book.not_followed.items()
        ]
    return {
        "title": "Table 9: recipes of training at the paper scale",
        "columns": ["model", "dataset", "setting", "value", "source"],
        "rows": rows,
        "notes": [
            "The small scale has recipes of its own: two epochs, for checks.",
            *notes,
        ],
    }


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
