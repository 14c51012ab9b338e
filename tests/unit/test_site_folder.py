"""A report's folder: whole or not there, and nobody else's folder is replaced."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eegfm_bench.cli.app import app
from eegfm_bench.errors import DataMissing, StoreError
from eegfm_bench.report.site.write import write_site
from tests.many_records import write_records
from tests.site_reader import read_site

FILES = {"index.html": "one", "dataset-eyes.html": "two"}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_report_replaces_an_earlier_one_whole(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "report"
    write_site(folder, FILES, {})
    write_site(folder, {"index.html": "three"}, {})
    assert names(folder) == ["index.html", "report.json"]
    assert (folder / "index.html").read_text() == "three"
    assert names(folder.parent) == ["report"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    write_site(tmp_path / "report", FILES, {})
    assert "index.html" in names(tmp_path / "report")


@pytest.mark.parametrize("is_ours", [False, True])
def test_a_folder_with_something_else_is_left_alone(
    tmp_path: Path, is_ours: bool
) -> None:
    folder = tmp_path / "report"
    if is_ours:
        write_site(folder, FILES, {})
    folder.mkdir(exist_ok=True)
    (folder / "thesis.tex").write_text("years of work")
    before = names(folder)
    with pytest.raises(StoreError, match=r"thesis\.tex, which no report wrote"):
        write_site(folder, FILES, {})
    assert names(folder) == before


def test_a_page_of_anothers_making_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("my home page")
    (tmp_path / "report.json").write_text('{"made_by": "me", "files": {}}')
    with pytest.raises(StoreError, match=r"index\.html"):
        write_site(tmp_path, FILES, {})


def test_a_file_or_a_link_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    for name in ("file", "link"):
        with pytest.raises(StoreError, match="no plain folder"):
            write_site(tmp_path / name, FILES, {})


@pytest.mark.parametrize("is_first", [True, False])
def test_an_interrupt_while_writing_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    folder = tmp_path / "report"
    if not is_first:
        write_site(folder, {"index.html": "old"}, {})
    write = Path.write_text

    def interrupted(self: Path, *args: object, **more: object) -> int:
        if self.name == "dataset-eyes.html":
            raise KeyboardInterrupt
        return write(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_site(folder, FILES, {})
    assert names(tmp_path) == ([] if is_first else ["report"])
    if not is_first:
        assert (folder / "index.html").read_text() == "old"


def test_an_interrupt_between_the_renames_puts_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "report"
    write_site(folder, {"index.html": "old"}, {})
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_site(folder, FILES, {})
    assert names(tmp_path) == ["report"]
    assert (folder / "index.html").read_text() == "old"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    write_records(root, datasets=("eyes",), models=("eegnet",), seeds=range(2))
    return root


def test_the_verb_writes_into_the_runs_folder_and_says_where(runs: Path) -> None:
    done = CliRunner().invoke(app, ["report", "--runs", str(runs), "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["start"] == str(runs / "report" / "index.html")
    assert (said["records"], said["cells"], said["failed"]) == (2, 1, 0)
    sizes = [(runs / "report" / name).stat().st_size for name in said["files"]]
    assert 0 < said["bytes"] - sum(sizes) < 1000  # and report.json
    assert read_site(runs / "report")["index.html"].faults == []
    again = CliRunner().invoke(app, ["report", "--runs", str(runs)])
    assert again.exit_code == 0
    assert "index.html: 2 runs in 1 cells, 3 files" in again.stdout


def test_no_torch_is_needed(runs: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from eegfm_bench.cli import main\n"
        "try:\n    main()\nfinally:\n"
        "    heavy = {'torch', 'lightning'} & set(sys.modules)\n"
        "    sys.stderr.write(f'heavy: {sorted(heavy)}')\n"
    )
    words = ["report", "--runs", str(runs), "--out", str(tmp_path / "site")]
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "heavy: []"


def test_a_damaged_file_is_said_and_leaves_with_1(tmp_path: Path) -> None:
    write_records(tmp_path, datasets=("eyes",), models=("eegnet",), seeds=[0])
    (file,) = tmp_path.glob("*/predictions.parquet")
    file.write_bytes(b"PAR1")
    done = CliRunner().invoke(app, ["report", "--runs", str(tmp_path), "--json"])
    assert done.exit_code == 1
    assert str(file) in json.loads(done.stdout)["problems"][0]
    assert (tmp_path / "report" / "index.html").is_file()


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["report", "--runs", str(tmp_path)])
    assert isinstance(done.exception, DataMissing)
    assert "holds no run" in str(done.exception)
    assert names(tmp_path) == []


def test_a_foreign_folder_is_refused_before_the_work(
    runs: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("")
    done = CliRunner().invoke(
        app, ["report", "--runs", str(runs / "nowhere"), "--out", str(tmp_path)]
    )
    assert isinstance(done.exception, StoreError)


def test_other_suites_have_a_page_of_their_own(runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "moabb.csv"
    file.write_text(
        "score,time,subject,session,dataset,pipeline\n"
        "0.7,1,1,0,BNCI2014-001,<b>CSP</b>\n0.8,1,2,0,BNCI2014-001,<b>CSP</b>\n"
    )
    out = tmp_path / "site"
    words = ["report", "--runs", str(runs), "--out", str(out), "--import", str(file)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    pages = read_site(out)
    assert [page.faults for page in pages.values()] == [[], [], []]
    text = pages["others.html"].text
    assert "never ranked with ours" in text
    assert "<b>CSP</b>" in text
    assert "BNCI2014-001" not in pages["index.html"].text
    assert "best" not in [a.get("class") for _, a in pages["others.html"].tags]
