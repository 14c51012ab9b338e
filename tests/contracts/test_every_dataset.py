"""What every registered dataset owes; nobody edits this to add one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eegfm_bench.datasets._prepare import prepare, twin_root
from eegfm_bench.datasets._spec import DatasetSpec, dataset_names, find_dataset
from eegfm_bench.errors import BenchError, DataMissing
from eegfm_bench.symbols import PARTS


@pytest.fixture(params=dataset_names())
def spec(request: pytest.FixtureRequest) -> DatasetSpec:
    return find_dataset(request.param)


def test_the_twin_takes_the_whole_road(spec: DatasetSpec) -> None:
    store = prepare(spec.name)
    n_channels, n_times = len(spec.recipe.channels), spec.recipe.n_times
    assert store.x.shape == (len(store.index), n_channels, n_times)
    assert store.x.dtype == np.float32
    assert np.isfinite(store.x).all()
    # µV at the border: neither volts nor raw counts.
    assert 1 < float(np.median(store.x.std(axis=2))) < 500
    assert set(store.index["label"]) == set(range(len(spec.classes)))
    assert all(n > 0 for n in store.counts().values())
    assert store.manifest["flat_channels"] == {}


def test_each_part_of_the_twin_has_every_class(spec: DatasetSpec) -> None:
    counts = prepare(spec.name).manifest["counts"]
    for part in PARTS:
        assert min(counts[part]) > 0, part


def test_the_plan_is_what_is_cut(spec: DatasetSpec) -> None:
    store = prepare(spec.name)
    plan = spec.plan(spec.find(twin_root(spec)))
    assert plan.equals(store.index[list(plan.columns)])


def test_parts_share_nobody(spec: DatasetSpec) -> None:
    index = prepare(spec.name).index
    if spec.split.unit == "subject":
        for who in ("subject", "person"):
            assert (index.groupby(who)["part"].nunique() == 1).all()
    assert len(set(spec.everyone)) == len(spec.everyone)
    assert not spec.everyone or len(spec.everyone) == spec.facts.n_subjects


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
