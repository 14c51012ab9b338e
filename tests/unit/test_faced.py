"""FACED: the published counts, who is in which part, clips resampled as SciPy does."""

from __future__ import annotations

import pickle
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eegfm_bench.datasets import faced
from eegfm_bench.datasets._prepare import prepare, twin_root
from eegfm_bench.datasets._rows import Piece, cut_recording
from eegfm_bench.datasets._spec import Source
from eegfm_bench.datasets._verify import verify
from eegfm_bench.errors import DataMissing, SignalError, SpecError
from eegfm_bench.recordings.filters import apply
from eegfm_bench.recordings.recording import Recording
from eegfm_bench.windows.store import WindowStore

SPEC = faced.DATASETS[0]
# Emotions by clip, as the protocol sheet writes them.
SHEET = [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + [4] * 4 + [5] * 3 + [6] * 3
SHEET += [7] * 3 + [8] * 3


def skeleton(path: Path, shape: tuple[int, ...], dtype: str = "<f8") -> None:
    """Write a genuine pickle of zeros, with a hole where they would lie."""
    whole = pickle.dumps(np.zeros(shape, dtype), protocol=4)
    at = whole.index(bytes(1000))
    tail = whole[at:].lstrip(b"\x00")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(whole[:at])
        file.seek(len(whole) - len(tail))
        file.write(tail)


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One skeleton of the published shape."""
    path = tmp_path_factory.mktemp("one") / "sub000.pkl"
    skeleton(path, (28, 32, 7500))
    return path


def sparse_copy(of: Path, path: Path) -> None:
    """Copy a skeleton's two ends."""
    size = of.stat().st_size
    with of.open("rb") as source, path.open("wb") as file:
        file.write(source.read(1000))
        source.seek(size - 1000)
        file.seek(size - 1000)
        file.write(source.read())


@pytest.fixture(scope="module")
def complete(genuine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Skeletons of all 123 subjects."""
    root = tmp_path_factory.mktemp("skeletons")
    folder = root / "faced" / "Processed_data"
    folder.mkdir(parents=True)
    for n in range(123):
        sparse_copy(genuine, folder / f"sub{n:03d}.pkl")
    return root


def test_all_123_subjects_plan_the_published_counts(complete: Path) -> None:
    began_s = time.perf_counter()
    sources = SPEC.find(complete)
    plan = SPEC.plan(sources)
    assert time.perf_counter() - began_s < 2
    assert len(sources) == SPEC.facts.n_recordings == 123
    assert min(s.path.stat().st_size for s in sources) > 28 * 32 * 7500 * 8
    assert len(plan) == SPEC.facts.in_all == 10_332
    by_part = plan["part"].value_counts().to_dict()
    assert by_part == {"train": 6720, "val": 1680, "test": 1932}
    assert by_part == dict(SPEC.facts.windows)
    counts = plan.groupby(["part", "label"]).size().unstack()
    for part, other, neutral in (
        *(("train", 720, 960), ("val", 180, 240), ("test", 207, 276)),
    ):
        expected = [neutral if k == 4 else other for k in range(9)]
        assert counts.loc[part].tolist() == expected
        assert list(SPEC.facts.windows_by_class[part]) == expected
    subjects = plan.groupby("part")["subject"].unique()
    for part, first, last in (("train", 0, 79), ("val", 80, 99), ("test", 100, 122)):
        assert sorted(subjects[part]) == [f"sub{n:03d}" for n in range(first, last + 1)]


def test_a_complete_set_verifies_on_every_line(complete: Path) -> None:
    found = verify("faced", data=complete)
    assert found.data == "complete"
    assert found.to_dict()["verdicts"] == {"equal": 33, "differs": 0, "unknown": 0}


def test_a_missing_pickle_is_absent_and_shifts_nobody(
    complete: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "faced" / "Processed_data"
    folder.mkdir(parents=True)
    for source in SPEC.find(complete):
        if source.subject != "sub079":
            (folder / source.path.name).symlink_to(source.path)
    whole, rest = (SPEC.plan(SPEC.find(root)) for root in (complete, tmp_path))
    assert len(rest) == 10_332 - 84
    of_others = whole[whole["subject"] != "sub079"].reset_index(drop=True)
    assert rest.equals(of_others)
    for ask in (verify, prepare):
        with pytest.raises(DataMissing, match="1 of 123 subjects are absent: sub079"):
            ask("faced", data=tmp_path)
    found = verify("faced", data=tmp_path, allow_partial=True)
    assert found.absent_subjects == ("sub079",)
    assert found.differing == ()
    known = {x.part for x in found.lines if x.verdict == "equal"}
    assert known == {"val", "test"}


def test_labels_and_onsets_tell_the_clip(complete: Path) -> None:
    onsets_s, labels = SPEC.windows(SPEC.find(complete)[0])
    assert onsets_s.tolist() == [10.0 * k for k in range(84)]
    assert labels.tolist() == [label for label in SHEET for _ in range(3)]
    assert [SPEC.classes[k] for k in labels[::9][:4]] == list(SPEC.classes[:4])


@pytest.mark.parametrize(
    ("shape", "dtype", "found"),
    [
        ((27, 32, 7500), "<f8", "27 × 32 × 7500"),
        ((29, 32, 7500), "<f4", "29 × 32 × 7500"),
        ((28, 30, 7500), "<f8", "28 × 30 × 7500"),
        ((28, 32, 6000), "<f8", "28 × 32 × 6000"),
        ((32, 28, 7500), "<f8", "32 × 28 × 7500"),
        ((28, 240000), "<f8", "28 × 240000"),
        ((28, 32, 7500), "<f2", r"\(float16\)"),
        ((28, 32, 7500), "<i4", "an array of 'i4'"),
    ],
)
def test_an_array_that_is_not_the_published_one_is_refused(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, found: str
) -> None:
    path = tmp_path / "faced" / "Processed_data" / "sub004.pkl"
    skeleton(path, shape, dtype)
    (source,) = SPEC.find(tmp_path)
    for ask in (SPEC.windows, SPEC.read):
        with pytest.raises(SignalError, match=rf"sub004\.pkl: .*{found}"):
            ask(source)


def test_files_of_nobody_in_the_protocol_are_counted(
    genuine: Path, tmp_path: Path
) -> None:
    # A folder named for a version lies between.
    folder = tmp_path / "faced" / "v1.0" / "Processed_data"
    folder.mkdir(parents=True)
    for name in ("sub000.pkl", "sub123.pkl", "sub1.pkl", "sub000 (1).pkl", "a.mat"):
        sparse_copy(genuine, folder / name)
    (source,) = SPEC.find(tmp_path)
    assert (source.subject, source.person) == ("sub000", "faced:sub000")
    assert SPEC.outside(tmp_path) == ("sub123",)


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "faced" / "Processed_data"
    folder.mkdir(parents=True)
    content = b"\x80\x02cos\nmkdir\nX\x03\x00\x00\x00ran\x85R."
    (folder / "sub000.pkl").write_bytes(content)
    with pytest.raises(SignalError, match=r"sub000\.pkl: it asks for 'os' 'mkdir'"):
        verify("faced", data=tmp_path, allow_partial=True)


@pytest.fixture(scope="module")
def clips() -> np.ndarray:
    """One subject's array: noise about an offset that differs from clip to clip."""
    rng = np.random.default_rng(0)
    x = 20 * rng.standard_normal(faced.SHAPE, np.float32)
    x += np.linspace(-50, 50, 28, dtype=np.float32)[:, None, None]
    return x


def one_subject(folder: Path, clips: np.ndarray) -> Source:
    (folder / "Processed_data").mkdir()
    with (folder / "Processed_data" / "sub007.pkl").open("wb") as file:
        pickle.dump(clips, file, protocol=5)
    (source,) = faced.files(folder)
    return source


def cut_of(source: Source, folder: Path) -> np.ndarray:
    """The windows (84, 32, 2000) as the store is given them."""
    onsets_s, _ = SPEC.windows(source)
    path = folder / "x.npy"
    shape = (len(onsets_s), 32, 2000)
    np.lib.format.open_memmap(path, "w+", np.float32, shape).flush()
    piece = Piece(source=source, first=0, onsets_s=onsets_s)
    cut_recording(SPEC, SPEC.recipe, piece, path)
    return np.load(path)


def by_scipy(clips: np.ndarray) -> np.ndarray:
    """The published processing by SciPy alone: 7500 to 6000, three windows a clip."""
    from scipy.signal import resample

    made = resample(clips.astype(np.float64), 6000, axis=2).reshape(28, 32, 3, 2000)
    return made.transpose(0, 2, 1, 3).reshape(84, 32, 2000)


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f8"])
def test_windows_equal_scipy_on_each_clip(
    tmp_path: Path, clips: np.ndarray, dtype: str
) -> None:
    found = cut_of(one_subject(tmp_path, clips.astype(dtype)), tmp_path)
    expected = by_scipy(clips)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_clip_bears_on_its_own_three_windows_alone(
    tmp_path: Path, clips: np.ndarray
) -> None:
    other = clips.copy()
    other[5] += 500.0
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a = cut_of(one_subject(tmp_path / "a", clips), tmp_path / "a")
    b = cut_of(one_subject(tmp_path / "b", other), tmp_path / "b")
    assert np.flatnonzero((a != b).any(axis=(1, 2))).tolist() == [15, 16, 17]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_are_not_finite_are_refused(
    tmp_path: Path, clips: np.ndarray, value: float
) -> None:
    spoilt = clips.astype(np.float64)
    spoilt[13, 2, 4000] = value
    source = one_subject(tmp_path, spoilt)
    with pytest.raises(SignalError, match=r"sub007\.pkl: channel Fz .*not finite"):
        SPEC.read(source)


def test_volts_are_noticed(tmp_path: Path, clips: np.ndarray) -> None:
    source = one_subject(tmp_path, clips * 1e-6)
    with pytest.raises(SignalError, match=r"sub007\.pkl: .*volts or millivolts"):
        SPEC.read(source)


@pytest.mark.parity
def test_windows_of_the_twin_equal_scipy() -> None:
    store: WindowStore = prepare("faced")
    for subject in ("sub000", "sub080"):
        path = twin_root(SPEC) / "faced" / "Processed_data" / f"{subject}.pkl"
        expected = by_scipy(pickle.loads(path.read_bytes()))
        found = store.x[np.flatnonzero(store.index["subject"] == subject)]
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert store.manifest["dropped_tail_s"] == {}


def test_the_small_twin_keeps_its_budget_and_the_published_shape() -> None:
    sources = SPEC.find(twin_root(SPEC))
    n = SPEC.plan(sources)["part"].value_counts()
    assert 450 <= 2 * (n["train"] + n["val"]) + n["test"] <= 600
    sizes = {faced.header(s).dtype.itemsize for s in sources}
    assert sizes == {4, 8}


def test_the_full_twin_is_everyone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faced, "SHAPE", (28, 32, 10))
    monkeypatch.setattr(faced.eeg, "record", lambda *_, **__: np.ones((32, 10)) * 3.0)
    faced.simulate(tmp_path, "full")
    assert [s.subject for s in faced.files(tmp_path)] == list(SPEC.split.names)


def test_another_rate_is_reached_in_the_same_way() -> None:
    at_128 = SPEC.recipe.at(128.0)
    assert at_128.steps == (("resample_periodic", 128.0),)
    assert at_128.stretch_s == 30.0
    assert SPEC.protocol(at_128) != SPEC.protocol()
    mixed = replace(SPEC.recipe, steps=(("resample", 200.0), ("highpass", 0.3)))
    assert mixed.at(128.0).steps == (("highpass", 0.3), ("resample", 128.0))


def test_a_periodic_resampling_refuses_a_fraction_of_a_time_point() -> None:
    x = np.random.default_rng(0).normal(0, 20, (2, 7501))
    recording = Recording(x=x, rate_hz=250.0, channels=("C3", "C4"), name="odd")
    with pytest.raises(SpecError, match=r"odd: 7501 .* 6000\.8 at 200 Hz"):
        apply(recording, (("resample_periodic", 200.0),))
    assert apply(recording, (("resample_periodic", 250.0),)) is recording
