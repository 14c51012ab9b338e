"""Linear probes: features once, the head by every solver, nothing else moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from eegfm_bench.batches import EEGDataModule
from eegfm_bench.datasets._prepare import prepare
from eegfm_bench.errors import RunFailed, SpecError
from eegfm_bench.models._probed import Probed
from eegfm_bench.models._spec import find_model
from eegfm_bench.runs.adapting import TRAINED_PROBE
from eegfm_bench.runs.spec import ClosedFormRecipe, RunSpec
from eegfm_bench.training import closed_form, wide_ridge
from eegfm_bench.training.adapting import Frozen, encoder_tensors
from eegfm_bench.training.closed_form import solve_head
from eegfm_bench.training.features import cached_features
from eegfm_bench.training.fit import fit, input_shape, seed_everything
from eegfm_bench.training.whole import predict
from eegfm_bench.windows.store import WindowStore
from tests.unit.skeletons_of_adapting import checkpoint, small_spec

RIDGE = ClosedFormRecipe()
BRIEF = TRAINED_PROBE.model_copy(update={"epochs": 3})


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared_cache: Path):
    """Windows are shared, features are this test's own."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "features").mkdir()
    for shared in ("windows", "twins"):
        (shared_cache / shared).mkdir(exist_ok=True)
        (cache / shared).symlink_to(shared_cache / shared)
    monkeypatch.setenv("EEGFM_CACHE", str(cache))
    return cache


def store() -> WindowStore:
    return prepare("eegmat", rate_hz=200.0)


def probe(**more: Any) -> RunSpec:
    return small_spec(**{"adapt": "probe", "recipe": RIDGE, **more})


def folders(cache: Path) -> list[Path]:
    return sorted((cache / "features").glob("[!.]*"))


def test_features_are_encoded_once_and_scores_are_those_of_the_model_itself() -> None:
    spec = probe()
    first, scores = fit(spec, store())
    again, same = fit(probe(labels="50%"), store())
    assert first.cost is not None
    assert again.cost is not None
    assert first.cost.window_passes == len(store().index)
    assert again.cost.window_passes == 0
    assert not scores.equals(same)  # another question, of the same features
    _, third = fit(spec, store())
    assert scores.equals(third)
    # Without the cache: the encoder's own features, solved for, then asked anew.
    known = find_model("cbramod")
    seed_everything(0)
    shape = input_shape(store())
    probed = Probed(known.build(shape, scale="small"), shape)
    data = EEGDataModule(store(), batch_size=7)
    values = {p: predict(probed, data, p, of=probed.features) for p in ("train", "val")}
    recipe = spec.recipe
    assert isinstance(recipe, ClosedFormRecipe)
    solved = solve_head(
        (values["train"], data.labels("train")),
        (values["val"], data.labels("val")),
        n_classes=2,
        recipe=recipe,
    )
    with torch.no_grad():
        probed.head.weight.copy_(torch.from_numpy(solved.weight_KD))
        probed.head.bias.copy_(torch.from_numpy(solved.bias_K))
    found = scores[["score_0", "score_1"]].to_numpy()
    assert predict(probed, data, "test") == pytest.approx(found, abs=1e-4)


@pytest.mark.parametrize(
    "recipe",
    [RIDGE, ClosedFormRecipe(solver="logistic", penalties=(0.1, 10.0)), BRIEF],
    ids=["ridge", "logistic", "trained"],
)
def test_every_solver_comes_out_by_the_same_road(recipe: Any) -> None:
    record, predictions = fit(probe(recipe=recipe), store())
    assert record.scores is not None
    assert record.checkpoint is not None
    assert record.checkpoint.val_score == pytest.approx(record.scores["val"]["auroc"])
    assert len(predictions) == store().counts()["test"]
    assert record.cost is not None
    assert record.adaptation is not None
    # A head on 20 channels' means of tokens 32 wide, for two classes.
    assert record.adaptation.trained == 2 * (20 * 32 + 1)
    assert record.cost.n_parameters_head == record.adaptation.trained
    assert record.adaptation.frozen + record.adaptation.trained == (
        record.cost.n_parameters
    )
    assert record.adaptation.frozen_tensors == 32
    assert record.adaptation.frozen_sha256 is not None


