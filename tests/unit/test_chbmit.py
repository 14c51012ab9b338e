"""CHB-MIT: the published counts, the odd files, the true bytes.

In the skeletons, names, lengths, seizures and the blanks of some cases are genuine;
the rest of the layout, clock times and the signals' absence are made.
"""

from __future__ import annotations

import csv
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eegfm_bench.datasets import _chbmit_table as table
from eegfm_bench.datasets import chbmit
from eegfm_bench.datasets._prepare import prepare, twin_root
from eegfm_bench.datasets._spec import DatasetSpec, Source, find_dataset
from eegfm_bench.datasets._twins import chbmit as twin
from eegfm_bench.errors import DataMissing, SignalError
from eegfm_bench.recordings.edf import read_header
from eegfm_bench.windows.cut import cut

BOTH = ("chbmit", "chbmit@corrected")
# Cases 01, 15 and 24 of the protocol sheet: files, grid, its positives, added.
SHEET = {
    "chb01": (42, 14_598, 14, 94),
    "chb15": (40, 14_402, 40, 415),
    "chb24": (20, 7_200, 32, 116),
}


def skeleton(path: Path, labels: tuple[str, ...], length_s: int) -> None:
    """Write a true header over a sparse body of the size it promises."""
    head = twin.header(labels, length_s)
    path.write_bytes(head)
    os.truncate(path, len(head) + 2 * 256 * len(labels) * length_s)


@pytest.fixture(scope="module")
def skeletons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 608 recordings of the 21 cases, and one of case 12."""
    root = tmp_path_factory.mktemp("skeletons")
    for case, lengths_s in twin.lengths("full", "chb22").items():
        (root / "chbmit" / case).mkdir(parents=True)
        for name, length_s in lengths_s.items():
            path = root / "chbmit" / case / f"{name}.edf"
            skeleton(path, twin.labels_of(name), length_s)
        seizures = {k: v for k, v in table.seizures_s().items() if k[:5] == case}
        summary = root / "chbmit" / case / f"{case}-summary.txt"
        twin.write_summary(summary, lengths_s, seizures)
    (root / "chbmit" / "chb12").mkdir()
    skeleton(root / "chbmit/chb12/chb12_27.edf", twin.ONE_REFERENCE, 3600)
    return root


def planned(spec: DatasetSpec, root: Path) -> pd.DataFrame:
    return spec.plan(spec.find(root))


@pytest.mark.parametrize("name", BOTH)
def test_all_605_recordings_plan_the_stated_counts(name: str, skeletons: Path) -> None:
    spec = find_dataset(name)
    sources = spec.find(skeletons)
    plan = spec.plan(sources)
    counts = plan.groupby(["part", "label"]).size().unstack()
    assert len(sources) == spec.facts.n_recordings == 605
    assert spec.absent(sources) == ()
    assert spec.outside(skeletons) == (
        *("chb02_16+", "chb12_27", "chb24_02", "chb24_22"),
    )
    by_class = {part: tuple(counts.loc[part]) for part in counts.index}
    assert by_class == dict(spec.facts.windows_by_class)
    assert {p: sum(n) for p, n in by_class.items()} == dict(spec.facts.windows)


def test_the_published_total_is_the_published_one(skeletons: Path) -> None:
    plan = planned(find_dataset("chbmit"), skeletons)
    assert len(plan) == 326_993
    is_added = plan["onset_s"] % 10 > 0
    assert int(is_added.sum()) == 1_965
    assert (plan["label"][is_added] == 1).all()
    for case, (n_files, n_grid, n_positive, n_added) in SHEET.items():
        own = plan[plan["subject"] == case]
        grid = own[own["onset_s"] % 10 == 0]
        assert own["recording"].nunique() == n_files
        assert (len(grid), int(grid["label"].sum())) == (n_grid, n_positive)
        assert len(own) - len(grid) == n_added
    ends_s = plan["onset_s"] + 10
    late = plan[ends_s > plan["recording"].map(table.durations_s())]
    assert set(late["recording"]) == {"chb24_11"}
    assert len(late) == 2


def test_every_seizure_has_a_window_by_the_corrected_rule(skeletons: Path) -> None:
    plan = planned(find_dataset("chbmit@corrected"), skeletons)
    seizures = table.seizures_s()
    positive = plan[plan["label"] == 1]
    assert set(positive["recording"]) == set(seizures)
    for recording, own in positive.groupby("recording"):
        for start_s, end_s in seizures[str(recording)]:
            meets = (own["onset_s"] < end_s) & (own["onset_s"] + 10 > start_s)
            assert meets.any(), (recording, start_s)


def test_planning_reads_each_header_once_and_no_signal(
    skeletons: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    genuine = read_header

    def counting(path: Path) -> object:
        read.append(path)
        return genuine(path)

    monkeypatch.setattr(chbmit, "read_header", counting)
    planned(find_dataset("chbmit"), skeletons)
    assert len(read) == len(set(read)) == 605


def test_one_girl_has_two_cases(skeletons: Path) -> None:
    published = planned(find_dataset("chbmit"), skeletons)
    girl = published[published["person"] == "chbmit:chb01"]
    assert set(girl["subject"]) == {"chb01", "chb21"}
    assert set(girl["part"]) == {"train", "val"}
    corrected = planned(find_dataset("chbmit@corrected"), skeletons)
    assert (corrected.groupby("person")["part"].nunique() == 1).all()
    assert any("chb21 is the same girl" in n for n in find_dataset("chbmit").notes)


def test_a_case_without_one_recording_is_damaged(tmp_path: Path) -> None:
    root = own_twin(tmp_path)
    (root / "chbmit/chb23/chb23_09.edf").unlink()
    with pytest.raises(SignalError, match=r"chb23 has 8 of 9.*lacks chb23_09"):
        find_dataset("chbmit").find(root)
    shutil.rmtree(root / "chbmit/chb23")
    spec = find_dataset("chbmit")
    assert "chb23" in spec.absent(spec.find(root))


def own_twin(tmp_path: Path) -> Path:
    """A small genuine-format data root of one's own."""
    shutil.copytree(twin_root(find_dataset("chbmit")), tmp_path / "root")
    return tmp_path / "root"


