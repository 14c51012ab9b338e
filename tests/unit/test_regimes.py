"""What is never compared in silence: unlike rows, and weights that met the people."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from eegfm_bench.datasets._moabb.runs import PEOPLE
from eegfm_bench.datasets._spec import dataset_names, find_dataset
from eegfm_bench.errors import SpecError
from eegfm_bench.models._spec import find_model
from eegfm_bench.models._weights import PublicWeights
from eegfm_bench.report.averages import with_averages
from eegfm_bench.report.regimes import HOLDS, MAY_SHARE, SAME_PEOPLE, met_before
from eegfm_bench.report.render import FORMATS, render
from eegfm_bench.report.table import make_table
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.weights import LoadReport, PretrainedOn
from eegfm_bench.weights.files import read_weights
from eegfm_bench.weights.matching import match
from tests.report_records import broken, done, seeds, spec_of
from tests.unit.planted_weights import SHAPE, SPEC, Toy

ALIKE = [*seeds("eegnet", "eyes", (0.2, 0.4)), *seeds("eegnet", "eegmat", (0.6, 0.8))]


def test_an_average_is_of_the_means_where_all_rows_have_all_datasets() -> None:
    other = [*seeds("chance", "eyes", (0.5,)), *seeds("chance", "eegmat", (0.5,))]
    table = with_averages(make_table([*ALIKE, *other]))
    row = next(r for r in table.rows if r.labels[0] == "eegnet")
    places = [(c.group, c.metric) for c in table.columns]
    cell = row.cells[places.index(("average", "auroc"))]
    assert cell.mean == pytest.approx(0.5)
    assert (cell.sd, cell.n) == (None, None)
    assert "Average: of the means on 2 datasets" in table.caption
    assert all(render(table, how) for how in FORMATS)


@pytest.mark.parametrize(
    ("records", "why"),
    [
        (ALIKE[:2], "there are 1 datasets"),
        ([*ALIKE, *seeds("chance", "eyes", (0.5,))], "Chance scratch has no score on"),
        (
            [
                *ALIKE,
                *seeds("chance", "eyes", (0.5,), protocol="eyes-2-0a1b2c3d"),
                *seeds("chance", "eegmat", (0.5,)),
            ],
            "rows on eyes are of different protocols",
        ),
        (
            [*ALIKE, broken(spec_of("eegnet", "eyes", 2))],
            "EEGNet scratch lacks seeds on eyes",
        ),
        (
            [
                *seeds(
                    *("trace", "eyes", (0.5,)),
                    init="weights-aaaaaaaaaaaa",
                    adapt="finetune",
                ),
                *seeds(
                    *("trace", "eegmat", (0.5,)),
                    init="weights-bbbbbbbbbbbb",
                    adapt="finetune",
                ),
            ],
            "has no score on",
        ),
        (
            [*ALIKE[:2], *seeds("eegnet", "eegmat", (0.6,), labels="10%")],
            "has no score on",
        ),
        (
            [
                *seeds("eegnet", "eegmat", (0.6,), data="partial"),
                *seeds("chance", "eegmat", (0.6,), data="complete"),
                *seeds("eegnet", "eyes", (0.6,), data="complete"),
                *seeds("chance", "eyes", (0.6,), data="complete"),
            ],
            "rows on eegmat are of different protocols or recordings",
        ),
    ],
)
def test_rows_that_are_not_alike_never_share_an_average(
    records: list[RunRecord], why: str
) -> None:
    table = make_table(records)
    with pytest.raises(SpecError, match=why):
        with_averages(table)


def test_folds_are_never_averaged_as_if_they_were_datasets() -> None:
    folds = [r for k in (1, 2, 3) for r in seeds("eegnet", f"eyes@fold{k}of3", (0.6,))]
    with pytest.raises(SpecError, match="folds of eyes are parts of one dataset"):
        with_averages(make_table(folds))


def from_weights(dataset: str, **about: Any) -> RunRecord:
    """Return a run that started from weights of which something is known."""
    spec = spec_of("labram", dataset, init="weights-abababababab", adapt="finetune")
    report = LoadReport(
        file="a.pth",
        sha256="ab" * 32,
        layout="own",
        container="safetensors",
        n_encoder=2,
        matched=2,
        **about,
    )
    return done(spec, 0.5).model_copy(update={"weights": report})


def sources(*names: str) -> dict[str, Any]:
    return {
        "pretrained": PretrainedOn(
            pretrain_id="p",
            objective="forecast",
            data="simulated",
            sources=tuple(f"{n} ({n}-1-0a1b2c3d, simulated, twin-1)" for n in names),
            n_persons=3,
        )
    }


LABRAM = find_model("labram").weights.public[0].pretrained_on


@pytest.mark.parametrize(
    ("dataset", "about", "regime"),
    [
        ("eyes", sources("eyes"), "seen"),
        ("eyes@fold1of3", sources("physionet_mi"), "seen"),
        ("chbmit@corrected", sources("chbmit", "hbn"), "seen"),
        ("tuev", sources("tueg"), "seen"),
        ("moabb:PhysionetMI", sources("eyes"), "seen"),
        ("moabb:PhysionetMI", {"corpora": LABRAM}, "seen"),
        ("eyes", sources("moabb:PhysionetMI"), "seen"),
        ("faced", sources("tueg", "hbn"), "unseen"),
        ("physionet_mi", {"corpora": LABRAM}, "seen"),
        ("faced", {"corpora": LABRAM}, "unseen"),
        ("tuev", {"corpora": LABRAM}, "unknown"),
        ("tuev", {"corpora": ("TUEG",)}, "seen"),
        ("faced", {"corpora": ("a corpus of somebody",)}, "unknown"),
        ("faced", {}, "unknown"),
    ],
)
def test_whether_weights_have_met_people_of_a_dataset(
    dataset: str, about: dict[str, Any], regime: str
) -> None:
    met = met_before(from_weights(dataset, **about))
    assert met is not None
    assert (met.regime, bool(met.why)) == (regime, True)


def test_what_has_met_people_is_marked_explained_and_in_data() -> None:
    records = [from_weights("eyes", **sources("eyes")), done(spec_of("chance"), 0.5)]
    table = make_table(records)
    shown = [table.show(row.cells[0]) for row in table.rows]
    assert sorted(shown) == ["0.500 (1)", "0.500 (1)†"]
    assert any(
        note.startswith("† has met people of the dataset") for note in table.notes
    )
    lines = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert {(line["model"], line["regime"]) for line in lines} == {
        ("labram", "seen"),
        ("chance", ""),
    }
    assert r"$\dagger$" in render(table, "latex")


def test_what_is_not_known_of_weights_is_said() -> None:
    notes = make_table([from_weights("faced")]).notes
    assert any("met people of the dataset or not, unknown" in note for note in notes)


def test_a_run_from_scratch_has_met_nobody() -> None:
    assert met_before(done(spec_of(), 0.5)) is None


def test_corpora_of_all_families_here_are_known() -> None:
    named = {
        corpus
        for family in ("biot", "labram", "cbramod", "codebrain")
        for public in find_model(family).weights.public
        for corpus in public.pretrained_on
    }
    assert named <= set(HOLDS)
    families = {d.partition("@")[0] for d in dataset_names()}
    families |= {f"moabb:{name}" for name in PEOPLE}
    held = {d for held in (*HOLDS.values(), *MAY_SHARE.values()) for d in held}
    assert held <= families
    for same in SAME_PEOPLE:
        assert same <= families


def test_people_said_to_be_the_same_have_one_name_in_both_datasets() -> None:
    prefixes = {
        spec.person_of(spec.everyone[0]).partition(":")[0]
        for spec in map(find_dataset, ("eyes", "physionet_mi"))
        if spec.person_of is not None
    }
    assert prefixes == {"eegmmidb"}


def test_what_public_weights_have_seen_goes_into_the_report(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    save_file(Toy(SHAPE).state_dict(), path)
    file = read_weights(path)
    entry = PublicWeights(
        key="toy",
        file="model.safetensors",
        layout="own",
        licence="none",
        source="this test",
        sha256=file.sha256,
        pretrained_on=("TUEG", "a corpus of somebody"),
    )
    known = replace(SPEC, weights=replace(SPEC.weights, public=(entry,)))
    report = match(Toy(SHAPE), known, file).report
    assert report.corpora == entry.pretrained_on
    assert match(Toy(SHAPE), SPEC, file).report.corpora == ()
    older = report.model_dump(exclude={"corpora"})
    assert LoadReport(**older).corpora == ()
