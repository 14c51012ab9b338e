"""The verb pretrain: what is refused at once, what is shown, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from eegfm_bench.cli import app, pretrain, tables
from eegfm_bench.errors import RunFailed, SpecError, StoreError, UnknownName
from eegfm_bench.pretraining import launch, main, plots
from eegfm_bench.pretraining.asked import settings_of
from eegfm_bench.pretraining.launch import Child
from eegfm_bench.weights.pretrained import read_pretrained


def invoke(*words: str) -> Any:
    return CliRunner().invoke(app.app, ["pretrain", *words])


@pytest.mark.parametrize(
    ("words", "kind", "says"),
    [
        (["--sources", "eyse"], UnknownName, "Did you mean 'eyes'"),
        (["--scored-on", "eegmatt"], UnknownName, "Did you mean 'eegmat'"),
        (["--scored-on", "tueg"], SpecError, "tueg is a corpus for pre-training"),
        (["--model", "trase"], UnknownName, "Did you mean 'trace'"),
        (["--model", "labram"], SpecError, "trace alone says what it would learn"),
        (["--objective", "both"], SpecError, "expected 'causal' or 'masked'"),
        (["--scale", "smal"], UnknownName, "Did you mean 'small'"),
        (["--device", "gpu"], UnknownName, "No device is called 'gpu'"),
        (["--set", "horizon=2"], UnknownName, "Did you mean 'horizons'"),
        (["--set", "horizons=1,x"], SpecError, "such as 1,2,4"),
        (["--set", "head_units=3"], SpecError, "is of a classifier's head"),
        (["--set", "mask_ratio=0.5"], SpecError, "expected none, since it changes"),
        (["--set", "heads=3"], SpecError, "is not a multiple of heads"),
        (["--steps", "5"], SpecError, "warms up for 1000 steps"),
        (["--steps", "5", "--passes", "1"], SpecError, "both given"),
        (["--passes", "0"], SpecError, "more than 0"),
        (["--processes", "5"], SpecError, "would share 4 micro-batches a step"),
    ],
)
def test_a_wrong_word_is_refused_before_anything_starts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    kind: type[Exception],
    says: str,
) -> None:
    monkeypatch.setattr(pretrain, "watched", lambda task: pytest.fail("it started"))
    said = invoke("--sources", "eyes", "--out", str(tmp_path / "w"), *words)
    assert isinstance(said.exception, kind), said.exception
    assert says in str(said.exception)
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("what", ["a file", "a folder of others"])
def test_what_lies_there_is_not_touched(tmp_path: Path, what: str) -> None:
    out = tmp_path / "w"
    if what == "a file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "thesis.tex").write_text("mine")
    said = invoke("--sources", "eyes", "--out", str(out))
    assert isinstance(said.exception, StoreError)
    assert "is a file" in str(said.exception) or "thesis.tex" in str(said.exception)


def test_values_are_told_from_options_in_one_spelling() -> None:
    given = {"horizons": "2,1", "betas": "0.9,0.99", "layers": 2, "balance_weight": 0}
    asked = settings_of("causal", "small", given)
    assert asked.recipe.horizons == (1, 2)
    assert asked.recipe.betas == (0.9, 0.99)
    assert asked.recipe.balance_weight == 0
    assert asked.options["layers"] == 2
    assert not {"head", "dropout", "balance_weight", "dense_width"} & {*asked.options}


def a_task(out: Path, **changes: Any) -> dict[str, Any]:
    asked: dict[str, Any] = {"sources": ["eegmat"], "data": None, "out": str(out)}
    asked |= {"allow_partial": False, "scored_on": None, "exclude": False}
    asked |= {"scale": "small", "objective": "masked", "passes": None, "steps": 4}
    asked |= {"settings": {"warmup_steps": 1, "token_budget": 200}, "seed": 0}
    asked |= {"device": "cpu", "processes": 1, "save_memory": False, "yes": False}
    return {**asked, **changes}


def test_from_names_to_weights_and_not_twice(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []

    def deaf() -> dict[str, Any]:
        raise AssertionError("nothing is to be asked")

    task = a_task(tmp_path / "w")
    first = main.pretrain_as_asked(task, events.append, deaf)
    assert not first["was_done"]
    kinds = [event["event"] for event in events]
    assert [*dict.fromkeys(kinds)][-4:] == ["corpus", "planned", "estimate", "step"]
    assert events[-1]["step"] == events[-1]["steps"] == 4
    found = read_pretrained(tmp_path / "w")
    assert found is not None
    assert (found.data, found.objective, len(found.persons)) == (
        *("simulated", "masked"),
        28,
    )
    assert {p.name for p in (tmp_path / "w").glob("*.png")} >= {"losses.png"}

    before = (tmp_path / "w" / "model.safetensors").stat().st_mtime_ns
    again = main.pretrain_as_asked(task, events.append, deaf)
    assert again == {**first, "was_done": True}
    assert (tmp_path / "w" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(SpecError, match="has another pre-training: seed is 1, was 0"):
        main.pretrain_as_asked({**task, "seed": 1}, events.append, deaf)
    lines = pretrain.done_lines(first, "w")
    assert "SIMULATED" in lines[0]
    assert lines[-1].endswith("--model trace --scale small --weights w --dataset D")


def test_people_who_would_be_scored_are_refused_with_a_way_out(tmp_path: Path) -> None:
    # The girl of case 01, who trains, is case 21 of the validation part.
    task = a_task(tmp_path / "w", sources=["chbmit"], scored_on=["chbmit"])
    with pytest.raises(SpecError, match="Pass --exclude-scored-persons"):
        main.pretrain_as_asked(task, lambda event: None, dict)
    assert not (tmp_path / "w").exists()


def test_an_hour_is_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "ASK_ABOVE_S", 0.0)
    monkeypatch.setattr(plots, "draw_plots", lambda folder: [])
    events: list[dict[str, Any]] = []
    task = a_task(tmp_path / "w")
    with pytest.raises(SpecError, match="over an hour"):
        main.pretrain_as_asked(task, events.append, lambda: {"go": False})
    assert events[-1]["must_ask"]
    assert not (tmp_path / "w").exists()
    assert pretrain.estimate_line(events[-1]).startswith("Estimate for this device")
    asked = main.pretrain_as_asked({**task, "yes": True}, events.append, dict)
    assert asked["steps"] == 4
    assert not next(e for e in events[::-1] if e["event"] == "estimate")["must_ask"]


def test_without_a_number_of_steps_passes_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "draw_plots", lambda folder: [])
    task = a_task(tmp_path / "w", steps=None, passes=0.1)
    found = main.pretrain_as_asked(task, lambda event: None, dict)
    # 168 windows of 100 tokens, 2 to a micro-batch of 200, 4 of these to a step.
    assert found["steps"] == round(0.1 * 168 / 8)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a few lines in the place of the process that pre-trains."""

    def put(lines: str) -> None:
        head = "import json, os, sys, signal, time\ntask = sys.stdin.readline()\n"
        head += "say = lambda **e: print(json.dumps(e), flush=True)\n"
        (tmp_path / "stand_in.py").write_text(head + lines)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(launch, "_MODULE", "stand_in")

    return put


