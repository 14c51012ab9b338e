"""BCIC2020-3: the published counts, the answer sheet, values equal to SciPy's.

In the skeletons, names, shapes, labels and the answer sheet are as published; the
signals are zeros that take no room.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat
from scipy.signal import resample

from eegfm_bench.datasets import bcic2020
from eegfm_bench.datasets._prepare import prepare, twin_root
from eegfm_bench.datasets._spec import Source
from eegfm_bench.datasets._twins import matlab as matlab_twin
from eegfm_bench.errors import DataMissing, SignalError

SPEC = bcic2020.DATASETS[0]
TRAIN, VAL, TEST = bcic2020.FOLDERS.values()
SHEET = f"{TEST}/{bcic2020.ANSWERS}"
LABELS = np.arange(50) % 5


def epo(n_trials: int, **other: Any) -> dict[str, Any]:
    fields = {
        "clab": matlab_twin.cells(bcic2020.CHANNELS),
        "fs": np.array([[256.0]]),
        "t": np.zeros((1, 795)),
        "title": matlab_twin.cells(["imagined speech"]),
        "x": np.zeros((795, 64, n_trials)),
        "y": np.eye(5)[:, np.arange(n_trials) % 5],
    }
    return {k: v for k, v in (fields | other).items() if v is not None}


def write_answers(path: Path, **other: Any) -> None:
    bcic2020.write_answers(path, dict.fromkeys(bcic2020.SUBJECTS, LABELS) | other)


def spread(path: Path, variables: dict[str, Any]) -> None:
    """Write a subject's file compressed, and the others' plain and sparse."""
    matlab_twin.write_mat(path, variables, compressed=False)
    content = path.read_bytes()
    start, tail = content.find(bytes(1 << 16)), content[-(1 << 15) :]
    for subject in bcic2020.SUBJECTS[1:]:
        with path.with_stem(subject).open("wb") as file:
            file.write(content[:start])
            file.seek(len(content) - len(tail))
            file.write(tail)
    matlab_twin.write_mat(path, variables, compressed=True)


@pytest.fixture(scope="module")
def skeletons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 45 files in their true shapes, and the answer sheet."""
    root = tmp_path_factory.mktemp("skeletons")
    folder = root / "bcic2020"
    for name in (TRAIN, VAL, TEST):
        (folder / name).mkdir(parents=True)
    spread(folder / TRAIN / "Data_Sample01.mat", {"epo_train": epo(300)})
    spread(folder / VAL / "Data_Sample01.mat", {"epo_validation": epo(50)})
    for subject in bcic2020.SUBJECTS:
        path = folder / TEST / f"{subject}.mat"
        matlab_twin.write_mat_7_3(path, {"epo_test": epo(50, x=None)})
        with h5py.File(path, "a") as file:
            file["epo_test"].create_dataset("x", (50, 64, 795), "f8")
    write_answers(folder / SHEET)
    return root


def test_all_45_files_plan_the_published_counts(skeletons: Path) -> None:
    sources = SPEC.find(skeletons)
    plan = SPEC.plan(sources)
    counts = plan.groupby(["part", "label"]).size().unstack()
    by_class = {part: tuple(counts.loc[part]) for part in counts.index}
    assert by_class == {"train": (900,) * 5, "val": (150,) * 5, "test": (150,) * 5}
    assert by_class == dict(SPEC.facts.windows_by_class)
    assert {p: sum(n) for p, n in by_class.items()} == dict(SPEC.facts.windows)
    assert len(plan) == 6000
    assert len(sources) == SPEC.facts.n_recordings == 45
    assert SPEC.absent(sources) == SPEC.outside(skeletons) == ()
    assert [SPEC.oddities(source) for source in sources] == [()] * 45


def rows_of(recording: str) -> tuple[np.ndarray, list[int]]:
    store = prepare("bcic2020")
    rows = np.flatnonzero(store.index["recording"] == recording)
    return store.x[rows], store.index["label"][rows].tolist()


@pytest.mark.parity
@pytest.mark.parametrize("part", ["train", "val"])
def test_windows_equal_scipy(part: str) -> None:
    name = f"{bcic2020.FOLDERS[part]}/Data_Sample01.mat"
    raw = loadmat(twin_root(SPEC) / "bcic2020" / name)[bcic2020.STRUCTS[part]]
    trials, one_hot = raw[0, 0][4], raw[0, 0][5]
    expected = [
        resample(trials[27:, :, k], 600, axis=0).T for k in range(one_hot[0].size)
    ]
    x, labels = rows_of(f"Data_Sample01-{part}")
    scale_uv = np.abs(expected).max()
    assert np.abs(x - np.array(expected)).max() <= 1e-5 * scale_uv
    assert labels == np.nonzero(one_hot.T)[1].tolist()


