"""One dataset's page: what it is, its part of the tables, and a card for every row.

From: panels and a ResultStore. To: ``pages``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from eegfm_bench.datasets._folds import fold_of, unfolded
from eegfm_bench.errors import BenchError, listed
from eegfm_bench.report._cells import metric_label
from eegfm_bench.report._groups import Group, RowKey
from eegfm_bench.report.site._markup import Child, Html, definitions, lines, tag
from eegfm_bench.report.site.card_page import card_section
from eegfm_bench.report.site.cards import Card, card_of
from eegfm_bench.report.site.panels import Panel
from eegfm_bench.report.site.places import OVERVIEW, Places, anchor_of, link_to_card
from eegfm_bench.report.site.tables import table_html
from eegfm_bench.report.site.words import plus_minus, row_name
from eegfm_bench.runs.store import ResultStore


def dataset_body(
    store: ResultStore,
    panels: Sequence[Panel],
    places: Places,
    base: str,
    kind: str,
) -> tuple[Html, list[Card]]:
    """Write a dataset's page: facts, its part of the tables, and its cards.

    Parameters
    ----------
    store : ResultStore
    panels : sequence of Panel
    places : Places
    base : str
        The dataset, whose folds share the page.
    kind : str
        ``simulated`` or ``real``.

    Returns
    -------
    body : Html
    cards : list of Card
        In the order of the page, for what is to be said of their files.
    """
    shown: list[Card] = []
    parts: list[Child] = [_about_dataset(panels, base, kind)]
    for panel in panels:
        datasets = [d for d in panel.datasets if unfolded(d) == base]
        if panel.kind != kind or not datasets:
            continue
        link = link_to_card(panel, places)
        own = panel.table.of_groups(datasets)
        parts.append(tag("h2", panel.title))
        parts.append(tag("p", panel.note, class_="problem") if panel.note else None)
        parts.append(table_html(own, level=None, link=link, notes=False))
        whole = tag("a", "the whole table", href=OVERVIEW)
        parts.append(tag("p", "All notes stand below ", whole, ".", class_="aside"))
        cells = [(row, d, g) for d in datasets for row, g in panel.cells_of(d)]
        parts.append(_contents(cells, panel.table.names))
        for row, dataset, group in cells:
            card = card_of(store, row, dataset, group)
            shown.append(card)
            parts.append(card_section(card, places.classes(dataset), panel.table.names))
    return lines(parts), shown


def _contents(
    cells: Iterable[tuple[RowKey, str, Group]], names: Mapping[str, str]
) -> Html:
    """List a page's cards, with the score each model is chosen by."""
    items = []
    for row, dataset, group in cells:
        name = row_name(row, names)
        if (fold := fold_of(dataset)) is not None:
            name += f", fold {fold[1]} of {fold[2]}"
        value = _main(group)
        text = f"{name}{f' {value}' if value else ''}"
        items.append(tag("li", tag("a", text, href=f"#{anchor_of(group)}")))
    return tag("nav", tag("ul", items), aria_label="Cards on this page")


def _main(group: Group) -> str:
    from eegfm_bench.report.scores import main_metric

    if not group.done:
        return "failed" if group.failed else "not run"
    name = main_metric(group.done[0])
    got = [(r.scores or {})["test"].get(name) for r in group.done]
    values = [v for v in got if v is not None]
    score = plus_minus(values) if values else "n/a"
    return f"{metric_label(name)} {score}"


def _about_dataset(panels: Sequence[Panel], base: str, kind: str) -> Html:
    """Say which recordings these are, as the runs have it."""
    from eegfm_bench.datasets._spec import find_dataset

    groups = [
        group
        for panel in panels
        if panel.kind == kind
        for (_, dataset), group in panel.groups.items()
        if unfolded(dataset) == base
    ]
    specs = [spec for group in groups for spec in group.specs.values()]
    absent = sorted(
        {
            name
            for group in groups
            for record in group.records
            if record.provenance is not None
            for name in record.provenance.absent_subjects
        }
    )
    named: list[tuple[str, Child]] = []
    try:
        found = None if base.startswith("moabb:") else find_dataset(base)
    except BenchError:  # of another version, or of nobody's: the runs say all
        found = None
    if found is not None:
        named = [
            ("dataset", found.title),
            ("classes", ", ".join(found.classes)),
            ("licence", found.licence),
            ("reference", found.reference),
        ]
    return definitions(
        [
            *named,
            ("key", base),
            ("data", ", ".join(sorted({s.dataset.data for s in specs}))),
            ("protocols", ", ".join(sorted({s.dataset.protocol for s in specs}))),
            ("fingerprints", ", ".join(sorted({s.dataset.fingerprint for s in specs}))),
            ("absent subjects", listed(absent, most=40) if absent else "none"),
        ]
    )
