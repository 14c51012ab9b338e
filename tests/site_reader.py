"""Pages of a report as a strict reader sees them.

From: a folder of HTML. To: what is in them, for tests; the reader refuses elements that
are not closed, ids that are there twice, and whatever would be loaded from elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

EMPTY = {"meta", "link", "br", "img", "input", "hr"}
LEADING = {"href", "src", "action", "data", "poster", "srcset", "xlink:href"}


@dataclass
class Page:
    """One page: ids, links, texts of elements, and what is wrong with it."""

    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    text: str = ""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Page()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {key: value or "" for key, value in attrs}
        if len(named) != len(attrs):
            self.page.faults.append(f"<{tag}> has an attribute twice")
        self.page.tags.append((tag, named))
        self.page.ids += [named["id"]] if "id" in named else []
        self.page.links += [named[key] for key in LEADING if key in named]
        if any(key.startswith("on") for key in named) or tag == "script":
            self.page.faults.append(f"<{tag}> would run a script")
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in EMPTY:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.page.faults.append(f"</{tag}> closes what is not open")

    def handle_data(self, data: str) -> None:
        self.page.text += data


def read_page(text: str) -> Page:
    """Read one page."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    page = reader.page
    page.faults += [f"<{tag}> is never closed" for tag in reader.open]
    page.faults += [
        f"id {i} is there twice" for i in {*page.ids} if page.ids.count(i) > 1
    ]
    page.faults += [
        f"the style loads {found}"
        for found in re.findall(r"url\([^)]*\)|@import", text)
    ]
    if not text.startswith("<!doctype html>\n<html lang="):
        page.faults.append("no doctype, or no language")
    return page


def read_site(folder: Path) -> dict[str, Page]:
    """Read every page of a folder and follow all links of all pages."""
    pages = {
        file.name: read_page(file.read_text(encoding="utf-8"))
        for file in sorted(folder.glob("*.html"))
    }
    for name, page in pages.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            target = unquote(target) or name
            if re.match(r"[a-z]+:|//", target) or not (folder / target).is_file():
                page.faults.append(f"{link} leads out of the folder or nowhere")
            elif anchor and anchor not in pages[target].ids:
                page.faults.append(f"{link} leads to no element")
    return pages
