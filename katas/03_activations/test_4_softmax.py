import math

import numpy as np
import pytest
from katas.activations import Softmax
from katas.tensor import Tensor

from specs import oracles
from specs.check import Tolerance, assert_close, assert_dtype, assert_gradient, rejects

DIMS = [-1, 0, 1, 2, -2]


def mistaken(x: np.ndarray) -> dict:
    return {
        "softmax over axis 0": oracles.activations.softmax(x, 0),
        "softmax over everything": np.exp(x) / np.exp(x).sum(),
        "eˣ, not divided by its sum": np.exp(x),
        "eˣ⁻ᵐ, not divided by its sum": np.exp(x - x.max(-1, keepdims=True)),
        "x over its sum, without eˣ": x / x.sum(-1, keepdims=True),
    }


def test_softmax_turns_the_last_axis_into_probabilities(draw):
    """Softmax divides eˣ by the sum of eˣ along the last axis, so that each slice sums to 1."""
    x = draw.normal(2, 3, 4)
    assert_close(Softmax()(Tensor(x)), oracles.activations.softmax(x), mistakes=mistaken(x))


@pytest.mark.parametrize("dim", DIMS)
def test_softmax_takes_any_axis(dim, draw):
    """Softmax(dim) normalizes along the axis dim, counted from the front or from the back."""
    x = draw.normal(2, 3, 4)
    mistakes = {"softmax over the last axis, whatever dim": oracles.activations.softmax(x), **mistaken(x)}
    assert_close(Softmax(dim)(Tensor(x)), oracles.activations.softmax(x, dim), mistakes=mistakes)


@pytest.mark.parametrize("dim", DIMS)
def test_softmax_multiplies_the_gradient_by_its_jacobian(dim, draw):
    """Backward of Softmax: y · (grad − Σ grad · y), summed along dim: each output depends on every input of its slice."""
    x, grad, softmax = draw.normal(2, 3, 4), draw.normal(2, 3, 4), Softmax(dim)
    softmax(Tensor(x))
    y = oracles.activations.softmax(x, dim)
    mistakes = {
        "the diagonal of the Jacobian alone, y (1 − y)": grad * y * (1 - y),
        "grad is forgotten": y * (1 - y),
        "Σ grad · y is missing": y * grad,
        "Σ grad instead of Σ grad · y": y * (grad - grad.sum(dim, keepdims=True)),
        "the sum runs over everything": y * (grad - (grad * y).sum()),
        "the sum runs over the last axis, whatever dim": y * (grad - (grad * y).sum(-1, keepdims=True)),
        "the factor y before the bracket is missing": grad - (grad * y).sum(dim, keepdims=True),
    }
    assert_gradient(softmax.backward(grad), lambda x: oracles.activations.softmax(x, dim), x, grad, mistakes)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_of_large_numbers_is_quiet(dtype):
    """Softmax uses only differences, although e¹⁰⁰⁰⁰ overflows: no overflow, no NaN, no warning, forward and backward."""
    softmax, x = Softmax(), np.array([[1e4, 0, -1e4], [1e4, 1e4, 1e4 - 1], [-1e4, -1e4, -1e4]], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert_close(softmax(Tensor(x)), oracles.activations.softmax(x))
        grad = softmax.backward(np.array([[1, 2, 3], [0, 0, 0], [0, 0, 9]], dtype))
        assert_close(grad, [[0, 0, 0], [0, 0, 0], [-1, -1, 2]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_subtracts_the_maximum_of_each_line(dtype):
    """Each slice subtracts its own maximum. With one maximum for the whole array, a slice of small values becomes 0 / 0."""
    x = np.array([[1e4, 1e4], [-1e4, -1e4 + 1]], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert_close(Softmax()(Tensor(x)), oracles.activations.softmax(x))


def test_softmax_gives_nothing_to_what_is_masked():
    """A masked position, which holds -inf, gets probability 0 and gradient 0, and causes no NaN."""
    softmax, masked = Softmax(), -math.inf
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y = softmax(Tensor(np.array([[1.0, masked, 1.0], [masked, masked, 5.0]])))
        assert_close(y, [[0.5, 0, 0.5], [0, 0, 1]])
        assert_close(softmax.backward(np.array([[2.0, 3.0, 4.0], [1.0, 1.0, 7.0]])), [[-0.5, 0, 0.5], [0, 0, 0]])


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,), (2, 0, 4)])
@pytest.mark.parametrize("dim", [0, -1])
def test_softmax_of_no_values_is_empty(shape, dim):
    """Softmax of a tensor with an axis of length 0 is empty, and so is its gradient, as for a batch without rows."""
    layer, x = Softmax(dim), np.zeros(shape, np.float32)
    assert_close(layer(Tensor(x)), x)
    assert_close(layer.backward(x), x)


def test_softmax_names_an_axis_that_does_not_exist():
    """Softmax along an axis that x doesn't have raises a ValueError whose message contains the axis and the shape."""
    with rejects(ValueError, "2", "(3, 4)"):
        Softmax(2)(Tensor(np.ones((3, 4))))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_keeps_the_dtype(dtype, draw):
    """The output and the gradient have the input's dtype, float32 or float64."""
    softmax = Softmax()
    assert_dtype(softmax(Tensor(draw.normal(3, 4, dtype=dtype))), dtype)
    assert_dtype(softmax.backward(draw.normal(3, 4, dtype=dtype)), dtype)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8, np.int64])
