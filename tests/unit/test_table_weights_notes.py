"""Below a table: what each start was pre-trained on, and what of it did not go in."""

from __future__ import annotations

from typing import Any

import pytest

from eegfm_bench.report.render import to_markdown
from eegfm_bench.report.table import make_table
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.weights import LoadReport, PretrainedOn
from tests.report_records import done, spec_of

SOURCES = {
    "complete": ("eegmat (eegmat-1-0a, complete, f00d)",),
    "partial": ("tueg (tueg-1-0b, partial, beef)", "hbn (hbn-1-0c, complete, cafe)"),
    "simulated": ("tueg (tueg-1-0b, partial, beef)", "hbn (hbn-1-0c, simulated, twin)"),
}


def loaded(data: str | None, digit: str = "a", **changes: Any) -> LoadReport:
    """Return the report of a whole encoder, pre-trained on such data if any."""
    seen = None
    if data is not None:
        seen = PretrainedOn(
            pretrain_id=f"trace-causal-small-s0-{digit}",
            objective="causal" if digit == "a" else "masked",
            data=data,  # type: ignore[arg-type]
            sources=SOURCES[data],
            n_persons=1234,
        )
    fields = {"file": f"{digit}.safetensors", "sha256": 64 * digit, "layout": "own"}
    fields |= {"container": "safetensors", "n_encoder": 37, "matched": 37}
    return LoadReport(**{**fields, "pretrained": seen, **changes})


def started_from(report: LoadReport, seed: int = 0, dataset: str = "eyes") -> RunRecord:
    """Return a finished run of trace that started from such weights."""
    asked = spec_of(
        "trace", dataset, seed, init=report.weights_id, adapt="finetune", data="partial"
    )
    return done(asked, 0.5).model_copy(update={"weights": report})


def notes_of(*records: RunRecord) -> tuple[str, ...]:
    notes = make_table(records).notes
    return tuple(note for note in notes if note.startswith("weights-"))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (
            "complete",
            "pre-trained (causal) on recordings of 1234 people: "
            "eegmat (eegmat-1-0a, complete, f00d).",
        ),
        (
            "partial",
            "pre-trained (causal) on recordings of 1234 people: "
            "tueg (tueg-1-0b, partial, beef), hbn (hbn-1-0c, complete, cafe).",
        ),
        (
            "simulated",
            "pre-trained (causal) on SIMULATED recordings of 1234 people: "
            "tueg (tueg-1-0b, partial, beef), hbn (hbn-1-0c, simulated, twin).",
        ),
    ],
)
def test_a_note_names_every_source_and_what_is_not_whole_or_real(
    data: str, says: str
) -> None:
    (note,) = notes_of(started_from(loaded(data)))
    expected = "weights-aaaaaaaaaaaa is a.safetensors: 37 of 37 tensors of trace's "
    assert note == f"{expected}encoder; {says}"


def test_two_objectives_are_two_notes_and_seeds_are_one() -> None:
    causal, masked = loaded("partial"), loaded("simulated", digit="b")
    records = [started_from(causal, seed) for seed in range(3)]
    records += [started_from(masked, seed) for seed in range(3)]
    records += [started_from(causal, dataset="eegmat")]
    first, second = notes_of(*records)
    assert "(causal) on recordings" in first
    assert "(masked) on SIMULATED recordings" in second


def test_weights_that_say_nothing_of_people_claim_nothing() -> None:
    (note,) = notes_of(started_from(loaded(None)))
    assert note.endswith("37 of 37 tensors of trace's encoder.")
    assert notes_of(done(spec_of("trace"), 0.5)) == ()


def test_what_did_not_go_in_comes_before_where_it_was_trained() -> None:
    report = loaded("partial", matched=35, missing=("norm.weight", "gate.bias"))
    (note,) = notes_of(started_from(report))
    assert note.startswith("weights-aaaaaaaaaaaa+partial is a.safetensors: 35 of 37")
    missing = "2 MISSING and at random (gate.bias, norm.weight); pre-trained (causal)"
    assert missing in note


def test_the_note_is_below_the_rendered_table() -> None:
    records = (started_from(loaded("simulated")),)
    text = to_markdown(make_table(records))
    assert text.index("weights-aaaaaaaaaaaa |") < text.index("on SIMULATED recordings")
