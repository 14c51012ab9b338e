"""The verb ``fetch``: brings open sets; of the others says how to get them, and looks.

From: ``eegfm-bench fetch D``. To: files below the data root; what became of them on
standard output, licence, citation and progress on standard error.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eegfm_bench.cli import show, words

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from eegfm_bench.datasets._spec import DatasetSpec
    from eegfm_bench.fetching.fetch import Fetched, Options
    from eegfm_bench.fetching.here import File
    from eegfm_bench.fetching.web import Web

# Where there is no terminal, a large file is heard of at most this often.
SAY_EVERY_S = 60.0
MOABB = "moabb:"


def fetch(
    datasets: Annotated[str, typer.Argument(metavar="D[,D2]")],
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="ROOT", help="Where the files go; else EEGFM_DATA."
        ),
    ] = None,
    only: Annotated[
        str | None, typer.Option(metavar="SUBJECT[,S2]", help="Some of the subjects.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the files; fetch nothing.")
    ] = False,
    verify_sums: Annotated[
        bool, typer.Option("--verify-sums", help="Read again what was fetched before.")
    ] = False,
    jobs: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=4, help="Connections at a time."),
    ] = 1,
    mirror: Annotated[
        str,
        typer.Option(
            envvar="EEGFM_MIRROR",
            metavar="URL",
            help="Ask there: URL has a folder for each host; or PREFIX=URL.",
        ),
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on standard output.")
    ] = False,
) -> None:
    """Bring an open dataset, or say how to get it; check what is there."""
    from eegfm_bench.datasets._spec import find_dataset
    from eegfm_bench.fetching.fetch import Options, publisher_of
    from eegfm_bench.fetching.web import Web

    names = words.names("the datasets", datasets)
    # A misspelt name must not come up after hours.
    specs = {n: find_dataset(n) for n in names if not n.startswith(MOABB)}
    subjects = None if only is None else words.names("--only", only)
    root, web = _root(data, dry_run), Web(mirror)
    options = Options(
        only=subjects, dry_run=dry_run, verify_sums=verify_sums, jobs=jobs
    )
    found: list[dict[str, Any]] = []
    for name in names:
        if name not in specs:
            found.append(_through_moabb(name, root, options, as_json))
        elif publisher_of(specs[name]) is None:
            found.append(_by_hand(specs[name], root, options, as_json))
        else:
            found.append(_open_set(specs[name], root, web, options, as_json))
    if as_json:
        show.print_json(found)
    statuses = {each["exit_status"] for each in found}
    if statuses != {0}:
        raise typer.Exit(1 if 1 in statuses else 2)


def _root(given: str | None, dry_run: bool) -> Path:
    """Return where files go, which is made if the folder above it is there."""
    from eegfm_bench.datasets._places import data_root
    from eegfm_bench.errors import DataMissing

    named = given if given is not None else os.environ.get("EEGFM_DATA")
    if not named:
        raise DataMissing(
            "Nobody said where the files are to go. Name a folder with --data ROOT or "
            "EEGFM_DATA; each dataset gets a folder of its own in it."
        )
    root = Path(named).expanduser()
    if not named.strip() or (root.exists() and not root.is_dir()):
        data_root(named)  # refuses it
    if not root.parent.is_dir():
        raise DataMissing(
            f"There is neither {root} nor the folder above it. Make it first, or name "
            f"another with --data."
        )
    if not dry_run:
        root.mkdir(exist_ok=True)
    return root.resolve()


def _open_set(
    spec: DatasetSpec, root: Path, web: Web, options: Options, as_json: bool
) -> dict[str, Any]:
    """Fetch a set that is open, and say what became of it."""
    from eegfm_bench.fetching.fetch import fetch as fetch_files

    console = show.stderr()
    _introduce(console, spec)
    with Progress(console) as progress:
        fetched = fetch_files(spec, root, web, options, progress)
    if not as_json:
        typer.echo("\n".join(_about(fetched, root, options.dry_run)))
    if fetched.trouble:
        console.print(fetched.trouble, style="red", markup=False)
    return {**_who(spec), **fetched.to_dict()}


def _about(fetched: Fetched, root: Path, dry_run: bool) -> list[str]:
    """Say in lines what became of a dataset's files."""
    n, files = len(fetched.files), fetched.files
    size = sum(file.size or 0 for file in files)
    if dry_run:
        lines = [f"{file.state:9}  {file.path}  {file.url}" for file in files]
        n_here = fetched.count("here", "unchecked")
        return [
            *lines,
            f"{fetched.dataset}: {n} files of {fetched.publisher}, {n_here} of them "
            f"here; nothing was fetched",
        ]
    n_here = fetched.count("here", "fetched", "unchecked")
    n_held = sum(file.published for file in files if file.state in ("here", "fetched"))
    said = [
        f"{fetched.count('fetched')} fetched",
        f"{n_held} held against a sum of the publisher's",
    ]
    if n_here < n:
        said.append(f"{n - n_here} NOT HERE or not right")
    lines = [
        f"{fetched.dataset}: {n_here} of {n} files are here, {size / 1e6:,.1f} MB "
        f"({', '.join(said)})",
        f"  in {fetched.folder}",
    ]
    if fetched.exit_status == 0:
        lines.append(f"  next: eegfm-bench verify {fetched.dataset} --data {root}")
    else:
        lines.append("  the same command goes on from there")
    return lines


