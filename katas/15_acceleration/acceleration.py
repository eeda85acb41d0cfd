"""Acceleration: a profile says where the time goes; fused operations, two threads and Winograd's convolution take it away."""

import contextvars
import copy
import functools
import operator
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from katas.activations import GELU, Differentiable, ReLU
from katas.attention import MultiHeadAttention, attention_weights, scaled_dot_product_attention
from katas.autograd import _RULES, defvjp_argnum, no_grad
from katas.environment import Machine
from katas.layers import Dropout, Module, Parameter, Sequential
from katas.losses import CrossEntropyLoss
from katas.optimizers import Optimizer
from katas.spatial import CNN, BatchNorm2d, Conv2d, Pair, conv2d
from katas.tensor import Tensor
from katas.transformers import LayerNorm, RMSNorm

# 15.1 Profile


def loop_conv2d(x: np.ndarray, weight: np.ndarray, padding: int = 0) -> np.ndarray:  # given
    """A convolution of stride 1 as it is defined, in seven loops: x (batch, in, h, w), weight (out, in, kernel_h, kernel_w)."""
    (batch, channels, h, w), (out, _, kh, kw) = x.shape, weight.shape
    padded = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    y = np.zeros((batch, out, h + 2 * padding - kh + 1, w + 2 * padding - kw + 1), x.dtype)
    for n in range(batch):
        for o in range(out):
            for i in range(y.shape[2]):
                for j in range(y.shape[3]):
                    for c in range(channels):
                        for k in range(kh):
                            for m in range(kw):
                                y[n, o, i, j] += padded[n, c, i + k, j + m] * weight[o, c, k, m]
    return y


class Row(NamedTuple):  # given
    """What all calls of one operation took together."""

    op: str  # "matmul"; "matmul backward" for its rules; "other" for all that is no operation
    calls: int
    seconds: float
    bytes: int  # of the arrays that it read and wrote, each array once a call
    flops: int
    bound: str  # "arithmetic", "memory" or "overhead": what alone would take longest on the machine; "python" for "other"


class Profile(NamedTuple):  # given
    """Where the time of a call went. str() is a table."""

    rows: list[Row]  # the longest first
    seconds: float  # the sum of theirs

    def __str__(self) -> str:
        lines = [f"{'operation':<32}{'calls':>7}{'ms':>10}{'share':>7}{'MB':>10}{'MFLOP':>11}  bound"]
        for op, calls, seconds, nbytes, flops, bound in self.rows:
            figures = f"{calls:>7}{1e3 * seconds:>10.2f}{seconds / self.seconds:>7.1%}{nbytes / 1e6:>10.2f}{flops / 1e6:>11.2f}"
            lines.append(f"{op:<32}{figures}  {bound}")
        return "\n".join(lines)


def profile(call: Callable[[], object], machine: Machine) -> Profile:
    """Runs call(), a training step say, and tells how long each primitive and its rules took.

    It observes Tensor._recorder, the table of rules and Differentiable.__call__, which are as before afterwards, after an error
    too. The time of a primitive begins where the one before it ended, or where a layer was called since. Only the calling
    thread is observed; a profile in a second thread waits until the first has ended.
    """
    raise NotImplementedError("15.1 profile: README.md, 15.1")


# 15.2 to 15.5 STAND-INS: others write these


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


def data_parallel(model: Module, threads: int = 2) -> Module:
    """A Module that gives model(x, y), a loss of shape (), and runs each of `threads` shards of the batch on its own thread.

    The loss is the mean over all that counts: model.counted(x, y) targets if there is such a method, else len(x) samples. A
    shard in which nothing counts is left out. Forward and backward run on Python threads, with one BLAS thread each and in a
    copy of the caller's context. Each shard has a replica of the model, made at each forward: its Parameters share `data` and
    have their own `grad`, and for each np.random.Generator it has its own, spawned once. Modules, activations, lists, tuples
    and dicts are copied, all else is shared. BatchNorm2d normalizes by its shard, and each buffer becomes the mean of the
    shards'. Any other attribute that forward assigns is lost. Gradients are added in the order of the shards, so that equal
    seeds give equal numbers. Parameters and buffers have the names that they have in the model.
    Raises: ValueError unless threads is 1 or more; the first error of a shard, when all shards have ended. Then no gradient and
    no buffer has changed.
    """
    raise NotImplementedError("15.6 data_parallel: README.md, 15.6")


defvjp_argnum("data_parallel", ...)


# 15.7 Accelerate


def accelerate(model: Module) -> Module:
    """Exchanges the layers that it knows for faster ones, in place, and returns the model.

    Each Conv2d, LayerNorm, RMSNorm, GELU, CrossEntropyLoss and MultiHeadAttention gets a subclass of its type, with a different
    forward. A Sequential and a CNN get one that computes each BatchNorm2d together with a ReLU directly behind it. The layers
    stay the same objects, with their Parameters, buffers, options and names. An object of any other type, a subclass included,
    is left alone, so that a second call changes nothing.
    """
    raise NotImplementedError("15.7 accelerate: README.md, 15.7")
