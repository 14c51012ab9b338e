"""``moabb:NAME``: any dataset that MOABB knows, by one rule for all of them.

From: MOABB's description of a set, and its runs as ``fetch`` wrote them below
``<root>/moabb/NAME/``. To: the EEG channels at 200 Hz in µV, one window for each
event. The channels are those of the export: ``DatasetSpec.located`` knows them.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eegfm_bench.datasets._moabb.exporting import SEEDED, describe, export
from eegfm_bench.datasets._moabb.runs import (
    ABOUT,
    PREFIX,
    RATE_HZ,
    About,
    Rule,
    Run,
    array_of,
    files,
    place,
    read,
    read_json,
    run_of,
    subject_at,
    write_json,
)
from eegfm_bench.datasets._places import source_folder
from eegfm_bench.datasets._spec import DatasetSpec, Facts, Source, Split
from eegfm_bench.errors import (
    DataMissing,
    SignalError,
    SpecError,
    UnknownName,
    listed,
)
from eegfm_bench.recordings.filters import Step
from eegfm_bench.windows.recipe import Recipe
from eegfm_bench.windows.store import only_writer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDER, DOWNLOADS = "moabb", "downloads"
BAND_HZ = (0.3, 75.0)
# Below, MNE's filter falls too steeply between 75 Hz and half the rate.
BANDPASS_FROM_HZ = 160.0
# The one set with a twin; the small one has 192 + 64 + 64 windows, so 2 passes over
# train and val and one over test are 576.
TWIN = "FakeDataset"
SMALL = {**SEEDED[TWIN], "n_events": 8, "duration": 30}


def find_moabb(name: str) -> DatasetSpec:
    """Return a dataset of MOABB's by its class name, such as ``BNCI2014_001``.

    Raises
    ------
    UnknownName
        If MOABB has none of that name.
    SpecError
        If it has too few subjects or classes.
    """
    return _spec(describe(name))


def fetch(
    name: str,
    root: str | Path,
    *,
    only: Iterable[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Download a dataset through MOABB and write its runs below a data root.

    Subjects that are there whole are not fetched again; after an interruption the
    same call goes on.

    Parameters
    ----------
    name : str
        MOABB's name of the set, ``moabb:`` before it or not.
    root : path
        The data root; ``moabb/NAME`` below it takes the runs, ``moabb/downloads``
        what MOABB downloads.
    only : iterable of str, optional
        Subjects to fetch; by default all.
    progress : function of (subjects done, subjects in all), optional

    Returns
    -------
    found : dict
        ``dataset``, ``folder``, ``subjects`` asked for, ``fetched`` now.

    Raises
    ------
    UnknownName
        If there is no such dataset or subject.
    SpecError
        If the set cannot be split, or another MOABB began the export.
    DataMissing
        If MOABB cannot get it; says what it said.
    """
    about = describe(name.removeprefix(PREFIX))
    spec = _spec(about)
    asked = _asked(about, only)
    folder = Path(root) / spec.folder
    with only_writer(folder):
        folder.mkdir(exist_ok=True)
        lacking = [s for s in asked if not _is_whole(folder, s)]
        if lacking:
            _begin(folder, about)
        left = len(lacking)

        def done(_: str) -> None:
            nonlocal left
            left -= 1
            if progress is not None:
                progress(len(asked) - left, len(asked))

        if progress is not None:
            progress(len(asked) - left, len(asked))
        if lacking:
            downloads = Path(root).resolve() / FOLDER / DOWNLOADS
            export(about, lacking, folder, downloads=downloads, done=done)
    return {
        "dataset": spec.name,
        "folder": str(folder),
        "subjects": asked,
        "fetched": lacking,
    }


def _asked(about: About, only: Iterable[str] | None) -> list[str]:
    """Return the names of subjects asked for; "3" is "03"."""
    if only is None:
        return list(about.subjects)
    plain = {name.lstrip("0"): name for name in about.subjects}
    asked = []
    for name in only:
        if name.lstrip("0") not in plain:
            raise UnknownName.among(f"subject of {about.name}", name, about.subjects)
        asked.append(plain[name.lstrip("0")])
    return asked


def _begin(folder: Path, about: About) -> None:
    """Say in a folder whose export it is, or see that it is this MOABB's."""
    path = folder / ABOUT
    if not path.exists() and not any(folder.glob("sub-*.json")):
        write_json(path, about)
    held = read_json(path, About)
    if held.moabb != about.moabb or held.question() != about.question():
        raise SpecError(
            f"{folder} was begun with MOABB {held.moabb}, and {about.moabb} is "
            f"installed: runs of two versions may differ. Go on with pip install "
            f"moabb=={held.moabb}, or delete the folder."
        )


def _is_whole(folder: Path, subject: str) -> bool:
    try:
        runs = subject_at(folder / f"sub-{subject}.json").runs
        for name, run in runs.items():
            array_of(folder / f"{name}.npy", run)
    except SignalError:
        return False
    return True


