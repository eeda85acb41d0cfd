"""Slow and obvious: what embeddings and positions mean, one token at a time."""

import math
from collections.abc import Callable

import numpy as np


def embedding(ids: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """ids (…) → (…, dim)."""
    y = np.empty((*np.shape(ids), weight.shape[1]), weight.dtype)
    for index in np.ndindex(np.shape(ids)):
        y[index] = weight[int(np.asarray(ids)[index])]
    return y


def embedding_gradient(g: np.ndarray, ids: np.ndarray, num: int, padding_idx: int | None = None) -> np.ndarray:
    """The gradient of ⟨g, embedding(ids, weight)⟩ by a weight with `num` rows: each sum is exact, and rounded once."""
    found = [[] for _ in range(num)]
    for index in np.ndindex(np.shape(ids)):
        found[int(np.asarray(ids)[index])].append(g[index].tolist())
    if padding_idx is not None:
        found[padding_idx] = []
    return np.array(
        [[math.fsum(column) for column in zip(*rows, strict=True)] if rows else [0.0] * g.shape[-1] for rows in found]
    )


def placed(function: Callable, x: np.ndarray, start=0) -> np.ndarray:
    """function(vector, position) for every vector of x (batch, …, time, dim), or (time, dim) for an integer start."""
    y = np.empty(x.shape)
    for index in np.ndindex(x.shape[:-1]):
        first = start if np.ndim(start) == 0 else start[index[0]]
        y[index] = function(x[index].tolist(), int(first) + index[-1])
    return y


def sinusoidal(vector: list[float], position: int) -> list[float]:
    """The vector plus the sines, at even channels, and cosines of a position (Vaswani et al. 2017, section 3.5)."""
    result = []
    for channel, value in enumerate(vector):
        angle = position / 10000 ** (channel // 2 * 2 / len(vector))
        result.append(value + (math.cos(angle) if channel % 2 else math.sin(angle)))
    return result


def rotary(pairing: str, base: float = 10000.0) -> Callable:
    """The function that rotates each pair of a vector by the angle of a position (Su et al. 2021, section 3.2.2)."""

    def rotated(vector: list[float], position: int) -> list[float]:
        half, result = len(vector) // 2, list(vector)
        for i in range(half):
            first, second = (i, i + half) if pairing == "halves" else (2 * i, 2 * i + 1)
            cos, sin = math.cos(position * base ** (-i / half)), math.sin(position * base ** (-i / half))
            result[first] = vector[first] * cos - vector[second] * sin
            result[second] = vector[first] * sin + vector[second] * cos
        return result

    return rotated
