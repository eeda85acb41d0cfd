import numpy as np
import pytest
from katas.precision import EXACT, integer_product

from specs import oracles
from specs.check import assert_close, assert_dtype, cpu_ratio, frozen, layouts, rejects


def integers(draw, *shape: int) -> np.ndarray:
    return frozen((draw.integers(256, *shape) - 128).astype(np.int8))


@pytest.mark.parametrize(("n", "m", "k"), [(2, 3, 5), (1, 1, 1), (3, 2, 1024), (3, 2, 1025), (2, 3, 2500)])
def test_the_product_is_exact(n, m, k, draw):
    """integer_product: int8 (n, k) and (m, k) → a bᵀ, int64 (n, m). No sum wraps or is rounded."""
    a, b = integers(draw, n, k), integers(draw, m, k)
    with np.errstate(all="ignore"):
        wrapped = (a @ b.T).astype(np.int64)
    got = integer_product(a, b)
    assert_close(got, np.array(oracles.precision.product(a, b)), mistakes={"int8 @ int8 wraps around": wrapped})
    assert_dtype(got, np.int64)


@pytest.mark.parametrize("value", [-128, 127, -127])
@pytest.mark.parametrize("k", [1, 1024, 1025, 5000, 140_000])
def test_the_largest_sums_are_exact(value, k):
    """integer_product is exact for the largest sums: 140,000 · 16,384 is beyond 2³¹."""
    a = np.full((1, k), value, np.int8)
    b = np.vstack([a, -np.maximum(a, -127), np.where(np.arange(k) == k - 1, 1, a)]).astype(np.int8)
    want = [[k * value**2, -k * value * max(value, -127), (k - 1) * value**2 + value]]
    assert_close(integer_product(a, b), np.array(want))


def test_sums_are_exact_wherever_the_parts_end(draw):
    """EXACT columns at a time are exact, since their sum is at most 2²⁴; no column is left out or counted twice."""
    assert EXACT * 128**2 == 2**24
    for k in (EXACT - 1, EXACT, EXACT + 1, 2 * EXACT, 3 * EXACT + 7):
        ones = np.ones((1, k), np.int8)
        assert_close(integer_product(ones, ones), np.array([[k]]))
        a, b = integers(draw, 2, k), integers(draw, 3, k)
        assert_close(integer_product(a, b), a.astype(np.int64) @ b.astype(np.int64).T)


@pytest.mark.parametrize("k", [1025, 1026, 1034, 1537, 2048, 2049, 4097])
def test_an_odd_sum_beyond_2_24_is_exact(k):
    """float32 holds no odd integers beyond 2²⁴: a part must not have more than EXACT columns."""
    for low, high in ((-128, -128), (-128, 127)):
        for last in (1, -1):
            a, b = np.full((1, k), low, np.int8), np.full((1, k), high, np.int8)
            a[0, -1], b[0, -1] = 1, last
            assert_close(integer_product(a, b), np.array([[(k - 1) * low * high + last]]))


@pytest.mark.parametrize(("n", "m", "k"), [(0, 3, 5), (2, 0, 5), (2, 3, 0), (0, 0, 0)])
def test_nothing_gives_zeros(n, m, k):
    """Without rows the product is empty; without columns all sums are 0."""
    got = integer_product(np.zeros((n, k), np.int8), np.zeros((m, k), np.int8))
    assert_close(got, np.zeros((n, m), np.int64))


def test_arrays_in_any_order(draw):
    """integer_product takes arrays that lie in memory in any order, and does not write to them."""
    a, b = integers(draw, 4, 7), integers(draw, 3, 7)
    for order in layouts(a):
        assert_close(integer_product(layouts(a)[order], layouts(b)[order]), np.array(oracles.precision.product(a, b)))


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int16, np.float32])
def test_other_dtypes_are_refused(dtype):
    """Other dtypes than int8 raise a TypeError that contains both: 200 as int8 is -56, and sums of int16 would not be exact."""
    eight, other = np.ones((2, 3), np.int8), np.ones((2, 3), dtype)
    for a, b in ((eight, other), (other, eight)):
        with rejects(TypeError, "int8", np.dtype(dtype).name):
            integer_product(a, b)


@pytest.mark.parametrize(
    ("a", "b"), [((2, 3), (3, 4)), ((3,), (2, 3)), ((2, 3), (3,)), ((1, 2, 3), (2, 3)), ((2, 3), (4, 3, 3)), ((2, 1), (2, 3))]
)
def test_shapes_that_do_not_fit_are_refused(a, b):
    """Shapes that don't fit raise a ValueError that contains both; a length of 1 is not broadcast."""
    with rejects(ValueError, str(a), str(b)):
        integer_product(np.ones(a, np.int8), np.ones(b, np.int8))


def test_products_are_left_to_blas(budget, draw, tell):
    """An integer product takes at most 3 times as long as one of float32. A product of int32, which has no BLAS, takes 25 times
    as long.
    """
    a, b = integers(draw, 64, 512), integers(draw, 256, 512)
    x, y = a.astype(np.float32), b.astype(np.float32)
    slow = cpu_ratio(lambda: a.astype(np.int32) @ b.astype(np.int32).T, lambda: x @ y.T)
    tell(f"a product of int32, 64 rows by 512 by 256: {slow:.0f} times the time of float32")
    budget.time(lambda: integer_product(a, b), lambda: x @ y.T, limit=3)


def test_products_take_no_loop_over_rows(budget, draw):
    """The number of Python instructions does not grow with the number of rows."""
    small, large = integers(draw, 10, 20), integers(draw, 1000, 20)
    budget.steps(lambda: integer_product(small, small), lambda: integer_product(large, large), limit=2)
