import math

import numpy as np
import pytest
from katas.tensor import Tensor, maximum, where

from specs.check import assert_close, assert_dtype, rejects

FUNCTIONS = ["exp", "log", "sqrt", "tanh"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_act_on_every_element(name, draw):
    """exp, log (natural), sqrt and tanh act on each element."""
    x = draw.uniform(0.5, 2, 3, 4)
    want = [[getattr(math, name)(value) for value in row] for row in x.tolist()]
    assert_close(getattr(Tensor(x), name)(), want, mistakes={"the logarithm to base 10": np.log10(x), "base 2": np.log2(x)})


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("dtype", "want"), [(np.float32, np.float32), (np.float64, np.float64), (np.int64, np.float32)])
def test_functions_keep_the_float_dtype(name, dtype, want):
    """Functions of float32 give float32. Functions of integers give float32, too."""
    assert_dtype(getattr(Tensor(np.ones((2, 3), dtype)), name)(), want)


@pytest.mark.parametrize("name", ["exp", "sqrt", "tanh"])
def test_functions_of_booleans_give_float32(name):
    """Functions of booleans give float32 (NumPy alone gives float16)."""
    assert_dtype(getattr(Tensor([True, False]), name)(), np.float32)


def test_tanh_saturates_quietly():
    """tanh(±10⁴) is ±1, without overflow, NaN or a warning."""
    with np.errstate(all="raise"):
        assert_close(Tensor(np.array([-1e4, 0.0, 1e4])).tanh(), [-1, 0, 1])


def test_maximum_takes_the_larger_of_each_pair(draw):
    """maximum(a, b) compares element by element and broadcasts; a scalar or an array may be on either side."""
    a, b = draw.normal(2, 3, 4), draw.normal(4)
    want = np.where(a > b, a, b)
    assert_close(maximum(Tensor(a), Tensor(b)), want, mistakes={"the minimum": np.where(a > b, b, a)})
    assert_close(maximum(a, Tensor(b)), want)
    assert_close(maximum(Tensor(a), 0), np.where(a > 0, a, 0))
    assert_close(maximum(0, Tensor(a)), np.where(a > 0, a, 0))


def test_maximum_passes_nan_on():
    """maximum gives NaN if either operand is NaN: a broken number must not vanish."""
    assert_close(maximum(Tensor([math.nan, 1.0]), Tensor([1.0, math.nan])), [math.nan, math.nan])


def test_where_chooses(draw):
    """where(condition, a, b) is a where the condition is true, else b; all three are broadcast."""
    a, b, condition = draw.normal(2, 1, 4), draw.normal(3, 1), draw.normal(3, 4) > 0
    want = np.empty((2, 3, 4))
    for i, j, k in np.ndindex(2, 3, 4):
        want[i, j, k] = a[i, 0, k] if condition[j, k] else b[j, 0]
    for choice in (condition, Tensor(condition)):
        assert_close(where(choice, Tensor(a), Tensor(b)), want)
    assert_close(where(condition, Tensor(a), -1e9), np.where(condition, a, -1e9))


def test_maximum_and_where_do_not_promote():
    """A scalar with a float32 tensor gives float32 in maximum and where; the condition's dtype doesn't matter."""
    x = Tensor(np.ones((2, 3), np.float32))
    assert_dtype(maximum(x, 0.5), np.float32)
    assert_dtype(where(x > 0, x, -1e9), np.float32)
    assert_dtype(where(x > 0, 0.0, x), np.float32)


def test_maximum_and_where_take_the_float_dtype():
    """maximum and where of integers and floats give the floats' dtype; a float scalar with integers gives float32."""
    counts, x = Tensor([1, 2, 3]), Tensor([0.5, 2.5, 0.5])
    for result in (maximum(counts, x), maximum(x, counts), where(x > 1, counts, x), where(x > 1, x, counts)):
        assert_dtype(result, np.float32)
    assert_dtype(maximum(counts, 1.5), np.float32)
    assert_dtype(where(x > 1, counts, 1.5), np.float32)
    assert_dtype(where(x > 1, counts, 0), np.int64)


CHOICES = {"maximum": maximum, "where": lambda a, b: where(np.array([True, False]), a, b)}
WHOLE = [np.bool_, np.uint8, np.int32, np.int64]


@pytest.mark.parametrize("choose", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("whole", WHOLE)
def test_the_dtype_does_not_depend_on_the_side(choose, whole):
    """maximum and where give the same dtype, whichever operand comes first, and whichever is a scalar or an array."""
    counts = np.ones(2, whole)
    for dtype in (np.float16, np.float32, np.float64):
        x = np.ones(2, dtype)
        for a, b in [(counts, x), (x, counts)]:
            for left, right in [(Tensor(a), Tensor(b)), (Tensor(a), b), (a, Tensor(b))]:
                assert_dtype(choose(left, right), dtype)
    for number, dtype in [(0.5, np.float32), (np.float64(0.5), np.float32), (True, whole), (np.True_, whole)]:
        assert_dtype(choose(number, Tensor(counts)), dtype)
        assert_dtype(choose(Tensor(counts), number), dtype)


@pytest.mark.parametrize("choose", CHOICES.values(), ids=CHOICES)
def test_one_operand_must_be_a_tensor(choose):
    """maximum and where raise a TypeError if neither operand is a Tensor: NumPy has functions for scalars and arrays."""
    for a, b in [(1, 2.0), (np.ones(2), 1.0), (1.0, np.ones(2)), (np.ones(2), np.ones(2))]:
        with rejects(TypeError, "Tensor"):
            choose(a, b)


def test_maximum_and_where_name_shapes_that_do_not_fit():
    """Shapes that can't be broadcast raise a ValueError whose message contains them."""
    a, b = Tensor(np.ones((2, 3))), Tensor(np.ones((4, 5)))
    with rejects(ValueError, "(2, 3)", "(4, 5)"):
        maximum(a, b)
    with rejects(ValueError, "(2, 3)", "(4, 5)"):
        where(a > 0, a, b)


def test_a_condition_that_is_not_boolean_is_refused():
    """where raises a TypeError whose message contains the condition's dtype, unless it is boolean."""
    with rejects(TypeError, "float64"):
        where(Tensor(np.ones(3)), Tensor(np.ones(3)), Tensor(np.ones(3)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_done_in_numpy(name, budget):
    """The number of Python instructions must not grow with the number of elements."""
    few, many = Tensor(np.ones((10, 10), np.float32)), Tensor(np.ones((100, 100), np.float32))
    budget.steps(lambda: getattr(few, name)(), lambda: getattr(many, name)(), limit=2)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_hold_their_result_and_nothing_else(name, budget):
    """A function allocates only its result: no list of boxed floats, no copy in float64."""
    x = Tensor(np.ones((250, 1000), np.float32))
    budget.bytes(lambda: getattr(x, name)(), peak=1_500_000)


@pytest.mark.parametrize("call", [lambda: Tensor([0.0]).log(), lambda: Tensor([-1.0]).sqrt(), lambda: Tensor([1e9]).exp()])
def test_numpys_error_handling_is_obeyed(call):
    """Who asks NumPy to raise at a division by zero or an overflow gets the error: it is not silenced inside."""
    with np.errstate(all="raise"), rejects(FloatingPointError):
        call()
