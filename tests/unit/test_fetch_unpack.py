"""Archives from a publisher: what is taken, what is refused, what is kept."""

from __future__ import annotations

import io
import os
import shutil
import stat
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from eegfm_bench.datasets._spec import find_dataset
from eegfm_bench.errors import SignalError
from eegfm_bench.fetching.fetch import Fetched, Nobody, Options, fetch
from eegfm_bench.fetching.ledger import Ledger
from eegfm_bench.fetching.unpack import BadArchive, unpack
from eegfm_bench.fetching.web import Patience, Web
from tests.publishers import Publisher, published, stored_rar

SOON = Patience(tries=3, first_wait_s=0.01, silence_s=2.0)
# Stands in for unrar, on zips called so: lists (lb) and unpacks (x).
UNRAR = f"""#!{sys.executable}
import sys, zipfile
verb, (archive, *folder) = sys.argv[1], sys.argv[sys.argv.index("--") + 1 :]
opened = zipfile.ZipFile(archive)
if verb == "lb":
    print("\\n".join(opened.namelist()))
else:
    opened.extractall(*folder)
"""


def zipped(files: dict[str, bytes]) -> bytes:
    room = io.BytesIO()
    with zipfile.ZipFile(room, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return room.getvalue()


def as_it_is(names: list[str]) -> dict[str, str]:
    return {name: name for name in names}


@pytest.fixture
def server() -> Iterator[Publisher]:
    with published() as publisher:
        yield publisher


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A path to programs that has none."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    return programs


@pytest.fixture
def unrar(no_program: Path) -> Path:
    program = no_program / "unrar"
    program.write_text(UNRAR)
    program.chmod(0o755)
    return program


def isruc_night(number: int) -> dict[str, bytes]:
    return {
        f"{number}/{number}.rec": b"a recording" * number,
        f"{number}/{number}_1.txt": b"0\r\n5\r\n",
        f"{number}/{number}_2.txt": b"0\r\n",
        f"{number}/{number}_1.xlsx": b"a sheet",
    }


def publish_isruc(server: Publisher, archives: dict[int, bytes]) -> None:
    place = "/dataset.isr.uc.pt/ISRUC_Sleep/subgroupIII/{}.rar"
    server.files |= {place.format(n): body for n, body in archives.items()}


def bring(server: Publisher, root: Path, name: str, *only: str) -> Fetched:
    options = Options(only=only or None)
    return fetch(find_dataset(name), root, Web(server.url, SOON), options)


def test_a_night_is_unpacked_and_its_archive_goes(
    server: Publisher, root: Path, unrar: Path
) -> None:
    publish_isruc(server, {n: zipped(isruc_night(n)) for n in (1, 10)})
    fetched = bring(server, root, "isruc_s3", "1", "010")
    assert fetched.exit_status == 0, fetched
    home = root / "isruc" / "subgroupIII"
    there = {p.relative_to(home).as_posix() for p in home.rglob("*") if p.is_file()}
    needed = {"1/1.rec", "1/1_1.txt", "10/10.rec", "10/10_1.txt"}
    assert there - {".fetching"} == needed
    assert (home / "10/10.rec").read_bytes() == b"a recording" * 10
    spec = find_dataset("isruc_s3")
    assert {s.subject for s in spec.find(root)} == {"001", "010"}
    server.asked.clear()
    again = bring(server, root, "isruc_s3", "1", "010")
    assert [file.state for file in again.files] == ["here", "here"]
    assert server.asked == []
    (home / "1/1.rec").write_bytes(b"cut")
    third = bring(server, root, "isruc_s3", "001", "010")
    assert [file.state for file in third.files] == ["fetched", "here"]
    assert (home / "1/1.rec").read_bytes() == b"a recording"


@pytest.mark.skipif(shutil.which("bsdtar") is None, reason="bsdtar is not installed")
def test_a_genuine_rar_is_unpacked(server: Publisher, root: Path) -> None:
    # The first without a folder of its own in it.
    publish_isruc(server, {2: stored_rar({"2.rec": b"r" * 99, "2_1.txt": b"0\n"})})
    publish_isruc(server, {3: stored_rar(isruc_night(3))})
    fetched = bring(server, root, "isruc_s3", "2", "3")
    assert fetched.exit_status == 0, fetched
    home = root / "isruc" / "subgroupIII"
    assert (home / "2/2.rec").read_bytes() == b"r" * 99
    assert (home / "3/3.rec").read_bytes() == b"a recording" * 3
    publish_isruc(server, {4: stored_rar({"../../4.rec": b"r", "4/4_1.txt": b"0"})})
    fetched = bring(server, root, "isruc_s3", "4")
    assert "outside of its folder" in fetched.files[0].why
    publish_isruc(server, {5: stored_rar(isruc_night(5))[:-60]})
    fetched = bring(server, root, "isruc_s3", "5")
    assert "is no whole archive (bsdtar ended with 1" in fetched.files[0].why


def test_without_a_program_archives_are_kept_and_it_goes_on_afterwards(
    server: Publisher, root: Path, no_program: Path
) -> None:
    publish_isruc(server, {1: zipped(isruc_night(1))})
    said, nobody = [], Nobody()
    nobody.say = said.append  # type: ignore[method-assign]
    web, only = Web(server.url, SOON), Options(only=["1"])
    fetched = fetch(find_dataset("isruc_s3"), root, web, only, nobody)
    assert fetched.exit_status == 2
    assert "archives are fetched and kept" in said[0]
    assert "apt install libarchive-tools" in fetched.files[0].why
    assert (root / "isruc/subgroupIII/1.rar").is_file()
    (no_program / "unrar").write_text(UNRAR)
    (no_program / "unrar").chmod(0o755)
    server.asked.clear()
    assert bring(server, root, "isruc_s3", "1").exit_status == 0
    assert server.asked == []
    assert not (root / "isruc/subgroupIII/1.rar").exists()


def test_what_somebody_unpacked_is_left_alone(
    server: Publisher, root: Path, unrar: Path
) -> None:
    home = root / "isruc" / "subgroupIII"
    (home / "1").mkdir(parents=True)
    (home / "1/1.rec").write_bytes(b"own")
    (home / "1/1_1.txt").write_bytes(b"0\n")
    fetched = bring(server, root, "isruc_s3", "1")
    assert [file.state for file in fetched.files] == ["unchecked"]
    assert server.asked == []
    (home / "1/1_1.txt").unlink()  # half of a night: the rest would come, but not over
    publish_isruc(server, {1: zipped(isruc_night(1))})
    fetched = bring(server, root, "isruc_s3", "1")
    assert fetched.exit_status == 1
    assert "1.rec: was here before" in fetched.files[0].why
    assert (home / "1/1.rec").read_bytes() == b"own"


def test_an_archive_that_somebody_put_here_is_unpacked_and_stays(
    server: Publisher, root: Path, unrar: Path
) -> None:
    home = root / "isruc" / "subgroupIII"
    home.mkdir(parents=True)
    (home / "1.rar").write_bytes(zipped(isruc_night(1)))
    fetched = bring(server, root, "isruc_s3", "1")
    assert fetched.exit_status == 0, fetched
    assert server.asked == []
    assert (home / "1.rar").is_file()
    assert (home / "1/1.rec").is_file()
    assert [f.state for f in bring(server, root, "isruc_s3", "1").files] == ["here"]


def test_an_archive_whose_unpacking_was_killed_is_unpacked_again(
    server: Publisher, root: Path, unrar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_isruc(server, {1: zipped(isruc_night(1))})
    put = Ledger.put

    def killed(self: Ledger, path: str, **more: object) -> None:
        if "gave" in more:  # all files are in place, the archive is there still
            raise KeyboardInterrupt
        put(self, path, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            bring(server, root, "isruc_s3", "1")
    home = root / "isruc" / "subgroupIII"
    assert (home / "1.rar").is_file()
    (home / ".unpacking-of-the-killed").mkdir()
    assert bring(server, root, "isruc_s3", "1").exit_status == 0
    assert len(server.asked) == 1
    assert {p.name for p in home.iterdir()} == {"1", ".fetching"}


def test_a_page_instead_of_an_archive_is_told_and_removed(
    server: Publisher, root: Path, unrar: Path
) -> None:
    publish_isruc(server, {1: b"<!DOCTYPE html><p>moved"})
    fetched = bring(server, root, "isruc_s3", "1")
    assert fetched.exit_status == 1
    assert "begins with b'<!DOCTYPE html><'" in fetched.files[0].why
    assert not (root / "isruc/subgroupIII/1.rar").exists()
    publish_isruc(server, {1: zipped(isruc_night(1))})
    assert bring(server, root, "isruc_s3", "1").exit_status == 0


def test_an_archive_without_the_recording_says_what_it_has(
    server: Publisher, root: Path, unrar: Path
) -> None:
    publish_isruc(server, {1: zipped({"1/readme.txt": b""})})
    fetched = bring(server, root, "isruc_s3", "1")
    assert fetched.exit_status == 2
    assert "1.rar: has no file of ISRUC" in fetched.files[0].why


@pytest.mark.parametrize(
    "name", ["../x.mat", "/x.mat", "a/../../x.mat", "..\\x.mat", "C:\\x.mat"]
)
@pytest.mark.parametrize("kind", ["zip", "rar"])
def test_names_that_lead_out_are_refused_before_anything_is_written(
    tmp_path: Path, unrar: Path, name: str, kind: str
) -> None:
    archive, room = tmp_path / "a.archive", tmp_path / "deep" / "room"
    archive.write_bytes(zipped({"good.mat": b"1", name: b"2"}))
    room.mkdir(parents=True)
    with pytest.raises(SignalError, match="outside of its folder"):
        unpack(archive, kind, as_it_is, room)
    assert [*room.iterdir()] == []
    assert not [*tmp_path.rglob("x.mat")]


def test_links_are_refused(tmp_path: Path, unrar: Path) -> None:
    link = zipfile.ZipInfo("a.mat")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive, room = tmp_path / "a.zip", tmp_path / "room"
    room.mkdir()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(link, "/etc/passwd")
    with pytest.raises(BadArchive, match=r"'a\.mat' is a link"):
        unpack(archive, "zip", as_it_is, room)
    unrar.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        f"if sys.argv[1] == 'x': os.symlink('/etc/passwd', sys.argv[-1] + 'a.mat')\n"
    )
    with pytest.raises(BadArchive, match=r"'a\.mat' is a link"):
        unpack(archive, "rar", as_it_is, room)


def test_a_locked_zip_is_told(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    body = bytearray(zipped({"a.mat": b"1"}))
    for sign in (b"PK\x03\x04", b"PK\x01\x02"):
        at = body.index(sign) + (6 if sign == b"PK\x03\x04" else 8)
        body[at] |= 1
    archive.write_bytes(bytes(body))
    with pytest.raises(BadArchive, match="locked by a password"):
        unpack(archive, "zip", as_it_is, tmp_path)


def test_a_zip_of_other_bytes_than_its_sums_is_told(tmp_path: Path) -> None:
    archive, room = tmp_path / "a.zip", tmp_path / "room"
    room.mkdir()
    body = os.urandom(5000)
    damaged = bytearray(zipped({"a.mat": body}))
    damaged[2000] ^= 1
    archive.write_bytes(bytes(damaged))
    with pytest.raises(BadArchive, match="no whole archive"):
        unpack(archive, "zip", as_it_is, room)


def test_a_full_disk_under_an_unpacker_is_no_bad_archive(
    tmp_path: Path, unrar: Path
) -> None:
    archive = tmp_path / "a.rar"
    archive.write_bytes(b"x")
    unrar.write_text(
        f"#!{sys.executable}\nimport sys\n"
        f"sys.exit('Write failed: No space left on device')\n"
    )
    with pytest.raises(OSError, match="No space left"):
        unpack(archive, "rar", as_it_is, tmp_path)
