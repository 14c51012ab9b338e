"""Numbers and names as the pages write them.

From: plain values. To: text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from eegfm_bench.report._cells import mean_sd
from eegfm_bench.report._groups import ALL_LABELS, RowKey, usual_adapt
from eegfm_bench.runs.spec import SCRATCH


def number(value: float, digits: int = 3) -> str:
    """Write a number with so many digits after the point, and no minus zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def plus_minus(values: Sequence[float], *, digits: int = 3) -> str:
    """Write mean ± sd (ddof 1); of one value, that value.

    Examples
    --------
    >>> plus_minus([0.1, 0.2, 0.3]), plus_minus([0.5])
    ('0.200 ± 0.100', '0.500')
    """
    mean, sd = mean_sd(list(values))
    text = number(mean, digits)
    return text if sd is None else f"{text} ± {number(sd, digits)}"


def row_name(row: RowKey, names: Mapping[str, str]) -> str:
    """Name a row by its model and whatever is not the plain case of it.

    Examples
    --------
    >>> row_name(("trace", "scratch", "paper", "scratch", "all"), {"trace": "Trace"})
    'Trace'
    >>> row_name(("mine", "hub", "paper", "probe", "10%"), {})
    'mine (hub, probe, labels 10%)'
    """
    key, init, _, adapt, labels = row
    model = names.get(key, key)
    parts = [] if init == SCRATCH else [init]
    parts += [] if adapt == usual_adapt(init) else [adapt]
    parts += [] if labels == ALL_LABELS else [f"labels {labels}"]
    return f"{model} ({', '.join(parts)})" if parts else model


def seeds_text(seeds: Iterable[int]) -> str:
    """Write seeds, neighbours as a range.

    Examples
    --------
    >>> seeds_text([0, 1, 2, 5])
    '0–2, 5'
    """
    runs: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}–{r[-1]}" for r in runs)


def size(n_bytes: int) -> str:
    """Write a number of bytes in units a person reads.

    Examples
    --------
    >>> size(600_000_000), size(900)
    ('572 MiB', '900 bytes')
    """
    value, unit = float(n_bytes), "bytes"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:,.0f} {unit}"
