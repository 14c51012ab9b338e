"""Where everything stands: the report's pages, their files and names.

From: panels. To: ``pages``, for navigation and links.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from eegfm_bench.datasets._folds import unfolded
from eegfm_bench.errors import BenchError
from eegfm_bench.report._cells import Cell
from eegfm_bench.report._groups import STUB, Group
from eegfm_bench.report.naming import dataset_names
from eegfm_bench.report.site.frame import Place
from eegfm_bench.report.site.panels import SIMULATED, Panel
from eegfm_bench.runs.spec import short_hash

OVERVIEW = "index.html"


class Places:
    """The pages of a report: overview, one a dataset and kind, other suites.

    Folds of one dataset share its page. Simulated and real runs of one dataset have a
    page each.
    """

    def __init__(self, panels: Sequence[Panel], *, has_imports: bool) -> None:
        self.overview = Place(file=OVERVIEW, name="Overview")
        self.imports = Place(file="others.html", name="Other suites")
        keys = dict.fromkeys(
            (unfolded(d), panel.kind) for panel in panels for d in panel.datasets
        )
        self._names = dataset_names(base for base, _ in keys)
        self._pages: dict[tuple[str, str], Place] = {}
        n_kinds = len({kind for _, kind in keys})
        taken = {OVERVIEW, self.imports.file}
        for base, kind in keys:
            is_apart = kind == SIMULATED and n_kinds > 1
            file = _file(base, "-simulated" if is_apart else "", taken)
            taken.add(file)
            name = f"{self.name(base)}{', simulated' if is_apart else ''}"
            self._pages[base, kind] = Place(file=file, name=name)
        self.all = [self.overview, *self._pages.values()]
        self.all += [self.imports] if has_imports else []
        self._classes: dict[str, tuple[str, ...]] = {}

    def name(self, base: str) -> str:
        """Return what people call a dataset."""
        return self._names.get(base, base)

    def of_datasets(self) -> Iterable[tuple[Place, tuple[str, str]]]:
        """Return each dataset's page with (dataset without fold, kind)."""
        return [(place, key) for key, place in self._pages.items()]

    def file_of(self, dataset: str, kind: str) -> str | None:
        """Return the file of a dataset's page, None if it has none."""
        place = self._pages.get((unfolded(dataset), kind))
        return None if place is None else place.file

    def classes(self, dataset: str) -> tuple[str, ...]:
        """Return the names of a dataset's classes; none where it is not known here."""
        from eegfm_bench.datasets._spec import find_dataset

        base = unfolded(dataset)
        if base not in self._classes:
            try:
                is_far = base.startswith("moabb:")
                self._classes[base] = () if is_far else find_dataset(base).classes
            except BenchError:
                self._classes[base] = ()
        return self._classes[base]


def _file(base: str, end: str, taken: set[str]) -> str:
    """Return a file name that is plain, and nobody else's in whatever case."""
    plain = re.sub(r"[^A-Za-z0-9@_-]+", "-", base)[:60]
    file = f"dataset-{plain}{end}.html"
    if file.casefold() in {name.casefold() for name in taken}:
        file = f"dataset-{plain}-{short_hash(base)}{end}.html"
    return file


def link_to_card(panel: Panel, places: Places) -> Callable[[Cell], str | None]:
    """Return what finds the card of a cell."""

    def link(cell: Cell) -> str | None:
        model, init, scale, adapt, labels = (cell.about.get(n, "") for n in STUB)
        dataset = cell.about.get("dataset", "")
        group = panel.groups.get(((model, init, scale, adapt, labels), dataset))
        if group is None:
            return None
        return f"{places.file_of(dataset, panel.kind)}#{anchor_of(group)}"

    return link


def anchor_of(group: Group) -> str:
    """Return the id of a cell's card."""
    return next(iter(group.specs.values())).cell_id
