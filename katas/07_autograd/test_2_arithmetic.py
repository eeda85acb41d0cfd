import numpy as np
import pytest
from katas.autograd import vjp

from specs.check import assert_close, assert_dtype, assert_rule, derived

BROADCAST = [((3, 4), (3, 4)), ((2, 3, 4), (4,)), ((4,), (3, 4)), ((3, 1), (2, 1, 4)), ((3, 4), ()), ((), (3, 4)), ((), ())]
broadcast = pytest.mark.parametrize("shapes", BROADCAST, ids=[f"{a} and {b}" for a, b in BROADCAST])
BINARY = ["add", "sub", "mul", "div"]
CASES = [(op, argnum) for op in BINARY for argnum in (0, 1)] + [("neg", 0)]


def operands(draw, a: tuple, b: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """g, a and b of a result a ∘ b; b is not near 0."""
    return draw.normal(*np.broadcast_shapes(a, b)), draw.normal(*a), draw.uniform(0.5, 2, *b)


def summed(gradient: np.ndarray, operand: np.ndarray) -> np.ndarray:
    """A gradient of a result, summed to the shape of an operand."""
    shape = (1,) * (gradient.ndim - operand.ndim) + operand.shape
    axes = tuple(axis for axis, (one, many) in enumerate(zip(shape, gradient.shape, strict=True)) if one < many)
    return gradient.sum(axes, keepdims=True).reshape(operand.shape)


@broadcast
def test_a_sum_passes_the_gradient_to_both(shapes, draw):
    """For y = a + b, a and b both receive g, summed to the operand's shape."""
    g, a, b = operands(draw, *shapes)
    for argnum in (0, 1):
        assert_rule("add", argnum, g, a, b)


@broadcast
def test_a_difference_changes_the_sign_for_b(shapes, draw):
    """For y = a - b, a receives g and b receives -g."""
    g, a, b = operands(draw, *shapes)
    for argnum in (0, 1):
        assert_rule("sub", argnum, g, a, b)


@broadcast
def test_a_product_multiplies_by_the_other_factor(shapes, draw):
    """For y = a · b, a receives g · b and b receives g · a, summed to their shapes after the multiplication."""
    g, a, b = operands(draw, *shapes)
    for argnum, (own, other) in enumerate([(a, b), (b, a)]):
        mistakes = {
            "its own value, not the other factor": summed(g * own, own),
            "the gradient g is forgotten": summed(np.ones_like(g) * other, own),
            "the other factor is forgotten": summed(g, own),
        }
        assert_rule("mul", argnum, g, a, b, mistakes=mistakes)


@broadcast
def test_a_quotient_divides(shapes, draw):
    """For y = a / b, a receives g / b and b receives -g · a / b²."""
    g, a, b = operands(draw, *shapes)
    assert_rule("div", 0, g, a, b, mistakes={"times b": summed(g * b, a), "the derivative by b": summed(-g * a / b**2, a)})
    mistakes = {
        "the sign is wrong": summed(g * a / b**2, b),
        "divided by b once, not twice": summed(-g * a / b, b),
        "a is forgotten": summed(-g / b**2, b),
        "the derivative by a": summed(g / b, b),
    }
    assert_rule("div", 1, g, a, b, mistakes=mistakes)


@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 1e25), (np.float64, 1e200)], ids=["float32", "float64"])
@pytest.mark.parametrize("divisor", ["large", "small"])
def test_a_quotient_divides_twice(divisor, dtype, size):
    """For y = a / b, b receives -g · y / b: b² may overflow or become 0 although the gradient is an ordinary number."""
    b = np.array([size, -size], dtype) if divisor == "large" else np.array([1 / size, -1 / size], dtype)
    a, g = (b * dtype(8)).astype(dtype), (b * dtype(2)).astype(dtype)  # -g · a / b² = -16
    with np.errstate(all="ignore"):
        squared = -g * a / (b * b)
    assert_close(derived("div", 1, g, a, b), [-16.0, -16.0], mistakes={"divided by b²": squared})
    assert_close(derived("div", 0, g, a, b), [2.0, 2.0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("op", "argnum"), [("mul", 0), ("mul", 1), ("div", 0), ("div", 1), ("pow", 0)])
def test_a_broken_operand_shows(op, argnum, value):
    """An infinite or NaN operand gives the gradient that the formula gives, in its own element and in no other."""
    a, b, g = np.array([2.0, value, 4.0]), np.array([3.0, 5.0, value]), np.array([1.0, 2.0, 3.0])
    with np.errstate(all="ignore"):
        got = derived(op, argnum, g, *([a] if op == "pow" else [a, b]), **({"exponent": 3} if op == "pow" else {}))
        want = {
            ("mul", 0): g * b,
            ("mul", 1): g * a,
            ("div", 0): g / b,
            ("div", 1): -g * a / b / b,
            ("pow", 0): g * 3 * a**2,
        }[op, argnum]
    assert_close(got, want)


@pytest.mark.parametrize("shape", [(2, 3, 4), ()])
def test_a_negative_changes_the_sign(shape, draw):
    """For y = -a, a receives -g."""
    assert_rule("neg", 0, draw.normal(*shape), draw.normal(*shape))


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1, -2, 0.5, 1.5, -0.5, 2.0], ids=repr)
@pytest.mark.parametrize("shape", [(3, 4), ()])
def test_a_power_lowers_its_exponent(shape, exponent, draw):
    """For y = aⁿ, a receives g · n · aⁿ⁻¹."""
    g, a = draw.normal(*shape), draw.uniform(0.5, 2, *shape)
    mistakes = {
        "n is forgotten": g * a ** (exponent - 1.0),
        "the exponent is not lowered": g * exponent * a**exponent,
        "the gradient g is forgotten": exponent * a ** (exponent - 1.0),
        "the derivative of nᵃ, an exponential": g * a**exponent * np.log(abs(exponent) or 1),
    }
    assert_rule("pow", 0, g, a, mistakes=mistakes, exponent=exponent)


