"""What a person or a script gets to see.

From: sweeps, records and tables. To: standard output (the result) and standard
error (everything on the way there).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from eegfm_bench.errors import SpecError, listed, shared_persons

if TYPE_CHECKING:
    from rich.console import Console

    from eegfm_bench.report._cells import Table
    from eegfm_bench.report.declared import Declared
    from eegfm_bench.runs.record import RunRecord
    from eegfm_bench.sweep.options import Estimate, Options, Sweep
    from eegfm_bench.sweep.suite import Cell

MOST_ODDITIES = 20


def stderr() -> Console:
    """Return a console on standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def say_source(data: str | None) -> None:
    """Say at the top when everything that follows is simulated."""
    from eegfm_bench.datasets._places import SIMULATED, data_root

    if data_root(data) is None:
        stderr().print(SIMULATED, style="bold yellow", markup=False)


def watched(
    cells: list[Cell],
    seeds: list[int],
    options: Options,
    sweep: Callable[..., Sweep],
    on_round: Callable[[int], None] | None = None,
) -> Sweep:
    """Sweep with a live display."""
    from eegfm_bench.cli.display import Display
    from eegfm_bench.sweep.run import cores

    say_source(options.data)
    console = stderr()
    with Display(console, jobs=options.jobs or cores(), on_round=on_round) as display:
        result = sweep(cells, seeds, options, display)
    for manifest in result.manifests.values():
        console.print("\n".join(about_windows(manifest)), markup=False)
    drawn = [c.model for c in cells if c.adapt in ("probe", "lora") and not c.weights]
    if drawn:
        console.print(
            f"no --weights: the encoder of {', '.join(dict.fromkeys(drawn))} is as the "
            f"seed draws it, a control",
            markup=False,
        )
    if options.keep_best and len(result.not_kept) < len(result.specs):
        console.print(f"models kept in {options.runs}/RUN_ID/model", markup=False)
    if result.not_kept:
        n = len(result.not_kept)
        console.print(
            f"{n} run{'s' * (n > 1)} had been done without keeping the model: "
            f"{listed(result.not_kept, most=4)}. Add --force to train again and keep "
            f"it.",
            style="bold yellow",
            markup=False,
        )
    return result


def finish(
    result: Sweep, records: list[RunRecord], tables: list[Table], as_json: bool
) -> None:
    """Print what came of a sweep; leave with 1 when a cell failed."""
    from eegfm_bench.report.render import render

    if as_json:
        print_json(
            {
                "records": [json.loads(record.to_json()) for record in records],
                "tables": [json.loads(render(table, "json")) for table in tables],
                "missing": result.missing,
            }
        )
    else:
        for place, table in enumerate(tables):
            if place:
                typer.echo()
            print_table(table)
    failed = [record for record in records if not record.is_done]
    if failed:
        stderr().print(
            f"{len(failed)} of {len(result.specs)} cells failed; their records say "
            f"why. Run them again with --retry-failed.",
            style="red",
            markup=False,
        )
    if failed or result.damaged:
        raise typer.Exit(1)


def event_tables(result: Sweep, records: list[RunRecord]) -> list[Table]:
    """Return the table of event scores, if any dataset has events to detect."""
    from eegfm_bench.report.table import EVENTS_TITLE, has_events, make_table

    if not has_events(records):
        return []
    return [make_table(records, specs=result.specs, of="events", title=EVENTS_TITLE)]


def print_table(table: Table | Declared) -> None:
    """Print a table as wide as the terminal, or as wide as it needs in a pipe."""
    from rich.console import Console

    from eegfm_bench.report.declared import Declared, declared_to_console
    from eegfm_bench.report.render import to_console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    if isinstance(table, Declared):
        console.print(declared_to_console(table))
    else:
        console.print(to_console(table))


def saved(file: Path, as_json: bool) -> None:
    """Say where a file was written."""
    if as_json:
        print_json({"saved": str(file)})
    else:
        stderr().print(f"saved to {file}", markup=False)


