"""Files in every public layout, written as their authors write them, load in full."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from eegfm_bench.errors import WeightsError
from eegfm_bench.models._braindecode import braindecode_models
from eegfm_bench.models._spec import InputShape, ModelSpec, find_model
from eegfm_bench.models.biot import PAIRS_16, PAIRS_18
from eegfm_bench.weights.files import WeightsFile, read_weights
from eegfm_bench.weights.loading import load

PARITY = Path(__file__).parents[1] / "parity"


def _script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, PARITY / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


remake = _script("remake_keys")
# The encoder is the same under a small head, which is quicker to build.
SMALL_HEAD = {"cbramod": {"head": "pooled"}, "codebrain": {"head": "pooled"}}
UNIPOLAR = ("Fp1", "F3", "C3", "P3", "O1", "Fp2", "F4", "C4", "P4", "O2", "T3", "A1")
SLEEP = ("F3-A2", "C3-A2", "O1-A2", "F4-A1", "C4-A1", "O2-A1")
SHAPES = {"eegmat": (UNIPOLAR, 1000), "isruc": (SLEEP, 6000), "tuev": (PAIRS_16, 1000)}

# Family, list of tensors in its figures, whether they come as a folder of the hub.
PUBLIC = (
    ("cbramod", "source", False),
    ("cbramod", "braindecode", True),
    ("labram", "source", False),
    ("labram", "braindecode", True),
    ("biot", "source 16", False),
    ("biot", "source 18", False),
    ("biot", "braindecode 18", True),
    ("codebrain", "source", False),
    ("codebrain", "braindecode", True),
)


def public_tensors(family: str, listed: str) -> dict[str, Tensor]:
    """Draw tensors as a figure lists them, but for CodeBrain's head of 360 MB."""
    lists = json.loads((remake.FIGURES / f"{family}_keys.json").read_text())
    layout = {n: t for n, t in lists[listed].items() if " 114000" not in t}
    state: dict[str, Tensor] = remake.drawn(layout)
    for name in [n for n in state if n.endswith("kernel_norm")]:
        state[name] = state[name].abs() + 1
    return state


def as_labram_writes(path: Path, state: dict[str, Tensor]) -> None:
    """Write what its training saves: options and numpy's numbers beside the model."""
    groups = [{"lr": np.float64(5e-4), "params": [0]}]
    args = argparse.Namespace(model="labram_base_patch200_1600_8k_vocab", lr=5e-4)
    torch.save(
        {"model": state, "optimizer": {"param_groups": groups}, "epoch": 49}
        | {"args": args},
        path,
    )
    # numpy 1, of that time, called its module otherwise.
    held = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(held) as old, zipfile.ZipFile(path, "w") as new:
        for item in old.infolist():
            data = old.read(item).replace(b"cnumpy._core.mul", b"cnumpy.core.mul")
            new.writestr(item.filename, data)


def written(folder: Path, family: str, state: dict[str, Tensor], is_hub: bool) -> Path:
    """Write a file, or a hub's folder, in the container of its authors."""
    if is_hub:
        safetensors.torch.save_file(state, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"sfreq": 200}))
        return folder
    path = folder / "weights.pth"
    (as_labram_writes if family == "labram" else lambda p, s: torch.save(s, p))(
        path, state
    )
    return path


def known_as(spec: ModelSpec, file: WeightsFile, key: str) -> ModelSpec:
    """The family, one of whose public files is this one."""
    public = tuple(
        dataclasses.replace(each, sha256=file.sha256) if each.key == key else each
        for each in spec.weights.public
    )
    weights = dataclasses.replace(spec.weights, public=public)
    return dataclasses.replace(spec, weights=weights)


def built(spec: ModelSpec, channels: tuple[str, ...], n_times: int, **more: Any) -> Any:
    shape = InputShape(channels=channels, n_times=n_times, rate_hz=200, n_classes=2)
    torch.manual_seed(1)
    return spec.build(shape, options={**SMALL_HEAD.get(spec.name, {}), **more}).eval()


def noise(channels: tuple[str, ...], n_times: int) -> Tensor:
    random = torch.Generator().manual_seed(2)
    return 30 * torch.randn(2, len(channels), n_times, generator=random)


