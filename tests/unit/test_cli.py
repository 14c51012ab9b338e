"""The command line as a person and a script meet it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eegfm_bench.cli import app, listing, words
from eegfm_bench.errors import SpecError, UnknownName

HERE = Path(__file__).parent


def call(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "eegfm_bench", *argv],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **env},
    )


VERBS = (
    *("run", "sweep", "prepare", "fetch", "verify", "table", "gate", "list", "doctor"),
    *("weights", "pretrain", "compare", "report", "export"),
)


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_imports_nothing_heavy(verb: str) -> None:
    code = (
        "import sys; from eegfm_bench.cli import main\n"
        "sys.argv = ['eegfm-bench', *sys.argv[1:], '--help']\n"
        "try:\n    main()\nfinally:\n"
        "    heavy = {'torch', 'lightning', 'pandas', 'mne', 'numpy', 'yaml'}\n"
        "    sys.stderr.write(f'heavy: {sorted(heavy & set(sys.modules))}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *([verb] if verb else [])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "heavy: []" in done.stderr
    assert "Exit status" in done.stdout


def test_the_verbs_are_these() -> None:
    names = {c.name or c.callback.__name__ for c in app.app.registered_commands}  # type: ignore[union-attr]
    assert names == set(VERBS)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["tabel", "1"], "Did you mean 'table'"),
        (["run", "--dataset", "eyes"], "Missing option '--model'"),
        (["run", "--modell", "x"], "--model"),
        (["run", "--model", "chance", "--dataset", "eyse"], "Did you mean 'eyes'"),
        (["run", "--model", "chance,", "--dataset", ","], "--dataset is empty"),
        (["run", "--model", "chance", "--dataset", "eyes", "--seeds", "x"], "a count"),
        (["run", "--model", "chance", "--dataset", "eyes", "--jobs", "0"], "--jobs"),
        (["run", "--model", "chance", "--dataset", "eyes", "--set", "lr"], "key=value"),
        (
            ["run", "--model", "chance", "--dataset", "eyes", "--adapt", "prob"],
            "Did you mean 'probe'",
        ),
        (
            ["run", "--model", "chance", "--dataset", "eyes", "--adapt", "finetune"],
            "none are given",
        ),
        (
            ["run", "--model", "chance", "--dataset", "eyes", "--device", "gpu"],
            "or cuda, which is a GPU",
        ),
        (["table", "nothing"], "No suite is called 'nothing'"),
        (["table", "1", "--format", "pdf"], "No table format is called 'pdf'"),
        (["fetch", "eyse"], "Did you mean 'eyes'"),
        (["table", "99", "--source", "published"], "No published table 99"),
        (["table", "1", "--source", "publshed"], "Did you mean 'published'"),
        (["list", "model"], "Did you mean 'models'"),
        (["prepare", "eyes", "--data", "/no/such/place"], "is not a folder"),
        (["verify", "eyes", "--data", "/no/such/place"], "is not a folder"),
        (["verify", "eyse"], "Did you mean 'eyes'"),
        (["verify", "eyes"], "nothing to verify Eyes"),
        (["verify", ","], "the datasets is empty"),
        (["gate", "smoke", "--against", "/no/such.csv"], "/no/such.csv"),
        (["gate", "smoke", "--against", "x.csv", "--mode", "exakt"], "exact"),
    ],
)
def test_bad_usage_is_two_and_says_what_to_do(argv: list[str], says: str) -> None:
    done = call(*argv)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    in_json = call(*argv, "--json")
    assert in_json.returncode == 2
    assert set(json.loads(in_json.stdout)) == {"error", "kind"}


@pytest.mark.parametrize(
    "argv",
    [
        ["run", "--model", "chance", "--dataset", "eyes", "--runs", "{file}"],
        ["run", "--model", "chance", "--dataset", "eyes", "--data", ""],
        ["run", "--model", "eegnet", "--dataset", "eyes", "--set", "lr=[1"],
        ["run", "--model", "eegnet", "--dataset", "eyes", "--set", "lr=.inf"],
        ["table", "1", "--runs", "{file}"],
        ["table", "1", "--source", "published", "--out", "/proc/x.md"],
        ["gate", "smoke", "--against", "/tmp"],
        ["sweep", "{file}"],
        ["run", "--model", "chance", "--dataset", "eyes", "--seeds", "9999999999"],
    ],
)
def test_odd_places_and_values_are_refused_without_a_traceback(
    argv: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xff\xfe nothing")
    done = call(*[word.format(file=file) for word in argv])
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "eegfm-bench: " in done.stderr


def test_a_refusal_in_json_is_one_document() -> None:
    done = call("run", "--model", "chance", "--dataset", "eyse", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["kind"] == "UnknownName"


def test_a_root_that_lacks_the_dataset_is_never_simulated(tmp_path: Path) -> None:
    argv = ["run", "--model", "chance", "--dataset", "eyes", "--data", str(tmp_path)]
    done = call(*argv, "--runs", str(tmp_path / "runs"))
    assert done.returncode == 2
    assert "no folder 'eegmmidb'" in done.stderr
    assert "physionet" in done.stderr
    assert not list(tmp_path.glob("runs/*-*"))
    by_env = call("prepare", "eyes", EEGFM_DATA=str(tmp_path))
    assert by_env.returncode == 2


def test_run_table_and_record_agree_and_say_simulated(tmp_path: Path) -> None:
    runs = str(tmp_path / "runs")
    argv = ["run", "--model", "chance,bandpower", "--dataset", "eegmat", "--runs", runs]
    done = call(*argv, "--scale", "small", "--seeds", "2", "--json", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert "SIMULATED RECORDINGS" in done.stderr
    said = json.loads(done.stdout)
    assert len(said["records"]) == 4
    assert {r["spec"]["dataset"]["data"] for r in said["records"]} == {"simulated"}
    assert said["tables"][0]["data"] == "simulated"
    on_disk = json.loads(
        (tmp_path / "runs" / said["records"][0]["run_id"] / "record.json").read_text()
    )
    assert on_disk == said["records"][0]
    for how in ("md", "latex", "csv", "html", "json"):
        table = call("table", "1", "--runs", runs, "--format", how)
        assert table.returncode == 0, table.stderr
        assert "simulated" in table.stdout
    out = tmp_path / "t.csv"
    assert call("table", "1", "--runs", runs, "--out", str(out)).returncode == 0
    assert out.read_text().startswith("data,")
    plain = call(*argv, "--scale", "small", "--seeds", "2")
    assert plain.returncode == 0
    assert "simulated recordings" in plain.stdout
    assert "Subject32" in plain.stdout


def test_a_failed_cell_is_one(tmp_path: Path) -> None:
    argv = ["run", "--model", "eegnet", "--dataset", "eegmat", "--scale", "small"]
    argv += ["--seeds", "1", "--runs", str(tmp_path), "--jobs", "1"]
    done = call(*argv, "--set", "lr=1e30", "--set", "weight_decay=1e30")
    assert done.returncode == 1
    assert "failed: eegnet on eegmat, seed 0" in done.stderr
    assert "--retry-failed" in done.stderr
    assert "failed" in done.stdout


def test_a_dry_run_lists_and_leaves_nothing(tmp_path: Path) -> None:
    argv = ["sweep", "table1", "--dry-run", "--runs", str(tmp_path / "r"), "--json"]
    done = call(*argv, "--only", "model=eegnet,dataset=isruc")
    cells = json.loads(done.stdout)
    assert [c["seed"] for c in cells] == [0, 1, 2, 3, 4]
    assert {c["model"] for c in cells} == {"eegnet"}
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_interrupted_is_130_and_the_same_command_goes_on(tmp_path: Path) -> None:
    argv = ["run", "--model", "eegnet", "--dataset", "eegmat", "--scale", "small"]
    argv += ["--seeds", "2", "--runs", str(tmp_path), "--jobs", "1"]
    slow = subprocess.Popen(
        [sys.executable, "-m", "eegfm_bench", *argv, "--epochs", "2000", "--yes"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Started in a shell's background, this process was told to pass over Ctrl-C,
        # and its children would be too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".claims/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    slow.send_signal(signal.SIGINT)
    try:
        _, err = slow.communicate(timeout=30)  # a third of a second on a quiet machine
    finally:
        slow.kill()  # left running it would spoil other tests
    assert slow.returncode == 130, err
    assert "What is done is kept" in err
    assert "Traceback" not in err
    assert call(*argv, "--epochs", "1").returncode == 0


def test_the_table_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'lightning', 'braindecode', 'mne', 'torchmetrics'):\n"
        "    sys.modules[name] = None\n"  # as if it were not installed
        "import eegfm_bench\n"
        "from eegfm_bench.cli import main\n"
        "sys.argv = ['eegfm-bench', 'table', '1', '--source', 'published']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "0.635" in done.stdout  # Trace on FACED


def test_doctor_finds_what_is_there_and_says_what_is_not(tmp_path: Path) -> None:
    from eegfm_bench.datasets._prepare import twin_root
    from eegfm_bench.datasets._spec import find_dataset

    done = call("doctor", "--data", str(twin_root(find_dataset("eyes"))), "--json")
    found = {f["topic"]: f for f in json.loads(done.stdout)}
    assert done.returncode == 0, found
    assert "partial" in found["eyes"]["text"]
    assert "physionet" in found["eegmat"]["text"]
    assert found["models import"]["verdict"] == "ok"


def test_lists_name_everything() -> None:
    assert {m["name"] for m in listing.of("models")} >= {
        "chance",
        "bandpower",
        "eegnet",
    }
    assert {d["name"] for d in listing.of("datasets")} >= {"eegmat", "eyes"}
    assert {s["name"] for s in listing.of("suites")} >= {"table1", "smoke"}


def test_a_filter_names_what_it_does_not_know() -> None:
    from eegfm_bench.sweep.suite import load_suite

    cells = load_suite("table1").cells()
    with pytest.raises(UnknownName, match="Did you mean 'eegnet'"):
        words.only(cells, "model=eegnte")
    with pytest.raises(SpecError, match=r"found 'seed=3', expected model=NAME"):
        words.only(cells, "model=eegnet, seed=3")


def test_epochs_are_given_once() -> None:
    assert words.given(["epochs=3"], None) == words.given(None, 3) == {"epochs": 3}
    with pytest.raises(SpecError, match="--epochs 3 and --set epochs=4 are both given"):
        words.given(["epochs=4"], 3)
