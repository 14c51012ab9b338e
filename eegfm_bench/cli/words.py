"""Words of the command line: lists, seeds, settings, filters.

From: what a person typed. To: plain values; what does not fit is refused with
the word, what was expected, and the nearest that exists.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eegfm_bench.errors import SpecError, UnknownName

if TYPE_CHECKING:
    from eegfm_bench.sweep.suite import Cell

MOST_SEEDS = 10_000


def names(what: str, text: str) -> list[str]:
    """Split a comma-separated list, each name once.

    Examples
    --------
    >>> names("--model", "eegnet, trace,eegnet")
    ['eegnet', 'trace']
    """
    found = list(dict.fromkeys(n.strip() for n in text.split(",") if n.strip()))
    if not found:
        raise SpecError(f"{what} is empty; give one name or several, as in a,b.")
    return found


def seeds(text: str) -> list[int]:
    """Read a count, or a list when there is a comma.

    Examples
    --------
    >>> seeds("3"), seeds("0,3"), seeds("7,")
    ([0, 1, 2], [0, 3], [7])
    """
    try:
        if "," in text:
            found = [int(part) for part in text.split(",") if part.strip()]
        else:
            found = list(range(min(int(text), MOST_SEEDS + 1)))
    except ValueError as error:
        raise SpecError(
            f"--seeds is '{text}'; expected a count such as 5, or a list such as 0,3 "
            f"(one seed alone: '3,')."
        ) from error
    if len(found) > MOST_SEEDS:
        raise SpecError(
            f"--seeds is '{text}': over {MOST_SEEDS:,} seeds. For one seed of that "
            f"number write '{text},'."
        )
    if not found or min(found) < 0:
        raise SpecError(
            f"--seeds is '{text}'; expected at least one seed of 0 or more."
        )
    return list(dict.fromkeys(found))


def pairs(settings: Sequence[str] | None) -> dict[str, Any]:
    """Read ``key=value`` words; values are plain YAML.

    Examples
    --------
    >>> pairs(["lr=1e-3", "clip=null", "F1=16"])
    {'lr': 0.001, 'clip': None, 'F1': 16}
    """
    import yaml

    found: dict[str, Any] = {}
    for text in settings or ():
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise SpecError(f"--set {text}: expected key=value, such as lr=0.001.")
        if key.strip() in found:
            raise SpecError(f"--set {key.strip()} is given twice.")
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise SpecError(
                f"--set {text}: the value is not YAML. Write a plain value, or quote."
            ) from error
        if isinstance(read, str):
            with contextlib.suppress(ValueError):  # YAML 1.1 takes 1e-3 for a word
                read = float(read)
        found[key.strip()] = read
    return found


def given(settings: Sequence[str] | None, epochs: int | None) -> dict[str, Any]:
    """Read ``key=value`` words, and ``--epochs`` beside them.

    Examples
    --------
    >>> given(["lr=1e-3"], 3)
    {'lr': 0.001, 'epochs': 3}
    """
    found = pairs(settings)
    if epochs is None:
        return found
    if "epochs" in found:
        raise SpecError(
            f"--epochs {epochs} and --set epochs={found['epochs']} are both given. "
            f"Leave one out."
        )
    return {**found, "epochs": epochs}


def only(cells: list[Cell], text: str | None) -> list[Cell]:
    """Keep the cells that a filter such as ``model=eegnet,dataset=eyes`` names.

    Raises
    ------
    SpecError
        If the filter is not of that form.
    UnknownName
        If it names what the suite does not have.
    """
    wanted: dict[str, set[str]] = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        key, equals, value = part.strip().partition("=")
        if key not in ("model", "dataset") or not equals:
            raise SpecError(
                f"--only {text}: found '{part.strip()}', expected model=NAME or "
                f"dataset=NAME, with commas between."
            )
        wanted.setdefault(key, set()).add(value)
    for key, values in wanted.items():
        known = {getattr(cell, key) for cell in cells}
        for value in values - known:
            raise UnknownName.among(f"{key} of this suite", value, known)
    return [c for c in cells if all(getattr(c, k) in v for k, v in wanted.items())]


def weights(text: str | None, models: Sequence[str]) -> str | dict[str, str] | None:
    """Read weights for all models, or model by model.

    Examples
    --------
    >>> weights("hub", ["labram"])
    'hub'
    >>> weights("biot=a.ckpt,labram=hub", ["biot", "labram"])
    {'biot': 'a.ckpt', 'labram': 'hub'}
    """
    if text is None or text.partition("=")[0].strip() not in models:
        return text
    found: dict[str, str] = {}
    for part in text.split(","):
        model, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            raise SpecError(
                f"--weights {text}: '{part}' is not MODEL=PATH. Write "
                f"MODEL=PATH,MODEL2=hub; a path with a comma needs its own command."
            )
        if model in found:
            raise SpecError(f"--weights names {model} twice.")
        found[model] = value
    return found


def format_of(out: Path) -> str:
    """Return the table format a file's ending asks for.

    Examples
    --------
    >>> format_of(Path("t.tex")), format_of(Path("t.html"))
    ('latex', 'html')
    """
    endings = {
        ".md": "md",
        ".tex": "latex",
        ".csv": "csv",
        ".html": "html",
        ".json": "json",
    }
    if out.suffix not in endings:
        raise SpecError(
            f"--out {out}: the ending tells no format; use {', '.join(endings)}, or "
            f"give --format."
        )
    return endings[out.suffix]
