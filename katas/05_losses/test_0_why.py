import math

import numpy as np
from katas.losses import CrossEntropyLoss
from katas.tensor import Tensor

from specs import oracles
from specs.check import assert_close


def naive_loss(logits: np.ndarray, target: np.ndarray) -> float:
    """The definition as it stands: softmax, then the logarithm of the target's probability."""
    odds = Tensor(logits).exp()
    return -(odds / odds.sum(-1, keepdim=True))[np.arange(len(target)), target].log().mean().item()


def naive_gradient(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The gradient (softmax - one-hot) / samples."""
    odds = np.exp(logits)
    p = odds / odds.sum(-1, keepdims=True)
    p[np.arange(len(target)), target] -= 1
    return p / len(target)


def stable_gradient(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    loss = CrossEntropyLoss()
    loss(Tensor(logits), target)
    return loss.backward()


def lost(weights: np.ndarray, x: np.ndarray, target: np.ndarray, gradient) -> list[int]:
    """Returns the number of NaN weights after each of three steps."""
    counts = []
    for _ in range(3):
        weights = weights - 0.001 * x.T @ gradient(x @ weights, target)
        counts.append(int(np.isnan(weights).sum()))
    return counts


def test_one_sample_that_was_not_scaled_ruins_a_naive_cross_entropy_but_not_this_one(draw, tell):
    """float32 can't hold e⁸⁹. One sample of 64 whose pixels go up to 255 instead of 1 makes the naive loss NaN or infinite, and
    two steps later every weight is NaN; no message names the sample. Yet the batch has a loss and a gradient.
    """
    x, target = np.array(draw.uniform(0, 1, 64, 20, dtype=np.float32)), draw.integers(10, 64)
    weights = draw.normal(20, 10, dtype=np.float32)
    x[7] *= 255
    logits = x @ weights
    loss, want = CrossEntropyLoss()(Tensor(logits), target), oracles.losses.cross_entropy(logits, target)
    assert_close(loss, want)
    with np.errstate(all="ignore"):
        broken, before = naive_loss(logits, target), lost(weights, x, target, naive_gradient)
    after = lost(weights, x, target, stable_gradient)
    assert not math.isfinite(broken)
    assert before[-1] == weights.size
    assert after == [0, 0, 0]
    tell(f"one sample of 64 not scaled: the naive loss is {broken}, CrossEntropyLoss {loss.item():.4f}, in truth {want:.4f}")
    tell(f"of {weights.size} weights, NaN after one, two, three steps: naive {before}, with CrossEntropyLoss {after}")
