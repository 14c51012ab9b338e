"""Who and what is pre-trained on: training people alone, nobody who will be scored."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eegfm_bench.datasets._prepare import prepare, twin_root
from eegfm_bench.datasets._spec import find_dataset
from eegfm_bench.errors import DataMissing, SpecError, UnknownName
from eegfm_bench.pretraining import corpus as module
from eegfm_bench.pretraining.corpus import open_corpus
from eegfm_bench.pretraining.draws import Draws
from eegfm_bench.pretraining.persons import held_out, labelled_names, parts_of


def test_sources_come_in_order_with_what_draws_need() -> None:
    corpus = open_corpus(["hbn", "eegmat", "tueg"], scored_on=["eegmat"])
    assert [s.name for s in corpus.sources] == ["hbn", "eegmat", "tueg"]
    assert corpus.tokens == (128 * 30, 20 * 5, 19 * 30)
    for source in corpus.sources:
        store = prepare(source.name)
        np.testing.assert_array_equal(source.rows, store.rows("train"))
        assert source.fingerprint == store.manifest["fingerprint"]
        assert source.protocol == store.manifest["protocol"]
        assert source.data == "simulated"
        assert source.left_out == {}
    draws = Draws(
        corpus.sizes,
        corpus.tokens,
        micro_batches=4,
        seed=0,
        exponent=0.5,
        token_budget=1200,
    )
    number, positions = draws.micro_batch(3, 1)
    source = corpus.sources[number]
    x = source.take(positions)
    assert x.shape == (len(positions), source.n_channels, source.n_patches * 200)
    np.testing.assert_array_equal(x, source.store.x[source.rows[positions]])


def test_of_a_labelled_dataset_only_those_who_train_are_taken() -> None:
    (source,) = open_corpus(["eegmat"], scored_on=["eegmat"]).sources
    split = find_dataset("eegmat").split
    assert source.persons == tuple(sorted(f"eegmat:{s}" for s in split.train))
    assert source.n_windows == prepare("eegmat").counts()["train"]


def test_somebody_who_trains_in_one_set_and_is_scored_in_another_is_refused() -> None:
    mine, other = (find_dataset(name).split for name in ("physionet_mi", "eyes"))
    both = sorted(set(mine.train) & {*other.val, *other.test})
    assert both
    with pytest.raises(SpecError) as caught:
        open_corpus(["physionet_mi"], scored_on=["eegmat", "eyes"])
    said = str(caught.value)
    assert "of physionet_mi (eegmmidb:S0" in said
    assert "in test of eyes" in said
    assert "in val of eyes" in said
    assert "--exclude-scored-persons" in said


def test_those_who_are_scored_can_be_left_out_and_are_counted() -> None:
    with pytest.raises(SpecError, match=r"1 of tueg \(tuh:aaaaaaoc\) in val of tuev"):
        open_corpus(["tueg"], scored_on=["tuev"])
    whole, less = (
        open_corpus(["tueg"], scored_on=scored, exclude_scored_persons=True)
        for scored in (["eegmat"], ["eegmat", "tuev"])
    )
    (source,), (every,) = less.sources, whole.sources
    assert source.left_out == {"tuh:aaaaaaoc": "val of tuev"}
    # The other trains there, and stays.
    assert "tuh:aaaaaaar" in source.persons == less.persons
    assert set(source.persons) == set(every.persons) - {"tuh:aaaaaaoc"}
    assert 0 < source.n_left_out == every.n_windows - source.n_windows
    in_rows = source.store.index["person"].to_numpy()[source.rows]
    assert set(in_rows) == set(source.persons)
    # Other people are other data.
    assert source.fingerprint != every.fingerprint
    assert less.scored_on == ("eegmat", "tuev")


def test_two_cases_of_one_girl_are_one_person() -> None:
    assert held_out(["chbmit"]).parts["chbmit:chb01"] == (("chbmit", "val"),)
    assert "chbmit:chb01" not in held_out(["chbmit@corrected"]).parts
    with pytest.raises(SpecError, match=r"1 of chbmit \(chbmit:chb01\) in val of chb"):
        open_corpus(["chbmit"], scored_on=["chbmit"])


def test_what_cannot_be_known_of_people_is_said_where_it_matters() -> None:
    held = held_out(["tuev"])
    (said,) = held.notes(["tuh:aaaaaaar"])
    assert said.startswith("tuev: the folders of its test part are numbered")
    assert held.notes(["eegmat:Subject00"]) == ()


@pytest.mark.parametrize("name", ["seedv", "bcic2020"])
def test_where_everybody_is_in_test_nobody_is_left(name: str) -> None:
    spec = find_dataset(name)
    parts = parts_of(spec, None)
    assert len(parts) == len(spec.everyone)
    assert {p for own in parts.values() for p in own} == {"train", "val", "test"}
    assert set(held_out([name]).parts) == set(parts)


def test_a_source_of_which_nobody_is_left_is_refused_even_if_they_may_be_left_out() -> (
    None
):
    with pytest.raises(SpecError, match="Nobody of bcic2020 is left"):
        open_corpus(["bcic2020"], scored_on=["bcic2020"], exclude_scored_persons=True)


def test_by_default_every_labelled_dataset_is_to_be_scored() -> None:
    held = held_out(None)
    assert held.names == labelled_names()
    assert not {"tueg", "hbn"} & set(held.names)
    assert held.parts["eegmmidb:S109"]
    assert held.unknown == {}
    with pytest.raises(SpecError, match=r"of physionet_mi .* in test of eyes"):
        open_corpus(["physionet_mi"])


def test_a_split_that_depends_on_recordings_needs_them(tmp_path: Path) -> None:
    shutil.copytree(twin_root(find_dataset("eegmat")), tmp_path / "root")
    held = held_out(None, data=tmp_path / "root")
    assert set(held.unknown) == {"tuev", "tuev@2.0.1"}
    assert "cannot be known" in held.unknown["tuev"]
    with pytest.raises(DataMissing, match="tuev is to be scored, but who is in"):
        held_out(["tuev"], data=tmp_path / "root")


@pytest.mark.parametrize(
    ("names", "kind", "says"),
    [
        ([], SpecError, "The sources are"),
        ("tueg", SpecError, "expected a list"),
        (["eegmat", "eegmat"], SpecError, "eegmat is there twice: "),
        (["chbmit", "chbmit@corrected"], SpecError, "twice, as chbmit too"),
        (["eegmatt"], UnknownName, "Did you mean 'eegmat'"),
        (["seedv"], SpecError, "windows of 1 s .* are 1 patch of 200; expected 2"),
    ],
)
def test_what_is_no_list_of_sources_is_refused_before_anything_is_cut(
    names: Any, kind: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "prepare", None)
    with pytest.raises(kind, match=says):
        open_corpus(names, scored_on=["eegmat"])


def test_people_are_judged_before_anything_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "prepare", None)
    with pytest.raises(SpecError, match="in val of tuev"):
        open_corpus(["hbn", "tueg"], scored_on=["tuev"])


@pytest.mark.parametrize("scored_on", [["tueg"], ["eyess"]])
def test_what_cannot_be_scored_is_refused(scored_on: list[str]) -> None:
    with pytest.raises((SpecError, UnknownName), match=r"corpus|Did you mean 'eyes'"):
        held_out(scored_on)


def test_a_root_without_anybody_who_trains_is_refused(tmp_path: Path) -> None:
    split = find_dataset("eegmat").split
    folder = tmp_path / "eegmat"
    folder.mkdir()
    for path in (twin_root(find_dataset("eegmat")) / "eegmat").rglob("*.edf"):
        if path.stem.partition("_")[0] in split.test:
            shutil.copy(path, folder / path.name)
    with pytest.raises(DataMissing, match="eegmat has nobody below"):
        open_corpus(["eegmat"], data=tmp_path, allow_partial=True, scored_on=["eyes"])
