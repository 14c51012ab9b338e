"""The simulated twins: genuine files in form, plausible EEG in content."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import welch

from eegfm_bench.datasets import eegmat, eyes
from eegfm_bench.datasets._prepare import prepare
from eegfm_bench.datasets._spec import DatasetSpec
from eegfm_bench.datasets._twins import eeg
from eegfm_bench.recordings.edf import read_edf, read_header

EEGMAT, EYES = eegmat.DATASETS[0], eyes.DATASETS[0]
BOTH = pytest.mark.parametrize("spec", [EEGMAT, EYES], ids=lambda spec: spec.name)

# The labels of Subject00_1.edf and S001R01.edf, as the publishers wrote them.
EEGMAT_LABELS = (
    "EEG Fp1,EEG Fp2,EEG F3,EEG F4,EEG F7,EEG F8,EEG T3,EEG T4,EEG C3,EEG C4,EEG T5,"
    "EEG T6,EEG P3,EEG P4,EEG O1,EEG O2,EEG Fz,EEG Cz,EEG Pz,EEG A2-A1,ECG ECG,"
    "EDF Annotations"
)
EEGMMIDB_LABELS = (
    "Fc5.,Fc3.,Fc1.,Fcz.,Fc2.,Fc4.,Fc6.,C5..,C3..,C1..,Cz..,C2..,C4..,C6..,Cp5.,Cp3.,"
    "Cp1.,Cpz.,Cp2.,Cp4.,Cp6.,Fp1.,Fpz.,Fp2.,Af7.,Af3.,Afz.,Af4.,Af8.,F7..,F5..,F3..,"
    "F1..,Fz..,F2..,F4..,F6..,F8..,Ft7.,Ft8.,T7..,T8..,T9..,T10.,Tp7.,Tp8.,P7..,P5..,"
    "P3..,P1..,Pz..,P2..,P4..,P6..,P8..,Po7.,Po3.,Poz.,Po4.,Po8.,O1..,Oz..,O2..,Iz..,"
    "EDF Annotations"
)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each small twin, written once."""
    folders = {}
    for spec in (EEGMAT, EYES):
        folders[spec.name] = tmp_path_factory.mktemp("twin") / spec.folder
        folders[spec.name].mkdir()
        spec.simulate(folders[spec.name], "small")
    return folders


def alpha_uv(path: Path, spec: DatasetSpec) -> float:
    """Amplitude at 8-13 Hz over the occiput, in µV."""
    recording = read_edf(path).pick(("O1", "O2"))
    rate_hz = recording.rate_hz
    freq, power = welch(recording.x, rate_hz, nperseg=int(2 * rate_hz))
    inside = (freq >= 8) & (freq < 13)
    return float(np.sqrt(power[:, inside].sum(axis=1).mean() / 2))


def test_eegmat_files_have_the_publishers_names_and_headers(
    twins: dict[str, Path],
) -> None:
    paths = sorted(twins["eegmat"].iterdir())
    assert paths[0].name == "Subject00_1.edf"
    assert len(paths) == 2 * len(EEGMAT.split.names)
    header = read_header(paths[0])
    assert ",".join(header.labels) == EEGMAT_LABELS
    assert header.record_s == 1.0
    assert set(header.samples_per_record[:-1]) == {500}
    fixed = paths[0].read_bytes()[:256]
    assert fixed[8:88].rstrip() == b"0 M 01-JAN-1990 Subject0"
    assert fixed[192:197] == b"EDF+C"


def test_eegmmidb_files_have_the_publishers_names_and_headers(
    twins: dict[str, Path],
) -> None:
    path = twins["eyes"] / "S001" / "S001R01.edf"
    header = read_header(path)
    assert ",".join(header.labels) == EEGMMIDB_LABELS
    assert header.record_s == 1.0
    assert set(header.samples_per_record[:-1]) == {160}
    assert path.read_bytes()[88:168].rstrip() == b"Startdate 12-AUG-2009 X X BCI2000"


def test_labels_equal_those_of_genuine_files(data_root: Path) -> None:
    for name, labels in (
        ("eegmat/Subject00_1.edf", EEGMAT_LABELS),
        ("eegmmidb/S001/S001R01.edf", EEGMMIDB_LABELS),
    ):
        assert ",".join(read_header(data_root / name).labels) == labels


def test_the_last_moment_of_a_rest_run_is_zero_but_in_one_file(
    twins: dict[str, Path],
) -> None:
    padded = read_edf(twins["eyes"] / "S004" / "S004R01.edf")
    whole = read_edf(twins["eyes"] / "S014" / "S014R01.edf")
    assert not padded.x[:, -128:].any()
    assert padded.x[:, -129].any()
    assert whole.x[:, -1].any()
    assert padded.duration_s - whole.duration_s == 1.0
    (event,) = padded.events
    assert event.code == "T0"
    assert event.duration_s == pytest.approx(padded.duration_s - 0.8, abs=0.1)


