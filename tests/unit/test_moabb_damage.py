"""An export of MOABB's that is damaged: named, never read as it is."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from eegfm_bench.datasets import _moabb
from eegfm_bench.datasets._prepare import prepare, twin_root
from eegfm_bench.datasets._spec import find_dataset
from eegfm_bench.datasets._verify import verify
from eegfm_bench.errors import SignalError, SpecError
from tests.unit.planted_moabb import NAME, array, folder, located, plant


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with the planted set as it should be."""
    monkeypatch.setenv("EEGFM_CACHE", str(tmp_path / "cache"))
    plant(monkeypatch.setitem)
    _moabb.fetch(NAME, tmp_path / "root")
    return tmp_path / "root"


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_truncated_or_foreign_array_is_named(root: Path) -> None:
    whole = array(root).read_bytes()
    huge = whole.replace(b"(4, 5000)", b"(4, 5000000000)")[: len(whole)]
    for content in (whole[:-1], whole[: len(whole) // 2], whole[:5], b"", huge):
        array(root).write_bytes(content)
        with pytest.raises(SignalError, match=f"{array(root)}: the run is damaged"):
            prepare(NAME, data=root)
    array(root).write_bytes(whole + b"1234")
    with pytest.raises(SignalError, match=r"the run is damaged.*80132 bytes"):
        verify(NAME, data=root)


def test_changed_values_are_named(root: Path) -> None:
    content = bytearray(array(root).read_bytes())
    content[-2] ^= 1
    array(root).write_bytes(content)
    verify(NAME, data=root)  # reads no signal
    with pytest.raises(SignalError, match=f"{array(root)}: the values are not those"):
        prepare(NAME, data=root)


def test_a_run_that_is_lost_is_damage(root: Path) -> None:
    array(root).unlink()
    assert located(root).absent(located(root).find(root)) == ("3",)
    (folder(root) / "sub-4.json").unlink()
    with pytest.raises(SignalError, match="sub-4 have runs, but no"):
        prepare(NAME, data=root, allow_partial=True)


def test_a_description_that_is_lost_or_damaged_is_named(root: Path) -> None:
    about, subject = folder(root) / "dataset.json", folder(root) / "sub-2.json"
    about.rename(about.with_suffix(".away"))
    with pytest.raises(SignalError, match=f"{about} cannot be read"):
        prepare(NAME, data=root)
    about.with_suffix(".away").rename(about)
    whole = subject.read_bytes()
    subject.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SignalError, match=f"{subject} is damaged"):
        prepare(NAME, data=root)
    subject.write_bytes(whole.replace(b'"up"', b'"upp"'))
    with pytest.raises(SignalError, match=f"{subject}: .* has the events upp"):
        prepare(NAME, data=root)
    subject.write_bytes(whole.replace(b'"rate_hz":250.0', b'"rate_hz":-1.0'))
    with pytest.raises(SignalError, match=r"at runs\..*\.rate_hz: .*greater than 0"):
        prepare(NAME, data=root)
    shutil.copy(folder(root) / "sub-1.json", subject)
    with pytest.raises(SignalError, match=f"{subject} is about subject 1"):
        prepare(NAME, data=root)


def test_another_moabb_is_noted_or_refused(root: Path) -> None:
    about = folder(root) / "dataset.json"
    change(about, moabb="1.2.0")
    assert located(root).notes[-1] == "Exported by MOABB 1.2.0."
    assert _moabb.fetch(NAME, root)["fetched"] == []
    array(root).unlink()
    with pytest.raises(SpecError, match=r"begun with MOABB 1\.2\.0"):
        _moabb.fetch(NAME, root)
    change(about, interval=[0.0, 2.0])
    with pytest.raises(SpecError, match=r"1\.2\.0; .* other values of: interval"):
        verify(NAME, data=root)
    change(about, format=2)
    with pytest.raises(SignalError, match=f"{about} is damaged, at format"):
        verify(NAME, data=root)


def test_a_subject_with_some_of_its_runs_is_damaged(tmp_path: Path) -> None:
    shutil.copytree(twin_root(find_dataset("moabb:FakeDataset")), tmp_path / "root")
    (tmp_path / "root/moabb/FakeDataset/sub-03_ses-1_run-0.npy").unlink()
    for ask in (verify, partial(prepare, allow_partial=True)):
        with pytest.raises(SignalError, match="subject 03 has 3 of 4 recordings"):
            ask("moabb:FakeDataset", data=tmp_path / "root")