def test_a_trained_head_is_the_same_whether_features_are_cached_or_not() -> None:
    encoded, _ = fit(probe(recipe=BRIEF), store())
    cached, _ = fit(probe(recipe=BRIEF), store())
    assert encoded.cost is not None
    assert cached.cost is not None
    assert (encoded.cost.window_passes > 0, cached.cost.window_passes) == (True, 0)
    assert encoded.scores == cached.scores
    assert encoded.checkpoint == cached.checkpoint


def test_starts_share_features_only_where_the_encoder_is_the_same(
    own_cache: Path, tmp_path: Path
) -> None:
    for seed in (0, 1):
        fit(probe(seed=seed), store())
    assert len(folders(own_cache)) == 2  # each seed draws an encoder of its own
    path, init = checkpoint(tmp_path)
    passes = []
    for seed in (0, 1):
        record, _ = fit(probe(seed=seed, init=init), store(), weights=path)
        assert record.cost is not None
        passes.append(record.cost.window_passes)
    assert len(folders(own_cache)) == 3
    assert passes == [len(store().index), 0]
    about = json.loads((folders(own_cache)[0] / "about.json").read_text())
    needed = {"store", "manifest", "model_version", "options", "encoder", "packages"}
    assert needed <= set(about["decided_by"])


@pytest.mark.parametrize("harm", ["bytes", "short", "about", "no file"])
def test_damaged_features_are_encoded_again_and_said(
    own_cache: Path, harm: str
) -> None:
    first, scores = fit(probe(), store())
    (folder,) = folders(own_cache)
    file = folder / "features.npy"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    if harm == "bytes":
        file.write_bytes(content)
    elif harm == "short":
        file.write_bytes(content[:-100])
    elif harm == "about":
        (folder / "about.json").write_text("{")
    else:
        file.unlink()
    record, again = fit(probe(), store())
    assert again.equals(scores)
    assert record.cost is not None
    assert record.cost.window_passes == len(store().index)
    assert record.provenance is not None
    (note,) = record.provenance.notes
    assert "They were encoded again." in note
    assert str(own_cache) not in note
    healed, _ = fit(probe(), store())
    assert healed.provenance is not None
    assert healed.provenance.notes == ()
    assert first.scores == healed.scores


def test_what_a_killed_writer_left_is_not_read_and_goes_away(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eegfm_bench.training import features

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(features.json, "dumps", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(probe(), store())
    assert folders(own_cache) == []
    record, _ = fit(probe(), store())
    (folder,) = folders(own_cache)
    left = folder.parent / f".new-{folder.name}-abc"
    shutil.copytree(folder, left)
    shutil.rmtree(folder)
    again, _ = fit(probe(), store())
    assert not left.exists()
    assert again.scores == record.scores


def test_windows_of_a_sequence_are_judged_by_themselves() -> None:
    spec = probe(dataset="isruc")
    record, predictions = fit(spec, prepare("isruc", rate_hz=200.0))
    n = prepare("isruc", rate_hz=200.0).counts()
    assert len(predictions) == n["test"]
    assert record.scores is not None
    assert record.scores["test"]["balanced_accuracy"] is not None


class Restless(nn.Module):
    """An encoder that counts what it sees, in a buffer."""

    seen: torch.Tensor

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))
        self.head = nn.Linear(20, n_classes)

    def features(self, x_BCT: torch.Tensor) -> torch.Tensor:
        self.seen += len(x_BCT)
        return x_BCT.std(dim=-1)

    def forward(self, x_BCT: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.features(x_BCT))
        return logits


