"""Spatial layers: convolution, pooling and batch normalisation of images (batch, channels, height, width).

The channels of a pixel are adjacent in memory, whatever the shape says: the rows of each matrix product are then pixels, and
the next layer needs no copy of a result in a different order.
"""

import math

import numpy as np
from katas.autograd import defvjp
from katas.layers import Linear, Module, Parameter, Sequential, kaiming_uniform
from katas.tensor import Tensor
from numpy.lib.stride_tricks import sliding_window_view

Pair = int | tuple[int, int]  # given: for height and width, or one number for both


def _pair(value: Pair) -> tuple[int, int]:  # given
    return (value, value) if isinstance(value, int) else (value[0], value[1])


# 09.1 Windows


def output_size(size: int, kernel_size: int, stride: int = 1, padding: int = 0) -> int:
    """The number of positions of a kernel along an axis: ⌊(size + 2·padding - kernel_size) / stride⌋ + 1.

    Raises: ValueError that contains all four numbers if the kernel does not fit, if kernel_size or stride is below 1, or if
    padding is negative.
    """
    if not 1 <= kernel_size <= size + 2 * padding or stride < 1 or padding < 0:
        raise ValueError(f"no place for a kernel: {size=}, {kernel_size=}, {stride=}, {padding=}")
    return (size + 2 * padding - kernel_size) // stride + 1


def windows(x: np.ndarray, kernel_size: Pair, stride: Pair = 1, padding: Pair = 0) -> np.ndarray:
    """A kernel's window at each position: (batch, channels, h, w) → (batch, channels, out_h, out_w, kernel_h, kernel_w).

    The result is a view, which must not be written to: of x itself or, with padding, of one copy that has zeros around it.
    Raises: ValueError as output_size does; ValueError that contains x's shape unless x has four axes.
    """
    if x.ndim != 4:
        raise ValueError(f"images have the axes (batch, channels, height, width), not the shape {x.shape}")
    (batch, channels, h, w), (kh, kw), (sh, sw), (ph, pw) = x.shape, _pair(kernel_size), _pair(stride), _pair(padding)
    output_size(h, kh, sh, ph), output_size(w, kw, sw, pw)  # which say what does not fit
    if ph or pw:
        padded = np.zeros((batch, h + 2 * ph, w + 2 * pw, channels), x.dtype)
        padded[:, ph : ph + h, pw : pw + w] = x.transpose(0, 2, 3, 1)
        x = padded.transpose(0, 3, 1, 2)
    return sliding_window_view(x, (kh, kw), (2, 3))[:, :, ::sh, ::sw]


