"""Slow and obvious: what convolution, pooling and batch normalisation mean, one number at a time."""

import itertools
import math
from collections.abc import Iterator

import numpy as np

Pair = tuple[int, int]


def _size(size: int, kernel: int, stride: int, padding: int) -> int:
    """How often a kernel fits, found by trying."""
    return sum(start + kernel <= size + 2 * padding for start in range(0, size + 2 * padding, stride))


def _terms(x: np.ndarray, weight: np.ndarray, stride: Pair, padding: Pair) -> Iterator[tuple[tuple, tuple, tuple]]:
    """Seven loops: the indices into y, x and weight of every product in a convolution."""
    (batch, channels, h, w), (out, _, kh, kw) = x.shape, weight.shape
    out_h, out_w = _size(h, kh, stride[0], padding[0]), _size(w, kw, stride[1], padding[1])
    for n, o, i, j in itertools.product(range(batch), range(out), range(out_h), range(out_w)):
        for c, k, m in itertools.product(range(channels), range(kh), range(kw)):
            row, column = i * stride[0] + k - padding[0], j * stride[1] + m - padding[1]
            if 0 <= row < h and 0 <= column < w:
                yield (n, o, i, j), (n, c, row, column), (o, c, k, m)


def conv2d(x: np.ndarray, weight: np.ndarray, bias=None, stride: Pair = (1, 1), padding: Pair = (0, 0)) -> np.ndarray:
    """x (batch, in, h, w), weight (out, in, kh, kw), bias (out,) → (batch, out, out_h, out_w)."""
    sizes = [_size(*each) for each in zip(x.shape[2:], weight.shape[2:], stride, padding, strict=True)]
    y = np.zeros((len(x), len(weight), *sizes))
    if bias is not None:
        y += np.asarray(bias)[:, None, None]
    for of_y, of_x, of_weight in _terms(x, weight, stride, padding):
        y[of_y] += float(x[of_x]) * float(weight[of_weight])
    return y


def conv2d_gradients(g: np.ndarray, x: np.ndarray, weight: np.ndarray, stride: Pair, padding: Pair) -> tuple:
    """The gradients of ⟨g, conv2d(x, weight, bias)⟩ by x, weight and bias."""
    to_x, to_weight = np.zeros(x.shape), np.zeros(weight.shape)
    for of_y, of_x, of_weight in _terms(x, weight, stride, padding):
        to_x[of_x] += float(g[of_y]) * float(weight[of_weight])
        to_weight[of_weight] += float(g[of_y]) * float(x[of_x])
    return to_x, to_weight, np.array([math.fsum(g[:, o].ravel()) for o in range(len(weight))])


def direct(x: np.ndarray, weight: np.ndarray, stride: Pair = (1, 1), padding: Pair = (0, 0)) -> np.ndarray:
    """conv2d for thousands of pixels: one offset in the kernel after the other, in float64."""
    (kh, kw), (sh, sw), (ph, pw) = weight.shape[2:], stride, padding
    x, weight = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (ph, ph), (pw, pw))), weight.astype(np.float64)
    h, w = x.shape[2] - kh + 1, x.shape[3] - kw + 1
    offsets = np.ndindex(kh, kw)
    return sum(np.einsum("nchw,oc->nohw", x[:, :, k : k + h : sh, m : m + w : sw], weight[:, :, k, m]) for k, m in offsets)


def direct_gradients(g: np.ndarray, x: np.ndarray, weight: np.ndarray, stride: Pair = (1, 1), padding: Pair = (0, 0)) -> tuple:
    """The gradients of ⟨g, direct(x, weight)⟩ by x and weight."""
    (kh, kw), (sh, sw), (ph, pw) = weight.shape[2:], stride, padding
    g, weight = g.astype(np.float64), weight.astype(np.float64)
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    to_x, to_weight = np.zeros(padded.shape), np.zeros(weight.shape)
    h, w = padded.shape[2] - kh + 1, padded.shape[3] - kw + 1
    for k, m in np.ndindex(kh, kw):
        seen = np.s_[:, :, k : k + h : sh, m : m + w : sw]
        to_x[seen] += np.einsum("nohw,oc->nchw", g, weight[:, :, k, m])
        to_weight[:, :, k, m] = np.einsum("nohw,nchw->oc", g, padded[seen])
    return to_x[:, :, ph : ph + x.shape[2], pw : pw + x.shape[3]], to_weight


def pooled(function, x: np.ndarray, kernel_size: Pair, stride: Pair) -> np.ndarray:
    """function (max, say) of the list of numbers in each window."""
    (batch, channels, h, w), (kh, kw), (sh, sw) = x.shape, kernel_size, stride
    y = np.zeros((batch, channels, _size(h, kh, sh, 0), _size(w, kw, sw, 0)))
    for n, c, i, j in np.ndindex(y.shape):
        y[n, c, i, j] = function(x[n, c, i * sh : i * sh + kh, j * sw : j * sw + kw].ravel().tolist())
    return y


def mean(numbers: list[float]) -> float:
    """The mean."""
    return math.fsum(numbers) / len(numbers)


def batch_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """Each channel less its mean, over the root of its variance; times weight, plus bias."""
    y = np.empty(x.shape)
    for c in range(x.shape[1]):
        numbers = x[:, c].ravel().tolist()
        middle = mean(numbers)
        variance = mean([(number - middle) ** 2 for number in numbers])
        y[:, c] = (x[:, c] - middle) / math.sqrt(variance + eps) * weight[c] + bias[c]
    return y
