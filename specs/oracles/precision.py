"""Quantization, number by number, in Python's integers and float64."""

import math

import numpy as np

TINY = 2.0**-126  # the smallest normal float32
SLACK = 2e-4  # steps, by which float32 may be off


def step(values, symmetric: bool = True) -> tuple[float, int]:
    """The scale and the zero point of some numbers."""
    low, high = min([0.0, *values]), max([0.0, *values])
    if symmetric:
        return max(high / 127, -low / 127, TINY), 0
    scale = max((high - low) / 255, TINY)
    return scale, max(-128, min(127, round(-128 - low / scale)))


def meant(quantized) -> np.ndarray:
    """What a Quantized or Quantized4 means, from its buffers, in float64."""
    scale = np.asarray(quantized.scale, np.float64)
    if quantized.values.dtype == np.uint8:
        shape = tuple(quantized.shape)
        n = math.prod(shape[1:])
        rows = [
            [value * float(scale[row, i // 32]) for i, value in enumerate(unpack(quantized.values[row], n))]
            for row in range(shape[0])
        ]
        return np.array(rows).reshape(shape)
    zero_point = 0 if quantized.zero_point is None else np.asarray(quantized.zero_point, np.int64)
    return (quantized.values.astype(np.int64) - zero_point) * scale


def pack(values) -> list[int]:
    """One row, two values a byte."""
    codes = [int(value) + 8 for value in values] + [8] * (len(values) % 2)
    return [codes[i] + 16 * codes[i + 1] for i in range(0, len(codes), 2)]


def unpack(packed, n: int) -> list[int]:
    """One row."""
    codes = [code for byte in packed for code in (int(byte) % 16, int(byte) // 16)]
    return [code - 8 for code in codes[:n]]


def product(a, b) -> list[list[int]]:
    """a bᵀ in Python's integers."""
    return [[sum(int(x) * int(y) for x, y in zip(row, other, strict=True)) for other in b] for row in a]


def limits(values, percentile: float) -> tuple[float, float]:
    """The nearest values that percentile % of all don't exceed, or don't fall below."""
    values, needed = sorted(map(float, values)), math.ceil(round(len(values) * percentile / 100, 6))
    return values[-needed], values[needed - 1]