# 09.2 Convolution


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Pair = 1, padding: Pair = 0) -> Tensor:
    """y[n, o, i, j] = bias[o] + Σ x[n, c, i·stride + k - padding, j·stride + l - padding] · weight[o, c, k, l]; outside x is 0.

    Shapes: x (batch, in, h, w); weight (out, in, kernel_h, kernel_w); bias (out,) → (batch, out, out_h, out_w). As in PyTorch,
    the kernel is not flipped: this is a cross-correlation. Raises: ValueError that contains the shapes if they don't fit;
    ValueError as output_size does.
    """
    if weight.ndim != 4 or x.ndim != 4 or x.shape[1] != weight.shape[1]:
        raise ValueError(f"conv2d: images (batch, in, h, w) of shape {x.shape} and a weight (out, in, h, w) of {weight.shape}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"conv2d: a weight (out, in, h, w) of shape {weight.shape} and a bias (out,) of {bias.shape}")
    x, weight = _floating(x, weight), _floating(weight, x)
    y, columns = _convolved(windows(x.data, weight.shape[2:], stride, padding), weight.data)
    y = Tensor._result("conv2d", y, x, weight, stride=_pair(stride), padding=_pair(padding), columns=columns)
    return y if bias is None else y + bias.reshape(-1, 1, 1)


def _floating(a: Tensor, beside: Tensor) -> Tensor:
    """a, cast to the dtype of `beside` if a holds integers and `beside` holds floats."""
    return Tensor(a.data.astype(beside.dtype)) if a.dtype.kind != "f" and beside.dtype.kind == "f" else a


def _convolved(view: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Windows (batch, in, out_h, out_w, kernel_h, kernel_w) times the weight, and the matrix of copied windows."""
    batch, channels, out_h, out_w, kh, kw = view.shape
    columns = view.transpose(0, 2, 3, 4, 5, 1).reshape(batch * out_h * out_w, kh * kw * channels)  # the one copy
    rows = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)  # (out, kernel_h·kernel_w·in)
    return (columns @ rows.T).reshape(batch, out_h, out_w, len(weight)).transpose(0, 3, 1, 2), columns


def _conv2d_to_x(g, y, x, weight, stride, padding, columns):
    """A convolution again: of g, with zeros between and around its positions, by the flipped kernel."""
    (batch, _, h, w), (out, _, kh, kw), (sh, sw), (ph, pw) = x.shape, weight.shape, stride, padding
    spread = np.zeros((batch, h + 2 * ph + kh - 1, w + 2 * pw + kw - 1, out), g.dtype).transpose(0, 3, 1, 2)
    spread[:, :, kh - 1 : h + 2 * ph : sh, kw - 1 : w + 2 * pw : sw] = g
    view = windows(spread, (kh, kw))[:, :, ph : ph + h, pw : pw + w]
    return _convolved(view, weight[:, :, ::-1, ::-1].swapaxes(0, 1))[0]  # by (in, out, kernel_h, kernel_w)


def _conv2d_to_weight(g, y, x, weight, stride, padding, columns):
    out, channels, kh, kw = weight.shape
    pixels = g.transpose(0, 2, 3, 1).reshape(-1, out)  # (batch·out_h·out_w, out)
    return (pixels.T @ columns).reshape(out, kh, kw, channels).transpose(0, 3, 1, 2)


defvjp("conv2d", _conv2d_to_x, _conv2d_to_weight)

# 09.3 Conv2d


class Conv2d(Module):
    """conv2d with its own weight (out_channels, in_channels, kernel_h, kernel_w) and bias (out_channels,).

    Initialization: as in Linear, Kaiming uniform with a = √5 and the bias in ±1/√fan_in, as torch.nn.Conv2d (He et al., 2015).
    The attributes stride and padding are pairs and may be changed.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        bias: bool = True,
        rng: np.random.Generator | None = None,
    ):
        rng = np.random.default_rng() if rng is None else rng
        self.stride, self.padding = _pair(stride), _pair(padding)
        self.weight = Parameter(kaiming_uniform((out_channels, in_channels, *_pair(kernel_size)), rng, math.sqrt(5)))
        bound = 1 / math.sqrt(self.weight.data[0].size)
        self.bias = Parameter(rng.uniform(-bound, bound, out_channels).astype(np.float32)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, h, w) → (batch, out_channels, out_h, out_w)."""
        return conv2d(x, self.weight, self.bias, self.stride, self.padding)


# 09.4 Pooling


def _offsets(x: np.ndarray, kernel_size: tuple[int, int], stride: tuple[int, int]) -> list[np.ndarray]:
    """For each offset in the kernel, the pixels that all windows of x have there: views (batch, channels, out_h, out_w)."""
    (kh, kw), (sh, sw), (h, w) = kernel_size, stride, x.shape[2:]
    return [x[:, :, i : h - kh + i + 1 : sh, j : w - kw + j + 1 : sw] for i, j in np.ndindex(kh, kw)]


class MaxPool2d(Module):
    """The largest value of each window, as torch.nn.MaxPool2d: windows do not overlap unless stride is given."""

    def __init__(self, kernel_size: Pair, stride: Pair | None = None):
        self.kernel_size, self.stride = _pair(kernel_size), _pair(kernel_size if stride is None else stride)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, h, w) → (batch, channels, out_h, out_w).

        The gradients of a window's equal maxima add up to the window's gradient.
        """
        y = windows(x.data, self.kernel_size, self.stride)[..., 0, 0].copy("K")
        for pixels in _offsets(x.data, self.kernel_size, self.stride)[1:]:
            np.maximum(y, pixels, out=y)
        return Tensor._result("max_pool2d", y, x, kernel_size=self.kernel_size, stride=self.stride)


def _max_pool2d_to_x(g, y, x, kernel_size, stride):
    result = np.zeros_like(x)
    due = g.copy("K").view(f"i{g.itemsize}")  # each window's gradient until its first largest value; as bits: ∞ · 0 is NaN
    for pixels, payed in zip(_offsets(x, kernel_size, stride), _offsets(result, kernel_size, stride), strict=True):
        largest = pixels == y
        payed += (due * largest).view(g.dtype)
        due *= ~largest
    return result


defvjp("max_pool2d", _max_pool2d_to_x)


class AvgPool2d(Module):
    """The mean of each window, as torch.nn.AvgPool2d: windows do not overlap unless stride is given.

    The mean of integers is float32.
    """

    def __init__(self, kernel_size: Pair, stride: Pair | None = None):
        self.kernel_size, self.stride = _pair(kernel_size), _pair(kernel_size if stride is None else stride)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, h, w) → (batch, channels, out_h, out_w)."""
        windows(x.data, self.kernel_size, self.stride)
        total = sum(_offsets(x.data, self.kernel_size, self.stride), np.float32(0))  # which uint8 and float16 can't hold
        dtype = x.dtype if x.dtype.kind == "f" else np.float32
        y = (total / math.prod(self.kernel_size)).astype(dtype, copy=False)
        return Tensor._result("avg_pool2d", y, x, kernel_size=self.kernel_size, stride=self.stride)


def _avg_pool2d_to_x(g, y, x, kernel_size, stride):
    result, share = np.zeros_like(x), g / math.prod(kernel_size)
    for payed in _offsets(result, kernel_size, stride):
        payed += share
    return result


defvjp("avg_pool2d", _avg_pool2d_to_x)


class GlobalAvgPool(Module):
    """The mean of each channel: (batch, channels, h, w) → (batch, channels)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


