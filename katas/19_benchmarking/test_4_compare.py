import math

import numpy as np
import pytest
from katas.benchmarking import Benchmark, Clock, Comparison, Result, Timing, compare, ratio_interval

from specs.check import assert_close, rejects, undisturbed
from specs.oracles.benchmarking import BUSY, World

TRIALS = 100


def trials(ratio: float, rounds: int = 40, number: int = TRIALS) -> list[Comparison]:
    """Comparisons of a with a b that takes ratio times as long, each on another unsteady machine."""
    found = []
    for seed in range(number):
        world = World(seed + int(1e6 * ratio), span=2 * rounds)
        clock = Clock(world.wall, world.cpu)
        found.append(compare(world.work(0.01), world.work(0.01 * ratio), rounds=rounds, number=1, clock=clock, seed=seed))
    return found


def comparison(low: float, high: float, ratio: float | None = None) -> Comparison:
    return Comparison("slow sort", "quick sort", ratio or math.sqrt(low * high), low, high, 0.99, 12)


def result(**wall: list[float]) -> Result:
    """A result with these wall times; CPU times are three times as long."""
    return Result({name: Timing(1, 9.0, tuple(times), tuple(3 * time for time in times)) for name, times in wall.items()})


def test_a_against_a_is_no_difference():
    """In at least 95 of 100 trials: on a clock with drift, a beat, noise and outliers, with an interval of 99%."""
    none = sum(found.verdict == "no difference" for found in trials(1.0))
    assert none >= 95, f"a program does not differ from itself in {none} of {TRIALS} trials, expected at least 95"


@pytest.mark.parametrize("ratio", [1.0, 1.02, 1.1, 1 / 1.3])
def test_the_interval_covers_the_true_ratio(ratio):
    """In at least 95 of 100 trials; 99 are claimed."""
    covered = sum(found.low <= ratio <= found.high for found in trials(ratio))
    assert covered >= 95, f"the interval has the true ratio in {covered} of {TRIALS} trials, expected at least 95"


@pytest.mark.parametrize(("ratio", "verdict"), [(1.1, "slower"), (1 / 1.1, "faster")])
def test_a_tenth_is_found(ratio, verdict):
    """A b that takes a tenth longer than a, or a than b, is found in at least 95 of 100 trials."""
    right = sum(found.verdict == verdict for found in trials(ratio))
    assert right >= 95, f"b is {verdict} in {right} of {TRIALS} trials, expected at least 95"


def test_more_rounds_have_a_narrower_interval():
    """Four times as many rounds, half of the width, about: less than 0.7 of it."""
    widths = [
        np.median([math.log(found.high / found.low) for found in trials(1.0, rounds, number=25)]) for rounds in (20, 80, 320)
    ]
    assert widths[1] < 0.7 * widths[0]
    assert widths[2] < 0.7 * widths[1]


def test_the_verdict_says_what_b_is():
    """b is slower if the whole interval is above 1, faster if it is below; if it has 1, at an end too, neither."""
    assert comparison(1.01, 1.2).verdict == "slower"
    assert comparison(0.8, 0.99).verdict == "faster"
    assert comparison(0.9, 1.1).verdict == comparison(0.9, 1.5).verdict == "no difference"
    assert comparison(1.0, 1.1).verdict == "no difference"
    assert comparison(0.9, 1.0).verdict == "no difference"
    assert comparison(1.0, 1.0).verdict == "no difference"
    assert comparison(0.0, math.inf, 500).verdict == "too few rounds"
    assert comparison(2.0, math.inf, 500).verdict == "slower", "only (0, ∞) is the interval of too few rounds"
    assert comparison(0.0, 0.5, 0.1).verdict == "faster", "only (0, ∞) is the interval of too few rounds"


