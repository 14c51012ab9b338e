"""One cell as a section of a page: scores, plots, cost, origin, the whole question.

From: a Card. To: ``Html``. Whatever is absent is said where it would stand.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from eegfm_bench.errors import listed
from eegfm_bench.report._cells import BINARY_SHOWN, MULTICLASS_SHOWN, metric_label
from eegfm_bench.report.regimes import met_before
from eegfm_bench.report.site._markup import (
    Child,
    Html,
    definitions,
    folded,
    grid,
    joined,
    lines,
    tag,
)
from eegfm_bench.report.site.cards import Card
from eegfm_bench.report.site.figures import calibration, confusion, curves, subjects
from eegfm_bench.report.site.words import number, plus_minus, row_name, seeds_text, size

if TYPE_CHECKING:
    from eegfm_bench.runs.record import Cost, Provenance, RunRecord
    from eegfm_bench.runs.weights import LoadReport

NOT_RECORDED = "not recorded"


def card_section(card: Card, classes: Sequence[str], names: Mapping[str, str]) -> Html:
    """Write a cell's card.

    Parameters
    ----------
    card : Card
    classes : sequence of str
        Names of the classes; empty where they are not known here, and numbers serve.
    names : mapping of key to name
        What people call models and datasets.
    """
    done = card.done
    dataset = names.get(card.dataset, card.dataset)
    heading = f"{row_name(card.row, names)} on {dataset}"
    parts: list[Child] = [
        tag("h2", heading),
        _standing(card),
    ]
    parts += [tag("p", problem, class_="problem") for problem in card.problems]
    parts += [_failures(card)]
    if done:
        parts += [
            _scores(done),
            tag(
                "div",
                subjects(card.windows),
                confusion(card.windows, classes),
                calibration(card.windows, classes),
                curves(card),
                class_="figures",
            ),
            tag("h3", "Cost"),
            _cost(done),
            folded("Where it comes from", _origin(done)),
        ]
    parts.append(_question(card))
    return tag("section", lines(parts), id=card.anchor, class_="card")


def _standing(card: Card) -> Html:
    """Say how many seeds have run, how, and of which recordings."""
    spec = next(iter(card.group.specs.values()))
    n = len(card.done)
    state = {
        "simulated": tag("strong", "simulated recordings", class_="tag"),
        "partial": tag("strong", "partial recordings", class_="tag"),
        "complete": None,
    }[spec.dataset.data]
    said = "No seed has scores"
    if n:
        which = seeds_text(r.spec.seed for r in card.done)
        said = f"{n} seed{'s' * (n != 1)} with scores ({which})"
    if card.group.failed:
        said += f", {len(card.group.failed)} failed"
    if waiting := len(card.group.specs) - len(card.group.records):
        said += f", {waiting} not run yet"
    text = f"{said}; {spec.scale} scale, {spec.init}, protocol {spec.dataset.protocol}."
    return tag("p", state, " " if state else None, text, class_="standing")


def _failures(card: Card) -> Html | None:
    """Say why runs failed, each in full; their tracebacks stay with the records."""
    rows = [
        (record.spec.seed, record.failure.kind, record.failure.message)
        for record in card.group.failed
        if record.failure is not None
    ]
    if not rows:
        return None
    head = ("seed", "kind", "why there are no scores")
    return grid(head, rows, caption="Failed runs", class_="text")


def _scores(done: Sequence[RunRecord]) -> Html:
    """List every score of the test part, over seeds and seed by seed."""
    names = list(dict.fromkeys(m for r in done for m in (r.scores or {})["test"]))
    shown = BINARY_SHOWN if "auroc" in names else MULTICLASS_SHOWN
    names.sort(key=lambda m: shown.index(m) if m in shown else len(shown))
    head = ["test score", "mean ± sd", "n", *(f"seed {r.spec.seed}" for r in done)]
    rows = []
    for name in names:
        each = [(r.scores or {})["test"].get(name) for r in done]
        values = [v for v in each if v is not None]
        rows.append(
            (
                metric_label(name),
                plus_minus(values) if values else "n/a",
                str(len(values)),
                *("n/a" if v is None else number(v) for v in each),
            )
        )
    why = {
        f"{metric_label(name)}: {reason}"
        for r in done
        for name, reason in r.reasons.get("test", {}).items()
    }
    return lines(
        grid(head, rows, caption="Scores of the test part"),
        [tag("p", f"n/a: {text}.", class_="aside") for text in sorted(why)],
    )


def _cost(done: Sequence[RunRecord]) -> Html:
    """Say what a cell took: sizes, operations, time and memory."""
    costs = [r.cost for r in done if r.cost is not None]
    first = costs[0]
    latency = [c.latency_ms for c in costs if c.latency_ms is not None]
    where = sorted({f"{p.device}, {p.n_threads} thread{'s' * (p.n_threads != 1)}"
                    for r in done if (p := r.provenance)})  # fmt: skip
    return definitions(
        [
            ("encoder", f"{first.n_parameters_encoder:,} parameters"),
            ("head", f"{first.n_parameters_head:,} parameters"),
            ("operations", _taken(first, "flops_per_window", _flops(first))),
            (
                "latency",
                _taken(
                    first,
                    "latency_ms",
                    f"{number(statistics.median(latency))} ms a window"
                    if latency
                    else "",
                ),
            ),
            ("peak memory", size(max(c.peak_memory_bytes for c in costs))),
            ("training", f"{plus_minus([c.fit_s for c in costs], digits=1)} s"),
            ("testing", f"{plus_minus([c.test_s for c in costs], digits=2)} s"),
            ("window passes", f"{max(c.window_passes for c in costs):,}"),
            ("measured on", "; ".join(where)),
        ]
    )


def _flops(cost: Cost) -> str:
    n = cost.flops_per_window
    if n is None:
        return ""
    if n >= 1e6:
        return f"{n / 1e6:,.4g} million a window, forward"
    return f"{n:,} a window, forward"


def _taken(cost: Cost, name: str, text: str) -> str:
    """Return a value, or why it was not taken."""
    return text or cost.not_taken.get(name, NOT_RECORDED)


def _origin(done: Sequence[RunRecord]) -> Html:
    """Say which data, weights, code and machine a cell's numbers are from."""
    spec = done[0].spec
    made = [r.provenance for r in done if r.provenance is not None]
    absent = sorted({s for p in made for s in p.absent_subjects})
    counts = done[0].cost.n_windows if done[0].cost else {}
    epochs = [
        f"seed {r.spec.seed}: {r.checkpoint.epoch}"
        for r in done
        if r.checkpoint is not None and r.checkpoint.epoch is not None
    ]
    days = sorted(p.finished_at[:10] for p in made)
    return definitions(
        [
            ("data", f"{spec.dataset.data}"),
            ("protocol", spec.dataset.protocol),
            ("fingerprint", spec.dataset.fingerprint),
            ("absent subjects", listed(absent, most=40) if absent else "none"),
            ("windows", "; ".join(f"{part} {n:,}" for part, n in counts.items())),
            ("start", spec.init),
            ("weights", _weights(done[0].weights)),
            ("met these people before", _met(done[0])),
            ("trained", _adaptation(done[0])),
            ("checkpoint", _each(r.checkpoint.rule for r in done if r.checkpoint)),
            ("epoch tested", ", ".join(epochs)),
            ("notes", "; ".join(dict.fromkeys(n for p in made for n in p.notes))),
            ("finished", " to ".join(dict.fromkeys((days[0], days[-1])))),
            ("package", _each(p.package_version for p in made)),
            ("commit", _each(p.git_commit or NOT_RECORDED for p in made)),
            ("python", _each(p.python for p in made)),
            ("platform", _each(p.platform for p in made)),
            ("processor", _each(f"{p.processor}, {p.arithmetic}" for p in made)),
            ("libraries", _each(map(_libraries, made))),
        ]
    )


