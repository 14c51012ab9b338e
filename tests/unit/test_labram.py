"""LaBraM: positions of channels, embeddings of time, layers, and faults."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from eegfm_bench.errors import SpecError
from eegfm_bench.models._spec import build, find_model
from eegfm_bench.models.labram import LaBraM, positions
from eegfm_bench.runs.recipes import recipe_book
from eegfm_bench.runs.spec import TrainingRecipe
from eegfm_bench.training.optimizer import parameter_groups

PAIRS = [
    *("FP1-F7", "F7-T7", "T7-P7", "P7-O1"),
    *("FP2-F8", "F8-T8", "T8-P8", "P8-O2"),
    *("FP1-F3", "F3-C3", "C3-P3", "P3-O1"),
    *("FP2-F4", "F4-C4", "C4-P4", "P4-O2"),
]
OLD_PAIRS = [
    p.replace("T7", "T3").replace("P7", "T5").replace("T8", "T4").replace("P8", "T6")
    for p in PAIRS
]


def labram(channels: list[str], n_times: int = 400, **options: Any) -> LaBraM:
    torch.manual_seed(0)
    more = {"num_layers": 1, **options}
    return build(
        "labram",
        channels=channels,
        n_times=n_times,
        rate_hz=200.0,
        n_classes=2,
        **more,
    ).eval()


def eeg(n_channels: int, n_times: int = 400) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return 20 * torch.randn(3, n_channels, n_times, generator=generator)


def rows(channels: list[str]) -> list[int]:
    return [position.row for position in positions(channels)]


def test_names_count_without_regard_to_case() -> None:
    assert rows(["Fp1", "CPz", "Iz", "ttp7h"]) == rows(["FP1", "CPZ", "IZ", "TTP7H"])
    assert max(rows(["Fp1", "CPz", "Iz", "ttp7h"])) <= 128


def test_a_pair_without_a_position_has_its_first_electrodes() -> None:
    found = positions(PAIRS)
    assert [p.why for p in found[:8]] == ["its own"] * 8
    assert found[8].why == "of its first electrode, FP1"
    first = [name.partition("-")[0] for name in PAIRS[8:]]
    assert [p.row for p in found[8:]] == rows(first)


def test_old_names_of_electrodes_mean_the_same_pairs() -> None:
    assert OLD_PAIRS[1:4] == ["F7-T3", "T3-T5", "T5-O1"]
    assert rows(OLD_PAIRS) == rows(PAIRS)


def test_sleep_channels_and_the_ear_have_places_of_electrodes() -> None:
    sleep = ["F3-A2", "C3-A2", "O1-A2", "F4-A1", "C4-A1", "O2-A1"]
    assert rows(sleep) == rows(["F3", "C3", "O1", "F4", "C4", "O2"])
    assert positions(["Pz", "A2-A1"])[1].why == "of its first electrode, A2"


@pytest.mark.parametrize(
    "channels",
    [
        PAIRS,
        ["F3", "F3-A2", "F3-C3", "F3"],
        ["F3-A2", "F3"],
        ["F7-T7", "F7-T3", "F7-T7"],
        [f"E{c}" for c in range(200)],
        ["", "-", "A-B", "-C3", "Cz"],
    ],
)
def test_no_two_channels_share_a_position(channels: list[str]) -> None:
    found = positions(channels)
    assert [p.channel for p in found] == channels
    assert len({p.row for p in found}) == len(channels)
    assert all(1 <= p.row <= 128 + len(channels) for p in found)


def test_an_electrode_keeps_its_position_wherever_it_stands() -> None:
    before, after = positions(["F3-A2", "F3"]), positions(["F3", "F3-A2"])
    assert before[1].row == after[0].row
    assert before[1].why == "its own"
    assert before[0].why == "learned anew: F3's is taken"


def test_names_do_not_decide_how_many_weights_there_are() -> None:
    named, unnamed = labram(["Fp1", "Cz"]), labram(["E1", "E2"])
    assert named.state_dict().keys() == unnamed.state_dict().keys()
    for name, value in named.state_dict().items():
        assert unnamed.state_dict()[name].shape == value.shape


@torch.no_grad()
def test_an_electrode_is_known_by_its_name_not_its_row() -> None:
    model, turned = labram(["Fp1", "Cz", "O2"]), labram(["O2", "Cz", "Fp1"])
    turned.load_state_dict(model.state_dict())
    x = eeg(3)
    # Tokens are summed in another order.
    torch.testing.assert_close(
        model.features(x), turned.features(x.flip(1)), rtol=1e-4, atol=1e-5
    )
    renamed = labram(["Fp2", "Cz", "O2"])
    renamed.load_state_dict(model.state_dict())
    assert (renamed.features(x) - model.features(x)).abs().max() > 1e-4


@torch.no_grad()
def test_every_second_of_a_long_window_has_its_own_embedding() -> None:
    model = labram(["C3", "C4"], n_times=6000)
    assert model.time_embed.shape == (1, 30, 200)
    assert labram(["C3"], n_times=400).time_embed.shape == (1, 16, 200)
    x = eeg(2, 6000)
    before = model.features(x)
    model.time_embed[0, 29, :100] += 1.0  # a norm takes off what all share
    assert (model.features(x) - before).abs().max() > 1e-4


def test_rates_fall_from_layer_to_layer_as_published() -> None:
    model = labram(["C3", "C4"], num_layers=12)
    recipe = find_model("labram").recipes["paper"]
    assert isinstance(recipe, TrainingRecipe)
    rates = {
        id(p): (group["lr"], group["weight_decay"])
        for group in parameter_groups(model, recipe)
        for p in group["params"]
    }
    found = {name: rates[id(p)] for name, p in model.named_parameters()}
    lr = 5e-4
    assert found["head.weight"] == (lr, 0.05)
    assert found["fc_norm.weight"] == (lr, 0.0)
    assert found["time_embed"][0] == lr
    assert found["blocks.11.mlp.0.weight"] == (pytest.approx(lr * 0.65), 0.05)
    assert found["blocks.0.gamma_1"] == (pytest.approx(lr * 0.65**12), 0.0)
    assert found["pos_embed"][0] == pytest.approx(lr * 0.65**13)
    assert found["patch_embed.conv1.weight"][0] == pytest.approx(lr * 0.65**13)


def test_the_book_says_what_the_code_does() -> None:
    book, spec = recipe_book("labram"), find_model("labram")
    assert book is not None
    recipe = spec.recipes["paper"].model_dump()
    for key, value in book.values("any", 6).items():
        assert {**recipe, **spec.options}[key] == value
    assert book.values("any", 2)["label_smoothing"] == 0.0


def test_the_small_head_sees_each_filter_of_each_channel() -> None:
    model = labram(["C3", "C4", "Cz"], scale="small")
    assert model.features(eeg(3)).shape == (3, 12)
    assert sum(p.numel() for p in model.head.parameters()) == 2 * 12 + 2 * 12 + 2


def test_bfloat16_stays_near_float32() -> None:
    model, x = labram(["C3", "C4"], num_layers=2, init_scale=1.0), eeg(2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rounded = model(x)
    # bfloat16 has 8 bits.
    torch.testing.assert_close(rounded.float(), model(x), rtol=0.1, atol=0.05)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"patch_size": 0}, "patch_size of labram is 0; expected a whole number"),
        ({"num_layers": 1.5}, "num_layers of labram is 1.5; expected a whole number"),
        ({"num_heads": True}, "num_heads of labram is True"),
        ({"num_heads": 7}, "width 200 .* cannot be shared among 7 heads"),
        ({"conv_out_channels": 6}, "is 6; expected a multiple of 4"),
        ({"mlp_ratio": 0}, "mlp_ratio of labram is 0; expected a number above 0"),
        ({"mlp_ratio": 1e-3}, "no hidden unit is left"),
        ({"init_values": -1}, "init_values of labram is -1"),
        ({"drop_path_prob": 1}, "is 1; expected a number from 0 to below 1"),
        ({"attn_head_dim": 0}, "attn_head_dim of labram is 0"),
        ({"has_pooled_head": 1}, "is 1; expected true or false"),
        ({"drop_prob": "0.1"}, "drop_prob of labram is '0.1'"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: dict[str, Any], says: str
) -> None:
    with pytest.raises(SpecError, match=says):
        find_model("labram").options_for("paper", options)


def test_windows_of_broken_patches_or_another_rate_are_refused() -> None:
    with pytest.raises(SpecError, match="450 time points do not divide into patches"):
        labram(["C3"], n_times=450)
    assert labram(["C3"], n_times=450, patch_size=150, num_heads=8)
    with pytest.raises(SpecError, match="come at 250 Hz; LaBraM listens at 200 Hz"):
        build("labram", channels=["C3"], n_times=500, rate_hz=250.0, n_classes=2)
