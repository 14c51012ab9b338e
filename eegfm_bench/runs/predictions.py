"""What a model said about every test window, with who and where it was.

From: ``training.fit``. To: ``predictions.parquet`` beside the record, so that
any later score, interval or card needs no retraining.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from eegfm_bench.errors import StoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMNS = ("subject", "session", "recording", "onset_s", "label")


def predictions_frame(
    index: pd.DataFrame, scores_NK: NDArray[np.float64]
) -> pd.DataFrame:
    """Join window identities with class scores.

    Parameters
    ----------
    index : DataFrame (N rows)
        Rows of the window store's index, in the order of the scores.
    scores_NK : array (N, K)
        Class probabilities, float64.

    Returns
    -------
    frame : DataFrame (N rows)
        ``subject session recording onset_s label score_0 … score_{K-1}``.
    """
    frame = index.loc[:, list(COLUMNS)].reset_index(drop=True)
    for k in range(scores_NK.shape[1]):
        frame[f"score_{k}"] = scores_NK[:, k]
    return frame


def read_predictions(path: Path) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Read predictions back as (identities, scores (N, K))."""
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"The predictions {path} cannot be read ({error}). Run the cell again "
            f"with --force."
        ) from error
    names = [name for name in frame.columns if name.startswith("score_")]
    return frame.loc[:, list(COLUMNS)], frame[names].to_numpy(np.float64)
