"""Trace a second time: its equations in plain loops, slow, for tests only.

From: the parameters of an encoder, by name, its configuration and a batch in µV.
To: test_against_trace_oracle.py, which holds the fast encoder to it.

Paper: "Trace: Temporal Routing with Autoregressive Cross-channel Experts for EEG
Representation Learning" (arXiv 2605.11380). Numbers in brackets are its equations.
Letters: B windows, C channels, P patches, L points of a patch, D width, N experts,
K active experts, W width of an expert, Q queries, F filters, J positions of a filter.

A token is a vector at a place (c, t): channel c, step t, both from 0. A window is a
dict from places to vectors, and a padded channel or step has no place in it. Nothing
is written in place, so that autograd runs through all of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from eegfm_bench.models.trace.config import TraceConfig

State = Mapping[str, Tensor]
Tokens = dict[tuple[int, int], Tensor]
# (b, t) of a step, or (b, t, c) of a token where every token is routed alone.
Rows = dict[tuple[int, ...], Tensor]

GROUP_NORM_EPS = 1e-5  # PyTorch's; the specification names none for this norm


@dataclass(frozen=True)
class OracleResult:
    """What the encoder answers for a batch; rows of padding are absent."""

    hidden: Tensor  # (B, C, P, D), zero at padding
    probabilities: list[Rows]  # a layer each, values (N,)
    chosen: list[dict[tuple[int, ...], list[int]]]  # a layer each, likeliest first
    balance: Tensor

    @property
    def smallest_gap(self) -> float:
        """Probability between the last chosen expert and the first left out."""
        gaps = [math.inf]
        for rows, chosen in zip(self.probabilities, self.chosen, strict=True):
            for row, p in rows.items():
                last = min(p[i].item() for i in chosen[row])
                out = [i for i in range(len(p)) if i not in chosen[row]]
                gaps += [last - p[i].item() for i in out]
        return min(gaps)


def encode(
    state: State,
    config: TraceConfig,
    x_BCT: Tensor,
    channel_mask: Tensor | None = None,
    patch_mask: Tensor | None = None,
) -> OracleResult:
    """Encode a batch, window after window.

    Parameters
    ----------
    state : mapping
        Parameters of the encoder by name, of the same dtype as the windows.
    config : TraceConfig
        Shape of the encoder.
    x_BCT : tensor (B, C, T)
        Windows in µV; points after the last whole patch are dropped.
    channel_mask, patch_mask : tensor (B, C), (B, P), optional
        True where a channel or a patch is real.

    Returns
    -------
    OracleResult
        Hidden states, routing of each layer, balance loss.
    """
    B, C, T = x_BCT.shape
    L = config.patch_len
    P = T // L
    routed = config.routing != "none"
    probabilities: list[Rows] = [{} for _ in range(config.layers if routed else 0)]
    windows = []
    for b in range(B):
        channels = [c for c in range(C) if channel_mask is None or channel_mask[b, c]]
        steps = [t for t in range(P) if patch_mask is None or patch_mask[b, t]]
        embedded: Tokens = {}
        for c in channels:
            for t in steps:
                patch_L = x_BCT[b, c, t * L : (t + 1) * L] / config.scale_uv
                embedded[c, t] = embed(state, config, patch_L)
        tokens = add_positions(state, config, embedded)
        for layer in range(config.layers):
            tokens, rows = block(state, config, f"blocks.{layer}", tokens)
            for row, p_N in rows.items():
                probabilities[layer][(b, *row)] = p_N
        normed = norm_all(state["norm.weight"], config, tokens)
        nothing = x_BCT.new_zeros(config.dim)
        windows.append(
            torch.stack(
                [
                    torch.stack([normed.get((c, t), nothing) for t in range(P)])
                    for c in range(C)
                ]
            )
        )
    chosen = [
        {row: top(p_N, config.active) for row, p_N in rows.items()}
        for rows in probabilities
    ]
    per_layer = [
        balance(rows, chosen[layer], config.active)
        for layer, rows in enumerate(probabilities)
    ]
    mean = sum(per_layer) / len(per_layer) if per_layer else x_BCT.new_zeros(())
    return OracleResult(torch.stack(windows), probabilities, chosen, mean)


def embed(state: State, config: TraceConfig, patch_L: Tensor) -> Tensor:
    """Embed one patch alone from its two views, eqs. (2) to (6)."""
    if config.views == "time":
        return time_view(state, config, patch_L)
    if config.views == "spectrum":
        return spectral_view(state, patch_L)
    z_time, z_freq = time_view(state, config, patch_L), spectral_view(state, patch_L)
    if config.fusion == "sum":
        return z_time + z_freq
    gate = torch.sigmoid(linear(state, "patches.gate", torch.cat([z_time, z_freq])))
    return gate * z_time + (1 - gate) * z_freq


def time_view(state: State, config: TraceConfig, patch_L: Tensor) -> Tensor:
    """Slide every filter over the patch, norm, bend, project: (2), (3)."""
    rows: list[Tensor] = []
    for m, k in enumerate(config.time_kernels):
        edge = patch_L.new_zeros(k // 2)
        padded = torch.cat([edge, patch_L, edge])
        weight = state[f"patches.time.convs.{m}.weight"]  # (F, 1, k)
        bias = state[f"patches.time.convs.{m}.bias"]
        starts = range(0, len(padded) - k + 1, config.stride)
        answers_F = [weight[:, 0] @ padded[s : s + k] + bias for s in starts]
        rows += torch.stack(answers_F).T.unbind()
    normed = group_norm(
        rows,
        config.norm_groups,
        state["patches.time.norm.weight"],
        state["patches.time.norm.bias"],
    )
    flat = torch.cat([silu(row_J) for row_J in normed])
    return linear(state, "patches.time.project", flat)


def group_norm(
    rows: list[Tensor], n_groups: int, weight: Tensor, bias: Tensor
) -> list[Tensor]:
    """Norm groups of neighbouring filters (J) to mean 0 and variance 1."""
    size = len(rows) // n_groups
    normed = []
    for f, row_J in enumerate(rows):
        first = f // size * size
        group = torch.cat(rows[first : first + size])
        mean = group.sum() / len(group)
        variance = ((group - mean) ** 2).sum() / len(group)
        unit = (row_J - mean) / torch.sqrt(variance + GROUP_NORM_EPS)
        normed.append(weight[f] * unit + bias[f])
    return normed


def spectral_view(state: State, patch_L: Tensor) -> Tensor:
    """Weigh and project the logarithm of the amplitudes, eq. (4)."""
    logs = torch.stack([torch.log(1 + a) for a in amplitudes(patch_L)])
    masked = state["patches.spectrum.mask"] * logs
    return linear(state, "patches.spectrum.project", masked)


def amplitudes(patch_L: Tensor) -> list[Tensor]:
    """Sum the patch against a cosine and a sine of each whole frequency."""
    L = len(patch_L)
    n = torch.arange(L, dtype=patch_L.dtype)
    found = []
    for k in range(L // 2 + 1):
        angle = 2 * math.pi * k * n / L
        real, imaginary = patch_L @ torch.cos(angle), -(patch_L @ torch.sin(angle))
        # abs of a complex number has the gradient 0 at 0, the square root has none.
        found.append(torch.complex(real, imaginary).abs())
    return found


def add_positions(state: State, config: TraceConfig, embedded: Tokens) -> Tokens:
    """Add to a token what its neighbours along the channels say, (7), (8)."""
    placed: Tokens = {}
    for (c, t), vector_D in embedded.items():
        total = vector_D
        for m, k in enumerate(config.channel_kernels):
            kernel = state[f"positions.kernels.{m}"]  # (D, 1, k, 1)
            for i in range(k):
                neighbour = (c + i - k // 2, t)
                if neighbour in embedded:
                    total = total + kernel[:, 0, i, 0] * embedded[neighbour]
        placed[c, t] = total
    return placed


def block(
    state: State, config: TraceConfig, name: str, tokens: Tokens
) -> tuple[Tokens, Rows]:
    """Attend, then think, each on normed tokens and with a residual: (9), (10)."""
    normed = norm_all(state[f"{name}.attention_norm.weight"], config, tokens)
    attended = attention(state, config, f"{name}.attention", normed)
    tokens = {at: tokens[at] + attended[at] for at in tokens}
    normed = norm_all(state[f"{name}.ffn_norm.weight"], config, tokens)
    thought, rows = feed_forward(state, config, f"{name}.ffn", normed)
    return {at: tokens[at] + thought[at] for at in tokens}, rows


def attention(state: State, config: TraceConfig, name: str, tokens: Tokens) -> Tokens:
    """Attend over the channels of a step and over a channel's past, (19)-(21).

    With ``attention=full``, which is not the paper's, over its future as well.
    """
    H, G = config.heads, config.kv_heads
    D, kv = config.dim, G * (config.dim // H)
    parts = {
        at: torch.split(
            state[f"{name}.project_in.weight"] @ h_D, [D, kv, kv, D, kv, kv]
        )
        for at, h_D in tokens.items()
    }
    turned_q = {
        at: rotate(part[3], at[1], H, config.rope_base) for at, part in parts.items()
    }
    turned_k = {
        at: rotate(part[4], at[1], G, config.rope_base) for at, part in parts.items()
    }
    result: Tokens = {}
    for c, t in tokens:
        step = [at for at in tokens if at[1] == t]
        past = [at for at in tokens if at[0] == c and is_seen(config, at[1], t)]
        spatial = attend(
            parts[c, t][0],
            [parts[at][1] for at in step],
            [parts[at][2] for at in step],
            H,
            G,
        )
        temporal = attend(
            turned_q[c, t],
            [turned_k[at] for at in past],
            [parts[at][5] for at in past],
            H,
            G,
        )
        both = torch.cat([spatial, temporal])
        result[c, t] = state[f"{name}.project_out.weight"] @ both
    return result


def is_seen(config: TraceConfig, step: int, by: int) -> bool:
    """Whether a step may be looked at from another."""
    return config.attention == "full" or step <= by


def rotate(vector: Tensor, position: int, n_heads: int, base: float) -> Tensor:
    """Turn component i of each head against component i + half of it (RoPE)."""
    width = len(vector) // n_heads
    half = width // 2
    angles = [position * base ** (-2 * i / width) for i in range(half)]
    cos = vector.new_tensor([math.cos(angle) for angle in angles])
    sin = vector.new_tensor([math.sin(angle) for angle in angles])
    turned = []
    for head in torch.split(vector, width):
        first, second = head[:half], head[half:]
        turned += [first * cos - second * sin, second * cos + first * sin]
    return torch.cat(turned)


def attend(
    query: Tensor,
    keys: Sequence[Tensor],
    values: Sequence[Tensor],
    n_heads: int,
    n_kv_heads: int,
) -> Tensor:
    """Average the values by their keys' likeness to the query, head by head."""
    width = len(query) // n_heads
    keys_by_head = [torch.split(key, width) for key in keys]
    values_by_head = [torch.split(value, width) for value in values]
    heads = []
    for j, q in enumerate(torch.split(query, width)):
        g = j // (n_heads // n_kv_heads)
        scores = [q @ key[g] / math.sqrt(width) for key in keys_by_head]
        weights = softmax(torch.stack(scores))
        parts = zip(weights, values_by_head, strict=True)
        heads.append(sum(weight * value[g] for weight, value in parts))
    return torch.cat(heads)


