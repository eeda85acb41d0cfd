"""Caching spelled out: row by row, rows that shift instead of a ring, and a Decoder that asks a copy of the model."""

import copy
from collections import deque

import numpy as np
from katas.autograd import no_grad
from katas.layers import Module
from katas.tensor import Tensor


class KVCache:
    """A row's tokens lie in order, from slot 0 on: when it is full, a window moves them to the front."""

    def __init__(self, n_layer, batch, n_head, head_dim, max_length, window=None, dtype=np.float32):
        for name, value in {"n_layer": n_layer, "batch": batch, "n_head": n_head, "head_dim": head_dim}.items():
            _positive(name, value)
        limits = []
        for name, value in {"max_length": max_length, "window": window}.items():
            if value is not None:
                _positive(name, value)
                limits.append(int(value))
        if not limits:
            raise ValueError("neither max_length nor window is given")
        self.n_layer, self.batch, self.n_head, self.head_dim = int(n_layer), int(batch), int(n_head), int(head_dim)
        self.max_length, self.window, self.dtype, self.slots = max_length, window, np.dtype(dtype), min(limits)
        self.keys = np.zeros((self.n_layer, self.batch, self.n_head, self.slots, self.head_dim), dtype)
        self.values = np.zeros_like(self.keys)
        self.lengths, self.held = np.zeros(batch, np.int64), np.zeros(batch, np.int64)
        self.waiting = {}

    @classmethod
    def of(cls, model, batch, max_length=None):
        """Of a model's sizes."""
        config = model.config
        if config.window is None:
            if max_length is None:
                max_length = config.context
            if max_length > config.context:
                raise ValueError(f"max_length {max_length} > context {config.context}")
        head_dim, dtype = config.d_model // config.n_head, model.transformer.wte.weight.dtype
        n_head = sorted(block.attn.n_head for block in model.transformer.h)[-1]
        return cls(config.n_layer, batch, n_head, head_dim, max_length, config.window, dtype)

    @property
    def nbytes(self):
        """Of all arrays."""
        return self.keys.nbytes + self.values.nbytes + self.lengths.nbytes + self.held.nbytes

    def extend(self, layer, k, v, real=None):
        """New tokens wait until the last layer has theirs."""
        if layer < 0 or layer >= self.n_layer:
            raise ValueError(f"no layer {layer}")
        for array in (k, v):
            if array.ndim != 4 or array.shape != (self.batch, self.n_head, k.shape[2], self.head_dim):
                raise ValueError(f"k {k.shape}, v {v.shape} in a cache of {self.batch}, {self.n_head}, {self.head_dim}")
            if array.dtype != self.dtype:
                raise TypeError(f"{array.dtype} in a cache of {self.dtype}")
        time = k.shape[2]
        if real is None:
            real = np.ones((self.batch, time), bool)
        if real.dtype != bool:
            raise TypeError(f"real is {real.dtype}")
        if real.shape != (self.batch, time):
            raise ValueError(f"real is {real.shape}")
        self.check(self.lengths + real.sum(1))
        if layer == 0:
            self.waiting = {}
        self.waiting[layer] = k.data.copy(), v.data.copy(), real.copy()
        most = int((self.held + real.sum(1)).max())
        shape = self.batch, self.n_head, most, self.head_dim
        keys, values, seen = (
            np.zeros(shape, self.dtype),
            np.zeros(shape, self.dtype),
            np.zeros((self.batch, 1, time, most), bool),
        )
        for row in range(self.batch):
            old, new = self.held[row], int(real[row].sum())
            keys[row, :, : old + new] = self.joined(self.keys[layer, row], old, k.data[row], real[row])
            values[row, :, : old + new] = self.joined(self.values[layer, row], old, v.data[row], real[row])
            queries = (old + np.cumsum(real[row]) - 1)[:, None]
            places = np.arange(most)
            seen[row, 0] = places <= queries
            if self.window is not None:
                seen[row, 0] &= places > queries - self.window
        if layer == self.n_layer - 1:
            self.settle()
        return Tensor(keys), Tensor(values), seen

    def check(self, ends):
        """Whether they fit."""
        if self.max_length is not None and max(ends) > self.max_length:
            raise ValueError(f"no room for {max(ends)} tokens: {self.max_length}")

    def joined(self, before, count, new, real):
        """(n_head, tokens, head_dim) of a row."""
        return np.concatenate([before[:, :count], new[:, real]], 1)

    def settle(self):
        """Writes what waits."""
        for layer, (k, v, real) in self.waiting.items():
            for row in range(self.batch):
                for here, new in ((self.keys, k), (self.values, v)):
                    tokens = self.joined(here[layer, row], self.held[row], new[row], real[row])[:, -self.slots :]
                    here[layer, row, :, : tokens.shape[1]] = tokens
        self.lengths += real.sum(1)
        self.held[:] = np.minimum(self.held + real.sum(1), self.slots)
        self.waiting = {}

    def truncate(self, lengths):
        """Forgets the last tokens."""
        lengths = np.array(lengths)
        if lengths.dtype.kind not in "iu":
            raise TypeError(f"{lengths.dtype} lengths")
        if lengths.shape == ():
            lengths = np.full(self.batch, lengths)
        if lengths.shape != (self.batch,):
            raise ValueError(f"shape {lengths.shape}")
        lengths = [int(length) for length in lengths]
        for row, length in enumerate(lengths):
            present = int(self.lengths[row])
            if length < 0 or length > present:
                raise ValueError(f"{length} of {present} tokens")
            oldest = present - int(self.held[row])
            if 0 < length < present and oldest > 0 and length - self.window + 1 < oldest:
                raise ValueError(f"{length} of {present}: the window is {self.window}")
        for row, length in enumerate(lengths):
            self.cut(row, length)

    def cut(self, row, length):
        """Zeros behind."""
        left = max(0, int(self.held[row]) - (int(self.lengths[row]) - length))
        if length == 0:
            left = 0
        self.keys[:, row, :, left:] = 0
        self.values[:, row, :, left:] = 0
        self.lengths[row], self.held[row] = length, left

    def release(self, row):
        """Empties it."""
        self.exists(row)
        self.cut(row, 0)

    def exists(self, row):
        """Whether it does."""
        if not 0 <= row < self.batch:
            raise IndexError(f"no row {row}")

    def reorder(self, rows):
        """Through a copy of each layer."""
        rows = np.array(rows)
        if rows.shape != (self.batch,):
            raise ValueError(f"rows {rows.shape}")
        if rows.dtype.kind not in "iu":
            raise TypeError(f"rows are {rows.dtype}")
        for row in rows:
            self.exists(int(row))
        for array in [*self.keys, *self.values, self.lengths, self.held]:
            array[...] = array.copy()[rows]

    def row(self, row, count=1):
        """Views."""
        if count < 1:
            raise ValueError(f"count {count}")
        self.exists(row)
        self.exists(row + count - 1)
        one = copy.copy(self)
        one.batch, one.waiting, part = count, {}, slice(row, row + count)
        one.keys, one.values, one.lengths, one.held = (
            self.keys[:, part],
            self.values[:, part],
            self.lengths[part],
            self.held[part],
        )
        return one


