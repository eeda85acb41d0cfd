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
    clock = _Clock()
    with _PROFILING, clock.observing():
        start = clock.last = time.perf_counter()
        call()
        seconds = time.perf_counter() - start
    rows = [Row(op, *sums, _bound(machine, *sums)) for op, sums in clock.sums.items()]
    rows.append(Row("other", 1, seconds - clock.seconds, 0, 0, "python"))
    return Profile(sorted(rows, key=lambda row: -row.seconds), seconds)


_PROFILING = threading.RLock()  # two threads that observed at once would not put back what was there before both


class _Clock:
    """Adds up calls, seconds, bytes and flops by operation."""

    def __init__(self):
        self.sums, self.seconds, self.last, self.thread = {}, 0.0, 0.0, threading.get_ident()

    @contextlib.contextmanager
    def observing(self) -> Iterator[None]:
        record, call, rules = Tensor._recorder, Differentiable.__call__, dict(_RULES)

        def observed_record(op, result, parents, attrs):
            if self.observes():
                seconds, y, operands = time.perf_counter() - self.last, result.data, [parent.data for parent in parents]
                self.add(op, seconds, _flops(op, y, operands, y), y, *operands)
            if record is not None:
                record(op, result, parents, attrs)
            self.restart()

        def observed_call(layer, *inputs, **options):
            self.restart()
            return call(layer, *inputs, **options)

        try:
            Tensor._recorder, Differentiable.__call__ = observed_record, observed_call
            _RULES.update({op: functools.partial(self.rule, op, find) for op, find in rules.items()})
            yield
        finally:
            Tensor._recorder, Differentiable.__call__ = record, call
            _RULES.update(rules)

    def observes(self) -> bool:
        return threading.get_ident() == self.thread

    def restart(self) -> None:
        if self.observes():
            self.last = time.perf_counter()

    def rule(self, op: str, find: Callable, argnum: int) -> Callable:
        rule = find(argnum)
        return _TimedRule(op, rule, self) if self.observes() and rule is not ... else rule

    def add(self, op: str, seconds: float, flops: int, *arrays: np.ndarray) -> None:
        nbytes = sum({id(array): array.nbytes for array in arrays}.values())
        self.sums[op] = [*map(operator.add, self.sums.get(op, (0, 0.0, 0, 0)), (1, seconds, nbytes, flops))]
        self.seconds += seconds


class _TimedRule:
    """A rule under observation. It equals the rule itself, which kata 07 may look up in a table of its own."""

    def __init__(self, op: str, rule: Callable, clock: _Clock):
        self.op, self.rule, self.clock = op, rule, clock

    def __call__(self, g, y, *parents, **attrs):
        self.clock.restart()
        start, before = self.clock.last, self.clock.seconds
        grad = np.asarray(self.rule(g, y, *parents, **attrs))
        inside = self.clock.seconds - before  # of operations that the rule itself is made of
        seconds = time.perf_counter() - start - inside
        self.clock.add(f"{self.op} backward", seconds, _flops(self.op, y, parents, grad), g, *parents, grad)
        self.clock.restart()
        return grad

    def __eq__(self, other) -> bool:
        return self.rule == other

    def __hash__(self) -> int:
        return hash(self.rule)


def _flops(op: str, y: np.ndarray, operands: Sequence[np.ndarray], result: np.ndarray) -> int:
    """Of an operation that gave y, or of one of its rules: those of a product of matrices are as large as itself."""
    if op == "matmul":
        return 2 * y.size * operands[0].shape[-1]
    if op in ("conv2d", "fast_conv2d"):
        return 2 * y.size * operands[1][0].size
    return result.size


def _bound(machine: Machine, calls: int, seconds: float, nbytes: int, flops: int) -> str:
    times = {
        "arithmetic": flops / (1e9 * machine.peak_gflops),
        "memory": nbytes / (1e9 * machine.bandwidth_gbs),
        "overhead": calls * machine.overhead_us / 1e6,
    }
    return max(times, key=times.get)


# 15.2 Convolution

# Bytes of what is computed at once. A third of it would stay in a core's L2 cache of 1 MB. But a thread between two calls
# holds the interpreter, and the other one sleeps until it gets it: on two threads, fewer and longer calls win.
_TILE = 3 << 20

_FEW = 8  # channels: for fewer, the transforms of Winograd's way take longer than the products that it saves


