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
        """The length of the first axis. Raises: TypeError if the tensor is 0-d."""
        return len(self.data)

    def item(self) -> float | int | bool:
        """The only value, as a Python scalar. Raises: ValueError if there are more or none."""
        if self.size != 1:
            raise ValueError(f"item() needs exactly one value, but the shape is {self.shape}")
        return self.data.item()

    def __bool__(self) -> bool:
        """Whether the only value is not zero. Raises: ValueError if there are more or none: `if x == y` would be a trap."""
        return bool(self.item())

    def numpy(self) -> np.ndarray:
        """The array itself, not a copy."""
        return self.data

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
        values = np.array2string(self.data, separator=", ", prefix="Tensor(")
        dtype = "" if self.dtype in (np.float32, np.int64, np.bool_) else f", dtype={self.dtype}"
        return f"Tensor({values}{dtype}{', requires_grad=True' if self.requires_grad else ''})"

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
        """self / other. Integers give float32, so any number can be combined with them."""
        return _divide(self, other)

    def __rtruediv__(self, other) -> "Tensor":
        """other / self."""
        return _divide(other, self)

    def __neg__(self) -> "Tensor":
        """-self."""
        return Tensor._result("neg", -self.data, self)

    def __pow__(self, exponent: float) -> "Tensor":
        """self ** exponent, a scalar. Integers to a negative or a float power give float32; booleans to any other give int64.

        Raises: TypeError if the exponent is not a scalar; ValueError if it is an integer that the dtype can't hold.
        """
        if not isinstance(exponent, _NUMBER):
            raise TypeError(f"the exponent must be a number, not {exponent!r}")
        exponent = _bare(exponent)
        base = self if isinstance(exponent, int) and exponent >= 0 else _floating(self)
        if base.data.dtype.kind == "b":
            base = Tensor(base.data.astype(np.int64))  # of booleans NumPy would make int8
        try:
            return Tensor._result("pow", base.data**exponent, base, exponent=exponent)
        except OverflowError:
            raise _misfit(exponent, base.dtype) from None

    def __eq__(self, other) -> "Tensor":
        """self == other, element by element, as booleans; False everywhere if other holds no numbers."""
        return _compare(operator.eq, self, other)

    def __ne__(self, other) -> "Tensor":
        """self != other."""
        return _compare(operator.ne, self, other)

    def __lt__(self, other) -> "Tensor":
        """self < other. Raises, like <=, > and >=: TypeError if other holds no numbers."""
        return _order(operator.lt, self, other)

    def __le__(self, other) -> "Tensor":
        """self <= other."""
        return _order(operator.le, self, other)

    def __gt__(self, other) -> "Tensor":
        """self > other."""
        return _order(operator.gt, self, other)

    def __ge__(self, other) -> "Tensor":
        """self >= other."""
        return _order(operator.ge, self, other)

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
        """The same values, row by row, in a new shape; one length may be -1. Takes numbers or one tuple.

        Raises: ValueError if the shape holds a different number of values, or has a length below -1.
        """
        shape = _numbers(shape)
        try:
            data = self.data.reshape(shape)
            if data.shape != shape and min(shape) < -1:  # which NumPy takes for -1
                raise ValueError
        except ValueError:
            raise ValueError(f"a tensor of shape {self.shape} can't be reshaped to {shape}") from None
        return Tensor._result("reshape", data, self, shape=shape)

    def permute(self, *dims) -> "Tensor":
        """Axis i of the result is axis dims[i] of this tensor. Takes numbers or one tuple.

        Raises: ValueError unless dims contains each axis once.
        """
        dims = _numbers(dims)
        if sorted(dim % self.ndim if -self.ndim <= dim < self.ndim else dim for dim in dims) != list(range(self.ndim)):
            raise ValueError(f"permute{dims} must name each axis of shape {self.shape} once")
        return Tensor._result("permute", self.data.transpose(dims), self, dims=dims)

    def transpose(self, dim0: int, dim1: int) -> "Tensor":
        """Axes dim0 and dim1 swapped. Raises: ValueError if either does not exist."""
        order = list(range(self.ndim))
        dim0, dim1 = _axis(dim0, self.shape), _axis(dim1, self.shape)
        order[dim0], order[dim1] = dim1, dim0
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
        """The sum, int64 for integers and booleans.

        Raises, like all reductions: ValueError if an axis does not exist or is given twice; TypeError if it is not an integer.
        """
        return _narrowed(_sum(self, dim, keepdim), self)

    def mean(self, dim: Dim = None, keepdim: bool = False) -> "Tensor":
        """The arithmetic mean, float32 for integers. Raises: ValueError if a reduced axis has length 0."""
        count = _count(self.shape, dim)
        if count == 0:
            raise ValueError(f"the mean of no values: shape {self.shape}, dim {dim}")
        return _narrowed(_sum(_floating(self), dim, keepdim) / count, self)

    def max(self, dim: Dim = None, keepdim: bool = False) -> "Tensor":
        """The largest value. Raises: ValueError if a reduced axis has length 0."""
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
        x = self * Tensor(1.0) if self.dtype == _HALF else self  # squares of float16 would overflow
        deviation = x - x.mean(dim, keepdim=True)
        return _narrowed((deviation * deviation).sum(dim, keepdim) / (count - correction), self)

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
    """A tensor filled with value. Without a dtype, it has the dtype of Tensor(value)."""
    return Tensor(np.full(shape, value, dtype or Tensor(value).dtype), requires_grad)


