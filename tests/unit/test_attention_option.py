"""Trace's option ``attention``: both ways, for the masked rival alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from eegfm_bench.errors import SpecError, UnknownName, WeightsError
from eegfm_bench.models._spec import find_model
from eegfm_bench.models.trace.config import TraceConfig
from eegfm_bench.pretraining import output
from eegfm_bench.pretraining.asked import settings_of
from eegfm_bench.pretraining.objectives import objective_of
from eegfm_bench.runs.pretrain import PretrainSpec
from eegfm_bench.runs.record import Failure, RunRecord
from eegfm_bench.runs.spec import DatasetRef, RunSpec, TrainingRecipe
from eegfm_bench.runs.store import ResultStore
from eegfm_bench.training import worker
from eegfm_bench.weights.pretrained import read_pretrained, refuse_unlike
from tests.small_corpus import corpus, pretrain, spec
from tests.trace_models import L, encoder, windows
from tests.unit.small_weights import TRAINS, a_corpus, a_spec, task

FULL = {"attention": "full"}


def moved_by_the_last_patch(attention: str, **changes: Any) -> torch.Tensor:
    """Return how far each step's states move (P,) when the last patch changes."""
    model = encoder(attention=attention, **changes)
    x = windows(2, 3, 5 * L)
    other = x.clone()
    other[..., 4 * L :] += 50
    with torch.no_grad():
        return (model(x).hidden - model(other).hidden).abs().amax((0, 1, 3))


@pytest.mark.parametrize("routing", ["trace", "mean", "none"])
def test_a_late_patch_reaches_early_states_only_with_full_attention(
    routing: str,
) -> None:
    changes = {"routing": routing, **({"dense_width": 32} if routing == "none" else {})}
    assert moved_by_the_last_patch("full", **changes).min() > 1e-3
    moved = moved_by_the_last_patch("causal", **changes)
    assert moved[:4].max() < 1e-6
    assert moved[4] > 1e-3


def test_the_order_of_steps_still_counts() -> None:
    model = encoder(attention="full", channel_kernels=())
    x = windows(1, 2, 3 * L)
    turned = x.unflatten(-1, (3, L)).flip(2).flatten(2)
    with torch.no_grad():
        forth, back = model(x).hidden, model(turned).hidden.flip(2)
    assert (forth - back).abs().max() > 1e-3


def test_all_steps_of_a_window_meet_the_same_experts_and_windows_their_own() -> None:
    model = encoder(attention="full")
    (first, *_) = model(windows(6, 3, 4 * L)).routing
    p_BPN = first.probabilities.unflatten(0, (6, 4))
    torch.testing.assert_close(p_BPN, p_BPN[:, :1].expand_as(p_BPN))
    assert (p_BPN[0] - p_BPN[1]).abs().max() > 1e-4


def test_what_it_does_not_go_with_is_refused_in_words() -> None:
    with pytest.raises(SpecError, match=r"asked to forecast it\. Leave attention out"):
        settings_of("causal", "small", FULL)
    assert settings_of("masked", "small", FULL).options["attention"] == "full"
    with pytest.raises(SpecError, match="states have seen what comes after"):
        TraceConfig(attention="full", head="causal")
    with pytest.raises(UnknownName, match="Did you mean 'full'"):
        find_model("trace").options_for("small", {"attention": "ful"})


def test_the_masked_objective_rebuilds_a_patch_from_what_follows() -> None:
    def reach(attention: str) -> torch.Tensor:
        options = {"attention": attention, "layers": 1}
        model = objective_of(spec(corpus(), objective="masked", options=options))
        x = windows(1, 2, 4 * L).requires_grad_()
        model.encoder(x).hidden[:, :, 0].sum().backward()
        assert x.grad is not None
        return x.grad.view(2, 4, L).abs().amax((0, 2))

    assert reach("causal")[1:].max() == 0
    assert reach("full").min() > 0


def a_run(**options: Any) -> RunSpec:
    data = DatasetRef(name="eyes", protocol="e-1", data="simulated", fingerprint="f")
    recipe = TrainingRecipe(epochs=1, batch_size=8, lr=0.01)
    return RunSpec(
        dataset=data,
        model="trace",
        scale="small",
        seed=0,
        recipe=recipe,
        options=options,
    )


def test_runs_from_before_the_option_keep_their_names_and_answers(
    tmp_path: Path,
) -> None:
    old = a_run(dim=32)
    assert "attention" not in old.identity()
    # As it was named before there was the option.
    assert old.run_id == "trace-eyes-s0-cd923afc"
    now = a_run(dim=32, attention="causal")
    assert (now, now.run_id) == (old, old.run_id)
    assert a_run(dim=32, attention="full").run_id != old.run_id
    store = ResultStore(tmp_path)
    folder = store.put(RunRecord.failed(old, Failure(kind="K", message="m")))
    kept = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    assert kept["spec"]["options"] == {"dim": 32}
    (folder / "record.json").write_text(json.dumps(kept), encoding="utf-8")
    assert store.missing([now]) == []


def test_pre_trainings_from_before_the_option_keep_theirs() -> None:
    now = spec(corpus(), options={"attention": "causal"})
    fields = now.model_dump(mode="json")
    del fields["options"]["attention"]
    old = PretrainSpec.model_validate(fields)
    assert (old, old.pretrain_id) == (now, now.pretrain_id)
    assert '"attention"' not in old.identity()
    both = spec(corpus(), objective="masked", options={"layers": 1, **FULL})
    one = spec(corpus(), objective="masked", options={"layers": 1})
    assert both.pretrain_id != one.pretrain_id


def test_weights_load_only_where_the_option_agrees(tmp_path: Path) -> None:
    of = a_corpus(TRAINS)
    ways = {}
    for attention in ("causal", "full"):
        folder = tmp_path / attention
        asked = a_spec(of, objective="masked", attention=attention)
        pretrain(asked, of, folder)
        output.write_output(folder, asked, of, device="cpu")
        ways[attention] = folder
    said = read_pretrained(ways["full"])
    assert said is not None
    assert said.options["attention"] == "full"
    card = (ways["full"] / "README.md").read_text(encoding="utf-8")
    assert "--set attention=full" in card
    loaded = worker.handle(task(ways["full"], options=FULL), print)
    assert loaded["report"]["pretrained"]["objective"] == "masked"
    for folder, options, says in (
        (ways["full"], {}, "--set attention=full"),
        (ways["causal"], FULL, "--set attention=causal"),
    ):
        found = worker.handle(task(folder, options=options), print)
        assert says in found["error"]


def test_weights_from_before_the_option_are_causal(tmp_path: Path) -> None:
    of, folder = a_corpus(TRAINS), tmp_path / "w"
    pretrain(a_spec(of), of, folder)
    output.write_output(folder, a_spec(of), of, device="cpu")
    file = folder / "model.safetensors"
    data = file.read_bytes()
    said = rb"\"attention\":\"causal\","
    assert said in data
    old = tmp_path / "old.safetensors"
    shutil.copy(file, old)
    old.write_bytes(data.replace(said, b" " * len(said), 1))
    options = find_model("trace").options_for("small", {})
    about: dict[str, Any] = {"model": "trace", "version": 1, "scale": "small"}
    refuse_unlike(old, **about, options=options)
    with pytest.raises(WeightsError, match="attention=causal"):
        refuse_unlike(old, **about, options={**options, **FULL})
