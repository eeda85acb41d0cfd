import numpy as np
import pytest
from katas.autograd import defvjp, gradcheck
from katas.tensor import Tensor, concatenate, maximum

from specs.check import assert_close, layouts, rejects, undisturbed


def doubled(rule):
    """The function 2a as an operation of its own, whose derivative is the given rule: right or wrong."""
    defvjp("doubled", rule)
    return lambda a: Tensor._result("doubled", 2 * a.data, a)


def leaf(values, requires_grad=True) -> Tensor:
    return Tensor(np.array(values, np.float64), requires_grad)


FUNCTIONS = {
    "a polynomial": lambda a: a * a * a - 2 * a,
    "of one value": lambda a: (a * a).sum(),
    "an activation": lambda a: a.tanh().exp(),
    "reductions": lambda a: a.mean(0) * a.var(1, keepdim=True),
    "products": lambda a: a @ a.T,
    "changes of shape": lambda a: concatenate([a[1:], a.T.reshape(2, 3)], 0),
    "a choice": lambda a: maximum(a, 0.3),
    "a view of the input": lambda a: a.reshape(6),
    "a gradient of zeros": lambda a: (a.exp() / a.exp().sum(1, keepdim=True)).sum(1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_right_gradient_passes(name, draw):
    """gradcheck returns True itself for a right gradient, so that you can assert it."""
    assert gradcheck(FUNCTIONS[name], leaf(draw.normal(2, 3))) is True


def test_a_number_has_a_gradient_too():
    """gradcheck takes a 0-d input."""
    assert gradcheck(lambda a: a.exp(), leaf(0.5)) is True


def test_several_inputs_are_checked_each(draw):
    """gradcheck checks every input that requires a gradient, one after another."""
    a, b = leaf(draw.normal(2, 3)), leaf(draw.normal(3, 4))
    assert gradcheck(lambda a, b: a @ b, a, b) is True
    defvjp("product", lambda g, y, a, b: g @ b.T, lambda g, y, a, b: (g.T @ a).T * 1.5)
    with rejects(RuntimeError, "input 1"):
        gradcheck(lambda a, b: Tensor._result("product", a.data @ b.data, a, b), a, b)


WRONG = {
    "a factor is forgotten": lambda g, y, a: g,
    "the sign is wrong": lambda g, y, a: -2 * g,
    "off by a thousandth": lambda g, y, a: 2.002 * g,
    "zeros": lambda g, y, a: np.zeros_like(g),
    "not a number": lambda g, y, a: g * np.nan,
    "right for a gradient of ones only: reversed": lambda g, y, a: 2 * g[::-1, ::-1],
    "right for a gradient of ones only: the mean": lambda g, y, a: np.full_like(g, 2 * g.mean()),
    "right for a gradient of ones only: g is not used": lambda g, y, a: np.full_like(g, 2),
    "right where all rows of g are equal: reversed": lambda g, y, a: 2 * g[::-1],
    "right where all rows of g are equal: their mean": lambda g, y, a: np.tile(2 * g.mean(0), (2, 1)),
    "right where all columns of g are equal: reversed": lambda g, y, a: 2 * g[:, ::-1],
    "right where all columns of g are equal: their mean": lambda g, y, a: np.tile(2 * g.mean(1, keepdims=True), 3),
    "right for a g of 1 and -1: cubed": lambda g, y, a: 2 * g**3,
    "right for a g of 1 and -1: the sign": lambda g, y, a: 2 * np.sign(g),
    "right for a g of 0 and 1: squared": lambda g, y, a: 2 * g * g,
    "right for a positive g": lambda g, y, a: 2 * np.abs(g),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_gradient_is_found(name, draw):
    """gradcheck finds wrong gradients, even those right for a plain sum: it weights each result by its own random number."""
    function, x = doubled(WRONG[name]), leaf(draw.normal(2, 3))
    with rejects(RuntimeError, "input 0"):
        gradcheck(function, x)


@pytest.mark.parametrize("shape", [(400,), (20, 20), (1, 400)], ids=str)
@pytest.mark.parametrize("place", [0, 7, 150, 399])
def test_one_wrong_value_among_many_is_found(place, shape):
    """gradcheck compares the largest error with the tolerance: a mean over all values would hide it."""

    def rule(g, y, a):
        wrong = 2 * g
        wrong.reshape(-1)[place] += 3e-5
        return wrong

    index = tuple(int(i) for i in np.unravel_index(place, shape))
    with rejects(RuntimeError, "input 0", str(index)):
        gradcheck(doubled(rule), leaf(np.ones(shape)))


def test_the_place_and_both_values_are_named():
    """The error contains the input, the index of the largest difference, and the values by backward and by differences."""

    def rule(g, y, a):
        wrong = 2 * g
        wrong[1, 2] = 1234.5
        return wrong

    with rejects(RuntimeError, "input 0", "(1, 2)", "1234.5"):
        gradcheck(doubled(rule), leaf(np.ones((2, 3))))


@pytest.mark.parametrize("most", [(0, 1), (1, 0), (1, 2)], ids=str)
def test_the_place_is_that_of_the_largest_error(most):
    """If several values are wrong, the error contains the index of the largest difference, not of the first."""

    def rule(g, y, a):
        wrong = 2 * g + np.array([[3.0, -2.0, 4.0], [-5.0, 1.0, 2.0]])
        wrong[most] -= 1234.5
        return wrong

    with rejects(RuntimeError, "input 0", str(most)):
        gradcheck(doubled(rule), leaf(np.ones((2, 3))))


def test_a_function_that_loses_the_record_of_an_input_is_found():
    """gradcheck raises an error if the output depends on an input that gets no gradient: a missing gradient counts as zero."""
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    with rejects(RuntimeError, "input 1"):
        gradcheck(lambda a, b: a * Tensor(b.data), a, b)


def test_a_function_that_loses_the_whole_record_is_found():
    """gradcheck raises a RuntimeError if the result was not recorded, rather than find nothing to check."""
    with rejects(RuntimeError, "recorded"):
        gradcheck(lambda a: Tensor(a.data * 2), leaf([1.0, 2.0]))


def test_an_input_that_does_not_count_has_a_gradient_of_zeros():
    """gradcheck passes an input that the function doesn't use: a missing gradient counts as zero."""
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    assert gradcheck(lambda a, b: a * 2, a, b) is True


def test_an_input_that_requires_no_gradient_is_not_checked():
    """gradcheck doesn't check an input that requires no gradient: its rule need not exist."""
    defvjp("scaled", lambda g, y, a, b: g * b)
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0], requires_grad=False)
    assert gradcheck(lambda a, b: Tensor._result("scaled", a.data * b.data, a, b), a, b) is True


def test_an_input_after_one_that_requires_no_gradient_is_checked():
    """gradcheck skips an input that requires no gradient and still checks the inputs after it."""
    defvjp("shifted", lambda g, y, a, b: g, lambda g, y, a, b: -g)
    a, b = leaf([1.0, 2.0], requires_grad=False), leaf([3.0, 4.0])
    with rejects(RuntimeError, "input 1"):
        gradcheck(lambda a, b: Tensor._result("shifted", a.data + b.data, a, b), a, b)


def test_float32_is_refused():
    """A float32 input raises a ValueError that contains its index and dtype: a difference of two has no digits left."""
    with rejects(ValueError, "input 1", "float32"):
        gradcheck(lambda a, b: a * b, leaf([1.0]), Tensor([1.0], requires_grad=True))


def test_float32_is_refused_where_nothing_is_checked_too():
    """A float32 input raises a ValueError even if it requires no gradient: the function computes with it."""
    with rejects(ValueError, "input 1", "float32"):
        gradcheck(lambda a, b: a * b, leaf([1.0]), Tensor([1.0]))


def test_the_inputs_stay_as_they_are(draw):
    """gradcheck changes neither the values nor the grads of the inputs."""
    data = draw.normal(2, 3)
    a, b = Tensor(data, requires_grad=True), leaf(data)
    b.grad = np.ones((2, 3))
    assert gradcheck(lambda a, b: a * b, a, b) is True
    assert a.grad is None
    assert_close(b.grad, np.ones((2, 3)))
    assert_close(a, data)
    assert_close(b, data)


def test_the_tolerance_may_be_given():
    """tolerance is the largest difference allowed, relative to the largest gradient."""
    function, x = doubled(lambda g, y, a: 2.002 * g), leaf(np.ones((2, 3)))
    assert gradcheck(function, x, tolerance=0.01) is True
    with rejects(RuntimeError, "input 0"):
        gradcheck(function, x, tolerance=1e-4)


def test_the_tolerance_is_a_millionth_by_default():
    """The default tolerance is 1e-6: a gradient of 2000 may be off by 0.3 millionths of it, but not by 3."""

    def off(by):
        defvjp("scaled", lambda g, y, a: 2000 * (1 + by) * g)
        return lambda a: Tensor._result("scaled", 2000 * a.data, a)

    x = leaf([1.0, 2.0])
    with rejects(RuntimeError, "input 0"):
        gradcheck(off(3e-6), x)
    assert gradcheck(off(3e-7), x) is True


def test_the_tolerance_is_times_the_largest_or_times_1():
    """The error limit is tolerance · max(1, largest), not their sum: off by 1.4 tolerances passes if largest is above 1.4."""
    tolerance, seen = 1e-3, []

    def scaled(factor):
        defvjp("scaled", lambda g, y, a: seen.append(abs(factor * g).max()) or factor * g + 1.4 * tolerance)
        return lambda a: Tensor._result("scaled", factor * a.data, a)

    for factor in 2.0 ** np.arange(-6, 7):
        function = scaled(factor)
        try:
            passed = gradcheck(function, leaf([0.5]), tolerance=tolerance)
        except RuntimeError:
            if not seen:
                raise  # it did not come as far as a comparison
            passed = False
        if not 1.3 < seen[-1] < 1.5:  # where rounding decides
            assert passed is bool(seen[-1] > 1.4), f"a gradient of {seen[-1]:.3g} passed: {passed}"


def test_the_tolerance_is_relative_to_the_differences():
    """The tolerance is relative to the differences, not to backward's result: 4500 for 2000 is off by more than 60%."""
    defvjp("scaled", lambda g, y, a: 4500 * g)
    with rejects(RuntimeError, "input 0"):
        gradcheck(lambda a: Tensor._result("scaled", 2000 * a.data, a), leaf([1.0]), tolerance=0.6)


def test_a_small_gradient_beside_a_large_one_may_be_noise():
    """One tolerance holds for the whole input: in a sum of 10⁸, differences can't measure a gradient of 0.001."""
    factors = np.array([1e8, 1e-3, 0.0])
    assert gradcheck(lambda a: a * factors, leaf([1.3, 2.7, 0.1])) is True


def test_the_tolerance_is_relative_to_the_largest_gradient():
    """Gradients of 10⁶ may be off by more than 10⁻⁶: float64 has sixteen digits, and a difference loses half of them."""
    assert gradcheck(lambda a: a * a * 1e6, leaf([1.0, 3.0])) is True


def test_a_gradient_of_next_to_nothing_is_compared_with_1():
    """A tiny gradient is compared relative to 1: in 1000 + a / 10⁹, the differences' noise is 100 times the gradient."""
    assert gradcheck(lambda a: a * 1e-9 + 1000.0, leaf([1.0, 3.0]), tolerance=1e-4) is True


def test_eps_may_be_given():
    """eps is the ε of (f(x + ε) - f(x - ε)) / 2ε. For x³ the result is off by ε²: too much if ε is 0.1."""
    x = leaf([1.0, 2.0])
    assert gradcheck(lambda a: a**3, x, eps=1e-4) is True
    with rejects(RuntimeError, "input 0"):
        gradcheck(lambda a: a**3, x, eps=0.1)


@pytest.mark.parametrize("options", [{}, {"eps": 1e-3}, {"eps": 0.25}], ids=["default", "a thousandth", "a quarter"])
def test_each_value_is_moved_by_eps(options):
    """gradcheck moves one value at a time, to x + ε and to x - ε, and leaves the others; ε is 1e-6 by default."""
    x, eps, moves = np.array([[0.5, -1.0], [2.0, 0.0]]), options.get("eps", 1e-6), set()

    def function(a):
        moved = [(index, float(a.data[index] - x[index]) / eps) for index in np.ndindex(2, 2) if a.data[index] != x[index]]
        assert len(moved) <= 1, f"several values are moved at once: {moved}"
        moves.update((index, round(by, 6)) for index, by in moved)
        return a * 2

    assert gradcheck(function, leaf(x), **options) is True
    assert moves == {(index, sign) for index in np.ndindex(2, 2) for sign in (-1.0, 1.0)}


def test_an_error_of_the_function_passes_on():
    """gradcheck doesn't catch an exception that the function raises."""

    def fails(a):
        a * 2
        raise KeyError("on purpose")

    with rejects(KeyError, "on purpose"):
        gradcheck(fails, leaf([1.0]))


def test_a_tolerance_of_0_is_a_tolerance():
    """tolerance=0 is not treated as if none were given: central differences are never exact for a³."""
    with rejects(RuntimeError, "input 0"):
        gradcheck(lambda a: a**3, leaf([1.1, 2.3]), tolerance=0)


def test_the_function_is_given_the_inputs_values():
    """gradcheck calls the function with the inputs' values, each at its index, in any memory layout."""
    for order, values in layouts([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).items():
        seen = []

        def function(a, seen=seen):
            seen.append(a.data.copy())
            return a * 2

        assert gradcheck(function, Tensor(values, requires_grad=True)) is True
        assert np.abs(seen[0] - [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).max() < 1e-3, f"values that lie {order}"


@pytest.mark.parametrize("shape", [(0,), (2, 0), (1, 3)], ids=str)
def test_inputs_of_any_length_are_checked(shape):
    """An input with an axis of length 0 has nothing to check; one with an axis of length 1 is checked as usual."""
    assert gradcheck(lambda a: a * 2, leaf(np.ones(shape))) is True


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_where_there_is_no_slope_the_check_fails(value):
    """gradcheck raises a RuntimeError at a NaN or an infinity in an input: the differences there are not finite."""
    with np.errstate(all="ignore"), rejects(RuntimeError, "input 0"):
        gradcheck(lambda a: a - a * a, leaf([1.0, value]))


@pytest.mark.parametrize("eps", [1e-6, 1e-4])
@pytest.mark.parametrize("values", [[709.782712], [1.0, 709.782712], [709.782712, -1.0, 2.0]], ids=str)
def test_an_infinite_difference_is_no_agreement(values, eps):
    """gradcheck raises a RuntimeError where a difference is infinite, as for eᵃ just below its overflow."""
    with np.errstate(all="ignore"), rejects(RuntimeError, "input 0"):
        gradcheck(lambda a: a.exp(), leaf(values), eps=eps)


def test_an_infinite_gradient_is_no_agreement():
    """gradcheck raises a RuntimeError if a rule returns infinities where the differences are finite."""
    with np.errstate(all="ignore"), rejects(RuntimeError, "input 0"):
        gradcheck(doubled(lambda g, y, a: g * np.inf), leaf([1.0, 2.0]))


def test_a_check_that_fails_leaves_the_inputs_alone():
    """After gradcheck's error, the inputs have their values and no grad, and no setting of the process has changed."""
    function, values = doubled(lambda g, y, a: g), np.array([1.0, 2.0])
    x = Tensor(values, requires_grad=True)
    with undisturbed():
        with rejects(RuntimeError, "input 0"):
            gradcheck(function, x)
        assert gradcheck(lambda a: a * 2, x) is True
    assert x.grad is None
    assert_close(values, [1.0, 2.0])


def test_eps_and_tolerance_may_be_numpys_numbers():
    """eps and tolerance may be NumPy floats."""
    assert gradcheck(lambda a: a * a, leaf([1.0]), eps=np.float64(1e-6), tolerance=np.float64(1e-6)) is True