def source_of(root: Path, recording: str) -> Source:
    sources = chbmit.files(root / "chbmit")
    return next(s for s in sources if s.recording == recording)


def test_a_recording_without_a_channel_is_named_with_it(tmp_path: Path) -> None:
    path = tmp_path / "chbmit" / "chb23" / "chb23_06.edf"
    path.parent.mkdir(parents=True)
    skeleton(path, tuple(c for c in twin.USUAL if c != "C3-P3"), 60)
    with pytest.raises(
        SignalError, match=r"chb23_06\.edf: the channels C3-P3 are missing"
    ):
        chbmit.windows_published(source_of(tmp_path, "chb23_06"))


def test_a_seizure_beyond_the_recording_is_refused(tmp_path: Path) -> None:
    root = own_twin(tmp_path)
    summary = root / "chbmit/chb23/chb23-summary.txt"
    summary.write_text(summary.read_text().replace("End Time:  2", "End Time:  99"))
    with pytest.raises(SignalError, match=r"lasts 42 s, chb23-summary\.txt has a"):
        find_dataset("chbmit").plan([source_of(root, "chb23_08")])


def test_without_its_summary_a_case_is_refused(tmp_path: Path) -> None:
    root = own_twin(tmp_path)
    (root / "chbmit/chb23/chb23-summary.txt").unlink()
    with pytest.raises(SignalError, match=r"chb23-summary\.txt: the summary is absent"):
        chbmit.windows_corrected(source_of(root, "chb23_06"))


def test_a_summary_must_name_every_recording_but_of_chb24(tmp_path: Path) -> None:
    root = own_twin(tmp_path)
    for case in ("chb23", "chb24"):
        summary = root / f"chbmit/{case}/{case}-summary.txt"
        summary.write_text(summary.read_text().replace("_06.edf", "_66.edf"))
    with pytest.raises(SignalError, match=r"does not name chb23_06\.edf.*9 others"):
        chbmit.seizures(source_of(root, "chb23_06"))
    assert chbmit.seizures(source_of(root, "chb24_05")) == ()
    # This one has a .seizures file beside it: the summary must have lost it.
    with pytest.raises(SignalError, match=r"does not name chb24_06\.edf"):
        chbmit.seizures(source_of(root, "chb24_06"))


