"""Losses: a number that says how wrong a prediction is, and the gradient that says how to make it smaller.

The loss and the gradient have the prediction's dtype, or float32 if that is an integer dtype. Integers and float16 are computed
in float32.
"""

import numpy as np
from katas.activations import Differentiable
from katas.tensor import Tensor, maximum, where

# 05.1 Mean squared error


def _wide(prediction: Tensor) -> Tensor:
    """Returns the prediction as float32 if it holds integers, which may overflow, or float16, whose sums do."""
    return prediction if prediction.dtype in (np.float32, np.float64) else prediction * Tensor(1.0)


def _narrow(loss: Tensor, prediction: Tensor) -> Tensor:
    """Returns the loss as float16 if the prediction is float16. The graph records it as a reshape."""
    if prediction.dtype != np.float16:
        return loss
    return Tensor._result("reshape", loss.data.astype(np.float16), loss, shape=())


def _values(prediction: Tensor, target) -> np.ndarray:
    """Returns the target's values in the prediction's dtype. They must have the prediction's shape."""
    values = Tensor(target).data
    if values.shape != prediction.shape:
        raise ValueError(f"a prediction of shape {prediction.shape} and a target of shape {values.shape} must have one shape")
    if not values.size:
        raise ValueError(f"the loss of an empty batch: shape {values.shape}")
    return values.astype(prediction.dtype, copy=False)


class MSELoss(Differentiable):
    """The mean of (prediction - target)² over all values."""

    def forward(self, prediction: Tensor, target) -> Tensor:
        """Returns the loss, of shape (). target: a Tensor, an array or a list with the prediction's shape; it is a constant.

        Raises: ValueError if the shapes differ, even if only by an axis of length 1, or if there are no values.
        """
        x = _wide(prediction)
        difference = x - _values(x, target)
        loss = _narrow((difference * difference).mean(), prediction)
        self.keep(difference.data, loss.dtype)
        return loss

    def backward(self, grad: float = 1.0) -> np.ndarray:
        """Returns the gradient of the prediction, in its shape and dtype.

        grad: the gradient of the loss, a number or an array of shape (). Raises: RuntimeError if it is called before forward.
        """
        difference, dtype = self.kept()
        return (difference * (2 * float(grad) / difference.size)).astype(dtype, copy=False)


# 05.2 Cross-entropy