@pytest.mark.parametrize("exponent", [1, 2, 3])
def test_a_power_of_negative_numbers_has_a_gradient(exponent, draw):
    """Integer powers of negative numbers have a gradient: don't compute it by way of a logarithm."""
    assert_rule("pow", 0, draw.normal(3, 4), -draw.uniform(0.5, 2, 3, 4), exponent=exponent)


@pytest.mark.parametrize(("exponent", "want"), [(0, 0.0), (0.0, 0.0), (1, 5.0), (1.0, 5.0), (2, 0.0), (2.0, 0.0)], ids=repr)
def test_a_power_of_zero_has_a_gradient(exponent, want):
    """At a = 0, the slope of a⁰ is 0, of a¹ is 1, and of a² is 0: all finite, and computed without a warning."""
    with np.errstate(all="raise"):
        got = derived("pow", 0, np.full((2, 3), 5.0), np.zeros((2, 3)), exponent=exponent)
    assert_close(got, np.full((2, 3), want))


@pytest.mark.parametrize("exponent", [0, 0.0], ids=repr)
def test_a_power_of_0_is_constant_everywhere(exponent):
    """The slope of a⁰ is 0 even at infinities and NaN: a⁰ is 1 there too, as in Python."""
    got = derived("pow", 0, np.ones(4), np.array([np.inf, -np.inf, np.nan, 1e300]), exponent=exponent)
    assert_close(got, np.zeros(4))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("op", "argnum"), CASES)
def test_the_dtype_stays(op, argnum, dtype, draw):
    """The gradient has the arrays' dtype, float32 or float64: a rule adds no numbers of another dtype."""
    for shapes in BROADCAST:
        a, b = (draw.uniform(1, 2, *shape, dtype=dtype) for shape in shapes)
        g = draw.normal(*(a.shape if op == "neg" else np.broadcast_shapes(*shapes)), dtype=dtype)
        assert_dtype(derived(op, argnum, g, *([a] if op == "neg" else [a, b])), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("exponent", [0, 1, 2, -1, 0.5], ids=repr)
def test_the_dtype_of_a_power_stays(exponent, dtype, draw):
    """The gradient of a float32 power is float32, whatever the exponent."""
    g, a = draw.normal(3, 4, dtype=dtype), draw.uniform(1, 2, 3, 4, dtype=dtype)
    assert_dtype(derived("pow", 0, g, a, exponent=exponent), dtype)


@pytest.mark.parametrize(("op", "argnum"), CASES)
def test_arithmetic_rules_are_done_in_numpy(op, argnum, budget):
    """The number of Python instructions must not grow with the number of elements."""
    few, many = np.ones((10, 10), np.float32), np.ones((100, 100), np.float32)
    rule, count = vjp(op, argnum), 1 if op == "neg" else 2
    budget.steps(lambda: rule(few, few, *[few] * count), lambda: rule(many, many, *[many] * count), limit=2)


@pytest.mark.parametrize(("op", "argnum"), CASES)
def test_arithmetic_rules_hold_an_array_or_two(op, argnum, budget):
    """With 1 MB operands, a rule allocates its result and at most one more 1 MB array: nothing becomes float64."""
    large = np.ones((250, 1000), np.float32)
    rule, count = vjp(op, argnum), 1 if op == "neg" else 2
    budget.bytes(lambda: rule(large, large, *[large] * count), peak=3_000_000)
