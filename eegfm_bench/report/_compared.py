"""Comparisons as tables: differences, ranks, folds over people.

From: ``comparisons``. To: ``render``, and ``_compared_text`` for several at once. Under
each table one sentence says what its numbers cover and what they do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._folds import unfolded
from eegfm_bench.errors import listed
from eegfm_bench.report import naming
from eegfm_bench.report._cells import (
    PENDING,
    Cell,
    Column,
    Row,
    Table,
    mean_sd,
    metric_label,
    short,
)
from eegfm_bench.report._groups import STUB, RowKey, shown_stub
from eegfm_bench.report._pools import Pool, PoolKey
from eegfm_bench.report.intervals import (
    COVERED,
    LEVEL,
    PEOPLE_ALONE,
    Reach,
    bounds,
    described,
    heading_of,
    in_order_of_tables,
    interval_cell,
    left_out_notes,
    mark_of,
    name_of,
    partial_datasets,
    possible,
)
from eegfm_bench.report.table import DIGITS

if TYPE_CHECKING:
    from eegfm_bench.report._ranks import Ranks
    from eegfm_bench.report.comparisons import Comparison, Comparisons
    from eegfm_bench.statistics.intervals import Interval

STAR = "*"
P_HOLM = "p (Holm)"


def table_of_pairs(found: Comparisons) -> Table:
    """Lay out a row's differences: a line per rival, three columns per dataset."""
    assert found.against is not None
    by_key = {(pair.rival, pair.dataset): pair for pair in found.pairs}
    rivals = in_order_of_tables(pair.rival for pair in found.pairs)
    shown = shown_stub([*rivals, found.against])
    names = list(dict.fromkeys(pair.dataset for pair in found.pairs))
    metric = {pair.dataset: pair.metric for pair in found.pairs}
    own = [pool for (row, _), pool in found.pools.items() if row == found.against]
    cells = [cell for pool in own for cell in pool.cells]
    rest = [c for p in found.pools.values() for c in p.cells if p.name in names]
    partial = partial_datasets(cells)
    columns = tuple(
        Column(
            group=name,
            metric=what,
            remark="partial"
            if any(c.dataset in partial for p in own if p.name == name for c in p.cells)
            else "",
        )
        for name in names
        for what in (f"difference in {metric_label(metric[name])}", COVERED, P_HOLM)
    )
    rows = tuple(
        Row(
            labels=tuple(rival[i] for i in shown),
            cells=tuple(
                cell
                for name in names
                for cell in _cells_of_pair(by_key[rival, name], found)
            ),
        )
        for rival in rivals
    )
    models = naming.model_names(r[0] for r in (*rivals, found.against))
    return Table(
        title=f"{_title_of(found.against, models)} against each rival",
        heading=heading_of(cells),
        data=max(cell.spec.dataset.data for cell in cells),
        stub=tuple(STUB[i] for i in shown),
        columns=columns,
        rows=rows,
        caption=(
            f"{name_of(found.against)} minus the rival, each person counting alike: "
            f"mean over people of their own score, paired by person and seed. The "
            f"interval covers new people and new seeds, marked '{PEOPLE_ALONE}' new "
            f"people alone: it is of one seed. p asks by sign flips of people "
            f"whether these trained models differ beyond these people, adjusted by "
            f"Holm for all rivals on a dataset, and says nothing of new seeds. "
            f"{STAR} = p below 0.05 with an interval that leaves out 0; never from "
            f"seeds alone, never from one seed."
        ),
        notes=(*_pair_notes(found.pairs), *left_out_notes(rest)),
        digits=DIGITS,
        names=models | _pool_names(own),
    )


