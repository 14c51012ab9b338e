"""How models and datasets are called where people read, and in which order.

From: keys, the published names, and the registry of datasets. To: ``table`` and
``published``. Keys stay keys in csv and json.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eegfm_bench.datasets._folds import fold_of
from eegfm_bench.errors import DataMissing, SpecError, UnknownName
from eegfm_bench.report._figures import load_methods, printed_datasets

# Floors that no paper's table has.
FLOORS = {"chance": "Chance", "bandpower": "Band power", "riemann": "Riemann"}
# Printed under two names; the one in the other tables.
PREFERRED = {"labram": "LaBraM"}
# Models in the order of the Trace paper's tables, the floors before them; models that
# are not among them follow by name.
MODELS = (
    *FLOORS,
    *("eegnet", "eegconformer", "cnn_transformer", "ffcl", "st_transformer"),
    *("biot", "labram", "cbramod", "codebrain", "specmoe", "neuript", "trace"),
)
# Which datasets stand side by side in a table of the paper, block below block.
BLOCKS = {
    "1": (("faced", "seedv"), ("isruc", "bcic2020"), ("chbmit", "physionet_mi")),
    "10": (("shu_mi",),),
    "11": (("tuev",),),
}


def model_names(keys: Iterable[str]) -> dict[str, str]:
    """Return model key to the name papers print, for those that have one.

    Examples
    --------
    >>> model_names(["cnn_transformer", "labram", "mine"])
    {'cnn_transformer': 'CNN-Transformer', 'labram': 'LaBraM'}
    """
    try:
        printed = {m.model_key: m.name for m in load_methods() if m.model_key}
    except DataMissing:  # names are a kindness; the keys say all
        printed = {}
    named = {**printed, **FLOORS, **PREFERRED}
    return {key: named[key] for key in dict.fromkeys(keys) if key in named}


def dataset_names(keys: Iterable[str]) -> dict[str, str]:
    """Return dataset key to a name with its number of classes, as papers write it.

    Examples
    --------
    >>> dataset_names(["faced", "eyes@fold2of5", "chbmit@corrected", "mine"])
    ... # doctest: +NORMALIZE_WHITESPACE
    {'faced': 'FACED (9 classes)', 'eyes@fold2of5': 'Eyes (2 classes), fold 2 of 5',
     'chbmit@corrected': 'CHB-MIT@corrected (2 classes)'}
    """
    try:
        printed = printed_datasets()
    except DataMissing:
        printed = {}
    names = {key: _dataset_name(key, printed) for key in dict.fromkeys(keys)}
    return {key: name for key, name in names.items() if name != key}


def _dataset_name(key: str, printed: dict[str, str]) -> str:
    from eegfm_bench.datasets._spec import find_dataset

    try:
        fold = fold_of(key)
        base = key if fold is None else fold[0]
        spec = None if base.startswith("moabb:") else find_dataset(base)
    except (UnknownName, SpecError):  # of another version, or of nobody's
        return printed.get(key, key)
    family, at, variant = base.partition("@")
    if spec is None:
        name = base
    else:
        name = printed.get(family) or spec.title.partition(" (")[0]
        name = f"{name}{at}{variant} ({len(spec.classes)} classes)"
    return name if fold is None else f"{name}, fold {fold[1]} of {fold[2]}"


def in_order(keys: Iterable[str], order: Sequence[str]) -> list[str]:
    """Return keys once each: those of an order first, as there, then by name.

    Examples
    --------
    >>> in_order(["b", "a", "trace", "b"], ["trace"])
    ['trace', 'a', 'b']
    """
    place = {key: rank for rank, key in enumerate(dict.fromkeys(order))}
    once = dict.fromkeys(keys)
    return sorted(once, key=lambda key: (place.get(key, len(place)), key))


def blocks_of(which: str, datasets: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the blocks of a table, the paper's first, then what is not in it by twos.

    Parameters
    ----------
    which : str
        A table's number, or a suite's name.
    datasets : sequence of str
        The columns' groups; those that are absent are in no block.

    Examples
    --------
    >>> blocks_of("table1", ["eyes", "seedv", "faced", "eegmat"])
    (('faced', 'seedv'), ('eyes', 'eegmat'))
    """
    known = BLOCKS.get(which.removeprefix("table"), ())
    found = [tuple(d for d in block if d in datasets) for block in known]
    named = {d for block in known for d in block}
    rest = [d for d in datasets if d not in named]
    found += [tuple(rest[i : i + 2]) for i in range(0, len(rest), 2)]
    return tuple(block for block in found if block)
