"""The exception tree: every refusal of this package is a BenchError.

From: any layer that meets bad input. To: the command line, which prints the
message alone (no traceback) and leaves with the class's exit status.

    BenchError                 exit 2 unless said otherwise
    ├── SignalError            a file or an array is not what it claims to be
    ├── DataMissing            recordings are absent; says how to get them
    ├── UnknownName            no such model, dataset, suite or option
    ├── DuplicateName          two contributions claim one name
    ├── SpecError              a question that cannot be asked
    ├── WeightsError           a file of weights is not what the model needs
    ├── StoreError             windows or records on disk are damaged or locked
    └── RunFailed              a cell failed or a check did not hold; exit 1

A message has three parts: what was found, what was expected, what to do.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence


class BenchError(Exception):
    """Root of all refusals; its text is meant for a person."""

    exit_status = 2


class SignalError(BenchError):
    """A recording, window or array is not what it claims to be."""


class DataMissing(BenchError):  # noqa: N818 - reads as what happened
    """Recordings are absent; the message says which and how to get them."""


class UnknownName(BenchError):  # noqa: N818
    """A name that no registry knows."""

    @classmethod
    def among(cls, kind: str, name: str, known: Iterable[str]) -> UnknownName:
        """Build the message: the name, the nearest one, all known ones.

        Examples
        --------
        >>> print(UnknownName.among("model", "eegnett", ["eegnet", "trace"]))
        No model is called 'eegnett'. Did you mean 'eegnet'? Known: eegnet, trace.
        """
        known = sorted(known)
        # In small letters: 'eegnet' is near to 'EEGNet'.
        small = {key.casefold(): key for key in known}
        near = difflib.get_close_matches(name.casefold(), small, n=1, cutoff=0.5)
        hint = f" Did you mean '{small[near[0]]}'?" if near else ""
        listed = ", ".join(known) if known else "none"
        return cls(f"No {kind} is called '{name}'.{hint} Known: {listed}.")


class DuplicateName(BenchError):  # noqa: N818
    """Two contributions claim the same name."""


class SpecError(BenchError):
    """A question that cannot be asked: a wrong value or combination."""


class WeightsError(BenchError):
    """A file of weights is damaged, of another model, or does not fit whole."""


class StoreError(BenchError):
    """Windows or records on disk are damaged, locked or do not fit."""


class RunFailed(BenchError):  # noqa: N818
    """At least one cell failed, or a check did not hold."""

    exit_status = 1


def listed(names: Iterable[str], *, most: int = 8) -> str:
    """Join names for a message: numbered neighbours as a range, few in full.

    Examples
    --------
    >>> listed(["S037", "S038", "S039", "S041"])
    'S037–S039, S041'
    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    runs: list[list[str]] = []
    for name in sorted(set(names)):
        if runs and _follows(runs[-1][-1], name):
            runs[-1].append(name)
        else:
            runs.append([name])
    spans = [r[0] if len(r) == 1 else f"{r[0]}–{r[-1]}" for r in runs]
    left = sum(len(r) for r in runs[most:])
    return ", ".join(spans[:most]) + (f" and {left} more" if left else "")


def shared_persons(persons: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Put people who are in several parts together: who, and in which parts.

    Examples
    --------
    >>> shared_persons({"a1": ["train", "test"], "a2": ["train", "test"]})
    [('2 people (a1–a2) are', 'train and test')]
    >>> shared_persons({"a1": ["train", "val"]})
    [('a1 is', 'train and val')]
    """
    groups: dict[str, list[str]] = {}
    for person, parts in persons.items():
        groups.setdefault(" and ".join(parts), []).append(person)
    return [
        (
            f"{who[0]} is"
            if len(who) == 1
            else f"{len(who)} people ({listed(who)}) are",
            parts,
        )
        for parts, who in groups.items()
    ]


def _follows(before: str, name: str) -> bool:
    first, second = (re.fullmatch(r"(\D*)(\d+)", n) for n in (before, name))
    if first is None or second is None or first[1] != second[1]:
        return False
    return int(second[2]) == int(first[2]) + 1
