import numpy as np
import pytest
from katas.autograd import vjp

from specs.check import EXACT, FLOAT32, assert_close, assert_dtype, assert_rule, derived

FUNCTIONS = ["exp", "log", "sqrt", "tanh"]
SHAPES = [(2, 3, 4), ()]
BROADCAST = [((3, 4), (3, 4)), ((2, 3, 4), (4,)), ((4,), (3, 4)), ((3, 1), (2, 1, 4)), ((3, 4), ()), ((), (3, 4)), ((), ())]
broadcast = pytest.mark.parametrize("shapes", BROADCAST, ids=[f"{a} and {b}" for a, b in BROADCAST])


@pytest.mark.parametrize("shape", SHAPES)
def test_exp_is_its_own_derivative(shape, draw):
    """For y = eᵃ, a receives g · y."""
    g, a = draw.normal(*shape), draw.normal(*shape)
    mistakes = {"times a, not times y": g * a, "e to the power of y": g * np.exp(np.exp(a)), "g is forgotten": np.exp(a)}
    assert_rule("exp", 0, g, a, mistakes=mistakes)


@pytest.mark.parametrize("shape", SHAPES)
def test_log_divides(shape, draw):
    """For y = log a, a receives g / a."""
    g, a = draw.normal(*shape), draw.uniform(0.5, 3, *shape)
    mistakes = {"divided by y, not by a": g / np.log(a), "times a": g * a, "g is forgotten": 1 / a}
    assert_rule("log", 0, g, a, mistakes=mistakes)


@pytest.mark.parametrize("shape", SHAPES)
def test_sqrt_divides_by_twice_the_root(shape, draw):
    """For y = √a, a receives g / 2y."""
    g, a = draw.normal(*shape), draw.uniform(0.5, 3, *shape)
    mistakes = {
        "divided by 2a, not by 2y": g / (2 * a),
        "the 2 is forgotten": g / np.sqrt(a),
        "times y / 2": g * np.sqrt(a) / 2,
        "g is forgotten": 0.5 / np.sqrt(a),
        "the root of the root": g / (2 * a**0.25),
    }
    assert_rule("sqrt", 0, g, a, mistakes=mistakes)


@pytest.mark.parametrize("shape", SHAPES)
def test_tanh_flattens_out(shape, draw):
    """For y = tanh a, a receives g · (1 - y²)."""
    g, a = draw.normal(*shape), draw.normal(*shape)
    y = np.tanh(a)
    mistakes = {
        "a² instead of y²": g * (1 - a * a),
        "1 - y, not squared": g * (1 - y),
        "the derivative of a sigmoid": g * y * (1 - y),
        "tanh is taken twice": g * (1 - np.tanh(y) ** 2),
        "g is forgotten": 1 - y * y,
    }
    assert_rule("tanh", 0, g, a, mistakes=mistakes)


def test_tanh_does_not_overflow():
    """The gradient of tanh is 0 for very large |a|, without a warning: use y, because e²ᵃ would overflow."""
    with np.errstate(all="raise"):
        got = derived("tanh", 0, np.full((2, 2), 3.0), np.array([[-1e4, -800.0], [800.0, 1e4]]))
    assert_close(got, np.zeros((2, 2)))


SLOPES = {  # of a function, at 0, next to nothing, and infinity
    "log": [(0.0, np.inf), (1e-30, 1e30), (1e-18, 1e18), (1e18, 1e-18), (np.inf, 0.0)],
    "sqrt": [(0.0, np.inf), (1e-30, 5e14), (4e-20, 2.5e9), (1e20, 5e-11), (np.inf, 0.0)],
    "exp": [(-np.inf, 0.0), (0.0, 1.0), (np.inf, np.inf)],
    "tanh": [(-np.inf, 0.0), (0.0, 1.0), (1e-10, 1.0), (np.inf, 0.0)],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("op", "a", "slope"), [(op, *case) for op in FUNCTIONS for case in SLOPES[op]])
