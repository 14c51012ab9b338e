"""Hypnograms as text: one stage a line, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.hypnogram import read_hypnogram

STAGES = {0: 0, 1: 1, 2: 2, 3: 3, 5: 4}


def test_stages_become_labels_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "1_1.txt"
    path.write_bytes(b"\xef\xbb\xbf0\r\n\r\n 5 \n3\n\n\n")
    assert read_hypnogram(path, STAGES).tolist() == [0, 4, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"0\n1\nW\n", r"line 3: 'W' is no sleep stage; expected one of 0, 1, 2, 3, 5"),
        (b"0\n\n4\n", r"line 3: '4' is no sleep stage"),
        (b"0\n6\n", r"line 2: '6' is no"),
        (b"0\n-1\n", r"line 2: '-1' is no"),
        (b"1.0\n", r"line 1: '1\.0' is no"),
        (b"0 1\n", r"line 1: '0 1' is no"),
        (b"9" * 9999, r"line 1: '9{20}' is no"),
        (b"", r"the hypnogram is empty"),
        (b"\n \r\n\n", r"the hypnogram is empty"),
        (b"\xff\xfe0\x00", r"not a text of one stage a line .*at byte 0"),
        (b"0\n" * 600_000, r"has 1,200,000 bytes"),
        (None, r"the hypnogram is absent"),
    ],
)
def test_anything_else_is_refused_by_name(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "1_1.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SignalError, match=rf"1_1\.txt.*{message}"):
        read_hypnogram(path, STAGES)
