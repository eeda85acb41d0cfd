"""What training amounts to, in plain NumPy; schedules in the recursive forms of the papers; and equality to the last bit."""

import math

import numpy as np

from specs.check import Mismatch


def regressed(w: np.ndarray, b: np.ndarray, batches: list, rates: list[float], clip_norm: float = math.inf) -> tuple:
    """Gradient descent on the mean of (x wᵀ + b - y)²: a step for each batch (x, y), each at its rate.

    Returns w, b and the loss of each batch before its step. The gradient, as one vector, is shortened to clip_norm.
    """
    w, b, losses = w.astype(np.float64), b.astype(np.float64), []
    for (x, y), rate in zip(batches, rates, strict=True):
        error = x @ w.T + b - y
        losses.append(float((error**2).mean()))
        dw, db = np.zeros_like(w), np.zeros_like(b)
        for row, e in zip(x, error, strict=True):
            dw += 2 * np.outer(e, row) / error.size
            db += 2 * e / error.size
        length = math.sqrt((dw**2).sum() + (db**2).sum())
        rate = rate * min(1.0, clip_norm / length)
        w, b = w - rate * dw, b - rate * db
    return w, b, losses


def right(prediction: np.ndarray, target: np.ndarray) -> float:
    """The share of targets at the largest of their predictions, counted one by one."""
    hits = [max(range(len(prediction[i])), key=prediction[i].__getitem__) == target[i] for i in np.ndindex(target.shape)]
    return sum(hits) / len(hits)


def steps_down(count: int, step_size: int, gamma: float) -> list[float]:
    """Factors of the steps before count: each step_size steps they are multiplied by gamma."""
    factors = [1.0]
    for step in range(1, count):
        factors.append(factors[-1] * (gamma if step % step_size == 0 else 1.0))
    return factors


def cosine(total: int, final: float) -> list[float]:
    """Factors of steps 0 to total, by the recursion that the documentation of torch's CosineAnnealingLR gives."""
    factors = [1.0]
    for t in range(total):
        ratio = (1 + math.cos((t + 1) * math.pi / total)) / (1 + math.cos(t * math.pi / total))
        factors.append(final + (factors[-1] - final) * ratio)
    return factors


def one_cycle(total: int, pct_start: float, div_factor: float, final_div_factor: float) -> list[float]:
    """Factors of the steps before total: between the ends of two phases, along sin² instead of a cosine."""
    top, low = pct_start * total - 1, 1 / div_factor
    factors = []
    for step in range(total):
        begin, end, first, last = (0, top, low, 1.0) if step < top else (top, total - 1, 1.0, low / final_div_factor)
        factors.append(first + (last - first) * math.sin(math.pi / 2 * (step - begin) / (end - begin)) ** 2)
    return factors


def assert_same(got, want, where: str = "state") -> None:
    """Raises Mismatch unless both are the same in type and to the last bit: arrays, numbers, and what holds them."""
    if type(got) is not type(want):
        raise Mismatch(f"{where}: expected a {type(want).__name__}, {want!r}\ngot a {type(got).__name__}, {got!r}")
    if isinstance(want, dict):
        if [(type(key), key) for key in got] != [(type(key), key) for key in want]:
            raise Mismatch(f"{where}: expected the keys {[*want]!r}\ngot {[*got]!r}")
        for key, value in want.items():
            assert_same(got[key], value, f"{where}[{key!r}]")
    elif isinstance(want, list | tuple):
        if len(got) != len(want):
            raise Mismatch(f"{where}: expected {len(want)} items\ngot {len(got)}")
        for index, value in enumerate(want):
            assert_same(got[index], value, f"{where}[{index}]")
    else:
        a, b = np.asarray(got), np.asarray(want)
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            raise Mismatch(f"{where}: expected {b.dtype} of shape {b.shape}\ngot {a.dtype} of shape {a.shape}")
        same = got == want if b.dtype == object else a.tobytes() == b.tobytes()
        if not same:
            differ = np.asarray(a != b).sum()
            raise Mismatch(f"{where}: the bits differ ({differ} of {b.size} values)\nexpected {want!r}\ngot {got!r}"[:400])
