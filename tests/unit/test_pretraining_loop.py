"""A whole pre-training: it goes on exactly, alone or shared, or says why not."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from eegfm_bench.errors import SpecError, StoreError
from eegfm_bench.pretraining.checkpoints import read_checkpoint, write_checkpoint
from eegfm_bench.pretraining.journal import TIMES
from eegfm_bench.pretraining.loop import (
    Progress,
    _only_writer,
    encoder_state,
    estimate,
)
from eegfm_bench.pretraining.objectives import objective_of
from tests.small_corpus import corpus, pretrain, spec

TINY = {"layers": 1, "dim": 8, "expert_width": 8, "shared_width": 8}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "journal.csv").open(encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in TIMES} for row in found]


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").glob("step-*.pt"))


class Killed(BaseException):
    """What no handler expects."""


def killed_after(step: int) -> Any:
    def on_step(at: Progress) -> None:
        if at.step == step:
            raise Killed

    return on_step


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, of = tmp_path_factory.mktemp("done"), corpus()
    pretrain(spec(of, steps=8, options=TINY), of, folder)
    return folder


@pytest.fixture
def whole(done: Path, tmp_path: Path) -> Path:
    """Eight steps in one go, to compare with or to spoil."""
    return Path(shutil.copytree(done, tmp_path / "whole"))


def test_a_killed_pre_training_goes_on_to_the_same_losses_and_weights(
    whole: Path, tmp_path: Path
) -> None:
    of, parted = corpus(), tmp_path / "parted"
    asked, said = spec(of, steps=8, options=TINY), []
    with pytest.raises(Killed):
        pretrain(asked, of, parted, checkpoint_every=3, on_step=killed_after(5))
    assert len(rows(parted)) == 5  # beyond the checkpoint of step 3
    with (parted / "journal.csv").open("a", encoding="utf-8") as file:
        file.write("5,0.00")  # the row that it was writing
    pretrain(asked, of, parted, say=said.append)
    assert said == ["goes on at step 3 of 8"]
    assert rows(parted) == rows(whole)
    experts = [(folder / "experts.csv").read_text() for folder in (whole, parted)]
    assert experts[0] == experts[1]
    again = encoder_state(parted)
    for name, weight in encoder_state(whole).items():
        assert torch.equal(weight, again[name])


def test_a_finished_pre_training_does_nothing_more(whole: Path) -> None:
    before, of = checkpoints(whole), corpus()
    pretrain(spec(of, steps=8, options=TINY), of, whole, on_step=killed_after(8))
    assert checkpoints(whole) == before


def test_its_weights_are_the_encoders(whole: Path) -> None:
    model = objective_of(spec(corpus(), steps=8, options=TINY))
    fresh = {k: v.clone() for k, v in model.encoder.state_dict().items()}
    model.encoder.load_state_dict(encoder_state(whole))
    moved = [k for k, v in model.encoder.state_dict().items() if (v != fresh[k]).any()]
    assert len(moved) == len(fresh)


def test_two_processes_have_the_losses_of_one(whole: Path, tmp_path: Path) -> None:
    of, shared, seen = corpus(), tmp_path / "shared", []
    pretrain(
        spec(of, steps=8, options=TINY),
        of,
        shared,
        processes=2,
        on_step=seen.append,
        start_method="fork",
    )
    assert [at.step for at in seen] == list(range(1, 9))
    for alone, together in zip(rows(whole), rows(shared), strict=True):
        assert alone.keys() == together.keys()
        assert float(together["loss"]) == pytest.approx(float(alone["loss"]), abs=1e-6)
        for name in ("tokens", "even_0", "load_0"):
            assert together[name] == alone[name]


def test_what_goes_wrong_in_one_of_two_processes_is_said(tmp_path: Path) -> None:
    of = corpus()
    of.sources[0].store.x[:] = torch.inf
    with pytest.raises(Exception, match="The loss of long is no number at step 0"):
        pretrain(spec(of, options=TINY), of, tmp_path, processes=2, start_method="fork")


def test_another_question_in_the_folder_is_refused(whole: Path) -> None:
    of = corpus()
    other = spec(of, steps=8, options=TINY, lr=1e-4)
    with pytest.raises(SpecError, match=r"recipe.lr is 0.0001, was 0.01\. Ask the"):
        pretrain(other, of, whole)
    with pytest.raises(SpecError, match="The corpus is not the spec's: long"):
        pretrain(spec(of, steps=8), corpus(long=(9, 3, 6), short=(8, 5, 2)), whole)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    whole: Path, tmp_path: Path
) -> None:
    of, parted, said = corpus(), tmp_path / "parted", []
    asked = spec(of, steps=8, options=TINY)
    with pytest.raises(Killed):
        pretrain(asked, of, parted, checkpoint_every=2, on_step=killed_after(7))
    assert [p.name[:13] for p in checkpoints(parted)] == [
        "step-00000004",
        "step-00000006",
    ]
    last = checkpoints(parted)[-1]
    damaged = bytearray(last.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    last.write_bytes(damaged)
    pretrain(asked, of, parted, say=said.append)
    assert said == [
        f"{last.name} is damaged: went back to the one before",
        "goes on at step 4 of 8",
    ]
    assert rows(parted) == rows(whole)


def test_nothing_but_damaged_checkpoints_is_an_error(whole: Path) -> None:
    for path in checkpoints(whole):
        path.write_bytes(path.read_bytes()[:-100])
    of = corpus()
    with pytest.raises(StoreError, match=r"All checkpoints in .* are damaged"):
        pretrain(spec(of, steps=8, options=TINY), of, whole)


def test_a_journal_that_was_changed_is_refused(whole: Path, tmp_path: Path) -> None:
    of, parted = corpus(), tmp_path / "parted"
    asked = spec(of, steps=8, options=TINY)
    with pytest.raises(Killed):
        pretrain(asked, of, parted, checkpoint_every=4, on_step=killed_after(4))
    lines = (parted / "journal.csv").read_text().splitlines(keepends=True)
    (parted / "journal.csv").write_text("".join(lines[:2] + lines[3:]))
    with pytest.raises(StoreError, match=r"not one row .* for each step up to 4"):
        pretrain(asked, of, parted)


def test_ctrl_c_writes_a_checkpoint_first(whole: Path, tmp_path: Path) -> None:
    of, parted = corpus(), tmp_path / "parted"
    asked = spec(of, steps=8, options=TINY)

    def interrupt(at: Progress) -> None:
        if at.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        pretrain(asked, of, parted, on_step=interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    state, _ = read_checkpoint(parted / "checkpoints")
    assert state is not None
    assert state["step"] == len(rows(parted)) == 4
    pretrain(asked, of, parted)
    assert rows(parted) == rows(whole)


def test_two_writers_do_not_share_a_folder(tmp_path: Path) -> None:
    of = corpus()
    with (
        _only_writer(tmp_path),
        pytest.raises(StoreError, match="Another process pre-trains into"),
    ):
        pretrain(spec(of, options=TINY), of, tmp_path)


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_checkpoint(tmp_path, {"step": 1})

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StoreError, match="checkpoint of step 2 could not be written"):
        write_checkpoint(tmp_path, {"step": 2})
    assert list(tmp_path.iterdir()) == [first]


def test_more_processes_than_micro_batches_are_refused(tmp_path: Path) -> None:
    of = corpus()
    with pytest.raises(SpecError, match="5 processes would share 4 micro-batches"):
        pretrain(spec(of, options=TINY), of, tmp_path, processes=5)


def test_an_estimate_keeps_nothing(tmp_path: Path) -> None:
    of = corpus()
    found = estimate(spec(of, steps=1000, options=TINY), of)
    assert found.total_s == pytest.approx(1000 * found.step_s)
    assert found.tokens_per_s > 0
    assert list(tmp_path.iterdir()) == []