def table_of_ranks(found: Ranks, pools: Mapping[PoolKey, Pool]) -> Table:
    """Lay out average rank, win rate and skill over chance of one share of labels."""
    rows = in_order_of_tables(found.rows)
    shown = shown_stub(rows)
    place = {row: m for m, row in enumerate(found.rows)}
    cells = [c for (row, _), p in pools.items() if row in place for c in p.cells]
    n = len(found.datasets)
    group = f"over {n} dataset{'s' * (n != 1)}"
    metrics = ("average rank", "win rate", "skill over chance")
    values = np.stack([found.ranks, found.win_rates, found.skills], axis=1)
    body = tuple(
        Row(
            labels=tuple(row[i] for i in shown),
            cells=tuple(
                _number(value, dict(zip(STUB, row, strict=True)), metric, group)
                for metric, value in zip(metrics, values[place[row]], strict=True)
            ),
        )
        for row in rows
    )
    of = [
        f"{d} ({metric_label(m)})"
        for d, m in zip(found.datasets, found.metrics, strict=True)
    ]
    notes = [f"Datasets that all {len(rows)} rows share: {', '.join(of) or 'none'}."]
    notes += [f"{d} does not count: {why}." for d, why in found.left_out.items()]
    notes += _same_people(found.datasets)
    notes += _uneven(found, pools)
    if any(metric.startswith("auc_pr") for metric in found.metrics):
        notes.append(
            "AUC-PR is the trapezoid's, which flatters ties: scores that are all equal "
            "reach half-way from chance to 1. Average precision does not."
        )
    more = "" if found.labels == "all" else f", labels {found.labels}"
    return Table(
        title=f"Ranks over datasets{more}",
        heading=heading_of(cells),
        data=max(cell.spec.dataset.data for cell in cells),
        stub=tuple(STUB[i] for i in shown),
        columns=tuple(Column(group=group, metric=metric) for metric in metrics),
        rows=body,
        caption=(
            "Average rank: 1 is the best. Win rate: share of (rival, dataset) pairs "
            "won, ties half. Skill: 0 is chance, 1 is perfect, mean over datasets. "
            "They sum up these datasets and these rows, have no interval, and do not "
            "say that neighbours differ."
        ),
        notes=tuple(notes),
        digits=DIGITS,
        names=naming.model_names(row[0] for row in rows),
    )


def table_of_folds(pools: Mapping[PoolKey, Pool]) -> Table:
    """Lay out what people score over all folds: a row per model."""
    folded = [pool for pool in pools.values() if pool.n_folds]
    rows = in_order_of_tables(pool.row for pool in folded)
    shown = shown_stub(rows)
    names = sorted({pool.name for pool in folded})
    metrics = {pool.name: pool.metric for pool in folded}
    cells = [cell for pool in folded for cell in pool.cells]
    body = tuple(
        Row(
            labels=tuple(row[i] for i in shown),
            cells=tuple(
                cell for name in names for cell in _of_folds(pools.get((row, name)))
            ),
        )
        for row in rows
    )
    wanted = [(n, m) for n in names for m in (metrics[n], COVERED, "people", "folds")]
    absent = partial_datasets(cells)
    partial = {p.name for p in folded for c in p.cells if c.dataset in absent}
    return Table(
        title="Folds over people: mean of each person's own score",
        heading=heading_of(cells),
        data=max(cell.spec.dataset.data for cell in cells),
        stub=tuple(STUB[i] for i in shown),
        columns=tuple(
            Column(group=name, metric=metric, remark="partial" * (name in partial))
            for name, metric in wanted
        ),
        rows=body,
        caption=(
            "± is the standard deviation over seeds (ddof 1) of the mean over people, "
            "n = seeds that every fold has. A plain interval covers new people and new "
            "seeds; one marked 'seeds only' covers new seeds on these very people and "
            "does not cover new subjects; one marked 'people only' is of one seed. "
            "This mean of people's own scores is not the "
            "tables' number, which scores all windows at once."
        ),
        notes=(*_fold_notes(folded), *left_out_notes(cells)),
        digits=DIGITS,
        names=naming.model_names(row[0] for row in rows) | _pool_names(folded),
    )


