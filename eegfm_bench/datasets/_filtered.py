"""A dataset filtered as for pre-training: 0.5 to 75 Hz, and 60 Hz notched out.

From: a dataset, and a name such as ``eyes@filtered``. To: ``find_dataset``. Trace's
paper states one band for all that it is pre-trained on, while the sets it is scored on
each keep the filters of their own protocol, some of them none.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from eegfm_bench.errors import SpecError

if TYPE_CHECKING:
    from eegfm_bench.datasets._spec import DatasetSpec

MARK = "@filtered"
# trace.md of the paper's numbers: the band second hand, the notch likewise.
STEPS = (("bandpass", 0.5, 75.0), ("notch", 60.0))


def filtered(spec: DatasetSpec) -> DatasetSpec:
    """Return a dataset whose recordings are filtered after its own steps.

    Raises
    ------
    SpecError
        If it is a corpus, which has its own filters, or is filtered already.
    """
    if spec.is_corpus or MARK in spec.name:
        why = "a corpus has filters of its own" if spec.is_corpus else "it is already"
        raise SpecError(f"{spec.name} is not filtered again: {why}. Name it as it is.")

    def located(root: Path, _: DatasetSpec) -> DatasetSpec:
        # Steps that depend on the recordings are known now: these come after them.
        return filtered(spec.located(root))

    return replace(
        spec,
        name=f"{spec.name}{MARK}",
        title=f"{spec.title}, 0.5-75 Hz",
        aliases=(),
        recipe=replace(spec.recipe, steps=(*spec.recipe.steps, *STEPS)),
        locate=None if spec.locate is None else located,
    )