def feed_forward(
    state: State, config: TraceConfig, name: str, tokens: Tokens
) -> tuple[Tokens, Rows]:
    """Think with the shared expert and with those chosen, eqs. (11), (12)."""
    steps = sorted({t for _, t in tokens})
    rows: Rows = {}
    if config.routing == "token":
        for (c, t), h_D in tokens.items():
            rows[t, c] = select(state, name, h_D)
    elif config.routing == "mean":
        for t in steps:
            now = [h_D for at, h_D in tokens.items() if at[1] == t]
            rows[(t,)] = select(state, name, sum(now) / len(now))
    elif config.routing == "trace":
        for t in steps:
            seen = [h_D for at, h_D in tokens.items() if is_seen(config, at[1], t)]
            summary = summarise_history(state, config, f"{name}.history", seen)
            rows[(t,)] = select(state, name, summary)
    result: Tokens = {}
    for (c, t), h_D in tokens.items():
        total = torch.zeros_like(h_D)
        if config.routing == "none" or config.shared_width > 0:
            total = total + shared_expert(state, f"{name}.shared", h_D)
        if rows:
            p_N = rows[(t, c) if config.routing == "token" else (t,)]
            best = top(p_N, config.active)
            scale = sum(p_N[i] for i in best) if config.norm_topk else 1.0
            for i in best:
                answer = swiglu(
                    h_D,
                    state[f"{name}.experts.gate_up"][i],
                    state[f"{name}.experts.down"][i],
                )
                total = total + p_N[i] / scale * answer
        result[c, t] = total
    return result, rows


