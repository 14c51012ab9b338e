"""Whether a run's weights have met people of the dataset they are scored on.

From: what a record says of its weights. To: a mark and a note in measured tables.
Whoever is scored was never seen: ``weights/pretrained.py`` refuses that where it can be
known. This is about the dataset as such: people of its training part, or a corpus that
holds it, seen without labels before training began.
"""

from __future__ import annotations

from dataclasses import dataclass

from eegfm_bench.datasets._folds import unfolded
from eegfm_bench.errors import listed
from eegfm_bench.report._cells import Regime
from eegfm_bench.runs.record import RunRecord
from eegfm_bench.runs.spec import SCRATCH

# Datasets here that are recordings of the same people.
SAME_PEOPLE = (
    frozenset({"eyes", "physionet_mi", "moabb:PhysionetMI"}),  # EEGMMIDB
    frozenset({"tueg", "tuev"}),  # Temple University Hospital
)
# Corpora as their authors name them, and which datasets here they hold.
HOLDS: dict[str, tuple[str, ...]] = {
    "TUEG": ("tuev", "tueg"),
    "TUEV (train)": ("tuev",),
    "CHB-MIT (train)": ("chbmit",),
    "EEG Motor Movement/Imagery": ("physionet_mi", "eyes", "moabb:PhysionetMI"),
    **dict.fromkeys(("MGH EEG (PREST)", "SHHS", "IIIC Seizure (train)"), ()),
    **dict.fromkeys(("BCI Competition IV-1", "Emobrain", "Grasp and Lift"), ()),
    **dict.fromkeys(("Inria BCI Challenge", "Raw EEG Data", "SPIS Resting State"), ()),
    **dict.fromkeys(("Resting State EEG Data", "Siena Scalp EEG"), ()),
    **dict.fromkeys(("SEED", "SEED-IV", "SEED-GER", "SEED-FRA"), ()),
    **dict.fromkeys(("Target Versus Non-Target",), ()),
    **dict.fromkeys(("recordings of the authors' own",), ()),
    **dict.fromkeys(("TUAR", "TUEP", "TUSZ", "TUSL", "TUAB (train)"), ()),
}
# Corpora of the same place, which may share people with a dataset: nobody says.
MAY_SHARE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("TUAR", "TUEP", "TUSZ", "TUSL", "TUAB (train)"), ("tuev",)),
    **dict.fromkeys(("SEED", "SEED-IV", "SEED-GER", "SEED-FRA"), ("seedv",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """Whether weights have met a dataset's people, and why that is said."""

    regime: Regime
    why: str


def met_before(record: RunRecord) -> Met | None:
    """Say whether the weights of a run have met people of its dataset.

    Parameters
    ----------
    record : RunRecord

    Returns
    -------
    met : Met or None
        None of a run from scratch, and of one that failed before its weights were
        read.
    """
    report = record.weights
    if record.spec.init == SCRATCH or report is None:
        return None
    family = unfolded(record.spec.dataset.name).partition("@")[0]
    if report.pretrained is not None:
        return _met_sources(family, report.pretrained.sources)
    if report.corpora:
        return _met_corpora(family, report.corpora)
    return Met(regime="unknown", why="nothing says what these weights have seen")


def _met_sources(family: str, sources: tuple[str, ...]) -> Met:
    """Judge weights of ``pretrain``, which name their sources: "NAME (protocol …"."""
    names = [source.partition(" (")[0] for source in sources]
    families = {name: unfolded(name).partition("@")[0] for name in names}
    same = next((g for g in SAME_PEOPLE if family in g), frozenset({family}))
    shared = [name for name, of in families.items() if of in same]
    if shared:
        return Met(regime="seen", why=f"pre-trained on people of {listed(shared)}")
    return Met(regime="unseen", why=f"pre-trained on {listed(names)}")


def _met_corpora(family: str, corpora: tuple[str, ...]) -> Met:
    """Judge public weights by the corpora that their authors name."""
    holding = [name for name in corpora if family in HOLDS.get(name, ())]
    if holding:
        return Met(regime="seen", why=f"pre-trained on {listed(holding)}")
    doubtful = [
        name
        for name in corpora
        if name not in HOLDS or family in MAY_SHARE.get(name, ())
    ]
    if doubtful:
        why = f"nobody says whether {listed(doubtful)} has people of this dataset"
        return Met(regime="unknown", why=why)
    return Met(regime="unseen", why=f"pre-trained on {listed(corpora, most=3)}")
