"""What is here already, what is broken, who else fetches, and what ends it all."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eegfm_bench.datasets._spec import find_dataset
from eegfm_bench.errors import DataMissing, StoreError
from eegfm_bench.fetching import file
from eegfm_bench.fetching.fetch import Fetched, Nobody, Options, fetch
from eegfm_bench.fetching.ledger import LEDGER, LOCK, Ledger
from eegfm_bench.fetching.web import Patience, Web
from tests.publishers import Publisher, published

SOON = Patience(tries=3, first_wait_s=0.01, silence_s=2.0)
EEGMAT = {
    f"Subject{n:02d}_{k}.edf": f"{n} {k}".encode() * 99
    for n in range(36)
    for k in (1, 2)
}
SHU = {
    f"sub-{n:03d}_ses-{k:02d}_task_motorimagery_eeg.mat": f"{n} {k}".encode()
    for n in range(1, 26)
    for k in range(1, 6)
}


class Heard(Nobody):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def server() -> Iterator[Publisher]:
    with published() as publisher:
        yield publisher


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def bring(server: Publisher, root: Path, name: str, **options: Any) -> Fetched:
    watcher = options.pop("watcher", None)
    web = Web(server.url, SOON)
    return fetch(find_dataset(name), root, web, Options(**options), watcher)


def test_one_file_that_cannot_be_had_does_not_hide_the_others(
    server: Publisher, root: Path
) -> None:
    base = server.physionet("eegmat/1.0.0", EEGMAT)
    server.always[f"{base}Subject00_1.edf"] = "404"
    fetched = bring(server, root, "eegmat", jobs=4)
    assert (fetched.exit_status, fetched.count("fetched")) == (2, 71)
    server.always[f"{base}Subject00_1.edf"] = "wrong"
    fetched = bring(server, root, "eegmat")
    assert (fetched.exit_status, fetched.count("here")) == (1, 71)
    assert "its sha256 is" in fetched.files[0].why
    server.always.clear()
    assert bring(server, root, "eegmat").count("fetched") == 1


def test_a_server_that_is_gone_ends_all_connections(
    server: Publisher, root: Path
) -> None:
    base = server.physionet("eegmat/1.0.0", EEGMAT)
    server.always[f"{base}Subject02_1.edf"] = "503"
    before = threading.active_count()
    with pytest.raises(DataMissing, match="answered 503"):
        bring(server, root, "eegmat", jobs=3)
    assert len([*(root / "eegmat").glob("*.edf")]) < 72
    assert threading.active_count() <= before + 4  # the server's own
    server.always.clear()
    assert bring(server, root, "eegmat").exit_status == 0


def test_what_was_fetched_is_repaired_and_what_was_not_is_left(
    server: Publisher, root: Path
) -> None:
    server.physionet("eegmat/1.0.0", EEGMAT)
    home, ask = root / "eegmat", {"only": ["Subject00"]}
    bring(server, root, "eegmat", **ask)
    rest, task = home / "Subject00_1.edf", home / "Subject00_2.edf"
    rest.write_bytes(b"cut short")
    same_size = bytes(task.stat().st_size)
    task.write_bytes(same_size)
    states = [f.state for f in bring(server, root, "eegmat", **ask).files]
    assert states == ["fetched", "here"]
    fetched = bring(server, root, "eegmat", verify_sums=True, **ask)
    assert [f.state for f in fetched.files] == ["here", "fetched"]
    assert task.read_bytes() == EEGMAT["Subject00_2.edf"]
    (root / LEDGER).unlink()  # now both are somebody's
    task.write_bytes(same_size)
    fetched = bring(server, root, "eegmat", **ask)
    assert [f.state for f in fetched.files] == ["here", "wrong"]
    assert "Move it away" in fetched.files[1].why
    assert hashlib.sha256(same_size).hexdigest() in fetched.files[1].why
    assert task.read_bytes() == same_size


def test_a_ledger_cut_short_by_a_kill_is_read_and_written_on(root: Path) -> None:
    ledger = Ledger(root)
    ledger.put("a", size=1, sums={})
    ledger.put("b", size=2, sums={})
    whole = (root / LEDGER).read_bytes()
    (root / LEDGER).write_bytes(whole[:-9])
    torn = Ledger(root)
    assert torn.get("a") is not None
    assert torn.get("b") is None
    torn.put("c", size=3, sums={})
    assert Ledger(root).get("c") is not None
    torn.put("c", gave={})
    torn.drop("a")
    known = Ledger(root)
    assert known.get("a") is None
    found = known.get("c") or {}
    assert (found["size"], found["gave"]) == (3, {})


def test_another_process_is_waited_for(server: Publisher, root: Path) -> None:
    server.physionet("eegmat/1.0.0", EEGMAT)
    (root / "eegmat").mkdir()
    heard = Heard()
    with (root / "eegmat" / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        threading.Timer(0.5, lambda: fcntl.flock(lock, fcntl.LOCK_UN)).start()
        fetched = bring(server, root, "eegmat", only=["3"], watcher=heard)
    assert fetched.count("fetched") == 2
    assert sum("waiting for it" in line for line in heard.lines) == 1


def test_room_is_asked_for_beforehand_where_sizes_are_known(
    server: Publisher, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.figshare(SHU)
    server.physionet("eegmat/1.0.0", EEGMAT)
    little = shutil._ntuple_diskusage(10**9, 10**9 - 10**5, 10**5)
    with monkeypatch.context() as patch:
        patch.setattr(file.shutil, "disk_usage", lambda _: little)
        with pytest.raises(StoreError, match=r"SHU.*needs 0\.0 MB more.*Make room"):
            bring(server, root, "shu_mi")
        assert not [path for path, _ in server.asked if "ndownloader" in path]
        heard = Heard()
        with pytest.raises(StoreError, match=r"Subject00_1\.edf\.part needs"):
            bring(server, root, "eegmat", watcher=heard)
    assert any("takes about 0.2 GB" in line for line in heard.lines)


def test_an_archive_that_is_somebody_s_is_never_removed(
    server: Publisher, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = root / "isruc" / "subgroupIII"
    home.mkdir(parents=True)
    (home / "1.rar").write_bytes(b"<!DOCTYPE html>")
    (root / "unrar").write_text("#!/bin/sh\nexit 3\n")
    (root / "unrar").chmod(0o755)
    monkeypatch.setenv("PATH", str(root))
    fetched = bring(server, root, "isruc_s3", only=["1"])
    assert fetched.exit_status == 1
    assert "unrar ended with 3); it begins with b'<!DOCTYPE" in fetched.files[0].why
    assert "Move it away" in fetched.files[0].why
    assert (home / "1.rar").read_bytes() == b"<!DOCTYPE html>"


@pytest.mark.data
def test_real_files_are_told_by_the_genuine_list(
    server: Publisher, root: Path, data_root: Path
) -> None:
    own = data_root / "eegmat"
    base = server.physionet("eegmat/1.0.0", {})
    server.files[f"{base}SHA256SUMS.txt"] = (own / "SHA256SUMS.txt").read_bytes()
    (root / "eegmat").mkdir()
    real = sorted(own.glob("Subject*.edf"))
    for path in real:
        (root / "eegmat" / path.name).symlink_to(path)
    subjects = {path.name[:9] for path in real}
    fetched = bring(server, root, "eegmat", only=sorted(subjects))
    assert fetched.count("here") == len(fetched.files) == len(real)
    assert len(bring(server, root, "eegmat", dry_run=True).files) == 72