class CrossEntropyLoss(Differentiable):
    """-log p[target], where p = softmax(logits), averaged over the targets.

    With label smoothing ε (Szegedy et al., 2016, section 7) the target gets the probability 1 - ε, and ε is spread evenly over
    all classes: (1 - ε)·(-log p[target]) + ε·mean over classes of -log p. A target equal to ignore_index does not count.
    """

    def __init__(self, label_smoothing: float = 0.0, ignore_index: int = -100):
        """Raises: ValueError unless 0 <= label_smoothing < 1."""
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), not {label_smoothing!r}")
        self.label_smoothing = float(label_smoothing)
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, target) -> Tensor:
        """Returns the loss, of shape (). logits (…, classes); target (…), integers in a Tensor, an array or a list.

        Raises: ValueError if the shapes don't fit, a class does not exist, the batch is empty, or every target is ignored;
        TypeError if the target holds anything but integers.
        """
        labels = Tensor(target).data
        if labels.size and labels.dtype.kind not in "iu":
            raise TypeError(f"the target must be class indices, which are integers, not {labels.dtype}")
        if logits.ndim == 0 or labels.shape != logits.shape[:-1]:
            raise ValueError(f"logits (…, classes) of shape {logits.shape} don't fit a target (…) of shape {labels.shape}")
        classes, labels = logits.shape[-1], labels.reshape(-1)  # labels (n,)
        rows = np.flatnonzero(labels != self.ignore_index)  # those that count, (m,)
        labels = labels[rows]
        if not rows.size:
            raise ValueError(f"no target counts: shape {logits.shape[:-1]}, ignore_index {self.ignore_index}")
        if labels.min() < 0 or labels.max() >= classes:
            wrong = labels[(labels < 0) | (labels >= classes)][0]
            raise ValueError(f"there is no class {wrong}: the logits have {classes} classes")

        flat = _wide(logits).reshape(-1, classes)  # (n, classes)
        if rows.size < len(flat):  # what is ignored may be NaN, and 0 · NaN is not 0
            counts = np.zeros((len(flat), 1), bool)
            counts[rows] = True
            flat = where(counts, flat, 0.0)
        shifted = flat - flat.data.max(-1, keepdims=True)  # changes no probability, and e^shifted can't overflow
        odds = shifted.exp()
        totals = odds.sum(-1)  # (n,)
        loss = totals.log()[rows].mean() - shifted[rows, labels].mean() * (1 - self.label_smoothing)
        if self.label_smoothing:  # an excluded class, with a logit of -∞, would give 0·∞
            loss = loss - shifted.mean(-1)[rows].mean() * self.label_smoothing
        loss = _narrow(loss, logits)
        self.keep(odds.data, totals.data, rows, labels, logits.shape, loss.dtype)
        return loss

    def backward(self, grad: float = 1.0) -> np.ndarray:
        """Returns the gradient of the logits, in their shape and dtype: (p - smoothed one-hot) / n, zero for ignored targets.

        grad: the gradient of the loss, a number or an array of shape (). Raises: RuntimeError if it is called before forward.
        """
        odds, totals, rows, labels, shape, dtype = self.kept()
        share = np.zeros_like(totals)  # (n,)
        share[rows] = float(grad) / len(rows)
        result = odds * (share / totals)[:, None]  # (n, classes)
        result[rows, labels] -= share[rows] * (1 - self.label_smoothing)
        if self.label_smoothing:
            result -= share[:, None] * (self.label_smoothing / shape[-1])
        return result.reshape(shape).astype(dtype, copy=False)

    def counted(self, target) -> int:
        """Returns the number of targets in the mean: those that aren't ignore_index. Kata 08 weights batches by it."""
        return int(np.count_nonzero(Tensor(target).data != self.ignore_index))


# 05.3 Binary cross-entropy


class BCEWithLogitsLoss(Differentiable):
    """-y·log σ(x) - (1 - y)·log(1 - σ(x)), with σ(x) = 1 / (1 + e⁻ˣ), averaged over all values.

    Computed as max(x, 0) - x·y + log(1 + e^-|x|), which can't overflow. In float32 the logarithm is off by at most 1.2e-7.
    """

    def forward(self, logits: Tensor, target) -> Tensor:
        """Returns the loss, of shape (). target: a Tensor, an array or a list with the logits' shape and values in [0, 1].

        Raises: ValueError if the shapes differ, a target lies outside [0, 1], or there are no values.
        """
        x = _wide(logits)
        y = _values(x, target).copy()  # the caller may reuse the array before backward
        outside = ~((y >= 0) & (y <= 1))
        if outside.any():
            raise ValueError(f"a target must lie in [0, 1], not be {y[outside][0]}")
        positive = maximum(x, 0)
        decay = (x - 2 * positive).exp()  # e^-|x|
        loss = _narrow((positive - x * y + (1 + decay).log()).mean(), logits)
        self.keep(x.data, y, decay.data, loss.dtype)
        return loss

    def backward(self, grad: float = 1.0) -> np.ndarray:
        """Returns the gradient of the logits, in their shape and dtype: (σ(x) - y) / n.

        grad: the gradient of the loss, a number or an array of shape (). Raises: RuntimeError if it is called before forward.
        """
        x, y, decay, dtype = self.kept()
        sigmoid = np.where(x > 0, 1, decay) / (1 + decay)
        return ((sigmoid - y) * (float(grad) / x.size)).astype(dtype, copy=False)
