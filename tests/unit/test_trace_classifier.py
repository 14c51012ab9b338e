"""Trace as a classifier, and what may be set about it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import eegfm_bench
from eegfm_bench.errors import SignalError, SpecError, UnknownName
from eegfm_bench.models.trace.config import (
    TAGS,
    TraceConfig,
    checked_options,
    config_at,
)
from tests.trace_models import L, classifier, windows


def test_encode_gives_a_state_for_every_channel_and_second() -> None:
    model = eegfm_bench.build(
        "trace",
        channels=["anything", "goes"],
        n_times=3 * L,
        rate_hz=200.0,
        n_classes=2,
        scale="small",
    )
    assert model.encode(windows(5, 2, 3 * L)).shape == (5, 2, 3, 32)


@pytest.mark.parametrize("head", ["window", "pooled", "causal"])
def test_each_head_reads_its_features(head: str) -> None:
    model = classifier(head=head).eval()
    x = windows(2, 3, 4 * L)
    logits = model(x)
    assert logits.shape == (2, 3)
    torch.testing.assert_close(model.head(model.features(x)), logits)


def test_a_batch_of_one_window_can_be_trained_on() -> None:
    model = classifier(head="pooled").train()
    model(windows(4, 3, 4 * L))  # gives the norm something to know
    logits = model(windows(1, 3, 4 * L))
    logits.sum().backward()
    assert torch.isfinite(logits).all()


def test_the_causal_head_scores_every_patch_without_the_next() -> None:
    model = classifier(head="causal")
    x = windows(2, 3, 4 * L).requires_grad_()
    scores = model.step_logits(x)
    assert scores.shape == (2, 4, 3)
    torch.testing.assert_close(scores[:, -1], model(x))
    (grad,) = torch.autograd.grad(scores[:, 1].sum(), x)
    assert torch.count_nonzero(grad[..., 2 * L :]) == 0


def test_the_causal_head_is_trained_at_every_step() -> None:
    model = classifier(head="causal")
    x, y = windows(2, 3, 4 * L), torch.tensor([0, 2])
    criterion = torch.nn.functional.cross_entropy
    steps = torch.stack([criterion(s, y) for s in model.step_logits(x).unbind(1)])
    torch.testing.assert_close(model.loss(x, y, criterion), steps.mean())


def test_a_window_head_has_no_score_of_a_patch() -> None:
    with pytest.raises(SpecError, match="before a window is complete"):
        classifier().step_logits(windows(1, 3, 4 * L))


def test_the_balance_joins_the_loss_by_its_weight() -> None:
    x, y = windows(2, 3, 4 * L), torch.tensor([0, 2])
    criterion = torch.nn.functional.cross_entropy
    plain = classifier(dropout=0.0)
    weighed = classifier(dropout=0.0, balance_weight=0.5)  # of the same seed
    balance = plain.encoder.balance_loss(plain.encoder(x))
    torch.testing.assert_close(
        weighed.loss(x, y, criterion), plain.loss(x, y, criterion) + 0.5 * balance
    )


@pytest.mark.parametrize("head", ["window", "pooled"])
def test_windows_of_another_size_are_refused(head: str) -> None:
    with pytest.raises(SignalError, match="was built for 3 and 4"):
        classifier(head=head)(windows(2, 5, 4 * L))


def test_a_rest_beyond_whole_patches_is_dropped() -> None:
    model = classifier().eval()
    x = windows(2, 3, 4 * L)
    longer = torch.cat([x, windows(2, 3, 50, seed=4)], dim=-1)
    torch.testing.assert_close(model(longer), model(x))


# --- the configuration ----------------------------------------------------------------


def test_every_value_says_how_it_is_known() -> None:
    for name, known in TraceConfig.known().items():
        assert known.tag.split(":")[0] in TAGS, name
        assert known.why, name


def test_options_round_trip_as_text() -> None:
    for scale in ("paper", "small"):
        start = config_at(scale)
        assert TraceConfig().with_options(start.options()) == start


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dim": 30, "heads": 8}, "not a multiple of heads"),
        ({"dim": 200, "heads": 8, "kv_heads": 8}, "must be even"),
        ({"time_kernels": "15,48"}, "odd numbers"),
        ({"channel_kernels": "wide"}, "odd numbers such as"),
        ({"experts": 2, "active": 4}, "more than its experts"),
        ({"layers": 0}, "1 or more"),
        ({"layers": 1.5}, "a whole number"),
        ({"dim": "32"}, "a whole number"),
        ({"dense_width": "wide"}, "a whole number, or nothing"),
        ({"dense_width": 0}, "have it solved for"),
        ({"dropout": "0.1"}, "a finite number"),
        ({"dropout": 1.0}, "below 1"),
        ({"balance_weight": float("nan")}, "a finite number"),
        ({"scale_uv": 0.0}, "more than 0"),
        ({"rope_base": -5.0}, "more than 0"),
        ({"norm_topk": "yes"}, "true or false"),
        ({"time_kernels": (15.0, 49)}, "odd whole numbers"),
        ({"time_kernels": "none"}, "name one"),
    ],
)
def test_values_that_do_not_fit_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        TraceConfig().with_options(changes)


@pytest.mark.parametrize(
    ("scale", "options"),
    [
        ("small", {"head_units_alone": 400}),
        ("paper", {"dense_width": 512}),
        ("paper", {"routing": "none", "experts": 8}),
        ("paper", {"routing": "token", "queries": 1}),
        ("paper", {"views": "time", "fusion": "sum"}),
        ("paper", {"head": "causal", "dropout": 0.3}),
    ],
)
def test_what_would_change_nothing_is_refused(
    scale: str, options: dict[str, Any]
) -> None:
    with pytest.raises(SpecError, match="changes nothing"):
        checked_options(options, scale)


@pytest.mark.parametrize("scale", ["paper", "small"])
@pytest.mark.parametrize("name", ["time_kernels", "channel_kernels"])
def test_one_kernel_alone_can_be_asked_for(name: str, scale: str) -> None:
    for value in (19, "19", "19,"):
        assert getattr(config_at(scale, {name: value}), name) == (19,)


def test_options_have_one_spelling() -> None:
    for value in ("15, 49", "15,49", (15, 49), [15, 49]):
        assert checked_options({"time_kernels": value}, "paper")["time_kernels"] == (
            "15,49"
        )


def test_a_misspelt_word_suggests_the_nearest() -> None:
    with pytest.raises(UnknownName, match="token"):
        TraceConfig().with_options({"routing": "tokens"})


def test_other_rates_and_short_windows_are_refused() -> None:
    with pytest.raises(SpecError, match="200 Hz"):
        eegfm_bench.build(
            "trace", channels=["C3"], n_times=512, rate_hz=256, n_classes=2
        )
    with pytest.raises(SpecError, match="shorter than one patch"):
        eegfm_bench.build(
            "trace", channels=["C3"], n_times=150, rate_hz=200, n_classes=2
        )
