"""Tensor from tables: operators are generated, and whatever can be composed is composed of something else."""

import functools
import math
import operator

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple


class Tensor:
    """data, requires_grad, grad."""

    __array_ufunc__ = None
    _recorder = None
    grad = None

    def __init__(self, data, requires_grad=False, dtype=None):
        given = getattr(data, "data", data) if isinstance(data, Tensor) else data
        foreign = isinstance(given, (np.ndarray, np.generic))
        values = np.asanyarray(given) if dtype is None else np.asanyarray(given, dtype)
        if not (np.issubdtype(values.dtype, np.bool_) or np.isrealobj(values)) or values.dtype.hasobject:
            raise TypeError(f"not real numbers: {values.dtype}")
        if values.dtype.type in (np.str_, np.bytes_, np.datetime64, np.timedelta64, np.void):
            raise TypeError(f"not numbers: {values.dtype}")
        if not foreign and dtype is None and np.issubdtype(values.dtype, np.floating):
            values = np.float32(values) if values.ndim == 0 else values.astype("f4")
        self.data, self.requires_grad = np.asarray(values), bool(requires_grad)

    @staticmethod
    def _result(op, data, *parents, **attrs):
        result = Tensor(np.asarray(data), any(parent.requires_grad for parent in parents))
        if Tensor._recorder is not None:
            Tensor._recorder(op, result, parents, attrs)
        return result

    def backward(self, grad=None):
        from katas.autograd import backward

        backward(self, grad)

    def __getattr__(self, name):
        if name in ("shape", "ndim", "size", "dtype"):
            return getattr(self.data, name)
        raise AttributeError(name)

    def __len__(self):
        if not self.shape:
            raise TypeError("a tensor without axes has no length")
        return self.shape[0]

    def __bool__(self):
        return bool(self.item())

    def item(self):
        if math.prod(self.shape) != 1:
            raise ValueError(f"{self.size} values in {self.shape}, not one")
        return self.data.ravel().tolist()[0]

    def numpy(self):
        return self.data

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __index__(self):
        return operator.index(self.data)

    def __format__(self, spec):
        return format(self.item(), spec) if self.ndim == 0 or (spec and self.size == 1) else object.__format__(self, spec)

    def __array__(self, dtype=None, copy=None):
        if self.requires_grad:
            raise RuntimeError("use .data: NumPy loses gradients")
        return np.array(self.data, dtype, copy=copy)

    def __repr__(self):
        parts = [np.array2string(self.data, separator=", ")]
        if str(self.dtype) not in ("float32", "int64", "bool"):
            parts.append(f"dtype={self.dtype}")
        if self.requires_grad:
            parts.append("requires_grad=True")
        return f"Tensor({', '.join(parts)})"

    __hash__ = object.__hash__

    def __sub__(self, other):
        a, b = _promoted(self, other)
        return a + -b

    def __rsub__(self, other):
        a, b = _promoted(other, self)
        return a + -b

    def __truediv__(self, other):
        return _quotient(self, other)

    def __rtruediv__(self, other):
        return _quotient(other, self)

    def __neg__(self):
        return Tensor._result("neg", np.negative(self.data), self)

    def __pow__(self, exponent):
        if not isinstance(exponent, NUMBERS):
            raise TypeError(f"{type(exponent).__name__} is no exponent")
        exponent = exponent.item() if isinstance(exponent, np.generic) else exponent
        whole = isinstance(exponent, int) and exponent >= 0
        base = (self * 1 if self.dtype == bool else self) if whole else _real(self)
        try:
            powers = np.power(base.data, exponent)
        except OverflowError as error:
            raise ValueError(f"{exponent} is no {base.dtype}") from error
        return Tensor._result("pow", powers, base, exponent=exponent)

    def sqrt(self):
        return self**0.5

    def reshape(self, *shape):
        shape = _flat(shape)
        lengths = [length for length in shape if length != -1]
        if any(length < 0 for length in lengths):
            raise ValueError(f"{shape} has negative lengths: {self.shape}")
        if not (math.prod(lengths) == self.size or (len(lengths) < len(shape) and self.size % (math.prod(lengths) or 1) == 0)):
            raise ValueError(f"{self.shape} does not fit into {shape}")
        return Tensor._result("reshape", np.reshape(self.data, shape), self, shape=shape)

    def permute(self, *dims):
        dims = _flat(dims)
        order = _axes(dims, self.shape)
        if len(order) != self.ndim:
            raise ValueError(f"{dims} leaves out axes of {self.shape}")
        return Tensor._result("permute", np.transpose(self.data, order), self, dims=order)

    def transpose(self, dim0, dim1):
        axes = [*range(self.ndim)]
        first, second = _axis(dim0, self.shape), _axis(dim1, self.shape)
        axes[first], axes[second] = second, first
        return self.permute(axes)

    @property
    def T(self):
        if self.ndim < 2:
            raise ValueError(f"{self.shape} has no two axes to swap")
        return self.permute(*range(self.ndim - 2), self.ndim - 1, self.ndim - 2)

    def __getitem__(self, index):
        if isinstance(index, tuple):
            index = tuple(getattr(part, "data", part) if isinstance(part, Tensor) else part for part in index)
        elif isinstance(index, Tensor):
            index = index.data
        return Tensor._result("getitem", self.data[index], self, index=index)

    def __iter__(self):
        for position in range(len(self)):
            yield self[position]

    def sum(self, dim=None, keepdim=False):
        total = _added(self, dim, keepdim)
        return _rounded(total, self.dtype) if self.dtype == np.float16 else total

    def max(self, dim=None, keepdim=False):
        axes = _axes(dim, self.shape)
        if not _length(axes, self.shape):
            raise ValueError(f"nothing to compare in {self.shape}")
        return Tensor._result("max", np.maximum.reduce(self.data, axes, keepdims=keepdim), self, dim=axes, keepdim=keepdim)

    def mean(self, dim=None, keepdim=False):
        length = _length(_axes(dim, self.shape), self.shape)
        if not length:
            raise ValueError(f"nothing to average in {self.shape}")
        x = _real(self)
        return _rounded(_added(x, dim, keepdim) * (1 / length), x.dtype)

    def var(self, dim=None, keepdim=False, correction=1):
        length = _length(_axes(dim, self.shape), self.shape)
        if length - correction < 1:
            raise ValueError(f"{length} values are too few for correction {correction}")
        x = _real(self)
        wide = _operation("mul", np.multiply, x, Tensor(np.ones((), np.result_type(x.dtype, np.float32))))
        return _rounded(((wide - wide.mean(dim, True)) ** 2).mean(dim, keepdim) * (length / (length - correction)), x.dtype)

    def __matmul__(self, other):
        return _product(self, other)

    def __rmatmul__(self, other):
        return _product(other, self)


