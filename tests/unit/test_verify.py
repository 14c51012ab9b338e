"""Counts from headers and annotations alone, against what is published.

The complete sets cannot be kept here. Their skeletons (``tests/unit/skeletons.py``)
take the real road through ``files``, ``windows``, ``plan`` and ``verify``.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eegfm_bench.cli import show
from eegfm_bench.datasets import _verify, physionet_mi
from eegfm_bench.datasets._eegmmidb import CHANNELS
from eegfm_bench.datasets._spec import DatasetSpec, Facts, find_dataset
from eegfm_bench.datasets._verify import Verification, verify
from eegfm_bench.errors import DataMissing, SignalError
from eegfm_bench.recordings.recording import Event
from tests.unit.skeletons import write_edf_skeleton

RUNS = Path(__file__).parents[1] / "golden" / "eegmmidb_runs.csv"
LABELS = [channel.capitalize().ljust(4, ".") for channel in CHANNELS]


def eegmmidb_runs() -> Iterator[dict[str, str]]:
    """Rest and imagery runs of all 109 subjects; see ``write_eegmmidb``."""
    with RUNS.open(encoding="utf-8") as file:
        yield from csv.DictReader(file)


def events_of(row: dict[str, str]) -> list[Event]:
    """Rests and cues of one run."""
    if not row["last"]:
        return [Event(onset_s=0.0, duration_s=float(row["length_s"]), code="T0")]
    first_s, last_s = float(row["first_cue_s"]), float(row["last_cue_s"])
    left = {"T1": int(row["n_T1"]), "T2": int(row["n_T2"])}
    left[row["last"]] -= 1
    codes = ["T1"] * left["T1"] + ["T2"] * left["T2"] + [row["last"]]
    period_s = (last_s - first_s) / (len(codes) - 1)
    found = []
    for k, code in enumerate(codes):
        cue_s = round(first_s + k * period_s, 3)
        rest_s = round(cue_s - first_s, 3)
        found.append(Event(onset_s=rest_s, duration_s=first_s, code="T0"))
        found.append(Event(onset_s=cue_s, duration_s=period_s - first_s, code=code))
    return found


def write_eegmmidb(root: Path) -> None:
    """Write skeletons of EEGMMIDB's 218 rest and 654 imagery runs.

    True, from the listing of the set and its event files (those of OpenNeuro ds004362
    agree with PhysioNet's S001): every run's rate, length and labels, how many T0, T1
    and T2 it has, when its first and its last cue come, and whether the last is T1 or
    T2. Constructed: the cues between are evenly spaced, all T1 before all T2, each
    after a rest as long as the first; headers have no dates; there is no signal.
    """
    for row in eegmmidb_runs():
        folder = root / "eegmmidb" / "1.0.0" / "files" / row["subject"]
        folder.mkdir(parents=True, exist_ok=True)
        write_edf_skeleton(
            folder / f"{row['subject']}R{int(row['run']):02d}.edf",
            labels=LABELS,
            samples_per_record=int(row["rate_hz"]),
            n_records=int(row["length_s"]),
            events=events_of(row),
        )


@pytest.fixture(scope="module")
def eegmmidb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with every rest and imagery run of EEGMMIDB, as skeletons."""
    root = tmp_path_factory.mktemp("skeletons")
    write_eegmmidb(root)
    return root


@pytest.fixture(scope="module")
def imagery(eegmmidb: Path) -> Verification:
    return verify("physionet_mi", data=eegmmidb)


def counts(found: Verification) -> dict[tuple[str | None, str | None], int]:
    return {(x.part, x.label): x.found for x in found.lines if x.what == "windows"}


def test_the_complete_physionet_mi_gives_the_published_counts(
    imagery: Verification,
) -> None:
    n = counts(imagery)
    assert n[None, None] == 9837
    assert (n["train", None], n["val", None], n["test", None]) == (6300, 1734, 1803)
    per_class = {
        part: [n[part, label] for label in physionet_mi.CLASSES]
        for part in ("train", "val", "test")
    }
    assert per_class == {
        "train": [1593, 1557, 1581, 1569],
        "val": [435, 432, 434, 433],
        "test": [451, 449, 450, 453],
    }
    assert {x.verdict for x in imagery.lines} == {"equal"}
    assert imagery.data == "complete"


def test_odd_subjects_give_what_is_known_of_them(eegmmidb: Path) -> None:
    spec = find_dataset("physionet_mi")
    index = spec.plan(spec.find(eegmmidb))
    n = index.groupby("subject").size()
    odd = {"S088": 114, "S092": 114, "S100": 72, "S104": 87}
    assert n[n != 90].to_dict() == odd
    assert index.groupby("recording").size()["S104R08"] == 12
    # No window reaches into the next.
    assert index.groupby("recording")["onset_s"].diff().min() >= spec.recipe.window_s


def test_odd_recordings_and_dropped_windows_are_named(imagery: Verification) -> None:
    slow = {r for r, texts in imagery.oddities.items() if "128 Hz, not 160" in texts}
    assert {r[:4] for r in slow} == {"S088", "S092", "S100"}
    assert len(slow) == 18
    assert set(imagery.oddities) - slow == {"S104R08"}
    assert imagery.oddities["S104R08"] == (
        "13 cues, not 15",
        "window dropped: the cue at 102.5 s (left_fist) is 3.5 s before the end, 4 are "
        "needed",
    )


def test_the_complete_eyes_gives_its_counts(eegmmidb: Path) -> None:
    found = verify("eyes", data=eegmmidb)
    n = counts(found)
    assert (n["train", None], n["val", None], n["test", None]) == (1980, 660, 630)
    assert n[None, None] == 218 * 15
    assert found.differing == ()
    assert [x.found for x in found.lines if x.what == "recordings"] == [218]


def copied(eegmmidb: Path, root: Path, *subjects: str) -> Path:
    """A root with skeletons of some subjects alone."""
    source = eegmmidb / "eegmmidb" / "1.0.0" / "files"
    for subject in subjects:
        folder = root / "eegmmidb" / subject
        folder.mkdir(parents=True)
        for file in (source / subject).iterdir():
            (folder / file.name).symlink_to(file)
    return root


def test_a_partial_set_is_compared_where_it_can_be(
    eegmmidb: Path, tmp_path: Path
) -> None:
    test = physionet_mi.SPLIT.test
    root = copied(eegmmidb, tmp_path, "S001", *test)
    with pytest.raises(DataMissing, match=r"88 of 109 subjects are absent: S002–S089"):
        verify("physionet_mi", data=root)
    found = verify("physionet_mi", data=root, allow_partial=True)
    verdicts = {(x.what, x.part, x.label): (x.verdict, x.why) for x in found.lines}
    assert verdicts["windows", "test", "both_feet"] == ("equal", "")
    assert verdicts["windows", "train", None] == (
        "unknown",
        "69 of 70 subjects absent",
    )
    assert verdicts["subjects", None, None] == ("unknown", "88 of 109 subjects absent")
    assert found.differing == ()
    assert found.data == "partial"
    assert len(found.absent_subjects) == 88


def longer(eegmmidb: Path, root: Path, subject: str) -> None:
    """Replace one skeleton by one of a run with a cue too many."""
    path = root / "eegmmidb" / subject / f"{subject}R04.edf"
    path.unlink()
    events = [Event(onset_s=8.0 * k, duration_s=4.0, code="T1") for k in range(1, 17)]
    write_edf_skeleton(
        path, labels=LABELS, samples_per_record=160, n_records=140, events=events
    )


def test_a_complete_part_of_a_partial_set_can_differ(
    eegmmidb: Path, tmp_path: Path
) -> None:
    root = copied(eegmmidb, tmp_path, *physionet_mi.SPLIT.test)
    longer(eegmmidb, root, "S091")
    found = verify("physionet_mi", data=root, allow_partial=True)
    wrong = {(x.part, x.label): (x.found, x.expected) for x in found.differing}
    assert wrong["test", None] == (1804, 1803)
    assert ("train", None) not in wrong
    assert found.oddities["S091R04"] == ("16 cues, not 15",)


def test_a_damaged_file_is_an_error_even_so(eegmmidb: Path, tmp_path: Path) -> None:
    root = copied(eegmmidb, tmp_path, "S001")
    path = root / "eegmmidb" / "S001" / "S001R06.edf"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1000])
    with pytest.raises(SignalError, match=r"S001R06\.edf: the header promises"):
        verify("physionet_mi", data=root, allow_partial=True)


