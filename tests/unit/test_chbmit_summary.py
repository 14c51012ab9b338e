"""Summaries of CHB-MIT: every way they are written, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.chbmit_summary import read_summary

GOOD = """Data Sampling Rate: 256 Hz
*************************

Channels in EDF Files:
**********************
Channel 1: FP1-F7
Channel 2: -

File Name: chb06_01.edf
File Start Time: 24:31:06
File End Time: 28:31:06
Number of Seizures in File: 2
Seizure 1 Start Time: 1724 seconds
Seizure 1 End Time: 1738 seconds
Seizure 2 Start Time:  7461 seconds
Seizure 2 End Time: 7476 seconds \t

Channels changed:
Channel 1: F7-CS2

File Name: chb06_02.edf
Number of Seizures in File: 0

File Name: chb06_03.edf
Number of Seizures in File: 1
Seizure Start Time: 10 seconds
Seizure End Time: 20 seconds
"""


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "chb06-summary.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_every_way_of_writing_is_read(tmp_path: Path, ending: str) -> None:
    assert read_summary(written(tmp_path, GOOD.replace("\n", ending))) == {
        "chb06_01.edf": ((1724.0, 1738.0), (7461.0, 7476.0)),
        "chb06_02.edf": (),
        "chb06_03.edf": ((10.0, 20.0),),
    }


def test_the_same_said_twice_is_no_fault(tmp_path: Path) -> None:
    again = GOOD + "\n" + GOOD[GOOD.index("File Name") :]
    assert read_summary(written(tmp_path, again)) == read_summary(
        written(tmp_path, GOOD)
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("in File: 2", "in File: 3", r"chb06_01\.edf is said to have 3 .* for 2"),
        ("Seizure 1 End Time: 1738 seconds\n", "", "start, start, end"),
        ("1738 seconds", "1724 seconds", r"ends at 1724 s, not after its start"),
        ("1738 seconds", "half past", r"line 14: cannot be read: 'Seizure 1 End"),
        ("chb06_02", "chb06_01", r"chb06_01\.edf is named twice"),
        ("File Name: chb06_02.edf", "File Name:", "line 21: cannot be read"),
    ],
)
def test_what_contradicts_itself_is_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in GOOD
    with pytest.raises(SignalError, match=message):
        read_summary(written(tmp_path, GOOD.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "File Name: chb06_01.edf\n",
            "",
            r"line 11: 'Number of Seizures in File: 2' belongs to no recording",
        ),
        (
            GOOD[GOOD.index("File Name: chb06_01") : GOOD.index("Seizure 1")],
            "",
            r"line 9: 'Seizure 1 Start .*' belongs to no recording",
        ),
        ("File Name: chb06_02.edf\n", "", "a second number of seizures for chb06_01"),
        ("Number of Seizures in File: 0\n", "", r"chb06_02\.edf has no line 'Number"),
        ("Number of Seizures in File: 1\n", "", r"chb06_03\.edf has no line 'Number"),
        (
            "2 End Time",
            "1 End Time",
            "'Seizure 2' starts at 7461 s and 'Seizure 1'",
        ),
        ("File Name: chb06_02", "The File Name: chb06_02", "line 21: cannot be read"),
        ("File Name: chb06_02", "FileName chb06_02", "line 21: cannot be read"),
        ("Number of Seizures in File: 0", "No seizures", "line 22: cannot be read"),
        ("Seizure 2 End", "2nd Seizure End", "line 16: cannot be read"),
        ("2 Start Time:  7461", "2 Start Time: 1737", "seizures of .* overlap"),
        (GOOD[GOOD.index("chb06_03.edf") :], "", "line 24: cannot be read: 'File Name"),
        (GOOD[GOOD.index("3.edf") :], "", "line 24: cannot be read: 'File Name: chb06"),
        (GOOD[GOOD.index("3.edf\n") + 5 :], "", r"chb06_03\.edf has no line 'Number"),
    ],
)
def test_a_summary_that_lost_something_is_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(SignalError, match=message):
        read_summary(written(tmp_path, GOOD.replace(old, new)))


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    text = GOOD[GOOD.index("File Name") :].encode()
    assert len(read_summary(written(tmp_path, b"\xef\xbb\xbf" + text))) == 3


def test_case_23_leaves_the_number_out(tmp_path: Path) -> None:
    text = GOOD.replace("chb06", "chb23").replace("Number of Seizures in File: 0\n", "")
    assert read_summary(written(tmp_path, text))["chb23_02.edf"] == ()


def test_the_publishers_own_slip_is_read(tmp_path: Path) -> None:
    text = GOOD.replace("chb06_01", "chb09_08").replace("2 End Time", "1 End Time")
    found = read_summary(written(tmp_path, text))
    assert found["chb09_08.edf"] == ((1724.0, 1738.0), (7461.0, 7476.0))


def test_other_text_is_no_summary(tmp_path: Path) -> None:
    with pytest.raises(SignalError, match="names no recording"):
        read_summary(written(tmp_path, b"\x00\xffnothing\n"))
    with pytest.raises(SignalError, match="the summary is absent"):
        read_summary(tmp_path / "chb07-summary.txt")


@pytest.mark.data
def test_the_genuine_summary_is_read(data_root: Path) -> None:
    path = data_root / "chbmit" / "chb01" / "chb01-summary.txt"
    if not path.exists():
        pytest.skip("no summary of CHB-MIT below the data root")
    found = read_summary(path)
    assert len(found) == 42
    assert {k: v for k, v in found.items() if v} == {
        "chb01_03.edf": ((2996.0, 3036.0),),
        "chb01_04.edf": ((1467.0, 1494.0),),
        "chb01_15.edf": ((1732.0, 1772.0),),
        "chb01_16.edf": ((1015.0, 1066.0),),
        "chb01_18.edf": ((1720.0, 1810.0),),
        "chb01_21.edf": ((327.0, 420.0),),
        "chb01_26.edf": ((1862.0, 1963.0),),
    }
