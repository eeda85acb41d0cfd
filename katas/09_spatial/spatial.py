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
    raise NotImplementedError("09.1 output_size: README.md, 09.1")


def windows(x: np.ndarray, kernel_size: Pair, stride: Pair = 1, padding: Pair = 0) -> np.ndarray:
    """A kernel's window at each position: (batch, channels, h, w) → (batch, channels, out_h, out_w, kernel_h, kernel_w).

    The result is a view, which must not be written to: of x itself or, with padding, of one copy that has zeros around it.
    Raises: ValueError as output_size does; ValueError that contains x's shape unless x has four axes.
    """
    raise NotImplementedError("09.1 windows: README.md, 09.1")


# 09.2 Convolution


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Pair = 1, padding: Pair = 0) -> Tensor:
    """y[n, o, i, j] = bias[o] + Σ x[n, c, i·stride + k - padding, j·stride + l - padding] · weight[o, c, k, l]; outside x is 0.

    Shapes: x (batch, in, h, w); weight (out, in, kernel_h, kernel_w); bias (out,) → (batch, out, out_h, out_w). As in PyTorch,
    the kernel is not flipped: this is a cross-correlation. Raises: ValueError that contains the shapes if they don't fit;
    ValueError as output_size does.
    """
    raise NotImplementedError("09.2 conv2d: README.md, 09.2")


defvjp("conv2d", ..., ...)

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
        raise NotImplementedError("09.3 Conv2d.__init__: README.md, 09.3")

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, h, w) → (batch, out_channels, out_h, out_w)."""
        raise NotImplementedError("09.3 Conv2d.forward: README.md, 09.3")


# 09.4 Pooling


class MaxPool2d(Module):
    """The largest value of each window, as torch.nn.MaxPool2d: windows do not overlap unless stride is given."""

    def __init__(self, kernel_size: Pair, stride: Pair | None = None):
        raise NotImplementedError("09.4 MaxPool2d.__init__: README.md, 09.4")

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, h, w) → (batch, channels, out_h, out_w).

        The gradients of a window's equal maxima add up to the window's gradient.
        """
        raise NotImplementedError("09.4 MaxPool2d.forward: README.md, 09.4")


defvjp("max_pool2d", ...)


class AvgPool2d(Module):
    """The mean of each window, as torch.nn.AvgPool2d: windows do not overlap unless stride is given.

    The mean of integers is float32.
    """

    def __init__(self, kernel_size: Pair, stride: Pair | None = None):
        raise NotImplementedError("09.4 AvgPool2d.__init__: README.md, 09.4")

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, h, w) → (batch, channels, out_h, out_w)."""
        raise NotImplementedError("09.4 AvgPool2d.forward: README.md, 09.4")


defvjp("avg_pool2d", ...)


class GlobalAvgPool(Module):
    """The mean of each channel: (batch, channels, h, w) → (batch, channels)."""

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError("09.4 GlobalAvgPool.forward: README.md, 09.4")


# 09.5 Batch normalisation


class BatchNorm2d(Module):
    """y = (x - mean) / √(var + eps) · weight + bias, for each channel, as torch.nn.BatchNorm2d (Ioffe & Szegedy 2015, alg. 1).

    In train mode mean and variance (biased) are those of the batch over (batch, h, w). The running statistics move toward them
    in place, by the fraction `momentum`; running_var follows the unbiased variance. Eval mode uses the running statistics, and
    doesn't change them.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1):
        raise NotImplementedError("09.5 BatchNorm2d.__init__: README.md, 09.5")

    def forward(self, x: Tensor) -> Tensor:
        """x and y: (batch, num_features, h, w).

        Raises: ValueError that contains x's shape if it is different or, in train mode, has fewer than two values per channel.
        """
        raise NotImplementedError("09.5 BatchNorm2d.forward: README.md, 09.5")


# 09.6 CNN


class CNN(Sequential):
    """Layers one after another, given as a list; images are flattened to (batch, features) before a Linear."""

    def __init__(self, layers: list):
        raise NotImplementedError("09.6 CNN.__init__: README.md, 09.6")

    def forward(self, x: Tensor) -> Tensor:
        """The output of the last layer, after all layers ran one after another on x."""
        raise NotImplementedError("09.6 CNN.forward: README.md, 09.6")