def test_a_shortened_summary_of_chb24_is_refused(tmp_path: Path) -> None:
    root = own_twin(tmp_path)
    summary = root / "chbmit/chb24/chb24-summary.txt"
    text = summary.read_text()
    summary.write_text(text[: text.index("File Name: chb24_06.edf")])
    for path in summary.parent.glob("*.seizures"):
        path.unlink()
    assert chbmit.seizures(source_of(root, "chb24_04"))
    assert chbmit.seizures(source_of(root, "chb24_05")) == ()
    assert chbmit.seizures(source_of(root, "chb24_22")) == ()
    with pytest.raises(
        SignalError, match=r"chb24-summary.*not name chb24_06\.edf.*one has 1 in it"
    ):
        chbmit.seizures(source_of(root, "chb24_06"))
    with pytest.raises(SignalError, match=r"not name chb24_21\.edf"):
        find_dataset("chbmit@corrected").plan([source_of(root, "chb24_21")])


@pytest.mark.parametrize(
    ("recording", "block", "message"),
    [
        ("chb23_06", "Number of Seizures in File: 0\n", r"0 seizures in .*expected 1"),
        (
            "chb23_07",
            "Number of Seizures in File: 1\nSeizure 1 Start Time: 1 seconds\n"
            "Seizure 1 End Time: 9 seconds\n",
            r"1 seizures in chb23_07\.edf; expected 0",
        ),
    ],
)
def test_seizures_are_in_the_recordings_known_to_have_some(
    tmp_path: Path, recording: str, block: str, message: str
) -> None:
    root = own_twin(tmp_path)
    summary = root / "chbmit/chb23/chb23-summary.txt"
    before, _, after = summary.read_text().partition(f"File Name: {recording}.edf\n")
    after = after[after.index("File Name") :]
    own = f"File Name: {recording}.edf\n{block}"
    summary.write_text(f"{before}{own}{after}")
    with pytest.raises(SignalError, match=message):
        chbmit.seizures(source_of(root, recording))


