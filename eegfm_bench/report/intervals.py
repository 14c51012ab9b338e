"""How far each cell's score may be from the truth, and the truth about whom.

From: ``scores``. To: a table of intervals, and plain values for ``comparisons``.
Of ten test people or more an interval covers new people and new seeds; of fewer it
covers new seeds alone, says so, and every subject is listed instead.

Letters: P people, R seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from eegfm_bench.errors import SpecError
from eegfm_bench.report import naming
from eegfm_bench.report._cells import (
    PENDING,
    SEEN_MARK,
    Cell,
    Column,
    Row,
    Table,
    mean_sd,
)
from eegfm_bench.report._groups import STUB, RowKey, shown_stub, windows_key
from eegfm_bench.report._summaries import (
    FOLDER,
    PREDICTIONS,
    read_kept,
    stamp_of,
    write_kept,
)
from eegfm_bench.report.regimes import met_before
from eegfm_bench.report.scores import CellKey, SubjectScores, subject_scores, summaries
from eegfm_bench.report.table import DIGITS, SIMULATED, about
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.store import ResultStore

if TYPE_CHECKING:
    from eegfm_bench.statistics.intervals import Interval

LEVEL = 0.95
N_BOOT = 2000
COVERED = "95 % interval"
SEEDS_ALONE, PEOPLE_ALONE = "seeds only", "people only"


@dataclass(frozen=True, slots=True, kw_only=True)
class CellInterval:
    """A cell's score over seeds, and its interval or why it has none.

    ``value`` and ``sd`` (ddof 1) are over the seeds of ``cell`` that have a value,
    ``n_seeds`` of them; ``n_people`` counts test people.
    """

    cell: SubjectScores
    value: float | None
    sd: float | None
    n_seeds: int
    n_people: int
    interval: Interval | None
    reason: str = ""


class Reach(NamedTuple):
    """Two bounds that no ``Interval`` says: how they came about, what they cover."""

    low: float
    high: float
    method: str
    covers: str


def cell_intervals(
    store: ResultStore, cells: Mapping[CellKey, SubjectScores]
) -> list[CellInterval]:
    """Compute the interval of every cell's score.

    Parameters
    ----------
    store : ResultStore
        Holds the predictions; what is computed is kept there.
    cells : mapping
        As ``subject_scores`` returns them.

    Raises
    ------
    StoreError
        If predictions are damaged.
    """
    return [_interval(store, cell) for cell in cells.values()]


def intervals_table(
    records: Iterable[RunRecord],
    store: ResultStore,
    metric: str | None = None,
) -> Table:
    """Make the table of scores with their intervals.

    Raises
    ------
    DataMissing, UnknownName, SpecError, StoreError
        As ``subject_scores``.
    """
    cells = subject_scores(store, records, metric)
    return table_of_intervals(cell_intervals(store, cells))


def table_of_intervals(found: Sequence[CellInterval]) -> Table:
    """Lay out intervals: a row per model, two columns per dataset."""
    by_key = {(one.cell.row, one.cell.dataset): one for one in found}
    rows = in_order_of_tables(one.cell.row for one in found)
    shown = shown_stub(rows)
    datasets = sorted({one.cell.dataset for one in found})
    metrics = {one.cell.dataset: one.cell.metric for one in found}
    partial = partial_datasets([one.cell for one in found])
    columns = tuple(
        Column(group=d, metric=m, remark="partial" if d in partial else "")
        for d in datasets
        for m in (metrics[d], COVERED)
    )
    body = [
        Row(
            labels=tuple(row[i] for i in shown),
            cells=tuple(
                cell for d in datasets for cell in _two_cells(by_key.get((row, d)))
            ),
        )
        for row in rows
    ]
    n_people = {one.cell.dataset: one.n_people for one in found}
    return Table(
        title="Scores and their 95 % intervals",
        heading=heading_of(one.cell for one in found),
        data=max(one.cell.spec.dataset.data for one in found),
        stub=tuple(STUB[i] for i in shown),
        columns=columns,
        rows=tuple(body),
        caption=(
            "± is the standard deviation over seeds (ddof 1), n = seeds. A plain "
            "interval covers new people and new seeds of the same protocol (bootstrap "
            "over subjects and seeds); one marked 'seeds only' covers new seeds on "
            "these very people and does not cover new subjects; one marked 'people "
            "only' is of too few seeds to cover new ones; none covers other recording "
            "sites or other recipes."
        ),
        notes=(
            "Test people: " + ", ".join(f"{d} {n_people[d]}" for d in datasets) + ".",
            *_reasons(found),
            *left_out_notes([one.cell for one in found]),
        ),
        digits=DIGITS,
        names=naming.model_names(r[0] for r in rows) | naming.dataset_names(datasets),
    )


def possible(metric: str) -> tuple[float, float]:
    """Return the least and the most that a metric can be.

    Student's t knows no ends: over two seeds an interval may pass them.
    """
    return (-1.0 if metric == "cohen_kappa" else 0.0), 1.0


def in_order_of_tables(rows: Iterable[RowKey]) -> list[RowKey]:
    """Return rows once each, models as the papers' tables have them."""
    once = sorted(set(rows))
    models = naming.in_order((row[0] for row in once), naming.MODELS)
    return sorted(once, key=lambda row: (models.index(row[0]), row))


