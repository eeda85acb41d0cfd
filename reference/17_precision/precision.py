"""Precision: weights as int8, as float16, or as 4 bits in groups, at a bounded error; and layers that compute with them."""

import copy
import math
from collections.abc import Iterable, Iterator

import numpy as np
from katas.embeddings import Embedding
from katas.layers import Linear, Module, Parameter
from katas.spatial import Conv2d, windows
from katas.tensor import Tensor

BLOCK = 1 << 18  # given: a layer makes this many bytes of float32 weights at a time; they stay in a core's cache

# 17.1 Eight bits


class Quantized(Module):
    """An array as integers: (values - zero_point) · scale, where values are int8.

    scale, float32, and zero_point, int8, have the axes of values, of length 1 where they are shared. zero_point None means 0.
    """

    dtype = np.dtype(np.float32)  # given: what dequantize makes, and what a KVCache of a quantized GPT holds

    def __init__(self, values: np.ndarray, scale: np.ndarray, zero_point: np.ndarray | None = None):
        """Copies the arrays into buffers, which state_dict has. A zero_point of None is an attribute, and no buffer."""
        self.register_buffer("values", values)
        self.register_buffer("scale", scale)
        if zero_point is None:
            self.zero_point = None
        else:
            self.register_buffer("zero_point", zero_point)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.values.shape

    @property
    def nbytes(self) -> int:
        """The bytes of values, scale and zero_point."""
        return sum(array.nbytes for _, array in self.named_buffers())

    def dequantize(self, rows=...) -> np.ndarray:
        """The array as float32, or the rows that an index of the first axis selects: a slice, an integer, or integers."""
        values = self.values[rows].astype(np.float32)
        if self.zero_point is not None:
            values -= np.broadcast_to(self.zero_point, self.shape)[rows]
        values *= np.broadcast_to(self.scale, self.shape)[rows]
        return values


def quantize_array(x, axis: int | None = None, symmetric: bool = True, limits: tuple[float, float] | None = None) -> Quantized:
    """x, an array, Tensor or lists, as int8: no value is off by more than half a step, which is the scale.

    axis: each index of this axis has its own scale; None: there is one. symmetric: integers from -127 to 127, and the scale is
    max |x| / 127. Else from -128 to 127, and the scale is the range of x, 0 included, / 255. limits: (low, high) for the
    smallest and the largest of x; values outside become the nearest integer.
    Raises: ValueError that contains the value and its index if x, as float32, is not finite; that contains the axis and the
    shape if there is no such axis; that contains the limits if they are not finite, or low > high, or there is an axis.
    """
    x = _finite(x)
    if axis is not None and not -x.ndim <= axis < x.ndim:
        raise ValueError(f"there is no axis {axis} in shape {x.shape}")
    shared = tuple(range(x.ndim) if axis is None else set(range(x.ndim)) - {axis % x.ndim})
    low, high = x.min(shared, initial=0, keepdims=True), x.max(shared, initial=0, keepdims=True)
    if limits is not None:
        end = float(np.finfo(np.float32).max)
        if not -end <= limits[0] <= limits[1] <= end or axis is not None:
            raise ValueError(f"limits must be finite, low ≤ high, and without an axis: {tuple(limits)}, axis {axis}")
        low, high = np.full_like(low, min(limits[0], 0)), np.full_like(high, max(limits[1], 0))
    low, high = low.astype(np.float64), high.astype(np.float64)  # their difference may overflow in float32
    step = np.maximum(-low, high) / 127 if symmetric else (high - low) / 255
    scale = np.maximum(step, np.finfo(np.float32).smallest_normal).astype(np.float32)  # not 0, even if all of x is
    with np.errstate(over="ignore"):  # of what is far beyond the limits
        values = np.divide(x, scale, out=np.empty(x.shape, np.float32))
    np.rint(values, out=values)
    if symmetric:
        return Quantized(np.clip(values, -127, 127, out=values).astype(np.int8), scale)
    zero_point = np.clip(np.rint(-128 - low / scale), -128, 127).astype(np.int8)
    values += zero_point
    return Quantized(np.clip(values, -128, 127, out=values).astype(np.int8), scale, zero_point)


