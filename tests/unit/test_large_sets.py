"""Large sets: cut by several processes, gone on with, read in place."""

from __future__ import annotations

import dataclasses
import errno
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eegfm_bench.datasets import _cutters, _prepare, _rows
from eegfm_bench.datasets._prepare import dataset_ref, prepare
from eegfm_bench.datasets._spec import DatasetSpec, Source, find_dataset
from eegfm_bench.errors import BenchError, SignalError, SpecError, StoreError
from eegfm_bench.recordings.recording import Recording
from eegfm_bench.windows import store as store_module
from eegfm_bench.windows.store import WindowStore, read_journal

NAME = "eegmat"
N_RECORDINGS = 14


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small genuine-format data root of one's own: seven subjects, 17 s each."""
    twin = _prepare.twin_root(find_dataset(NAME)) / NAME
    (tmp_path / "root" / NAME).mkdir(parents=True)
    for file in sorted(twin.glob("Subject0[0-6]_[12].edf")):
        shutil.copy(file, tmp_path / "root" / NAME)
    return tmp_path / "root"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EEGFM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "windows"


@pytest.fixture
def spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have even a small set cut by several processes."""
    monkeypatch.setattr(_cutters, "WORTH_A_PROCESS", 1)


def use(monkeypatch: pytest.MonkeyPatch, **changed: object) -> DatasetSpec:
    """Prepare EEGMAT with another function in its spec."""
    spec = dataclasses.replace(find_dataset(NAME), **changed)  # type: ignore[arg-type]
    monkeypatch.setattr(_prepare, "find_dataset", lambda _: spec)
    return spec


def reader(
    read: list[str], fails_at: str = "", error: Exception | None = None
) -> Callable[[Source], Recording]:
    """A reader that remembers what it read, and fails once it comes to one."""
    genuine = find_dataset(NAME).read

    def remember(source: Source) -> Recording:
        if source.recording == fails_at:
            assert error is not None
            raise error
        read.append(source.recording)
        return genuine(source)

    return remember


def relabelled(root: Path, recording: str) -> None:
    """Damage a recording so that its header still gives its windows."""
    file = root / NAME / f"{recording}.edf"
    content = file.read_bytes()
    file.write_bytes(content.replace(b"EEG Cz ", b"EEG Q7 ", 1))


def x_bytes(store: WindowStore) -> bytes:
    return (store.path / "x.npy").read_bytes()


def unfinished(cache: Path) -> list[Path]:
    return sorted(cache.glob(".new-*"))


@pytest.mark.slow
@pytest.mark.usefixtures("spread")
def test_windows_do_not_depend_on_how_many_processes_cut_them(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = {}
    for jobs in (1, 2, 3):
        monkeypatch.setenv("EEGFM_CACHE", str(tmp_path / f"cache{jobs}"))
        stores[jobs] = prepare(NAME, data=root, allow_partial=True, jobs=jobs)
    for jobs in (2, 3):
        assert x_bytes(stores[jobs]) == x_bytes(stores[1])
        assert stores[jobs].manifest == stores[1].manifest
        assert stores[jobs].index.equals(stores[1].index)


@pytest.mark.usefixtures("cache")
def test_a_small_set_starts_no_process(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **more: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(_cutters.subprocess, "Popen", refuse)
    store = prepare(NAME, data=root, allow_partial=True, jobs=4)
    assert store.manifest["n_recordings"] == N_RECORDINGS
    monkeypatch.setattr(_cutters, "WORTH_A_PROCESS", 1)
    with pytest.raises(AssertionError, match="a process was started"):
        prepare(NAME, data=root, allow_partial=True, jobs=4, rate_hz=128.0)


def test_no_process_at_all_is_refused(root: Path) -> None:
    with pytest.raises(SpecError, match="jobs is 0; choose 1 or more"):
        prepare(NAME, data=root, allow_partial=True, jobs=0)


@pytest.mark.usefixtures("spread")
def test_of_two_damaged_recordings_the_first_is_named(root: Path, cache: Path) -> None:
    for recording in ("Subject05_2", "Subject06_1"):
        relabelled(root, recording)
    with pytest.raises(SignalError, match=r"Subject05_2\.edf.*Cz are missing.*Q7"):
        prepare(NAME, data=root, allow_partial=True, jobs=3)
    (left,) = unfinished(cache)
    kept = {line["recording"] for line in read_journal(left)[1:]}
    assert {f"Subject{n:02d}_{k}" for n in range(5) for k in (1, 2)} <= kept
    assert not kept & {"Subject05_2", "Subject06_1"}


@pytest.mark.usefixtures("spread")
def test_a_defect_of_a_reader_is_told_with_the_file(
    root: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    piece = _rows.Piece(
        source=find_dataset(NAME).find(root)[0],
        first=0,
        onsets_s=np.array(["x"]),  # type: ignore[arg-type]
    )
    with pytest.raises(BenchError, match=r"Subject00_1\.edf: \w+Error"):
        list(
            _cutters.cut_all(
                find_dataset(NAME),
                find_dataset(NAME).recipe,
                [piece, piece],
                cache / "x.npy",
                jobs=2,
            )
        )
    assert "Traceback" in capfd.readouterr().err


def test_what_was_cut_before_an_error_is_not_read_again(
    root: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    lost = OSError(errno.EIO, "Input/output error")
    use(monkeypatch, read=reader(read, "Subject03_1", lost))
    with pytest.raises(SignalError, match=r"Subject03_1\.edf: cannot be read: Input"):
        prepare(NAME, data=root, allow_partial=True, jobs=1)
    assert len(read) == 6
    again: list[str] = []
    told: list[tuple[int, int]] = []
    spec = use(monkeypatch, read=reader(again))
    store = prepare(
        NAME,
        data=root,
        allow_partial=True,
        jobs=1,
        progress=lambda done, of: told.append((done, of)),
    )
    every = [source.recording for source in spec.find(root)]
    assert again == every[6:]
    assert told[0] == (6, len(every))
    assert told[-1] == (len(every), len(every))
    assert unfinished(cache) == []
    assert sorted(p.name for p in store.path.iterdir()) == [
        "index.parquet",
        "manifest.json",
        "x.npy",
    ]
    monkeypatch.setenv("EEGFM_CACHE", str(tmp_path / "other"))
    whole = prepare(NAME, data=root, allow_partial=True)
    assert x_bytes(store) == x_bytes(whole)
    assert store.manifest == whole.manifest


def interrupted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut six recordings, then stop as Ctrl-C does."""
    with monkeypatch.context() as patch:
        use(patch, read=reader([], "Subject03_1", KeyboardInterrupt()))  # type: ignore[arg-type]
        with pytest.raises(KeyboardInterrupt):
            prepare(NAME, data=root, allow_partial=True, jobs=1)


