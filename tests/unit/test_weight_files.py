"""A file of weights is read whole, or refused for what it is; nothing in it runs."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from eegfm_bench.errors import WeightsError
from eegfm_bench.weights.files import read_weights

TENSORS = {
    "layer.weight": torch.arange(6.0).reshape(2, 3),
    "layer.bias": torch.tensor([0.5, -1.0]),
    "norm.num_batches_tracked": torch.tensor(7),
}


def saved(path: Path, held: Any = None, **how: Any) -> Path:
    torch.save(TENSORS if held is None else held, path, **how)
    return path


def as_safetensors(path: Path, tensors: dict[str, torch.Tensor] = TENSORS) -> Path:
    safetensors.torch.save_file(tensors, path)
    return path


def holds(path: Path) -> str:
    """Check that a file gives the tensors, and return what it was wrapped in."""
    file = read_weights(path)
    assert set(file.tensors) == set(TENSORS)
    assert all(torch.equal(file.tensors[name], TENSORS[name]) for name in TENSORS)
    assert file.sha256 == hashlib.sha256(file.path.read_bytes()).hexdigest()
    return file.container


def refused(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        read_weights(path)
    assert path.name in str(caught.value)
    return str(caught.value)


def test_safetensors_and_both_kinds_of_torch_files_give_the_same_tensors(
    tmp_path: Path,
) -> None:
    assert holds(as_safetensors(tmp_path / "a.safetensors")) == "safetensors"
    assert holds(saved(tmp_path / "a.pth")) == "torch zip file"
    legacy = saved(tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    assert holds(legacy) == "torch legacy file"


def test_what_a_file_is_is_told_by_its_bytes_and_not_by_its_ending(
    tmp_path: Path,
) -> None:
    assert holds(as_safetensors(tmp_path / "a.pth")) == "safetensors"


def test_git_knows_a_file_by_the_name_that_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(safetensors.torch.save(TENSORS))
    data = (tmp_path / "a.safetensors").read_bytes()
    expected = hashlib.sha1(b"blob " + str(len(data)).encode() + b"\0" + data)
    assert read_weights(tmp_path / "a.safetensors").git_blob == expected.hexdigest()


def test_a_lightning_checkpoint_is_unwrapped_and_says_what_was_passed_over(
    tmp_path: Path,
) -> None:
    inner = {f"model.{name}": tensor for name, tensor in TENSORS.items()}
    held = {"state_dict": inner, "epoch": 3, "optimizer_states": [{"state": {}}]}
    said = holds(saved(tmp_path / "last.ckpt", held))
    assert "unwrapped 'state_dict'" in said
    assert "passed over epoch, optimizer_states" in said
    assert "without 'model.' before every name" in said


def test_prefixes_of_wrappers_fall_only_where_every_name_has_them(
    tmp_path: Path,
) -> None:
    inner = {f"module._orig_mod.{name}": tensor for name, tensor in TENSORS.items()}
    file = read_weights(saved(tmp_path / "a.pth", {"model": {"net": inner}}))
    assert (set(file.tensors), file.stripped) == (set(TENSORS), "module._orig_mod.")
    mixed = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert set(read_weights(saved(tmp_path / "b.pth", mixed)).tensors) == set(mixed)


def test_the_options_a_script_was_started_with_are_passed_over(tmp_path: Path) -> None:
    held = {"model": TENSORS, "args": argparse.Namespace(lr=1e-3, name="base")}
    assert "passed over args" in holds(saved(tmp_path / "a.pth", held))


class Evil:
    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)

    mark = ""


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_malicious_pickle_is_refused_by_name_and_nothing_of_it_runs(
    tmp_path: Path, is_zip: bool
) -> None:
    evil = Evil()
    Evil.mark = str(tmp_path / "ran")
    path = tmp_path / "evil.pth"
    torch.save(
        {"model": TENSORS, "x": evil}, path, _use_new_zipfile_serialization=is_zip
    )
    said = refused(path)
    assert "posix.system" in said
    assert "Nothing of it was run" in said
    assert not (tmp_path / "ran").exists()


def test_a_malicious_value_inside_the_options_of_a_script_is_refused_too(
    tmp_path: Path,
) -> None:
    Evil.mark = str(tmp_path / "ran")
    held = {"model": TENSORS, "args": argparse.Namespace(x=Evil())}
    assert "posix.system" in refused(saved(tmp_path / "evil.pth", held))
    assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_module_is_refused_with_the_way_to_save_its_tensors(
    tmp_path: Path,
) -> None:
    said = refused(saved(tmp_path / "a.pth", torch.nn.Linear(2, 2)))
    assert "torch.nn.modules.linear.Linear" in said
    assert "torch.save(model.state_dict()" in said


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_a_file_cut_short_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / "a.bin"
    if kind == "safetensors":
        as_safetensors(path)
    else:
        saved(path, _use_new_zipfile_serialization=kind == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert "Download or copy it again" in refused(path)


def test_a_changed_byte_in_a_zip_file_is_seen_by_its_check_sum(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth")
    data = bytearray(path.read_bytes())
    at = bytes(data).index(torch.arange(6.0).numpy().tobytes())
    data[at] ^= 1
    path.write_bytes(data)
    assert "check sum" in refused(path)


def test_a_safetensors_header_that_lies_about_its_length_is_refused(
    tmp_path: Path,
) -> None:
    path = as_safetensors(tmp_path / "a.safetensors")
    data = path.read_bytes()
    path.write_bytes(data + b"\0" * 8)
    assert "is longer than it says" in refused(path)
    path.write_bytes((50_000_000).to_bytes(8, "little") + data[8:])
    assert "is cut short" in refused(path)
    path.write_bytes((1 << 62).to_bytes(8, "little") + data[8:])
    assert "is cut short" in refused(path)


def test_a_name_given_twice_in_a_header_is_refused(tmp_path: Path) -> None:
    one = '{"dtype":"F32","shape":[1],"data_offsets":[%d,%d]}'
    header = ('{"a":' + one % (0, 4) + ',"a":' + one % (4, 8) + "}").encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)
    assert "'a' twice" in refused(path)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid x", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><title>Log in</title>", "web page"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 9, "HDF5"),
        (b'{"error": "not found"}', "begins with"),
    ],
)
def test_what_lies_in_the_place_of_weights_is_called_by_its_name(
    tmp_path: Path, data: bytes, expected: str
) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    assert expected in refused(path)


def test_a_torchscript_program_and_a_compressed_file_are_refused(
    tmp_path: Path,
) -> None:
    for name, how, expected in (
        ("a/code/__torch__.py", zipfile.ZIP_STORED, "TorchScript"),
        ("a/data.pkl", zipfile.ZIP_DEFLATED, "compressed"),
    ):
        path = tmp_path / "a.pt"
        with zipfile.ZipFile(path, "w", how) as archive:
            archive.writestr(name, b"x" * 100)
        assert expected in refused(path)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused_by_its_tensors_name(
    tmp_path: Path, bad: float
) -> None:
    held = {**TENSORS, "layer.bias": torch.tensor([0.0, bad])}
    assert "layer.bias hold NaN or infinite" in refused(saved(tmp_path / "a.pth", held))


def test_tensors_that_are_no_plain_numbers_are_refused(tmp_path: Path) -> None:
    sparse = {"a": torch.eye(3).to_sparse()}
    assert "'a' is sparse" in refused(saved(tmp_path / "a.pth", sparse))
    huge = {"a": torch.zeros(1).expand(1 << 40)}
    assert "claims 4,398,046,511,104 bytes and has 4" in refused(
        saved(tmp_path / "b.pth", huge)
    )


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ([torch.ones(1)], "holds a list"),
        (torch.ones(1), "holds a Tensor"),
        ({}, "but nothing"),
        ({"epoch": 3}, "but 'epoch'"),
        ({"weights": {"a": torch.ones(1)}}, "but 'weights'"),
        ({1: torch.ones(1)}, "is called 1"),
        ({"model": TENSORS, "net": TENSORS}, "'model' and 'net'"),
    ],
)
def test_a_file_without_tensors_by_name_says_what_it_has_instead(
    tmp_path: Path, held: Any, expected: str
) -> None:
    assert expected in refused(saved(tmp_path / "a.pth", held))


def test_a_dictionary_that_holds_itself_does_not_hang_the_reader(
    tmp_path: Path,
) -> None:
    held: dict[str, Any] = {}
    held["model"] = held
    assert "no tensors by name" in refused(saved(tmp_path / "a.pth", held))


def test_a_folder_of_the_hub_gives_its_tensors_and_its_config(tmp_path: Path) -> None:
    as_safetensors(tmp_path / "model.safetensors")
    (tmp_path / "README.md").write_text("card")
    (tmp_path / "config.json").write_text(json.dumps({"n_chans": 19}))
    assert holds(tmp_path) == "safetensors"
    assert read_weights(tmp_path).about == {"n_chans": 19}
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json: is not JSON"):
        read_weights(tmp_path)


def test_a_folder_with_no_two_or_sharded_files_is_refused_with_their_names(
    tmp_path: Path,
) -> None:
    assert "holds no file of weights" in refused(tmp_path)
    as_safetensors(tmp_path / "model.safetensors")
    saved(tmp_path / "pytorch_model.bin")
    assert "(model.safetensors, pytorch_model.bin)" in refused(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    assert "in several files" in refused(tmp_path)


def test_a_path_to_nothing_and_to_a_pipe_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "absent.pth")
    os.mkfifo(tmp_path / "pipe.pth")
    assert "no ordinary file" in refused(tmp_path / "pipe.pth")


def test_a_plain_pickle_of_old_is_refused_without_being_run(tmp_path: Path) -> None:
    Evil.mark = str(tmp_path / "ran")
    buffer = io.BytesIO()
    pickle.dump(Evil(), buffer)
    (tmp_path / "a.bin").write_bytes(buffer.getvalue())
    refused(tmp_path / "a.bin")
    assert not (tmp_path / "ran").exists()
