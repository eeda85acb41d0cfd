"""Attention, spelled out: softmax by hand, one head after another, and blocks that are merged as they come."""

import math

import numpy as np
from katas.autograd import no_grad
from katas.layers import Dropout, Linear, Module
from katas.tensor import Tensor, concatenate, stack, where

BLOCK = 64


def _booleans(mask):
    if isinstance(mask, Tensor):
        mask = mask.data
    elif not isinstance(mask, np.ndarray) and np.size(mask) == 0:
        mask = np.zeros(np.shape(mask), bool)
    if np.array(mask).dtype != bool:
        raise TypeError(f"{np.array(mask).dtype} is no mask: booleans are")
    return np.array(mask)


def _visible(mask, leading, queries, keys, causal, window):
    """A whole array of booleans (…, queries, keys)."""
    shape = (*leading, queries, keys)
    visible = np.ones(shape, bool)
    if mask is not None:
        mask = _booleans(mask)
        if mask.ndim > len(shape) or any(a not in (1, b) for a, b in zip(mask.shape[::-1], shape[::-1], strict=False)):
            raise ValueError(f"mask {mask.shape} against {shape}")
        visible &= mask
    if window is not None and not window > 0:
        raise ValueError(f"window {window}")
    behind = np.arange(keys - queries, keys)[:, None] - np.arange(keys)
    if causal or window is not None:
        visible &= behind >= 0
    if window is not None:
        visible &= behind < window
    return visible


def _leading(a, b):
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError(f"{a.shape} and {b.shape} need two axes")
    try:
        return np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError as error:
        raise ValueError(f"{a.shape} and {b.shape}: {error}") from error


def attention_weights(q, k, mask=None, causal=False, window=None):
    leading = _leading(q, k)
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"{q.shape} and {k.shape} have other lengths")
    visible = _visible(mask, leading, q.shape[-2], k.shape[-2], causal, window)
    dtype = q.dtype
    scores = ((q * Tensor(1.0) if dtype == np.float16 else q) @ k.T) / math.sqrt(q.shape[-1])
    if not visible.size:
        return Tensor._result("reshape", scores.data.astype(dtype), scores, shape=scores.shape)
    hidden = where(visible, scores, -np.inf).data
    largest = np.where(visible.any(-1, keepdims=True), hidden.max(-1, keepdims=True), 0).astype(scores.dtype)
    exps = where(visible, where(visible, scores - largest, 0.0).exp(), 0.0)
    sums = exps.sum(-1, keepdim=True)
    weights = exps / where(sums.data == 0, 1.0, sums)
    return (
        weights if dtype != np.float16 else Tensor._result("reshape", weights.data.astype(dtype), weights, shape=weights.shape)
    )


def scaled_dot_product_attention(q, k, v, mask=None, causal=False):
    _leading(k, v)
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"keys {k.shape}, values {v.shape}")
    return attention_weights(q, k, mask, causal) @ v


class MultiHeadAttention(Module):
    def __init__(self, d_model, n_head, dropout=0.0, bias=True, causal=True, positions=None, window=None, layer=0, rng=None):
        if n_head <= 0 or d_model // n_head * n_head != d_model:
            raise ValueError(f"{d_model} channels for {n_head} heads")
        if window is not None and window <= 0:
            raise ValueError(f"window {window}")
        if rng is None:
            rng = np.random.default_rng()
        self.d_model = d_model
        self.n_head, self.head_dim, self.causal, self.window, self.layer = n_head, d_model // n_head, causal, window, layer
        self.c_attn, self.c_proj = Linear(d_model, 3 * d_model, bias, rng), Linear(d_model, d_model, bias, rng)
        self.attn_dropout, self.resid_dropout = Dropout(dropout, rng), Dropout(dropout, rng)
        self.positions = positions

    def _split(self, x, start):
        """Three slices, each cut into a list of heads and stacked: (batch, heads, time, head_dim)."""
        y = self.c_attn(x)
        width = self.n_head * self.head_dim
        parts = []
        for first in (0, width, 2 * width):
            heads = [y[:, :, first + h * self.head_dim : first + (h + 1) * self.head_dim] for h in range(self.n_head)]
            parts.append(stack(heads, 1))
        q, k, v = parts
        if self.positions is not None:
            q = self.positions(q, start)
            k = self.positions(k, start)
        return q, k, v

    def _real(self, x, mask):
        if x.ndim != 3 or x.shape[2] != self.n_head * self.head_dim:
            raise ValueError(f"input {x.shape}")
        if mask is None:
            return None
        if np.shape(mask.data if isinstance(mask, Tensor) else mask) != x.shape[:2]:
            raise ValueError(f"mask {np.shape(mask.data if isinstance(mask, Tensor) else mask)} for {x.shape}")
        return _booleans(mask)

    def forward(self, x, mask=None, cache=None):
        real = self._real(x, mask)
        if cache is not None and not self.causal:
            raise ValueError("only causal attention has a cache")
        start = 0 if cache is None else cache.lengths.copy()
        if cache is not None and real is not None:
            counts = real.sum(1)
            if not np.array_equal(real, np.arange(real.shape[1]) < counts[:, None]):
                raise ValueError("padding comes before a token")
        q, k, v = self._split(x, start)
        if cache is None:
            visible = None if real is None else real[:, None, None]
            causal, window = self.causal, self.window
        else:
            k, v, visible = (
                cache.extend(self.layer, k, v, real) if real is not None and not real.all() else cache.extend(self.layer, k, v)
            )
            causal, window = False, None
        weights = attention_weights(q, k, visible, causal, window)
        weights = self.attn_dropout(weights) if self.attn_dropout.p else weights
        heads = [weights[:, h] @ v[:, h] for h in range(self.n_head)]
        y = self.c_proj(concatenate(heads, -1))
        return self.resid_dropout(y) if self.resid_dropout.p else y

    def weights(self, x, mask=None):
        real = self._real(x, mask)
        with no_grad():
            q, k, _ = self._split(x, 0)
            return attention_weights(q, k, None if real is None else real[:, None, None], self.causal, self.window).data


