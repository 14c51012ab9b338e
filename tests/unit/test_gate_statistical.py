"""The statistical gate: worse is shown, no worse is shown, or it says neither."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from eegfm_bench.errors import SpecError
from eegfm_bench.report import _gate_drops as drops
from eegfm_bench.report.gate import (
    GateLine,
    GateReport,
    GateRow,
    compare,
    gate_to_console,
    other_seeds,
    reference_rows,
    render_gate,
)
from tests.report_records import done, seeds, spec_of

QUIET = (0.80, 0.81, 0.79, 0.80, 0.80, 0.81, 0.79, 0.80)


def cells(
    *values: float | None, model: str = "eegnet", first: int = 0
) -> list[GateRow]:
    """Return one cell's rows, seeds from ``first`` on."""
    made = [
        done(spec_of(model, "eyes", first + i), 0.5, 0.5, value)
        for i, value in enumerate(values)
    ]
    return reference_rows("smoke", made)


def lower(values: tuple[float, ...], by: float) -> tuple[float, ...]:
    return tuple(value - by for value in values)


def gate(new: list[GateRow], old: list[GateRow], **more: object) -> GateReport:
    return compare(new, old, "statistical", **more)  # type: ignore[arg-type]


def only(new: list[GateRow], old: list[GateRow]) -> GateLine:
    (line,) = gate(new, old).lines
    return line


def test_a_cell_is_judged_once_by_its_main_test_score() -> None:
    line = only(cells(*QUIET, first=8), cells(*QUIET))
    assert (line.metric, line.part, line.model) == ("auroc", "test", "eegnet")
    more = reference_rows("smoke", seeds("eegnet", "faced", QUIET, n_classes=4))
    assert only(more, more).metric == "cohen_kappa"


def test_other_seeds_are_worse_no_worse_or_cannot_tell() -> None:
    old = cells(*QUIET)
    assert only(cells(*QUIET, first=8), old).outcome == "no worse"
    worse = only(cells(*lower(QUIET, 0.03), first=8), old)
    assert worse.outcome == "worse"
    assert worse.delta == pytest.approx(-0.03)
    assert "n = 8 against 8; a drop is shown" in worse.reason
    better = only(cells(*lower(QUIET, -0.03), first=8), old)
    assert better.outcome == "no worse"
    assert better.is_gain
    noisy = (0.60, 0.70, 0.80, 0.75, 0.85)
    unsure = only(cells(*lower(noisy, 0.05), first=8), cells(*noisy))
    assert unsure.outcome == "cannot tell"
    assert "is possible" in unsure.reason
    level = only(cells(*noisy, first=8), cells(*noisy))  # no drop, and much noise
    assert (level.delta, level.outcome) == (pytest.approx(0), "cannot tell")


def test_evidence_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for n_old, n_new in [(2, 2), (8, 8), (5, 12)]:
        old, new = rng.normal(0.8, 0.02, n_old), rng.normal(0.78, 0.05, n_new)
        evidence = drops.weigh(
            dict(enumerate(old)), {n_old + i: v for i, v in enumerate(new)}
        )
        theirs = stats.ttest_ind(new, old, equal_var=False, alternative="less")
        p = evidence.p_drop if evidence.delta < 0 else 1 - evidence.p_gain
        assert p == pytest.approx(theirs.pvalue, rel=1e-9)
        assert evidence.freedom == pytest.approx(theirs.df, rel=1e-9)
        ((_, _, drop, _),) = drops.judge([evidence], [1e-6])
        assert drop is not None
        theirs = stats.ttest_ind(new, old, equal_var=False, alternative="greater")
        assert drop.low == pytest.approx(theirs.confidence_interval(0.95).low)
    old, new = rng.normal(0.8, 0.02, 6), rng.normal(0.7, 0.02, 6)
    evidence = drops.weigh(dict(enumerate(old)), dict(enumerate(new)))
    paired = stats.ttest_rel(new, old, alternative="less")
    assert evidence.is_paired
    assert evidence.p_drop == pytest.approx(paired.pvalue, rel=1e-9)


