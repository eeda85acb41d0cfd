import gc
import weakref

import numpy as np
import pytest
from katas.precision import Observer
from katas.tensor import Tensor

from specs import oracles
from specs.check import assert_close, layouts, rejects, undisturbed
from specs.oracles.precision import TINY


def observed(batches, percentile: float = 100.0) -> tuple[float, float]:
    observer = Observer(percentile)
    for batch in batches:
        observer.observe(batch)
    return observer.limits()


def near(got: tuple[float, float], want: tuple[float, float]) -> bool:
    return all(abs(a - b) <= max(0.01 * abs(b), 1e-40) for a, b in zip(got, want, strict=True))


def test_the_limits_are_the_least_and_the_largest_of_all_batches(draw):
    """With percentile 100, limits() are exactly the smallest and the largest value, as two Python floats, in whichever batch
    they were.
    """
    batches = [draw.normal(4, 5, dtype=np.float32) for _ in range(3)]
    want = (float(min(batch.min() for batch in batches)), float(max(batch.max() for batch in batches)))
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        got = observed([batches[i] for i in order])
        assert got == want
        assert [type(limit) for limit in got] == [float, float]
    assert Observer().percentile == 100


@pytest.mark.parametrize(
    ("values", "want"),
    [([3.0, 5.0], (3, 5)), ([-5.0, -3.0], (-5, -3)), ([0.0], (0, 0)), ([1e-40], None), ([3e38, -3e38], None)],
)
def test_the_limits_need_not_contain_0(values, want):
    """limits() are values that were observed: if all are positive, low is positive. quantize_array widens the range."""
    values = np.array(values, np.float32)
    assert observed([values]) == (want or (float(values.min()), float(values.max())))


@pytest.mark.parametrize("percentile", [60, 90, 99, 99.9])
def test_a_percentile_leaves_out_the_outermost_values(percentile, draw):
    """`percentile` % of all values are at most high, and as many at least low. Both limits are right to 1%."""
    values = draw.normal(3333, dtype=np.float32) * np.float32(2)
    want = oracles.precision.limits(values, percentile)
    got = observed([values], percentile)
    assert near(got, want), f"got {got}, want {want}"
    assert [type(limit) for limit in got] == [float, float]


def test_all_batches_count_alike(draw):
    """The percentile is that of all values together, not of the last batch, nor a mean over small and large batches."""
    batches = [draw.normal(100), 100 + draw.normal(3000), draw.normal(401) - 5]
    want = oracles.precision.limits(np.concatenate(batches), 99)
    for order in ([0, 1, 2], [1, 2, 0], [2, 1, 0]):
        got = observed([batches[i] for i in order], 99)
        assert near(got, want), f"got {got}, want {want}"


@pytest.mark.parametrize("value", [3.4e38, -3.4e38, 1e-37])
def test_values_at_the_ends_of_float32(value):
    """Limits are finite, and right to 1%, up to the largest and down to the smallest normal numbers."""
    got = observed([np.full(10, value)], 90)
    assert near(got, (value, value)), f"got {got}"


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-45, -1e-45, TINY, -TINY, 3.4e38, -3.4e38])
def test_every_value_counts(value):
    """Each value counts, whatever its sign and size: zeros with a minus sign, the smallest floats and the largest too."""
    values = np.repeat(np.array([value, 1], np.float32), [6, 4])
    got, want = observed([values], 60), oracles.precision.limits(values, 60)
    assert near(got, want), f"got {got}, want {want}"


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e30])
def test_an_outlier_does_not_make_the_others_coarse(scale, draw):
    """The limits are right to 1%, whatever the size of the values, and even if one is a million times as large as the rest."""
    values = np.array(draw.normal(3333)) * scale
    values[7] = 1e6 * scale
    got, want = observed([values[:5], values[5:]], 99.9), oracles.precision.limits(values, 99.9)
    assert near(got, want), f"got {got}, want {want}"


@pytest.mark.parametrize("sign", [1, -1])
def test_values_of_one_sign(sign, draw):
    """A percentile works for values that are all positive, or all negative."""
    values = sign * (np.abs(draw.normal(3333)) + 1)
    assert near(observed([values], 99), oracles.precision.limits(values, 99))


def test_many_zeros(draw):
    """If more values are 0 than may lie outside, as behind a ReLU, low is 0, or within 1e-40 of it."""
    values = np.maximum(draw.normal(3333), 0)
    got, want = observed([values], 99), oracles.precision.limits(values, 99)
    assert want[0] == 0
    assert near(got, want), f"got {got}, want {want}"


def test_repeated_values_count_as_often_as_they_come():
    """Of 9,000 ones, 900 twos and 100 threes, 99.5 % are at most 3, 98 % at most 2 and 80 % at most 1."""
    values = np.repeat([1.0, 2.0, 3.0], [9000, 900, 100])
    for percentile, high in ((99.5, 3), (98, 2), (80, 1)):
        assert near(observed(np.split(values, 10), percentile), (1, high))


@pytest.mark.parametrize("percentile", [62.5, 75, 87.5])
def test_a_percentile_that_a_value_just_reaches(percentile):
    """With 75, six of eight values have to be at most high: the sixth is enough, and high is not the seventh."""
    values = np.array([3.0, -1.0, 8.0, 40.0, -6.0, 2.0, -30.0, 5.0])
    got, want = observed([values], percentile), oracles.precision.limits(values, percentile)
    assert near(got, want), f"got {got}, want {want}"


