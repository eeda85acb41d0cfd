"""Tensor: an n-dimensional array of numbers, and the operations that every later kata is built from."""

import math
import operator
from collections.abc import Callable, Iterator, Sequence

import numpy as np

Dim = int | tuple[int, ...] | None  # given: one axis, several, or all


class Tensor:
    """An n-dimensional array of numbers.

    `data` is the array. `requires_grad` says whether the tensor needs a gradient. After a backward pass, `grad` holds it as an
    array with the data's shape and dtype.
    """

    __array_ufunc__ = None  # given: makes `array + tensor` reach Tensor.__radd__ instead of an array of tensors
    _recorder: Callable | None = None  # given: called as recorder(op, result, parents, attrs) after every operation
    grad: np.ndarray | None = None

    # 02.1 Creation

    def __init__(self, data, requires_grad: bool = False, dtype=None):
        """Wraps `data`. An array, or a Tensor's array, is shared and keeps its dtype.

        Python floats, alone or in lists, become float32, Python ints int64, Python bools bool.
        Raises: TypeError if data is not real numbers; ValueError if lists are ragged.
        """
        raise NotImplementedError("02.1 Tensor.__init__: README.md, 02.1")

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        raise NotImplementedError("02.1 Tensor.shape: README.md, 02.1")

    @property
    def ndim(self) -> int:
        """The number of axes."""
        raise NotImplementedError("02.1 Tensor.ndim: README.md, 02.1")

    @property
    def size(self) -> int:
        """The number of values."""
        raise NotImplementedError("02.1 Tensor.size: README.md, 02.1")

    @property
    def dtype(self) -> np.dtype:
        """The type of the values, such as float32."""
        raise NotImplementedError("02.1 Tensor.dtype: README.md, 02.1")

    def __len__(self) -> int:
        """The length of the first axis. Raises: TypeError if the tensor is 0-d."""
        raise NotImplementedError("02.1 Tensor.__len__: README.md, 02.1")

    def item(self) -> float | int | bool:
        """The only value, as a Python scalar. Raises: ValueError if there are more or none."""
        raise NotImplementedError("02.1 Tensor.item: README.md, 02.1")

    def __bool__(self) -> bool:
        """Whether the only value is not zero. Raises: ValueError if there are more or none: `if x == y` would be a trap."""
        raise NotImplementedError("02.1 Tensor.__bool__: README.md, 02.1")

    def numpy(self) -> np.ndarray:
        """The array itself, not a copy."""
        raise NotImplementedError("02.1 Tensor.numpy: README.md, 02.1")

    def __float__(self) -> float:  # given
        """The only value. Raises: ValueError if there are more or none."""
        return float(self.item())

    def __int__(self) -> int:  # given
        """The only value, without its fraction. Raises: ValueError if there are more or none."""
        return int(self.item())

    def __index__(self) -> int:  # given
        """The value of a 0-d integer tensor, for range and lists. Raises: TypeError for any other tensor."""
        return operator.index(self.data)

    def __format__(self, spec: str) -> str:  # given
        """f"{loss:.4f}" formats the only value; without a spec, a tensor with axes is shown as its repr.

        Raises: TypeError if there is a spec and x does not have exactly one value.
        """
        return format(self.item(), spec) if self.ndim == 0 or (spec and self.size == 1) else object.__format__(self, spec)

    def __array__(self, dtype=None, copy: bool | None = None) -> np.ndarray:  # given
        """The array that NumPy uses for a Tensor, as in np.asarray(x) or plt.plot(x).

        Raises: RuntimeError if a gradient is required: it would be lost silently.
        """
        if self.requires_grad:
            raise RuntimeError("NumPy can't pass on the gradient that this Tensor requires: use its .data if none is needed")
        return np.array(self.data, dtype, copy=copy)

    def __repr__(self) -> str:
        """Tensor([1., 2.]), with the dtype unless it is float32, int64 or bool, and requires_grad=True if set."""
        raise NotImplementedError("02.1 Tensor.__repr__: README.md, 02.1")

    # The seam, which katas 03 to 20 build on.

    @staticmethod
    def _result(op: str, data, *parents: "Tensor", **attrs) -> "Tensor":  # given
        """The Tensor that every operation ends in: wraps data and tells the recorder, if there is one, what was done."""
        result = Tensor(np.asarray(data), any([parent.requires_grad for parent in parents]))
        if Tensor._recorder is not None:
            Tensor._recorder(op, result, parents, attrs)
        return result

    def backward(self, grad: np.ndarray | None = None) -> None:  # given
        """Adds to `.grad` of each tensor with requires_grad=True that this tensor was computed from: kata 07."""
        from katas.autograd import backward

        backward(self, grad)

    __hash__ = object.__hash__  # given: == compares values, so a Tensor is hashed by identity and can be a key in a dict

    # 02.2 Arithmetic: numbers, arrays and tensors, broadcast against each other

    def __add__(self, other) -> "Tensor":
        """self + other.

        Raises, like all arithmetic: ValueError if the shapes don't broadcast; TypeError if other holds no numbers.
        """
        raise NotImplementedError("02.2 Tensor.__add__: README.md, 02.2")

    def __radd__(self, other) -> "Tensor":
        """other + self."""
        raise NotImplementedError("02.2 Tensor.__radd__: README.md, 02.2")

    def __sub__(self, other) -> "Tensor":
        """self - other."""
        raise NotImplementedError("02.2 Tensor.__sub__: README.md, 02.2")

    def __rsub__(self, other) -> "Tensor":
        """other - self."""
        raise NotImplementedError("02.2 Tensor.__rsub__: README.md, 02.2")

    def __mul__(self, other) -> "Tensor":
        """self * other."""
        raise NotImplementedError("02.2 Tensor.__mul__: README.md, 02.2")

    def __rmul__(self, other) -> "Tensor":
        """other * self."""
        raise NotImplementedError("02.2 Tensor.__rmul__: README.md, 02.2")

    def __truediv__(self, other) -> "Tensor":
        """self / other. Integers give float32, so any number can be combined with them."""
        raise NotImplementedError("02.2 Tensor.__truediv__: README.md, 02.2")

    def __rtruediv__(self, other) -> "Tensor":
        """other / self."""
        raise NotImplementedError("02.2 Tensor.__rtruediv__: README.md, 02.2")

    def __neg__(self) -> "Tensor":
        """-self."""
        raise NotImplementedError("02.2 Tensor.__neg__: README.md, 02.2")

    def __pow__(self, exponent: float) -> "Tensor":
        """self ** exponent, a scalar. Integers to a negative or a float power give float32; booleans to any other give int64.

        Raises: TypeError if the exponent is not a scalar; ValueError if it is an integer that the dtype can't hold.
        """
        raise NotImplementedError("02.2 Tensor.__pow__: README.md, 02.2")

    def __eq__(self, other) -> "Tensor":
        """self == other, element by element, as booleans; False everywhere if other holds no numbers."""
        raise NotImplementedError("02.2 Tensor.__eq__: README.md, 02.2")

    def __ne__(self, other) -> "Tensor":
        """self != other."""
        raise NotImplementedError("02.2 Tensor.__ne__: README.md, 02.2")

    def __lt__(self, other) -> "Tensor":
        """self < other. Raises, like <=, > and >=: TypeError if other holds no numbers."""
        raise NotImplementedError("02.2 Tensor.__lt__: README.md, 02.2")

    def __le__(self, other) -> "Tensor":
        """self <= other."""
        raise NotImplementedError("02.2 Tensor.__le__: README.md, 02.2")

    def __gt__(self, other) -> "Tensor":
        """self > other."""
        raise NotImplementedError("02.2 Tensor.__gt__: README.md, 02.2")

    def __ge__(self, other) -> "Tensor":
        """self >= other."""
        raise NotImplementedError("02.2 Tensor.__ge__: README.md, 02.2")

    # 02.3 Functions of every element

    def exp(self) -> "Tensor":
        """e to the power of each element."""
        raise NotImplementedError("02.3 Tensor.exp: README.md, 02.3")

    def log(self) -> "Tensor":
        """The natural logarithm."""
        raise NotImplementedError("02.3 Tensor.log: README.md, 02.3")

    def sqrt(self) -> "Tensor":
        """The square root."""
        raise NotImplementedError("02.3 Tensor.sqrt: README.md, 02.3")

    def tanh(self) -> "Tensor":
        """The hyperbolic tangent, in [-1, 1]."""
        raise NotImplementedError("02.3 Tensor.tanh: README.md, 02.3")

    # 02.4 Shape

    def reshape(self, *shape) -> "Tensor":
        """The same values, row by row, in a new shape; one length may be -1. Takes numbers or one tuple.

        Raises: ValueError if the shape holds a different number of values, or has a length below -1.
        """
        raise NotImplementedError("02.4 Tensor.reshape: README.md, 02.4")

    def permute(self, *dims) -> "Tensor":
        """Axis i of the result is axis dims[i] of this tensor. Takes numbers or one tuple.

        Raises: ValueError unless dims contains each axis once.
        """
        raise NotImplementedError("02.4 Tensor.permute: README.md, 02.4")

    def transpose(self, dim0: int, dim1: int) -> "Tensor":
        """Axes dim0 and dim1 swapped. Raises: ValueError if either does not exist."""
        raise NotImplementedError("02.4 Tensor.transpose: README.md, 02.4")

    @property
    def T(self) -> "Tensor":
        """The last two axes swapped: the transpose of a matrix, or of each in a batch. Raises: ValueError without two."""
        raise NotImplementedError("02.4 Tensor.T: README.md, 02.4")

    def __getitem__(self, index) -> "Tensor":
        """NumPy's indexing; an index, or a part of it, may be a Tensor. Raises: IndexError if it is out of range."""
        raise NotImplementedError("02.4 Tensor.__getitem__: README.md, 02.4")

    def __iter__(self) -> Iterator["Tensor"]:
        """One tensor for each index of the first axis."""
        raise NotImplementedError("02.4 Tensor.__iter__: README.md, 02.4")

    # 02.5 Reductions: dim is one axis, several, or None for all; keepdim leaves them with length 1

    def sum(self, dim: Dim = None, keepdim: bool = False) -> "Tensor":
        """The sum, int64 for integers and booleans.

        Raises, like all reductions: ValueError if an axis does not exist or is given twice; TypeError if it is not an integer.
        """
        raise NotImplementedError("02.5 Tensor.sum: README.md, 02.5")

    def mean(self, dim: Dim = None, keepdim: bool = False) -> "Tensor":
        """The arithmetic mean, float32 for integers. Raises: ValueError if a reduced axis has length 0."""
        raise NotImplementedError("02.5 Tensor.mean: README.md, 02.5")

    def max(self, dim: Dim = None, keepdim: bool = False) -> "Tensor":
        """The largest value. Raises: ValueError if a reduced axis has length 0."""
        raise NotImplementedError("02.5 Tensor.max: README.md, 02.5")

    def var(self, dim: Dim = None, keepdim: bool = False, correction: int = 1) -> "Tensor":
        """The variance: the sum of squared deviations from the mean over n - correction (1: Bessel's).

        Raises: ValueError unless n > correction.
        """
        raise NotImplementedError("02.5 Tensor.var: README.md, 02.5")

    # 02.6 Matrix product

    def __matmul__(self, other) -> "Tensor":
        """self @ other: (..., n, k) @ (..., k, m) → (..., n, m); leading axes are broadcast.

        A vector is a row on the left and a column on the right. Raises: ValueError if the shapes don't fit.
        """
        raise NotImplementedError("02.6 Tensor.__matmul__: README.md, 02.6")

    def __rmatmul__(self, other) -> "Tensor":
        """other @ self."""
        raise NotImplementedError("02.6 Tensor.__rmatmul__: README.md, 02.6")


