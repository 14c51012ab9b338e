"""A user's own class as a model, from the folder where it lies."""

from __future__ import annotations

import hashlib
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
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(_own_class, "_first_seen", {})
    yield tmp_path
    for name in ("own_net", "own_broken", "own_lonely"):
        sys.modules.pop(name, None)


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
    digest = hashlib.sha256((here / "own_net.py").read_bytes()).hexdigest()[:8]
    assert record.spec.code == digest
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
