"""Slow and obvious: attention one query and one key at a time, and its gradients."""

import math

import numpy as np


def seen(shape: tuple[int, ...], mask=None, causal: bool = False, window: int | None = None) -> np.ndarray:
    """Where queries may look, for weights of that shape (…, queries, keys). The last query stands beside the last key."""
    *_, queries, keys = shape
    result = np.ones(shape, bool) if mask is None else np.array(np.broadcast_to(mask, shape))
    for i in range(queries):
        own = keys - queries + i
        for j in range(keys):
            if (causal or window is not None) and j > own:
                result[..., i, j] = False
            if window is not None and j <= own - window:
                result[..., i, j] = False
    return result


def weights(q: np.ndarray, k: np.ndarray, mask=None, causal: bool = False, window: int | None = None) -> np.ndarray:
    """How much each query looks at each key: (…, queries, keys), zeros in a row that may look nowhere."""
    leading = np.broadcast_shapes(q.shape[:-2], k.shape[:-2])
    (queries, head_dim), keys = q.shape[-2:], k.shape[-2]
    q, k = np.broadcast_to(q, (*leading, queries, head_dim)), np.broadcast_to(k, (*leading, keys, head_dim))
    may, result = seen((*leading, queries, keys), mask, causal, window), np.zeros((*leading, queries, keys))
    for index in np.ndindex(*leading, queries):
        *batch, _ = index
        visible = [j for j in range(keys) if may[(*index, j)]]
        scores = [sum(float(a) * float(b) for a, b in zip(q[index], k[(*batch, j)], strict=True)) for j in visible]
        scores = [score / math.sqrt(head_dim) for score in scores]
        exps = [math.exp(score - max(scores)) for score in scores]
        for j, e in zip(visible, exps, strict=True):
            result[(*index, j)] = e / sum(exps)
    return result


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask=None, causal: bool = False, window=None) -> np.ndarray:
    """The values, each as often as it is looked at: (…, queries, value_dim)."""
    table = weights(q, k, mask, causal, window)
    *leading, queries, keys = table.shape
    v = np.broadcast_to(v, (*leading, *v.shape[-2:]))
    result = np.zeros((*leading, queries, v.shape[-1]))
    for index in np.ndindex(*leading, queries):
        *batch, _ = index
        for j in range(keys):
            result[index] += table[(*index, j)] * v[(*batch, j)]
    return result


def gradients(g: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, mask=None, causal: bool = False) -> tuple:
    """The gradients of ⟨g, attention⟩ by q, k and v, which have the same leading axes."""
    table = weights(q, k, mask, causal)
    to_q, to_k, to_v = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
    scale = 1 / math.sqrt(q.shape[-1])
    for index in np.ndindex(table.shape[:-1]):
        *batch, _ = index
        row, keys = table[index], range(table.shape[-1])
        by_weight = [np.dot(g[index], v[(*batch, j)]) for j in keys]  # ∂/∂weight
        mean = sum(row[j] * by_weight[j] for j in keys)
        for j in keys:
            key = (*batch, j)
            by_score = row[j] * (by_weight[j] - mean)
            to_q[index] += scale * by_score * k[key]
            to_k[key] += scale * by_score * q[index]
            to_v[key] += row[j] * g[index]
    return to_q, to_k, to_v


def heads(x: np.ndarray, state: dict, n_head: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """q, k and v of x (batch, time, d_model), each (batch, heads, time, head_dim). state is a module's, by name."""
    batch, time, d_model = x.shape
    head_dim = d_model // n_head
    bias = state.get("c_attn.bias", np.zeros(3 * d_model))
    results = []
    for part in range(3):
        result = np.zeros((batch, n_head, time, head_dim))
        for n, h, t, c in np.ndindex(result.shape):
            row = part * d_model + h * head_dim + c  # q's rows of the weight, then k's, then v's; in each head after head
            result[n, h, t, c] = np.dot(state["c_attn.weight"][row].astype(np.float64), x[n, t]) + bias[row]
        results.append(result)
    return tuple(results)


def joined(y: np.ndarray, state: dict) -> np.ndarray:
    """The result of heads y (batch, heads, time, head_dim): (batch, time, d_model)."""
    batch, n_head, time, head_dim = y.shape
    rows = np.zeros((batch, time, n_head * head_dim))
    for n, h, t, c in np.ndindex(y.shape):
        rows[n, t, h * head_dim + c] = y[n, h, t, c]
    return rows @ state["c_proj.weight"].astype(np.float64).T + state.get("c_proj.bias", np.zeros(n_head * head_dim))


def multi_head(
    x: np.ndarray, state: dict, n_head: int, mask=None, causal: bool = True, window=None, rotate=lambda a: a
) -> np.ndarray:
    """Attention of many heads, of x (batch, time, d_model). rotate: what positions do to q and k. mask: (batch, time)."""
    q, k, v = heads(x, state, n_head)
    mask = None if mask is None else np.asarray(mask)[:, None, None, :]
    return joined(attention(rotate(q), rotate(k), v, mask, causal, window), state)


def dense(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask=None, causal: bool = False, window=None) -> np.ndarray:
    """attention for hundreds of tokens: all scores at once, in float64. No row may look nowhere."""
    scores = np.einsum("...qc,...kc->...qk", q.astype(np.float64), k.astype(np.float64)) / math.sqrt(q.shape[-1])
    exps = np.exp(scores - scores.max()) * seen(scores.shape, mask, causal, window)
    return np.einsum("...qk,...kc->...qc", exps / exps.sum(-1, keepdims=True), v.astype(np.float64))
