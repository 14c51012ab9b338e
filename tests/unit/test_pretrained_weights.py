"""What pre-training leaves: weights that load whole, and are not used on those seen."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import eegfm_bench
from eegfm_bench.cli.weights import checked_lines
from eegfm_bench.datasets._spec import find_dataset
from eegfm_bench.errors import SpecError, StoreError, WeightsError
from eegfm_bench.models._spec import InputShape, find_model
from eegfm_bench.pretraining import loop, output
from eegfm_bench.pretraining.card import losses_of
from eegfm_bench.pretraining.persons import parts_of
from eegfm_bench.sweep.launch import InlineLauncher
from eegfm_bench.sweep.options import Options
from eegfm_bench.sweep.suite import Cell
from eegfm_bench.sweep.weights import refuse_weights_early
from eegfm_bench.training import worker
from eegfm_bench.weights.files import read_weights
from eegfm_bench.weights.loading import encoder_state, load
from eegfm_bench.weights.pretrained import read_pretrained, refuse_scored
from tests.unit.small_weights import TRAINS, a_corpus, a_spec, task

SCORED = "eegmat:Subject35"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose steps are done, and nothing else."""
    folder = tmp_path_factory.mktemp("trained") / "weights"
    of = a_corpus(TRAINS)
    loop.pretrain(a_spec(of), of, folder, draw=False)
    return folder


@pytest.fixture
def made(trained: Path, tmp_path: Path) -> Path:
    """A folder of weights of one person who trains in eegmat."""
    return finished(trained, tmp_path / "weights", TRAINS)


def finished(trained: Path, folder: Path, *persons: str) -> Path:
    shutil.copytree(trained, folder)
    of = a_corpus(*persons)
    output.write_output(folder, a_spec(of), of, device="cpu")
    return folder


def test_every_tensor_of_the_encoder_is_the_trained_one_at_another_shape(
    trained: Path, made: Path
) -> None:
    expected = loop.encoder_state(trained)
    spec = find_model("trace")
    shape = InputShape(
        channels=tuple("abcdefg"), n_times=1000, rate_hz=200.0, n_classes=3
    )
    model = spec.build(shape, scale="small", options={})
    report = load(model, spec, read_weights(made))
    assert report.is_full
    assert report.matched == report.n_encoder == len(expected)
    for name, tensor in encoder_state(model).items():
        assert torch.equal(tensor, expected[name.removeprefix("encoder.")]), name


def test_a_run_records_on_what_its_weights_were_trained(made: Path) -> None:
    found = worker.handle(task(made), print)
    assert found["init"].startswith("weights-")
    seen = found["report"]["pretrained"]
    assert seen["data"] == "simulated"
    assert seen["n_persons"] == 1
    assert seen["sources"][1] == "eegmat (made-1, simulated, made)"
    check = {"task": "weights_check", "model": "trace", "given": str(made)}
    found = worker.handle({**check, "scale": None, "options": {}}, print)
    lines = "\n".join(checked_lines(found))
    assert "at scale small" in lines
    assert "pre-trained (causal) on SIMULATED recordings of 1 people" in lines


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scale": "paper"}, "at scale small; the run is at scale paper. Add --scale"),
        # An option that changes no shape.
        ({"options": {"rope_base": 500.0}}, "--set rope_base=10000.0"),
        ({"options": {"queries": 2}}, "other options than queries=2. Add --set que"),
        ({"model": "cbramod"}, "an encoder of trace.*; the run asks for cbramod"),
    ],
)
def test_weights_of_another_architecture_are_refused_in_words(
    made: Path, changes: dict[str, Any], says: str
) -> None:
    found = worker.handle(task(made, **changes), print)
    with pytest.raises(WeightsError, match=says):
        raise WeightsError(found["error"])


def test_a_head_of_ones_own_is_no_other_encoder(made: Path) -> None:
    found = worker.handle(task(made, options={"head_units": 32}), print)
    assert "error" not in found