def arange(*bounds: float, dtype=None, requires_grad: bool = False) -> Tensor:
    """Takes stop; start and stop; or all three with step: the numbers from start (0) up to, not including, stop."""
    return Tensor(np.arange(*bounds, dtype=dtype or Tensor(bounds).dtype), requires_grad)


def randn(shape: tuple[int, ...], rng: np.random.Generator, requires_grad: bool = False) -> Tensor:
    """Standard normal float32 values drawn from rng."""
    return Tensor(rng.standard_normal(shape, np.float32), requires_grad)


# 02.2 Arithmetic


def _pair(a, b) -> tuple[Tensor, Tensor]:
    """Two operands, at least one of them a Tensor, as tensors with compatible dtypes.

    A scalar takes the tensor's dtype (a float with integers gives float32); integers beside floats take the floats' dtype.
    """
    if not isinstance(a, Tensor):
        a = _operand(a, b)
    elif not isinstance(b, Tensor):
        b = _operand(b, a)
    left, right = a.data.dtype, b.data.dtype
    if left.kind != right.kind:
        if left.kind == "f":
            b = Tensor(b.data.astype(left))
        elif right.kind == "f":
            a = Tensor(a.data.astype(right))
    return a, b


_NUMBER = (float, int, np.floating, np.integer, np.bool_)


def _operand(value, beside) -> Tensor:
    if not isinstance(beside, Tensor):
        raise TypeError(f"one of the operands must be a Tensor: {value!r}, {beside!r}")
    if isinstance(value, _NUMBER):
        number, dtype = _bare(value), beside.data.dtype
        if dtype.kind != "f" and not isinstance(number, bool):
            if not isinstance(number, int):
                dtype = np.float32
            elif dtype.kind == "b":
                dtype = np.int64
        try:
            return Tensor(np.asarray(number, dtype))
        except OverflowError:
            raise _misfit(number, dtype) from None
    if isinstance(value, np.ndarray):
        return Tensor(value)
    raise TypeError(f"expected a number, an array or a Tensor, not {value!r}")


def _misfit(number: int, dtype) -> ValueError:
    return ValueError(f"{number} does not fit into {np.dtype(dtype)}, the dtype of the tensor beside it")


def _bare(value):
    """The array of a Tensor, and a Python scalar for a NumPy scalar, which would promote the dtype of arrays."""
    if isinstance(value, Tensor):
        return value.data
    return value.item() if isinstance(value, np.generic) else value


def _binary(op: str, ufunc: np.ufunc, a, b) -> Tensor:
    a, b = _pair(a, b)
    return Tensor._result(op, ufunc(a.data, b.data), a, b)


