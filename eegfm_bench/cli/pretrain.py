"""The verb ``pretrain``: windows without labels become weights.

From: words of a person. To: a folder of weights, what came of it on standard output,
and an exit status. A process of its own does the work; this one imports no torch.
"""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eegfm_bench.cli import show, words
from eegfm_bench.cli.options import Data, Device, Json, Partial, Yes

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Event = dict[str, Any]


def pretrain(
    sources: Annotated[
        str,
        typer.Option(
            "--sources",
            metavar="S[,S2]",
            help="Corpora, and labelled datasets, of which the training part counts.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="The folder of weights to be made."),
    ],
    data: Data = None,
    allow_partial: Partial = False,
    model: Annotated[
        str, typer.Option("--model", metavar="M", help="trace alone can be.")
    ] = "trace",
    scale: Annotated[
        str,
        typer.Option(
            metavar="paper|small",
            help="The published architecture, or one for minutes on one core.",
        ),
    ] = "paper",
    objective: Annotated[
        str,
        typer.Option(
            metavar="causal|masked",
            help="Forecast what comes next, or rebuild what was hidden.",
        ),
    ] = "causal",
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Default 40 passes; 200 steps if small."),
    ] = None,
    passes: Annotated[
        float | None,
        typer.Option(metavar="X", help="So many times all windows, instead of steps."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A value of 'table 7' or an encoder's of 'table 6'; repeatable.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="S", min=0)] = 0,
    scored_on: Annotated[
        str | None,
        typer.Option(
            metavar="D[,D2]",
            help="Whose validation and test people are kept out; default all sets.",
        ),
    ] = None,
    exclude_scored_persons: Annotated[
        bool,
        typer.Option(
            "--exclude-scored-persons", help="Leave such people out, not refuse them."
        ),
    ] = False,
    device: Device = "auto",
    processes: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Share each step; a GPU each on cuda."),
    ] = 1,
    save_memory: Annotated[
        bool,
        typer.Option(
            "--save-memory", help="Compute blocks twice, keep less; the same numbers."
        ),
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Pre-train an encoder on windows without labels; the same command goes on.

    For instance: eegfm-bench pretrain --sources eyes,eegmat --scale small --out weights
    """
    from eegfm_bench.datasets._spec import find_dataset, find_labelled
    from eegfm_bench.errors import SpecError, UnknownName
    from eegfm_bench.pretraining.asked import (
        refuse_foreign,
        refuse_model,
        settings_of,
    )

    refuse_model(model)
    names = words.names("--sources", sources)
    for name in names:
        find_dataset(name)
    scored = None if scored_on is None else words.names("--scored-on", scored_on)
    for name in scored or ():
        find_labelled(name)
    if device not in ("auto", "cpu", "cuda"):
        raise UnknownName.among("device", device, ("auto", "cpu", "cuda"))
    if steps is not None and passes is not None:
        raise SpecError(
            f"--steps {steps} and --passes {passes:g} are both given. Leave one out."
        )
    if passes is not None and not 0 < passes < 1e6:
        raise SpecError(f"--passes is {passes:g}; choose more than 0, such as 1 or 40.")
    given = words.pairs(settings)
    asked = settings_of(objective, scale, given, steps=steps, seed=seed)
    if processes > asked.recipe.micro_batches:
        raise SpecError(
            f"--processes {processes} would share {asked.recipe.micro_batches} "
            f"micro-batches a step; choose as many or fewer, or --set "
            f"micro_batches={processes}."
        )
    refuse_foreign(out)
    task = {
        "sources": names,
        "data": data,
        "allow_partial": allow_partial,
        "scored_on": scored,
        "exclude": exclude_scored_persons,
        "scale": scale,
        "objective": objective,
        "settings": given,
        "steps": steps,
        "passes": passes,
        "seed": seed,
        "device": device,
        "processes": processes,
        "save_memory": save_memory,
        "yes": yes,
        "out": str(out.absolute()),
    }
    show.say_source(data)
    outcome = watched(task)
    if as_json:
        show.print_json(outcome)
    else:
        typer.echo("\n".join(done_lines(outcome, str(out))))


def watched(task: Event) -> Event:
    """Have a task done, show how far it is, and return its outcome.

    Raises
    ------
    BenchError, OSError
        As the process that did it raised it; RunFailed if it ended without a word.
    KeyboardInterrupt
        When interrupted, once a checkpoint is written; a second one does not wait.
    """
    from eegfm_bench.pretraining.launch import Child

    console = show.stderr()
    with Child(task) as child, _Watch(console) as watch:
        events, is_stopping = child.events(), False
        while True:
            try:
                for event in events:
                    if event["event"] == "end":
                        return _unwrapped(event["outcome"])
                    if watch.takes(event):
                        child.say({"go": _is_wanted(watch)})
            except KeyboardInterrupt:
                if is_stopping:
                    raise
                is_stopping = True
                watch.say("interrupted: a checkpoint is written; again to end at once")
                child.say({"stop": True})
                # A reader that was interrupted within a line is not to be used again.
                events = child.events()


def _is_wanted(watch: _Watch) -> bool:
    watch.pause()
    return sys.stdin.isatty() and typer.confirm("Go ahead?", err=True)


def _unwrapped(outcome: Event) -> Event:
    """Return what came of a task, or raise what its process did."""
    from eegfm_bench import errors

    if outcome.get("interrupted"):
        raise KeyboardInterrupt
    if "died" in outcome:
        raise errors.RunFailed(
            f"The process that pre-trains ended by {outcome['died'].rstrip('.')}. The "
            f"same command goes on from its last checkpoint."
        )
    if outcome.get("kind") == "OSError":
        number = outcome.get("errno") or errno.EIO
        raise OSError(number, outcome["error"], outcome.get("filename"))
    if "error" in outcome:
        raise getattr(errors, outcome["kind"], errors.RunFailed)(outcome["error"])
    return outcome


def corpus_lines(corpus: Mapping[str, Any]) -> list[str]:
    """Say in lines what is pre-trained on, who is left out, and what is not known."""
    lines = []
    for source in corpus["sources"]:
        lines.append(
            f"{source['name']} ({source['data']}): {source['n_windows']:,} windows of "
            f"{source['n_channels']} channels × {source['n_patches']} s, "
            f"{source['n_persons']:,} people"
        )
        if source["left_out"]:
            lines.append(
                f"  left out: {source['left_out']} people who are scored elsewhere, "
                f"{source['n_left_out']:,} windows"
            )
    lines.append(
        f"{corpus['n_persons']:,} people in all, none in validation or test of "
        f"{', '.join(corpus['scored_on'])}"
    )
    return [*lines, *(f"  not known: {note}" for note in corpus["notes"])]


def estimate_line(found: Mapping[str, Any]) -> str:
    """Say in a line what the steps that are left will take."""
    from eegfm_bench.cli.display import _clock

    memory = found["peak_gpu_bytes"]
    held = f", {memory / 2**30:.1f} GiB of the GPU" if memory else ""
    return (
        f"Estimate for this device ({found['device']}): {found['steps']:,} steps in "
        f"{_clock(found['seconds'])}, {found['tokens_per_s']:,.0f} tokens/s{held}."
    )


def done_lines(outcome: Mapping[str, Any], out: str) -> list[str]:
    """Say in lines what came of it, and how to go on."""
    was = "had been done before" if outcome["was_done"] else "is done"
    simulated = ", SIMULATED" if outcome["data"] == "simulated" else ""
    lines = [
        f"{outcome['pretrain_id']} {was}: {outcome['steps']:,} steps on "
        f"{len(outcome['sources'])} source{'s' * (len(outcome['sources']) != 1)}, "
        f"{outcome['n_persons']:,} people{simulated}",
        "  loss on what it learns from, first and last twentieth of the steps:",
    ]
    lines += _loss_lines(outcome["losses"])
    scale = "" if outcome["scale"] == "paper" else f" --scale {outcome['scale']}"
    return [
        *lines,
        f"  in {out}: weights, card (README.md), people, curves",
        f"  use it: eegfm-bench run --model {outcome['model']}{scale} --weights {out} "
        f"--dataset D",
    ]


def _loss_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    width = max(len(row["source"] or "all") for row in rows)
    return [
        f"    {row['source'] or 'all':{width}}  {row['part']:>6}  "
        f"{_number(row['start'])} → {_number(row['end'])}"
        for row in rows
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


class _Watch:
    """Shows events: a live display on a terminal, elsewhere a line now and then."""

    def __init__(self, console: Console) -> None:
        from eegfm_bench.cli.display import Display

        self._console = console
        self._cutting = Display(console)
        self._live: Any = None
        self._step: Event = {}
        self._said = time.monotonic()

    def __enter__(self) -> _Watch:
        self._cutting.__enter__()
        self._is_cutting = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.pause()

    def pause(self) -> None:
        """Give the terminal free."""
        if self._is_cutting:
            self._cutting.__exit__(None, None, None)
            self._is_cutting = False
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, line: str) -> None:
        """Print a line above the display."""
        self._console.print(line, markup=False)

    def takes(self, event: Event) -> bool:
        """Show an event; return whether an answer is waited for."""
        what = event["event"]
        if what == "cutting":
            self._cutting.preparing(event["source"], event["done"], event["of"])
        elif what == "corpus":
            self.pause()
            self.say("\n".join(corpus_lines(event)))
        elif what == "planned":
            self.say(f"{event['pretrain_id']}, {event['steps']:,} steps")
        elif what == "estimate":
            self._console.print(estimate_line(event), style="bold", markup=False)
            return bool(event["must_ask"])
        elif what == "said":
            self.say(event["line"])
        else:
            self._show_step(event)
        return False

    def _show_step(self, event: Event) -> None:
        from rich.live import Live

        from eegfm_bench.cli.display import SAY_EVERY_S

        self._step = event
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(
                    console=self._console,
                    get_renderable=self._render,
                    refresh_per_second=4,
                    transient=True,
                )
                self._live.start()
        elif time.monotonic() - self._said > SAY_EVERY_S:
            self._said = time.monotonic()
            self.say(step_line(event))

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        step = self._step
        bar = ProgressBar(total=step["steps"], completed=step["step"], width=60)
        return Group(Text(step_line(step)), bar)


def step_line(step: Mapping[str, Any]) -> str:
    """Say in a line how far it is.

    Examples
    --------
    >>> step_line({"step": 10, "steps": 200, "loss": 0.123456, "tokens_per_s": 51234.5,
    ...            "wait_share": 0.012, "left_s": 95.0})
    'step 10 of 200, loss 0.1235, 51,234 tokens/s, 1 % waiting, about 1 min 35 s left'
    """
    from eegfm_bench.cli.display import _clock

    return (
        f"step {step['step']:,} of {step['steps']:,}, loss {step['loss']:.4g}, "
        f"{step['tokens_per_s']:,.0f} tokens/s, {100 * step['wait_share']:.0f} % "
        f"waiting, about {_clock(step['left_s'])} left"
    )
