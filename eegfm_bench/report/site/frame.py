"""What every page has around its content: head, navigation, foot.

From: sections of ``Html``. To: the text of one file that needs no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eegfm_bench.report.site._markup import Child, Html, lines, tag
from eegfm_bench.report.site._style import STYLE

# Nothing may be loaded from anywhere, and nothing may run.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A page of the report: its file, and what the navigation calls it."""

    file: str
    name: str


def page(
    here: Place,
    places: Sequence[Place],
    *,
    title: str,
    banners: Sequence[str],
    body: Child,
    foot: str,
) -> str:
    """Write a whole page.

    Parameters
    ----------
    here : Place
    places : sequence of Place
        All pages, in the order of the navigation.
    title : str
    banners : sequence of str
        What is said before anything else, such as that recordings are simulated.
    body : Html
    foot : str
        Which runs the page is of.
    """
    links = [
        tag(
            "li",
            tag(
                "a",
                place.name,
                href=place.file,
                aria_current="page" if place == here else None,
            ),
        )
        for place in places
    ]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{'; '.join([*banners[:1], title])}"),
        "\n",
        tag("style", Html(STYLE)),
    )
    inside = lines(
        tag("a", "To the content", href="#content", class_="skip"),
        tag(
            "header",
            [tag("p", text, class_="banner", role="note") for text in banners],
            tag("h1", title),
            tag("nav", tag("ul", links), aria_label="Pages"),
        ),
        tag("main", "\n", body, "\n", id="content"),
        tag("footer", tag("p", foot)),
    )
    document = tag("html", head, "\n", tag("body", "\n", inside, "\n"), lang="en")
    return f"<!doctype html>\n{document}\n"