def _spec(about: About) -> DatasetSpec:
    """Return what is known of a set without its recordings: all but the channels."""
    key = f"{PREFIX}{about.name}"
    classes = tuple(sorted(about.event_id))
    if len(classes) < 2:
        raise SpecError(
            f"{key} has one class by MOABB, {', '.join(classes)}: there is nothing to "
            f"tell apart. Choose another set."
        )
    window_s = _window_s(about)
    rule = Rule(
        classes=classes,
        start_s=about.interval[0],
        n_times=round(window_s * RATE_HZ),
    )
    fake = "Random numbers made up by MOABB: scores lie at chance, whatever the model."
    get = (
        f"'eegfm-bench fetch {key} --data ROOT' downloads it through MOABB and writes "
        f"it below <root>/{FOLDER}/{about.name}/."
    )

    def simulate(folder: Path, size: str) -> None:
        _simulate(about, folder, size)

    def windows(source: Source) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        placed = place(source, rule)
        return placed.onsets_s, placed.labels

    return DatasetSpec(
        name=key,
        title=f"{about.name} ({about.paradigm}, through MOABB)",
        classes=classes,
        folder=f"{FOLDER}/{about.name}",
        recipe=Recipe(
            channels=(),
            rate_hz=RATE_HZ,
            window_s=window_s,
            stride_s=window_s,
            steps=(("resample", RATE_HZ),),
            label_rule=_label_rule(rule),
        ),
        split=_split(about),
        facts=Facts(
            n_subjects=len(about.subjects),
            n_recordings=None,
            windows={},
            source=f"subjects: MOABB {about.moabb}; no source counts windows",
        ),
        licence="made up" if about.is_made_up else about.licence,
        access=f"Leave --data out for its twin, or: {get}" if _is_twin(about) else get,
        reference=f"doi.org/{about.doi}" if about.doi else "see MOABB",
        files=partial(files, name=about.name),
        files_per_subject=1,
        windows=windows,
        read=read,
        simulate=simulate,
        oddities=lambda source: place(source, rule).dropped,
        notes=(
            "Channels, filter and split follow one rule for all sets of MOABB: they "
            "are no published protocol.",
            "MOABB puts some sets' runs together from trials: filters then run over "
            "the joins.",
            *((fake,) if about.is_made_up else ()),
        ),
        is_made_up=about.is_made_up,
        locate=lambda root, spec: _located(root, spec, about, rule),
    )


def _window_s(about: About) -> float:
    """Return MOABB's interval cut to whole seconds, or below 1 s to 200 Hz points."""
    start_s, end_s = about.interval
    length_s = end_s - start_s
    if length_s >= 1 - 1e-6:
        return float(math.floor(length_s + 1e-6))
    n_times = math.floor(length_s * RATE_HZ + 1e-6)
    if n_times < 1:
        raise SpecError(
            f"{PREFIX}{about.name}: MOABB's interval is {start_s:g} to {end_s:g} s, "
            f"less than one time point at {RATE_HZ:g} Hz. Choose another set."
        )
    return n_times / RATE_HZ


def _label_rule(rule: Rule) -> str:
    numbers = ", ".join(f"{name} is {k}" for k, name in enumerate(rule.classes))
    return (
        f"one window for each event of MOABB's, from {rule.start_s:g} s after it on, "
        f"moved to the nearest time point at {RATE_HZ:g} Hz; its length is MOABB's "
        f"interval rounded down to whole seconds, or below 1 s to time points; dropped "
        f"where it leaves the recording, touches a stretch marked bad, or another "
        f"event at the same time point comes first; {numbers}"
    )


def _split(about: About) -> Split:
    """Put the last fifth of the subjects in test, the fifth before it in val."""
    n = len(about.subjects)
    if n < 3:
        raise SpecError(
            f"{PREFIX}{about.name} has {n} subjects by MOABB; a split by subjects "
            f"needs 3 or more. Choose another set."
        )
    ordered = sorted(about.subjects, key=_in_order)
    fifth = max(1, round(n / 5))
    train, val, test = (
        tuple(ordered[: -2 * fifth]),
        tuple(ordered[-2 * fifth : -fifth]),
        tuple(ordered[-fifth:]),
    )
    told = "; ".join(
        f"{part} {listed(names, most=n)}"
        for part, names in (("train", train), ("val", val), ("test", test))
    )
    return Split(
        train=train,
        val=val,
        test=test,
        source=f"a rule of this package, no published split: of the subjects in order "
        f"the last fifth (rounded, at least 1) is test, the fifth before it val, the "
        f"rest train: {told}",
    )


def _in_order(name: str) -> list[tuple[str, int]]:
    """Sort numbers in names as numbers."""
    return [(text, int(n or 0)) for text, n in re.findall(r"(\D*)(\d*)", name)]


