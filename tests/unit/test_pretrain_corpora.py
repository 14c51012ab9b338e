"""Both corpora by the command line: from their twins to weights that a run takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import eegfm_bench
from eegfm_bench.cli import app
from eegfm_bench.runs.store import ResultStore
from eegfm_bench.weights.pretrained import read_pretrained


def said_by(*words: str) -> Any:
    found = CliRunner().invoke(app.app, [*words, "--json"])
    assert found.exit_code == 0, found.exception or found.stderr
    return json.loads(found.stdout)


@pytest.mark.slow
def test_tueg_and_hbn_become_weights_that_a_run_takes(
    tmp_path: Path, shared_cache: Path
) -> None:
    out = tmp_path / "weights"
    asked = ["pretrain", "--sources", "tueg,hbn", "--scale", "small", "--steps", "3"]
    asked += ["--set", "warmup_steps=1", "--out", str(out)]
    # A person of the twin of TUEG is in validation of TUEV's.
    refused = CliRunner().invoke(app.app, asked)
    assert "tuh:aaaaaaoc) in val of tuev" in str(refused.exception)
    found = said_by(*asked, "--exclude-scored-persons")
    assert [source["name"] for source in found["sources"]] == ["tueg", "hbn"]

    card = (out / "README.md").read_text(encoding="utf-8")
    seen = read_pretrained(out)
    assert seen is not None
    for source in seen.sources:
        store = eegfm_bench.prepare(source.name)
        assert store.manifest["protocol"] == source.protocol
        index = store.index
        n_left = int((index["person"] == "tuh:aaaaaaoc").sum())
        assert source.n_windows == len(index) - n_left > 0
        assert (source.n_left_out, n_left > 0) == (
            (1, True) if source.name == "tueg" else (0, False)
        )
        row = f"| {source.name} | `{source.protocol}` | **SIMULATED** |"
        shape = f"| {source.n_channels} × {source.n_patches} |"
        (line,) = (line for line in card.splitlines() if line.startswith(row))
        assert f"| {source.n_windows} | {source.n_persons} {shape}" in line
    assert [(s.n_channels, s.n_patches) for s in seen.sources] == [(19, 30), (128, 30)]
    steps = pd.read_csv(out / "journal.csv")
    assert len(steps) == 3
    assert steps["h4"].notna().all()

    runs = tmp_path / "runs"
    start = ["--weights", str(out), "--dataset", "eegmat", "--scale", "small"]
    start += ["--epochs", "1", "--seeds", "1", "--runs", str(runs)]
    said_by("run", "--model", "trace", *start)
    (record,) = ResultStore(runs).records()
    assert record.is_done
    assert record.weights is not None
    assert record.weights.is_full
    assert record.weights.pretrained is not None
    assert record.weights.pretrained.pretrain_id == found["pretrain_id"]
    named = [s.partition(" ")[0] for s in record.weights.pretrained.sources]
    assert named == ["tueg", "hbn"]
