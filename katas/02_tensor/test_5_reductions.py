import math
import statistics

import numpy as np
import pytest
from katas.tensor import Tensor

from specs import oracles
from specs.check import assert_close, assert_dtype, rejects

REDUCTIONS = {"sum": math.fsum, "mean": statistics.fmean, "max": max, "var": statistics.variance}
DIMS = [None, 0, 1, -1, -3, (0, 2), (-1, 0), (0, 1, 2)]


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("dim", DIMS, ids=str)
def test_reductions_run_over_the_given_axes(name, dim, draw):
    """sum, mean, max and var reduce all axes, one, or several, and remove them. var divides by n − 1, as in statistics."""
    x = draw.normal(2, 3, 4)
    want = oracles.tensor.reduce(x, dim, REDUCTIONS[name])
    removed = tuple(range(3)) if dim is None else dim
    assert_close(getattr(Tensor(x), name)(dim), want.squeeze(axis=removed), mistakes=_mistakes(name, x, removed))


def _mistakes(name: str, x: np.ndarray, dim) -> dict:
    if name == "mean":
        return {"divided by the number of all values, not of those summed": x.sum(dim) / x.size}
    if name == "var":
        return {"divided by n, not n − 1": x.var(dim), "the standard deviation": x.std(dim, ddof=1)}
    return {"the mean": x.mean(dim)}


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("dim", DIMS, ids=str)
def test_keepdim_keeps_the_axes_with_length_one(name, dim, draw):
    """keepdim=True leaves an axis of length 1, so that the result broadcasts against the input."""
    x = draw.normal(2, 3, 4)
    want = oracles.tensor.reduce(x, dim, REDUCTIONS[name])
    assert_close(getattr(Tensor(x), name)(dim, keepdim=True), want)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_keepdim_may_stand_alone(name, draw):
    """keepdim=True without dim reduces all axes, and leaves each of them with length 1."""
    x = draw.normal(2, 3)
    assert_close(getattr(Tensor(x), name)(keepdim=True), oracles.tensor.reduce(x, None, REDUCTIONS[name]))


@pytest.mark.parametrize("correction", [0, 1, 2])
def test_var_divides_by_n_minus_correction(correction, draw):
    """var(dim, correction=c) divides the sum of squared deviations by n − c (Bessel: c = 1)."""
    x = draw.normal(3, 5)
    want = [sum((v - sum(row) / 5) ** 2 for v in row) / (5 - correction) for row in x.tolist()]
    assert_close(Tensor(x).var(-1, correction=correction), want)


def test_var_survives_a_large_mean():
    """var subtracts the mean before squaring: here E[x²] − E[x]² would lose every digit."""
    x = np.array([1e8 - 1, 1e8, 1e8 + 1])
    assert_close(Tensor(x).var(), 1.0)


def test_var_of_too_few_values_is_refused():
    """var raises a ValueError that contains n and correction, unless n > correction: it divides by n − correction."""
    with rejects(ValueError, "1"):
        Tensor([[1.0], [2.0]]).var(1)
    with rejects(ValueError, "2", "3"):
        Tensor([1.0, 2.0]).var(correction=3)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_keep_the_float_dtype(name):
    """Reductions of float32 give float32, reductions of float64 give float64."""
    for dtype in (np.float32, np.float64):
        assert_dtype(getattr(Tensor(np.ones((3, 4), dtype)), name)(0), dtype)
        assert_dtype(getattr(Tensor(np.ones((3, 4), dtype)), name)(), dtype)


def test_reductions_of_integers():
    """The sum and max of integers are integers, the sum of booleans counts, the mean and variance of integers are float32."""
    x = Tensor([[1, 2], [3, 5]])
    assert_close(x.sum(0), np.array([4, 7]))
    assert_dtype(x.sum(0), np.int64)
    assert_dtype(x.max(0), np.int64)
    assert_close(Tensor([True, False, True]).sum(), np.array(2))
    assert_close(x.mean(1), [1.5, 4])
    assert_dtype(x.mean(1), np.float32)
    assert_dtype(x.var(1), np.float32)


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64])
def test_sums_of_integers_are_int64(dtype):
    """The sum of integers of any size, and of booleans, is int64: it is signed, and does not overflow at 127 or 255."""
    x = np.full((200, 2), 1, dtype)
    for total, want in [(Tensor(x).sum(0), [200, 200]), (Tensor(x).sum(), 400)]:
        assert_dtype(total, np.int64)
        assert_close(total, want)
        assert_close(total - 500, np.subtract(want, 500))


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8, np.int32])
def test_means_of_integers_do_not_overflow(dtype):
    """The mean and the variance of integers of any size are float32."""
    x = np.arange(400).reshape(2, 200) % 2 * np.iinfo(dtype).max if dtype != np.bool_ else np.arange(400).reshape(2, 200) % 2
    for name, want in [("mean", x.mean(1)), ("var", x.var(1, ddof=1))]:
        result = getattr(Tensor(x.astype(dtype)), name)(1)
        assert_dtype(result, np.float32)
        assert_close(result, want)


@pytest.mark.parametrize("dim", [None, 0, 1], ids=str)
def test_float16_is_added_in_float32(dim):
    """A sum of float16 is added in float32, then rounded to float16. Added in float16, it would stop at 2048 + 1 = 2048."""
    x = np.ones((5000, 4) if dim == 0 else (4, 5000), np.float16)
    assert_close(Tensor(x).sum(dim), x.sum(dim, np.float32), mistakes={"added in float16": x.sum(dim)})
    assert_dtype(Tensor(x).sum(dim), np.float16)