# 09.5 Batch normalisation


class BatchNorm2d(Module):
    """y = (x - mean) / √(var + eps) · weight + bias, for each channel, as torch.nn.BatchNorm2d (Ioffe & Szegedy 2015, alg. 1).

    In train mode mean and variance (biased) are those of the batch over (batch, h, w). The running statistics move toward them
    in place, by the fraction `momentum`; running_var follows the unbiased variance. Eval mode uses the running statistics, and
    doesn't change them.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1):
        self.eps, self.momentum = eps, momentum
        self.weight = Parameter(np.ones(num_features, np.float32))
        self.bias = Parameter(np.zeros(num_features, np.float32))
        self.register_buffer("running_mean", np.zeros(num_features, np.float32))
        self.register_buffer("running_var", np.ones(num_features, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        """x and y: (batch, num_features, h, w).

        Raises: ValueError that contains x's shape if it is different or, in train mode, has fewer than two values per channel.
        """
        if x.ndim != 4 or x.shape[1] != len(self.weight):
            raise ValueError(f"BatchNorm2d({len(self.weight)}) got input of shape {x.shape}")
        if self.training:
            centred, var = self._of_batch(x)
        else:  # (channels, 1, 1)
            centred, var = x - Tensor(self.running_mean[:, None, None]), Tensor(self.running_var[:, None, None])
        scale = self.weight.reshape(-1, 1, 1) / (var + self.eps).sqrt()
        return centred * scale + self.bias.reshape(-1, 1, 1)

    def _of_batch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x minus the batch's mean, and its variance (1, channels, 1, 1). Updates the running statistics."""
        count = x.size // x.shape[1]
        if count < 2:
            raise ValueError(f"BatchNorm2d needs more than one value a channel to train, but the shape is {x.shape}")
        if x.dtype == np.float16:
            x = x * Tensor(1.0)  # float16 has three digits, and its squares overflow
        mean = x.mean((0, 2, 3), keepdim=True)
        centred = x - mean
        var = (centred * centred).mean((0, 2, 3), keepdim=True)
        self.running_mean += self.momentum * (mean.data.ravel() - self.running_mean)
        self.running_var += self.momentum * (var.data.ravel() * (count / (count - 1)) - self.running_var)
        return centred, var


# 09.6 CNN


class CNN(Sequential):
    """Layers one after another, given as a list; images are flattened to (batch, features) before a Linear."""

    def __init__(self, layers: list):
        super().__init__(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """The output of the last layer, after all layers ran one after another on x."""
        for layer in self.layers:
            if isinstance(layer, Linear) and x.ndim > 2:
                x = x.reshape(len(x), math.prod(x.shape[1:]))  # (batch, channels·h·w), where batch may be 0
            x = layer.forward(x)
        return x
