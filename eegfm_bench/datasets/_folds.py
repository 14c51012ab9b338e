"""Folds over people: a dataset with another split, so that everybody is tested once.

From: a dataset whose split goes by people, and a name such as ``eyes@fold2of5``. To:
``find_dataset``. Everything but the split is the dataset's own.

A published split of few test subjects decides little. Over all folds every person is
in the test part of one, and in validation of the one before it; a human is never in
two parts, even under two names.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from eegfm_bench.datasets._filtered import MARK as FILTERED
from eegfm_bench.errors import SpecError

if TYPE_CHECKING:
    from eegfm_bench.datasets._spec import DatasetSpec

MARK = "@fold"
FEWEST = 3  # one to test, one to validate, one to train
_NAME = re.compile(r"(?P<base>.+)@fold(?P<k>[0-9]+)of(?P<n>[0-9]+)")
# Units of a split that are people.
_PEOPLE = ("subject", "case")


def unfolded(name: str) -> str:
    """Return a dataset's name without its fold.

    Examples
    --------
    >>> unfolded("chbmit@corrected@fold1of5"), unfolded("eyes")
    ('chbmit@corrected', 'eyes')
    """
    return name.rpartition(MARK)[0] or name


def fold_of(name: str) -> tuple[str, int, int] | None:
    """Return (dataset, fold from 1, folds) of a name; None if it names no fold.

    Raises
    ------
    SpecError
        If it names a fold that there cannot be.
    """
    if MARK not in name:
        return None
    found = _NAME.fullmatch(name)
    if found is None:
        raise SpecError(
            f"'{name}' names no fold. Expected DATASET@foldKofN, such as eyes@fold1of5."
        )
    k, n = int(found["k"]), int(found["n"])
    if n < FEWEST or not 1 <= k <= n:
        raise SpecError(
            f"'{name}' is fold {k} of {n}: expected one of 1…N of at least {FEWEST} "
            f"folds, such as eyes@fold1of5."
        )
    # One name for each split and filter: two would be cut, run and counted as two.
    if MARK in found["base"]:
        raise SpecError(f"'{name}' names two folds. Name one, such as eyes@fold1of5.")
    if FILTERED in found["base"]:
        bare = found["base"].replace(FILTERED, "")
        raise SpecError(
            f"'{name}' names its fold after its filter. Write "
            f"{bare}{MARK}{k}of{n}{FILTERED}."
        )
    return found["base"], k, n


def folded(spec: DatasetSpec, k: int, n: int) -> DatasetSpec:
    """Return a dataset with the split of one fold.

    People are dealt out in the protocol's order, one to each fold in turn: who is in
    which fold depends on the protocol alone, never on which recordings are here.

    Raises
    ------
    SpecError
        If its split does not go by people, or has fewer than folds.
    """
    from eegfm_bench.datasets._spec import Facts, Split

    everyone = spec.everyone
    if (
        spec.is_corpus
        or spec.locate is not None
        or spec.split.unit not in _PEOPLE
        or not everyone
        or not set(everyone) <= set(spec.split.names)
    ):
        why = "its split is not by subjects"
        if spec.is_corpus or spec.locate is not None:
            why = "it has no split" if spec.is_corpus else "its people have no ids here"
        raise SpecError(
            f"{spec.name} has no folds over people: {why}. Score it on its own split."
        )
    human = spec.person_of or str
    people: dict[str, list[str]] = {}
    for subject in sorted(everyone):
        people.setdefault(human(subject), []).append(subject)
    if len(people) < n:
        raise SpecError(
            f"{spec.name} has {len(people)} people, too few for {n} folds. Ask for "
            f"fewer: {spec.name}{MARK}{k}of{len(people)}."
        )
    places: tuple[list[str], ...] = ([], [], [])  # train, val, test
    for rank, own in enumerate(people.values()):
        fold = rank % n
        places[2 if fold == k - 1 else 1 if fold == k % n else 0].extend(own)
    facts = Facts(
        n_subjects=spec.facts.n_subjects,
        n_recordings=spec.facts.n_recordings,
        windows={},
        total=spec.facts.in_all,
        source=spec.facts.source,
    )
    return replace(
        spec,
        name=f"{spec.name}{MARK}{k}of{n}",
        title=f"{spec.title}, fold {k} of {n} over people",
        aliases=(),
        split=Split(
            train=tuple(places[0]),
            val=tuple(places[1]),
            test=tuple(places[2]),
            source=f"this suite: fold {k} of {n}, people dealt out in turn",
            unit=spec.split.unit,
        ),
        facts=facts,
    )