def test_the_text_has_all_figures():
    """str contains the verdict, the names, ratio, low and high with four digits, and the confidence in percent."""
    text = str(comparison(1.012345, 123.45678, 1.54321))
    for part in ("slower", "slow sort", "quick sort", "1.543", "1.012", "123.5", "99%"):
        assert part in text, f"{part} is missing in {text!r}"
    assert text.index("quick sort") < text.index("1.543") < text.index("slow sort"), f"who takes as long as whom? {text!r}"
    text = str(Comparison("a", "b", 7.0, 0.0, math.inf, 0.995, 3))
    for part in ("too few rounds", "7", "99.5%", "inf"):
        assert part in text, f"{part} is missing in {text!r}"


def test_a_result_compares_b_with_a():
    """How many times as long as a takes b: names, ratio, interval, confidence and rounds, of the wall times."""
    a, b = [1.0, 2, 3, 4, 5, 6, 7, 8, 9], [2.2, 4, 6.5, 8, 10, 12, 14, 15, 18]
    found = result(a=a, other=[1.0] * 9, b=b).compare("a", "b")
    want = ratio_interval(a, b)
    assert (found.a, found.b, found.confidence, found.rounds) == ("a", "b", 0.99, 9)
    assert_close([found.ratio, found.low, found.high], want, mistakes={"a by b": [1 / want[0], 1 / want[2], 1 / want[1]]})
    assert_close(found.ratio, 2.0)


def test_cpu_time_is_compared_if_asked_for():
    """measure="cpu": b waits longer, but computes as long as a."""
    timings = {"a": Timing(1, 1.0, (1.0,) * 9, (0.5,) * 9), "b": Timing(1, 1.0, (4.0,) * 9, (0.5,) * 9)}
    assert Result(timings).compare("a", "b", "cpu").ratio == 1
    assert_close(Result(timings).compare("a", "b").ratio, 4.0)
    assert_close(Result(timings).compare("a", "b", measure="wall").ratio, 4.0)


def test_the_confidence_goes_to_the_interval():
    """A confidence of 50% has a narrower interval, and needs fewer rounds."""
    a, b = [1.0, 2, 3, 4, 5, 6, 7, 8, 9], [2.2, 4, 6.5, 8, 10, 12, 14, 15, 18]
    found = result(a=a, b=b).compare("a", "b", confidence=0.5)
    assert found.confidence == 0.5
    assert_close([found.low, found.high], ratio_interval(a, b, 0.5)[1:])
    assert result(a=[1.0, 1], b=[2.0, 2]).compare("a", "b", confidence=0.5).verdict == "slower"


def test_a_slow_work_has_one_round():
    """It is timed once, so its comparison has one round, and says "too few rounds", whoever is a."""
    slow = result(a=[1.0, 2, 3, 4, 5, 6, 7, 8, 9], slow=[500.0])
    for names, ratio in [(("a", "slow"), 100.0), (("slow", "a"), 0.01)]:
        found = slow.compare(*names)
        assert found.rounds == 1, f"rounds is {found.rounds}, but the slow work has one"
        assert (found.verdict, found.low, found.high) == ("too few rounds", 0, math.inf)
        assert_close(found.ratio, ratio)


def test_what_was_not_measured_is_named():
    """An unknown name or measure raises a ValueError that contains it."""
    made = result(a=[1.0] * 9, b=[1.0] * 9)
    with rejects(ValueError, "c"):
        made.compare("c", "b")
    with rejects(ValueError, "another"):
        made.compare("a", "another")
    for measure in ("time", "number", "first", None):
        with rejects(ValueError, "measure", str(measure)):
            made.compare("a", "b", measure)
    with rejects(ValueError, "confidence", "99"):
        made.compare("a", "b", confidence=99)


def test_cpu_time_of_0_can_not_be_compared():
    """Works that sleep have no ratio of CPU times: a ValueError contains 0.0."""
    timings = {name: Timing(1, 1.0, (1.0,) * 9, (0.0,) * 9) for name in "ab"}
    with rejects(ValueError, "0.0"):
        Result(timings).compare("a", "b", "cpu")