def described(cell: SubjectScores, **more: str) -> dict[str, str]:
    """Return what a cell is of, whose people its weights have met included."""
    met = met_before(cell.record)
    of = {"metric": cell.metric, **({} if met is None else {"regime": met.regime})}
    return about(cell.spec, **of, **more)


def heading_of(cells: Iterable[SubjectScores]) -> str:
    """Return what stands above everything where recordings are simulated."""
    data = {cell.spec.dataset.data for cell in cells}
    return SIMULATED if "simulated" in data else ""


def partial_datasets(cells: Iterable[SubjectScores]) -> set[str]:
    """Return the datasets of which subjects are absent."""
    return {c.dataset for c in cells if c.spec.dataset.data == "partial"}


def left_out_notes(cells: Sequence[SubjectScores]) -> list[str]:
    """Say what is in no number and why, and whose people weights have met."""
    seeds: dict[str, list[str]] = {}
    subjects: dict[str, list[str]] = {}
    for cell in cells:
        where = f"{name_of(cell.row)} on {cell.dataset}"
        for seed, why in cell.left_out.items():
            seeds.setdefault(why, []).append(f"{where}, seed {seed}")
        for who in cell.undefined:
            whose = f"{cell.metric} of {who} on {cell.dataset}: {cell.reasons[who]}"
            subjects.setdefault(whose, []).append(name_of(cell.row))
    notes = [f"Left out: {'; '.join(of)}: {why}." for why, of in seeds.items()]
    if subjects:
        n = len({whose.partition(":")[0] for whose in subjects})
        notes.append(
            f"{n} subjects have no score of their own and are in no comparison by "
            f"subject: {'; '.join(subjects)}."
        )
    if partial := partial_datasets(cells):
        notes.append(
            f"Partial, with subjects absent or other windows than published: "
            f"{', '.join(sorted(partial))}."
        )
    met: dict[str, list[str]] = {}
    for cell in cells:
        found = met_before(cell.record)
        if found is not None and found.regime == "seen":
            whose = f"{name_of(cell.row)} on {cell.dataset}"
            met.setdefault(found.why, []).append(whose)
    for why, names in met.items():
        where = "; ".join(names)
        notes.append(
            f"{SEEN_MARK} people of the dataset met in pre-training: {where}: {why}."
        )
    return notes


def _reasons(found: Sequence[CellInterval]) -> list[str]:
    """Say why cells have no interval, and what their intervals leave out."""
    why: dict[str, list[str]] = {}
    for one in found:
        where = f"{name_of(one.cell.row)} on {one.cell.dataset}"
        if one.reason:
            why.setdefault(one.reason, []).append(where)
        if one.interval is not None and one.interval.n_undefined:
            text = (
                f"{one.interval.n_undefined} of {N_BOOT} replicates lack a class and "
                f"are not in the interval"
            )
            why.setdefault(text, []).append(where)
        if one.interval is not None and one.n_seeds > 1 and one.sd == 0:
            text = (
                "the same score under every seed, so n counts one run and the interval "
                "is over people alone"
            )
            why.setdefault(text, []).append(where)
    return [f"{'; '.join(who)}: {text}." for text, who in why.items()]


def _two_cells(one: CellInterval | None) -> tuple[Cell, Cell]:
    """Return a score and its interval as cells."""
    if one is None:
        absent = Cell(state="pending", text=PENDING, reason="no run with predictions")
        return absent, absent
    whose = described(one.cell)
    if one.value is None:
        cell = Cell(state="undefined", about=whose, text="n/a", reason=one.reason)
        return cell, cell
    score = Cell(
        state="scored",
        about=whose,
        windows=windows_key(one.cell.spec),
        mean=one.value,
        sd=one.sd,
        n=one.n_seeds,
    )
    return score, interval_cell(one.interval, whose, one.reason)


