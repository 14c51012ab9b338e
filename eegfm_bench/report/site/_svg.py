"""Small plots as SVG inside a page: curves, dots and a reliability curve.

From: numbers. To: ``Html`` of a few hundred bytes, in the page's own colours, with a
title that says in words what is seen.

Letters: none; x and y are the plot's units from the left and the top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from eegfm_bench.report.site._markup import Child, Html, tag

WIDTH = 340
# Room left of and below the axes, for their numbers.
LEFT, RIGHT, TOP, BELOW = 38, 8, 8, 32
# More points on a line than this are not seen.
MOST_POINTS = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A straight scale from values to units of the plot."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return where a value lies; beyond the ends it stays at them."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of points (x, y); ``kind`` is a class of the style sheet."""

    points: tuple[tuple[float, float], ...]
    kind: str


def nice(low: float, high: float) -> tuple[float, float, float]:
    """Return a scale's ends and step in round numbers around two values.

    Examples
    --------
    >>> nice(0.12, 0.83)
    (0.0, 1.0, 0.2)
    >>> nice(3.0, 3.0)
    (2.0, 4.0, 0.5)
    """
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-9):
        wide = max(abs(high) / 3, 1e-6)
        low, high = low - wide, high + wide
    rough = (high - low) / 5
    ten = 10.0 ** _floor_log10(rough)
    step = next(ten * k for k in (1, 2, 5, 10) if ten * k >= rough * (1 - 1e-9))
    first, last = _floor(low / step), -_floor(-high / step)
    return round(first * step, 12), round(last * step, 12), round(step, 12)


def curves(
    lines: Sequence[Line],
    *,
    title: str,
    below: str,
    marks: Sequence[tuple[float, float]] = (),
    limits: tuple[float, float] | None = None,
    height: int = 190,
) -> Html:
    """Draw lines over a shared pair of axes.

    Parameters
    ----------
    lines : sequence of Line
    title : str
        What is seen, in words.
    below : str
        What the horizontal axis counts.
    marks : sequence of (x, y)
        Points set off by a ring.
    limits : pair of float, optional
        The vertical axis, else as far as the lines go.
    """
    points = [point for line in lines for point in line.points]
    x_low, x_high, x_step = _whole(*_ends([p[0] for p in points]))
    y_low, y_high, y_step = nice(*(limits or _ends([p[1] for p in points])))
    x = Axis(low=x_low, high=x_high, start=LEFT, end=WIDTH - RIGHT)
    y = Axis(low=y_low, high=y_high, start=height - BELOW, end=TOP)
    drawn = [
        tag("path", d=path([(x(a), y(b)) for a, b in thinned(one.points)]), class_=kind)
        for one in lines
        for kind in [f"line {one.kind}"]
    ]
    rings = [tag("circle", cx=f"{x(a):.0f}", cy=f"{y(b):.0f}", r=4, class_="ring")
             for a, b in marks]  # fmt: skip
    frame = _frame(x, y, (x_low, x_high, x_step), (y_low, y_high, y_step), below)
    return svg(title, height, frame, drawn, rings)


def strip(
    names: Sequence[str],
    dots: Sequence[Sequence[float]],
    means: Sequence[float | None],
    *,
    title: str,
    below: str,
    limits: tuple[float, float],
    line_at: float | None = None,
) -> Html:
    """Draw one row of dots for each name, their mean as a bar across.

    Names are written where there are not too many; ``line_at`` is a value of
    reference, such as chance.
    """
    step = 15 if len(names) <= 12 else 12 if len(names) <= 40 else 6
    is_named = step > 6
    wide = min(max(map(len, names)), 16) if is_named else 0
    left = 14 + round(6.3 * wide)
    height = TOP + BELOW + step * len(names)
    low, high, every = nice(*limits)
    x = Axis(low=low, high=high, start=left, end=WIDTH - RIGHT)
    rows = [TOP + step * (i + 0.5) for i in range(len(names))]
    inside: list[Child] = [_ruler(x, height - BELOW, low, high, every)]
    if line_at is not None:
        at = f"M{x(line_at):.0f} {TOP}V{height - BELOW}"
        inside.append(tag("path", d=at, class_="chance"))
    seen = [
        f"M{x(v):.0f} {row:.0f}h0"
        for row, values in zip(rows, dots, strict=True)
        for v in values
    ]
    inside.append(tag("path", d="".join(seen), class_="dots"))
    bars = [
        f"M{x(mean):.0f} {row - step * 0.36:.0f}v{step * 0.72:.0f}"
        for row, mean in zip(rows, means, strict=True)
        if mean is not None
    ]
    inside.append(tag("path", d="".join(bars), class_="mean"))
    if is_named:
        inside += [
            tag("text", _cut(name), x=left - 8, y=f"{row + 4:.0f}", class_="end")
            for row, name in zip(rows, names, strict=True)
        ]
    inside.append(_label(below, (left + WIDTH - RIGHT) / 2, height - 4))
    return svg(title, height, inside)


