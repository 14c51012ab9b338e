"""``eegfm-bench fetch`` as a person and a script meet it."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from eegfm_bench.cli import app
from eegfm_bench.cli import fetch as fetching
from eegfm_bench.datasets import _moabb
from eegfm_bench.datasets._prepare import twin_root
from eegfm_bench.datasets._spec import find_dataset
from eegfm_bench.fetching import web
from eegfm_bench.fetching.here import File
from tests.publishers import Publisher, published

EEGMAT = {f"Subject{n:02d}_{k}.edf": b"x" * 999 for n in range(36) for k in (1, 2)}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    with published() as publisher:
        monkeypatch.setenv("EEGFM_MIRROR", publisher.url)
        publisher.physionet("eegmat/1.0.0", EEGMAT)
        yield publisher


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    soon = web.Patience(tries=2, first_wait_s=0.01)
    monkeypatch.setattr(web, "Patience", lambda: soon)

    def run(*argv: str) -> tuple[int, str, str]:
        """Run the command in this process; return status, output and messages."""
        monkeypatch.setattr(sys, "argv", ["eegfm-bench", "fetch", *argv])
        with pytest.raises(SystemExit) as left:
            app.main()
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err.replace("\n", " ")

    return run


def test_a_fetched_set_is_told_with_licence_and_citation_first(
    server: Publisher, call: Any, tmp_path: Path
) -> None:
    root = str(tmp_path / "new")
    status, out, err = call("eegmat", "--data", root, "--only", "Subject00,7")
    assert status == 0
    assert "eegmat: 4 of 4 files are here, 0.0 MB (4 fetched, 4 held against" in out
    assert f"next: eegfm-bench verify eegmat --data {root}" in out
    assert err.index("ODC-By 1.0") < err.index("Zyma") < err.index("[1/4]")
    assert "[4/4] eegmat/Subject07_2.edf: fetched" in err
    status, out, _ = call("eegmat", "--data", root, "--only", "Subject00,7", "--json")
    (found,) = json.loads(out)
    assert status == found["exit_status"] == 0
    assert {file["state"] for file in found["files"]} == {"here"}
    assert found["licence"] == "ODC-By 1.0"
    assert found["files"][0]["sums"]["sha256"]


def test_a_dry_run_lists_and_writes_nothing(
    server: Publisher, call: Any, tmp_path: Path
) -> None:
    root = tmp_path / "new"
    status, out, _ = call("eegmat", "--data", str(root), "--dry-run")
    assert status == 0
    assert len(out.splitlines()) == 73
    assert out.startswith("absent     eegmat/Subject00_1.edf  https://physionet.org/")
    assert not root.exists()


def test_statuses_tell_wrong_from_absent(
    server: Publisher, call: Any, tmp_path: Path
) -> None:
    path = "/physionet.org/files/eegmat/1.0.0/Subject00_1.edf"
    server.always[path] = "404"
    status, out, err = call("eegmat", "--data", str(tmp_path), "--only", "0")
    assert status == 2
    assert "1 NOT HERE or not right" in out
    assert "failed: http" in err
    assert "answered 404" in err
    server.always[path] = "wrong"
    status, _, err = call("eegmat", "--data", str(tmp_path), "--only", "0")
    assert status == 1
    assert "the publisher states" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["eegmat"], "--data ROOT or EEGFM_DATA"),
        (["eegmat", "--data", ""], "--data ROOT or EEGFM_DATA"),
        (["eegmat", "--data", " "], "root given is empty"),
        (["eegmat", "--data", "/no/such/place"], "nor the folder above it"),
        (["eegmat", "--data", "/etc/hostname"], "is not a folder"),
        (["eegmatt", "--data", "{tmp}"], "Did you mean 'eegmat'"),
        (["eegmat", "--data", "{tmp}", "--only", "S1"], "No subject of eegmat"),
        (["eegmat", "--data", "{tmp}", "--only", ","], "--only is empty"),
        (["eegmat", "--data", "{tmp}", "--jobs", "5"], "--jobs"),
        (["eegmat", "--data", "{tmp}", "--mirror", "here"], "neither a URL"),
    ],
)
def test_bad_usage_is_two_and_says_what_to_do(
    server: Publisher, call: Any, tmp_path: Path, argv: list[str], says: str
) -> None:
    argv = [word.format(tmp=tmp_path) for word in argv]
    status, out, err = call(*argv)
    assert status == 2, err
    assert says in err
    assert out == ""
    status, out, _ = call(*argv, "--json")
    assert status == 2
    assert set(json.loads(out)) == {"error", "kind"}


def test_the_variable_names_the_root(
    server: Publisher, call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EEGFM_DATA", str(tmp_path))
    assert call("eegmat", "--only", "0")[0] == 0
    assert (tmp_path / "eegmat/Subject00_2.edf").is_file()


def test_an_interruption_is_130_and_keeps_what_is_there(
    server: Publisher, call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: object, path: str, have: int, of: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetching.Progress, "seen", interrupt)
        status, _, err = call("eegmat", "--data", str(tmp_path), "--jobs", "2")
    assert status == 130
    assert "goes on from there" in err
    assert call("eegmat", "--data", str(tmp_path))[0] == 0


def test_a_licensed_set_is_explained_then_looked_at(call: Any, tmp_path: Path) -> None:
    status, out, err = call("tuev", "--data", str(tmp_path))
    assert status == 2
    assert "  1. Fill in and sign the form at https://isip" in out
    assert f"{tmp_path}/tuev/edf/" in out
    assert "has no folder 'tuev' yet" in out
    assert "licence:" in err
    assert call("tuev", "--data", str(tmp_path), "--dry-run")[0] == 0
    shutil.copytree(twin_root(find_dataset("tuev")) / "tuev", tmp_path / "tuev")
    status, out, _ = call("tuev", "--data", str(tmp_path), "--json")
    (found,) = json.loads(out)
    # A twin is not the published set.
    assert status == found["exit_status"] == 1
    assert found["verified"]["verdicts"]["differs"] > 0
    next(tmp_path.rglob("*.edf")).write_bytes(b"cut")
    status, out, _ = call("tuev", "--data", str(tmp_path))
    assert status == 2
    assert ".edf" in out


def test_a_set_of_moabb_is_left_to_moabb(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(name: str, root: Path, *, only: list[str], progress: Any) -> Any:
        progress(1, 2)
        folder = str(root / "moabb" / "Some")
        return {"dataset": name, "folder": folder, "subjects": only, "fetched": only}

    monkeypatch.setattr(_moabb, "fetch", planted)
    argv = ("moabb:Some", "--data", str(tmp_path), "--only", "1,2")
    status, out, err = call(*argv)
    assert status == 0
    assert "moabb:Some: 2 subjects fetched" in out
    assert "1 of 2 subjects" in err
    status, out, _ = call(*argv, "--json")
    assert json.loads(out)[0]["fetched"] == ["1", "2"]
    assert call(*argv, "--dry-run")[0] == 0


def test_progress_has_a_line_for_each_file_unless_there_is_a_terminal() -> None:
    file = File(path="a/b.edf", subjects=("b",), state="fetched", url="", size=2**20)
    for is_terminal in (False, True):
        room = io.StringIO()
        console = Console(file=room, force_terminal=is_terminal, highlight=False)
        with fetching.Progress(console) as progress:
            progress.planned(2, 2**21)
            progress.seen("a/b.edf", 2**19, 2**20)
            progress._said["a/b.edf"] = -1e9
            progress.seen("a/b.edf", 2**20, 2**20)
            progress.ended(file)
        text = room.getvalue()
        assert "2 files to fetch, 2.1 MB" in text
        assert "[1/2] a/b.edf: fetched, 1.0 MB" in text
        assert ("1 of 1 MB so far" in text) is not is_terminal