@pytest.mark.parametrize(("family", "listed", "is_hub"), PUBLIC)
def test_a_public_file_loads_in_full_at_every_shape(
    tmp_path: Path, family: str, listed: str, is_hub: bool
) -> None:
    file = read_weights(
        written(tmp_path, family, public_tensors(family, listed), is_hub)
    )
    spec = find_model(family)
    if family == "biot":
        spec = known_as(spec, file, "prest-16" if "16" in listed else "shhs-prest-18")
    # Of the others no tensor's shape depends on the windows'.
    named = (
        SHAPES if family in ("labram", "biot") else ("eegmat", "isruc")[: 2 - is_hub]
    )
    for channels, n_times in map(SHAPES.__getitem__, named):
        model = built(spec, channels, n_times)
        report = load(model, spec, file)
        assert report.is_full
        assert report.layout.split(",")[0] == (
            "source" if family == "cbramod" else listed.split()[0]
        )
        assert report.matched + len(report.reshaped) + len(report.fresh) == (
            report.n_encoder
        )
        assert {n.partition(".")[0] for n in report.fresh} == (
            {"fc_norm"} if family == "labram" else set()
        )


@pytest.mark.parametrize("family", ["cbramod", "labram", "biot"])
def test_loaded_features_are_not_those_of_the_random_start(
    tmp_path: Path, family: str
) -> None:
    listed = "source 16" if family == "biot" else "source"
    file = read_weights(
        written(tmp_path, family, public_tensors(family, listed), False)
    )
    spec = find_model(family)
    report = load(built(spec, PAIRS_16, 400), spec, file, probe_x=noise(PAIRS_16, 400))
    assert report.probe_difference is not None
    assert report.probe_difference > 0.01


def reshaped_at(tmp_path: Path, family: str, listed: str, shape: str, key: str) -> str:
    file = read_weights(
        written(tmp_path, family, public_tensors(family, listed), False)
    )
    spec = known_as(find_model(family), file, key)
    report = load(built(spec, *SHAPES[shape]), spec, file)
    return "\n".join(report.reshaped)


def test_what_labram_starts_anew_is_listed(tmp_path: Path) -> None:
    said = reshaped_at(tmp_path, "labram", "source", "isruc", "base")
    assert "time_embed: (1, 16, 200) to (1, 30, 200), rows 17 to 30 started" in said
    assert "pos_embed: (1, 129, 200) to (1, 135, 200), published rows kept" in said
    places = next(line for line in said.splitlines() if line.startswith("pos_embed"))
    assert "anew" not in places


def test_what_biot_starts_anew_is_listed(tmp_path: Path) -> None:
    said = reshaped_at(tmp_path, "biot", "source 18", "isruc", "shhs-prest-18")
    assert "4 started anew: F3-A2, O1-A2, F4-A1, O2-A1" in said


def test_rows_of_biot_are_refused_where_nobody_names_them(tmp_path: Path) -> None:
    state = public_tensors("biot", "source 18")
    file = read_weights(written(tmp_path, "biot", state, False))
    spec = find_model("biot")
    with pytest.raises(WeightsError, match=r"channel_tokens\.weight"):
        load(built(spec, UNIPOLAR, 1000), spec, file)
    report = load(built(spec, PAIRS_18, 1000), spec, file)
    assert "by position" in report.reshaped[0]


