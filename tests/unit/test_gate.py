"""The gate: what moved is found, and what cannot be told is not passed off."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from eegfm_bench.errors import (
    DataMissing,
    RunFailed,
    SpecError,
    StoreError,
    UnknownName,
)
from eegfm_bench.report.gate import (
    GateReport,
    GateRow,
    compare,
    gate_to_console,
    read_reference,
    reference_rows,
    render_gate,
    write_reference,
)
from tests.report_records import broken, done, seeds, spec_of


@pytest.fixture
def rows() -> list[GateRow]:
    records = [
        *seeds("eegnet", "eyes", (0.7, 0.8)),
        done(spec_of("chance", "eyes"), 0.5, None),
    ]
    return reference_rows("smoke", records)


def cells(*values: float, **more: float) -> list[GateRow]:
    return reference_rows("smoke", seeds("eegnet", "eyes", values, **more))


def moved(rows: list[GateRow], value: float | None) -> list[GateRow]:
    return [*rows[:-1], replace(rows[-1], value=value)]


def test_both_parts_and_every_metric_are_held(rows: list[GateRow]) -> None:
    assert {row.part for row in rows} == {"val", "test"}
    metrics = {"balanced_accuracy", "auc_pr", "auroc", "log_loss"}
    assert {row.metric for row in rows} == metrics
    assert len(rows) == 3 * 2 * 4
    assert {row.suite for row in rows} == {"smoke"}


def test_a_reference_reads_back_to_the_bit(tmp_path: Path) -> None:
    rows = cells(0.1 + 0.2, 1 / 3)
    path = tmp_path / "results" / "smoke" / "reference.csv"
    write_reference(path, rows)
    assert read_reference(path) == rows
    assert compare(read_reference(path), rows).has_passed


def test_a_reference_file_does_not_depend_on_the_order_of_rows(
    tmp_path: Path, rows: list[GateRow]
) -> None:
    write_reference(tmp_path / "a.csv", rows)
    write_reference(tmp_path / "b.csv", rows[::-1])
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "b.csv"]


def test_an_undefined_score_is_an_empty_field(
    tmp_path: Path, rows: list[GateRow]
) -> None:
    write_reference(tmp_path / "a.csv", rows)
    back = read_reference(tmp_path / "a.csv")
    undefined = [r for r in back if r.model == "chance" and r.metric == "auc_pr"]
    assert [row.value for row in undefined] == [None, None]


def test_equal_scores_hold(rows: list[GateRow]) -> None:
    report = compare(rows, rows[::-1])
    assert report.has_passed
    assert report.count("pass") == len(rows)


@pytest.mark.parametrize(("delta", "holds"), [(9e-7, True), (2e-6, False)])
def test_a_score_may_not_move_by_more_than_a_millionth(
    rows: list[GateRow], delta: float, holds: bool
) -> None:
    value = rows[-1].value or 0.0
    report = compare(moved(rows, value + delta), rows)
    assert report.has_passed is holds
    line = next(x for x in report.lines if x.delta)
    assert line.delta == pytest.approx(delta, rel=1e-6)
    assert (line.reference, line.measured) == (value, value + delta)


def test_a_score_that_became_undefined_fails(rows: list[GateRow]) -> None:
    report = compare(moved(rows, None), rows)
    (line,) = [x for x in report.lines if x.outcome == "fail"]
    assert line.reason == "undefined in the runs alone"


def test_missing_and_extra_rows_fail(rows: list[GateRow]) -> None:
    (line,) = [x for x in compare(rows[1:], rows).lines if x.outcome == "fail"]
    assert line.reason.startswith("missing")
    (line,) = [x for x in compare(rows, rows[1:]).lines if x.outcome == "fail"]
    assert line.reason.startswith("extra")


def test_a_changed_question_names_both_runs() -> None:
    old, new = cells(0.7, lr=0.001), cells(0.7, lr=0.002)
    report = compare(new, old)
    assert len(report.lines) == report.count("fail") == len(old)
    expected = (
        f"the question changed: reference {old[0].run_id}, measured {new[0].run_id}"
    )
    assert {line.reason for line in report.lines} == {expected}
    assert not compare(new, old, "statistical").has_passed


def test_failed_runs_are_refused_or_found_missing() -> None:
    records = [*seeds("eegnet", "eyes", (0.7,)), broken(spec_of("chance"))]
    with pytest.raises(RunFailed, match=r"1 of 2 runs failed.*chance-eyes-s0"):
        reference_rows("smoke", records)
    assert {r.model for r in reference_rows("smoke", records, skip_failed=True)} == {
        "eegnet"
    }


def test_nothing_compared_is_not_a_pass(tmp_path: Path, rows: list[GateRow]) -> None:
    with pytest.raises(SpecError, match="no measured scores"):
        compare([], rows)
    with pytest.raises(SpecError, match="no reference scores"):
        compare(rows, [])
    with pytest.raises(SpecError, match="twice"):
        compare([*rows, rows[0]], rows)
    with pytest.raises(SpecError, match="no scores to keep"):
        write_reference(tmp_path / "a.csv", [])
    assert list(tmp_path.iterdir()) == []


def test_a_reference_that_cannot_be_read_says_what_to_do(
    tmp_path: Path, rows: list[GateRow]
) -> None:
    path = tmp_path / "reference.csv"
    with pytest.raises(DataMissing, match="--update"):
        read_reference(path)
    write_reference(path, rows)
    text = path.read_text()
    path.write_text(text.splitlines()[0] + "\n")
    with pytest.raises(StoreError, match="no rows"):
        read_reference(path)
    path.write_text(text.replace("metric", "measure", 1))
    with pytest.raises(StoreError, match="expected suite, model"):
        read_reference(path)


def test_damage_in_a_reference_is_found_by_line_and_field(
    tmp_path: Path, rows: list[GateRow]
) -> None:
    path = tmp_path / "reference.csv"
    write_reference(path, rows)
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    damages = {
        "line 3, field value: found 'high', expected a finite number": text.replace(
            ",0.5,", ",high,", 1
        ),
        "line 3, field value: found 'nan', expected a finite": text.replace(
            ",0.5,", ",nan,", 1
        ),
        "line 2, field seed: found '-1', expected a whole number": text.replace(
            "scratch,scratch,0,", "scratch,scratch,-1,", 1
        ),
        "line 2, field seed: found '0.5'": text.replace(
            "scratch,scratch,0,", "scratch,scratch,0.5,", 1
        ),
        "line 2, field model: empty": text.replace("smoke,chance,", "smoke,,", 1),
        "line 3: 16 fields; expected 15": "".join(
            [*lines[:2], lines[2].rstrip("\n") + ",more\n", *lines[3:]]
        ),
        "line 25: 5 fields; expected 15": "".join(lines[:-1])
        + ",".join(lines[-1].split(",")[:5]),
        "line 26: .* again, as on line 25; expected once": text + lines[-1],
    }
    for says, damaged in damages.items():
        path.write_text(damaged)
        with pytest.raises(StoreError, match=says) as refused:
            read_reference(path)
        assert str(path) in str(refused.value)
        assert "--update" in str(refused.value)
    path.write_bytes(text.encode()[:3000] + b"\xff\xfe")
    with pytest.raises(StoreError, match=r"line \d+: not text in UTF-8"):
        read_reference(path)


def test_a_report_reads_well_everywhere(rows: list[GateRow]) -> None:
    report = compare(moved(rows, 0.25), rows)
    text = render_gate(report, "md")
    assert text.startswith("**The gate does not hold (exact): 23 pass, 1 fail.**")
    assert text.count("| fail |") == 1
    document = json.loads(render_gate(report, "json"))
    assert document["passed"] is False
    assert len(document["lines"]) == len(rows)
    assert report.to_dict() == document
    assert report.to_text().splitlines()[1] == (
        "fail: eegnet on eyes seed 1, val log_loss: reference 0.500000, measured "
        "0.250000, delta -2.50e-01 (differs by more than 1e-06)"
    )
    with pytest.raises(UnknownName):
        render_gate(report, "html")
    with pytest.raises(UnknownName, match="Did you mean 'exact'"):
        compare(rows, rows, "exactly")
    assert "differs by more than 1e-06" in _on_console(report)
    assert _on_console(compare(rows, rows)).strip() == (
        "The gate holds (exact): 24 pass, 0 fail."
    )


def _on_console(report: GateReport) -> str:
    out = io.StringIO()
    Console(width=140, file=out).print(gate_to_console(report))
    return out.getvalue()
