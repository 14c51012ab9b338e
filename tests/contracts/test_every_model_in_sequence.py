"""What every model owes where windows are judged in sequences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from eegfm_bench.models._sequence import InSequence, SequenceHead
from eegfm_bench.models._spec import InputShape, ModelSpec, find_model, model_names

B, S, C, T, K = 2, 4, 6, 6000, 5
SHAPE = InputShape(
    channels=("F3-A2", "C3-A2", "O1-A2", "F4-A1", "C4-A1", "O2-A1"),
    n_times=T,
    rate_hz=200.0,
    n_classes=K,
    sequence=S,
)


@pytest.fixture(params=model_names())
def known(request: pytest.FixtureRequest) -> ModelSpec:
    return find_model(request.param)


def built(known: ModelSpec) -> Any:
    torch.manual_seed(0)
    return known.build(SHAPE, scale="small")


def sequences(seed: int = 1) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return 20 * torch.randn(B, S, C, T, generator=random)


def test_every_window_of_a_sequence_gets_logits(known: ModelSpec) -> None:
    model = built(known).eval()
    with torch.inference_mode():
        logits, features = model(sequences()), model.features(sequences())
    assert logits.shape == (B, S, K)
    assert features.shape[:2] == (B, S)
    assert torch.isfinite(logits).all()


def test_a_sequence_is_judged_alone(known: ModelSpec) -> None:
    model = built(known).eval()
    x = sequences()
    with torch.inference_mode():
        together = model(x)
        alone = torch.cat([model(x[i : i + 1]) for i in range(B)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_window_hears_its_neighbours_where_it_is_trained(known: ModelSpec) -> None:
    model = built(known).eval()
    x, other = sequences(), sequences()
    other[:, -1] = sequences(seed=2)[:, -1]
    with torch.inference_mode():
        moved = (model(x)[:, 0] - model(other)[:, 0]).abs().max()
    if known.trained_by == "gradient":
        assert moved > 1e-6
        assert isinstance(model.head, SequenceHead)
    else:
        assert moved == 0


def test_no_weight_is_dead(known: ModelSpec) -> None:
    model = built(known).train()
    x = sequences()
    y = torch.arange(B * S).reshape(B, S) % K

    def criterion(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits.flatten(0, -2), labels.flatten())

    if known.trained_by != "gradient":
        assert isinstance(model, InSequence)
        return
    own = getattr(model, "loss", None)
    loss = criterion(model(x), y) if own is None else own(x, y, criterion)
    loss.backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None]
    assert dead == []


# Of heads with several forms, the one that has all options.
WHOLE_HEAD = {"cbramod": "patches", "codebrain": "patches", "trace": "window"}


def test_what_it_says_of_its_own_head_changes_nothing_here(known: ModelSpec) -> None:
    form = {"head": WHOLE_HEAD[known.name]} if known.name in WHOLE_HEAD else {}
    torch.manual_seed(0)
    as_it_is = known.build(SHAPE, scale="small", options=form)
    weights = as_it_is.state_dict()
    for key in known.head_options:
        value = known.options_at("small")[key]
        other = value + 3 if isinstance(value, int) else value / 2 + 0.1
        torch.manual_seed(0)
        changed = known.build(SHAPE, scale="small", options={**form, key: other})
        for name, found in changed.state_dict().items():
            is_head = "head." in name
            assert is_head or torch.equal(found, weights[name]), (key, name)
        changed.load_state_dict(weights)
        for training in (True, False):
            said = []
            for model in (as_it_is, changed):
                torch.manual_seed(1)
                with torch.no_grad():
                    said.append(model.train(training)(sequences()))
            assert torch.equal(*said), key
