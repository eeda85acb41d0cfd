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


def _check(layer: Module, x: Tensor) -> None:
    if x.shape[-1:] != layer.weight.shape:
        raise ValueError(f"{type(layer).__name__}({len(layer.weight)}) got input of shape {x.shape}")


class LayerNorm(Module):
    """(x - mean) / √(variance + eps) · weight + bias, where the variance divides by n (Ba, Kiros & Hinton 2016)."""

    def __init__(self, d_model: int, bias: bool = True, eps: float = 1e-5):
        """weight (d_model,) starts as ones; bias (d_model,) as zeros, or is None with bias=False."""
        self.weight = Parameter(np.ones(d_model, np.float32))
        self.bias = Parameter(np.zeros(d_model, np.float32)) if bias else None
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """x (…, d_model) → the same shape. Raises: ValueError if the last axis is not d_model."""
        _check(self, x)
        deviation = x - x.mean(-1, keepdim=True)
        variance = (deviation * deviation).mean(-1, keepdim=True)
        y = deviation * (1 / (variance + self.eps).sqrt()) * self.weight  # a product for each value, no division
        return y if self.bias is None else y + self.bias


class RMSNorm(Module):
    """x / √(mean of x² + eps) · weight: no mean is subtracted, and there is no bias (Zhang & Sennrich 2019)."""

    def __init__(self, d_model: int, eps: float = 1e-5):
        """weight (d_model,) starts as ones."""
        self.weight = Parameter(np.ones(d_model, np.float32))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """x (…, d_model) → the same shape. Raises: ValueError if the last axis is not d_model."""
        _check(self, x)
        mean_square = (x * x).mean(-1, keepdim=True)
        return x * (1 / (mean_square + self.eps).sqrt()) * self.weight


# 14.2 FeedForward


class FeedForward(Module):
    """Two linear layers with a GELU between them, for each token by itself: d_model → 4 · d_model → d_model."""

    def __init__(self, d_model: int, dropout: float = 0.0, bias: bool = True, rng: np.random.Generator | None = None):
        """c_fc and c_proj are the linear layers. Dropout comes last. Raises: as Linear and Dropout."""
        rng = np.random.default_rng(rng)
        self.c_fc = Linear(d_model, 4 * d_model, bias, rng)
        self.gelu = GELU()
        self.c_proj = Linear(4 * d_model, d_model, bias, rng)
        self.dropout = _dropout(dropout, rng)

    def forward(self, x: Tensor) -> Tensor:
        """x (…, d_model) → the same shape."""
        return self.dropout(self.c_proj(self.gelu(self.c_fc(x))))


def _dropout(p: float, rng: np.random.Generator) -> Module:
    """With p = 0 nothing, so that no mask is drawn."""
    return Dropout(p, rng) if p else Sequential()


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
        for name in ("vocab_size", "context", "n_layer", "n_head", "d_model", "window"):
            value = getattr(self, name)
            if (name, value) != ("window", None) and not _is_integer(value, 1):
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
            if value is not None:
                object.__setattr__(self, name, int(value))  # products of NumPy's uint8 would overflow
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {self.dropout!r}")
        if self.positions not in ("learned", "sinusoidal", "rotary"):
            raise ValueError(f'positions must be "learned", "sinusoidal" or "rotary", not {self.positions!r}')
        if self.norm not in ("layer", "rms"):
            raise ValueError(f'norm must be "layer" or "rms", not {self.norm!r}')
        if self.d_model % self.n_head:
            raise ValueError(f"n_head {self.n_head} does not divide d_model {self.d_model}")
        if self.positions == "rotary" and self.d_model // self.n_head % 2:
            raise ValueError(f"rotary positions need an even head, not d_model {self.d_model} / n_head {self.n_head}")
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise ValueError(f"sinusoidal positions need an even d_model, not {self.d_model}")
        if self.window is not None and self.positions != "rotary":
            raise ValueError(f"window {self.window} needs rotary positions, not {self.positions!r}")