def fast_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Pair = 1, padding: Pair = 0) -> Tensor:
    """The values, gradients and errors of kata 09's conv2d.

    A 3×3 kernel with stride 1 and padding 1 on images of even height and width, and of _FEW channels or more, takes Winograd's
    way, with a quarter of the multiplications if both are multiples of 4 (else four ninths): in float32 up to 4e-6 of the
    largest value off. An infinite pixel gives NaN up to 5 pixels away.
    """
    if weight.ndim != 4 or x.ndim != 4 or x.shape[1] != weight.shape[1]:
        raise ValueError(f"conv2d: images (batch, in, h, w) of shape {x.shape} and a weight (out, in, h, w) of {weight.shape}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"conv2d: a weight (out, in, h, w) of shape {weight.shape} and a bias (out,) of {bias.shape}")
    x, weight = _floating(x, weight), _floating(weight, x)
    stride, padding = np.broadcast_to(stride, 2).tolist(), np.broadcast_to(padding, 2).tolist()
    for size, kernel_size, step, around in zip(x.shape[2:], weight.shape[2:], stride, padding, strict=True):
        output_size(size, kernel_size, step, around)  # which says what does not fit
    fitting = [points for points in _POINTS if all([size % (len(points) - 1) == 0 for size in x.shape[2:]])]
    precise = np.result_type(x.data, weight.data) in (np.float32, np.float64)
    if precise and fitting and x.shape[1] >= _FEW and (weight.shape[2:], stride, padding) == ((3, 3), [1, 1], [1, 1]):
        convolution = _Winograd(x.data, weight.data, fitting[0])
    else:
        convolution = _Columns(x.data, weight.data, stride, padding)
    gradients = functools.partial(convolution.backward, to_x=x.requires_grad, to_weight=weight.requires_grad)
    y = Tensor._result("fast_conv2d", convolution.forward(), x, weight, shared=_Shared(), gradients=gradients)
    return y if bias is None else y + bias.reshape(-1, 1, 1)


defvjp_together("fast_conv2d", lambda g, y, *parents, gradients: gradients(g))


def _floating(a: Tensor, beside: Tensor) -> Tensor:
    """a, in the other's dtype if it holds integers beside floats."""
    return Tensor(a.data.astype(beside.dtype)) if a.dtype.kind != "f" and beside.dtype.kind == "f" else a


def _tiles(batch: int, image_bytes: int) -> list[slice]:
    """Parts of a batch of about _TILE bytes, and of one length, the last perhaps shorter."""
    n = math.ceil(batch / max(1, round(batch * image_bytes / _TILE)))
    return [slice(start, min(start + n, batch)) for start in range(0, batch, max(1, n))]


def _pixels(a: np.ndarray) -> np.ndarray:
    """(…, channels), side by side → (…), with all channels as one element: copying them takes one step, not a loop."""
    return a.view((np.void, a.shape[-1] * a.itemsize))[..., 0]


def _channels_last(a: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """(batch, channels, h, w) → (batch, h, w, channels), the channels side by side: a copy only where they are not."""
    a = a.transpose(0, 2, 3, 1).astype(dtype, copy=False)
    return a if a.strides[3] == a.itemsize else np.ascontiguousarray(a)


def _overlapping(a: np.ndarray, size: int, step: int) -> np.ndarray:
    """Every step-th run of size rows: a view (…, rows, values) → (…, runs, size, values)."""
    *others, length, run = a.shape
    *strides, row, value = a.strides
    shape = (*others, (length - size) // step + 1, size, run)
    return as_strided(a, shape, (*strides, step * row, row, value), writeable=False)


# Winograd's way computes step × step places of the result from (step + 2) × (step + 2) pixels d, which overlap with the next:
# y = Aᵀ (U · Bᵀ d B) A with U = G w Gᵀ. Only the product with U mixes channels: (step + 2)² products of matrices instead of
# 9 · step². In Bᵀ d B all images of a tile, and all their channels, are side by side: a transform is a product with a small
# matrix, too. Lavin & Gray 2016, arXiv 1509.09308.

# F(4×4, 3×3) and F(2×2, 3×3), by the points at which polynomials are multiplied; ∞ is another. Those of the paper, 0, ±1, ±2,
# have an error three times as large. A step of 4 takes the fewest products; at 6, float32 has too few digits.
_POINTS = (0, 0.75, -0.75, 1.5, -1.5), (0, 1, -1)


@functools.cache
def _transforms(points: tuple[float, ...], dtype: np.dtype) -> list[np.ndarray]:
    """Bᵀ (size, size), G ⊗ G (size², 9), Aᵀ ⊗ Aᵀ (step², size²); size = len(points) + 1 (Toom and Cook's multiplication).

    G and A evaluate polynomials at the points (at ∞: the last coefficient), Bᵀ's rows have all points but one as roots.
    """
    others = [[q for q in points if q != p] for p in points]
    size, scale = len(points) + 1, [math.prod([p - q for q in rest]) for p, rest in zip(points, others, strict=True)]
    b, g, a = np.zeros((size, size)), np.zeros((size, 3)), np.zeros((size, size - 2))
    for row, roots in zip(b, [*others, points], strict=True):
        row[: len(roots) + 1] = np.poly(roots)[::-1]
    g[:-1], g[-1, -1] = np.vander(points, 3, increasing=True) / np.array(scale)[:, None], 1
    a[:-1], a[-1, -1] = np.vander(points, size - 2, increasing=True), 1
    b[0], g[0] = b[0] / b[0, 0], g[0] * b[0, 0]  # so that the first pixel of a window counts once, as the last does
    return [matrix.astype(dtype) for matrix in (b, np.kron(g, g), np.kron(a, a).T.copy())]


def _spread(x: np.ndarray, b: np.ndarray) -> np.ndarray:
    """V = Bᵀ d B of images (n, h, w, channels): (size, size, h / step, w / step, n·channels)."""
    (n, h, w, channels), size, step = x.shape, len(b), len(b) - 2
    padded = np.zeros((h + 2, w + 2, n, channels), b.dtype)
    _pixels(padded)[1:-1, 1:-1] = _pixels(x).transpose(1, 2, 0)
    half = b @ _overlapping(padded.reshape(h + 2, -1), size, step)  # (h / step, size, (w + 2)·n·channels)
    v = np.empty((size, size, h // step, w // step, n * channels), b.dtype)
    columns = _overlapping(half.reshape(h // step, size, w + 2, -1), size, step)
    np.matmul(b, columns, out=v.transpose(2, 0, 3, 1, 4))
    return v


def _collect(v: np.ndarray, b: np.ndarray, dx: np.ndarray) -> None:
    """The way back, from the gradient of V to that of the images, (n, h, w, channels): what overlaps is added."""
    size, _, h, w, run = v.shape
    step, v = size - 2, v.transpose(2, 0, 3, 1, 4)  # (h / step, size, w / step, size, n·channels)
    rows = np.zeros((h * size + 2, w * step * run), b.dtype)  # one before, and one after
    half = rows[1:-1].reshape(h, size, w, step, run)
    np.matmul(np.ascontiguousarray(b[:, 1:-1].T), v, out=half)
    half[:, :, 1:, 0] += v[:, :, :-1, -1]  # from the window before, which ends there
    half[:, :, :-1, -1] += v[:, :, 1:, 0]  # from the next, which begins there
    outer = np.zeros((step, size + 2), b.dtype)  # the same of rows, in one product: each has its neighbors' beside its own
    outer[:, 1:-1], outer[0, 0], outer[-1, -1] = b[:, 1:-1].T, 1, 1
    images = outer @ _overlapping(rows, size + 2, size)  # (h / step, step, w·n·channels)
    _pixels(dx).transpose(1, 2, 0)[...] = _pixels(images.reshape(h * step, w * step, -1, dx.shape[3]))


def _places(y: np.ndarray, step: int) -> np.ndarray:
    """(n, h, w, channels) → a view (step, step, h / step, w / step, n) of its pixels."""
    n, h, w, _ = y.shape
    return _pixels(y).reshape(n, h // step, step, w // step, step).transpose(2, 4, 1, 3, 0)


class _Winograd:
    """A 3×3 convolution with stride 1 and padding 1."""

    def __init__(self, x: np.ndarray, weight: np.ndarray, points: tuple[float, ...]):
        dtype = np.result_type(x, weight)
        self.x, self.weight = _channels_last(x, dtype), weight.astype(dtype, copy=False)
        self.b, self.g, self.a = _transforms(points, dtype)
        self.step = len(self.b) - 2

    def _tiles(self) -> list[slice]:
        n, h, w, channels = self.x.shape
        share = self.a.shape[1] / self.a.shape[0]  # values of V for each of x
        return _tiles(n, int(share * h * w * (channels + len(self.weight)) * self.x.itemsize))

    def _transformed(self, *axes: int) -> np.ndarray:
        """U = G w Gᵀ as (size², in, out), or as those axes of the weight say."""
        taps = np.ascontiguousarray(self.weight.transpose(2, 3, *axes))  # (3, 3, in, out)
        return (self.g @ taps.reshape(9, -1)).reshape(-1, *taps.shape[2:])

    def forward(self) -> np.ndarray:
        """The result, (batch, out, h, w)."""
        (batch, h, w, channels), u, squares = self.x.shape, self._transformed(1, 0), len(self.b) ** 2
        y = np.empty((batch, h, w, u.shape[2]), u.dtype)
        for part in self._tiles():
            m = _spread(self.x[part], self.b).reshape(squares, -1, channels) @ u
            m = m.reshape(squares, h * w // self.step**2, -1).swapaxes(0, 1)  # (places, size², n·out)
            tile = np.empty((self.step**2, *m.shape[::2]), u.dtype)
            np.matmul(self.a, m, out=tile.swapaxes(0, 1))
            places = _places(y[part], self.step)
            places[...] = _pixels(tile.reshape(*places.shape, -1))
        return y.transpose(0, 3, 1, 2)

    def backward(self, g: np.ndarray, to_x: bool, to_weight: bool) -> tuple[np.ndarray, ...]:
        """The gradients that are wanted."""
        channels, u, squares = self.x.shape[3], self._transformed(0, 1), len(self.b) ** 2  # u: (size², out, in)
        g, dx = _channels_last(g, u.dtype), np.empty_like(self.x, order="C")
        du = np.zeros((squares, channels, u.shape[1]), u.dtype)
        for part in self._tiles():
            places = _places(g[part], self.step)
            tile = np.empty((*places.shape, u.shape[1]), u.dtype)
            _pixels(tile)[...] = places
            tile = tile.reshape(self.step**2, places.shape[2] * places.shape[3], -1).swapaxes(0, 1)
            m = np.empty((squares, len(tile), tile.shape[2]), u.dtype)
            np.matmul(self.a.T, tile, out=m.swapaxes(0, 1))
            m = m.reshape(squares, -1, u.shape[1])  # (size², places·n, out)
            if to_weight:
                du += _spread(self.x[part], self.b).reshape(squares, -1, channels).swapaxes(1, 2) @ m
            if to_x:
                v = m @ u
                _collect(v.reshape(*[len(self.b)] * 2, *places.shape[2:4], -1), self.b, dx[part])
        dw = (self.g.T @ du.reshape(squares, -1)).reshape(3, 3, channels, u.shape[1])
        return dx.transpose(0, 3, 1, 2), dw.transpose(3, 2, 0, 1)


class _Columns:
    """Any convolution, by kata 09's matrix of windows, a few images at a time.

    The images are the last axis of that matrix: runs of memory are long, however few channels there are.
    """

    def __init__(self, x: np.ndarray, weight: np.ndarray, stride: list[int], padding: list[int]):
        self.dtype, self.x, self.weight, self.stride, self.padding = np.result_type(x, weight), x, weight, stride, padding
        sizes = zip(x.shape[2:], weight.shape[2:], stride, padding, strict=True)
        self.out_h, self.out_w = [output_size(*size) for size in sizes]
        self.k = math.prod(weight.shape[1:])
        self.rows = weight.reshape(len(weight), self.k).astype(self.dtype, copy=False)  # (out, in·kernel_h·kernel_w)

    def _tiles(self) -> list[slice]:
        return _tiles(len(self.x), self.out_h * self.out_w * (self.k + len(self.weight)) * self.dtype.itemsize)

    def _room(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Zeros for n images and their padding (in, h, w, n), what the kernel sees of them, and as much room for a copy."""
        (channels, h, w), (ph, pw), (sh, sw) = self.x.shape[1:], self.padding, self.stride
        padded = np.zeros((channels, h + 2 * ph, w + 2 * pw, n), self.dtype)
        seen = sliding_window_view(padded, self.weight.shape[2:], (1, 2), writeable=True)[:, ::sh, ::sw]
        columns = np.empty((*self.weight.shape[1:], self.out_h, self.out_w, n), self.dtype)
        return padded, seen.transpose(0, 4, 5, 1, 2, 3), columns  # (in, kernel_h, kernel_w, out_h, out_w, n)

    def _inner(self, padded: np.ndarray) -> np.ndarray:
        """A view (n, in, h, w) without the padding."""
        (h, w), (ph, pw) = self.x.shape[2:], self.padding
        return padded[:, ph : ph + h, pw : pw + w].transpose(3, 0, 1, 2)

    def forward(self) -> np.ndarray:
        """The result, (batch, out, out_h, out_w)."""
        y = np.empty((len(self.x), self.out_h, self.out_w, len(self.weight)), self.dtype)
        room = functools.cache(self._room)
        for part in self._tiles():
            padded, seen, columns = room(part.stop - part.start)
            self._inner(padded)[...] = self.x[part]
            np.copyto(columns, seen)
            products = columns.reshape(self.k, -1).T @ self.rows.T  # (out_h·out_w·n, out)
            np.copyto(_pixels(y[part]).transpose(1, 2, 0), _pixels(products).reshape(columns.shape[3:]))
        return y.transpose(0, 3, 1, 2)

    def backward(self, g: np.ndarray, to_x: bool, to_weight: bool) -> tuple[np.ndarray, ...]:
        """The gradients that are wanted."""
        g, dx = _channels_last(g, self.dtype), np.empty((len(self.x), *self.x.shape[2:], self.x.shape[1]), self.dtype)
        dw, room = np.zeros_like(self.rows.T), functools.cache(self._room)
        for part in self._tiles():
            padded, seen, columns = room(part.stop - part.start)
            pixels = np.empty((*columns.shape[3:], len(self.weight)), self.dtype)  # (out_h, out_w, n, out)
            np.copyto(_pixels(pixels), _pixels(g[part]).transpose(1, 2, 0))
            pixels, matrix = pixels.reshape(-1, len(self.weight)), columns.reshape(self.k, -1)
            if to_weight:
                self._inner(padded)[...] = self.x[part]
                np.copyto(columns, seen)
                dw += matrix @ pixels
            if to_x:
                np.matmul(self.rows.T, pixels.T, out=matrix)
                padded[...] = 0
                for i, j in np.ndindex(self.weight.shape[2:]):
                    seen[:, i, j] += columns[:, i, j]
                dx[part].transpose(0, 3, 1, 2)[...] = self._inner(padded)
                padded[...] = 0
        return dx.transpose(0, 3, 1, 2), dw.T.reshape(self.weight.shape)


# 15.3 Fused operations


def _wide(x: np.ndarray) -> np.ndarray:
    """The values as float32 if they are float16, which has three digits, or integers."""
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)


def _narrow(y: np.ndarray, x: Tensor) -> np.ndarray:
    """y, computed of the wide x, as float16 if x is."""
    return y.astype(np.float16) if x.dtype == np.float16 else y


_ALONE = 2**24  # multiplications, a third of a millisecond: less is not worth a second thread


def _shared_out(work: Callable[[slice], None], size: int, multiplications: int, recorded: bool) -> None:
    """work(part) for all parts of range(size). In inference, where nobody else uses the second core, two threads share them.

    Each has one BLAS thread: BLAS's own second thread, once woken, would go on waiting on the core that Python's needs.
    """
    if recorded or multiplications < _ALONE:
        work(slice(size))
        return
    with _blas().limit(limits=1):
        half = _second_thread(os.getpid()).submit(work, slice(size // 2, size))
        try:
            work(slice(size // 2))
        finally:
            wait([half])
        half.result()


@functools.cache
def _second_thread(process: int) -> ThreadPoolExecutor:
    """One for each process: a forked one has no threads of its parent's."""
    return ThreadPoolExecutor(1)


# Linear: one node of the record instead of five


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, columns: bool = False) -> Tensor:
    """x Wᵀ + b: x (…, in), weight (out, in), bias (out,) → (…, out).

    columns: beneath its shape, the result has the tokens of a channel side by side in memory, not the channels of a token.
    """
    rows, out = _rows(x.data), len(weight.data)  # (tokens, in)
    y = np.empty((out, len(rows)), x.dtype).T if columns else np.empty((len(rows), out), x.dtype)

    def work(part: slice) -> None:
        np.matmul(rows[part], weight.data.T, out=y[part])
        if bias is not None:
            y[part] += bias.data

    _shared_out(work, len(rows), weight.size * len(rows), x.requires_grad)
    return Tensor._result("linear", y.reshape(*x.shape[:-1], out), x, weight, *([] if bias is None else [bias]))


def _rows(array: np.ndarray) -> np.ndarray:
    """(…, channels) → (tokens, channels)."""
    return array.reshape(-1, array.shape[-1])


defvjp(
    "linear",
    lambda g, y, x, weight, *bias: (_rows(g) @ weight).reshape(x.shape),
    lambda g, y, x, weight, *bias: _rows(g).T @ _rows(x),
    lambda g, y, x, weight, bias: unbroadcast(g, bias.shape),
)

# Cross-entropy


def softmax_cross_entropy(logits: Tensor, target, label_smoothing: float = 0.0, ignore_index: int = -100) -> Tensor:
    """What CrossEntropyLoss(label_smoothing, ignore_index) gives, and raises: logits (…, classes), target (…) → ()."""
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in [0, 1), not {label_smoothing!r}")
    labels = Tensor(target).data
    if labels.dtype.kind not in "iu":
        raise TypeError(f"the target must be class indices, which are integers, not {labels.dtype}")
    if logits.ndim == 0 or labels.shape != logits.shape[:-1]:
        raise ValueError(f"logits (…, classes) of shape {logits.shape} don't fit a target (…) of shape {labels.shape}")
    counts = labels != ignore_index
    labels, classes = labels[counts].astype(np.intp), logits.shape[-1]  # (n,), a copy
    if not labels.size:
        raise ValueError(f"no target counts: shape {logits.shape[:-1]}, ignore_index {ignore_index}")
    if labels.min() < 0 or labels.max() >= classes:
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise ValueError(f"there is no class {wrong}: the logits have {classes} classes")
    odds, chosen = _shifted(logits.data, counts), (np.arange(len(labels)), labels)
    right, smooth = odds[chosen].mean(), odds.mean() if label_smoothing else 0  # an excluded class, of -∞, would give 0·∞
    np.exp(odds, out=odds)
    totals = odds @ np.ones(classes, odds.dtype)  # (n,): a product is the fastest sum of rows
    loss = np.log(totals).mean() - (1 - label_smoothing) * right - label_smoothing * smooth
    attrs = {"kept": [odds], "totals": totals, "chosen": chosen, "counts": counts, "label_smoothing": label_smoothing}
    return Tensor._result("softmax_cross_entropy", _narrow(loss, logits), logits, **attrs)


def _shifted(logits: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The logits that count (n, classes), less each row's largest: probabilities stay, and no exponential overflows."""
    rows = _rows(_wide(logits)) if counts.all() else _wide(logits[counts])
    return rows - rows.max(-1, keepdims=True)


def _cross_entropy_to_logits(g, y, logits, kept, totals, chosen, counts, label_smoothing):
    """(p - smoothed one-hot) · g / n; zero where a target is ignored. The odds that were kept become it, the first time."""
    odds = kept.pop() if kept else np.exp(_shifted(logits, counts))
    odds *= (g / len(totals) / totals)[:, None]
    odds[chosen] -= (1 - label_smoothing) * g / len(totals)
    if label_smoothing:
        odds -= label_smoothing * g / odds.size
    if counts.all():
        return odds.reshape(logits.shape)
    result = np.zeros(logits.shape, odds.dtype)
    result[counts] = odds
    return result


defvjp("softmax_cross_entropy", _cross_entropy_to_logits)

# GELU

_SLOPE, _CUBE = math.sqrt(2 / math.pi), 0.044715
_FLAT = 10.0  # beyond it the sigmoid is 0 or 1; e⁸⁷ is still a float32
_CHUNK = 2**16  # values at a time: the five arrays that a chain of operations passes through stay in a core's L2 cache


def gelu(x: Tensor) -> Tensor:
    """x/2 · (1 + tanh u) = x · σ(2u), u = √(2/π) (x + 0.044715 x³): what GELU gives (Hendrycks & Gimpel 2016, sec. 2)."""
    y = np.array(_wide(x.data), order="C")
    slope = np.empty_like(y) if x.requires_grad else None
    _gelu_in_place(y, slope)
    return Tensor._result("gelu", _narrow(y, x), x, slope=slope)


def _linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """gelu(x Wᵀ + b), in one array: the linear layer's result, which nobody else needs, becomes that of the GELU."""
    rows, shape = _rows(x.data), (*x.shape[:-1], len(weight.data))
    y = np.empty((len(rows), shape[-1]), np.result_type(x.dtype, weight.dtype, np.float32))
    slope = np.empty_like(y) if x.requires_grad else None

    def work(part: slice) -> None:
        np.matmul(rows[part], weight.data.T, out=y[part])
        if bias is not None:
            y[part] += bias.data
        _gelu_in_place(y[part], None if slope is None else slope[part])

    _shared_out(work, len(rows), weight.size * len(rows), x.requires_grad)
    y = _narrow(y.reshape(shape), x)
    return Tensor._result("linear_gelu", y, x, weight, *([] if bias is None else [bias]), shared=_Shared(), slope=slope)


def _gelu_in_place(x: np.ndarray, slope: np.ndarray | None) -> None:
    """Makes gelu(x) of x, which is contiguous, and writes the derivative to slope."""
    x, slope = x.reshape(-1), None if slope is None else slope.reshape(-1)
    for start in range(0, x.size, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        _gelu(x[chunk], x[chunk], None if slope is None else slope[chunk])


def _gelu(x: np.ndarray, y: np.ndarray, slope: np.ndarray | None) -> None:
    """Writes gelu(x) to y, which may be x, and the derivative to slope, while all that it is made of is in the cache."""
    inside = x
    if not (x.min() >= -_FLAT and x.max() <= _FLAT):  # x³ may overflow, and ∞ · 0 is NaN
        inside, x = np.clip(x, -_FLAT, _FLAT), np.maximum(x, -_FLAT)
    square = inside * inside
    sigmoid = square * (-2 * _SLOPE * _CUBE)
    sigmoid -= 2 * _SLOPE
    sigmoid *= inside  # -2u
    np.exp(sigmoid, out=sigmoid)
    sigmoid += 1
    np.reciprocal(sigmoid, out=sigmoid)
    if slope is not None:  # σ + x σ (1 - σ) 2u'
        square *= 6 * _SLOPE * _CUBE
        square += 2 * _SLOPE
        np.multiply(inside, sigmoid, out=slope)
        square *= slope
        np.subtract(1, sigmoid, out=slope)
        slope *= square
        slope += sigmoid
    np.multiply(x, sigmoid, out=y)


def _linear_gelu_gradients(g, y, x, weight, *bias, slope):
    if slope is None:  # x required no gradient, as under no_grad, but the weights do
        inside = _rows(x) @ weight.T + sum(bias)
        slope = np.empty_like(inside)
        _gelu_in_place(inside, slope)
    g = _rows(g) * slope
    return (g @ weight).reshape(x.shape), g.T @ _rows(x), *(unbroadcast(g, b.shape) for b in bias)


defvjp("gelu", lambda g, y, x, slope: g * slope)
defvjp_together("linear_gelu", _linear_gelu_gradients)

# Normalization


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """(x - mean) / √(variance + eps) · weight + bias, over the last axis: what LayerNorm gives (Ba, Kiros & Hinton 2016)."""
    return _normalized("layer_norm", True, x, weight, bias, eps)


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    """x / √(mean of x² + eps) · weight, over the last axis: what RMSNorm gives (Zhang & Sennrich 2019)."""
    return _normalized("rms_norm", False, x, weight, None, eps)


def _normalized(op: str, centered: bool, x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    if x.shape[-1:] != weight.shape or (bias is not None and bias.shape != weight.shape):
        layer, bias = "LayerNorm" if centered else "RMSNorm", "" if bias is None else f" and a bias of {bias.shape}"
        raise ValueError(f"{layer} with a weight of shape {weight.shape}{bias} got input of shape {x.shape}")
    rows = _rows(_wide(x.data))  # (tokens, channels)
    if centered:
        rows = rows - np.vecdot(rows, np.full(rows.shape[1], 1 / rows.shape[1], rows.dtype))[:, None]  # the fastest mean
    squares = np.einsum("ij,ij->i", rows, rows)[:, None]
    scale = 1 / np.sqrt(squares / rows.shape[1] + eps)  # (tokens, 1)
    normal = rows * scale
    y = normal * weight.data
    if bias is not None:
        y += bias.data
    y = y.reshape(x.shape).astype(np.result_type(x.dtype if x.dtype.kind == "f" else np.float32, weight.dtype), copy=False)
    parents = (x, weight) if bias is None else (x, weight, bias)
    return Tensor._result(op, y, *parents, shared=_Shared(), normal=normal, scale=scale)


def _norm_gradients(centered: bool) -> Callable:
    def gradients(g, y, x, weight, *bias, normal, scale):
        """scale · (h - mean h - normal · mean(h · normal)), where h = g · weight; the mean of h only if x was centered."""
        g, weight = _rows(_wide(g)), _wide(weight)
        product = g * normal
        ones, share = np.ones(len(g), g.dtype), weight[:, None] / g.dtype.type(len(weight))  # means of h are products with it
        to_weight, mean = ones @ product, product @ share
        to_x = g * weight
        to_x -= np.multiply(normal, mean, out=product)
        if centered:
            to_x -= g @ share
        to_x *= scale
        return to_x.reshape(x.shape), to_weight, *([ones @ g] if bias else [])

    return gradients


defvjp_together("layer_norm", _norm_gradients(centered=True))
defvjp_together("rms_norm", _norm_gradients(centered=False))

# Batch normalization, with ReLU

# Bytes of an array that several operations run over, one after another: they stay near. As of tiles, fewer win on two threads.
_BLOCK = 1 << 20


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
    if x.ndim != 4 or any([a.shape != x.shape[1:2] for a in (weight, bias, running_mean, running_var)]):
        raise ValueError(f"BatchNorm2d({len(weight)}) with a bias of shape {bias.shape} got input of shape {x.shape}")
    count = x.size // max(1, x.shape[1])
    if training and count < 2:
        raise ValueError(f"BatchNorm2d needs more than one value a channel to train, but the shape is {x.shape}")
    images = _channels_last(x.data, np.result_type(x.data, weight.data, np.float32))  # float16 has three digits
    mean, var = _moments(images) if training else (running_mean.copy(), running_var)
    if training:
        running_mean += momentum * (mean - running_mean)
        running_var += momentum * (var * (count / (count - 1)) - running_var)
    norm = _Norm(images, mean, 1 / np.sqrt(var + eps), weight.data, training)
    y = norm.forward(bias.data).astype(np.result_type(x.data, weight.data), copy=False)
    return Tensor._result("batch_norm_relu", y.transpose(0, 3, 1, 2), x, weight, bias, shared=_Shared(), norm=norm)


defvjp_together("batch_norm_relu", lambda g, y, *parents, norm: norm.backward(g, y.transpose(0, 2, 3, 1)))


def _blocks(images: np.ndarray) -> list[slice]:
    """Parts of a batch of about _BLOCK bytes."""
    n = max(1, _BLOCK * len(images) // max(1, images.nbytes))
    return [slice(start, start + n) for start in range(0, len(images), n)]


def _sums(images: np.ndarray) -> np.ndarray:
    """(…, channels) → (channels,). A product with ones takes a fifth of the time of a sum."""
    pixels = images.reshape(-1, images.shape[-1])
    return np.ones(len(pixels), pixels.dtype) @ pixels


def _repeated(a: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(channels,) → (h·w·channels,), as rows (n, h·w·channels) have them, and in their dtype."""
    return np.broadcast_to(a, (rows.shape[1] // len(a), len(a))).astype(rows.dtype).ravel()


def _moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and biased variance of each channel, in one pass over memory (Chan, Golub & LeVeque 1979).

    Each block's own, while it is in the cache, and then theirs: E[x²] - E[x]² would lose all digits where the mean is large.
    """
    channels, found = images.shape[-1], []
    for block in (images[part] for part in _blocks(images)):
        rows, count = block.reshape(len(block), -1), block.size // channels  # (n, h·w·channels)
        mean = _sums(block) / count
        centered = rows - _repeated(mean, rows)
        centered *= centered
        found.append((count, mean, _sums(centered.reshape(block.shape))))
    counts, means, squares = (np.array(column, np.float64) for column in zip(*found, strict=True))
    share = counts / counts.sum()
    mean = share @ means
    return mean, squares.sum(0) / counts.sum() + share @ (means - mean) ** 2


class _Norm:
    """y = max(0, (x - mean) · rstd · weight + bias), over images (batch, h, w, channels)."""

    def __init__(self, images: np.ndarray, mean: np.ndarray, rstd: np.ndarray, weight: np.ndarray, training: bool):
        self.images, self.mean, self.rstd, self.weight, self.training = images, mean, rstd, weight, training

    def _row(self, a: np.ndarray) -> np.ndarray:
        return _repeated(a, self.images.reshape(len(self.images), -1))

    def forward(self, bias: np.ndarray) -> np.ndarray:
        """The result, (batch, h, w, channels)."""
        y = np.empty(self.images.shape, self.images.dtype)
        mean, scale, bias = map(self._row, (self.mean, self.rstd * self.weight, bias))
        zeros = np.zeros_like(mean)  # maximum takes six times as long with a number
        for part in _blocks(y):
            rows, out = (a[part].reshape(-1, len(mean)) for a in (self.images, y))
            np.subtract(rows, mean, out=out)
            out *= scale
            out += bias
            np.maximum(out, zeros, out=out)
        return y

    def backward(self, g: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """Of ĝ = g where y > 0, and x̂ = (x - mean) · rstd: dx = weight · rstd · (ĝ - E[ĝ] - x̂ · E[ĝ x̂])."""
        dtype = self.images.dtype
        g, dx = _channels_last(g, dtype), np.empty(y.shape, dtype)
        (mean, scale), channels = map(self._row, (self.mean, self.rstd * self.weight)), y.shape[-1]
        sums, count = np.zeros((2, channels)), max(1, y.size // channels)
        for part in _blocks(y):
            rows, grads, out, positive = (a[part].reshape(-1, len(mean)) for a in (self.images, g, dx, y))
            bits = f"i{out.itemsize}"
            np.multiply(grads.view(bits), positive > 0, out=out.view(bits))  # of bits, since ∞ · 0 is NaN
            centered = rows - mean
            centered *= out
            sums += _sums(out.reshape(-1, channels)), _sums(centered.reshape(-1, channels))
        dbias, dweight = sums[0], sums[1] * self.rstd
        offset, slope = map(self._row, (dbias / count, self.rstd * dweight / count))
        for part in _blocks(y):
            rows, out = (a[part].reshape(-1, len(mean)) for a in (self.images, dx))
            if self.training:
                centered = rows - mean
                centered *= slope
                centered += offset
                out -= centered
            out *= scale
        return dx.transpose(0, 3, 1, 2), dweight.astype(self.weight.dtype), dbias.astype(self.weight.dtype)


# Max pooling


def _fast_max_pool2d(x: Tensor, kernel_size: Pair) -> Tensor:
    """Kata 09's MaxPool2d(kernel_size), for windows that lie side by side: a pixel is in one of them at most."""
    kernel_size = tuple(np.broadcast_to(kernel_size, 2).tolist())
    first, *others = _offsets(x.data, kernel_size)
    y = first.copy("K")
    for pixels in others:
        np.maximum(y, pixels, out=y)
    return Tensor._result("fast_max_pool2d", y, x, kernel_size=kernel_size)


def _offsets(x: np.ndarray, kernel_size: tuple[int, int]) -> list[np.ndarray]:
    """What each window of x has at each place: views (batch, channels, out_h, out_w)."""
    (kh, kw), (h, w) = kernel_size, x.shape[2:]
    return [x[:, :, i : h // kh * kh : kh, j : w // kw * kw : kw] for i, j in np.ndindex(kh, kw)]


def _max_pool2d_to_x(g, y, x, kernel_size):
    """All of a window's gradient goes to its first largest: written once, where kata 09 adds to zeros."""
    fits = all([size % kernel == 0 for size, kernel in zip(x.shape[2:], kernel_size, strict=True)])
    result, bits = (np.empty_like if fits else np.zeros_like)(x), f"i{x.itemsize}"
    due = np.empty_like(y)
    due[...] = g
    due = due.view(bits)  # of bits, since ∞ · 0 is NaN
    for pixels, payed in zip(_offsets(x, kernel_size), _offsets(result.view(bits), kernel_size), strict=True):
        np.multiply(due, pixels == y, out=payed)
        due -= payed
    return result


defvjp("fast_max_pool2d", _max_pool2d_to_x)


# 15.4 Attention

_QUERIES, _SCORES = 64, 2**17  # at a time: half a megabyte of scores stays in a core's L2 cache
_TAME = 40.0  # e^±40, and the sum of many, are far from where float32 ends


class _Plan:
    """Blocks of queries, of some heads each, and who may look where. The last query stands beside the last key."""

    def __init__(self, heads: tuple[int, ...], queries: int, keys: int, mask, causal: bool, window: int | None):
        window = None if window is None else min(int(window), keys)  # a uint8 would count modulo 256
        self.mask, self.causal, self.window, self.blocks = mask, causal or window is not None, window, []
        self.first = keys - queries  # the key beside the first query
        for start in range(0, queries, _QUERIES):
            stop = min(start + _QUERIES, queries)
            end = max(0, self.first + stop) if self.causal else keys  # keys that none of the block may see are left out
            begin = 0 if window is None else min(end, max(0, self.first + start - window + 1))
            step = max(1, _SCORES // max(1, math.prod(heads[1:]) * (stop - start) * (end - begin)))
            parts = [(slice(i, i + step),) for i in range(0, heads[0], step)] if heads else [()]
            self.blocks += [(part, slice(start, stop), slice(begin, end)) for part in parts]
        self.blocks = self.blocks[::2] + self.blocks[1::2]  # so that both halves are as long: later queries see more keys

    def scores(self, q: np.ndarray, k: np.ndarray, block: tuple) -> tuple[np.ndarray, bool]:
        """q kᵀ of a block, with -∞ where a query may not look, and whether all were tame before that."""
        part, rows, sight = block
        scores = q[*part, ..., rows, :] @ k[*part, ..., sight, :].swapaxes(-1, -2)
        tame = scores.min(initial=0) >= -_TAME and scores.max(initial=0) <= _TAME
        if self.mask is not None:
            np.copyto(scores, -np.inf, where=~self.mask[*part, ..., rows, sight])
        if self.causal:
            beside = (
                self.first + rows.start - sight.start
            )  # columns before that of the first query's own key: all see them, ...
            known = max(0, beside) if self.window is None or beside + rows.stop - rows.start <= self.window else 0
            last = scores[..., known:]  # ... unless a window hides them
            hidden = _hidden(*last.shape[-2:], beside - known, self.window, scores.dtype)
            if tame:
                last += hidden
            else:  # takes longer, but hides NaN too
                np.copyto(last, -np.inf, where=hidden < 0)
        return scores, tame


@functools.lru_cache(maxsize=64)
def _hidden(queries: int, keys: int, beside: int, window: int | None, dtype) -> np.ndarray:
    """(queries, keys): -∞ where query i, whose own key is i + beside, may not look, else 0."""
    seen = np.tri(queries, keys, beside, bool)
    if window is not None:
        seen &= ~np.tri(queries, keys, beside - window, bool)
    return np.where(seen, 0, -np.inf).astype(dtype)


def _attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, y: np.ndarray, plan: _Plan, recorded: bool) -> np.ndarray:
    """Writes softmax(q kᵀ) v to y. Gives the logarithm of the sum of each query's e^score, (…, queries, 1)."""
    logs = np.empty((*q.shape[:-1], 1), q.dtype)

    def attend(some: slice) -> None:
        for block in plan.blocks[some]:
            part, rows, sight = block
            weights, tame = plan.scores(q, k, block)
            largest = 0
            if not tame:  # else it can stay: to find the largest of each row takes as long as all exponentials
                largest = weights.max(-1, keepdims=True, initial=-np.inf)
                largest[largest == -np.inf] = 0
                weights -= largest
            np.exp(weights, out=weights)
            sums, result = weights.sum(-1, keepdims=True), y[*part, ..., rows, :]
            sums[sums == 0] = 1  # a query that may look nowhere
            np.matmul(weights, v[*part, ..., sight, :], out=result)
            result /= sums
            logs[*part, ..., rows, :] = np.log(sums) + largest

    _shared_out(attend, len(plan.blocks), logs.size * k.shape[-2] * (k.shape[-1] + v.shape[-1]), recorded)
    return logs


def _attend_back(g, y, q, k, v, logs, plan: _Plan, to_q, to_k, to_v) -> None:
    """Writes the gradients of q, k and v. The weights are computed again (Dao et al. 2022, section 3.1)."""
    to_k[...] = to_v[...] = 0
    for block in plan.blocks:
        rows, sight = ((*block[0], ..., tokens, slice(None)) for tokens in block[1:])
        weights, _ = plan.scores(q, k, block)
        weights -= logs[rows]
        np.exp(weights, out=weights)
        _add_product(to_v[sight], weights.swapaxes(-1, -2), g[rows])
        to_scores = g[rows] @ v[sight].swapaxes(-1, -2)
        to_scores -= np.vecdot(g[rows], y[rows])[..., None]
        to_scores *= weights
        np.matmul(to_scores, k[sight], out=to_q[rows])
        _add_product(to_k[sight], to_scores.swapaxes(-1, -2), q[rows])


def _add_product(total: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """total += a @ b, where the product is laid out in memory as the total is: additions across take twenty times as long."""
    total += np.matmul(a, b, out=np.empty_like(total))


def fused_attention(q: Tensor, k: Tensor, v: Tensor, mask=None, causal: bool = False, window: int | None = None) -> Tensor:
    """What scaled_dot_product_attention gives, and with a window attention_weights(…) @ v, forward and backward in blocks.

    q (…, queries, head), k (…, keys, head), v (…, keys, channels) → (…, queries, channels). Memory is linear in queries and
    keys (Rabe & Staats 2021; Dao et al. 2022, algorithm 1). A query that may look nowhere gives zeros. Raises: as they do.
    """
    if window is not None and window < 1:
        raise ValueError(f"window must be positive, not {window}")
    heads = _fitting("q", q, "k", k, q.shape[-1:] == k.shape[-1:])
    _fitting("k", k, "v", v, k.shape[-2:-1] == v.shape[-2:-1])
    heads = np.broadcast_shapes(heads, _fitting("q", q, "v", v, True))
    if mask is not None:
        mask = _boolean(mask, (*heads, q.shape[-2], k.shape[-2]))
    plan = _Plan(heads, q.shape[-2], k.shape[-2], mask, causal, window)
    arrays = _alike(q.data, k.data, v.data)
    y = np.empty((*heads, q.shape[-2], v.shape[-1]), arrays[0].dtype)
    logs = _attend(*arrays, y, plan, any(x.requires_grad for x in (q, k, v)))
    dtype = np.result_type(*[x.dtype if x.dtype.kind == "f" else np.float32 for x in (q, k, v)])
    attrs = {"shared": _Shared(), "logs": logs, "plan": plan}
    return Tensor._result("fused_attention", y.astype(dtype, copy=False), q, k, v, **attrs)


def _fitting(left: str, a: Tensor, right: str, b: Tensor, fit: bool) -> tuple[int, ...]:
    """The leading axes of both."""
    try:
        heads = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        fit = False
    if not fit or min(a.ndim, b.ndim) < 2:
        raise ValueError(f"{left} of shape {a.shape} and {right} of shape {b.shape} don't fit")
    return heads


def _boolean(mask, shape: tuple[int, ...]) -> np.ndarray:
    mask = Tensor(mask).data
    if mask.dtype != np.bool_ and mask.size:  # without elements, as [[], []], it has no numbers
        raise TypeError(f"a mask must be boolean, True where a query may look, not {mask.dtype}")
    try:
        return np.broadcast_to(mask.astype(bool), shape)  # a copy, which the record holds
    except ValueError:
        raise ValueError(f"a mask of shape {mask.shape} does not broadcast to (…, queries, keys): {shape}") from None


def _alike(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> list[np.ndarray]:
    """All three in one floating dtype, with the same leading axes, and q scaled, which is smaller than the scores."""
    heads = np.broadcast_shapes(*[x.shape[:-2] for x in (q, k, v)])
    dtype = np.result_type(*map(_wide, (q, k, v)))
    q, k, v = (np.broadcast_to(x.astype(dtype, copy=False), (*heads, *x.shape[-2:])) for x in (q, k, v))
    return [q * (1 / math.sqrt(q.shape[-1])), k, v]


def _attention_gradients(g, y, q, k, v, logs, plan):
    arrays = _alike(q, k, v)
    grads = [np.empty(array.shape, array.dtype) for array in arrays]
    _attend_back(_wide(g), _wide(y), *arrays, logs, plan, *grads)
    grads[0] *= 1 / math.sqrt(q.shape[-1])
    return [unbroadcast(grad, x.shape) for grad, x in zip(grads, (q, k, v), strict=True)]


defvjp_together("fused_attention", _attention_gradients)

# Self-attention on what c_attn gives, in one node


class _Turn:
    """cos and sin (time, 1, 1, head / 2) of a RotaryPositions, and which channels are the first and the second of pairs."""

    def __init__(self, positions: Module, time: int, head: int, dtype):
        """A rotation is linear: what it makes of (1, 0) in every pair says all. Raises: as positions."""
        one = np.zeros((1, 1, time, head), dtype)
        one[..., 0] = 1
        with no_grad():
            neighbors = head > 2 and bool(positions(Tensor(one)).data[0, 0, -1, 1])
            halves = slice(0, head // 2), slice(head // 2, head)
            self.pair = (slice(0, head, 2), slice(1, head, 2)) if neighbors else halves
            one[..., self.pair[0]] = 1
            turned = positions(Tensor(one)).data[0, 0]  # (time, head)
        self.cos, self.sin = (np.ascontiguousarray(turned[:, part].T).T[:, None, None] for part in self.pair)

    def __call__(self, x: np.ndarray, y: np.ndarray, scale: float, back: bool = False) -> None:
        """Writes x (batch, time, …, head), rotated, or rotated back, and scaled, to y."""
        cos, sin = self.cos * scale, self.sin * (-scale if back else scale)
        (a, b), (first, second) = ([array[..., part] for part in self.pair] for array in (x, y))
        np.multiply(a, cos, out=first)
        first -= b * sin
        np.multiply(b, cos, out=second)
        second += a * sin


def _self_attention(qkv: Tensor, n_head: int, causal: bool, window: int | None, turn: _Turn | None = None) -> Tensor:
    """qkv (batch, time, 3 · d_model) → (batch, time, d_model): what n_head attentions give, whose q and k `turn` rotates."""
    batch, time, _ = qkv.shape
    qk, v = _unpacked(qkv.data, n_head)
    qk_scaled = np.empty_like(qk)
    _scaled(qk, qk_scaled, turn)
    q, k = _heads(qk_scaled)
    y = np.empty((batch, time, n_head, v.shape[-1]), v.dtype)
    plan = _Plan((batch, n_head), time, time, None, causal, window)
    logs = _attend(q, k, v, y.swapaxes(1, 2), plan, qkv.requires_grad)
    return Tensor._result("self_attention", y.reshape(batch, time, -1), qkv, qk=qk_scaled, logs=logs, plan=plan, turn=turn)


def _unpacked(qkv: np.ndarray, n_head: int) -> tuple[np.ndarray, np.ndarray]:
    """qk (batch, time, 2, heads, head) and v (batch, heads, time, head), views of qkv."""
    parts = qkv.reshape(*qkv.shape[:2], 3, n_head, -1)
    return parts[:, :, :2], parts[:, :, 2].swapaxes(1, 2)


def _heads(qk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """q and k (batch, heads, time, head)."""
    return qk[:, :, 0].swapaxes(1, 2), qk[:, :, 1].swapaxes(1, 2)


def _scaled(x: np.ndarray, y: np.ndarray, turn: _Turn | None, back: bool = False) -> None:
    """Writes x, q and k, to y: rotated if turn is given, and scaled such that their products are by 1/√head."""
    scale = x.shape[-1] ** -0.25
    if turn is None:
        np.multiply(x, scale, out=y)
    else:
        turn(x, y, scale, back)


def _self_attention_to_qkv(g, y, qkv, qk, logs, plan, turn):
    g, y = (array.reshape(*qk.shape[:2], *qk.shape[3:]).swapaxes(1, 2) for array in (g, y))
    result, to_scaled, (_, v) = np.empty_like(qkv), np.empty_like(qk), _unpacked(qkv, qk.shape[3])
    to_qk, to_v = _unpacked(result, qk.shape[3])
    _attend_back(g, y, *_heads(qk), v, logs, plan, *_heads(to_scaled), to_v)
    _scaled(to_scaled, to_qk, turn, back=True)
    return result


defvjp("self_attention", _self_attention_to_qkv)

# 15.5 Optimizer over one flat array

_PIECE = 2**16  # values at a time: few enough that data, gradient and averages of them stay in a core's caches


def flat(optimizer: Optimizer) -> Optimizer:
    """An optimizer that does what `optimizer` does, bit for bit: few long updates instead of many short ones.

    It has the same param_groups, and its state_dict is the plain optimizer's. The update must treat all elements alike.
    """
    return _Flat(optimizer)


class _Flat(Optimizer):
    """Keeps the parameters in flat arrays for as long as the same ones have a gradient, and nobody gave one other data."""

    def __init__(self, optimizer: Optimizer):
        self.optimizer, self.runs, self.views = optimizer, [], {}

    @property
    def param_groups(self) -> list[dict]:
        """The plain optimizer's."""
        return self.optimizer.param_groups

    @property
    def state(self) -> dict:
        """The plain optimizer's, brought up to date."""
        for run in self.runs:
            self.optimizer.state.update(run.states())
        return self.optimizer.state

    def zero_grad(self) -> None:
        """Sets the grad of every parameter to None."""
        self.optimizer.zero_grad()

    def step(self) -> None:
        """Updates every parameter whose grad is not None."""
        live = [parameter for group in self.param_groups for parameter in group["params"] if parameter.grad is not None]
        if len(live) != len(self.views) or any(self.views.get(parameter) is not parameter.data for parameter in live):
            self._lay_flat()
        for run in self.runs:
            run.step(self.optimizer)

    def _lay_flat(self) -> None:
        state, alike = self.state, {}
        for number, group in enumerate(self.param_groups):
            for parameter in group["params"]:
                if parameter.grad is not None:
                    history = [
                        (name, _is_array(value, parameter) or repr(value)) for name, value in state.get(parameter, {}).items()
                    ]
                    alike.setdefault((number, parameter.dtype, *sorted(history)), []).append(parameter)
        self.runs = [_Run(parameters, state, number) for (number, *_), parameters in alike.items()]
        self.views = {parameter: parameter.data for run in self.runs for parameter in run.parameters}

    def state_dict(self) -> dict:
        """What the plain optimizer's is, which can load it."""
        self.optimizer.state = self.state
        return self.optimizer.state_dict()

    def load_state_dict(self, state_dict: dict) -> None:
        """Loads what either of them gave. Raises: as the plain optimizer."""
        self.optimizer.load_state_dict(state_dict)
        self.runs, self.views = [], {}


def _is_array(value, parameter: Parameter) -> bool:
    """Whether part of an optimizer's state has a number for each of the parameter's."""
    return isinstance(value, np.ndarray) and value.shape == parameter.shape


class _Run:
    """Parameters of one group, dtype and history (such as the number of steps): their data lie in one array, in this order."""

    def __init__(self, parameters: list[Parameter], state: dict, group: int):
        self.parameters, self.group, self.pieces = parameters, group, []
        self.ends = np.cumsum([parameter.size for parameter in parameters]).tolist()
        histories = [state.get(parameter, {}) for parameter in parameters]
        data = np.concatenate([parameter.data.reshape(-1) for parameter in parameters])
        arrays = {
            name: np.concatenate([history[name].reshape(-1) for history in histories])
            for name, value in histories[0].items()
            if _is_array(value, parameters[0])
        }
        for parameter, values in zip(parameters, self.split(data), strict=True):
            parameter.data = values.reshape(parameter.shape)
        for start in range(0, max(1, len(data)), _PIECE):  # one piece even of no values: it holds the history
            stop = min(start + _PIECE, len(data))
            piece = Parameter(())
            piece.data = data[start:stop]
            sources = [
                (parameter, slice(max(0, start - end + parameter.size), stop - end + parameter.size))
                for parameter, end in zip(parameters, self.ends, strict=True)
                if start < end and end - parameter.size < stop
            ]
            history = histories[0] | {name: array[start:stop] for name, array in arrays.items()}
            self.pieces.append((piece, history, sources))

    def split(self, array: np.ndarray) -> list[np.ndarray]:
        """The part of each parameter."""
        return np.split(array, self.ends[:-1])

    def step(self, optimizer: Optimizer) -> None:
        for piece, history, sources in self.pieces:
            parts = [parameter.grad.reshape(-1)[part] for parameter, part in sources]
            piece.grad = parts[0] if len(parts) == 1 else np.concatenate(parts)
            optimizer.update(piece, history, optimizer.param_groups[self.group])

    def states(self) -> dict[Parameter, dict]:
        """What the updates of each parameter have to remember, copied."""
        piece, history, _ = self.pieces[0]
        states = {parameter: {} for parameter in self.parameters}
        for name, value in history.items():
            values = [value] * len(states)
            if _is_array(value, piece):
                values = self.split(np.concatenate([other[name] for _, other, _ in self.pieces]))
                values = [part.reshape(parameter.shape) for part, parameter in zip(values, states, strict=True)]
            for state, part in zip(states.values(), values, strict=True):
                state[name] = part
        return states


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
    if threads < 1:
        raise ValueError(f"threads must be 1 or more, not {threads!r}")
    return _DataParallel(model, operator.index(threads))  # a NumPy uint8 would overflow


class _DataParallel(Module):
    def __init__(self, model: Module, threads: int):
        self.model, self.threads = model, threads
        self.generators = []  # [the model's, [each shard's]], where checkpoints find them
        self._executor = ThreadPoolExecutor(threads)  # its threads end with it, or with the process
        _Shard(self, 0, [], (), 1.0)  # which spawns the generators

    def named_parameters(self) -> list:
        return self.model.named_parameters()

    def named_buffers(self) -> list:
        return self.model.named_buffers()

    def state_dict(self) -> dict:
        return self.model.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.model.load_state_dict(state)

    def counted(self, x, y) -> float:
        return self.model.counted(x, y) if hasattr(self.model, "counted") else len(x)

    def forward(self, x, y) -> Tensor:
        buffers = self.model.named_buffers()
        shards = [_Shard(self, i, buffers, *shard) for i, shard in enumerate(self.cut(x, y))]
        self.side_by_side([shard.forward for shard in shards])
        if buffers:
            _average(buffers, [shard.model.named_buffers() for shard in shards])

        def gradients(g: np.ndarray) -> list[np.ndarray]:
            self.side_by_side([functools.partial(shard.backward, g) for shard in shards])
            return [leaf.grad for shard in shards for leaf in shard.leaves]

        loss = sum([shard.loss.data * shard.share for shard in shards])
        # A Parameter is a parent once for each shard that used it: kata 07 adds the gradients, in this order
        parents = [shard.owners[leaf] for shard in shards for leaf in shard.leaves]
        return Tensor._result("data_parallel", loss, *parents, shared=_Shared(), gradients=gradients)

    def cut(self, x, y) -> list[tuple[tuple, float]]:
        """Each shard's (x, y) and its share of all that counts. If nothing counts, the model gets the whole batch."""
        cuts = [len(x) * i // self.threads for i in range(self.threads + 1)]
        batches = [(x[start:stop], y[start:stop]) for start, stop in pairwise(cuts) if start < stop]
        counted = [(batch, count) for batch in batches if (count := self.counted(*batch))] or [((x, y), 1)]
        total = sum([count for _, count in counted])
        return [(batch, count / total) for batch, count in counted]

    def side_by_side(self, calls: list[Callable]) -> None:
        """Runs each call on a thread, in a copy of this context. Raises the first one's error when all have ended."""
        with _blas().limit(limits=1, user_api="blas"):
            futures = [self._executor.submit(copy_context().run, call) for call in calls]
            _wait(futures)
        for future in futures:
            future.result()

    def spawned(self, generator: np.random.Generator) -> list[np.random.Generator]:
        """The shards' generators in place of this one: always the same."""
        for own, spawned in self.generators:
            if own is generator:
                return spawned
        self.generators.append([generator, generator.spawn(self.threads)])
        return self.generators[-1][1]


defvjp_together("data_parallel", lambda g, y, *parents, gradients: gradients(g))


class _Shard:
    """A part of a batch and a replica of the model. owners: for a leaf of its graph the Tensor that receives the gradient."""

    def __init__(self, parallel: _DataParallel, number: int, buffers: list, batch: tuple, share: float):
        self.parallel, self.number, self.share, self.owners = parallel, number, share, {}
        self.copies = {id(array): array.copy() for _, array in buffers}  # by the id of the original
        self.model = self.copy(parallel.model)
        self.batch = [self.leaf(value) for value in batch]

    def copy(self, value):
        """The same structure again, around the same arrays."""
        if id(value) in self.copies:
            return self.copies[id(value)]
        if isinstance(value, np.random.Generator):
            return self.parallel.spawned(value)[self.number]
        if isinstance(value, tuple):
            return tuple.__new__(type(value), [self.copy(member) for member in value])
        if not isinstance(value, Differentiable | Parameter | list | dict):
            return value
        if isinstance(value, list | dict):
            new = self.copies[id(value)] = copy.copy(value)
            for key, member in enumerate(value) if isinstance(value, list) else value.items():
                new[key] = self.copy(member)
            return new
        new = self.copies[id(value)] = object.__new__(type(value))  # copy.copy takes five times as long
        if isinstance(value, Parameter):
            vars(new).update(vars(value), grad=None)
            self.owners[new] = value
        else:
            vars(new).update({name: self.copy(member) for name, member in vars(value).items()})
        return new

    def leaf(self, value):
        """x or y; if it requires a gradient, a leaf in its place: two backwards must not meet in one graph."""
        if not (isinstance(value, Tensor) and value.requires_grad):
            return value
        new = Tensor(value.data, requires_grad=True)
        self.owners[new] = value
        return new

    def forward(self) -> None:
        """Leaves are those that the loss depends on: a Parameter that is not used keeps its grad, None perhaps."""
        self.loss = self.model(*self.batch)
        self.leaves, seen, waiting = [], {self.loss}, [self.loss]
        while waiting:
            tensor = waiting.pop()
            if tensor in self.owners:
                self.leaves.append(tensor)
            elif node := getattr(tensor, "node", None):
                new = [parent for parent in node.parents if parent.requires_grad and parent not in seen]
                seen.update(new)
                waiting += new

    def backward(self, g: np.ndarray) -> None:
        if self.leaves:
            self.loss.backward(np.asarray(g * self.share))


def _wait(futures: list) -> None:
    """Until all have ended, after a KeyboardInterrupt too."""
    try:
        wait(futures)
    finally:
        wait(futures)


def _average(buffers: list, others: list[list]) -> None:
    """Sets each buffer to the mean of the shards'. One that no shard has changed stays, to the last bit."""
    for (_, own), *named in zip(buffers, *others, strict=True):
        arrays = [array for _, array in named]
        if any([(array != own).any() for array in arrays]):
            own[...] = np.mean(arrays, 0)


@functools.cache
def _blas():
    """Limits the threads of a matrix product. To find the libraries takes a millisecond, so it is done once."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


# 15.7 Accelerate


def accelerate(model: Module) -> Module:
    """Exchanges the layers that it knows for faster ones, in place, and returns the model.

    Each Linear, Conv2d, MaxPool2d, LayerNorm, RMSNorm, GELU, FeedForward, MultiHeadAttention and CrossEntropyLoss gets a
    subclass of its type, with a different forward. A Sequential and a CNN get one that computes each BatchNorm2d together with
    a ReLU directly behind it. The layers stay the same objects, with their Parameters, buffers, options and names. An object of
    any other type, a subclass included, is left alone, so that a second call changes nothing.
    """
    seen, waiting = set(), [model]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Differentiable | list | tuple | dict) and id(value) not in seen:
            seen.add(id(value))
            if type(value) in _FAST:
                value.__class__ = _FAST[type(value)]
            value = vars(value) if isinstance(value, Differentiable) else value
            waiting += value.values() if isinstance(value, dict) else value
    return model


class _BatchNormReLU(Differentiable):
    """A BatchNorm2d and the ReLU behind it."""

    def __init__(self, norm: BatchNorm2d):
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        running = norm.running_mean, norm.running_var
        return batch_norm_relu(x, norm.weight, norm.bias, *running, norm.training, norm.momentum, norm.eps)


def _paired(layers: list) -> list:
    """The layers, of which each BatchNorm2d and the ReLU directly behind it are one."""
    result = []
    for layer in layers:
        if result and type(layer) is ReLU and type(result[-1]) is BatchNorm2d:
            result[-1] = _BatchNormReLU(result[-1])
        else:
            result.append(layer)
    return result


def _attention(self: MultiHeadAttention, x: Tensor, mask=None, cache=None) -> Tensor:
    drops = any([isinstance(module, Dropout) and module.training and module.p for module in self.modules()])
    seeing = self.window is None or self.window >= 1
    real = None if mask is None else Tensor(mask).data
    fits = x.ndim == 3 and x.shape[-1] == self.d_model and (real is None or (real.shape == x.shape[:2] and real.dtype == bool))
    if drops or cache is not None or not (fits and seeing):
        return MultiHeadAttention.forward(self, x, mask, cache)  # which also says what doesn't fit
    head_dim, rotates = self.d_model // self.n_head, self.positions is not None
    if real is None and type(self.positions) in (NoneType, RotaryPositions):
        turn = _Turn(self.positions, x.shape[1], head_dim, x.dtype) if rotates else None
        qkv = _projected(self.c_attn, x, columns=rotates)
        return self.c_proj(_self_attention(qkv, self.n_head, self.causal, self.window, turn))
    qkv = self.c_attn(x)
    q, k, v = qkv.reshape(*x.shape[:2], 3, self.n_head, head_dim).permute(2, 0, 3, 1, 4)  # (batch, heads, time, head_dim)
    if rotates:
        q, k = self.positions(q), self.positions(k)
    y = fused_attention(q, k, v, None if real is None else real[:, None, None], self.causal, self.window)
    return self.c_proj(y.permute(0, 2, 1, 3).reshape(*x.shape))


def _projected(layer: Module, x: Tensor, columns: bool = False) -> Tensor:
    """layer(x), by the fused operation if it is a Linear, which says itself what doesn't fit."""
    if not _is_linear(layer):
        return layer(x)
    if not _suits(layer, x):
        return Linear.forward(layer, x)
    return _linear(x, layer.weight, layer.bias, columns)


def _is_linear(layer: Module) -> bool:
    return type(layer) in (Linear, _FAST[Linear])


def _suits(layer: Linear, x: Tensor) -> bool:
    return x.shape[-1:] == (layer.in_features,) and x.dtype == layer.weight.dtype and x.dtype.itemsize > 2


def _feed_forward(self: FeedForward, x: Tensor) -> Tensor:
    if _is_linear(self.c_fc) and type(self.gelu) in (GELU, _FAST[GELU]) and _suits(self.c_fc, x):
        return self.dropout(self.c_proj(_linear_gelu(x, self.c_fc.weight, self.c_fc.bias)))
    return FeedForward.forward(self, x)


def _max_pool(self: MaxPool2d, x: Tensor) -> Tensor:
    fits = x.ndim == 4 and all([kernel_size <= size for kernel_size, size in zip(self.kernel_size, x.shape[2:], strict=True)])
    if self.stride != self.kernel_size or not fits:
        return MaxPool2d.forward(self, x)
    return _fast_max_pool2d(x, self.kernel_size)


_FORWARD = {
    Conv2d: lambda self, x: fast_conv2d(x, self.weight, self.bias, self.stride, self.padding),
    LayerNorm: lambda self, x: layer_norm(x, self.weight, self.bias, self.eps),
    RMSNorm: lambda self, x: rms_norm(x, self.weight, self.eps),
    GELU: lambda self, x: gelu(x),
    CrossEntropyLoss: lambda self, logits, target: softmax_cross_entropy(
        logits, target, self.label_smoothing, self.ignore_index
    ),
    Linear: _projected,
    MaxPool2d: _max_pool,
    FeedForward: _feed_forward,
    MultiHeadAttention: _attention,
    Sequential: lambda self, x: Sequential(*_paired(self.layers)).forward(x),
    CNN: lambda self, x: CNN(_paired(self.layers)).forward(x),
}
_FAST = {kind: type(kind.__name__, (kind,), {"forward": forward}) for kind, forward in _FORWARD.items()}