def _compare(op: Callable, x: Tensor, other) -> Tensor:
    other = _bare(other)
    try:
        return Tensor(op(x.data, other))
    except OverflowError:  # an integer that NumPy has no place for
        return Tensor(op(x.data, math.inf if other > 0 else -math.inf))


def _order(op: Callable, x: Tensor, other) -> Tensor:
    """An ordering comparison. other must hold numbers: NumPy would compare even None with an array of no values."""
    return _compare(op, x, other if isinstance(other, (Tensor, np.ndarray, _NUMBER)) else Tensor(other))


def _divide(a, b) -> Tensor:
    if not isinstance(a, Tensor) and isinstance(a, _NUMBER):
        b = _floating(b)
    elif not isinstance(b, Tensor) and isinstance(b, _NUMBER):
        a = _floating(a)
    a, b = _pair(a, b)
    if a.data.dtype.kind != "f":
        a, b = _floating(a), _floating(b)
    return Tensor._result("div", np.divide(a.data, b.data), a, b)


# 02.3 Functions of every element


def _floating(x):
    """x, as float32 if it holds integers or booleans."""
    return x if x.data.dtype.kind == "f" else Tensor(x.data.astype(np.float32))


def _unary(op: str, ufunc: np.ufunc, x: Tensor) -> Tensor:
    x = _floating(x)
    return Tensor._result(op, ufunc(x.data), x)


def maximum(a, b) -> Tensor:
    """The larger of each pair of elements, broadcast; NaN if either is NaN. a or b must be a Tensor."""
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
    """The tensors one after another along an existing axis.

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
    """Tensors of the same shape along a new axis dim. Raises: ValueError if there are none, or if their shapes differ."""
    shapes = {tensor.shape for tensor in tensors}
    if len(shapes) != 1:
        raise ValueError(f"stack needs tensors of one shape, not of {sorted(shapes)}")
    (shape,) = shapes
    dim = _axis(dim, (*shape, 1))  # one more than they have
    return concatenate([tensor.reshape(*shape[:dim], 1, *shape[dim:]) for tensor in tensors], dim)


# 02.5 Reductions


def _axis(axis: int, shape: tuple[int, ...]) -> int:
    """An axis counted from the front."""
    if isinstance(axis, (bool, np.bool_)):
        raise TypeError(f"an axis is an integer, not {axis!r}")
    axis = operator.index(axis)
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"there is no axis {axis} in shape {shape}")
    return axis % len(shape)


def _axes(dim: Dim, shape: tuple[int, ...]) -> tuple[int, ...]:
    """dim as a tuple of axes counted from the front."""
    if dim is None:
        return tuple(range(len(shape)))
    if isinstance(dim, (int, np.integer)):
        return (_axis(dim, shape),)
    axes = tuple([_axis(axis, shape) for axis in dim])
    if len(set(axes)) < len(axes):
        raise ValueError(f"dim {dim} names an axis of shape {shape} twice")
    return axes


def _count(shape: tuple[int, ...], dim: Dim) -> int:
    return math.prod([shape[axis] for axis in _axes(dim, shape)])


_HALF = np.dtype(np.float16)


def _sum(x: Tensor, dim: Dim, keepdim: bool) -> Tensor:
    """The sum, in the dtype it is added in: int64 for integers and booleans, float32 for float16."""
    data, dims = x.data, _axes(dim, x.shape)
    wide = np.int64 if data.dtype.kind != "f" else np.float32 if data.dtype == _HALF else None
    return Tensor._result("sum", data.sum(dims, wide, keepdims=keepdim), x, dim=dims, keepdim=keepdim)


def _narrowed(y: Tensor, x: Tensor) -> Tensor:
    """y, computed from x in float32, as float16 if x is. Reported as a reshape, whose gradient passes the same way."""
    return Tensor._result("reshape", y.data.astype(_HALF), y, shape=y.shape) if x.data.dtype == _HALF else y


# 02.6 Matrix product


def _matmul(a, b) -> Tensor:
    a, b = _pair(a, b)
    try:
        data = a.data @ b.data
    except ValueError:
        raise ValueError(f"{a.shape} @ {b.shape}: the last axis left must be as long as the second to last right") from None
    return Tensor._result("matmul", data, a, b)
