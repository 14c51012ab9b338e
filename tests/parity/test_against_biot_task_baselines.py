"""CNN-Transformer, FFCL and ST-Transformer against figures of BIOT's own code.

``remake_biot_task_baselines.py`` says how the figures came about, and how weights and
windows are made of names and shapes alone.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch
from torch import nn

from eegfm_bench.models._spec import InputShape, find_model
from eegfm_bench.models._task_baselines import COMMIT
from tests.parity import remake_biot_task_baselines as remake

pytestmark = pytest.mark.parity

FIGURES = json.loads(remake.FIGURES.read_text())
CASES = [(name, c, t) for name in remake.CLASSES for c, t in remake.SHAPES]

# Our names and BIOT's, tried in this order; a pattern may follow another.
NAMES = {
    "": [
        (r"^cnn\.blocks\.(\d)\.", lambda m: f"conv{int(m[1]) + 1}."),
        (r"\.(first|second)_norm\.", lambda m: f".bn{_nth(m)}."),
        (r"^(conv\d)\.(first|second)\.", lambda m: f"{m[1]}.conv{_nth(m, 2)}."),
        (r"\.beside\.", ".downsample.0."),
        (r"\.beside_norm\.", ".downsample.1."),
    ],
    "cnn_transformer": [
        (r"^layers\.", "transformer.layers."),
        (r"\.qkv\.(.+)$", r".self_attn.in_proj_\1"),
        (r"\.out\.", ".self_attn.out_proj."),
        (r"\.attention_norm\.", ".norm1."),
        (r"\.feed_forward_norm\.", ".norm2."),
        (r"\.feed_forward\.0\.", ".linear1."),
        (r"\.feed_forward\.3\.", ".linear2."),
        (r"^head\.", "classifier.1."),
    ],
    "ffcl": [(r"^head\.", "classifier.1.")],
    "st_transformer": [
        (r"^time_norm\.", "channel_attension.fn.0."),
        (r"^across\.", "channel_attension.fn.1.projection."),
        (r"^slices\.", "patch_embedding.projection."),
        (r"^blocks\.(\d)\.seeing\.", r"transformer.\1.0.fn."),
        (r"^blocks\.(\d)\.feed_forward\.0\.", r"transformer.\1.1.fn.0."),
        (r"^blocks\.(\d)\.feed_forward\.1\.", r"transformer.\1.1.fn.1.0."),
        (r"^blocks\.(\d)\.feed_forward\.4\.", r"transformer.\1.1.fn.1.3."),
        (r"\.query\.", ".queries."),
        (r"\.key\.", ".keys."),
        (r"\.value\.", ".values."),
        (r"\.out\.", ".projection."),
        (r"^head\.", "classification.1."),
    ],
}


def _nth(match: re.Match[str], group: int = 1) -> int:
    return 1 if match[group] == "first" else 2


def theirs(name: str, key: str) -> str:
    """BIOT's name for a weight of ours."""
    for pattern, new in NAMES[""] + NAMES[name]:
        key = re.sub(pattern, new, key)
    return key


def ours(name: str, n_channels: int, n_times: int) -> Any:
    """Our module at the paper's scale in float64, as the reference's is made."""
    shape = InputShape(
        channels=tuple(f"E{c + 1}" for c in range(n_channels)),
        n_times=n_times,
        rate_hz=200.0,
        n_classes=remake.N_CLASSES,
    )
    net = find_model(name).build(shape).double()
    net.load_state_dict(
        {
            k: v
            if k.endswith("num_batches_tracked")
            else remake.value(theirs(name, k), tuple(v.shape))
            for k, v in net.state_dict().items()
        }
    )
    for part in net.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        elif isinstance(part, nn.LSTM):
            part.dropout = 0.0
        if hasattr(part, "drop_prob"):
            part.drop_prob = 0.0
    return net


def test_the_figures_are_of_the_stated_commit() -> None:
    assert FIGURES["commit"].startswith(COMMIT)
    assert FIGURES["commit"] == remake.COMMIT


@pytest.mark.parametrize(("name", "n_channels", "n_times"), CASES)
def test_logits_gradients_and_statistics_are_those_of_the_reference(
    name: str, n_channels: int, n_times: int
) -> None:
    expected = FIGURES[f"{name} {n_channels}x{n_times}"]
    net = ours(name, n_channels, n_times)
    x = remake.windows_uv(n_channels, n_times)
    with torch.no_grad():
        judged = net.eval()(x)
    trained = net.train()(x)
    nn.functional.cross_entropy(trained, remake.labels()).backward()
    # The source adds 1e-8 to the percentile; ours does not.
    near = {"rtol": 1e-7, "atol": 1e-7}
    torch.testing.assert_close(judged, _wide(expected["eval"]), **near)
    torch.testing.assert_close(trained, _wide(expected["train"]), **near)
    gradients = {theirs(name, k): p.grad.norm() for k, p in net.named_parameters()}
    for key, norm in gradients.items():
        # A bias before a batch norm has no gradient but rounding.
        assert norm == pytest.approx(expected["gradient"][key], rel=1e-6, abs=1e-9)
    running = {
        theirs(name, k): b.norm() for k, b in net.named_buffers() if ".running_" in k
    }
    assert running == pytest.approx(expected["running"], rel=1e-7)


@pytest.mark.parametrize(("name", "n_channels", "n_times"), CASES)
def test_single_precision_agrees_as_well(
    name: str, n_channels: int, n_times: int
) -> None:
    expected = FIGURES[f"{name} {n_channels}x{n_times}"]["eval"]
    net = ours(name, n_channels, n_times).float().eval()
    x = remake.windows_uv(n_channels, n_times).float()
    with torch.no_grad():
        judged = net(x)
    torch.testing.assert_close(judged.double(), _wide(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", remake.CLASSES)
def test_what_is_left_out_never_had_a_gradient(name: str) -> None:
    expected = FIGURES[f"{name} 16x2000"]
    net = ours(name, 16, 2000)
    kept = {theirs(name, k) for k, _ in net.named_parameters()}
    left_out = expected["gradient"].keys() - kept
    assert kept < expected["gradient"].keys() or not left_out
    is_queries_and_keys = {k.split(".")[3] for k in left_out} == {"query", "key"}
    assert is_queries_and_keys == (name == "st_transformer")
    assert all(expected["gradient"][k] < 1e-12 for k in left_out)
    n_left_out = expected["weights"] - sum(p.numel() for p in net.parameters())
    assert n_left_out == (2 * (16 * 16 + 3 * 16) if left_out else 0)


@pytest.mark.parametrize("name", remake.CLASSES)
def test_the_comparison_notices_one_weight_that_moved(name: str) -> None:
    net = ours(name, 16, 1000).eval()
    x = remake.windows_uv(16, 1000)
    with torch.no_grad():
        next(net.parameters()).view(-1)[0].add_(1e-2)
        moved = (net(x) - _wide(FIGURES[f"{name} 16x1000"]["eval"])).abs().max()
    assert moved > 1e-6


def _wide(figures: list[list[float]]) -> torch.Tensor:
    return torch.tensor(figures, dtype=torch.float64)
