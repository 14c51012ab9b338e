"""Starting from weights and adapting: what is asked is what is done, or nothing is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from eegfm_bench.datasets._prepare import prepare
from eegfm_bench.errors import RunFailed, SpecError, WeightsError
from eegfm_bench.models._probed import Probed
from eegfm_bench.models._spec import InputShape, find_model, model_names
from eegfm_bench.runs.record import Adaptation, RunRecord
from eegfm_bench.runs.spec import ClosedFormRecipe, NoRecipe, RunSpec
from eegfm_bench.training.adapting import Frozen, encoder_tensors
from eegfm_bench.training.fit import fit, input_shape
from eegfm_bench.training.optimizer import optimizer_of, parameter_groups
from eegfm_bench.weights.files import read_weights
from eegfm_bench.weights.loading import load
from tests.unit.skeletons_of_adapting import LORA, QUICK, checkpoint, small_spec


def test_fields_born_with_adapting_leave_older_names_as_they_were() -> None:
    spec = small_spec(recipe=QUICK)
    assert "labels" not in spec.identity()
    assert "lora" not in spec.identity()
    assert small_spec(recipe=QUICK, labels="100%").run_id == spec.run_id
    assert small_spec(recipe=QUICK, labels="10.0%") == small_spec(
        recipe=QUICK, labels="10%"
    )
    ids = {
        small_spec(recipe=QUICK, **more).run_id
        for more in (
            {},
            {"labels": "10%"},
            {"labels": "8/class"},
            {"init": "weights-0123456789ab", "adapt": "finetune"},
            {"init": "weights-0123456789ab+partial", "adapt": "finetune"},
            {"adapt": "probe"},
        )
    }
    ranks = (small_spec(recipe=QUICK.model_copy(update=LORA), adapt="lora"),)
    assert len(ids | {r.run_id for r in ranks}) == 7


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"adapt": "finetune"}, "from no weights"),
        ({"init": "weights-0123456789ab"}, "Choose --adapt finetune"),
        ({"recipe": QUICK.model_copy(update=LORA)}, "of --adapt lora alone"),
        ({"labels": "0%"}, "above 0%"),
    ],
)
def test_questions_that_make_no_sense_cannot_be_written(more: Any, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        small_spec(**{"recipe": QUICK, **more})


def test_fine_tuning_starts_from_the_file_and_says_what_it_loaded(
    tmp_path: Path,
) -> None:
    path, init = checkpoint(tmp_path)
    spec = small_spec(recipe=QUICK, init=init, adapt="finetune")
    store = prepare("eegmat", rate_hz=200.0)
    record, _ = fit(spec, store, weights=path)
    scratch, _ = fit(small_spec(recipe=QUICK), store)
    assert record.scores != scratch.scores
    report = record.weights
    assert report is not None
    assert report.is_full
    assert (report.file, report.weights_id) == (path.name, init)
    assert report.probe_difference is not None
    assert report.probe_difference > 1e-3
    assert record.adaptation is not None
    assert (record.adaptation.frozen, record.adaptation.frozen_sha256) == (0, None)
    assert scratch.weights is None
    assert scratch.adaptation is None
    assert '"weights"' not in scratch.to_json()
    for one in (record, scratch):
        assert RunRecord.from_json(one.to_json(), where="here") == one
    assert str(tmp_path) not in record.to_json()


def test_another_file_than_the_one_named_is_refused(tmp_path: Path) -> None:
    path, init = checkpoint(tmp_path)
    store = prepare("eegmat", rate_hz=200.0)
    spec = small_spec(recipe=QUICK, init=init, adapt="finetune")
    with pytest.raises(WeightsError, match="no file is given"):
        fit(spec, store)
    with pytest.raises(WeightsError, match="trains cbramod from scratch"):
        fit(small_spec(recipe=QUICK), store, weights=path)
    partial = spec.model_copy(update={"init": f"{init}+partial"})
    with pytest.raises(WeightsError, match=f"loads as {init}, not"):
        fit(partial, store, weights=path)
    checkpoint(tmp_path, seed=12)  # the file changes under its name
    with pytest.raises(WeightsError, match="changed since the spec was written"):
        fit(spec, store, weights=path)


def test_partial_weights_run_only_under_their_own_name(tmp_path: Path) -> None:
    path, _ = checkpoint(tmp_path)
    state = torch.load(path, weights_only=True)
    gone = next(name for name in state if "encoder.layers" in name)
    torch.save({k: v for k, v in state.items() if k != gone}, path)
    init = f"weights-{read_weights(path).sha256[:12]}"
    store = prepare("eegmat", rate_hz=200.0)
    with pytest.raises(WeightsError, match="Missing 1"):
        fit(small_spec(recipe=QUICK, init=init, adapt="finetune"), store, weights=path)
    spec = small_spec(recipe=QUICK, init=f"{init}+partial", adapt="finetune")
    record, _ = fit(spec, store, weights=path)
    assert record.weights is not None
    assert len(record.weights.missing) == 1


@pytest.mark.parametrize("adapt", ["finetune", "probe", "lora"])
@pytest.mark.parametrize("model", ["bandpower", "chance"])
def test_what_has_no_encoder_cannot_be_adapted(adapt: str, model: str) -> None:
    known = find_model(model)
    spec = small_spec(model=model).model_copy(
        update={"adapt": adapt, "init": "weights-0123456789ab"}
    )
    with pytest.raises(SpecError, match=f"{model} is not trained by gradient"):
        fit(spec, prepare("eegmat", rate_hz=known.rate_hz))


def test_a_probe_needs_something_to_choose() -> None:
    recipe = NoRecipe()
    spec = small_spec(recipe=ClosedFormRecipe()).model_copy(
        update={"adapt": "probe", "recipe": recipe}
    )
    with pytest.raises(SpecError, match="needs a recipe"):
        fit(spec, prepare("eegmat", rate_hz=200.0))


def test_rates_decay_warm_up_and_clip_act_on_a_loaded_encoder(tmp_path: Path) -> None:
    path, _ = checkpoint(tmp_path)
    known = find_model("cbramod")
    model = known.build(input_shape(prepare("eegmat", rate_hz=200.0)), scale="small")
    load(model, known, read_weights(path))
    published = known.recipes["paper"].model_copy(
        update={
            "lr": 1e-4,
            "head_lr": 5e-4,
            "layer_decay": 0.5,
            "decays": "matrices",
            "warmup_epochs": 2.0,
        }
    )
    groups = parameter_groups(model, published)  # type: ignore[arg-type]
    of = {id(p): group for group in groups for p in group["params"]}
    assert len(of) == len(list(model.parameters()))  # each once, none left out
    for name, parameter in model.named_parameters():
        group = of[id(parameter)]
        if name.startswith("head."):
            rate = 5e-4
        else:  # two layers at the small scale: tokens, and one of attention
            rate = 1e-4 * 0.5 ** (model.n_layers - model.layer_of(name))
        assert group["lr"] == pytest.approx(rate), name
        assert group["weight_decay"] == (0.05 if parameter.ndim > 1 else 0.0), name
    assert {g["lr"] for g in groups} == {5e-4, 0.5e-4, 0.25e-4}
    (optimizer,), (schedule,) = optimizer_of(model, published, 50, 5.0)  # type: ignore[arg-type]
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx(
        [g["initial_lr"] / 10 for g in optimizer.param_groups]  # ten steps of warm-up
    )
    for _ in range(10):
        optimizer.step()
        schedule["scheduler"].step()
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx(
        [g["initial_lr"] for g in optimizer.param_groups], rel=1e-3
    )


def test_clipping_changes_what_a_loaded_encoder_learns(tmp_path: Path) -> None:
    path, init = checkpoint(tmp_path)
    store = prepare("eegmat", rate_hz=200.0)

    def scores(**more: Any) -> Any:
        recipe = QUICK.model_copy(update={"label_smoothing": 0.0, **more})
        spec = small_spec(recipe=recipe, init=init, adapt="finetune", labels="8/class")
        return fit(spec, store, weights=path)[0].scores

    assert scores(clip=1e-6, optimizer="adam") != scores(optimizer="adam")
    assert scores(head_lr=1e-6) != scores()


def test_every_tensor_of_an_encoder_is_in_the_proof() -> None:
    known = find_model("eegnet")
    model = known.build(input_shape(prepare("eegmat")), scale="small")
    tensors = encoder_tensors(model)
    head = {id(t) for t in (*model.head.parameters(), *model.head.buffers())}
    every = {*model.named_parameters(), *model.named_buffers()}
    assert len(tensors) + len(head) == len(every)
    frozen = Frozen.of(tensors)
    for name, tensor in tensors.items():
        kept = tensor.detach().clone()
        with torch.no_grad():
            tensor.view(-1).view(torch.uint8)[0].bitwise_xor_(1)  # the last bit
        with pytest.raises(RunFailed, match=r"1 changed \(" + name):
            frozen.refuse_change(encoder_tensors(model))
        with torch.no_grad():
            tensor.copy_(kept)
    frozen.refuse_change(encoder_tensors(model))
    assert Frozen.of(encoder_tensors(model)).sha256 == frozen.sha256
    gone = {k: v for k, v in tensors.items() if k != min(tensors)}
    with pytest.raises(RunFailed, match=r"1 went \(" + min(tensors)):
        frozen.refuse_change(gone)
    with pytest.raises(RunFailed, match=r"1 came \(extra"):
        frozen.refuse_change({**tensors, "extra": torch.zeros(1)})


@pytest.mark.parametrize("sequence", [1, 3])
def test_every_model_that_learns_can_be_probed(sequence: int) -> None:
    shape = InputShape(
        channels=("Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4"),
        n_times=800,
        rate_hz=200.0,
        n_classes=3,
        sequence=sequence,
    )
    inner = (sequence,) if sequence > 1 else ()
    x = 20 * torch.randn(2, *inner, 8, 800)
    for known in map(find_model, model_names()):
        if known.trained_by != "gradient":
            continue
        model = known.build(shape, scale="small")
        frozen = Frozen.of(encoder_tensors(model))
        probed = Probed(model, shape).train()
        logits = probed(x)
        assert logits.shape == (2, *inner, 3), known.name
        assert torch.equal(probed(x), logits), known.name  # no dropout of the encoder
        trained = sum(p.numel() for p in probed.parameters() if p.requires_grad)
        assert trained == 3 * (probed.features(x).shape[-1] + 1), known.name
        frozen.refuse_change(encoder_tensors(probed.encoder))


def test_a_record_of_older_days_is_read_as_it_was() -> None:
    record, _ = fit(small_spec(model="chance"), prepare("eegmat"))
    text = record.to_json().replace('"labels": null,', "")
    old = RunRecord.from_json(text, where="here")
    assert old == record
    assert isinstance(old.spec, RunSpec)
    assert old.adaptation is None
    assert Adaptation(trained=1, frozen=0).frozen_sha256 is None
