import numpy as np
import pytest
from katas.autograd import defvjp, gradcheck
from katas.tensor import Tensor, concatenate, maximum

from specs.check import assert_close, layouts, rejects, undisturbed


def doubled(rule):
    """The function 2a, an operation of its own, whose derivative is the given rule: right or wrong."""
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
    """True, exactly, so that it may stand in an assert."""
    assert gradcheck(FUNCTIONS[name], leaf(draw.normal(2, 3))) is True


def test_a_number_has_a_gradient_too():
    """An input of shape ()."""
    assert gradcheck(lambda a: a.exp(), leaf(0.5)) is True


def test_several_inputs_are_checked_each(draw):
    """All that require a gradient, one after another."""
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
    """Also one that is right for a plain sum: the results are weighted by random numbers, each by another."""
    function, x = doubled(WRONG[name]), leaf(draw.normal(2, 3))
    with rejects(RuntimeError, "input 0"):
        gradcheck(function, x)


@pytest.mark.parametrize("shape", [(400,), (20, 20), (1, 400)], ids=str)
@pytest.mark.parametrize("place", [0, 7, 150, 399])
def test_one_wrong_value_among_many_is_found(place, shape):
    """It is the largest error that counts: a mean of them all would hide it."""

    def rule(g, y, a):
        wrong = 2 * g
        wrong.reshape(-1)[place] += 3e-5
        return wrong

    index = tuple(int(i) for i in np.unravel_index(place, shape))
    with rejects(RuntimeError, "input 0", str(index)):
        gradcheck(doubled(rule), leaf(np.ones(shape)))


def test_the_place_and_both_values_are_named():
    """The input, the index at which they differ most, what backward gives and what the differences give."""

    def rule(g, y, a):
        wrong = 2 * g
        wrong[1, 2] = 1234.5
        return wrong

    with rejects(RuntimeError, "input 0", "(1, 2)", "1234.5"):
        gradcheck(doubled(rule), leaf(np.ones((2, 3))))


@pytest.mark.parametrize("most", [(0, 1), (1, 0), (1, 2)], ids=str)
def test_the_place_is_that_of_the_largest_error(most):
    """Where several values are wrong, it is the index at which they differ most, not the first of them."""

    def rule(g, y, a):
        wrong = 2 * g + np.array([[3.0, -2.0, 4.0], [-5.0, 1.0, 2.0]])
        wrong[most] -= 1234.5
        return wrong

    with rejects(RuntimeError, "input 0", str(most)):
        gradcheck(doubled(rule), leaf(np.ones((2, 3))))


def test_a_function_that_loses_the_record_of_an_input_is_found():
    """The differences see that b counts, backward does not: a gradient that never came is one of zeros."""
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    with rejects(RuntimeError, "input 1"):
        gradcheck(lambda a, b: a * Tensor(b.data), a, b)


def test_a_function_that_loses_the_whole_record_is_found():
    """A result that requires no gradient was not recorded: a RuntimeError, rather than nothing to check."""
    with rejects(RuntimeError, "recorded"):
        gradcheck(lambda a: Tensor(a.data * 2), leaf([1.0, 2.0]))


def test_an_input_that_does_not_count_has_a_gradient_of_zeros():
    """No gradient comes, and none is due."""
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    assert gradcheck(lambda a, b: a * 2, a, b) is True


def test_an_input_that_requires_no_gradient_is_not_checked():
    """A rule for it need not exist."""
    defvjp("scaled", lambda g, y, a, b: g * b)
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0], requires_grad=False)
    assert gradcheck(lambda a, b: Tensor._result("scaled", a.data * b.data, a, b), a, b) is True


def test_an_input_after_one_that_requires_no_gradient_is_checked():
    """It is passed over, and the next is not."""
    defvjp("shifted", lambda g, y, a, b: g, lambda g, y, a, b: -g)
    a, b = leaf([1.0, 2.0], requires_grad=False), leaf([3.0, 4.0])
    with rejects(RuntimeError, "input 1"):
        gradcheck(lambda a, b: Tensor._result("shifted", a.data + b.data, a, b), a, b)


