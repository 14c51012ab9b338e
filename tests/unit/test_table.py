"""Records become a table: every cell explains itself, and nothing is mixed up."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eegfm_bench.errors import DataMissing, SpecError, StoreError
from eegfm_bench.report._cells import Cell, Table
from eegfm_bench.report.render import FORMATS, render
from eegfm_bench.report.subjects import subject_scores
from eegfm_bench.report.table import make_table
from eegfm_bench.runs.predictions import predictions_frame
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.store import ResultStore
from tests.report_records import broken, done, seeds, spec_of


def cell(table: Table, model: str, dataset: str, metric: str) -> Cell:
    row = next(r for r in table.rows if r.labels[0] == model)
    groups = [(c.group, c.metric) for c in table.columns]
    return row.cells[groups.index((dataset, metric))]


def shown(table: Table, model: str, dataset: str, metric: str) -> str:
    return table.show(cell(table, model, dataset, metric))


def test_a_cell_is_mean_and_sd_with_ddof_1_over_seeds() -> None:
    table = make_table(seeds("eegnet", "eyes", (0.1, 0.2, 0.3)))
    assert shown(table, "eegnet", "eyes", "auroc") == "0.200 ± 0.100 (3)"


def test_one_seed_shows_no_sd() -> None:
    table = make_table(seeds("eegnet", "eyes", (0.625,)))
    assert shown(table, "eegnet", "eyes", "auroc") == "0.625 (1)"
    assert cell(table, "eegnet", "eyes", "auroc").sd is None


def test_a_deterministic_model_has_an_sd_of_exactly_zero() -> None:
    table = make_table(seeds("chance", "eyes", (0.1, 0.1, 0.1)))
    assert cell(table, "chance", "eyes", "auroc").sd == 0.0
    assert shown(table, "chance", "eyes", "auroc") == "0.100 ± 0.000 (3)"


def test_a_value_just_below_zero_has_no_minus_sign() -> None:
    table = make_table(seeds("eegnet", "faced", (-0.0001,), n_classes=9))
    assert shown(table, "eegnet", "faced", "cohen_kappa") == "0.000 (1)"


def test_the_number_of_classes_picks_the_metrics() -> None:
    two, nine = (
        seeds("eegnet", "eyes", (0.5,)),
        seeds("eegnet", "faced", (0.5,), n_classes=9),
    )
    columns = [(c.group, c.metric) for c in make_table([*two, *nine]).columns]
    assert columns == [
        ("eyes", "balanced_accuracy"),
        ("eyes", "auc_pr"),
        ("eyes", "auroc"),
        ("faced", "balanced_accuracy"),
        ("faced", "cohen_kappa"),
        ("faced", "weighted_f1"),
    ]


def test_unlike_runs_are_never_averaged_as_seeds() -> None:
    records = [
        done(spec_of("eegnet", "eyes", 0, lr=0.001), 0.5),
        done(spec_of("eegnet", "eyes", 1, lr=0.0005), 0.6),
    ]
    with pytest.raises(SpecError) as refusal:
        make_table(records)
    assert str(refusal.value) == (
        "Two rows of eegnet on eyes differ in `recipe.lr` (0.001, 0.0005) and would "
        "be averaged as seeds. Give one its own suite, or name one runs folder."
    )


def test_every_differing_field_is_named() -> None:
    records = [
        done(spec_of("eegnet", seed=0), 0.5),
        done(spec_of("eegnet", seed=1, options={"depth": 3}, model_version=2), 0.6),
    ]
    with pytest.raises(SpecError) as refusal:
        make_table(records)
    assert "`options.depth` ('absent', 3)" in str(refusal.value)
    assert "`model_version` (1, 2)" in str(refusal.value)


def test_a_run_given_twice_is_refused() -> None:
    with pytest.raises(SpecError, match="given twice"):
        make_table(seeds("eegnet", "eyes", (0.5,)) * 2)


def test_init_and_adapt_make_rows_of_their_own() -> None:
    records = [
        done(spec_of(), 0.5),
        done(spec_of(init="hub", adapt="probe"), 0.6),
        done(spec_of(init="hub", adapt="finetune"), 0.7),
    ]
    table = make_table(records)
    assert table.stub == ("model", "init", "adapt")
    assert [row.labels[1:] for row in table.rows] == [
        ("hub", "finetune"),
        ("hub", "probe"),
        ("scratch", "scratch"),
    ]


def test_simulated_and_real_recordings_never_share_a_table() -> None:
    real = done(spec_of("eegnet", "eegmat", data="complete"), 0.7)
    with pytest.raises(SpecError, match=r"Simulated recordings \(eyes\) and real"):
        make_table([*seeds("eegnet", "eyes", (0.5,)), real])


def test_the_table_does_not_depend_on_the_order_of_records() -> None:
    records = [
        *seeds("eegnet", "eyes", (0.1, 0.7, 0.3)),
        *seeds("chance", "eyes", (0.5, 0.5)),
        broken(spec_of("chance", "eyes", 2), "gone"),
        *seeds("eegnet", "faced", (0.2, 0.4), n_classes=9),
        broken(spec_of("chance", "faced", 0), "late"),
        broken(spec_of("chance", "faced", 1), "later"),
    ]
    first = make_table(records)
    for seed in range(5):
        random.Random(seed).shuffle(records)
        assert make_table(records) == first


def test_a_failed_cell_says_so_with_the_first_words() -> None:
    message = "the loss is not finite after two epochs\nTraceback (most recent"
    records = [*seeds("chance", "eyes", (0.5,)), broken(spec_of(), message)]
    table = make_table(records)
    text = shown(table, "eegnet", "eyes", "auroc")
    assert text == "failed: the loss is not finite after two …"
    assert any("after two epochs" in note for note in table.notes)
    assert not any("Traceback" in note for note in table.notes)


def test_a_mean_over_some_seeds_is_marked_and_explained() -> None:
    records = [*seeds("eegnet", "eyes", (0.4, 0.6)), broken(spec_of(seed=2), "killed")]
    table = make_table(records)
    assert shown(table, "eegnet", "eyes", "auroc") == "0.500 ± 0.141 (2)‡"
    assert table.notes[0] == (
        "‡ eegnet on eyes: 1 of 3 seeds failed (seed 2: SignalError: killed)."
    )


def test_an_undefined_metric_reads_na_with_its_reason() -> None:
    table = make_table([done(spec_of(), 0.5, None, 0.6)])
    assert shown(table, "eegnet", "eyes", "auc_pr") == "n/a"
    assert table.notes == (
        "n/a: auc_pr of eegnet on eyes: no window of class 1 in this part.",
    )


def test_what_a_suite_has_not_run_yet_reads_a_dash() -> None:
    specs = [spec_of(m, "eyes", s) for m in ("eegnet", "chance") for s in (0, 1)]
    other = done(spec_of("trace"), 0.9)
    table = make_table([done(specs[0], 0.5), other], specs=specs)
    assert [row.labels[0] for row in table.rows] == ["eegnet", "chance"]
    assert shown(table, "chance", "eyes", "auroc") == "—"
    assert shown(table, "eegnet", "eyes", "auroc") == "0.500 (1)‡"
    assert "1 of 2 seeds have run" in table.notes[0]


def test_a_missing_dataset_gives_its_reason() -> None:
    missing = {"chbmit": "no folder 'chbmit' below the root"}
    table = make_table(
        seeds("eegnet", "eyes", (0.5,)), missing=missing, n_classes={"chbmit": 2}
    )
    text = shown(table, "eegnet", "chbmit", "auroc")
    assert text == "missing: no folder 'chbmit' below the root"
    assert "chbmit is missing: no folder 'chbmit' below the root." in table.notes


def test_partial_data_says_who_is_absent() -> None:
    absent = ("Subject03", "Subject01")
    record = done(spec_of("eegnet", "eegmat", data="partial"), 0.5, absent=absent)
    table = make_table([record])
    assert table.columns[0].remark == "partial: 2 of 36 subjects absent"
    assert table.notes == (
        "eegmat is partial: 2 of 36 subjects absent: Subject01, Subject03.",
    )
    assert table.heading == ""
    assert table.data == "partial"


def test_best_is_first_and_ties_as_printed_are_ties() -> None:
    records = [
        *seeds("a", "eyes", (0.8001,)),
        *seeds("b", "eyes", (0.8002,)),
        *seeds("chance", "eyes", (0.5,)),
        *seeds("d", "eyes", (0.4,)),
    ]
    table = make_table(records)
    ranks = [cell(table, m, "eyes", "auroc").rank for m in ("a", "b", "chance", "d")]
    assert ranks == [1, 1, 2, 0]


def test_rows_from_different_recordings_are_not_ranked() -> None:
    records = [
        done(spec_of("eegnet", "eegmat", data="complete"), 0.5),
        done(spec_of("chance", "eegmat", data="partial"), 0.4),
    ]
    table = make_table(records)
    assert {c.rank for row in table.rows for c in row.cells} == {0}
    assert any("is not ranked" in note for note in table.notes)


def test_rows_from_a_tenth_of_the_labels_are_not_ranked_with_those_from_all() -> None:
    records = [done(spec_of(labels="10%"), 0.5), done(spec_of("chance"), 0.4)]
    table = make_table(records)
    assert {c.rank for row in table.rows for c in row.cells} == {0}
    assert any("different shares of labels" in note for note in table.notes)


def test_models_at_rates_of_their_own_are_ranked_together() -> None:
    records = [
        done(spec_of("eegnet", protocol="eyes-1-aaaaaaaa"), 0.5),
        done(spec_of("chance", protocol="eyes-1-bbbbbbbb"), 0.4),
    ]
    assert cell(make_table(records), "eegnet", "eyes", "auroc").rank == 1


def test_the_caption_names_the_spread_the_part_and_the_rule() -> None:
    caption = make_table(seeds("eegnet", "eyes", (0.5, 0.6))).caption
    assert caption == (
        "± is the standard deviation over seeds (ddof 1), n = seeds; test part; "
        "checkpoint by highest val auroc; scale small."
    )


def test_nothing_to_show_is_an_error() -> None:
    with pytest.raises(DataMissing, match="no runs"):
        make_table([])


def test_every_subject_is_scored_alone(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    index = pd.DataFrame(
        {
            "subject": ["s1"] * 4 + ["s2"] * 2,
            "session": "1",
            "recording": "r",
            "onset_s": 0.0,
            "label": [0, 0, 1, 1, 0, 0],
        }
    )
    records: list[RunRecord] = []
    for seed, second in enumerate(([0.1, 0.6, 0.4, 0.9], [0.1, 0.2, 0.4, 0.9])):
        p = np.array([*second, 0.2, 0.3])
        frame = predictions_frame(index, np.stack([1 - p, p], axis=1))
        # Balanced accuracy, AUC-PR, and the AUROC that the predictions give.
        records.append(done(spec_of(seed=seed), 0.5, 0.5, (0.875, 1.0)[seed]))
        store.put(
            records[-1],
            lambda folder, frame=frame: frame.to_parquet(
                folder / "predictions.parquet"
            ),
        )
    table = subject_scores(store, records)
    assert [row.labels for row in table.rows] == [("eyes", "s1"), ("eyes", "s2")]
    # AUROC of s1: 3 of 4 pairs in order, then all of them.
    assert table.show(table.rows[0].cells[0]) == "0.875 ± 0.177 (2)"
    assert table.show(table.rows[1].cells[0]) == "n/a"
    assert table.notes == (
        "n/a: eegnet on s2 of eyes: no window of class 1 in this part.",
    )
    assert all(render(table, how) for how in FORMATS)
    with pytest.raises(StoreError):
        subject_scores(ResultStore(tmp_path / "elsewhere"), records)
    with pytest.raises(DataMissing, match="No run with scores"):
        subject_scores(store, [broken(spec_of())])


def test_tables_and_gates_need_no_torch() -> None:
    code = (
        "import importlib, json, pkgutil, sys, eegfm_bench.report as report\n"
        "for m in pkgutil.iter_modules(report.__path__):\n"
        "    importlib.import_module('eegfm_bench.report.' + m.name)\n"
        "from eegfm_bench.report.published import published_table\n"
        "published_table(1)\n"
        "print(json.dumps([n for n in ('torch', 'lightning') if n in sys.modules]))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert json.loads(out.stdout) == []
