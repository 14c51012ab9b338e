"""What would be cut, held against what is known: counts from headers alone.

From: a DatasetSpec, its Facts and a data root. To: the ``verify`` verb. No signal is
read and nothing is written, so a whole dataset takes seconds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eegfm_bench.datasets._places import data_root
from eegfm_bench.datasets._spec import DatasetSpec, find_dataset
from eegfm_bench.errors import DataMissing, listed
from eegfm_bench.symbols import PARTS

if TYPE_CHECKING:
    import pandas as pd

EQUAL, DIFFERS, UNKNOWN = "equal", "differs", "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One count: what it counts, of which part and class (None: of all).

    ``verdict`` is ``equal``, ``differs`` or ``unknown``; ``why`` says why it is
    unknown.
    """

    what: str
    part: str | None
    label: str | None
    found: int
    expected: int | None
    verdict: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """All counts of a dataset, who is absent, and which recordings are odd.

    ``oddities`` are the recordings that differ from the rest in ways that bear on
    their windows, each with what was found; ``outside`` are those whose subjects the
    protocol does not name. ``other_release`` is the release whose counts by part were
    found instead of those stated, if there is one. ``keep_below_uv`` says that the
    windows counted are planned: those that are not as quiet are left out when cut.
    """

    dataset: str
    protocol: str
    data: str
    root: str
    facts: str
    lines: tuple[Line, ...]
    absent_subjects: tuple[str, ...]
    outside_protocol: tuple[str, ...]
    oddities: dict[str, tuple[str, ...]]
    other_release: str | None = None
    keep_below_uv: float | None = None

    @property
    def differing(self) -> tuple[Line, ...]:
        """The lines that do not hold."""
        return tuple(line for line in self.lines if line.verdict == DIFFERS)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, with the number of lines of each verdict."""
        verdicts = [line.verdict for line in self.lines]
        return {
            **asdict(self),
            "verdicts": {v: verdicts.count(v) for v in (EQUAL, DIFFERS, UNKNOWN)},
        }


def verify(
    name: str, *, data: str | Path | None = None, allow_partial: bool = False
) -> Verification:
    """Count a dataset's windows from headers and annotations, against its facts.

    Parameters
    ----------
    name : str
        A dataset key.
    data : path, optional
        The data root; else ``EEGFM_DATA``.
    allow_partial : bool
        Whether subjects may be absent. A part all of whose subjects are here is then
        compared as ever; of another no count is known, but more than the facts state
        is too many.

    Returns
    -------
    found : Verification
        A line for every count.

    Raises
    ------
    DataMissing
        If there is no root, the root lacks the dataset, or subjects are absent and
        may not be.
    SignalError
        If a file is damaged; it is named.
    """
    spec = find_dataset(name)
    root = data_root(data)
    if root is None:
        raise DataMissing(
            f"There is nothing to verify {spec.title} on: the facts are about the "
            f"published recordings, not about simulated ones. Give their folder with "
            f"--data ROOT or EEGFM_DATA. {spec.access}"
        )
    spec = spec.located(root)
    sources = spec.find(root)
    absent = spec.absent(sources)
    if absent and not allow_partial:
        raise DataMissing(
            f"{spec.title} is incomplete below {root}: {len(absent)} of "
            f"{len(spec.everyone)} subjects are absent: {listed(absent)}. "
            f"{spec.access} Or pass --allow-partial: only parts with all their "
            f"subjects are then compared."
        )
    here = {source.subject for source in sources}
    index = spec.plan(sources)
    by_part = {part: int((index["part"] == part).sum()) for part in PARTS}
    # Where nobody knows who belongs to the set, its counts tell whether all are here.
    stated = spec.facts.windows
    is_partial = bool(absent) or (
        not spec.everyone and any(by_part[part] != n for part, n in stated.items())
    )
    if spec.is_corpus:
        is_partial = len(here) != spec.facts.n_subjects
    state = "partial" if is_partial else "complete"
    if spec.is_made_up:
        state = "simulated"
    return Verification(
        dataset=spec.name,
        protocol=spec.protocol(),
        data=state,
        root=str(root),
        facts=spec.facts.source,
        lines=(
            _line(spec, absent, "subjects", len(here), spec.facts.n_subjects),
            _line(spec, absent, "recordings", len(sources), spec.facts.n_recordings),
            *_windows(spec, absent, index),
        ),
        absent_subjects=absent,
        outside_protocol=spec.outside(root),
        oddities={s.recording: odd for s in sources if (odd := spec.oddities(s))},
        other_release=spec.facts.other_release(by_part),
        keep_below_uv=spec.recipe.keep_below_uv,
    )


def _windows(
    spec: DatasetSpec, absent: tuple[str, ...], index: pd.DataFrame
) -> list[Line]:
    """Count windows by part and class, and in all."""
    facts, lines = spec.facts, []
    for part in PARTS:
        labels = index["label"][index["part"] == part]
        expected = facts.windows.get(part)
        lines.append(_line(spec, absent, "windows", len(labels), expected, part))
        by_class = facts.windows_by_class.get(part)
        for k, label in enumerate(spec.classes):
            expected = None if by_class is None else by_class[k]
            found = int((labels == k).sum())
            lines.append(_line(spec, absent, "windows", found, expected, part, label))
    lines.append(_line(spec, absent, "windows", len(index), facts.in_all))
    return lines


def _line(
    spec: DatasetSpec,
    absent: tuple[str, ...],
    what: str,
    found: int,
    expected: int | None,
    part: str | None = None,
    label: str | None = None,
) -> Line:
    """Judge one count."""
    everyone = spec.everyone
    if part is not None and spec.split.unit in ("subject", "case"):
        everyone = getattr(spec.split, part)
    missing = [subject for subject in absent if subject in everyone]
    why = ""
    if expected is None:
        verdict, why = UNKNOWN, "no source states it"
    elif missing and found <= expected:
        verdict = UNKNOWN
        why = f"{len(missing)} of {len(everyone)} subjects absent"
    else:
        verdict = EQUAL if found == expected else DIFFERS
    return Line(
        what=what,
        part=part,
        label=label,
        found=found,
        expected=expected,
        verdict=verdict,
        why=why,
    )
