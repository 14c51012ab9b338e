"""The pages of docs/ that are made, not written: one for each dataset, and an index.

From: every registered DatasetSpec, and its module's docstring. To: ``docs/datasets/``.
``make docs`` runs it; ``tests/test_docs.py`` fails where a page is not what would be
made. Another section, such as one of models, is another entry of ``SECTIONS``.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import eegfm_bench.datasets
from eegfm_bench import registry
from eegfm_bench.datasets._spec import DatasetSpec
from eegfm_bench.errors import listed
from eegfm_bench.fetching.sources import OPEN_BY_HAND, PUBLISHERS, steps_by_hand
from eegfm_bench.recordings.filters import STEPS, WINDOW_STEPS, Step
from eegfm_bench.symbols import PARTS

FOLDER = Path(__file__).parent
COMMAND = "make docs"
FOOTER = f"Generated from the package by `{COMMAND}`; edit the dataset's file instead."
UNKNOWN = "unknown"
PAST_END = {
    "refuse": "Every window lies wholly in its recording; one that does not is an "
    "error.",
    "stretch": "A window that runs past its recording's end is stretched to its full "
    "length, and counted.",
    "wrap": "A window that runs past an end goes on at the other end of the "
    "recording, and is counted.",
}
Table = Iterable[Iterable[object]]


def dataset_pages() -> dict[str, str]:
    """Return the pages of all datasets by file name, their index among them."""
    loaded, broken = registry.load_all(eegfm_bench.datasets)
    if broken:
        raise SystemExit(f"Datasets that cannot be imported have no pages: {broken}.")
    found = [
        (spec, module)
        for module in loaded.values()
        for spec in getattr(module, "DATASETS", ())
    ]
    found.sort(key=lambda pair: pair[0].name)
    pages = {page_of(spec): dataset_page(spec, module) for spec, module in found}
    return {"README.md": index_page([spec for spec, _ in found]), **pages}


# Folder below docs/ → function that returns its pages by file name.
SECTIONS: dict[str, Callable[[], dict[str, str]]] = {"datasets": dataset_pages}


def page_of(spec: DatasetSpec) -> str:
    """Return the name of a dataset's page."""
    return f"{spec.name.replace('@', '-')}.md"


def index_page(specs: list[DatasetSpec]) -> str:
    """Return the table of all datasets."""
    rows = [
        (
            f"[`{spec.name}`]({page_of(spec)})",
            spec.title,
            len(spec.classes) or "none: a corpus",
            _number(spec.facts.n_subjects),
            _number(spec.facts.in_all),
            f"{spec.recipe.window_s:g} s × {len(spec.recipe.channels)} channels, "
            f"{spec.recipe.rate_hz:g} Hz",
            "open" if _family(spec) in (*PUBLISHERS, *OPEN_BY_HAND) else "on request",
        )
        for spec in specs
    ]
    heads = ("key", "title", "classes", "subjects", "windows", "a window", "access")
    return _page(
        "# Datasets",
        "What every dataset is, how to get it, and what exactly is done to it. A "
        "variant (`name@variant`) is the same recordings by another protocol.",
        _table(heads, rows),
        "*Windows* are what a source states of the complete set, or what was computed "
        "from its headers and annotations; each page says which.",
    )


def dataset_page(spec: DatasetSpec, module: ModuleType) -> str:
    """Return all there is to say about one dataset."""
    return _page(
        f"# {spec.title}",
        *_opening(spec, module),
        "## Getting it",
        *_getting(spec),
        "## What is done to the recordings",
        *_recipe(spec),
        "## Windows and labels",
        *_windows(spec),
        "## Split",
        *_split(spec),
        "## Counts",
        *_counts(spec),
        *_remarks(spec),
    )


def _opening(spec: DatasetSpec, module: ModuleType) -> Iterator[str]:
    first, _, rest = inspect.cleandoc(module.__doc__ or "").partition("\n")
    yield first.replace("``", "`")
    known = {
        "Key": f"`{spec.name}`",
        "Also called": ", ".join(f"`{alias}`" for alias in spec.aliases),
        "See also": ", ".join(
            f"[`{other.name}`]({page_of(other)})"
            for other in module.DATASETS
            if other is not spec
        ),
        "Classes": ", ".join(f"{k} {name}" for k, name in enumerate(spec.classes)),
        **(_no_scores() if spec.is_corpus else _scores(spec)),
        "Protocol": f"`{spec.protocol()}`",
        "Reference": spec.reference,
    }
    yield _bullets(f"**{key}**: {text}" for key, text in known.items() if text)
    if rest.strip():
        yield rest.strip().replace("``", "`")


