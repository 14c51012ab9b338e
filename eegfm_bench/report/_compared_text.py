"""All comparisons of a runs folder in one text of any format.

From: ``comparisons``. To: standard output or a file. CSV is one long form, a line per
number; JSON one document, numbers in full; the others are tables one below another.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from eegfm_bench.errors import UnknownName
from eegfm_bench.report._cells import Table
from eegfm_bench.report._compared import (
    mean_of_people,
    table_of_folds,
    table_of_pairs,
    table_of_ranks,
)
from eegfm_bench.report._groups import STUB, RowKey
from eegfm_bench.report.comparisons import Comparisons
from eegfm_bench.report.intervals import described, name_of, table_of_intervals
from eegfm_bench.report.render import FORMATS, render
from eegfm_bench.report.subjects import table_of_subjects

CSV_COLUMNS = (
    *("what", "data", *STUB, "dataset", "protocol", "metric", "regime"),
    *("rival", "subject", "value", "sd", "n_seeds", "n_people", "n_folds"),
    *("low", "high", "level", "method", "covers"),
    *("p", "p_holm", "star", "reason"),
)


def tables_of(found: Comparisons) -> list[Table]:
    """Return the tables of a comparison, from what is known of a row to ranks.

    Intervals of datasets without folds; subjects where they are too few for an
    interval over people; folds; differences; ranks.
    """
    from eegfm_bench.statistics.intervals import FEWEST_SUBJECTS

    folded = {c.dataset for p in found.pools.values() if p.n_folds for c in p.cells}
    plain = [one for one in found.intervals if one.cell.dataset not in folded]
    few = {
        (one.cell.row, one.cell.dataset): one.cell
        for one in plain
        if one.n_people < FEWEST_SUBJECTS
    }
    tables = [table_of_intervals(plain)] if plain else []
    tables += [table_of_subjects(few)] if few else []
    tables += [table_of_folds(found.pools)] if folded else []
    tables += [table_of_pairs(found)] if found.pairs else []
    tables += [table_of_ranks(ranks, found.pools) for ranks in found.ranks]
    notes = absent_notes(found)
    return [replace(tables[0], notes=(*tables[0].notes, *notes)), *tables[1:]]


def absent_notes(found: Comparisons) -> list[str]:
    """Say which rows are in no number on a dataset, and why."""
    who: dict[str, list[str]] = {}
    for (row, dataset), why in found.absent.items():
        who.setdefault(why, []).append(f"{name_of(row)} on {dataset}")
    return [f"In no number: {'; '.join(of)}: {why}." for why, of in who.items()]


def text_of_all(found: Comparisons, how: str) -> str:
    """Write a comparison in one of the formats of tables.

    Raises
    ------
    UnknownName
        If there is no such format.
    """
    if how not in FORMATS:
        raise UnknownName.among("table format", how, FORMATS)
    if how == "csv":
        return _csv(found)
    if how == "json":
        return _json(document(found))
    texts = [render(table, how) for table in tables_of(found)]
    return _one_page(texts) if how == "html" else "\n".join(texts)


def document(found: Comparisons) -> dict[str, Any]:
    """Return all numbers as plain data, None where there is none."""
    against = None if found.against is None else ":".join(found.against)
    lines = list(_lines(found))
    notes = [
        {"title": t.title, "caption": t.caption, "notes": list(t.notes)}
        for t in tables_of(found)
    ]
    kinds = {"interval": "intervals", "folds": "folds", "difference": "comparisons"}
    sorted_out: dict[str, Any] = {
        name: [
            {k: v for k, v in line.items() if k not in ("what", "subject", "seed")}
            for line in lines
            if line["what"] == what
        ]
        for what, name in kinds.items()
    }
    for one, line in zip(found.intervals, sorted_out["intervals"], strict=True):
        line["seeds"] = list(one.cell.seeds)
        rows = zip(one.cell.subjects, one.cell.values_sr, strict=True)
        line["subjects"] = {who: [_plain(v) for v in row] for who, row in rows}
    ranks = [
        {
            "labels": one.labels,
            "datasets": list(one.datasets),
            "metrics": list(one.metrics),
            "left_out": one.left_out,
            "rows": [
                {
                    **_row(row),
                    "average_rank": _plain(one.ranks[m]),
                    "win_rate": _plain(one.win_rates[m]),
                    "skill_over_chance": _plain(one.skills[m]),
                    "values": [_plain(v) for v in one.values_md[m]],
                }
                for m, row in enumerate(one.rows)
            ],
        }
        for one in found.ranks
    ]
    heading = tables_of(found)[0].heading
    head = {"heading": heading, "against": against}
    return {**head, **sorted_out, "ranks": ranks, "texts": notes}


def _lines(found: Comparisons) -> Iterator[dict[str, Any]]:
    """Yield every number with all it is of; what has no value is None."""
    for one in found.intervals:
        of = described(one.cell)
        line = {"what": "interval", **of, "value": one.value, "sd": one.sd}
        line |= {"n_seeds": one.n_seeds, "n_people": one.n_people}
        if one.interval is not None:
            line |= {
                name: getattr(one.interval, name)
                for name in ("low", "high", "level", "method", "covers")
            }
        yield _whole({**line, "reason": one.reason})
        for who, values_r in zip(one.cell.subjects, one.cell.values_sr, strict=True):
            for seed, value in zip(one.cell.seeds, values_r, strict=True):
                why = one.cell.reasons.get(who, "") if math.isnan(value) else ""
                line = {**of, "what": "subject", "subject": who, "reason": why}
                yield _whole({**line, "seed": seed, "value": _plain(value)})
    for pool in found.pools.values():
        if pool.n_folds and pool.mean is not None:
            by_seed, interval, reason = mean_of_people(pool)
            line = {**described(pool.cells[0]), "what": "folds", "dataset": pool.name}
            line |= {"value": pool.mean, "n_seeds": len(by_seed), "reason": reason}
            line["protocol"] = pool.protocols
            line |= {"n_people": int(pool.scored.sum()), "n_folds": len(pool.cells)}
            if interval is not None:
                line |= {"low": interval.low, "high": interval.high, "level": 0.95}
                line |= {"method": interval.method, "covers": interval.covers}
            yield _whole(line)
    for pair in found.pairs:
        of = described(found.pools[pair.row, pair.dataset].cells[0])
        line = {**of, "what": "difference", "dataset": pair.dataset}
        line["protocol"] = found.pools[pair.row, pair.dataset].protocols
        line |= {"rival": ":".join(pair.rival), "star": pair.is_starred}
        line |= {"p_holm": pair.p_holm, "reason": pair.reason}
        if pair.left_out:
            line["reason"] = "; ".join((*filter(None, [pair.reason]), *pair.left_out))
        if pair.paired is not None:
            paired = pair.paired
            line |= {"value": paired.difference, "p": paired.p_value, "level": 0.95}
            line |= {"low": _plain(paired.low), "high": _plain(paired.high)}
            line |= {"n_people": paired.n_subjects, "n_seeds": paired.n_seeds}
            line["covers"] = pair.covers
        yield _whole(line)


def _whole(line: dict[str, Any]) -> dict[str, Any]:
    """Give every line the same keys."""
    whole = dict.fromkeys((*CSV_COLUMNS, "seed"))
    kept = {key: value for key, value in line.items() if key in whole}
    return {**whole, **kept, "reason": line.get("reason") or None}


def _csv(found: Comparisons) -> str:
    out = io.StringIO()
    columns = (*CSV_COLUMNS[:11], "seed", *CSV_COLUMNS[11:])
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    for line in _lines(found):
        writer.writerow({k: "" if v is None else v for k, v in line.items()})
    for one in found.ranks:
        for m, row in enumerate(one.rows):
            own = {**_row(row), "dataset": " ".join(one.datasets)}
            own["data"] = max(
                cell.spec.dataset.data
                for (who, _), pool in found.pools.items()
                if who == row
                for cell in pool.cells
            )
            for what, values in (
                ("average rank", one.ranks),
                ("win rate", one.win_rates),
                ("skill over chance", one.skills),
            ):
                value = _plain(values[m])
                writer.writerow(
                    {"what": what, **own, "value": "" if value is None else value}
                )
    return out.getvalue()


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _row(row: RowKey) -> dict[str, str]:
    return dict(zip(STUB, row, strict=True))


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _one_page(pages: list[str]) -> str:
    """Put the bodies of several pages below each other on the first page."""
    head, opening, _ = pages[0].partition("<body>\n")
    bodies = [
        page.partition("<body>\n")[2].partition("</body>")[0].rstrip() for page in pages
    ]
    return "\n".join([head + opening.rstrip(), *bodies, "</body>", "</html>", ""])
