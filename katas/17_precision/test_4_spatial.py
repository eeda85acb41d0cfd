import numpy as np
import pytest
from katas.autograd import no_grad
from katas.layers import Parameter
from katas.precision import QuantizedConv2d, quantize_array
from katas.spatial import Conv2d
from katas.tensor import Tensor

from specs import oracles
from specs.check import FLOAT32, assert_close, assert_dtype, layouts, rejects

WEIGHTS = {
    "one scale": quantize_array,
    "a scale for each row": lambda w: quantize_array(w, 0),
    "affine": lambda w: quantize_array(w, 0, symmetric=False),
    "a scale for each channel that comes in": lambda w: quantize_array(w, 1),
}
weights = pytest.mark.parametrize("kind", WEIGHTS)


def made(draw, *options, kind: str = "a scale for each row", bias: bool = True, kernel=(2, 3)) -> QuantizedConv2d:
    weight = WEIGHTS[kind](draw.normal(5, 3, *kernel) + 0.3)
    return QuantizedConv2d(weight, draw.normal(5, dtype=np.float32) if bias else None, *options)


def want(layer: QuantizedConv2d, x: np.ndarray) -> np.ndarray:
    bias = None if layer.bias is None else layer.bias.data
    return oracles.spatial.conv2d(x, oracles.precision.meant(layer.weight), bias, layer.stride, layer.padding)