def _finite(x) -> np.ndarray:
    """x as float32."""
    with np.errstate(over="ignore"):
        x = np.asarray(Tensor(x).data, np.float32)
    if not (finite := np.isfinite(x)).all():
        index = tuple(map(int, np.argwhere(~finite)[0]))
        raise ValueError(f"only finite numbers can be quantized, not {x[index]} at {index}")
    return x


# 17.2 Observer


class Observer:
    """The range of the values in many batches, all of them or without the outermost ones, in memory that does not grow.

    Counts the values that agree in the upper 16 bits of a float32, which are sign, exponent and 7 digits: that is right to 1%.
    """

    def __init__(self, percentile: float = 100.0):
        """Raises: ValueError that contains percentile unless it is above 50 and at most 100."""
        if not 50 < percentile <= 100:
            raise ValueError(f"percentile must be above 50 and at most 100, not {percentile!r}")
        self.percentile, self._low, self._high = percentile, math.inf, -math.inf
        self._counts = np.zeros(1 << 16, np.int64)

    def observe(self, x) -> None:
        """Counts the values of a batch of any shape. Raises: ValueError as quantize_array; such a batch does not count."""
        x = _finite(x)
        bits = x.view(np.uint32) >> 16
        self._counts += np.bincount(bits.ravel(), minlength=1 << 16)
        self._low, self._high = float(x.min(initial=self._low)), float(x.max(initial=self._high))

    def limits(self) -> tuple[float, float]:
        """(low, high): `percentile` % of all values are at most high, and as many at least low. 100 gives both exactly.

        Raises: RuntimeError that contains "observe" if there was no value.
        """
        if self._low > self._high:
            raise RuntimeError("limits() needs an observe() before it")
        if self.percentile == 100:
            return self._low, self._high
        upwards = np.r_[0xFFFF:0x7FFF:-1, 0:0x8000]  # the first bit is the sign, and negative floats count downwards
        floats = (upwards.astype(np.uint32) << 16).view(np.float32)
        counts = self._counts[upwards]
        needed = round(self.percentile * counts.sum() / 100, 6)  # 99.9 % of 41,000 are 40,959, not a bit more
        high = floats[np.searchsorted(np.cumsum(counts), needed)]
        low = floats[::-1][np.searchsorted(np.cumsum(counts[::-1]), needed)]
        return float(low), float(high)


# 17.3 Products of int8

EXACT = 1024  # given: a sum of this many products of int8 is at most 2²⁴, and float32 holds every integer up to there


