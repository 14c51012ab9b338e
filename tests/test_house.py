"""The house in order: layers, public names, pages that are true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import eegfm_bench
from eegfm_bench.cli import app
from eegfm_bench.sweep.suite import load_suite

ROOT = Path(__file__).parents[1]
LONGEST = 550  # lines of a source file: beyond it, two rooms would be clearer


def test_public_names_are_these_and_all_there() -> None:
    names = {"EEGDataModule", "__version__", "build", "load", "prepare", "run"}
    assert set(eegfm_bench.__all__) == names
    assert all(getattr(eegfm_bench, name) for name in names)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        eegfm_bench.nothing  # noqa: B018


def test_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, eegfm_bench\n"
        "heavy = {'torch', 'lightning', 'pandas', 'mne', 'numpy', 'sklearn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_versions_agree() -> None:
    written = re.search(
        r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M
    )
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert written is not None
    assert cited is not None
    assert written[1] == cited[1] == eegfm_bench.__version__


def test_rooms_stay_small() -> None:
    files = [*ROOT.glob("eegfm_bench/**/*.py"), *ROOT.glob("tests/**/*.py")]
    long = {
        str(f.relative_to(ROOT)): n
        for f in files
        if (n := len(f.read_text().splitlines())) > LONGEST
    }
    assert long == {}


def test_every_module_says_where_it_stands() -> None:
    for file in ROOT.glob("eegfm_bench/**/*.py"):
        text = file.read_text()
        assert text.startswith('"""'), file
        if not file.name.startswith("__"):
            assert "From:" in text, file
            assert "To:" in text, file


@pytest.mark.parametrize(
    "page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]
)
def test_pages_name_files_that_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    named = re.findall(
        r"`((?:eegfm_bench|tests|results|docs|benchmarks|models|datasets|training|"
        r"report|runs|recordings|windows|sweep|cli)/[\w./]*\w\.\w+)`",
        text,
    )
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "eegfm_bench" / name).exists(), name


def test_the_readme_names_every_command_that_exists() -> None:
    text = (ROOT / "README.md").read_text()
    verbs = {c.name or c.callback.__name__ for c in app.app.registered_commands}  # type: ignore[union-attr]
    used = set(re.findall(r"^eegfm-bench (\w+)", text, re.M))
    assert used <= verbs
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`make (\w+)", text)) <= targets


def test_ci_runs_what_a_person_runs() -> None:
    assert "make check" in (ROOT / ".ci" / "run").read_text()
    assert ".ci/run" in (ROOT / ".github" / "workflows" / "check.yml").read_text()


def test_the_smoke_suite_is_the_one_with_reference_rows() -> None:
    suite = load_suite("smoke")
    reference = ROOT / "results" / suite.name / "reference.csv"
    rows = reference.read_text().splitlines()
    cells = len(suite.models) * len(suite.datasets) * len(suite.seeds)
    n_metrics = 7  # of two classes
    assert len(rows) == 1 + cells * n_metrics * 2  # validation and test
