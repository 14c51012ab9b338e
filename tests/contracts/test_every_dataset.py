"""What every registered dataset owes; nobody edits this to add one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eegfm_bench.datasets._prepare import prepare, twin_root
from eegfm_bench.datasets._spec import (
    DatasetSpec,
    dataset_names,
    find_dataset,
    find_labelled,
)
from eegfm_bench.errors import BenchError, DataMissing, SpecError
from eegfm_bench.symbols import PARTS


@pytest.fixture(params=dataset_names())
def spec(request: pytest.FixtureRequest) -> DatasetSpec:
    return find_dataset(request.param)


def parts_of(spec: DatasetSpec) -> set[str]:
    """All of a corpus is for training."""
    return {"train"} if spec.is_corpus else set(PARTS)


def test_the_twin_takes_the_whole_road(spec: DatasetSpec) -> None:
    store = prepare(spec.name)
    n_channels, n_times = len(spec.recipe.channels), spec.recipe.n_times
    assert store.x.shape == (len(store.index), n_channels, n_times)
    assert store.x.dtype == np.float32
    assert np.isfinite(store.x).all()
    # µV at the border: neither volts nor raw counts.
    assert 1 < float(np.median(store.x.std(axis=2))) < 500
    assert set(store.index["label"]) == set(range(len(spec.classes) or 1))
    assert {p for p, n in store.counts().items() if n} == parts_of(spec)
    assert store.manifest["flat_channels"] == {}


def test_each_part_of_the_twin_has_every_class(spec: DatasetSpec) -> None:
    counts = prepare(spec.name).manifest["counts"]
    for part in parts_of(spec):
        assert min(counts[part]) > 0, part


def test_the_plan_is_what_is_cut(spec: DatasetSpec) -> None:
    store = prepare(spec.name)
    plan = spec.plan(spec.find(twin_root(spec)))
    if spec.recipe.keep_below_uv is None:
        assert plan.equals(store.index[list(plan.columns)])
        return
    # What is not quiet is left out, and counted; the others are as planned, in order.
    assert store.manifest["planned"]["train"] == [len(plan)]
    n_left_out = sum(store.manifest["left_out"].values())
    assert 0 < n_left_out == len(plan) - len(store.index)
    assert float(np.abs(store.x).max()) < spec.recipe.keep_below_uv
    both = plan.merge(store.index[list(plan.columns)])
    assert both.equals(store.index[list(plan.columns)])


def test_a_dataset_has_classes_and_parts_or_is_a_corpus_with_neither(
    spec: DatasetSpec,
) -> None:
    if not spec.is_corpus:
        assert len(spec.classes) >= 2
        assert all(getattr(spec.split, part) for part in PARTS)
        assert spec.main_score in ("auroc", "cohen_kappa")
        assert find_labelled(spec.name) is spec
        return
    assert spec.split.val == spec.split.test == ()
    assert spec.main_score == ""
    assert spec.class_weights is None
    with pytest.raises(SpecError, match=f"{spec.name} is a corpus for pre-training"):
        find_labelled(spec.name)


def test_who_a_subject_is_across_datasets_is_known_without_recordings(
    spec: DatasetSpec,
) -> None:
    sources = spec.find(twin_root(spec))
    assert all(source.person.count(":") == 1 for source in sources)
    if spec.person_of is None:
        # Then nobody knows who is in the set, either.
        assert spec.everyone == ()
        return
    assert all(spec.person_of(s.subject) == s.person for s in sources)


def test_parts_share_nobody(spec: DatasetSpec) -> None:
    index = prepare(spec.name).index
    if spec.split.unit == "subject":
        for who in ("subject", "person"):
            assert (index.groupby(who)["part"].nunique() == 1).all()
    assert len(set(spec.everyone)) == len(spec.everyone)
    assert not spec.everyone or len(spec.everyone) == spec.facts.n_subjects


@pytest.mark.slow
def test_the_twin_is_the_same_every_time(spec: DatasetSpec, tmp_path: Path) -> None:
    spec.simulate(tmp_path, "small")
    again = {f.relative_to(tmp_path): f for f in tmp_path.rglob("*") if f.is_file()}
    first = twin_root(spec) / spec.folder
    files = {f.relative_to(first): f for f in first.rglob("*") if f.is_file()}
    assert set(again) == set(files)
    for name, file in files.items():
        assert file.read_bytes() == again[name].read_bytes(), name


def test_an_empty_folder_says_how_to_get_the_data(
    spec: DatasetSpec, tmp_path: Path
) -> None:
    with pytest.raises(DataMissing) as caught:
        spec.find(tmp_path)
    assert spec.access in str(caught.value)
    (tmp_path / spec.folder).mkdir(parents=True)
    with pytest.raises(DataMissing, match="holds no recording"):
        spec.find(tmp_path)


@pytest.mark.slow
def test_a_truncated_recording_is_named(spec: DatasetSpec, tmp_path: Path) -> None:
    (tmp_path / spec.folder).mkdir(parents=True)
    spec.simulate(tmp_path / spec.folder, "small")
    source = spec.find(tmp_path)[0]
    content = source.path.read_bytes()
    source.path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BenchError, match=source.path.name):
        prepare(spec.name, data=tmp_path, allow_partial=True)


def test_it_says_where_it_comes_from(spec: DatasetSpec) -> None:
    for text in (spec.title, spec.licence, spec.access, spec.reference):
        assert text
    assert spec.facts.source
    assert spec.split.source


@pytest.mark.data
def test_facts_hold_where_the_set_is_complete(
    spec: DatasetSpec, data_root: Path
) -> None:
    try:
        sources = spec.find(data_root)
    except DataMissing as reason:
        pytest.skip(str(reason))
    counts = spec.plan(sources).groupby("part").size().to_dict()
    if spec.absent(sources):
        assert all(counts.get(part, 0) <= n for part, n in spec.facts.windows.items())
    else:
        assert {p: counts[p] for p in spec.facts.windows} == dict(spec.facts.windows)
        assert spec.facts.in_all in (None, sum(counts.values()))