def interval_cell(
    found: Interval | Reach | None, whose: Mapping[str, str], reason: str
) -> Cell:
    """Return an interval as a cell: bounds, and what alone they cover, if so."""
    whose = {**whose, "metric": COVERED}
    if found is None:
        return Cell(state="undefined", about=whose, text="none", reason=reason)
    numbers = {"low": repr(found.low), "high": repr(found.high)}
    return Cell(
        state="scored",
        about={**whose, **numbers, "method": found.method, "covers": found.covers},
        text=bounds(found.low, found.high) + mark_of(found.covers),
        reason=found.covers,
    )


def mark_of(covers: str) -> str:
    """Return what is read after bounds that do not cover both people and seeds."""
    from eegfm_bench.statistics.intervals import NEW_SUBJECTS, NO_NEW_SUBJECTS

    if covers == NO_NEW_SUBJECTS:
        return f" {SEEDS_ALONE}"
    return "" if covers == NEW_SUBJECTS else f" {PEOPLE_ALONE}"


def name_of(row: RowKey) -> str:
    """Name a row by its model and all of it that is not the plain case.

    Examples
    --------
    >>> name_of(("trace", "scratch", "small", "scratch", "all"))
    'trace'
    >>> name_of(("trace", "weights-1a", "small", "probe", "10%"))
    'trace (weights-1a, probe, labels 10%)'
    """
    model, init, _, adapt, labels = row
    unusual = [word for word in (init, adapt) if word != "scratch"]
    unusual += [] if labels == "all" else [f"labels {labels}"]
    return f"{model} ({', '.join(unusual)})" if unusual else model


def bounds(low: float, high: float, *, sign: str = "") -> str:
    """Write an interval.

    Examples
    --------
    >>> bounds(-0.01, 0.2, sign="+")
    '[-0.010, +0.200]'
    """
    return f"[{low:{sign}.{DIGITS}f}, {high:{sign}.{DIGITS}f}]"


def _interval(store: ResultStore, cell: SubjectScores) -> CellInterval:
    values = [float(v) for v in cell.pooled_r if not np.isnan(v)]
    people, _ = cell.by_person()
    mean, sd = mean_sd(values) if values else (None, None)
    found, reason = _interval_of(store, cell, values, len(people))
    return CellInterval(
        cell=cell,
        value=mean,
        sd=sd,
        n_seeds=len(values),
        n_people=len(people),
        interval=found,
        reason=reason,
    )


def _interval_of(
    store: ResultStore, cell: SubjectScores, values: list[float], n_people: int
) -> tuple[Interval | None, str]:
    from eegfm_bench.statistics.intervals import FEWEST_SUBJECTS, seed_interval

    if not values:
        why = cell.record.reasons.get("test", {}).get(cell.metric, "no reason given")
        return None, f"{cell.metric} is undefined for this test part ({why})"
    if len(values) < len(cell.seeds):
        return None, f"{cell.metric} is undefined for some of the seeds"
    if n_people >= FEWEST_SUBJECTS:
        try:
            return _kept_interval(store, cell), ""
        except SpecError as error:  # undefined whoever is drawn
            return None, str(error).partition(". ")[0]
    few = f"{n_people} test people, too few for an interval over people"
    if len(values) < 2:
        return None, f"{few}, and one seed alone gives none over seeds"
    if len(set(values)) == 1:
        return None, (
            f"{few}, and all {len(values)} seeds have the same score, which says "
            f"nothing of a spread"
        )
    found = seed_interval(values, level=LEVEL)
    assert found is not None
    least, most = possible(cell.metric)
    return replace(found, low=max(found.low, least), high=min(found.high, most)), ""


def _kept_interval(store: ResultStore, cell: SubjectScores) -> Interval:
    """Take up a bootstrap made before of the same files by the same code."""
    from eegfm_bench.statistics.intervals import Interval, subject_interval

    paths = [store.path(run_id) / PREDICTIONS for run_id in cell.run_ids]
    files = stamp_of(*paths) or []
    # The row's seeds are the stamp's; who is one person comes from the dataset.
    asked = f"{cell.metric} {LEVEL} {N_BOOT} {' '.join(cell.people)}"
    stamp = [*files, *([[cell.run_ids[0], asked]])]
    kept = store.root / FOLDER / f"{cell.spec.cell_id}.{cell.metric}.interval.json"
    content = read_kept(kept, stamp)
    try:
        if content is not None:
            return Interval(**content)
    except TypeError:  # kept by other code
        pass
    found = subject_interval(summaries(store, cell), level=LEVEL, n_boot=N_BOOT)
    write_kept(kept, stamp, asdict(found))
    return found
