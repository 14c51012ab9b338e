"""Which experts serve which source: the sets behind the paper's tables 20 and 21.

From: ``experts.csv``, or any weights of experts by source. To: the card, and whoever
compares a pre-training with one of ``balance_weight=0``.

Of each source the K experts of the greatest mean routed weight count (a block gives
an expert the selector's probability if it chose it, else nothing). An expert of one
layer is no kin of that number in another: sets are of one layer.

Letters: L layers, N experts, K experts active.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from eegfm_bench.errors import StoreError
from eegfm_bench.pretraining.journal import EXPERTS
from eegfm_bench.runs.pretrain import PretrainSpec

# Of the steps at which a source was noted, the last: what experts came to do.
LATE = 0.2


@dataclass(frozen=True, slots=True)
class ExpertSets:
    """Who serves whom, in one layer.

    Attributes
    ----------
    top : mapping of source to tuple of int
        Its experts, the one of most weight first.
    jaccard : mapping of (source, source) to float
        Of each pair of sets: what they share, over what they have together.
    universal : tuple of int
        Experts in the sets of all sources.
    unique : mapping of source to tuple of int
        Experts in its set and in no other.
    """

    top: Mapping[str, tuple[int, ...]]
    jaccard: Mapping[tuple[str, str], float]
    universal: tuple[int, ...]
    unique: Mapping[str, tuple[int, ...]]

    @property
    def mean_jaccard(self) -> float | None:
        """Mean over all pairs; None with one source."""
        values = list(self.jaccard.values())
        return sum(values) / len(values) if values else None

    def of_at_least(self, n_sources: int) -> tuple[int, ...]:
        """Return the experts in the sets of so many sources or more."""
        every = [expert for own in self.top.values() for expert in own]
        return tuple(sorted(e for e in set(every) if every.count(e) >= n_sources))


def expert_sets(weights: Mapping[str, Sequence[float]], n_active: int) -> ExpertSets:
    """Return the sets of the K experts of most weight, and what they share.

    Parameters
    ----------
    weights : mapping of source to sequence of float (N,)
        Mean weight of each expert of one layer. Of two of the same weight the lower
        number comes first; one without any weight is in no set.
    n_active : int
        K.

    Examples
    --------
    >>> found = expert_sets({"a": [0.5, 0.3, 0.2], "b": [0.1, 0.5, 0.4]}, n_active=2)
    >>> found.top, found.universal, found.unique
    ({'a': (0, 1), 'b': (1, 2)}, (1,), {'a': (0,), 'b': (2,)})
    >>> found.jaccard
    {('a', 'b'): 0.3333333333333333}
    """
    top = {}
    for source, own in weights.items():
        order = sorted(range(len(own)), key=lambda n: (-own[n], n))[:n_active]
        top[source] = tuple(n for n in order if own[n] > 0)
    sets = {source: set(own) for source, own in top.items()}
    return ExpertSets(
        top=top,
        jaccard={
            (one, other): len(sets[one] & sets[other]) / len(sets[one] | sets[other])
            for one, other in combinations(sets, 2)
            if sets[one] | sets[other]
        },
        universal=tuple(sorted(set.intersection(*sets.values()))) if sets else (),
        unique={
            source: tuple(
                sorted(own.difference(*(sets[s] for s in sets if s != source)))
            )
            for source, own in sets.items()
        },
    )


def routed_weights(folder: Path, spec: PretrainSpec) -> list[dict[str, list[float]]]:
    """Return each layer's mean routed weights (N,) by source, of the last steps.

    Parameters
    ----------
    folder : path
        Of a pre-training, with its ``experts.csv``.
    spec : PretrainSpec

    Returns
    -------
    layers : list of mapping of source to list of float
        Over the last fifth of the steps up to a source's last one that was noted;
        sources in the spec's order, without those that never were. Empty for a dense
        network.

    Raises
    ------
    StoreError
        If the table cannot be read, or has no weights.
    """
    path = folder / EXPERTS
    try:
        table = pd.read_csv(path)
        chose = [name for name in table if str(name).startswith("e")]
        gave = [f"w{str(name)[1:]}" for name in chose]
        last = table.groupby("source")["step"].transform("max")
        late = table[table["step"] >= (1 - LATE) * last]
        sums = late.groupby(["layer", "source"])[[*chose, *gave]].sum()
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{path} does not say which experts served whom ({error}). Put it back, or "
            f"pre-train anew in another folder."
        ) from error
    n_active = int(spec.options.get("active") or 1)
    layers = []
    for layer in sorted({at for at, _ in sums.index}):
        own = {}
        for source in (s.name for s in spec.sources):
            if (layer, source) in sums.index:
                row = sums.loc[(layer, source)]
                n_blocks = row[chose].sum() / n_active
                own[source] = (row[gave] / max(n_blocks, 1)).to_numpy(float).tolist()
        layers.append(own)
    return layers


def sets_in_words(layers: Sequence[Mapping[str, Sequence[float]]], k: int) -> str:
    """Return a section of the card: the last layer's sets, and a mean over layers.

    Parameters
    ----------
    layers : sequence of mapping of source to sequence of float (N,)
        As ``routed_weights`` has them.
    k : int
        How many experts make a set.
    """
    found = [expert_sets(own, k) for own in layers]
    last, weights = found[-1], layers[-1]
    lines = [
        f"| source | its {k} experts, mean weight | of no other source |",
        "|---" * 3 + "|",
    ]
    for source, top in last.top.items():
        named = ", ".join(f"{n} ({weights[source][n]:.3f})" for n in top)
        lines.append(f"| {source} | {named or '–'} | {_listed(last.unique[source])} |")
    said = [
        f"In the last layer, over the last {LATE:.0%} of steps; experts count from 0. "
        f"Of all these sources: {_listed(last.universal)}."
    ]
    if last.jaccard:
        pairs = "; ".join(
            f"{one} and {other} {value:.2f}"
            for (one, other), value in last.jaccard.items()
        )
        means = [s.mean_jaccard for s in found if s.mean_jaccard is not None]
        said.append(
            f"What two sets share (Jaccard): {pairs}. Mean of all pairs and layers: "
            f"{np.mean(means):.2f}."
        )
    return "\n".join(lines) + "\n\n" + " ".join(said)


def _listed(experts: Sequence[int]) -> str:
    return ", ".join(map(str, experts)) or "none"
