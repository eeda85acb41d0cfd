"""Kata 09 without a matrix of windows: a product for each offset in the kernel, in NCHW, and pooling through a matrix."""

import numpy as np
from katas.autograd import defvjp
from katas.layers import Linear, Module, Parameter, Sequential
from katas.tensor import Tensor

Pair = int | tuple[int, int]


def _pair(value):
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


def output_size(size, kernel_size, stride=1, padding=0):
    if kernel_size < 1 or stride < 1 or padding < 0 or kernel_size > size + 2 * padding:
        raise ValueError(f"size={size}, kernel_size={kernel_size}, stride={stride}, padding={padding} do not go together")
    return len(range(0, size + 2 * padding - kernel_size + 1, stride))


def framed(x, padding):
    top, left = padding
    return np.pad(x, [(0, 0), (0, 0), (top, top), (left, left)]) if top or left else x


def windows(x, kernel_size, stride=1, padding=0):
    if np.ndim(x) != 4:
        raise ValueError(f"four axes are needed, not {np.shape(x)}")
    kernel_size, stride, padding = _pair(kernel_size), _pair(stride), _pair(padding)
    sizes = [output_size(*each) for each in zip(x.shape[2:], kernel_size, stride, padding, strict=True)]
    x = framed(x, padding)
    n, c, h, w = x.strides
    strides = (n, c, h * stride[0], w * stride[1], h, w)
    return np.lib.stride_tricks.as_strided(x, (*x.shape[:2], *sizes, *kernel_size), strides, writeable=False)


def places(size, offset, stride):
    """The pixels that a kernel sees at one offset, in `size` places down and across."""
    (i, j), (sh, sw), (rows, columns) = offset, stride, size
    return np.s_[:, :, i : i + sh * (rows - 1) + 1 : sh, j : j + sw * (columns - 1) + 1 : sw]


def conv2d(x, weight, bias=None, stride=1, padding=0):
    if len(x.shape) != 4 or len(weight.shape) != 4 or x.shape[1] != weight.shape[1]:
        raise ValueError(f"images of shape {x.shape} do not go with a weight of shape {weight.shape}")
    if bias is not None and bias.shape != (len(weight),):
        raise ValueError(f"a weight of shape {weight.shape} does not go with a bias of shape {bias.shape}")
    floats = [each.dtype for each in (x, weight) if each.dtype.kind == "f"]
    x, weight = (each if each.dtype.kind == "f" or not floats else Tensor(each.data.astype(floats[0])) for each in (x, weight))
    stride, padding = _pair(stride), _pair(padding)
    size = windows(x.data, weight.shape[2:], stride, padding).shape[2:4]
    padded, y = framed(x.data, padding), 0
    for offset in np.ndindex(weight.shape[2:]):
        seen = padded[places(size, offset, stride)]
        y = y + np.tensordot(weight.data[:, :, *offset], seen, (1, 1)).swapaxes(0, 1)
    y = Tensor._result("convolution", y, x, weight, stride=stride, padding=padding)
    return y if bias is None else y + bias.reshape(len(weight), 1, 1)


def to_images(g, y, x, weight, stride, padding):
    paid = np.zeros_like(framed(x, padding))
    for offset in np.ndindex(weight.shape[2:]):
        paid[places(g.shape[2:], offset, stride)] += np.tensordot(weight[:, :, *offset], g, (0, 1)).swapaxes(0, 1)
    (top, left), (h, w) = padding, x.shape[2:]
    return paid[:, :, top : top + h, left : left + w]


def to_weight(g, y, x, weight, stride, padding):
    padded, result = framed(x, padding), np.empty_like(weight)
    for offset in np.ndindex(weight.shape[2:]):
        result[:, :, *offset] = np.tensordot(g, padded[places(g.shape[2:], offset, stride)], ((0, 2, 3), (0, 2, 3)))
    return result


defvjp("convolution", to_images, to_weight)


