"""The card of a saved model: what it learnt from, how it was tested, how to load it.

From: a run's record and its windows. To: ``README.md`` in the saved folder, with the
lines in front that model hubs read. It names people as the store does, so that overlaps
with other data can be found later, and no place on a disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import yaml

import eegfm_bench
from eegfm_bench.datasets._spec import find_dataset
from eegfm_bench.errors import UnknownName
from eegfm_bench.models._spec import InputShape, ModelSpec
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.symbols import PARTS
from eegfm_bench.windows.store import WindowStore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from eegfm_bench.weights.counterparts import Counterpart

DATA_SAYS = {
    "complete": "on all subjects of its protocol",
    "partial": "**on PART of the subjects of its protocol**",
    "simulated": "**on SIMULATED recordings: its scores say nothing about brains**",
}

# What hubs know by these words; anything else is 'other' to them.
HUB_LICENCES = {
    "MIT": "mit",
    "BSD-3-Clause": "bsd-3-clause",
    "Apache-2.0": "apache-2.0",
}


def card_of(
    record: RunRecord,
    store: WindowStore,
    *,
    train_rows: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """Return what a card says of a run, for ``write_folder``.

    Parameters
    ----------
    record : RunRecord
        Of a run that is done.
    store : WindowStore
        Its windows.
    train_rows : array, optional
        Rows that it learnt from, where not the whole training part.

    Returns
    -------
    card : dict
        ``run_id dataset classes persons n_windows absent seed init adapt labels recipe
        checkpoint scores weights``.
    """
    spec, people = record.spec, store.index["person"].astype(str)
    dataset = spec.dataset.model_dump(mode="json")
    with suppress(UnknownName):
        dataset["licence"] = find_dataset(spec.dataset.name).licence
    rows = {part: store.rows(part) for part in PARTS}
    if train_rows is not None:
        rows["train"] = train_rows
    return {
        "run_id": record.run_id,
        "dataset": dataset,
        "classes": [str(name) for name in store.manifest["classes"]],
        "persons": {p: sorted(set(people.iloc[at])) for p, at in rows.items()},
        "n_windows": {part: len(at) for part, at in rows.items()},
        "absent": [str(name) for name in store.manifest["absent_subjects"]],
        "seed": spec.seed,
        "init": spec.init,
        "adapt": spec.adapt,
        "labels": spec.labels,
        "recipe": spec.recipe.model_dump(mode="json"),
        "checkpoint": None
        if record.checkpoint is None
        else record.checkpoint.model_dump(mode="json"),
        "scores": record.scores,
        "weights": None
        if record.weights is None
        else record.weights.model_dump(mode="json"),
    }


def write_card(
    spec: ModelSpec,
    shape: InputShape,
    *,
    scale: str,
    options: Mapping[str, Any],
    card: Mapping[str, Any],
    found: Counterpart | str,
) -> str:
    """Return the card's text.

    Parameters
    ----------
    spec : ModelSpec
    shape : InputShape
    scale : str
    options : mapping
        All of them.
    card : mapping
        As ``card_of`` makes it; what it lacks is said to be not known.
    found : Counterpart or str
        braindecode's class, or why there is none.
    """
    sections = (
        _front(spec, card, found),
        f"# {spec.title}{_on(card)}\n\n{_first_line(spec, card, scale)}",
        "## The model\n\n" + _items(_model_items(spec, scale, options)),
        "## What goes in, what comes out\n\n"
        + _items(_signal_items(spec, shape, card)),
        "## How it was trained\n\n" + _items(_training_items(card)),
        "## Scores\n\n" + _scores(card),
        "## How to load it\n\n" + _loading(spec, shape, found),
        "## Whose recordings\n\n" + _people(card),
    )
    return "\n\n".join(sections) + "\n"


def _front(spec: ModelSpec, card: Mapping[str, Any], found: Counterpart | str) -> str:
    """Return the lines that hubs read."""
    stated = [key for key in HUB_LICENCES if spec.licence.startswith(key)]
    front: dict[str, Any] = {"license": HUB_LICENCES[stated[0]] if stated else "other"}
    if not stated:
        front["license_name"] = "see-below"
    front["library_name"] = "eegfm-bench" if isinstance(found, str) else "braindecode"
    dataset = card.get("dataset") or {}
    tags = ["eeg", "eegfm-bench", spec.name.replace(":", "-")]
    tags += [dataset["name"]] if dataset else []
    tags += ["simulated-data"] if dataset.get("data") == "simulated" else []
    front["tags"] = tags
    text = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    return f"---\n{text}---"


def _on(card: Mapping[str, Any]) -> str:
    dataset = card.get("dataset")
    return f" on {dataset['name']}" if dataset else ""


def _first_line(spec: ModelSpec, card: Mapping[str, Any], scale: str) -> str:
    dataset = card.get("dataset")
    if not dataset:
        return f"{spec.title} at scale {scale}. On what it was trained is not known."
    return (
        f"{spec.title} at scale {scale}, trained {DATA_SAYS[dataset['data']]}, "
        f"`{dataset['protocol']}`."
    )


def _model_items(
    spec: ModelSpec, scale: str, options: Mapping[str, Any]
) -> dict[str, str]:
    chosen = ", ".join(f"{key}={value}" for key, value in options.items())
    return {
        "Model": f"`{spec.name}`, version {spec.version}, scale {scale}",
        "Reference": spec.reference,
        "Code": spec.code,
        "Licence of the model": f"{spec.licence}. The terms of its recordings and of "
        f"weights it started from hold beside it",
        "Options": f"`{chosen}`" if chosen else "none",
        "Written by": f"eegfm-bench {eegfm_bench.__version__}",
    }


def _signal_items(
    spec: ModelSpec, shape: InputShape, card: Mapping[str, Any]
) -> dict[str, str]:
    windows = "" if shape.sequence == 1 else f"{shape.sequence} consecutive windows, "
    classes = card.get("classes") or [str(k) for k in range(shape.n_classes)]
    named = ", ".join(f"{k} {name}" for k, name in enumerate(classes))
    return {
        "Signal": f"{windows}{shape.n_times / shape.rate_hz:g} s at {shape.rate_hz:g} "
        f"Hz ({shape.n_times} time points), in µV",
        "Channels, in this order": ", ".join(shape.channels),
        "Within the model": spec.input_scale,
        "Logits": f"{shape.n_classes} classes: {named}",
    }


def _training_items(card: Mapping[str, Any]) -> dict[str, str]:
    dataset, checkpoint = card.get("dataset") or {}, card.get("checkpoint") or {}
    weights, recipe = card.get("weights"), card.get("recipe") or {}
    values = ", ".join(f"{k}={v}" for k, v in recipe.items() if v is not None)
    started = str(card.get("init", "not known"))
    if weights:
        n = weights["matched"] + len(weights["reshaped"])
        started += (
            f" ({weights['file']}, {n} of {weights['n_encoder']} tensors of the "
            f"encoder, {len(weights['reshaped'])} of them reshaped)"
        )
    items = {
        "Run": f"`{card.get('run_id', 'not known')}`",
        "Dataset": f"{dataset.get('name', 'not known')}, "
        f"`{dataset.get('protocol', 'not known')}`, recordings "
        f"`{dataset.get('fingerprint', 'not known')}` ({dataset.get('data', '?')})",
        "Terms of the recordings": dataset.get("licence", "not known"),
        "Start": started,
        "Adapted by": str(card.get("adapt", "not known")),
        "Labels used": str(card.get("labels") or "all of the training part"),
        "Seed": str(card.get("seed", "not known")),
        "Recipe": f"`{values}`" if values else "not known",
        "State that was kept": str(checkpoint.get("rule", "not known"))
        + (f", epoch {checkpoint['epoch']}" if checkpoint.get("epoch") else ""),
    }
    if card.get("absent"):
        items["Absent subjects"] = ", ".join(card["absent"])
    return items


def _scores(card: Mapping[str, Any]) -> str:
    scores, n = card.get("scores") or {}, card.get("n_windows") or {}
    if not scores:
        return "Not known."
    parts = [part for part in PARTS if part in scores]
    heads = [f"{part} (n = {n[part]:,})" if part in n else part for part in parts]
    lines = ["| metric | " + " | ".join(heads) + " |", "|---" * (1 + len(parts)) + "|"]
    for metric in scores[parts[0]]:
        values = (scores[part].get(metric) for part in parts)
        cells = ("—" if value is None else f"{value:.4f}" for value in values)
        lines.append(f"| {metric} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + (
        "\n\nOne run; n counts windows. Chosen on validation, tested once."
    )


def _loading(spec: ModelSpec, shape: InputShape, found: Counterpart | str) -> str:
    sequence = "" if shape.sequence == 1 else f"{shape.sequence}, "
    own = ", whose source must be importable" if spec.code_hash else ""
    ways = [
        f"As it was trained{own}, logits from windows in µV:\n\n```python\n"
        f"import eegfm_bench, torch\n\n"
        f'model = eegfm_bench.load("FOLDER")\n'
        f"x_uv = 20 * torch.randn(2, {sequence}{shape.n_channels}, {shape.n_times})\n"
        f"logits = model(x_uv)\n```",
        'Its tensors alone: `safetensors.torch.load_file("FOLDER/model.safetensors")`.'
        " What this suite adds to a model's own names begins with `eegfm_bench.`.",
    ]
    if spec.trained_by == "gradient":
        ways.insert(
            1,
            f"Its encoder as a start on other data:\n\n```\neegfm-bench run --model "
            f"{spec.name} --dataset DATASET --weights FOLDER --adapt finetune\n```",
        )
    if isinstance(found, str):
        ways.append(
            f"Not through braindecode: {found}. Its `from_pretrained` may still give a "
            f"model, of random weights and without a word."
        )
        return "\n\n".join(ways)
    call = f", ch_names={list(found.ch_names)!r}" if found.ch_names else ""
    gives = "logits"
    note = "Its outputs were the trained model's when the folder was written."
    if found.gives == "tokens":
        gives = "tokens"
        note = (
            "This is the encoder: tokens (windows, channels, patches, values) that "
            "were the trained model's when the folder was written. The head is not "
            "braindecode's, and `return_encoder_output=False` would put a random one "
            "in its place."
        )
    ways.append(
        f"Through braindecode:\n\n```python\nimport torch\n"
        f"from braindecode.models import {found.class_name}\n\n"
        f'net = {found.class_name}.from_pretrained("FOLDER")\n'
        f"x_uv = 20 * torch.randn(2, {shape.n_channels}, {shape.n_times})\n"
        f"{gives} = net({found.prepare}{call})\n```\n\n"
        f"{note} braindecode does not scale its input: the division is part of the "
        f"model."
    )
    return "\n\n".join(ways)


def _people(card: Mapping[str, Any]) -> str:
    persons: Mapping[str, Sequence[str]] = card.get("persons") or {}
    if not persons:
        return "Not known."
    lines = [
        f"- **{part}** ({len(persons[part])}): {', '.join(persons[part]) or 'none'}"
        for part in PARTS
        if part in persons
    ]
    return "\n".join(lines)


def _items(items: Mapping[str, str]) -> str:
    return "\n".join(f"- **{key}**: {value}" for key, value in items.items())
