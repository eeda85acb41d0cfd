"""Precision, spelled out: another correct solution."""

import math

import numpy as np
from katas.embeddings import Embedding
from katas.layers import Linear, Module, Parameter
from katas.spatial import Conv2d, conv2d
from katas.tensor import Tensor, concatenate

BLOCK = 1 << 18
EXACT = 1024
GROUP = 32
SMALLEST = float(np.finfo(np.float32).tiny)


def check(x):
    array = np.array(Tensor(x).data, dtype=np.float64)
    bad = ~(np.abs(array) <= np.finfo(np.float32).max)
    if bad.any():
        index = tuple(int(places[0]) for places in np.nonzero(bad))
        raise ValueError(f"at {index} is {array[index]}")
    return array


class Quantized(Module):
    dtype = np.dtype(np.float32)

    def __init__(self, values, scale, zero_point=None):
        self.register_buffer("values", values)
        self.register_buffer("scale", scale)
        self.affine = zero_point is not None
        if self.affine:
            self.register_buffer("zero_point", zero_point)
        else:
            self.zero_point = None

    @property
    def shape(self):
        return self.values.shape

    @property
    def nbytes(self):
        return self.values.nbytes + self.scale.nbytes + (self.zero_point.nbytes if self.affine else 0)

    def dequantize(self, rows=...):
        values, scale, zero_point = self.values[rows], self.scale, self.zero_point if self.affine else self.scale * 0
        if scale.ndim and len(scale) == len(self.values):
            scale, zero_point = scale[rows], zero_point[rows]
        elif scale.ndim > values.ndim:
            scale, zero_point = scale[0], zero_point[0]
        return ((values.astype(np.float64) - zero_point) * scale).astype(np.float32)


def quantize_array(x, axis=None, symmetric=True, limits=None):
    array = check(x)
    if axis is not None and axis not in range(-array.ndim, array.ndim):
        raise ValueError(f"axis {axis} of {array.shape}")
    if limits is not None:
        low, high = (float(limit) for limit in limits)
        if axis is not None or not max(abs(low), abs(high)) <= np.finfo(np.float32).max or not low <= high:
            raise ValueError(f"({low}, {high}) with axis {axis}")
    channels = np.moveaxis(array, axis, 0) if axis is not None else array[None]
    values = np.empty(channels.shape, np.int8)
    scales, zero_points = [], []
    for i, channel in enumerate(channels):
        least, most = (
            (min(channel.min(initial=0), 0), max(channel.max(initial=0), 0)) if limits is None else (min(low, 0), max(high, 0))
        )
        if symmetric:
            scale, zero_point, first = max(most, -least) / 127, 0, -127
        else:
            scale, first = (most - least) / 255, -128
        scale = float(np.float32(max(scale, SMALLEST)))
        if not symmetric:
            zero_point = int(min(127, max(-128, np.floor(-128 - least / scale + 0.5))))
        clipped = np.clip(channel / scale, first - zero_point - 1, 127 - zero_point + 1)
        values[i] = np.clip(np.floor(clipped + 0.5) + zero_point, first, 127)
        scales.append(scale)
        zero_points.append(zero_point)
    shape = [1] * array.ndim
    if axis is not None:
        values = np.moveaxis(values, 0, axis)
        shape[axis] = array.shape[axis]
    else:
        values = values[0]
    scale = np.array(scales, np.float32).reshape(shape)
    return Quantized(values, scale, None if symmetric else np.array(zero_points, np.int8).reshape(shape))


class Observer:
    def __init__(self, percentile=100.0):
        if np.isnan(percentile) or percentile <= 50 or percentile > 100:
            raise ValueError(f"{percentile} is no percentile between 50 and 100")
        self.percentile, self.seen = percentile, {}

    def observe(self, x):
        for value in check(x).ravel().astype(np.float32).tolist():
            self.seen[value] = self.seen.get(value, 0) + 1

    def limits(self):
        if not self.seen:
            raise RuntimeError("observe something first")
        return -self.reached(-1), self.reached(1)

    def reached(self, sign):
        count, total = 0, sum(self.seen.values())
        for value in sorted(sign * value for value in self.seen):
            count += self.seen[sign * value]
            if count * 100 >= round(total * self.percentile, 4):
                break
        return value


def integer_product(a, b):
    if {a.dtype, b.dtype} != {np.dtype(np.int8)}:
        raise TypeError(f"{a.dtype} and {b.dtype}")
    if not (a.ndim == b.ndim == 2 and a.shape[-1] == b.shape[-1]):
        raise ValueError(f"{a.shape} and {b.shape}")
    return (a.astype(np.float64) @ b.astype(np.float64).T).astype(np.int64)


