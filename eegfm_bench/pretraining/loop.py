"""A whole pre-training: from a spec and its corpus to a folder with the weights.

From: PretrainSpec, and the corpus it names. To: a folder: ``spec.json``,
``journal.csv`` and ``experts.csv``, ``checkpoints/``, and two pictures.

What is random is drawn from the seed, the step and the place in it, and is kept by
nothing: a checkpoint holds weights, the optimisers' state, the step, and torch's own
generator. Going on from it repeats the same losses to the last bit on one process and
thread; on W processes sums are in another order.
"""

from __future__ import annotations

import fcntl
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import lightning as L
import torch

from eegfm_bench.errors import SpecError, StoreError
from eegfm_bench.pretraining.checkpoints import (
    FOLDER,
    read_checkpoint,
    refuse_other_spec,
    write_checkpoint,
)
from eegfm_bench.pretraining.draws import Draws
from eegfm_bench.pretraining.feed import Feed
from eegfm_bench.pretraining.journal import Journal
from eegfm_bench.pretraining.module import PretrainModule, StepReport
from eegfm_bench.pretraining.objectives import encoder_config
from eegfm_bench.pretraining.processes import (
    OnStep,
    Progress,
    Say,
    in_processes,
    interruptible,
)
from eegfm_bench.runs.pretrain import PretrainSpec, SourceRef

if TYPE_CHECKING:
    from eegfm_bench.pretraining.corpus import Corpus


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a step takes, and with it the whole."""

    step_s: float
    tokens_per_s: float
    total_s: float
    peak_gpu_bytes: int


def source_refs(corpus: Corpus, patch_len: int = 200) -> tuple[SourceRef, ...]:
    """Return what a spec says of a corpus whose patches have so many time points."""
    return tuple(
        SourceRef(
            name=source.name,
            protocol=source.protocol,
            data=cast(Any, source.data),
            fingerprint=source.fingerprint,
            n_windows=len(source.rows),
            n_channels=source.n_channels,
            n_patches=source.store.x.shape[2] // patch_len,
        )
        for source in corpus.sources
    )


def draws_of(spec: PretrainSpec) -> Draws:
    """Return the draws of a spec's micro-batches."""
    recipe = spec.recipe
    return Draws(
        [source.n_windows for source in spec.sources],
        [source.n_channels * source.n_patches for source in spec.sources],
        micro_batches=recipe.micro_batches,
        seed=spec.seed,
        exponent=recipe.exponent,
        token_budget=recipe.token_budget,
    )


def pretrain(
    spec: PretrainSpec,
    corpus: Corpus,
    folder: Path,
    *,
    device: str = "cpu",
    processes: int = 1,
    checkpoint_every_s: float = 600.0,
    checkpoint_every: int | None = None,
    on_step: OnStep = lambda progress: None,
    say: Say = lambda line: None,
    save_memory: bool = False,
    start_method: str = "spawn",
    draw: bool = True,
) -> Path:
    """Pre-train an encoder, or go on where an earlier process ended.

    Parameters
    ----------
    spec : PretrainSpec
    corpus : Corpus
        The one that the spec names.
    folder : path
        Where all is written; made if absent.
    device : str
        ``cpu`` or ``cuda``.
    processes : int
        Each takes its share of a step's micro-batches; on ``cuda`` one for each GPU.
    checkpoint_every_s, checkpoint_every : float, int
        Seconds or steps between checkpoints, whichever comes first. One is written at
        the end as well, and when the process is interrupted.
    on_step : function of Progress
        Called after every step of the first process.
    say : function of str
        Takes lines that a person should see.
    save_memory : bool
        Keep of the encoder's blocks what goes into each alone and compute the rest
        anew for the gradient: the same numbers, for a third more work. No part of the
        question: one may go on with it, or without.
    start_method : str
        How more than one process are started.
    draw : bool
        Draw its losses and experts when it ends.

    Returns
    -------
    checkpoint : path
        The folder of checkpoints, of which the last is the end.

    Raises
    ------
    SpecError
        If the corpus or what lies in the folder is not the spec's.
    StoreError
        If another process writes there, or nothing there is whole.
    RunFailed
        If a loss or gradient is no number; names step and source.
    KeyboardInterrupt
        After a checkpoint, when the process was interrupted. A second interruption
        does not wait for it.
    """
    _refuse_other_corpus(spec, corpus)
    n_micro = spec.recipe.micro_batches
    if not 1 <= processes <= n_micro:
        raise SpecError(
            f"{processes} processes would share {n_micro} micro-batches a step; choose "
            f"1 to {n_micro}, or raise micro_batches."
        )
    with _only_writer(folder):
        _claim(folder, spec)
        every = (checkpoint_every_s, checkpoint_every or spec.steps)
        if processes == 1:
            with interruptible() as interrupted:
                _train(
                    *(spec, corpus, folder, device, every, save_memory),
                    on_step=on_step,
                    say=say,
                    wants_to_stop=lambda: bool(interrupted),
                )
            if interrupted:
                raise KeyboardInterrupt
        else:
            in_processes(
                partial(_train, spec, corpus, folder, device, every, save_memory),
                processes,
                start_method=start_method,
                on_step=on_step,
                say=say,
            )
        if draw:
            from eegfm_bench.pretraining.plots import draw_plots

            draw_plots(folder)
    return folder / FOLDER


