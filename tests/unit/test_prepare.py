"""From a data root to windows: counts, parity, partial sets, faults."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import edfio
import numpy as np
import pytest

from eegfm_bench.datasets import _prepare, eegmat
from eegfm_bench.datasets._prepare import dataset_ref, prepare
from eegfm_bench.datasets._spec import find_dataset
from eegfm_bench.errors import DataMissing, SignalError, StoreError
from eegfm_bench.windows import store as store_module
from eegfm_bench.windows.store import WindowStore

N_CHANNELS = 22  # 20 EEG, ECG, annotations


def skeleton(path: Path, duration_s: int) -> None:
    """Write a true EEGMAT header over a sparse body of the promised size."""
    labels = [*(f"EEG {c}" for c in eegmat.CHANNELS), "ECG ECG", "EDF Annotations"]
    samples = [500] * 21 + [57]

    def column(values: list[object], width: int) -> bytes:
        return b"".join(str(v).encode().ljust(width) for v in values)

    n = N_CHANNELS
    head = b"0".ljust(8) + b"X X X X".ljust(80) + b"Startdate X X X X".ljust(80)
    head += b"01.01.1100.00.00" + str(256 * (n + 1)).encode().ljust(8)
    head += b"EDF+C".ljust(44) + str(duration_s).encode().ljust(8) + b"1".ljust(8)
    head += str(n).encode().ljust(4)
    head += column(list(labels), 16) + column([""] * n, 80) + column(["uV"] * n, 8)
    head += column([-100] * n, 8) + column([100] * n, 8)
    head += column([-32768] * n, 8) + column([32767] * n, 8) + column([""] * n, 80)
    head += column(list(samples), 8) + column([""] * n, 32)
    path.write_bytes(head)
    os.truncate(path, len(head) + 2 * sum(samples) * duration_s)


def test_the_complete_eegmat_plans_the_published_counts(tmp_path: Path) -> None:
    folder = tmp_path / "eegmat" / "1.0.0"
    folder.mkdir(parents=True)
    odd = {"Subject04_1": 170, "Subject10_1": 188, "Subject31_1": 80}
    for n in range(36):
        for digit, usual in ((1, 182), (2, 62)):
            name = f"Subject{n:02d}_{digit}"
            skeleton(folder / f"{name}.edf", odd.get(name, usual))
    spec = find_dataset("eegmat")
    sources = spec.find(tmp_path)
    plan = spec.plan(sources)
    assert len(sources) == spec.facts.n_recordings == 72
    assert spec.absent(sources) == ()
    assert plan.groupby("part").size().to_dict() == dict(spec.facts.windows)
    positives = plan[plan["label"] == 1].groupby("part").size()
    assert positives.to_dict() == {"train": 336, "val": 48, "test": 48}


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("eegmat", {"train": 479, "val": 172, "test": 192}),
        ("eyes", {"train": 660, "val": 210, "test": 210}),
    ],
)
def test_real_recordings_give_the_stated_counts(
    data_root: Path, name: str, counts: dict[str, int]
) -> None:
    store = prepare(name, data=data_root, allow_partial=True)
    assert store.counts() == counts
    assert store.manifest["data"] == "partial"
    assert store.x.shape == (len(store.index), *store.manifest["shape"][1:])
    subjects = store.index.groupby("subject")["part"].nunique()
    assert (subjects == 1).all()


@pytest.mark.data
@pytest.mark.parity
def test_eegmat_windows_equal_mne(data_root: Path) -> None:
    import mne

    store = prepare("eegmat", data=data_root, allow_partial=True)
    raw = mne.io.read_raw_edf(
        data_root / "eegmat" / "Subject28_2.edf", preload=True, verbose="ERROR"
    )
    raw.resample(200, verbose="ERROR")
    mine = np.flatnonzero(store.index["recording"] == "Subject28_2")
    expected = raw.get_data()[:20, :12000].reshape(20, 12, 1000).swapaxes(0, 1) * 1e6
    np.testing.assert_allclose(store.x[mine], expected, rtol=1e-5, atol=1e-4)
    assert (store.index["label"].to_numpy()[mine] == 1).all()


@pytest.mark.data
@pytest.mark.parity
def test_eyes_windows_equal_mne(data_root: Path) -> None:
    import mne

    store = prepare("eyes", data=data_root, allow_partial=True)
    raw = mne.io.read_raw_edf(
        data_root / "eegmmidb" / "S005" / "S005R02.edf", preload=True, verbose="ERROR"
    )
    raw.crop(0, 60, include_tmax=False)
    raw.set_eeg_reference("average", verbose="ERROR").resample(200, verbose="ERROR")
    mine = np.flatnonzero(store.index["recording"] == "S005R02")
    expected = raw.get_data().reshape(64, 15, 800).swapaxes(0, 1) * 1e6
    np.testing.assert_allclose(store.x[mine], expected, rtol=1e-5, atol=1e-3)
    assert set(store.index["person"][mine]) == {"eegmmidb:S005"}


@pytest.mark.data
def test_absent_subjects_are_refused_unless_allowed(data_root: Path) -> None:
    with pytest.raises(DataMissing, match=r"18 of 36 subjects are absent: Subject09"):
        prepare("eegmat", data=data_root)


def test_a_root_without_the_dataset_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"no folder 'eegmat'.*physionet"):
        prepare("eegmat", data=tmp_path)
    with pytest.raises(DataMissing, match="is not a folder"):
        prepare("eegmat", data=tmp_path / "nowhere")


def twin_copy(tmp_path: Path, name: str = "eegmat") -> Path:
    """A small genuine-format data root of one's own."""
    spec = find_dataset(name)
    shutil.copytree(_prepare.twin_root(spec), tmp_path / "root")
    return tmp_path / "root"


