"""Specs, their names, records and the folder they fill."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from eegfm_bench.errors import SpecError, StoreError, UnknownName
from eegfm_bench.runs import spec as spec_module
from eegfm_bench.runs.record import Failure, RunRecord
from eegfm_bench.runs.spec import (
    ClosedFormRecipe,
    DatasetRef,
    NoRecipe,
    RunSpec,
    TrainingRecipe,
    canonical_json,
    checked,
)
from eegfm_bench.runs.store import ResultStore

GOLDEN = Path(__file__).parents[1] / "golden" / "run_ids.json"
REF = DatasetRef(
    name="eyes", protocol="eyes-1-0a1b2c3d", data="simulated", fingerprint="twin-1"
)


def make(seed: int = 0, **changes: object) -> RunSpec:
    recipe = TrainingRecipe(epochs=4, batch_size=8, lr=0.01)
    fields = {"dataset": REF, "model": "eegnet", "scale": "small", "recipe": recipe}
    return RunSpec.model_validate({**fields, "seed": seed, **changes})


def specs() -> dict[str, RunSpec]:
    return {
        "gradient": make(),
        "other seed": make(seed=3),
        "options": make(options={"F1": 16}),
        "closed form": make(model="bandpower", recipe=ClosedFormRecipe()),
        "prior": make(model="chance", recipe=NoRecipe()),
        "odd name": make(model="braindecode:Deep4Net"),
    }


def test_known_ids_never_change() -> None:
    golden = json.loads(GOLDEN.read_text())
    assert {k: [s.run_id, s.cell_id] for k, s in specs().items()} == golden


def test_only_code_from_outside_enters_the_id() -> None:
    assert '"code"' not in make().identity()
    outside = make(model="torch:mynet:Net", code="0a1b2c3d")
    assert outside.run_id == "torch.mynet.Net-eyes-s0-c2df34ac"
    assert outside.run_id != make(model="torch:mynet:Net", code="0a1b2c3e").run_id


def test_a_spec_survives_its_own_json() -> None:
    for spec in specs().values():
        again = RunSpec.model_validate_json(spec.model_dump_json())
        assert again == spec
        assert again.run_id == spec.run_id


def test_the_id_ignores_key_order() -> None:
    fields = make().model_dump(mode="json")
    turned = dict(reversed(fields.items()))
    assert RunSpec.model_validate(turned).run_id == make().run_id


def test_a_cell_is_a_run_without_its_seed() -> None:
    assert make(seed=1).cell_id == make(seed=2).cell_id
    assert make(seed=1).run_id != make(seed=2).run_id


def test_a_field_born_later_does_not_rename_old_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_field = make()
    without = json.loads(with_field.identity())
    del without["recipe"]["label_smoothing"]
    monkeypatch.setitem(spec_module.BORN_LATER, "recipe.label_smoothing", 0.0)
    assert with_field.identity() == canonical_json(without)
    smoothed = make(
        recipe=TrainingRecipe(epochs=4, batch_size=8, lr=0.01, label_smoothing=0.1)
    )
    assert "label_smoothing" in smoothed.identity()


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ({"epoch": 3}, UnknownName, "Did you mean 'epochs'"),
        ({"epochs": 0, "batch_size": 8, "lr": 1}, SpecError, "'epochs'.*is 0"),
        ({"epochs": 1, "batch_size": 8, "lr": "fast"}, SpecError, "'lr'.*'fast'"),
        ({"epochs": 1, "batch_size": 8, "lr": float("nan")}, SpecError, "'lr'"),
    ],
)
def test_settings_that_do_not_fit_are_named(
    values: dict[str, object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        checked(TrainingRecipe, values, what="the recipe of eegnet")


def failed(spec: RunSpec) -> RunRecord:
    return RunRecord.failed(spec, Failure(kind="RunFailed", message="it broke"))


def test_what_is_put_is_what_is_got(tmp_path: Path) -> None:
    store, record = ResultStore(tmp_path), failed(make())
    store.put(record, lambda folder: (folder / "beside.txt").write_text("x") and None)
    assert store.get(record.run_id) == record
    assert (store.path(record.run_id) / "beside.txt").read_text() == "x"
    assert list(store.records()) == [record]
    assert store.missing([make()]) == []
    assert store.missing([make()], retry_failed=True) == [make()]
    assert store.missing([make(seed=1)]) == [make(seed=1)]


def test_a_put_that_breaks_changes_nothing(tmp_path: Path) -> None:
    store, record = ResultStore(tmp_path), failed(make())
    store.put(record)

    def break_off(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match=r"is full.*nothing half-written"):
        store.put(record, break_off)
    assert store.get(record.run_id) == record
    assert [p.name for p in tmp_path.iterdir()] == [record.run_id]


def test_a_damaged_record_is_refused_by_name(tmp_path: Path) -> None:
    store, record = ResultStore(tmp_path), failed(make())
    file = store.put(record) / "record.json"
    file.write_text(file.read_text()[:100])
    with pytest.raises(StoreError, match=r"record\.json cannot be read.*--force"):
        store.get(record.run_id)


def test_a_record_whose_spec_was_edited_is_refused(tmp_path: Path) -> None:
    text = failed(make()).to_json().replace('"seed": 0', '"seed": 1')
    with pytest.raises(StoreError, match="is not that of its spec"):
        RunRecord.from_json(text, where="here")


def test_a_missing_score_needs_a_reason() -> None:
    fields = json.loads(failed(make()).to_json())
    del fields["failure"]
    with pytest.raises(ValueError, match="needs scores"):
        RunRecord.model_validate(fields)


def test_a_claim_excludes_others_and_ends_with_its_holder(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\n"
            "from eegfm_bench.runs.store import ResultStore\n"
            "with ResultStore(sys.argv[1]).claim('run') as ours:\n"
            "    print(ours, flush=True)\n"
            "    time.sleep(60)\n",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "True"
        with store.claim("run") as ours:
            assert not ours
    finally:
        holder.kill()
        holder.communicate()
    with store.claim("run") as ours:
        assert ours
