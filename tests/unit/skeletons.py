"""Recordings without signals: true headers and annotations over sparse bodies.

A skeleton is a file of the size its header promises, whose signal was never written:
it takes next to no room, and all code that works from headers and annotations alone
reads it as the recording it stands for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from eegfm_bench.recordings.recording import Event

ANNOTATIONS = "EDF Annotations"


def write_edf_skeleton(
    path: Path,
    *,
    labels: Sequence[str],
    samples_per_record: int,
    n_records: int,
    record_s: float = 1,
    unit: str = "uV",
    physical: tuple[float, float] = (-8092, 8092),
    digital: tuple[int, int] = (-8092, 8092),
    transducer: str = "",
    prefiltering: str = "",
    events: Iterable[Event] | None = None,
    annotation_samples: int = 80,
) -> None:
    """Write an EDF header over a sparse body; with events, EDF+ with annotations.

    Parameters
    ----------
    path : path
        The file to be.
    labels : sequence of str
        The signals' labels as their publisher writes them.
    samples_per_record : int
        Time points of every signal in a record.
    n_records, record_s : int, float
        How many records, of how many seconds.
    unit, physical, digital, transducer, prefiltering : as in the header
        The same for every signal.
    events : iterable of Event, optional
        Each is written into the record in which it begins, or the last one. Records
        without any stay empty, though EDF+ has the record's time there.
    annotation_samples : int
        Two bytes each, in every record.
    """
    is_plus = events is not None
    names = [*labels, ANNOTATIONS] if is_plus else list(labels)
    samples = [samples_per_record] * len(labels) + [annotation_samples] * is_plus
    n = len(names)

    def column(values: Iterable[object], last: object, width: int) -> bytes:
        every = [*values, last] if is_plus else list(values)
        return b"".join(str(value).encode().ljust(width) for value in every)

    def same(value: object, last: object, width: int) -> bytes:
        return column([value] * len(labels), last, width)

    header_bytes = 256 * (n + 1)
    head = b"0".ljust(8) + b"X X X X".ljust(80) + b"Startdate X X X X".ljust(80)
    head += b"01.01.0100.00.00" + str(header_bytes).encode().ljust(8)
    head += (b"EDF+C" if is_plus else b"").ljust(44)
    head += str(n_records).encode().ljust(8) + f"{record_s:g}".encode().ljust(8)
    head += str(n).encode().ljust(4)
    head += column(labels, ANNOTATIONS, 16) + same(transducer, "", 80)
    head += same(unit, "", 8) + same(physical[0], -1, 8) + same(physical[1], 1, 8)
    head += same(digital[0], -32768, 8) + same(digital[1], 32767, 8)
    head += same(prefiltering, "", 80) + same(samples_per_record, annotation_samples, 8)
    head += same("", "", 32)
    assert len(head) == header_bytes

    record_bytes = 2 * sum(samples)
    spoken: dict[int, bytes] = {0: b"+0\x14\x14\x00"} if is_plus else {}
    for event in events or ():
        record = min(int(event.onset_s // record_s), n_records - 1)
        stamp = f"+{record * record_s:g}\x14\x14\x00".encode()
        text = f"+{event.onset_s:g}\x15{event.duration_s:g}\x14{event.code}\x14\x00"
        spoken[record] = spoken.get(record, stamp) + text.encode()
    with path.open("wb") as file:
        file.write(head)
        for record, content in spoken.items():
            assert len(content) <= 2 * annotation_samples, path
            before = record * record_bytes + 2 * samples_per_record * len(labels)
            file.seek(header_bytes + before)
            file.write(content)
        file.truncate(header_bytes + record_bytes * n_records)
