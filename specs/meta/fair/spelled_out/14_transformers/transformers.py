"""Transformers, spelled out: another correct solution."""

import dataclasses
import math
import numbers
import warnings

import numpy as np
from katas.activations import GELU
from katas.attention import MultiHeadAttention
from katas.autograd import no_grad
from katas.dataloader import Dataset
from katas.embeddings import Embedding, LearnedPositions, RotaryPositions, SinusoidalPositions
from katas.layers import Dropout, Linear, Module, Parameter
from katas.tensor import Tensor, concatenate


class LayerNorm(Module):
    def __init__(self, d_model, bias=True, eps=1e-5):
        self.weight, self.bias, self.eps, self.d_model = Parameter([1.0] * d_model), None, eps, d_model
        if bias:
            self.bias = Parameter([0.0] * d_model)

    def forward(self, x):
        if x.ndim == 0 or x.shape[-1] != self.d_model:
            raise ValueError(f"LayerNorm({self.d_model}): the input has the shape {x.shape}")
        spread = (x.var(-1, keepdim=True, correction=0) + self.eps).sqrt()
        y = (x - x.mean(-1, keepdim=True)) / spread * self.weight
        if self.bias is not None:
            y = y + self.bias
        return y


class RMSNorm(Module):
    def __init__(self, d_model, eps=1e-5):
        self.weight, self.eps, self.d_model = Parameter([1.0] * d_model), eps, d_model

    def forward(self, x):
        if x.ndim == 0 or x.shape[-1] != self.d_model:
            raise ValueError(f"RMSNorm({self.d_model}): the input has the shape {x.shape}")
        return self.weight * (x / ((x**2).mean(-1, keepdim=True) + self.eps) ** 0.5)


class FeedForward(Module):
    def __init__(self, d_model, dropout=0.0, bias=True, rng=None):
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout {dropout} is no probability below 1")
        rng = rng if rng is not None else np.random.default_rng()
        self.p, self.drop = dropout, Dropout(dropout, rng)
        self.c_fc = Linear(d_model, 4 * d_model, bias=bias, rng=rng)
        self.c_proj = Linear(4 * d_model, d_model, bias=bias, rng=rng)

    def forward(self, x):
        y = self.c_proj(GELU()(self.c_fc(x)))
        if self.p > 0:
            y = self.drop(y)
        return y


