"""Table 8: the datasets that models are scored on, as their registry declares them.

From: the registry of datasets. To: ``eegfm-bench table 8``. No recordings are needed.
"""

from __future__ import annotations

import re
from typing import Any

from eegfm_bench.datasets._spec import DatasetSpec, dataset_names, find_dataset
from eegfm_bench.report.naming import BLOCKS, in_order
from eegfm_bench.symbols import PARTS

UNKNOWN = "?"
# What is asked, in the words of the papers; of other datasets the title says it.
TASKS = {
    "faced": "emotion",
    "seedv": "emotion",
    "physionet_mi": "motor imagery",
    "shu_mi": "motor imagery",
    "isruc": "sleep stages",
    "isruc_s3": "sleep stages",
    "chbmit": "seizures",
    "bcic2020": "imagined speech",
    "tuev": "events",
    "eegmat": "mental arithmetic",
    "eyes": "eyes open or closed",
}
# Windows in all by Trace's table 8, which counts no parts.
PAPER = {
    "faced": 10_332,
    "seedv": 117_744,
    "physionet_mi": 9_837,
    "shu_mi": 11_988,
    "isruc": 89_240,
    "chbmit": 326_993,
    "bcic2020": 6_000,
    "tuev": 112_491,
}


def table_of_datasets() -> dict[str, Any]:
    """Return table 8 as plain data: ``title columns rows notes``."""
    specs = [find_dataset(name) for name in dataset_names()]
    by_name = {spec.name: spec for spec in specs if not spec.is_corpus}
    of_paper = [d for blocks in BLOCKS.values() for block in blocks for d in block]
    order = in_order(by_name, of_paper)
    return {
        "title": "Table 8: datasets that models are scored on",
        "columns": [
            *("dataset", "task", "classes", "people", "channels", "Hz", "window"),
            *("train / val / test", "in all", "Trace's", "split by", "protocol"),
            "licence",
        ],
        "rows": [_row(by_name[name]) for name in order],
        "notes": [
            "Windows are those of complete recordings by the sources of each dataset; "
            "'eegfm-bench verify' counts them from headers and annotations, and the "
            "pages in docs/datasets say where every number is from.",
            "?: no source counts it. Trace's: windows in all by its table 8; '–' is "
            "not in it.",
            "Protocol ids are at 200 Hz; a model that listens at another rate has "
            "windows of its own, whose id ends otherwise.",
            *(
                f"{name} judges {spec.recipe.sequence} windows in sequence."
                for name in order
                if (spec := by_name[name]).recipe.sequence > 1
            ),
            *(f"{name}, split: {by_name[name].split.source}." for name in order),
        ],
    }


def _row(spec: DatasetSpec) -> list[str]:
    family = spec.name.partition("@")[0]
    title = spec.title.partition(" (")[2].rstrip(")")
    facts = spec.facts
    printed = PAPER.get(spec.name)
    return [
        spec.name,
        TASKS.get(family, title or spec.title),
        str(len(spec.classes)),
        _counted(facts.n_subjects),
        str(len(spec.recipe.channels)),
        f"{spec.recipe.rate_hz:g}",
        f"{spec.recipe.window_s:g} s",
        " / ".join(_counted(facts.windows.get(part)) for part in PARTS),
        _counted(facts.in_all),
        "–" if printed is None else f"{printed:,}",
        spec.split.unit,
        spec.protocol(),
        re.split("[;:]", spec.licence)[0],
    ]


def _counted(n: int | None) -> str:
    return UNKNOWN if n is None else f"{n:,}"