def refuse(x, layer):
    if Tensor._result(type(layer).__name__, x.data, x).requires_grad:
        raise RuntimeError(f"{type(layer).__name__}: inference only")


def refuse_weight(weight):
    if getattr(weight, "zero_point", 0) is not None or weight.values.dtype != np.int8 or weight.scale.shape[1] != 1:
        raise ValueError("only int8, symmetric, by rows")


class QuantizedLinear(Linear):
    def __init__(self, weight, bias=None):
        self.weight, self.watching = weight, False
        self.bias = Parameter(bias) if bias is not None else None
        self.out_features, self.in_features = weight.shape
        self.register_buffer("limits", np.float32([-np.inf, np.inf]))

    def forward(self, x):
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise ValueError(f"QuantizedLinear({self.in_features}, {self.out_features}) and an input of {x.shape}")
        dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
        rows = x.data.reshape(math.prod(x.shape[:-1]), self.in_features).astype(dtype)
        if self.watching:
            self.watching.observe(x)
        static = not self.watching and np.isfinite(self.limits[0]) and np.isfinite(self.limits[1])
        if static:
            refuse_weight(self.weight)
            inputs = quantize_array(x, None, False, self.limits)
            shifted = inputs.values.astype(np.float64).reshape(rows.shape) - float(inputs.zero_point.ravel()[0])
        parts = []
        for row in range(self.out_features):
            if static:
                integers = self.weight.values[row : row + 1].astype(np.float64)
                scale = self.weight.scale[row if len(self.weight.scale) > 1 else 0, 0]
                parts.append(shifted @ integers.T * (float(scale) * float(inputs.scale.ravel()[0])))
            else:
                parts.append(rows @ self.weight.dequantize(slice(row, row + 1)).T)
        y = np.concatenate(parts, 1)
        if self.bias is not None:
            y = y + self.bias.data
        refuse(x, self)
        return Tensor(y.astype(dtype).reshape(*x.shape[:-1], self.out_features))


class QuantizedConv2d(Conv2d):
    def __init__(self, weight, bias=None, stride=(1, 1), padding=(0, 0)):
        self.weight, self.stride, self.padding = weight, stride, padding
        self.bias = Parameter(bias) if bias is not None else None

    def forward(self, x):
        parts, x = [], x if x.dtype.kind == "f" else Tensor(x.data.astype(np.float32))
        refuse(x, self)
        for channel in range(self.weight.shape[0]):
            kernel = Tensor(self.weight.dequantize(slice(channel, channel + 1)))
            parts.append(conv2d(x, kernel, None, self.stride, self.padding))
        y = concatenate(parts, 1).data
        if self.bias is not None:
            y = y + self.bias.data[:, None, None]
        return Tensor(y.astype(x.dtype))


class QuantizedEmbedding(Embedding):
    def __init__(self, weight):
        self.weight = weight

    def forward(self, ids):
        ids = np.asarray(Tensor(ids).data)
        if not np.issubdtype(ids.dtype, np.integer) and ids.size:
            raise TypeError(f"ids of {ids.dtype}")
        for index in np.ndindex(ids.shape):
            if not 0 <= ids[index] < self.weight.shape[0]:
                raise IndexError(f"the id {ids[index]} at {index}; rows: {self.weight.shape[0]}")
        rows = self.weight.dequantize([int(id) for id in ids.ravel()] or slice(0, 0))
        return Tensor(rows.reshape(*ids.shape, self.weight.shape[1]))


def quantize(model, bits=8):
    if bits != 8 and bits != 4:
        raise ValueError(f"there are 8 bits and 4, not {bits}")
    done, shared, copies = {}, {}, {}

    def weight_of(layer):
        if id(layer.weight) not in shared:
            try:
                make = (lambda w: quantize_array(w, axis=0)) if bits == 8 else quantize_groups
                shared[id(layer.weight)] = make(layer.weight.data)
            except ValueError as error:
                (name,) = [name for name, parameter in model.named_parameters() if parameter is layer.weight]
                raise ValueError(f"{name} can't be quantized: {error}") from error
        return shared[id(layer.weight)]

    def copied(value):
        if id(value) in done:
            return done[id(value)]
        copies[id(value)] = value
        bias = getattr(value, "bias", None)
        if type(value) is Linear:
            new = QuantizedLinear(weight_of(value), bias)
        elif type(value) is Conv2d:
            new = QuantizedConv2d(weight_of(value), bias, value.stride, value.padding)
        elif type(value) is Embedding:
            new = QuantizedEmbedding(weight_of(value))
        elif isinstance(value, (Linear, Conv2d, Embedding)) and isinstance(getattr(value, "weight", None), Parameter):
            raise ValueError(next(name for name, parameter in model.named_parameters() if parameter is value.weight))
        elif isinstance(value, Parameter):
            new = Parameter(value)
            new.requires_grad = False
        elif isinstance(value, np.ndarray):
            new = value.copy()
        elif isinstance(value, list):
            new = done[id(value)] = []
            new.extend(copied(member) for member in value)
        elif isinstance(value, tuple):
            new = tuple(copied(member) for member in value)
        elif isinstance(value, Module):
            new = done[id(value)] = object.__new__(type(value))
            for name, member in vars(value).items():
                object.__setattr__(new, name, None if name == "_kept" else copied(member))
        else:
            new = value
        done[id(value)] = new
        return new

    result = copied(model)
    for parameter in result.parameters():
        parameter.requires_grad = False
    result.eval()
    return result


