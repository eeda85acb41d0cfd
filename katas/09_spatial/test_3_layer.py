import math

import numpy as np
import pytest
from katas.spatial import Conv2d
from katas.tensor import Tensor

from specs import oracles
from specs.check import assert_close, assert_dtype, global_state, rejects


@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding"), [(3, 1, 0), (3, 1, 1), (4, 2, 1), ((2, 3), (1, 2), (0, 1))], ids=str
)
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_convolves_with_its_own_weight_and_bias(kernel_size, stride, padding, bias, draw):
    """Conv2d(in, out, kernel_size, stride, padding)(x) is conv2d with weight (out, in, kernel_h, kernel_w) and bias (out,)."""
    layer, x = Conv2d(3, 4, kernel_size, stride, padding, bias, np.random.default_rng(0)), draw.normal(2, 3, 7, 8)
    pairs = [(value, value) if isinstance(value, int) else value for value in (stride, padding)]
    want = oracles.spatial.conv2d(x, layer.weight.data, layer.bias.data if bias else None, *pairs)
    assert_close(layer(Tensor(x)), want, mistakes={"without the bias": want - (layer.bias.data[:, None, None] if bias else 1)})


def test_the_parameters_have_pytorchs_names_and_shapes():
    """The parameters are weight (out, in, kernel_h, kernel_w) and bias (out,); with bias=False, the attribute bias is None."""
    layer = Conv2d(3, 4, (2, 5))
    assert {name: parameter.shape for name, parameter in layer.named_parameters()} == {"weight": (4, 3, 2, 5), "bias": (4,)}
    bare = Conv2d(3, 4, 2, bias=False)
    assert bare.bias is None
    assert [name for name, _ in bare.named_parameters()] == ["weight"]


def test_the_sizes_are_attributes():
    """stride and padding are attributes: pairs (height, width), even if a single number was given."""
    assert (Conv2d(3, 4, 3).stride, Conv2d(3, 4, 3).padding) == ((1, 1), (0, 0))
    layer = Conv2d(3, 4, 3, 2, (1, 0))
    assert (layer.stride, layer.padding) == ((2, 2), (1, 0))


def test_stride_and_padding_may_be_changed_later(draw):
    """Each forward uses the current values of stride, padding, weight and bias."""
    layer, x = Conv2d(3, 4, 3, rng=np.random.default_rng(0)), draw.normal(2, 3, 7, 8)
    layer(Tensor(x))
    layer.stride, layer.padding = (2, 1), (1, 0)
    want = oracles.spatial.conv2d(x, layer.weight.data, layer.bias.data, (2, 1), (1, 0))
    assert_close(layer(Tensor(x)), want)
    layer.bias = None
    assert_close(layer(Tensor(x)), oracles.spatial.conv2d(x, layer.weight.data, None, (2, 1), (1, 0)))
    layer.weight.data = np.ones((4, 3, 3, 3))
    assert_close(layer(Tensor(x)), oracles.spatial.conv2d(x, np.ones((4, 3, 3, 3)), None, (2, 1), (1, 0)))


def test_a_bias_of_zeros_is_added_and_learnt():
    """A bias that was set to 0 is still a parameter, and receives a gradient."""
    layer = Conv2d(3, 4, 3)
    layer.bias.data[:] = 0
    layer(Tensor(np.ones((2, 3, 4, 4), np.float32))).sum().backward()
    assert_close(layer.bias.grad, np.full(4, 8.0))


def test_every_weight_is_drawn_for_itself():
    """All values of the weight and the bias differ in magnitude: each is drawn independently, and none is a shifted, flipped or
    negated copy of another. NumPy's global generator is not used.
    """
    before, layer = global_state(), Conv2d(3, 4, (2, 5), rng=np.random.default_rng(0))
    values = np.abs(np.concatenate([layer.weight.data.ravel(), layer.bias.data]))
    assert len(np.unique(values)) == values.size == 124
    Conv2d(3, 4, 2)
    assert global_state() == before


def test_the_weight_is_drawn_as_pytorch_draws_it():
    """Weight and bias are uniform in ±1/√fan_in, where fan_in is in · kernel_h · kernel_w."""
    layer = Conv2d(16, 2000, (3, 5), rng=np.random.default_rng(0))
    bound = 1 / math.sqrt(16 * 3 * 5)
    for values in (layer.weight.data, layer.bias.data):
        assert_dtype(values, np.float32)
        assert np.abs(values).max() <= bound
        assert np.abs(values).max() > 0.95 * bound
        assert abs(values.std() / (bound / math.sqrt(3)) - 1) < 0.1
        assert abs(values.mean()) < 0.1 * bound


def test_a_generator_decides_the_weight():
    """Equal seeds give equal layers, and different seeds give different layers. Two layers drawn from the same generator
    differ, and so do two layers without a generator.
    """
    first, same, other = (Conv2d(2, 3, 3, rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert_close(first.weight, same.weight)
    assert_close(first.bias, same.bias)
    assert not np.array_equal(first.weight.data, other.weight.data)
    rng = np.random.default_rng(1)
    assert not np.array_equal(Conv2d(2, 3, 3, rng=rng).weight.data, Conv2d(2, 3, 3, rng=rng).weight.data)
    assert not np.array_equal(Conv2d(2, 3, 3).weight.data, Conv2d(2, 3, 3).weight.data)


def test_the_parameters_receive_gradients(draw):
    """y.backward(g) gives weight and bias the same gradients as conv2d does."""
    layer, x = Conv2d(3, 4, 3, 2, 1, rng=np.random.default_rng(0)), draw.normal(2, 3, 7, 8, dtype=np.float32)
    y = layer(Tensor(x))
    g = draw.normal(*y.shape, dtype=np.float32)
    y.backward(g)
    _, to_weight, to_bias = oracles.spatial.conv2d_gradients(g, x, layer.weight.data, (2, 2), (1, 1))
    assert_close(layer.weight.grad, to_weight)
    assert_close(layer.bias.grad, to_bias)
    assert_dtype(layer.weight.grad, np.float32)


def test_other_channels_are_refused():
    """An input with a wrong number of channels raises a ValueError whose message contains its shape."""
    with rejects(ValueError, "(2, 5, 8, 8)"):
        Conv2d(3, 4, 3)(Tensor(np.zeros((2, 5, 8, 8))))
