"""Which experts serve which source: sets by hand, from a table, on the card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from eegfm_bench.errors import StoreError
from eegfm_bench.models.trace.ffn import Routed
from eegfm_bench.pretraining.card import _experts
from eegfm_bench.pretraining.expert_sets import (
    expert_sets,
    routed_weights,
    sets_in_words,
)
from eegfm_bench.pretraining.module import routed_sums
from tests.small_corpus import corpus, pretrain, spec

# Three sources and six experts, of which two make a set.
WEIGHTS = {
    "tueg": [0.40, 0.30, 0.10, 0.10, 0.05, 0.05],  # 0 and 1
    "hbn": [0.30, 0.05, 0.40, 0.10, 0.10, 0.05],  # 2 and 0
    "eegmat": [0.25, 0.15, 0.20, 0.20, 0.20, 0.00],  # 0 and, of three alike, 2
}


def test_sets_are_as_by_hand() -> None:
    found = expert_sets(WEIGHTS, 2)
    assert found.top == {"tueg": (0, 1), "hbn": (2, 0), "eegmat": (0, 2)}
    assert found.universal == (0,)
    assert found.unique == {"tueg": (1,), "hbn": (), "eegmat": ()}
    assert found.of_at_least(2) == (0, 2)
    # {0, 1} and {0, 2} share one of three; {0, 2} twice is the same.
    assert found.jaccard == pytest.approx(
        {("tueg", "hbn"): 1 / 3, ("tueg", "eegmat"): 1 / 3, ("hbn", "eegmat"): 1.0}
    )
    assert found.mean_jaccard == pytest.approx(5 / 9)


def test_an_expert_without_weight_is_in_no_set() -> None:
    found = expert_sets({"a": [1.0, 0.0, 0.0], "b": [0.0, 0.0, 1.0]}, 2)
    assert found.top == {"a": (0,), "b": (2,)}
    assert (found.universal, found.mean_jaccard) == ((), 0.0)
    alone = expert_sets({"a": [0.6, 0.4]}, 1)
    assert (alone.unique, alone.mean_jaccard) == ({"a": (0,)}, None)


@pytest.mark.parametrize("is_normed", [False, True])
def test_a_block_gives_its_weight_to_those_it_chose(is_normed: bool) -> None:
    p = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]])
    routed = Routed(p, torch.tensor([[0, 1], [2, 1]]))
    found = routed_sums([routed], torch.zeros(1, 3), is_normed)
    parts = [0.5, 0.3, 0.6, 0.3]
    if is_normed:
        parts = [0.5 / 0.8, 0.3 / 0.8, 0.6 / 0.9, 0.3 / 0.9]
    by_hand = torch.tensor([[parts[0], parts[1] + parts[3], parts[2]]]).double()
    torch.testing.assert_close(found, by_hand, rtol=0, atol=1e-7)


def test_the_last_fifth_of_the_steps_counts(tmp_path: Path) -> None:
    asked = spec(corpus(), steps=11)  # two of six experts are active
    head = "step,source,layer," + ",".join(f"{w}{n}" for w in "ew" for n in range(6))
    rows = [
        "0,long,0,9,9,0,0,0,0,9,9,0,0,0,0",  # early
        "8,long,0,0,0,4,0,0,4,0,0,2,0,0,1",
        "8,short,0,2,0,2,0,0,0,0.5,0,1,0,0,0",
        "10,long,0,0,2,0,0,0,2,0,0.5,0,0,0,1",
        "3,short,0,0,2,0,2,0,0,0,1,0,1,0,0",
    ]
    (tmp_path / "experts.csv").write_text("\n".join([head, *rows]) + "\n")
    (layer,) = routed_weights(tmp_path, asked)
    assert list(layer) == ["long", "short"]
    # Six blocks of the one, two of the other.
    np.testing.assert_allclose(layer["long"], np.array([0, 0.5, 2, 0, 0, 2]) / 6)
    np.testing.assert_allclose(layer["short"], np.array([0.5, 0, 1, 0, 0, 0]) / 2)
    said = sets_in_words([layer], 2)
    assert "| long | 2 (0.333), 5 (0.333) | 5 |" in said
    assert "| short | 2 (0.500), 0 (0.250) | 0 |" in said
    assert "Of all these sources: 2." in said
    assert "long and short 0.33. Mean of all pairs and layers: 0.33." in said


def test_a_source_that_was_never_noted_is_named(tmp_path: Path) -> None:
    asked = spec(corpus())
    columns = [f"{w}{n}" for w in "ew" for n in range(6)]
    head = ",".join(["step", "source", "layer", *columns])
    row = "0,short,0,1,1,0,0,0,0,0.5,0.5,0,0,0,0"
    (tmp_path / "experts.csv").write_text(f"{head}\n{row}\n")
    (card,) = _experts(tmp_path, asked)
    assert card.endswith("Not drawn at any step that was noted: long.")
    assert "Jaccard" not in card  # one source shares with nobody


def test_the_weights_of_a_pre_training_are_those_of_its_choices(tmp_path: Path) -> None:
    of = corpus()
    asked = spec(of, steps=3, balance_weight=0.0, options={"active": 6})
    pretrain(asked, of, tmp_path)
    for layer in routed_weights(tmp_path, asked):
        for own in layer.values():
            assert sum(own) == pytest.approx(1, abs=1e-4)  # all chosen: all they have
    assert "## Which experts served whom" in _experts(tmp_path, asked)[0]


def test_a_dense_network_has_none_and_a_lost_table_is_an_error(tmp_path: Path) -> None:
    of = corpus()
    dense = spec(of, steps=3, options={"routing": "none", "dense_width": 8})
    pretrain(dense, of, tmp_path)
    assert _experts(tmp_path, dense) == []
    (tmp_path / "experts.csv").unlink()
    with pytest.raises(StoreError, match="does not say which experts served whom"):
        routed_weights(tmp_path, spec(of))
    (tmp_path / "experts.csv").write_text("step,source,layer,e0,e1\n9,long,0,1,2\n")
    with pytest.raises(StoreError, match="pre-train anew in another folder"):
        routed_weights(tmp_path, spec(of))