def _real(x):
    return x if np.issubdtype(x.dtype, np.floating) else Tensor(np.float32(x.data))


def _added(x, dim, keepdim):
    """A sum, of integers int64 and of float16 float32."""
    axes = _axes(dim, x.shape)
    dtype = np.result_type(x.dtype, np.float32) if x.dtype.kind == "f" else np.int64
    return Tensor._result("sum", np.add.reduce(x.data, axes, dtype, keepdims=keepdim), x, dim=axes, keepdim=keepdim)


def _rounded(x, dtype):
    return x if x.dtype == dtype else Tensor._result("reshape", x.data.astype(dtype), x, shape=x.shape)


NUMBERS = (bool, int, float, np.bool_, np.integer, np.floating)


def _promoted(*operands):
    """All as tensors of one dtype: the widest among the floats, where there are any; numbers have no say."""
    for operand in operands:
        if not isinstance(operand, (Tensor, np.ndarray, *NUMBERS)):
            raise TypeError(f"no arithmetic with {type(operand).__name__}")
    if not any(isinstance(operand, Tensor) for operand in operands):
        raise TypeError("there is no Tensor among them")
    operands = [operand.item() if isinstance(operand, np.generic) else operand for operand in operands]
    arrays = [Tensor(operand) for operand in operands if isinstance(operand, (Tensor, np.ndarray))]
    floats = [array.dtype for array in arrays if array.dtype.kind == "f"]
    numbers = [operand for operand in operands if not isinstance(operand, (Tensor, np.ndarray))]
    if not floats and any(isinstance(number, float) for number in numbers):
        dtype = np.dtype(np.float32)
    else:
        dtype = np.result_type(*(floats or [array.dtype for array in arrays]))
        if dtype.kind == "b" and any(type(number) is int for number in numbers):
            dtype = np.dtype(np.int64)

    def convert(operand):
        if isinstance(operand, Tensor) and operand.dtype == dtype:
            return operand
        if isinstance(operand, NUMBERS):
            if dtype.kind in "iu" and not np.iinfo(dtype).min <= operand <= np.iinfo(dtype).max:
                raise ValueError(f"{dtype} goes from {np.iinfo(dtype).min} to {np.iinfo(dtype).max}, without {operand}")
            try:
                return Tensor(np.full((), operand, dtype))
            except OverflowError as error:
                raise ValueError(f"no {dtype} is {operand}") from error
        return Tensor(np.asarray(getattr(operand, "data", operand) if isinstance(operand, Tensor) else operand).astype(dtype))

    return tuple(convert(operand) for operand in operands)


def _operation(name, function, a, b):
    return Tensor._result(name, function(a.data, b.data), a, b)


def _arithmetic(name, function):
    return lambda self, other: _operation(name, function, *_promoted(self, other))


def _quotient(a, b):
    """Of integers float32, so that a whole number beside them is a float before it has to fit."""
    whole = [isinstance(x, NUMBERS) or not hasattr(x, "dtype") or x.dtype.kind != "f" for x in (a, b)]
    a, b = _promoted(*(_real(x) if all(whole) and isinstance(x, Tensor) else x for x in (a, b)))
    return _operation("div", np.true_divide, _real(a), _real(b))