def _positive(name, value):
    if type(value) is bool or not isinstance(value, int | np.integer) or value <= 0:
        raise ValueError(f"{name}: {value!r}")


def prefill(model, ids, cache, mask=None, block=64):
    """One row after another."""
    ids = Tensor(ids).data
    if ids.ndim != 2 or ids.size == 0 or len(ids) != cache.batch:
        raise ValueError(f"ids {ids.shape} for {cache.batch} rows")
    if ids.dtype.kind not in "iu":
        raise TypeError(f"ids are {ids.dtype}")
    if block < 1:
        raise ValueError(f"block {block}")
    if len(model.transformer.h) != cache.n_layer:
        raise ValueError(f"{cache.n_layer} layers for {len(model.transformer.h)}")
    mask = Tensor(np.ones(ids.shape, bool) if mask is None else mask).data
    if mask.dtype != bool:
        raise TypeError(f"mask is {mask.dtype}")
    if mask.shape != ids.shape:
        raise ValueError(f"mask {mask.shape} for ids {ids.shape}")
    cache.check(cache.lengths + mask.sum(1))
    config = model.config
    for number in ids[mask]:
        if number < 0 or number >= config.vocab_size:
            raise IndexError(f"no id {number}")
    if config.window is None and cache.lengths.max() + ids.shape[1] > config.context:
        raise ValueError(f"more than {config.context}")
    modes = {module: module.training for module in model.modules()}
    model.eval()
    logits = np.zeros((cache.batch, config.vocab_size), cache.dtype)
    try:
        for row in range(cache.batch):
            text = ids[row, mask[row]]
            for start in range(0, len(text), block):
                with no_grad():
                    logits[row] = model(text[None, start : start + block], None, cache.row(row)).data[0, -1]
    finally:
        for module, mode in modes.items():
            module.training = mode
    return logits


