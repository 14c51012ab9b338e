"""A user's own class as a model, from the folder where it lies."""

from __future__ import annotations

import hashlib
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from eegfm_bench.errors import SpecError, UnknownName
from eegfm_bench.models import _own_class
from eegfm_bench.models._adapted import Adapted
from eegfm_bench.models._spec import InputShape, find_model
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.sweep.launch import InlineLauncher
from eegfm_bench.sweep.run import Options, sweep
from eegfm_bench.sweep.specs import cells_of
from eegfm_bench.training import worker

SHAPE = InputShape(channels=("C3", "C4"), n_times=200, rate_hz=100.0, n_classes=3)

SOURCE = '''
import torch
from torch import nn

class Net(nn.Module):
    """Log power and a linear layer; its own words for its arguments."""

    def __init__(self, n_channels, n_classes, rate_hz, width=7, act=nn.ELU):
        super().__init__()
        self.rate_hz = rate_hz
        self.hidden = nn.Linear(n_channels, width)
        self.out = nn.Linear(width, n_classes)

    def forward(self, x):
        return self.out(self.hidden(x.var(-1).log1p()).relu())

class Theirs(nn.Module):
    def __init__(self, n_chans, n_outputs, n_times, sfreq, *, channels):
        super().__init__()
        self.told = (n_chans, n_outputs, n_times, sfreq, channels)
        self.head = nn.Linear(n_chans, n_outputs)
        self.loss = nn.CrossEntropyLoss()

    def features(self, x):
        return x.std(-1)

    def forward(self, x):
        return self.head(self.features(x))

class Liar(Theirs):
    def forward(self, x):
        return 2 * self.head(self.features(x))

class Demanding(nn.Module):
    def __init__(self, n_channels, depth):
        super().__init__()

class Refusing(nn.Module):
    def __init__(self, n_times):
        raise ValueError("never on a Saturday")

class Leaving(nn.Module):
    def __init__(self):
        raise SystemExit(3)

class Trained(nn.Module):
    def __init__(self, n_channels, n_classes, lr=7, width=1):
        super().__init__()
        self.lr = lr
        self.out = nn.Linear(n_channels, n_classes)

    def forward(self, x):
        return self.out(x.var(-1))

class Whole(nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, x):
        return x

def function(x):
    return x
'''


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the user's file, and as little left behind as it was before."""
    (tmp_path / "own_net.py").write_text(SOURCE)
    (tmp_path / "own_broken.py").write_text("import torch\nnet = torch.\n")
    (tmp_path / "own_lonely.py").write_text("import no_such_library\n")
    (tmp_path / "own_exit.py").write_text("import sys\nsys.exit('no licence')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(_own_class, "_first_seen", {})
    yield tmp_path
    for name in [key for key in sys.modules if key.startswith("own_")]:
        del sys.modules[name]


def built(class_name: str, **options: Any) -> Adapted:
    torch.manual_seed(0)
    known = find_model(f"torch:own_net:{class_name}")
    return known.build(SHAPE, scale="small", options=options)


def test_a_class_is_told_what_it_asks_for(here: Path) -> None:
    model = built("Net").eval()
    assert model.net.rate_hz == 100.0
    assert model.net.out.out_features == 3
    x = 20 * torch.randn(4, 2, 200)
    assert model(x).shape == (4, 3)
    torch.testing.assert_close(model.head(model.features(x)), model(x))
    theirs = built("Theirs")
    assert theirs.net.told == (2, 3, 200, 100.0, ("C3", "C4"))


def test_its_own_features_and_head_are_used(here: Path) -> None:
    model = built("Theirs").eval()
    x = 20 * torch.randn(4, 2, 200)
    assert model.head is model.net.head
    assert torch.equal(model.features(x), x.std(-1))
    assert not hasattr(model, "loss")  # a name that training would ask for


def test_its_simple_keywords_can_be_set(here: Path) -> None:
    assert find_model("torch:own_net:Net").options == {"width": 7}
    assert built("Net", width=5).net.hidden.out_features == 5


@pytest.mark.parametrize(
    ("key", "error", "says"),
    [
        ("torch:own_nett:Net", SpecError, "own_nett.py in the current folder, .*Go to"),
        ("torch:own.deep:Net", SpecError, "No module is called 'own.deep'"),
        ("torch:own_net", SpecError, "expected torch:package.module:Class"),
        ("torch:own_net.py:Net", SpecError, "such as torch:own_net:Net"),
        ("torch:./deep/own.py:Net", SpecError, "such as torch:deep.own:Net"),
        ("torch:.own_net:Net", SpecError, "such as torch:own_net:Net. .* none before"),
        ("torch:own_net:net", UnknownName, "Did you mean 'Net'"),
        ("torch:own_exit:Net", SpecError, "to end the process .SystemExit: no licence"),
        ("torch:own_net:Nett", UnknownName, "Did you mean 'Net'"),
        ("torch:own_net:function", SpecError, "expected a class that inherits"),
        ("torch:own_broken:Net", SpecError, "cannot be imported: SyntaxError"),
        ("torch:own_lonely:Net", SpecError, "imports 'no_such_library'"),
        ("torch:own_net:Demanding", SpecError, "requires depth; .*Give the others"),
    ],
)
def test_what_cannot_be_found_is_said(
    here: Path, key: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        find_model(key)


@pytest.mark.parametrize(
    ("class_name", "says"),
    [
        ("Refusing", "cannot be built: ValueError: never on a Saturday"),
        ("Leaving", r"built: it tried to end the process \(SystemExit: 3\)"),
        ("Whole", r"returns \(2, 2, 200\) .* expected logits \(2, 3\)"),
        ("Liar", r"head\(features\(x\)\) is not forward\(x\)"),
    ],
)
def test_what_cannot_serve_is_refused(here: Path, class_name: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        built(class_name)


def test_the_source_is_part_of_the_question(here: Path) -> None:
    opt = Options(runs=here / "runs", device="cpu", launcher=InlineLauncher())
    cells = cells_of(["torch:own_net:Net"], ["eegmat"], "small", {"width": 4})
    (record,) = sweep(cells, [0], opt).records(opt.runs)
    assert record.failure is None
    assert record.run_id.startswith("torch.own_net.Net-eegmat-s0-")
    digest = hashlib.sha256((here / "own_net.py").read_bytes()).hexdigest()
    line = f"own_net {digest}\n"
    assert record.spec.code == hashlib.sha256(line.encode()).hexdigest()[:8]
    assert record.spec.options == {"width": 4}
    other = record.spec.model_copy(update={"code": "00000000"})
    assert other.run_id != record.run_id


def test_a_source_that_changed_in_between_is_refused(here: Path) -> None:
    opt = Options(runs=here / "runs", device="cpu", launcher=InlineLauncher())
    cells = cells_of(["torch:own_net:Net"], ["eegmat"], "small", {})
    result = sweep(cells, [0], opt)
    (spec,) = result.specs
    store = worker.handle(
        {
            "task": "prepare",
            "dataset": "eegmat",
            "rate_hz": None,
            "data": None,
            "allow_partial": False,
            "jobs": 1,
        },
        print,
    )["store"]
    task = {"task": "fit", "runs": str(opt.runs), "device": "cpu", "force": True}
    task |= {"store": store}
    old = spec.model_copy(update={"code": "00000000"})
    outcome = worker.handle(task | {"spec": old.model_dump(mode="json")}, print)
    assert outcome["failure"]["kind"] == "SpecError"
    assert "the spec asks for 00000000" in outcome["failure"]["message"]
    with (here / "own_net.py").open("a") as file:
        file.write("# a thought\n")
    outcome = worker.handle(task | {"spec": spec.model_dump(mode="json")}, print)
    assert "changed since it was imported" in outcome["failure"]["message"]


def packaged(here: Path) -> dict[str, str]:
    """A class that imports in every way; return its files by name."""
    (here / "own_pack" / "deep").mkdir(parents=True)
    files = {
        "own_pack/__init__.py": "",
        "own_pack/base.py": "from torch import nn\nclass Base(nn.Module):\n    pass\n",
        "own_pack/net.py": (
            "from torch import nn\n"
            "from own_pack.base import Base\n"
            "from . import width\n"
            "import own_beside\n"
            "class Net(Base):\n"
            "    def __init__(self, n_channels, n_classes):\n"
            "        super().__init__()\n"
            "        self.out = nn.Linear(n_channels, n_classes)\n"
            "    def forward(self, x):\n"
            "        import importlib\n"
            "        from .deep.late import late\n"
            "        return late(self.out(x.var(-1)))\n"
            "    def other(self):\n"
            "        return importlib.import_module('own_written')\n"
        ),
        "own_pack/width.py": "WIDTH = 3\n",
        "own_pack/deep/late.py": "def late(x):\n    return x\n",
        "own_beside.py": "import numpy\n",
        "own_written.py": "",
    }
    for name, text in files.items():
        (here / name).write_text(text)
    (here / "own_stranger.py").write_text("")
    return files


def code_anew() -> str | None:
    """The hash that a new process would find."""
    for name in [key for key in sys.modules if key.startswith("own_")]:
        del sys.modules[name]
    _own_class._first_seen.clear()
    return find_model("torch:own_pack.net:Net").code_hash


def test_what_the_file_imports_is_part_of_the_question(here: Path) -> None:
    files = packaged(here)
    first = code_anew()
    assert code_anew() == first
    find_model("torch:own_pack.net:Net").build(SHAPE)  # loads what forward imports
    assert find_model("torch:own_pack.net:Net").code_hash == first
    for name, text in files.items():
        (here / name).write_text(text + "# a thought\n")
        assert code_anew() != first, name
        (here / name).write_text(text)
    (here / "own_stranger.py").write_text("# a thought\n")
    assert code_anew() == first


def test_what_else_is_loaded_is_no_part_of_it(here: Path) -> None:
    packaged(here)
    first = code_anew()
    _own_class._first_seen.clear()
    find_model("torch:own_net:Net")
    importlib.import_module("own_stranger")
    assert code_anew() == first


def test_an_edit_of_what_it_imports_is_noticed(here: Path) -> None:
    packaged(here)
    find_model("torch:own_pack.net:Net")
    (here / "own_pack" / "width.py").write_text("WIDTH = 4\n")
    with pytest.raises(SpecError, match=r"width\.py changed since it was imported"):
        find_model("torch:own_pack.net:Net")


def test_an_edit_between_import_and_question_is_noticed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.syspath_prepend(str(here))
    importlib.import_module("own_net")
    assert find_model("torch:own_net:Net").options == {"width": 7}
    _own_class._first_seen.clear()  # as if it had not been asked for
    (here / "own_net.py").write_text(SOURCE.replace("width=7", "width=10"))
    with pytest.raises(SpecError, match=r"imported before it was asked .* new process"):
        find_model("torch:own_net:Net")


def test_an_import_that_left_no_trace_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(here))
    importlib.import_module("own_net")
    with pytest.raises(SpecError, match="nothing tells whether"):
        find_model("torch:own_net:Net")


def test_what_failed_to_import_can_be_mended(here: Path) -> None:
    with pytest.raises(SpecError, match="SyntaxError"):
        find_model("torch:own_broken:Net")
    with pytest.raises(UnknownName):
        find_model("torch:own_net:Nett")
    (here / "own_broken.py").write_text(SOURCE)
    assert find_model("torch:own_broken:Net").options == {"width": 7}
    assert find_model("torch:own_net:Net").options == {"width": 7}


def test_the_folder_is_put_on_the_path_last_and_only_if_needed(here: Path) -> None:
    before = list(sys.path)
    find_model("torch:torch.nn:Identity")
    with pytest.raises(SpecError, match="No module is called"):
        find_model("torch:own_nowhere:Net")
    assert sys.path == before
    find_model("torch:own_net:Net")
    find_model("torch:own_net:Theirs")
    assert sys.path == [*before, str(here)]


def test_a_name_of_the_recipe_is_the_recipes(here: Path) -> None:
    known = find_model("torch:own_net:Trained")
    assert known.options == {"width": 1}
    assert built("Trained").net.lr == 7
    with pytest.raises(UnknownName, match=r"No option of .* is called 'lr'"):
        built("Trained", lr=0.1)
    opt = Options(runs=here / "runs", device="cpu", launcher=InlineLauncher())
    cells = cells_of(["torch:own_net:Trained"], ["eegmat"], "small", {"lr": 0.25})
    (record,) = sweep(cells, [0], opt).records(opt.runs)
    assert record.spec.options == {}
    assert record.spec.recipe.lr == 0.25  # type: ignore[union-attr]


@pytest.mark.slow
def test_the_command_runs_it_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "mynet.py").write_text(SOURCE)
    # Would break every worker, if a file here could pass for a library.
    (tmp_path / "statistics.py").write_text("raise RuntimeError('no library')\n")
    argv = [*("run", "--model", "torch:mynet:Net", "--dataset", "eyes")]
    argv += ["--scale", "small", "--seeds", "2", "--runs", "runs", "--json"]
    command = [sys.executable, "-P", "-m", "eegfm_bench", *argv]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    records = json.loads(done.stdout)["records"]
    assert [r["spec"]["model"] for r in records] == ["torch:mynet:Net"] * 2
    for file in (tmp_path / "runs").glob("torch.mynet.Net-*/record.json"):
        record = RunRecord.from_json(file.read_text(), where=str(file))
        assert record.is_done
        assert record.spec.code == records[0]["spec"]["code"]
    away = subprocess.run(
        command, cwd=tmp_path / "runs", capture_output=True, text=True, check=False
    )
    assert away.returncode == 2
    assert "No module is called 'mynet'" in away.stderr
    assert "Traceback" not in away.stderr