def _is_integer(value, least: int) -> bool:
    """Whether it is an integer, Python's or NumPy's but no boolean, and not smaller than `least`."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= least


# 14.4 Block


class Block(Module):
    """Attention, then a FeedForward, each on a normalized copy of x, and each added to x (pre-norm)."""

    def __init__(self, config: GPTConfig, layer: int = 0, rotary: RotaryPositions | None = None, rng=None):
        """layer: the number of this block in a cache. rotary: rotates queries and keys. rng None means a fresh generator."""
        rng = np.random.default_rng(rng)
        sizes = config.d_model, config.n_head, config.dropout, config.bias
        self.ln_1 = _norm(config)
        self.attn = MultiHeadAttention(*sizes, positions=rotary, window=config.window, layer=layer, rng=rng)
        self.ln_2 = _norm(config)
        self.mlp = FeedForward(config.d_model, config.dropout, config.bias, rng)

    def forward(self, x: Tensor, mask=None, cache=None) -> Tensor:
        """x (batch, time, d_model) → the same shape; mask and cache as MultiHeadAttention takes them."""
        x = x + self.attn(self.ln_1(x), mask, cache)
        return x + self.mlp(self.ln_2(x))


def _norm(config: GPTConfig) -> Module:
    return LayerNorm(config.d_model, config.bias) if config.norm == "layer" else RMSNorm(config.d_model)


# 14.5 GPT


class GPT(Module):
    """A decoder that gives logits for the next token at every position (Radford et al. 2019), with nanoGPT's names.

    transformer.wte, .wpe (unless positions are rotary), .h.0 …, .ln_f; lm_head, whose weight is that of wte: one Parameter.
    """

    def __init__(self, config: GPTConfig, rng: np.random.Generator | None = None):
        """Initialized as GPT-2: matrices N(0, 0.02²), those that add to x (c_proj) N(0, 0.02² / (2·n_layer)), biases 0.

        rng, None for a fresh generator, draws these and the dropout masks.
        """
        rng = np.random.default_rng(rng)
        self.config = config
        body = self.transformer = Module()
        body.wte = Embedding(config.vocab_size, config.d_model, rng=rng)
        if config.positions == "learned":
            body.wpe = LearnedPositions(config.context, config.d_model, rng)
        elif config.positions == "sinusoidal":
            body.wpe = SinusoidalPositions(config.context, config.d_model)
        rotary = _rotary(config, config.context) if config.positions == "rotary" else None
        self._room = config.context  # how many positions there are
        body.drop = _dropout(config.dropout, rng)
        body.h = [Block(config, layer, rotary, rng) for layer in range(config.n_layer)]
        body.ln_f = _norm(config)
        self.lm_head = Linear(config.d_model, config.vocab_size, bias=False, rng=rng)
        self.lm_head.weight = body.wte.weight
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                std = 0.02 / math.sqrt(2 * config.n_layer) if name.endswith("c_proj.weight") else 0.02
                parameter.data[...] = std * rng.standard_normal(parameter.shape, np.float32)
            elif name.endswith("bias"):
                parameter.data[...] = 0

    def forward(self, ids, mask=None, cache=None) -> Tensor:
        """ids (batch, time), integers in a list, an array or a Tensor → logits (batch, time, vocab_size).

        mask (batch, time), boolean: True for real tokens. Padding may be anywhere, with any ids: it changes no logit of a real
        token, and its own mean nothing. cache: holds the keys and values of earlier tokens; the new ones follow them.
        Raises: ValueError if the shapes don't fit, or, without a window, a row has more than `context` tokens, earlier ones and
        padding included; TypeError unless ids are integers and mask booleans; IndexError for an id that does not exist.
        """
        ids, order = Tensor(ids).data, None
        if ids.ndim != 2 or not ids.size:
            raise ValueError(f"ids must have the axes (batch, time), and be at least one, not of shape {ids.shape}")
        start = 0 if cache is None else np.array(cache.lengths)  # as they are before the first block
        self._make_room(int(np.max(start)) + ids.shape[1])
        if mask is not None:
            mask = Tensor(mask).data
            if mask.dtype != np.bool_:
                raise TypeError(f"the mask must be boolean, True for real tokens, not {mask.dtype}")
            if mask.shape != ids.shape:
                raise ValueError(f"the mask has shape {mask.shape}, but the ids have {ids.shape}")
            # Each row's real tokens come first: so positions count them alone, and the causal mask hides the padding
            order = np.argsort(~mask, axis=1, kind="stable")
            ids = np.take_along_axis(np.where(mask, ids, ids.dtype.type(0)), order, 1)
            mask = np.take_along_axis(mask, order, 1)
        body = self.transformer
        x = body.wte(ids)  # (batch, time, d_model)
        if self.config.positions == "sinusoidal":
            x = x * math.sqrt(self.config.d_model)  # Vaswani et al. 2017, section 3.4: else sines drown the tokens
        if self.config.positions != "rotary":
            x = body.wpe(x, start)
        x = body.drop(x)
        for block in body.h:
            x = block(x, None if cache is None else mask, cache)
        if order is not None:
            x = x[np.arange(len(ids))[:, None], np.argsort(order, 1)]  # back to where they were
        return self.lm_head(body.ln_f(x))

    def _make_room(self, length: int) -> None:
        """Raises if a row is longer than the context. With a window it may be: then the rotations' table grows with it."""
        if length > self.config.context and self.config.window is None:
            raise ValueError(f"a row has {length} tokens, but the context is {self.config.context}")
        if length > self._room:
            self._room = 2 * length
            rotary = _rotary(self.config, self._room)
            for block in self.transformer.h:
                block.attn.positions = rotary

    def parameter_groups(self, weight_decay: float) -> list[dict]:
        """Two groups for an optimizer: matrices, which decay, and all others, which don't. Each Parameter is in one, once."""
        matrices = [parameter for parameter in self.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in self.parameters() if parameter.ndim <= 1]
        return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]

    # 14.6 GPT-2's weights

    @classmethod
    def from_gpt2(cls, state: dict | str | os.PathLike, n_head: int) -> "GPT":
        """A GPT with the weights of GPT-2: a dict from names to arrays, or the path of a safetensors file.

        Names may begin with "transformer."; the linear layers' weights are stored as (in, out). A block's attn.bias and
        attn.masked_bias, which are masks, are ignored; lm_head.weight, if it is there, must be that of wte.
        Raises: ValueError that contains each name that is missing, unexpected or given twice; else each one of a wrong shape,
        with the shape that was given.
        """
        if isinstance(state, str | os.PathLike):
            from safetensors.numpy import load_file

            state = load_file(state)
        problems = [f"{name} is given twice" for name in state if f"transformer.{name}" in state]
        arrays = {name.removeprefix("transformer."): Tensor(value).data for name, value in state.items()}
        blocks = {match[1] for match in map(re.compile(r"h\.(\d+)\.(?!attn\.(masked_)?bias$)").match, arrays) if match}
        masks = {f"h.{block}.attn.{kind}" for block in blocks for kind in ("bias", "masked_bias")}
        arrays = {name: array for name, array in arrays.items() if name not in masks}
        head = arrays.pop("lm_head.weight", None)
        n_layer = max(1, len(blocks))
        names = _gpt2_shapes(cls(GPTConfig(1, 1, n_layer, 1, 1)))
        problems += [f"{name} is missing" for name in names if name not in arrays]
        problems += [f"{name} is unexpected" for name in arrays if name not in names]
        problems += [
            f"{name} must have two axes, not the shape {arrays[name].shape}"
            for name in ("wte.weight", "wpe.weight")
            if name in arrays and arrays[name].ndim != 2
        ]
        if problems:
            raise ValueError(f"the state is not that of a GPT-2: {'; '.join(problems)}")
        if head is not None and not np.array_equal(head, arrays["wte.weight"], equal_nan=True):
            raise ValueError("lm_head.weight is not tied: it differs from wte.weight")
        (vocab_size, d_model), context = arrays["wte.weight"].shape, len(arrays["wpe.weight"])
        model = cls(GPTConfig(vocab_size, context, n_layer, n_head, d_model))
        problems = [
            f"{name} has shape {arrays[name].shape}, not {shape}"
            for name, shape in _gpt2_shapes(model).items()
            if arrays[name].shape != shape
        ]
        if problems:
            raise ValueError(f"the state is not that of a GPT-2: {'; '.join(problems)}")
        model.load_state_dict(
            {f"transformer.{name}": array.T if _IN_OUT.fullmatch(name) else array for name, array in arrays.items()}
        )
        return model


