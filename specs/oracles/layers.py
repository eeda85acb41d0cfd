"""Slow and obvious: what the layers compute, one number at a time."""

import numpy as np


def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """x (…, in), weight (out, in), bias (out,) → (…, out): every output is a weighted sum of the inputs, plus its bias."""
    out = np.empty((*x.shape[:-1], len(weight)))
    for index in np.ndindex(x.shape[:-1]):
        for o, weights in enumerate(weight):
            total = sum(float(w) * float(value) for w, value in zip(weights, x[index], strict=True))
            out[*index, o] = total + (0.0 if bias is None else float(bias[o]))
    return out
