"""Elements of a page, escaped by construction.

From: names, attributes and plain text. To: ``Html``, which alone is written as it is.
Whatever is a plain ``str`` is escaped, so that no name of a class, model or file can
become markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from typing import Union

Child = Union["Html", str, int, None, Iterable["Child"]]

# Elements that have no inside.
_EMPTY = frozenset({"meta", "link", "br", "path", "rect", "circle", "line"})


class Html(str):
    """Markup that is ready; anything else is text."""

    __slots__ = ()


def tag(element: str, /, *children: Child, **attributes: str | int | None) -> Html:
    """Write an element.

    Parameters
    ----------
    element : str
    *children
        Text is escaped, ``Html`` is not; lists are joined, None is nothing.
    **attributes
        A last underscore goes (``class_``), others become hyphens; None is left out.

    Examples
    --------
    >>> tag("p", "1 < 2", tag("b", "!"), class_="a&b")
    '<p class="a&amp;b">1 &lt; 2<b>!</b></p>'
    """
    named = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if element in _EMPTY:
        return Html(
            f"<{element}{named}>" if element in _OPEN else f"<{element}{named}/>"
        )
    return Html(f"<{element}{named}>{''.join(_texts(children))}</{element}>")


def lines(*parts: Child) -> Html:
    """Put parts under each other, one or more lines each; None is nothing."""
    return Html("\n".join(text for text in _texts(parts) if text))


def joined(parts: Iterable[Child], between: str = ", ") -> Html:
    """Put parts into one line of text."""
    return Html(escape(between).join(_texts(parts)))


def definitions(pairs: Iterable[tuple[str, Child]]) -> Html:
    """Write a list of names and what they stand for; what is None is left out."""
    return tag(
        "dl",
        [
            tag("div", tag("dt", name), tag("dd", value))
            for name, value in pairs
            if value is not None and value != ""
        ],
    )


def grid(
    head: Iterable[Child],
    rows: Iterable[Iterable[Child]],
    *,
    caption: str,
    class_: str | None = None,
) -> Html:
    """Write a small table, the first cell of each row its heading.

    ``caption`` names the table for those who do not see it.
    """
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption),
            tag("thead", tag("tr", [tag("th", h, scope="col") for h in head])),
            "\n",
            tag("tbody", [_grid_row(row) for row in rows]),
            class_=class_,
        ),
        class_="wide",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def folded(summary: Child, *inside: Child, class_: str | None = None) -> Html:
    """Write what is opened with a key or a touch, without a script."""
    return tag("details", tag("summary", summary), lines(*inside), class_=class_)


def _grid_row(row: Iterable[Child]) -> Html:
    first, *rest = row
    cells = "".join(tag("td", cell) for cell in rest)
    return Html(f"{tag('tr', tag('th', first, scope='row'), Html(cells))}\n")


def _texts(children: Iterable[Child]) -> Iterator[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Html):
            yield child
        elif isinstance(child, (str, int)):
            yield escape(str(child))
        else:
            yield from _texts(child)


# Of HTML itself; the others are of SVG, where an element without inside is closed.
_OPEN = frozenset({"meta", "link", "br"})
