"""What people read around numbers: whose they are, which recordings, where to look."""

from __future__ import annotations

from pathlib import Path

import pytest

from eegfm_bench.cli import show, tables
from eegfm_bench.errors import DataMissing, SpecError
from eegfm_bench.report._compared import table_of_pairs
from eegfm_bench.report.comparisons import compare, folds_table
from eegfm_bench.report.render import render
from eegfm_bench.report.site.pages import build_site
from eegfm_bench.report.table import make_table
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.store import ResultStore
from tests.report_records import done, seeds, spec_of
from tests.stored_predictions import put_cell

FOLDS = ("eyes@fold1of3", "eyes@fold2of3")
PEOPLE = (["S01", "S02"], ["S03", "S04"])


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "runs")


def folded(store: ResultStore, **more: object) -> list[RunRecord]:
    return [
        record
        for dataset, people in zip(FOLDS, PEOPLE, strict=True)
        for record in put_cell(store, "trace", people, 1.0, dataset=dataset, **more)
    ]


def test_folds_name_each_protocol_once_and_are_no_other_rates(
    store: ResultStore,
) -> None:
    line = folds_table(folded(store), store).protocol_line()
    assert [line.count(f"{fold}-1-0a1b2c3d") for fold in FOLDS] == [1, 1]
    assert "rates" not in line
    two = [done(spec_of("eegnet", protocol="eyes-1-0a0a0a0a"), 0.5)]
    two.append(done(spec_of("trace", protocol="eyes-1-0b0b0b0b"), 0.5))
    assert "at other rates" in make_table(two).protocol_line()


def test_absent_subjects_are_in_the_heading_of_folds(store: ResultStore) -> None:
    table = folds_table(folded(store, data="partial"), store)
    assert {column.remark for column in table.columns} == {"partial"}
    whole = folds_table(folded(store, data="complete", lr=0.01), store)
    assert {column.remark for column in whole.columns} == {""}


def test_a_comparison_is_titled_by_the_row_and_not_by_its_model(
    store: ResultStore,
) -> None:
    records = put_cell(store, "trace", PEOPLE[0], 1.0)
    records += put_cell(store, "trace", PEOPLE[0], 0.5, adapt="probe")
    rows = {
        r.spec.adapt: ("trace", "scratch", "small", r.spec.adapt, "all")
        for r in records
    }
    titles = [
        table_of_pairs(compare(records, store, against=rows[how])).title
        for how in ("scratch", "probe")
    ]
    assert titles == ["Trace against each rival", "Trace (probe) against each rival"]


def test_probes_that_no_seed_moves_share_one_note() -> None:
    records = [
        done(spec_of("trace", name, seed, init="weights-1a", adapt="probe"), 0.5)
        for name in FOLDS
        for seed in (0, 1)
    ]
    said = [n for n in make_table(records).notes if "nothing is drawn" in n]
    assert len(said) == 1
    assert said[0].startswith(f"trace (weights-1a, probe) on {', '.join(FOLDS)}: all 2")


def test_folds_that_lack_the_same_people_say_so_once(store: ResultStore) -> None:
    records = [
        done(spec_of("trace", name, data="partial"), 0.5, absent=("S003", "S004"))
        for name in FOLDS
    ]
    page = build_site(store, records, title="T").files["index.html"]
    banner = page.partition('class="banner" role="note">')[2].partition("</p>")[0]
    assert banner == "Partial recordings: eyes is partial: 2 of 109 subjects absent"


def test_the_way_to_a_card_names_the_metric_beside_its_score(
    store: ResultStore,
) -> None:
    site = build_site(store, seeds("eegnet", "eyes", (0.7, 0.8)), title="T")
    assert "EEGNet AUROC 0.750 ± 0.071" in site.files["dataset-eyes.html"]


def test_a_suites_datasets_and_models_that_have_no_run_are_named(
    store: ResultStore,
) -> None:
    put_cell(store, "trace", PEOPLE[0], 1.0, seeds=(0,))
    (table, *_) = tables.tables_of("1", "measured", store.root)
    (note,) = [note for note in table.notes if "no run" in note]
    assert note.startswith("Of the suite table1 no run is here of faced, seedv,")
    assert "eegmat; chance, bandpower," in note
    assert "eyes" not in note
    assert "trace" not in note


@pytest.mark.parametrize(
    ("which", "source", "found"),
    [
        ("2", "measured", r"No suite measures table 2.*table 2 --source published"),
        ("5", "published", r"Table 5 is declared.*Leave --source out"),
    ],
)
def test_a_table_of_another_source_is_refused_with_the_way_to_it(
    which: str, source: str, found: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=found):
        tables.tables_of(which, source, tmp_path)


def test_a_table_is_not_written_over_a_folder_and_leaves_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t").mkdir()
    with pytest.raises(SpecError, match="t is a folder"):
        show.write_whole(tmp_path / "t", "text")

    def fails(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(OSError, match="No space"):
        show.write_whole(tmp_path / "t.md", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_runs_whose_predictions_are_gone_are_not_called_absent(
    store: ResultStore, tmp_path: Path
) -> None:
    records = put_cell(store, "trace", PEOPLE[0], 1.0)
    for file in store.root.glob("*/predictions.parquet"):
        file.unlink()
    with pytest.raises(DataMissing, match=r"Of 3 finished runs none.*put back"):
        compare(records, store)
    with pytest.raises(DataMissing, match="Run a suite first"):
        compare([], ResultStore(tmp_path / "none"))


@pytest.mark.parametrize("how", ["md", "html", "latex"])
def test_a_heading_says_that_recordings_are_partial(how: str) -> None:
    record = done(spec_of("trace", data="partial"), 0.5, absent=("S003",))
    text = render(make_table([record]), how)
    heading = text.partition("scratch")[0]
    assert "partial" in heading


def test_the_published_auc_pr_of_chance_is_explained() -> None:
    chance = make_table(seeds("chance", "eyes", (0.5, 0.5)))
    assert any("(1 + share of positives) / 2" in note for note in chance.notes)
    other = make_table(seeds("eegnet", "eyes", (0.5, 0.6)))
    assert not any("share of positives" in note for note in other.notes)
