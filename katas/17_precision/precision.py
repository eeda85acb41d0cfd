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
        raise NotImplementedError("17.1 Quantized.__init__: README.md, 17.1")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        raise NotImplementedError("17.1 Quantized.shape: README.md, 17.1")

    @property
    def nbytes(self) -> int:
        """The bytes of values, scale and zero_point."""
        raise NotImplementedError("17.1 Quantized.nbytes: README.md, 17.1")

    def dequantize(self, rows=...) -> np.ndarray:
        """The array as float32, or the rows that an index of the first axis selects: a slice, an integer, or integers."""
        raise NotImplementedError("17.1 Quantized.dequantize: README.md, 17.1")


def quantize_array(x, axis: int | None = None, symmetric: bool = True, limits: tuple[float, float] | None = None) -> Quantized:
    """x, an array, Tensor or lists, as int8: no value is off by more than half a step, which is the scale.

    axis: each index of this axis has its own scale; None: there is one. symmetric: integers from -127 to 127, and the scale is
    max |x| / 127. Else from -128 to 127, and the scale is the range of x, 0 included, / 255. limits: (low, high) for the
    smallest and the largest of x; values outside become the nearest integer.
    Raises: ValueError that contains the value and its index if x, as float32, is not finite; that contains the axis and the
    shape if there is no such axis; that contains the limits if they are not finite, or low > high, or there is an axis.
    """
    raise NotImplementedError("17.1 quantize_array: README.md, 17.1")


# 17.2 Observer


class Observer:
    """The range of the values in many batches, all of them or without the outermost ones, in memory that does not grow.

    Counts the values that agree in the upper 16 bits of a float32, which are sign, exponent and 7 digits: that is right to 1%.
    """

    def __init__(self, percentile: float = 100.0):
        """Raises: ValueError that contains percentile unless it is above 50 and at most 100."""
        raise NotImplementedError("17.2 Observer.__init__: README.md, 17.2")

    def observe(self, x) -> None:
        """Counts the values of a batch of any shape. Raises: ValueError as quantize_array; such a batch does not count."""
        raise NotImplementedError("17.2 Observer.observe: README.md, 17.2")

    def limits(self) -> tuple[float, float]:
        """(low, high): `percentile` % of all values are at most high, and as many at least low. 100 gives both exactly.

        Raises: RuntimeError that contains "observe" if there was no value.
        """
        raise NotImplementedError("17.2 Observer.limits: README.md, 17.2")


# 17.3 Products of int8

EXACT = 1024  # given: a sum of this many products of int8 is at most 2²⁴, and float32 holds every integer up to there


def integer_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a bᵀ, exact: int8 (n, k) and (m, k) → int64 (n, m). NumPy's int8 @ int8 wraps, and uses no BLAS.

    Raises: TypeError that contains the dtypes unless both are int8; ValueError that contains the shapes unless they fit.
    """
    raise NotImplementedError("17.3 integer_product: README.md, 17.3")


# 17.4 Layers


class QuantizedLinear(Linear):
    """Linear, for inference: weight is a Quantized or Quantized4 (out_features, in_features), bias a Parameter or None.

    `limits` (2,), a buffer, is (-∞, ∞) at first. With finite ones, which calibrate sets, inputs become int8 too.
    """

    def __init__(self, weight, bias=None):
        raise NotImplementedError("17.4 QuantizedLinear.__init__: README.md, 17.4")

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in_features) → (…, out_features), in x's dtype.

        Raises, as all three: RuntimeError that contains "inference" where a gradient would be recorded. ValueError as Linear;
        with finite limits also as quantize_array, and as calibrate for weights that don't suit.
        """
        raise NotImplementedError("17.4 QuantizedLinear.forward: README.md, 17.4")


