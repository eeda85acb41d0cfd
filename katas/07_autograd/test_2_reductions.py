import numpy as np
import pytest
from katas.autograd import vjp

from specs.check import EXACT, PRIMITIVES, assert_close, assert_dtype, assert_rule, derived

DIMS = [None, 0, 1, 2, -1, -2, -3, (0,), (0, 2), (2, 0), (-1, 0), (1, -1), (0, 1, 2), (), np.int64(-2), (np.int64(2), 0)]
dims = pytest.mark.parametrize("dim", DIMS, ids=str)
keepdims = pytest.mark.parametrize("keepdim", [False, True], ids=["", "keepdim"])


def gradient_for(op: str, a: np.ndarray, draw, **attrs) -> np.ndarray:
    """A random one, of the shape of the result."""
    return draw.normal(*np.shape(PRIMITIVES[op](a, **attrs)), dtype=a.dtype)


@dims
@keepdims
def test_a_sum_passes_the_gradient_to_each_of_its_terms(dim, keepdim, draw):
    """For y = Σ a, every summed element receives g. dim is whatever NumPy takes as axis."""
    a = draw.normal(2, 3, 4)
    g = gradient_for("sum", a, draw, dim=dim, keepdim=keepdim)
    assert_rule("sum", 0, g, a, dim=dim, keepdim=keepdim)


@pytest.mark.parametrize("dim", [0, 1])
def test_a_sum_of_a_square_spreads_along_the_axis_that_was_summed(dim, draw):
    """The gradient of a sum over one axis of a (3, 3) matrix spreads along that axis, although g fits along both."""
    g, a = draw.normal(3), draw.normal(3, 3)
    rows, columns = np.tile(g, (3, 1)), np.tile(g[:, None], (1, 3))
    mistakes = {"spread along the other axis": columns if dim == 0 else rows, "the mean, not the sum": (rows, columns)[dim] / 3}
    assert_rule("sum", 0, g, a, dim=dim, keepdim=False, mistakes=mistakes)


@pytest.mark.parametrize("op", ["sum", "max"])
@pytest.mark.parametrize("dim", [None, ()], ids=str)
@keepdims
def test_a_number_is_its_own_sum_and_its_own_maximum(op, dim, keepdim, draw):
    """The sum and the maximum of a 0-d tensor are the tensor itself: it receives g."""
    a = draw.normal()
    assert_rule(op, 0, draw.normal(), a, dim=dim, keepdim=keepdim)


@dims
@keepdims
def test_a_maximum_passes_the_gradient_to_the_largest(dim, keepdim, draw):
    """For y = max a, a receives g where a = y, else 0."""
    a = draw.normal(2, 3, 4)
    g = gradient_for("max", a, draw, dim=dim, keepdim=keepdim)
    assert_rule("max", 0, g, a, dim=dim, keepdim=keepdim)


@pytest.mark.parametrize("dim", [0, 1])
def test_a_maximum_of_a_square_is_looked_for_along_its_axis(dim, draw):
    """The gradient of a maximum over one axis of a (3, 3) matrix uses that axis, although y and g fit along both."""
    g, a = draw.normal(3), draw.normal(3, 3)
    assert_rule("max", 0, g, a, dim=dim, keepdim=False)


def test_equal_maxima_share_the_gradient_evenly():
    """Equal maxima share g evenly: two receive half of it each, three a third. The parts add up to g."""
    a = np.array([[1.0, 5.0, 5.0, 2.0], [3.0, 3.0, 0.0, 3.0], [7.0, 1.0, 2.0, 3.0]])
    g, largest = np.array([2.0, 6.0, 10.0]), np.array([[0, 1, 1, 0], [1, 1, 0, 1], [1, 0, 0, 0]])
    mistakes = {
        "each of them receives all of it": largest * g[:, None],
        "the first of them receives all of it": [[0, 2.0, 0, 0], [6, 0, 0, 0], [10, 0, 0, 0]],
        "the last of them receives all of it": [[0, 0, 2.0, 0], [0, 0, 0, 6], [10, 0, 0, 0]],
        "divided by the number of ties in the whole array": largest * g[:, None] / 6,
    }
    want = [[0.0, 1.0, 1.0, 0.0], [2.0, 2.0, 0.0, 2.0], [10.0, 0.0, 0.0, 0.0]]
    assert_close(derived("max", 0, g, a, dim=1, keepdim=False), want, mistakes=mistakes)


