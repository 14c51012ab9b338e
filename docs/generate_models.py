"""Write a page for every model, from what its spec and its book of recipes say.

From: the registry of models and ``benchmarks/recipes``. To: ``docs/models``, which is
not edited by hand: ``tests/test_model_docs.py`` compares. No model is built.

    python docs/generate_models.py           # writes the pages
    python docs/generate_models.py --check   # exit status 1 if one is not current
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from eegfm_bench.models._spec import InputShape, ModelSpec, find_model, model_names
from eegfm_bench.runs.recipes import RecipeBook, recipe_book

FOLDER = Path(__file__).parent / "models"
INDEX = "README.md"
MADE = "<!-- Made by docs/generate_models.py (make docs). Do not edit. -->"

# Channels × time points at 200 Hz, of windows as datasets cut them.
SHAPES = (
    (20, 1000),
    (64, 800),
    (64, 600),
    (62, 200),
    (32, 2000),
    (32, 800),
    (16, 2000),
    (16, 1000),
    (6, 6000),
)
TRAINED_BY = {
    "gradient": "gradient descent",
    "closed_form": "solving for the head, in closed form or to convergence",
    "prior": "counting training labels",
}


def pages() -> dict[str, str]:
    """Return every page's text by its file name."""
    known = [find_model(name) for name in model_names()]
    return {INDEX: index(known), **{f"{spec.name}.md": page(spec) for spec in known}}


def index(known: Sequence[ModelSpec]) -> str:
    """Return the page that lists all models."""
    rows = []
    for spec in known:
        size = spec.sizes.get("paper")
        rows.append(
            (
                f"[`{spec.name}`]({spec.name}.md)",
                spec.title,
                "–" if size is None else f"{size.encoder:,}",
                "–" if size is None else f"{size.head:,}",
                "–" if size is None else f"{size.flops / 1e6:,.1f}",
                spec.licence,
                spec.reference,
            )
        )
    columns = (
        *("key", "model", "encoder weights", "head weights", "MFLOP a window"),
        *("licence", "paper"),
    )
    return _joined(
        MADE,
        "# Models",
        "Sizes are of the `paper` scale, for 16 channels × 2000 time points and two "
        "classes; operations are additions and multiplications of products, "
        "convolutions and attention in one forward pass.",
        _table(columns, rows),
        "Any classifier of braindecode is there as `braindecode:Class`, and one of "
        "your own as `torch:package.module:Class`. How to add one: "
        "[CONTRIBUTING](../../CONTRIBUTING.md).",
    )


def page(spec: ModelSpec) -> str:
    """Return one model's page."""
    book = recipe_book(spec.name)
    rate = "the dataset's own" if spec.rate_hz is None else f"{spec.rate_hz:g} Hz"
    about = (
        ("Key", f"`{spec.name}`"),
        ("Paper", spec.reference),
        ("Code", spec.code),
        ("Licence", spec.licence),
        ("Trained by", TRAINED_BY[spec.trained_by]),
        ("Rate", rate),
        ("Input scale", spec.input_scale),
        ("Channels", spec.channel_use),
        ("Pre-trained on", ", ".join(spec.pretrained_on) or "nothing here"),
        ("The seed", "matters" if spec.is_seeded else "changes nothing"),
    )
    return _joined(
        MADE,
        f"# {spec.title}",
        _summary(spec),
        _table(("", ""), about),
        "## Size",
        _sizes(spec),
        "## Differences from the source",
        _bullets(spec.differences) or "None.",
        "## Options",
        _options(spec),
        "## Recipe",
        _recipe(spec, book),
        *_stated(book),
        "## Shapes",
        _shapes(spec),
    )


def _summary(spec: ModelSpec) -> str:
    return (spec.builder.__doc__ or "").strip().split("\n\n")[0]


def _sizes(spec: ModelSpec) -> str:
    rows = [
        (scale, f"{s.encoder:,}", f"{s.head:,}", f"{s.flops / 1e6:,.2f}")
        for scale, s in spec.sizes.items()
    ]
    if not rows:
        return "Not declared yet."
    columns = ("scale", "encoder weights", "head weights", "MFLOP a window")
    note = "For 16 channels × 2000 time points and two classes."
    return f"{note}\n\n{_table(columns, rows)}"