def test_people_who_were_seen_are_not_scored_whatever_the_file_is_called(
    made: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "other-name.safetensors"
    shutil.copy(made / "model.safetensors", alone)
    for path in (made, alone):
        refuse_scored(path, "eegmat", [(TRAINS, "train"), ("eegmat:x", "test")])
        with pytest.raises(WeightsError, match=r"1 in val \(eegmat:Subject00\)"):
            refuse_scored(path, "eegmat", [(TRAINS, "val"), ("eegmat:x", "test")])


def test_a_run_that_would_score_people_seen_is_refused_before_windows_are_cut(
    trained: Path, tmp_path: Path
) -> None:
    assert parts_of(find_dataset("eegmat"), None)[SCORED] == {"test"}
    bad = finished(trained, tmp_path / "bad", TRAINS, SCORED)
    good = finished(trained, tmp_path / "good", TRAINS)
    about = worker.handle({"task": "describe", "models": ["trace"]}, print)["models"]

    def early(folder: Path) -> None:
        cell = Cell(
            model="trace",
            dataset="eegmat",
            scale="small",
            weights=str(folder),
            adapt="finetune",
        )
        options = Options(runs=tmp_path)
        refuse_weights_early(InlineLauncher(), [cell], about, options)

    early(good)
    with pytest.raises(WeightsError, match=rf"score: 1 in test \({SCORED}"):
        early(bad)


def test_windows_on_disk_are_held_against_the_people_seen_as_well(
    trained: Path, tmp_path: Path
) -> None:
    store = eegfm_bench.prepare("eegmat")
    bad = finished(trained, tmp_path / "bad", SCORED)
    found = worker.handle(task(bad, store=str(store.path)), print)
    assert "eegmat would score: 1 in test (eegmat:Subject35)" in found["error"]


def test_an_encoder_without_a_head_is_not_loaded_as_a_model(made: Path) -> None:
    with pytest.raises(WeightsError, match="has no head and no classes"):
        eegfm_bench.load(made)


def test_a_changed_header_is_refused(made: Path, tmp_path: Path) -> None:
    data = (made / "model.safetensors").read_bytes()
    other = tmp_path / "other.safetensors"
    other.write_bytes(data.replace(rb"\"persons\":", rb"\"parsons\":", 1))
    with pytest.raises(WeightsError, match="'persons' of what its header says"):
        read_pretrained(other)
    other.write_bytes(data[:40])
    assert read_pretrained(other) is None


def test_the_folder_holds_what_was_promised_and_no_checkpoint(made: Path) -> None:
    names = {path.name for path in made.iterdir()}
    assert names == {
        *("model.safetensors", "config.json", "README.md", "persons.json"),
        *("spec.json", "journal.csv", "experts.csv", "objective"),
    }
    people = json.loads((made / "persons.json").read_text(encoding="utf-8"))
    assert people["eyes"]["left_out"] == {"eegmmidb:S100": "test of eyes"}
    heads = load_file(made / "objective" / "heads.safetensors")
    assert heads
    assert all(name.startswith("heads.") for name in heads)


def test_the_card_says_who_what_and_how(made: Path) -> None:
    text = (made / "README.md").read_text(encoding="utf-8")
    (all_h1, *_) = losses_of(made, a_spec(a_corpus(TRAINS)))
    for words in (
        "SIMULATED",
        "| eegmat | `made-1` |",
        "1 people, each by name",
        "Left out of eyes, as they are scored elsewhere: 1 people (eegmmidb:S100)",
        "Not known: tuev: unnamed people",
        f"| all | h1 | {all_h1['start']:.4g} | {all_h1['end']:.4g} |",
        "| warmup_steps | 1 | changed |",
        "--scale small --dataset DATASET --weights FOLDER --adapt probe",
        "![losses]" if (made / "losses.png").exists() else "journal.csv",
    ):
        assert words in text, words
    assert str(made.parent) not in text


def test_a_full_disk_leaves_no_weights_and_the_same_command_finishes(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(trained, folder)
    of = a_corpus(TRAINS)
    rename = Path.rename

    def full(self: Path, target: Any) -> Any:
        if Path(target).name == "model.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        with pytest.raises(StoreError, match="is full, so the weights were not saved"):
            output.write_output(folder, a_spec(of), of, device="cpu")
    assert not (folder / "model.safetensors").exists()
    assert not list(folder.glob(".new-*"))
    assert not output.is_done(folder, a_spec(of))
    output.write_output(folder, a_spec(of), of, device="cpu")
    assert output.is_done(folder, a_spec(of))


def test_unfinished_or_damaged_weights_are_not_written(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(trained, folder)
    of = a_corpus(TRAINS)
    with pytest.raises(StoreError, match="has 4 of 9 steps"):
        output.write_output(folder, a_spec(of, steps=9), of, device="cpu")
    state, _ = output.read_checkpoint(folder / "checkpoints")
    assert state is not None
    next(iter(state["objective"].values()))[...] = float("nan")
    monkeypatch.setattr(output, "read_checkpoint", lambda _: (state, []))
    with pytest.raises(WeightsError, match="not finite"):
        output.write_output(folder, a_spec(of), of, device="cpu")
    assert not (folder / "model.safetensors").exists()


def test_weights_of_another_question_are_told_apart(made: Path) -> None:
    of = a_corpus(TRAINS)
    assert output.is_done(made, a_spec(of))
    with pytest.raises(SpecError, match="steps is 9, was 4"):
        output.is_done(made, a_spec(of, steps=9))