def write_whole(file: Path, text: str) -> None:
    """Write a file by one rename, so that a reader never sees half of it.

    Raises
    ------
    SpecError
        If a folder is there.
    """
    if file.is_dir():
        raise SpecError(f"{file} is a folder. Name a file in it, or elsewhere.")
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)


def about_windows(manifest: Mapping[str, Any]) -> list[str]:
    """Say in lines what is in a window store, and what is not."""
    counts = manifest["counts"]
    parts = " / ".join(f"{sum(n):,} {part}" for part, n in counts.items())
    classes = manifest["classes"]
    per_class = ", ".join(
        f"{name} {' / '.join(f'{counts[part][k]:,}' for part in counts)}"
        for k, name in enumerate(classes)
    )
    lines = [
        f"{manifest['dataset']} ({manifest['protocol']}, {manifest['data']}): "
        f"{parts} windows",
        *([f"  per class: {per_class}"] if classes else []),
    ]
    if manifest["data"] == "partial" and not classes:
        lines.append("  PARTIAL, or whole: how much there is of it is not known here")
    elif manifest["data"] == "partial":
        absent = tuple(manifest["absent_subjects"])
        lines.append(
            f"  PARTIAL: {len(absent)} subjects absent: {listed(absent)}"
            if absent
            else "  PARTIAL: all subjects are here, with other windows than published"
        )
    if "planned" in manifest:
        n_planned = sum(map(sum, manifest["planned"].values()))
        lines.append(
            f"  left out: {sum(manifest['left_out'].values()):,} of {n_planned:,} "
            f"windows planned, as they reach {manifest['recipe']['keep_below_uv']:g} µV"
        )
    outside = manifest["outside_protocol"]
    if outside:
        lines.append(
            f"  left out: {len(outside)} recordings that the protocol does not use: "
            f"{listed(outside)}"
        )
    flat = manifest["flat_channels"]
    if flat:
        n_flat = sum(len(channels) for channels in flat.values())
        where = listed([f"{r}: {', '.join(c)}" for r, c in flat.items()])
        lines.append(
            f"  WARNING: {n_flat} flat channel{'s' * (n_flat > 1)} in {len(flat)} "
            f"recording{'s' * (len(flat) > 1)} ({where}); kept as recorded"
        )
    for who, parts in shared_persons(manifest["persons_in_several_parts"]):
        lines.append(f"  WARNING: {who} in {parts}, as the protocol has it: a leak")
    lines += _oddities(manifest["oddities"])
    for same in manifest["identical_recordings"]:
        lines.append(
            f"  WARNING: {', '.join(same)} are the same bytes under several names: a "
            f"leak where their parts differ"
        )
    stretched = manifest["stretched"]
    if stretched:
        lines.append(
            f"  stretched: {sum(stretched.values())} windows that run past the end of "
            f"{', '.join(sorted(stretched))}"
        )
    empty = manifest["flat_windows"]
    if empty:
        lines.append(
            f"  WARNING: {sum(empty.values())} windows in which no channel moves, of "
            f"{listed(sorted(empty))}; kept as recorded"
        )
    wrapped = manifest["wrapped"]
    if wrapped:
        lines.append(
            f"  wrapped: {sum(wrapped.values())} windows that reach beyond an end of "
            f"{listed(sorted(wrapped))} and go on at the other"
        )
    dropped = manifest["dropped_tail_s"]
    if dropped:
        lines.append(
            f"  in no window: {sum(dropped.values()):,.1f} s of {len(dropped)} "
            f"recordings"
        )
    return lines


