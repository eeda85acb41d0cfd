"""Activations: the nonlinearities between linear maps, and their hand-derived derivatives.

`forward` takes a Tensor of any shape and returns a Tensor of the same shape and dtype. Integers and booleans give float32,
except that ReLU of integers keeps their dtype, and ReLU of booleans gives int64, as `maximum(x, 0)` does.
`backward` takes the gradient of the output and returns the gradient of the input, both arrays of that shape. It changes neither
grad nor the arrays that forward saved.
Raises, in every backward: RuntimeError if forward has saved nothing; ValueError if grad doesn't have the output's shape.
"""

import math

import numpy as np
from katas.tensor import Tensor, maximum, where


class Differentiable:  # given
    """An object with a `forward` and a hand-derived `backward`. Calling it runs forward."""

    _kept: tuple | None = None

    def __call__(self, *inputs, **options) -> Tensor:
        return self.forward(*inputs, **options)

    def keep(self, *values) -> None:
        """Saves what backward will need.

        While operations are recorded it saves nothing: the graph holds the arrays, and this backward isn't called.
        """
        self._kept = None if Tensor._recorder is not None else values

    def kept(self) -> tuple:
        """What the last forward saved. Raises: RuntimeError if it saved nothing, or if there was none."""
        if self._kept is None:
            raise RuntimeError(f"{type(self).__name__}.backward() needs a forward() before it")
        return self._kept


def _check(grad: np.ndarray, output: np.ndarray) -> None:
    if grad.shape != output.shape:
        raise ValueError(f"grad has shape {grad.shape}, but the output of forward had {output.shape}")


# 03.1 ReLU and LeakyReLU


class ReLU(Differentiable):
    """max(x, 0): negative values become 0; NaN stays NaN."""

    def forward(self, x: Tensor) -> Tensor:
        y = maximum(x, 0)  # 0 stands second, where the gradient of maximum goes at a tie
        self.keep(y.data)
        return y

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """grad where x > 0, else 0: at 0 too."""
        (y,) = self.kept()
        _check(grad, y)
        bits = grad.view(f"i{grad.itemsize}")  # ∞ · 0 is NaN, and np.where, which branches, takes ten times as long
        return (bits * (y > 0)).view(grad.dtype)


class LeakyReLU(Differentiable):
    """x where x > 0, else negative_slope · x (Maas, Hannun & Ng 2013, sec. 2). The slope may be any number; NaN stays NaN."""

    def __init__(self, negative_slope: float = 0.01):
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        positive = x.data > 0
        self.keep(positive)
        return where(positive, x, x * float(self.negative_slope))  # integers times an integer would stay integers

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """grad where x > 0; elsewhere, 0 included, negative_slope · grad."""
        (positive,) = self.kept()
        _check(grad, positive)
        return np.where(positive, grad, grad * float(self.negative_slope))  # a np.float64 would promote grad


# 03.2 Sigmoid and Tanh


class Sigmoid(Differentiable):
    """σ(x) = 1 / (1 + e⁻ˣ), in [0, 1]. It never overflows."""

    def forward(self, x: Tensor) -> Tensor:
        y = 0.5 * (1 + (0.5 * x).tanh())  # e⁻ˣ would overflow
        self.keep(y.data)
        return y

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """grad · σ' = grad · y (1 - y)."""
        (y,) = self.kept()
        _check(grad, y)
        return grad * y * (1 - y)


class Tanh(Differentiable):
    """The hyperbolic tangent, in [-1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.tanh()
        self.keep(y.data)
        return y

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """grad · tanh' = grad · (1 - y²)."""
        (y,) = self.kept()
        _check(grad, y)
        return grad * (1 - y * y)


# 03.3 GELU

_SCALE = math.sqrt(2 / math.pi)  # a Python float: np.sqrt's result would promote float32
_CUBE = 0.044715
_FLAT = 10.0  # beyond it tanh u is ±1, in float64 too


class GELU(Differentiable):
    """x/2 · (1 + tanh u), u = √(2/π) (x + 0.044715 x³): the tanh form (Hendrycks & Gimpel 2016, sec. 2)."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype.kind != "f":
            x = x * 1.0  # x³ of integers may overflow: 6³ is no int8
        factor = x
        if not np.abs(x.data).max(initial=0) <= _FLAT:  # there x³ may overflow, and the gradient be 0 · ∞
            factor = where(x.data < -_FLAT, -_FLAT, x)
            x = where(x.data > _FLAT, _FLAT, factor)
        t = (_SCALE * (x + _CUBE * (x * x * x))).tanh()  # x**3 would take a hundred times as long
        self.keep(x.data, t.data)
        return 0.5 * factor * (1 + t)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """grad · ((1 + t)/2 + x/2 · (1 - t²) · u'), where t = tanh u and u' is the derivative of u."""
        x, t = self.kept()
        _check(grad, t)
        inner = _SCALE * (1 + 3 * _CUBE * (x * x))
        return grad * (0.5 * (1 + t + x * (1 - t * t) * inner))


# 03.4 Softmax


class Softmax(Differentiable):
    """eˣ / Σ eˣ, the sum along the axis dim. -inf becomes 0 if its slice has a finite x; no finite x overflows.

    Raises: ValueError if x has no axis dim.
    """

    def __init__(self, dim: int = -1):
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        e = _shifted(x, self.dim).exp()
        y = e / e.sum(self.dim, keepdim=True)
        self.keep(y.data)
        return _narrowed(y, x)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """y · (grad - Σ grad · y), the sum along dim: grad times the Jacobian, which is not built."""
        (y,) = self.kept()
        _check(grad, y)
        return (y * (grad - (grad * y).sum(self.dim, keepdims=True))).astype(grad.dtype, copy=False)


def _shifted(x: Tensor, dim: int) -> Tensor:
    """x minus its maximum along dim, which counts as a constant: subtracting it changes neither softmax nor its gradient.

    It is float32 if x holds integers, booleans or float16. Differences of uint8 would overflow; so would a long float16 sum.
    """
    if x.dtype.kind != "f" or x.dtype == np.float16:
        x = x * Tensor(1.0)
    largest = x.max(dim, keepdim=True) if x.size else x.sum(dim, keepdim=True)  # of no values there is no largest
    return x - largest.data


def _narrowed(y: Tensor, x: Tensor) -> Tensor:
    """y, computed in float32, as float16 if x is. Reported as a reshape, whose gradient passes the same way."""
    return Tensor._result("reshape", y.data.astype(np.float16), y, shape=y.shape) if x.dtype == np.float16 else y


# 03.5 LogSoftmax


class LogSoftmax(Differentiable):
    """x - log Σ eˣ, the sum along the axis dim: finite where x is. -inf stays -inf if its slice has a finite x.

    Raises: ValueError if x has no axis dim.
    """

    def __init__(self, dim: int = -1):
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        z = _shifted(x, self.dim)
        y = z - z.exp().sum(self.dim, keepdim=True).log()
        self.keep(y.data)
        return _narrowed(y, x)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """grad - eʸ Σ grad, the sum along dim."""
        (y,) = self.kept()
        _check(grad, y)
        return (grad - np.exp(y) * grad.sum(self.dim, y.dtype, keepdims=True)).astype(grad.dtype, copy=False)
