"""The examples of CONTRIBUTING.md, taken from the page and run."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import eegfm_bench.datasets
import eegfm_bench.models
from eegfm_bench.datasets._prepare import prepare
from eegfm_bench.models import _spec
from eegfm_bench.sweep.launch import InlineLauncher
from eegfm_bench.sweep.run import Options, sweep
from eegfm_bench.sweep.specs import cells_of

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"


@pytest.fixture
def contributed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Both files as a contributor would add them, without touching the package."""
    blocks = re.findall(
        r"<!-- file: eegfm_bench/(\w+)/(\w+)\.py -->\n```python\n(.*?)```",
        PAGE.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    assert [(folder, name) for folder, name, _ in blocks] == [
        ("models", "linelength"),
        ("datasets", "stroop"),
    ]
    for folder, name, text in blocks:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.py").write_text(text)
        package = getattr(eegfm_bench, folder)
        path = [*package.__path__, str(tmp_path / folder)]
        monkeypatch.setattr(package, "__path__", path)
    yield tmp_path
    for name in ("models.linelength", "datasets.stroop"):
        sys.modules.pop(f"eegfm_bench.{name}", None)
    _spec._REGISTERED.pop("linelength", None)


def test_one_file_is_a_model_and_one_file_a_dataset(contributed: Path) -> None:
    assert prepare("stroop").counts() == {"train": 80, "val": 20, "test": 20}
    cells = cells_of(["linelength", "eegnet"], ["stroop", "eyes"], "small", {})
    options = Options(
        runs=contributed / "runs", device="cpu", launcher=InlineLauncher()
    )
    records = sweep(cells, [0], options).records(options.runs)
    assert [r.failure for r in records] == [None] * 4
    assert "linelength" in _spec.model_names()


def test_a_file_that_cannot_be_imported_is_named_and_hides_nothing(
    contributed: Path,
) -> None:
    from eegfm_bench.errors import UnknownName

    (contributed / "models" / "broken.py").write_text("import no_such_package\n")
    assert _spec.find_model("linelength").title == "Line length"
    with pytest.raises(UnknownName, match=r"broken\.py: ModuleNotFoundError"):
        _spec.find_model("no_such_model")