def test_softmax_of_integers_gives_float32(dtype):
    """Softmax of integers and booleans gives float32. Their differences don't overflow: uint8 can't hold 1 − 100."""
    for x in (np.array([[1, 100, 98]], dtype), np.array([[-100, 100, 98]]).astype(dtype)):
        assert_dtype(Softmax()(Tensor(x)), np.float32)
        assert_close(Softmax()(Tensor(x)), oracles.activations.softmax(x.astype(np.float64)))


@pytest.mark.parametrize("dim", [0, -1, 1])
def test_softmax_of_one_number_has_no_axis(dim):
    """Softmax of a 0-d tensor raises a ValueError whose message contains the axis and the shape: there is no axis dim."""
    with rejects(ValueError, str(dim), "()"):
        Softmax(dim)(Tensor(3.0))


def test_the_gradient_of_softmax_of_float16_comes_from_float32():
    """Backward of float16 uses float32 values: in float16 a third is off by 0.02%, which a grad of 2000 multiplies."""
    layer, grad = Softmax(), np.array([2000, 2000, 2001], np.float16)
    layer(Tensor(np.zeros(3, np.float16)))
    assert_close(layer.backward(grad), np.array([-1 / 9, -1 / 9, 2 / 9]), Tolerance("float16", 2e-3))


@pytest.mark.parametrize("dim", [0, 1])
def test_softmax_of_float16_adds_in_float32(dim):
    """Softmax of float16 gives float16, but its sums, forward and backward, may exceed 65504, the largest float16."""
    layer, x = Softmax(dim), np.zeros((70_000, 1) if dim == 0 else (1, 70_000), np.float16)
    y, grad = layer(Tensor(x)), layer.backward(np.ones_like(x))
    for got, want in [(y, 1 / 70_000), (grad, 0.0)]:
        assert_dtype(got, np.float16)
        assert_close(got, np.full(x.shape, want, np.float16))


def test_softmax_is_done_in_numpy(budget):
    """The number of Python instructions, forward and backward, must not grow with the number of slices."""
    few, many = Tensor(np.ones((10, 10), np.float32)), Tensor(np.ones((1000, 10), np.float32))
    softmax = Softmax()
    budget.steps(
        lambda: (softmax(few), softmax.backward(few.data)), lambda: (softmax(many), softmax.backward(many.data)), limit=2
    )


def test_softmax_builds_no_jacobian(budget):
    """Backward holds at most eight arrays of the input's size. Here the Jacobian of one slice alone would be 25 of them."""
    x, softmax = np.ones((20, 500), np.float32), Softmax()
    softmax(Tensor(x))
    budget.bytes(lambda: softmax.backward(x), peak=8 * x.nbytes)


@pytest.mark.parametrize("dim", [-1, 0])
def test_softmax_builds_no_jacobian_of_short_lines_either(dim, budget):
    """Backward holds at most eight arrays of the input's size, even for many slices of 16 numbers."""
    x, layer = np.ones((2000, 16) if dim == -1 else (16, 2000), np.float32), Softmax(dim)
    layer(Tensor(x))
    budget.bytes(lambda: layer.backward(x), peak=8 * x.nbytes)


def test_softmax_is_as_fast_as_its_formula(budget, draw):
    """Backward takes at most four times as long as its formula in NumPy. A Jacobian for each slice would take fifty times."""
    grad, softmax = draw.normal(64, 100, dtype=np.float32).copy(), Softmax()
    y = softmax(Tensor(grad)).data
    budget.time(lambda: softmax.backward(grad), against=lambda: y * (grad - (grad * y).sum(-1, keepdims=True)), limit=4)
