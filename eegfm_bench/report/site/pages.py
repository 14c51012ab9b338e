"""The report as texts: an overview, and a page for every dataset.

From: a ResultStore and its records. To: ``write``, which puts them into a folder. The
same records give the same bytes: no clock is read, and dates are those of the runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eegfm_bench import __version__
from eegfm_bench.datasets._folds import fold_of, unfolded
from eegfm_bench.report import _notes
from eegfm_bench.report.folding import without_folds
from eegfm_bench.report.render import render
from eegfm_bench.report.site._markup import (
    Child,
    Html,
    definitions,
    grid,
    joined,
    lines,
    tag,
)
from eegfm_bench.report.site.dataset_page import dataset_body
from eegfm_bench.report.site.explained import how_to_read
from eegfm_bench.report.site.frame import page
from eegfm_bench.report.site.panels import SIMULATED, Panel, panels_of
from eegfm_bench.report.site.places import OVERVIEW, Places, anchor_of, link_to_card
from eegfm_bench.report.site.tables import table_html
from eegfm_bench.report.site.words import row_name, seeds_text
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.spec import RunSpec
from eegfm_bench.runs.store import ResultStore

if TYPE_CHECKING:
    from eegfm_bench.report.imports import Panel as Imported

ALL_SIMULATED = "Simulated recordings: no number here is about people"
SOME_SIMULATED = (
    "Part of these results are of simulated recordings: each such table says so"
)


@dataclass(slots=True)
class Site:
    """All files of a report, and what a command says of them.

    ``problems`` are files that lie beside records and cannot be used; ``unusable`` are
    the runs whose predictions are among them.
    """

    files: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    unusable: set[str] = field(default_factory=set)
    n_records: int = 0
    n_cells: int = 0
    n_failed: int = 0


def build_site(
    store: ResultStore,
    records: Iterable[RunRecord],
    *,
    title: str,
    specs: Sequence[RunSpec] | None = None,
    missing: Mapping[str, str] | None = None,
    imported: Sequence[Imported] = (),
    blocks_as: str = "",
) -> Site:
    """Write every page of a report.

    Parameters
    ----------
    store : ResultStore
        Holds predictions and histories beside the records.
    records : RunRecords
        In any order.
    title : str
    specs : RunSpecs, optional
        A suite's runs; records of others are left out.
    missing : mapping of dataset to reason, optional
        Datasets of the suite whose recordings are absent.
    imported : sequence of panels
        Results of other suites, for a page of their own.
    blocks_as : str, optional
        A table's number or a suite's name: columns in blocks, as in the paper.

    Raises
    ------
    DataMissing
        If there is nothing to show.
    """
    from eegfm_bench.report.site import analyses, others

    panels = panels_of(
        records, title=title, specs=specs, missing=missing, blocks_as=blocks_as
    )
    kept = [record for panel in panels for record in panel.records]
    places = Places(panels, has_imports=bool(imported))
    site = Site(
        n_records=len(kept),
        n_cells=sum(len(panel.groups) for panel in panels),
        n_failed=sum(not record.is_done for record in kept),
    )
    foot = _foot(kept)
    for place, (base, kind) in places.of_datasets():
        body, cards = dataset_body(store, panels, places, base, kind)
        for card in cards:
            site.problems += card.problems
            site.unusable.update(card.unusable)
        site.files[place.file] = page(
            place,
            places.all,
            title=f"{places.name(base)}: {title}",
            banners=_banners([p for p in panels if p.kind == kind], base),
            body=body,
            foot=foot,
        )
    if imported:
        site.files[places.imports.file] = page(
            places.imports,
            places.all,
            title="Results of other suites",
            banners=others.BANNERS,
            body=others.body(imported),
            foot=foot,
        )
    sections: list[tuple[str, str, Child]] = []
    for number, panel in enumerate(panels):
        end = f"-{number + 1}" if number else ""
        name = f"results{end}.csv"
        site.files[name] = render(panel.table, "csv")
        sections += [
            (f"scores{end}", panel.title, _panel_tables(panel, places, name)),
            (
                f"published{end}",
                "Beside published figures",
                analyses.published_section(panel),
            ),
            (
                f"certainty{end}",
                f"How sure the numbers are{_told_apart(panel, panels)}",
                analyses.sections(store, panel, site.unusable),
            ),
        ]
    sections.append(("absent", "What is not there", _absent(panels, places)))
    sections.append(("reading", "How to read this", how_to_read()))
    site.files[OVERVIEW] = page(
        places.overview,
        places.all,
        title=title,
        banners=_banners(panels),
        body=lines(_facts(kept, panels, site), _sections(sections)),
        foot=foot,
    )
    return site


def _told_apart(panel: Panel, panels: Sequence[Panel]) -> str:
    return f": {panel.title}" if len(panels) > 1 else ""


def _sections(parts: Iterable[tuple[str, str, Child]]) -> Html:
    """Write sections with their headings, and a way to each; those without are not."""
    here = [(anchor, name, inside) for anchor, name, inside in parts if inside]
    links = [tag("li", tag("a", name, href=f"#{anchor}")) for anchor, name, _ in here]
    return lines(
        tag("nav", tag("ul", links), aria_label="On this page"),
        [
            (
                tag("section", lines(tag("h2", name), inside), id=anchor),
                "\n",
            )
            for anchor, name, inside in here
        ],
    )


def _banners(panels: Sequence[Panel], base: str | None = None) -> list[str]:
    """Say what has to be known before any number: simulated, or partial."""
    found = []
    kinds = {panel.kind for panel in panels}
    if SIMULATED in kinds:
        found.append(ALL_SIMULATED if len(kinds) == 1 else SOME_SIMULATED)
    partial = {
        f"{unfolded(dataset)} is {remark}"  # once for all folds
        for panel in panels
        for dataset in panel.datasets
        if base in (None, unfolded(dataset))
        and (remark := _notes.partial_remark(panel.groups, dataset))
    }
    if partial:
        found.append(f"Partial recordings: {'; '.join(sorted(partial))}")
    return found


def _facts(records: Sequence[RunRecord], panels: Sequence[Panel], site: Site) -> Html:
    """Say in a few words what the report is of."""
    made = [r.provenance for r in records if r.provenance is not None]
    days = sorted(p.finished_at[:10] for p in made)
    groups = [key for panel in panels for key in panel.groups]
    return definitions(
        [
            ("runs", f"{len(records)}, of which {site.n_failed} failed"),
            ("cells", f"{site.n_cells}: a row on a dataset, over its seeds"),
            ("models", str(len({row[0] for row, _ in groups}))),
            ("datasets", str(len({dataset for _, dataset in groups}))),
            ("seeds", seeds_text(r.spec.seed for r in records)),
            (
                "finished",
                " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "",
            ),
            ("devices", ", ".join(sorted({p.device for p in made}))),
            ("package", ", ".join(sorted({p.package_version for p in made}))),
        ]
    )


def _foot(records: Sequence[RunRecord]) -> str:
    days = sorted(r.provenance.finished_at[:10] for r in records if r.provenance)
    until = f" up to {days[-1]}" if days else ""
    return (
        f"Written by eegfm-bench {__version__} from {len(records)} records of runs"
        f"{until}. Nothing was trained again; nothing is loaded from elsewhere."
    )


def _panel_tables(panel: Panel, places: Places, file: str) -> Html:
    """Write a panel's tables, each number leading to its card."""
    link = link_to_card(panel, places)

    def link_group(dataset: str) -> str | None:
        return places.file_of(dataset, panel.kind)

    whole = without_folds(panel.table)
    folded = [d for d in panel.datasets if fold_of(d) is not None]
    pages = dict.fromkeys((unfolded(d), places.file_of(d, panel.kind)) for d in folded)
    return lines(
        tag(
            "p",
            "Scores of each fold over people are on the page of their dataset: ",
            joined(tag("a", places.name(d), href=file) for d, file in pages),
            ". All folds together, person by person, are below.",
        )
        if folded
        else None,
        table_html(whole, level=None, link=link, link_group=link_group),
        tag("p", panel.note, class_="problem") if panel.note else None,
        tag(
            "p",
            "A number leads to its card: subjects, confusion, calibration, curves, "
            "cost and origin. The same numbers in full: ",
            tag("a", file, href=file),
            ".",
        ),
        table_html(panel.events, level="h3", link=link, link_group=link_group)
        if panel.events
        else None,
    )


def _absent(panels: Sequence[Panel], places: Places) -> Html:
    """List every cell without a number, with its reason."""
    rows: list[tuple[Child, ...]] = []
    for panel in panels:
        for dataset, reason in sorted(panel.missing.items()):
            called = panel.table.names.get(dataset, dataset)
            rows.append((f"all of {called}", "missing", reason))
        for (row, dataset), group in panel.groups.items():
            where = f"{places.file_of(dataset, panel.kind)}#{anchor_of(group)}"
            names = panel.table.names
            named = f"{row_name(row, names)} on {names.get(dataset, dataset)}"
            name = tag("a", named, href=where)
            waiting = len(group.specs) - len(group.records)
            if group.failed:
                rows.append((name, "failed", _notes.failures(group.failed)))
            if waiting and dataset not in panel.missing:
                of = f"{waiting} of {len(group.specs)} seeds"
                rows.append((name, "not run yet", of))
    if not rows:
        return tag("p", "Every run asked for has scores.")
    head = ("cell", "state", "why")
    return grid(head, rows, caption="Absent cells", class_="text")
