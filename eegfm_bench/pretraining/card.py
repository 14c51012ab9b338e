"""The card of pre-trained weights: what they saw, how they learnt, how to use them.

From: a folder of a pre-training whose steps are done. To: ``README.md`` in it, with the
lines in front that model hubs read. It names no place on a disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
import yaml

import eegfm_bench
from eegfm_bench.datasets._spec import find_dataset
from eegfm_bench.errors import StoreError, listed
from eegfm_bench.models.trace.config import TAGS
from eegfm_bench.pretraining.expert_sets import routed_weights, sets_in_words
from eegfm_bench.pretraining.journal import STEPS
from eegfm_bench.runs.pretrain import PretrainRecipe, PretrainSpec, recipe_of

if TYPE_CHECKING:
    from eegfm_bench.pretraining.corpus import Corpus
    from eegfm_bench.weights.pretrained import Pretrained

DATA_SAYS = {
    "complete": "complete",
    "partial": "**PART of it**",
    "simulated": "**SIMULATED**",
}
# Of all steps, at either end: what a loss at the start, or the end, is a mean of.
SHARE = 0.05
_CLAIM = (
    "The loss goes down on the windows it learns from; that says nothing about "
    "whether what it learnt is of use elsewhere. A run from scratch beside it does."
)


def losses_of(folder: Path, spec: PretrainSpec) -> list[dict[str, Any]]:
    """Return the losses at both ends, by source and part.

    Returns
    -------
    rows : list of dict
        ``source`` (None: all of them), ``part`` (``h1``, ``masked``), ``start`` and
        ``end``: means over the first and last twentieth of the steps, None where a
        source was not drawn there, or is too short.

    Raises
    ------
    StoreError
        If the journal is not there.
    """
    try:
        steps = pd.read_csv(folder / STEPS)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{folder / STEPS} cannot be read ({error}). Put it back, or pre-train "
            f"anew in another folder."
        ) from error
    n = max(1, round(SHARE * len(steps)))
    horizons = spec.recipe.horizons or ()
    parts = [f"h{h}" for h in horizons] or ["masked"]
    rows = []
    for source in (None, *(s.name for s in spec.sources)):
        for part in parts:
            column = steps[part if source is None else f"{source}:{part}"]
            rows.append(
                {
                    "source": source,
                    "part": part,
                    "start": _mean(column.iloc[:n]),
                    "end": _mean(column.iloc[-n:]),
                }
            )
    return rows


def write_card(
    folder: Path, spec: PretrainSpec, said: Pretrained, corpus: Corpus, *, device: str
) -> str:
    """Return the card's text.

    Parameters
    ----------
    folder : path
        Whose journal and pictures the card shows.
    spec : PretrainSpec
    said : Pretrained
    corpus : Corpus
        For what was left out.
    device : str
        ``cpu`` or ``cuda``.
    """
    mark = " on SIMULATED recordings" if said.data == "simulated" else ""
    front = {
        "license": "other",
        "license_name": "see-below",
        "library_name": "eegfm-bench",
        "tags": ["eeg", *(["simulated-data"] if mark else [])],
    }
    pictures = [
        f"![{name}]({name}.png)"
        for name in ("losses", "experts")
        if (folder / f"{name}.png").is_file()
    ]
    sections = (
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# Trace, pre-trained{mark}\n\n{_first_line(spec, said)}",
        "## What it saw\n\n" + _sources(said),
        "## Whose recordings\n\n" + _people(said, corpus),
        "## How it learnt\n\n" + _recipe(spec),
        "## What came of it\n\n"
        + _losses(folder, spec)
        + "\n\n"
        + "\n\n".join(pictures),
        *_experts(folder, spec),
        "## What it took\n\n" + _cost(folder, device),
        "## How to use it\n\n" + _use(spec),
    )
    return "\n\n".join(sections) + "\n"


def _first_line(spec: PretrainSpec, said: Pretrained) -> str:
    asked = (
        "forecasts the next patches of every channel"
        if spec.objective == "causal"
        else "rebuilds patches that were hidden"
    )
    words = (
        f"`{said.pretrain_id}`: the encoder of Trace at scale `{spec.scale}`, without "
        f"a head. It {asked}, without labels, for {spec.steps:,} steps."
    )
    if said.data == "simulated":
        words += (
            "\n\n**Its sources are SIMULATED recordings, in part or all of them: what "
            "it learnt says nothing about brains.**"
        )
    return words


def _sources(said: Pretrained) -> str:
    lines = [
        "| source | protocol | data | fingerprint | windows | people | channels × "
        "patches |",
        "|---" * 7 + "|",
    ]
    lines += [
        f"| {s.name} | `{s.protocol}` | {DATA_SAYS[s.data]} | `{s.fingerprint}` | "
        f"{s.n_windows:,} | {s.n_persons:,} | {s.n_channels} × {s.n_patches} |"
        for s in said.sources
    ]
    patch_len = said.options["patch_len"]
    terms = [f"- **{s.name}**: {find_dataset(s.name).licence}" for s in said.sources]
    return (
        "\n".join(lines)
        + "\n\nOf a labelled set, windows of its training part alone. A patch is "
        f"{patch_len} points at {said.rate_hz:g} Hz. Terms of the recordings:\n\n"
        + "\n".join(terms)
    )


def _people(said: Pretrained, corpus: Corpus) -> str:
    lines = [
        f"{len(said.persons):,} people, each by name in `persons.json` and in the "
        f"header of `model.safetensors`.",
        "None of them is in validation or test of: "
        f"{', '.join(said.scored_on) or 'no dataset was named'}. A run that would "
        "score any of them is refused.",
    ]
    lines += [
        f"Left out of {s.name}, as they are scored elsewhere: {len(s.left_out)} people "
        f"({listed(s.left_out, most=6)}), {s.n_left_out:,} windows."
        for s in corpus.sources
        if s.left_out
    ]
    lines += [f"Not known: {note}" for note in said.notes]
    return "\n\n".join(lines)


def _recipe(spec: PretrainSpec) -> str:
    usual = recipe_of(spec.objective, spec.scale)
    lines = ["| setting | value | known | why |", "|---" * 4 + "|"]
    for name, (tag, why) in PretrainRecipe.known().items():
        value = getattr(spec.recipe, name)
        paper = getattr(recipe_of(spec.objective, "paper"), name)
        if value is None:
            continue
        if value != getattr(usual, name):
            tag, why = "changed", f"{why}; the scale's own is {getattr(usual, name)}"
        elif value != paper:
            tag = "C"
            why = f"{why}; the paper scale has {_plain(paper)}"
        lines.append(f"| {name} | {_plain(value)} | {tag} | {why} |")
    options = ", ".join(f"{k}={v}" for k, v in spec.options.items())
    return (
        "\n".join(lines)
        + f"\n\nseed {spec.seed}; encoder: `{options}`.\n\nknown: "
        + "; ".join(f"{tag}: {what}" for tag, what in TAGS.items())
        + "."
    )


def _losses(folder: Path, spec: PretrainSpec) -> str:
    lines = ["| source | part | start | end |", "|---" * 4 + "|"]
    lines += [
        f"| {row['source'] or 'all'} | {row['part']} | {_number(row['start'])} | "
        f"{_number(row['end'])} |"
        for row in losses_of(folder, spec)
    ]
    unit = "Huber's, of forecasts" if spec.objective == "causal" else "squared, of "
    unit += "" if spec.objective == "causal" else "the hidden patches"
    return (
        "\n".join(lines)
        + f"\n\nLosses are {unit}, in units of 100 µV, on windows that it learns from, "
        f"before each step; means over the first and the last {SHARE:.0%} of steps. "
        f"{_CLAIM} All steps are in `journal.csv`."
    )


def _experts(folder: Path, spec: PretrainSpec) -> list[str]:
    layers = routed_weights(folder, spec)
    if not layers:
        return []
    said = sets_in_words(layers, int(spec.options["active"] or 1))
    absent = [s.name for s in spec.sources if s.name not in layers[-1]]
    if absent:
        said += f" Not drawn at any step that was noted: {', '.join(absent)}."
    return ["## Which experts served whom\n\n" + said]


def _cost(folder: Path, device: str) -> str:
    steps = pd.read_csv(folder / STEPS)
    seconds, tokens = float(steps["seconds"].sum()), int(steps["tokens"].sum())
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    waited = float(steps["data_wait_s"].sum()) / seconds
    return (
        f"{seconds:,.0f} s of steps on {name}, {tokens:,} tokens (channels × patches), "
        f"{tokens / seconds:,.0f} a second, {waited:.1%} of the time waiting for "
        f"windows. eegfm-bench {eegfm_bench.__version__}, torch {torch.__version__}."
    )


def _use(spec: PretrainSpec) -> str:
    scale = " --scale small" if spec.scale == "small" else ""
    usual = {**find_options(spec.scale)}
    changed = {k: v for k, v in spec.options.items() if usual.get(k) != v}
    settings = "".join(f" --set {k}={v}" for k, v in changed.items())
    return (
        f"Fine-tune it, or judge it frozen:\n\n```\neegfm-bench run --model "
        f"{spec.model}{scale}{settings} --dataset DATASET --weights FOLDER\n"
        f"eegfm-bench run --model {spec.model}{scale}{settings} --dataset DATASET "
        f"--weights FOLDER --adapt probe\n```\n\nIts tensors alone: "
        f'`safetensors.torch.load_file("FOLDER/model.safetensors")`. '
        f"`objective/heads.safetensors` has what it was asked with."
    )


def find_options(scale: str) -> dict[str, Any]:
    """Return a scale's own options of the encoder."""
    from eegfm_bench.pretraining.asked import encoder_options

    return encoder_options({}, scale)


def _mean(values: Any) -> float | None:
    mean = values.mean()
    return None if pd.isna(mean) else float(mean)


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.4g}"


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
