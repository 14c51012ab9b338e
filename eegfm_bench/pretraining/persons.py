"""Who must not be in a pre-training: people on whom its weights will be scored.

From: datasets to be scored, by name. To: ``corpus``, which refuses them or leaves them
out. A human has one id in all datasets, so somebody who trains in one set may be a test
person of another, and two cases of one set may be one human.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eegfm_bench.datasets._places import data_root
from eegfm_bench.datasets._prepare import twin_root
from eegfm_bench.datasets._spec import (
    DatasetSpec,
    Source,
    dataset_names,
    find_dataset,
    find_labelled,
)
from eegfm_bench.errors import DataMissing, SpecError, listed
from eegfm_bench.symbols import PARTS

SCORED_PARTS = ("val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """People whom weights will be scored on, or chosen by.

    Attributes
    ----------
    names : tuple of str
        The datasets asked about.
    parts : mapping of person to tuple of (dataset, part)
        Everybody in validation or test.
    unknown : mapping of dataset to str
        Those of whose people nothing can be known here, and why.
    unnamed : mapping of dataset to str
        Those some of whose people have no id across datasets, in words.
    families : mapping of dataset to frozenset of str
        Which kinds of ids its people have: what comes before the colon.
    """

    names: tuple[str, ...]
    parts: Mapping[str, tuple[tuple[str, str], ...]]
    unknown: Mapping[str, str] = field(default_factory=dict)
    unnamed: Mapping[str, str] = field(default_factory=dict)
    families: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def among(self, persons: Iterable[str]) -> dict[str, tuple[tuple[str, str], ...]]:
        """Return which of these people are held out, and where."""
        return {p: self.parts[p] for p in sorted(set(persons)) if p in self.parts}

    def notes(self, persons: Iterable[str]) -> tuple[str, ...]:
        """Say what cannot be known of these people."""
        kinds = {family(person) for person in persons}
        concerned = [d for d in self.unnamed if kinds & self.families[d]]
        said = [f"{d}: {self.unnamed[d]}" for d in concerned]
        return (*said, *(f"{d}: {why}" for d, why in self.unknown.items()))


def family(person: str) -> str:
    """Return what kind of id a person has.

    Examples
    --------
    >>> family("eegmmidb:S005")
    'eegmmidb'
    """
    return person.partition(":")[0]


def labelled_names() -> tuple[str, ...]:
    """Return every dataset of the registry that models can be scored on."""
    return tuple(n for n in dataset_names() if not find_dataset(n).is_corpus)


def held_out(
    scored_on: Sequence[str] | None, *, data: str | Path | None = None
) -> HeldOut:
    """Return who is in validation or test of datasets.

    Parameters
    ----------
    scored_on : sequence of str, optional
        Their names; by default all that can be scored. Splits that are written out
        need no recordings.
    data : path, optional
        The data root, where a split depends on the recordings; else ``EEGFM_DATA``;
        with neither, those of the simulated twin.

    Raises
    ------
    UnknownName
        If there is no such dataset; suggests the nearest.
    SpecError
        If one is a corpus.
    DataMissing
        If one was named, and its people cannot be known without its recordings.
    """
    root = data_root(data)
    names = labelled_names() if scored_on is None else scored_on
    specs = {find_labelled(name).name: find_labelled(name) for name in names}
    parts: dict[str, tuple[tuple[str, str], ...]] = {}
    unknown: dict[str, str] = {}
    families: dict[str, frozenset[str]] = {}
    for name, spec in specs.items():
        try:
            found = parts_of(spec, root)
        except DataMissing as error:
            why = (
                f"who is in its parts cannot be known, as its split depends on "
                f"recordings that are not here ({error})"
            )
            if scored_on is not None:
                raise DataMissing(
                    f"{name} is to be scored, but {why} Get them, or leave {name} out "
                    f"of what is to be scored."
                ) from error
            unknown[name] = why
            continue
        families[name] = frozenset(map(family, found))
        for person, own in found.items():
            scored = tuple((name, part) for part in SCORED_PARTS if part in own)
            if scored:
                parts[person] = (*parts.get(person, ()), *scored)
    return HeldOut(
        names=tuple(specs),
        parts=parts,
        unknown=unknown,
        unnamed={n: s.unnamed for n, s in specs.items() if s.unnamed},
        families=families,
    )


def parts_of(spec: DatasetSpec, root: Path | None) -> dict[str, frozenset[str]]:
    """Return in which parts every person of a dataset is.

    Where the split goes by trials, or by folders with everybody in each, everybody is
    in all parts.

    Raises
    ------
    DataMissing
        If the split depends on recordings that are not below the root.
    """
    if spec.everyone and spec.person_of is not None:
        goes_by_subjects = set(spec.everyone) <= set(spec.split.names)
        found: dict[str, frozenset[str]] = {}
        for subject in spec.everyone:
            own = {spec.split.part_of(subject)} if goes_by_subjects else set(PARTS)
            person = spec.person_of(subject)
            found[person] = found.get(person, frozenset()) | own
        return found
    where = twin_root(spec) if root is None else root
    spec = spec.located(where)
    return parts_of_sources(spec, spec.find(where))


def parts_of_sources(
    spec: DatasetSpec, sources: Iterable[Source]
) -> dict[str, frozenset[str]]:
    """Return in which parts every person of these recordings is, unread.

    A recording whose windows are in several parts counts for all of them.
    """
    found: dict[str, frozenset[str]] = {}
    names = set(spec.split.names)
    for source in sources:
        unit = source.unit or source.subject
        if spec.units_of is None and unit in names:
            own = frozenset({spec.split.part_of(unit)})
        else:
            own = frozenset(PARTS)
        found[source.person] = found.get(source.person, frozenset()) | own
    return found


def refuse_overlap(persons: Mapping[str, Iterable[str]], held: HeldOut) -> None:
    """Refuse sources with people who will be scored.

    Parameters
    ----------
    persons : mapping of source to persons
        Who would be trained on.
    held : HeldOut
        Who must not be.

    Raises
    ------
    SpecError
        Names the sources, the first of these people, and where they are scored.
    """
    said = []
    for source, own in persons.items():
        found = held.among(own)
        where: dict[tuple[str, str], list[str]] = {}
        for person, places in found.items():
            for place in places:
                where.setdefault(place, []).append(person)
        said += [
            f"{len(people)} of {source} ({listed(people, most=3)}) in {part} of {name}"
            for (name, part), people in sorted(where.items())
        ]
    if said:
        raise SpecError(
            f"People to be pre-trained on are in validation or test of datasets to be "
            f"scored: {'; '.join(said)}. Pass --exclude-scored-persons to leave them "
            f"out, which the card counts, or say with --scored-on which datasets the "
            f"weights will be scored on."
        )
