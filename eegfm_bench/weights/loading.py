"""Weights go into a model, all of them or in plain sight, and are proven to be there.

From: a built model and a file. To: the same model, its encoder as in the file, and a
report for the record. Until all is well, nothing is written into the model.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eegfm_bench.errors import WeightsError
from eegfm_bench.models._spec import InputShape, ModelSpec, find_model, model_names
from eegfm_bench.models._weights import Weights
from eegfm_bench.runs.weights import LoadReport
from eegfm_bench.weights.files import WeightsFile
from eegfm_bench.weights.matching import (
    Match,
    alone,
    encoder_state,
    has_all_names,
    match,
)

__all__ = ["Match", "encoder_state", "load", "match", "refusal"]

# Features that differ by less, in their own deviations, are the random start's.
LEAST_DIFFERENCE = 1e-3
MOST_NAMES = 4
# For want of a better one: the 10-20 system and ten seconds.
USUAL = InputShape(
    channels=(
        *("Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T3", "C3", "Cz"),
        *("C4", "T4", "T5", "P3", "Pz", "P4", "T6", "O1", "O2"),
    ),
    n_times=2000,
    rate_hz=200.0,
    n_classes=2,
)
PARTIAL = "--allow-partial-weights"


def load(
    model: nn.Module,
    spec: ModelSpec,
    file: WeightsFile,
    *,
    allow_partial: bool = False,
    probe_x: Tensor | None = None,
) -> LoadReport:
    """Put a file's weights into a model's encoder, and prove that they are there.

    The head, the model's mode, and the random generators of Python, numpy and torch
    stay as they were.

    Parameters
    ----------
    model : nn.Module
        Built for its windows; its encoder is overwritten.
    spec : ModelSpec
        Its family.
    file : WeightsFile
    allow_partial : bool
        Whether tensors may be missing, and start at random, or be left over.
    probe_x : tensor (B, C, T), or (B, S, C, T) in sequence, optional
        Windows in µV. The encoder's features of them must differ from those of its
        random start.

    Returns
    -------
    report : LoadReport

    Raises
    ------
    WeightsError
        If not every tensor of the encoder is in the file, or the file holds others;
        if none is, in any case; if a tensor is not the file's after loading, or
        features are as before.
    """
    refuse_untrained(spec)
    with _generators_as_they_were(model):
        found = match(model, spec, file)
        if not found.state or not (found.report.is_full or allow_partial):
            raise WeightsError(refusal(spec, file, found))
        inner = alone(model)
        start = {name: t.detach().clone() for name, t in inner.state_dict().items()}
        before = None if probe_x is None else probe_features(model, probe_x)
        try:
            inner.load_state_dict({**start, **found.state}, strict=True)
            _prove_equal(model, found.state, file)
            if before is None or probe_x is None:
                return found.report
            difference = _difference(before, probe_features(model, probe_x), file)
        except BaseException:  # nobody goes on with a model that failed its proof
            inner.load_state_dict(start)
            raise
    return found.report.model_copy(update={"probe_difference": difference})


def refuse_untrained(spec: ModelSpec) -> None:
    """Refuse a model without an encoder that anybody trains.

    Raises
    ------
    WeightsError
        If it is not trained by gradient.
    """
    if spec.trained_by != "gradient":
        raise WeightsError(
            f"{spec.name} cannot start from weights: it has no encoder that is trained "
            f"(it is of the kind '{spec.trained_by}'). Leave --weights out."
        )


def probe_features(model: nn.Module, x: Tensor) -> Tensor:
    """Return features of windows, in eval mode and full precision.

    Parameters
    ----------
    x : tensor (B, C, T), or (B, S, C, T) in sequence
        Windows in µV.

    Returns
    -------
    features : tensor (N, F)
        On the CPU, in float64; ``pooled`` ones where the model has them.
    """
    device = next((t.device for t in model.state_dict().values()), x.device)
    features_of: Any = getattr(model, "pooled", None) or model.features
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            features: Tensor = features_of(x.to(device))
    finally:
        for module, was_training in modes:
            module.training = was_training
    return features.detach().double().cpu().flatten(0, -2)


def refusal(spec: ModelSpec, file: WeightsFile, found: Match) -> str:
    """Say what a file lacks or has too much for an encoder, and what to do.

    Names another model of the registry where the file has all of its names.
    """
    report = found.report
    n_named = report.matched + len(report.reshaped)
    n_others = report.n_encoder - n_named - found.n_misfits
    other = _other_model(spec, file) if n_others > report.n_encoder // 2 else None
    hint = f" All names are those of {other}: is it that model's?" if other else ""
    if not found.state and not found.n_misfits:
        return (
            f"{file.path}: is not of {spec.name}: none of the {report.n_encoder} "
            f"tensors of its encoder is in it under any known name. The file's are "
            f"called {_few(list(file.tensors))}.{hint} 'eegfm-bench weights "
            f"{spec.name}' shows which are understood."
        )
    said = [
        f"{file.path}: {n_named} of the {report.n_encoder} tensors of {spec.name}'s "
        f"encoder are in it, expected every one (nearest layout: '{report.layout}')."
    ]
    if report.missing:
        said.append(f"Missing {len(report.missing)}: {_few(report.missing)}.")
    if report.left_over:
        said.append(f"Left over {len(report.left_over)}: {_few(report.left_over)}.")
    if found.n_misfits > n_named:
        said.append(
            f"Names fit and shapes do not of {found.n_misfits}: was it made at another "
            f"--scale or with other options (--set)?"
        )
    if not found.state:
        return " ".join(said)
    if found.is_of_other_channels:
        said.append(
            f"{spec.name} weighs channels by their order: its weights would be put on "
            f"other electrodes than they were trained on."
        )
    way_out = (
        f"To go on with what is missing at random, every row marked so, add {PARTIAL}."
        if len(report.missing) > found.is_of_other_channels
        else f"To go on all the same, every row marked so, add {PARTIAL}."
    )
    return " ".join((*said, hint.strip(), way_out)).replace("  ", " ")


def _few(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _other_model(spec: ModelSpec, file: WeightsFile) -> str | None:
    """Return the pre-trainable model whose encoder's names a file has, if any."""
    for name in model_names():
        other = find_model(name)
        if name != spec.name and other.weights != Weights():
            # A hint within a refusal: a model that cannot be built is none.
            with suppress(Exception):
                if has_all_names(_for_names(other), other, file):
                    return name
    return None


