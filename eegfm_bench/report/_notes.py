"""What stands around a measured table: caption, notes, and reasons in words.

From: ``table``'s groups. To: its caption and notes. Whatever is absent, failed
or partial is said here in full.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from eegfm_bench.errors import UnknownName, listed
from eegfm_bench.report._cells import MARK, PENDING, SEEN_MARK, Column, Row
from eegfm_bench.report.regimes import met_before

if TYPE_CHECKING:
    from eegfm_bench.report._groups import Group, Groups
    from eegfm_bench.runs.record import RunRecord
    from eegfm_bench.runs.spec import RunSpec

PLUS_MINUS = "± is the standard deviation over seeds (ddof 1), n = seeds"


def caption(
    records: Iterable[RunRecord], asked: Iterable[RunSpec], rows: Iterable[Row]
) -> str:
    """Return the line that says how to read the numbers."""
    rules: dict[str, list[str]] = {}
    unchosen: list[str] = []
    for record in sorted(records, key=lambda r: r.run_id):
        if record.checkpoint is None:
            continue
        rule, model = record.checkpoint.rule, record.spec.model
        models = unchosen if rule.startswith("none") else rules.setdefault(rule, [])
        if model not in models:
            models.append(model)
    parts = [PLUS_MINUS, "test part"]
    if rules:
        alone = len(rules) == 1 and not unchosen
        named = [r if alone else f"{r} ({', '.join(m)})" for r, m in rules.items()]
        parts.append(f"checkpoint by {', by '.join(named)}")
    if unchosen:
        parts.append(f"nothing is chosen for {', '.join(unchosen)}")
    scales = sorted({spec.scale for spec in asked})
    if scales:
        parts.append(f"scale {' and '.join(scales)}")
    if any(cell.rank for row in rows for cell in row.cells):
        parts.append("bold is the best of a column, underlined the second")
    return "; ".join(parts) + "."


def notes(
    groups: Groups,
    missing: Mapping[str, str],
    rows: list[Row],
    columns: tuple[Column, ...],
) -> tuple[str, ...]:
    """Return the notes below the table, in the order of its cells."""
    has_scales = len({row.labels[2] for row in rows}) > 1
    found: dict[str, None] = {}
    undefined: dict[str, list[str]] = {}
    for row in rows:
        for cell, column in zip(row.cells, columns, strict=True):
            who = _who(row, column, has_scales)
            if cell.is_marked:
                found.setdefault(f"{MARK} {who}: {cell.reason}.")
            elif cell.state == "failed":
                found.setdefault(f"{who} failed: {cell.reason}.")
            elif cell.state == "undefined":
                what = f"{column.metric} of {who}"
                undefined.setdefault(cell.reason, []).append(what)
    for reason, whose in undefined.items():
        found.setdefault(f"n/a: {', '.join(whose)}: {reason}.")
    if any(cell.state == "pending" for row in rows for cell in row.cells):
        found.setdefault(f"{PENDING} stands for a cell that has not been run.")
    if any(spec.labels for group in groups.values() for spec in group.specs.values()):
        found.setdefault(
            "labels: so much of the training part was drawn, by seed, the same for all "
            "models; validation and test are whole."
        )
    chance = [row for row in rows if row.labels[0] == "chance"]
    if any(
        cell.state == "scored" and column.metric == "auc_pr"
        for row in chance
        for cell, column in zip(row.cells, columns, strict=True)
    ):
        found.setdefault(
            "AUC-PR of chance is (1 + share of positives) / 2, as the trapezoid of the "
            "published protocols has it for scores that are all alike; its average "
            "precision, in the records, is the share itself."
        )
    for text in (
        *_seedless_notes(groups),
        *_weights_notes(groups),
        *_regime_notes(groups),
    ):
        found.setdefault(text)
    for dataset in dict.fromkeys(column.group for column in columns):
        for text in _dataset_notes(groups, missing, dataset):
            found.setdefault(text)
    return tuple(found)


def qualification(group: Group, metric: str, n_values: int) -> str:
    """Say what a mean leaves out, or nothing."""
    parts = []
    if group.failed:
        parts.append(
            f"{len(group.failed)} of {len(group.records)} seeds failed "
            f"({failures(group.failed)})"
        )
    if n_values < len(group.done):
        parts.append(
            f"{metric} is undefined for {len(group.done) - n_values} of "
            f"{len(group.done)} seeds ({why_undefined(group.done, metric)})"
        )
    if len(group.records) < len(group.specs):
        parts.append(f"{len(group.records)} of {len(group.specs)} seeds have run")
    return "; ".join(parts)


def failures(failed: list[RunRecord]) -> str:
    """Say why runs failed, each reason once, with its seeds."""
    seeds: dict[str, list[int]] = {}
    for record in failed:
        if record.failure is not None:
            lines = record.failure.message.strip().splitlines() or ["no reason given"]
            reason = f"{record.failure.kind}: {lines[0].rstrip('.')}"
            seeds.setdefault(reason, []).append(record.spec.seed)
    return "; ".join(f"{_seeds(who)}: {reason}" for reason, who in seeds.items())


def why_undefined(done: list[RunRecord], metric: str) -> str:
    """Say why a metric has no value, each reason once."""
    found = dict.fromkeys(
        r.reasons.get("test", {}).get(metric, "not computed")
        for r in done
        if (r.scores or {}).get("test", {}).get(metric) is None
    )
    return "; ".join(found)


def partial_remark(groups: Groups, dataset: str) -> str:
    """Return "partial: k of n subjects absent", or nothing where all are there."""
    if all(s.dataset.data != "partial" for s in _specs(groups, dataset)):
        return ""
    absent = _absent(groups, dataset)
    n = _n_subjects(dataset)
    of = f" of {n}" if n is not None else ""
    if not absent:
        return "partial: subjects absent, or other windows than published"
    return f"partial: {len(absent)}{of} subjects absent"


def _seedless_notes(groups: Groups) -> Iterable[str]:
    """Say of which probes no seed changes anything: their ± is no spread."""
    found: dict[int, dict[str, list[str]]] = {}
    for (row, dataset), group in groups.items():
        done = group.done
        if row[3] != "probe" or len(done) < 2:
            continue
        if all(record.scores == done[0].scores for record in done):
            who = f"{row[0]} ({row[1]}, probe)"
            found.setdefault(len(done), {}).setdefault(who, []).append(dataset)
    for n, cells in found.items():
        where = "; ".join(f"{who} on {', '.join(on)}" for who, on in cells.items())
        yield (
            f"{where}: all {n} seeds have the same scores, since nothing is drawn "
            f"where a head is solved for on an encoder from a file: ± says nothing, n "
            f"counts one run."
        )


def _weights_notes(groups: Groups) -> Iterable[str]:
    """Say what each start is, and what of it did not go in."""
    found: dict[tuple[str, str], RunRecord] = {}
    for (row, _), group in groups.items():
        for record in group.done:
            if record.weights is not None:
                found.setdefault((row[1], row[0]), record)
    for (init, model), record in sorted(found.items()):
        report = record.weights
        assert report is not None
        n_in = report.matched + len(report.reshaped)
        parts = [f"{n_in} of {report.n_encoder} tensors of {model}'s encoder"]
        for names, how in (
            (report.missing, "MISSING and at random"),
            (report.left_over, "left over"),
            (report.reshaped, "reshaped"),
            (report.fresh, "started anew, as in the source"),
        ):
            if names:
                parts.append(f"{len(names)} {how} ({listed(names, most=3)})")
        seen = report.pretrained
        if seen is not None:
            mark = " SIMULATED" if seen.data == "simulated" else ""
            parts.append(
                f"pre-trained ({seen.objective}) on{mark} recordings of "
                f"{seen.n_persons} people: {', '.join(seen.sources)}"
            )
        yield f"{init} is {report.file}: {'; '.join(parts)}."


def _regime_notes(groups: Groups) -> Iterable[str]:
    """Say of all weights whose people they have met before, each reason once."""
    found: dict[tuple[str, str, str], dict[str, None]] = {}
    for (row, dataset), group in groups.items():
        met = next((m for r in group.done if (m := met_before(r)) is not None), None)
        if met is not None and met.regime != "unseen":
            key = (met.regime, f"{row[0]} ({row[1]})", met.why)
            found.setdefault(key, {}).setdefault(dataset)
    for (regime, who, why), datasets in sorted(found.items()):
        where = f"{who} on {', '.join(datasets)}"
        if regime == "seen":
            yield f"{SEEN_MARK} has met people of the dataset: {where}: {why}."
        else:
            yield f"met people of the dataset or not, unknown: {where}: {why}."


def _dataset_notes(
    groups: Groups, missing: Mapping[str, str], dataset: str
) -> Iterable[str]:
    if dataset in missing:
        yield f"{dataset} is missing: {missing[dataset].rstrip('.')}."
    if remark := partial_remark(groups, dataset):
        names = _absent(groups, dataset)
        who = f": {listed(names, most=40)}" if names else ""
        yield f"{dataset} is {remark}{who}."
    specs = _specs(groups, dataset)
    if len({(s.dataset.data, s.dataset.fingerprint) for s in specs}) > 1:
        yield f"{dataset} is not ranked: its rows are from different recordings."
    elif len({s.dataset.protocol.rpartition("-")[0] for s in specs}) > 1:
        ids = sorted({s.dataset.protocol for s in specs})
        yield f"{dataset} is not ranked: its rows follow {', '.join(ids)}."
    elif len({s.labels for s in specs}) > 1:
        yield f"{dataset} is not ranked: its rows have different shares of labels."


def _absent(groups: Groups, dataset: str) -> list[str]:
    names: set[str] = set()
    for (_, name), group in groups.items():
        for record in group.records if name == dataset else []:
            if record.provenance is not None:
                names.update(record.provenance.absent_subjects)
    return sorted(names)


def _specs(groups: Groups, dataset: str) -> list[RunSpec]:
    return [
        spec
        for (_, name), group in groups.items()
        if name == dataset
        for spec in group.specs.values()
    ]


def _n_subjects(dataset: str) -> int | None:
    """Return a protocol's number of subjects, None for a dataset not known here."""
    from eegfm_bench.datasets._spec import find_dataset

    try:
        return len(find_dataset(dataset).everyone)
    except UnknownName:
        return None


def _who(row: Row, column: Column, has_scales: bool) -> str:
    """Name a cell: its model, what is not the plain case of it, its dataset."""
    model, init, scale, adapt, labels = row.labels
    unusual = [word for word in (init, adapt) if word != "scratch"]
    unusual += [scale] if has_scales else []
    unusual += [] if labels == "all" else [f"labels {labels}"]
    if not unusual:
        return f"{model} on {column.group}"
    return f"{model} ({', '.join(unusual)}) on {column.group}"


def _seeds(seeds: list[int]) -> str:
    word = "seed" if len(seeds) == 1 else "seeds"
    return f"{word} {', '.join(map(str, seeds))}"