class QuantizedConv2d(Conv2d):
    """Conv2d, for inference: weight is a Quantized or Quantized4 (out, in, kernel_h, kernel_w), bias a Parameter or None."""

    def __init__(self, weight, bias=None, stride: tuple[int, int] = (1, 1), padding: tuple[int, int] = (0, 0)):
        raise NotImplementedError("17.4 QuantizedConv2d.__init__: README.md, 17.4")

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, h, w) → (batch, out, out_h, out_w). Raises: ValueError that contains the shapes unless they fit."""
        raise NotImplementedError("17.4 QuantizedConv2d.forward: README.md, 17.4")


class QuantizedEmbedding(Embedding):
    """Embedding, for inference: weight is a Quantized or Quantized4 (num_embeddings, embedding_dim)."""

    def __init__(self, weight):
        raise NotImplementedError("17.4 QuantizedEmbedding.__init__: README.md, 17.4")

    def forward(self, ids) -> Tensor:
        """ids (…) → float32 (…, embedding_dim). Raises: TypeError and IndexError as Embedding."""
        raise NotImplementedError("17.4 QuantizedEmbedding.forward: README.md, 17.4")


# 17.5 Whole models


def quantize(model: Module, bits: int = 8) -> Module:
    """A copy of a model, for inference: every Linear, Conv2d and Embedding, by exact type, is exchanged for a quantized layer.

    Their weights have a scale for each row (bits=8) or 32 values (bits=4). Layers that share a Parameter share its Quantized.
    All else is copied; Parameters that are left no longer require gradients. The copy is in eval mode.
    Raises: ValueError that contains bits unless 8 or 4; that contains the weight's name if it is not finite, or if it belongs
    to a layer of a subclass of these types, which may compute something else.
    """
    raise NotImplementedError("17.5 quantize: README.md, 17.5")


def calibrate(model: Module, batches: Iterable, percentile: float = 100.0) -> None:
    """Calls a quantized model with each batch, and sets the limits of all QuantizedLinear: their inputs are int8 from then on.

    An Observer watches the inputs of each. After an error, all limits are as before.
    Raises: ValueError unless there is such a layer, and all weights are int8 and symmetric, with one scale or one for each row;
    RuntimeError that contains "observe" if no batch reaches one of the layers.
    """
    raise NotImplementedError("17.5 calibrate: README.md, 17.5")


# 17.6 Half precision


def half_state(state: dict) -> dict[str, np.ndarray]:
    """A state_dict with its floats as float16, which load_state_dict takes; other arrays are copied.

    Raises: ValueError that contains the name and the value of each finite number that float16 can't hold (from 65,520 on).
    """
    raise NotImplementedError("17.6 half_state: README.md, 17.6")


# 17.7 Four bits

GROUP = 32  # given: how many values share a scale


def pack(values: np.ndarray) -> np.ndarray:
    """Integers from -8 to 7, (…, n), two to a byte: uint8 (…, ⌈n / 2⌉). Each is stored + 8, the first in the lower four bits.

    An odd number of values is filled up with a 0. Raises: ValueError that contains the first value that is out of range.
    """
    raise NotImplementedError("17.7 pack: README.md, 17.7")


def unpack(packed: np.ndarray, n: int) -> np.ndarray:
    """The integers that were packed: uint8 (…, ⌈n / 2⌉) → int8 (…, n)."""
    raise NotImplementedError("17.7 unpack: README.md, 17.7")


class Quantized4(Module):
    """An array as integers from -7 to 7 times scales: values, packed, uint8 (rows, …), and scale, float16 (rows, groups).

    Both are buffers. A row is all further axes together. Each GROUP of its values has a scale; the last group may be shorter.
    """

    dtype = np.dtype(np.float32)  # given

    def __init__(self, values: np.ndarray, scale: np.ndarray, shape: tuple[int, ...]):
        raise NotImplementedError("17.7 Quantized4.__init__: README.md, 17.7")

    @property
    def nbytes(self) -> int:
        """The bytes of values and scale."""
        raise NotImplementedError("17.7 Quantized4.nbytes: README.md, 17.7")

    def dequantize(self, rows=...) -> np.ndarray:
        """As Quantized's."""
        raise NotImplementedError("17.7 Quantized4.dequantize: README.md, 17.7")


def quantize_groups(x) -> Quantized4:
    """x (rows, …) as 4 bits: no value is off by more than half a step, its group's max |x| / 7 rounded up to a float16.

    Raises: ValueError as quantize_array; that contains the shape if there are fewer than two axes; that contains a value whose
    step float16 can't hold.
    """
    raise NotImplementedError("17.7 quantize_groups: README.md, 17.7")