def test_float32_is_refused():
    """A difference of two float32 values has no digits left: the input and its dtype are named."""
    with rejects(ValueError, "input 1", "float32"):
        gradcheck(lambda a, b: a * b, leaf([1.0]), Tensor([1.0], requires_grad=True))


def test_float32_is_refused_where_nothing_is_checked_too():
    """An input that requires no gradient is a part of the function, and float32 in it is as coarse."""
    with rejects(ValueError, "input 1", "float32"):
        gradcheck(lambda a, b: a * b, leaf([1.0]), Tensor([1.0]))


def test_the_inputs_stay_as_they_are(draw):
    """Neither their values nor their grads change, and what was recorded of them stays theirs."""
    data = draw.normal(2, 3)
    a, b = Tensor(data, requires_grad=True), leaf(data)
    b.grad = np.ones((2, 3))
    assert gradcheck(lambda a, b: a * b, a, b) is True
    assert a.grad is None
    assert_close(b.grad, np.ones((2, 3)))
    assert_close(a, data)
    assert_close(b, data)


def test_the_tolerance_may_be_given():
    """How far both may be apart, relative to the largest."""
    function, x = doubled(lambda g, y, a: 2.002 * g), leaf(np.ones((2, 3)))
    assert gradcheck(function, x, tolerance=0.01) is True
    with rejects(RuntimeError, "input 0"):
        gradcheck(function, x, tolerance=1e-4)


def test_the_tolerance_is_a_millionth_by_default():
    """A gradient of 2000 that is off by 3 millionths of it is wrong, and one that is off by 0.3 millionths is not."""

    def off(by):
        defvjp("scaled", lambda g, y, a: 2000 * (1 + by) * g)
        return lambda a: Tensor._result("scaled", 2000 * a.data, a)

    x = leaf([1.0, 2.0])
    with rejects(RuntimeError, "input 0"):
        gradcheck(off(3e-6), x)
    assert gradcheck(off(3e-7), x) is True


def test_the_tolerance_is_times_the_largest_or_times_1():
    """Not times their sum: gradients of any size, off by 1.4 tolerances, pass if the largest is more than 1.4."""
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
    """Not to what backward gives: a gradient of 4500 for one of 2000 is off by more than 60%."""
    defvjp("scaled", lambda g, y, a: 4500 * g)
    with rejects(RuntimeError, "input 0"):
        gradcheck(lambda a: Tensor._result("scaled", 2000 * a.data, a), leaf([1.0]), tolerance=0.6)


def test_a_small_gradient_beside_a_large_one_may_be_noise():
    """The tolerance is one for the whole input: the differences of a sum of 10⁸ can't tell a gradient of a thousandth."""
    factors = np.array([1e8, 1e-3, 0.0])
    assert gradcheck(lambda a: a * factors, leaf([1.3, 2.7, 0.1])) is True


def test_the_tolerance_is_relative_to_the_largest_gradient():
    """Gradients of a million are not right to a millionth of one: float64 has sixteen digits, and a difference loses half."""
    assert gradcheck(lambda a: a * a * 1e6, leaf([1.0, 3.0])) is True


def test_a_gradient_of_next_to_nothing_is_compared_with_1():
    """f = 1000 + a / 10⁹: what the differences of a thousand leave is noise, a hundred times the gradient."""
    assert gradcheck(lambda a: a * 1e-9 + 1000.0, leaf([1.0, 3.0]), tolerance=1e-4) is True


def test_eps_may_be_given():
    """(f(x + ε) - f(x - ε)) / 2ε of x³ is off by ε²: too much with an ε of 0.1."""
    x = leaf([1.0, 2.0])
    assert gradcheck(lambda a: a**3, x, eps=1e-4) is True
    with rejects(RuntimeError, "input 0"):
        gradcheck(lambda a: a**3, x, eps=0.1)


