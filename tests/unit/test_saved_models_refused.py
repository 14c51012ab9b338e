"""A saved folder that is damaged, mixed or of another time is refused in words."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from eegfm_bench.errors import SpecError, UnknownName, WeightsError
from eegfm_bench.models._spec import InputShape, find_model
from eegfm_bench.weights import folder as writing
from eegfm_bench.weights.files import read_weights
from eegfm_bench.weights.folder import load_folder, write_folder
from eegfm_bench.weights.saved import CARD, CONFIG, TENSORS

CHANNELS = ("FP1-F7", "F7-T7", "T7-P7", "P7-O1")
SHAPE = InputShape(channels=CHANNELS, n_times=600, rate_hz=200.0, n_classes=3)

OWN_CLASS = """
from torch import nn

class Net(nn.Module):
    def __init__(self, n_channels: int, n_times: int, n_classes: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(n_channels * n_times, 3))

    def forward(self, x):
        return self.net(x)
"""


def save(at: Path, name: str = "bandpower", scale: str = "small", **more: Any) -> Any:
    torch.manual_seed(0)
    spec = find_model(name)
    model = spec.build(SHAPE, scale=scale, options=more)
    write_folder(at, model, spec, SHAPE, scale=scale, options=more, card={})
    return model


@pytest.fixture
def at(tmp_path: Path) -> Path:
    save(tmp_path / "model")
    return tmp_path / "model"


def edit(at: Path, change: Mapping[str, Any]) -> None:
    held = json.loads((at / CONFIG).read_text())
    held["eegfm_bench"] |= change
    (at / CONFIG).write_text(json.dumps(held))


def put(at: Path, tensors: dict[str, Tensor]) -> None:
    """Change the tensors on purpose, so that their sum agrees."""
    safetensors.torch.save_file(tensors, at / TENSORS)
    edit(at, {"sha256": read_weights(at / TENSORS).sha256})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"n_classes": 4}, r"2 of another shape \(head.weight: \(3, 20\) float32, not"),
        ({"channels": ["a", "b"]}, "1 of another shape"),
        ({"model": "eegnet"}, r"missing \(.*; 2 left over \(head"),
        ({"model_version": 7}, "saved by version 7 of bandpower"),
        ({"code": "0badc0de"}, "the tensors are of 0badc0de"),
        ({"layout": "braindecode"}, "no class that computes what bandpower does"),
        ({"layout": "theirs"}, "'layout' of 'eegfm_bench' is not as it was saved"),
        ({"unit": "V"}, "'unit' of 'eegfm_bench' is not as it was saved"),
        ({"sha256": "0" * 64}, "are not those that were saved"),
    ],
)
def test_a_changed_configuration_is_refused(
    at: Path, change: dict[str, Any], expected: str
) -> None:
    edit(at, change)
    with pytest.raises(WeightsError, match=expected) as refused:
        load_folder(at)
    assert str(at) in str(refused.value)


def test_unknown_names_are_told_with_the_nearest(at: Path) -> None:
    edit(at, {"model": "bandpowr"})
    with pytest.raises(UnknownName, match="Did you mean 'bandpower'"):
        load_folder(at)
    edit(at, {"model": "bandpower", "options": {"no_such": 1}})
    with pytest.raises(UnknownName, match="no_such"):
        load_folder(at)
    edit(at, {"options": {}, "scale": "huge"})
    with pytest.raises(SpecError, match="no scale 'huge'"):
        load_folder(at)


def test_tensors_of_other_shapes_names_or_kinds_are_refused(at: Path) -> None:
    tensors = safetensors.torch.load_file(at / TENSORS)
    for changed, expected in (
        ({"head.weight": torch.zeros(3, 5)}, r"of another shape \(head.weight: \(3, 5"),
        ({"head.bias": torch.zeros(3).double()}, "float64, not"),
        ({"more": torch.zeros(1)}, r"1 left over \(more\)"),
    ):
        put(at, {**tensors, **changed})
        with pytest.raises(WeightsError, match=expected):
            load_folder(at)
    put(at, {"head.bias": tensors["head.bias"]})
    with pytest.raises(WeightsError, match=r"1 missing \(head.weight\)"):
        load_folder(at)


@pytest.mark.parametrize("n_bytes", [0, 7, 100, -1])
def test_a_file_that_is_cut_short_is_refused(at: Path, n_bytes: int) -> None:
    data = (at / TENSORS).read_bytes()
    (at / TENSORS).write_bytes(data[:n_bytes])
    with pytest.raises(WeightsError, match="cut short or changed"):
        load_folder(at)


def test_one_flipped_bit_is_refused(at: Path) -> None:
    data = bytearray((at / TENSORS).read_bytes())
    data[-3] ^= 1
    (at / TENSORS).write_bytes(data)
    with pytest.raises(WeightsError, match="cut short or changed"):
        load_folder(at)


def test_a_folder_with_a_file_missing_or_unreadable_is_refused(at: Path) -> None:
    (at / CONFIG).write_text("{")
    with pytest.raises(WeightsError, match=r"config.json: cannot be read"):
        load_folder(at)
    (at / CONFIG).write_text('{"n_chans": 4}')
    with pytest.raises(WeightsError, match="nothing says which model it is"):
        load_folder(at)
    (at / CONFIG).unlink()
    with pytest.raises(WeightsError, match="nothing says which model it is"):
        load_folder(at)
    with pytest.raises(WeightsError, match="is no folder"):
        load_folder(at / CARD)
    with pytest.raises(WeightsError, match="is no folder"):
        load_folder(at / "gone")


def test_a_missing_file_of_tensors_is_refused(at: Path) -> None:
    (at / TENSORS).unlink()
    with pytest.raises(WeightsError, match="No such file"):
        load_folder(at)


def test_two_folders_mixed_are_refused(at: Path, tmp_path: Path) -> None:
    save(tmp_path / "other", "trace")
    shutil.copy(tmp_path / "other" / CONFIG, at / CONFIG)
    with pytest.raises(WeightsError, match="are not those that were saved"):
        load_folder(at)


def test_what_is_written_twice_must_agree(tmp_path: Path) -> None:
    at = tmp_path / "labram"
    save(at, "labram", "paper", num_layers=1)
    tensors = safetensors.torch.load_file(at / TENSORS)
    put(at, tensors)
    load_folder(at)
    tensors["position_embedding"][0, 3, 3] += 1
    put(at, tensors)
    with pytest.raises(WeightsError, match=r"contradict .*position_embedding"):
        load_folder(at)


class Counting(nn.Linear):
    """Keeps a number that is no tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 3}


