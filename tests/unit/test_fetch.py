"""Whole datasets from publishers laid out as theirs are, over a real HTTP server."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eegfm_bench.datasets import _chbmit_table
from eegfm_bench.datasets._spec import find_dataset
from eegfm_bench.errors import SignalError, UnknownName
from eegfm_bench.fetching import sources
from eegfm_bench.fetching.fetch import Fetched, Options, fetch
from eegfm_bench.fetching.ledger import LEDGER, LOCK
from eegfm_bench.fetching.sources import needed, read_sums
from eegfm_bench.fetching.web import NotThere, Patience, Web
from tests.publishers import Publisher, published

SOON = Patience(tries=3, first_wait_s=0.01, silence_s=2.0)
EEGMAT = {
    "RECORDS": b"Subject00_1.edf\n",
    "subject-info.csv": b"who",
    **{
        f"Subject{n:02d}_{k}.edf": f"{n} {k}".encode() * 99
        for n in range(36)
        for k in (1, 2)
    },
}
EEGMMIDB = {
    f"S{n:03d}/S{n:03d}R{run:02d}.edf{more}": f"{n} {run}{more}".encode()
    for n in range(1, 110)
    for run in range(1, 15)
    for more in ("", ".event")[: 1 + (n == 1)]
}


@pytest.fixture
def server() -> Iterator[Publisher]:
    with published() as publisher:
        yield publisher


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def bring(server: Publisher, root: Path, name: str, **options: Any) -> Fetched:
    return fetch(find_dataset(name), root, Web(server.url, SOON), Options(**options))


def names_below(folder: Path) -> set[str]:
    every = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    return every - {LOCK}


def test_only_what_the_protocol_needs_is_brought(server: Publisher, root: Path) -> None:
    base = server.physionet("eegmat/1.0.0", EEGMAT)
    fetched = bring(server, root, "eegmat")
    assert fetched.exit_status == 0, fetched.trouble
    assert names_below(root / "eegmat") == {n for n in EEGMAT if n.endswith(".edf")}
    assert (root / "eegmat/Subject07_2.edf").read_bytes() == EEGMAT["Subject07_2.edf"]
    assert all(f.published and f.state == "fetched" for f in fetched.files)
    assert len(server.asked) == 1 + 72
    server.asked.clear()
    again = bring(server, root, "eegmat")
    assert again.count("here") == 72
    assert server.asked == [(f"{base}SHA256SUMS.txt", None)]


@pytest.mark.timeout(60)
def test_datasets_of_one_source_share_its_files(server: Publisher, root: Path) -> None:
    server.physionet("eegmmidb/1.0.0", EEGMMIDB)
    # Into the version folder that is there already.
    (root / "eegmmidb" / "1.0.0").mkdir(parents=True)
    eyes = bring(server, root, "eyes", only=["S001", "109"])
    assert {f.path for f in eyes.files} == {
        f"eegmmidb/1.0.0/S{n}/S{n}R0{run}.edf" for n in ("001", "109") for run in (1, 2)
    }
    found = bring(server, root, "physionet_mi", dry_run=True)
    assert len(found.files) == 654
    assert {f.path[-6:-4] for f in found.files} == {"04", "06", "08", "10", "12", "14"}
    assert len(bring(server, root, "eyes", dry_run=True).files) == 218
    assert len(names_below(root / "eegmmidb")) == 4 + 1  # and the lock


def test_chbmit_is_605_recordings_and_their_summaries(
    server: Publisher, root: Path
) -> None:
    names = [f"{r[:5]}/{r}.edf" for r in _chbmit_table.durations_s()]
    cases = [f"chb{n:02d}" for n in range(1, 25)]
    more = ["chb02/chb02_16+.edf", "chb12/chb12_06.edf", "chb24/chb24_22.edf"]
    more += [f"{case}/{case}-summary.txt" for case in cases]
    more += ["chb01/chb01_03.edf.seizures", "RECORDS", "SUBJECT-INFO"]
    server.physionet("chbmit/1.0.0", {name: name.encode() for name in names + more})
    for name in ("chbmit", "chbmit@corrected"):
        found = bring(server, root, name, dry_run=True)
        paths = {f.path.removeprefix("chbmit/") for f in found.files}
        summaries = {p for p in paths if p.endswith(".txt")}
        assert paths - summaries == set(names)
        assert len(names) == 605
        assert summaries == {
            f"{c}/{c}-summary.txt"
            for c in cases
            if c not in ("chb12", "chb13", "chb17")
        }
    assert list(root.iterdir()) == []  # a dry run writes nothing


def shu(upper: bool = False) -> dict[str, bytes]:
    word = "Sub" if upper else "sub"
    return {
        f"{word}-{n:03d}_ses-{k:02d}_task_motorimagery_eeg.mat": f"{n} {k}".encode()
        for n in range(1, 26)
        for k in range(1, 6)
    }


def test_shu_mi_is_brought_file_by_file_or_in_one_archive(
    server: Publisher, root: Path
) -> None:
    server.figshare(shu(upper=True) | {"a.edf": b"", "mat.zip": b"not asked for"})
    fetched = bring(server, root, "shu_mi", only=["3"])
    assert fetched.exit_status == 0
    assert names_below(root / "shu_mi" / "mat") == {n for n in shu() if "-003" in n}
    assert set(fetched.files[0].sums) == {"sha256", "md5"}
    room = io.BytesIO()
    with zipfile.ZipFile(room, "w") as archive:
        for name, body in shu().items():
            archive.writestr(f"mat/{name}", body)
        archive.writestr("__MACOSX/mat/._sub-001.mat", b"")
    server.figshare({"mat.zip": room.getvalue(), "README.txt": b""})
    fetched = bring(server, root, "shu_mi")
    assert fetched.exit_status == 0, fetched
    assert names_below(root / "shu_mi") == {f"mat/{name}" for name in shu()}
    server.asked.clear()
    assert bring(server, root, "shu_mi").count("here") == 1
    assert len(server.asked) == 1


TRACK = "Track#3 Imagined speech classification"
SHEET = "Track3_Answer Sheet_Test.xlsx"


def bcic(sheet: str | None) -> dict[str, bytes]:
    numbers = [f"{n:02d}" for n in range(1, 16)]
    files = {
        **{f"{TRACK}/Training set/Data_Sample{n}.mat": n.encode() for n in numbers},
        **{f"{TRACK}/Validation Set/Data_Sample{n}.mat": b"v" for n in numbers},
        **{f"{TRACK}/Test set/Data_Sample{n}_Test.mat": b"t" for n in numbers},
        f"{TRACK}/readme.pdf": b"",
        "Track#1 Few-shot/Training set/Data_Sample01.mat": b"another track's",
    }
    return files | ({} if sheet is None else {sheet: b"answers"})


@pytest.mark.parametrize(
    "sheet", [f"{TRACK}/Test set/{SHEET}", f"{TRACK}/{SHEET}", SHEET, None]
)
def test_bcic2020_is_found_in_its_track_page_by_page(
    server: Publisher, root: Path, sheet: str | None
) -> None:
    server.osf(bcic(sheet))
    server.files["/osf.io/download/n3a2p/"] = b"answers"
    fetched = bring(server, root, "bcic2020")
    assert fetched.exit_status == 0, fetched
    assert len(fetched.files) == 46
    home = root / "bcic2020"
    assert (home / "Training set/Data_Sample01.mat").read_bytes() == b"01"
    assert (home / "Validation set/Data_Sample15.mat").read_bytes() == b"v"
    assert [p.read_bytes() for p in home.rglob("*.xlsx")] == [b"answers"]
    assert sum(f.published for f in fetched.files) == 45 + (sheet is not None)
    # The sheet may have been put into the other of its two places.
    found = next(home.rglob("*.xlsx"))
    other = home if found.parent != home else home / "Test set"
    found.rename(other / SHEET)
    (root / LEDGER).unlink()
    assert bring(server, root, "bcic2020").count("here") == 46


def test_a_list_that_lacks_files_or_names_others_is_not_believed(
    server: Publisher, root: Path
) -> None:
    base = server.physionet("eegmat/1.0.0", EEGMAT)
    url, where = f"{base}SHA256SUMS.txt", "Subject05"
    whole = server.files[url].decode().splitlines()
    half = [line for line in whole if f"{where}_2" not in line]
    server.files[url] = "\n".join(half).encode()
    with pytest.raises(
        NotThere, match=r"SHA256SUMS.*Subject05 has Subject05_1\.edf al"
    ):
        bring(server, root, "eegmat")
    none = [line for line in whole if where not in line]
    server.files[url] = "\n".join(none).encode()
    with pytest.raises(NotThere, match=r"no file of Subject05 of EEGMAT"):
        bring(server, root, "eegmat")
    server.files[url] = b"<html>Sign in</html>"
    with pytest.raises(NotThere, match="line 1 is '<html>"):
        bring(server, root, "eegmat")
    server.files[url] = f"{'0' * 64} ../Subject05_1.edf".encode()
    with pytest.raises(SignalError, match="outside of its folder"):
        bring(server, root, "eegmat")
    assert names_below(root) == set()
    with pytest.raises(NotThere, match="has no file of EEGMAT"):
        needed(find_dataset("eegmat"), ["a.edf"], "a list")
    assert read_sums(f"{'A' * 64} *./a b.edf\r\n\r\n", "") == {"a b.edf": "a" * 64}


def test_a_subject_of_another_name_is_refused(server: Publisher, root: Path) -> None:
    server.physionet("eegmat/1.0.0", EEGMAT)
    with pytest.raises(UnknownName, match="Did you mean 'Subject03'"):
        bring(server, root, "eegmat", only=["Subjekt03"])
    with pytest.raises(UnknownName, match="open dataset"):
        bring(server, root, "tuev")


def test_sets_that_are_not_open_are_explained_step_by_step(root: Path) -> None:
    for name in ("faced", "seedv", "tuev", "tuev@2.0.1", "tuev@2.0.1@filtered"):
        steps = sources.steps_by_hand(find_dataset(name), root)
        assert len(steps) == 3
        assert f"{root}/{name.partition('@')[0]}/" in steps[-1]
    assert "(tuh_eeg_events) v2.0.1:" in steps[1]