def test_a_mean_of_float16_does_not_overflow():
    """The mean of 70,000 ones is 1, although their sum exceeds 65504, the largest float16."""
    x = Tensor(np.ones((70_000, 2), np.float16))
    assert_close(x.mean(), 1)
    assert_close(x.mean(0, keepdim=True), [[1, 1]])
    assert_dtype(x.mean(0), np.float16)


def test_squares_of_float16_do_not_overflow():
    """The variance of float16 is correct even if a squared deviation exceeds 65504, the largest float16."""
    x = np.zeros(10_000, np.float16)
    x[0] = 300
    assert_close(Tensor(x).var(), np.float16(np.float64(x).var(ddof=1)))
    assert_dtype(Tensor(x).var(), np.float16)


@pytest.mark.parametrize("row", [(1000, 1000, 1001), (2047, 2047, 2048), (0.1, 300, 300.5), (-3, 0.001, 4)], ids=str)
def test_float16_is_rounded_once(row):
    """The sum, mean and variance of float16 are rounded only at the end: not the sum in a mean, nor the mean in a variance."""
    x = np.array(row, np.float16)
    exact = x.astype(np.float64)
    total, mean = exact.sum().astype(np.float16), exact.mean().astype(np.float16)
    mistakes = {
        "the sum is rounded before it is divided": total / np.float16(3),
        "the mean is rounded before it is taken off": (((exact - mean) ** 2).sum() / 2).astype(np.float16),
    }
    for name, want in [("sum", exact.sum()), ("mean", exact.mean()), ("var", exact.var(ddof=1))]:
        for dim, keepdim in [(None, False), (0, True)]:
            result = getattr(Tensor(x), name)(dim, keepdim=keepdim)
            assert_close(result, np.float16(want).reshape((1,) if keepdim else ()), mistakes=mistakes, name=name)
            assert_dtype(result, np.float16)


def test_the_result_is_a_tensor():
    """The sum of all values is a 0-d Tensor, not a NumPy scalar."""
    total = Tensor([1.0, 2.0]).sum()
    assert isinstance(total, Tensor)
    assert isinstance(total.data, np.ndarray)
    assert total.shape == ()


def test_a_long_float32_sum_is_accurate():
    """The sum of a million times 0.1 is accurate: NumPy adds pairwise. Adding one by one in float32 would be off by 1%."""
    assert_close(Tensor(np.full(1_000_000, 0.1, np.float32)).sum(), 100_000.0)
    assert_close(Tensor(np.full(1_000_000, 0.1, np.float32)).mean(), 0.1)


def test_max_passes_nan_on():
    """max gives NaN if any value is NaN: a broken number must not vanish."""
    assert_close(Tensor([1.0, math.nan, 2.0]).max(), math.nan)


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("dim", [2, 3, -3, -4])
def test_an_axis_that_does_not_exist_is_named(name, dim):
    """Reducing an axis that does not exist raises a ValueError whose message contains the axis and the shape."""
    with rejects(ValueError, str(dim), "(3, 4)"):
        getattr(Tensor(np.ones((3, 4))), name)(dim)


def test_the_same_axis_twice_is_refused():
    """Giving the same axis twice, even as 1 and −1, raises a ValueError whose message contains dim."""
    with rejects(ValueError, "(1, -1)"):
        Tensor(np.ones((3, 4))).sum((1, -1))


@pytest.mark.parametrize("name", REDUCTIONS)
def test_an_axis_may_be_a_numpy_integer(name, draw):
    """dim may be a NumPy integer, or a tuple of them, with keepdim or without."""
    x = draw.normal(2, 3, 4)
    for dim, same in [(np.int64(0), 0), (np.int32(-1), -1), (np.uint8(1), 1), ((np.int64(0), 2), (0, 2))]:
        for keepdim in (False, True):
            want = oracles.tensor.reduce(x, same, REDUCTIONS[name])
            result = getattr(Tensor(x), name)(dim, keepdim=keepdim)
            assert_close(result, want if keepdim else want.squeeze(axis=same))


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("dim", [True, False, np.True_, (0, True), 1.0, "1"], ids=repr)
def test_an_axis_is_an_integer(name, dim):
    """An axis that is not an integer raises a TypeError, such as True, which may have been meant for keepdim."""
    with rejects(TypeError):
        getattr(Tensor(np.ones((3, 4))), name)(dim)


@pytest.mark.parametrize("name", ["max", "mean"])
def test_nothing_has_no_maximum_and_no_mean(name):
    """max and mean over an axis of length 0 raise a ValueError whose message contains the shape."""
    with rejects(ValueError, "(0, 3)"):
        getattr(Tensor(np.ones((0, 3))), name)(0)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_are_done_in_numpy(name, budget):
    """The number of Python instructions must not grow with the number of elements."""
    few, many = Tensor(np.ones((10, 10), np.float32)), Tensor(np.ones((100, 100), np.float32))
    budget.steps(lambda: getattr(few, name)(0), lambda: getattr(many, name)(0), limit=2)


@pytest.mark.parametrize("name", ["sum", "mean", "max"])
def test_reductions_need_no_room(name, budget):
    """Reducing a 1 MB array allocates no second 1 MB array: no copy in float64, no list."""
    x = Tensor(np.ones((250, 1000), np.float32))
    budget.bytes(lambda: getattr(x, name)(1), peak=200_000)