def test_two_functions_are_compared_directly():
    """compare(a, b) is a Benchmark of both and the comparison of its result: 40 rounds, wall time, 99%."""
    world = World()
    clock = Clock(world.wall, world.cpu)
    found = compare(world.work(0.01), world.work(0.03), clock=clock)
    assert_close([found.ratio, found.low, found.high], [3.0] * 3, mistakes={"the inverse": [1 / 3] * 3})
    assert (found.a, found.b, found.confidence, found.rounds, found.verdict) == ("a", "b", 0.99, 40, "slower")


def test_the_options_go_to_the_benchmark():
    """names, measure and confidence are the comparison's; rounds, warmup, number, seed, clock, patience the Benchmark's."""
    world = World()
    clock = Clock(world.wall, world.cpu)
    options = {"rounds": 6, "warmup": 3, "number": 2, "seed": 5, "clock": clock}
    found = compare(world.work(0.01, name="x"), world.work(0.02), ("x", "y"), "cpu", 0.9, **options)
    assert (found.a, found.b, found.confidence, found.rounds) == ("x", "y", 0.9, 6)
    assert world.calls.count("x") == 3 + 6 * 2
    assert_close(found.ratio, 2.0)
    world.calls = []
    compare(world.work(0.01, name="a"), world.work(0.01, name="b"), **options)
    calls, world.calls = world.calls, []
    Benchmark({name: world.work(0.01, name=name) for name in "ab"}, **options).run()
    assert calls == world.calls, "the order is not that of the seed"
    once = compare(world.work(0.01), world.work(3.0), patience=2.0, **options)
    assert once.verdict == "too few rounds"
    assert_close(once.ratio, 300.0)
    with rejects(ValueError, "rounds", "0"):
        compare(world.work(1), world.work(1), rounds=0)


def test_numpys_numbers_are_numbers():
    """A confidence, and the numbers of calls, may be NumPy's."""
    world = World()
    options = {"rounds": np.int64(9), "number": np.int32(1), "clock": Clock(world.wall, world.cpu)}
    found = compare(world.work(0.01), world.work(0.03), confidence=np.float64(0.9), **options)
    assert (found.verdict, found.confidence, found.rounds) == ("slower", 0.9, 9)
    assert result(a=[1.0] * 9, b=[2.0] * 9).compare("a", "b", confidence=np.float64(0.9)).verdict == "slower"


@pytest.mark.parametrize(
    "names",
    [("sort", "sort"), ["sort", "".join(["so", "rt"])], ("sort", np.str_("sort"))],
    ids=["one string", "two strings", "NumPy's"],
)
def test_two_works_need_two_names(names):
    """The same name twice, also as two strings, would time one of the two against itself: a ValueError contains it."""
    world = World()
    with rejects(ValueError, "sort"):
        compare(world.work(0.01), world.work(0.03), names=names)
    assert world.calls == []


def test_the_cpu_is_compared_by_its_own_clock():
    """b waits, and computes half as long as a."""
    world = World()

    def waits():
        world.now += 0.1
        world.busy += 0.01 * BUSY / 2

    clock = Clock(world.wall, world.cpu)
    assert_close(compare(world.work(0.01), waits, measure="cpu", clock=clock).ratio, 0.5)
    assert_close(compare(world.work(0.01), waits, clock=clock).ratio, 10.0)


def test_equal_seeds_give_equal_comparisons():
    """All that is drawn is drawn from the seed: the same clock gives the same figures. NumPy's global generator stays."""
    found = []
    for _ in range(2):
        world = World(3)
        clock = Clock(world.wall, world.cpu)
        with undisturbed():
            works = {"a": world.work(0.01), "b": world.work(0.011)}
            found.append(Benchmark(works, rounds=20, seed=4, clock=clock).run().compare("a", "b"))
    assert found[0] == found[1]