def whole(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


@dataclasses.dataclass(frozen=True)
class GPTConfig:
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
        values = dataclasses.asdict(self)

        def need(condition, *names):
            if not condition:
                raise ValueError("does not fit: " + ", ".join(f"{name}={values[name]!r}" for name in names))

        for name in ["vocab_size", "context", "n_layer", "n_head", "d_model"] + ["window"] * (self.window is not None):
            value = values[name]
            need(whole(value) and value >= 1, name)
            object.__setattr__(self, name, int(value))
        need(0 <= self.dropout < 1, "dropout")
        need(self.positions in ["learned", "sinusoidal", "rotary"], "positions")
        need(self.norm in ["layer", "rms"], "norm")
        need(self.d_model % self.n_head == 0, "n_head", "d_model")
        need(self.positions != "rotary" or (self.d_model // self.n_head) % 2 == 0, "positions", "n_head", "d_model")
        need(self.positions != "sinusoidal" or self.d_model % 2 == 0, "positions", "d_model")
        need(self.window is None or self.positions == "rotary", "window", "positions")


def norm_of(config):
    if config.norm == "rms":
        return RMSNorm(config.d_model)
    return LayerNorm(config.d_model, bias=config.bias)


class Block(Module):
    def __init__(self, config, layer=0, rotary=None, rng=None):
        rng = rng if rng is not None else np.random.default_rng()
        self.ln_1 = norm_of(config)
        self.attn = MultiHeadAttention(
            config.d_model,
            config.n_head,
            dropout=config.dropout,
            bias=config.bias,
            causal=True,
            positions=rotary,
            window=config.window,
            layer=layer,
            rng=rng,
        )
        self.ln_2 = norm_of(config)
        self.mlp = FeedForward(config.d_model, config.dropout, config.bias, rng)

    def forward(self, x, mask=None, cache=None):
        found = self.attn.forward(self.ln_1(x), mask=mask, cache=cache)
        x = x + found
        thought = self.mlp(self.ln_2(x))
        return x + thought


class Decoder(Module):
    """The part of a GPT that nanoGPT calls transformer."""


class GPT(Module):
    def __init__(self, config, rng=None):
        rng = rng if rng is not None else np.random.default_rng()
        self.config = config
        self.transformer = Decoder()
        self.transformer.wte = Embedding(config.vocab_size, config.d_model, rng=rng)
        self.drop = Dropout(config.dropout, rng)
        if config.positions == "learned":
            self.transformer.wpe = LearnedPositions(config.context, config.d_model, rng)
        if config.positions == "sinusoidal":
            self.transformer.wpe = SinusoidalPositions(config.context, config.d_model)
        self.transformer.h = []
        for layer in range(config.n_layer):
            self.transformer.h.append(Block(config, layer, None, rng))
        self.rotate(config.context)
        self.transformer.ln_f = norm_of(config)
        self.lm_head = Linear(config.d_model, config.vocab_size, bias=False, rng=rng)
        self.lm_head.weight = self.transformer.wte.weight
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.data = np.zeros(parameter.shape, np.float32)
            elif "ln_" not in name:
                values = rng.normal(0, 0.02, parameter.shape)
                if "c_proj" in name:
                    values /= math.sqrt(2 * config.n_layer)
                parameter.data = values.astype(np.float32)

    def rotate(self, positions):
        self.positions = positions
        if self.config.positions == "rotary":
            for block in self.transformer.h:
                block.attn.positions = RotaryPositions(positions, self.config.d_model // self.config.n_head)

    def forward(self, ids, mask=None, cache=None):
        ids = np.array(Tensor(ids).data)
        if ids.ndim != 2 or 0 in ids.shape:
            raise ValueError(f"expected ids (batch, time), got {ids.shape}")
        held = np.zeros(len(ids), int) if cache is None else np.array(cache.lengths)
        longest = int(held.max()) + ids.shape[1]
        if self.config.window is None and longest > self.config.context:
            raise ValueError(f"{longest} tokens are more than the context of {self.config.context}")
        if longest > self.positions:
            self.rotate(longest)
        if mask is None:
            return self.head(self.body(ids, held, None, cache))
        mask = np.array(Tensor(mask).data)
        if mask.dtype != bool:
            raise TypeError(f"a mask is boolean, not {mask.dtype}")
        if mask.shape != ids.shape:
            raise ValueError(f"mask {mask.shape} and ids {ids.shape} differ")
        ids[~mask] = 0
        # row by row: first the places of the real tokens, then those of the padding
        orders = [[*np.flatnonzero(real), *np.flatnonzero(~real)] for real in mask]
        ids = np.stack([row[order] for row, order in zip(ids, orders, strict=True)])
        real = np.stack([row[order] for row, order in zip(mask, orders, strict=True)])
        logits = self.head(self.body(ids, held, real if cache is not None else None, cache))
        rows = [row[np.argsort(order)].reshape(1, *row.shape) for row, order in zip(logits, orders, strict=True)]
        return concatenate(rows)

    def body(self, ids, held, mask, cache):
        x = self.transformer.wte(ids)
        if self.config.positions == "sinusoidal":
            x = self.config.d_model**0.5 * x
        if self.config.positions != "rotary":
            x = self.transformer.wpe.forward(x, held)
        if self.config.dropout > 0:
            x = self.drop(x)
        for block in self.transformer.h:
            x = block.forward(x, mask, cache)
        return self.transformer.ln_f(x)

    def head(self, x):
        return self.lm_head(x)

    def parameter_groups(self, weight_decay):
        groups = [{"params": [], "weight_decay": weight_decay}, {"params": [], "weight_decay": 0.0}]
        for parameter in self.parameters():
            groups[0 if parameter.ndim == 2 else 1]["params"].append(parameter)
        return groups

    @classmethod
    def from_gpt2(cls, state, n_head):
        if not isinstance(state, dict):
            from safetensors.numpy import load_file

            state = load_file(state)
        found = {}
        for name, value in state.items():
            short = name[len("transformer.") :] if name.startswith("transformer.") else name
            if short in found:
                raise ValueError(f"{short} is there twice")
            found[short] = np.array(Tensor(value).data)
        head = found.pop("lm_head.weight", None)
        numbers_ = {name.split(".")[1] for name in found if name.startswith("h.") and ".attn." not in name}
        numbers_ = {number for number in numbers_ if number.isdigit()} or {"0"}
        for number in numbers_:
            found.pop(f"h.{number}.attn.bias", None)
            found.pop(f"h.{number}.attn.masked_bias", None)
        wte, wpe = found.get("wte.weight"), found.get("wpe.weight")
        d = wte.shape[-1] if np.ndim(wte) == 2 else 0
        want = {
            "wte.weight": (len(wte), d) if d else "two axes",
            "wpe.weight": (len(wpe), d) if np.ndim(wpe) == 2 else "two axes",
        }
        for layer in range(len(numbers_)):
            for part, rows, columns in [("attn.c_attn", 1, 3), ("attn.c_proj", 1, 1), ("mlp.c_fc", 1, 4), ("mlp.c_proj", 4, 1)]:
                want[f"h.{layer}.{part}.weight"] = (rows * d, columns * d)
                want[f"h.{layer}.{part}.bias"] = (columns * d,)
            for part in ("ln_1", "ln_2"):
                want[f"h.{layer}.{part}.weight"] = want[f"h.{layer}.{part}.bias"] = (d,)
        want["ln_f.weight"] = want["ln_f.bias"] = (d,)
        wrong = [f"no {name}" for name in want if name not in found] + [
            f"{name}, unknown" for name in found if name not in want
        ]
        wrong += [
            f"{name}: {found[name].shape} for {want[name]}"
            for name in want
            if name in found and found[name].shape != want[name]
        ]
        if wrong:
            raise ValueError(", ".join(wrong))
        if head is not None and not (head.shape == wte.shape and ((head == wte) | (np.isnan(head) & np.isnan(wte))).all()):
            raise ValueError("lm_head.weight is not wte.weight")
        model = cls(GPTConfig(len(wte), len(wpe), len(numbers_), n_head, d))
        for name in list(found):
            if name.split(".")[-2] in ("c_attn", "c_proj", "c_fc") and name.endswith("weight"):
                found[name] = np.ascontiguousarray(found[name].T)
        model.load_state_dict({"transformer." + name: array for name, array in found.items()})
        return model


class Windows(Dataset):
    def __init__(self, ids, length):
        self.ids, self.length = ids, length

    def __len__(self):
        return len(self.ids) - self.length

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.ids[index : index + self.length], self.ids[index + 1 : index + 1 + self.length]

    def batch(self, indices):
        rows = self.ids[np.asarray(indices)[:, None] + np.arange(self.length + 1)]
        return rows[:, :-1], rows[:, 1:]


def next_token_windows(ids, length):
    ids = Tensor(ids).data
    if ids.ndim != 1:
        raise ValueError(f"ids have the shape {ids.shape}")
    if not whole(length) or length < 1 or length >= len(ids):
        raise ValueError(f"there are {len(ids)} ids, too few for a length of {length}")
    if not np.issubdtype(ids.dtype, np.integer):
        raise TypeError(f"ids are {ids.dtype}, not integers")
    return Windows(ids, int(length))


def generate(model, ids, max_new_tokens, temperature=1.0, top_k=None, top_p=None, stop=(), rng=None, cache=None):
    ids = Tensor(ids).data
    if ids.ndim != 1 or len(ids) == 0:
        raise ValueError(f"a prompt has one axis and is not empty: {ids.shape}")
    if not np.issubdtype(ids.dtype, np.integer):
        raise TypeError(f"a prompt has integers, not {ids.dtype}")
    if not whole(max_new_tokens) or max_new_tokens < 0:
        raise ValueError(f"max_new_tokens {max_new_tokens}")
    if not (temperature >= 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature {temperature}")
    if top_k is not None and not (whole(top_k) and top_k >= 1):
        raise ValueError(f"top_k {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p {top_p}")
    stop = set(stop.data) if isinstance(stop, Tensor) else set(stop)
    if not all(isinstance(number, numbers.Integral) for number in stop):
        raise TypeError(f"stop ids are integers: {stop}")
    return Continuation(model, ids, max_new_tokens, (temperature, top_k, top_p), stop, rng, cache)


class Continuation:
    """An iterator with attributes, where the reference has a generator function."""

    def __init__(self, model, ids, remaining, options, stop, rng, cache):
        self.model, self.text, self.remaining, self.options, self.stop = model, list(map(int, ids)), remaining, options, stop
        self.rng = rng if rng is not None else np.random.default_rng()
        self.cache, self.pending = cache, list(self.text)
        self.length = len(self.text) + (int(cache.lengths[0]) if cache is not None else 0)
        self.bounded = model.config.window is None
        if self.bounded and self.length > model.config.context:
            raise ValueError(f"the prompt makes {self.length} tokens, the context is {model.config.context}")

    def __iter__(self):
        return self

    def __next__(self):
        if self.remaining == 0:
            raise StopIteration
        if self.bounded and self.length > self.model.config.context:
            self.remaining = 0
            warnings.warn(f"no room behind {self.model.config.context} tokens", UserWarning, stacklevel=2)
            raise StopIteration
        number = sample(self.logits(), *self.options, self.rng)
        if number in self.stop:
            self.remaining = 0
            raise StopIteration
        self.text.append(number)
        self.pending, self.length, self.remaining = [number], self.length + 1, self.remaining - 1
        return number

    def logits(self):
        modes = {module: module.training for module in self.model.modules()}
        self.model.eval()
        try:
            with no_grad():
                if self.cache is None:
                    return self.model.forward(Tensor([self.text])).data[0][-1]
                return self.model.forward(Tensor([self.pending]), None, self.cache).data[0][-1]
        finally:
            for module, mode in modes.items():
                module.training = mode


def sample(logits, temperature, top_k, top_p, rng):
    logits = np.array(logits, np.float64)
    if temperature == 0:
        return int(np.argmax(logits))
    p = np.exp((logits - logits.max()) / temperature)
    ranked = np.lexsort([np.arange(len(p)), -logits])
    if top_k is not None:
        p[ranked[top_k:]] = 0
    p = p / p.sum()
    if top_p is not None:
        before = np.cumsum(p[ranked]) - p[ranked]  # what the more probable ones have together
        p[ranked[before >= top_p]] = 0
    cumulative = np.cumsum(p)
    return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
