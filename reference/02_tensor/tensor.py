"""Tensor: an n-dimensional array of numbers, and the operations from which every later kata is built."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

Dim = int | tuple[int, ...] | None  # given: one axis, several, or all


class Tensor:
    """An n-dimensional array of numbers.

    `data` is the array; `requires_grad` says that a gradient is wanted, and `grad`, an array of the data's shape and dtype,
    holds it once a backward has run.
    """

    __array_ufunc__ = None  # given: makes `array + tensor` reach Tensor.__radd__ instead of an array of tensors
    _recorder: Callable | None = None  # given: called as recorder(op, result, parents, attrs) after every operation
    grad: np.ndarray | None = None

    # 02.1 Creation

    def __init__(self, data, requires_grad: bool = False, dtype=None):
        """Wraps numbers: an array, or that of a Tensor, is shared and keeps its dtype; of lists, floats become float32.

        Integers in lists become int64, booleans bool.
        Raises: TypeError if data are not real numbers; ValueError if lists are ragged.
        """
        if isinstance(data, Tensor):
            data = data.data
        array = np.asarray(data, dtype)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"a Tensor holds booleans, integers or floats, not {array.dtype}: {data!r}")
        if dtype is None and not isinstance(data, (np.ndarray, np.generic)) and array.dtype == np.float64:
            array = array.astype(np.float32)
        self.data = array
        self.requires_grad = requires_grad

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """The number of values."""
        return self.data.size

    @property
    def dtype(self) -> np.dtype:
        """The type of the values, such as float32."""
        return self.data.dtype

    def __len__(self) -> int:
        """The length of the first axis. Raises: TypeError if there is none."""
        return len(self.data)

    def item(self) -> float | int | bool:
        """The only value, as a Python number. Raises: ValueError if there are more or none."""
        if self.size != 1:
            raise ValueError(f"item() needs exactly one value, but the shape is {self.shape}")
        return self.data.item()

    def __bool__(self) -> bool:
        """Whether the only value is not zero. Raises: ValueError if there are more or none: `if x == y` would be a trap."""
        return bool(self.item())

    def numpy(self) -> np.ndarray:
        """The array itself, not a copy."""
        return self.data

    def __repr__(self) -> str:
        """Tensor([1., 2.]), with the dtype unless float32, int64 or bool, and with requires_grad=True if so."""
        values = np.array2string(self.data, separator=", ", prefix="Tensor(")
        dtype = "" if self.dtype in (np.float32, np.int64, np.bool_) else f", dtype={self.dtype}"
        return f"Tensor({values}{dtype}{', requires_grad=True' if self.requires_grad else ''})"

    # The seam, which katas 03 to 20 build on.

    @staticmethod
    def _result(op: str, data, *parents: "Tensor", **attrs) -> "Tensor":  # given
        """The Tensor in which every operation ends: wraps data and tells the recorder, if there is one, what was done."""
        result = Tensor(np.asarray(data), any([parent.requires_grad for parent in parents]))
        if Tensor._recorder is not None:
            Tensor._recorder(op, result, parents, attrs)
        return result

    def backward(self, grad: np.ndarray | None = None) -> None:  # given
        """Adds to `.grad` of every tensor with requires_grad=True that this one was computed from: kata 07."""
        from katas.autograd import backward

        backward(self, grad)

    __hash__ = object.__hash__  # given: == compares values, so that a key in a dict needs another meaning of "the same"

    # 02.2 Arithmetic: numbers, arrays and tensors, broadcast against each other

    def __add__(self, other) -> "Tensor":
        """self + other.

        Raises, as all arithmetic: ValueError if the shapes don't broadcast; TypeError if other holds no numbers.
        """
        return _binary("add", np.add, self, other)

    def __radd__(self, other) -> "Tensor":
        """other + self."""
        return _binary("add", np.add, other, self)

    def __sub__(self, other) -> "Tensor":
        """self - other."""
        return _binary("sub", np.subtract, self, other)

    def __rsub__(self, other) -> "Tensor":
        """other - self."""
        return _binary("sub", np.subtract, other, self)

    def __mul__(self, other) -> "Tensor":
        """self * other."""
        return _binary("mul", np.multiply, self, other)

    def __rmul__(self, other) -> "Tensor":
        """other * self."""
        return _binary("mul", np.multiply, other, self)

    def __truediv__(self, other) -> "Tensor":
        """self / other; of integers float32."""
        return _binary("div", np.divide, _floating(self), other)

    def __rtruediv__(self, other) -> "Tensor":
        """other / self."""
        return _binary("div", np.divide, other, _floating(self))

    def __neg__(self) -> "Tensor":
        """-self."""
        return Tensor._result("neg", -self.data, self)

    def __pow__(self, exponent: float) -> "Tensor":
        """self ** exponent, a Python number. Integers to a negative or a float power give float32.

        Raises: TypeError if the exponent is anything else.
        """
        if not isinstance(exponent, int | float):
            raise TypeError(f"the exponent must be a Python number, not {exponent!r}")
        base = self if isinstance(exponent, int) and exponent >= 0 else _floating(self)
        exponent = exponent if isinstance(exponent, int) else float(exponent)  # a NumPy scalar would promote the dtype
        return Tensor._result("pow", base.data**exponent, base, exponent=exponent)

    def __eq__(self, other) -> "Tensor":
        """self == other, element by element, as booleans."""
        return _compare(np.equal, self, other)

    def __ne__(self, other) -> "Tensor":
        """self != other."""
        return _compare(np.not_equal, self, other)

    def __lt__(self, other) -> "Tensor":
        """self < other."""
        return _compare(np.less, self, other)

    def __le__(self, other) -> "Tensor":
        """self <= other."""
        return _compare(np.less_equal, self, other)

    def __gt__(self, other) -> "Tensor":
        """self > other."""
        return _compare(np.greater, self, other)

    def __ge__(self, other) -> "Tensor":
        """self >= other."""
        return _compare(np.greater_equal, self, other)

    # 02.3 Functions of every element

    def exp(self) -> "Tensor":
        """e to the power of each element."""
        return _unary("exp", np.exp, self)

    def log(self) -> "Tensor":
        """The natural logarithm."""
        return _unary("log", np.log, self)

    def sqrt(self) -> "Tensor":
        """The square root."""
        return _unary("sqrt", np.sqrt, self)

    def tanh(self) -> "Tensor":
        """The hyperbolic tangent, in [-1, 1]."""
        return _unary("tanh", np.tanh, self)

    # 02.4 Shape

    def reshape(self, *shape) -> "Tensor":
        """The same values, row by row, in another shape; one length may be -1. Numbers or one tuple.

        Raises: ValueError if the shape holds another number of values.
        """
        shape = _numbers(shape)
        try:
            data = self.data.reshape(shape)
        except ValueError:
            raise ValueError(f"a tensor of shape {self.shape} can't be reshaped to {shape}") from None
        return Tensor._result("reshape", data, self, shape=shape)

    def permute(self, *dims) -> "Tensor":
        """Axis i of the result is axis dims[i] of this tensor. Numbers or one tuple.

        Raises: ValueError unless dims names each axis once.
        """
        dims = _numbers(dims)
        if sorted(dim % self.ndim if -self.ndim <= dim < self.ndim else dim for dim in dims) != list(range(self.ndim)):
            raise ValueError(f"permute{dims} must name each axis of shape {self.shape} once")
        return Tensor._result("permute", self.data.transpose(dims), self, dims=dims)

    def transpose(self, dim0: int, dim1: int) -> "Tensor":
        """Axes dim0 and dim1 swapped. Raises: ValueError if either does not exist."""
        order = list(range(self.ndim))
        for dim in (dim0, dim1):
            if not -self.ndim <= dim < self.ndim:
                raise ValueError(f"there is no axis {dim} in shape {self.shape}")
        order[dim0], order[dim1] = order[dim1], order[dim0]
        return self.permute(*order)

    @property
    def T(self) -> "Tensor":
        """The last two axes swapped: the transpose of a matrix, or of each in a batch. Raises: ValueError without two."""
        if self.ndim < 2:
            raise ValueError(f"T needs two axes, but the shape is {self.shape}")
        return self.transpose(-2, -1)

    def __getitem__(self, index) -> "Tensor":
        """NumPy's indexing; an index, or a part of it, may be a Tensor. Raises: IndexError if it is out of range."""
        parts = index if isinstance(index, tuple) else (index,)
        arrays = tuple(part.data if isinstance(part, Tensor) else part for part in parts)
        return Tensor._result("getitem", self.data[arrays], self, index=arrays)

    def __iter__(self) -> Iterator["Tensor"]:
        """One tensor for each index of the first axis."""
        return (self[i] for i in range(len(self)))

    # 02.5 Reductions: dim is one axis, several, or None for all; keepdim leaves them with length 1

    def sum(self, dim: Dim = None, keepdim: bool = False) -> "Tensor":
        """The sum. Raises, as all reductions: ValueError if an axis does not exist or stands twice."""
        dims = _axes(dim, self.shape)
        return Tensor._result("sum", self.data.sum(dims, keepdims=keepdim), self, dim=dims, keepdim=keepdim)

    def mean(self, dim: Dim = None, keepdim: bool = False) -> "Tensor":
        """The arithmetic mean; of integers float32. Raises: ValueError if it is one of no values."""
        count = _count(self.shape, dim)
        if count == 0:
            raise ValueError(f"the mean of no values: shape {self.shape}, dim {dim}")
        return _floating(self).sum(dim, keepdim) / count

    def max(self, dim: Dim = None, keepdim: bool = False) -> "Tensor":
        """The largest value. Raises: ValueError if it is one of no values."""
        if _count(self.shape, dim) == 0:
            raise ValueError(f"the maximum of no values: shape {self.shape}, dim {dim}")
        dims = _axes(dim, self.shape)
        return Tensor._result("max", self.data.max(dims, keepdims=keepdim), self, dim=dims, keepdim=keepdim)

    def var(self, dim: Dim = None, keepdim: bool = False, correction: int = 1) -> "Tensor":
        """The variance: the sum of squared deviations from the mean over n - correction (1: Bessel's).

        Raises: ValueError unless n > correction.
        """
        count = _count(self.shape, dim)
        if count <= correction:
            raise ValueError(
                f"the variance of n = {count} values with correction = {correction} would divide by n - correction"
            )
        deviation = self - self.mean(dim, keepdim=True)
        return (deviation * deviation).sum(dim, keepdim) / (count - correction)

    # 02.6 Matrix product

    def __matmul__(self, other) -> "Tensor":
        """self @ other: (..., n, k) @ (..., k, m) → (..., n, m); leading axes are broadcast.

        A vector is a row on the left and a column on the right. Raises: ValueError if the shapes don't fit.
        """
        return _matmul(self, other)

    def __rmatmul__(self, other) -> "Tensor":
        """other @ self."""
        return _matmul(other, self)