def test_a_subject_with_half_its_files_is_damaged_not_absent(tmp_path: Path) -> None:
    root = twin_copy(tmp_path)
    (root / "eegmat" / "Subject32_2.edf").unlink()
    with pytest.raises(SignalError, match=r"Subject32 has Subject32_1\.edf alone"):
        prepare("eegmat", data=root, allow_partial=True)


def test_the_same_files_elsewhere_are_the_same_data(tmp_path: Path) -> None:
    root = twin_copy(tmp_path)
    first = prepare("eegmat", data=root, allow_partial=True)
    other = tmp_path / "other" / "eegmat"
    shutil.copytree(root / "eegmat", other / "1.0.0", copy_function=shutil.copyfile)
    second = prepare("eegmat", data=tmp_path / "other", allow_partial=True)
    assert second.path != first.path
    assert dataset_ref(second) == dataset_ref(first)


def test_other_signals_are_other_data(tmp_path: Path) -> None:
    root = twin_copy(tmp_path)
    first = prepare("eegmat", data=root, allow_partial=True)
    file = root / "eegmat" / "Subject32_1.edf"
    edf = edfio.read_edf(file)
    edf.signals[0].update_data(edf.signals[0].data[::-1].copy())
    edf.write(file)
    second = prepare("eegmat", data=root, allow_partial=True)
    assert dataset_ref(second).fingerprint != dataset_ref(first).fingerprint


def swapped(root: Path, *names: str) -> None:
    """Exchange the contents of two files, times and sizes kept."""
    one, two = (root / name for name in names)
    stats, contents = (
        [f.stat() for f in (one, two)],
        [f.read_bytes() for f in (one, two)],
    )
    for file, stat, content in zip((one, two), stats, contents[::-1], strict=True):
        file.write_bytes(content)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_whose_a_recording_is_belongs_to_the_identity(tmp_path: Path) -> None:
    root = twin_copy(tmp_path)
    first = prepare("eegmat", data=root, allow_partial=True)
    swapped(root / "eegmat", "Subject00_1.edf", "Subject01_1.edf")
    second = prepare("eegmat", data=root, allow_partial=True)
    assert second.path != first.path
    assert dataset_ref(second).fingerprint != dataset_ref(first).fingerprint


def test_a_file_in_another_subjects_folder_is_refused(tmp_path: Path) -> None:
    folder = twin_copy(tmp_path, "eyes") / "eegmmidb"
    shutil.copy(folder / "S001" / "S001R01.edf", folder / "S005" / "S001R01.edf")
    with pytest.raises(SignalError, match=r"lies in the folder of S005.*says S001"):
        prepare("eyes", data=tmp_path / "root", allow_partial=True)


def test_the_same_bytes_under_two_names_are_counted(tmp_path: Path) -> None:
    root = twin_copy(tmp_path)
    shutil.copy(root / "eegmat/Subject00_1.edf", root / "eegmat/Subject32_1.edf")
    store = prepare("eegmat", data=root, allow_partial=True)
    assert store.manifest["identical_recordings"] == [["Subject00_1", "Subject32_1"]]


