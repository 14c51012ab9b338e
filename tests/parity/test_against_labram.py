"""LaBraM against figures of its public code, and against braindecode's class."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from eegfm_bench.models._braindecode import braindecode_models
from eegfm_bench.models._spec import build
from eegfm_bench.models.labram import LaBraM, electrodes, positions

pytestmark = pytest.mark.parity

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location(
    "remake_labram", HERE / "remake_labram.py"
)
assert _spec is not None
assert _spec.loader is not None
remake = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(remake)

FIGURES = json.loads(remake.FIGURES.read_text())
# Rounding alone: of attention computed in another order.
WITHIN = {"float64": 1e-10, "float32": 1e-5}


def our_name(name: str) -> str:
    """Translate a name of the public code's state."""
    return name.replace(".mlp.fc1.", ".mlp.0.").replace(".mlp.fc2.", ".mlp.2.")


def with_drawn_state(case: str) -> LaBraM:
    """Our model with the state that the public code had, its tables cut to fit."""
    _, channels, n_patches, depth, n_classes, _ = next(
        c for c in remake.CASES if c[0] == case
    )
    model: LaBraM = build(
        "labram",
        channels=channels,
        n_times=200 * n_patches,
        rate_hz=200.0,
        n_classes=n_classes,
        num_layers=depth,
    )
    shapes = FIGURES[case]["shapes"]
    ours = model.state_dict()
    assert {our_name(name) for name in shapes} == ours.keys()
    for index, name in enumerate(sorted(shapes)):
        value = remake.drawn(name, torch.Size(shapes[name]), index)
        if name == "pos_embed":
            ours[name] = ours[name].double()
            ours[name][:, : value.shape[1]] = value
        else:
            assert list(ours[our_name(name)].shape) == shapes[name]
            ours[our_name(name)] = value
    model.double().load_state_dict(ours)
    return model.eval()


@pytest.mark.parametrize("case", remake.CASES, ids=lambda case: case[0])
@torch.no_grad()
def test_the_outputs_are_the_public_codes(
    case: tuple[str, tuple[str, ...], int, int, int, str],
) -> None:
    name, channels, n_patches, _, _, dtype = case
    kind, within, expected = getattr(torch, dtype), WITHIN[dtype], FIGURES[name]
    model = with_drawn_state(name).to(kind)
    x = remake.windows(len(channels), n_patches).to(kind)
    features = model.features(x)
    for found, key in ((features[:, ::7], "features"), (model(x), "logits")):
        wanted = torch.tensor(expected[key], dtype=kind)
        assert wanted.abs().max() > 0.1
        torch.testing.assert_close(found, wanted, rtol=within, atol=within)


@torch.no_grad()
def test_the_comparison_notices_another_electrode() -> None:
    model = with_drawn_state("one second")
    x = remake.windows(3, 1)
    before = model.features(x)
    model.rows_C[0] += 1
    assert (model.features(x) - before).abs().max() > 1e-3


def test_the_list_of_electrodes_is_the_published_one() -> None:
    published = [name.upper() for name in FIGURES["names"]]
    assert published[:128] == electrodes()
    beyond = published[128:]
    assert beyond[0] == "FP1-F3"
    assert len(beyond) == 8
    assert [p.row for p in positions(electrodes())] == list(range(1, 129))


def test_layers_are_numbered_by_the_published_rule() -> None:
    model = with_drawn_state("base")
    for name, layer in FIGURES["base"]["layers"].items():
        if not name.startswith("head."):
            assert model.layer_of(our_name(name)) == layer
    assert model.n_layers == 13


def test_a_training_step_is_braindecodes() -> None:
    names = ["FP1", "CZ", "O2"]
    torch.manual_seed(0)
    model = build(
        "labram",
        channels=names,
        n_times=600,
        rate_hz=200.0,
        n_classes=2,
        num_layers=2,
        drop_path_prob=0.0,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    with pytest.warns(UserWarning, match="does not match"):
        reference = braindecode_models().Labram(
            n_chans=3,
            n_outputs=2,
            n_times=600,
            chs_info=[{"ch_name": name} for name in names],
            num_layers=2,
            use_mean_pooling=True,
        )
    renamed = {
        "patch_embed.temporal_conv.": "patch_embed.",
        "position_embedding": "pos_embed",
        "temporal_embedding": "time_embed",
        "final_layer": "head",
    }

    def ours(name: str) -> str:
        for theirs, our in renamed.items():
            name = name.replace(theirs, our)
        return name

    state = model.state_dict()
    reference.load_state_dict(
        {
            name: state[ours(name)][:, : value.shape[1]]
            if name.endswith("_embedding")
            else state[ours(name)]
            for name, value in reference.state_dict().items()
        }
    )
    model, reference = model.double(), reference.double()
    x, y = remake.windows(3, 3), torch.tensor([0, 1])
    logits = model(x), reference(x / 100, ch_names=names)
    torch.testing.assert_close(*logits, rtol=1e-9, atol=1e-12)
    for found in logits:
        torch.nn.functional.cross_entropy(found, y).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    for name, parameter in reference.named_parameters():
        found = gradients[ours(name)]
        if name.endswith("_embedding"):
            found = found[:, : parameter.shape[1]]
        torch.testing.assert_close(found, parameter.grad, rtol=1e-9, atol=1e-12)