# 02.1 Creation


def zeros(shape: tuple[int, ...], dtype=np.float32, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros."""
    return Tensor(np.zeros(shape, dtype), requires_grad)


def ones(shape: tuple[int, ...], dtype=np.float32, requires_grad: bool = False) -> Tensor:
    """A tensor of ones."""
    return Tensor(np.ones(shape, dtype), requires_grad)


def full(shape: tuple[int, ...], value: float, dtype=None, requires_grad: bool = False) -> Tensor:
    """A tensor of equal values: float32 of a float, int64 of an integer, unless dtype says otherwise."""
    return Tensor(np.full(shape, value, dtype or Tensor(value).dtype), requires_grad)


def arange(*bounds: float, dtype=None, requires_grad: bool = False) -> Tensor:
    """stop, or start and stop, or start, stop and step: the numbers from start (0) up to, not including, stop."""
    return Tensor(np.arange(*bounds, dtype=dtype or Tensor(bounds).dtype), requires_grad)


def randn(shape: tuple[int, ...], rng: np.random.Generator, requires_grad: bool = False) -> Tensor:
    """Standard normal float32 values drawn from rng."""
    return Tensor(rng.standard_normal(shape, np.float32), requires_grad)


# 02.2 Arithmetic


def _pair(a, b) -> tuple[Tensor, Tensor]:
    """Two operands as tensors of fitting dtypes, at least one of them a Tensor.

    A number takes the tensor's dtype (a float with integers float32); integers beside floats take the floats'.
    """
    if not isinstance(a, Tensor):
        return _operand(a, b), b
    b = _operand(b, a)
    left, right = a.data.dtype, b.data.dtype
    if left.kind != right.kind:
        if left.kind == "f":
            b = Tensor(b.data.astype(left))
        elif right.kind == "f":
            a = Tensor(a.data.astype(right))
    return a, b


def _operand(value, beside: Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (int, float, np.number)):
        whole, dtype = isinstance(value, (int, np.integer)), beside.data.dtype
        if dtype.kind == "f" or (whole and dtype.kind in "iu"):
            return Tensor(np.asarray(value, dtype))
        return Tensor(np.asarray(value, np.int64 if whole else np.float32))
    if isinstance(value, np.ndarray):
        return Tensor(value)
    raise TypeError(f"expected a number, an array or a Tensor, not {value!r}")


def _binary(op: str, ufunc: np.ufunc, a, b) -> Tensor:
    a, b = _pair(a, b)
    return Tensor._result(op, ufunc(a.data, b.data), a, b)


def _compare(ufunc: np.ufunc, a: Tensor, b) -> Tensor:
    return Tensor(ufunc(a.data, _operand(b, a).data))


# 02.3 Functions of every element


def _floating(x):
    """x, as float32 if it holds integers or booleans."""
    return x if x.data.dtype.kind == "f" else Tensor(x.data.astype(np.float32))


def _unary(op: str, ufunc: np.ufunc, x: Tensor) -> Tensor:
    x = _floating(x)
    return Tensor._result(op, ufunc(x.data), x)


def maximum(a, b) -> Tensor:
    """The larger of each pair of elements, broadcast; NaN if either is. One of them must be a Tensor."""
    return _binary("maximum", np.maximum, a, b)


def where(condition, a, b) -> Tensor:
    """a where the boolean condition (a Tensor or an array) holds, else b, all three broadcast. a or b must be a Tensor.

    Raises: TypeError if the condition is not boolean; ValueError if the shapes don't broadcast.
    """
    condition = Tensor(condition).data
    if condition.dtype != np.bool_:
        raise TypeError(f"the condition must be boolean, not {condition.dtype}")
    a, b = _pair(a, b)
    return Tensor._result("where", np.where(condition, a.data, b.data), a, b, condition=condition)


# 02.4 Shape


def _numbers(values: tuple) -> tuple[int, ...]:
    """f(2, 3) and f((2, 3)) are the same."""
    return tuple(values[0]) if len(values) == 1 and isinstance(values[0], tuple | list) else values


def concatenate(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one after another along an axis they have.

    Raises: ValueError if there are none, if another axis differs, or if there is no axis dim.
    """
    shapes = [tensor.shape for tensor in tensors]
    try:
        floats = [tensor.dtype for tensor in tensors if tensor.dtype.kind == "f"]
        dtype = np.result_type(*(floats or [tensor.dtype for tensor in tensors]))
        data = np.concatenate([tensor.data for tensor in tensors], dim, dtype=dtype)
    except ValueError as error:
        raise ValueError(f"can't concatenate shapes {shapes} along axis {dim}: {error}") from None
    return Tensor._result("concatenate", data, *tensors, dim=dim)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new axis dim. Raises: ValueError if there are none, or if their shapes differ."""
    shapes = {tensor.shape for tensor in tensors}
    if len(shapes) != 1:
        raise ValueError(f"stack needs tensors of one shape, not of {sorted(shapes)}")
    (shape,) = shapes
    if not -len(shape) - 1 <= dim <= len(shape):
        raise ValueError(f"there is no place {dim} for a new axis in shape {shape}")
    dim %= len(shape) + 1
    return concatenate([tensor.reshape(*shape[:dim], 1, *shape[dim:]) for tensor in tensors], dim)


# 02.5 Reductions


def _axes(dim: Dim, shape: tuple[int, ...]) -> tuple[int, ...]:
    """dim as a tuple of axes counted from the front."""
    if dim is None:
        return tuple(range(len(shape)))
    axes = (dim,) if isinstance(dim, int) else tuple(dim)
    for axis in axes:
        if not -len(shape) <= axis < len(shape):
            raise ValueError(f"there is no axis {axis} in shape {shape}")
    axes = tuple(axis % len(shape) for axis in axes)
    if len(set(axes)) < len(axes):
        raise ValueError(f"dim {dim} names an axis of shape {shape} twice")
    return axes


def _count(shape: tuple[int, ...], dim: Dim) -> int:
    return math.prod([shape[axis] for axis in _axes(dim, shape)])


# 02.6 Matrix product


def _matmul(a, b) -> Tensor:
    a, b = _pair(a, b)
    try:
        data = a.data @ b.data
    except ValueError:
        raise ValueError(f"{a.shape} @ {b.shape}: the last axis left must be as long as the second to last right") from None
    return Tensor._result("matmul", data, a, b)
