"""Losses: a number that says how wrong a prediction is, and the gradient that says how to make it smaller.

The loss and the gradient have the prediction's dtype, or float32 if that is an integer dtype. Integers and float16 are computed
in float32.
"""

import numpy as np
from katas.activations import Differentiable
from katas.tensor import Tensor, maximum, where

# 05.1 Mean squared error


class MSELoss(Differentiable):
    """The mean of (prediction - target)² over all values."""

    def forward(self, prediction: Tensor, target) -> Tensor:
        """Returns the loss, of shape (). target: a Tensor, an array or a list with the prediction's shape; it is a constant.

        Raises: ValueError if the shapes differ, even if only by an axis of length 1, or if there are no values.
        """
        raise NotImplementedError("05.1 MSELoss.forward: README.md, 05.1")

    def backward(self, grad: float = 1.0) -> np.ndarray:
        """Returns the gradient of the prediction, in its shape and dtype.

        grad: the gradient of the loss, a number or an array of shape (). Raises: RuntimeError if it is called before forward.
        """
        raise NotImplementedError("05.1 MSELoss.backward: README.md, 05.1")


# 05.2 Cross-entropy


class CrossEntropyLoss(Differentiable):
    """-log p[target], where p = softmax(logits), averaged over the targets.

    With label smoothing ε (Szegedy et al., 2016, section 7) the target gets the probability 1 - ε, and ε is spread evenly over
    all classes: (1 - ε)·(-log p[target]) + ε·mean over classes of -log p. A target equal to ignore_index does not count.
    """

    def __init__(self, label_smoothing: float = 0.0, ignore_index: int = -100):
        """Raises: ValueError unless 0 <= label_smoothing < 1."""
        raise NotImplementedError("05.2 CrossEntropyLoss.__init__: README.md, 05.2")

    def forward(self, logits: Tensor, target) -> Tensor:
        """Returns the loss, of shape (). logits (…, classes); target (…), integers in a Tensor, an array or a list.

        Raises: ValueError if the shapes don't fit, a class does not exist, the batch is empty, or every target is ignored;
        TypeError if the target holds anything but integers.
        """
        raise NotImplementedError("05.2 CrossEntropyLoss.forward: README.md, 05.2")

    def backward(self, grad: float = 1.0) -> np.ndarray:
        """Returns the gradient of the logits, in their shape and dtype: (p - smoothed one-hot) / n, zero for ignored targets.

        grad: the gradient of the loss, a number or an array of shape (). Raises: RuntimeError if it is called before forward.
        """
        raise NotImplementedError("05.2 CrossEntropyLoss.backward: README.md, 05.2")

    def counted(self, target) -> int:
        """Returns the number of targets in the mean: those that aren't ignore_index. Kata 08 weights batches by it."""
        raise NotImplementedError("05.2 CrossEntropyLoss.counted: README.md, 05.2")


# 05.3 Binary cross-entropy


class BCEWithLogitsLoss(Differentiable):
    """-y·log σ(x) - (1 - y)·log(1 - σ(x)), with σ(x) = 1 / (1 + e⁻ˣ), averaged over all values.

    Computed as max(x, 0) - x·y + log(1 + e^-|x|), which can't overflow. In float32 the logarithm is off by at most 1.2e-7.
    """

    def forward(self, logits: Tensor, target) -> Tensor:
        """Returns the loss, of shape (). target: a Tensor, an array or a list with the logits' shape and values in [0, 1].

        Raises: ValueError if the shapes differ, a target lies outside [0, 1], or there are no values.
        """
        raise NotImplementedError("05.3 BCEWithLogitsLoss.forward: README.md, 05.3")

    def backward(self, grad: float = 1.0) -> np.ndarray:
        """Returns the gradient of the logits, in their shape and dtype: (σ(x) - y) / n.

        grad: the gradient of the loss, a number or an array of shape (). Raises: RuntimeError if it is called before forward.
        """
        raise NotImplementedError("05.3 BCEWithLogitsLoss.backward: README.md, 05.3")
