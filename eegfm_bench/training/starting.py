"""Where a model starts: from its own random weights, or from a file of others.

From: a spec that names weights, and where they lie. To: ``fit``: the model with them in
it, and what was loaded, for the record.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from eegfm_bench.batches import EEGDataModule
from eegfm_bench.errors import WeightsError
from eegfm_bench.models._spec import ModelSpec
from eegfm_bench.runs.spec import SCRATCH, RunSpec
from eegfm_bench.runs.weights import LoadReport
from eegfm_bench.weights.files import read_weights
from eegfm_bench.weights.loading import load

if TYPE_CHECKING:
    from torch import nn

# Windows that hold the loaded encoder against its random start.
N_WINDOWS = 8


def start_from(
    model: nn.Module,
    known: ModelSpec,
    spec: RunSpec,
    weights: Path | None,
    some_x: Tensor,
) -> LoadReport | None:
    """Load the weights a spec names; None where it names none.

    Parameters
    ----------
    model : nn.Module
        On the CPU; its encoder is overwritten.
    known : ModelSpec
    spec : RunSpec
        ``init`` names the weights by their bytes, and whether they may be partial.
    weights : path or None
    some_x : tensor (B, C, T) or (B, S, C, T)
        Windows in µV on which the loaded encoder must differ from its random start.

    Raises
    ------
    WeightsError
        If the file is missing, not the one named, or does not load as named.
    """
    if spec.init == SCRATCH:
        if weights is not None:
            raise WeightsError(
                f"{weights.name} is given, and the spec trains {spec.model} from "
                f"scratch (init). Make the spec with these weights, or leave them out."
            )
        return None
    if weights is None:
        raise WeightsError(
            f"The spec starts {spec.model} from {spec.init}, and no file is given. Run "
            f"the same command with --weights."
        )
    file = read_weights(weights)
    if f"weights-{file.sha256[:12]}" != spec.init.partition("+")[0]:
        raise WeightsError(
            f"{weights.name} has the SHA-256 {file.sha256[:12]}…; the spec starts from "
            f"{spec.init}. The file changed since the spec was written: run again."
        )
    report = load(
        model,
        known,
        file,
        allow_partial=spec.init.endswith("+partial"),
        probe_x=some_x,
    )
    if report.weights_id != spec.init:
        raise WeightsError(
            f"{weights.name} loads as {report.weights_id}, not {spec.init} as said. "
            f"What is known of its layout changed since the spec was made: run again."
        )
    return report


def a_few_windows(data: EEGDataModule) -> Tensor:
    """Return windows in µV from all over the training part, as the model takes them."""
    rows = data.rows("train").reshape(-1, data.sequence)
    n = max(N_WINDOWS // data.sequence, 1)
    chosen = rows[np.linspace(0, len(rows) - 1, min(n, len(rows)), dtype=np.int64)]
    x = torch.from_numpy(data.store.take(chosen.ravel()))
    return x if data.sequence == 1 else x.unflatten(0, chosen.shape)
