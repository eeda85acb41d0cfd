"""Caching: keys and values of a text are kept, so that the next token costs what one token costs."""

import copy
import math
from collections.abc import Sequence

import numpy as np
from katas.autograd import no_grad
from katas.layers import Module
from katas.tensor import Tensor
from katas.transformers import GPT

# 16.1 KVCache


class KVCache:
    """The keys and values of every layer, row and head, in arrays that never grow.

    lengths (batch,): the tokens that each row has. They grow, in place, when the last layer has been extended. max_length: the
    most that a row may have, None for no limit, which needs a window. With a window a row keeps its last `window` tokens only:
    the one at position p lies in slot p % window. The other arguments are attributes, too.
    """

    def __init__(
        self,
        n_layer: int,
        batch: int,
        n_head: int,
        head_dim: int,
        max_length: int | None,
        window: int | None = None,
        dtype=np.float32,
    ):
        """Raises: ValueError if both limits are None, or that contains name and value of a size that is no positive integer."""
        sizes = {"n_layer": n_layer, "batch": batch, "n_head": n_head, "head_dim": head_dim}
        limits = {name: value for name, value in (("max_length", max_length), ("window", window)) if value is not None}
        for name, value in (sizes | limits).items():
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        if not limits:
            raise ValueError("max_length and window are None: how many tokens shall a row keep?")
        self.n_layer, self.batch, self.n_head, self.head_dim = map(int, sizes.values())
        self.max_length, self.window, self.dtype = max_length, window, np.dtype(dtype)
        self._slots = slots = min(map(int, limits.values()))
        self._kv = np.zeros((n_layer, 2, batch, n_head, slots, head_dim), dtype)
        self.lengths = np.zeros(batch, np.int64)
        self._first = np.zeros(batch, np.int64)  # the oldest position that is still there
        self._begun = np.zeros(batch, bool)  # whether a pass has written and has not reached the last layer
        self._rolled: list[tuple] = []  # what a pass writes over older tokens, once it has reached the last layer
        # For Decoder: what is added to the scores, -∞ for an empty slot. A row sees slot 0 always, or it would see nothing.
        self._hidden = np.full((batch, 1, 1, slots), -np.inf, dtype)
        self._hidden[..., 0] = 0
        # not of the arguments: a product of NumPy's uint8 would overflow
        self._scores, self._ones = np.empty(self.batch * self.n_head * slots, dtype), np.ones(slots, dtype)

    @classmethod
    def of(cls, model: GPT, batch: int, max_length: int | None = None) -> "KVCache":
        """A cache for a model: of its sizes, window and dtype. max_length None: its context, or no limit with a window.

        n_head is the most that a block has: kata 18 removes some.

        Raises: ValueError that contains both if max_length is larger than the context of a model without a window.
        """
        config = model.config
        if config.window is None and max_length is not None and max_length > config.context:
            raise ValueError(f"max_length {max_length} is larger than the model's context {config.context}")
        if config.window is None and max_length is None:
            max_length = config.context
        sizes = config.n_layer, batch, _most_heads(model), config.d_model // config.n_head
        return cls(*sizes, max_length, config.window, model.transformer.wte.weight.dtype)

    @property
    def nbytes(self) -> int:
        """All memory that the cache holds, now and later."""
        arrays = self._kv, self.lengths, self._first, self._begun, self._hidden, self._scores, self._ones
        return sum(array.nbytes for array in arrays)

    def extend(self, layer: int, k: Tensor, v: Tensor, real: np.ndarray | None = None) -> tuple[Tensor, Tensor, np.ndarray]:
        """Keeps k, v (batch, n_head, time, head_dim) of new tokens → all keys, all values, and where the new tokens may look.

        These are (batch, n_head, keys, head_dim), twice, and booleans (batch, 1, time, keys): the whole mask. real (batch,
        time): True for tokens, False for padding, which is not kept. Nothing is copied, unless several tokens reach beyond a
        window.
        Raises, and is then as before: ValueError that contains max_length if a row becomes longer; ValueError if layer or a
        shape does not fit, which contains it; TypeError that contains the dtype if that is not the cache's, or real is not
        boolean.
        """
        self._check(layer, k, v, real)
        keys, values, seen, ends = self._keep(layer, k, v, real)
        if layer == self.n_layer - 1:
            self._count(ends)
        return keys, values, seen

    def _keep(self, layer: int, k: Tensor, v: Tensor, real: np.ndarray | None) -> tuple[Tensor, Tensor, np.ndarray, np.ndarray]:
        """As extend, but the new tokens don't count yet; beside its results, the lengths (batch,) with them."""
        time = k.shape[2]
        new = np.arange(1, time + 1) if real is None else np.cumsum(real, 1)  # tokens of a row up to here
        positions = self.lengths[:, None] + new - 1  # (batch, time); padding has that of the token before it
        ends = self.lengths + time if real is None else self.lengths + real.sum(1)
        longest = int(ends.max())
        self._check_room(longest)
        if layer == 0:
            self._begin()
        if time == 1 or longest <= self._slots:  # no new token lies where another one still looks
            self._write(layer, k.data, v.data, positions, ends, real)
            keys, values = self._kv[layer, ..., : min(longest, self._slots), :]
            seen = np.arange(keys.shape[2]) <= positions[:, None, :, None]
        else:
            keys, values, seen = self._beside(layer, k.data, v.data, positions, real)
            self._rolled.append((layer, k.data.copy(), v.data.copy(), positions, ends, None if real is None else real.copy()))
        return Tensor(keys), Tensor(values), seen, ends

    def _check(self, layer: int, k: Tensor, v: Tensor, real: np.ndarray | None) -> None:
        if not 0 <= layer < self.n_layer:
            raise ValueError(f"there is no layer {layer}: the cache has {self.n_layer}")
        if k.shape != v.shape or k.ndim != 4 or (*k.shape[:2], k.shape[3]) != (self.batch, self.n_head, self.head_dim):
            sizes = f"(batch {self.batch}, n_head {self.n_head}, time, head_dim {self.head_dim})"
            raise ValueError(f"k and v of shapes {k.shape} and {v.shape} must both be {sizes}")
        for array in (k, v):
            if array.dtype != self.dtype:
                raise TypeError(f"the cache is {self.dtype}, but it was given {array.dtype}")
        if real is not None:
            if real.dtype != np.bool_:
                raise TypeError(f"real must be boolean, True for tokens, not {real.dtype}")
            if real.shape != (self.batch, k.shape[2]):
                raise ValueError(f"real has shape {real.shape}, but k and v have {k.shape}")

    def _check_room(self, longest: int) -> None:
        if self.max_length is not None and longest > self.max_length:
            raise ValueError(f"the cache is full: a row would have {longest} tokens, and max_length is {self.max_length}")

    def _begin(self) -> None:
        """Clears what a pass that failed has left behind the rows' tokens."""
        for row in np.flatnonzero(self._begun):
            self._clear(row, int(self.lengths[row]))
        self._begun[:], self._rolled = True, []

    def _write(self, layer: int, k: np.ndarray, v: np.ndarray, positions: np.ndarray, ends: np.ndarray, real) -> None:
        """Puts the tokens that stay into their slots."""
        begin, time = int(self.lengths[0]) % self._slots, positions.shape[1]
        if real is None and begin + time <= self._slots and (self.lengths == self.lengths[0]).all():  # a slice for all rows
            self._kv[layer, 0, ..., begin : begin + time, :] = k
            self._kv[layer, 1, ..., begin : begin + time, :] = v
        else:
            stay = positions >= ends[:, None] - self._slots
            rows, times = np.nonzero(stay if real is None else stay & real)
            slots = positions[rows, times] % self._slots
            self._kv[layer, 0, rows, :, slots] = k[rows, :, times]  # (tokens, n_head, head_dim)
            self._kv[layer, 1, rows, :, slots] = v[rows, :, times]
        np.maximum(self._first, ends - self._slots, out=self._first)

    def _beside(self, layer: int, k: np.ndarray, v: np.ndarray, positions: np.ndarray, real) -> tuple[np.ndarray, ...]:
        """Old tokens and new ones side by side: in the ring, the last of the new would push out what the first must see."""
        slots = np.arange(min(int(self.lengths.max()), self._slots))
        newest = self.lengths[:, None] - 1
        held = newest - (newest - slots) % self._slots  # (batch, slots): which position lies in each slot; negative: none
        everywhere = np.concatenate([held, positions if real is None else np.where(real, positions, -1)], 1)[:, None, None]
        queries = positions[:, None, :, None]
        seen = (everywhere >= 0) & (everywhere <= queries) & (everywhere > queries - self.window)
        old = self._kv[layer, ..., : len(slots), :]
        return np.concatenate([old[0], k], 2), np.concatenate([old[1], v], 2), seen

    def _count(self, ends: np.ndarray) -> None:
        """The end of a pass: what it has kept counts from now on."""
        for write in self._rolled:
            self._write(*write)
        self._rolled = []
        self._begun[:] = False
        self.lengths[:] = ends
        np.copyto(self._hidden, 0, where=np.arange(self._slots) < ends[:, None, None, None])

    # 16.2 Rows

    def truncate(self, lengths) -> None:
        """Forgets each row's tokens from position lengths on: an integer, or one for each row, (batch,).

        Raises, and is then as before: ValueError that contains both if a length is negative or larger than the row's;
        ValueError that contains the window if tokens are gone that the next one would see; ValueError for another shape,
        which it contains; TypeError unless the lengths are integers.
        """
        lengths = np.asarray(lengths)
        if lengths.dtype.kind not in "iu":
            raise TypeError(f"lengths must be integers, not {lengths.dtype}")
        if lengths.shape not in ((), (self.batch,)):
            raise ValueError(f"lengths of shape {lengths.shape} for {self.batch} rows: give one, or one for each row")
        lengths = np.broadcast_to(lengths, self.batch).astype(np.int64)
        for row, (length, present) in enumerate(zip(lengths.tolist(), self.lengths.tolist(), strict=True)):
            if not 0 <= length <= present:
                raise ValueError(f"row {row} has {present} tokens: it can't be cut to {length}")
            if 0 < length < present and self._first[row] > max(0, length - self._slots + 1):
                raise ValueError(f"row {row} can't be cut to {length}: a window of {self.window} holds only its last tokens")
        for row in np.flatnonzero(lengths < self.lengths):
            self._clear(row, int(lengths[row]))

    def release(self, row: int) -> None:
        """Empties a row, for another text. Releasing it again does nothing. Raises: IndexError if there is no such row."""
        self._check_row(row)
        self._clear(row, 0)

    def reorder(self, rows: Sequence[int]) -> None:
        """Row i becomes what row rows[i] was; a row may be taken several times, as in beam search.

        Raises: ValueError unless there are `batch` rows; TypeError unless they are integers; IndexError that contains one that
        does not exist.
        """
        rows = np.asarray(rows)
        if rows.shape != (self.batch,):
            raise ValueError(f"rows of shape {rows.shape}, but the cache has {self.batch} rows: name one for each")
        if rows.dtype.kind not in "iu":
            raise TypeError(f"rows must be integers, not {rows.dtype}")
        for row in rows.tolist():
            self._check_row(row)
        for layer in self._kv:  # layer by layer, which needs less memory beside
            layer[...] = layer[:, rows]
        for array in (self.lengths, self._first, self._begun, self._hidden):
            array[...] = array[rows]

    def row(self, row: int, count: int = 1) -> "KVCache":
        """One row, or `count` rows from it on, as a cache of that batch in the same memory: to use it while the others wait.

        Raises: IndexError that contains a row that does not exist; ValueError that contains count if it is below 1.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count!r}")
        for number in (row, row + count - 1):
            self._check_row(number)
        one, rows = copy.copy(self), slice(row, row + count)
        one.batch, one._rolled = count, []
        one._kv = self._kv[:, :, rows]
        one.lengths, one._first, one._begun = self.lengths[rows], self._first[rows], self._begun[rows]
        one._hidden = self._hidden[rows]
        one._scores = self._scores[: count * self.n_head * self._slots]
        return one

    def _check_row(self, row: int) -> None:
        if isinstance(row, bool) or not 0 <= row < self.batch:
            raise IndexError(f"there is no row {row}: the cache has {self.batch}, counted from 0")

    def _clear(self, row: int, length: int) -> None:
        """Zeros in all slots but those of the first `length` tokens: a NaN of a former text must not meet a weight of 0."""
        end = int(self.lengths[row])
        empty = slice(length, end)
        if self._begun[row]:  # a pass that failed may have left something in any other slot
            empty = np.ones(self._slots, bool)
            empty[np.arange(self._first[row], length) % self._slots] = False
        elif end > self._slots:
            empty = np.arange(max(length, end - self._slots), end) % self._slots
        self._kv[:, :, row, :, empty] = 0
        self._hidden[row, ..., empty] = -np.inf
        self._hidden[row, ..., 0] = 0
        self.lengths[row] = length
        if length == 0:
            self._first[row] = 0


def _most_heads(model: GPT) -> int:
    return max(block.attn.n_head for block in model.transformer.h)


# 16.3 prefill


def prefill(model: GPT, ids, cache: KVCache, mask=None, block: int = 64) -> np.ndarray:
    """Puts a prompt into the cache, `block` tokens at a time → the logits (batch, vocab_size) after each row's last token.

    ids (batch, time) are integers, mask (batch, time) booleans, True for real tokens; a row without any gets zeros. In eval
    mode, without recording. Memory grows with block · keys, not with time · keys.
    Raises, before anything is changed: ValueError that contains the limit if a row becomes longer than cache or context; as
    GPT.
    """
    ids = Tensor(ids).data
    if ids.ndim != 2 or not ids.size:
        raise ValueError(f"ids must have the axes (batch, time), and be at least one, not of shape {ids.shape}")
    if ids.dtype.kind not in "iu":
        raise TypeError(f"ids must be integers, not {ids.dtype}")
    if block < 1:
        raise ValueError(f"block must be positive, not {block}")
    real = np.ones(ids.shape, bool) if mask is None else Tensor(mask).data
    if real.dtype != np.bool_:
        raise TypeError(f"the mask must be boolean, True for real tokens, not {real.dtype}")
    if real.shape != ids.shape:
        raise ValueError(f"the mask has shape {real.shape}, but the ids have {ids.shape}")
    if ids.shape[0] != cache.batch:
        raise ValueError(f"ids of shape {ids.shape} for a cache of {cache.batch} rows")
    if cache.n_layer != len(model.transformer.h):
        raise ValueError(f"the cache has {cache.n_layer} layers, the model {len(model.transformer.h)}")
    _check_ids(ids[real], model.config.vocab_size)
    cache._check_room(int((cache.lengths + real.sum(1)).max()))
    _check_context(model.config, int(cache.lengths.max()) + ids.shape[1])
    last = ids.shape[1] - 1 - real[:, ::-1].argmax(1)  # (batch,): where each row's last token stands
    logits = np.zeros((cache.batch, model.config.vocab_size), cache.dtype)
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        with no_grad():
            for start in range(0, ids.shape[1], block):
                part = np.s_[:, start : start + block]
                y = model(ids[part], None if real[part].all() else real[part], cache).data
                ends = np.flatnonzero((last // block == start // block) & real.any(1))
                logits[ends] = y[ends, last[ends] - start]
    finally:
        for module in training:
            module.training = True
    return logits


def _check_ids(ids: np.ndarray, vocab_size: int) -> None:
    bad = ids[(ids < 0) | (ids >= vocab_size)]
    if bad.size:
        raise IndexError(f"there is no id {bad[0]}: the vocabulary has {vocab_size}")


def _check_context(config, length: int) -> None:
    if config.window is None and length > config.context:
        raise ValueError(f"a row would have {length} tokens, but the context is {config.context}")


# 16.4 Decoder


class Decoder(Module):
    """A GPT's next token in as few and as short operations as it takes, without recording: `step`.

    The weights are folded when it is made: what a norm multiplies and adds, and the scale of attention, go into the weights
    behind them, and what is added to x loses its mean, so that LayerNorm has none to subtract. The model's weights are not
    watched: call refold() when they have changed. It may take the model's place in `generate`. model and config are attributes.
    """

    def __init__(self, model: GPT):
        self.model, self.config = model, model.config
        self.refold()

    def refold(self) -> None:
        """Folds the weights that the model has now: in float64, then rounded to its dtype.

        Raises: ValueError that contains the class of a layer that does not compute x W + b.
        """
        body, config = self.model.transformer, self.config
        dtype, centered = body.wte.weight.dtype, config.norm == "layer"
        with no_grad():
            tokens = body.wte(np.arange(config.vocab_size)).data.astype(np.float64)  # (vocab_size, d_model)
            places = np.zeros((1, config.context, config.d_model))
            if config.positions == "sinusoidal":
                tokens *= math.sqrt(config.d_model)
            if config.positions != "rotary":
                places = body.wpe(Tensor(places)).data
            layers = [_folded(block, config, centered) for block in body.h]
            head = _reading(body.ln_f, *_affine(self.model.lm_head, config.d_model))
        tokens, places = (_centered(table) if centered else table for table in (tokens, places[0]))
        self._tokens, self._places, self._head = (array.astype(dtype) for array in (tokens, places, head))
        self._n_head = _most_heads(self.model)
        inner, hidden = self._n_head * config.d_model // config.n_head, max(widen.shape[1] for _, _, widen, _ in layers)
        layers = [_filled(*layer, inner, hidden) for layer in layers]
        self._layers = [[np.ascontiguousarray(weights, dtype) for weights in layer] for layer in layers]
        self._eps = [(block.ln_1.eps, block.ln_2.eps) for block in body.h]
        self._eps_f = body.ln_f.eps
        self._desk = None

    def forward(self, ids, mask=None, cache=None) -> Tensor:
        """As the model's. With a KVCache and no mask the folded weights are used, without recording.

        Raises: as the model; with folded weights, as step, and the cache is as before.
        """
        array = Tensor(ids).data
        if not isinstance(cache, KVCache) or mask is not None or array.ndim != 2 or not array.size:
            return self.model(ids, mask, cache)
        return Tensor(self.step(array[:, 0], cache)[:, None] if array.shape[1] == 1 else self._read(array, cache))

    def _read(self, ids: np.ndarray, cache: KVCache) -> np.ndarray:
        """ids (batch, time), several new tokens of each row → logits (batch, time, vocab_size)."""
        self._check(ids, cache)
        batch, time = ids.shape
        _check_context(self.config, int(cache.lengths.max()) + time)
        positions = (cache.lengths[:, None] + np.arange(time)).ravel()  # (batch · time,)
        desk, x = _Desk(self, batch * time), self._tokens[ids.ravel()]  # (batch · time, d_model)
        if self.config.positions != "rotary":
            x += self._places[positions]
        turns = self._turns(positions) if self.config.positions == "rotary" else None
        for layer, ((attend, join, widen, narrow), (eps_1, eps_2)) in enumerate(zip(desk.products, self._eps, strict=True)):
            desk.normalize(x, eps_1)
            desk.product(desk.normal, *attend)
            if turns is not None:
                desk.turn(*turns)
            qkv = desk.qkv.reshape(batch, time, 3, self._n_head, -1)
            q, k, v = qkv.transpose(2, 0, 3, 1, 4)  # each (batch, n_head, time, head_dim)
            keys, values, seen, ends = cache._keep(layer, Tensor(k), Tensor(v), None)
            scores = q @ keys.data.swapaxes(-1, -2)  # (batch, n_head, time, keys)
            np.copyto(scores, -np.inf, where=~seen)
            scores -= scores.max(-1, keepdims=True)
            np.exp(scores, scores)
            attended = scores @ values.data  # (batch, n_head, time, head_dim)
            attended /= scores.sum(-1, keepdims=True)
            desk.joined[:, :-1] = attended.swapaxes(1, 2).reshape(batch * time, -1)
            desk.product(desk.joined, *join)
            x += desk.added
            desk.normalize(x, eps_2)
            desk.product(desk.normal, *widen)
            with np.errstate(over="ignore"):
                desk.gelu()
            desk.product(desk.active, *narrow)
            x += desk.added
        desk.normalize(x, self._eps_f)
        logits = desk.logits()
        cache._count(ends)  # at last: if there was no memory for the logits, nothing has been read
        return logits.reshape(batch, time, -1)

    def step(self, ids, cache: KVCache, real=None) -> np.ndarray:
        """ids (batch,), the next token of each row, which the cache keeps → logits (batch, vocab_size) for the one after it.

        real (batch,), booleans: False for rows that wait. Theirs are not kept, and their logits mean nothing.
        Raises, and the cache is as before: ValueError that contains max_length or the context if a row would be longer, or the
        shapes if they don't fit, or if the cache is not one of this model; TypeError unless ids are integers and real booleans;
        IndexError for an id that does not exist.
        """
        ids = Tensor(ids).data
        if ids.ndim != 1:
            raise ValueError(f"ids of shape {ids.shape}: one token for each of {cache.batch} rows")
        ids, real = self._check(ids, cache, real)
        if real is not None and not real.any():
            return np.zeros((cache.batch, self.config.vocab_size), cache.dtype)
        starts, slots, everyone = cache.lengths, cache._slots, slice(None)
        ends = starts + 1 if real is None else starts + real
        longest = int(ends.max())
        cache._check_room(longest)
        _check_context(self.config, longest)
        if real is None and (cache.batch == 1 or (starts == longest - 1).all()):  # a slice for all rows, nothing to hide
            rows, where, hidden = everyone, (longest - 1) % slots, None
        else:
            rows = np.arange(cache.batch) if real is None else np.flatnonzero(real)
            where, hidden = starts[rows] % slots, cache._hidden[..., : min(longest, slots)]
        cache._begin()
        cache._hidden[rows, ..., where] = 0
        if longest > slots:  # the first layer pushes the oldest token out
            np.maximum(cache._first, ends - slots, out=cache._first)
        if self._desk is None or len(self._desk.x) != cache.batch:
            self._desk = _Desk(self, cache.batch)
        turns, places = None, 0
        if self.config.positions == "rotary":
            turns = self._turns(starts)
        else:
            places = self._places[np.minimum(starts, self.config.context - 1)]  # a row that waits may be full
        tokens = self._tokens[ids] + places
        with np.errstate(over="ignore", invalid="ignore"):
            logits, sums = self._through(tokens, cache, min(longest, slots), rows, where, hidden, turns)
            if not (sums.min() > 1e-20 and sums.max() < 1e20):  # exponentials left the range: they need their maxima subtracted
                logits, _ = self._through(tokens, cache, min(longest, slots), rows, where, hidden, turns, careful=True)
        starts[:] = ends
        cache._begun[:] = False
        return logits.reshape(cache.batch, -1)

    def _check(self, ids: np.ndarray, cache: KVCache, real=None) -> tuple[np.ndarray, np.ndarray | None]:
        config = self.config
        if len(ids) != cache.batch:
            raise ValueError(f"ids of shape {ids.shape} for a cache of {cache.batch} rows")
        if ids.dtype.kind not in "iu":
            raise TypeError(f"ids must be integers, not {ids.dtype}")
        sizes = config.n_layer, self._n_head, config.d_model // config.n_head, config.window, self._tokens.dtype
        others = cache.n_layer, cache.n_head, cache.head_dim, cache.window, cache.dtype
        if sizes != others:
            raise ValueError(
                f"the cache is not one of this model: n_layer, n_head, head_dim, window, dtype {others}, not {sizes}"
            )
        if real is not None:
            real = Tensor(real).data
            if real.dtype != np.bool_:
                raise TypeError(f"real must be boolean, False for rows that wait, not {real.dtype}")
            if real.shape != (cache.batch,):
                raise ValueError(f"real has shape {real.shape}, but the cache has {cache.batch} rows")
            ids = np.where(real, ids, 0)  # any id may wait
            if real.all():
                real = None
        _check_ids(ids, config.vocab_size)
        return ids, real

    def _turns(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cosines and signed sines of rotary positions: channel i of a head turns with channel i + half."""
        half = self.config.d_model // self.config.n_head // 2
        angles = starts[:, None, None, None] * 10000.0 ** (-np.arange(half) / half)  # (batch, 1, 1, half)
        sines = np.sin(angles)
        cos, sin = np.cos(angles), np.concatenate([-sines, sines], 2)
        cos, sin = cos.astype(self._tokens.dtype), sin.astype(self._tokens.dtype)
        return (cos[0], sin[0]) if len(starts) == 1 else (cos, sin)

    def _through(self, tokens, cache: KVCache, keys: int, rows, where, hidden, turns, careful: bool = False) -> tuple:
        """tokens (batch, d_model) → the logits and the sums of all softmaxes. With one row, no array has an axis for it.

        careful: subtracts each maximum before the exponentials, which is hardly ever needed.
        """
        desk, held = self._desk, cache._kv[..., :keys, :]
        scores = cache._scores[: cache.batch * cache.n_head * keys].reshape(cache.batch, cache.n_head, 1, keys)
        ones, slots = cache._ones[:keys], cache._kv.swapaxes(1, 2)  # (n_layer, batch, 2, n_head, slots, head_dim)
        if hidden is None:
            slots = slots[..., where, :]
        desk.x[...] = tokens
        x = desk.x
        if cache.batch == 1:
            x, held, scores = x[0], held[:, :, 0], scores[0]
        add, product = np.add, desk.product
        for layer, products, (eps_1, eps_2), (k, v), sums in zip(slots, desk.products, self._eps, held, desk.sums, strict=True):
            attend, join, widen, narrow = products
            desk.normalize(x, eps_1)
            product(desk.normal, *attend)
            if turns is not None:
                desk.turn(*turns)
            if hidden is None:
                np.copyto(layer, desk.new)
            else:
                layer[rows, :, :, where] = desk.new[rows]
            np.matmul(desk.q, k.swapaxes(-1, -2), scores)
            if hidden is not None:
                add(scores, hidden, scores)
            if careful:
                np.subtract(scores, scores.max(-1, keepdims=True), scores)
            np.exp(scores, scores)
            np.dot(scores, ones, sums)
            np.matmul(scores, v, desk.attended)
            np.divide(desk.attended, sums[..., None], desk.attended)
            product(desk.joined, *join)
            add(x, desk.added, x)
            desk.normalize(x, eps_2)
            product(desk.normal, *widen)
            desk.gelu()
            product(desk.active, *narrow)
            add(x, desk.added, x)
        desk.normalize(x, self._eps_f)
        return desk.logits(), desk.sums


