"""ISRUC-Sleep: the published counts, signals by place or by name, damaged nights.

In the skeletons the numbers of epochs are those of a public log, subject 8's apart;
who ends within an epoch, and who says M1 for A1, is made.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from eegfm_bench.datasets import isruc
from eegfm_bench.datasets._prepare import prepare, twin_root
from eegfm_bench.datasets._spec import Source, find_dataset
from eegfm_bench.datasets._twins import isruc as twin
from eegfm_bench.datasets._verify import verify
from eegfm_bench.errors import DataMissing, SignalError
from eegfm_bench.symbols import PARTS
from tests.unit.skeletons import write_edf_skeleton

FIRST = ("isruc", "isruc@epoch", "isruc@named")
EVERY = (*FIRST, "isruc_s3")
SIX = twin.USUAL[2:8]


@pytest.fixture(scope="module")
def skeletons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 100 nights of subgroup I, in true lengths: 11 GB that take no room."""
    root = tmp_path_factory.mktemp("skeletons")
    for number, n_epochs in twin.lengths("full", "I").items():
        own = root / "isruc/subgroupI" / str(number)
        own.mkdir(parents=True)
        labels = twin.labels_of("I", number)
        length_s = n_epochs * 30 + (0, 2, 28)[number % 3]
        n_bytes = sum(50 if c in twin.SLOW else 800 for c in labels) * length_s // 2
        head = twin.header(labels, length_s)
        (own / f"{number}.rec").write_bytes(head)
        os.truncate(own / f"{number}.rec", len(head) + n_bytes)
        twin.write_hypnogram(own / f"{number}_1.txt", np.arange(n_epochs) % 5)
    return root


@pytest.mark.parametrize(
    ("name", "n_people", "windows", "sequences"),
    [
        ("isruc", 100, (71_180, 9_360, 8_700), (3_559, 468, 435)),
        ("isruc@epoch", 100, (71_180, 9_360, 8_700), (71_180, 9_360, 8_700)),
        ("isruc@named", 99, (70_280, 9_360, 8_700), (3_514, 468, 435)),
    ],
)
def test_a_hundred_nights_plan_the_published_counts(
    name: str,
    n_people: int,
    windows: tuple[int, ...],
    sequences: tuple[int, ...],
    skeletons: Path,
) -> None:
    spec = find_dataset(name)
    sources = spec.find(skeletons)
    counts = spec.plan(sources).groupby("part").size()
    assert len(sources) == len(spec.everyone) == n_people
    assert tuple(counts[part] for part in PARTS) == windows
    assert dict(spec.facts.windows) == dict(zip(PARTS, windows, strict=True))
    assert spec.facts.in_all == (89_240 if n_people == 100 else 88_340)
    assert tuple(counts[p] // spec.recipe.sequence for p in PARTS) == sequences
    assert spec.outside(skeletons) == (() if n_people == 100 else ("008",))
    found = verify(name, data=skeletons)
    assert found.differing == ()
    assert set(found.oddities) == ({"008", "040"} if n_people == 100 else {"040"})


def test_epochs_are_the_same_judged_singly_or_together(skeletons: Path) -> None:
    together, singly = (find_dataset(name) for name in FIRST[:2])
    sources = together.find(skeletons)
    assert together.plan(sources).equals(singly.plan(singly.find(skeletons)))
    recordings = [s.recording for s in sources]
    assert recordings == [f"{n:03d}" for n in range(1, 101)]
    assert len({find_dataset(name).protocol().partition("-")[2] for name in EVERY}) == 4


@pytest.mark.data
def test_the_lengths_are_those_of_the_sheet(data_root: Path) -> None:
    path = data_root.parent / "facts" / "protocols.json"
    if not path.exists():
        pytest.skip("no sheet of facts beside the data root")
    sets = json.loads(path.read_text())["datasets"]
    sheet = next(s for s in sets if s["name"] == "ISRUC")["epochs_per_subject"]
    known = dict(enumerate(twin.EPOCHS, start=1))
    assert 900 <= known.pop(8) < 920
    assert {str(n): epochs for n, epochs in known.items()} == sheet["values"]


def by_mne(path: Path, tmp_path: Path, *, named: bool) -> np.ndarray:
    """Return whole epochs (N, 6, 6000) in µV, by MNE alone as the published code."""
    import mne

    # MNE goes by the suffix.
    copy = Path(shutil.copy(path, tmp_path / "copy.edf"))
    raw = mne.io.read_raw_edf(copy, preload=True, verbose="ERROR")
    raw.filter(0.3, 35, fir_design="firwin", verbose="ERROR")
    raw.notch_filter(50, verbose="ERROR")
    at = dict(zip(raw.ch_names, raw.get_data(), strict=True))
    if named:
        pairs = [c.split("-") for c in SIX]
        x = np.array([at[a] - at[b] for a, b in pairs])
    else:
        x = np.array(list(at.values()))[2:8]
    x = x[:, : x.shape[1] // 6000 * 6000] * 1e6
    return x.reshape(6, -1, 6000).swapaxes(0, 1)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "recording"),
    [("isruc", "001"), ("isruc", "008"), ("isruc@named", "040"), ("isruc_s3", "009")],
)
def test_windows_equal_mne(name: str, recording: str, tmp_path: Path) -> None:
    store, spec = prepare(name), find_dataset(name)
    number = str(int(recording))
    path = twin_root(spec) / spec.folder / number / f"{number}.rec"
    expected = by_mne(path, tmp_path, named="@named" in name)
    rows = np.flatnonzero(store.index["recording"] == recording)
    assert rows.size == expected.shape[0] // 20 * 20
    scale_uv = np.abs(expected).max(axis=(0, 2))[:, None]
    assert (np.abs(store.x[rows] - expected[: rows.size]) <= 1e-5 * scale_uv).all()
    scored = np.loadtxt(path.with_name(f"{number}_1.txt"), dtype=int)[: rows.size]
    labels = np.where(scored == 5, 4, scored)
    assert store.index["label"].to_numpy()[rows].tolist() == labels.tolist()