def _scores(spec: DatasetSpec) -> dict[str, str]:
    return {
        "Main score": f"`{spec.main_score}`, which also selects on the validation part",
        "Class weights at the paper scale": spec.class_weights or "the model's own",
    }


def _no_scores() -> dict[str, str]:
    return {
        "Use": "a corpus for pre-training (`eegfm-bench pretrain`): it has no classes, "
        "and `run` and `sweep` refuse it"
    }


def _getting(spec: DatasetSpec) -> Iterator[str]:
    yield _bullets(
        (f"**Licence**: {spec.licence}", f"**Files go to**: `<root>/{spec.folder}/`")
    )
    yield spec.access
    publisher = PUBLISHERS.get(_family(spec))
    if publisher is None:
        why = (
            "It is open, and too large for `fetch`."
            if _family(spec) in OPEN_BY_HAND
            else "The publisher has to be asked, so `fetch` cannot bring it."
        )
        yield f"{why} Step by step:"
        steps = steps_by_hand(spec, Path("<root>"))
        yield "\n".join(f"{n}. {step}" for n, step in enumerate(steps, start=1))
    else:
        size = publisher.about_gb and f", about {publisher.about_gb:g} GB"
        yield f"From {publisher.name}{size or ''}, taken up where it was broken off:"
        yield _shell(f"eegfm-bench fetch {spec.name} --data ROOT")
    yield (
        "Whether it is all there, from headers and annotations alone, held against "
        "the counts below:"
    )
    yield _shell(f"eegfm-bench verify {spec.name} --data ROOT")


def _recipe(spec: DatasetSpec) -> Iterator[str]:
    recipe = spec.recipe
    whole = [f"Pick {len(recipe.channels)} channels, in this order, in µV."]
    alone = (
        f"Of every {recipe.stretch_s:g} s by themselves: " if recipe.stretch_s else ""
    )
    whole += [f"{alone}{_in_words(step, STEPS)}" for step in recipe.steps]
    whole.append("Cut the windows.")
    whole += [
        f"Of every window by itself: {_in_words(step, WINDOW_STEPS)}"
        for step in recipe.window_steps
    ]
    if recipe.keep_below_uv is not None:
        whole.append(
            f"Leave out windows in which any value reaches {recipe.keep_below_uv:g} "
            f"µV. Which they are is known when they are cut: `verify` counts those "
            f"planned, `prepare` says how many of them were kept."
        )
    yield "\n".join(f"{n}. {step}" for n, step in enumerate(whole, start=1))
    yield "Channels: " + ", ".join(recipe.channels) + "."
    yield (
        "Nothing else is done: values are stored in µV, not scaled. For a model that "
        f"listens at another rate than {recipe.rate_hz:g} Hz, resampling to that rate "
        "comes last, instead of any above."
    )


def _in_words(step: Step, known: Mapping[str, Callable[..., object]]) -> str:
    """Say what a step does, by its docstring, with its exact values."""
    name, *values = step
    function = known[str(name)]
    names = list(inspect.signature(function).parameters)[-len(values) :]
    exact = zip(names, values, strict=True) if values else ()
    call = f"`{name}({', '.join(f'{k}={value}' for k, value in exact)})`"
    return f"{call}: {_first_line(function)}"


def _windows(spec: DatasetSpec) -> Iterator[str]:
    recipe = spec.recipe
    stride_s = f"{recipe.stride_s:g} s"
    lines = [
        f"**Length**: {recipe.window_s:g} s, {recipe.n_times} time points at "
        f"{recipe.rate_hz:g} Hz",
        f"**Stride**: {stride_s}, where windows lie on a grid",
        f"**Label**: {recipe.label_rule}",
        f"**At the ends**: {PAST_END[recipe.past_end]}",
    ]
    if recipe.sequence > 1:
        lines.append(
            f"**Sequence**: {recipe.sequence} consecutive windows are judged together"
        )
    yield _bullets([*lines, f"**Recipe version**: {recipe.version}"])


