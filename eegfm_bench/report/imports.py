"""Results of other suites, each in a panel of its own, never ranked with ours.

From: files as OpenEEG-Bench, neuralbench and MOABB leave them. To: ``report`` and
``table --import``. Windows, rates, splits and metrics differ from ours even where a
dataset has the same name: a panel names its own protocol, nothing in it is ranked, and
no average crosses its border. A deviation is over seeds that are in the file, or as the
file states it; nothing is made up where it has neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from eegfm_bench.errors import listed
from eegfm_bench.report._cells import Cell, mean_sd, short
from eegfm_bench.report._foreign import (
    kind_of,
    number,
    read_csv,
    read_json,
    read_moabb_hdf5,
    read_parquet,
    refuse,
    word,
)
from eegfm_bench.report._panels import HEADING as HEADING
from eegfm_bench.report._panels import Found, Place, about, made
from eegfm_bench.report._panels import Panel as Panel

UNSTATED = "unstated"
_MEAN_SD = re.compile(
    r"\s*(?P<mean>[-+]?\d+(?:\.\d+)?)\s*(?:(?:±|\+/-|\\pm)\s*(?P<sd>\d+(?:\.\d+)?))?\s*"
)
# Of OpenEEG-Bench: what a row is, what it scores, and what says that it ended well.
_OEB_STUB = ("backbone", "training", "finetuning", "head")
_OEB_NEEDED = (*_OEB_STUB, "dataset", "seed", "status")
_OEB_SCORES = {"test_balanced_accuracy": "balanced_accuracy", "test_r2": "r2"}
_OEB_DONE = ("completed", "complete", "done", "success", "ok", "finished")
_MOABB_NEEDED = ("score", "subject", "session", "dataset", "pipeline")


def panels(files: Iterable[Path | str]) -> list[Panel]:
    """Read files of other suites, each known by its content.

    Parameters
    ----------
    files : paths
        OpenEEG-Bench's DataFrame of results as Parquet or CSV; neuralbench's JSON
        (``tasks``, ``models``, ``results``) or its table of results as CSV; MOABB's
        HDF5 store or its DataFrame as CSV.

    Returns
    -------
    panels : list of Panel
        In the order given.

    Raises
    ------
    DataMissing
        If a file is not there.
    StoreError
        If it is none of these, or damaged; names the file and the field.
    """
    return [_panel(Path(file)) for file in files]


def _panel(file: Path) -> Panel:
    kind = kind_of(file)
    if kind == "hdf5":
        return _moabb(file, read_moabb_hdf5(file))
    if kind == "json":
        return _neuralbench(file, read_json(file))
    if kind == "parquet":
        rows = read_parquet(file)
        header = list(rows[0]) if rows else []
    else:
        header, texts = read_csv(file)
        rows = [dict(zip(header, row, strict=True)) for row in texts]
    for needed, read in ((_OEB_NEEDED, _openeeg), (_MOABB_NEEDED, _moabb)):
        # Of a table of either kind that lacks a column, the column is named.
        if 2 * len(set(needed) & set(header)) > len(needed):
            if lacking := [name for name in needed if name not in header]:
                refuse(file, f"it lacks the column {', '.join(lacking)}")
            return read(file, rows)
    wide = _wide(header, rows) if kind == "csv" else None
    if wide is None:
        refuse(
            file,
            f"its columns ({listed(header, most=6) or 'none'}) are of no known suite: "
            f"OpenEEG-Bench has {', '.join(_OEB_NEEDED)}, MOABB "
            f"{', '.join(_MOABB_NEEDED)}",
        )
    return _neuralbench_table(file, header, wide)


def _openeeg(file: Path, rows: Sequence[dict[str, Any]]) -> Panel:
    """Group OpenEEG-Bench's rows, one per seed, into cells."""
    metrics = _metrics(rows)
    scored: dict[tuple[tuple[str, ...], Place], dict[str, float]] = {}
    failed: dict[tuple[tuple[str, ...], Place], dict[str, str]] = {}
    for at, row in enumerate(rows, start=1):
        where = f"row {at}"
        stub = tuple(word(file, row, name, where=where) for name in _OEB_STUB)
        named, _, revision = word(file, row, "dataset", where=where).partition("@")
        revision = revision or str(row.get("revision") or UNSTATED)
        seed = f"{number(file, row, 'seed', where=where):g}"
        given = {f: m for f, m in _OEB_SCORES.items() if not _is_absent(row.get(f))}
        status, why = str(row["status"]).strip().lower(), row.get("exception")
        is_done = status in _OEB_DONE and _is_absent(why)
        if is_done and len(given) != 1:
            refuse(
                file,
                f"{where} is '{status}' and has {len(given)} of "
                f"{', '.join(_OEB_SCORES)}; expected one of them",
            )
        if not is_done and given:
            refuse(file, f"'status' of {where} is {row['status']!r}, beside a score")
        metric = metrics.get(str(row["dataset"]), "balanced_accuracy")
        if is_done and metric not in given.values():
            refuse(file, f"{where} scores {named} by another metric than rows before")
        place = Place(
            # Of two revisions each has its own column.
            dataset=named if revision == UNSTATED else f"{named}@{revision}",
            metric=metric,
            protocol=f"oeb-0.6/{named}@{revision}",
        )
        cell = (stub, place)
        if seed in scored.get(cell, {}) or seed in failed.get(cell, {}):
            refuse(file, f"{where} repeats {' '.join(stub)} on {named}, seed {seed}")
        if is_done:
            value = number(file, row, next(iter(given)), where=where)
            scored.setdefault(cell, {})[seed] = value
        else:
            text = status if _is_absent(why) else str(why)
            failed.setdefault(cell, {})[seed] = text
    found: Found = {}
    for stub, place in dict.fromkeys([*scored, *failed]):
        values = list(scored.get((stub, place), {}).values())
        lost = failed.get((stub, place), {})
        whose = about(place, stub)
        reason = "; ".join(f"seed {seed} failed: {why}" for seed, why in lost.items())
        if values:
            mean, sd = mean_sd(values)
            found[stub, place] = Cell(
                state="scored",
                about=whose,
                mean=mean,
                sd=sd,
                n=len(values),
                values=tuple(values),
                reason=reason,
                is_marked=bool(lost),
            )
        else:
            text = short("failed", next(iter(lost.values())))
            found[stub, place] = Cell(
                state="failed", about=whose, text=text, reason=reason
            )
    return made(
        file,
        found,
        system="OpenEEG-Bench",
        version="0.6, by its columns",
        stub=("model", *_OEB_STUB[1:]),
        caption="Mean ± sd over the seeds in the file (their number).",
    )


