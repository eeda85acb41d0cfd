"""Embeddings: a learned vector for each token, and three ways to say where it stands."""

import operator

import numpy as np
from katas.autograd import defvjp
from katas.layers import Module, Parameter
from katas.tensor import Tensor

# 12.1 embedding


def embedding(ids, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Row weight[i] for each id i: ids (…) → (…, dim), for a weight (num, dim).

    ids are a list, an array or a Tensor of integers, and may be changed afterwards. Row padding_idx, counted from the end if it
    is negative, receives no gradient. Raises: TypeError if ids or padding_idx are not integers; IndexError that names the first
    id outside 0 … num - 1 and its position; ValueError if padding_idx is outside -num … num - 1, or weight has not two axes.
    """
    if weight.ndim != 2:
        raise ValueError(f"embedding: the weight must have the axes (num, dim), not the shape {weight.shape}")
    num, ids, padding_idx = len(weight), _integers("ids", ids), _row(padding_idx, len(weight))
    outside = (ids < 0) | (ids >= num)
    if outside.any():
        place = tuple(map(int, np.argwhere(outside)[0]))
        raise IndexError(f"id {ids[place]} at {place} is out of range: there are {num} embeddings")
    ids = ids.astype(np.intp)  # a copy, which the record holds
    return Tensor._result("embedding", weight.data[ids], weight, ids=ids, padding_idx=padding_idx)


def _integers(name: str, values) -> np.ndarray:
    array = Tensor(values).data
    if array.size and array.dtype.kind not in "iu":  # without values, as in [], there is no type
        raise TypeError(f"{name} must be integers, not {array.dtype}: {array.flat[0]}")
    return array


def _row(padding_idx: int | None, num: int) -> int | None:
    """padding_idx, counted from the front."""
    if padding_idx is None:
        return None
    if isinstance(padding_idx, bool | np.bool_):
        raise TypeError(f"padding_idx must be an integer, not {padding_idx!r}")
    if not -num <= operator.index(padding_idx) < num:
        raise ValueError(f"padding_idx {padding_idx} is out of range for {num} embeddings")
    return operator.index(padding_idx) % num


def _embedding_to_weight(g, y, weight, ids, padding_idx):
    """Sorted by id, the gradients of each row lie side by side: reduceat adds them, in float64."""
    result, order = np.zeros_like(weight), np.argsort(ids, None, "stable")
    rows, first = np.unique(ids.ravel()[order], return_index=True)
    g = g.reshape(ids.size, weight.shape[1])[order]  # (tokens, dim)
    result[rows] = np.add.reduceat(g, first, 0, np.float64)
    if padding_idx is not None:
        result[padding_idx] = 0
    return result


defvjp("embedding", _embedding_to_weight)

# 12.2 Embedding


class Embedding(Module):
    """embedding with a weight (num_embeddings, embedding_dim) of its own, drawn from a standard normal distribution.

    Row padding_idx, if there is one, starts at 0 and stays there, as in torch.nn.Embedding.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        rng: np.random.Generator | None = None,
    ):
        """rng None means a fresh generator. Raises: ValueError unless both sizes are positive; as embedding for padding_idx."""
        self.weight = _drawn(self, num_embeddings, embedding_dim, rng)
        self.padding_idx = _row(padding_idx, num_embeddings)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(self, ids) -> Tensor:
        """ids (…) → (…, embedding_dim)."""
        return embedding(ids, self.weight, self.padding_idx)


def _drawn(layer: Module, rows: int, columns: int, rng: np.random.Generator | None) -> Parameter:
    if rows < 1 or columns < 1:
        raise ValueError(f"{type(layer).__name__}({rows}, {columns}): both sizes must be positive")
    return Parameter(np.random.default_rng(rng).standard_normal((rows, columns), np.float32))


# 12.3 SinusoidalPositions


def _positions(layer: Module, table, x: Tensor, start) -> np.ndarray:
    """The position of each token of x (…, time, dim): (1, …, time), or (batch, 1, …, time) if each row has its own start.

    table (max_positions, dim) is the layer's. Raises as forward.
    """
    (longest, dim), starts = table.shape, _integers("start", start)
    if x.ndim < 2 or x.shape[-1] != dim:
        raise ValueError(f"{type(layer).__name__}({longest}, {dim}) got input of shape {x.shape}")
    if x.dtype.kind != "f":
        raise TypeError(f"{type(layer).__name__} takes floats, not {x.dtype}")
    if starts.ndim and starts.shape != x.shape[:-2][:1]:
        raise ValueError(f"start has shape {starts.shape}, and x {x.shape}: give one integer, or one for each row of the batch")
    if starts.min(initial=0) < 0:
        raise ValueError(f"start {starts.min()} is negative")
    last = int(starts.max(initial=0)) + x.shape[-2] - 1
    if last >= longest:
        raise ValueError(f"there is no position {last}: {type(layer).__name__} has {longest}, counted from 0")
    positions = starts.astype(np.intp)[..., None] + np.arange(x.shape[-2])  # (time,) or (batch, time)
    return positions.reshape(*starts.shape, *(1,) * (x.ndim - 2 - starts.ndim), x.shape[-2])


