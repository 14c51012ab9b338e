"""Models of braindecode by name: which are served, which say why not."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import eegfm_bench
from eegfm_bench.errors import SpecError, UnknownName
from eegfm_bench.models import _braindecode
from eegfm_bench.models._adapted import Adapted, adapt
from eegfm_bench.models._braindecode import class_names
from eegfm_bench.models._spec import InputShape, find_model
from eegfm_bench.sweep.launch import InlineLauncher
from eegfm_bench.sweep.run import Options, sweep
from eegfm_bench.sweep.specs import cells_of

# What braindecode's modules warn of while they run is theirs to mend.
pytestmark = pytest.mark.filterwarnings("ignore")

CHANNELS = (
    *("Fz", "FC3", "FC1", "FCz", "FC2", "FC4", "C5", "C3", "C1", "Cz", "C2"),
    *("C4", "C6", "CP3", "CP1", "CPz", "CP2", "CP4", "P1", "Pz", "P2", "POz"),
)
SHAPE = InputShape(channels=CHANNELS, n_times=1000, rate_hz=200.0, n_classes=4)

# Of the 68 classes of braindecode 1.8.1: those that give no logits of a window, need
# another shape, or (REVE) a file of the network.
N_KNOWN = 68
REFUSED = {
    *("AttnSleep", "BENDR", "DANCE", "EEGDINO", "EMG2QwertyNet", "HybridNet"),
    *("InterpolatedSignalJEPA", "MetaNeuromotorHand", "NeuroPose", "REVE"),
    *("SensingDynamics", "SignalJEPA", "TCN", "USleep", "VEMG2Pose", "ZUNA"),
}

# Seconds each on one thread: they are built, and answer once.
SLOW = (
    *("BrainModule", "CodeBrain", "DeepSleepNet", "EEGInceptionMI", "EEGPT"),
    *("InterpolatedBENDR", "InterpolatedEEGPT", "InterpolatedLaBraM", "STEEGFormer"),
)


def built(class_name: str, shape: InputShape = SHAPE, **options: Any) -> Adapted:
    torch.manual_seed(0)
    known = find_model(f"braindecode:{class_name}")
    return known.build(shape, scale="small", options=options)


def noise(n: int = 3, shape: InputShape = SHAPE) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    return 20 * torch.randn(n, shape.n_channels, shape.n_times, generator=random)


def check(model: Adapted) -> None:
    """Hold a model to what every model owes, as far as one shape can tell."""
    x = noise()
    model.eval()
    with torch.no_grad():
        logits, features = model(x), model.features(x)
        assert logits.shape == (3, 4)
        assert torch.isfinite(logits).all()
        assert features.ndim == 2
        torch.testing.assert_close(model.head(features), logits)
        # Batched products round differently from single ones.
        torch.testing.assert_close(model(x[1:2]), logits[1:2], rtol=1e-3, atol=1e-4)
    model.train()
    F.cross_entropy(model(x), torch.tensor([0, 1, 3])).backward()
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.slow
def test_every_class_is_served_or_says_why_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served, refused = [], {}
    for name in class_names():
        try:
            model = built(name)
        except SpecError as error:
            refused[name] = str(error)
            continue
        served.append(name)
        if name not in SLOW:
            check(model)
    print(f"{len(served)} served; refused:", *refused.values(), sep="\n- ")
    # A class that is newer than the list may be refused; one that was served may not.
    n_new = max(0, len(class_names()) - N_KNOWN)
    lost = refused.keys() - REFUSED
    assert len(lost) <= n_new, lost
    assert set(served) >= {"EEGNet", "EEGConformer", "Deep4Net", "Labram", "CBraMod"}
    for name, reason in refused.items():
        assert reason.startswith(f"braindecode:{name} ")
        assert len(reason) > 60
        assert "Traceback" not in reason


class Restless(nn.Module):
    """Draws from every generator, and changes what it keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.LazyLinear(4)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(22))
        self.register_buffer("cache", torch.zeros(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        random.random()
        np.random.rand()  # noqa: NPY002
        torch.rand(1)
        self.calls += 1
        self.mean = 0.9 * self.mean + x.mean((0, 2))
        self.cache = torch.ones(x.shape[-1])
        return self.out(x.std(-1))


def test_the_probe_leaves_no_trace() -> None:
    net = Restless()
    mean = net.mean
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    torch.manual_seed(3)
    expected = (random.random(), np.random.rand(), torch.rand(1))  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    torch.manual_seed(3)
    model = adapt(Adapted(net), SHAPE, name="mine")
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected  # noqa: NPY002
    assert net.mean is mean
    assert not net.mean.any()
    assert net.calls == 0
    assert net.training
    # What the first call makes stays.
    assert net.cache.shape == (1000,)
    assert model.head is net.out
    assert net.out.weight.shape == (4, 22)


class Leaving(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise SystemExit("no licence")


def test_a_module_that_ends_the_process_is_refused() -> None:
    with pytest.raises(SpecError, match=r"tried to end the process .*: no licence"):
        adapt(Adapted(Leaving()), SHAPE, name="mine")


@pytest.mark.parametrize("name", ["Deep4Net", "EEGNeX"])
def test_its_state_loads_into_braindecodes_own(name: str) -> None:
    model = built(name).eval()
    theirs = getattr(_braindecode.braindecode_models(), name)(
        n_chans=22, n_outputs=4, n_times=1000, sfreq=200.0
    )
    theirs.load_state_dict(model.net.state_dict())
    x = noise()
    with torch.no_grad():
        assert torch.equal(theirs.eval()(x / 10.0), model(x))


def test_building_is_what_the_seed_says_and_leaves_it_alone() -> None:
    model = built("Deep4Net")
    after = torch.rand(1)
    state = copy.deepcopy(model.state_dict())
    torch.manual_seed(0)
    net = _braindecode.braindecode_models().Deep4Net(
        n_chans=22, n_outputs=4, n_times=1000, sfreq=200.0
    )
    assert torch.equal(torch.rand(1), after)
    assert all(torch.equal(state[f"net.{k}"], v) for k, v in net.state_dict().items())
    assert all(module.training for module in model.modules())


def test_the_features_are_what_enters_the_last_layer() -> None:
    model = built("ShallowFBCSPNet").eval()
    assert isinstance(model.tail, nn.Conv2d)
    assert model.features(noise()).shape == (3, 2440)
    linear = built("ContraWR").eval()
    assert linear.head is linear.tail
    assert isinstance(linear.head, nn.Linear)


def test_a_module_without_a_last_layer_gives_its_logits_as_features() -> None:
    model = built("ATCNet").eval()  # the mean of several last layers
    x = noise()
    assert isinstance(model.head, nn.Identity)
    with torch.no_grad():
        assert torch.equal(model.features(x), model(x))


def test_options_are_the_class_own_and_the_scale() -> None:
    known = find_model("braindecode:ShallowFBCSPNet")
    assert known.options["n_filters_time"] == 40
    assert known.options["scale_uv"] == 10.0
    assert find_model("braindecode:CBraMod").options["scale_uv"] == 100.0
    assert not {"n_chans", "n_times", "sfreq", "chs_info"} & set(known.options)
    narrow = built("ShallowFBCSPNet", n_filters_time=8)
    assert narrow.net.conv_time_spat.conv_time.out_channels == 8
    with pytest.raises(UnknownName, match="Did you mean 'n_filters_time'"):
        built("ShallowFBCSPNet", n_filter_time=8)


def test_the_scale_divides_the_input() -> None:
    x = noise()
    one, ten = built("EEGNeX", scale_uv=1.0).eval(), built("EEGNeX").eval()
    with torch.no_grad():
        assert torch.equal(one(x / 10), ten(x))


def test_an_unknown_class_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'Deep4Net'"):
        find_model("braindecode:Deep4Nett")
    with pytest.raises(UnknownName, match="Did you mean 'EEGNet'"):
        find_model("braindecode:eegnet")
    with pytest.raises(UnknownName, match="Did you mean 'braindecode'"):
        find_model("braindecod:Deep4Net")


def test_a_class_that_needs_positions_says_whose_are_unknown() -> None:
    shape = InputShape(
        channels=("E1", "E2", "Cz"), n_times=1000, rate_hz=200.0, n_classes=4
    )
    for name in ("InterpolatedBIOT", "DGCNN"):  # one requires them, one asks later
        with pytest.raises(SpecError, match=r"2 of 3 channels \(E1, E2\) have none"):
            built(name, shape)
    with pytest.raises(SpecError, match=r"d_model=28, with an .* divides it\.$"):
        built("AttnSleep", shape)


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (nn.Softmax(dim=-1), "returns probabilities"),
        (nn.Unflatten(1, (2, 2)), r"returns \(2, 2, 2\)"),
        (nn.Linear(4, 3), r"returns \(2, 3\) .* expected logits \(2, 4\)"),
        (nn.LSTM(4, 4), "returns a tuple"),
        (nn.Linear(5, 4), "cannot serve 22 channels × 1000 time points"),
    ],
)
def test_what_gives_no_logits_is_refused(net: nn.Module, says: str) -> None:
    pooled = nn.Sequential(nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(88, 4), net)
    with pytest.raises(SpecError, match=says):
        adapt(Adapted(pooled), SHAPE, name="mine")


def test_it_runs_like_any_other_model(tmp_path: Path) -> None:
    cells = cells_of(["braindecode:SCCNet"], ["eegmat"], "small", {"scale_uv": 20})
    options = Options(runs=tmp_path, device="cpu", launcher=InlineLauncher())
    (record,) = sweep(cells, [0], options).records(tmp_path)
    assert record.failure is None
    assert record.run_id.startswith("braindecode.SCCNet-eegmat-s0-")
    assert record.spec.options == {"scale_uv": 20.0}
    assert record.spec.code is None


def test_build_takes_the_same_key() -> None:
    model = eegfm_bench.build(
        "braindecode:Deep4Net",
        channels=CHANNELS,
        n_times=1000,
        rate_hz=200.0,
        n_classes=3,
    )
    assert model(noise(2)).shape == (2, 3)
