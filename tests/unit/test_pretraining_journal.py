"""What is noted of each step, and the pictures that are drawn of it."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eegfm_bench.errors import StoreError
from eegfm_bench.pretraining.journal import Journal, evenness
from eegfm_bench.pretraining.module import MicroReport, StepReport
from eegfm_bench.pretraining.plots import draw_plots
from eegfm_bench.runs.pretrain import PretrainSpec
from tests.small_corpus import corpus, pretrain, spec

NO = math.nan


def micro(source: int, h1: float, h2: float, counts: list[int]) -> MicroReport:
    known = [value for value in (h1, h2) if not math.isnan(value)]
    return MicroReport(
        source=source,
        tokens=10,
        loss=sum(known) / len(known),
        each={"h1": h1, "h2": h2},
        blocks=sum(counts) // 2,
        counts=np.array([counts], float),
        probability=np.ones((1, 4)),
        routed=np.array([counts], float) / 4,
        entropy=np.array([sum(counts) // 2 * math.log(4) / 2]),
    )


def report(step: int, *micros: MicroReport, **changes: Any) -> StepReport:
    values = {
        "rates": (0.5, 0.25),
        "loss": 1.5,
        "objective": 1.25,
        "balance": 1.0,
        "gradient_norm": 2.0,
        "tokens": 20,
        "seconds": 0.5,
        "waited_s": 0.01,
        "is_asked_to_stop": False,
    }
    return StepReport(step=step, micros=micros, **{**values, **changes})


def journal(folder: Path, start: int = 0, steps: int = 400) -> Journal:
    asked: PretrainSpec = spec(corpus(), steps=steps)
    return Journal(folder, asked, parts=("h1", "h2"), layers=1, experts=4, start=start)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_row_has_means_by_source_and_part_and_nothing_where_nothing_was(
    tmp_path: Path,
) -> None:
    with journal(tmp_path) as notes:
        notes.write(
            report(
                0,
                micro(0, 1.0, 3.0, [2, 2, 0, 0]),
                micro(0, 2.0, NO, [0, 2, 2, 0]),
            )
        )
    (row,) = read(tmp_path / "journal.csv")
    assert (row["h1"], row["h2"]) == ("1.5", "3.0")
    assert (row["long"], row["long:h1"], row["long:h2"]) == ("2.0", "1.5", "3.0")
    assert (row["short"], row["short:h1"], row["even:short"]) == ("", "", "")
    assert (row["lr"], row["lr_adamw"], row["data_wait_s"]) == ("0.5", "0.25", "0.01")
    assert float(row["load_0"]) == 2.0  # 4 of 8 choices, where 2 were even
    assert float(row["choice_0"]) == pytest.approx(0.5)
    share = np.array([2, 4, 2]) / 8
    assert float(row["even_0"]) == pytest.approx(
        -(share * np.log(share)).sum() / np.log(4)
    )


def test_even_loads_are_one_and_the_same_two_of_four_a_half() -> None:
    assert evenness([micro(0, 1, 1, [3, 3, 3, 3])]).tolist() == pytest.approx([1.0])
    assert evenness([micro(0, 1, 1, [0, 8, 0, 8])]).tolist() == pytest.approx([0.5])


def test_loads_are_noted_now_and_then_for_each_source(tmp_path: Path) -> None:
    with journal(tmp_path, steps=400) as notes:  # every second step
        for step in range(3):
            notes.write(
                report(
                    step,
                    micro(1, 1, 1, [2, 2, 0, 0]),
                    micro(0, 1, 1, [0, 0, 2, 2]),
                    micro(1, 1, 1, [2, 0, 2, 0]),
                )
            )
    rows = read(tmp_path / "experts.csv")
    assert [(r["step"], r["source"]) for r in rows] == [
        ("0", "long"),
        ("0", "short"),
        ("2", "long"),
        ("2", "short"),
    ]
    assert [rows[1][f"e{n}"] for n in range(4)] == ["4", "2", "2", "0"]


def test_rows_are_there_before_the_journal_is_closed(tmp_path: Path) -> None:
    with journal(tmp_path) as notes:
        notes.write(report(0, micro(0, 1, 1, [1, 1, 1, 1])))
        assert len(read(tmp_path / "journal.csv")) == 1


def test_going_on_drops_what_lies_beyond_and_refuses_what_lacks(tmp_path: Path) -> None:
    with journal(tmp_path) as notes:
        for step in range(4):
            notes.write(report(step, micro(0, 1, 1, [1, 1, 1, 1])))
    with journal(tmp_path, start=2):
        pass
    assert [row["step"] for row in read(tmp_path / "journal.csv")] == ["0", "1"]
    assert {row["step"] for row in read(tmp_path / "experts.csv")} == {"0"}
    with pytest.raises(StoreError, match="each step up to 3"), journal(tmp_path, 3):
        pass
    (tmp_path / "journal.csv").unlink()
    with pytest.raises(StoreError, match="cannot be read"), journal(tmp_path, 2):
        pass


def test_pictures_are_drawn_at_the_end(tmp_path: Path) -> None:
    of = corpus()
    pretrain(spec(of, steps=3), of, tmp_path, draw=True)
    for name in ("losses.png", "experts.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"
    assert not list(tmp_path.glob(".new-*"))


def test_a_dense_masked_network_has_no_picture_of_experts(tmp_path: Path) -> None:
    of = corpus()
    dense = {"routing": "none", "dense_width": 16, "layers": 1}
    asked = spec(of, steps=3, objective="masked", options=dense)
    pretrain(asked, of, tmp_path)
    assert [path.name for path in draw_plots(tmp_path)] == ["losses.png"]
    assert read(tmp_path / "journal.csv")[0]["balance"] == ""


def test_an_empty_folder_has_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has no pre-training to draw"):
        draw_plots(tmp_path)
