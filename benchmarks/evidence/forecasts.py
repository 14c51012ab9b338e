"""Forecasts of pre-trained encoders held against simple ones, for people never met.

From: a folder of weights and a fold's filtered windows. To: ``report_pretraining``.

Letters: B windows, C channels, P patches, L time points of a patch, h horizon.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pretraining import DATASETS, FOLDS, OBJECTIVES, fold, weights_of
from safetensors.torch import load_file
from torch import Tensor

import eegfm_bench
from eegfm_bench.datasets._folds import unfolded
from eegfm_bench.models.trace.config import TraceConfig, checked_options, config_at
from eegfm_bench.models.trace.encoder import TraceEncoder
from eegfm_bench.models.trace.forecast import ForecastHeads, forecast_loss
from eegfm_bench.models.trace.patches import to_patches
from eegfm_bench.pretraining.skill import fit_linear, last_patch, last_value
from eegfm_bench.weights.pretrained import read_pretrained

HORIZONS = (1, 2, 4)
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)
ENCODER = "encoder."
Forecast = Callable[[Tensor], dict[int, Tensor]]


@dataclass(frozen=True)
class Forecasts:
    """Huber losses by (person, horizon) and then by who forecasts."""

    dataset: str
    losses: Mapping[tuple[str, int], Mapping[str, float]]


def config_of(folder: Path) -> TraceConfig:
    """Return the architecture of a folder of weights."""
    said = read_pretrained(folder)
    assert said is not None
    return config_at(said.scale, checked_options(said.options, said.scale))


def encoder_of(folder: Path) -> TraceEncoder:
    """Return a pre-trained encoder."""
    encoder = TraceEncoder(config_of(folder))
    tensors = load_file(folder / "model.safetensors")
    encoder.load_state_dict({k.removeprefix(ENCODER): v for k, v in tensors.items()})
    return encoder.eval()


def heads_of(folder: Path) -> ForecastHeads:
    """Return the heads that were trained with an encoder."""
    heads = ForecastHeads(config_of(folder), HORIZONS)
    tensors = load_file(folder / "objective" / "heads.safetensors")
    named = {name.removeprefix("heads."): value for name, value in tensors.items()}
    heads.load_state_dict(named)
    return heads.eval()


def windows_of(name: str, part: str, data: str) -> tuple[Tensor, list[str]]:
    """Return windows (B, C, T) in µV of a part, and whose they are."""
    store = eegfm_bench.prepare(name, data=data, allow_partial=True)
    rows = np.flatnonzero((store.index["part"] == part).to_numpy())
    whose = store.index["subject"].to_numpy()[rows].astype(str).tolist()
    return torch.from_numpy(np.array(store.x[rows])), whose


def patches_of(x_BCT: Tensor, config: TraceConfig) -> Tensor:
    """Return patches (B, C, P, L) in the encoder's units."""
    patches: Tensor = to_patches(x_BCT / config.scale_uv, config.patch_len)
    return patches.transpose(1, 2)


def zero(patches_BCPL: Tensor) -> dict[int, Tensor]:
    """Forecast nothing: the mean of a band-passed signal."""
    last = last_value(patches_BCPL, HORIZONS)
    return {h: forecast.new_zeros(forecast.shape) for h, forecast in last.items()}


def valid(forecasts: Mapping[int, Tensor], n_patches: int) -> dict[int, Tensor]:
    """Keep the steps of each horizon that have something to be held against."""
    return {h: f[:, :, : n_patches - h] for h, f in forecasts.items() if n_patches > h}


def loss_of(forecasts: Mapping[int, Tensor], patches_BCPL: Tensor) -> dict[int, float]:
    """Return the Huber loss of each horizon, as in pre-training."""
    kept = valid(forecasts, patches_BCPL.shape[2])
    _, each = forecast_loss(kept, patches_BCPL, delta=1.0)
    return {h: float(value) for h, value in each.items()}


def shared(forecast: Forecast) -> Forecast:
    """Make one map for all channels of a forecaster for one channel."""

    def apply(patches_BCPL: Tensor) -> dict[int, Tensor]:
        n_windows, n_channels = patches_BCPL.shape[:2]
        alone = patches_BCPL.flatten(0, 1)[:, None]
        return {
            h: f.reshape(n_windows, n_channels, *f.shape[2:])
            for h, f in forecast(alone).items()
        }

    return apply


