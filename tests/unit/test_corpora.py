"""Corpora: what is planned, left out and refused of TUEG and HBN-EEG."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eegfm_bench.cli import show
from eegfm_bench.datasets import _cutters, _prepare, hbn, tueg
from eegfm_bench.datasets._prepare import prepare, twin_root
from eegfm_bench.datasets._spec import DatasetSpec, Source, find_dataset
from eegfm_bench.datasets._twins.eeglab import write_set
from eegfm_bench.datasets._verify import verify
from eegfm_bench.errors import SignalError, SpecError
from eegfm_bench.recordings.recording import Recording
from eegfm_bench.sweep.run import Options, sweep
from eegfm_bench.sweep.specs import cells_of
from eegfm_bench.sweep.suite import Cell
from eegfm_bench.windows.store import UnfinishedStore, WindowStore
from tests.unit.skeletons import write_edf_skeleton

TUEG = find_dataset("tueg")
HBN = find_dataset("hbn")


def a_token(root: Path, where: str, **changed: Any) -> Source:
    """Write a recording without a signal; return it."""
    suffix = "LE" if "_le" in where else "REF"
    labels = [f"EEG {name.upper()}-{suffix}" for name in tueg.CHANNELS]
    path = root / "tueg" / "edf" / f"{where}.edf"
    path.parent.mkdir(parents=True)
    known: dict[str, Any] = {"labels": labels, "samples_per_record": 250}
    write_edf_skeleton(path, **{**known, "n_records": 400, **changed})
    return TUEG.find(root)[0]


AR = "000/aaaaaaaa/s001_2015/01_tcp_ar/aaaaaaaa_s001_t000"


@pytest.mark.parametrize("n_times", [0, 59_999, 60_000, 60_001, 65_999, 66_000, 99_999])
def test_windows_lie_where_the_public_code_cuts_them(n_times: int) -> None:
    # Its arithmetic: the rest of whole windows goes with the last minute.
    at = np.arange(n_times)
    kept = at[60 * 200 : -(n_times % 6000 + 60 * 200)] if n_times >= 60_000 else at[:0]
    expected = kept.reshape(-1, 6000)[:, 0] / 200 if kept.size else []
    np.testing.assert_array_equal(tueg.grid_s(n_times), expected)


@pytest.mark.parametrize(
    ("where", "changed", "n_windows", "odd"),
    [
        (AR, {}, 9, ()),
        (AR, {"n_records": 299}, 0, ("not used: less than 5 min",)),
        (AR, {"samples_per_record": 512}, 9, ("512 Hz, not 250",)),
        (AR.replace("01_tcp_ar", "02_tcp_le"), {}, 9, ()),
        (AR.replace("01_tcp_ar", "03_tcp_ar_a"), {}, 9, ()),
        (AR.replace("_2015", "_2015_12_30"), {}, 9, ()),
        (AR, {"labels": ["EEG FP1-REF"]}, 0, None),
    ],
)
def test_a_token_is_planned_by_its_header_and_montage(
    tmp_path: Path,
    where: str,
    changed: dict[str, Any],
    n_windows: int,
    odd: tuple[str, ...] | None,
) -> None:
    source = a_token(tmp_path, where, **changed)
    assert len(TUEG.windows(source)[0]) == n_windows
    if odd is None:
        assert TUEG.oddities(source)[0].startswith("not used: EEG FP2-REF, EEG F3-REF")
    else:
        assert TUEG.oddities(source) == odd
    assert (source.person, source.subject) == ("tuh:aaaaaaaa", "aaaaaaaa")


def test_an_electrode_that_comes_twice_is_not_guessed_at(tmp_path: Path) -> None:
    labels = [f"EEG {name.upper()}-REF" for name in (*tueg.CHANNELS, "Cz")]
    source = a_token(tmp_path, AR, labels=labels)
    assert TUEG.oddities(source) == ("not used: EEG CZ-REF not there once",)
    with pytest.raises(SignalError, match="not all of EEG FP1-REF"):
        TUEG.read(source)


def test_one_montage_is_skipped_and_other_places_are_refused(tmp_path: Path) -> None:
    skipped = AR.replace("aaaaaaaa", "aaaaaaab").replace("01_tcp_ar", "04_tcp_le_a")
    assert a_token(tmp_path, AR).subject == "aaaaaaaa"
    a_token(tmp_path, skipped)
    assert len(TUEG.find(tmp_path)) == 1
    for k, wrong in enumerate(
        (
            AR.replace("aaaaaaaa_", "aaaaaaac_"),
            AR.replace("_s001", "_s002"),
            AR.replace("01_tcp_ar", "05_new"),
            "aaaaaaaa_s001_t000",
        )
    ):
        with pytest.raises(SignalError, match="expected recordings in"):
            a_token(tmp_path / str(k), wrong)


def test_a_corpus_is_prepared_and_verified_and_says_what_it_is() -> None:
    store = prepare("tueg")
    said = "\n".join(show.about_windows(store.manifest))
    n_left_out = sum(store.manifest["left_out"].values())
    assert f"left out: {n_left_out} of 25 windows planned, as they reach 100 µV" in said
    assert "per class" not in said
    # Moved at 75 s, 100 and 130 s: in the windows from 60, 90 and 120 s.
    left = store.index.groupby("recording")["onset_s"].apply(list)
    assert left["aaaaaaaa_s001_t000_01"] == [90, 120, 150, 180, 210]
    assert left["aaaaaabq_s001_t000_03"] == [60, 150, 180, 210, 240]
    verified = verify("tueg", data=twin_root(TUEG))
    assert verified.differing == ()
    assert verified.data == "partial"
    assert [n.found for n in verified.lines if n.what == "windows"] == [25, 0, 0, 25]
    counted = "\n".join(show.about_counts(verified.to_dict()))
    assert "windows are those planned: cutting leaves out what reaches 100" in counted


def test_its_real_extent_is_called_partial_unless_known() -> None:
    manifest = prepare("tueg", data=twin_root(TUEG)).manifest
    assert manifest["data"] == "partial"
    assert "how much there is of it is not known" in "\n".join(
        show.about_windows(manifest)
    )


@pytest.mark.parametrize("name", ["tueg", "hbn"])
def test_run_and_sweep_refuse_a_corpus_in_words(name: str) -> None:
    says = f"{name} is a corpus for pre-training: it has no classes"
    with pytest.raises(SpecError, match=says):
        cells_of(["chance"], ["eyes", name], "small", {})
    with pytest.raises(SpecError, match=says):
        sweep([Cell(model="chance", dataset=name)], [0], Options())


def test_what_is_kept_is_part_of_the_protocol() -> None:
    louder = replace(TUEG.recipe, keep_below_uv=120.0)
    assert TUEG.protocol() != TUEG.protocol(louder)
    assert "keep_below_uv" not in replace(louder, keep_below_uv=None).fields()
    for changed in ({"keep_below_uv": 0.0}, {"sequence": 2}):
        with pytest.raises(SpecError, match="keeps windows below"):
            replace(louder, **changed)


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """A root with two recordings of HBN's twin: windows kept, and one left out."""
    source = twin_root(HBN) / "hbn" / "ds005505"
    for subject in ("NDARAB123CDE", "NDARAC904DMU"):
        own = f"sub-{subject}"
        shutil.copytree(source / own, tmp_path / "hbn" / "ds005505" / own)
    return tmp_path


