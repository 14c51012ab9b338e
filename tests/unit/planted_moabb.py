"""A set of our own among MOABB's, small and odd as a test wants it.

From: what a test sets on ``Planted``. To: MOABB's own roads, which take it for one of
theirs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eegfm_bench.datasets._spec import DatasetSpec, find_dataset

NAME = "moabb:Planted"
RATE_HZ, LENGTH_S = 250.0, 20.0
CHANNELS = ("Fz", "C3", "Cz", "C4")
# Time points and codes: five whole windows of 2 s.
EVENTS = ((100, 1), (900, 2), (1750, 1), (2601, 2), (3400, 1))


def microvolts(subject: int, channels: tuple[str, ...] = CHANNELS) -> np.ndarray:
    """Return a subject's signal (C, T) in µV."""
    rng = np.random.default_rng(subject)
    return rng.normal(0, 20, (len(channels), round(LENGTH_S * RATE_HZ)))


def raw_of(
    subject: int,
    *,
    channels: tuple[str, ...] = CHANNELS,
    events: tuple[tuple[int, int], ...] = EVENTS,
    rate_hz: float = RATE_HZ,
    annotated: Mapping[int, str] | None = None,
    bad: tuple[tuple[float, float], ...] = (),
    first_samp: int = 0,
) -> Any:
    """Return an MNE Raw in V: events on a stimulus channel, or as annotations."""
    import mne

    x = microvolts(subject, channels) * 1e-6
    names, kinds = [*channels], ["eeg"] * len(channels)
    if annotated is None:
        stim = np.zeros((1, x.shape[1]))
        for at, code in events:
            stim[0, at] = code
        x = np.concatenate([x, stim])
        names, kinds = [*names, "STI"], [*kinds, "stim"]
    info = mne.create_info(names, rate_hz, kinds, verbose="ERROR")
    raw = mne.io.RawArray(x, info, first_samp=first_samp, verbose="ERROR")
    told = [(at / rate_hz, 0.0, annotated[code]) for at, code in events if annotated]
    told += [(start_s, end_s - start_s, "BAD_artifact") for start_s, end_s in bad]
    if told:
        raw.set_annotations(mne.Annotations(*zip(*told, strict=True)))
    return raw


def plant(
    put: Callable[[dict[str, Any], str, Any], None],
    *,
    run: Callable[[int], Any] = raw_of,
    subjects: tuple[int, ...] = (1, 2, 3, 4, 5),
    events: Mapping[str, Any] | None = None,
    interval: tuple[float, float] = (0.5, 2.75),
) -> list[int]:
    """Put ``Planted`` among MOABB's sets; return the list of subjects handed out.

    Parameters
    ----------
    put : ``monkeypatch.setitem``
    run : function of a subject's number
        Returns its only run.
    subjects, events, interval
        What MOABB is to say of the set.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from moabb.datasets.base import BaseDataset
        from moabb.datasets.utils import dataset_dict
    handed_out: list[int] = []

    class Planted(BaseDataset):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(
                subjects=list(subjects),
                sessions_per_subject=1,
                events=dict(events or {"up": 1, "down": 2}),
                code="Planted",
                interval=list(interval),
                paradigm="imagery",
                doi="https://doi.org/10.1000/planted",
            )

        def _get_single_subject_data(self, subject: int) -> dict[str, Any]:
            handed_out.append(subject)
            return {"0morning": {"0": run(subject)}}

        def data_path(self, *args: object, **more: object) -> list[Path]:
            return []

    put(dataset_dict, "Planted", Planted)
    return handed_out


def folder(root: Path) -> Path:
    return root / "moabb" / "Planted"


def located(root: Path) -> DatasetSpec:
    return find_dataset(NAME).located(root)


def array(root: Path, subject: int = 3) -> Path:
    return folder(root) / f"sub-{subject}_ses-0morning_run-0.npy"
