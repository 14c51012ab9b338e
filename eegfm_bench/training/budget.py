"""A budget of labels: which training windows a run may learn from.

From: a store and ``Labels``. To: rows of the training part for ``EEGDataModule``, and
what the record says of them. The draw depends on the windows, the seed and the budget
alone, so that all models learn from the same ones; validation and test stay whole.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.errors import SpecError
from eegfm_bench.runs.labels import Labels, parse_labels
from eegfm_bench.runs.record import LabelBudget
from eegfm_bench.windows.store import WindowStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]


def train_rows(store: WindowStore, labels: str | None, seed: int) -> Rows:
    """Return the rows of the training part that a budget leaves, in their order.

    Raises
    ------
    SpecError
        If there are fewer windows than asked for.
    """
    rows = store.rows("train")
    if labels is None:
        return rows
    index = store.index.iloc[rows]
    drawn = draw(
        index["label"].to_numpy(np.int64),
        index["subject"].to_numpy(np.str_),
        parse_labels(labels),
        seed,
        sequence=store.sequence,
        classes=store.manifest["classes"],
    )
    return rows[drawn]


def draw(
    label_N: Rows,
    subject_N: NDArray[np.str_],
    labels: Labels,
    seed: int,
    *,
    sequence: int = 1,
    classes: list[str] | None = None,
) -> Rows:
    """Draw windows of the training part.

    Parameters
    ----------
    label_N, subject_N : arrays (N,)
        Of every training window, in the store's order.
    labels : Labels
    seed : int
    sequence : int
        Windows that are judged together and thus drawn together.
    classes : list of str, optional
        Names for messages.

    Returns
    -------
    at : array (M,)
        Positions among the N, ascending.

    Raises
    ------
    SpecError
        If a class has fewer windows than asked for; says how many.

    Notes
    -----
    A share is held class by class, and within a class subject by subject: each gets
    its share rounded down, and what is left goes to the largest remainders. Every class
    that is there keeps at least one window. So many of each class are spread over the
    subjects that have it, as evenly as they allow.

    Of sequences, whole ones are drawn: a share of each subject's; or, one subject
    after the other, those that hold a class still short, until none is. A class can
    then have more windows than asked for.

    Examples
    --------
    >>> label = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    >>> subject = np.array(list("aabbaabb"))
    >>> at = draw(label, subject, Labels(per_class=2), seed=0)
    >>> label[at].tolist(), sorted(set(subject[at].tolist()))
    ([0, 0, 1, 1], ['a', 'b'])
    """
    text = hashlib.sha256(str(labels).encode()).digest()
    random = np.random.default_rng([seed, int.from_bytes(text[:8], "big")])
    names = classes or [str(k) for k in range(int(label_N.max(initial=0)) + 1)]
    if labels.per_class is not None:
        _refuse_more_than_there_are(label_N, labels, names)
    if sequence > 1:
        chosen = _sequences(label_N, subject_N, labels, sequence, random)
        return (chosen[:, None] * sequence + np.arange(sequence)).ravel()
    drawn = []
    n_K = np.bincount(label_N, minlength=len(names))
    for k, n in enumerate(_per_class(n_K, labels, random)):
        at = np.flatnonzero(label_N == k)
        even = labels.per_class is not None
        drawn.append(at[_over_subjects(subject_N[at], int(n), random, even=even)])
    return np.sort(np.concatenate(drawn))


def label_budget(
    store: WindowStore, labels: str | None, rows: Rows
) -> LabelBudget | None:
    """Say which training windows were used, for the record."""
    if labels is None:
        return None
    classes = store.manifest["classes"]

    def by_class(at: Rows) -> dict[str, int]:
        n_K = np.bincount(
            store.index["label"].to_numpy(np.int64)[at], minlength=len(classes)
        )
        return {name: int(n) for name, n in zip(classes, n_K, strict=True)}

    every = store.rows("train")
    subjects = store.index["subject"]
    return LabelBudget(
        asked=labels,
        windows=by_class(rows),
        of_windows=by_class(every),
        subjects=subjects.iloc[rows].nunique(),
        of_subjects=subjects.iloc[every].nunique(),
    )


def _refuse_more_than_there_are(
    label_N: Rows, labels: Labels, names: list[str]
) -> None:
    n_K = np.bincount(label_N, minlength=len(names))
    short = [k for k in range(len(names)) if n_K[k] < (labels.per_class or 0)]
    if short:
        there = ", ".join(f"{names[k]} has {n_K[k]}" for k in short)
        raise SpecError(
            f"--labels {labels} asks for {labels.per_class} training windows of each "
            f"class; {there}. Ask for {min(n_K[k] for k in short)}/class or fewer, or "
            f"for a share, such as 10%."
        )


def _per_class(n_K: Rows, labels: Labels, random: np.random.Generator) -> Rows:
    """Return how many windows of each class to draw."""
    if labels.per_class is not None:
        return np.full(len(n_K), labels.per_class)
    assert labels.percent is not None
    there = n_K > 0
    share_K = n_K * labels.percent / 100
    # Half a window counts as one, whatever the machine makes of the last digit.
    total = max(int(np.floor(share_K.sum() + 0.5 + 1e-9)), int(there.sum()))
    got_K = largest_remainders(share_K, total, n_K, random)
    for k in np.flatnonzero(there & (got_K == 0)):
        got_K[int(np.argmax(got_K))] -= 1  # total ≥ classes: someone has two
        got_K[k] = 1
    return got_K


def _over_subjects(
    subject_M: NDArray[np.str_], n: int, random: np.random.Generator, *, even: bool
) -> Rows:
    """Return positions of n windows of one class, spread over subjects."""
    names, whose_M = np.unique(subject_M, return_inverse=True)
    n_S = np.bincount(whose_M, minlength=len(names))
    got_S = (
        _evenly(n, n_S, random)
        if even
        else largest_remainders(n_S * n / max(n_S.sum(), 1), n, n_S, random)
    )
    drawn = [
        random.choice(np.flatnonzero(whose_M == s), size=int(got_S[s]), replace=False)
        for s in range(len(names))
    ]
    return np.concatenate([*drawn, np.empty(0, np.int64)]).astype(np.int64)


def largest_remainders(
    share: NDArray[np.float64], total: int, most: Rows, random: np.random.Generator
) -> Rows:
    """Round shares to whole numbers of a given sum, none above ``most``.

    Every share is rounded down; what is left goes to the largest remainders, of equal
    ones to those that the generator picks.

    Examples
    --------
    >>> largest_remainders(np.array([1.6, 1.3, 0.1]), 3, np.array([4, 4, 4]),
    ...                    np.random.default_rng(0)).tolist()
    [2, 1, 0]
    """
    got = np.minimum(np.floor(share + 1e-9).astype(np.int64), most)
    order = random.permutation(len(share))
    # Rounded, so that equal remainders are equal on every machine.
    rest = np.round(share - got, 9)
    order = order[np.argsort(-rest[order], kind="stable")]
    while got.sum() < total:
        for i in order[got[order] < most[order]][: total - int(got.sum())]:
            got[i] += 1
    return got


def _evenly(n: int, most: Rows, random: np.random.Generator) -> Rows:
    """Deal n out one by one, round after round, none getting more than it has."""
    got = np.zeros_like(most)
    while n:
        open_S = random.permutation(np.flatnonzero(got < most))[:n]
        got[open_S] += 1
        n -= len(open_S)
    return got


def _sequences(
    label_N: Rows,
    subject_N: NDArray[np.str_],
    labels: Labels,
    sequence: int,
    random: np.random.Generator,
) -> Rows:
    """Return the places of whole sequences, ascending."""
    label_QS = label_N.reshape(-1, sequence)
    subject_Q = subject_N[::sequence]
    n_K = np.bincount(label_N)
    if labels.percent is not None:
        share = len(label_QS) * labels.percent / 100
        n = max(int(np.floor(share + 0.5 + 1e-9)), 1)
        drawn = set(_over_subjects(subject_Q, n, random, even=False).tolist())
        need_K = (n_K > 0).astype(np.int64)
    else:
        drawn = set()
        need_K = np.full(len(n_K), labels.per_class or 0)
    have_K = np.bincount(
        label_QS[sorted(drawn)].ravel().astype(np.int64), minlength=len(n_K)
    )
    while (have_K < need_K).any():
        for name in random.permutation(np.unique(subject_Q)):
            short = np.flatnonzero(have_K < need_K)
            holds_Q = np.isin(label_QS, short).any(axis=1) & (subject_Q == name)
            left = [q for q in np.flatnonzero(holds_Q).tolist() if q not in drawn]
            if left:
                q = int(random.choice(left))
                drawn.add(q)
                have_K += np.bincount(label_QS[q], minlength=len(n_K))
    return np.array(sorted(drawn), np.int64)