def test_subjects_outside_the_protocol_are_counted(tmp_path: Path) -> None:
    root = twin_copy(tmp_path)
    shutil.copy(root / "eegmat/Subject00_1.edf", root / "eegmat/Subject77_1.edf")
    store = prepare("eegmat", data=root, allow_partial=True)
    assert store.manifest["outside_protocol"] == ["Subject77_1"]
    assert "Subject77" not in set(store.index["subject"])


def test_all_subjects_with_other_windows_are_not_complete(tmp_path: Path) -> None:
    root = twin_copy(tmp_path)  # every subject of EEGMAT, but short
    with pytest.raises(SignalError, match=r"has all its subjects, but.*1343"):
        prepare("eegmat", data=root)
    assert (
        prepare("eegmat", data=root, allow_partial=True).manifest["data"] == "partial"
    )
    with pytest.raises(SignalError, match=r"has all its subjects, but"):
        prepare("eegmat", data=root)


def test_two_version_folders_are_ambiguous(tmp_path: Path) -> None:
    (tmp_path / "eegmat" / "1.0.0").mkdir(parents=True)
    (tmp_path / "eegmat" / "1.0.1").mkdir()
    with pytest.raises(DataMissing, match=r"holds 2 versions \(1\.0\.0, 1\.0\.1\)"):
        prepare("eegmat", data=tmp_path)


def test_the_twin_is_stamped_simulated() -> None:
    ref = dataset_ref(prepare("eyes"))
    assert ref.data == "simulated"
    assert ref.fingerprint.startswith("twin-")


def test_every_window_is_a_true_slice(tmp_path: Path) -> None:
    store = prepare("eegmat")
    assert store.x.dtype == np.float32
    assert not store.x.flags.writeable
    assert np.abs(store.x).max() < 1e4
    gaps = store.index.groupby("recording")["onset_s"].diff().dropna()
    assert (gaps == 5.0).all()


def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = twin_copy(tmp_path)
    monkeypatch.setenv("EEGFM_CACHE", str(tmp_path / "cache"))

    def refuse(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module.os, "posix_fallocate", refuse)
    with pytest.raises(StoreError, match=r"too full.*MB are needed.*EEGFM_CACHE"):
        prepare("eegmat", data=root, allow_partial=True)
    left = [p for p in (tmp_path / "cache" / "windows").iterdir() if p.is_dir()]
    assert left == []
    monkeypatch.undo()
    monkeypatch.setenv("EEGFM_CACHE", str(tmp_path / "cache"))
    assert len(prepare("eegmat", data=root, allow_partial=True).index)


def test_a_damaged_store_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = twin_copy(tmp_path)
    monkeypatch.setenv("EEGFM_CACHE", str(tmp_path / "cache"))
    path = prepare("eegmat", data=root, allow_partial=True).path
    os.truncate(path / "x.npy", 1000)
    with pytest.raises(StoreError, match=r"damaged.*Delete that folder"):
        WindowStore(path)


def _prepare_in(root: str, cache: str, answers: multiprocessing.Queue[str]) -> None:
    os.environ["EEGFM_CACHE"] = cache
    store = prepare("eegmat", data=root, allow_partial=True)
    answers.put(f"{store.path} {float(store.x.sum(dtype=np.float64))!r}")


def test_two_processes_on_one_store_agree(tmp_path: Path) -> None:
    root = twin_copy(tmp_path)
    spawn = multiprocessing.get_context("spawn")
    answers = spawn.Queue()
    both = [
        spawn.Process(
            target=_prepare_in, args=(str(root), str(tmp_path / "c"), answers)
        )
        for _ in range(2)
    ]
    for process in both:
        process.start()
    said = {answers.get(timeout=60) for _ in both}
    for process in both:
        process.join()
    assert len(said) == 1


def test_a_kill_while_writing_is_as_if_it_never_began(tmp_path: Path) -> None:
    root = twin_copy(tmp_path)
    cache = tmp_path / "c"
    spawn = multiprocessing.get_context("spawn")
    unread = spawn.Queue()
    process = spawn.Process(target=_prepare_in, args=(str(root), str(cache), unread))
    process.start()
    deadline = time.monotonic() + 60
    while not list(cache.glob("windows/.new-*/x.npy")):
        assert time.monotonic() < deadline, "it never began to write"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert [p for p in cache.glob("windows/*") if not p.name.startswith(".")] == []
    answers = spawn.Queue()
    again = spawn.Process(target=_prepare_in, args=(str(root), str(cache), answers))
    again.start()
    assert answers.get(timeout=60)
    again.join()
    assert list(cache.glob("windows/.new-*")) == []
