"""What every step came to, as two tables that grow: losses, and loads of experts.

From: reports of steps. To: ``journal.csv`` (a row a step) and ``experts.csv`` (now and
then, a row for each source and layer), which plots, cards and people read.

Losses are in the encoder's units (100 µV), squared or Huber's as the objective has it;
entropies are shares of the greatest possible, 1 being even.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from eegfm_bench.errors import StoreError
from eegfm_bench.runs.pretrain import PretrainSpec

if TYPE_CHECKING:
    from eegfm_bench.pretraining.module import MicroReport, StepReport

STEPS, EXPERTS = "journal.csv", "experts.csv"
# What differs from one execution to the next.
TIMES = ("seconds", "data_wait_s")
# About how many times experts' loads are written down.
_LOOKS = 200


class Journal:
    """Both tables of one pre-training, each row on its way to the disk at once.

    Use as a context manager. Columns of ``journal.csv``: ``step``, ``lr``,
    ``lr_adamw``, ``loss`` (the objective and the weighted balance loss), ``objective``,
    ``balance``, a column for each part of the objective (``h1``: the next patch) and
    for each source, and for both (``eyes:h1``), empty where no micro-batch was of that
    source; per layer ``load_0`` (the busiest expert's load over the mean),
    ``even_0`` (entropy of the loads) and ``choice_0`` (mean entropy of the selector's
    probabilities), and ``even:eyes`` (a source's loads, mean over layers);
    ``gradient_norm`` before it is clipped, ``tokens``, ``seconds``, ``data_wait_s``.

    Parameters
    ----------
    folder : path
    spec : PretrainSpec
    parts : sequence of str
        Of the objective's loss.
    layers, experts : int
        0 layers for a dense network.
    start : int
        The step that comes next: rows from there on, which a killed run had written
        beyond its last checkpoint, are dropped.

    Raises
    ------
    StoreError
        If a table has not all steps up to ``start``, or other columns.
    """

    def __init__(
        self,
        folder: Path,
        spec: PretrainSpec,
        *,
        parts: Sequence[str],
        layers: int,
        experts: int,
        start: int = 0,
    ) -> None:
        self._folder, self._spec, self._start = folder, spec, start
        self._parts, self._layers, self._experts = tuple(parts), layers, experts
        self._names = [source.name for source in spec.sources]
        self._every = max(spec.steps // _LOOKS, 1)
        self._files: list[TextIO] = []

    @property
    def columns(self) -> list[str]:
        """Columns of ``journal.csv``, in order."""
        layers = range(self._layers)
        each = list(self._names)
        each += [f"{name}:{part}" for name in self._names for part in self._parts]
        routing = [f"{what}_{n}" for what in ("load", "even", "choice") for n in layers]
        if self._layers:
            routing += [f"even:{name}" for name in self._names]
        return [
            *("step", "lr", "lr_adamw", "loss", "objective", "balance"),
            *(*self._parts, *each, *routing, "gradient_norm", "tokens", *TIMES),
        ]

    @property
    def expert_columns(self) -> list[str]:
        """Columns of ``experts.csv``: blocks that chose each expert, and its weight.

        ``e0`` counts the blocks that chose expert 0, ``w0`` sums the weights that they
        gave it.
        """
        each = [f"{what}{n}" for what in "ew" for n in range(self._experts)]
        return ["step", "source", "layer", *each]

    def __enter__(self) -> Journal:
        for name, columns in ((STEPS, self.columns), (EXPERTS, self.expert_columns)):
            path = self._folder / name
            _keep_before(self._start, path, columns, is_whole=name == STEPS)
            self._files.append(path.open("a", encoding="utf-8", newline=""))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._files:
            file.close()

    def write(self, report: StepReport) -> None:
        """Add a step: one row, and at times its experts' loads."""
        row = self.row(report)
        _write(self._files[0], [[_text(row[name]) for name in self.columns]])
        if self._layers and report.step % self._every == 0:
            loads = []
            for number, name in enumerate(self._names):
                own = [m for m in report.micros if m.source == number]
                if own:
                    counts = np.sum([m.counts for m in own], axis=0)
                    routed = np.sum([m.routed for m in own], axis=0)
                    both = np.concatenate((counts, routed), axis=1)
                    loads += [
                        [str(report.step), name, str(layer), *(f"{n:g}" for n in line)]
                        for layer, line in enumerate(both.tolist())
                    ]
            _write(self._files[1], loads)

    def sync(self) -> None:
        """Bring all rows to the disk, before a checkpoint that counts on them."""
        for file in self._files:
            os.fsync(file.fileno())

    def row(self, report: StepReport) -> dict[str, Any]:
        """Return a step's row, None where there is nothing to say."""
        micros = report.micros
        row: dict[str, Any] = {
            "step": report.step,
            "lr": report.rates[0],
            "lr_adamw": report.rates[1],
            "loss": report.loss,
            "objective": report.objective,
            "balance": report.balance if self._layers else None,
            "gradient_norm": report.gradient_norm,
            "tokens": report.tokens,
            "seconds": round(report.seconds, 6),
            "data_wait_s": round(report.waited_s, 6),
        }
        for part in self._parts:
            row[part] = _mean(m.each[part] for m in micros)
        for number, name in enumerate(self._names):
            own = [m for m in micros if m.source == number]
            row[name] = _mean(m.loss for m in own)
            for part in self._parts:
                row[f"{name}:{part}"] = _mean(m.each[part] for m in own)
            if self._layers:
                row[f"even:{name}"] = float(np.mean(evenness(own))) if own else None
        if self._layers:
            row |= self._routing(micros)
        return row

    def _routing(self, micros: Sequence[MicroReport]) -> dict[str, float]:
        counts = np.sum([m.counts for m in micros], axis=0)
        entropy = np.sum([m.entropy for m in micros], axis=0)
        n_blocks = sum(m.blocks for m in micros)
        even = evenness(micros)
        most = math.log(counts.shape[1]) or 1.0
        row = {}
        for layer in range(self._layers):
            load = counts[layer]
            row[f"load_{layer}"] = float(load.max() / load.mean())
            row[f"even_{layer}"] = float(even[layer])
            row[f"choice_{layer}"] = float(entropy[layer] / n_blocks / most)
        return row


def evenness(micros: Sequence[MicroReport]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the entropy of each layer's loads (L,), over the greatest possible.

    1 if all experts were chosen as often, log K / log N if always the same K of N.
    """
    counts = np.sum([m.counts for m in micros], axis=0)
    share = counts / counts.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(share > 0, share * np.log(share), 0.0)
    even: np.ndarray[Any, np.dtype[np.float64]] = -terms.sum(axis=1)
    return even / (math.log(counts.shape[1]) or 1.0)


def _keep_before(start: int, path: Path, columns: list[str], *, is_whole: bool) -> None:
    """Write a table anew with its rows before a step, or its head alone."""
    kept = [columns]
    if start:
        try:
            with path.open(encoding="utf-8", newline="") as file:
                found = list(csv.reader(file))
        except OSError as error:
            raise StoreError(
                f"{path} cannot be read ({error}), and a checkpoint goes on at step "
                f"{start}. Put it back, or begin anew in another folder."
            ) from error
        rows = [
            row
            for row in found[1:]
            if len(row) == len(columns) and row[0].isdigit() and int(row[0]) < start
        ]
        is_damaged = is_whole and [int(row[0]) for row in rows] != list(range(start))
        if found[:1] != [columns] or is_damaged:
            raise StoreError(
                f"{path} has not one row of {len(columns)} columns for each step up to "
                f"{start}, where a checkpoint goes on. It was changed by something "
                f"else, or begun by another version. Begin anew in another folder."
            )
        kept += rows
    new = path.with_name(f".new-{path.name}")
    with new.open("w", encoding="utf-8", newline="") as file:
        _write(file, kept)
        os.fsync(file.fileno())
    new.rename(path)


def _write(file: TextIO, rows: list[list[str]]) -> None:
    csv.writer(file, lineterminator="\n").writerows(rows)
    file.flush()


def _mean(values: Any) -> float | None:
    finite = [value for value in values if not math.isnan(value)]
    return sum(finite) / len(finite) if finite else None


def _text(value: Any) -> str:
    return "" if value is None else repr(value)