def _for_names(spec: ModelSpec) -> nn.Module:
    """Build a model for the names of its tensors, without numbers if it can be."""
    with suppress(Exception), torch.device("meta"):
        nameable: nn.Module = spec.build(USUAL)
        return nameable
    built: nn.Module = spec.build(USUAL)
    return built


def _prove_equal(
    model: nn.Module, state: Mapping[str, Tensor], file: WeightsFile
) -> None:
    """Hold every tensor that is now in the model against what was to go there."""
    now = encoder_state(model)
    wrong = [n for n, wanted in state.items() if not _is_same(now[n], wanted)]
    if wrong:
        raise WeightsError(
            f"{file.path}: {len(wrong)} tensors are not in the model after loading: "
            f"{_few(wrong)}. The model changes what is put into it; this is a defect "
            f"of its file."
        )


def _is_same(found: Tensor, wanted: Tensor) -> bool:
    """Whether two tensors are equal bit by bit."""
    as_bytes = [
        t.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        for t in (found, wanted)
    ]
    return found.dtype == wanted.dtype and torch.equal(*as_bytes)


def _difference(before: Tensor, after: Tensor, file: WeightsFile) -> float:
    """Return how far features moved at most, in their deviations, if at all."""
    if not torch.isfinite(after).all():
        raise WeightsError(
            f"{file.path}: with these weights the encoder's features are not finite. "
            f"Are the weights of another input scale or another set of options?"
        )
    before = before.nan_to_num()  # what a start gave, however odd, is no longer there
    spread = max(float(t.std(correction=0)) for t in (before, after))
    largest = float((after - before).abs().max())
    difference = largest / spread if spread > 0 else largest
    if difference <= LEAST_DIFFERENCE:
        raise WeightsError(
            f"{file.path}: the loaded encoder gives what its random start gives: "
            f"features differ by {difference:.1g} of their deviation, expected more "
            f"than {LEAST_DIFFERENCE:g}. Was the file saved before any training, or by "
            f"an encoder whose output does not depend on it?"
        )
    return difference


@contextmanager
def _generators_as_they_were(model: nn.Module) -> Iterator[None]:
    """Give every random generator back as it was: loading is not part of a draw."""
    pythons, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = {t.device for t in model.state_dict().values()}
    try:
        with torch.random.fork_rng(devices=[d for d in devices if d.type == "cuda"]):
            yield
    finally:
        random.setstate(pythons)
        np.random.set_state(numpys)  # noqa: NPY002
