"""SEED-V: which seconds become windows, in which part, equal to MNE's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from eegfm_bench.datasets import seedv
from eegfm_bench.datasets._prepare import prepare, twin_root
from eegfm_bench.datasets._seedv_films import CHANNELS, DAYS, SESSIONS
from eegfm_bench.datasets._spec import Source
from eegfm_bench.datasets._twins import seedv as seedv_twin
from eegfm_bench.datasets._twins.cnt import write_cnt, write_count
from eegfm_bench.datasets._verify import EQUAL, verify
from eegfm_bench.errors import DataMissing, SignalError
from eegfm_bench.symbols import PARTS

SPEC = seedv.DATASETS[0]
LABELS = seedv_twin.LABELS


def skeleton(
    root: Path, name: str, *, seconds: float, labels: Iterable[str] = LABELS
) -> Path:
    """Write a true header and event table over a sparse body of true size."""
    path = root / "seedv" / "EEG_raw" / f"{name}.cnt"
    path.parent.mkdir(parents=True, exist_ok=True)
    events = [(5_000, 1), (9_000, 2)]
    write_cnt(path, tuple(labels), 1000, round(seconds * 1000), (), events=events)
    return path


def write_skeletons(root: Path) -> None:
    for session, days in DAYS.items():
        for k, day in enumerate(days):
            seconds = SESSIONS[session].ends_s[-1] + 0.5 + k
            skeleton(root, f"{k + 1}_{session}_{day}", seconds=seconds)


def one(tmp_path: Path, name: str, **how) -> Source:  # type: ignore[no-untyped-def]
    skeleton(tmp_path, name, **how)
    (source,) = seedv.files(tmp_path / "seedv")
    return source


def test_the_published_sessions_have_the_published_counts(tmp_path: Path) -> None:
    write_skeletons(tmp_path)
    plan = SPEC.plan(SPEC.find(tmp_path))
    assert len(plan) == 117_744
    assert plan.groupby("session").size().tolist() == [
        16 * n for n in (2743, 2191, 2425)
    ]
    for part in PARTS:
        own = plan[plan["part"] == part]
        assert len(own) == SPEC.facts.windows[part]
        by_class = own["label"].value_counts().sort_index().tolist()
        assert by_class == [*SPEC.facts.windows_by_class[part]]
    assert not plan.duplicated(["recording", "onset_s"]).any()
    found = verify("seedv", data=tmp_path)
    assert {line.verdict for line in found.lines} == {EQUAL}
    assert len(found.lines) == 2 + 3 * 6 + 1
    assert found.oddities == {}
    # The broken recording beside its repaired copy adds nothing.
    broken = tmp_path / "seedv" / "EEG_raw" / "7_1_20180411.cnt"
    skeleton(tmp_path, "7_1_20180411_repaired", seconds=3370)
    write_count(broken, -732)
    again = verify("seedv", data=tmp_path)
    assert again.lines == found.lines
    assert [*again.oddities] == ["7_1_20180411_repaired"]
    assert "7_1_20180411.cnt beside it is not used" in str(again.oddities)
    broken.unlink()
    alone = verify("seedv", data=tmp_path)
    assert (alone.lines, alone.oddities) == (found.lines, {})


def test_the_broken_recording_alone_is_refused_and_the_repaired_named(
    tmp_path: Path,
) -> None:
    write_count(skeleton(tmp_path, "7_1_20180411", seconds=3370), -732)
    (source,) = seedv.files(tmp_path / "seedv")
    message = r"7_1_20180411\.cnt: .* broken: .* ships 7_1_20180411_repaired\.cnt"
    for function in (seedv.windows, seedv.oddities):
        with pytest.raises(SignalError, match=message):
            function(source)


@pytest.mark.parametrize(
    ("first", "second"),
    [("3_1_20180414", "3_1_20180415"), ("7_1_20180411_repaired", "7_1_20180412")],
)
def test_two_recordings_of_one_session_are_refused(
    tmp_path: Path, first: str, second: str
) -> None:
    skeleton(tmp_path, first, seconds=3400)
    skeleton(tmp_path, second, seconds=3400)
    with pytest.raises(SignalError, match=rf"{second}.*{first}.* both of subject"):
        SPEC.find(tmp_path)


@pytest.mark.parametrize("name", ["3_1", "3_4_20180414", "03_1_20180414", "copy"])
def test_a_name_that_is_not_as_published_is_refused(tmp_path: Path, name: str) -> None:
    skeleton(tmp_path, name, seconds=40)
    with pytest.raises(SignalError, match=rf"{name}\.cnt: not the name"):
        SPEC.find(tmp_path)


def test_a_subject_with_two_sessions_is_damaged_and_an_unknown_one_outside(
    tmp_path: Path,
) -> None:
    for session in "123":
        skeleton(tmp_path, f"17_{session}_20180414", seconds=3400)
    with pytest.raises(DataMissing, match="holds no recording"):
        SPEC.find(tmp_path)
    assert len(SPEC.outside(tmp_path)) == 3
    for session in "12":
        skeleton(tmp_path, f"3_{session}_20180414", seconds=3400)
    with pytest.raises(SignalError, match=r"subject 3 has .* alone, 3 recordings"):
        SPEC.find(tmp_path)


@pytest.mark.parametrize(
    ("seconds", "trial"), [(3359, None), (3358.999, 14), (3210, 14), (229, 2), (20, 0)]
)
def test_a_recording_must_reach_the_end_of_every_film(
    tmp_path: Path, seconds: float, trial: int | None
) -> None:
    source = one(tmp_path, "3_1_20180414", seconds=seconds)
    if trial is None:
        assert seedv.windows(source)[0][-1] == 3358
        return
    film = SESSIONS["1"]
    times = rf"\({film.starts_s[trial]} to {film.ends_s[trial]} s\)"
    with pytest.raises(
        SignalError,
        match=rf"3_1_20180414\.cnt: ends at {seconds:g} s, before .* trial {trial} of "
        rf"session 1 {times}",
    ):
        seedv.windows(source)


def test_windows_are_the_whole_seconds_of_films_and_split_by_film(
    tmp_path: Path,
) -> None:
    source = one(tmp_path, "3_2_20180419", seconds=2830)
    onsets_s, labels = seedv.windows(source)
    assert onsets_s[:237].tolist() == [*range(30, 267)]
    assert labels[:237].tolist() == [2] * 237
    assert onsets_s[237] == 299
    trials = seedv.units_of(source, onsets_s)
    assert [*dict.fromkeys(trials)] == [f"trial {k}" for k in range(15)]
    assert Counter(trials)["trial 14"] == 2817 - 2741
    assert trials[236:238] == ["trial 0", "trial 1"]
    assert (np.diff(onsets_s) >= 1).all()


@pytest.mark.parametrize("session", SESSIONS)
def test_every_emotion_has_a_film_in_each_part(session: str) -> None:
    films = SESSIONS[session]
    for k in (0, 5, 10):
        assert sorted(films.labels[k : k + 5]) == [0, 1, 2, 3, 4]
    both = [s for film in zip(films.starts_s, films.ends_s, strict=True) for s in film]
    assert len(both) == 30
    assert all(a < b for a, b in pairwise(both))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS[:62], "62 channels; expected 66, 62 of the scalp and M1, M2, VEO, HEO"),
        ((*LABELS, "EKG"), "67 channels; expected 66"),
        ((*LABELS[:65], "FP1"), "the channels HEO are missing"),
        (("A1", *LABELS[1:]), "the channels Fp1 are missing; the file has instead A1"),
    ],
)
def test_other_channels_are_refused(
    tmp_path: Path, labels: tuple[str, ...], message: str
) -> None:
    source = one(tmp_path, "3_1_20180414", seconds=3400, labels=labels)
    with pytest.raises(SignalError, match=rf"3_1_20180414\.cnt: .*{message}"):
        seedv.windows(source)


@pytest.mark.parametrize("rate_hz", [7, 500, 999])
def test_another_rate_would_move_every_film_and_is_refused(
    tmp_path: Path, rate_hz: int
) -> None:
    source = one(tmp_path, "3_1_20180414", seconds=3400)
    with source.path.open("r+b") as file:
        file.seek(376)
        file.write(rate_hz.to_bytes(2, "little"))
    message = rf"3_1_20180414\.cnt: {rate_hz} Hz; expected 1000"
    with pytest.raises(SignalError, match=message):
        seedv.windows(source)


def test_narrower_values_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = one(tmp_path, "3_1_20180414", seconds=3400)
    header = replace(seedv.read_header(source.path), n_bytes=2)
    monkeypatch.setattr(seedv, "read_header", lambda _: header)
    with pytest.raises(SignalError, match=r"3_1_20180414\.cnt: .* values of 16 bits"):
        seedv.windows(source)


def test_hidden_files_of_macos_are_passed_over(tmp_path: Path) -> None:
    path = skeleton(tmp_path, "3_1_20180414", seconds=3400)
    path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    assert [s.path for s in seedv.files(tmp_path / "seedv")] == [path]


def test_oddities_tell_of_points_that_are_not_counted(tmp_path: Path) -> None:
    source = one(tmp_path, "3_1_20180414", seconds=3400)
    assert seedv.oddities(source) == ()
    write_count(source.path, 3_399_000)
    assert seedv.oddities(source) == (
        "1000 time points after the last that is counted",
    )


def by_mne(path: Path) -> np.ndarray:
    """The session (62, T) at 200 Hz in µV, by MNE alone as the published code."""
    import mne

    raw = mne.io.read_raw_cnt(path, preload=True, verbose="ERROR")
    raw.drop_channels(["M1", "M2", "VEO", "HEO"])
    assert [c.upper() for c in CHANNELS] == raw.ch_names
    raw.resample(200, verbose="ERROR")
    raw.filter(l_freq=0.3, h_freq=75, verbose="ERROR")
    return np.asarray(raw.get_data(units="uV"))


@pytest.mark.parity
def test_windows_equal_mne() -> None:
    store = prepare("seedv")
    for recording in ("1_2_20180810", "7_1_20180411_repaired"):
        path = twin_root(SPEC) / "seedv" / "EEG_raw" / f"{recording}.cnt"
        session = by_mne(path)
        films, _ = seedv_twin.schedule(recording[2], "small")
        expected = np.concatenate(
            [
                session[:, a * 200 : b * 200].reshape(62, b - a, 200).swapaxes(0, 1)
                for a, b in zip(films.starts_s, films.ends_s, strict=True)
            ]
        )
        x = store.x[np.flatnonzero(store.index["recording"] == recording)]
        assert x.shape == expected.shape == (55, 62, 200)
        assert np.abs(x - expected).max() <= 1e-5 * np.abs(expected).max()