def integer_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a bᵀ, exact: int8 (n, k) and (m, k) → int64 (n, m). NumPy's int8 @ int8 wraps, and uses no BLAS.

    Raises: TypeError that contains the dtypes unless both are int8; ValueError that contains the shapes unless they fit.
    """
    if a.dtype != np.int8 or b.dtype != np.int8:
        raise TypeError(f"integer_product takes int8, not {a.dtype} and {b.dtype}")
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"integer_product takes (n, k) and (m, k), not {a.shape} and {b.shape}")
    total = np.zeros((len(a), len(b)), np.int64)
    for start in range(0, a.shape[1], EXACT):
        part = np.s_[:, start : start + EXACT]
        total += (a[part].astype(np.float32) @ b[part].astype(np.float32).T).astype(np.int64)
    return total


# 17.4 Layers


def _blocks(weight) -> Iterator[slice]:
    """The rows of a weight, BLOCK bytes of float32 after another."""
    step = max(1, BLOCK // max(1, 4 * math.prod(weight.shape[1:])))
    return (slice(start, start + step) for start in range(0, weight.shape[0], step))


def _product(rows: np.ndarray, weight) -> np.ndarray:
    """rows (n, in) → (n, out), float32 or float64, for a weight (out, …) of in = … values a row."""
    y = np.empty((len(rows), weight.shape[0]), np.result_type(rows, np.float32))
    for block in _blocks(weight):
        floats = weight.dequantize(block)
        y[:, block] = rows @ floats.reshape(len(floats), -1).T
    return y


def _quantized_product(x: Quantized, weight: Quantized) -> np.ndarray:
    """x (…, in), integers q with a scale s and a zero point z; rows w with scales t → s t (Σ q w - z Σ w), float64 (n, out)."""
    rows, zero_point = x.values.reshape(math.prod(x.shape[:-1]), x.shape[-1]), int(x.zero_point.item())
    y = np.empty((len(rows), weight.shape[0]))
    for block in _blocks(weight):
        values = weight.values[block]
        y[:, block] = integer_product(rows, values) - zero_point * values.sum(1, dtype=np.int64)
    return np.multiply(y, x.scale.item() * weight.scale[:, 0].astype(np.float64), out=y)


def _check_integers(weight) -> None:
    if not isinstance(weight, Quantized) or weight.zero_point is not None or weight.scale.shape[1] > 1:
        raise ValueError("int8 inputs need symmetric weights of 8 bits, with one scale or one for each row")


def _result(layer: Module, y: np.ndarray, x: Tensor) -> Tensor:
    """y (…, out) plus the layer's bias, in x's dtype, or in float32 for integers."""
    if layer.bias is not None:
        y += layer.bias.data
    y = y.astype(x.dtype if x.dtype.kind == "f" else np.float32, copy=False)
    result = Tensor._result(type(layer).__name__, y, x)
    if result.requires_grad:
        raise RuntimeError(f"{type(layer).__name__} is for inference and has no gradient: call it under no_grad()")
    return result


class QuantizedLinear(Linear):
    """Linear, for inference: weight is a Quantized or Quantized4 (out_features, in_features), bias a Parameter or None.

    `limits` (2,), a buffer, is (-∞, ∞) at first. With finite ones, which calibrate sets, inputs become int8 too.
    """

    _observer: Observer | None = None  # sees the inputs while calibrate runs

    def __init__(self, weight, bias=None):
        self.out_features, self.in_features = weight.shape
        self.weight, self.bias = weight, None if bias is None else Parameter(bias)
        self.register_buffer("limits", np.array([-np.inf, np.inf], np.float32))

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in_features) → (…, out_features), in x's dtype.

        Raises, as all three: RuntimeError that contains "inference" where a gradient would be recorded. ValueError as Linear;
        with finite limits also as quantize_array, and as calibrate for weights that don't suit.
        """
        if x.shape[-1:] != (self.in_features,):
            raise ValueError(f"QuantizedLinear({self.in_features}, {self.out_features}) got input of shape {x.shape}")
        if self._observer is not None:
            self._observer.observe(x.data)
        if self._observer is None and np.isfinite(self.limits).all():
            _check_integers(self.weight)
            y = _quantized_product(quantize_array(x.data, symmetric=False, limits=self.limits), self.weight)
        else:
            y = _product(x.data.reshape(math.prod(x.shape[:-1]), self.in_features), self.weight)
        return _result(self, y.reshape(*x.shape[:-1], self.out_features), x)


