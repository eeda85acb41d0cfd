import math

import numpy as np
import pytest
from katas.activations import LogSoftmax
from katas.tensor import Tensor

from specs import oracles
from specs.check import Tolerance, assert_close, assert_dtype, assert_gradient, rejects

DIMS = [-1, 0, 1, 2, -2]


def test_log_softmax_is_the_logarithm_of_the_probabilities(draw):
    """LogSoftmax returns x − log Σ eˣ, the sum along the last axis."""
    x = draw.normal(2, 3, 4)
    mistakes = {
        "softmax, without the logarithm": oracles.activations.softmax(x),
        "log softmax over axis 0": oracles.activations.log_softmax(x, 0),
        "log softmax over everything": x - np.log(np.exp(x).sum()),
        "the maximum is not added back: x − log Σ eˣ⁻ᵐ": x
        - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)),
        "x less its maximum alone": x - x.max(-1, keepdims=True),
        "the logarithm to base 10": np.log10(oracles.activations.softmax(x)),
    }
    assert_close(LogSoftmax()(Tensor(x)), oracles.activations.log_softmax(x), mistakes=mistakes)


@pytest.mark.parametrize("dim", DIMS)
def test_log_softmax_takes_any_axis(dim, draw):
    """LogSoftmax(dim) normalizes along the axis dim, counted from the front or from the back."""
    x = draw.normal(2, 3, 4)
    mistakes = {"log softmax over the last axis, whatever dim": oracles.activations.log_softmax(x)}
    assert_close(LogSoftmax(dim)(Tensor(x)), oracles.activations.log_softmax(x, dim), mistakes=mistakes)


@pytest.mark.parametrize("dim", DIMS)
def test_log_softmax_takes_the_mean_off_the_gradient(dim, draw):
    """Backward of LogSoftmax: grad − eʸ · Σ grad, the sum along dim."""
    x, grad, layer = draw.normal(2, 3, 4), draw.normal(2, 3, 4), LogSoftmax(dim)
    layer(Tensor(x))
    p = oracles.activations.softmax(x, dim)
    mistakes = {
        "Σ grad is missing": grad - p,
        "grad is forgotten": 1 - p,
        "the diagonal of the Jacobian alone, 1 − eʸ": grad * (1 - p),
        "the backward of Softmax": p * (grad - (grad * p).sum(dim, keepdims=True)),
        "Σ grad · eʸ instead of Σ grad": grad - p * (grad * p).sum(dim, keepdims=True),
        "y instead of eʸ": grad - np.log(p) * grad.sum(dim, keepdims=True),
        "the sum runs over everything": grad - p * grad.sum(),
        "the sum runs over the last axis, whatever dim": grad - p * grad.sum(-1, keepdims=True),
    }
    assert_gradient(layer.backward(grad), lambda x: oracles.activations.log_softmax(x, dim), x, grad, mistakes)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_softmax_of_the_impossible_is_finite(dtype):
    """The logarithm of a probability as small as e⁻²⁰⁰⁰⁰ is −20000, not −inf: don't take the logarithm of a softmax."""
    x = np.array([[1e4, 0, -1e4], [-1e4, -1e4, -1e4]], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert_close(LogSoftmax()(Tensor(x)), [[0, -1e4, -2e4], [-math.log(3)] * 3])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_softmax_of_large_numbers_has_a_quiet_gradient(dtype):
    """At ±10⁴ backward doesn't overflow or warn. The gradient is grad if the probability is 0, grad − Σ grad if it is 1."""
    layer = LogSoftmax()
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        layer(Tensor(np.array([[1e4, 0, -1e4]], dtype)))
        assert_close(layer.backward(np.array([[1, 2, 3]], dtype)), [[-5, 2, 3]])


def test_log_softmax_subtracts_the_maximum_of_each_line():
    """Each slice subtracts its own maximum, so slices of very different size do not affect each other."""
    x = np.array([[1e4, 1e4], [-1e4, -1e4 + 1]])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert_close(LogSoftmax()(Tensor(x)), oracles.activations.log_softmax(x))


def test_log_softmax_keeps_its_digits_beside_large_numbers():
    """LogSoftmax doesn't add the maximum m back: x − (log Σ + m) would be rounded to the digits that m leaves in float32."""
    x = np.array([[1e4, 1e4, 1e4 - 1]], np.float32)
    total = np.log(np.exp(x - np.float32(1e4)).sum()) + np.float32(1e4)
    mistakes = {"the maximum was added back before x was subtracted": x - total}
    assert_close(LogSoftmax()(Tensor(x)), oracles.activations.log_softmax(x), mistakes=mistakes)


def test_log_softmax_leaves_the_masked_at_minus_infinity():
    """A masked position, which holds -inf, stays -inf. It doesn't affect the others, and causes no NaN."""
    layer, masked = LogSoftmax(), -math.inf
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y = layer(Tensor(np.array([[1.0, masked, 1.0], [masked, masked, 5.0]])))
        assert_close(y, [[-math.log(2), masked, -math.log(2)], [masked, masked, 0]])
        assert_close(layer.backward(np.array([[3.0, 0.0, 1.0], [0.0, 0.0, 7.0]])), [[1, 0, -1], [0, 0, 0]])


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,), (2, 0, 4)])
@pytest.mark.parametrize("dim", [0, -1])
def test_log_softmax_of_no_values_is_empty(shape, dim):
    """LogSoftmax of a tensor with an axis of length 0 is empty, and so is its gradient, as for a batch without rows."""
    layer, x = LogSoftmax(dim), np.zeros(shape, np.float32)
    assert_close(layer(Tensor(x)), x)
    assert_close(layer.backward(x), x)


