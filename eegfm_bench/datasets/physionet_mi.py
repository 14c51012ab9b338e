"""PhysioNet-MI: imagined movement of fists and feet, 109 subjects, 4 s windows.

From: PhysioNet ``eegmmidb/1.0.0``, runs 4, 6, 8, 10, 12, 14, EDF+ with annotations.
To: 64 channels, average reference, 0.3 Hz high-pass, 60 Hz notch, 200 Hz, µV; one
window for each cue, none for rest. 635 runs have 15 cues of about 4.1 s, each after a
rest as long; what differs:

- S088, S092: 128 Hz, 19 cues of 5.125 s a run after rests of 1.375 s;
- S100: 128 Hz, 12 cues of 5.125 s a run after rests of 5.125 s;
- S104R08: ends at 106 s; the last of its 13 cues, at 102.5 s, lacks 0.5 s and is
  dropped.

Nobody is left out: 105 subjects × 90 windows, twice 114, 72 and 87 are 9,837.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._eegmmidb import (
    CHANNELS,
    EARS,
    FOLDER,
    LAB,
    LICENCE,
    REFERENCE,
    access,
    find_runs,
    read,
    run_of,
    write_edf,
)
from eegfm_bench.datasets._spec import DatasetSpec, Facts, Source, Split
from eegfm_bench.datasets._twins import eeg
from eegfm_bench.errors import SignalError
from eegfm_bench.recordings.annotations import read_annotations
from eegfm_bench.recordings.edf import read_header
from eegfm_bench.recordings.recording import Event
from eegfm_bench.windows.cut import runs_past_end
from eegfm_bench.windows.recipe import Recipe

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

CLASSES = ("left_fist", "right_fist", "both_fists", "both_feet")
# What T1 and T2 stand for in each run.
FISTS, BOTH = {"T1": 0, "T2": 1}, {"T1": 2, "T2": 3}
LABELS = {4: FISTS, 6: BOTH, 8: FISTS, 10: BOTH, 12: FISTS, 14: BOTH}
REST = "T0"
USUAL_HZ, USUAL_CUES = 160.0, 15

SPLIT = Split(
    train=tuple(f"S{n:03d}" for n in range(1, 71)),
    val=tuple(f"S{n:03d}" for n in range(71, 90)),
    test=tuple(f"S{n:03d}" for n in range(90, 110)),
    source="CBraMod, preprocessing of PhysioNet-MI (commit b9e9610)",
)

RECIPE = Recipe(
    channels=CHANNELS,
    rate_hz=200.0,
    window_s=4.0,
    # Cues lie at least 6.5 s apart: no window reaches into the next.
    stride_s=4.0,
    # CBraMod (commit b9e9610): the high-pass has no low-pass beside it.
    steps=(
        ("average_reference",),
        ("highpass", 0.3),
        ("notch", 60.0),
        ("resample", 200.0),
    ),
    label_rule=(
        "one window from each cue on, dropped where the recording ends before it; "
        "runs 4, 8, 12: T1 (left fist) is 0, T2 (right fist) is 1; runs 6, 10, 14: "
        "T1 (both fists) is 2, T2 (both feet) is 3"
    ),
)


def files(folder: Path) -> list[Source]:
    """Return the six imagery runs of every subject, unread."""
    return find_runs(folder, LABELS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cues:
    """Every cue of a run: onsets (N,) in seconds, labels (N,), whether 4 s follow."""

    onsets_s: NDArray[np.float64]
    labels: NDArray[np.int64]
    fit: NDArray[np.bool_]
    rate_hz: float
    duration_s: float


def cues(source: Source) -> Cues:
    """Read a run's cues from its header and annotations alone.

    A cue is moved to the nearest time point at 200 Hz, as MNE does; all published
    ones lie on one.

    Raises
    ------
    SignalError
        If the file is damaged, or an annotation is none of T0, T1, T2.
    """
    stat = source.path.stat()
    return _cues(source, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


# Windows and oddities ask for the same cues, one dataset apart.
@lru_cache(maxsize=1024)
def _cues(source: Source, _: tuple[int, ...]) -> Cues:
    header = read_header(source.path)
    labels = LABELS[run_of(source.recording)]
    events = read_annotations(source.path)
    for event in events:
        if event.code not in (REST, *labels):
            raise SignalError(
                f"{source.path}: the annotation at {event.onset_s:g} s is "
                f"'{event.code}'; expected T0, T1 or T2. Fetch the file again."
            )
    given = [event for event in events if event.code != REST]
    onsets_s = np.array([event.onset_s for event in given], np.float64)
    onsets_s = np.round(onsets_s * RECIPE.rate_hz) / RECIPE.rate_hz
    late = runs_past_end(header.duration_s, onsets_s, window_s=RECIPE.window_s)
    return Cues(
        onsets_s=onsets_s,
        labels=np.array([labels[event.code] for event in given], np.int64),
        fit=~late,
        rate_hz=header.samples_per_record[0] / header.record_s,
        duration_s=header.duration_s,
    )


def windows(source: Source) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the cues that 4 s follow, and what is imagined from them on."""
    found = cues(source)
    return found.onsets_s[found.fit], found.labels[found.fit]


