"""What of a trained model braindecode can load, and as what.

From: a model of this suite, and what it was built with. To: ``folder``, which writes
tensors and a configuration that ``braindecode.models.Class.from_pretrained`` reads.

``from_pretrained`` takes what a file has and leaves everything else at its random
start, without a word. So a folder speaks to braindecode only if the file holds every
tensor of braindecode's class, and the class built from what is written gave this
model's outputs when it was saved. What only pre-training uses is written as constants.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from eegfm_bench.models._braindecode import PREFIX, braindecode_models
from eegfm_bench.models._probed import Probed
from eegfm_bench.models._sequence import InSequence
from eegfm_bench.models._spec import InputShape, ModelSpec
from eegfm_bench.models._weights import Layout
from eegfm_bench.weights.matching import MODULE

# Windows and deviation of the noise on which both must say the same, and how far
# rounding may take them apart, in units of the largest output.
N_PROBED = 2
PROBE_UV = 20.0
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterpart:
    """A class of braindecode that computes what a model of this suite does.

    Attributes
    ----------
    class_name : str
        Of ``braindecode.models``.
    layout : Layout
        How their class names what our encoder holds.
    arguments : mapping
        Of its constructor; what is not named has its default.
    head : tuple of (ours, theirs)
        Prefixes of the head's tensors, where their class has that head.
    rows : mapping of our name to int
        How many first rows of a table (1, rows, D) are theirs.
    constants : mapping of their name to tensor
        What their class has and no trained model here.
    gives : str
        ``logits``, or ``tokens`` (B, C, P, D): the encoder alone.
    prepare : str
        What is done to windows in µV before, as Python, with ``x_uv`` the windows.
    prepared : function
        The same.
    ch_names : tuple of str
        What ``forward`` is to be told of the channels, in their order, if anything.
    """

    class_name: str
    layout: Layout
    arguments: Mapping[str, Any]
    prepare: str
    prepared: Callable[[Tensor], Tensor]
    head: tuple[tuple[str, str], ...] = ()
    rows: Mapping[str, int] = field(default_factory=dict)
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    gives: str = "logits"
    ch_names: tuple[str, ...] = ()


def counterpart(
    model: nn.Module, spec: ModelSpec, shape: InputShape, options: Mapping[str, Any]
) -> Counterpart | str:
    """Return braindecode's class of a model, or in plain words why there is none.

    Parameters
    ----------
    model : nn.Module
        Built for the shape, at any state.
    spec : ModelSpec
    shape : InputShape
    options : mapping
        All options of the model.
    """
    family = PREFIX if spec.name.startswith(f"{PREFIX}:") else spec.name
    if family not in _FAMILIES:
        return f"braindecode has no class that computes what {spec.name} does"
    layout_name, find = _FAMILIES[family]
    layout = next(
        (one for one in (*spec.weights.layouts, MODULE) if one.name == layout_name),
        None,
    )
    if layout is None:
        return f"{spec.name} does not say what braindecode calls its tensors"
    if family != "cbramod":  # whose encoder is a model of its own there
        if isinstance(model, Probed):
            return "a linear probe judges its features, which braindecode has not"
        if isinstance(model, InSequence):
            return (
                f"its head judges {shape.sequence} windows in a row, which no class of "
                f"braindecode does"
            )
    found = find(innermost(model)[0], spec, shape, options)
    return found if isinstance(found, str) else Counterpart(layout=layout, **found)


def innermost(model: Any) -> tuple[Any, str]:
    """Return the model of single windows, and what its tensors' names begin with."""
    prefix = ""
    if isinstance(model, Probed):
        model, prefix = model.encoder, "encoder."
    if isinstance(model, InSequence):
        model, prefix = model.model, f"{prefix}model."
    return model, prefix


