"""Kata 12 by other means: counting by bincount, rotation by complex numbers, and angles computed when they are needed."""

import numbers

import numpy as np
from katas.autograd import defvjp
from katas.layers import Module, Parameter
from katas.tensor import Tensor, concatenate


def whole(values):
    """An array of integers, as int64; Python's own numbers know no range."""
    values = values.data if isinstance(values, Tensor) else np.asarray(values)
    if values.size == 0:
        return values.astype(np.int64)
    if not np.issubdtype(values.dtype, np.integer):
        raise TypeError(f"integers are wanted, and these are {values.dtype}")
    return values


def padding(padding_idx, rows):
    if padding_idx is None:
        return None
    if isinstance(padding_idx, bool) or not isinstance(padding_idx, numbers.Integral):
        raise TypeError(f"{padding_idx} is no integer")
    if padding_idx not in range(-rows, rows):
        raise ValueError(f"{padding_idx} is none of the {rows} rows")
    return range(rows)[padding_idx]


def embedding(ids, weight, padding_idx=None):
    if len(weight.shape) != 2:
        raise ValueError(f"a matrix is needed, not {weight.shape}")
    ids, padding_idx = whole(ids), padding(padding_idx, weight.shape[0])
    rows = range(weight.shape[0])
    if ids.size and not (int(ids.min()) in rows and int(ids.max()) in rows):
        place, number = next(pair for pair in np.ndenumerate(ids) if int(pair[1]) not in rows)
        raise IndexError(f"{number}, at {place}, is none of {len(rows)}")
    ids = ids.astype(np.int64)
    return Tensor._result("lookup", np.take(weight.data, ids, 0), weight, ids=ids, skip=padding_idx)


def lookup_to_weight(g, y, weight, ids, skip):
    """Each channel is a weighted histogram."""
    rows, columns = weight.shape
    places = np.add.outer(ids.ravel() * columns, np.arange(columns))
    sums = np.bincount(places.ravel(), g.ravel(), rows * columns).reshape(rows, columns)
    if skip is not None:
        sums[skip] = 0
    return sums.astype(weight.dtype)


defvjp("lookup", lookup_to_weight)


class Embedding(Module):
    def __init__(self, num_embeddings, embedding_dim, padding_idx=None, rng=None):
        if min(num_embeddings, embedding_dim) <= 0:
            raise ValueError(f"sizes {num_embeddings} and {embedding_dim} must be more than 0")
        values = (rng or np.random.default_rng()).normal(size=(num_embeddings, embedding_dim))
        self.padding_idx = padding(padding_idx, num_embeddings)
        if self.padding_idx is not None:
            values[self.padding_idx] = 0
        self.weight = Parameter(values.astype(np.float32))

    def forward(self, ids):
        return embedding(ids, self.weight, self.padding_idx)


def places(layer, longest, dim, x, start):
    """A list of positions for each row of the batch, or one list for all."""
    starts = whole(start)
    if len(x.shape) < 2 or x.shape[-1] != dim:
        raise ValueError(f"{type(layer).__name__}({longest}, {dim}) does not take {x.shape}")
    if not np.issubdtype(x.dtype, np.floating):
        raise TypeError(f"vectors of floats are wanted, not of {x.dtype}")
    if starts.shape not in ((), x.shape[:-2][:1]):
        raise ValueError(f"{starts.shape} starts for x {x.shape}")
    time, lists = x.shape[-2], []
    for first in starts.ravel().tolist():
        if first < 0:
            raise ValueError(f"start {first} is below 0")
        if first + time > longest:
            raise ValueError(f"position {first + time - 1} where there are {longest}")
        lists.append(range(first, first + time))
    return lists if starts.shape else lists[0]


def rows_of(function, positions, x):
    """function(range) → (time, channels), for all or for each row: an array that is broadcast against x."""
    if isinstance(positions, range):
        return function(positions)
    stacked = (
        np.array([function(each) for each in positions]) if positions else np.zeros((0, *function(range(x.shape[-2])).shape))
    )
    return stacked.reshape(len(positions), *[1] * (len(x.shape) - 3), *stacked.shape[1:])


def even(layer, max_positions, dim):
    if max_positions <= 0 or dim <= 0 or dim % 2 == 1:
        raise ValueError(f"{type(layer).__name__} of {max_positions} and {dim}")


def angles(positions, dim, base):
    return np.outer(np.array(positions, np.float64), np.exp(-np.log(float(base)) * np.arange(dim // 2) / (dim // 2)))


class SinusoidalPositions(Module):
    def __init__(self, max_positions, dim):
        even(self, max_positions, dim)
        self.max_positions, self.dim = max_positions, dim

    def waves(self, positions):
        turns, rows = angles(positions, self.dim, 10000), np.empty((len(positions), self.dim))
        rows[:, 0::2], rows[:, 1::2] = np.sin(turns), np.cos(turns)
        return rows

    def forward(self, x, start=0):
        positions = places(self, self.max_positions, self.dim, x, start)
        return x + rows_of(self.waves, positions, x).astype(x.dtype)


class LearnedPositions(Module):
    def __init__(self, max_positions, dim, rng=None):
        self.weight = Embedding(max_positions, dim, rng=rng).weight

    def forward(self, x, start=0):
        positions = places(self, *self.weight.shape, x, start)
        if isinstance(positions, range):
            return x + self.weight[positions.start : positions.stop]
        parts = [x[n] + self.weight[each.start : each.stop] for n, each in enumerate(positions)]
        return concatenate([part.reshape(1, *part.shape) for part in parts]) if parts else x + self.weight[:0].sum()


class RotaryPositions(Module):
    def __init__(self, max_positions, dim, base=10000.0, pairing="halves"):
        even(self, max_positions, dim)
        if base != base or base <= 0:
            raise ValueError(f"a base of {base}")
        if pairing == "halves":
            self.order = np.arange(dim).reshape(2, -1).T.ravel()  # what is to lie side by side
        elif pairing == "neighbors":
            self.order = np.arange(dim)
        else:
            raise ValueError(f"{pairing} is neither halves nor neighbors")
        self.back = np.argsort(self.order)
        self.max_positions, self.dim, self.base = max_positions, dim, base

    def forward(self, x, start=0):
        positions = places(self, self.max_positions, self.dim, x, start)
        turns = rows_of(lambda each: angles(each, self.dim, self.base), positions, x)
        return Tensor._result(
            "turn", turned(x.data, turns, self.order, self.back), x, turns=turns, order=self.order, back=self.back
        )


def turned(x, turns, order, back):
    """Two channels are a complex number, which e^{iφ} turns by φ."""
    pairs = np.ascontiguousarray(x[..., order].astype(np.float64)).view(np.complex128)
    return np.ascontiguousarray(pairs * np.exp(1j * turns)).view(np.float64)[..., back].astype(x.dtype)


defvjp("turn", lambda g, y, x, turns, order, back: turned(g, -turns, order, back))