def reliability(
    points: Sequence[tuple[float, float, int]],
    *,
    title: str,
    below: str,
    height: int = 236,
) -> Html:
    """Draw the share that is right over the confidence; below, how many windows.

    Parameters
    ----------
    points : sequence of (confidence, share right, windows)
        One for every bin that is not empty.
    title, below : str
        What is seen, in words; and what goes across.
    """
    floor = height - BELOW - 34
    x = Axis(low=0, high=1, start=LEFT, end=WIDTH - RIGHT)
    y = Axis(low=0, high=1, start=floor, end=TOP)
    most = max((n for _, _, n in points), default=1)
    bars = "".join(
        f"M{x(c):.0f} {height - BELOW}v-{max(1, round(28 * n / most))}"
        for c, _, n in points
    )
    places = [(x(c), y(a)) for c, a, _ in points]
    return svg(
        title,
        height,
        _frame(x, y, (0, 1, 0.25), (0, 1, 0.25), "", floor=height - BELOW),
        tag("path", d=path([(x(0), y(0)), (x(1), y(1))]), class_="ideal"),
        tag("path", d=bars, class_="bars"),
        tag("path", d=path(places), class_="line val"),
        tag("path", d="".join(f"M{a:.0f} {b:.0f}h0" for a, b in places), class_="dots"),
        _label(below, (LEFT + WIDTH - RIGHT) / 2, height - 4),
    )


def svg(title: str, height: int, *inside: Child) -> Html:
    """Wrap a drawing; ``title`` is what a screen reader says."""
    return tag(
        "svg",
        tag("title", title),
        *inside,
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
    )


def path(points: Sequence[tuple[float, float]]) -> str:
    """Return a line through points, rounded, in few letters.

    Examples
    --------
    >>> path([(0.2, 1), (3, 4.4), (5, 0)])
    'M0 1l3 3 2-4'
    """
    if not points:
        return ""
    at = [(round(a), round(b)) for a, b in points]
    text = f"M{at[0][0]} {at[0][1]}"
    numbers = [number for (a, b), (c, d) in pairwise(at) for number in (c - a, d - b)]
    steps = "".join(f"{n}" if n < 0 else f" {n}" for n in numbers).lstrip()
    return f"{text}l{steps}" if steps else f"{text}h0"


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep every k-th point and the last, so that at most ``MOST_POINTS`` are left.

    Examples
    --------
    >>> len(thinned([(float(i), 0.0) for i in range(1000)])) <= MOST_POINTS
    True
    """
    every = -(-len(points) // (MOST_POINTS - 1))
    kept = list(points[:: max(1, every)])
    return kept if kept[-1:] == list(points[-1:]) else [*kept, points[-1]]


def _frame(
    x: Axis,
    y: Axis,
    x_scale: tuple[float, float, float],
    y_scale: tuple[float, float, float],
    below: str,
    *,
    floor: float | None = None,
) -> list[Child]:
    """Draw the axes, their numbers, and what the lower one counts."""
    bottom = y.start if floor is None else floor
    low, high, every = y_scale
    rules = "".join(
        f"M{x.start:.0f} {y(v):.0f}H{x.end:.0f}" for v in _ticks(low, high, every)
    )
    texts = [
        tag("text", _short(v), x=LEFT - 5, y=f"{y(v) + 4:.0f}", class_="end")
        for v in _ticks(low, high, every)
    ]
    middle = (x.start + x.end) / 2
    return [
        tag("path", d=rules, class_="rule"),
        texts,
        _ruler(x, bottom, *x_scale, is_ruled=False),
        _label(below, middle, bottom + BELOW - 4) if below else None,
    ]


def _ruler(
    x: Axis, bottom: float, low: float, high: float, every: float, is_ruled: bool = True
) -> list[Child]:
    """Draw the numbers of the lower axis, and lines up from them."""
    ticks = _ticks(low, high, every)
    up = "".join(f"M{x(v):.0f} {TOP}V{bottom:.0f}" for v in ticks)
    return [
        tag("path", d=up, class_="rule") if is_ruled else None,
        [
            tag("text", _short(v), x=f"{x(v):.0f}", y=f"{bottom + 13:.0f}")
            for v in ticks
        ],
    ]


def _label(text: str, x: float, y: float) -> Html:
    return tag("text", text, x=f"{x:.0f}", y=f"{y:.0f}", class_="label")


def _whole(low: float, high: float) -> tuple[float, float, float]:
    """Return a scale of whole numbers, as of epochs, that ends where they do."""
    if high - low < 1:
        return low - 1, high + 1, 1.0
    return low, high, max(1.0, nice(low, high)[2])


def _ticks(low: float, high: float, every: float) -> list[float]:
    first = -_floor(-low / every + 1e-9)
    last = _floor(high / every + 1e-9)
    return [round(k * every, 12) for k in range(first, last + 1)]


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return (min(values), max(values)) if values else (0.0, 1.0)


def _short(value: float) -> str:
    return f"{value:.4g}"


def _cut(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:15]}…"


def _floor(value: float) -> int:
    whole = int(value)
    return whole - 1 if whole > value else whole


def _floor_log10(value: float) -> int:
    return int(f"{value:e}".partition("e")[2])
