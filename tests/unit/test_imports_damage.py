"""Damaged and hostile files of other suites are refused, by file and by field."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from eegfm_bench.cli.panels import panel_documents, print_panels
from eegfm_bench.errors import DataMissing, StoreError
from eegfm_bench.report.imports import HEADING, panels
from eegfm_bench.report.render import FORMATS, render
from tests.unit.test_imports import (
    as_csv,
    as_json,
    as_parquet,
    moabb_rows,
    neuralbench,
    openeeg,
)


def store(file: Path, **attributes: Any) -> Path:
    """Write the layout of MOABB's store by hand, to spoil it."""
    with h5py.File(file, "w") as out:
        pipeline = out.create_group("0f" * 16)
        pipeline.attrs["name"] = "CSP"
        own = pipeline.create_group("Zhou2016")
        text = h5py.special_dtype(vlen=str)
        own.create_dataset("id", data=np.array([["1", "0"]], dtype=object), dtype=text)
        own.create_dataset("data", data=np.array([[0.5, 1.0]]))
        own.attrs["channels"] = np.int64(3)
        own.attrs["n_sessions"] = np.int64(1)
        own.attrs.create("columns", ["score", "time"], dtype=text)
        for key, value in attributes.items():
            own.attrs[key] = value
    return file


def test_the_store_made_by_hand_is_read(tmp_path: Path) -> None:
    (panel,) = panels([store(tmp_path / "x.hdf5")])
    assert panel.table.rows[0].cells[0].mean == 0.5


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("kind", ["parquet", "json", "hdf5", "csv"])
def test_a_truncated_file_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    file = tmp_path / f"theirs.{kind}"
    if kind == "parquet":
        as_parquet(file, openeeg())
    elif kind == "json":
        as_json(file, neuralbench())
    elif kind == "hdf5":
        store(file)
    else:
        as_csv(file, openeeg())
    whole = file.read_bytes()
    cut = len(whole) * share
    if kind == "csv":  # within a row, not between two
        cut = whole[: int(cut)].rindex(b"\n") + 12
    file.write_bytes(whole[: int(cut)])
    with pytest.raises(StoreError, match="theirs"):
        panels([file])


def spoilt(**changes: Any) -> dict[str, Any]:
    return neuralbench() | changes


NAN = '{"tasks": [], "models": [], "results": {"x": NaN}}'
TWICE = '{"tasks": [], "tasks": [], "models": [], "results": {}}'


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"tasks": []}, "lacks 'models, results'"),
        (spoilt(results={}), "holds no results"),
        (spoilt(results={"sleep": {}}), "'sleep', which is none of its tasks"),
        (spoilt(results={"age": {"gpt": {"mean": 1}}}), "gpt on age, which is none"),
        (spoilt(results={"age": {"eegnet": {"std": 1}}}), "'mean' of eegnet on age"),
        (spoilt(tasks=[{"id": "age"}]), "'metric' of task 1 is None"),
        (spoilt(tasks=7), "'tasks' is no list"),
        (spoilt(models=[{"name": "a"}, {"name": "a"}]), "names a twice"),
        (NAN, "NaN is no number"),
        (TWICE, "the key tasks is there twice"),
        ("{" * 100_000, "no whole JSON"),
    ],
)
def test_a_document_that_does_not_hold_together_is_refused(
    tmp_path: Path, document: Any, said: str
) -> None:
    file = tmp_path / "x.json"
    text = document if isinstance(document, str) else json.dumps(document)
    file.write_text(text)
    with pytest.raises(StoreError, match=said):
        panels([file])


def test_a_table_cell_that_is_no_number_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("model,emotion\neegnet,0.2 ± 0.1\nlabram,good\n")
    with pytest.raises(StoreError, match="'emotion' of labram is 'good'"):
        panels([file])


def test_a_store_whose_parts_disagree_is_refused(tmp_path: Path) -> None:
    file = store(tmp_path / "x.hdf5", columns=["score"])
    with pytest.raises(StoreError, match="'data' of CSP on Zhou2016"):
        panels([file])
    with h5py.File(store(file), "r+") as out:
        del out["0f" * 16]["Zhou2016"].attrs["n_sessions"]
    with pytest.raises(StoreError, match="lacks what MOABB writes"):
        panels([file])


def test_no_link_out_of_a_store_is_followed(tmp_path: Path) -> None:
    secret, file = store(tmp_path / "secret.hdf5"), store(tmp_path / "x.hdf5")
    with h5py.File(file, "r+") as out:
        out["linked"] = h5py.ExternalLink(str(secret), "/" + "0f" * 16)
    with pytest.raises(StoreError, match="a link to elsewhere"):
        panels([file])


def test_an_array_that_claims_to_be_huge_is_refused_unread(tmp_path: Path) -> None:
    file = store(tmp_path / "x.hdf5")
    with h5py.File(file, "r+") as out:
        own = out["0f" * 16]["Zhou2016"]
        del own["data"]
        own.create_dataset("data", shape=(10**9, 2), chunks=(1024, 2), dtype="f4")
    with pytest.raises(StoreError, match=r"2,000,000,000 values"):
        panels([file])


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Told:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path(tmp_path / "ran").touch, ())

    file = tmp_path / "x.parquet"
    file.write_bytes(pickle.dumps(Told()))
    with pytest.raises(StoreError):
        panels([file])
    assert not (tmp_path / "ran").exists()


def test_what_is_not_there_or_empty_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match="There is no file"):
        panels([tmp_path / "none.csv"])
    (tmp_path / "empty.csv").touch()
    with pytest.raises(StoreError, match="it has 0 bytes"):
        panels([tmp_path / "empty.csv"])


def test_panels_are_shown_in_every_format_unranked_and_apart_from_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [
        as_parquet(tmp_path / "a.parquet", openeeg()),
        as_json(tmp_path / "b.json", neuralbench()),
        as_csv(tmp_path / "c.csv", moabb_rows()),
    ]
    found = panels(files)
    for panel in found:
        for form in FORMATS:
            text = render(panel.table, form)
            shown = ("0.45", "0.25", "0.75")
            assert any(number in text for number in shown), form
        told = [cell for row in panel.table.rows for cell in row.cells]
        assert {cell.rank for cell in told} == {0}
        assert {cell.about["source"] for cell in told} == {"imported"}
        assert all(cell.about["protocol"] in panel.protocols for cell in told)
    # Two rows of one model are told apart in csv, which has fixed columns.
    assert "frozen, linear, mlp" in render(found[0].table, "csv")
    print_panels(files)
    said = capsys.readouterr().out
    assert said.index(HEADING) < said.index("OpenEEG-Bench") < said.index("MOABB")
    documents = panel_documents(files)
    assert [d["system"] for d in documents] == [p.system for p in found]