def test_a_recording_of_genuine_length_has_its_number_of_seizures(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "chbmit" / "chb24"
    folder.mkdir(parents=True)
    skeleton(folder / "chb24_04.edf", twin.USUAL, 3600)
    summary = folder / "chb24-summary.txt"
    three = table.seizures_s()["chb24_04"]
    twin.write_summary(summary, {"chb24_04": 3600}, {"chb24_04": three})
    n_times, found = 3600 * 256, chbmit.seizures(source_of(tmp_path, "chb24_04"))
    assert chbmit._surveyed(source_of(tmp_path, "chb24_04")) == (n_times, found)
    twin.write_summary(summary, {"chb24_04": 3600}, {"chb24_04": three[:2]})
    with pytest.raises(SignalError, match=r"has 2 seizures in chb24_04\.edf; exp.* 3"):
        chbmit.windows_corrected(source_of(tmp_path, "chb24_04"))


def with_signal(path: Path, i: int, *, unit: str = "uV", rate_hz: int = 256) -> None:
    """Give one signal another unit or rate in the header, and the body its size."""
    head = bytearray(path.read_bytes()[: 256 * (len(twin.USUAL) + 1)])
    n = len(twin.USUAL)
    head[256 + 96 * n + 8 * i : 256 + 96 * n + 8 * i + 8] = unit.encode().ljust(8)
    at = 256 + 216 * n + 8 * i
    head[at : at + 8] = str(rate_hz).encode().ljust(8)
    path.write_bytes(head)
    os.truncate(path, len(head) + 2 * 11 * (256 * (n - 1) + rate_hz))


FIRST, SECOND = (i for i, c in enumerate(twin.USUAL) if c == "T8-P8")


@pytest.mark.parametrize(
    ("i", "unit", "rate_hz", "message"),
    [
        (FIRST, "mmHg", 256, r"T8-P8 is in 'mmHg'; expected uV"),
        (FIRST, "uV", 128, r"T8-P8 has 128 samples a second; expected 256"),
        (SECOND, "uV", 512, r"T8-P8 has 512 samples a second; expected 256"),
        (twin.USUAL.index("FZ-CZ"), "uV", 512, r"FZ-CZ has 512 samples"),
        (SECOND, "mmHg", 256, None),
        (SECOND, "uV", 128, None),
    ],
)
def test_what_the_survey_lets_through_can_be_read(
    tmp_path: Path, i: int, unit: str, rate_hz: int, message: str | None
) -> None:
    root = own_twin(tmp_path)
    source = source_of(root, "chb23_07")
    with_signal(source.path, i, unit=unit, rate_hz=rate_hz)
    if message is None:
        onsets_s, _ = chbmit.windows_published(source)
        recording = chbmit.read(source)
        assert (onsets_s.size, recording.rate_hz) == (1, 256)
        assert recording.x.shape == (16, 11 * 256)
    else:
        with pytest.raises(SignalError, match=message):
            chbmit.windows_published(source)


def test_a_file_in_another_cases_folder_is_refused(tmp_path: Path) -> None:
    root = own_twin(tmp_path)
    shutil.copy(root / "chbmit/chb23/chb23_06.edf", root / "chbmit/chb24")
    with pytest.raises(SignalError, match=r"lies in the folder of chb24.*says chb23"):
        find_dataset("chbmit").find(root)


def test_both_names_are_one_dataset() -> None:
    assert find_dataset("chbmit@published") is find_dataset("chbmit")
    assert prepare("chbmit@published").path == prepare("chbmit").path
    protocols = {find_dataset(name).protocol() for name in BOTH}
    assert len(protocols) == 2


def test_an_empty_root_says_how_to_get_the_set(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match="summaries included"):
        find_dataset("chbmit@corrected").find(tmp_path)


@pytest.mark.parametrize("name", BOTH)
def test_the_twin_keeps_its_budget_and_its_odd_cases(name: str) -> None:
    store = prepare(name)
    n = store.counts()
    assert 2 * (n["train"] + n["val"]) + n["test"] <= 600
    root = twin_root(find_dataset(name)) / "chbmit"
    assert b"\r\n" in (root / "chb21" / "chb21-summary.txt").read_bytes()
    assert (root / "chb02" / "chb02_16+.edf").exists()
    assert "chb02_16+" in store.manifest["outside_protocol"]
    assert "chb12_27" in store.manifest["outside_protocol"]
    layouts = {read_header(p).labels for p in (root / "chb21").glob("chb21_*.edf")}
    assert len(layouts) == 2
    assert any("-" in labels for labels in layouts)


def test_the_first_of_two_equal_names_is_taken(tmp_path: Path) -> None:
    root = own_twin(tmp_path)
    source = source_of(root, "chb01_03")
    n_header = 256 * (len(twin.USUAL) + 1)
    body = np.fromfile(source.path, "<i2", offset=n_header).reshape(42, 23, 256)
    before = chbmit.read(source).x
    body[:, 22] = 0  # the second T8-P8
    with source.path.open("r+b") as file:
        file.seek(n_header)
        file.write(body.tobytes())
    np.testing.assert_array_equal(chbmit.read(source).x, before)


def test_windows_are_what_scipy_makes_of_the_plan() -> None:
    from scipy.signal import resample

    store = prepare("chbmit")
    root = twin_root(find_dataset("chbmit"))
    for recording in ("chb21_20", "chb24_11"):
        x = chbmit.read(source_of(root, recording)).x.astype(np.float64)
        rows = np.flatnonzero(store.index["recording"] == recording)
        # 4 on the grid, and 5 added: of chb24_11 the last 2 are cut short.
        assert rows.size == 9
        for row in rows:
            start = round(store.index["onset_s"][row] * 256)
            piece = x[:, start : start + 2560]
            expected = resample(piece, 2000, axis=1)
            np.testing.assert_allclose(store.x[row], expected, rtol=1e-5, atol=1e-3)


@pytest.mark.data
def test_the_table_is_the_list_of_facts(data_root: Path) -> None:
    path = data_root.parent / "facts" / "chbmit_files.csv"
    if not path.exists():
        pytest.skip("no list of CHB-MIT's files beside the data root")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    used = [row for row in rows if row["used_by_published_protocol"] == "1"]
    lengths_s = {row["file"][:-4]: int(row["duration_s"]) for row in used}
    assert table.durations_s() == lengths_s
    seizures = {
        row["file"][:-4]: tuple(
            (int(start), int(end))
            for start, _, end in (s.partition("-") for s in row["seizures"].split(";"))
        )
        for row in used
        if row["seizures"]
    }
    assert table.seizures_s() == seizures


@pytest.fixture
def genuine(data_root: Path, tmp_path: Path) -> Path:
    """Case 01: the genuine summary and seizures' signals, in files of true length.

    The signals of four seizures lie where the summary has them; around them is 0.
    """
    folder = data_root / "chbmit" / "chb01"
    if not (folder / "chb01-summary.txt").exists():
        pytest.skip("no part of CHB-MIT below the data root")
    to = tmp_path / "chbmit" / "chb01"
    to.mkdir(parents=True)
    shutil.copyfile(folder / "chb01-summary.txt", to / "chb01-summary.txt")
    for name, length_s in table.durations_s().items():
        if name.startswith("chb01_"):
            skeleton(to / f"{name}.edf", twin.USUAL, length_s)
    for path in folder.glob("chb01_*_ictal_full.npy"):
        name = path.name[:8]
        ((start_s, end_s),) = table.seizures_s()[name]
        x = np.load(path)[:, : (end_s - start_s) * 256]
        exact = (x + 800) / 1600 * 4095 - 2048
        digital = np.round(exact).astype("<i2")
        assert np.abs(exact - digital).max() < 1e-3
        records = digital.reshape(23, -1, 256).swapaxes(0, 1)
        with (to / f"{name}.edf").open("r+b") as file:
            file.seek(256 * 24 + start_s * 23 * 512)
            file.write(np.ascontiguousarray(records).tobytes())
    return tmp_path


@pytest.mark.data
def test_the_genuine_summary_labels_case_01_as_published(genuine: Path) -> None:
    spec = find_dataset("chbmit")
    sources = spec.find(genuine)
    plan = spec.plan(sources)
    grid = plan[plan["onset_s"] % 10 == 0]
    assert len(sources) == 42
    assert (len(grid), int(grid["label"].sum())) == (14_598, 14)
    assert len(plan) == 14_692
    found = {s.recording: chbmit.seizures(s) for s in sources}
    expected = {k: v for k, v in table.seizures_s().items() if k[:5] == "chb01"}
    assert {k: v for k, v in found.items() if v} == expected


@pytest.mark.data
@pytest.mark.parity
def test_genuine_seizures_are_cut_as_mne_and_scipy_do(genuine: Path) -> None:
    import mne
    from scipy.signal import resample

    from eegfm_bench.recordings.filters import apply_to_windows

    source = source_of(genuine, "chb01_03")
    onsets_s, labels = chbmit.windows_published(source)
    # 2996-3036 s: the grid's windows at 2990 and 3030 hold the two marks.
    marked = onsets_s[(labels == 1) & (onsets_s % 10 == 0)]
    assert marked.tolist() == [2990.0, 3030.0]
    added_s = onsets_s[onsets_s % 10 > 0]
    assert added_s.tolist() == [2995 - 1 / 256 + 5 * k for k in range(9)]
    chosen_s = np.concatenate([[2990.0, 3000, 3010, 3020, 3030], added_s])
    recording = chbmit.read(source)
    x, rate_hz = apply_to_windows(
        cut(recording, chosen_s, window_s=10.0),
        recording.rate_hz,
        chbmit.PUBLISHED.window_steps,
    )
    raw = mne.io.read_raw_edf(source.path, preload=True, verbose="ERROR")
    names = [c.upper() for c in chbmit.CHANNELS]
    names[names.index("T8-P8")] = "T8-P8-0"  # MNE's name for the first of two
    expected = [
        resample(raw.get_data(names, s, s + 2560) * 1e6, 2000, axis=1)
        for s in np.round(chosen_s * 256).astype(int)
    ]
    assert rate_hz == 200
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-3)
    # µV: a seizure's spread, neither volts nor counts.
    assert 20 < np.median(x[1:4].std(axis=2)) < 300


def test_what_is_stretched_is_counted() -> None:
    assert prepare("chbmit").manifest["stretched"] == {"chb24_11": 2}
    assert prepare("chbmit@corrected").manifest["stretched"] == {}


def test_the_manifest_has_every_seizure_and_length() -> None:
    store = prepare("chbmit")
    events = store.manifest["events"]
    assert len(events) == store.manifest["n_recordings"]
    first, second = events["chb24_11"], events["chb24_05"]
    assert (first["duration_s"], first["intervals_s"]) == (42.0, [[19.0, 39.0]])
    assert (second["duration_s"], second["intervals_s"]) == (11.0, [])


def test_added_windows_never_lie_on_the_grid() -> None:
    at = np.array([256 * k - 1 for k in range(1, 4000)])
    assert (at % 2560 != 0).all()
    spec = find_dataset("chbmit")
    assert replace(spec.recipe, past_end="refuse").fields() != spec.recipe.fields()
