"""TUEV's files: who validates, and damaged ones, on recordings without signals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from eegfm_bench.datasets import tuev
from eegfm_bench.datasets._spec import Source, find_dataset
from eegfm_bench.errors import DataMissing, SignalError
from eegfm_bench.recordings.tcp_rec import read_rec
from tests.unit.skeletons import write_edf_skeleton

SPEC = find_dataset("tuev")


def a_set(
    root: Path,
    *,
    train: tuple[str, ...] = (),
    indices: tuple[str, ...] = (),
    rows: str = "13,10.4,11.4,6\n",
    n_records: int = 20,
    rate_hz: int = 250,
    labels: tuple[str, ...] = tuev.LABELS,
) -> list[Source]:
    """Write recordings without signals, one a subject, and return them."""
    stems = [f"edf/train/{s}/{s}_00000001" for s in train]
    stems += [f"edf/eval/{index}/bckg_{index}_a_" for index in indices]
    for stem in stems:
        path = root / "tuev" / f"{stem}.edf"
        path.parent.mkdir(parents=True)
        write_edf_skeleton(
            path, labels=labels, samples_per_record=rate_hz, n_records=n_records
        )
        path.with_suffix(".rec").write_text(rows)
    return SPEC.find(root)


def test_long_recordings_are_planned_without_their_signals(tmp_path: Path) -> None:
    rows = "".join(f"{k % 22},{k},{k + 1},{1 + k % 6}\n" for k in range(3 * 3600))
    a_set(tmp_path, train=("a", "b"), rows=rows, n_records=3 * 3600)
    plan = SPEC.plan(SPEC.find(tmp_path))
    assert len(plan) == 2 * 3 * 3600
    assert plan["onset_s"].min() == -2.0


@pytest.mark.parametrize(("n", "n_train"), [(10, 8), (9, 7), (4, 3), (1, 0)])
def test_the_first_eighty_percent_of_sorted_ids_train(
    n: int, n_train: int, tmp_path: Path
) -> None:
    names = [f"{k:08d}" for k in range(n)]
    sources = a_set(tmp_path, train=tuple(names), indices=("000",))
    units = {s.subject: s.unit for s in sources}
    assert [s for s in names if units[s] == tuev.TRAIN] == names[:n_train]
    assert [s for s in names if units[s] == tuev.VAL] == names[n_train:]
    assert units["eval-000"] == tuev.TEST


def test_hidden_files_of_macos_are_passed_over(tmp_path: Path) -> None:
    sources = a_set(tmp_path, train=("a", "b"), indices=("000",))
    hidden = [
        path.with_name(f"._{path.name}")
        for source in sources
        for path in (source.path, *source.extra)
    ]
    for path in (*hidden, tmp_path / "tuev/edf/._train.edf"):
        path.write_bytes(b"\0\5\x16\7")
    assert SPEC.find(tmp_path) == sources


def test_ids_are_sorted_as_strings(tmp_path: Path) -> None:
    sources = a_set(tmp_path, train=("9", "10", "100", "8", "7"))
    plan = SPEC.plan(sources)
    assert set(plan["subject"][plan["part"] == "val"]) == {"9"}


def test_a_version_folder_is_stepped_through(tmp_path: Path) -> None:
    sources = a_set(tmp_path, train=("a", "b"), indices=("000",))
    (tmp_path / "tuev" / "v2.0.0").mkdir()
    (tmp_path / "tuev" / "edf").rename(tmp_path / "tuev" / "v2.0.0" / "edf")
    found = SPEC.find(tmp_path)
    assert [s.recording for s in found] == [s.recording for s in sources]
    assert {s.path.parents[3].name for s in found} == {"v2.0.0"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("mkdir train/c", r"train/c: lacks any \.edf file.*decide how"),
        ("rm train/a/a_00000001.edf", r"train/a: lacks a_00000001\.edf"),
        ("mv train/a train/x", r"lies in the folder of x, its name says a"),
        ("mv train/a/a_00000001.edf train/a_00000001.edf", r"expected recordings in"),
        ("mv train/a dev", r"dev/a_00000001\.edf: expected recordings in"),
    ],
)
def test_what_would_shift_the_split_is_refused(
    change: str, message: str, tmp_path: Path
) -> None:
    a_set(tmp_path, train=("a", "b"), indices=("000",))
    verb, *names = change.split()
    paths = [tmp_path / "tuev" / "edf" / name for name in names]
    if verb == "mv":
        paths[0].rename(paths[1])
    else:
        paths[0].mkdir() if verb == "mkdir" else paths[0].unlink()
    with pytest.raises(SignalError, match=message):
        SPEC.find(tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", r"a_00000001\.rec: has no row"),
        ("\n \n", r"a_00000001\.rec: has no row"),
        ("1,2,3,6\nchannel,2,3,6", r"\.rec, row 2: 'channel,2,3,6' is not four"),
        ("1,2,3", r"row 1: '1,2,3' is not four numbers"),
        ("1,2,3,6,7", r"row 1: .* is not four numbers"),
        ("1,nan,3,6", r"row 1: .* not finite"),
        ("1,2,3,6\n\n1,2,3,0", r"row 3: .* has the label 0; .*label of 1…6"),
        ("1,2,3,7", r"row 1: .* has the label 7"),
        ("1,2,3,2.5", r"row 1: .* has the label 2\.5"),
        ("22,2,3,6", r"row 1: .* is about channel 22; .*channel of 0…21"),
        ("1,-1,0,6", r"row 1: .* starts at -1 s"),
        ("1,3,2,6", r"row 1: .* stops at 2 s, not after its start"),
        ("1,2,3,6\n1,2,3.3,6", r"row 2: from 2 to 3\.3 s lasts 260 time points"),
        ("1,19.5,20.5,6", r"row 1: .* ends after a_00000001\.edf, .* lasts 20 s"),
        ("1,1e300,2e300,6", r"row 1: .* ends after"),
    ],
)
def test_a_bad_row_is_named(rows: str, message: str, tmp_path: Path) -> None:
    sources = a_set(tmp_path, train=("a",), rows=rows)
    with pytest.raises(SignalError, match=message):
        SPEC.plan(sources)


def test_rows_may_end_in_cr_lf_and_touch_the_end(tmp_path: Path) -> None:
    rows = "\ufeff3,0,1,1\r\n3,19,20,6\r\n"
    sources = a_set(tmp_path, train=("a",), rows=rows)
    assert read_rec(sources[0].extra[0]).labels.tolist() == [1, 6]
    assert SPEC.plan(sources)["onset_s"].tolist() == [-2.0, 17.0]


def test_a_recording_too_short_to_go_round_is_refused(tmp_path: Path) -> None:
    sources = a_set(tmp_path, train=("a",), rows="3,0,1,1", n_records=1)
    with pytest.raises(SignalError, match=r"row 1: .* lasts 1 s, more than once"):
        SPEC.plan(sources)


def without_rec(source: Source) -> None:
    source.extra[0].unlink()


def cut_short(source: Source) -> None:
    source.path.write_bytes(source.path.read_bytes()[:-1000])


def with_label(old: bytes, new: bytes) -> Callable[[Source], None]:
    def change(source: Source) -> None:
        content = source.path.read_bytes()
        assert old in content
        source.path.write_bytes(content.replace(old.ljust(16), new.ljust(16), 1))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_rec, r"a_00000001\.rec: the file with the events is absent"),
        (cut_short, r"a_00000001\.edf: the header promises 20 records.* cut short"),
        (
            with_label(b"EEG T5-REF", b"EEG T5-LE"),
            r"a_0.*\.edf: the channels EEG T5-REF are missing; .* instead EEG T5-LE",
        ),
        (
            with_label(b"EEG O2-REF", b"EEG O1-REF"),
            r"channels EEG O2-REF are missing",
        ),
    ],
)
def test_a_damaged_file_is_named(
    damage: Callable[[Source], None], message: str, tmp_path: Path
) -> None:
    (source,) = a_set(tmp_path, train=("a",))
    damage(source)
    with pytest.raises(SignalError, match=message):
        SPEC.plan([source])


def test_an_electrode_there_twice_is_refused(tmp_path: Path) -> None:
    labels = (*tuev.LABELS, "EEG CZ-REF", "EEG C3-REF")
    sources = a_set(tmp_path, train=("a",), labels=labels)
    with pytest.raises(SignalError, match=r"signals EEG C3-REF come twice"):
        SPEC.plan(sources)


def test_an_empty_root_says_which_release_to_get(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"v2\.0\.1's folder edf/"):
        find_dataset("tuev@2.0.1").find(tmp_path)