def test_a_journal_cut_short_loses_its_last_line_alone(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(root, monkeypatch)
    (left,) = unfinished(cache)
    journal = left / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-7])
    read: list[str] = []
    use(monkeypatch, read=reader(read))
    prepare(NAME, data=root, allow_partial=True)
    assert read[0] == "Subject02_2"
    assert len(read) == N_RECORDINGS - 5


@pytest.mark.parametrize("what", ["index", "shape", "x.npy"])
def test_the_work_of_another_plan_is_not_taken_up(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    interrupted(root, monkeypatch)
    (left,) = unfinished(cache)
    if what == "x.npy":
        (left / "x.npy").write_bytes((left / "x.npy").read_bytes()[:-4])
    else:
        lines = read_journal(left)
        lines[0][what] = "another"
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (left / "journal.jsonl").write_text(text)
    read: list[str] = []
    use(monkeypatch, read=reader(read))
    prepare(NAME, data=root, allow_partial=True)
    assert len(read) == N_RECORDINGS
    assert unfinished(cache) == []


def test_unfinished_work_goes_when_its_files_have_changed(
    root: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(root, monkeypatch)
    other = tmp_path / "other"
    shutil.copytree(root, other)
    interrupted(other, monkeypatch)
    assert len(unfinished(cache)) == 2
    (root / NAME / "Subject00_1.edf").touch()
    prepare(NAME, data=root, allow_partial=True)
    (left,) = unfinished(cache)
    assert read_journal(left)[0]["root"] == str(other)


def test_a_disk_that_fills_up_keeps_what_is_cut(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = store_module.write_rows
    calls: list[int] = []

    def fills_up(*args: object) -> None:
        calls.append(1)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        genuine(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(_rows, "write_rows", fills_up)
    with pytest.raises(StoreError, match=r"too full.*windows of 4 recordings are kept"):
        prepare(NAME, data=root, allow_partial=True, jobs=1)
    monkeypatch.setattr(_rows, "write_rows", genuine)
    read: list[str] = []
    use(monkeypatch, read=reader(read))
    prepare(NAME, data=root, allow_partial=True)
    assert len(read) == N_RECORDINGS - 4
    assert unfinished(cache) == []


@pytest.mark.usefixtures("cache")
def test_files_beside_a_recording_are_part_of_the_data(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = prepare(NAME, data=root, allow_partial=True)
    beside = root / NAME / "summary.txt"
    beside.write_text("one seizure")
    genuine = find_dataset(NAME).files

    def files(folder: Path) -> list[Source]:
        return [
            dataclasses.replace(source, extra=(beside,)) for source in genuine(folder)
        ]

    use(monkeypatch, files=files)
    first = prepare(NAME, data=root, allow_partial=True)
    beside.write_text("two seizures")
    second = prepare(NAME, data=root, allow_partial=True)
    assert len({store.path for store in (plain, first, second)}) == 3
    assert len({dataset_ref(s).fingerprint for s in (plain, first, second)}) == 3
    assert first.manifest["identical_recordings"] == []


@pytest.mark.usefixtures("cache")
def test_events_and_oddities_are_in_the_manifest(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(
        monkeypatch,
        events=lambda source: np.array([[1.0, 2.5]] * (source.recording[-1] == "2")),
        oddities=lambda source: ("odd",) if source.recording == "Subject00_1" else (),
    )
    manifest = prepare(NAME, data=root, allow_partial=True).manifest
    assert manifest["oddities"] == {"Subject00_1": ["odd"]}
    assert manifest["events"]["Subject00_1"] == {
        "part": "train",
        "intervals_s": [],
        "duration_s": 17.0,
    }
    assert manifest["events"]["Subject00_2"]["intervals_s"] == [[1.0, 2.5]]


def test_stretched_windows_and_time_in_no_window_are_counted(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def windows(source: Source) -> tuple[np.ndarray, np.ndarray]:
        # Of 17 s: 5 to 12.5 with an overlap, and 15 to the end, in part.
        onsets_s = np.array([7.5, 5.0, 15.0] if source.recording[-1] == "1" else [0.0])
        return onsets_s, np.zeros(onsets_s.size, np.int64)

    recipe = dataclasses.replace(find_dataset(NAME).recipe, past_end="stretch")
    use(monkeypatch, windows=windows, recipe=recipe)
    manifest = prepare(NAME, data=root, allow_partial=True).manifest
    assert manifest["stretched"]["Subject00_1"] == 1
    assert "Subject00_2" not in manifest["stretched"]
    assert manifest["dropped_tail_s"]["Subject00_1"] == 17.0 - 7.5 - 2.0
    assert manifest["dropped_tail_s"]["Subject00_2"] == 12.0


def test_rows_are_read_in_any_order_and_number() -> None:
    store = prepare(NAME)
    n = len(store.index)
    for rows in ([5, 6, 7], [3], [9, 2, 2, 3, 4, 0, n - 1], [], list(range(n))):
        taken = store.take(np.array(rows, np.int64))
        assert taken.tobytes() == store.x[rows].tobytes()
        assert taken.flags.writeable
    for outside in (-1, n):
        with pytest.raises(IndexError, match="outside"):
            store.take(np.array([0, outside]))


def test_a_store_travels_as_its_path() -> None:
    store = prepare(NAME)
    store.take(np.array([0]))
    assert store.x.size
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    assert pickle.loads(sent).take(np.array([1])).tobytes() == store.x[1].tobytes()