def test_the_same_seeds_are_paired_and_see_more() -> None:
    noisy = (0.60, 0.70, 0.80, 0.75, 0.85, 0.65, 0.72, 0.78)
    fallen = tuple(v - 0.02 - 0.001 * (i % 3) for i, v in enumerate(noisy))
    paired, apart = (
        only(cells(*fallen, first=first), cells(*noisy)) for first in (0, 8)
    )
    assert (paired.outcome, apart.outcome) == ("worse", "cannot tell")
    assert paired.drop is not None
    assert paired.drop.is_paired
    mixed = only(cells(*noisy, first=6), cells(*noisy))
    assert mixed.drop is not None
    assert (mixed.drop.n_measured, mixed.drop.n_reference) == (2, 2)
    (one,) = gate(cells(*noisy, first=7), cells(*noisy)).lines
    assert one.outcome == "cannot tell"
    assert "one seed in common" in one.reason


def test_equal_scores_and_rounding_are_no_drop() -> None:
    old = cells(*QUIET)
    assert only(cells(*QUIET), old).outcome == "no worse"
    # Every seed lower by the same hair: without noise, and yet no drop.
    assert only(cells(*lower(QUIET, 1e-8)), old).outcome == "no worse"


def test_a_score_that_seeds_do_not_move_may_not_drop_at_all() -> None:
    old, hair = cells(*[0.9] * 8), cells(*[0.895] * 8, first=8)
    line = only(hair, old)
    assert line.outcome == "worse"
    assert "seeds do not move this score" in line.reason
    assert only(cells(*[0.9] * 2, first=8), old).outcome == "no worse"
    assert only(cells(*[0.905] * 2, first=8), old).is_gain
    elsewhere = [replace(row, arithmetic="another") for row in hair]
    assert only(elsewhere, old).outcome == "no worse"  # rounding may do that
    far = [replace(row, arithmetic="another") for row in cells(*[0.88] * 8, first=8)]
    assert only(far, old).outcome == "worse"


def test_a_reference_that_happens_to_be_constant_is_not_taken_for_fixed() -> None:
    """All its seeds reached the ceiling; one new seed did not quite."""
    line = only(cells(*[1.0] * 7, 0.999, first=8), cells(*[1.0] * 8))
    assert line.outcome == "no worse"
    assert line.drop is not None


@pytest.mark.parametrize("n", [(1, 1), (8, 1), (1, 8)])
def test_one_seed_on_a_side_tells_nothing(n: tuple[int, int]) -> None:
    new, old = cells(*[0.1, 0.2, *[0.1] * 6][: n[1]], first=9), cells(*QUIET[: n[0]])
    line = only(new, old)
    assert line.outcome == "cannot tell"
    assert "one seed on a side" in line.reason
    report = gate(new, old)
    assert report.has_passed
    assert "no drop is seen" in report.to_text()


def test_the_family_makes_one_cell_harder_to_fail() -> None:
    fallen = (0.79, 0.77, 0.78, 0.80, 0.78)
    alone = only(cells(*fallen, first=8), cells(*QUIET[:5]))
    assert alone.drop is not None
    others_old = [r for m in "abcdefgh" for r in cells(*QUIET[:5], model=m)]
    others_new = [r for m in "abcdefgh" for r in cells(*QUIET[:5], model=m, first=8)]
    report = gate(cells(*fallen, first=8) + others_new, cells(*QUIET[:5]) + others_old)
    (among,) = [line for line in report.lines if line.model == "eegnet"]
    assert among.drop is not None
    assert report.rule is not None
    assert report.rule.n_compared == 10  # nine cells, and their mean
    assert among.drop.p_value == pytest.approx(10 * alone.drop.p_value)
    assert among.drop.visible > alone.drop.visible


def test_a_small_drop_of_every_cell_shows_in_their_mean() -> None:
    rng = np.random.default_rng(3)
    old, new = [], []
    for model in ("a", "b", "c", "d", "e", "f"):
        old += cells(*rng.normal(0.80, 0.02, 8), model=model)
        new += cells(*rng.normal(0.77, 0.02, 8), model=model, first=8)
    lines = {line.run: line for line in gate(new, old).lines}
    assert lines["all cells together"].outcome == "worse"
    # A score that seeds do not move is no part of the mean, nor of the family.
    fixed = [0.9] * 8
    report = gate(
        new + cells(*fixed, model="g", first=8), old + cells(*fixed, model="g")
    )
    assert report.rule is not None
    assert report.rule.n_compared == 7
    assert lines["all cells together"] in report.lines