def test_what_is_odd_is_said_and_what_is_dropped_counted() -> None:
    published, named = prepare("isruc").manifest, prepare("isruc@named").manifest
    odd = published["oddities"]
    assert set(odd) == {"002", "008", "040"}
    assert odd["002"][0].startswith("40 whole epochs of signal, 42 in the hypnogram")
    assert odd["008"][0].endswith("O2-A1 for F4-A1, X1 for C4-A1, X2 for O2-A1")
    assert odd["040"][0].startswith("signals taken: LOC for F3-A2, A2 for C3-A2, C4")
    assert named["oddities"]["040"][0].startswith("signals taken: F3 - A2 for F3-A2")
    assert named["outside_protocol"] == ["008"]
    # 3 epochs and 12 s; 4 epochs and 28 s.
    assert published["dropped_tail_s"] == {"001": 102.0, "008": 148.0, "091": 2.0}


@pytest.mark.parametrize("name", EVERY)
def test_the_twin_keeps_its_budget_and_sleeps_in_runs(name: str) -> None:
    store = prepare(name)
    n = store.counts()
    assert 2 * (n["train"] + n["val"]) + n["test"] <= 600
    for _, night in store.index.groupby("recording"):
        labels = night["label"].to_numpy()
        assert labels.size % 20 == 0
        assert set(labels[:20]) == {0, 1, 2, 3, 4}
        assert (labels[1:] == labels[:-1]).mean() > 0.5


def one_night(
    tmp_path: Path,
    *,
    labels: tuple[str, ...] = twin.USUAL[:10],
    seconds: int = 620,
    rate_hz: int = 200,
    unit: str = "uV",
    physical: tuple[float, float] = (-8092, 8092),
    scored: bytes = b"0\n" * 20 + b"\n",
) -> Source:
    """Subject 7 alone, without a signal."""
    own = tmp_path / "isruc/subgroupI/7"
    own.mkdir(parents=True)
    write_edf_skeleton(
        own / "7.rec",
        labels=labels,
        samples_per_record=rate_hz,
        n_records=seconds,
        unit=unit,
        physical=physical,
    )
    (own / "7_1.txt").write_bytes(scored)
    (source,) = find_dataset("isruc").find(tmp_path)
    return source


def planned(source: Source, name: str = "isruc") -> list[int]:
    return find_dataset(name).plan([source])["label"].tolist()


@pytest.mark.parametrize(
    ("scored", "message"),
    [
        (b"0\n1\nN2\n", r"7_1\.txt, line 3: 'N2' is no sleep stage"),
        (b"", r"7_1\.txt: the hypnogram is empty"),
        (b"0\n" * 19, r"7\.rec: 20 whole epochs of 30 s, and 19 in 7_1\.txt; at least"),
    ],
)
def test_a_damaged_hypnogram_is_named(
    tmp_path: Path, scored: bytes, message: str
) -> None:
    with pytest.raises(SignalError, match=message):
        planned(one_night(tmp_path, scored=scored))


