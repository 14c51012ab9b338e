"""The verb ``weights``: what is public of a model, and what a file holds of it.

From: ``eegfm-bench weights MODEL [PATH]``. To: standard output. A worker finds, reads
and loads; this process imports no torch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from eegfm_bench.cli import show, words
from eegfm_bench.cli.options import Json

MOST_NAMES = 12


def weights(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="See 'list models'.")],
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="PATH", help="A file or folder to check; or hub, or hub:KEY."
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            metavar="paper|small", help="Default paper, or what a saved folder says."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A model option; repeatable."),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(metavar="N|NAME,NAME2", help="The model's; default the file's."),
    ] = None,
    n_times: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Time points of a window."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(metavar="D", help="Take channels and length of this dataset."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which weights of a model are public; or load a file, and say what did."""
    from eegfm_bench.datasets._spec import find_dataset
    from eegfm_bench.errors import SpecError

    asked = {
        "scale": scale,
        "options": words.pairs(settings),
        "channels": None if channels is None else channel_names(channels),
        "n_times": n_times,
        "dataset": None if dataset is None else find_dataset(dataset).name,
    }
    if path is None:
        given = [key for key, value in asked.items() if value]
        if given:
            raise SpecError(
                f"--{given[0].replace('_', '-')} is for checking a file. Name one "
                f"after the model: eegfm-bench weights {model} PATH (or hub)."
            )
        about = _work({"task": "weights_about", "model": model})
        if as_json:
            show.print_json(about)
        else:
            typer.echo("\n".join(known_lines(about)))
        return
    found = _work({"task": "weights_check", "model": model, "given": path, **asked})
    if as_json:
        show.print_json(found)
    else:
        typer.echo("\n".join(checked_lines(found)))
    if not found["is_full"]:
        raise typer.Exit(1)


def channel_names(text: str) -> list[str]:
    """Read names of channels, or how many there are.

    Examples
    --------
    >>> channel_names("Fz, Cz"), channel_names("2")
    (['Fz', 'Cz'], ['ch1', 'ch2'])
    """
    if text.strip().isdigit():
        return [f"ch{k + 1}" for k in range(int(text))]
    return words.names("--channels", text)


def known_lines(about: Mapping[str, Any]) -> list[str]:
    """Say in lines which weights are public, and what files are understood."""
    name = about["model"]
    lines = [f"{name}: {about['title']}"]
    if about["trained_by"] != "gradient":
        return [
            *lines,
            f"  no weights: nothing of an encoder is trained ({about['trained_by']})",
        ]
    if not about["public"]:
        lines.append("  public weights: none that anybody is known to have published")
    for at, entry in enumerate(about["public"]):
        words_ = "hub" if at == 0 else f"hub:{entry['key']}"
        by_key = f", hub:{entry['key']}" if at == 0 else ""
        lines.append(f"  --weights {words_}{by_key}")
        where = f"{entry['repository']}, " if entry["repository"] else ""
        lines.append(f"      file: {where}{entry['file']} at {entry['revision']}")
        for key, value in (
            ("address", entry["address"]),
            ("licence", entry["licence"]),
            ("checksum", entry["checksum"] or "not stated"),
            ("pre-trained on", ", ".join(entry["pretrained_on"]) or "not stated"),
            ("channels", ", ".join(entry["channels"])),
            ("needs", " ".join(f"--set {k}={v}" for k, v in entry["options"].items())),
            ("stated by", entry["source"]),
            ("here", entry["in_cache"] or "not yet downloaded"),
        ):
            if value:
                lines.append(f"      {key}: {value}")
    layouts = "; ".join(about["layouts"])
    lines.append(f"  layouts of files that are understood: {layouts}")
    given = "hub" if about["public"] else "PATH"
    lines.append(f"  check a file: eegfm-bench weights {name} {given}")
    lines.append(
        f"  use it: eegfm-bench run --model {name} --weights {given} --dataset D"
    )
    return lines


def checked_lines(found: Mapping[str, Any]) -> list[str]:
    """Say in lines what became of a file's tensors, and whether it is whole."""
    report = found["report"]
    n_reshaped, n_fresh = len(report["reshaped"]), len(report["fresh"])
    rows: list[tuple[str, int, Sequence[str]]] = [
        ("of the encoder", report["n_encoder"], ()),
        ("  as in the file", report["matched"], ()),
        ("  reshaped", n_reshaped, report["reshaped"]),
        ("  started anew, as the source does", n_fresh, report["fresh"]),
        ("  missing", len(report["missing"]), report["missing"]),
        ("left over in the file", len(report["left_over"]), report["left_over"]),
        ("of no use to the encoder", report["unused"], ()),
        ("of another precision in the file", report["cast"], ()),
    ]
    width = max(len(what) for what, *_ in rows)
    lines = [
        f"{found['model']} at scale {found['scale']}, {found['n_channels']} channels × "
        f"{found['n_times']} time points at {found['rate_hz']:g} Hz",
        f"  file: {found['path']}",
        f"  sha256: {report['sha256']}",
        f"  read as: {report['container']}",
        f"  layout: {report['layout']}",
    ]
    seen = report["pretrained"]
    if seen is not None:
        mark = "SIMULATED " if seen["data"] == "simulated" else ""
        lines.append(
            f"  pre-trained ({seen['objective']}) on {mark}recordings of "
            f"{seen['n_persons']:,} people: {', '.join(seen['sources'])}"
        )
    lines.append("  tensors")
    for what, n, names in rows:
        if n or what in ("of the encoder", "  as in the file", "  missing"):
            lines.append(f"    {what:{width}}  {n:>5,}")
            if found["init"] is None:
                continue  # of another model, every name is
            lines += [f"        {name}" for name in names[:MOST_NAMES]]
            if len(names) > MOST_NAMES:
                lines.append(f"        and {len(names) - MOST_NAMES} more; see --json")
    if report["probe_difference"] is not None:
        lines.append(
            f"  probed: on simulated noise, features differ from the random start's "
            f"by {report['probe_difference']:.2g} of their deviation"
        )
    if found["is_full"]:
        lines.append(f"FULL: runs with it say init {found['init']}")
    else:
        lines.append(f"NOT LOADED: {found['refused']}")
        if "+partial" in (found["init"] or ""):
            lines.append(f"with --allow-partial-weights, runs say init {found['init']}")
    return lines


def _work(task: dict[str, Any]) -> dict[str, Any]:
    """Have one task done by a worker, which may import what it likes."""
    from eegfm_bench.sweep.launch import WorkerPool
    from eegfm_bench.sweep.planning import do_one

    with tempfile.TemporaryDirectory(prefix="eegfm-weights-") as logs:
        pool = WorkerPool(jobs=1, n_threads=1, logs=Path(logs))
        try:
            return do_one(pool, task)
        finally:
            pool.close()
