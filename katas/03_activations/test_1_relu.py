import math

import numpy as np
import pytest
from katas.activations import LeakyReLU, ReLU
from katas.tensor import Tensor

from specs import oracles
from specs.check import Tolerance, assert_close, assert_dtype, assert_gradient

SLOPES = [0.01, 0.3, 1.5, -0.5, -2.0, 1.0]


def test_relu_lets_through_what_is_positive(draw):
    """ReLU returns x where x > 0, else 0, for any shape."""
    x = draw.normal(2, 3, 4)
    mistakes = {"the absolute value": abs(x), "the negative part": np.minimum(x, 0), "0 or 1, not x": (x > 0) * 1.0}
    assert_close(ReLU()(Tensor(x)), oracles.activations.relu(x), mistakes=mistakes)


def test_relu_passes_the_gradient_where_the_input_was_positive(draw):
    """Backward of ReLU: grad where x > 0, else 0."""
    x, grad, relu = draw.normal(2, 3, 4), draw.normal(2, 3, 4), ReLU()
    relu(Tensor(x))
    mistakes = {
        "grad is forgotten": (x > 0) * 1.0,
        "grad passes everywhere": grad,
        "grad passes where x < 0": grad * (x < 0),
        "grad passes where grad is positive, not where x is": grad * (grad > 0),
        "grad times the output, not times its derivative": grad * np.maximum(x, 0),
    }
    assert_gradient(relu.backward(grad), oracles.activations.relu, x, grad, mistakes)


def test_the_gradient_of_relu_at_zero_is_zero():
    """At 0, where ReLU has a corner, its derivative is 0 by convention."""
    relu = ReLU()
    relu(Tensor(np.array([-1.0, -0.0, 0.0, 2.0])))
    got = relu.backward(np.array([5.0, 7.0, 11.0, 13.0]))
    assert_close(got, [0.0, 0.0, 0.0, 13.0], mistakes={"at 0 the gradient passes": [0.0, 7.0, 11.0, 13.0]})


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_relu_stops_infinite_gradients_too(value):
    """Where x is not positive, ReLU's gradient is 0, even if grad is infinite or NaN."""
    relu = ReLU()
    relu(Tensor(np.array([-1.0, 0.0, 2.0, 3.0])))
    got = relu.backward(np.array([value, value, value, 5.0]))
    assert_close(got, [0.0, 0.0, value, 5.0], mistakes={"infinity times 0": [math.nan, math.nan, value, 5.0]})


def test_leaky_relu_lets_a_part_of_the_negative_through(draw):
    """LeakyReLU returns x where x > 0, else negative_slope · x; the slope is 0.01 by default."""
    x = draw.normal(2, 3, 4)
    mistakes = {"x² / 100": x * x * 0.01, "the slope is on the positive side": np.where(x > 0, 0.01 * x, x)}
    assert_close(LeakyReLU()(Tensor(x)), oracles.activations.leaky_relu(x), mistakes=mistakes)


@pytest.mark.parametrize("slope", SLOPES)
def test_leaky_relu_takes_any_slope(slope, draw):
    """LeakyReLU(negative_slope) uses the same formula for any slope, even above 1 or below 0."""
    x = draw.normal(2, 3, 4)
    mistakes = {
        "the slope is always 0.01": np.where(x > 0, x, 0.01 * x),
        "max(x, slope · x)": np.maximum(x, slope * x),
        "the slope lost its sign": np.where(x > 0, x, abs(slope) * x),
    }
    assert_close(LeakyReLU(slope)(Tensor(x)), oracles.activations.leaky_relu(x, slope), mistakes=mistakes)


@pytest.mark.parametrize("slope", SLOPES)
def test_leaky_relu_scales_the_gradient_where_the_input_was_negative(slope, draw):
    """Backward of LeakyReLU: grad where x > 0, else negative_slope · grad."""
    x, grad, leaky = draw.normal(2, 3, 4), draw.normal(2, 3, 4), LeakyReLU(slope)
    leaky(Tensor(x))
    mistakes = {
        "grad is forgotten": np.where(x > 0, 1.0, slope),
        "the gradient of ReLU": grad * (x > 0),
        "the slope is on the positive side": np.where(x > 0, slope, 1.0) * grad,
        "grad · x where x < 0": np.where(x > 0, grad, grad * x * slope),
    }
    assert_gradient(leaky.backward(grad), lambda x: oracles.activations.leaky_relu(x, slope), x, grad, mistakes)


def test_the_gradient_of_leaky_relu_at_zero_is_that_of_the_negative_side():
    """At 0 the derivative of LeakyReLU is its negative_slope."""
    leaky = LeakyReLU(0.5)
    leaky(Tensor(np.array([-1.0, 0.0, 2.0])))
    got = leaky.backward(np.array([6.0, 10.0, 14.0]))
    assert_close(got, [3.0, 5.0, 14.0], mistakes={"at 0 the gradient passes": [3.0, 10.0, 14.0]})


@pytest.mark.parametrize("activation", [ReLU, LeakyReLU])
def test_relu_and_leaky_relu_pass_nan_on(activation):
    """ReLU and LeakyReLU of NaN give NaN: a broken number must not vanish."""
    assert_close(activation()(Tensor([math.nan, 1.0])), [math.nan, 1.0])


