"""Transformers: normalization and residual connections make deep stacks train; a GPT, and what it says next."""

import math
import operator
import os
import re
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from katas.activations import GELU
from katas.attention import MultiHeadAttention
from katas.autograd import no_grad
from katas.dataloader import ArrayDataset, Dataset
from katas.embeddings import Embedding, LearnedPositions, RotaryPositions, SinusoidalPositions
from katas.layers import Dropout, Linear, Module, Parameter, Sequential
from katas.tensor import Tensor

# 14.1 Normalization: over the last axis, of each token by itself


class LayerNorm(Module):
    """(x - mean) / √(variance + eps) · weight + bias, where the variance divides by n (Ba, Kiros & Hinton 2016)."""

    def __init__(self, d_model: int, bias: bool = True, eps: float = 1e-5):
        """weight (d_model,) starts as ones; bias (d_model,) as zeros, or is None with bias=False."""
        raise NotImplementedError("14.1 LayerNorm.__init__: README.md, 14.1")

    def forward(self, x: Tensor) -> Tensor:
        """x (…, d_model) → the same shape. Raises: ValueError if the last axis is not d_model."""
        raise NotImplementedError("14.1 LayerNorm.forward: README.md, 14.1")


class RMSNorm(Module):
    """x / √(mean of x² + eps) · weight: no mean is subtracted, and there is no bias (Zhang & Sennrich 2019)."""

    def __init__(self, d_model: int, eps: float = 1e-5):
        """weight (d_model,) starts as ones."""
        raise NotImplementedError("14.1 RMSNorm.__init__: README.md, 14.1")

    def forward(self, x: Tensor) -> Tensor:
        """x (…, d_model) → the same shape. Raises: ValueError if the last axis is not d_model."""
        raise NotImplementedError("14.1 RMSNorm.forward: README.md, 14.1")


# 14.2 FeedForward


class FeedForward(Module):
    """Two linear layers with a GELU between them, for each token by itself: d_model → 4 · d_model → d_model."""

    def __init__(self, d_model: int, dropout: float = 0.0, bias: bool = True, rng: np.random.Generator | None = None):
        """c_fc and c_proj are the linear layers. Dropout comes last. Raises: as Linear and Dropout."""
        raise NotImplementedError("14.2 FeedForward.__init__: README.md, 14.2")

    def forward(self, x: Tensor) -> Tensor:
        """x (…, d_model) → the same shape."""
        raise NotImplementedError("14.2 FeedForward.forward: README.md, 14.2")