def mean_of_people(pool: Pool) -> tuple[list[float], Interval | Reach | None, str]:
    """Return a pool's mean over people under each whole seed, and its interval.

    A seed is whole where everybody with a score under any seed has one under it. The
    text says why there is no interval.
    """
    from eegfm_bench.statistics.intervals import (
        FEWEST_SUBJECTS,
        covered_with,
        seed_interval,
    )
    from eegfm_bench.statistics.permutation import FEWEST_SEEDS, paired_permutation

    values_pr = pool.values_pr[pool.scored]
    whole_r = ~np.isnan(values_pr).any(axis=0)
    by_seed = values_pr[:, whole_r].mean(axis=0).tolist()
    n_people = len(values_pr)
    if n_people >= FEWEST_SUBJECTS:
        # Against nothing: the interval of the mean, over people and over seeds.
        paired = paired_permutation(values_pr, np.zeros_like(values_pr), n=1)
        least, most = possible(pool.metric)
        low, high = max(paired.low, least), min(paired.high, most)
        method = "t over subjects and seeds"
        covers = covered_with(paired.n_seeds, FEWEST_SEEDS)
        return by_seed, Reach(low, high, method, covers), ""
    few = f"{n_people} test people, too few for an interval over people"
    if len(set(by_seed)) > 1:
        found = seed_interval(by_seed, level=LEVEL)
        assert found is not None
        least, most = possible(pool.metric)
        return (
            by_seed,
            replace(found, low=max(found.low, least), high=min(found.high, most)),
            "",
        )
    return by_seed, None, f"{few}, and no two seeds of all of them differ"


def _of_folds(pool: Pool | None) -> list[Cell]:
    """Return mean, interval, people and folds of a pool."""
    if pool is None:
        return [Cell(state="pending", text=PENDING, reason="not run yet")] * 4
    whose = {**described(pool.cells[0]), "dataset": pool.name}
    whose["protocol"] = pool.protocols
    if pool.mean is None:
        why = next(iter(pool.cells[0].reasons.values()), "undefined")
        return [Cell(state="undefined", about=whose, text="n/a", reason=why)] * 4
    by_seed, found, reason = mean_of_people(pool)
    sd = mean_sd(by_seed)[1] if by_seed else None
    score = Cell(state="scored", about=whose, mean=pool.mean, sd=sd, n=len(by_seed))
    n_people, n_folds = int(pool.scored.sum()), len(pool.cells)
    return [
        score,
        interval_cell(found, whose, reason),
        _count(f"{n_people}", whose, "people"),
        _count(f"{n_folds} of {pool.n_folds}", whose, "folds"),
    ]


def _title_of(row: RowKey, models: Mapping[str, str]) -> str:
    """Name a row as people read it, with all that tells it from its model's others."""
    return models.get(row[0], row[0]) + name_of(row).removeprefix(row[0])


def _pool_names(pools: Iterable[Pool]) -> dict[str, str]:
    """Return what datasets are called where people read, folds counted."""
    bases = {pool.name: pool.name.partition(" over ")[0] for pool in pools}
    known = naming.dataset_names(bases.values())
    return {
        name: name.replace(base, known.get(base, base), 1)
        for name, base in bases.items()
    }


def _count(text: str, whose: Mapping[str, str], metric: str) -> Cell:
    return Cell(state="scored", about={**whose, "metric": metric}, text=text)


def _number(value: float, whose: dict[str, str], metric: str, group: str) -> Cell:
    about = {"source": "measured", **whose, "dataset": group, "metric": metric}
    if math.isnan(value):
        why = "no dataset is shared by all rows, or a metric has no agreed chance"
        return Cell(state="undefined", about=about, text="n/a", reason=why)
    return Cell(state="scored", about=about, mean=float(value), n=None)


def _cells_of_pair(pair: Comparison, found: Comparisons) -> list[Cell]:
    """Return difference, interval and p-value of one comparison."""
    own = found.pools[pair.row, pair.dataset].cells[0]
    whose = {**described(own), "dataset": pair.dataset, "rival": ":".join(pair.rival)}
    whose["protocol"] = found.pools[pair.row, pair.dataset].protocols
    if pair.paired is None:
        text = short("not compared", pair.reason)
        return [Cell(state="missing", about=whose, text=text, reason=pair.reason)] * 3
    paired = pair.paired
    numbers = {"low": repr(paired.low), "high": repr(paired.high)}
    numbers |= {"difference": repr(paired.difference), "p": repr(paired.p_value)}
    numbers |= {"p_holm": repr(pair.p_holm), "n_subjects": str(paired.n_subjects)}
    whose = {**whose, **numbers, "n_seeds": str(paired.n_seeds)}
    star = f" {STAR}" if pair.is_starred else ""
    cannot = pair.least_p is not None and pair.least_p >= 0.05
    p_text = pair.reason if cannot else f"{pair.p_holm:.2g}"
    reach = bounds(paired.low, paired.high, sign="+") + mark_of(pair.covers)
    return [
        Cell(
            state="scored", about=whose, text=f"{paired.difference:+.{DIGITS}f}{star}"
        ),
        Cell(
            state="undefined" if math.isnan(paired.low) else "scored",
            about=whose,
            text="none" if math.isnan(paired.low) else reach,
            reason="one person gives no interval" if math.isnan(paired.low) else "",
        ),
        Cell(state="scored", about=whose, text=p_text, reason=pair.reason),
    ]