_IN_OUT = re.compile(r"h\.\d+\.(attn|mlp)\.c_\w+\.weight")  # what GPT-2's files hold as (in, out)


def _gpt2_shapes(model: GPT) -> dict[str, tuple[int, ...]]:
    """The model's parameters as GPT-2's files hold them: their names, and their shapes."""
    named = [(name.removeprefix("transformer."), parameter.shape) for name, parameter in model.named_parameters()]
    return {name: shape[::-1] if _IN_OUT.fullmatch(name) else shape for name, shape in named}


def _rotary(config: GPTConfig, max_positions: int) -> RotaryPositions:
    return RotaryPositions(max_positions, config.d_model // config.n_head)


# 14.7 Training data


def next_token_windows(ids, length: int) -> Dataset:
    """All windows of a row of ids: sample i is (ids[i : i + length], ids[i + 1 : i + 1 + length]). Nothing is copied.

    ids: integers in a list, an array or a Tensor. Raises: TypeError if they are not integers; ValueError unless they have one
    axis, length is a positive integer, and there are more ids than length.
    """
    ids = Tensor(ids).data
    if ids.ndim != 1 or not _is_integer(length, 1) or length >= len(ids):
        raise ValueError(f"windows of length {length!r} need one axis of more ids, not the shape {ids.shape}")
    if ids.dtype.kind not in "iu":
        raise TypeError(f"ids must be integers, not {ids.dtype}")
    windows = np.lib.stride_tricks.sliding_window_view(ids, int(length) + 1)  # (samples, length + 1)
    return ArrayDataset(windows[:, :-1], windows[:, 1:])


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
    ids = Tensor(ids).data
    if ids.ndim != 1 or not ids.size:
        raise ValueError(f"the prompt must be a row of at least one id, not of shape {ids.shape}")
    if ids.dtype.kind not in "iu":
        raise TypeError(f"ids must be integers, not {ids.dtype}")
    length, room = len(ids), math.inf if model.config.window else model.config.context
    if cache is not None:
        length += int(cache.lengths[0])
    if length > room:
        raise ValueError(f"a prompt of {length} tokens, cached ones included, does not fit into the context of {room}")
    for name, value, fits in [
        ("max_new_tokens", max_new_tokens, _is_integer(max_new_tokens, 0)),
        ("temperature", temperature, 0 <= temperature < math.inf),
        ("top_k", top_k, top_k is None or _is_integer(top_k, 1)),
        ("top_p", top_p, top_p is None or 0 < top_p <= 1),
    ]:
        if not fits:
            raise ValueError(f"{name} can't be {value!r}")
    text, rng = ids.tolist(), np.random.default_rng(rng)
    stop = frozenset(map(operator.index, stop.data if isinstance(stop, Tensor) else stop))

    def generated() -> Iterator[int]:
        new = len(text)
        for number in range(max_new_tokens):
            if length + number > room:
                warnings.warn(f"the context of {room} tokens is full after {number} new ones", stacklevel=2)
                return
            logits = _last_logits(model, text[-new:] if cache is not None else text[-_reach(model.config) :], cache)
            token = _drawn(logits, temperature, top_k, top_p, rng)
            if token in stop:
                return
            yield token
            text.append(token)
            new = 1

    return generated()


def _reach(config: GPTConfig) -> int:
    """How many of the last tokens influence the next one: each layer looks window - 1 further back."""
    return config.n_layer * (config.window - 1) + 1 if config.window else config.context


def _last_logits(model: GPT, ids: list[int], cache) -> np.ndarray:
    """The logits (vocab_size,) after ids; afterwards every module is in the mode in which it was."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        with no_grad():
            return model.forward(np.array([ids]), cache=cache).data[0, -1]
    finally:
        for module in training:
            module.training = True


def _drawn(logits: np.ndarray, temperature: float, top_k: int | None, top_p: float | None, rng: np.random.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    order = np.argsort(-logits, kind="stable")[:top_k]  # the most probable first
    shifted = logits[order].astype(np.float64) - logits[order[0]]
    p = np.exp(shifted / temperature)
    p /= p.sum()
    if top_p is not None:
        p = p[: np.searchsorted(np.cumsum(p), top_p) + 1]
        p /= p.sum()
    return int(rng.choice(order[: len(p)], p=p))