def state(monkeypatch: pytest.MonkeyPatch, windows: dict[str, int]) -> None:
    """Let somebody state other counts of eyes."""
    spec = find_dataset("eyes")
    fields = {name: getattr(spec, name) for name in DatasetSpec.__dataclass_fields__}
    fields["facts"] = Facts(
        n_subjects=109, n_recordings=218, windows=windows, source="nobody"
    )
    monkeypatch.setattr(_verify, "find_dataset", lambda _: DatasetSpec(**fields))


def test_what_no_source_states_is_unknown(
    eegmmidb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state(monkeypatch, {"test": 630})
    found = verify("eyes", data=eegmmidb).to_dict()
    assert found["verdicts"] == {"equal": 3, "differs": 0, "unknown": 9}
    said = "\n".join(show.about_counts(found))
    assert "3 counts as stated, 9 cannot be compared" in said
    assert "unknown (no source states it)" in said


def test_an_incomplete_part_with_too_many_windows_differs(
    eegmmidb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copied(eegmmidb, tmp_path, "S004", "S005")
    state(monkeypatch, {"train": 1, "val": 30, "test": 29})
    found = verify("eyes", data=root, allow_partial=True)
    assert [(x.part, x.found, x.expected) for x in found.differing] == [
        ("test", 30, 29)
    ]


def call(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "eegfm_bench", "verify", *argv],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_verb_is_0_where_all_holds_and_says_so(eegmmidb: Path) -> None:
    done = call("physionet_mi,eyes", "--data", str(eegmmidb))
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "all 9,837 9,837 equal" in lines
    assert "both_feet 1,569 1,569 equal" in lines
    assert "recordings 218 218 equal" in lines
    assert any("128 Hz, not 160: 18 recordings" in line for line in lines)
    assert any("window dropped: the cue at 102.5 s" in line for line in lines)


def test_the_verb_is_1_where_a_count_differs(eegmmidb: Path, tmp_path: Path) -> None:
    root = copied(eegmmidb, tmp_path, *physionet_mi.SPLIT.test)
    longer(eegmmidb, root, "S091")
    argv = ["physionet_mi", "--data", str(root), "--allow-partial"]
    plain = call(*argv)
    assert plain.returncode == 1, plain.stderr
    assert "DIFFER" in plain.stdout
    assert "PARTIAL: 89 subjects absent: S001–S089" in plain.stdout
    in_json = call(*argv, "--json")
    assert in_json.returncode == 1
    (found,) = json.loads(in_json.stdout)
    assert found["verdicts"]["differs"] == 3
    line = next(x for x in found["lines"] if x["verdict"] == "differs")
    assert (line["part"], line["found"], line["expected"]) == ("test", 1804, 1803)


def test_the_verb_is_2_where_recordings_are_missing(tmp_path: Path) -> None:
    done = call("physionet_mi", "--data", str(tmp_path))
    assert done.returncode == 2
    assert "physionet.org" in done.stderr
    assert done.stdout == ""
