"""A reference changes with its reason, whole or not at all; and the verb's manners."""

from __future__ import annotations

import datetime
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from eegfm_bench.cli import app
from eegfm_bench.errors import SpecError
from eegfm_bench.report._gate_update import find_changelog, update_reference
from eegfm_bench.report._reference import write_together
from eegfm_bench.report.gate import (
    GateRow,
    read_reference,
    reference_rows,
    write_reference,
)
from eegfm_bench.sweep import run as sweeping
from tests.report_records import broken, done, seeds, spec_of

TODAY = datetime.date(2026, 3, 1)
CHANGELOG = """# Changelog

## Unreleased

### Numbers
- What moved before.

### Removed
- A thing.

## 0.1.0
### Numbers
- Long ago.
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return where a reference would lie, below a changelog."""
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / "results" / "smoke").mkdir(parents=True)
    return tmp_path / "results" / "smoke" / "reference.csv"


def rows_of(*values: float, model: str = "eegnet") -> list[GateRow]:
    return reference_rows("smoke", seeds(model, "eyes", values))


def update(place: Path, rows: Sequence[GateRow], because: str = "A filter.") -> str:
    return update_reference(place, rows, because=because, today=TODAY)


def changelog(place: Path) -> str:
    return (place.parents[2] / "CHANGELOG.md").read_text()


def test_the_reason_and_the_largest_move_go_under_numbers(place: Path) -> None:
    assert "the first, 16 scores" in update(place, rows_of(0.7, 0.8), "First ever")
    line = update(place, rows_of(0.7, 0.75), "A new\n  filter")
    assert line == (
        "`smoke`: A new filter. Reference of 2026-03-01: 6 of 16 scores moved, most "
        "eegnet on eyes seed 1 test auc_pr, 0.8000 to 0.7500."
    )
    assert read_reference(place) == rows_of(0.7, 0.75)
    text = changelog(place)
    assert text == CHANGELOG.replace(
        "- What moved before.\n",
        "- What moved before.\n"
        "- `smoke`: First ever. Reference of 2026-03-01: the first, 16 scores.\n"
        "- `smoke`: A new filter. Reference of 2026-03-01: 6 of 16 scores moved, most "
        "eegnet on eyes seed 1\n  test auc_pr, 0.8000 to 0.7500.\n",
    )
    assert "8 new, 8 gone" in update(place, rows_of(0.7, model="trace") + rows_of(0.7))


def test_nothing_is_written_where_nothing_differs(place: Path) -> None:
    update(place, rows_of(0.7))
    before = changelog(place)
    assert update(place, rows_of(0.7)) == ""
    assert changelog(place) == before


def test_a_damaged_reference_can_be_written_anew(place: Path) -> None:
    place.write_text("rubbish\n")
    assert "the one before could not be read" in update(place, rows_of(0.7))
    assert read_reference(place) == rows_of(0.7)


def test_without_a_reason_or_a_changelog_nothing_is_written(
    place: Path, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match="--because"):
        update(place, rows_of(0.7), " \n")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n")
    with pytest.raises(SpecError, match="no heading '## Unreleased'"):
        update(place, rows_of(0.7))
    (tmp_path / "CHANGELOG.md").unlink()
    with pytest.raises(SpecError, match=r"There is no CHANGELOG\.md"):
        update(place, rows_of(0.7))
    assert not place.exists()


def test_a_changelog_keeps_its_own_ways(place: Path) -> None:
    """Another line end, another heading, no numbers yet."""
    file = place.parents[2] / "CHANGELOG.md"
    file.write_bytes(b"## [Unreleased]\r\n\r\n### Added\r\n- A thing.\r\n")
    file.chmod(0o600)
    update(place, rows_of(0.7), "Why")
    assert file.read_bytes() == (
        b"## [Unreleased]\r\n\r\n### Added\r\n- A thing.\r\n\r\n### Numbers\r\n"
        b"- `smoke`: Why. Reference of 2026-03-01: the first, 8 scores.\r\n"
    )
    assert file.stat().st_mode & 0o777 == 0o600
    near = place.parent / "CHANGELOG.md"
    near.write_text("## Unreleased\n")
    assert find_changelog(place) == near


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("disk full")])
@pytest.mark.parametrize(("what", "after"), [("replace", 0), ("replace", 1)])
@pytest.mark.parametrize("is_new", [True, False])
def test_an_interruption_leaves_both_files_as_they_were(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    what: str,
    after: int,
    is_new: bool,
) -> None:
    if not is_new:
        write_reference(place, rows_of(0.5))
    before = {p: p.read_bytes() for p in place.parents[2].rglob("*") if p.is_file()}
    sound, calls = getattr(Path, what), []

    def interrupted(self: Path, *args: Any) -> Any:
        calls.append(self)
        if len(calls) > after:
            raise error
        return sound(self, *args)

    monkeypatch.setattr(Path, what, interrupted)
    with pytest.raises((KeyboardInterrupt, OSError)):
        update(place, rows_of(0.7))
    monkeypatch.undo()
    left = {p: p.read_bytes() for p in place.parents[2].rglob("*") if p.is_file()}
    assert left == before


