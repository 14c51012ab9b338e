"""Measured beside published: a verdict where there can be one, a reason where not."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from eegfm_bench.errors import SpecError
from eegfm_bench.report._cells import Cell, Row, Table
from eegfm_bench.report.published import beside_published
from eegfm_bench.report.render import FORMATS, render
from eegfm_bench.report.table import make_table
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.spec import RunSpec
from eegfm_bench.statistics.equivalence import welch_verdict
from tests.report_records import done, seeds, spec_of

FACED = "faced-1-1070934f"
# EEGNet on FACED: balanced accuracy 0.4090 ± 0.0122, published over five seeds.
AS_PUBLISHED = (0.402, 0.405, 0.409, 0.413, 0.416)


def paper_scale(
    values: tuple[float, ...] = AS_PUBLISHED, model: str = "eegnet", **more: Any
) -> list[RunRecord]:
    """Return runs that may be held against the figures of table 1."""
    fields = {"data": "complete", "protocol": FACED, **more}
    scale = fields.pop("scale", "paper")
    specs = [spec_of(model, "faced", seed, **fields) for seed in range(len(values))]
    specs = [RunSpec(**{**dict(spec), "scale": scale}) for spec in specs]
    return [
        done(spec, value, n_classes=9)
        for spec, value in zip(specs, values, strict=True)
    ]


def row_of(table: Table, model: str, source: str) -> Row:
    return next(r for r in table.rows if r.labels[:2] == (model, source))


def verdict_cell(records: list[RunRecord], number: int = 1) -> Cell:
    table = beside_published(make_table(records), number)
    model = records[0].spec.model
    return row_of(table, model, "verdict").cells[0]


def test_a_measured_cell_near_the_published_one_is_reproduced() -> None:
    cell = verdict_cell(paper_scale())
    assert cell.text == "reproduced (+0.0000)"
    assert "about seeds" in cell.reason


@pytest.mark.parametrize(
    ("shift", "text"), [(-0.1, "lower (-0.1000)"), (0.1, "higher (+0.1000)")]
)
def test_one_far_from_it_is_lower_or_higher(shift: float, text: str) -> None:
    moved = tuple(value + shift for value in AS_PUBLISHED)
    assert verdict_cell(paper_scale(moved)).text == text


def test_few_or_scattered_seeds_cannot_tell() -> None:
    assert verdict_cell(paper_scale((0.41,))).text.startswith("cannot tell")
    scattered = verdict_cell(paper_scale((0.3, 0.5, 0.41)))
    assert scattered.text.startswith("cannot tell")


def test_a_verdict_is_that_of_the_statistics() -> None:
    table = beside_published(make_table(paper_scale()), 1)
    cell = row_of(table, "eegnet", "measured").cells[0]
    expected = welch_verdict(
        AS_PUBLISHED, published_mean=0.4090, published_sd=0.0122, published_n=5
    )
    assert cell.verdict == expected
    assert expected.margin == 0.02


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"data": "partial"}, "none: partial recordings"),
        ({"scale": "small"}, "none: scale small"),
        ({"labels": "10%"}, "none: labels 10%"),
        ({"protocol": "faced-2-1070934f"}, f"none: other protocol ({FACED})"),
        ({"init": "weights-abababababab", "adapt": "finetune"}, "none: from weights"),
        ({"adapt": "probe"}, "none: adapted by probe"),
    ],
)
def test_without_like_conditions_there_is_a_reason_and_no_verdict(
    more: dict[str, Any], why: str
) -> None:
    cell = verdict_cell(paper_scale(**more))
    assert cell.text == why
    assert cell.verdict is None


def test_a_model_from_scratch_is_not_held_against_one_from_weights() -> None:
    assert verdict_cell(paper_scale(model="labram")).text == "none: from scratch"


def test_weights_that_were_read_in_part_get_no_verdict() -> None:
    more = {"model": "labram", "adapt": "finetune"}
    whole = verdict_cell(paper_scale(init="weights-ab", **more))
    assert not whole.text.startswith("none")
    part = verdict_cell(paper_scale(init="weights-ab+partial", **more))
    assert part.text == "none: weights are partial"


def test_another_rate_is_the_same_protocol() -> None:
    records = paper_scale(protocol="faced-1-ffffffff")
    assert verdict_cell(records).text.startswith("reproduced")


def test_a_source_that_does_not_say_its_protocol_gives_no_verdict() -> None:
    records = [
        done(
            RunSpec(
                **{
                    **dict(
                        spec_of(
                            "trace",
                            "tuev",
                            seed,
                            data="complete",
                            protocol="tuev-1-a73d62ba",
                            init="weights-abababababab",
                            adapt="finetune",
                        )
                    ),
                    "scale": "paper",
                }
            ),
            0.66,
            n_classes=6,
        )
        for seed in range(3)
    ]
    assert verdict_cell(records, 11).text == "none: published protocol unclear"


def test_a_mean_that_lacks_seeds_gets_no_verdict() -> None:
    records = paper_scale()
    specs = [r.spec for r in records]
    table = beside_published(make_table(records[:3], specs=specs), 1)
    assert row_of(table, "eegnet", "verdict").cells[0].text == "none: seeds are lacking"


def test_each_kind_of_verdict_is_explained_once_below() -> None:
    low = tuple(value - 0.1 for value in AS_PUBLISHED)
    both = [*paper_scale(), *paper_scale(low, "eegconformer")]
    table = beside_published(make_table([*both, *paper_scale(model="labram")]), 1)
    starts = [note.partition(" (")[0] for note in table.notes]
    assert starts.count("reproduced") == starts.count("lower") == 1
    assert any(
        note.startswith("No verdict (3): from scratch (3)") for note in table.notes
    )
    assert any("about seeds, not subjects" in note for note in table.notes)
    assert not any(note.startswith("cannot tell") for note in table.notes)


def test_csv_and_json_carry_the_whole_verdict_in_the_measured_cell() -> None:
    table = beside_published(make_table(paper_scale()), 1)
    lines = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert {line["source"] for line in lines} == {"measured", "published"}
    line = next(
        one
        for one in lines
        if (one["source"], one["model"], one["metric"], one["dataset"])
        == ("measured", "eegnet", "balanced_accuracy", "faced")
    )
    assert line["outcome"] == "reproduced"
    assert float(line["low"]) < float(line["difference"]) < float(line["high"])
    assert float(line["margin"]) == 0.02
    document = json.loads(render(table, "json"))
    cells = [c for row in document["rows"] for c in row["cells"] if "verdict" in c]
    assert {c["source"] for c in cells} == {"measured"}
    assert cells[0]["verdict"]["outcome"] == "reproduced"
    quoted = [
        c for row in document["rows"] for c in row["cells"] if c.get("quoted_from")
    ]
    assert quoted[0]["quoted_from"].startswith("CBraMod")


def test_every_format_that_people_read_shows_the_verdict() -> None:
    table = beside_published(make_table(paper_scale()), 1)
    for how in set(FORMATS) - {"csv", "json"}:
        text = render(table, how)
        assert "reproduced (+0.0000)" in text
        assert "about seeds, not subjects" in text


def test_measured_rows_stand_below_their_published_ones_and_are_ranked_apart() -> None:
    measured = make_table(
        [
            *seeds("eegnet", "faced", (0.1, 0.2, 0.3), n_classes=9, data="complete"),
            *seeds("bandpower", "faced", (0.1,), n_classes=9, data="complete"),
        ]
    )
    table = beside_published(measured, 1)
    labels = [row.labels[:2] for row in table.rows]
    assert labels[:3] == [("eegnet", s) for s in ("published", "measured", "verdict")]
    assert labels[-1] == ("bandpower", "measured")
    assert table.heading == ""
    by_label = {row.labels[:2]: row.cells[0] for row in table.rows}
    assert table.show(by_label["eegnet", "measured"]) == "0.2000 ± 0.1000 (3)"
    assert by_label["eegnet", "measured"].rank == 1
    assert by_label["trace", "published"].rank == 1
    assert by_label["eegnet", "published"].rank == 0
    for how in FORMATS:
        assert render(table, how)


def test_simulated_rows_never_stand_beside_published_ones() -> None:
    measured = make_table(seeds("eegnet", "faced", (0.1, 0.2), n_classes=9))
    with pytest.raises(SpecError, match="never stand beside published") as refusal:
        beside_published(measured, 1)
    assert refusal.value.exit_status == 2


def test_a_missing_dataset_keeps_its_reason_beside_published_rows() -> None:
    records = seeds("eegnet", "faced", (0.5,), n_classes=9, data="complete")
    measured = make_table(records, missing={"chbmit": "not here"})
    table = beside_published(measured, 1)
    groups = [group for group, *_ in table.spans()]
    assert len(groups) == len(set(groups))
    chbmit = [i for i, c in enumerate(table.columns) if c.group == "chbmit"]
    row = row_of(table, "eegnet", "measured")
    assert [row.cells[i].text for i in chbmit] == ["missing: not here"] * 3


def test_a_dataset_that_no_paper_has_shows_measured_rows_alone() -> None:
    eyes = seeds("eegnet", "eyes", (0.5,), data="complete")
    table = beside_published(make_table([*paper_scale(), *eyes]), 1)
    last = table.parts()[-1]
    assert [group for group, *_ in last.spans()] == ["eyes"]
    # One row at each scale.
    assert [row.labels[:2] for row in last.rows] == [("eegnet", "measured")] * 2
