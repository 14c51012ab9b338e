"""A saved model is the model: whole, the same to the last bit, or refused."""

from __future__ import annotations

import errno
import getpass
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import eegfm_bench
from eegfm_bench.datasets._prepare import dataset_ref, prepare
from eegfm_bench.datasets._spec import find_dataset
from eegfm_bench.errors import WeightsError
from eegfm_bench.models._probed import Probed
from eegfm_bench.models._spec import InputShape, find_model, model_names
from eegfm_bench.runs.spec import RunSpec
from eegfm_bench.training.fit import fit
from eegfm_bench.weights import folder as writing
from eegfm_bench.weights.files import read_weights
from eegfm_bench.weights.folder import load_folder, write_folder
from eegfm_bench.weights.loading import encoder_state, load, match
from eegfm_bench.weights.saved import APART, CARD, CONFIG, TENSORS, read_saved

CHANNELS = ("FP1-F7", "F7-T7", "T7-P7", "P7-O1", "FP2-F8", "F8-T8", "T8-P8", "P8-O2")
SHAPE = InputShape(channels=CHANNELS, n_times=600, rate_hz=200.0, n_classes=3)


def moved(name: str, shape: InputShape = SHAPE, **options: Any) -> Any:
    """A model none of whose numbers is what a fresh one has."""
    torch.manual_seed(0)
    model = find_model(name).build(shape, scale="small", options=options)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            noise = torch.rand(tensor.shape, generator=random)
            if tensor.is_floating_point():
                tensor.mul_(1 + 0.1 * noise).add_(0.01 * noise)
            elif tensor.dtype == torch.int64:
                tensor.add_(3)
    return model


def windows(shape: InputShape = SHAPE) -> torch.Tensor:
    sequence = (shape.sequence,) if shape.sequence > 1 else ()
    random = torch.Generator().manual_seed(2)
    size = (2, *sequence, shape.n_channels, shape.n_times)
    return 20 * torch.randn(size, generator=random)


def save(
    at: Path, name: str, shape: InputShape = SHAPE, card: Any = None, **options: Any
) -> Any:
    model = moved(name, shape, **options)
    write_folder(
        at, model, find_model(name), shape, scale="small", options=options,
        card=card or {},
    )  # fmt: skip
    return model


@pytest.mark.parametrize("sequence", [1, 3])
@pytest.mark.parametrize("name", [*model_names(), "braindecode:ShallowFBCSPNet"])
def test_every_model_comes_back_with_the_same_logits(
    name: str, sequence: int, tmp_path: Path
) -> None:
    shape = replace(SHAPE, sequence=sequence)
    at = tmp_path / "model"
    model = save(at, name, shape).eval()
    before = torch.random.get_rng_state()
    back = eegfm_bench.load(at)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not any(module.training for module in back.modules())
    with torch.inference_mode():
        assert torch.equal(back(windows(shape)), model(windows(shape)))
    found, wanted = back.state_dict(), model.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    assert {file.name for file in at.iterdir()} - {"eegfm_bench.json"} == {
        *(TENSORS, CONFIG, CARD)
    }


@pytest.mark.parametrize(
    "name", [n for n in model_names() if find_model(n).trained_by == "gradient"]
)
def test_its_encoder_is_a_start_for_other_windows(name: str, tmp_path: Path) -> None:
    model = save(tmp_path / "model", name)
    other = find_model(name).build(
        replace(SHAPE, n_classes=5, sequence=2), scale="small"
    )
    report = load(
        other, find_model(name), read_weights(tmp_path / "model"),
        probe_x=windows(replace(SHAPE, sequence=2)),
    )  # fmt: skip
    about = read_weights(tmp_path / "model").about["eegfm_bench"]
    assert tuple(about["channels"]) == CHANNELS
    assert report.is_full, report
    assert report.reshaped == ()
    wanted = encoder_state(model)
    found = encoder_state(other)
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("sequence", [1, 3])
@pytest.mark.parametrize("name", ["eegnet", "cbramod", "labram"])
def test_a_probe_comes_back_with_its_own_head(
    name: str, sequence: int, tmp_path: Path
) -> None:
    shape, spec = replace(SHAPE, sequence=sequence), find_model(name)
    probed = Probed(moved(name, shape), shape).eval()
    write_folder(
        tmp_path / "m", probed, spec, shape, scale="small", options={}, card={}
    )
    back = load_folder(tmp_path / "m")
    with torch.inference_mode():
        assert torch.equal(back(windows(shape)), probed(windows(shape)))
    fresh = spec.build(SHAPE, scale="small")
    assert match(fresh, spec, read_weights(tmp_path / "m")).report.is_full
    is_encoder = name == "cbramod"  # whose encoder braindecode takes by itself
    assert (read_saved(tmp_path / "m").layout == "braindecode") == is_encoder


def test_a_start_that_cannot_fit_is_not_called_full(tmp_path: Path) -> None:
    save(tmp_path / "model", "eegnet")
    more = replace(SHAPE, channels=(*CHANNELS, "Fz"))
    other = find_model("eegnet").build(more, scale="small")
    found = match(other, find_model("eegnet"), read_weights(tmp_path / "model"))
    assert not found.report.is_full


def test_equal_models_are_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / name, "labram")
    for file in (TENSORS, CONFIG, CARD):
        a, b = ((tmp_path / name / file).read_bytes() for name in "ab")
        assert a == b


