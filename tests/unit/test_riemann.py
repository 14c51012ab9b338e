"""Riemann's options, its fit to the training part, and heads solved by logistic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from eegfm_bench.errors import SignalError, SpecError
from eegfm_bench.models import riemann as family
from eegfm_bench.models._sequence import InSequence
from eegfm_bench.models._spec import build, find_model
from eegfm_bench.models.riemann import Riemann
from eegfm_bench.runs.spec import ClosedFormRecipe, DatasetRef, RunSpec
from eegfm_bench.training.closed_form import softmax, solve_head


def built(n_channels: int = 4, n_times: int = 400, **options: Any) -> Riemann:
    torch.manual_seed(0)
    return build(
        "riemann",
        channels=[f"c{i}" for i in range(n_channels)],
        n_times=n_times,
        rate_hz=options.pop("rate_hz", 200.0),
        n_classes=2,
        **options,
    )


def eeg(n: int = 12, n_channels: int = 4, n_times: int = 400, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return 20 * torch.randn(n, n_channels, n_times, generator=generator)


def fitted(model: Riemann, x: torch.Tensor) -> Riemann:
    model.fit_features(x.split(5), torch.zeros(len(x), dtype=torch.int64))
    return model


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"bands": "8-13,"}, "bands of riemann is '8-13,'; expected bands in Hz"),
        ({"bands": "13-8"}, "bands of riemann is '13-8'"),
        ({"bands": "0-8"}, "from a lower to a higher border above 0"),
        ({"bands": "1-8-13"}, "bands of riemann"),
        ({"bands": "1-inf"}, "bands of riemann"),
        ({"bands": 8}, "bands of riemann is 8"),
        ({"mean_windows": 0}, "mean_windows of riemann is 0; expected a whole number"),
        ({"mean_windows": True}, "mean_windows of riemann is True"),
        ({"bands": "60-120"}, "has no whole band of 60 to 120 Hz"),
        ({"bands": "8.1-8.4"}, "has no whole band of 8.1 to 8.4 Hz"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: dict[str, Any], says: str
) -> None:
    with pytest.raises(SpecError, match=says):
        built(**options)


def test_a_slow_recording_has_no_fast_band() -> None:
    with pytest.raises(SpecError, match="400 time points at 64 Hz has no whole band"):
        built(rate_hz=64.0)
    assert built(rate_hz=80.5).head.out_features == 2


def test_one_choice_of_bands_has_one_spelling() -> None:
    spec = find_model("riemann")
    assert spec.options_for("paper", {"bands": "1.0-8, 8-13.50"})["bands"] == (
        "1-8,8-13.5"
    )


def test_the_training_part_is_centred_by_its_mean() -> None:
    x = eeg(30)
    before = built().features(x).mean(0).abs().max()
    after = fitted(built(), x).features(x).mean(0).abs().max()
    # At the Riemannian mean, tangent vectors sum to nothing.
    assert before > 1
    assert after < 1e-6


def test_unshrunk_channels_may_be_mixed_in_any_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(family, "shrunk", lambda rows: rows @ rows.mT)
    x, other = eeg(20), eeg(10, seed=1)
    mixing = torch.tensor([[1.0, 0.5, 0, 0], [0, 2, 0, 0], [0, 0, 1, 1], [-1, 0, 0, 1]])
    model, mixed = fitted(built(), x), fitted(built(), mixing @ x)
    vectors, again = model.features(other), mixed.features(mixing @ other)
    torch.testing.assert_close(
        torch.cdist(vectors, vectors), torch.cdist(again, again), rtol=1e-4, atol=1e-3
    )


def test_windows_at_equal_distances_give_the_mean() -> None:
    x = eeg(12)
    some = fitted(built(mean_windows=4), x).whiten_NCC
    torch.testing.assert_close(some, fitted(built(), x[::3]).whiten_NCC)
    every = fitted(built(mean_windows=100), x).whiten_NCC
    assert (some - every).abs().max() > 1e-4


def test_silence_and_copies_of_a_channel_can_be_fitted() -> None:
    x = eeg(10)
    x[:, 1] = x[:, 0]
    x[:, 2] = 0.0
    x[4] = 0.0
    x = torch.cat([x, eeg(4) - eeg(4).mean(1, keepdim=True)])
    model = fitted(built(), x)
    for window in (x, torch.zeros(1, 4, 400), 1e4 * torch.ones(1, 4, 400)):
        assert torch.isfinite(model(window)).all()


def test_a_loaded_model_knows_the_mean() -> None:
    x = eeg()
    model, other = fitted(built(), x).eval(), built()
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(x), other.eval()(x))


def test_sequences_are_fitted_window_by_window() -> None:
    x = eeg(12)
    torch.manual_seed(0)
    model = build(
        "riemann",
        channels=list("abcd"),
        n_times=400,
        rate_hz=200.0,
        n_classes=2,
        sequence=3,
    )
    sequences = x.unflatten(0, (4, 3))
    model.fit_features(sequences.split(2), torch.zeros(12, dtype=torch.int64))
    alone = fitted(built(), x)
    torch.testing.assert_close(model.model.whiten_NCC, alone.whiten_NCC)
    vectors = model.features(sequences).flatten(0, 1)
    torch.testing.assert_close(vectors, alone.features(x), rtol=1e-5, atol=1e-5)


def test_a_model_without_a_fit_is_not_asked_for_one() -> None:
    model = build(
        "bandpower", channels=["a"], n_times=400, rate_hz=200.0, n_classes=2, sequence=2
    )
    assert isinstance(model, InSequence)
    assert not hasattr(model, "fit_features")


def logistic(x: Any, y: Any, n_classes: int, **more: Any) -> Any:
    recipe = ClosedFormRecipe(
        solver="logistic", select="cohen_kappa", penalties=(1e-6, 0.1), **more
    )
    return solve_head((x, y), (x, y), n_classes=n_classes, recipe=recipe)


def test_a_class_without_training_windows_is_never_predicted() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(40, 3)), np.arange(40) % 2 * 2
    x[:, 0] += 4 * y
    head = logistic(x, y, 4)
    scores = softmax(x @ head.weight_KD.T + head.bias_K)
    assert np.isfinite(scores).all()
    assert (scores[:, [1, 3]] == 0).all()
    # Classes that a line parts: found with next to no penalty as well, without a word.
    assert head.val_score == 1.0


def test_one_class_alone_cannot_be_told_from_another() -> None:
    with pytest.raises(SignalError, match="windows of class 1 alone"):
        logistic(np.zeros((4, 2)), np.ones(4, np.int64), 2)


def test_units_of_features_matter_only_where_none_is_standardised() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=(80, 3)), np.arange(80) % 2
    x += y[:, None]
    units = np.array([1.0, 10.0, 100.0])
    for standardise in (True, False):
        recipe = {"standardise": standardise}
        plain, scaled = (logistic(z, y, 2, **recipe) for z in (x, x * units))
        difference = np.abs(plain.weight_KD - scaled.weight_KD * units).max()
        assert (difference < 1e-5) == standardise


def test_runs_of_before_keep_their_names() -> None:
    def run_id(**recipe: Any) -> str:
        dataset = DatasetRef(
            name="eyes", protocol="eyes-1", data="simulated", fingerprint="f"
        )
        return RunSpec(
            dataset=dataset, model="m", seed=0, recipe=ClosedFormRecipe(**recipe)
        ).run_id

    assert run_id() == run_id(solver="ridge", standardise=True)
    assert len({run_id(), run_id(solver="logistic"), run_id(standardise=False)}) == 3
