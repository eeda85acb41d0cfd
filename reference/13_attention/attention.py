"""Attention: each token looks up, in the others, what it needs, and where to look is learned."""

import math
from collections.abc import Sequence

import numpy as np
from katas.activations import Softmax
from katas.autograd import no_grad
from katas.layers import Dropout, Linear, Module, Sequential
from katas.tensor import Tensor, concatenate

# 13.1 Weights


def attention_weights(q: Tensor, k: Tensor, mask=None, causal: bool = False, window: int | None = None) -> Tensor:
    """softmax(q kᵀ / √head_dim): how much each query looks at each key. A row sums to 1, or to 0 if it may look nowhere.

    q (…, queries, head_dim), k (…, keys, head_dim) → (…, queries, keys), of their dtype. mask: booleans of a shape that
    broadcasts to the result's, True where a query may look. causal: the last query stands beside the last key, and no query
    looks at a later key. window: a query sees its own key and the window - 1 before it, and no later one.
    Raises: ValueError that contains both shapes if two don't fit, or the window if it is not positive; TypeError if mask is not
    boolean.
    """
    _check_window(window)
    _check_shapes("q", q, "k", k, q.shape[-1:] == k.shape[-1:])
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.T  # (…, queries, keys); q is scaled, which is smaller
    seen = _seen(scores.shape, mask, causal, window)
    if seen is None:
        return Softmax(-1)(scores)
    anywhere = seen.any(-1, keepdims=True)
    zero, minus_infinity = np.array([0, -np.inf], scores.dtype)
    hidden = np.where(seen | ~anywhere, zero, minus_infinity)  # a row of -∞ alone would give NaN: it looks everywhere, ...
    weights = Softmax(-1)(scores + hidden)
    return weights if anywhere.all() else weights * anywhere  # ... and then nowhere


def _check_window(window: int | None) -> None:
    if window is not None and window < 1:
        raise ValueError(f"window must be positive, not {window}")


def _check_shapes(left: str, a: Tensor, right: str, b: Tensor, fit: bool) -> None:
    try:
        np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        fit = False
    if not fit or min(a.ndim, b.ndim) < 2:
        raise ValueError(f"{left} of shape {a.shape} and {right} of shape {b.shape} don't fit")


def _seen(shape: tuple[int, ...], mask, causal: bool, window: int | None) -> np.ndarray | None:
    """Where the queries may look, as booleans that broadcast to shape (…, queries, keys); None if that is everywhere."""
    seen = None if mask is None else _boolean(mask, shape)
    if causal or window is not None:
        queries, keys = shape[-2:]
        sight = np.tri(queries, keys, keys - queries, bool)  # the last query sees all keys, the one before all but one, ...
        if window is not None:
            sight &= ~np.tri(queries, keys, keys - queries - window, bool)
        seen = sight if seen is None else seen & sight
    return seen


def _boolean(mask, shape: tuple[int, ...]) -> np.ndarray:
    mask = Tensor(mask).data
    if mask.dtype != np.bool_:
        raise TypeError(f"a mask must be boolean, True where a query may look, not {mask.dtype}")
    try:
        np.broadcast_to(mask, shape)
    except ValueError:
        raise ValueError(f"a mask of shape {mask.shape} does not broadcast to (…, queries, keys): {shape}") from None
    return mask


# 13.2 Attention


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask=None, causal: bool = False) -> Tensor:
    """softmax(q kᵀ / √head_dim) v: for each query the mean of the values, weighted by where it looks.

    Vaswani et al. 2017, section 3.2.1. q (…, queries, head_dim), k (…, keys, head_dim), v (…, keys, value_dim) →
    (…, queries, value_dim). A query that may look nowhere gives zeros. mask, causal and what is raised: as attention_weights.
    """
    _check_shapes("k", k, "v", v, k.shape[-2:-1] == v.shape[-2:-1])
    return attention_weights(q, k, mask, causal) @ v


# 13.3 Many heads