class Decoder(Module):
    """Its weights are those of a copy of the model."""

    def __init__(self, model):
        self.model, self.config = model, model.config
        self.refold()

    def refold(self):
        """A new copy, in a deque, in which modules() doesn't look: its parameters are not the Decoder's."""
        self.frozen = deque([copy.deepcopy(self.model).eval()])

    def forward(self, ids, mask=None, cache=None):
        """As the model."""
        given = Tensor(ids).data
        if mask is None and isinstance(cache, KVCache) and given.ndim == 2 and given.size > 0:
            return Tensor(self.read(given, cache, np.ones(len(given), bool)))
        return self.model(ids, mask, cache)

    def step(self, ids, cache, real=None):
        """A part of one token."""
        ids = Tensor(ids).data
        if ids.ndim != 1:
            raise ValueError(f"ids {ids.shape}")
        real = Tensor(np.ones(cache.batch, bool) if real is None else real).data
        if real.dtype != bool:
            raise TypeError(f"real is {real.dtype}")
        if real.shape != (cache.batch,):
            raise ValueError(f"real {real.shape}")
        return self.read(ids.reshape(-1, 1), cache, real)[:, 0]

    def read(self, ids, cache, real):
        """One row after another, into a copy of the cache, whose arrays are taken over at the end."""
        config, frozen, time = self.config, self.frozen[0], ids.shape[1]
        if len(ids) != cache.batch:
            raise ValueError(f"ids {ids.shape if time > 1 else (len(ids),)} for {cache.batch} rows")
        if ids.dtype.kind not in "iu":
            raise TypeError(f"ids are {ids.dtype}")
        for number in ids[real].ravel():
            if number < 0 or number >= config.vocab_size:
                raise IndexError(f"no id {number}")
        n_head = max(block.attn.n_head for block in frozen.transformer.h)
        sizes = [config.n_layer, n_head, config.d_model // config.n_head, config.window]
        for size, other in zip(sizes, [cache.n_layer, cache.n_head, cache.head_dim, cache.window], strict=True):
            if size != other:
                raise ValueError(f"another model's cache: {other} instead of {size}")
        if cache.dtype != frozen.transformer.wte.weight.dtype:
            raise ValueError(f"a cache of {cache.dtype}")
        ends = cache.lengths + time * real
        cache.check(ends)
        if config.window is None and ends.max() > config.context:
            raise ValueError(f"more than {config.context}")
        trial, logits = copy.deepcopy(cache), np.zeros((cache.batch, time, config.vocab_size), cache.dtype)
        for row in np.flatnonzero(real):
            with no_grad():
                logits[row] = type(frozen).forward(frozen, ids[row : row + 1], None, trial.row(int(row))).data[0]
        for name in ("keys", "values", "lengths", "held"):
            getattr(cache, name)[...] = getattr(trial, name)
        return logits
