"""Slow and obvious: what a GPT computes, one token and one head at a time, in float64; and which ids may be drawn."""

import math

import numpy as np

from specs.oracles.activations import gelu, softmax
from specs.oracles.embeddings import rotary, sinusoidal
from specs.oracles.layers import linear

HALVES = rotary("halves")


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None, eps: float = 1e-5) -> np.ndarray:
    """Each vector of the last axis less its mean, over the root of its variance, in which n stands below."""
    y = np.empty(x.shape)
    for index in np.ndindex(x.shape[:-1]):
        values = x[index].tolist()
        mean = math.fsum(values) / len(values)
        variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
        for c, value in enumerate(values):
            y[*index, c] = (value - mean) / math.sqrt(variance + eps) * weight[c] + (0 if bias is None else bias[c])
    return y


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """Each vector of the last axis over the root of the mean of its squares."""
    y = np.empty(x.shape)
    for index in np.ndindex(x.shape[:-1]):
        values = x[index].tolist()
        root = math.sqrt(math.fsum(value * value for value in values) / len(values) + eps)
        for c, value in enumerate(values):
            y[*index, c] = value / root * weight[c]
    return y


def feed_forward(x: np.ndarray, state: dict, name: str) -> np.ndarray:
    """The parameters are {name}c_fc.weight and so on."""
    hidden = gelu(linear(x, state[f"{name}c_fc.weight"], state.get(f"{name}c_fc.bias")))
    return linear(hidden, state[f"{name}c_proj.weight"], state.get(f"{name}c_proj.bias"))


def attention(x: np.ndarray, state: dict, name: str, config) -> np.ndarray:
    """x (time, d_model): every token looks at itself and those before it, or at as many of them as the window shows."""
    size = config.d_model // config.n_head
    qkv = linear(x, state[f"{name}c_attn.weight"], state.get(f"{name}c_attn.bias"))
    joined = np.empty(x.shape)
    for head in range(config.n_head):
        q, k, v = (qkv[:, part * config.d_model + head * size :][:, :size] for part in range(3))
        if config.positions == "rotary":
            q, k = (np.array([HALVES(row.tolist(), place) for place, row in enumerate(rows)]) for rows in (q, k))
        for time in range(len(x)):
            first = 0 if config.window is None else max(0, time - config.window + 1)
            weights = softmax(k[first : time + 1] @ q[time] / math.sqrt(size))
            joined[time, head * size : (head + 1) * size] = weights @ v[first : time + 1]
    return linear(joined, state[f"{name}c_proj.weight"], state.get(f"{name}c_proj.bias"))


def norm(x: np.ndarray, state: dict, name: str, config) -> np.ndarray:
    """The kind of normalization that the config names."""
    if config.norm == "rms":
        return rms_norm(x, state[f"{name}.weight"])
    return layer_norm(x, state[f"{name}.weight"], state.get(f"{name}.bias"))


def block(x: np.ndarray, state: dict, name: str, config) -> np.ndarray:
    """x (time, d_model); the parameters are {name}ln_1.weight and so on."""
    x = x + attention(norm(x, state, f"{name}ln_1", config), state, f"{name}attn.", config)
    return x + feed_forward(norm(x, state, f"{name}ln_2", config), state, f"{name}mlp.")


def gpt(state: dict, config, ids) -> np.ndarray:
    """The logits (time, vocab_size) for one row of ids, from the state_dict of a GPT."""
    wte = state["transformer.wte.weight"]
    rows = []
    for place, number in enumerate(np.asarray(ids).tolist()):
        row = wte[number].astype(np.float64)
        if config.positions == "learned":
            row = row + state["transformer.wpe.weight"][place]
        elif config.positions == "sinusoidal":
            row = np.array(sinusoidal((row * math.sqrt(config.d_model)).tolist(), place))
        rows.append(row)
    x = np.array(rows)
    for layer in range(config.n_layer):
        x = block(x, state, f"transformer.h.{layer}.", config)
    return linear(norm(x, state, "transformer.ln_f", config), wte)


def chances(logits, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None) -> dict[int, float]:
    """The probability of each id that may be drawn."""
    ranked = sorted(range(len(logits)), key=lambda number: (-logits[number], number))[:top_k]
    p = softmax(np.array([logits[number] / temperature for number in ranked], np.float64)).tolist()
    count = next((n for n in range(1, len(p)) if math.fsum(p[:n]) >= top_p), len(p)) if top_p is not None else len(p)
    return {number: chance / math.fsum(p[:count]) for number, chance in zip(ranked[:count], p, strict=False)}