def estimate(
    spec: PretrainSpec,
    corpus: Corpus,
    *,
    device: str = "cpu",
    save_memory: bool = False,
) -> Estimate:
    """Time two steps of a pre-training, after one that warms up; nothing is kept."""
    _refuse_other_corpus(spec, corpus)
    reports: list[StepReport] = []
    module = PretrainModule(spec, saves_memory=save_memory)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with Feed(
        corpus,
        draws_of(spec),
        start=0,
        stop=min(3, spec.steps),
        micro_batches=spec.recipe.micro_batches,
        pin=device == "cuda",
    ) as module.feed:
        recorder = _Each(lambda: reports.append(module.report))
        _fit(module, range(min(3, spec.steps)), device, 1, recorder)
    timed = reports[1:] or reports
    step_s = statistics.fmean(report.seconds for report in timed)
    return Estimate(
        step_s=step_s,
        tokens_per_s=sum(r.tokens for r in timed) / sum(r.seconds for r in timed),
        total_s=step_s * spec.steps,
        peak_gpu_bytes=torch.cuda.max_memory_allocated() if device == "cuda" else 0,
    )


def encoder_state(folder: Path) -> dict[str, torch.Tensor]:
    """Return the encoder's weights of the last checkpoint, by the encoder's names.

    Raises
    ------
    StoreError
        If there is no whole checkpoint.
    """
    state, _ = read_checkpoint(folder / FOLDER)
    if state is None:
        raise StoreError(f"{folder / FOLDER} has no checkpoint. Pre-train there first.")
    return {
        name.removeprefix("encoder."): weight
        for name, weight in state["objective"].items()
        if name.startswith("encoder.")
    }