def about_counts(verified: Mapping[str, Any]) -> list[str]:
    """Say in lines how counts compare with the facts, and what is odd."""
    n = verified["verdicts"]
    said = [f"{n['equal']} counts as stated"]
    if n["differs"]:
        said.append(f"{n['differs']} DIFFER")
    if n["unknown"]:
        said.append(f"{n['unknown']} cannot be compared")
    rows = [("", "found", "expected", "")]
    for line in verified["lines"]:
        name = line["part"] or ("all" if line["what"] == "windows" else line["what"])
        if line["label"] is not None:
            name = f"  {line['label']}"
        stated = "–" if line["expected"] is None else f"{line['expected']:,}"
        verdict = line["verdict"] + (f" ({line['why']})" if line["why"] else "")
        rows.append((name, f"{line['found']:,}", stated, verdict))
    width = max(len(name) for name, *_ in rows)
    lines = [
        f"{verified['dataset']} ({verified['protocol']}, {verified['data']}): "
        f"{', '.join(said)}",
        *(
            f"  {name:{width}}  {found:>8}  {stated:>8}  {verdict}".rstrip()
            for name, found, stated, verdict in rows
        ),
        f"  expected: {verified['facts']}",
    ]
    if verified["keep_below_uv"]:
        lines.append(
            f"  windows are those planned: cutting leaves out what reaches "
            f"{verified['keep_below_uv']:g} µV"
        )
    if verified["other_release"]:
        lines.append(f"  these are the counts of {verified['other_release']}")
    absent, outside = verified["absent_subjects"], verified["outside_protocol"]
    if absent:
        lines.append(f"  PARTIAL: {len(absent)} subjects absent: {listed(absent)}")
    if outside:
        lines.append(
            f"  left out: {len(outside)} recordings that the protocol does not use: "
            f"{listed(outside)}"
        )
    lines += _oddities(verified["oddities"])
    return lines


def _oddities(found: Mapping[str, Sequence[str]]) -> list[str]:
    """Say what is odd about recordings, those with the same oddity in one line."""
    odd: dict[str, list[str]] = {}
    for recording, texts in found.items():
        for text in texts:
            odd.setdefault(text, []).append(recording)
    kinds = sorted(odd.items(), key=lambda item: -len(item[1]))
    lines = [
        f"  odd: {text}: {len(names)} recording{'s' * (len(names) > 1)} "
        f"({listed(names)})"
        for text, names in kinds[:MOST_ODDITIES]
    ]
    if len(kinds) > MOST_ODDITIES:
        lines.append(f"  odd: {len(kinds) - MOST_ODDITIES} more kinds; see --json")
    return lines


def list_cells(cells: Sequence[Cell], seeds: Sequence[int], as_json: bool) -> None:
    """List what a sweep would run, in its order."""
    found = [
        {
            "model": c.model,
            "dataset": c.dataset,
            "scale": c.scale,
            "seed": seed,
            **({} if c.adapt == "scratch" else {"adapt": c.adapt}),
            **({} if c.weights is None else {"weights": c.weights}),
            **({} if c.labels is None else {"labels": c.labels}),
        }
        for seed in seeds
        for c in cells
    ]
    if as_json:
        print_json(found)
        return
    for row in found:
        more = [f"{k} {row[k]}" for k in ("adapt", "weights", "labels") if k in row]
        words = [f"{row['model']} on {row['dataset']}", str(row["scale"]), *more]
        typer.echo(f"{', '.join(words)}, seed {row['seed']}")
    stderr().print(f"{len(found)} cells; nothing was run")


def confirm(is_yes: bool) -> Callable[[Estimate], bool]:
    """Return what is asked before a run of over an hour, or of unknown length."""

    def ask(estimate: Estimate) -> bool:
        stderr().print(
            f"Estimate for this device: {estimate}.", style="bold", markup=False
        )
        if is_yes:
            return True
        return sys.stdin.isatty() and typer.confirm("Go ahead?", err=True)

    return ask


@contextmanager
def private_places(cache: Path) -> Iterator[None]:
    """Give this process and its workers a cache of their own and no data root."""
    kept = {key: os.environ.pop(key, None) for key in ("EEGFM_CACHE", "EEGFM_DATA")}
    os.environ["EEGFM_CACHE"] = str(cache)
    try:
        yield
    finally:
        for key, value in kept.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value
