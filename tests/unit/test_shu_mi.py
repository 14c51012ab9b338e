"""SHU-MI: labels, trials and splits; values equal to SciPy's; the total as stated."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat
from scipy.signal import resample, welch

from eegfm_bench.datasets import shu_mi
from eegfm_bench.datasets._prepare import prepare, twin_root
from eegfm_bench.datasets._spec import Source
from eegfm_bench.datasets._twins import matlab as matlab_twin
from eegfm_bench.datasets._verify import verify
from eegfm_bench.errors import SignalError

SPEC = shu_mi.DATASETS[0]


@pytest.mark.parity
@pytest.mark.parametrize("recording", ["sub-001_ses-01", "sub-016_ses-05"])
def test_windows_equal_scipy(recording: str) -> None:
    store = prepare("shu_mi")
    path = twin_root(SPEC) / "shu_mi" / "mat" / f"{recording}{shu_mi.ENDING}"
    raw = loadmat(path)
    expected = resample(raw["data"].astype(np.float64), 800, axis=2)
    rows = np.flatnonzero(store.index["recording"] == recording)
    assert np.abs(store.x[rows] - expected).max() <= 1e-5 * np.abs(expected).max()
    assert store.index["label"][rows].tolist() == (raw["labels"][0] - 1).tolist()


def one_file(
    tmp_path: Path, labels: np.ndarray, n_trials: int | None = None, **other: np.ndarray
) -> Source:
    path = tmp_path / "mat" / f"sub-007_ses-02{shu_mi.ENDING}"
    path.parent.mkdir(exist_ok=True)
    n = labels.shape[-1] if n_trials is None else n_trials
    variables = {"data": np.ones((n, 32, 1000)), "labels": labels} | other
    matlab_twin.write_mat(path, variables, compressed=True)
    (source,) = shu_mi.files(tmp_path)
    return source


def test_a_trial_is_a_window_and_1_is_left(tmp_path: Path) -> None:
    source = one_file(tmp_path, np.array([[1, 2, 2, 1]], "u1"))
    onsets_s, labels = SPEC.windows(source)
    assert onsets_s.tolist() == [0, 4, 8, 12]
    assert [SPEC.classes[k] for k in labels] == [
        *("left_hand", "right_hand", "right_hand", "left_hand")
    ]
    assert (source.subject, source.session) == ("sub-007", "02")
    assert source.recording == "sub-007_ses-02"


def test_trials_lie_end_to_end_in_the_recording(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(0, 9, (3, 32, 1000))
    source = one_file(tmp_path, np.array([[1, 2, 1]]), data=data)
    recording = SPEC.read(source)
    assert recording.duration_s == 12
    np.testing.assert_allclose(recording.x[5, 1000:2000], data[1, 5], rtol=1e-6)


@pytest.mark.parametrize(("n", "is_odd"), [(73, True), (74, False), (101, True)])
def test_an_unusual_number_of_trials_is_told(
    tmp_path: Path, n: int, is_odd: bool
) -> None:
    source = one_file(tmp_path, np.arange(n)[None] % 2 + 1)
    said = (f"{n} trials; published files have 74 to 100",) if is_odd else ()
    assert SPEC.oddities(source) == said


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (np.array([[1, 0, 2]]), "the label of trial 2 is 0; expected 1 .left. or 2"),
        (np.array([[1, 2, 3]]), "the label of trial 3 is 3"),
        (np.array([[1, 2, 1.5]]), r"the label of trial 3 is 1\.5"),
        (np.array([[1, 2, np.nan]]), "the label of trial 3 is nan"),
        (np.array([[1, 2]]), "'data' has 3 trials, 'labels' has 2"),
        (np.array([[1], [2], [1]]), "'labels' is 3 × 1; expected 1 × any"),
    ],
)
def test_wrong_labels_are_refused(tmp_path: Path, labels: np.ndarray, why: str) -> None:
    with pytest.raises(SignalError, match=rf"sub-007_ses-02.*\.mat: .*{why}"):
        SPEC.windows(one_file(tmp_path, labels, 3))


@pytest.mark.parametrize("shape", [(3, 30, 1000), (3, 32, 500), (32, 1000, 3)])
def test_other_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    source = one_file(tmp_path, np.ones((1, 3)), data=np.ones(shape))
    with pytest.raises(SignalError, match=r"'data' is .*; expected any × 32 × 1000"):
        SPEC.windows(source)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    data = np.ones((3, 32, 1000))
    data[2, 31, 7] = np.inf
    source = one_file(tmp_path, np.ones((1, 3)), data=data)
    with pytest.raises(SignalError, match=r"sub-007.*\.mat: channel O2 has values"):
        SPEC.read(source)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(twin_root(SPEC), tmp_path / "root")
    return tmp_path / "root"


def test_a_subject_without_one_session_is_damaged(root: Path) -> None:
    (root / "shu_mi" / "mat" / f"sub-021_ses-03{shu_mi.ENDING}").unlink()
    with pytest.raises(SignalError, match=r"sub-021 has .* alone, 5 recordings"):
        SPEC.find(root)


def test_the_total_is_compared_and_no_part_is(root: Path) -> None:
    found = verify("shu_mi", data=root, allow_partial=True)
    of_parts = [line for line in found.lines if line.part]
    assert {(line.verdict, line.why) for line in of_parts} == {
        ("unknown", "no source states it")
    }
    assert [line.expected for line in found.lines if not line.part] == [25, 125, 11_988]


def test_the_split_is_75_25_and_25_files() -> None:
    split = SPEC.split
    assert [len(part) * 5 for part in (split.train, split.val, split.test)] == [
        *(75, 25, 25)
    ]
    assert (split.train[-1], split.val[0], split.test[0]) == (
        *("sub-015", "sub-016", "sub-021"),
    )


def test_the_full_twin_has_the_published_sum_and_range() -> None:
    n_trials = shu_mi.published_lengths()
    assert len(n_trials) == SPEC.facts.n_recordings
    assert sum(n_trials.values()) == SPEC.facts.total
    assert (min(n_trials.values()), max(n_trials.values())) == (74, 100)


def test_the_small_twin_keeps_its_budget_and_quietens_the_other_side() -> None:
    store = prepare("shu_mi")
    n = store.counts()
    assert 2 * (n["train"] + n["val"]) + n["test"] <= 600
    rows = np.concatenate([store.rows("train"), store.rows("val")])
    freq, power = welch(store.x[rows][..., 160:720], 200.0, nperseg=200)
    mu_db = 10 * np.log10(power[..., (freq >= 9) & (freq < 13)].sum(axis=-1))
    sides = (
        mu_db[:, shu_mi.CHANNELS.index("C4")] - mu_db[:, shu_mi.CHANNELS.index("C3")]
    )
    is_right = store.index["label"].to_numpy()[rows] == 1
    assert sides[is_right].mean() - sides[~is_right].mean() > 1