def _train(
    spec: PretrainSpec,
    corpus: Corpus,
    folder: Path,
    device: str,
    every: tuple[float, int],
    save_memory: bool,
    *,
    on_step: OnStep,
    say: Say,
    wants_to_stop: Callable[[], bool],
    rank: int = 0,
    world: int = 1,
) -> None:
    """Do all steps that are left, as one process of ``world``."""
    state, notes = read_checkpoint(folder / FOLDER)
    module = PretrainModule(spec, saves_memory=save_memory)
    module.wants_to_stop = wants_to_stop
    start = 0
    if state is not None:
        refuse_other_spec(folder, state["spec"], spec)
        start = state["step"]
        module.objective.load_state_dict(state["objective"])
        for optimizer, kept in zip(module.moves, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        torch.set_rng_state(state["torch_rng"])
    if rank == 0:
        for note in notes:
            say(note)
        if start:
            say(f"goes on at step {start} of {spec.steps}")
    if start >= spec.steps:
        return
    with ExitStack() as stack:
        module.feed = stack.enter_context(
            Feed(
                corpus,
                draws_of(spec),
                start=start,
                stop=spec.steps,
                micro_batches=spec.recipe.micro_batches,
                rank=rank,
                world=world,
                pin=device == "cuda",
            )
        )
        callback: L.Callback = _Each(lambda: None)
        if rank == 0:
            encoder = module.objective.encoder.config
            is_routed = encoder.routing != "none"
            journal = Journal(
                folder,
                spec,
                parts=module.objective.parts,
                layers=encoder.layers if is_routed else 0,
                experts=encoder.experts if is_routed else 0,
                start=start,
            )
            stack.enter_context(journal)
            recorder = _Recorder(module, folder, journal, every, on_step)
            callback = _Each(recorder)
        _fit(module, range(start, spec.steps), device, world, callback)


class _Recorder:
    """Notes every step, and writes checkpoints when they are due."""

    def __init__(
        self,
        module: PretrainModule,
        folder: Path,
        journal: Journal,
        every: tuple[float, int],
        on_step: OnStep,
    ) -> None:
        self._module, self._folder, self._journal = module, folder, journal
        self._every_s, self._every = every
        self._on_step = on_step
        self._written = time.monotonic()
        self._seen: list[tuple[float, float, int]] = []

    def __call__(self) -> None:
        module, report = self._module, self._module.report
        done, steps = report.step + 1, module.spec.steps
        self._journal.write(report)
        is_due = (
            done == steps
            or report.is_asked_to_stop
            or done % self._every == 0
            or time.monotonic() - self._written > self._every_s
        )
        if is_due:
            self._journal.sync()
            write_checkpoint(self._folder / FOLDER, state_of(module, done))
            self._written = time.monotonic()
        # The first step of a process warms up: it says little of the others.
        self._seen = [*self._seen, (report.seconds, report.waited_s, report.tokens)]
        recent = self._seen[1:][-100:] or self._seen
        self._seen = self._seen[:1] + self._seen[1:][-100:]
        seconds, waited, tokens = (sum(column) for column in zip(*recent, strict=True))
        self._on_step(
            Progress(
                step=done,
                steps=steps,
                loss=report.loss,
                tokens_per_s=tokens / seconds,
                wait_share=waited / seconds,
                left_s=(steps - done) * seconds / len(recent),
            )
        )


def state_of(module: PretrainModule, step: int) -> dict[str, Any]:
    """Return all that going on after ``step`` steps needs."""
    return {
        "step": step,
        "spec": module.spec.model_dump_json(),
        "objective": module.objective.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in module.moves],
        "torch_rng": torch.get_rng_state(),
    }


class _Each(L.Callback):
    """Calls a function after each step, and ends the training when asked to."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._then()
        assert isinstance(pl_module, PretrainModule)
        if pl_module.report.is_asked_to_stop:
            trainer.should_stop = True


def _fit(
    module: PretrainModule, steps: range, device: str, world: int, each: L.Callback
) -> None:
    precision: Any = (
        "bf16-mixed" if module.spec.recipe.precision == "bf16" else "32-true"
    )
    with _quiet_lightning():
        trainer = L.Trainer(
            accelerator="gpu" if device == "cuda" else "cpu",
            devices=world,
            strategy="ddp" if world > 1 else "auto",
            precision=precision,
            max_epochs=1,
            min_epochs=0,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            callbacks=[each],
        )
        trainer.fit(module, train_dataloaders=steps)


def _refuse_other_corpus(spec: PretrainSpec, corpus: Corpus) -> None:
    found = source_refs(corpus, encoder_config(spec).patch_len)
    if found != spec.sources:
        differing = [
            f"{a.name} ({a.protocol}, {a.data}, {a.fingerprint}, {a.n_windows} windows)"
            for a in found
            if a not in spec.sources
        ]
        raise SpecError(
            f"The corpus is not the spec's: {'; '.join(differing) or 'its order'}. "
            f"Make the spec from the corpus that is opened."
        )


def _claim(folder: Path, spec: PretrainSpec) -> None:
    """Write the spec into a folder, or refuse one that has another."""
    path = folder / "spec.json"
    if path.exists():
        refuse_other_spec(folder, path.read_text(encoding="utf-8"), spec)
        return
    new = folder / ".new-spec.json"
    new.write_text(spec.model_dump_json(indent=1) + "\n", encoding="utf-8")
    new.rename(path)


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise StoreError(f"{folder} cannot be written to ({error}).") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"Another process pre-trains into {folder}. Wait for it, or choose "
                f"another folder."
            ) from error
        yield


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's greetings and tips to itself."""
    loggers = [logging.getLogger(f"lightning.{name}") for name in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Loaders of numbers need no processes of their own; the other is
            # Lightning's own affair with torch's pytree.
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