def _split(spec: DatasetSpec) -> Iterator[str]:
    split = spec.split
    if spec.is_corpus:
        yield f"None: {split.source}."
        return
    rows = []
    for part in PARTS:
        names = getattr(split, part)
        rows.append((part, len(names), listed(names, most=len(names))))
    yield f"By {split.unit}, written out; never drawn at run time."
    yield _table(("part", "number", f"{split.unit}s"), rows)
    if spec.everyone and spec.everyone != split.names:
        everyone = listed(spec.everyone, most=len(spec.everyone))
        yield f"Subjects, {len(spec.everyone)}: {everyone}."
    yield f"Source: {split.source}."


def _counts(spec: DatasetSpec) -> Iterator[str]:
    facts = spec.facts
    rows = []
    for part in PARTS:
        by_class = facts.windows_by_class.get(part, (None,) * len(spec.classes))
        rows.append((part, *map(_number, (facts.windows.get(part), *by_class))))
    every = [facts.windows_by_class.get(part) for part in PARTS]
    sums = [
        None if None in every else sum(n[k] for n in every if n)
        for k in range(len(spec.classes))
    ]
    rows.append(("**all**", *map(_number, (facts.in_all, *sums))))
    yield _bullets(
        (
            f"**Subjects**: {_number(facts.n_subjects)}",
            f"**Recordings**: {_number(facts.n_recordings)}",
        )
    )
    yield _table(("windows", "all classes", *spec.classes), rows)
    yield f"Source: {facts.source}. What no source states is {UNKNOWN}."
    for release, counts in facts.others.items():
        told = ", ".join(f"{part} {_number(n)}" for part, n in counts.items())
        yield f"{release}: {told}."


def _remarks(spec: DatasetSpec) -> Iterator[str]:
    told = _first_line(spec.oddities)
    if spec.notes or told:
        yield "## To be known"
        yield _bullets(spec.notes)
    if told:
        yield f"`verify` names odd recordings one by one. From the code: {told}"


def _page(*blocks: str) -> str:
    """Put blocks together, with the line on where the page comes from at the end."""
    text = "\n\n".join(_plain(block) for block in blocks if block)
    return f"{text}\n\n---\n\n{FOOTER}\n"


def _plain(block: str) -> str:
    """Keep angle brackets outside of code from being taken for HTML."""
    if block.startswith("```"):
        return block
    pieces = block.split("`")
    pieces[::2] = [piece.replace("<", "&lt;") for piece in pieces[::2]]
    return "`".join(pieces)


def _table(heads: Iterable[str], rows: Table) -> str:
    """Write a Markdown table."""
    every = [list(map(str, row)) for row in (heads, *rows)]
    every.insert(1, ["---"] * len(every[0]))
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
        for row in every
    )


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _shell(command: str) -> str:
    return f"```\n{command}\n```"


def _number(n: int | None) -> str:
    return UNKNOWN if n is None else f"{n:,}"


def _family(spec: DatasetSpec) -> str:
    return spec.name.partition("@")[0]


def _first_line(function: Callable[..., object]) -> str:
    """Return a function's first line of documentation, also of one in a partial."""
    said = inspect.getdoc(getattr(function, "func", function)) or ""
    return " ".join(said.partition("\n\n")[0].split()).replace("``", "`")


def pages() -> dict[Path, str]:
    """Return every generated page by its path below docs/."""
    return {
        Path(folder, name): text
        for folder, made in SECTIONS.items()
        for name, text in made().items()
    }


def differing(folder: Path = FOLDER) -> list[Path]:
    """Return the pages that are absent, not what would be made, or of nothing."""
    made = pages()
    here = {p.relative_to(folder) for s in SECTIONS for p in (folder / s).glob("*.md")}
    wrong = {
        path
        for path, text in made.items()
        if path not in here or (folder / path).read_text(encoding="utf-8") != text
    }
    return sorted(wrong | (here - made.keys()))


def write(folder: Path = FOLDER) -> list[Path]:
    """Write the pages that differ and remove those of nothing; return which."""
    made, changed = pages(), differing(folder)
    for path in changed:
        target = folder / path
        if path in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(made[path], encoding="utf-8")
        else:
            target.unlink()
    return changed


if __name__ == "__main__":
    for page in write():
        sys.stdout.write(f"docs/{page}\n")
