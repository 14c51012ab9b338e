"""Weights load whole or in plain sight, and the model proves that they are there."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import eegfm_bench
from eegfm_bench.errors import WeightsError
from eegfm_bench.models._spec import find_model
from eegfm_bench.runs.weights import LoadReport
from eegfm_bench.weights import loading
from eegfm_bench.weights.loading import USUAL, encoder_state, load
from tests.unit.planted_weights import (
    PROBE,
    SHAPE,
    SPEC,
    Toy,
    built,
    on_disk,
    public_names,
    trained,
)


def test_the_encoder_counts_buffers_and_leaves_out_the_head_by_identity() -> None:
    model = built()
    names = set(encoder_state(model))
    assert "norm.num_batches_tracked" in names
    assert {n for n in model.state_dict() if n not in names} == {
        "head.weight",
        "head.bias",
    }
    model.also = model.head  # under a second name, it is the head all the same
    assert set(encoder_state(model)) == names
    eegnet = eegfm_bench.build(
        "eegnet", channels=SHAPE.channels, n_times=200, rate_hz=100.0, n_classes=2
    )
    left = set(eegnet.state_dict()) - set(encoder_state(eegnet))
    assert left
    assert all("final_layer" in name for name in left)


def test_a_whole_state_dict_loads_bit_by_bit_and_leaves_the_head(
    tmp_path: Path,
) -> None:
    model, source = built(), trained()
    head = model.head.weight.clone()
    file = on_disk(tmp_path / "a.pth", source.state_dict())
    report = load(model, SPEC, file, probe_x=PROBE)
    now = encoder_state(model)
    assert all(torch.equal(now[n], t) for n, t in encoder_state(source).items())
    assert torch.equal(model.head.weight, head)
    assert (report.layout, report.matched, report.n_encoder) == ("own", 11, 11)
    assert (report.unused, report.is_full) == (2, True)
    assert report.weights_id == f"weights-{file.sha256[:12]}"
    assert report.probe_difference > 0.01
    assert LoadReport.model_validate_json(report.model_dump_json()) == report
    assert "/" not in report.file


def test_a_public_layout_is_renamed_and_its_own_parts_are_counted_as_unused(
    tmp_path: Path,
) -> None:
    model = built()
    anew = model.anew.weight.clone()
    report = load(model, SPEC, on_disk(tmp_path / "a.pth", public_names()))
    assert (report.layout, report.unused, report.matched) == ("source", 2, 9)
    assert report.fresh == ("anew.weight", "anew.bias")
    assert report.is_full
    assert torch.equal(model.mix.weight, trained().mix.weight)
    assert torch.equal(model.anew.weight, anew)


@pytest.mark.parametrize("allow_partial", [False, True])
def test_renamed_tensors_are_refused_or_marked_and_nothing_is_silent(
    tmp_path: Path, allow_partial: bool
) -> None:
    state = public_names()
    state["student.embedding.weight"] = state.pop("student.embed.weight")
    model, file = built(), on_disk(tmp_path / "a.pth", state)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    if not allow_partial:
        with pytest.raises(WeightsError) as caught:
            load(model, SPEC, file)
        assert "8 of the 11 tensors" in str(caught.value)
        assert "Missing 1: mix.weight." in str(caught.value)
        assert "Left over 1: student.embedding.weight." in str(caught.value)
        assert "--allow-partial-weights" in str(caught.value)
        now = model.state_dict()
        assert all(torch.equal(now[n], t) for n, t in before.items())
        return
    report = load(model, SPEC, file, allow_partial=True)
    assert report.missing == ("mix.weight",)
    assert report.left_over == ("student.embedding.weight",)
    assert report.weights_id.endswith("+partial")
    assert torch.equal(model.mix.weight, before["mix.weight"])
    assert not torch.equal(model.rows, before["rows"])


@pytest.mark.parametrize("is_whole", [False, True])
def test_a_file_of_another_model_is_refused_always_and_its_model_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_whole: bool
) -> None:
    # All others are asked as well; one is enough here, and others take seconds.
    monkeypatch.setattr(loading, "model_names", lambda: ["cbramod", "eegnet"])
    with torch.device("meta"):
        names = list(encoder_state(find_model("cbramod").build(USUAL)))
    state = {n.removeprefix("net."): torch.zeros(1) for n in names[not is_whole :]}
    file = on_disk(tmp_path / "a.pth", state)
    with pytest.raises(WeightsError, match="is not of toy: none of the 11") as caught:
        load(built(), SPEC, file, allow_partial=True)
    assert "patch_embedding" in str(caught.value)
    assert "--allow-partial-weights" not in str(caught.value)
    assert ("All names are those of cbramod" in str(caught.value)) == is_whole


def test_weights_equal_to_the_random_start_fail_the_proof_and_are_taken_back(
    tmp_path: Path,
) -> None:
    model = built()
    state = {n: t * (1 + 1e-6) for n, t in model.state_dict().items()}
    state["norm.num_batches_tracked"] = torch.tensor(0)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    file = on_disk(tmp_path / "a.pth", state)
    with pytest.raises(WeightsError, match="gives what its random start gives"):
        load(model, SPEC, file, probe_x=PROBE)
    now = model.state_dict()
    assert all(torch.equal(now[n], t) for n, t in before.items())
    assert load(model, SPEC, file).probe_difference is None


def test_a_model_that_changes_what_it_is_given_is_caught(tmp_path: Path) -> None:
    class Stubborn(Toy):
        def load_state_dict(self, state: Any, **how: Any) -> Any:
            return super().load_state_dict({**state, "mix.bias": self.mix.bias}, **how)

    model = Stubborn(SHAPE)
    file = on_disk(tmp_path / "a.pth", trained().state_dict())
    with pytest.raises(
        WeightsError, match=r"1 tensors are not in the model.*mix\.bias"
    ):
        load(model, SPEC, file)


def test_loading_moves_no_random_generator_and_no_mode(tmp_path: Path) -> None:
    model = built().train()
    model.norm.eval()
    file = on_disk(tmp_path / "a.pth", trained().state_dict())

    def states() -> list[Any]:
        numpys = np.random.get_state()[1].tolist()  # noqa: NPY002
        return [torch.get_rng_state().tolist(), numpys, random.getstate()]

    before = states()
    load(model, SPEC, file, probe_x=PROBE)
    assert states() == before
    assert model.training
    assert not model.norm.training
    assert int(model.norm.num_batches_tracked) == 1  # the file's; probing adds none


def test_what_is_not_trained_by_gradient_has_no_use_for_weights(tmp_path: Path) -> None:
    chance = find_model("chance")
    file = on_disk(tmp_path / "a.pth", trained().state_dict())
    with pytest.raises(WeightsError, match="chance cannot start from weights"):
        load(chance.build(SHAPE, scale="small"), chance, file)