class MultiHeadAttention(Module):
    """n_head attentions side by side, each in a part of the channels (Vaswani et al. 2017, section 3.2.2).

    `c_attn` gives q, k and v, in this order, and in each the heads one after another; `c_proj` joins the heads.
    """

    def __init__(
        self,
        d_model: int,
        n_head: int,
        dropout: float = 0.0,
        bias: bool = True,
        causal: bool = True,
        positions: Module | None = None,
        window: int | None = None,
        layer: int = 0,
        rng: np.random.Generator | None = None,
    ):
        """positions: a RotaryPositions for head_dim = d_model / n_head channels; it rotates q and k. layer: which of a cache.

        dropout falls on the weights and on the result. rng None means a fresh generator.
        Raises: ValueError that contains both if n_head does not divide d_model; ValueError if window is not positive.
        """
        if n_head < 1 or d_model % n_head:
            raise ValueError(f"n_head = {n_head} does not divide d_model = {d_model}")
        _check_window(window)
        rng = np.random.default_rng(rng)
        self.d_model, self.n_head, self.causal, self.window, self.layer = d_model, n_head, causal, window, layer
        self.positions = positions
        self.c_attn = Linear(d_model, 3 * d_model, bias, rng)
        self.c_proj = Linear(d_model, d_model, bias, rng)
        self.dropout = Dropout(dropout, rng) if dropout else Sequential()  # which draws no numbers for nothing

    def forward(self, x: Tensor, mask=None, cache=None) -> Tensor:
        """x (batch, time, d_model) → the same shape. mask (batch, time): True for real tokens, which alone are looked at.

        With a cache x are new tokens, behind the cache.lengths of each row, and look at those in the cache too. Then padding
        may only stand behind a row's real tokens, and is not kept.
        Raises: ValueError that contains the shape if x or mask has another, or if padding stands before a token, or causal is
        False, with a cache; TypeError if mask is not boolean.
        """
        real = self._check(x, mask)
        if cache is None:
            q, k, v = self._heads(x, 0)
            weights = attention_weights(q, k, real, self.causal, self.window)
        else:
            q, k, v = self._heads(x, cache.lengths)
            k, v, seen = cache.extend(self.layer, k, v, *self._padding(real))
            weights = attention_weights(q, k, seen)
        y = self.dropout(weights) @ v  # (batch, heads, time, head_dim)
        return self.dropout(self.c_proj(y.permute(0, 2, 1, 3).reshape(*x.shape)))  # (batch, time, heads · head_dim)

    def _check(self, x: Tensor, mask) -> np.ndarray | None:
        """mask as (batch, 1, 1, keys): a padded token is not looked at, whoever looks."""
        if x.ndim != 3 or x.shape[-1] != self.d_model:
            raise ValueError(f"MultiHeadAttention({self.d_model}, {self.n_head}) got input of shape {x.shape}")
        if mask is None:
            return None
        shape = Tensor(mask).shape
        if shape != x.shape[:2]:
            raise ValueError(f"a mask of shape {shape} for input of shape {x.shape}: it must be (batch, time)")
        return _boolean(mask, shape)[:, None, None, :]

    def _heads(self, x: Tensor, start) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v (batch, heads, time, head_dim), views of one array unless positions rotate them."""
        batch, time, _ = x.shape
        qkv = self.c_attn(x).reshape(batch, time, 3, self.n_head, self.d_model // self.n_head)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if self.positions is not None:
            q, k = self.positions(q, start), self.positions(k, start)
        return q, k, v

    def _padding(self, real: np.ndarray | None) -> tuple[np.ndarray, ...]:
        """What a cache is told of padding: nothing if there is none."""
        if not self.causal:
            raise ValueError("a cache needs causal=True: the tokens in it can't look at those that come later")
        if real is None or real.all():
            return ()
        real = real[:, 0, 0]  # (batch, time)
        if (real[:, 1:] > real[:, :-1]).any():
            raise ValueError("with a cache, padding may only stand behind the real tokens of a row")
        return (real,)

    # 13.4 Looking at attention

    def weights(self, x: Tensor, mask=None) -> np.ndarray:
        """The attention map: how much each token looks at each, without dropout and gradients. (batch, heads, time, time)."""
        real = self._check(x, mask)
        with no_grad():
            q, k, _ = self._heads(x, 0)
            return attention_weights(q, k, real, self.causal, self.window).data


def draw_attention(path: str, weights: np.ndarray, tokens: Sequence[str] | None = None) -> None:  # given
    """Draws weights (heads, queries, keys), or of one head, into a file: a row for each query, the darker the more it looks.

    tokens are the names of the keys, the last of which are the queries'. The suffix may be .png, .svg or .pdf.
    """
    from matplotlib.figure import Figure  # which takes a second to import

    heads = np.reshape(weights, (-1, *np.shape(weights)[-2:]))
    figure = Figure(figsize=(4 * len(heads), 4), layout="constrained")
    for head, (table, axes) in enumerate(zip(heads, figure.subplots(1, len(heads), squeeze=False)[0], strict=True)):
        axes.imshow(table, cmap="Blues", vmin=0, vmax=1)
        axes.set(title=f"head {head}", xlabel="looked at", ylabel="looks")
        if tokens is not None:
            axes.set_xticks(range(table.shape[1]), tokens)
            axes.set_yticks(range(table.shape[0]), tokens[len(tokens) - table.shape[0] :])
    figure.savefig(path)


# 13.5 Long sequences

BLOCK = 64  # given: queries at a time


def blocked_attention(q: Tensor, k: Tensor, v: Tensor, mask=None, causal: bool = False, window: int | None = None) -> Tensor:
    """What scaled_dot_product_attention gives, window included, for inference: in memory linear in the number of tokens.

    BLOCK queries at a time look at the keys from the first to the last that causal and window let one of them see.
    Raises: as attention_weights; RuntimeError if a gradient is required and recorded.
    """
    _check_shapes("q", q, "k", k, q.shape[-1:] == k.shape[-1:])
    _check_shapes("k", k, "v", v, k.shape[-2:-1] == v.shape[-2:-1])
    queries, keys = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = _boolean(mask, (*np.broadcast_shapes(q.shape[:-2], k.shape[:-2]), queries, keys))
        mask = np.broadcast_to(mask, (*mask.shape[:-2], queries, keys))
    parts = []
    for start in range(0, max(queries, 1), BLOCK):
        stop = start + BLOCK  # the last block may be shorter
        first, last = keys - queries + start, keys - queries + stop - 1  # the keys beside the first and the last query
        begin = 0 if window is None else max(0, first - window + 1)
        end = keys if window is None and not causal else max(0, last + 1)
        rows, sight = np.s_[..., start:stop, :], np.s_[..., begin:end, :]
        part = None if mask is None else mask[..., start:stop, begin:end]
        y = attention_weights(q[rows], k[sight], part, causal, window) @ v[sight]
        if y.requires_grad:
            raise RuntimeError("blocked_attention is for inference and keeps nothing for backward: call it under no_grad()")
        parts.append(y)
    return concatenate(parts, -2)
