"""Kata 03 with sigmoid by branches, GELU and tanh by sigmoid, softmax by log-softmax, and a maximum that gets gradients."""

import numpy as np
from katas.tensor import Tensor, maximum, where


class Differentiable:  # given
    """An object with a `forward` and a hand-derived `backward`. Calling it runs forward."""

    _kept: tuple | None = None

    def __call__(self, *inputs) -> Tensor:
        return self.forward(*inputs)

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


class _Base(Differentiable):
    def backward(self, grad):
        slope = self.kept()[0]
        if np.shape(grad) != slope.shape:
            raise ValueError(f"{np.shape(grad)} {slope.shape}")
        return self.pull(grad)

    def pull(self, grad):
        return np.multiply(grad, self.kept()[0])


def _real(x):
    return x if x.dtype.kind == "f" else x * 1.0


class ReLU(_Base):
    def forward(self, x):
        self.keep((x.data > 0).astype(x.dtype))
        return where(x <= 0, 0, x)

    def pull(self, grad):
        return np.where(self.kept()[0] == 1, grad, 0).astype(grad.dtype)


class LeakyReLU(_Base):
    def __init__(self, negative_slope=0.01):
        self.s = negative_slope

    def forward(self, x):
        x = _real(x)
        slope = np.where(x.data > 0, 1, self.s).astype(x.dtype)
        self.keep(slope)
        return x * slope


class Sigmoid(_Base):
    def forward(self, x):
        x = _real(x)
        e = (-maximum(x, -x)).exp()
        y = where(x > 0, 1 / (1 + e), e / (1 + e))
        self.keep(y.data * (1 - y.data))
        return y


class Tanh(_Base):
    def forward(self, x):
        y = 2 * Sigmoid()(2 * _real(x)) - 1
        self.keep((1 + y.data) * (1 - y.data))
        return y


class GELU(_Base):
    def forward(self, x):
        x = _real(x)
        c = 2 * float(np.sqrt(2 / np.pi))
        x = where(x < -20.0, -20.0, x)
        z = where(x > 20.0, 20.0, x)
        s = Sigmoid()(c * (z * (1 + 0.044715 * (z * z))))
        d = s.data
        self.keep(d + z.data * d * (1 - d) * (c * (1 + 3 * 0.044715 * z.data**2)))
        return x * s


class LogSoftmax(_Base):
    def __init__(self, dim=-1):
        self.dim = dim

    def forward(self, x):
        y = self.wide(x)
        self.keep(np.exp(y.data))
        return rounded(y, x)

    def wide(self, x):
        z = x - (x.max(self.dim, keepdim=True) if 0 not in x.shape else x.sum(self.dim, keepdim=True)) * 1.0
        z = z * Tensor(1.0)
        return z - z.exp().sum(self.dim, keepdim=True).log()

    def pull(self, grad):
        (p,) = self.kept()
        return np.asarray(grad - p * grad.sum(self.dim, p.dtype, keepdims=True), grad.dtype)


def rounded(y, x):
    if x.dtype != np.float16:
        return y
    return Tensor._result("reshape", np.float16(y.data), y, shape=y.shape)


class Softmax(_Base):
    def __init__(self, dim=-1):
        self.dim = dim

    def forward(self, x):
        y = LogSoftmax(self.dim).wide(x).exp()
        self.keep(y.data)
        return rounded(y, x)

    def pull(self, grad):
        (y,) = self.kept()
        h = y * grad
        return np.asarray(h - y * np.sum(h, self.dim, keepdims=True), grad.dtype)
