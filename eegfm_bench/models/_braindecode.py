"""Any classifier of braindecode as a model: ``braindecode:Class``.

From: a class's name. To: a ModelSpec, made from the class's own signature. The one
place that imports braindecode, which takes seconds.

What is not from a class's paper: the recipe, one for all; the scale of the input;
and there is no small scale: ``small`` is the same module, trained briefly, without a
promise of time or size. Features are what enters the last linear or convolutional
layer, if that gives the logits; of the few classes where none does, the logits.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from torch import nn

from eegfm_bench.errors import SpecError, UnknownName
from eegfm_bench.models._adapted import (
    Adapted,
    adapt,
    construct,
    simple_options,
)
from eegfm_bench.models._spec import InputShape, ModelSpec
from eegfm_bench.models._torchaudio import ensure_torchaudio_imports
from eegfm_bench.runs.spec import TrainingRecipe

PREFIX = "braindecode"

# What 1 is, in µV. braindecode's classes expect input of about unit deviation, which
# ordinary EEG divided by 10 µV has; these were pre-trained on µV / 100.
SCALE_UV = 10.0
SCALES_UV = {
    **dict.fromkeys(("CBraMod", "CodeBrain", "EEGDINO"), 100.0),
    **dict.fromkeys(("Labram", "InterpolatedLaBraM"), 100.0),
}

# Arguments by which every class is told of its data.
SIGNAL = ("n_chans", "n_outputs", "n_times", "sfreq", "chs_info")
UNSET = ("input_window_seconds", "return_features")

RECIPES = {
    "paper": TrainingRecipe(epochs=50, batch_size=64, lr=1e-3, weight_decay=1e-2),
    "small": TrainingRecipe(epochs=2, batch_size=8, lr=1e-3, weight_decay=1e-2),
}


def braindecode_models() -> Any:
    """Import ``braindecode.models`` when it is first needed.

    Returns
    -------
    module
        With a class for every model.
    """
    ensure_torchaudio_imports()
    with warnings.catch_warnings():
        # MNE announces that it will rename a montage braindecode asks for.
        warnings.simplefilter("ignore")
        import braindecode.models
    return braindecode.models


def class_names() -> list[str]:
    """Return the names of all modules that braindecode offers as models."""
    models = braindecode_models()
    return sorted(
        name
        for name in models.__all__
        if inspect.isclass(found := getattr(models, name))
        and issubclass(found, nn.Module)
    )


def find_braindecode(class_name: str) -> ModelSpec:
    """Return the spec of a braindecode class.

    Its options are the constructor's keywords, but for names of the training recipe:
    ``--set`` gives those to the recipe.

    Raises
    ------
    UnknownName
        If there is no such class; suggests the nearest.
    """
    names = class_names()
    if class_name not in names:
        raise UnknownName.among("class of braindecode.models", class_name, names)
    kind = getattr(braindecode_models(), class_name)
    name = f"{PREFIX}:{class_name}"
    parameters = _parameters(kind)

    def build(
        shape: InputShape, *, scale: str, scale_uv: float, **options: Any
    ) -> Adapted:
        offered, why = _signal_arguments(shape)
        arguments = {key: offered[key] for key in SIGNAL if key in parameters}
        if why and _is_required(parameters, "chs_info"):
            raise SpecError(f"{name} needs electrode positions. {why}")
        with _quiet_mne():
            net = construct(kind, {**arguments, **options}, name=name, why=why)
        call: dict[str, Any] = {}
        if "ch_names" in inspect.signature(kind.forward).parameters:
            call["ch_names"] = list(shape.channels)
        return adapt(Adapted(net, scale_uv=scale_uv, call=call), shape, name=name)

    return ModelSpec(
        name=name,
        title=f"{class_name} (braindecode)",
        builder=build,
        trained_by="gradient",
        recipes=RECIPES,
        options={
            **simple_options(parameters.values(), taken=(*SIGNAL, *UNSET)),
            "scale_uv": SCALES_UV.get(class_name, SCALE_UV),
        },
        reference=(
            f"https://braindecode.org/stable/generated/braindecode.models."
            f"{class_name}.html"
        ),
        licence=_licence(kind),
        code="https://github.com/braindecode/braindecode",
    )


def _parameters(kind: type) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(kind).parameters


def _is_required(parameters: Mapping[str, inspect.Parameter], key: str) -> bool:
    return key in parameters and parameters[key].default is inspect.Parameter.empty


def _licence(kind: Any) -> str:
    """Return the licence that braindecode states for a class."""
    card = getattr(getattr(kind, "_hub_mixin_info", None), "model_card_data", None)
    return (getattr(card, "license", None) or "bsd-3-clause").upper()


def _signal_arguments(shape: InputShape) -> tuple[dict[str, Any], str]:
    """Return what a class is told of its data, and what it is not told, and why."""
    known = _positions()
    placed = [known.get(channel.upper()) for channel in shape.channels]
    unplaced = [c for c, at in zip(shape.channels, placed, strict=True) if at is None]
    arguments: dict[str, Any] = {
        "n_chans": shape.n_channels,
        "n_outputs": shape.n_classes,
        "n_times": shape.n_times,
        "sfreq": shape.rate_hz,
        "chs_info": None,
    }
    if unplaced:
        shown = ", ".join(unplaced[:3]) + (", …" if len(unplaced) > 3 else "")
        return arguments, (
            f"It was told no electrode positions: {len(unplaced)} of "
            f"{shape.n_channels} channels ({shown}) have none in the 10-05 system."
        )
    arguments["chs_info"] = _channel_infos([str(at) for at in placed], shape.rate_hz)
    return arguments, ""


def _channel_infos(names: list[str], rate_hz: float) -> list[Any]:
    """Return MNE's description of channels, with positions of the 10-05 system."""
    import mne

    info = mne.create_info(names, rate_hz, "eeg", verbose="error")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        info.set_montage(_montage(), verbose="error")
    channels: list[Any] = info["chs"]
    return channels


def _quiet_mne() -> AbstractContextManager[Any]:
    """Keep MNE from telling how it interpolates."""
    import mne

    return mne.utils.use_log_level("error")


@cache
def _montage() -> Any:
    import mne

    with warnings.catch_warnings():
        # The montage may be announced to be renamed, as above.
        warnings.simplefilter("ignore")
        return mne.channels.make_standard_montage("standard_1005")


@cache
def _positions() -> dict[str, str]:
    """Map names in capitals to those that the 10-05 system has positions for."""
    return {name.upper(): name for name in _montage().ch_names}