class QuantizedConv2d(Conv2d):
    """Conv2d, for inference: weight is a Quantized or Quantized4 (out, in, kernel_h, kernel_w), bias a Parameter or None."""

    def __init__(self, weight, bias=None, stride: tuple[int, int] = (1, 1), padding: tuple[int, int] = (0, 0)):
        self.weight, self.bias = weight, None if bias is None else Parameter(bias)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, h, w) → (batch, out, out_h, out_w). Raises: ValueError that contains the shapes unless they fit."""
        if x.ndim != 4 or x.shape[1] != self.weight.shape[1]:
            raise ValueError(f"QuantizedConv2d: images of shape {x.shape} and a weight (out, in, h, w) of {self.weight.shape}")
        view = windows(x.data, self.weight.shape[2:], self.stride, self.padding)
        batch, _, out_h, out_w = view.shape[:4]
        columns = view.transpose(0, 2, 3, 1, 4, 5).reshape(batch * out_h * out_w, math.prod(self.weight.shape[1:]))
        y = _product(columns, self.weight).reshape(batch, out_h, out_w, self.weight.shape[0])
        return _result(self, y, x).permute(0, 3, 1, 2)


class QuantizedEmbedding(Embedding):
    """Embedding, for inference: weight is a Quantized or Quantized4 (num_embeddings, embedding_dim)."""

    def __init__(self, weight):
        self.weight = weight

    def forward(self, ids) -> Tensor:
        """ids (…) → float32 (…, embedding_dim). Raises: TypeError and IndexError as Embedding."""
        ids, num = Tensor(ids).data, self.weight.shape[0]
        if ids.size and ids.dtype.kind not in "iu":
            raise TypeError(f"ids must be integers, not {ids.dtype}")
        if (outside := (ids < 0) | (ids >= num)).any():
            index = tuple(map(int, np.argwhere(outside)[0]))
            raise IndexError(f"id {ids[index]} at {index} is out of range: there are {num} embeddings")
        return Tensor(self.weight.dequantize(ids.ravel().astype(np.intp)).reshape(*ids.shape, self.weight.shape[1]))


# 17.5 Whole models


def quantize(model: Module, bits: int = 8) -> Module:
    """A copy of a model, for inference: every Linear, Conv2d and Embedding, by exact type, is exchanged for a quantized layer.

    Their weights have a scale for each row (bits=8) or 32 values (bits=4). Layers that share a Parameter share its Quantized.
    All else is copied; Parameters that are left no longer require gradients. The copy is in eval mode.
    Raises: ValueError that contains bits unless 8 or 4; that contains the weight's name if it is not finite, or if it belongs
    to a layer of a subclass of these types, which may compute something else.
    """
    if bits not in (8, 4):
        raise ValueError(f"bits must be 8 or 4, not {bits!r}")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    weights, memo = {}, {}  # memo: what deepcopy takes for copied already, by id
    for layer in model.modules():
        weight = getattr(layer, "weight", None)
        if isinstance(layer, Linear | Conv2d | Embedding) and isinstance(weight, Parameter):
            key = id(weight)
            if type(layer) not in (Linear, Conv2d, Embedding):
                raise ValueError(
                    f"{names[key]}: a subclass, as accelerate makes them, may compute something else: quantize first"
                )
            if key not in weights:
                try:
                    weights[key] = quantize_array(weight, 0) if bits == 8 else quantize_groups(weight)
                except ValueError as error:
                    raise ValueError(f"{names[key]}: {error}") from None
            memo[id(layer)] = _exchanged(layer, weights[key])
    result = copy.deepcopy(model, memo)
    for parameter in result.parameters():
        parameter.requires_grad, parameter.grad = False, None
    return result.eval()


def _exchanged(layer: Module, weight) -> Module:
    if type(layer) is Linear:
        return QuantizedLinear(weight, layer.bias)
    if type(layer) is Conv2d:
        return QuantizedConv2d(weight, layer.bias, layer.stride, layer.padding)
    return QuantizedEmbedding(weight)


def calibrate(model: Module, batches: Iterable, percentile: float = 100.0) -> None:
    """Calls a quantized model with each batch, and sets the limits of all QuantizedLinear: their inputs are int8 from then on.

    An Observer watches the inputs of each. After an error, all limits are as before.
    Raises: ValueError unless there is such a layer, and all weights are int8 and symmetric, with one scale or one for each row;
    RuntimeError that contains "observe" if no batch reaches one of the layers.
    """
    observers = {layer: Observer(percentile) for layer in model.modules() if isinstance(layer, QuantizedLinear)}
    if not observers:
        raise ValueError("calibrate needs a quantized model: there is no QuantizedLinear")
    for layer in observers:
        _check_integers(layer.weight)
    try:
        for layer, observer in observers.items():
            layer._observer = observer
        for batch in batches:
            model(batch)
    finally:
        for layer in observers:
            layer._observer = None
    limits = [observer.limits() for observer in observers.values()]
    for layer, pair in zip(observers, limits, strict=True):
        layer.limits[...] = pair


# 17.6 Half precision


def half_state(state: dict) -> dict[str, np.ndarray]:
    """A state_dict with its floats as float16, which load_state_dict takes; other arrays are copied.

    Raises: ValueError that contains the name and the value of each finite number that float16 can't hold (from 65,520 on).
    """
    halves, problems = {}, []
    for name, value in state.items():
        array = Tensor(value).data
        with np.errstate(over="ignore"):
            half = array.astype(np.float16) if array.dtype.kind == "f" else array.copy()
        for lost in array[np.isinf(half) & np.isfinite(array)][:1]:
            problems.append(f"{name} holds {lost!s}")
        halves[name] = half
    if problems:
        raise ValueError(f"float16 ends at 65504: {'; '.join(problems)}")
    return halves


# 17.7 Four bits

GROUP = 32  # given: how many values share a scale


def pack(values: np.ndarray) -> np.ndarray:
    """Integers from -8 to 7, (…, n), two to a byte: uint8 (…, ⌈n / 2⌉). Each is stored + 8, the first in the lower four bits.

    An odd number of values is filled up with a 0. Raises: ValueError that contains the first value that is out of range.
    """
    outside = values[(values < -8) | (values > 7)]
    if outside.size:
        raise ValueError(f"four bits hold -8 to 7, not {outside[0]}")
    n = values.shape[-1]
    codes = np.full((*values.shape[:-1], n + n % 2), 8, np.uint8)
    codes[..., :n] = values + 8
    return codes[..., ::2] | codes[..., 1::2] << 4


def unpack(packed: np.ndarray, n: int) -> np.ndarray:
    """The integers that were packed: uint8 (…, ⌈n / 2⌉) → int8 (…, n)."""
    values = np.empty((*packed.shape[:-1], 2 * packed.shape[-1]), np.int8)
    values[..., ::2], values[..., 1::2] = packed & 15, packed >> 4
    values -= 8
    return values[..., :n]


class Quantized4(Module):
    """An array as integers from -7 to 7 times scales: values, packed, uint8 (rows, …), and scale, float16 (rows, groups).

    Both are buffers. A row is all further axes together. Each GROUP of its values has a scale; the last group may be shorter.
    """

    dtype = np.dtype(np.float32)  # given

    def __init__(self, values: np.ndarray, scale: np.ndarray, shape: tuple[int, ...]):
        self.register_buffer("values", values)
        self.register_buffer("scale", scale)
        self.shape = shape

    @property
    def nbytes(self) -> int:
        """The bytes of values and scale."""
        return self.values.nbytes + self.scale.nbytes

    def dequantize(self, rows=...) -> np.ndarray:
        """As Quantized's."""
        n = math.prod(self.shape[1:])
        values = unpack(self.values[rows], n).astype(np.float32)
        values *= np.repeat(self.scale[rows].astype(np.float32), GROUP, -1)[..., :n]
        return values.reshape(*values.shape[:-1], *self.shape[1:])