@weights
@pytest.mark.parametrize("options", [(), ((1, 2),), ((2, 1), (1, 0)), ((1, 1), (0, 2))], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_convolves_with_what_its_integers_mean(kind, options, bias, draw):
    """A QuantizedConv2d computes conv2d with weight.dequantize(), its bias, stride and padding (height, width), for every kind
    of weight.
    """
    layer, x = made(draw, *options, kind=kind, bias=bias), draw.normal(2, 3, 6, 7)
    assert_close(layer(Tensor(x)), want(layer, x), FLOAT32)


def test_a_kernel_of_one_pixel(draw):
    """It has stride and padding as others."""
    layer, x = made(draw, (2, 1), (1, 2), kernel=(1, 1)), draw.normal(2, 3, 6, 7)
    assert_close(layer(Tensor(x)), want(layer, x), FLOAT32)


def test_every_channel_is_made_wherever_the_blocks_end(draw):
    """Every channel is computed, also of kernels that fill several blocks."""
    weight = quantize_array(draw.normal(5, 900, 8, 4), 0)
    layer, x = QuantizedConv2d(weight), draw.normal(1, 900, 8, 5)
    got = layer(Tensor(x)).data
    for column in range(2):
        right = x[0, :, :, column : column + 4].ravel() @ oracles.precision.meant(weight).reshape(5, -1).T
        assert_close(got[0, :, 0, column], right, FLOAT32)


@pytest.mark.parametrize("frozen", [True, False])
def test_it_is_a_conv2d(frozen, draw):
    """A QuantizedConv2d is a Conv2d with its attributes; its bias is a copy, as a Parameter, or None."""
    weight, bias = quantize_array(draw.normal(5, 3, 2, 2), 0), Parameter(draw.normal(5, dtype=np.float32))
    bias.requires_grad = not frozen
    layer = QuantizedConv2d(weight, bias, (2, 1), (0, 1))
    assert isinstance(layer, Conv2d)
    assert layer.weight is weight
    assert (layer.stride, layer.padding) == ((2, 1), (0, 1))
    assert isinstance(layer.bias, Parameter)
    assert layer.bias is not bias
    assert not np.shares_memory(layer.bias.data, bias.data)
    assert_close(layer.bias, bias.data)
    plain = QuantizedConv2d(weight)
    assert (plain.bias, plain.stride, plain.padding) == (None, (1, 1), (0, 0))


def test_the_state_is_int8(draw):
    """The state_dict of a QuantizedConv2d has weight.values, weight.scale and bias, also one of zeros, and holds int8."""
    layer = made(draw)
    assert set(QuantizedConv2d(layer.weight, np.zeros(5, np.float32)).state_dict()) == {"weight.values", "weight.scale", "bias"}
    state = layer.state_dict()
    assert set(state) == {"weight.values", "weight.scale", "bias"}
    assert state["weight.values"].dtype == np.int8
    assert state["weight.values"].shape == (5, 3, 2, 3)


def test_the_result_has_the_dtype_of_x(draw):
    """The result has x's dtype, float32 or float64, and float32 for integers."""
    layer, x = made(draw), np.round(draw.normal(2, 3, 6, 7) * 4)
    for dtype, result in ((np.float32, np.float32), (np.float64, np.float64), (np.int64, np.float32)):
        assert_dtype(layer(Tensor(x.astype(dtype))), result)
        assert_close(layer(Tensor(x.astype(dtype))), want(layer, x), FLOAT32)
    floats, exact = layer.weight.dequantize().astype(np.float64), QuantizedConv2d(layer.weight, draw.normal(5))
    assert_close(exact(Tensor(x)), oracles.spatial.conv2d(x, floats, exact.bias.data, (1, 1), (0, 0)))


def test_float16_holds_the_result_not_the_sums():
    """For float16, sums and the bias are added in float32: 80,000 - 50,000 is 30,000, though float16 ends at 65,504."""
    layer = QuantizedConv2d(quantize_array(np.full((1, 2, 1, 1), 40_000.0)), np.array([-50_000.0], np.float32))
    got = layer(Tensor(np.ones((1, 2, 2, 2), np.float16)))
    assert_dtype(got, np.float16)
    assert_close(got, np.full((1, 1, 2, 2), 30_000.0), FLOAT32)


@pytest.mark.parametrize("order", ["column by column", "backwards", "in steps"])
def test_images_may_lie_in_memory_in_any_order(order, draw):
    """Images may lie in memory in any order."""
    layer, x = made(draw, (1, 1), (1, 1)), draw.normal(2, 3, 6, 7)
    assert_close(layer(Tensor(layouts(x)[order])), want(layer, x), FLOAT32)


def test_attributes_may_be_exchanged(draw):
    """A layer uses the weight, bias, stride and padding that it has at the call."""
    layer, other, x = made(draw), made(draw, (2, 1), (1, 2), bias=False), draw.normal(2, 3, 6, 7)
    layer(Tensor(x))
    layer.weight, layer.bias, layer.stride, layer.padding = other.weight, None, (2, 1), (1, 2)
    assert_close(layer(Tensor(x)), want(other, x), FLOAT32)
    layer.weight = made(draw, kernel=(3, 1)).weight
    assert_close(layer(Tensor(x)), want(layer, x), FLOAT32)


def test_no_images_give_no_images(draw):
    """An empty batch has an empty result, of the dtype that others have. It is checked as others are."""
    layer = made(draw)
    for dtype, result in ((np.float16, np.float16), (np.float32, np.float32), (np.float64, np.float64), (np.int64, np.float32)):
        got = layer(Tensor(np.zeros((0, 3, 6, 7), dtype)))
        assert got.shape == (0, 5, 5, 5)
        assert_dtype(got, result)
    with rejects(RuntimeError, "inference"):
        layer(Tensor(np.zeros((0, 3, 6, 7)), requires_grad=True))
    with rejects(ValueError, "(0, 4, 6, 7)"):
        layer(Tensor(np.zeros((0, 4, 6, 7))))


@pytest.mark.parametrize("shape", [(2, 4, 6, 7), (2, 1, 6, 7), (3, 6, 7), (2, 3, 6)])
def test_images_that_do_not_fit_are_refused(shape, draw):
    """Images of a wrong shape raise a ValueError that contains the shape."""
    with rejects(ValueError, str(shape)):
        made(draw)(Tensor(np.zeros(shape, np.float32)))


def test_an_image_smaller_than_the_kernel_is_refused(draw):
    """An image in which the kernel has no place raises kata 09's ValueError; with padding it may have one."""
    x = Tensor(np.ones((2, 3, 1, 2), np.float32))
    with rejects(ValueError):
        made(draw)(x)
    layer = made(draw, (1, 1), (1, 1))
    assert_close(layer(x), want(layer, x.data), FLOAT32)


def test_it_is_for_inference(draw):
    """QuantizedConv2d: where a gradient would be recorded, a RuntimeError contains "inference". Under no_grad it works. The
    mode makes no difference.
    """
    layer, x = made(draw), Tensor(draw.normal(2, 3, 6, 7), requires_grad=True)
    for mode in (True, False):
        with rejects(RuntimeError, "inference"):
            layer.train(mode)(x)
    with no_grad():
        assert_close(layer(x), want(layer, x.data), FLOAT32)
    assert not layer(Tensor(x.data)).requires_grad


def test_there_are_never_all_kernels_as_floats(budget):
    """A convolution with 2.4 million weights, 9.4 MB as float32, allocates less than 3 MB."""
    layer = QuantizedConv2d(quantize_array(np.random.default_rng(0).standard_normal((512, 512, 3, 3), np.float32), 0))
    x = Tensor(np.ones((1, 512, 4, 4), np.float32))
    budget.bytes(lambda: layer(x), peak=3_000_000)


def test_a_convolution_takes_no_loop_over_pixels(budget, draw):
    """The number of Python instructions does not grow with the number of images and pixels."""
    layer, small, large = made(draw), Tensor(draw.normal(1, 3, 4, 4)), Tensor(draw.normal(10, 3, 16, 16))
    budget.steps(lambda: layer(small), lambda: layer(large), limit=2)