@pytest.mark.parametrize(
    ("spec", "low_uv", "high_uv"),
    [(EEGMAT, 6.0, 18.0), (EYES, 15.0, 80.0)],
    ids=["eegmat", "eyes"],
)
def test_the_reader_finds_live_channels_of_plausible_amplitude(
    twins: dict[str, Path], spec: DatasetSpec, low_uv: float, high_uv: float
) -> None:
    for source in spec.files(twins[spec.name])[::9]:
        recording = spec.read(source).pick(spec.recipe.channels)
        assert recording.flat_channels == ()
        assert low_uv < np.median(recording.x.std(axis=1)) < high_uv


def test_the_ecg_is_kept_in_millivolt(twins: dict[str, Path]) -> None:
    recording = read_edf(twins["eegmat"] / "Subject32_1.edf").pick(("ECG",))
    assert 300 < np.ptp(recording.x) < 2000


@BOTH
def test_the_same_bytes_come_twice(
    twins: dict[str, Path],
    tmp_path: Path,
    spec: DatasetSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = eegmat if spec is EEGMAT else eyes
    few = tuple((subjects[:1], length) for subjects, length in module.SMALL)
    monkeypatch.setattr(module, "SMALL", few)
    eeg.lead_field.cache_clear()
    spec.simulate(tmp_path, "small")
    paths = sorted(tmp_path.rglob("*.edf"))
    assert len(paths) == 6
    for path in paths:
        first = twins[spec.name] / path.relative_to(tmp_path)
        digests = {hashlib.sha256(p.read_bytes()).digest() for p in (path, first)}
        assert len(digests) == 1


@BOTH
def test_a_small_cell_makes_at_most_600_window_passes(
    twins: dict[str, Path], spec: DatasetSpec
) -> None:
    index = spec.plan(spec.find(twins[spec.name].parent))
    n = index["part"].value_counts()
    n_epochs = 2
    assert n_epochs * (n["train"] + n["val"]) + n["test"] <= 600
    balance = index.groupby("part")["label"].mean()
    assert (balance == 0.5).all()


@BOTH
def test_what_is_planned_is_cut(
    twins: dict[str, Path],
    spec: DatasetSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EEGFM_CACHE", str(tmp_path))
    tiny = tmp_path / "root"
    first = {parts[0] for parts in (spec.split.train, spec.split.val, spec.split.test)}
    for source in spec.files(twins[spec.name]):
        if source.subject in first:
            copy = tiny / spec.folder / source.path.relative_to(twins[spec.name])
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.path.read_bytes())
    store = prepare(spec.name, data=tiny, allow_partial=True)
    planned = spec.plan(spec.find(tiny))
    assert store.index["onset_s"].tolist() == planned["onset_s"].tolist()
    assert len(store.x) == len(planned)
    assert store.x.std(axis=-1).min() > 0


def test_alpha_falls_with_arithmetic_and_rises_with_closed_eyes(
    twins: dict[str, Path],
) -> None:
    rises = {}
    for spec, pattern in ((EEGMAT, "*_1.edf"), (EYES, "*/*R01.edf")):
        ratios = []
        for path in sorted(twins[spec.name].glob(pattern)):
            other = path.with_name(path.name.replace("1.edf", "2.edf"))
            ratios.append(np.log(alpha_uv(other, spec) / alpha_uv(path, spec)))
        rises[spec.name] = float(np.mean(ratios))
    assert rises["eegmat"] < -0.1
    assert rises["eyes"] > 0.1


def test_full_durations_are_the_genuine_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths_s: dict[str, float] = {}

    def noted(path: Path, x: np.ndarray, *ecg: np.ndarray) -> None:
        rate_hz = 500 if path.name.startswith("Subject") else 160
        lengths_s[path.stem] = x.shape[1] / rate_hz

    def silence(channels, *_, duration_s, **__):  # type: ignore[no-untyped-def]
        rate_hz = 500 if len(channels) == 20 else 160
        return np.ones((len(channels), round(duration_s * rate_hz)))

    monkeypatch.setattr(eeg, "record", silence)
    for module in (eegmat, eyes):
        monkeypatch.setattr(module, "_write_edf", noted)
        module.simulate(tmp_path, "full")
    assert len(lengths_s) == 72 + 218
    assert lengths_s["Subject00_1"] == 182
    assert lengths_s["Subject31_1"] == 80
    assert lengths_s["Subject31_2"] == 62
    assert lengths_s["S001R01"] == 61
    assert lengths_s["S097R02"] == 60
