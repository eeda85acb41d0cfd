"""Slow and obvious: what the losses mean, one number at a time, in float64."""

import math

import numpy as np


def mse(prediction: np.ndarray, target: np.ndarray) -> float:
    """The mean of the squared differences."""
    pairs = list(zip(prediction.ravel().tolist(), target.ravel().tolist(), strict=True))
    return math.fsum((a - b) ** 2 for a, b in pairs) / len(pairs)


def log_softmax(logits: list[float]) -> list[float]:
    """log(eˣ / Σ eˣ), of each number."""
    highest = max(logits)
    total = highest + math.log(math.fsum(math.exp(x - highest) for x in logits))
    return [x - total for x in logits]


def cross_entropy(logits: np.ndarray, target: np.ndarray, smoothing: float = 0.0, ignored: int | None = None) -> float:
    """-Σ q·log p, where q is 1 - smoothing at the target plus smoothing / classes everywhere; the mean of those not ignored."""
    losses = []
    for index in np.ndindex(target.shape):
        if target[index] != ignored:
            logs = log_softmax(logits[index].tolist())
            for_target = (1 - smoothing) * logs[target[index]]
            losses.append(-for_target - (smoothing * sum(logs) / len(logs) if smoothing else 0))
    return math.fsum(losses) / len(losses)


def bce_with_logits(logits: np.ndarray, target: np.ndarray) -> float:
    """-y·log σ(x) - (1 - y)·log(1 - σ(x)), and 1 - σ(x) = σ(-x); the mean."""
    pairs = list(zip(logits.ravel().tolist(), target.ravel().tolist(), strict=True))
    return math.fsum(y * _minus_log_sigmoid(x) + (1 - y) * _minus_log_sigmoid(-x) for x, y in pairs) / len(pairs)


def _minus_log_sigmoid(x: float) -> float:
    """log(1 + e⁻ˣ)."""
    return math.log1p(math.exp(-x)) if x > 0 else -x + math.log1p(math.exp(x))