class Conv2d(Module):
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, bias=True, rng=None):
        rng = rng or np.random.default_rng()
        shape = (out_channels, in_channels, *_pair(kernel_size))
        bound = np.prod(shape[1:]) ** -0.5
        self.weight = Parameter(rng.uniform(-bound, bound, shape).astype(np.float32))
        self.bias = Parameter(rng.uniform(-bound, bound, out_channels).astype(np.float32)) if bias else None
        self.stride, self.padding = _pair(stride), _pair(padding)

    def forward(self, x):
        return conv2d(x, self.weight, self.bias, self.stride, self.padding)


class Pool(Module):
    """Windows as lines of a tensor, gathered by their numbers, and reduced along the line."""

    def __init__(self, kernel_size, stride=None):
        self.kernel_size = _pair(kernel_size)
        self.stride = _pair(kernel_size if stride is None else stride)

    def forward(self, x):
        if len(x.shape) != 4:
            raise ValueError(f"four axes are needed, not {x.shape}")
        numbers = windows(np.arange(x.shape[2] * x.shape[3]).reshape(1, 1, *x.shape[2:]), self.kernel_size, self.stride)[0, 0]
        lines = numbers.reshape(*numbers.shape[:2], -1)  # (out_h, out_w, kernel_h·kernel_w)
        flat = x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])
        return self.reduced(flat[:, :, lines])


def to_first_largest(g, y, lines):
    result = np.zeros_like(lines)
    np.put_along_axis(result, lines.argmax(-1)[..., None], np.where(np.isnan(y), 0, g)[..., None].astype(g.dtype), -1)
    return result


defvjp("largest", to_first_largest)


class MaxPool2d(Pool):
    def reduced(self, lines):
        return Tensor._result("largest", lines.data.max(-1), lines)


class AvgPool2d(Pool):
    def reduced(self, lines):
        return lines.mean(-1)


class GlobalAvgPool(Module):
    def forward(self, x):
        return x.reshape(x.shape[0], x.shape[1], x.shape[2] * x.shape[3]).mean(-1)


def to_normalised(g, y, x, statistics):
    mean, deviation = statistics
    z = (x - mean) / deviation
    axes = (0, 2, 3)
    return (g - g.mean(axes, keepdims=True) - z * (g * z).mean(axes, keepdims=True)) / deviation


defvjp("normalised", to_normalised)


class BatchNorm2d(Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = Parameter(np.ones(num_features, np.float32))
        self.bias = Parameter(np.zeros(num_features, np.float32))
        self.register_buffer("running_mean", np.zeros(num_features, np.float32))
        self.register_buffer("running_var", np.ones(num_features, np.float32))

    def forward(self, x):
        if len(x.shape) != 4 or x.shape[1] != self.num_features:
            raise ValueError(f"BatchNorm2d({self.num_features}) can't normalise {x.shape}")
        if x.dtype not in (np.float32, np.float64):
            x = x * np.ones((), np.float32)
        shape = (1, self.num_features, 1, 1)
        if self.training:
            values = x.shape[0] * x.shape[2] * x.shape[3]
            if values < 2:
                raise ValueError(f"one value a channel, or none, in shape {x.shape}, has no variance")
            mean, var = x.data.mean((0, 2, 3), keepdims=True), x.data.var((0, 2, 3), keepdims=True)
            for name, new in (("running_mean", mean), ("running_var", var * values / (values - 1))):
                buffer = getattr(self, name)
                buffer *= 1 - self.momentum
                buffer += self.momentum * new.reshape(-1).astype(np.float32)
            deviation = np.sqrt(var + self.eps)
            z = Tensor._result("normalised", (x.data - mean) / deviation, x, statistics=(mean, deviation))
        else:
            z = (x - self.running_mean.reshape(shape)) / np.sqrt(self.running_var.reshape(shape) + np.float32(self.eps))
        return z * self.weight.reshape(*shape) + self.bias.reshape(*shape)


class CNN(Sequential):
    def __init__(self, layers):
        super().__init__(*layers)

    def forward(self, x):
        for layer in self.layers:
            if isinstance(layer, Linear) and len(x.shape) == 4:
                n, c, h, w = x.shape
                x = x.reshape(n, c * h * w)
            x = layer.forward(x)
        return x
