"""Colours of the pages: text is readable on everything it stands on."""

from __future__ import annotations

import re

import pytest

from eegfm_bench.report.site._style import STYLE

THEMES = ("light", "dark", "print")


def colours(theme: str) -> dict[str, str]:
    """Return the variables of a theme; the light one fills what is not said."""
    blocks = re.findall(r":root \{([^}]*)\}", STYLE)
    assert len(blocks) == len(THEMES)
    found: dict[str, str] = {}
    for block in (blocks[0], blocks[THEMES.index(theme)]):
        found |= dict(re.findall(r"--(\w+): ([^;]+);", block))
    return found


def rgb(colour: str) -> tuple[float, float, float]:
    digits = colour.strip().lstrip("#")
    digits = digits if len(digits) == 6 else "".join(2 * c for c in digits)
    red, green, blue = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue


def contrast(
    one: tuple[float, float, float], other: tuple[float, float, float]
) -> float:
    """Return the ratio of WCAG 2, from 1 to 21."""

    def light(colour: tuple[float, float, float]) -> float:
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((light(one), light(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_black_on_white_has_the_greatest_contrast() -> None:
    assert contrast(rgb("#000"), rgb("#fff")) == pytest.approx(21)


@pytest.mark.parametrize("theme", THEMES)
def test_text_stands_out_from_what_is_behind_it(theme: str) -> None:
    of = colours(theme)
    for ink in ("ink", "soft", "accent", "warm", "bad"):
        for paper in ("paper", "raised"):
            assert contrast(rgb(of[ink]), rgb(of[paper])) >= 4.5, (ink, paper)
    assert contrast(rgb(of["ink"]), rgb(of["warn"])) >= 4.5
    assert contrast(rgb(of["paper"]), rgb(of["accent"])) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
def test_the_darkest_cell_of_a_confusion_can_be_read(theme: str) -> None:
    of = colours(theme)
    share = float(of["deep"].rstrip("%")) / 100
    pairs = zip(rgb(of["accent"]), rgb(of["raised"]), strict=True)
    red, green, blue = (share * a + (1 - share) * b for a, b in pairs)
    assert contrast(rgb(of["ink"]), (red, green, blue)) >= 4.5


def test_every_class_of_the_style_is_one_that_is_used() -> None:
    from pathlib import Path

    import eegfm_bench.report.site as package

    folder = Path(package.__file__).parent
    code = "".join(
        file.read_text() for file in folder.glob("*.py") if file.name != "_style.py"
    )
    rules = re.sub(r"\{[^{}]*\}", "{}", STYLE)
    named = set(re.findall(r"\.([a-z][\w-]*)", rules)) - {f"s{k}" for k in range(11)}
    assert {name for name in named if not re.search(rf"\b{name}\b", code)} == set()