def test_a_process_that_is_killed_fails_in_words(
    stand_in: Callable[[str], None],
) -> None:
    stand_in("print('half', end='', flush=True)\nos.kill(os.getpid(), 9)")
    with pytest.raises(RunFailed, match=r"ended by signal SIGKILL.*goes on from its"):
        pretrain.watched(a_task(Path("w")))


def test_its_errors_are_raised_here_with_their_kind(
    stand_in: Callable[[str], None],
) -> None:
    stand_in("say(event='end', outcome={'error': 'no', 'kind': 'StoreError'})")
    with pytest.raises(StoreError, match="no"):
        pretrain.watched(a_task(Path("w")))
    stand_in("say(event='end', outcome={'error': 'x', 'kind': 'OSError', 'errno': 28})")
    with pytest.raises(OSError, match="x") as caught:
        pretrain.watched(a_task(Path("w")))
    assert caught.value.errno == 28


def test_an_interruption_is_passed_on_and_waited_for(
    stand_in: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(
        "say(event='said', line='here')\n"
        "assert json.loads(sys.stdin.readline())['stop']\n"
        f"open({str(tmp_path / 'saved')!r}, 'w').close()\n"
        "say(event='end', outcome={'interrupted': True})"
    )
    n_interrupts = [0]

    def interrupt(self: Any, line: str) -> None:
        if line == "here":
            n_interrupts[0] += 1
            raise KeyboardInterrupt

    monkeypatch.setattr(pretrain._Watch, "say", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pretrain.watched(a_task(Path("w")))
    assert n_interrupts == [1]
    assert (tmp_path / "saved").exists()


def test_an_answer_reaches_the_process(
    stand_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = "seconds=7200, steps=9, tokens_per_s=1, peak_gpu_bytes=0, device='cpu'"
    stand_in(
        f"say(event='estimate', {fields}, must_ask=True)\n"
        "say(event='end', outcome=json.loads(sys.stdin.readline()))"
    )
    monkeypatch.setattr(pretrain, "_is_wanted", lambda watch: True)
    assert pretrain.watched(a_task(Path("w"))) == {"go": True}


def test_leaving_early_ends_the_process(stand_in: Callable[[str], None]) -> None:
    stand_in("say(event='said', line='here')\ntime.sleep(60)")
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError), Child(a_task(Path("w"))) as child:  # noqa: PT012
        next(child.events())
        raise ZeroDivisionError
    assert time.monotonic() - began < 30
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_the_real_process_speaks_lines_and_refuses_in_them(tmp_path: Path) -> None:
    (tmp_path / "w").write_text("mine")
    with Child(a_task(tmp_path / "w")) as child:
        (last,) = child.events()
    assert last["outcome"]["kind"] == "StoreError"
    assert "is a file" in last["outcome"]["error"]


def test_the_command_line_imports_no_torch() -> None:
    code = "import sys, eegfm_bench.cli.pretrain, eegfm_bench.pretraining.asked\n"
    code += "import eegfm_bench.pretraining.tables, eegfm_bench.pretraining.launch\n"
    code += "print('torch' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert said.stdout == "False\n"


@pytest.mark.parametrize("number", ["5", "table7"])
@pytest.mark.parametrize("form", ["md", "latex", "csv", "html", "json"])
def test_tables_of_sources_and_recipe_come_in_every_format(
    number: str, form: str
) -> None:
    table = tables.declared_table(number)
    assert table is not None
    text = tables.text_of([table], form)
    assert ("tueg" if number == "5" else "warmup") in text
    if form == "json":
        rows = json.loads(text)["rows"]
        if number == "5":
            eegmat = next(row for row in rows if row["source"] == "eegmat")
            assert (eegmat["windows"], eegmat["people"]) == ("1,343", "28")
            assert eegmat["patches"] == "5"
        else:
            ratio = next(row for row in rows if row["setting"] == "mask_ratio")
            assert (ratio["paper"], ratio["known"]) == ("0.5", "N:CBraMod")
            assert all(row["known"] and row["why"] for row in rows)