def _neuralbench(file: Path, document: Any) -> Panel:
    """Read neuralbench's published document: a mean and a deviation a cell."""
    lacking = [k for k in ("tasks", "models", "results") if k not in document]
    if lacking:
        refuse(file, f"it lacks '{', '.join(lacking)}', which neuralbench's has")
    tasks, found = {}, Found()
    for at, task in enumerate(_dicts(file, document, "tasks"), start=1):
        where = f"task {at}"
        name = word(file, task, "id", where=where)
        if name in tasks:
            refuse(file, f"'id' of {where} repeats '{name}'")
        metric = word(file, task, "metric", where=where)
        tasks[name] = Place(
            dataset=name,
            metric=metric,
            protocol=f"neuralbench-{UNSTATED}/{name}",
            is_lower_better=task.get("lower_is_better") is True,
        )
    models = [
        word(file, model, "name", where=f"model {at}")
        for at, model in enumerate(_dicts(file, document, "models"), start=1)
    ]
    if twice := {name for name in models if models.count(name) > 1}:
        refuse(file, f"'models' names {listed(twice)} twice")
    results = document["results"]
    if not isinstance(results, dict):
        refuse(file, "'results' is no mapping of tasks")
    for name, by_model in results.items():
        if name not in tasks or not isinstance(by_model, dict):
            refuse(file, f"'results' has {name!r}, which is none of its tasks")
        for model, numbers in by_model.items():
            where = f"{model} on {name}"
            if model not in models or not isinstance(numbers, dict):
                refuse(file, f"'results' has {where}, which is none of its models")
            sd = None
            if numbers.get("std") is not None:
                sd = number(file, numbers, "std", where=where)
            found[(model,), tasks[name]] = Cell(
                state="scored",
                about=about(tasks[name], (model,)),
                mean=number(file, numbers, "mean", where=where),
                sd=sd,
                n=None,
            )
    return made(
        file,
        found,
        system="neuralbench",
        version=UNSTATED,
        stub=("model",),
        caption="Mean ± sd as the file states them; it does not say of how many seeds.",
    )