def _is_twin(about: About) -> bool:
    return about.name == TWIN


def _simulate(about: About, folder: Path, size: str) -> None:
    """Write the twin, MOABB's own FakeDataset; of other sets there is none."""
    if not _is_twin(about):
        raise DataMissing(
            f"There is no simulated twin of {PREFIX}{about.name}, so a data root is "
            f"needed. 'eegfm-bench fetch {PREFIX}{about.name} --data ROOT' gets it."
        )
    write_json(folder / ABOUT, about)
    options = SMALL if size == "small" else SEEDED[TWIN]
    with tempfile.TemporaryDirectory() as unused:
        export(about, about.subjects, folder, downloads=Path(unused), options=options)


def _located(root: Path, spec: DatasetSpec, about: About, rule: Rule) -> DatasetSpec:
    """Return the spec with the channels and files of the export below a root.

    Raises
    ------
    SignalError
        If a subject's description is lost, runs lack channels of the first, or the
        set is whole and a class has no event.
    SpecError
        If the installed MOABB describes the set otherwise than the one that
        exported it.
    """
    folder = source_folder(root, spec.folder)
    if folder is None:
        return spec
    subjects = {
        s.subject: s for s in map(subject_at, sorted(folder.glob("sub-*.json")))
    }
    _refuse_half(folder, subjects)
    if not subjects:
        return spec
    held = read_json(folder / ABOUT, About)
    if held.question() != about.question():
        theirs, ours = held.question(), about.question()
        changed = ", ".join(key for key in ours if ours[key] != theirs[key])
        raise SpecError(
            f"{folder} was exported by MOABB {held.moabb}; MOABB {about.moabb}, which "
            f"is installed, has other values of: {changed}. Use moabb=="
            f"{held.moabb}, or delete the folder and fetch the set again."
        )
    runs = {k: run for s in subjects.values() for k, run in s.runs.items()}
    channels = next(iter(runs.values())).channels
    _refuse_lacking(folder, channels, runs)
    known = {s: s in subjects for s in about.subjects}
    if all(known.values()):
        _refuse_empty_class(spec, runs)
    rate_hz = next(iter(runs.values())).rate_hz
    step: Step = ("highpass", BAND_HZ[0])
    if min(run.rate_hz for run in runs.values()) >= BANDPASS_FROM_HZ:
        step = ("bandpass", *BAND_HZ)

    def oddities(source: Source) -> tuple[str, ...]:
        run = run_of(source)
        extra = [c for c in run.channels if c not in channels]
        said = [f"channels left out: {', '.join(extra)}"] if extra else []
        if run.rate_hz != rate_hz:
            said.append(f"{run.rate_hz:g} Hz; the first run has {rate_hz:g}")
        return (*said, *place(source, rule).dropped)

    return replace(
        spec,
        recipe=replace(
            spec.recipe, channels=channels, steps=(step, ("resample", RATE_HZ))
        ),
        files_per_subject={
            s: tuple(subjects[s].runs) if here else () for s, here in known.items()
        },
        oddities=oddities,
        notes=(*spec.notes, f"Exported by MOABB {held.moabb}."),
    )


def _refuse_half(folder: Path, subjects: Iterable[str]) -> None:
    """Refuse runs of a subject whose export was interrupted."""
    begun = {p.name.partition("_")[0] for p in folder.glob("sub-*.npy")}
    half = sorted(begun - {f"sub-{s}" for s in subjects})
    if half:
        raise SignalError(
            f"{folder}: {listed(half)} have runs, but no .json that says what they "
            f"are: the export was interrupted, or the file is lost. Fetch the set "
            f"again: it goes on from there."
        )


def _refuse_lacking(
    folder: Path, channels: tuple[str, ...], runs: dict[str, Run]
) -> None:
    """Refuse runs that lack channels of the first."""
    lacks = {
        name: tuple(c for c in channels if c not in run.channels)
        for name, run in runs.items()
    }
    lacking = {name: absent for name, absent in lacks.items() if absent}
    if lacking:
        told = "; ".join(
            f"{listed(k for k in lacking if lacking[k] == absent)} lack "
            f"{', '.join(absent)}"
            for absent in dict.fromkeys(lacking.values())
        )
        raise SignalError(
            f"{folder}: runs do not have the channels of the first, "
            f"{next(iter(runs))}: {told}. Move the subjects away that are unlike the "
            f"others, and pass --allow-partial."
        )


def _refuse_empty_class(spec: DatasetSpec, runs: dict[str, Run]) -> None:
    """Refuse a whole set in which a class never comes."""
    here = {name for run in runs.values() for _, name in run.events}
    never = [name for name in spec.classes if name not in here]
    if never:
        raise SignalError(
            f"{spec.name}: MOABB lists the classes {', '.join(never)}, but no event "
            f"of {len(runs)} runs is one: nothing could be learnt or scored of them. "
            f"Please tell MOABB's maintainers."
        )
