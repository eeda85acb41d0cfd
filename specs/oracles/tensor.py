"""Slow and obvious: what Tensor's operations mean, one number at a time."""

import numpy as np


def nested_matmul(a: list[list[float]], b: list[list[float]]) -> list[list[float]]:
    """The product of two matrices held as lists of rows."""
    return [[sum(a[i][k] * b[k][j] for k in range(len(b))) for j in range(len(b[0]))] for i in range(len(a))]


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Product over the last axis of a and the second to last of b; a vector is a row on the left, a column on the right."""
    rows, columns = np.atleast_2d(a), b[:, None] if b.ndim == 1 else b
    leading = np.broadcast_shapes(rows.shape[:-2], columns.shape[:-2])
    rows = np.broadcast_to(rows, leading + rows.shape[-2:])
    columns = np.broadcast_to(columns, leading + columns.shape[-2:])
    out = np.zeros((*leading, rows.shape[-2], columns.shape[-1]))
    for index in np.ndindex(leading):
        out[index] = nested_matmul(rows[index].tolist(), columns[index].tolist())
    if b.ndim == 1:
        out = out[..., 0]
    return out[..., 0, :] if a.ndim == 1 and b.ndim > 1 else out[..., 0] if a.ndim == 1 else out


def reduce(values: np.ndarray, dim: int | tuple[int, ...] | None, function) -> np.ndarray:
    """`function` (of a list of numbers) over the given axes, which keep length 1."""
    dims = range(values.ndim) if dim is None else [d % values.ndim for d in np.atleast_1d(dim)]
    kept = tuple(1 if d in dims else length for d, length in enumerate(values.shape))
    out = np.empty(kept)
    for index in np.ndindex(kept):
        block = tuple(slice(None) if d in dims else i for d, i in enumerate(index))
        out[index] = function(values[block].ravel().tolist())
    return out


def permute(values: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    """Axis i of the result is axis dims[i] of the input."""
    out = np.empty([values.shape[d] for d in dims])
    for index in np.ndindex(out.shape):
        source = [0] * values.ndim
        for position, d in zip(index, dims, strict=True):
            source[d] = position
        out[index] = values[tuple(source)]
    return out