def _angles(layer: Module, max_positions: int, dim: int, base: float) -> np.ndarray:
    """position · base^(-2i / dim) for i < dim / 2: (max_positions, dim / 2). In float32 an angle of 10⁵ is off by 0.01."""
    if max_positions < 1 or dim < 2 or dim % 2:
        raise ValueError(f"{type(layer).__name__}({max_positions}, {dim}): max_positions must be positive, dim too and even")
    return np.arange(max_positions)[:, None] * float(base) ** (-np.arange(0, dim, 2) / dim)


class SinusoidalPositions(Module):
    """Adds sin(p · 10000^(-2i / dim)) to channel 2i of the token at position p, and the cosine to channel 2i + 1.

    Vaswani et al. 2017, section 3.5. The table is no parameter, and no part of state_dict.
    """

    def __init__(self, max_positions: int, dim: int):
        """Raises: ValueError unless both are positive and dim is even."""
        angles = _angles(self, max_positions, dim, 10000)
        self._table = np.stack([np.sin(angles), np.cos(angles)], -1).reshape(max_positions, dim)

    def forward(self, x: Tensor, start=0) -> Tensor:
        """x (…, time, dim) of floats → the same shape and dtype. The first token stands at position `start`.

        start is an integer, or one for each row of the first axis: (batch,). Raises, as all three: ValueError if x or start has
        another shape, start is negative, or a position is not below max_positions; TypeError unless start holds integers and x
        floats.
        """
        return x + Tensor(self._table[_positions(self, self._table, x, start)].astype(x.dtype))


# 12.4 LearnedPositions


class LearnedPositions(Module):
    """Adds row p of a weight (max_positions, dim) to the token at position p, as GPT-2 does. It is drawn as Embedding's."""

    def __init__(self, max_positions: int, dim: int, rng: np.random.Generator | None = None):
        """rng None means a fresh generator. Raises: ValueError unless both sizes are positive."""
        self.weight = _drawn(self, max_positions, dim, rng)

    def forward(self, x: Tensor, start=0) -> Tensor:
        """x (…, time, dim) → the same shape. start: as in 12.3."""
        return x + embedding(_positions(self, self.weight, x, start), self.weight)


# 12.5 RotaryPositions


class RotaryPositions(Module):
    """Rotates pairs of channels by the angles p · base^(-2i / dim): the product of two vectors then depends on their distance.

    pairing says which channels are pair i: "halves" takes i and i + dim / 2, as GPT-NeoX and Llama do; "neighbors" takes 2i and
    2i + 1, as RoFormer does (Su et al. 2021, section 3.2.2). Weights trained with one are useless with the other.
    """

    def __init__(self, max_positions: int, dim: int, base: float = 10000.0, pairing: str = "halves"):
        """Raises: ValueError unless max_positions, dim and base are positive, dim is even, and pairing is one of the two."""
        if pairing not in ("halves", "neighbors"):
            raise ValueError(f'pairing must be "halves" or "neighbors", not {pairing!r}')
        if not base > 0:
            raise ValueError(f"base must be positive, not {base!r}")
        angles = _angles(self, max_positions, dim, base)
        self._pair = _pair(dim, pairing)
        self._cos, self._sin = np.empty((max_positions, dim)), np.empty((max_positions, dim))
        for channels, sign in zip(self._pair, (-1, 1), strict=True):
            self._cos[:, channels], self._sin[:, channels] = np.cos(angles), sign * np.sin(angles)

    def forward(self, x: Tensor, start=0) -> Tensor:
        """x (batch, heads, time, dim), or with other leading axes → the same shape and dtype. start: as in 12.3."""
        positions = _positions(self, self._cos, x, start)
        cos, sin = self._cos[positions].astype(x.dtype), self._sin[positions].astype(x.dtype)
        return Tensor._result("rotary", _rotated(x.data, cos, sin, self._pair), x, cos=cos, sin=sin, pair=self._pair)


def _pair(dim: int, pairing: str) -> tuple[slice, slice]:
    """The first channels of all pairs, and the second ones."""
    if pairing == "halves":
        return slice(0, dim // 2), slice(dim // 2, dim)
    return slice(0, dim, 2), slice(1, dim, 2)


def _rotated(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, pair: tuple[slice, slice]) -> np.ndarray:
    """(a, b) → (a cos - b sin, b cos + a sin) for every pair; the sines come with their signs."""
    (first, second), y = pair, np.empty_like(x)
    y[..., first], y[..., second] = x[..., second], x[..., first]
    y *= sin
    y += x * cos
    return y


defvjp("rotary", lambda g, y, x, cos, sin, pair: _rotated(g, cos, -sin, pair))  # the rotation back

# 12.6 Looking at positions


def draw(path: str, **tables: np.ndarray) -> None:  # given
    """Draws tables (rows, columns) side by side into a file: red above 0, blue below. The suffix may be .png, .svg or .pdf."""
    from matplotlib.figure import Figure  # which takes a second to import

    figure = Figure(figsize=(5 * len(tables), 4), layout="constrained")
    for axes, (name, table) in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables.items(), strict=True):
        largest = np.abs(table).max()
        axes.imshow(table, "RdBu_r", vmin=-largest, vmax=largest, aspect="auto", interpolation="nearest")
        axes.set_title(name)
    figure.savefig(path)