def test_an_encoder_that_moves_fails_the_run_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = find_model("cbramod")
    monkeypatch.setattr(type(known), "build", lambda *a, **k: Restless(2))
    with pytest.raises(RunFailed, match=r"of 1 tensors 1 changed \(seen\)"):
        fit(probe(), store())


def test_the_encoder_stays_in_evaluation_while_its_head_trains() -> None:
    known = find_model("eegnet")
    shape = input_shape(prepare("eegmat"))
    probed = Probed(known.build(shape, scale="small"), shape)
    frozen = Frozen.of(encoder_tensors(probed.encoder))
    probed.train()
    assert not any(module.training for module in probed.encoder.modules())
    x = 20 * torch.randn(4, shape.n_channels, shape.n_times)
    probed(x).square().mean().backward()
    assert [n for n, p in probed.named_parameters() if p.grad is not None] == [
        "head.weight",
        "head.bias",
    ]
    frozen.refuse_change(encoder_tensors(probed.encoder))


def test_a_start_on_another_store_has_features_of_its_own(own_cache: Path) -> None:
    spec = probe()
    known = find_model("cbramod")
    model = known.build(input_shape(store()), scale="small")
    how: Any = {"frozen_sha256": "a" * 64, "device": "cpu"}
    first = cached_features(spec, store(), model, **how)
    assert cached_features(spec, store(), model, **how).path == first.path
    other = store()
    other.manifest = {**other.manifest, "recipe": {**other.manifest["recipe"], "x": 1}}
    assert cached_features(spec, other, model, **how).path != first.path
    how["frozen_sha256"] = "b" * 64
    assert cached_features(spec, store(), model, **how).path != first.path


@pytest.mark.parametrize("shape", [(60, 90), (90, 60)])
@pytest.mark.parametrize("standardise", [True, False])
def test_the_wide_way_to_ridge_gives_what_the_narrow_one_does(
    shape: tuple[int, int], standardise: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=shape) * rng.gamma(2, size=shape[1]) + 3).astype(np.float32)
    x[:, 4] = 2.5  # a constant feature
    y = (x[:, 0] + rng.normal(size=shape[0]) > 3).astype(np.int64) + (x[:, 1] > 4)
    recipe = ClosedFormRecipe(select="cohen_kappa", standardise=standardise)
    parts = ((x[:40], y[:40]), (x[40:], y[40:]))
    narrow = solve_head(*parts, n_classes=3, recipe=recipe)
    monkeypatch.setattr(closed_form, "DECOMPOSED_UP_TO", 1)
    monkeypatch.setattr(wide_ridge, "_BLOCK", 7)
    wide = solve_head(*parts, n_classes=3, recipe=recipe)
    assert wide.penalty == narrow.penalty
    assert wide.val_score == narrow.val_score
    size = np.abs(narrow.weight_KD).max()
    assert wide.weight_KD == pytest.approx(narrow.weight_KD, abs=1e-9 * size)
    assert wide.bias_K == pytest.approx(narrow.bias_K, abs=1e-9)


def test_what_cannot_be_solved_in_time_or_memory_says_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y = np.random.default_rng(0).normal(size=(30, 40)), np.arange(30) % 2
    monkeypatch.setattr(closed_form, "DECOMPOSED_UP_TO", 1)
    monkeypatch.setattr(wide_ridge, "MOST_BYTES", 1000)
    with pytest.raises(SpecError, match=r"30 windows of 40 features.*solver=trained"):
        solve_head((x, y), (x, y), n_classes=2, recipe=RIDGE)
    monkeypatch.setattr(closed_form, "LOGISTIC_UP_TO", 100)
    logistic = ClosedFormRecipe(solver="logistic")
    with pytest.raises(SpecError, match=r"Logistic.*30 windows of 40.*solver=ridge"):
        solve_head((x, y), (x, y), n_classes=2, recipe=logistic)