class _Desk:
    """The arrays in which a step of `batch` rows computes, or a pass of so many tokens.

    A row that a bias follows ends in a 1, which meets the bias.
    """

    def __init__(self, decoder: Decoder, batch: int):
        config, dtype, hidden = decoder.config, decoder._head.dtype, decoder._layers[0][2].shape[1]
        d_model, n_head, size = config.d_model, decoder._n_head, config.d_model // config.n_head
        inner, rows = n_head * size, () if batch == 1 else (batch,)
        self.x, self.root = np.empty((batch, d_model), dtype), np.empty((*rows, *(1,) * len(rows)), dtype)
        self.normal, self.joined, self.active = (np.ones((*rows, n + 1), dtype) for n in (d_model, inner, hidden))
        self.normalized, self.activated = self.normal[..., :-1], self.active[..., :-1]
        self.qkv = np.empty((*rows, 3 * inner), dtype)
        self.q = self.qkv[..., :inner].reshape(*rows, n_head, 1, size)
        self.new = self.qkv[..., inner:].reshape(batch, 2, n_head, size)
        self.attended = self.joined[..., :-1].reshape(*rows, n_head, 1, size)
        self.sums = np.empty((config.n_layer, *rows, n_head, 1), dtype)
        self.wide, self.work = np.empty((2, *rows, hidden), dtype)
        self.added = np.empty((*rows, d_model), dtype)
        outs = self.qkv, self.added, self.wide, self.added
        self.products = [[_split(*pair, batch) for pair in zip(layer, outs, strict=True)] for layer in decoder._layers]
        self.product, self.head, self.rows = np.matmul if rows else np.dot, decoder._head, rows
        if config.positions == "rotary":
            self.qk = self.qkv[..., : 2 * inner].reshape(*rows, 2 * n_head, 2, size // 2)
            self.partner, self.turned = self.qk[..., ::-1, :], np.empty_like(self.qk)
        self.one, self.middle = np.array(1, dtype), np.array(_MIDDLE, dtype)  # faster than Python's numbers

    def __deepcopy__(self, memo: dict) -> None:
        """None: views would no longer be views of each other. A copy of a Decoder makes its own with its first step."""

    def logits(self) -> np.ndarray:
        """A new array."""
        logits = np.empty((*self.rows, self.head.shape[1]), self.head.dtype)
        self.product(self.normal, *_split(self.head, logits, math.prod(self.rows)))
        return logits

    def normalize(self, x: np.ndarray, eps: float) -> None:
        """x / √(mean of x² + eps)."""
        if x.ndim == 1:
            self.root[()] = (float(x.dot(x)) / x.size + eps) ** -0.5
        else:
            np.vecdot(x, x, self.root[:, 0])
            self.root[...] = (self.root / x.shape[1] + eps) ** -0.5
        np.multiply(x, self.root, self.normalized)

    def turn(self, cos: np.ndarray, sin: np.ndarray) -> None:
        """Rotates queries and keys."""
        np.multiply(self.partner, sin, self.turned)
        np.multiply(self.qk, cos, self.qk)
        np.add(self.qk, self.turned, self.qk)

    def gelu(self) -> None:
        """z (1 + tanh(z³ + MIDDLE z)) of z = SCALE u, which is 2 SCALE gelu(u)."""
        z, work = self.wide, self.work
        np.multiply(z, z, work)
        np.add(work, self.middle, work)
        np.multiply(work, z, work)
        np.tanh(work, work)
        np.add(work, self.one, work)
        np.multiply(work, z, self.activated)


def _split(weights: np.ndarray, out: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """weights (in, columns) and out (rows, columns) as views of parts of their columns: (parts, in or rows, columns of each).

    OpenBLAS has a faster kernel for products of a few rows with at most 10⁶ multiplications.
    """
    columns, parts = weights.shape[1], 1
    while rows * weights.size > parts * 1_000_000 and columns % (2 * parts) == 0:
        parts *= 2
    if parts == 1 or columns < 32 * parts:
        return weights, out
    return tuple(array.reshape(-1, parts, columns // parts).swapaxes(0, 1) for array in (weights, out))


_SCALE = (math.sqrt(2 / math.pi) * 0.044715) ** (1 / 3)
_MIDDLE = math.sqrt(2 / math.pi) / _SCALE


def _folded(block: Module, config, centered: bool) -> list[np.ndarray]:
    """The weights of attention's two and the feed-forward's two linear layers, (in + 1, out), the bias in the last row."""
    width, size = config.d_model, config.d_model // config.n_head
    inner = block.attn.n_head * size
    weight, bias = _affine(block.attn.c_attn, width)
    scale = np.ones(3 * inner)
    scale[:inner] = 1 / math.sqrt(size)
    attend = _reading(block.ln_1, weight * scale, bias * scale)
    weight, bias = _affine(block.mlp.c_fc, width)
    widen = _reading(block.ln_2, weight * _SCALE, bias * _SCALE)
    join = np.vstack(_affine(block.attn.c_proj, inner))
    weight, bias = _affine(block.mlp.c_proj, widen.shape[1])
    narrow = np.vstack([weight / (2 * _SCALE), bias])
    return [attend, _centered(join) if centered else join, widen, _centered(narrow) if centered else narrow]


def _filled(attend: np.ndarray, join: np.ndarray, widen: np.ndarray, narrow: np.ndarray, inner: int, hidden: int) -> list:
    """A block's weights with zeros for the heads and neurons that it has not and another block has."""
    heads, neurons = inner - len(join) + 1, hidden - widen.shape[1]
    qkv = np.pad(attend.reshape(len(attend), 3, -1), [(0, 0), (0, 0), (0, heads)])
    return [
        qkv.reshape(len(attend), -1),
        np.insert(join, len(join) - 1, np.zeros((heads, 1)), 0),
        np.pad(widen, [(0, 0), (0, neurons)]),
        np.insert(narrow, len(narrow) - 1, np.zeros((neurons, 1)), 0),
    ]


def _affine(layer: Module, size: int) -> tuple[np.ndarray, np.ndarray]:
    """W (in, out) and b (out,) of any layer that computes x W + b: what it makes of 0 and of the unit vectors.

    Raises: ValueError that contains its class if it makes something else of a further vector.
    """
    further = np.linspace(-3, 2, size)
    rows = layer(Tensor(np.vstack([np.zeros(size), np.eye(size), further]))).data
    weight, bias = rows[1:-1] - rows[0], rows[0]
    if (np.abs(further @ weight + bias - rows[-1]) > 1e-3 * np.abs(rows).max()).any():
        raise ValueError(f"{type(layer).__name__} can't be folded: it does not compute x W + b")
    return weight, bias


def _reading(norm: Module, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A linear layer behind a norm, (in + 1, out): it reads normalized x and multiplies and adds what the norm would."""
    shift = getattr(norm, "bias", None)
    if shift is not None:
        bias = bias + shift.data @ weight
    return np.vstack([norm.weight.data[:, None] * weight, bias])


def _centered(rows: np.ndarray) -> np.ndarray:
    """Rows that are added to x, without their means."""
    return rows - rows.mean(-1, keepdims=True)