def _by_hand(
    spec: DatasetSpec, root: Path, options: Options, as_json: bool
) -> dict[str, Any]:
    """Say how to get a set that is not open, and hold what is here to its facts."""
    from eegfm_bench.datasets._places import source_folder
    from eegfm_bench.datasets._verify import verify
    from eegfm_bench.errors import BenchError, listed
    from eegfm_bench.fetching.fetch import chosen
    from eegfm_bench.fetching.sources import OPEN_BY_HAND, steps_by_hand

    subjects = chosen(spec, options.only)
    _introduce(show.stderr(), spec)
    steps = steps_by_hand(spec, root)
    is_open = spec.name in OPEN_BY_HAND
    how = (
        "open, and too large to be fetched here"
        if is_open
        else ("its publisher asks to be asked")
    )
    lines = [f"{spec.name}: {how}. To have it:"]
    lines += [f"  {k}. {step}" for k, step in enumerate(steps, start=1)]
    found: dict[str, Any] = {**_who(spec), "steps": steps, "verified": None, "why": ""}
    status = 2
    folder = source_folder(root, spec.folder) if root.is_dir() else None
    if options.dry_run:
        status = 0
    elif folder is None:
        found["why"] = f"{root} has no folder '{spec.folder}' yet."
    else:
        try:
            verified = verify(spec.name, data=root, allow_partial=True).to_dict()
        except BenchError as error:
            found["why"], status = str(error), error.exit_status
        else:
            found["verified"] = verified
            absent = [s for s in verified["absent_subjects"] if s in subjects]
            if absent:
                found["why"] = f"{len(absent)} subjects are absent: {listed(absent)}."
            status = 1 if verified["verdicts"]["differs"] else 2 if absent else 0
            lines += [f"What is in {folder}:", *show.about_counts(verified)]
    if found["why"]:
        lines.append(found["why"])
    if not as_json:
        typer.echo("\n".join(lines))
    return {**found, "exit_status": status}


def _through_moabb(
    name: str, root: Path, options: Options, as_json: bool
) -> dict[str, Any]:
    """Fetch a dataset of MOABB's by MOABB's own ways."""
    from eegfm_bench.datasets import _moabb

    console = show.stderr()
    if options.dry_run:
        console.print(f"{name}: MOABB alone knows its files; nothing was fetched")
        return {"dataset": name, "exit_status": 0}
    found = _moabb.fetch(
        name,
        root,
        only=options.only,
        progress=lambda done, of: console.print(f"{name}: {done} of {of} subjects"),
    )
    if not as_json:
        typer.echo(f"{name}: {len(found['fetched'])} subjects fetched")
        typer.echo(f"  in {found['folder']}")
    return {**found, "exit_status": 0}


def _who(spec: DatasetSpec) -> dict[str, Any]:
    return {
        "dataset": spec.name,
        "title": spec.title,
        "licence": spec.licence,
        "reference": spec.reference,
    }


def _introduce(console: Console, spec: DatasetSpec) -> None:
    """Say first whose it is, under which licence, and what to cite."""
    console.print(spec.title, style="bold", markup=False)
    console.print(f"  licence: {spec.licence}", markup=False)
    console.print(f"  cite: {spec.reference}", markup=False)


class Progress:
    """How far files are: live on a terminal, elsewhere a line for each.

    Parameters
    ----------
    console : Console
        On standard error.
    """

    def __init__(self, console: Console) -> None:
        from rich import progress

        self._console = console
        self._live = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=30),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()
        self._said: dict[str, float] = {}
        self._n_files = self._n_ended = 0

    def __enter__(self) -> Progress:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        """Print a line."""
        self._console.print(line, markup=False)

    def planned(self, n_files: int, n_bytes: int | None) -> None:
        """Say how much there is to fetch."""
        self._n_files = n_files
        size = "" if n_bytes is None else f", {n_bytes / 1e6:,.1f} MB"
        if n_files:
            self.say(f"{n_files} files to fetch{size}")

    def seen(self, path: str, have: int, of: int | None) -> None:
        """Show how far a file is."""
        with self._lock:
            if self._console.is_terminal:
                if path not in self._tasks:
                    self._tasks[path] = self._live.add_task(path, total=of)
                self._live.update(self._tasks[path], completed=have, total=of)
                return
            now = time.monotonic()
            if now - self._said.setdefault(path, now) > SAY_EVERY_S:
                self._said[path] = now
                whole = "" if of is None else f" of {of / 1e6:,.0f}"
                self.say(f"{path}: {have / 1e6:,.0f}{whole} MB so far")

    def ended(self, file: File) -> None:
        """Say what became of a file."""
        with self._lock:
            if (task := self._tasks.pop(file.path, None)) is not None:
                self._live.remove_task(task)
            if file.state in ("failed", "wrong"):
                self._console.print(
                    f"{file.state}: {file.why}", style="red", markup=False
                )
                return
            self._n_ended += 1
            size = "" if file.size is None else f", {file.size / 1e6:,.1f} MB"
            count = f"[{self._n_ended}/{self._n_files}]"
            self.say(f"{count} {file.path}: {file.state}{size}")