@torch.no_grad()
def configuration(
    model: Any,
    shape: InputShape,
    found: Counterpart,
    tensors: Mapping[str, Tensor],
) -> dict[str, Any] | str:
    """Return what ``from_pretrained`` reads, once its class says what the model says.

    Parameters
    ----------
    model : nn.Module
    shape : InputShape
    found : Counterpart
    tensors : mapping of name to tensor
        What the file will hold by names that are theirs.

    Returns
    -------
    config : dict
        As ``save_pretrained`` would write it; or a reason, where the class cannot be
        built, misses or lacks a tensor, or says something else.
    """
    import braindecode

    kind = getattr(braindecode_models(), found.class_name)
    where = next(model.parameters(), torch.empty(0)).device
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            net = kind(**found.arguments)
            # Through JSON, as whoever loads it: pairs become lists.
            config = json.loads(json.dumps(net.get_config(), allow_nan=False))
            net = kind.from_config(config).eval()
            net.load_state_dict(dict(tensors), strict=True)
            noise = PROBE_UV * torch.randn(N_PROBED, shape.n_channels, shape.n_times)
            call = {"ch_names": list(found.ch_names)} if found.ch_names else {}
            theirs = net(found.prepared(noise), **call)
            ours = _said(model, noise.to(where), found).cpu()
            difference = (theirs.flatten(1) - ours.flatten(1)).abs().max().item()
            allowed = TOLERANCE * ours.abs().max().item()
        except Exception as error:  # of code that others wrote, of any version
            lines = str(error).strip().splitlines() or [type(error).__name__]
            reason = " ".join(line.strip() for line in lines[:2]).rstrip(".:")
            return (
                f"braindecode {braindecode.__version__} cannot load it into its "
                f"{found.class_name} ({reason})"
            )
    if not difference <= allowed:
        return (
            f"{found.class_name} of braindecode {braindecode.__version__} gave other "
            f"outputs (by {difference:.2g}, where rounding explains {allowed:.2g})"
        )
    return {**config, "braindecode_version": braindecode.__version__}