def _neuralbench_table(file: Path, header: list[str], rows: list[list[str]]) -> Panel:
    """Read a wide table: a row per model, a column per task, "mean ± sd" in each."""
    found = Found()
    for model, *texts in rows:
        for task, text in zip(header[1:], texts, strict=True):
            place = Place(
                dataset=task,
                metric="main score",
                protocol=f"neuralbench-{UNSTATED}/{task}",
            )
            if ((model,), place) in found:
                refuse(file, f"the row '{model}' is there twice")
            said = _MEAN_SD.fullmatch(text)
            if said is None:
                if text.strip() in ("", "-", "—"):
                    continue
                refuse(file, f"'{task}' of {model} is {text!r}; expected mean ± sd")
            found[(model,), place] = Cell(
                state="scored",
                about=about(place, (model,)),
                mean=float(said["mean"]),
                sd=None if said["sd"] is None else float(said["sd"]),
                n=None,
            )
    return made(
        file,
        found,
        system="neuralbench",
        version=UNSTATED,
        stub=("model",),
        caption="Mean ± sd as the file states them; it does not say of how many seeds.",
    )


def _moabb(file: Path, rows: Sequence[dict[str, Any]]) -> Panel:
    """Average MOABB's scores: of a subject's sessions, then of subjects. No seeds."""
    # Its folders say which paradigm and evaluation: results/PARADIGM/EVALUATION/FILE.
    above = file.resolve().parts[-4:]
    how = (
        "/".join(above[1:3]) if len(above) == 4 and above[0] == "results" else UNSTATED
    )
    scores: dict[tuple[tuple[str, ...], Place], dict[str, dict[str, float]]] = {}
    for at, row in enumerate(rows, start=1):
        dataset = word(file, row, "dataset", where=f"row {at}")
        pipeline = word(file, row, "pipeline", where=f"row {at}")
        subject = word(file, row, "subject", where=f"row {at}")
        session = word(file, row, "session", where=f"row {at}")
        where = f"{pipeline} on {dataset}, subject {subject}, session {session}"
        protocol = f"moabb-1/{how}/{dataset}"
        place = Place(dataset=dataset, metric="score", protocol=protocol)
        cell = ((pipeline,), place)
        own = scores.setdefault(cell, {}).setdefault(subject, {})
        if session in own:
            refuse(file, f"row {at} repeats {where}")
        own[session] = number(file, row, "score", where=where)
    found: Found = {}
    for (stub, place), of_subjects in scores.items():
        means = [mean_sd(list(own.values()))[0] for own in of_subjects.values()]
        n = len(means)
        found[stub, place] = Cell(
            state="scored",
            about={**about(place, stub), "subjects": str(n)},
            mean=mean_sd(means)[0],
            n=None,
            reason=f"mean over {n} subject{'s' * (n > 1)}",
        )
    return made(
        file,
        found,
        system="MOABB",
        version="1, by its columns",
        stub=("model",),
        caption="Mean over subjects, each the mean of their sessions; the file has no "
        "seeds. The score is the paradigm's: AUROC for two classes, else accuracy, "
        "unless the user chose another.",
    )


def _metrics(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return dataset to the metric of its first score: failed rows have none."""
    found: dict[str, str] = {}
    for row in rows:
        for field, metric in _OEB_SCORES.items():
            if not _is_absent(row.get(field)):
                found.setdefault(str(row["dataset"]), metric)
    return found


def _wide(header: list[str], rows: list[dict[str, Any]]) -> list[list[str]] | None:
    """Return the rows of a table "model, task, task …"; None if it is none."""
    is_named = header[:1] and header[0].strip().lower() in ("", "model", "models")
    if not is_named or len(header) < 2 or not rows:
        return None
    texts = [[str(row[name]) for name in header] for row in rows]
    return texts if any("±" in cell for row in texts for cell in row) else None


def _is_absent(value: Any) -> bool:
    """Say whether a field holds nothing, as CSV and DataFrames write it."""
    return value is None or str(value).strip().lower() in ("", "nan", "none", "<na>")


def _dicts(file: Path, document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = document[key]
    if not isinstance(value, list) or not all(isinstance(x, dict) for x in value):
        refuse(file, f"'{key}' is no list of objects")
    return value
