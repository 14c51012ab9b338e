"""Folds over people, and sets filtered as for pre-training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import eegfm_bench
from eegfm_bench.datasets._filtered import STEPS, filtered
from eegfm_bench.datasets._folds import fold_of, folded, unfolded
from eegfm_bench.datasets._prepare import twin_root
from eegfm_bench.datasets._spec import dataset_names, find_dataset
from eegfm_bench.errors import SpecError, UnknownName
from eegfm_bench.pretraining.persons import parts_of
from eegfm_bench.recordings.filters import apply
from eegfm_bench.recordings.recording import Recording
from eegfm_bench.runs.recipes import recipe_book

BY_PEOPLE = [
    name
    for name in dataset_names()
    if not (spec := find_dataset(name)).is_corpus
    and spec.everyone
    and spec.split.unit in ("subject", "case")
    and set(spec.everyone) <= set(spec.split.names)
]


@pytest.mark.parametrize("name", BY_PEOPLE)
@pytest.mark.parametrize("n", [3, 5])
def test_everybody_is_tested_once_and_nobody_is_in_two_parts(name: str, n: int) -> None:
    tested: list[str] = []
    for k in range(1, n + 1):
        spec = find_dataset(f"{name}@fold{k}of{n}")
        assert set(spec.split.names) == set(find_dataset(name).everyone)
        parts = parts_of(spec, None)
        assert all(len(own) == 1 for own in parts.values())
        tested += [person for person, own in parts.items() if "test" in own]
    assert sorted(tested) == sorted(parts)


def test_a_person_under_two_names_stays_in_one_part() -> None:
    for k in range(1, 6):
        split = find_dataset(f"chbmit@fold{k}of5").split
        assert split.part_of("chb01") == split.part_of("chb21")


def test_validation_of_one_fold_is_the_test_of_the_next() -> None:
    folds = [find_dataset(f"eegmat@fold{k}of4").split for k in range(1, 5)]
    for this, following in zip(folds, [*folds[1:], folds[0]], strict=True):
        assert this.val == following.test


def test_each_fold_is_a_protocol_of_its_own_with_the_datasets_windows() -> None:
    base = find_dataset("eyes")
    folds = [find_dataset(f"eyes@fold{k}of5") for k in range(1, 6)]
    assert len({base.protocol(), *(fold.protocol() for fold in folds)}) == 6
    assert {fold.recipe for fold in folds} == {base.recipe}
    assert {fold.facts.in_all for fold in folds} == {base.facts.in_all}


def test_a_fold_has_the_recipe_of_its_dataset() -> None:
    book = recipe_book("labram")
    assert book is not None
    assert book.values("tuev@2.0.1@fold1of3", 6) == book.values("tuev@2.0.1", 6)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("eyes@fold0of5", "fold 0 of 5"),
        ("eyes@fold6of5", "fold 6 of 5"),
        ("eyes@fold1of2", "at least 3"),
        ("eyes@fold1", "names no fold"),
        ("eyes@foldxofy", "names no fold"),
        ("eegmat@fold1of37", "36 people"),
        ("seedv@fold1of5", "not by subjects"),
        ("tuev@fold1of5", "not by subjects"),
        ("tueg@fold1of5", "no split"),
        ("eyes@fold1of5@fold2of5", "names two folds"),
        ("eyes@filtered@fold1of5", "Write eyes@fold1of5@filtered"),
        ("eyes@filtered@fold1of5@filtered", "Write eyes@fold1of5@filtered"),
        ("eyes@fold１of５", "names no fold"),
    ],
)
def test_folds_that_cannot_be_are_refused(name: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        find_dataset(name)


def test_a_fold_of_an_unknown_dataset_suggests_the_nearest() -> None:
    with pytest.raises(UnknownName, match="'eyes'"):
        find_dataset("eye@fold1of5")


def test_names_are_taken_apart_and_put_together() -> None:
    assert fold_of("chbmit@corrected@fold2of4") == ("chbmit@corrected", 2, 4)
    assert fold_of("chbmit@corrected") is None
    spec = folded(find_dataset("chbmit@corrected"), 2, 4)
    assert unfolded(spec.name) == "chbmit@corrected"
    assert find_dataset(spec.name).split == spec.split


def planned(name: str) -> pd.DataFrame:
    """Return what would be cut of the twin that all names of a dataset share."""
    spec, root = find_dataset(name), twin_root(find_dataset("eegmat"))
    assert twin_root(spec) == root
    return spec.plan(spec.find(root))


def test_windows_of_a_fold_are_the_datasets_with_other_parts() -> None:
    whole, fold = planned("eegmat"), planned("eegmat@fold1of3@filtered")
    same = ["recording", "onset_s", "label"]
    assert fold[same].equals(whole[same])
    assert set(fold.groupby("subject")["part"].nunique()) == {1}
    assert set(fold["part"]) == {"train", "val", "test"}


@pytest.mark.parametrize("name", ["eyes", "eegmat@fold1of3", "chbmit@corrected"])
def test_a_filtered_set_differs_in_its_last_steps_alone(name: str) -> None:
    base, other = find_dataset(name), find_dataset(f"{name}@filtered")
    assert other.recipe.steps[: len(base.recipe.steps)] == base.recipe.steps
    assert [step[0] for step in other.recipe.steps[len(base.recipe.steps) :]] == [
        "bandpass",
        "notch",
    ]
    assert (other.split, other.classes) == (base.split, base.classes)
    assert other.protocol() != base.protocol()


@pytest.mark.parametrize(
    ("hz", "share"), [(0.05, 0.0), (10.0, 1.0), (40.0, 1.0), (60.0, 0.0), (97.0, 0.0)]
)
def test_filtering_takes_drift_and_hum_out_and_leaves_the_band(
    hz: float, share: float
) -> None:
    time_s = np.arange(60 * 200) / 200.0
    x = np.repeat(10 * np.sin(2 * np.pi * hz * time_s)[None], 2, axis=0)
    before = Recording(x=x, rate_hz=200.0, channels=("C3", "C4"), name="sines")
    middle = apply(before, STEPS).x[:, 4000:-4000]
    assert middle.std() / x.std() == pytest.approx(share, abs=0.05)


@pytest.mark.slow
def test_cut_windows_of_folds_and_filtered_sets_are_the_datasets_own() -> None:
    names = ("eegmat", "eegmat@fold1of3", "eegmat@filtered")
    whole, fold, kept = (eegfm_bench.prepare(name) for name in names)
    assert np.array_equal(fold.x, whole.x)
    assert not fold.index["part"].equals(whole.index["part"])
    assert kept.index.equals(whole.index)
    assert not np.array_equal(kept.x[:5], whole.x[:5])


def test_a_set_that_learns_its_steps_from_its_recordings_is_filtered_after() -> None:
    eyes = find_dataset("eyes")
    own = replace(eyes.recipe, channels=("Cz",), steps=(("highpass", 0.3),))
    base = replace(eyes, locate=lambda _, spec: replace(spec, recipe=own))
    other = filtered(base).located(Path())
    assert other.recipe == replace(own, steps=(*own.steps, *STEPS))
    assert other.name == "eyes@filtered"
    # Whoever locates a set twice filters it once.
    assert other.located(Path()).recipe == other.recipe
    with pytest.raises(SpecError, match="no ids here"):
        folded(base, 1, 3)


@pytest.mark.parametrize("name", ["tueg@filtered", "eyes@filtered@filtered"])
def test_what_is_filtered_already_is_not_filtered_again(name: str) -> None:
    with pytest.raises(SpecError, match="not filtered again"):
        find_dataset(name)
