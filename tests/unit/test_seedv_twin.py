"""SEED-V's twin: short films that say they are short, and rhythms to tell them by."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import welch

from eegfm_bench.datasets import seedv
from eegfm_bench.datasets._prepare import prepare, twin_root
from eegfm_bench.datasets._twins import seedv as seedv_twin
from eegfm_bench.datasets._verify import EQUAL, verify
from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.cnt import read_header
from eegfm_bench.windows.store import WindowStore

SPEC = seedv.DATASETS[0]


def twin(tmp_path: Path) -> Path:
    """Copy subject 1 of the twin to a root of one's own."""
    folder = tmp_path / "seedv" / "EEG_raw"
    folder.mkdir(parents=True)
    for path in (twin_root(SPEC) / "seedv" / "EEG_raw").glob("1_*.cnt"):
        shutil.copy(path, folder)
    return tmp_path


def test_a_simulated_recording_says_so_and_a_real_root_refuses_its_counts(
    tmp_path: Path,
) -> None:
    root = twin(tmp_path)
    source = SPEC.find(root)[0]
    assert seedv.oddities(source) == ("simulated: films as in its own event table",)
    assert len(seedv.windows(source)[0]) == 55
    everyone = root / "seedv" / "EEG_raw"
    for n in range(2, 17):
        for path in [*everyone.glob("1_*.cnt")]:
            (everyone / f"{n}{path.name[1:]}").symlink_to(path)
    with pytest.raises(SignalError, match="headers and annotations give"):
        prepare("seedv", data=root)
    found = verify("seedv", data=root)
    assert len(found.differing) == 19
    assert len(found.oddities) == 48


def test_without_its_mark_the_twins_recording_is_held_to_the_published_films(
    tmp_path: Path,
) -> None:
    source = SPEC.find(twin(tmp_path))[0]
    content = source.path.read_bytes().replace(b"SIMULATED", bytes(9), 1)
    source.path.write_bytes(content)
    with pytest.raises(SignalError, match="ends at 71 s, before the end of trial 0"):
        seedv.windows(source)


def test_a_simulated_recording_without_its_films_is_refused(tmp_path: Path) -> None:
    source = SPEC.find(twin(tmp_path))[0]
    with source.path.open("r+b") as file:
        file.seek(read_header(source.path).table_at + 9)
        file.write(b"\x07")
    with pytest.raises(SignalError, match=r"1_1_.*: .* 14 beginnings and 15 ends"):
        seedv.windows(source)


def test_the_small_twin_has_the_broken_recording_and_keeps_its_budget() -> None:
    root = twin_root(SPEC)
    plan = SPEC.plan(SPEC.find(root))
    n = plan["part"].value_counts()
    assert 2 * (n["train"] + n["val"]) + n["test"] == 540
    names = {path.stem for path in (root / "seedv" / "EEG_raw").iterdir()}
    assert names - set(plan["recording"]) == {"7_1_20180411"}
    with pytest.raises(SignalError, match="counts -732 time points"):
        read_header(root / "seedv" / "EEG_raw" / "7_1_20180411.cnt")


def test_the_full_twin_has_the_published_films(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seedv_twin, "_signal", lambda *_: ())
    (tmp_path / "seedv").mkdir()
    SPEC.simulate(tmp_path / "seedv", "full")
    found = verify("seedv", data=tmp_path)
    assert {line.verdict for line in found.lines} == {EQUAL}
    assert len([*(tmp_path / "seedv" / "EEG_raw").iterdir()]) == 49


def power_db(store: WindowStore, low_hz: float, high_hz: float) -> np.ndarray:
    freq, power = welch(store.x, 200.0, nperseg=200)
    inside = (freq >= low_hz) & (freq < high_hz)
    return np.asarray(10 * np.log10(power[..., inside].sum(axis=2)).mean(axis=1))


def test_emotions_have_rhythms_of_their_own() -> None:
    store = prepare("seedv")
    label = store.index["label"].to_numpy()

    def strongest(low_hz: float, high_hz: float) -> int:
        power = power_db(store, low_hz, high_hz)
        return int(np.argmax([power[label == k].mean() for k in range(5)]))

    named = [SPEC.classes[strongest(*band)] for band in ((4, 8), (9, 12), (30, 60))]
    assert named == ["sad", "neutral", "happy"]