def summarise_history(
    state: State, config: TraceConfig, name: str, seen: list[Tensor]
) -> Tensor:
    """Let the queries look at every token up to now, eqs. (13), (14)."""
    keys = [state[f"{name}.key.weight"] @ h_D for h_D in seen]
    values = [state[f"{name}.value.weight"] @ h_D for h_D in seen]
    looks = [
        attend(query_D, keys, values, config.query_heads, config.query_heads)
        for query_D in state[f"{name}.queries"]
    ]
    mean = sum(looks) / len(looks)
    return linear(state, f"{name}.mix.2", silu(linear(state, f"{name}.mix.0", mean)))


def select(state: State, name: str, vector_D: Tensor) -> Tensor:
    """Give every expert its probability, eq. (11)."""
    return softmax(state[f"{name}.select.weight"] @ vector_D)


def top(p_N: Tensor, n: int) -> list[int]:
    """Name the n likeliest experts, the likeliest first."""
    return sorted(range(len(p_N)), key=lambda i: -p_N[i].item())[:n]


def shared_expert(state: State, name: str, h_D: Tensor) -> Tensor:
    """Apply the expert that is always active."""
    gate_up, down = state[f"{name}.gate_up.weight"], state[f"{name}.down.weight"]
    return swiglu(h_D, gate_up.T, down.T)