def test_what_is_not_finite_or_no_tensor_is_not_saved(tmp_path: Path) -> None:
    spec, more = find_model("bandpower"), {"scale": "small", "options": {}, "card": {}}
    model = spec.build(SHAPE, scale="small")
    with torch.no_grad():
        model.head.bias[0] = torch.nan
    with pytest.raises(WeightsError, match=r"'head\.bias' of bandpower"):
        write_folder(tmp_path / "m", model, spec, SHAPE, **more)
    model.head = Counting(20, 3)
    with pytest.raises(WeightsError, match="no tensor"):
        write_folder(tmp_path / "m", model, spec, SHAPE, **more)
    assert list(tmp_path.iterdir()) == []


def test_if_it_cannot_be_put_in_its_place_the_old_one_goes_back(
    at: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name.startswith(".new-"):
            raise PermissionError("not now")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(PermissionError):
        save(at, "trace")
    assert load_folder(at).head.out_features == 3
    assert [path.name for path in at.parent.iterdir()] == ["model"]


def test_a_class_of_the_users_needs_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    (tmp_path / "kept_net.py").write_text(OWN_CLASS)
    name = "torch:kept_net:Net"
    model = save(tmp_path / "model", name).eval()
    x = torch.ones(2, 4, 600)
    assert torch.equal(load_folder(tmp_path / "model")(x), model(x))
    assert json.loads((tmp_path / "model" / CONFIG).read_text())["eegfm_bench"]["code"]

    changed = replace(find_model(name), code_hash="11111111")
    monkeypatch.setattr(writing, "find_model", lambda name: changed)
    with pytest.raises(WeightsError, match=r"source of torch:kept_net:Net is 11111111"):
        load_folder(tmp_path / "model")
    monkeypatch.undo()
    edit(tmp_path / "model", {"model": "torch:lost_net:Net"})
    with pytest.raises(WeightsError, match=r"not its source.*lost_net\.py"):
        load_folder(tmp_path / "model")
