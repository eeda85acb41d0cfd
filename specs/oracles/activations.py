"""Slow and obvious: what the activations mean, one number or one line of numbers at a time."""

import math
from collections.abc import Callable

import numpy as np


def _each(function: Callable[[float], float], x: np.ndarray) -> np.ndarray:
    return np.array([function(value) for value in x.ravel().tolist()], dtype=np.float64).reshape(x.shape)


def relu(x: np.ndarray) -> np.ndarray:
    """x where it is positive, else 0."""
    return _each(lambda value: value if value > 0 else 0.0, x)


def leaky_relu(x: np.ndarray, negative_slope: float = 0.01) -> np.ndarray:
    """x where it is positive, else negative_slope times x."""
    return _each(lambda value: value if value > 0 else negative_slope * value, x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e⁻ˣ), with an exponent that is never positive."""
    return _each(lambda value: 1 / (1 + math.exp(-value)) if value > 0 else math.exp(value) / (1 + math.exp(value)), x)


def tanh(x: np.ndarray) -> np.ndarray:
    """The hyperbolic tangent."""
    return _each(math.tanh, x)


def gelu(x: np.ndarray) -> np.ndarray:
    """The tanh form of x · Φ(x)."""
    return _each(lambda v: v / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v * v * v))), x)


def softmax(x: np.ndarray, dim: int = -1) -> np.ndarray:
    """eˣ over the sum of eˣ, line by line along an axis."""
    return _lines(_softmax, x, dim)


def log_softmax(x: np.ndarray, dim: int = -1) -> np.ndarray:
    """x less the logarithm of the sum of eˣ, line by line along an axis."""
    return _lines(_log_softmax, x, dim)


def _lines(function: Callable[[list[float]], list[float]], x: np.ndarray, dim: int) -> np.ndarray:
    out = np.empty(x.shape)
    dim %= x.ndim
    for index in np.ndindex(x.shape[:dim] + x.shape[dim + 1 :]):
        line = (*index[:dim], slice(None), *index[dim:])
        out[line] = function(x[line].tolist())
    return out


def _softmax(line: list[float]) -> list[float]:
    powers = [math.exp(value - max(line)) for value in line]
    return [power / math.fsum(powers) for power in powers]


def _log_softmax(line: list[float]) -> list[float]:
    total = math.log(math.fsum(math.exp(value - max(line)) for value in line))
    return [value - max(line) - total for value in line]