def _comparison(function, default=None):
    def compare(self, other):
        if isinstance(other, (Tensor, np.ndarray)):
            return Tensor(function(self.data, Tensor(other).data))
        if isinstance(other, NUMBERS):
            other = other.item() if isinstance(other, np.generic) else other
            try:
                return Tensor(function(self.data, other))
            except OverflowError:
                return Tensor(np.asarray(function(self.data.astype(object), other), bool))
        if default is None:
            raise TypeError(f"{type(other).__name__} is neither more nor less")
        return full(self.shape, default)

    return compare


def _elementwise(name):
    def apply(self):
        x = _real(self)
        return Tensor._result(name, getattr(np, name)(x.data), x)

    return apply


for _name in ("add", "mul"):
    for _side in ("", "r"):  # both commute
        setattr(Tensor, f"__{_side}{_name}__", _arithmetic(_name, getattr(operator, _name)))
for _name, _default in {"eq": False, "ne": True, "lt": None, "le": None, "gt": None, "ge": None}.items():
    setattr(Tensor, f"__{_name}__", _comparison(getattr(operator, _name), _default))
for _name in ("exp", "log", "tanh"):
    setattr(Tensor, _name, _elementwise(_name))


def _filled(value):
    def create(shape, dtype=np.float32, requires_grad=False):
        return full(shape, value, dtype, requires_grad)

    return create


zeros, ones = _filled(0), _filled(1)


def full(shape, value, dtype=None, requires_grad=False):
    values = np.empty(shape, Tensor(value).dtype if dtype is None else dtype)
    values[...] = value
    return Tensor(values, requires_grad)


def arange(*bounds, dtype=None, requires_grad=False):
    values = np.arange(*bounds)
    narrow = {np.dtype(np.float64): np.float32}
    return Tensor(values.astype(dtype or narrow.get(values.dtype, values.dtype)), requires_grad)


def randn(shape, rng, requires_grad=False):
    return Tensor(rng.normal(size=shape).astype(np.float32), requires_grad)


def maximum(a, b):
    return _operation("maximum", np.maximum, *_promoted(a, b))


def where(condition, a, b):
    mask = getattr(condition, "data", condition) if isinstance(condition, Tensor) else np.asarray(condition)
    if mask.dtype != bool:
        raise TypeError(f"a condition of {mask.dtype}")
    a, b = _promoted(a, b)
    return Tensor._result("where", np.where(mask, a.data, b.data), a, b, condition=mask)


def _flat(numbers):
    return tuple(functools.reduce(lambda so_far, part: so_far + (list(part) if np.iterable(part) else [part]), numbers, []))


def _axis(axis, shape):
    if isinstance(axis, (bool, np.bool_)):
        raise TypeError("a boolean is no axis")
    try:
        return normalize_axis_index(axis, len(shape))
    except ValueError as error:
        raise ValueError(f"{error}: {shape}") from error


def _axes(dim, shape):
    if any(isinstance(axis, (bool, np.bool_)) for axis in (dim if isinstance(dim, (tuple, list)) else [dim])):
        raise TypeError("a boolean is no axis")
    try:
        return tuple(range(len(shape))) if dim is None else normalize_axis_tuple(dim, len(shape))
    except ValueError as error:
        raise ValueError(f"{dim} of {shape}: {error}") from error


def _length(axes, shape):
    return math.prod(shape[axis] for axis in axes)


def concatenate(tensors, dim=0):
    if not tensors:
        raise ValueError("there is nothing to concatenate")
    tensors = _promoted(*tensors)
    shapes = [tensor.shape for tensor in tensors]
    axis = _axis(dim, shapes[0])
    if len({(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}) > 1:
        raise ValueError(f"shapes {shapes} differ beside axis {dim}")
    whole = np.empty((*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :]), tensors[0].dtype)
    start = 0
    for tensor in tensors:
        stop = start + tensor.shape[axis]
        whole[(slice(None),) * axis + (slice(start, stop),)] = tensor.data
        start = stop
    return Tensor._result("concatenate", whole, *tensors, dim=axis)


def stack(tensors, dim=0):
    if len({tensor.shape for tensor in tensors}) != 1:
        raise ValueError(f"one shape is needed, not {[tensor.shape for tensor in tensors]}")
    axis = _axis(dim, (*tensors[0].shape, 1))
    return concatenate([tensor[(slice(None),) * axis + (None,)] for tensor in tensors], axis)


def _product(a, b):
    a, b = _promoted(a, b)
    letters = "ij"[2 - min(a.ndim, 2) :], "jk"[: min(b.ndim, 2)]
    try:
        data = np.einsum(f"...{letters[0]},...{letters[1]}->...{(letters[0] + letters[1]).replace('j', '')}", a.data, b.data)
    except ValueError as error:
        raise ValueError(f"{a.shape} times {b.shape}: {error}") from error
    if 0 in (a.ndim, b.ndim):
        raise ValueError(f"{a.shape} times {b.shape}: a number has no rows")
    return Tensor._result("matmul", data, a, b)