@pytest.mark.parametrize("order", [PAIRS_16, PAIRS_16[::-1]], ids=["same", "other"])
@torch.no_grad()
def test_biots_outputs_are_its_public_codes_whatever_the_channels_order(
    tmp_path: Path, order: tuple[str, ...]
) -> None:
    script, case = _script("remake_biot"), "ten seconds"
    figures = json.loads(script.FIGURES.read_text())[case]
    spec = find_model("biot")
    blank = built(spec, PAIRS_16, 2000).state_dict()
    state = {}
    for index, name in enumerate(sorted(figures["shapes"])):
        value = blank.get(name.replace("biot.", "encoder.", 1), torch.tensor(0.0))
        shaped = value.double().expand(figures["shapes"][name])
        state[name] = script.drawn(name, shaped, index).clone()
    encoder = {n[5:]: v for n, v in state.items() if n.startswith("biot.")}
    file = read_weights(written(tmp_path, "biot", encoder, False))
    spec = known_as(spec, file, "prest-16")
    # T7 is T3 by its old name.
    model = built(spec, tuple(n.replace("T7", "T3") for n in order), 2000).double()
    assert load(model, spec, file).is_full
    at = [PAIRS_16.index(name) for name in order]
    features = model.features(script.windows(16, 2000)[:, at])
    wanted = torch.tensor(figures["features"], dtype=torch.float64)
    torch.testing.assert_close(features[:, ::7], wanted, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_labrams_outputs_are_its_public_codes(tmp_path: Path) -> None:
    script = _script("remake_labram")
    case, channels, n_patches, depth, _, _ = script.CASES[3]
    figures = json.loads(script.FIGURES.read_text())[case]
    state = {
        name: script.drawn(name, torch.Size(figures["shapes"][name]), index)
        for index, name in enumerate(sorted(figures["shapes"]))
    }
    norm = {n: state.pop(n) for n in list(state) if n.startswith(("fc_norm", "head"))}
    student = {f"student.{name}": value for name, value in state.items()}
    beside = {"lm_head.weight": torch.ones(9, 200), "logit_scale": torch.ones(())}
    file = read_weights(written(tmp_path, "labram", student | beside, False))
    spec = find_model("labram")
    model = built(spec, channels, 200 * n_patches, num_layers=depth).double()
    assert load(model, spec, file).is_full
    model.fc_norm.load_state_dict(
        {n.removeprefix("fc_norm."): v for n, v in norm.items() if "fc_norm" in n}
    )
    features = model.features(script.windows(len(channels), n_patches))
    wanted = torch.tensor(figures["features"], dtype=torch.float64)
    torch.testing.assert_close(features[:, ::7], wanted, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_cbramods_outputs_are_its_public_codes(tmp_path: Path) -> None:
    script = _script("remake_cbramod")
    file_name, n_channels, n_patches, _, dtype = script.CASES[0]
    figures = json.loads(script.FIGURES.read_text())[f"{file_name} {dtype}"]
    state = {
        name: script.drawn(f"backbone.{name}", tuple(value.shape)).float()
        for name, value in public_tensors("cbramod", "source").items()
    }
    file = read_weights(written(tmp_path, "cbramod", state, False))
    spec, channels = find_model("cbramod"), tuple(f"E{c}" for c in range(n_channels))
    model = built(spec, channels, 200 * n_patches).double()
    assert load(model, spec, file).is_full
    encoded = model.tokens(script.windows(n_channels, n_patches)).flatten(1)
    wanted = torch.tensor(figures["encoded"], dtype=torch.float64)
    torch.testing.assert_close(encoded[:, :: script.KEPT], wanted, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_codebrains_outputs_are_those_of_braindecode_given_the_same_file(
    tmp_path: Path,
) -> None:
    state = public_tensors("codebrain", "source")
    # Of the size of a start, so that nothing saturates.
    state = {
        n: v * 0.1 if v.ndim > 1 and "norm" not in n else v for n, v in state.items()
    }
    file = read_weights(written(tmp_path, "codebrain", state, False))
    spec, channels = find_model("codebrain"), ("A", "B", "C")
    model, x = built(spec, channels, 600), noise(channels, 600)
    report = load(model, spec, file, probe_x=x)
    assert report.is_full
    assert report.probe_difference is not None
    assert report.probe_difference > 0.01
    reference = braindecode_models().CodeBrain(
        n_chans=3, n_times=600, n_outputs=2, sfreq=200
    )
    reference.load_state_dict(state, strict=False)
    wanted = reference.eval()(x / 100, return_features=True)["features"]
    assert wanted.std() > 0.1
    torch.testing.assert_close(model.tokens(x), wanted, rtol=1e-3, atol=1e-4)


def test_renamed_tensors_are_refused_and_nothing_is_loaded(tmp_path: Path) -> None:
    for family in ("labram", "cbramod"):
        state = public_tensors(family, "source")
        state = {n.replace("s.0.", "s.zero."): v for n, v in state.items()}
        file = read_weights(written(tmp_path, family, state, False))
        spec = find_model(family)
        model = built(spec, UNIPOLAR, 400)
        before = {n: v.clone() for n, v in model.state_dict().items()}
        with pytest.raises(WeightsError, match=r"s\.0\."):
            load(model, spec, file)
        after = model.state_dict()
        assert all(torch.equal(after[name], v) for name, v in before.items())
