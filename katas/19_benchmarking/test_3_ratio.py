import math

import numpy as np
import pytest
from katas.benchmarking import ratio_interval

from specs.check import assert_close, rejects, undisturbed
from specs.oracles.benchmarking import bootstrapped_median


def rounds(draw, number: int, ratio: float = 1.0, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """The times of a and of b, on a machine whose speed changes from round to round."""
    speed = np.exp(draw.normal(number))
    return speed, speed * ratio * np.exp(noise * draw.normal(number))


@pytest.mark.parametrize("ratio", [0.25, 1.0, 1.1, 3000.0])
def test_without_noise_the_ratio_is_exact(draw, ratio):
    """If b takes ratio times as long as a in every round, ratio, low and high are that, however the machine changes."""
    a, b = rounds(draw, 20, ratio, noise=0)
    mistakes = {"a by b, not b by a": [1 / ratio] * 3, "logarithms": [math.log(ratio)] * 3}
    assert_close(ratio_interval(a, b), [ratio] * 3, mistakes=mistakes)


def test_the_ratio_is_the_median_over_the_rounds():
    """One round in which a was interrupted, and one in which b was, change nothing."""
    a, b = [1.0, 2, 3, 4, 500], [1.2, 2.2, 300, 4.4, 6]
    ratios = np.array(b) / a
    mistakes = {
        "the mean": ratios.mean(),
        "the geometric mean": math.exp(np.log(ratios).mean()),
        "the ratio of the means": np.mean(b) / np.mean(a),
        "the ratio of the medians": np.median(b) / np.median(a),
        "the ratio of the least": min(b) / min(a),
        "the inverse": 1 / 1.1,
    }
    assert_close(ratio_interval(a, b)[0], 1.1, mistakes=mistakes)


def test_of_an_even_number_of_rounds_the_median_is_in_logarithms():
    """Half as long in one round and eight times as long in another: √(½ · 8) = 2 times as long."""
    assert_close(ratio_interval([2.0, 1.0], [1.0, 8.0])[0], 2.0, mistakes={"the arithmetic mean of the two": 4.25})


def test_the_drawn_medians_are_in_logarithms_too():
    """Half of eight rounds have the ratio 1, half 4: the middle of what is drawn is √(1 · 4) = 2, as the ratio is."""
    got = ratio_interval([1.0] * 8, [1.0] * 4 + [4.0] * 4, 0.05)
    assert_close(got, [2.0] * 3, mistakes={"the drawn medians are not in logarithms": [2.0, 2.5, 2.5]})


@pytest.mark.parametrize("confidence", [0.5, 0.68, 0.9, 0.95, 0.99, 0.999])
@pytest.mark.parametrize("number", [15, 41])
def test_the_interval_is_that_of_the_bootstrapped_median(draw, monkeypatch, number, confidence):
    """It reaches from one quantile of the medians of drawn rounds to the other, (1 - confidence) / 2 from each end. By the
    binomial distribution each of them is one of the rounds; with 20,000 RESAMPLES it may be the next.
    """
    monkeypatch.setattr("katas.benchmarking.RESAMPLES", 20_000)
    a, b = rounds(draw, number)
    _, low, high = ratio_interval(a, b, confidence)
    ordered = np.sort(b / a)
    k = bootstrapped_median(ordered, (1 - confidence) / 2)
    assert ordered[max(0, k - 1)] <= low <= ordered[k + 1], f"low is {low:.4f}, expected about {ordered[k]:.4f}"
    top = min(number - 1, number - k)
    assert ordered[-k - 2] <= high <= ordered[top], f"high is {high:.4f}, expected about {ordered[-k - 1]:.4f}"


def test_the_interval_has_the_ratio(draw):
    """low ≤ ratio ≤ high; a larger confidence has a wider interval."""
    a, b = rounds(draw, 40, 1.3)
    widths = []
    for confidence in (0.5, 0.8, 0.95, 0.99, 0.999):
        ratio, low, high = ratio_interval(a, b, confidence)
        assert low < ratio < high
        widths.append(math.log(high / low))
    assert widths == sorted(widths)
    assert widths[0] < 0.5 * widths[-1]


def test_99_percent_are_the_default(draw):
    """ratio_interval(a, b) is ratio_interval(a, b, 0.99, 0)."""
    a, b = rounds(draw, 30)
    assert_close(ratio_interval(a, b), ratio_interval(a, b, confidence=0.99, seed=0))


def test_the_interval_of_the_inverse_is_the_inverse(draw):
    """How many times as long as b takes a: one by each of the three, and low is one by high."""
    a, b = rounds(draw, 21, 1.5)
    ratio, low, high = ratio_interval(a, b)
    assert_close(ratio_interval(b, a), [1 / ratio, 1 / high, 1 / low])


def test_rounds_stay_together(draw):
    """The same rounds in another order of one of the two are other rounds: their interval is much wider."""
    a, b = rounds(draw, 30, noise=0.01)
    _, low, high = ratio_interval(a, b)
    assert high / low < 1.02, "a and b of one round were drawn apart"
    _, low, high = ratio_interval(a, b[::-1])
    assert high / low > 2


def test_the_seed_decides(draw):
    """Equal seeds give equal intervals; over five seeds they are not all the same. NumPy's global generator is left alone."""
    a, b = rounds(draw, 40)
    with undisturbed():
        found = [ratio_interval(a, b, 0.9, seed) for seed in (0, 1, 2, 3, 4, 0)]
    assert found[0] == found[-1]
    assert len({(low, high) for _, low, high in found}) > 1
    assert len({ratio for ratio, _, _ in found}) == 1


def test_resamples_is_read_when_it_is_needed(draw, monkeypatch):
    """With RESAMPLES = 1 there is one median: low and high are the same."""
    monkeypatch.setattr("katas.benchmarking.RESAMPLES", 1)
    a, b = rounds(draw, 40)
    _, low, high = ratio_interval(a, b)
    assert low == high


@pytest.mark.parametrize(("confidence", "needed"), [(0.5, 2), (0.75, 3), (0.9, 5), (0.95, 6), (0.99, 8), (0.999, 11)])
def test_too_few_rounds_say_nothing(draw, confidence, needed):
    """All n rounds are on one side of the true median with probability 2 · ½ⁿ. If that is more than 1 - confidence, the
    interval is (0, ∞): for 99% with fewer than eight rounds.
    """
    a, b = rounds(draw, needed)
    ratio, low, high = ratio_interval(a[:-1], b[:-1], confidence)
    assert (low, high) == (0, math.inf), f"{needed - 1} rounds can't have an interval of {confidence:.1%}"
    assert_close(ratio, math.exp(np.median(np.log(b[:-1] / a[:-1]))))
    _, low, high = ratio_interval(a, b, confidence)
    assert 0 < low <= high < math.inf


def test_a_single_round_stands_beside_many(draw):
    """A slow work is timed once: each round of the other is divided by it, and the interval is (0, ∞)."""
    a, once = np.abs(draw.normal(33)) + 0.1, [7.0]
    assert_close(
        ratio_interval(a, once), [7 / np.median(a), 0, math.inf], mistakes={"only the first round": [7 / a[0], 0, math.inf]}
    )
    assert_close(ratio_interval(once, a), [np.median(a) / 7, 0, math.inf])
    assert_close(ratio_interval(once, [14.0]), [2, 0, math.inf])


def test_equal_times_have_the_ratio_1():
    """A against itself: exactly 1, 1 and 1."""
    times = [0.1, 0.3, 0.7, 0.2, 0.9, 1e-9, 4.0, 5.0]
    assert ratio_interval(times, times) == (1, 1, 1)


def test_times_of_any_size_have_a_ratio():
    """1e-300 and 1e300 seconds: nothing overflows on the way to their ratio."""
    assert_close(ratio_interval([1e-200] * 9, [1e100] * 9), [1e300] * 3)


def test_the_times_stay_as_they_are(draw):
    """Read-only arrays, tuples, lists and integers are times."""
    a, b = rounds(draw, 9)
    want = ratio_interval(a, b)
    assert ratio_interval(tuple(a), list(b)) == want
    assert_close(ratio_interval([1] * 9, [3] * 9), [3.0] * 3)
    a, b = a.astype(np.float32), b.astype(np.float32)
    assert_close(ratio_interval(a, b), ratio_interval(a.astype(np.float64), b.astype(np.float64)))
    assert_close(ratio_interval(np.ones(9, np.float32), np.full(9, 3, np.uint8)), [3.0] * 3)


@pytest.mark.parametrize("wrong", [0.0, -0.25, math.nan, math.inf])
def test_what_is_no_time_is_refused(wrong):
    """A time that is not positive and finite, of a or of b, raises a ValueError that contains it."""
    good, bad = [1.0] * 9, [1.0] * 4 + [wrong] + [1.0] * 4
    with rejects(ValueError, str(wrong)):
        ratio_interval(bad, good)
    with rejects(ValueError, str(wrong)):
        ratio_interval(good, bad)


@pytest.mark.parametrize(
    ("a", "b"),
    [((9,), (8,)), ((2,), (4,)), ((0,), (0,)), ((9,), (0,)), ((1,), (0,)), ((3, 3), (3, 3)), ((9, 1), (9,)), ((1, 1), (9,))]
    + [((), ()), ((), (1,)), ((), (9,)), ((1, 1), (1, 1)), ((1, 9), (9,)), ((9, 1, 1), (9,))],
)
def test_times_of_different_rounds_are_refused(a, b):
    """Different numbers of rounds, none, and times with two axes or without one raise a ValueError with both shapes."""
    with rejects(ValueError, str(a), str(b)):
        ratio_interval(np.ones(a), np.ones(b))
    with rejects(ValueError, str(a), str(b)):
        ratio_interval(np.ones(b), np.ones(a))


@pytest.mark.parametrize("confidence", [0, 1, -0.5, 99, math.nan])
def test_what_is_no_confidence_is_refused(confidence):
    """A confidence that is not between 0 and 1 raises a ValueError that contains it: 99% is 0.99."""
    with rejects(ValueError, "confidence", repr(confidence)):
        ratio_interval([1.0] * 9, [1.0] * 9, confidence)


def test_the_bootstrap_has_no_loop(draw, budget, monkeypatch):
    """The number of Python instructions must not grow with the number of resamples."""
    a, b = rounds(draw, 20)

    def interval(resamples: int):
        monkeypatch.setattr("katas.benchmarking.RESAMPLES", resamples)
        ratio_interval(a, b)

    budget.steps(lambda: interval(20), lambda: interval(2000), limit=2)