def calibrate(model, batches, percentile=100.0):
    watched = {}
    for module in model.modules():
        if isinstance(module, QuantizedLinear):
            refuse_weight(module.weight)
            watched[module] = Observer(percentile)
    if len(watched) == 0:
        raise ValueError("nothing to calibrate")
    try:
        for module, observer in watched.items():
            module.watching = observer
        for batch in batches:
            model(batch)
    finally:
        for module in watched:
            module.watching = False
    limits = {module: np.float32(observer.limits()) for module, observer in watched.items()}
    for module, both in limits.items():
        module.limits[:] = both


def half_state(state):
    result, lost = {}, {}
    for name, value in state.items():
        array = np.array(Tensor(value).data)
        if array.dtype.kind == "f":
            for number in array.ravel().tolist():
                if 65520 <= abs(number) < np.inf:
                    lost.setdefault(name, number)
            array = np.clip(array, -1e5, 1e5) if name in lost else array
            with np.errstate(over="ignore"):
                array = array.astype(np.float16)
        result[name] = array
    if lost:
        raise ValueError(f"too large for float16: {lost}")
    return result


def pack(values):
    for value in np.asarray(values).ravel().tolist():
        if not -8 <= value <= 7:
            raise ValueError(f"{value} needs more than four bits")
    if values.shape[-1] % 2:
        values = np.concatenate([values, np.zeros((*values.shape[:-1], 1), values.dtype)], -1)
    codes = (values.astype(np.int64) + 8).reshape(*values.shape[:-1], values.shape[-1] // 2, 2)
    return (codes @ np.array([1, 16])).astype(np.uint8)


def unpack(packed, n):
    high, low = np.divmod(packed.astype(np.int64), 16)
    both = np.stack([low, high], -1) - 8
    return both.reshape(*packed.shape[:-1], packed.shape[-1] * 2)[..., :n].astype(np.int8)


class Quantized4(Module):
    dtype = np.dtype(np.float32)

    def __init__(self, values, scale, shape):
        self.register_buffer("values", values)
        self.register_buffer("scale", scale)
        self.shape = tuple(shape)
        self.zero_point = None

    @property
    def nbytes(self):
        return sum(buffer.nbytes for _, buffer in self.named_buffers())

    def dequantize(self, rows=...):
        n = int(np.prod(self.shape[1:]))
        integers, scale = unpack(self.values[rows], n), self.scale[rows].astype(np.float32)
        result = np.empty(integers.shape, np.float32)
        for group in range(scale.shape[-1]):
            columns = slice(32 * group, 32 * group + 32)
            result[..., columns] = integers[..., columns] * scale[..., group, None]
        return result.reshape(*result.shape[:-1], *self.shape[1:])


def quantize_groups(x):
    array = check(x)
    if array.ndim in (0, 1):
        raise ValueError(f"rows are missing in {array.shape}")
    n = int(np.prod(array.shape[1:]))
    rows, groups = array.reshape(array.shape[0], n), (n + 31) // 32
    values, scale = np.zeros(rows.shape, np.int8), np.zeros((len(rows), groups), np.float16)
    for i, row in enumerate(rows):
        for j in range(groups):
            group = row[32 * j : 32 * j + 32]
            largest = float(abs(group).max())
            if largest > 7 * 65504:
                raise ValueError(
                    f"{[float(value) for value in group if abs(value) > 7 * 65504]}: too large for steps of float16"
                )
            step = np.float16(largest / 7)
            while 7 * float(step) < largest * (1 - 1e-7):
                step = np.nextafter(step, np.float16(np.inf))
            scale[i, j] = step
            if step:
                values[i, 32 * j : 32 * j + 32] = np.clip(np.floor(group / float(step) + 0.5), -7, 7)
    return Quantized4(pack(values), scale, array.shape)