def oddities(source: Source) -> tuple[str, ...]:
    """Say how a run differs from 15 cues at 160 Hz, and which cues are dropped."""
    found = cues(source)
    said = []
    if found.rate_hz != USUAL_HZ:
        said.append(f"{found.rate_hz:g} Hz, not {USUAL_HZ:g}")
    if found.onsets_s.size != USUAL_CUES:
        said.append(f"{found.onsets_s.size} cues, not {USUAL_CUES}")
    said += [
        f"window dropped: the cue at {onset_s:g} s ({CLASSES[label]}) is "
        f"{found.duration_s - onset_s:g} s before the end, {RECIPE.window_s:g} are "
        f"needed"
        for onset_s, label in zip(
            found.onsets_s[~found.fit], found.labels[~found.fit], strict=True
        )
    ]
    return tuple(said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a run's cues come: n of them, each after a rest; its length in seconds."""

    rate_hz: float = USUAL_HZ
    rest_s: float = 4.1
    cue_s: float = 4.1
    n_cues: int = USUAL_CUES
    ends_early: bool = False

    @property
    def length_s(self) -> int:
        """Whole seconds that hold every cue, unless the run ends early."""
        all_s = self.n_cues * (self.rest_s + self.cue_s)
        return math.floor(all_s - self.cue_s + 3.5 if self.ends_early else all_s + 0.5)

    def events(self, rng: Generator) -> list[Event]:
        """Return rests and cues, as many T1 as T2 or one apart, in random order."""
        codes = ["T1", "T2"] * (self.n_cues // 2)
        if self.n_cues % 2:
            codes.append(f"T{rng.integers(1, 3)}")
        found = []
        for k, code in enumerate(rng.permutation(codes).tolist()):
            rest_at_s = k * (self.rest_s + self.cue_s)
            cue_at_s = rest_at_s + self.rest_s
            cue_s = min(self.cue_s, self.length_s - cue_at_s)
            for at_s, lasts_s, name in (
                (rest_at_s, self.rest_s, REST),
                (cue_at_s, cue_s, code),
            ):
                found.append(
                    Event(
                        onset_s=round(at_s, 3), duration_s=round(lasts_s, 3), code=name
                    )
                )
        return found


# Names the draw of people: the first word tried.
TWIN = "physionet_mi"
# Subjects and cues per run of each part of the small twin: 216 + 24 + 89 windows, so
# 2 passes over train and val and one over test are 569. Every kind of odd run is there.
SMALL = (
    (SPLIT.train[:12], 3),
    (SPLIT.val[:2], 2),
    (("S090", "S091", "S092", "S100", "S104"), 3),
)
SMALL_REST_S = 1.4
ODD = {
    **dict.fromkeys(
        ("S088", "S092"), Schedule(rate_hz=128.0, rest_s=1.375, cue_s=5.125, n_cues=19)
    ),
    "S100": Schedule(rate_hz=128.0, rest_s=5.125, cue_s=5.125, n_cues=12),
}
EARLY = Schedule(n_cues=13, ends_early=True)
# Imagery adds this to log amplitudes of (left mu, right mu, beta at the vertex): a fist
# quietens the other side of the head, the feet its top. Far more than most people
# show, for models to learn it in a few passes; chosen on training and validation parts.
CHANGES = (
    (-0.1, -1.6, 0.0),
    (-1.6, -0.1, 0.0),
    (-1.6, -1.6, 0.0),
    (0.1, 0.1, -1.6),
)
# µV of mu and beta at the strongest channel before the laboratory's gain, and how far
# log amplitude wanders within a run.
MU_UV, BETA_UV, WANDER = 16.0, 10.0, 0.2
# The simulator has one mu for a whole recording; this silences it, for ours.
SILENT = eeg.State(unison=0.5, change={"mu": -4.0})
# Seconds after a cue at which a rhythm begins to change, and has changed.
BEGINS_S, STANDS_S = 0.3, 0.8


def schedule(recording: str, n_cues: int | None = None) -> Schedule:
    """Return a run's schedule: the genuine one, or one of few cues and short rests."""
    subject = recording[:4]
    found = EARLY if recording == "S104R08" else ODD.get(subject, Schedule())
    if n_cues is None:
        return found
    rest_s = found.rest_s if subject in ODD else SMALL_REST_S
    return replace(found, n_cues=n_cues, rest_s=rest_s)


def simulate(folder: Path, size: str) -> None:
    """Write the twin: a rhythm falls over the part of the brain that imagines."""
    everyone: dict[str, int | None] = dict.fromkeys(SPLIT.names)
    if size == "small":
        everyone = {s: n_cues for subjects, n_cues in SMALL for s in subjects}
    for subject, n_cues in everyone.items():
        person = eeg.draw_person(CHANNELS, eeg.randomness(TWIN, subject))
        (folder / subject).mkdir()
        for run in LABELS:
            recording = f"{subject}R{run:02d}"
            rng = eeg.randomness(TWIN, subject, recording)
            plan = schedule(recording, n_cues)
            events = plan.events(rng)
            lab = replace(LAB, rate_hz=plan.rate_hz)
            x = eeg.record(
                CHANNELS,
                EARS,
                person,
                SILENT,
                lab,
                duration_s=plan.length_s,
                rng=rng,
            )
            x += _rhythms(person, lab, events, LABELS[run], x.shape[1], rng)
            write_edf(folder / subject / f"{recording}.edf", x, lab.rate_hz, events)


def _rhythms(
    person: eeg.Person,
    lab: eeg.Lab,
    events: list[Event],
    labels: dict[str, int],
    n_times: int,
    rng: Generator,
) -> NDArray[np.float64]:
    """Draw both sides' mu and the vertex' beta (C, T) in µV, as cues change them."""
    lead = eeg.lead_field(CHANNELS, EARS)
    mu, beta = eeg.RHYTHMS["mu"], eeg.RHYTHMS["beta"]
    time_s = np.arange(n_times) / lab.rate_hz
    # The first place of the background lies at the vertex.
    vertex = lead["background"][:, 0] / np.abs(lead["background"][:, 0]).max()
    x = np.zeros((len(CHANNELS), n_times))
    for place, (column, rhythm, uv, name) in enumerate(
        (
            (lead["mu"][:, 0], mu, MU_UV, "mu"),
            (lead["mu"][:, 1], mu, MU_UV, "mu"),
            (vertex, beta, BETA_UV, "beta"),
        )
    ):
        path = person.level[name] + rng.normal(0.0, lab.drift)
        knots_s = np.arange(0.0, time_s[-1] + 2 * eeg.KNOT_S, eeg.KNOT_S)
        knots = rng.standard_normal(knots_s.size)
        log_uv = path + WANDER * np.interp(time_s, knots_s, knots)
        for event in events:
            if event.code in labels:
                change = CHANGES[labels[event.code]][place] * person.response[name]
                shape_s = (BEGINS_S, STANDS_S, event.duration_s, event.duration_s + 0.5)
                log_uv += np.interp(
                    time_s - event.onset_s, shape_s, (0.0, change, change, 0.0)
                )
        waves = _waves(rhythm.hz, rhythm.width_hz, n_times, lab.rate_hz, rng)
        x += np.outer(column, uv * np.exp(log_uv) * waves)
    return lab.gain * np.exp(person.gain)[:, None] * x


def _waves(
    hz: float, width_hz: float, n_times: int, rate_hz: float, rng: Generator
) -> NDArray[np.float64]:
    """Draw a rhythm (T,) of unit spread with a bell-shaped spectrum."""
    freq = np.fft.rfftfreq(n_times, 1 / rate_hz)
    bins = rng.standard_normal((freq.size, 2)) @ np.array([1.0, 1.0j])
    waves = np.fft.irfft(bins * np.exp(-0.5 * ((freq - hz) / width_hz) ** 2), n_times)
    return np.asarray(waves / waves.std())


DATASETS = (
    DatasetSpec(
        name="physionet_mi",
        title="PhysioNet-MI (EEGMMIDB imagery runs, PhysioNet)",
        classes=CLASSES,
        folder=FOLDER,
        recipe=RECIPE,
        split=SPLIT,
        facts=Facts(
            n_subjects=109,
            n_recordings=654,
            windows={"train": 6300, "val": 1734, "test": 1803},
            # In the order of CLASSES.
            windows_by_class={
                "train": (1593, 1557, 1581, 1569),
                "val": (435, 432, 434, 433),
                "test": (451, 449, 450, 453),
            },
            source=(
                "counted from the annotations of all 654 runs; the total, 9,837, is "
                "also the published one (Trace, Table 8)"
            ),
        ),
        licence=LICENCE,
        access=access("4, 6, 8, 10, 12 and 14"),
        reference=REFERENCE,
        files=files,
        person_of="eegmmidb:{}".format,
        files_per_subject=len(LABELS),
        windows=windows,
        read=read,
        simulate=simulate,
        oddities=oddities,
        # CBraMod (commit b9e9610) minimises unweighted cross-entropy.
        class_weights="none",
        notes=(
            "Many papers leave out S088, S089, S092, S100 or S104; nobody is left out "
            "here, as in the published total.",
        ),
    ),
)