def swiglu(h_D: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """Apply one expert: gate_up (D, 2W), its gate first, and down (W, D)."""
    width = len(down)
    gate, up = h_D @ gate_up[:, :width], h_D @ gate_up[:, width:]
    return (silu(gate) * up) @ down


def balance(
    rows: Rows, chosen: Mapping[tuple[int, ...], Sequence[int]], n_active: int
) -> Tensor:
    """Multiply how often an expert is chosen with its mean probability, (17)."""
    n_experts = len(next(iter(rows.values())))
    terms = []
    for i in range(n_experts):
        times = sum(i in chosen[row] for row in rows)
        frequency = n_experts / (n_active * len(rows)) * times
        terms.append(frequency * sum(p_N[i] for p_N in rows.values()) / len(rows))
    return sum(terms)


def forecast(
    state: State, horizons: Sequence[int], hidden: Tensor
) -> dict[int, Tensor]:
    """Say the next h patches from every hidden state (B, C, P, D), eq. (15)."""
    B, C, P, _ = hidden.shape
    result = {}
    for h in horizons:
        weight = state[f"heads.{h}.weight"]
        said = [
            weight @ hidden[b, c, t]
            for b in range(B)
            for c in range(C)
            for t in range(P)
        ]
        result[h] = torch.stack(said).reshape(B, C, P, len(weight))
    return result


def forecast_loss(
    forecasts: Mapping[int, Tensor],
    patches_BCPL: Tensor,
    *,
    channel_mask: Tensor | None = None,
    patch_mask: Tensor | None = None,
    delta: float = 1.0,
) -> tuple[Tensor, dict[int, Tensor]]:
    """Compare forecasts with the patches that came, eq. (16).

    A horizon counts only where all of its patches exist; one without any such
    place is absent, and the loss is the mean over the others.
    """
    B, C, P, _ = patches_BCPL.shape
    per_horizon: dict[int, Tensor] = {}
    for h, said in forecasts.items():
        errors = []
        for b in range(B):
            for c in range(C):
                for t in range(P):
                    channel = channel_mask is None or bool(channel_mask[b, c])
                    inside = t + h < P
                    real = patch_mask is None or bool(
                        patch_mask[b, t : t + h + 1].all()
                    )
                    if channel and inside and real:
                        came = patches_BCPL[b, c, t + 1 : t + h + 1].reshape(-1)
                        errors += [huber(e, delta) for e in said[b, c, t] - came]
        if errors:
            per_horizon[h] = sum(errors) / len(errors)
    if not per_horizon:
        return patches_BCPL.new_zeros(()), per_horizon
    return sum(per_horizon.values()) / len(per_horizon), per_horizon


def huber(error: Tensor, delta: float) -> Tensor:
    """Square small errors, take large ones as they are."""
    if abs(error.item()) <= delta:
        return error**2 / 2
    return delta * (abs(error) - delta / 2)


def norm_all(weight: Tensor, config: TraceConfig, tokens: Tokens) -> Tokens:
    """Norm each token alone."""
    return {at: rms_norm(v, weight, config.norm_eps) for at, v in tokens.items()}


def rms_norm(vector: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Divide by the root of the mean square."""
    mean_square = (vector**2).sum() / len(vector)
    return weight * vector / torch.sqrt(mean_square + eps)


def linear(state: State, name: str, vector: Tensor) -> Tensor:
    """Apply a linear map with its bias."""
    return state[f"{name}.weight"] @ vector + state[f"{name}.bias"]


def silu(vector: Tensor) -> Tensor:
    """Multiply by the logistic function of itself."""
    return vector * torch.sigmoid(vector)


def softmax(scores: Tensor) -> Tensor:
    """Exponentials, divided by their sum."""
    powers = torch.exp(scores - scores.detach().max())
    return powers / powers.sum()