def test_missing_cells_and_seeds_fail_and_extra_ones_are_listed() -> None:
    old = cells(*QUIET) + cells(*QUIET, model="trace")
    new = cells(*QUIET, first=8)
    report = gate(new, old)
    assert not report.has_passed
    assert report.count("missing") == 1
    assert "the runs do not" in report.to_text()
    report = gate(old, cells(*QUIET))
    assert report.has_passed
    assert report.count("extra") == 1
    report = gate(new[:-8], cells(*QUIET), seeds=range(8, 16))
    (line,) = report.lines
    assert (line.outcome, report.has_passed) == ("missing", False)
    assert line.reason == "no score with seed 15: failed or not run"


def test_a_score_that_became_undefined_fails() -> None:
    old, holed = cells(*QUIET), cells(*QUIET[:-1], None)
    line = only(cells(*QUIET[:-1], None, first=8), old)
    assert (line.outcome, line.reason) == (
        "missing",
        "undefined in 1 of 8 runs, in none of the reference",
    )
    assert only(cells(*[None] * 8, first=8), holed).outcome == "missing"
    assert only(cells(*QUIET, first=8), cells(*[None] * 8)).outcome == "cannot tell"
    line = only(cells(*QUIET[:-1], None, first=8), holed)
    assert line.outcome == "no worse"
    assert line.drop is not None
    assert (line.drop.n_measured, line.drop.n_reference) == (7, 7)


def test_a_changed_question_fails_and_names_both() -> None:
    made = reference_rows("smoke", seeds("eegnet", "eyes", QUIET, lr=0.5))
    line = only(made, cells(*QUIET))
    assert line.outcome == "missing"
    assert "the question changed: reference eegnet-eyes-" in line.reason


def test_rows_without_a_main_score_are_refused() -> None:
    rows = [row for row in cells(*QUIET) if row.metric != "auroc"]
    with pytest.raises(SpecError, match="neither auroc nor cohen_kappa of eegnet"):
        gate(rows, cells(*QUIET))
    with pytest.raises(SpecError, match="none of a test part"):
        gate([row for row in rows if row.part == "val"], cells(*QUIET))


def test_other_seeds_begin_after_the_references_last() -> None:
    assert other_seeds(cells(*QUIET, first=3)) == [*range(11, 19)]
    assert other_seeds(cells(*QUIET), 2) == [8, 9]


def test_a_statistical_report_reads_well_everywhere() -> None:
    old = cells(*QUIET) + cells(*QUIET, model="trace")
    new = cells(*lower(QUIET, 0.05), first=8) + cells(*QUIET, model="trace", first=8)
    report = gate(new, old)
    text = report.to_text()
    assert text.startswith(
        "The gate does not hold (statistical): 1 no worse, 2 worse, 0 cannot tell."
    )
    assert (
        "worse: eegnet on eyes, test AUROC: reference 0.8000, measured 0.7500" in text
    )
    assert "seeds 8–15 against 0–7 of the reference (Welch, unpaired)" in text
    assert "Holm over 3 comparisons" in text
    assert "Found four times in five: drops from 0.0" in text
    summary = render_gate(report, "md")
    assert summary.startswith("**The gate does not hold (statistical)")
    shown, folded = summary.split("<details>", 1)
    assert "eegnet on eyes" in shown
    assert "trace on eyes" not in shown
    assert "trace on eyes" in folded
    assert summary.count("<details>") == summary.count("</details>") == 2
    document = json.loads(render_gate(report, "json"))
    assert document == json.loads(json.dumps(report.to_dict()))
    assert document["rule"]["family_wise_error"] == 0.01
    assert {line["outcome"] for line in document["lines"]} == {"worse", "no worse"}
    out = io.StringIO()
    Console(width=160, file=out).print(gate_to_console(report))
    assert "a drop is shown" in out.getvalue()
    calm = gate(cells(*QUIET, first=8), cells(*QUIET))
    assert "Nothing moved that seeds do not explain." in render_gate(calm, "md")


def test_two_seeds_say_that_they_show_nothing() -> None:
    report = gate(cells(0.7, 0.9, first=8), cells(0.7, 0.85))
    assert report.has_passed
    assert "more than 1" in report.to_text()
    assert "Make the reference with more seeds." in report.to_text()


def test_no_mean_over_cells_is_judged_where_one_is_missing() -> None:
    models = ("eegnet", "biot", "ffcl")
    old = [row for m in models for row in cells(*QUIET, model=m)]
    new = [row for m in models for row in cells(*QUIET, model=m, first=8)]
    assert any(line.run == "all cells together" for line in gate(new, old).lines)
    fewer = [row for row in new if row.model != "ffcl"]
    lines = gate(fewer, old).lines
    assert sorted(line.outcome for line in lines) == ["missing", "no worse", "no worse"]