def _said(model: Any, x: Tensor, found: Counterpart) -> Tensor:
    """Return what a model says that its counterpart is to say, in evaluation."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        if found.gives == "logits":
            said: Tensor = model(x)
            return said
        tokens: Tensor = innermost(model)[0].tokens(x)
        return tokens
    finally:
        for module, was_training in modes:
            module.training = was_training


# What a family says of its class, but the layout; or why there is none.
Found = dict[str, Any] | str


def _divided(by: float) -> dict[str, Any]:
    return {"prepare": f"x_uv / {by:g}", "prepared": lambda x: x / by}


def _eegnet(
    model: Any, spec: ModelSpec, shape: InputShape, options: Mapping[str, Any]
) -> Found:
    from eegfm_bench.models.eegnet import SCALE_UV

    return {
        "class_name": "EEGNet",
        "arguments": _arguments(model.net),
        "head": (("net.", ""),),
        **_divided(SCALE_UV),
    }


def _eegconformer(
    model: Any, spec: ModelSpec, shape: InputShape, options: Mapping[str, Any]
) -> Found:
    from eegfm_bench.models.eegconformer import SCALE_UV

    if options["has_pooled_head"]:
        return "its head sees the mean of the tokens, which braindecode's does not"
    return {
        "class_name": "EEGConformer",
        "arguments": _arguments(model.net),
        "head": (("net.", ""),),
        **_divided(SCALE_UV),
    }


def _biot(
    model: Any, spec: ModelSpec, shape: InputShape, options: Mapping[str, Any]
) -> Found:
    from eegfm_bench.models.biot import OFFSET_UV

    if options["has_pooled_head"]:
        return "its head sees each channel's mean, which braindecode's does not"
    if options["n_fft"] != shape.rate_hz:
        return "its spectra are not of one second, as braindecode's are"
    share = options["percentile"] / 100
    same = ("embed_dim", "num_layers", "num_heads", "hop_length", "drop_prob")
    return {
        "class_name": "BIOT",
        "arguments": {
            **_signal(shape),
            **{key: options[key] for key in (*same, "att_layer_drop_prob")},
            "att_drop_prob": 0.0,
        },
        "head": (("head.", "final_layer."),),
        "prepare": (
            f"x_uv / (x_uv.abs().quantile({share:g}, dim=-1, keepdim=True) "
            f"+ {OFFSET_UV:g})"
        ),
        "prepared": lambda x: (
            x / (x.abs().quantile(share, dim=-1, keepdim=True) + OFFSET_UV)
        ),
    }


def _labram(
    model: Any, spec: ModelSpec, shape: InputShape, options: Mapping[str, Any]
) -> Found:
    from eegfm_bench.models.labram import SCALE_UV, electrodes, positions

    if options["has_pooled_head"]:
        return "its head sees every channel's filters, which braindecode's does not"
    names = electrodes()
    rows = [position.row for position in positions(shape.channels)]
    unknown = [
        channel
        for channel, row in zip(shape.channels, rows, strict=True)
        if row > len(names)
    ]
    if unknown:
        shown = ", ".join(unknown[:3]) + (", …" if len(unknown) > 3 else "")
        return (
            f"braindecode has no position for {len(unknown)} of its "
            f"{shape.n_channels} channels ({shown})"
        )
    own = {k: v for k, v in options.items() if k != "has_pooled_head"}
    return {
        "class_name": "Labram",
        "arguments": {**_signal(shape), **own, "use_mean_pooling": True},
        "head": (("head.", "final_layer."),),
        "rows": {
            "pos_embed": len(names) + 1,
            "time_embed": shape.n_times // options["patch_size"] + 1,
        },
        "ch_names": tuple(names[row - 1] for row in rows),
        **_divided(SCALE_UV),
    }


def _cbramod(
    model: Any, spec: ModelSpec, shape: InputShape, options: Mapping[str, Any]
) -> Found:
    extent = (options["pos_channels"], options["pos_patches"])
    if extent != (19, 7):
        return f"it tells places by a convolution over {extent}; braindecode by (19, 7)"
    width = model.net.patch_embedding.d_model
    return {
        "class_name": "CBraMod",
        "arguments": {**_arguments(model.net), "emb_dim": width},
        # Their last map, which pre-training uses, made to pass tokens on.
        "constants": {
            "proj_out.0.weight": torch.eye(width),
            "proj_out.0.bias": torch.zeros(width),
            "patch_embedding.mask_encoding": torch.zeros(model.net._patch_size),
        },
        "gives": "tokens",
        **_divided(options["scale_uv"]),
    }


def _codebrain(
    model: Any, spec: ModelSpec, shape: InputShape, options: Mapping[str, Any]
) -> Found:
    if options["head"] != "patches":
        return "its head sees each channel's mean, which braindecode's does not"
    out, hidden = options["out_width"], model.head[0].out_features
    if options["head_units"] != out or hidden % out:
        return (
            f"the hidden layers of its head have {hidden} and {options['head_units']} "
            f"units; braindecode's have a multiple of {out}, and {out}"
        )
    if (options["n_kernels"], options["num_heads"]) != (4, 4):
        return "it has other than 4 kernels and 4 heads, the numbers of braindecode's"
    last = f"residual_layer.residual_blocks.{options['n_layers'] - 1}"
    weight, width = f"{last}.res_conv.parametrizations.weight", options["width"]
    return {
        "class_name": "CodeBrain",
        "arguments": {
            **_arguments(model.net),
            **_signal(shape),
            "mlp_hidden_multiplier": hidden // out,
        },
        "head": (
            ("head.0.", "final_layer.1."),
            ("head.3.", "final_layer.4."),
            ("head.6.", "final_layer.7."),
        ),
        # A last residual map that nothing follows, and what pre-training uses.
        "constants": {
            f"{last}.rms_norm.scale": torch.ones(1, width, 1),
            f"{last}.res_conv.bias": torch.zeros(width),
            f"{weight}.original0": torch.zeros(width, 1, 1),
            f"{weight}.original1": torch.ones(width, width, 1),
            "lm_head_t.weight": torch.zeros(1, out),
            "lm_head_f.weight": torch.zeros(1, out),
            "patch_embedding.mask_encoding": torch.zeros(
                model.net.patch_embedding.emb_dim
            ),
        },
        **_divided(options["scale_uv"]),
    }


def _any_class(
    model: Any, spec: ModelSpec, shape: InputShape, options: Mapping[str, Any]
) -> Found:
    if not hasattr(model.net, "get_config"):
        return "the class is not one that braindecode saves"
    return {
        "class_name": spec.name.partition(":")[2],
        "arguments": _arguments(model.net),
        "head": (("net.", ""),),
        "ch_names": tuple(model._call.get("ch_names", ())),
        **_divided(model.scale_uv),
    }


def _signal(shape: InputShape) -> dict[str, Any]:
    return {
        "n_chans": shape.n_channels,
        "n_times": shape.n_times,
        "n_outputs": shape.n_classes,
        "sfreq": shape.rate_hz,
    }


def _arguments(net: Any) -> dict[str, Any]:
    """Return what a module of braindecode was built with."""
    from braindecode.models.util import resolve_type_kwargs

    config = dict(net.get_config())
    config.pop("braindecode_version", None)
    for channel in config.get("chs_info") or ():
        # Beside a place, MNE keeps what is not known, as numbers that JSON lacks.
        place = channel.get("loc") or ()
        channel["loc"] = [x if math.isfinite(x) else 0.0 for x in place]
    found: dict[str, Any] = resolve_type_kwargs(type(net), config)
    return found


_FAMILIES: dict[str, tuple[str, Callable[..., Found]]] = {
    "eegnet": ("braindecode", _eegnet),
    "eegconformer": ("braindecode", _eegconformer),
    "biot": ("braindecode", _biot),
    "labram": ("braindecode, mean pooling", _labram),
    "cbramod": ("source", _cbramod),
    "codebrain": ("braindecode", _codebrain),
    PREFIX: (MODULE.name, _any_class),
}