def draw_attention(path, weights, tokens=None):
    from matplotlib.figure import Figure

    heads = np.reshape(weights, (-1, *np.shape(weights)[-2:]))
    figure = Figure()
    for table, axes in zip(heads, figure.subplots(1, len(heads), squeeze=False)[0], strict=True):
        axes.imshow(table)
    figure.savefig(path)


def blocked_attention(q, k, v, mask=None, causal=False, window=None):
    """Blocks of keys too, merged by the online softmax (Milakov and Gimelshein, 2018), on arrays."""
    leading = _leading(q, k)
    _leading(k, v)
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"{q.shape} and {k.shape} have other lengths")
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"keys {k.shape}, values {v.shape}")
    if window is not None and window <= 0:
        raise ValueError(f"window {window}")
    if any((x * 1.0).requires_grad for x in (q, k, v)):
        raise RuntimeError("this is for inference")
    queries, keys, dtype = q.shape[-2], k.shape[-2], q.dtype
    wide = np.float64 if dtype == np.float64 else np.float32
    if mask is not None:
        mask = _booleans(mask)
        shape = (*leading, queries, keys)
        if mask.ndim > len(shape) or any(a not in (1, b) for a, b in zip(mask.shape[::-1], shape[::-1], strict=False)):
            raise ValueError(f"mask {mask.shape} against {shape}")
        mask = np.broadcast_to(mask, (*mask.shape[:-2], queries, keys))
    leading = np.broadcast_shapes(leading, v.shape[:-2])
    result = np.zeros((*leading, queries, v.shape[-1]), dtype)
    for top in range(0, queries, BLOCK):
        bottom = min(top + BLOCK, queries)
        own = np.arange(top, bottom)[:, None] + keys - queries
        total = np.zeros((*leading, bottom - top, v.shape[-1]), wide)
        sums = np.zeros((*leading, bottom - top, 1), wide)
        largest = np.full((*leading, bottom - top, 1), -np.inf, wide)
        for left in range(0, keys, BLOCK):
            right = min(left + BLOCK, keys)
            if (causal or window is not None) and left > own[-1, 0]:
                break
            if window is not None and own[0, 0] - (right - 1) >= window:
                continue
            j = np.arange(left, right)
            visible = np.ones((bottom - top, right - left), bool)
            if causal or window is not None:
                visible = visible & (j <= own)
            if window is not None:
                visible = visible & (own - j < window)
            if mask is not None:
                visible = visible & mask[..., top:bottom, left:right]
            scores = q.data[..., top:bottom, :].astype(wide) @ k.data[..., left:right, :].astype(wide).swapaxes(-1, -2)
            scores = np.where(visible, scores / wide(math.sqrt(q.shape[-1])), wide(-np.inf))
            new = np.maximum(largest, scores.max(-1, keepdims=True))
            safe = np.where(np.isfinite(new), new, 0).astype(wide)
            shrink, exps = np.exp(largest - safe), np.exp(scores - safe)
            total = total * shrink + exps @ v.data[..., left:right, :].astype(wide)
            sums = sums * shrink + exps.sum(-1, keepdims=True)
            largest = new
        result[..., top:bottom, :] = total / np.where(sums == 0, 1, sums)
    return Tensor(result)
