"""What workers do about weights, and what the verb prints of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from eegfm_bench.cli import weights as verb
from eegfm_bench.cli.app import app
from eegfm_bench.errors import BenchError, SpecError, WeightsError
from eegfm_bench.models._spec import find_model
from eegfm_bench.training.weights_task import (
    about_weights,
    check_weights,
    resolve_weights,
)
from eegfm_bench.weights.loading import USUAL, encoder_state

ASKED = {"channels": None, "n_times": None, "dataset": None, "options": {}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small CBraMod's encoder, as others name its tensors."""
    folder = tmp_path_factory.mktemp("saved")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = find_model("cbramod").build(USUAL, scale="small")
    state = {n.removeprefix("net."): t for n, t in encoder_state(model).items()}
    torch.save(state, folder / "whole.pth")
    name = next(iter(state))
    torch.save({f"new.{name}": state.pop(name), **state}, folder / "renamed.pth")
    return folder


def check(path: Path, **asked: Any) -> Any:
    task = {"model": "cbramod", "given": str(path), "scale": "small", **ASKED, **asked}
    found = check_weights(task, None)
    json.dumps(found, allow_nan=False)
    return found


def test_a_whole_file_is_full_at_any_datasets_shape_and_says_its_init(
    folder: Path,
) -> None:
    found = check(folder / "whole.pth", dataset="isruc")
    lines = "\n".join(verb.checked_lines(found))
    assert (found["is_full"], found["refused"]) == (True, None)
    assert (found["n_channels"], found["n_times"]) == (6, 6000)
    assert f"FULL: runs with it say init {found['init']}" in lines
    assert found["report"]["probe_difference"] > 1e-3
    found = check(folder / "whole.pth", channels=["a", "b"], n_times=400)
    assert (found["is_full"], found["n_channels"], found["n_times"]) == (True, 2, 400)


def test_a_renamed_tensor_is_shown_on_both_sides_with_what_a_run_would_say(
    folder: Path,
) -> None:
    found = check(folder / "renamed.pth")
    lines = verb.checked_lines(found)
    assert not found["is_full"]
    assert "        net.patch_embedding.positional_encoding.0.weight" in lines
    assert "        new.patch_embedding.positional_encoding.0.weight" in lines
    assert lines[-1].endswith("+partial")
    assert lines[-2].startswith("NOT LOADED")


def test_the_task_of_a_run_gives_what_its_spec_and_its_record_need(
    folder: Path,
) -> None:
    task = {
        "model": "cbramod",
        "scale": "small",
        "options": {},
        "given": str(folder / "renamed.pth"),
        "store": None,
        "allow_partial": False,
    }
    with pytest.raises(WeightsError, match="--allow-partial-weights"):
        resolve_weights(task, None)
    state = torch.get_rng_state()
    out = resolve_weights({**task, "allow_partial": True, "dataset": "eegmat"}, None)
    assert torch.equal(torch.get_rng_state(), state)
    assert out["init"].endswith("+partial")
    assert out["path"] == str(folder / "renamed.pth")
    assert out["report"]["file"] == "renamed.pth"
    assert str(folder) not in json.dumps(out["report"])


def test_a_model_without_an_encoder_is_refused_before_any_file_is_sought() -> None:
    with pytest.raises(BenchError, match="bandpower cannot start from weights"):
        check(Path("/nowhere"), model="bandpower")


def test_the_verb_leaves_with_0_if_full_and_1_if_not_and_asks_for_a_file_to_check(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = {"weights_check": check_weights, "weights_about": about_weights}
    monkeypatch.setattr(verb, "_work", lambda task: tasks[task["task"]](task, None))

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, ["weights", "cbramod", *words])

    whole = run(str(folder / "whole.pth"), "--scale", "small", "--json")
    assert (whole.exit_code, json.loads(whole.stdout)["is_full"]) == (0, True)
    renamed = run(str(folder / "renamed.pth"), "--scale", "small")
    assert (renamed.exit_code, "NOT LOADED" in renamed.stdout) == (1, True)
    assert "--weights hub, hub:source" in run().stdout
    refused = run("--n-times", "400")
    assert isinstance(refused.exception, SpecError)
    assert "--n-times is for checking a file" in str(refused.exception)