def test_log_softmax_names_an_axis_that_does_not_exist():
    """LogSoftmax along an axis that x doesn't have raises a ValueError whose message contains the axis and the shape."""
    with rejects(ValueError, "2", "(3, 4)"):
        LogSoftmax(2)(Tensor(np.ones((3, 4))))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_softmax_keeps_the_dtype(dtype, draw):
    """The output and the gradient have the input's dtype, float32 or float64."""
    layer = LogSoftmax()
    assert_dtype(layer(Tensor(draw.normal(3, 4, dtype=dtype))), dtype)
    assert_dtype(layer.backward(draw.normal(3, 4, dtype=dtype)), dtype)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8, np.int64])
def test_log_softmax_of_integers_gives_float32(dtype):
    """LogSoftmax of integers and booleans gives float32. Their differences don't overflow: uint8 can't hold 1 − 100."""
    for x in (np.array([[1, 100, 98]], dtype), np.array([[-100, 100, 98]]).astype(dtype)):
        assert_dtype(LogSoftmax()(Tensor(x)), np.float32)
        assert_close(LogSoftmax()(Tensor(x)), oracles.activations.log_softmax(x.astype(np.float64)))


@pytest.mark.parametrize("dim", [0, -1, 1])
def test_log_softmax_of_one_number_has_no_axis(dim):
    """LogSoftmax of a 0-d tensor raises a ValueError whose message contains the axis and the shape: there is no axis dim."""
    with rejects(ValueError, str(dim), "()"):
        LogSoftmax(dim)(Tensor(3.0))


def test_the_gradient_of_log_softmax_of_float16_comes_from_float32():
    """Backward of float16 uses float32 values: in float16 a third is off by 0.02%, which a grad of 2000 multiplies."""
    layer, grad = LogSoftmax(), np.array([2000, 2000, 2001], np.float16)
    layer(Tensor(np.zeros(3, np.float16)))
    assert_close(layer.backward(grad), np.array([-1 / 3, -1 / 3, 2 / 3]), Tolerance("float16", 2e-3))


@pytest.mark.parametrize("dim", [0, 1])
def test_log_softmax_of_float16_adds_in_float32(dim):
    """LogSoftmax of float16 gives float16, but its sums, forward and backward, may exceed 65504, the largest float16."""
    layer, x = LogSoftmax(dim), np.zeros((70_000, 1) if dim == 0 else (1, 70_000), np.float16)
    y, grad = layer(Tensor(x)), layer.backward(np.ones_like(x))
    for got, want in [(y, -math.log(70_000)), (grad, 0.0)]:
        assert_dtype(got, np.float16)
        assert_close(got, np.full(x.shape, want, np.float16))


def test_log_softmax_is_done_in_numpy(budget):
    """The number of Python instructions, forward and backward, must not grow with the number of slices."""
    few, many = Tensor(np.ones((10, 10), np.float32)), Tensor(np.ones((1000, 10), np.float32))
    layer = LogSoftmax()
    budget.steps(lambda: (layer(few), layer.backward(few.data)), lambda: (layer(many), layer.backward(many.data)), limit=2)


def test_log_softmax_builds_no_jacobian(budget):
    """Backward holds at most eight arrays of the input's size. Here the Jacobian of one slice alone would be 25 of them."""
    x, layer = np.ones((20, 500), np.float32), LogSoftmax()
    layer(Tensor(x))
    budget.bytes(lambda: layer.backward(x), peak=8 * x.nbytes)


@pytest.mark.parametrize("dim", [-1, 0])
def test_log_softmax_builds_no_jacobian_of_short_lines_either(dim, budget):
    """Backward holds at most eight arrays of the input's size, even for many slices of 16 numbers."""
    x, layer = np.ones((2000, 16) if dim == -1 else (16, 2000), np.float32), LogSoftmax(dim)
    layer(Tensor(x))
    budget.bytes(lambda: layer.backward(x), peak=8 * x.nbytes)
