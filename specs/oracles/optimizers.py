"""The published algorithms, one number at a time: what becomes of a parameter after steps with the given gradients."""

import math
from collections.abc import Callable, Sequence

import numpy as np


def sgd(
    p: float, grads: Sequence[float], lr: float, momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False
) -> float:
    """Stochastic gradient descent; momentum as PyTorch's documentation of torch.optim.SGD gives it, without dampening."""
    b = 0.0
    for grad in grads:
        g = grad + weight_decay * p
        b = momentum * b + g
        p = p - lr * (g + momentum * b if nesterov else b)
    return p


def adam(
    p: float,
    grads: Sequence[float],
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> float:
    """Kingma & Ba 2015, algorithm 1, on the gradient of the loss plus weight_decay / 2 · p²."""
    m = v = 0.0
    for t, grad in enumerate(grads, 1):
        g = grad + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        p = p - lr * m_hat / (math.sqrt(v_hat) + eps)
    return p


def adamw(p: float, grads: Sequence[float], lr: float = 1e-3, weight_decay: float = 0.01, **options) -> float:
    """Loshchilov & Hutter 2019, algorithm 2: Adam, and apart from it p loses lr · weight_decay of itself at every step.

    The decay comes first, and Adam's moments do not depend on p when there is no L2 term: so each step can be taken alone.
    """
    for t in range(1, len(grads) + 1):
        step = adam(0.0, grads[:t], lr, **options) - adam(0.0, grads[: t - 1], lr, **options)
        p = p - lr * weight_decay * p + step
    return p


def each(rule: Callable, start: np.ndarray, grads: Sequence[np.ndarray], **options) -> np.ndarray:
    """One of the rules above for every element of an array."""
    out = np.empty(start.shape)
    for index in np.ndindex(start.shape):
        out[index] = rule(float(start[index]), [float(grad[index]) for grad in grads], **options)
    return out


def momentum_on_a_parabola(p: float, curvature: float, steps: int, lr: float, momentum: float) -> float:
    """Where SGD with momentum is after `steps` on curvature / 2 · p²: one matrix to the power of steps.

    b ← μ·b + c·p and p ← p - lr·b are linear in (p, b).
    """
    once = np.array([[1 - lr * curvature, -lr * momentum], [curvature, momentum]])
    return float((np.linalg.matrix_power(once, steps) @ [p, 0.0])[0])


def rosenbrock(p: np.ndarray) -> tuple[float, np.ndarray]:
    """(1 - x)² + 100 (y - x²)² and its gradient: a curved valley whose lowest point is (1, 1) (Rosenbrock 1960)."""
    x, y = p.tolist()
    slope = np.array([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)])
    return (1 - x) ** 2 + 100 * (y - x * x) ** 2, slope