def quantize_groups(x) -> Quantized4:
    """x (rows, …) as 4 bits: no value is off by more than half a step, its group's max |x| / 7 rounded up to a float16.

    Raises: ValueError as quantize_array; that contains the shape if there are fewer than two axes; that contains a value whose
    step float16 can't hold.
    """
    x = _finite(x)
    if x.ndim < 2:
        raise ValueError(f"four bits need rows, (rows, …), not the shape {x.shape}")
    n = math.prod(x.shape[1:])
    padded = np.zeros((len(x), -(-n // GROUP) * GROUP), np.float32)
    padded[:, :n] = x.reshape(len(x), n)
    groups = padded.reshape(len(x), -(-n // GROUP), GROUP)
    beyond = x[np.abs(x) > 7 * float(np.finfo(np.float16).max)]
    if beyond.size:
        raise ValueError(f"float16 can't hold a seventh of {beyond[0]!s}")
    step = np.abs(groups).max(-1).astype(np.float64) / 7
    scale = step.astype(np.float16)
    np.nextafter(scale, np.float16(np.inf), out=scale, where=scale < step)  # rounded down, the largest would not fit
    groups /= np.where(scale == 0, 1, scale)[..., None]  # a scale of 0: the group is zeros
    values = np.rint(padded[:, :n]).astype(np.int8)
    return Quantized4(pack(values), scale, x.shape)