def test_no_slope_is_bent(op, a, slope, dtype):
    """An infinite, huge or zero slope gives such a gradient: rules add nothing to a divisor and don't clip."""
    for g in (2.0, -3.0):
        with np.errstate(all="ignore"):
            got = derived(op, 0, np.full(1, g, dtype), np.full(1, a, dtype))
        assert_close(got, [g * slope], EXACT if slope in (0, np.inf) else FLOAT32, name=f"g = {g}")


@pytest.mark.parametrize("op", FUNCTIONS)
def test_not_a_number_has_no_slope(op):
    """The gradient is NaN where a is NaN, so that the error shows. The other elements have their own gradients."""
    with np.errstate(all="ignore"):
        got = derived(op, 0, np.array([1.0, 2.0, 3.0]), np.array([1.0, np.nan, 1.0]))
    assert np.isnan(got).tolist() == [False, True, False]


@broadcast
def test_maximum_passes_the_gradient_to_the_larger(shapes, draw):
    """For y = max(a, b), a receives g where a > b, and b receives g elsewhere, each summed to its operand's shape."""
    g, (a, b) = draw.normal(*np.broadcast_shapes(*shapes)), (draw.normal(*shape) for shape in shapes)
    for argnum in (0, 1):
        assert_rule("maximum", argnum, g, a, b)


def test_at_a_tie_maximum_passes_the_gradient_to_b():
    """At a tie, b receives all of g and a receives 0. So maximum(x, 0) has derivative 0 at 0, as the ReLU of kata 03."""
    g, a = np.array([5.0, 7.0, 11.0]), np.array([-1.0, 0.0, 2.0])
    half = {"half to each": g / 2}
    assert_close(derived("maximum", 0, g, a, a), [0.0, 0.0, 0.0], mistakes=half | {"all to a": g}, name="to a")
    assert_close(derived("maximum", 1, g, a, a), g, mistakes=half | {"all to a": 0 * g}, name="to b")


def test_zeros_of_either_sign_are_a_tie():
    """maximum treats 0.0 and -0.0 as a tie: b receives g in either order."""
    g, a = np.array([5.0, 7.0]), np.array([0.0, -0.0])
    assert_close(derived("maximum", 0, g, a, -a), [0.0, 0.0], name="to a")
    assert_close(derived("maximum", 1, g, a, -a), g, name="to b")


def test_where_one_is_nan_maximum_passes_the_gradient_to_b():
    """If a or b is NaN, b receives all of g and a receives 0, so that g is not lost."""
    a, b = np.array([np.nan, 1.0, np.nan, 2.0, np.inf, -np.inf]), np.array([1.0, np.nan, np.nan, 1.0, 1.0, 1.0])
    g = np.array([2.0, 3.0, 5.0, 7.0, 11.0, 13.0])
    with np.errstate(all="ignore"):
        to_a, to_b = (derived("maximum", argnum, g, a, b) for argnum in (0, 1))
    assert_close(to_a, [0.0, 0.0, 0.0, 7.0, 11.0, 0.0], name="to a")
    assert_close(to_b, [2.0, 3.0, 5.0, 0.0, 0.0, 13.0], mistakes={"to neither": [0, 0, 0, 0, 0, 13.0]}, name="to b")


@broadcast
@pytest.mark.parametrize("condition", ["elements", "rows", "one"])
def test_where_passes_the_gradient_to_what_was_taken(shapes, condition, draw):
    """where() passes g to a where the condition holds, else to b. The condition broadcasts like a and b."""
    a, b = (draw.normal(*shape) for shape in shapes)
    shape = np.broadcast_shapes(*shapes)
    chosen = draw.normal(*{"elements": shape, "rows": shape[-1:], "one": ()}[condition]) > 0
    for argnum in (0, 1):
        assert_rule("where", argnum, draw.normal(*shape), a, b, condition=chosen)


