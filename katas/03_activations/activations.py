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


# 03.1 ReLU and LeakyReLU


class ReLU(Differentiable):
    """max(x, 0): negative values become 0; NaN stays NaN."""

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError("03.1 ReLU.forward: README.md, 03.1")

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """grad where x > 0, else 0: at 0 too."""
        raise NotImplementedError("03.1 ReLU.backward: README.md, 03.1")


class LeakyReLU(Differentiable):
    """x where x > 0, else negative_slope · x (Maas, Hannun & Ng 2013, sec. 2). The slope may be any number; NaN stays NaN."""

    def __init__(self, negative_slope: float = 0.01):
        raise NotImplementedError("03.1 LeakyReLU.__init__: README.md, 03.1")

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError("03.1 LeakyReLU.forward: README.md, 03.1")

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """grad where x > 0; elsewhere, 0 included, negative_slope · grad."""
        raise NotImplementedError("03.1 LeakyReLU.backward: README.md, 03.1")


# 03.2 Sigmoid and Tanh


class Sigmoid(Differentiable):
    """σ(x) = 1 / (1 + e⁻ˣ), in [0, 1]. It never overflows."""

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError("03.2 Sigmoid.forward: README.md, 03.2")

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """grad · σ' = grad · y (1 - y)."""
        raise NotImplementedError("03.2 Sigmoid.backward: README.md, 03.2")


class Tanh(Differentiable):
    """The hyperbolic tangent, in [-1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError("03.2 Tanh.forward: README.md, 03.2")

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """grad · tanh' = grad · (1 - y²)."""
        raise NotImplementedError("03.2 Tanh.backward: README.md, 03.2")


# 03.3 GELU


class GELU(Differentiable):
    """x/2 · (1 + tanh u), u = √(2/π) (x + 0.044715 x³): the tanh form (Hendrycks & Gimpel 2016, sec. 2)."""

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError("03.3 GELU.forward: README.md, 03.3")

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """grad · ((1 + t)/2 + x/2 · (1 - t²) · u'), where t = tanh u and u' is the derivative of u."""
        raise NotImplementedError("03.3 GELU.backward: README.md, 03.3")


# 03.4 Softmax


class Softmax(Differentiable):
    """eˣ / Σ eˣ, the sum along the axis dim. -inf becomes 0 if its slice has a finite x; no finite x overflows.

    Raises: ValueError if x has no axis dim.
    """

    def __init__(self, dim: int = -1):
        raise NotImplementedError("03.4 Softmax.__init__: README.md, 03.4")

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError("03.4 Softmax.forward: README.md, 03.4")

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """y · (grad - Σ grad · y), the sum along dim: grad times the Jacobian, which is not built."""
        raise NotImplementedError("03.4 Softmax.backward: README.md, 03.4")


# 03.5 LogSoftmax


class LogSoftmax(Differentiable):
    """x - log Σ eˣ, the sum along the axis dim: finite where x is. -inf stays -inf if its slice has a finite x.

    Raises: ValueError if x has no axis dim.
    """

    def __init__(self, dim: int = -1):
        raise NotImplementedError("03.5 LogSoftmax.__init__: README.md, 03.5")

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError("03.5 LogSoftmax.forward: README.md, 03.5")

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """grad - eʸ Σ grad, the sum along dim."""
        raise NotImplementedError("03.5 LogSoftmax.backward: README.md, 03.5")