def _pair_notes(pairs: Sequence[Comparison]) -> list[str]:
    """Say how many people and seeds were paired, and who could not be."""
    notes = []
    counts: dict[str, dict[str, None]] = {}
    others: dict[str, list[str]] = {}
    for pair in pairs:
        where = f"{name_of(pair.rival)} on {pair.dataset}"
        if pair.paired is not None:
            n_people, n_seeds = pair.paired.n_subjects, pair.paired.n_seeds
            n = f"{n_people} {'person' if n_people == 1 else 'people'} × {n_seeds} seed"
            n += "s" * (n_seeds != 1)
            counts.setdefault(pair.dataset, {}).setdefault(n)
            for text in pair.left_out:
                others.setdefault(f"left out: {text}", []).append(where)
            if pair.reason and (pair.least_p or 0.0) < 0.05:
                others.setdefault(pair.reason, []).append(where)
        else:
            others.setdefault(f"not compared: {pair.reason}", []).append(where)
    if counts:
        said = "; ".join(f"{name} {' or '.join(n)}" for name, n in counts.items())
        notes.append(f"Paired: {said}.")
    notes += [f"{', '.join(who)}: {why}." for why, who in others.items()]
    return notes


def _fold_notes(folded: Sequence[Pool]) -> list[str]:
    """Say which folds are absent, and which seeds not all folds have."""
    absent: dict[str, list[str]] = {}
    for pool in folded:
        of = [cell.dataset for cell in pool.cells]
        base = unfolded(of[0])
        wanted = [f"{base}@fold{k}of{pool.n_folds}" for k in range(1, pool.n_folds + 1)]
        lacking = [name for name in wanted if name not in of]
        if lacking:
            absent.setdefault(listed(lacking), []).append(name_of(pool.row))
        ragged = [s for s in pool.seeds if any(s not in c.seeds for c in pool.cells)]
        if ragged:
            text = f"seeds {listed(map(str, ragged))} of {pool.name}"
            absent.setdefault(text, []).append(name_of(pool.row))
    return [
        f"Not run, so not everybody is tested under every seed: {what} of "
        f"{', '.join(who)}."
        for what, who in absent.items()
    ]


def _uneven(found: Ranks, pools: Mapping[PoolKey, Pool]) -> list[str]:
    """Say which datasets are partial, and where rows are of unlike many seeds."""
    notes = []
    for name in found.datasets:
        own = [pools[row, name] for row in found.rows]
        if partial_datasets(cell for pool in own for cell in pool.cells):
            notes.append(f"{name} is partial: subjects absent, or other windows.")
        n_seeds = sorted({len(pool.seeds) for pool in own})
        if len(n_seeds) > 1:
            said = listed(map(str, n_seeds))
            notes.append(f"On {name} rows are means of unlike many seeds: {said}.")
    return notes


def _same_people(datasets: Sequence[str]) -> list[str]:
    """Say which datasets are recordings of the same people and count twice."""
    from eegfm_bench.report.regimes import SAME_PEOPLE

    of: dict[str, list[str]] = {}
    for name in datasets:
        family = name.partition(" over ")[0].partition("@")[0]
        same = next((sorted(g)[0] for g in SAME_PEOPLE if family in g), family)
        of.setdefault(same, []).append(name)
    return [
        f"{' and '.join(names)} are recordings of the same people and count "
        f"{len(names)} times."
        for names in of.values()
        if len(names) > 1
    ]