def test_a_condition_may_stretch_both(draw):
    """A condition with more axes than a and b uses each value several times: the gradients of all uses are summed."""
    chosen = draw.normal(2, 3, 4) > 0
    for argnum in (0, 1):
        assert_rule("where", argnum, draw.normal(2, 3, 4), draw.normal(3, 1), draw.normal(4), condition=chosen)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_was_not_taken_has_no_gradient(value):
    """where() gives 0 to elements it didn't select, even if they are NaN or infinite (often why they weren't selected)."""
    g, chosen = np.array([5.0, 7.0, 11.0]), np.array([True, False, True])
    fine, broken = np.array([1.0, 2.0, 3.0]), np.where(chosen, 1.0, value)
    assert_close(derived("where", 0, g, broken, fine, condition=chosen), [5.0, 0.0, 11.0], name="to a")
    assert_close(derived("where", 1, g, fine, np.where(chosen, value, 1.0), condition=chosen), [0.0, 7.0, 0.0], name="to b")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_was_taken_has_its_gradient_whatever_it_is(value):
    """where() passes g to the elements it selected, even if they are NaN or infinite: only the condition decides."""
    g, chosen = np.array([5.0, 7.0, 11.0]), np.array([True, False, True])
    broken, fine = np.full(3, value), np.ones(3)
    assert_close(derived("where", 0, g, broken, fine, condition=chosen), [5.0, 0.0, 11.0], name="to a")
    assert_close(derived("where", 1, g, fine, broken, condition=chosen), [0.0, 7.0, 0.0], name="to b")


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(("op", "argnum"), [("where", 0), ("where", 1), ("maximum", 0), ("maximum", 1)])
def test_what_was_not_taken_has_no_part_in_a_broken_gradient(op, argnum, value):
    """Elements that maximum or where didn't select receive 0 even if g is infinite or NaN, without a warning."""
    chosen = np.array([[True, False, True], [False, True, False]])
    attrs = {"condition": chosen} if op == "where" else {}
    g, operands = np.full((2, 3), value), (np.where(chosen, 2.0, 1.0), np.where(chosen, 1.0, 2.0))
    with np.errstate(all="raise"):
        got = derived(op, argnum, g, *operands, **attrs)
    want = np.where(chosen if argnum == 0 else ~chosen, value, 0.0)
    assert_close(got, want, mistakes={"infinity times 0": np.where(want == 0, np.nan, want)})


CASES = [(op, 0) for op in FUNCTIONS] + [(op, argnum) for op in ("maximum", "where") for argnum in (0, 1)]
cases = pytest.mark.parametrize(("op", "argnum"), CASES)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@cases
def test_the_dtype_stays(op, argnum, dtype, draw):
    """The gradient has the arrays' dtype, float32 or float64: a rule adds no numbers of another dtype."""
    for shapes in BROADCAST:
        a, b = (draw.uniform(1, 2, *shape, dtype=dtype) for shape in shapes)
        g = draw.normal(*(a.shape if op in FUNCTIONS else np.broadcast_shapes(*shapes)), dtype=dtype)
        attrs = {"condition": g > 0} if op == "where" else {}
        assert_dtype(derived(op, argnum, g, *([a] if op in FUNCTIONS else [a, b]), **attrs), dtype)


def filled(op: str, argnum: int, *shape: int):
    """A call of a rule with arrays of that shape."""
    rule, ones = vjp(op, argnum), np.ones(shape, np.float32)
    attrs = {"condition": ones > 0} if op == "where" else {}
    return lambda: rule(ones, ones, *[ones] * (1 if op in FUNCTIONS else 2), **attrs)


@cases
def test_rules_of_functions_are_done_in_numpy(op, argnum, budget):
    """The number of Python instructions must not grow with the number of elements."""
    budget.steps(filled(op, argnum, 10, 10), filled(op, argnum, 100, 100), limit=2)


@cases
def test_rules_of_functions_hold_an_array_or_two(op, argnum, budget):
    """With 1 MB operands, a rule allocates its result and at most one more 1 MB array: nothing becomes float64."""
    budget.bytes(filled(op, argnum, 250, 1000), peak=3_000_000)