def test_training_goes_on_as_it_was(tmp_path: Path) -> None:
    model = moved("eegnet").train()
    model.net.drop_1.eval()
    state = torch.random.get_rng_state()
    spec = find_model("eegnet")
    write_folder(tmp_path / "m", model, spec, SHAPE, scale="small", options={}, card={})
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.net.drop_2.training
    assert not model.net.drop_1.training


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path, Any]:
    """A run on simulated recordings, and the folder of what it tested."""
    store, recipes = prepare("eyes"), find_model("eegnet").recipes
    recipe = recipes["small"].model_copy(update={"epochs": 1})
    spec = RunSpec(
        dataset=dataset_ref(store), model="eegnet", scale="small", seed=0,
        recipe=recipe,
    )  # fmt: skip
    at = tmp_path_factory.mktemp("finished") / "model"
    record, predictions = fit(spec, store, keep=at)
    return record, store, at, predictions


def test_the_card_says_what_it_learnt_from_and_how_it_was_tested(
    finished: tuple[Any, Any, Path, Any],
) -> None:
    record, store, at, _ = finished
    text = (at / CARD).read_text()
    _, front, body = text.split("---\n", 2)
    hub = yaml.safe_load(front)
    assert hub["library_name"] == "braindecode"
    assert {"eeg", "eegnet", "eyes", "simulated-data"} <= set(hub["tags"])
    assert hub["license"]
    first = body.strip().splitlines()[2]
    assert "SIMULATED" in first
    assert record.spec.dataset.protocol in first
    value = record.scores["test"]["balanced_accuracy"]
    assert f"{value:.4f}" in body
    assert f"test (n = {store.counts()['test']:,})" in body
    assert ", ".join(store.manifest["recipe"]["channels"]) in body
    assert record.run_id in body
    assert find_dataset("eyes").licence in body
    for part in ("train", "val", "test"):
        people = set(store.index["person"][store.rows(part)])
        line = re.search(rf"- \*\*{part}\*\* \((\d+)\): (.*)", body)
        assert line is not None
        assert set(line[2].split(", ")) == people
        assert read_saved(at).persons[part] == tuple(sorted(people))


def test_what_was_tested_is_what_was_kept(
    finished: tuple[Any, Any, Path, Any],
) -> None:
    _, store, at, predictions = finished
    rows = store.rows("test")[:32]
    with torch.inference_mode():
        logits = load_folder(at)(torch.from_numpy(store.take(rows)))
    found = torch.softmax(logits.double(), -1)
    wanted = predictions[["score_0", "score_1"]].to_numpy()[:32]
    # Batches of another size round differently.
    torch.testing.assert_close(found, torch.from_numpy(wanted), rtol=1e-5, atol=1e-6)


def test_no_place_and_no_user_is_named(
    finished: tuple[Any, Any, Path, Any],
) -> None:
    for file in (CARD, CONFIG, APART):
        text = (finished[2] / file).read_text()
        assert getpass.getuser() not in re.split(r"[\s/`]", text)
        assert "/tmp" not in text
        assert str(Path.home()) not in text


def test_the_cards_python_works_as_printed(tmp_path: Path) -> None:
    at = tmp_path / "m"
    save(at, "trace")
    (code,) = re.findall(r"```python\n(.*?)```", (at / CARD).read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("FOLDER", str(at)), names)
    assert names["logits"].shape == (2, 3)


def test_all_options_are_kept_not_only_changed_ones(tmp_path: Path) -> None:
    save(tmp_path / "m", "biot", embed_dim=32)
    saved = read_saved(tmp_path / "m")
    assert saved.options == {**find_model("biot").options_at("small"), "embed_dim": 32}


class Full:
    """A disk with room for a few files."""

    def __init__(self, n_files: int, error: BaseException) -> None:
        self.left, self.error, self.write = n_files, error, writing._write

    def __call__(self, file: Path, content: Any) -> None:
        if not self.left:
            file.write_bytes(b"half")
            raise self.error
        self.left -= 1
        self.write(file, content)


@pytest.mark.parametrize("n_files", [0, 1, 2])
@pytest.mark.parametrize("there", [True, False])
def test_killed_between_files_the_old_model_stays(
    n_files: int, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = tmp_path / "model"
    if there:
        save(at, "trace")
    monkeypatch.setattr(writing, "_write", Full(n_files, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        save(at, "bandpower")
    assert [path.name for path in tmp_path.iterdir()] == (["model"] if there else [])
    if there:
        assert read_saved(at).model == "trace"
        load_folder(at)


def test_a_full_disk_is_said_and_the_old_model_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "model", "trace")
    full = Full(1, OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(writing, "_write", full)
    with pytest.raises(WeightsError, match="is full"):
        save(tmp_path / "model", "bandpower")
    assert read_saved(tmp_path / "model").model == "trace"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_model_that_lies_there_is_replaced_whole(tmp_path: Path) -> None:
    save(tmp_path / "model", "eegnet")
    save(tmp_path / "model", "bandpower")
    assert load_folder(tmp_path / "model").head.out_features == 3
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert len(list((tmp_path / "model").iterdir())) == 3


@pytest.mark.parametrize("is_folder", [True, False])
def test_what_is_no_saved_model_is_not_replaced(
    is_folder: bool, tmp_path: Path
) -> None:
    at = tmp_path / "thesis"
    if is_folder:
        at.mkdir()
    mine = at / "chapter.txt" if is_folder else at
    mine.write_text("years of work")
    with pytest.raises(WeightsError, match="not replaced"):
        save(at, "bandpower")
    assert mine.read_text() == "years of work"
