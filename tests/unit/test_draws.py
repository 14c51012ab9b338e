"""What is in which micro-batch: pure, fair, whole passes, any number of hands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegfm_bench.errors import SpecError
from eegfm_bench.pretraining import draws as module
from eegfm_bench.pretraining.draws import Draws

KNOWN: dict[str, Any] = {
    "micro_batches": 4,
    "seed": 3,
    "exponent": 1.0,
    "token_budget": 60,
}


def drawn(draws: Draws, n_steps: int, first: int = 0) -> list[tuple[int, list[int]]]:
    every = [
        draws.micro_batch(step, micro)
        for step in range(first, first + n_steps)
        for micro in range(draws.micro_batches)
    ]
    return [(source, positions.tolist()) for source, positions in every]


sources = st.lists(
    st.tuples(st.integers(1, 40), st.integers(1, 90)), min_size=1, max_size=4
)


@settings(max_examples=30, deadline=None)
@given(
    sources,
    st.integers(0, 2**32),
    st.floats(0, 3),
    st.integers(1, 100),
    st.integers(1, 6),
)
def test_no_window_comes_again_before_all_others_of_its_source_have(
    sizes_tokens: list[tuple[int, int]],
    seed: int,
    exponent: float,
    budget: int,
    micro_batches: int,
) -> None:
    sizes, tokens = zip(*sizes_tokens, strict=True)
    draws = Draws(
        sizes,
        tokens,
        micro_batches=micro_batches,
        seed=seed,
        exponent=exponent,
        token_budget=budget,
    )
    seen: dict[int, list[int]] = {}
    for source, positions in drawn(draws, 30):
        assert 1 <= len(positions) <= draws.batch_sizes[source]
        fits = len(positions) * tokens[source] <= budget
        assert fits or (len(positions) == 1 and source in draws.oversized)
        seen.setdefault(source, []).extend(positions)
    for source, positions in seen.items():
        n = sizes[source]
        for start in range(0, len(positions), n):
            one_pass = positions[start : start + n]
            assert len(set(one_pass)) == len(one_pass)
            assert set(one_pass) <= set(range(n))


def test_a_run_taken_up_anywhere_and_any_order_of_asking_give_the_same() -> None:
    straight = drawn(Draws([50, 7], [10, 30], **KNOWN), 40)
    resumed = Draws([50, 7], [10, 30], **KNOWN)
    assert drawn(resumed, 25, first=15) == straight[15 * 4 :]
    assert drawn(resumed, 15) == straight[: 15 * 4]
    backwards = Draws([50, 7], [10, 30], **KNOWN)
    for at in reversed(range(160)):
        source, positions = backwards.micro_batch(*divmod(at, 4))
        assert (source, positions.tolist()) == straight[at]


@pytest.mark.parametrize("n_processes", [1, 2, 4])
def test_processes_that_share_a_step_draw_what_one_would(n_processes: int) -> None:
    one = drawn(Draws([50, 7], [10, 30], **KNOWN), 20)
    shared = {}
    for rank in range(n_processes):
        own = Draws([50, 7], [10, 30], **KNOWN)
        for step in range(20):
            for micro in range(rank, 4, n_processes):
                source, positions = own.micro_batch(step, micro)
                shared[4 * step + micro] = (source, positions.tolist())
    assert [shared[at] for at in range(80)] == one


def test_blocks_of_draws_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 8)
    straight = drawn(Draws([50, 7], [10, 30], **KNOWN), 30)
    for step in (29, 2, 17):
        again = Draws([50, 7], [10, 30], **KNOWN)
        assert drawn(again, 1, first=step) == straight[4 * step : 4 * step + 4]
    seen = [p for source, positions in straight if source == 0 for p in positions]
    assert sorted(seen[:50]) == list(range(50))


@pytest.mark.parametrize(
    ("exponent", "expected"),
    [(1.0, (0.9, 0.1)), (0.0, (0.5, 0.5)), (0.5, (0.75, 0.25))],
)
def test_sources_come_as_often_as_their_windows_and_the_exponent_say(
    exponent: float, expected: tuple[float, float]
) -> None:
    draws = Draws([900, 100], [10, 10], **{**KNOWN, "exponent": exponent})
    np.testing.assert_allclose(draws.probabilities, expected)
    came = [draws.micro_batch(k // 4, k % 4)[0] for k in range(8000)]
    # Five standard deviations of 8,000 draws.
    assert np.mean(np.array(came) == 1) == pytest.approx(expected[1], abs=0.028)


def test_seeds_passes_and_sources_differ_in_order() -> None:
    first = drawn(Draws([50, 50], [10, 10], **KNOWN), 60)
    other = drawn(Draws([50, 50], [10, 10], **{**KNOWN, "seed": 4}), 60)
    assert first != other
    orders = {
        s: [p for source, positions in first if source == s for p in positions]
        for s in (0, 1)
    }
    assert orders[0][:50] != orders[0][50:100]
    assert orders[0][:50] != orders[1][:50]


def test_a_window_beyond_the_budget_is_drawn_alone_and_said() -> None:
    draws = Draws([5, 9], [61, 60], **KNOWN)
    assert draws.oversized == (0,)
    assert draws.batch_sizes == (1, 1)


def test_steps_are_as_many_as_go_through_all_windows() -> None:
    draws = Draws([500, 300], [10, 20], **KNOWN)
    n_steps = draws.steps(2.0)
    n_windows = sum(len(positions) for _, positions in drawn(draws, n_steps))
    assert n_windows == pytest.approx(2 * 800, rel=0.1)
    assert Draws([1], [1], **KNOWN).steps(0.1) == 1


def test_what_is_handed_out_can_be_changed_without_harm() -> None:
    draws = Draws([50], [10], **KNOWN)
    draws.micro_batch(0, 0)[1][:] = -1
    assert min(draws.micro_batch(0, 0)[1]) >= 0


@pytest.mark.parametrize(
    ("sizes", "tokens", "changed", "says"),
    [
        ([], [], {}, "0 sources"),
        ([3, 4], [1], {}, "2 sources have 1 counts"),
        ([3, 0], [1, 1], {}, "Source 1 has 0 windows"),
        ([3], [0], {}, "Source 0 has 0 tokens"),
        ([3], [1], {"token_budget": 0}, "token_budget is 0"),
        ([3], [1], {"micro_batches": 0}, "micro_batches is 0"),
        ([3], [1], {"seed": -1}, "seed is -1"),
        ([3], [1], {"exponent": -0.5}, "exponent is -0.5"),
        ([3], [1], {"exponent": float("nan")}, "exponent is nan"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    sizes: list[int], tokens: list[int], changed: dict[str, Any], says: str
) -> None:
    with pytest.raises(SpecError, match=says):
        Draws(sizes, tokens, **{**KNOWN, **changed})


@pytest.mark.parametrize(("step", "micro"), [(-1, 0), (0, 4), (0, -1)])
def test_there_is_no_micro_batch_outside_a_step(step: int, micro: int) -> None:
    with pytest.raises(SpecError, match="There is no micro-batch"):
        Draws([3], [1], **KNOWN).micro_batch(step, micro)
