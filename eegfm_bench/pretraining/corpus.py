"""What is pre-trained on: windows of several sources, without their labels.

From: names of corpora and of labelled datasets, of which the training part alone
counts. To: ``draws`` and the training loop. Whoever is in validation or test of a
dataset to be scored is refused, or left out and counted.

Letters: N windows, C channels, P patches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._places import data_root
from eegfm_bench.datasets._prepare import dataset_ref, prepare, twin_root
from eegfm_bench.datasets._spec import DatasetSpec, find_dataset
from eegfm_bench.errors import DataMissing, SpecError, listed
from eegfm_bench.pretraining.persons import (
    HeldOut,
    held_out,
    parts_of_sources,
    refuse_overlap,
)
from eegfm_bench.runs.spec import canonical_json, short_hash
from eegfm_bench.windows.store import WindowStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Time points of a patch; the rest of a window that fills none is not used.
PATCH = 200
# One patch to look at and one to forecast.
LEAST_PATCHES = 2

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceWindows:
    """The windows of one source that are pre-trained on.

    Attributes
    ----------
    name : str
        The dataset's key.
    store : WindowStore
        All its windows, in µV.
    rows : array (N,)
        Those rows of the store that count: of the training part, less the people left
        out.
    persons : tuple of str
        Who is in these rows, by ids across datasets.
    n_channels, n_patches : int
        C and P of every window.
    protocol, data, fingerprint : str
        As the store's; where people were left out, the fingerprint says so too.
    left_out : mapping of person to str
        Who was left out, and where they are scored.
    n_left_out : int
        Windows of these people.
    """

    name: str
    store: WindowStore
    rows: NDArray[np.int64] = field(repr=False)
    persons: tuple[str, ...]
    n_channels: int
    n_patches: int
    protocol: str
    data: str
    fingerprint: str
    left_out: Mapping[str, str] = field(default_factory=dict)
    n_left_out: int = 0

    @property
    def n_windows(self) -> int:
        """Windows that are pre-trained on."""
        return len(self.rows)

    @property
    def tokens(self) -> int:
        """Tokens of one window: channels × patches."""
        return self.n_channels * self.n_patches

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read windows (B, C, T) in µV, by their positions among ``rows``."""
        return self.store.take(self.rows[positions])


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """All sources, in the order asked for.

    Attributes
    ----------
    sources : tuple of SourceWindows
    scored_on : tuple of str
        The datasets whose validation and test people are in none of them.
    notes : tuple of str
        What could not be known about that, in words.
    """

    sources: tuple[SourceWindows, ...]
    scored_on: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Windows of every source."""
        return tuple(source.n_windows for source in self.sources)

    @property
    def tokens(self) -> tuple[int, ...]:
        """Tokens of one window of every source."""
        return tuple(source.tokens for source in self.sources)

    @property
    def persons(self) -> tuple[str, ...]:
        """Everybody who is pre-trained on, each once, sorted."""
        return tuple(sorted({p for source in self.sources for p in source.persons}))


def open_corpus(
    names: Sequence[str],
    *,
    data: str | Path | None = None,
    allow_partial: bool = False,
    scored_on: Sequence[str] | None = None,
    rate_hz: float = 200.0,
    exclude_scored_persons: bool = False,
    progress: Progress | None = None,
    jobs: int | None = None,
) -> Corpus:
    """Open the windows of all sources, cutting those first that are not on disk.

    Names, lengths of windows and people are judged before anything is cut.

    Parameters
    ----------
    names : sequence of str
        Keys of corpora and of labelled datasets; of these, only what trains is taken.
    data : path, optional
        The data root; else ``EEGFM_DATA``; with neither the simulated twins.
    allow_partial : bool
        Whether subjects of a labelled dataset may be absent.
    scored_on : sequence of str, optional
        Datasets that the weights will be scored on; by default every labelled one.
    rate_hz : float
        The rate of all windows.
    exclude_scored_persons : bool
        Whether people of a source who will be scored are left out, not refused.
    progress : function of (source, recordings done, in all), optional
        Called while windows are cut.
    jobs : int, optional
        Processes that cut, at most.

    Returns
    -------
    corpus : Corpus
        In the order of the names.

    Raises
    ------
    UnknownName
        If a name is no dataset's; suggests the nearest.
    SpecError
        If there is no source, one is named twice, has windows of fewer than two
        patches, or has people who will be scored, be it all of them.
    DataMissing
        If recordings are absent, or nobody of a source trains.
    SignalError
        If a file is damaged.
    """
    specs = _chosen(names, rate_hz)
    root = data_root(data)
    held = held_out(scored_on, data=data)
    training = {spec.name: _training(spec, root) for spec in specs}
    if not exclude_scored_persons:
        refuse_overlap(training, held)
    for name, persons in training.items():
        _refuse_all_held(name, persons, held)
    sources = []
    for spec in specs:
        store = prepare(
            spec.name,
            data=data,
            allow_partial=allow_partial,
            rate_hz=rate_hz,
            progress=None if progress is None else partial(progress, spec.name),
            jobs=jobs,
        )
        sources.append(_source(spec.name, store, held))
    everybody = [person for own in training.values() for person in own]
    return Corpus(
        sources=tuple(sources), scored_on=held.names, notes=held.notes(everybody)
    )


def _chosen(names: Sequence[str], rate_hz: float) -> list[DatasetSpec]:
    """Look names up; refuse what cannot be a source, or not twice."""
    if isinstance(names, str) or not names:
        raise SpecError(
            f"The sources are {names!r}; expected a list of one or more, such as "
            f"['tueg', 'eegmat']."
        )
    specs = [find_dataset(name) for name in names]
    first: dict[str, str] = {}
    for spec in specs:
        # Variants of a dataset are the same recordings.
        other = first.setdefault(spec.name.partition("@")[0], spec.name)
        if [s.name for s in specs].count(spec.name) > 1 or other != spec.name:
            raise SpecError(
                f"The source {spec.name} is there twice"
                f"{'' if other == spec.name else f', as {other} too'}: its windows "
                f"would count double. Name it once; the exponent decides how often "
                f"sources are drawn."
            )
    for spec in specs:
        recipe = spec.recipe.at(rate_hz)
        n_patches = recipe.n_times // PATCH
        if n_patches < LEAST_PATCHES:
            raise SpecError(
                f"{spec.name} cannot be pre-trained on: its windows of "
                f"{recipe.window_s:g} s ({recipe.n_times} time points at {rate_hz:g} "
                f"Hz) are {n_patches} patch{'es' * (n_patches != 1)} of {PATCH}; "
                f"expected {LEAST_PATCHES} or more, one to look at and one to "
                f"forecast. Leave it out."
            )
    return specs


def _training(spec: DatasetSpec, root: Path | None) -> list[str]:
    """Return who has a recording in the training part, before any is read."""
    where = twin_root(spec) if root is None else root
    spec = spec.located(where)
    parts = parts_of_sources(spec, spec.find(where))
    persons = sorted(person for person, own in parts.items() if "train" in own)
    if not persons:
        raise DataMissing(
            f"{spec.name} has nobody below {where} who trains, and nobody else may be "
            f"pre-trained on. {spec.access}"
        )
    return persons


def _refuse_all_held(name: str, persons: Sequence[str], held: HeldOut) -> None:
    found = held.among(persons)
    if len(found) == len(set(persons)):
        scored = sorted({place[0] for places in found.values() for place in places})
        raise SpecError(
            f"Nobody of {name} is left to be pre-trained on: all {len(found)} people "
            f"who train are in validation or test of {listed(scored)}. Leave {name} "
            f"out, or say with --scored-on that the weights will not be scored there."
        )


def _source(name: str, store: WindowStore, held: HeldOut) -> SourceWindows:
    """Return what counts of a store: who trains and is not scored."""
    rows = store.rows("train")
    if not rows.size:
        raise DataMissing(
            f"{name} has no window in its training part, and no other may be "
            f"pre-trained on. Add subjects of that part to the data root."
        )
    persons = store.index["person"].to_numpy()[rows]
    found = held.among(persons)
    is_kept = ~np.isin(persons, list(found))
    _refuse_all_held(name, persons.tolist(), held)
    ref = dataset_ref(store)
    left_out = {
        person: ", ".join(f"{part} of {dataset}" for dataset, part in places)
        for person, places in found.items()
    }
    lacking = f"-less-{short_hash(canonical_json(sorted(left_out)))}"
    return SourceWindows(
        name=ref.name,
        store=store,
        rows=rows[is_kept].astype(np.int64),
        persons=tuple(sorted(set(persons[is_kept].tolist()))),
        n_channels=store.x.shape[1],
        n_patches=store.x.shape[2] // PATCH,
        protocol=ref.protocol,
        data=ref.data,
        fingerprint=ref.fingerprint + (lacking if left_out else ""),
        left_out=left_out,
        n_left_out=int((~is_kept).sum()),
    )
