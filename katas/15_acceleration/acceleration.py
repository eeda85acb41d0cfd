"""Acceleration: a profile says where the time goes; fused operations, two threads and Winograd's convolution take it away."""

import contextvars
import copy
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from katas.activations import GELU, ReLU
from katas.attention import MultiHeadAttention, attention_weights, scaled_dot_product_attention
from katas.autograd import defvjp_argnum, no_grad
from katas.environment import Machine
from katas.layers import Module, Parameter, Sequential
from katas.losses import CrossEntropyLoss
from katas.optimizers import Optimizer
from katas.spatial import BatchNorm2d, Conv2d, Pair, conv2d
from katas.tensor import Tensor
from katas.transformers import LayerNorm, RMSNorm

from katas import autograd

# 15.1 Profile


def loop_conv2d(x: np.ndarray, weight: np.ndarray, padding: int = 0) -> np.ndarray:  # given
    """A convolution of stride 1 as it is defined, in seven loops. x (batch, in, h, w), weight (out, in, kh, kw)."""
    (batch, channels, h, w), (out, _, kh, kw) = x.shape, weight.shape
    y = np.zeros((batch, out, h + 2 * padding - kh + 1, w + 2 * padding - kw + 1), x.dtype)
    for n in range(batch):
        for o in range(out):
            for i in range(y.shape[2]):
                for j in range(y.shape[3]):
                    for c in range(channels):
                        for k in range(kh):
                            for m in range(kw):
                                row, column = i + k - padding, j + m - padding
                                if 0 <= row < h and 0 <= column < w:
                                    y[n, o, i, j] += x[n, c, row, column] * weight[o, c, k, m]
    return y


class Row(NamedTuple):
    """What one operation took in a profile."""

    op: str
    calls: int
    seconds: float
    bytes: int
    flops: int
    bound: str


class Profile:
    """Where the time of a call went: `rows`, the largest first, and its `seconds`."""

    def __init__(self, rows: list[Row], seconds: float):
        raise NotImplementedError("15.1 Profile.__init__: README.md, 15.1")

    def __str__(self) -> str:
        """A table with a line for each row."""
        raise NotImplementedError("15.1 Profile.__str__: README.md, 15.1")


def profile(call: Callable[[], object], machine: Machine) -> Profile:
    """Runs call() once and says where its time went."""
    raise NotImplementedError("15.1 profile: README.md, 15.1")


for _op in ("fast_conv2d", "softmax_cross_entropy", "fused_gelu", "layer_norm", "rms_norm", "batch_norm_relu"):
    defvjp_argnum(_op, _rule)
defvjp_argnum("fused_attention", ...)

# 15.2 Convolution


def fast_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Pair = 1, padding: Pair = 0) -> Tensor:
    """What conv2d gives."""
    raise NotImplementedError("15.2 fast_conv2d: README.md, 15.2")


# 15.3 Fused operations


def softmax_cross_entropy(logits: Tensor, target, label_smoothing: float = 0.0, ignore_index: int = -100) -> Tensor:
    """What CrossEntropyLoss gives."""
    raise NotImplementedError("15.3 softmax_cross_entropy: README.md, 15.3")


def gelu(x: Tensor) -> Tensor:
    """What GELU gives."""
    raise NotImplementedError("15.3 gelu: README.md, 15.3")


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """What LayerNorm gives."""
    raise NotImplementedError("15.3 layer_norm: README.md, 15.3")


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    """What RMSNorm gives."""
    raise NotImplementedError("15.3 rms_norm: README.md, 15.3")


def batch_norm_relu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """What BatchNorm2d and a ReLU behind it give."""
    raise NotImplementedError("15.3 batch_norm_relu: README.md, 15.3")


# 15.4 Attention


def fused_attention(q: Tensor, k: Tensor, v: Tensor, mask=None, causal: bool = False, window: int | None = None) -> Tensor:
    """What scaled_dot_product_attention gives."""
    raise NotImplementedError("15.4 fused_attention: README.md, 15.4")


# 15.5 Optimizer


def flat(optimizer: Optimizer) -> Optimizer:
    """An optimizer of the same behavior."""
    raise NotImplementedError("15.5 flat: README.md, 15.5")


# 15.6 Two shards


defvjp_argnum("data_parallel", ...)


def autograd_generators(root):
    raise NotImplementedError("15.6 autograd_generators: README.md, 15.6")


def data_parallel(model: Module, threads: int = 2) -> Module:
    """A module of the same signature whose shards run on threads."""
    raise NotImplementedError("15.6 data_parallel: README.md, 15.6")


# 15.7 Accelerate


def accelerate(model: Module) -> Module:
    """In place: the layers that are known become fast ones."""
    raise NotImplementedError("15.7 accelerate: README.md, 15.7")