def test_infinities_are_values_too():
    """ReLU of −∞ is 0, of ∞ it is ∞. LeakyReLU of −∞ is −∞; with a slope of 0 it is NaN, since 0 · ∞ has no value."""
    x = Tensor([-math.inf, math.inf, -1.0])
    assert_close(ReLU()(x), [0.0, math.inf, 0.0], mistakes={"x · (x > 0), and −∞ · 0 is NaN": [math.nan, math.inf, 0.0]})
    assert_close(LeakyReLU(0.5)(x), [-math.inf, math.inf, -0.5])


def test_a_slope_of_zero_is_a_slope():
    """LeakyReLU(0.0) equals ReLU: 0.0 does not mean the default."""
    leaky = LeakyReLU(0.0)
    assert_close(leaky(Tensor([-2.0, 3.0])), [0.0, 3.0], mistakes={"the slope is 0.01": [-0.02, 3.0]})
    assert_close(leaky.backward(np.array([5.0, 7.0])), [0.0, 7.0], mistakes={"the slope is 0.01": [0.05, 7.0]})


def test_no_gradient_passes_relu_at_nan():
    """NaN is not positive: there the derivative of ReLU is 0, and the derivative of LeakyReLU is its slope."""
    for layer, slope in [(ReLU(), 0.0), (LeakyReLU(0.5), 0.5), (LeakyReLU(-2.0), -2.0)]:
        layer(Tensor([math.nan, 1.0, -1.0]))
        want = [5.0 * slope, 7.0, 11.0 * slope]
        assert_close(
            layer.backward(np.array([5.0, 7.0, 11.0])), want, mistakes={"grad passes at NaN": [5.0, 7.0, 11.0 * slope]}
        )


@pytest.mark.parametrize("slope", [0, 1, 2, -1, np.float64(0.01), np.float32(0.25), np.float16(0.5), np.int64(2)], ids=repr)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_slope_is_a_number_of_any_type(slope, dtype):
    """The input decides the dtype: integer slopes and NumPy scalars promote nothing, forward or backward."""
    leaky, x, grad = LeakyReLU(slope), np.array([-3.0, 0.0, 4.0], dtype), np.array([6.0, 8.0, 10.0], dtype)
    assert_dtype(leaky(Tensor(x)), dtype)
    assert_dtype(leaky.backward(grad), dtype)
    tolerance = Tolerance("float16", 1e-3) if dtype == np.float16 else None
    assert_close(leaky(Tensor(x)), [-3.0 * float(slope), 0.0, 4.0], tolerance)
    assert_close(leaky.backward(grad), [6.0 * float(slope), 8.0 * float(slope), 10.0], tolerance)


@pytest.mark.parametrize("slope", [0.5, 0, 1, 2, -1, np.float64(0.5), np.int64(2)], ids=repr)
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8, np.int64])
def test_leaky_relu_of_integers_gives_float32(slope, dtype):
    """LeakyReLU of integers and booleans gives float32, for any slope, and no number wraps around."""
    x = np.array([0, 1, 100], dtype) if np.dtype(dtype).kind in "bu" else np.array([0, -3, 100], dtype)
    y = LeakyReLU(slope)(Tensor(x))
    assert_dtype(y, np.float32)
    assert_close(y, oracles.activations.leaky_relu(x.astype(np.float64), float(slope)))


def test_relu_of_booleans_is_int64():
    """ReLU of booleans gives int64, as maximum(x, 0) does."""
    y = ReLU()(Tensor([True, False]))
    assert_dtype(y, np.int64)
    assert_close(y, np.array([1, 0]))


@pytest.mark.parametrize("activation", [ReLU, LeakyReLU])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_relu_and_leaky_relu_keep_the_dtype(activation, dtype, draw):
    """The output and the gradient have the input's dtype, float32 or float64."""
    layer = activation()
    assert_dtype(layer(Tensor(draw.normal(3, 4, dtype=dtype))), dtype)
    assert_dtype(layer.backward(draw.normal(3, 4, dtype=dtype)), dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64])
def test_relu_and_leaky_relu_of_integers(dtype):
    """ReLU of integers keeps their dtype. LeakyReLU of integers gives float32."""
    x = Tensor(np.array([0, 1, 100], dtype))
    assert_dtype(ReLU()(x), dtype)
    assert_dtype(LeakyReLU()(x), np.float32)
    assert_close(LeakyReLU(0.5)(Tensor([-3, 4])), [-1.5, 4])


@pytest.mark.parametrize("activation", [ReLU, LeakyReLU])
def test_relu_and_leaky_relu_are_done_in_numpy(activation, budget):
    """The number of Python instructions, forward and backward, must not grow with the number of elements."""
    few, many = Tensor(np.ones((10, 10), np.float32)), Tensor(np.ones((100, 100), np.float32))
    layer = activation()
    budget.steps(lambda: (layer(few), layer.backward(few.data)), lambda: (layer(many), layer.backward(many.data)), limit=2)