# 14.3 GPTConfig


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT. nanoGPT calls context block_size; GPT-2 calls d_model n_embd.

    positions: "learned", "sinusoidal" or "rotary". norm: "layer" or "rms". bias: whether linear layers and LayerNorm have one.
    window: with rotary positions, a token sees itself and the window - 1 tokens before it in every layer, and a text may be
    longer than context.
    """

    vocab_size: int
    context: int
    n_layer: int
    n_head: int
    d_model: int
    dropout: float = 0.0
    bias: bool = True
    positions: str = "learned"
    norm: str = "layer"
    window: int | None = None

    def __post_init__(self):
        """Sizes become Python integers. Raises: ValueError that contains the name and the value of what does not fit."""
        raise NotImplementedError("14.3 GPTConfig.__post_init__: README.md, 14.3")


# 14.4 Block


class Block(Module):
    """Attention, then a FeedForward, each on a normalized copy of x, and each added to x (pre-norm)."""

    def __init__(self, config: GPTConfig, layer: int = 0, rotary: RotaryPositions | None = None, rng=None):
        """layer: the number of this block in a cache. rotary: rotates queries and keys. rng None means a fresh generator."""
        raise NotImplementedError("14.4 Block.__init__: README.md, 14.4")

    def forward(self, x: Tensor, mask=None, cache=None) -> Tensor:
        """x (batch, time, d_model) → the same shape; mask and cache as MultiHeadAttention takes them."""
        raise NotImplementedError("14.4 Block.forward: README.md, 14.4")


# 14.5 GPT


class GPT(Module):
    """A decoder that gives logits for the next token at every position (Radford et al. 2019), with nanoGPT's names.

    transformer.wte, .wpe (unless positions are rotary), .h.0 …, .ln_f; lm_head, whose weight is that of wte: one Parameter.
    """

    def __init__(self, config: GPTConfig, rng: np.random.Generator | None = None):
        """Initialized as GPT-2: matrices N(0, 0.02²), those that add to x (c_proj) N(0, 0.02² / (2·n_layer)), biases 0.

        rng, None for a fresh generator, draws these and the dropout masks.
        """
        raise NotImplementedError("14.5 GPT.__init__: README.md, 14.5")

    def forward(self, ids, mask=None, cache=None) -> Tensor:
        """ids (batch, time), integers in a list, an array or a Tensor → logits (batch, time, vocab_size).

        mask (batch, time), boolean: True for real tokens. Padding may be anywhere, with any ids: it changes no logit of a real
        token, and its own mean nothing. cache: holds the keys and values of earlier tokens; the new ones follow them.
        Raises: ValueError if the shapes don't fit, or, without a window, a row has more than `context` tokens, earlier ones and
        padding included; TypeError unless ids are integers and mask booleans; IndexError for an id that does not exist.
        """
        raise NotImplementedError("14.5 GPT.forward: README.md, 14.5")

    def parameter_groups(self, weight_decay: float) -> list[dict]:
        """Two groups for an optimizer: matrices, which decay, and all others, which don't. Each Parameter is in one, once."""
        raise NotImplementedError("14.5 GPT.parameter_groups: README.md, 14.5")

    # 14.6 GPT-2's weights

    @classmethod
    def from_gpt2(cls, state: dict | str | os.PathLike, n_head: int) -> "GPT":
        """A GPT with the weights of GPT-2: a dict from names to arrays, or the path of a safetensors file.

        Names may begin with "transformer."; the linear layers' weights are stored as (in, out). A block's attn.bias and
        attn.masked_bias, which are masks, are ignored; lm_head.weight, if it is there, must be that of wte.
        Raises: ValueError that contains each name that is missing, unexpected or given twice; else each one of a wrong shape,
        with the shape that was given.
        """
        raise NotImplementedError("14.6 GPT.from_gpt2: README.md, 14.6")


# 14.7 Training data


def next_token_windows(ids, length: int) -> Dataset:
    """All windows of a row of ids: sample i is (ids[i : i + length], ids[i + 1 : i + 1 + length]). Nothing is copied.

    ids: integers in a list, an array or a Tensor. Raises: TypeError if they are not integers; ValueError unless they have one
    axis, length is a positive integer, and there are more ids than length.
    """
    raise NotImplementedError("14.7 next_token_windows: README.md, 14.7")


# 14.8 generate


def generate(
    model: GPT,
    ids,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Collection[int] | Tensor = (),
    rng: np.random.Generator | None = None,
    cache=None,
) -> Iterator[int]:
    """Yields up to max_new_tokens ids that continue `ids`, a row of integers, one by one: ends before an id that is in `stop`,
    a collection, array or Tensor of integers.

    Logits are divided by the temperature (0: takes the most probable id, the first of several). Then all but the top_k most
    probable ids are dropped (of equal ones the first stay), then all but the smallest set of the most probable whose
    probabilities reach top_p. Draws from rng, None for a fresh generator. In eval mode, without recording.
    cache: an empty one, or one that holds the tokens before ids; each token is then computed once.
    Raises, when it is called: ValueError for a prompt that is empty or does not fit into the context, a max_new_tokens that is
    not an integer of at least 0, a top_k that is not a positive one, a temperature below 0 or not finite, or a top_p outside
    (0, 1]; TypeError unless ids and stop ids are integers. At the first id: IndexError for an id that does not exist.
    Warns: UserWarning if it ends because the context of a model without window is full.
    """
    raise NotImplementedError("14.8 generate: README.md, 14.8")