def linear_of(name: str, data: str, config: TraceConfig) -> Forecast:
    """Fit linear models on training people; choose by those who validate.

    Each sees the last patch of one channel. For each horizon the choice is among one
    map a channel and one for all, as Trace shares its weights, and the penalties. Test
    people are not looked at.
    """
    train, _ = windows_of(name, "train", data)
    held, _ = windows_of(name, "val", data)
    known, asked = patches_of(train, config), patches_of(held, config)
    horizons = [h for h in HORIZONS if known.shape[2] > h]
    best: dict[int, tuple[float, Forecast]] = {}
    for penalty in PENALTIES:
        each: Forecast = fit_linear([known], horizons, penalty=penalty)
        alone = known.flatten(0, 1)[:, None]
        one = shared(fit_linear([alone], horizons, penalty=penalty))
        for forecast in (each, one):
            for h, loss in loss_of(forecast(asked), asked).items():
                if h not in best or loss < best[h][0]:
                    best[h] = loss, forecast
    return lambda patches: {
        h: forecast(patches)[h] for h, (_, forecast) in best.items()
    }


@torch.no_grad()
def forecasts_of(folder: Path, name: str, data: str) -> Forecasts:
    """Hold an encoder's forecasts of a fold's test people against simple ones."""
    config, filtered = config_of(folder), f"{name}@filtered"
    encoder, heads = encoder_of(folder), heads_of(folder)
    linear = linear_of(filtered, data, config)
    x_BCT, whose = windows_of(filtered, "test", data)
    losses = {}
    for who in sorted(set(whose)):
        own = x_BCT[[i for i, w in enumerate(whose) if w == who]]
        patches = patches_of(own, config)
        each = {
            "model": loss_of(heads(encoder(own).hidden), patches),
            "zero": loss_of(zero(patches), patches),
            "last patch": loss_of(last_patch(patches, HORIZONS), patches),
            "last value": loss_of(last_value(patches, HORIZONS), patches),
            "linear": loss_of(linear(patches), patches),
        }
        for h in each["model"]:
            losses[who, h] = {forecaster: loss[h] for forecaster, loss in each.items()}
    return Forecasts(dataset=unfolded(name), losses=losses)


@torch.no_grad()
def rank_of_features(out: Path, data: str) -> list[str]:
    """Write how many directions pooled features of validation windows fill."""
    lines = [
        "| dataset | random | " + " | ".join(OBJECTIVES) + " |",
        "|---|---|" + "---|" * len(OBJECTIVES),
    ]
    for dataset in DATASETS:
        found: dict[str, list[float]] = {name: [] for name in ("random", *OBJECTIVES)}
        for k in range(1, FOLDS + 1):
            x_BCT, _ = windows_of(fold(dataset, k), "val", data)
            for name in found:
                if name == "random":
                    torch.manual_seed(k)
                    encoder = TraceEncoder(config_of(weights_of(out, "causal", k)))
                    encoder.eval()
                else:
                    encoder = encoder_of(weights_of(out, name, k))
                pooled = encoder(x_BCT).hidden.mean(2).flatten(1)
                values = torch.linalg.svdvals(pooled - pooled.mean(0)) ** 2
                share = values / values.sum()
                entropy = -(share * share.clamp_min(1e-12).log()).sum()
                found[name].append(float(entropy.exp()))
        means = " | ".join(f"{np.mean(own):.1f}" for own in found.values())
        lines.append(f"| {dataset} | {means} |")
    return lines


@torch.no_grad()
def picture_of_forecasts(
    folders: Mapping[str, Path], names: Mapping[str, str], data: str, file: Path
) -> None:
    """Draw what came and what was forecast, one second ahead, for test people.

    The window in the middle of the first test person's is shown, not a chosen one.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 4.6), layout="constrained")
    for row, (dataset, folder) in enumerate(folders.items()):
        config = config_of(folder)
        encoder, heads = encoder_of(folder), heads_of(folder)
        filtered = f"{names[dataset]}@filtered"
        linear = linear_of(filtered, data, config)
        x_BCT, whose = windows_of(filtered, "test", data)
        middle = [i for i, w in enumerate(whose) if w == whose[0]]
        own = x_BCT[middle[len(middle) // 2]][None]
        patches = patches_of(own, config)
        ahead = {"Trace": heads(encoder(own).hidden)[1], "linear": linear(patches)[1]}
        channels = eegfm_bench.prepare(filtered, data=data, allow_partial=True)
        labels = channels.manifest["recipe"]["channels"]
        for axis, wanted in zip(axes[row], ("Fz", "O1"), strict=True):
            place = [c.upper().strip(".") for c in labels].index(wanted.upper())
            time_s = np.arange(own.shape[-1]) / 200
            axis.plot(time_s, own[0, place], "0.5", lw=0.7, label="recorded")
            for colour, (who, forecast) in zip(
                ("C3", "C0"), ahead.items(), strict=True
            ):
                line = forecast[0, place, :-1].flatten() * config.scale_uv
                axis.plot(time_s[200 : 200 + len(line)], line, colour, lw=1, label=who)
            axis.set_title(
                f"{dataset}, {wanted}, forecast of the next second", fontsize=9
            )
            axis.set(xlabel="s", ylabel="µV")
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=110)
    plt.close(figure)
