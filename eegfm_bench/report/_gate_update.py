"""A new reference and the changelog line that says why, written together.

From: the rows of a run, and a person's reason. To: the reference file, and a line
under "Numbers" of the nearest ``CHANGELOG.md``. Neither is written without the other.
"""

from __future__ import annotations

import datetime
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from eegfm_bench.errors import BenchError, SpecError
from eegfm_bench.report._cells import EVENTS_SHOWN, LOWER_IS_BETTER
from eegfm_bench.report._reference import (
    GateRow,
    read_reference,
    reference_text,
    write_together,
)

NAME = "CHANGELOG.md"
WIDTH = 100
_UNRELEASED = re.compile(r"^##\s+\[?unreleased\]?", re.IGNORECASE)
_NUMBERS = re.compile(r"^###\s+numbers\s*$", re.IGNORECASE)
MOVED = 1e-6  # what the exact gate lets pass


def find_changelog(reference: Path) -> Path:
    """Return the changelog that a reference's changes are told in.

    That is ``CHANGELOG.md`` in the reference's folder or the nearest above it.

    Raises
    ------
    SpecError
        If there is none, or it has no section for what is not released yet.
    """
    folder = reference.resolve().parent
    for place in (folder, *folder.parents):
        file = place / NAME
        if file.is_file():
            with_line(_read(file), "try", file)
            return file
    raise SpecError(
        f"There is no {NAME} beside {reference} or above, and a reference changes only "
        f"with a line in it. Make one with the headings '## Unreleased' and "
        f"'### Numbers', or keep the reference inside the project."
    )


def update_reference(
    path: Path, rows: Sequence[GateRow], *, because: str, today: datetime.date
) -> str:
    """Write a reference, and why it changed; return the line.

    Parameters
    ----------
    path : path
        The reference file.
    rows : GateRows
        Of one suite, whole.
    because : str
        The reason, in a person's words.
    today : date

    Returns
    -------
    line : str
        What was added to the changelog; "" where the reference says the same already,
        and then nothing is written.

    Raises
    ------
    SpecError
        If there is no reason, no changelog, or no scores.
    """
    reason = refuse_no_reason(because)
    changelog = find_changelog(path)
    text = reference_text(rows)
    if path.is_file() and path.read_bytes() == text.encode():
        return ""
    stop = "" if reason.endswith((".", "!", "?")) else "."
    line = (
        f"`{rows[0].suite}`: {reason}{stop} Reference of {today.isoformat()}: "
        f"{what_moved(path, rows)}."
    )
    # The reason first: no instant has new numbers without one.
    write_together(
        {changelog: with_line(_read(changelog), line, changelog), path: text}
    )
    return line


def refuse_no_reason(because: str | None) -> str:
    """Return the reason in one line.

    Raises
    ------
    SpecError
        If there is none.
    """
    reason = " ".join((because or "").split())
    if not reason:
        raise SpecError(
            "--update changes what later runs are held against, and nobody would know "
            'why. Say it with --because "TEXT": which numbers move, and why; it goes '
            f"into {NAME}, under Numbers."
        )
    return reason


def what_moved(path: Path, rows: Sequence[GateRow]) -> str:
    """Say how rows differ from the reference that a file holds now."""
    if not path.is_file():
        return f"the first, {len(rows)} scores"
    try:
        old = {(*r.cell, r.seed): r for r in read_reference(path)}
    except BenchError:
        return f"{len(rows)} scores; the one before could not be read"
    new = {(*r.cell, r.seed): r for r in rows}
    both = [(old[key], new[key]) for key in new if key in old]
    moved = [(a, b) for a, b in both if _move(a, b) > MOVED]
    said = f"{len(moved)} of {len(both)} scores moved"
    if not moved:
        said = f"none of {len(both)} scores moved"
    # Log loss and false alarms have no fixed scale to compare with the others'.
    unscaled = {*LOWER_IS_BETTER, *EVENTS_SHOWN}
    if scaled := [pair for pair in moved if pair[0].metric not in unscaled]:
        a, b = max(scaled, key=lambda pair: _move(*pair))
        said += (
            f", most {a.model} on {a.dataset} seed {a.seed} {a.part} {a.metric}, "
            f"{_shown(a.value)} to {_shown(b.value)}"
        )
    more = [
        f"{len(new.keys() - old.keys())} new",
        f"{len(old.keys() - new.keys())} gone",
    ]
    more = [text for text in more if not text.startswith("0 ")]
    return f"{said}; {', '.join(more)}" if more else said


def with_line(text: str, line: str, file: Path) -> str:
    """Return a changelog with one more line at the end of its unreleased Numbers.

    Raises
    ------
    SpecError
        If it has no unreleased section.
    """
    end_of_line = "\r\n" if "\r\n" in text else "\n"
    lines = text.split(end_of_line)
    start = next((i for i, x in enumerate(lines) if _UNRELEASED.match(x)), None)
    if start is None:
        raise SpecError(
            f"{file} has no heading '## Unreleased' for the line that says why numbers "
            f"moved. Add it, and '### Numbers' below."
        )
    after = [i for i in range(start + 1, len(lines)) if lines[i].startswith("## ")]
    end = after[0] if after else len(lines)
    numbers = [i for i in range(start, end) if _NUMBERS.match(lines[i])]
    added = textwrap.wrap(
        line,
        WIDTH,
        initial_indent="- ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    if numbers:
        within = range(numbers[0] + 1, end)
        end = next((i for i in within if lines[i].startswith("### ")), end)
    else:
        added = ["", "### Numbers", *added]
    while not lines[end - 1].strip():
        end -= 1
    return end_of_line.join([*lines[:end], *added, *(lines[end:] or [""])])


def _read(file: Path) -> str:
    try:
        # As it is: line ends of its own are kept.
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(
            f"{file} is not text in UTF-8. Write it anew as such."
        ) from error


def _move(a: GateRow, b: GateRow) -> float:
    if a.value is None or b.value is None:
        return 0.0 if a.value is b.value else 1.0
    return abs(a.value - b.value)


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
