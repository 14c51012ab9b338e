"""Tables 5 and 7: what can be pre-trained on, and how it is done.

From: the registry of datasets, and the recipe's own fields. To: ``eegfm-bench table 5``
and ``table 7``. No recordings are needed; imports no torch.
"""

from __future__ import annotations

from typing import Any

from eegfm_bench.datasets._spec import DatasetSpec, dataset_names, find_dataset
from eegfm_bench.models.trace.config import TAGS
from eegfm_bench.pretraining.asked import PAPER_PASSES, SMALL_STEPS
from eegfm_bench.pretraining.corpus import LEAST_PATCHES, PATCH
from eegfm_bench.runs.pretrain import PretrainRecipe, recipe_of

RATE_HZ = 200.0
UNKNOWN = "not stated"
# What Trace's Table 5 counts of each of its six sources.
PAPER = {
    "tueg": "1.1 M",
    "hbn": "132 K",
    "physionet_mi": "9,837",
    "eegmat": "1,343",
    "shu_mi": "11,988",
    "chbmit": "326,993",
}
# What is no number of the recipe's.
HOW = (
    (
        "Muon",
        "T",
        "matrices of linear layers; each expert's slice by itself (C), scaled to "
        "AdamW's RMS (C)",
    ),
    (
        "AdamW",
        "T",
        "queries, norms, biases, convolutions, spectral weights, horizon heads",
    ),
    ("schedule", "T", "cosine to last_lr, after the warm-up (C)"),
    ("loss", "T", "mean over horizons of Huber's, plus balance_weight x balance"),
    ("masked", "C", "the rival: squared error of hidden patches, same encoder"),
)


def table_of_sources() -> dict[str, Any]:
    """Return table 5 as plain data: ``title columns rows notes``."""
    specs = [find_dataset(name) for name in dataset_names() if "@" not in name]
    long_enough = [s for s in specs if _n_patches(s) >= LEAST_PATCHES]
    order = [*PAPER, *(s.name for s in long_enough if s.name not in PAPER)]
    by_name = {spec.name: spec for spec in long_enough}
    short = [s.name for s in specs if s not in long_enough]
    return {
        "title": "Table 5: sources of pre-training",
        "columns": [
            *("source", "channels", "window", "patches", "windows", "people"),
            *("hours", "in all parts", "Trace's table 5"),
        ],
        "rows": [_source(by_name[name]) for name in order if name in by_name],
        "notes": [
            "windows, people and hours are those that may be pre-trained on: all of a "
            "corpus, and of a labelled set the training part alone. Without "
            "--exclude-scored-persons none of them may be scored elsewhere.",
            "Trace's table 5 counts all parts of PhysioNet-MI, SHU-MI and CHB-MIT, "
            "test people included, and what is the training part of EEGMAT; '–' is "
            "not in its corpus.",
            "A patch is a second at 200 Hz. Not stated: no source says; what is on a "
            "disk is counted by 'prepare' and on the card of the weights.",
            *(f"{s.name}: {s.facts.source}." for s in long_enough if s.is_corpus),
            *(
                f"{name} cannot be pre-trained on: fewer than {LEAST_PATCHES} patches."
                for name in short
            ),
        ],
    }


def table_of_recipe() -> dict[str, Any]:
    """Return table 7 as plain data: ``title columns rows notes``."""
    causal = [recipe_of("causal", scale) for scale in ("paper", "small")]
    masked = [recipe_of("masked", scale) for scale in ("paper", "small")]
    rows = []
    for name, (tag, why) in PretrainRecipe.known().items():
        values = [getattr(recipe, name) for recipe in causal]
        if values[0] is None:
            values = [getattr(recipe, name) for recipe in masked]
            why = f"{why}; of the masked objective alone"
        rows.append([name, *map(_plain, values), tag.replace(",", ", "), why])
    rows.insert(
        0,
        [
            *("length", f"{PAPER_PASSES:g} passes", f"{SMALL_STEPS} steps"),
            *("N:CBraMod, CSBrain", "times all windows; LaBraM has 50 (small: C)"),
        ],
    )
    rows += [[name, "", "", tag, why] for name, tag, why in HOW]
    return {
        "title": "Table 7: the recipe of pre-training",
        "columns": ["setting", "paper", "small", "known", "why"],
        "rows": rows,
        "notes": [
            "The paper's own table of these values is not available. known: "
            + "; ".join(f"{tag}: {what}" for tag, what in TAGS.items())
            + ". It holds of the paper scale; all values of the small one are ours.",
            "Each can be changed: --set lr=3e-4, --set horizons=1,2; the length with "
            "--steps or --passes.",
        ],
    }


def _source(spec: DatasetSpec) -> list[str]:
    recipe = spec.recipe.at(RATE_HZ)
    n_train, n_all = spec.facts.windows.get("train"), spec.facts.in_all
    people = _people(spec)
    hours = None if n_train is None else n_train * recipe.window_s / 3600
    return [
        spec.name,
        str(len(recipe.channels)),
        f"{recipe.window_s:g} s",
        str(_n_patches(spec)),
        _count(n_train),
        _count(people),
        UNKNOWN if hours is None else f"{hours:,.1f}",
        _count(n_all),
        PAPER.get(spec.name, "–"),
    ]


def _people(spec: DatasetSpec) -> int | None:
    """Return how many people train, where the split names them."""
    if not spec.everyone or spec.person_of is None:
        return None
    if not set(spec.everyone) <= set(spec.split.names):
        # By trials or folders: everybody is in every part.
        return len({spec.person_of(subject) for subject in spec.everyone})
    return len({spec.person_of(subject) for subject in spec.split.train})


def _n_patches(spec: DatasetSpec) -> int:
    return spec.recipe.at(RATE_HZ).n_times // PATCH


def _count(n: int | None) -> str:
    return UNKNOWN if n is None else f"{n:,}"


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