def _options(spec: ModelSpec) -> str:
    paper, small = spec.options_at("paper"), spec.options_at("small")
    rows = [
        (f"`{key}`", _value(paper[key]), _other(paper[key], small[key]))
        for key in paper
    ]
    if not rows:
        return "None."
    note = "Changed with `--set option=value`."
    return f"{note}\n\n{_table(('option', 'paper', 'small'), rows)}"


def _recipe(spec: ModelSpec, book: RecipeBook | None) -> str:
    paper, small = (spec.recipes[s].model_dump() for s in ("paper", "small"))
    # One scale may lack a setting where the other is trained in another way.
    rows = [
        (
            f"`{key}`",
            _value(paper.get(key)),
            book.all[key][1] if book is not None and key in book.all else "",
            _other(paper.get(key), small.get(key)),
        )
        for key in {**paper, **small}
        # What LoRA adds is the same for all: docs/adapting.md has it.
        if key not in ("kind", "select") and not key.startswith("lora_")
    ]
    note = (
        "What is chosen on the validation part is the same for all models: AUROC for "
        "two classes, kappa for more."
    )
    if not rows:
        return f"Nothing to choose. {note}"
    return f"{note}\n\n{_table(('setting', 'paper', 'source', 'small'), rows)}"


def _stated(book: RecipeBook | None) -> Iterable[str]:
    """Say what sources state for some datasets, what is not followed, and who."""
    if book is None:
        return
    rows = [
        (
            "two classes" if where == "two_classes" else f"`{where}`",
            *(f"`{key}`", _value(value), source),
        )
        for where, stated in book.sections().items()
        if where != "all"
        for key, (value, source) in stated.items()
    ]
    if rows:
        yield "Stated for two classes, or for single datasets:"
        yield _table(("dataset", "setting", "paper", "source"), rows)
    if book.not_followed:
        yield "Stated, and not followed:"
        yield _bullets(f"{what}: {why}" for what, why in book.not_followed.items())
    yield "Sources:"
    yield _bullets(f"{short}: {long}" for short, long in book.sources.items())


def _shapes(spec: ModelSpec) -> str:
    refused = []
    for n_channels, n_times in SHAPES:
        channels = tuple(f"E{c + 1}" for c in range(n_channels))
        shape = InputShape(
            channels=channels, n_times=n_times, rate_hz=200.0, n_classes=2
        )
        reason = spec.skip(shape)
        if reason is not None:
            refused.append(f"{n_channels} × {n_times}: {reason}")
    if refused:
        return f"Not served at 200 Hz:\n\n{_bullets(refused)}"
    served = ", ".join(f"{n_channels} × {n_times}" for n_channels, n_times in SHAPES)
    return (
        f"Serves all shapes of the suite at 200 Hz (channels × time points): {served}."
    )


def _other(paper: Any, small: Any) -> str:
    """Write a value of the small scale only where it is another one."""
    return "" if type(paper) is type(small) and paper == small else _value(small)


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (tuple, list)):
        return ", ".join(_value(v) for v in value)
    return str(value)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", r"\|") for cell in line) + " |"
        for line in lines
    )


def _bullets(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _joined(*blocks: str) -> str:
    return "\n\n".join(block for block in blocks if block) + "\n"


def not_current(folder: Path = FOLDER) -> list[str]:
    """Return the pages that are absent, outdated, or of no model, by file name."""
    wanted = pages()
    found = {file.name: file.read_text(encoding="utf-8") for file in _files(folder)}
    return sorted(
        name for name in {*wanted, *found} if wanted.get(name) != found.get(name)
    )


def write(folder: Path = FOLDER) -> None:
    """Write all pages and remove those of models that are gone."""
    wanted = pages()
    folder.mkdir(exist_ok=True)
    for file in _files(folder):
        if file.name not in wanted:
            file.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text, encoding="utf-8")


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.md"))


def main() -> int:
    """Write the pages, or check them; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    if not parser.parse_args().check:
        write()
        return 0
    stale = not_current()
    if stale:
        sys.stderr.write(f"Not current: {', '.join(stale)}. Run 'make docs'.\n")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
