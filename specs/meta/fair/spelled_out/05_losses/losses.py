"""Kata 05 by the log-softmax of kata 03 and a table of target probabilities; binary cross-entropy as that of two classes."""

import numpy as np
from katas.activations import Differentiable, LogSoftmax
from katas.tensor import Tensor, stack, where


def _constant(x, target):
    t = np.asarray(Tensor(target).data, x.dtype)
    if t.shape != x.shape:
        raise ValueError(f"shapes differ: {x.shape} and {t.shape}")
    if x.size == 0:
        raise ValueError(f"no values in shape {x.shape}")
    return t


class _Loss(Differentiable):
    """Computed in float32, where the prediction has less."""

    def forward(self, prediction, target):
        half, whole = prediction.dtype == np.float16, prediction.dtype.kind != "f"
        loss = self.loss(prediction * np.ones((), np.float32) if half or whole else prediction, target)
        self.dtype = np.float16 if half else loss.dtype
        return Tensor._result("reshape", loss.data.astype(np.float16), loss, shape=()) if half else loss

    def backward(self, grad=1.0):
        return (float(grad) * self.slope()).astype(self.dtype)


class MSELoss(_Loss):
    def loss(self, prediction, target):
        error = prediction - Tensor(_constant(prediction, target))
        self.keep(2 / error.size * error.data)
        return (error**2).sum() / error.size

    def slope(self):
        return self.kept()[0]


class CrossEntropyLoss(_Loss):
    def __init__(self, label_smoothing=0.0, ignore_index=-100):
        if 0 <= label_smoothing < 1:
            self.label_smoothing, self.ignore_index = label_smoothing, ignore_index
        else:
            raise ValueError(f"label_smoothing {label_smoothing}")

    def wanted(self, logits, target):
        """What each log-probability counts: (…, classes), 1 in total."""
        t = target.data if isinstance(target, Tensor) else np.array(target)
        if t.size and not np.issubdtype(t.dtype, np.integer):
            raise TypeError(f"integers, not {t.dtype}")
        if logits.ndim != t.ndim + 1 or logits.shape[:-1] != t.shape:
            raise ValueError(f"logits {logits.shape}, target {t.shape}")
        classes = logits.shape[-1]
        t = t[..., np.newaxis]
        counts = t != self.ignore_index
        n = np.count_nonzero(counts)
        if n == 0:
            raise ValueError(f"all of {logits.shape[:-1]} targets are ignore_index={self.ignore_index}")
        hot = t == np.arange(classes)
        unknown = counts & ~hot.any(-1, keepdims=True)
        if unknown.any():
            raise ValueError(f"class {t[unknown][0]} of {classes}")
        table = np.where(hot, 1 - self.label_smoothing, 0) + self.label_smoothing / classes
        return (table * counts / n).astype(logits.dtype)

    def loss(self, logits, target):
        wanted = self.wanted(logits, target)
        logs = LogSoftmax(-1)(where(wanted.any(-1, keepdims=True), logits, 0.0))
        self.keep(logs.data, wanted)
        return -(where(wanted > 0, logs, 0.0) * wanted).sum()

    def counted(self, target):
        return sum(1 for label in Tensor(target).data.flat if label != self.ignore_index)

    def slope(self):
        logs, wanted = self.kept()
        return np.exp(logs) * wanted.sum(-1, keepdims=True) - wanted


class BCEWithLogitsLoss(_Loss):
    def loss(self, logits, target):
        yes = np.array(_constant(logits, target))
        wrong = yes[yes != np.clip(yes, 0, 1)]
        if len(wrong) > 0:
            raise ValueError(f"{wrong[0]} is no probability")
        logs = LogSoftmax(0)(stack([Tensor(np.zeros_like(yes)), logits]))
        self.keep(logs.data[1], yes)
        return -(logs[0] * (1 - yes) + logs[1] * yes).mean()

    def slope(self):
        log_p, yes = self.kept()
        return (np.exp(log_p) - yes) / yes.size
