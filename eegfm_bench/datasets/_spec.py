"""What a dataset is: DatasetSpec, and finding one by name.

From: one file per dataset. To: ``prepare``, ``list``, ``doctor``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

import eegfm_bench.datasets as package
from eegfm_bench import registry
from eegfm_bench.datasets._filtered import MARK as FILTERED
from eegfm_bench.datasets._filtered import filtered
from eegfm_bench.datasets._folds import fold_of, folded
from eegfm_bench.datasets._places import source_folder
from eegfm_bench.errors import (
    DataMissing,
    SignalError,
    SpecError,
    UnknownName,
    listed,
)
from eegfm_bench.recordings.recording import Recording
from eegfm_bench.runs.spec import canonical_json, short_hash
from eegfm_bench.symbols import PARTS
from eegfm_bench.windows.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

_FETCH = "Fetch the others, or move its files away and pass --allow-partial."


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One recording on disk, named but not read.

    ``person`` names a human across datasets; ``subject`` is the publisher's name.
    ``extra`` are other files that decide this recording's windows, such as one with
    its annotations: their bytes are part of what the windows are. ``unit`` is what the
    split names instead of the subject, where it goes by files: a folder, for one.
    """

    path: Path
    subject: str
    session: str
    recording: str
    person: str
    extra: tuple[Path, ...] = ()
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Who or what is in which part, written out, with its source.

    ``unit`` says what the names are: subjects, or trials of a session, or folders of
    the publisher's.

    Raises
    ------
    SpecError
        If a name is in two parts.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    source: str
    unit: str = "subject"

    def __post_init__(self) -> None:
        everyone = [s for part in PARTS for s in getattr(self, part)]
        twice = sorted({s for s in everyone if everyone.count(s) > 1})
        if twice:
            raise SpecError(f"A split has {', '.join(twice)} in two parts.")

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order train, val, test."""
        return (*self.train, *self.val, *self.test)

    def part_of(self, name: str) -> str:
        """Return the part a subject, or whatever the unit is, is in."""
        return next(part for part in PARTS if name in getattr(self, part))


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What must be true of the complete set, and who says so.

    ``windows`` counts by part; ``windows_by_class`` by part and then class, in the
    order of the dataset's classes, where a source states it. A part that no source
    counts is left out of either; ``total`` counts all parts where no source tells them
    apart. None is not known. ``others`` are the counts of other releases of the set, by
    what a user is to know of them.
    """

    n_subjects: int | None
    n_recordings: int | None
    windows: Mapping[str, int]
    source: str
    windows_by_class: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    total: int | None = None
    others: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def in_all(self) -> int | None:
        """Windows of all parts together, where that is known."""
        if all(part in self.windows for part in PARTS):
            return sum(self.windows.values())
        return self.total

    def other_release(self, windows: Mapping[str, int]) -> str | None:
        """Return which other release has these counts by part, if one has."""
        return next((k for k, n in self.others.items() if dict(n) == windows), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """All there is to know about a dataset, and how to get at its signals.

    Attributes
    ----------
    name : str
        The registry key, ``name`` or ``name@variant``.
    classes : tuple of str
        Empty for a corpus: without labels, all of it for training, of no use to
        ``run``.
    folder : str
        The publisher's folder below the data root.
    files : function of that folder
        Returns every recording found, unread; those of subjects that the split does
        not name are left out and counted.
    files_per_subject : int, or mapping of subject to names of recordings
        A subject with fewer is damaged, not absent. Where names are listed, other
        recordings are left out and counted.
    windows : function of a Source
        Returns onsets (seconds) and labels from the header and annotations alone.
    read : function of a Source
        Returns the Recording at the publisher's rate.
    simulate : function of (folder, size)
        Writes the twin in the publisher's formats and names.
    oddities : function of a Source
        Returns what sets a recording apart and bears on its windows, in plain words,
        from the header and annotations alone: another rate, a window dropped.
    events : function of a Source, optional
        Returns what is to be detected, as rows (n, 2) of start and end in seconds
        from the recording's start: for scores of events rather than windows.
    subjects : tuple of str, optional
        Who is in the set, where the split does not go by subjects; empty where that
        is not known here, and then nobody is ever absent.
    person_of : function of a subject's name, optional
        Returns the human across datasets, as ``files`` does, so that who is in which
        part is known without the recordings.
    unnamed : str
        Who of its people has no id across datasets, in words; most often nobody.
    units_of : function of (Source, onsets in seconds), optional
        Which name of the split every window belongs to, where it is neither the
        source's ``unit`` nor its subject.
    locate : function of (data root, this spec), optional
        Returns the spec with what only the recordings below a root tell, such as
        their channels: ``located`` asks it.
    is_made_up : bool
        Whether even the published recordings are simulated: so is every result.
    aliases : tuple of str
        Other keys that mean this dataset; records carry ``name``.
    class_weights : str or None
        How the sources weigh classes when a network is trained on it, ``none`` or
        ``balanced``, which the ``paper`` scale follows; None where they differ or do
        not say: the model's recipe decides.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    folder: str
    recipe: Recipe
    split: Split
    facts: Facts
    licence: str
    access: str
    reference: str
    files: Callable[[Path], list[Source]] = field(repr=False)
    files_per_subject: int | Mapping[str, tuple[str, ...]]
    windows: Callable[[Source], tuple[NDArray[np.float64], NDArray[np.int64]]] = field(
        repr=False
    )
    read: Callable[[Source], Recording] = field(repr=False)
    simulate: Callable[[Path, str], None] = field(repr=False)
    oddities: Callable[[Source], tuple[str, ...]] = field(
        default=lambda _: (), repr=False
    )
    notes: tuple[str, ...] = ()
    events: Callable[[Source], NDArray[np.float64]] | None = field(
        default=None, repr=False
    )
    aliases: tuple[str, ...] = ()
    class_weights: Literal["none", "balanced"] | None = None
    subjects: tuple[str, ...] | None = None
    person_of: Callable[[str], str] | None = field(default=None, repr=False)
    unnamed: str = ""
    units_of: Callable[[Source, NDArray[np.float64]], Sequence[str]] | None = field(
        default=None, repr=False
    )
    locate: Callable[[Path, DatasetSpec], DatasetSpec] | None = field(
        default=None, repr=False
    )
    is_made_up: bool = False

    def located(self, root: Path) -> DatasetSpec:
        """Return the spec of the set below a root: this very one for most sets."""
        return self if self.locate is None else self.locate(root, self)

    @property
    def everyone(self) -> tuple[str, ...]:
        """All subjects of the protocol; none where they are not known here."""
        return self.split.names if self.subjects is None else self.subjects

    def units(self, source: Source, onsets_s: NDArray[np.float64]) -> Sequence[str]:
        """Return the names by which the split knows windows at these onsets."""
        if self.units_of is not None:
            return self.units_of(source, onsets_s)
        return [source.unit or source.subject] * len(onsets_s)

    @property
    def is_corpus(self) -> bool:
        """Whether this is for pre-training alone: no classes, no parts to score on."""
        return not self.classes

    @property
    def main_score(self) -> str:
        """The score that selects on the validation part; a corpus has none."""
        if self.is_corpus:
            return ""
        return "auroc" if len(self.classes) == 2 else "cohen_kappa"

    def protocol(self, recipe: Recipe | None = None) -> str:
        """Return the protocol id: name, recipe version, hash of recipe and split."""
        recipe = recipe or self.recipe
        split = {part: getattr(self.split, part) for part in PARTS}
        digest = short_hash(
            canonical_json(
                {"recipe": recipe.fields(), "split": split, "classes": self.classes}
            )
        )
        return f"{self.name}-{recipe.version}-{digest}"

    def find(self, root: Path) -> list[Source]:
        """Return the recordings below a data root, unread, in a fixed order.

        Raises
        ------
        DataMissing
            If the folder is absent or empty.
        SignalError
            If a subject lacks some files, or two files claim one recording.
        """
        folder = source_folder(root, self.folder)
        if folder is None:
            raise DataMissing(
                f"{self.title} is not below {root}: there is no folder "
                f"'{self.folder}'. {self.access}"
            )
        sources = sorted(
            (s for s in self.files(folder) if self._is_used(s)),
            key=lambda s: (s.subject, s.recording),
        )
        seen: dict[str, Source] = {}
        for source in sources:
            other = seen.setdefault(source.recording, source)
            if other is not source:
                raise SignalError(
                    f"{source.path} and {other.path} claim the same recording, "
                    f"{source.recording}. Keep the one in its own subject's place."
                )
        if not sources:
            raise DataMissing(
                f"{folder} holds no recording of {self.title}. {self.access}"
            )
        self._refuse_incomplete(folder, sources)
        return sources

    def _refuse_incomplete(self, folder: Path, sources: list[Source]) -> None:
        """Refuse a subject with some of its recordings; one with none is absent."""
        for subject in self.everyone:
            own = [s for s in sources if s.subject == subject]
            if not own:
                continue
            if isinstance(self.files_per_subject, int):
                if len(own) < self.files_per_subject:
                    raise SignalError(
                        f"{folder}: subject {subject} has "
                        f"{', '.join(s.path.name for s in own)} alone, "
                        f"{self.files_per_subject} recordings are expected. {_FETCH}"
                    )
                continue
            here = {s.recording for s in own}
            lacks = [r for r in self.files_per_subject[subject] if r not in here]
            if lacks:
                raise SignalError(
                    f"{folder}: subject {subject} has {len(here)} of "
                    f"{len(self.files_per_subject[subject])} recordings; it lacks "
                    f"{listed(lacks)}. {_FETCH}"
                )

    def outside(self, root: Path) -> tuple[str, ...]:
        """Return recordings below a root that the protocol does not use."""
        folder = source_folder(root, self.folder)
        files = [] if folder is None else self.files(folder)
        return tuple(s.recording for s in files if not self._is_used(s))

    def _is_used(self, source: Source) -> bool:
        """Whether the split names the subject and, where names are listed, the file."""
        if self.everyone and source.subject not in self.everyone:
            return False
        if isinstance(self.files_per_subject, int):
            return True
        return source.recording in self.files_per_subject[source.subject]

    def absent(self, sources: list[Source]) -> tuple[str, ...]:
        """Return the subjects of the protocol that have no recording here."""
        here = {s.subject for s in sources}
        return tuple(s for s in self.everyone if s not in here)

    def plan(self, sources: list[Source]) -> pd.DataFrame:
        """Return the windows that would be cut, from headers and annotations.

        Returns
        -------
        index : DataFrame (N rows)
            ``subject session recording onset_s label part person``.

        Raises
        ------
        SignalError
            If a recording is damaged, or a label is not a class.
        """
        import pandas as pd  # half of what a table would take to start

        frames = []
        # Of a corpus every label is 0.
        last = max(len(self.classes) - 1, 0)
        for source in sources:
            onsets_s, labels = self.windows(source)
            if labels.size and not 0 <= labels.min() <= labels.max() <= last:
                raise SignalError(
                    f"{source.path}: a label is outside 0…{last}. Fetch the file again."
                )
            frames.append(
                pd.DataFrame(
                    {
                        "subject": source.subject,
                        "session": source.session,
                        "recording": source.recording,
                        "onset_s": onsets_s.astype(np.float64),
                        "label": labels.astype(np.int64),
                        "part": self._parts(source, onsets_s),
                        "person": source.person,
                    }
                )
            )
        # One without windows would only blur the types of columns.
        whole = [frame for frame in frames if len(frame)]
        return pd.concat(whole or frames[:1], ignore_index=True)

    def _parts(self, source: Source, onsets_s: NDArray[np.float64]) -> list[str]:
        """Return every window's part; sequences must be whole."""
        if len(onsets_s) % self.recipe.sequence:
            raise SpecError(
                f"{source.path}: {len(onsets_s)} windows are no whole number of "
                f"sequences of {self.recipe.sequence}. Have 'windows' drop the rest."
            )
        names = self.units(source, onsets_s)
        part_of = {name: self.split.part_of(name) for name in set(names)}
        return [part_of[name] for name in names]


def dataset_names() -> list[str]:
    """Return the keys of all datasets."""
    loaded, _ = registry.load_all(package)
    return sorted(d.name for module in loaded.values() for d in _of(module))


def find_dataset(name: str) -> DatasetSpec:
    """Return a dataset by its key, or by another name it answers to.

    ``moabb:NAME`` is the set of that name in MOABB, ``NAME@foldKofN`` a dataset split
    anew over its people, ``NAME@filtered`` one filtered as for pre-training.

    Raises
    ------
    UnknownName
        If there is none; suggests the nearest.
    SpecError
        If it names a fold that there cannot be.
    """
    if name.endswith(FILTERED):
        return filtered(find_dataset(name.removesuffix(FILTERED)))
    if (fold := fold_of(name)) is not None:
        base, k, n = fold
        return folded(find_dataset(base), k, n)
    if name.startswith("moabb:"):
        from eegfm_bench.datasets._moabb import find_moabb

        return find_moabb(name.removeprefix("moabb:"))
    family = name.partition("@")[0]
    if family in registry.family_names(package):
        for spec in _of(registry.load_family(package, family)):
            if name in (spec.name, *spec.aliases):
                return spec
    loaded, broken = registry.load_all(package)
    for module in loaded.values():
        for spec in _of(module):
            if name in (spec.name, *spec.aliases):
                return spec
    error = UnknownName.among("dataset", name, dataset_names())
    if broken:
        files = "; ".join(f"{key}.py: {why}" for key, why in broken.items())
        error = UnknownName(f"{error} Files that could not be read: {files}.")
    raise error


def find_labelled(name: str) -> DatasetSpec:
    """Return a dataset that models can be trained and scored on, by its key.

    Raises
    ------
    UnknownName
        If there is none; suggests the nearest.
    SpecError
        If it is a corpus.
    """
    spec = find_dataset(name)
    if spec.is_corpus:
        raise SpecError(
            f"{spec.name} is a corpus for pre-training: it has no classes, so nothing "
            f"can be scored on it. Name it as a source of 'pretrain', or choose a "
            f"dataset with classes ('list datasets')."
        )
    return spec


def _of(module: object) -> tuple[DatasetSpec, ...]:
    return getattr(module, "DATASETS", ())