@pytest.mark.parametrize(
    ("count", "percentile", "outside"), [(1000, 99.9, 1), (41_000, 99.9, 41), (100_000, 99.999, 1), (1_000_000, 99.9999, 1)]
)
def test_the_rank_is_that_of_exact_arithmetic(count, percentile, outside):
    """99.9 % of 1,000 values are 999 values, though 99.9 / 100 * 1000 is a little more as floats: the outlier stays outside.
    So does one of 1,000,000 values with 99.9999 %.
    """
    values = np.repeat([-50.0, 1.0, 70.0], [outside, count - 2 * outside, outside])
    got = observed([values], percentile)
    assert near(got, (1, 1)), f"got {got} for {count:,} values, want (1, 1)"


@pytest.mark.parametrize(("count", "percentile"), [(100, 50.001), (100, 50.00001), (1000, 99.901), (1000, 99.90001)])
def test_the_rank_is_rounded_up(count, percentile):
    """50.001 % of 100 values are 51 values: high is the 51st from below, and low the 51st from above."""
    below = int(count * percentile / 100)
    values = np.repeat([1.0, 70.0], [below, count - below])
    got, want = observed([values], percentile), oracles.precision.limits(values, percentile)
    assert near(got, want), f"got {got} for {count:,} values, want {want}"


@pytest.mark.parametrize("n", [300, 70_000])
def test_any_number_of_values_may_be_equal(n):
    """Counts of equal values don't wrap around."""
    batches = [np.full(n, 2.0), np.full(n // 10 - 1, 5.0), np.full(n // 20, -5.0)]
    got, want = observed(batches, 90), oracles.precision.limits(np.concatenate(batches), 90)
    assert near(got, want), f"got {got}, want {want}"


def test_batches_of_any_shape_and_kind(draw):
    """observe takes an array of any shape and order, a Tensor, lists, integers; an empty batch changes nothing."""
    x = draw.normal(4, 5, 6)
    for percentile in (100.0, 90.0):
        want = observed([x], percentile)
        for given in (Tensor(x), Tensor(x, requires_grad=True), x.tolist(), x.ravel(), *layouts(x).values()):
            assert observed([given, np.zeros((0, 3)), []], percentile) == want
        assert observed(list(x.ravel()), percentile) == want
    assert observed([np.array([3, -7])]) == (-7, 3)


def test_a_batch_is_not_kept(draw):
    """A batch may be changed after the call, and the observer does not hold it."""
    x = np.array(draw.normal(50, dtype=np.float32))
    for percentile in (100.0, 90.0):
        observer, want = Observer(percentile), observed([x.copy()], percentile)
        observer.observe(values := x.copy())
        values[...] = 1e6
        assert observer.limits() == want
        kept = weakref.ref(values)
        del values
        gc.collect()
        assert kept() is None, "the observer holds the batch"


def test_limits_can_be_asked_for_again(draw):
    """limits() changes nothing: the next batch counts beside the earlier ones. Observers share nothing."""
    first, second = draw.normal(500), 3 * draw.normal(500)
    for percentile in (100.0, 90.0):
        observer, other = Observer(percentile), Observer(percentile)
        observer.observe(first)
        assert observer.limits() == observer.limits() == observed([first], percentile)
        observer.observe(second)
        assert observer.limits() == observed([first, second], percentile)
        with rejects(RuntimeError, "observe"):
            other.limits()


def test_limits_need_a_value():
    """Before any value limits() raises a RuntimeError that contains "observe"; an empty batch is no value."""
    for percentile in (100.0, 99.0):
        observer = Observer(percentile)
        with rejects(RuntimeError, "observe"):
            observer.limits()
        observer.observe([])
        with rejects(RuntimeError, "observe"):
            observer.limits()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_batch_that_is_not_finite_does_not_count(value, draw):
    """A batch with NaN or infinity raises a ValueError that contains the value and its index, and does not count."""
    x = np.array(draw.normal(4, 5))
    for percentile in (100.0, 90.0):
        observer, bad = Observer(percentile), 100 * x
        observer.observe(x)
        bad[2, 3] = value
        with rejects(ValueError, str(value), "(2, 3)"):
            observer.observe(bad)
        bad[2, 3] = 1e39  # infinite as float32
        with rejects(ValueError, "(2, 3)"):
            observer.observe(bad)
        assert observer.limits() == observed([x], percentile)


@pytest.mark.parametrize("percentile", [50, 0, -1, 100.1, 0.999, np.nan])
def test_a_percentile_that_is_none_is_refused(percentile):
    """A percentile that is not above 50 and at most 100 raises a ValueError that contains it: 0.999 is a fraction."""
    with rejects(ValueError, str(percentile)):
        Observer(percentile)


def test_nothing_else_is_touched(draw):
    """An Observer uses neither NumPy's global generator, nor does it change NumPy's error handling."""
    x = draw.normal(50)
    with undisturbed():
        assert_close(np.array(observed([x], 90)).shape, (2,))


@pytest.mark.parametrize("percentile", [100.0, 99.9])
def test_memory_does_not_grow(percentile, budget, draw):
    """After a batch of 400 kB an observer holds less than 50 kB more."""
    observer, x = Observer(percentile), draw.normal(100_000, dtype=np.float32)
    budget.bytes(lambda: observer.observe(x), retained=50_000)


def test_observing_is_done_in_numpy(budget, draw):
    """The number of Python instructions does not grow with the number of values."""
    small, large = draw.normal(100), draw.normal(10_000)
    budget.steps(lambda: observed([small], 90), lambda: observed([large], 90), limit=2)
