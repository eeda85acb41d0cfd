"""Acceleration: the same values and gradients as katas 02 to 14 give, in less time."""

import contextlib
import copy
import functools
import math
import operator
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from itertools import pairwise
from types import NoneType
from typing import NamedTuple

import numpy as np
from katas.activations import GELU, Differentiable, ReLU
from katas.attention import MultiHeadAttention
from katas.autograd import _RULES, defvjp, defvjp_argnum, no_grad, unbroadcast
from katas.embeddings import RotaryPositions
from katas.environment import Machine
from katas.layers import Dropout, Linear, Module, Parameter, Sequential
from katas.losses import CrossEntropyLoss
from katas.optimizers import Optimizer
from katas.spatial import CNN, BatchNorm2d, Conv2d, MaxPool2d, Pair, output_size
from katas.tensor import Tensor
from katas.transformers import FeedForward, LayerNorm, RMSNorm
from numpy.lib.stride_tricks import as_strided, sliding_window_view

# Rules for operations that compute the gradients of all parents together


class _Shared:  # given
    """Gradients that one recorded operation computes together, for that gradient of its result with which it was asked.

    The rule that is asked first has all of them computed; each of the others takes its own. Nothing is given out twice.
    """

    g: np.ndarray | None = None

    def take(self, argnum: int, g: np.ndarray, gradients: Callable) -> np.ndarray:
        if g is not self.g or argnum not in self.parts:
            self.g, self.parts = g, dict(enumerate(gradients()))
        return self.parts.pop(argnum)


def defvjp_together(op: str, gradients: Callable) -> None:  # given
    """Defines the rules of an operation by one function: gradients(g, y, *parents, **attrs) gives one for each parent.

    The operation is recorded with one more attribute, shared=_Shared().
    """
    defvjp_argnum(
        op,
        lambda argnum, g, *arrays, shared, **attrs: shared.take(argnum, g, lambda: gradients(g, *arrays, **attrs)),
    )


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


# 15.2 Convolution


def fast_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Pair = 1, padding: Pair = 0) -> Tensor:
    """The values, gradients and errors of kata 09's conv2d.

    A 3×3 kernel with stride 1 and padding 1 on images of even height and width, and of _FEW channels or more, takes Winograd's
    way, with a quarter of the multiplications if both are multiples of 4 (else four ninths): in float32 up to 4e-6 of the
    largest value off. An infinite pixel gives NaN up to 5 pixels away.
    """
    raise NotImplementedError("15.2 fast_conv2d: README.md, 15.2")


defvjp_together("fast_conv2d", ...)


# Winograd's way computes step × step places of the result from (step + 2) × (step + 2) pixels d, which overlap with the next:
# y = Aᵀ (U · Bᵀ d B) A with U = G w Gᵀ. Only the product with U mixes channels: (step + 2)² products of matrices instead of
# 9 · step². In Bᵀ d B all images of a tile, and all their channels, are side by side: a transform is a product with a small
# matrix, too. Lavin & Gray 2016, arXiv 1509.09308.


# 15.3 Fused operations


# Linear: one node of the record instead of five


defvjp("linear", ..., ..., ...)

# Cross-entropy


def softmax_cross_entropy(logits: Tensor, target, label_smoothing: float = 0.0, ignore_index: int = -100) -> Tensor:
    """What CrossEntropyLoss(label_smoothing, ignore_index) gives, and raises: logits (…, classes), target (…) → ()."""
    raise NotImplementedError("15.3 softmax_cross_entropy: README.md, 15.3")


defvjp("softmax_cross_entropy", ...)

# GELU

_SLOPE, _CUBE = math.sqrt(2 / math.pi), 0.044715


def gelu(x: Tensor) -> Tensor:
    """x/2 · (1 + tanh u) = x · σ(2u), u = √(2/π) (x + 0.044715 x³): what GELU gives (Hendrycks & Gimpel 2016, sec. 2)."""
    raise NotImplementedError("15.3 gelu: README.md, 15.3")


defvjp("gelu", ...)
defvjp_together("linear_gelu", ...)

# Normalization


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """(x - mean) / √(variance + eps) · weight + bias, over the last axis: what LayerNorm gives (Ba, Kiros & Hinton 2016)."""
    raise NotImplementedError("15.3 layer_norm: README.md, 15.3")


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    """x / √(mean of x² + eps) · weight, over the last axis: what RMSNorm gives (Zhang & Sennrich 2019)."""
    raise NotImplementedError("15.3 rms_norm: README.md, 15.3")


defvjp_together("layer_norm", ...)
defvjp_together("rms_norm", ...)

# Batch normalization, with ReLU


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
    """max(0, y) with kata 09's BatchNorm2d as y: in train mode the running arrays move.

    Shapes: x (batch, channels, h, w); all else (channels,). Raises: ValueError as BatchNorm2d, before anything has moved.
    """
    raise NotImplementedError("15.3 batch_norm_relu: README.md, 15.3")


defvjp_together("batch_norm_relu", ...)


# Max pooling


defvjp("fast_max_pool2d", ...)


# 15.4 Attention

_QUERIES, _SCORES = 64, 2**17  # at a time: half a megabyte of scores stays in a core's L2 cache


def fused_attention(q: Tensor, k: Tensor, v: Tensor, mask=None, causal: bool = False, window: int | None = None) -> Tensor:
    """What scaled_dot_product_attention gives, and with a window attention_weights(…) @ v, forward and backward in blocks.

    q (…, queries, head), k (…, keys, head), v (…, keys, channels) → (…, queries, channels). Memory is linear in queries and
    keys (Rabe & Staats 2021; Dao et al. 2022, algorithm 1). A query that may look nowhere gives zeros. Raises: as they do.
    """
    raise NotImplementedError("15.4 fused_attention: README.md, 15.4")


defvjp_together("fused_attention", ...)

# Self-attention on what c_attn gives, in one node


defvjp("self_attention", ...)

# 15.5 Optimizer over one flat array


def flat(optimizer: Optimizer) -> Optimizer:
    """An optimizer that does what `optimizer` does, bit for bit: few long updates instead of many short ones.

    It has the same param_groups, and its state_dict is the plain optimizer's. The update must treat all elements alike.
    """
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
    Raises: ValueError unless threads is 1 or more; the first error of a shard, or a KeyboardInterrupt of the caller, when all
    shards have ended. Then no gradient and no buffer has changed.
    """
    raise NotImplementedError("15.6 data_parallel: README.md, 15.6")


defvjp_together("data_parallel", ...)


# 15.7 Accelerate


def accelerate(model: Module) -> Module:
    """Exchanges the layers that it knows for faster ones, in place, and returns the model.

    Each Linear, Conv2d, MaxPool2d, LayerNorm, RMSNorm, GELU, FeedForward, MultiHeadAttention and CrossEntropyLoss gets a
    subclass of its type, with a different forward. A Sequential and a CNN get one that computes each BatchNorm2d together with
    a ReLU directly behind it. The layers stay the same objects, with their Parameters, buffers, options and names. An object of
    any other type, a subclass included, is left alone, so that a second call changes nothing.
    """
    raise NotImplementedError("15.7 accelerate: README.md, 15.7")
