import math

import numpy as np
import pytest
from katas.activations import GELU
from katas.tensor import Tensor

from specs import oracles
from specs.check import assert_close, assert_dtype, assert_gradient

SCALE = math.sqrt(2 / math.pi)


def form(x: np.ndarray, scale: float = SCALE, cube: float = 0.044715, power: int = 3) -> np.ndarray:
    return x / 2 * (1 + np.tanh(scale * (x + cube * x**power)))


def test_gelu_is_the_tanh_form(draw):
    """GELU returns x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))), for any shape."""
    x = draw.normal(2, 3, 4)
    exact = [[[v / 2 * (1 + math.erf(v / math.sqrt(2))) for v in row] for row in rows] for rows in x.tolist()]
    mistakes = {
        "the exact form, with erf": exact,
        "the sigmoid form, x · σ(1.702 x)": x * oracles.activations.sigmoid(1.702 * x),
        "0.44715 instead of 0.044715": form(x, cube=0.44715),
        "√(2π) instead of √(2/π)": form(x, scale=math.sqrt(2 * math.pi)),
        "2/π without its root": form(x, scale=2 / math.pi),
        "x² instead of x³": form(x, power=2),
    }
    assert_close(GELU()(Tensor(x)), oracles.activations.gelu(x), mistakes=mistakes)


def test_gelu_has_its_published_values():
    """GELU(1) = 0.841192 and GELU(−1) = −0.158808 in the tanh form, as in other frameworks."""
    assert_close(GELU()(Tensor([-1.0, 0.0, 1.0])), [-0.158808, 0.0, 0.841192])


def test_gelu_multiplies_the_gradient_by_its_slope(draw):
    """Backward of GELU: grad · [(1 + t)/2 + x/2 · (1 − t²) · u′], where t = tanh u and u′ is the derivative of u."""
    x, grad, gelu = draw.normal(2, 3, 4), draw.normal(2, 3, 4), GELU()
    gelu(Tensor(x))
    t = np.tanh(SCALE * (x + 0.044715 * x**3))
    first, second = (1 + t) / 2, x / 2 * (1 - t * t)
    inner = SCALE * (1 + 3 * 0.044715 * x * x)
    mistakes = {
        "grad is forgotten": first + second * inner,
        "the first term alone": grad * first,
        "the second term alone": grad * second * inner,
        "u′, the inner derivative, is missing": grad * (first + second),
        "u′ without √(2/π)": grad * (first + second * inner / SCALE),
        "u′ without the factor 3": grad * (first + second * SCALE * (1 + 0.044715 * x * x)),
        "1 − t instead of 1 − t²": grad * (first + x / 2 * (1 - t) * inner),
    }
    assert_gradient(gelu.backward(grad), oracles.activations.gelu, x, grad, mistakes)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_saturates_quietly(dtype):
    """At −10⁴ GELU and its gradient are 0, at 10⁴ GELU is x and its gradient grad: no overflow, no NaN, no warning."""
    gelu, x = GELU(), np.array([-1e4, 0, 1e4], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert_close(gelu(Tensor(x)), [0, 0, 1e4])
        assert_close(gelu.backward(np.ones(3, dtype)), [0, 0.5, 1])


@pytest.mark.parametrize("value", [1e13, 1.9e19, 3e38, np.inf])
def test_gelu_is_flat_however_large_its_input(value):
    """If x² overflows, or x is infinite, GELU is x or 0 and its derivative 1 or 0, without a NaN or a warning."""
    gelu, x = GELU(), np.array([-value, value], np.float32)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert_close(gelu(Tensor(x)), [0.0, value])
        assert_close(gelu.backward(np.ones(2, np.float32)), [0.0, 1.0])


LARGE = [(np.float16, 11.0), (np.float16, 300.0), (np.float16, 6e4), (np.float32, 1e4), (np.float32, 1e30), (np.float64, 1e200)]
LARGE += [(np.float16, np.inf), (np.float32, np.inf), (np.float64, np.inf)]


@pytest.mark.parametrize(("dtype", "value"), LARGE, ids=str)
@pytest.mark.parametrize("beside", [[], [0.5], [np.nan], [np.nan, 0.5]], ids=str)
def test_gelu_is_flat_whatever_stands_beside(dtype, value, beside):
    """Beyond ±10 GELU is x or 0 and its derivative 1 or 0, in every dtype, even if other elements are small or NaN."""
    for x, y, slope in [([value], value, 1.0), ([-value], 0.0, 0.0)]:
        alone, gelu = GELU(), GELU()
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            rest = alone(Tensor(np.array(beside, dtype))).data.tolist()
            slopes = alone.backward(np.ones(len(beside), dtype)).tolist()
            assert_close(gelu(Tensor(np.array(x + beside, dtype))), np.array([y, *rest], dtype))
            assert_close(gelu.backward(np.ones(1 + len(beside), dtype)), np.array([slope, *slopes], dtype))


def test_gelu_of_nan_is_nan():
    """A NaN in the input gives NaN in the result and in the gradient at its own position, and nowhere else."""
    gelu = GELU()
    assert_close(gelu(Tensor(np.array([np.nan, 0.0]))), [np.nan, 0.0])
    assert_close(gelu.backward(np.ones(2)), [np.nan, 0.5])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_keeps_the_dtype(dtype, draw):
    """The output and the gradient have the input's dtype, float32 or float64. A np.sqrt(2 / np.pi) would promote it."""
    gelu = GELU()
    assert_dtype(gelu(Tensor(draw.normal(3, 4, dtype=dtype))), dtype)
    assert_dtype(gelu.backward(draw.normal(3, 4, dtype=dtype)), dtype)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8, np.int64])
def test_gelu_of_integers_gives_float32(dtype):
    """GELU of integers and booleans gives float32, and x³ does not overflow: int8 can't hold 6³."""
    for values in ([0, 1, 6], [0, 1, 100]):
        x = np.array(values, dtype)
        assert_dtype(GELU()(Tensor(x)), np.float32)
        assert_close(GELU()(Tensor(x)), oracles.activations.gelu(x.astype(np.float64)))


def test_gelu_is_done_in_numpy(budget):
    """The number of Python instructions, forward and backward, must not grow with the number of elements."""
    few, many = Tensor(np.ones((10, 10), np.float32)), Tensor(np.ones((100, 100), np.float32))
    gelu = GELU()
    budget.steps(lambda: (gelu(few), gelu.backward(few.data)), lambda: (gelu(many), gelu.backward(many.data)), limit=2)


def test_gelu_multiplies_where_a_power_would_be_slow(budget, draw):
    """GELU's forward and backward take at most eight times as long as its forward formula in NumPy. x · x · x is a hundred
    times faster than x ** 3, for which NumPy calls the general power function.
    """
    x, gelu = draw.normal(100, 200, dtype=np.float32).copy(), GELU()

    def formula():
        return 0.5 * x * (1 + np.tanh(SCALE * (x + 0.044715 * (x * x * x))))

    budget.time(lambda: (gelu(Tensor(x)), gelu.backward(x)), against=formula, limit=8)