@pytest.mark.parity
def test_test_windows_equal_h5py_and_the_answer_sheet() -> None:
    folder = twin_root(SPEC) / "bcic2020"
    answers = pd.read_excel(folder / SHEET, sheet_name="Track3", header=None)
    for k, subject in enumerate(bcic2020.SMALL_SUBJECTS, start=1):
        with h5py.File(folder / TEST / f"{subject}.mat") as file:
            trials = file["epo_test"]["x"][()]
            assert (file["epo_test"]["y"][()].argmax(axis=1) == 0).all()
        assert trials.shape == (50, 64, 795)
        x, labels = rows_of(f"{subject}-test")
        expected = resample(trials[..., -768:].astype(np.float64), 600, axis=-1)
        assert np.abs(x - expected).max() <= 1e-5 * np.abs(expected).max()
        assert labels == [int(n) - 1 for n in answers.iloc[3:53, 2 * k]]
        assert sorted(set(labels)) == [0, 1, 2, 3, 4]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One subject with few trials, of next to no bytes."""
    for part, name in bcic2020.FOLDERS.items():
        path = tmp_path / "bcic2020" / name / "Data_Sample03.mat"
        path.parent.mkdir(parents=True)
        rewrite(path, part, 50 if part == "test" else 10)
    write_answers(tmp_path / "bcic2020" / SHEET, Data_Sample03=LABELS[::-1])
    return tmp_path


def rewrite(path: Path, part: str, n_trials: int, **other: Any) -> None:
    variables = {bcic2020.STRUCTS[part]: epo(n_trials, **other)}
    if part == "test":
        matlab_twin.write_mat_7_3(path, variables)
    else:
        matlab_twin.write_mat(path, variables, compressed=True)


def source_of(root: Path, part: str) -> Source:
    return next(s for s in SPEC.find(root) if s.unit == bcic2020.FOLDERS[part])


def test_a_subject_has_its_own_columns_of_the_sheet(root: Path) -> None:
    onsets_s, labels = SPEC.windows(source_of(root, "test"))
    assert labels.tolist() == LABELS[::-1].tolist()
    assert onsets_s.tolist() == [3.0 * k for k in range(50)]
    assert source_of(root, "test").extra == (root / "bcic2020" / SHEET,)
    assert source_of(root, "train").extra == ()


def test_the_sheet_may_lie_beside_the_folders_but_must_be_one(root: Path) -> None:
    folder = root / "bcic2020"
    beside = folder / bcic2020.ANSWERS
    shutil.copy(folder / SHEET, beside)
    with pytest.raises(SignalError, match="both claim to be the answer sheet"):
        SPEC.find(root)
    (folder / SHEET).unlink()
    assert source_of(root, "test").extra == (beside,)
    beside.unlink()
    with pytest.raises(DataMissing, match=r"no 'Track3.*osf\.io/download/n3a2p"):
        SPEC.find(root)


def test_test_files_may_have_either_name_but_one_of_them(root: Path) -> None:
    usual = root / "bcic2020" / TEST / "Data_Sample03.mat"
    other = usual.with_name("Data_Sample03_Test.mat")
    shutil.copy(usual, other)
    with pytest.raises(SignalError, match="claim the same recording"):
        SPEC.find(root)
    usual.unlink()
    source = source_of(root, "test")
    assert (source.path, source.recording) == (other, "Data_Sample03-test")


def test_a_subject_without_one_part_is_damaged(root: Path) -> None:
    (root / "bcic2020" / VAL / "Data_Sample03.mat").unlink()
    with pytest.raises(SignalError, match=r"Data_Sample03 has 2 of 3.*Sample03-val"):
        SPEC.find(root)


def test_few_trials_and_what_is_unsaid_are_told(root: Path) -> None:
    path = root / "bcic2020" / TRAIN / "Data_Sample03.mat"
    rewrite(path, "train", 11, clab=None, fs=None)
    assert SPEC.oddities(source_of(root, "train")) == (
        "no 'epo_train/clab': taken to be as published",
        "no 'epo_train/fs': taken to be as published",
        "11 trials, not 300",
        "classes out of balance: 3 hello, 2 help_me, 2 stop, 2 thank_you, 2 yes",
    )
    assert SPEC.oddities(source_of(root, "test")) == ()


SWAPPED = ("Fp2", "Fp1", *bcic2020.CHANNELS[2:])


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"clab": matlab_twin.cells(SWAPPED)}, "channel 1 is 'Fp2'; expected 'Fp1'"),
        ({"clab": matlab_twin.cells(SWAPPED[:9])}, "9 channels; expected 64"),
        ({"fs": np.array([[250.0]])}, "fs' is 250 Hz; expected 256"),
        ({"x": np.zeros((768, 64, 50))}, "768 × 64 × 50; expected 795 × 64 × any"),
        ({"x": None}, "there is no 'epo_.*/x'"),
        ({"x": np.zeros((795, 64, 49))}, "has 49 trials, .* has 50"),
    ],
)
def test_a_file_that_is_not_the_published_one_is_refused(
    root: Path, part: str, other: dict[str, Any], why: str
) -> None:
    path = root / "bcic2020" / bcic2020.FOLDERS[part] / "Data_Sample03.mat"
    rewrite(path, part, 50, **other)
    with pytest.raises(SignalError, match=rf"Data_Sample03\.mat: .*{why}"):
        SPEC.windows(source_of(root, part))


@pytest.mark.parametrize("column", [(0, 0, 0, 0, 0), (1, 1, 0, 0, 0), (2, -1, 0, 0, 0)])
def test_labels_that_are_not_one_hot_are_refused(root: Path, column: tuple) -> None:  # type: ignore[type-arg]
    y = np.eye(5)[:, np.arange(10) % 5]
    y[:, 6] = column
    rewrite(root / "bcic2020" / TRAIN / "Data_Sample03.mat", "train", 10, y=y)
    with pytest.raises(SignalError, match=r"of trial 7 is \[.*expected one 1 among"):
        SPEC.windows(source_of(root, "train"))


def test_files_of_another_part_are_refused(root: Path) -> None:
    folder = root / "bcic2020"
    shutil.copy(folder / VAL / "Data_Sample03.mat", folder / TRAIN)
    with pytest.raises(SignalError, match="no 'epo_train/x'; there are epo_validation"):
        SPEC.windows(source_of(root, "train"))


@pytest.mark.parametrize(
    ("row", "column", "value", "why"),
    [
        (13, 6, 6, "row 14, Data_Sample03, trial 11: the label is 6; expected 1 to 5"),
        (13, 6, None, "trial 11: the label is None"),
        (13, 6, "stop", "trial 11: the label is 'stop'"),
        (52, 5, 49, "row 53, Data_Sample03: the trial is 49; expected 50"),
    ],
)
def test_a_wrong_answer_sheet_is_refused(
    root: Path, row: int, column: int, value: object, why: str
) -> None:
    import openpyxl

    path = root / "bcic2020" / SHEET
    book = openpyxl.load_workbook(path)
    book["Track3"].cell(row + 1, column + 1).value = value
    book.save(path)
    with pytest.raises(SignalError, match=rf"Answer Sheet_Test\.xlsx: .*{why}"):
        SPEC.windows(source_of(root, "test"))


def test_values_that_are_not_finite_are_refused(root: Path) -> None:
    x = np.ones((795, 64, 10))
    x[400, 5, 3] = np.nan
    rewrite(root / "bcic2020" / TRAIN / "Data_Sample03.mat", "train", 10, x=x)
    with pytest.raises(SignalError, match=r"Sample03\.mat: channel F4 has values"):
        SPEC.read(source_of(root, "train"))


def test_the_small_twin_keeps_its_budget_and_its_formats() -> None:
    n = prepare("bcic2020").counts()
    assert n == {"train": 165, "val": 45, "test": 150}
    assert 2 * (n["train"] + n["val"]) + n["test"] <= 600
    folder = twin_root(SPEC) / "bcic2020"
    with pytest.raises(NotImplementedError):
        loadmat(folder / TEST / "Data_Sample01.mat")
    names = loadmat(folder / TRAIN / "Data_Sample01.mat")["epo_train"].dtype.names
    assert names[4:6] == ("x", "y")


def test_the_full_twin_has_the_published_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_trials: dict[str, int] = {}
    monkeypatch.setattr(bcic2020, "_epochs", lambda *_: None)
    monkeypatch.setattr(
        bcic2020,
        "_write",
        lambda path, part, _, labels: n_trials.update(
            {f"{part} {path.name}": len(labels)}
        ),
    )
    bcic2020.simulate(tmp_path, "full")
    assert len(n_trials) == 45
    assert sum(n_trials.values()) == 6000
    assert n_trials["train Data_Sample15.mat"] == 300
