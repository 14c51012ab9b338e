"""What is said while windows are cut: little, and how long it will still take."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from eegfm_bench.cli import display as display_module
from eegfm_bench.cli.display import Display


class Clock:
    """Time as a test wants it, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(display_module, "time", made)
    return made


def console(*, is_terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=is_terminal, width=100), out


def cut(display: Display, clock: Clock, steps: range, each_s: float) -> None:
    for done in steps:
        display.preparing("chbmit", done, 605)
        clock.now += each_s


def test_without_a_terminal_a_line_comes_once_a_minute(clock: Clock) -> None:
    to, out = console(is_terminal=False)
    with Display(to) as display:
        cut(display, clock, range(606), each_s=0.5)
    lines = out.getvalue().splitlines()
    assert lines[0] == "chbmit: 121 of 605 recordings cut, about 4 min 02 s left"
    assert lines[-1] == "chbmit: 605 recordings cut into windows, 5 min 02 s"
    assert len(lines) == 5


def test_a_short_preparation_says_its_end_alone(clock: Clock) -> None:
    to, out = console(is_terminal=False)
    with Display(to) as display:
        cut(display, clock, range(606), each_s=0.01)
    assert out.getvalue() == "chbmit: 605 recordings cut into windows, 6 s\n"


def test_work_taken_up_is_said_and_does_not_flatter_the_time_left(
    clock: Clock,
) -> None:
    to, out = console(is_terminal=False)
    with Display(to) as display:
        cut(display, clock, range(600, 604), each_s=90.0)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("chbmit: 600 of 605 recordings were cut before")
    assert lines[1] == "chbmit: 601 of 605 recordings cut, about 6 min 00 s left"


def test_a_terminal_shows_how_far_it_is(clock: Clock) -> None:
    to, _ = console(is_terminal=True)
    display = Display(to)
    cut(display, clock, range(3), each_s=60.0)
    with to.capture() as shown:
        to.print(display._render())
    assert "chbmit: 2 of 605 recordings cut, about 15 h 04 min left" in shown.get()
    display.planned([], [])
    with to.capture() as shown:
        to.print(display._render())
    assert "chbmit" not in shown.get()
