"""Remake the lists of tensors that public weights hold, by running public code.

From: checkouts of the public code, or braindecode as it is installed. To:
``figures/<family>_keys.json``: for every layout the name, type and shape of each
tensor of a file, and nothing of their values. Each call adds to what is there.

    python tests/parity/remake_keys.py --cbramod PATH --labram PATH --biot PATH
    python tests/parity/remake_keys.py --braindecode

Checkouts: github.com/wjq-learning/CBraMod (b9e9610), github.com/935963004/LaBraM
(c431221), github.com/ycq091044/BIOT (d138e32), with what they need beside torch:
einops, linear_attention_transformer. CodeBrain's names (github.com/jingyingma01/
CodeBrain, 22d350c) are what braindecode's class takes for those of the public file:
its ``load_state_dict`` renames them, and is asked here whether it takes ours.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
FIGURES = HERE / "figures"

# What is beside the model in LaBraM's file; README and issue 27 of its repository.
LABRAM_BESIDE = {"logit_scale": torch.zeros(())}


def described(state: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Return type and shape of every tensor, as ``float32 25 1 1 49``."""
    return {
        name: " ".join(
            [str(value.dtype).removeprefix("torch."), *map(str, value.shape)]
        )
        for name, value in state.items()
    }


def drawn(layout: Mapping[str, str], *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Draw tensors of those names, types and shapes; whole numbers are 1."""
    random = torch.Generator().manual_seed(seed)
    found = {}
    for name, text in layout.items():
        kind, *extents = text.split()
        dtype, shape = getattr(torch, kind), tuple(map(int, extents))
        found[name] = (
            torch.randn(shape, generator=random).to(dtype)
            if dtype.is_floating_point
            else torch.ones(shape, dtype=dtype)
        )
    return found


def of_cbramod(reference: Path) -> dict[str, Any]:
    """Return the state that the public pre-training saves, and loads to fine-tune."""
    sys.path.insert(0, str(reference))
    return {"source": importlib.import_module("models.cbramod").CBraMod().state_dict()}


def of_labram(reference: Path) -> dict[str, Any]:
    """Return the state of the model that the public pre-training saves."""
    sys.path.insert(0, str(HERE))
    importlib.import_module("remake_labram").stand_in_for_timm()
    sys.path.insert(0, str(reference))
    theirs = importlib.import_module("modeling_pretrain")
    # The README's pre-training command: --layer_scale_init_value 0.1.
    net = theirs.labram_base_patch200_1600_8k_vocab(init_values=0.1)
    return {"source": {**net.state_dict(), **LABRAM_BESIDE}}


def of_biot(reference: Path) -> dict[str, Any]:
    """Return the state of the public encoder, which its example loads, of 16 and 18."""
    sys.path.insert(0, str(reference / "model"))
    theirs = importlib.import_module("biot")
    return {
        f"source {n}": theirs.BIOTEncoder(
            n_channels=n, n_fft=200, hop_length=100
        ).state_dict()
        for n in (16, 18)
    }


def of_braindecode() -> dict[str, dict[str, Any]]:
    """Return the states of braindecode's classes at their pre-trained sizes."""
    from eegfm_bench.models._braindecode import braindecode_models

    classes = braindecode_models()
    shape = {"n_outputs": 2, "sfreq": 200}
    codebrain = classes.CodeBrain(n_chans=19, n_times=6000, **shape)
    state = codebrain.state_dict()
    public = {public_name(name): value for name, value in state.items()}
    # Their heads of classes are braindecode's, not the public file's.
    public = {n: v for n, v in public.items() if not n.startswith("final_layer.")}
    missing, left = codebrain.load_state_dict(
        {f"module.{name}": value for name, value in public.items()}, strict=False
    )
    assert not left, left
    assert all(name.startswith("final_layer.") for name in missing), missing
    return {
        "cbramod": {
            "braindecode": classes.CBraMod(
                n_chans=19, n_times=6000, return_encoder_output=True, **shape
            ).state_dict()
        },
        "labram": {
            "braindecode": classes.Labram(n_chans=128, n_times=3000, **shape)
            .state_dict()
            .copy()
        },
        "biot": {
            f"braindecode {n}": classes.BIOT(
                n_chans=n, n_times=2000, **shape
            ).state_dict()
            for n in (16, 18)
        },
        "codebrain": {
            "source": {f"module.{name}": value for name, value in public.items()},
            "braindecode": state,
        },
    }


def public_name(name: str) -> str:
    """Return what the public CodeBrain calls a tensor of braindecode's."""
    name = name.replace(".sgconv.", ".S41.").replace(".rms_norm.", ".sn.")
    name = re.sub(r"\.skip_weight$", ".D", name)
    name = re.sub(r"\.kernel_list\.(\d+)$", r".kernel_list.\1.kernel", name)
    for ours, theirs in (("original0", "weight_g"), ("original1", "weight_v")):
        name = name.replace(f"parametrizations.weight.{ours}", theirs)
    return name


def write(family: str, found: Mapping[str, Any]) -> None:
    """Add layouts to a family's file."""
    path = FIGURES / f"{family}_keys.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known.update({layout: described(state) for layout, state in found.items()})
    text = json.dumps(dict(sorted(known.items())), indent=0)
    path.write_text(text + "\n")


def main() -> None:
    """Run what is asked for, each family by itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    for family in ("cbramod", "labram", "biot"):
        parser.add_argument(f"--{family}", type=Path)
    parser.add_argument("--braindecode", action="store_true")
    given = parser.parse_args()
    FIGURES.mkdir(exist_ok=True)
    for family, of in (
        ("cbramod", of_cbramod),
        ("labram", of_labram),
        ("biot", of_biot),
    ):
        if getattr(given, family) is not None:
            write(family, of(getattr(given, family)))
    if given.braindecode:
        for family, found in of_braindecode().items():
            write(family, found)


if __name__ == "__main__":
    main()