def _libraries(made: Provenance) -> str:
    return ", ".join(f"{k} {v}" for k, v in sorted(made.packages.items()))


def _each(values: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(values))


def _weights(report: LoadReport | None) -> str | None:
    """Say what was loaded, and what of it did not go in."""
    if report is None:
        return None
    n_in = report.matched + len(report.reshaped)
    parts = [
        f"{report.file} ({report.layout}), sha256 {report.sha256}",
        f"{n_in} of {report.n_encoder} tensors of the encoder",
    ]
    for names, how in (
        (report.missing, "missing and at random"),
        (report.left_over, "left over"),
        (report.reshaped, "reshaped"),
        (report.fresh, "started anew"),
    ):
        if names:
            parts.append(f"{len(names)} {how} ({listed(names, most=4)})")
    if (seen := report.pretrained) is not None:
        parts.append(
            f"pre-trained ({seen.objective}) on {seen.data} recordings of "
            f"{seen.n_persons} people: {', '.join(seen.sources)}"
        )
    return "; ".join(parts)


def _met(record: RunRecord) -> str | None:
    """Say whether the weights have met people of the dataset."""
    met = met_before(record)
    return None if met is None else f"{met.regime}: {met.why}"


def _adaptation(record: RunRecord) -> str | None:
    """Say what of the model was trained, and on which labels."""
    found = record.adaptation
    if found is None:
        return "all parameters, all labels"
    text = f"{found.trained:,} parameters trained, {found.frozen:,} frozen"
    if found.frozen_sha256:
        text += f" (sha256 before and after: {found.frozen_sha256[:16]}…)"
    if (budget := found.labels) is not None:
        drawn = ", ".join(
            f"{n} of {budget.of_windows[c]} {c}" for c, n in budget.windows.items()
        )
        text += (
            f"; labels {budget.asked}: {drawn}, of {budget.subjects} of "
            f"{budget.of_subjects} subjects"
        )
    return text


def _question(card: Card) -> Html:
    """Show the whole spec: all that changes this cell's numbers."""
    specs = list(card.group.specs.values())
    fields = specs[0].model_dump(mode="json")
    del fields["seed"]
    ids = joined(tag("code", r) for r in sorted(s.run_id for s in specs))
    return folded(
        "The question of this row: all that changes its numbers",
        tag("p", f"Seeds {seeds_text(s.seed for s in specs)}. Runs: ", ids, "."),
        tag("pre", json.dumps(fields, indent=1, ensure_ascii=False), tabindex="0"),
    )
