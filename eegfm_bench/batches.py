"""Windows become batches: one DataModule for every dataset.

From: WindowStore. To: ``LitClassifier``, or any Lightning user. A batch is
(x (B, C, T) in µV, y (B,)); its order comes from the seed alone, and only the
training part is shuffled. Where features stand for windows, x is (B, D).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from eegfm_bench.datasets._prepare import prepare
from eegfm_bench.errors import DataMissing, SpecError, listed
from eegfm_bench.symbols import PARTS
from eegfm_bench.windows.store import WindowStore

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Batch(NamedTuple):
    """Windows x (B, C, T) in µV, float32, and their labels y (B,), int64.

    Where windows are judged in sequences of S: x (B, S, C, T) and y (B, S).
    """

    x: torch.Tensor
    y: torch.Tensor


class Takes(Protocol):
    """What gives rows of values (B, ...), float32: a store, or cached features."""

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return these rows, in this order."""
        ...


class _Windows(Dataset[Batch]):
    """One part of a store, fetched a whole batch at a time.

    An item is a window, or as many consecutive ones as are judged together.
    """

    def __init__(
        self, source: Takes, labels: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> None:
        self._source = source
        self._rows = rows
        self._y = torch.from_numpy(labels[rows])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, batch: NDArray[np.int64]) -> Batch:
        rows = self._rows[batch]
        x = torch.from_numpy(self._source.take(rows.ravel()))
        return Batch(x.unflatten(0, rows.shape), self._y[torch.from_numpy(batch)])


class _SeededBatches(Sampler["NDArray[np.int64]"]):
    """Batches of positions: shuffled anew each epoch from the seed, or in order."""

    def __init__(self, n: int, batch_size: int, seed: int | None) -> None:
        self._n = n
        self._batch_size = batch_size
        self._random = None if seed is None else np.random.default_rng(seed)

    def __len__(self) -> int:
        return -(-self._n // self._batch_size)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        order = np.arange(self._n)
        if self._random is not None:
            self._random.shuffle(order)
        for start in range(0, self._n, self._batch_size):
            yield order[start : start + self._batch_size]


class EEGDataModule(L.LightningDataModule):
    """The three parts of a window store as Lightning loaders.

    Parameters
    ----------
    store : WindowStore
        Prepared windows.
    batch_size : int
        Windows per batch; the last batch of a part may be smaller. Of sequences,
        as many whole ones as these windows make, and at least one.
    seed : int
        Orders the training batches.
    train_rows : array, optional
        Rows of the training part to use, of sequences whole ones; else all of it.
    features : optional
        Gives rows of values (B, D) that stand for the windows, each judged by itself.
    """

    def __init__(
        self,
        store: WindowStore,
        *,
        batch_size: int = 64,
        seed: int = 0,
        train_rows: NDArray[np.int64] | None = None,
        features: Takes | None = None,
    ):
        super().__init__()
        if batch_size < 1:
            raise SpecError(
                f"A batch of {batch_size} windows is none; choose 1 or more."
            )
        self.store = store
        self.batch_size = batch_size
        self.seed = seed
        self._train_rows = train_rows
        self._source: Takes = store if features is None else features
        self.sequence = store.sequence if features is None else 1

    @classmethod
    def from_name(
        cls,
        name: str,
        *,
        data: str | Path | None = None,
        allow_partial: bool = False,
        rate_hz: float | None = None,
        batch_size: int = 64,
        seed: int = 0,
    ) -> EEGDataModule:
        """Prepare a dataset by its key and wrap its store.

        See ``eegfm_bench.prepare`` for ``data``, ``allow_partial``, ``rate_hz``
        and what is raised.
        """
        store = prepare(name, data=data, allow_partial=allow_partial, rate_hz=rate_hz)
        return cls(store, batch_size=batch_size, seed=seed)

    def refuse_empty_parts(self) -> None:
        """Raise when a part has no windows.

        Raises
        ------
        DataMissing
            Names the part and the subjects it would come from.
        """
        for part in PARTS:
            if len(self.rows(part)) == 0:
                absent = tuple(self.store.manifest["absent_subjects"])
                raise DataMissing(
                    f"{self.store.manifest['dataset']} has no windows in its {part} "
                    f"part, so nothing can be run. Absent subjects: {listed(absent)}. "
                    f"Add subjects of that part to the data root."
                )

    def rows(self, part: str) -> NDArray[np.int64]:
        """Return the store's rows of a part; of training, those that are used."""
        if part == "train" and self._train_rows is not None:
            return self._train_rows
        return self.store.rows(part)

    def labels(self, part: str) -> NDArray[np.int64]:
        """Return the labels (N,) of a part's windows, in order."""
        return self.store.index["label"].to_numpy(np.int64)[self.rows(part)]

    def counts(self) -> dict[str, int]:
        """Return the number of windows used in each part."""
        return {part: len(self.rows(part)) for part in PARTS}

    def class_counts(self, part: str = "train") -> NDArray[np.int64]:
        """Return the number of windows (K,) of each class in a part."""
        n_classes = len(self.store.manifest["classes"])
        return np.bincount(self.labels(part), minlength=n_classes)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled training batches."""
        return self._loader("train", seed=self.seed)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return validation batches, in order."""
        return self._loader("val", seed=None)

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return test batches, in order."""
        return self._loader("test", seed=None)

    def in_order(self, part: str) -> DataLoader[Batch]:
        """Return a part's batches in the order of the store's index."""
        return self._loader(part, seed=None)

    def _loader(self, part: str, *, seed: int | None) -> DataLoader[Batch]:
        labels = self.store.index["label"].to_numpy(np.int64)
        rows = self.rows(part)
        if self.sequence > 1:  # a part is whole sequences: the plan sees to it
            rows = rows.reshape(-1, self.sequence)
        windows = _Windows(self._source, labels, rows)
        # The sampler hands the dataset whole batches: a read of the file for each,
        # no worker processes, which would only copy what the system already has.
        batch_size = max(self.batch_size // self.sequence, 1)
        batches = _SeededBatches(len(windows), batch_size, seed)
        return DataLoader(windows, sampler=batches, batch_size=None)
