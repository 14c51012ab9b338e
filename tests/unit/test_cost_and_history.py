"""What a forward pass costs, and how training went: beside every record."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import eegfm_bench.training.cost as cost_module
from eegfm_bench.datasets._prepare import dataset_ref, prepare
from eegfm_bench.errors import StoreError
from eegfm_bench.models._size import operations_of
from eegfm_bench.models._spec import InputShape, find_model
from eegfm_bench.runs.history import HISTORY, Epoch, read_history, write_history
from eegfm_bench.runs.record import Cost, RunRecord
from eegfm_bench.runs.spec import RunSpec
from eegfm_bench.runs.store import ResultStore
from eegfm_bench.training.cost import measured
from eegfm_bench.training.fit import input_shape
from eegfm_bench.training.worker import handle
from tests.report_records import done, spec_of

SHAPE = InputShape(channels=("Cz", "Pz"), n_times=8, rate_hz=8.0, n_classes=2)
COST = Cost(
    total_s=1.0,
    fit_s=0.5,
    test_s=0.2,
    peak_memory_bytes=1,
    n_parameters=10,
    n_parameters_head=4,
    window_passes=1,
    n_windows={"test": 1},
)


@pytest.fixture(autouse=True)
def nothing_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_module, "_counted", {})


class Toy(nn.Module):
    """One product, with a random number and a count of passes beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 2)
        self.n_passes = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.n_passes += 1
        torch.rand(1)
        return self.head(x.flatten(-2))


def taken(model: nn.Module, x: torch.Tensor) -> Cost:
    return measured(COST, spec_of("eegnet"), model, x, SHAPE)


def test_a_product_is_counted_as_two_operations_a_weight() -> None:
    cost = taken(Toy(), torch.zeros(3, 2, 8))
    assert cost.flops_per_window == 2 * 16 * 2
    assert cost.latency_ms is not None
    assert cost.latency_ms > 0
    assert cost.not_taken == {}
    assert cost.n_parameters_encoder == 6


def test_operations_of_a_sequence_are_told_for_one_of_its_windows() -> None:
    assert taken(Toy(), torch.zeros(3, 5, 2, 8)).flops_per_window == 2 * 16 * 2


def test_the_cost_is_taken_without_a_trace_in_the_random_stream() -> None:
    model = Toy()
    before = torch.get_rng_state()
    taken(model, torch.zeros(1, 2, 8))
    assert model.n_passes > 1
    assert torch.equal(torch.get_rng_state(), before)


def test_operations_are_counted_once_for_all_seeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = []
    monkeypatch.setattr(cost_module, "operations_of", lambda *_: counted.append(1) or 7)
    for seed in range(3):
        cost = measured(
            COST, spec_of("eegnet", seed=seed), Toy(), torch.zeros(1, 2, 8), SHAPE
        )
        assert cost.flops_per_window == 7
    assert len(counted) == 1
    other = spec_of("eegnet", options={"F1": 4})
    measured(COST, other, Toy(), torch.zeros(1, 2, 8), SHAPE)
    assert len(counted) == 2


class OnlyMany(nn.Module):
    """Cannot judge a window alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ValueError("needs two windows")


class Uncounted(nn.Module):
    """Has a weight, and no product."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weight).mean(-1)


def test_what_cannot_be_taken_costs_no_run_and_says_why() -> None:
    cost = taken(OnlyMany(), torch.zeros(1, 2, 8))
    assert cost.flops_per_window is cost.latency_ms is None
    assert (
        "cannot be counted: ValueError: needs two"
        in (cost.not_taken["flops_per_window"])
    )
    assert "no pass of one window: ValueError" in cost.not_taken["latency_ms"]


def test_no_count_is_not_a_count_of_nothing() -> None:
    cost = taken(Uncounted(), torch.zeros(1, 2, 8))
    assert cost.flops_per_window is None
    assert "none of its operations" in cost.not_taken["flops_per_window"]
    assert cost.latency_ms is not None


def test_a_slow_model_is_timed_a_few_times_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow(Toy):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            time.sleep(0.02)
            return super().forward(x)

    slow, quick = Slow(), Toy()
    slow_cost = taken(slow, torch.zeros(1, 2, 8))
    monkeypatch.setattr(cost_module, "LEAST_S", 10.0)
    taken(quick, torch.zeros(1, 2, 8))
    assert slow.n_passes <= 4  # counted, warmed up, timed within 30 ms
    assert slow_cost.latency_ms is not None
    assert slow_cost.latency_ms >= 20
    assert quick.n_passes <= 1 + cost_module.N_PASSES


