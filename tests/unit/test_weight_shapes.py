"""Weights of other shapes, orders and precisions: kept in meaning, or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from eegfm_bench.errors import WeightsError
from eegfm_bench.models._sequence import in_sequence
from eegfm_bench.models._weights import PublicWeights
from eegfm_bench.weights.files import read_weights
from eegfm_bench.weights.loading import load, match
from tests.unit.planted_weights import (
    BY_CHANNEL,
    PROBE,
    SHAPE,
    SPEC,
    built,
    on_disk,
    trained,
)


def test_rows_of_channels_go_by_name_and_are_refused_where_nobody_names_them(
    tmp_path: Path,
) -> None:
    state = {**trained().state_dict(), "rows": torch.arange(8.0).reshape(2, 4)}
    file = on_disk(tmp_path / "a.pth", state)
    with pytest.raises(WeightsError, match=r"rows: \(2, 4\) does not fit \(3, 4\)"):
        load(built(), SPEC, file)
    public = PublicWeights(
        key="a",
        file="a.pth",
        layout="own",
        licence="MIT",
        source="test",
        git_blob=file.git_blob,
        channels=("PZ", "FZ"),
    )
    spec = replace(SPEC, weights=replace(BY_CHANNEL.weights, public=(public,)))
    model = built()
    own = model.rows[1].clone()
    report = load(model, spec, file)
    assert report.reshaped == (
        "rows: (2, 4) to (3, 4), rows by channel, 1 started anew: Cz",
    )
    assert (report.matched, report.is_full) == (10, True)
    assert "+" not in report.weights_id  # its bytes say it all
    assert model.rows.tolist() == [[4, 5, 6, 7], own.tolist(), [0, 1, 2, 3]]


def test_a_table_in_another_order_of_channels_is_sorted_though_its_shape_fits(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    source = trained()
    torch.save(source.state_dict(), folder / "pytorch_model.bin")
    names = '{"eegfm_bench": {"channels": ["Pz", "Cz", "Fz"]}}'
    (folder / "config.json").write_text(names)
    model = built()
    by_name = load(model, BY_CHANNEL, read_weights(folder))
    assert torch.equal(model.rows, source.rows.flip(0))
    assert by_name.channels == ("Pz", "Cz", "Fz")
    (folder / "config.json").write_text('{"eegfm_bench": {"channels": 3}}')
    with pytest.raises(WeightsError, match="expected a list of names"):
        load(model, BY_CHANNEL, read_weights(folder))
    (folder / "config.json").unlink()
    report = load(model, BY_CHANNEL, read_weights(folder))
    assert "3 rows by position: nobody says" in report.reshaped[0]
    # The same bytes, read otherwise, are another start by name.
    assert report.sha256 == by_name.sha256
    assert report.weights_id == f"weights-{report.sha256[:12]}"
    assert by_name.weights_id.startswith(f"{report.weights_id}+channels-")


def test_more_places_than_the_file_has_start_anew_and_are_listed(
    tmp_path: Path,
) -> None:
    longer = replace(SHAPE, n_times=40)
    model = built(shape=longer)
    start = model.places.clone()
    file = on_disk(tmp_path / "a.pth", trained().state_dict())
    report = load(model, SPEC, file)
    assert report.reshaped == ("places: (1, 2, 4) to (1, 4, 4), the rest started anew",)
    assert torch.equal(model.places[:, :2], trained().places)
    assert torch.equal(model.places[:, 2:], start[:, 2:])
    shorter = built(shape=replace(SHAPE, n_times=10))
    with pytest.raises(WeightsError, match="does not fit"):
        load(shorter, SPEC, file)


def test_sizes_of_another_scale_are_recognised_as_such(tmp_path: Path) -> None:
    wider = {n: torch.stack((t, t)) for n, t in trained().state_dict().items()}
    file = on_disk(tmp_path / "a.pth", wider)
    with pytest.raises(WeightsError, match="another --scale or with other options"):
        load(built(), SPEC, file, allow_partial=True)


def test_half_precision_is_cast_and_counted_and_counts_never_become_floats(
    tmp_path: Path,
) -> None:
    state = trained().state_dict()
    halved = {n: t.bfloat16() if t.is_floating_point() else t for n, t in state.items()}
    model = built()
    report = load(model, SPEC, on_disk(tmp_path / "a.pth", halved))
    assert (report.cast, report.matched) == (10, 11)
    assert torch.equal(model.mix.weight, halved["mix.weight"].float())
    state["norm.num_batches_tracked"] = torch.tensor(1.5)
    with pytest.raises(WeightsError, match=r"num_batches_tracked.*float32.*int64"):
        load(model, SPEC, on_disk(tmp_path / "b.pth", state))


def test_a_model_of_sequences_loads_what_single_windows_trained_and_its_own(
    tmp_path: Path,
) -> None:
    shape = replace(SHAPE, sequence=2)

    def sequences(seed: int) -> nn.Module:
        return in_sequence(built(seed), shape, scale="small", is_trained=True)

    x = PROBE.unflatten(0, (2, 2))
    single = on_disk(tmp_path / "a.pth", trained().state_dict())
    model = sequences(0)
    report = load(model, SPEC, single, probe_x=x)
    assert (report.matched, report.layout, report.is_full) == (11, "own", True)
    assert torch.equal(model.model.mix.weight, trained().mix.weight)
    own = on_disk(tmp_path / "b.pth", sequences(7).state_dict())
    report = load(model, SPEC, own, probe_x=x)
    assert (report.matched, report.layout) == (11, "own, in sequence")
    assert report.unused > 0


def test_what_a_wrapper_put_before_a_models_own_names_may_be_part_of_them(
    tmp_path: Path,
) -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Linear(2, 2)

    file = on_disk(tmp_path / "a.pth", Inner().state_dict())
    assert file.stripped == "model."
    assert match(Inner(), SPEC, file).report.matched == 2
