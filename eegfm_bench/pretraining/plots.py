"""Pictures of a pre-training: its losses, and the loads of its experts.

From: ``journal.csv`` and ``experts.csv`` of a folder. To: ``losses.png`` and
``experts.png`` beside them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eegfm_bench.errors import StoreError
from eegfm_bench.pretraining.journal import EXPERTS, STEPS
from eegfm_bench.runs.pretrain import PretrainSpec

# A point of a curve is the mean of about so many parts of all steps.
_POINTS = 60
# Loads are shown over the last part of the steps, where routing has settled.
_LAST = 0.2


def draw_plots(folder: Path) -> list[Path]:
    """Draw both pictures of a pre-training that has begun.

    Returns
    -------
    paths : list of path
        Without ``experts.png`` for a dense network.

    Raises
    ------
    StoreError
        If the folder has no journal.
    """
    try:
        spec = PretrainSpec.model_validate_json(
            (folder / "spec.json").read_text(encoding="utf-8")
        )
        steps, experts = (pd.read_csv(folder / name) for name in (STEPS, EXPERTS))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{folder} has no pre-training to draw ({error}). Name the folder that was "
            f"given to --out."
        ) from error
    paths = [_save(_losses(spec, steps), folder / "losses.png")]
    if len(experts):
        paths.append(_save(_experts(spec, steps, experts), folder / "experts.png"))
    return paths


def _losses(spec: PretrainSpec, steps: pd.DataFrame) -> Any:
    """Return a picture with a panel for each part of the loss, a line a source."""
    names = [source.name for source in spec.sources]
    if spec.objective == "causal":
        panels = {f"h{h}": f"{_patches(h)} ahead" for h in spec.recipe.horizons or ()}
        unit = "Huber loss (100 µV units)"
    else:
        panels, unit = {"masked": "patches hidden"}, "mean squared error ((100 µV)²)"
    figure, axes = _figure(len(panels))
    for axis, (part, title) in zip(axes, panels.items(), strict=True):
        for n, name in enumerate(names):
            at, mean = _smoothed(steps["step"], steps[f"{name}:{part}"])
            axis.plot(at, mean, label=name, color=f"C{n}", linewidth=1.2)
        at, mean = _smoothed(steps["step"], steps[part])
        axis.plot(at, mean, label="all", color="black", linewidth=1.8)
        axis.set(title=title, xlabel="step", ylabel=unit)
        axis.set_yscale("log")
        axis.grid(visible=True, alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize="small")
    figure.suptitle(_title(spec))
    return figure


def _experts(spec: PretrainSpec, steps: pd.DataFrame, experts: pd.DataFrame) -> Any:
    """Return a picture of loads by layer, by source, and of how even they became."""
    columns = [name for name in experts if str(name).startswith("e")]
    late = experts[experts["step"] >= (1 - _LAST) * experts["step"].max()]
    by_layer = _shares(late.groupby("layer")[columns].sum())
    order = [s.name for s in spec.sources if s.name in set(late["source"])]
    # An expert of one layer is no kin of that number in another: one layer alone.
    last = late[late["layer"] == late["layer"].max()]
    by_source = _shares(last.groupby("source")[columns].sum().loc[order])
    figure, axes = _figure(3)
    for axis, (what, shares) in zip(
        axes, (("layer", by_layer), ("source, last layer", by_source)), strict=False
    ):
        image = axis.imshow(
            shares.to_numpy(), aspect="auto", cmap="viridis", vmin=0, origin="lower"
        )
        axis.set_yticks(range(len(shares)), [str(name) for name in shares.index])
        axis.set(
            title=f"load by {what}",
            xlabel="expert",
            ylabel=what.partition(",")[0],
        )
        figure.colorbar(image, ax=axis, label="times an even load (last fifth)")
    layers = [name for name in steps if str(name).startswith("even_")]
    for n, name in enumerate(layers):
        at, mean = _smoothed(steps["step"], steps[name])
        colour = n / max(len(layers) - 1, 1)
        axes[2].plot(at, mean, color=_shade(colour), label=f"layer {n}", linewidth=1.2)
    axes[2].set(
        title="how even loads are",
        xlabel="step",
        ylabel="entropy of loads / log(experts)",
        ylim=(0, 1.03),
    )
    axes[2].grid(visible=True, alpha=0.3)
    axes[2].legend(fontsize="x-small", ncols=2)
    figure.suptitle(_title(spec))
    return figure


def _shares(counts: pd.DataFrame) -> pd.DataFrame:
    """Return each row over its mean: 1 is an even load."""
    return counts.div(counts.mean(axis=1), axis=0)


def _smoothed(step: pd.Series[Any], values: pd.Series[Any]) -> tuple[Any, Any]:
    """Return means over blocks of steps, without those where there is nothing."""
    block = step // max(len(step) // _POINTS, 1)
    known = values.notna()
    at = step[known].groupby(block[known]).mean()
    return at.to_numpy(), values[known].groupby(block[known]).mean().to_numpy()


def _patches(h: int) -> str:
    return "1 patch" if h == 1 else f"{h} patches"


def _title(spec: PretrainSpec) -> str:
    simulated = any(source.data == "simulated" for source in spec.sources)
    return f"{spec.pretrain_id}{' · SIMULATED RECORDINGS' if simulated else ''}"


def _shade(share: float) -> Any:
    from matplotlib import colormaps

    return colormaps["plasma"](0.9 * share)


def _figure(n_panels: int) -> tuple[Any, Any]:
    # Not pyplot: it would choose a screen, and keep every figure.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1 + 4.6 * n_panels, 4.2), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    return figure, np.atleast_1d(figure.subplots(1, n_panels))


def _save(figure: Any, path: Path) -> Path:
    new = path.with_name(f".new-{path.name}")
    figure.savefig(new, format="png")
    new.rename(path)
    return path