def same(first: WindowStore, second: WindowStore) -> bool:
    return (
        first.index.equals(second.index)
        and (first.path / "x.npy").read_bytes() == (second.path / "x.npy").read_bytes()
        and first.manifest == second.manifest
    )


# Before the file of kept windows is whole, and after it took the other's place.
@pytest.mark.parametrize("where", ["os.fsync", "json.dumps"])
def test_a_kill_while_kept_windows_are_put_together_costs_nothing(
    few: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    whole = prepare("hbn", data=few, jobs=1)
    assert sum(whole.manifest["left_out"].values()) == 1
    read: list[str] = []

    def counting(source: Source) -> Recording:
        read.append(source.recording)
        return HBN.read(source)

    known = replace(HBN, read=counting)
    finish = UnfinishedStore.finish

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    def broken(store: UnfinishedStore, manifest: dict[str, Any]) -> WindowStore:
        store._sync()
        with monkeypatch.context() as patch:
            patch.setattr(f"eegfm_bench.windows.store.{where}", killed)
            return finish(store, manifest)

    monkeypatch.setenv("EEGFM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_prepare, "find_dataset", lambda _: known)
    with monkeypatch.context() as patch:
        patch.setattr(UnfinishedStore, "finish", broken)
        with pytest.raises(KeyboardInterrupt):
            prepare("hbn", data=few, jobs=1)
    n_cut = len(read)
    again = prepare("hbn", data=few, jobs=1)
    assert len(read) == n_cut == 2
    assert same(whole, again)
    assert not list(again.path.glob(".*"))


@pytest.mark.slow
def test_which_process_cuts_what_is_left_out_of_changes_no_byte(
    few: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = prepare("hbn", data=few, jobs=1)
    monkeypatch.setattr(_cutters, "WORTH_A_PROCESS", 1)
    monkeypatch.setenv("EEGFM_CACHE", str(tmp_path / "cache"))
    assert same(whole, prepare("hbn", data=few, jobs=2))


def test_a_corpus_in_which_nothing_is_quiet_is_refused(
    few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loud = replace(HBN, recipe=replace(HBN.recipe, keep_below_uv=1.0))
    monkeypatch.setattr(_prepare, "find_dataset", lambda _: loud)
    with pytest.raises(SignalError, match="stays below 1 µV: check their unit"):
        prepare("hbn", data=few, jobs=1)


def of_hbn(root: Path, change: Callable[[dict[str, Any]], None]) -> DatasetSpec:
    """Write one short recording, changed; return the spec."""
    known: dict[str, Any] = {
        "x": np.random.default_rng(0).normal(0, 20, (129, 16_000)),
        "rate_hz": 500.0,
        "places": {
            name: (1.0, 2.0, float(k)) for k, name in enumerate((*hbn.CHANNELS, "Cz"))
        },
    }
    change(known)
    own = root / "hbn" / "ds005507" / "sub-NDARAA1" / "eeg"
    own.mkdir(parents=True)
    write_set(own / "sub-NDARAA1_task-RestingState_eeg.set", **known)
    return HBN


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda k: k.update(rate_hz=100.0), "is at 100 Hz; expected 500"),
        (
            lambda k: k.update(
                places={f"A{n}": at for n, at in enumerate(k["places"].values())}
            ),
            "channels E1, E2",
        ),
        (lambda k: k.update(x=1e-6 * k["x"]), "reads like volts"),
        (lambda k: k.update(pnts=15_000.0), "its signal is 129 × 16000"),
    ],
)
def test_a_set_that_is_not_as_published_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    of_hbn(tmp_path, change)
    with pytest.raises(SignalError, match=says) as caught:
        prepare("hbn", data=tmp_path)
    assert "sub-NDARAA1_task-RestingState_eeg.set" in str(caught.value)


def test_hbn_keeps_one_person_over_releases_and_refuses_strange_names() -> None:
    sources = HBN.find(twin_root(HBN))
    mine = [s for s in sources if s.subject == "NDARAB123CDE"]
    assert {s.person for s in mine} == {"hbn:NDARAB123CDE"}
    assert {s.session for s in mine} == {"ds005505", "ds005506"}
    assert len({s.recording for s in sources}) == len(sources) == 5


def test_a_set_under_another_subjects_name_is_refused(tmp_path: Path) -> None:
    of_hbn(tmp_path, lambda _: None)
    (path,) = (tmp_path / "hbn").rglob("*.set")
    path.rename(path.with_name("sub-NDARBB2_task-RestingState_eeg.set"))
    with pytest.raises(SignalError, match="expected sub-NDARAA1_task-<task>_eeg"):
        HBN.find(tmp_path)


def test_the_sidecars_say_what_the_sets_say() -> None:
    (sidecar, *_) = sorted(twin_root(HBN).rglob("*_eeg.json"))
    told = json.loads(sidecar.read_text())
    source = next(
        s for s in HBN.find(twin_root(HBN)) if s.path.parent == sidecar.parent
    )
    assert hbn.read(source).rate_hz == told["SamplingFrequency"]