@pytest.mark.parametrize("options", [{}, {"eps": 1e-3}, {"eps": 0.25}], ids=["default", "a thousandth", "a quarter"])
def test_each_value_is_moved_by_eps(options):
    """The function is evaluated at x + ε and at x - ε of each value, the others in their places; ε is 1e-6 by default."""
    x, eps, moves = np.array([[0.5, -1.0], [2.0, 0.0]]), options.get("eps", 1e-6), set()

    def function(a):
        moved = [(index, float(a.data[index] - x[index]) / eps) for index in np.ndindex(2, 2) if a.data[index] != x[index]]
        assert len(moved) <= 1, f"several values are moved at once: {moved}"
        moves.update((index, round(by, 6)) for index, by in moved)
        return a * 2

    assert gradcheck(function, leaf(x), **options) is True
    assert moves == {(index, sign) for index in np.ndindex(2, 2) for sign in (-1.0, 1.0)}


def test_an_error_of_the_function_passes_on():
    """It is the caller's own, and says more than any other."""

    def fails(a):
        a * 2
        raise KeyError("on purpose")

    with rejects(KeyError, "on purpose"):
        gradcheck(fails, leaf([1.0]))


def test_a_tolerance_of_0_is_a_tolerance():
    """tolerance=0 is not as if none were given: central differences are never exact for a³."""
    with rejects(RuntimeError, "input 0"):
        gradcheck(lambda a: a**3, leaf([1.1, 2.3]), tolerance=0)


def test_the_function_is_given_the_inputs_values():
    """The function is called with the values of the inputs, each at its index, whatever their order in memory."""
    for order, values in layouts([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).items():
        seen = []

        def function(a, seen=seen):
            seen.append(a.data.copy())
            return a * 2

        assert gradcheck(function, Tensor(values, requires_grad=True)) is True
        assert np.abs(seen[0] - [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).max() < 1e-3, f"values that lie {order}"


@pytest.mark.parametrize("shape", [(0,), (2, 0), (1, 3)], ids=str)
def test_inputs_of_any_length_are_checked(shape):
    """An input with an axis of length 0 has nothing to check, and one with an axis of length 1 is like others."""
    assert gradcheck(lambda a: a * 2, leaf(np.ones(shape))) is True


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_where_there_is_no_slope_the_check_fails(value):
    """At a NaN or an infinity the differences are no numbers: the check fails."""
    with np.errstate(all="ignore"), rejects(RuntimeError, "input 0"):
        gradcheck(lambda a: a - a * a, leaf([1.0, value]))


@pytest.mark.parametrize("eps", [1e-6, 1e-4])
@pytest.mark.parametrize("values", [[709.782712], [1.0, 709.782712], [709.782712, -1.0, 2.0]], ids=str)
def test_an_infinite_difference_is_no_agreement(values, eps):
    """Just below its overflow e^a is finite and its difference is not: the check fails."""
    with np.errstate(all="ignore"), rejects(RuntimeError, "input 0"):
        gradcheck(lambda a: a.exp(), leaf(values), eps=eps)


def test_an_infinite_gradient_is_no_agreement():
    """A rule that gives infinities is wrong, where the differences are numbers."""
    with np.errstate(all="ignore"), rejects(RuntimeError, "input 0"):
        gradcheck(doubled(lambda g, y, a: g * np.inf), leaf([1.0, 2.0]))


def test_a_check_that_fails_leaves_the_inputs_alone():
    """After the error the inputs have their values and no grad, and no setting of the process has changed."""
    function, values = doubled(lambda g, y, a: g), np.array([1.0, 2.0])
    x = Tensor(values, requires_grad=True)
    with undisturbed():
        with rejects(RuntimeError, "input 0"):
            gradcheck(function, x)
        assert gradcheck(lambda a: a * 2, x) is True
    assert x.grad is None
    assert_close(values, [1.0, 2.0])


def test_eps_and_tolerance_may_be_numpys_numbers():
    """NumPy's floats are numbers."""
    assert gradcheck(lambda a: a * a, leaf([1.0]), eps=np.float64(1e-6), tolerance=np.float64(1e-6)) is True