def test_an_absent_hypnogram_is_named(tmp_path: Path) -> None:
    source = one_night(tmp_path)
    source.extra[0].unlink()
    with pytest.raises(SignalError, match=r"7_1\.txt: the hypnogram is absent"):
        planned(source)
    with pytest.raises(SignalError, match=r"7_1\.txt"):
        prepare("isruc", data=tmp_path, allow_partial=True)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"labels": SIX}, r"has 6 signals; expected at least 8"),
        ({"seconds": 599}, r"19 whole epochs of 30 s, and 20 in 7_1\.txt"),
        ({"rate_hz": 256}, r"'F3-A2' has 256 samples a second; expected 200"),
        ({"unit": "%"}, r"signal 3, 'F3-A2', is in '%'; expected uV"),
        ({"labels": ("-",) * 8}, r"signal 3, '-'"),
        ({"physical": (float("nan"), 1.0)}, r"is not calibrated"),
    ],
)
def test_a_damaged_recording_is_named(
    tmp_path: Path, how: dict[str, object], message: str
) -> None:
    source = one_night(tmp_path, **how)  # type: ignore[arg-type]
    with pytest.raises(SignalError, match=rf"7\.rec: .*{message}"):
        planned(source)


def test_a_recording_cut_short_is_named(tmp_path: Path) -> None:
    source = one_night(tmp_path)
    os.truncate(source.path, source.path.stat().st_size - 2)
    with pytest.raises(SignalError, match=r"7\.rec: the header promises.*cut short"):
        planned(source)


def test_a_signal_that_cannot_be_microvolts_is_named(tmp_path: Path) -> None:
    source = one_night(tmp_path, unit="V", physical=(-1.0, 1.0))
    noise = np.random.default_rng(0).integers(-8000, 8000, 620 * 10 * 200)
    with source.path.open("r+b") as file:
        file.seek(256 * 11)
        file.write(noise.astype("<i2").tobytes())
    with pytest.raises(SignalError, match=r"7\.rec: .*median standard deviation"):
        prepare("isruc", data=tmp_path, allow_partial=True)


def test_by_name_the_six_are_found_in_any_order_or_named(tmp_path: Path) -> None:
    labels = (*reversed(twin.MASTOIDS[2:8]), "X1", "X2")
    source = one_night(tmp_path, labels=labels)
    spec = find_dataset("isruc@named")
    assert spec.oddities(source) == ()
    assert find_dataset("isruc").oddities(source) != ()
    assert isruc.survey(source, isruc.by_name).pick == (
        (5,),
        (4,),
        (3,),
        (2,),
        (1,),
        (0,),
    )
    lacking = one_night(tmp_path / "other", labels=twin.WITHOUT_F)
    with pytest.raises(SignalError, match=r"7\.rec: F3-A2, F4-A1 can neither be found"):
        planned(lacking, "isruc@named")


@pytest.mark.parametrize(("n_scored", "n_used"), [(41, 40), (40, 40), (39, 20)])
def test_the_shorter_of_signal_and_hypnogram_decides(
    tmp_path: Path, n_scored: int, n_used: int
) -> None:
    source = one_night(tmp_path, seconds=1229, scored=b"2\r\n" * n_scored)
    assert planned(source) == [2] * n_used
    (said,) = find_dataset("isruc").oddities(source) or ("",)
    assert said.startswith(f"40 whole epochs of signal, {n_scored}" if said else "")
    assert bool(said) == (n_scored != 40)


def test_the_second_expert_is_not_asked(tmp_path: Path) -> None:
    source = one_night(tmp_path)
    source.path.with_name("7_2.txt").write_text("nonsense")
    assert planned(source) == [0] * 20
    assert [path.name for path in source.extra] == ["7_1.txt"]


def test_hidden_files_of_macos_are_passed_over(tmp_path: Path) -> None:
    path = one_night(tmp_path).path
    for name in ("._7.rec", "._7_1.txt", ".DS_Store"):
        path.with_name(name).write_bytes(b"\0\5\x16\7")
    assert [s.path for s in find_dataset("isruc").find(tmp_path)] == [path]


def test_files_lie_in_their_own_subjects_folders(tmp_path: Path) -> None:
    path = one_night(tmp_path).path
    spec = find_dataset("isruc")
    path.rename(path.with_name("8.rec"))
    path.with_name("7_1.txt").rename(path.with_name("8_1.txt"))
    with pytest.raises(SignalError, match=r"8\.rec: lies in the folder of 7"):
        spec.find(tmp_path)
    path.with_name("8.rec").rename(path.with_name("8.edf"))
    with pytest.raises(SignalError, match=r"8\.rec: the recording is absent"):
        spec.find(tmp_path)
    shutil.rmtree(path.parent)
    with pytest.raises(DataMissing, match=r"isruc/subgroupI/1/ …, each with n\.rec"):
        spec.find(tmp_path)
