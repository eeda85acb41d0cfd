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
    raise NotImplementedError("13.1 attention_weights: README.md, 13.1")


# 13.2 Attention


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask=None, causal: bool = False) -> Tensor:
    """softmax(q kᵀ / √head_dim) v: for each query the mean of the values, weighted by where it looks.

    Vaswani et al. 2017, section 3.2.1. q (…, queries, head_dim), k (…, keys, head_dim), v (…, keys, value_dim) →
    (…, queries, value_dim). A query that may look nowhere gives zeros. mask, causal and what is raised: as attention_weights.
    """
    raise NotImplementedError("13.2 scaled_dot_product_attention: README.md, 13.2")


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
        raise NotImplementedError("13.3 MultiHeadAttention.__init__: README.md, 13.3")

    def forward(self, x: Tensor, mask=None, cache=None) -> Tensor:
        """x (batch, time, d_model) → the same shape. mask (batch, time): True for real tokens, which alone are looked at.

        With a cache x are new tokens, behind the cache.lengths of each row, and look at those in the cache too. Then padding
        may only stand behind a row's real tokens, and is not kept.
        Raises: ValueError that contains the shape if x or mask has another, or if padding stands before a token, or causal is
        False, with a cache; TypeError if mask is not boolean.
        """
        raise NotImplementedError("13.3 MultiHeadAttention.forward: README.md, 13.3")

    # 13.4 Looking at attention

    def weights(self, x: Tensor, mask=None) -> np.ndarray:
        """The attention map: how much each token looks at each, without dropout and gradients. (batch, heads, time, time)."""
        raise NotImplementedError("13.4 MultiHeadAttention.weights: README.md, 13.4")


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
    raise NotImplementedError("13.5 blocked_attention: README.md, 13.5")