def test_an_interruption_while_writing_leaves_no_file_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(number: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_together({tmp_path / "a": "1", tmp_path / "b": "2"})
    assert list(tmp_path.iterdir()) == []


class Answers:
    """Stands in for a sweep: gives records instead of training."""

    def __init__(self, by: float = 0.0, broken_seeds: Sequence[int] = ()) -> None:
        self.by, self.broken_seeds = by, broken_seeds
        self.asked: list[int] = []

    def __call__(self, cells: Any, numbers: list[int], *_: Any) -> Any:
        self.asked = numbers
        specs = [spec_of("eegnet", "eyes", seed) for seed in numbers]
        records = [
            broken(spec)
            if spec.seed in self.broken_seeds
            else done(spec, 0.8 + (0.01 if spec.seed % 2 else -0.01) - self.by)
            for spec in specs
        ]
        found = sweeping.Sweep(specs=specs)
        found.records = lambda runs: records  # type: ignore[method-assign]
        return found


@pytest.fixture
def gate(place: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def call(answers: Answers, *argv: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sweeping, "sweep", answers)
        words = ["gate", "smoke", "--against", str(place), *argv]
        result = CliRunner().invoke(app.app, words, standalone_mode=False)
        if isinstance(result.exception, Exception):
            raise result.exception
        return int(result.return_value or result.exit_code), result.stdout, ""

    return call


def test_the_verb_asks_for_seeds_that_the_reference_has_not(
    place: Path, gate: Any, tmp_path: Path
) -> None:
    write_reference(place, rows_of(*[0.79, 0.81] * 4))
    statistical = ("--mode", "statistical")
    status, text, _ = gate(answers := Answers(), *statistical)
    assert answers.asked == [*range(8, 16)]
    assert status == 0
    assert "1 no worse, 0 worse, 0 cannot tell" in text
    gate(answers := Answers(), *statistical, "--seeds", "5")
    assert answers.asked == [*range(8, 13)]
    gate(answers := Answers(), *statistical, "--seeds", "0,1,2")
    assert answers.asked == [0, 1, 2]
    status, text, _ = gate(Answers(by=0.1), *statistical, "--format", "md")
    assert status == 1
    assert text.startswith(
        "**The gate does not hold (statistical): 0 no worse, 1 worse"
    )
    out = tmp_path / "summary.md"
    status, text, _ = gate(Answers(by=0.1), *statistical, "--out", str(out), "--json")
    assert status == 1
    assert out.read_text().startswith("**The gate does not hold")
    assert json.loads(text)["rule"]["seeds_measured"] == [*range(8, 16)]
    status, text, _ = gate(Answers(broken_seeds=[9]), *statistical)
    assert status == 1
    assert "no score with seed 9" in text


def test_the_verb_updates_with_a_reason_alone(place: Path, gate: Any) -> None:
    with pytest.raises(SpecError, match="--because"):
        gate(answers := Answers(), "--update")
    assert answers.asked == []
    status, text, _ = gate(answers, "--update", "--because", "A filter", "--json")
    assert status == 0
    assert json.loads(text) == {"saved": str(place)}
    assert answers.asked == [0, 1]
    assert "- `smoke`: A filter. Reference of 20" in changelog(place)
    assert gate(Answers())[0] == 0
    shutil.rmtree(place.parents[1])
    (place.parents[2] / "CHANGELOG.md").unlink()
    with pytest.raises(SpecError, match=r"There is no CHANGELOG\.md"):
        gate(answers := Answers(), "--update", "--because", "A filter")
    assert answers.asked == []


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--because", "x"], "goes with --update"),
        (["--seeds", "3"], "Add --mode statistical"),
        (["--update", "--because", "x", "--seeds", "3"], "the suite's own seeds"),
        (["--format", "html"], "No gate format is called 'html'"),
        (["--out", "x.pdf"], "the ending tells no format"),
    ],
)
def test_the_verb_refuses_what_does_not_go_together(
    place: Path, gate: Any, argv: list[str], says: str
) -> None:
    write_reference(place, rows_of(0.7, 0.8))
    answers = Answers()
    with pytest.raises(Exception, match=says):
        gate(answers, *argv)
    assert answers.asked == []


def test_a_reference_of_another_suite_is_refused_before_anything_runs(
    place: Path, gate: Any
) -> None:
    write_reference(place, [replace(row, suite="gate") for row in rows_of(0.7, 0.8)])
    with pytest.raises(SpecError, match="holds scores of the suite gate, and 'smoke'"):
        gate(answers := Answers())
    assert answers.asked == []


def test_a_report_is_shown_where_its_file_cannot_be_written(
    place: Path, gate: Any, tmp_path: Path
) -> None:
    write_reference(place, rows_of(0.79, 0.81))
    (tmp_path / "file").write_text("")
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer, "echo", said.append)
        with pytest.raises(OSError, match="file"):
            gate(Answers(), "--out", str(tmp_path / "file" / "summary.md"))
    assert said[0].startswith("The gate holds")
