"""Spatial layers: convolution, pooling and batch normalisation of images (batch, channels, height, width).

In memory the channels of a pixel lie side by side, beneath that shape: the rows of each matrix product are then pixels, and
what one layer gives need not be copied into another order for the next.
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
    """How many places a kernel has along an axis: ⌊(size + 2·padding - kernel_size) / stride⌋ + 1.

    Raises: ValueError that names all four if the kernel does not fit, or unless kernel_size and stride are 1 or more and
    padding 0 or more.
    """
    raise NotImplementedError("09.1 output_size: README.md, 09.1")


def windows(x: np.ndarray, kernel_size: Pair, stride: Pair = 1, padding: Pair = 0) -> np.ndarray:
    """What a kernel sees at each of its places: (batch, channels, h, w) → (batch, channels, out_h, out_w, kernel_h, kernel_w).

    A view, which must not be written to: of x itself, or with padding of one copy that has zeros around it.
    Raises: ValueError as output_size, or that names x's shape unless it has four axes.
    """
    raise NotImplementedError("09.1 windows: README.md, 09.1")


# 09.2 Convolution


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Pair = 1, padding: Pair = 0) -> Tensor:
    """y[n, o, i, j] = bias[o] + Σ x[n, c, i·stride + k - padding, j·stride + l - padding] · weight[o, c, k, l]; outside x is 0.

    Shapes: x (batch, in, h, w); weight (out, in, kernel_h, kernel_w); bias (out,) → (batch, out, out_h, out_w). As in PyTorch
    the kernel is not turned round: it is a cross-correlation. Raises: ValueError that names the shapes unless they are these;
    ValueError as output_size.
    """
    raise NotImplementedError("09.2 conv2d: README.md, 09.2")


defvjp("conv2d", ..., ...)

# 09.3 Conv2d


class Conv2d(Module):
    """conv2d with a weight (out_channels, in_channels, kernel_h, kernel_w) and a bias (out_channels,) of its own.

    Initialisation: as Linear's, Kaiming uniform with a = √5 and the bias in ±1/√fan_in, as torch.nn.Conv2d (He et al., 2015).
    The attributes stride and padding, as pairs, may be changed.
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
    """The largest value of each window, as torch.nn.MaxPool2d: windows lie side by side unless stride says otherwise."""

    def __init__(self, kernel_size: Pair, stride: Pair | None = None):
        raise NotImplementedError("09.4 MaxPool2d.__init__: README.md, 09.4")

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, h, w) → (batch, channels, out_h, out_w). The largest of a window have its gradient together."""
        raise NotImplementedError("09.4 MaxPool2d.forward: README.md, 09.4")


defvjp("max_pool2d", ...)


class AvgPool2d(Module):
    """The mean of each window, as torch.nn.AvgPool2d: windows lie side by side unless stride says otherwise.

    Of integers it is float32.
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

    In train mode mean and variance (biased) are those of the batch over (batch, h, w), and the running ones move towards them
    by the share `momentum`, in place, the variance's being unbiased; in eval mode the running ones are used, and stay.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1):
        raise NotImplementedError("09.5 BatchNorm2d.__init__: README.md, 09.5")

    def forward(self, x: Tensor) -> Tensor:
        """x and y: (batch, num_features, h, w).

        Raises: ValueError that names x's shape if it is another, or has fewer than two values a channel, in train mode.
        """
        raise NotImplementedError("09.5 BatchNorm2d.forward: README.md, 09.5")


# 09.6 CNN


class CNN(Sequential):
    """Layers one after another, given as a list; what comes to the first Linear is flattened to (batch, features)."""

    def __init__(self, layers: list):
        raise NotImplementedError("09.6 CNN.__init__: README.md, 09.6")

    def forward(self, x: Tensor) -> Tensor:
        """The last layer of the one before it of … of x."""
        raise NotImplementedError("09.6 CNN.forward: README.md, 09.6")
