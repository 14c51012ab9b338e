"""Weights saved here for other channels, other options or of another folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import safetensors.torch
import torch

from eegfm_bench.errors import WeightsError
from eegfm_bench.models._spec import InputShape, find_model
from eegfm_bench.training import worker
from eegfm_bench.training.weights_task import _refuse_people_seen, resolve_weights
from eegfm_bench.weights.files import read_weights
from eegfm_bench.weights.folder import load_folder, write_folder
from eegfm_bench.weights.loading import encoder_state, load
from tests.unit.planted_weights import PROBE, SHAPE, SPEC, built, trained

KNOWN = {"data": "simulated", "fingerprint": "f"}


def folder_of(path: Path, channels: tuple[str, ...]) -> Path:
    """Save the toy's encoder as of these channels."""
    path.mkdir()
    data = safetensors.torch.save(encoder_state(trained()))
    (path / "model.safetensors").write_bytes(data)
    block = {
        "model": "toy",
        "channels": channels,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    (path / "config.json").write_text(json.dumps({"eegfm_bench": block}))
    return path


@pytest.mark.parametrize("given", [".", "model.safetensors"], ids=["folder", "file"])
@pytest.mark.parametrize("channels", [("Fz", "Pz", "Cz"), ("O1", "Oz", "O2")])
def test_filters_that_go_by_order_refuse_other_channels_of_the_same_number(
    tmp_path: Path, given: str, channels: tuple[str, ...]
) -> None:
    file = read_weights(folder_of(tmp_path / "saved", channels) / given)
    with pytest.raises(WeightsError, match=f"{channels[1]} where Cz is.*by their ord"):
        load(built(), SPEC, file, probe_x=PROBE)
    report = load(built(), SPEC, file, allow_partial=True, probe_x=PROBE)
    assert report.weights_id.endswith("+partial")
    assert report.missing[0].startswith("the order of channels: the file's has")
    assert report.matched == report.n_encoder


def test_the_same_channels_in_other_spelling_fit(tmp_path: Path) -> None:
    file = read_weights(folder_of(tmp_path / "saved", ("fz", "T3", "PZ")))
    model = SPEC.build(replace(SHAPE, channels=("Fz", "T7", "Pz")))
    assert load(model, SPEC, file, probe_x=PROBE).is_full


def test_weights_for_any_channels_come_from_any(tmp_path: Path) -> None:
    file = read_weights(folder_of(tmp_path / "saved", ("O1", "Oz", "O2")))
    spec = replace(SPEC, weights=replace(SPEC.weights, any_channels=True))
    assert load(built(), spec, file, probe_x=PROBE).is_full


@pytest.mark.parametrize("sequence", [1, 2])
def test_what_is_built_knows_its_channels(sequence: int) -> None:
    shape = InputShape(
        channels=("C3", "C4"), n_times=64, rate_hz=64.0, n_classes=2, sequence=sequence
    )
    model = find_model("eegnet").build(shape, scale="small")
    assert (model.model if sequence > 1 else model).channels == ("C3", "C4")


def test_a_folder_whose_tensors_are_of_another_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "saved", ("O1", "Oz", "O2"))
    other = safetensors.torch.save(encoder_state(built(seed=9)))
    (folder / "model.safetensors").write_bytes(other)
    with pytest.raises(WeightsError, match="not the file that was saved with this"):
        read_weights(folder)
    # Given by itself, nothing is known of it.
    assert read_weights(folder / "model.safetensors").about == {}


def test_a_file_beside_a_damaged_configuration_is_read_by_itself(
    tmp_path: Path,
) -> None:
    folder = folder_of(tmp_path / "saved", ("O1", "Oz", "O2"))
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(WeightsError, match="is not JSON"):
        read_weights(folder)
    assert read_weights(folder / "model.safetensors").about == {}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested")
def test_numbers_of_one_byte_and_ragged_tensors_are_refused(tmp_path: Path) -> None:
    tiny = {"a": torch.ones(4).to(torch.float8_e4m3fn)}
    safetensors.torch.save_file(tiny, tmp_path / "tiny.safetensors")
    with pytest.raises(WeightsError, match=r"'a' is sparse.*float8_e4m3fn"):
        read_weights(tmp_path / "tiny.safetensors")
    ragged = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    torch.save({"a": ragged}, tmp_path / "ragged.pth")
    with pytest.raises(WeightsError, match="'a' is sparse, nested"):
        read_weights(tmp_path / "ragged.pth")