# 02.1 Creation


def zeros(shape: tuple[int, ...], dtype=np.float32, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros."""
    raise NotImplementedError("02.1 zeros: README.md, 02.1")


def ones(shape: tuple[int, ...], dtype=np.float32, requires_grad: bool = False) -> Tensor:
    """A tensor of ones."""
    raise NotImplementedError("02.1 ones: README.md, 02.1")


def full(shape: tuple[int, ...], value: float, dtype=None, requires_grad: bool = False) -> Tensor:
    """A tensor filled with value. Without a dtype, it has the dtype of Tensor(value)."""
    raise NotImplementedError("02.1 full: README.md, 02.1")


def arange(*bounds: float, dtype=None, requires_grad: bool = False) -> Tensor:
    """Takes stop; start and stop; or all three with step: the numbers from start (0) up to, not including, stop."""
    raise NotImplementedError("02.1 arange: README.md, 02.1")


def randn(shape: tuple[int, ...], rng: np.random.Generator, requires_grad: bool = False) -> Tensor:
    """Standard normal float32 values drawn from rng."""
    raise NotImplementedError("02.1 randn: README.md, 02.1")


# 02.2 Arithmetic


# 02.3 Functions of every element


def maximum(a, b) -> Tensor:
    """The larger of each pair of elements, broadcast; NaN if either is NaN. a or b must be a Tensor."""
    raise NotImplementedError("02.3 maximum: README.md, 02.3")


def where(condition, a, b) -> Tensor:
    """a where the boolean condition (a Tensor or an array) holds, else b, all three broadcast. a or b must be a Tensor.

    Raises: TypeError if the condition is not boolean; ValueError if the shapes don't broadcast.
    """
    raise NotImplementedError("02.3 where: README.md, 02.3")


# 02.4 Shape


def concatenate(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one after another along an existing axis.

    Raises: ValueError if there are none, if another axis differs, or if there is no axis dim.
    """
    raise NotImplementedError("02.4 concatenate: README.md, 02.4")


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of the same shape along a new axis dim. Raises: ValueError if there are none, or if their shapes differ."""
    raise NotImplementedError("02.4 stack: README.md, 02.4")


# 02.5 Reductions


# 02.6 Matrix product