def test_equal_maxima_of_the_whole_share_the_gradient(draw):
    """With dim=None or all axes, equal maxima anywhere in the array share the gradient."""
    a, g = np.array([[1.0, 5.0, 5.0], [5.0, 0.0, 5.0]]), np.array(8.0)
    want = [[0.0, 2.0, 2.0], [2.0, 0.0, 2.0]]
    for dim in (None, (0, 1), (-1, 0)):
        assert_close(
            derived("max", 0, g, a, dim=dim, keepdim=False), want, mistakes={"each receives all of it": 4 * np.array(want)}
        )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("largest", [1.0, -1.0, 100.0])
def test_only_equal_values_are_equal(largest, dtype):
    """A value that is smaller than the maximum by the least difference of its dtype receives 0."""
    a = np.array([[largest, np.nextafter(dtype(largest), dtype(-np.inf)), largest]], dtype)
    got = derived("max", 0, np.array([4.0], dtype), a, dim=1, keepdim=False)
    assert_close(got, [[2.0, 0.0, 2.0]], mistakes={"what is almost as large has a share": np.full((1, 3), 4 / 3)})


def test_zeros_of_either_sign_are_equal():
    """The maxima -0.0 and 0.0 are equal: they share the gradient."""
    got = derived("max", 0, np.array([4.0]), np.array([[0.0, -0.0, -1.0]]), dim=1, keepdim=False)
    assert_close(got, [[2.0, 2.0, 0.0]])


@pytest.mark.parametrize("dim", [1, None], ids=str)
def test_a_largest_that_is_nan_shows(dim):
    """Where a maximum is NaN, its gradient contains a NaN, rather than zeros only: NaN equals nothing."""
    a = np.array([[1.0, np.nan, 3.0], [4.0, 5.0, 2.0]])
    with np.errstate(all="ignore"):
        got = derived("max", 0, np.array([6.0, 7.0] if dim else 6.0), a, dim=dim, keepdim=False)
    assert np.isnan(got[0]).any(), f"the maximum is NaN, and its gradient {got[0].tolist()}"
    if dim:
        assert_close(got[1], [0.0, 7.0, 0.0])


@pytest.mark.parametrize("value", [-np.inf, np.inf, 0.0, -3.0])
def test_any_value_may_be_the_largest(value):
    """In a row of only -∞, or of only zeros, all values are the maximum and share the gradient."""
    got = derived("max", 0, np.array([6.0, 1.0]), np.array([[value] * 3, [0.0, 1.0, 2.0]]), dim=1, keepdim=False)
    assert_close(got, [[2.0, 2.0, 2.0], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_broken_gradient_reaches_the_largest_only(value):
    """If the gradient of a maximum is infinite or NaN, all values except the largest receive 0, without a warning."""
    a = np.array([[1.0, 5.0, 5.0], [3.0, 2.0, 1.0]])
    with np.errstate(all="raise"):
        got = derived("max", 0, np.array([value, 4.0]), a, dim=1, keepdim=False)
    want = np.array([[0.0, value, value], [4.0, 0.0, 0.0]])
    assert_close(got, want, mistakes={"infinity times 0": [[np.nan, value, value], [4.0, 0.0, 0.0]]})


@pytest.mark.parametrize("shape", [(70_000,), (70_000, 1), (1, 3000)], ids=str)
def test_many_equal_maxima_of_float16_are_counted(shape):
    """70,000 equal float16 maxima share the gradient. float16 can't hold their number, but it can hold each one's part."""
    a = np.ones(shape, np.float16)
    got = derived("max", 0, np.ones((), np.float16), a, dim=None, keepdim=False)
    assert_dtype(got, np.float16)
    assert_close(got, np.full(shape, 1 / a.size).astype(np.float16), EXACT, {"their number is infinite": np.zeros(shape)})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op", ["sum", "max"])
@pytest.mark.parametrize("dim", [None, 1, (0, 2)], ids=str)
@keepdims
def test_the_dtype_stays(op, dim, keepdim, dtype, draw):
    """The gradient of a reduction has the arrays' dtype, float32 or float64, even at a tie."""
    a = draw.normal(2, 3, 4, dtype=dtype)
    g = gradient_for(op, a, draw, dim=dim, keepdim=keepdim)
    assert_dtype(derived(op, 0, g, a, dim=dim, keepdim=keepdim), dtype)


def call(op: str, *shape: int):
    rule, a = vjp(op, 0), np.ones(shape, np.float32)
    return lambda: rule(a[0], a[0], a, dim=0, keepdim=False)


@pytest.mark.parametrize("op", ["sum", "max"])
def test_rules_of_reductions_are_done_in_numpy(op, budget):
    """The number of Python instructions must not grow with the number of elements."""
    budget.steps(call(op, 10, 10), call(op, 100, 100), limit=2)


def test_the_gradient_of_a_sum_holds_one_array_at_most(budget):
    """The gradient of the sum of 1 MB is a view of g, or one array of 1 MB."""
    budget.bytes(call("sum", 250, 1000), peak=1_400_000)
