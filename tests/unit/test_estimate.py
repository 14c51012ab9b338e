"""How long it would take: asked about when it is long, or when nobody knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eegfm_bench.cli import show
from eegfm_bench.errors import SpecError
from eegfm_bench.sweep.launch import InlineLauncher
from eegfm_bench.sweep.options import Estimate
from eegfm_bench.sweep.run import Options, sweep
from eegfm_bench.sweep.specs import cells_of


class Timed(InlineLauncher):
    """Prepare for real; answer questions for an estimate as told; fit nothing."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.fitted: list[str] = []

    def each(self, tasks: Iterable[Any], on_event: Any = None) -> Iterator[Any]:
        for task in tasks:
            model = task["spec"]["model"] if "spec" in task else ""
            if task["task"] == "estimate":
                yield task, self.answers[model]
            elif task["task"] == "fit":
                self.fitted.append(model)
                yield task, {"failure": None}
            else:
                yield from super().each([task], on_event)


LOST = {"error": "estimate: OutOfMemoryError: no room\nat line 3", "kind": "BenchError"}


def asked_of(
    tmp_path: Path, answers: dict[str, Any], epochs: int, *, goes: bool
) -> tuple[list[Estimate], list[str]]:
    """The estimates that a person is asked about, and the models then fitted."""
    asked: list[Estimate] = []

    def confirm(estimate: Estimate) -> bool:
        asked.append(estimate)
        return goes

    launcher = Timed(answers)
    options = Options(
        runs=tmp_path, device="cpu", launcher=launcher, confirm=confirm, jobs=1
    )
    cells = cells_of(list(answers), ["eegmat"], "small", {"epochs": epochs})
    try:
        sweep(cells, [0, 1], options)
    finally:
        assert goes or not launcher.fitted
    return asked, launcher.fitted


MANY = 10**6


def test_a_cell_that_cannot_be_timed_is_asked_about(tmp_path: Path) -> None:
    answers = {"eegnet": {"seconds": 5.0}, "ffcl": LOST}
    (estimate,), fitted = asked_of(tmp_path, answers, MANY, goes=True)
    assert (estimate.seconds, estimate.n_unknown, estimate.n_cells) == (10.0, 2, 4)
    assert estimate.why == "ffcl on eegmat: estimate: OutOfMemoryError: no room"
    assert sorted(fitted) == ["eegnet"] * 2 + ["ffcl"] * 2


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({"eegnet": {"seconds": 9000.0}}, r"would take about 5.0 hours. Pass --yes"),
        ({"eegnet": LOST}, r"2 of 2 cells for which there is no estimate \(eegnet on"),
        ({"eegnet": {"died": "signal SIGKILL"}}, r"\(eegnet on eegmat: signal SIGKILL"),
        (
            {"eegnet": {"seconds": 5.0}, "ffcl": LOST},
            r"about 10 s, and 2 of 4 cells .* no room\). Pass --yes",
        ),
    ],
)
def test_without_a_yes_nothing_is_run(
    tmp_path: Path, answers: dict[str, Any], says: str
) -> None:
    with pytest.raises(SpecError, match=says):
        asked_of(tmp_path, answers, MANY, goes=False)


def test_what_is_short_is_not_asked_about(tmp_path: Path) -> None:
    for epochs, answers in (
        (MANY, {"eegnet": {"seconds": 5.0}}),
        (1, {"eegnet": LOST}),
    ):
        runs = tmp_path / str(epochs)
        assert asked_of(runs, answers, epochs, goes=True) == ([], ["eegnet"] * 2)


def test_a_person_reads_the_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    estimate = Estimate(seconds=7200.0, n_cells=9, n_unknown=1, why="[a] on b: lost")
    assert show.confirm(True)(estimate)
    said = capsys.readouterr().err
    assert "about 2.0 hours, and 1 of 9 cells for which there is no" in said
    assert "[a] on b: lost" in said


def test_an_hour_is_announced_and_asked_for(tmp_path: Path) -> None:
    asked: list[Estimate] = []

    def refuse(estimate: Estimate) -> bool:
        asked.append(estimate)
        return False

    options = Options(
        runs=tmp_path, device="cpu", launcher=InlineLauncher(), confirm=refuse
    )
    cells = cells_of(["eegnet"], ["eegmat"], "small", {"epochs": MANY})
    with pytest.raises(SpecError, match=r"take about .* hours. Pass --yes"):
        sweep(cells, [0, 1], options)
    assert asked[0].seconds > 3600
    assert asked[0].n_unknown == 0
    assert not list(tmp_path.glob("eegnet*"))