def test_options_that_shape_no_tensor_are_held_to_those_of_a_saved_model(
    tmp_path: Path,
) -> None:
    spec = find_model("cbramod")
    shape = InputShape(channels=("Fz", "Cz"), n_times=400, rate_hz=200.0, n_classes=2)
    options = {"scale_uv": 10.0, "drop_prob": 0.2}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = spec.build(shape, scale="small", options=options)
    folder = tmp_path / "saved"
    write_folder(folder, model, spec, shape, scale="small", options=options, card={})

    def init(allow_partial: bool = False, **options: Any) -> str:
        task = {
            "model": "cbramod",
            "given": str(folder),
            "scale": "small",
            "options": options,
            "store": None,
            "allow_partial": allow_partial,
        }
        return str(resolve_weights(task, None)["init"])

    with pytest.raises(WeightsError, match=r"other features.*--set scale_uv=10"):
        init()
    # Dropout and the head change nothing that was saved.
    assert init(scale_uv=10.0, drop_prob=0.0, head_units=8).startswith("weights-")
    assert init(allow_partial=True).startswith("weights-")


def test_a_saved_model_from_before_an_option_is_held_to_what_was_done(
    tmp_path: Path,
) -> None:
    spec, folder = find_model("trace"), tmp_path / "saved"
    shape = InputShape(channels=("Fz", "Cz"), n_times=800, rate_hz=200.0, n_classes=2)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = spec.build(shape, scale="small", options={})
    write_folder(folder, model, spec, shape, scale="small", options={}, card={})
    said = json.loads((folder / "config.json").read_text())
    assert said["eegfm_bench"]["options"].pop("attention") == "causal"
    (folder / "config.json").write_text(json.dumps(said))
    task = {"model": "trace", "given": str(folder), "scale": "small", "store": None}
    task |= {"allow_partial": False}
    assert resolve_weights({**task, "options": {}}, None)["init"]
    with pytest.raises(WeightsError, match="--set attention=causal"):
        resolve_weights({**task, "options": {"attention": "full"}}, None)


def test_code_that_came_with_a_folder_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = find_model("chance")
    shape = InputShape(channels=("Fz",), n_times=40, rate_hz=10.0, n_classes=2)
    folder = tmp_path / "downloaded"
    write_folder(
        folder, spec.build(shape), spec, shape, scale="paper", options={}, card={}
    )
    config = json.loads((folder / "config.json").read_text())
    config["eegfm_bench"]["model"] = "torch:downloaded.net:Net"
    (folder / "config.json").write_text(json.dumps(config))
    mark = tmp_path / "ran"
    (folder / "net.py").write_text(f"open({str(mark)!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WeightsError, match="whose source lies within it"):
        load_folder(folder)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"a": "test"}, r"1 in test \(a\)"),
        ({"a": "val"}, r"1 in val \(a\)"),
        ({"b": "test", "a": "val"}, r"1 in test \(b\) and 1 in val \(a\)"),
        ({"a": "train", "b": "val", "c": "test"}, None),
    ],
)
def test_a_saved_model_is_not_scored_on_people_it_learnt_from(
    where: dict[str, str],
    said: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of_folds: dict[str, Any] = {
        "dataset": {"name": "eyes@fold1of3", "protocol": "eyes@fold1of3-1", **KNOWN},
        "persons": {"train": ["a"], "val": ["b"], "test": ["c"]},
    }
    shape = InputShape(channels=("Fz", "Cz"), n_times=400, rate_hz=200.0, n_classes=2)
    spec = find_model("eegnet")
    write_folder(
        tmp_path / "m", spec.build(shape, scale="small", options={}), spec, shape,
        scale="small", options={}, card=of_folds,
    )  # fmt: skip
    store = SimpleNamespace(
        index=pd.DataFrame({"person": [*where], "part": [*where.values()]}),
        manifest={"dataset": "eyes@fold2of3", "protocol": "eyes@fold2of3-1"},
    )
    monkeypatch.setattr("eegfm_bench.windows.store.WindowStore", lambda _: store)
    task = {"task": "weights", "model": "eegnet", "scale": "small", "options": {}}
    task |= {"given": str(tmp_path / "m"), "allow_partial": True, "store": "there"}
    if said is None:
        file = read_weights(tmp_path / "m")
        _refuse_people_seen(file, file.about["eegfm_bench"], Path("there"))
        return
    with pytest.raises(WeightsError, match=f"eyes@fold2of3 would score: {said}"):
        raise WeightsError(worker.handle(task, print)["error"])
    # The same windows again: who is in two parts there is the publisher's doing.
    store.manifest["protocol"] = of_folds["dataset"]["protocol"]
    file = read_weights(tmp_path / "m")
    _refuse_people_seen(file, file.about["eegfm_bench"], Path("there"))
