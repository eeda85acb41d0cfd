"""Layers: parameters that are found, initialised, saved and loaded, and the modules that hold them."""

import numpy as np

from katas.tensor import Tensor

# 04.1 Parameter


class Parameter(Tensor):
    """A Tensor that is learnt: it owns a copy of its data and requires a gradient."""

    def __init__(self, data):
        super().__init__(np.array(Tensor(data).data), requires_grad=True)


def accumulate(parameter: Parameter, grad: np.ndarray) -> None:
    """Adds grad to parameter.grad, which starts as None. Raises: ValueError if grad has another shape."""
    if grad.shape != parameter.shape:
        raise ValueError(f"a gradient of shape {grad.shape} for a parameter of shape {parameter.shape}")
    if parameter.grad is None:
        parameter.grad = np.array(grad, dtype=parameter.dtype)
    else:
        parameter.grad += grad
