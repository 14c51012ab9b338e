"""One recording becomes rows of a store.

From: a Source and its place in the plan. To: rows of ``x.npy``, and what is to be
noted of the recording. Memory is bounded by one recording: its windows are cut
and written a few at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eegfm_bench.datasets._spec import DatasetSpec, Source
from eegfm_bench.errors import SignalError
from eegfm_bench.recordings import filters
from eegfm_bench.recordings.recording import Recording
from eegfm_bench.windows.cut import cut, runs_past_end
from eegfm_bench.windows.recipe import Recipe
from eegfm_bench.windows.store import write_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A recording's part of the plan: onsets (N,) in seconds, rows ``first`` on."""

    source: Source
    first: int
    onsets_s: NDArray[np.float64]


def cut_recording(
    spec: DatasetSpec, recipe: Recipe, piece: Piece, x_path: Path
) -> dict[str, Any]:
    """Read a recording, cut its windows, write them to their rows.

    Returns
    -------
    noted : dict of plain data
        ``sha256`` of the file, ``extra_sha256`` of those beside it, ``duration_s``,
        ``flat`` channels, ``uncovered_s`` that no window holds, ``stretched`` and
        ``wrapped`` windows, and ``flat_windows`` in which no channel moves; where the
        recipe keeps quiet windows alone, ``left_out``: which of the recording's are
        not, by their places. Those kept are then written without gaps.

    Raises
    ------
    SignalError
        If the recording is damaged or cannot be read; its file is named.
    OSError
        If the store cannot be written.
    """
    source, onsets_s = piece.source, piece.onsets_s
    nothing: dict[str, Any] = {
        "flat": [],
        "uncovered_s": 0.0,
        "stretched": 0,
        "wrapped": 0,
        "flat_windows": 0,
    }
    if recipe.keep_below_uv is not None:
        nothing["left_out"] = []
    try:
        digests = [_sha256(path) for path in (source.path, *source.extra)]
        known = {"sha256": digests[0], "extra_sha256": digests[1:]}
        if spec.is_corpus and not onsets_s.size:
            # Too short, or without its channels: its oddities say so.
            return {**known, "duration_s": 0.0, **nothing}
        recording = spec.read(source).pick(recipe.channels)
    except OSError as error:
        raise SignalError(
            f"{error.filename or source.path}: cannot be read: "
            f"{error.strerror or error}. Check the disk it lies on, then prepare again."
        ) from error
    noted = {
        **known,
        "duration_s": recording.duration_s,
        **nothing,
        "flat": list(recording.flat_channels),
    }
    left_s = _uncovered_s(recording.duration_s, onsets_s, recipe.window_s)
    if left_s > 0.5 / recording.rate_hz:
        noted["uncovered_s"] = round(left_s, 3)
    if onsets_s.size:
        recording = _processed(recording, recipe)
        past_end = runs_past_end(
            recording.duration_s, onsets_s, window_s=recipe.window_s
        )
        how = "wrapped" if recipe.past_end == "wrap" else "stretched"
        noted[how] = int(past_end.sum())
        write_rows(x_path, piece.first, _blocks(recording, recipe, piece, noted))
    return noted


def _processed(recording: Recording, recipe: Recipe) -> Recording:
    """Apply the recipe's steps, to every stretch by itself where it has some."""
    if recipe.stretch_s is None:
        return filters.apply(recording, recipe.steps)
    n_times = round(recipe.stretch_s * recording.rate_hz)
    n_stretches, rest = divmod(recording.x.shape[1], n_times)
    if rest or not n_stretches:
        raise SignalError(
            f"{recording.name}: {recording.x.shape[1]} time points are no whole number "
            f"of stretches of {recipe.stretch_s:g} s ({n_times}). Fetch it again."
        )
    parts = [
        filters.apply(
            recording.with_signal(recording.x[:, k * n_times : (k + 1) * n_times]),
            recipe.steps,
        )
        for k in range(n_stretches)
    ]
    x = np.concatenate([part.x for part in parts], axis=1)
    return recording.with_signal(x, rate_hz=parts[0].rate_hz)


def _blocks(
    recording: Recording, recipe: Recipe, piece: Piece, noted: dict[str, Any]
) -> Iterator[NDArray[np.float32]]:
    """Cut windows (n, C, T), so many at once as window steps are computed on.

    Windows in which no channel moves are counted.
    """
    expected = (len(recipe.channels), recipe.n_times)
    for start in range(0, piece.onsets_s.size, filters.WINDOWS_AT_ONCE):
        x, _ = filters.apply_to_windows(
            cut(
                recording,
                piece.onsets_s[start : start + filters.WINDOWS_AT_ONCE],
                window_s=recipe.window_s,
                past_end=recipe.past_end,
            ),
            recording.rate_hz,
            recipe.window_steps,
        )
        if x.shape[1:] != expected:
            raise SignalError(
                f"{piece.source.path}: windows of {x.shape[1]} × {x.shape[2]} values, "
                f"at {recording.rate_hz:g} Hz after the recipe's steps; expected "
                f"{expected[0]} × {expected[1]}. Give the recipe a step that resamples."
            )
        # A trial of zeros is lost data, and no channel of the recording is flat.
        moves = x[:, 0, 0] != x[:, 0, -1]
        for at in np.flatnonzero(~moves):
            noted["flat_windows"] += not np.ptp(x[at], axis=1).any()
        if recipe.keep_below_uv is not None:
            is_kept = np.abs(x).max(axis=(1, 2)) < recipe.keep_below_uv
            noted["left_out"] += (start + np.flatnonzero(~is_kept)).tolist()
            x = x[is_kept]
        if len(x):
            yield x


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _uncovered_s(
    duration_s: float, onsets_s: NDArray[np.float64], window_s: float
) -> float:
    """Return the seconds of a recording that lie in no window.

    Examples
    --------
    >>> _uncovered_s(62.0, np.array([0.0, 10.0, 5.0, 30.0]), 10.0)
    32.0
    """
    starts = np.sort(onsets_s)
    ends = np.minimum(starts + window_s, duration_s)
    reached = np.maximum.accumulate(np.concatenate([[0.0], ends]))
    covered = np.maximum(ends - np.maximum(starts, reached[:-1]), 0.0)
    return float(duration_s - covered.sum())