def test_frozen_attention_is_counted_as_trained_attention_is() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x)

    model, x = Attends(), torch.zeros(1, 2, 8)
    trained = operations_of(model, x)
    model.requires_grad_(requires_grad=False)
    assert operations_of(model, x) == trained > 0
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_record_from_before_costs_were_taken_still_loads() -> None:
    record = done(spec_of(), 0.5)
    fields = json.loads(record.to_json())
    for name in ("flops_per_window", "latency_ms", "not_taken"):
        del fields["cost"][name]
    old = RunRecord.from_json(json.dumps(fields), where="here")
    assert old == record
    assert old.cost is not None
    assert old.cost.flops_per_window is None


def asked(model: str, **recipe: object) -> RunSpec:
    known = find_model(model)
    own = known.recipes["small"].model_dump() | recipe
    return RunSpec.model_validate(
        {
            "dataset": dataset_ref(prepare("eegmat")),
            "model": model,
            "model_version": known.version,
            "options": known.options_at("small"),
            "scale": "small",
            "seed": 0,
            "recipe": own,
        }
    )


def ran(spec: RunSpec, runs: Path) -> tuple[RunRecord, Path]:
    """Run a spec as a worker does; return its record and its folder."""
    task = {
        "task": "fit",
        "spec": spec.model_dump(mode="json"),
        "runs": str(runs),
        "store": str(prepare("eegmat").path),
        "device": "cpu",
    }
    outcome = handle(task, lambda event: None)
    assert outcome == {"run_id": spec.run_id, "failure": None}
    record = ResultStore(runs).get(spec.run_id)
    assert record is not None
    return record, runs / spec.run_id


def test_the_history_of_a_run_is_what_its_checkpoint_was_chosen_from(
    tmp_path: Path,
) -> None:
    record, folder = ran(asked("eegnet", epochs=2), tmp_path)
    rows = read_history(folder / HISTORY)
    assert [row.epoch for row in rows] == [1, 2]
    assert record.checkpoint is not None
    best = rows[(record.checkpoint.epoch or 0) - 1]
    assert best.val_score == record.checkpoint.val_score
    assert record.scores is not None
    assert best.val_loss == record.scores["val"]["log_loss"]
    assert 0 < rows[0].seconds < rows[1].seconds
    assert all(row.train_loss is not None and row.train_loss > 0 for row in rows)
    assert (rows[1].lr or 0) < (rows[0].lr or 0)
    store = prepare("eegmat")
    model = find_model("eegnet").build(
        input_shape(store), scale="small", options=record.spec.options
    )
    x = torch.zeros(1, *store.manifest["shape"][1:])
    assert record.cost is not None
    assert record.cost.flops_per_window == operations_of(model, x)
    assert record.cost.latency_ms is not None


def test_where_the_last_epoch_is_taken_the_main_score_is_told(tmp_path: Path) -> None:
    record, folder = ran(asked("eegnet", epochs=1, select="last"), tmp_path)
    (row,) = read_history(folder / HISTORY)
    assert record.scores is not None
    assert row.val_score == record.scores["val"]["auroc"]


def test_what_is_solved_for_has_no_history(tmp_path: Path) -> None:
    record, folder = ran(asked("bandpower"), tmp_path)
    assert not (folder / HISTORY).exists()
    assert record.cost is not None
    assert record.cost.flops_per_window


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = [
        Epoch(1, 0.1 + 0.2, 1 / 3, None, float(np.nextafter(0.5, 1)), 1e-3),
        Epoch(2, 0.5, 0.25, 0.5, None, None),
    ]
    write_history(tmp_path / HISTORY, rows)
    assert read_history(tmp_path / HISTORY) == rows


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text.replace("lr", "rate"), "its columns are epoch"),
        (lambda text: text[:-7], "has 5 values"),
        (lambda text: text.replace("1,", "4,", 1), "do not count from 1"),
        (lambda text: text.replace("0.25", "good"), "could not convert"),
        (lambda text: "", "its columns are none"),
    ],
)
def test_a_damaged_history_is_refused_by_name(
    tmp_path: Path, damage: object, said: str
) -> None:
    file = tmp_path / HISTORY
    write_history(file, [Epoch(1, 0.5, 0.25, 0.5, 0.5, 0.001)])
    file.write_text(damage(file.read_text()))  # type: ignore[operator]
    with pytest.raises(StoreError, match=said) as told:
        read_history(file)
    assert str(file) in str(told.value)
