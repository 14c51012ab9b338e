"""Budgets of labels: the right number, from many subjects, alike for all models."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eegfm_bench.batches import EEGDataModule
from eegfm_bench.datasets._prepare import prepare
from eegfm_bench.errors import SpecError
from eegfm_bench.runs.labels import Labels, canonical_labels, parse_labels
from eegfm_bench.training.budget import draw, label_budget, train_rows
from eegfm_bench.training.classifier import _class_weights
from eegfm_bench.training.fit import fit
from tests.unit.skeletons_of_adapting import small_spec

Rows = NDArray[np.int64]


@st.composite
def parts(draw_: st.DrawFn) -> tuple[Rows, NDArray[np.str_]]:
    """Labels and subjects of a training part, in any proportions and order."""
    pairs = st.tuples(st.integers(0, 3), st.integers(0, 6))
    rows = draw_(st.lists(pairs, min_size=1, max_size=120))
    label, who = np.array(rows).T
    return label.astype(np.int64), np.array([f"s{w}" for w in who])


@settings(max_examples=150, deadline=None)
@given(parts(), st.floats(0.5, 100), st.integers(0, 5))
def test_a_share_has_the_right_total_and_keeps_every_class(
    part: tuple[Rows, NDArray[np.str_]], percent: float, seed: int
) -> None:
    label, subject = part
    at = draw(label, subject, Labels(percent=percent), seed)
    classes = set(label.tolist())
    right = max(int(np.floor(len(label) * percent / 100 + 0.5 + 1e-9)), len(classes))
    assert len(at) == right
    assert len(set(at.tolist())) == right  # none twice
    assert (np.diff(at) > 0).all()  # in the store's order
    assert set(label[at].tolist()) == classes
    for k in classes:  # within one window of its share, but for the least of one
        n, there = int((label[at] == k).sum()), int((label == k).sum())
        assert n <= there
        assert n > there * percent / 100 - len(classes)


@settings(max_examples=100, deadline=None)
@given(parts(), st.integers(1, 12), st.integers(0, 5))
def test_so_many_of_each_class_come_as_evenly_from_subjects_as_they_can(
    part: tuple[Rows, NDArray[np.str_]], n: int, seed: int
) -> None:
    label, subject = part
    there = {int(k): int((label == k).sum()) for k in range(int(label.max()) + 1)}
    if min(there.values()) < n:
        with pytest.raises(SpecError, match=f"has {min(there.values())}"):
            draw(label, subject, Labels(per_class=n), seed)
        return
    at = draw(label, subject, Labels(per_class=n), seed)
    for k in there:
        own = at[label[at] == k]
        assert len(own) == n
        names, got = np.unique(subject[own], return_counts=True)
        for who in np.unique(subject[label == k]):
            has = int(got[names == who].sum())
            if has < int(((subject == who) & (label == k)).sum()):
                assert has >= got.max() - 1  # it could have given more


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=12),
    st.sampled_from(["20%", "1/class", "4/class"]),
)
def test_sequences_are_drawn_whole(rows: list[tuple[int, int]], text: str) -> None:
    # Six windows each: the first half of one class, the rest of class 0.
    label = np.array([[k, k, k, 0, 0, 0] for k, _ in rows]).ravel()
    subject = np.repeat([f"s{who}" for _, who in rows], 6)
    labels = parse_labels(text)
    counts = np.bincount(label)
    if labels.per_class is not None and counts.min() < labels.per_class:
        return
    at = draw(label, subject, labels, 0, sequence=6)
    assert (at.reshape(-1, 6) % 6 == np.arange(6)).all()
    got = np.bincount(label[at], minlength=len(counts))
    least = labels.per_class or 1
    assert (got[counts > 0] >= least).all()


def test_the_draw_hangs_on_windows_seed_and_budget_alone() -> None:
    store = prepare("eegmat")
    for text in ("10%", "8/class"):
        first = train_rows(store, text, 3)
        np.random.default_rng(0).random()
        np.random.seed(5)  # noqa: NPY002 - whatever a model did to it
        assert np.array_equal(first, train_rows(store, text, 3))
        assert not np.array_equal(first, train_rows(store, text, 4))
    other = train_rows(store, "10.5%", 3)
    assert not np.array_equal(train_rows(store, "10%", 3), other)
    assert np.array_equal(train_rows(store, None, 3), store.rows("train"))


def test_a_budget_has_one_spelling() -> None:
    assert canonical_labels(" 10.0 % ") == "10%"
    assert canonical_labels("08 / class") == "8/class"
    assert canonical_labels("100%") is None
    assert canonical_labels(None) is None
    # What is written is read back as it is, however small or near to all.
    assert canonical_labels("0.00001%") == canonical_labels("0.000010%") == "0.00001%"
    assert canonical_labels("99.9999999999999%") is None
    for wrong in (
        "10",
        "0%",
        "101%",
        "0/class",
        "-1/class",
        "8/subject",
        "nan%",
        "",
        "0.000000000001%",
    ):
        with pytest.raises(SpecError, match="--labels is"):
            canonical_labels(wrong)


def test_more_than_there_are_says_how_many_there_are() -> None:
    with pytest.raises(SpecError, match=r"rest has 84, arithmetic has 84.*84/class"):
        train_rows(prepare("eegmat"), "85/class", 0)


def test_class_weights_are_of_the_drawn_windows_and_validation_stays_whole() -> None:
    store = prepare("eegmat")
    rows = store.rows("train")
    skewed = rows[store.index["label"].to_numpy()[rows] == 0][:9]
    skewed = np.sort(np.append(skewed, rows[store.index["label"][rows] == 1][:3]))
    data = EEGDataModule(store, train_rows=skewed)
    assert data.class_counts().tolist() == [9, 3]
    weights = _class_weights(small_spec().recipe, data.class_counts())  # type: ignore[arg-type]
    assert weights is not None
    assert weights.tolist() == pytest.approx([12 / 18, 12 / 6])
    seen = torch_rows(data, "train")
    assert seen == 12
    assert torch_rows(data, "val") == store.counts()["val"]


def torch_rows(data: EEGDataModule, part: str) -> int:
    loader = data.train_dataloader() if part == "train" else data.val_dataloader()
    return sum(len(batch.y) for batch in loader)


def test_the_record_says_what_was_drawn_of_how_many() -> None:
    store = prepare("eegmat")
    spec = small_spec(model="bandpower", labels="8/class")
    record, _ = fit(spec, store)
    assert record.adaptation is not None
    budget = record.adaptation.labels
    assert budget is not None
    assert budget.asked == "8/class"
    assert budget.windows == {"rest": 8, "arithmetic": 8}
    assert budget.of_windows == {"rest": 84, "arithmetic": 84}
    assert budget.subjects <= 16 < budget.of_subjects == 28
    assert budget == label_budget(store, "8/class", train_rows(store, "8/class", 0))
    assert record.cost is not None
    assert record.cost.n_windows == {**store.counts(), "train": 16}
    assert record.cost.window_passes == 16 + store.counts()["val"] + len(
        store.rows("test")
    )
