import numpy as np
import pytest
from katas.activations import Sigmoid, Tanh
from katas.tensor import Tensor

from specs import oracles
from specs.check import assert_close, assert_dtype, assert_gradient


def test_sigmoid_squeezes_numbers_between_zero_and_one(draw):
    """Sigmoid returns 1 / (1 + e⁻ˣ), for any shape."""
    x = draw.normal(2, 3, 4)
    mistakes = {
        "1 / (1 + eˣ): the sign of the exponent": 1 / (1 + np.exp(x)),
        "½(1 + tanh x), not of x/2": (1 + np.tanh(x)) / 2,
        "tanh(x/2), neither shifted nor halved": np.tanh(x / 2),
    }
    assert_close(Sigmoid()(Tensor(x)), oracles.activations.sigmoid(x), mistakes=mistakes)


def test_sigmoid_multiplies_the_gradient_by_its_slope(draw):
    """Backward of Sigmoid: grad · y (1 − y), where y is the output."""
    x, grad, sigmoid = draw.normal(2, 3, 4), draw.normal(2, 3, 4), Sigmoid()
    sigmoid(Tensor(x))
    y = oracles.activations.sigmoid(x)
    mistakes = {
        "grad is forgotten": y * (1 - y),
        "x (1 − x), of the input instead of the output": grad * x * (1 - x),
        "the output was taken for the input: σ(y) (1 − σ(y))": grad / (2 + np.exp(y) + np.exp(-y)),
        "the derivative of tanh": grad * (1 - y * y),
    }
    assert_gradient(sigmoid.backward(grad), oracles.activations.sigmoid, x, grad, mistakes)


def test_tanh_squeezes_numbers_between_minus_one_and_one(draw):
    """Tanh returns the hyperbolic tangent, for any shape."""
    x = draw.normal(2, 3, 4)
    mistakes = {"the sigmoid": oracles.activations.sigmoid(x), "the tangent": np.tan(x)}
    assert_close(Tanh()(Tensor(x)), oracles.activations.tanh(x), mistakes=mistakes)


def test_tanh_multiplies_the_gradient_by_its_slope(draw):
    """Backward of Tanh: grad · (1 − y²), where y is the output."""
    x, grad, tanh = draw.normal(2, 3, 4), draw.normal(2, 3, 4), Tanh()
    tanh(Tensor(x))
    y = np.tanh(x)
    mistakes = {
        "grad is forgotten": 1 - y * y,
        "1 − y: the square is missing": grad * (1 - y),
        "1 − x², of the input instead of the output": grad * (1 - x * x),
        "the output was taken for the input: 1 − tanh² y": grad * (1 - np.tanh(y) ** 2),
        "the derivative of the sigmoid": grad * y * (1 - y),
    }
    assert_gradient(tanh.backward(grad), oracles.activations.tanh, x, grad, mistakes)


@pytest.mark.parametrize(("activation", "low", "middle"), [(Sigmoid, 0, 0.5), (Tanh, -1, 0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_and_tanh_saturate_quietly(activation, low, middle, dtype):
    """At ±10⁴ Sigmoid and Tanh return their limit and the gradient is 0: no overflow, no NaN, no warning."""
    layer, x = activation(), np.array([-1e4, 0, 1e4], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert_close(layer(Tensor(x)), [low, middle, 1])
        assert_close(layer.backward(np.ones(3, dtype)), [0, 0.25 if activation is Sigmoid else 1, 0])


@pytest.mark.parametrize("activation", [Sigmoid, Tanh])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_and_tanh_keep_the_dtype(activation, dtype, draw):
    """The output and the gradient have the input's dtype, float32 or float64."""
    layer = activation()
    assert_dtype(layer(Tensor(draw.normal(3, 4, dtype=dtype))), dtype)
    assert_dtype(layer.backward(draw.normal(3, 4, dtype=dtype)), dtype)


@pytest.mark.parametrize("activation", [Sigmoid, Tanh])
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8, np.int64])
def test_sigmoid_and_tanh_of_integers_give_float32(activation, dtype):
    """Sigmoid and Tanh of integers and booleans give float32, with the values of the same numbers in float32."""
    x = np.array([0, 1, 100], dtype)
    assert_dtype(activation()(Tensor(x)), np.float32)
    assert_close(activation()(Tensor(x)), activation()(Tensor(x.astype(np.float32))).data)


@pytest.mark.parametrize("activation", [Sigmoid, Tanh])
def test_sigmoid_and_tanh_are_done_in_numpy(activation, budget):
    """The number of Python instructions, forward and backward, must not grow with the number of elements."""
    few, many = Tensor(np.ones((10, 10), np.float32)), Tensor(np.ones((100, 100), np.float32))
    layer = activation()
    budget.steps(lambda: (layer(few), layer.backward(few.data)), lambda: (layer(many), layer.backward(many.data)), limit=2)


@pytest.mark.parametrize("activation", [Sigmoid, Tanh])
def test_sigmoid_and_tanh_hold_a_few_arrays(activation, budget):
    """Sigmoid and Tanh hold at most seven arrays of the input's size: no list of boxed floats."""
    x, layer = Tensor(np.ones((250, 1000), np.float32)), activation()
    budget.bytes(lambda: (layer(x), layer.backward(x.data)), peak=7 * x.data.nbytes)
